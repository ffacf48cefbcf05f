//! The access port: who may do what, by the roles that there are.

use skiff_types::{AccessAction, AccessResource, QualifiedName};
use std::fmt;

/// Judges by roles.
pub trait Authorizer: Send + Sync {
    /// Whether who has this role (or none) may do this. What no policy allows is denied, also where the role is not known.
    ///
    /// # Errors
    /// [`Denied`], with what to do.
    fn check(
        &self,
        role: Option<&QualifiedName>,
        action: AccessAction,
        resource: &AccessResource,
    ) -> Result<(), Denied>;
}

/// Knows the access keys that outside clients sign with.
pub trait AccessKeys: Send + Sync {
    /// The key of this id, if there is one.
    fn access_key(&self, id: &str) -> Option<AccessKey>;
}

/// What an outside client signs with, and as whom. Its secret is never printed.
#[derive(Clone)]
pub struct AccessKey {
    /// 20 letters and digits, from `SKIF`.
    pub id: String,
    /// 40 characters.
    pub secret: String,
    /// As whom it acts.
    pub role: QualifiedName,
}

impl fmt::Debug for AccessKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessKey").field("id", &self.id).field("role", &self.role).finish_non_exhaustive()
    }
}

/// Who may not do what, and what would allow it. Prints as a sentence for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Denied {
    /// What was asked for, by whom, and the command that grants it.
    pub message: String,
    /// The grant that is missing, such as `table:write thumbnails`.
    pub grant: String,
}

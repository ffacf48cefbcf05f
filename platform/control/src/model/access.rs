//! Roles with their policies as they were compiled, and access keys.
//!
//! A role whose policy can't be compiled, as a newer Skiff or somebody's hand may have left it, is there all the same: it allows
//! nothing. What always holds: a key's secret is in no `Debug`.

use super::Declared;
use skiff_access::{Policy, PolicyError, Verdict};
use skiff_types::{AccessAction, AccessKeyId, AccessResource, QualifiedName, RoleSpec};
use std::fmt;
use std::sync::Arc;

/// A role.
pub(crate) type Role = Declared<RolePolicy>;

/// What a role is to be like, and what it was compiled to.
#[derive(Debug, Clone)]
pub(crate) struct RolePolicy {
    pub(crate) spec: RoleSpec,
    policy: Result<Arc<Policy>, PolicyError>,
}

impl RolePolicy {
    /// Compiles what a role says.
    pub(crate) fn new(spec: RoleSpec) -> Self {
        let policy = Policy::compile(&spec).map(Arc::new);
        Self { spec, policy }
    }

    /// Whether the role may do this, if its policy could be compiled.
    pub(crate) fn verdict(
        &self,
        action: AccessAction,
        resource: &AccessResource,
    ) -> Result<Verdict<'_>, &PolicyError> {
        self.policy.as_ref().map(|policy| policy.decide(action, resource))
    }

    /// What is wrong with its policy, if something is.
    pub(crate) fn error(&self) -> Option<&PolicyError> {
        self.policy.as_ref().err()
    }
}

/// What was compiled follows from what is said.
impl PartialEq for RolePolicy {
    fn eq(&self, other: &Self) -> bool {
        self.spec == other.spec
    }
}

impl Eq for RolePolicy {}

/// What an outside client signs with, and as whom.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct AccessKey {
    pub(crate) id: AccessKeyId,
    pub(crate) role: QualifiedName,
    pub(crate) secret: Arc<str>,
    pub(crate) created_at_ms: u64,
}

impl fmt::Debug for AccessKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessKey").field("id", &self.id).field("role", &self.role).finish_non_exhaustive()
    }
}

//! Roles: who somebody acts as, and what that allows. Where nothing is allowed, all is denied.
//!
//! What Cedar text says, whoever compiles it finds out; here it is a text within its bounds.

use crate::{Grant, QualifiedName};
use std::sync::Arc;

/// What a role is to be like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoleSpec {
    /// Its name. It reaches what is in its namespace, and nothing else, whatever its policy says.
    pub name: QualifiedName,
    /// What it allows, each once, in its user's order.
    pub allow: Vec<Grant>,
    /// More that it allows and what it forbids, as policies in Cedar.
    pub policy: Option<Arc<str>>,
}

/// What is wrong with a role, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RoleError {
    /// Too many grants.
    #[error(
        "a role with {0} grants has too many, {max} are the most: one with a \"*\" in it stands for several",
        max = RoleSpec::GRANTS_MAX
    )]
    Grants(usize),
    /// Too long a policy.
    #[error(
        "a policy of {0} bytes is too long, {max} are the most: have tasks that do different things act as different roles",
        max = RoleSpec::POLICY_BYTES_MAX
    )]
    Policy(usize),
}

impl RoleSpec {
    /// Grants of one role.
    pub const GRANTS_MAX: usize = 100;
    /// Longest policy in Cedar, in bytes.
    pub const POLICY_BYTES_MAX: usize = 32 << 10;

    /// Refuses one beyond its bounds.
    ///
    /// # Errors
    /// What is too much of it.
    pub fn check(&self) -> Result<(), RoleError> {
        if self.allow.len() > Self::GRANTS_MAX {
            return Err(RoleError::Grants(self.allow.len()));
        }
        match self.policy.as_ref().map_or(0, |policy| policy.len()) {
            bytes if bytes > Self::POLICY_BYTES_MAX => Err(RoleError::Policy(bytes)),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_is_bounded() {
        let spec = |grants: usize, policy: usize| RoleSpec {
            name: "default/thumbs".parse().unwrap(),
            allow: vec!["bucket:read uploads".parse().unwrap(); grants],
            policy: Some("x".repeat(policy).into()),
        };
        assert_eq!(spec(100, 32 << 10).check(), Ok(()));
        assert_eq!(spec(101, 0).check(), Err(RoleError::Grants(101)));
        let error = spec(0, (32 << 10) + 1).check().unwrap_err().to_string();
        assert!(error.starts_with("a policy of 32769 bytes is too long, 32768 are the most"), "{error}");
    }
}

//! Roles, what they allow and why, and the access keys that carry them to outside clients.
//!
//! A secret goes out once, in the answer to the call that makes its key, and none is printed for debugging.

use crate::{InvalidSpec, text};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skiff_types::{AccessAction, AccessKeyId, Grant, Name, Namespace, QualifiedName, RoleSpec};
use std::collections::BTreeSet;
use std::fmt;

/// What a role is to allow: nothing but this. It reaches what is in its own namespace, whatever it says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PutRole {
    /// Grants, 100 at most. `bucket:read uploads` is of the bucket and all in it; `bucket:read uploads/images/*` of the objects with
    /// these keys, and of listings of prefixes that begin so.
    #[serde(default)]
    #[schemars(with = "Vec<text::Grant>")]
    pub allow: Vec<Grant>,
    /// Policies in Cedar besides, 32 KiB at most: what they permit is allowed too, and what they forbid is denied, whatever allows
    /// it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
}

impl PutRole {
    /// What this means for a role of this name. Whether the policy is sound Cedar, it does not know.
    ///
    /// # Errors
    /// What is too much of it.
    pub fn to_domain(&self, name: QualifiedName) -> Result<RoleSpec, InvalidSpec> {
        let mut seen = BTreeSet::new();
        let allow = self.allow.iter().filter(|grant| seen.insert(*grant)).cloned().collect();
        let policy = self.policy.as_deref().filter(|policy| !policy.trim().is_empty());
        let spec = RoleSpec { name, allow, policy: policy.map(Into::into) };
        spec.check()?;
        Ok(spec)
    }
}

/// What a call says that means this.
impl From<&RoleSpec> for PutRole {
    fn from(spec: &RoleSpec) -> Self {
        Self { allow: spec.allow.clone(), policy: spec.policy.as_deref().map(str::to_owned) }
    }
}

/// A role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Role {
    /// Its name in its namespace.
    #[schemars(with = "text::Name")]
    pub name: Name,
    /// The boundary it lives in, and beyond which it reaches nothing.
    #[schemars(with = "text::Namespace")]
    pub namespace: Namespace,
    /// The store's revision, for `If-Match`.
    pub revision: u64,
    /// What it allows.
    #[schemars(with = "Vec<text::Grant>")]
    pub allow: Vec<Grant>,
    /// Policies in Cedar besides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// All of that in Cedar; not in lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cedar: Option<String>,
    /// Why it can't be judged by, and allows nothing, if that is so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// When it was created, in milliseconds since 1970.
    pub created_at_ms: u64,
    /// When it last changed, in milliseconds since 1970.
    pub updated_at_ms: u64,
}

impl Role {
    /// A role as it is, without its Cedar; with when it was created and changed.
    pub fn new(
        spec: &RoleSpec,
        revision: u64,
        error: Option<String>,
        (created_at_ms, updated_at_ms): (u64, u64),
    ) -> Self {
        let PutRole { allow, policy } = PutRole::from(spec);
        let QualifiedName { namespace, name } = spec.name.clone();
        Self { name, namespace, revision, allow, policy, cedar: None, error, created_at_ms, updated_at_ms }
    }
}

/// Query parameters of whether a role may do something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AccessQuery {
    /// What is to be done.
    #[schemars(with = "text::AccessAction")]
    pub action: AccessAction,
    /// To which bucket, table, queue, bus or secret of the role's namespace.
    #[schemars(with = "text::Name")]
    pub name: Name,
    /// To which object or item in it, by its key; or, with `list`, what the keys begin with that are listed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Whether all is to be listed that begins with the path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub list: Option<bool>,
}

/// Whether a role may do something, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AccessExplanation {
    /// Whether it may.
    pub allowed: bool,
    /// By which grant, or which policy of its Cedar.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// Why not, and what to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The grant that is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::Grant>")]
    pub grant: Option<Grant>,
}

/// Makes an access key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateAccessKey {
    /// As which role of the namespace it acts.
    #[schemars(with = "text::Name")]
    pub role: Name,
}

/// An access key, without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AccessKey {
    /// What clients call it.
    #[schemars(with = "text::AccessKeyId")]
    pub id: AccessKeyId,
    /// The boundary it reaches.
    #[schemars(with = "text::Namespace")]
    pub namespace: Namespace,
    /// As which role it acts.
    #[schemars(with = "text::Name")]
    pub role: Name,
    /// When it was made, in milliseconds since 1970.
    pub created_at_ms: u64,
}

/// An access key that was just made.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CreatedAccessKey {
    /// What clients call it.
    #[schemars(with = "text::AccessKeyId")]
    pub id: AccessKeyId,
    /// What they sign with: 40 characters. It is never shown again.
    pub secret: String,
    /// The boundary it reaches.
    #[schemars(with = "text::Namespace")]
    pub namespace: Namespace,
    /// As which role it acts.
    #[schemars(with = "text::Name")]
    pub role: Name,
    /// When it was made, in milliseconds since 1970.
    pub created_at_ms: u64,
}

impl fmt::Debug for CreatedAccessKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CreatedAccessKey")
            .field("id", &self.id)
            .field("role", &self.role)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grant_counts_once_and_an_empty_policy_is_none() {
        let grants = ["bucket:read a", "table:* b", "bucket:read a"];
        let put = PutRole {
            allow: grants.map(|grant| grant.parse().unwrap()).into(),
            policy: Some(" \n".to_owned()),
        };
        let spec = put.to_domain("default/a".parse().unwrap()).unwrap();
        assert_eq!(PutRole::from(&spec), PutRole { allow: put.allow[..2].to_vec(), policy: None });
    }

    #[test]
    fn a_secret_is_not_printed() {
        let created: CreatedAccessKey = serde_json::from_value(serde_json::json!({
            "id": "SKIFABCDEFGHIJKLMNOP", "namespace": "default", "role": "a", "created_at_ms": 1, "secret": "very secret",
        }))
        .unwrap();
        let printed = format!("{created:?} {created:#?}");
        assert!(printed.contains("SKIFABCDEFGHIJKLMNOP") && !printed.contains("secret"), "{printed}");
    }
}

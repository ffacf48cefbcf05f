//! The records of roles, and of access keys with their secrets: those are kept from others by the data folder's mode alone, as
//! certificates' private keys are.

use super::{Stored, record};
use crate::keys;
use crate::model::{AccessKey, Role, RolePolicy};
use serde::{Deserialize, Serialize};
use skiff_ports::store::Key;
use skiff_types::{AccessKeyId, Grant, QualifiedName, RoleSpec};
use std::sync::Arc;

/// A role's record.
#[derive(Serialize, Deserialize)]
pub(crate) struct RoleRecord {
    name: QualifiedName,
    allow: Vec<Grant>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    policy: Option<String>,
    created_at_ms: u64,
    updated_at_ms: u64,
}

impl From<&Role> for RoleRecord {
    fn from(object: &Role) -> Self {
        let spec = &object.spec.spec;
        Self {
            name: spec.name.clone(),
            allow: spec.allow.clone(),
            policy: spec.policy.as_deref().map(str::to_owned),
            created_at_ms: object.created_at_ms,
            updated_at_ms: object.updated_at_ms,
        }
    }
}

impl From<RoleRecord> for Role {
    fn from(record: RoleRecord) -> Self {
        let spec = RoleSpec { name: record.name, allow: record.allow, policy: record.policy.map(Arc::from) };
        Self {
            spec: Arc::new(RolePolicy::new(spec)),
            created_at_ms: record.created_at_ms,
            updated_at_ms: record.updated_at_ms,
        }
    }
}

impl Stored for Role {
    const PREFIX: &'static str = "role";
    type Record = RoleRecord;

    fn key(&self) -> Key {
        keys::role(&self.spec.spec.name)
    }
}

record!(
    AccessKeyRecord =
        AccessKey { id: AccessKeyId, role: QualifiedName, secret: SecretText, created_at_ms: u64 }
);

/// A secret as it lies on the disk.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
struct SecretText(String);

impl From<Arc<str>> for SecretText {
    fn from(secret: Arc<str>) -> Self {
        Self(secret.as_ref().to_owned())
    }
}

impl From<SecretText> for Arc<str> {
    fn from(SecretText(secret): SecretText) -> Self {
        secret.into()
    }
}

impl Stored for AccessKey {
    const PREFIX: &'static str = "accesskey";
    type Record = AccessKeyRecord;

    fn key(&self) -> Key {
        keys::access_key(&self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::tests::check;
    use skiff_access::Verdict;
    use skiff_types::{AccessAction, AccessResource, ResourceKind};

    fn role(allow: &[&str], policy: Option<&str>) -> Role {
        let spec = RoleSpec {
            name: "default/thumbs".parse().unwrap(),
            allow: allow.iter().map(|grant| grant.parse().unwrap()).collect(),
            policy: policy.map(Arc::from),
        };
        Role { spec: Arc::new(RolePolicy::new(spec)), created_at_ms: 1, updated_at_ms: 2 }
    }

    #[test]
    fn what_is_on_disk_today_is_read_tomorrow() {
        check(
            &role(&["bucket:read uploads/*", "table:* a*"], None),
            r#"{"name":"default/thumbs","allow":["bucket:read uploads/*","table:* a*"],"created_at_ms":1,"updated_at_ms":2}"#,
        );
        check(
            &role(&[], Some("permit (principal, action, resource);")),
            r#"{"name":"default/thumbs","allow":[],"policy":"permit (principal, action, resource);","created_at_ms":1,"updated_at_ms":2}"#,
        );
        let key = AccessKey {
            id: "SKIFABCDEFGHIJKLMNOP".parse().unwrap(),
            role: "default/thumbs".parse().unwrap(),
            secret: "very secret".into(),
            created_at_ms: 1,
        };
        check(
            &key,
            r#"{"id":"SKIFABCDEFGHIJKLMNOP","role":"default/thumbs","secret":"very secret","created_at_ms":1}"#,
        );
        assert!(!format!("{key:?}").contains("secret"), "{key:?}");
    }

    #[test]
    fn a_role_is_compiled_as_it_is_read_and_one_that_can_not_be_allows_nothing() {
        let uploads = AccessResource::new(ResourceKind::Bucket, "default/uploads".parse().unwrap());
        let read = |role: &Role| Role::decode(&role.encode().unwrap()).unwrap();
        let sound = read(&role(&["bucket:read uploads"], None));
        let verdict = sound.spec.verdict(AccessAction::BucketRead, &uploads);
        assert_eq!(verdict, Ok(Verdict::Allowed { by: "bucket:read uploads" }));
        let broken = read(&role(&["bucket:read uploads"], Some("permit everything")));
        assert!(broken.spec.verdict(AccessAction::BucketRead, &uploads).is_err());
        assert!(broken.spec.error().is_some());
    }
}

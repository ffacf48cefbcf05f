//! Access keys: made, listed, removed. Each is a role's, and what it may is what the role may.
//!
//! A secret comes out once, in the answer to the call that made it: no other answer and no log has a word of it.

use super::page::page;
use super::{Entrance, WRITE_ATTEMPTS};
use crate::error::ApiError;
use crate::keys;
use crate::model::AccessKey;
use crate::view::View;
use skiff_api::{CreateAccessKey, CreatedAccessKey, ErrorCode, Page, PageQuery};
use skiff_ports::store::Expect;
use skiff_types::{AccessKeyId, Namespace, QualifiedName};
use subtle::ConstantTimeEq;
use tracing::info;

/// The most access keys.
const ACCESS_KEYS_MAX: usize = 1_000;

impl Entrance {
    /// Makes a key that acts as a role.
    pub(crate) async fn create_access_key(
        &self,
        namespace: &Namespace,
        request: CreateAccessKey,
    ) -> Result<CreatedAccessKey, ApiError> {
        let CreateAccessKey { role } = request;
        // So that the role does not go at the same time.
        let _alone = self.context.routing.lock().await;
        self.check_role(namespace, Some(&role))?;
        self.context.objects.read(check_count)?;
        for _ in 0..WRITE_ATTEMPTS {
            let key = AccessKey {
                id: AccessKeyId::from_bytes(self.context.random.bytes()),
                role: QualifiedName::new(namespace.clone(), role.clone()),
                secret: AccessKeyId::secret_from_bytes(self.context.random.bytes()).into(),
                created_at_ms: self.context.now_ms(),
            };
            match self.context.objects.put(key, Expect::Absent).await {
                // Nobody draws the same id twice, but a played source of randomness may.
                Err(error) if error.is_conflict() => {}
                result => {
                    let held = result?;
                    info!(key = %held.value.id, role = %held.value.role, "made");
                    return Ok(created(&held.value));
                }
            }
        }
        Err(ApiError::new(ErrorCode::Unavailable, "no free id was drawn for the access key; try again"))
    }

    /// The role of an access key that is shown whole, as `ID:SECRET`; none if it is no key. Takes the same time whatever is wrong
    /// with the secret.
    pub(crate) fn role_of_key(&self, shown: &str) -> Option<QualifiedName> {
        let (id, secret) = shown.split_once(':')?;
        let id: AccessKeyId = id.parse().ok()?;
        let key = self.context.objects.read(|view| view.access_key(&id).map(|held| held.value.clone()))?;
        let is_its: bool = key.secret.as_bytes().ct_eq(secret.as_bytes()).into();
        is_its.then(|| key.role.clone())
    }

    /// Lists the keys of a namespace's roles by id; no secret is in the list.
    pub(crate) fn list_access_keys(
        &self,
        namespace: &Namespace,
        query: &PageQuery,
    ) -> Result<Page<skiff_api::AccessKey>, ApiError> {
        self.context.objects.read(|view| {
            let all = view.access.keys.all().map(|held| &*held.value);
            let of_it = all.filter(|key| key.role.namespace == *namespace);
            let of_it = of_it.map(|key| (key.id.to_string(), key)).collect();
            page(of_it, query.limit, query.cursor.as_deref(), shown)
        })
    }

    /// Removes a key: what is signed with it from now on is refused.
    pub(crate) async fn delete_access_key(
        &self,
        namespace: &Namespace,
        id: &AccessKeyId,
    ) -> Result<(), ApiError> {
        let key = keys::access_key(id);
        for _ in 0..WRITE_ATTEMPTS {
            let present = self.context.objects.load::<AccessKey>(&key).await?;
            let Some(held) = present.filter(|held| held.value.role.namespace == *namespace) else {
                return Err(ApiError::not_found(format!(
                    "there is no access key {id} in the namespace {namespace}; `skiff key ls` lists those that there are"
                )));
            };
            match self.context.objects.delete::<AccessKey>(&key, Expect::Revision(held.revision)).await {
                Err(error) if error.is_conflict() => {}
                result => {
                    result?;
                    info!(key = %id, "the access key is removed");
                    return Ok(());
                }
            }
        }
        Err(ApiError::new(
            ErrorCode::Unavailable,
            format!("others keep changing the access key {id}; try again"),
        ))
    }
}

fn check_count(view: &View) -> Result<(), ApiError> {
    match view.access.keys.all().count() {
        count if count >= ACCESS_KEYS_MAX => Err(ApiError::new(
            ErrorCode::ResourceExhausted,
            format!(
                "there are {count} access keys, and {ACCESS_KEYS_MAX} are the most: remove one that nobody signs with, with `skiff \
                 key rm`"
            ),
        )),
        _ => Ok(()),
    }
}

/// With its secret, for the one that it is made for.
fn created(key: &AccessKey) -> CreatedAccessKey {
    CreatedAccessKey {
        id: key.id.clone(),
        secret: key.secret.as_ref().to_owned(),
        namespace: key.role.namespace.clone(),
        role: key.role.name.clone(),
        created_at_ms: key.created_at_ms,
    }
}

fn shown(key: &AccessKey) -> skiff_api::AccessKey {
    skiff_api::AccessKey {
        id: key.id.clone(),
        namespace: key.role.namespace.clone(),
        role: key.role.name.clone(),
        created_at_ms: key.created_at_ms,
    }
}

//! As whom a call acts, what its role may do, and what its names mean.
//!
//! What always holds: a role is asked before it is looked whether a thing is there, so that who may not touch it does not learn
//! that either; a name is one of the namespace of the role, whatever is asked for.

use super::counters::Operation;
use super::errors::{self, Fault, FirstFault};
use super::operations::Operations;
use super::shares::Share;
use http::HeaderMap;
use s3s::{S3Request, S3Result, s3_error};
use skiff_kit::random::SharedRandom;
use skiff_ports::buckets::{Cause, OBJECT_KEY_BYTES_MAX, ObjectRef};
use skiff_ports::catalog::BucketRef;
use skiff_types::{AccessAction, AccessResource, Name, QualifiedName, ResourceId, ResourceKind};
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

/// Headers by which a client says whose it takes a bucket to be.
const OWNERS: [&str; 2] = ["x-amz-expected-bucket-owner", "x-amz-source-expected-bucket-owner"];

/// One request: it goes with it through `s3s`. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Call {
    id: Arc<str>,
    source: IpAddr,
    found: Arc<Found>,
}

/// What is found out about a request while it is served.
#[derive(Debug, Default)]
struct Found {
    fault: FirstFault,
    operation: OnceLock<Operation>,
    /// Its key's place: given back once nothing of the request is left, its answer included.
    share: OnceLock<Share<String>>,
}

impl Call {
    /// A request that just came from an address.
    pub(super) fn new(random: &SharedRandom, source: IpAddr) -> Self {
        let id = hex::encode_upper(random.bytes::<8>());
        Self { id: id.into(), source, found: Arc::default() }
    }

    #[cfg(test)]
    pub(super) fn for_tests() -> Self {
        Self { id: "0".into(), source: IpAddr::from([127, 0, 0, 1]), found: Arc::default() }
    }

    /// Its id: 16 hexadecimal digits.
    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// Notes what is wrong with its body; returns what was found first.
    pub(super) fn note(&self, fault: Fault) -> Fault {
        *self.found.fault.get_or_init(|| fault)
    }

    /// What is wrong with its body, if something is.
    pub(super) fn fault(&self) -> Option<Fault> {
        self.found.fault.get().copied()
    }

    /// Notes what it asks for.
    pub(super) fn asks_for(&self, operation: Operation) {
        self.found.operation.get_or_init(|| operation);
    }

    /// What it asks for, as far as that is known.
    pub(super) fn operation(&self) -> Operation {
        self.found.operation.get().copied().unwrap_or(Operation::NONE)
    }

    /// Keeps a place of its key for as long as there is anything of it.
    pub(super) fn hold(&self, share: Share<String>) {
        self.found.share.get_or_init(|| share);
    }
}

/// Who asks for something.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    /// As whom.
    pub(super) role: QualifiedName,
    /// By which request.
    pub(super) call: Call,
}

impl Caller {
    /// By what an object is written, for its event.
    pub(super) fn cause(&self, reason: &str) -> Cause {
        Cause {
            reason: reason.to_owned(),
            requester: self.role.to_string(),
            request_id: self.call.id.to_string(),
            source_ip: Some(self.call.source.to_string()),
        }
    }
}

impl Operations {
    /// Who asks. Its key was found a moment ago, when the signature was checked.
    pub(super) fn caller<T>(&self, request: &S3Request<T>) -> S3Result<Caller> {
        let unknown = || s3_error!(InvalidAccessKeyId, "there is no such access key, or no longer");
        let credentials = request.credentials.as_ref().ok_or_else(unknown)?;
        let role = self.deps.keys.access_key(&credentials.access_key).ok_or_else(unknown)?.role;
        let lost = || s3_error!(InternalError, "the request was lost on its way");
        let call = request.extensions.get::<Call>().cloned().ok_or_else(lost)?;
        check_owners(&request.headers, &role)?;
        Ok(Caller { role, call })
    }

    /// What a bucket's name means to this caller.
    pub(super) fn bucket_name(&self, caller: &Caller, bucket: &str) -> S3Result<QualifiedName> {
        let name = bucket.parse::<Name>().map_err(|error| s3_error!(InvalidBucketName, "{error}"))?;
        Ok(QualifiedName::new(caller.role.namespace.clone(), name))
    }

    /// A bucket that this caller may list, at least as far as the keys with this prefix.
    pub(super) fn listed(&self, caller: &Caller, bucket: &str, prefix: &str) -> S3Result<BucketRef> {
        let name = self.bucket_name(caller, bucket)?;
        self.allow(
            caller,
            AccessAction::BucketRead,
            AccessResource::listing(ResourceKind::Bucket, name.clone(), prefix),
        )?;
        self.there(&name)
    }

    /// A bucket that this caller may do something with, whatever it is.
    pub(super) fn seen(&self, caller: &Caller, bucket: &str) -> S3Result<BucketRef> {
        let name = self.bucket_name(caller, bucket)?;
        self.may_see(caller, &name)?;
        self.there(&name)
    }

    /// Whether this caller may do something with a bucket.
    pub(super) fn may_see(&self, caller: &Caller, name: &QualifiedName) -> S3Result {
        const ACTIONS: [AccessAction; 4] = [
            AccessAction::BucketRead,
            AccessAction::BucketWrite,
            AccessAction::BucketDelete,
            AccessAction::BucketManage,
        ];
        let itself = AccessResource::new(ResourceKind::Bucket, name.clone());
        let all = AccessResource::listing(ResourceKind::Bucket, name.clone(), "");
        let refused = match self.allow(caller, AccessAction::BucketRead, itself.clone()) {
            Ok(()) => return Ok(()),
            Err(refused) => refused,
        };
        let may = |action, resource: &AccessResource| self.allow(caller, action, resource.clone()).is_ok();
        if ACTIONS.iter().any(|action| may(*action, &itself) || may(*action, &all)) {
            Ok(())
        } else {
            Err(refused)
        }
    }

    /// A bucket that this caller may make and remove.
    pub(super) fn managed(&self, caller: &Caller, bucket: &str) -> S3Result<QualifiedName> {
        let name = self.bucket_name(caller, bucket)?;
        self.allow(
            caller,
            AccessAction::BucketManage,
            AccessResource::new(ResourceKind::Bucket, name.clone()),
        )?;
        Ok(name)
    }

    /// An object that this caller may do this to. Whether it is there is not looked at, only whether its bucket is.
    pub(super) fn object(
        &self,
        caller: &Caller,
        action: AccessAction,
        bucket: &str,
        key: &str,
    ) -> S3Result<ObjectRef> {
        let name = self.bucket_name(caller, bucket)?;
        if key.len() > OBJECT_KEY_BYTES_MAX {
            return Err(s3_error!(
                KeyTooLongError,
                "a key may have {OBJECT_KEY_BYTES_MAX} bytes of UTF-8 at most"
            ));
        }
        if key.is_empty() {
            return Err(s3_error!(InvalidArgument, "a key has one byte at least"));
        }
        self.allow(caller, action, AccessResource::at(ResourceKind::Bucket, name.clone(), key))?;
        Ok(ObjectRef { bucket: self.there(&name)?.id, key: key.to_owned() })
    }

    /// A bucket that there is.
    pub(super) fn there(&self, name: &QualifiedName) -> S3Result<BucketRef> {
        self.deps.catalog.bucket(name).ok_or_else(|| errors::no_bucket(name.name.as_str()))
    }

    /// Whether the bucket that something was written to is there yet. What comes for one that is removed meanwhile goes with it, and is
    /// not to be acknowledged.
    pub(super) fn still_there(&self, caller: &Caller, bucket: &str, written_to: ResourceId) -> S3Result {
        match self.there(&self.bucket_name(caller, bucket)?)?.id == written_to {
            true => Ok(()),
            false => Err(errors::no_bucket(bucket)),
        }
    }

    fn allow(&self, caller: &Caller, action: AccessAction, resource: AccessResource) -> S3Result {
        let judged = self.deps.authorizer.check(Some(&caller.role), action, &resource);
        judged.map_err(|denied| s3_error!(AccessDenied, "{}", denied.message))
    }
}

/// A bucket's owner is its namespace here: a client that takes it to be another's is not served.
fn check_owners(headers: &HeaderMap, role: &QualifiedName) -> S3Result {
    let owner = role.namespace.as_str();
    let others = OWNERS
        .iter()
        .flat_map(|name| headers.get_all(*name))
        .any(|named| named.as_bytes() != owner.as_bytes());
    if others {
        return Err(s3_error!(AccessDenied, "the owner of this role's buckets is its namespace, {owner:?}"));
    }
    Ok(())
}

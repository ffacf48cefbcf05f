//! An endpoint on buckets in a temporary folder, with roles that are written down here.

use super::client::Client;
use crate::buckets::{BlobsConfig, Buckets, Config as BucketsConfig, Deps as BucketsDeps};
use crate::s3::{Config, DEFAULT_REGION, Deps, Handle, Limits, start};
use async_trait::async_trait;
use skiff_kit::Drain;
use skiff_kit::clock::SystemClock;
use skiff_kit::random::SystemRandom;
use skiff_ports::access::{AccessKey, AccessKeys, Authorizer, Denied};
use skiff_ports::buckets::{BucketError, Buckets as _};
use skiff_ports::catalog::{BucketRef, Catalog, CreateBucketError, QueueRef, RemoveBucketError, TableRef};
use skiff_types::{
    AccessAction, AccessResource, BucketSpec, Namespace, QualifiedName, ResourceId, ResourceKind,
};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tempfile::TempDir;
use tokio::net::TcpListener;

/// The name under which buckets have names of their own.
pub(super) const DOMAIN: &str = "s3.test";

/// Buckets that can't be made: the disk has no room for one, and something else fails at the other.
pub(super) const NO_ROOM: &str = "no-room";
pub(super) const NOT_NOW: &str = "not-now";

/// Keys, their secrets and their roles.
const KEYS: [(&str, &str, &str); 4] = [
    ("SKIFALL0000000000000", "of-all", "default/all"),
    ("SKIFREADER0000000000", "of-reader", "default/reader"),
    ("SKIFNOTHING000000000", "of-nothing", "default/nothing"),
    ("SKIFOTHER00000000000", "of-other", "other/all"),
];

/// What roles may do: a role, an action, a bucket, and what keys begin with.
const GRANTS: [(&str, AccessAction, &str, &str); 2] = [
    ("reader", AccessAction::BucketRead, "photos", "open/"),
    ("reader", AccessAction::BucketWrite, "photos", "drop/"),
];

/// An endpoint that runs until it is dropped.
pub(super) struct Endpoint {
    pub(super) handle: Handle,
    pub(super) buckets: Arc<Buckets>,
    pub(super) drain: Drain,
    _folder: TempDir,
}

impl Endpoint {
    /// One with the buckets `photos` in the namespaces `default` and `other`.
    pub(super) async fn start() -> Self {
        Self::with(Limits::default()).await
    }

    pub(super) async fn with(limits: Limits) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = BucketsConfig {
            database: folder.path().join("buckets.db"),
            blobs: BlobsConfig::Folder(folder.path().join("blobs")),
        };
        let deps = BucketsDeps { clock: Arc::new(SystemClock), random: Arc::new(SystemRandom) };
        let buckets = Arc::new(Buckets::open(config, deps).unwrap());
        let known = Known { buckets: buckets.clone(), by_name: Mutex::default(), made: AtomicU64::new(0) };
        for name in ["default/photos", "other/photos"] {
            known.create_bucket(&name.parse().unwrap()).await.unwrap();
        }
        let config = Config {
            listener: TcpListener::bind("127.0.0.1:0").await.unwrap(),
            domain: Some(DOMAIN.into()),
            region: DEFAULT_REGION.into(),
            limits,
        };
        let deps = Deps {
            buckets: buckets.clone(),
            catalog: Arc::new(known),
            authorizer: Arc::new(Roles),
            keys: Arc::new(Keys),
            random: Arc::new(SystemRandom),
        };
        let drain = Drain::new();
        let handle = start(config, deps, &drain).unwrap();
        Self { handle, buckets, drain, _folder: folder }
    }

    /// A client with the key of a role.
    pub(super) fn client(&self, role: &str) -> Client {
        let (key, secret, _) = KEYS.into_iter().find(|(.., known)| *known == role).unwrap();
        Client {
            address: self.handle.address(),
            key,
            secret,
            region: DEFAULT_REGION,
            service: "s3",
            behind: Duration::ZERO,
        }
    }

    /// The client of whoever may do everything in the namespace `default`.
    pub(super) fn all(&self) -> Client {
        self.client("default/all")
    }

    /// The reasons and keys of the events that there are, in their order.
    pub(super) async fn events(&self) -> Vec<(String, String)> {
        let events = self.buckets.events(0, 1_000).await.unwrap();
        events.into_iter().map(|(_, event)| (event.by.reason, event.object.key)).collect()
    }
}

struct Keys;

impl AccessKeys for Keys {
    fn access_key(&self, id: &str) -> Option<AccessKey> {
        let (id, secret, role) = KEYS.into_iter().find(|(known, ..)| *known == id)?;
        Some(AccessKey { id: id.into(), secret: secret.into(), role: role.parse().unwrap() })
    }
}

struct Roles;

impl Authorizer for Roles {
    fn check(
        &self,
        role: Option<&QualifiedName>,
        action: AccessAction,
        resource: &AccessResource,
    ) -> Result<(), Denied> {
        assert_eq!((action.kind(), resource.kind), (ResourceKind::Bucket, ResourceKind::Bucket));
        let role = role.expect("all that is asked is asked for a role");
        let granted = |(to, granted, bucket, prefix): &(&str, AccessAction, &str, &str)| {
            let within = resource.path.as_ref().map_or(prefix.is_empty(), |path| path.starts_with(prefix));
            *to == role.name.as_str()
                && *granted == action
                && *bucket == resource.name.name.as_str()
                && within
        };
        if resource.name.namespace == role.namespace
            && (role.name.as_str() == "all" || GRANTS.iter().any(granted))
        {
            return Ok(());
        }
        Err(Denied {
            message: format!("role {role} may not {action} {resource}"),
            grant: format!("{action} {resource}"),
        })
    }
}

struct Known {
    buckets: Arc<Buckets>,
    by_name: Mutex<BTreeMap<QualifiedName, BucketRef>>,
    /// How many were made, so that no two have one id.
    made: AtomicU64,
}

#[async_trait]
impl Catalog for Known {
    fn bucket(&self, name: &QualifiedName) -> Option<BucketRef> {
        self.by_name.lock().unwrap().get(name).cloned()
    }

    fn buckets(&self, namespace: &Namespace) -> Vec<BucketRef> {
        let known = self.by_name.lock().unwrap();
        known.values().filter(|bucket| bucket.spec.name.namespace == *namespace).cloned().collect()
    }

    fn table(&self, _: &QualifiedName) -> Option<TableRef> {
        None
    }

    fn queue(&self, _: &QualifiedName) -> Option<QueueRef> {
        None
    }

    fn has_bus(&self, _: &QualifiedName) -> bool {
        true
    }

    async fn create_bucket(&self, name: &QualifiedName) -> Result<(), CreateBucketError> {
        match name.name.as_str() {
            NO_ROOM => return Err(CreateBucketError::DiskFull("there is no room".to_owned())),
            NOT_NOW => return Err(CreateBucketError::Failed("not now".to_owned())),
            _ => {}
        }
        let mut known = self.by_name.lock().unwrap();
        let id = ResourceId::from_bytes(self.made.fetch_add(1, Ordering::Relaxed).to_be_bytes());
        let spec = Arc::new(BucketSpec { name: name.clone(), bus: "default".parse().unwrap() });
        known.entry(name.clone()).or_insert(BucketRef { id, spec, created_at_ms: 1_700_000_000_000 });
        Ok(())
    }

    async fn remove_bucket(&self, name: &QualifiedName) -> Result<(), RemoveBucketError> {
        let known = self.bucket(name).ok_or_else(|| RemoveBucketError::Failed("there is none".to_owned()))?;
        self.buckets.close_bucket(known.id, false).await.map_err(|error| match error {
            BucketError::NotEmpty { .. } => RemoveBucketError::NotEmpty(error.to_string()),
            BucketError::DiskFull => RemoveBucketError::DiskFull(error.to_string()),
            error => RemoveBucketError::Failed(error.to_string()),
        })?;
        self.by_name.lock().unwrap().remove(name);
        Ok(())
    }
}

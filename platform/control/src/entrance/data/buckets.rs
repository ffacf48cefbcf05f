//! Buckets: made, changed, shown, removed.

use super::super::balancer::not_there;
use super::super::page::page;
use super::super::{Entrance, IfMatch};
use super::{check_room, unavailable};
use crate::catalog::has_bus;
use crate::error::ApiError;
use crate::keys;
use crate::model::{Bucket, Kept};
use crate::view::{Held, View};
use skiff_api::{BucketStatus, DeleteBucketQuery, Page, PageQuery, PutBucket};
use skiff_types::{BucketSpec, Namespace, QualifiedName};
use tracing::info;

impl Entrance {
    /// Creates a bucket, or replaces all that is said of it.
    pub(crate) async fn put_bucket(
        &self,
        name: &QualifiedName,
        request: PutBucket,
        if_match: IfMatch,
    ) -> Result<skiff_api::Bucket, ApiError> {
        let _alone = self.context.routing.lock().await;
        let spec = |present: Option<&BucketSpec>| -> Result<BucketSpec, ApiError> {
            let spec = request.to_domain(name.clone());
            self.context.objects.read(|view| {
                check_new(view, present)?;
                check_bus(view, &spec)
            })?;
            Ok(spec)
        };
        let held = self.keep(&keys::bucket(name), if_match, spec).await?;
        info!(bucket = %name, "wanted");
        self.shown_bucket(&held).await
    }

    /// Creates a bucket of which nothing but its name is said; one that is there stays as it is.
    pub(crate) async fn ensure_bucket(&self, name: &QualifiedName) -> Result<(), ApiError> {
        let _alone = self.context.routing.lock().await;
        let spec = |present: Option<&BucketSpec>| -> Result<BucketSpec, ApiError> {
            if let Some(present) = present {
                return Ok(present.clone());
            }
            self.context.objects.read(|view| check_new(view, None))?;
            Ok(PutBucket::default().to_domain(name.clone()))
        };
        self.keep(&keys::bucket(name), IfMatch::Anything, spec).await?;
        info!(bucket = %name, "wanted");
        Ok(())
    }

    /// Lists buckets by name; not what they hold.
    pub(crate) fn list_buckets(
        &self,
        namespace: &Namespace,
        query: &PageQuery,
    ) -> Result<Page<skiff_api::Bucket>, ApiError> {
        self.context.objects.read(|view| {
            let buckets = view.data.buckets.under(&keys::in_namespace("bucket", namespace));
            let buckets = buckets.map(|held| (held.value.spec.spec.name.name.to_string(), held)).collect();
            page(buckets, query.limit, query.cursor.as_deref(), |held| shown(held, None))
        })
    }

    /// Shows a bucket, and what it holds.
    pub(crate) async fn get_bucket(&self, name: &QualifiedName) -> Result<skiff_api::Bucket, ApiError> {
        let held = self.known_bucket(name)?;
        self.shown_bucket(&held).await
    }

    /// Removes a bucket that has no objects, or any if its caller says so.
    pub(crate) async fn delete_bucket(
        &self,
        name: &QualifiedName,
        query: &DeleteBucketQuery,
        if_match: IfMatch,
    ) -> Result<(), ApiError> {
        if !query.force {
            let held = self.known_bucket(name)?;
            let objects = self.status_of_bucket(&held).await?.objects;
            if objects > 0 {
                return Err(ApiError::not_now(format!(
                    "the bucket {} has {objects} objects: delete them first, or remove it with all of them by force, as `skiff \
                     bucket rm --force` does",
                    name.name
                )));
            }
        }
        self.remove_bucket(name, if_match).await
    }

    /// Removes a bucket of which its caller has seen that it is empty.
    pub(crate) async fn remove_empty_bucket(&self, name: &QualifiedName) -> Result<(), ApiError> {
        self.remove_bucket(name, IfMatch::Anything).await
    }

    async fn remove_bucket(&self, name: &QualifiedName, if_match: IfMatch) -> Result<(), ApiError> {
        let _alone = self.context.routing.lock().await;
        let missing = |view: &View| no_bucket(view, name);
        self.withdraw::<Kept<BucketSpec>>(&keys::bucket(name), if_match, missing, |_| Ok(())).await?;
        self.context.objects.wakes.data.notify_one();
        info!(bucket = %name, "the bucket is removed");
        Ok(())
    }

    fn known_bucket(&self, name: &QualifiedName) -> Result<Held<Bucket>, ApiError> {
        self.context.objects.read(|view| view.bucket(name).cloned().ok_or_else(|| no_bucket(view, name)))
    }

    async fn shown_bucket(&self, held: &Held<Bucket>) -> Result<skiff_api::Bucket, ApiError> {
        let status = self.status_of_bucket(held).await?;
        Ok(shown(held, Some(status)))
    }

    async fn status_of_bucket(&self, held: &Held<Bucket>) -> Result<BucketStatus, ApiError> {
        let stats = self.context.buckets.stats(held.value.spec.id).await;
        let stats = stats
            .map_err(|error| unavailable("the buckets' storage failed; see the platform's log", error))?;
        Ok(BucketStatus { objects: stats.objects, bytes: stats.bytes })
    }
}

fn shown(held: &Held<Bucket>, status: Option<BucketStatus>) -> skiff_api::Bucket {
    let Bucket { spec, created_at_ms, updated_at_ms } = &*held.value;
    let spec = &spec.spec;
    skiff_api::Bucket {
        name: spec.name.name.clone(),
        namespace: spec.name.namespace.clone(),
        revision: held.revision,
        bus: spec.bus.clone(),
        status,
        created_at_ms: *created_at_ms,
        updated_at_ms: *updated_at_ms,
    }
}

fn check_new(view: &View, present: Option<&BucketSpec>) -> Result<(), ApiError> {
    match present {
        Some(_) => Ok(()),
        None => check_room(view.data.buckets.all().count(), "buckets", "bucket"),
    }
}

fn check_bus(view: &View, spec: &BucketSpec) -> Result<(), ApiError> {
    let bus = QualifiedName::new(spec.name.namespace.clone(), spec.bus.clone());
    match has_bus(view, &bus) {
        true => Ok(()),
        false => Err(ApiError::not_found(format!(
            "there is no bus {} in the namespace {}; make it first, or name another",
            bus.name, bus.namespace
        ))),
    }
}

fn no_bucket(view: &View, name: &QualifiedName) -> ApiError {
    let QualifiedName { namespace, name: bucket } = name;
    let missing = format!(
        "there is no bucket {bucket} in the namespace {namespace}; make it with `skiff bucket create {bucket}`, `skiff bucket ls` \
         lists those that there are"
    );
    not_there(view, &keys::bucket(name), missing)
}

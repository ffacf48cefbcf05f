//! Buckets: made, changed, shown, removed.
//!
//! What always holds of a removal: the engine takes no more writes to a bucket, and has seen that it is empty, before its record goes
//! (`close_bucket`), so that no write is acknowledged and then lost. A crash between the two leaves the bucket as it was, for the
//! engine closes it for the life of the process alone; and where the record can't be deleted, it takes writes again.

use super::super::balancer::not_there;
use super::super::page::page;
use super::super::{Entrance, IfMatch};
use super::{check_room, unavailable};
use crate::catalog::has_bus;
use crate::error::ApiError;
use crate::keys;
use crate::model::Bucket;
use crate::view::{Held, View};
use skiff_api::{BucketStatus, DeleteBucketQuery, ErrorCode, Page, PageQuery, PutBucket};
use skiff_ports::buckets::BucketError;
use skiff_ports::catalog::RemoveBucketError;
use skiff_ports::store::{Expect, Key};
use skiff_types::{BucketSpec, Namespace, QualifiedName, ResourceId};
use tracing::{info, warn};

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
        self.remove_bucket(name, query.force, if_match).await.map_err(|error| match error {
            NotRemoved::NotEmpty(objects) => ApiError::not_now(format!(
                "the bucket {} has {objects} objects: delete them first, or remove it with all of them by force, as `skiff bucket \
                 rm --force` does",
                name.name
            )),
            NotRemoved::Failed(error) => error,
        })
    }

    /// The same for who knows it by the catalog: a bucket that has no objects.
    pub(crate) async fn remove_empty_bucket(&self, name: &QualifiedName) -> Result<(), RemoveBucketError> {
        self.remove_bucket(name, false, IfMatch::Anything).await.map_err(|error| match error {
            NotRemoved::NotEmpty(objects) => RemoveBucketError::NotEmpty(format!(
                "the bucket {} has {objects} objects: delete them first",
                name.name
            )),
            NotRemoved::Failed(error) => match error.code {
                ErrorCode::StorageFull => RemoveBucketError::DiskFull(error.message),
                _ => RemoveBucketError::Failed(error.message),
            },
        })
    }

    async fn remove_bucket(
        &self,
        name: &QualifiedName,
        force: bool,
        if_match: IfMatch,
    ) -> Result<(), NotRemoved> {
        let (entrance, name) = (self.clone(), name.clone());
        // In a task of its own: a caller that goes away meanwhile is not to leave a bucket that is closed and yet there.
        let removal = tokio::spawn(async move { entrance.close_and_remove(&name, force, if_match).await });
        removal.await.map_err(|error| unavailable("the removal failed; see the platform's log", error))?
    }

    /// Whoever makes or removes one waits meanwhile, so nobody but this changes the record.
    async fn close_and_remove(
        &self,
        name: &QualifiedName,
        force: bool,
        if_match: IfMatch,
    ) -> Result<(), NotRemoved> {
        let _alone = self.context.routing.lock().await;
        let (objects, key) = (&self.context.objects, keys::bucket(name));
        let present = objects.load::<Bucket>(&key).await.map_err(ApiError::from)?;
        if_match.check(present.as_ref().map_or(0, |held| held.revision))?;
        let held = present.ok_or_else(|| objects.read(|view| no_bucket(view, name)))?;
        let id = held.value.spec.id;
        self.context.buckets.close_bucket(id, force).await.map_err(|error| match error {
            BucketError::NotEmpty { objects } => NotRemoved::NotEmpty(objects),
            error => NotRemoved::Failed(error.into()),
        })?;
        if let Err(error) = objects.delete::<Bucket>(&key, Expect::Revision(held.revision)).await {
            self.reopen_if_there(&key, id).await;
            return Err(NotRemoved::Failed(error.into()));
        }
        objects.wakes.data.notify_one();
        info!(bucket = %name, "the bucket is removed");
        Ok(())
    }

    /// Has a bucket whose record could not be deleted take writes again, if the record is there indeed: a deletion that failed may
    /// have been done.
    async fn reopen_if_there(&self, key: &Key, id: ResourceId) {
        match self.context.objects.load::<Bucket>(key).await {
            Ok(Some(held)) if held.value.spec.id == id => self.context.buckets.reopen_bucket(id),
            Ok(_) => {}
            Err(error) => {
                warn!(%key, %error, "the bucket takes no writes until the next start: whether it was removed can't be read");
            }
        }
    }

    fn known_bucket(&self, name: &QualifiedName) -> Result<Held<Bucket>, ApiError> {
        self.context.objects.read(|view| view.bucket(name).cloned().ok_or_else(|| no_bucket(view, name)))
    }

    async fn shown_bucket(&self, held: &Held<Bucket>) -> Result<skiff_api::Bucket, ApiError> {
        let status = self.status_of_bucket(held).await?;
        Ok(shown(held, Some(status)))
    }

    async fn status_of_bucket(&self, held: &Held<Bucket>) -> Result<BucketStatus, ApiError> {
        let stats = self.context.buckets.stats(held.value.spec.id).await?;
        Ok(BucketStatus { objects: stats.objects, bytes: stats.bytes })
    }
}

/// Why a bucket was not removed.
enum NotRemoved {
    /// It has so many objects.
    NotEmpty(u64),
    Failed(ApiError),
}

/// What became of a bucket that was to be removed or looked at; what is said of objects has doors of its own.
impl From<BucketError> for ApiError {
    fn from(error: BucketError) -> Self {
        match error {
            BucketError::DiskFull => Self::disk_full(),
            error => unavailable("the buckets' storage failed; see the platform's log", error),
        }
    }
}

impl From<ApiError> for NotRemoved {
    fn from(error: ApiError) -> Self {
        Self::Failed(error)
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

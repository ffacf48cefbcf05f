//! The removal of a bucket whose record can't be deleted, or was, though nobody was told.

use crate::fixture::{Disk, Platform, name, namespace};
use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use skiff_api::{DeleteBucketQuery, ErrorCode};
use skiff_ports::store::{Change, Entry, Expect, Key, Listing, Revision, Store, StoreError};
use skiff_types::QualifiedName;
use std::sync::{Arc, Mutex};

/// When a store fails to delete a bucket's record.
#[derive(Clone, Copy, PartialEq)]
enum Fails {
    Before,
    After,
}

/// A store that deletes no bucket's record as it should, as long as it is told so.
struct Failing {
    inner: Arc<dyn Store>,
    fails: Mutex<Option<Fails>>,
}

#[async_trait]
impl Store for Failing {
    async fn get(&self, key: &Key) -> Result<Option<Entry>, StoreError> {
        self.inner.get(key).await
    }

    async fn put(&self, key: &Key, value: Bytes, expect: Expect) -> Result<Revision, StoreError> {
        self.inner.put(key, value, expect).await
    }

    async fn delete(&self, key: &Key, expect: Expect) -> Result<Revision, StoreError> {
        let fails = *self.fails.lock().unwrap();
        let Some(fails) = fails.filter(|_| key.as_str().starts_with("bucket.")) else {
            return self.inner.delete(key, expect).await;
        };
        if fails == Fails::After {
            self.inner.delete(key, expect).await?;
        }
        Err(StoreError::Storage("the drive is gone for a moment".into()))
    }

    async fn list(&self, prefix: &Key) -> Result<Listing, StoreError> {
        self.inner.list(prefix).await
    }

    async fn watch(
        &self,
        prefix: &Key,
        after: Revision,
    ) -> Result<BoxStream<'static, Result<Change, StoreError>>, StoreError> {
        self.inner.watch(prefix, after).await
    }
}

#[tokio::test]
async fn a_bucket_takes_writes_again_exactly_if_it_is_there_after_all() {
    let mut disk = Disk::new();
    let store = Arc::new(Failing { inner: disk.store.clone(), fails: Mutex::default() });
    disk.store = store.clone();
    let platform = Platform::start_on(disk).await;
    let catalog = platform.handle.catalog();
    let uploads = QualifiedName::new(namespace(), name("uploads"));
    catalog.create_bucket(&uploads).await.unwrap();
    let id = catalog.bucket(&uploads).unwrap().id;
    let remove = async |fails: Option<Fails>| {
        *store.fails.lock().unwrap() = fails;
        let query = DeleteBucketQuery { force: false };
        platform.client.delete_bucket(&namespace(), &name("uploads"), &query, None).await
    };

    let failed = remove(Some(Fails::Before)).await.unwrap_err();
    assert_eq!(failed.code(), Some(ErrorCode::Unavailable));
    assert!(!platform.disk.data.is_closed(id), "it is there, and takes nothing");

    let failed = remove(Some(Fails::After)).await.unwrap_err();
    assert_eq!(failed.code(), Some(ErrorCode::Unavailable));
    assert!(platform.disk.data.is_closed(id), "it is gone, and takes writes");
    assert_eq!(remove(None).await.unwrap_err().code(), Some(ErrorCode::NotFound));
}

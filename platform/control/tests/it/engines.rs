//! The engines of data, played in memory: tables and queues as far as the API tells of them, and buckets of which no more is
//! known than how much they hold. They outlive a control plane, as the disk does.

use async_trait::async_trait;
use skiff_ports::buckets::{
    BucketError, BucketStats, Buckets, ByteRange, Cause, Checks, ObjectBytes, ObjectContent, ObjectEvent,
    ObjectExpect, ObjectInfo, ObjectList, ObjectPage, ObjectPut, ObjectRef, PartInfo, UploadInfo, UploadRef,
};
use skiff_ports::catalog::QueueRef;
use skiff_ports::queues::{
    Message, MessageError, NewMessage, QueueFailure, QueueStats, Queues, Receipt, Sent,
};
use skiff_ports::tables::{Item, ItemExpect, ItemWrite, Scan, ScanPage, TableError, TableStats, Tables};
use skiff_types::ResourceId;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::Notify;

/// What the engines hold.
#[derive(Default)]
pub(crate) struct MemoryData {
    kept: Mutex<Kept>,
    /// How many receives found nothing, and began to wait.
    waits: AtomicU64,
    /// Tells of messages that came into sight.
    news: Notify,
}

#[derive(Default)]
struct Kept {
    tables: BTreeMap<ResourceId, BTreeMap<String, Item>>,
    version: u64,
    queues: BTreeMap<ResourceId, KeptQueue>,
    buckets: BTreeMap<ResourceId, BucketStats>,
}

#[derive(Default)]
struct KeptQueue {
    visible: Vec<Message>,
    in_flight: Vec<Message>,
    stats: QueueStats,
}

impl MemoryData {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap()
    }

    /// Has a bucket hold so many objects.
    pub(crate) fn fill_bucket(&self, bucket: ResourceId, objects: u64) {
        self.kept().buckets.insert(bucket, BucketStats { objects, bytes: 10 * objects });
    }

    /// How many receives began to wait.
    pub(crate) fn waits(&self) -> u64 {
        self.waits.load(Relaxed)
    }

    /// Takes messages that are in sight.
    fn take(&self, queue: ResourceId, max: usize) -> Vec<Message> {
        let mut kept = self.kept();
        let kept = kept.queues.entry(queue).or_default();
        let count = max.min(kept.visible.len());
        let mut messages: Vec<Message> = kept.visible.drain(..count).collect();
        messages.iter_mut().for_each(|message| message.receives += 1);
        kept.in_flight.extend(messages.iter().cloned());
        kept.stats.received += messages.len() as u64;
        messages
    }

    /// All ids that something is kept by.
    pub(crate) fn ids(&self) -> Vec<ResourceId> {
        let kept = self.kept();
        kept.tables.keys().chain(kept.queues.keys()).chain(kept.buckets.keys()).copied().collect()
    }
}

fn no_object<T>() -> Result<T, BucketError> {
    Err(BucketError::Invalid("the test keeps no objects".to_owned()))
}

#[async_trait]
impl Tables for MemoryData {
    async fn get(&self, table: ResourceId, keys: Vec<String>) -> Result<Vec<Option<Item>>, TableError> {
        let kept = self.kept();
        let items = kept.tables.get(&table);
        Ok(keys.iter().map(|key| items?.get(key).cloned()).collect())
    }

    async fn write(&self, table: ResourceId, writes: Vec<ItemWrite>) -> Result<Vec<u64>, TableError> {
        let kept = &mut *self.kept();
        let items = kept.tables.entry(table).or_default();
        for ItemWrite { key, expect, .. } in &writes {
            let actual = items.get(key).map(|item| item.version);
            let holds = match expect {
                ItemExpect::Any => true,
                ItemExpect::Absent => actual.is_none(),
                ItemExpect::Present => actual.is_some(),
                ItemExpect::Version(version) => actual == Some(*version),
            };
            if !holds {
                return Err(TableError::Conflict { key: key.clone(), actual });
            }
        }
        let version = &mut kept.version;
        let done = writes.into_iter().map(|ItemWrite { key, value, expires_at_ms, .. }| match value {
            Some(value) => {
                *version += 1;
                items.insert(key.clone(), Item { key, value, version: *version, expires_at_ms });
                *version
            }
            None => {
                items.remove(&key);
                0
            }
        });
        Ok(done.collect())
    }

    async fn increment(&self, table: ResourceId, key: String, delta: i64) -> Result<i64, TableError> {
        let found = Tables::get(self, table, vec![key.clone()]).await?.remove(0);
        let number: i64 = match found {
            None => 0,
            Some(item) => std::str::from_utf8(&item.value)
                .ok()
                .and_then(|text| text.parse().ok())
                .ok_or(TableError::NotANumber { key: key.clone(), why: "it is a word".to_owned() })?,
        };
        let sum = number + delta;
        let value = Some(sum.to_string().into());
        let write = ItemWrite { key, value, expires_at_ms: None, expect: ItemExpect::Any };
        self.write(table, vec![write]).await?;
        Ok(sum)
    }

    async fn scan(&self, table: ResourceId, scan: Scan) -> Result<ScanPage, TableError> {
        let kept = self.kept();
        let items = kept.tables.get(&table).into_iter().flat_map(BTreeMap::values);
        let is_such = |item: &&Item| {
            item.key.starts_with(&scan.prefix) && scan.after.as_ref().is_none_or(|after| item.key > *after)
        };
        let mut items: Vec<Item> = items.filter(is_such).cloned().collect();
        let has_more = items.len() > scan.limit as usize;
        items.truncate(scan.limit as usize);
        let next = items.last().filter(|_| has_more).map(|item| item.key.clone());
        Ok(ScanPage { items, next })
    }

    async fn stats(&self, table: ResourceId) -> Result<TableStats, TableError> {
        let kept = self.kept();
        let items = kept.tables.get(&table);
        let bytes = |item: &Item| (item.key.len() + item.value.len()) as u64;
        Ok(items.map_or_else(TableStats::default, |items| TableStats {
            items: items.len() as u64,
            bytes: items.values().map(bytes).sum(),
        }))
    }

    async fn drop_table(&self, table: ResourceId) -> Result<(), TableError> {
        self.kept().tables.remove(&table);
        Ok(())
    }

    async fn tables(&self) -> Result<Vec<ResourceId>, TableError> {
        Ok(self.kept().tables.keys().copied().collect())
    }
}

#[async_trait]
impl Queues for MemoryData {
    async fn send(
        &self,
        queue: &QueueRef,
        messages: Vec<NewMessage>,
    ) -> Result<Vec<Result<Sent, MessageError>>, QueueFailure> {
        let mut kept = self.kept();
        let kept = kept.queues.entry(queue.id).or_default();
        let sent = messages.into_iter().map(|NewMessage { body, attributes, group, .. }| {
            if queue.spec.order.is_fifo() && group.is_none() {
                return Err(MessageError::Invalid(
                    "a message of a FIFO queue has a group: name one".to_owned(),
                ));
            }
            kept.stats.sent += 1;
            let sequence = kept.stats.sent;
            let (id, receipt) = (format!("{sequence:032x}"), Receipt(format!("r-{sequence}")));
            let (sent_at_ms, receives) = (1_000, 0);
            let dead_letter_source = None;
            kept.visible.push(Message {
                id: id.clone(),
                sequence,
                receipt,
                body,
                attributes,
                group,
                sent_at_ms,
                receives,
                dead_letter_source,
            });
            Ok(Sent { id, sequence, is_duplicate: false })
        });
        let sent = sent.collect();
        self.news.notify_waiters();
        Ok(sent)
    }

    async fn receive(
        &self,
        queue: &QueueRef,
        max: usize,
        _: Option<Duration>,
        wait: Duration,
    ) -> Result<Vec<Message>, QueueFailure> {
        let came = self.news.notified();
        let messages = self.take(queue.id, max);
        if !messages.is_empty() {
            return Ok(messages);
        }
        self.waits.fetch_add(1, Relaxed);
        match tokio::time::timeout(wait, came).await {
            Ok(()) => Ok(self.take(queue.id, max)),
            Err(_) => Ok(vec![]),
        }
    }

    async fn delete(
        &self,
        queue: &QueueRef,
        receipts: Vec<Receipt>,
    ) -> Result<Vec<Result<(), MessageError>>, QueueFailure> {
        let mut kept = self.kept();
        let kept = kept.queues.entry(queue.id).or_default();
        let delete =
            |receipt: Receipt| match kept.in_flight.iter().position(|message| message.receipt == receipt) {
                Some(at) => {
                    kept.in_flight.remove(at);
                    kept.stats.deleted += 1;
                    Ok(())
                }
                None => Err(MessageError::Stale),
            };
        Ok(receipts.into_iter().map(delete).collect())
    }

    async fn change_visibility(
        &self,
        queue: &QueueRef,
        changes: Vec<(Receipt, Duration)>,
    ) -> Result<Vec<Result<(), MessageError>>, QueueFailure> {
        let mut kept = self.kept();
        let kept = kept.queues.entry(queue.id).or_default();
        let change = |(receipt, time): (Receipt, Duration)| {
            let at = kept.in_flight.iter().position(|message| message.receipt == receipt);
            let at = at.ok_or(MessageError::Stale)?;
            if time.is_zero() {
                let message = kept.in_flight.remove(at);
                kept.visible.push(message);
            }
            Ok(())
        };
        let changed = changes.into_iter().map(change).collect();
        self.news.notify_waiters();
        Ok(changed)
    }

    async fn bury(
        &self,
        queue: &QueueRef,
        receipts: Vec<Receipt>,
    ) -> Result<Vec<Result<(), MessageError>>, QueueFailure> {
        let mut kept = self.kept();
        let bury = |receipt: Receipt| {
            let from = kept.queues.entry(queue.id).or_default();
            let at = from.in_flight.iter().position(|message| message.receipt == receipt);
            let at = at.ok_or(MessageError::Stale)?;
            if let Some(to) = queue.dead_letter {
                let message = from.in_flight.remove(at);
                let message = Message { dead_letter_source: Some(queue.id), receives: 0, ..message };
                kept.queues.entry(to).or_default().visible.push(message);
            }
            Ok(())
        };
        Ok(receipts.into_iter().map(bury).collect())
    }

    async fn purge(&self, queue: &QueueRef) -> Result<u64, QueueFailure> {
        let kept = self.kept().queues.remove(&queue.id).unwrap_or_default();
        Ok((kept.visible.len() + kept.in_flight.len()) as u64)
    }

    async fn redrive(&self, from: &QueueRef, to: Option<&QueueRef>, max: u64) -> Result<u64, QueueFailure> {
        let Some(to) = to else {
            return Err(QueueFailure::Invalid("the test does not know where from".to_owned()));
        };
        let mut kept = self.kept();
        let visible = &mut kept.queues.entry(from.id).or_default().visible;
        let count = visible.len().min(max.min(1_000) as usize);
        let moved: Vec<Message> = visible.drain(..count).collect();
        kept.queues.entry(to.id).or_default().visible.extend(moved);
        Ok(count as u64)
    }

    fn stats(&self, queue: &QueueRef) -> QueueStats {
        let kept = self.kept();
        kept.queues.get(&queue.id).map_or_else(QueueStats::default, |kept| QueueStats {
            visible: kept.visible.len() as u64,
            in_flight: kept.in_flight.len() as u64,
            oldest_sent_at_ms: kept.visible.first().map(|message| message.sent_at_ms),
            ..kept.stats
        })
    }

    async fn ready(&self, queue: &QueueRef) {
        loop {
            let came = self.news.notified();
            if self.kept().queues.get(&queue.id).is_some_and(|kept| !kept.visible.is_empty()) {
                return;
            }
            came.await;
        }
    }

    async fn drop_queue(&self, queue: ResourceId) -> Result<(), QueueFailure> {
        self.kept().queues.remove(&queue);
        Ok(())
    }

    fn queues(&self) -> Vec<ResourceId> {
        self.kept().queues.keys().copied().collect()
    }
}

#[async_trait]
impl Buckets for MemoryData {
    async fn put(&self, _: ObjectPut, _: ObjectBytes) -> Result<ObjectInfo, BucketError> {
        no_object()
    }

    async fn head(&self, _: &ObjectRef) -> Result<ObjectInfo, BucketError> {
        no_object()
    }

    async fn get(
        &self,
        _: &ObjectRef,
        _: Option<ByteRange>,
    ) -> Result<(ObjectInfo, Range<u64>, ObjectBytes), BucketError> {
        no_object()
    }

    async fn delete(&self, _: &ObjectRef, _: ObjectExpect, _: Cause) -> Result<bool, BucketError> {
        Ok(false)
    }

    async fn copy(
        &self,
        _: &ObjectRef,
        _: ObjectExpect,
        _: ObjectPut,
        _: bool,
    ) -> Result<ObjectInfo, BucketError> {
        no_object()
    }

    async fn list(&self, _: ResourceId, _: ObjectList) -> Result<ObjectPage, BucketError> {
        Ok(ObjectPage::default())
    }

    async fn create_upload(&self, _: &ObjectRef, _: ObjectContent) -> Result<String, BucketError> {
        no_object()
    }

    async fn put_part(
        &self,
        _: &UploadRef,
        _: u32,
        _: Checks,
        _: ObjectBytes,
    ) -> Result<PartInfo, BucketError> {
        no_object()
    }

    async fn copy_part(
        &self,
        _: &UploadRef,
        _: u32,
        _: &ObjectRef,
        _: Option<ByteRange>,
    ) -> Result<PartInfo, BucketError> {
        no_object()
    }

    async fn parts(&self, _: &UploadRef, _: u32, _: u32) -> Result<(Vec<PartInfo>, bool), BucketError> {
        no_object()
    }

    async fn complete_upload(
        &self,
        _: &UploadRef,
        _: Vec<(u32, String)>,
        _: ObjectExpect,
        _: Cause,
    ) -> Result<ObjectInfo, BucketError> {
        no_object()
    }

    async fn abort_upload(&self, _: &UploadRef) -> Result<(), BucketError> {
        no_object()
    }

    async fn uploads(
        &self,
        _: ResourceId,
        _: &str,
        _: Option<(String, String)>,
        _: u32,
    ) -> Result<(Vec<UploadInfo>, bool), BucketError> {
        Ok((vec![], false))
    }

    async fn events(&self, _: usize) -> Result<Vec<(u64, ObjectEvent)>, BucketError> {
        std::future::pending().await
    }

    async fn forget_events(&self, _: u64) -> Result<(), BucketError> {
        Ok(())
    }

    async fn stats(&self, bucket: ResourceId) -> Result<BucketStats, BucketError> {
        Ok(self.kept().buckets.get(&bucket).copied().unwrap_or_default())
    }

    async fn drop_bucket(&self, bucket: ResourceId) -> Result<(), BucketError> {
        self.kept().buckets.remove(&bucket);
        Ok(())
    }

    async fn buckets(&self) -> Result<Vec<ResourceId>, BucketError> {
        Ok(self.kept().buckets.keys().copied().collect())
    }
}

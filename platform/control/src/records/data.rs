//! The records of buckets, tables and queues.

use super::{Stored, record};
use crate::keys;
use crate::model::{Bucket, Declared, ItemTable, Kept, Queue};
use serde::{Deserialize, Serialize};
use skiff_ports::store::Key;
use skiff_types::{
    BucketSpec, DeadLetter, MemorySize, Name, QualifiedName, QueueOrder, QueueSpec, ResourceId, Span,
    TableSpec,
};
use std::sync::Arc;

/// A bucket's record.
#[derive(Serialize, Deserialize)]
pub(crate) struct BucketRecord {
    name: QualifiedName,
    id: ResourceId,
    bus: Name,
    created_at_ms: u64,
    updated_at_ms: u64,
}

impl From<&Bucket> for BucketRecord {
    fn from(object: &Bucket) -> Self {
        let Kept { id, spec } = &*object.spec;
        Self {
            name: spec.name.clone(),
            id: *id,
            bus: spec.bus.clone(),
            created_at_ms: object.created_at_ms,
            updated_at_ms: object.updated_at_ms,
        }
    }
}

impl From<BucketRecord> for Bucket {
    fn from(record: BucketRecord) -> Self {
        let spec = BucketSpec { name: record.name, bus: record.bus };
        kept(record.id, spec, record.created_at_ms, record.updated_at_ms)
    }
}

impl Stored for Bucket {
    const PREFIX: &'static str = "bucket";
    type Record = BucketRecord;

    fn key(&self) -> Key {
        keys::bucket(&self.spec.spec.name)
    }
}

/// A table's record.
#[derive(Serialize, Deserialize)]
pub(crate) struct TableRecord {
    name: QualifiedName,
    id: ResourceId,
    created_at_ms: u64,
    updated_at_ms: u64,
}

impl From<&ItemTable> for TableRecord {
    fn from(object: &ItemTable) -> Self {
        let Kept { id, spec } = &*object.spec;
        let (created_at_ms, updated_at_ms) = (object.created_at_ms, object.updated_at_ms);
        Self { name: spec.name.clone(), id: *id, created_at_ms, updated_at_ms }
    }
}

impl From<TableRecord> for ItemTable {
    fn from(record: TableRecord) -> Self {
        kept(record.id, TableSpec { name: record.name }, record.created_at_ms, record.updated_at_ms)
    }
}

impl Stored for ItemTable {
    const PREFIX: &'static str = "table";
    type Record = TableRecord;

    fn key(&self) -> Key {
        keys::table(&self.spec.spec.name)
    }
}

/// Which promises a queue makes.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum OrderRecord {
    Standard,
    Fifo { content_based_deduplication: bool },
}

impl From<QueueOrder> for OrderRecord {
    fn from(order: QueueOrder) -> Self {
        match order {
            QueueOrder::Standard => Self::Standard,
            QueueOrder::Fifo { content_based_deduplication } => Self::Fifo { content_based_deduplication },
        }
    }
}

impl From<OrderRecord> for QueueOrder {
    fn from(record: OrderRecord) -> Self {
        match record {
            OrderRecord::Standard => Self::Standard,
            OrderRecord::Fifo { content_based_deduplication } => Self::Fifo { content_based_deduplication },
        }
    }
}

record!(DeadLetterRecord = DeadLetter { queue: Name, receives_max: u32 });

/// A queue's record.
#[derive(Serialize, Deserialize)]
pub(crate) struct QueueRecord {
    name: QualifiedName,
    id: ResourceId,
    order: OrderRecord,
    visibility_timeout: Span,
    delay: Span,
    retention: Span,
    receive_wait: Span,
    message_max: MemorySize,
    messages_max: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    dead_letter: Option<DeadLetterRecord>,
    created_at_ms: u64,
    updated_at_ms: u64,
}

impl From<&Queue> for QueueRecord {
    fn from(object: &Queue) -> Self {
        let Kept { id, spec } = &*object.spec;
        Self {
            name: spec.name.clone(),
            id: *id,
            order: spec.order.into(),
            visibility_timeout: spec.visibility_timeout,
            delay: spec.delay,
            retention: spec.retention,
            receive_wait: spec.receive_wait,
            message_max: spec.message_max,
            messages_max: spec.messages_max,
            dead_letter: spec.dead_letter.as_ref().map(DeadLetterRecord::from),
            created_at_ms: object.created_at_ms,
            updated_at_ms: object.updated_at_ms,
        }
    }
}

impl From<QueueRecord> for Queue {
    fn from(record: QueueRecord) -> Self {
        let spec = QueueSpec {
            name: record.name,
            order: record.order.into(),
            visibility_timeout: record.visibility_timeout,
            delay: record.delay,
            retention: record.retention,
            receive_wait: record.receive_wait,
            message_max: record.message_max,
            messages_max: record.messages_max,
            dead_letter: record.dead_letter.map(DeadLetter::from),
        };
        kept(record.id, spec, record.created_at_ms, record.updated_at_ms)
    }
}

impl Stored for Queue {
    const PREFIX: &'static str = "queue";
    type Record = QueueRecord;

    fn key(&self) -> Key {
        keys::queue(&self.spec.spec.name)
    }
}

fn kept<S>(id: ResourceId, spec: S, created_at_ms: u64, updated_at_ms: u64) -> Declared<Kept<S>> {
    let spec = Arc::new(Kept { id, spec: Arc::new(spec) });
    Declared { spec, created_at_ms, updated_at_ms }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::tests::check;

    #[test]
    fn what_is_on_disk_today_is_read_tomorrow() {
        let id = ResourceId::from_bytes([0xab; 8]);
        let bucket = BucketSpec { name: "default/uploads".parse().unwrap(), bus: "default".parse().unwrap() };
        check(
            &kept(id, bucket, 1, 2),
            r#"{"name":"default/uploads","id":"abababababababab","bus":"default","created_at_ms":1,"updated_at_ms":2}"#,
        );
        check(
            &kept(id, TableSpec { name: "default/rows".parse().unwrap() }, 1, 2),
            r#"{"name":"default/rows","id":"abababababababab","created_at_ms":1,"updated_at_ms":2}"#,
        );
        let queue = QueueSpec::new("default/orders".parse().unwrap(), QueueOrder::Standard);
        check(
            &kept(id, queue.clone(), 1, 2),
            r#"{"name":"default/orders","id":"abababababababab","order":"standard","visibility_timeout":"30s","delay":"0ms","retention":"4d","receive_wait":"0ms","message_max":"1MiB","messages_max":1000000,"created_at_ms":1,"updated_at_ms":2}"#,
        );
        let fifo = QueueSpec {
            order: QueueOrder::Fifo { content_based_deduplication: true },
            dead_letter: Some(DeadLetter { queue: "dead".parse().unwrap(), receives_max: 3 }),
            ..queue
        };
        check(
            &kept(id, fifo, 1, 2),
            r#"{"name":"default/orders","id":"abababababababab","order":{"fifo":{"content_based_deduplication":true}},"visibility_timeout":"30s","delay":"0ms","retention":"4d","receive_wait":"0ms","message_max":"1MiB","messages_max":1000000,"dead_letter":{"queue":"dead","receives_max":3},"created_at_ms":1,"updated_at_ms":2}"#,
        );
    }
}

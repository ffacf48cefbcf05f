//! The records of consumers of queues.

use super::Stored;
use crate::keys;
use crate::model::Consumer;
use serde::{Deserialize, Serialize};
use skiff_ports::store::Key;
use skiff_types::{ConsumerSpec, Name, QualifiedName};
use std::sync::Arc;

/// A consumer's record.
#[derive(Serialize, Deserialize)]
pub(crate) struct ConsumerRecord {
    name: QualifiedName,
    queue: Name,
    service: Name,
    batch: u32,
    concurrency: u32,
    created_at_ms: u64,
    updated_at_ms: u64,
}

impl From<&Consumer> for ConsumerRecord {
    fn from(object: &Consumer) -> Self {
        let ConsumerSpec { name, queue, service, batch, concurrency } = &*object.spec;
        Self {
            name: name.clone(),
            queue: queue.clone(),
            service: service.clone(),
            batch: *batch,
            concurrency: *concurrency,
            created_at_ms: object.created_at_ms,
            updated_at_ms: object.updated_at_ms,
        }
    }
}

impl From<ConsumerRecord> for Consumer {
    fn from(record: ConsumerRecord) -> Self {
        let ConsumerRecord { name, queue, service, batch, concurrency, created_at_ms, updated_at_ms } =
            record;
        let spec = Arc::new(ConsumerSpec { name, queue, service, batch, concurrency });
        Self { spec, created_at_ms, updated_at_ms }
    }
}

impl Stored for Consumer {
    const PREFIX: &'static str = "consumer";
    type Record = ConsumerRecord;

    fn key(&self) -> Key {
        keys::consumer(&self.spec.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_on_disk_today_is_read_tomorrow() {
        let spec = ConsumerSpec {
            name: "default/orders".parse().unwrap(),
            queue: "orders".parse().unwrap(),
            service: "fulfil".parse().unwrap(),
            batch: 10,
            concurrency: 2,
        };
        let object = Consumer { spec: Arc::new(spec), created_at_ms: 1, updated_at_ms: 2 };
        let written = r#"{"version":1,"object":{"name":"default/orders","queue":"orders","service":"fulfil","batch":10,"concurrency":2,"created_at_ms":1,"updated_at_ms":2}}"#;
        assert_eq!(String::from_utf8(object.encode().unwrap().to_vec()).unwrap(), written);
        assert_eq!(Consumer::decode(written.as_bytes()).unwrap(), object);
    }
}

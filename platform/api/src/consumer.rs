//! Consumers: which service is given the messages of which queue, and what has come of that.
//!
//! What a call leaves out gets its default: a call replaces all that a consumer says.

use crate::{InvalidSpec, text};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skiff_types::{ConsumerSpec, Name, Namespace, QualifiedName};

/// A consumer that is to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PutConsumer {
    /// The queue whose messages are taken.
    #[schemars(with = "text::Name")]
    pub queue: Name,
    /// The service that they are given to; its component exports skiff:queues/consumer, and its role allows queue:receive.
    #[schemars(with = "text::Name")]
    pub service: Name,
    /// Messages that are given together at most, 1 to 10; 10 where left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<u32>,
    /// Batches that one task has at once at most, 1 to 100; 1 where left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u32>,
}

impl PutConsumer {
    /// What this means for a consumer of this name; an error says what to do. Whether there are such a queue and such a service,
    /// it does not know.
    pub fn to_domain(&self, name: QualifiedName) -> Result<ConsumerSpec, InvalidSpec> {
        let spec = ConsumerSpec {
            name,
            queue: self.queue.clone(),
            service: self.service.clone(),
            batch: self.batch.unwrap_or(ConsumerSpec::BATCH_DEFAULT),
            concurrency: self.concurrency.unwrap_or(ConsumerSpec::CONCURRENCY_DEFAULT),
        };
        spec.check()?;
        Ok(spec)
    }
}

/// The call that makes it so, nothing left out.
impl From<&ConsumerSpec> for PutConsumer {
    fn from(spec: &ConsumerSpec) -> Self {
        Self {
            queue: spec.queue.clone(),
            service: spec.service.clone(),
            batch: Some(spec.batch),
            concurrency: Some(spec.concurrency),
        }
    }
}

/// A consumer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Consumer {
    /// Its name.
    #[schemars(with = "text::Name")]
    pub name: Name,
    /// Where it lives.
    #[schemars(with = "text::Namespace")]
    pub namespace: Namespace,
    /// Its revision, for `If-Match`.
    pub revision: u64,
    /// The queue whose messages are taken.
    #[schemars(with = "text::Name")]
    pub queue: Name,
    /// The service that they are given to.
    #[schemars(with = "text::Name")]
    pub service: Name,
    /// Messages that are given together at most.
    pub batch: u32,
    /// Batches that one task has at once at most.
    pub concurrency: u32,
    /// What it does at present, and what has come of it.
    pub status: ConsumerStatus,
    /// When it was made, in milliseconds since 1970.
    pub created_at_ms: u64,
    /// When it was last changed by its user, in milliseconds since 1970.
    pub updated_at_ms: u64,
}

impl Consumer {
    /// A consumer that is to be so, and does this.
    pub fn new(
        spec: &ConsumerSpec,
        revision: u64,
        status: ConsumerStatus,
        created_at_ms: u64,
        updated_at_ms: u64,
    ) -> Self {
        Self {
            name: spec.name.name.clone(),
            namespace: spec.name.namespace.clone(),
            revision,
            queue: spec.queue.clone(),
            service: spec.service.clone(),
            batch: spec.batch,
            concurrency: spec.concurrency,
            status,
            created_at_ms,
            updated_at_ms,
        }
    }
}

/// Whether a consumer takes messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ConsumerState {
    /// It takes messages as they come, as far as tasks have room.
    Active,
    /// The service sleeps; the next message wakes it.
    Asleep,
    /// It waits for a task that runs.
    Waiting,
    /// It takes none until somebody changes what the reason says.
    Blocked,
}

/// What a consumer does, and what has come of it since the platform started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ConsumerStatus {
    /// Whether it takes messages.
    pub state: ConsumerState,
    /// Why it takes none, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Tasks that messages are given to.
    pub tasks: u32,
    /// Batches that tasks have.
    pub in_flight: u64,
    /// Messages that were done.
    pub done: u64,
    /// Messages that come again: their task said so, or failed.
    pub retried: u64,
    /// Messages that their task rejected.
    pub rejected: u64,
    /// Batches that a task failed at.
    pub failed_batches: u64,
    /// What went wrong last, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_failure: Option<String>,
    /// When that was, in milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_failure_at_ms: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(body: serde_json::Value) -> Result<ConsumerSpec, InvalidSpec> {
        let body: PutConsumer = serde_json::from_value(body).unwrap();
        body.to_domain("shop/orders".parse().unwrap())
    }

    #[test]
    fn what_is_left_out_has_its_default_and_what_is_shown_makes_it_so() {
        let spec = read(json!({ "queue": "orders", "service": "fulfil" })).unwrap();
        assert_eq!((spec.batch, spec.concurrency), (10, 1));
        let said = PutConsumer::from(&spec);
        assert_eq!(said.to_domain(spec.name.clone()).unwrap(), spec);
        let status = ConsumerStatus {
            state: ConsumerState::Blocked,
            reason: Some("there is no queue".to_owned()),
            tasks: 0,
            in_flight: 0,
            done: 1,
            retried: 2,
            rejected: 3,
            failed_batches: 4,
            last_failure: None,
            last_failure_at_ms: None,
        };
        let shown = serde_json::to_value(Consumer::new(&spec, 7, status, 1, 2)).unwrap();
        for (field, value) in serde_json::to_value(said).unwrap().as_object().unwrap() {
            assert_eq!(&shown[field], value, "{field}");
        }
        assert_eq!(shown["status"]["state"], "BLOCKED");
    }

    #[test]
    fn what_can_not_be_is_refused() {
        let error = read(json!({ "queue": "orders", "service": "fulfil", "batch": 11 })).unwrap_err();
        assert_eq!(error.to_string(), "batch is 11; it can be from 1 to 10");
        assert!(read(json!({ "queue": "a", "service": "b", "concurrency": 0 })).is_err());
    }
}

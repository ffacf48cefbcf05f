//! Consumers: which service is given a queue's messages, and how many at a time. Lambda's event source mappings.
//!
//! It deliberately decides nothing. How long messages stay out of sight meanwhile is for their queue to say.

use crate::{Name, QualifiedName, QueueSpec};

/// A service that is given the messages of a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumerSpec {
    /// Its name.
    pub name: QualifiedName,
    /// The queue, of the same namespace.
    pub queue: Name,
    /// The service, of the same namespace. Its tasks export `skiff:queues/consumer`.
    pub service: Name,
    /// Messages that are given together at most. From 1 to [`QueueSpec::BATCH_MAX`].
    pub batch: u32,
    /// Batches that one task has at once at most. From 1 to [`ConsumerSpec::CONCURRENCY_MAX`].
    pub concurrency: u32,
}

impl ConsumerSpec {
    /// Messages of a batch where nothing is said, as at Lambda.
    pub const BATCH_DEFAULT: u32 = QueueSpec::BATCH_MAX as u32;
    /// Batches of a task at once where nothing is said.
    pub const CONCURRENCY_DEFAULT: u32 = 1;
    /// The most batches of a task at once that may be asked for.
    pub const CONCURRENCY_MAX: u32 = 100;

    /// Refuses what no consumer can be; an error says what to do.
    pub fn check(&self) -> Result<(), ConsumerError> {
        let bounds = [
            ("batch", self.batch, Self::BATCH_DEFAULT),
            ("concurrency", self.concurrency, Self::CONCURRENCY_MAX),
        ];
        match bounds.into_iter().find(|(_, asked, most)| !(1..=*most).contains(asked)) {
            Some((what, asked, most)) => Err(ConsumerError { what, asked, most }),
            None => Ok(()),
        }
    }
}

/// A number that no consumer can have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} is {asked}; it can be from 1 to {most}")]
pub struct ConsumerError {
    /// Which.
    pub what: &'static str,
    /// What was asked for.
    pub asked: u32,
    /// The most.
    pub most: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_consumer_can_be_is_refused() {
        let sound = ConsumerSpec {
            name: "default/orders".parse().unwrap(),
            queue: "orders".parse().unwrap(),
            service: "fulfil".parse().unwrap(),
            batch: ConsumerSpec::BATCH_DEFAULT,
            concurrency: ConsumerSpec::CONCURRENCY_DEFAULT,
        };
        sound.check().unwrap();
        ConsumerSpec { batch: 1, concurrency: 100, ..sound.clone() }.check().unwrap();
        let bad = [
            ConsumerSpec { batch: 0, ..sound.clone() },
            ConsumerSpec { batch: 11, ..sound.clone() },
            ConsumerSpec { concurrency: 0, ..sound.clone() },
            ConsumerSpec { concurrency: 101, ..sound },
        ];
        for spec in bad {
            assert!(spec.check().is_err(), "{spec:?} was taken");
        }
    }
}

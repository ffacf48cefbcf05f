//! Queues: what their users say of them, in SQS's words. What a queue holds lies elsewhere.
//!
//! Source: <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_CreateQueue.html>

use crate::{MemorySize, Name, QualifiedName, Span};

/// What a queue is to be like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueSpec {
    /// Its name.
    pub name: QualifiedName,
    /// Which promises it makes. Never changes.
    pub order: QueueOrder,
    /// How long a message that was received stays out of sight, where the receiver says nothing.
    pub visibility_timeout: Span,
    /// How long a message stays out of sight once it was sent, where the sender says nothing.
    pub delay: Span,
    /// How long a message is kept that nobody deletes.
    pub retention: Span,
    /// How long a receive waits for a message, where the receiver says nothing.
    pub receive_wait: Span,
    /// The largest message: its body and its attributes together.
    pub message_max: MemorySize,
    /// Messages that it holds at most, whatever they are doing; the next is refused.
    pub messages_max: u64,
    /// Where messages go that are received again and again.
    pub dead_letter: Option<DeadLetter>,
}

/// Which promises a queue makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum QueueOrder {
    /// Messages come about in the order in which they were sent.
    Standard,
    /// Messages of a group come in the order in which they were sent, each once the one before it is deleted; what is sent
    /// twice within five minutes is kept once.
    Fifo {
        /// A message that is sent without a deduplication id has the digest of its body for one.
        content_based_deduplication: bool,
    },
}

impl QueueOrder {
    /// Whether groups keep their order.
    pub fn is_fifo(self) -> bool {
        matches!(self, Self::Fifo { .. })
    }
}

/// Where messages go that are received again and again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// The queue, of the same namespace and order.
    pub queue: Name,
    /// Receives that a message may have; at the next it moves instead. From 1 to [`DeadLetter::RECEIVES_MAX`].
    pub receives_max: u32,
}

impl DeadLetter {
    /// The most receives that may be asked for, as at AWS.
    pub const RECEIVES_MAX: u32 = 1_000;
}

impl QueueSpec {
    /// The longest time that a message may stay out of sight.
    pub const VISIBILITY_MAX: Span = Span::from_ms(12 * 3_600_000);
    /// The longest delay.
    pub const DELAY_MAX: Span = Span::from_ms(15 * 60_000);
    /// The shortest retention.
    pub const RETENTION_MIN: Span = Span::from_ms(60_000);
    /// The longest retention.
    pub const RETENTION_MAX: Span = Span::from_ms(14 * 86_400_000);
    /// The longest wait for a message.
    pub const WAIT_MAX: Span = Span::from_ms(20_000);
    /// The largest message that may be asked for.
    pub const MESSAGE_MAX: MemorySize = MemorySize::from_mib(1);
    /// The most messages that a queue may be asked to hold.
    pub const MESSAGES_MAX: u64 = 10_000_000;
    /// Messages in one call.
    pub const BATCH_MAX: usize = 10;
    /// Messages of a standard queue that are out with receivers at once.
    pub const IN_FLIGHT_MAX: usize = 120_000;
    /// How long a FIFO queue remembers what was sent.
    pub const DEDUPLICATION_INTERVAL: Span = Span::from_ms(5 * 60_000);

    /// A queue of which nothing but its name and order was said.
    pub fn new(name: QualifiedName, order: QueueOrder) -> Self {
        Self {
            name,
            order,
            visibility_timeout: Span::from_ms(30_000),
            delay: Span::from_ms(0),
            retention: Span::from_ms(4 * 86_400_000),
            receive_wait: Span::from_ms(0),
            message_max: Self::MESSAGE_MAX,
            messages_max: 1_000_000,
            dead_letter: None,
        }
    }

    /// Refuses what no queue can be; an error says what to do.
    pub fn check(&self) -> Result<(), QueueError> {
        let spans = [
            ("visibility-timeout", self.visibility_timeout, Span::from_ms(0), Self::VISIBILITY_MAX),
            ("delay", self.delay, Span::from_ms(0), Self::DELAY_MAX),
            ("retention", self.retention, Self::RETENTION_MIN, Self::RETENTION_MAX),
            ("receive-wait", self.receive_wait, Span::from_ms(0), Self::WAIT_MAX),
        ];
        for (what, asked, least, most) in spans {
            if asked.ms() < least.ms() || asked.ms() > most.ms() {
                return Err(QueueError::Span { what, asked, least, most });
            }
        }
        if self.message_max.bytes() < 1_024 || self.message_max > Self::MESSAGE_MAX {
            return Err(QueueError::MessageMax { asked: self.message_max });
        }
        if self.messages_max == 0 || self.messages_max > Self::MESSAGES_MAX {
            return Err(QueueError::MessagesMax { asked: self.messages_max });
        }
        if let Some(DeadLetter { queue, receives_max }) = &self.dead_letter {
            if *queue == self.name.name {
                return Err(QueueError::Itself);
            }
            if !(1..=DeadLetter::RECEIVES_MAX).contains(receives_max) {
                return Err(QueueError::Receives { asked: *receives_max });
            }
        }
        Ok(())
    }
}

/// Why no queue can be so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QueueError {
    /// A time out of its bounds.
    #[error("{what} is {asked}; it can be from {least} to {most}")]
    Span {
        /// Which.
        what: &'static str,
        /// What was asked for.
        asked: Span,
        /// The shortest.
        least: Span,
        /// The longest.
        most: Span,
    },
    /// Messages out of their bounds.
    #[error("message-max is {asked}; it can be from 1KiB to {}", QueueSpec::MESSAGE_MAX)]
    MessageMax {
        /// What was asked for.
        asked: MemorySize,
    },
    /// Too many of them, or none.
    #[error("messages-max is {asked}; it can be from 1 to {}", QueueSpec::MESSAGES_MAX)]
    MessagesMax {
        /// What was asked for.
        asked: u64,
    },
    /// A dead-letter queue of its own.
    #[error("a queue can't be its own dead-letter queue: make another one for it")]
    Itself,
    /// Receives out of their bounds.
    #[error(
        "a message can have from 1 to {} receives before it is a dead letter, not {asked}",
        DeadLetter::RECEIVES_MAX
    )]
    Receives {
        /// What was asked for.
        asked: u32,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_of_which_nothing_is_said_is_sound() {
        let fifo = QueueOrder::Fifo { content_based_deduplication: true };
        for order in [QueueOrder::Standard, fifo] {
            QueueSpec::new("default/orders".parse().unwrap(), order).check().unwrap();
        }
    }

    #[test]
    fn what_no_queue_can_be_is_refused() {
        let sound = QueueSpec::new("default/orders".parse().unwrap(), QueueOrder::Standard);
        let dead_letter =
            |queue: &str, receives_max| Some(DeadLetter { queue: queue.parse().unwrap(), receives_max });
        let bad = [
            QueueSpec { visibility_timeout: Span::from_ms(43_200_001), ..sound.clone() },
            QueueSpec { delay: Span::from_ms(900_001), ..sound.clone() },
            QueueSpec { retention: Span::from_ms(59_999), ..sound.clone() },
            QueueSpec { receive_wait: Span::from_ms(20_001), ..sound.clone() },
            QueueSpec { message_max: MemorySize::from_mib(2), ..sound.clone() },
            QueueSpec { messages_max: 0, ..sound.clone() },
            QueueSpec { dead_letter: dead_letter("orders", 3), ..sound.clone() },
            QueueSpec { dead_letter: dead_letter("dead", 0), ..sound.clone() },
            QueueSpec { dead_letter: dead_letter("dead", 1_001), ..sound },
        ];
        for spec in bad {
            assert!(spec.check().is_err(), "{spec:?} was taken");
        }
    }
}

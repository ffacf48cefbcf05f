//! Consumers of queues: what their users said of them.

use super::Declared;
use skiff_types::ConsumerSpec;

/// A consumer.
pub(crate) type Consumer = Declared<ConsumerSpec>;

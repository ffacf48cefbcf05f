//! Buses that nobody has use for: where no scene plays `buses`. Tables, buckets and queues are [`skiff_memory`]'s.

use async_trait::async_trait;
use skiff_ports::buses::{BusCounts, BusError, BusStats, Buses, NewDelivery, RuleChanges, Tail};
use skiff_types::{BusEvent, EventRuleSpec, Namespace, QualifiedName};
use std::collections::BTreeSet;
use std::sync::Arc;

/// They answer at once, and the same each time, so that nothing of a simulation hangs on them.
pub(crate) struct NoBuses;

#[async_trait]
impl Buses for NoBuses {
    fn set_rules(&self, _: Vec<Arc<EventRuleSpec>>) {}

    fn change_rules(&self, _: RuleChanges) {}

    /// Nobody is there who would want to know.
    async fn put(&self, _: Vec<BusEvent>) -> Result<(), BusError> {
        Ok(())
    }

    async fn pass_on(&self, event: BusEvent) -> Result<(), BusError> {
        Buses::put(self, vec![event]).await
    }

    async fn put_deliveries(&self, _: Vec<NewDelivery>) -> Result<(), BusError> {
        Err(BusError::Invalid("the simulation has no buses here".to_owned()))
    }

    fn settle_deliveries(&self, _: Vec<(QualifiedName, Arc<str>)>, _: BTreeSet<QualifiedName>) {}

    fn tail(&self, _: &Namespace) -> Tail {
        Box::pin(futures::stream::pending())
    }

    fn stats(&self) -> BusStats {
        BusStats::default()
    }

    fn take_counts(&self) -> BusCounts {
        BusCounts::default()
    }
}

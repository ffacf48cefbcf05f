//! Buckets, tables and queues by their names, with what is looked up of them by more than that: who names a queue, and which
//! ids are needed.
//!
//! It deliberately knows no content, and asks no engine.

use super::{Held, Table, View, Viewed};
use crate::keys;
use crate::model::{Bucket, ItemTable, Queue};
use crate::records::Stored;
use skiff_types::{QualifiedName, ResourceId};
use std::collections::BTreeSet;

/// The objects of buckets, tables and queues.
#[derive(Debug, Default)]
pub(crate) struct Data {
    pub(crate) buckets: Table<Bucket>,
    pub(crate) tables: Table<ItemTable>,
    pub(crate) queues: Table<Queue>,
}

/// The ids of what there is; `None` where a record can't be read, whose id nobody knows then.
pub(crate) type NeededIds = Option<BTreeSet<ResourceId>>;

impl View {
    /// A bucket.
    pub(crate) fn bucket(&self, name: &QualifiedName) -> Option<&Held<Bucket>> {
        self.data.buckets.get(&keys::bucket(name))
    }

    /// A table of items.
    pub(crate) fn item_table(&self, name: &QualifiedName) -> Option<&Held<ItemTable>> {
        self.data.tables.get(&keys::table(name))
    }

    /// A queue.
    pub(crate) fn queue(&self, name: &QualifiedName) -> Option<&Held<Queue>> {
        self.data.queues.get(&keys::queue(name))
    }

    /// The queues whose dead letters go to this one, by name.
    pub(crate) fn queues_that_bury_in<'a>(
        &'a self,
        name: &'a QualifiedName,
    ) -> impl Iterator<Item = &'a Held<Queue>> {
        let queues = self.data.queues.under(&keys::in_namespace("queue", &name.namespace));
        queues.filter(|held| {
            let dead_letter = held.value.spec.spec.dead_letter.as_ref();
            dead_letter.is_some_and(|dead_letter| dead_letter.queue == name.name)
        })
    }

    /// By which ids what buckets hold is kept.
    pub(crate) fn bucket_ids(&self) -> NeededIds {
        self.ids(Bucket::PREFIX, self.data.buckets.all().map(|held| held.value.spec.id))
    }

    /// By which ids what tables hold is kept.
    pub(crate) fn table_ids(&self) -> NeededIds {
        self.ids(ItemTable::PREFIX, self.data.tables.all().map(|held| held.value.spec.id))
    }

    /// By which ids what queues hold is kept.
    pub(crate) fn queue_ids(&self) -> NeededIds {
        self.ids(Queue::PREFIX, self.data.queues.all().map(|held| held.value.spec.id))
    }

    fn ids(&self, prefix: &str, ids: impl Iterator<Item = ResourceId>) -> NeededIds {
        let is_unknown = self.unreadable.iter().any(|key| key.tokens().next() == Some(prefix));
        (!is_unknown).then(|| ids.collect())
    }
}

impl Viewed for Bucket {
    const WHILE_UNREADABLE: &'static str = "nobody reaches what the bucket holds, which stays";
    table_at!(data.buckets);
}

impl Viewed for ItemTable {
    const WHILE_UNREADABLE: &'static str = "nobody reaches what the table holds, which stays";
    table_at!(data.tables);
}

impl Viewed for Queue {
    const WHILE_UNREADABLE: &'static str = "nobody reaches what the queue holds, which stays";
    table_at!(data.queues);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Declared, Kept};
    use crate::view::tests::put;
    use skiff_types::{DeadLetter, QueueOrder, QueueSpec, TableSpec};
    use std::sync::Arc;

    fn declared<S>(number: u8, spec: S) -> Declared<Kept<S>> {
        let spec = Kept { id: ResourceId::from_bytes([number; 8]), spec: Arc::new(spec) };
        Declared { spec: Arc::new(spec), created_at_ms: 1, updated_at_ms: 1 }
    }

    #[test]
    fn ids_are_not_known_while_a_record_can_not_be_read() {
        let mut view = View::default();
        assert_eq!(view.table_ids(), Some(BTreeSet::new()));
        let table = declared(7, TableSpec { name: "default/rows".parse().unwrap() });
        put(&mut view, table.clone());
        assert_eq!(view.table_ids(), Some(BTreeSet::from([ResourceId::from_bytes([7; 8])])));
        assert!(view.apply_unreadable::<ItemTable>(&table.key()));
        assert_eq!(view.table_ids(), None);
        assert_eq!(view.queue_ids(), Some(BTreeSet::new()), "others are not concerned");
    }

    #[test]
    fn who_buries_in_a_queue_is_found_in_its_namespace_alone() {
        let mut view = View::default();
        let dead: QualifiedName = "default/dead".parse().unwrap();
        for (number, name) in ["default/a", "default/b", "other/c", "default/dead"].into_iter().enumerate() {
            let mut spec = QueueSpec::new(name.parse().unwrap(), QueueOrder::Standard);
            let buries = name != "default/b" && name != "default/dead";
            spec.dead_letter = buries.then(|| DeadLetter { queue: dead.name.clone(), receives_max: 3 });
            put(&mut view, declared(number as u8, spec));
        }
        let names: Vec<String> =
            view.queues_that_bury_in(&dead).map(|held| held.value.spec.spec.name.to_string()).collect();
        assert_eq!(names, ["default/a"]);
    }
}

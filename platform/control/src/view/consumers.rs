//! Consumers of queues by their names, with what is looked up of them by more than that: those of a service, and those of a queue.
//!
//! It decides nothing, and knows no messages.

use super::{Held, Table, View, Viewed};
use crate::catalog::queue_ref;
use crate::keys;
use crate::model::Consumer;
use skiff_ports::catalog::QueueRef;
use skiff_types::{Name, QualifiedName};

impl View {
    /// A consumer.
    pub(crate) fn consumer(&self, name: &QualifiedName) -> Option<&Held<Consumer>> {
        self.consumers.get(&keys::consumer(name))
    }

    /// The consumers that give a service messages, by name.
    pub(crate) fn consumers_of_service<'a>(
        &'a self,
        service: &'a QualifiedName,
    ) -> impl Iterator<Item = &'a Held<Consumer>> {
        let consumers = self.consumers.under(&keys::in_namespace("consumer", &service.namespace));
        consumers.filter(|held| held.value.spec.service == service.name)
    }

    /// The consumers that take the messages of a queue, by name.
    pub(crate) fn consumers_of_queue<'a>(
        &'a self,
        queue: &'a QualifiedName,
    ) -> impl Iterator<Item = &'a Held<Consumer>> {
        let consumers = self.consumers.under(&keys::in_namespace("consumer", &queue.namespace));
        consumers.filter(|held| held.value.spec.queue == queue.name)
    }

    /// The services that are given messages, each with the queue of one of its consumers that is there.
    pub(crate) fn consumed_queues(&self) -> Vec<(QualifiedName, QueueRef)> {
        let consumed = |held: &Held<Consumer>| {
            let spec = &held.value.spec;
            let beside = |name: &Name| QualifiedName::new(spec.name.namespace.clone(), name.clone());
            Some((beside(&spec.service), queue_ref(self, &beside(&spec.queue))?))
        };
        self.consumers.all().filter_map(consumed).collect()
    }
}

impl Viewed for Consumer {
    const WHILE_UNREADABLE: &'static str = "it takes no messages";
    table_at!(consumers);
}

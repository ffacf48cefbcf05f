//! What consumers of queues have given to tasks: how many batches each task has, what came of those that ended, and how much there
//! is to do for each service.
//!
//! It is in memory alone, and gives nothing itself: a reconciler does (`reconcile::consumers`). What always holds: a batch is noted
//! before it is given, and until its task has answered or failed; so who ends a task sees all that it has.

pub(crate) mod standing;

use crate::context::Context;
use skiff_types::{QualifiedName, ResourceId, TaskId};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What was given, and what came of it. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Consumers {
    book: Arc<Mutex<Book>>,
}

#[derive(Debug, Default)]
struct Book {
    /// Batches that tasks have; nothing of a task that has none.
    of_tasks: HashMap<TaskId, u64>,
    /// Batches that services were given and that have ended.
    ended: BTreeMap<QualifiedName, u64>,
    known: BTreeMap<QualifiedName, Known>,
}

/// What came of a consumer's batches since the platform started.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Known {
    /// Batches that tasks have.
    pub(crate) in_flight: u64,
    /// Messages that were done.
    pub(crate) done: u64,
    /// Messages that come again.
    pub(crate) retried: u64,
    /// Messages that were rejected.
    pub(crate) rejected: u64,
    /// Batches that a task failed at.
    pub(crate) failed_batches: u64,
    /// What went wrong last, and when, in milliseconds since 1970.
    pub(crate) last_failure: Option<(u64, String)>,
}

impl Known {
    /// Notes what went wrong. A guest may have chosen what it says: it is one line then.
    pub(crate) fn fail(&mut self, at_ms: u64, why: &str) {
        self.last_failure = Some((at_ms, why.replace(char::is_control, " ")));
    }
}

/// A batch that a task has, until this is dropped.
#[derive(Debug)]
pub(crate) struct Given {
    book: Arc<Mutex<Book>>,
    consumer: QualifiedName,
    service: QualifiedName,
    task: TaskId,
}

impl Consumers {
    /// Notes that a task of a service is given a batch.
    pub(crate) fn give(&self, consumer: &QualifiedName, service: &QualifiedName, task: TaskId) -> Given {
        let mut noted = self.book();
        *noted.of_tasks.entry(task).or_default() += 1;
        noted.known.entry(consumer.clone()).or_default().in_flight += 1;
        let (book, consumer, service) = (self.book.clone(), consumer.clone(), service.clone());
        Given { book, consumer, service, task }
    }

    /// How many batches a task has.
    pub(crate) fn batches_of(&self, task: TaskId) -> u64 {
        self.book().of_tasks.get(&task).copied().unwrap_or_default()
    }

    /// How many batches a service was given that have ended: another number after each.
    pub(crate) fn ended_of(&self, service: &QualifiedName) -> u64 {
        self.book().ended.get(service).copied().unwrap_or_default()
    }

    /// What came of a consumer.
    pub(crate) fn known(&self, consumer: &QualifiedName) -> Known {
        self.book().known.get(consumer).cloned().unwrap_or_default()
    }

    /// Notes what came of a consumer.
    pub(crate) fn note(&self, consumer: &QualifiedName, change: impl FnOnce(&mut Known)) {
        change(self.book().known.entry(consumer.clone()).or_default());
    }

    /// Forgets what came of consumers that are not among these, and of services.
    pub(crate) fn retain(&self, consumers: &BTreeSet<QualifiedName>, services: &BTreeSet<QualifiedName>) {
        let mut book = self.book();
        book.known.retain(|consumer, known| known.in_flight > 0 || consumers.contains(consumer));
        book.ended.retain(|service, _| services.contains(service));
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Given {
    fn drop(&mut self) {
        let mut book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = book.of_tasks.get_mut(&self.task) {
            *count -= 1;
            if *count == 0 {
                book.of_tasks.remove(&self.task);
            }
        }
        if let Some(known) = book.known.get_mut(&self.consumer) {
            known.in_flight -= 1;
        }
        *book.ended.entry(self.service.clone()).or_default() += 1;
    }
}

/// Messages in sight and in flight of the queues that are there, for each service that is given any.
pub(crate) fn backlogs(context: &Context) -> BTreeMap<QualifiedName, u64> {
    let consumed = context.objects.read(|view| view.consumed_queues());
    let mut backlogs = BTreeMap::new();
    let mut counted: BTreeSet<(QualifiedName, ResourceId)> = BTreeSet::new();
    for (service, queue) in consumed {
        if !counted.insert((service.clone(), queue.id)) {
            continue;
        }
        let stats = context.queues.stats(&queue);
        *backlogs.entry(service).or_default() += stats.visible + stats.in_flight;
    }
    backlogs
}

/// Messages in sight that a service would be given, if it had a task that runs.
pub(crate) fn in_sight(context: &Context, service: &QualifiedName) -> u64 {
    let specs = context.objects.read(|view| {
        view.consumers_of_service(service).map(|held| held.value.spec.clone()).collect::<Vec<_>>()
    });
    let queues = specs.iter().filter_map(|spec| standing::of(&context.objects, spec).into_queue());
    queues.map(|queue| context.queues.stats(&queue).visible).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_counts_until_it_is_dropped() {
        let (consumers, task) = (Consumers::default(), TaskId::from_parts(1, [1; 10]));
        let name = |text: &str| text.parse::<QualifiedName>().unwrap();
        let (consumer, service) = (name("default/orders"), name("default/fulfil"));
        let first = consumers.give(&consumer, &service, task);
        let second = consumers.give(&consumer, &service, task);
        assert_eq!((consumers.batches_of(task), consumers.known(&consumer).in_flight), (2, 2));
        drop(first);
        assert_eq!((consumers.batches_of(task), consumers.ended_of(&service)), (1, 1));
        consumers.note(&consumer, |known| {
            known.done += 7;
            known.fail(5, "two\nlines");
        });
        assert_eq!(consumers.known(&consumer).last_failure, Some((5, "two lines".to_owned())));
        consumers.retain(&BTreeSet::new(), &BTreeSet::new());
        assert_eq!(consumers.known(&consumer).done, 7, "a task has a batch of it yet");
        drop(second);
        assert_eq!((consumers.batches_of(task), consumers.known(&consumer).in_flight), (0, 0));
        consumers.retain(&BTreeSet::new(), &BTreeSet::new());
        assert_eq!((consumers.known(&consumer), consumers.ended_of(&service)), (Known::default(), 0));
        assert!(consumers.book().of_tasks.is_empty(), "nothing is kept of who has none");
    }
}

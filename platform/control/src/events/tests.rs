//! Recording waits for nobody, and what is recorded is written in its order, once, as long as the journal takes it.

use super::*;
use crate::model::TaskObject;
use async_trait::async_trait;
use skiff_kit::random::SystemRandom;
use skiff_types::{Group, Health, Kind, Name, Namespace, Task, TaskId, TaskStatus};
use std::sync::atomic::AtomicBool;

/// A task of a service, in revision 3.
pub(super) fn object(service: &str, number: u64) -> TaskObject {
    let task = Task {
        id: TaskId::from_parts(number, [number as u8; 10]),
        namespace: Namespace::default(),
        definition: format!("{service}:3").parse().unwrap(),
        group: Group::Service(service.parse::<Name>().unwrap()),
        overrides: None,
        node: None,
        address: None,
        status: TaskStatus::Running,
        stop: None,
        exit_code: None,
        health: Health::Unchecked,
        health_reason: None,
        restarts: 0,
        last_stop: None,
        attempt: 0,
        created_at_ms: number,
        start_after_ms: 0,
        started_at_ms: None,
        ready_at_ms: None,
        stopped_at_ms: None,
    };
    let placement = skiff_types::Placement::default();
    TaskObject { task, kind: Kind::Http, placement, updated_at_ms: number }
}

/// A journal in memory that fails while it is told to.
#[derive(Default)]
struct Memory {
    events: Mutex<Vec<Event>>,
    fails: AtomicBool,
}

impl Memory {
    fn tasks(&self) -> Vec<u64> {
        self.events.lock().unwrap().iter().map(|event| event.at_ms).collect()
    }
}

#[async_trait]
impl Journal for Memory {
    async fn append(&self, events: Vec<Event>) -> Result<(), StoreError> {
        if self.fails.load(Relaxed) {
            return Err(StoreError::Storage("the disk is full".into()));
        }
        self.events.lock().unwrap().extend(events);
        Ok(())
    }

    async fn read(&self, query: JournalQuery) -> Result<Vec<Event>, StoreError> {
        assert_eq!(query.take, Take::Newest(1), "nothing else is asked for here");
        Ok(self.events.lock().unwrap().last().cloned().into_iter().collect())
    }

    async fn forget(&self, _: u64, _: u32) -> Result<(), StoreError> {
        Ok(())
    }
}

/// A clock that stands still.
struct Still(u64);

impl Clock for Still {
    fn unix_ms(&self) -> u64 {
        self.0
    }
}

fn events(journal: &Arc<Memory>, now_ms: u64) -> Events {
    Events::new(journal.clone(), Arc::new(Still(now_ms)), SharedRandom::new(Arc::new(SystemRandom)))
}

fn record(events: &Events, numbers: std::ops::Range<u64>) {
    numbers.for_each(|number| events.task(&object("web", number)));
}

#[tokio::test]
async fn ids_go_on_behind_those_of_before_even_if_the_clock_was_put_back() {
    let journal = Arc::new(Memory::default());
    for now_ms in [5_000, 1_000] {
        let events = events(&journal, now_ms);
        events.take_up().await.unwrap();
        record(&events, 0..100);
        events.write(std::future::ready(())).await;
    }
    let ids: Vec<EventId> = journal.events.lock().unwrap().iter().map(|event| event.id).collect();
    assert_eq!(ids.len(), 200);
    assert!(ids.is_sorted_by(|one, next| one < next));
}

#[tokio::test]
async fn a_full_queue_holds_nobody_up() {
    let journal = Arc::new(Memory::default());
    let events = events(&journal, 0);
    let most = QUEUE_MAX as u64;
    record(&events, 0..most + 7);
    assert_eq!(events.lost.load(Relaxed), 7);
    events.write(std::future::ready(())).await;
    assert_eq!(journal.tasks(), Vec::from_iter(0..most));
    assert_eq!(events.lost.load(Relaxed), 0, "it was logged");
}

#[tokio::test(start_paused = true)]
async fn what_can_not_be_written_is_written_later_in_its_order() {
    let journal = Arc::new(Memory::default());
    let events = events(&journal, 0);
    journal.fails.store(true, Relaxed);
    record(&events, 0..3);
    let recorders = async {
        tokio::time::sleep(10 * RETRY_INTERVAL).await;
        assert!(journal.tasks().is_empty());
        record(&events, 3..6);
        journal.fails.store(false, Relaxed);
        let mut written = events.written.subscribe();
        while journal.tasks().len() < 6 {
            written.changed().await.unwrap();
        }
        // The last words of whoever records.
        record(&events, 6..9);
    };
    events.write(recorders).await;
    assert_eq!(journal.tasks(), Vec::from_iter(0_u64..9));
}

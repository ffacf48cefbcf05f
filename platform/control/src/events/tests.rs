//! Telling waits for nobody; what is told is written in its order, once, whatever ends or is full meanwhile.

use super::*;
use crate::model::TaskObject;
use crate::records::Stored;
use async_trait::async_trait;
use skiff_kit::random::SystemRandom;
use skiff_ports::journal::Marks;
use skiff_types::{Group, Kind, Name, Namespace, Task, TaskId, TaskStatus};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// A task of a service, in revision 3.
pub(super) fn object(service: &str, number: u64) -> TaskObject {
    let task = Task {
        status: TaskStatus::Running,
        start_after_ms: 0,
        ..Task::new(
            TaskId::from_parts(number, [number as u8; 10]),
            Namespace::default(),
            Group::Service(service.parse::<Name>().unwrap()),
            format!("{service}:3").parse().unwrap(),
            number,
        )
    };
    let placement = skiff_types::Placement::default();
    TaskObject { task, kind: Kind::Http, placement, updated_at_ms: number }
}

/// A journal in memory that fails while it is told to.
#[derive(Default)]
struct Memory {
    events: Mutex<Vec<Event>>,
    marks: Mutex<Marks>,
    fails: AtomicBool,
}

impl Memory {
    fn tasks(&self) -> Vec<u64> {
        self.events.lock().unwrap().iter().map(|event| event.at_ms).collect()
    }

    fn take(&self, note: Note) {
        let mut marks = self.marks.lock().unwrap();
        match note {
            Note::Told { object, mark, events } => {
                marks.objects.insert(object, mark);
                self.events.lock().unwrap().extend(events);
            }
            Note::Gone { object } => {
                marks.objects.remove(&object);
            }
        }
    }
}

#[async_trait]
impl Journal for Memory {
    async fn append(&self, notes: Vec<Note>) -> Result<(), StoreError> {
        if self.fails.load(Relaxed) {
            return Err(StoreError::Storage("the disk is full".into()));
        }
        self.marks.lock().unwrap().are_new = false;
        notes.into_iter().for_each(|note| self.take(note));
        Ok(())
    }

    async fn marks(&self) -> Result<Marks, StoreError> {
        Ok(self.marks.lock().unwrap().clone())
    }

    async fn read(&self, query: JournalQuery) -> Result<Vec<Event>, StoreError> {
        assert_eq!(query.take, Take::Newest(1), "nothing else is asked for here");
        Ok(self.events.lock().unwrap().last().cloned().into_iter().collect())
    }

    async fn forget(&self, _: Forget) -> Result<u64, StoreError> {
        Ok(0)
    }

    async fn sync(&self) -> Result<(), StoreError> {
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

fn tell(events: &Events, object: &TaskObject) {
    events.tell(&object.key(), |told| object.tells(told));
}

fn tell_some(events: &Events, numbers: std::ops::Range<u64>) {
    numbers.for_each(|number| tell(events, &object("web", number)));
}

/// Writes all that was told.
async fn write(events: &Events) {
    events.write(std::future::ready(()), || {}).await;
}

#[tokio::test]
async fn ids_go_on_behind_those_of_before_even_if_the_clock_was_put_back() {
    let journal = Arc::new(Memory::default());
    for (now_ms, numbers) in [(5_000, 0..100), (1_000, 100..200)] {
        let events = events(&journal, now_ms);
        events.take_up().await.unwrap();
        tell_some(&events, numbers);
        write(&events).await;
    }
    let ids: Vec<EventId> = journal.events.lock().unwrap().iter().map(|event| event.id).collect();
    assert_eq!(ids.len(), 200);
    assert!(ids.is_sorted_by(|one, next| one < next));
}

#[tokio::test]
async fn what_a_process_did_not_come_to_tell_the_next_one_tells_and_nothing_else() {
    let journal = Arc::new(Memory::default());
    let killed = events(&journal, 0);
    tell_some(&killed, 0..3);
    write(&killed).await;
    let mut stopped = object("web", 1);
    stopped.task.status = TaskStatus::Stopped;
    stopped.updated_at_ms = 50;
    // In the queue, and nowhere else.
    tell(&killed, &stopped);
    tell_some(&killed, 7..8);
    drop(killed);
    for _ in 0..2 {
        let events = events(&journal, 0);
        events.take_up().await.unwrap();
        // As the store is listed; the last of the first three is gone.
        for object in [object("web", 0), stopped.clone(), object("web", 7)] {
            tell(&events, &object);
        }
        events.forget_gone(|key| *key != object("web", 2).key());
        events.adopt().await.unwrap();
        write(&events).await;
        assert_eq!(journal.tasks(), [0, 1, 2, 50, 7]);
        assert_eq!(journal.marks.lock().unwrap().objects.len(), 3);
    }
}

#[tokio::test]
async fn what_was_there_before_the_journal_is_told_to_nobody() {
    let journal = Arc::new(Memory::default());
    journal.marks.lock().unwrap().are_new = true;
    for _ in 0..2 {
        let events = events(&journal, 0);
        events.take_up().await.unwrap();
        tell_some(&events, 0..3);
        events.adopt().await.unwrap();
        write(&events).await;
        assert_eq!(journal.tasks(), [0; 0]);
    }
    let events = events(&journal, 0);
    events.take_up().await.unwrap();
    tell_some(&events, 0..4);
    write(&events).await;
    assert_eq!(journal.tasks(), [3]);
}

#[tokio::test]
async fn a_full_queue_holds_nobody_up_and_what_found_it_full_is_told_later() {
    let journal = Arc::new(Memory::default());
    let events = events(&journal, 0);
    let most = QUEUE_MAX as u64;
    tell_some(&events, 0..most + 7);
    assert_eq!(events.told().untold.len(), 7);
    assert!(events.untold().is_empty(), "there is no room for them yet");
    let mut unhealthy = object("web", 1);
    unhealthy.task.health = skiff_types::Health::Unhealthy;
    tell(&events, &unhealthy);
    assert_eq!(events.told().untold.len(), 8);
    tell(&events, &object("web", 1));
    assert_eq!(events.told().untold.len(), 7, "it is as it was told to be");
    let number_of = |key: &Key| (most..most + 7).find(|number| object("web", *number).key() == *key).unwrap();
    let tell_untold = || events.untold().iter().for_each(|key| tell(&events, &object("web", number_of(key))));
    events.write(events.noted.reached(most + 7), tell_untold).await;
    assert_eq!(journal.tasks(), Vec::from_iter(0..most + 7));
    assert!(events.told().untold.is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_object_is_deleted_once_the_journal_has_what_it_told() {
    let journal = Arc::new(Memory::default());
    let events = events(&journal, 0);
    let key = object("web", 1).key();
    events.settle(&key).await;
    tell_some(&events, 1..2);
    let recorders = async {
        events.settle(&key).await;
        assert_eq!(journal.tasks(), [1]);
        events.gone(&key);
        // While nothing can be written, an object is deleted all the same after a while.
        journal.fails.store(true, Relaxed);
        tell_some(&events, 1..2);
        let began = tokio::time::Instant::now();
        events.settle(&key).await;
        assert!(began.elapsed() >= SETTLE_TIME);
        journal.fails.store(false, Relaxed);
    };
    events.write(recorders, || {}).await;
    assert_eq!(journal.tasks(), [1, 1], "one made anew tells anew");
}

#[tokio::test(start_paused = true)]
async fn what_can_not_be_written_is_written_later_in_its_order() {
    let journal = Arc::new(Memory::default());
    let events = events(&journal, 0);
    journal.fails.store(true, Relaxed);
    tell_some(&events, 0..3);
    let recorders = async {
        tokio::time::sleep(10 * RETRY_INTERVAL).await;
        assert!(journal.tasks().is_empty());
        tell_some(&events, 3..6);
        journal.fails.store(false, Relaxed);
        let mut written = events.written.subscribe();
        while journal.tasks().len() < 6 {
            written.changed().await.unwrap();
        }
        // The last words of whoever records.
        tell_some(&events, 6..9);
    };
    events.write(recorders, || {}).await;
    assert_eq!(journal.tasks(), Vec::from_iter(0_u64..9));
}

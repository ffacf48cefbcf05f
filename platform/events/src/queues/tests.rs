//! Queues by their port, under a clock that is set by hand.

mod bury;
mod give_back;
mod model;
mod order;
mod redrive;
mod upkeep;
mod waits;

use super::*;
use crate::log::tests::SmallDisk;
use bytes::Bytes;
use skiff_ports::catalog::DeadLetterRef;
use skiff_types::{DeadLetter, QueueOrder, QueueSpec, Span};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

pub(super) const START_MS: u64 = 1_700_000_000_000;

/// A wall clock that is set by hand.
pub(super) struct HandClock(AtomicU64);

impl HandClock {
    pub(super) fn advance(&self, ms: u64) {
        self.0.fetch_add(ms, Ordering::Relaxed);
    }

    pub(super) fn set(&self, ms: u64) {
        self.0.store(ms, Ordering::Relaxed);
    }
}

impl Clock for HandClock {
    fn unix_ms(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Bytes that count up.
struct CountingRandom(AtomicU32);

impl Random for CountingRandom {
    fn fill(&self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(4) {
            let next = self.0.fetch_add(1, Ordering::Relaxed).to_le_bytes();
            chunk.copy_from_slice(&next[..chunk.len()]);
        }
    }
}

/// Queues in a folder of their own, and their clock.
pub(super) struct Fixture {
    folder: tempfile::TempDir,
    pub(super) clock: Arc<HandClock>,
    random: Arc<CountingRandom>,
    pub(super) queues: Arc<Queues>,
}

impl Fixture {
    pub(super) fn new() -> Self {
        Self::on(Arc::new(OsDrive))
    }

    pub(super) fn on(drive: Arc<dyn Drive>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(HandClock(AtomicU64::new(START_MS)));
        let random = Arc::new(CountingRandom(AtomicU32::new(1)));
        let queues = Arc::new(open(folder.path(), clock.clone(), random.clone(), drive));
        Self { folder, clock, random, queues }
    }

    /// Closes the queues, and opens them again.
    pub(super) async fn reopen(&mut self) {
        self.queues.close().await;
        let (clock, random) = (self.clock.clone(), self.random.clone());
        self.queues = Arc::new(open(self.folder.path(), clock, random, Arc::new(OsDrive)));
    }

    /// Opens a copy of what the disk has now, as after a crash.
    pub(super) fn crash(&mut self) {
        let copied = tempfile::tempdir().unwrap();
        for entry in std::fs::read_dir(self.folder.path()).unwrap() {
            let path = entry.unwrap().path();
            std::fs::copy(&path, copied.path().join(path.file_name().unwrap())).unwrap();
        }
        let (clock, random) = (self.clock.clone(), self.random.clone());
        self.queues = Arc::new(open(copied.path(), clock, random, Arc::new(OsDrive)));
        self.folder = copied;
    }

    pub(super) async fn send(&self, queue: &QueueRef, message: NewMessage) -> Sent {
        self.queues.send(queue, vec![message]).await.unwrap().remove(0).unwrap()
    }

    pub(super) async fn receive(&self, queue: &QueueRef, max: usize) -> Vec<Message> {
        self.queues.receive(queue, max, None, Duration::ZERO).await.unwrap()
    }

    /// Moves dead letters to where they came from, to one of `sources`.
    pub(super) async fn redrive(&self, dead: &QueueRef, sources: &[QueueRef]) -> Redriven {
        self.queues.redrive(dead, RedriveTo::Sources(sources), u64::MAX).await.unwrap()
    }

    pub(super) async fn delete(&self, queue: &QueueRef, message: &Message) -> Result<(), MessageError> {
        self.queues.delete(queue, vec![message.receipt.clone()]).await.unwrap().remove(0)
    }
}

fn open(folder: &Path, clock: Arc<HandClock>, random: Arc<CountingRandom>, drive: Arc<dyn Drive>) -> Queues {
    let config = Config { folder: folder.to_owned(), segment_bytes: 16 * 1024 };
    Queues::open_on(config, Deps { clock, random }, drive).unwrap()
}

pub(super) fn spec(name: &str, order: QueueOrder) -> QueueSpec {
    QueueSpec::new(format!("default/{name}").parse().unwrap(), order)
}

pub(super) fn queue(number: u8, spec: QueueSpec) -> QueueRef {
    QueueRef { id: ResourceId::from_bytes([number; 8]), spec: Arc::new(spec), dead_letter: None }
}

pub(super) fn standard() -> QueueRef {
    queue(1, spec("orders", QueueOrder::Standard))
}

pub(super) fn fifo() -> QueueRef {
    queue(2, spec("orders-fifo", QueueOrder::Fifo { content_based_deduplication: true }))
}

/// A queue as those know it whose dead letters go there.
pub(super) fn as_dead_letter_queue(queue: &QueueRef) -> DeadLetterRef {
    DeadLetterRef { id: queue.id, spec: queue.spec.clone() }
}

/// A queue whose messages go to the second after so many receives.
pub(super) fn with_dead_letters(order: QueueOrder, receives_max: u32) -> (QueueRef, QueueRef) {
    let dead = queue(9, spec("dead", order));
    let dead_letter = Some(DeadLetter { queue: "dead".parse().unwrap(), receives_max });
    let mut main = queue(3, QueueSpec { dead_letter, ..spec("main", order) });
    main.dead_letter = Some(as_dead_letter_queue(&dead));
    (main, dead)
}

pub(super) fn text(body: &str) -> NewMessage {
    NewMessage { body: Bytes::copy_from_slice(body.as_bytes()), ..NewMessage::default() }
}

pub(super) fn grouped(group: &str, body: &str) -> NewMessage {
    NewMessage { group: Some(group.to_owned()), ..text(body) }
}

fn bodies(messages: &[Message]) -> Vec<&str> {
    messages.iter().map(|message| std::str::from_utf8(&message.body).unwrap()).collect()
}

#[tokio::test]
async fn a_message_is_given_out_once_until_its_time_is_over_and_never_after_its_deletion() {
    let mut fixture = Fixture::new();
    let queue = standard();
    let attributes = BTreeMap::from([("kind".to_owned(), "new".to_owned())]);
    let sent = fixture.send(&queue, NewMessage { attributes: attributes.clone(), ..text("one") }).await;
    let first = fixture.receive(&queue, 10).await.remove(0);
    assert_eq!((&first.id, first.sequence, &first.body[..]), (&sent.id, 1, &b"one"[..]));
    assert_eq!((first.receives, first.sent_at_ms, &first.attributes), (1, START_MS, &attributes));
    assert!(fixture.receive(&queue, 10).await.is_empty());
    fixture.clock.advance(30_000);
    let second = fixture.receive(&queue, 10).await.remove(0);
    assert_eq!(second.receives, 2);
    assert_eq!(fixture.delete(&queue, &first).await, Err(MessageError::Stale));
    assert_eq!(fixture.delete(&queue, &second).await, Ok(()));
    assert_eq!(fixture.delete(&queue, &second).await, Ok(()));
    fixture.reopen().await;
    fixture.clock.advance(3_600_000);
    assert!(fixture.receive(&queue, 10).await.is_empty());
    assert_eq!(fixture.send(&queue, text("two")).await.sequence, 2);
    fixture.queues.close().await;
}

#[tokio::test]
async fn visibility_is_changed_and_ended() {
    let fixture = Fixture::new();
    let queue = standard();
    fixture.send(&queue, text("one")).await;
    let message = fixture.receive(&queue, 1).await.remove(0);
    let change = |seconds| vec![(message.receipt.clone(), Duration::from_secs(seconds))];
    fixture.queues.change_visibility(&queue, change(60)).await.unwrap().remove(0).unwrap();
    fixture.clock.advance(59_999);
    assert!(fixture.receive(&queue, 1).await.is_empty());
    let too_long = fixture.queues.change_visibility(&queue, change(43_201)).await.unwrap().remove(0);
    assert!(matches!(too_long, Err(MessageError::Invalid(_))));
    fixture.queues.change_visibility(&queue, change(0)).await.unwrap().remove(0).unwrap();
    let stale = fixture.queues.change_visibility(&queue, change(1)).await.unwrap().remove(0);
    assert_eq!(stale, Err(MessageError::Stale));
    assert_eq!(fixture.receive(&queue, 1).await.len(), 1);
    fixture.queues.close().await;
}

#[tokio::test]
async fn a_delay_is_the_messages_or_the_queues() {
    let fixture = Fixture::new();
    let queue = queue(1, QueueSpec { delay: Span::from_ms(5_000), ..spec("late", QueueOrder::Standard) });
    fixture.send(&queue, text("late")).await;
    fixture.send(&queue, NewMessage { delay: Some(Duration::ZERO), ..text("now") }).await;
    assert_eq!(fixture.queues.stats(&queue).delayed, 1);
    assert_eq!(bodies(&fixture.receive(&queue, 10).await), ["now"]);
    fixture.clock.advance(5_000);
    assert_eq!(bodies(&fixture.receive(&queue, 10).await), ["late"]);
    fixture.queues.close().await;
}

#[tokio::test]
async fn what_was_answered_survives_a_crash() {
    let mut fixture = Fixture::new();
    let (queue, fifo) = (standard(), fifo());
    for number in 0..40 {
        fixture.send(&queue, text(&format!("message {number}"))).await;
        fixture.send(&fifo, grouped("a", &format!("message {number}"))).await;
    }
    let received = fixture.receive(&queue, 10).await;
    for message in &received[..5] {
        fixture.delete(&queue, message).await.unwrap();
    }
    fixture.crash();
    fixture.clock.advance(3_600_000);
    let mut left = Vec::new();
    loop {
        let messages = fixture.receive(&queue, 10).await;
        if messages.is_empty() {
            break;
        }
        left.extend(messages.iter().map(|message| message.sequence));
    }
    left.sort_unstable();
    assert_eq!(left, (6..=40).collect::<Vec<_>>());
    assert_eq!(fixture.queues.stats(&fifo).visible, 40);
    fixture.queues.close().await;
}

#[tokio::test]
async fn receipts_stay_good_over_a_restart() {
    let mut fixture = Fixture::new();
    let queue = standard();
    fixture.send(&queue, text("one")).await;
    let message = fixture.receive(&queue, 1).await.remove(0);
    fixture.reopen().await;
    assert!(fixture.receive(&queue, 1).await.is_empty());
    assert_eq!(fixture.queues.stats(&queue).in_flight, 1);
    assert_eq!(fixture.delete(&queue, &message).await, Ok(()));
    fixture.queues.close().await;
}

#[tokio::test]
async fn what_no_queue_takes_is_refused_message_by_message() {
    let fixture = Fixture::new();
    let small =
        queue(1, QueueSpec { message_max: "1KiB".parse().unwrap(), ..spec("small", QueueOrder::Standard) });
    let plain = queue(4, spec("plain", QueueOrder::Fifo { content_based_deduplication: false }));
    let many = (0..11).map(|number| (number.to_string(), String::new())).collect();
    let bad = [
        (&small, text(&"x".repeat(1_025))),
        (&small, grouped("a", "x")),
        (&small, NewMessage { delay: Some(Duration::from_secs(901)), ..text("x") }),
        (&small, NewMessage { attributes: many, ..text("x") }),
        (&plain, text("x")),
        (&plain, grouped("a", "x")),
        (&plain, grouped("", "x")),
        (&plain, NewMessage { deduplication_id: Some("é".repeat(129)), ..grouped("a", "x") }),
    ];
    for (queue, message) in bad {
        let outcomes = fixture.queues.send(queue, vec![message.clone()]).await.unwrap();
        assert!(matches!(outcomes[..], [Err(MessageError::Invalid(_))]), "{message:?} was taken");
    }
    let mixed = vec![text("fine"), grouped("a", "not"), text(&"y".repeat(1_024))];
    let outcomes = fixture.queues.send(&small, mixed).await.unwrap();
    assert!(matches!(outcomes[..], [Ok(_), Err(_), Ok(_)]), "{outcomes:?}");
    let none = fixture.queues.send(&small, Vec::new()).await;
    assert!(matches!(none, Err(QueueFailure::Invalid(_))));
    let eleven = fixture.queues.receive(&small, 11, None, Duration::ZERO).await;
    assert!(matches!(eleven, Err(QueueFailure::Invalid(_))));
    fixture.queues.close().await;
}

#[tokio::test]
async fn a_queue_holds_no_more_than_it_may() {
    let fixture = Fixture::new();
    let queue = queue(1, QueueSpec { messages_max: 2, ..spec("small", QueueOrder::Standard) });
    let outcomes = fixture.queues.send(&queue, vec![text("1"), text("2"), text("3")]).await.unwrap();
    assert!(matches!(outcomes[..], [Ok(_), Ok(_), Err(MessageError::Full { messages_max: 2 })]));
    let message = fixture.receive(&queue, 1).await.remove(0);
    fixture.delete(&queue, &message).await.unwrap();
    fixture.send(&queue, text("4")).await;
    fixture.queues.close().await;
}

#[tokio::test]
async fn a_purge_forgets_all_for_good_and_a_dropped_queue_is_gone() {
    let mut fixture = Fixture::new();
    let (queue, other) = (standard(), fifo());
    for _ in 0..5 {
        fixture.send(&queue, text("x")).await;
    }
    fixture.receive(&queue, 2).await;
    fixture.send(&other, grouped("a", "x")).await;
    assert_eq!(fixture.queues.purge(&queue).await.unwrap(), 5);
    fixture.send(&queue, text("after")).await;
    fixture.queues.drop_queue(other.id).await.unwrap();
    assert_eq!(fixture.queues.queues(), [queue.id]);
    fixture.reopen().await;
    assert_eq!(fixture.queues.queues(), [queue.id]);
    assert_eq!(bodies(&fixture.receive(&queue, 10).await), ["after"]);
    fixture.queues.close().await;
}

#[tokio::test]
async fn a_message_moves_at_the_receive_after_its_limit_and_back_again() {
    let mut fixture = Fixture::new();
    let (main, dead) = with_dead_letters(QueueOrder::Standard, 2);
    let sent = fixture.send(&main, text("poison")).await;
    for receives in 1..=2 {
        assert_eq!(fixture.receive(&main, 10).await[0].receives, receives);
        assert!(fixture.receive(&dead, 10).await.is_empty());
        fixture.clock.advance(30_000);
    }
    assert!(fixture.receive(&main, 10).await.is_empty());
    let letter = fixture.queues.receive(&dead, 1, None, Duration::from_secs(5)).await.unwrap().remove(0);
    assert_eq!((&letter.id, letter.dead_letter_source), (&sent.id, Some(main.id)));
    assert_eq!((letter.sent_at_ms, letter.receives), (START_MS, 1));
    fixture.clock.advance(30_000);
    fixture.reopen().await;
    assert_eq!(fixture.redrive(&dead, std::slice::from_ref(&main)).await.moved, 1);
    assert_eq!(fixture.queues.stats(&dead).visible, 0);
    let again = fixture.receive(&main, 10).await.remove(0);
    assert_eq!((again.id, again.receives, again.dead_letter_source), (sent.id, 1, None));
    fixture.reopen().await;
    assert_eq!(fixture.queues.stats(&main).in_flight, 1);
    fixture.queues.close().await;
}

#[tokio::test]
async fn a_clock_that_goes_back_loses_nothing() {
    let mut fixture = Fixture::new();
    let queue = standard();
    fixture.send(&queue, text("before")).await;
    fixture.clock.set(START_MS - 86_400_000);
    fixture.send(&queue, text("after")).await;
    assert_eq!(bodies(&fixture.receive(&queue, 10).await), ["before", "after"]);
    fixture.reopen().await;
    fixture.clock.set(START_MS);
    assert_eq!(fixture.receive(&queue, 10).await.len(), 2);
    fixture.queues.close().await;
}

#[tokio::test]
async fn on_a_full_disk_sends_fail_deletes_work_and_nothing_is_lost() {
    let drive = SmallDisk::new(1024 * 1024);
    let mut fixture = Fixture::on(drive.clone());
    let queue = standard();
    let mut sent = 0;
    let refused = loop {
        match fixture.queues.send(&queue, vec![text(&"x".repeat(100_000))]).await {
            Ok(outcomes) => {
                outcomes.into_iter().next().unwrap().unwrap();
                sent += 1;
            }
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, QueueFailure::DiskFull), "{refused:?}");
    let received = fixture.receive(&queue, 2).await;
    for message in &received {
        fixture.delete(&queue, message).await.unwrap();
    }
    assert_eq!(fixture.queues.stats(&queue).visible, sent - 2);
    drive.left.store(u64::MAX / 2, Ordering::Relaxed);
    fixture.send(&queue, text("again")).await;
    fixture.reopen().await;
    assert_eq!(fixture.queues.stats(&queue).visible, sent - 1);
    fixture.queues.close().await;
}

//! A standard queue and a FIFO queue under ten producers and ten consumers, some of them slow or failing, while the platform is killed
//! every few seconds: whether a message is lost, comes after its deletion, or out of order, and why those come again that do.
//!
//! What always holds: who got no answer asks again. So a standard queue may hold a message twice that was sent again, and a FIFO queue
//! may not.

use crate::bench::http::Connection;
use crate::bench::processes::memory_mib;
use crate::bench::report::{Goal, Section, Table};
use crate::bench::setup::Bench;
use crate::bench::stats::{Spread, number};
use crate::platform::Platform;
use anyhow::Context;
use serde_json::{Value, json};
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

/// Messages of both queues, and of a quick run.
const MESSAGES: usize = 1_000_000;
const MESSAGES_QUICK: usize = 20_000;
/// Producers of a queue, and as many consumers; and how many messages are in a call.
const PRODUCERS: usize = 5;
const BATCH: usize = 10;
/// Groups of a producer in the FIFO queue. A group gives one message at a time, so with few of them one that is held holds them all.
const GROUPS: usize = 20;
/// How long a message stays out of sight, and by how much two clocks may differ about that.
const VISIBILITY: Duration = Duration::from_secs(5);
const CLOCKS: Duration = Duration::from_millis(20);
/// How long the slow consumer takes for what it received.
const SLOW: Duration = Duration::from_millis(20);
/// The failing consumer forgets one batch of so many, of the standard queue and of the FIFO one.
const FORGETS: [usize; 2] = [10, 200];
/// Every when the platform is killed, also in a quick run, and how often at most.
const EVERY: Duration = Duration::from_secs(3);
const EVERY_QUICK: Duration = Duration::from_millis(500);
const KILLS_MAX: usize = 30;
/// How long everything may take, how often it is looked at, and how soon a connection is tried again.
const PATIENCE: Duration = Duration::from_secs(600);
const LOOK: Duration = Duration::from_millis(20);
const RETRY: Duration = Duration::from_millis(20);
/// Where a port for the API is looked for: below those that the kernel gives to clients, which would take it while nobody listens.
const PORTS: std::ops::Range<u16> = 20_000..30_000;

/// Why a message came again.
const KINDS: [&str; 5] = [
    "the message was sent again",
    "the failing consumer had not deleted it",
    "the platform was killed in between",
    "its time out of sight was over",
    "for no reason that is known",
];
/// Their places there.
const SENT_AGAIN: usize = 0;
const FORGOTTEN: usize = 1;
const KILLED: usize = 2;
const OVER: usize = 3;
const UNKNOWN: usize = 4;

/// What is known of a message.
#[derive(Default)]
struct Note {
    is_acknowledged: AtomicBool,
    is_sent_again: AtomicBool,
    is_received: AtomicBool,
    is_deleted: AtomicBool,
    /// The failing consumer had it last.
    is_forgotten: AtomicBool,
    /// Of the last call that received it: how many kills there had been when it began, and when that was.
    kills: AtomicU8,
    began_ms: AtomicU32,
}

/// A queue, and what is counted of it.
#[derive(Default)]
struct Queue {
    name: &'static str,
    is_fifo: bool,
    /// Messages of a producer.
    each: usize,
    /// Of every message, producer by producer.
    notes: Vec<Note>,
    deleted: AtomicUsize,
    repeats: [AtomicUsize; KINDS.len()],
    after_deletion: AtomicUsize,
    copies_after_deletion: AtomicUsize,
    out_of_order: AtomicUsize,
    deletions_repeated: AtomicUsize,
    deletions_refused: AtomicUsize,
}

impl Queue {
    fn new(name: &'static str, is_fifo: bool, each: usize) -> Self {
        Self {
            name,
            is_fifo,
            each,
            notes: (0..each * PRODUCERS).map(|_| Note::default()).collect(),
            ..Self::default()
        }
    }

    /// The call that sends these numbers of a producer.
    fn sending(&self, producer: usize, numbers: std::ops::Range<usize>) -> String {
        let message = |number: usize| {
            let body = format!("{producer}-{number}");
            match self.is_fifo {
                true => {
                    let group = format!("{producer}-{}", number % GROUPS);
                    json!({ "body": &body, "group": group, "deduplication_id": &body })
                }
                false => json!({ "body": body }),
            }
        };
        let messages: Vec<Value> = numbers.map(message).collect();
        json!({ "messages": messages }).to_string()
    }

    /// The place of a message by what it says.
    fn place(&self, message: &Value) -> Option<usize> {
        let (producer, number) = message["body"].as_str()?.split_once('-')?;
        let (producer, number): (usize, usize) = (producer.parse().ok()?, number.parse().ok()?);
        (producer < PRODUCERS && number < self.each).then_some(producer * self.each + number)
    }

    /// Notes that a message was received by a call that began then, after so many kills; there are now as many as `kills_now`.
    fn note_received(&self, place: usize, began_ms: u32, kills: u8, now_ms: u32, kills_now: u8) {
        let note = &self.notes[place];
        let may_be_twice = !self.is_fifo && note.is_sent_again.load(SeqCst);
        let (kills_before, before_ms) =
            (note.kills.swap(kills, SeqCst), note.began_ms.swap(began_ms, SeqCst));
        let was_forgotten = note.is_forgotten.swap(false, SeqCst);
        if note.is_deleted.load(SeqCst) {
            let count = if may_be_twice { &self.copies_after_deletion } else { &self.after_deletion };
            count.fetch_add(1, SeqCst);
        }
        if note.is_received.swap(true, SeqCst) {
            let out = Duration::from_millis(now_ms.saturating_sub(before_ms).into());
            let is_over = out + CLOCKS >= VISIBILITY;
            // This call's own beginning too: its answer may have come before a kill, and be read after it.
            let was_killed = kills_now != kills_before.min(kills);
            let kind = if may_be_twice {
                SENT_AGAIN
            } else if !was_killed && !is_over {
                UNKNOWN
            } else if was_forgotten {
                FORGOTTEN
            } else if was_killed {
                KILLED
            } else {
                OVER
            };
            self.repeats[kind].fetch_add(1, SeqCst);
        } else if self.is_fifo && place % self.each >= GROUPS {
            // The one before it in its group came before: so did, one by one, all others.
            let is_next = self.notes[place - GROUPS].is_received.load(SeqCst);
            self.out_of_order.fetch_add(usize::from(!is_next), SeqCst);
        }
    }

    fn note_deleted(&self, place: usize) {
        if !self.notes[place].is_deleted.swap(true, SeqCst) {
            self.deleted.fetch_add(1, SeqCst);
        }
    }

    fn count(&self, holds: impl Fn(&Note) -> bool) -> usize {
        self.notes.iter().filter(|note| holds(note)).count()
    }
}

/// What stays over kills.
struct World<'a> {
    bench: &'a Bench,
    data_dir: PathBuf,
    api: String,
    queues: [Queue; 2],
    began: Instant,
    kills: AtomicU8,
    is_over: AtomicBool,
    /// The last call that failed: of interest where all do.
    failure: Mutex<String>,
}

impl World<'_> {
    fn start(&self) -> anyhow::Result<(Platform, Duration)> {
        let doors = ["--http", "127.0.0.1:0", "--api", &self.api, "--s3", "127.0.0.1:0"];
        Platform::start_under(&self.bench.binary, &self.data_dir, &doors, &[])
    }

    fn now_ms(&self) -> u32 {
        self.began.elapsed().as_millis() as u32
    }

    fn left(&self) -> usize {
        self.queues.iter().map(|queue| queue.notes.len() - queue.deleted.load(SeqCst)).sum()
    }

    /// Kills the platform again and again, until nothing is left or patience ends; how long its starts took, in milliseconds.
    fn kill(&self, platform: &mut Platform) -> anyhow::Result<Vec<f64>> {
        let every = if self.bench.settings.quick { EVERY_QUICK } else { EVERY };
        let (mut starts, mut started) = (Vec::new(), Instant::now());
        while self.left() > 0 && self.began.elapsed() < PATIENCE {
            if started.elapsed() >= every && starts.len() < KILLS_MAX {
                platform.kill()?;
                // Between the two: what was answered before has a smaller number, and what comes after sees this one.
                self.kills.fetch_add(1, SeqCst);
                let (next, took) = self.start()?;
                *platform = next;
                starts.push(took.as_secs_f64() * 1e3);
                started = Instant::now();
            }
            thread::sleep(LOOK);
        }
        Ok(starts)
    }
}

/// Calls about a queue over a connection that may break.
struct Line<'a> {
    world: &'a World<'a>,
    queue: &'a Queue,
    token: &'a str,
    connection: Option<Connection>,
}

impl Line<'_> {
    /// Opens the connection where it is not; false once all is over.
    fn open(&mut self) -> bool {
        while !self.world.is_over.load(SeqCst) {
            if self.connection.is_none() {
                self.connection = Connection::open_at(&self.world.api, self.token).ok();
            }
            if self.connection.is_some() {
                return true;
            }
            thread::sleep(RETRY);
        }
        false
    }

    /// A call over the open connection; nothing where no good answer came.
    fn call(&mut self, what: &str, body: &str) -> Option<Value> {
        let path = format!("queues/{}/{what}", self.queue.name);
        match self.connection.as_mut()?.post(&path, "application/json", body) {
            Ok(answer) => Some(answer),
            Err(error) => {
                *self.world.failure.lock().expect("nobody panics with it") = format!("{error:#}");
                self.connection = None;
                thread::sleep(RETRY);
                None
            }
        }
    }

    fn produce(mut self, producer: usize) {
        let queue = self.queue;
        for first in (0..queue.each).step_by(BATCH) {
            let body = queue.sending(producer, first..first + BATCH);
            let place = producer * queue.each + first;
            let notes = &queue.notes[place..place + BATCH];
            loop {
                if !self.open() {
                    return;
                }
                let sent = self.call("messages", &body).unwrap_or_default();
                let ids = sent["messages"].as_array().into_iter().flatten();
                if ids.filter(|message| message["id"].is_string()).count() == BATCH {
                    break;
                }
                notes.iter().for_each(|note| note.is_sent_again.store(true, SeqCst));
            }
            notes.iter().for_each(|note| note.is_acknowledged.store(true, SeqCst));
        }
    }

    /// Receives and deletes; the first consumer of a queue is slow, the second forgets.
    fn consume(mut self, consumer: usize) {
        let body = json!({ "max": BATCH, "wait": "1s" }).to_string();
        let mut batches = 0;
        while self.open() {
            let (began_ms, kills) = (self.world.now_ms(), self.world.kills.load(SeqCst));
            let Some(received) = self.call("receive", &body) else { continue };
            let (now_ms, kills_now) = (self.world.now_ms(), self.world.kills.load(SeqCst));
            let (mut places, mut receipts) = (Vec::new(), Vec::new());
            for message in received["messages"].as_array().into_iter().flatten() {
                if let Some(place) = self.queue.place(message) {
                    self.queue.note_received(place, began_ms, kills, now_ms, kills_now);
                    places.push(place);
                    receipts.push(&message["receipt"]);
                }
            }
            if places.is_empty() {
                continue;
            }
            batches += 1;
            if consumer == 1 && batches % FORGETS[usize::from(self.queue.is_fifo)] == 0 {
                places.iter().for_each(|place| self.queue.notes[*place].is_forgotten.store(true, SeqCst));
                continue;
            }
            if consumer == 0 {
                thread::sleep(SLOW);
            }
            self.delete(&places, &json!({ "receipts": receipts }).to_string());
        }
    }

    /// Deletes messages, until that is answered.
    fn delete(&mut self, places: &[usize], body: &str) {
        while self.open() {
            let Some(deleted) = self.call("delete", body) else {
                self.queue.deletions_repeated.fetch_add(1, SeqCst);
                continue;
            };
            let outcomes = deleted["outcomes"].as_array().into_iter().flatten();
            for (place, outcome) in places.iter().zip(outcomes) {
                if outcome["error"].is_null() {
                    self.queue.note_deleted(*place);
                } else {
                    self.queue.deletions_refused.fetch_add(1, SeqCst);
                }
            }
            return;
        }
    }
}

pub(crate) fn measure(bench: &Bench) -> anyhow::Result<Section> {
    let messages = if bench.settings.quick { MESSAGES_QUICK } else { MESSAGES };
    let each = messages / 2 / PRODUCERS;
    let mut ports = PORTS;
    let port =
        ports.find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok()).context("no port is free")?;
    let mut world = World {
        bench,
        data_dir: bench.new_data_dir(),
        api: format!("127.0.0.1:{port}"),
        queues: [Queue::new("standard", false, each), Queue::new("ordered", true, each)],
        began: Instant::now(),
        kills: AtomicU8::new(0),
        is_over: AtomicBool::new(false),
        failure: Mutex::default(),
    };
    let (mut platform, _) = world.start()?;
    let visibility = format!("{}s", VISIBILITY.as_secs());
    platform.skiff_output(&["queue", "create", "standard", "--visibility-timeout", &visibility])?;
    platform.skiff_output(&["queue", "create", "ordered", "--fifo", "--visibility-timeout", &visibility])?;
    let token = platform.token.clone();
    world.began = Instant::now();
    let starts = thread::scope(|scope| {
        for queue in &world.queues {
            for number in 0..PRODUCERS {
                let line = || Line { world: &world, queue, token: &token, connection: None };
                let (producer, consumer) = (line(), line());
                scope.spawn(move || producer.produce(number));
                scope.spawn(move || consumer.consume(number));
            }
        }
        let starts = world.kill(&mut platform);
        world.is_over.store(true, SeqCst);
        starts
    })?;
    let took = world.began.elapsed();
    let memory = memory_mib(platform.pid())?;
    platform.stop()?;
    Ok(section(&world, messages, &starts, took, memory))
}

fn section(world: &World<'_>, messages: usize, starts: &[f64], took: Duration, memory: f64) -> Section {
    let left = world.left();
    let rate = (messages - left) as f64 / took.as_secs_f64();
    let mut run = vec![
        vec!["messages".to_owned(), messages.to_string()],
        vec!["kills of the platform".to_owned(), starts.len().to_string()],
        vec!["until all was deleted, s".to_owned(), number(took.as_secs_f64())],
        vec!["sent, received and deleted, messages/s".to_owned(), number(rate)],
        vec!["memory afterwards, MiB".to_owned(), number(memory)],
    ];
    if !starts.is_empty() {
        let spread = Spread::of(starts.iter().copied());
        run.push(vec!["starts after a kill, ms".to_owned(), spread.to_string()]);
    }
    let counts = world.queues.each_ref().map(counts);
    let rows = counts[0].iter().zip(&counts[1]);
    let rows = rows.map(|((what, a), (_, b))| vec![what.clone(), a.to_string(), b.to_string()]).collect();
    let mut goals =
        vec![Goal::at_most("messages whose deletion was never acknowledged", left as f64, 0.0, "")];
    for queue in &world.queues {
        let lost = queue.count(|note| note.is_acknowledged.load(SeqCst) && !note.is_received.load(SeqCst));
        let mut none = |what: &str, count: usize| {
            goals.push(Goal::at_most(format!("{}: {what}", queue.name), count as f64, 0.0, ""));
        };
        none("messages acknowledged and never received", lost);
        none("received after an acknowledged deletion, not sent again", queue.after_deletion.load(SeqCst));
        none("received again for no reason that is known", queue.repeats[UNKNOWN].load(SeqCst));
        if queue.is_fifo {
            none("received before an earlier one of its group", queue.out_of_order.load(SeqCst));
        }
    }
    let failure = world.failure.lock().expect("nobody panics with it").clone();
    let data = json!({
        "messages": messages, "left": left, "s": took.as_secs_f64(), "starts_ms": starts, "memory_mib": memory,
        "standard": counts[0], "ordered": counts[1], "last_failure": failure,
    });
    Section {
        title: "Queues over kills",
        method: vec![format!(
            "a standard and a FIFO queue, {PRODUCERS} producers and {PRODUCERS} consumers each, {BATCH} messages in a call, {GROUPS} \
             groups for each producer of the FIFO queue, {} s out of sight; of the consumers of a queue one takes {} ms for a batch, and \
             one forgets a batch in {} (FIFO: in {}). The platform is killed with SIGKILL every few seconds and started again at once",
            VISIBILITY.as_secs(),
            SLOW.as_millis(),
            FORGETS[0],
            FORGETS[1]
        )],
        tables: vec![
            Table { title: "The run".to_owned(), header: vec!["what", ""], rows: run },
            Table { title: "By queue".to_owned(), header: vec!["what", "standard", "FIFO"], rows },
        ],
        goals,
        data,
        ..Section::default()
    }
}

/// What is told of a queue.
fn counts(queue: &Queue) -> Vec<(String, usize)> {
    let sent_again = queue.count(|note| note.is_sent_again.load(SeqCst));
    let mut counts = vec![
        ("messages acknowledged".to_owned(), queue.count(|note| note.is_acknowledged.load(SeqCst))),
        ("messages sent again, as no answer came".to_owned(), sent_again),
        ("deletions asked again, as no answer came".to_owned(), queue.deletions_repeated.load(SeqCst)),
        ("messages whose deletion came too late".to_owned(), queue.deletions_refused.load(SeqCst)),
        ("copies after a deletion, of those sent again".to_owned(), queue.copies_after_deletion.load(SeqCst)),
    ];
    let repeats = KINDS.iter().zip(&queue.repeats);
    counts.extend(repeats.map(|(kind, count)| (format!("received again: {kind}"), count.load(SeqCst))));
    counts
}

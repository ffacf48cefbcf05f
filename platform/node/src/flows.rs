//! The flow log: who was connected with whom, and who was kept from it.
//!
//! The newest records stay in memory, and are read from there. All of them also go to a file, as lines of JSON, by a
//! thread of its own: for the past and for other tools; nothing here ever reads it. Records that the disk is too slow
//! for are missing in the file alone. They are counted, as are those that a worker had no room for, and the file says
//! so in their place. Of flows that were open in a worker that died, one record for each task says how they ended: who
//! could have said it of each is gone.

use crate::slots::BrokenOff;
use futures::stream::{BoxStream, StreamExt, try_unfold};
use skiff_kit::{RotatedFile, clock};
use skiff_ports::flows::{FlowQuery, FlowRecord, Verdict};
use skiff_types::{Direction, TaskAddress, Transport};
use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, mpsc};
use tokio::sync::watch;

/// Records kept in memory.
const RECORDS_MAX: usize = 100_000;
/// Batches that may wait for the disk.
const BATCHES_MAX: usize = 1_024;
/// Bytes after which the next file is begun.
const FILE_BYTES_MAX: u64 = 64 << 20;
/// Files kept, the present one included.
const FILES_MAX: usize = 4;
/// Records that a reader looks at in one go: so long those that write wait for it.
const LOOK_RECORDS: usize = 4_096;
/// Milliseconds between two warnings that records are lost.
const WARNING_PAUSE_MS: u64 = 60_000;

enum Order {
    Write(Vec<Arc<FlowRecord>>),
    Flush(mpsc::Sender<()>),
}

/// The flow log of a node. Cheap to clone.
#[derive(Debug, Clone)]
pub struct FlowLog(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    ring: Mutex<Ring>,
    /// Changes with every batch.
    added: watch::Sender<u64>,
    orders: SyncSender<Order>,
    lost: Arc<AtomicU64>,
}

impl FlowLog {
    /// Writes to the file at `path`, and begins with nothing in memory.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = RotatedFile::open(path, FILE_BYTES_MAX, FILES_MAX)?;
        let (orders, inbox) = sync_channel(BATCHES_MAX);
        let lost = Arc::new(AtomicU64::new(0));
        let writer = Writer { file, lost: lost.clone(), lost_told: 0, warned_ms: None };
        std::thread::Builder::new().name("flows".into()).spawn(move || writer.run(&inbox))?;
        let (ring, added) = (Mutex::new(Ring::new(RECORDS_MAX)), watch::Sender::new(0));
        Ok(Self(Arc::new(Inner { ring, added, orders, lost })))
    }

    /// Takes what a worker recorded, and how many records before these it lost.
    pub(crate) fn write(&self, records: Vec<FlowRecord>, lost: u64) {
        let records: Vec<Arc<FlowRecord>> = records.into_iter().map(Arc::new).collect();
        self.0.lost.fetch_add(lost, Relaxed);
        {
            let mut ring = self.0.ring.lock().expect("no holder panics");
            records.iter().for_each(|record| ring.push(record.clone()));
        }
        self.0.added.send_modify(|count| *count += 1);
        let count = records.len() as u64;
        if self.0.orders.try_send(Order::Write(records)).is_err() {
            self.0.lost.fetch_add(count, Relaxed);
        }
    }

    /// The records asked for that are in memory, oldest first, then what comes if it is to be followed. Who reads so
    /// slowly that records go meanwhile gets an error.
    pub(crate) fn read(&self, query: FlowQuery) -> BoxStream<'static, io::Result<FlowRecord>> {
        let added = self.0.added.subscribe();
        let next = self.0.ring.lock().expect("no holder panics").start(&query);
        let reader = Reader { log: self.clone(), added, query, next, found: VecDeque::new() };
        let step = |mut reader: Reader| async move {
            let record = reader.next().await?;
            Ok::<_, io::Error>(record.map(|record| (record, reader)))
        };
        try_unfold(reader, step).boxed()
    }

    /// How many records were lost since it was opened, by workers or for want of a faster disk.
    pub(crate) fn lost_count(&self) -> u64 {
        self.0.lost.load(Relaxed)
    }

    /// Waits until all that was taken is in the file.
    pub(crate) async fn flush(&self) {
        let (done, wait) = mpsc::channel();
        let orders = self.0.orders.clone();
        let flushing = tokio::task::spawn_blocking(move || {
            if orders.send(Order::Flush(done)).is_ok() {
                let _ = wait.recv();
            }
        });
        let _ = flushing.await;
    }
}

/// What there is to say of a task's flows that ended with a worker. It names no other side: there may have been many.
pub(crate) fn broken_off(worker: usize, flows: &BrokenOff, address: Option<TaskAddress>) -> FlowRecord {
    let now_ms = clock::unix_ms();
    let nobody = Ipv4Addr::UNSPECIFIED;
    FlowRecord {
        began_at_ms: now_ms,
        at_ms: now_ms,
        task: flows.task,
        owner: flows.owner.clone(),
        direction: Direction::Egress,
        transport: Transport::Tcp,
        local: SocketAddr::new(address.map_or(nobody, |address| address.v4).into(), 0),
        remote: SocketAddr::new(nobody.into(), 0),
        peer: None,
        sent_bytes: 0,
        received_bytes: 0,
        verdict: Verdict::Accept,
        open: false,
        note: format!("worker {worker} died, and with it {} open flows of the task", flows.flows),
        count: u32::try_from(flows.flows).unwrap_or(u32::MAX),
    }
}

/// The newest records.
#[derive(Debug)]
struct Ring {
    records: VecDeque<Arc<FlowRecord>>,
    /// How many there were before these: the number of the oldest.
    first: u64,
    records_max: usize,
}

impl Ring {
    fn new(records_max: usize) -> Self {
        Self { records: VecDeque::new(), first: 0, records_max }
    }

    fn push(&mut self, record: Arc<FlowRecord>) {
        if self.records.len() == self.records_max {
            self.records.pop_front();
            self.first += 1;
        }
        self.records.push_back(record);
    }

    /// The number of the record that an answer begins with.
    fn start(&self, query: &FlowQuery) -> u64 {
        let place = match query.tail {
            None => 0,
            Some(0) => self.records.len(),
            Some(tail) => {
                let wanted =
                    (0..self.records.len()).rev().filter(|&place| wants(query, &self.records[place]));
                wanted.take(tail).last().unwrap_or(self.records.len())
            }
        };
        self.first + place as u64
    }
}

fn wants(query: &FlowQuery, record: &FlowRecord) -> bool {
    let FlowQuery { owner, namespace, task, verdict, since_ms, tail: _, follow: _ } = query;
    owner.as_ref().is_none_or(|owner| *owner == record.owner)
        && namespace.as_ref().is_none_or(|namespace| *namespace == record.owner.namespace)
        && task.is_none_or(|task| task == record.task)
        && verdict.is_none_or(|verdict| verdict == record.verdict)
        && since_ms.is_none_or(|since_ms| record.at_ms >= since_ms)
}

struct Reader {
    log: FlowLog,
    added: watch::Receiver<u64>,
    query: FlowQuery,
    /// The number of the record to look at next.
    next: u64,
    found: VecDeque<Arc<FlowRecord>>,
}

impl Reader {
    async fn next(&mut self) -> io::Result<Option<FlowRecord>> {
        loop {
            if let Some(record) = self.found.pop_front() {
                return Ok(Some(Arc::unwrap_or_clone(record)));
            }
            self.added.mark_unchanged();
            if self.look()? {
                continue;
            }
            if !self.query.follow || self.added.changed().await.is_err() {
                return Ok(None);
            }
        }
    }

    /// Looks at some more records; false if there are none.
    fn look(&mut self) -> io::Result<bool> {
        let ring = self.log.0.ring.lock().expect("no holder panics");
        let Some(place) = self.next.checked_sub(ring.first) else {
            return Err(io::Error::other("flows come faster than they are read; read again"));
        };
        let mut looked = 0;
        for record in ring.records.iter().skip(place as usize).take(LOOK_RECORDS) {
            looked += 1;
            if wants(&self.query, record) {
                self.found.push_back(record.clone());
            }
        }
        self.next += looked;
        Ok(looked > 0)
    }
}

/// Writes the file.
struct Writer {
    file: RotatedFile,
    lost: Arc<AtomicU64>,
    /// How many of the lost the file speaks of already.
    lost_told: u64,
    warned_ms: Option<u64>,
}

impl Writer {
    fn run(mut self, inbox: &Receiver<Order>) {
        while let Ok(order) = inbox.recv() {
            match order {
                Order::Write(records) => self.write(&records),
                Order::Flush(done) => drop(done.send(())),
            }
        }
    }

    fn write(&mut self, records: &[Arc<FlowRecord>]) {
        let (lost, at_ms) = (self.lost.load(Relaxed), clock::unix_ms());
        let mut lines = Vec::new();
        if lost > self.lost_told {
            let note = serde_json::json!({ "at_ms": at_ms, "records_lost": lost - self.lost_told });
            lines.extend_from_slice(note.to_string().as_bytes());
            lines.push(b'\n');
            self.warn(
                at_ms,
                "flows are recorded faster than they can be kept: records of the flow log are lost",
            );
        }
        for record in records {
            serde_json::to_writer(&mut lines, &**record).expect("text and numbers make JSON");
            lines.push(b'\n');
        }
        match self.file.write(&lines) {
            Ok(()) => self.lost_told = lost,
            Err(error) => {
                self.lost.fetch_add(records.len() as u64, Relaxed);
                let path = self.file.path().display().to_string();
                self.warn(at_ms, &format!("records of the flow log can't be written to {path}: {error}"));
            }
        }
    }

    fn warn(&mut self, now_ms: u64, what: &str) {
        if self.warned_ms.is_none_or(|warned_ms| now_ms.saturating_sub(warned_ms) >= WARNING_PAUSE_MS) {
            self.warned_ms = Some(now_ms);
            tracing::warn!("{what}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skiff_types::TaskId;

    fn record(number: u64) -> FlowRecord {
        let owner = if number.is_multiple_of(2) { "default/even" } else { "shop/odd" };
        FlowRecord {
            began_at_ms: number,
            at_ms: number,
            task: TaskId::from_parts(number % 4, [1; 10]),
            owner: owner.parse().unwrap(),
            direction: Direction::Egress,
            transport: Transport::Tcp,
            local: "10.64.0.17:49152".parse().unwrap(),
            remote: "10.64.0.18:80".parse().unwrap(),
            peer: None,
            sent_bytes: 1,
            received_bytes: 2,
            verdict: if number.is_multiple_of(5) { Verdict::Reject } else { Verdict::Accept },
            open: false,
            note: String::new(),
            count: 1,
        }
    }

    fn opened() -> (FlowLog, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        (FlowLog::open(&dir.path().join("flows.log")).unwrap(), dir)
    }

    async fn numbers(log: &FlowLog, query: FlowQuery) -> Vec<u64> {
        log.read(query).map(|record| record.unwrap().at_ms).collect().await
    }

    fn lines(dir: &tempfile::TempDir) -> Vec<serde_json::Value> {
        let text = std::fs::read_to_string(dir.path().join("flows.log")).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[tokio::test]
    async fn reads_what_was_asked_for() {
        let (log, _dir) = opened();
        log.write((0..10).map(record).collect(), 0);
        let all = FlowQuery::default();
        assert_eq!(numbers(&log, all.clone()).await, (0..10).collect::<Vec<_>>());
        let owner = Some("default/even".parse().unwrap());
        assert_eq!(numbers(&log, FlowQuery { owner, ..all.clone() }).await, [0, 2, 4, 6, 8]);
        let namespace = Some("shop".parse().unwrap());
        let odd = FlowQuery { namespace, ..all.clone() };
        assert_eq!(numbers(&log, odd.clone()).await, [1, 3, 5, 7, 9]);
        assert_eq!(numbers(&log, FlowQuery { tail: Some(2), ..odd.clone() }).await, [7, 9]);
        assert_eq!(numbers(&log, FlowQuery { tail: Some(9), ..odd }).await, [1, 3, 5, 7, 9]);
        assert_eq!(numbers(&log, FlowQuery { tail: Some(0), ..all.clone() }).await, [] as [u64; 0]);
        assert_eq!(numbers(&log, FlowQuery { task: Some(record(3).task), ..all.clone() }).await, [3, 7]);
        assert_eq!(numbers(&log, FlowQuery { verdict: Some(Verdict::Reject), ..all.clone() }).await, [0, 5]);
        assert_eq!(numbers(&log, FlowQuery { since_ms: Some(8), ..all }).await, [8, 9]);
    }

    #[tokio::test]
    async fn flows_that_ended_with_their_worker_are_found_by_their_task() {
        let (log, _dir) = opened();
        let FlowRecord { task, owner, .. } = record(3);
        let flows = BrokenOff { task, owner, flows: 12 };
        let address = TaskAddress { v4: [10, 64, 0, 17].into(), v6: [0xfd73, 0, 0, 0, 0, 0, 0, 17].into() };
        log.write(vec![record(1), broken_off(1, &flows, Some(address)), broken_off(1, &flows, None)], 0);
        let query = FlowQuery { task: Some(task), ..FlowQuery::default() };
        let read: Vec<FlowRecord> = log.read(query).map(|record| record.unwrap()).collect().await;
        let locals: Vec<_> = read.iter().map(|record| record.local.to_string()).collect();
        assert_eq!(locals, ["10.64.0.17:0", "0.0.0.0:0"]);
        assert!(read.iter().all(|record| !record.open && record.count == 12), "{read:?}");
        assert_eq!(read[0].note, "worker 1 died, and with it 12 open flows of the task");
    }

    #[tokio::test]
    async fn a_follower_sees_what_comes() {
        let (log, _dir) = opened();
        log.write((0..3).map(record).collect(), 0);
        let mut stream = log.read(FlowQuery { follow: true, tail: Some(1), ..FlowQuery::default() });
        assert_eq!(stream.next().await.unwrap().unwrap().at_ms, 2);
        log.write(vec![record(3)], 0);
        assert_eq!(stream.next().await.unwrap().unwrap().at_ms, 3);
    }

    #[tokio::test]
    async fn only_the_newest_are_kept_in_memory_and_a_reader_that_misses_some_is_told() {
        let (log, dir) = opened();
        let total = (RECORDS_MAX + LOOK_RECORDS) as u64;
        log.write(vec![record(0)], 0);
        let mut slow = log.read(FlowQuery { follow: true, ..FlowQuery::default() });
        let rest: Vec<FlowRecord> = (1..total).map(record).collect();
        rest.chunks(512).for_each(|records| log.write(records.to_vec(), 0));
        assert!(slow.next().await.unwrap().is_err());
        assert!(slow.next().await.is_none());
        let kept = numbers(&log, FlowQuery::default()).await;
        assert_eq!(
            (kept.len(), kept[0], *kept.last().unwrap()),
            (RECORDS_MAX, LOOK_RECORDS as u64, total - 1)
        );
        log.flush().await;
        let text = std::fs::read_to_string(dir.path().join("flows.log")).unwrap();
        assert_eq!(text.lines().count() as u64, total, "older ones are in the file");
    }

    #[tokio::test]
    async fn what_was_lost_is_counted_and_told_in_its_place() {
        let (log, dir) = opened();
        log.write(vec![record(1)], 0);
        log.flush().await;
        log.write(vec![record(2)], 7);
        log.flush().await;
        let lines = lines(&dir);
        assert_eq!((lines.len(), log.lost_count()), (3, 7));
        assert_eq!(lines[1]["records_lost"], 7);
        assert_eq!(lines[2]["at_ms"], 2);
        let failing = FlowLog::open(Path::new("/dev/full")).unwrap();
        failing.write((0..3).map(record).collect(), 0);
        failing.flush().await;
        assert_eq!(failing.lost_count(), 3);
        assert_eq!(numbers(&failing, FlowQuery::default()).await, [0, 1, 2], "but they can be read");
    }
}

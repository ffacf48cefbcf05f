//! What guests write, kept on disk: one folder an owner, a few segments of JSON lines in each, the oldest removed.
//!
//! One thread writes; what comes faster than it can write is dropped, counted, and said so in its place. Readers read
//! the files and are woken when there is more; they never hold the writer up.

use crate::lost_lines::LostLines;
use futures::FutureExt;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use skiff_ports::logs::{LogLine, LogQuery, Logs};
use skiff_types::QualifiedName;
use std::collections::{HashMap, VecDeque};
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{TryRecvError, TrySendError};
use std::sync::{Arc, Mutex, mpsc};
use tokio::sync::watch;

/// A segment is closed once it has this many bytes.
const SEGMENT_BYTES_MAX: u64 = 4 << 20;
/// Segments kept for each owner.
const SEGMENTS_MAX: usize = 4;
/// Files that the writer keeps open.
const OPEN_FILES_MAX: usize = 128;
/// Batches that may wait for the writer.
const BATCHES_MAX: usize = 1_024;
/// Lines that may wait for a reader.
const READER_LINES_MAX: usize = 1_024;

type Batch = Vec<(QualifiedName, LogLine)>;

enum Order {
    Write(Batch),
    Remove(QualifiedName),
    Flush(mpsc::Sender<()>),
}

/// The log files of a node. Cheap to clone.
#[derive(Clone)]
pub struct LogFiles {
    dir: PathBuf,
    orders: mpsc::SyncSender<Order>,
    lost: Arc<Mutex<LostLines>>,
    lost_count: Arc<AtomicU64>,
    written: Arc<Mutex<HashMap<QualifiedName, watch::Sender<u64>>>>,
}

impl LogFiles {
    /// Keeps logs below `dir`, which it makes.
    pub fn open(dir: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(dir)?;
        let (orders, inbox) = mpsc::sync_channel(BATCHES_MAX);
        let (lost, lost_count, written) = (Arc::default(), Arc::default(), Arc::default());
        let files = Self { dir: dir.to_owned(), orders, lost, lost_count, written };
        let writer = Writer { files: files.clone(), open: HashMap::new() };
        std::thread::Builder::new().name("logs".into()).spawn(move || writer.run(inbox))?;
        Ok(files)
    }

    /// Takes lines to be written; drops them when too many wait already, counts them, and says so before the next that
    /// it takes.
    pub(crate) fn write(&self, batch: Batch) {
        let mut lost = self.lost.lock().expect("no holder panics");
        let mut lines = lost.remarks();
        let remarks = lines.len();
        lines.extend(batch);
        match self.orders.try_send(Order::Write(lines)) {
            Ok(()) => lost.clear(),
            Err(TrySendError::Full(order) | TrySendError::Disconnected(order)) => {
                let Order::Write(lines) = order else { return };
                let lines = &lines[remarks..];
                lines.iter().for_each(|(owner, line)| lost.note(owner, line.task));
                if self.lost_count.fetch_add(lines.len() as u64, Relaxed) == 0 {
                    tracing::warn!("guests write faster than the disk takes it: log lines are being dropped");
                }
            }
        }
    }

    /// How many lines were dropped since it was opened.
    pub(crate) fn lost_count(&self) -> u64 {
        self.lost_count.load(Relaxed)
    }

    /// Waits until all that was taken is written.
    pub(crate) async fn flush(&self) {
        let (done, wait) = mpsc::channel();
        let orders = self.orders.clone();
        let flushing = tokio::task::spawn_blocking(move || {
            if orders.send(Order::Flush(done)).is_ok() {
                let _ = wait.recv();
            }
        });
        let _ = flushing.await;
    }

    fn folder(&self, owner: &QualifiedName) -> PathBuf {
        self.dir.join(owner.namespace.as_str()).join(owner.name.as_str())
    }

    fn subscribe(&self, owner: &QualifiedName) -> watch::Receiver<u64> {
        let mut written = self.written.lock().expect("no holder panics");
        written.retain(|_, sender| sender.receiver_count() > 0);
        written.entry(owner.clone()).or_insert_with(|| watch::Sender::new(0)).subscribe()
    }
}

impl Logs for LogFiles {
    fn read(&self, query: LogQuery) -> BoxStream<'static, io::Result<LogLine>> {
        let (lines, stream) = tokio::sync::mpsc::channel(READER_LINES_MAX);
        let changed = self.subscribe(&query.owner);
        let reader = Reader { folder: self.folder(&query.owner), query, segment: 0, offset: 0 };
        let files = self.clone();
        tokio::spawn(async move {
            files.flush().await;
            reader.run(lines, changed).await;
        });
        Box::pin(futures::stream::unfold(stream, |mut stream| async { Some((stream.recv().await?, stream)) }))
    }

    fn owners(&self) -> BoxFuture<'_, io::Result<Vec<QualifiedName>>> {
        let dir = self.dir.clone();
        async move { tokio::task::spawn_blocking(move || owners(&dir)).await? }.boxed()
    }

    fn remove(&self, owner: &QualifiedName) {
        // It waits for its turn: what was written before must be gone too.
        let (orders, owner) = (self.orders.clone(), owner.clone());
        tokio::task::spawn_blocking(move || orders.send(Order::Remove(owner)));
    }
}

struct Writer {
    files: LogFiles,
    open: HashMap<QualifiedName, (File, u64, u64)>,
}

impl Writer {
    fn run(mut self, inbox: mpsc::Receiver<Order>) {
        loop {
            let next = match inbox.try_recv() {
                Err(TryRecvError::Empty) => {
                    self.remark_on_lost();
                    inbox.recv().ok()
                }
                next => next.ok(),
            };
            let Some(order) = next else { return };
            self.carry_out(order);
        }
    }

    /// Nobody writes at present who would say it.
    fn remark_on_lost(&mut self) {
        let remarks = {
            let mut lost = self.files.lost.lock().expect("no holder panics");
            let remarks = lost.remarks();
            lost.clear();
            remarks
        };
        self.write(remarks);
    }

    fn carry_out(&mut self, order: Order) {
        match order {
            Order::Write(batch) => self.write(batch),
            Order::Remove(owner) => {
                self.open.remove(&owner);
                let _ = std::fs::remove_dir_all(self.files.folder(&owner));
            }
            Order::Flush(done) => drop(done.send(())),
        }
    }

    fn write(&mut self, batch: Batch) {
        let mut by_owner: HashMap<QualifiedName, Vec<u8>> = HashMap::new();
        for (owner, line) in batch {
            let bytes = by_owner.entry(owner).or_default();
            if serde_json::to_writer(&mut *bytes, &line).is_ok() {
                bytes.push(b'\n');
            }
        }
        for (owner, bytes) in by_owner {
            if let Err(error) = self.append(&owner, &bytes) {
                tracing::error!(%owner, %error, "log lines could not be written and are lost");
                self.open.remove(&owner);
            }
            if let Some(changed) = self.files.written.lock().expect("no holder panics").get(&owner) {
                changed.send_modify(|count| *count += 1);
            }
        }
    }

    fn append(&mut self, owner: &QualifiedName, bytes: &[u8]) -> io::Result<()> {
        if !self.open.contains_key(owner) {
            if self.open.len() >= OPEN_FILES_MAX {
                self.open.clear();
            }
            self.open.insert(owner.clone(), open_last(&self.files.folder(owner))?);
        }
        let (file, number, length) = self.open.get_mut(owner).expect("opened above");
        if *length >= SEGMENT_BYTES_MAX {
            let folder = self.files.folder(owner);
            *number += 1;
            (*file, *length) = (append_to(&segment_path(&folder, *number))?, 0);
            let segments = segments(&folder);
            for old in &segments[..segments.len().saturating_sub(SEGMENTS_MAX)] {
                std::fs::remove_file(segment_path(&folder, *old))?;
            }
        }
        file.write_all(bytes)?;
        *length += bytes.len() as u64;
        Ok(())
    }
}

/// Who has a folder; what is there beside, like the access log, is nobody's.
fn owners(dir: &Path) -> io::Result<Vec<QualifiedName>> {
    let mut owners = Vec::new();
    for namespace in std::fs::read_dir(dir)? {
        let namespace = namespace?;
        if !namespace.file_type()?.is_dir() {
            continue;
        }
        for name in std::fs::read_dir(namespace.path())? {
            let owner = format!("{}/{}", namespace.file_name().display(), name?.file_name().display());
            owners.extend(owner.parse::<QualifiedName>());
        }
    }
    Ok(owners)
}

/// Opens the newest segment of a folder; a half-written last line, left by a crash, is ended.
fn open_last(folder: &Path) -> io::Result<(File, u64, u64)> {
    std::fs::create_dir_all(folder)?;
    let number = segments(folder).last().copied().unwrap_or(1);
    let path = segment_path(folder, number);
    let mut file = append_to(&path)?;
    let length = file.metadata()?.len();
    let torn = length > 0 && {
        let mut last = [0];
        std::os::unix::fs::FileExt::read_exact_at(&File::open(&path)?, &mut last, length - 1)?;
        last != *b"\n"
    };
    if torn {
        file.write_all(b"\n")?;
    }
    Ok((file, number, length))
}

fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

fn segment_path(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("{number:010}.ndjson"))
}

/// The numbers of a folder's segments, oldest first.
fn segments(folder: &Path) -> Vec<u64> {
    let number = |entry: io::Result<std::fs::DirEntry>| {
        let name = entry.ok()?.file_name();
        name.to_str()?.strip_suffix(".ndjson")?.parse().ok()
    };
    let mut numbers: Vec<u64> = std::fs::read_dir(folder).into_iter().flatten().filter_map(number).collect();
    numbers.sort_unstable();
    numbers
}

struct Reader {
    folder: PathBuf,
    query: LogQuery,
    segment: u64,
    offset: u64,
}

impl Reader {
    async fn run(
        mut self,
        lines: tokio::sync::mpsc::Sender<io::Result<LogLine>>,
        mut changed: watch::Receiver<u64>,
    ) {
        let mut tail = self.query.tail;
        loop {
            changed.mark_unchanged();
            loop {
                let reading = tokio::task::spawn_blocking(move || {
                    let found = self.read_some(tail);
                    (self, found)
                });
                let Ok((this, found)) = reading.await else { return };
                self = this;
                match found {
                    Ok(found) if found.is_empty() => break,
                    Ok(found) => {
                        for line in found {
                            if lines.send(Ok(line)).await.is_err() {
                                return;
                            }
                        }
                    }
                    Err(error) => return drop(lines.send(Err(error)).await),
                }
                tail = None;
            }
            if !self.query.follow {
                return;
            }
            tail = None;
            let ended = tokio::select! {
                more = changed.changed() => more.is_err(),
                () = lines.closed() => true,
            };
            if ended {
                return;
            }
        }
    }

    /// What there is from where it left off: up to some thousand lines, or, with `tail`, the last so many.
    fn read_some(&mut self, tail: Option<usize>) -> io::Result<Vec<LogLine>> {
        const LINES_MAX: usize = 4_096;
        let mut found = VecDeque::new();
        for number in
            segments(&self.folder).into_iter().filter(|number| *number >= self.segment).collect::<Vec<_>>()
        {
            let mut file = match File::open(segment_path(&self.folder, number)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                file => file?,
            };
            if number > self.segment {
                (self.segment, self.offset) = (number, 0);
            }
            file.seek(SeekFrom::Start(self.offset))?;
            let mut reader = BufReader::new(file);
            let mut bytes = Vec::new();
            while reader.read_until(b'\n', &mut bytes)? > 0 && bytes.ends_with(b"\n") {
                self.offset += bytes.len() as u64;
                if let Ok(line) = serde_json::from_slice::<LogLine>(&bytes)
                    && self.wants(&line)
                {
                    found.push_back(line);
                }
                bytes.clear();
                match tail {
                    Some(most) if found.len() > most => drop(found.pop_front()),
                    None if found.len() >= LINES_MAX => return Ok(found.into()),
                    _ => {}
                }
            }
        }
        Ok(found.into())
    }

    fn wants(&self, line: &LogLine) -> bool {
        self.query.task.is_none_or(|task| task == line.task)
            && self.query.since_ms.is_none_or(|since| line.at_ms >= since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::StreamExt;
    use rustix::fs::{CWD, FileType, Mode, OFlags};
    use skiff_ports::logs::LogStream;
    use skiff_types::TaskId;
    use std::os::fd::OwnedFd;

    fn owner() -> QualifiedName {
        "default/hello".parse().unwrap()
    }

    fn line(number: u64, task: u8) -> (QualifiedName, LogLine) {
        let task = TaskId::from_parts(1, [task; 10]);
        let line = LogLine { at_ms: number, task, stream: LogStream::Stdout, text: format!("line {number}") };
        (owner(), line)
    }

    fn query() -> LogQuery {
        LogQuery { owner: owner(), task: None, since_ms: None, tail: None, follow: false }
    }

    async fn texts(logs: &LogFiles, query: LogQuery) -> Vec<u64> {
        logs.read(query).map(|line| line.unwrap().at_ms).collect().await
    }

    #[tokio::test]
    async fn reads_what_was_written_by_task_time_and_tail() {
        let dir = tempfile::tempdir().unwrap();
        let logs = LogFiles::open(dir.path()).unwrap();
        logs.write((0..10).map(|number| line(number, (number % 2) as u8)).collect());
        assert_eq!(texts(&logs, query()).await, (0..10).collect::<Vec<_>>());
        assert_eq!(texts(&logs, LogQuery { tail: Some(3), ..query() }).await, [7, 8, 9]);
        assert_eq!(texts(&logs, LogQuery { tail: Some(0), ..query() }).await, [] as [u64; 0]);
        assert_eq!(texts(&logs, LogQuery { since_ms: Some(8), ..query() }).await, [8, 9]);
        let one = LogQuery { task: Some(TaskId::from_parts(1, [1; 10])), tail: Some(2), ..query() };
        assert_eq!(texts(&logs, one).await, [7, 9]);
        drop(logs);
        let logs = LogFiles::open(dir.path()).unwrap();
        assert_eq!(texts(&logs, query()).await.len(), 10, "they outlive the process");
        std::fs::write(dir.path().join("access-0.log"), "not an owner's").unwrap();
        assert_eq!(logs.owners().await.unwrap(), [owner()]);
        logs.remove(&owner());
        assert_eq!(texts(&logs, query()).await.len(), 0);
        assert_eq!(logs.owners().await.unwrap(), []);
    }

    #[tokio::test]
    async fn a_follower_sees_what_comes() {
        let dir = tempfile::tempdir().unwrap();
        let logs = LogFiles::open(dir.path()).unwrap();
        logs.write(vec![line(1, 1), line(2, 1)]);
        let mut stream = logs.read(LogQuery { follow: true, tail: Some(1), ..query() });
        assert_eq!(stream.next().await.unwrap().unwrap().at_ms, 2);
        logs.write(vec![line(3, 1)]);
        assert_eq!(stream.next().await.unwrap().unwrap().at_ms, 3);
    }

    #[tokio::test]
    async fn space_is_bounded_and_the_newest_lines_stay() {
        let dir = tempfile::tempdir().unwrap();
        let logs = LogFiles::open(dir.path()).unwrap();
        let text = "x".repeat(LogLine::LENGTH_MAX);
        let total = SEGMENT_BYTES_MAX * (SEGMENTS_MAX as u64 + 3) / text.len() as u64;
        for number in 0..total {
            let (owner, line) = line(number, 1);
            logs.write(vec![(owner, LogLine { text: text.clone(), ..line })]);
            if number % 512 == 0 {
                logs.flush().await;
            }
        }
        let kept = texts(&logs, query()).await;
        assert_eq!(kept.last(), Some(&(total - 1)));
        assert!(kept.is_sorted() && kept.len() < total as usize);
        let folder = dir.path().join("default/hello");
        let bytes: u64 =
            std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().metadata().unwrap().len()).sum();
        assert!(bytes <= (SEGMENTS_MAX as u64) * (SEGMENT_BYTES_MAX + 32_768), "{bytes}");
    }

    /// Has the writer wait, until what this answers is dropped: another owner's file is a pipe that nobody reads.
    fn hold_up(logs: &LogFiles) -> OwnedFd {
        let slow: QualifiedName = "default/slow".parse().unwrap();
        std::fs::create_dir_all(logs.folder(&slow)).unwrap();
        let path = segment_path(&logs.folder(&slow), 1);
        rustix::fs::mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        let pipe = rustix::fs::open(&path, OFlags::RDONLY | OFlags::NONBLOCK, Mode::empty()).unwrap();
        let text = "x".repeat(LogLine::LENGTH_MAX);
        let line = LogLine { text, ..line(0, 1).1 };
        // More than a pipe takes.
        logs.write(vec![(slow, line); 16]);
        while rustix::io::ioctl_fionread(&pipe).unwrap() == 0 {
            std::thread::yield_now();
        }
        pipe
    }

    #[tokio::test]
    async fn lines_that_there_was_no_room_for_are_counted_and_spoken_of_in_their_place() {
        let dir = tempfile::tempdir().unwrap();
        let logs = LogFiles::open(dir.path()).unwrap();
        let pipe = hold_up(&logs);
        let (fit, total) = (BATCHES_MAX as u64, BATCHES_MAX as u64 + 10);
        (0..total).for_each(|number| logs.write(vec![line(number, 1)]));
        assert_eq!(logs.lost_count(), 10);
        drop(pipe);
        logs.flush().await;
        logs.write(vec![line(total, 1)]);
        let lines: Vec<LogLine> = logs.read(query()).map(Result::unwrap).collect().await;
        assert!(lines[..BATCHES_MAX].iter().map(|line| line.at_ms).eq(0..fit));
        let [remark, next] = &lines[BATCHES_MAX..] else { panic!("{:?}", &lines[BATCHES_MAX..]) };
        assert_eq!((remark.stream, remark.task), (LogStream::Skiff, next.task));
        assert!(remark.text.starts_with("10 lines were lost here"), "{}", remark.text);
        assert_eq!((next.at_ms, logs.lost_count()), (total, 10), "once there is room none is lost");
    }

    #[tokio::test]
    async fn a_line_torn_by_a_crash_spoils_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let logs = LogFiles::open(dir.path()).unwrap();
        logs.write(vec![line(1, 1)]);
        logs.flush().await;
        let path = segment_path(&dir.path().join("default/hello"), 1);
        append_to(&path).unwrap().write_all(b"{\"at_ms\":2,\"ta").unwrap();
        let logs = LogFiles::open(dir.path()).unwrap();
        logs.write(vec![line(3, 1)]);
        assert_eq!(texts(&logs, query()).await, [1, 3]);
    }
}

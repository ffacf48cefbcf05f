//! The access log: one line of JSON for each request, and for each TCP connection and each handshake of TLS that failed,
//! which have no status; written by a thread of its own.
//!
//! A request only formats its line into a buffer. Buffers go to the thread when they are full, and a few times a
//! second as long as there are connections. If the disk can't keep up, or fails, lines are dropped and counted, and
//! the log says how many; a request never waits for it.

use serde::Serialize;
use skiff_kit::RotatedFile;
use skiff_kit::clock::unix_ms;
use std::cell::{Cell, RefCell};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use tokio::sync::oneshot;

/// Bytes of lines after which a buffer goes to the thread.
const BATCH_BYTES: usize = 32 << 10;
/// Buffers that may wait for the disk.
const BATCHES_MAX: usize = 64;
/// Bytes of a field that a client chose, after which it is cut.
const FIELD_BYTES_MAX: usize = 2048;
/// Milliseconds between two warnings of a disk that fails.
const WARNING_PAUSE_MS: u64 = 60_000;

/// Where the access log goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The file. No other worker may write to it. Older ones beside it have `.1`, `.2` and so on at their end.
    pub path: PathBuf,
    /// Bytes after which the next file is begun.
    pub file_bytes_max: u64,
    /// Files kept, the present one included.
    pub files_max: usize,
}

impl Config {
    /// The log at `path`, in 4 files of at most 64 MiB.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), file_bytes_max: 64 << 20, files_max: 4 }
    }
}

/// What is said of one request.
#[derive(Debug, Default, Clone, Copy, Serialize)]
pub(crate) struct Line<'a> {
    pub(crate) client: &'a str,
    pub(crate) method: &'a str,
    pub(crate) host: &'a str,
    /// With its query.
    pub(crate) path: &'a str,
    pub(crate) protocol: &'a str,
    pub(crate) status: u16,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
    pub(crate) duration_us: u64,
    /// The service, or the target group of addresses.
    pub(crate) service: Option<&'a str>,
    /// The task, or the address.
    pub(crate) task: Option<&'a str>,
    pub(crate) request_id: &'a str,
    pub(crate) user_agent: Option<&'a str>,
    pub(crate) error: Option<&'a str>,
    /// What was agreed on with a client that speaks TLS, and the host that it named then. There for these alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tls_protocol: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tls_cipher: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) domain_name: Option<&'a str>,
}

#[derive(Serialize)]
struct Timed<'a> {
    time: &'a str,
    #[serde(flatten)]
    line: Line<'a>,
}

enum Message {
    Lines { bytes: Vec<u8>, count: u64 },
    Flush(oneshot::Sender<()>),
}

/// The log, as the requests of one thread see it.
pub(crate) struct AccessLog {
    buffer: RefCell<Vec<u8>>,
    lines: Cell<u64>,
    time: RefCell<TimeText>,
    sender: Option<SyncSender<Message>>,
    dropped: Arc<AtomicU64>,
    dropped_told: Cell<u64>,
    thread: Option<JoinHandle<()>>,
}

impl AccessLog {
    pub(crate) fn open(config: &Config) -> io::Result<Self> {
        let file = RotatedFile::open(&config.path, config.file_bytes_max, config.files_max)?;
        let dropped = Arc::new(AtomicU64::new(0));
        let (sender, receiver) = sync_channel(BATCHES_MAX);
        let counter = dropped.clone();
        let thread = std::thread::Builder::new()
            .name("access-log".to_owned())
            .spawn(move || write_batches(file, &receiver, &counter))?;
        Ok(Self {
            buffer: RefCell::new(Vec::with_capacity(BATCH_BYTES + FIELD_BYTES_MAX)),
            lines: Cell::new(0),
            time: RefCell::default(),
            sender: Some(sender),
            dropped,
            dropped_told: Cell::new(0),
            thread: Some(thread),
        })
    }

    pub(crate) fn write(&self, mut line: Line<'_>) {
        line.host = cut(line.host);
        line.path = cut(line.path);
        line.user_agent = line.user_agent.map(cut);
        line.error = line.error.map(cut);
        let mut time = self.time.borrow_mut();
        let mut buffer = self.buffer.borrow_mut();
        let timed = Timed { time: time.at(unix_ms()), line };
        serde_json::to_writer(&mut *buffer, &timed).expect("text and numbers make JSON");
        buffer.push(b'\n');
        let is_full = buffer.len() >= BATCH_BYTES;
        drop(buffer);
        self.lines.set(self.lines.get() + 1);
        if is_full {
            self.hand_over();
        }
    }

    /// Gives the lines so far to the thread; drops them if it has too many already.
    pub(crate) fn hand_over(&self) {
        let Some(sender) = &self.sender else { return };
        let count = self.lines.replace(0);
        if count == 0 {
            return;
        }
        let fresh = Vec::with_capacity(BATCH_BYTES + FIELD_BYTES_MAX);
        let mut bytes = self.buffer.replace(fresh);
        let dropped = self.lines_dropped();
        let news = dropped - self.dropped_told.get();
        if news > 0 {
            let note = serde_json::json!({
                "time": self.time.borrow_mut().at(unix_ms()),
                "access_log_lines_dropped": news,
            });
            bytes.extend_from_slice(note.to_string().as_bytes());
            bytes.push(b'\n');
        }
        match sender.try_send(Message::Lines { bytes, count }) {
            Ok(()) => self.dropped_told.set(dropped),
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.dropped.fetch_add(count, Relaxed);
            }
        }
    }

    /// Ends when all lines so far are in the file, or were dropped.
    pub(crate) async fn flush(&self) {
        self.hand_over();
        let (done, is_done) = oneshot::channel();
        let sent = self.sender.as_ref().map(|sender| sender.try_send(Message::Flush(done)));
        if let Some(Ok(())) = sent {
            let _ = is_done.await;
        }
    }

    pub(crate) fn lines_dropped(&self) -> u64 {
        self.dropped.load(Relaxed)
    }
}

impl Drop for AccessLog {
    fn drop(&mut self) {
        self.hand_over();
        self.sender = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The first bytes of a text, cut between two characters.
fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(FIELD_BYTES_MAX)]
}

/// The time of day as text (RFC 3339, UTC), worked out once a second.
#[derive(Debug, Default)]
struct TimeText {
    second: u64,
    text: String,
}

impl TimeText {
    fn at(&mut self, now_ms: u64) -> &str {
        /// Bytes of `2026-01-31T23:59:59`.
        const SECONDS_LENGTH: usize = 19;
        let (second, ms) = (now_ms / 1_000, now_ms % 1_000);
        if second != self.second || self.text.is_empty() {
            let time = jiff::Timestamp::from_second(i64::try_from(second).unwrap_or(i64::MAX));
            self.text = time.unwrap_or(jiff::Timestamp::MAX).to_string();
            self.second = second;
        }
        self.text.truncate(SECONDS_LENGTH);
        self.text.push('.');
        let digit = |divisor: u64| char::from(b'0' + (ms / divisor % 10) as u8);
        self.text.extend([digit(100), digit(10), digit(1), 'Z']);
        &self.text
    }
}

fn write_batches(mut file: RotatedFile, receiver: &Receiver<Message>, dropped: &AtomicU64) {
    let mut warned_ms = 0;
    while let Ok(message) = receiver.recv() {
        match message {
            Message::Lines { bytes, count } => {
                let Err(error) = file.write(&bytes) else { continue };
                dropped.fetch_add(count, Relaxed);
                let now_ms = unix_ms();
                if now_ms.saturating_sub(warned_ms) >= WARNING_PAUSE_MS {
                    warned_ms = now_ms;
                    tracing::warn!(%error, path = %file.path().display(), "access log lines were lost");
                }
            }
            Message::Flush(done) => {
                let _ = done.send(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_is_rfc_3339() {
        let mut time = TimeText::default();
        assert_eq!(time.at(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(time.at(1_772_323_199_007), "2026-02-28T23:59:59.007Z");
        assert_eq!(time.at(1_772_323_199_999), "2026-02-28T23:59:59.999Z");
        assert_eq!(time.at(1_772_323_200_120), "2026-03-01T00:00:00.120Z");
    }

    #[test]
    fn lines_that_the_disk_refuses_are_counted_and_told() {
        let config = Config::new("/dev/full");
        let log = AccessLog::open(&config).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        (0..3).for_each(|_| log.write(Line::default()));
        runtime.block_on(log.flush());
        assert_eq!(log.lines_dropped(), 3);
        log.write(Line::default());
        log.hand_over();
        assert_eq!(log.dropped_told.get(), 3);
    }

    #[test]
    fn long_fields_are_cut_and_every_line_is_json() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.log");
        let log = AccessLog::open(&Config::new(&path)).unwrap();
        let long = "é\"\\\n\u{1}".repeat(1_000);
        log.write(Line { path: &long, host: &long, user_agent: Some(&long), status: 200, ..Line::default() });
        drop(log);
        let text = std::fs::read_to_string(&path).unwrap();
        let line: serde_json::Value = serde_json::from_str(text.trim_end()).unwrap();
        assert!(long.starts_with(line["path"].as_str().unwrap()) && text.len() < 20_000);
        assert_eq!(text.lines().count(), 1);
        assert_eq!((line["status"].as_u64(), line["service"].is_null()), (Some(200), true));
    }
}

//! The access log: one line for each request, and for each TCP connection and each handshake of TLS that failed, which have
//! no status; as JSON ([`json`]) or in Elastic Load Balancing's own form ([`elb`]), written by a thread of its own.
//!
//! Three times are told of a request besides all that it took: until it was sent to its target, until that began to answer,
//! and until the answer began to go out, which it does at once. What comes before a task is called the first time waits for
//! nothing, so it counts as the target's.
//!
//! A request only formats its line into a buffer. Buffers go to the thread when they are full, and a few times a
//! second as long as there are connections. If the disk can't keep up, or fails, lines are dropped and counted, and
//! the log says how many; a request never waits for it.

mod elb;
mod json;

use crate::decision::Ground;
use crate::guard::Fault;
use crate::listener::Listener;
use skiff_kit::RotatedFile;
use skiff_kit::clock::unix_ms;
use skiff_types::Name;
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
/// The status of a request whose client left before the answer: nginx's number for it.
pub(crate) const CLIENT_CLOSED_REQUEST: u16 = 499;

/// Where the access log goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The file. No other worker may write to it. Older ones beside it have `.1`, `.2` and so on at their end.
    pub path: PathBuf,
    /// Bytes after which the next file is begun.
    pub file_bytes_max: u64,
    /// Files kept, the present one included.
    pub files_max: usize,
    /// How lines are written.
    pub format: Format,
}

/// How the access log's lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// An object of JSON.
    Json,
    /// Fields in the order of Elastic Load Balancing (AWS, "Access logs for your Application Load Balancer").
    Elb,
}

impl Config {
    /// The log at `path` as JSON, in 4 files of at most 64 MiB.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), file_bytes_max: 64 << 20, files_max: 4, format: Format::Json }
    }
}

/// What is said of one request.
#[derive(Default, Clone, Copy)]
pub(crate) struct Line<'a> {
    /// Where it came to.
    pub(crate) listener: Option<&'a Listener>,
    pub(crate) client: &'a str,
    pub(crate) client_port: u16,
    pub(crate) method: &'a str,
    pub(crate) host: &'a str,
    /// With its query.
    pub(crate) path: &'a str,
    pub(crate) protocol: &'a str,
    /// Whether its body claims to be of gRPC.
    pub(crate) is_grpc: bool,
    pub(crate) status: u16,
    /// What the target answered with.
    pub(crate) target_status: Option<u16>,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
    pub(crate) duration_us: u64,
    /// Until it was sent to its target.
    pub(crate) request_processing_us: Option<u64>,
    /// From there until the target began to answer.
    pub(crate) target_processing_us: Option<u64>,
    /// From there until the answer began to go out.
    pub(crate) response_processing_us: Option<u64>,
    /// The service, or the target group of addresses.
    pub(crate) service: Option<&'a str>,
    /// The target group that it was forwarded to; a service is one of its own name.
    pub(crate) target_group: Option<&'a str>,
    /// The task, or the address.
    pub(crate) task: Option<&'a str>,
    /// The task's port; 0 where it is called.
    pub(crate) target_port: Option<u16>,
    /// By what it was decided.
    pub(crate) ground: Option<Ground>,
    /// Where the client was redirected to.
    pub(crate) redirect_url: Option<&'a str>,
    pub(crate) request_id: &'a str,
    pub(crate) trace_id: Option<&'a str>,
    pub(crate) user_agent: Option<&'a str>,
    pub(crate) error: Option<&'a str>,
    /// What was wrong with its bytes.
    pub(crate) fault: Option<Fault>,
    /// What was agreed on with a client that speaks TLS, the host that it named then, and the certificate that it was shown.
    pub(crate) tls_protocol: Option<&'a str>,
    pub(crate) tls_cipher: Option<&'a str>,
    pub(crate) domain_name: Option<&'a str>,
    pub(crate) certificate: Option<&'a Name>,
    /// Whether that went on with an earlier session, without a certificate.
    pub(crate) is_resumed: bool,
}

enum Message {
    Lines { bytes: Vec<u8>, count: u64 },
    Flush(oneshot::Sender<()>),
}

/// The log, as the requests of one thread see it.
pub(crate) struct AccessLog {
    format: Format,
    buffer: RefCell<Vec<u8>>,
    lines: Cell<u64>,
    time: RefCell<TimeText>,
    /// Of when requests began, where that is told.
    begun: RefCell<TimeText>,
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
            format: config.format,
            buffer: RefCell::new(Vec::with_capacity(BATCH_BYTES + FIELD_BYTES_MAX)),
            lines: Cell::new(0),
            time: RefCell::default(),
            begun: RefCell::default(),
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
        line.redirect_url = line.redirect_url.map(cut);
        let now_ms = unix_ms();
        let mut time = self.time.borrow_mut();
        let mut buffer = self.buffer.borrow_mut();
        match self.format {
            Format::Json => json::write(&mut buffer, time.at(now_ms), &line),
            Format::Elb => {
                let mut begun = self.begun.borrow_mut();
                let begun = begun.at(now_ms.saturating_sub(line.duration_us / 1_000));
                elb::write(&mut buffer, begun, time.at(now_ms), &line);
            }
        }
        buffer.push(b'\n');
        let is_full = buffer.len() >= BATCH_BYTES;
        // Handing over takes both.
        drop((time, buffer));
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
            let mut time = self.time.borrow_mut();
            let time = time.at(unix_ms());
            let note = match self.format {
                Format::Json => format!("{{\"time\":\"{time}\",\"access_log_lines_dropped\":{news}}}\n"),
                Format::Elb => format!("# {time} access_log_lines_dropped {news}\n"),
            };
            bytes.extend_from_slice(note.as_bytes());
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

/// Writes a number in decimal digits.
pub(crate) fn push_number(out: &mut Vec<u8>, mut number: u64) {
    /// Digits of the largest number.
    const DIGITS_MAX: usize = 20;
    let (mut digits, mut first) = ([b'0'; DIGITS_MAX], DIGITS_MAX - 1);
    digits[first] += (number % 10) as u8;
    while number >= 10 {
        number /= 10;
        first -= 1;
        digits[first] += (number % 10) as u8;
    }
    out.extend_from_slice(&digits[first..]);
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
    use crate::config::Proto;
    use crate::decision::By;

    /// A line with something in nearly every field.
    pub(super) fn full_line(check: impl FnOnce(&Line<'_>)) {
        let listener = Listener::built_in(Proto::Http, 80);
        let certificate: Name = "shop".parse().unwrap();
        check(&Line {
            listener: Some(&listener),
            client: "10.0.0.9",
            client_port: 4711,
            method: "POST",
            host: "shop.example",
            path: "/a?b=\"c\"",
            protocol: "HTTP/1.1",
            status: 502,
            target_status: Some(200),
            bytes_in: 5,
            bytes_out: 70_000,
            duration_us: 1_234_567,
            request_processing_us: Some(0),
            target_processing_us: Some(1_200_499),
            service: Some("default/web"),
            target_group: Some("default/blue"),
            task: Some("t1"),
            target_port: Some(8080),
            ground: Some(Ground { by: By::Rule("7".parse().unwrap()), action: "forward" }),
            request_id: "id-1",
            trace_id: Some("4bf92f3577b34da6a3ce929d0e0e4736"),
            user_agent: Some("te\\st\u{1}/é"),
            error: Some("it broke"),
            tls_protocol: Some("TLSv1.3"),
            tls_cipher: Some("TLS_AES_128_GCM_SHA256"),
            domain_name: Some("shop.example"),
            certificate: Some(&certificate),
            ..Line::default()
        });
    }

    #[test]
    fn numbers_have_their_digits() {
        for number in [0, 9, 10, 99, 100, 12_345, u64::MAX] {
            let mut out = b"=".to_vec();
            push_number(&mut out, number);
            assert_eq!(out, format!("={number}").into_bytes());
        }
    }

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
    fn lines_that_fill_a_buffer_say_that_others_were_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.log");
        let log = AccessLog::open(&Config::new(&path)).unwrap();
        log.dropped.fetch_add(7, Relaxed);
        (0..BATCH_BYTES / 100).for_each(|_| log.write(Line::default()));
        drop(log);
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().filter(|line| line.ends_with("\"access_log_lines_dropped\":7}")).count(), 1);
    }

    #[test]
    fn elbs_lines_say_when_a_request_began_and_that_lines_were_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.log");
        let log = AccessLog::open(&Config { format: Format::Elb, ..Config::new(&path) }).unwrap();
        log.dropped.fetch_add(2, Relaxed);
        log.write(Line { duration_us: 3_600_000_000, ..Line::default() });
        drop(log);
        let text = std::fs::read_to_string(&path).unwrap();
        let (line, note) = text.trim_end().split_once('\n').unwrap();
        let times: Vec<&str> = line.split(' ').filter(|field| field.ends_with("000Z")).collect();
        assert!(times.len() == 2 && times[1] < times[0], "{line}");
        assert!(note.starts_with("# 20") && note.ends_with(" access_log_lines_dropped 2"), "{note}");
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

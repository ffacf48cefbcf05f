//! A guest's output: bytes to lines, lines within the task's rate, rate-bound lines to whoever keeps them.
//!
//! Guests write while they are polled, on the worker's thread, but through types that must be `Send`. So lines gather
//! in a [`LogQueue`], which the host empties into its [`LogSink`] after each poll of a guest: in order, and before
//! anything is said about the guest's end. What is said where no guest is polled is handed over soon after. Nothing waits for a slow sink here; what is over the rate is dropped,
//! counted, and spoken of.

use crate::account::Account;
use bytes::Bytes;
use skiff_kit::{TokenBucket, clock};
use skiff_ports::logs::{LogLine, LogStream};
use skiff_types::QualifiedName;
use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use tokio::io::AsyncWrite;
use tokio::sync::Notify;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

/// Bytes that a guest may write at once.
const WRITE_BYTES_MAX: usize = 64 << 10;
/// What a line costs of its task's rate beside its text, in bytes: about what is stored with it.
const LINE_BYTES: u64 = 128;
/// How much of its rate a task may write at once after a silence, in nanoseconds.
const BURST_NS: u64 = 1_000_000_000;
/// Bytes of Skiff's own remarks on a task per second; they do not count towards the task's rate, so that a flood can't
/// drown the reason of a failure.
const REMARK_BYTES_PER_SECOND: u64 = 32 << 10;
/// Least time between two remarks of the same kind, in nanoseconds.
const REMARK_INTERVAL_NS: u64 = 1_000_000_000;

/// Takes the lines of guests, on the worker's thread. Must not wait.
pub trait LogSink {
    /// Takes one line of a task that belongs to `owner`; false if there is no room for it, which it says in the line's
    /// place once there is.
    fn write(&self, owner: &QualifiedName, line: LogLine) -> bool;
}

/// Lines on their way to the sink.
#[derive(Default)]
pub(crate) struct LogQueue {
    waiting: AtomicBool,
    lines: Mutex<VecDeque<(Arc<Account>, LogLine)>>,
    /// Told of lines that no guest's poll may follow.
    reported: Notify,
}

impl LogQueue {
    fn push(&self, account: &Arc<Account>, stream: LogStream, text: String) {
        let line = LogLine { at_ms: clock::unix_ms(), task: account.task, stream, text };
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).push_back((account.clone(), line));
        self.waiting.store(true, Relaxed);
    }

    /// Hands all lines to the sink; says how many bytes of memory they took here.
    pub(crate) fn flush(&self, sink: &dyn LogSink) -> u64 {
        if !self.waiting.swap(false, Relaxed) {
            return 0;
        }
        let lines = std::mem::take(&mut *self.lines.lock().unwrap_or_else(PoisonError::into_inner));
        let mut bytes = (lines.capacity() * size_of::<(Arc<Account>, LogLine)>()) as u64;
        for (account, line) in lines {
            let length = line.text.len() as u64;
            bytes += line.text.capacity() as u64;
            if !sink.write(&account.owner, line) {
                account.row().log_bytes_dropped.add(length + 1);
            }
        }
        bytes
    }

    /// Writes a line of the guest's, or drops it where the task writes too fast.
    fn write(&self, account: &Arc<Account>, stream: LogStream, text: String) {
        let now_ns = clock::monotonic_ns();
        let bytes = text.len() as u64 + 1;
        if account.log_meter.output.admit(now_ns, bytes + LINE_BYTES) {
            self.push(account, stream, text);
        } else {
            account.row().log_bytes_dropped.add(bytes);
            account.log_meter.dropped.fetch_add(bytes, Relaxed);
        }
        self.remark_on_dropped(account, now_ns);
    }

    /// Writes a remark of Skiff's own, of which there may be several lines; what is over their rate is left out.
    pub(crate) fn remark(&self, account: &Arc<Account>, text: &str) {
        let now_ns = clock::monotonic_ns();
        for line in text.lines() {
            if account.log_meter.remarks.admit(now_ns, line.len() as u64 + 1) {
                self.push(account, LogStream::Skiff, cut(line.to_owned()));
            }
        }
    }

    /// As [`Self::remark`], from where the sink is out of reach.
    pub(crate) fn report(&self, account: &Arc<Account>, text: &str) {
        self.remark(account, text);
        self.reported.notify_one();
    }

    /// Ends when something was reported since it last did.
    pub(crate) async fn reported(&self) {
        self.reported.notified().await;
    }

    /// As [`Self::remark`], but at most once a second for the same `last_ns`.
    pub(crate) fn remark_seldom(&self, account: &Arc<Account>, last_ns: &AtomicU64, text: &str) {
        if due(last_ns, clock::monotonic_ns()) {
            self.remark(account, text);
        }
    }

    fn remark_on_dropped(&self, account: &Arc<Account>, now_ns: u64) {
        let meter = &account.log_meter;
        if meter.dropped.load(Relaxed) > 0 && due(&meter.dropped_remark_ns, now_ns) {
            let bytes = meter.dropped.swap(0, Relaxed);
            let rate = account.spec.limits.log_rate;
            let text =
                format!("{bytes} bytes of output were dropped: the task writes more than {rate} per second");
            self.push(account, LogStream::Skiff, text);
        }
    }
}

fn due(last_ns: &AtomicU64, now_ns: u64) -> bool {
    let last = last_ns.load(Relaxed);
    let due = last == 0 || now_ns.saturating_sub(last) >= REMARK_INTERVAL_NS;
    if due {
        last_ns.store(now_ns, Relaxed);
    }
    due
}

/// How much a task may still write.
pub(crate) struct LogMeter {
    output: Rate,
    remarks: Rate,
    dropped: AtomicU64,
    dropped_remark_ns: AtomicU64,
    /// When it was last said that outgoing requests are denied.
    pub(crate) denied_remark_ns: AtomicU64,
}

impl LogMeter {
    pub(crate) fn new(bytes_per_second: u64) -> Self {
        Self {
            output: Rate::new(bytes_per_second),
            remarks: Rate::new(REMARK_BYTES_PER_SECOND),
            dropped: AtomicU64::new(0),
            dropped_remark_ns: AtomicU64::new(0),
            denied_remark_ns: AtomicU64::new(0),
        }
    }
}

/// Bytes per second.
struct Rate {
    bucket: TokenBucket,
    state: AtomicU64,
}

impl Rate {
    fn new(bytes_per_second: u64) -> Self {
        Self { bucket: TokenBucket::per_second(bytes_per_second, BURST_NS), state: AtomicU64::new(0) }
    }

    fn admit(&self, now_ns: u64, bytes: u64) -> bool {
        let admitted = self.bucket.wait_ns(&self.state, now_ns) == 0;
        if admitted {
            self.bucket.spend(&self.state, now_ns, bytes);
        }
        admitted
    }
}

/// One of a sandbox's two output streams; clones write to the same lines.
#[derive(Clone)]
pub(crate) struct Capture(Arc<Mutex<LineBuffer>>);

impl Capture {
    pub(crate) fn new(account: Arc<Account>, queue: Arc<LogQueue>, stream: LogStream) -> Self {
        let line = Vec::new();
        Self(Arc::new(Mutex::new(LineBuffer { account, queue, stream, line, cut: false })))
    }

    fn take(&self, bytes: &[u8]) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take(bytes);
    }
}

/// Gathers bytes to lines. What is left without a line's end is a line too once the sandbox is gone.
struct LineBuffer {
    account: Arc<Account>,
    queue: Arc<LogQueue>,
    stream: LogStream,
    line: Vec<u8>,
    /// The line is at its longest; what follows up to its end is dropped.
    cut: bool,
}

impl LineBuffer {
    fn take(&mut self, mut bytes: &[u8]) {
        while let Some(end) = bytes.iter().position(|&byte| byte == b'\n') {
            self.gather(&bytes[..end]);
            self.finish_line();
            bytes = &bytes[end + 1..];
        }
        self.gather(bytes);
    }

    fn gather(&mut self, bytes: &[u8]) {
        let room = LogLine::LENGTH_MAX - self.line.len();
        let taken = bytes.len().min(room);
        self.line.extend_from_slice(&bytes[..taken]);
        self.cut |= taken < bytes.len();
        self.account.row().log_bytes_dropped.add((bytes.len() - taken) as u64);
    }

    fn finish_line(&mut self) {
        let text = String::from_utf8_lossy(&self.line).into_owned();
        self.line.clear();
        self.cut = false;
        self.queue.write(&self.account, self.stream, cut(text));
    }
}

impl Drop for LineBuffer {
    fn drop(&mut self) {
        if !self.line.is_empty() || self.cut {
            self.finish_line();
        }
    }
}

/// Cuts at the longest line there may be, between two characters.
fn cut(mut text: String) -> String {
    if text.len() > LogLine::LENGTH_MAX {
        let end = (0..=LogLine::LENGTH_MAX).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
        text.truncate(end);
    }
    text
}

impl IsTerminal for Capture {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Capture {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

impl OutputStream for Capture {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.take(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(WRITE_BYTES_MAX)
    }
}

#[async_trait::async_trait]
impl Pollable for Capture {
    async fn ready(&mut self) {}
}

impl AsyncWrite for Capture {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let taken = bytes.len().min(WRITE_BYTES_MAX);
        self.take(&bytes[..taken]);
        Poll::Ready(Ok(taken))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

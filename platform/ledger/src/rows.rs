//! The rows of the mapping: what is counted of a task in one worker, and what a worker says of itself.
//!
//! All fields are atomics, so that a row may be read while it is written. What is laid out here is what [`crate::layout`]'s magic
//! word stands for: with another field goes another word.

use crate::account::{Counter, Gauge};
use crate::histogram::Histogram;
use crate::memory::{HeldMemory, now_ms};
use skiff_types::Usage;

/// The class of an HTTP status, for counting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatusClass {
    /// 1xx and 2xx.
    Success,
    /// 3xx.
    Redirection,
    /// 4xx.
    ClientError,
    /// 5xx.
    ServerError,
}

impl StatusClass {
    /// How many there are.
    pub const COUNT: usize = 4;
    /// All of them, in the order of a row's counters.
    pub const ALL: [Self; Self::COUNT] =
        [Self::Success, Self::Redirection, Self::ClientError, Self::ServerError];

    /// The class of a status code.
    pub fn of(status: u16) -> Self {
        match status {
            0..=299 => Self::Success,
            300..=399 => Self::Redirection,
            400..=499 => Self::ClientError,
            _ => Self::ServerError,
        }
    }

    /// As metrics label it.
    pub fn label(self) -> &'static str {
        match self {
            Self::Success => "2xx",
            Self::Redirection => "3xx",
            Self::ClientError => "4xx",
            Self::ServerError => "5xx",
        }
    }
}

/// The accounts of one task in one worker.
#[repr(C, align(64))]
#[derive(Debug, Default)]
pub struct TaskRow {
    /// CPU time in its guests and host calls, in nanoseconds.
    pub cpu_ns: Counter,
    /// Time its guests slept because the task had used up its CPU, in nanoseconds.
    pub throttled_ns: Counter,
    /// Memory its sandboxes hold, in bytes.
    pub memory_bytes: Gauge,
    /// That memory times how long it was held.
    pub held: HeldMemory,
    /// The most the whole task ever held, as this worker saw it, in bytes.
    pub memory_peak_bytes: Gauge,
    /// Requests that have a sandbox.
    pub in_flight: Gauge,
    /// Requests that wait for one.
    pub queued: Gauge,
    /// Sandboxes alive.
    pub sandboxes: Gauge,
    /// Responses sent, by [`StatusClass`].
    pub responses: [Counter; StatusClass::COUNT],
    /// Those of them that checks of its target group had.
    pub checks: [Counter; StatusClass::COUNT],
    /// Sandboxes drawn from the pool.
    pub sandboxes_drawn: Counter,
    /// Guests that trapped.
    pub traps: Counter,
    /// Requests that ran out of time.
    pub timeouts: Counter,
    /// Guests that were refused memory.
    pub out_of_memory: Counter,
    /// Requests refused because the task and its queue were full.
    pub refused: Counter,
    /// Output of guests dropped because it came too fast, in bytes.
    pub log_bytes_dropped: Counter,
    /// Bytes of request bodies.
    pub received_bytes: Counter,
    /// Bytes of response bodies.
    pub sent_bytes: Counter,
    /// Bytes that its network interface sent.
    pub net_sent_bytes: Counter,
    /// Bytes that its network interface received.
    pub net_received_bytes: Counter,
    /// Connections that its network interface opened or took.
    pub net_connections: Counter,
    /// Those of them that are open.
    pub net_open: Gauge,
    /// TCP connections to the ports of a `command` task that are open, whoever made them.
    pub net_inbound: Gauge,
    /// Requests that the load balancer has at a daemon, whatever connections it keeps there.
    pub balanced: Gauge,
    /// Attempts to connect, either way, that no rule allowed, and connections cut because none does any more.
    pub net_denied: Counter,
    /// From a request's head to its response's last byte.
    pub request_duration: Histogram,
    /// Cold start: native code checked and mapped.
    pub cold_start_load: Histogram,
    /// Cold start: a sandbox made.
    pub cold_start_instantiate: Histogram,
    /// Cold start: from the sandbox's first instruction to the response's head.
    pub cold_start_first_byte: Histogram,
}

impl TaskRow {
    /// Sets the gauges to 0: their worker is gone, and what they counted with it.
    pub(crate) fn close(&self) {
        self.held.settle(now_ms(), &self.memory_bytes);
        let gauges = [
            &self.memory_bytes,
            &self.in_flight,
            &self.queued,
            &self.sandboxes,
            &self.net_open,
            &self.net_inbound,
            &self.balanced,
        ];
        gauges.into_iter().for_each(|gauge| gauge.set(0));
    }

    /// What is billed of it, up to `now_ms`.
    pub(crate) fn usage(&self, now_ms: u64) -> Usage {
        Usage {
            requests: self.responses.iter().map(Counter::get).sum(),
            cpu_ns: self.cpu_ns.get(),
            memory_kib_ms: self.held.kib_ms(now_ms, &self.memory_bytes),
            received_bytes: self.received_bytes.get(),
            sent_bytes: self.sent_bytes.get(),
            cold_starts: self.sandboxes_drawn.get(),
        }
    }

    /// Makes it as new.
    pub(crate) fn clear(&self) {
        self.close();
        self.memory_peak_bytes.set(0);
        self.held.clear();
        let counters = [
            &self.cpu_ns,
            &self.throttled_ns,
            &self.sandboxes_drawn,
            &self.traps,
            &self.timeouts,
            &self.out_of_memory,
            &self.refused,
            &self.log_bytes_dropped,
            &self.received_bytes,
            &self.sent_bytes,
            &self.net_sent_bytes,
            &self.net_received_bytes,
            &self.net_connections,
            &self.net_denied,
        ];
        counters.into_iter().chain(&self.responses).chain(&self.checks).for_each(Counter::clear);
        let histograms = [
            &self.request_duration,
            &self.cold_start_load,
            &self.cold_start_instantiate,
            &self.cold_start_first_byte,
        ];
        histograms.into_iter().for_each(Histogram::clear);
    }
}

/// What a worker says of itself.
#[repr(C, align(64))]
#[derive(Debug, Default)]
pub struct WorkerRow {
    /// Connections it holds open.
    pub connections: Gauge,
    /// Its event loop's last sign of life, in nanoseconds of the monotonic clock.
    pub heartbeat_ns: Gauge,
    /// CPU time of its thread that no task can be charged with, in nanoseconds.
    pub platform_cpu_ns: Counter,
    /// Requests it has taken.
    pub requests: Counter,
    /// Requests it answered for no task: nobody was there who could.
    pub platform_requests: Counter,
    /// Bytes of the bodies of those answers.
    pub platform_sent_bytes: Counter,
    /// Components whose native code it has mapped.
    pub mapped_components: Gauge,
    /// That code, in bytes.
    pub mapped_code_bytes: Gauge,
    /// Memory that idle slots of its pool keep at most for sandboxes to come, in bytes.
    pub pool_kept_bytes: Gauge,
}

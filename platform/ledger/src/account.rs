//! What a row is made of: counters that only grow, and gauges that go up and down.

use crate::HistogramTotals;
use crate::rows::{StatusClass, TaskRow};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed, Ordering::SeqCst};

/// A number that only grows.
#[repr(transparent)]
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds to it.
    pub fn add(&self, amount: u64) {
        // One worker writes a row, so a load and a store do what a locked instruction would, for less.
        self.0.store(self.0.load(Relaxed).wrapping_add(amount), Relaxed);
    }

    /// Reads it.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }

    pub(crate) fn clear(&self) {
        self.0.store(0, Relaxed);
    }
}

/// A number that goes up and down.
#[repr(transparent)]
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    /// Adds to it. Sequentially consistent, so that a claim that follows it sees every claim before it.
    pub fn add(&self, amount: u64) {
        self.0.fetch_add(amount, SeqCst);
    }

    /// Takes from it.
    pub fn subtract(&self, amount: u64) {
        let before = self.0.fetch_sub(amount, SeqCst);
        debug_assert!(before >= amount, "gave back {amount} of {before}");
    }

    /// Sets it.
    pub fn set(&self, value: u64) {
        self.0.store(value, Relaxed);
    }

    /// Reads it.
    pub fn get(&self) -> u64 {
        self.0.load(SeqCst)
    }

    /// Adds `amount` unless `total` (this gauge and its siblings, summed) then exceeds `limit`.
    pub(crate) fn claim(&self, amount: u64, limit: u64, total: impl Fn() -> u64) -> bool {
        self.add(amount);
        let granted = total() <= limit;
        if !granted {
            self.subtract(amount);
        }
        granted
    }
}

/// A slot's rows added up, or what is kept of a slot that is gone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is the sum of the row's field of the same name, which says what it is")]
pub struct Totals {
    pub cpu_ns: u64,
    pub throttled_ns: u64,
    pub memory_bytes: u64,
    pub memory_peak_bytes: u64,
    pub memory_kib_ms: u64,
    pub in_flight: u64,
    pub queued: u64,
    pub sandboxes: u64,
    pub responses: [u64; StatusClass::COUNT],
    pub checks: [u64; StatusClass::COUNT],
    pub sandboxes_drawn: u64,
    pub traps: u64,
    pub timeouts: u64,
    pub out_of_memory: u64,
    pub refused: u64,
    pub log_bytes_dropped: u64,
    pub received_bytes: u64,
    pub sent_bytes: u64,
    pub net_sent_bytes: u64,
    pub net_received_bytes: u64,
    pub net_connections: u64,
    pub net_open: u64,
    pub net_inbound: u64,
    pub net_denied: u64,
    pub request_duration: HistogramTotals,
    pub cold_start_load: HistogramTotals,
    pub cold_start_instantiate: HistogramTotals,
    pub cold_start_first_byte: HistogramTotals,
}

impl Totals {
    /// Adds a row to the sums as of `now_ms`, by [`crate::now_ms`].
    pub fn add_row(&mut self, row: &TaskRow, now_ms: u64) {
        self.cpu_ns += row.cpu_ns.get();
        self.throttled_ns += row.throttled_ns.get();
        self.memory_bytes += row.memory_bytes.get();
        self.memory_peak_bytes = self.memory_peak_bytes.max(row.memory_peak_bytes.get());
        self.memory_kib_ms += row.held.kib_ms(now_ms, &row.memory_bytes);
        self.in_flight += row.in_flight.get();
        self.queued += row.queued.get();
        self.sandboxes += row.sandboxes.get();
        for (total, counter) in self.responses.iter_mut().zip(&row.responses) {
            *total += counter.get();
        }
        for (total, counter) in self.checks.iter_mut().zip(&row.checks) {
            *total += counter.get();
        }
        self.sandboxes_drawn += row.sandboxes_drawn.get();
        self.traps += row.traps.get();
        self.timeouts += row.timeouts.get();
        self.out_of_memory += row.out_of_memory.get();
        self.refused += row.refused.get();
        self.log_bytes_dropped += row.log_bytes_dropped.get();
        self.received_bytes += row.received_bytes.get();
        self.sent_bytes += row.sent_bytes.get();
        self.net_sent_bytes += row.net_sent_bytes.get();
        self.net_received_bytes += row.net_received_bytes.get();
        self.net_connections += row.net_connections.get();
        self.net_open += row.net_open.get();
        self.net_inbound += row.net_inbound.get();
        self.net_denied += row.net_denied.get();
        row.request_duration.add_to(&mut self.request_duration);
        row.cold_start_load.add_to(&mut self.cold_start_load);
        row.cold_start_instantiate.add_to(&mut self.cold_start_instantiate);
        row.cold_start_first_byte.add_to(&mut self.cold_start_first_byte);
    }

    /// Responses to requests, by [`StatusClass`]: without those that checks of its target group had, which are nobody's.
    pub fn answered(&self) -> [u64; StatusClass::COUNT] {
        std::array::from_fn(|class| self.responses[class].saturating_sub(self.checks[class]))
    }

    /// Memory times how long it was held, in bytes times seconds.
    pub fn memory_byte_seconds(&self) -> f64 {
        self.memory_kib_ms as f64 * 1.024
    }

    /// Adds another task's counters to these; its gauges count as 0, because it is gone.
    pub fn absorb_ended(&mut self, ended: &Self) {
        self.cpu_ns += ended.cpu_ns;
        self.throttled_ns += ended.throttled_ns;
        self.memory_kib_ms += ended.memory_kib_ms;
        for (total, more) in self.responses.iter_mut().zip(&ended.responses) {
            *total += more;
        }
        for (total, more) in self.checks.iter_mut().zip(&ended.checks) {
            *total += more;
        }
        self.sandboxes_drawn += ended.sandboxes_drawn;
        self.traps += ended.traps;
        self.timeouts += ended.timeouts;
        self.out_of_memory += ended.out_of_memory;
        self.refused += ended.refused;
        self.log_bytes_dropped += ended.log_bytes_dropped;
        self.received_bytes += ended.received_bytes;
        self.sent_bytes += ended.sent_bytes;
        self.net_sent_bytes += ended.net_sent_bytes;
        self.net_received_bytes += ended.net_received_bytes;
        self.net_connections += ended.net_connections;
        self.net_denied += ended.net_denied;
        self.request_duration.merge(&ended.request_duration);
        self.cold_start_load.merge(&ended.cold_start_load);
        self.cold_start_instantiate.merge(&ended.cold_start_instantiate);
        self.cold_start_first_byte.merge(&ended.cold_start_first_byte);
    }

    /// Adds a living task's totals to these, gauges included.
    pub fn absorb_living(&mut self, living: &Self) {
        self.absorb_ended(living);
        self.memory_bytes += living.memory_bytes;
        self.memory_peak_bytes = self.memory_peak_bytes.max(living.memory_peak_bytes);
        self.in_flight += living.in_flight;
        self.queued += living.queued;
        self.sandboxes += living.sandboxes;
        self.net_open += living.net_open;
        self.net_inbound += living.net_inbound;
    }
}

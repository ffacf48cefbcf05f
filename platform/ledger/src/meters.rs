//! The meters: what the load balancer counts at a listener, a rule, a target group or an address that is a target.
//!
//! A meter is a slot as a task's is ([`crate::TaskSlot`]): one row for each worker, which that worker alone writes, and a
//! head that all of them share. The head has the state of a target, as opaque words: what they mean is decided by who
//! packs them (`plan`). It deliberately does not know what a meter is of; that is the node's to say.
//!
//! What always holds: a meter that nobody used costs no memory, and who only reads makes none. Who writes to a head has had
//! one of its rows in hand before, so that it is cleared with the slot.

use crate::account::{Counter, Gauge};
use crate::histogram::{Histogram, HistogramTotals};
use crate::layout::Ledger;
use crate::rows::StatusClass;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};

/// Meters that a node can have at once.
pub const METERS: usize = 32_768;

/// A meter's place in the ledger, below [`METERS`].
pub type MeterSlot = u32;

/// What one worker counted at one meter.
#[repr(C, align(64))]
#[derive(Debug, Default)]
pub struct MeterRow {
    /// Requests, when they ended.
    pub requests: Counter,
    /// Those that a target answered, by the [`StatusClass`] of its answer.
    pub target_responses: [Counter; StatusClass::COUNT],
    /// Those that the load balancer answered itself, by [`StatusClass`].
    pub balancer_responses: [Counter; StatusClass::COUNT],
    /// Connections to targets that failed or broke.
    pub target_errors: Counter,
    /// Requests that were sent again, to another target.
    pub retries: Counter,
    /// Requests that were refused because there were too many.
    pub rejected: Counter,
    /// Targets that were left out for a while because of what their answers were like.
    pub ejections: Counter,
    /// Requests that have not ended.
    pub outstanding: Gauge,
    /// Connections that are open.
    pub connections: Gauge,
    /// Connections that were opened.
    pub connections_total: Counter,
    /// Bytes that clients sent, without the heads of requests.
    pub received_bytes: Counter,
    /// Bytes that clients were sent, without the heads of responses.
    pub sent_bytes: Counter,
    /// From when a request was on its way to a target until that one's answer began.
    pub target_response_time: Histogram,
}

impl MeterRow {
    /// Sets the gauges to 0: their worker is gone, and what they counted with it.
    fn close(&self) {
        self.outstanding.set(0);
        self.connections.set(0);
    }

    fn clear(&self) {
        self.close();
        let counters = [
            &self.requests,
            &self.target_errors,
            &self.retries,
            &self.rejected,
            &self.ejections,
            &self.connections_total,
            &self.received_bytes,
            &self.sent_bytes,
        ];
        let responses = self.target_responses.iter().chain(&self.balancer_responses);
        counters.into_iter().chain(responses).for_each(Counter::clear);
        self.target_response_time.clear();
    }
}

/// What all workers know of one target, as words whose meaning is for who packs them; all 0 of one that nothing is known of.
#[repr(C)]
#[derive(Debug, Default)]
pub struct TargetState {
    /// What its checks found.
    pub health: AtomicU64,
    /// Whether it is left out for what its answers were like.
    pub outlier: AtomicU64,
    /// What its answers were like lately.
    pub average: AtomicU64,
    /// Since when it is healthy, in milliseconds of the monotonic clock; 0 if it is not yet.
    pub began_ms: AtomicU64,
}

impl TargetState {
    pub(crate) fn clear(&self) {
        let words = [&self.health, &self.outlier, &self.average, &self.began_ms];
        words.into_iter().for_each(|word| word.store(0, Relaxed));
    }
}

/// What a meter's rows share.
#[repr(C, align(64))]
#[derive(Debug, Default)]
pub(crate) struct MeterHead {
    target: TargetState,
    /// State of a token bucket for requests ([`skiff_kit`]'s, which this crate need not know).
    rate_bucket: AtomicU64,
}

/// One meter. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Meter {
    ledger: Ledger,
    slot: MeterSlot,
}

impl Ledger {
    /// A meter.
    pub fn meter(&self, slot: MeterSlot) -> Meter {
        assert!((slot as usize) < METERS, "meter {slot} of {METERS}");
        Meter { ledger: self.clone(), slot }
    }

    /// The meters that were used since they were last cleared, without a look at the others.
    pub fn used_meters(&self) -> impl Iterator<Item = MeterSlot> {
        (0..METERS as MeterSlot / u64::BITS).flat_map(|word| {
            let bits = self.used_meters_word(word).load(Relaxed);
            (0..u64::BITS).filter(move |bit| bits >> bit & 1 == 1).map(move |bit| word * u64::BITS + bit)
        })
    }

    /// Closes every meter's row of a dead worker: gauges to 0, counters kept.
    pub(crate) fn close_meters(&self, worker: usize) {
        self.used_meters().for_each(|slot| self.meter_row(slot, worker).close());
    }
}

impl Meter {
    /// What `worker` counts here, for somebody who may write it: from here on the meter counts as used.
    pub fn row(&self, worker: usize) -> &MeterRow {
        let (word, bit) = self.used_bit();
        if word.load(Relaxed) & bit == 0 {
            // Sequentially consistent, so that who claims something sees every row that another claimed in before.
            word.fetch_or(bit, SeqCst);
        }
        self.ledger.meter_row(self.slot, worker)
    }

    /// Whether anybody has had one of its rows in hand since it was last cleared: until then all of them are zero.
    pub fn is_used(&self) -> bool {
        let (word, bit) = self.used_bit();
        word.load(SeqCst) & bit != 0
    }

    /// All rows, for reading; none as long as the meter is unused.
    pub fn rows(&self) -> impl Iterator<Item = &MeterRow> {
        let rows = if self.is_used() { self.ledger.workers() } else { 0 };
        (0..rows).map(|worker| self.ledger.meter_row(self.slot, worker))
    }

    /// Requests that have not ended, in all workers.
    pub fn outstanding(&self) -> u64 {
        self.rows().map(|row| row.outstanding.get()).sum()
    }

    /// Connections that are open, in all workers.
    pub fn connections(&self) -> u64 {
        self.rows().map(|row| row.connections.get()).sum()
    }

    /// Counts one more request of `worker` as outstanding, unless there then are more than `limit`.
    pub fn claim_outstanding(&self, worker: usize, limit: u64) -> bool {
        self.row(worker).outstanding.claim(1, limit, || self.outstanding())
    }

    /// What all workers know of the target that this is the meter of. Reading it makes memory unless the meter is used
    /// ([`Self::is_used`]); who writes it has had a row in hand before ([`Self::row`]).
    pub fn target(&self) -> &TargetState {
        &self.ledger.meter_head(self.slot).target
    }

    /// The state of its token bucket for requests, shared by all workers; as [`Self::target`].
    pub fn rate_bucket(&self) -> &AtomicU64 {
        &self.ledger.meter_head(self.slot).rate_bucket
    }

    /// The sums over all rows.
    pub fn totals(&self) -> MeterTotals {
        let mut totals = MeterTotals::default();
        self.rows().for_each(|row| totals.add_row(row));
        totals
    }

    /// Makes it as new, for what it is to be the meter of next. Only when no worker uses it any more.
    pub fn clear(&self) {
        let (word, bit) = self.used_bit();
        // First of all: what is written late marks it again.
        if word.fetch_and(!bit, SeqCst) & bit != 0 {
            let head = self.ledger.meter_head(self.slot);
            head.target.clear();
            head.rate_bucket.store(0, Relaxed);
            (0..self.ledger.workers()).for_each(|worker| self.ledger.meter_row(self.slot, worker).clear());
        }
    }

    fn used_bit(&self) -> (&AtomicU64, u64) {
        (self.ledger.used_meters_word(self.slot / u64::BITS), 1 << (self.slot % u64::BITS))
    }
}

/// A meter's rows added up, or what is kept of one that is gone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is the sum of the row's field of the same name, which says what it is")]
pub struct MeterTotals {
    pub requests: u64,
    pub target_responses: [u64; StatusClass::COUNT],
    pub balancer_responses: [u64; StatusClass::COUNT],
    pub target_errors: u64,
    pub retries: u64,
    pub rejected: u64,
    pub ejections: u64,
    pub outstanding: u64,
    pub connections: u64,
    pub connections_total: u64,
    pub received_bytes: u64,
    pub sent_bytes: u64,
    pub target_response_time: HistogramTotals,
}

impl MeterTotals {
    /// Adds a row to the sums.
    pub fn add_row(&mut self, row: &MeterRow) {
        self.requests += row.requests.get();
        add_responses(&mut self.target_responses, row.target_responses.iter().map(Counter::get));
        add_responses(&mut self.balancer_responses, row.balancer_responses.iter().map(Counter::get));
        self.target_errors += row.target_errors.get();
        self.retries += row.retries.get();
        self.rejected += row.rejected.get();
        self.ejections += row.ejections.get();
        self.outstanding += row.outstanding.get();
        self.connections += row.connections.get();
        self.connections_total += row.connections_total.get();
        self.received_bytes += row.received_bytes.get();
        self.sent_bytes += row.sent_bytes.get();
        row.target_response_time.add_to(&mut self.target_response_time);
    }

    /// Adds another meter's counters to these; its gauges count as 0, because it is gone.
    pub fn absorb_ended(&mut self, ended: &Self) {
        self.requests += ended.requests;
        add_responses(&mut self.target_responses, ended.target_responses);
        add_responses(&mut self.balancer_responses, ended.balancer_responses);
        self.target_errors += ended.target_errors;
        self.retries += ended.retries;
        self.rejected += ended.rejected;
        self.ejections += ended.ejections;
        self.connections_total += ended.connections_total;
        self.received_bytes += ended.received_bytes;
        self.sent_bytes += ended.sent_bytes;
        self.target_response_time.merge(&ended.target_response_time);
    }

    /// Adds the totals of one that is in use to these, gauges included.
    pub fn absorb_living(&mut self, living: &Self) {
        self.absorb_ended(living);
        self.outstanding += living.outstanding;
        self.connections += living.connections;
    }
}

fn add_responses(totals: &mut [u64; StatusClass::COUNT], more: impl IntoIterator<Item = u64>) {
    totals.iter_mut().zip(more).for_each(|(total, more)| *total += more);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::tests::{claims_never_both_pass, costs_no_memory, ledger};

    #[test]
    fn what_one_process_counts_another_reads() {
        let (mine, theirs) = ledger();
        let row = |ledger: &Ledger, worker| {
            let meter = ledger.meter(7);
            let row = meter.row(worker);
            row.requests.add(1);
            row.target_responses[StatusClass::Success as usize].add(1);
            row.balancer_responses[StatusClass::ServerError as usize].add(2);
            row.target_response_time.record_ns(10_000);
            row.outstanding.add(3);
            row.connections.add(4);
        };
        row(&mine, 0);
        row(&theirs, 1);
        let totals = theirs.meter(7).totals();
        assert_eq!((totals.requests, totals.outstanding, totals.connections), (2, 6, 8));
        assert_eq!((totals.target_responses, totals.balancer_responses), ([2, 0, 0, 0], [0, 0, 0, 4]));
        assert_eq!((totals.target_response_time.count(), totals.target_response_time.sum_ns), (2, 20_000));
        assert_eq!(theirs.meter(6).totals(), MeterTotals::default());
        mine.meter(7).target().health.store(5, Relaxed);
        theirs.meter(7).rate_bucket().store(6, Relaxed);
        assert_eq!(theirs.meter(7).target().health.load(Relaxed), 5);
        assert_eq!(mine.meter(7).rate_bucket().load(Relaxed), 6);
        assert_eq!(theirs.meter(8).target().health.load(Relaxed), 0);
    }

    #[test]
    fn meters_and_tasks_of_one_number_have_nothing_in_common() {
        let (mine, theirs) = ledger();
        mine.task(9).row(1).in_flight.add(1);
        mine.task(9).target().health.store(3, Relaxed);
        assert!(!theirs.meter(9).is_used());
        mine.meter(9).row(1).outstanding.add(1);
        assert_eq!(theirs.meter(9).target().health.load(Relaxed), 0);
        mine.task(9).clear();
        assert_eq!((theirs.meter(9).outstanding(), theirs.task(9).outstanding()), (1, 0));
        assert_eq!(theirs.task(9).target().health.load(Relaxed), 0, "cleared with its slot");
        let last = METERS as MeterSlot - 1;
        mine.meter(last).row(1).target_response_time.record_ns(1);
        assert_eq!(theirs.used_meters().collect::<Vec<_>>(), [9, last]);
    }

    #[test]
    fn claims_that_race_never_both_pass() {
        let (mine, theirs) = ledger();
        claims_never_both_pass(
            [mine.meter(3), theirs.meter(3)],
            |meter, worker| meter.claim_outstanding(worker, 1),
            Meter::outstanding,
            |meter, worker| meter.row(worker).outstanding.subtract(1),
        );
    }

    #[test]
    fn the_row_of_a_dead_worker_is_closed_and_its_counters_stay() {
        let (ledger, _) = ledger();
        let meter = ledger.meter(9);
        for worker in [0, 1] {
            let row = meter.row(worker);
            [&row.outstanding, &row.connections].into_iter().for_each(|gauge| gauge.add(3));
            [&row.requests, &row.connections_total].into_iter().for_each(|counter| counter.add(5));
        }
        ledger.close_worker(1, std::iter::empty());
        let totals = meter.totals();
        assert_eq!((totals.outstanding, totals.connections), (3, 3));
        assert_eq!((totals.requests, totals.connections_total), (10, 10));
        let mut sums = MeterTotals::default();
        sums.absorb_ended(&totals);
        assert_eq!((sums.outstanding, sums.connections, sums.requests), (0, 0, 10));
        sums.absorb_living(&totals);
        assert_eq!((sums.outstanding, sums.connections, sums.requests), (3, 3, 20));
    }

    #[test]
    fn an_unused_meter_costs_no_memory() {
        costs_no_memory(|ledger| {
            for slot in 0..METERS as MeterSlot {
                let meter = ledger.meter(slot);
                let told = (meter.totals(), meter.outstanding(), meter.connections(), meter.is_used());
                assert_eq!(told, (MeterTotals::default(), 0, 0, false));
                meter.clear();
            }
        });
    }

    #[test]
    fn a_meter_is_as_new_once_it_is_cleared() {
        let (mine, theirs) = ledger();
        let meter = theirs.meter(64);
        let row = meter.row(1);
        let counters = [
            &row.requests,
            &row.target_errors,
            &row.retries,
            &row.rejected,
            &row.ejections,
            &row.connections_total,
            &row.received_bytes,
            &row.sent_bytes,
        ];
        let responses = row.target_responses.iter().chain(&row.balancer_responses);
        counters.into_iter().chain(responses).for_each(|counter| counter.add(1));
        row.outstanding.add(1);
        row.connections.add(1);
        row.target_response_time.record_ns(7);
        let target = meter.target();
        let words = [&target.health, &target.outlier, &target.average, &target.began_ms, meter.rate_bucket()];
        words.into_iter().for_each(|word| word.store(1, Relaxed));
        assert!(mine.meter(64).is_used());
        mine.meter(64).clear();
        assert!(!meter.is_used());
        assert_eq!(meter.totals(), MeterTotals::default());
        // Used again, all of it is there to be read.
        mine.meter(64).row(0);
        assert_eq!(meter.totals(), MeterTotals::default());
        assert!(words.into_iter().all(|word| word.load(Relaxed) == 0));
    }
}

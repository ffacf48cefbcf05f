//! The mapping itself: where each slot and row lies, and how it is made, shared and opened.

use crate::account::Totals;
use crate::clients::{CLIENT_BUCKETS, ClientHead, ClientRow};
use crate::memory::now_ms;
use crate::meters::{METERS, MeterHead, MeterRow, MeterSlot, TargetState};
use crate::rows::{TaskRow, WorkerRow};
use memmap2::{MmapOptions, MmapRaw};
use rustix::fs::{MemfdFlags, SealFlags};
use rustix::rand::{GetRandomFlags, getrandom};
use skiff_types::Usage;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};

/// Tasks that a node can account for at once.
pub const SLOTS: usize = 32_768;
/// Workers that a node can have.
pub const WORKERS_MAX: usize = 64;
/// First word of the mapping: tells a ledger of this layout from anything else.
const MAGIC: u64 = u64::from_le_bytes(*b"skifflg7");

/// A task's place in the ledger, below [`SLOTS`].
pub type Slot = u32;

/// Why a ledger could not be made or opened.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The operating system refused.
    #[error("the ledger's shared memory can't be {0}")]
    Memory(&'static str, #[source] std::io::Error),
    /// What was handed over is not a ledger of this build.
    #[error("the shared memory is not a ledger of this build of skiff")]
    Foreign,
    /// More workers than rows.
    #[error("{0} workers are more than a node can have ({WORKERS_MAX})")]
    TooManyWorkers(usize),
}

/// What a slot's rows share.
#[repr(C, align(64))]
#[derive(Debug, Default)]
struct SlotHead {
    /// State of the CPU token bucket ([`skiff_kit`]'s, which this crate need not know).
    cpu_bucket: AtomicU64,
    /// What all workers know of the task as a target.
    target: TargetState,
}

/// The mapping. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Ledger {
    map: Arc<MmapRaw>,
    workers: usize,
}

/// One task's slot. Cheap to clone.
#[derive(Debug, Clone)]
pub struct TaskSlot {
    ledger: Ledger,
    slot: Slot,
}

impl Ledger {
    const HEADER_BYTES: usize = 4096;
    /// Where in the header the two words of the clients' key are.
    const CLIENT_KEY_OFFSET: usize = 2 * size_of::<u64>();
    /// Where in the header a bit for each bucket of clients says whether anybody came to it.
    const USED_BUCKETS_OFFSET: usize = 1024;
    /// A bit for each slot: whether anybody has had one of its rows in hand since it was last cleared.
    const USED_BYTES: usize = SLOTS / 8;
    /// The same for each meter, behind those.
    const USED_METERS_BYTES: usize = METERS / 8;
    /// Where the workers' rows begin.
    const WORKERS_OFFSET: usize = Self::HEADER_BYTES + Self::USED_BYTES + Self::USED_METERS_BYTES;

    /// Makes an empty ledger for `workers` workers; the descriptor is for handing to them.
    pub fn create(workers: usize) -> Result<(Self, OwnedFd), LedgerError> {
        if workers == 0 || workers > WORKERS_MAX {
            return Err(LedgerError::TooManyWorkers(workers));
        }
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let fd = rustix::fs::memfd_create("skiff-ledger", flags)
            .map_err(|error| LedgerError::Memory("made", error.into()))?;
        rustix::fs::ftruncate(&fd, Self::length(workers) as u64)
            .map_err(|error| LedgerError::Memory("sized", error.into()))?;
        // Nobody can shrink it under a reader, which would be a SIGBUS.
        rustix::fs::fcntl_add_seals(&fd, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)
            .map_err(|error| LedgerError::Memory("sealed", error.into()))?;
        let mut key = [0; 2 * size_of::<u64>()];
        getrandom(&mut key, GetRandomFlags::empty())
            .map_err(|error| LedgerError::Memory("given a key", error.into()))?;
        let ledger = Self::map(&fd, workers)?;
        for (place, word) in ledger.client_key_words().into_iter().zip(key.chunks_exact(size_of::<u64>())) {
            place.store(u64::from_le_bytes(word.try_into().expect("chunks of a word")), Relaxed);
        }
        let header = ledger.map.as_mut_ptr().cast::<u64>();
        // SAFETY: the mapping is page-aligned and longer than the two words; nobody else has it yet.
        unsafe {
            header.write(MAGIC);
            header.add(1).write(workers as u64);
        }
        Ok((ledger, fd))
    }

    /// Maps a ledger that [`Self::create`] made in another process.
    pub fn open(fd: OwnedFd) -> Result<Self, LedgerError> {
        let length =
            rustix::fs::fstat(&fd).map_err(|error| LedgerError::Memory("read", error.into()))?.st_size;
        let seals = rustix::fs::fcntl_get_seals(&fd).map_err(|_| LedgerError::Foreign)?;
        if length < Self::HEADER_BYTES as i64 || !seals.contains(SealFlags::SHRINK) {
            return Err(LedgerError::Foreign);
        }
        let mut ledger = Self::map(&fd, 0)?;
        let header = ledger.map.as_ptr().cast::<u64>();
        // SAFETY: the mapping is page-aligned, at least a page long, and sealed against shrinking.
        let (magic, workers) = unsafe { (header.read(), header.add(1).read() as usize) };
        if magic != MAGIC || workers == 0 || workers > WORKERS_MAX || length as usize != Self::length(workers)
        {
            return Err(LedgerError::Foreign);
        }
        ledger.workers = workers;
        Ok(ledger)
    }

    /// How many workers it has rows for.
    pub fn workers(&self) -> usize {
        self.workers
    }

    /// The row in which `worker` speaks of itself.
    pub fn worker(&self, worker: usize) -> &WorkerRow {
        assert!(worker < self.workers, "worker {worker} of {}", self.workers);
        let offset = Self::WORKERS_OFFSET + worker * size_of::<WorkerRow>();
        // SAFETY: in bounds and aligned by `length` and `HEADER_BYTES`; all fields are atomics, for which every bit
        // pattern is valid and which other processes may change at any time.
        unsafe { &*self.map.as_ptr().add(offset).cast::<WorkerRow>() }
    }

    /// A task's slot.
    pub fn task(&self, slot: Slot) -> TaskSlot {
        assert!((slot as usize) < SLOTS, "slot {slot} of {SLOTS}");
        TaskSlot { ledger: self.clone(), slot }
    }

    /// Closes every row of a dead worker among `slots`, and at every meter: gauges to 0, counters kept; what it had in flight
    /// of clients is none. Its own row says that nobody is there.
    pub fn close_worker(&self, worker: usize, slots: impl Iterator<Item = Slot>) {
        let row = self.worker(worker);
        let of_the_process =
            [&row.connections, &row.mapped_components, &row.mapped_code_bytes, &row.pool_kept_bytes];
        std::iter::once(&row.heartbeat_ns).chain(of_the_process).for_each(|gauge| gauge.set(0));
        let used = slots.map(|slot| self.task(slot)).filter(TaskSlot::is_used);
        used.for_each(|slot| slot.row(worker).close());
        self.close_meters(worker);
        self.close_clients(worker);
    }

    /// The slots that were used since they were last cleared, without a look at the others.
    pub fn used(&self) -> impl Iterator<Item = Slot> {
        (0..SLOTS as Slot / u64::BITS).flat_map(|word| {
            let bits = self.used_word(word).load(Relaxed);
            (0..u64::BITS).filter(move |bit| bits >> bit & 1 == 1).map(move |bit| word * u64::BITS + bit)
        })
    }

    fn used_word(&self, word: u32) -> &AtomicU64 {
        let offset = Self::HEADER_BYTES + word as usize * size_of::<u64>();
        assert!(offset < Self::HEADER_BYTES + Self::USED_BYTES, "word {word} of the used slots");
        // SAFETY: in bounds by the line above and aligned by `HEADER_BYTES`; an atomic, see `Ledger::worker`.
        unsafe { &*self.map.as_ptr().add(offset).cast::<AtomicU64>() }
    }

    pub(crate) fn used_meters_word(&self, word: u32) -> &AtomicU64 {
        let offset = Self::HEADER_BYTES + Self::USED_BYTES + word as usize * size_of::<u64>();
        assert!(offset < Self::WORKERS_OFFSET, "word {word} of the used meters");
        // SAFETY: in bounds by the line above and aligned by `HEADER_BYTES`; an atomic, see `Ledger::worker`.
        unsafe { &*self.map.as_ptr().add(offset).cast::<AtomicU64>() }
    }

    pub(crate) fn meter_head(&self, slot: MeterSlot) -> &MeterHead {
        let offset = self.meter_offset(slot);
        // SAFETY: in bounds and aligned by `length`; all fields are atomics, see `Ledger::worker`.
        unsafe { &*self.map.as_ptr().add(offset).cast::<MeterHead>() }
    }

    pub(crate) fn meter_row(&self, slot: MeterSlot, worker: usize) -> &MeterRow {
        assert!(worker < self.workers, "worker {worker} of {}", self.workers);
        let offset = self.meter_offset(slot) + size_of::<MeterHead>() + worker * size_of::<MeterRow>();
        // SAFETY: in bounds and aligned by `length`; all fields are atomics, see `Ledger::worker`.
        unsafe { &*self.map.as_ptr().add(offset).cast::<MeterRow>() }
    }

    /// What clients are hashed with.
    pub(crate) fn client_key(&self) -> [u64; 2] {
        self.client_key_words().map(|word| word.load(Relaxed))
    }

    fn client_key_words(&self) -> [&AtomicU64; 2] {
        [0, 1].map(|word| {
            let offset = Self::CLIENT_KEY_OFFSET + word * size_of::<u64>();
            // SAFETY: in the header, and aligned; an atomic, see `Ledger::worker`.
            unsafe { &*self.map.as_ptr().add(offset).cast::<AtomicU64>() }
        })
    }

    pub(crate) fn used_buckets_word(&self, word: u32) -> &AtomicU64 {
        let offset = Self::USED_BUCKETS_OFFSET + word as usize * size_of::<u64>();
        assert!(offset < Self::HEADER_BYTES, "word {word} of the used buckets");
        // SAFETY: in the header by the line above, and aligned; an atomic, see `Ledger::worker`.
        unsafe { &*self.map.as_ptr().add(offset).cast::<AtomicU64>() }
    }

    pub(crate) fn client_head(&self, bucket: u32) -> &ClientHead {
        let offset = self.bucket_offset(bucket);
        // SAFETY: in bounds and aligned by `length`; all fields are atomics, see `Ledger::worker`.
        unsafe { &*self.map.as_ptr().add(offset).cast::<ClientHead>() }
    }

    pub(crate) fn client_row(&self, bucket: u32, worker: usize) -> &ClientRow {
        assert!(worker < self.workers, "worker {worker} of {}", self.workers);
        let offset = self.bucket_offset(bucket) + size_of::<ClientHead>() + worker * size_of::<ClientRow>();
        // SAFETY: in bounds and aligned by `length`; all fields are atomics, see `Ledger::worker`.
        unsafe { &*self.map.as_ptr().add(offset).cast::<ClientRow>() }
    }

    fn map(fd: &OwnedFd, workers: usize) -> Result<Self, LedgerError> {
        let file = File::from(fd.try_clone().map_err(|error| LedgerError::Memory("shared", error))?);
        let map = MmapOptions::new().map_raw(&file).map_err(|error| LedgerError::Memory("mapped", error))?;
        Ok(Self { map: Arc::new(map), workers })
    }

    fn workers_bytes(workers: usize) -> usize {
        (workers * size_of::<WorkerRow>()).next_multiple_of(4096)
    }

    fn slot_bytes(workers: usize) -> usize {
        size_of::<SlotHead>() + workers * size_of::<TaskRow>()
    }

    fn meter_bytes(workers: usize) -> usize {
        size_of::<MeterHead>() + workers * size_of::<MeterRow>()
    }

    /// Where the meters begin: behind the tasks' slots.
    fn meters_offset(workers: usize) -> usize {
        Self::WORKERS_OFFSET + Self::workers_bytes(workers) + SLOTS * Self::slot_bytes(workers)
    }

    /// Where the buckets of clients begin: behind the meters.
    fn buckets_offset(workers: usize) -> usize {
        Self::meters_offset(workers) + METERS * Self::meter_bytes(workers)
    }

    fn bucket_bytes(workers: usize) -> usize {
        (size_of::<ClientHead>() + workers * size_of::<ClientRow>())
            .next_multiple_of(align_of::<ClientHead>())
    }

    fn length(workers: usize) -> usize {
        Self::buckets_offset(workers) + CLIENT_BUCKETS * Self::bucket_bytes(workers)
    }

    fn bucket_offset(&self, bucket: u32) -> usize {
        assert!((bucket as usize) < CLIENT_BUCKETS, "bucket {bucket} of {CLIENT_BUCKETS}");
        Self::buckets_offset(self.workers) + bucket as usize * Self::bucket_bytes(self.workers)
    }

    fn slot_offset(&self, slot: Slot) -> usize {
        Self::WORKERS_OFFSET
            + Self::workers_bytes(self.workers)
            + slot as usize * Self::slot_bytes(self.workers)
    }

    fn meter_offset(&self, slot: MeterSlot) -> usize {
        assert!((slot as usize) < METERS, "meter {slot} of {METERS}");
        Self::meters_offset(self.workers) + slot as usize * Self::meter_bytes(self.workers)
    }
}

impl TaskSlot {
    /// The account of this task in `worker`, for somebody who may write it: from here on the slot counts as used.
    pub fn row(&self, worker: usize) -> &TaskRow {
        let (word, bit) = self.used_bit();
        if word.load(Relaxed) & bit == 0 {
            // Sequentially consistent, so that who claims something sees every slot that another claimed before.
            word.fetch_or(bit, SeqCst);
        }
        self.row_unmarked(worker)
    }

    /// Whether anybody has had one of its rows in hand since the slot was last cleared: until then all of them are zero,
    /// and nobody who only reads makes the kernel find memory for them.
    pub fn is_used(&self) -> bool {
        let (word, bit) = self.used_bit();
        word.load(SeqCst) & bit != 0
    }

    fn used_bit(&self) -> (&AtomicU64, u64) {
        (self.ledger.used_word(self.slot / u64::BITS), 1 << (self.slot % u64::BITS))
    }

    fn row_unmarked(&self, worker: usize) -> &TaskRow {
        assert!(worker < self.ledger.workers, "worker {worker} of {}", self.ledger.workers);
        let offset =
            self.ledger.slot_offset(self.slot) + size_of::<SlotHead>() + worker * size_of::<TaskRow>();
        // SAFETY: in bounds and aligned by `length`; all fields are atomics, see `Ledger::worker`.
        unsafe { &*self.ledger.map.as_ptr().add(offset).cast::<TaskRow>() }
    }

    /// The state of the task's CPU token bucket, shared by all workers.
    pub fn cpu_bucket(&self) -> &AtomicU64 {
        &self.head().cpu_bucket
    }

    /// What all workers know of the task as a target. Reading it makes memory unless the slot is used ([`Self::is_used`]);
    /// who writes it has had a row in hand before ([`Self::row`]), so that it is cleared with the slot.
    pub fn target(&self) -> &TargetState {
        &self.head().target
    }

    fn head(&self) -> &SlotHead {
        let offset = self.ledger.slot_offset(self.slot);
        // SAFETY: in bounds and aligned by `length`; all fields are atomics, see `Ledger::worker`.
        unsafe { &*self.ledger.map.as_ptr().add(offset).cast::<SlotHead>() }
    }

    /// All rows of the task, for reading; none as long as the slot is unused.
    pub fn rows(&self) -> impl Iterator<Item = &TaskRow> {
        let rows = if self.is_used() { self.ledger.workers } else { 0 };
        (0..rows).map(|worker| self.row_unmarked(worker))
    }

    /// Memory the whole task holds, in bytes.
    pub fn memory_bytes(&self) -> u64 {
        self.rows().map(|row| row.memory_bytes.get()).sum()
    }

    /// Requests of the whole task that have a sandbox.
    pub fn in_flight(&self) -> u64 {
        self.rows().map(|row| row.in_flight.get()).sum()
    }

    /// Requests of the whole task that have a sandbox or wait for one, or open connections to a daemon: what "least
    /// outstanding requests" compares, and what a stop waits for.
    pub fn outstanding(&self) -> u64 {
        self.rows().map(|row| row.in_flight.get() + row.queued.get() + row.net_inbound.get()).sum()
    }

    /// Requests that the load balancer has at a daemon, in all workers.
    pub fn balanced(&self) -> u64 {
        self.rows().map(|row| row.balanced.get()).sum()
    }

    /// Counts one more request of `worker` as in flight, unless the task then has more than `limit`.
    pub fn claim_in_flight(&self, worker: usize, limit: u64) -> bool {
        self.row(worker).in_flight.claim(1, limit, || self.in_flight())
    }

    /// Counts one more request of `worker` as waiting, unless the task then has more than `limit` waiting.
    pub fn claim_queued(&self, worker: usize, limit: u64) -> bool {
        let total = || self.rows().map(|row| row.queued.get()).sum();
        self.row(worker).queued.claim(1, limit, total)
    }

    /// The sums over all rows.
    pub fn totals(&self) -> Totals {
        let (mut totals, now_ms) = (Totals::default(), now_ms());
        self.rows().for_each(|row| totals.add_row(row, now_ms));
        totals
    }

    /// What is billed of the totals, for less, up to `now_ms` (by [`crate::now_ms`]).
    pub fn usage(&self, now_ms: u64) -> Usage {
        self.rows().map(|row| row.usage(now_ms)).sum()
    }

    /// Makes the slot as new, for its next task. Only when no worker uses it any more.
    pub fn clear(&self) {
        let (word, bit) = self.used_bit();
        // First of all: what is written late marks the slot again.
        if word.fetch_and(!bit, SeqCst) & bit != 0 {
            self.cpu_bucket().store(0, Relaxed);
            self.target().clear();
            (0..self.ledger.workers).for_each(|worker| self.row_unmarked(worker).clear());
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::MemoryClaim;

    /// One ledger as two processes have it.
    pub(crate) fn ledger() -> (Ledger, Ledger) {
        let (mine, fd) = Ledger::create(2).unwrap();
        (mine, Ledger::open(fd).unwrap())
    }

    /// Two workers claim again and again what one of them may have at a time, each by its own process's mapping: `held` says how
    /// many have it. Never do both, and in the end nobody has.
    pub(crate) fn claims_never_both_pass<S: Sync>(
        slots: [S; 2],
        claim: impl Fn(&S, usize) -> bool + Sync,
        held: impl Fn(&S) -> u64 + Sync,
        give_back: impl Fn(&S, usize) + Sync,
    ) {
        let run = |slot: &S, worker: usize| {
            for _ in 0..20_000 {
                if claim(slot, worker) {
                    assert!(held(slot) <= 2, "one holder, and at most one that is being refused");
                    give_back(slot, worker);
                }
            }
        };
        std::thread::scope(|scope| {
            for (worker, slot) in slots.iter().enumerate() {
                let run = &run;
                scope.spawn(move || run(slot, worker));
            }
        });
        slots.iter().for_each(|slot| assert_eq!(held(slot), 0));
    }

    /// What is done to slots that nobody used, and the death of a worker that used none, take no memory.
    pub(crate) fn costs_no_memory(look: impl FnOnce(&Ledger)) {
        let (ledger, fd) = Ledger::create(2).unwrap();
        look(&ledger);
        ledger.close_worker(1, 0..SLOTS as Slot);
        let blocks = rustix::fs::fstat(&fd).unwrap().st_blocks;
        // The header, the bits that say which slots and which meters are used, and the workers' rows.
        assert!(blocks * 512 <= 4 * 4096, "{blocks} blocks");
    }

    #[test]
    fn what_one_process_writes_another_reads() {
        let (mine, theirs) = ledger();
        mine.task(7).row(1).cpu_ns.add(5);
        theirs.task(7).row(0).cpu_ns.add(6);
        assert_eq!(theirs.task(7).totals().cpu_ns, 11);
        assert_eq!(theirs.task(6).totals(), Totals::default());
        mine.worker(1).connections.add(3);
        assert_eq!(theirs.worker(1).connections.get(), 3);
    }

    #[test]
    fn a_quota_holds_over_the_sum_of_the_rows() {
        let (mine, theirs) = ledger();
        let mut first = MemoryClaim::new(mine.task(0), 0, 100);
        let mut second = MemoryClaim::new(theirs.task(0), 1, 100);
        assert!(first.grow(60) && !second.grow(41) && second.grow(40));
        assert!(!first.grow(1));
        drop(second);
        assert!(first.grow(40));
        assert_eq!(mine.task(0).totals().memory_bytes, 100);
    }

    #[test]
    fn claims_that_race_never_both_pass() {
        let (mine, theirs) = ledger();
        claims_never_both_pass(
            [mine.task(3), theirs.task(3)],
            |slot, worker| slot.claim_in_flight(worker, 1),
            TaskSlot::in_flight,
            |slot, worker| slot.row(worker).in_flight.subtract(1),
        );
    }

    #[test]
    fn the_row_of_a_dead_worker_is_closed_and_its_counters_stay() {
        let (ledger, _) = ledger();
        let slot = ledger.task(9);
        slot.row(1).memory_bytes.add(10);
        slot.row(1).in_flight.add(2);
        slot.row(1).cpu_ns.add(99);
        slot.row(1).net_connections.add(5);
        slot.row(1).net_open.add(3);
        slot.row(1).net_inbound.add(3);
        slot.row(0).in_flight.add(1);
        slot.row(0).net_open.add(1);
        slot.row(0).net_inbound.add(1);
        slot.row(0).balanced.add(1);
        slot.row(1).balanced.add(2);
        assert_eq!(slot.balanced(), 3);
        ledger.close_worker(1, [9].into_iter());
        assert_eq!(slot.balanced(), 1);
        let totals = slot.totals();
        assert_eq!((totals.memory_bytes, totals.in_flight, totals.cpu_ns), (0, 1, 99));
        assert_eq!((totals.net_open, totals.net_inbound, totals.net_connections), (1, 1, 5));
        assert_eq!(slot.outstanding(), 2, "a request, and a connection to a daemon");
    }

    #[test]
    fn foreign_memory_is_refused() {
        let fd = rustix::fs::memfd_create("other", MemfdFlags::CLOEXEC).unwrap();
        assert!(matches!(Ledger::open(fd), Err(LedgerError::Foreign)));
        assert!(matches!(Ledger::create(0), Err(LedgerError::TooManyWorkers(0))));
    }

    #[test]
    fn an_unused_slot_costs_no_memory() {
        costs_no_memory(|ledger| {
            for slot in 0..SLOTS as Slot {
                let slot = ledger.task(slot);
                let told = (slot.totals(), slot.outstanding(), slot.is_used());
                assert_eq!(told, (Totals::default(), 0, false));
                slot.clear();
            }
        });
    }

    #[test]
    fn a_slot_is_used_from_its_first_row_in_hand_until_it_is_cleared() {
        let (mine, theirs) = ledger();
        let used = || mine.used().collect::<Vec<_>>();
        assert_eq!(used(), []);
        for slot in [0, 63, 64, SLOTS as Slot - 1] {
            let slot = theirs.task(slot);
            let row = slot.row(1);
            row.net_open.add(1);
            row.net_inbound.add(1);
            let counters = [
                &row.cpu_ns,
                &row.net_sent_bytes,
                &row.net_received_bytes,
                &row.net_connections,
                &row.net_denied,
            ];
            counters.iter().for_each(|counter| counter.add(1));
        }
        assert_eq!(used(), [0, 63, 64, SLOTS as Slot - 1]);
        mine.task(63).clear();
        assert_eq!(used(), [0, 64, SLOTS as Slot - 1]);
        assert_eq!(theirs.task(63).totals(), Totals::default());
    }
}

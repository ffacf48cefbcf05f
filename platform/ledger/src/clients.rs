//! The cells of clients: what all workers know of how much each client of a listener asks for.
//!
//! A table of fixed size, of buckets of eight cells; which bucket is a client's, a hash says whose key is drawn when the
//! ledger is made, so that nobody can choose addresses that meet in one. A cell has the state of a token bucket, and how
//! many requests are in flight in each worker, so that those of a dead one can be closed. Who comes to a bucket that is full
//! has the cell of the client whose token bucket is the fullest, which is the one with the least to forget.
//!
//! It deliberately does not know what clients may do. Clients of IPv6 count by the first 64 bits of their address, since
//! whoever has one address there has all of them; but not where all of them are in one such network, as tasks are, none of
//! which can choose its address.
//!
//! What always holds: a client that has requests in flight keeps its cell, unless its first one comes in the moment in which
//! another takes the cell: then its request counts as that one's until it ends. What was counted is given back to where it
//! was counted, whoever has the cell by then; so counts never go wrong for longer than a request lasts, and the worst that
//! becomes of a client is that it is forgotten. A bucket that nobody came to costs no memory.

use crate::layout::Ledger;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicU32, AtomicU64};

/// Clients that a node can know at once.
pub const CLIENT_CELLS: usize = 65_536;
/// Cells of one bucket: as many tags as a cache line holds.
const WAYS: usize = 8;
/// Buckets of the table.
pub(crate) const CLIENT_BUCKETS: usize = CLIENT_CELLS / WAYS;
/// How often a client looks for a cell that others keep taking from it.
const ATTEMPTS_MAX: usize = 4;
/// What of an address of IPv6 is its network.
const NETWORK_V6: u128 = !0 << 64;

/// What the workers share of a bucket's cells.
#[repr(C, align(64))]
#[derive(Debug, Default)]
pub(crate) struct ClientHead {
    /// Whose each cell is: the client's hash; 0 of one that is nobody's.
    tags: [AtomicU64; WAYS],
    /// State of a token bucket for requests ([`skiff_kit`]'s, which this crate need not know). The later the time that it
    /// holds, the more its client has asked for lately.
    rates: [AtomicU64; WAYS],
}

/// What one worker counts in a bucket's cells.
#[repr(C)]
#[derive(Debug, Default)]
pub(crate) struct ClientRow {
    in_flight: [AtomicU32; WAYS],
}

impl ClientHead {
    /// The cell of this tag.
    fn find(&self, tag: u64) -> Option<usize> {
        self.tags.iter().position(|known| known.load(SeqCst) == tag)
    }
}

/// A client's cell. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ClientCell {
    ledger: Ledger,
    bucket: u32,
    way: usize,
}

impl Ledger {
    /// The cell of a client of this listener, which may be another's that has asked for little; nothing where all of them
    /// are taken by clients that have requests in flight.
    pub fn client(&self, listener: &str, address: IpAddr) -> Option<ClientCell> {
        self.cell_of(tag(self.client_key(), listener, network_of(address)))
    }

    /// The same where each address is a client by itself, of IPv6 too.
    pub fn client_by_address(&self, listener: &str, address: IpAddr) -> Option<ClientCell> {
        self.cell_of(tag(self.client_key(), listener, address))
    }

    fn cell_of(&self, tag: u64) -> Option<ClientCell> {
        let bucket = (tag % CLIENT_BUCKETS as u64) as u32;
        self.use_bucket(bucket);
        let head = self.client_head(bucket);
        for _ in 0..ATTEMPTS_MAX {
            if let Some(way) = head.find(tag) {
                return Some(self.cell(bucket, way));
            }
            let free = (0..WAYS).filter_map(|way| {
                let before = head.tags[way].load(SeqCst);
                let is_free = self.client_in_flight(bucket, way) == 0;
                is_free.then(|| ((before != 0, head.rates[way].load(Relaxed)), way, before))
            });
            let (_, way, before) = free.min_by_key(|&(coldness, ..)| coldness)?;
            // Before the cell has its client, so that it meets nobody else's state.
            head.rates[way].store(0, Relaxed);
            if head.tags[way].compare_exchange(before, tag, SeqCst, Relaxed).is_ok() {
                return Some(self.cell(bucket, way));
            }
        }
        None
    }

    /// Closes what a dead worker counted of clients.
    pub(crate) fn close_clients(&self, worker: usize) {
        let words = 0..CLIENT_BUCKETS as u32 / u64::BITS;
        for word in words {
            let bits = self.used_buckets_word(word).load(SeqCst);
            for bit in (0..u64::BITS).filter(|bit| bits >> bit & 1 == 1) {
                let row = self.client_row(word * u64::BITS + bit, worker);
                row.in_flight.iter().for_each(|count| count.store(0, SeqCst));
            }
        }
    }

    fn cell(&self, bucket: u32, way: usize) -> ClientCell {
        ClientCell { ledger: self.clone(), bucket, way }
    }

    fn client_in_flight(&self, bucket: u32, way: usize) -> u64 {
        let counts = (0..self.workers()).map(|worker| &self.client_row(bucket, worker).in_flight[way]);
        counts.map(|count| u64::from(count.load(SeqCst))).sum()
    }

    fn use_bucket(&self, bucket: u32) {
        let (word, bit) = (self.used_buckets_word(bucket / u64::BITS), 1 << (bucket % u64::BITS));
        if word.load(Relaxed) & bit == 0 {
            word.fetch_or(bit, SeqCst);
        }
    }
}

impl ClientCell {
    /// The state of the client's token bucket.
    pub fn rate_bucket(&self) -> &AtomicU64 {
        &self.ledger.client_head(self.bucket).rates[self.way]
    }

    /// Requests of the client that are in flight.
    pub fn in_flight(&self) -> u64 {
        self.ledger.client_in_flight(self.bucket, self.way)
    }

    /// Counts one more of `worker` as in flight, unless the client then has more than `limit`.
    pub fn claim_in_flight(&self, worker: usize, limit: u64) -> bool {
        self.count(worker).fetch_add(1, SeqCst);
        let granted = self.in_flight() <= limit;
        if !granted {
            self.give_back(worker);
        }
        granted
    }

    /// One of `worker` that was claimed has ended.
    pub fn give_back(&self, worker: usize) {
        let before = self.count(worker).fetch_sub(1, SeqCst);
        debug_assert!(before > 0, "gave back a request that was not in flight");
    }

    fn count(&self, worker: usize) -> &AtomicU32 {
        &self.ledger.client_row(self.bucket, worker).in_flight[self.way]
    }
}

/// The network that an address is of, if who has the one has the other.
fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & NETWORK_V6).into(),
        address @ IpAddr::V4(_) => address,
    }
}

/// What a client's cell is found by; never 0.
fn tag(key: [u64; 2], listener: &str, address: IpAddr) -> u64 {
    let mut hash = Sip::new(key);
    for part in listener.as_bytes().chunks(size_of::<u64>()) {
        let mut word = [0; size_of::<u64>()];
        word[..part.len()].copy_from_slice(part);
        hash.write(u64::from_le_bytes(word));
    }
    let (family, number) = match address.to_canonical() {
        IpAddr::V4(address) => (4, u128::from(address.to_bits())),
        IpAddr::V6(address) => (6, address.to_bits()),
    };
    hash.write(family);
    hash.write((number >> 64) as u64);
    hash.write(number as u64);
    hash.finish().max(1)
}

/// SipHash-2-4 of whole words (Aumasson and Bernstein, "SipHash: a fast short-input PRF", 2012): the same in every worker,
/// and nobody who does not know the key finds two inputs of one hash.
struct Sip {
    state: [u64; 4],
    words: u64,
}

impl Sip {
    fn new([first, second]: [u64; 2]) -> Self {
        let begin =
            [0x736f_6d65_7073_6575, 0x646f_7261_6e64_6f6d, 0x6c79_6765_6e65_7261, 0x7465_6462_7974_6573];
        let state = [begin[0] ^ first, begin[1] ^ second, begin[2] ^ first, begin[3] ^ second];
        Self { state, words: 0 }
    }

    fn write(&mut self, word: u64) {
        self.words += 1;
        self.compress(word);
    }

    fn finish(mut self) -> u64 {
        // The last word of the paper's has the length in bytes.
        self.compress(self.words.wrapping_mul(8) << 56);
        self.state[2] ^= 0xff;
        (0..4).for_each(|_| self.round());
        self.state.iter().fold(0, |sum, word| sum ^ word)
    }

    fn compress(&mut self, word: u64) {
        self.state[3] ^= word;
        (0..2).for_each(|_| self.round());
        self.state[0] ^= word;
    }

    fn round(&mut self) {
        let [a, b, c, d] = &mut self.state;
        *a = a.wrapping_add(*b);
        *b = b.rotate_left(13) ^ *a;
        *a = a.rotate_left(32);
        *c = c.wrapping_add(*d);
        *d = d.rotate_left(16) ^ *c;
        *a = a.wrapping_add(*d);
        *d = d.rotate_left(21) ^ *a;
        *c = c.wrapping_add(*b);
        *b = b.rotate_left(17) ^ *c;
        *c = c.rotate_left(32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::tests::ledger;
    use std::collections::HashSet;

    fn client(number: u32) -> IpAddr {
        IpAddr::from(number.to_be_bytes())
    }

    fn cell(ledger: &Ledger, number: u32) -> ClientCell {
        ledger.client("http", client(number)).unwrap()
    }

    fn place(cell: &ClientCell) -> (u32, usize) {
        (cell.bucket, cell.way)
    }

    /// So many clients whose cells are in one bucket.
    fn neighbours(ledger: &Ledger, count: usize) -> Vec<u32> {
        let bucket = |number: u32| tag(ledger.client_key(), "http", client(number)) % CLIENT_BUCKETS as u64;
        let first = bucket(0);
        (0..).filter(|&number| bucket(number) == first).take(count).collect()
    }

    /// The vectors are its authors'.
    #[test]
    fn the_hash_is_the_papers() {
        let word = |from: u8| u64::from_le_bytes(std::array::from_fn(|index| from + index as u8));
        let hash = |words: &[u64]| {
            let mut sip = Sip::new([word(0), word(8)]);
            words.iter().for_each(|&word| sip.write(word));
            sip.finish()
        };
        assert_eq!(hash(&[]), 0x726f_db47_dd0e_0e31);
        assert_eq!(hash(&[word(0)]), 0x93f5_f579_9a93_2462);
        assert_eq!(hash(&[word(0), word(8)]), 0x3f2a_cc7f_57c2_9bdb);
    }

    #[test]
    fn every_worker_finds_the_same_cell_of_a_client() {
        let (mine, theirs) = ledger();
        assert_eq!(place(&cell(&mine, 7)), place(&cell(&theirs, 7)));
        assert!(cell(&mine, 7).claim_in_flight(0, 2) && cell(&theirs, 7).claim_in_flight(1, 2));
        assert!(!cell(&theirs, 7).claim_in_flight(1, 2), "the limit holds over both");
        assert!(mine.client("web", client(7)).unwrap().claim_in_flight(0, 1), "of another listener");
        assert!(cell(&mine, 8).claim_in_flight(0, 1));
        cell(&mine, 7).rate_bucket().store(5, Relaxed);
        assert_eq!(cell(&theirs, 7).rate_bucket().load(Relaxed), 5);
        cell(&mine, 7).give_back(0);
        assert!(cell(&theirs, 7).claim_in_flight(1, 2));
    }

    #[test]
    fn addresses_of_one_network_of_ipv6_are_one_client() {
        let (ledger, _) = ledger();
        let tag = |address: &str| tag(ledger.client_key(), "http", network_of(address.parse().unwrap()));
        assert_eq!(tag("2001:db8:1:2::1"), tag("2001:db8:1:2:ffff::9"));
        assert_ne!(tag("2001:db8:1:2::1"), tag("2001:db8:1:3::1"));
        assert_eq!(tag("::ffff:192.0.2.7"), tag("192.0.2.7"));
        assert_ne!(tag("192.0.2.7"), tag("192.0.2.8"));
        let (other, _) = Ledger::create(1).unwrap();
        assert_ne!(ledger.client_key(), other.client_key());
    }

    #[test]
    fn where_all_are_of_one_network_each_address_is_a_client() {
        let (ledger, _) = ledger();
        let cell = |address: &str| ledger.client_by_address("api", address.parse().unwrap()).unwrap();
        assert!(cell("fd73:6b69:6666::11").claim_in_flight(0, 1));
        assert!(cell("fd73:6b69:6666::12").claim_in_flight(0, 1), "another task");
        assert!(!cell("fd73:6b69:6666::11").claim_in_flight(1, 1));
        assert_eq!(place(&cell("::ffff:192.0.2.7")), place(&cell("192.0.2.7")));
    }

    #[test]
    fn the_coldest_client_makes_room_but_none_that_has_requests_in_flight() {
        let (ledger, _) = ledger();
        let clients = neighbours(&ledger, WAYS + 2);
        let (known, new) = clients.split_at(WAYS);
        for (&number, hot) in known.iter().zip(10..) {
            cell(&ledger, number).rate_bucket().store(hot, Relaxed);
        }
        let ways: HashSet<_> = known.iter().map(|&number| place(&cell(&ledger, number))).collect();
        assert_eq!(ways.len(), WAYS);
        let coldest = cell(&ledger, known[0]);
        assert!(coldest.claim_in_flight(1, 1));
        let replaced = cell(&ledger, new[0]);
        assert_eq!(place(&replaced), place(&cell(&ledger, new[0])));
        assert_ne!(place(&replaced), place(&coldest), "it has a request in flight");
        assert_eq!(replaced.rate_bucket().load(Relaxed), 0);
        assert_eq!(cell(&ledger, known[0]).in_flight(), 1);
        coldest.give_back(1);
        replaced.rate_bucket().store(99, Relaxed);
        assert_eq!(place(&cell(&ledger, new[1])), place(&coldest));
    }

    #[test]
    fn where_all_clients_are_busy_another_has_no_cell() {
        let (ledger, _) = ledger();
        let clients = neighbours(&ledger, WAYS + 1);
        let (busy, late) = clients.split_at(WAYS);
        for &number in busy {
            assert!(cell(&ledger, number).claim_in_flight(0, 1));
        }
        assert!(ledger.client("http", client(late[0])).is_none());
        cell(&ledger, busy[3]).give_back(0);
        assert!(ledger.client("http", client(late[0])).is_some());
    }

    #[test]
    fn what_a_dead_worker_counted_is_closed() {
        let (ledger, _) = ledger();
        for number in 0..1_000 {
            for worker in [0, 1] {
                assert!(cell(&ledger, number).claim_in_flight(worker, 2));
            }
        }
        ledger.close_worker(1, std::iter::empty());
        assert!((0..1_000).all(|number| cell(&ledger, number).in_flight() == 1));
    }

    #[test]
    fn clients_that_race_for_cells_leave_no_count_behind() {
        let (mine, theirs) = ledger();
        let clients = neighbours(&mine, 2 * WAYS);
        let run = |ledger: Ledger, worker: usize| {
            for round in 0..20_000 {
                let number = clients[(round * (worker + 3)) % clients.len()];
                if let Some(cell) = ledger.client("http", client(number))
                    && cell.claim_in_flight(worker, 3)
                {
                    cell.rate_bucket().fetch_add(1, Relaxed);
                    cell.give_back(worker);
                }
            }
        };
        std::thread::scope(|scope| {
            scope.spawn(|| run(mine.clone(), 0));
            scope.spawn(|| run(theirs, 1));
        });
        let bucket = cell(&mine, clients[0]).bucket;
        assert!((0..WAYS).all(|way| mine.cell(bucket, way).in_flight() == 0));
    }

    #[test]
    fn a_table_that_nobody_came_to_costs_no_memory() {
        let (ledger, fd) = Ledger::create(2).unwrap();
        let blocks = || rustix::fs::fstat(&fd).unwrap().st_blocks;
        ledger.close_worker(1, std::iter::empty());
        let before = blocks();
        cell(&ledger, 7);
        ledger.close_worker(1, std::iter::empty());
        let bytes = (blocks() - before) * 512;
        // A bucket, which may lie on two pages.
        assert!((1..=2 * 4096).contains(&bytes), "{bytes}");
    }
}

//! Which events of buckets are to be put next, and what waits: each lane by itself, so that one whose bus takes nothing holds up no
//! other.
//!
//! A lane is a namespace, or a bucket that is gone or can't be read. It deliberately reads and puts nothing: it is told what
//! lies there and what became of it.
//!
//! What always holds: events of a lane are put in the order of their numbers; none behind one that was not taken is put before it.

use skiff_kit::Backoff;
use skiff_types::{Namespace, ResourceId};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

/// Waits of a lane after failures.
const BACKOFF: Backoff = Backoff { first_ms: 50, most_ms: 5_000 };

/// Whose events wait for each other.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Lane {
    Namespace(Namespace),
    /// It is gone, or whose it is can't be read.
    Bucket(ResourceId),
}

/// A lane whose events from a number on were not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Held {
    from: u64,
    failures: u32,
    again_at: Instant,
}

/// How far events were put.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    /// All up to this number were put, but those of lanes that are held.
    pub(super) seen: u64,
    held: BTreeMap<Lane, Held>,
}

impl Backlog {
    /// Whether a lane's new events are to be put: not while older ones wait.
    pub(super) fn is_open(&self, lane: &Lane) -> bool {
        !self.held.contains_key(lane)
    }

    /// The held lane that is to be tried next, from which number on, and when.
    pub(super) fn next(&self) -> Option<(Lane, u64, Instant)> {
        let (lane, held) = self.held.iter().min_by_key(|(_, held)| held.again_at)?;
        Some((lane.clone(), held.from, held.again_at))
    }

    /// A lane's events from this number on were not taken.
    pub(super) fn failed(&mut self, lane: Lane, from: u64, now: Instant) -> u32 {
        let from = if self.is_open(&lane) { self.first_that_may_wait(&lane, from) } else { from };
        let held = self.held.entry(lane).or_insert(Held { from, failures: 0, again_at: now });
        held.from = from;
        held.failures = held.failures.saturating_add(1);
        held.again_at = now + Duration::from_millis(BACKOFF.delay_ms(held.failures));
        held.failures
    }

    /// A lane's events from this number on wait, whatever of it waits already.
    pub(super) fn hold(&mut self, lane: Lane, from: u64, now: Instant) {
        if let Some(held) = self.held.get_mut(&lane) {
            held.from = held.from.min(from);
            return;
        }
        let from = self.first_that_may_wait(&lane, from);
        self.held.insert(lane, Held { from, failures: 0, again_at: now });
    }

    /// The first of a lane's events that may wait already, if there are any before this one: those of a bucket that waits by itself
    /// from now on may wait with its namespace's, whichever that is. There, they are left to the bucket's lane.
    fn first_that_may_wait(&self, lane: &Lane, from: u64) -> u64 {
        let Lane::Bucket(_) = lane else { return from };
        let of_namespace = |(lane, held): (&Lane, &Held)| match lane {
            Lane::Namespace(_) => Some(held.from),
            Lane::Bucket(_) => None,
        };
        self.held.iter().filter_map(of_namespace).fold(from, u64::min)
    }

    /// A held lane's events up to this number were taken; it goes on at once, with what is left, until it has caught up.
    pub(super) fn went_on(&mut self, lane: &Lane, up_to: u64, now: Instant) {
        let Some(held) = self.held.get_mut(lane) else { return };
        if up_to >= self.seen {
            self.held.remove(lane);
            return;
        }
        *held = Held { from: up_to + 1, failures: 0, again_at: now };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lane(namespace: &str) -> Lane {
        Lane::Namespace(namespace.parse().unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn a_lane_that_is_held_waits_by_itself_and_catches_up_in_order() {
        let (mut backlog, now) = (Backlog::default(), Instant::now());
        backlog.seen = 100;
        assert_eq!(backlog.next(), None);
        assert_eq!(backlog.failed(lane("busy"), 7, now), 1);
        assert!(!backlog.is_open(&lane("busy")) && backlog.is_open(&lane("free")));
        assert_eq!(backlog.next(), Some((lane("busy"), 7, now + Duration::from_millis(50))));
        assert_eq!(backlog.failed(lane("busy"), 7, now), 2);
        assert_eq!(backlog.next(), Some((lane("busy"), 7, now + Duration::from_millis(100))));
        // Another one is not late by that.
        backlog.failed(lane("other"), 90, now);
        assert_eq!(backlog.next().map(|(next, ..)| next), Some(lane("other")));
        backlog.went_on(&lane("other"), 100, now);
        assert!(backlog.is_open(&lane("other")), "it has caught up");
        backlog.went_on(&lane("busy"), 60, now);
        assert_eq!(backlog.next(), Some((lane("busy"), 61, now)), "it goes on at once");
        // What came meanwhile is behind what waits.
        backlog.seen = 200;
        backlog.went_on(&lane("busy"), 100, now);
        assert!(!backlog.is_open(&lane("busy")));
        backlog.went_on(&lane("busy"), 200, now);
        assert!(backlog.is_open(&lane("busy")) && backlog.next().is_none());
        // Older ones that come to a lane are the next ones.
        let bucket = Lane::Bucket(ResourceId::from_bytes([7; 8]));
        backlog.failed(bucket.clone(), 150, now);
        backlog.hold(bucket.clone(), 120, now);
        backlog.hold(bucket.clone(), 130, now);
        assert_eq!(backlog.next().map(|(_, from, _)| from), Some(120));
    }

    #[tokio::test(start_paused = true)]
    async fn a_bucket_that_waits_by_itself_begins_with_what_waits_of_it_in_its_namespace() {
        let (mut backlog, now) = (Backlog::default(), Instant::now());
        let bucket = |number| Lane::Bucket(ResourceId::from_bytes([number; 8]));
        backlog.seen = 100;
        // Its bus takes nothing, so events of the bucket may wait from 10 on, when its record can't be read any more.
        backlog.failed(lane("busy"), 10, now);
        backlog.failed(bucket(1), 90, now);
        backlog.hold(bucket(2), 95, now);
        let from = |backlog: &Backlog, lane| backlog.held.get(&lane).map(|held| held.from);
        assert_eq!((from(&backlog, bucket(1)), from(&backlog, bucket(2))), (Some(10), Some(10)));
        // Once it is on its way it is where it says, not where others are.
        backlog.went_on(&bucket(1), 40, now);
        backlog.failed(bucket(1), 55, now);
        assert_eq!(from(&backlog, bucket(1)), Some(55));
        backlog.failed(lane("other"), 70, now);
        assert_eq!(from(&backlog, lane("other")), Some(70), "those of a namespace are its own");
    }

    #[test]
    fn waits_grow_up_to_a_bound() {
        let (mut backlog, now) = (Backlog::default(), Instant::now());
        for _ in 0..100 {
            backlog.failed(lane("busy"), 1, now);
        }
        assert_eq!(backlog.next().map(|(.., at)| at - now), Some(Duration::from_millis(BACKOFF.most_ms)));
    }
}

//! What the log says when the platform starts: which events are not over, and how far their deliveries are.
//!
//! What was under way is tried again, since nobody knows what became of it; what waited for its next try waits for what is left
//! of that. Events themselves are read when it is their turn.
//!
//! What always holds: of events that were one put, all are there or none is.

use super::known::{Held, Known, Now, READ_PUT, State};
use super::lanes::{DeliveryId, Origin};
use super::record::{Entry, Group, RecordError, Taken, decode, order_key, unpack_target};
use super::retry::RETRIES;
use super::rules::Aim;
use super::seen::is_long_ago;
use super::{Config, storage};
use crate::log::{Drive, Log, LogConfig, Position};
use bytes::Bytes;
use skiff_ports::buses::{AttemptError, BusError};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

/// What was read so far.
struct Replay {
    known: Known,
    now: Now,
    events: BTreeMap<u64, Read>,
    /// Targets by how they are packed: thousands of deliveries share a few.
    aims: HashMap<(bool, String, Bytes), Arc<Aim>>,
    /// A put of several events of which not all were read yet.
    group: Option<Members>,
}

/// Events of one put.
struct Members {
    group: Group,
    /// Those that were read so far.
    read: Vec<(Position, Bytes)>,
}

impl Members {
    fn is_next(&self, entry: &Entry<'_>) -> bool {
        matches!(entry, Entry::Taken(taken) if taken.number == self.group.first.saturating_add(self.read.len() as u64))
    }

    fn are_all(&self) -> bool {
        self.read.len() >= self.group.count as usize
    }
}

/// An event that was read.
struct Read {
    held: Held,
    position: Position,
    deliveries: BTreeMap<u32, Left>,
}

/// A delivery that is not over.
struct Left {
    aim: Arc<Aim>,
    tries: u32,
    due_ms: u64,
    failure: Option<Box<AttemptError>>,
}

/// Opens the log, and reads it in.
pub(super) fn open(config: Config, now: Now, drive: Arc<dyn Drive>) -> Result<(Log, Known), BusError> {
    let Config { folder, limits } = config;
    let mut replay =
        Replay { known: Known::new(limits), now, events: BTreeMap::new(), aims: HashMap::new(), group: None };
    let mut unread = None;
    let config = LogConfig { folder, segment_bytes: limits.segment_bytes };
    let log = Log::open(config, drive, |position, record| {
        if unread.is_none() {
            unread = replay.read(position, record).err();
        }
        Ok(())
    })
    .map_err(storage)?;
    match unread {
        Some(error) => Err(BusError::Storage(Box::new(error))),
        None => Ok((log, replay.finish())),
    }
}

impl Replay {
    fn read(&mut self, position: Position, record: &[u8]) -> Result<(), RecordError> {
        let entry = decode(record)?;
        // Where another record comes than the next one, a crash has cut the put off, and who put was told nothing.
        if let Some(mut members) = self.group.take()
            && members.is_next(&entry)
        {
            members.read.push((position, Bytes::copy_from_slice(record)));
            if !members.are_all() {
                self.group = Some(members);
                return Ok(());
            }
            return members.read.iter().try_for_each(|(position, record)| {
                let entry = decode(record)?;
                self.apply(*position, record.len() as u64, entry)
            });
        }
        self.apply(position, record.len() as u64, entry)
    }

    fn apply(&mut self, position: Position, record_bytes: u64, entry: Entry<'_>) -> Result<(), RecordError> {
        let number = match entry {
            Entry::Group(group) => {
                let last = group.first.saturating_add(u64::from(group.count.max(1)) - 1);
                self.group = Some(Members { group, read: Vec::new() });
                // If they are not all there, their numbers are no others'.
                last
            }
            Entry::Taken(taken) => {
                let number = taken.number;
                self.taken(position, record_bytes, taken)?;
                number
            }
            Entry::Tried(tried) => {
                let read = self.events.get_mut(&tried.number);
                if let Some(left) = read.and_then(|read| read.deliveries.get_mut(&tried.index)) {
                    left.tries = tried.tries;
                    left.due_ms = tried.due_ms;
                    left.failure = tried.failure.map(|failure| Box::new(failure.to_error()));
                }
                tried.number
            }
            Entry::Over(over) => {
                if let Some(read) = self.events.get_mut(&over.number) {
                    read.deliveries.remove(&over.index);
                    if read.deliveries.is_empty() {
                        self.events.remove(&over.number);
                    }
                }
                over.number
            }
        };
        self.known.next_event = self.known.next_event.max(number.saturating_add(1));
        Ok(())
    }

    /// An event; if it is known already, this is what was left of it when it was written again.
    fn taken(&mut self, position: Position, record_bytes: u64, taken: Taken<'_>) -> Result<(), RecordError> {
        if !is_long_ago(taken.taken_at_ms, self.now.unix_ms) {
            self.known.seen.insert(taken.key, READ_PUT, taken.taken_at_ms);
            self.known.came(taken.taken_at_ms, position);
        }
        if let Some(planned) = taken.deliveries.iter().find(|planned| planned.is_schedule) {
            // However long ago: who put it may have been killed before it was noted.
            self.known.unsettled.insert(taken.key, planned.origin.parse()?, READ_PUT);
            self.known.unsettled.lies_at(&taken.key, position);
        }
        let mut deliveries = BTreeMap::new();
        for planned in &taken.deliveries {
            let aim = self.aim(planned.is_schedule, planned.origin, planned.target.0)?;
            let failure = planned.failure.map(|failure| Box::new(failure.to_error()));
            deliveries.insert(planned.index, Left { aim, tries: planned.tries, due_ms: 0, failure });
        }
        let held = Held {
            position: None,
            record_bytes,
            event: None,
            order_key: order_key(taken.event.0)?,
            key: taken.key,
            stem: taken.stem.into(),
            taken_at_ms: taken.taken_at_ms,
            deliveries: Vec::with_capacity(deliveries.len()),
            left: 0,
        };
        self.events.insert(taken.number, Read { held, position, deliveries });
        Ok(())
    }

    fn aim(&mut self, is_schedule: bool, origin: &str, packed: &[u8]) -> Result<Arc<Aim>, RecordError> {
        let key = (is_schedule, origin.to_owned(), Bytes::copy_from_slice(packed));
        if let Some(aim) = self.aims.get(&key) {
            return Ok(aim.clone());
        }
        let name = origin.parse()?;
        let origin = if is_schedule { Origin::Schedule(name) } else { Origin::Rule(name) };
        let aim = Arc::new(Aim::new(origin, unpack_target(packed)?));
        self.aims.insert(key, aim.clone());
        Ok(aim)
    }

    /// All that is left, in the order in which it was taken in.
    fn finish(self) -> Known {
        let Self { mut known, now, events, .. } = self;
        for (number, read) in events {
            let Read { mut held, position, deliveries } = read;
            let mut later = Vec::new();
            for (index, left) in deliveries {
                known.enter(number, &mut held, index, left.aim);
                let Some(delivery) = held.deliveries.last_mut() else { continue };
                delivery.tries = left.tries;
                delivery.failure = left.failure;
                if left.due_ms > now.unix_ms && delivery.state == State::Waiting {
                    later.push((index, left.due_ms - now.unix_ms));
                }
            }
            known.restore(number, held, position, &later, now);
        }
        known
    }
}

impl Known {
    /// An event that was read from the log; of its deliveries, those in `later`, in the order of their indices, wait for so many
    /// milliseconds yet.
    fn restore(&mut self, number: u64, held: Held, position: Position, later: &[(u32, u64)], now: Now) {
        self.events.insert(number, held);
        let is_due = |index: u32| later.binary_search_by_key(&index, |(other, _)| *other).is_err();
        self.place(number, position, is_due);
        for (index, wait_ms) in later {
            // However the clock stood when it was written down.
            let wait = Duration::from_millis((*wait_ms).min(RETRIES.most_ms));
            self.wait_until(DeliveryId { event: number, index: *index }, now.instant + wait);
        }
    }
}

//! What is done beside deliveries: what is due goes on, and the log is kept short.
//!
//! The log is needed from the first event on that is not over, that came within the last five minutes, or that was due by a
//! schedule and may be put again. Where few old events
//! keep much of it, what is left of them is written again at its end.

use super::Inner;
use super::known::{Known, State};
use super::record::{Entry, Failure, Planned, Raw, RecordError, Taken, decode, encode};
use super::seen::is_long_ago;
use crate::log::{Durable, Position};
use bytes::Bytes;
use skiff_kit::Drain;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior};

/// How often the log is looked at.
const TIDY_EVERY: Duration = Duration::from_secs(5);

/// The numbers of events that are written anew, each with the bytes of its new record; and these.
type Rewritten = (Vec<(u64, u64)>, Vec<Bytes>);

impl Inner {
    /// Lets go on what is due, until the drain begins; then nothing more is carried out.
    pub(super) async fn keep_time(self: &Arc<Self>, drain: &Drain) {
        while !drain.has_begun() {
            let next = self.with(|known| {
                known.due(Instant::now());
                known.next_timer()
            });
            tokio::select! {
                () = drain.begun() => {}
                () = sleep_until(next) => {}
                () = self.is_due_sooner.notified() => {}
            }
        }
        self.with(|known| known.running = None);
    }

    /// Keeps the log short, until the drain begins.
    pub(super) async fn keep_tidy(self: &Arc<Self>, drain: &Drain) {
        let mut ticks = tokio::time::interval(TIDY_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = drain.begun() => return,
                _ = ticks.tick() => {}
            }
            self.forget();
            self.compact().await;
        }
    }

    /// Lets the log forget what nobody needs.
    pub(super) fn forget(self: &Arc<Self>) {
        let now_ms = self.clock.unix_ms();
        let needed = self.with(|known| known.needed(self.log.end(), now_ms));
        self.log.forget_before(needed);
    }

    /// Writes old events again, if that pays.
    pub(super) async fn compact(self: &Arc<Self>) {
        let log_bytes = self.log.end().0.saturating_sub(self.log.first().0);
        let now_ms = self.clock.unix_ms();
        let scattered = self.with(|known| known.scattered(log_bytes, now_ms));
        if scattered.is_empty() {
            return;
        }
        let inner = self.clone();
        let Ok(read) = tokio::task::spawn_blocking(move || inner.records_at(scattered)).await else { return };
        let rewritten = self.with(|known| {
            let (numbers, records) = known.rewritten(&read)?;
            // While the lock is held: what becomes of them from now on is written behind them.
            let appending = (!records.is_empty()).then(|| self.log.append(records, Durable::Drive));
            Ok::<_, RecordError>((numbers, appending))
        });
        let (numbers, appending) = match rewritten {
            Ok((numbers, Some(appending))) => (numbers, appending),
            Ok((_, None)) => return,
            Err(error) => {
                tracing::error!(%error, "the log of the buses can't be written anew");
                return;
            }
        };
        match appending.await {
            Ok(positions) => {
                self.with(|known| {
                    for ((number, record_bytes), position) in numbers.into_iter().zip(positions) {
                        known.moved(number, position, record_bytes);
                    }
                });
                self.forget();
            }
            Err(error) => tracing::warn!(%error, "the log of the buses is not written anew for now"),
        }
    }

    /// The records at these places, as far as they can be read.
    fn records_at(&self, places: Vec<(u64, Position)>) -> Vec<(u64, Position, Bytes)> {
        let mut read = Vec::with_capacity(places.len());
        for (number, position) in places {
            match self.log.read(position) {
                Ok(record) => read.push((number, position, record)),
                Err(error) => tracing::error!(%error, "an event of the buses can't be read"),
            }
        }
        read
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

impl Known {
    /// From where on the log is needed; `end` is where it ends.
    pub(super) fn needed(&mut self, end: Position, now_ms: u64) -> Position {
        self.seen.expire(now_ms);
        while self.logged.front().is_some_and(|(at_ms, _)| is_long_ago(*at_ms, now_ms)) {
            self.logged.pop_front();
        }
        let held = self.by_position.keys().next().copied();
        let logged = self.logged.front().map(|(_, position)| *position);
        let flying = self.flying.values().map(|flying| flying.floor).min();
        [held, logged, flying, self.unsettled.first()].into_iter().flatten().min().unwrap_or(end)
    }

    /// The events whose records lie first, if so much of the log is not needed that it pays to write them again.
    pub(super) fn scattered(&self, log_bytes: u64, now_ms: u64) -> Vec<(u64, Position)> {
        if log_bytes < self.limits.compact_bytes_min || self.live_bytes > log_bytes / 4 {
            return Vec::new();
        }
        let mut bytes = 0;
        let oldest = self.by_position.iter().map_while(|(position, number)| {
            let held = self.events.get(number)?;
            let is_taken = bytes < self.limits.compact_step_bytes && is_long_ago(held.taken_at_ms, now_ms);
            bytes += held.record_bytes;
            is_taken.then_some((*number, *position))
        });
        oldest.collect()
    }

    /// What is left of events whose records are where they were read, as new records. They are to be appended at once.
    pub(super) fn rewritten(&self, read: &[(u64, Position, Bytes)]) -> Result<Rewritten, RecordError> {
        let (mut numbers, mut records) = (Vec::new(), Vec::new());
        for (number, position, record) in read {
            let Some(held) = self.events.get(number).filter(|held| held.position == Some(*position)) else {
                // It is over by now.
                continue;
            };
            let Entry::Taken(before) = decode(record)? else { continue };
            let left = held.deliveries.iter().filter(|delivery| delivery.state != State::Over);
            let planned = left.map(|delivery| Planned {
                index: delivery.index,
                is_schedule: delivery.aim.is_of_schedule(),
                origin: &delivery.aim.origin,
                target: Raw(&delivery.aim.packed),
                tries: delivery.tries,
                failure: delivery.failure.as_deref().map(Failure::of),
            });
            let taken = Taken {
                number: *number,
                taken_at_ms: held.taken_at_ms,
                key: held.key,
                stem: &held.stem,
                event: before.event,
                deliveries: planned.collect(),
            };
            let record = encode(&Entry::Taken(taken));
            numbers.push((*number, record.len() as u64));
            records.push(record);
        }
        Ok((numbers, records))
    }

    /// An event's record lies elsewhere, with so many bytes.
    pub(super) fn moved(&mut self, number: u64, position: Position, record_bytes: u64) {
        let Some(held) = self.events.get_mut(&number) else { return };
        self.live_bytes = self.live_bytes + record_bytes - held.record_bytes;
        held.record_bytes = record_bytes;
        self.unsettled.lies_at(&held.key, position);
        if let Some(before) = held.position.replace(position) {
            self.by_position.remove(&before);
        }
        self.by_position.insert(position, number);
    }
}

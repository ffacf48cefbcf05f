//! How events come in: checked, told from those that came before, matched, and written with all that they lead to.
//!
//! What takes long (parsing, packing, matching: see `matching`) is done before anybody has to wait for it. What always holds: a put is
//! whole or is not; it goes on to its end even if who asked no longer waits; and who puts what another put is just bringing, waits for
//! that one.

use super::known::{Flying, Held, Known};
use super::lanes::Origin;
use super::matching::Tried;
use super::record::{Entry, Group, Planned, Raw, Taken, encode, pack_event};
use super::rules::{Aim, Matched};
use super::seen::SeenKey;
use super::{Inner, storage};
use crate::envelope;
use crate::log::{Appending, Durable, LogError, Position};
use crate::pattern::Parsed;
use bytes::Bytes;
use skiff_kit::random::SharedRandom;
use skiff_ports::buses::{BusError, NewDelivery};
use skiff_types::{BusEvent, QualifiedName};
use std::collections::HashSet;
use std::sync::Arc;
use tokio::sync::oneshot;

/// Deliveries that one put may lead to.
const DELIVERIES_MAX: usize = 20_000;
/// Bytes that one put may write, about.
const BYTES_MAX: usize = 48 << 20;
/// What a delivery takes in a record beside its target, in bytes: names and numbers.
const PLANNED_BYTES: usize = 160;
/// Deliveries of schedules in one call.
const SCHEDULED_MAX: usize = skiff_types::Missed::ALL_MAX;

/// Who puts events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sender {
    /// Somebody who can wait.
    Outside,
    /// A delivery to another bus. It waits itself: if as many as may be there wait for each other, none ever gets on.
    Delivery,
}

impl Sender {
    /// How many times as many deliveries may wait as the bounds say, for what it puts to be taken in.
    fn share(self) -> u64 {
        match self {
            Self::Outside => 1,
            Self::Delivery => 2,
        }
    }
}

/// An event that is to be taken in.
pub(super) struct Offer {
    pub(super) event: Arc<BusEvent>,
    packed: Vec<u8>,
    key: SeenKey,
    pub(super) to: To,
}

/// Where an event goes.
pub(super) enum To {
    /// Where the rules say.
    Rules(Box<Parsed>),
    /// To the target of a schedule.
    Schedule(Arc<Aim>, Arc<str>),
}

/// An event that is to be taken in, and what it leads to.
pub(super) type Aimed = (Offer, Matched);

/// A put that is under way: its events are known, and what of it is to be on the drive is being written.
pub(super) type Begun = (Taking, Option<Appending>);

/// What a time of a schedule is known by. No event of a sender has three parts.
pub(super) fn schedule_key(schedule: &QualifiedName, id: &str) -> SeenKey {
    SeenKey::of(&[schedule.namespace.as_str(), schedule.name.as_str(), id])
}

/// Checks events of senders.
pub(super) fn offers(events: Vec<BusEvent>) -> Result<Vec<Offer>, BusError> {
    let count = events.len();
    if count > BusEvent::BATCH_MAX {
        return Err(BusError::Invalid(format!(
            "{count} events were put at once, and {} are the most: put them by and by",
            BusEvent::BATCH_MAX
        )));
    }
    let offer = |event: BusEvent| -> Result<Offer, BusError> {
        envelope::check(&event).map_err(|error| BusError::Invalid(error.to_string()))?;
        let parts = [event.namespace.as_str(), event.bus.as_str(), &event.source, &event.id];
        let key = SeenKey::of(&parts);
        let to = To::Rules(Box::new(Parsed::of(&event)));
        Ok(Offer { packed: pack_event(&event), event: Arc::new(event), key, to })
    };
    events.into_iter().map(offer).collect()
}

/// Checks what is due by schedules.
pub(super) fn scheduled(deliveries: Vec<NewDelivery>) -> Result<Vec<Offer>, BusError> {
    let count = deliveries.len();
    if count > SCHEDULED_MAX {
        return Err(BusError::Invalid(format!(
            "{count} deliveries were put at once, and {SCHEDULED_MAX} are the most: put them by and by"
        )));
    }
    let offer = |delivery: NewDelivery| -> Result<Offer, BusError> {
        let NewDelivery { id, origin, event, target } = delivery;
        envelope::check(&event).map_err(|error| BusError::Invalid(error.to_string()))?;
        let key = schedule_key(&origin, &id);
        let to = To::Schedule(Arc::new(Aim::new(Origin::Schedule(origin), target)), id);
        Ok(Offer { packed: pack_event(&event), event: Arc::new(event), key, to })
    };
    deliveries.into_iter().map(offer).collect()
}

/// What is known of a put once it is under way.
pub(super) struct Taking {
    put: u64,
    /// The events that lead to something, and their records.
    numbers: Vec<u64>,
    /// With one before them that says that they are one put, if they are several.
    records: Vec<Bytes>,
    keys: Vec<SeenKey>,
    /// The events that were put on buses, for who looks on.
    shown: Vec<Arc<BusEvent>>,
    /// The rules that took them, for each event.
    rules: Vec<QualifiedName>,
    /// Other puts that are just bringing some of these events.
    others: Vec<oneshot::Receiver<Result<(), LogError>>>,
}

impl Inner {
    /// Takes events in; see [`skiff_ports::buses::Buses::put`].
    pub(super) async fn take_in(
        self: &Arc<Self>,
        offers: Vec<Offer>,
        sender: Sender,
    ) -> Result<(), BusError> {
        let offers = match self.begin(offers, sender)? {
            Tried::Begun(begun) => return self.finish(begun).await,
            Tried::Long(offers) => offers,
        };
        let inner = self.clone();
        // On a task of its own: what was begun goes on to its end, whether or not anybody waits.
        let put = tokio::spawn(async move {
            let place = inner.matched_apart.acquire().await;
            let matching = inner.clone();
            let begun = tokio::task::spawn_blocking(move || matching.begin_long(offers, sender)).await;
            drop(place);
            let begun = begun.map_err(|error| BusError::Storage(Box::new(error)))?;
            inner.finish(begun?).await
        });
        put.await.map_err(|error| BusError::Storage(Box::new(error)))?
    }

    /// Has events known, all or none of them, and what they lead to handed to the log. Call it with the rules held, until when they
    /// were matched with.
    pub(super) fn enter(self: &Arc<Self>, events: Vec<Aimed>, sender: Sender) -> Result<Begun, BusError> {
        let now_ms = self.clock.unix_ms();
        self.with(|known| {
            let floor = self.log.end();
            let mut taking = known.take_in(events, sender, now_ms, floor, &self.random)?;
            let records = std::mem::take(&mut taking.records);
            // While the lock is held: the order of events is that of their records.
            let appending = (!records.is_empty()).then(|| self.log.append(records, Durable::Drive));
            Ok((taking, appending))
        })
    }

    /// Waits until a put that was begun is on the drive.
    async fn finish(self: &Arc<Self>, (mut taking, appending): Begun) -> Result<(), BusError> {
        let others = std::mem::take(&mut taking.others);
        match appending {
            None => self.tails.came(taking.shown),
            Some(appending) => {
                // On a task of its own: what is in the log leads to what it leads to, whether or not anybody waits.
                let landing = tokio::spawn(land(self.clone(), taking, appending));
                let outcome = landing.await.map_err(|error| BusError::Storage(Box::new(error)))?;
                outcome.map_err(storage)?;
            }
        }
        for other in others {
            match other.await {
                Ok(outcome) => outcome.map_err(storage)?,
                Err(gone) => return Err(BusError::Storage(Box::new(gone))),
            }
        }
        Ok(())
    }
}

async fn land(inner: Arc<Inner>, taking: Taking, appending: Appending) -> Result<(), LogError> {
    let Taking { put, numbers, keys, shown, rules, .. } = taking;
    match appending.await {
        Ok(positions) => {
            let group = usize::from(numbers.len() > 1);
            let landed: Vec<(u64, Position)> =
                numbers.into_iter().zip(positions.into_iter().skip(group)).collect();
            let now_ms = inner.clock.unix_ms();
            inner.with(|known| {
                known.landed(put, &landed, now_ms);
                known.count(&shown, &rules);
            });
            inner.tails.came(shown);
            Ok(())
        }
        Err(error) => {
            inner.with(|known| known.failed(put, &numbers, &keys, error.clone()));
            Err(error)
        }
    }
}

impl Known {
    /// Takes events in, all or none of them; their records are to be appended at once, behind `floor`.
    fn take_in(
        &mut self,
        offers: Vec<Aimed>,
        sender: Sender,
        now_ms: u64,
        floor: Position,
        random: &SharedRandom,
    ) -> Result<Taking, BusError> {
        self.seen.expire(now_ms);
        let put = self.next_put;
        let (mut numbers, mut records, mut keys) = (Vec::new(), Vec::new(), Vec::new());
        let (mut shown, mut rules, mut others) = (Vec::new(), Vec::new(), Vec::new());
        let new = self.new_ones(offers, &mut others);
        // What came before needs no room: who puts it again is to hear that it is there.
        self.check_room(&new, sender)?;
        check_bounds(&new)?;
        self.next_put += 1;
        for (offer, matched) in new {
            self.seen.insert(offer.key, put, now_ms);
            keys.push(offer.key);
            self.counts.events += 1;
            match &offer.to {
                To::Rules(_) => shown.push(offer.event.clone()),
                To::Schedule(aim, _) => {
                    self.unsettled.insert(offer.key, aim.key.origin.name().clone(), put);
                }
            }
            rules.extend(matched.rules);
            if !matched.aims.is_empty() {
                self.counts.matched += 1;
                let (number, record) = self.take(offer, matched.aims, now_ms, random);
                numbers.push(number);
                records.push(record);
            }
        }
        match *numbers {
            // There is nothing that could fail yet.
            [] => self.count(&shown, &rules),
            [first, ..] => {
                self.flying.insert(put, Flying { floor, waiters: Vec::new() });
                if numbers.len() > 1 {
                    let group = Group { first, count: numbers.len() as u32 };
                    records.insert(0, encode(&Entry::Group(group)));
                }
            }
        }
        Ok(Taking { put, numbers, records, keys, shown, rules, others })
    }

    /// Refuses events where too much waits.
    fn check_room(&self, new: &[Aimed], sender: Sender) -> Result<(), BusError> {
        let share = sender.share();
        let waiting = self.stats().waiting;
        if !new.is_empty() && waiting >= share.saturating_mul(self.limits.waiting_max) {
            return Err(BusError::Busy(waiting));
        }
        for (offer, _) in new {
            let there = self.lanes.there(&offer.event.namespace);
            if there >= share.saturating_mul(self.limits.of_namespace_max) {
                return Err(BusError::Busy(there));
            }
        }
        Ok(())
    }

    /// Counts events that were put on buses, and each time that a rule took one.
    fn count(&mut self, put: &[Arc<BusEvent>], rules: &[QualifiedName]) {
        for event in put {
            let bus = QualifiedName::new(event.namespace.clone(), event.bus.clone());
            *self.counted.put.entry(bus).or_default() += 1;
        }
        for rule in rules {
            match self.counted.matched.get_mut(rule) {
                Some(matched) => *matched += 1,
                None => {
                    self.counted.matched.insert(rule.clone(), 1);
                }
            }
        }
    }

    /// Those that did not come before. Of the others, who brings them just now will tell `others`.
    fn new_ones(
        &mut self,
        offers: Vec<Aimed>,
        others: &mut Vec<oneshot::Receiver<Result<(), LogError>>>,
    ) -> Vec<Aimed> {
        let (mut within, mut asked) = (HashSet::new(), HashSet::new());
        let mut new = Vec::with_capacity(offers.len());
        for (offer, matched) in offers {
            let key = &offer.key;
            if let Some(put) = self.seen.put_of(key).or_else(|| self.unsettled.put_of(key)) {
                if let Some(flying) = self.flying.get_mut(&put)
                    && asked.insert(put)
                {
                    let (waiter, other) = oneshot::channel();
                    flying.waiters.push(waiter);
                    others.push(other);
                }
                continue;
            }
            if !within.insert(offer.key) {
                continue;
            }
            new.push((offer, matched));
        }
        new
    }

    /// Takes one event in that leads to something. Gives its number and its record.
    fn take(
        &mut self,
        offer: Offer,
        aims: Vec<Arc<Aim>>,
        now_ms: u64,
        random: &SharedRandom,
    ) -> (u64, Bytes) {
        let Offer { event, packed, key, to } = offer;
        let number = self.next_event;
        self.next_event += 1;
        let stem: Arc<str> = match to {
            To::Rules(_) => hex::encode(random.bytes::<16>()).into(),
            To::Schedule(_, id) => id,
        };
        let taken = Taken {
            number,
            taken_at_ms: now_ms,
            key,
            stem: &stem,
            event: Raw(&packed),
            deliveries: (0..).zip(&aims).map(|(index, aim)| planned(index, aim)).collect(),
        };
        let record = encode(&Entry::Taken(taken));
        let held = Held {
            position: None,
            record_bytes: record.len() as u64,
            order_key: event.order_key.clone(),
            event: Some((event, packed.len())),
            key,
            stem,
            taken_at_ms: now_ms,
            deliveries: Vec::with_capacity(aims.len()),
            left: 0,
        };
        self.hold(number, held, aims);
        (number, record)
    }
}

/// A new delivery as its record has it.
fn planned(index: u32, aim: &Aim) -> Planned<'_> {
    Planned {
        index,
        is_schedule: aim.is_of_schedule(),
        origin: &aim.origin,
        target: Raw(&aim.packed),
        tries: 0,
        failure: None,
    }
}

/// Refuses events that lead to more than can be written at once.
fn check_bounds(new: &[Aimed]) -> Result<(), BusError> {
    let deliveries: usize = new.iter().map(|(_, matched)| matched.aims.len()).sum();
    let of_aims = |aims: &[Arc<Aim>]| aims.iter().map(|aim| aim.packed.len() + PLANNED_BYTES).sum::<usize>();
    let bytes: usize = new.iter().map(|(offer, matched)| offer.packed.len() + of_aims(&matched.aims)).sum();
    if deliveries <= DELIVERIES_MAX && bytes <= BYTES_MAX {
        return Ok(());
    }
    Err(BusError::Invalid(format!(
        "the events lead to {deliveries} deliveries, which take {bytes} bytes; {DELIVERIES_MAX} and {BYTES_MAX} are the most at \
         once: put fewer of them in one call, or make fewer rules match the same event"
    )))
}

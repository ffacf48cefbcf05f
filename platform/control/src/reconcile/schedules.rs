//! Brings about that what is due by a schedule happens: once for each of its times.
//!
//! `plan::event_schedule` decides what is due. A time is in the schedule's notes before it is handed to the buses, and leaves them
//! once the buses have it, on the drive with what follows from it. Where the platform ends in between, it is handed over again
//! under the same id, by which the buses know it for five minutes, and a task that it ran is known by its own id.
//!
//! What always holds: what is handed over is in the notes; a time that left them is never handed over again, whatever the clock
//! does.

use super::{LOOK_INTERVAL, RETRY_INTERVAL, WRITES_AT_ONCE};
use crate::context::Context;
use crate::keys;
use crate::model::{EventSchedule, ScheduleNotes};
use crate::objects::ObjectError;
use crate::view::Held;
use futures::{StreamExt, stream};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use skiff_events::envelope::iso_8601;
use skiff_plan::event_schedule::{self, Due};
use skiff_ports::buses::{BusError, NewDelivery};
use skiff_ports::store::{Expect, Key, Revision};
use skiff_types::{BusEvent, DEFAULT_BUS, Missed, QualifiedName};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tracing::{info, warn};

/// Times that are handed to the buses, and noted as handed over, together.
const BATCH_MAX: usize = 100;
/// How long nothing is looked at after a look, for each schedule that there is: a look costs the more the more there are, and is to
/// leave most of the time to others.
const PAUSE_OF_ONE: Duration = Duration::from_micros(10);
/// Bytes of a digest that tell a time of a schedule from all others.
const DIGEST_BYTES: usize = 16;

/// Why what is due could not be seen to.
#[derive(Debug, thiserror::Error)]
enum FireError {
    #[error(transparent)]
    Object(#[from] ObjectError),
    #[error(transparent)]
    Bus(#[from] BusError),
}

/// When schedules are due next, by what they and their notes were when that was seen.
#[derive(Default)]
struct Known(BTreeMap<Key, Seen>);

struct Seen {
    /// Of the schedule, and of its notes, 0 where there are none.
    revisions: (Revision, Revision),
    next_ms: Option<u64>,
}

/// A schedule to be looked at.
struct Turn {
    held: Held<EventSchedule>,
    notes: ScheduleNotes,
    /// The revision of what lies where the notes go; 0 of nothing.
    present: Revision,
    due: Due,
}

pub(super) async fn run(context: Arc<Context>) {
    let mut known = Known::default();
    loop {
        let (wait, has_failed) = look(&context, &mut known).await;
        let wait = if has_failed { RETRY_INTERVAL } else { wait };
        let pause = PAUSE_OF_ONE.saturating_mul(u32::try_from(known.0.len()).unwrap_or(u32::MAX));
        let rest = async {
            tokio::time::sleep(pause).await;
            tokio::select! {
                biased;
                () = context.objects.wakes.schedules.notified() => {}
                () = tokio::time::sleep(wait.saturating_sub(pause)) => {}
            }
        };
        tokio::select! {
            biased;
            () = context.drain.begun() => return,
            () = rest => {}
        }
    }
}

/// Has happen what is due; says how long there is nothing to do, and whether something could not be done.
async fn look(context: &Context, known: &mut Known) -> (Duration, bool) {
    let now_ms = context.now_ms();
    if context.is_winding_down() {
        return (LOOK_INTERVAL, false);
    }
    let stale = context.objects.read(|view| view.notes_of_no_schedule());
    if !stale.is_empty()
        && let Err(error) = context.objects.delete_all::<ScheduleNotes>(stale).await
    {
        warn!(%error, "notes of schedules that are gone could not be deleted; trying again");
    }
    let turns = known.turns(context, now_ms);
    let failed: Vec<Key> = stream::iter(turns)
        .map(|turn| async move {
            let name = turn.held.value.spec.spec.name.clone();
            let error = fire(context, turn).await.err()?;
            warn!(schedule = %name, %error, "what is due could not be seen to; trying again");
            Some(keys::event_schedule(&name))
        })
        .buffer_unordered(WRITES_AT_ONCE)
        .filter_map(std::future::ready)
        .collect()
        .await;
    // Nothing is known of them: they are looked at again.
    for key in &failed {
        known.0.remove(key);
    }
    let next_ms = known.0.values().filter_map(|seen| seen.next_ms).min();
    let wait = next_ms.map_or(LOOK_INTERVAL, |next_ms| {
        Duration::from_millis(next_ms.saturating_sub(context.now_ms()).max(1)).min(LOOK_INTERVAL)
    });
    (wait, !failed.is_empty())
}

impl Known {
    /// The schedules of which something is due, or was not handed over yet; of the others, it is known when they are.
    fn turns(&mut self, context: &Context, now_ms: u64) -> Vec<Turn> {
        let mut before = std::mem::take(&mut self.0);
        context.objects.read(|view| {
            let mut turns = Vec::new();
            for held in view.buses.schedules.all() {
                let name = &held.value.spec.spec.name;
                let key = keys::event_schedule(name);
                if view.unreadable.contains(&keys::schedule_notes(name)) {
                    continue;
                }
                let present =
                    view.buses.notes.get(&keys::schedule_notes(name)).map_or(0, |held| held.revision);
                let revisions = (held.revision, present);
                if let Some(seen) = before.remove(&key)
                    && seen.revisions == revisions
                    && seen.next_ms.is_none_or(|next_ms| next_ms > now_ms)
                {
                    self.0.insert(key, seen);
                    continue;
                }
                let notes = view.notes_of_schedule(&held.value).cloned();
                let notes = notes.unwrap_or_else(|| ScheduleNotes::new(&held.value));
                let due = event_schedule::due(&held.value.spec.spec, notes.state(&held.value), now_ms);
                self.0.insert(key, Seen { revisions, next_ms: due.next_ms });
                if due.state.last_ms != notes.last_ms || !due.fire.is_empty() || !notes.pending_ms.is_empty()
                {
                    turns.push(Turn { held: held.clone(), notes, present, due });
                }
            }
            turns
        })
    }
}

/// Notes what is due, hands it to the buses, and notes that it is there.
async fn fire(context: &Context, turn: Turn) -> Result<(), FireError> {
    let Turn { held, mut notes, mut present, due } = turn;
    let name = &held.value.spec.spec.name;
    let is_news = due.state.last_ms != notes.last_ms || !due.fire.is_empty();
    if is_news {
        notes.last_ms = due.state.last_ms;
        notes.pending_ms.extend(due.fire);
        let too_many = notes.pending_ms.len().saturating_sub(Missed::ALL_MAX);
        if too_many > 0 {
            warn!(schedule = %name, too_many, "times of a schedule are let pass: the buses have not taken so many before them");
            notes.pending_ms.drain(..too_many);
        }
        present = write(context, &notes, present).await?;
    }
    if notes.pending_ms.is_empty() {
        return Ok(());
    }
    let times = notes.pending_ms.len();
    while !notes.pending_ms.is_empty() {
        let count = notes.pending_ms.len().min(BATCH_MAX);
        let deliveries =
            notes.pending_ms[..count].iter().map(|at_ms| delivery(&held.value, *at_ms)).collect();
        context.buses.put_deliveries(deliveries).await?;
        // At once: those behind may have to wait for longer than the buses know these.
        notes.pending_ms.drain(..count);
        present = write(context, &notes, present).await?;
    }
    info!(schedule = %name, times, "due");
    Ok(())
}

/// Writes notes over those that were seen; returns their revision.
async fn write(context: &Context, notes: &ScheduleNotes, present: Revision) -> Result<Revision, ObjectError> {
    let expect = if present == 0 { Expect::Absent } else { Expect::Revision(present) };
    Ok(context.objects.put(notes.clone(), expect).await?.revision)
}

/// What happens at a time of a schedule.
fn delivery(schedule: &EventSchedule, at_ms: u64) -> NewDelivery {
    let spec = &schedule.spec.spec;
    let id = delivery_id(&spec.name, schedule.created_at_ms, at_ms);
    let detail = json!({ "schedule": spec.name.name.as_str(), "scheduledTime": iso_8601(at_ms) });
    let event = BusEvent {
        namespace: spec.name.namespace.clone(),
        bus: DEFAULT_BUS.parse().expect("its name is one"),
        id: id.clone().into(),
        source: "skiff.scheduler".into(),
        detail_type: "Scheduled Event".into(),
        time_ms: at_ms,
        resources: vec![format!("schedule/{}", spec.name).into()],
        subject: None,
        extensions: BTreeMap::new(),
        detail: detail.to_string().into(),
        order_key: Some(spec.name.name.as_str().into()),
    };
    NewDelivery { id: id.into(), origin: spec.name.clone(), event, target: spec.target.clone() }
}

/// Tells a time of a schedule from all others, also from those of one that had its name before.
fn delivery_id(name: &QualifiedName, created_at_ms: u64, at_ms: u64) -> String {
    hex::encode(&Sha256::digest(format!("{name} {created_at_ms} {at_ms}"))[..DIGEST_BYTES])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::test_schedule;

    #[test]
    fn a_time_is_told_from_all_others_and_is_the_same_each_time() {
        let schedule = test_schedule("default/sweep", "rate(5 minutes)", 1_000);
        let one = delivery(&schedule, 301_000);
        assert_eq!(one, delivery(&schedule, 301_000));
        assert_ne!(one.id, delivery(&schedule, 601_000).id);
        let anew = EventSchedule { created_at_ms: 2_000, ..schedule };
        assert_ne!(one.id, delivery(&anew, 301_000).id);
        assert_eq!(&*one.event.detail, r#"{"schedule":"sweep","scheduledTime":"1970-01-01T00:05:01Z"}"#);
        assert_eq!(one.event.resources[0].as_ref(), "schedule/default/sweep");
    }
}

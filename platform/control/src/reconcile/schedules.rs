//! Brings about that what is due by a schedule happens: once for each of its times.
//!
//! `plan::event_schedule` decides what is due. A time is in the schedule's notes before it is handed to the buses, and leaves them
//! once the buses have it, on the drive with what follows from it. Where the platform ends in between, it is handed over again
//! under the same id, by which the buses know it until they are told that it left the notes; and a task that it ran is known by
//! its own id.
//!
//! What always holds: what is handed over is in the notes; a time that left them is never handed over again, and one that is handed
//! over again leads to nothing more, however long the platform was down and whatever the clock does. A look costs what is due and
//! what changed, however many schedules there are.

use super::{LOOK_INTERVAL, RETRY_INTERVAL, WRITES_AT_ONCE};
use crate::context::Context;
use crate::keys;
use crate::model::{EventSchedule, ScheduleNotes};
use crate::objects::ObjectError;
use crate::view::{Held, View};
use futures::{StreamExt, stream};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use skiff_events::envelope::iso_8601;
use skiff_plan::event_schedule::{self, Due};
use skiff_ports::buses::{BusError, NewDelivery};
use skiff_ports::store::{Expect, Key, Revision};
use skiff_types::{BusEvent, DEFAULT_BUS, Missed, QualifiedName};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tracing::{info, warn};

/// Times that are handed to the buses, and noted as handed over, together.
const BATCH_MAX: usize = 100;
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

/// When schedules are due next, in order.
#[derive(Default)]
struct Coming {
    next_ms: BTreeMap<QualifiedName, u64>,
    by_time: BTreeSet<(u64, QualifiedName)>,
}

/// What is known from one look to the next.
#[derive(Default)]
struct Known {
    coming: Coming,
    /// Schedules of which something could not be seen to: they are looked at again.
    again: BTreeSet<QualifiedName>,
    /// Whether the buses were told which times may come again.
    is_settled: bool,
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
        let wait = look(&context, &mut known).await;
        tokio::select! {
            biased;
            () = context.drain.begun() => return,
            () = context.objects.wakes.schedules.notified() => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// Has happen what is due; says how long there is nothing to do.
async fn look(context: &Context, known: &mut Known) -> Duration {
    if context.is_winding_down() {
        return LOOK_INTERVAL;
    }
    let now_ms = context.now_ms();
    let mut names = std::mem::take(&mut known.again);
    names.append(&mut context.objects.read_mut(|view| std::mem::take(&mut view.buses.changed_schedules)));
    names.extend(known.coming.take_due(now_ms));
    let (turns, stale) = context.objects.read(|view| known.coming.turns(view, &names, now_ms));
    forget_notes(context, known, stale).await;
    known.is_settled &= names.is_empty();
    let failed: Vec<QualifiedName> = stream::iter(turns)
        .map(|turn| async move {
            let name = turn.held.value.spec.spec.name.clone();
            let error = fire(context, turn).await.err()?;
            warn!(schedule = %name, %error, "what is due could not be seen to; trying again");
            Some(name)
        })
        .buffer_unordered(WRITES_AT_ONCE)
        .filter_map(std::future::ready)
        .collect()
        .await;
    known.again.extend(failed);
    settle(context, known);
    known.rest(context.now_ms())
}

impl Known {
    /// How long there is nothing to do: what can't be seen to makes nothing else late.
    fn rest(&self, now_ms: u64) -> Duration {
        let most = if self.again.is_empty() { LOOK_INTERVAL } else { RETRY_INTERVAL };
        let next_ms = self.coming.first_ms();
        next_ms.map_or(most, |next_ms| Duration::from_millis(next_ms.saturating_sub(now_ms).max(1)).min(most))
    }
}

/// Deletes notes of schedules that are gone.
async fn forget_notes(context: &Context, known: &mut Known, stale: Vec<QualifiedName>) {
    if stale.is_empty() {
        return;
    }
    let notes: Vec<Key> = stale.iter().map(keys::schedule_notes).collect();
    if let Err(error) = context.objects.delete_all::<ScheduleNotes>(notes).await {
        warn!(%error, "notes of schedules that are gone could not be deleted; trying again");
        known.again.extend(stale);
    }
}

/// Tells the buses which times may be handed over again: those that are in notes yet. All of these are of schedules that are looked
/// at again; and of those that can't be read, or that changed since they were looked at, they go on knowing all.
fn settle(context: &Context, known: &mut Known) {
    if known.is_settled {
        return;
    }
    let (open, unknown) = context.objects.read(|view| {
        let open = known.again.iter().flat_map(|name| pending(view, name)).collect();
        let mut unknown = view.unreadable_schedules();
        unknown.extend(view.buses.changed_schedules.iter().cloned());
        (open, unknown)
    });
    context.buses.settle_deliveries(open, unknown);
    known.is_settled = true;
}

/// The times of a schedule that the buses may not have yet, as they know them.
fn pending(view: &View, name: &QualifiedName) -> Vec<(QualifiedName, Arc<str>)> {
    let Some(schedule) = view.event_schedule(name).map(|held| &*held.value) else { return Vec::new() };
    let Some(notes) = view.notes_of_schedule(schedule) else { return Vec::new() };
    let id = |at_ms: &u64| (name.clone(), delivery_id(name, schedule.created_at_ms, *at_ms).into());
    notes.pending_ms.iter().map(id).collect()
}

impl Coming {
    fn set(&mut self, name: &QualifiedName, next_ms: Option<u64>) {
        let before = match next_ms {
            Some(next_ms) => {
                self.by_time.insert((next_ms, name.clone()));
                self.next_ms.insert(name.clone(), next_ms)
            }
            None => self.next_ms.remove(name),
        };
        if let Some(before_ms) = before.filter(|before_ms| next_ms != Some(*before_ms)) {
            self.by_time.remove(&(before_ms, name.clone()));
        }
    }

    /// When the first is due.
    fn first_ms(&self) -> Option<u64> {
        self.by_time.first().map(|(next_ms, _)| *next_ms)
    }

    /// Those that are due by now, which are not known any more.
    fn take_due(&mut self, now_ms: u64) -> Vec<QualifiedName> {
        let mut due = Vec::new();
        while self.first_ms().is_some_and(|next_ms| next_ms <= now_ms) {
            let Some((_, name)) = self.by_time.pop_first() else { break };
            self.next_ms.remove(&name);
            due.push(name);
        }
        due
    }

    /// Those of these schedules of which something is due, or was not handed over yet, and of all others when they are due; and those
    /// that are gone and have notes.
    fn turns(
        &mut self,
        view: &View,
        names: &BTreeSet<QualifiedName>,
        now_ms: u64,
    ) -> (Vec<Turn>, Vec<QualifiedName>) {
        let (mut turns, mut stale) = (Vec::new(), Vec::new());
        for name in names {
            let notes_key = keys::schedule_notes(name);
            let held = view.event_schedule(name).filter(|_| !view.unreadable.contains(&notes_key));
            let Some(held) = held else {
                self.set(name, None);
                if view.has_stale_notes(name) {
                    stale.push(name.clone());
                }
                continue;
            };
            let present = view.buses.notes.get(&notes_key).map_or(0, |held| held.revision);
            let notes = view.notes_of_schedule(&held.value).cloned();
            let notes = notes.unwrap_or_else(|| ScheduleNotes::new(&held.value));
            let due = event_schedule::due(&held.value.spec.spec, notes.state(&held.value), now_ms);
            self.set(name, due.next_ms);
            let is_news = due.state.last_ms != notes.last_ms || !due.fire.is_empty();
            if is_news || !notes.pending_ms.is_empty() {
                turns.push(Turn { held: held.clone(), notes, present, due });
            }
        }
        (turns, stale)
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
    use crate::view::Viewed;

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

    fn put<T: Viewed>(view: &mut View, object: T) {
        let revision = view.generation + 1;
        assert!(view.apply(&object.key(), revision, Some(Arc::new(object))));
    }

    #[test]
    fn a_look_is_at_what_is_due_or_changed_and_at_no_other() {
        let mut view = View::default();
        let minutes = |minutes: u64| minutes * 60_000;
        for (name, times) in
            [("a", "rate(5 minutes)"), ("b", "rate(7 minutes)"), ("c", "at(1970-01-01T00:06:00)")]
        {
            put(&mut view, test_schedule(&format!("default/{name}"), times, 0));
        }
        let mut coming = Coming::default();
        let all = std::mem::take(&mut view.buses.changed_schedules);
        assert_eq!(all.len(), 3);
        let due = |turns: &[Turn]| {
            let of_one =
                |turn: &Turn| (turn.held.value.spec.spec.name.name.to_string(), turn.due.fire.clone());
            turns.iter().map(of_one).collect::<Vec<_>>()
        };
        assert!(coming.turns(&view, &all, 0).0.is_empty());
        assert_eq!(coming.first_ms(), Some(minutes(5)));
        assert!(coming.take_due(minutes(5) - 1).is_empty());
        let names = coming.take_due(minutes(6)).into_iter().collect();
        let (turns, stale) = coming.turns(&view, &names, minutes(6));
        assert_eq!(due(&turns), [("a".to_owned(), vec![minutes(5)]), ("c".to_owned(), vec![minutes(6)])]);
        assert!(stale.is_empty());
        assert_eq!(coming.next_ms.len(), 2, "c never comes again");
        // A clock that was put back makes nothing due.
        assert!(coming.take_due(0).is_empty());
        // What changed is due at another time, what went at none.
        put(&mut view, test_schedule("default/b", "rate(1 hour)", 0));
        let gone = keys::event_schedule(&"default/a".parse().unwrap());
        let revision = view.generation + 1;
        assert!(view.apply::<EventSchedule>(&gone, revision, None));
        let changed = std::mem::take(&mut view.buses.changed_schedules);
        assert!(coming.turns(&view, &changed, minutes(6)).0.is_empty());
        assert_eq!((coming.first_ms(), coming.by_time.len()), (Some(minutes(60)), 1));
    }

    #[test]
    fn what_can_not_be_seen_to_makes_nothing_else_late() {
        let mut known = Known::default();
        assert_eq!(known.rest(1_000), LOOK_INTERVAL);
        let name: QualifiedName = "default/sweep".parse().unwrap();
        known.coming.set(&name, Some(1_050));
        for _ in 0..2 {
            assert_eq!(known.rest(1_000), Duration::from_millis(50));
            assert_eq!(known.rest(2_000), Duration::from_millis(1));
            known.again.insert(name.clone());
        }
        known.coming.set(&name, Some(60_000));
        assert_eq!(known.rest(1_000), RETRY_INTERVAL);
    }

    #[test]
    fn the_times_that_may_come_again_are_those_in_the_notes() {
        let mut view = View::default();
        let schedule = test_schedule("default/sweep", "rate(5 minutes)", 1_000);
        let name = schedule.spec.spec.name.clone();
        put(&mut view, schedule.clone());
        assert!(pending(&view, &name).is_empty());
        let notes = ScheduleNotes { pending_ms: vec![301_000, 601_000], ..ScheduleNotes::new(&schedule) };
        put(&mut view, notes);
        let ids: Vec<Arc<str>> = pending(&view, &name).into_iter().map(|(_, id)| id).collect();
        assert_eq!(ids, [301_000, 601_000].map(|at_ms| delivery(&schedule, at_ms).id));
    }
}

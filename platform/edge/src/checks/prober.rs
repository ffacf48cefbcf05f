//! The checks of one target, again and again: when they follow each other, and what is made of each.
//!
//! The first is at once where nobody has checked the target before. Else it waits for some part of an interval, so that who
//! takes over many targets does not check all of them at the same moment; for the same sake no two intervals are quite alike.
//!
//! What always holds: whoever ends a prober has it write nothing more, so that the slot of a target that has left is not
//! written to.

use super::{Tell, ask};
use crate::chance::Chance;
use crate::daemon::Pool;
use crate::edge::Edge;
use crate::group::{Target, Way};
use skiff_kit::clock::monotonic_ns;
use skiff_ledger::{Meter, TargetState, TaskSlot};
use skiff_plan::target_health;
use skiff_ports::connect::Destination;
use skiff_ports::runtime::TaskEvent;
use skiff_types::{Span, TargetHealthCheck, TargetProtocol, TaskId};
use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until};

/// By which part of it an interval may be shorter, or longer.
const JITTER_PARTS: u64 = 20;
/// The least time from the end of one check to the next.
const PAUSE_MIN: Duration = Duration::from_millis(1);
/// The life of a service's task: it never begins anew.
const LIFE: u32 = 0;

/// A target that is checked.
#[derive(Debug)]
pub(super) struct Subject {
    pub(super) to: To,
    /// What it speaks: what is asked by.
    pub(super) protocol: TargetProtocol,
    pub(super) check: TargetHealthCheck,
    place: Place,
}

/// How it is reached.
#[derive(Debug)]
pub(super) enum To {
    /// An `http` task is called.
    Task(TaskId),
    Pool(Rc<Pool>),
}

/// Where in the ledger its state is.
#[derive(Debug)]
enum Place {
    Task(TaskSlot),
    Address(Meter),
}

impl Subject {
    /// A target that is to be checked so; nothing if the ledger has no place for what comes of it.
    pub(super) fn of(target: &Target, protocol: TargetProtocol, check: &TargetHealthCheck) -> Option<Self> {
        let place = match (&target.slot, &target.meter) {
            (Some(slot), _) => Place::Task(slot.clone()),
            (None, meter) => Place::Address(meter.clone()?),
        };
        let to = match &target.way {
            Way::Call(task) => To::Task(*task),
            Way::Connect(pool) => To::Pool(pool.clone()),
        };
        Some(Self { to, protocol, check: check.clone(), place })
    }

    /// Whether to check one is to check the other.
    fn is(&self, other: &Self) -> bool {
        let is_there = match (&self.to, &other.to) {
            (To::Task(task), To::Task(other)) => task == other,
            (To::Pool(pool), To::Pool(other)) => Rc::ptr_eq(pool, other),
            (To::Task(_), To::Pool(_)) | (To::Pool(_), To::Task(_)) => false,
        };
        is_there
            && (self.protocol, &self.check) == (other.protocol, &other.check)
            && std::ptr::eq(self.place.state(), other.place.state())
    }

    /// The account of the task that it is, to be written by `worker`.
    pub(super) fn slot(&self) -> Option<&TaskSlot> {
        match &self.place {
            Place::Task(slot) => Some(slot),
            Place::Address(_) => None,
        }
    }

    /// The task of a service that it is.
    fn task(&self) -> Option<TaskId> {
        match &self.to {
            To::Task(task) => Some(*task),
            To::Pool(pool) => match pool.destination() {
                Destination::Task { task, .. } => Some(*task),
                Destination::Virtual(_) | Destination::Outside(_) => None,
            },
        }
    }

    /// What is told of it. That a daemon is healthy is not for its group to say: its own checks do.
    fn event(&self, word: u64, healthy: bool) -> Option<TaskEvent> {
        let is_said = !healthy || matches!(self.to, To::Task(_));
        let task = self.task().filter(|_| is_said)?;
        let reason = if healthy { String::new() } else { self.reason(task, word) };
        Some(TaskEvent::Health { task, life: LIFE, healthy, reason })
    }

    fn reason(&self, task: TaskId, word: u64) -> String {
        let judge = target_health::Judge::Checks;
        let told = target_health::told(&task.to_string(), word, judge, true, false, false);
        let TargetHealthCheck { path, unhealthy, .. } = &self.check;
        let what = path.as_deref().map_or_else(String::new, |path| format!(" of {path}"));
        format!("{}: {unhealthy} checks{what} in a row failed", told.description)
    }
}

impl Place {
    /// Where it is. Who reads what is there makes memory for it, unless it counts as used.
    fn state(&self) -> &TargetState {
        match self {
            Self::Task(slot) => slot.target(),
            Self::Address(meter) => meter.target(),
        }
    }

    /// From here on it counts as used, so that it is cleared with its slot.
    fn state_to_write(&self, worker: usize) -> &TargetState {
        match self {
            Self::Task(slot) => {
                slot.row(worker);
            }
            Self::Address(meter) => {
                meter.row(worker);
            }
        }
        self.state()
    }
}

/// Checks a target until this is dropped.
pub(super) struct Prober {
    subject: Rc<Subject>,
    probing: JoinHandle<()>,
}

impl Drop for Prober {
    fn drop(&mut self) {
        self.probing.abort();
    }
}

impl Prober {
    /// Checks it from now on; `places` are those of its group.
    pub(super) fn start(edge: &Rc<Edge>, subject: Subject, places: &Rc<Semaphore>, tell: &Tell) -> Self {
        let subject = Rc::new(subject);
        let probing = keep_probing(edge.clone(), subject.clone(), places.clone(), tell.clone());
        let probing = tokio::task::spawn_local(probing);
        Self { subject, probing }
    }

    /// Whether it checks this target, in this way.
    pub(super) fn is_of(&self, subject: &Subject) -> bool {
        self.subject.is(subject)
    }
}

async fn keep_probing(edge: Rc<Edge>, subject: Rc<Subject>, places: Rc<Semaphore>, tell: Tell) {
    let state = subject.place.state_to_write(edge.worker());
    let interval = subject.check.interval;
    if state.health.load(Relaxed) != 0 {
        sleep(Duration::from_millis(edge.chance().below(interval.ms()))).await;
    }
    let mut known = None;
    loop {
        // Its group's first: who waits for that keeps nobody else from a place.
        let of_group = places.acquire().await;
        let place = edge.to_check().places.acquire().await;
        let began = Instant::now();
        let outcome = ask::ask(&edge, &subject).await;
        drop((place, of_group));
        if let Some(outcome) = outcome {
            let word = target_health::note(state.health.load(Relaxed), outcome, &subject.check);
            state.health.store(word, Relaxed);
            let health = target_health::is_healthy(word);
            if health == Some(true) {
                // For the first time, if it was not before.
                let now_ms = monotonic_ns() / 1_000_000;
                let _ = state.began_ms.compare_exchange(0, now_ms, Relaxed, Relaxed);
            }
            if let Some(healthy) = health.filter(|_| health != known)
                && let Some(event) = subject.event(word, healthy)
            {
                tell(event);
            }
            known = health.or(known);
        }
        sleep_until((began + pause(interval, edge.chance())).max(Instant::now() + PAUSE_MIN)).await;
    }
}

/// From the beginning of one check to that of the next.
fn pause(interval: Span, chance: &Chance) -> Duration {
    let jitter_ms = interval.ms() / JITTER_PARTS;
    Duration::from_millis(interval.ms() - jitter_ms + chance.below(2 * jitter_ms + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_differ_a_little() {
        let chance = Chance::new(1);
        let pauses: Vec<u128> =
            (0..1_000).map(|_| pause(Span::from_ms(10_000), &chance).as_millis()).collect();
        assert!(pauses.iter().all(|ms| (9_500..=10_500).contains(ms)), "{pauses:?}");
        assert!(pauses.iter().any(|ms| *ms < 9_700) && pauses.iter().any(|ms| *ms > 10_300));
        assert_eq!(pause(Span::from_ms(7), &chance), Duration::from_millis(7));
    }
}

//! Alarms as they were evaluated last in this life of the process, and of which of them a period has ended.
//!
//! It deliberately evaluates nothing (`reconcile::alarms` does), and keeps nothing that must outlive the process: in which state
//! an alarm is, its notes say. What always holds: what is said of an alarm is of the alarm as its user wants it now, and of a
//! state that is in the store.

mod post;

pub(crate) use post::posts;

use crate::keys;
use crate::model::Alarm;
use crate::view::{Held, View};
use skiff_plan::scaling::AlarmSignal;
use skiff_ports::store::Revision;
use skiff_types::{AlarmSpec, MetricOf, QualifiedName, Resolution, SeriesId};
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// How late values of guests may come, in milliseconds: workers gather them for a moment. A datapoint that lacked them would be
/// looked at once, and never again.
const CUSTOM_LATE_MS: u64 = 500;

/// What is known of alarms. Shared by who evaluates them, who posts their changes, and who follows them.
#[derive(Debug, Default)]
pub(crate) struct Alarms {
    known: Mutex<HashMap<QualifiedName, Known>>,
    /// Told when there may be something to post.
    pub(crate) to_post: Notify,
}

/// What is known of one.
#[derive(Debug)]
struct Known {
    /// The alarm's revision: of one that was changed, nothing is known.
    revision: Revision,
    /// The end of the last period that needs no evaluation any more.
    done_ms: u64,
    signal: Option<AlarmSignal>,
}

/// What there is to do about alarms.
#[derive(Debug, Default)]
pub(crate) struct Due {
    /// What those watch that are seen for the first time; it is to be measured until their first period has ended.
    pub(crate) new: Vec<SeriesId>,
    /// Those that are to be evaluated, each with the end of its latest period.
    pub(crate) ended: Vec<(Held<Alarm>, u64)>,
}

impl Alarms {
    /// An alarm as it was evaluated last; none if there is none, or it was not evaluated yet in this life of the process.
    pub(crate) fn signal(&self, alarm: &QualifiedName) -> Option<AlarmSignal> {
        self.known().get(alarm)?.signal
    }

    /// Of which alarms a period has ended by now. One that is new, or was changed, is evaluated with the first period that ends
    /// from now on, when there is something that was measured for it.
    pub(crate) fn due(&self, view: &View, now_ms: u64) -> Due {
        let mut known = self.known();
        known.retain(|name, one| view.alarm(name).is_some_and(|held| held.revision == one.revision));
        let mut due = Due::default();
        for held in view.alarms.declared.all() {
            let spec = &held.value.spec;
            // Of one whose notes can't be read nobody knows what it was.
            if !view.unreadable.is_empty() && view.unreadable.contains(&keys::alarm_notes(&spec.name)) {
                known.remove(&spec.name);
                continue;
            }
            let end_ms = last_end_ms(spec, now_ms);
            match known.get(&spec.name) {
                Some(one) if one.done_ms == end_ms => {}
                Some(_) => due.ended.push((held.clone(), end_ms)),
                None => {
                    due.new.push(spec.metric.clone());
                    let one = Known { revision: held.revision, done_ms: end_ms, signal: None };
                    known.insert(spec.name.clone(), one);
                }
            }
        }
        due
    }

    /// An alarm was evaluated for its period that ended then, and its state is in the store.
    pub(crate) fn evaluated(&self, alarm: &Held<Alarm>, end_ms: u64, signal: AlarmSignal) {
        let mut known = self.known();
        let one = known.get_mut(&alarm.value.spec.name);
        if let Some(one) = one.filter(|one| one.revision == alarm.revision) {
            one.done_ms = end_ms;
            one.signal = Some(signal);
        }
    }

    /// An alarm is gone.
    pub(crate) fn forget(&self, alarm: &QualifiedName) {
        self.known().remove(alarm);
    }

    fn known(&self) -> MutexGuard<'_, HashMap<QualifiedName, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// When the latest period ended that an alarm is to be evaluated for. Of a period of a minute or more one ends each minute, so
/// that periods overlap. One of which values may still be on their way has not ended yet.
fn last_end_ms(spec: &AlarmSpec, now_ms: u64) -> u64 {
    let late_ms = match spec.metric.of {
        MetricOf::Service(_) | MetricOf::Task(_) => 0,
        MetricOf::Custom(_) => CUSTOM_LATE_MS,
    };
    let now_ms = now_ms.saturating_sub(late_ms);
    now_ms - now_ms % spec.period.ms().min(Resolution::Minute.span_ms())
}

#[cfg(test)]
pub(crate) mod tests;

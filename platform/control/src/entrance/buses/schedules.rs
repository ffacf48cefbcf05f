//! Schedules: made, changed, shown with when they are due, removed. That what is due happens is the reconciler's business.

use super::super::balancer::not_there;
use super::super::page::page;
use super::super::{Entrance, IfMatch};
use super::check_room;
use super::targets::check_target;
use crate::error::ApiError;
use crate::keys;
use crate::model::{EventSchedule, ScheduleNotes, TimedSpec};
use crate::view::{Held, View};
use skiff_api::{EventScheduleStatus, Page, PageQuery, PutEventSchedule};
use skiff_plan::event_schedule::{self, ScheduleState};
use skiff_types::{EventScheduleSpec, Namespace, QualifiedName};
use tracing::info;

/// The most schedules.
const SCHEDULES_MAX: usize = 10_000;

impl Entrance {
    /// Creates a schedule, or replaces all that it says.
    pub(crate) async fn put_event_schedule(
        &self,
        name: &QualifiedName,
        request: PutEventSchedule,
        if_match: IfMatch,
    ) -> Result<skiff_api::EventSchedule, ApiError> {
        let asked = request.to_domain(name.clone()).map_err(ApiError::invalid)?;
        event_schedule::check(&asked).map_err(ApiError::invalid)?;
        let _alone = self.context.routing.lock().await;
        let spec = |present: Option<&TimedSpec>| -> Result<TimedSpec, ApiError> {
            self.context.objects.read(|view| {
                let count = view.buses.schedules.len();
                check_room(present.is_none(), count, SCHEDULES_MAX, "schedules", "schedule")?;
                check_target(view, &name.namespace, &asked.target)
            })?;
            Ok(TimedSpec::changed(asked.clone(), present, self.context.now_ms()))
        };
        let held = self.declare(&keys::event_schedule(name), if_match, spec).await?;
        self.context.objects.wakes.schedules.notify_one();
        info!(schedule = %name, "wanted");
        Ok(self.context.objects.read(|view| self.shown_schedule(view, &held)))
    }

    /// Lists schedules by name.
    pub(crate) fn list_event_schedules(
        &self,
        namespace: &Namespace,
        query: &PageQuery,
    ) -> Result<Page<skiff_api::EventSchedule>, ApiError> {
        self.context.objects.read(|view| {
            let schedules = view.buses.schedules.under(&keys::in_namespace("eventschedule", namespace));
            let schedules =
                schedules.map(|held| (held.value.spec.spec.name.name.to_string(), held)).collect();
            page(schedules, query.limit, query.cursor.as_deref(), |held| self.shown_schedule(view, held))
        })
    }

    /// Shows a schedule.
    pub(crate) fn get_event_schedule(
        &self,
        name: &QualifiedName,
    ) -> Result<skiff_api::EventSchedule, ApiError> {
        self.context.objects.read(|view| {
            let held = view.event_schedule(name).ok_or_else(|| no_schedule(view, name))?;
            Ok(self.shown_schedule(view, held))
        })
    }

    /// Removes a schedule.
    pub(crate) async fn delete_event_schedule(
        &self,
        name: &QualifiedName,
        if_match: IfMatch,
    ) -> Result<(), ApiError> {
        let _alone = self.context.routing.lock().await;
        let missing = |view: &View| no_schedule(view, name);
        self.withdraw::<TimedSpec>(&keys::event_schedule(name), if_match, missing, |_| Ok(())).await?;
        // So that its notes go as well.
        self.context.objects.wakes.schedules.notify_one();
        info!(schedule = %name, "the schedule is removed");
        Ok(())
    }

    fn shown_schedule(&self, view: &View, held: &Held<EventSchedule>) -> skiff_api::EventSchedule {
        let EventSchedule { spec: timed, created_at_ms, updated_at_ms } = &*held.value;
        let new = ScheduleNotes::new(&held.value);
        let state = view.notes_of_schedule(&held.value).unwrap_or(&new).state(&held.value);
        let next_ms = coming(&timed.spec, state, self.context.now_ms());
        let status = EventScheduleStatus { last_ms: state.last_ms, next_ms };
        skiff_api::EventSchedule::new(&timed.spec, held.revision, status, (*created_at_ms, *updated_at_ms))
    }
}

/// When a schedule is due next, as often as is shown.
fn coming(spec: &EventScheduleSpec, state: ScheduleState, now_ms: u64) -> Vec<u64> {
    let after = |state: ScheduleState, at_ms: u64| event_schedule::due(spec, state, at_ms);
    let mut due = after(state, now_ms);
    let mut coming = Vec::new();
    while let Some(next_ms) = due.next_ms.filter(|_| coming.len() < EventScheduleStatus::NEXT_MAX) {
        coming.push(next_ms);
        due = after(ScheduleState { last_ms: Some(next_ms), ..due.state }, next_ms);
    }
    coming
}

fn no_schedule(view: &View, name: &QualifiedName) -> ApiError {
    let QualifiedName { namespace, name: schedule } = name;
    let missing = format!(
        "there is no schedule {schedule} in the namespace {namespace}; make it with `skiff schedule put {schedule}`, `skiff \
         schedule ls` lists those that there are"
    );
    not_there(view, &keys::event_schedule(name), missing)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::test_schedule;

    #[test]
    fn the_next_times_are_those_of_the_schedule() {
        let schedule = test_schedule("default/sweep", "rate(5 minutes)", 0);
        let state = ScheduleNotes::new(&schedule).state(&schedule);
        assert_eq!(coming(&schedule.spec.spec, state, 0), [300_000, 600_000, 900_000]);
        assert_eq!(coming(&schedule.spec.spec, state, 310_000), [600_000, 900_000, 1_200_000]);
        let once = test_schedule("default/once", "at(1970-01-01T00:10:00)", 0);
        assert_eq!(coming(&once.spec.spec, ScheduleNotes::new(&once).state(&once), 0), [600_000]);
        let disabled = EventScheduleSpec { enabled: false, ..schedule.spec.spec.clone() };
        assert!(coming(&disabled, state, 0).is_empty());
    }
}

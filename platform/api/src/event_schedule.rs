//! Schedules: what happens when it is time. The words are those of EventBridge Scheduler.
//!
//! What a call leaves out gets its default: a call replaces all that a schedule says.

use crate::event_target::EventTarget;
use crate::{InvalidSpec, text};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skiff_types::{EventScheduleSpec, LocalTime, Missed, Name, Namespace, QualifiedName, Schedule, Zone};

/// A schedule that is to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PutEventSchedule {
    /// When.
    #[schemars(with = "text::Schedule")]
    pub schedule: Schedule,
    /// Where the clock hangs that it goes by; UTC where left out.
    #[serde(default)]
    #[schemars(with = "text::Zone")]
    pub zone: Zone,
    /// Not before this, by that clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::LocalTime>")]
    pub start: Option<LocalTime>,
    /// Not at or after this, by that clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::LocalTime>")]
    pub end: Option<LocalTime>,
    /// What becomes of times that passed while the platform was down, or the schedule was disabled; `once` where left out.
    #[serde(default)]
    #[schemars(with = "text::Missed")]
    pub missed: Missed,
    /// Whether it is due at all; it is where left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// What happens then.
    pub target: EventTarget,
}

impl PutEventSchedule {
    /// What this means for a schedule of this name; an error says what to do. Whether it is ever due, and whether what it leads to
    /// is there, it does not know.
    pub fn to_domain(&self, name: QualifiedName) -> Result<EventScheduleSpec, InvalidSpec> {
        // There is one, so it needs no name of its own.
        let target = self.target.to_domain(name.name.clone())?;
        Ok(EventScheduleSpec {
            name,
            schedule: self.schedule.clone(),
            zone: self.zone.clone(),
            start: self.start,
            end: self.end,
            missed: self.missed,
            enabled: self.enabled.unwrap_or(true),
            target,
        })
    }
}

/// The call that makes it so, nothing left out.
impl From<&EventScheduleSpec> for PutEventSchedule {
    fn from(spec: &EventScheduleSpec) -> Self {
        Self {
            schedule: spec.schedule.clone(),
            zone: spec.zone.clone(),
            start: spec.start,
            end: spec.end,
            missed: spec.missed,
            enabled: Some(spec.enabled),
            target: EventTarget::said(&spec.target, None),
        }
    }
}

/// A schedule, and when it is due.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EventSchedule {
    /// Its name.
    #[schemars(with = "text::Name")]
    pub name: Name,
    /// Where it lives.
    #[schemars(with = "text::Namespace")]
    pub namespace: Namespace,
    /// Its revision, for `If-Match`.
    pub revision: u64,
    /// When.
    #[schemars(with = "text::Schedule")]
    pub schedule: Schedule,
    /// Where the clock hangs that it goes by.
    #[schemars(with = "text::Zone")]
    pub zone: Zone,
    /// Not before this, by that clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::LocalTime>")]
    pub start: Option<LocalTime>,
    /// Not at or after this, by that clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::LocalTime>")]
    pub end: Option<LocalTime>,
    /// What becomes of times that passed while nobody looked.
    #[schemars(with = "text::Missed")]
    pub missed: Missed,
    /// Whether it is due at all.
    pub enabled: bool,
    /// What happens then.
    pub target: EventTarget,
    /// When it is or was.
    pub status: EventScheduleStatus,
    /// When it was made, in milliseconds since 1970.
    pub created_at_ms: u64,
    /// When it was last changed by its user, in milliseconds since 1970.
    pub updated_at_ms: u64,
}

/// When a schedule is and was due.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EventScheduleStatus {
    /// The last time that it happened or was let pass, in milliseconds since 1970; absent before the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_ms: Option<u64>,
    /// When it is due next, [`EventScheduleStatus::NEXT_MAX`] times at most, in milliseconds since 1970; none if it is not any
    /// more, or disabled.
    pub next_ms: Vec<u64>,
}

impl EventScheduleStatus {
    /// Coming times that are shown.
    pub const NEXT_MAX: usize = 3;
}

impl EventSchedule {
    /// A schedule that is to be so, with when it was made and changed.
    pub fn new(
        spec: &EventScheduleSpec,
        revision: u64,
        status: EventScheduleStatus,
        (created_at_ms, updated_at_ms): (u64, u64),
    ) -> Self {
        let QualifiedName { namespace, name } = spec.name.clone();
        let PutEventSchedule { schedule, zone, start, end, missed, enabled: _, target } = spec.into();
        let enabled = spec.enabled;
        Self {
            name,
            namespace,
            revision,
            schedule,
            zone,
            start,
            end,
            missed,
            enabled,
            target,
            status,
            created_at_ms,
            updated_at_ms,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_left_out_has_its_default_and_what_is_shown_makes_it_so() {
        let body: PutEventSchedule = serde_json::from_value(json!({
            "schedule": "rate(5 minutes)", "target": { "to": { "queue": { "name": "orders" } } },
        }))
        .unwrap();
        let spec = body.to_domain("shop/sweep".parse().unwrap()).unwrap();
        assert_eq!((spec.zone.as_str(), spec.missed, spec.enabled), ("UTC", Missed::Once, true));
        let body: PutEventSchedule = serde_json::from_value(json!({
            "schedule": "cron(0 9 ? * MON-FRI *)", "zone": "Europe/Berlin", "start": "2026-01-01T00:00:00",
            "end": "2027-01-01T00:00:00", "missed": "all", "enabled": false,
            "target": { "to": { "task": { "definition": "sweep:3" } }, "input": { "constant": { "a": 1 } } },
        }))
        .unwrap();
        let spec = body.to_domain("shop/sweep".parse().unwrap()).unwrap();
        let said = PutEventSchedule::from(&spec);
        assert_eq!(said.to_domain(spec.name.clone()).unwrap(), spec);
        let status = EventScheduleStatus { last_ms: None, next_ms: vec![] };
        let shown = serde_json::to_value(EventSchedule::new(&spec, 7, status, (1, 2))).unwrap();
        for (field, value) in serde_json::to_value(said).unwrap().as_object().unwrap() {
            assert_eq!(&shown[field], value, "{field}");
        }
    }
}

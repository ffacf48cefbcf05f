//! The records of what moves the counts of services' tasks, and of what is noted of that.

use super::{Stored, record};
use crate::keys;
use crate::model::{Scaling, ScalingNotes};
use serde::{Deserialize, Serialize};
use skiff_plan::scaling::{Activity, Memory, PolicyMemory, ScheduleMemory};
use skiff_ports::store::Key;
use skiff_types::{
    Adjustment, Bounds, Dimensions, MetricName, MetricOf, MetricValue, Name, Policy, QualifiedName,
    ScalingActivity, ScalingSpec, Schedule, ScheduledScaling, SeriesId, Span, Statistic, StepAdjustment,
    StepScaling, TargetTracking, Zone,
};
use std::sync::Arc;

record!(
    StepRecord = StepAdjustment {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        lower: Option<MetricValue>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        upper: Option<MetricValue>,
        adjustment: i32,
    }
);

record!(
    BoundsRecord = Bounds {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        min: Option<u32>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        max: Option<u32>,
    }
);

record!(ActivityRecord = Activity { at_ms: u64, from: u32, to: u32 });

record!(
    DoneRecord = ScalingActivity {
        before: u32,
        after: u32,
        min: u32,
        max: u32,
        began_at_ms: u64,
        ended_at_ms: u64,
        cause: String,
    }
);

/// What follows a metric or an alarm.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum PolicyRecord {
    TargetTracking {
        name: Name,
        of: MetricOf,
        metric: MetricName,
        #[serde(default, skip_serializing_if = "Dimensions::is_empty")]
        dimensions: Dimensions,
        statistic: Statistic,
        target: MetricValue,
        scale_out_cooldown: Span,
        scale_in_cooldown: Span,
        disable_scale_in: bool,
    },
    Step {
        name: Name,
        alarm: Name,
        adjustment: Adjustment,
        steps: Vec<StepRecord>,
        cooldown: Span,
        min_magnitude: u32,
    },
}

impl From<&Policy> for PolicyRecord {
    fn from(policy: &Policy) -> Self {
        match policy {
            Policy::TargetTracking(tracking) => Self::TargetTracking {
                name: tracking.name.clone(),
                of: tracking.metric.of.clone(),
                metric: tracking.metric.metric.clone(),
                dimensions: tracking.metric.dimensions.clone(),
                statistic: tracking.statistic,
                target: tracking.target,
                scale_out_cooldown: tracking.scale_out_cooldown,
                scale_in_cooldown: tracking.scale_in_cooldown,
                disable_scale_in: tracking.disable_scale_in,
            },
            Policy::Step(step) => Self::Step {
                name: step.name.clone(),
                alarm: step.alarm.clone(),
                adjustment: step.adjustment,
                steps: step.steps.iter().map(StepRecord::from).collect(),
                cooldown: step.cooldown,
                min_magnitude: step.min_magnitude,
            },
        }
    }
}

impl From<PolicyRecord> for Policy {
    fn from(record: PolicyRecord) -> Self {
        match record {
            PolicyRecord::TargetTracking {
                name,
                of,
                metric,
                dimensions,
                statistic,
                target,
                scale_out_cooldown,
                scale_in_cooldown,
                disable_scale_in,
            } => Self::TargetTracking(TargetTracking {
                name,
                metric: SeriesId { of, metric, dimensions },
                statistic,
                target,
                scale_out_cooldown,
                scale_in_cooldown,
                disable_scale_in,
            }),
            PolicyRecord::Step { name, alarm, adjustment, steps, cooldown, min_magnitude } => {
                let steps = steps.into_iter().map(StepAdjustment::from).collect();
                Self::Step(StepScaling { name, alarm, adjustment, steps, cooldown, min_magnitude })
            }
        }
    }
}

/// New bounds at a time.
#[derive(Serialize, Deserialize)]
struct ScheduledRecord {
    name: Name,
    schedule: Schedule,
    zone: Zone,
    bounds: BoundsRecord,
}

/// A scaling's record.
#[derive(Serialize, Deserialize)]
pub(crate) struct ScalingRecord {
    service: QualifiedName,
    min: u32,
    max: u32,
    policies: Vec<PolicyRecord>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    schedules: Vec<ScheduledRecord>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    scale_in_protected: bool,
    created_at_ms: u64,
    updated_at_ms: u64,
}

impl From<&Scaling> for ScalingRecord {
    fn from(object: &Scaling) -> Self {
        let spec = &*object.spec;
        let scheduled = |scheduled: &ScheduledScaling| ScheduledRecord {
            name: scheduled.name.clone(),
            schedule: scheduled.schedule.clone(),
            zone: scheduled.zone.clone(),
            bounds: (&scheduled.bounds).into(),
        };
        Self {
            service: spec.service.clone(),
            min: spec.min,
            max: spec.max,
            policies: spec.policies.iter().map(PolicyRecord::from).collect(),
            schedules: spec.schedules.iter().map(scheduled).collect(),
            scale_in_protected: spec.scale_in_protected,
            created_at_ms: object.created_at_ms,
            updated_at_ms: object.updated_at_ms,
        }
    }
}

impl From<ScalingRecord> for Scaling {
    fn from(record: ScalingRecord) -> Self {
        let scheduled = |scheduled: ScheduledRecord| ScheduledScaling {
            name: scheduled.name,
            schedule: scheduled.schedule,
            zone: scheduled.zone,
            bounds: scheduled.bounds.into(),
        };
        let spec = ScalingSpec {
            service: record.service,
            min: record.min,
            max: record.max,
            policies: record.policies.into_iter().map(Policy::from).collect(),
            schedules: record.schedules.into_iter().map(scheduled).collect(),
            scale_in_protected: record.scale_in_protected,
        };
        Self {
            spec: Arc::new(spec),
            created_at_ms: record.created_at_ms,
            updated_at_ms: record.updated_at_ms,
        }
    }
}

impl Stored for Scaling {
    const PREFIX: &'static str = "scaling";
    type Record = ScalingRecord;

    fn key(&self) -> Key {
        keys::scaling(&self.spec.service)
    }
}

/// What was done for a policy last.
#[derive(Serialize, Deserialize)]
struct PolicyMemoryRecord {
    name: Name,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    out: Option<ActivityRecord>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    inward: Option<ActivityRecord>,
    acted_on_ms: u64,
}

/// When a schedule was due last.
#[derive(Serialize, Deserialize)]
struct ScheduleMemoryRecord {
    name: Name,
    schedule: Schedule,
    zone: Zone,
    last_ms: u64,
}

/// What is remembered between decisions.
#[derive(Serialize, Deserialize)]
struct MemoryRecord {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    policies: Vec<PolicyMemoryRecord>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    schedules: Vec<ScheduleMemoryRecord>,
    bounds: BoundsRecord,
}

impl From<&Memory> for MemoryRecord {
    fn from(memory: &Memory) -> Self {
        let policy = |(name, known): (&Name, &PolicyMemory)| PolicyMemoryRecord {
            name: name.clone(),
            out: known.out.as_ref().map(ActivityRecord::from),
            inward: known.inward.as_ref().map(ActivityRecord::from),
            acted_on_ms: known.acted_on_ms,
        };
        let schedule = |(name, known): (&Name, &ScheduleMemory)| ScheduleMemoryRecord {
            name: name.clone(),
            schedule: known.schedule.clone(),
            zone: known.zone.clone(),
            last_ms: known.last_ms,
        };
        Self {
            policies: memory.policies.iter().map(policy).collect(),
            schedules: memory.schedules.iter().map(schedule).collect(),
            bounds: (&memory.bounds).into(),
        }
    }
}

impl From<MemoryRecord> for Memory {
    fn from(record: MemoryRecord) -> Self {
        let policy = |record: PolicyMemoryRecord| {
            let (out, inward) = (record.out.map(Activity::from), record.inward.map(Activity::from));
            (record.name, PolicyMemory { out, inward, acted_on_ms: record.acted_on_ms })
        };
        let schedule = |record: ScheduleMemoryRecord| {
            let ScheduleMemoryRecord { name, schedule, zone, last_ms } = record;
            (name, ScheduleMemory { schedule, zone, last_ms })
        };
        Self {
            policies: record.policies.into_iter().map(policy).collect(),
            schedules: record.schedules.into_iter().map(schedule).collect(),
            bounds: record.bounds.into(),
        }
    }
}

/// What is noted of a scaling.
#[derive(Serialize, Deserialize)]
pub(crate) struct ScalingNotesRecord {
    service: QualifiedName,
    scaling_created_at_ms: u64,
    scaling_updated_at_ms: u64,
    memory: MemoryRecord,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    under_way: Option<DoneRecord>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    activities: Vec<DoneRecord>,
}

impl From<&ScalingNotes> for ScalingNotesRecord {
    fn from(object: &ScalingNotes) -> Self {
        Self {
            service: object.service.clone(),
            scaling_created_at_ms: object.scaling_created_at_ms,
            scaling_updated_at_ms: object.scaling_updated_at_ms,
            memory: (&object.memory).into(),
            under_way: object.under_way.as_ref().map(DoneRecord::from),
            activities: object.activities.iter().map(DoneRecord::from).collect(),
        }
    }
}

impl From<ScalingNotesRecord> for ScalingNotes {
    fn from(record: ScalingNotesRecord) -> Self {
        Self {
            service: record.service,
            scaling_created_at_ms: record.scaling_created_at_ms,
            scaling_updated_at_ms: record.scaling_updated_at_ms,
            memory: record.memory.into(),
            under_way: record.under_way.map(ScalingActivity::from),
            activities: record.activities.into_iter().map(ScalingActivity::from).collect(),
        }
    }
}

impl Stored for ScalingNotes {
    const PREFIX: &'static str = "scalingnotes";
    type Record = ScalingNotesRecord;

    fn key(&self) -> Key {
        keys::scaling_notes(&self.service)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Declared;
    use crate::records::tests::check;

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    #[test]
    fn what_is_on_disk_today_is_read_tomorrow() {
        let tracking = TargetTracking {
            name: name("depth"),
            metric: SeriesId {
                of: "namespace:shop".parse().unwrap(),
                metric: "queue/depth".parse().unwrap(),
                dimensions: "queue=mails".parse().unwrap(),
            },
            statistic: Statistic::Average,
            target: "0.5".parse().unwrap(),
            scale_out_cooldown: Span::from_ms(10_000),
            scale_in_cooldown: Span::from_ms(60_000),
            disable_scale_in: true,
        };
        let step = StepScaling {
            name: name("busy"),
            alarm: name("busy"),
            adjustment: Adjustment::ChangeInCapacity,
            steps: vec![StepAdjustment { lower: Some(0.into()), upper: None, adjustment: 2 }],
            cooldown: Span::from_ms(60_000),
            min_magnitude: 0,
        };
        let day = ScheduledScaling {
            name: name("day"),
            schedule: "cron(0 8 ? * MON-FRI *)".parse().unwrap(),
            zone: "Europe/Berlin".parse().unwrap(),
            bounds: Bounds { min: Some(4), max: None },
        };
        let spec = ScalingSpec {
            service: "shop/web".parse().unwrap(),
            min: 2,
            max: 10,
            policies: vec![Policy::TargetTracking(tracking), Policy::Step(step)],
            schedules: vec![day],
            scale_in_protected: true,
        };
        check(
            &Declared { spec: Arc::new(spec), created_at_ms: 1, updated_at_ms: 2 },
            r#"{"service":"shop/web","min":2,"max":10,"policies":[{"target_tracking":{"name":"depth","of":"namespace:shop","metric":"queue/depth","dimensions":"queue=mails","statistic":"Average","target":"0.5","scale_out_cooldown":"10s","scale_in_cooldown":"1m","disable_scale_in":true}},{"step":{"name":"busy","alarm":"busy","adjustment":"ChangeInCapacity","steps":[{"lower":"0","adjustment":2}],"cooldown":"1m","min_magnitude":0}}],"schedules":[{"name":"day","schedule":"cron(0 8 ? * MON-FRI *)","zone":"Europe/Berlin","bounds":{"min":4}}],"scale_in_protected":true,"created_at_ms":1,"updated_at_ms":2}"#,
        );
        let known =
            PolicyMemory { out: Some(Activity { at_ms: 7, from: 2, to: 5 }), inward: None, acted_on_ms: 6 };
        let due =
            ScheduleMemory { schedule: "rate(1 hour)".parse().unwrap(), zone: Zone::default(), last_ms: 3 };
        let activity = ScalingActivity {
            before: 2,
            after: 5,
            min: 2,
            max: 10,
            began_at_ms: 7,
            ended_at_ms: 8,
            cause: "so".to_owned(),
        };
        let notes = ScalingNotes {
            service: "shop/web".parse().unwrap(),
            scaling_created_at_ms: 1,
            scaling_updated_at_ms: 2,
            memory: Memory {
                policies: [(name("busy"), known)].into(),
                schedules: [(name("often"), due)].into(),
                bounds: Bounds { min: None, max: Some(9) },
            },
            under_way: Some(activity.clone()),
            activities: vec![activity],
        };
        let done = r#"{"before":2,"after":5,"min":2,"max":10,"began_at_ms":7,"ended_at_ms":8,"cause":"so"}"#;
        check(
            &notes,
            &format!(
                r#"{{"service":"shop/web","scaling_created_at_ms":1,"scaling_updated_at_ms":2,"memory":{{"policies":[{{"name":"busy","out":{{"at_ms":7,"from":2,"to":5}},"acted_on_ms":6}}],"schedules":[{{"name":"often","schedule":"rate(1 hour)","zone":"UTC","last_ms":3}}],"bounds":{{"max":9}}}},"under_way":{done},"activities":[{done}]}}"#
            ),
        );
    }
}

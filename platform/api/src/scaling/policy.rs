//! What moves a count: policies, which follow a metric or an alarm, and schedules, which follow a clock.

use super::number;
use crate::text;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skiff_types::{
    Adjustment, Bounds, Dimensions, Measure, MetricName, MetricOf, MetricValue, Name, Policy, QualifiedName,
    Schedule, ScheduledScaling as DomainSchedule, SeriesId, Span, Statistic, StepAdjustment as DomainStep,
    StepScaling as DomainStepping, TargetTracking as DomainTracking, Zone,
};

/// What follows a metric or an alarm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ScalingPolicy {
    /// As many tasks as keep a metric at a value.
    TargetTracking(TargetTracking),
    /// Steps up or down while an alarm is in `ALARM`.
    Step(StepScaling),
}

/// As many tasks as keep a metric at a value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TargetTracking {
    /// Its name among those of its service.
    #[schemars(with = "text::Name")]
    pub name: Name,
    /// What is tracked: CPUUtilization, MemoryUtilization, RequestCountPerTarget, TargetResponseTime or BacklogPerTask of the
    /// service, also by AWS's names of predefined metrics; any other name is a custom metric of its namespace, of what there is
    /// to do for each task.
    #[schemars(with = "text::MetricName")]
    pub metric: MetricName,
    /// Tell series of a custom metric apart.
    #[serde(default, skip_serializing_if = "Dimensions::is_empty")]
    #[schemars(with = "text::Dimensions")]
    pub dimensions: Dimensions,
    /// What of its values; `Sum` of RequestCountPerTarget and `Average` of all else, where not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::Statistic>")]
    pub statistic: Option<Statistic>,
    /// What it is to be, above 0. A `Sum` or a `SampleCount` is one of a minute.
    #[serde(with = "number")]
    #[schemars(with = "f64")]
    pub target: MetricValue,
    /// After tasks were added: for so long more are added only where they are more than those; 5m where not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::Span>")]
    pub scale_out_cooldown: Option<Span>,
    /// How long calm must have lasted before tasks are taken away, 1 minute at least, and how long no more are after that; 5m
    /// where not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::Span>")]
    pub scale_in_cooldown: Option<Span>,
    /// Whether it never takes a task away by itself.
    #[serde(default)]
    pub disable_scale_in: bool,
}

/// Steps up or down while an alarm is in `ALARM`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StepScaling {
    /// Its name among those of its service.
    #[schemars(with = "text::Name")]
    pub name: Name,
    /// Which alarm it follows, in the service's namespace.
    #[schemars(with = "text::Name")]
    pub alarm: Name,
    /// What the `change` of a step means: ChangeInCapacity where not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::Adjustment>")]
    pub adjustment: Option<Adjustment>,
    /// 1 to 20, in rising order, without gap or overlap.
    pub steps: Vec<StepAdjustment>,
    /// After tasks were added: for so long they count for a part of what is added next. After tasks were taken away: for so long
    /// no more are. 5m where not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::Span>")]
    pub cooldown: Option<Span>,
    /// The fewest tasks by which a percentage changes the count.
    #[serde(default)]
    pub min_magnitude: u32,
}

/// What is done where the metric is so far beyond the alarm's threshold: its value less the threshold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StepAdjustment {
    /// From here on; left out for however far below.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "number::open")]
    #[schemars(with = "Option<f64>")]
    pub lower: Option<MetricValue>,
    /// Up to here; left out for however far above.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "number::open")]
    #[schemars(with = "Option<f64>")]
    pub upper: Option<MetricValue>,
    /// By how many tasks or percent, or to how many tasks.
    pub change: i32,
}

/// New bounds at a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ScheduledScaling {
    /// Its name among those of its service.
    #[schemars(with = "text::Name")]
    pub name: Name,
    /// When.
    #[schemars(with = "text::Schedule")]
    pub schedule: Schedule,
    /// Where the clock hangs that it goes by.
    #[serde(default)]
    #[schemars(with = "text::Zone")]
    pub zone: Zone,
    /// The fewest tasks from then on; what is left out stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<u32>,
    /// The most tasks from then on; what is left out stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<u32>,
}

/// What is meant by a metric's name where AWS predefines one by it.
fn predefined(metric: &MetricName) -> Option<Measure> {
    match metric.as_str() {
        "ECSServiceAverageCPUUtilization" => Some(Measure::CpuUtilization),
        "ECSServiceAverageMemoryUtilization" => Some(Measure::MemoryUtilization),
        "ALBRequestCountPerTarget" => Some(Measure::RequestCountPerTarget),
        _ => None,
    }
}

impl ScalingPolicy {
    /// Its name among those of its service.
    pub fn name(&self) -> &Name {
        match self {
            Self::TargetTracking(tracking) => &tracking.name,
            Self::Step(step) => &step.name,
        }
    }

    pub(super) fn to_domain(&self, service: &QualifiedName) -> Policy {
        match self {
            Self::TargetTracking(tracking) => Policy::TargetTracking(tracking.to_domain(service)),
            Self::Step(step) => Policy::Step(step.to_domain()),
        }
    }
}

impl TargetTracking {
    fn to_domain(&self, service: &QualifiedName) -> DomainTracking {
        let measure = predefined(&self.metric).or_else(|| self.metric.measure());
        let of = match measure {
            Some(_) => MetricOf::Service(service.clone()),
            None => MetricOf::Custom(service.namespace.clone()),
        };
        let metric = measure.map_or_else(|| self.metric.clone(), MetricName::from);
        let usual = measure.map_or(Statistic::Average, Measure::usual_statistic);
        DomainTracking {
            name: self.name.clone(),
            metric: SeriesId { of, metric, dimensions: self.dimensions.clone() },
            statistic: self.statistic.unwrap_or(usual),
            target: self.target,
            scale_out_cooldown: self.scale_out_cooldown.unwrap_or(DomainTracking::COOLDOWN_DEFAULT),
            scale_in_cooldown: self.scale_in_cooldown.unwrap_or(DomainTracking::COOLDOWN_DEFAULT),
            disable_scale_in: self.disable_scale_in,
        }
    }
}

impl StepScaling {
    fn to_domain(&self) -> DomainStepping {
        let step = |step: &StepAdjustment| DomainStep {
            lower: step.lower,
            upper: step.upper,
            adjustment: step.change,
        };
        DomainStepping {
            name: self.name.clone(),
            alarm: self.alarm.clone(),
            adjustment: self.adjustment.unwrap_or(Adjustment::ChangeInCapacity),
            steps: self.steps.iter().map(step).collect(),
            cooldown: self.cooldown.unwrap_or(DomainTracking::COOLDOWN_DEFAULT),
            min_magnitude: self.min_magnitude,
        }
    }
}

impl ScheduledScaling {
    pub(super) fn to_domain(&self) -> DomainSchedule {
        DomainSchedule {
            name: self.name.clone(),
            schedule: self.schedule.clone(),
            zone: self.zone.clone(),
            bounds: Bounds { min: self.min, max: self.max },
        }
    }
}

impl From<&Policy> for ScalingPolicy {
    fn from(policy: &Policy) -> Self {
        match policy {
            Policy::TargetTracking(tracking) => Self::TargetTracking(tracking.into()),
            Policy::Step(step) => Self::Step(step.into()),
        }
    }
}

impl From<&DomainTracking> for TargetTracking {
    fn from(tracking: &DomainTracking) -> Self {
        Self {
            name: tracking.name.clone(),
            metric: tracking.metric.metric.clone(),
            dimensions: tracking.metric.dimensions.clone(),
            statistic: Some(tracking.statistic),
            target: tracking.target,
            scale_out_cooldown: Some(tracking.scale_out_cooldown),
            scale_in_cooldown: Some(tracking.scale_in_cooldown),
            disable_scale_in: tracking.disable_scale_in,
        }
    }
}

impl From<&DomainStepping> for StepScaling {
    fn from(step: &DomainStepping) -> Self {
        Self {
            name: step.name.clone(),
            alarm: step.alarm.clone(),
            adjustment: Some(step.adjustment),
            steps: step.steps.iter().map(Into::into).collect(),
            cooldown: Some(step.cooldown),
            min_magnitude: step.min_magnitude,
        }
    }
}

impl From<&DomainStep> for StepAdjustment {
    fn from(step: &DomainStep) -> Self {
        Self { lower: step.lower, upper: step.upper, change: step.adjustment }
    }
}

impl From<&DomainSchedule> for ScheduledScaling {
    fn from(scheduled: &DomainSchedule) -> Self {
        Self {
            name: scheduled.name.clone(),
            schedule: scheduled.schedule.clone(),
            zone: scheduled.zone.clone(),
            min: scheduled.bounds.min,
            max: scheduled.bounds.max,
        }
    }
}

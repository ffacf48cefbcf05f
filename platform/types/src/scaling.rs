//! Scaling: within which bounds the count of a service's tasks moves, and what moves it.
//!
//! The words are those of Application Auto Scaling. It deliberately decides nothing: `plan` does.

use crate::text::{ParseError, serde_as_text};
use crate::{
    Measure, MetricName, MetricOf, MetricValue, Name, QualifiedName, Schedule, SeriesId, ServiceSpec, Span,
    Statistic, Zone,
};
use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

/// What moves the count of a service's tasks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScalingSpec {
    /// Whose tasks.
    pub service: QualifiedName,
    /// The fewest tasks.
    pub min: u32,
    /// The most tasks.
    pub max: u32,
    /// What follows a metric or an alarm.
    pub policies: Vec<Policy>,
    /// What follows a clock.
    pub schedules: Vec<ScheduledScaling>,
    /// Whether no task is taken away, whatever asks for it.
    pub scale_in_protected: bool,
}

impl ScalingSpec {
    /// The most policies of one service, as at AWS.
    pub const POLICIES_MAX: usize = 50;
    /// The most schedules of one service.
    pub const SCHEDULES_MAX: usize = 100;
    /// The longest cooldown.
    pub const COOLDOWN_MAX: Span = Span::from_ms(86_400_000);

    /// Refuses what can't be followed; an error says what to do.
    pub fn check(&self) -> Result<(), ScalingError> {
        Bounds { min: Some(self.min), max: Some(self.max) }.check()?;
        let (policies, schedules) = (self.policies.len(), self.schedules.len());
        if policies > Self::POLICIES_MAX || schedules > Self::SCHEDULES_MAX {
            return Err(ScalingError::TooMany { policies, schedules });
        }
        let mut names = BTreeSet::new();
        for policy in &self.policies {
            if !names.insert(policy.name()) {
                return Err(ScalingError::Twice { name: policy.name().clone() });
            }
            policy.check(&self.service)?;
        }
        names.clear();
        for schedule in &self.schedules {
            if !names.insert(&schedule.name) {
                return Err(ScalingError::Twice { name: schedule.name.clone() });
            }
            schedule.bounds.check()?;
            if schedule.bounds == Bounds::default() {
                return Err(ScalingError::Nothing { name: schedule.name.clone() });
            }
        }
        Ok(())
    }
}

/// Within which counts a service's tasks move, as far as it is said.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Bounds {
    /// The fewest.
    pub min: Option<u32>,
    /// The most.
    pub max: Option<u32>,
}

impl Bounds {
    fn check(self) -> Result<(), ScalingError> {
        let (min, max) = (self.min.unwrap_or(0), self.max.unwrap_or(ServiceSpec::DESIRED_MAX));
        if min > max || max > ServiceSpec::DESIRED_MAX {
            return Err(ScalingError::Bounds { min, max });
        }
        Ok(())
    }
}

/// What follows a metric or an alarm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Policy {
    /// As many tasks as keep a metric at a value.
    TargetTracking(TargetTracking),
    /// Steps up or down while an alarm is in `ALARM`.
    Step(StepScaling),
}

impl Policy {
    /// Its name among those of its service.
    pub fn name(&self) -> &Name {
        match self {
            Self::TargetTracking(tracking) => &tracking.name,
            Self::Step(step) => &step.name,
        }
    }

    fn check(&self, service: &QualifiedName) -> Result<(), ScalingError> {
        match self {
            Self::TargetTracking(tracking) => tracking.check(service),
            Self::Step(step) => step.check(),
        }
    }
}

/// As many tasks as keep a metric at a value. The metric must fall in the measure in which tasks are added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetTracking {
    /// Its name among those of its service.
    pub name: Name,
    /// What is tracked.
    pub metric: SeriesId,
    /// What of its values. A `Sum` or a `SampleCount` is one of a minute, as AWS counts requests per target.
    pub statistic: Statistic,
    /// What it is to be.
    pub target: MetricValue,
    /// After tasks were added: for so long more are added only where they are more than those.
    pub scale_out_cooldown: Span,
    /// After tasks were taken away: for so long no more are. It is also how long calm must have lasted before any are.
    pub scale_in_cooldown: Span,
    /// Whether it never takes a task away by itself.
    pub disable_scale_in: bool,
}

impl TargetTracking {
    /// Both cooldowns where nothing is said, as at ECS.
    pub const COOLDOWN_DEFAULT: Span = Span::from_ms(300_000);

    fn check(&self, service: &QualifiedName) -> Result<(), ScalingError> {
        let is_own = match &self.metric.of {
            MetricOf::Service(of) => of == service,
            MetricOf::Custom(namespace) => *namespace == service.namespace,
            MetricOf::Task(_) => false,
        };
        if !is_own {
            return Err(ScalingError::Metric { name: self.name.clone(), of: self.metric.of.clone() });
        }
        if !self.falls_with_tasks() {
            return Err(ScalingError::Unshared {
                name: self.name.clone(),
                metric: self.metric.metric.clone(),
            });
        }
        if self.target <= MetricValue::from(0) {
            return Err(ScalingError::Target { name: self.name.clone(), target: self.target });
        }
        check_cooldown(&self.name, self.scale_out_cooldown.max(self.scale_in_cooldown))
    }

    /// Whether the metric falls where tasks are added, as far as that is known: of a custom one, its user knows.
    fn falls_with_tasks(&self) -> bool {
        match (&self.metric.of, self.metric.metric.measure()) {
            (MetricOf::Custom(_), _) => true,
            (MetricOf::Service(_) | MetricOf::Task(_), None) => false,
            (MetricOf::Service(_) | MetricOf::Task(_), Some(measure)) => match measure {
                Measure::CpuUtilization
                | Measure::MemoryUtilization
                | Measure::RequestCountPerTarget
                | Measure::TargetResponseTime
                | Measure::BacklogPerTask => true,
                Measure::RequestCount
                | Measure::Target2xxCount
                | Measure::Target3xxCount
                | Measure::Target4xxCount
                | Measure::Target5xxCount
                | Measure::RunningTaskCount
                | Measure::DesiredTaskCount => false,
            },
        }
    }
}

/// Steps up or down while an alarm is in `ALARM`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepScaling {
    /// Its name among those of its service.
    pub name: Name,
    /// Which alarm it follows, in the service's namespace.
    pub alarm: Name,
    /// What the number of a step means.
    pub adjustment: Adjustment,
    /// By how far the metric is beyond the alarm's threshold; in that order, without gap or overlap.
    pub steps: Vec<StepAdjustment>,
    /// After tasks were added: for so long they count for a part of what is added next. After tasks were taken away: for so
    /// long no more are.
    pub cooldown: Span,
    /// The fewest tasks by which a percentage changes the count.
    pub min_magnitude: u32,
}

impl StepScaling {
    /// The most steps, as at AWS.
    pub const STEPS_MAX: usize = 20;

    fn check(&self) -> Result<(), ScalingError> {
        let error = |problem| ScalingError::Steps { name: self.name.clone(), problem };
        if !(1..=Self::STEPS_MAX).contains(&self.steps.len()) {
            return Err(error("there must be 1 to 20 of them"));
        }
        if self.steps.iter().any(StepAdjustment::is_empty) {
            return Err(error("the lower bound of each must be below its upper bound"));
        }
        // An open end can only be the outermost: beyond it there is no room for another step.
        let joins = |pair: &[StepAdjustment]| pair[0].upper.is_some() && pair[0].upper == pair[1].lower;
        if !self.steps.windows(2).all(joins) {
            return Err(error("each must begin where the one before it ends, in rising order"));
        }
        if self.adjustment == Adjustment::ExactCapacity && self.steps.iter().any(|step| step.adjustment < 0) {
            return Err(error("an exact capacity can't be negative"));
        }
        check_cooldown(&self.name, self.cooldown)
    }
}

fn check_cooldown(name: &Name, cooldown: Span) -> Result<(), ScalingError> {
    if cooldown > ScalingSpec::COOLDOWN_MAX {
        return Err(ScalingError::Cooldown { name: name.clone(), cooldown });
    }
    Ok(())
}

/// What the number of a step means. Application Auto Scaling's `AdjustmentType`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Adjustment {
    /// So many tasks more, or fewer.
    ChangeInCapacity,
    /// So many percent more, or fewer.
    PercentChangeInCapacity,
    /// So many tasks.
    ExactCapacity,
}

impl Adjustment {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::ChangeInCapacity, Self::PercentChangeInCapacity, Self::ExactCapacity];

    /// Its name as AWS writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ChangeInCapacity => "ChangeInCapacity",
            Self::PercentChangeInCapacity => "PercentChangeInCapacity",
            Self::ExactCapacity => "ExactCapacity",
        }
    }
}

impl FromStr for Adjustment {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let found = Self::ALL.into_iter().find(|adjustment| adjustment.as_str() == text);
        found.ok_or_else(|| {
            ParseError::new(
                text,
                "a type of adjustment: ChangeInCapacity, PercentChangeInCapacity or ExactCapacity",
            )
        })
    }
}

impl fmt::Display for Adjustment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

serde_as_text!(Adjustment);

/// What is done where the metric is so far beyond the alarm's threshold: its value less the threshold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StepAdjustment {
    /// From here on; `None` for however far below. Of a value below the threshold, the bound itself is not in.
    pub lower: Option<MetricValue>,
    /// Up to here; `None` for however far above. Of a value at the threshold or above, the bound itself is not in.
    pub upper: Option<MetricValue>,
    /// By how much, or to what.
    pub adjustment: i32,
}

impl StepAdjustment {
    fn is_empty(&self) -> bool {
        matches!((self.lower, self.upper), (Some(lower), Some(upper)) if lower >= upper)
    }
}

/// New bounds at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScheduledScaling {
    /// Its name among those of its service.
    pub name: Name,
    /// When.
    pub schedule: Schedule,
    /// Where the clock hangs that it goes by.
    pub zone: Zone,
    /// What holds from then on; what is not said stays.
    pub bounds: Bounds,
}

/// Why a service can't be scaled in this way.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScalingError {
    /// Bounds in the wrong order, or too high.
    #[error(
        "the bounds are {min} and {max} tasks: the first must not be above the second, and {} are the most of a service",
        ServiceSpec::DESIRED_MAX
    )]
    Bounds {
        /// The fewest.
        min: u32,
        /// The most.
        max: u32,
    },
    /// Too much of it.
    #[error(
        "there are {policies} policies and {schedules} schedules; the most are {} and {}",
        ScalingSpec::POLICIES_MAX,
        ScalingSpec::SCHEDULES_MAX
    )]
    TooMany {
        /// How many policies.
        policies: usize,
        /// How many schedules.
        schedules: usize,
    },
    /// Two of one name.
    #[error("there are two named {name}: give each a name of its own")]
    Twice {
        /// The name.
        name: Name,
    },
    /// A schedule that changes nothing.
    #[error("the schedule {name} changes nothing: give it a minimum, a maximum or both")]
    Nothing {
        /// Which.
        name: Name,
    },
    /// A metric that says nothing of the service.
    #[error(
        "the policy {name} tracks a metric of {of}: take one of the service, or a custom one of its namespace"
    )]
    Metric {
        /// Which policy.
        name: Name,
        /// Whose metric.
        of: MetricOf,
    },
    /// A metric that tasks which are added do not lower.
    #[error(
        "the policy {name} tracks {metric}, which does not fall when tasks are added: take CPUUtilization, \
         MemoryUtilization, RequestCountPerTarget, TargetResponseTime, BacklogPerTask, or a custom metric of what there is to \
         do for each task"
    )]
    Unshared {
        /// Which policy.
        name: Name,
        /// What it tracks.
        metric: MetricName,
    },
    /// A target that can't be reached by adding tasks.
    #[error("the target of the policy {name} is {target}; it must be above 0")]
    Target {
        /// Which policy.
        name: Name,
        /// What was asked for.
        target: MetricValue,
    },
    /// A cooldown that is too long.
    #[error("the cooldown of the policy {name} is {cooldown}; {} is the most", ScalingSpec::COOLDOWN_MAX)]
    Cooldown {
        /// Which policy.
        name: Name,
        /// What was asked for.
        cooldown: Span,
    },
    /// Steps that don't make one scale.
    #[error("the steps of the policy {name} can't be: {problem}")]
    Steps {
        /// Which policy.
        name: Name,
        /// What would be right.
        problem: &'static str,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    fn tracking() -> TargetTracking {
        TargetTracking {
            name: name("requests"),
            metric: SeriesId::of_service("default/web".parse().unwrap(), Measure::RequestCountPerTarget),
            statistic: Statistic::Sum,
            target: 6_000.into(),
            scale_out_cooldown: TargetTracking::COOLDOWN_DEFAULT,
            scale_in_cooldown: TargetTracking::COOLDOWN_DEFAULT,
            disable_scale_in: false,
        }
    }

    fn stepping(bounds: &[(Option<u32>, Option<u32>)]) -> StepScaling {
        let step = |(lower, upper): &(Option<u32>, Option<u32>)| StepAdjustment {
            lower: lower.map(MetricValue::from),
            upper: upper.map(MetricValue::from),
            adjustment: 1,
        };
        StepScaling {
            name: name("steps"),
            alarm: name("busy"),
            adjustment: Adjustment::ChangeInCapacity,
            steps: bounds.iter().map(step).collect(),
            cooldown: Span::from_ms(300_000),
            min_magnitude: 0,
        }
    }

    fn spec(policies: Vec<Policy>) -> ScalingSpec {
        ScalingSpec {
            service: "default/web".parse().unwrap(),
            min: 1,
            max: 10,
            policies,
            schedules: vec![],
            scale_in_protected: false,
        }
    }

    #[test]
    fn steps_join_each_other_and_only_the_outermost_are_open() {
        let check = |bounds: &[_]| stepping(bounds).check();
        assert_eq!(check(&[(None, None)]), Ok(()));
        assert_eq!(check(&[(None, Some(10)), (Some(10), Some(20)), (Some(20), None)]), Ok(()));
        for bad in [
            &[][..],
            &[(Some(10), Some(10))],
            &[(Some(10), Some(0))],
            &[(Some(0), Some(10)), (Some(11), None)],
            &[(Some(0), Some(10)), (Some(9), None)],
            &[(Some(10), None), (Some(0), Some(10))],
            &[(Some(0), None), (None, None)],
            &[(None, None); 21],
        ] {
            assert!(matches!(check(bad), Err(ScalingError::Steps { .. })), "{bad:?} was taken");
        }
        let mut exact = stepping(&[(None, None)]);
        (exact.adjustment, exact.steps[0].adjustment) = (Adjustment::ExactCapacity, -1);
        assert!(exact.check().is_err());
    }

    #[test]
    fn what_cannot_be_followed_is_refused() {
        assert_eq!(spec(vec![Policy::TargetTracking(tracking())]).check(), Ok(()));
        let refused = |change: fn(&mut TargetTracking)| {
            let mut tracking = tracking();
            change(&mut tracking);
            spec(vec![Policy::TargetTracking(tracking)]).check().unwrap_err()
        };
        assert!(matches!(refused(|it| it.target = 0.into()), ScalingError::Target { .. }));
        assert!(matches!(
            refused(|it| it.metric.of = MetricOf::Service("default/other".parse().unwrap())),
            ScalingError::Metric { .. }
        ));
        assert!(matches!(
            refused(|it| it.metric.of = MetricOf::Custom("team".parse().unwrap())),
            ScalingError::Metric { .. }
        ));
        assert!(matches!(
            refused(|it| it.metric.metric = Measure::RequestCount.into()),
            ScalingError::Unshared { .. }
        ));
        assert!(matches!(
            refused(|it| it.metric.metric = "Requests".parse().unwrap()),
            ScalingError::Unshared { .. }
        ));
        assert!(matches!(
            refused(|it| it.scale_in_cooldown = Span::from_ms(86_400_001)),
            ScalingError::Cooldown { .. }
        ));
        let twice = spec(vec![Policy::TargetTracking(tracking()), Policy::TargetTracking(tracking())]);
        assert_eq!(twice.check(), Err(ScalingError::Twice { name: name("requests") }));
        assert_eq!(
            ScalingSpec { min: 11, ..spec(vec![]) }.check(),
            Err(ScalingError::Bounds { min: 11, max: 10 })
        );
        assert_eq!(
            ScalingSpec { max: 1_001, ..spec(vec![]) }.check(),
            Err(ScalingError::Bounds { min: 1, max: 1_001 })
        );
    }

    #[test]
    fn a_schedule_says_what_changes() {
        let check = |min, max| {
            let nightly = ScheduledScaling {
                name: name("nightly"),
                schedule: "cron(0 2 * * ? *)".parse().unwrap(),
                zone: Zone::default(),
                bounds: Bounds { min, max },
            };
            ScalingSpec { schedules: vec![nightly], ..spec(vec![]) }.check()
        };
        assert_eq!(
            (check(Some(0), None), check(None, Some(3)), check(Some(2), Some(2))),
            (Ok(()), Ok(()), Ok(()))
        );
        assert_eq!(check(None, None), Err(ScalingError::Nothing { name: name("nightly") }));
        assert_eq!(check(Some(3), Some(2)), Err(ScalingError::Bounds { min: 3, max: 2 }));
    }
}

//! Scaling: within which bounds the count of a service's tasks moves, what moves it, and what did.
//!
//! The words are those of Application Auto Scaling. What a call leaves out gets its default: a call replaces all that was said of
//! a service's scaling.

mod number;
mod policy;

pub use policy::{ScalingPolicy, ScheduledScaling, StepAdjustment, StepScaling, TargetTracking};

use crate::{InvalidSpec, text};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skiff_types::{
    Name, Namespace, QualifiedName, ScalingActivity as DomainActivity, ScalingSpec as DomainSpec,
};

/// What moves the count of a service's tasks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PutScaling {
    /// The fewest tasks: 1 or more, unless the service scales to zero.
    pub min: u32,
    /// The most tasks: 1000 at most.
    pub max: u32,
    /// What follows a metric or an alarm; 50 at most. The largest count that one wants is taken; fewer tasks only where all
    /// would do with fewer.
    #[serde(default)]
    pub policies: Vec<ScalingPolicy>,
    /// What follows a clock; 100 at most.
    #[serde(default)]
    pub schedules: Vec<ScheduledScaling>,
    /// Whether no task is taken away, whatever asks for it.
    #[serde(default)]
    pub scale_in_protected: bool,
}

/// How the count of a service's tasks moves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Scaling {
    /// The service, in its namespace.
    #[schemars(with = "text::Name")]
    pub service: Name,
    /// The boundary it lives in.
    #[schemars(with = "text::Namespace")]
    pub namespace: Namespace,
    /// The store's revision, for `If-Match`.
    pub revision: u64,
    /// The fewest tasks.
    pub min: u32,
    /// The most tasks.
    pub max: u32,
    /// What follows a metric or an alarm.
    pub policies: Vec<ScalingPolicy>,
    /// What follows a clock.
    pub schedules: Vec<ScheduledScaling>,
    /// Whether no task is taken away, whatever asks for it.
    pub scale_in_protected: bool,
    /// What is.
    pub status: ScalingStatus,
    /// When it was put first, in milliseconds since 1970.
    pub created_at_ms: u64,
    /// When it last changed, in milliseconds since 1970.
    pub updated_at_ms: u64,
}

/// What has come of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ScalingStatus {
    /// How many tasks the service is to have at present.
    pub desired: u32,
    /// The fewest tasks at present: a schedule may have made them others.
    pub min: u32,
    /// The most tasks at present.
    pub max: u32,
    /// What changed the count last; absent where nothing has yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<ScalingChange>,
}

/// A change of the count: Application Auto Scaling's activity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ScalingChange {
    /// When it was decided, in milliseconds since 1970.
    pub began_at_ms: u64,
    /// When the service had its new count, in milliseconds since 1970.
    pub ended_at_ms: u64,
    /// From how many tasks.
    pub before: u32,
    /// To how many.
    pub after: u32,
    /// The fewest tasks then.
    pub min: u32,
    /// The most tasks then.
    pub max: u32,
    /// Why, for people; names the policy.
    pub cause: String,
}

impl PutScaling {
    /// What this means for a service; an error says what to do. Whether its alarms are there, and its schedules are ever due, it
    /// does not know.
    pub fn to_domain(&self, service: QualifiedName) -> Result<DomainSpec, InvalidSpec> {
        let spec = DomainSpec {
            min: self.min,
            max: self.max,
            policies: self.policies.iter().map(|policy| policy.to_domain(&service)).collect(),
            schedules: self.schedules.iter().map(ScheduledScaling::to_domain).collect(),
            scale_in_protected: self.scale_in_protected,
            service,
        };
        spec.check()?;
        Ok(spec)
    }
}

/// The call that makes it so, nothing left out.
impl From<&DomainSpec> for PutScaling {
    fn from(spec: &DomainSpec) -> Self {
        Self {
            min: spec.min,
            max: spec.max,
            policies: spec.policies.iter().map(Into::into).collect(),
            schedules: spec.schedules.iter().map(Into::into).collect(),
            scale_in_protected: spec.scale_in_protected,
        }
    }
}

impl From<&DomainActivity> for ScalingChange {
    fn from(activity: &DomainActivity) -> Self {
        Self {
            began_at_ms: activity.began_at_ms,
            ended_at_ms: activity.ended_at_ms,
            before: activity.before,
            after: activity.after,
            min: activity.min,
            max: activity.max,
            cause: activity.cause.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};
    use skiff_types::{Measure, MetricOf, Policy, ScalingError, Span, Statistic};

    fn put(more: Value) -> PutScaling {
        let mut body = json!({ "min": 2, "max": 40 });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        serde_json::from_value(body).unwrap()
    }

    fn meant(more: Value) -> Result<DomainSpec, InvalidSpec> {
        put(more).to_domain("shop/web".parse().unwrap())
    }

    fn tracking(policy: Value) -> skiff_types::TargetTracking {
        let spec = meant(json!({ "policies": [{ "target_tracking": policy }] })).unwrap();
        match spec.policies.into_iter().next() {
            Some(Policy::TargetTracking(tracking)) => tracking,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_left_out_has_its_default() {
        let requests =
            tracking(json!({ "name": "requests", "metric": "RequestCountPerTarget", "target": 6000 }));
        assert_eq!(requests.metric.of, MetricOf::Service("shop/web".parse().unwrap()));
        assert_eq!((requests.statistic, requests.target.get()), (Statistic::Sum, 6_000.0));
        assert_eq!(requests.scale_out_cooldown, Span::from_ms(300_000));
        let own = tracking(json!({
            "name": "depth", "metric": "queue/depth", "dimensions": "queue=mails", "target": 0.5,
        }));
        assert_eq!(own.metric.of, MetricOf::Custom("shop".parse().unwrap()));
        assert_eq!((own.statistic, own.target.get()), (Statistic::Average, 0.5));
    }

    #[test]
    fn metrics_may_be_named_as_aws_predefines_them() {
        for (named, measure) in [
            ("ECSServiceAverageCPUUtilization", Measure::CpuUtilization),
            ("ECSServiceAverageMemoryUtilization", Measure::MemoryUtilization),
            ("ALBRequestCountPerTarget", Measure::RequestCountPerTarget),
        ] {
            let meant = tracking(json!({ "name": "a", "metric": named, "target": 1 }));
            assert_eq!(meant.metric.metric.measure(), Some(measure));
            assert_eq!(meant.statistic, measure.usual_statistic());
        }
    }

    #[test]
    fn what_is_shown_is_what_makes_it_so() {
        let spec = meant(json!({
            "policies": [
                { "target_tracking": {
                    "name": "cpu", "metric": "CPUUtilization", "target": 60, "statistic": "p90",
                    "scale_out_cooldown": "10s", "scale_in_cooldown": "1m", "disable_scale_in": true,
                } },
                { "step": {
                    "name": "busy", "alarm": "busy", "adjustment": "PercentChangeInCapacity", "cooldown": "30s",
                    "min_magnitude": 2,
                    "steps": [{ "lower": 0, "upper": 10.5, "change": 10 }, { "lower": 10.5, "change": 30 }],
                } },
            ],
            "schedules": [
                { "name": "day", "schedule": "cron(0 8 ? * MON-FRI *)", "zone": "Europe/Berlin", "min": 10 },
            ],
            "scale_in_protected": true,
        }))
        .unwrap();
        let said = PutScaling::from(&spec);
        assert_eq!(said.to_domain("shop/web".parse().unwrap()).unwrap(), spec);
        let written = serde_json::to_value(&said).unwrap();
        assert_eq!(written["policies"][0]["target_tracking"]["target"], 60.0);
        assert_eq!(written["policies"][1]["step"]["steps"][1], json!({ "lower": 10.5, "change": 30 }));
        assert_eq!(serde_json::from_value::<PutScaling>(written).unwrap(), said);
    }

    #[test]
    fn what_can_not_be_is_refused() {
        let zero = json!({ "name": "a", "metric": "CPUUtilization", "target": 0 });
        let policies = json!({ "policies": [{ "target_tracking": zero }] });
        assert!(matches!(meant(policies), Err(InvalidSpec::Scaling(ScalingError::Target { .. }))));
        assert!(matches!(
            meant(json!({ "min": 41 })),
            Err(InvalidSpec::Scaling(ScalingError::Bounds { min: 41, max: 40 }))
        ));
        let text = json!({ "name": "a", "metric": "CPUUtilization", "target": "60" });
        let body = json!({ "min": 1, "max": 2, "policies": [{ "target_tracking": text }] });
        assert!(serde_json::from_value::<PutScaling>(body).is_err(), "a target is a number");
    }
}

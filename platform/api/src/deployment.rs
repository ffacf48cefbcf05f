//! Deployments: how a service goes from one revision to the next, how far it is, and what its user does about it.

use crate::text;
use crate::{InvalidSpec, Setting};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skiff_types::{
    CircuitBreaker, DeploymentConfiguration as DomainConfiguration, DeploymentId, Span, TaskDefinitionId,
};

/// How a service is to go from one revision to the next. What is left out stays as it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PutDeploymentConfiguration {
    /// Healthy running tasks that there are at least, in percent of the desired count, rounded up: 0 to 100. It is 100 on a
    /// new service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_healthy_percent: Option<u16>,
    /// Running and pending tasks that there are at most, those that drain apart, in percent of the desired count, rounded
    /// down: 100 to 400, and more than 100 where the minimum is 100. It is 200 on a new service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_percent: Option<u16>,
    /// What becomes of a deployment of which half of the desired tasks failed, at least 3 and at most 200, and none served
    /// since: it goes on (`off`), it stops, or it is rolled back to the last revision that completed, which it is on a new
    /// service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::CircuitBreaker>")]
    pub circuit_breaker: Option<CircuitBreaker>,
    /// How long after a task's start failed checks do not count: 1 hour at most. On a new service that is not said: then its
    /// checks say it themselves.
    #[serde(default, skip_serializing_if = "Setting::is_kept")]
    #[schemars(with = "Option<text::Span>")]
    pub grace: Setting<Span>,
}

impl PutDeploymentConfiguration {
    /// What it is then, where it was `before`. It may be what no service can be.
    pub fn over(&self, before: DomainConfiguration) -> DomainConfiguration {
        DomainConfiguration {
            min_healthy_percent: self.min_healthy_percent.unwrap_or(before.min_healthy_percent),
            max_percent: self.max_percent.unwrap_or(before.max_percent),
            circuit_breaker: self.circuit_breaker.unwrap_or(before.circuit_breaker),
            grace: self.grace.over(before.grace),
        }
    }

    /// Refuses what can't be, whatever it was before; an error says what to do.
    pub fn check(&self) -> Result<(), InvalidSpec> {
        let lenient = DomainConfiguration { min_healthy_percent: 0, ..DomainConfiguration::default() };
        self.over(lenient).check().map_err(InvalidSpec::from)
    }
}

/// How a service goes from one revision to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeploymentConfiguration {
    /// Healthy running tasks that there are at least, in percent of the desired count, rounded up.
    pub min_healthy_percent: u16,
    /// Running and pending tasks that there are at most, those that drain apart, in percent of the desired count, rounded
    /// down.
    pub max_percent: u16,
    /// What becomes of a deployment whose tasks fail.
    #[schemars(with = "text::CircuitBreaker")]
    pub circuit_breaker: CircuitBreaker,
    /// How long after a task's start failed checks do not count; absent where its checks say it themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::Span>")]
    pub grace: Option<Span>,
}

impl Default for DeploymentConfiguration {
    fn default() -> Self {
        Self::from(&DomainConfiguration::default())
    }
}

impl From<&DomainConfiguration> for DeploymentConfiguration {
    fn from(configuration: &DomainConfiguration) -> Self {
        Self {
            min_healthy_percent: configuration.min_healthy_percent,
            max_percent: configuration.max_percent,
            circuit_breaker: configuration.circuit_breaker,
            grace: configuration.grace,
        }
    }
}

impl From<DeploymentConfiguration> for DomainConfiguration {
    fn from(configuration: DeploymentConfiguration) -> Self {
        Self {
            min_healthy_percent: configuration.min_healthy_percent,
            max_percent: configuration.max_percent,
            circuit_breaker: configuration.circuit_breaker,
            grace: configuration.grace,
        }
    }
}

/// The replacing of one revision by another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Deployment {
    /// Names it.
    #[schemars(with = "text::DeploymentId")]
    pub id: DeploymentId,
    /// The revision that comes.
    #[schemars(with = "text::TaskDefinitionId")]
    pub definition: TaskDefinitionId,
    /// The revision that its user asked for, where that failed and this deployment goes back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::TaskDefinitionId>")]
    pub rolled_back_from: Option<TaskDefinitionId>,
    /// How far it is.
    pub state: DeploymentState,
    /// Its user halted it: it takes no step.
    #[serde(default)]
    pub paused: bool,
    /// How many tasks of this revision there are to be.
    #[serde(default)]
    pub desired: u32,
    /// Tasks of this revision that are `RUNNING` and, where that is checked, healthy.
    pub running: u32,
    /// Tasks of this revision on their way there.
    #[serde(default)]
    pub pending: u32,
    /// Tasks of other revisions that are `RUNNING`.
    #[serde(default)]
    pub replaced: u32,
    /// Tasks of this revision that failed since one served: what the circuit breaker counts.
    #[serde(default)]
    pub failed_tasks: u32,
    /// Attempts of this revision that failed in a row.
    pub failures: u32,
    /// What holds it up, or why it failed or goes back, for people; absent where there is nothing to say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// When it began, in milliseconds since 1970.
    pub created_at_ms: u64,
}

/// How far a deployment is: ECS's `rolloutState`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum DeploymentState {
    /// Its tasks are not all `RUNNING` and healthy, or others still run.
    InProgress,
    /// All desired tasks of its revision are `RUNNING`, healthy and reached by requests, and none of another runs.
    Completed,
    /// It was given up: nothing more of it is started.
    Failed,
}

/// What a user does about a deployment that is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeRollout {
    /// What.
    pub action: RolloutAction,
}

/// What is done about a deployment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum RolloutAction {
    /// It takes no further step until it is resumed; tasks that are lost are replaced by the last revision that completed.
    Pause,
    /// It goes on.
    Resume,
    /// It is given up: the service goes back to the last revision that completed. Where there is none, it stops.
    Abort,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[track_caller]
    fn check(asked: Value, expected: Result<(), &str>) {
        let asked: PutDeploymentConfiguration = serde_json::from_value(asked).unwrap();
        let result = asked.check().map_err(|error| error.to_string());
        match (result, expected) {
            (Ok(()), Ok(())) => {}
            (Err(error), Err(part)) => assert!(error.contains(part), "{error}"),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_no_service_can_be_is_refused_whatever_it_was() {
        check(json!({}), Ok(()));
        check(json!({ "min_healthy_percent": 100 }), Ok(()));
        check(json!({ "max_percent": 100 }), Ok(()));
        check(json!({ "min_healthy_percent": 100, "max_percent": 100 }), Err("lower the minimum"));
        check(json!({ "min_healthy_percent": 101 }), Err("it must be 0 to 100"));
        check(json!({ "max_percent": 99 }), Err("it must be 100 to 400"));
        check(json!({ "grace": "2h" }), Err("it can be 1h at most"));
    }

    #[test]
    fn what_is_left_out_stays() {
        let before = DomainConfiguration {
            min_healthy_percent: 50,
            max_percent: 150,
            circuit_breaker: CircuitBreaker::Off,
            grace: Some(Span::from_ms(5_000)),
        };
        let over = |asked: Value| {
            serde_json::from_value::<PutDeploymentConfiguration>(asked).unwrap().over(before.clone())
        };
        assert_eq!(over(json!({})), before);
        assert_eq!(over(json!({ "grace": null })), DomainConfiguration { grace: None, ..before.clone() });
        let stop = DomainConfiguration { circuit_breaker: CircuitBreaker::Stop, ..before.clone() };
        assert_eq!(over(json!({ "circuit_breaker": "stop" })), stop);
        let shown = serde_json::to_value(DeploymentConfiguration::from(&before)).unwrap();
        assert_eq!(serde_json::from_value::<PutDeploymentConfiguration>(shown).unwrap().over(stop), before);
    }
}

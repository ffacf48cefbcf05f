//! Deployments: how a service goes from one revision to the next, how far it is, and what its user does about it.

use crate::text;
use crate::{InvalidSpec, Setting};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skiff_types::{
    CircuitBreaker, DeploymentConfiguration as DomainConfiguration, DeploymentConfigurationError,
    DeploymentId, HostPattern, Name, Span, Strategy, StrategyError, StrategyName, TaskDefinitionId,
};
use std::collections::BTreeSet;

/// How a service is to go from one revision to the next. What is left out stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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
    /// How its requests come to the next revision: task by task (`ROLLING`, as on a new service), or by weight while both
    /// revisions are there whole: all at once (`BLUE_GREEN`), a few first (`CANARY`), or step by step (`LINEAR`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::StrategyName>")]
    pub strategy: Option<StrategyName>,
    /// How long the revision before stays once all requests go to the next: 24 hours at most; of a strategy that moves weight.
    /// It is 15 minutes where nobody said it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::Span>")]
    pub bake: Option<Span>,
    /// Of `CANARY`: how many requests of a hundred go to the next revision first, 1 to 100. It is 5 where nobody said it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary_percent: Option<u16>,
    /// Of `CANARY`: how long they alone, 24 hours at most. It is 10 minutes where nobody said it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::Span>")]
    pub canary_bake: Option<Span>,
    /// Of `LINEAR`: how many requests of a hundred more each step brings, 3 to 100. It is 10 where nobody said it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step_percent: Option<u16>,
    /// Of `LINEAR`: how long there is from each step to the next, 24 hours at most. It is 6 minutes where nobody said it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::Span>")]
    pub step_bake: Option<Span>,
    /// Alarms of the service's namespace, 100 at most: a deployment during which one of them comes to `ALARM` is given up, as
    /// its circuit breaker would; those that are in `ALARM` when it begins are not watched. None at all takes them away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Vec<text::Name>>")]
    pub alarms: Option<Vec<Name>>,
    /// Hosts, 16 at most, that lead to the next revision alone while it is beside the one before; else to the service as its
    /// hosts do. None at all takes them away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Vec<text::HostPattern>>")]
    pub test_hosts: Option<Vec<HostPattern>>,
}

impl PutDeploymentConfiguration {
    /// What it is then, where it was `before`. It may be what no service can be.
    pub fn over(&self, before: DomainConfiguration) -> DomainConfiguration {
        DomainConfiguration {
            min_healthy_percent: self.min_healthy_percent.unwrap_or(before.min_healthy_percent),
            max_percent: self.max_percent.unwrap_or(before.max_percent),
            circuit_breaker: self.circuit_breaker.unwrap_or(before.circuit_breaker),
            grace: self.grace.over(before.grace),
            strategy: self.strategy_over(before.strategy),
            alarms: self.alarms.as_ref().map_or(before.alarms, |alarms| unique(alarms)),
            test_hosts: self.test_hosts.as_ref().map_or(before.test_hosts, |hosts| unique(hosts)),
        }
    }

    /// Refuses what can't be, whatever it was before; an error says what to do.
    pub fn check(&self) -> Result<(), InvalidSpec> {
        let lenient = DomainConfiguration { min_healthy_percent: 0, ..DomainConfiguration::default() };
        let after = self.over(lenient);
        if self.strategy.is_some() {
            self.check_fits(after.strategy.name())?;
        }
        after.check().map_err(InvalidSpec::from)
    }

    /// Refuses what says nothing of the strategy that it comes to; an error says what to do.
    pub fn check_fits(&self, strategy: StrategyName) -> Result<(), InvalidSpec> {
        let fields = [
            ("bake", self.bake.is_some(), strategy != StrategyName::Rolling),
            ("canary_percent", self.canary_percent.is_some(), strategy == StrategyName::Canary),
            ("canary_bake", self.canary_bake.is_some(), strategy == StrategyName::Canary),
            ("step_percent", self.step_percent.is_some(), strategy == StrategyName::Linear),
            ("step_bake", self.step_bake.is_some(), strategy == StrategyName::Linear),
        ];
        match fields.into_iter().find(|(_, is_said, fits)| *is_said && !fits) {
            Some((field, ..)) => {
                let foreign = StrategyError::Foreign { field, strategy };
                Err(DeploymentConfigurationError::Strategy(foreign).into())
            }
            None => Ok(()),
        }
    }

    fn strategy_over(&self, before: Strategy) -> Strategy {
        let parts = Parts::of(before);
        let bake = self.bake.or(parts.bake).unwrap_or(Strategy::BAKE);
        match self.strategy.unwrap_or(before.name()) {
            StrategyName::Rolling => Strategy::Rolling,
            StrategyName::BlueGreen => Strategy::BlueGreen { bake },
            StrategyName::Canary => Strategy::Canary {
                percent: self.canary_percent.or(parts.canary_percent).unwrap_or(Strategy::CANARY_PERCENT),
                canary_bake: self.canary_bake.or(parts.canary_bake).unwrap_or(Strategy::CANARY_BAKE),
                bake,
            },
            StrategyName::Linear => Strategy::Linear {
                step_percent: self.step_percent.or(parts.step_percent).unwrap_or(Strategy::STEP_PERCENT),
                step_bake: self.step_bake.or(parts.step_bake).unwrap_or(Strategy::STEP_BAKE),
                bake,
            },
        }
    }
}

/// Each once, in the order given.
fn unique<T: Clone + Ord>(items: &[T]) -> Vec<T> {
    let mut seen = BTreeSet::new();
    items.iter().filter(|item| seen.insert(*item)).cloned().collect()
}

/// What a strategy says, each by itself.
#[derive(Default)]
struct Parts {
    bake: Option<Span>,
    canary_percent: Option<u16>,
    canary_bake: Option<Span>,
    step_percent: Option<u16>,
    step_bake: Option<Span>,
}

impl Parts {
    fn of(strategy: Strategy) -> Self {
        match strategy {
            Strategy::Rolling => Self::default(),
            Strategy::BlueGreen { bake } => Self { bake: Some(bake), ..Self::default() },
            Strategy::Canary { percent, canary_bake, bake } => Self {
                bake: Some(bake),
                canary_percent: Some(percent),
                canary_bake: Some(canary_bake),
                ..Self::default()
            },
            Strategy::Linear { step_percent, step_bake, bake } => Self {
                bake: Some(bake),
                step_percent: Some(step_percent),
                step_bake: Some(step_bake),
                ..Self::default()
            },
        }
    }
}

/// How a service goes from one revision to the next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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
    /// How its requests come to the next revision.
    #[serde(default)]
    #[schemars(with = "text::StrategyName")]
    pub strategy: StrategyName,
    /// How long the revision before stays once all requests go to the next; of a strategy that moves weight.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::Span>")]
    pub bake: Option<Span>,
    /// Of `CANARY`: how many requests of a hundred go to the next revision first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary_percent: Option<u16>,
    /// Of `CANARY`: how long they alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::Span>")]
    pub canary_bake: Option<Span>,
    /// Of `LINEAR`: how many requests of a hundred more each step brings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step_percent: Option<u16>,
    /// Of `LINEAR`: how long there is from each step to the next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::Span>")]
    pub step_bake: Option<Span>,
    /// Alarms by which a deployment is given up.
    #[serde(default)]
    #[schemars(with = "Vec<text::Name>")]
    pub alarms: Vec<Name>,
    /// Hosts that lead to the next revision alone while it is beside the one before.
    #[serde(default)]
    #[schemars(with = "Vec<text::HostPattern>")]
    pub test_hosts: Vec<HostPattern>,
}

impl Default for DeploymentConfiguration {
    fn default() -> Self {
        Self::from(&DomainConfiguration::default())
    }
}

impl From<&DomainConfiguration> for DeploymentConfiguration {
    fn from(configuration: &DomainConfiguration) -> Self {
        let Parts { bake, canary_percent, canary_bake, step_percent, step_bake } =
            Parts::of(configuration.strategy);
        Self {
            min_healthy_percent: configuration.min_healthy_percent,
            max_percent: configuration.max_percent,
            circuit_breaker: configuration.circuit_breaker,
            grace: configuration.grace,
            strategy: configuration.strategy.name(),
            bake,
            canary_percent,
            canary_bake,
            step_percent,
            step_bake,
            alarms: configuration.alarms.clone(),
            test_hosts: configuration.test_hosts.clone(),
        }
    }
}

/// All that it says, none of it left as it is.
impl From<DeploymentConfiguration> for PutDeploymentConfiguration {
    fn from(whole: DeploymentConfiguration) -> Self {
        Self {
            min_healthy_percent: Some(whole.min_healthy_percent),
            max_percent: Some(whole.max_percent),
            circuit_breaker: Some(whole.circuit_breaker),
            grace: whole.grace.into(),
            strategy: Some(whole.strategy),
            bake: whole.bake,
            canary_percent: whole.canary_percent,
            canary_bake: whole.canary_bake,
            step_percent: whole.step_percent,
            step_bake: whole.step_bake,
            alarms: Some(whole.alarms),
            test_hosts: Some(whole.test_hosts),
        }
    }
}

impl From<DeploymentConfiguration> for DomainConfiguration {
    fn from(configuration: DeploymentConfiguration) -> Self {
        PutDeploymentConfiguration::from(configuration).over(Self::default())
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
    /// How far its weight is, where both revisions are there whole meanwhile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shift: Option<DeploymentShift>,
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

/// How the requests of a service come from one revision (blue) to the next (green).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeploymentShift {
    /// By which strategy; one that goes back needs none.
    #[schemars(with = "text::StrategyName")]
    pub strategy: StrategyName,
    /// The revision before.
    #[schemars(with = "text::TaskDefinitionId")]
    pub blue: TaskDefinitionId,
    /// The revision that comes, or that is gone back from.
    #[schemars(with = "text::TaskDefinitionId")]
    pub green: TaskDefinitionId,
    /// How many requests of a hundred go to green.
    pub percent: u16,
    /// How many steps were taken.
    pub step: u16,
    /// How many there are.
    pub steps: u16,
    /// When the next step is taken, or after the last one the revision before goes, in milliseconds since 1970; absent while
    /// green is not whole, or nothing more is to come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_at_ms: Option<u64>,
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
        check(json!({ "strategy": "CANARY", "canary_percent": 100, "bake": "1d" }), Ok(()));
        check(json!({ "strategy": "CANARY", "canary_percent": 0 }), Err("it must be 1 to 100"));
        check(json!({ "strategy": "LINEAR", "step_percent": 2 }), Err("it must be 3 to 100"));
        check(json!({ "strategy": "BLUE_GREEN", "bake": "25h" }), Err("it can be 1d at most"));
        let foreign = "step_percent says nothing of the strategy CANARY";
        check(json!({ "strategy": "CANARY", "step_percent": 10 }), Err(foreign));
        check(
            json!({ "strategy": "ROLLING", "bake": "1m" }),
            Err("bake says nothing of the strategy ROLLING"),
        );
        // What the service has decides about it.
        check(json!({ "step_percent": 10 }), Ok(()));
    }

    #[test]
    fn a_strategy_is_filled_in_and_keeps_what_it_shares_with_the_one_before() {
        let over = |asked: Value, before: Strategy| {
            let before = DomainConfiguration { strategy: before, ..DomainConfiguration::default() };
            serde_json::from_value::<PutDeploymentConfiguration>(asked).unwrap().over(before).strategy
        };
        let minute = Span::from_ms(60_000);
        let asked = json!({ "strategy": "CANARY", "canary_percent": 25, "bake": "1m" });
        let canary =
            Strategy::Canary { percent: 25, canary_bake: Strategy::CANARY_BAKE, bake: Span::from_ms(60_000) };
        assert_eq!(over(asked, Strategy::Rolling), canary);
        assert_eq!(over(json!({}), canary), canary);
        let linear = Strategy::Linear {
            step_percent: Strategy::STEP_PERCENT,
            step_bake: Strategy::STEP_BAKE,
            bake: minute,
        };
        assert_eq!(over(json!({ "strategy": "linear" }), canary), linear);
        let plain = over(json!({ "strategy": "blue-green" }), Strategy::Rolling);
        assert_eq!(plain, Strategy::BlueGreen { bake: Strategy::BAKE });
        assert_eq!(over(json!({ "strategy": "ROLLING" }), canary), Strategy::Rolling);
        let unknown: PutDeploymentConfiguration = serde_json::from_value(json!({ "bake": "1m" })).unwrap();
        unknown.check_fits(StrategyName::Linear).unwrap();
        unknown.check_fits(StrategyName::Rolling).unwrap_err();
    }

    #[test]
    fn what_is_left_out_stays() {
        let before = DomainConfiguration {
            min_healthy_percent: 50,
            max_percent: 150,
            circuit_breaker: CircuitBreaker::Off,
            grace: Some(Span::from_ms(5_000)),
            strategy: Strategy::Canary {
                percent: 20,
                canary_bake: Span::from_ms(1_000),
                bake: Span::from_ms(2_000),
            },
            alarms: vec!["slow".parse().unwrap()],
            test_hosts: vec!["green.example".parse().unwrap()],
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
        assert_eq!(DomainConfiguration::from(DeploymentConfiguration::from(&before)), before);
        let none = over(json!({ "alarms": [], "test_hosts": ["a.example", "b.example", "a.example"] }));
        assert!(none.alarms.is_empty());
        assert_eq!(none.test_hosts.len(), 2, "each once");
    }
}

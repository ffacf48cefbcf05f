//! Deployments: how a service goes from one revision to the next, and what is said of one that does.
//!
//! The words and the bounds are those of ECS's `deploymentConfiguration`. It deliberately decides nothing but how many
//! tasks a percentage means: `plan` does.

use crate::text::{ParseError, serde_as_text};
use crate::timed_id::timed_id;
use crate::{HostPattern, Name, Span, Strategy, StrategyError};
use std::fmt;
use std::str::FromStr;

/// How a service goes from one revision to the next. ECS's `deploymentConfiguration`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeploymentConfiguration {
    /// Healthy `RUNNING` tasks that there are at least, in percent of the desired count, rounded up: 0 to 100.
    pub min_healthy_percent: u16,
    /// `RUNNING` and pending tasks that there are at most, those that drain apart, in percent of the desired count, rounded
    /// down: 100 to [`DeploymentConfiguration::MAX_PERCENT_MAX`].
    pub max_percent: u16,
    /// What becomes of a deployment whose tasks fail.
    pub circuit_breaker: CircuitBreaker,
    /// From a task's start: checks that fail within it do not count. `None` for what its checks say themselves.
    pub grace: Option<Span>,
    /// How its requests come to the next revision.
    pub strategy: Strategy,
    /// Alarms of its namespace by which a deployment is given up; those that are in `ALARM` when it begins are not watched.
    /// Each once.
    pub alarms: Vec<Name>,
    /// Hosts that lead to the revision that comes alone, as long as it is beside another; else to the service. Each once.
    pub test_hosts: Vec<HostPattern>,
}

impl DeploymentConfiguration {
    /// The most alarms that a deployment can have.
    pub const ALARMS_MAX: usize = 100;
    /// The most hosts that can lead to the revision that comes.
    pub const TEST_HOSTS_MAX: usize = 16;
    /// The most that the maximum can be, in percent.
    pub const MAX_PERCENT_MAX: u16 = 400;
    /// The longest that checks may not count.
    pub const GRACE_MAX: Span = Span::from_ms(3_600_000);

    /// Refuses what no deployment can be carried out by; an error says what to do.
    pub fn check(&self) -> Result<(), DeploymentConfigurationError> {
        let Self {
            min_healthy_percent,
            max_percent,
            circuit_breaker: _,
            grace,
            strategy,
            alarms,
            test_hosts,
        } = self;
        if *min_healthy_percent > 100 {
            return Err(DeploymentConfigurationError::Minimum { percent: *min_healthy_percent });
        }
        if !(100..=Self::MAX_PERCENT_MAX).contains(max_percent) {
            return Err(DeploymentConfigurationError::Maximum { percent: *max_percent });
        }
        if (*min_healthy_percent, *max_percent) == (100, 100) {
            return Err(DeploymentConfigurationError::Stuck);
        }
        if let Some(grace) = grace.filter(|grace| *grace > Self::GRACE_MAX) {
            return Err(DeploymentConfigurationError::Grace { grace });
        }
        if alarms.len() > Self::ALARMS_MAX {
            return Err(DeploymentConfigurationError::Alarms { count: alarms.len() });
        }
        if test_hosts.len() > Self::TEST_HOSTS_MAX {
            return Err(DeploymentConfigurationError::TestHosts { count: test_hosts.len() });
        }
        strategy.check().map_err(DeploymentConfigurationError::Strategy)
    }

    /// How many healthy `RUNNING` tasks there are at least where so many are desired.
    pub fn least(&self, desired: u32) -> u32 {
        let least = (u64::from(desired) * u64::from(self.min_healthy_percent)).div_ceil(100);
        u32::try_from(least).unwrap_or(u32::MAX)
    }

    /// How many `RUNNING` and pending tasks there are at most where so many are desired.
    pub fn most(&self, desired: u32) -> u32 {
        let most = u64::from(desired) * u64::from(self.max_percent) / 100;
        u32::try_from(most).unwrap_or(u32::MAX)
    }
}

/// As in ECS: none stops before another serves in its stead, and twice as many may be there meanwhile. A deployment that
/// fails is rolled back.
impl Default for DeploymentConfiguration {
    fn default() -> Self {
        Self {
            min_healthy_percent: 100,
            max_percent: 200,
            circuit_breaker: CircuitBreaker::default(),
            grace: None,
            strategy: Strategy::default(),
            alarms: Vec::new(),
            test_hosts: Vec::new(),
        }
    }
}

/// Why a service can't be deployed in this way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DeploymentConfigurationError {
    /// The minimum is out of its bounds.
    #[error("the minimum healthy percent is {percent}; it must be 0 to 100")]
    Minimum {
        /// What was asked for.
        percent: u16,
    },
    /// The maximum is out of its bounds.
    #[error(
        "the maximum percent is {percent}; it must be 100 to {}",
        DeploymentConfiguration::MAX_PERCENT_MAX
    )]
    Maximum {
        /// What was asked for.
        percent: u16,
    },
    /// However many tasks are desired, none can be stopped and none started.
    #[error(
        "with a minimum healthy percent of 100 and a maximum percent of 100 no task can be stopped before another one \
         starts, and none can start before one has stopped: lower the minimum, or raise the maximum"
    )]
    Stuck,
    /// The grace period is too long.
    #[error("the grace period is {grace}; it can be {} at most", DeploymentConfiguration::GRACE_MAX)]
    Grace {
        /// What was asked for.
        grace: Span,
    },
    /// It names more alarms than anybody watches.
    #[error("it names {count} alarms; it can have {} at most", DeploymentConfiguration::ALARMS_MAX)]
    Alarms {
        /// How many were asked for.
        count: usize,
    },
    /// It names too many test hosts.
    #[error("it names {count} test hosts; it can have {} at most", DeploymentConfiguration::TEST_HOSTS_MAX)]
    TestHosts {
        /// How many were asked for.
        count: usize,
    },
    /// Its steps can't be.
    #[error(transparent)]
    Strategy(StrategyError),
}

/// What becomes of a deployment whose tasks fail. ECS's `deploymentCircuitBreaker`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum CircuitBreaker {
    /// It goes on trying.
    Off,
    /// It has failed: nothing more of it is started.
    Stop,
    /// It has failed, and the service goes back to the last revision that completed; where there is none it stops.
    #[default]
    RollBack,
}

impl CircuitBreaker {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Off, Self::Stop, Self::RollBack];

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Stop => "stop",
            Self::RollBack => "rollback",
        }
    }
}

impl FromStr for CircuitBreaker {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let found = Self::ALL.into_iter().find(|breaker| breaker.as_str() == text);
        found.ok_or_else(|| ParseError::new(text, "a circuit breaker: off, stop or rollback"))
    }
}

impl fmt::Display for CircuitBreaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How far a rollout is. ECS's `rolloutState`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RolloutState {
    /// Its tasks do not all serve yet, or others still run.
    InProgress,
    /// All its tasks served at some time, and none of another revision ran.
    Completed,
    /// It was given up.
    Failed,
}

impl RolloutState {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::InProgress, Self::Completed, Self::Failed];

    /// The state's name as ECS writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InProgress => "IN_PROGRESS",
            Self::Completed => "COMPLETED",
            Self::Failed => "FAILED",
        }
    }
}

impl FromStr for RolloutState {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let found = Self::ALL.into_iter().find(|state| state.as_str() == text);
        found.ok_or_else(|| ParseError::new(text, "a rollout's state: IN_PROGRESS, COMPLETED or FAILED"))
    }
}

impl fmt::Display for RolloutState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Names one deployment of a service: 32 hexadecimal digits, the first 12 of which order by when it was asked for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeploymentId([u8; 16]);

timed_id!(DeploymentId, "a deployment's id: 32 hexadecimal digits");

serde_as_text!(CircuitBreaker, DeploymentId, RolloutState);

#[cfg(test)]
mod tests {
    use super::*;

    fn percents(min_healthy_percent: u16, max_percent: u16) -> DeploymentConfiguration {
        DeploymentConfiguration { min_healthy_percent, max_percent, ..DeploymentConfiguration::default() }
    }

    #[test]
    fn the_minimum_is_rounded_up_and_the_maximum_down() {
        let counts = |configuration: DeploymentConfiguration, desired| {
            (configuration.least(desired), configuration.most(desired))
        };
        assert_eq!(counts(percents(100, 150), 4), (4, 6));
        assert_eq!(counts(percents(50, 100), 4), (2, 4));
        assert_eq!(counts(percents(50, 150), 3), (2, 4));
        assert_eq!(counts(percents(1, 199), 1), (1, 1));
        assert_eq!(counts(percents(0, 400), 1_000), (0, 4_000));
        assert_eq!(counts(percents(100, 200), 0), (0, 0));
    }

    #[test]
    fn what_can_progress_at_no_count_is_refused() {
        for (min, max) in [(0, 100), (99, 100), (100, 101), (50, 400)] {
            let configuration = percents(min, max);
            configuration.check().unwrap();
            let progresses =
                |desired| configuration.least(desired) < desired || configuration.most(desired) > desired;
            assert!((1..=1_000).any(progresses), "{min}/{max}");
        }
        assert_eq!(percents(100, 100).check(), Err(DeploymentConfigurationError::Stuck));
        assert_eq!(percents(101, 200).check(), Err(DeploymentConfigurationError::Minimum { percent: 101 }));
        for percent in [99, 401] {
            assert_eq!(percents(50, percent).check(), Err(DeploymentConfigurationError::Maximum { percent }));
        }
        let grace = Span::from_ms(3_600_001);
        let patient = DeploymentConfiguration { grace: Some(grace), ..percents(100, 200) };
        assert_eq!(patient.check(), Err(DeploymentConfigurationError::Grace { grace }));
        let strategy = Strategy::Canary { percent: 0, canary_bake: Span::from_ms(0), bake: Span::from_ms(0) };
        let leap = DeploymentConfiguration { strategy, ..percents(100, 200) };
        assert!(matches!(leap.check(), Err(DeploymentConfigurationError::Strategy(_))));
        let alarms = vec!["slow".parse().unwrap(); 101];
        let alarmed = DeploymentConfiguration { alarms, ..percents(100, 200) };
        assert_eq!(alarmed.check(), Err(DeploymentConfigurationError::Alarms { count: 101 }));
        let test_hosts = vec!["green.example".parse().unwrap(); 17];
        let tested = DeploymentConfiguration { test_hosts, ..percents(100, 200) };
        assert_eq!(tested.check(), Err(DeploymentConfigurationError::TestHosts { count: 17 }));
    }

    #[test]
    fn words_and_ids_print_as_they_parse() {
        for breaker in CircuitBreaker::ALL {
            assert_eq!(breaker.to_string().parse(), Ok(breaker));
        }
        for state in RolloutState::ALL {
            assert_eq!(state.to_string().parse(), Ok(state));
        }
        assert!("Off".parse::<CircuitBreaker>().is_err() && "DONE".parse::<RolloutState>().is_err());
        let (earlier, later) =
            (DeploymentId::from_parts(1_000, [0xff; 10]), DeploymentId::from_parts(1_001, [0; 10]));
        assert!(earlier < later && earlier.to_string() < later.to_string());
        assert_eq!(earlier.to_string().parse(), Ok(earlier));
    }
}

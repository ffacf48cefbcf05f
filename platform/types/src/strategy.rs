//! Deployment strategies: whether a revision takes the place of another task by task, or beside it by weight.
//!
//! The words and the bounds are those of ECS's `deploymentConfiguration`, percents whole. Where weight is moved, *blue* is the
//! revision that served before, *green* the one that comes. It deliberately moves nothing: `plan` does.

use crate::text::{ParseError, serde_as_text};
use crate::{HostPattern, Span, TaskId};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// How the requests of a service come to the next revision. ECS's `strategy`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Strategy {
    /// Task by task: who serves has its share.
    #[default]
    Rolling,
    /// All of them at once, when all of green serves.
    BlueGreen {
        /// How long blue stays after that.
        bake: Span,
    },
    /// A few first, then all others at once.
    Canary {
        /// How many, in percent.
        percent: u16,
        /// How long they alone.
        canary_bake: Span,
        /// How long blue stays after the last step.
        bake: Span,
    },
    /// Step by step, each as large as the others.
    Linear {
        /// How many more by each step, in percent.
        step_percent: u16,
        /// How long there is from each step to the next.
        step_bake: Span,
        /// How long blue stays after the last step.
        bake: Span,
    },
}

impl Strategy {
    /// The longest that a step, or all of green, is looked at.
    pub const BAKE_MAX: Span = Span::from_ms(24 * 3_600_000);
    /// The fewest that go to green first, in percent.
    pub const CANARY_PERCENT_MIN: u16 = 1;
    /// The smallest step, in percent.
    pub const STEP_PERCENT_MIN: u16 = 3;
    /// How long blue stays after the last step, where nobody said it.
    pub const BAKE: Span = Span::from_ms(15 * 60_000);
    /// How many go to green first, in percent, where nobody said it.
    pub const CANARY_PERCENT: u16 = 5;
    /// How long they alone, where nobody said it.
    pub const CANARY_BAKE: Span = Span::from_ms(10 * 60_000);
    /// How large a step is, in percent, where nobody said it.
    pub const STEP_PERCENT: u16 = 10;
    /// How long there is from each step to the next, where nobody said it.
    pub const STEP_BAKE: Span = Span::from_ms(6 * 60_000);

    /// Refuses what no deployment can be carried out by; an error says what to do.
    pub fn check(&self) -> Result<(), StrategyError> {
        let (percent, bakes) = match *self {
            Self::Rolling => (None, [None, None]),
            Self::BlueGreen { bake } => (None, [None, Some(bake)]),
            Self::Canary { percent, canary_bake, bake } => {
                (Some((percent, Self::CANARY_PERCENT_MIN, "canary")), [Some(canary_bake), Some(bake)])
            }
            Self::Linear { step_percent, step_bake, bake } => {
                (Some((step_percent, Self::STEP_PERCENT_MIN, "step")), [Some(step_bake), Some(bake)])
            }
        };
        if let Some((percent, least, what)) = percent
            && !(least..=100).contains(&percent)
        {
            return Err(StrategyError::Percent { what, percent, least });
        }
        match bakes.into_iter().flatten().find(|bake| *bake > Self::BAKE_MAX) {
            Some(bake) => Err(StrategyError::Bake { bake }),
            None => Ok(()),
        }
    }

    /// Its name.
    pub fn name(&self) -> StrategyName {
        match self {
            Self::Rolling => StrategyName::Rolling,
            Self::BlueGreen { .. } => StrategyName::BlueGreen,
            Self::Canary { .. } => StrategyName::Canary,
            Self::Linear { .. } => StrategyName::Linear,
        }
    }

    /// How many requests of a hundred go to green once these do, and one more step is taken.
    pub fn percent_after(&self, percent: u16) -> u16 {
        match *self {
            Self::Canary { percent: canary, .. } if percent < canary => canary,
            Self::Linear { step_percent, .. } => percent.saturating_add(step_percent).min(100),
            Self::Rolling | Self::BlueGreen { .. } | Self::Canary { .. } => 100,
        }
    }

    /// How long it stays at so many requests of a hundred before the next step; at 100, until blue goes.
    pub fn bake_at(&self, percent: u16) -> Span {
        match *self {
            Self::Rolling => Span::from_ms(0),
            Self::Canary { canary_bake, .. } if percent < 100 => canary_bake,
            Self::Linear { step_bake, .. } if percent < 100 => step_bake,
            Self::BlueGreen { bake } | Self::Canary { bake, .. } | Self::Linear { bake, .. } => bake,
        }
    }

    /// How many steps it takes until all go to green.
    pub fn steps(&self) -> u16 {
        let steps = std::iter::successors(Some(0), |&percent| {
            (percent < 100).then(|| self.percent_after(percent).max(percent + 1))
        });
        u16::try_from(steps.count()).unwrap_or(u16::MAX) - 1
    }
}

/// How the requests of a service are divided between the revision that served before and the one that comes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Split {
    /// How many of a hundred go to green.
    pub percent: u16,
    /// Green's tasks; never none, nor all that the service has.
    pub green: Vec<TaskId>,
    /// Hosts that lead to green alone.
    pub test_hosts: Vec<HostPattern>,
}

impl Split {
    /// Whether a normalised host leads to green alone.
    pub fn is_tested_by(&self, host: &str) -> bool {
        self.test_hosts.iter().any(|pattern| match pattern.wildcard_suffix() {
            Some(suffix) => {
                host.split_once('.').is_some_and(|(label, rest)| !label.is_empty() && rest == suffix)
            }
            None => pattern.as_str() == host,
        })
    }
}

/// Why nothing can be deployed by such steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StrategyError {
    /// A percentage is out of its bounds.
    #[error("the {what} percent is {percent}; it must be {least} to 100")]
    Percent {
        /// Of what.
        what: &'static str,
        /// What was asked for.
        percent: u16,
        /// The least that there can be.
        least: u16,
    },
    /// Something is said that another strategy has.
    #[error(
        "{field} says nothing of the strategy {strategy}; leave it out, or choose the strategy that has it"
    )]
    Foreign {
        /// What.
        field: &'static str,
        /// The strategy that there is.
        strategy: StrategyName,
    },
    /// A time is too long.
    #[error("a bake time is {bake}; it can be {} at most", Strategy::BAKE_MAX)]
    Bake {
        /// What was asked for.
        bake: Span,
    },
}

/// Names a strategy as ECS does. Read in small letters and with `-`, too.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum StrategyName {
    /// [`Strategy::Rolling`].
    #[default]
    Rolling,
    /// [`Strategy::BlueGreen`].
    BlueGreen,
    /// [`Strategy::Canary`].
    Canary,
    /// [`Strategy::Linear`].
    Linear,
}

impl StrategyName {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Rolling, Self::BlueGreen, Self::Canary, Self::Linear];

    /// The name as ECS writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rolling => "ROLLING",
            Self::BlueGreen => "BLUE_GREEN",
            Self::Canary => "CANARY",
            Self::Linear => "LINEAR",
        }
    }
}

impl FromStr for StrategyName {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let word = text.to_ascii_uppercase().replace('-', "_");
        let found = Self::ALL.into_iter().find(|name| name.as_str() == word);
        found.ok_or_else(|| {
            ParseError::new(text, "a deployment strategy: rolling, blue-green, canary or linear")
        })
    }
}

impl fmt::Display for StrategyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

serde_as_text!(StrategyName);

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Span = Span::from_ms(1_000);

    fn linear(step_percent: u16) -> Strategy {
        Strategy::Linear { step_percent, step_bake: SECOND, bake: Span::from_ms(5_000) }
    }

    fn canary(percent: u16) -> Strategy {
        Strategy::Canary { percent, canary_bake: SECOND, bake: Span::from_ms(5_000) }
    }

    fn percents(strategy: Strategy) -> Vec<u16> {
        let next = |percent: &u16| (*percent < 100).then(|| strategy.percent_after(*percent));
        std::iter::successors(Some(0), next).skip(1).collect()
    }

    #[test]
    fn each_moves_weight_in_its_way() {
        for (strategy, expected) in [
            (Strategy::BlueGreen { bake: SECOND }, vec![100]),
            (canary(5), vec![5, 100]),
            (canary(100), vec![100]),
            (linear(25), vec![25, 50, 75, 100]),
            (linear(40), vec![40, 80, 100]),
        ] {
            assert_eq!(percents(strategy), expected, "{strategy:?}");
            assert_eq!(usize::from(strategy.steps()), expected.len(), "{strategy:?}");
        }
        assert_eq!((canary(5).bake_at(5).ms(), canary(5).bake_at(100).ms()), (1_000, 5_000));
        assert_eq!((linear(25).bake_at(75).ms(), linear(25).bake_at(100).ms()), (1_000, 5_000));
    }

    #[test]
    fn what_is_out_of_bounds_is_refused() {
        for strategy in [Strategy::Rolling, canary(1), canary(100), linear(3), linear(100)] {
            assert_eq!(strategy.check(), Ok(()), "{strategy:?}");
        }
        for (strategy, least) in [(canary(0), 1), (canary(101), 1), (linear(2), 3), (linear(101), 3)] {
            let Err(StrategyError::Percent { least: said, .. }) = strategy.check() else {
                panic!("{strategy:?}")
            };
            assert_eq!(said, least);
        }
        let bake = Span::from_ms(24 * 3_600_000 + 1);
        assert_eq!(Strategy::BlueGreen { bake }.check(), Err(StrategyError::Bake { bake }));
        let slow = Strategy::Linear { step_percent: 10, step_bake: bake, bake: SECOND };
        assert_eq!(slow.check(), Err(StrategyError::Bake { bake }));
    }

    #[test]
    fn a_test_host_is_a_name_or_one_label_below_a_domain() {
        let test_hosts = ["green.example", "*.test.example"].map(|host| host.parse().unwrap()).to_vec();
        let split = Split { percent: 0, green: vec![], test_hosts };
        for host in ["green.example", "a.test.example"] {
            assert!(split.is_tested_by(host), "{host}");
        }
        for host in ["", "example", "a.green.example", "test.example", ".test.example", "a.b.test.example"] {
            assert!(!split.is_tested_by(host), "{host}");
        }
    }

    #[test]
    fn names_print_as_they_parse() {
        for name in StrategyName::ALL {
            assert_eq!(name.to_string().parse(), Ok(name));
        }
        assert_eq!("blue-green".parse(), Ok(StrategyName::BlueGreen));
        assert!("all-at-once".parse::<StrategyName>().is_err());
    }
}

//! Capacity providers in ECS's words: what adds and removes nodes, and how tasks are divided among several.

use crate::text::{ParseError, serde_as_text};
use crate::{Name, Span};
use std::fmt;
use std::str::FromStr;

/// Adds and removes nodes of one kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CapacityProviderSpec {
    /// Its name on the platform.
    pub name: Name,
    /// Nodes that there are at least.
    pub nodes_min: u32,
    /// Nodes that there are at most, not fewer than the least.
    pub nodes_max: u32,
    /// By what their count follows the tasks; `None` leaves it alone.
    pub managed_scaling: Option<ManagedScaling>,
}

impl CapacityProviderSpec {
    /// Whether it can be taken.
    pub fn check(&self) -> Result<(), CapacityProviderError> {
        if self.nodes_min > self.nodes_max {
            return Err(CapacityProviderError::Nodes { min: self.nodes_min, max: self.nodes_max });
        }
        self.managed_scaling.as_ref().map_or(Ok(()), ManagedScaling::check)
    }
}

/// How a capacity provider's count of nodes follows the tasks. ECS's `managedScaling`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManagedScaling {
    /// What `CapacityProviderReservation` is to be, in percent: at 100 every node is in use, below it some are spare. 1 to
    /// 100.
    pub target_percent: u8,
    /// Nodes that are added at once at least; 1 or more.
    pub step_min: u32,
    /// Nodes that are added at once at most; not fewer than the least, and [`Self::STEP_MAX`] at most.
    pub step_max: u32,
    /// So long a node that was asked for counts as there although it takes no tasks yet; nothing is removed meanwhile.
    pub warmup: Span,
}

impl ManagedScaling {
    /// Nodes that can be added at once at most.
    pub const STEP_MAX: u32 = 10_000;
    /// Longest warm-up.
    pub const WARMUP_MAX: Span = Span::from_ms(10_000_000);

    /// Whether it can be taken.
    pub fn check(&self) -> Result<(), CapacityProviderError> {
        if !(1..=100).contains(&self.target_percent) {
            return Err(CapacityProviderError::Target(self.target_percent));
        }
        if self.step_min == 0 || self.step_min > self.step_max || self.step_max > Self::STEP_MAX {
            return Err(CapacityProviderError::Steps { min: self.step_min, max: self.step_max });
        }
        if self.warmup > Self::WARMUP_MAX {
            return Err(CapacityProviderError::Warmup(self.warmup));
        }
        Ok(())
    }
}

impl Default for ManagedScaling {
    /// ECS's own.
    fn default() -> Self {
        Self { target_percent: 100, step_min: 1, step_max: Self::STEP_MAX, warmup: Span::from_ms(300_000) }
    }
}

/// Why a capacity provider or a strategy can't be taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CapacityProviderError {
    /// More nodes at least than at most.
    #[error("at least {min} nodes are more than at most {max}; raise the most or lower the least")]
    Nodes {
        /// At least.
        min: u32,
        /// At most.
        max: u32,
    },
    /// A target that is none.
    #[error("a target of {0}% is outside 1 to 100; 100 uses every node, 90 keeps one of ten spare")]
    Target(u8),
    /// Steps that are none.
    #[error("steps of {min} to {max} nodes: say 1 <= least <= most <= {most}", most = ManagedScaling::STEP_MAX)]
    Steps {
        /// At least.
        min: u32,
        /// At most.
        max: u32,
    },
    /// A warm-up that is too long.
    #[error("a warm-up of {0} is longer than {most}; say a shorter one", most = ManagedScaling::WARMUP_MAX)]
    Warmup(Span),
    /// Too few or too many providers.
    #[error("a strategy names 1 to {most} capacity providers, not {0}", most = CapacityProviderStrategy::ITEMS_MAX)]
    Items(usize),
    /// A provider twice.
    #[error("the capacity provider {0} is named twice; name each once")]
    Twice(Name),
    /// Several bases.
    #[error("{0} and {1} have a base, and only one may; leave out the other")]
    Bases(Name, Name),
    /// No weight at all.
    #[error("no capacity provider has a weight above 0, so nothing could be placed; give one a weight")]
    NoWeight,
}

/// One capacity provider of a strategy. Printed `spot=4` or, with a base, `on-demand=1,base=2`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CapacityProviderStrategyItem {
    /// Which.
    pub provider: Name,
    /// Its share of what is beyond the base, beside the others' weights; 0 for none of it.
    pub weight: u16,
    /// So many tasks go there first.
    pub base: u32,
}

impl CapacityProviderStrategyItem {
    /// The largest weight.
    pub const WEIGHT_MAX: u16 = 1_000;
    /// The largest base.
    pub const BASE_MAX: u32 = 100_000;
}

impl FromStr for CapacityProviderStrategyItem {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let error = || {
            ParseError::new(
                text,
                "a capacity provider with its weight from 0 to 1000 and, where it has one, its base up to 100000, like \
                 \"spot=4\" or \"on-demand=1,base=2\"",
            )
        };
        let (provider, numbers) = text.split_once('=').ok_or_else(error)?;
        let (weight, base): (&str, u32) = match numbers.split_once(",base=") {
            Some((weight, base)) => (weight, base.parse().map_err(|_| error())?),
            None => (numbers, 0),
        };
        let weight: u16 = weight.parse().map_err(|_| error())?;
        if weight > Self::WEIGHT_MAX || base > Self::BASE_MAX {
            return Err(error());
        }
        Ok(Self { provider: provider.parse()?, weight, base })
    }
}

impl fmt::Display for CapacityProviderStrategyItem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.provider, self.weight)?;
        if self.base > 0 {
            write!(f, ",base={}", self.base)?;
        }
        Ok(())
    }
}

/// Which capacity providers run a service's tasks, and in what proportion. Names each once; one of them may have a base; one
/// has a weight.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CapacityProviderStrategy(Vec<CapacityProviderStrategyItem>);

impl CapacityProviderStrategy {
    /// Capacity providers that one can name.
    pub const ITEMS_MAX: usize = 20;

    /// Of these, in the order in which they are preferred where they are equal.
    pub fn new(items: Vec<CapacityProviderStrategyItem>) -> Result<Self, CapacityProviderError> {
        if items.is_empty() || items.len() > Self::ITEMS_MAX {
            return Err(CapacityProviderError::Items(items.len()));
        }
        for (index, item) in items.iter().enumerate() {
            let before = &items[..index];
            if before.iter().any(|other| other.provider == item.provider) {
                return Err(CapacityProviderError::Twice(item.provider.clone()));
            }
            if let Some(other) = before.iter().find(|other| item.base > 0 && other.base > 0) {
                return Err(CapacityProviderError::Bases(other.provider.clone(), item.provider.clone()));
            }
        }
        if items.iter().all(|item| item.weight == 0) {
            return Err(CapacityProviderError::NoWeight);
        }
        Ok(Self(items))
    }

    /// What it names, in order.
    pub fn items(&self) -> &[CapacityProviderStrategyItem] {
        &self.0
    }
}

serde_as_text!(CapacityProviderStrategyItem);

#[cfg(test)]
mod tests {
    use super::*;

    fn strategy(texts: &[&str]) -> Result<CapacityProviderStrategy, CapacityProviderError> {
        CapacityProviderStrategy::new(texts.iter().map(|text| text.parse().unwrap()).collect())
    }

    #[test]
    fn items_print_as_they_parse() {
        for text in ["spot=4", "on-demand=1,base=2", "a=0,base=100000", "a=1000"] {
            assert_eq!(text.parse::<CapacityProviderStrategyItem>().unwrap().to_string(), text);
        }
        for bad in ["", "spot", "spot=", "spot=1001", "=1", "spot=1,base=", "spot=1,base=100001", "spot=1,2"]
        {
            assert!(bad.parse::<CapacityProviderStrategyItem>().is_err(), "{bad:?} was taken");
        }
    }

    #[test]
    fn a_strategy_follows_the_rules_of_ecs() {
        assert_eq!(strategy(&["a=1,base=1", "b=0"]).unwrap().items().len(), 2);
        assert_eq!(strategy(&[]), Err(CapacityProviderError::Items(0)));
        assert_eq!(strategy(&["a=1"; 21]), Err(CapacityProviderError::Items(21)));
        let name = |text: &str| text.parse::<Name>().unwrap();
        assert_eq!(strategy(&["a=1", "a=2"]), Err(CapacityProviderError::Twice(name("a"))));
        let two_bases = strategy(&["a=1,base=1", "b=1", "c=1,base=2"]);
        assert_eq!(two_bases, Err(CapacityProviderError::Bases(name("a"), name("c"))));
        assert_eq!(strategy(&["a=0,base=1", "b=0"]), Err(CapacityProviderError::NoWeight));
    }

    #[test]
    fn a_provider_has_bounds() {
        let scaling = ManagedScaling::default();
        let with = |scaling| CapacityProviderSpec {
            name: "spot".parse().unwrap(),
            nodes_min: 0,
            nodes_max: 10,
            managed_scaling: Some(scaling),
        };
        assert_eq!(with(scaling.clone()).check(), Ok(()));
        for target_percent in [0, 101] {
            let bad = ManagedScaling { target_percent, ..scaling.clone() };
            assert_eq!(with(bad).check(), Err(CapacityProviderError::Target(target_percent)));
        }
        for (min, max) in [(0, 1), (3, 2), (1, 10_001)] {
            let bad = ManagedScaling { step_min: min, step_max: max, ..scaling.clone() };
            assert_eq!(with(bad).check(), Err(CapacityProviderError::Steps { min, max }));
        }
        let warmup = Span::from_ms(10_000_001);
        let bad = ManagedScaling { warmup, ..scaling.clone() };
        assert_eq!(with(bad).check(), Err(CapacityProviderError::Warmup(warmup)));
        let bad = CapacityProviderSpec { nodes_min: 11, ..with(scaling) };
        assert_eq!(bad.check(), Err(CapacityProviderError::Nodes { min: 11, max: 10 }));
    }
}

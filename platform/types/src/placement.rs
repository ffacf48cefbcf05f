//! Where tasks may run: nodes with what they have room for, constraints, strategies, in the words of ECS.
//!
//! A constraint says which nodes come into question, a strategy which of these is taken. Nothing here chooses: that is
//! `plan`'s matter.

mod expression;
mod node;

pub use expression::Expression;
pub use node::{
    AttributeName, AttributeValue, Attributes, NodeCapacity, NodeId, NodeSpec, Overcommit, OvercommitFactor,
    TaskSize,
};

use crate::text::{ParseError, serde_as_text};
use std::fmt;
use std::str::FromStr;

/// What a node must be for a task to run there. Printed `distinctInstance` or `memberOf(attribute:zone == a)`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum PlacementConstraint {
    /// No other task of the same group runs there.
    DistinctInstance,
    /// Its attributes fulfil an expression.
    MemberOf(Expression),
}

impl FromStr for PlacementConstraint {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        const EXPECTED: &str =
            "a placement constraint: \"distinctInstance\", or one like \"memberOf(attribute:zone == a)\"";
        if text == "distinctInstance" {
            return Ok(Self::DistinctInstance);
        }
        let inner = text.strip_prefix("memberOf(").and_then(|rest| rest.strip_suffix(')'));
        inner.ok_or_else(|| ParseError::new(text, EXPECTED))?.parse().map(Self::MemberOf)
    }
}

impl fmt::Display for PlacementConstraint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DistinctInstance => f.write_str("distinctInstance"),
            Self::MemberOf(expression) => write!(f, "memberOf({expression})"),
        }
    }
}

/// What tasks of a group are spread over.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum SpreadBy {
    /// Nodes.
    Instance,
    /// The values of an attribute; having none is a value too.
    Attribute(AttributeName),
}

/// What a node has the least free of when tasks are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BinpackBy {
    /// CPU units.
    Cpu,
    /// Memory.
    Memory,
}

/// Which of the nodes that come into question is taken. Printed `spread(attribute:zone)`, `spread(instance)`,
/// `binpack(memory)`, `binpack(cpu)` or `random`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum PlacementStrategy {
    /// One where the fewest tasks of the same group are.
    Spread(SpreadBy),
    /// One that has the least free, so that as few nodes as possible are in use.
    Binpack(BinpackBy),
    /// Any, each as likely as any other. What is said after it has no meaning.
    Random,
}

impl FromStr for PlacementStrategy {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        const EXPECTED: &str = "a placement strategy: \"spread(instance)\", one like \"spread(attribute:zone)\", \
                                \"binpack(cpu)\", \"binpack(memory)\" or \"random\"";
        let error = || ParseError::new(text, EXPECTED);
        match text {
            "spread(instance)" => Ok(Self::Spread(SpreadBy::Instance)),
            "binpack(cpu)" => Ok(Self::Binpack(BinpackBy::Cpu)),
            "binpack(memory)" => Ok(Self::Binpack(BinpackBy::Memory)),
            "random" => Ok(Self::Random),
            _ => {
                let name = text.strip_prefix("spread(attribute:").and_then(|rest| rest.strip_suffix(')'));
                Ok(Self::Spread(SpreadBy::Attribute(name.ok_or_else(error)?.parse()?)))
            }
        }
    }
}

impl fmt::Display for PlacementStrategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Spread(SpreadBy::Instance) => f.write_str("spread(instance)"),
            Self::Spread(SpreadBy::Attribute(name)) => write!(f, "spread(attribute:{name})"),
            Self::Binpack(BinpackBy::Cpu) => f.write_str("binpack(cpu)"),
            Self::Binpack(BinpackBy::Memory) => f.write_str("binpack(memory)"),
            Self::Random => f.write_str("random"),
        }
    }
}

/// How many tasks of a group there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum SchedulingStrategy {
    /// As many as are desired.
    #[default]
    Replica,
    /// One on each node that comes into question.
    Daemon,
}

impl FromStr for SchedulingStrategy {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        match text {
            "REPLICA" => Ok(Self::Replica),
            "DAEMON" => Ok(Self::Daemon),
            _ => Err(ParseError::new(text, "a scheduling strategy: \"REPLICA\" or \"DAEMON\"")),
        }
    }
}

impl fmt::Display for SchedulingStrategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Replica => "REPLICA",
            Self::Daemon => "DAEMON",
        })
    }
}

/// Where the tasks of a group may run, and where they had better.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Placement {
    /// What a node must be: all of these.
    pub constraints: Vec<PlacementConstraint>,
    /// Which is taken: the first decides, and where it finds several as good, the next. In the end the node that has the
    /// most memory free, and of several the one that is known for longest.
    pub strategies: Vec<PlacementStrategy>,
    /// How many there are.
    pub scheduling: SchedulingStrategy,
}

/// Why a placement can't be taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlacementError {
    /// Too many constraints.
    #[error("{0} placement constraints are more than {max}; join some with \"and\"", max = Placement::CONSTRAINTS_MAX)]
    Constraints(usize),
    /// Too many strategies.
    #[error("{0} placement strategies are more than {max}; leave out the last", max = Placement::STRATEGIES_MAX)]
    Strategies(usize),
    /// What runs once on each node has nothing to choose.
    #[error(
        "scheduled as DAEMON, one task runs on each node: leave out the placement strategies and distinctInstance"
    )]
    Daemon,
}

impl Placement {
    /// Constraints that a placement can have.
    pub const CONSTRAINTS_MAX: usize = 10;
    /// Strategies that a placement can have.
    pub const STRATEGIES_MAX: usize = 5;

    /// Whether it can be taken.
    pub fn check(&self) -> Result<(), PlacementError> {
        if self.constraints.len() > Self::CONSTRAINTS_MAX {
            return Err(PlacementError::Constraints(self.constraints.len()));
        }
        if self.strategies.len() > Self::STRATEGIES_MAX {
            return Err(PlacementError::Strategies(self.strategies.len()));
        }
        match self.scheduling {
            SchedulingStrategy::Daemon if !self.strategies.is_empty() || self.is_distinct() => {
                Err(PlacementError::Daemon)
            }
            SchedulingStrategy::Daemon | SchedulingStrategy::Replica => Ok(()),
        }
    }

    /// Whether no node may have two tasks of the group.
    pub fn is_distinct(&self) -> bool {
        self.constraints.contains(&PlacementConstraint::DistinctInstance)
    }

    /// Why a node with these attributes does not come into question; `None` if it does.
    pub fn objection(&self, attributes: &Attributes) -> Option<String> {
        self.constraints.iter().find_map(|constraint| match constraint {
            PlacementConstraint::DistinctInstance => None,
            PlacementConstraint::MemberOf(expression) => expression.objection(attributes),
        })
    }

    /// Whether a node with these attributes comes into question.
    pub fn admits(&self, attributes: &Attributes) -> bool {
        self.constraints.iter().all(|constraint| match constraint {
            PlacementConstraint::DistinctInstance => true,
            PlacementConstraint::MemberOf(expression) => expression.holds(attributes),
        })
    }
}

serde_as_text!(PlacementConstraint, PlacementStrategy, SchedulingStrategy);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constraints_and_strategies_print_as_they_parse() {
        for text in ["distinctInstance", "memberOf(attribute:zone == a)", "memberOf((attribute:a exists))"] {
            let constraint: PlacementConstraint = text.parse().unwrap();
            assert_eq!(constraint.to_string().parse::<PlacementConstraint>().unwrap(), constraint);
        }
        for text in
            ["spread(instance)", "spread(attribute:zone)", "binpack(cpu)", "binpack(memory)", "random"]
        {
            assert_eq!(text.parse::<PlacementStrategy>().unwrap().to_string(), text);
        }
        for text in ["REPLICA", "DAEMON"] {
            assert_eq!(text.parse::<SchedulingStrategy>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_constraint_or_strategy_is_refused_with_what_would_be_right() {
        for bad in ["", "distinctinstance", "memberOf", "memberOf()", "memberOf(zone == a)"] {
            assert!(bad.parse::<PlacementConstraint>().is_err(), "{bad:?} was taken");
        }
        for bad in ["", "spread", "spread()", "spread(zone)", "spread(attribute:)", "binpack(disk)", "Random"]
        {
            assert!(bad.parse::<PlacementStrategy>().is_err(), "{bad:?} was taken");
        }
        let message = "spread(zone)".parse::<PlacementStrategy>().unwrap_err().to_string();
        assert!(message.contains("spread(attribute:zone)"), "{message}");
    }

    #[test]
    fn a_placement_has_bounds_and_a_daemon_nothing_to_choose() {
        let random = PlacementStrategy::Random;
        let distinct = PlacementConstraint::DistinctInstance;
        let mut placement = Placement { strategies: vec![random.clone(); 5], ..Placement::default() };
        assert_eq!(placement.check(), Ok(()));
        placement.strategies.push(random);
        assert_eq!(placement.check(), Err(PlacementError::Strategies(6)));
        placement = Placement { constraints: vec![distinct.clone(); 11], ..Placement::default() };
        assert_eq!(placement.check(), Err(PlacementError::Constraints(11)));
        placement = Placement { scheduling: SchedulingStrategy::Daemon, ..Placement::default() };
        assert_eq!(placement.check(), Ok(()));
        placement.constraints.push(distinct);
        assert_eq!(placement.check(), Err(PlacementError::Daemon));
    }
}

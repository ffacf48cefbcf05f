//! Nodes as placement sees them: what they are called, what they are, what they have room for.

use crate::text::{ParseError, serde_as_text};
use crate::{CpuUnits, MemorySize, Name};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// A node's id: a name of its own.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(Name);

impl NodeId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl FromStr for NodeId {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        text.parse().map(Self)
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What an attribute of a node is called, like `zone` or `skiff.cpu-architecture`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttributeName(Arc<str>);

impl AttributeName {
    /// Longest name, in bytes.
    pub const LENGTH_MAX: usize = 128;
}

impl FromStr for AttributeName {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let is_known = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte);
        let is_valid = text.len() <= Self::LENGTH_MAX
            && text.starts_with(|first: char| first.is_ascii_alphabetic())
            && text.bytes().all(is_known);
        if is_valid {
            return Ok(Self(text.into()));
        }
        Err(ParseError::new(
            text,
            "the name of an attribute: a letter, then letters, digits, '-', '_', '.' and '/', 128 at most, like \"zone\"",
        ))
    }
}

impl fmt::Display for AttributeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What an attribute of a node is, like `eu-1a`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttributeValue(Arc<str>);

impl AttributeValue {
    /// Longest value, in bytes.
    pub const LENGTH_MAX: usize = 128;
}

impl FromStr for AttributeValue {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let is_valid = (1..=Self::LENGTH_MAX).contains(&text.len()) && text.chars().all(is_of_word);
        if is_valid {
            return Ok(Self(text.into()));
        }
        Err(ParseError::new(
            text,
            "the value of an attribute: 1 to 128 letters, digits, '-', '_', '.', '/', ':', '@' and '+', like \"eu-1a\"",
        ))
    }
}

impl fmt::Display for AttributeValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether a character may stand in an attribute's value; so an expression needs no quotes.
pub(super) fn is_of_word(character: char) -> bool {
    character.is_ascii_alphanumeric() || "-_./:@+".contains(character)
}

/// What a node is, by name.
pub type Attributes = BTreeMap<AttributeName, AttributeValue>;

/// How many times of what it has a node takes: `1` to `10000`, with two decimals at most, like `1.5`. What is idle takes next
/// to nothing of what it is defined with, so the factor may be large.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OvercommitFactor(u32);

impl OvercommitFactor {
    /// No more than there is.
    pub const ONE: Self = Self(Self::PARTS);
    const PARTS: u32 = 100;
    const MAX: u32 = 10_000 * Self::PARTS;

    /// How much is taken of what is there.
    pub fn of(self, there: u64) -> u64 {
        let taken = u128::from(there) * u128::from(self.0) / u128::from(Self::PARTS);
        u64::try_from(taken).unwrap_or(u64::MAX)
    }
}

impl Default for OvercommitFactor {
    fn default() -> Self {
        Self::ONE
    }
}

impl FromStr for OvercommitFactor {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let error = || {
            ParseError::new(text, "an overcommit factor from 1 to 10000 with two decimals at most, like 1.5")
        };
        let (whole, decimals) = text.split_once('.').unwrap_or((text, "0"));
        let is_number = |digits: &str, most: usize| {
            (1..=most).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit())
        };
        if !is_number(whole, 5) || !is_number(decimals, 2) {
            return Err(error());
        }
        let number = |digits: &str| digits.parse::<u32>().map_err(|_| error());
        let parts = number(whole)? * Self::PARTS + number(&format!("{decimals:0<2}"))?;
        if (Self::PARTS..=Self::MAX).contains(&parts) { Ok(Self(parts)) } else { Err(error()) }
    }
}

impl fmt::Display for OvercommitFactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, decimals) = (self.0 / Self::PARTS, self.0 % Self::PARTS);
        match (decimals, decimals % 10) {
            (0, _) => write!(f, "{whole}"),
            (_, 0) => write!(f, "{whole}.{}", decimals / 10),
            _ => write!(f, "{whole}.{decimals:02}"),
        }
    }
}

/// How far a node goes beyond what it has. CPU units are a ceiling and a weight, and memory a limit, so what tasks are
/// defined with may add up to more than there is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Overcommit {
    /// Of CPU units.
    pub cpu: OvercommitFactor,
    /// Of memory.
    pub memory: OvercommitFactor,
}

/// What tasks can take together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct NodeCapacity {
    /// CPU units: 1024 are one core.
    pub cpu_units: u64,
    /// Memory.
    pub memory: MemorySize,
    /// Tasks, however small.
    pub tasks: u32,
}

/// What one task takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TaskSize {
    /// CPU units.
    pub cpu: CpuUnits,
    /// Memory.
    pub memory: MemorySize,
}

/// A host that runs tasks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeSpec {
    /// Its id.
    pub id: NodeId,
    /// What it is.
    pub attributes: Attributes,
    /// What it has.
    pub capacity: NodeCapacity,
    /// How many times of that it takes.
    pub overcommit: Overcommit,
    /// Whether it takes no new tasks, as it is about to go.
    pub is_draining: bool,
}

impl NodeSpec {
    /// What its tasks can take together: what it has, times how far it goes beyond.
    pub fn room(&self) -> NodeCapacity {
        NodeCapacity {
            cpu_units: self.overcommit.cpu.of(self.capacity.cpu_units),
            memory: MemorySize::from_bytes(self.overcommit.memory.of(self.capacity.memory.bytes())),
            tasks: self.capacity.tasks,
        }
    }
}

serde_as_text!(NodeId, AttributeName, AttributeValue, OvercommitFactor);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_words() {
        let long = "a".repeat(128);
        for good in ["zone", "skiff.cpu-architecture", "team/name_2", &long] {
            assert_eq!(good.parse::<AttributeName>().unwrap().to_string(), good);
        }
        for bad in ["", "1zone", "a b", "a:b", "zöne", &"a".repeat(129)] {
            assert!(bad.parse::<AttributeName>().is_err(), "{bad:?} was taken");
        }
        for good in ["a", "1", "eu-1a", "x86_64", "host:80/a@b+c.d", "and", &long] {
            assert_eq!(good.parse::<AttributeValue>().unwrap().to_string(), good);
        }
        for bad in ["", "a b", "a,b", "(a)", "[a]", "a=b", "ä", &"a".repeat(129)] {
            assert!(bad.parse::<AttributeValue>().is_err(), "{bad:?} was taken");
        }
    }

    #[test]
    fn a_factor_prints_as_it_parses() {
        for text in ["1", "1.5", "1.05", "2.25", "10", "100", "10000"] {
            assert_eq!(text.parse::<OvercommitFactor>().unwrap().to_string(), text);
        }
        assert_eq!("1.50".parse::<OvercommitFactor>().unwrap().to_string(), "1.5");
        for bad in ["", "0", "0.99", "10000.01", "100000", "1.", ".5", "1.234", "-1", "+1", "1e1", "2x"] {
            assert!(bad.parse::<OvercommitFactor>().is_err(), "{bad:?} was taken");
        }
    }

    #[test]
    fn a_node_has_room_for_its_capacity_times_its_factors() {
        let node = NodeSpec {
            id: "node-1".parse().unwrap(),
            attributes: Attributes::new(),
            capacity: NodeCapacity { cpu_units: 2_048, memory: MemorySize::from_mib(100), tasks: 7 },
            overcommit: Overcommit { cpu: "4".parse().unwrap(), memory: "1.25".parse().unwrap() },
            is_draining: false,
        };
        let room = NodeCapacity { cpu_units: 8_192, memory: MemorySize::from_mib(125), tasks: 7 };
        assert_eq!(node.room(), room);
        assert_eq!("100".parse::<OvercommitFactor>().unwrap().of(u64::MAX), u64::MAX);
    }
}

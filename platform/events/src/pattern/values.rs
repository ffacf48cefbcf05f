//! What a pattern says of one value of an event.

use super::value_set::ValueSet;
use super::wildcard::Wildcard;
use super::work::{TooMuchWork, Work};
use crate::decimal::Decimal;
use ipnet::IpNet;
use std::net::IpAddr;

/// A value of an event that is no array or object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leaf<'a> {
    Null,
    Boolean(bool),
    Number(&'a Decimal),
    Text(&'a str),
}

/// Values that a pattern takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ValuePattern {
    Null,
    Boolean(bool),
    Number(Decimal),
    Text(Box<str>),
    Prefix(Box<str>),
    Suffix(Box<str>),
    /// As [`folded`].
    IgnoreCase(Box<str>),
    /// As [`folded`].
    PrefixIgnoreCase(Box<str>),
    /// As [`folded`].
    SuffixIgnoreCase(Box<str>),
    Wildcard(Wildcard),
    Range(Range),
    Network(IpNet),
    Exists,
    /// None of these.
    AnythingBut(Box<ValueSet>),
}

impl ValuePattern {
    /// Whether it takes a value.
    pub(super) fn takes(&self, leaf: Leaf<'_>, work: &Work) -> Result<bool, TooMuchWork> {
        work.spend_on(match leaf {
            Leaf::Text(text) => text.len(),
            Leaf::Null | Leaf::Boolean(_) | Leaf::Number(_) => 0,
        })?;
        if let (
            Self::IgnoreCase(own) | Self::PrefixIgnoreCase(own) | Self::SuffixIgnoreCase(own),
            Leaf::Text(text),
        ) = (self, leaf)
        {
            work.spend_on_letters(own.len().min(text.len()))?;
        }
        Ok(match (self, leaf) {
            (Self::Exists, _) | (Self::Null, Leaf::Null) => true,
            (Self::AnythingBut(others), _) => !others.takes(leaf, work)?,
            (Self::Boolean(own), Leaf::Boolean(value)) => *own == value,
            (Self::Number(own), Leaf::Number(value)) => own == value,
            (Self::Range(range), Leaf::Number(value)) => range.takes(value),
            (_, Leaf::Text(text)) => self.takes_text(text),
            (_, Leaf::Null | Leaf::Boolean(_) | Leaf::Number(_)) => false,
        })
    }

    fn takes_text(&self, text: &str) -> bool {
        match self {
            Self::Text(own) => **own == *text,
            Self::Prefix(prefix) => text.starts_with(&**prefix),
            Self::Suffix(suffix) => text.ends_with(&**suffix),
            Self::IgnoreCase(own) => letters(text).eq(own.chars()),
            Self::PrefixIgnoreCase(prefix) => begins_with(letters(text), prefix.chars()),
            Self::SuffixIgnoreCase(suffix) => begins_with(letters(text).rev(), suffix.chars().rev()),
            Self::Wildcard(wildcard) => wildcard.takes(text),
            Self::Network(network) => text.parse::<IpAddr>().is_ok_and(|address| network.contains(&address)),
            Self::Null
            | Self::Boolean(_)
            | Self::Number(_)
            | Self::Range(_)
            | Self::Exists
            | Self::AnythingBut(_) => false,
        }
    }
}

/// Numbers from one to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Range {
    /// No less than this.
    pub(super) least: Option<Limit>,
    /// No more than this.
    pub(super) most: Option<Limit>,
}

/// An end of a range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Limit {
    pub(super) number: Decimal,
    /// Whether the number itself is within.
    pub(super) is_within: bool,
}

impl Range {
    fn takes(&self, number: &Decimal) -> bool {
        let above = |limit: &Limit| *number > limit.number || (limit.is_within && *number == limit.number);
        let below = |limit: &Limit| *number < limit.number || (limit.is_within && *number == limit.number);
        self.least.as_ref().is_none_or(above) && self.most.as_ref().is_none_or(below)
    }

    /// Whether there is no number within.
    pub(super) fn is_empty(&self) -> bool {
        let (Some(least), Some(most)) = (&self.least, &self.most) else { return false };
        least.number > most.number || (least.number == most.number && !(least.is_within && most.is_within))
    }
}

/// A text as all are that differ from it in case only: letter by letter, so that no letter becomes two where its capital is
/// two.
pub(super) fn folded(text: &str) -> String {
    letters(text).collect()
}

/// The first letters of [`folded`], so many at most.
pub(super) fn folded_beginning(text: &str, letters_max: usize) -> String {
    letters(text).take(letters_max).collect()
}

/// The letters of [`folded`], without writing them down.
fn letters(text: &str) -> impl DoubleEndedIterator<Item = char> {
    let fold = |letter: char| {
        let mut capitals = letter.to_uppercase();
        let capital = match (capitals.next(), capitals.next()) {
            (Some(capital), None) => capital,
            _ => letter,
        };
        capital.to_lowercase()
    };
    text.chars().flat_map(fold)
}

fn begins_with(mut letters: impl Iterator<Item = char>, mut beginning: impl Iterator<Item = char>) -> bool {
    beginning.all(|letter| letters.next() == Some(letter))
}

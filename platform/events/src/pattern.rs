//! Event patterns in EventBridge's language, and which of many take an event.
//!
//! A [`Pattern`] is parsed once; [`Parsed`] is an event as patterns see it; a [`Matcher`] finds the patterns that take an
//! event among thousands. Deliberately not here: what follows from it.
//!
//! What an event costs does not grow with the values in a pattern; what is left (wildcards, thousands of rules that all ask what is
//! in one long array) has a bound, [`Pattern::STEPS_MAX`], and an event beyond it is refused, never matched wrong.
//!
//! What always holds: numbers are compared as the decimals that they are written as, however long (300 is 3e2 is 300.0); what
//! a pattern asks of the fields of one array's objects, one object has, all of it; [`Matcher::matching`] gives what
//! [`Pattern::takes`] gives.
//!
//! Where EventBridge leaves it open: `{"a.b": …}` and `{"a": {"b": …}}` are the same field, in patterns and in events, as in
//! event-ruler; of a key that an object has twice, both values count; an array within an array counts as part of it; case is
//! ignored letter by letter, so that `ß` is not `SS`.
//!
//! Sources: <https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-create-pattern-operators.html>,
//! <https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-event-patterns-arrays.html>,
//! <https://github.com/aws/event-ruler>

mod clause;
mod compile;
mod fields;
mod index;
mod matcher;
mod prefixes;
mod value_set;
mod values;
mod wildcard;
mod work;

#[cfg(test)]
mod tests;

use crate::json::JsonError;
use clause::Clause;
pub use fields::Parsed;
pub use matcher::Matcher;
use skiff_types::EventRuleSpec;
use std::sync::Arc;
pub use work::TooMuchWork;
pub(crate) use work::Work;

/// An event pattern: says of an event whether it takes it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Pattern {
    /// The alternatives that `$or` leads to; an event is taken that fulfils one of them.
    clauses: Arc<[Clause]>,
}

impl Pattern {
    /// Alternatives that `$or` can lead to in one pattern, as at EventBridge.
    pub const ALTERNATIVES_MAX: usize = 1_000;
    /// Fields of all these alternatives together.
    pub const FIELDS_MAX: usize = 50_000;
    /// Steps that are taken to tell which patterns take one event, or all events of one put: looks at a field in one object,
    /// comparisons with a value, of which long texts take more, and letters in any case more yet. As many take a second or so.
    pub const STEPS_MAX: u64 = 10_000_000;

    /// Reads a pattern: JSON of at most [`EventRuleSpec::PATTERN_BYTES_MAX`].
    ///
    /// # Errors
    ///
    /// A [`PatternError`] says where it is none and what would be one.
    pub fn parse(json: &str) -> Result<Self, PatternError> {
        compile::compile(json).map(|clauses| Self { clauses: clauses.into() })
    }

    /// Whether it takes an event, given as JSON in EventBridge's envelope. What is no JSON object is taken by none.
    ///
    /// # Errors
    ///
    /// As [`Pattern::takes`].
    pub fn matches(&self, event: &str) -> Result<bool, TooMuchWork> {
        Parsed::parse(event).map_or(Ok(false), |event| self.takes(&event))
    }

    /// Whether it takes an event.
    ///
    /// # Errors
    ///
    /// [`TooMuchWork`] where more than [`Pattern::STEPS_MAX`] would tell.
    pub fn takes(&self, event: &Parsed) -> Result<bool, TooMuchWork> {
        let work = Work::new(Self::STEPS_MAX);
        for clause in &*self.clauses {
            if clause.takes(event, &work)? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Why something is no pattern, or no event to match with one; a sentence for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// It is too long to be read.
    #[error(
        "an event pattern can have {} bytes, not {bytes}: make several rules of it",
        EventRuleSpec::PATTERN_BYTES_MAX
    )]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// It is no JSON.
    #[error("{0}")]
    Json(JsonError),
    /// It is JSON, but not a pattern.
    #[error("{problem}")]
    Whole {
        /// What is wrong, and what would be right.
        problem: String,
    },
    /// Something in it can't be so.
    #[error("{path}: {problem}")]
    At {
        /// Which field: the keys that lead there, joined by dots; shortened if they are long.
        path: String,
        /// What is wrong with it, and what would be right.
        problem: String,
    },
    /// It leads to more than is kept of a pattern.
    #[error(
        "\"$or\" leads to more than {} alternatives, or to more than {} fields in all of them: make several rules of it",
        Pattern::ALTERNATIVES_MAX,
        Pattern::FIELDS_MAX
    )]
    TooComplex,
}

//! One alternative of a pattern: fields, each of which an event has to have as it says.
//!
//! What always holds: an event is looked at once for each field and each array's object on the way to it, each look is counted
//! as work, and what is beyond that has no answer.

use super::fields::{EVENT, Parsed, PathHash};
use super::value_set::ValueSet;
use super::work::{TooMuchWork, Work};
use std::sync::Arc;

/// Fields that all have to be as they say. By path, each path once.
#[derive(Debug, Clone)]
pub(super) struct Clause {
    pub(super) fields: Box<[Arc<Field>]>,
}

/// What is asked of a field.
#[derive(Debug)]
pub(super) struct Field {
    /// The keys that lead there, joined by dots.
    path: Box<str>,
    hash: PathHash,
    /// The beginnings of the path that end before a dot, each with its hash.
    before: Box<[(usize, PathHash)]>,
    accepts: Accepts,
}

/// What a field may be.
#[derive(Debug)]
pub(super) enum Accepts {
    /// Not there, or no leaf.
    Absent,
    /// One of its values is one of these.
    Values(Box<ValueSet>),
}

impl Field {
    /// What is asked of the field at a path.
    pub(super) fn new(path: &str, accepts: Accepts) -> Self {
        let dots = path.match_indices('.').map(|(at, _)| (at, PathHash::EMPTY.then(&path.as_bytes()[..at])));
        Self {
            path: path.into(),
            hash: PathHash::EMPTY.then(path.as_bytes()),
            before: dots.collect(),
            accepts,
        }
    }

    /// The keys that lead there, joined by dots.
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// The hash of its path.
    pub(super) fn hash(&self) -> PathHash {
        self.hash
    }

    /// The values of which one has to be there, unless none may be.
    pub(super) fn values(&self) -> Option<&ValueSet> {
        match &self.accepts {
            Accepts::Absent => None,
            Accepts::Values(values) => Some(values),
        }
    }

    /// Whether the values that lie in a scope itself are as they should.
    fn is_met(&self, event: &Parsed, scope: u32, work: &Work) -> Result<bool, TooMuchWork> {
        work.spend_on(self.path.len())?;
        let mut leaves = event.at(scope, &self.path, self.hash);
        match &self.accepts {
            Accepts::Absent => Ok(leaves.next().is_none()),
            Accepts::Values(values) => {
                for leaf in leaves {
                    // Each was found by its path.
                    work.spend_on(self.path.len())?;
                    if values.takes(leaf, work)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
        }
    }
}

impl Clause {
    /// Whether an event has all of it.
    pub(super) fn takes(&self, event: &Parsed, work: &Work) -> Result<bool, TooMuchWork> {
        if event.arrays(EVENT).is_empty() {
            for field in &self.fields {
                if !field.is_met(event, EVENT, work)? {
                    return Ok(false);
                }
            }
            return Ok(true);
        }
        let fields: Vec<&Field> = self.fields.iter().map(|field| &**field).collect();
        are_met(event, EVENT, &fields, work)
    }
}

/// Whether a scope has all these fields: each in itself, or in an array of objects of it, where one object has all of them that lie
/// in that array. That a field is absent is asked of that object; of all of them, if nothing else is asked.
fn are_met(event: &Parsed, scope: u32, fields: &[&Field], work: &Work) -> Result<bool, TooMuchWork> {
    let mut met = Vec::with_capacity(fields.len());
    for field in fields {
        met.push(field.is_met(event, scope, work)?);
    }
    let path_bytes: usize = fields.iter().map(|field| field.path.len()).sum();
    for array in event.arrays(scope) {
        work.spend(fields.len())?;
        work.spend_on(path_bytes)?;
        let within: Vec<usize> = (0..fields.len())
            .filter(|&at| event.is_on_the_way(array, &fields[at].path, &fields[at].before))
            .collect();
        if within.is_empty() {
            continue;
        }
        let inner: Vec<&Field> = within.iter().map(|&at| fields[at]).collect();
        // Where values are asked for, one object is to have them; else none may have what is to be absent.
        let asks_for_values = inner.iter().any(|field| field.values().is_some());
        let mut one_has_them = !asks_for_values;
        for &element in &array.elements {
            if are_met(event, element, &inner, work)? == asks_for_values {
                one_has_them = asks_for_values;
                break;
            }
        }
        for at in within {
            if fields[at].values().is_some() {
                met[at] |= one_has_them;
            } else {
                met[at] &= one_has_them;
            }
        }
    }
    Ok(met.into_iter().all(|met| met))
}

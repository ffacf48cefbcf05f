//! The ways into a matcher at one path: which value of an event leads to which clauses.
//!
//! A **hook** is what one value of a pattern leaves here: the value itself, or what it begins or ends with. It may lead to a clause
//! that does not take the event after all, never past one that does.

use super::prefixes::Prefixes;
use super::value_set::ValueSet;
use super::values::{Leaf, ValuePattern, folded};
use super::work::{TooMuchWork, Work};
use crate::decimal::Decimal;
use std::collections::{HashMap, HashSet};

/// What leads to a clause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Hook {
    /// Any value at the path.
    Present,
    Null,
    Boolean(bool),
    Number(Decimal),
    Text(Box<str>),
    Prefix(Box<str>),
    /// Backwards.
    Suffix(Box<str>),
    /// As [`folded`].
    IgnoreCase(Box<str>),
    /// As [`folded`].
    PrefixIgnoreCase(Box<str>),
    /// As [`folded`], and backwards.
    SuffixIgnoreCase(Box<str>),
}

/// How much worse a hook is that any value leads to.
const PRESENT_COST: usize = 16;

/// The hooks of a field's values: [`Hook::Present`] alone, if one of them needs that.
pub(super) fn hooks(values: &ValueSet) -> Vec<Hook> {
    let hooks: Vec<Hook> = values.hooks().collect();
    if hooks.contains(&Hook::Present) { vec![Hook::Present] } else { hooks }
}

/// The hook of one value.
pub(super) fn hook(value: &ValuePattern) -> Hook {
    match value {
        ValuePattern::Null => Hook::Null,
        ValuePattern::Boolean(value) => Hook::Boolean(*value),
        ValuePattern::Number(number) => Hook::Number(number.clone()),
        ValuePattern::Text(text) => Hook::Text(text.clone()),
        ValuePattern::IgnoreCase(text) => Hook::IgnoreCase(text.clone()),
        ValuePattern::Prefix(prefix) if !prefix.is_empty() => Hook::Prefix(prefix.clone()),
        ValuePattern::Suffix(suffix) if !suffix.is_empty() => Hook::Suffix(backwards(suffix)),
        ValuePattern::PrefixIgnoreCase(prefix) if !prefix.is_empty() => {
            Hook::PrefixIgnoreCase(prefix.clone())
        }
        ValuePattern::SuffixIgnoreCase(suffix) if !suffix.is_empty() => {
            Hook::SuffixIgnoreCase(backwards(suffix))
        }
        ValuePattern::Wildcard(wildcard) if wildcard.is_plain() => Hook::Text(wildcard.first().into()),
        ValuePattern::Wildcard(wildcard) if !wildcard.first().is_empty() => {
            Hook::Prefix(wildcard.first().into())
        }
        ValuePattern::Wildcard(wildcard) if !wildcard.last().is_empty() => {
            Hook::Suffix(backwards(wildcard.last()))
        }
        ValuePattern::Prefix(_)
        | ValuePattern::Suffix(_)
        | ValuePattern::PrefixIgnoreCase(_)
        | ValuePattern::SuffixIgnoreCase(_)
        | ValuePattern::Wildcard(_)
        | ValuePattern::Range(_)
        | ValuePattern::Network(_)
        | ValuePattern::Exists
        | ValuePattern::AnythingBut(_) => Hook::Present,
    }
}

fn backwards(text: &str) -> Box<str> {
    text.chars().rev().collect::<String>().into()
}

/// Clauses by the values at one path that lead to them.
#[derive(Debug, Clone, Default)]
pub(super) struct Hooks {
    present: Vec<u32>,
    null: Vec<u32>,
    untrue: Vec<u32>,
    truth: Vec<u32>,
    numbers: HashMap<Decimal, Vec<u32>>,
    texts: HashMap<Box<str>, Vec<u32>>,
    ignoring_case: HashMap<Box<str>, Vec<u32>>,
    prefixes: Prefixes,
    suffixes: Prefixes,
    prefixes_ignoring_case: Prefixes,
    suffixes_ignoring_case: Prefixes,
}

/// What was found so far. A list of clauses is taken once, however many values lead to it, so that no event makes it long.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Clauses, some of them more than once.
    pub(super) clauses: Vec<u32>,
    /// The addresses of lists that were taken.
    taken: HashSet<usize>,
}

impl Found {
    fn take(&mut self, ids: &[u32]) {
        if !ids.is_empty() && self.taken.insert(ids.as_ptr().addr()) {
            self.clauses.extend_from_slice(ids);
        }
    }
}

impl Hooks {
    /// What it would cost an event to be asked by these hooks: about the clauses that are there already.
    pub(super) fn cost(&self, hooks: &[Hook]) -> usize {
        let cost = |hook: &Hook| {
            let others = self.get(hook).map_or(0, Vec::len);
            if *hook == Hook::Present { (others + 1) * PRESENT_COST } else { others }
        };
        hooks.iter().map(cost).sum()
    }

    /// Whether they lead nowhere.
    pub(super) fn is_empty(&self) -> bool {
        let lists = [&self.present, &self.null, &self.untrue, &self.truth];
        let prefixes =
            [&self.prefixes, &self.suffixes, &self.prefixes_ignoring_case, &self.suffixes_ignoring_case];
        lists.into_iter().all(Vec::is_empty)
            && self.numbers.is_empty()
            && self.texts.is_empty()
            && self.ignoring_case.is_empty()
            && prefixes.into_iter().all(Prefixes::is_empty)
    }

    fn get(&self, hook: &Hook) -> Option<&Vec<u32>> {
        match hook {
            Hook::Present => Some(&self.present),
            Hook::Null => Some(&self.null),
            Hook::Boolean(value) => Some(if *value { &self.truth } else { &self.untrue }),
            Hook::Number(number) => self.numbers.get(number),
            Hook::Text(text) => self.texts.get(text),
            Hook::IgnoreCase(text) => self.ignoring_case.get(text),
            Hook::Prefix(text) => self.prefixes.get(text),
            Hook::Suffix(text) => self.suffixes.get(text),
            Hook::PrefixIgnoreCase(text) => self.prefixes_ignoring_case.get(text),
            Hook::SuffixIgnoreCase(text) => self.suffixes_ignoring_case.get(text),
        }
    }

    /// Leads to a clause from now on.
    pub(super) fn insert(&mut self, hook: Hook, id: u32) {
        let ids = match hook {
            Hook::Present => &mut self.present,
            Hook::Null => &mut self.null,
            Hook::Boolean(true) => &mut self.truth,
            Hook::Boolean(false) => &mut self.untrue,
            Hook::Number(number) => self.numbers.entry(number).or_default(),
            Hook::Text(text) => self.texts.entry(text).or_default(),
            Hook::IgnoreCase(text) => self.ignoring_case.entry(text).or_default(),
            Hook::Prefix(text) => self.prefixes.entry(&text),
            Hook::Suffix(text) => self.suffixes.entry(&text),
            Hook::PrefixIgnoreCase(text) => self.prefixes_ignoring_case.entry(&text),
            Hook::SuffixIgnoreCase(text) => self.suffixes_ignoring_case.entry(&text),
        };
        ids.push(id);
    }

    /// Leads there no more.
    pub(super) fn remove(&mut self, hook: &Hook, id: u32) {
        let forget = |ids: &mut Vec<u32>| ids.retain(|&other| other != id);
        match hook {
            Hook::Present => forget(&mut self.present),
            Hook::Null => forget(&mut self.null),
            Hook::Boolean(true) => forget(&mut self.truth),
            Hook::Boolean(false) => forget(&mut self.untrue),
            Hook::Number(number) => remove(&mut self.numbers, number, id),
            Hook::Text(text) => remove(&mut self.texts, text, id),
            Hook::IgnoreCase(text) => remove(&mut self.ignoring_case, text, id),
            Hook::Prefix(text) => self.prefixes.remove(text, id),
            Hook::Suffix(text) => self.suffixes.remove(text, id),
            Hook::PrefixIgnoreCase(text) => self.prefixes_ignoring_case.remove(text, id),
            Hook::SuffixIgnoreCase(text) => self.suffixes_ignoring_case.remove(text, id),
        }
    }

    /// Finds the clauses that a value leads to.
    pub(super) fn ask(&self, leaf: Leaf<'_>, work: &Work, found: &mut Found) -> Result<(), TooMuchWork> {
        found.take(&self.present);
        match leaf {
            Leaf::Null => found.take(&self.null),
            Leaf::Boolean(value) => found.take(if value { &self.truth } else { &self.untrue }),
            Leaf::Number(number) => self.numbers.get(number).into_iter().for_each(|ids| found.take(ids)),
            Leaf::Text(text) => self.ask_text(text, work, found)?,
        }
        Ok(())
    }

    fn ask_text(&self, text: &str, work: &Work, found: &mut Found) -> Result<(), TooMuchWork> {
        if let Some(ids) = self.texts.get(text) {
            found.take(ids);
        }
        self.prefixes.of(text, work, |ids| found.take(ids))?;
        if !self.suffixes.is_empty() {
            self.suffixes.of(&backwards(text), work, |ids| found.take(ids))?;
        }
        let nobody_ignores_case = self.ignoring_case.is_empty()
            && self.prefixes_ignoring_case.is_empty()
            && self.suffixes_ignoring_case.is_empty();
        if nobody_ignores_case {
            return Ok(());
        }
        let text = folded(text);
        if let Some(ids) = self.ignoring_case.get(text.as_str()) {
            found.take(ids);
        }
        self.prefixes_ignoring_case.of(&text, work, |ids| found.take(ids))?;
        if !self.suffixes_ignoring_case.is_empty() {
            self.suffixes_ignoring_case.of(&backwards(&text), work, |ids| found.take(ids))?;
        }
        Ok(())
    }
}

fn remove<T: std::hash::Hash + Eq>(map: &mut HashMap<T, Vec<u32>>, key: &T, id: u32) {
    if let Some(ids) = map.get_mut(key) {
        ids.retain(|&other| other != id);
        if ids.is_empty() {
            map.remove(key);
        }
    }
}

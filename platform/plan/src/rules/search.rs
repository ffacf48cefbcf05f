//! The first rule that takes a request, among the lists that the request leads to.
//!
//! What always holds: rules are asked in the order of their priorities, each once, whichever lists they are in and however
//! often the request leads to those; none is asked that comes after one that takes the request.

use super::bucket::Filed;
use super::{Entry, Request, Rules};
use std::cmp::Ordering;
use std::collections::{BTreeSet, BinaryHeap};
use std::ptr;

/// Lists that are looked through without a heap. A request leads to more only by parameters, headers or beginnings of its
/// texts that are many and all known to rules.
const LISTS_FEW: usize = 16;

/// A search for one request.
pub(super) struct Search<'a, 'r, T> {
    rules: &'a Rules<T>,
    request: &'r Request<'r>,
    /// What is left of each list.
    few: [&'a [Filed]; LISTS_FEW],
    count: usize,
    /// What is left of the lists beyond those.
    more: BinaryHeap<Left<'a>>,
    /// Where those lists begin, by address.
    known: BTreeSet<usize>,
    best: Option<&'a Entry<T>>,
}

/// What is left of a list, never nothing; only its first rule is compared, and the greatest is whose comes first.
struct Left<'a>(&'a [Filed]);

impl Ord for Left<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        other.0[0].cmp(&self.0[0])
    }
}

impl PartialOrd for Left<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Left<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Left<'_> {}

impl<'a, 'r, T> Search<'a, 'r, T> {
    pub(super) fn new(rules: &'a Rules<T>, request: &'r Request<'r>) -> Self {
        let (more, known) = Default::default();
        Self { rules, request, few: [&[]; LISTS_FEW], count: 0, more, known, best: None }
    }

    /// Takes a list that the request leads to; not an empty one.
    pub(super) fn add(&mut self, list: &'a [Filed]) {
        if self.few[..self.count].iter().any(|known| ptr::eq(known.as_ptr(), list.as_ptr())) {
            return;
        }
        if let Some(place) = self.few.get_mut(self.count) {
            *place = list;
            self.count += 1;
        } else if self.known.insert(list.as_ptr().addr()) {
            self.more.push(Left(list));
        }
    }

    /// The rule that takes the request.
    pub(super) fn finish(mut self) -> Option<&'a Entry<T>> {
        let mut asked = None;
        while let Some(filed) = self.take_first() {
            // What is in several lists comes several times in a row.
            if asked.replace(filed) != Some(filed) && !self.ask(filed) {
                break;
            }
        }
        self.best
    }

    /// The first of what is left of the lists.
    fn take_first(&mut self) -> Option<Filed> {
        let heads = self.few[..self.count].iter_mut().filter(|list| !list.is_empty());
        let few = heads.min_by_key(|list| list[0]);
        let is_before = |left: &Left<'_>| few.as_ref().is_none_or(|list| left.0[0] < list[0]);
        if self.more.peek().is_some_and(is_before) {
            let (first, rest) = self.more.pop()?.0.split_first()?;
            if !rest.is_empty() {
                self.more.push(Left(rest));
            }
            return Some(*first);
        }
        let list = few?;
        let left: &'a [Filed] = list;
        let (first, rest) = left.split_first()?;
        *list = rest;
        Some(*first)
    }

    /// Asks a rule, unless a better one is known; whether rules of later priorities may still be of interest.
    fn ask(&mut self, filed: Filed) -> bool {
        if self.best.is_some_and(|best| best.priority < filed.priority) {
            return false;
        }
        let entry = self.rules.entry(filed.slot);
        let is_before = self.best.is_none_or(|best| entry.order() < best.order());
        if is_before && entry.takes(self.request) {
            self.best = Some(entry);
        }
        true
    }
}

//! Which rule of a listener takes a request, among many thousands.
//!
//! It deliberately knows no actions (what is kept with a rule is its holder's matter), neither the hosts and paths of
//! services nor default actions (who asks goes on to those), and it changes nothing of a request: hosts and sources
//! come normalised.
//!
//! What always holds: the rule that is chosen is the one that asking all of them in their order would find; being filed
//! under text only spares asking those that cannot take the request. A rule that comes or goes moves no other one.
//! Choosing allocates nothing, but for a request whose texts lead to more than 16 lists of rules.
//!
//! The cost grows with the names of headers that rules are filed under, since each is looked up in a request; not with
//! the values.

mod bucket;
mod compiled;
mod explain;
mod glob;
mod index;
mod search;
#[cfg(test)]
mod tests;
mod trie;

pub use explain::{Explanation, Step, explain};

use bucket::Filed;
use compiled::Compiled;
use index::{Index, Key};
use search::Search;
use skiff_types::{Condition, Priority, QualifiedName};
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

/// What of a request rules look at. Borrowed; makes no copies.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// The host that is asked for: normalised, in lower case, without a port.
    pub host: &'a str,
    /// The path as it was sent, without the query.
    pub path: &'a str,
    /// The query as it was sent, without `?`.
    pub query: Option<&'a str>,
    /// The method.
    pub method: &'a str,
    /// The address that the connection came from: an IPv4 address as such, never mapped into IPv6.
    pub source: IpAddr,
    /// Its headers.
    pub headers: &'a dyn Headers,
}

/// The headers of a request.
pub trait Headers {
    /// Calls `found` with each value of a header, named in lower case, until it says true; whether it did.
    fn any(&self, name: &str, found: &mut dyn FnMut(&[u8]) -> bool) -> bool;
}

/// The rules of one listener, in the order of their priorities; of equal ones by name. With each, a `T` is kept.
#[derive(Debug, Clone)]
pub struct Rules<T> {
    /// Where a rule stays as long as it is here.
    slots: Vec<Option<Entry<T>>>,
    /// Slots that are empty.
    free: Vec<usize>,
    names: HashMap<QualifiedName, usize>,
    order: BTreeMap<(Priority, QualifiedName), usize>,
    index: Index,
}

impl<T> Rules<T> {
    /// None.
    pub fn new() -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            names: HashMap::new(),
            order: BTreeMap::new(),
            index: Index::default(),
        }
    }

    /// Adds a rule, or puts it in the place of the one of its name. It takes what meets all of its conditions.
    pub fn set(&mut self, name: QualifiedName, priority: Priority, conditions: &[Condition], value: T) {
        self.remove(&name);
        let compiled = Compiled::all(conditions);
        let filed = self.index.choose(compiled.iter().map(|(_, condition)| condition));
        let slot = self.free.pop().unwrap_or(self.slots.len());
        self.index.add(filed.as_deref(), Filed { priority, slot });
        self.names.insert(name.clone(), slot);
        self.order.insert((priority, name.clone()), slot);
        let entry = Entry { name, priority, conditions: conditions.to_vec(), compiled, filed, value };
        match self.slots.get_mut(slot) {
            Some(place) => *place = Some(entry),
            None => self.slots.push(Some(entry)),
        }
    }

    /// Takes a rule out.
    pub fn remove(&mut self, name: &QualifiedName) -> Option<T> {
        let slot = self.names.remove(name)?;
        let entry = self.slots[slot].take().expect("the slot of a name holds its rule");
        self.index.remove(entry.filed.as_deref(), Filed { priority: entry.priority, slot });
        self.order.remove(&(entry.priority, entry.name));
        self.free.push(slot);
        Some(entry.value)
    }

    /// What is kept with the rule that takes a request: the first of those whose conditions hold.
    pub fn choose(&self, request: &Request<'_>) -> Option<&T> {
        let mut search = Search::new(self, request);
        self.index.reach(request, &mut |list| search.add(list));
        search.finish().map(|entry| &entry.value)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// All of them in order.
    pub fn iter(&self) -> impl Iterator<Item = (&QualifiedName, Priority, &[Condition], &T)> {
        self.entries().map(|entry| (&entry.name, entry.priority, entry.conditions.as_slice(), &entry.value))
    }

    fn entries(&self) -> impl Iterator<Item = &Entry<T>> {
        self.order.values().map(|slot| self.entry(*slot))
    }

    fn entry(&self, slot: usize) -> &Entry<T> {
        self.slots[slot].as_ref().expect("what is filed is in its slot")
    }
}

impl<T> Default for Rules<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// A rule.
#[derive(Debug, Clone)]
struct Entry<T> {
    name: QualifiedName,
    priority: Priority,
    /// As they were given.
    conditions: Vec<Condition>,
    /// The same ready to be asked, the quickest first, each with its place among them.
    compiled: Vec<(usize, Compiled)>,
    /// What it is filed under; `None` if that can be nothing, so that it is asked of each request.
    filed: Option<Vec<Key>>,
    value: T,
}

impl<T> Entry<T> {
    /// What says which of two comes first.
    fn order(&self) -> (Priority, &QualifiedName) {
        (self.priority, &self.name)
    }

    fn takes(&self, request: &Request<'_>) -> bool {
        self.compiled.iter().all(|(_, condition)| condition.holds(request))
    }

    /// The first condition, in the order they were given, that does not hold.
    fn failed(&self, request: &Request<'_>) -> Option<&Condition> {
        let failed = self.compiled.iter().filter(|(_, condition)| !condition.holds(request));
        failed.map(|(place, _)| *place).min().map(|place| &self.conditions[place])
    }
}

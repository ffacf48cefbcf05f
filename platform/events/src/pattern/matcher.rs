//! Many patterns at once: an event asks those alone that its values lead to.
//!
//! Each clause of a pattern hangs at one of its fields, the one to whose values the fewest others hang. An event's values find
//! what hangs at them, and each clause that was found is asked whole. A clause that asks for no value (all its fields are to be
//! absent) hangs nowhere, and is always asked.
//!
//! What always holds: [`Matcher::matching`] gives the keys of exactly those patterns that take the event, whatever the order in which
//! they came.

use super::fields::{Parsed, PathHash};
use super::index::{Found, Hooks, hooks};
use super::work::{TooMuchWork, Work};
use super::{Clause, Pattern};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Many patterns by key; finds all that take an event, at a cost that hardly grows with their number.
#[derive(Debug, Clone)]
pub struct Matcher<K> {
    /// The clauses of each key's pattern.
    keys: BTreeMap<K, Vec<u32>>,
    /// Clauses by their number.
    hung: Vec<Option<Hung<K>>>,
    /// Numbers that are free.
    free: Vec<u32>,
    /// What hangs at each path. Paths of the same hash are told apart.
    paths: HashMap<PathHash, Vec<(Box<str>, Hooks)>>,
    /// Clauses that are always asked.
    always: Vec<u32>,
}

/// A clause, and where it hangs.
#[derive(Debug, Clone)]
struct Hung<K> {
    key: K,
    clauses: Arc<[Clause]>,
    /// Which of them.
    clause: usize,
    /// At which of its fields, if at any.
    field: Option<usize>,
}

impl<K> Hung<K> {
    fn clause(&self) -> &Clause {
        &self.clauses[self.clause]
    }
}

impl<K> Default for Matcher<K> {
    fn default() -> Self {
        Self {
            keys: BTreeMap::new(),
            hung: Vec::new(),
            free: Vec::new(),
            paths: HashMap::new(),
            always: Vec::new(),
        }
    }
}

impl<K: Clone + Ord> Matcher<K> {
    /// One without patterns.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a pattern in, in the place of the one that this key had.
    pub fn insert(&mut self, key: K, pattern: &Pattern) {
        self.remove(&key);
        let ids = (0..pattern.clauses.len()).map(|clause| self.hang(&key, pattern, clause)).collect();
        self.keys.insert(key, ids);
    }

    /// Forgets the pattern of a key, if there is one.
    pub fn remove(&mut self, key: &K) {
        for id in self.keys.remove(key).unwrap_or_default() {
            self.take_down(id);
        }
    }

    /// The keys of the patterns that take an event, in their order, each once.
    ///
    /// # Errors
    ///
    /// [`TooMuchWork`] where more than [`Pattern::STEPS_MAX`] would tell.
    pub fn matching(&self, event: &Parsed) -> Result<Vec<K>, TooMuchWork> {
        self.matching_within(event, &Work::new(Pattern::STEPS_MAX))
    }

    /// As [`Matcher::matching`], within the steps that are left.
    pub(crate) fn matching_within(&self, event: &Parsed, work: &Work) -> Result<Vec<K>, TooMuchWork> {
        let mut found = Found::default();
        found.clauses.extend_from_slice(&self.always);
        for (hash, path, leaf) in event.values() {
            work.spend(1)?;
            for (text, hooks) in self.paths.get(&hash).into_iter().flatten() {
                if event.is_path(path, text) {
                    hooks.ask(leaf, work, &mut found)?;
                }
            }
        }
        let mut ids = found.clauses;
        ids.sort_unstable();
        ids.dedup();
        let mut keys: Vec<&K> = Vec::new();
        for hung in ids.iter().filter_map(|&id| self.hung[id as usize].as_ref()) {
            if hung.clause().takes(event, work)? {
                keys.push(&hung.key);
            }
        }
        keys.sort_unstable();
        keys.dedup();
        Ok(keys.into_iter().cloned().collect())
    }

    /// How many patterns there are.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Hangs a clause where the fewest others hang.
    fn hang(&mut self, key: &K, pattern: &Pattern, clause: usize) -> u32 {
        let id = self.free.pop().unwrap_or_else(|| {
            self.hung.push(None);
            u32::try_from(self.hung.len() - 1).expect("clauses are far fewer than 2^32")
        });
        let mut hung = Hung { key: key.clone(), clauses: Arc::clone(&pattern.clauses), clause, field: None };
        let fields = &hung.clause().fields;
        let candidates = fields.iter().enumerate().filter_map(|(at, field)| {
            let hooks = hooks(field.values()?);
            let cost = self
                .at(field.hash(), field.path())
                .map_or_else(|| Hooks::default().cost(&hooks), |there| there.cost(&hooks));
            // Of those that cost the same, the one that lies deepest: what is far in says more than what all events have.
            let depth = field.path().bytes().filter(|&byte| byte == b'.').count();
            Some(((cost, hooks.len(), std::cmp::Reverse(depth)), at, hooks))
        });
        let best = candidates.min_by_key(|(cost, at, _)| (*cost, *at));
        match best {
            None => self.always.push(id),
            Some((_, at, hooks)) => {
                let field = &fields[at];
                let paths = self.paths.entry(field.hash()).or_default();
                let there = match paths.iter().position(|(path, _)| **path == *field.path()) {
                    Some(there) => there,
                    None => {
                        paths.push((field.path().into(), Hooks::default()));
                        paths.len() - 1
                    }
                };
                hooks.into_iter().for_each(|hook| paths[there].1.insert(hook, id));
                hung.field = Some(at);
            }
        }
        self.hung[id as usize] = Some(hung);
        id
    }

    /// Forgets a clause.
    fn take_down(&mut self, id: u32) {
        let Some(hung) = self.hung.get_mut(id as usize).and_then(Option::take) else { return };
        self.free.push(id);
        let Some(field) = hung.field.map(|at| &hung.clause().fields[at]) else {
            self.always.retain(|&other| other != id);
            return;
        };
        let Some(paths) = self.paths.get_mut(&field.hash()) else { return };
        for (_, there) in paths.iter_mut().filter(|(path, _)| **path == *field.path()) {
            for hook in field.values().map(hooks).unwrap_or_default() {
                there.remove(&hook, id);
            }
        }
        paths.retain(|(_, there)| !there.is_empty());
        if paths.is_empty() {
            self.paths.remove(&field.hash());
        }
    }

    /// What hangs at a path.
    fn at(&self, hash: PathHash, path: &str) -> Option<&Hooks> {
        self.paths.get(&hash)?.iter().find(|(other, _)| **other == *path).map(|(_, hooks)| hooks)
    }
}

//! Every object in memory, by key and by revision: what reads and watches are served from.
//!
//! It changes only by a [`Commit`] that is on the disk already. It knows no waiting: who wants to be woken by a change
//! looks at `watch`.
//!
//! What always holds: each key that was written has exactly one row in each of the two maps, unless its delete was
//! forgotten; the largest revision in them, or the newest forgotten one, is the store's.

use bytes::Bytes;
use skiff_ports::store::{Change, Entry, Expect, Key, Listing, Revision, StoreError};
use std::collections::{BTreeMap, BTreeSet};

/// Most changes that one scan takes out.
const SCAN_CHANGES_MAX: usize = 32;
/// Most revisions that one scan looks at, so that a watch of little does not hold up the writer.
const SCAN_REVISIONS_MAX: usize = 4_096;

#[derive(Debug)]
struct Row {
    revision: Revision,
    /// `None`: the key was deleted.
    value: Option<Bytes>,
}

/// All objects, and the deletes that are still remembered.
#[derive(Debug)]
pub(crate) struct Mirror {
    rows: BTreeMap<Key, Row>,
    by_revision: BTreeMap<Revision, Key>,
    tombstones: BTreeSet<Revision>,
    revision: Revision,
    compacted: Revision,
    closed: bool,
}

/// What a batch of writes came to.
#[derive(Debug, Default)]
pub(crate) struct Commit {
    /// The last change of each key, in the order of the keys.
    pub changes: Vec<Change>,
    /// The deletes that are remembered no more, ascending.
    pub forgotten: Vec<Revision>,
}

/// What a watch finds when it looks.
#[derive(Debug)]
pub(crate) struct Scan {
    /// The changes, in the order of their revisions.
    pub changes: Vec<Change>,
    /// Where to look on from.
    pub reached: Revision,
    /// Whether there is nothing more for now.
    pub at_end: bool,
}

impl Mirror {
    pub(crate) fn new(compacted: Revision) -> Self {
        Self {
            rows: BTreeMap::new(),
            by_revision: BTreeMap::new(),
            tombstones: BTreeSet::new(),
            revision: compacted,
            compacted,
            closed: false,
        }
    }

    /// Takes over the latest change of a key.
    pub(crate) fn put(&mut self, change: Change) {
        let Change { key, revision, value } = change;
        if value.is_none() {
            self.tombstones.insert(revision);
        }
        self.by_revision.insert(revision, key.clone());
        self.revision = self.revision.max(revision);
        if let Some(old) = self.rows.insert(key, Row { revision, value }) {
            self.by_revision.remove(&old.revision);
            self.tombstones.remove(&old.revision);
        }
    }

    /// Takes over what is on the disk now.
    pub(crate) fn apply(&mut self, commit: Commit) {
        commit.changes.into_iter().for_each(|change| self.put(change));
        for revision in commit.forgotten {
            self.tombstones.remove(&revision);
            if let Some(key) = self.by_revision.remove(&revision) {
                self.rows.remove(&key);
            }
            self.compacted = self.compacted.max(revision);
        }
    }

    /// Answers every later call with [`StoreError::Closed`].
    pub(crate) fn close(&mut self) {
        self.closed = true;
    }

    pub(crate) fn get(&self, key: &Key) -> Result<Option<Entry>, StoreError> {
        self.open()?;
        Ok(self.rows.get(key).and_then(|row| entry(key, row)))
    }

    pub(crate) fn list(&self, prefix: &Key) -> Result<Listing, StoreError> {
        self.open()?;
        // The keys below a prefix need not stand together (`a`, `a-b`, `a.b`), but they all come before `a/`.
        let may_be_under = |key: &Key| {
            let rest = key.as_str().strip_prefix(prefix.as_str());
            rest.is_some_and(|rest| rest.bytes().next().is_none_or(|byte| byte <= b'.'))
        };
        let entries = self
            .rows
            .range::<Key, _>(prefix..)
            .take_while(|(key, _)| may_be_under(key))
            .filter(|(key, _)| key.is_under(prefix))
            .filter_map(|(key, row)| entry(key, row))
            .collect();
        Ok(Listing { entries, revision: self.revision })
    }

    /// The next changes below `prefix` after a revision.
    pub(crate) fn scan(&self, prefix: &Key, after: Revision) -> Result<Scan, StoreError> {
        self.open()?;
        // A revision that was never given out is of another life of the store; what it saw cannot be told.
        if after < self.compacted || after > self.revision {
            return Err(StoreError::Compacted(after));
        }
        let mut scan = Scan { changes: Vec::new(), reached: self.revision, at_end: true };
        for (looked_at, (revision, key)) in self.by_revision.range(after + 1..).enumerate() {
            if looked_at == SCAN_REVISIONS_MAX || scan.changes.len() == SCAN_CHANGES_MAX {
                scan.reached = revision - 1;
                scan.at_end = false;
                break;
            }
            if key.is_under(prefix) {
                let value = self.rows.get(key).and_then(|row| row.value.clone());
                scan.changes.push(Change { key: key.clone(), revision: *revision, value });
            }
        }
        Ok(scan)
    }

    fn open(&self) -> Result<(), StoreError> {
        if self.closed { Err(StoreError::Closed) } else { Ok(()) }
    }
}

fn entry(key: &Key, row: &Row) -> Option<Entry> {
    let value = row.value.clone()?;
    Some(Entry { key: key.clone(), revision: row.revision, value })
}

/// A batch in the making: each write is judged by what stands before it, in the mirror and in the batch.
pub(crate) struct Draft<'a> {
    mirror: &'a Mirror,
    rows: BTreeMap<Key, Row>,
    revision: Revision,
}

impl<'a> Draft<'a> {
    pub(crate) fn new(mirror: &'a Mirror) -> Self {
        Self { mirror, rows: BTreeMap::new(), revision: mirror.revision }
    }

    /// Puts a value, or deletes if there is none, if `expect` holds. Returns the write's revision.
    pub(crate) fn write(
        &mut self,
        key: &Key,
        value: Option<Bytes>,
        expect: Expect,
    ) -> Result<Revision, StoreError> {
        let row = self.rows.get(key).or_else(|| self.mirror.rows.get(key));
        let current = row.filter(|row| row.value.is_some()).map(|row| row.revision);
        let holds = match expect {
            Expect::Any => true,
            Expect::Absent => current.is_none(),
            Expect::Revision(revision) => current == Some(revision),
        };
        if !holds {
            return Err(StoreError::Conflict { key: key.clone(), actual: current.unwrap_or(0) });
        }
        if value.is_none() && current.is_none() {
            return Ok(self.revision);
        }
        self.revision += 1;
        self.rows.insert(key.clone(), Row { revision: self.revision, value });
        Ok(self.revision)
    }

    /// What it came to; of the deletes, only the newest `tombstones_max` are remembered on.
    pub(crate) fn finish(self, tombstones_max: usize) -> Commit {
        let replaced: BTreeSet<Revision> = self
            .rows
            .keys()
            .filter_map(|key| self.mirror.rows.get(key))
            .filter(|row| row.value.is_none())
            .map(|row| row.revision)
            .collect();
        let mut added: Vec<Revision> =
            self.rows.values().filter(|row| row.value.is_none()).map(|row| row.revision).collect();
        added.sort_unstable();
        let remembered = self.mirror.tombstones.len() - replaced.len() + added.len();
        let old = self.mirror.tombstones.iter().copied().filter(|revision| !replaced.contains(revision));
        let forgotten = old.chain(added).take(remembered.saturating_sub(tombstones_max)).collect();
        let changes = self
            .rows
            .into_iter()
            .map(|(key, row)| Change { key, revision: row.revision, value: row.value })
            .collect();
        Commit { changes, forgotten }
    }
}

impl Commit {
    /// Whether there is nothing to write.
    pub(crate) fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }
}

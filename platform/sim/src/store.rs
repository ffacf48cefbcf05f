//! The store in memory, on the terms of its port, with its faults: delays, conflicts that nobody caused, writes of which nobody
//! knows whether they were done, watches that must list again, and the death of whoever writes.
//!
//! What always holds: a write is seen whole or not at all; revisions grow; what was written before a death is there after it.

use crate::checker::Checker;
use crate::dice::Dice;
use crate::life::Life;
use crate::options::Sabotage;
use crate::trace::Trace;
use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use skiff_kit::Watermark;
use skiff_ports::store::{Change, Entry, Expect, Key, Listing, Revision, Store, StoreError};
use std::collections::BTreeMap;
use std::fmt::Arguments;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The longest that a call takes while nothing is wrong, in milliseconds, there and back each.
const DELAY_USUAL_MS: u64 = 2;

/// The store, whoever uses it.
pub(crate) struct SimStore {
    state: Mutex<State>,
    /// Moves on with each write, and with each compaction.
    moved: Watermark,
    dice: Dice,
    /// Who looks at what is written, and where it is noted; nobody where only its size is of interest.
    watched: Option<Watched>,
    sabotage: Option<Sabotage>,
}

/// Who looks at a store.
struct Watched {
    checker: Arc<Checker>,
    trace: Trace,
}

#[derive(Default)]
struct State {
    entries: BTreeMap<Key, (Revision, Bytes)>,
    /// When keys were deleted.
    tombstones: BTreeMap<Key, Revision>,
    /// Keys by the revision of their last change.
    changes: BTreeMap<Revision, Key>,
    revision: Revision,
    /// How often what watches go on from was thrown away, and up to which revision.
    compactions: u64,
    compacted: Revision,
    delay_most_ms: u64,
    conflicts_due: u32,
    failures_due: u32,
    death: Option<Death>,
    /// The address that all tasks get, in a store that is made to lie.
    shared_address: Option<serde_json::Value>,
}

/// That whoever writes dies at one of its next writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Death {
    /// At the first of them, or after so many more.
    pub(crate) after_writes: u32,
    /// Whether the last one is done.
    pub(crate) does_the_last: bool,
}

/// What is to become of a write.
enum Fate {
    Done,
    /// The storage fails; whether it is done before that.
    Fails(bool),
    /// Whoever writes dies; whether it is done before that.
    Dies(bool),
}

impl SimStore {
    /// An empty one.
    pub(crate) fn new(seed: u64, checker: Arc<Checker>, trace: Trace, sabotage: Option<Sabotage>) -> Self {
        let state = Mutex::new(State { delay_most_ms: DELAY_USUAL_MS, ..State::default() });
        let (moved, dice) = (Watermark::default(), Dice::new(seed, "store"));
        Self { state, moved, dice, watched: Some(Watched { checker, trace }), sabotage }
    }

    /// An empty one that has no faults and takes no time, at which nobody looks.
    pub(crate) fn plain() -> Self {
        let (state, dice) = (Mutex::default(), Dice::new(0, "store"));
        Self { state, moved: Watermark::default(), dice, watched: None, sabotage: None }
    }

    /// From now on a call takes so long at most, each way.
    pub(crate) fn set_delay(&self, most_ms: Option<u64>) {
        self.state().delay_most_ms = most_ms.unwrap_or(DELAY_USUAL_MS);
    }

    /// So many of the next writes that expect a revision find another.
    pub(crate) fn conflict(&self, times: u32) {
        self.state().conflicts_due = times;
    }

    /// So many of the next writes fail, and are done or not.
    pub(crate) fn fail(&self, times: u32) {
        self.state().failures_due = times;
    }

    /// Whoever writes next dies.
    pub(crate) fn kill(&self, death: Death) {
        self.state().death = Some(death);
    }

    /// Nothing goes wrong any more.
    pub(crate) fn heal(&self) {
        let mut state = self.state();
        (state.delay_most_ms, state.conflicts_due, state.failures_due) = (DELAY_USUAL_MS, 0, 0);
        state.death = None;
    }

    /// Every watch is to list again.
    pub(crate) fn compact(&self) {
        let mut state = self.state();
        state.compactions += 1;
        state.compacted = state.revision;
        let kept: BTreeMap<Revision, Key> =
            state.entries.iter().map(|(key, (revision, _))| (*revision, key.clone())).collect();
        state.changes = kept;
        state.tombstones.clear();
        drop(state);
        self.moved.rise();
    }

    fn note(&self, what: Arguments<'_>) {
        if let Some(watched) = &self.watched {
            watched.trace.note(what);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn delay(&self) {
        let most_ms = self.state().delay_most_ms;
        if most_ms > 0 {
            let ms = self.dice.number(0..=most_ms);
            tokio::time::sleep(Duration::from_millis(ms)).await;
        }
    }

    /// What is to become of the next write.
    fn fate(&self) -> Fate {
        let mut state = self.state();
        if let Some(death) = &mut state.death {
            if death.after_writes == 0 {
                let does_the_last = death.does_the_last;
                state.death = None;
                return Fate::Dies(does_the_last);
            }
            death.after_writes -= 1;
        }
        if state.failures_due > 0 {
            state.failures_due -= 1;
            return Fate::Fails(self.dice.chance(50));
        }
        Fate::Done
    }

    /// Writes a value, or deletes a key.
    fn write(&self, key: &Key, value: Option<Bytes>, expect: Expect) -> Result<Revision, StoreError> {
        let mut state = self.state();
        let actual = state.entries.get(key).map_or(0, |(revision, _)| *revision);
        let conflict = StoreError::Conflict { key: key.clone(), actual };
        let holds = match expect {
            Expect::Any => true,
            Expect::Absent => actual == 0,
            Expect::Revision(expected) => actual == expected,
        };
        if !holds {
            return Err(conflict);
        }
        if matches!(expect, Expect::Revision(_)) && state.conflicts_due > 0 {
            state.conflicts_due -= 1;
            self.note(format_args!("store: a conflict at {key} that nobody caused"));
            return Err(conflict);
        }
        if value.is_none() && actual == 0 {
            let is_pointless = matches!(expect, Expect::Any | Expect::Absent);
            return if is_pointless { Ok(state.revision) } else { Err(conflict) };
        }
        let value = value.map(|value| self.falsified(&mut state, key, value));
        state.revision += 1;
        let revision = state.revision;
        let before = state.tombstones.remove(key).unwrap_or(actual);
        state.changes.remove(&before);
        state.changes.insert(revision, key.clone());
        match &value {
            Some(value) => drop(state.entries.insert(key.clone(), (revision, value.clone()))),
            None => {
                state.entries.remove(key);
                state.tombstones.insert(key.clone(), revision);
            }
        }
        if let Some(Watched { checker, trace }) = &self.watched {
            let bytes = value.as_ref().map_or(0, Bytes::len);
            trace.note(format_args!("store: {key} at {revision}, {bytes} bytes"));
            // Under the lock: it is to see the writes in their order.
            checker.wrote(key, value.as_deref());
        }
        drop(state);
        self.moved.rise();
        Ok(revision)
    }

    /// What is written instead of a value, in a store that is made to lie: all tasks have one address.
    fn falsified(&self, state: &mut State, key: &Key, value: Bytes) -> Bytes {
        if self.sabotage != Some(Sabotage::SharedAddress) || key.tokens().next() != Some("task") {
            return value;
        }
        let Ok(mut record) = serde_json::from_slice::<serde_json::Value>(&value) else { return value };
        let address = &mut record["object"]["address"];
        if address.is_null() {
            return value;
        }
        *address = state.shared_address.get_or_insert_with(|| address.clone()).clone();
        record.to_string().into()
    }

    /// The next change under a prefix behind a revision; or how far there is none.
    fn next_change(&self, prefix: &Key, after: Revision) -> Result<Change, Revision> {
        let state = self.state();
        let mut later = state.changes.range(after + 1..);
        let found = later.find(|(_, key)| key.is_under(prefix));
        let Some((revision, key)) = found else { return Err(state.revision) };
        let value = state.entries.get(key).map(|(_, value)| value.clone());
        Ok(Change { key: key.clone(), revision: *revision, value })
    }
}

/// The store as one life of a control plane has it.
pub(crate) struct StoreOfLife {
    pub(crate) store: Arc<SimStore>,
    pub(crate) life: Arc<Life>,
}

impl StoreOfLife {
    async fn change(&self, key: &Key, value: Option<Bytes>, expect: Expect) -> Result<Revision, StoreError> {
        self.store.delay().await;
        self.life.check()?;
        let failed = || StoreError::Storage("the disk failed, as it was told to".into());
        let result = match self.store.fate() {
            Fate::Done => self.store.write(key, value, expect),
            Fate::Fails(is_done) => {
                self.store.note(format_args!("store: fails at {key}, done: {is_done}"));
                if is_done {
                    self.store.write(key, value, expect)?;
                }
                Err(failed())
            }
            Fate::Dies(is_done) => {
                self.store.note(format_args!("store: the plane dies at {key}, done: {is_done}"));
                if is_done {
                    // Nobody is left who would hear of it.
                    let _ = self.store.write(key, value, expect);
                }
                self.life.end();
                Err(StoreError::Closed)
            }
        };
        self.store.delay().await;
        self.life.check()?;
        result
    }
}

#[async_trait]
impl Store for StoreOfLife {
    async fn get(&self, key: &Key) -> Result<Option<Entry>, StoreError> {
        self.store.delay().await;
        self.life.check()?;
        let state = self.store.state();
        let entry = state.entries.get(key);
        Ok(entry.map(|(revision, value)| Entry {
            key: key.clone(),
            revision: *revision,
            value: value.clone(),
        }))
    }

    async fn put(&self, key: &Key, value: Bytes, expect: Expect) -> Result<Revision, StoreError> {
        self.change(key, Some(value), expect).await
    }

    async fn delete(&self, key: &Key, expect: Expect) -> Result<Revision, StoreError> {
        self.change(key, None, expect).await
    }

    async fn list(&self, prefix: &Key) -> Result<Listing, StoreError> {
        self.store.delay().await;
        self.life.check()?;
        let state = self.store.state();
        let entries = state.entries.range(prefix.clone()..);
        let entries = entries.take_while(|(key, _)| key.as_str().starts_with(prefix.as_str()));
        let entries = entries.filter(|(key, _)| key.is_under(prefix)).map(|(key, (revision, value))| Entry {
            key: key.clone(),
            revision: *revision,
            value: value.clone(),
        });
        Ok(Listing { entries: entries.collect(), revision: state.revision })
    }

    async fn watch(
        &self,
        prefix: &Key,
        after: Revision,
    ) -> Result<BoxStream<'static, Result<Change, StoreError>>, StoreError> {
        self.life.check()?;
        let (store, life, prefix) = (self.store.clone(), self.life.clone(), prefix.clone());
        let (compactions, compacted) = {
            let state = store.state();
            (state.compactions, state.compacted)
        };
        if after < compacted {
            return Err(StoreError::Compacted(after));
        }
        let first = Some((store, life, prefix, after));
        let changes = stream::unfold(first, move |watching| async move {
            let (store, life, prefix, mut after) = watching?;
            loop {
                let moved = store.moved.get();
                if store.state().compactions != compactions {
                    return Some((Err(StoreError::Compacted(after)), None));
                }
                match store.next_change(&prefix, after) {
                    Ok(change) => {
                        store.delay().await;
                        if let Err(error) = life.check() {
                            return Some((Err(error), None));
                        }
                        let after = change.revision;
                        return Some((Ok(change), Some((store, life, prefix, after))));
                    }
                    Err(seen) => after = after.max(seen),
                }
                tokio::select! {
                    biased;
                    () = life.ended() => return Some((Err(StoreError::Closed), None)),
                    () = store.moved.reached(moved + 1) => {}
                }
            }
        });
        Ok(changes.boxed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SimClock;

    fn store() -> StoreOfLife {
        let clock = Arc::new(SimClock::new());
        let trace = Trace::new(clock.clone(), false);
        let checker = Arc::new(Checker::new(clock, trace.clone()));
        let store = Arc::new(SimStore::new(1, checker, trace, None));
        StoreOfLife { store, life: Arc::new(Life::new()) }
    }

    fn key(text: &str) -> Key {
        Key::parse(text).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn it_keeps_the_terms_of_its_port() {
        let store = store();
        let (web, api) = (key("image.web"), key("image.api"));
        let first = store.put(&web, "1".into(), Expect::Absent).await.unwrap();
        assert!(matches!(
            store.put(&web, "2".into(), Expect::Absent).await,
            Err(StoreError::Conflict { actual, .. }) if actual == first
        ));
        let second = store.put(&web, "2".into(), Expect::Revision(first)).await.unwrap();
        let third = store.put(&api, "3".into(), Expect::Any).await.unwrap();
        assert!(first < second && second < third);
        let listing = store.list(&key("image")).await.unwrap();
        let keys: Vec<&str> = listing.entries.iter().map(|entry| entry.key.as_str()).collect();
        assert_eq!((keys, listing.revision), (vec!["image.api", "image.web"], third));
        let mut changes = store.watch(&key("image"), first).await.unwrap();
        let seen = changes.next().await.unwrap().unwrap();
        assert_eq!(
            (seen.key.clone(), seen.revision),
            (web.clone(), second),
            "what was overwritten is skipped"
        );
        assert_eq!(changes.next().await.unwrap().unwrap().revision, third);
        let deleted = store.delete(&web, Expect::Any).await.unwrap();
        let seen = changes.next().await.unwrap().unwrap();
        assert_eq!((seen.revision, seen.value), (deleted, None));
        store.store.compact();
        assert!(matches!(changes.next().await, Some(Err(StoreError::Compacted(_)))));
        assert!(changes.next().await.is_none());
        let again = store.watch(&key("image"), first).await;
        assert!(matches!(again, Err(StoreError::Compacted(_))), "from before what is kept");
        assert!(store.watch(&key("image"), deleted).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn who_dies_at_a_write_writes_no_more() {
        for does_the_last in [false, true] {
            let store = store();
            store.store.kill(Death { after_writes: 1, does_the_last });
            store.put(&key("image.a"), "1".into(), Expect::Any).await.unwrap();
            let last = store.put(&key("image.b"), "1".into(), Expect::Any).await;
            assert!(matches!(last, Err(StoreError::Closed)));
            assert!(store.get(&key("image.a")).await.is_err(), "its life is over");
            let next = StoreOfLife { store: store.store.clone(), life: Arc::new(Life::new()) };
            assert_eq!(next.get(&key("image.b")).await.unwrap().is_some(), does_the_last);
        }
    }
}

//! The terms of the store port, as checks that any implementation of it has to pass.
//!
//! Each check takes a store that is empty and its own, and panics with what is wrong. They test what the port promises
//! and no more: a watch may skip what was overwritten, or ask for a new listing, wherever the port says so. Durability
//! is each implementation's to show; what a store can't be asked for here is a crash.

use bytes::Bytes;
use futures::future::{BoxFuture, join_all};
use futures::stream::{BoxStream, StreamExt};
use skiff_ports::lease::{self, Acquired};
use skiff_ports::store::{Change, Expect, Key, Revision, Store, StoreError, VALUE_BYTES_MAX};
use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

/// A check by name.
pub type Check = (&'static str, fn(Arc<dyn Store>) -> BoxFuture<'static, ()>);

/// Longest wait for a change that must come.
const PATIENCE: Duration = Duration::from_secs(30);
/// Tasks that write at once where writers contend.
const WRITERS: usize = 8;
/// Writes of each where writers contend.
const WRITES: usize = 40;

/// Every check.
pub const CHECKS: &[Check] = &[
    ("revisions_grow", |store| Box::pin(revisions_grow(store))),
    ("writes_compare_and_swap", |store| Box::pin(writes_compare_and_swap(store))),
    ("deletes_compare_and_swap", |store| Box::pin(deletes_compare_and_swap(store))),
    ("values_have_a_bound", |store| Box::pin(values_have_a_bound(store))),
    ("a_prefix_is_whole_tokens", |store| Box::pin(a_prefix_is_whole_tokens(store))),
    ("a_list_is_as_of_one_revision", |store| Box::pin(a_list_is_as_of_one_revision(store))),
    ("a_watch_starts_at_a_revision", |store| Box::pin(a_watch_starts_at_a_revision(store))),
    ("a_watch_goes_on_live", |store| Box::pin(a_watch_goes_on_live(store))),
    ("a_slow_watch_gets_the_latest", |store| Box::pin(a_slow_watch_gets_the_latest(store))),
    ("a_watch_misses_no_delete", |store| Box::pin(a_watch_misses_no_delete(store))),
    ("a_list_and_its_watch_leave_no_gap", |store| Box::pin(a_list_and_its_watch_leave_no_gap(store))),
    ("no_increment_is_lost", |store| Box::pin(no_increment_is_lost(store))),
    ("a_lease_has_one_holder", |store| Box::pin(a_lease_has_one_holder(store))),
];

/// Runs every check, each on a store that `fresh` makes for it; it is given the check's name.
pub async fn check_all<F, Fut>(mut fresh: F)
where
    F: FnMut(&'static str) -> Fut,
    Fut: Future<Output = Arc<dyn Store>>,
{
    for (name, check) in CHECKS {
        tracing::info!(name, "conformance check");
        check(fresh(name).await).await;
    }
}

async fn revisions_grow(store: Arc<dyn Store>) {
    assert_eq!(store.get(&key("a.b")).await.unwrap(), None);
    let mut last = store.list(&key("a")).await.unwrap().revision;
    for (name, value) in [("a.b", "1"), ("a.c", "2"), ("a.b", "3"), ("z", "4")] {
        let revision = store.put(&key(name), value.into(), Expect::Any).await.unwrap();
        assert!(revision > last, "revision {revision} was given after {last}");
        let entry = store.get(&key(name)).await.unwrap().expect("a write is seen by every later read");
        assert_eq!((entry.key, entry.revision, &entry.value[..]), (key(name), revision, value.as_bytes()));
        last = revision;
    }
    let deleted = store.delete(&key("a.b"), Expect::Any).await.unwrap();
    assert!(deleted > last, "the delete's revision {deleted} was given after {last}");
    assert_eq!(store.get(&key("a.b")).await.unwrap(), None);
}

async fn writes_compare_and_swap(store: Arc<dyn Store>) {
    let name = key("a.b");
    let missing = store.put(&name, "0".into(), Expect::Revision(7)).await;
    assert_eq!(conflict(missing), (name.clone(), 0));
    let first = store.put(&name, "1".into(), Expect::Absent).await.unwrap();
    assert_eq!(conflict(store.put(&name, "2".into(), Expect::Absent).await), (name.clone(), first));
    let second = store.put(&name, "2".into(), Expect::Revision(first)).await.unwrap();
    assert_eq!(conflict(store.put(&name, "3".into(), Expect::Revision(first)).await), (name.clone(), second));
    assert_eq!(store.get(&name).await.unwrap().unwrap().value, "2", "a conflict must change nothing");
    let third = store.put(&name, "3".into(), Expect::Any).await.unwrap();
    store.put(&key("a.c"), "x".into(), Expect::Any).await.unwrap();
    store.put(&name, "4".into(), Expect::Revision(third)).await.expect("another key's write is no conflict");
}

async fn deletes_compare_and_swap(store: Arc<dyn Store>) {
    let name = key("a.b");
    assert_eq!(conflict(store.delete(&name, Expect::Revision(1)).await), (name.clone(), 0));
    store.delete(&name, Expect::Any).await.expect("deleting nothing is allowed");
    store.delete(&name, Expect::Absent).await.expect("deleting nothing is allowed");
    let first = store.put(&name, "1".into(), Expect::Absent).await.unwrap();
    assert_eq!(conflict(store.delete(&name, Expect::Absent).await), (name.clone(), first));
    assert_eq!(conflict(store.delete(&name, Expect::Revision(first + 1)).await), (name.clone(), first));
    let deleted = store.delete(&name, Expect::Revision(first)).await.unwrap();
    assert!(deleted > first);
    assert_eq!(conflict(store.delete(&name, Expect::Revision(deleted)).await), (name.clone(), 0));
    assert_eq!(conflict(store.put(&name, "2".into(), Expect::Revision(first)).await), (name.clone(), 0));
    let again = store.delete(&name, Expect::Any).await.unwrap();
    assert!(again >= deleted, "a delete of nothing returns the store's revision, not {again}");
    let second = store.put(&name, "2".into(), Expect::Absent).await.expect("a deleted key does not exist");
    assert!(second > deleted);
    store.delete(&name, Expect::Any).await.unwrap();
    assert!(store.list(&key("a")).await.unwrap().entries.is_empty());
}

async fn values_have_a_bound(store: Arc<dyn Store>) {
    let name = key("a.b");
    let largest = Bytes::from(vec![0xa5; VALUE_BYTES_MAX]);
    store.put(&name, largest.clone(), Expect::Any).await.expect("a value may be that large");
    let too_large = Bytes::from(vec![0; VALUE_BYTES_MAX + 1]);
    match store.put(&name, too_large, Expect::Any).await {
        Err(StoreError::TooLarge { key, bytes }) => {
            assert_eq!((key, bytes), (name.clone(), largest.len() + 1))
        }
        other => panic!("a value over the bound gave {other:?}"),
    }
    assert_eq!(store.get(&name).await.unwrap().unwrap().value, largest);
    store.put(&name, Bytes::new(), Expect::Any).await.unwrap();
    let empty = store.get(&name).await.unwrap().expect("an empty value is a value");
    assert!(empty.value.is_empty());
}

async fn a_prefix_is_whole_tokens(store: Arc<dyn Store>) {
    let names = ["a", "a-b", "a.b", "a.b.c", "a.b-d", "a.bc", "a.b0.c", "a_b.c", "ab", "b.a.b", "A.b"];
    for name in names {
        store.put(&key(name), name.into(), Expect::Absent).await.unwrap();
    }
    for (prefix, wanted) in [
        ("a", &["a", "a.b", "a.b-d", "a.b.c", "a.b0.c", "a.bc"][..]),
        ("a.b", &["a.b", "a.b.c"]),
        ("a.b.c", &["a.b.c"]),
        ("b", &["b.a.b"]),
        ("c", &[]),
    ] {
        let listing = store.list(&key(prefix)).await.unwrap();
        let listed: Vec<&str> = listing.entries.iter().map(|entry| entry.key.as_str()).collect();
        assert_eq!(listed, wanted, "listing of {prefix}");
        let changes = store.watch(&key(prefix), 0).await.unwrap();
        let watched = take(changes, wanted.len()).await;
        let by_age: Vec<&str> = names.iter().copied().filter(|name| wanted.contains(name)).collect();
        let watched: Vec<&str> = watched.iter().map(|change| change.key.as_str()).collect();
        assert_eq!(watched, by_age, "watch of {prefix}");
    }
}

async fn a_list_is_as_of_one_revision(store: Arc<dyn Store>) {
    let names: Vec<Key> = (0..5).map(|n| key(&format!("ring.k{n}"))).collect();
    for name in &names {
        store.put(name, "0".into(), Expect::Absent).await.unwrap();
    }
    let writer = tokio::spawn({
        let (store, names) = (store.clone(), names.clone());
        async move {
            for round in 1..=WRITES {
                for name in &names {
                    store.put(name, round.to_string().into(), Expect::Any).await.unwrap();
                }
            }
        }
    });
    loop {
        let is_last = writer.is_finished();
        let listing = store.list(&key("ring")).await.unwrap();
        let rounds: Vec<u64> = listing.entries.iter().map(|entry| number(&entry.value)).collect();
        assert_eq!(rounds.len(), names.len());
        assert!(rounds.is_sorted_by(|a, b| a >= b), "{rounds:?} never stood there at one time");
        assert!(rounds[0] - rounds[rounds.len() - 1] <= 1, "{rounds:?} never stood there at one time");
        let newest = listing.entries.iter().map(|entry| entry.revision).max().unwrap();
        assert!(listing.revision >= newest, "an entry is of {newest}, its listing of {}", listing.revision);
        if is_last {
            break;
        }
        tokio::task::yield_now().await;
    }
    writer.await.unwrap();
}

async fn a_watch_starts_at_a_revision(store: Arc<dyn Store>) {
    let first = store.put(&key("a.x"), "1".into(), Expect::Any).await.unwrap();
    let second = store.put(&key("a.y"), "2".into(), Expect::Any).await.unwrap();
    store.put(&key("b.x"), "elsewhere".into(), Expect::Any).await.unwrap();
    let third = store.put(&key("a.x"), "3".into(), Expect::Any).await.unwrap();
    let fourth = store.delete(&key("a.y"), Expect::Any).await.unwrap();

    let after_first = take(store.watch(&key("a"), first).await.unwrap(), 2).await;
    assert_eq!(after_first, [change("a.x", third, Some("3")), change("a.y", fourth, None)]);
    let after_second = take(store.watch(&key("a"), second).await.unwrap(), 2).await;
    assert_eq!(after_second, after_first);
    let after_third = take(store.watch(&key("a"), third).await.unwrap(), 1).await;
    assert_eq!(after_third, [change("a.y", fourth, None)]);

    let mut after_all = store.watch(&key("a"), fourth).await.unwrap();
    let fifth = store.put(&key("a.z"), "5".into(), Expect::Any).await.unwrap();
    assert_eq!(next(&mut after_all).await.unwrap(), change("a.z", fifth, Some("5")));
}

async fn a_watch_goes_on_live(store: Arc<dyn Store>) {
    let mut changes = store.watch(&key("a"), 0).await.unwrap();
    for round in 0..20 {
        let value = round.to_string();
        let put = store.put(&key("a.b"), value.clone().into(), Expect::Any).await.unwrap();
        assert_eq!(next(&mut changes).await.unwrap(), change("a.b", put, Some(&value)));
        let deleted = store.delete(&key("a.b"), Expect::Revision(put)).await.unwrap();
        assert_eq!(next(&mut changes).await.unwrap(), change("a.b", deleted, None));
    }
}

async fn a_slow_watch_gets_the_latest(store: Arc<dyn Store>) {
    let mut changes = store.watch(&key("a"), 0).await.unwrap();
    let mut wanted = BTreeMap::new();
    for round in 0..WRITES {
        for name in ["a.x", "a.y", "a.z"] {
            let value = Bytes::from(round.to_string());
            let revision = store.put(&key(name), value.clone(), Expect::Any).await.unwrap();
            wanted.insert(key(name), (revision, Some(value)));
        }
    }
    let gone = store.delete(&key("a.y"), Expect::Any).await.unwrap();
    wanted.insert(key("a.y"), (gone, None));
    let mut seen = BTreeMap::new();
    let mut last = 0;
    while seen != wanted {
        let change = next(&mut changes).await.unwrap();
        assert!(change.revision > last, "revision {} came after {last}", change.revision);
        last = change.revision;
        seen.insert(change.key, (change.revision, change.value));
    }
}

/// However many keys were deleted meanwhile, a watch tells of each of them or says that it can't.
async fn a_watch_misses_no_delete(store: Arc<dyn Store>) {
    let count = WRITERS * WRITES;
    let names: Vec<Key> = (0..count).map(|n| key(&format!("gone.k{n}"))).collect();
    join_all(names.iter().map(|name| store.put(name, "1".into(), Expect::Absent))).await;
    let before = store.list(&key("gone")).await.unwrap();
    assert_eq!(before.entries.len(), count);
    join_all(names.iter().map(|name| store.delete(name, Expect::Any))).await;
    let mut changes = match store.watch(&key("gone"), before.revision).await {
        Ok(changes) => changes,
        Err(StoreError::Compacted(after)) => return assert_eq!(after, before.revision),
        Err(error) => panic!("{error}"),
    };
    let mut missing: std::collections::BTreeSet<Key> = names.into_iter().collect();
    while !missing.is_empty() {
        match next(&mut changes).await {
            Ok(change) => {
                assert_eq!(change.value, None, "{} was deleted", change.key);
                missing.remove(&change.key);
            }
            Err(StoreError::Compacted(_)) => {
                let after = changes.next().await;
                return assert!(after.is_none(), "an error is the last item, yet {after:?} came");
            }
            Err(error) => panic!("{error}"),
        }
    }
}

async fn a_list_and_its_watch_leave_no_gap(store: Arc<dyn Store>) {
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let store = store.clone();
            tokio::spawn(async move {
                for round in 0..WRITES {
                    let name = key(&format!("busy.w{writer}.k{}", round % 7));
                    if round % 5 == 4 {
                        store.delete(&name, Expect::Any).await.unwrap();
                    } else {
                        store.put(&name, round.to_string().into(), Expect::Any).await.unwrap();
                    }
                }
            })
        })
        .collect();
    let listing = store.list(&key("busy")).await.unwrap();
    let mut changes = store.watch(&key("busy"), listing.revision).await.unwrap();
    let mut seen: BTreeMap<Key, Bytes> =
        listing.entries.into_iter().map(|entry| (entry.key, entry.value)).collect();
    for writer in writers {
        writer.await.unwrap();
    }
    let end = store.put(&key("busy.end"), "end".into(), Expect::Any).await.unwrap();
    loop {
        let change = next(&mut changes).await.unwrap();
        assert!(change.revision > listing.revision);
        let is_end = change.revision == end;
        match change.value {
            Some(value) => seen.insert(change.key, value),
            None => seen.remove(&change.key),
        };
        if is_end {
            break;
        }
    }
    let last = store.list(&key("busy")).await.unwrap();
    let last: BTreeMap<Key, Bytes> = last.entries.into_iter().map(|entry| (entry.key, entry.value)).collect();
    assert_eq!(seen, last);
}

async fn no_increment_is_lost(store: Arc<dyn Store>) {
    let name = key("counter.shared");
    let incrementers = (0..WRITERS).map(|_| {
        let (store, name) = (store.clone(), name.clone());
        tokio::spawn(async move {
            for _ in 0..WRITES {
                while !increment(&*store, &name).await {
                    tokio::task::yield_now().await;
                }
            }
        })
    });
    for incrementer in join_all(incrementers).await {
        incrementer.unwrap();
    }
    let counted = number(&store.get(&name).await.unwrap().unwrap().value);
    assert_eq!(counted, (WRITERS * WRITES) as u64);
}

async fn increment(store: &dyn Store, name: &Key) -> bool {
    let (count, expect) = match store.get(name).await.unwrap() {
        None => (0, Expect::Absent),
        Some(entry) => (number(&entry.value), Expect::Revision(entry.revision)),
    };
    match store.put(name, (count + 1).to_string().into(), expect).await {
        Ok(_) => true,
        Err(StoreError::Conflict { .. }) => false,
        Err(error) => panic!("{error}"),
    }
}

async fn a_lease_has_one_holder(store: Arc<dyn Store>) {
    const TTL_MS: u64 = 1_000;
    let name = key("lease.reconciler");
    let mut now_ms = 0;
    for _ in 0..10 {
        let attempts = (0..WRITERS).map(|holder| {
            let (store, name) = (store.clone(), name.clone());
            tokio::spawn(async move {
                lease::acquire(&*store, &name, &format!("holder-{holder}"), TTL_MS, now_ms).await.unwrap()
            })
        });
        let outcomes = join_all(attempts).await.into_iter().map(Result::unwrap);
        let held = outcomes.filter(|outcome| matches!(outcome, Acquired::Held(_))).count();
        assert_eq!(held, 1, "a lease that had run out went to {held} of {WRITERS} that asked");
        now_ms += TTL_MS;
    }

    let one = lease::acquire(&*store, &name, "one", TTL_MS, now_ms).await.unwrap();
    let Acquired::Held(mut one) = one else { panic!("{one:?}") };
    one.renew(&*store, TTL_MS, now_ms + 500).await.unwrap();
    let two = lease::acquire(&*store, &name, "two", TTL_MS, now_ms + TTL_MS).await.unwrap();
    assert_eq!(two, Acquired::HeldBy { holder: "one".to_owned(), until_ms: now_ms + 500 + TTL_MS });
    let two = lease::acquire(&*store, &name, "two", TTL_MS, now_ms + 500 + TTL_MS).await.unwrap();
    let Acquired::Held(two) = two else { panic!("{two:?}") };
    assert!(matches!(one.renew(&*store, TTL_MS, now_ms).await, Err(StoreError::Conflict { .. })));
    assert!(matches!(one.release(&*store).await, Err(StoreError::Conflict { .. })));
    two.release(&*store).await.unwrap();
    let three = lease::acquire(&*store, &name, "three", TTL_MS, now_ms).await.unwrap();
    assert!(matches!(three, Acquired::Held(_)), "a lease that was given back is free");
}

fn key(text: &str) -> Key {
    Key::parse(text).expect("the suite's keys are valid")
}

fn change(name: &str, revision: Revision, value: Option<&str>) -> Change {
    Change { key: key(name), revision, value: value.map(|value| Bytes::copy_from_slice(value.as_bytes())) }
}

fn number(value: &[u8]) -> u64 {
    std::str::from_utf8(value).expect("the suite writes text").parse().expect("the suite writes numbers")
}

fn conflict(outcome: Result<Revision, StoreError>) -> (Key, Revision) {
    match outcome {
        Err(StoreError::Conflict { key, actual }) => (key, actual),
        other => panic!("expected a conflict, got {other:?}"),
    }
}

async fn next(changes: &mut BoxStream<'static, Result<Change, StoreError>>) -> Result<Change, StoreError> {
    let change = tokio::time::timeout(PATIENCE, changes.next()).await;
    change.expect("a change did not come in time").expect("a watch never ends by itself")
}

async fn take(mut changes: BoxStream<'static, Result<Change, StoreError>>, count: usize) -> Vec<Change> {
    let mut taken = Vec::new();
    for _ in 0..count {
        taken.push(next(&mut changes).await.unwrap());
    }
    taken
}

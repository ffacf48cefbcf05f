//! What is SQLite's part of the port: the conformance suite, opening and closing, forgetting.

use crate::SqliteStore;
use crate::conformance;
use crate::database::Tuning;
use futures::stream::StreamExt;
use skiff_ports::store::{Expect, Key, Store, StoreError};
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

fn key(text: &str) -> Key {
    Key::parse(text).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_keeps_the_terms_of_the_port() {
    let folder = tempfile::tempdir().unwrap();
    conformance::check_all(async |name| {
        let store = SqliteStore::open(&folder.path().join(name)).unwrap();
        Arc::new(store) as Arc<dyn Store>
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_keeps_them_when_deletes_are_soon_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    let tuning = Tuning { tombstones_max: 60, ..Tuning::default() };
    conformance::check_all(async |name| {
        let store = SqliteStore::open_tuned(&folder.path().join(name), &tuning).unwrap();
        Arc::new(store) as Arc<dyn Store>
    })
    .await;
}

#[tokio::test]
async fn a_store_is_reopened_as_it_was_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let store = SqliteStore::open(&path).unwrap();
    store.put(&key("a.x"), "1".into(), Expect::Any).await.unwrap();
    let put = store.put(&key("a.y"), "2".into(), Expect::Any).await.unwrap();
    let deleted = store.delete(&key("a.x"), Expect::Any).await.unwrap();
    let listing = store.list(&key("a")).await.unwrap();
    drop(store);

    let store = SqliteStore::open(&path).unwrap();
    assert_eq!(store.list(&key("a")).await.unwrap(), listing);
    let mut changes = store.watch(&key("a"), put).await.unwrap();
    let change = changes.next().await.unwrap().unwrap();
    assert_eq!((change.key, change.revision, change.value), (key("a.x"), deleted, None));
    let next = store.put(&key("a.z"), "3".into(), Expect::Any).await.unwrap();
    assert_eq!(next, deleted + 1);
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
}

#[tokio::test]
async fn a_closed_store_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let store = SqliteStore::open(&path).unwrap();
    store.put(&key("a"), "1".into(), Expect::Any).await.unwrap();
    let mut changes = store.watch(&key("a"), 1).await.unwrap();
    store.close().await.unwrap();
    assert!(matches!(store.get(&key("a")).await, Err(StoreError::Closed)));
    assert!(matches!(store.list(&key("a")).await, Err(StoreError::Closed)));
    assert!(matches!(store.put(&key("a"), "2".into(), Expect::Any).await, Err(StoreError::Closed)));
    assert!(matches!(store.watch(&key("a"), 0).await.err(), Some(StoreError::Closed)));
    assert!(matches!(store.close().await, Err(StoreError::Closed)));
    assert!(matches!(changes.next().await, Some(Err(StoreError::Closed))));
    assert!(changes.next().await.is_none());
    assert!(!folder.path().join("store.db-wal").exists(), "closing leaves the database alone");
    let again = SqliteStore::open(&path).unwrap();
    assert_eq!(again.get(&key("a")).await.unwrap().unwrap().value, "1");
}

#[tokio::test]
async fn a_store_has_one_owner() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let store = SqliteStore::open(&path).unwrap();
    assert!(matches!(SqliteStore::open(&path), Err(StoreError::Storage(_))));
    drop(store);
    SqliteStore::open(&path).unwrap();
}

#[tokio::test]
async fn a_newer_schema_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    SqliteStore::open(&path).unwrap().close().await.unwrap();
    rusqlite::Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let before = std::fs::read(&path).unwrap();
    let refused = SqliteStore::open(&path).err();
    assert!(matches!(refused, Some(StoreError::NewerSchema { found: 99, .. })), "{refused:?}");
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

#[tokio::test]
async fn a_file_that_is_no_store_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    std::fs::write(&path, "a letter to my aunt ".repeat(1_000)).unwrap();
    assert!(matches!(SqliteStore::open(&path), Err(StoreError::Storage(_))));
    let missing = SqliteStore::open(&folder.path().join("nowhere/store.db"));
    assert!(matches!(missing, Err(StoreError::Storage(_))));
}

#[tokio::test]
async fn old_deletes_are_forgotten_and_a_watch_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let tuning = Tuning { tombstones_max: 3, ..Tuning::default() };
    let store = SqliteStore::open_tuned(&path, &tuning).unwrap();
    let mut slow = store.watch(&key("a"), 0).await.unwrap();
    let mut deletes = Vec::new();
    for n in 0..6 {
        let name = key(&format!("a.k{n}"));
        store.put(&name, "1".into(), Expect::Any).await.unwrap();
        deletes.push(store.delete(&name, Expect::Any).await.unwrap());
    }
    assert!(matches!(slow.next().await, Some(Err(StoreError::Compacted(0)))));
    assert!(slow.next().await.is_none());
    remembers_the_last_three(&store, &deletes).await;
    drop(store);
    remembers_the_last_three(&SqliteStore::open_tuned(&path, &tuning).unwrap(), &deletes).await;
}

async fn remembers_the_last_three(store: &SqliteStore, deletes: &[u64]) {
    let last = deletes[deletes.len() - 1];
    assert_eq!(store.list(&key("a")).await.unwrap().revision, last);
    let too_old = store.watch(&key("a"), deletes[1]).await.err();
    assert!(matches!(too_old, Some(StoreError::Compacted(_))), "{too_old:?}");
    let mut rest = store.watch(&key("a"), deletes[2]).await.unwrap();
    for delete in &deletes[3..] {
        assert_eq!(rest.next().await.unwrap().unwrap().revision, *delete);
    }
    let of_another_life = store.watch(&key("a"), last + 1).await.err();
    assert!(matches!(of_another_life, Some(StoreError::Compacted(_))));
}

/// A watch that sees nothing of its own is not told to list again because of what others delete.
#[tokio::test]
async fn a_quiet_watch_keeps_up_with_what_is_forgotten_elsewhere() {
    let folder = tempfile::tempdir().unwrap();
    let tuning = Tuning { tombstones_max: 2, ..Tuning::default() };
    let store = SqliteStore::open_tuned(&folder.path().join("store.db"), &tuning).unwrap();
    let mut quiet = store.watch(&key("quiet"), 0).await.unwrap();
    for n in 0..10 {
        let name = key(&format!("noisy.k{n}"));
        store.put(&name, "1".into(), Expect::Any).await.unwrap();
        let woken = futures::poll!(quiet.next());
        assert!(woken.is_pending());
        store.delete(&name, Expect::Any).await.unwrap();
        assert!(futures::poll!(quiet.next()).is_pending());
    }
    let put = store.put(&key("quiet.k"), "1".into(), Expect::Any).await.unwrap();
    assert_eq!(quiet.next().await.unwrap().unwrap().revision, put);
}

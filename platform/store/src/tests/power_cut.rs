//! The power goes at many points of a run, and what was not synced is lost, torn or garbage: whatever the store had
//! acknowledged is there when it is opened again, and the database is whole.
//!
//! The run goes through our opening on a recording disk; each recovery through the opening that everybody uses, on the
//! files that the cut has left. The same harness finds the loss where SQLite is told to sync less.

use crate::SqliteStore;
use crate::database::Tuning;
use crate::tests::disk::{Disk, Left, Unsynced};
use crate::tests::workload::{self, WRITERS};
use futures::future::join_all;
use skiff_ports::store::{Durability, Expect, Key, Store, StoreError};
use std::path::{Path, PathBuf};

/// Writes of each writer in a run.
const WRITES: u64 = 60;
/// Power cuts of a run, each with every kind of loss.
const CUTS: usize = 60;
const LOSSES: [Unsynced; 4] = [Unsynced::Lost, Unsynced::Kept, Unsynced::SomeSectors, Unsynced::Garbage];

/// The log is copied into the database often, so that many cuts fall into the copying.
fn tuning(vfs: &'static str, synchronous: &'static str) -> Tuning {
    Tuning { vfs: Some(vfs), synchronous, checkpoint_pages: 12, tombstones_max: 3 }
}

/// Opens a store on a recording disk, runs the workload, and closes it.
async fn record(vfs: &'static str, synchronous: &'static str, path: &Path) -> Disk {
    let disk = Disk::register(vfs, path);
    let store = SqliteStore::open_tuned(path, &tuning(vfs, synchronous)).unwrap();
    disk.folder_synced();
    let writers = (0..WRITERS).map(|writer| {
        let (store, disk) = (store.clone(), disk.clone());
        tokio::spawn(async move {
            for n in 1..=WRITES {
                workload::write(&store, writer, n, Durability::Drive).await.unwrap();
                disk.acknowledged(writer);
            }
        })
    });
    for writer in join_all(writers).await {
        writer.unwrap();
    }
    store.close().await.unwrap();
    disk
}

/// Puts what a power cut has left where the store is opened.
fn put_back(left: &Left, path: &Path) {
    for file in path.parent().unwrap().read_dir().unwrap() {
        std::fs::remove_file(file.unwrap().path()).unwrap();
    }
    for (name, bytes) in &left.files {
        std::fs::write(name, bytes).unwrap();
    }
}

/// Opens what a power cut has left, as the next start does. An error says what is lost or broken.
async fn recover(left: &Left, path: &Path) -> Result<(), String> {
    put_back(left, path);
    let store = SqliteStore::open(path).map_err(|error| format!("{error}: {error:?}"))?;
    for writer in 0..WRITERS {
        let acknowledged = left.acknowledged.get(&writer).copied().unwrap_or(0);
        workload::done(&store, writer, acknowledged).await?;
    }
    let after = Key::parse("after.the.cut").unwrap();
    store.put(&after, "1".into(), Expect::Absent).await.map_err(|error| error.to_string())?;
    store.close().await.map_err(|error| error.to_string())?;
    let connection = rusqlite::Connection::open(path).unwrap();
    let verdict: String =
        connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).map_err(|e| e.to_string())?;
    if verdict == "ok" { Ok(()) } else { Err(verdict) }
}

/// Cuts the power at seeded points of a run. The first loss that was found, with all that reproduces it.
async fn first_loss(disk: &Disk, path: &Path, cuts: usize) -> Option<String> {
    let seed = u64::from_le_bytes(skiff_kit::random::bytes());
    let mut random = fastrand::Rng::with_seed(seed);
    let events = disk.events();
    for _ in 0..cuts {
        let cut = random.usize(0..=events);
        for loss in LOSSES {
            let left = disk.after_power_cut(cut, loss, &mut random);
            if let Err(error) = recover(&left, path).await {
                return Some(format!("seed {seed}, cut after {cut} of {events} events, {loss:?}: {error}"));
            }
        }
    }
    None
}

fn path(folder: &tempfile::TempDir) -> PathBuf {
    folder.path().join("store.db")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_power_cut_loses_nothing_that_was_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let disk = record("power-cut-full", Tuning::default().synchronous, &path(&folder)).await;
    assert_eq!(first_loss(&disk, &path(&folder), CUTS).await, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_power_cut_during_the_first_opening_harms_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = path(&folder);
    let disk = Disk::register("power-cut-first", &path);
    drop(SqliteStore::open_tuned(&path, &tuning("power-cut-first", "FULL")).unwrap());
    let mut random = fastrand::Rng::with_seed(1);
    for cut in 0..=disk.events() {
        for loss in LOSSES {
            let left = disk.after_power_cut(cut, loss, &mut random);
            let recovered = recover(&left, &path).await;
            assert_eq!(recovered, Ok(()), "cut after {cut} events, {loss:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_harness_notices_a_sync_that_is_left_out() {
    for (vfs, synchronous) in [("power-cut-off", "OFF"), ("power-cut-normal", "NORMAL")] {
        let folder = tempfile::tempdir().unwrap();
        let disk = record(vfs, synchronous, &path(&folder)).await;
        let loss = first_loss(&disk, &path(&folder), CUTS).await.unwrap_or_default();
        assert!(
            loss.contains("writes acknowledged, but"),
            "synchronous={synchronous} lost nothing: {loss:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_for_the_drive_is_lost_from_its_end_and_never_before_what_is() {
    /// Every so many are for the drive.
    const DRIVE: u64 = 5;
    let folder = tempfile::tempdir().unwrap();
    let path = path(&folder);
    let disk = Disk::register("power-cut-system", &path);
    let store = SqliteStore::open_tuned(&path, &tuning("power-cut-system", "FULL")).unwrap();
    disk.folder_synced();
    let key = |n: u64| Key::parse(&format!("n.{n:03}")).unwrap();
    for n in 1..=WRITES {
        let is_for_the_drive = n.is_multiple_of(DRIVE);
        let durability = if is_for_the_drive { Durability::Drive } else { Durability::System };
        store.put_with(&key(n), "1".into(), Expect::Absent, durability).await.unwrap();
        if is_for_the_drive {
            disk.acknowledged(0);
        }
    }
    store.close().await.unwrap();
    let mut random = fastrand::Rng::with_seed(2);
    for _ in 0..CUTS {
        let cut = random.usize(0..=disk.events());
        for loss in LOSSES {
            let left = disk.after_power_cut(cut, loss, &mut random);
            put_back(&left, &path);
            let store = SqliteStore::open(&path).unwrap();
            let found = store.list(&Key::parse("n").unwrap()).await.unwrap().entries;
            let found: Vec<Key> = found.into_iter().map(|entry| entry.key).collect();
            let first: Vec<Key> = (1..=found.len() as u64).map(key).collect();
            assert_eq!(found, first, "cut after {cut} events, {loss:?}");
            let least = left.acknowledged.get(&0).copied().unwrap_or(0) * DRIVE;
            assert!(found.len() as u64 >= least, "cut after {cut} events, {loss:?}: {found:?}");
            store.close().await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_for_the_drive_waits_for_no_sync() {
    let folder = tempfile::tempdir().unwrap();
    let path = path(&folder);
    let disk = Disk::register("unsynced", &path);
    let tuning = Tuning { vfs: Some("unsynced"), ..Tuning::default() };
    let store = SqliteStore::open_tuned(&path, &tuning).unwrap();
    let key = |n: u64| Key::parse(&format!("n.{n:03}")).unwrap();
    store.put(&key(0), "1".into(), Expect::Absent).await.unwrap();
    let before = disk.syncs();
    for n in 1..=20 {
        store.put_with(&key(n), "1".into(), Expect::Absent, Durability::System).await.unwrap();
    }
    assert_eq!(disk.syncs(), before);
    store.put(&key(21), "1".into(), Expect::Absent).await.unwrap();
    assert!(disk.syncs() > before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_that_wait_share_a_sync() {
    let folder = tempfile::tempdir().unwrap();
    let path = path(&folder);
    let disk = Disk::register("group-commit", &path);
    let tuning = Tuning { vfs: Some("group-commit"), ..Tuning::default() };
    let store = SqliteStore::open_tuned(&path, &tuning).unwrap();
    let before = disk.syncs();
    let keys: Vec<Key> = (0..1_000).map(|n| Key::parse(&format!("a.k{n}")).unwrap()).collect();
    for outcome in join_all(keys.iter().map(|key| store.put(key, "1".into(), Expect::Absent))).await {
        outcome.unwrap();
    }
    let syncs = disk.syncs() - before;
    assert!(syncs < 250, "1,000 writes at once took {syncs} syncs");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failing_disk_is_an_error_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = path(&folder);
    let disk = Disk::register("failing", &path);
    let tuning = Tuning { vfs: Some("failing"), ..Tuning::default() };
    let store = SqliteStore::open_tuned(&path, &tuning).unwrap();
    let key = Key::parse("a.b").unwrap();
    let first = store.put(&key, "1".into(), Expect::Absent).await.unwrap();
    disk.fail(true);
    let failed = store.put(&key, "2".into(), Expect::Any).await;
    assert!(matches!(failed, Err(StoreError::Storage(_))), "{failed:?}");
    assert_eq!(store.get(&key).await.unwrap().unwrap().value, "1");
    disk.fail(false);
    store.put(&key, "3".into(), Expect::Revision(first)).await.expect("the disk is well again");
    assert_eq!(store.get(&key).await.unwrap().unwrap().value, "3");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_said_to_be_full_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = path(&folder);
    let disk = Disk::register("full", &path);
    let tuning = Tuning { vfs: Some("full"), ..Tuning::default() };
    let store = SqliteStore::open_tuned(&path, &tuning).unwrap();
    let key = Key::parse("a.b").unwrap();
    let first = store.put(&key, "1".into(), Expect::Absent).await.unwrap();
    disk.fill(true);
    let full = store.put(&key, "2".into(), Expect::Any).await;
    assert!(matches!(full, Err(StoreError::Full)), "{full:?}");
    assert_eq!(store.get(&key).await.unwrap().unwrap().value, "1");
    disk.fill(false);
    store.put(&key, "3".into(), Expect::Revision(first)).await.expect("there is room again");
    assert_eq!(store.get(&key).await.unwrap().unwrap().value, "3");
}

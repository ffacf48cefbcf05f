//! The tables as their callers meet them: against a naive model over reopenings, many at once, and with a disk that is full.

use super::*;
use proptest::prelude::*;
use skiff_ports::tables::{ItemExpect, SCAN_MAX, Tables as _};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use tempfile::TempDir;

/// A clock that stands still until it is set.
#[derive(Default)]
struct Hand(AtomicU64);

impl Clock for Hand {
    fn unix_ms(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Tables in a folder of their own.
struct Place {
    folder: TempDir,
    clock: Arc<Hand>,
    tuning: Tuning,
    tables: Tables,
}

impl Place {
    fn new() -> Self {
        Self::tuned(Tuning::default())
    }

    fn tuned(tuning: Tuning) -> Self {
        let clock = Arc::new(Hand(AtomicU64::new(1_000)));
        Self::in_folder(TempDir::new().unwrap(), clock, tuning)
    }

    fn in_folder(folder: TempDir, clock: Arc<Hand>, tuning: Tuning) -> Self {
        let tables = open(&folder, clock.clone(), tuning.clone());
        Self { folder, clock, tuning, tables }
    }

    /// Closes the file in order, and opens it again.
    async fn reopen(&mut self) {
        self.tables.close().await.unwrap();
        self.tables = open(&self.folder, self.clock.clone(), self.tuning.clone());
    }

    /// What a process would find that begins as if this one had been killed now.
    fn killed(&self) -> Self {
        let folder = TempDir::new().unwrap();
        for file in ["tables.db", "tables.db-wal"] {
            let from = self.folder.path().join(file);
            if from.exists() {
                std::fs::copy(from, folder.path().join(file)).unwrap();
            }
        }
        Self::in_folder(folder, self.clock.clone(), self.tuning.clone())
    }

    async fn put(&self, table: ResourceId, key: &str, value: &str, expires_at_ms: Option<u64>) -> u64 {
        let write = ItemWrite { expires_at_ms, ..write(key, Some(value), ItemExpect::Any) };
        self.tables.write(table, vec![write]).await.unwrap()[0]
    }

    async fn keys(
        &self,
        table: ResourceId,
        prefix: &str,
        after: Option<&str>,
        limit: u32,
    ) -> (Vec<String>, bool) {
        let scan = Scan { prefix: prefix.to_owned(), after: after.map(str::to_owned), limit };
        let page = self.tables.scan(table, scan).await.unwrap();
        let keys = page.items.iter().map(|item| item.key.clone()).collect::<Vec<_>>();
        assert!(page.next.as_ref().is_none_or(|next| keys.last() == Some(next)));
        (keys, page.next.is_some())
    }
}

fn open(folder: &TempDir, clock: Arc<Hand>, tuning: Tuning) -> Tables {
    Tables::open_tuned(&folder.path().join("tables.db"), Deps { clock }, tuning).unwrap()
}

fn table(number: u8) -> ResourceId {
    ResourceId::from_bytes([number; 8])
}

fn write(key: &str, value: Option<&str>, expect: ItemExpect) -> ItemWrite {
    let value = value.map(|value| Bytes::from(value.to_owned()));
    ItemWrite { key: key.to_owned(), value, expires_at_ms: None, expect }
}

#[tokio::test]
async fn what_was_written_is_read_and_versions_rise_over_deletes_and_restarts() {
    let mut place = Place::new();
    let first = place.put(table(1), "a", "one", None).await;
    let second = place.put(table(1), "a", "two", None).await;
    assert!(second > first);
    assert_eq!(place.tables.write(table(1), vec![write("a", None, ItemExpect::Present)]).await.unwrap(), [0]);
    place.reopen().await;
    let third = place.put(table(1), "a", "three", None).await;
    assert!(third > second, "a version came again after a delete");
    let found = place.tables.get(table(1), vec!["a".to_owned(), "b".to_owned()]).await.unwrap();
    let item = Item { key: "a".to_owned(), value: "three".into(), version: third, expires_at_ms: None };
    assert_eq!(found, [Some(item), None]);
    assert_eq!(place.tables.get(table(2), vec!["a".to_owned()]).await.unwrap(), [None], "of another table");
    let found = place.killed().tables.get(table(1), vec!["a".to_owned()]).await.unwrap();
    assert_eq!(found[0].as_ref().map(|item| item.version), Some(third), "what was answered is on the drive");
}

#[tokio::test]
async fn writes_are_done_all_or_none_as_they_expect() {
    let place = Place::new();
    let version = place.put(table(1), "a", "one", None).await;
    let refused = async |last: ItemWrite| {
        let writes = vec![write("b", Some("new"), ItemExpect::Any), last];
        place.tables.write(table(1), writes).await.unwrap_err()
    };
    for (last, actual) in [
        (write("a", Some("two"), ItemExpect::Absent), Some(version)),
        (write("a", Some("two"), ItemExpect::Version(version + 1)), Some(version)),
        (write("c", Some("two"), ItemExpect::Present), None),
        (write("c", None, ItemExpect::Version(1)), None),
    ] {
        let key = last.key.clone();
        match refused(last).await {
            TableError::Conflict { key: told, actual: found } => assert_eq!((told, found), (key, actual)),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(place.keys(table(1), "", None, 10).await, (vec!["a".to_owned()], false));
    let writes = vec![
        write("a", None, ItemExpect::Version(version)),
        write("b", Some("x"), ItemExpect::Absent),
        write("nothing", None, ItemExpect::Any),
    ];
    assert_eq!(place.tables.write(table(1), writes).await.unwrap(), [0, version + 1, 0]);
    assert_eq!(place.tables.stats(table(1)).await.unwrap(), TableStats { items: 1, bytes: 2 });
}

#[tokio::test]
async fn what_can_not_be_is_refused() {
    let place = Place::new();
    let invalid = async |writes: Vec<ItemWrite>| {
        matches!(place.tables.write(table(1), writes).await, Err(TableError::Invalid(_)))
    };
    let any = ItemExpect::Any;
    let large = "v".repeat(ITEM_VALUE_BYTES_MAX);
    assert!(invalid(vec![write("", Some("v"), any)]).await);
    assert!(invalid(vec![write(&"k".repeat(ITEM_KEY_BYTES_MAX + 1), Some("v"), any)]).await);
    assert!(invalid(vec![write("a", Some(&format!("{large}v")), any)]).await);
    assert!(invalid(vec![write("a", Some("1"), any), write("a", None, any)]).await);
    assert!(invalid((0..=ITEMS_MAX).map(|n| write(&n.to_string(), Some("v"), any)).collect()).await);
    assert!(invalid((0..5).map(|n| write(&n.to_string(), Some(&large), any)).collect()).await);
    assert!(!invalid((0..4).map(|n| write(&n.to_string(), Some(&large), any)).collect()).await);
    let scan = Scan { prefix: String::new(), after: None, limit: 0 };
    assert!(matches!(place.tables.scan(table(1), scan).await, Err(TableError::Invalid(_))));
    let keys = vec!["k".to_owned(); ITEMS_MAX + 1];
    assert!(matches!(place.tables.get(table(1), keys).await, Err(TableError::Invalid(_))));
    place.put(table(1), "z", "v", None).await;
    let of = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<String>>();
    assert!(place.tables.get(table(1), of(&["0", "1", "2", "3"])).await.is_ok());
    for keys in [of(&["0", "1", "2", "3", "z"]), of(&["0"; 5])] {
        assert!(matches!(place.tables.get(table(1), keys).await, Err(TableError::Invalid(_))));
    }
    let (keys, has_more) = place.keys(table(1), "", None, SCAN_MAX).await;
    assert_eq!((keys.len(), has_more), (4, true), "a page has no more values than one may");
}

#[tokio::test]
async fn what_has_expired_is_there_for_nobody_and_is_swept() {
    let place = Place::new();
    place.put(table(1), "a", "short", Some(2_000)).await;
    let kept = place.put(table(1), "b", "long", Some(9_000)).await;
    place.clock.0.store(1_999, Relaxed);
    assert_eq!(place.keys(table(1), "", None, 10).await.0, ["a", "b"]);
    place.clock.0.store(2_000, Relaxed);
    assert_eq!(place.keys(table(1), "", None, 10).await.0, ["b"]);
    assert_eq!(place.tables.get(table(1), vec!["a".to_owned()]).await.unwrap(), [None]);
    let absent = write("a", Some("new"), ItemExpect::Absent);
    assert_eq!(place.tables.write(table(1), vec![absent]).await.unwrap(), [kept + 1]);
    assert_eq!(place.tables.increment(table(1), "n".to_owned(), 1).await.unwrap(), 1);
    place.clock.0.store(9_000, Relaxed);
    assert_eq!(place.tables.increment(table(1), "b".to_owned(), 5).await.unwrap(), 5, "it begins at 0 again");
    let number = place.tables.get(table(1), vec!["b".to_owned()]).await.unwrap().remove(0).unwrap();
    assert_eq!((&number.value[..], number.expires_at_ms), (&b"5"[..], None));

    for batch in 0..(2 * edits::SWEEP_MAX / ITEMS_MAX) {
        let writes = (0..ITEMS_MAX).map(|item| {
            let one = write(&format!("{:05}", batch * ITEMS_MAX + item), Some("v"), ItemExpect::Any);
            ItemWrite { expires_at_ms: Some(10_000), ..one }
        });
        place.tables.write(table(2), writes.collect()).await.unwrap();
    }
    place.clock.0.store(10_000, Relaxed);
    let mut swept = 0;
    while place.tables.stats(table(2)).await.unwrap().items > 0 {
        swept += place.tables.sweep_now().await.unwrap();
        assert!(swept <= 2 * edits::SWEEP_MAX as u64, "more was swept than there was");
    }
    assert_eq!(place.tables.stats(table(2)).await.unwrap(), TableStats::default());
    assert_eq!(place.tables.stats(table(1)).await.unwrap().items, 3, "what has not expired stays");
}

#[tokio::test]
async fn an_expiry_outlives_an_increment() {
    let place = Place::new();
    place.put(table(1), "n", "-3", Some(5_000)).await;
    assert_eq!(place.tables.increment(table(1), "n".to_owned(), 10).await.unwrap(), 7);
    let found = place.tables.get(table(1), vec!["n".to_owned()]).await.unwrap().remove(0).unwrap();
    assert_eq!((&found.value[..], found.expires_at_ms), (&b"7"[..], Some(5_000)));
    place.put(table(1), "word", "seven", None).await;
    place.put(table(1), "most", &i64::MAX.to_string(), None).await;
    for key in ["word", "most"] {
        let refused = place.tables.increment(table(1), key.to_owned(), 1).await;
        assert!(matches!(refused, Err(TableError::NotANumber { key: told, .. }) if told == key));
    }
}

#[tokio::test]
async fn pages_go_through_a_prefix_by_the_bytes_of_keys() {
    let place = Place::new();
    for key in ["a", "a/", "a/1", "a/1/\u{0}", "a/2", "a/é", "a/\u{10ffff}", "a0", "b", "%", "A"] {
        place.put(table(1), key, "v", None).await;
    }
    let under = ["a/", "a/1", "a/1/\u{0}", "a/2", "a/é", "a/\u{10ffff}"];
    assert_eq!(place.keys(table(1), "a/", None, 100).await, (under.map(str::to_owned).to_vec(), false));
    for limit in 1..=7 {
        let (mut seen, mut after) = (Vec::new(), None::<String>);
        loop {
            let (keys, has_more) = place.keys(table(1), "a/", after.as_deref(), limit).await;
            after = keys.last().cloned();
            seen.extend(keys);
            if !has_more {
                break;
            }
        }
        assert_eq!(seen, under, "in pages of {limit}");
    }
    assert_eq!(
        place.keys(table(1), "a/", Some("0"), 1).await.0,
        ["a/"],
        "what comes before the prefix skips nothing"
    );
    assert_eq!(place.keys(table(1), "a/", Some("b"), 100).await, (vec![], false));
    assert_eq!(place.keys(table(1), "", Some("a0"), 100).await.0, ["b"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_increments_at_once_none_is_lost() {
    let place = Place::new();
    let tasks = (0..10).map(|_| {
        let tables = place.tables.clone();
        tokio::spawn(async move {
            for _ in 0..100 {
                let sum = tables.increment(table(1), "n".to_owned(), 1).await.unwrap();
                let found = tables.get(table(1), vec!["n".to_owned()]).await.unwrap().remove(0).unwrap();
                let read: i64 = std::str::from_utf8(&found.value).unwrap().parse().unwrap();
                assert!(read >= sum, "a read came before a write that was answered");
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    assert_eq!(place.tables.increment(table(1), "n".to_owned(), 0).await.unwrap(), 1_000);
    assert_eq!(place.killed().tables.increment(table(1), "n".to_owned(), 0).await.unwrap(), 1_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_those_who_want_to_be_first_one_is() {
    let place = Place::new();
    let tasks = (0..20).map(|number: u32| {
        let tables = place.tables.clone();
        tokio::spawn(async move {
            let write = write("lock", Some(&number.to_string()), ItemExpect::Absent);
            tables.write(table(1), vec![write]).await.is_ok()
        })
    });
    let mut first = 0;
    for task in tasks.collect::<Vec<_>>() {
        first += u32::from(task.await.unwrap());
    }
    assert_eq!(first, 1);
}

#[tokio::test]
async fn where_the_disk_is_full_nothing_is_lost_and_deletes_make_room() {
    let place = Place::tuned(Tuning { pages_max: Some(300), ..Tuning::default() });
    let value = "v".repeat(10_000);
    let mut kept = 0_u32;
    let full = loop {
        let write = write(&format!("{kept:04}"), Some(&value), ItemExpect::Any);
        match place.tables.write(table(1), vec![write]).await {
            Ok(_) => kept += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(full, TableError::Full), "{full:?}");
    assert!(kept > 50, "{kept}");
    assert_eq!(place.keys(table(1), "", None, SCAN_MAX).await.0.len(), kept as usize);
    assert_eq!(place.tables.stats(table(1)).await.unwrap().items, u64::from(kept));
    for number in 0..10 {
        let delete = write(&format!("{number:04}"), None, ItemExpect::Present);
        place.tables.write(table(1), vec![delete]).await.unwrap();
    }
    place.put(table(1), "again", &value, None).await;
    assert_eq!(place.tables.stats(table(1)).await.unwrap().items, u64::from(kept) - 9);
}

#[tokio::test]
async fn a_table_that_is_dropped_leaves_nothing_and_takes_no_other_with_it() {
    let place = Place::new();
    for table_number in [1, 2] {
        for number in 0..(edits::DROP_STEP / ITEMS_MAX + 2) {
            let key = |item: usize| format!("{:06}", number * ITEMS_MAX + item);
            let writes = (0..ITEMS_MAX).map(|item| write(&key(item), Some("v"), ItemExpect::Any)).collect();
            place.tables.write(table(table_number), writes).await.unwrap();
        }
    }
    assert_eq!(place.tables.tables().await.unwrap(), [table(1), table(2)]);
    place.tables.drop_table(table(1)).await.unwrap();
    place.tables.drop_table(table(3)).await.unwrap();
    assert_eq!(place.tables.tables().await.unwrap(), [table(2)]);
    assert_eq!(place.tables.stats(table(1)).await.unwrap(), TableStats::default());
    assert_eq!(place.keys(table(1), "", None, 1).await, (vec![], false));
    let stats = place.tables.stats(table(2)).await.unwrap();
    assert_eq!(stats.items, (edits::DROP_STEP + 2 * ITEMS_MAX) as u64);
    assert_eq!(place.put(table(1), "a", "v", None).await, 1, "it is another table now");
}

#[tokio::test]
async fn after_the_end_calls_fail_and_the_file_is_taken_up_again() {
    let mut place = Place::new();
    place.put(table(1), "a", "v", None).await;
    let ended = place.tables.clone();
    place.reopen().await;
    assert!(matches!(ended.get(table(1), vec!["a".to_owned()]).await, Err(TableError::Storage(_))));
    let refused = ended.write(table(1), vec![write("a", None, ItemExpect::Any)]).await;
    assert!(matches!(refused, Err(TableError::Storage(_))));
    assert_eq!(place.keys(table(1), "", None, 10).await.0, ["a"]);
}

#[tokio::test]
async fn a_file_of_a_newer_skiff_is_left_alone() {
    let mut place = Place::new();
    place.put(table(1), "a", "v", None).await;
    place.tables.close().await.unwrap();
    let path = place.folder.path().join("tables.db");
    let newer = rusqlite::Connection::open(&path).unwrap();
    newer.pragma_update(None, "user_version", 99).unwrap();
    drop(newer);
    let refused = Tables::open(&path, Deps { clock: place.clock.clone() }).map(drop);
    let Err(TableError::Storage(error)) = refused else { panic!("{refused:?}") };
    assert!(error.to_string().contains("run the newer skiff"), "{error}");
    let older = rusqlite::Connection::open(&path).unwrap();
    older.pragma_update(None, "user_version", 1).unwrap();
    drop(older);
    place.tables = Tables::open(&path, Deps { clock: place.clock.clone() }).unwrap();
    assert_eq!(place.keys(table(1), "", None, 10).await.0, ["a"]);
}

/// What happens to a table, and its naive twin.
#[derive(Debug, Clone)]
enum Happening {
    Write(Vec<(u8, Option<u8>, Option<u16>, Wish)>),
    Increment(u8, i8),
    Scan(u8, Option<u8>, u8),
    Wait(u16),
    Sweep,
    Reopen,
    Drop,
}

/// What a write expects, in words that a generator has.
#[derive(Debug, Clone, Copy)]
enum Wish {
    Any,
    Absent,
    Present,
    /// The version that the model has, and so much beside it.
    Near(u8),
}

fn happening() -> impl Strategy<Value = Happening> {
    let wish = prop_oneof![
        3 => Just(Wish::Any),
        1 => Just(Wish::Absent),
        1 => Just(Wish::Present),
        1 => (0..2_u8).prop_map(Wish::Near),
    ];
    let one = (0..6_u8, proptest::option::of(0..20_u8), proptest::option::of(1..50_u16), wish);
    prop_oneof![
        8 => proptest::collection::vec(one, 1..4).prop_map(Happening::Write),
        3 => (0..6_u8, -3..9_i8).prop_map(|(key, delta)| Happening::Increment(key, delta)),
        3 => (0..4_u8, proptest::option::of(0..6_u8), 1..4_u8).prop_map(|(p, a, l)| Happening::Scan(p, a, l)),
        2 => (1..30_u16).prop_map(Happening::Wait),
        1 => Just(Happening::Sweep),
        1 => Just(Happening::Reopen),
        1 => Just(Happening::Drop),
    ]
}

/// A table as anybody would write it.
#[derive(Default)]
struct Model {
    items: BTreeMap<String, Item>,
    version: u64,
}

impl Model {
    fn there(&self, key: &str, now_ms: u64) -> Option<&Item> {
        self.items.get(key).filter(|item| item.expires_at_ms.is_none_or(|at_ms| at_ms > now_ms))
    }

    fn put(&mut self, key: &str, value: String, expires_at_ms: Option<u64>) -> u64 {
        self.version += 1;
        let (key, version) = (key.to_owned(), self.version);
        self.items.insert(key.clone(), Item { key, value: value.into(), version, expires_at_ms });
        version
    }

    fn write(&mut self, writes: &[ItemWrite], now_ms: u64) -> Option<Vec<u64>> {
        let holds = |write: &ItemWrite| {
            let actual = self.there(&write.key, now_ms).map(|item| item.version);
            match write.expect {
                ItemExpect::Any => true,
                ItemExpect::Absent => actual.is_none(),
                ItemExpect::Present => actual.is_some(),
                ItemExpect::Version(version) => actual == Some(version),
            }
        };
        if !writes.iter().all(holds) {
            return None;
        }
        let mut done = |write: &ItemWrite| match &write.value {
            Some(value) => {
                self.put(&write.key, String::from_utf8(value.to_vec()).unwrap(), write.expires_at_ms)
            }
            None => {
                self.items.remove(&write.key);
                0
            }
        };
        Some(writes.iter().map(&mut done).collect())
    }

    fn increment(&mut self, key: &str, delta: i64, now_ms: u64) -> Option<i64> {
        let present = self.there(key, now_ms);
        let number: i64 = match present {
            None => 0,
            Some(item) => std::str::from_utf8(&item.value).ok()?.parse().ok()?,
        };
        let expires_at_ms = present.and_then(|item| item.expires_at_ms);
        self.put(key, (number + delta).to_string(), expires_at_ms);
        Some(number + delta)
    }

    fn scan(&self, scan: &Scan, now_ms: u64) -> Vec<Item> {
        let is_such = |item: &&Item| {
            item.key.starts_with(&scan.prefix)
                && scan.after.as_ref().is_none_or(|after| item.key > *after)
                && self.there(&item.key, now_ms).is_some()
        };
        self.items.values().filter(is_such).take(scan.limit as usize).cloned().collect()
    }
}

/// Keys that are prefixes of each other.
const KEYS: [&str; 6] = ["a", "a/b", "a/b/c", "a\u{0}", "ab", "é"];

async fn play(happenings: Vec<Happening>) {
    let tuning = Tuning { sweeps_when_told: true, ..Tuning::default() };
    let (mut place, mut model, id) = (Place::tuned(tuning), Model::default(), table(7));
    let mut now_ms = 1_000;
    for happening in happenings {
        match happening {
            Happening::Write(writes) => {
                let mut by_key = BTreeMap::new();
                for (key, value, lasts_ms, wish) in writes {
                    let key = KEYS[usize::from(key)];
                    let version = model.items.get(key).map_or(0, |item| item.version);
                    let expect = match wish {
                        Wish::Any => ItemExpect::Any,
                        Wish::Absent => ItemExpect::Absent,
                        Wish::Present => ItemExpect::Present,
                        Wish::Near(beside) => ItemExpect::Version(version + u64::from(beside)),
                    };
                    let expires_at_ms = lasts_ms.map(|lasts_ms| now_ms + u64::from(lasts_ms));
                    let value =
                        value.map(|value| if value < 15 { value.to_string() } else { "word".to_owned() });
                    let one = ItemWrite { expires_at_ms, ..write(key, value.as_deref(), expect) };
                    by_key.insert(key, one);
                }
                let writes: Vec<ItemWrite> = by_key.into_values().collect();
                let expected = model.write(&writes, now_ms);
                match place.tables.write(id, writes).await {
                    Ok(versions) => assert_eq!(Some(versions), expected),
                    Err(TableError::Conflict { .. }) => assert_eq!(expected, None),
                    Err(error) => panic!("{error:?}"),
                }
            }
            Happening::Increment(key, delta) => {
                let key = KEYS[usize::from(key)];
                let expected = model.increment(key, delta.into(), now_ms);
                match place.tables.increment(id, key.to_owned(), delta.into()).await {
                    Ok(sum) => assert_eq!(Some(sum), expected),
                    Err(TableError::NotANumber { .. }) => assert_eq!(expected, None),
                    Err(error) => panic!("{error:?}"),
                }
            }
            Happening::Scan(prefix, after, limit) => {
                let prefix = ["", "a", "a/", "é"][usize::from(prefix)].to_owned();
                let after = after.map(|after| KEYS[usize::from(after)].to_owned());
                let scan = Scan { prefix, after, limit: limit.into() };
                let expected = model.scan(&scan, now_ms);
                assert_eq!(place.tables.scan(id, scan).await.unwrap().items, expected);
            }
            Happening::Wait(ms) => {
                now_ms += u64::from(ms);
                place.clock.0.store(now_ms, Relaxed);
            }
            Happening::Sweep => {
                let expired = model.items.len();
                let there = |item: &Item| item.expires_at_ms.is_none_or(|at_ms| at_ms > now_ms);
                model.items.retain(|_, item| there(item));
                let expired = expired - model.items.len();
                assert_eq!(place.tables.sweep_now().await.unwrap(), expired as u64);
                let bytes = model.items.values().map(|item| (item.key.len() + item.value.len()) as u64).sum();
                let expected = TableStats { items: model.items.len() as u64, bytes };
                assert_eq!(place.tables.stats(id).await.unwrap(), expected);
            }
            Happening::Reopen => {
                place = place.killed();
                place.reopen().await;
            }
            Happening::Drop => {
                place.tables.drop_table(id).await.unwrap();
                model = Model::default();
            }
        }
        let keys: Vec<String> = KEYS.map(str::to_owned).to_vec();
        let expected: Vec<Option<Item>> = keys.iter().map(|key| model.there(key, now_ms).cloned()).collect();
        assert_eq!(place.tables.get(id, keys).await.unwrap(), expected);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn a_table_does_what_its_model_does(happenings in proptest::collection::vec(happening(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(play(happenings));
    }
}

//! Buckets on a folder, and on what stands for another's store.

mod crashes;
mod model;
mod parts;
mod removal;

use super::*;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use object_store::ObjectStore;
use object_store::memory::InMemory;
use skiff_kit::random::SystemRandom;
use skiff_ports::buckets::{
    Buckets as _, ByteRange, Cause, Checks, ObjectBytes, ObjectContent, ObjectExpect, ObjectInfo, ObjectPut,
    ObjectRef,
};
use skiff_types::ResourceId;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tempfile::TempDir;

/// Bytes that a store in memory is handed at once, in these tests.
const MEMORY_BUFFER_BYTES: usize = 32 << 10;
/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(60);

/// A clock that goes on by a millisecond with each look.
#[derive(Default)]
struct Ticking(AtomicU64);

impl Clock for Ticking {
    fn unix_ms(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed)
    }
}

/// A place for buckets, which may be opened again.
struct Fixture {
    folder: TempDir,
    memory: Option<Arc<InMemory>>,
    clock: Arc<Ticking>,
}

impl Fixture {
    fn on_folder() -> Self {
        Self { folder: TempDir::new().unwrap(), memory: None, clock: Arc::default() }
    }

    fn in_memory() -> Self {
        Self { memory: Some(Arc::default()), ..Self::on_folder() }
    }

    fn open(&self) -> Buckets {
        let backend = match &self.memory {
            Some(memory) => Backend::memory(memory.clone(), MEMORY_BUFFER_BYTES),
            None => Backend::new(&BlobsConfig::Folder(self.blobs())).unwrap(),
        };
        let deps = Deps { clock: self.clock.clone(), random: Arc::new(SystemRandom) };
        Buckets::open_on(self.folder.path().join("buckets.db"), backend, deps).unwrap()
    }

    fn blobs(&self) -> PathBuf {
        self.folder.path().join("blobs")
    }

    /// How many blobs there are, and pieces of such.
    async fn count(&self) -> usize {
        match &self.memory {
            Some(memory) => memory.list(None).try_collect::<Vec<_>>().await.unwrap().len(),
            None => files(&self.blobs()).len(),
        }
    }
}

/// All files below a folder.
fn files(folder: &std::path::Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(files(&path)),
            false => found.push(path),
        }
    }
    found
}

fn bucket(number: u8) -> ResourceId {
    ResourceId::from_bytes([number; 8])
}

fn object(key: &str) -> ObjectRef {
    ObjectRef { bucket: bucket(1), key: key.to_owned() }
}

fn by(reason: &str) -> Cause {
    Cause {
        reason: reason.to_owned(),
        requester: "default/test".to_owned(),
        request_id: "07af".to_owned(),
        source_ip: None,
    }
}

fn put_of(key: &str) -> ObjectPut {
    ObjectPut {
        object: object(key),
        content: ObjectContent::default(),
        expect: ObjectExpect::Any,
        checks: Checks::default(),
        by: by("PutObject"),
    }
}

/// Bytes that differ from place to place.
fn bytes(count: usize, seed: u8) -> Vec<u8> {
    (0..count)
        .map(|at| (at as u8).wrapping_mul(31).wrapping_add((at >> 8) as u8).wrapping_add(seed))
        .collect()
}

/// Bytes as they come, in uneven pieces.
fn body(bytes: &[u8]) -> ObjectBytes {
    let pieces: Vec<_> = bytes.chunks(7_001).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
    stream::iter(pieces).boxed()
}

async fn put(buckets: &Buckets, key: &str, bytes: &[u8]) -> ObjectInfo {
    buckets.put(put_of(key), body(bytes)).await.unwrap()
}

async fn get(buckets: &Buckets, key: &str, range: Option<ByteRange>) -> Result<Vec<u8>, BucketError> {
    let (_, range, bytes) = buckets.get(&object(key), range).await?;
    let bytes = bytes.try_collect::<Vec<_>>().await.unwrap().concat();
    assert_eq!(bytes.len() as u64, range.end - range.start);
    Ok(bytes)
}

/// Waits until all garbage that nobody reads is gone.
async fn collect(buckets: &Buckets) {
    while !collector::step(&buckets.core).await.unwrap() {}
}

/// Waits until this is so.
async fn until<F: Future<Output = bool>>(is_so: impl Fn() -> F) {
    let wait = async {
        while !is_so().await {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.expect("it came in time");
}

fn md5(bytes: &[u8]) -> [u8; 16] {
    use md5::Digest;
    md5::Md5::digest(bytes).into()
}

#[tokio::test]
async fn an_object_of_any_size_is_given_as_it_was_put() {
    for fixture in [Fixture::on_folder(), Fixture::in_memory()] {
        let buckets = fixture.open();
        let sizes = [0, 1, SMALL_BYTES_MAX, SMALL_BYTES_MAX + 1, MEMORY_BUFFER_BYTES, 100_000, (1 << 20) + 3];
        for size in sizes {
            let content = bytes(size, 1);
            let info = put(&buckets, "key", &content).await;
            assert_eq!((info.size, info.etag), (size as u64, hex::encode(md5(&content))));
            assert_eq!(get(&buckets, "key", None).await.unwrap(), content, "{size}");
        }
        collect(&buckets).await;
        assert_eq!(fixture.count().await, 1, "only the last, which is large, has a blob");
        put(&buckets, "key", b"small").await;
        collect(&buckets).await;
        assert_eq!(fixture.count().await, 0);
    }
}

#[tokio::test]
async fn what_is_said_of_an_object_is_said_again_and_is_bounded() {
    let fixture = Fixture::in_memory();
    let buckets = fixture.open();
    let mut put = put_of("key");
    put.content.content_type = Some("text/plain".to_owned());
    put.content.metadata.insert("who".to_owned(), "ü\n\"".to_owned());
    let content = put.content.clone();
    buckets.put(put.clone(), body(b"a")).await.unwrap();
    assert_eq!(buckets.head(&object("key")).await.unwrap().content, content);

    put.content.metadata.insert("much".to_owned(), "a".repeat(2_048));
    assert!(matches!(buckets.put(put, body(b"a")).await, Err(BucketError::Invalid(_))));
    for key in [String::new(), "a".repeat(1_025), "ü".repeat(513)] {
        assert!(matches!(buckets.put(put_of(&key), body(b"a")).await, Err(BucketError::Invalid(_))), "{key}");
    }
    assert!(matches!(buckets.head(&object("other")).await, Err(BucketError::NoObject(_))));
}

#[tokio::test]
async fn keys_are_bytes_and_never_paths() {
    let fixture = Fixture::on_folder();
    let buckets = fixture.open();
    let keys =
        ["..", "../../etc/passwd", "/", "//", "a/../b", "%2e%2e", "a\0b", ".", "a#1", "ü", "\u{10ffff}"];
    for (index, key) in keys.iter().enumerate() {
        put(&buckets, key, &bytes(SMALL_BYTES_MAX + 1, index as u8)).await;
    }
    for (index, key) in keys.iter().enumerate() {
        let content = bytes(SMALL_BYTES_MAX + 1, index as u8);
        assert_eq!(get(&buckets, key, None).await.unwrap(), content, "{key:?}");
    }
    let inside = files(&fixture.blobs());
    assert_eq!(inside.len(), keys.len());
    let hexadecimal = |name: &str| name.chars().all(|digit| digit.is_ascii_hexdigit());
    assert!(inside.iter().all(|path| hexadecimal(path.file_name().unwrap().to_str().unwrap())));
}

#[tokio::test]
async fn bytes_that_are_not_what_they_were_said_to_be_leave_nothing() {
    for fixture in [Fixture::on_folder(), Fixture::in_memory()] {
        let buckets = fixture.open();
        for size in [10, 20_000, 2_000_000] {
            let content = bytes(size, 1);
            let right = Checks { bytes: Some(size as u64), md5: Some(md5(&content)), sha256: None };
            let wrong = [
                Checks { bytes: Some(size as u64 + 1), ..Checks::default() },
                Checks { bytes: Some(size as u64 - 1), ..Checks::default() },
                Checks { md5: Some([7; 16]), ..right.clone() },
                Checks { sha256: Some([7; 32]), ..right.clone() },
            ];
            for checks in wrong {
                let put = ObjectPut { checks, ..put_of("key") };
                let refused = buckets.put(put, body(&content)).await;
                assert!(matches!(refused, Err(BucketError::Checks(_))), "{size}: {refused:?}");
            }
            assert_eq!(fixture.count().await, 0, "{size}");
            buckets.put(ObjectPut { checks: right, ..put_of("key") }, body(&content)).await.unwrap();
            buckets.delete(&object("key"), ObjectExpect::Any, by("DeleteObject")).await.unwrap();
            collect(&buckets).await;
        }
        let huge = Checks { bytes: Some((5 << 30) + 1), ..Checks::default() };
        let refused = buckets.put(ObjectPut { checks: huge, ..put_of("key") }, body(b"a")).await;
        assert!(matches!(refused, Err(BucketError::TooLarge)));
    }
}

#[tokio::test]
async fn a_client_that_breaks_off_or_goes_away_leaves_nothing() {
    for fixture in [Fixture::on_folder(), Fixture::in_memory()] {
        let buckets = fixture.open();
        let content = bytes(3 << 20, 1);
        let cut = stream::iter([Err(io::Error::from(io::ErrorKind::ConnectionReset))]);
        let broken = buckets.put(put_of("key"), body(&content).chain(cut).boxed()).await;
        assert!(matches!(broken, Err(BucketError::Body(_))), "{broken:?}");
        assert_eq!(fixture.count().await, 0);

        // It has sent much, and then says nothing more; whoever waited for the answer stops.
        let (sent, all_sent) = tokio::sync::oneshot::channel();
        let silent = stream::once(async move {
            sent.send(()).unwrap();
            std::future::pending().await
        });
        let mut stalled = Box::pin(buckets.put(put_of("key"), body(&content).chain(silent).boxed()));
        tokio::select! {
            answer = &mut stalled => panic!("{answer:?}"),
            told = all_sent => told.unwrap(),
        }
        drop(stalled);
        until(|| async { fixture.count().await == 0 }).await;
        assert!(matches!(buckets.head(&object("key")).await, Err(BucketError::NoObject(_))));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_writes_that_race_for_one_condition_one_wins() {
    let fixture = Fixture::on_folder();
    let buckets = Arc::new(fixture.open());
    for size in [10, 20_000] {
        let key = format!("key{size}");
        let race = |expect: ObjectExpect, seed: u8| {
            let puts = (seed..seed + 16).map(|seed| {
                let (buckets, put) = (buckets.clone(), ObjectPut { expect: expect.clone(), ..put_of(&key) });
                tokio::spawn(async move { buckets.put(put, body(&bytes(size, seed))).await })
            });
            futures::future::try_join_all(puts.collect::<Vec<_>>())
        };
        let first = winner(race(ObjectExpect::Absent, 0).await.unwrap());
        let second = winner(race(ObjectExpect::ETag(first.etag), 100).await.unwrap());
        assert_eq!(buckets.head(&object(&key)).await.unwrap(), second);
    }
}

/// The one write that was done; all others must have found another object than they expect.
fn winner(outcomes: Vec<Result<ObjectInfo, BucketError>>) -> ObjectInfo {
    let (mut done, refused): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(Result::is_ok);
    assert!(refused.iter().all(|outcome| matches!(outcome, Err(BucketError::Precondition))), "{refused:?}");
    assert_eq!(done.len(), 1);
    done.remove(0).unwrap()
}

#[tokio::test]
async fn a_condition_is_met_or_nothing_is_done() {
    let fixture = Fixture::in_memory();
    let buckets = fixture.open();
    let expecting = |expect| ObjectPut { expect, ..put_of("key") };
    let etag = |etag: &str| ObjectExpect::ETag(etag.to_owned());
    let absent = buckets.put(expecting(etag("a")), body(b"a")).await;
    assert!(matches!(absent, Err(BucketError::NoObject(_))), "{absent:?}");
    let first = buckets.put(expecting(ObjectExpect::Absent), body(b"a")).await.unwrap();
    let other = buckets.put(expecting(etag("b")), body(b"b")).await;
    assert!(matches!(other, Err(BucketError::Precondition)), "{other:?}");
    let second = buckets.put(expecting(etag(&first.etag)), body(b"b")).await.unwrap();
    buckets.put(expecting(etag("*")), body(b"b")).await.unwrap();

    let delete = |expect| {
        let buckets = &buckets;
        async move { buckets.delete(&object("key"), expect, by("DeleteObject")).await }
    };
    assert!(matches!(delete(etag(&first.etag)).await, Err(BucketError::Precondition)));
    assert!(delete(etag(&second.etag)).await.unwrap());
    assert!(!delete(ObjectExpect::Any).await.unwrap());
    assert!(matches!(delete(etag("a")).await, Err(BucketError::Precondition)));
}

#[tokio::test]
async fn an_object_that_is_read_stays_whole_while_it_is_replaced() {
    for fixture in [Fixture::on_folder(), Fixture::in_memory()] {
        let buckets = fixture.open();
        let old = bytes(1_000_000, 1);
        put(&buckets, "key", &old).await;
        let (_, _, mut reading) = buckets.get(&object("key"), None).await.unwrap();
        let mut read = reading.next().await.unwrap().unwrap().to_vec();
        put(&buckets, "key", &bytes(50_000, 2)).await;
        collect(&buckets).await;
        assert_eq!(fixture.count().await, 2, "what is being read was deleted");
        read.extend(reading.try_collect::<Vec<_>>().await.unwrap().concat());
        assert_eq!(read, old);
        collect(&buckets).await;
        assert_eq!(fixture.count().await, 1);
    }
}

#[tokio::test]
async fn a_copy_shares_what_it_can_and_outlives_the_other() {
    for size in [0, 100, 50_000] {
        let fixture = Fixture::on_folder();
        let buckets = fixture.open();
        let content = bytes(size, 1);
        let first = put(&buckets, "one", &content).await;
        let mut to = put_of("two");
        to.content.content_type = Some("text/plain".to_owned());
        let any = ObjectExpect::Any;
        let copy = buckets.copy(&object("one"), any.clone(), to.clone(), false).await.unwrap();
        assert_eq!((copy.etag.as_str(), copy.size), (first.etag.as_str(), size as u64));
        assert_eq!(copy.content, to.content);
        // On itself, with other words.
        buckets.copy(&object("two"), any.clone(), put_of("two"), false).await.unwrap();
        assert_eq!(buckets.head(&object("two")).await.unwrap().content, ObjectContent::default());
        assert!(fixture.count().await <= 1);

        buckets.delete(&object("one"), any.clone(), by("DeleteObject")).await.unwrap();
        collect(&buckets).await;
        assert_eq!(get(&buckets, "two", None).await.unwrap(), content);
        buckets.delete(&object("two"), any.clone(), by("DeleteObject")).await.unwrap();
        collect(&buckets).await;
        assert_eq!(fixture.count().await, 0);

        let none = buckets.copy(&object("one"), any, put_of("two"), true).await;
        assert!(matches!(none, Err(BucketError::NoObject(key)) if key == "one"));
    }
}

#[tokio::test]
async fn events_wait_until_they_were_taken_and_are_waited_for() {
    let fixture = Fixture::in_memory();
    let buckets = Arc::new(fixture.open());
    let waiting = tokio::spawn({
        let buckets = buckets.clone();
        async move { buckets.events(0, 10).await }
    });
    put(&buckets, "key", b"a").await;
    let first = waiting.await.unwrap().unwrap();
    assert_eq!(first.len(), 1);
    let (number, event) = &first[0];
    assert_eq!(event.created, Some((1, hex::encode(md5(b"a")))));
    assert_eq!((&event.object, &event.by), (&object("key"), &by("PutObject")));
    assert_eq!(buckets.events(0, 10).await.unwrap(), first, "nobody has taken it");

    buckets.delete(&object("key"), ObjectExpect::Any, by("DeleteObject")).await.unwrap();
    assert!(!buckets.delete(&object("key"), ObjectExpect::Any, by("DeleteObject")).await.unwrap());
    assert_eq!(buckets.events(*number, 10).await.unwrap().len(), 1, "it has one behind it");
    buckets.forget_events(vec![*number]).await.unwrap();
    let second = buckets.events(0, 10).await.unwrap();
    assert_eq!(second.len(), 1, "a deletion of nothing left an event, or one of something none");
    assert_eq!((second[0].1.created.is_none(), second[0].1.sequencer > event.sequencer), (true, true));
    buckets.forget_events(vec![second[0].0]).await.unwrap();

    // Numbers go on, though nothing is left that has one.
    buckets.close().await.unwrap();
    let buckets = fixture.open();
    put(&buckets, "key", b"b").await;
    let third = buckets.events(0, 0).await.unwrap();
    assert!(third[0].1.sequencer > second[0].1.sequencer);
}

#[tokio::test]
async fn a_bucket_is_dropped_with_all_that_it_holds() {
    let fixture = Fixture::in_memory();
    let buckets = fixture.open();
    let puts = (0..1_200_u32).map(|number| {
        let size = if number % 100 == 0 { 20_000 } else { 3 };
        let (put, body) = (put_of(&format!("many/{number:04}")), body(&bytes(size, 1)));
        buckets.put(put, body)
    });
    futures::future::try_join_all(puts.collect::<Vec<_>>()).await.unwrap();
    let other = ObjectRef { bucket: bucket(2), key: "stays".to_owned() };
    buckets.put(ObjectPut { object: other.clone(), ..put_of("") }, body(b"a")).await.unwrap();
    buckets.create_upload(&object("upload"), ObjectContent::default()).await.unwrap();
    assert_eq!(buckets.buckets().await.unwrap(), [bucket(1), bucket(2)]);
    let stats = buckets.stats(bucket(1)).await.unwrap();
    assert_eq!((stats.objects, stats.bytes), (1_200, 12 * 20_000 + 1_188 * 3));

    buckets.drop_bucket(bucket(1)).await.unwrap();
    collect(&buckets).await;
    assert_eq!(buckets.buckets().await.unwrap(), [bucket(2)]);
    assert_eq!(buckets.stats(bucket(1)).await.unwrap(), Default::default());
    assert_eq!(fixture.count().await, 0);
    assert!(buckets.head(&other).await.is_ok());
    let events = buckets.events(0, 10_000).await.unwrap();
    assert!(events.iter().all(|(_, event)| event.created.is_some()), "the dropping left events");
}

//! What a crash, or a full disk, leaves.

use super::*;
use crate::buckets::record::Failed;
use object_store::multipart::MultipartStore;
use std::fs;

#[tokio::test]
async fn what_a_crash_left_is_deleted_by_the_next_start() {
    let fixture = Fixture::on_folder();
    let buckets = fixture.open();
    put(&buckets, "key", &bytes(50_000, 1)).await;
    buckets.close().await.unwrap();
    drop(buckets);
    let kept = files(&fixture.blobs());
    assert_eq!(kept.len(), 1);
    let own = kept[0].parent().unwrap().parent().unwrap().to_owned();
    // A blob whose row was not written any more, one that was not whole, and what others have there.
    fs::write(own.join("ab").join("c".repeat(30)), "no row").unwrap();
    fs::write(own.join("cd").join(format!("{}#1", "e".repeat(30))), "not whole").unwrap();
    let foreign = [own.join("ab").join("a note"), own.join("note#1"), fixture.blobs().join("0".repeat(32))];
    for path in &foreign {
        fs::write(path, "somebody else's").unwrap();
    }

    let buckets = fixture.open();
    collector::delete_left(&buckets.core).await;
    let mut expected = [kept, foreign.to_vec()].concat();
    let mut left = files(&fixture.blobs());
    expected.sort();
    left.sort();
    assert_eq!(left, expected);
    assert_eq!(get(&buckets, "key", None).await.unwrap(), bytes(50_000, 1));
}

/// The ids of the writes in parts that are noted.
async fn noted(buckets: &Buckets) -> Vec<String> {
    let noted = |connection: &rusqlite::Connection| -> Result<Vec<String>, Failed> {
        let mut noted = connection.prepare("SELECT id FROM begun")?;
        let ids = noted.query_map([], |row| row.get(0))?;
        Ok(ids.collect::<rusqlite::Result<_>>()?)
    };
    buckets.core.reads.read(noted).await.unwrap()
}

#[tokio::test]
async fn a_write_in_parts_that_a_crash_cut_short_is_given_up_at_the_other_store() {
    let fixture = Fixture::in_memory();
    let buckets = fixture.open();
    let blob = buckets.core.blobs.begin();
    let mut upload = buckets.core.begin_upload(blob.name).await.unwrap();
    upload.put_part(bytes(MEMORY_BUFFER_BYTES, 1).into()).await.unwrap();
    let ids = noted(&buckets).await;
    assert_eq!(ids.len(), 1);
    buckets.close().await.unwrap();
    drop((upload, blob, buckets));

    let buckets = fixture.open();
    until(|| async { noted(&buckets).await.is_empty() }).await;
    let memory = fixture.memory.clone().unwrap();
    let again = memory.abort_multipart(&object_store::path::Path::from("any"), &ids[0]).await;
    assert!(again.is_err(), "it was there yet");
}

#[tokio::test]
async fn a_write_in_parts_that_ended_is_not_noted_any_more() {
    let fixture = Fixture::in_memory();
    let buckets = fixture.open();
    let content = bytes(4 * MEMORY_BUFFER_BYTES, 1);
    put(&buckets, "key", &content).await;
    let cut = stream::iter([Err(io::Error::from(io::ErrorKind::ConnectionReset))]);
    assert!(buckets.put(put_of("cut"), body(&content).chain(cut).boxed()).await.is_err());
    let absent = ObjectPut { expect: ObjectExpect::ETag("other".to_owned()), ..put_of("key") };
    assert!(buckets.put(absent, body(&content)).await.is_err());
    assert_eq!(noted(&buckets).await, Vec::<String>::new());
    assert_eq!(get(&buckets, "key", None).await.unwrap(), content);
}

#[tokio::test]
async fn garbage_that_was_not_deleted_is_deleted_by_the_next_start() {
    let fixture = Fixture::in_memory();
    let buckets = fixture.open();
    put(&buckets, "key", &bytes(50_000, 1)).await;
    // Somebody reads it until the end.
    let (_, _, reading) = buckets.get(&object("key"), None).await.unwrap();
    buckets.delete(&object("key"), ObjectExpect::Any, by("DeleteObject")).await.unwrap();
    collect(&buckets).await;
    assert_eq!(fixture.count().await, 1);
    buckets.close().await.unwrap();
    drop((buckets, reading));

    let buckets = fixture.open();
    collect(&buckets).await;
    assert_eq!(fixture.count().await, 0);
}

#[tokio::test]
async fn an_object_without_its_bytes_is_an_error_and_no_panic() {
    let fixture = Fixture::on_folder();
    let buckets = fixture.open();
    put(&buckets, "key", &bytes(50_000, 1)).await;
    let blob = files(&fixture.blobs()).remove(0);
    fs::write(&blob, bytes(40_000, 1)).unwrap();
    let (_, _, short) = buckets.get(&object("key"), None).await.unwrap();
    assert!(short.try_collect::<Vec<_>>().await.is_err());
    fs::remove_file(&blob).unwrap();
    let gone = buckets.get(&object("key"), None).await;
    assert!(matches!(gone.err(), Some(BucketError::Storage(_))));
}

#[tokio::test]
async fn a_full_disk_refuses_writes_and_loses_nothing() {
    let fixture = Fixture::on_folder();
    let buckets = fixture.open();
    put(&buckets, "before", b"safe").await;
    let limit = |pages: u32| {
        let set = move |connection: &rusqlite::Connection| -> Result<(), Failed> {
            let set = format!("PRAGMA max_page_count = {pages}");
            Ok(connection.query_row(&set, [], |_| Ok(()))?)
        };
        buckets.core.writer.write(set)
    };
    limit(1).await.unwrap();
    let mut full = None;
    for number in 0..1_000 {
        let put = buckets.put(put_of(&format!("key{number}")), body(&bytes(10_000, 1)));
        if let Err(error) = put.await {
            full = Some(error);
            break;
        }
    }
    assert!(matches!(full, Some(BucketError::DiskFull)), "{full:?}");
    // A blob finds no room for its row.
    let large = buckets.put(put_of(&"k".repeat(1_000)), body(&bytes(50_000, 1))).await;
    if large.is_err() {
        assert!(matches!(large, Err(BucketError::DiskFull)), "{large:?}");
        assert_eq!(fixture.count().await, 0);
    }
    assert_eq!(get(&buckets, "before", None).await.unwrap(), b"safe");
    limit(u32::MAX / 4).await.unwrap();
    put(&buckets, "after", &bytes(10_000, 1)).await;
    assert_eq!(get(&buckets, "after", None).await.unwrap(), bytes(10_000, 1));
}

#[tokio::test]
async fn the_log_is_copied_beside_the_writer() {
    const OBJECTS: u32 = 400;
    const OBJECT_BYTES: usize = 10_000;
    let fixture = Fixture::on_folder();
    let buckets = fixture.open();
    let alone = buckets.core.writer.write(|connection| -> Result<u32, Failed> {
        Ok(connection.query_row("PRAGMA wal_autocheckpoint", [], |row| row.get(0))?)
    });
    let pages = alone.await.unwrap();
    assert!(
        pages as usize * 4_096 > 10 * OBJECTS as usize * OBJECT_BYTES,
        "the writer would copy it: {pages}"
    );
    for number in 0..OBJECTS {
        put(&buckets, &format!("key{number}"), &bytes(OBJECT_BYTES, 1)).await;
    }
    // All but what came after the last time that it was told to.
    let copied = || fs::metadata(fixture.folder.path().join("buckets.db")).unwrap().len();
    until(|| async { copied() >= 256 * OBJECT_BYTES as u64 }).await;
}

#[tokio::test]
async fn who_comes_after_the_closing_is_told_so() {
    let fixture = Fixture::in_memory();
    let buckets = fixture.open();
    buckets.close().await.unwrap();
    let late = buckets.put(put_of("key"), body(b"a")).await;
    assert!(matches!(late, Err(BucketError::Storage(_))), "{late:?}");
    assert!(buckets.close().await.is_err());
    assert!(buckets.events(0, 1).await.is_err());
}

#[tokio::test]
async fn a_database_of_a_newer_program_is_refused() {
    let fixture = Fixture::on_folder();
    let path = fixture.folder.path().join("buckets.db");
    rusqlite::Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let config = Config { database: path, blobs: BlobsConfig::Folder(fixture.blobs()) };
    let deps = Deps { clock: fixture.clock.clone(), random: Arc::new(SystemRandom) };
    let refused = Buckets::open(config, deps);
    assert!(matches!(refused.err(), Some(OpenError::NewerSchema { found: 99, .. })));
}

//! What a crash, or a full disk, leaves.

use super::*;
use crate::buckets::record::Failed;
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
async fn who_comes_after_the_closing_is_told_so() {
    let fixture = Fixture::in_memory();
    let buckets = fixture.open();
    buckets.close().await.unwrap();
    let late = buckets.put(put_of("key"), body(b"a")).await;
    assert!(matches!(late, Err(BucketError::Storage(_))), "{late:?}");
    assert!(buckets.close().await.is_err());
    assert!(buckets.events(1).await.is_err());
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

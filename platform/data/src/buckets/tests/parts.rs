//! Uploads in parts.

use super::*;
use skiff_ports::buckets::{PART_BYTES_MIN, UploadRef};

const PART: usize = PART_BYTES_MIN as usize;

async fn begin(buckets: &Buckets, key: &str) -> UploadRef {
    let content = ObjectContent { content_type: Some("image/png".to_owned()), ..ObjectContent::default() };
    let id = buckets.create_upload(&object(key), content).await.unwrap();
    UploadRef { object: object(key), id }
}

async fn put_part(buckets: &Buckets, upload: &UploadRef, number: u32, bytes: &[u8]) -> (u32, String) {
    let part = buckets.put_part(upload, number, Checks::default(), body(bytes)).await.unwrap();
    assert_eq!((part.number, part.size), (number, bytes.len() as u64));
    assert_eq!(part.etag, hex::encode(md5(bytes)));
    (number, part.etag)
}

async fn complete(
    buckets: &Buckets,
    upload: &UploadRef,
    parts: &[(u32, String)],
) -> Result<ObjectInfo, BucketError> {
    let by = by("CompleteMultipartUpload");
    buckets.complete_upload(upload, parts.to_vec(), ObjectExpect::Any, by).await
}

#[tokio::test]
async fn parts_come_to_an_object_that_is_read_across_them() {
    let fixture = Fixture::on_folder();
    let buckets = fixture.open();
    let upload = begin(&buckets, "key").await;
    let (one, two, end) = (bytes(PART, 1), bytes(PART + 5, 2), bytes(100, 3));
    // In no order, and the first twice.
    let end_part = put_part(&buckets, &upload, 9, &end).await;
    put_part(&buckets, &upload, 1, &two).await;
    let two_part = put_part(&buckets, &upload, 4, &two).await;
    let one_part = put_part(&buckets, &upload, 1, &one).await;
    put_part(&buckets, &upload, 7, b"not asked for").await;

    let (listed, is_more) = buckets.parts(&upload, 1, 2).await.unwrap();
    assert_eq!((listed.iter().map(|part| part.number).collect::<Vec<_>>(), is_more), (vec![4, 7], true));

    let parts = [one_part.clone(), two_part.clone(), end_part.clone()];
    let info = complete(&buckets, &upload, &parts).await.unwrap();
    let digests = [md5(&one), md5(&two), md5(&end)].concat();
    assert_eq!(info.etag, format!("{}-3", hex::encode(md5(&digests))));
    assert_eq!(info.content.content_type.as_deref(), Some("image/png"));
    let whole = [one, two, end].concat();
    assert_eq!(info.size, whole.len() as u64);
    assert!(get(&buckets, "key", None).await.unwrap() == whole);
    let across = Some(ByteRange::From(PART as u64 - 3, Some(PART as u64 + 2)));
    assert_eq!(get(&buckets, "key", across).await.unwrap(), whole[PART - 3..PART + 3]);
    let last = get(&buckets, "key", Some(ByteRange::Last(103))).await.unwrap();
    assert_eq!(last, whole[whole.len() - 103..]);

    collect(&buckets).await;
    assert_eq!(fixture.count().await, 2, "two parts have blobs; what was replaced or not asked for is gone");
    let again = complete(&buckets, &upload, &parts).await.unwrap();
    assert_eq!(again, info, "who did not hear the answer asks again");
    let other = complete(&buckets, &upload, &parts[..2]).await;
    assert!(matches!(other, Err(BucketError::NoUpload(_))), "{other:?}");
    let by = by("CompleteMultipartUpload");
    let absent = buckets.complete_upload(&upload, parts.to_vec(), ObjectExpect::Absent, by).await;
    assert!(matches!(absent, Err(BucketError::NoUpload(_))), "{absent:?}");
    assert_eq!(buckets.events(0, 10).await.unwrap().len(), 1, "neither parts nor asking again leave events");
    put(&buckets, "key", b"another").await;
    let late = complete(&buckets, &upload, &parts).await;
    assert!(matches!(late, Err(BucketError::NoUpload(_))), "{late:?}");
}

#[tokio::test]
async fn an_object_of_parts_is_read_to_its_end_though_it_is_gone() {
    let fixture = Fixture::on_folder();
    let buckets = fixture.open();
    let upload = begin(&buckets, "key").await;
    let (one, two) = (bytes(PART, 1), bytes(PART, 2));
    let parts = [put_part(&buckets, &upload, 1, &one).await, put_part(&buckets, &upload, 2, &two).await];
    complete(&buckets, &upload, &parts).await.unwrap();
    let (_, _, mut reading) = buckets.get(&object("key"), None).await.unwrap();
    let mut read = reading.next().await.unwrap().unwrap().to_vec();
    buckets.delete(&object("key"), ObjectExpect::Any, by("DeleteObject")).await.unwrap();
    collect(&buckets).await;
    // The second part's file is opened only now.
    read.extend(reading.try_collect::<Vec<_>>().await.unwrap().concat());
    assert!(read == [one, two].concat());
    collect(&buckets).await;
    assert_eq!(fixture.count().await, 0);
}

#[tokio::test]
async fn parts_that_make_no_object_are_refused_and_stay() {
    let fixture = Fixture::in_memory();
    let buckets = fixture.open();
    let upload = begin(&buckets, "key").await;
    let small = put_part(&buckets, &upload, 1, b"small").await;
    let last = put_part(&buckets, &upload, 2, b"last").await;
    let refused = complete(&buckets, &upload, &[small.clone(), last.clone()]).await;
    assert!(matches!(refused, Err(BucketError::PartTooSmall(1))), "{refused:?}");
    let refused = complete(&buckets, &upload, &[last.clone(), small.clone()]).await;
    assert!(matches!(refused, Err(BucketError::PartOrder)), "{refused:?}");
    let refused = complete(&buckets, &upload, &[small.clone(), small.clone()]).await;
    assert!(matches!(refused, Err(BucketError::PartOrder)), "{refused:?}");
    let refused = complete(&buckets, &upload, &[(1, last.1.clone())]).await;
    assert!(matches!(refused, Err(BucketError::InvalidPart(1))), "{refused:?}");
    let refused = complete(&buckets, &upload, &[(3, last.1.clone())]).await;
    assert!(matches!(refused, Err(BucketError::InvalidPart(3))), "{refused:?}");
    let refused = complete(&buckets, &upload, &[]).await;
    assert!(matches!(refused, Err(BucketError::Invalid(_))), "{refused:?}");
    for number in [0, 10_001] {
        let refused = buckets.put_part(&upload, number, Checks::default(), body(b"a")).await;
        assert!(matches!(refused, Err(BucketError::Invalid(_))), "{refused:?}");
    }
    put(&buckets, "key", b"in the way").await;
    let by = by("CompleteMultipartUpload");
    let refused = buckets.complete_upload(&upload, vec![small.clone()], ObjectExpect::Absent, by).await;
    assert!(matches!(refused, Err(BucketError::Precondition)), "{refused:?}");
    complete(&buckets, &upload, &[small]).await.unwrap();
    assert_eq!(get(&buckets, "key", None).await.unwrap(), b"small");
}

#[tokio::test]
async fn an_upload_that_is_given_up_leaves_nothing() {
    let fixture = Fixture::on_folder();
    let buckets = fixture.open();
    let upload = begin(&buckets, "key").await;
    put_part(&buckets, &upload, 1, &bytes(50_000, 1)).await;
    let other = UploadRef { object: object("other"), id: upload.id.clone() };
    assert!(matches!(buckets.abort_upload(&other).await, Err(BucketError::NoUpload(_))));
    buckets.abort_upload(&upload).await.unwrap();
    collect(&buckets).await;
    assert_eq!(fixture.count().await, 0);
    let late = buckets.put_part(&upload, 2, Checks::default(), body(&bytes(50_000, 1))).await;
    assert!(matches!(late, Err(BucketError::NoUpload(_))), "{late:?}");
    assert!(matches!(buckets.parts(&upload, 0, 10).await, Err(BucketError::NoUpload(_))));
    assert!(buckets.buckets().await.unwrap().is_empty());
}

#[tokio::test]
async fn bytes_of_an_object_are_taken_in_as_a_part() {
    let fixture = Fixture::in_memory();
    let buckets = fixture.open();
    let content = bytes(100_000, 1);
    put(&buckets, "from", &content).await;
    let upload = begin(&buckets, "key").await;
    let range = ByteRange::From(10, Some(60_009));
    let part = buckets.copy_part(&upload, 1, &object("from"), Some(range)).await.unwrap();
    assert_eq!((part.size, &part.etag), (60_000, &hex::encode(md5(&content[10..60_010]))));
    complete(&buckets, &upload, &[(1, part.etag)]).await.unwrap();
    assert!(get(&buckets, "key", None).await.unwrap() == content[10..60_010]);
}

#[tokio::test]
async fn uploads_are_listed_by_key_and_id() {
    let fixture = Fixture::in_memory();
    let buckets = fixture.open();
    let mut all = Vec::new();
    for key in ["b", "a/1", "a/2", "a/1", "a/", "A"] {
        all.push((key.to_owned(), begin(&buckets, key).await.id));
    }
    all.sort();
    for prefix in ["", "a/", "c"] {
        let expected: Vec<_> = all.iter().filter(|(key, _)| key.starts_with(prefix)).cloned().collect();
        let mut listed: Vec<(String, String)> = Vec::new();
        loop {
            let after = listed.last().cloned();
            let (some, is_more) = buckets.uploads(bucket(1), prefix, after, 2).await.unwrap();
            listed.extend(some.into_iter().map(|upload| (upload.key, upload.id)));
            if !is_more {
                break;
            }
        }
        assert_eq!(listed, expected, "{prefix}");
    }
}

//! Removals, and the writes that they overtake.

use super::*;
use skiff_ports::buckets::UploadRef;
use tokio::sync::oneshot;

/// A put whose bytes have all come, but whose end is held back until it is told.
async fn in_flight(
    buckets: &Arc<Buckets>,
    content: &[u8],
) -> (oneshot::Sender<()>, tokio::task::JoinHandle<Result<ObjectInfo, BucketError>>) {
    let (end, ended) = oneshot::channel();
    let (sent, all_sent) = oneshot::channel();
    let held = stream::once(async move {
        sent.send(()).unwrap();
        ended.await.unwrap();
        Ok(Bytes::new())
    });
    let (buckets, body) = (buckets.clone(), body(content).chain(held).boxed());
    let put = tokio::spawn(async move { buckets.put(put_of("key"), body).await });
    all_sent.await.unwrap();
    (end, put)
}

#[tokio::test]
async fn a_put_that_a_removal_overtakes_is_refused_and_leaves_nothing() {
    for is_on_folder in [true, false] {
        for size in [10, 20_000, 2_000_000] {
            let fixture = if is_on_folder { Fixture::on_folder() } else { Fixture::in_memory() };
            let buckets = Arc::new(fixture.open());
            let (end, put) = in_flight(&buckets, &bytes(size, 1)).await;
            buckets.close_bucket(bucket(1), false).await.unwrap();
            end.send(()).unwrap();
            let overtaken = put.await.unwrap();
            assert!(matches!(overtaken, Err(BucketError::Removed)), "{size}: {overtaken:?}");
            assert_eq!(fixture.count().await, 0, "{size}");
            buckets.drop_bucket(bucket(1)).await.unwrap();
            let late = buckets.put(put_of("key"), body(b"late")).await;
            assert!(matches!(late, Err(BucketError::Removed)), "{late:?}");
            assert!(buckets.buckets().await.unwrap().is_empty());
            let other =
                ObjectPut { object: ObjectRef { bucket: bucket(2), key: "key".to_owned() }, ..put_of("") };
            buckets.put(other, body(b"another bucket's")).await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_a_put_and_a_removal_that_race_one_is_done() {
    let fixture = Fixture::on_folder();
    let buckets = Arc::new(fixture.open());
    let race = |number: u8| {
        let (one, other) = (buckets.clone(), buckets.clone());
        let put =
            ObjectPut { object: ObjectRef { bucket: bucket(number), key: "key".to_owned() }, ..put_of("") };
        let put = tokio::spawn(async move { one.put(put, body(b"a")).await });
        let close = tokio::spawn(async move { other.close_bucket(bucket(number), false).await });
        async move { (number, put.await.unwrap(), close.await.unwrap()) }
    };
    for (number, put, close) in futures::future::join_all((0..128).map(race).collect::<Vec<_>>()).await {
        match (put, close) {
            (Ok(_), Err(BucketError::NotEmpty { objects: 1 })) => {
                assert_eq!(buckets.stats(bucket(number)).await.unwrap().objects, 1);
            }
            (Err(BucketError::Removed), Ok(())) => {
                assert_eq!(buckets.stats(bucket(number)).await.unwrap().objects, 0);
            }
            outcome => panic!("{number}: {outcome:?}"),
        }
    }
}

#[tokio::test]
async fn a_bucket_that_is_closed_takes_nothing_until_it_is_opened_again() {
    let fixture = Fixture::in_memory();
    let buckets = fixture.open();
    put(&buckets, "key", b"a").await;
    let upload = UploadRef {
        object: object("parts"),
        id: buckets.create_upload(&object("parts"), ObjectContent::default()).await.unwrap(),
    };
    let part = buckets.put_part(&upload, 1, Checks::default(), body(b"a")).await.unwrap();
    let refused = buckets.close_bucket(bucket(1), false).await;
    assert!(matches!(refused, Err(BucketError::NotEmpty { objects: 1 })), "{refused:?}");
    put(&buckets, "key", b"b").await;

    buckets.close_bucket(bucket(1), true).await.unwrap();
    let any = ObjectExpect::Any;
    let outcomes = [
        buckets.put(put_of("key"), body(b"c")).await.map(drop),
        buckets.copy(&object("key"), any.clone(), put_of("copy"), true).await.map(drop),
        buckets.create_upload(&object("other"), ObjectContent::default()).await.map(drop),
        buckets.put_part(&upload, 2, Checks::default(), body(b"a")).await.map(drop),
        buckets
            .complete_upload(&upload, vec![(1, part.etag)], any, by("CompleteMultipartUpload"))
            .await
            .map(drop),
    ];
    for outcome in outcomes {
        assert!(matches!(outcome, Err(BucketError::Removed)), "{outcome:?}");
    }
    assert_eq!(get(&buckets, "key", None).await.unwrap(), b"b", "it is there yet");
    buckets.reopen_bucket(bucket(1));
    put(&buckets, "key", b"d").await;

    // A crash before the bucket is gone from the catalog: it is as it was.
    buckets.close_bucket(bucket(1), true).await.unwrap();
    buckets.close().await.unwrap();
    drop(buckets);
    let buckets = fixture.open();
    assert_eq!(get(&buckets, "key", None).await.unwrap(), b"d");
    put(&buckets, "key", b"e").await;
}

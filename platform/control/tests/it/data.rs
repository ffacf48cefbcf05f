//! Buckets, tables and queues as objects: what they say, who needs whom, and that what they held goes with them and is never
//! seen under another of their name.

use crate::fixture::{Platform, TOKEN, name, namespace, until};
use skiff_api::{
    ClientError, DeadLetter, DeleteBucketQuery, ErrorCode, GetItems, ItemWrite, MetricQuery, NewMessage,
    PutBucket, PutQueue, PutTable, Queue, ReceiveMessages, RedriveQueue, SendMessages, WriteItems,
};
use skiff_ports::catalog::RemoveBucketError;
use skiff_ports::store::{Expect, Key};
use skiff_types::{QualifiedName, ResourceId, Span};

fn qualified(text: &str) -> QualifiedName {
    QualifiedName::new(namespace(), name(text))
}

async fn put_table(platform: &Platform, table: &str) -> u64 {
    platform.client.put_table(&namespace(), &name(table), &PutTable {}, None).await.unwrap().revision
}

async fn write(platform: &Platform, table: &str, key: &str, value: &str) {
    let body = WriteItems { writes: vec![ItemWrite::new(key.to_owned(), value.as_bytes())] };
    platform.client.write_items(&namespace(), &name(table), &body).await.unwrap();
}

async fn value(platform: &Platform, table: &str, key: &str) -> Option<String> {
    let body = GetItems { keys: vec![key.to_owned()] };
    let found = platform.client.get_items(&namespace(), &name(table), &body).await.unwrap();
    found.items[0].as_ref().and_then(|item| item.value.clone())
}

async fn put_queue(platform: &Platform, queue: &str, body: &PutQueue) -> Result<Queue, ClientError> {
    platform.client.put_queue(&namespace(), &name(queue), body, None).await
}

async fn send(platform: &Platform, queue: &str, body: &str) {
    let body = SendMessages { messages: vec![NewMessage::new(body.as_bytes())] };
    let sent = platform.client.send_messages(&namespace(), &name(queue), &body).await.unwrap();
    assert_eq!(sent.messages[0].error, None);
}

async fn gone(platform: &Platform, id: ResourceId) {
    until("what it held is gone", || async { (!platform.disk.data.ids().contains(&id)).then_some(()) }).await;
}

#[tokio::test]
async fn what_a_table_held_goes_with_it_and_is_in_no_other_of_its_name() {
    let platform = Platform::start().await;
    let revision = put_table(&platform, "rows").await;
    assert_eq!(put_table(&platform, "rows").await, revision, "it says the same");
    write(&platform, "rows", "a", "one").await;
    let first = platform.handle.catalog().table(&qualified("rows")).unwrap().id;
    platform.client.delete_table(&namespace(), &name("rows"), None).await.unwrap();
    let missing = platform.client.get_table(&namespace(), &name("rows")).await.unwrap_err();
    assert_eq!(missing.code(), Some(ErrorCode::NotFound));
    put_table(&platform, "rows").await;
    let second = platform.handle.catalog().table(&qualified("rows")).unwrap().id;
    assert_ne!(first, second);
    assert_eq!(value(&platform, "rows", "a").await, None);
    write(&platform, "rows", "a", "two").await;
    gone(&platform, first).await;
    assert_eq!(value(&platform, "rows", "a").await.as_deref(), Some("two"));
    let shown = platform.client.get_table(&namespace(), &name("rows")).await.unwrap();
    assert_eq!(shown.status.map(|status| (status.items, status.bytes)), Some((1, 4)));

    // A restart is none of their business.
    let platform = Platform::start_on(platform.stop().await).await;
    assert_eq!(platform.handle.catalog().table(&qualified("rows")).unwrap().id, second);
    assert_eq!(value(&platform, "rows", "a").await.as_deref(), Some("two"));
}

#[tokio::test]
async fn what_was_kept_of_nobody_is_forgotten_at_the_next_start_but_not_while_a_record_can_not_be_read() {
    let platform = Platform::start().await;
    let (store, data) = (platform.disk.store.clone(), platform.disk.data.clone());
    put_table(&platform, "rows").await;
    let disk = platform.stop().await;
    let orphan = ResourceId::from_bytes([9; 8]);
    data.fill_bucket(orphan, 3);
    let key = Key::parse("bucket.default.damaged").unwrap();
    store.put(&key, "{}".into(), Expect::Any).await.unwrap();
    let platform = Platform::start_on(disk).await;
    // The same reconciler looks at queues last, so that it has looked at buckets once this is gone.
    let queue = PutQueue::default();
    put_queue(&platform, "q", &queue).await.unwrap();
    send(&platform, "q", "hello").await;
    let id = platform.handle.catalog().queue(&qualified("q")).unwrap().id;
    platform.client.delete_queue(&namespace(), &name("q"), None).await.unwrap();
    gone(&platform, id).await;
    assert!(data.ids().contains(&orphan), "whose it is, nobody knows");
    store.delete(&key, Expect::Any).await.unwrap();
    let platform = Platform::start_on(platform.stop().await).await;
    gone(&platform, orphan).await;
}

#[tokio::test]
async fn a_bucket_with_objects_is_removed_by_force_alone() {
    let platform = Platform::start().await;
    let catalog = platform.handle.catalog();
    catalog.create_bucket(&qualified("uploads")).await.unwrap();
    let made = catalog.bucket(&qualified("uploads")).unwrap();
    catalog.create_bucket(&qualified("uploads")).await.unwrap();
    assert_eq!(catalog.bucket(&qualified("uploads")), Some(made.clone()), "one that is there stays");
    platform.disk.data.fill_bucket(made.id, 7);
    let shown = platform.client.get_bucket(&namespace(), &name("uploads")).await.unwrap();
    assert_eq!((shown.bus, shown.status.map(|status| status.objects)), (name("default"), Some(7)));
    let remove = async |force| {
        let query = DeleteBucketQuery { force };
        platform.client.delete_bucket(&namespace(), &name("uploads"), &query, None).await
    };
    let refused = remove(false).await.unwrap_err();
    assert_eq!(refused.code(), Some(ErrorCode::FailedPrecondition));
    assert!(refused.to_string().contains("has 7 objects"), "{refused}");
    let refused = catalog.remove_bucket(&qualified("uploads")).await.unwrap_err();
    assert!(matches!(refused, RemoveBucketError::NotEmpty(_)), "{refused}");
    // Who has seen another revision removes nothing, and what was closed for that takes writes again.
    let other = platform
        .client
        .delete_bucket(&namespace(), &name("uploads"), &DeleteBucketQuery { force: true }, Some(1 << 40))
        .await;
    assert_eq!(other.unwrap_err().code(), Some(ErrorCode::PreconditionFailed));
    assert!(!platform.disk.data.is_closed(made.id));
    assert_eq!(catalog.bucket(&qualified("uploads")), Some(made.clone()));
    remove(true).await.unwrap();
    assert!(platform.disk.data.is_closed(made.id), "a write that was under way would be kept for nobody");
    gone(&platform, made.id).await;
    let bus = PutBucket { bus: Some(name("media")) };
    let refused = platform.client.put_bucket(&namespace(), &name("uploads"), &bus, None).await.unwrap_err();
    assert_eq!(refused.code(), Some(ErrorCode::NotFound));

    for bucket in ["b", "a", "a-b"] {
        catalog.create_bucket(&qualified(bucket)).await.unwrap();
    }
    catalog.create_bucket(&"other/z".parse().unwrap()).await.unwrap();
    let names: Vec<String> =
        catalog.buckets(&namespace()).iter().map(|bucket| bucket.spec.name.name.to_string()).collect();
    assert_eq!(names, ["a", "a-b", "b"]);
    catalog.remove_bucket(&qualified("b")).await.unwrap();
    let gone = catalog.remove_bucket(&qualified("b")).await.unwrap_err();
    assert!(gone.to_string().contains("there is no bucket b"), "{gone}");
    assert!(catalog.has_bus(&qualified("default")) && !catalog.has_bus(&qualified("media")));
}

#[tokio::test]
async fn a_dead_letter_queue_is_there_as_long_as_another_needs_it() {
    let platform = Platform::start().await;
    let burying = |queue: &str| PutQueue {
        dead_letter: Some(DeadLetter { queue: name(queue), receives_max: 3 }),
        ..PutQueue::default()
    };
    let fifo = PutQueue { fifo: true, ..PutQueue::default() };
    let refused = put_queue(&platform, "orders", &burying("dead")).await.unwrap_err();
    assert_eq!(refused.code(), Some(ErrorCode::NotFound));
    put_queue(&platform, "dead", &PutQueue::default()).await.unwrap();
    put_queue(&platform, "steps", &fifo).await.unwrap();
    let refused = put_queue(&platform, "orders", &burying("steps")).await.unwrap_err();
    assert_eq!(refused.code(), Some(ErrorCode::FailedPrecondition));
    put_queue(&platform, "orders", &burying("dead")).await.unwrap();
    let catalog = platform.handle.catalog();
    let dead = catalog.queue(&qualified("dead")).unwrap();
    let known = catalog.queue(&qualified("orders")).unwrap().dead_letter.unwrap();
    assert_eq!((known.id, known.spec), (dead.id, dead.spec));

    let refused = put_queue(&platform, "orders", &fifo).await.unwrap_err();
    assert!(refused.to_string().contains("orders is a standard queue, and stays one"), "{refused}");
    let remove = async |queue: &str| platform.client.delete_queue(&namespace(), &name(queue), None).await;
    let refused = remove("dead").await.unwrap_err();
    assert!(
        refused.to_string().contains("the queue default/orders has dead for its dead letters"),
        "{refused}"
    );
    put_queue(&platform, "orders", &PutQueue::default()).await.unwrap();
    remove("dead").await.unwrap();
    remove("orders").await.unwrap();
}

#[tokio::test]
async fn messages_have_an_outcome_each_and_a_receive_waits_no_longer_than_the_platform() {
    let platform = Platform::start().await;
    put_queue(&platform, "steps", &PutQueue { fifo: true, ..PutQueue::default() }).await.unwrap();
    let message =
        |group: Option<&str>| NewMessage { group: group.map(str::to_owned), ..NewMessage::new(b"\xff") };
    let body = SendMessages { messages: vec![message(Some("a")), message(None)] };
    let sent = platform.client.send_messages(&namespace(), &name("steps"), &body).await.unwrap().messages;
    assert!(sent[0].id.is_some() && sent[0].error.is_none());
    assert!(
        sent[1].id.is_none() && sent[1].error.as_ref().is_some_and(|error| error.contains("has a group"))
    );
    let receive = async |wait_ms, delete| {
        let wait = Some(Span::from_ms(wait_ms));
        let body = ReceiveMessages { wait, delete, ..ReceiveMessages::default() };
        platform.client.receive_messages(&namespace(), &name("steps"), &body).await
    };
    let received = receive(0, true).await.unwrap().messages;
    assert_eq!((&received[0].body_base64, &received[0].receipt), (&Some("/w==".to_owned()), &None));
    let refused = receive(20_001, false).await.unwrap_err();
    assert_eq!(refused.code(), Some(ErrorCode::InvalidArgument));
    let many = SendMessages { messages: vec![message(Some("a")); 11] };
    let refused = platform.client.send_messages(&namespace(), &name("steps"), &many).await.unwrap_err();
    assert_eq!(refused.code(), Some(ErrorCode::InvalidArgument));

    let (client, data) = (platform.client.clone(), platform.disk.data.clone());
    let before = data.waits();
    let waiting = tokio::spawn(async move {
        let body = ReceiveMessages { wait: Some(Span::from_ms(20_000)), ..ReceiveMessages::default() };
        client.receive_messages(&namespace(), &name("steps"), &body).await
    });
    until("it waits", || async { (data.waits() > before).then_some(()) }).await;
    // Within its ten seconds it would not stop for a call that waits for twenty.
    platform.stop().await;
    drop(waiting.await.unwrap());
}

#[tokio::test]
async fn a_receive_deletes_first_what_was_dealt_with() {
    let platform = Platform::start().await;
    put_queue(&platform, "orders", &PutQueue::default()).await.unwrap();
    let receive = async |max, handled: &[&str]| {
        let handled = handled.iter().map(|receipt| (*receipt).to_owned()).collect();
        let (max, wait) = (Some(max), Some(Span::from_ms(0)));
        let body = ReceiveMessages { max, wait, handled, ..ReceiveMessages::default() };
        platform.client.receive_messages(&namespace(), &name("orders"), &body).await
    };
    let in_flight =
        async || platform.client.get_queue(&namespace(), &name("orders")).await.unwrap().status.in_flight;
    send(&platform, "orders", "one").await;
    let first = receive(1, &[]).await.unwrap();
    assert_eq!((first.messages.len(), first.handled.len()), (1, 0));
    let receipt = first.messages[0].receipt.clone().unwrap();

    send(&platform, "orders", "two").await;
    for refused in [receive(11, &[receipt.as_str()]).await, receive(1, &[receipt.as_str(); 11]).await] {
        assert_eq!(refused.unwrap_err().code(), Some(ErrorCode::InvalidArgument));
    }
    assert_eq!(in_flight().await, 1, "a call that is refused deletes nothing, and takes nothing");

    let second = receive(1, &[receipt.as_str(), "none"]).await.unwrap();
    let failed: Vec<bool> = second.handled.iter().map(|outcome| outcome.error.is_some()).collect();
    assert_eq!((second.messages[0].body.as_deref(), failed), (Some("two"), vec![false, true]));
    assert_eq!(in_flight().await, 1, "the first is gone, and the second is out");
}

#[tokio::test]
async fn a_redrive_says_how_many_moved_and_why_others_stay() {
    let platform = Platform::start().await;
    put_queue(&platform, "dead", &PutQueue::default()).await.unwrap();
    let small = PutQueue { messages_max: Some(2), ..PutQueue::default() };
    put_queue(&platform, "small", &small).await.unwrap();
    for body in ["one", "two", "three"] {
        send(&platform, "dead", body).await;
    }
    let to_small = RedriveQueue { to: Some(name("small")), max: None };
    let driven = platform.client.redrive_queue(&namespace(), &name("dead"), &to_small).await.unwrap();
    assert_eq!(driven.messages, 2);
    let why = driven.stopped.unwrap();
    assert!(why.contains("small, which may hold 2 messages") && why.contains("--messages-max"), "{why}");
    let back = RedriveQueue::default();
    let driven = platform.client.redrive_queue(&namespace(), &name("dead"), &back).await.unwrap();
    assert_eq!((driven.messages, driven.stopped), (0, None), "it came from nowhere");
}

#[tokio::test]
async fn what_a_queue_holds_is_among_the_metrics() {
    let platform = Platform::start().await;
    put_queue(&platform, "orders", &PutQueue::default()).await.unwrap();
    send(&platform, "orders", "hello").await;
    send(&platform, "orders", "again").await;
    let query = MetricQuery {
        dimensions: "queue=orders".parse().unwrap(),
        statistic: Some("Maximum".parse().unwrap()),
        period: Some(Span::from_ms(1_000)),
        ..MetricQuery::default()
    };
    for (metric, expected) in
        [("ApproximateNumberOfMessagesVisible", 2.0), ("Backlog", 2.0), ("NumberOfMessagesReceived", 0.0)]
    {
        until(metric, || async {
            let series =
                platform.client.get_metric(&namespace(), &metric.parse().unwrap(), &query).await.unwrap();
            series.points.iter().any(|point| point.value == Some(expected)).then_some(())
        })
        .await;
    }
    let url = format!("http://{}/metrics", platform.handle.api());
    let text = reqwest::Client::new().get(url).bearer_auth(TOKEN).send().await.unwrap().text().await.unwrap();
    let line = "skiff_queue_messages{namespace=\"default\",queue=\"orders\",state=\"visible\"} 2";
    assert!(text.lines().any(|other| other == line), "{text}");
}

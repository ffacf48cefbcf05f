//! What guests ask, at the port that a node passes it on to: judged by the role of their task, and by nothing that they say.

use crate::fixture::{Platform, name, namespace, registration};
use crate::measured::metrics;
use serde_json::{Value, json};
use skiff_api::{PutBucket, PutQueue, PutTable, RegisterTaskDefinition};
use skiff_ports::guest_calls::{
    GuestAnswer, GuestCall, GuestCallError, GuestEvent, GuestExpect, GuestMessage, GuestSession, GuestWrite,
};
use skiff_types::{Name, TaskId};
use std::collections::BTreeMap;

type Answered = Result<GuestAnswer, GuestCallError>;

/// A platform with one thing of each kind, and the guests of one worker.
struct World {
    platform: Platform,
    guests: Box<dyn GuestSession>,
}

impl World {
    async fn start() -> Self {
        let platform = Platform::start().await;
        platform.push("job", "exit 0").await;
        let (namespace, client) = (namespace(), &platform.client);
        client.put_table(&namespace, &name("rows"), &PutTable {}, None).await.unwrap();
        client.put_queue(&namespace, &name("orders"), &PutQueue::default(), None).await.unwrap();
        client.put_bucket(&namespace, &name("uploads"), &PutBucket::default(), None).await.unwrap();
        let guests = platform.handle.guest_calls().session();
        Self { platform, guests }
    }

    async fn role(&self, role: &str, body: Value) {
        let body = serde_json::from_value(body).unwrap();
        self.platform.client.put_role(&namespace(), &name(role), &body, None).await.unwrap();
    }

    /// A task that acts as this role, or as none.
    async fn task(&self, role: Option<&str>) -> TaskId {
        let registration = RegisterTaskDefinition { role: role.map(name), ..registration("job", "job") };
        let client = &self.platform.client;
        let registered = client.register_task_definition(&namespace(), &registration).await.unwrap();
        self.platform.run(&registered.id.to_string()).await.id
    }

    async fn call(&self, task: TaskId, call: GuestCall) -> Answered {
        self.guests.call(task, call).await
    }
}

fn get(table: &str, key: &str) -> GuestCall {
    GuestCall::Get { table: name(table), keys: vec![key.to_owned()] }
}

fn write(table: &str, key: &str, value: Option<&str>, expect: GuestExpect) -> GuestCall {
    let value = value.map(|value| value.to_owned().into());
    let write = GuestWrite { key: key.to_owned(), value, expires_in_ms: None, expect };
    GuestCall::Write { table: name(table), writes: vec![write] }
}

fn event(detail: &str) -> GuestEvent {
    GuestEvent {
        id: None,
        source: "shop".to_owned(),
        detail_type: "sold".to_owned(),
        subject: None,
        time_ms: None,
        detail: detail.to_owned(),
    }
}

fn message(body: &str) -> GuestMessage {
    GuestMessage {
        body: body.to_owned().into(),
        attributes: vec![],
        delay_ms: None,
        group: None,
        deduplication_id: None,
    }
}

/// A call of each kind that names something, whether that is there or not, and the grant that allows it.
fn calls(is_there: bool) -> Vec<(GuestCall, &'static str)> {
    let named = |there: &str| if is_there { name(there) } else { name("nothing") };
    let (table, bucket, queue) = (|| named("rows"), || named("uploads"), || named("orders"));
    let key = || "a".to_owned();
    let scan: (String, Option<String>) = (String::new(), None);
    let itself = |bucket: Name| (bucket, key());
    let GuestCall::Write { writes, .. } = write("rows", "a", Some("1"), GuestExpect::Any) else {
        unreachable!()
    };
    vec![
        (GuestCall::OpenTable(table()), "table:read"),
        (GuestCall::Get { table: table(), keys: vec![key()] }, "table:read"),
        (GuestCall::Get { table: table(), keys: vec![] }, "table:read"),
        (GuestCall::Write { table: table(), writes }, "table:write"),
        (GuestCall::Increment { table: table(), key: "n".to_owned(), delta: 1 }, "table:write"),
        (
            GuestCall::Keys { table: table(), prefix: scan.0.clone(), after: scan.1.clone(), limit: 1 },
            "table:read",
        ),
        (GuestCall::Scan { table: table(), prefix: scan.0, after: scan.1, limit: 1 }, "table:read"),
        (GuestCall::Bucket(bucket()), "bucket:read"),
        (GuestCall::CreateBucket(bucket()), "bucket:manage"),
        (GuestCall::RemoveBucket(bucket()), "bucket:manage"),
        (GuestCall::Head { bucket: bucket(), key: key() }, "bucket:read"),
        (GuestCall::Read { bucket: bucket(), key: key(), start: 0, end: 1 }, "bucket:read"),
        (
            GuestCall::Put { bucket: bucket(), key: key(), content_type: None, metadata: BTreeMap::new() },
            "bucket:write",
        ),
        (GuestCall::List { bucket: bucket(), prefix: String::new(), after: None, limit: 1 }, "bucket:read"),
        (GuestCall::Delete { bucket: bucket(), keys: vec![key()] }, "bucket:delete"),
        (GuestCall::Delete { bucket: bucket(), keys: vec![] }, "bucket:delete"),
        (GuestCall::Clear(bucket()), "bucket:delete"),
        (GuestCall::Copy { from: itself(bucket()), to: itself(bucket()), moves: false }, "bucket:read"),
        (GuestCall::Copy { from: itself(bucket()), to: itself(bucket()), moves: true }, "bucket:delete"),
        (GuestCall::Send { queue: queue(), messages: vec![message("one")] }, "queue:send"),
        (GuestCall::PutEvents { bus: name("default"), events: vec![event("{}")] }, "bus:put"),
    ]
}

#[tokio::test]
async fn a_task_without_a_role_reaches_nothing_by_any_call_nor_learns_what_there_is() {
    let world = World::start().await;
    world.role("empty", json!({})).await;
    for role in [None, Some("empty")] {
        let task = world.task(role).await;
        for (there, missing) in calls(true).into_iter().zip(calls(false)) {
            let told = world.call(task, there.0.clone()).await;
            let Err(GuestCallError::Denied { message, grant }) = &told else { panic!("{there:?}: {told:?}") };
            assert!(grant.starts_with(there.1) && message.contains("skiff role put"), "{there:?}: {message}");
            let told = world.call(task, missing.0.clone()).await;
            assert!(matches!(told, Err(GuestCallError::Denied { .. })), "{missing:?}: {told:?}");
        }
        for call in [GuestCall::ReadMore(1), GuestCall::PutMore(1, "a".into()), GuestCall::PutEnd(1)] {
            assert!(matches!(world.call(task, call).await, Err(GuestCallError::NotFound(_))));
        }
        assert_eq!(world.call(task, GuestCall::Stop(1)).await, Ok(GuestAnswer::Done));
    }
    let metrics = metrics(&world.platform).await;
    let denied = metrics.lines().find_map(|line| line.strip_prefix("skiff_guest_calls_denied_total "));
    assert_eq!(denied.unwrap().parse::<f64>().unwrap(), 4.0 * calls(true).len() as f64);
    let nobody = TaskId::from_parts(1, [9; 10]);
    assert!(matches!(world.call(nobody, get("rows", "a")).await, Err(GuestCallError::Failed(_))));
}

#[tokio::test]
async fn what_a_role_allows_is_carried_out() {
    let world = World::start().await;
    world.role("all", json!({ "allow": ["* *"] })).await;
    let task = world.task(Some("all")).await;
    assert_eq!(world.call(task, GuestCall::OpenTable(name("rows"))).await, Ok(GuestAnswer::Done));
    let written = world.call(task, write("rows", "a/1", Some("one"), GuestExpect::Absent)).await;
    let Ok(GuestAnswer::Versions(versions)) = written else { panic!("{written:?}") };
    let again = world.call(task, write("rows", "a/1", Some("two"), GuestExpect::Absent)).await;
    assert!(matches!(again, Err(GuestCallError::Conflict { version, .. }) if version == Some(versions[0])));
    let found = world.call(task, get("rows", "a/1")).await;
    let Ok(GuestAnswer::Items(items)) = found else { panic!("{found:?}") };
    assert_eq!(
        items[0].as_ref().map(|item| (&item.value[..], item.version)),
        Some((&b"one"[..], versions[0]))
    );
    let increment = GuestCall::Increment { table: name("rows"), key: "n".to_owned(), delta: 3 };
    assert_eq!(world.call(task, increment).await, Ok(GuestAnswer::Sum(3)));
    let keys = GuestCall::Keys { table: name("rows"), prefix: String::new(), after: None, limit: 1 };
    let told = Ok(GuestAnswer::Keys(vec!["a/1".to_owned()], Some("a/1".to_owned())));
    assert_eq!(world.call(task, keys).await, told);

    let send = GuestCall::Send { queue: name("orders"), messages: vec![message("one"), message("two")] };
    let sent = world.call(task, send).await;
    assert!(
        matches!(&sent, Ok(GuestAnswer::Sent(sent)) if sent.iter().filter(|one| one.is_ok()).count() == 2),
        "{sent:?}"
    );
    let twice =
        GuestMessage { attributes: vec![("k".into(), "1".into()), ("k".into(), "2".into())], ..message("x") };
    let send = GuestCall::Send { queue: name("orders"), messages: vec![twice] };
    assert!(matches!(world.call(task, send).await, Err(GuestCallError::Invalid(_))));

    let put = |detail: &str| GuestCall::PutEvents { bus: name("default"), events: vec![event(detail)] };
    assert_eq!(world.call(task, put("{}")).await, Ok(GuestAnswer::Done));
    assert!(matches!(world.call(task, put("no JSON")).await, Err(GuestCallError::Invalid(_))));
    let own = GuestEvent { source: "skiff.s3".to_owned(), ..event("{}") };
    let own = GuestCall::PutEvents { bus: name("default"), events: vec![own] };
    let told = world.call(task, own).await;
    assert!(matches!(told, Err(GuestCallError::Invalid(_))), "Skiff alone says that: {told:?}");

    let made = world.call(task, GuestCall::CreateBucket(name("more"))).await;
    assert!(matches!(made, Ok(GuestAnswer::Container(at_ms)) if at_ms > 0), "{made:?}");
    assert_eq!(world.call(task, GuestCall::Bucket(name("more"))).await, made);
    assert_eq!(world.call(task, GuestCall::RemoveBucket(name("more"))).await, Ok(GuestAnswer::Done));
    for (call, grant) in calls(false)
        .into_iter()
        .filter(|(call, _)| !matches!(call, GuestCall::CreateBucket(_) | GuestCall::PutEvents { .. }))
    {
        let told = world.call(task, call.clone()).await;
        assert!(matches!(told, Err(GuestCallError::NotFound(_))), "{call:?} ({grant}): {told:?}");
    }
}

#[tokio::test]
async fn a_change_of_a_role_holds_from_the_next_call_on() {
    let world = World::start().await;
    world.role("reader", json!({})).await;
    let task = world.task(Some("reader")).await;
    assert!(matches!(world.call(task, get("rows", "a")).await, Err(GuestCallError::Denied { .. })));
    world.role("reader", json!({ "allow": ["table:read rows"] })).await;
    assert_eq!(world.call(task, get("rows", "a")).await, Ok(GuestAnswer::Items(vec![None])));
    assert!(matches!(
        world.call(task, write("rows", "a", None, GuestExpect::Any)).await,
        Err(GuestCallError::Denied { .. })
    ));
    world
        .role(
            "reader",
            json!({ "allow": ["table:read rows"], "policy": "forbid (principal, action, resource);" }),
        )
        .await;
    assert!(matches!(world.call(task, get("rows", "a")).await, Err(GuestCallError::Denied { .. })));
}

#[tokio::test]
async fn what_a_role_has_a_part_of_is_opened_and_no_spelling_leads_out_of_that_part() {
    let world = World::start().await;
    let allow = json!(["table:read rows/eu-*", "table:write rows/eu-*", "bucket:* uploads/images/*"]);
    world.role("part", json!({ "allow": allow })).await;
    let task = world.task(Some("part")).await;
    assert_eq!(world.call(task, GuestCall::OpenTable(name("rows"))).await, Ok(GuestAnswer::Done));
    assert!(matches!(
        world.call(task, GuestCall::Bucket(name("uploads"))).await,
        Ok(GuestAnswer::Container(_))
    ));
    let other = world.call(task, GuestCall::OpenTable(name("other"))).await;
    assert!(matches!(other, Err(GuestCallError::Denied { .. })), "{other:?}");
    assert!(world.call(task, write("rows", "eu-1", Some("x"), GuestExpect::Any)).await.is_ok());
    let scan = |prefix: &str| GuestCall::Scan {
        table: name("rows"),
        prefix: prefix.to_owned(),
        after: None,
        limit: 9,
    };
    assert!(world.call(task, scan("eu-")).await.is_ok());

    for key in [
        "",
        "eu",
        "eu_1",
        "EU-1",
        "Eu-1",
        "us-1",
        " eu-1",
        "\teu-1",
        "\neu-1",
        "\0eu-1",
        "./eu-1",
        "../rows/eu-1",
        "/eu-1",
        "//eu-1",
        "rows/eu-1",
        "%65u-1",
        "eu%2d1",
        "e\u{200b}u-1",
        "е\u{75}-1",
        "eu\u{2010}1",
        "ｅｕ-1",
        "\u{202e}eu-1",
        "e*",
        "*",
        "eu?1",
        "\\eu-1",
        "'eu-1'",
        "\"eu-1\"",
        "eu -1",
        "x/../eu-1",
        "us-1\u{0}eu-1",
    ] {
        for call in [
            get("rows", key),
            write("rows", key, Some("x"), GuestExpect::Any),
            GuestCall::Increment { table: name("rows"), key: key.to_owned(), delta: 1 },
            scan(key),
        ] {
            let told = world.call(task, call.clone()).await;
            assert!(matches!(told, Err(GuestCallError::Denied { .. })), "{call:?}: {told:?}");
        }
    }
    // One that may not be touched is enough, wherever it stands.
    let mixed = GuestCall::Get { table: name("rows"), keys: vec!["eu-1".to_owned(), "us-1".to_owned()] };
    assert!(matches!(world.call(task, mixed).await, Err(GuestCallError::Denied { .. })));

    let object = |key: &str| (name("uploads"), key.to_owned());
    for key in [
        "",
        "image/a",
        "images",
        "images%2Fa",
        "Images/a",
        "/images/a",
        "./images/a",
        "x/../images/a",
        "images\\a",
        "images\u{2044}a",
        "a",
    ] {
        let (bucket, key_text) = object(key);
        for call in [
            GuestCall::Head { bucket: bucket.clone(), key: key_text.clone() },
            GuestCall::Delete { bucket: bucket.clone(), keys: vec!["images/a".to_owned(), key_text.clone()] },
            GuestCall::List { bucket, prefix: key_text, after: None, limit: 1 },
            GuestCall::Copy { from: object(key), to: object("images/a"), moves: false },
            GuestCall::Copy { from: object("images/a"), to: object(key), moves: false },
        ] {
            let told = world.call(task, call.clone()).await;
            assert!(matches!(told, Err(GuestCallError::Denied { .. })), "{call:?}: {told:?}");
        }
    }
    for call in [GuestCall::Clear(name("uploads")), GuestCall::RemoveBucket(name("uploads"))] {
        let told = world.call(task, call.clone()).await;
        assert!(matches!(told, Err(GuestCallError::Denied { .. })), "{call:?}: {told:?}");
    }
}

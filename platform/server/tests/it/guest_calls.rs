//! What guests ask of tables, buckets, queues and buses, live: by the SDK, through a worker's data socket, as their role allows.

use crate::harness::{Answer, Platform, eventually};
use serde_json::json;

/// An object of several pieces, and a rest.
const OBJECT_BYTES: usize = 3 * (256 << 10) + 12_345;

async fn ask(platform: &Platform, path: &str, body: &[u8]) -> Answer {
    platform.post("producer", path, body.to_vec()).await
}

#[track_caller]
fn said(answer: &Answer, status: u16, text: &str) {
    assert!(answer.status == status && answer.text.contains(text), "{} {}", answer.status, answer.text);
}

fn with_things() -> Platform {
    let platform = Platform::start(&[]);
    platform.ok(&["table", "create", "rows"]);
    platform.ok(&["bucket", "create", "uploads"]);
    platform.ok(&["queue", "create", "orders"]);
    platform
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_does_what_its_role_allows() {
    let platform = with_things();
    platform.ok(&["role", "put", "all", "--allow", "* *"]);
    platform.deploy("producer", "producer", &["--role", "all"]);

    said(&ask(&platform, "/put?in=rows&key=a", b"one").await, 200, "");
    said(&ask(&platform, "/get?in=rows&key=a", b"").await, 200, " one");
    said(&ask(&platform, "/get?in=rows&key=nothing", b"").await, 404, "");
    for sum in ["1", "2"] {
        assert_eq!(ask(&platform, "/increment?in=rows&key=n", b"").await.text, sum);
    }
    assert_eq!(ask(&platform, "/once?in=rows&key=first", b"done").await.text, "true");
    assert_eq!(ask(&platform, "/once?in=rows&key=first", b"again").await.text, "false");
    assert_eq!(platform.ok(&["table", "get", "rows", "effect"]).trim_end(), "done");
    said(&ask(&platform, "/scan?in=rows&key=", b"").await, 200, "a\neffect\n");
    said(&ask(&platform, "/get?in=missing&key=a", b"").await, 404, "there is no table missing");

    let object = vec![b'x'; OBJECT_BYTES];
    assert_eq!(ask(&platform, "/write?in=uploads&key=large", &object).await.text, "written");
    let read = ask(&platform, "/read?in=uploads&key=large", b"").await;
    assert!(read.status == 200 && read.text.as_bytes() == object, "{} bytes", read.text.len());
    assert_eq!(ask(&platform, "/write?in=uploads&key=empty", b"").await.text, "written");
    let empty = ask(&platform, "/read?in=uploads&key=empty", b"").await;
    assert_eq!((empty.status, empty.text.as_str()), (200, ""));
    assert_eq!(ask(&platform, "/keys?in=uploads", b"").await.text, "empty\nlarge");
    assert_eq!(platform.json(&["bucket", "show", "uploads"])["status"]["objects"], 2);
    assert_eq!(ask(&platform, "/remove?in=uploads&key=large", b"").await.text, "removed");
    said(&ask(&platform, "/read?in=uploads&key=large", b"").await, 403, "there is no object");
    said(&ask(&platform, "/read?in=missing&key=a", b"").await, 403, "there is no bucket missing");

    said(&ask(&platform, "/send?in=orders", b"tea").await, 200, "");
    let received = platform.json(&["queue", "receive", "orders", "--wait", "5s", "--delete"]);
    assert_eq!(received[0]["body"], json!("tea"));
    said(&ask(&platform, "/put-event?in=default&key=sold", b"{\"what\":\"tea\"}").await, 200, "put");
    said(&ask(&platform, "/put-event?in=default&key=sold", b"no JSON").await, 400, "");
    said(&ask(&platform, "/put-event?in=missing&key=sold", b"{}").await, 404, "there is no bus missing");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_role_does_not_allow_is_denied_and_said_in_the_log_with_what_would() {
    let platform = with_things();
    platform.ok(&["role", "put", "part", "--allow", "table:read rows/eu-*"]);
    platform.deploy("producer", "producer", &["--role", "part"]);
    said(&ask(&platform, "/get?in=rows&key=eu-1", b"").await, 404, "");
    for (path, body) in [
        ("/get?in=rows&key=us-1", &b""[..]),
        ("/put?in=rows&key=eu-1", b"x"),
        ("/increment?in=rows&key=eu-1", b""),
        ("/scan?in=rows&key=e", b""),
        ("/write?in=uploads&key=a", b"x"),
        ("/read?in=uploads&key=a", b""),
        ("/keys?in=uploads", b""),
        ("/send?in=orders", b"x"),
        ("/put-event?in=default&key=sold", b"{}"),
    ] {
        said(&ask(&platform, path, body).await, 403, "role default/part may not");
    }
    eventually("the log has the grant that is missing", || {
        let log = platform.ok(&["logs", "producer"]);
        let grants = ["skiff role put part --add \"table:write rows/eu-1\"", "--add \"queue:send orders\""];
        grants.iter().all(|grant| log.contains(grant)).then_some(())
    });
    assert!(platform.metric("skiff_guest_calls_denied_total").await >= 9.0);
    platform.ok(&["role", "put", "part", "--add", "queue:send orders"]);
    said(&ask(&platform, "/send?in=orders", b"x").await, 200, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_answered_to_a_guest_outlives_a_kill() {
    let mut platform = with_things();
    platform.ok(&["role", "put", "all", "--allow", "* *"]);
    platform.deploy("producer", "producer", &["--role", "all"]);
    said(&ask(&platform, "/put?in=rows&key=a", b"kept").await, 200, "");
    assert_eq!(ask(&platform, "/write?in=uploads&key=a", b"kept").await.text, "written");
    said(&ask(&platform, "/send?in=orders", b"kept").await, 200, "");
    platform.kill();
    let platform = platform.restart();
    said(&ask(&platform, "/get?in=rows&key=a", b"").await, 200, "kept");
    assert_eq!(ask(&platform, "/read?in=uploads&key=a", b"").await.text, "kept");
    let received = platform.json(&["queue", "receive", "orders", "--wait", "5s"]);
    assert_eq!(received[0]["body"], json!("kept"));
}

//! Alarms live: a metric goes over its threshold, a receiver of the test's own is told, whatever becomes of the platform
//! meanwhile; and back again.

use crate::harness::{PATIENCE, Platform, eventually};
use crate::traces::{header, serve};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// Takes what is posted, or is out of order.
struct Receiver {
    port: u16,
    seen: Arc<Seen>,
}

#[derive(Default)]
struct Seen {
    is_out_of_order: AtomicBool,
    /// What came, whether it was taken or not: the header's id, and the body.
    posts: Mutex<Vec<(String, Value)>>,
}

impl Receiver {
    fn start() -> Self {
        let seen = Arc::new(Seen::default());
        let keeps = seen.clone();
        let port = serve(move |head, body| {
            assert!(head.starts_with("POST /hook?key=a "), "{head}");
            assert_eq!(header(head, "content-type"), Some("application/json"));
            let id = header(head, "webhook-id").unwrap().to_owned();
            keeps.posts.lock().unwrap().push((id, serde_json::from_slice(body).unwrap()));
            let status = match keeps.is_out_of_order.load(Relaxed) {
                true => "503 Service Unavailable",
                false => "204 No Content",
            };
            format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n")
        });
        Self { port, seen }
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}/hook?key=a", self.port)
    }

    /// What came so far: the id and the state of each attempt.
    fn posts(&self) -> Vec<(String, String)> {
        let posts = self.seen.posts.lock().unwrap();
        let told = |(id, body): &(String, Value)| {
            assert_eq!(body["id"], *id);
            (id.clone(), body["detail"]["state"]["value"].as_str().unwrap().to_owned())
        };
        posts.iter().map(told).collect()
    }

    fn states(&self) -> Vec<String> {
        self.posts().into_iter().map(|(_, state)| state).collect()
    }
}

/// Makes an alarm of the deepest queue of a second, of which every change is posted to the receiver.
fn put(platform: &Platform, receiver: &Receiver) {
    let url = receiver.url();
    let condition = ["--at-least", "100", "--statistic", "Maximum", "--period", "1s", "--missing", "ignore"];
    let told = ["--on-alarm", &url, "--on-ok", &url];
    platform.ok(&[&["alarm", "put", "deep", "queue/depth"], &condition[..], &told[..]].concat());
}

/// Puts values of the metric until the alarm is in this state.
fn drive_to(platform: &Platform, depth: &str, state: &str) {
    eventually(&format!("the alarm is {state}"), || {
        platform.ok(&["metrics", "put", "queue/depth", depth]);
        (platform.json(&["alarm", "show", "deep"])["status"]["state"] == state).then_some(())
    });
}

fn history(platform: &Platform) -> Vec<(String, String)> {
    let shown = platform.json(&["alarm", "history", "deep"]);
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let transitions = shown.as_array().unwrap().iter();
    transitions.map(|transition| (text(&transition["before"]), text(&transition["after"]))).collect()
}

fn is_delivered(platform: &Platform) -> bool {
    platform.json(&["alarm", "show", "deep"])["status"]["undelivered"] == 0
}

#[test]
fn a_metric_over_its_threshold_is_posted_and_so_is_its_way_back() {
    let (platform, receiver) = (Platform::start(&[]), Receiver::start());
    put(&platform, &receiver);
    drive_to(&platform, "250", "ALARM");
    drive_to(&platform, "5", "OK");
    eventually("both are posted", || is_delivered(&platform).then_some(()));
    assert_eq!(receiver.states(), ["ALARM", "OK"]);
    let body = receiver.seen.posts.lock().unwrap()[0].1.clone();
    assert_eq!(
        (&body["source"], &body["detail-type"], &body["resources"]),
        (&json!("skiff.cloudwatch"), &json!("CloudWatch Alarm State Change"), &json!(["alarm/default/deep"]))
    );
    let metric = &body["detail"]["configuration"]["metrics"][0]["metricStat"];
    assert_eq!((&metric["metric"]["name"], &metric["stat"]), (&json!("queue/depth"), &json!("Maximum")));

    let pair = |before: &str, after: &str| (before.to_owned(), after.to_owned());
    assert_eq!(history(&platform), [pair("ALARM", "OK"), pair("INSUFFICIENT_DATA", "ALARM")]);
    let listed = platform.ok(&["alarm", "ls"]);
    assert!(listed.contains("queue/depth") && listed.contains("Maximum >= 100 in 1s"), "{listed}");
    eventually("both are on the stream", || {
        let told = platform.ok(&["events", "--type", "alarm"]);
        let is_told = |line: &str| told.lines().any(|other| other.contains(line));
        (is_told("the alarm deep went from INSUFFICIENT_DATA to ALARM: ")
            && is_told("the alarm deep went from ALARM to OK: "))
        .then_some(())
    });

    platform.ok(&["alarm", "rm", "deep"]);
    assert!(platform.fails(&["alarm", "show", "deep"]).contains("there is no alarm deep"));
    assert!(platform.ok(&["alarm", "ls"]).lines().count() <= 1);
}

#[test]
fn a_change_outlives_a_kill_until_somebody_takes_it() {
    let (mut platform, receiver) = (Platform::start(&[]), Receiver::start());
    receiver.seen.is_out_of_order.store(true, Relaxed);
    put(&platform, &receiver);
    drive_to(&platform, "250", "ALARM");
    eventually("it is tried", || (!receiver.posts().is_empty()).then_some(()));
    platform.kill();
    let mut platform = platform.restart();
    assert_eq!(platform.json(&["alarm", "show", "deep"])["status"]["state"], "ALARM");
    assert_eq!(history(&platform).len(), 1);

    // Killed as soon as it is told: what was not noted comes again, and what was does not.
    receiver.seen.is_out_of_order.store(false, Relaxed);
    let before = receiver.posts().len();
    eventually("it is taken", || (receiver.posts().len() > before).then_some(()));
    platform.kill();
    let platform = platform.restart();
    eventually("it is noted that it was", || is_delivered(&platform).then_some(()));
    let posts = receiver.posts();
    assert!(posts.iter().all(|post| *post == posts[0]), "one change has one id: {posts:?}");
    drive_to(&platform, "5", "OK");
    eventually("the way back is posted", || is_delivered(&platform).then_some(()));
    assert_eq!(receiver.states().last().map(String::as_str), Some("OK"));
    assert_eq!(history(&platform).len(), 2);
}

#[tokio::test]
async fn an_alarm_of_a_service_and_of_its_manifest_follows_what_is_asked_of_it() {
    let platform = Platform::start(&[]);
    let folder = platform.dir().join("project");
    std::fs::create_dir(&folder).unwrap();
    let component = platform.component("misbehave");
    let manifest = format!(
        "name = \"web\"\ncomponent = {:?}\n\
         [[alarm]]\nname = \"asked\"\nmetric = \"RequestCount\"\nabove = 0\nperiod = \"1s\"\nmissing = \"notBreaching\"\n",
        component.to_str().unwrap()
    );
    std::fs::write(folder.join("skiff.toml"), manifest).unwrap();
    platform.ok(&["deploy", folder.to_str().unwrap()]);
    let state = || platform.json(&["alarm", "show", "asked"])["status"]["state"].clone();
    assert_eq!(platform.json(&["alarm", "show", "asked"])["service"], "web");
    eventually("nobody asks", || (state() == "OK").then_some(()));
    let started = Instant::now();
    while state() != "ALARM" {
        assert!(started.elapsed() < PATIENCE, "it was asked, and the alarm does not say so");
        assert_eq!(platform.get("web", "/count").await.status, 200);
    }
    eventually("nobody asks any more", || (state() == "OK").then_some(()));

    // What is exported is applied as the same.
    let exported = platform.ok(&["export"]);
    assert!(exported.contains("kind: alarm"), "{exported}");
    let file = platform.dir().join("all.yaml");
    std::fs::write(&file, exported).unwrap();
    let applied = platform.ok(&["apply", "-f", file.to_str().unwrap(), "--dry-run"]);
    assert!(applied.contains("= unchanged alarm default/asked"), "{applied}");
}

//! Services that nobody asks have no task, and whoever asks first is answered: by the load balancer, from another task, and
//! after the platform was killed.

use crate::harness::{PATIENCE, Platform, eventually};
use futures::future::join_all;
use std::time::Duration;

/// Deploys a service that falls asleep as soon as it may.
fn deploy(platform: &Platform, name: &str) {
    platform.deploy("misbehave", name, &["--scale-to-zero", "1s", "--cpu", "1024"]);
}

fn falls_asleep(platform: &Platform, name: &str) {
    eventually("it is asleep and has no task", || {
        let service = platform.json(&["service", "show", name]);
        let status = &service["status"];
        let has_none = ["running", "pending", "stopping"].iter().all(|count| status[count] == 0);
        (status["asleep"] == true && has_none).then_some(())
    });
}

#[tokio::test]
async fn the_first_request_wakes_a_service_and_is_answered_by_it() {
    let platform = Platform::start(&[]);
    deploy(&platform, "app");
    assert_eq!(platform.get("app", "/count").await.status, 200);
    falls_asleep(&platform, "app");
    let memory = platform.metric("skiff_memory_bytes{namespace=\"default\",service=\"app\"}").await;
    assert_eq!(memory, 0.0);
    for _ in 0..3 {
        let answer = platform.get("app", "/count").await;
        assert_eq!((answer.status, answer.text.trim()), (200, "1"));
        falls_asleep(&platform, "app");
    }
    let shown = platform.ok(&["service", "show", "app"]);
    assert!(shown.contains("after 1s without a request; it is asleep"), "{shown}");

    // Its user's word ends it.
    platform.deploy("misbehave", "app", &["--scale-to-zero", "never", "--cpu", "1024"]);
    assert_eq!(platform.json(&["service", "show", "app"])["status"]["running"], 1);
}

#[tokio::test]
async fn all_who_ask_at_once_are_answered() {
    let platform = Platform::start(&[]);
    deploy(&platform, "app");
    for path in ["/count", "/sleep?ms=50"] {
        falls_asleep(&platform, "app");
        let answers = join_all((0..100).map(|_| platform.get("app", path))).await;
        for answer in answers {
            assert_eq!(answer.status, 200, "{path}: {}", answer.text);
        }
    }
}

#[tokio::test]
async fn a_task_that_calls_it_wakes_it() {
    let platform = Platform::start(&[]);
    deploy(&platform, "app");
    for guest in ["fetch", "fetch-p3"] {
        platform.deploy(guest, guest, &[]);
        falls_asleep(&platform, "app");
        let client = reqwest::Client::builder().timeout(PATIENCE).build().unwrap();
        let request = client.get(format!("http://{}/fetch", platform.http));
        let request = request.header("host", format!("{guest}.localhost"));
        let answer = request.header("x-url", "http://app.default.internal/count").send().await.unwrap();
        let said = answer.text().await.unwrap();
        assert!(said.contains("200") && !said.contains("error"), "{guest}: {said}");
    }
}

#[tokio::test]
async fn a_platform_that_was_killed_wakes_what_slept() {
    let mut platform = Platform::start(&[]);
    deploy(&platform, "app");
    falls_asleep(&platform, "app");
    platform.kill();
    let mut platform = platform.restart();
    assert_eq!(platform.json(&["service", "show", "app"])["status"]["asleep"], true);
    assert_eq!(platform.get("app", "/count").await.status, 200);

    for wait_us in [0, 200, 500, 1_000, 2_000, 5_000] {
        falls_asleep(&platform, "app");
        // Killed while it wakes: whoever asked then is not answered, or is.
        let asked = tokio::time::timeout(Duration::from_micros(wait_us), platform.try_get("app", "/count"));
        let _ = asked.await;
        platform.kill();
        platform = platform.restart();
        assert_eq!(platform.get("app", "/count").await.status, 200, "killed after {wait_us} us");
    }
}

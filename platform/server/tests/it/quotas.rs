//! Quotas are real: what a guest does beyond its bounds ends with a reason, and its neighbours go on.

use crate::harness::{PATIENCE, Platform};
use futures::future::join_all;
use std::io::ErrorKind;
use std::net::TcpListener;
use std::time::{Duration, Instant};

/// Resident memory of the platform's processes, in bytes, shared pages counted once each (PSS).
fn memory_bytes(platform: &Platform) -> u64 {
    let pss = |pid: u32| {
        let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
        let line = text.lines().find(|line| line.starts_with("Pss:")).unwrap_or("Pss: 0 kB");
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
    };
    platform.workers().into_iter().chain([platform.pid()]).map(pss).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_holds_over_all_sandboxes_of_a_task() {
    let platform = Platform::start(&[]);
    platform.deploy("misbehave", "greedy", &["--memory", "64MiB", "--cpu", "2048"]);
    platform.deploy("misbehave", "modest", &[]);
    platform.get("greedy", "/count").await;
    let before = memory_bytes(&platform);
    let requests = (0..8).map(|_| platform.get("greedy", "/allocate?mib=16&hold_ms=1500"));
    let watch = async {
        let (started, mut most) = (Instant::now(), before);
        while started.elapsed() < Duration::from_millis(1_400) {
            most = most.max(memory_bytes(&platform));
            assert_eq!(platform.get("modest", "/count").await.status, 200, "the neighbour goes on");
        }
        most
    };
    let (answers, most) = tokio::join!(join_all(requests), watch);
    let (good, bad): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 200);
    assert!((1..=3).contains(&good.len()), "{} of eight requests of 16 MiB fit into 64 MiB", good.len());
    for answer in bad {
        assert!(answer.text.contains("memory"), "{}: {}", answer.status, answer.text);
    }
    let grown = most.saturating_sub(before);
    assert!(grown <= (64 << 20) * 11 / 10, "grew by {} KiB", grown >> 10);
    assert_eq!(platform.get("greedy", "/count").await.status, 200, "the task goes on");
}

#[tokio::test(flavor = "multi_thread")]
async fn cpu_is_throttled_to_its_share_over_all_workers() {
    let platform = Platform::start(&[]);
    platform.deploy("misbehave", "spinner", &["--cpu", "256", "--timeout", "60s"]);
    let series = "skiff_cpu_seconds_total{namespace=\"default\",service=\"spinner\"}";
    let spin = join_all((0..4).map(|_| platform.try_get("spinner", "/spin?ms=1000000")));
    let measure = async {
        while platform.metric(series).await < 0.2 {}
        let (started, before) = (Instant::now(), platform.metric(series).await);
        while started.elapsed() < Duration::from_secs(5) {
            tokio::task::yield_now().await;
            platform.metric(series).await;
        }
        (platform.metric(series).await - before) / started.elapsed().as_secs_f64()
    };
    let share = tokio::select! {
        _ = spin => panic!("the spinners ended"),
        share = measure => share,
    };
    assert!((0.23..=0.27).contains(&share), "256 units took {share:.3} of a core");
}

#[tokio::test]
async fn a_loop_without_end_is_cut_by_the_timeout() {
    let platform = Platform::start(&[]);
    platform.deploy("misbehave", "app", &["--timeout", "500ms"]);
    let answer = platform.get("app", "/spin").await;
    assert_eq!(answer.status, 504, "{}", answer.text);
    assert!(answer.text.contains("timeout") && answer.text.contains("request_id"), "{}", answer.text);
    assert_eq!(platform.get("app", "/never").await.status / 100, 5);
    assert_eq!(platform.get("app", "/count").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_task_queues_and_then_refuses() {
    let platform = Platform::start(&[]);
    platform.deploy("misbehave", "app", &["--concurrency", "2", "--memory", "256MiB"]);
    // Two run, and as many again as the queue holds wait; what is over is refused at once.
    let answers = join_all((0..120).map(|_| platform.get("app", "/sleep?ms=200"))).await;
    let count = |status: u16| answers.iter().filter(|answer| answer.status == status).count();
    assert!(
        count(200) >= 2 && count(503) >= 1 && count(200) + count(503) == 120,
        "{} and {}",
        count(200),
        count(503)
    );
    let refused = answers.iter().find(|answer| answer.status == 503).unwrap();
    assert!(refused.headers.contains_key("retry-after"), "{}", refused.text);
}

#[tokio::test]
async fn a_guest_that_fails_says_why_and_harms_nobody() {
    let platform = Platform::start(&[]);
    for guest in ["misbehave", "misbehave-p3"] {
        platform.deploy(guest, guest, &["--timeout", "5s"]);
        for path in ["/trap", "/exit?code=3", "/stack"] {
            let answer = platform.get(guest, path).await;
            assert_eq!(answer.status, 502, "{guest} {path}: {}", answer.text);
            let body: serde_json::Value = serde_json::from_str(&answer.text).unwrap();
            assert!(!body["error"]["message"].as_str().unwrap().is_empty());
            assert_eq!(body["request_id"], answer.headers["x-request-id"].to_str().unwrap());
        }
        assert_eq!(platform.get(guest, "/count").await.status, 200, "{guest}");
    }
}

#[tokio::test]
async fn outgoing_requests_and_sockets_are_denied_and_say_so() {
    let platform = Platform::start(&[]);
    // Somebody listens, so it is not for want of an answer that a connection fails.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    let request_denied = "refused: ErrorCode::HttpRequestDenied";
    // WASI 0.2's `access-denied` reaches a Rust program as its standard library's `PermissionDenied`.
    for (guest, socket_denied) in [
        ("misbehave", "refused: PermissionDenied"),
        ("misbehave-p3", "refused at once: ErrorCode::AccessDenied"),
    ] {
        platform.deploy(guest, guest, &[]);
        for (path, denied) in [("/outgoing", request_denied), ("/socket", socket_denied)] {
            let answer = platform.get(guest, &format!("{path}?port={port}")).await;
            assert_eq!(answer.status, 200, "{guest} {path}: {}", answer.text);
            assert!(answer.text.starts_with(denied), "{guest} {path}: {}", answer.text);
            let nobody = listener.accept().expect_err("no connection came");
            assert_eq!(nobody.kind(), ErrorKind::WouldBlock, "{guest} {path}");
        }
    }
}

#[tokio::test]
async fn bodies_have_bounds() {
    let platform = Platform::start(&[]);
    platform.deploy("misbehave", "app", &["--cpu", "2048"]);
    let answer = platform.post("app", "/read", vec![7; 1 << 20]).await;
    assert_eq!((answer.status, answer.text.trim()), (200, "1048576 bytes"));
    let answer = platform.post("app", "/read", vec![7; 11 << 20]).await;
    assert_eq!(answer.status, 413, "{}", answer.text);
    let answer = platform.post("app", "/echo", b"there and back".to_vec()).await;
    assert_eq!(answer.text, "there and back");
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_are_bounded_and_say_what_was_dropped() {
    let platform = Platform::start(&[]);
    platform.deploy("misbehave", "app", &["--cpu", "2048", "--timeout", "60s"]);
    assert_eq!(platform.get("app", "/log?lines=40000&bytes=100").await.status, 200);
    let started = Instant::now();
    let series = "skiff_log_dropped_bytes_total{namespace=\"default\",service=\"app\"}";
    while platform.metric(series).await == 0.0 {
        assert!(started.elapsed() < PATIENCE, "nothing was dropped of 4 MB at once");
    }
    assert!(platform.ok(&["logs", "app"]).contains("dropped"));
}

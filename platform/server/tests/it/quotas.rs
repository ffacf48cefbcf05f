//! Quotas are real: what a guest does beyond its bounds ends with a reason, and its neighbours go on.

use crate::harness::{PATIENCE, Platform};
use futures::future::join_all;
use std::io::ErrorKind;
use std::net::TcpListener;
use std::time::Instant;

#[tokio::test(flavor = "multi_thread")]
async fn memory_holds_over_all_sandboxes_of_a_task() {
    const MIB: f64 = 1024.0 * 1024.0;
    let platform = Platform::start(&[]);
    platform.deploy("misbehave", "greedy", &["--memory", "64MiB", "--cpu", "2048", "--timeout", "10m"]);
    platform.deploy("misbehave", "modest", &[]);
    let holds =
        async || platform.metric("skiff_memory_bytes{namespace=\"default\",service=\"greedy\"}").await;
    let holding = join_all((0..3).map(|_| platform.try_get("greedy", "/allocate?mib=16&hold_ms=600000")));
    let checks = async {
        let started = Instant::now();
        while holds().await < 48.0 * MIB {
            assert!(started.elapsed() < PATIENCE, "three sandboxes of 16 MiB do not fit into 64 MiB");
        }
        for _ in 0..5 {
            let answer = platform.get("greedy", "/allocate?mib=16").await;
            assert_ne!(answer.status, 200, "a fourth sandbox of 16 MiB fits into 64 MiB");
            assert!(answer.text.contains("memory"), "{}: {}", answer.status, answer.text);
            assert!(holds().await <= 64.0 * MIB);
            assert_eq!(platform.get("modest", "/count").await.status, 200, "the neighbour goes on");
        }
    };
    tokio::select! {
        _ = holding => panic!("those that hold memory ended"),
        () = checks => {}
    }
    // Their clients are gone now, and what they held with them.
    let started = Instant::now();
    while platform.get("greedy", "/count").await.status != 200 {
        assert!(started.elapsed() < PATIENCE, "the task does not go on");
    }
    let tasks = platform.json(&["task", "ls", "--service", "greedy"]);
    let peak = tasks[0]["usage"]["memory_peak_bytes"].as_u64().unwrap();
    assert!((48 << 20..=64 << 20).contains(&peak), "it held {} KiB at most", peak >> 10);
}

/// How long the threads of the workers were ready to run and had no core, in seconds
/// (Documentation/scheduler/sched-stats.rst).
fn waited_seconds(workers: &[u32]) -> f64 {
    let waited_ns = |pid: &u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/schedstat")).unwrap();
        stat.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap()
    };
    workers.iter().map(waited_ns).sum::<f64>() / 1e9
}

#[tokio::test(flavor = "multi_thread")]
async fn cpu_is_throttled_to_its_share_over_all_workers() {
    const SHARE: f64 = 0.25;
    // What a bucket may hold, and what the slice that each worker is in the middle of may overdraw it by.
    const SLACK_SECONDS: f64 = 0.1 * SHARE + 2.0 * 0.02;
    let platform = Platform::start(&[]);
    platform.deploy("misbehave", "spinner", &["--cpu", "256", "--timeout", "10m"]);
    let workers = platform.workers();
    let used =
        async || platform.metric("skiff_cpu_seconds_total{namespace=\"default\",service=\"spinner\"}").await;
    let spin = join_all((0..4).map(|_| platform.try_get("spinner", "/spin?ms=1000000")));
    let measure = async {
        while used().await < 0.2 {}
        // What was used is read at some moment of a call: the time that belongs to it is at most what lies around both
        // calls, and at least what lies between them.
        let (around, waited_before) = (Instant::now(), waited_seconds(&workers));
        let before = used().await;
        let (between, mut more, mut least) = (Instant::now(), 0.0, 0.0);
        while more < 1.25 {
            assert!(around.elapsed() < PATIENCE, "256 units took {more:.3} s of a core");
            least = between.elapsed().as_secs_f64();
            more = used().await - before;
        }
        let most = around.elapsed().as_secs_f64();
        (more, least, most, waited_seconds(&workers) - waited_before)
    };
    let (used, least, most, waited) = tokio::select! {
        _ = spin => panic!("the spinners ended"),
        measured = measure => measured,
    };
    assert!(used <= most * SHARE + SLACK_SECONDS, "256 units took {used:.3} s of a core in {most:.3} s");
    // While the workers don't wait for cores that others have, the spinners run or are held back; what a machine that
    // stands still for long takes from them, nobody gives back.
    let owed = (least - waited) * SHARE * 0.8 - SLACK_SECONDS;
    assert!(used >= owed, "256 units took {used:.3} s of a core in {least:.3} s, and waited {waited:.3} s");
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
    for (guest, socket_denied) in
        [("misbehave", "refused: PermissionDenied"), ("misbehave-p3", "refused: ErrorCode::AccessDenied")]
    {
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
async fn what_passes_through_a_sandbox_that_serves_more_requests_is_not_held_against_it() {
    let platform = Platform::start(&["--workers", "1"]);
    for guest in ["misbehave", "misbehave-p3"] {
        platform.deploy(guest, guest, &["--cpu", "2048", "--reuse", "1000", "--memory", "32MiB"]);
        for _ in 0..16 {
            let answer = platform.post(guest, "/read", vec![7; 4 << 20]).await;
            assert_eq!((answer.status, answer.text.trim()), (200, "4194304 bytes"));
        }
        assert!(!platform.ok(&["logs", guest]).contains("out of memory"), "{guest}");
    }
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

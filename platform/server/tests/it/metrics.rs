//! Metrics with a memory: what services did is there by the second, drawn and told, over a restart and after a `kill -9`.

use crate::harness::{Platform, eventually};
use futures::future::join_all;

const REQUESTS: usize = 12;

/// All values of a metric of the last quarter of an hour, added up.
fn sum(platform: &Platform, arguments: &[&str]) -> f64 {
    let told = platform.json(&[&["metrics"], arguments, &["--statistic", "Sum", "--period", "1m"]].concat());
    told["points"].as_array().unwrap().iter().filter_map(|point| point["value"].as_f64()).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_service_did_is_told_over_a_restart_and_a_kill() {
    let mut platform = Platform::start(&[]);
    platform.deploy("misbehave", "spinner", &[]);
    let requests = ["spinner", "RequestCount"];
    assert_eq!(sum(&platform, &requests), 0.0);
    let answers = join_all((0..REQUESTS).map(|_| platform.get("spinner", "/spin?ms=20"))).await;
    assert!(answers.iter().all(|answer| answer.status == 200));
    eventually("the requests are counted", || (sum(&platform, &requests) == REQUESTS as f64).then_some(()));
    let told =
        platform.json(&["metrics", "spinner", "TargetResponseTime", "--statistic", "p99", "--period", "1d"]);
    let slowest = told["points"].as_array().unwrap().iter().find_map(|point| point["value"].as_f64());
    assert!(slowest.is_some_and(|seconds| seconds >= 0.015), "each took 20 ms of CPU time: {told}");
    assert!(sum(&platform, &["spinner", "CPUUtilization"]) > 0.0);

    let drawn = platform.ok(&["metrics", "spinner", "RequestCount"]);
    assert!(drawn.starts_with("spinner: RequestCount, Sum, Count, each ") && drawn.contains('█'), "{drawn}");
    let file = platform.dir().join("requests.svg");
    platform.ok(&["metrics", "spinner", "RequestCount", "--svg", file.to_str().unwrap()]);
    assert!(std::fs::read_to_string(file).unwrap().starts_with("<svg"));

    let depth = ["queue/depth", "--dimension", "queue=mails"];
    platform.ok(&["metrics", "put", "queue/depth", "7", "--dimension", "queue=mails"]);
    platform.ok(&["metrics", "put", "queue/depth", "-0.5", "--dimension", "queue=mails"]);
    assert_eq!(sum(&platform, &depth), 6.5);
    assert!(platform.ok(&["metrics", "ls"]).contains("queue=mails"));
    assert!(platform.fails(&["metrics", "spinner", "Temperature"]).contains("CPUUtilization"));

    platform.terminate();
    platform.wait();
    let mut platform = platform.restart();
    assert_eq!((sum(&platform, &requests), sum(&platform, &depth)), (REQUESTS as f64, 6.5));
    platform.kill();
    let platform = platform.restart();
    assert_eq!((sum(&platform, &requests), sum(&platform, &depth)), (REQUESTS as f64, 6.5));
}

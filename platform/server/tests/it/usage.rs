//! The bill: it adds up, it is what the kernel says, and neither a `kill -9` nor a removed service takes from it.

use crate::harness::{Platform, eventually, guest_path};
use futures::future::join_all;
use serde_json::Value;
use std::time::Instant;

/// How far the bill's CPU time may be from the kernel's, in seconds: the kernel counts in steps of 10 ms, for each of
/// the supervisor, its two workers and the children that ended, before and after the restart; and it is asked a moment
/// before the platform is killed.
const TOLERANCE_SECONDS: f64 = 0.1;
/// The bytes of each body that is sent.
const BODY_BYTES: usize = 10_000;

/// CPU time of the platform's processes by the kernel, those that ended included, in seconds.
fn kernel_cpu_seconds(platform: &Platform, workers: &[u32]) -> f64 {
    // proc_pid_stat(5), counted from the state: utime, stime, cutime and cstime are the 12th to the 15th.
    let ticks = |pid: u32, fields: std::ops::Range<usize>| -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process lives");
        let fields_of = stat.rsplit_once(')').expect("its name is in brackets").1.split_whitespace();
        fields_of.skip(fields.start).take(fields.len()).map(|field| field.parse::<u64>().unwrap()).sum()
    };
    let own: u64 = workers.iter().map(|pid| ticks(*pid, 11..13)).sum();
    (own + ticks(platform.pid(), 11..15)) as f64 / 100.0
}

fn figure(used: &Value, name: &str) -> f64 {
    used[name].as_f64().unwrap_or_else(|| panic!("{name} in {used}"))
}

/// What a service, or all its tasks, used.
fn of(report: &Value, group: &str, name: &str) -> f64 {
    let items = report["items"].as_array().unwrap().iter();
    items.filter(|item| item["group"] == group).map(|item| figure(&item["used"], name)).sum()
}

fn check_sums(report: &Value) {
    for name in ["requests", "cpu_seconds", "gb_seconds", "received_bytes", "sent_bytes", "cold_starts"] {
        let items: f64 =
            report["items"].as_array().unwrap().iter().map(|item| figure(&item["used"], name)).sum();
        let parts = items + figure(&report["others"], name) + figure(&report["platform"], name);
        let total = figure(&report["total"], name);
        assert!((parts - total).abs() < 1e-6, "{name}: {parts} of {total} in {report}");
    }
}

async fn spin(platform: &Platform, requests: usize) {
    let answers = join_all((0..requests).map(|_| platform.get("spinner", "/spin?ms=50"))).await;
    assert!(answers.iter().all(|answer| answer.status == 200));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bill_adds_up_over_a_kill_and_a_removed_service() {
    let mut platform = Platform::start(&[]);
    platform.deploy("misbehave", "spinner", &["--cpu", "2048", "--desired", "2"]);
    platform.deploy("misbehave", "echo", &[]);
    let job = guest_path("misbehave-job");
    platform.ok(&["run", job.to_str().unwrap(), "--", "print", "1"]);
    spin(&platform, 12).await;
    for _ in 0..5 {
        let echoed = platform.post("echo", "/echo", vec![b'x'; BODY_BYTES]).await;
        assert_eq!((echoed.status, echoed.text.len()), (200, BODY_BYTES));
    }
    for _ in 0..3 {
        assert_eq!(platform.get("nobody", "/").await.status, 404);
    }
    let workers = platform.workers();
    let least = kernel_cpu_seconds(&platform, &workers);
    let first = platform.json(&["usage"]);
    let most = kernel_cpu_seconds(&platform, &workers);
    platform.kill();

    let total = figure(&first["total"], "cpu_seconds");
    assert!(
        (least - TOLERANCE_SECONDS..=most + TOLERANCE_SECONDS).contains(&total),
        "the kernel says {least} to {most}: {first}"
    );
    check_sums(&first);
    assert_eq!(of(&first, "service:spinner", "requests"), 12.0);
    assert_eq!(of(&first, "service:echo", "requests"), 5.0);
    assert_eq!(of(&first, "service:echo", "received_bytes"), (5 * BODY_BYTES) as f64);
    assert_eq!(of(&first, "service:echo", "sent_bytes"), (5 * BODY_BYTES) as f64);
    assert!(of(&first, "service:echo", "cold_starts") >= 1.0);
    assert_eq!(of(&first, "family:misbehave-job", "cold_starts"), 1.0);
    assert_eq!(figure(&first["platform"], "requests"), 3.0);

    let platform = platform.restart();
    let runs = || (platform.json(&["service", "show", "spinner"])["status"]["running"] == 2).then_some(());
    eventually("the tasks run again", runs);
    spin(&platform, 6).await;
    platform.ok(&["rm", "echo"]);
    eventually("the service is gone", || {
        (platform.json(&["service", "ls"]).as_array()?.len() == 1).then_some(())
    });
    let workers = platform.workers();
    let again_least = kernel_cpu_seconds(&platform, &workers);
    let second = platform.json(&["usage", "--since", "24h"]);
    let again_most = kernel_cpu_seconds(&platform, &workers);

    check_sums(&second);
    let total = figure(&second["total"], "cpu_seconds");
    let (least, most) = (least + again_least, most + again_most);
    assert!(
        (least - 2.0 * TOLERANCE_SECONDS..=most + 2.0 * TOLERANCE_SECONDS).contains(&total),
        "the kernel says {least} to {most}: {second}"
    );
    assert_eq!(of(&second, "service:spinner", "requests"), 18.0);
    assert!(of(&second, "service:spinner", "cpu_seconds") > of(&first, "service:spinner", "cpu_seconds"));
    assert_eq!(of(&second, "service:echo", "requests"), 5.0, "what was removed stays on the bill");

    let by_task = platform.json(&["usage", "--by", "task"]);
    check_sums(&by_task);
    let tasks = by_task["items"].as_array().unwrap().iter().filter(|item| item["group"] == "service:spinner");
    assert_eq!(tasks.filter(|item| item["task"].is_string()).count(), 2);
    assert_eq!(of(&by_task, "service:spinner", "requests"), 18.0);
    let one = platform.json(&["usage", "--service", "echo"]);
    check_sums(&one);
    assert_eq!((one["items"].as_array().unwrap().len(), figure(&one["others"], "requests")), (1, 18.0));
}

#[tokio::test]
async fn memory_is_billed_for_as_long_as_it_is_held() {
    let began = Instant::now();
    let platform = Platform::start(&[]);
    platform.deploy("misbehave", "holder", &["--memory", "128MiB"]);
    assert_eq!(platform.get("holder", "/allocate?mib=32&hold_ms=1000").await.status, 200);
    let report = platform.json(&["usage"]);
    let billed = of(&report, "service:holder", "gb_seconds");
    let series = "skiff_memory_byte_seconds_total{namespace=\"default\",service=\"holder\"}";
    let measured = platform.metric(series).await / f64::from(1 << 30);
    // Two ticks of the kernel's coarse clock less than a second, of which there are 100 in one at least.
    let least = 0.98 * 32.0 / 1024.0;
    let most = began.elapsed().as_secs_f64() * 128.0 / 1024.0;
    assert!(least <= billed && measured <= most, "{billed}, then {measured}: not within {least} and {most}");
    assert!(billed <= measured + 1e-6, "{billed} on the bill, {measured} by the metric a moment later");
}

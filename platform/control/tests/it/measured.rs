//! Metrics and usage: what the node measured, by service, with counters that never go back.

use crate::fixture::{Platform, namespace};
use skiff_control::{MeterReading, MeterReadings, Readings, TaskReading};
use skiff_ledger::{BUCKETS_US, MeterTotals, Totals};
use skiff_ports::balancer::Metered;
use skiff_types::{TaskId, TaskStatus};

pub(crate) async fn metrics(platform: &Platform) -> String {
    let url = format!("http://{}/metrics", platform.handle.api());
    let response = reqwest::get(url).await.unwrap();
    assert_eq!(response.status(), 200, "it answers without the token on loopback");
    response.text().await.unwrap()
}

fn reading(task: TaskId, in_service: bool, totals: Totals) -> TaskReading {
    TaskReading { task, owner: "default/hello".parse().unwrap(), in_service, totals }
}

fn totals() -> Totals {
    let mut totals = Totals {
        cpu_ns: 1_500_000_000,
        memory_bytes: 4096,
        responses: [7, 0, 0, 2],
        sandboxes: 1,
        net_sent_bytes: 100,
        net_open: 2,
        ..Totals::default()
    };
    totals.request_duration.buckets[0] = 3;
    totals.request_duration.buckets[BUCKETS_US.len()] = 1;
    totals.request_duration.sum_ns = 20_000_000_000;
    totals.cold_start_load.buckets[3] = 1;
    totals
}

#[tokio::test]
async fn series_are_there_once_there_is_something_to_count() {
    let platform = Platform::start().await;
    platform.deploy("hello", "http", 1).await;
    platform.completed("hello").await;
    let task = platform.running("hello").await.remove(0);
    let idle = metrics(&platform).await;
    assert!(!idle.contains("service=\"hello\""), "{idle}");
    assert!(idle.contains("skiff_worker_restarts_total{worker=\"0\"} 3"), "{idle}");
    assert!(idle.contains("skiff_supervisor_log_lines_lost_total 6"), "{idle}");
    assert!(idle.contains("skiff_supervisor_flow_records_lost_total 7"), "{idle}");
    assert!(idle.contains("skiff_spans_dropped_total 8"), "{idle}");
    assert!(idle.contains("skiff_tasks{status=\"RUNNING\"} 1"), "{idle}");
    assert!(idle.contains("skiff_s3_requests_total{operation=\"PutObject\",code_class=\"2xx\"} 9"), "{idle}");
    for line in [
        "skiff_s3_connections 2",
        "skiff_s3_connections_refused_total 3",
        "skiff_s3_request_body_bytes_total 10",
        "skiff_s3_response_body_bytes_total 11",
    ] {
        assert!(idle.lines().any(|there| there == line), "{line} is not in {idle}");
    }
    let status = platform.client.status().await.unwrap();
    assert_eq!(status.s3.as_deref(), Some("127.0.0.1:8082"));

    let living =
        vec![reading(task.id, true, totals()), reading(TaskId::from_parts(1, [1; 10]), false, totals())];
    *platform.meters.0.lock().unwrap() = Readings { living, ended: vec![] };
    let text = metrics(&platform).await;
    for line in [
        "# TYPE skiff_requests_total counter",
        "skiff_requests_total{namespace=\"default\",service=\"hello\",code_class=\"2xx\"} 7",
        "skiff_requests_total{namespace=\"default\",service=\"hello\",code_class=\"5xx\"} 2",
        "skiff_cpu_seconds_total{namespace=\"default\",service=\"hello\"} 1.5",
        "skiff_cpu_seconds_total{namespace=\"default\",service=\"family:hello\"} 1.5",
        "skiff_memory_bytes{namespace=\"default\",service=\"hello\"} 4096",
        "skiff_network_sent_bytes_total{namespace=\"default\",service=\"hello\"} 100",
        "skiff_network_connections_open{namespace=\"default\",service=\"hello\"} 2",
        "# TYPE skiff_request_duration_seconds histogram",
        "skiff_request_duration_seconds_bucket{namespace=\"default\",service=\"hello\",le=\"0.00001\"} 3",
        "skiff_request_duration_seconds_bucket{namespace=\"default\",service=\"hello\",le=\"10\"} 3",
        "skiff_request_duration_seconds_bucket{namespace=\"default\",service=\"hello\",le=\"+Inf\"} 4",
        "skiff_request_duration_seconds_sum{namespace=\"default\",service=\"hello\"} 20",
        "skiff_cold_start_seconds_count{namespace=\"default\",service=\"hello\",stage=\"load\"} 1",
    ] {
        assert!(text.lines().any(|other| other == line), "{line} is not in\n{text}");
    }
    assert!(!text.contains("skiff_traps_total") && !text.contains("skiff_network_denied_total"), "{text}");

    let shown = platform.client.get_task(&namespace(), task.id).await.unwrap();
    assert_eq!((shown.usage.requests, shown.usage.requests_failed), (9, 2));
    let service = platform.service("hello").await;
    assert_eq!((service.status.requests, service.status.memory_bytes), (9, 4096));
}

#[tokio::test]
async fn counters_stay_when_their_tasks_end() {
    let platform = Platform::start().await;
    platform.deploy("hello", "http", 1).await;
    platform.completed("hello").await;
    let task = platform.running("hello").await.remove(0);
    *platform.meters.0.lock().unwrap() =
        Readings { living: vec![], ended: vec![reading(task.id, true, totals())] };
    let line = "skiff_requests_total{namespace=\"default\",service=\"hello\",code_class=\"2xx\"}";
    assert!(metrics(&platform).await.contains(&format!("{line} 7")));
    let again = metrics(&platform).await;
    assert!(again.contains(&format!("{line} 7")), "{again}");
    assert!(again.contains("skiff_memory_bytes{namespace=\"default\",service=\"hello\"} 0"), "{again}");
    let living = vec![reading(TaskId::from_parts(2, [2; 10]), true, totals())];
    *platform.meters.0.lock().unwrap() = Readings { living, ended: vec![] };
    assert!(metrics(&platform).await.contains(&format!("{line} 14")));

    platform.client.stop_task(&namespace(), task.id, &Default::default()).await.unwrap();
    let ended = platform.reaches(task.id, TaskStatus::Stopped).await;
    assert_eq!(ended.usage, Default::default());
}

fn meter_totals() -> MeterTotals {
    let mut totals = MeterTotals {
        requests: 9,
        target_responses: [5, 0, 1, 0],
        balancer_responses: [0, 2, 0, 1],
        target_errors: 1,
        rejected: 3,
        outstanding: 4,
        connections: 2,
        connections_total: 7,
        received_bytes: 100,
        ..MeterTotals::default()
    };
    totals.target_response_time.buckets[0] = 6;
    totals.target_response_time.sum_ns = 3_000_000_000;
    totals
}

#[tokio::test]
async fn what_the_load_balancer_counted_is_there_by_listener_rule_group_and_address() {
    let platform = Platform::start().await;
    let idle = metrics(&platform).await;
    for prefix in ["skiff_listener_", "skiff_rule_", "skiff_target_"] {
        assert!(!idle.contains(prefix), "{idle}");
    }
    let group = "default/out".parse().unwrap();
    let target = Metered::Target { group, target: "192.0.2.7:80".into() };
    let metered = [
        Metered::built_in_listener(),
        Metered::Rule("default/one".parse().unwrap()),
        Metered::Group("default/out".parse().unwrap()),
        target,
    ];
    let reading = |metered| MeterReading { metered, totals: meter_totals() };
    let living = metered.map(reading).into();
    *platform.meters.2.lock().unwrap() = MeterReadings { living, ended: vec![] };
    let text = metrics(&platform).await;
    let group = "namespace=\"default\",target_group=\"out\"";
    for line in [
        "# TYPE skiff_listener_requests_total counter".to_owned(),
        "skiff_listener_requests_total{listener=\"http\"} 9".to_owned(),
        "skiff_listener_responses_total{listener=\"http\",origin=\"target\",class=\"2xx\"} 5".to_owned(),
        "skiff_listener_responses_total{listener=\"http\",origin=\"balancer\",class=\"3xx\"} 2".to_owned(),
        "skiff_listener_connections{listener=\"http\"} 2".to_owned(),
        "skiff_listener_connections_total{listener=\"http\"} 7".to_owned(),
        "skiff_listener_received_bytes_total{listener=\"http\"} 100".to_owned(),
        "skiff_rule_requests_total{namespace=\"default\",rule=\"one\"} 9".to_owned(),
        "skiff_rule_rejected_total{namespace=\"default\",rule=\"one\"} 3".to_owned(),
        format!("skiff_target_group_requests_total{{{group}}} 9"),
        format!("skiff_target_group_responses_total{{{group},origin=\"balancer\",class=\"5xx\"}} 1"),
        format!("skiff_target_group_target_response_seconds_count{{{group}}} 6"),
        format!("skiff_target_group_target_response_seconds_sum{{{group}}} 3"),
        format!("skiff_target_group_requests_in_flight{{{group}}} 4"),
        format!("skiff_target_group_target_errors_total{{{group}}} 1"),
        format!("skiff_target_group_hosts{{{group},state=\"healthy\"}} 0"),
        format!("skiff_target_requests_total{{{group},target=\"192.0.2.7:80\"}} 9"),
    ] {
        assert!(text.lines().any(|other| other == line), "{line} is not in\n{text}");
    }
    assert!(!text.contains("skiff_target_group_retries_total"), "{text}");
}

#[tokio::test]
async fn what_was_counted_stays_when_its_meter_is_given_back() {
    let platform = Platform::start().await;
    let reading = || vec![MeterReading { metered: Metered::built_in_listener(), totals: meter_totals() }];
    *platform.meters.2.lock().unwrap() = MeterReadings { living: vec![], ended: reading() };
    let requests = "skiff_listener_requests_total{listener=\"http\"}";
    assert!(metrics(&platform).await.contains(&format!("{requests} 9")));
    let again = metrics(&platform).await;
    assert!(again.contains(&format!("{requests} 9")), "{again}");
    assert!(again.contains("skiff_listener_connections{listener=\"http\"} 0"), "{again}");
    // It may stand there twice while one of its meters is being given back.
    let living = [reading(), reading()].concat();
    *platform.meters.2.lock().unwrap() = MeterReadings { living, ended: vec![] };
    let more = metrics(&platform).await;
    assert!(more.contains(&format!("{requests} 27")), "{more}");
    assert!(more.contains("skiff_listener_connections{listener=\"http\"} 4"), "{more}");
}

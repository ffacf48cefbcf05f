//! What `/metrics` says of listeners, rules, target groups and their addresses.

use super::outside::{Outside, is_from};
use super::{answers, ask, has_status, rule};
use crate::gauges::sum;
use crate::harness::{Platform, eventually};

const HOST: &str = "legacy.example.com";
const CONDITION: &str = "host=legacy.example.com";
/// Requests that a test sends.
const REQUESTS: u32 = 20;

/// Waits until all series that begin so are at least at this, together.
fn reaches(platform: &Platform, series: &str, least: u32) {
    eventually(&format!("{series} is {least} at least"), || {
        (sum(&platform.api, series) >= f64::from(least)).then_some(())
    });
}

#[test]
fn what_the_load_balancer_did_is_counted_by_listener_rule_group_and_address() {
    let platform = Platform::start(&["--workers", "2"]);
    let (one, two) = (Outside::start("one"), Outside::start("two"));
    platform.ok(&["target-group", "create", "legacy", "--outside", &one.target()]);
    rule(&platform, "legacy", "10", CONDITION, &["--forward", "legacy"]);
    let moved = ["--redirect", "https://new.example.com/#{path}", "--status", "302"];
    rule(&platform, "moved", "20", "host=old.example.com", &moved);
    for series in ["skiff_rule_requests_total", "skiff_target_group_requests", "skiff_target_requests"] {
        assert_eq!(sum(&platform.api, series), 0.0, "{series}: nobody has asked yet");
    }
    answers(&platform.http, HOST, "/", |answer| is_from(answer, "one"));
    has_status(&platform.http, "old.example.com", "/", 302);
    (0..REQUESTS).for_each(|_| drop(ask(&platform.http, "/", &[("host", HOST)]).unwrap()));

    let group = "namespace=\"default\",target_group=\"legacy\"";
    let by_target = "origin=\"target\",class=\"2xx\"";
    for series in [
        "skiff_listener_requests_total{listener=\"http\"}".to_owned(),
        format!("skiff_listener_responses_total{{listener=\"http\",{by_target}}}"),
        "skiff_listener_connections_total{listener=\"http\"}".to_owned(),
        "skiff_listener_sent_bytes_total{listener=\"http\"}".to_owned(),
        "skiff_rule_requests_total{namespace=\"default\",rule=\"legacy\"}".to_owned(),
        format!("skiff_rule_responses_total{{namespace=\"default\",rule=\"legacy\",{by_target}}}"),
        format!("skiff_target_group_requests_total{{{group}}}"),
        format!("skiff_target_group_responses_total{{{group},{by_target}}}"),
        format!("skiff_target_group_target_response_seconds_count{{{group}}}"),
        format!("skiff_target_requests_total{{{group},target=\"{}\"}}", one.target()),
    ] {
        reaches(&platform, &series, REQUESTS);
    }
    let moved = "namespace=\"default\",rule=\"moved\",origin=\"balancer\",class=\"3xx\"";
    reaches(&platform, &format!("skiff_rule_responses_total{{{moved}}}"), 1);
    let in_flight = format!("skiff_target_group_requests_in_flight{{{group}}}");
    eventually("none is in flight", || (sum(&platform.api, &in_flight) == 0.0).then_some(()));
    reaches(&platform, &format!("skiff_target_group_hosts{{{group},"), 1);

    // What a group did stays when its addresses change, and their meters are given back.
    platform.ok(&["target-group", "create", "legacy", "--outside", &two.target()]);
    answers(&platform.http, HOST, "/", |answer| is_from(answer, "two"));
    reaches(&platform, &format!("skiff_target_group_requests_total{{{group}}}"), REQUESTS + 1);
    let of_two = format!("skiff_target_requests_total{{{group},target=\"{}\"}}", two.target());
    reaches(&platform, &of_two, 1);
}

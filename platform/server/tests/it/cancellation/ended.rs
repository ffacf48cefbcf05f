//! How long a guest in an endless loop goes on after it should have ended: measured from outside, by what the platform says
//! of its sandboxes, so that reading it is part of what is measured.

use super::gauges::gauge;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// How long anything may take that is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where in its life a guest loops: name, component, path, and what else its deployment says.
pub(crate) const PLACES: [(&str, &str, &str, &[&str]); 11] = [
    ("handler", "misbehave", "/spin", &[]),
    ("handler-p3", "misbehave-p3", "/spin", &[]),
    ("copying", "misbehave", "/copy-forever?mib=256", &["--memory", "300MiB"]),
    ("copying-p3", "misbehave-p3", "/copy-forever?mib=256", &["--memory", "300MiB"]),
    ("streaming", "misbehave", "/answer/spinning", &[]),
    ("streaming-p3", "misbehave-p3", "/answer/spinning", &[]),
    ("reused", "misbehave", "/spin", &["--reuse", "128"]),
    ("shared-p3", "misbehave-p3", "/spin", &["--reuse", "128x16"]),
    ("shared-streaming-p3", "misbehave-p3", "/answer/spinning", &["--reuse", "128x16"]),
    ("start-up", "misbehave-start", "/", &["--env", "AT_START=spin"]),
    ("start-up-p3", "misbehave-start-p3", "/", &["--env", "AT_START=spin"]),
];

/// A service's client that goes away while the guest loops: how long the guest had a sandbox after that.
pub(crate) fn after_its_client(http: &str, api: &str, service: &str, path: &str) -> Duration {
    let mut client = TcpStream::connect(http).expect("the load balancer listens");
    write!(client, "GET {path} HTTP/1.1\r\nhost: {service}.localhost\r\n\r\n").expect("it takes requests");
    let cpu_seconds = || gauge(api, "skiff_cpu_seconds_total", service);
    let before = cpu_seconds();
    // It loops once it has had more CPU time than anything else that it does could take.
    until("the guest loops", || cpu_seconds() > before + 0.02);
    drop(client);
    let left = Instant::now();
    until("the guest has ended", || gauge(api, "skiff_sandboxes", service) == 0.0);
    left.elapsed()
}

/// A request that takes longer than it may: how long after its timeout its client was told.
pub(crate) fn after_its_timeout(http: &str, service: &str, path: &str, timeout: Duration) -> Duration {
    let mut client = TcpStream::connect(http).expect("the load balancer listens");
    client.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let asked = Instant::now();
    write!(client, "GET {path} HTTP/1.1\r\nhost: {service}.localhost\r\nconnection: close\r\n\r\n")
        .expect("it takes requests");
    let mut answer = Vec::new();
    // Whole or broken off, the answer has come to its end.
    let _ = client.read_to_end(&mut answer);
    assert!(!answer.is_empty(), "{service}{path} was not answered at all");
    asked.elapsed().checked_sub(timeout).expect("not cut before its time")
}

/// A program that is stopped: from the call of the API to when it has no sandbox any more.
pub(crate) fn after_its_stop(api: &str, token: &str, task: &str) -> Duration {
    let url = format!("http://{api}/v1/namespaces/default/tasks/{task}");
    let bearer = format!("Bearer {token}");
    let show = || -> serde_json::Value {
        let answer = ureq::get(&url).header("authorization", &bearer).call().expect("the API answers");
        answer.into_body().read_json().expect("JSON")
    };
    until("the program loops", || show()["usage"]["cpu_seconds"].as_f64().is_some_and(|used| used > 0.02));
    let asked = Instant::now();
    let stop = ureq::post(format!("{url}/stop")).header("authorization", &bearer);
    stop.send_json(serde_json::json!({})).expect("the API stops it");
    until("the program has ended", || show()["usage"]["sandboxes"] == 0);
    asked.elapsed()
}

fn until(what: &str, condition: impl Fn() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < PATIENCE, "waited {PATIENCE:?} in vain until {what}");
    }
}

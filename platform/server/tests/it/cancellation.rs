//! Cancellation is complete: a client that goes away, a timeout and a stop each end a guest in an endless loop, wherever it
//! loops, and its place is free again.
//!
//! Within milliseconds, as `cargo xtask bench adversary` measures; here it must only be because of what ended it, long
//! before anything else would have.

mod ended;

use crate::gauges::{self, AT_REST_AT_ZERO, gauge};
use crate::harness::{Platform, eventually, guest_path};
use ended::{PLACES, after_its_client, after_its_stop, after_its_timeout};
use std::time::Duration;

/// How long an end may take to come about here. Nothing else would end these guests for a minute.
const LATENCY_MAX: Duration = Duration::from_secs(5);

/// All that a service had is free.
fn all_is_given_back(platform: &Platform, service: &str) {
    eventually(&format!("all is given back by {service}"), || {
        AT_REST_AT_ZERO.iter().all(|metric| gauge(&platform.api, metric, service) == 0.0).then_some(())
    });
}

#[test]
fn a_client_that_goes_away_ends_its_guest() {
    let platform = Platform::start(&["--workers", "1"]);
    for (name, component, path, arguments) in PLACES {
        platform.deploy(component, name, &[&["--timeout", "60s"], arguments].concat());
        let took = after_its_client(&platform.http, &platform.api, name, path);
        assert!(took < LATENCY_MAX, "{name}: {took:?}");
        all_is_given_back(&platform, name);
    }
}

#[test]
fn a_timeout_ends_its_guest() {
    let platform = Platform::start(&["--workers", "1"]);
    for (name, component, path, arguments) in PLACES {
        platform.deploy(component, name, &[&["--timeout", "500ms"], arguments].concat());
        let took = after_its_timeout(&platform.http, name, path, Duration::from_millis(500));
        assert!(took < LATENCY_MAX, "{name}: {took:?}");
        all_is_given_back(&platform, name);
        assert_eq!(gauge(&platform.api, "skiff_timeouts_total", name), 1.0, "{name}");
    }
}

#[test]
fn a_stop_ends_a_program() {
    let platform = Platform::start(&["--workers", "1"]);
    for guest in ["misbehave-job", "job-p3"] {
        let path = guest_path(guest);
        let task = platform.ok(&["run", path.to_str().unwrap(), "--detach", "--", "spin"]).trim().to_owned();
        let took = after_its_stop(&platform.api, &platform.token, &task);
        assert!(took < LATENCY_MAX, "{guest}: {took:?}");
        let stopped = eventually("it has stopped", || {
            Some(platform.json(&["task", "show", &task])).filter(|task| task["status"] == "STOPPED")
        });
        assert_eq!(stopped["stop_code"], "UserInitiated", "{guest}");
    }
}

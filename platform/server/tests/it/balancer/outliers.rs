//! Targets that answer worse than the others of their group: where targets are drawn by weight, one that errs often has fewer
//! requests (ELBv2's anomaly mitigation); one that answers far slower is left out for a while, whatever the algorithm. Both have
//! their share again once they answer as the others do.

use super::health::targets;
use super::load::Load;
use super::outside::Outside;
use super::{Answer, ask, rule};
use crate::gauges::sum;
use crate::harness::{Platform, eventually};
use serde_json::Value;
use std::time::Duration;

const HOST: &str = "legacy.example.com";
const GROUP: &str = "legacy";
/// Why somebody is unhealthy who is left out.
const EJECTED: &str = "Skiff.Ejected";
/// How long the slow one takes: many times what the others do, however busy the machine is.
const DELAY: Duration = Duration::from_secs(1);
/// Clients that ask all the time, so that it answers often enough to be judged.
const CLIENTS: usize = 8;

/// A group of three servers outside, the first of which answers worse at times.
struct Three {
    platform: Platform,
    servers: [Outside; 3],
}

impl Three {
    fn start(algorithm: &str) -> Self {
        let platform = Platform::start(&["--workers", "2"]);
        let servers = ["one", "two", "three"].map(Outside::start);
        let hosts = servers.each_ref().map(Outside::target).join(",");
        platform.ok(&["target-group", "create", GROUP, "--outside", &hosts, "--algorithm", algorithm]);
        rule(&platform, GROUP, "10", &format!("host={HOST}"), &["--forward", GROUP]);
        Self { platform, servers }
    }

    fn bad(&self) -> &Outside {
        &self.servers[0]
    }

    /// How many of so many requests were sent to each; nothing if one of them was not answered well.
    fn asked(&self, requests: usize) -> Option<[usize; 3]> {
        let sent = || self.servers.each_ref().map(Outside::requests);
        let before = sent();
        let answer = |_| ask(&self.platform.http, "/", &[("host", HOST)]).unwrap();
        let answers: Vec<Answer> = (0..requests).map(answer).collect();
        let mut counts = sent();
        counts.iter_mut().zip(before).for_each(|(count, before)| *count -= before);
        println!("{counts:?} of {requests}");
        for answer in &answers {
            let is_answered_for = answer.status == 200 || answer.header("x-from").is_empty();
            assert!(is_answered_for, "another answers for who errs: {answer:?}");
        }
        answers.iter().all(|answer| answer.status == 200).then_some(counts)
    }

    /// Waits until so many requests are spread so that each has half of an even share at least.
    fn are_asked_alike(&self, requests: usize) {
        eventually("all are asked", || {
            let counts = self.asked(requests)?;
            counts.iter().all(|count| *count >= requests / 6).then_some(())
        });
    }

    /// What is shown of the one that answers worse.
    fn state(&self) -> Value {
        let name = self.bad().target();
        let all = targets(&self.platform, GROUP);
        all.into_iter().find(|target| target["target"] == *name).expect("it is one of the group's")
    }
}

fn is_left_out(target: &Value) -> bool {
    target["reason"] == EJECTED
}

#[test]
fn a_target_that_errs_has_fewer_requests_as_long_as_it_does() {
    const REQUESTS: usize = 300;
    let three = Three::start("weighted-random");
    let shown = three.platform.json(&["target-group", "show", GROUP]);
    assert_eq!(shown["algorithm"], "weighted-random", "{shown}");
    let shown = three.platform.ok(&["target-group", "show", GROUP]);
    let says = |line: &str| line.split_whitespace().eq(["Algorithm", "weighted-random"]);
    assert!(shown.lines().any(says), "{shown}");
    three.are_asked_alike(REQUESTS);

    three.bad().errs(true);
    eventually("it has a quarter of an even share at most, and is not left out for that", || {
        let [of_bad, ..] = three.asked(REQUESTS)?;
        (of_bad <= REQUESTS / 12 && !is_left_out(&three.state())).then_some(())
    });
    // Else nobody would see that it answers well again.
    eventually("it has some all the same", || (three.asked(REQUESTS)?[0] > 0).then_some(()));
    three.bad().errs(false);
    three.are_asked_alike(REQUESTS);
}

#[test]
fn a_target_that_is_far_slower_is_left_out_for_a_while() {
    const REQUESTS: usize = 30;
    let three = Three::start("round-robin");
    let platform = &three.platform;
    three.are_asked_alike(REQUESTS);

    three.bad().takes(DELAY);
    let load = Load::start(&platform.http, HOST, "/", CLIENTS);
    let state = eventually("it is left out", || Some(three.state()).filter(is_left_out));
    let told = load.end();
    assert!(told.answered > 0 && told.others.is_empty(), "nobody is answered otherwise for that: {told:?}");
    assert_eq!(state["status"], "unhealthy", "{state}");
    let of_group = |metric: &str| format!("{metric}{{namespace=\"default\",target_group=\"{GROUP}\"");
    eventually("it is counted", || {
        (sum(&platform.api, &of_group("skiff_target_group_ejections_total")) >= 1.0).then_some(())
    });
    eventually("it is shown to people and to metrics", || {
        let table = platform.ok(&["target-group", "targets", GROUP]);
        let line = table.lines().find(|line| line.starts_with(&three.bad().target()))?;
        let unhealthy = of_group("skiff_target_group_hosts") + ",state=\"unhealthy\"}";
        (line.contains(EJECTED) && sum(&platform.api, &unhealthy) == 1.0).then_some(())
    });
    eventually("the others alone are asked", || (three.asked(REQUESTS)?[0] == 0).then_some(()));

    three.bad().takes(Duration::ZERO);
    three.are_asked_alike(REQUESTS);
    eventually("it is shown as the others are", || (!is_left_out(&three.state())).then_some(()));
}

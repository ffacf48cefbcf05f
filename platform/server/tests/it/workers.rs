//! Workers die: what was in flight in them fails, all else goes on.

use crate::harness::{Platform, eventually, guest_path, signal};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

/// How often a worker is killed under load.
const KILLS: usize = 20;
/// Connections that wait while no worker accepts.
const WAITING: usize = 16;

#[tokio::test(flavor = "multi_thread")]
async fn only_what_is_in_flight_in_a_killed_worker_fails() {
    let platform = Platform::start(&[]);
    platform.deploy("misbehave", "app", &["--cpu", "2048", "--desired", "2"]);
    let (stop, good, failed) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    // Each client has one connection and one request at a time, so a kill can fail at most one of each.
    const CLIENTS: u64 = 8;
    let client = async || {
        let client = reqwest::Client::builder().pool_max_idle_per_host(1).build().unwrap();
        while !stop.load(Relaxed) {
            match platform.get_with(&client, "app", "/count").await {
                Ok(answer) => {
                    assert_eq!(answer.status, 200, "{}", answer.text);
                    good.fetch_add(1, Relaxed);
                }
                Err(_) => drop(failed.fetch_add(1, Relaxed)),
            }
        }
    };
    let kills = async {
        for round in 0..KILLS {
            let before = platform.workers();
            let served = good.load(Relaxed);
            signal(before[round % 2], "KILL");
            let replaced = || {
                let now = platform.workers();
                (now[round % 2] != 0 && now[round % 2] != before[round % 2]).then_some(now)
            };
            let now = tokio::task::block_in_place(|| eventually("the worker is replaced", replaced));
            assert_eq!(now[1 - round % 2], before[1 - round % 2], "the other worker lives on");
            while good.load(Relaxed) < served + 50 {
                tokio::task::yield_now().await;
            }
        }
        stop.store(true, Relaxed);
    };
    tokio::join!(futures::future::join_all((0..CLIENTS).map(|_| client())), kills);
    let failed = failed.load(Relaxed);
    assert!(failed <= KILLS as u64 * CLIENTS, "{failed} requests failed");
    let status = platform.json(&["status"]);
    let restarts: u64 =
        status["workers"].as_array().unwrap().iter().map(|w| w["restarts"].as_u64().unwrap()).sum();
    assert_eq!(restarts, KILLS as u64);
    let in_flight = "skiff_requests_in_flight{namespace=\"default\",service=\"app\"}";
    while platform.metric(in_flight).await > 0.0 {
        tokio::task::yield_now().await;
    }
}

/// How many connections wait to be accepted from a listening socket.
fn waiting_connections(address: &str) -> usize {
    let port: u16 = address.rsplit(':').next().unwrap().parse().unwrap();
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let listening = table.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let is_ours = fields[1].ends_with(&format!(":{port:04X}")) && fields[3] == "0A";
        is_ours.then(|| usize::from_str_radix(fields[4].split_once(':').unwrap().1, 16).unwrap())
    });
    listening.expect("the load balancer listens")
}

#[tokio::test]
async fn a_connection_that_waits_to_be_accepted_outlives_every_worker() {
    let platform = Platform::start(&[]);
    platform.deploy("misbehave", "app", &[]);
    let workers = platform.workers();
    // Stopped workers accept nothing: the connections wait with the supervisor's socket.
    workers.iter().for_each(|pid| signal(*pid, "STOP"));
    let waiting = futures::future::join_all((0..WAITING).map(|_| platform.try_get("app", "/count")));
    let killed = async {
        // The kernel counts the connections that wait for a listening socket (`rx_queue`, Documentation/networking/proc_net_tcp.rst).
        while waiting_connections(&platform.http) < WAITING {
            tokio::task::yield_now().await;
        }
        workers.iter().for_each(|pid| signal(*pid, "KILL"));
    };
    let (answers, ()) = tokio::join!(waiting, killed);
    for answer in answers {
        assert_eq!(answer.expect("no connection is lost").status, 200);
    }
}

#[test]
fn a_command_task_ends_with_its_worker_and_a_service_starts_it_again() {
    let platform = Platform::start(&[]);
    let path = guest_path("misbehave-job");
    let path = path.to_str().unwrap();
    let id = platform.ok(&["run", path, "--detach", "--", "spin"]).trim().to_owned();
    let task = |id: &str| platform.json(&["task", "show", id]);
    eventually("it runs", || (task(&id)["status"] == "RUNNING").then_some(()));
    platform.workers().into_iter().for_each(|pid| signal(pid, "KILL"));
    let stopped = eventually("it has stopped", || Some(task(&id)).filter(|task| task["status"] == "STOPPED"));
    assert_eq!(stopped["stop_code"], "WorkerLost", "{stopped}");
}

#[test]
fn a_worker_that_hangs_is_replaced() {
    let platform = Platform::start(&[]);
    let before = platform.workers();
    signal(before[0], "STOP");
    eventually("the stopped worker is replaced", || {
        let now = platform.workers();
        (now[0] != 0 && now[0] != before[0]).then_some(())
    });
}

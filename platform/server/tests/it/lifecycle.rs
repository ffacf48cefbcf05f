//! `skiff up` itself: ready, private, alone on its data folder, drained in order, without orphans.

use crate::harness::{Platform, eventually, guest_path, lives, signal, skiff, up};
use procfs::process::all_processes;
use serde_json::Value;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use std::time::Duration;

#[test]
fn says_where_everything_is_and_keeps_it_private() {
    let platform = Platform::start(&[]);
    let ready: Value =
        serde_json::from_slice(&std::fs::read(platform.dir().join("ready.json")).unwrap()).unwrap();
    let token_file = ready["token_file"].as_str().unwrap();
    let mode = |path: &std::path::Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(token_file.as_ref()), 0o600);
    assert_eq!(mode(&platform.data_dir()), 0o700);
    assert_eq!(ready["data_dir"], platform.data_dir().canonicalize().unwrap().to_str().unwrap());
    assert!(ready["http"].as_str().unwrap().starts_with("127.0.0.1:"));
    // The CLI finds it by itself, by the file in the user's configuration folder.
    let output =
        skiff().arg("status").env("HOME", platform.dir()).env_remove("XDG_CONFIG_HOME").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_second_platform_on_the_same_folder_is_refused() {
    let platform = Platform::start(&[]);
    let output = up(platform.dir()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("another `skiff up` runs on the data folder"), "{stderr}");
}

#[test]
fn refuses_an_api_beyond_loopback_without_being_told() {
    let dir = tempfile::tempdir().unwrap();
    let output = skiff()
        .args(["up", "--http", "127.0.0.1:0", "--api", "0.0.0.0:0", "--data-dir"])
        .arg(dir.path().join("data"))
        .env("HOME", dir.path())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("--insecure"), "{stderr}");
}

#[tokio::test]
async fn a_drain_finishes_what_is_in_flight_and_takes_no_more() {
    let mut platform = Platform::start(&[]);
    platform.deploy("misbehave", "app", &[]);
    let slow = platform.try_get("app", "/sleep?ms=1500");
    let drained = async {
        // The request is in flight once the task says so.
        while platform.metric("skiff_requests_in_flight{namespace=\"default\",service=\"app\"}").await < 1.0 {
        }
        platform.terminate();
        while platform.try_get("app", "/count").await.is_ok_and(|answer| answer.status == 200) {}
    };
    let (slow, ()) = tokio::join!(slow, drained);
    assert_eq!(slow.unwrap().status, 200, "the request that was in flight was answered");
    assert_eq!(platform.wait().code(), Some(0));
}

#[tokio::test]
async fn control_c_in_a_terminal_cuts_nothing_that_is_in_flight() {
    let mut platform = Platform::start_in_group();
    platform.deploy("misbehave", "app", &[]);
    let slow = platform.try_get("app", "/drip?chunks=3&ms=500");
    let interrupted = async {
        while platform.metric("skiff_requests_in_flight{namespace=\"default\",service=\"app\"}").await < 1.0 {
        }
        platform.interrupt_group();
    };
    let (slow, ()) = tokio::join!(slow, interrupted);
    let slow = slow.expect("the request that was in flight was answered to its end");
    assert_eq!((slow.status, slow.text.as_str()), (200, "chunk 0\nchunk 1\nchunk 2\n"));
    assert_eq!(platform.wait().code(), Some(0));
    let log = platform.log();
    assert!(log.contains("finishing what is in flight"), "{log}");
    for complaint in ["lost touch with a worker", "not all that was in flight ended"] {
        assert!(!log.contains(complaint), "{log}");
    }
}

#[tokio::test]
async fn a_drain_finishes_what_waits_for_native_code() {
    let mut platform = Platform::start(&[]);
    platform.deploy("misbehave", "app", &[]);
    // Lost, so that the first request waits for a compiler; which is held until the workers drain.
    for file in std::fs::read_dir(platform.data_dir().join("cache/native")).unwrap() {
        std::fs::remove_file(file.unwrap().path()).unwrap();
    }
    let cold = platform.try_get("app", "/count");
    let drained = async {
        let compiler = loop {
            match compiler_of(platform.pid()) {
                Some(pid) => break pid,
                None => tokio::task::yield_now().await,
            }
        };
        signal(compiler, "STOP");
        platform.terminate();
        // A connection that was made just before may never be accepted.
        let answered = || tokio::time::timeout(Duration::from_secs(1), platform.try_get("nobody", "/"));
        while answered().await.is_ok_and(|answer| answer.is_ok()) {}
        signal(compiler, "CONT");
    };
    let (cold, ()) = tokio::join!(cold, drained);
    let cold = cold.unwrap();
    assert_eq!(cold.status, 200, "the request that waited for its code was answered: {}", cold.text);
    assert_eq!(platform.wait().code(), Some(0));
}

/// The process that compiles for a supervisor, if one does.
fn compiler_of(supervisor: u32) -> Option<u32> {
    let processes = all_processes().unwrap().flatten();
    let mut compilers = processes.filter(|process| {
        process.stat().is_ok_and(|stat| stat.ppid == supervisor as i32)
            && process.cmdline().is_ok_and(|words| words.get(1).is_some_and(|word| word == "compile"))
    });
    compilers.next().map(|process| process.pid as u32)
}

#[test]
fn a_drain_waits_for_programs_that_run_once() {
    let mut platform = Platform::start(&[]);
    let job = guest_path("misbehave-job");
    let id =
        platform.ok(&["run", job.to_str().unwrap(), "--detach", "--", "sleep", "1500"]).trim().to_owned();
    let task = |platform: &Platform| platform.json(&["task", "show", &id]);
    eventually("it runs", || (task(&platform)["status"] == "RUNNING").then_some(()));
    platform.terminate();
    assert_eq!(platform.wait().code(), Some(0));
    let platform = platform.restart();
    let ended =
        eventually("it has stopped", || Some(task(&platform)).filter(|task| task["status"] == "STOPPED"));
    assert_eq!(ended["exit_code"], 0, "{ended}");
}

#[tokio::test]
async fn a_drain_has_an_end() {
    let mut platform = Platform::start(&["--drain-timeout", "300ms"]);
    platform.deploy("misbehave", "app", &[]);
    let stuck = platform.try_get("app", "/sleep?ms=60000");
    let ended = async {
        while platform.metric("skiff_requests_in_flight{namespace=\"default\",service=\"app\"}").await < 1.0 {
        }
        platform.terminate();
    };
    let (stuck, ()) = tokio::join!(stuck, ended);
    assert!(stuck.is_err() || stuck.unwrap().status >= 500);
    assert_eq!(platform.wait().code(), Some(0));
}

#[test]
fn a_killed_supervisor_leaves_no_orphans() {
    let mut platform = Platform::start(&[]);
    let workers = platform.workers();
    assert_eq!(workers.len(), 2);
    assert!(workers.iter().all(|pid| lives(*pid)));
    platform.kill();
    for pid in workers {
        eventually("the workers are gone", || (!lives(pid)).then_some(()));
    }
}

#[test]
fn a_worker_is_not_started_by_hand() {
    let output = skiff().args(["worker", "--supervisor", "1"]).stdin(Stdio::null()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("`skiff up` alone"));
}

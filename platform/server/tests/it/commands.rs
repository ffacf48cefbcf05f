//! `command` tasks: one-off and in services.

use crate::harness::{Platform, eventually, guest_path};

#[test]
fn a_one_off_task_gives_its_output_and_its_exit_code() {
    let platform = Platform::start(&[]);
    for guest in ["misbehave-job", "job-p3"] {
        let path = guest_path(guest);
        let path = path.to_str().unwrap();
        let output = platform.run(&["run", path, "--", "exit", "7"]);
        assert_eq!(output.status.code(), Some(7), "{guest}: {}", String::from_utf8_lossy(&output.stderr));
        let output = platform.run(&["run", path, "--", "print", "3"]);
        assert_eq!(output.status.code(), Some(0));
        assert_eq!(String::from_utf8_lossy(&output.stdout).lines().count(), 3, "{guest}");
        let output = platform.run(&["run", path, "--", "stderr", "oh"]);
        assert!(String::from_utf8_lossy(&output.stderr).contains("oh"), "{guest}");
        assert!(!String::from_utf8_lossy(&output.stdout).contains("oh"), "{guest}");
    }
}

#[test]
fn stdin_is_closed_and_the_environment_is_given() {
    let platform = Platform::start(&[]);
    let path = guest_path("misbehave-job");
    let path = path.to_str().unwrap();
    assert!(platform.run(&["run", path, "--", "stdin"]).status.success());
    let said = platform.ok(&["run", path, "--env", "COLOUR=blue", "--", "env", "COLOUR"]);
    assert!(said.contains("blue"), "{said}");
}

#[test]
fn a_task_that_traps_or_takes_too_much_memory_says_so() {
    let platform = Platform::start(&[]);
    let path = guest_path("misbehave-job");
    let path = path.to_str().unwrap();
    let output = platform.run(&["run", path, "--", "trap"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).to_lowercase().contains("trap"));
    let output = platform.run(&["run", path, "--memory", "16MiB", "--", "allocate", "64"]);
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(stderr.contains("memory"), "{stderr}");
}

#[test]
fn a_detached_task_runs_is_stopped_and_remembered() {
    let platform = Platform::start(&[]);
    let path = guest_path("misbehave-job");
    let id = platform.ok(&["run", path.to_str().unwrap(), "--detach", "--", "spin"]);
    let id = id.trim();
    let status = |wanted: &str| {
        let task = platform.json(&["task", "show", id]);
        (task["status"] == wanted).then_some(task)
    };
    eventually("the task runs", || status("RUNNING"));
    platform.ok(&["task", "stop", id]);
    let task = eventually("the task has stopped", || status("STOPPED"));
    assert_eq!(task["stop_code"], "UserInitiated");
}

#[test]
fn a_service_of_commands_starts_again_what_ends() {
    let platform = Platform::start(&[]);
    let path = guest_path("misbehave-job");
    // Without arguments the job ends at once, with a failure.
    let output = platform.run(&["deploy", path.to_str().unwrap(), "--name", "daemon", "--no-wait"]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && stderr.contains("to run it once: `skiff run "), "{stderr}");
    let restarts = || {
        let service = platform.json(&["service", "show", "daemon"]);
        service["status"]["restarts"].as_u64().filter(|restarts| *restarts >= 2)
    };
    eventually("it was started again, twice", restarts);
}

#[test]
fn logs_are_kept_by_service_and_by_task() {
    let platform = Platform::start(&[]);
    let path = guest_path("misbehave-job");
    platform.ok(&["run", path.to_str().unwrap(), "--", "print", "5"]);
    let family = "misbehave-job";
    assert_eq!(platform.ok(&["logs", family]).lines().count(), 5);
    assert_eq!(platform.ok(&["logs", family, "--tail", "2"]).lines().count(), 2);
}

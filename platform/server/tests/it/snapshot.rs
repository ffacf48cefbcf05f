//! Snapshot start from outside: deployed by the CLI, through restarts and lost files, and what is refused.

use crate::harness::{PATIENCE, Platform, guest_path};
use std::path::PathBuf;
use std::time::{Instant, SystemTime};

/// The kept native code, each file with when it was written.
fn native(platform: &Platform) -> Vec<(PathBuf, SystemTime)> {
    let files = std::fs::read_dir(platform.data_dir().join("cache/native")).unwrap();
    let mut files: Vec<_> = files
        .map(|file| file.unwrap().path())
        .map(|path| (path.clone(), path.metadata().unwrap().modified().unwrap()))
        .collect();
    files.sort();
    files
}

async fn eventually_answers(platform: &Platform, path: &str, wanted: &str) {
    let started = Instant::now();
    loop {
        let answer = platform.get("app", path).await;
        if (answer.status, answer.text.as_str()) == (200, wanted) {
            return;
        }
        assert!(started.elapsed() < PATIENCE, "{path}: {} {}", answer.status, answer.text);
    }
}

#[tokio::test]
async fn a_snapshot_outlives_a_restart_and_the_loss_of_its_native_code() {
    let mut platform = Platform::start(&[]);
    platform.deploy("snapshot", "app", &["--snapshot", "--env", "COLOUR=green"]);
    let definition = platform.json(&["taskdef", "show", "app"]);
    assert_eq!(definition["snapshot"], true);
    assert_eq!(definition["initialization"]["output"], "INFO snapshot: initialising: \"\"\n");
    assert!(platform.ok(&["taskdef", "show", "app"]).contains("its initialisation took"));
    eventually_answers(&platform, "/initialized", "1").await;
    assert_eq!(platform.get("app", "/square?of=12").await.text, "Some(144)");
    assert_eq!(platform.get("app", "/env?name=COLOUR").await.text, "Ok(\"green\")");

    let kept = native(&platform);
    platform.kill();
    let mut platform = platform.restart();
    eventually_answers(&platform, "/initialized", "1").await;
    assert_eq!(native(&platform), kept, "a restart does not initialise again");

    platform.kill();
    for (path, _) in &kept {
        std::fs::remove_file(path).unwrap();
    }
    let platform = platform.restart();
    eventually_answers(&platform, "/initialized", "1").await;
    assert_eq!(native(&platform).len(), 1);
}

#[tokio::test]
async fn two_sandboxes_of_one_snapshot_differ() {
    let platform = Platform::start(&[]);
    platform.deploy("snapshot", "app", &["--snapshot"]);
    for path in ["/random", "/keys"] {
        let (one, two) = (platform.get("app", path).await, platform.get("app", path).await);
        assert_eq!((one.status, two.status), (200, 200), "{} {}", one.text, two.text);
        assert_ne!(one.text, two.text, "{path}");
    }
}

#[tokio::test]
async fn revisions_with_and_without_a_snapshot_stand_side_by_side() {
    let platform = Platform::start(&[]);
    platform.deploy("snapshot", "app", &["--snapshot"]);
    eventually_answers(&platform, "/initialized", "1").await;
    platform.deploy("snapshot", "app", &["--snapshot=false"]);
    eventually_answers(&platform, "/initialized", "0").await;
    platform.deploy("snapshot", "app", &["--snapshot", "--env", "COLOUR=red"]);
    eventually_answers(&platform, "/env?name=COLOUR", "Ok(\"red\")").await;
    assert_eq!(native(&platform).len(), 3, "two snapshots and the component as it was pushed");
    platform.ok(&["rollback", "app"]);
    eventually_answers(&platform, "/initialized", "0").await;
}

#[test]
fn what_can_not_be_snapshotted_is_refused_at_deploy() {
    let platform = Platform::start(&[]);
    let deploy = |guest: &str, environment: &str| {
        let path = guest_path(guest);
        let path = path.to_str().unwrap();
        platform.fails(&["deploy", path, "--name", "app", "--snapshot", "--env", environment])
    };
    let said = deploy("hello", "A=b");
    assert!(said.contains("exports no function wizer-initialize"), "{said}");
    let said = deploy("snapshot", "INITIALIZE=panic");
    assert!(said.contains("its initialisation failed") && said.contains("asked to panic"), "{said}");
    assert!(platform.json(&["service", "ls"]).as_array().unwrap().is_empty());
}

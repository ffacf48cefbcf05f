//! Counts that move by themselves: tasks come with the load and leave when it is gone, none of its requests fails, and what was
//! said of it outlives the platform.

use crate::harness::{PATIENCE, Platform, eventually, within};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

/// How long a load that is gone is still counted, and more than twice the shortest calm after it.
const CALM: Duration = Duration::from_secs(240);

fn desired(platform: &Platform, name: &str) -> u64 {
    platform.json(&["service", "show", name])["spec"]["desired"].as_u64().unwrap()
}

fn running(platform: &Platform, name: &str) -> u64 {
    platform.json(&["service", "show", name])["status"]["running"].as_u64().unwrap()
}

/// What moved a service's count, oldest first, as before and after.
fn history(platform: &Platform, name: &str) -> Vec<(u64, u64)> {
    let changes = platform.json(&["scaling", "history", name]);
    let count = |change: &serde_json::Value, key: &str| change[key].as_u64().unwrap();
    let changes = changes.as_array().unwrap().iter().rev();
    changes.map(|change| (count(change, "before"), count(change, "after"))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn load_comes_and_tasks_follow_and_leave_when_it_is_gone() {
    let platform = Arc::new(Platform::start(&[]));
    platform.deploy("misbehave", "web", &[]);
    // 5 requests a second for each task.
    let target = "load:RequestCountPerTarget=300,scale-in-cooldown=1s,scale-out-cooldown=1s";
    let shown = platform.ok(&["scaling", "put", "web", "--min", "1", "--max", "4", "--target", target]);
    assert!(shown.contains("1 to 4 tasks") && shown.contains("RequestCountPerTarget=300"), "{shown}");

    let (goes_on, failed) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicUsize::new(0)));
    let clients: Vec<_> = (0..8)
        .map(|_| {
            let (platform, goes_on, failed) = (platform.clone(), goes_on.clone(), failed.clone());
            tokio::spawn(async move {
                let client = reqwest::Client::builder().timeout(PATIENCE).build().unwrap();
                while goes_on.load(Relaxed) {
                    // Each asks some ten times a second.
                    let answer = platform.get_with(&client, "web", "/sleep?ms=100").await;
                    let is_answered = answer.is_ok_and(|answer| answer.status == 200);
                    failed.fetch_add(usize::from(!is_answered), Relaxed);
                }
            })
        })
        .collect();
    eventually("it has as many tasks as it may have", || {
        (desired(&platform, "web") == 4 && running(&platform, "web") == 4).then_some(())
    });
    goes_on.store(false, Relaxed);
    for client in clients {
        client.await.unwrap();
    }
    assert_eq!(failed.load(Relaxed), 0, "a request failed while tasks came");
    let shown = platform.ok(&["service", "show", "web"]);
    assert!(shown.contains("1 to 4 tasks; from ") && shown.contains("(policy load)"), "{shown}");

    within(CALM, || (desired(&platform, "web") == 1 && running(&platform, "web") == 1).then_some(()))
        .expect("the tasks leave when the load is gone");
    let history = history(&platform, "web");
    assert_eq!((history[0].0, history.last().unwrap().1), (1, 1), "{history:?}");
    let events = platform.ok(&["events", "--type", "scaling"]);
    assert!(events.contains("scaled from "), "{events}");
}

#[test]
fn what_was_said_outlives_the_platform_and_bounds_what_is_said_by_hand() {
    let mut platform = Platform::start(&[]);
    platform.deploy("misbehave", "web", &["--desired", "2"]);
    let refused = platform.fails(&["scaling", "put", "web", "--min", "0", "--max", "4"]);
    assert!(refused.contains("--scale-to-zero"), "{refused}");
    let day = "day=cron(0 8 ? * MON-FRI *),min=4";
    platform.ok(&["scaling", "put", "web", "--min", "3", "--max", "5", "--schedule", day]);
    platform.kill();
    let platform = platform.restart();
    eventually("it has its fewest tasks", || {
        (desired(&platform, "web") >= 3 && running(&platform, "web") >= 3).then_some(())
    });
    let scaled = platform.run(&["scale", "web", "9"]);
    let said = String::from_utf8_lossy(&scaled.stderr).into_owned();
    assert!(scaled.status.success() && said.contains("9 is beyond the bounds of its scaling"), "{said}");
    assert_eq!(desired(&platform, "web"), 5);
    platform.deploy("misbehave", "web", &["--desired", "1"]);
    assert_eq!(desired(&platform, "web"), 5, "a deploy keeps the count");

    let exported = platform.ok(&["export"]);
    assert!(exported.contains("kind: scaling"), "{exported}");
    let file = platform.dir().join("all.yaml");
    std::fs::write(&file, exported).unwrap();
    let again = platform.run(&["apply", "-f", file.to_str().unwrap(), "--dry-run", "--exit-code"]);
    let shown = String::from_utf8_lossy(&again.stdout).into_owned();
    assert!(again.status.success() && shown.contains("scaling default/web"), "{shown}");

    platform.ok(&["scaling", "rm", "web"]);
    assert!(platform.fails(&["scaling", "show", "web"]).contains("`skiff scale web`"));
    platform.ok(&["scale", "web", "1"]);
    assert_eq!(desired(&platform, "web"), 1);
}

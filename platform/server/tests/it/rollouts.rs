//! Rolling updates of a live service: no request fails while one goes on, fails, is halted or given up, by hand or by an alarm; and
//! one that is under way when the platform is killed ends all the same.
//!
//! The service `app` is `misbehave`, which answers with the colour of its revision. A revision that fails is of
//! `misbehave-start`, which traps before it can answer anything: the checks of the service's target group notice.

use crate::balancer::load::Load;
use crate::harness::{PATIENCE, Platform, eventually, guest_path};
use reqwest::RequestBuilder;
use serde_json::{Value, json};
use std::time::Duration;

/// Where `app` says which revision answers.
const COLOUR: &str = "/env?name=COLOUR";
/// How many tasks it has.
const DESIRED: u64 = 4;
/// Minimum and maximum percent of what is tried: ECS's own, and those of its pictures.
const BOUNDS: [(u16, u16); 3] = [(100, 200), (50, 100), (100, 150)];

/// Deploys a revision of `app` that answers with this colour, and waits until it is stable.
fn deploy(platform: &Platform, colour: &str, more: &[&str]) {
    let environment = format!("COLOUR={colour}");
    let arguments = ["--cpu", "1024", "--desired", "4", "--env", &environment];
    platform.deploy("misbehave", "app", &[&arguments[..], more].concat());
}

/// The command that deploys one that traps.
fn deploy_trapping<'a>(component: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["deploy", component, "--name", "app", "--cpu", "1024", "--env", "AT_START=trap"][..], more].concat()
}

/// Has the tasks of `app` be checked every second, and waits until they are known to be healthy.
fn check(platform: &Platform) {
    let create = ["target-group", "create", "app", "--service", "app", "--health-check", "/"];
    let check = ["--health-interval", "1s", "--health-timeout", "900ms", "--unhealthy", "2"];
    platform.ok(&[&create[..], &check].concat());
    are_healthy(platform);
}

/// Waits until all tasks are known to be healthy: as long as none is, those that fail are asked as well.
fn are_healthy(platform: &Platform) {
    eventually("all tasks are healthy", || {
        let tasks = platform.json(&["task", "ls", "--service", "app", "--status", "RUNNING"]);
        let tasks = tasks.as_array().unwrap();
        let healthy = tasks.iter().filter(|task| task["health"] == "HEALTHY").count() as u64;
        (healthy == DESIRED).then_some(())
    });
}

/// Clients of `app`, half of which always have a request on its way.
fn clients(platform: &Platform) -> [Load; 2] {
    [COLOUR, "/sleep?ms=100"].map(|path| Load::start(&platform.http, "app.localhost", path, 4))
}

/// Every one of their requests was answered, and there were some.
fn were_served(clients: [Load; 2]) {
    for told in clients.map(Load::end) {
        assert!(told.answered > 0 && told.refused == 0 && told.others.is_empty(), "{told:?}");
    }
}

/// How far the deployment of `app` is.
fn rollout(platform: &Platform) -> Value {
    platform.json(&["rollout", "status", "app"])
}

/// Waits until it is so far; what is shown then.
#[track_caller]
fn is_so_far(platform: &Platform, what: &str, is: impl Fn(&Value) -> bool) -> Value {
    let mut last = Value::Null;
    eventually(what, || {
        let rollout = rollout(platform);
        // So that a test that waits in vain shows what it got.
        if last != rollout {
            println!("{rollout}");
            last = rollout;
        }
        is(&last).then(|| last.clone())
    })
}

/// Whether all tasks are of one revision, and serve.
fn is_done(rollout: &Value) -> bool {
    rollout["state"] == "COMPLETED" && rollout["running"] == DESIRED && rollout["replaced"] == 0
}

/// Whether it went back to its first revision from its second.
fn is_back(rollout: &Value) -> bool {
    is_done(rollout) && rollout["definition"] == "app:1" && rollout["rolled_back_from"] == "app:2"
}

/// Who answers.
async fn colour(platform: &Platform) -> String {
    let answer = platform.get("app", COLOUR).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.text.trim().to_owned()
}

#[tokio::test]
async fn no_request_fails_while_revisions_and_counts_change() {
    let platform = Platform::start(&[]);
    deploy(&platform, "white", &[]);
    let clients = clients(&platform);
    for (at, (least, most)) in BOUNDS.into_iter().enumerate() {
        let [least, most] = [least, most].map(|percent| percent.to_string());
        let revision = format!("revision-{at}");
        deploy(&platform, &revision, &["--min-healthy", &least, "--max-percent", &most]);
        assert_eq!(colour(&platform).await, revision);
        let rollout = rollout(&platform);
        assert!(is_done(&rollout) && rollout["definition"] == format!("app:{}", at + 2), "{rollout}");
    }
    for (count, running) in [("8", 8), ("1", 1), ("4", 4)] {
        platform.ok(&["scale", "app", count]);
        assert_eq!(rollout(&platform)["running"], running);
    }
    platform.ok(&["rollback", "app"]);
    assert_eq!(colour(&platform).await, "revision-1");
    were_served(clients);
}

#[tokio::test]
async fn no_request_fails_by_a_revision_that_does() {
    let platform = Platform::start(&[]);
    deploy(&platform, "white", &[]);
    check(&platform);
    let component = guest_path("misbehave-start");
    let component = component.to_str().unwrap();
    let clients = clients(&platform);

    let said = platform.fails(&deploy_trapping(component, &[]));
    assert!(said.contains("the deployment of app:2 failed, and app is back at app:1"), "{said}");
    let rollout = rollout(&platform);
    assert!(is_back(&rollout) && rollout["message"].is_string(), "{rollout}");
    let service = platform.json(&["service", "show", "app"]);
    assert_eq!(service["spec"]["definition"], "app:2", "what its user said is as it was");
    let told = service["status"]["events"].to_string();
    assert!(told.contains("rolling back from app:2 to app:1"), "{told}");

    let said = platform.fails(&deploy_trapping(component, &["--circuit-breaker", "stop"]));
    assert!(said.contains("failed") && !said.contains("back at"), "{said}");
    let stopped = is_so_far(&platform, "it has stopped", |rollout| rollout["state"] == "FAILED");
    assert_eq!(stopped["replaced"], DESIRED, "those that serve are left alone: {stopped}");
    platform.ok(&["rollout", "abort", "app"]);
    is_so_far(&platform, "it is given up by hand", |rollout| {
        is_done(rollout) && rollout["definition"] == "app:1" && rollout["rolled_back_from"].is_string()
    });
    assert_eq!(colour(&platform).await, "white");
    were_served(clients);
}

/// Makes the alarm `deep`, of the deepest queue of a second.
fn watch(platform: &Platform) {
    let condition = ["--at-least", "100", "--statistic", "Maximum", "--period", "1s", "--missing", "ignore"];
    platform.ok(&[&["alarm", "put", "deep", "queue/depth"], &condition[..]].concat());
}

/// Puts values of the metric until the alarm is in this state.
fn drive_to(platform: &Platform, depth: &str, state: &str) {
    eventually(&format!("the alarm is {state}"), || {
        platform.ok(&["metrics", "put", "queue/depth", depth]);
        (platform.json(&["alarm", "show", "deep"])["status"]["state"] == state).then_some(())
    });
}

/// It is rolled back, says that the alarm is why, and the service has all its tasks.
fn was_rolled_back_by_the_alarm(platform: &Platform, from: &str) {
    let rollout = is_so_far(platform, "the alarm has it rolled back", |rollout| {
        is_done(rollout) && rollout["definition"] == "app:1" && rollout["rolled_back_from"] == *from
    });
    assert_eq!(rollout["message"], "the alarm deep is in ALARM", "{rollout}");
    let service = platform.json(&["service", "show", "app"]);
    assert_eq!(service["spec"]["desired"], DESIRED, "{service}");
    let told = service["status"]["events"].to_string();
    for said in [
        format!("the deployment of {from} failed: the alarm deep is in ALARM"),
        format!("rolling back from {from} to app:1"),
    ] {
        assert!(told.contains(&said), "{said:?} in {told}");
    }
}

#[tokio::test]
async fn an_alarm_rolls_back_what_is_under_way_and_no_request_fails() {
    let platform = Platform::start(&[]);
    deploy(&platform, "white", &[]);
    check(&platform);
    watch(&platform);
    drive_to(&platform, "5", "OK");
    let clients = clients(&platform);

    // All is well with its tasks, but for what the alarm sees.
    let component = guest_path("misbehave");
    let blue =
        ["deploy", component.to_str().unwrap(), "--name", "app", "--cpu", "1024", "--env", "COLOUR=blue"];
    let canary = ["--strategy", "canary", "--canary-percent", "50", "--canary-bake", "1h"];
    let watched = ["--deployment-alarm", "deep", "--no-wait"];
    platform.ok(&[&blue[..], &canary, &watched].concat());
    is_so_far(&platform, "its tasks serve", |rollout| {
        rollout["state"] == "IN_PROGRESS" && rollout["running"] == DESIRED
    });
    drive_to(&platform, "250", "ALARM");
    was_rolled_back_by_the_alarm(&platform, "app:2");
    assert_eq!(colour(&platform).await, "white");

    // Its tasks fail, of which nothing follows here but by the alarm.
    drive_to(&platform, "5", "OK");
    are_healthy(&platform);
    let component = guest_path("misbehave-start");
    let rolling = ["--strategy", "rolling", "--circuit-breaker", "off"];
    platform.ok(&deploy_trapping(component.to_str().unwrap(), &[&rolling[..], &watched].concat()));
    is_so_far(&platform, "its tasks fail", |rollout| rollout["failed_tasks"].as_u64() > Some(0));
    drive_to(&platform, "250", "ALARM");
    was_rolled_back_by_the_alarm(&platform, "app:3");
    assert_eq!(colour(&platform).await, "white");
    were_served(clients);
}

#[tokio::test]
async fn what_is_halted_stays_so_over_a_kill_until_it_is_resumed_or_given_up() {
    let mut platform = Platform::start(&[]);
    deploy(&platform, "white", &[]);
    check(&platform);
    let asking = clients(&platform);
    let component = guest_path("misbehave-start");
    let without_end = ["--circuit-breaker", "off", "--no-wait"];
    platform.ok(&deploy_trapping(component.to_str().unwrap(), &without_end));
    is_so_far(&platform, "its tasks fail", |rollout| rollout["failed_tasks"].as_u64() > Some(0));
    platform.ok(&["rollout", "pause", "app"]);
    let has_none =
        |rollout: &Value| rollout["paused"] == true && rollout["running"] == 0 && rollout["pending"] == 0;
    is_so_far(&platform, "none of it is started any more", has_none);
    were_served(asking);

    platform.kill();
    let platform = platform.restart();
    is_so_far(&platform, "it is still halted", |rollout| {
        has_none(rollout) && rollout["replaced"] == DESIRED && rollout["state"] == "IN_PROGRESS"
    });
    are_healthy(&platform);
    let asking = clients(&platform);
    platform.ok(&["rollout", "resume", "app"]);
    is_so_far(&platform, "it goes on", |rollout| {
        rollout["paused"] == false && (rollout["pending"] != 0 || rollout["running"] != 0)
    });
    platform.ok(&["rollout", "abort", "app"]);
    is_so_far(&platform, "it is given up", is_back);
    assert_eq!(colour(&platform).await, "white");
    let said = platform.fails(&["rollout", "pause", "app"]);
    assert!(said.contains("no deployment of default/app is under way"), "{said}");
    were_served(asking);
}

/// Calls of the API that answer as soon as the store has what they change: at once after that the platform is killed.
impl Platform {
    fn request(&self, method: reqwest::Method, path: &str) -> RequestBuilder {
        let url = format!("http://{}/v1/namespaces/default/{path}", self.api);
        reqwest::Client::new().request(method, url).bearer_auth(&self.token).timeout(PATIENCE)
    }

    /// Pushes a guest under a tag of `app`.
    async fn push(&self, guest: &str, tag: &str) {
        let component = std::fs::read(guest_path(guest)).unwrap();
        let path = format!("images/app:{tag}");
        done(self.request(reqwest::Method::PUT, &path).body(component)).await;
    }

    /// Registers the next revision of `app`; its id.
    async fn register(&self, tag: &str, environment: Value) -> String {
        let body = json!({ "family": "app", "image": format!("app:{tag}"), "environment": environment });
        let definition = done(self.request(reqwest::Method::POST, "task-definitions").json(&body)).await;
        definition["id"].as_str().expect("a definition has an id").to_owned()
    }

    /// Puts `app` on a revision.
    async fn goes_to(&self, definition: &str, (least, most): (u16, u16)) {
        let deployment = json!({ "min_healthy_percent": least, "max_percent": most });
        let body = json!({ "definition": definition, "desired": DESIRED, "deployment": deployment });
        done(self.request(reqwest::Method::PUT, "services/app").json(&body)).await;
    }

    /// Asks `app` without end.
    async fn keep_asking(&self) {
        loop {
            colour(self).await;
        }
    }

    /// Is asked for so long, and killed in the midst of it; the same platform, started again.
    async fn killed_after(mut self, time: Duration) -> Self {
        let asked = tokio::time::timeout(time, self.keep_asking()).await;
        asked.expect_err("it asks until then");
        self.kill();
        self.restart()
    }
}

async fn done(request: RequestBuilder) -> Value {
    let response = request.send().await.unwrap();
    let (status, text) = (response.status(), response.text().await.unwrap());
    assert!(status.is_success(), "{status}: {text}");
    serde_json::from_str(&text).unwrap()
}

#[tokio::test]
async fn whenever_the_platform_is_killed_a_rolling_update_ends() {
    let mut platform = Platform::start(&[]);
    platform.push("misbehave", "good").await;
    let mut number = 0;
    for bounds in BOUNDS {
        for after_us in [0, 300, 1_000, 3_000, 10_000, 30_000, 100_000] {
            number += 1;
            let colour = format!("revision-{number}");
            let definition = platform.register("good", json!({ "COLOUR": colour })).await;
            platform.goes_to(&definition, bounds).await;
            if number == 1 {
                // The first has nothing to take the place of.
                is_so_far(&platform, "the first serves", is_done);
            }
            platform = platform.killed_after(Duration::from_micros(after_us)).await;
            let what = format!("{definition} at {bounds:?} is deployed, killed after {after_us} us");
            is_so_far(&platform, &what, |rollout| is_done(rollout) && rollout["definition"] == *definition);
            assert_eq!(self::colour(&platform).await, colour, "{what}");
        }
    }
}

#[tokio::test]
async fn whenever_the_platform_is_killed_a_revision_that_fails_is_rolled_back() {
    let mut platform = Platform::start(&[]);
    for (guest, tag) in [("misbehave", "good"), ("misbehave-start", "bad")] {
        platform.push(guest, tag).await;
    }
    let good = platform.register("good", json!({ "COLOUR": "white" })).await;
    platform.goes_to(&good, BOUNDS[0]).await;
    is_so_far(&platform, "the first serves", is_done);
    check(&platform);
    for after_ms in [0, 800, 1_600, 2_400] {
        are_healthy(&platform);
        let bad = platform.register("bad", json!({ "AT_START": "trap" })).await;
        platform.goes_to(&bad, BOUNDS[0]).await;
        platform = platform.killed_after(Duration::from_millis(after_ms)).await;
        let what = format!("{bad} is rolled back, killed after {after_ms} ms");
        is_so_far(&platform, &what, |rollout| {
            is_done(rollout) && rollout["definition"] == *good && rollout["rolled_back_from"] == *bad
        });
        assert_eq!(colour(&platform).await, "white", "{what}");
    }
}

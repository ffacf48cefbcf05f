//! Revisions that come by weight on a live platform: no request fails while it moves, one that is given up has no request any
//! more at once, and a kill changes nothing of where it is.

use crate::balancer::load::Load;
use crate::harness::{Platform, eventually};
use serde_json::Value;

const COLOUR: &str = "/env?name=COLOUR";
const TEST_HOST: &str = "green.app.localhost";

fn deploy(platform: &Platform, colour: &str, more: &[&str]) {
    let environment = format!("COLOUR={colour}");
    let arguments = ["--cpu", "1024", "--desired", "2", "--test-host", TEST_HOST, "--env", &environment];
    platform.deploy("misbehave", "app", &[&arguments[..], more].concat());
}

#[track_caller]
fn is_so_far(platform: &Platform, what: &str, is: impl Fn(&Value) -> bool) -> Value {
    eventually(what, || {
        let rollout = platform.json(&["rollout", "status", "app"]);
        is(&rollout).then_some(rollout)
    })
}

/// Which colours answer so many requests of a host.
async fn colours(platform: &Platform, host: &str, requests: usize) -> Vec<String> {
    let client = reqwest::Client::new();
    let mut colours = Vec::new();
    for _ in 0..requests {
        let request = client.get(format!("http://{}{COLOUR}", platform.http)).header("host", host);
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 200);
        colours.push(answer.text().await.unwrap().trim().to_owned());
    }
    colours
}

#[tokio::test]
async fn no_request_fails_while_weight_moves_and_a_test_host_leads_to_what_comes() {
    let mut platform = Platform::start(&[]);
    deploy(&platform, "white", &[]);
    let load = Load::start(&platform.http, "app.localhost", COLOUR, 4);
    let linear = ["--strategy", "linear", "--step-percent", "50", "--step-bake", "500ms", "--bake", "500ms"];
    deploy(&platform, "grey", &linear);
    let rollout = platform.json(&["rollout", "status", "app"]);
    assert!(rollout["state"] == "COMPLETED" && rollout["definition"] == "app:2", "{rollout}");
    assert!(colours(&platform, "app.localhost", 20).await.iter().all(|colour| colour == "grey"));

    let canary = ["--strategy", "canary", "--canary-percent", "50", "--canary-bake", "1h", "--no-wait"];
    deploy(&platform, "black", &canary);
    let rollout = is_so_far(&platform, "half goes there", |rollout| rollout["shift"]["percent"] == 50);
    assert!(rollout["shift"]["next_at_ms"].is_u64(), "{rollout}");
    let seen = colours(&platform, "app.localhost", 100).await;
    assert!(["grey", "black"].iter().all(|colour| seen.iter().any(|other| other == colour)), "{seen:?}");
    assert!(colours(&platform, TEST_HOST, 20).await.iter().all(|colour| colour == "black"));
    let told = load.end();
    assert!(told.answered > 0 && told.refused == 0 && told.others.is_empty(), "{told:?}");

    platform.kill();
    let platform = platform.restart();
    is_so_far(&platform, "it is where it was", |after| after["shift"] == rollout["shift"]);
    eventually("both sides serve again", || {
        let service = platform.json(&["service", "show", "app"]);
        (service["status"]["ready"] == 4).then_some(())
    });

    let load = Load::start(&platform.http, "app.localhost", COLOUR, 4);
    platform.ok(&["rollout", "abort", "app"]);
    is_so_far(&platform, "it is back", |rollout| {
        let went_back = rollout["definition"] == "app:2" && rollout["rolled_back_from"] == "app:3";
        rollout["state"] == "COMPLETED" && went_back
    });
    assert!(colours(&platform, "app.localhost", 50).await.iter().all(|colour| colour == "grey"));
    let told = load.end();
    assert!(told.answered > 0 && told.refused == 0 && told.others.is_empty(), "{told:?}");
}

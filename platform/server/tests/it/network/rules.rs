//! Security groups: what no rule allows is denied, what is changed holds at once, also for what is open.

use super::{GUESTS, PORT, Server, remarked, run, run_detached, says, serve, servers};
use crate::harness::{Platform, eventually, guest_path};

const DENIED: &str = "failed: access-denied";
/// Of the clients.
const WEB: [&str; 2] = ["--security-group", "web"];
/// Of the servers.
const DB: [&str; 2] = ["--security-group", "db"];
/// What it takes on either side, so that they may talk.
const RULES: [[&str; 4]; 2] = [["web", "tcp:7000", "to", "db"], ["db", "tcp:7000", "from", "web"]];

/// A platform with two groups that allow nothing.
fn platform() -> Platform {
    let platform = Platform::start(&[]);
    for group in ["web", "db"] {
        platform.ok(&["sg", "create", group, "--no-rules"]);
    }
    platform
}

fn change(platform: &Platform, how: &str, rule: &[&str]) {
    platform.ok(&[&["sg", how], rule].concat());
}

/// The last that a client says of an attempt.
fn answer(platform: &Platform, client: &str, target: &str) -> String {
    run(platform, client, &WEB, &["send", target, "hello"]).pop().expect("it says something")
}

fn may_talk(platform: &Platform, client: &str, server: &Server) {
    eventually("they may talk", || (answer(platform, client, &server.target()) == "ended").then_some(()));
}

fn is_kept_out(platform: &Platform, client: &str, server: &Server) {
    eventually("nobody gets in", || (answer(platform, client, &server.target()) == DENIED).then_some(()));
}

#[test]
fn it_takes_a_rule_on_either_side_and_whoever_is_denied_is_told_which() {
    for client in GUESTS {
        let platform = platform();
        let servers = serve(&platform, "sockets", "echo", &format!("echo {PORT}"), &DB);
        for [group, what, way, peer] in RULES {
            let command = format!("skiff sg allow {group} \"{what} {way} {peer}\"");
            eventually(&format!("it is told: {command}"), || {
                for server in &servers {
                    assert_eq!(answer(&platform, client, &server.target()), DENIED);
                }
                remarked(&platform, client).iter().any(|line| line.contains(&command)).then_some(())
            });
            change(&platform, "allow", &[group, what, way, peer]);
        }
        servers.iter().for_each(|server| may_talk(&platform, client, server));
        // Another port takes another rule.
        let other = format!("{}:{}", servers[0].v4, PORT + 1);
        assert_eq!(answer(&platform, client, &other), DENIED);
    }
}

#[test]
fn a_rule_that_is_revoked_cuts_what_is_open_and_keeps_out_what_comes() {
    let platform = platform();
    for guest in GUESTS {
        let servers = serve(&platform, guest, &format!("{guest}-echo"), &format!("echo {PORT}"), &DB);
        // Either side is enough.
        for revoked in &RULES {
            RULES.iter().for_each(|rule| change(&platform, "allow", rule));
            let stay = |client: &str, server: &Server| {
                may_talk(&platform, client, server);
                run_detached(&platform, client, &WEB, &["stay", &server.target(), "hello"])
            };
            let pairs = GUESTS.iter().flat_map(|client| servers.iter().map(move |server| (*client, server)));
            let staying: Vec<String> = pairs.map(|(client, server)| stay(client, server)).collect();
            staying.iter().for_each(|client| _ = says(&platform, client, "answered"));
            change(&platform, "revoke", revoked);
            staying.iter().for_each(|client| _ = says(&platform, client, "broke: "));
            for (client, server) in GUESTS.iter().zip(&servers) {
                is_kept_out(&platform, client, server);
            }
        }
    }
}

#[test]
fn a_service_is_put_into_another_group_while_it_runs() {
    let platform = platform();
    platform.ok(&["sg", "create", "closed", "--no-rules"]);
    for group in ["closed", "default"] {
        let refused = platform.fails(&["sg", "create", group, "--rule", "all from self"]);
        assert!(refused.contains(&format!("`skiff sg allow {group} RULE` adds one")), "{refused}");
    }
    platform.ok(&["sg", "create", "closed"]);
    assert_eq!(platform.json(&["sg", "show", "closed"])["rules"], serde_json::json!([]));
    RULES.iter().for_each(|rule| change(&platform, "allow", rule));
    let script = format!("echo {PORT}");
    let before = serve(&platform, "sockets", "echo", &script, &DB);
    let stay = |client: &str, target: &str| run_detached(&platform, client, &WEB, &["stay", target, "hello"]);
    let staying: Vec<String> =
        GUESTS.iter().zip(&before).map(|(client, server)| stay(client, &server.target())).collect();
    staying.iter().for_each(|client| _ = says(&platform, client, "answered"));
    let environment = format!("SCRIPT={script}");
    platform.deploy("sockets", "echo", &["--env", &environment, "--security-group", "closed"]);
    staying.iter().for_each(|client| _ = says(&platform, client, "broke: "));
    let ids = |servers: &[Server]| servers.iter().map(|server| server.id.clone()).collect::<Vec<_>>();
    assert_eq!(ids(&servers(&platform, "echo")), ids(&before), "no task was replaced");
    let shown = platform.json(&["task", "show", &before[0].id]);
    assert_eq!(shown["security_groups"], serde_json::json!(["closed"]), "{shown}");
    for (client, server) in GUESTS.iter().zip(&before) {
        is_kept_out(&platform, client, server);
    }
}

#[test]
fn without_a_word_tasks_of_a_namespace_reach_each_other_and_nobody_elsewhere() {
    let platform = Platform::start(&[]);
    let servers = serve(&platform, "sockets", "echo", &format!("echo {PORT}"), &[]);
    for (client, server) in GUESTS.iter().zip(&servers) {
        let here = run(&platform, client, &[], &["send", &server.target(), "hello"]);
        assert_eq!(here.last().unwrap(), "ended", "{here:?}");
        let elsewhere =
            run(&platform, client, &["--namespace", "other"], &["send", &server.target(), "hello"]);
        assert_eq!(elsewhere, [DENIED]);
    }
}

#[test]
fn datagrams_obey_the_same_rules() {
    let platform = platform();
    let servers = serve(&platform, "sockets-p3", "echo", &format!("udp-echo {PORT}"), &DB);
    let ask = |client: &str, target: &str| {
        run(&platform, client, &WEB, &["udp", target, "hello", "1000"]).pop().expect("it says something")
    };
    for (client, server) in GUESTS.iter().zip(&servers) {
        assert_eq!(ask(client, &server.target()), DENIED);
    }
    // A rule for TCP is none for UDP.
    RULES.iter().for_each(|rule| change(&platform, "allow", rule));
    assert_eq!(ask(GUESTS[0], &servers[0].target()), DENIED);
    change(&platform, "allow", &["web", "udp:7000", "to", "db"]);
    change(&platform, "allow", &["db", "udp:7000", "from", "web"]);
    for (client, server) in GUESTS.iter().zip(&servers) {
        eventually("they may talk", || ask(client, &server.target()).starts_with("received").then_some(()));
    }
}

#[test]
fn groups_are_made_shown_and_removed_when_nothing_uses_them() {
    let platform = platform();
    let unknown = platform.fails(&[
        "run",
        guest_path("sockets").to_str().unwrap(),
        "--security-group",
        "nobodys",
        "--",
        "options",
    ]);
    assert!(unknown.contains("nobodys"), "{unknown}");
    change(&platform, "allow", &RULES[0]);
    let shown = platform.ok(&["sg", "show", "web"]);
    assert!(shown.contains("tcp:7000 to db"), "{shown}");
    let wrong = platform.run(&["sg", "allow", "web", "tcp:7000", "to", "the", "moon"]);
    assert!(!wrong.status.success() && String::from_utf8_lossy(&wrong.stderr).contains("a rule, like"));
    serve(&platform, "sockets", "echo", &format!("echo {PORT}"), &DB);
    let used = platform.fails(&["sg", "rm", "db"]);
    assert!(used.contains("db"), "{used}");
    let groups = platform.json(&["sg", "ls"]);
    let mut names: Vec<&str> =
        groups.as_array().unwrap().iter().map(|group| group["name"].as_str().unwrap()).collect();
    names.sort_unstable();
    assert_eq!(names, ["db", "default", "web"]);
    let db = groups.as_array().unwrap().iter().find(|group| group["name"] == "db").unwrap();
    assert_eq!((db["tasks"].as_u64(), db["rules"].as_array().map(Vec::len)), (Some(2), Some(0)), "{db}");
    platform.ok(&["rm", "echo"]);
    change(&platform, "revoke", &RULES[0]);
    eventually("the group is not used any more", || {
        platform.run(&["sg", "rm", "db"]).status.success().then_some(())
    });
    assert!(platform.fails(&["sg", "show", "db"]).contains("db"));
}

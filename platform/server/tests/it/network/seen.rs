//! What is seen of the network: explanations, the flow log, a task's interface, metrics.

use super::{GUESTS, PORT, run, run_detached, says, serve};
use crate::gauges::gauge;
use crate::harness::{Platform, eventually};
use serde_json::Value;

#[test]
fn an_explanation_says_what_is_missing_until_nothing_is() {
    let platform = Platform::start(&[]);
    for group in ["web", "db"] {
        platform.ok(&["sg", "create", group, "--no-rules"]);
    }
    let servers = serve(&platform, "sockets", "echo", &format!("echo {PORT}"), &["--security-group", "db"]);
    serve(&platform, "sockets-p3", "front", &format!("echo {PORT}"), &["--security-group", "web"]);
    let explain = |to: &str| platform.json(&["net", "explain", "front", &format!("{to}:{PORT}")]);
    let commands = |explanation: &Value| -> Vec<String> {
        let sides = explanation["sides"].as_array().unwrap().iter();
        sides.filter_map(|side| side["command"].as_str().map(str::to_owned)).collect()
    };
    let denied = explain("echo");
    assert_eq!(denied["allowed"], false, "{denied}");
    let missing = ["skiff sg allow web \"tcp:7000 to db\"", "skiff sg allow db \"tcp:7000 from web\""];
    assert_eq!(commands(&denied), missing, "{denied}");
    platform.ok(&["sg", "allow", "web", "tcp:7000 to db"]);
    eventually("the other half is missing", || (commands(&explain("echo")) == missing[1..]).then_some(()));
    platform.ok(&["sg", "allow", "db", "tcp:7000 from web"]);
    eventually("nothing is missing", || commands(&explain("echo")).is_empty().then_some(()));
    for to in ["echo", &servers[0].id, &servers[0].v4.to_string(), "echo.default.internal"] {
        let allowed = explain(to);
        assert_eq!(allowed["allowed"], true, "{to}: {allowed}");
    }
    let outside = explain("169.254.169.254");
    assert!(outside["allowed"] == false && outside["message"].as_str().unwrap().contains("169.254.0.0/16"));
    let text = platform.ok(&["net", "explain", "front", "echo:7000"]);
    assert!(text.contains("allowed") && text.contains("tcp:7000 to db"), "{text}");
    let back = platform.json(&["net", "explain", "echo", "front:7000"]);
    assert_eq!(back["allowed"], false, "{back}");
    assert!(platform.fails(&["net", "explain", "nobody", "echo:7000"]).contains("nobody"));
}

/// The records of the flow log that were asked for.
fn flows(platform: &Platform, arguments: &[&str]) -> Vec<Value> {
    let text = platform.ok(&[&["net", "flows", "--output", "json"], arguments].concat());
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn the_flow_log_has_both_sides_of_a_connection() {
    for workers in ["1", "2"] {
        let platform = Platform::start(&["--workers", workers]);
        let servers = serve(&platform, "sockets", "echo", &format!("echo {PORT}"), &[]);
        for server in &servers {
            for client in GUESTS {
                let said = run(&platform, client, &[], &["send", &server.target(), "hello"]);
                let local = said[0].strip_prefix("connected ").unwrap().split_once(' ').unwrap().0.to_owned();
                let of_client = eventually("the client's side is written down", || {
                    let all = flows(&platform, &[client]);
                    all.into_iter().find(|record| record["local"] == *local && record["open"] == false)
                });
                let of_server = eventually("the server's side is written down", || {
                    let all = flows(&platform, &["--task", &server.id]);
                    all.into_iter().find(|record| record["remote"] == *local && record["open"] == false)
                });
                for (record, direction) in [(&of_client, "egress"), (&of_server, "ingress")] {
                    assert_eq!(record["direction"], direction, "{record}");
                    assert_eq!(record["verdict"], "ACCEPT", "{record}");
                    let bytes = (record["sent_bytes"].as_u64(), record["received_bytes"].as_u64());
                    assert_eq!(bytes, (Some(5), Some(5)), "{record}");
                }
                assert_eq!(of_client["remote"], *server.target(), "{of_client}");
                assert!(of_client["peer"].as_str().unwrap().contains(&server.id), "{of_client}");
                assert_eq!(of_server["owner"], "default/echo", "{of_server}");
            }
        }
        assert_eq!(flows(&platform, &["--rejected"]), Vec::<Value>::new());
        assert_eq!(flows(&platform, &["--tail", "1"]).len(), 1);
        let text = platform.ok(&["net", "flows", "echo"]);
        assert!(text.lines().all(|line| line.contains(" ACCEPT tcp echo ")), "{text}");
    }
}

#[test]
fn a_task_shows_what_it_listens_on_and_who_is_connected() {
    let platform = Platform::start(&[]);
    let servers = serve(&platform, "sockets-p3", "echo", &format!("echo {PORT}"), &[]);
    for (client, server) in GUESTS.iter().zip(&servers) {
        let id = run_detached(&platform, client, &[], &["stay", &server.target(), "hello"]);
        says(&platform, &id, "answered");
        let shown = platform.json(&["task", "show", &server.id]);
        assert_eq!(shown["security_groups"], serde_json::json!(["default"]), "{shown}");
        let network = &shown["network"];
        assert_eq!(
            network["listening"],
            serde_json::json!([{ "transport": "tcp", "port": PORT }]),
            "{shown}"
        );
        assert_eq!(network["connection_count"], 1, "{shown}");
        assert_eq!(network["connections"][0]["received_bytes"], 5, "{shown}");
        let own = platform.json(&["task", "show", &id]);
        assert_eq!(own["network"]["connections"][0]["remote"], *server.target(), "{own}");
        let text = platform.ok(&["task", "show", &server.id]);
        assert!(text.contains("tcp:7000") && text.contains(&server.v4.to_string()), "{text}");
    }
}

#[test]
fn connections_and_bytes_are_counted_by_service() {
    let platform = Platform::start(&[]);
    let servers = serve(&platform, "sockets", "echo", &format!("echo {PORT}"), &[]);
    for (client, server) in GUESTS.iter().zip(&servers) {
        let said = run(&platform, client, &[], &["send", &server.target(), "hello"]);
        assert_eq!(said.last().unwrap(), "ended", "{said:?}");
    }
    let count = |metric: &str| gauge(&platform.api, &format!("skiff_network_{metric}"), "echo");
    eventually("all of it is counted", || {
        let counted = [
            "connections_total",
            "received_bytes_total",
            "sent_bytes_total",
            "connections_open",
            "denied_total",
        ]
        .map(count);
        (counted == [2.0, 10.0, 10.0, 0.0, 0.0]).then_some(())
    });
}

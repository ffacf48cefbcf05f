//! What stands in the way of a change, and what it leaves behind: listeners whose port another program has, addresses that
//! leave a group while they have requests, names that would mean two things.

use super::{deploy_named, free_port, has_status, rule};
use crate::harness::{Platform, eventually};
use serde_json::Value;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::mpsc;

const ANYBODY: &str = "anybody.example.com";

/// A port that another program has, until that is dropped.
fn taken() -> (TcpListener, u16) {
    let other = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = other.local_addr().unwrap().port();
    (other, port)
}

fn local(port: u16) -> String {
    format!("127.0.0.1:{port}")
}

#[test]
fn a_listener_that_can_not_move_stays_where_it_is_until_it_can() {
    let platform = Platform::start(&[]);
    let (old, (other, new)) = (free_port(), taken());
    let create = |port: u16| {
        let port = port.to_string();
        platform.ok(&["listener", "create", "web", "--port", &port, "--redirect", "/at/#{port}"])
    };
    let is_at = |port: u16| {
        let answer = has_status(&local(port), ANYBODY, "/", 301);
        assert!(answer.header("location").contains(&format!("/at/{port}")), "{answer:?}");
    };
    create(old);
    is_at(old);
    let said = create(new);
    let problem = format!("still reached at the port {old} alone: can't listen at {}", local(new));
    assert!(said.contains(&problem), "{said}");
    is_at(old);
    drop(other);
    is_at(new);
    eventually("it has left", || TcpStream::connect((Ipv4Addr::LOCALHOST, old)).err());
    let shown = platform.json(&["listener", "show", "web"]);
    assert_eq!((shown.get("problem"), &shown["port"]), (None, &new.into()), "{shown}");
}

#[test]
fn who_applies_a_document_is_told_of_a_listener_that_nobody_reaches() {
    let platform = Platform::start(&[]);
    let (other, port) = taken();
    let file = platform.dir().join("all.yaml");
    let text = format!("- kind: listener\n  name: web\n  spec: {{ protocol: http, port: {port} }}\n");
    std::fs::write(&file, text).unwrap();
    let apply = ["apply", "-f", file.to_str().unwrap()];
    let error = platform.fails(&apply);
    let problem = format!("listener web: nobody reaches it: can't listen at {}", local(port));
    assert!(error.contains("created listener web") && error.contains(&problem), "{error}");
    drop(other);
    has_status(&local(port), ANYBODY, "/", 404);
    platform.ok(&apply);
}

#[test]
fn a_start_says_that_nobody_reaches_https() {
    let (_other, port) = taken();
    let platform = Platform::start(&["--tls", "dev", "--tls-port", &port.to_string()]);
    let problem = format!("listener https has a problem: nobody reaches it: can't listen at {}", local(port));
    assert!(platform.log().contains(&problem), "{}", platform.log());
}

/// A server outside that answers once it is told to: where it is, and what tells it.
fn slow() -> (String, mpsc::Sender<()>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let target = listener.local_addr().unwrap().to_string();
    let (go_on, told) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") && reader.read_line(&mut head).unwrap() > 0 {}
            let _ = told.recv();
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        }
    });
    (target, go_on)
}

#[test]
fn an_address_that_leaves_is_draining_for_as_long_as_it_has_a_request() {
    let platform = Platform::start(&[]);
    let ((slow, go_on), other) = (slow(), local(free_port()));
    let create = |target: &str| platform.ok(&["target-group", "create", "legacy", "--outside", target]);
    // Of one of the group's targets: its state, why, and how many requests it has.
    let state = |of: &str| -> Option<(Value, Value, Value)> {
        let targets = platform.json(&["target-group", "targets", "legacy"]);
        let target = targets.as_array().unwrap().iter().find(|target| target["target"] == of)?.clone();
        Some((target["status"].clone(), target["reason"].clone(), target["outstanding"].clone()))
    };
    create(&slow);
    rule(&platform, "legacy", "10", "host=legacy.example.com", &["--forward", "legacy"]);
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| has_status(&platform.http, "legacy.example.com", "/", 200));
        eventually("it has the request", || state(&slow).filter(|(_, _, outstanding)| *outstanding == 1));
        create(&other);
        let draining: (Value, Value, Value) =
            ("draining".into(), "Target.DeregistrationInProgress".into(), 1.into());
        eventually("it is draining", || state(&slow).filter(|state| *state == draining));
        assert!(state(&other).is_some_and(|(status, ..)| status == "unavailable"));
        go_on.send(()).unwrap();
        asking.join().unwrap();
    });
    eventually("it is done", || state(&slow).is_none().then_some(()));
    assert!(state(&other).is_some());
}

#[test]
fn a_name_is_that_of_a_service_or_of_a_group_of_other_targets() {
    let platform = Platform::start(&[]);
    deploy_named(&platform, "app");
    deploy_named(&platform, "two");
    for other in [["--service", "two"], ["--outside", "192.0.2.7:80"]] {
        let error = platform.fails(&[&["target-group", "create", "app"][..], &other].concat());
        assert!(error.contains("default/app is a service, and its tasks are meant"), "{error}");
    }
    let file = platform.dir().join("all.yaml");
    let text = "- kind: target-group\n  name: app\n  spec: { targets: { service: two } }\n";
    std::fs::write(&file, text).unwrap();
    let error = platform.fails(&["apply", "-f", file.to_str().unwrap()]);
    assert!(
        error.contains("all.yaml:1: target-group default/app: the service default/app has its name"),
        "{error}"
    );

    platform.ok(&["target-group", "create", "old", "--outside", "192.0.2.7:80"]);
    let component = platform.component("misbehave");
    let error = platform.fails(&["deploy", component.to_str().unwrap(), "--name", "old"]);
    assert!(error.contains("default/old is a target group of other targets"), "{error}");
}

#[test]
fn how_long_a_services_tasks_may_take_to_leave_is_what_was_said() {
    let platform = Platform::start(&[]);
    deploy_named(&platform, "app");
    let delay = |more: &[&str]| {
        platform.ok(&[&["target-group", "create", "app", "--service", "app"][..], more].concat());
        platform.json(&["target-group", "show", "app"])["deregistration_delay"].clone()
    };
    assert_eq!(delay(&[]), Value::Null, "their definition says it");
    assert_eq!(delay(&["--deregistration-delay", "5m"]), "5m");
    assert_eq!(delay(&["--stickiness", "1h"]), "5m");
    assert_eq!(delay(&["--no-deregistration-delay"]), Value::Null);
}

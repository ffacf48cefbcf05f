//! Internal listeners: tasks reach them by name, over the virtual network, as far as their rules let them; nobody else does.

use super::{ask, deploy_named, free_port, rule};
use crate::harness::{Platform, eventually, guest_path};
use serde_json::Value;
use std::net::{Ipv4Addr, TcpStream};

/// Waits until a guest that fetches a URL says something of what came that holds all of these; what it says.
fn fetches(platform: &Platform, guest: &str, url: &str, wanted: &[&str]) -> String {
    let host = format!("{guest}.localhost");
    let mut last = String::new();
    eventually(&format!("{guest} gets {wanted:?} from {url}"), || {
        let answer = ask(&platform.http, "/fetch", &[("host", &host), ("x-url", url)]).ok()?;
        // So that a test that waits in vain shows what it got.
        if last != answer.text {
            last.clone_from(&answer.text);
            println!("{guest} {url}: {last}");
        }
        let is_all_there = wanted.iter().all(|part| answer.text.contains(part));
        (answer.status == 200 && is_all_there).then_some(answer.text)
    })
}

/// Makes an internal listener.
fn create(platform: &Platform, name: &str, port: u16, more: &[&str]) {
    let port = port.to_string();
    platform.ok(&[&["listener", "create", name, "--port", &port, "--internal"], more].concat());
}

/// What was denied to a service's tasks.
fn rejected(platform: &Platform, service: &str) -> Vec<Value> {
    let text = platform.ok(&["net", "flows", service, "--rejected", "--output", "json"]);
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_task_reaches_another_service_by_a_path_of_an_internal_listener() {
    for workers in ["1", "2"] {
        let platform = Platform::start(&["--workers", workers]);
        deploy_named(&platform, "stock");
        let port = free_port();
        let url = |path: &str| format!("http://api.listener.internal:{port}{path}");
        create(&platform, "api", port, &["--no-services"]);
        rule(&platform, "stock", "10", "path=/env,/headers", &["--listener", "api", "--forward", "stock"]);
        for guest in ["fetch", "fetch-p3"] {
            platform.deploy(guest, guest, &[]);
            fetches(&platform, guest, &url("/env?name=WHO"), &["status 200", "\nstock"]);
            let told = fetches(&platform, guest, &url("/headers"), &["status 200"]);
            let own = told.lines().find_map(|line| line.strip_prefix("x-forwarded-for: "));
            assert!(own.is_some_and(|own| own.starts_with("10.64.")), "{told}");
            assert!(told.contains(&format!("x-forwarded-port: {port}")), "{told}");
            // Who calls is not said by the load balancer's word.
            assert!(!told.contains("skiff-caller"), "{told}");
            fetches(&platform, guest, &url("/else"), &["status 404"]);
        }
        assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err(), "it has a port of the host");
        for command in [&["listener", "ls"][..], &["listener", "show", "api"]] {
            let shown = platform.ok(command);
            assert!(shown.contains("api.listener.internal"), "{shown}");
        }
        platform.ok(&["rule", "rm", "stock"]);
        platform.ok(&["listener", "rm", "api"]);
        fetches(&platform, "fetch", &url("/env?name=WHO"), &["error", "NXDOMAIN"]);
    }
}

#[test]
fn who_has_no_rule_for_the_platform_is_kept_from_an_internal_listener() {
    let platform = Platform::start(&[]);
    let port = free_port();
    let url = format!("http://api.listener.internal:{port}/");
    create(&platform, "api", port, &["--respond", "418"]);
    platform.ok(&["sg", "create", "closed", "--rule", "all from load-balancer"]);
    platform.deploy("fetch", "kept", &["--security-group", "closed"]);
    fetches(&platform, "kept", &url, &["HttpRequestDenied"]);
    let record = eventually("it is in the flow log", || {
        rejected(&platform, "kept").into_iter().find(|record| record["peer"] == "listener api")
    });
    assert!(record["remote"].as_str().unwrap().ends_with(&format!(":{port}")), "{record}");
    let explain = || platform.json(&["net", "explain", "kept", &format!("api.listener.internal:{port}")]);
    let (missing, explanation) = (format!("tcp:{port} to platform"), explain());
    assert_eq!(explanation["allowed"], false, "{explanation}");
    assert_eq!(explanation["sides"][0]["command"], format!("skiff sg allow closed \"{missing}\""));
    platform.ok(&["sg", "allow", "closed", &missing]);
    fetches(&platform, "kept", &url, &["status 418"]);
    assert_eq!(explain()["allowed"], true);
    // It is one as long as it is not public.
    platform.ok(&["listener", "create", "api", "--public"]);
    fetches(&platform, "kept", &url, &["NXDOMAIN"]);
    let at = format!("127.0.0.1:{port}");
    eventually("all reach it", || ask(&at, "/", &[]).ok().filter(|answer| answer.status == 418));
}

#[test]
fn an_internal_listener_of_tcp_leads_to_a_daemon() {
    let platform = Platform::start(&[]);
    let port = free_port();
    platform.deploy("sockets", "echo", &["--env", "SCRIPT=echo 7000", "--port", "7000"]);
    create(&platform, "echo", port, &["--protocol", "tcp", "--forward", "echo"]);
    let target = format!("echo.listener.internal:{port}");
    for guest in ["sockets", "sockets-p3"] {
        let path = guest_path(guest);
        eventually(&format!("{guest} reaches it"), || {
            let output = platform.run(&["run", path.to_str().unwrap(), "--", "send", &target, "hello"]);
            let said = String::from_utf8(output.stdout).unwrap();
            said.contains("received \"hello\"").then_some(())
        });
    }
}

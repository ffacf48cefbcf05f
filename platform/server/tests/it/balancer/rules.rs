//! What rules do: each action, each kind of condition, their order; and what explains them.

use super::{HELLO, answers, ask, deploy_named, has_status, is_answered_by, rule};
use crate::harness::{Platform, eventually};

/// How many requests a service has had.
fn requests(platform: &Platform, service: &str) -> u64 {
    platform.json(&["service", "show", service])["status"]["requests"].as_u64().unwrap()
}

#[test]
fn each_action_does_what_it_says_and_services_have_the_rest() {
    let platform = Platform::start(&[]);
    for name in ["hello", "hello-two"] {
        platform.deploy("hello", name, &[]);
    }
    let at = platform.http.clone();
    rule(&platform, "two", "10", "path=/two/*", &["--forward", "hello-two"]);
    let redirect = ["--redirect", "https://new.example.com:8443/#{path}?#{query}", "--status", "302"];
    rule(&platform, "moved", "20", "host=old.example.com", &redirect);
    let respond = ["--respond", "403", "--body", "<p>not you", "--content-type", "text/html"];
    rule(&platform, "closed", "5", "header:x-blocked=yes", &respond);

    has_status(&at, "anybody.example.com", "/two/x", 200);
    let (before, others) = (requests(&platform, "hello-two"), requests(&platform, "hello"));
    for host in ["hello.localhost", "anybody.example.com", "old.example.com"] {
        let answer = ask(&at, "/two/x", &[("host", host)]).unwrap();
        assert_eq!((answer.status, answer.text.as_str()), (200, HELLO), "{host}");
        assert!(!answer.header("x-request-id").is_empty(), "{answer:?}");
    }
    eventually("they are counted", || (requests(&platform, "hello-two") >= before + 3).then_some(()));
    assert_eq!(requests(&platform, "hello"), others, "not one of them was another service's");

    let moved = has_status(&at, "old.example.com", "/a/b?c=d", 302);
    assert_eq!(moved.header("location"), "https://new.example.com:8443/a/b?c=d");
    let closed = eventually("the third rule holds", || {
        let headers = [("host", "hello.localhost"), ("x-blocked", "YES")];
        ask(&at, "/two/x", &headers).ok().filter(|answer| answer.status == 403)
    });
    assert_eq!(closed.text, "<p>not you");
    assert!(closed.header("content-type").starts_with("text/html"), "{closed:?}");
    let plain = ask(&at, "/", &[("host", "hello.localhost")]).unwrap();
    assert_eq!((plain.status, plain.text.as_str()), (200, HELLO), "the service's own host stays its own");

    rule(&platform, "two", "10", "path=/two/*", &["--respond", "410"]);
    has_status(&at, "anybody.example.com", "/two/x", 410);
    platform.ok(&["rule", "rm", "two", "moved", "closed"]);
    has_status(&at, "anybody.example.com", "/two/x", 404);
    has_status(&at, "old.example.com", "/a/b", 404);
    assert_eq!(platform.json(&["rule", "ls"]), serde_json::json!([]));
}

#[test]
fn a_request_is_the_first_rules_that_takes_it() {
    let platform = Platform::start(&[]);
    deploy_named(&platform, "first");
    deploy_named(&platform, "second");
    let at = &platform.http;
    // Each takes its own host alone; the last, all that there are.
    let conditions = [
        ("by-host", "10", "host=a.example.com,*.example.org"),
        ("by-path", "20", "path=/env*"),
        ("by-rest", "30", "path=*"),
    ];
    for (name, priority, condition) in conditions {
        let action = if name == "by-path" { "second" } else { "first" };
        let both = ["--if", "method=GET,HEAD", "--forward", action];
        rule(&platform, name, priority, condition, &both);
    }
    is_answered_by(at, "deep.example.org", "first");
    is_answered_by(at, "A.EXAMPLE.com:80", "first");
    is_answered_by(at, "b.example.com", "second");
    // Another place in the order, and all is otherwise.
    rule(&platform, "by-path", "1", "path=/env*", &["--forward", "second"]);
    is_answered_by(at, "a.example.com", "second");
    let listed = platform.json(&["rule", "ls"]);
    let names: Vec<&str> =
        listed.as_array().unwrap().iter().map(|rule| rule["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["by-path", "by-host", "by-rest"]);
    let shown = platform.ok(&["rule", "show", "by-host"]);
    for part in ["host=a.example.com,*.example.org", "method=GET,HEAD", "forward to first"] {
        assert!(shown.contains(part), "{part:?} is not in {shown}");
    }
}

#[test]
fn what_a_rule_asks_of_a_request_is_in_it() {
    let platform = Platform::start(&[]);
    let at = &platform.http;
    let conditions = [
        ("query", "10", "query:version=2*", "/?version=2.1"),
        ("value", "20", "query=beta", "/?channel=Beta"),
        ("source", "30", "source=127.0.0.0/8", "/"),
    ];
    for (status, (name, priority, condition, path)) in (410_u16..).zip(conditions) {
        rule(&platform, name, priority, condition, &["--respond", &status.to_string()]);
        has_status(at, "anybody.example.com", path, status);
    }
    let elsewhere = ["--if", "source=192.0.2.0/24", "--respond", "418"];
    rule(&platform, "elsewhere", "1", "path=*", &elsewhere);
    has_status(at, "anybody.example.com", "/", 412);
}

#[test]
fn requests_are_spread_over_target_groups_by_their_weights() {
    let platform = Platform::start(&[]);
    deploy_named(&platform, "blue");
    deploy_named(&platform, "green");
    let at = &platform.http;
    let host = "shop.example.com";
    rule(&platform, "shop", "10", "host=shop.example.com", &["--forward", "blue=1,green=0"]);
    is_answered_by(at, host, "blue");
    for _ in 0..50 {
        let answer = ask(at, super::WHO, &[("host", host)]).unwrap();
        assert_eq!(answer.text.trim(), "blue");
    }
    rule(&platform, "shop", "10", "host=shop.example.com", &["--forward", "blue,green"]);
    is_answered_by(at, host, "green");
    is_answered_by(at, host, "blue");
    rule(&platform, "shop", "10", "host=shop.example.com", &["--forward", "blue=0,green=0"]);
    has_status(at, host, "/", 503);
}

#[test]
fn rules_outlive_the_platform() {
    let mut platform = Platform::start(&[]);
    deploy_named(&platform, "app");
    rule(&platform, "app", "10", "host=app.example.com", &["--forward", "app"]);
    platform.ok(&["listener", "create", "http", "--no-services", "--respond", "503", "--body", "closed"]);
    is_answered_by(&platform.http, "app.example.com", "app");
    platform.kill();
    let platform = platform.restart();
    is_answered_by(&platform.http, "app.example.com", "app");
    let closed = answers(&platform.http, "app.localhost", "/", |answer| answer.status == 503);
    assert_eq!(closed.text, "closed");
}

/// Checks that these parts are in what was said, in this order.
#[track_caller]
fn check(said: &str, parts: &[&str]) {
    let mut rest = said;
    for part in parts {
        let at = rest.find(part).unwrap_or_else(|| panic!("{part:?} is not in {rest:?} of {said:?}"));
        rest = &rest[at + part.len()..];
    }
}

#[test]
fn it_is_explained_which_rule_takes_a_request_and_why_those_before_do_not() {
    let platform = Platform::start(&[]);
    deploy_named(&platform, "app");
    rule(&platform, "closed", "5", "source=192.0.2.0/24", &["--respond", "403"]);
    rule(&platform, "beta", "10", "path=/api/*", &["--if", "header:x-beta=yes", "--respond", "200"]);
    rule(&platform, "api", "20", "path=/api/*", &["--if", "host=app.localhost", "--forward", "app"]);
    let explain = |more: &[&str]| {
        let url = "http://app.localhost/api/items?version=2";
        platform.ok(&[&["rule", "explain", "GET", url], more].concat())
    };
    let taken = explain(&[]);
    check(
        &taken,
        &["closed", "source=192.0.2.0/24", "beta", "header:x-beta=yes", "api", "takes it", "forward to"],
    );
    let beta = explain(&["-H", "X-Beta: yes"]);
    check(&beta, &["closed", "source=192.0.2.0/24", "beta", "takes it", "200"]);
    assert!(!beta.contains("default/api"), "no rule is asked after the one that takes it: {beta}");
    check(&explain(&["--source", "192.0.2.7"]), &["closed", "takes it", "403"]);

    let service = platform.ok(&["rule", "explain", "GET", "http://app.localhost/"]);
    check(&service, &["path=/api/*", "path=/api/*", "default/app", "forward to"]);
    let by_header = platform.ok(&["rule", "explain", "GET", "/", "-H", "host: app.localhost"]);
    check(&by_header, &["default/app", "forward to"]);
    let nobody = platform.ok(&["rule", "explain", "GET", "http://nobody.localhost/"]);
    check(&nobody, &["path=/api/*", "default action", "404"]);
    let json = platform.json(&["rule", "explain", "GET", "http://app.localhost/api/items"]);
    assert_eq!(json["steps"].as_array().unwrap().len(), 3, "{json}");
    let wrong = platform.fails(&["rule", "explain", "GET", "http://app.localhost/", "--listener", "nobodys"]);
    assert!(wrong.contains("nobodys"), "{wrong}");
}

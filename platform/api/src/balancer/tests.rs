//! What the load balancer's wire types read and write, and what of it is refused on the way to the domain types.

use super::*;
use serde_json::{Value, json};
use skiff_types::{
    Action as DomainAction, ListenerSpec, Name, Namespace, TargetGroupSpec, Targets as DomainTargets,
};

fn here() -> Namespace {
    "shop".parse().unwrap()
}

fn action(value: Value) -> Result<DomainAction, InvalidSpec> {
    serde_json::from_value::<Action>(value).expect("an action's form").to_domain(&here())
}

fn targets(value: Value) -> Result<DomainTargets, InvalidSpec> {
    serde_json::from_value::<Targets>(value).expect("the form of targets").to_domain(&here())
}

#[track_caller]
fn shows(given: Value, shown: Value) {
    let action = action(given).unwrap();
    assert_eq!(serde_json::to_value(Action::from(&action)).unwrap(), shown);
    let again: Action = serde_json::from_value(shown).unwrap();
    assert_eq!(again.to_domain(&here()).unwrap(), action);
}

#[track_caller]
fn refuses<T: std::fmt::Debug>(result: Result<T, InvalidSpec>, message: &str) {
    let error = result.expect_err("it was taken").to_string();
    assert!(error.contains(message), "{error}");
}

#[test]
fn an_action_is_shown_whole_and_means_the_same_again() {
    shows(
        json!({ "forward": { "groups": [{ "group": "web", "weight": 90 }, { "group": "default/canary" }] } }),
        json!({ "forward": { "groups": [
            { "group": "shop/web", "weight": 90 }, { "group": "default/canary", "weight": 1 }
        ] } }),
    );
    let sticky = json!({ "forward": {
        "groups": [{ "group": "shop/web", "weight": 1 }], "stickiness": "1h",
    } });
    shows(sticky.clone(), sticky);
    shows(
        json!({ "redirect": { "to": "https://#{host}:443" } }),
        json!({ "redirect": { "to": "https://#{host}:443/#{path}?#{query}", "status": 301 } }),
    );
    shows(
        json!({ "redirect": { "to": "/new?", "status": 302 } }),
        json!({ "redirect": { "to": "#{protocol}://#{host}:#{port}/new?", "status": 302 } }),
    );
    shows(
        json!({ "fixed_response": { "status": 404 } }),
        json!({ "fixed_response": { "status": 404, "content_type": "text/plain", "body": "" } }),
    );
}

#[test]
fn an_action_is_one_thing_and_nothing_unknown() {
    for bad in [
        json!({}),
        json!("forward"),
        json!({ "forward": {} }),
        json!({ "forward": { "groups": [] }, "redirect": { "to": "/new" } }),
        json!({ "forward": { "groups": [], "sticky": "1h" } }),
        json!({ "forward": { "groups": [], "stickiness": 3_600 } }),
        json!({ "forward": { "groups": [{ "group": "a/b/c" }] } }),
        json!({ "redirect": { "to": "/new", "code": 301 } }),
        json!({ "fixed_response": { "status": 65_536 } }),
        json!({ "authenticate": {} }),
    ] {
        assert!(serde_json::from_value::<Action>(bad.clone()).is_err(), "{bad} was taken");
    }
}

#[test]
fn a_forward_has_its_bounds() {
    let forward = |groups: Vec<Value>| action(json!({ "forward": { "groups": groups } }));
    let many = |count: usize| -> Vec<Value> {
        (0..count).map(|index| json!({ "group": format!("web-{index}") })).collect()
    };
    assert!(forward(many(8)).is_ok() && forward(vec![json!({ "group": "web", "weight": 999 })]).is_ok());
    assert!(forward(vec![json!({ "group": "web", "weight": 0 })]).is_ok());
    refuses(forward(Vec::new()), "name 1 to 8");
    refuses(forward(many(9)), "can't forward to 9 target groups: name 8 at most");
    refuses(
        forward(vec![json!({ "group": "web", "weight": 1_000 })]),
        "\"shop/web\" can't have the weight 1000: give it one from 0 to 999",
    );
    refuses(
        forward(vec![json!({ "group": "web" }), json!({ "group": "shop/web" })]),
        "the target group \"shop/web\" twice: name it once",
    );
    let sticky = |stickiness: &str| {
        action(json!({ "forward": { "groups": [{ "group": "web" }], "stickiness": stickiness } }))
    };
    assert!(sticky("1s").is_ok() && sticky("7d").is_ok());
    for bad in ["999ms", "8d"] {
        let message = format!("the stickiness of an action can't be {bad}: give it a time from 1s to 7d");
        refuses(sticky(bad), &message);
    }
}

#[test]
fn a_redirect_leads_elsewhere_by_a_status_for_it() {
    let redirect = |to: &str, status: u16| action(json!({ "redirect": { "to": to, "status": status } }));
    refuses(redirect("/new", 307), "\"307\" is not the status of a redirection: 301 or 302");
    for bad in ["", "example.org", "ftp://example.org", "#{protocol}://#{host}:#{port}/#{path}?#{query}"] {
        refuses(redirect(bad, 301), "is not where to redirect to");
    }
}

#[test]
fn a_fixed_response_has_its_bounds() {
    let respond = |status: u16, content_type: &str, body: &str| {
        let response = FixedResponse { status, content_type: content_type.into(), body: body.into() };
        Action::FixedResponse(response).to_domain(&here())
    };
    for status in [200, 299, 400, 599] {
        assert!(respond(status, "text/html", &"x".repeat(1024)).is_ok(), "{status}");
    }
    for status in [0, 100, 199, 300, 301, 399, 600, u16::MAX] {
        refuses(respond(status, "text/plain", ""), "give it one from 200 to 299 or from 400 to 599");
    }
    refuses(respond(200, "image/png", ""), "\"image/png\" is not a content type of a fixed response");
    refuses(respond(200, "text/plain", &"x".repeat(1025)), "1025 bytes: shorten it to 1024 at most");
}

#[test]
fn targets_are_named_once_and_within_bounds() {
    assert_eq!(
        targets(json!({ "service": "web" })).unwrap(),
        DomainTargets::Service("shop/web".parse().unwrap())
    );
    for shown in [
        json!({ "service": "default/web" }),
        json!({ "virtual": ["10.64.0.7:8080", "[fd00::7]:80"] }),
        json!({ "outside": ["192.0.2.7:8080", "example.org:443"] }),
    ] {
        let targets = targets(shown.clone()).unwrap();
        assert_eq!(serde_json::to_value(Targets::from(&targets)).unwrap(), shown);
    }
    let outside = |count: usize| {
        let hosts: Vec<String> = (1..=count).map(|port| format!("example.org:{port}")).collect();
        targets(json!({ "outside": hosts }))
    };
    assert!(outside(1_000).is_ok());
    refuses(outside(1_001), "can't have 1001 targets: name 1000 at most");
    refuses(outside(0), "name 1 to 1000");
    refuses(targets(json!({ "virtual": [] })), "name 1 to 1000");
    let twice = targets(json!({ "outside": ["Example.org:443", "example.org:443"] }));
    refuses(twice, "the target \"example.org:443\" twice");
    for bad in [json!({ "virtual": ["web:80"] }), json!({ "service": "web", "outside": [] }), json!({})] {
        assert!(serde_json::from_value::<Targets>(bad.clone()).is_err(), "{bad} was taken");
    }
}

#[test]
fn a_weighted_group_is_read_as_people_write_it() {
    for (text, printed) in [("web", "web=1"), ("web=90", "web=90"), ("shop/web=0", "shop/web=0")] {
        assert_eq!(text.parse::<WeightedGroup>().unwrap().to_string(), printed);
    }
    for bad in ["", "=1", "web=", "web=1000", "web=-1", "a/b/c=1", "web=1=2"] {
        assert!(bad.parse::<WeightedGroup>().is_err(), "{bad:?} was taken");
    }
}

#[test]
fn what_takes_a_request_is_told_by_its_kind() {
    let name: skiff_types::QualifiedName = "shop/web".parse().unwrap();
    for (taken_by, shown) in [
        (TakenBy::Rule(name.clone()), json!({ "rule": "shop/web" })),
        (TakenBy::Service(name), json!({ "service": "shop/web" })),
        (TakenBy::DefaultAction, json!("default_action")),
    ] {
        assert_eq!(serde_json::to_value(taken_by).unwrap(), shown);
    }
}

#[test]
fn a_rule_is_read_with_its_conditions() {
    let rule: PutListenerRule = serde_json::from_value(json!({
        "priority": 10,
        "conditions": ["host=*.example.org", r"header:accept=text/html\,application/xml"],
        "action": { "forward": { "groups": [{ "group": "web" }] } },
    }))
    .unwrap();
    assert_eq!((rule.listener, rule.priority, rule.conditions.len()), (None, 10, 2));
    assert_eq!(rule.conditions[0].to_string(), "host=*.example.org");
    let listener: Result<PutListener, _> =
        serde_json::from_value(json!({ "protocol": "http", "port": 8090, "priority": 10 }));
    assert!(listener.unwrap_err().to_string().contains("priority"));
}

#[test]
fn a_listener_without_certificates_shows_none() {
    let mut shown = json!({
        "name": "web", "revision": 1, "protocol": "https", "port": 8443, "scheme": "public",
        "certificates": ["a", "b"], "services": true,
        "default_action": { "fixed_response": { "status": 404, "content_type": "text/plain", "body": "" } },
        "rules": 0,
    });
    let listener: Listener = serde_json::from_value(shown.clone()).unwrap();
    assert_eq!(serde_json::to_value(&listener).unwrap(), shown);
    let without = Listener { certificates: vec![], ..listener };
    shown.as_object_mut().unwrap().remove("certificates");
    assert_eq!(serde_json::to_value(without).unwrap(), shown);
}

/// What a request makes of a listener.
fn listener(before: Option<&ListenerSpec>, request: Value) -> Result<ListenerSpec, InvalidSpec> {
    let request: PutListener = serde_json::from_value(request).expect("a request's form");
    request.to_domain(&"web".parse().unwrap(), before)
}

#[test]
fn a_listener_has_defaults_by_what_is_spoken_there_and_keeps_what_is_left_out() {
    let forward = json!({ "forward": { "groups": [{ "group": "kv" }] } });
    let new = listener(None, json!({ "protocol": "http", "port": 8090 })).unwrap();
    assert_eq!((new.port, new.services, new.certificates.len()), (8090, true, 0));
    assert!(matches!(new.default_action, DomainAction::FixedResponse(_)));
    let whole = json!({
        "protocol": "https", "port": 8443, "scheme": "internal", "certificates": ["a", "b"], "services": false,
        "default_action": forward, "client_limit": { "concurrent": 5 },
    });
    let whole = listener(Some(&new), whole).unwrap();
    let said: Vec<&str> = whole.certificates.iter().map(Name::as_str).collect();
    assert_eq!((said, whole.services), (vec!["a", "b"], false));
    let kept = listener(Some(&whole), json!({ "protocol": "https", "port": 8443 })).unwrap();
    assert_eq!(kept, whole);
    // By TCP there are neither certificates nor services; back by HTTP they lead there again.
    let tcp = listener(Some(&whole), json!({ "protocol": "tcp", "port": 8443 })).unwrap();
    assert_eq!((tcp.certificates.len(), tcp.services), (0, false));
    assert_eq!(tcp.default_action, whole.default_action);
    let back =
        listener(Some(&tcp), json!({ "protocol": "http", "port": 8443, "client_limit": null })).unwrap();
    assert_eq!((back.services, back.client_limit), (true, None));
}

#[test]
fn a_listener_that_can_not_be_is_refused() {
    let of = |protocol: &str, more: Value| {
        let mut request = json!({ "protocol": protocol, "port": 8090 });
        request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        listener(None, request)
    };
    refuses(of("http", json!({ "port": 0 })), "port is 0; it must be 1 to 65535");
    refuses(of("https", json!({})), "a listener of https shows its clients a certificate");
    refuses(
        of("https", json!({ "certificates": [] })),
        "a listener of https shows its clients a certificate",
    );
    refuses(of("https", json!({ "certificates": ["a", "a"] })), "names a certificate twice");
    let many: Vec<String> = (0..26).map(|number| format!("c{number}")).collect();
    refuses(
        of("https", json!({ "certificates": many })),
        "a listener can't have 26 certificates; the most is 25",
    );
    for protocol in ["http", "tcp"] {
        refuses(of(protocol, json!({ "certificates": ["a"] })), "certificates are for listeners of https");
    }
    refuses(of("tcp", json!({})), "a listener of tcp can do nothing but forward");
    let respond = json!({ "fixed_response": { "status": 200 } });
    refuses(of("tcp", json!({ "default_action": respond })), "a listener of tcp can do nothing but forward");
    let forward = |more: Value| {
        let mut forward = json!({ "groups": [{ "group": "kv" }] });
        forward.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({ "forward": forward })
    };
    refuses(
        of("tcp", json!({ "default_action": forward(json!({})), "services": true })),
        "services is for listeners of http",
    );
    let sticky = json!({ "default_action": forward(json!({ "stickiness": "1h" })) });
    refuses(of("tcp", sticky.clone()), "stickiness is for listeners of http");
    // What was said of requests is still there.
    let http = of("http", sticky).unwrap();
    refuses(
        listener(Some(&http), json!({ "protocol": "tcp", "port": 8090 })),
        "stickiness is for listeners of http",
    );
    refuses(of("http", json!({ "client_limit": {} })), "a limit limits nothing");
}

/// What a request makes of a group.
fn changed(before: &TargetGroupSpec, request: Value) -> Result<TargetGroupSpec, InvalidSpec> {
    serde_json::from_value::<PutTargetGroup>(request).expect("a request's form").to_domain(before.clone())
}

fn new_group() -> TargetGroupSpec {
    TargetGroupSpec::of_service("shop/web".parse().unwrap())
}

/// A group of a host outside.
fn outside(more: Value) -> Value {
    let mut request = json!({ "targets": { "outside": ["192.0.2.7:80"] } });
    request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    request
}

#[test]
fn what_a_request_does_not_speak_of_stays_and_null_takes_away() {
    let whole = outside(json!({
        "protocol": "http2", "tls": true, "algorithm": "round-robin", "stickiness": "1h", "slow_start": "30s",
        "deregistration_delay": "0ms", "health_check": { "path": "/ready" },
        "limit": { "requests_per_second": 100, "burst": 200, "concurrent": 20 },
    }));
    let group = changed(&new_group(), whole).unwrap();
    assert_eq!(group.limit.unwrap().to_string(), "rate=100,burst=200,concurrent=20");
    let times = [group.stickiness, group.deregistration_delay].map(|time| time.unwrap().ms());
    assert_eq!(times, [3_600_000, 0]);
    assert_eq!(changed(&group, outside(json!({}))).unwrap(), group);
    let nothing = outside(json!({
        "protocol": "http1", "tls": false, "algorithm": "least-outstanding-requests", "stickiness": null,
        "slow_start": null, "deregistration_delay": null, "health_check": null, "limit": null,
    }));
    let targets = DomainTargets::Outside(vec!["192.0.2.7:80".parse().unwrap()]);
    assert_eq!(changed(&group, nothing).unwrap(), TargetGroupSpec { targets, ..new_group() });
}

#[test]
fn a_setting_is_written_as_it_was_read() {
    for request in [
        outside(json!({})),
        outside(json!({ "stickiness": null, "limit": null })),
        outside(json!({ "stickiness": "1h", "limit": { "concurrent": 5 }, "health_check": {} })),
    ] {
        let read: PutTargetGroup = serde_json::from_value(request.clone()).unwrap();
        assert_eq!(serde_json::to_value(read).unwrap(), request);
    }
}

#[test]
fn a_health_check_has_defaults_by_what_targets_speak() {
    let check = |more: Value| changed(&new_group(), outside(more)).unwrap().health_check.unwrap();
    let shown = |more: Value| serde_json::to_value(TargetHealthCheck::from(&check(more))).unwrap();
    assert_eq!(
        shown(json!({ "health_check": {} })),
        json!({ "interval": "10s", "timeout": "5s", "healthy": 5, "unhealthy": 2, "matcher": "200" })
    );
    assert_eq!(
        shown(json!({ "health_check": { "path": "/ready?full", "interval": "2s", "matcher": "200-299" } })),
        json!({
            "path": "/ready?full", "interval": "2s", "timeout": "2s", "healthy": 5, "unhealthy": 2,
            "matcher": "200-299",
        })
    );
    let grpc = shown(json!({ "protocol": "grpc", "health_check": { "healthy": 1 } }));
    assert_eq!((&grpc["path"], &grpc["matcher"]), (&"/AWS.ALB/healthcheck".into(), &"12".into()));
    let method = "/grpc.health.v1.Health/Check";
    let named = json!({ "protocol": "grpc", "health_check": { "path": method, "matcher": "0" } });
    assert_eq!(check(named).path.as_deref(), Some(method));

    // What targets speak may change under a check.
    let connecting = changed(&new_group(), outside(json!({ "health_check": { "interval": "7s" } }))).unwrap();
    let grpc = changed(&connecting, outside(json!({ "protocol": "grpc" }))).unwrap();
    let check = grpc.health_check.clone().unwrap();
    assert_eq!((check.path.as_deref(), check.interval.ms()), (Some("/AWS.ALB/healthcheck"), 7_000));
    let back = changed(&grpc, outside(json!({ "protocol": "http1" })));
    refuses(
        back,
        "the matcher 12 of a health check names what HTTP does not have: give it numbers from 200 to 599",
    );
}

#[test]
fn a_health_check_that_can_not_be_is_refused() {
    let cases = [
        (
            json!({ "interval": "999ms" }),
            "the interval of a health check can't be 999ms: give it a time from 1s to 5m",
        ),
        (json!({ "interval": "301s" }), "the interval of a health check can't be 301s"),
        (json!({ "interval": "2s", "timeout": "3s" }), "can't be 3s, which is longer than its interval, 2s"),
        (
            json!({ "timeout": "99ms" }),
            "the timeout of a health check can't be 99ms: give it a time from 100ms to 10s",
        ),
        (
            json!({ "healthy": 0 }),
            "the threshold healthy of a health check can't be 0: give it one from 1 to 10",
        ),
        (json!({ "unhealthy": 11 }), "the threshold unhealthy of a health check can't be 11"),
        (json!({ "matcher": "200" }), "a health check by connecting has no statuses"),
        (json!({ "path": "/", "matcher": "100" }), "the matcher 100 of a health check"),
        (json!({ "path": "ready" }), "\"ready\" is not the path of a health check, like \"/ready\""),
        (json!({ "path": "/a b" }), "is not the path of a health check"),
        (json!({ "path": "/a\r\nb: c" }), "is not the path of a health check"),
        (json!({ "path": format!("/{}", "a".repeat(1024)) }), "is not the path of a health check"),
    ];
    for (check, message) in cases {
        refuses(changed(&new_group(), outside(json!({ "health_check": check }))), message);
    }
    for (check, message) in [
        (json!({ "path": "/ready" }), "\"/ready\" is not a method of gRPC"),
        (json!({ "path": "/a/b?c" }), "is not a method of gRPC"),
        (json!({ "matcher": "200" }), "names what gRPC does not have: give it numbers from 0 to 99"),
    ] {
        let request = outside(json!({ "protocol": "grpc", "health_check": check }));
        refuses(changed(&new_group(), request), message);
    }
}

#[test]
fn a_target_group_that_can_not_be_is_refused() {
    let of = |service: &str, more: Value| {
        let mut request = outside(more);
        request["targets"] = json!({ "service": service });
        request
    };
    let cases = [
        (outside(json!({ "stickiness": "8d" })), "stickiness can't be 8d: give it a time from 1s to 7d"),
        (outside(json!({ "slow_start": "2h" })), "slow_start can't be 2h: give it a time from 1s to 1h"),
        (
            outside(json!({ "deregistration_delay": "61m" })),
            "deregistration_delay can't be 61m: give it a time from 0ms to 1h",
        ),
        (of("web", json!({ "tls": true })), "tls is for targets outside"),
        (
            outside(json!({ "slow_start": "30s", "algorithm": "weighted-random" })),
            "slow_start can't be together with the algorithm weighted-random",
        ),
        (
            outside(json!({ "protocol": "tcp", "stickiness": "1h" })),
            "stickiness is for targets that requests",
        ),
        (
            outside(json!({ "protocol": "tcp", "slow_start": "30s" })),
            "slow_start is for targets that requests",
        ),
        (outside(json!({ "protocol": "tcp", "tls": true })), "tls is for targets that requests"),
        (
            of("other", json!({ "health_check": {} })),
            "health_check of the tasks of the service shop/other is said",
        ),
        (
            of("other", json!({ "slow_start": "30s" })),
            "slow_start of the tasks of the service shop/other is said",
        ),
        (
            of("other", json!({ "deregistration_delay": "1s" })),
            "deregistration_delay of the tasks of the service shop/other is said by the target group of that name alone",
        ),
        (
            of("other", json!({ "deregistration_delay": "5m" })),
            "deregistration_delay of the tasks of the service shop/other is said",
        ),
    ];
    for (request, message) in cases {
        refuses(changed(&new_group(), request), message);
    }
    let own = json!({ "health_check": {}, "slow_start": "30s", "deregistration_delay": "1s" });
    assert!(changed(&new_group(), of("web", own)).is_ok());
    let shared = json!({
        "protocol": "grpc", "algorithm": "round-robin", "stickiness": "1h", "limit": { "concurrent": 5 },
    });
    assert!(changed(&new_group(), of("other", shared)).is_ok());
    let checked_by_http = outside(json!({ "protocol": "tcp", "health_check": { "path": "/ready" } }));
    assert!(changed(&new_group(), checked_by_http).is_ok());
    // It is connections that are counted.
    let limited = outside(json!({ "protocol": "tcp", "limit": { "concurrent": 1 } }));
    assert!(changed(&new_group(), limited).unwrap().limit.is_some());
}

#[test]
fn a_limit_limits_something() {
    let limit = |limit: Value| serde_json::from_value::<Limit>(limit).unwrap().to_domain();
    for (given, text) in [
        (
            json!({ "requests_per_second": 100, "burst": 200, "concurrent": 20 }),
            "rate=100,burst=200,concurrent=20",
        ),
        (json!({ "requests_per_second": 1_000_000 }), "rate=1000000"),
        (json!({ "concurrent": 1 }), "concurrent=1"),
    ] {
        let domain = limit(given.clone()).unwrap();
        let shown = Limit::from(domain);
        assert_eq!((domain.to_string().as_str(), shown.to_string().as_str()), (text, text));
        assert_eq!(serde_json::to_value(shown).unwrap(), given);
    }
    refuses(limit(json!({})), "give it requests_per_second, concurrent or both");
    refuses(limit(json!({ "burst": 5, "concurrent": 5 })), "give it that too, or leave out the burst");
    refuses(limit(json!({ "requests_per_second": 0 })), "requests_per_second of a limit can't be 0");
    refuses(limit(json!({ "concurrent": 1_000_001 })), "a number from 1 to 1000000");
    assert!(serde_json::from_value::<Limit>(json!({ "rate": 5 })).is_err());
}

#[test]
fn a_private_key_is_not_printed() {
    let given = json!({ "certificate": "of all", "private_key": "hush" });
    let put: PutCertificate = serde_json::from_value(given.clone()).unwrap();
    let printed = format!("{put:?} {put:#?}");
    assert!(printed.contains("of all") && !printed.contains("hush"), "{printed}");
    assert_eq!(serde_json::to_value(put).unwrap(), given);
}

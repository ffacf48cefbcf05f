//! What the load balancer's wire types read and write, and what of it is refused on the way to the domain types.

use super::*;
use serde_json::{Value, json};
use skiff_types::{Action as DomainAction, Namespace, Targets as DomainTargets};

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
        json!({ "forward": { "groups": [], "stickiness": "1h" } }),
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

#[test]
fn a_private_key_is_not_printed() {
    let given = json!({ "certificate": "of all", "private_key": "hush" });
    let put: PutCertificate = serde_json::from_value(given.clone()).unwrap();
    let printed = format!("{put:?} {put:#?}");
    assert!(printed.contains("of all") && !printed.contains("hush"), "{printed}");
    assert_eq!(serde_json::to_value(put).unwrap(), given);
}

//! Rules: what they say, what none can be, their limits and those of listeners, and what explains which one takes a request.

use super::*;
use skiff_api::{ListenerRuleListQuery, RequestExplanation, TakenBy};
use skiff_types::QualifiedName;

#[tokio::test]
async fn rules_are_told_in_whatever_order_they_are_made() {
    let platform = Platform::start().await;
    platform.deploy("web", "http", 0).await;
    put_listener(&platform, "second", json!({ "protocol": "http", "port": 8090 })).await.unwrap();
    let made = simple_rule(&platform, "late", 20, "path=/late/*", forward("web")).await.unwrap();
    assert_eq!((made.listener.as_str(), made.priority, made.conditions.len()), ("http", 20, 1));
    let shown = json!({ "forward": { "groups": [{ "group": "default/web", "weight": 1 }] } });
    assert_eq!(serde_json::to_value(&made.action).unwrap(), shown);
    simple_rule(&platform, "early", 10, "host=*.example.com", respond(200)).await.unwrap();
    told(&platform, "both are there", |desired| desired.balancer.rules.len() == 2).await;
    let get = async || platform.client.get_rule(&namespace(), &name("late")).await.unwrap();
    assert_eq!(get().await, made);
    assert_eq!(platform.client.get_listener(&name("http")).await.unwrap().rules, 2);

    let moved = json!({
        "listener": "second", "priority": 10, "conditions": ["path=/late/*"], "action": forward("web"),
    });
    let moved = put_rule(&platform, "late", moved).await.unwrap();
    assert!(moved.revision > made.revision && moved.created_at_ms == made.created_at_ms);
    let list = async |listener: Option<&str>| {
        let query = ListenerRuleListQuery { listener: listener.map(name), ..Default::default() };
        let page = platform.client.list_rules(&namespace(), &query).await.unwrap();
        page.items.iter().map(|rule| rule.name.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(list(None).await, ["early", "late"]);
    assert_eq!(list(Some("http")).await, ["early"]);
    assert_eq!(list(Some("second")).await, ["late"]);
    let late: QualifiedName = "default/late".parse().unwrap();
    told(&platform, "it is another's", |desired| desired.balancer.rules[&late].listener == name("second"))
        .await;

    let error = remove_listener(&platform, "second").await;
    refused(error, ErrorCode::FailedPrecondition, "the listener second has the rule default/late");
    let tcp = json!({ "protocol": "tcp", "port": 8090, "default_action": forward("web") });
    let error = put_listener(&platform, "second", tcp).await;
    refused(error, ErrorCode::FailedPrecondition, "a listener of tcp has no rules");
    remove_rule(&platform, "late").await.unwrap();
    remove_listener(&platform, "second").await.unwrap();
    refused(remove_rule(&platform, "late").await, ErrorCode::NotFound, "there is no rule late");
    told(&platform, "one is left", |desired| {
        desired.balancer.rules.len() == 1 && desired.balancer.listeners.len() == 1
    })
    .await;
    platform.assert_node_is_content();
}

#[tokio::test]
async fn a_rule_that_can_not_be_is_refused() {
    let platform = Platform::start().await;
    platform.deploy("job", "daemon", 0).await;
    daemon(&platform, "kv", &[]).await.unwrap();
    let tcp = json!({ "protocol": "tcp", "port": 7000, "default_action": forward("kv") });
    put_listener(&platform, "db", tcp).await.unwrap();
    simple_rule(&platform, "first", 10, "path=/*", respond(200)).await.unwrap();
    put_group(&platform, "bytes", json!({ "targets": { "outside": ["192.0.2.7:80"] }, "protocol": "tcp" }))
        .await
        .unwrap();
    let rule = |priority: u32, conditions: Vec<String>, action: Value| json!({ "priority": priority, "conditions": conditions, "action": action });
    let one = || vec!["path=/*".to_owned()];
    let many = vec![format!("path={}", vec!["/a"; 65].join(","))];
    let of = |listener: &str| json!({ "listener": listener, "priority": 1, "conditions": ["path=/*"], "action": respond(200) });
    let (invalid, missing, not_now) =
        (ErrorCode::InvalidArgument, ErrorCode::NotFound, ErrorCode::FailedPrecondition);
    let taken = "the priority 10 of the listener http is already taken by the rule default/first";
    let cases = [
        (rule(10, one(), respond(200)), ErrorCode::Conflict, taken),
        (rule(0, one(), respond(200)), invalid, "a priority from 1 to 50000"),
        (rule(1, vec![], respond(200)), invalid, "a rule without conditions would take everything"),
        (
            rule(1, vec!["path=/*".to_owned(); 9], respond(200)),
            invalid,
            "9 conditions are more than a rule can have: 8",
        ),
        (rule(1, many, respond(200)), invalid, "the conditions have 65 values together"),
        (of("nobody"), missing, "there is no listener nobody; make it with `skiff listener create nobody"),
        (of("db"), not_now, "the listener db speaks tcp"),
        (rule(1, one(), forward("nobody")), missing, "there is no target group or service default/nobody"),
        (rule(1, one(), forward("job")), not_now, "the service default/job takes no requests"),
        (rule(1, one(), forward("bytes")), not_now, "the targets of the group default/bytes speak tcp"),
    ];
    for (value, code, message) in cases {
        refused(put_rule(&platform, "new", value).await, code, message);
    }
    // One that is there may stay where it is, and go where nobody is.
    simple_rule(&platform, "first", 10, "path=/a", respond(201)).await.unwrap();
    simple_rule(&platform, "first", 11, "path=/a", respond(201)).await.unwrap();
    simple_rule(&platform, "new", 10, "path=/a", respond(202)).await.unwrap();
}

#[tokio::test]
async fn limits_of_listeners_and_rules_are_told_and_taken_away() {
    let platform = Platform::start().await;
    platform.deploy("web", "http", 0).await;
    daemon(&platform, "kv", &[]).await.unwrap();
    let limit = json!({ "requests_per_second": 5, "burst": 9 });
    let listener = |more: Value| {
        let mut request = json!({ "protocol": "http", "port": HTTP_PORT });
        request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        request
    };
    let made = put_listener(&platform, "http", listener(json!({ "client_limit": limit }))).await.unwrap();
    assert_eq!(serde_json::to_value(made.client_limit).unwrap(), limit);
    told(&platform, "it is told", |desired| desired.balancer.listeners[&name("http")].client_limit.is_some())
        .await;
    let kept = put_listener(&platform, "http", listener(json!({ "services": false }))).await.unwrap();
    assert_eq!(kept.client_limit, made.client_limit);
    let none = put_listener(&platform, "http", listener(json!({ "client_limit": null }))).await.unwrap();
    assert_eq!(none.client_limit, None);
    told(&platform, "it is gone", |desired| desired.balancer.listeners[&name("http")].client_limit.is_none())
        .await;

    let rule = |more: Value| {
        let mut request = json!({ "priority": 10, "conditions": ["path=/*"], "action": forward("web") });
        request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        request
    };
    let made = put_rule(&platform, "api", rule(json!({ "limit": limit }))).await.unwrap();
    assert_eq!(serde_json::to_value(made.limit).unwrap(), limit);
    let api: QualifiedName = "default/api".parse().unwrap();
    let is_limited =
        |desired: &Desired| desired.balancer.rules.get(&api).is_some_and(|spec| spec.limit.is_some());
    told(&platform, "the rule is told", is_limited).await;
    let without = put_rule(&platform, "api", rule(json!({}))).await.unwrap();
    assert_eq!(without.limit, None, "a rule is all that is said");

    let invalid = ErrorCode::InvalidArgument;
    let tcp = |more: Value| {
        let mut request = json!({ "protocol": "tcp", "port": 7000, "default_action": forward("kv") });
        request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        request
    };
    let sticky = json!({ "forward": { "groups": [{ "group": "kv" }], "stickiness": "1h" } });
    let result = put_listener(&platform, "db", tcp(json!({ "default_action": sticky }))).await;
    refused(result, invalid, "stickiness is for listeners of http");
    let result = put_rule(&platform, "api", rule(json!({ "limit": {} }))).await;
    refused(result, invalid, "a limit limits nothing");
    platform.assert_node_is_content();
}

async fn explained(platform: &Platform, listener: &str, url: &str, headers: Value) -> RequestExplanation {
    let request = body(json!({ "method": "GET", "url": url, "headers": headers }));
    platform.client.explain_request(&name(listener), &request).await.unwrap()
}

#[tokio::test]
async fn it_is_explained_what_takes_a_request() {
    let platform = Platform::start().await;
    platform.deploy("web", "http", 0).await;
    put_group(&platform, "legacy", json!({ "targets": { "outside": ["192.0.2.7:80"] } })).await.unwrap();
    simple_rule(&platform, "closed", 5, "source=192.0.2.0/24", respond(403)).await.unwrap();
    simple_rule(&platform, "beta", 10, "header:x-beta=y*", respond(200)).await.unwrap();
    simple_rule(&platform, "old", 20, "path=/old/*", forward("legacy")).await.unwrap();
    let steps = |explanation: &RequestExplanation| {
        let failed = |condition: &skiff_types::Condition| condition.to_string();
        let steps = explanation.steps.iter();
        steps.map(|step| step.failed.as_ref().map_or("takes it".to_owned(), failed)).collect::<Vec<_>>()
    };
    let old = explained(&platform, "http", "http://WEB.localhost:8080/old/x?y", json!([])).await;
    assert_eq!(steps(&old), ["source=192.0.2.0/24", "header:x-beta=y*", "takes it"]);
    assert_eq!(old.taken_by, TakenBy::Rule("default/old".parse().unwrap()));
    let shown = json!([{
        "target_group": "default/legacy", "weight": 1, "targets": { "outside": ["192.0.2.7:80"] },
    }]);
    assert_eq!(serde_json::to_value(&old.target_groups).unwrap(), shown);
    let beta = explained(&platform, "http", "http://web.localhost/old/x", json!([["X-Beta", "YES"]])).await;
    assert_eq!((steps(&beta).len(), beta.target_groups.len()), (2, 0));

    let service = explained(&platform, "http", "/", json!([["host", "web.localhost"]])).await;
    assert_eq!(
        (service.steps.len(), &service.taken_by),
        (3, &TakenBy::Service("default/web".parse().unwrap()))
    );
    let shown =
        json!([{ "target_group": "default/web", "weight": 1, "targets": { "service": "default/web" } }]);
    assert_eq!(serde_json::to_value(&service.target_groups).unwrap(), shown);
    let nobody = explained(&platform, "http", "http://nobody.localhost/", json!([])).await;
    assert_eq!(nobody.taken_by, TakenBy::DefaultAction);
    assert_eq!(serde_json::to_value(&nobody.action).unwrap()["fixed_response"]["status"], 404);

    let alone =
        json!({ "protocol": "http", "port": 8090, "services": false, "default_action": forward("web") });
    put_listener(&platform, "second", alone).await.unwrap();
    let last = explained(&platform, "second", "http://web.localhost/old/x", json!([])).await;
    assert_eq!((last.steps.len(), &last.taken_by), (0, &TakenBy::DefaultAction));
    assert_eq!(last.target_groups.len(), 1);
    let request = body(json!({ "method": "GET", "url": "http://a/" }));
    let error = platform.client.explain_request(&name("nobody"), &request).await;
    refused(error, ErrorCode::NotFound, "there is no listener nobody");
}

//! What a resource of a document means, in the words in which the platform shows it: names with their namespaces, what is
//! left out filled in where its default is the API's, lists in the order in which they are kept.
//!
//! It is the API's own functions that say so (`to_domain`), and refuse what can't be; what only the platform knows, it
//! refuses when it is asked.

use super::difference::Fields;
use super::fields::table;
use super::present::certificate_body;
use super::resource::{Resource, Spec};
use serde_json::Value as Json;
use skiff_api::{
    DeploymentConfiguration, InvalidSpec, Placement, PutAlarm, PutBucket, PutConsumer, PutEventRule,
    PutEventSchedule, PutListener, PutListenerRule, PutQueue, PutRole, PutScaling, PutSecurityGroup,
    PutService, PutTargetGroup, RegisterTaskDefinition, Setting, TargetHealthCheck,
};
use skiff_types::{
    DEFAULT_STOP_TIMEOUT, Digest, HealthCheck, Name, Namespace, QualifiedName, Span, TargetGroupSpec, Targets,
};
use std::collections::BTreeSet;

/// What a resource is to be, where it is so at present; but a task definition, for which see [`definition`].
pub(super) fn settled(resource: &Resource, present: Option<&Fields>) -> Result<Fields, InvalidSpec> {
    let here = &resource.id.namespace;
    match &resource.spec {
        Spec::SecurityGroup(body) => {
            Ok(table(&PutSecurityGroup { rules: body.rules.as_deref().map(unique) }))
        }
        Spec::Certificate(files) => Ok(certificate_body(&files.fingerprint)),
        Spec::Role(body) => {
            let spec = body.to_domain(QualifiedName::new(here.clone(), resource.id.name.clone()))?;
            Ok(table(&PutRole::from(&spec)))
        }
        Spec::Bucket(body) => {
            let spec = body.to_domain(QualifiedName::new(here.clone(), resource.id.name.clone()));
            Ok(table(&PutBucket::from(&spec)))
        }
        Spec::Table(body) => Ok(table(body)),
        Spec::Bus(body) => Ok(table(body)),
        Spec::EventRule(body) => {
            event_rule(body, &QualifiedName::new(here.clone(), resource.id.name.clone()), present)
        }
        Spec::EventSchedule(body) => {
            let spec = body.to_domain(QualifiedName::new(here.clone(), resource.id.name.clone()))?;
            Ok(table(&PutEventSchedule::from(&spec)))
        }
        Spec::Queue(body) => {
            let spec = body.to_domain(QualifiedName::new(here.clone(), resource.id.name.clone()))?;
            Ok(table(&PutQueue::from(&spec)))
        }
        Spec::TaskDefinition(body) => Ok(table(body)),
        Spec::Alarm(body) => {
            let spec = body.to_domain(QualifiedName::new(here.clone(), resource.id.name.clone()))?;
            Ok(table(&PutAlarm::from(&spec)))
        }
        Spec::Service(body) => service(body, present),
        Spec::TargetGroup(body) => target_group(&resource.id.name, here, body, present),
        Spec::Listener(body) => listener(&resource.id.name, body, present),
        Spec::Rule(body) => rule(body, &QualifiedName::new(here.clone(), resource.id.name.clone())),
        Spec::Consumer(body) => {
            let spec = body.to_domain(QualifiedName::new(here.clone(), resource.id.name.clone()))?;
            Ok(table(&PutConsumer::from(&spec)))
        }
        Spec::Scaling(body) => {
            let spec = body.to_domain(QualifiedName::new(here.clone(), resource.id.name.clone()))?;
            Ok(table(&PutScaling::from(&spec)))
        }
    }
}

/// Whether a call replaces all that a resource says; else what it leaves out stays.
pub(super) fn replaces(spec: &Spec) -> bool {
    match spec {
        Spec::TaskDefinition(_)
        | Spec::Alarm(_)
        | Spec::Role(_)
        | Spec::Bus(_)
        | Spec::EventSchedule(_)
        | Spec::Bucket(_)
        | Spec::Table(_)
        | Spec::Queue(_)
        | Spec::Rule(_)
        | Spec::Scaling(_)
        | Spec::Consumer(_) => true,
        Spec::SecurityGroup(_)
        | Spec::Certificate(_)
        | Spec::Service(_)
        | Spec::TargetGroup(_)
        | Spec::EventRule(_)
        | Spec::Listener(_) => false,
    }
}

/// What a task definition says, with the component that its image has now.
pub(super) fn definition(body: &RegisterTaskDefinition, component: Digest) -> Fields {
    let mut security_groups = body.security_groups.clone();
    security_groups.sort();
    security_groups.dedup();
    let mut fields = table(&RegisterTaskDefinition { security_groups, ..body.clone() });
    fields.remove("family");
    // Of a daemon, what is left out has its default, and is shown.
    if body.port.is_some() {
        let mut check = table(&HealthCheck::default());
        check.extend(table(&body.health_check));
        fields.insert("health_check".to_owned(), Json::Object(check));
        fields.entry("stop_timeout").or_insert_with(|| DEFAULT_STOP_TIMEOUT.to_string().into());
    }
    fields.insert("component".to_owned(), component.to_string().into());
    fields
}

fn service(body: &PutService, present: Option<&Fields>) -> Result<Fields, InvalidSpec> {
    body.check()?;
    let mut fields = table(&PutService {
        hosts: body.hosts.as_deref().map(unique),
        paths: body.paths.as_deref().map(unique),
        security_groups: body.security_groups.as_deref().map(sorted),
        listen: body.listen.as_deref().map(sorted),
        ..body.clone()
    });
    // What is left out of how it is deployed stays, and is shown.
    if let Some(asked) = &body.deployment {
        let shown = present.and_then(|fields| fields.get("deployment").cloned());
        let before: DeploymentConfiguration =
            shown.and_then(|shown| serde_json::from_value(shown).ok()).unwrap_or_default();
        let after = asked.over(before.into());
        asked.check_fits(after.strategy.name())?;
        after.check()?;
        let whole = table(&DeploymentConfiguration::from(&after));
        fields.insert("deployment".to_owned(), Json::Object(whole));
    }
    // The same of where its tasks may run; where any node will do, it is not shown.
    if let Some(asked) = &body.placement {
        let shown = present.and_then(|fields| fields.get("placement").cloned());
        let before: Placement =
            shown.and_then(|shown| serde_json::from_value(shown).ok()).unwrap_or_default();
        let after = Placement::from(asked.over(before.into())?);
        let is_shown = present.is_some_and(|fields| fields.contains_key("placement"));
        match after.is_default() && !is_shown {
            true => fields.remove("placement"),
            false => fields.insert("placement".to_owned(), Json::Object(table(&after))),
        };
    }
    Ok(fields)
}

fn target_group(
    name: &Name,
    here: &Namespace,
    body: &PutTargetGroup,
    present: Option<&Fields>,
) -> Result<Fields, InvalidSpec> {
    let new = TargetGroupSpec::of_service(QualifiedName::new(here.clone(), name.clone()));
    let present = present.and_then(|fields| {
        let body: PutTargetGroup = serde_json::from_value(Json::Object(fields.clone())).ok()?;
        let mut spec = body.to_domain(new.clone()).ok()?;
        // What is shown of addresses may be what all have of which nothing was said.
        let is_said = |delay: &Span| {
            matches!(spec.targets, Targets::Service(_)) || *delay != TargetGroupSpec::DEREGISTRATION_DELAY
        };
        spec.deregistration_delay = spec.deregistration_delay.filter(is_said);
        Some(spec)
    });
    let after = body.to_domain(present.unwrap_or(new))?;
    let mut body = PutTargetGroup { targets: (&after.targets).into(), ..body.clone() };
    let is_said = matches!(body.health_check, Setting::Given(_));
    if let Some(check) = after.health_check.as_ref().filter(|_| is_said) {
        body.health_check = Setting::Given(TargetHealthCheck::from(check).into());
    }
    // Of addresses there always is one, and it is shown.
    if body.deregistration_delay == Setting::None && !matches!(after.targets, Targets::Service(_)) {
        body.deregistration_delay = Setting::Given(after.delay());
    }
    Ok(table(&body))
}

fn listener(name: &Name, body: &PutListener, present: Option<&Fields>) -> Result<Fields, InvalidSpec> {
    let present = present.and_then(|fields| {
        let body: PutListener = serde_json::from_value(Json::Object(fields.clone())).ok()?;
        body.to_domain(name, None).ok()
    });
    let after = body.to_domain(name, present.as_ref())?;
    let default_action = body.default_action.is_some().then(|| (&after.default_action).into());
    Ok(table(&PutListener { default_action, ..body.clone() }))
}

fn event_rule(
    body: &PutEventRule,
    name: &QualifiedName,
    present: Option<&Fields>,
) -> Result<Fields, InvalidSpec> {
    let present = present.and_then(|fields| {
        let body: PutEventRule = serde_json::from_value(Json::Object(fields.clone())).ok()?;
        body.to_domain(name.clone(), None).ok()
    });
    let whole = PutEventRule::from(&body.to_domain(name.clone(), present.as_ref())?);
    // Targets that are left out stay.
    let targets = whole.targets.filter(|_| body.targets.is_some());
    Ok(table(&PutEventRule { targets, ..whole }))
}

fn rule(body: &PutListenerRule, name: &QualifiedName) -> Result<Fields, InvalidSpec> {
    let rule = body.to_domain(name)?;
    let (listener, action) = (Some(rule.listener), (&rule.action).into());
    Ok(table(&PutListenerRule { listener, action, ..body.clone() }))
}

/// Each once, in the order given.
fn unique<T: Clone + Ord>(items: &[T]) -> Vec<T> {
    let mut seen = BTreeSet::new();
    items.iter().filter(|item| seen.insert((*item).clone())).cloned().collect()
}

/// Each once, in order.
fn sorted<T: Clone + Ord>(items: &[T]) -> Vec<T> {
    items.iter().cloned().collect::<BTreeSet<T>>().into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::super::difference::Change;
    use super::super::format::yaml;
    use super::super::present::definition_body;
    use super::*;
    use serde_json::json;
    use std::path::Path;

    fn resource(text: &str) -> Resource {
        Resource::read(&yaml::read(text).unwrap()[0], &"shop".parse().unwrap(), &Path::new("a").into())
            .unwrap()
    }

    fn settle(text: &str) -> Result<Json, String> {
        settled(&resource(text), None).map(Json::Object).map_err(|error| error.to_string())
    }

    #[test]
    fn names_get_their_namespaces_and_defaults_are_filled_in() {
        assert_eq!(
            settle("kind: rule\nname: a\nspec: { priority: 7, conditions: ['path=*'], action: { forward: { groups: [{ group: b }] } } }")
                .unwrap(),
            json!({
                "listener": "http", "priority": 7, "conditions": ["path=*"],
                "action": { "forward": { "groups": [{ "group": "shop/b", "weight": 1 }] } },
            })
        );
        let listener = settle(
            "kind: listener\nname: a\nspec: { protocol: http, port: 9000, default_action: { redirect: { to: /new } } }",
        )
        .unwrap();
        assert_eq!(
            listener["default_action"]["redirect"],
            json!({ "to": "#{protocol}://#{host}:#{port}/new?#{query}", "status": 301 })
        );
        let service = settle(
            "kind: service\nname: a\nspec: { definition: a, hosts: [b.example, a.example, b.example], \
             security_groups: [b, a, b] }",
        )
        .unwrap();
        assert_eq!(service["hosts"], json!(["b.example", "a.example"]));
        assert_eq!(service["security_groups"], json!(["a", "b"]));
        let group = settle("kind: target-group\nname: a\nspec: { targets: { service: b } }").unwrap();
        assert_eq!(group, json!({ "targets": { "service": "shop/b" } }));
    }

    #[test]
    fn a_delay_that_is_taken_away_is_that_of_all_addresses() {
        let delay = |targets: &str| {
            let text = format!(
                "kind: target-group\nname: a\nspec: {{ targets: {targets}, deregistration_delay: null }}"
            );
            settle(&text).unwrap()["deregistration_delay"].clone()
        };
        assert_eq!(delay("{ outside: ['192.0.2.7:80'] }"), "5m");
        assert_eq!(delay("{ service: a }"), Json::Null);
        // Nobody said it of the addresses that the group had, so nothing is said of another service's tasks.
        let shown = json!({ "targets": { "outside": ["192.0.2.7:80"] }, "deregistration_delay": "5m" });
        let other = resource("kind: target-group\nname: a\nspec: { targets: { service: b } }");
        assert!(settled(&other, shown.as_object()).is_ok());
    }

    #[test]
    fn how_a_service_is_deployed_is_whole_with_what_it_keeps() {
        let document = resource(
            "kind: service\nname: a\nspec: { definition: a, deployment: { min_healthy_percent: 50 } }",
        );
        let deployment = |present: Option<Json>| {
            settled(&document, present.as_ref().and_then(Json::as_object)).unwrap()["deployment"].clone()
        };
        let new = json!({
            "min_healthy_percent": 50, "max_percent": 200, "circuit_breaker": "rollback", "strategy": "ROLLING", "alarms": [],
            "test_hosts": [],
        });
        assert_eq!(deployment(None), new);
        let shown = json!({ "min_healthy_percent": 100, "max_percent": 150, "circuit_breaker": "stop", "grace": "5s" });
        let kept = json!({
            "min_healthy_percent": 50, "max_percent": 150, "circuit_breaker": "stop", "grace": "5s", "strategy": "ROLLING",
            "alarms": [], "test_hosts": [],
        });
        assert_eq!(deployment(Some(json!({ "deployment": shown }))), kept);
        let stuck = "kind: service\nname: a\nspec: { definition: a, deployment: { min_healthy_percent: 100, max_percent: 100 } }";
        assert!(settle(stuck).unwrap_err().contains("lower the minimum"));
    }

    #[test]
    fn an_alarm_is_whole() {
        let alarm = settle(
            "kind: alarm\nname: a\nspec: { metric: requestcount, service: web, threshold: 80, evaluation_periods: 3 }",
        )
        .unwrap();
        let expected = json!({
            "metric": "RequestCount", "service": "web", "statistic": "Sum", "period": "1m", "threshold": 80.0,
            "comparison": "GreaterThanThreshold", "evaluation_periods": 3, "datapoints_to_alarm": 3,
            "treat_missing_data": "missing",
        });
        assert_eq!(alarm, expected);
        let error =
            settle("kind: alarm\nname: a\nspec: { metric: jobs, threshold: 1, period: 1ms }").unwrap_err();
        assert!(error.contains("whole seconds"), "{error}");
    }

    #[test]
    fn a_role_says_each_grant_once() {
        let role = settle(
            "kind: role\nname: a\nspec: { allow: ['bucket:read uploads/*', 'bus:put default', 'bucket:read uploads/*'] }",
        );
        assert_eq!(role.unwrap(), json!({ "allow": ["bucket:read uploads/*", "bus:put default"] }));
        let grants: Vec<String> = (0..101).map(|number| format!("'bus:put b{number}'")).collect();
        let grants = grants.join(", ");
        let error = settle(&format!("kind: role\nname: a\nspec: {{ allow: [{grants}] }}")).unwrap_err();
        assert!(error.starts_with("a role with 101 grants has too many"), "{error}");
    }

    #[test]
    fn rules_and_schedules_of_events_are_whole_but_for_targets_that_stay() {
        let rule = settle("kind: event-rule\nname: a\nspec: { pattern: { source: [shop] } }").unwrap();
        assert_eq!(rule, json!({ "bus": "default", "pattern": "{\"source\":[\"shop\"]}", "enabled": true }));
        let rule = settle(
            "kind: event-rule\nname: a\nspec: { pattern: '{}', targets: [{ id: b, to: { service: { name: web } } }] }",
        )
        .unwrap();
        let target = json!({
            "id": "b", "to": { "service": { "name": "web", "path": "/" } }, "age_max": "1d", "retries_max": 185, "concurrency": 10,
            "timeout": "1m",
        });
        assert_eq!(rule["targets"], json!([target]));
        let schedule = settle(
            "kind: event-schedule\nname: a\nspec: { schedule: rate(1 day), target: { to: { queue: { name: q } } } }",
        )
        .unwrap();
        assert_eq!(
            (&schedule["zone"], &schedule["missed"], &schedule["enabled"]),
            (&json!("UTC"), &json!("once"), &json!(true))
        );
    }

    #[test]
    fn buckets_and_queues_have_their_defaults_filled_in() {
        assert_eq!(settle("kind: bucket\nname: a\nspec: {}").unwrap(), json!({ "bus": "default" }));
        assert_eq!(settle("kind: table\nname: a\nspec: {}").unwrap(), json!({}));
        let queue = settle("kind: queue\nname: a\nspec: { delay: 5s }").unwrap();
        assert_eq!(
            (&queue["delay"], &queue["retention"], &queue["fifo"]),
            (&json!("5s"), &json!("4d"), &json!(false))
        );
        let error = settle("kind: queue\nname: a\nspec: { delay: 1h }").unwrap_err();
        assert_eq!(error, "delay is 1h; it can be from 0ms to 15m");
    }

    #[test]
    fn a_consumer_has_its_defaults_filled_in() {
        let consumer = settle("kind: consumer\nname: a\nspec: { queue: b, service: c }").unwrap();
        assert_eq!(consumer, json!({ "queue": "b", "service": "c", "batch": 10, "concurrency": 1 }));
        let error = settle("kind: consumer\nname: a\nspec: { queue: b, service: c, batch: 11 }").unwrap_err();
        assert_eq!(error, "batch is 11; it can be from 1 to 10");
    }

    #[test]
    fn a_health_check_is_whole() {
        let group = settle(
            "kind: target-group\nname: a\nspec: { targets: { outside: ['192.0.2.7:80'] }, health_check: { path: /ready } }",
        )
        .unwrap();
        let check = &group["health_check"];
        assert_eq!(
            (&check["path"], &check["interval"], &check["matcher"]),
            (&json!("/ready"), &json!("10s"), &json!("200"))
        );
    }

    #[test]
    fn scaling_is_whole_and_as_it_is_shown() {
        let scaling = settle(
            "kind: scaling\nname: a\nspec: { min: 1, max: 9, policies: [{ target_tracking: { name: cpu, metric: \
             ECSServiceAverageCPUUtilization, target: 60 } }] }",
        )
        .unwrap();
        let policy = &scaling["policies"][0]["target_tracking"];
        assert_eq!((&policy["metric"], &policy["target"]), (&json!("CPUUtilization"), &json!(60.0)));
        assert_eq!((&policy["statistic"], &policy["scale_in_cooldown"]), (&json!("Average"), &json!("5m")));
        let error = settle("kind: scaling\nname: a\nspec: { min: 9, max: 1 }").unwrap_err();
        assert!(error.contains("the bounds are 9 and 1 tasks"), "{error}");
    }

    #[test]
    fn what_can_not_be_is_refused_by_the_api() {
        let groups = "kind: rule\nname: a\nspec: { priority: 7, conditions: ['path=*'], action: { forward: { groups: [] } } }";
        let error = settle(groups).unwrap_err();
        assert!(error.contains("an action that forwards has no target group"), "{error}");
        let error = settle("kind: target-group\nname: a\nspec: { targets: { outside: [] } }").unwrap_err();
        assert!(error.contains("a target group of addresses has none"), "{error}");
        let error = settle(
            "kind: rule\nname: a\nspec: { priority: 0, conditions: ['path=*'], action: { fixed_response: { status: 404 } } }",
        )
        .unwrap_err();
        assert!(error.contains("priority"), "{error}");
        let error = settle(
            "kind: rule\nname: a\nspec: { priority: 1, conditions: [], action: { fixed_response: { status: 404 } } }",
        )
        .unwrap_err();
        assert!(error.contains("a rule without conditions would take everything"), "{error}");
        let error = settle("kind: listener\nname: a\nspec: { protocol: https, port: 8443 }").unwrap_err();
        assert!(error.contains("a listener of https shows its clients a certificate"), "{error}");
        let error = settle("kind: listener\nname: a\nspec: { protocol: http, port: 0 }").unwrap_err();
        assert!(error.contains("port is 0"), "{error}");
        let error = settle("kind: service\nname: a\nspec: { definition: a, desired: 1001 }").unwrap_err();
        assert!(error.contains("a service has at most 1000 tasks"), "{error}");
    }

    #[test]
    fn a_listener_is_judged_with_what_it_keeps() {
        let tcp = resource("kind: listener\nname: a\nspec: { protocol: tcp, port: 9000 }");
        let present = |action: Json| {
            let present =
                json!({ "protocol": "http", "port": 9000, "services": true, "default_action": action });
            present.as_object().unwrap().clone()
        };
        let forward = present(json!({ "forward": { "groups": [{ "group": "default/kv", "weight": 1 }] } }));
        let wanted = settled(&tcp, Some(&forward)).unwrap();
        assert_eq!(Json::Object(wanted), json!({ "protocol": "tcp", "port": 9000 }));
        let respond = present(json!({ "fixed_response": { "status": 404 } }));
        let error = settled(&tcp, Some(&respond)).unwrap_err().to_string();
        assert!(error.contains("a listener of tcp can do nothing but forward"), "{error}");
    }

    #[test]
    fn a_definition_that_is_registered_says_the_same() {
        let digest = format!("sha256:{}", "ab".repeat(32));
        let shown = |more: Json| -> skiff_api::TaskDefinition {
            let mut shown = json!({
                "id": "kv:3", "namespace": "shop", "image": "kv:latest", "requested_limits": { "cpu": "512" },
                "arguments": [], "environment": { "LOG": "debug" },
                "limits": {
                    "cpu": "512", "memory": "128MiB", "timeout": "30s", "concurrency": 100, "queue": 100,
                    "request_body": "10MiB", "response_body": "100MiB", "log_rate": "1MiB",
                },
                "component": {
                    "digest": digest, "kind": "command", "generation": "0.2", "imports": [], "exports": [],
                    "minimum_memory_bytes": 1, "component_bytes": 1, "native_bytes": 1, "compile_ms": 1,
                },
                "security_groups": ["a", "b"], "sandboxes_max": 100, "created_at_ms": 1_000,
            });
            shown.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            serde_json::from_value(shown).unwrap()
        };
        let change = |text: &str, more: Json| {
            let Spec::TaskDefinition(body) = resource(text).spec else { panic!() };
            let wanted = definition(&body, digest.parse().unwrap());
            Change::between(Some(&definition_body(&shown(more))), &wanted, true)
        };
        let text = "kind: task-definition\nname: kv\nspec:\n  image: kv:latest\n  limits: { cpu: '512' }\n  \
                    environment: { LOG: debug }\n  security_groups: [b, a]\n";
        assert_eq!(change(text, json!({})), Change::Nothing);
        let daemon = format!("{text}  port: 6379\n  health_check: {{ interval: 1s }}\n");
        let check =
            json!({ "interval": "1s", "timeout": "2s", "healthy": 2, "unhealthy": 3, "start_period": "30s" });
        let more = json!({ "port": 6379, "stop_timeout": "30s", "health_check": check });
        assert_eq!(change(&daemon, more), Change::Nothing);
        let shown = change(&daemon, json!({ "port": 6379, "stop_timeout": "5s", "health_check": check }));
        assert_eq!(shown.shown("a"), "~ change a\n    stop_timeout: 5s → 30s");
    }
}

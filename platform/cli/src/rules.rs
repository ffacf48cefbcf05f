//! `skiff rule …`: the rules of listeners. Those of buses are `event_rules`, those of security groups `skiff sg`'s.

use crate::args::{RuleCommand, RuleCreateArgs, RuleExplainArgs, RuleListArgs};
use crate::context::{Context, all_pages};
use crate::{actions, event_rules, human, output, progress, target_groups};
use skiff_api::{
    ExplainRequest, Limit, ListenerRule, ListenerRuleListQuery, PageQuery, PutListenerRule,
    RequestExplanation, TakenBy,
};
use skiff_types::{Condition, Name};

pub(crate) async fn run(context: &Context, command: &RuleCommand) -> anyhow::Result<()> {
    match command {
        RuleCommand::Create(args) => create(context, args).await,
        RuleCommand::Put(args) => event_rules::put(context, args).await,
        RuleCommand::Ls(RuleListArgs { bus: Some(bus), .. }) => event_rules::list(context, bus).await,
        RuleCommand::Ls(args) => list(context, args).await,
        RuleCommand::Show { name, bus: Some(bus) } => event_rules::show(context, name, bus).await,
        RuleCommand::Show { name, bus: None } => show(context, name).await,
        RuleCommand::Rm { names, bus: Some(bus) } => event_rules::remove(context, names, bus).await,
        RuleCommand::Rm { names, bus: None } => remove(context, names).await,
        RuleCommand::Explain(args) => explain(context, args).await,
    }
}

async fn create(context: &Context, args: &RuleCreateArgs) -> anyhow::Result<()> {
    let action = actions::asked_for(&args.action, &context.namespace);
    let body = PutListenerRule {
        listener: Some(args.listener.clone()),
        priority: args.priority.get(),
        conditions: args.conditions.clone(),
        action: action.expect("the grammar asks for one"),
        limit: args.limit.map(Limit::from),
    };
    let rule = context.client()?.put_rule(&context.namespace, &args.name, &body, None).await?;
    context.output.print(&rule, || details(&rule))?;
    Ok(())
}

async fn list(context: &Context, args: &RuleListArgs) -> anyhow::Result<()> {
    let client = &context.client()?;
    let mut rules = all_pages(|cursor| async move {
        let (listener, limit) = (args.listener.clone(), Some(PageQuery::LIMIT_MAX));
        client.list_rules(&context.namespace, &ListenerRuleListQuery { listener, limit, cursor }).await
    })
    .await?;
    // As they are asked.
    rules.sort_by(|one, other| (&one.listener, one.priority).cmp(&(&other.listener, other.priority)));
    context.output.print(&rules, || table(&rules, human::now_ms()))?;
    Ok(())
}

async fn show(context: &Context, name: &Name) -> anyhow::Result<()> {
    let rule = context.client()?.get_rule(&context.namespace, name).await?;
    context.output.print(&rule, || details(&rule))?;
    Ok(())
}

async fn remove(context: &Context, names: &[Name]) -> anyhow::Result<()> {
    let client = context.client()?;
    for name in names {
        client.delete_rule(&context.namespace, name, None).await?;
        progress::note(format!("removed {name}"));
    }
    context.output.print(names, String::new)?;
    Ok(())
}

async fn explain(context: &Context, args: &RuleExplainArgs) -> anyhow::Result<()> {
    let request = ExplainRequest {
        method: args.method.clone(),
        url: args.url.clone(),
        headers: args.headers.clone(),
        source: args.source,
    };
    let explanation = context.client()?.explain_request(&args.listener, &request).await?;
    context.output.print(&explanation, || explained(&request, &explanation))?;
    Ok(())
}

fn table(rules: &[ListenerRule], now_ms: u64) -> String {
    let row = |rule: &ListenerRule| {
        [
            rule.listener.to_string(),
            rule.priority.to_string(),
            rule.name.to_string(),
            conditions(&rule.conditions, " and "),
            actions::text(&rule.action, Some(&rule.namespace)),
            human::age(rule.updated_at_ms, now_ms),
        ]
    };
    let header = ["LISTENER", "PRIORITY", "NAME", "CONDITIONS", "ACTION", "CHANGED"];
    output::columns(header, rules.iter().map(row))
}

fn details(rule: &ListenerRule) -> String {
    let body = actions::body(&rule.action).map(|body| ("Body", body.to_owned()));
    let limit = [("Limit", output::or_none(rule.limit))];
    let rows = [
        ("Name", rule.name.to_string()),
        ("Namespace", rule.namespace.to_string()),
        ("Listener", rule.listener.to_string()),
        ("Priority", rule.priority.to_string()),
        ("Conditions", conditions(&rule.conditions, "\n")),
        ("Action", actions::text(&rule.action, Some(&rule.namespace))),
    ];
    let last = [
        ("Revision", rule.revision.to_string()),
        ("Created", human::timestamp(rule.created_at_ms)),
        ("Changed", human::timestamp(rule.updated_at_ms)),
    ];
    output::properties(rows.into_iter().chain(body).chain(limit).chain(last))
}

fn conditions(conditions: &[Condition], between: &str) -> String {
    conditions.iter().map(Condition::to_string).collect::<Vec<_>>().join(between)
}

/// What was asked of a request in turn, and what takes it.
fn explained(request: &ExplainRequest, explanation: &RequestExplanation) -> String {
    const NOBODY: &str = "there is neither a target group nor a service of that name: 503";
    let RequestExplanation { listener, steps, taken_by, action, target_groups: groups } = explanation;
    let mut parts = vec![format!("{} {} at the listener {listener}", request.method, request.url)];
    if !steps.is_empty() {
        let rows = steps.iter().map(|step| {
            let outcome = match &step.failed {
                Some(condition) => format!("{condition} does not hold"),
                None => "takes it".to_owned(),
            };
            [step.priority.to_string(), step.rule.to_string(), outcome]
        });
        parts.push(output::columns(["PRIORITY", "RULE", "OUTCOME"], rows));
    }
    let taken_by = match taken_by {
        TakenBy::Rule(rule) => format!("the rule {rule}"),
        TakenBy::Service(service) => format!("the service {service}, by a host or a path that it names"),
        TakenBy::DefaultAction => format!("the default action of the listener {listener}"),
    };
    parts.push(format!("taken by {taken_by}: {}", actions::text(action, None)));
    if !groups.is_empty() {
        let rows = groups.iter().map(|group| {
            let targets = group.targets.as_ref().map_or_else(|| NOBODY.to_owned(), target_groups::summary);
            [group.target_group.to_string(), group.weight.to_string(), targets]
        });
        parts.push(output::columns(["TARGET GROUP", "WEIGHT", "TARGETS"], rows));
    }
    parts.join("\n\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule() -> ListenerRule {
        serde_json::from_value(serde_json::json!({
            "name": "api", "namespace": "default", "revision": 17, "listener": "http", "priority": 10,
            "conditions": ["host=shop.localhost", "path=/api/*,/v2/*"],
            "action": { "forward": { "groups": [
                { "group": "default/api", "weight": 95 }, { "group": "shop/api", "weight": 5 },
            ] } },
            "created_at_ms": 1_000, "updated_at_ms": 2_000,
        }))
        .unwrap()
    }

    #[test]
    fn rules_in_a_table() {
        let expected = "LISTENER   PRIORITY   NAME   CONDITIONS                                  ACTION                          CHANGED\n\
                        http       10         api    host=shop.localhost and path=/api/*,/v2/*   forward to api=95, shop/api=5   60s";
        assert_eq!(table(&[rule()], 62_000), expected);
    }

    #[test]
    fn a_rule_in_detail() {
        let expected = "Name         api\n\
                        Namespace    default\n\
                        Listener     http\n\
                        Priority     10\n\
                        Conditions   host=shop.localhost\n             path=/api/*,/v2/*\n\
                        Action       forward to api=95, shop/api=5\n\
                        Limit        -\n\
                        Revision     17\n\
                        Created      1970-01-01T00:00:01.000Z\n\
                        Changed      1970-01-01T00:00:02.000Z";
        assert_eq!(details(&rule()), expected);
        let limit = "rate=100,burst=200".parse::<skiff_types::Limit>().unwrap();
        let limited = details(&ListenerRule { limit: Some(limit.into()), ..rule() });
        assert!(limited.contains("Limit        rate=100,burst=200\n"), "{limited}");
    }

    fn request() -> ExplainRequest {
        let (method, url) = ("GET".to_owned(), "http://shop.localhost/api/items".to_owned());
        ExplainRequest { method, url, headers: vec![], source: None }
    }

    #[test]
    fn each_rule_that_was_asked_is_a_line() {
        let explanation: RequestExplanation = serde_json::from_value(serde_json::json!({
            "listener": "http",
            "steps": [
                { "rule": "default/closed", "priority": 5, "failed": "source=192.0.2.0/24" },
                { "rule": "default/api", "priority": 10 },
            ],
            "taken_by": { "rule": "default/api" },
            "action": { "forward": { "groups": [{ "group": "default/api" }, { "group": "default/gone" }] } },
            "target_groups": [
                { "target_group": "default/api", "weight": 1, "targets": { "service": "default/api" } },
                { "target_group": "default/gone", "weight": 1 },
            ],
        }))
        .unwrap();
        let expected = "GET http://shop.localhost/api/items at the listener http\n\
                        \n\
                        PRIORITY   RULE             OUTCOME\n\
                        5          default/closed   source=192.0.2.0/24 does not hold\n\
                        10         default/api      takes it\n\
                        \n\
                        taken by the rule default/api: forward to default/api=1, default/gone=1\n\
                        \n\
                        TARGET GROUP   WEIGHT   TARGETS\n\
                        default/api    1        the tasks of the service default/api\n\
                        default/gone   1        there is neither a target group nor a service of that name: 503";
        assert_eq!(explained(&request(), &explanation), expected);
    }

    #[test]
    fn what_no_rule_takes_is_a_services_or_ends_with_the_default_action() {
        let explanation = |taken_by: serde_json::Value| -> RequestExplanation {
            let action = serde_json::json!({ "fixed_response": { "status": 404 } });
            let explanation = serde_json::json!({
                "listener": "http", "steps": [], "taken_by": taken_by, "action": action, "target_groups": [],
            });
            serde_json::from_value(explanation).unwrap()
        };
        let head = "GET http://shop.localhost/api/items at the listener http\n\n";
        assert_eq!(
            explained(&request(), &explanation("default_action".into())),
            format!("{head}taken by the default action of the listener http: respond 404")
        );
        let service = serde_json::json!({ "service": "default/shop" });
        assert_eq!(
            explained(&request(), &explanation(service)),
            format!(
                "{head}taken by the service default/shop, by a host or a path that it names: respond 404"
            )
        );
    }
}

//! The rules of buses in `skiff rule …`, and `skiff target …`: which events go where. The rules of listeners are `rules`.

use crate::args::{EventRulePutArgs, TargetCommand, TargetPutArgs};
use crate::context::{Context, all_pages};
use crate::failure::usage;
use crate::output::or_none;
use crate::{human, input, output, progress};
use anyhow::bail;
use skiff_api::{
    EventDestination, EventInput, EventRule, EventRuleListQuery, EventTarget, JsonText, PageQuery,
    PutEventRule,
};
use skiff_types::Name;

/// Creates a rule, or changes one.
pub(crate) async fn put(context: &Context, args: &EventRulePutArgs) -> anyhow::Result<()> {
    let body = PutEventRule {
        bus: Some(args.bus.clone()),
        pattern: JsonText(input::json_or_file(&args.pattern)?),
        enabled: Some(!args.disabled),
        targets: None,
    };
    let rule = context.client()?.put_event_rule(&context.namespace, &args.name, &body, None).await?;
    if rule.targets.is_empty() {
        progress::note(format!(
            "{} leads nowhere yet; `skiff target put {} ID --to ...` says where",
            rule.name, rule.name
        ));
    }
    context.output.print(&rule, || details(&rule))?;
    Ok(())
}

/// Lists the rules of a bus.
pub(crate) async fn list(context: &Context, bus: &Name) -> anyhow::Result<()> {
    let client = &context.client()?;
    let rules = all_pages(|cursor| async move {
        let query = EventRuleListQuery { bus: Some(bus.clone()), limit: Some(PageQuery::LIMIT_MAX), cursor };
        client.list_event_rules(&context.namespace, &query).await
    })
    .await?;
    context.output.print(&rules, || table(&rules))?;
    Ok(())
}

/// Shows a rule of a bus.
pub(crate) async fn show(context: &Context, name: &Name, bus: &Name) -> anyhow::Result<()> {
    let rule = of_bus(context, name, bus).await?;
    context.output.print(&rule, || details(&rule))?;
    Ok(())
}

/// Removes rules of a bus.
pub(crate) async fn remove(context: &Context, names: &[Name], bus: &Name) -> anyhow::Result<()> {
    let client = context.client()?;
    for name in names {
        let rule = of_bus(context, name, bus).await?;
        client.delete_event_rule(&context.namespace, name, Some(rule.revision)).await?;
        progress::note(format!("removed {name}"));
    }
    context.output.print(names, String::new)?;
    Ok(())
}

/// A rule, which has to be one of this bus.
async fn of_bus(context: &Context, name: &Name, bus: &Name) -> anyhow::Result<EventRule> {
    let rule = context.client()?.get_event_rule(&context.namespace, name).await?;
    if rule.bus != *bus {
        bail!("the rule {name} is one of the bus {}, not of {bus}; say --bus {}", rule.bus, rule.bus);
    }
    Ok(rule)
}

/// `skiff target …`.
pub(crate) async fn targets(context: &Context, command: &TargetCommand) -> anyhow::Result<()> {
    match command {
        TargetCommand::Put(args) => put_target(context, args).await,
        TargetCommand::Ls { rule } => {
            let rule = context.client()?.get_event_rule(&context.namespace, rule).await?;
            context.output.print(&rule.targets, || target_table(&rule.targets))?;
            Ok(())
        }
        TargetCommand::Rm { rule, ids } => {
            let client = context.client()?;
            for id in ids {
                client.delete_event_target(&context.namespace, rule, id, None).await?;
                progress::note(format!("removed {id} from {rule}"));
            }
            context.output.print(ids, String::new)?;
            Ok(())
        }
    }
}

async fn put_target(context: &Context, args: &TargetPutArgs) -> anyhow::Result<()> {
    let target = args.target.target(Some(args.id.clone())).map_err(usage)?;
    let client = context.client()?;
    let rule = client.put_event_target(&context.namespace, &args.rule, &args.id, &target, None).await?;
    context.output.print(&rule, || details(&rule))?;
    Ok(())
}

fn table(rules: &[EventRule]) -> String {
    let row = |rule: &EventRule| {
        let state = if rule.enabled { "enabled" } else { "disabled" };
        let to: Vec<String> = rule.targets.iter().map(|target| destination(&target.to)).collect();
        [rule.name.to_string(), state.to_owned(), or_none((!to.is_empty()).then(|| to.join(", ")))]
    };
    output::columns(["NAME", "STATE", "TARGETS"], rules.iter().map(row))
}

fn details(rule: &EventRule) -> String {
    let targets = (!rule.targets.is_empty()).then(|| target_table(&rule.targets));
    let shown = output::properties([
        ("Name", rule.name.to_string()),
        ("Namespace", rule.namespace.to_string()),
        ("Bus", rule.bus.to_string()),
        ("Pattern", rule.pattern.0.trim_end().to_owned()),
        ("Enabled", if rule.enabled { "yes" } else { "no" }.to_owned()),
        ("Revision", rule.revision.to_string()),
        ("Created", human::timestamp(rule.created_at_ms)),
        ("Changed", human::timestamp(rule.updated_at_ms)),
    ]);
    [Some(shown), targets].into_iter().flatten().collect::<Vec<_>>().join("\n\n")
}

fn target_table(targets: &[EventTarget]) -> String {
    let row = |target: &EventTarget| {
        [
            or_none(target.id.as_ref()),
            destination(&target.to),
            sent(target.input.as_ref()),
            or_none(target.retries_max),
            or_none(target.age_max),
            or_none(target.dead_letter.as_ref()),
            or_none(target.concurrency),
            or_none(target.timeout),
        ]
    };
    let header = ["TARGET", "TO", "SENDS", "RETRIES", "AGE", "DEAD LETTERS", "AT ONCE", "TIMEOUT"];
    output::columns(header, targets.iter().map(row))
}

/// Where events go, as `--to` has it.
pub(crate) fn destination(to: &EventDestination) -> String {
    match to {
        EventDestination::Task(task) => format!("task:{}", task.definition),
        EventDestination::Service(service) => {
            let path = service.path.as_deref().filter(|path| *path != "/").unwrap_or_default();
            format!("service:{}{path}", service.name)
        }
        EventDestination::Queue(queue) => format!("queue:{}", queue.name),
        EventDestination::Bus(bus) => format!("bus:{bus}"),
        EventDestination::Webhook(url) => url.without_query().to_owned(),
    }
}

/// What a target is sent, in a word.
pub(crate) fn sent(input: Option<&EventInput>) -> String {
    match input {
        None => "the event".to_owned(),
        Some(EventInput::Path(path)) => path.clone(),
        Some(EventInput::Constant(_)) => "a constant".to_owned(),
        Some(EventInput::Template(_)) => "a template".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn rule() -> EventRule {
        serde_json::from_value(json!({
            "name": "placed", "namespace": "default", "revision": 7, "bus": "shop", "pattern": "{\"source\":[\"web\"]}",
            "enabled": true, "created_at_ms": 1_000, "updated_at_ms": 2_000,
            "targets": [
                {
                    "id": "pack", "to": { "service": { "name": "pack", "path": "/orders" } }, "age_max": "1d", "retries_max": 185,
                    "concurrency": 10, "timeout": "5m",
                },
                {
                    "id": "mail", "to": { "webhook": "https://example.com/hook?key=secret" }, "input": { "path": "$.detail" },
                    "age_max": "1h", "retries_max": 3, "concurrency": 1, "dead_letter": "dead",
                },
            ],
        }))
        .unwrap()
    }

    #[test]
    fn rules_in_a_table() {
        let expected = "NAME     STATE     TARGETS\n\
                        placed   enabled   service:pack/orders, https://example.com/hook";
        assert_eq!(table(&[rule()]), expected);
    }

    #[test]
    fn a_rule_in_detail_has_its_targets() {
        let shown = details(&rule());
        assert!(
            shown.contains("Bus         shop\nPattern     {\"source\":[\"web\"]}\nEnabled     yes\n"),
            "{shown}"
        );
        let targets = "TARGET   TO                         SENDS       RETRIES   AGE   DEAD LETTERS   AT ONCE   TIMEOUT\n\
                       pack     service:pack/orders        the event   185       1d    -              10        5m\n\
                       mail     https://example.com/hook   $.detail    3         1h    dead           1         -";
        assert!(shown.ends_with(targets), "{shown}");
        assert!(!shown.contains("secret"), "{shown}");
    }
}

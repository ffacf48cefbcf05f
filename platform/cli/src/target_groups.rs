//! `skiff target-group …`.

use crate::args::{TargetGroupCommand, TargetGroupCreateArgs};
use crate::context::{Context, all_pages};
use crate::{actions, human, output, progress};
use skiff_api::{PageQuery, PutTargetGroup, TargetGroup, Targets};
use skiff_types::Name;

pub(crate) async fn run(context: &Context, command: &TargetGroupCommand) -> anyhow::Result<()> {
    match command {
        TargetGroupCommand::Create(args) => create(context, args).await,
        TargetGroupCommand::Ls => list(context).await,
        TargetGroupCommand::Show { name } => show(context, name).await,
        TargetGroupCommand::Rm { names } => remove(context, names).await,
    }
}

async fn create(context: &Context, args: &TargetGroupCreateArgs) -> anyhow::Result<()> {
    let body = PutTargetGroup { targets: targets(args), protocol: args.protocol, algorithm: args.algorithm };
    let group = context.client()?.put_target_group(&context.namespace, &args.name, &body, None).await?;
    context.output.print(&group, || details(&group))?;
    Ok(())
}

/// Who they are; the grammar asks for one kind of them.
fn targets(args: &TargetGroupCreateArgs) -> Targets {
    match &args.service {
        Some(service) => Targets::Service(service.clone()),
        None if args.outside.is_empty() => Targets::Virtual(args.address.clone()),
        None => Targets::Outside(args.outside.clone()),
    }
}

async fn list(context: &Context) -> anyhow::Result<()> {
    let client = &context.client()?;
    let groups = all_pages(|cursor| async move {
        let query = PageQuery { limit: Some(PageQuery::LIMIT_MAX), cursor };
        client.list_target_groups(&context.namespace, &query).await
    })
    .await?;
    context.output.print(&groups, || table(&groups, human::now_ms()))?;
    Ok(())
}

async fn show(context: &Context, name: &Name) -> anyhow::Result<()> {
    let group = context.client()?.get_target_group(&context.namespace, name).await?;
    context.output.print(&group, || details(&group))?;
    Ok(())
}

async fn remove(context: &Context, names: &[Name]) -> anyhow::Result<()> {
    let client = context.client()?;
    for name in names {
        client.delete_target_group(&context.namespace, name, None).await?;
        progress::note(format!("removed {name}"));
    }
    context.output.print(names, String::new)?;
    Ok(())
}

/// Who the targets are, in a few words.
pub(crate) fn summary(targets: &Targets) -> String {
    match targets {
        Targets::Service(service) => format!("the tasks of the service {service}"),
        Targets::Virtual(addresses) => few(addresses, "tasks by address"),
        Targets::Outside(hosts) => few(hosts, "hosts outside"),
    }
}

/// Themselves, if there are no more of them than a line has room for.
fn few<T: ToString>(targets: &[T], what: &str) -> String {
    const SHOWN_MAX: usize = 3;
    match targets.len() {
        0..=SHOWN_MAX => joined(targets, ", "),
        count => format!("{count} {what}"),
    }
}

fn joined<T: ToString>(items: &[T], between: &str) -> String {
    items.iter().map(T::to_string).collect::<Vec<_>>().join(between)
}

fn table(groups: &[TargetGroup], now_ms: u64) -> String {
    let row = |group: &TargetGroup| {
        [
            group.name.to_string(),
            summary(&group.targets),
            group.protocol.to_string(),
            group.algorithm.to_string(),
            human::age(group.updated_at_ms, now_ms),
        ]
    };
    output::columns(["NAME", "TARGETS", "PROTOCOL", "ALGORITHM", "CHANGED"], groups.iter().map(row))
}

fn details(group: &TargetGroup) -> String {
    let targets = match &group.targets {
        Targets::Service(service) => ("Service", actions::name(service, Some(&group.namespace))),
        Targets::Virtual(addresses) => ("Addresses", joined(addresses, "\n")),
        Targets::Outside(hosts) => ("Outside", joined(hosts, "\n")),
    };
    output::properties([
        ("Name", group.name.to_string()),
        ("Namespace", group.namespace.to_string()),
        targets,
        ("Protocol", group.protocol.to_string()),
        ("Algorithm", group.algorithm.to_string()),
        ("Revision", group.revision.to_string()),
        ("Created", human::timestamp(group.created_at_ms)),
        ("Changed", human::timestamp(group.updated_at_ms)),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(name: &str, targets: serde_json::Value) -> TargetGroup {
        serde_json::from_value(serde_json::json!({
            "name": name, "namespace": "default", "revision": 17, "targets": targets, "protocol": "http1",
            "algorithm": "round-robin", "created_at_ms": 1_000, "updated_at_ms": 2_000,
        }))
        .unwrap()
    }

    #[test]
    fn target_groups_in_a_table() {
        let many: Vec<String> = (1..=4).map(|last| format!("10.64.0.{last}:80")).collect();
        let groups = [
            group("legacy", serde_json::json!({ "outside": ["192.0.2.7:8080", "example.org:80"] })),
            group("many", serde_json::json!({ "virtual": many })),
            group("shop", serde_json::json!({ "service": "default/shop" })),
        ];
        let expected = "NAME     TARGETS                                 PROTOCOL   ALGORITHM     CHANGED\n\
             legacy   192.0.2.7:8080, example.org:80          http1      round-robin   60s\n\
             many     4 tasks by address                      http1      round-robin   60s\n\
             shop     the tasks of the service default/shop   http1      round-robin   60s";
        assert_eq!(table(&groups, 62_000), expected);
    }

    #[test]
    fn a_target_group_in_detail() {
        let legacy = group("legacy", serde_json::json!({ "outside": ["192.0.2.7:8080", "example.org:80"] }));
        let expected = "Name        legacy\n\
                        Namespace   default\n\
                        Outside     192.0.2.7:8080\n            example.org:80\n\
                        Protocol    http1\n\
                        Algorithm   round-robin\n\
                        Revision    17\n\
                        Created     1970-01-01T00:00:01.000Z\n\
                        Changed     1970-01-01T00:00:02.000Z";
        assert_eq!(details(&legacy), expected);
        let shop = details(&group("shop", serde_json::json!({ "service": "default/shop" })));
        assert!(shop.contains("Service     shop\n"), "{shop}");
    }
}

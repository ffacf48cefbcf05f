//! `skiff bus …`: where events are put, and rules take them from.

use crate::args::BusCommand;
use crate::context::{Context, all_pages};
use crate::{human, output, progress};
use skiff_api::{Bus, PageQuery, PutBus};
use skiff_types::Name;

pub(crate) async fn run(context: &Context, command: &BusCommand) -> anyhow::Result<()> {
    let namespace = &context.namespace;
    match command {
        BusCommand::Create { name } => {
            let bus = context.client()?.put_bus(namespace, name, &PutBus::default(), None).await?;
            context.output.print(&bus, || details(&bus))?;
        }
        BusCommand::Ls => list(context).await?,
        BusCommand::Show { name } => {
            let bus = context.client()?.get_bus(namespace, name).await?;
            context.output.print(&bus, || details(&bus))?;
        }
        BusCommand::Rm { names } => remove(context, names).await?,
    }
    Ok(())
}

async fn list(context: &Context) -> anyhow::Result<()> {
    let client = &context.client()?;
    let buses = all_pages(|cursor| async move {
        let query = PageQuery { limit: Some(PageQuery::LIMIT_MAX), cursor };
        client.list_buses(&context.namespace, &query).await
    })
    .await?;
    context.output.print(&buses, || table(&buses))?;
    Ok(())
}

async fn remove(context: &Context, names: &[Name]) -> anyhow::Result<()> {
    let client = context.client()?;
    for name in names {
        client.delete_bus(&context.namespace, name, None).await?;
        progress::note(format!("removed {name}"));
    }
    context.output.print(names, String::new)?;
    Ok(())
}

fn table(buses: &[Bus]) -> String {
    let row = |bus: &Bus| [bus.name.to_string(), bus.rules.to_string()];
    output::columns(["NAME", "RULES"], buses.iter().map(row))
}

fn details(bus: &Bus) -> String {
    let made = (bus.revision > 0).then(|| human::timestamp(bus.created_at_ms));
    output::properties([
        ("Name", bus.name.to_string()),
        ("Namespace", bus.namespace.to_string()),
        ("Rules", bus.rules.to_string()),
        ("Created", made.unwrap_or_else(|| "is there in each namespace".to_owned())),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buses_in_a_table_and_in_detail() {
        let bus = |name: &str, revision: u64| -> Bus {
            serde_json::from_value(serde_json::json!({
                "name": name, "namespace": "default", "revision": revision, "rules": 2, "created_at_ms": 1_000, "updated_at_ms": 1_000,
            }))
            .unwrap()
        };
        let buses = [bus("default", 0), bus("shop", 7)];
        assert_eq!(table(&buses), "NAME      RULES\ndefault   2\nshop      2");
        assert!(details(&buses[0]).ends_with("Created     is there in each namespace"));
        assert!(details(&buses[1]).ends_with("Created     1970-01-01T00:00:01.000Z"));
    }
}

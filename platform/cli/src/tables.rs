//! `skiff table …`: tables, and their items.

use crate::args::{ItemPutArgs, ItemScanArgs, TableCommand};
use crate::context::{Context, all_pages};
use crate::output::or_none;
use crate::{human, input, output, progress};
use anyhow::{Context as _, bail};
use skiff_api::{
    GetItems, IncrementItem, Item, ItemWrite, PageQuery, PutTable, ScanQuery, Table, WriteItems,
};
use skiff_types::Name;
use std::io::Write;

/// Letters of a value that a table shows.
const VALUE_SHOWN_MAX: usize = 60;
/// Items that are asked for at once.
const PAGE_MAX: u32 = 1_000;

pub(crate) async fn run(context: &Context, command: &TableCommand) -> anyhow::Result<()> {
    match command {
        TableCommand::Create { name } => {
            let table = context.client()?.put_table(&context.namespace, name, &PutTable {}, None).await?;
            context.output.print(&table, || details(&table))?;
        }
        TableCommand::Ls => list(context).await?,
        TableCommand::Show { name } => {
            let table = context.client()?.get_table(&context.namespace, name).await?;
            context.output.print(&table, || details(&table))?;
        }
        TableCommand::Rm { names } => remove(context, names).await?,
        TableCommand::Put(args) => put(context, args).await?,
        TableCommand::Get { table, key } => get(context, table, key).await?,
        TableCommand::Increment { table, key, delta } => {
            let body = IncrementItem { key: key.clone(), delta: *delta };
            let sum = context.client()?.increment_item(&context.namespace, table, &body).await?;
            context.output.print(&sum, || sum.value.to_string())?;
        }
        TableCommand::Scan(args) => scan(context, args).await?,
        TableCommand::Delete { table, keys } => delete(context, table, keys).await?,
    }
    Ok(())
}

async fn list(context: &Context) -> anyhow::Result<()> {
    let client = &context.client()?;
    let tables = all_pages(|cursor| async move {
        let query = PageQuery { limit: Some(PageQuery::LIMIT_MAX), cursor };
        client.list_tables(&context.namespace, &query).await
    })
    .await?;
    context.output.print(&tables, || {
        let now_ms = human::now_ms();
        let row = |table: &Table| [table.name.to_string(), human::age(table.created_at_ms, now_ms)];
        output::columns(["NAME", "AGE"], tables.iter().map(row))
    })?;
    Ok(())
}

async fn remove(context: &Context, names: &[Name]) -> anyhow::Result<()> {
    let client = context.client()?;
    for name in names {
        client.delete_table(&context.namespace, name, None).await?;
        progress::note(format!("removed {name}"));
    }
    context.output.print(names, String::new)?;
    Ok(())
}

async fn put(context: &Context, args: &ItemPutArgs) -> anyhow::Result<()> {
    let client = context.client()?;
    let value = match args.value.as_str() {
        "-" => input::standard()?,
        value => value.as_bytes().to_vec(),
    };
    let write = ItemWrite {
        expires_in: args.expires,
        if_absent: args.if_absent,
        if_version: args.if_version,
        ..ItemWrite::new(args.key.clone(), &value)
    };
    let body = WriteItems { writes: vec![write] };
    let written = client.write_items(&context.namespace, &args.table, &body).await?;
    let version = written.versions.first().copied().unwrap_or_default();
    context.output.print(&written, || format!("{} is in version {version}", args.key))?;
    Ok(())
}

async fn get(context: &Context, table: &Name, key: &str) -> anyhow::Result<()> {
    let body = GetItems { keys: vec![key.to_owned()] };
    let found = context.client()?.get_items(&context.namespace, table, &body).await?;
    let Some(item) = found.items.into_iter().flatten().next() else {
        bail!("there is no item {key:?} in the table {table}");
    };
    if context.output.is_json() {
        context.output.print(&item, String::new)?;
        return Ok(());
    }
    // As it is: whoever asks for a value may want its bytes.
    let value = item.bytes().context("the platform's answer can't be read")?;
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(&value)?;
    let is_a_line = std::str::from_utf8(&value).is_ok_and(|text| !text.is_empty() && !text.ends_with('\n'));
    if is_a_line {
        stdout.write_all(b"\n")?;
    }
    stdout.flush()?;
    Ok(())
}

async fn scan(context: &Context, args: &ItemScanArgs) -> anyhow::Result<()> {
    let client = context.client()?;
    let (mut items, mut after) = (Vec::new(), args.after.clone());
    while items.len() < args.limit as usize {
        let limit = (args.limit - items.len() as u32).min(PAGE_MAX);
        let query = ScanQuery { prefix: Some(args.prefix.clone()), after, limit: Some(limit) };
        let page = client.scan_items(&context.namespace, &args.table, &query).await?;
        items.extend(page.items);
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    context.output.print(&items, || rows(&items, human::now_ms()))?;
    if after.is_some() && !context.output.is_json() {
        progress::note(format!(
            "there are more: ask for more with --limit, or go on with --after {:?}",
            after.unwrap_or_default()
        ));
    }
    Ok(())
}

async fn delete(context: &Context, table: &Name, keys: &[String]) -> anyhow::Result<()> {
    let write = |key: &String| ItemWrite { key: key.clone(), delete: true, ..ItemWrite::default() };
    let body = WriteItems { writes: keys.iter().map(write).collect() };
    context.client()?.write_items(&context.namespace, table, &body).await?;
    context.output.print(keys, String::new)?;
    Ok(())
}

fn details(table: &Table) -> String {
    output::properties([
        ("Name", table.name.to_string()),
        ("Namespace", table.namespace.to_string()),
        ("Items", or_none(table.status.map(|status| status.items))),
        ("Size", or_none(table.status.map(|status| human::bytes(status.bytes)))),
        ("Revision", table.revision.to_string()),
        ("Created", human::timestamp(table.created_at_ms)),
    ])
}

fn rows(items: &[Item], now_ms: u64) -> String {
    let row = |item: &Item| {
        let left = item.expires_at_ms.map(|at_ms| human::age(now_ms, at_ms));
        [human::harmless(&item.key), item.version.to_string(), or_none(left), shown(item)]
    };
    output::columns(["KEY", "VERSION", "EXPIRES IN", "VALUE"], items.iter().map(row))
}

/// A value in one line, cut where it is long.
fn shown(item: &Item) -> String {
    let Some(value) = &item.value else {
        let bytes = item.bytes().map_or(0, |bytes| bytes.len());
        return format!("({} that are no text)", human::bytes(bytes as u64));
    };
    let line: String =
        value.chars().take(VALUE_SHOWN_MAX).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if value.chars().nth(VALUE_SHOWN_MAX).is_some() { format!("{line}…") } else { line }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_in_a_table() {
        let items = [
            Item::new("a".to_owned(), b"two\nlines", 7, None),
            Item::new("b".to_owned(), &[0xff; 3], 8, Some(61_000)),
            Item::new("c".to_owned(), "x".repeat(61).as_bytes(), 9, None),
        ];
        let shown = rows(&items, 1_000);
        let expected = format!(
            "KEY   VERSION   EXPIRES IN   VALUE\n\
             a     7         -            two lines\n\
             b     8         60s          ({} that are no text)\n\
             c     9         -            {}…",
            human::bytes(3),
            "x".repeat(60)
        );
        assert_eq!(shown, expected);
    }
}

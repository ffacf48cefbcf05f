//! `skiff key …`.

use crate::args::KeyCommand;
use crate::context::{Context, all_pages};
use crate::{human, output, progress};
use skiff_api::{AccessKey, CreateAccessKey, CreatedAccessKey, PageQuery};
use skiff_types::{AccessKeyId, Name};

pub(crate) async fn run(context: &Context, command: &KeyCommand) -> anyhow::Result<()> {
    match command {
        KeyCommand::Create { role } => create(context, role).await,
        KeyCommand::Ls => list(context).await,
        KeyCommand::Rm { ids } => remove(context, ids).await,
    }
}

async fn create(context: &Context, role: &Name) -> anyhow::Result<()> {
    let body = CreateAccessKey { role: role.clone() };
    let created = context.client()?.create_access_key(&context.namespace, &body).await?;
    progress::note("the secret is not shown again: keep it where its client finds it");
    context.output.print(&created, || secret(&created))?;
    Ok(())
}

async fn list(context: &Context) -> anyhow::Result<()> {
    let client = &context.client()?;
    let keys = all_pages(|cursor| async move {
        let query = PageQuery { limit: Some(PageQuery::LIMIT_MAX), cursor };
        client.list_access_keys(&context.namespace, &query).await
    })
    .await?;
    context.output.print(&keys, || table(&keys, human::now_ms()))?;
    Ok(())
}

async fn remove(context: &Context, ids: &[AccessKeyId]) -> anyhow::Result<()> {
    let client = context.client()?;
    for id in ids {
        client.delete_access_key(&context.namespace, id).await?;
        progress::note(format!("removed {id}"));
    }
    context.output.print(ids, String::new)?;
    Ok(())
}

fn table(keys: &[AccessKey], now_ms: u64) -> String {
    let row =
        |key: &AccessKey| [key.id.to_string(), key.role.to_string(), human::age(key.created_at_ms, now_ms)];
    output::columns(["KEY", "ROLE", "AGE"], keys.iter().map(row))
}

fn secret(key: &CreatedAccessKey) -> String {
    output::properties([
        ("Key", key.id.to_string()),
        ("Secret", key.secret.clone()),
        ("Role", key.role.to_string()),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn keys_in_a_table_and_one_as_it_is_made() {
        let key = json!({ "id": "SKIFABCDEFGHIJKLMNOP", "namespace": "default", "role": "uploader", "created_at_ms": 1_000 });
        let shown: AccessKey = serde_json::from_value(key.clone()).unwrap();
        let expected = "KEY                    ROLE       AGE\nSKIFABCDEFGHIJKLMNOP   uploader   60s";
        assert_eq!(table(&[shown], 61_000), expected);
        let mut created = key;
        created["secret"] = "A2".repeat(20).into();
        let created: CreatedAccessKey = serde_json::from_value(created).unwrap();
        assert!(secret(&created).contains(&format!("Secret   {}\n", "A2".repeat(20))));
    }
}

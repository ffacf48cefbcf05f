//! `skiff role …`.

use crate::args::{RoleCommand, RoleExplainArgs, RolePutArgs};
use crate::context::{Context, all_pages};
use crate::failure::usage;
use crate::output::{self, or_none};
use crate::{human, progress};
use anyhow::{Context as _, bail};
use skiff_api::{AccessExplanation, AccessQuery, Client, ErrorCode, PageQuery, PutRole, Role};
use skiff_types::{Grant, Name, ParseError};
use std::process::ExitCode;

/// How often what a role says is read anew because somebody else changed it meanwhile.
const ADD_ATTEMPTS: usize = 8;

pub(crate) async fn run(context: &Context, command: &RoleCommand) -> anyhow::Result<ExitCode> {
    match command {
        RoleCommand::Put(args) => put(context, args).await?,
        RoleCommand::Ls => list(context).await?,
        RoleCommand::Show { name, cedar } => show(context, name, *cedar).await?,
        RoleCommand::Explain(args) => return explain(context, args).await,
        RoleCommand::Rm { names } => remove(context, names).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn put(context: &Context, args: &RolePutArgs) -> anyhow::Result<()> {
    let client = context.client()?;
    let role = match args.add.is_empty() {
        true => replace(context, &client, args).await?,
        false => add(context, &client, &args.name, &args.add).await?,
    };
    if role.allow.is_empty() && role.policy.is_none() {
        progress::note(format!("{} allows nothing; --allow says what it is to allow", role.name));
    }
    context.output.print(&role, || details(&role))?;
    Ok(())
}

/// Says all of a role anew. The policies in Cedar that it has are dropped only by who says so, whatever others say meanwhile.
async fn replace(context: &Context, client: &Client, args: &RolePutArgs) -> anyhow::Result<Role> {
    let RolePutArgs { name, allow, policy, replace, add: _ } = args;
    let policy = policy.as_ref().map(|path| {
        std::fs::read_to_string(path).with_context(|| format!("{} can't be read", path.display()))
    });
    let body = PutRole { allow: allow.clone(), policy: policy.transpose()? };
    if *replace || body.policy.is_some() {
        return Ok(client.put_role(&context.namespace, name, &body, None).await?);
    }
    for _ in 0..ADD_ATTEMPTS {
        let revision = match client.get_role(&context.namespace, name).await {
            Err(error) if error.code() == Some(ErrorCode::NotFound) => 0,
            found => {
                let found = found?;
                check_no_policy(&found)?;
                found.revision
            }
        };
        match client.put_role(&context.namespace, name, &body, Some(revision)).await {
            Err(error) if error.code() == Some(ErrorCode::PreconditionFailed) => {}
            put => return Ok(put?),
        }
    }
    bail!("others keep changing the role {name}; try again")
}

/// Whether nothing in Cedar is dropped with what a role says now.
fn check_no_policy(role: &Role) -> anyhow::Result<()> {
    if role.policy.is_none() {
        return Ok(());
    }
    bail!(
        "the role {} has policies in Cedar, which this would drop: add grants to what it says with --add, give policies in their \
         place with --policy, or drop them with --replace; `skiff role show {}` shows them",
        role.name,
        role.name
    )
}

/// Adds grants to what a role says, or makes one of them; nothing that others say meanwhile is lost.
async fn add(context: &Context, client: &Client, name: &Name, grants: &[Grant]) -> anyhow::Result<Role> {
    for _ in 0..ADD_ATTEMPTS {
        let (mut body, revision) = match client.get_role(&context.namespace, name).await {
            Err(error) if error.code() == Some(ErrorCode::NotFound) => (PutRole::default(), 0),
            found => {
                let Role { allow, policy, revision, .. } = found?;
                (PutRole { allow, policy }, revision)
            }
        };
        body.allow.extend_from_slice(grants);
        match client.put_role(&context.namespace, name, &body, Some(revision)).await {
            Err(error) if error.code() == Some(ErrorCode::PreconditionFailed) => {}
            put => return Ok(put?),
        }
    }
    bail!("others keep changing the role {name}; try again")
}

async fn list(context: &Context) -> anyhow::Result<()> {
    let client = &context.client()?;
    let roles = all_pages(|cursor| async move {
        let query = PageQuery { limit: Some(PageQuery::LIMIT_MAX), cursor };
        client.list_roles(&context.namespace, &query).await
    })
    .await?;
    context.output.print(&roles, || table(&roles, human::now_ms()))?;
    Ok(())
}

async fn show(context: &Context, name: &Name, cedar: bool) -> anyhow::Result<()> {
    let role = context.client()?.get_role(&context.namespace, name).await?;
    context.output.print(&role, || match cedar {
        true => role.cedar.clone().unwrap_or_default(),
        false => details(&role),
    })?;
    Ok(())
}

async fn explain(context: &Context, args: &RoleExplainArgs) -> anyhow::Result<ExitCode> {
    let query = query(args)?;
    let explanation = context.client()?.explain_access(&context.namespace, &args.name, &query).await?;
    context.output.print(&explanation, || told(&explanation))?;
    Ok(if explanation.allowed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn remove(context: &Context, names: &[Name]) -> anyhow::Result<()> {
    let client = context.client()?;
    for name in names {
        client.delete_role(&context.namespace, name, None).await?;
        progress::note(format!("removed {name}"));
    }
    context.output.print(names, String::new)?;
    Ok(())
}

/// What is asked: behind the first slash all is the key, as it is.
fn query(args: &RoleExplainArgs) -> anyhow::Result<AccessQuery> {
    let (name, path) = match args.resource.split_once('/') {
        Some((name, path)) => (name, Some(path.to_owned())),
        None => (args.resource.as_str(), None),
    };
    let name: Name = name
        .parse()
        .map_err(|error: ParseError| usage(format!("the resource is NAME or NAME/KEY, and {error}")))?;
    Ok(AccessQuery { action: args.action, name, path, list: args.list.then_some(true) })
}

fn told(explanation: &AccessExplanation) -> String {
    match (&explanation.by, &explanation.reason) {
        (Some(by), _) => format!("allowed by {by}"),
        (None, Some(reason)) => format!("denied: {reason}"),
        (None, None) => "denied".to_owned(),
    }
}

fn table(roles: &[Role], now_ms: u64) -> String {
    /// What of the first grant a line has room for.
    const GRANT_CHARS_MAX: usize = 60;
    let row = |role: &Role| {
        let first = role.allow.first().map(|grant| match role.allow.len() {
            1 => grant.to_string(),
            grants => format!("{grant}, and {} more", grants - 1),
        });
        let shown = first.map(|first| match first.chars().count() > GRANT_CHARS_MAX {
            true => human::count(role.allow.len() as u64, "grant"),
            false => first,
        });
        let cedar = if role.policy.is_some() { "yes" } else { "no" };
        [role.name.to_string(), or_none(shown), cedar.to_owned(), human::age(role.updated_at_ms, now_ms)]
    };
    output::columns(["NAME", "ALLOWS", "CEDAR", "CHANGED"], roles.iter().map(row))
}

fn details(role: &Role) -> String {
    let lines = |lines: Vec<String>| or_none((!lines.is_empty()).then(|| lines.join("\n")));
    let error = role.error.iter().map(|error| ("Error", error.clone()));
    let rows = [
        ("Name", role.name.to_string()),
        ("Namespace", role.namespace.to_string()),
        ("Allows", lines(role.allow.iter().map(ToString::to_string).collect())),
        ("Cedar", or_none(role.policy.as_deref().map(str::trim_end))),
    ];
    let last = [
        ("Revision", role.revision.to_string()),
        ("Created", human::timestamp(role.created_at_ms)),
        ("Changed", human::timestamp(role.updated_at_ms)),
    ];
    output::properties(rows.into_iter().chain(error).chain(last))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn role(more: Value) -> Role {
        let mut shown = json!({
            "name": "thumbs", "namespace": "default", "revision": 7, "allow": ["bucket:read uploads/*", "table:write thumbnails"],
            "created_at_ms": 1_000, "updated_at_ms": 2_000,
        });
        shown.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        serde_json::from_value(shown).unwrap()
    }

    #[test]
    fn roles_in_a_table() {
        let policy = "permit (principal, action, resource);";
        let long = format!("bucket:read uploads/{}", "a".repeat(80));
        let roles = [
            role(json!({})),
            role(json!({ "name": "auditor", "allow": [], "policy": policy })),
            role(json!({ "name": "long", "allow": [long] })),
        ];
        let expected = "NAME      ALLOWS                              CEDAR   CHANGED\n\
                        thumbs    bucket:read uploads/*, and 1 more   no      60s\n\
                        auditor   -                                   yes     60s\n\
                        long      1 grant                             no      60s";
        assert_eq!(table(&roles, 62_000), expected);
    }

    #[test]
    fn what_a_role_says_in_cedar_is_not_dropped_unasked() {
        assert!(check_no_policy(&role(json!({}))).is_ok());
        let refused = check_no_policy(&role(json!({ "policy": "permit (principal, action, resource);" })));
        let refused = refused.unwrap_err().to_string();
        assert!(
            refused.contains("the role thumbs has policies") && refused.contains("--replace"),
            "{refused}"
        );
    }

    #[test]
    fn a_role_in_detail() {
        let shown = details(&role(json!({ "error": "broken" })));
        let expected = "Name        thumbs\n\
                        Namespace   default\n\
                        Allows      bucket:read uploads/*\n            \
                        table:write thumbnails\n\
                        Cedar       -\n\
                        Error       broken\n\
                        Revision    7\n\
                        Created     1970-01-01T00:00:01.000Z\n\
                        Changed     1970-01-01T00:00:02.000Z";
        assert_eq!(shown, expected);
    }

    #[test]
    fn what_is_asked_is_a_name_and_a_key_as_it_is() {
        let args = |resource: &str| RoleExplainArgs {
            name: "thumbs".parse().unwrap(),
            action: "bucket:read".parse().unwrap(),
            resource: resource.to_owned(),
            list: false,
        };
        let asked = |resource: &str| query(&args(resource)).map(|query| (query.name.to_string(), query.path));
        assert_eq!(asked("uploads").unwrap(), ("uploads".to_owned(), None));
        assert_eq!(asked("uploads/a//../*").unwrap(), ("uploads".to_owned(), Some("a//../*".to_owned())));
        assert!(asked("Uploads/a").unwrap_err().to_string().contains("NAME or NAME/KEY"));
    }
}

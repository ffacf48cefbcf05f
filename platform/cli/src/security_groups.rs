//! `skiff sg …`.

use crate::args::{RuleArgs, SecurityGroupCreateArgs};
use crate::context::{Context, all_pages};
use crate::failure::usage;
use crate::output::{self, or_none};
use crate::{human, progress};
use anyhow::bail;
use skiff_api::{ErrorCode, PageQuery, PutSecurityGroup, SecurityGroup};
use skiff_types::{DEFAULT_GROUP, Direction, Name, ParseError, Rule};

pub(crate) async fn create(context: &Context, args: &SecurityGroupCreateArgs) -> anyhow::Result<()> {
    let rules = match (args.rules.is_empty(), args.no_rules) {
        (true, true) => Some(vec![]),
        (true, false) => None,
        (false, _) => Some(args.rules.clone()),
    };
    let (name, body) = (&args.name, PutSecurityGroup { rules });
    // Of a group that is there, the rules are not to be replaced by the way. The default one is there in any case, and
    // others have revision 0 until they are made.
    let if_match = body.rules.is_some().then_some(0);
    if if_match.is_some() && name.as_str() == DEFAULT_GROUP {
        bail!(is_there(name));
    }
    let client = context.client()?;
    let group = match client.put_security_group(&context.namespace, name, &body, if_match).await {
        Err(error) if error.code() == Some(ErrorCode::PreconditionFailed) => bail!(is_there(name)),
        made => made?,
    };
    context.output.print(&group, || rules_table(&group.rules))?;
    Ok(())
}

/// What to do about a group that can't be made with these rules.
fn is_there(name: &Name) -> String {
    format!(
        "the security group {name} is there, and its rules stay as they are: `skiff sg show {name}` prints them, \
         `skiff sg allow {name} RULE` adds one, `skiff sg revoke {name} RULE` takes one away"
    )
}

pub(crate) async fn list(context: &Context) -> anyhow::Result<()> {
    let client = &context.client()?;
    let groups = all_pages(|cursor| async move {
        let query = PageQuery { limit: Some(PageQuery::LIMIT_MAX), cursor };
        client.list_security_groups(&context.namespace, &query).await
    })
    .await?;
    context.output.print(&groups, || table(&groups, human::now_ms()))?;
    Ok(())
}

pub(crate) async fn show(context: &Context, name: &Name) -> anyhow::Result<()> {
    let group = context.client()?.get_security_group(&context.namespace, name).await?;
    context.output.print(&group, || details(&group))?;
    Ok(())
}

pub(crate) async fn allow(context: &Context, args: &RuleArgs) -> anyhow::Result<()> {
    let rule = rule(args)?;
    let group = context.client()?.allow_rule(&context.namespace, &args.name, &rule).await?;
    context.output.print(&group, || rules_table(&group.rules))?;
    Ok(())
}

pub(crate) async fn revoke(context: &Context, args: &RuleArgs) -> anyhow::Result<()> {
    let rule = rule(args)?;
    let group = context.client()?.revoke_rule(&context.namespace, &args.name, &rule).await?;
    context.output.print(&group, || rules_table(&group.rules))?;
    Ok(())
}

pub(crate) async fn remove(context: &Context, names: &[Name]) -> anyhow::Result<()> {
    let client = context.client()?;
    for name in names {
        client.delete_security_group(&context.namespace, name, None).await?;
        progress::note(format!("removed {name}"));
    }
    context.output.print(names, String::new)?;
    Ok(())
}

/// A rule of several words, or of one in quotes.
fn rule(args: &RuleArgs) -> anyhow::Result<Rule> {
    args.rule.join(" ").parse().map_err(|error: ParseError| usage(error.to_string()))
}

fn table(groups: &[SecurityGroup], now_ms: u64) -> String {
    let count = |group: &SecurityGroup, direction| {
        group.rules.iter().filter(|rule| rule.direction == direction).count().to_string()
    };
    let row = |group: &SecurityGroup| {
        [
            group.name.to_string(),
            group.tasks.to_string(),
            count(group, Direction::Ingress),
            count(group, Direction::Egress),
            or_none(group.updated_at_ms.map(|at_ms| human::age(at_ms, now_ms))),
        ]
    };
    output::columns(["NAME", "TASKS", "INGRESS", "EGRESS", "CHANGED"], groups.iter().map(row))
}

fn details(group: &SecurityGroup) -> String {
    let at = |at_ms: Option<u64>| or_none(at_ms.map(human::timestamp));
    let properties = output::properties([
        ("Name", group.name.to_string()),
        ("Namespace", group.namespace.to_string()),
        ("Tasks", group.tasks.to_string()),
        ("Revision", group.revision.to_string()),
        ("Created", at(group.created_at_ms)),
        ("Changed", at(group.updated_at_ms)),
    ]);
    format!("{properties}\n\n{}", rules_table(&group.rules))
}

/// Each rule as it is written, ingress before egress.
fn rules_table(rules: &[Rule]) -> String {
    let mut rules: Vec<&Rule> = rules.iter().collect();
    rules.sort_by_key(|rule| rule.direction);
    let rows = rules.into_iter().map(|rule| [rule.direction.to_string(), rule.to_string()]);
    output::columns(["DIRECTION", "RULE"], rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group() -> SecurityGroup {
        serde_json::from_value(serde_json::json!({
            "name": "cache", "namespace": "default", "revision": 17, "tasks": 2,
            "rules": ["all to platform", "tcp:6379 from web", "all from self"],
            "created_at_ms": 1_000, "updated_at_ms": 2_000,
        }))
        .unwrap()
    }

    #[test]
    fn groups_in_a_table() {
        let untouched = SecurityGroup { name: "default".parse().unwrap(), updated_at_ms: None, ..group() };
        let expected = "NAME      TASKS   INGRESS   EGRESS   CHANGED\n\
                        cache     2       2         1        60s\n\
                        default   2       2         1        -";
        assert_eq!(table(&[group(), untouched], 62_000), expected);
    }

    #[test]
    fn a_group_in_detail() {
        let expected = "Name        cache\n\
                        Namespace   default\n\
                        Tasks       2\n\
                        Revision    17\n\
                        Created     1970-01-01T00:00:01.000Z\n\
                        Changed     1970-01-01T00:00:02.000Z\n\
                        \n\
                        DIRECTION   RULE\n\
                        ingress     tcp:6379 from web\n\
                        ingress     all from self\n\
                        egress      all to platform";
        assert_eq!(details(&group()), expected);
    }

    #[test]
    fn a_rule_may_stand_in_quotes_or_not() {
        let args = |words: &[&str]| RuleArgs {
            name: "cache".parse().unwrap(),
            rule: words.iter().map(|word| (*word).to_owned()).collect(),
        };
        let expected: Rule = "tcp:6379 from web".parse().unwrap();
        assert_eq!(rule(&args(&["tcp:6379 from web"])).unwrap(), expected);
        assert_eq!(rule(&args(&["tcp:6379", "from", "web"])).unwrap(), expected);
        let error = rule(&args(&["tcp:6379", "web"])).unwrap_err().to_string();
        assert!(error.contains("\"tcp:6379 web\" is not a rule, like"), "{error}");
    }
}

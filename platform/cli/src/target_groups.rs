//! `skiff target-group …`.

use crate::args::{TargetGroupCommand, TargetGroupCreateArgs};
use crate::context::{Context, all_pages};
use crate::failure::usage;
use crate::output::or_none;
use crate::{actions, human, output, progress, settings};
use skiff_api::{Client, ErrorCode, PageQuery, PutTargetGroup, TargetGroup, TargetHealthCheck, Targets};
use skiff_types::Name;

pub(crate) async fn run(context: &Context, command: &TargetGroupCommand) -> anyhow::Result<()> {
    match command {
        TargetGroupCommand::Create(args) => create(context, args).await,
        TargetGroupCommand::Ls => list(context).await,
        TargetGroupCommand::Show { name } => show(context, name).await,
        TargetGroupCommand::Targets { name } => crate::targets::run(context, name).await,
        TargetGroupCommand::Rm { names } => remove(context, names).await,
    }
}

async fn create(context: &Context, args: &TargetGroupCreateArgs) -> anyhow::Result<()> {
    let client = context.client()?;
    let given = targets(args);
    // The platform is told of the targets, and of a whole check: what is not spoken of is as it was.
    let is_kept = given.is_none() || args.health.is_spoken_of();
    let present = match is_kept {
        true => present(context, &client, &args.name).await?,
        false => None,
    };
    // So that what somebody else says of it meanwhile is not taken back.
    let revision = is_kept.then(|| present.as_ref().map_or(0, |group| group.revision));
    let targets = targets_or_present(args, given, present.as_ref())?;
    let body = body(args, targets, present.and_then(|group| group.health_check));
    let group = client.put_target_group(&context.namespace, &args.name, &body, revision).await?;
    context.output.print(&group, || details(&group))?;
    Ok(())
}

/// A group, if there is one.
async fn present(context: &Context, client: &Client, name: &Name) -> anyhow::Result<Option<TargetGroup>> {
    match client.get_target_group(&context.namespace, name).await {
        Ok(group) => Ok(Some(group)),
        Err(error) if error.code() == Some(ErrorCode::NotFound) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Those that are given, else those of the group that is there.
fn targets_or_present(
    args: &TargetGroupCreateArgs,
    given: Option<Targets>,
    present: Option<&TargetGroup>,
) -> anyhow::Result<Targets> {
    given.or_else(|| present.map(|group| group.targets.clone())).ok_or_else(|| {
        usage(format!(
            "there is no target group {} yet: say who its targets are, with --service, --outside or --address",
            args.name
        ))
    })
}

/// What the platform is told of a group with these targets, which are checked so.
fn body(
    args: &TargetGroupCreateArgs,
    targets: Targets,
    health_check: Option<TargetHealthCheck>,
) -> PutTargetGroup {
    PutTargetGroup {
        targets,
        protocol: args.protocol,
        tls: match (args.tls, args.no_tls) {
            (false, false) => None,
            (tls, _) => Some(tls),
        },
        algorithm: args.algorithm,
        stickiness: settings::setting(args.stickiness, args.no_stickiness),
        slow_start: settings::setting(args.slow_start, args.no_slow_start),
        deregistration_delay: settings::setting(args.deregistration_delay, args.no_deregistration_delay),
        health_check: settings::health_check(&args.health, health_check),
        limit: settings::limit(args.limit, args.no_limit),
    }
}

/// Who they are, if that is given; the grammar takes one kind of them at most.
fn targets(args: &TargetGroupCreateArgs) -> Option<Targets> {
    match &args.service {
        Some(service) => Some(Targets::Service(service.clone())),
        None if !args.outside.is_empty() => Some(Targets::Outside(args.outside.clone())),
        None => (!args.address.is_empty()).then(|| Targets::Virtual(args.address.clone())),
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
        (
            "Protocol",
            if group.tls { format!("{} in TLS", group.protocol) } else { group.protocol.to_string() },
        ),
        ("Algorithm", group.algorithm.to_string()),
        ("Stickiness", or_none(group.stickiness)),
        ("Slow start", or_none(group.slow_start)),
        ("Deregistration delay", or_none(group.deregistration_delay)),
        ("Health check", or_none(group.health_check.as_ref().map(settings::health_check_text))),
        ("Limit", or_none(group.limit)),
        ("Revision", group.revision.to_string()),
        ("Created", human::timestamp(group.created_at_ms)),
        ("Changed", human::timestamp(group.updated_at_ms)),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Cli, Command};
    use clap::Parser;

    fn group(name: &str, targets: serde_json::Value) -> TargetGroup {
        serde_json::from_value(serde_json::json!({
            "name": name, "namespace": "default", "revision": 17, "targets": targets, "protocol": "http1",
            "algorithm": "round-robin", "deregistration_delay": "5m", "created_at_ms": 1_000, "updated_at_ms": 2_000,
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
        let expected = "Name                   legacy\n\
                        Namespace              default\n\
                        Outside                192.0.2.7:8080\n                       example.org:80\n\
                        Protocol               http1\n\
                        Algorithm              round-robin\n\
                        Stickiness             -\n\
                        Slow start             -\n\
                        Deregistration delay   5m\n\
                        Health check           -\n\
                        Limit                  -\n\
                        Revision               17\n\
                        Created                1970-01-01T00:00:01.000Z\n\
                        Changed                1970-01-01T00:00:02.000Z";
        assert_eq!(details(&legacy), expected);
        let shop = details(&group("shop", serde_json::json!({ "service": "default/shop" })));
        assert!(shop.contains("Service                shop\n"), "{shop}");
    }

    #[test]
    fn all_that_a_target_group_says_is_shown() {
        let shown = serde_json::json!({
            "name": "secure", "namespace": "default", "revision": 17, "targets": { "outside": ["example.org:443"] },
            "protocol": "http2", "tls": true, "algorithm": "round-robin", "stickiness": "1h", "slow_start": "30s",
            "deregistration_delay": "10s", "limit": { "requests_per_second": 100, "concurrent": 20 },
            "health_check": {
                "path": "/ready", "interval": "10s", "timeout": "5s", "healthy": 5, "unhealthy": 2, "matcher": "200",
            },
            "created_at_ms": 1_000, "updated_at_ms": 2_000,
        });
        let shown = details(&serde_json::from_value(shown).unwrap());
        for row in [
            "Protocol               http2 in TLS",
            "Stickiness             1h",
            "Slow start             30s",
            "Deregistration delay   10s",
            "Health check           /ready answers 200 within 5s, every 10s; healthy after 5, unhealthy after 2",
            "Limit                  rate=100,concurrent=20",
        ] {
            assert!(shown.lines().any(|line| line == row), "{row:?} is not in\n{shown}");
        }
    }

    /// What comes of the options, and of the targets of the group that is there.
    fn told(words: &str, present: Option<&TargetGroup>) -> anyhow::Result<serde_json::Value> {
        let line = format!("skiff target-group create a {words}");
        let cli = Cli::try_parse_from(line.split_whitespace()).unwrap();
        let Command::TargetGroup { command: TargetGroupCommand::Create(args) } = cli.command else {
            panic!()
        };
        let targets = targets_or_present(&args, targets(&args), present)?;
        Ok(serde_json::to_value(body(&args, targets, None)).unwrap())
    }

    #[test]
    fn targets_that_are_not_given_are_those_that_are_there() {
        for targets in [
            serde_json::json!({ "service": "default/shop" }),
            serde_json::json!({ "outside": ["192.0.2.7:8080"] }),
            serde_json::json!({ "virtual": ["10.64.0.7:80"] }),
        ] {
            let present = group("a", targets.clone());
            let expected = serde_json::json!({ "targets": targets, "slow_start": "30s" });
            assert_eq!(told("--slow-start 30s", Some(&present)).unwrap(), expected);
            let given = told("--outside example.org:80", Some(&present)).unwrap();
            assert_eq!(given, serde_json::json!({ "targets": { "outside": ["example.org:80"] } }));
        }
        assert_eq!(
            told("--slow-start 30s", None).unwrap_err().to_string(),
            "there is no target group a yet: say who its targets are, with --service, --outside or --address"
        );
    }

    #[track_caller]
    fn check(words: &str, expected: serde_json::Value) {
        let mut body = told(&format!("--service web {words}"), None).unwrap();
        let targets = body.as_object_mut().unwrap().remove("targets");
        assert_eq!((targets, body), (Some(serde_json::json!({ "service": "web" })), expected), "{words}");
    }

    #[test]
    fn what_is_not_given_is_not_spoken_of_and_what_is_taken_away_is_null() {
        check("", serde_json::json!({}));
        check(
            "--stickiness 1h --slow-start 30s --deregistration-delay 10s --limit rate=5 --tls --protocol http2",
            serde_json::json!({
                "stickiness": "1h", "slow_start": "30s", "deregistration_delay": "10s",
                "limit": { "requests_per_second": 5 }, "tls": true, "protocol": "http2",
            }),
        );
        check(
            "--no-stickiness --no-slow-start --no-deregistration-delay --no-limit --no-tls --no-health-check",
            serde_json::json!({
                "stickiness": null, "slow_start": null, "deregistration_delay": null, "limit": null, "tls": false,
                "health_check": null,
            }),
        );
        for both in ["--tls --no-tls", "--limit rate=1 --no-limit", "--healthy 2 --no-health-check"] {
            let line = format!("skiff target-group create a --service web {both}");
            assert!(Cli::try_parse_from(line.split_whitespace()).is_err(), "{both}");
        }
    }
}

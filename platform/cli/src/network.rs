//! `skiff net …`, and what `skiff task show` says of a task's network interface.

use crate::args::{ExplainArgs, FlowsArgs};
use crate::context::Context;
use crate::output::{self, or_none};
use crate::{human, tasks};
use futures::StreamExt;
use skiff_api::{Client, ErrorCode, ExplainQuery, Explanation, FlowQuery, FlowRecord, TaskNetwork, Verdict};
use skiff_types::{Direction, Name, TaskId, Transport};

pub(crate) async fn explain(context: &Context, args: &ExplainArgs) -> anyhow::Result<()> {
    let client = context.client()?;
    let query = ExplainQuery {
        from: end(context, &client, &args.from).await?,
        to: end(context, &client, &args.to.host).await?,
        port: args.to.port,
        transport: Some(if args.udp { Transport::Udp } else { Transport::Tcp }),
    };
    let explanation = client.explain(&context.namespace, &query).await?;
    context.output.print(&explanation, || explained(&explanation))?;
    Ok(())
}

pub(crate) async fn flows(context: &Context, args: &FlowsArgs) -> anyhow::Result<()> {
    let client = context.client()?;
    let task = match &args.task {
        Some(task) => Some(tasks::resolve(context, &client, task).await?),
        None => None,
    };
    let query = FlowQuery {
        owner: args.owner.clone(),
        task,
        verdict: args.rejected.then_some(Verdict::Reject),
        since_ms: args.since.map(|since| human::now_ms().saturating_sub(since.ms())),
        tail: args.tail,
        follow: Some(args.follow),
    };
    let mut records = client.read_flows(&context.namespace, &query).await?;
    while let Some(record) = records.next().await {
        let record = record?;
        match context.output.is_json() {
            true => output::line(&serde_json::to_string(&record)?)?,
            false => output::line(&line(&record))?,
        }
    }
    Ok(())
}

/// Who is meant, as the platform takes it: the last digits of a task's id made whole, unless a service has that name.
async fn end(context: &Context, client: &Client, text: &str) -> anyhow::Result<String> {
    if !tasks::looks_like_id(text) || text.parse::<TaskId>().is_ok() {
        return Ok(text.to_owned());
    }
    let name: Option<Name> = text.parse().ok();
    if let Some(name) = &name {
        match client.get_service(&context.namespace, name).await {
            Ok(_) => return Ok(text.to_owned()),
            Err(error) if error.code() == Some(ErrorCode::NotFound) => {}
            Err(error) => return Err(error.into()),
        }
    }
    match tasks::resolve(context, client, text).await {
        // It may be a family of one-off tasks, which the platform knows.
        Err(_) if name.is_some() => Ok(text.to_owned()),
        found => Ok(found?.to_string()),
    }
}

fn explained(explanation: &Explanation) -> String {
    let Explanation { from, to, port, transport, .. } = explanation;
    let verdict = if explanation.allowed { "allowed" } else { "denied" };
    let mut parts =
        vec![format!("{verdict}: {transport}:{port} from {from} to {to}\n{}", explanation.message)];
    let rows = explanation.sides.iter().flat_map(|side| {
        let gone = side.unknown_groups.iter().map(|group| {
            [side.direction.to_string(), group.to_string(), "-".to_owned(), "does not exist".to_owned()]
        });
        let considered = side.considered.iter().map(|considered| {
            let (group, rule) = (considered.group.to_string(), considered.rule.to_string());
            [side.direction.to_string(), group, rule, considered.outcome.clone()]
        });
        gone.chain(considered)
    });
    let rows: Vec<_> = rows.collect();
    if !rows.is_empty() {
        parts.push(output::columns(["SIDE", "GROUP", "RULE", "WHICH"], rows));
    }
    parts.join("\n\n")
}

/// A record of the flow log as one line.
fn line(record: &FlowRecord) -> String {
    let arrow = match record.direction {
        Direction::Egress => "->",
        Direction::Ingress => "<-",
    };
    let peer = record.peer.as_ref().map(|peer| format!(" ({peer})")).unwrap_or_default();
    let times = if record.count > 1 { format!(", {} times", record.count) } else { String::new() };
    let open = if record.open { ", open" } else { "" };
    format!(
        "{} {} {} {} {} {} {arrow} {}{peer} {} out, {} in{open}{times}: {}",
        human::timestamp(record.at_ms),
        verdict(record.verdict),
        record.transport,
        record.owner.name,
        record.task.short(),
        record.local,
        record.remote,
        human::bytes(record.sent_bytes),
        human::bytes(record.received_bytes),
        record.note,
    )
}

fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Accept => "ACCEPT",
        Verdict::Reject => "REJECT",
    }
}

/// What a task listens on, a port to a line; and how many connections it has.
pub(crate) fn properties(network: &TaskNetwork) -> [(&'static str, String); 2] {
    let ports =
        network.listening.iter().map(|listening| format!("{}:{}", listening.transport, listening.port));
    let ports: Vec<String> = ports.collect();
    let connections = match (network.connection_count, network.connections.len() as u64) {
        (count, shown) if count > shown => format!("{count} open, of which {shown} are shown"),
        (count, _) => format!("{count} open"),
    };
    [
        ("Listening", if ports.is_empty() { "-".to_owned() } else { ports.join("\n") }),
        ("Connections", connections),
    ]
}

/// A task's open connections, one to a row; empty if there are none.
pub(crate) fn connections(network: &TaskNetwork, now_ms: u64) -> String {
    if network.connections.is_empty() {
        return String::new();
    }
    let row = |connection: &FlowRecord| {
        [
            connection.direction.to_string(),
            connection.transport.to_string(),
            connection.local.to_string(),
            connection.remote.to_string(),
            or_none(connection.peer.as_ref()),
            human::bytes(connection.sent_bytes),
            human::bytes(connection.received_bytes),
            human::age(connection.began_at_ms, now_ms),
        ]
    };
    let header = ["DIRECTION", "PROTOCOL", "LOCAL", "REMOTE", "PEER", "SENT", "RECEIVED", "AGE"];
    output::columns(header, network.connections.iter().map(row))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(more: serde_json::Value) -> FlowRecord {
        let mut record = serde_json::json!({
            "began_at_ms": 1_000, "at_ms": 2_000, "task": "0193f0c5c0007000800000005e8f01b2",
            "owner": "default/web", "direction": "egress", "transport": "tcp", "local": "10.64.0.16:49152",
            "remote": "10.64.0.17:6379", "peer": "default/cache", "sent_bytes": 1_024, "received_bytes": 10,
            "verdict": "ACCEPT", "open": false, "note": "closed", "count": 1,
        });
        record.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
        serde_json::from_value(record).unwrap()
    }

    #[test]
    fn a_record_is_a_line() {
        assert_eq!(
            line(&record(serde_json::json!({}))),
            "1970-01-01T00:00:02.000Z ACCEPT tcp web 5e8f01b2 10.64.0.16:49152 -> 10.64.0.17:6379 (default/cache) \
             1.00KiB out, 10B in: closed"
        );
        let denied = serde_json::json!({
            "direction": "ingress", "peer": null, "verdict": "REJECT", "count": 7, "sent_bytes": 0,
            "received_bytes": 0, "note": "no rule",
        });
        assert_eq!(
            line(&record(denied)),
            "1970-01-01T00:00:02.000Z REJECT tcp web 5e8f01b2 10.64.0.16:49152 <- 10.64.0.17:6379 0B out, 0B in, \
             7 times: no rule"
        );
    }

    #[test]
    fn an_interface_shows_its_ports_and_connections() {
        let network = TaskNetwork {
            ipv4: None,
            ipv6: None,
            security_groups: vec![],
            listening: serde_json::from_value(serde_json::json!([
                { "transport": "tcp", "port": 8080 }, { "transport": "udp", "port": 53 },
            ]))
            .unwrap(),
            connections: vec![record(serde_json::json!({ "open": true }))],
            connection_count: 5,
        };
        let shown = properties(&network);
        assert_eq!(shown[0], ("Listening", "tcp:8080\nudp:53".to_owned()));
        assert_eq!(shown[1], ("Connections", "5 open, of which 1 are shown".to_owned()));
        let expected = "DIRECTION   PROTOCOL   LOCAL              REMOTE            PEER            SENT      RECEIVED   AGE\n\
                        egress      tcp        10.64.0.16:49152   10.64.0.17:6379   default/cache   1.00KiB   10B        60s";
        assert_eq!(connections(&network, 61_000), expected);
    }

    #[test]
    fn an_explanation_shows_every_rule_that_was_looked_at() {
        let explanation: Explanation = serde_json::from_value(serde_json::json!({
            "allowed": false, "from": "default/web", "to": "default/cache", "port": 6379, "transport": "tcp",
            "sides": [{
                "direction": "egress", "owner": "default/web", "allowed": false, "unknown_groups": ["default/gone"],
                "considered": [{
                    "group": "default/web", "rule": "all to self", "allows": false,
                    "outcome": "is for somebody else",
                }],
                "command": "skiff sg allow web \"tcp:6379 to cache\"",
            }],
            "message": "tcp:6379 to default/cache is denied to default/web",
        }))
        .unwrap();
        let expected = "denied: tcp:6379 from default/web to default/cache\n\
                        tcp:6379 to default/cache is denied to default/web\n\
                        \n\
                        SIDE     GROUP          RULE          WHICH\n\
                        egress   default/gone   -             does not exist\n\
                        egress   default/web    all to self   is for somebody else";
        assert_eq!(explained(&explanation), expected);
    }
}

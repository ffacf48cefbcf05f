//! What tests tell a load balancer of listeners, rules and target groups, and how they ask it.

use crate::support::*;
use skiff_ports::balancer::BalancerChange;
use skiff_types::{
    Action, Algorithm, BUILT_IN_LISTENER, FixedResponse, Forward, ListenerProtocol, ListenerSpec, RuleSpec,
    Scheme, TargetGroupSpec, Targets,
};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

/// Forwards to these, each `NAME` or `NAME=WEIGHT` of the namespace `default`.
pub(crate) fn forward(groups: &[&str]) -> Action {
    let groups = groups.iter().map(|group| format!("default/{group}").parse().unwrap()).collect();
    Action::Forward(Forward { groups, stickiness: None })
}

pub(crate) fn redirect(to: &str) -> Action {
    Action::Redirect(to.parse().unwrap())
}

pub(crate) fn respond(status: u16, body: &str) -> Action {
    Action::FixedResponse(FixedResponse { body: body.into(), ..FixedResponse::status(status) })
}

/// A rule `default/NAME` of the built-in listener.
pub(crate) fn rule(name: &str, priority: u32, conditions: &[&str], action: Action) -> BalancerChange {
    rule_of(BUILT_IN_LISTENER, name, priority, conditions, action)
}

/// A rule `default/NAME`.
pub(crate) fn rule_of(
    listener: &str,
    name: &str,
    priority: u32,
    conditions: &[&str],
    action: Action,
) -> BalancerChange {
    let rule = RuleSpec {
        name: format!("default/{name}").parse().unwrap(),
        listener: listener.parse().unwrap(),
        priority: priority.try_into().unwrap(),
        conditions: conditions.iter().map(|condition| condition.parse().unwrap()).collect(),
        action,
        limit: None,
    };
    BalancerChange { rules: vec![Arc::new(rule)], ..BalancerChange::default() }
}

/// No rule `default/NAME` any more.
pub(crate) fn no_rule(name: &str) -> BalancerChange {
    BalancerChange { dropped: vec![format!("default/{name}").parse().unwrap()], ..BalancerChange::default() }
}

/// A listener where services' own hosts lead nowhere.
pub(crate) fn listener(
    name: &str,
    protocol: ListenerProtocol,
    port: u16,
    default_action: Action,
) -> BalancerChange {
    let listener = ListenerSpec {
        name: name.parse().unwrap(),
        protocol,
        port,
        scheme: Scheme::Public,
        certificates: Vec::new(),
        services: false,
        default_action,
        client_limit: None,
    };
    BalancerChange { listeners: vec![Arc::new(listener)], ..BalancerChange::default() }
}

/// No listener of this name any more.
pub(crate) fn no_listener(name: &str) -> BalancerChange {
    BalancerChange { closed: vec![name.parse().unwrap()], ..BalancerChange::default() }
}

/// A target group `default/NAME`.
pub(crate) fn group(name: &str, targets: Targets, algorithm: Algorithm) -> BalancerChange {
    let name: skiff_types::QualifiedName = format!("default/{name}").parse().unwrap();
    let group = TargetGroupSpec { targets, algorithm, ..TargetGroupSpec::of_service(name) };
    BalancerChange { groups: vec![Arc::new(group)], ..BalancerChange::default() }
}

/// No target group `default/NAME` any more.
pub(crate) fn no_group(name: &str) -> BalancerChange {
    BalancerChange {
        dissolved: vec![format!("default/{name}").parse().unwrap()],
        ..BalancerChange::default()
    }
}

/// Hosts outside, which are ports of this machine.
pub(crate) fn outside(ports: &[u16]) -> Targets {
    Targets::Outside(ports.iter().map(|port| format!("127.0.0.1:{port}").parse().unwrap()).collect())
}

/// The text of a request that has its connection closed; `headers` are lines with their ends.
pub(crate) fn asking(method: &str, target: &str, host: &str, headers: &str) -> String {
    format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{headers}\r\n")
}

/// Sends bytes as they are to an address, and reads to the connection's end.
pub(crate) async fn raw_at(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    read_to_end(&mut stream).await
}

/// The status and the body of an answer.
#[track_caller]
pub(crate) fn answer(raw: &str) -> (u16, &str) {
    let (head, body) = raw.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {raw:?}"));
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body)
}

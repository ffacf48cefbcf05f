//! Limits on how fast requests come and on how many are under way: of each client of a listener, of a rule, of a target group.
//! They hold over all workers of a node, since what they are judged by is in the ledger.
//!
//! Where there is no limit, it costs a look. A request that one limit refuses has used up what it took of those before: of its
//! client's rate, say, where it is its rule's that is met. A client that has no cell in the ledger, since the table's bucket
//! is full of busier ones ([`skiff_ledger::ClientCell`]), and a rule or a group that has no meter, since the node has more of
//! them than meters, are let through: nobody is refused for whom nobody counted.
//!
//! Checks of targets come by no listener and no rule, so none of this holds them up. Of a connection that carries bytes, the
//! connection is what counts as a request does elsewhere; so at the port of a TCP listener, a rate is of new connections.

use crate::connection::Connection;
use crate::edge::Edge;
use crate::group::Aim;
use crate::listener::Rule;
use crate::meters::Outstanding;
use skiff_kit::TokenBucket;
use skiff_kit::clock::monotonic_ns;
use skiff_ledger::{ClientCell, Meter};
use skiff_types::{Limit, Name, QualifiedName};
use std::fmt;
use std::num::NonZeroU32;

/// When to try again where too many are under way, in nanoseconds: nobody knows when one of them ends.
const CONCURRENT_RETRY_AFTER_NS: u64 = 1_000_000_000;

/// A limit that was met.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Exceeded {
    whose: Whose,
    unit: Unit,
    bound: Bound,
    retry_after_ns: u64,
}

/// Whose limit it is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Whose {
    /// A client's, at this listener.
    Client(Name),
    Rule(QualifiedName),
    /// The target group's of this name.
    Group(String),
}

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    Requests,
    Connections,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bound {
    /// In a second.
    Rate(NonZeroU32),
    Concurrent(NonZeroU32),
}

/// What a client has under way, until this is dropped.
#[derive(Debug)]
pub(crate) struct InFlight {
    cell: ClientCell,
    worker: usize,
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.cell.give_back(self.worker);
    }
}

/// Lets a client's next request or connection in, by what its listener lets each client do.
pub(crate) fn of_client(
    edge: &Edge,
    connection: &Connection,
    unit: Unit,
) -> Result<Option<InFlight>, Exceeded> {
    let listener = &connection.listener;
    let Some(limit) = listener.spec().as_ref().and_then(|spec| spec.client_limit) else { return Ok(None) };
    let (ledger, name) = (edge.ledger(), listener.name().as_str());
    // All tasks of a node are in one network, and none can choose its address.
    let cell = match listener.is_internal() {
        true => ledger.client_by_address(name, connection.source),
        false => ledger.client(name, connection.source),
    };
    let Some(cell) = cell else { return Ok(None) };
    let worker = edge.worker();
    let exceeded = |bound, retry_after_ns| {
        let whose = Whose::Client(listener.name().clone());
        Exceeded { whose, unit, bound, retry_after_ns }
    };
    let in_flight = match limit.concurrent {
        Some(most) if !cell.claim_in_flight(worker, most.get().into()) => {
            return Err(exceeded(Bound::Concurrent(most), CONCURRENT_RETRY_AFTER_NS));
        }
        Some(_) => Some(InFlight { cell: cell.clone(), worker }),
        None => None,
    };
    // What was claimed is given back where this refuses.
    if let Some(rate) = limit.rate {
        let taken = bucket(rate, limit).take(cell.rate_bucket(), monotonic_ns());
        taken.map_err(|wait_ns| exceeded(Bound::Rate(rate), wait_ns))?;
    }
    Ok(in_flight)
}

/// Lets a request in that this rule takes.
pub(crate) fn of_rule(edge: &Edge, rule: &Rule) -> Result<Option<Outstanding>, Exceeded> {
    let whose = || Whose::Rule(rule.spec.name.clone());
    at_meter(edge, rule.spec.limit, rule.meter.as_ref(), Unit::Requests, whose)
}

/// Lets a request or a connection in that goes to this target group.
pub(crate) fn of_group(edge: &Edge, aim: &Aim, unit: Unit) -> Result<Option<Outstanding>, Exceeded> {
    let whose = || Whose::Group(aim.named.as_deref().unwrap_or(&aim.group.label).to_owned());
    at_meter(edge, aim.limit, aim.meter.as_ref(), unit, whose)
}

fn at_meter(
    edge: &Edge,
    limit: Option<Limit>,
    meter: Option<&Meter>,
    unit: Unit,
    whose: impl Fn() -> Whose,
) -> Result<Option<Outstanding>, Exceeded> {
    let (Some(limit), Some(meter)) = (limit, meter) else { return Ok(None) };
    let worker = edge.worker();
    let exceeded = |bound, retry_after_ns| Exceeded { whose: whose(), unit, bound, retry_after_ns };
    let claim = |most: NonZeroU32| {
        let claimed = Outstanding::claim(meter, worker, most.get().into());
        claimed.ok_or_else(|| exceeded(Bound::Concurrent(most), CONCURRENT_RETRY_AFTER_NS))
    };
    let outstanding = limit.concurrent.map(claim).transpose()?;
    if let Some(rate) = limit.rate {
        // From here on the meter counts as used, so its head may be written to.
        let _ = meter.row(worker);
        let taken = bucket(rate, limit).take(meter.rate_bucket(), monotonic_ns());
        taken.map_err(|wait_ns| exceeded(Bound::Rate(rate), wait_ns))?;
    }
    Ok(outstanding)
}

fn bucket(rate: NonZeroU32, limit: Limit) -> TokenBucket {
    TokenBucket::holding(rate.get().into(), limit.burst.unwrap_or(rate).get().into())
}

impl Exceeded {
    /// In how many seconds to try again, at the earliest.
    pub(crate) fn retry_after_s(&self) -> u32 {
        let seconds = self.retry_after_ns.div_ceil(1_000_000_000).max(1);
        u32::try_from(seconds).unwrap_or(u32::MAX)
    }
}

impl std::error::Error for Exceeded {}

impl fmt::Display for Exceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (begun, one) = match self.unit {
            Unit::Requests => ("sent", "request"),
            Unit::Connections => ("opened", "connection"),
        };
        let many = |count: NonZeroU32| {
            let plural = if count.get() == 1 { "" } else { "s" };
            format!("{count} {one}{plural}")
        };
        match (&self.whose, self.bound) {
            (Whose::Client(listener), Bound::Rate(rate)) => {
                let rate = many(rate);
                write!(f, "this client has {begun} more than {rate} a second to the listener {listener}")
            }
            (Whose::Client(listener), Bound::Concurrent(most)) => {
                let most = many(most);
                write!(
                    f,
                    "this client has {most} under way at the listener {listener}, as many as one may have"
                )
            }
            (Whose::Rule(rule), Bound::Rate(rate)) => {
                write!(f, "more than {} a second came to the rule {rule}", many(rate))
            }
            (Whose::Rule(rule), Bound::Concurrent(most)) => {
                write!(f, "the rule {rule} has {} under way, as many as it may have", many(most))
            }
            (Whose::Group(group), Bound::Rate(rate)) => {
                write!(f, "more than {} a second came to the target group {group}", many(rate))
            }
            (Whose::Group(group), Bound::Concurrent(most)) => {
                write!(f, "the target group {group} has {} under way, as many as it may have", many(most))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exceeded(whose: Whose, unit: Unit, bound: Bound) -> Exceeded {
        Exceeded { whose, unit, bound, retry_after_ns: 0 }
    }

    #[test]
    fn people_are_told_which_limit_it_was() {
        let (one, many) = (NonZeroU32::MIN, NonZeroU32::new(100).unwrap());
        let client = Whose::Client("http".parse().unwrap());
        let rule = Whose::Rule("default/api".parse().unwrap());
        let group = Whose::Group("default/out".to_owned());
        let cases = [
            (
                exceeded(client.clone(), Unit::Requests, Bound::Rate(many)),
                "this client has sent more than 100 requests a second to the listener http",
            ),
            (
                exceeded(client.clone(), Unit::Connections, Bound::Rate(one)),
                "this client has opened more than 1 connection a second to the listener http",
            ),
            (
                exceeded(client, Unit::Requests, Bound::Concurrent(one)),
                "this client has 1 request under way at the listener http, as many as one may have",
            ),
            (
                exceeded(rule, Unit::Requests, Bound::Rate(one)),
                "more than 1 request a second came to the rule default/api",
            ),
            (
                exceeded(group, Unit::Connections, Bound::Concurrent(many)),
                "the target group default/out has 100 connections under way, as many as it may have",
            ),
        ];
        for (exceeded, expected) in cases {
            assert_eq!(exceeded.to_string(), expected);
        }
    }

    #[test]
    fn when_to_try_again_is_rounded_up() {
        let whose = Whose::Group("default/out".to_owned());
        let met = exceeded(whose, Unit::Requests, Bound::Rate(NonZeroU32::MIN));
        for (retry_after_ns, expected_s) in
            [(0, 1), (1, 1), (1_000_000_000, 1), (1_000_000_001, 2), (u64::MAX, u32::MAX)]
        {
            assert_eq!(Exceeded { retry_after_ns, ..met.clone() }.retry_after_s(), expected_s);
        }
    }
}

//! Target groups: whom requests are forwarded to.
//!
//! Every service is a target group of its own name unless there is one of that name; those are not listed.

use super::health_check::check_speech;
use super::invalid::check_time;
use super::{InvalidSpec, Limit, Setting, TargetHealthCheck, TargetHealthCheckSpec};
use crate::text::{self, NameReference};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skiff_types::{
    Algorithm, Name, Namespace, Outside, Span, TargetGroupSpec, TargetHealthCheck as DomainHealthCheck,
    TargetProtocol, Targets as DomainTargets, VirtualAddress,
};
use std::collections::BTreeSet;
use std::fmt::Display;

/// Creates a target group, or changes it.
///
/// What is left out stays as it is; what may be missing is taken away by `null`. A group of a service's tasks that has another
/// name than the service can't say how those are checked, how they begin and how they leave: the group of the service's
/// own name does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PutTargetGroup {
    /// Who its targets are.
    pub targets: Targets,
    /// What they speak; `http1` on a new one. An `http` task is called, whatever this says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::TargetProtocol>")]
    pub protocol: Option<TargetProtocol>,
    /// Whether that is spoken inside TLS: of hosts outside alone, whose certificates are checked; not on a new one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<bool>,
    /// How one of them is chosen; `least-outstanding-requests` on a new one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::Algorithm>")]
    pub algorithm: Option<Algorithm>,
    /// How long a client stays with the target that it came to first, by a cookie: 1 second to 7 days; not at all on a new
    /// one. Not of what speaks tcp.
    #[serde(default, skip_serializing_if = "Setting::is_kept")]
    #[schemars(with = "Option<text::Span>")]
    pub stickiness: Setting<Span>,
    /// How long a new target's share grows until it is whole: 1 second to 1 hour; it is whole at once on a new one. Not
    /// with `weighted-random`, and not of what speaks tcp.
    #[serde(default, skip_serializing_if = "Setting::is_kept")]
    #[schemars(with = "Option<text::Span>")]
    pub slow_start: Setting<Span>,
    /// How long a target that leaves may take for what it has: 1 hour at most. On a new one that is not said: then it is 5
    /// minutes, and of a service's tasks what their definition says.
    #[serde(default, skip_serializing_if = "Setting::is_kept")]
    #[schemars(with = "Option<text::Span>")]
    pub deregistration_delay: Setting<Span>,
    /// How its targets are checked, from now on as this alone says; on a new one only what requests show counts, and a
    /// task's own check.
    #[serde(default, skip_serializing_if = "Setting::is_kept")]
    #[schemars(with = "Option<TargetHealthCheckSpec>")]
    pub health_check: Setting<TargetHealthCheckSpec>,
    /// How many requests its targets are given together, or by a listener of tcp how many connections; any number on a new
    /// one.
    #[serde(default, skip_serializing_if = "Setting::is_kept")]
    #[schemars(with = "Option<Limit>")]
    pub limit: Setting<Limit>,
}

/// A target group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TargetGroup {
    /// Its name in its namespace.
    #[schemars(with = "text::Name")]
    pub name: Name,
    /// The boundary it lives in.
    #[schemars(with = "text::Namespace")]
    pub namespace: Namespace,
    /// The store's revision, for `If-Match`.
    pub revision: u64,
    /// Who its targets are.
    pub targets: Targets,
    /// What they speak.
    #[schemars(with = "text::TargetProtocol")]
    pub protocol: TargetProtocol,
    /// Whether that is spoken inside TLS.
    #[serde(default)]
    pub tls: bool,
    /// How one of them is chosen.
    #[schemars(with = "text::Algorithm")]
    pub algorithm: Algorithm,
    /// How long a client stays with the target that it came to first, by a cookie; absent where it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::Span>")]
    pub stickiness: Option<Span>,
    /// How long a new target's share grows until it is whole; absent where it is at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::Span>")]
    pub slow_start: Option<Span>,
    /// How long a target that leaves may take for what it has; absent where the definition of a service's tasks says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::Span>")]
    pub deregistration_delay: Option<Span>,
    /// How its targets are checked; absent where only what requests show counts, and a task's own check.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health_check: Option<TargetHealthCheck>,
    /// How many requests its targets are given together, or by a listener of tcp how many connections; absent where that is
    /// any number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<Limit>,
    /// When it was created, in milliseconds since 1970.
    pub created_at_ms: u64,
    /// When it last changed, in milliseconds since 1970.
    pub updated_at_ms: u64,
}

/// Who a group's targets are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Targets {
    /// The tasks of a service.
    Service(#[schemars(with = "text::NameReferenceText")] NameReference),
    /// Tasks by their addresses in the virtual network: 1 to 1000, each once.
    Virtual(#[schemars(with = "Vec<text::VirtualAddress>")] Vec<VirtualAddress>),
    /// Hosts outside: 1 to 1000, each once.
    Outside(#[schemars(with = "Vec<text::Outside>")] Vec<Outside>),
}

impl PutTargetGroup {
    /// What this makes of a group that was so `before`; an error says what to do. Whether its targets are there, it does not
    /// know.
    pub fn to_domain(&self, before: TargetGroupSpec) -> Result<TargetGroupSpec, InvalidSpec> {
        let protocol = self.protocol.unwrap_or(before.protocol);
        let health_check = self.health_check.clone().try_map(|check| check.to_domain(protocol))?;
        let spec = TargetGroupSpec {
            targets: self.targets.to_domain(&before.name.namespace)?,
            name: before.name,
            protocol,
            tls: self.tls.unwrap_or(before.tls),
            algorithm: self.algorithm.unwrap_or(before.algorithm),
            stickiness: self.stickiness.over(before.stickiness),
            slow_start: self.slow_start.over(before.slow_start),
            deregistration_delay: self.deregistration_delay.over(before.deregistration_delay),
            health_check: health_check.over(before.health_check).map(|check| as_spoken(check, protocol)),
            limit: self.limit.try_map(Limit::to_domain)?.over(before.limit),
        };
        check_times(&spec)?;
        spec.health_check.as_ref().map_or(Ok(()), |check| check_speech(check, protocol))?;
        check_together(&spec)?;
        check_is_services(&spec)?;
        Ok(spec)
    }
}

/// A check by connecting stays one where targets speak otherwise from now on; but gRPC has none.
fn as_spoken(check: DomainHealthCheck, protocol: TargetProtocol) -> DomainHealthCheck {
    let default = DomainHealthCheck::of(protocol);
    match check.path.is_none() && default.path.is_some() {
        true => DomainHealthCheck { path: default.path, matcher: default.matcher, ..check },
        false => check,
    }
}

fn check_times(spec: &TargetGroupSpec) -> Result<(), InvalidSpec> {
    let least = TargetGroupSpec::TIME_MIN;
    let times = [
        ("stickiness", spec.stickiness, least, TargetGroupSpec::STICKINESS_MAX),
        ("slow_start", spec.slow_start, least, TargetGroupSpec::TIME_MAX),
        ("deregistration_delay", spec.deregistration_delay, Span::from_ms(0), TargetGroupSpec::TIME_MAX),
    ];
    times.into_iter().try_for_each(|(what, time, least, most)| {
        time.map_or(Ok(()), |time| check_time(what, time, least, most))
    })
}

/// Refuses what can't be together.
fn check_together(spec: &TargetGroupSpec) -> Result<(), InvalidSpec> {
    if spec.tls && !matches!(spec.targets, DomainTargets::Outside(_)) {
        return Err(InvalidSpec::TlsInside);
    }
    if spec.slow_start.is_some() && spec.algorithm == Algorithm::WeightedRandom {
        return Err(InvalidSpec::SlowStartAtRandom);
    }
    if spec.protocol != TargetProtocol::Tcp {
        return Ok(());
    }
    let given = [
        ("stickiness", spec.stickiness.is_some()),
        ("slow_start", spec.slow_start.is_some()),
        ("tls", spec.tls),
    ];
    match given.into_iter().find(|(_, is_given)| *is_given) {
        Some((what, _)) => Err(InvalidSpec::NotOfTcp { what }),
        None => Ok(()),
    }
}

/// Refuses what is to be said of a service's tasks by the group of the service's own name alone, so that they are checked
/// once, however many groups they are targets of.
fn check_is_services(spec: &TargetGroupSpec) -> Result<(), InvalidSpec> {
    let DomainTargets::Service(service) = &spec.targets else { return Ok(()) };
    let given = [
        ("health_check", spec.health_check.is_some()),
        ("slow_start", spec.slow_start.is_some()),
        ("deregistration_delay", spec.deregistration_delay.is_some()),
    ];
    match given.into_iter().find(|(_, is_given)| *is_given) {
        Some((what, _)) if !spec.is_of_own_service() => {
            Err(InvalidSpec::OfService { what, service: service.clone() })
        }
        Some(_) | None => Ok(()),
    }
}

impl Targets {
    /// What this means in the namespace `here`; an error says what to do.
    pub fn to_domain(&self, here: &Namespace) -> Result<DomainTargets, InvalidSpec> {
        match self {
            Self::Service(service) => Ok(DomainTargets::Service(service.qualified(here))),
            Self::Virtual(addresses) => {
                check_targets(addresses)?;
                Ok(DomainTargets::Virtual(addresses.clone()))
            }
            Self::Outside(hosts) => {
                check_targets(hosts)?;
                Ok(DomainTargets::Outside(hosts.clone()))
            }
        }
    }
}

impl From<&DomainTargets> for Targets {
    fn from(targets: &DomainTargets) -> Self {
        match targets {
            DomainTargets::Service(service) => Self::Service(service.clone().into()),
            DomainTargets::Virtual(addresses) => Self::Virtual(addresses.clone()),
            DomainTargets::Outside(hosts) => Self::Outside(hosts.clone()),
        }
    }
}

fn check_targets<T: Ord + Display>(targets: &[T]) -> Result<(), InvalidSpec> {
    if targets.is_empty() {
        return Err(InvalidSpec::NoTargets);
    }
    if targets.len() > TargetGroupSpec::TARGETS_MAX {
        return Err(InvalidSpec::TooManyTargets { count: targets.len() });
    }
    let mut seen = BTreeSet::new();
    match targets.iter().find(|target| !seen.insert(*target)) {
        Some(twice) => Err(InvalidSpec::TargetTwice { target: twice.to_string() }),
        None => Ok(()),
    }
}

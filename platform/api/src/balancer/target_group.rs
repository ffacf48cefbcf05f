//! Target groups: whom requests are forwarded to.
//!
//! Every service is a target group of its own name unless there is one of that name; those are not listed.

use super::InvalidSpec;
use crate::text::{self, NameReference};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skiff_types::{
    Algorithm, Name, Namespace, Outside, TargetGroupSpec, TargetProtocol, Targets as DomainTargets,
    VirtualAddress,
};
use std::collections::BTreeSet;
use std::fmt::Display;

/// Creates a target group, or changes it. What is left out stays as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PutTargetGroup {
    /// Who its targets are.
    pub targets: Targets,
    /// What they speak; `http1` on a new one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::TargetProtocol>")]
    pub protocol: Option<TargetProtocol>,
    /// How one of them is chosen; `least-outstanding-requests` on a new one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::Algorithm>")]
    pub algorithm: Option<Algorithm>,
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
    /// How one of them is chosen.
    #[schemars(with = "text::Algorithm")]
    pub algorithm: Algorithm,
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

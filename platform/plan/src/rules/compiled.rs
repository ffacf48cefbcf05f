//! Conditions ready to be asked of requests.
//!
//! ELBv2's semantics: of hosts, headers' values and queries case does not count; of paths and methods it does. Nothing
//! is decoded.

use super::Request;
use super::glob::{Case, Glob};
use ipnet::IpNet;
use skiff_types::{Condition, HeaderCondition, Pattern, QueryCondition};
use std::sync::Arc;

/// A condition. It holds if one of its values does.
#[derive(Debug, Clone)]
pub(super) enum Compiled {
    Host(Vec<Glob>),
    Path(Vec<Glob>),
    Header { name: Arc<str>, values: Vec<Glob> },
    Method(Vec<Arc<str>>),
    Query { key: Option<Glob>, values: Vec<Glob> },
    Source(Vec<IpNet>),
}

impl Compiled {
    /// The conditions of a rule, the quickest to ask first, each with its place among those given.
    pub(super) fn all(conditions: &[Condition]) -> Vec<(usize, Self)> {
        let mut all: Vec<_> = conditions.iter().map(Self::new).enumerate().collect();
        all.sort_by_key(|(_, condition)| condition.slowness());
        all
    }

    fn new(condition: &Condition) -> Self {
        let globs = |values: &[Pattern], case| values.iter().map(|value| Glob::new(value, case)).collect();
        match condition {
            Condition::Host(values) => Self::Host(globs(values, Case::Ignored)),
            Condition::Path(values) => Self::Path(globs(values, Case::Counts)),
            Condition::Header(HeaderCondition { name, values }) => {
                Self::Header { name: name.clone(), values: globs(values, Case::Ignored) }
            }
            Condition::Method(values) => Self::Method(values.clone()),
            Condition::Query(QueryCondition { key, values }) => Self::Query {
                key: key.as_ref().map(|key| Glob::new(key, Case::Ignored)),
                values: globs(values, Case::Ignored),
            },
            Condition::Source(values) => Self::Source(values.clone()),
        }
    }

    /// Which of two takes longer. A query is last, since a client may give it thousands of parameters.
    fn slowness(&self) -> u8 {
        match self {
            Self::Method(_) => 0,
            Self::Source(_) => 1,
            Self::Host(_) => 2,
            Self::Path(_) => 3,
            Self::Header { .. } => 4,
            Self::Query { .. } => 5,
        }
    }

    pub(super) fn holds(&self, request: &Request<'_>) -> bool {
        match self {
            Self::Host(values) => is_one_of(values, request.host.as_bytes()),
            Self::Path(values) => is_one_of(values, request.path.as_bytes()),
            Self::Header { name, values } => request.headers.any(name, &mut |value| is_one_of(values, value)),
            Self::Method(values) => values.iter().any(|value| **value == *request.method),
            Self::Query { key, values } => parameters(request.query).any(|(name, value)| {
                let is_named = key.as_ref().is_none_or(|key| key.matches(name.as_bytes()));
                is_named && is_one_of(values, value.as_bytes())
            }),
            Self::Source(values) => values.iter().any(|value| value.contains(&request.source)),
        }
    }
}

fn is_one_of(values: &[Glob], text: &[u8]) -> bool {
    values.iter().any(|value| value.matches(text))
}

/// The parameters of a query, key and value; without `=` the value is empty.
pub(super) fn parameters(query: Option<&str>) -> impl Iterator<Item = (&str, &str)> {
    let parameters = query.into_iter().flat_map(|query| query.split('&')).filter(|text| !text.is_empty());
    parameters.map(|text| text.split_once('=').unwrap_or((text, "")))
}

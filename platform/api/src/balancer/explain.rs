//! Which rule of a listener takes a request, and why the ones before it do not.

use super::{Action, Targets};
use crate::text;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skiff_types::{Condition, Name, QualifiedName};
use std::net::IpAddr;

/// A request that somebody might send to a listener. None is sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExplainRequest {
    /// Its method, like `GET`.
    pub method: String,
    /// What it asks for: an absolute URL, like `http://api.example.com/orders?page=2`, or a path with a query; then a
    /// `host` among the headers says which host.
    pub url: String,
    /// Its headers, each a name and a value.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<(String, String)>,
    /// The address that it comes from; `127.0.0.1` where not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<IpAddr>,
}

/// What would become of a request, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RequestExplanation {
    /// Whose rules were asked.
    #[schemars(with = "text::Name")]
    pub listener: Name,
    /// The rules that were asked, in order, up to the one that takes it.
    pub steps: Vec<ExplanationStep>,
    /// What takes it.
    pub taken_by: TakenBy,
    /// What becomes of it.
    pub action: Action,
    /// The target groups of that action; none unless it forwards.
    pub target_groups: Vec<ExplainedTargetGroup>,
}

/// A rule that was asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ExplanationStep {
    /// Which.
    #[schemars(with = "text::QualifiedName")]
    pub rule: QualifiedName,
    /// Its place in the order.
    pub priority: u32,
    /// The first of its conditions that does not hold; absent if all do: it takes the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::Condition>")]
    pub failed: Option<Condition>,
}

/// What takes a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TakenBy {
    /// A rule.
    Rule(#[schemars(with = "text::QualifiedName")] QualifiedName),
    /// A service, by a host or a path that it names.
    Service(#[schemars(with = "text::QualifiedName")] QualifiedName),
    /// The listener's default action.
    DefaultAction,
}

/// A target group that may answer a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ExplainedTargetGroup {
    /// Which.
    #[schemars(with = "text::QualifiedName")]
    pub target_group: QualifiedName,
    /// Its weight among them.
    pub weight: u16,
    /// Who its targets are; absent if there is no target group and no service of that name: 503 is the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub targets: Option<Targets>,
}

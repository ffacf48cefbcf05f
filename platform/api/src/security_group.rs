//! Security groups: what the tasks in them may be reached by, and what they may reach.

use crate::text;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skiff_types::{Name, Namespace, Rule};

/// Creates a security group, or changes all that one allows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PutSecurityGroup {
    /// All that it allows: 200 rules at most. Left out, a group that is there stays as it is, and a new one allows what the
    /// default group does: the load balancer and the group itself may reach it, it may reach itself and the platform.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Vec<text::Rule>>")]
    pub rules: Option<Vec<Rule>>,
}

/// Adds a rule to a security group, or takes one from it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeRule {
    /// The rule. `from` makes it one of ingress, `to` one of egress.
    #[schemars(with = "text::Rule")]
    pub rule: Rule,
}

/// A security group. It only allows: what no rule allows is denied. What answers an allowed connection needs no rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SecurityGroup {
    /// Its name in its namespace.
    #[schemars(with = "text::Name")]
    pub name: Name,
    /// The boundary it lives in; every namespace has a group named `default`.
    #[schemars(with = "text::Namespace")]
    pub namespace: Namespace,
    /// The store's revision, for `If-Match`; 0 of a default group that nobody has changed.
    pub revision: u64,
    /// What it allows.
    #[schemars(with = "Vec<text::Rule>")]
    pub rules: Vec<Rule>,
    /// How many tasks are in it that have not ended.
    pub tasks: u32,
    /// When it was created, in milliseconds since 1970; absent of a default group that nobody has changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_at_ms: Option<u64>,
    /// When it last changed, in milliseconds since 1970; absent of a default group that nobody has changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updated_at_ms: Option<u64>,
}

//! Why two may be connected, or why not: the decision that is made for each connection, told rule by rule.

use crate::text;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skiff_types::{Direction, QualifiedName, Rule, Transport};

/// Query parameters of an explanation.
///
/// Either end is a service or a family of one-off tasks (`NAME` or `NAMESPACE/NAME`), a task by its id, a name under
/// `.internal`, `load-balancer`, `platform`, or an address or a host outside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExplainQuery {
    /// Who connects.
    pub from: String,
    /// Who is connected to.
    pub to: String,
    /// To which port.
    pub port: u16,
    /// By which protocol; `tcp` where not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::Transport>")]
    pub transport: Option<Transport>,
}

/// Whether two may be connected, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Explanation {
    /// Whether they may.
    pub allowed: bool,
    /// Who connects, as it was understood.
    pub from: String,
    /// Who is connected to, as it was understood. Of a host with several addresses, one that is denied if there is one.
    pub to: String,
    /// To which port.
    pub port: u16,
    /// By which protocol.
    #[schemars(with = "text::Transport")]
    pub transport: Transport,
    /// The ends where rules are asked, that of who connects first: the tasks among the two.
    pub sides: Vec<ExplanationSide>,
    /// For people: a sentence for each side, with the command that would allow what is denied.
    pub message: String,
}

/// What the security groups at one end say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ExplanationSide {
    /// Which way its rules look.
    #[schemars(with = "text::Direction")]
    pub direction: Direction,
    /// The service or family there.
    #[schemars(with = "text::QualifiedName")]
    pub owner: QualifiedName,
    /// Whether its rules allow it.
    pub allowed: bool,
    /// Groups that it is in but that do not exist: they allow nothing.
    #[schemars(with = "Vec<text::QualifiedName>")]
    pub unknown_groups: Vec<QualifiedName>,
    /// The rules that were looked at.
    pub considered: Vec<ConsideredRule>,
    /// The command that would allow it, where it is denied and a rule can allow it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
}

/// A rule that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ConsideredRule {
    /// Whose it is.
    #[schemars(with = "text::QualifiedName")]
    pub group: QualifiedName,
    /// The rule.
    #[schemars(with = "text::Rule")]
    pub rule: Rule,
    /// Whether it allows the connection.
    pub allows: bool,
    /// What came of it, for people.
    pub outcome: String,
}

//! Rules of listeners: which requests they take, and what becomes of those.

use super::{Action, InvalidSpec, Limit};
use crate::text;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skiff_types::{
    BUILT_IN_LISTENER, CONDITION_VALUES_MAX, CONDITIONS_MAX, Condition, Name, Namespace, Priority,
    QualifiedName, RuleSpec,
};

/// Creates a rule, or replaces all that it says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PutListenerRule {
    /// Whose rule it is; that of the listener `http` where not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::Name>")]
    pub listener: Option<Name>,
    /// When it is asked: 1 first, 50,000 last. No other rule of the listener can have it.
    #[schemars(range(min = 1, max = 50_000))]
    pub priority: u32,
    /// All have to hold: 1 to 8 of them, with 64 values together.
    #[schemars(with = "Vec<text::Condition>")]
    pub conditions: Vec<Condition>,
    /// What becomes of a request that it takes. A target group without a namespace is one of the rule's.
    pub action: Action,
    /// How many requests it takes, of all clients together; any number where not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<Limit>,
}

impl PutListenerRule {
    /// What this makes of the rule of this name; an error says what to do. Whether its listener and its target groups are
    /// there, it does not know.
    pub fn to_domain(&self, name: &QualifiedName) -> Result<RuleSpec, InvalidSpec> {
        let Self { listener, priority, conditions, action, limit } = self;
        check_conditions(conditions)?;
        Ok(RuleSpec {
            name: name.clone(),
            listener: listener.clone().unwrap_or_else(built_in),
            priority: Priority::try_from(*priority)?,
            conditions: conditions.clone(),
            action: action.to_domain(&name.namespace)?,
            limit: limit.map(Limit::to_domain).transpose()?,
        })
    }
}

fn built_in() -> Name {
    BUILT_IN_LISTENER.parse().expect("a name")
}

fn check_conditions(conditions: &[Condition]) -> Result<(), InvalidSpec> {
    let values: usize = conditions.iter().map(Condition::values).sum();
    match conditions.len() {
        0 => Err(InvalidSpec::NoConditions),
        count if count > CONDITIONS_MAX => Err(InvalidSpec::TooManyConditions { count }),
        _ if values > CONDITION_VALUES_MAX => Err(InvalidSpec::TooManyValues { values }),
        _ => Ok(()),
    }
}

/// A rule of a listener.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ListenerRule {
    /// Its name in its namespace.
    #[schemars(with = "text::Name")]
    pub name: Name,
    /// The boundary it lives in.
    #[schemars(with = "text::Namespace")]
    pub namespace: Namespace,
    /// The store's revision, for `If-Match`.
    pub revision: u64,
    /// Whose rule it is.
    #[schemars(with = "text::Name")]
    pub listener: Name,
    /// When it is asked: 1 first, 50,000 last.
    pub priority: u32,
    /// All have to hold.
    #[schemars(with = "Vec<text::Condition>")]
    pub conditions: Vec<Condition>,
    /// What becomes of a request that it takes.
    pub action: Action,
    /// How many requests it takes, of all clients together; absent where that is any number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<Limit>,
    /// When it was created, in milliseconds since 1970.
    pub created_at_ms: u64,
    /// When it last changed, in milliseconds since 1970.
    pub updated_at_ms: u64,
}

/// Query parameters of the list of rules.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListenerRuleListQuery {
    /// Only this listener's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::Name>")]
    pub listener: Option<Name>,
    /// Most items to answer with: 1 to 1000; 100 where not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub limit: Option<u32>,
    /// The `next_cursor` of the page before; absent for the first page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

//! Buses, the rules on them, and events as they are put and seen. The words are those of EventBridge.
//!
//! An event is put in the forms that others give it (CloudEvents over HTTP, EventBridge's entries), which are no types of this
//! API: they are read by their own rules.

use crate::event_target::{EventTarget, JsonText};
use crate::{InvalidSpec, text};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skiff_types::{
    BusSpec, DEFAULT_BUS, EventRuleSpec, EventTarget as DomainTarget, Name, Namespace, QualifiedName,
};

/// A bus that is to be; there is nothing to say of it but its name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PutBus {}

impl PutBus {
    /// What this means for a bus of this name.
    pub fn to_domain(&self, name: QualifiedName) -> BusSpec {
        BusSpec { name }
    }
}

/// A bus.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Bus {
    /// Its name.
    #[schemars(with = "text::Name")]
    pub name: Name,
    /// Where it lives.
    #[schemars(with = "text::Namespace")]
    pub namespace: Namespace,
    /// Its revision, for `If-Match`; 0 of the default one, which is there without being made.
    pub revision: u64,
    /// How many rules take events from it.
    pub rules: u32,
    /// When it was made, in milliseconds since 1970; 0 of the default one.
    pub created_at_ms: u64,
    /// When it was last changed, in milliseconds since 1970; 0 of the default one.
    pub updated_at_ms: u64,
}

/// A rule that is to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PutEventRule {
    /// The bus whose events it takes; the default one where left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::Name>")]
    pub bus: Option<Name>,
    /// Which of them: an event pattern in EventBridge's language, 16 KiB at most.
    pub pattern: JsonText,
    /// Whether it takes any; it does where left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// Where they go, 10 at most; of a rule that is there, what is left out stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub targets: Option<Vec<EventTarget>>,
}

impl PutEventRule {
    /// What this means for a rule of this name, which is so at present; an error says what to do. Whether its pattern is one, and
    /// whether its bus and what its targets lead to are there, it does not know.
    pub fn to_domain(
        &self,
        name: QualifiedName,
        present: Option<&EventRuleSpec>,
    ) -> Result<EventRuleSpec, InvalidSpec> {
        let targets = match &self.targets {
            Some(targets) => targets.iter().map(of_rule).collect::<Result<_, _>>()?,
            None => present.map_or_else(Vec::new, |rule| rule.targets.clone()),
        };
        let spec = EventRuleSpec {
            name,
            bus: self.bus.clone().unwrap_or_else(default_bus),
            pattern: self.pattern.0.as_str().into(),
            enabled: self.enabled.unwrap_or(true),
            targets,
        };
        spec.check()?;
        Ok(spec)
    }
}

/// What a target of a rule means: it needs a name.
fn of_rule(target: &EventTarget) -> Result<DomainTarget, InvalidSpec> {
    let id = target.id.clone().ok_or(InvalidSpec::TargetWithoutId)?;
    target.to_domain(id)
}

/// The bus that every namespace has.
fn default_bus() -> Name {
    DEFAULT_BUS.parse().expect("its name is one")
}

/// The call that makes it so, nothing left out.
impl From<&EventRuleSpec> for PutEventRule {
    fn from(spec: &EventRuleSpec) -> Self {
        Self {
            bus: Some(spec.bus.clone()),
            pattern: JsonText(spec.pattern.as_ref().to_owned()),
            enabled: Some(spec.enabled),
            targets: Some(targets(spec)),
        }
    }
}

fn targets(spec: &EventRuleSpec) -> Vec<EventTarget> {
    spec.targets.iter().map(|target| EventTarget::said(target, Some(&target.id))).collect()
}

/// A rule: which events of a bus go where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EventRule {
    /// Its name.
    #[schemars(with = "text::Name")]
    pub name: Name,
    /// Where it lives.
    #[schemars(with = "text::Namespace")]
    pub namespace: Namespace,
    /// Its revision, for `If-Match`.
    pub revision: u64,
    /// The bus whose events it takes.
    #[schemars(with = "text::Name")]
    pub bus: Name,
    /// Which of them.
    pub pattern: JsonText,
    /// Whether it takes any.
    pub enabled: bool,
    /// Where they go.
    pub targets: Vec<EventTarget>,
    /// When it was made, in milliseconds since 1970.
    pub created_at_ms: u64,
    /// When it was last changed, in milliseconds since 1970.
    pub updated_at_ms: u64,
}

impl EventRule {
    /// A rule that is to be so, with when it was made and changed.
    pub fn new(spec: &EventRuleSpec, revision: u64, (created_at_ms, updated_at_ms): (u64, u64)) -> Self {
        let QualifiedName { namespace, name } = spec.name.clone();
        Self {
            name,
            namespace,
            revision,
            bus: spec.bus.clone(),
            pattern: JsonText(spec.pattern.as_ref().to_owned()),
            enabled: spec.enabled,
            targets: targets(spec),
            created_at_ms,
            updated_at_ms,
        }
    }
}

/// Query parameters of a list of rules.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EventRuleListQuery {
    /// Only those of this bus.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::Name>")]
    pub bus: Option<Name>,
    /// How many at most, 1 to 1000; 100 where left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// Where the page begins: what the page before answered with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// Events that were put: they are on the drive, with all that follows from them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PutEventsAnswer {
    /// Their ids, in their order.
    pub event_ids: Vec<String>,
}

/// Query parameters of looking on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TailQuery {
    /// Only events that this pattern takes: JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pattern: Option<String>,
}

/// What is seen by who looks on: an event, or how many were missed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TailedEvent {
    /// An event, in EventBridge's envelope.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<serde_json::Value>,
    /// So many events came faster than they were read, and are not shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missed: Option<u64>,
}

/// Asks whether a pattern takes an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TestEventPattern {
    /// The pattern.
    pub pattern: JsonText,
    /// The event, in EventBridge's envelope or a part of it.
    pub event: JsonText,
}

/// Whether a pattern takes an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EventPatternTest {
    /// Whether it does.
    pub matches: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};
    use skiff_types::EventRuleError;

    fn read(rule: Value, present: Option<&EventRuleSpec>) -> Result<EventRuleSpec, InvalidSpec> {
        let rule: PutEventRule = serde_json::from_value(rule).unwrap();
        rule.to_domain("shop/uploads".parse().unwrap(), present)
    }

    #[test]
    fn targets_that_are_left_out_stay() {
        let target = json!({ "id": "thumbs", "to": { "task": { "definition": "thumbs" } } });
        let first =
            read(json!({ "pattern": { "source": ["skiff.s3"] }, "targets": [target] }), None).unwrap();
        assert_eq!((first.bus.as_str(), first.enabled, first.targets.len()), ("default", true, 1));
        let second =
            read(json!({ "pattern": "{}", "enabled": false, "bus": "audit" }), Some(&first)).unwrap();
        assert_eq!((second.bus.as_str(), second.enabled), ("audit", false));
        assert_eq!(second.targets, first.targets);
        let third = read(json!({ "pattern": "{}", "targets": [] }), Some(&first)).unwrap();
        assert!(third.targets.is_empty());
    }

    #[test]
    fn what_is_shown_is_what_makes_it_so() {
        let target = json!({ "id": "a", "to": { "queue": { "name": "orders" } }, "dead_letter": "dead" });
        let spec = read(json!({ "pattern": { "source": ["a"] }, "targets": [target] }), None).unwrap();
        let said = PutEventRule::from(&spec);
        assert_eq!(said.to_domain(spec.name.clone(), None).unwrap(), spec);
        let shown = serde_json::to_value(EventRule::new(&spec, 7, (1, 2))).unwrap();
        for (field, value) in serde_json::to_value(said).unwrap().as_object().unwrap() {
            assert_eq!(&shown[field], value, "{field}");
        }
    }

    #[test]
    fn what_can_not_be_is_refused() {
        let targets = |targets: Value| read(json!({ "pattern": "{}", "targets": targets }), None);
        assert!(matches!(targets(json!([{ "to": { "bus": "audit" } }])), Err(InvalidSpec::TargetWithoutId)));
        let own = targets(json!([{ "id": "a", "to": { "bus": "default" } }]));
        assert!(matches!(own, Err(InvalidSpec::EventRule(EventRuleError::OwnBus { .. }))));
        assert!(serde_json::from_value::<PutEventRule>(json!({ "patern": "{}" })).is_err());
    }
}

//! The rules, and which targets an event leads to.
//!
//! Each bus has a matcher of its own, so rules of other buses cost an event nothing. A change costs what it changes.

use super::lanes::{LaneKey, Origin};
use super::record::pack_target;
use crate::pattern::{Matcher, Pattern};
use bytes::Bytes;
use skiff_ports::buses::RuleChanges;
use skiff_types::{BusEvent, EventRuleSpec, EventTarget, Name, Namespace, QualifiedName};
use std::collections::HashMap;
use std::sync::Arc;

/// A target of a rule or a schedule, as deliveries share it.
#[derive(Debug)]
pub(super) struct Aim {
    pub(super) key: LaneKey,
    /// The rule or schedule as records have it, `NAMESPACE/NAME`.
    pub(super) origin: String,
    pub(super) target: Arc<EventTarget>,
    /// The target as records have it.
    pub(super) packed: Bytes,
}

impl Aim {
    pub(super) fn new(origin: Origin, target: EventTarget) -> Self {
        let packed = pack_target(&target);
        Self {
            origin: origin.name().to_string(),
            key: LaneKey { origin, target: target.id.clone() },
            target: Arc::new(target),
            packed,
        }
    }

    pub(super) fn is_of_schedule(&self) -> bool {
        matches!(self.key.origin, Origin::Schedule(_))
    }
}

/// Rules by their names.
pub(super) type Specs = HashMap<QualifiedName, Arc<EventRuleSpec>>;

struct Rule {
    spec: Arc<EventRuleSpec>,
    aims: Vec<Arc<Aim>>,
}

impl Rule {
    /// One that is to be, with its pattern if it takes events.
    fn new(spec: Arc<EventRuleSpec>) -> (Self, Option<Pattern>) {
        let pattern = spec.enabled.then(|| pattern(&spec)).flatten();
        let aim = |target: &EventTarget| Arc::new(Aim::new(Origin::Rule(spec.name.clone()), target.clone()));
        let aims = spec.targets.iter().map(aim).collect();
        (Self { spec, aims }, pattern)
    }
}

/// What is to be changed, made before anybody waits for it.
pub(super) struct Change {
    removed: Vec<QualifiedName>,
    put: Vec<(Rule, Option<Pattern>)>,
}

/// What a change has led to.
#[derive(Default)]
pub(super) struct Changed {
    /// The targets of rules that are new or not what they were.
    pub(super) aims: Vec<Arc<Aim>>,
    /// Targets that are not there any more.
    pub(super) gone: Vec<LaneKey>,
}

/// Where an event goes, and which rules took it.
#[derive(Default)]
pub(super) struct Matched {
    pub(super) aims: Vec<Arc<Aim>>,
    pub(super) rules: Vec<QualifiedName>,
}

impl Change {
    /// From the rules that there are to those that are wanted.
    pub(super) fn between(present: &Specs, wanted: Vec<Arc<EventRuleSpec>>) -> Self {
        let mut left = present.clone();
        let mut put = Vec::new();
        for spec in wanted {
            if !left.remove(&spec.name).is_some_and(|known| is_same(&known, &spec)) {
                put.push(Rule::new(spec));
            }
        }
        Self { removed: left.into_keys().collect(), put }
    }

    /// So that these are as they are wanted, or not there; `present` has those of them that there are.
    pub(super) fn of(present: &Specs, wanted: RuleChanges) -> Self {
        let (mut removed, mut put) = (Vec::new(), Vec::new());
        for (name, spec) in wanted {
            match spec {
                None => removed.push(name),
                Some(spec) if present.get(&name).is_some_and(|known| is_same(known, &spec)) => {}
                Some(spec) => put.push(Rule::new(spec)),
            }
        }
        Self { removed, put }
    }
}

fn is_same(one: &Arc<EventRuleSpec>, other: &Arc<EventRuleSpec>) -> bool {
    Arc::ptr_eq(one, other) || **one == **other
}

/// None, and a line in the log, for what is no pattern: it was checked when the rule was made, perhaps by an older Skiff.
fn pattern(spec: &EventRuleSpec) -> Option<Pattern> {
    let parsed = Pattern::parse(&spec.pattern);
    parsed.inspect_err(|error| tracing::error!(rule = %spec.name, %error, "a rule takes no events")).ok()
}

/// All rules.
#[derive(Default)]
pub(super) struct Rules {
    by_name: HashMap<QualifiedName, Rule>,
    /// Who matches for long has one as it was: then a change of its rules makes another.
    by_bus: HashMap<(Namespace, Name), Arc<Matcher<QualifiedName>>>,
}

/// What the rules of a bus are found by; nothing where it has none.
pub(super) type BusMatcher = Option<Arc<Matcher<QualifiedName>>>;

impl Rules {
    /// The rules as they are.
    pub(super) fn specs(&self) -> Specs {
        self.by_name.iter().map(|(name, rule)| (name.clone(), rule.spec.clone())).collect()
    }

    /// Those of these names, as far as there are any.
    pub(super) fn specs_of<'a>(&self, names: impl Iterator<Item = &'a QualifiedName>) -> Specs {
        let known = names.filter_map(|name| Some((name.clone(), self.by_name.get(name)?.spec.clone())));
        known.collect()
    }

    /// Changes them, at a cost that goes with what is changed.
    pub(super) fn change(&mut self, change: Change) -> Changed {
        let mut changed = Changed::default();
        for name in change.removed {
            let aims = self.remove(&name).map(|rule| rule.aims).unwrap_or_default();
            changed.gone.extend(aims.iter().map(|aim| aim.key.clone()));
        }
        for (rule, pattern) in change.put {
            let name = rule.spec.name.clone();
            let before = self.remove(&name).map(|rule| rule.aims).unwrap_or_default();
            let stays = |key: &LaneKey| rule.aims.iter().any(|aim| aim.key == *key);
            let gone = before.iter().map(|aim| &aim.key).filter(|key| !stays(key));
            changed.gone.extend(gone.cloned());
            if let Some(pattern) = pattern {
                let bus = (name.namespace.clone(), rule.spec.bus.clone());
                Arc::make_mut(self.by_bus.entry(bus).or_default()).insert(name.clone(), &pattern);
            }
            changed.aims.extend(rule.aims.iter().cloned());
            self.by_name.insert(name, rule);
        }
        changed
    }

    fn remove(&mut self, name: &QualifiedName) -> Option<Rule> {
        let rule = self.by_name.remove(name)?;
        let bus = (name.namespace.clone(), rule.spec.bus.clone());
        if let Some(matcher) = self.by_bus.get_mut(&bus) {
            Arc::make_mut(matcher).remove(name);
            if matcher.is_empty() {
                self.by_bus.remove(&bus);
            }
        }
        Some(rule)
    }

    /// What the rules of an event's bus are found by.
    pub(super) fn matcher_of(&self, event: &BusEvent) -> BusMatcher {
        self.by_bus.get(&(event.namespace.clone(), event.bus.clone())).cloned()
    }

    /// The targets that an event leads to which these rules take, each rule's in its order; and these names.
    pub(super) fn aims_of(&self, names: Vec<QualifiedName>) -> Matched {
        let rules = names.iter().filter_map(|name| self.by_name.get(name));
        let aims = rules.flat_map(|rule| rule.aims.iter().cloned()).collect();
        Matched { aims, rules: names }
    }

    /// Whether a delivery of this is still wanted. Of schedules, each is.
    pub(super) fn want(&self, key: &LaneKey) -> bool {
        match &key.origin {
            Origin::Schedule(_) => true,
            Origin::Rule(name) => {
                let rule = self.by_name.get(name);
                rule.is_some_and(|rule| rule.spec.targets.iter().any(|target| target.id == key.target))
            }
        }
    }
}

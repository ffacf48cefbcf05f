//! Rules of buses and their targets: made, changed, shown, removed. What they say holds for the next event as soon as a call is
//! answered.
//!
//! What always holds: what is written is a pattern, and each target of it can be delivered to as far as can be seen then.

use super::super::balancer::not_there;
use super::super::page::page;
use super::super::{Entrance, IfMatch};
use super::targets::check_target;
use super::{check_bus, check_room};
use crate::error::ApiError;
use crate::keys;
use crate::model::EventRule;
use crate::view::{Held, View};
use skiff_api::{EventRuleListQuery, EventTarget, Page, PutEventRule};
use skiff_events::pattern::Pattern;
use skiff_types::{EventRuleSpec, Name, Namespace, QualifiedName};
use tracing::info;

/// The most rules.
const RULES_MAX: usize = 20_000;

impl Entrance {
    /// Creates a rule, or replaces what it says; targets that are left out stay.
    pub(crate) async fn put_event_rule(
        &self,
        name: &QualifiedName,
        request: PutEventRule,
        if_match: IfMatch,
    ) -> Result<skiff_api::EventRule, ApiError> {
        Pattern::parse(&request.pattern.0)
            .map_err(|error| ApiError::invalid(format!("the pattern can't be used: {error}")))?;
        let _alone = self.context.routing.lock().await;
        let spec = |present: Option<&EventRuleSpec>| -> Result<EventRuleSpec, ApiError> {
            let spec = request.to_domain(name.clone(), present).map_err(ApiError::invalid)?;
            self.context.objects.read(|view| {
                check_room(present.is_none(), view.buses.rules.len(), RULES_MAX, "rules of buses", "rule")?;
                check_bus(view, &QualifiedName::new(name.namespace.clone(), spec.bus.clone()))?;
                // Those that stay as they are may lead to what is gone meanwhile.
                let mut asked = spec.targets.iter().filter(|_| request.targets.is_some());
                asked.try_for_each(|target| check_target(view, &name.namespace, target))
            })?;
            Ok(spec)
        };
        self.write_event_rule(name, if_match, spec).await
    }

    /// Adds a target to a rule, or replaces all that one says.
    pub(crate) async fn put_event_target(
        &self,
        name: &QualifiedName,
        id: &Name,
        request: EventTarget,
        if_match: IfMatch,
    ) -> Result<skiff_api::EventRule, ApiError> {
        if request.id.as_ref().is_some_and(|said| said != id) {
            return Err(ApiError::invalid(format!("the target is {id}; leave its id out, or say the same")));
        }
        let _alone = self.context.routing.lock().await;
        let request = EventTarget { id: Some(id.clone()), ..request };
        let spec = |present: Option<&EventRuleSpec>| -> Result<EventRuleSpec, ApiError> {
            let present = present.ok_or_else(|| self.context.objects.read(|view| no_rule(view, name)))?;
            let mut said = PutEventRule::from(present);
            let targets = said.targets.get_or_insert_default();
            match targets.iter_mut().find(|target| target.id.as_ref() == Some(id)) {
                Some(target) => target.clone_from(&request),
                None => targets.push(request.clone()),
            }
            let spec = said.to_domain(name.clone(), Some(present)).map_err(ApiError::invalid)?;
            let mut asked = spec.targets.iter().filter(|target| target.id == *id);
            self.context
                .objects
                .read(|view| asked.try_for_each(|target| check_target(view, &name.namespace, target)))?;
            Ok(spec)
        };
        self.write_event_rule(name, if_match, spec).await
    }

    /// Removes a target from a rule.
    pub(crate) async fn delete_event_target(
        &self,
        name: &QualifiedName,
        id: &Name,
        if_match: IfMatch,
    ) -> Result<skiff_api::EventRule, ApiError> {
        let _alone = self.context.routing.lock().await;
        let spec = |present: Option<&EventRuleSpec>| -> Result<EventRuleSpec, ApiError> {
            let present = present.ok_or_else(|| self.context.objects.read(|view| no_rule(view, name)))?;
            let mut spec = present.clone();
            spec.targets.retain(|target| target.id != *id);
            match spec.targets.len() == present.targets.len() {
                true => Err(ApiError::not_found(format!(
                    "the rule {} has no target {id}; `skiff target ls {}` lists those that it has",
                    name.name, name.name
                ))),
                false => Ok(spec),
            }
        };
        self.write_event_rule(name, if_match, spec).await
    }

    /// Lists rules by name.
    pub(crate) fn list_event_rules(
        &self,
        namespace: &Namespace,
        query: &EventRuleListQuery,
    ) -> Result<Page<skiff_api::EventRule>, ApiError> {
        self.context.objects.read(|view| {
            let rules = view.buses.rules.under(&keys::in_namespace("eventrule", namespace));
            let asked = rules.filter(|held| query.bus.as_ref().is_none_or(|bus| held.value.spec.bus == *bus));
            let rules = asked.map(|held| (held.value.spec.name.name.to_string(), held)).collect();
            page(rules, query.limit, query.cursor.as_deref(), shown)
        })
    }

    /// Shows a rule.
    pub(crate) fn get_event_rule(&self, name: &QualifiedName) -> Result<skiff_api::EventRule, ApiError> {
        self.context.objects.read(|view| view.event_rule(name).map(shown).ok_or_else(|| no_rule(view, name)))
    }

    /// Removes a rule with its targets.
    pub(crate) async fn delete_event_rule(
        &self,
        name: &QualifiedName,
        if_match: IfMatch,
    ) -> Result<(), ApiError> {
        let _alone = self.context.routing.lock().await;
        let missing = |view: &View| no_rule(view, name);
        self.withdraw::<EventRuleSpec>(&keys::event_rule(name), if_match, missing, |_| Ok(())).await?;
        self.context.tell_rules();
        info!(rule = %name, "the rule is removed");
        Ok(())
    }

    /// Writes what `spec` answers, and has the buses act on it. The caller holds `routing`.
    async fn write_event_rule(
        &self,
        name: &QualifiedName,
        if_match: IfMatch,
        spec: impl Fn(Option<&EventRuleSpec>) -> Result<EventRuleSpec, ApiError>,
    ) -> Result<skiff_api::EventRule, ApiError> {
        let held = self.declare(&keys::event_rule(name), if_match, spec).await?;
        self.context.tell_rules();
        info!(rule = %name, bus = %held.value.spec.bus, targets = held.value.spec.targets.len(), "wanted");
        Ok(shown(&held))
    }
}

fn shown(held: &Held<EventRule>) -> skiff_api::EventRule {
    let EventRule { spec, created_at_ms, updated_at_ms } = &*held.value;
    skiff_api::EventRule::new(spec, held.revision, (*created_at_ms, *updated_at_ms))
}

fn no_rule(view: &View, name: &QualifiedName) -> ApiError {
    let QualifiedName { namespace, name: rule } = name;
    let missing = format!(
        "there is no rule {rule} of a bus in the namespace {namespace}; make it with `skiff rule put {rule} --bus BUS`, `skiff \
         rule ls --bus BUS` lists those of a bus"
    );
    not_there(view, &keys::event_rule(name), missing)
}

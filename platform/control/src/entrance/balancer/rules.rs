//! Rules of listeners: made, changed, shown, removed.
//!
//! What always holds: no two rules of a listener have the same priority.

use super::listeners::no_listener;
use super::{check_action, not_there};
use crate::entrance::page::page;
use crate::entrance::{Entrance, IfMatch};
use crate::error::ApiError;
use crate::keys;
use crate::model::ListenerRule;
use crate::view::{Held, View};
use skiff_api::{ErrorCode, ListenerRuleListQuery, Page, PutListenerRule};
use skiff_types::{ListenerProtocol, Namespace, QualifiedName, RULES_PER_LISTENER_MAX, RuleSpec};
use tracing::info;

impl Entrance {
    /// Creates a rule, or replaces all that it says.
    pub(crate) async fn put_rule(
        &self,
        name: &QualifiedName,
        request: PutListenerRule,
        if_match: IfMatch,
    ) -> Result<skiff_api::ListenerRule, ApiError> {
        let wanted = request.to_domain(name).map_err(ApiError::invalid)?;
        let _alone = self.context.routing.lock().await;
        let spec = |present: Option<&RuleSpec>| -> Result<RuleSpec, ApiError> {
            self.context.objects.read(|view| check(view, present, &wanted))?;
            Ok(wanted.clone())
        };
        let held = self.declare(&keys::rule(name), if_match, spec).await?;
        info!(rule = %name, listener = %wanted.listener, priority = %wanted.priority, "wanted");
        Ok(shown(&held))
    }

    /// Lists rules by name, all or those of one listener.
    pub(crate) fn list_rules(
        &self,
        namespace: &Namespace,
        query: &ListenerRuleListQuery,
    ) -> Result<Page<skiff_api::ListenerRule>, ApiError> {
        let is_asked_for = |held: &&Held<ListenerRule>| {
            query.listener.as_ref().is_none_or(|listener| *listener == held.value.spec.listener)
        };
        let rules: Vec<(String, Held<ListenerRule>)> = self.context.objects.read(|view| {
            let rules = view.balancer.rules.under(&keys::in_namespace("rule", namespace));
            let rules = rules.filter(is_asked_for);
            rules.map(|held| (held.value.spec.name.name.to_string(), held.clone())).collect()
        });
        page(rules, query.limit, query.cursor.as_deref(), |held| shown(&held))
    }

    /// Shows a rule.
    pub(crate) fn get_rule(&self, name: &QualifiedName) -> Result<skiff_api::ListenerRule, ApiError> {
        self.context.objects.read(|view| view.rule(name).map(shown).ok_or_else(|| no_rule(view, name)))
    }

    /// Removes a rule.
    pub(crate) async fn delete_rule(&self, name: &QualifiedName, if_match: IfMatch) -> Result<(), ApiError> {
        let _alone = self.context.routing.lock().await;
        let missing = |view: &View| no_rule(view, name);
        self.withdraw::<RuleSpec>(&keys::rule(name), if_match, missing, |_| Ok(())).await?;
        info!(rule = %name, "the rule is removed");
        Ok(())
    }
}

/// Refuses a rule that can't be beside all else.
fn check(view: &View, present: Option<&RuleSpec>, spec: &RuleSpec) -> Result<(), ApiError> {
    let RuleSpec { name, listener, priority, action, .. } = spec;
    let protocol = view.listener(listener).ok_or_else(|| no_listener(view, listener))?.protocol;
    if protocol == ListenerProtocol::Tcp {
        return Err(ApiError::not_now(format!(
            "the listener {listener} speaks tcp, where there is nothing that a rule could ask for; change its default \
             action with `skiff listener create {listener} --forward GROUP`"
        )));
    }
    if let Some(other) = view.rules_at(listener, *priority).find(|other| *other != name) {
        return Err(ApiError::new(
            ErrorCode::Conflict,
            format!(
                "the priority {priority} of the listener {listener} is already taken by the rule {other}; choose another \
                 (`skiff rule ls` lists them)"
            ),
        ));
    }
    let is_new = present.is_none_or(|present| present.listener != *listener);
    if is_new && view.rules_count(listener) >= RULES_PER_LISTENER_MAX {
        return Err(ApiError::new(
            ErrorCode::ResourceExhausted,
            format!(
                "the listener {listener} has {RULES_PER_LISTENER_MAX} rules, the most that one can have; remove one first"
            ),
        ));
    }
    check_action(view, protocol, action)
}

fn no_rule(view: &View, name: &QualifiedName) -> ApiError {
    let QualifiedName { namespace, name: rule } = name;
    let missing = format!("there is no rule {rule} in the namespace {namespace}");
    not_there(view, &keys::rule(name), missing)
}

fn shown(held: &Held<ListenerRule>) -> skiff_api::ListenerRule {
    let spec = &*held.value.spec;
    skiff_api::ListenerRule {
        name: spec.name.name.clone(),
        namespace: spec.name.namespace.clone(),
        revision: held.revision,
        listener: spec.listener.clone(),
        priority: spec.priority.get(),
        conditions: spec.conditions.clone(),
        action: (&spec.action).into(),
        limit: spec.limit.map(Into::into),
        created_at_ms: held.value.created_at_ms,
        updated_at_ms: held.value.updated_at_ms,
    }
}

//! Listeners: made, changed, shown, removed. The node opens and closes what they need.
//!
//! The built-in listener is always there; what can be changed of it is what becomes of its requests. An internal listener has
//! its port at the platform's address in the virtual network, and takes none of the node's. What always holds: a port of the
//! node is one public listener's or one service's, and one within one internal listener's; a listener that has rules is not
//! removed; one of https has certificates, all of which there are, and no other has any.

use super::certificates::no_certificate;
use super::{check_action, check_readable, not_there};
use crate::entrance::page::page;
use crate::entrance::{Entrance, IfMatch};
use crate::error::ApiError;
use crate::keys;
use crate::model::{built_in_name, is_built_in};
use crate::view::View;
use skiff_api::{ErrorCode, Page, PageQuery, PutListener};
use skiff_plan::routes::Place;
use skiff_types::{LISTENERS_MAX, Listen, ListenerProtocol, ListenerSpec, Name, Scheme};
use std::sync::Arc;
use std::time::Duration;
use tracing::info;

/// How long an answer waits for the node to have tried a listener's port.
const TRIED_WITHIN: Duration = Duration::from_secs(1);

impl Entrance {
    /// Creates a listener, or changes it. The answer tells whether its port could be had, unless workers are slow to act.
    pub(crate) async fn put_listener(
        &self,
        name: &Name,
        request: PutListener,
        if_match: IfMatch,
    ) -> Result<skiff_api::Listener, ApiError> {
        self.check_place(name, &request)?;
        let alone = self.context.routing.lock().await;
        let spec = |present: Option<&ListenerSpec>| -> Result<ListenerSpec, ApiError> {
            let spec = request.to_domain(name, present).map_err(ApiError::invalid)?;
            self.check_port(&spec)?;
            self.context.objects.read(|view| check(view, present, &spec))?;
            Ok(spec)
        };
        let held = self.declare(&keys::listener(name), if_match, spec).await?;
        let ListenerSpec { port, protocol, scheme, .. } = *held.value.spec;
        info!(listener = %name, port, %protocol, %scheme, "wanted");
        drop(alone);
        if scheme == Scheme::Public && !is_built_in(name) {
            let tried = self.context.acknowledged.reached(held.generation);
            let _ = tokio::time::timeout(TRIED_WITHIN, tried).await;
        }
        self.get_listener(name)
    }

    /// Lists listeners by name, the built-in one among them.
    pub(crate) fn list_listeners(&self, query: &PageQuery) -> Result<Page<skiff_api::Listener>, ApiError> {
        let built_in = built_in_name();
        let listeners: Vec<(String, skiff_api::Listener)> = self.context.objects.read(|view| {
            let names = view.other_listeners().map(|spec| &spec.name).chain([&built_in]);
            names.filter_map(|name| Some((name.to_string(), shown(view, name)?))).collect()
        });
        page(listeners, query.limit, query.cursor.as_deref(), |listener| self.with_problem(listener))
    }

    /// Shows a listener.
    pub(crate) fn get_listener(&self, name: &Name) -> Result<skiff_api::Listener, ApiError> {
        let listener =
            self.context.objects.read(|view| shown(view, name).ok_or_else(|| no_listener(view, name)))?;
        Ok(self.with_problem(listener))
    }

    /// With what the node says of its port.
    fn with_problem(&self, listener: skiff_api::Listener) -> skiff_api::Listener {
        skiff_api::Listener { problem: self.context.runtime.listener_problem(&listener.name), ..listener }
    }

    /// Removes a listener without rules; of the built-in one, what was changed.
    pub(crate) async fn delete_listener(&self, name: &Name, if_match: IfMatch) -> Result<(), ApiError> {
        let _alone = self.context.routing.lock().await;
        let missing = |view: &View| match is_built_in(name) {
            true => ApiError::not_now(format!(
                "the listener {name} is always there, and is as it was at first: there is nothing to put back"
            )),
            false => no_listener(view, name),
        };
        let check = |view: &View| if is_built_in(name) { Ok(()) } else { check_without_rules(view, name) };
        self.withdraw::<ListenerSpec>(&keys::listener(name), if_match, missing, check).await?;
        info!(listener = %name, "the listener is removed");
        Ok(())
    }

    /// Refuses any place of the built-in listener but its own.
    fn check_place(&self, name: &Name, request: &PutListener) -> Result<(), ApiError> {
        let PutListener { protocol, port, scheme, .. } = *request;
        let http = self.context.config.http.port();
        let asked = (protocol, port, scheme.unwrap_or_default());
        match !is_built_in(name) || asked == (ListenerProtocol::Http, http, Scheme::Public) {
            true => Ok(()),
            false => Err(ApiError::invalid(format!(
                "the listener {name} speaks http at the port {http}, for everybody: where it is, `skiff up --http` says; make \
                 another listener for what is to be otherwise"
            ))),
        }
    }

    /// Refuses a port of the node that the platform itself has.
    fn check_port(&self, spec: &ListenerSpec) -> Result<(), ApiError> {
        let is_of_node = spec.scheme == Scheme::Public && !is_built_in(&spec.name);
        match is_of_node && self.is_own_port(spec.port) {
            true => {
                let port = spec.port;
                Err(ApiError::invalid(format!("Skiff itself listens at the port {port}; choose another")))
            }
            false => Ok(()),
        }
    }
}

/// Refuses a listener that can't be beside all else.
fn check(view: &View, present: Option<&ListenerSpec>, spec: &ListenerSpec) -> Result<(), ApiError> {
    if spec.protocol == ListenerProtocol::Tcp
        && let Some(rule) = view.rules_of_listener(&spec.name).next()
    {
        return Err(ApiError::not_now(format!(
            "a listener of tcp has no rules, and {} has {rule}; remove its rules first with `skiff rule rm`",
            spec.name
        )));
    }
    check_free(view, spec)?;
    if let Some(missing) = spec.certificates.iter().find(|name| view.certificate(name).is_none()) {
        return Err(no_certificate(view, missing));
    }
    let others = view.other_listeners().count();
    if present.is_none() && !is_built_in(&spec.name) {
        let inline: usize = view.askers.listeners().filter(|(listen, _)| is_held(view, *listen)).count();
        let count = inline + others + 1;
        if count > LISTENERS_MAX {
            return Err(ApiError::new(
                ErrorCode::ResourceExhausted,
                format!(
                    "with this listener the load balancer would have {count} beside the built-in one, those of services \
                     among them; the most is {LISTENERS_MAX}: remove one first (`skiff listener ls` and `skiff status` list them)"
                ),
            ));
        }
    }
    check_action(view, spec.protocol, &spec.default_action)
}

/// Refuses a port that another listener of the same scheme has, or a public one's that a service has.
fn check_free(view: &View, spec: &ListenerSpec) -> Result<(), ApiError> {
    let taken = |holder: String| {
        let message = format!("the port {} is already taken by {holder}; choose another", spec.port);
        Err(ApiError::new(ErrorCode::Conflict, message))
    };
    let is_there = |other: &&Arc<ListenerSpec>| {
        (other.scheme, other.port) == (spec.scheme, spec.port) && other.name != spec.name
    };
    if let Some(other) = view.other_listeners().find(is_there) {
        return taken(match other.scheme {
            Scheme::Public => format!("the listener {}", other.name),
            Scheme::Internal => format!("the internal listener {}", other.name),
        });
    }
    if spec.scheme == Scheme::Internal {
        return Ok(());
    }
    let askers = view.askers.of(&Place::Listen(Listen::Tcp(spec.port))).iter();
    let mut living = askers.filter(|asker| view.service(asker).is_some_and(|held| !held.value.removed));
    match living.next() {
        Some(service) => taken(format!("the service {service}")),
        None => Ok(()),
    }
}

/// Whether a service that is there to stay asks for this.
fn is_held(view: &View, listen: Listen) -> bool {
    let mut askers = view.askers.of(&Place::Listen(listen)).iter();
    askers.any(|asker| view.service(asker).is_some_and(|held| !held.value.removed))
}

fn check_without_rules(view: &View, name: &Name) -> Result<(), ApiError> {
    match view.rules_of_listener(name).next() {
        Some(rule) => {
            let count = view.rules_count(name);
            let rules = if count == 1 { "the rule" } else { "rules, the first of them" };
            Err(ApiError::not_now(format!(
                "the listener {name} has {rules} {rule}; remove what it has with `skiff rule rm` first"
            )))
        }
        None => check_readable(view, &format!("the listener {name}")),
    }
}

pub(super) fn no_listener(view: &View, name: &Name) -> ApiError {
    let missing =
        format!("there is no listener {name}; make it with `skiff listener create {name} --port PORT`");
    not_there(view, &keys::listener(name), missing)
}

/// A listener but for what the node says of it.
fn shown(view: &View, name: &Name) -> Option<skiff_api::Listener> {
    let spec = view.listener(name)?;
    let held = view.balancer.listeners.get(&keys::listener(name));
    Some(skiff_api::Listener {
        name: name.clone(),
        revision: held.map_or(0, |held| held.revision),
        protocol: spec.protocol,
        port: spec.port,
        scheme: spec.scheme,
        certificates: spec.certificates.clone(),
        services: spec.services,
        default_action: (&spec.default_action).into(),
        client_limit: spec.client_limit.map(Into::into),
        rules: u32::try_from(view.rules_count(name)).unwrap_or(u32::MAX),
        problem: None,
        created_at_ms: held.map(|held| held.value.created_at_ms),
        updated_at_ms: held.map(|held| held.value.updated_at_ms),
    })
}

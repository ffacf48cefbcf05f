//! Listeners: made, changed, shown, removed. The node opens and closes what they need.
//!
//! The built-in listener is always there; what can be changed of it is what becomes of its requests. What always holds: a
//! port is one listener's or one service's; a listener that has rules is not removed; one of https has certificates, all of
//! which there are, and no other has any.

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
use skiff_types::{
    Action, CERTIFICATES_PER_LISTENER_MAX, FixedResponse, LISTENERS_MAX, Listen, ListenerProtocol,
    ListenerSpec, Name, Namespace, Scheme,
};
use std::collections::BTreeSet;
use tracing::info;

impl Entrance {
    /// Creates a listener, or changes it.
    pub(crate) async fn put_listener(
        &self,
        name: &Name,
        request: PutListener,
        if_match: IfMatch,
    ) -> Result<skiff_api::Listener, ApiError> {
        self.check_place(name, &request)?;
        let action = request.default_action.as_ref();
        let action = action.map(|action| action.to_domain(&Namespace::default())).transpose();
        let action = action.map_err(ApiError::invalid)?;
        let _alone = self.context.routing.lock().await;
        let spec = |present: Option<&ListenerSpec>| -> Result<ListenerSpec, ApiError> {
            let spec = next(name, present, &request, action.clone())?;
            self.context.objects.read(|view| check(view, present, &spec))?;
            Ok(spec)
        };
        let held = self.declare(&keys::listener(name), if_match, spec).await?;
        info!(listener = %name, port = held.value.spec.port, protocol = %held.value.spec.protocol, "wanted");
        self.get_listener(name)
    }

    /// Lists listeners by name, the built-in one among them.
    pub(crate) fn list_listeners(&self, query: &PageQuery) -> Result<Page<skiff_api::Listener>, ApiError> {
        let built_in = built_in_name();
        let listeners: Vec<(String, skiff_api::Listener)> = self.context.objects.read(|view| {
            let names = view.other_listeners().map(|spec| &spec.name).chain([&built_in]);
            names.filter_map(|name| Some((name.to_string(), shown(view, name)?))).collect()
        });
        page(listeners, query.limit, query.cursor.as_deref(), |listener| listener)
    }

    /// Shows a listener.
    pub(crate) fn get_listener(&self, name: &Name) -> Result<skiff_api::Listener, ApiError> {
        self.context.objects.read(|view| shown(view, name).ok_or_else(|| no_listener(view, name)))
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

    /// Refuses a port that the platform itself has, and any place of the built-in listener but its own.
    fn check_place(&self, name: &Name, request: &PutListener) -> Result<(), ApiError> {
        let PutListener { protocol, port, scheme, .. } = *request;
        if is_built_in(name) {
            let http = self.context.config.http.port();
            let asked = (protocol, port, scheme.unwrap_or_default());
            return match asked == (ListenerProtocol::Http, http, Scheme::Public) {
                true => Ok(()),
                false => Err(ApiError::invalid(format!(
                    "the listener {name} speaks http at the port {http}, for everybody: where it is, `skiff up --http` \
                     says; make another listener for what is to be otherwise"
                ))),
            };
        }
        match port {
            0 => Err(ApiError::invalid("port is 0; it must be 1 to 65535")),
            port if self.is_own_port(port) => {
                Err(ApiError::invalid(format!("Skiff itself listens at the port {port}; choose another")))
            }
            _ => Ok(()),
        }
    }
}

/// What a request makes of a listener.
fn next(
    name: &Name,
    present: Option<&ListenerSpec>,
    request: &PutListener,
    action: Option<Action>,
) -> Result<ListenerSpec, ApiError> {
    let protocol = request.protocol;
    let scheme = request.scheme.or(present.map(|spec| spec.scheme)).unwrap_or_default();
    if scheme == Scheme::Internal {
        return Err(ApiError::invalid("listeners can't be internal yet; make a public one"));
    }
    let is_tcp = protocol == ListenerProtocol::Tcp;
    if is_tcp && request.services == Some(true) {
        return Err(ApiError::invalid(
            "services is for listeners of http: connections of tcp name no host and no path; leave it out",
        ));
    }
    let before = present.filter(|spec| spec.protocol != ListenerProtocol::Tcp);
    let services = request.services.or(before.map(|spec| spec.services)).unwrap_or(true);
    let default_action = action.or_else(|| present.map(|spec| spec.default_action.clone()));
    let default_action = match default_action {
        Some(action @ Action::Forward(_)) => action,
        Some(action) if !is_tcp => action,
        None if !is_tcp => Action::FixedResponse(FixedResponse::status(404)),
        Some(_) | None => {
            return Err(ApiError::invalid(
                "a listener of tcp can do nothing but forward: say where to with default_action, as --forward does",
            ));
        }
    };
    Ok(ListenerSpec {
        name: name.clone(),
        protocol,
        port: request.port,
        scheme,
        certificates: certificates(present, request)?,
        services: services && !is_tcp,
        default_action,
    })
}

/// The certificates that a listener is to have.
fn certificates(present: Option<&ListenerSpec>, request: &PutListener) -> Result<Vec<Name>, ApiError> {
    let asked = request.certificates.as_deref();
    if request.protocol != ListenerProtocol::Https {
        return match asked.unwrap_or_default() {
            [] => Ok(vec![]),
            [_, ..] => Err(ApiError::invalid(
                "certificates are for listeners of https; leave them out, or say --protocol https",
            )),
        };
    }
    let names = asked.or(present.map(|spec| spec.certificates.as_slice())).unwrap_or_default();
    let distinct: BTreeSet<&Name> = names.iter().collect();
    match names.len() {
        0 => Err(ApiError::invalid(
            "a listener of https shows its clients a certificate: name one with certificates, as --certificate does \
             (`skiff cert ls` lists them, `skiff cert import` brings in another)",
        )),
        count if count > CERTIFICATES_PER_LISTENER_MAX => Err(ApiError::invalid(format!(
            "a listener can't have {count} certificates; the most is {CERTIFICATES_PER_LISTENER_MAX}: put several \
             names into one certificate, or use wildcards"
        ))),
        count if count > distinct.len() => {
            Err(ApiError::invalid("a listener names a certificate twice: name each once"))
        }
        _ => Ok(names.to_vec()),
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

/// Refuses a port that another listener or a service has.
fn check_free(view: &View, spec: &ListenerSpec) -> Result<(), ApiError> {
    let taken = |holder: String| {
        let message = format!("the port {} is already taken by {holder}; choose another", spec.port);
        Err(ApiError::new(ErrorCode::Conflict, message))
    };
    let mut others = view.other_listeners();
    if let Some(other) = others.find(|other| other.port == spec.port && other.name != spec.name) {
        return taken(format!("the listener {}", other.name));
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
        rules: u32::try_from(view.rules_count(name)).unwrap_or(u32::MAX),
        created_at_ms: held.map(|held| held.value.created_at_ms),
        updated_at_ms: held.map(|held| held.value.updated_at_ms),
    })
}

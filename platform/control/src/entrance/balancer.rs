//! The load balancer's listeners, rules, target groups and certificates, and what they may lead to.
//!
//! A change is checked against everything else in the view: whoever writes holds `routing`, so that nothing that was looked
//! at changes meanwhile. What always holds: what a rule or a default action leads to is there, and can take what the
//! listener sends; so neither it nor a service behind it is removed before what leads there, nor made one that can't take it.
//! A name has one meaning: no target group of other targets has that of a service, nor the other way round.

mod certificates;
mod explain;
mod listeners;
mod rules;
mod target_groups;
mod targets;

use super::{Entrance, IfMatch, WRITE_ATTEMPTS};
use crate::error::ApiError;
use crate::keys;
use crate::model::{Declared, Service, groups_of};
use crate::view::{Held, View, Viewed};
use skiff_api::ErrorCode;
use skiff_ports::store::{Expect, Key};
use skiff_types::{Action, ListenerProtocol, QualifiedName, TargetGroupSpec, TargetProtocol, Targets};
use std::sync::Arc;

impl Entrance {
    /// Writes what `spec` answers for the object as it is; nothing if it says that already. The caller holds `routing`.
    pub(super) async fn declare<S: PartialEq>(
        &self,
        key: &Key,
        if_match: IfMatch,
        spec: impl Fn(Option<&S>) -> Result<S, ApiError>,
    ) -> Result<Held<Declared<S>>, ApiError>
    where
        Declared<S>: Viewed,
    {
        for _ in 0..WRITE_ATTEMPTS {
            let present = self.context.objects.load::<Declared<S>>(key).await?;
            if_match.check(present.as_ref().map_or(0, |held| held.revision))?;
            let spec = spec(present.as_ref().map(|held| &*held.value.spec))?;
            let now_ms = self.context.now_ms();
            let (expect, created_at_ms) = match present {
                Some(held) if *held.value.spec == spec => return Ok(held),
                Some(held) => (Expect::Revision(held.revision), held.value.created_at_ms),
                None => (Expect::Absent, now_ms),
            };
            let object = Declared { spec: Arc::new(spec), created_at_ms, updated_at_ms: now_ms };
            match self.context.objects.put(object, expect).await {
                Err(error) if error.is_conflict() => {}
                result => return result.map_err(ApiError::from),
            }
        }
        Err(contended(key))
    }

    /// Removes an object that `check` lets go; `missing` says what to answer if there is none. The caller holds `routing`.
    pub(super) async fn withdraw<S>(
        &self,
        key: &Key,
        if_match: IfMatch,
        missing: impl Fn(&View) -> ApiError,
        check: impl Fn(&View) -> Result<(), ApiError>,
    ) -> Result<(), ApiError>
    where
        Declared<S>: Viewed,
    {
        for _ in 0..WRITE_ATTEMPTS {
            let present = self.context.objects.load::<Declared<S>>(key).await?;
            if_match.check(present.as_ref().map_or(0, |held| held.revision))?;
            let Some(held) = present else { return Err(self.context.objects.read(&missing)) };
            self.context.objects.read(&check)?;
            let expect = Expect::Revision(held.revision);
            match self.context.objects.delete::<Declared<S>>(key, expect).await {
                Err(error) if error.is_conflict() => {}
                result => return result.map_err(ApiError::from),
            }
        }
        Err(contended(key))
    }
}

/// Refuses the removal of a service that a rule or a listener leads to, which would have nowhere to lead then.
pub(super) fn check_unused(view: &View, service: &QualifiedName) -> Result<(), ApiError> {
    match view.users_of_service(service).next() {
        Some(user) => Err(ApiError::not_now(format!(
            "{user} leads to the service {service}; change it to lead elsewhere, or remove it first"
        ))),
        None => Ok(()),
    }
}

/// Refuses a new service by whose name a target group of other targets is meant.
pub(super) fn check_name(view: &View, service: &QualifiedName) -> Result<(), ApiError> {
    match view.target_group(service) {
        Some(held) if !held.value.spec.is_of_own_service() => Err(ApiError::new(
            ErrorCode::Conflict,
            format!(
                "{service} is a target group of other targets, which are meant by whatever forwards to that name; give the \
                 service another name, or remove the group first with `skiff target-group rm {}`",
                service.name
            ),
        )),
        Some(_) | None => Ok(()),
    }
}

/// Refuses what a service is to be, if it could not take what leads to it then.
pub(super) fn check_led_to(view: &View, service: &Service) -> Result<(), ApiError> {
    let name = service.name();
    view.users_of_service(&name).try_for_each(|user| {
        let Some(protocol) = view.protocol_of(user) else { return Ok(()) };
        check_tasks(view, protocol, &name, service).map_err(|error| {
            ApiError::not_now(format!("{user} leads to the service {name}: {}", error.message))
        })
    })
}

/// Refuses an action that leads to nobody, or to who can't take what a listener of this protocol sends.
fn check_action(view: &View, protocol: ListenerProtocol, action: &Action) -> Result<(), ApiError> {
    groups_of(action).iter().map(|weighted| &weighted.group).try_for_each(|name| {
        match view.target_group(name) {
            Some(held) => check_group(view, protocol, &held.value.spec),
            None => check_service(view, protocol, name),
        }
    })
}

/// Refuses a target group that can't take what a listener of this protocol sends.
fn check_group(view: &View, protocol: ListenerProtocol, group: &TargetGroupSpec) -> Result<(), ApiError> {
    let name = &group.name;
    match (protocol, group.protocol) {
        (ListenerProtocol::Http | ListenerProtocol::Https, TargetProtocol::Tcp) => {
            return Err(ApiError::not_now(format!(
                "the targets of the group {name} speak tcp, and the listener speaks {protocol}: give the group the \
                 protocol http1, or name another"
            )));
        }
        (ListenerProtocol::Tcp, TargetProtocol::Http2 | TargetProtocol::Grpc) => {
            return Err(ApiError::not_now(format!(
                "the targets of the group {name} speak {}, and a listener of tcp passes on whatever its clients speak: \
                 give the group the protocol tcp, or name another",
                group.protocol
            )));
        }
        (ListenerProtocol::Tcp, _) if group.tls => {
            return Err(ApiError::not_now(format!(
                "the targets of the group {name} are spoken to inside TLS, and a listener of tcp passes on whatever its \
                 clients speak: make the group one without, as --no-tls does, or name another"
            )));
        }
        (ListenerProtocol::Tcp, TargetProtocol::Http1 | TargetProtocol::Tcp)
        | (
            ListenerProtocol::Http | ListenerProtocol::Https,
            TargetProtocol::Http1 | TargetProtocol::Http2 | TargetProtocol::Grpc,
        ) => {}
    }
    match &group.targets {
        Targets::Service(service) => check_service(view, protocol, service),
        Targets::Virtual(_) | Targets::Outside(_) => Ok(()),
    }
}

/// Refuses a service that can't take what a listener of this protocol sends.
fn check_service(view: &View, protocol: ListenerProtocol, name: &QualifiedName) -> Result<(), ApiError> {
    check_tasks(view, protocol, name, living_service(view, name)?)
}

/// Refuses a service whose tasks can't take what a listener of this protocol sends.
fn check_tasks(
    view: &View,
    protocol: ListenerProtocol,
    name: &QualifiedName,
    service: &Service,
) -> Result<(), ApiError> {
    // Where the definition can't be read, nobody knows better.
    let Some(held) = view.definition(&service.namespace, &service.spec.definition) else { return Ok(()) };
    let definition = &held.value.definition;
    match protocol {
        ListenerProtocol::Tcp if definition.port.is_none() => Err(ApiError::not_now(format!(
            "a listener of tcp leads to a port, and the tasks of the service {name} listen on none: register {} with one, \
             as --port does, or name another service or target group",
            definition.id.family
        ))),
        ListenerProtocol::Http | ListenerProtocol::Https if !definition.is_balanced() => {
            Err(ApiError::not_now(format!(
                "the service {name} takes no requests: {} is a command without a port; name another service or target \
                 group",
                definition.id
            )))
        }
        ListenerProtocol::Http | ListenerProtocol::Https | ListenerProtocol::Tcp => Ok(()),
    }
}

/// A service that is there to stay.
fn living_service<'a>(view: &'a View, name: &QualifiedName) -> Result<&'a Service, ApiError> {
    let held = view.service(name).filter(|held| !held.value.removed);
    held.map(|held| &*held.value).ok_or_else(|| {
        let keys = [keys::target_group(name), keys::service(name)];
        let unreadable = keys.iter().find(|key| view.unreadable.contains(*key));
        unreadable.map_or_else(
            || {
                ApiError::not_found(format!(
                    "there is no target group or service {name}; make it with `skiff target-group create`, or deploy the \
                     service first"
                ))
            },
            unreadable_error,
        )
    })
}

/// Why there is no such object: there is none, which `missing` says, or its record can't be read.
pub(super) fn not_there(view: &View, key: &Key, missing: String) -> ApiError {
    match view.unreadable.contains(key) {
        true => unreadable_error(key),
        false => ApiError::not_found(missing),
    }
}

fn unreadable_error(key: &Key) -> ApiError {
    let message = format!("the record {key} can't be read; see the platform's log");
    ApiError::new(ErrorCode::Internal, message)
}

/// Refuses a removal while something that may lead to what is removed can't be read.
fn check_readable(view: &View, what: &str) -> Result<(), ApiError> {
    match view.unreadable_of_balancer() {
        Some(key) => Err(ApiError::not_now(format!(
            "the record {key} can't be read, and may need {what}, which stays until it can be; see the platform's log"
        ))),
        None => Ok(()),
    }
}

fn contended(key: &Key) -> ApiError {
    ApiError::new(ErrorCode::Unavailable, format!("others keep changing {key}; try again"))
}

//! The one entrance to the control plane: each call of the API as a function, whatever door it came through.
//!
//! It deliberately knows no HTTP. A call writes what is wanted and returns once that is durable; what follows from it
//! is the reconcilers' business.

mod access_keys;
mod alarms;
mod balancer;
mod buses;
mod consumers;
mod data;
mod definitions;
mod events;
mod explain;
mod flows;
mod forward;
mod images;
mod logs;
mod metrics;
mod page;
mod placement;
mod platform;
mod roles;
mod rollouts;
mod scaling;
mod security_groups;
mod services;
mod tasks;
mod usage;
mod views;

pub(crate) use buses::{KEYED_BYTES_MAX, Putter};
pub(crate) use events::wire;
pub(crate) use forward::{FORWARDS_MAX, Forward};

use crate::context::Context;
use crate::error::ApiError;
use skiff_api::{ErrorCode, TaskDefinitionReference};
use skiff_kit::random::SharedRandom;
use skiff_ports::store::Revision;
use skiff_types::Namespace;
use std::collections::BTreeMap;
use std::sync::Arc;

/// How often a write is tried again because somebody else wrote first.
const WRITE_ATTEMPTS: usize = 16;

/// The calls. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Entrance {
    context: Arc<Context>,
}

/// Bytes that the arguments and the environment of a task can have together, as ECS bounds a task definition. Written as
/// JSON they can be six times as long, and a task's object may have a definition's arguments beside its own environment.
const COMMAND_BYTES_MAX: usize = 64 << 10;

/// What a write expects of the object, by its caller's word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum IfMatch {
    /// Nothing.
    Anything,
    /// That it exists.
    Exists,
    /// That this is its revision.
    Revision(Revision),
}

impl IfMatch {
    /// Checks the object's revision; 0 if it does not exist.
    fn check(self, actual: Revision) -> Result<(), ApiError> {
        let holds = match self {
            Self::Anything => true,
            Self::Exists => actual > 0,
            Self::Revision(expected) => actual == expected,
        };
        let message = match actual {
            0 => "it does not exist, and the call said that it does".to_owned(),
            _ => format!("it is at revision {actual}; read it again before changing it"),
        };
        if holds { Ok(()) } else { Err(ApiError::new(ErrorCode::PreconditionFailed, message)) }
    }
}

impl Entrance {
    pub(crate) fn new(context: Arc<Context>) -> Self {
        Self { context }
    }

    /// Ends when the platform begins to drain.
    pub(crate) fn draining(&self) -> impl Future<Output = ()> + Send + use<> {
        let drain = self.context.drain.clone();
        async move { drain.begun().await }
    }

    /// What ids of calls are made of.
    pub(crate) fn random(&self) -> SharedRandom {
        self.context.random.clone()
    }

    /// Whether the platform itself listens at a port.
    fn is_own_port(&self, port: u16) -> bool {
        let config = &self.context.config;
        config.network.own_doors.iter().chain([&config.http]).any(|door| door.port() == port)
    }

    /// The definition that a reference means, if it is registered.
    fn resolve(
        &self,
        namespace: &Namespace,
        reference: &TaskDefinitionReference,
    ) -> Result<Arc<crate::model::Definition>, ApiError> {
        let found = self.context.objects.read(|view| match reference.revision {
            Some(revision) => {
                let id = skiff_types::TaskDefinitionId { family: reference.family.clone(), revision };
                view.definition(namespace, &id).map(|held| held.value.clone())
            }
            None => {
                let prefix = crate::keys::family(namespace, &reference.family);
                let mut registered = view.definitions.under(&prefix).rev();
                registered.find(|held| !held.value.deregistered).map(|held| held.value.clone())
            }
        });
        found.filter(|definition| !definition.deregistered).ok_or_else(|| {
            ApiError::not_found(format!(
                "there is no task definition {reference} in the namespace {namespace}"
            ))
        })
    }
}

/// Refuses arguments and variables that no program can be given.
pub(crate) fn check_command(
    arguments: &[String],
    environment: &BTreeMap<String, String>,
) -> Result<(), ApiError> {
    if let Some(argument) = arguments.iter().find(|argument| argument.contains('\0')) {
        return Err(ApiError::invalid(format!("the argument {argument:?} has a NUL character in it")));
    }
    let variables = environment.iter().map(|(name, value)| name.len() + value.len());
    let bytes = arguments.iter().map(String::len).chain(variables).sum::<usize>();
    if bytes > COMMAND_BYTES_MAX {
        return Err(ApiError::invalid(format!(
            "the arguments and the environment have {bytes} bytes together; the most is {COMMAND_BYTES_MAX}"
        )));
    }
    for (name, value) in environment {
        if name.is_empty() || name.contains(['=', '\0']) {
            return Err(ApiError::invalid(format!(
                "{name:?} can't be the name of an environment variable: it must not be empty nor have '=' or NUL in it"
            )));
        }
        if value.contains('\0') {
            return Err(ApiError::invalid(format!("the variable {name} has a NUL character in its value")));
        }
    }
    Ok(())
}

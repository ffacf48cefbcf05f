//! What a definition says of daemons: their port, their health, their end, and what becomes of one-off tasks.
//!
//! What can't mean anything is refused, not passed over: its user would wait for what never comes.

use crate::error::ApiError;
use skiff_api::{HealthCheckSpec, RegisterTaskDefinition};
use skiff_types::{DEFAULT_STOP_TIMEOUT, HealthCheck, Kind, Restart, STOP_TIMEOUT_MAX, Span, TaskDefinition};
use std::fmt::Display;
use std::ops::RangeInclusive;

/// That part of a definition, defaults filled in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Daemon {
    pub(super) port: Option<u16>,
    pub(super) health_check: HealthCheck,
    pub(super) stop_timeout: Span,
    pub(super) restart: Restart,
}

impl Daemon {
    /// What a request says, each value checked.
    pub(super) fn of(request: &RegisterTaskDefinition) -> Result<Self, ApiError> {
        if request.port == Some(0) {
            return Err(ApiError::invalid("port is 0; it must be 1 to 65535"));
        }
        let needs_port = |what: &str| {
            ApiError::invalid(format!(
                "{what} is for a daemon, and without a port the task is none: say at which port it listens, as \
                 --port does"
            ))
        };
        if request.port.is_none() && request.health_check != HealthCheckSpec::default() {
            return Err(needs_port("health_check"));
        }
        if request.port.is_none() && request.stop_timeout.is_some() {
            return Err(needs_port("stop_timeout"));
        }
        let stop_timeout = request.stop_timeout.unwrap_or(DEFAULT_STOP_TIMEOUT);
        within("stop_timeout", stop_timeout, Span::from_ms(0)..=STOP_TIMEOUT_MAX)?;
        let health_check = health_check(&request.health_check)?;
        Ok(Self { port: request.port, health_check, stop_timeout, restart: request.restart })
    }

    /// What a registered definition says.
    pub(super) fn said_by(definition: &TaskDefinition) -> Self {
        let TaskDefinition { port, health_check, stop_timeout, restart, .. } = *definition;
        Self { port, health_check, stop_timeout, restart }
    }

    /// Refuses what a component of this kind can't be.
    pub(super) fn check_kind(&self, kind: Kind) -> Result<(), ApiError> {
        match (kind, self.port, self.restart) {
            (Kind::Http, Some(port), _) => Err(ApiError::not_now(format!(
                "port is {port}, and the component exports a wasi:http handler: its requests come by calls, and it listens \
                 nowhere; leave the port out, or deploy a command that listens"
            ))),
            (Kind::Http, None, Restart::OnFailure | Restart::Always) => Err(ApiError::not_now(format!(
                "restart is {}, and the component exports a wasi:http handler: it runs as a service, which starts another \
                 task in any case; leave the restart policy out",
                self.restart
            ))),
            (Kind::Event, Some(port), _) => Err(ApiError::not_now(format!(
                "port is {port}, and the component exports a handler of events: they come by calls, and it listens nowhere; \
                 leave the port out, or deploy a command that listens"
            ))),
            (Kind::Event, None, Restart::OnFailure | Restart::Always) => Err(ApiError::not_now(format!(
                "restart is {}, and the component exports a handler of events: it runs as a service, which starts another task \
                 in any case; leave the restart policy out",
                self.restart
            ))),
            (Kind::Http | Kind::Event, None, Restart::Never) | (Kind::Command, ..) => Ok(()),
        }
    }
}

fn health_check(said: &HealthCheckSpec) -> Result<HealthCheck, ApiError> {
    let defaults = HealthCheck::default();
    let check = HealthCheck {
        interval: said.interval.unwrap_or(defaults.interval),
        timeout: said.timeout.unwrap_or(defaults.timeout),
        healthy: said.healthy.unwrap_or(defaults.healthy),
        unhealthy: said.unhealthy.unwrap_or(defaults.unhealthy),
        start_period: said.start_period.unwrap_or(defaults.start_period),
    };
    within("health_check.interval", check.interval, HealthCheck::INTERVAL)?;
    within("health_check.timeout", check.timeout, HealthCheck::TIMEOUT)?;
    within("health_check.healthy", check.healthy, HealthCheck::IN_A_ROW)?;
    within("health_check.unhealthy", check.unhealthy, HealthCheck::IN_A_ROW)?;
    let start_periods = Span::from_ms(0)..=HealthCheck::START_PERIOD_MAX;
    within("health_check.start_period", check.start_period, start_periods)?;
    Ok(check)
}

fn within<T: Display + PartialOrd>(name: &str, value: T, bounds: RangeInclusive<T>) -> Result<(), ApiError> {
    if bounds.contains(&value) {
        return Ok(());
    }
    let (least, most) = (bounds.start(), bounds.end());
    Err(ApiError::invalid(format!("{name} is {value}; it must be {least} to {most}")))
}

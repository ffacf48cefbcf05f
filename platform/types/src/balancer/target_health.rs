//! What is known of a target's health, in ELBv2's words: its state, and why it is in it.

use crate::text::{ParseError, serde_as_text};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// The state of a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TargetStatus {
    /// It is new, and was not checked yet.
    Initial,
    /// It is given requests.
    Healthy,
    /// It failed its checks; it is given requests only where no target of its group is healthy.
    Unhealthy,
    /// It leaves: it finishes what it has.
    Draining,
    /// Nothing leads to it.
    Unused,
    /// Its health is not known, since it is not checked.
    Unavailable,
}

/// Why a target is in its state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TargetReason {
    /// Initial: it is being registered.
    RegistrationInProgress,
    /// Initial: its first checks are under way.
    InitialHealthChecking,
    /// Unhealthy: it answered with a status that is no success.
    ResponseCodeMismatch,
    /// Unhealthy: it did not answer in time.
    Timeout,
    /// Unhealthy: it could not be connected to, or broke the connection.
    FailedHealthChecks,
    /// Unused: no rule and no listener leads to its group.
    NotInUse,
    /// Draining: it was taken away.
    DeregistrationInProgress,
    /// Unused: it does not run.
    InvalidState,
    /// Unavailable: its group has no health check.
    HealthCheckDisabled,
    /// The load balancer itself is at fault.
    InternalError,
    /// Unhealthy: it failed, or was far slower than others, so it is left out for a while. Of Skiff alone.
    Ejected,
}

/// The health of a target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetHealth {
    /// Its state.
    pub status: TargetStatus,
    /// Why; not of a healthy one.
    pub reason: Option<TargetReason>,
    /// The same for people; empty where it is healthy.
    pub description: Arc<str>,
}

/// What came of asking for the addresses of a target's name, where that leads to none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unresolved {
    /// Whoever was asked knows that there is none.
    #[error("there is no such name, or it has no address")]
    NoSuchName,
    /// Nobody could say.
    #[error("no name server has an answer at present")]
    NoAnswer,
}

impl TargetHealth {
    /// That of a target to which nothing is amiss.
    pub fn healthy() -> Self {
        Self { status: TargetStatus::Healthy, reason: None, description: "".into() }
    }
}

impl TargetStatus {
    const ALL: [Self; 6] =
        [Self::Initial, Self::Healthy, Self::Unhealthy, Self::Draining, Self::Unused, Self::Unavailable];

    /// As ELBv2 has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Initial => "initial",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
            Self::Draining => "draining",
            Self::Unused => "unused",
            Self::Unavailable => "unavailable",
        }
    }
}

impl FromStr for TargetStatus {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        Self::ALL.into_iter().find(|status| status.as_str() == text).ok_or_else(|| {
            ParseError::new(
                text,
                "a target's state: \"initial\", \"healthy\", \"unhealthy\", \"draining\", \"unused\" or \"unavailable\"",
            )
        })
    }
}

impl fmt::Display for TargetStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl TargetReason {
    const ALL: [Self; 11] = [
        Self::RegistrationInProgress,
        Self::InitialHealthChecking,
        Self::ResponseCodeMismatch,
        Self::Timeout,
        Self::FailedHealthChecks,
        Self::NotInUse,
        Self::DeregistrationInProgress,
        Self::InvalidState,
        Self::HealthCheckDisabled,
        Self::InternalError,
        Self::Ejected,
    ];

    /// As ELBv2 has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RegistrationInProgress => "Elb.RegistrationInProgress",
            Self::InitialHealthChecking => "Elb.InitialHealthChecking",
            Self::ResponseCodeMismatch => "Target.ResponseCodeMismatch",
            Self::Timeout => "Target.Timeout",
            Self::FailedHealthChecks => "Target.FailedHealthChecks",
            Self::NotInUse => "Target.NotInUse",
            Self::DeregistrationInProgress => "Target.DeregistrationInProgress",
            Self::InvalidState => "Target.InvalidState",
            Self::HealthCheckDisabled => "Target.HealthCheckDisabled",
            Self::InternalError => "Elb.InternalError",
            Self::Ejected => "Skiff.Ejected",
        }
    }
}

impl FromStr for TargetReason {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let found = Self::ALL.into_iter().find(|reason| reason.as_str() == text);
        found.ok_or_else(|| {
            ParseError::new(text, "the reason for a target's state, like \"Target.FailedHealthChecks\"")
        })
    }
}

impl fmt::Display for TargetReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

serde_as_text!(TargetStatus, TargetReason);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_health_print_as_they_parse() {
        for status in TargetStatus::ALL {
            assert_eq!(status.to_string().parse::<TargetStatus>().unwrap(), status);
        }
        for reason in TargetReason::ALL {
            assert_eq!(reason.to_string().parse::<TargetReason>().unwrap(), reason);
        }
        assert!("Healthy".parse::<TargetStatus>().is_err() && "Timeout".parse::<TargetReason>().is_err());
    }
}

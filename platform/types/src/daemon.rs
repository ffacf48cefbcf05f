//! Daemons: `command` tasks that stay up and listen on a port. How their health is checked, what becomes of one-off
//! tasks whose program ended, and where a service is reached beside HTTP.
//!
//! It deliberately decides nothing: `plan` does.

use crate::Span;
use crate::text::{ParseError, serde_as_text};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

/// How long a daemon's open connections may take to end where its user says nothing.
pub const DEFAULT_STOP_TIMEOUT: Span = Span::from_ms(30_000);
/// The longest that they may be given.
pub const STOP_TIMEOUT_MAX: Span = Span::from_ms(3_600_000);

/// How a daemon's health is checked: a connection to its port is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct HealthCheck {
    /// Between two checks, once the first one has succeeded.
    pub interval: Span,
    /// How long one check may take.
    pub timeout: Span,
    /// How many checks in a row must succeed before an unhealthy task is healthy again.
    pub healthy: u32,
    /// How many checks in a row must fail before a task is unhealthy.
    pub unhealthy: u32,
    /// From the program's start: before the first check that succeeds, failures within it don't count.
    pub start_period: Span,
}

impl HealthCheck {
    /// The shortest and the longest interval.
    pub const INTERVAL: RangeInclusive<Span> = Span::from_ms(100)..=Span::from_ms(3_600_000);
    /// The shortest and the longest timeout.
    pub const TIMEOUT: RangeInclusive<Span> = Span::from_ms(10)..=Span::from_ms(60_000);
    /// How many checks in a row may be asked for.
    pub const IN_A_ROW: RangeInclusive<u32> = 1..=100;
    /// The longest start period.
    pub const START_PERIOD_MAX: Span = Span::from_ms(3_600_000);

    /// The longest that it takes to notice that a daemon is not reached any more, in milliseconds.
    pub fn notice_ms(&self) -> u64 {
        self.interval.ms().saturating_add(self.timeout.ms()).saturating_mul(u64::from(self.unhealthy))
    }
}

impl Default for HealthCheck {
    fn default() -> Self {
        Self {
            interval: Span::from_ms(10_000),
            timeout: Span::from_ms(2_000),
            healthy: 2,
            unhealthy: 3,
            start_period: Span::from_ms(30_000),
        }
    }
}

/// What becomes of a one-off task whose program ended. (A service starts another task in any case.)
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Restart {
    /// It has ended.
    #[default]
    Never,
    /// It is started again if it failed: it did not start, an exit code other than 0, a trap, too much memory, its worker
    /// lost, its health, or the platform's end.
    OnFailure,
    /// It is started again unless its user stopped it.
    Always,
}

impl fmt::Display for Restart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Never => "never",
            Self::OnFailure => "on-failure",
            Self::Always => "always",
        })
    }
}

impl FromStr for Restart {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        match text {
            "never" => Ok(Self::Never),
            "on-failure" => Ok(Self::OnFailure),
            "always" => Ok(Self::Always),
            _ => Err(ParseError::new(text, "a restart policy: \"never\", \"on-failure\" or \"always\"")),
        }
    }
}

/// What is known of a task's health.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// Nobody checks it, or nobody has yet.
    #[default]
    Unchecked,
    /// It was not reached yet.
    Starting,
    /// It is reached.
    Healthy,
    /// It is not reached any more, or was not in time.
    Unhealthy,
}

/// Where a service is reached beside HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Listen {
    /// At this TCP port of the load balancer, never 0: each connection leads to the port of one of its tasks.
    Tcp(u16),
}

impl Listen {
    /// The most that one service may ask for.
    pub const PER_SERVICE_MAX: usize = 16;
}

impl FromStr for Listen {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let port = text.strip_prefix("tcp:").and_then(|port| port.parse().ok()).filter(|port| *port > 0);
        port.map(Self::Tcp).ok_or_else(|| ParseError::new(text, "a listener, like \"tcp:6379\""))
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(port) => write!(f, "tcp:{port}"),
        }
    }
}

serde_as_text!(Listen);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_print_as_they_parse() {
        for policy in [Restart::Never, Restart::OnFailure, Restart::Always] {
            assert_eq!(policy.to_string().parse::<Restart>().unwrap(), policy);
        }
        assert!("sometimes".parse::<Restart>().is_err());
    }

    #[test]
    fn a_listener_names_protocol_and_port() {
        assert_eq!("tcp:6379".parse::<Listen>().unwrap(), Listen::Tcp(6379));
        assert_eq!(Listen::Tcp(6379).to_string(), "tcp:6379");
        for bad in ["", "6379", "tcp", "tcp:", "tcp:0", "tcp:65536", "udp:53", "tcp:6379-6380", "tcp: 1"] {
            assert!(bad.parse::<Listen>().is_err(), "{bad:?} was taken");
        }
    }
}

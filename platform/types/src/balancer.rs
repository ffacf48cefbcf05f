//! The load balancer's parts in ELBv2's words: listeners, their certificates, rules, target groups.
//!
//! Listeners and certificates belong to the platform, since a port does; rules and target groups belong to a namespace.
//! Every service is a target group of its own name unless there is one of that name; so a rule may forward to a service
//! without more.

mod action;
mod certificate;
mod condition;
mod limit;
mod pattern;
mod target_group;
mod target_health;

pub use action::{Action, FixedResponse, Forward, Redirect, RedirectStatus, WEIGHT_MAX, WeightedGroup};
pub use certificate::{
    CERTIFICATE_BYTES_MAX, CERTIFICATES_MAX, CERTIFICATES_PER_LISTENER_MAX, CertificateSpec,
};
pub use condition::{Condition, HeaderCondition, QueryCondition};
pub use limit::Limit;
pub use pattern::Pattern;
pub use target_group::{
    Algorithm, Matcher, Outside, TargetGroupSpec, TargetHealthCheck, TargetProtocol, Targets, VirtualAddress,
};
pub use target_health::{TargetHealth, TargetReason, TargetStatus, Unresolved};

use crate::text::{ParseError, serde_as_text};
use crate::{Name, QualifiedName};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// The listener that the platform starts with; it is on the port of `skiff up --http`.
pub const BUILT_IN_LISTENER: &str = "http";
/// The names under which tasks find internal listeners: `NAME` and this.
pub const INTERNAL_LISTENER_DOMAIN: &str = "listener.internal";
/// Listeners that a platform can have beside the built-in one: those that were made, and those that services ask for.
pub const LISTENERS_MAX: usize = 128;
/// Rules that one listener can have.
pub const RULES_PER_LISTENER_MAX: usize = 20_000;
/// Conditions that one rule can have.
pub const CONDITIONS_MAX: usize = 8;
/// Values that the conditions of one rule can have together.
pub const CONDITION_VALUES_MAX: usize = 64;

/// What is spoken at a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ListenerProtocol {
    /// HTTP/1.1, and HTTP/2 with prior knowledge, in clear.
    Http,
    /// The same inside TLS; which of the two is agreed on by ALPN.
    Https,
    /// Bytes.
    Tcp,
}

impl FromStr for ListenerProtocol {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        match text.to_ascii_lowercase().as_str() {
            "http" => Ok(Self::Http),
            "https" => Ok(Self::Https),
            "tcp" => Ok(Self::Tcp),
            _ => Err(ParseError::new(text, "a listener's protocol: \"http\", \"https\" or \"tcp\"")),
        }
    }
}

impl fmt::Display for ListenerProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::Tcp => "tcp",
        })
    }
}

/// Who reaches a listener.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scheme {
    /// Whoever reaches the node's port.
    #[default]
    Public,
    /// Tasks alone, by the virtual network.
    Internal,
}

impl FromStr for Scheme {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        match text {
            "public" => Ok(Self::Public),
            "internal" => Ok(Self::Internal),
            _ => Err(ParseError::new(text, "who reaches a listener: \"public\" or \"internal\"")),
        }
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Public => "public",
            Self::Internal => "internal",
        })
    }
}

/// Where the load balancer takes connections, and what becomes of what no rule takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenerSpec {
    /// Its name on the platform.
    pub name: Name,
    /// What is spoken there.
    pub protocol: ListenerProtocol,
    /// The port, never 0; no two public listeners have the same, and no two internal ones.
    pub port: u16,
    /// Who reaches it.
    pub scheme: Scheme,
    /// Of TLS: the certificates to choose from by the name that a client asks for. The first is for all others.
    pub certificates: Vec<Name>,
    /// Whether the hosts and paths that services name lead to them here too, below all rules.
    pub services: bool,
    /// What becomes of a request that nothing else takes, or of a TCP connection.
    pub default_action: Action,
    /// How many requests each client address may send here, or by TCP how many connections it may open.
    pub client_limit: Option<Limit>,
}

/// A place in the order of a listener's rules: from 1, which is asked first, to 50,000. No two of a listener have the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Priority(u32);

impl Priority {
    /// The last.
    pub const MAX: u32 = 50_000;

    /// As a number.
    pub fn get(self) -> u32 {
        self.0
    }
}

impl FromStr for Priority {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let priority = text.parse().ok().filter(|priority| (1..=Self::MAX).contains(priority));
        priority.map(Self).ok_or_else(|| ParseError::new(text, "a priority from 1 to 50000"))
    }
}

impl TryFrom<u32> for Priority {
    type Error = ParseError;

    fn try_from(priority: u32) -> Result<Self, ParseError> {
        priority.to_string().parse()
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// What becomes of a listener's requests that meet all of these conditions, and no rule before it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleSpec {
    /// Its name in its namespace.
    pub name: QualifiedName,
    /// Whose rule it is.
    pub listener: Name,
    /// When it is asked.
    pub priority: Priority,
    /// All have to hold; never empty.
    pub conditions: Vec<Condition>,
    /// What to do.
    pub action: Action,
    /// How many requests it takes, of all clients together.
    pub limit: Option<Limit>,
}

serde_as_text!(ListenerProtocol, Scheme);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_priority_has_its_bounds() {
        assert_eq!("50000".parse::<Priority>().unwrap().get(), 50_000);
        for bad in ["0", "50001", "-1", "", "first"] {
            assert!(bad.parse::<Priority>().is_err(), "{bad:?} was taken");
        }
    }

    #[test]
    fn words_of_listeners_print_as_they_parse() {
        for text in ["http", "https", "tcp"] {
            assert_eq!(text.parse::<ListenerProtocol>().unwrap().to_string(), text);
        }
        for text in ["public", "internal"] {
            assert_eq!(text.parse::<Scheme>().unwrap().to_string(), text);
        }
        assert_eq!("HTTPS".parse::<ListenerProtocol>().unwrap(), ListenerProtocol::Https);
        assert!("udp".parse::<ListenerProtocol>().is_err() && "private".parse::<Scheme>().is_err());
    }
}

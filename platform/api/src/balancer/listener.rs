//! Listeners: where the load balancer takes connections.

use super::Action;
use crate::text;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skiff_types::{ListenerProtocol, Name, Scheme};

/// Creates a listener, or changes it.
///
/// What is left out stays as it is. The listener `http` is always there: its protocol, port and scheme can't be
/// changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PutListener {
    /// What is spoken there.
    #[schemars(with = "text::ListenerProtocol")]
    pub protocol: ListenerProtocol,
    /// The port of the load balancer; no other listener and no service can have it.
    #[schemars(range(min = 1))]
    pub port: u16,
    /// Who reaches it; `public` on a new one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::Scheme>")]
    pub scheme: Option<Scheme>,
    /// Of https, which needs one at least: the certificates to choose from by the name that a client asks for. The first
    /// is for all others. None by other protocols.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Vec<text::Name>>")]
    pub certificates: Option<Vec<Name>>,
    /// Whether the hosts and paths that services name lead to them here too, below all rules. On a new one they do, if
    /// it speaks HTTP; by TCP there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub services: Option<bool>,
    /// What becomes of a request that no rule and no service takes, or of a TCP connection. On a new one: 404; by TCP
    /// it must be given, and forward. A target group without a namespace is one of `default`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_action: Option<Action>,
}

/// A listener.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Listener {
    /// Its name on the platform; the one that the platform starts with is `http`.
    #[schemars(with = "text::Name")]
    pub name: Name,
    /// The store's revision, for `If-Match`; 0 of `http` while nobody has changed it.
    pub revision: u64,
    /// What is spoken there.
    #[schemars(with = "text::ListenerProtocol")]
    pub protocol: ListenerProtocol,
    /// The port of the load balancer.
    pub port: u16,
    /// Who reaches it.
    #[schemars(with = "text::Scheme")]
    pub scheme: Scheme,
    /// Of https: the certificates to choose from by the name that a client asks for. The first is for all others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<text::Name>")]
    pub certificates: Vec<Name>,
    /// Whether the hosts and paths that services name lead to them here too, below all rules.
    pub services: bool,
    /// What becomes of a request that no rule and no service takes, or of a TCP connection.
    pub default_action: Action,
    /// How many rules it has.
    pub rules: u32,
    /// When it was created, in milliseconds since 1970; absent of `http` while nobody has changed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_at_ms: Option<u64>,
    /// When it last changed, in milliseconds since 1970; absent of `http` while nobody has changed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updated_at_ms: Option<u64>,
}

//! Listeners: where the load balancer takes connections.

use super::{Action, InvalidSpec, Limit, Setting};
use crate::text;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skiff_types::{
    Action as DomainAction, CERTIFICATES_PER_LISTENER_MAX, FixedResponse, Forward, ListenerProtocol,
    ListenerSpec, Name, Namespace, Scheme,
};
use std::collections::BTreeSet;

/// Creates a listener, or changes it.
///
/// What is left out stays as it is; the limit is taken away by `null`. The listener `http` is always there: its protocol,
/// port and scheme can't be changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PutListener {
    /// What is spoken there.
    #[schemars(with = "text::ListenerProtocol")]
    pub protocol: ListenerProtocol,
    /// The port of the load balancer. Of a public listener, no other public one and no service can have it; of an internal
    /// one, no other internal one.
    #[schemars(range(min = 1))]
    pub port: u16,
    /// Who reaches it; `public` on a new one. An internal one is reached by tasks alone, as `NAME.listener.internal`.
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
    /// How many requests each client address may send here, or by TCP how many connections it may open; any number on a new
    /// one.
    #[serde(default, skip_serializing_if = "Setting::is_kept")]
    #[schemars(with = "Option<Limit>")]
    pub client_limit: Setting<Limit>,
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
    /// How many requests each client address may send here, or by TCP how many connections it may open; absent where that is
    /// any number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_limit: Option<Limit>,
    /// How many rules it has.
    pub rules: u32,
    /// Why nobody reaches it at its port, where that can't be had: another program of the machine may have it. It is tried
    /// again and again, and until then a listener stays at the port that it had before; absent where all is well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// When it was created, in milliseconds since 1970; absent of `http` while nobody has changed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_at_ms: Option<u64>,
    /// When it last changed, in milliseconds since 1970; absent of `http` while nobody has changed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updated_at_ms: Option<u64>,
}

impl PutListener {
    /// What this makes of the listener of a name, as it was `before` if it was there; an error says what to do. Whether its
    /// port is free, and whether what it names is there, it does not know.
    pub fn to_domain(&self, name: &Name, before: Option<&ListenerSpec>) -> Result<ListenerSpec, InvalidSpec> {
        if self.port == 0 {
            return Err(InvalidSpec::NoPort);
        }
        let client_limit = self.client_limit.try_map(Limit::to_domain)?;
        Ok(ListenerSpec {
            name: name.clone(),
            protocol: self.protocol,
            port: self.port,
            scheme: self.scheme.or(before.map(|spec| spec.scheme)).unwrap_or_default(),
            certificates: self.certificates(before)?,
            services: self.services(before)?,
            default_action: self.default_action(before)?,
            client_limit: client_limit.over(before.and_then(|spec| spec.client_limit)),
        })
    }

    /// The certificates that it is to have.
    fn certificates(&self, before: Option<&ListenerSpec>) -> Result<Vec<Name>, InvalidSpec> {
        let asked = self.certificates.as_deref();
        if self.protocol != ListenerProtocol::Https {
            return match asked.unwrap_or_default() {
                [] => Ok(vec![]),
                [_, ..] => Err(InvalidSpec::NotOfHttps),
            };
        }
        let names = asked.or(before.map(|spec| spec.certificates.as_slice())).unwrap_or_default();
        let distinct: BTreeSet<&Name> = names.iter().collect();
        match names.len() {
            0 => Err(InvalidSpec::NoCertificate),
            count if count > CERTIFICATES_PER_LISTENER_MAX => Err(InvalidSpec::TooManyCertificates { count }),
            count if count > distinct.len() => Err(InvalidSpec::CertificateTwice),
            _ => Ok(names.to_vec()),
        }
    }

    /// Whether the hosts and paths of services are to lead to them.
    fn services(&self, before: Option<&ListenerSpec>) -> Result<bool, InvalidSpec> {
        if self.protocol == ListenerProtocol::Tcp {
            return match self.services {
                Some(true) => Err(InvalidSpec::ServicesOfTcp),
                Some(false) | None => Ok(false),
            };
        }
        // By tcp nobody was asked.
        let before = before.filter(|spec| spec.protocol != ListenerProtocol::Tcp);
        Ok(self.services.or(before.map(|spec| spec.services)).unwrap_or(true))
    }

    /// What is to become of what no rule and no service takes.
    fn default_action(&self, before: Option<&ListenerSpec>) -> Result<DomainAction, InvalidSpec> {
        let asked = self.default_action.as_ref();
        let asked = asked.map(|action| action.to_domain(&Namespace::default())).transpose()?;
        let action = asked.or_else(|| before.map(|spec| spec.default_action.clone()));
        if self.protocol != ListenerProtocol::Tcp {
            return Ok(action.unwrap_or(DomainAction::FixedResponse(FixedResponse::status(404))));
        }
        match action {
            Some(DomainAction::Forward(Forward { stickiness: Some(_), .. })) => {
                Err(InvalidSpec::StickinessOfTcp)
            }
            Some(action @ DomainAction::Forward(_)) => Ok(action),
            Some(DomainAction::Redirect(_) | DomainAction::FixedResponse(_)) | None => {
                Err(InvalidSpec::NoForwardOfTcp)
            }
        }
    }
}

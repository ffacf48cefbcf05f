//! The load balancer's objects: what somebody declared of a listener, a rule or a target group, or imported as a certificate.
//!
//! Their specifications are shared: the node is told of the same that lies here. The built-in listener is there whether it
//! has an object or not, and is of its object in what can be changed of it alone.

use crate::certificates::{self, CertificateError, CertificateFacts, CertificateRead};
use skiff_ports::tls::CertificateTold;
use skiff_types::{
    Action, BUILT_IN_LISTENER, CertificateSpec, FixedResponse, ListenerProtocol, ListenerSpec, Name,
    RuleSpec, Scheme, TargetGroupSpec, WeightedGroup,
};
use std::sync::Arc;

/// What a user declared, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Declared<S> {
    pub(crate) spec: Arc<S>,
    pub(crate) created_at_ms: u64,
    pub(crate) updated_at_ms: u64,
}

/// A listener. Of the built-in one, what it says of port, protocol and scheme does not count.
pub(crate) type Listener = Declared<ListenerSpec>;
/// A rule of a listener.
pub(crate) type ListenerRule = Declared<RuleSpec>;
/// A target group.
pub(crate) type TargetGroup = Declared<TargetGroupSpec>;
/// A certificate with its private key.
pub(crate) type Certificate = Declared<Imported>;

/// A certificate as it was handed in, and what it was read as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Imported {
    pub(crate) spec: CertificateSpec,
    pub(crate) facts: CertificateFacts,
    /// What the node is told of it, if a listener names it.
    pub(crate) told: Arc<CertificateTold>,
}

impl Imported {
    /// Reads it; whether it is valid now is not asked.
    pub(crate) fn read(spec: CertificateSpec) -> Result<Self, CertificateError> {
        let CertificateRead { facts, told } = certificates::read(&spec)?;
        Ok(Self { spec, facts, told: Arc::new(told) })
    }
}

/// Whether this is the listener that the platform starts with.
pub(crate) fn is_built_in(listener: &Name) -> bool {
    listener.as_str() == BUILT_IN_LISTENER
}

/// The name of the listener that the platform starts with.
pub(crate) fn built_in_name() -> Name {
    BUILT_IN_LISTENER.parse().expect("its name is one")
}

/// The built-in listener as it is until somebody changes it.
pub(crate) fn built_in_listener(port: u16) -> ListenerSpec {
    ListenerSpec {
        name: built_in_name(),
        protocol: ListenerProtocol::Http,
        port,
        scheme: Scheme::Public,
        certificates: vec![],
        services: true,
        default_action: Action::FixedResponse(FixedResponse::status(404)),
        client_limit: None,
    }
}

/// The target groups that an action leads to.
pub(crate) fn groups_of(action: &Action) -> &[WeightedGroup] {
    match action {
        Action::Forward(forward) => &forward.groups,
        Action::Redirect(_) | Action::FixedResponse(_) => &[],
    }
}

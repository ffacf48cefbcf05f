//! The load balancer's listeners, certificates, rules and target groups as a worker must know them, told as what is otherwise
//! than before.
//!
//! Which tasks a service has, and its own hosts and paths, are in its [`crate::snapshot::Route`]. Nothing is judged here:
//! what is told was found sound by whoever tells it.

use crate::tls::CertificateTold;
use serde::{Deserialize, Serialize};
use skiff_types::{ListenerSpec, Name, QualifiedName, RuleSpec, TargetGroupSpec};
use std::sync::Arc;

/// What of the load balancer is otherwise than before; what is not named stays as it is. To be carried out in the order of
/// what refers to what: groups, certificates, listeners, rules; then what leaves: rules, listeners, certificates, groups.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BalancerChange {
    /// Target groups that are new or have changed, each whole.
    pub groups: Vec<Arc<TargetGroupSpec>>,
    /// Target groups that are gone. Who names one means the service of that name, if there is one.
    pub dissolved: Vec<QualifiedName>,
    /// Certificates that a listener names and that are new or have changed, each whole.
    pub certificates: Vec<Arc<CertificateTold>>,
    /// Certificates that are gone, or that no listener names any more.
    pub revoked: Vec<Name>,
    /// Listeners that are new or have changed, each whole.
    pub listeners: Vec<Arc<ListenerSpec>>,
    /// Listeners that are gone. The built-in one is always there: named here, it is as it was at first.
    pub closed: Vec<Name>,
    /// Rules that are new or have changed, each whole.
    pub rules: Vec<Arc<RuleSpec>>,
    /// Rules that are gone.
    pub dropped: Vec<QualifiedName>,
}

impl BalancerChange {
    /// Whether all is to stay as it is.
    pub fn is_empty(&self) -> bool {
        let Self { groups, dissolved, certificates, revoked, listeners, closed, rules, dropped } = self;
        groups.is_empty()
            && dissolved.is_empty()
            && certificates.is_empty()
            && revoked.is_empty()
            && listeners.is_empty()
            && closed.is_empty()
            && rules.is_empty()
            && dropped.is_empty()
    }
}

//! The load balancer's listeners, certificates, rules and target groups as a worker must know them, told as what is otherwise
//! than before.
//!
//! Which tasks a service has, and its own hosts and paths, are in its [`crate::snapshot::Route`]. Nothing is judged here:
//! what is told was found sound by whoever tells it.

use crate::tls::CertificateTold;
use serde::{Deserialize, Serialize};
use skiff_types::{BUILT_IN_LISTENER, ListenerSpec, Name, QualifiedName, RuleSpec, TargetGroupSpec, Targets};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What has a meter of its own in the ledger: what goes on there is counted, over all workers of a node.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Metered {
    /// A listener, the built-in one too.
    Listener(Name),
    /// A rule.
    Rule(QualifiedName),
    /// A target group that was made as such; a service that is one by itself has none.
    Group(QualifiedName),
    /// An address of a target group. What is counted of tasks is in their own slots.
    Target {
        /// Whose target it is.
        group: QualifiedName,
        /// The address as it prints.
        target: Arc<str>,
    },
}

impl Metered {
    /// The listener that is always there.
    pub fn built_in_listener() -> Self {
        Self::Listener(BUILT_IN_LISTENER.parse().expect("the name of the built-in listener is one"))
    }

    /// A group, and each address in it.
    pub fn all_of(group: &TargetGroupSpec) -> impl Iterator<Item = Self> {
        let addresses: Vec<Arc<str>> = match &group.targets {
            Targets::Service(_) => Vec::new(),
            Targets::Virtual(addresses) => addresses.iter().map(|at| at.to_string().into()).collect(),
            Targets::Outside(hosts) => hosts.iter().map(|host| host.to_string().into()).collect(),
        };
        let name = group.name.clone();
        let of_address = move |target| Self::Target { group: name.clone(), target };
        std::iter::once(Self::Group(group.name.clone())).chain(addresses.into_iter().map(of_address))
    }
}

/// What of the load balancer is otherwise than before; what is not named stays as it is. To be carried out in the order of
/// what refers to what: meters, groups, certificates, listeners, rules; then what leaves: rules, listeners, certificates,
/// groups, each with its meters.
///
/// Who adds a field adds it to all that is said of a change below; then to who carries it out, `edge::balance`, to who knows what
/// each worker was told, `node::world::balancer`, and to who cuts it into pieces, `node::wire::piece`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BalancerChange {
    /// The slots in the ledger of the meters of what comes with this change. The node alone tells them: whoever says what
    /// the load balancer is to be leaves them out.
    pub meters: Vec<(Metered, u32)>,
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
        let Self { meters, groups, dissolved, certificates, revoked, listeners, closed, rules, dropped } =
            self;
        meters.is_empty()
            && groups.is_empty()
            && dissolved.is_empty()
            && certificates.is_empty()
            && revoked.is_empty()
            && listeners.is_empty()
            && closed.is_empty()
            && rules.is_empty()
            && dropped.is_empty()
    }

    /// What comes, and what leaves.
    pub fn in_two(self) -> (Self, Self) {
        let Self { meters, groups, dissolved, certificates, revoked, listeners, closed, rules, dropped } =
            self;
        let comes = Self { meters, groups, certificates, listeners, rules, ..Self::default() };
        let leaves = Self { dissolved, revoked, closed, dropped, ..Self::default() };
        (comes, leaves)
    }
}

/// The parts of the load balancer that there are, by their names, as somebody knows them who is told of changes. Their meters are
/// for whoever needs them to keep.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BalancerParts {
    /// Target groups.
    pub groups: BTreeMap<QualifiedName, Arc<TargetGroupSpec>>,
    /// Certificates that a listener names.
    pub certificates: BTreeMap<Name, Arc<CertificateTold>>,
    /// Listeners.
    pub listeners: BTreeMap<Name, Arc<ListenerSpec>>,
    /// Rules.
    pub rules: BTreeMap<QualifiedName, Arc<RuleSpec>>,
}

impl BalancerParts {
    /// Takes a change in: what comes, then what leaves.
    pub fn take_in(&mut self, change: BalancerChange) {
        let (comes, leaves) = change.in_two();
        self.groups.extend(comes.groups.into_iter().map(|group| (group.name.clone(), group)));
        self.certificates.extend(comes.certificates.into_iter().map(|told| (told.name.clone(), told)));
        self.listeners.extend(comes.listeners.into_iter().map(|listener| (listener.name.clone(), listener)));
        self.rules.extend(comes.rules.into_iter().map(|rule| (rule.name.clone(), rule)));
        leaves.dropped.iter().for_each(|rule| drop(self.rules.remove(rule)));
        leaves.closed.iter().for_each(|listener| drop(self.listeners.remove(listener)));
        leaves.revoked.iter().for_each(|certificate| drop(self.certificates.remove(certificate)));
        leaves.dissolved.iter().for_each(|group| drop(self.groups.remove(group)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::KeyForm;
    use bytes::Bytes;
    use skiff_types::{Action, FixedResponse, ListenerProtocol, Scheme};

    #[test]
    fn a_group_of_addresses_has_a_meter_for_each_and_one_of_its_own() {
        let group: QualifiedName = "default/out".parse().unwrap();
        let of_service = TargetGroupSpec::of_service(group.clone());
        assert_eq!(Metered::all_of(&of_service).collect::<Vec<_>>(), [Metered::Group(group.clone())]);
        let hosts = ["192.0.2.7:80", "[2001:db8::7]:443"];
        let targets = Targets::Outside(hosts.map(|host| host.parse().unwrap()).into());
        let spec = TargetGroupSpec { targets, ..of_service };
        let of_host = |host: &str| Metered::Target { group: group.clone(), target: host.into() };
        let expected = [Metered::Group(group.clone()), of_host(hosts[0]), of_host(hosts[1])];
        assert_eq!(Metered::all_of(&spec).collect::<Vec<_>>(), expected);
    }

    /// One of each kind, of this name.
    fn coming(name: &str) -> BalancerChange {
        let (qualified, name): (QualifiedName, Name) =
            (format!("default/{name}").parse().unwrap(), name.parse().unwrap());
        let action = Action::FixedResponse(FixedResponse::status(404));
        let listener = ListenerSpec {
            name: name.clone(),
            protocol: ListenerProtocol::Https,
            port: 8443,
            scheme: Scheme::Public,
            certificates: vec![name.clone()],
            services: false,
            default_action: action.clone(),
            client_limit: None,
        };
        let rule = RuleSpec {
            name: qualified.clone(),
            listener: name.clone(),
            priority: 1_u32.try_into().unwrap(),
            conditions: vec![],
            action,
            limit: None,
        };
        let (chain, key, key_form) = (vec![], Bytes::new(), KeyForm::Pkcs8);
        BalancerChange {
            meters: vec![(Metered::Group(qualified.clone()), 1)],
            groups: vec![Arc::new(TargetGroupSpec::of_service(qualified))],
            certificates: vec![Arc::new(CertificateTold { name, domains: vec![], chain, key, key_form })],
            listeners: vec![Arc::new(listener)],
            rules: vec![Arc::new(rule)],
            ..BalancerChange::default()
        }
    }

    fn leaving(name: &str) -> BalancerChange {
        let (qualified, name): (QualifiedName, Name) =
            (format!("default/{name}").parse().unwrap(), name.parse().unwrap());
        BalancerChange {
            dissolved: vec![qualified.clone()],
            revoked: vec![name.clone()],
            closed: vec![name],
            dropped: vec![qualified],
            ..BalancerChange::default()
        }
    }

    #[test]
    fn what_comes_is_there_and_what_leaves_is_not_whatever_stands_in_one_change() {
        let (comes, leaves) = (coming("b"), leaving("a"));
        let BalancerChange { dissolved, revoked, closed, dropped, .. } = leaves.clone();
        let both = BalancerChange { dissolved, revoked, closed, dropped, ..comes.clone() };
        assert_eq!(both.clone().in_two(), (comes, leaves));

        let (mut parts, mut expected) = (BalancerParts::default(), BalancerParts::default());
        parts.take_in(coming("a"));
        let BalancerParts { groups, certificates, listeners, rules } = &parts;
        assert_eq!((groups.len(), certificates.len(), listeners.len(), rules.len()), (1, 1, 1, 1));
        parts.take_in(both);
        expected.take_in(coming("b"));
        assert_eq!(parts, expected);
        parts.take_in(leaving("b"));
        assert_eq!(parts, BalancerParts::default());
    }
}

//! Security groups, and the one decision: may these two be connected?
//!
//! From a task to a task it takes a rule on both sides: one for egress of a group of the one, one for ingress of a group
//! of the other. Where only one side is a task, it takes that side's. What an allowed connection is answered by needs no
//! rule, and is not asked about here. Looking up a name inside needs none either; one outside, any that may lead to it.
//!
//! It deliberately keeps no state but the groups, knows no addresses of tasks, and resolves nothing: who calls knows which
//! task it is for, and by which names it learnt an address. What groups a namespace has where nobody made any (`default`)
//! is for `control` to say: it is told like any other.
//!
//! What always holds: a decision costs no memory where it allows; a group that is not known allows nothing, and being in
//! it counts for nothing; an address never makes anybody a task, and rules for addresses never mean one.

use crate::outside::{Class, Guard};
use skiff_ports::network::{GroupRules, NetworkInterface};
use skiff_types::{
    DEFAULT_GROUP, Direction, GroupRef, HostPattern, Name, Namespace, Peer, PortRange, QualifiedName, Rule,
    TaskId, Transport, default_group,
};
use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

/// The port of the rule that is proposed where only a host's name is known.
const HTTPS_PORT: u16 = 443;
/// Groups that a sentence names of a task, so that there is room for the command at its end.
const GROUPS_TOLD_MAX: usize = 4;

/// The security groups that there are, and what each allows.
#[derive(Debug, Clone, Default)]
pub struct Groups {
    /// By namespace first, so that a group of a task is found without making a name for it.
    namespaces: HashMap<Namespace, HashMap<Name, Box<[Rule]>>>,
}

/// Who a task is to rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The task.
    pub task: TaskId,
    /// Its service or family; the groups are of its namespace.
    pub owner: QualifiedName,
    /// The groups it is in; none where that is not known.
    pub groups: Arc<[Name]>,
}

/// One end of a connection, as rules see it.
#[derive(Debug, Clone, Copy)]
pub enum Party<'a> {
    /// A task.
    Task(&'a Identity),
    /// The load balancer.
    LoadBalancer,
    /// Somebody outside the virtual network.
    Outside {
        /// Where.
        address: IpAddr,
        /// The names by which the task at the other end learnt that address.
        names: &'a [Box<str>],
    },
    /// A service of the platform itself.
    Platform,
}

/// Whether two may be connected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// They may: by which group's rule on either side, where that side is a task.
    Allowed {
        /// The rule of who connects.
        egress: Option<(QualifiedName, Rule)>,
        /// The rule of who is connected to.
        ingress: Option<(QualifiedName, Rule)>,
    },
    /// They may not.
    Denied(Missing),
}

/// What is missing on the side that denies; printed as its reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// Which way that side's rules would look.
    pub direction: Direction,
    /// The group that a rule would best be added to.
    pub group: QualifiedName,
    /// The narrowest rule that would allow it on this side; `None` if none can.
    pub rule: Option<Rule>,
    /// A sentence that says what is denied, why, and which command would allow it.
    pub reason: String,
}

/// What came of looking at one rule that looks the right way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It allows the connection.
    Allows,
    /// It is for another protocol.
    OtherTransport,
    /// It is for other ports.
    OtherPorts,
    /// It is for somebody else.
    OtherPeer,
    /// It is for a group that there is not.
    UnknownGroup,
    /// It is for the address among others, or for a name that led there; but this one must be named more closely.
    NotCloseEnough,
}

/// Whether `from` may connect to `to`, at this port of it. Two parties neither of whom is a task are not to be connected.
pub fn decide(
    groups: &Groups,
    guard: &Guard,
    from: &Party<'_>,
    to: &Party<'_>,
    transport: Transport,
    port: u16,
) -> Decision {
    let [egress, ingress] = questions(groups, guard, *from, *to, transport, port);
    if egress.is_none() && ingress.is_none() {
        return Decision::Denied(Missing::of_nobody());
    }
    let answer = |question: Option<Question<'_>>| match question {
        None => Ok(None),
        Some(question) => question.allowed_by().map(Some).ok_or_else(|| question.missing()),
    };
    match answer(egress).and_then(|egress| Ok((egress, answer(ingress)?))) {
        Ok((egress, ingress)) => Decision::Allowed { egress, ingress },
        Err(missing) => Decision::Denied(missing),
    }
}

/// What is missing for a task to ask name servers for a host outside; `None` if it may. A question alone carries what a
/// task knows to whoever answers it, so one may be asked only where a rule lets the answer be used: a rule for the host, or
/// for addresses.
pub(crate) fn missing_for_look_up(groups: &Groups, own: &Identity, name: &str) -> Option<Missing> {
    let is_meant = |rule: &Rule| match &rule.peer {
        Peer::Network(_) => true,
        Peer::Host(pattern) => leads_to(name, pattern),
        Peer::LoadBalancer | Peer::Itself | Peer::Group(_) | Peer::Platform => false,
    };
    let namespace = &own.owner.namespace;
    let rules = own.groups.iter().filter_map(|group| groups.find(namespace, group)).flatten();
    if rules.filter(|rule| rule.direction == Direction::Egress).any(is_meant) {
        return None;
    }
    let group = own.telling_group(groups).cloned().unwrap_or_else(default_group);
    let group = QualifiedName::new(namespace.clone(), group);
    let rule = host_of(name).filter(|_| !own.groups.is_empty()).map(|host| Rule {
        direction: Direction::Egress,
        transport: Some(Transport::Tcp),
        ports: PortRange { from: HTTPS_PORT, to: HTTPS_PORT },
        peer: Peer::Host(host),
    });
    let mut missing = Missing { direction: Direction::Egress, group, rule, reason: String::new() };
    missing.reason = match missing.command() {
        Some(command) => {
            format!("no rule leads {} to {name}, so it is not looked up; to allow it: {command}", own.owner)
        }
        None => format!("no rule leads {} there, so the name is not looked up", own.owner),
    };
    Some(missing)
}

/// Whether a task's own rules may lead to some task of a namespace at a TCP port. That they do not is known although no task
/// is there; whether one that comes then may be connected to is decided once it has.
pub(crate) fn may_lead_into(groups: &Groups, own: &Identity, namespace: &Namespace, port: u16) -> bool {
    let here = &own.owner.namespace;
    let is_meant = |rule: &Rule| match &rule.peer {
        Peer::Itself => here == namespace,
        Peer::Group(group) => group.namespace.as_ref().unwrap_or(here) == namespace,
        Peer::LoadBalancer | Peer::Network(_) | Peer::Host(_) | Peer::Platform => false,
    };
    let is_for_it = |rule: &&Rule| {
        rule.direction == Direction::Egress
            && rule.transport.is_none_or(|transport| transport == Transport::Tcp)
            && rule.ports.contains(port)
    };
    let rules = own.groups.iter().filter_map(|group| groups.find(here, group)).flatten();
    rules.filter(is_for_it).any(is_meant)
}

impl Groups {
    /// Takes in a group that is new or allows something else than before.
    pub fn set(&mut self, rules: GroupRules) {
        let GroupRules { group: QualifiedName { namespace, name }, rules } = rules;
        self.namespaces.entry(namespace).or_default().insert(name, rules.into());
    }

    /// Forgets a group.
    pub fn remove(&mut self, group: &QualifiedName) {
        let Some(of_namespace) = self.namespaces.get_mut(&group.namespace) else { return };
        of_namespace.remove(&group.name);
        if of_namespace.is_empty() {
            self.namespaces.remove(&group.namespace);
        }
    }

    /// What a group allows; `None` if there is no such group.
    pub fn get(&self, group: &QualifiedName) -> Option<&[Rule]> {
        self.find(&group.namespace, &group.name)
    }

    pub(crate) fn find(&self, namespace: &Namespace, name: &Name) -> Option<&[Rule]> {
        self.namespaces.get(namespace)?.get(name).map(|rules| &**rules)
    }
}

impl Identity {
    /// Whether it is in a group, and there is that group.
    fn is_in(&self, groups: &Groups, namespace: &Namespace, group: &Name) -> bool {
        self.owner.namespace == *namespace
            && self.groups.contains(group)
            && groups.find(namespace, group).is_some()
    }

    /// The group that says most of it: one that there is, and rather any than `default`, which it may share with all.
    fn telling_group(&self, groups: &Groups) -> Option<&Name> {
        let known = || self.groups.iter().filter(|group| groups.find(&self.owner.namespace, group).is_some());
        known().find(|group| group.as_str() != DEFAULT_GROUP).or_else(|| known().next())
    }
}

impl From<&NetworkInterface> for Identity {
    fn from(interface: &NetworkInterface) -> Self {
        let NetworkInterface { task, owner, groups, .. } = interface;
        Self { task: *task, owner: owner.clone(), groups: groups.clone() }
    }
}

impl fmt::Display for Party<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Task(identity) => identity.owner.fmt(f),
            Self::LoadBalancer => f.write_str("the load balancer"),
            Self::Outside { address, names } => match names.iter().find_map(|name| host_of(name)) {
                Some(host) => write!(f, "{host} ({address})"),
                None => address.fmt(f),
            },
            Self::Platform => f.write_str("the platform"),
        }
    }
}

impl Decision {
    /// Whether they may.
    pub fn is_allowed(&self) -> bool {
        match self {
            Self::Allowed { .. } => true,
            Self::Denied(_) => false,
        }
    }
}

impl Missing {
    /// The command that adds the rule; `None` if no rule can allow it.
    pub fn command(&self) -> Option<String> {
        let QualifiedName { namespace, name } = &self.group;
        let rule = self.rule.as_ref()?;
        Some(match namespace.is_default() {
            true => format!("skiff sg allow {name} \"{rule}\""),
            false => format!("skiff sg allow {name} \"{rule}\" --namespace {namespace}"),
        })
    }

    /// For two ends of which neither is a task.
    pub(crate) fn of_nobody() -> Self {
        Self {
            direction: Direction::Egress,
            group: QualifiedName::new(Namespace::default(), default_group()),
            rule: None,
            reason: "neither end is a task, so no security group can allow it".to_owned(),
        }
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Allows => "allows it",
            Self::OtherTransport => "is for another protocol",
            Self::OtherPorts => "is for other ports",
            Self::OtherPeer => "is for somebody else",
            Self::UnknownGroup => "is for a group that does not exist",
            Self::NotCloseEnough => "does not name the address closely enough",
        })
    }
}

/// What is asked of a task's groups: may the peer be connected with it?
#[derive(Debug, Clone, Copy)]
pub(crate) struct Question<'a> {
    pub(crate) groups: &'a Groups,
    /// Which way: the task connects, or is connected to.
    pub(crate) direction: Direction,
    pub(crate) own: &'a Identity,
    peer: Party<'a>,
    /// What the peer's address is to rules; `Inside` for all who have none outside.
    class: Class,
    transport: Transport,
    port: u16,
}

/// What is to be asked on the side of who connects, and on that of who is connected to.
pub(crate) fn questions<'a>(
    groups: &'a Groups,
    guard: &Guard,
    from: Party<'a>,
    to: Party<'a>,
    transport: Transport,
    port: u16,
) -> [Option<Question<'a>>; 2] {
    let question = |direction: Direction, own: Party<'a>, peer: Party<'a>| {
        let Party::Task(own) = own else { return None };
        let class = match (peer, direction) {
            (Party::Outside { address, .. }, Direction::Egress) => guard.class(address, port),
            // Special is where one may come to, not where somebody comes from.
            (Party::Outside { address, .. }, Direction::Ingress) if !guard.is_inside(address) => {
                Class::Public
            }
            (Party::Outside { .. } | Party::Task(_) | Party::LoadBalancer | Party::Platform, _) => {
                Class::Inside
            }
        };
        Some(Question { groups, direction, own, peer, class, transport, port })
    };
    [question(Direction::Egress, from, to), question(Direction::Ingress, to, from)]
}

impl Question<'_> {
    /// The first rule that allows it, in the order of the task's groups and of their rules.
    fn allowed_by(&self) -> Option<(QualifiedName, Rule)> {
        let namespace = &self.own.owner.namespace;
        self.own.groups.iter().find_map(|group| {
            let rule = self.rules(group)?.find(|rule| self.outcome(group, rule) == Outcome::Allows)?;
            Some((QualifiedName::new(namespace.clone(), group.clone()), rule.clone()))
        })
    }

    /// The rules of one of the task's groups that look the right way; `None` if there is no such group.
    pub(crate) fn rules(&self, group: &Name) -> Option<impl Iterator<Item = &Rule>> {
        let (rules, direction) = (self.groups.find(&self.own.owner.namespace, group)?, self.direction);
        Some(rules.iter().filter(move |rule| rule.direction == direction))
    }

    /// What one of those rules says.
    pub(crate) fn outcome(&self, group: &Name, rule: &Rule) -> Outcome {
        if rule.transport.is_some_and(|transport| transport != self.transport) {
            return Outcome::OtherTransport;
        }
        if !rule.ports.contains(self.port) {
            return Outcome::OtherPorts;
        }
        let (here, is_egress) = (&self.own.owner.namespace, self.direction == Direction::Egress);
        let is_meant = match &rule.peer {
            Peer::LoadBalancer => !is_egress && matches!(self.peer, Party::LoadBalancer),
            Peer::Platform => is_egress && matches!(self.peer, Party::Platform),
            Peer::Itself => self.peer_is_in(here, group),
            Peer::Group(GroupRef { namespace, name }) => {
                self.peer_is_in(namespace.as_ref().unwrap_or(here), name)
            }
            Peer::Network(network) => match self.peer_outside() {
                Some((address, _)) if network.contains(&address) => {
                    return closely(self.class.is_named_by(network, rule.ports));
                }
                Some(_) | None => false,
            },
            Peer::Host(pattern) => match self.peer_outside() {
                Some((_, names)) if is_egress && names.iter().any(|name| leads_to(name, pattern)) => {
                    return closely(self.class.is_named_by_host());
                }
                Some(_) | None => false,
            },
        };
        if is_meant { Outcome::Allows } else { Outcome::OtherPeer }
    }

    fn peer_is_in(&self, namespace: &Namespace, group: &Name) -> bool {
        match self.peer {
            Party::Task(peer) => peer.is_in(self.groups, namespace, group),
            Party::LoadBalancer | Party::Outside { .. } | Party::Platform => false,
        }
    }

    /// The peer's address and names, if it is outside: an address of the virtual network is not.
    fn peer_outside(&self) -> Option<(IpAddr, &[Box<str>])> {
        match self.peer {
            Party::Outside { address, names } if self.class != Class::Inside => {
                Some((address.to_canonical(), names))
            }
            Party::Outside { .. } | Party::Task(_) | Party::LoadBalancer | Party::Platform => None,
        }
    }

    /// What is missing, where no rule allows it.
    pub(crate) fn missing(&self) -> Missing {
        let groups = &self.own.groups;
        let telling = self.own.telling_group(self.groups).or(groups.first()).cloned();
        let name = telling.unwrap_or_else(default_group);
        // Where it is not known which groups the task is in, a rule of none of them is known to help.
        let peer = self.missing_peer(&name).filter(|_| !groups.is_empty());
        let rule = peer.map(|peer| Rule {
            direction: self.direction,
            transport: Some(self.transport),
            ports: PortRange { from: self.port, to: self.port },
            peer,
        });
        let group = QualifiedName::new(self.own.owner.namespace.clone(), name);
        let mut missing = Missing { direction: self.direction, group, rule, reason: String::new() };
        missing.reason = format!(
            "{}; {}",
            self.denial(),
            match missing.command() {
                Some(command) => format!("to allow it: {command}"),
                None => "no rule can allow it".to_owned(),
            }
        );
        missing
    }

    /// Whom a rule of that group would have to name, as narrowly as can be; `None` if it can't.
    fn missing_peer(&self, group: &Name) -> Option<Peer> {
        let here = &self.own.owner.namespace;
        match (self.peer, self.direction) {
            (Party::Task(peer), _) if peer.is_in(self.groups, here, group) => Some(Peer::Itself),
            (Party::Task(peer), _) => {
                let namespace = &peer.owner.namespace;
                let elsewhere = (namespace != here).then(|| namespace.clone());
                let name = peer.telling_group(self.groups)?.clone();
                Some(Peer::Group(GroupRef { namespace: elsewhere, name }))
            }
            (Party::Outside { .. }, direction) => {
                let (address, names) = self.peer_outside()?;
                let by_name = direction == Direction::Egress && self.class.is_named_by_host();
                let host = names.iter().filter(|_| by_name).find_map(|name| host_of(name));
                Some(host.map_or(Peer::Network(address.into()), Peer::Host))
            }
            (Party::LoadBalancer, Direction::Ingress) => Some(Peer::LoadBalancer),
            (Party::Platform, Direction::Egress) => Some(Peer::Platform),
            (Party::LoadBalancer, Direction::Egress) | (Party::Platform, Direction::Ingress) => None,
        }
    }

    /// What is denied, and why.
    fn denial(&self) -> String {
        let Self { direction, own, peer, transport, port, .. } = self;
        let way = match direction {
            Direction::Ingress => "from",
            Direction::Egress => "to",
        };
        if own.groups.is_empty() {
            let owner = &own.owner;
            return format!(
                "{transport}:{port} {way} {peer} is denied to {owner}: its security groups are not known"
            );
        }
        let more = if own.groups.len() > GROUPS_TOLD_MAX { ", …" } else { "" };
        let groups: Vec<&str> = own.groups.iter().take(GROUPS_TOLD_MAX).map(Name::as_str).collect();
        let denied = format!(
            "{transport}:{port} {way} {peer} is denied to {}: no {direction} rule of its security groups ({}{more}) \
             allows it",
            own.owner,
            groups.join(", ")
        );
        let gone = own.telling_group(self.groups).is_none();
        let gone = if gone { ", for none of these exists" } else { "" };
        format!("{denied}{gone}{}", self.closeness())
    }

    /// How an address outside must be named, where not every rule that contains it is enough.
    fn closeness(&self) -> String {
        let Party::Outside { address, .. } = self.peer else { return String::new() };
        match self.class {
            Class::Public => String::new(),
            Class::Inside => format!("; {address} is of the virtual network, and no task's"),
            Class::Special { range, what } => {
                format!(
                    "; {address} is in {range}, {what}: only a rule for a network within that range means it"
                )
            }
            Class::Host => {
                format!("; {address} is the host's own: only a rule for this single address means it")
            }
            Class::Door => format!(
                "; {address} with port {} is the platform's own: only a rule for this single address and port means it",
                self.port
            ),
        }
    }
}

fn closely(enough: bool) -> Outcome {
    if enough { Outcome::Allows } else { Outcome::NotCloseEnough }
}

/// Whether a rule for that pattern means a host of that name.
fn leads_to(name: &str, pattern: &HostPattern) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    match pattern.wildcard_suffix() {
        None => name.eq_ignore_ascii_case(pattern.as_str()),
        Some(suffix) => match name.split_once('.') {
            Some((label, rest)) => !label.is_empty() && rest.eq_ignore_ascii_case(suffix),
            None => false,
        },
    }
}

/// A name that was looked up as a rule may say it; `None` if no rule can name it and mean just that. A guest chose it.
fn host_of(name: &str) -> Option<HostPattern> {
    let name = name.strip_suffix('.').unwrap_or(name);
    match name.parse() {
        Ok(Peer::Host(host)) if host.wildcard_suffix().is_none() => Some(host),
        Ok(_) | Err(_) => None,
    }
}

#[cfg(test)]
mod tests;

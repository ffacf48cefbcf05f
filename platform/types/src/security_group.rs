//! Security groups: named sets of rules that say what may reach a task and what it may reach.
//!
//! Rules only allow; what none allows is denied. They are stateful: what answers an allowed connection needs no rule.

use crate::text::{ParseError, serde_as_text};
use crate::{HostPattern, Name, Namespace, QualifiedName, Transport};
use ipnet::IpNet;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// The group of a task whose definition and service name none; every namespace has it.
pub const DEFAULT_GROUP: &str = "default";
/// The same as a name.
pub fn default_group() -> Name {
    DEFAULT_GROUP.parse().expect("a name")
}

/// Names that mean something else in a rule, so that no group may have them.
pub const RESERVED_GROUP_NAMES: [&str; 4] = ["all", "load-balancer", "platform", "self"];
/// Groups that one task can be in.
pub const GROUPS_OF_TASK_MAX: usize = 16;
/// Rules that one group can have.
pub const RULES_MAX: usize = 200;

/// Which way a rule looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// What may reach the tasks of the group.
    Ingress,
    /// What the tasks of the group may reach.
    Egress,
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ingress => "ingress",
            Self::Egress => "egress",
        })
    }
}

/// Ports from one to another, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortRange {
    /// The first.
    pub from: u16,
    /// The last, not below the first.
    pub to: u16,
}

impl PortRange {
    /// Every port.
    pub const ALL: Self = Self { from: 0, to: u16::MAX };

    /// Whether a port lies in it.
    pub fn contains(&self, port: u16) -> bool {
        (self.from..=self.to).contains(&port)
    }
}

/// Names a group: of the namespace of whoever says it, unless it names another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupRef {
    /// Where it is, if not here.
    pub namespace: Option<Namespace>,
    /// Its name there.
    pub name: Name,
}

impl GroupRef {
    /// The group that this means to somebody in `here`.
    pub fn qualified(&self, here: &Namespace) -> QualifiedName {
        QualifiedName::new(self.namespace.clone().unwrap_or_else(|| here.clone()), self.name.clone())
    }
}

/// The other side of a rule.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Peer {
    /// The load balancer; ingress only.
    LoadBalancer,
    /// Tasks of the rule's own group.
    Itself,
    /// Tasks of a group.
    Group(GroupRef),
    /// The platform's own services; egress only.
    Platform,
    /// Addresses. Those of tasks are never meant by it: who they are counts, not where.
    Network(IpNet),
    /// Hosts outside by name; egress only.
    Host(HostPattern),
}

/// One thing that a group allows, printed like `tcp:6379 from web` or `tcp:443 to *.example.com`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rule {
    /// Which way it looks.
    pub direction: Direction,
    /// Which protocol; `None` for all.
    pub transport: Option<Transport>,
    /// Which ports of whoever is connected to.
    pub ports: PortRange,
    /// With whom.
    pub peer: Peer,
}

impl Rule {
    /// What every new group allows: ingress from the load balancer and from the same group, egress to the same group and
    /// to the platform's own services.
    pub fn defaults() -> Vec<Self> {
        ["all from load-balancer", "all from self", "all to self", "all to platform"]
            .map(|text| text.parse().expect("a rule"))
            .into()
    }
}

impl FromStr for Rule {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        const EXPECTED: &str = "a rule, like \"tcp:6379 from web\", \"all from load-balancer\", \
                                \"tcp:443 to *.example.com\" or \"udp:53 to 192.0.2.0/24\"";
        let error = || ParseError::new(text, EXPECTED);
        let words: Vec<&str> = text.split_whitespace().collect();
        let &[what, way, peer] = words.as_slice() else { return Err(error()) };
        let direction = match way {
            "from" => Direction::Ingress,
            "to" => Direction::Egress,
            _ => return Err(error()),
        };
        let (protocol, ports) =
            what.split_once(':').map_or((what, None), |(left, right)| (left, Some(right)));
        let transport = match protocol {
            "all" => None,
            "tcp" => Some(Transport::Tcp),
            "udp" => Some(Transport::Udp),
            _ => return Err(error()),
        };
        let ports = ports.map_or(Ok(PortRange::ALL), str::parse).map_err(|_| error())?;
        let peer: Peer = peer.parse().map_err(|_| error())?;
        let fits = match &peer {
            Peer::LoadBalancer => direction == Direction::Ingress,
            Peer::Platform | Peer::Host(_) => direction == Direction::Egress,
            Peer::Itself | Peer::Group(_) | Peer::Network(_) => true,
        };
        if !fits {
            return Err(error());
        }
        Ok(Self { direction, transport, ports, peer })
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.transport {
            None => f.write_str("all")?,
            Some(transport) => transport.fmt(f)?,
        }
        if self.ports != PortRange::ALL {
            write!(f, ":{}", self.ports)?;
        }
        let way = match self.direction {
            Direction::Ingress => "from",
            Direction::Egress => "to",
        };
        write!(f, " {way} {}", self.peer)
    }
}

impl FromStr for PortRange {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let error = || ParseError::new(text, "a port or a range of ports, like \"80\" or \"8000-8100\"");
        let (from, to) = text.split_once('-').unwrap_or((text, text));
        let port = |text: &str| text.parse::<u16>().map_err(|_| error());
        let range = Self { from: port(from)?, to: port(to)? };
        if range.from > range.to { Err(error()) } else { Ok(range) }
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.from == self.to {
            true => write!(f, "{}", self.from),
            false => write!(f, "{}-{}", self.from, self.to),
        }
    }
}

impl FromStr for GroupRef {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let error = || ParseError::new(text, "a security group, like \"web\" or \"shop/web\"");
        let (namespace, name) = match text.split_once('/') {
            None => (None, text),
            Some((namespace, name)) => (Some(namespace.parse().map_err(|_| error())?), name),
        };
        Ok(Self { namespace, name: name.parse().map_err(|_| error())? })
    }
}

impl fmt::Display for GroupRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            None => self.name.fmt(f),
            Some(namespace) => write!(f, "{}/{}", namespace.as_str(), self.name),
        }
    }
}

impl FromStr for Peer {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        match text {
            "load-balancer" => return Ok(Self::LoadBalancer),
            "self" => return Ok(Self::Itself),
            "platform" => return Ok(Self::Platform),
            _ => {}
        }
        if let Ok(network) = text.parse::<IpNet>() {
            return Ok(Self::Network(network.trunc()));
        }
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self::Network(address.into()));
        }
        // A host has a dot, which a group's name can't have.
        if text.contains('.') && !text.contains('/') {
            return text.parse().map(Self::Host);
        }
        let group: GroupRef = text.parse()?;
        match RESERVED_GROUP_NAMES.contains(&group.name.as_str()) {
            true => Err(ParseError::new(text, "a security group: the name means something else in a rule")),
            false => Ok(Self::Group(group)),
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LoadBalancer => f.write_str("load-balancer"),
            Self::Itself => f.write_str("self"),
            Self::Platform => f.write_str("platform"),
            Self::Group(group) => group.fmt(f),
            Self::Network(network) => network.fmt(f),
            Self::Host(host) => host.fmt(f),
        }
    }
}

serde_as_text!(Rule, PortRange, GroupRef);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_prints_as_it_is_written() {
        for text in [
            "all from load-balancer",
            "all to platform",
            "tcp:6379 from web",
            "tcp:6379 from shop/web",
            "tcp:8000-8100 from self",
            "udp:53 to 192.0.2.0/24",
            "tcp:443 to *.example.com",
            "tcp:443 to api.example.com",
            "all to ::1/128",
        ] {
            assert_eq!(text.parse::<Rule>().unwrap().to_string(), text);
        }
        assert_eq!("tcp:1 to 192.0.2.7".parse::<Rule>().unwrap().to_string(), "tcp:1 to 192.0.2.7/32");
        assert_eq!("tcp to 192.0.2.7/24".parse::<Rule>().unwrap().to_string(), "tcp to 192.0.2.0/24");
    }

    #[test]
    fn what_is_no_rule_is_refused() {
        for text in [
            "",
            "tcp",
            "tcp:80",
            "tcp:80 from",
            "icmp from web",
            "tcp:90-80 from web",
            "tcp:70000 from web",
            "tcp:80 from *.example.com",
            "tcp:80 from platform",
            "tcp:80 to load-balancer",
            "tcp:80 to Web",
            "tcp:80 to all",
            "tcp:80 via web",
        ] {
            assert!(text.parse::<Rule>().is_err(), "{text:?} was taken");
        }
    }
}

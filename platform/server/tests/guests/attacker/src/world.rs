//! What the attacker knows of where it is.

use std::net::Ipv4Addr;

/// Ports of the host's loopback address, and the neighbour.
pub(crate) struct World {
    /// The platform's API.
    pub(crate) api: u16,
    /// Its load balancer.
    pub(crate) balancer: u16,
    /// A service of the host's, which nobody may reach: by TCP and by UDP.
    pub(crate) secret: u16,
    /// One at 127.0.0.1 that may be reached, if anything may: it redirects to other places. At 127.0.0.2 with the same port is
    /// the secret one.
    pub(crate) redirector: u16,
    /// The neighbour's address; its name is `victim`.
    pub(crate) victim: Ipv4Addr,
    /// Names under it lead to wrong places.
    pub(crate) zone: String,
    /// Whether questions for names may go out.
    pub(crate) may_ask: bool,
    /// How often it tries all of its ways.
    pub(crate) rounds: u64,
}

impl World {
    /// From arguments like `api=8081`.
    pub(crate) fn from_arguments(arguments: impl Iterator<Item = String>) -> Self {
        let arguments: Vec<String> = arguments.collect();
        let text = |name: &str| {
            let mut pairs = arguments.iter().filter_map(|argument| argument.split_once('='));
            let found = pairs.find(|(key, _)| *key == name).map(|(_, value)| value);
            found.unwrap_or_else(|| panic!("{name}=... is missing"))
        };
        let port = |name: &str| text(name).parse().unwrap_or_else(|_| panic!("{name} is no port"));
        Self {
            api: port("api"),
            balancer: port("balancer"),
            secret: port("secret"),
            redirector: port("redirector"),
            victim: text("victim").parse().expect("an address"),
            zone: text("zone").to_owned(),
            may_ask: text("may_ask") == "true",
            rounds: text("rounds").parse().expect("a number"),
        }
    }

    /// A name in the zone.
    pub(crate) fn name(&self, label: &str) -> String {
        format!("{label}.{}", self.zone)
    }
}

/// What stands in the flow log for a connection there.
pub(crate) fn tcp_to(address: impl ToString) -> String {
    format!("tcp {}", address.to_string())
}

/// The same for a datagram.
pub(crate) fn udp_to(address: impl ToString) -> String {
    format!("udp {}", address.to_string())
}

/// The same for a question for a name.
pub(crate) fn look_up() -> String {
    udp_to("0.0.0.0:53")
}

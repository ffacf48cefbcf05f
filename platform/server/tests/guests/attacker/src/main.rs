//! A command on WASI 0.2 that tries to get out: to the platform's own doors, to the host, to what a cloud keeps beside it, and
//! to its neighbours. It tries one way after the other, and prints a line for each:
//!
//! ```text
//! NAME: held (WHY): TRANSPORT ADDRESS:PORT, ...
//! NAME: got out (WHAT)
//! ```
//!
//! Behind the colon stands what it tried to reach, where anything was to be reached: one of these must be in the flow log.

mod floods;
mod http;
mod names;
mod sockets;
mod world;

use std::fmt;
use world::World;

/// What became of an attempt.
enum Outcome {
    GotOut(String),
    Held { why: String, targets: Vec<String> },
}

impl Outcome {
    fn held(why: impl fmt::Debug, targets: &[String]) -> Self {
        Self::Held { why: format!("{why:?}"), targets: targets.to_vec() }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::GotOut(what) => write!(f, "got out ({what})"),
            Self::Held { why, targets } if targets.is_empty() => write!(f, "held ({why})"),
            Self::Held { why, targets } => write!(f, "held ({why}): {}", targets.join(", ")),
        }
    }
}

/// One way to try.
struct Way {
    name: &'static str,
    /// Whether it asks the name servers for more than `localhost`.
    asks: bool,
    run: fn(&World) -> Outcome,
}

const fn way(name: &'static str, run: fn(&World) -> Outcome) -> Way {
    Way { name, asks: false, run }
}

const fn asking(name: &'static str, run: fn(&World) -> Outcome) -> Way {
    Way { name, asks: true, run }
}

const WAYS: [Way; 46] = [
    way("api-by-loopback", |world| sockets::tcp("127.0.0.1", world.api)),
    way("balancer-by-loopback", |world| sockets::tcp("127.0.0.1", world.balancer)),
    way("host-by-loopback", |world| sockets::tcp("127.0.0.1", world.secret)),
    way("api-by-another-loopback", |world| sockets::tcp("127.45.6.7", world.api)),
    way("api-by-ipv6-loopback", |world| sockets::tcp("::1", world.api)),
    way("api-by-unspecified", |world| sockets::tcp("0.0.0.0", world.api)),
    way("api-by-ipv6-unspecified", |world| sockets::tcp("::", world.api)),
    way("api-by-mapped", |world| sockets::tcp("::ffff:127.0.0.1", world.api)),
    way("api-by-compatible", |world| sockets::tcp("::127.0.0.1", world.api)),
    way("api-by-translated", |world| sockets::tcp("64:ff9b::127.0.0.1", world.api)),
    way("api-by-6to4", |world| sockets::tcp("2002:7f00:1::", world.api)),
    way("metadata", |_| sockets::tcp("169.254.169.254", 80)),
    way("metadata-by-ipv6", |_| sockets::tcp("fd00:ec2::254", 80)),
    way("link-local", |_| sockets::tcp("fe80::1", 80)),
    way("router", |_| sockets::tcp("192.168.0.1", 22)),
    way("docker", |_| sockets::tcp("172.17.0.1", 2_375)),
    way("azure", |_| sockets::tcp("168.63.129.16", 80)),
    way("api-by-decimal", |world| names::tcp("2130706433", world.api)),
    way("api-by-octal", |world| names::tcp("0177.0.0.1", world.api)),
    way("api-by-hexadecimal", |world| names::tcp("0x7f000001", world.api)),
    way("api-by-short", |world| names::tcp("127.1", world.api)),
    way("api-by-localhost", |world| names::tcp("localhost", world.api)),
    asking("api-by-name", |world| names::tcp(&world.name("loopback"), world.api)),
    asking("changing-name", names::changing),
    way("api-by-http", |world| http::get("127.0.0.1", world.api)),
    way("api-by-http-ipv6", |world| http::get("[::1]", world.api)),
    way("api-by-http-unspecified", |world| http::get("0.0.0.0", world.api)),
    way("api-by-http-mapped", |world| http::get("[::ffff:127.0.0.1]", world.api)),
    way("api-by-http-localhost", |world| http::get("localhost", world.api)),
    asking("api-by-http-decimal", |world| http::get("2130706433", world.api)),
    asking("api-by-http-name", |world| http::get(&world.name("loopback"), world.api)),
    asking("changing-name-by-http", http::changing),
    way("metadata-by-http", |_| http::get("169.254.169.254", 80)),
    way("redirect-to-api", |world| http::redirected(world, "/api")),
    way("redirect-to-metadata", |world| http::redirected(world, "/metadata")),
    way("datagram-to-host", |world| sockets::udp("127.0.0.1", world.secret)),
    way("datagram-to-all", |world| sockets::udp("255.255.255.255", world.secret)),
    way("datagram-to-group", |world| sockets::udp("224.0.0.1", world.secret)),
    way("name-server-of-the-host", |_| sockets::udp("127.0.0.53", 53)),
    way("source-of-a-neighbour", |world| sockets::bind(&world.victim.to_string())),
    way("source-of-the-host", |_| sockets::bind("127.0.0.1")),
    way("neighbour-by-address", |world| sockets::tcp(&world.victim.to_string(), 80)),
    way("neighbour-by-http", http::neighbour),
    way("connection-flood", floods::connections),
    way("half-open-flood", floods::half_open),
    asking("look-up-flood", floods::look_ups),
];

fn main() {
    let world = World::from_arguments(std::env::args().skip(1));
    for _ in 0..world.rounds {
        for way in WAYS.iter().filter(|way| world.may_ask || !way.asks) {
            println!("{}: {}", way.name, (way.run)(&world));
        }
    }
    println!("done");
}

//! The S3 endpoint: buckets, as clients of S3 know them, on a listener of its own.
//!
//! | file | what it does |
//! | --- | --- |
//! | `serve`, `stalls` | accepts connections and serves them, each wait with a bound |
//! | `front` | the way of a request: what is refused before anything is done, the line in the log |
//! | `shares` | how many connections an address may have, and requests under way an access key |
//! | `counters` | what was done, by operation and class of status |
//! | `signed`, `known` | who signed what, for where; which parameters and headers there are |
//! | `arriving`, `chunks`, `promised` | a request's bytes: their framing, their pace, what they were said to come to |
//! | `leaving` | a response's bytes, counted |
//! | `caller` | as whom a call acts, what its role may do, what its names mean |
//! | `operations` | what is done, by the operations of S3 |
//! | `conditions`, `content`, `text`, `errors` | what headers say, in both directions, and what errors are called |
//!
//! The crate `s3s` has the protocol: it checks signatures, reads requests and writes responses. Objects are kept by the buckets
//! port, names by the catalog; a name is one of the namespace of the role that the access key carries.
//!
//! It has no anonymous access, no access control lists, no versions, no tags, no encryption of its own, no locks, no browser forms,
//! and no TLS. What it does not have it refuses by name: nothing that a client asks for is passed over in silence, but for the
//! checksum of an object that was put in parts, whose parts were each checked.
//!
//! What always holds: nothing is done, and no body is read, before a signature was checked that covers the host and all of
//! Amazon's headers. What a role is asked for is the very key that is touched, byte for byte. No object is ever whole in memory.

mod arriving;
mod caller;
mod chunks;
mod conditions;
mod content;
mod counters;
mod errors;
mod front;
mod known;
mod leaving;
mod operations;
mod promised;
mod serve;
mod shares;
mod signed;
mod stalls;
mod text;

use self::counters::Counters;
use self::front::Front;
use skiff_kit::Drain;
use skiff_kit::random::Random;
use skiff_ports::access::{AccessKeys, Authorizer};
use skiff_ports::buckets::Buckets;
use skiff_ports::catalog::Catalog;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;

pub use self::counters::{OperationStats, Stats};

/// The region that clients sign for, where no other is configured: the one that they take for granted.
pub const DEFAULT_REGION: &str = "us-east-1";

/// How the endpoint is to be.
#[derive(Debug)]
pub struct Config {
    /// Where it listens.
    pub listener: TcpListener,
    /// The name under which buckets have names of their own, such as `s3.localhost` for `uploads.s3.localhost`. Without one, the
    /// bucket is the first part of the path; with one, that goes too.
    pub domain: Option<String>,
    /// The region that signatures must be for: lower-case letters, digits and `-`.
    pub region: String,
    /// What it bears.
    pub limits: Limits,
}

/// What the endpoint bears. The size of an object, a key and a page are the port's.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections at a time; more wait to be accepted.
    pub connections_max: usize,
    /// Connections at a time of one address, or of a network of 64 bits of IPv6; more are answered with 503 `SlowDown`. All that come
    /// through a proxy are of its address.
    pub connections_per_address_max: usize,
    /// Requests under way at a time of one access key, until their answers were taken; more are answered with 503 `SlowDown`.
    pub requests_per_key_max: usize,
    /// The longest that a request's head may take to come, and that a connection may stay without one.
    pub head_time_max: Duration,
    /// The longest that a client may neither send the next bytes of a body nor take those of a response.
    pub stall_time_max: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 1_024,
            connections_per_address_max: 512,
            requests_per_key_max: 256,
            head_time_max: Duration::from_secs(30),
            stall_time_max: Duration::from_secs(30),
        }
    }
}

/// What the endpoint is given.
#[derive(Clone)]
pub struct Deps {
    /// Keeps objects.
    pub buckets: Arc<dyn Buckets>,
    /// Knows which buckets there are.
    pub catalog: Arc<dyn Catalog>,
    /// Judges what roles may do.
    pub authorizer: Arc<dyn Authorizer>,
    /// Knows who signs.
    pub keys: Arc<dyn AccessKeys>,
    /// For the ids of requests.
    pub random: Arc<dyn Random>,
}

/// Why the endpoint could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The listener has no address.
    #[error("the listener of the S3 endpoint can't be used")]
    Listener(#[source] io::Error),
    /// No name that hosts may have.
    #[error("{0:?} is no domain for buckets: name one such as \"s3.localhost\"")]
    Domain(String),
    /// No name that regions may have.
    #[error("{0:?} is no region: name one of a-z, 0-9 and '-', such as \"us-east-1\"")]
    Region(String),
}

/// The endpoint that runs. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Handle {
    address: SocketAddr,
    counters: Arc<Counters>,
}

impl Handle {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it has done so far.
    pub fn stats(&self) -> Stats {
        self.counters.read()
    }

    /// The requests that it has answered so far, by what they asked for and how they were answered.
    pub fn requests(&self) -> Vec<OperationStats> {
        self.counters.by_operation()
    }
}

/// Starts the endpoint. It stops when the drain begins: requests that are under way are answered, and hold a token of it until then.
///
/// # Errors
/// If the configuration can't be so.
///
/// # Panics
/// Outside of a tokio runtime.
pub fn start(config: Config, deps: Deps, drain: &Drain) -> Result<Handle, StartError> {
    let Config { listener, domain, region, limits } = config;
    if region.is_empty()
        || !region.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    {
        return Err(StartError::Region(region));
    }
    if let Some(domain) = domain.as_ref().filter(|domain| !serve::is_domain(domain)) {
        return Err(StartError::Domain(domain.clone()));
    }
    let address = listener.local_addr().map_err(StartError::Listener)?;
    let counters = Arc::<Counters>::default();
    let front = Arc::new(Front::new(deps, region, domain, limits, counters.clone()));
    tokio::spawn(serve::serve(listener, front, limits, counters.clone(), drain.clone()));
    Ok(Handle { address, counters })
}

#[cfg(test)]
mod tests;

//! Target groups: who answers, how one of them is chosen, and how it is known who can.

use super::Limit;
use crate::text::{ParseError, serde_as_text};
use crate::{QualifiedName, Span};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::sync::Arc;

/// Targets that requests are spread over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetGroupSpec {
    /// Its name in its namespace; that of a service, if it is to say more about the group that each service is.
    pub name: QualifiedName,
    /// Who they are.
    pub targets: Targets,
    /// What they speak. An `http` task is called, whatever this says.
    pub protocol: TargetProtocol,
    /// Whether it is spoken inside TLS; of outside targets alone.
    pub tls: bool,
    /// How one is chosen.
    pub algorithm: Algorithm,
    /// How long a client stays with the target that it came to first, by a cookie.
    pub stickiness: Option<Span>,
    /// How long a new target's share grows until it is whole.
    pub slow_start: Option<Span>,
    /// How long a target that leaves may take for what it has, where that is said; see [`Self::delay`].
    pub deregistration_delay: Option<Span>,
    /// How its targets are checked. Without, only what requests show counts, and a task's own check.
    pub health_check: Option<TargetHealthCheck>,
    /// How many requests its targets are given together.
    pub limit: Option<Limit>,
}

impl TargetGroupSpec {
    /// Targets that a group of addresses can have.
    pub const TARGETS_MAX: usize = 1_000;
    /// ELBv2's delay: that of addresses where none is said.
    pub const DEREGISTRATION_DELAY: Span = Span::from_ms(300_000);
    /// The shortest stickiness, and the shortest slow start.
    pub const TIME_MIN: Span = Span::from_ms(1_000);
    /// The longest delay, and the longest slow start.
    pub const TIME_MAX: Span = Span::from_ms(3_600_000);
    /// The longest stickiness: seven days.
    pub const STICKINESS_MAX: Span = Span::from_ms(7 * 86_400_000);

    /// The group that every service is.
    pub fn of_service(service: QualifiedName) -> Self {
        Self {
            name: service.clone(),
            targets: Targets::Service(service),
            protocol: TargetProtocol::default(),
            tls: false,
            algorithm: Algorithm::default(),
            stickiness: None,
            slow_start: None,
            deregistration_delay: None,
            health_check: None,
            limit: None,
        }
    }

    /// Whether it is the group that the service of its name is.
    pub fn is_of_own_service(&self) -> bool {
        matches!(&self.targets, Targets::Service(service) if *service == self.name)
    }

    /// How long what an address has that leaves may go on. Of a service's tasks, what is not said their definition says.
    pub fn delay(&self) -> Span {
        self.deregistration_delay.unwrap_or(Self::DEREGISTRATION_DELAY)
    }
}

/// Who a group's targets are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Targets {
    /// The tasks of a service.
    Service(QualifiedName),
    /// Addresses in the virtual network: each is whichever task has it.
    Virtual(Vec<VirtualAddress>),
    /// Whoever is outside.
    Outside(Vec<Outside>),
}

/// A task's address and a port there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VirtualAddress(pub SocketAddr);

/// A host outside, by address or name, and a port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Outside {
    /// An IPv4 or IPv6 address (without brackets), or a name in lower case.
    pub host: Arc<str>,
    /// Never 0.
    pub port: u16,
}

/// What targets speak.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TargetProtocol {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2.
    Http2,
    /// gRPC: HTTP/2, and health checks by its status.
    Grpc,
    /// Bytes.
    Tcp,
}

/// How a target is chosen among those that may have a request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    /// One after the other.
    RoundRobin,
    /// The one with the fewest requests that it has not answered.
    #[default]
    LeastOutstandingRequests,
    /// Any, by weight; with anomaly mitigation: one whose answers are worse than the others' has less weight.
    WeightedRandom,
}

/// How targets are checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetHealthCheck {
    /// What is asked for by HTTP; without, it is enough to connect.
    pub path: Option<Arc<str>>,
    /// From one check to the next.
    pub interval: Span,
    /// How long the answer may take; at most the interval.
    pub timeout: Span,
    /// Successes in a row after which an unhealthy target is healthy. A new one is with its first.
    pub healthy: u32,
    /// Failures in a row after which a target is unhealthy.
    pub unhealthy: u32,
    /// Which statuses are a success.
    pub matcher: Matcher,
}

impl TargetHealthCheck {
    /// The shortest interval.
    pub const INTERVAL_MIN: Span = Span::from_ms(1_000);
    /// The longest interval.
    pub const INTERVAL_MAX: Span = Span::from_ms(300_000);
    /// The shortest timeout.
    pub const TIMEOUT_MIN: Span = Span::from_ms(100);
    /// The most of either threshold.
    pub const THRESHOLD_MAX: u32 = 10;
    /// Longest path, in bytes.
    pub const PATH_LENGTH_MAX: usize = 1024;
    /// The gRPC method that is called unless another is named; ELBv2's.
    pub const GRPC_METHOD: &str = "/AWS.ALB/healthcheck";
    /// The greatest gRPC code that a matcher can name, as in ELBv2.
    pub const GRPC_CODE_MAX: u16 = 99;
    /// Statuses of HTTP that a matcher can name, as in ELBv2.
    pub const STATUSES: RangeInclusive<u16> = 200..=599;

    /// The longest that it takes to notice that a target is not healthy, in milliseconds.
    pub fn notice_ms(&self) -> u64 {
        self.interval.ms().saturating_add(self.timeout.ms()).saturating_mul(u64::from(self.unhealthy))
    }

    /// What a check is of targets that speak this, where nothing more is said: by connecting, or by a gRPC method that
    /// nobody has, since whoever says so is there.
    pub fn of(protocol: TargetProtocol) -> Self {
        match protocol {
            TargetProtocol::Grpc => Self {
                path: Some(Self::GRPC_METHOD.into()),
                matcher: Matcher::UNIMPLEMENTED.into(),
                ..Self::default()
            },
            TargetProtocol::Http1 | TargetProtocol::Http2 | TargetProtocol::Tcp => Self::default(),
        }
    }
}

impl Default for TargetHealthCheck {
    /// Connecting every 10 seconds; ELBv2's timeout and thresholds.
    fn default() -> Self {
        Self {
            path: None,
            interval: Span::from_ms(10_000),
            timeout: Span::from_ms(5_000),
            healthy: 5,
            unhealthy: 2,
            matcher: Matcher::default(),
        }
    }
}

/// Statuses as ELBv2 writes them: `200`, `200,302` or `200-399`. Of gRPC they are its codes, `0` to `99`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Matcher(Arc<[(u16, u16)]>);

impl Matcher {
    /// Numbers and ranges that one can name.
    pub const PARTS_MAX: usize = 64;
    /// gRPC's code of a method that nobody has.
    const UNIMPLEMENTED: u16 = 12;

    /// Whether a status is among them.
    pub fn has(&self, status: u16) -> bool {
        self.0.iter().any(|&(from, to)| (from..=to).contains(&status))
    }

    /// Whether none but these are among them.
    pub fn is_within(&self, statuses: &RangeInclusive<u16>) -> bool {
        self.0.iter().all(|(from, to)| statuses.contains(from) && statuses.contains(to))
    }
}

/// One status alone.
impl From<u16> for Matcher {
    fn from(status: u16) -> Self {
        Self([(status, status)].into())
    }
}

impl Default for Matcher {
    fn default() -> Self {
        Self::from(200_u16)
    }
}

impl FromStr for Matcher {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let error =
            || ParseError::new(text, "statuses, 64 at most, like \"200\", \"200,302\" or \"200-399\"");
        let range = |part: &str| {
            let (from, to) = part.split_once('-').unwrap_or((part, part));
            let (from, to) = (from.parse().ok()?, to.parse().ok()?);
            (from <= to && to <= 599).then_some((from, to))
        };
        let ranges: Option<Vec<_>> = text.split(',').take(Self::PARTS_MAX + 1).map(range).collect();
        let ranges = ranges.filter(|ranges| ranges.len() <= Self::PARTS_MAX).ok_or_else(error)?;
        Ok(Self(ranges.into()))
    }
}

impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (from, to)) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            match from == to {
                true => write!(f, "{comma}{from}")?,
                false => write!(f, "{comma}{from}-{to}")?,
            }
        }
        Ok(())
    }
}

impl FromStr for VirtualAddress {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let address = text.parse::<SocketAddr>().ok().filter(|address| address.port() > 0);
        address
            .map(Self)
            .ok_or_else(|| ParseError::new(text, "a task's address and a port, like \"10.64.0.7:8080\""))
    }
}

impl fmt::Display for VirtualAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl FromStr for Outside {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let error = || {
            ParseError::new(text, "a host outside and a port, like \"192.0.2.7:8080\" or \"example.org:443\"")
        };
        if let Ok(address) = text.parse::<SocketAddr>() {
            let sound = Self { host: address.ip().to_string().into(), port: address.port() };
            return if sound.port > 0 { Ok(sound) } else { Err(error()) };
        }
        let (host, port) = text.rsplit_once(':').ok_or_else(error)?;
        let port = port.parse().ok().filter(|port| *port > 0).ok_or_else(error)?;
        let name: crate::HostPattern = host.parse().map_err(|_| error())?;
        // What ends in digits alone is an address that is none.
        let last = name.as_str().rsplit('.').next().unwrap_or_default();
        let is_name = name.wildcard_suffix().is_none() && !last.bytes().all(|byte| byte.is_ascii_digit());
        if is_name { Ok(Self { host: name.as_str().into(), port }) } else { Err(error()) }
    }
}

impl fmt::Display for Outside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

impl FromStr for TargetProtocol {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        match text {
            "http1" => Ok(Self::Http1),
            "http2" => Ok(Self::Http2),
            "grpc" => Ok(Self::Grpc),
            "tcp" => Ok(Self::Tcp),
            _ => Err(ParseError::new(text, "what targets speak: \"http1\", \"http2\", \"grpc\" or \"tcp\"")),
        }
    }
}

impl fmt::Display for TargetProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Http1 => "http1",
            Self::Http2 => "http2",
            Self::Grpc => "grpc",
            Self::Tcp => "tcp",
        })
    }
}

impl FromStr for Algorithm {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        match text {
            "round-robin" => Ok(Self::RoundRobin),
            "least-outstanding-requests" => Ok(Self::LeastOutstandingRequests),
            "weighted-random" => Ok(Self::WeightedRandom),
            _ => Err(ParseError::new(
                text,
                "how targets are chosen: \"round-robin\", \"least-outstanding-requests\" or \"weighted-random\"",
            )),
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::RoundRobin => "round-robin",
            Self::LeastOutstandingRequests => "least-outstanding-requests",
            Self::WeightedRandom => "weighted-random",
        })
    }
}

serde_as_text!(Matcher, VirtualAddress, Outside, TargetProtocol, Algorithm);

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check<T: FromStr<Err = ParseError> + fmt::Display>(good: &[&str], bad: &[&str]) {
        good.iter().for_each(|text| assert_eq!(text.parse::<T>().unwrap().to_string(), *text));
        bad.iter().for_each(|text| assert!(text.parse::<T>().is_err(), "{text:?} was taken"));
    }

    #[test]
    fn words_of_target_groups_print_as_they_parse() {
        check::<Matcher>(&["200", "200,302", "200-399,404", "0"], &["", "2xx", "300-200", "200-600", "200,"]);
        check::<VirtualAddress>(&["10.64.0.7:80", "[fd00::7]:80"], &["10.64.0.7", "10.64.0.7:0", "web:80"]);
        check::<Outside>(
            &["192.0.2.7:80", "[2001:db8::7]:443", "example.org:443", "localhost:80"],
            &["", "example.org", "example.org:0", "*.example.org:80", "999.1.1.1:80", "a b:80", "::1:80"],
        );
        check::<TargetProtocol>(&["http1", "http2", "grpc", "tcp"], &["http", "HTTP1"]);
        check::<Algorithm>(&["round-robin", "least-outstanding-requests", "weighted-random"], &["random"]);
    }

    #[test]
    fn a_matcher_has_what_it_names() {
        let matcher: Matcher = "200-299,302".parse().unwrap();
        assert!(matcher.has(204) && matcher.has(302) && !matcher.has(301) && !matcher.has(300));
        assert!(matcher.is_within(&(200..=302)) && !matcher.is_within(&(200..=301)));
        assert!(!matcher.is_within(&(201..=302)));
        let many = |count: usize| vec!["200"; count].join(",").parse::<Matcher>();
        assert!(many(Matcher::PARTS_MAX).is_ok() && many(Matcher::PARTS_MAX + 1).is_err());
    }

    #[test]
    fn a_check_of_grpc_is_a_call_that_nobody_answers() {
        let check = TargetHealthCheck::of(TargetProtocol::Grpc);
        assert_eq!(
            (check.path.as_deref(), &*check.matcher.to_string()),
            (Some("/AWS.ALB/healthcheck"), "12")
        );
        assert_eq!(TargetHealthCheck::of(TargetProtocol::Http2), TargetHealthCheck::default());
    }
}

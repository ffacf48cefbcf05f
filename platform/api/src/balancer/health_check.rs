//! How targets are checked.

use super::InvalidSpec;
use super::invalid::check_time;
use crate::text;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skiff_types::{Matcher, Span, TargetHealthCheck as DomainHealthCheck, TargetProtocol};

/// How a user says that targets are to be checked; what is left out gets its default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TargetHealthCheckSpec {
    /// What is asked for by HTTP, with GET; where not given, it is enough to connect. Of targets that speak gRPC it is the
    /// method that is called; `/AWS.ALB/healthcheck` where not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// From one check to the next: 1 second to 5 minutes; 10 seconds where not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::Span>")]
    pub interval: Option<Span>,
    /// How long the answer may take: 100 ms to the interval; 5 seconds where not given, or the interval if that is shorter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::Span>")]
    pub timeout: Option<Span>,
    /// Successes in a row after which an unhealthy target is healthy: 1 to 10; 5 where not given. A new one is with its
    /// first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10))]
    pub healthy: Option<u32>,
    /// Failures in a row after which a target is unhealthy: 1 to 10; 2 where not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10))]
    pub unhealthy: Option<u32>,
    /// Which statuses are a success, from 200 to 599; 200 where not given. Of gRPC its codes, from 0 to 99; 12 where not
    /// given. Only with a path, unless it is gRPC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::Matcher>")]
    pub matcher: Option<Matcher>,
}

/// How targets are checked, defaults filled in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TargetHealthCheck {
    /// What is asked for by HTTP, with GET; absent where it is enough to connect. Of targets that speak gRPC it is the method
    /// that is called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// From one check to the next.
    #[schemars(with = "text::Span")]
    pub interval: Span,
    /// How long the answer may take.
    #[schemars(with = "text::Span")]
    pub timeout: Span,
    /// Successes in a row after which an unhealthy target is healthy.
    pub healthy: u32,
    /// Failures in a row after which a target is unhealthy.
    pub unhealthy: u32,
    /// Which statuses are a success; of gRPC, its codes.
    #[schemars(with = "text::Matcher")]
    pub matcher: Matcher,
}

impl TargetHealthCheckSpec {
    /// What this means for targets that speak this; an error says what to do.
    pub fn to_domain(&self, protocol: TargetProtocol) -> Result<DomainHealthCheck, InvalidSpec> {
        let default = DomainHealthCheck::of(protocol);
        let path = self.path.as_deref().map(Into::into).or(default.path);
        if path.is_none() && self.matcher.is_some() {
            return Err(InvalidSpec::MatcherWithoutPath);
        }
        let interval = self.interval.unwrap_or(default.interval);
        let check = DomainHealthCheck {
            path,
            interval,
            timeout: self.timeout.unwrap_or(default.timeout.min(interval)),
            healthy: self.healthy.unwrap_or(default.healthy),
            unhealthy: self.unhealthy.unwrap_or(default.unhealthy),
            matcher: self.matcher.clone().unwrap_or(default.matcher),
        };
        check_bounds(&check)?;
        check_speech(&check, protocol)?;
        Ok(check)
    }
}

fn check_bounds(check: &DomainHealthCheck) -> Result<(), InvalidSpec> {
    let DomainHealthCheck { interval, timeout, .. } = *check;
    check_time(
        "the interval of a health check",
        interval,
        DomainHealthCheck::INTERVAL_MIN,
        DomainHealthCheck::INTERVAL_MAX,
    )?;
    if timeout > interval {
        return Err(InvalidSpec::CheckTimeout { timeout, interval });
    }
    check_time("the timeout of a health check", timeout, DomainHealthCheck::TIMEOUT_MIN, interval)?;
    for (what, count) in [("healthy", check.healthy), ("unhealthy", check.unhealthy)] {
        if !(1..=DomainHealthCheck::THRESHOLD_MAX).contains(&count) {
            return Err(InvalidSpec::Threshold { what, count });
        }
    }
    Ok(())
}

/// Refuses a check that can't be made of targets that speak this.
pub(super) fn check_speech(check: &DomainHealthCheck, protocol: TargetProtocol) -> Result<(), InvalidSpec> {
    let is_grpc = protocol == TargetProtocol::Grpc;
    if let Some(path) = check.path.as_deref() {
        let path_is_sound = if is_grpc { is_method(path) } else { is_path(path) };
        if !path_is_sound {
            let expected = match is_grpc {
                true => "a method of gRPC, like \"/grpc.health.v1.Health/Check\"",
                false => "the path of a health check, like \"/ready\"",
            };
            return Err(text::parse_error(path, expected).into());
        }
    }
    let (codes, of) = match is_grpc {
        true => (0..=DomainHealthCheck::GRPC_CODE_MAX, "gRPC"),
        false => (DomainHealthCheck::STATUSES, "HTTP"),
    };
    match check.matcher.is_within(&codes) {
        true => Ok(()),
        false => Err(InvalidSpec::Matcher { matcher: check.matcher.clone(), of, codes }),
    }
}

/// Whether this is what a request line can ask for.
fn is_path(path: &str) -> bool {
    path.starts_with('/')
        && path.len() <= DomainHealthCheck::PATH_LENGTH_MAX
        && path.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'#' | b'"' | b'<' | b'>'))
        && path.parse::<http::uri::PathAndQuery>().is_ok()
}

/// Whether this is a service and its method.
fn is_method(path: &str) -> bool {
    let mut parts = path.split('/');
    let is_word = |part: &str| !part.is_empty() && !part.contains('?');
    let parts = (parts.next(), parts.next(), parts.next(), parts.next());
    matches!(parts, (Some(""), Some(service), Some(method), None) if is_word(service) && is_word(method))
        && is_path(path)
}

impl From<&DomainHealthCheck> for TargetHealthCheck {
    fn from(check: &DomainHealthCheck) -> Self {
        Self {
            path: check.path.as_deref().map(str::to_owned),
            interval: check.interval,
            timeout: check.timeout,
            healthy: check.healthy,
            unhealthy: check.unhealthy,
            matcher: check.matcher.clone(),
        }
    }
}

/// The same, said again.
impl From<TargetHealthCheck> for TargetHealthCheckSpec {
    fn from(check: TargetHealthCheck) -> Self {
        let TargetHealthCheck { path, interval, timeout, healthy, unhealthy, matcher } = check;
        Self {
            matcher: path.is_some().then_some(matcher),
            path,
            interval: Some(interval),
            timeout: Some(timeout),
            healthy: Some(healthy),
            unhealthy: Some(unhealthy),
        }
    }
}

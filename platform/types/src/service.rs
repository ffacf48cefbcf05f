//! Services: how many tasks of which definition, and where the load balancer finds them.

use crate::text::{ParseError, serde_as_text};
use crate::{DeploymentConfiguration, Listen, Name, Placement, ScaleToZero, Span, TaskDefinitionId};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// Keeps a desired count of tasks of one task definition running.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceSpec {
    /// Its name in its namespace.
    pub name: Name,
    /// What its tasks run.
    pub definition: TaskDefinitionId,
    /// How many tasks.
    pub desired: u32,
    /// Hosts it answers on; with neither hosts nor paths it answers on `NAME.localhost`, unless it has listeners.
    pub hosts: Vec<HostPattern>,
    /// Path prefixes it answers on.
    pub paths: Vec<PathPrefix>,
    /// Security groups of its tasks, whatever their definition says; `None` for the definition's.
    pub security_groups: Option<Vec<Name>>,
    /// Where it is reached beside HTTP; sorted, each once.
    pub listen: Vec<Listen>,
    /// How it goes from one revision to the next.
    pub deployment: DeploymentConfiguration,
    /// When it is to have no task although it wants some; of `http` tasks alone.
    pub scale_to_zero: ScaleToZero,
    /// Where its tasks may run.
    pub placement: Placement,
}

impl ServiceSpec {
    /// The most tasks one service can want.
    pub const DESIRED_MAX: u32 = 1_000;
    /// The most hosts or paths one service can have.
    pub const ROUTES_MAX: usize = 64;

    /// After how long without a request it goes to sleep, if it is to have any task at all.
    pub fn sleeps_after(&self) -> Option<Span> {
        self.scale_to_zero.after().filter(|_| self.desired > 0)
    }
}

/// Why two services can't have the routes they ask for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the route {route} is already taken by the service {holder}")]
pub struct RouteError {
    /// Host and path.
    pub route: String,
    /// Who has it, as `NAMESPACE/NAME`.
    pub holder: String,
}

/// A host to match: a DNS name in lower case, or `*.` and a DNS name for exactly one label more.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostPattern(Arc<str>);

impl HostPattern {
    /// The pattern as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The part after `*.`, if this is a wildcard.
    pub fn wildcard_suffix(&self) -> Option<&str> {
        self.0.strip_prefix("*.")
    }
}

impl FromStr for HostPattern {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let label = |part: &str| {
            (1..=63).contains(&part.len())
                && !part.starts_with('-')
                && !part.ends_with('-')
                && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
        };
        let host = text.strip_prefix("*.").unwrap_or(text);
        if text.len() <= 253 && host.split('.').all(label) {
            Ok(Self(text.to_ascii_lowercase().into()))
        } else {
            Err(ParseError::new(text, "a host without port, like \"api.example.com\" or \"*.example.com\""))
        }
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A path to match together with all that lies below it: `/api` takes `/api` and `/api/x`, not `/apix`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PathPrefix(Arc<str>);

impl PathPrefix {
    /// Longest prefix, in bytes.
    pub const LENGTH_MAX: usize = 1024;

    /// The prefix, starting with `/`, without a `/` at its end unless it is all there is.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether `path` is this prefix or lies below it.
    pub fn matches(&self, path: &str) -> bool {
        match path.strip_prefix(self.0.as_ref()) {
            Some(rest) => rest.is_empty() || rest.starts_with('/') || &*self.0 == "/",
            None => false,
        }
    }
}

impl FromStr for PathPrefix {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let byte = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'?' | b'#' | b'*' | b'"' | b'\\');
        if text.len() <= Self::LENGTH_MAX && text.starts_with('/') && text.bytes().all(byte) {
            let trimmed = text.trim_end_matches('/');
            Ok(Self(if trimmed.is_empty() { "/" } else { trimmed }.into()))
        } else {
            Err(ParseError::new(text, "a path prefix that starts with '/', like \"/api\""))
        }
    }
}

impl fmt::Display for PathPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

serde_as_text!(HostPattern, PathPrefix);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_at_a_segment() {
        let api: PathPrefix = "/api/".parse().unwrap();
        assert_eq!(api.as_str(), "/api");
        assert!(api.matches("/api") && api.matches("/api/x"));
        assert!(!api.matches("/apix") && !api.matches("/"));
        let root: PathPrefix = "/".parse().unwrap();
        assert!(root.matches("/") && root.matches("/x"));
        for bad in ["", "api", "/a?b", "/a b", "/a*"] {
            assert!(bad.parse::<PathPrefix>().is_err(), "{bad:?} was taken");
        }
    }

    #[test]
    fn a_host_is_a_dns_name() {
        assert_eq!("API.example.com".parse::<HostPattern>().unwrap().as_str(), "api.example.com");
        assert_eq!("*.example.com".parse::<HostPattern>().unwrap().wildcard_suffix(), Some("example.com"));
        for bad in ["", "*", "a..b", "a.*.b", "a:80", "http://a", "-a.b"] {
            assert!(bad.parse::<HostPattern>().is_err(), "{bad:?} was taken");
        }
    }
}

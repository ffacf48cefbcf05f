//! What a rule does with a request.

use crate::text::{ParseError, serde_as_text};
use crate::{QualifiedName, Span};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// The greatest weight of a target group.
pub const WEIGHT_MAX: u16 = 999;

/// What becomes of a request, or of a TCP connection (which can only be forwarded).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action {
    /// A target group answers.
    Forward(Forward),
    /// The client is told to go elsewhere.
    Redirect(Redirect),
    /// The load balancer answers.
    FixedResponse(FixedResponse),
}

/// Where to forward to: one target group of these, as often as its weight says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forward {
    /// At least one, at most [`Forward::GROUPS_MAX`], each once. Where all weights are 0, 503 is the answer.
    pub groups: Vec<WeightedGroup>,
    /// How long a client stays with the target group that it came to first, by a cookie.
    pub stickiness: Option<Span>,
}

impl Forward {
    /// Target groups that one action can name.
    pub const GROUPS_MAX: usize = 8;

    /// To one target group alone.
    pub fn to(group: QualifiedName) -> Self {
        Self { groups: vec![WeightedGroup { group, weight: 1 }], stickiness: None }
    }
}

/// A target group among those of an action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WeightedGroup {
    /// Which.
    pub group: QualifiedName,
    /// From 0 to [`WEIGHT_MAX`].
    pub weight: u16,
}

/// A redirection. Each part may contain `#{protocol}`, `#{host}`, `#{port}`, `#{path}` (without its first `/`) and
/// `#{query}` of the request, as ELBv2 has them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Redirect {
    /// How permanent it is.
    pub status: RedirectStatus,
    /// `http`, `https` or `#{protocol}`.
    pub protocol: Arc<str>,
    /// The host, without a port.
    pub host: Arc<str>,
    /// The port, or `#{port}`.
    pub port: Arc<str>,
    /// The path, starting with `/`.
    pub path: Arc<str>,
    /// The query, without `?`; may be empty.
    pub query: Arc<str>,
}

/// The status of a redirection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum RedirectStatus {
    /// 301.
    #[default]
    MovedPermanently,
    /// 302.
    Found,
}

impl RedirectStatus {
    /// As a number.
    pub fn code(self) -> u16 {
        match self {
            Self::MovedPermanently => 301,
            Self::Found => 302,
        }
    }
}

impl TryFrom<u16> for RedirectStatus {
    type Error = ParseError;

    fn try_from(code: u16) -> Result<Self, ParseError> {
        match code {
            301 => Ok(Self::MovedPermanently),
            302 => Ok(Self::Found),
            _ => Err(ParseError::new(&code.to_string(), "the status of a redirection: 301 or 302")),
        }
    }
}

/// What the load balancer answers by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FixedResponse {
    /// 2xx, 4xx or 5xx.
    pub status: u16,
    /// `text/plain`, `text/css`, `text/html`, `application/javascript` or `application/json`.
    pub content_type: Arc<str>,
    /// At most [`FixedResponse::BODY_BYTES_MAX`].
    pub body: Arc<str>,
}

impl FixedResponse {
    /// Bytes of the body.
    pub const BODY_BYTES_MAX: usize = 1024;
    /// What it may be, as ELBv2 has it.
    pub const CONTENT_TYPES: [&str; 5] =
        ["text/plain", "text/css", "text/html", "application/javascript", "application/json"];

    /// A status without a body.
    pub fn status(status: u16) -> Self {
        Self { status, content_type: Self::CONTENT_TYPES[0].into(), body: "".into() }
    }
}

impl Redirect {
    const PLACEHOLDERS: [&str; 5] = ["#{protocol}", "#{host}", "#{port}", "#{path}", "#{query}"];
    /// Longest part, in bytes.
    const PART_LENGTH_MAX: usize = 128;
}

/// As the address to go to, like `https://#{host}:443/#{path}?#{query}`; what is left out stays as the request had it. The
/// status is not part of it.
impl FromStr for Redirect {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let error = || {
            ParseError::new(
                text,
                "where to redirect to, like \"https://#{host}:443/#{path}?#{query}\", \"https://example.org\" or \"/new/#{path}\"",
            )
        };
        let (protocol, rest) = match text.split_once("://") {
            Some((protocol, rest)) => (protocol, rest),
            None if text.starts_with('/') => ("#{protocol}", text),
            None => return Err(error()),
        };
        let (rest, query) = match rest.split_once('?') {
            Some((rest, query)) => (rest, query),
            None => (rest, "#{query}"),
        };
        let (authority, path) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, "/#{path}"),
        };
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) => (host, port),
            None => (authority, "#{port}"),
        };
        let host = if host.is_empty() { "#{host}" } else { host };
        let redirect = Self {
            status: RedirectStatus::default(),
            protocol: protocol.into(),
            host: host.into(),
            port: port.into(),
            path: path.into(),
            query: query.into(),
        };
        if redirect.is_sound() { Ok(redirect) } else { Err(error()) }
    }
}

impl Redirect {
    /// Whether each part is what it may be, and leads elsewhere.
    fn is_sound(&self) -> bool {
        let port = &*self.port;
        let port_is_sound = port == "#{port}" || port.parse::<u16>().is_ok_and(|port| port > 0);
        let parts = [&self.host, &self.path, &self.query];
        let leads_elsewhere = (&*self.protocol, &*self.host, port, &*self.path, &*self.query)
            != ("#{protocol}", "#{host}", "#{port}", "/#{path}", "#{query}");
        ["http", "https", "#{protocol}"].contains(&&*self.protocol)
            && port_is_sound
            && parts.into_iter().all(|part| is_part(part))
            && leads_elsewhere
    }
}

/// Whether this is text that may stand in a header, with no placeholders but the known ones.
fn is_part(text: &str) -> bool {
    // Something takes their place, so that what stands around one is not another.
    let plain = Redirect::PLACEHOLDERS.iter().fold(text.to_owned(), |text, known| text.replace(known, "x"));
    text.len() <= Redirect::PART_LENGTH_MAX
        && plain
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'#' | b'{' | b'}' | b'?' | b'"'))
}

impl fmt::Display for Redirect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { protocol, host, port, path, query, .. } = self;
        write!(f, "{protocol}://{host}:{port}{path}?{query}")
    }
}

/// Weighted groups as text: `web` or `web=90`; of another namespace, `shop/web=10`.
impl FromStr for WeightedGroup {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let error =
            || ParseError::new(text, "a target group and its weight from 0 to 999, like \"default/web=90\"");
        let (group, weight) = match text.rsplit_once('=') {
            Some((group, weight)) => (group, weight.parse().map_err(|_| error())?),
            None => (text, 1),
        };
        let group = group.parse().map_err(|_| error())?;
        if weight > WEIGHT_MAX { Err(error()) } else { Ok(Self { group, weight }) }
    }
}

impl fmt::Display for WeightedGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.group, self.weight)
    }
}

serde_as_text!(WeightedGroup);

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        assert_eq!(text.parse::<Redirect>().unwrap().to_string(), expected);
    }

    #[test]
    fn what_a_redirection_leaves_out_stays_as_it_was() {
        check("https://#{host}:443/#{path}?#{query}", "https://#{host}:443/#{path}?#{query}");
        check("https://example.org", "https://example.org:#{port}/#{path}?#{query}");
        check("/new/#{path}", "#{protocol}://#{host}:#{port}/new/#{path}?#{query}");
        check("http://:8080/x?", "http://#{host}:8080/x?");
    }

    #[test]
    fn a_redirection_to_the_same_place_and_other_nonsense_is_refused() {
        for bad in [
            "",
            "example.org",
            "ftp://a",
            "https://a:0/",
            "https://a:b/",
            "https://a b/",
            "https://a/#{what}",
            "https://a/#{pa#{host}th}",
            "#{protocol}://#{host}:#{port}/#{path}?#{query}",
            "/#{path}",
            "https://a/\r\nx: y",
        ] {
            assert!(bad.parse::<Redirect>().is_err(), "{bad:?} was taken");
        }
    }

    #[test]
    fn weighted_groups_print_as_they_parse() {
        for (text, printed) in [("default/web=90", "default/web=90"), ("shop/web", "shop/web=1")] {
            assert_eq!(text.parse::<WeightedGroup>().unwrap().to_string(), printed);
        }
        for bad in ["", "=1", "web=", "a/b=1000", "a/b=-1"] {
            assert!(bad.parse::<WeightedGroup>().is_err(), "{bad:?} was taken");
        }
    }
}

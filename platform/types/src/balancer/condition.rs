//! What a rule asks of a request.

use super::Pattern;
use crate::text::{ParseError, serde_as_text};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// One condition: it holds if one of its values does. Printed like `host=api.example.com,*.example.org`, `path=/api/*`,
/// `header:x-tenant=blue`, `method=GET,HEAD`, `query:version=2`, `query=beta` or `source=192.0.2.0/24`. A comma within a
/// value is written `\,`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Condition {
    /// The host that is asked for, without its port; case does not count.
    Host(Vec<Pattern>),
    /// The path, without the query, as the client sent it; case counts.
    Path(Vec<Pattern>),
    /// A header.
    Header(HeaderCondition),
    /// The method, in full; case counts.
    Method(Vec<Arc<str>>),
    /// A parameter of the query string; several values of one condition are of one key, or of none.
    Query(QueryCondition),
    /// The address that the connection came from. What `X-Forwarded-For` says does not count.
    Source(Vec<IpNet>),
}

/// Asks whether one of a header's values is like one of these.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct HeaderCondition {
    /// In lower case.
    pub name: Arc<str>,
    /// Case does not count.
    pub values: Vec<Pattern>,
}

/// Asks whether a parameter of the query string is like one of these. Both sides are compared as they were sent, without
/// decoding; case does not count.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct QueryCondition {
    /// The parameter's key; without one, any parameter's value counts.
    pub key: Option<Pattern>,
    /// Its value.
    pub values: Vec<Pattern>,
}

impl Condition {
    /// How many values it has.
    pub fn values(&self) -> usize {
        match self {
            Self::Host(values) | Self::Path(values) => values.len(),
            Self::Header(condition) => condition.values.len(),
            Self::Method(values) => values.len(),
            Self::Query(condition) => condition.values.len(),
            Self::Source(values) => values.len(),
        }
    }
}

impl FromStr for Condition {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        const EXPECTED: &str = "a condition, like \"host=*.example.com\", \"path=/api/*\", \"header:x-tenant=blue\", \
                                \"method=GET,HEAD\", \"query:version=2\" or \"source=192.0.2.0/24\"";
        let error = || ParseError::new(text, EXPECTED);
        let (what, values) = text.split_once('=').ok_or_else(error)?;
        let (kind, of) = match what.split_once(':') {
            Some((kind, of)) => (kind, Some(of)),
            None => (what, None),
        };
        let values = split(values);
        let patterns = || values.iter().map(|value| value.parse::<Pattern>()).collect::<Result<Vec<_>, _>>();
        match (kind, of) {
            ("host", None) => Ok(Self::Host(patterns()?)),
            ("path", None) => Ok(Self::Path(patterns()?)),
            ("header", Some(name)) if is_token(name) => Ok(Self::Header(HeaderCondition {
                name: name.to_ascii_lowercase().into(),
                values: patterns()?,
            })),
            ("method", None) if values.iter().all(|value| is_token(value)) => {
                Ok(Self::Method(values.iter().map(|value| value.as_str().into()).collect()))
            }
            ("query", None) => Ok(Self::Query(QueryCondition { key: None, values: patterns()? })),
            ("query", Some(key)) => {
                Ok(Self::Query(QueryCondition { key: Some(key.parse()?), values: patterns()? }))
            }
            ("source", None) => {
                let networks: Result<Vec<_>, _> = values.iter().map(|value| network(value)).collect();
                networks.map(Self::Source).map_err(|()| error())
            }
            _ => Err(error()),
        }
    }
}

/// A network, or an address as one.
fn network(text: &str) -> Result<IpNet, ()> {
    let network = text.parse::<IpNet>().or_else(|_| text.parse::<std::net::IpAddr>().map(IpNet::from));
    network.map(|network| network.trunc()).map_err(drop)
}

/// RFC 9110, section 5.6.2.
fn is_token(text: &str) -> bool {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    (1..=Pattern::LENGTH_MAX).contains(&text.len()) && text.bytes().all(known)
}

/// The values between commas; one after `\` belongs to its value.
fn split(text: &str) -> Vec<String> {
    let mut values = vec![String::new()];
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            ',' => values.push(String::new()),
            '\\' => match characters.next() {
                Some(',') => last(&mut values).push(','),
                Some(escaped) => last(&mut values).extend(['\\', escaped]),
                None => last(&mut values).push('\\'),
            },
            character => last(&mut values).push(character),
        }
    }
    values
}

fn last(values: &mut [String]) -> &mut String {
    values.last_mut().expect("there is one from the start")
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(values) => write!(f, "host={}", joined(values)),
            Self::Path(values) => write!(f, "path={}", joined(values)),
            Self::Header(HeaderCondition { name, values }) => write!(f, "header:{name}={}", joined(values)),
            Self::Method(values) => write!(f, "method={}", joined(values)),
            Self::Query(QueryCondition { key: None, values }) => write!(f, "query={}", joined(values)),
            Self::Query(QueryCondition { key: Some(key), values }) => {
                write!(f, "query:{key}={}", joined(values))
            }
            Self::Source(values) => write!(f, "source={}", joined(values)),
        }
    }
}

fn joined<T: fmt::Display>(values: &[T]) -> String {
    let values: Vec<String> = values.iter().map(|value| value.to_string().replace(',', "\\,")).collect();
    values.join(",")
}

serde_as_text!(Condition);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_prints_as_it_parses() {
        for text in [
            "host=api.example.com,*.example.org",
            "path=/api/*,/v?/x",
            "header:x-tenant=blue,g*n",
            r"header:accept=text/html\,application/xml,*\?*",
            "method=GET,PURGE",
            "query:version=2",
            "query=beta",
            "query:a*=b=c",
            "source=192.0.2.0/24,2001:db8::/32",
        ] {
            assert_eq!(text.parse::<Condition>().unwrap().to_string(), text);
        }
        assert_eq!("header:X-A=B".parse::<Condition>().unwrap().to_string(), "header:x-a=B");
        assert_eq!("source=192.0.2.7/24".parse::<Condition>().unwrap().to_string(), "source=192.0.2.0/24");
        assert_eq!("source=::1".parse::<Condition>().unwrap().to_string(), "source=::1/128");
    }

    #[test]
    fn what_is_no_condition_is_refused() {
        for bad in [
            "",
            "host",
            "host=",
            "host=a,,b",
            "host:x=a",
            "path=ä",
            "header=a",
            "header:=a",
            "header:a b=c",
            "method=",
            "method=G T",
            "query:=a",
            "source=192.0.2.0/33",
            "source=example.com",
            "cookie=a",
        ] {
            assert!(bad.parse::<Condition>().is_err(), "{bad:?} was taken");
        }
    }
}

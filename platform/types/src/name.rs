//! Names of services, families and namespaces: DNS labels, because a service answers on `NAME.localhost`.

use crate::text::{ParseError, serde_as_text};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// The namespace that is meant where none is given.
pub const DEFAULT_NAMESPACE: &str = "default";

/// A DNS label (RFC 1035): 1 to 63 of `a-z`, `0-9` and `-`, starting with a letter, not ending with `-`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<str>);

impl Name {
    /// Longest name, in bytes (RFC 1035, section 2.3.4).
    pub const LENGTH_MAX: usize = 63;

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let inner = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'-';
        let bytes = text.as_bytes();
        let valid = bytes.len() <= Self::LENGTH_MAX
            && bytes.first().is_some_and(u8::is_ascii_lowercase)
            && bytes.last() != Some(&b'-')
            && bytes.iter().all(inner);
        if valid {
            Ok(Self(text.into()))
        } else {
            Err(ParseError::new(
                text,
                "a name: 1 to 63 of a-z, 0-9 and '-', starting with a letter, like \"my-app\"",
            ))
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// The boundary of names and of tenancy.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Namespace(Name);

impl Namespace {
    /// The namespace as text.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// Whether this is the namespace that is meant where none is given.
    pub fn is_default(&self) -> bool {
        self.as_str() == DEFAULT_NAMESPACE
    }
}

impl Default for Namespace {
    fn default() -> Self {
        Self(Name(DEFAULT_NAMESPACE.into()))
    }
}

impl FromStr for Namespace {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        text.parse().map(Self)
    }
}

impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A name within its namespace, printed `NAMESPACE/NAME`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct QualifiedName {
    /// The boundary it lives in.
    pub namespace: Namespace,
    /// Its name there.
    pub name: Name,
}

impl QualifiedName {
    /// Joins the two parts.
    pub fn new(namespace: Namespace, name: Name) -> Self {
        Self { namespace, name }
    }
}

impl FromStr for QualifiedName {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let error = || ParseError::new(text, "a qualified name, like \"default/my-app\"");
        let (namespace, name) = text.split_once('/').ok_or_else(error)?;
        Ok(Self { namespace: namespace.parse()?, name: name.parse()? })
    }
}

impl fmt::Display for QualifiedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

serde_as_text!(Name, Namespace, QualifiedName);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_dns_label() {
        for good in ["a", "hello", "hello-p3", "a1", &"a".repeat(63)] {
            assert_eq!(good.parse::<Name>().unwrap().as_str(), good);
        }
        for bad in ["", "1a", "-a", "a-", "A", "a_b", "a.b", "ä", &"a".repeat(64)] {
            assert!(bad.parse::<Name>().is_err(), "{bad:?} was taken");
        }
    }

    #[test]
    fn an_error_names_the_value_and_what_would_be_right() {
        let message = "My App".parse::<Name>().unwrap_err().to_string();
        assert!(message.starts_with("\"My App\" is not a name"), "{message}");
    }
}

//! Image references: `repository`, `repository:tag` or `repository@sha256:digest`, after the OCI distribution
//! specification 1.1 (section "Pulling manifests"), without a registry's host.

use crate::text::{ParseError, serde_as_text};
use std::fmt;
use std::str::FromStr;

/// A SHA-256 content address, printed `sha256:` and 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// From the hash itself.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The hash itself.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The 64 hexadecimal digits alone, as file names use them.
    pub fn hex(&self) -> String {
        hex::encode(self.0)
    }

    /// The first 12 digits, for people.
    pub fn short(&self) -> String {
        hex::encode(&self.0[..6])
    }
}

impl FromStr for Digest {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let error = || ParseError::new(text, "a digest: \"sha256:\" and 64 hexadecimal digits");
        let mut bytes = [0; 32];
        let digits = text.strip_prefix("sha256:").ok_or_else(error)?;
        hex::decode_to_slice(digits, &mut bytes).map_err(|_| error())?;
        Ok(Self(bytes))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}…", self.short())
    }
}

/// What names an image in a namespace: a repository with a tag or a digest; the tag `latest` where neither is given.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImageReference {
    /// Path components of `a-z0-9` with `.`, `_` or `-` between them, joined by `/`; at most 128 bytes.
    pub repository: String,
    /// 1 to 128 of `A-Za-z0-9_.-`, not starting with `.` or `-`.
    pub tag: Option<String>,
    /// The manifest's digest.
    pub digest: Option<Digest>,
}

impl ImageReference {
    /// The tag that is meant where neither tag nor digest is given.
    pub const DEFAULT_TAG: &str = "latest";
    /// Longest repository or tag, in bytes.
    pub const PART_LENGTH_MAX: usize = 128;

    /// The tag, or `latest` where neither a tag nor a digest is given.
    pub fn tag_or_default(&self) -> Option<&str> {
        match (&self.tag, &self.digest) {
            (Some(tag), _) => Some(tag),
            (None, None) => Some(Self::DEFAULT_TAG),
            (None, Some(_)) => None,
        }
    }

    fn repository_is_valid(text: &str) -> bool {
        let alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let component = |part: &str| {
            part.bytes().next().is_some_and(alphanumeric)
                && part.bytes().next_back().is_some_and(alphanumeric)
                && part.bytes().all(|byte| alphanumeric(byte) || matches!(byte, b'.' | b'_' | b'-'))
        };
        text.len() <= Self::PART_LENGTH_MAX && text.split('/').all(component)
    }

    fn tag_is_valid(text: &str) -> bool {
        (1..=Self::PART_LENGTH_MAX).contains(&text.len())
            && !text.starts_with(['.', '-'])
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
    }
}

impl FromStr for ImageReference {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let error =
            || ParseError::new(text, "an image, like \"hello\", \"team/hello:v2\" or \"hello@sha256:…\"");
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest.parse()?)),
            None => (text, None),
        };
        let (repository, tag) = match rest.split_once(':') {
            Some((repository, tag)) => (repository, Some(tag)),
            None => (rest, None),
        };
        if !Self::repository_is_valid(repository) || !tag.is_none_or(Self::tag_is_valid) {
            return Err(error());
        }
        Ok(Self { repository: repository.to_owned(), tag: tag.map(str::to_owned), digest })
    }
}

impl fmt::Display for ImageReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

serde_as_text!(Digest, ImageReference);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_print_as_they_parse() {
        let digest = Digest::from_bytes([0xab; 32]);
        for text in ["hello", "team/hello:v2", "a/b-c/d.e:1.0_x", &format!("hello@{digest}")] {
            assert_eq!(text.parse::<ImageReference>().unwrap().to_string(), text);
        }
        assert_eq!("hello".parse::<ImageReference>().unwrap().tag_or_default(), Some("latest"));
        for bad in ["", "Hello", "a//b", "/a", "a:", "a:.x", "a@sha256:12", "a b", "-a", "a/../b"] {
            assert!(bad.parse::<ImageReference>().is_err(), "{bad:?} was taken");
        }
    }
}

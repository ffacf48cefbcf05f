//! The id of one life of a bucket, table, queue or bus: what is made anew under an old name has another.

use crate::text::{ParseError, serde_as_text};
use std::fmt;
use std::str::FromStr;

/// 16 hexadecimal digits. What a bucket, table, queue or bus holds is kept by this, so that nothing of an earlier one of its
/// name is ever seen again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResourceId([u8; 8]);

impl ResourceId {
    /// Makes one of random bytes.
    pub fn from_bytes(bytes: [u8; 8]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    pub fn to_bytes(self) -> [u8; 8] {
        self.0
    }
}

impl FromStr for ResourceId {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let mut bytes = [0; 8];
        hex::decode_to_slice(text, &mut bytes)
            .map_err(|_| ParseError::new(text, "a resource's id: 16 hexadecimal digits"))?;
        Ok(Self(bytes))
    }
}

impl fmt::Display for ResourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for ResourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

serde_as_text!(ResourceId);

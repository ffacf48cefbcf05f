//! Ids of access keys, which outside clients sign with.

use crate::text::{ParseError, serde_as_text};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// `SKIF` and 16 of `A-Z` and `2-7`: as long as AWS's, and made of what those are made of, so that clients of theirs take it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccessKeyId(Arc<str>);

/// Each of five bits (RFC 4648, section 6).
const DIGITS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

impl AccessKeyId {
    const PREFIX: &'static str = "SKIF";
    const DIGITS: usize = 16;
    /// Characters of a secret.
    pub const SECRET_CHARS: usize = 40;

    /// Makes one of random bytes, of which five bits each count.
    pub fn from_bytes(bytes: [u8; Self::DIGITS]) -> Self {
        Self(format!("{}{}", Self::PREFIX, digits(&bytes)).into())
    }

    /// Makes a key's secret of random bytes, of which five bits each count: 200 bits, all in letters and digits.
    pub fn secret_from_bytes(bytes: [u8; Self::SECRET_CHARS]) -> String {
        digits(&bytes)
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn digits(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(DIGITS[usize::from(byte % 32)])).collect()
}

impl FromStr for AccessKeyId {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let digits = text.strip_prefix(Self::PREFIX);
        let is_sound = digits.is_some_and(|digits| {
            digits.len() == Self::DIGITS && digits.bytes().all(|byte| DIGITS.contains(&byte))
        });
        match is_sound {
            true => Ok(Self(text.into())),
            false => Err(ParseError::new(
                text,
                "an access key's id: SKIF and 16 of A-Z and 2-7, like \"SKIFABCDEFGHIJKLMNOP\"",
            )),
        }
    }
}

impl fmt::Display for AccessKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for AccessKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

serde_as_text!(AccessKeyId);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_made_of_random_bytes_and_read_again() {
        let bytes = std::array::from_fn(|index| index as u8 * 17);
        let id = AccessKeyId::from_bytes(bytes);
        assert_eq!(id.to_string(), "SKIFARCTEVGXIZK3M5O7");
        assert_eq!(id.as_str().parse(), Ok(id));
        let secret = AccessKeyId::secret_from_bytes([255; AccessKeyId::SECRET_CHARS]);
        assert_eq!(secret, "7".repeat(40));
        for bad in [
            "",
            "SKIF",
            "AKIAABCDEFGHIJKLMNOP",
            "SKIFabcdefghijklmnop",
            "SKIFABCDEFGHIJKLMNO1",
            "SKIFABCDEFGHIJKLMNOPQ",
        ] {
            assert!(bad.parse::<AccessKeyId>().is_err(), "{bad:?} was taken");
        }
    }
}

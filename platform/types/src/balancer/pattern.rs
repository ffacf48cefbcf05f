//! Patterns of conditions: `*` for any characters or none, `?` for exactly one, `\` before what is meant literally.

use crate::text::{ParseError, serde_as_text};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// A pattern of a condition's value, as ELBv2 has them. What it is matched with, and whether case counts, its condition
/// says.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pattern(Arc<str>);

impl Pattern {
    /// Longest pattern, in bytes.
    pub const LENGTH_MAX: usize = 128;

    /// As its user wrote it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Pattern {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let is_sound = text.len() <= Self::LENGTH_MAX
            && text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic())
            && !ends_in_escape(text);
        match is_sound && !text.is_empty() {
            true => Ok(Self(text.into())),
            false => Err(ParseError::new(
                text,
                "a pattern of 1 to 128 printable ASCII characters, like \"/api/*\" (\"*\" for any characters, \"?\" for one, \
                 \"\\\" before what is meant literally)",
            )),
        }
    }
}

/// Whether its last character is an escape for nothing.
fn ends_in_escape(text: &str) -> bool {
    text.bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 1
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

serde_as_text!(Pattern);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_printable_and_ends_in_no_escape() {
        for good in ["*", "/a?b", r"\*", r"a\\", "a b", &"x".repeat(128)] {
            assert_eq!(good.parse::<Pattern>().unwrap().as_str(), good);
        }
        for bad in ["", r"a\", r"\\\", "ä", "a\n", &"x".repeat(129)] {
            assert!(bad.parse::<Pattern>().is_err(), "{bad:?} was taken");
        }
    }
}

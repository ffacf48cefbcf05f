//! When a service is to have no task at all.

use crate::Span;
use crate::text::{ParseError, serde_as_text};
use std::fmt;
use std::str::FromStr;

/// After how long without a request a service goes to sleep, if ever: written `5m`, or `never`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum ScaleToZero {
    /// It stays awake.
    #[default]
    Never,
    /// After this time without a request, and with none in flight; within the bounds of [`ScaleToZero::LEAST`] and
    /// [`ScaleToZero::MOST`].
    After(Span),
}

impl ScaleToZero {
    /// The shortest time.
    pub const LEAST: Span = Span::from_ms(1_000);
    /// The longest time.
    pub const MOST: Span = Span::from_ms(7 * 86_400_000);

    /// The time, unless it is never.
    pub fn after(self) -> Option<Span> {
        match self {
            Self::Never => None,
            Self::After(span) => Some(span),
        }
    }
}

impl FromStr for ScaleToZero {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        if text == "never" {
            return Ok(Self::Never);
        }
        let span = text.parse::<Span>().ok().filter(|span| (Self::LEAST..=Self::MOST).contains(span));
        span.map(Self::After).ok_or_else(|| {
            ParseError::new(text, "a time without a request, from 1s to 7d, like 5m; or never")
        })
    }
}

impl fmt::Display for ScaleToZero {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Never => f.write_str("never"),
            Self::After(span) => span.fmt(f),
        }
    }
}

serde_as_text!(ScaleToZero);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_prints_as_it_parses_within_its_bounds() {
        for text in ["never", "1s", "5m", "1500ms", "7d"] {
            assert_eq!(text.parse::<ScaleToZero>().unwrap().to_string(), text);
        }
        for bad in ["", "0s", "999ms", "8d", "Never", "5"] {
            assert!(bad.parse::<ScaleToZero>().is_err(), "{bad:?} was taken");
        }
    }
}

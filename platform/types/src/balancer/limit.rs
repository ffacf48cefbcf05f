//! Limits on requests: how many a second, and how many at once.
//!
//! What always holds of one that was read from text: it limits something, and says what beyond a rate is let through at
//! once only where there is a rate.

use crate::text::{ParseError, serde_as_text};
use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

/// How many requests are let through; what is more is answered with 429.
///
/// As text: `rate=100,burst=200,concurrent=20`; each may be missing, but not both of `rate` and `concurrent`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Limit {
    /// Requests a second.
    pub rate: Option<NonZeroU32>,
    /// Requests that may come at once after a quiet time; as many as come in a second at this rate where it is not given.
    pub burst: Option<NonZeroU32>,
    /// Requests that may be under way at the same time.
    pub concurrent: Option<NonZeroU32>,
}

impl Limit {
    /// The most of each, be it requests a second or requests.
    pub const RATE_MAX: u32 = 1_000_000;

    /// A limit of these; `None` where it limits nothing, has a burst without a rate, or is above [`Self::RATE_MAX`].
    pub fn new(
        rate: Option<NonZeroU32>,
        burst: Option<NonZeroU32>,
        concurrent: Option<NonZeroU32>,
    ) -> Option<Self> {
        let is_bounded =
            [rate, burst, concurrent].iter().flatten().all(|count| count.get() <= Self::RATE_MAX);
        let limits = rate.is_some() || (concurrent.is_some() && burst.is_none());
        (is_bounded && limits).then_some(Self { rate, burst, concurrent })
    }
}

impl FromStr for Limit {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let error = || {
            ParseError::new(
                text,
                "a limit, like \"rate=100,burst=200,concurrent=20\": requests a second, at once after a quiet time (only \
                 with a rate), and under way at the same time, each from 1 to 1000000",
            )
        };
        let (mut rate, mut burst, mut concurrent) = (None, None, None);
        for part in text.split(',') {
            let (name, count) = part.split_once('=').ok_or_else(error)?;
            let place = match name {
                "rate" => &mut rate,
                "burst" => &mut burst,
                "concurrent" => &mut concurrent,
                _ => return Err(error()),
            };
            let is_number = count.bytes().all(|byte| byte.is_ascii_digit());
            let count: NonZeroU32 = count.parse().ok().filter(|_| is_number).ok_or_else(error)?;
            if place.replace(count).is_some() {
                return Err(error());
            }
        }
        Self::new(rate, burst, concurrent).ok_or_else(error)
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [("rate", self.rate), ("burst", self.burst), ("concurrent", self.concurrent)];
        let given = parts.iter().filter_map(|(name, count)| count.map(|count| (name, count)));
        for (index, (name, count)) in given.enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{name}={count}")?;
        }
        Ok(())
    }
}

serde_as_text!(Limit);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_print_as_they_parse() {
        for text in
            ["rate=100", "rate=100,burst=200", "concurrent=20", "rate=1000000,burst=1,concurrent=1000000"]
        {
            assert_eq!(text.parse::<Limit>().unwrap().to_string(), text);
        }
        let disordered: Limit = "concurrent=2,rate=1".parse().unwrap();
        assert_eq!(disordered.to_string(), "rate=1,concurrent=2");
    }

    #[test]
    fn what_limits_nothing_and_other_nonsense_is_refused() {
        for bad in [
            "",
            "100",
            "rate",
            "rate=",
            "rate=0",
            "rate=+1",
            "rate=-1",
            "rate=1000001",
            "burst=5",
            "burst=5,concurrent=5",
            "rate=1,rate=2",
            "rate=1,",
            "speed=1",
            "rate=1, concurrent=2",
        ] {
            assert!(bad.parse::<Limit>().is_err(), "{bad:?} was taken");
        }
    }
}

//! Limits on requests.

use super::InvalidSpec;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skiff_types::Limit as DomainLimit;
use std::fmt;
use std::num::NonZeroU32;

/// How many requests are let through; what is more is answered with 429. At least one of the rate and what may be under
/// way has to be given.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Limit {
    /// Requests a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub requests_per_second: Option<u32>,
    /// Requests that may come at once after a quiet time; as many as may come in a second where not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub burst: Option<u32>,
    /// Requests that may be under way at the same time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub concurrent: Option<u32>,
}

impl Limit {
    /// What this means; an error says what to do.
    pub fn to_domain(self) -> Result<DomainLimit, InvalidSpec> {
        let rate = bounded("requests_per_second", self.requests_per_second)?;
        let burst = bounded("burst", self.burst)?;
        let concurrent = bounded("concurrent", self.concurrent)?;
        match (rate, burst, concurrent) {
            (None, Some(_), _) => Err(InvalidSpec::BurstAlone),
            (None, None, None) => Err(InvalidSpec::NoLimit),
            (Some(_), _, _) | (None, None, Some(_)) => Ok(DomainLimit { rate, burst, concurrent }),
        }
    }
}

/// As people write it in a command: `rate=100,burst=200,concurrent=20`.
impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts =
            [("rate", self.requests_per_second), ("burst", self.burst), ("concurrent", self.concurrent)];
        let given = parts.into_iter().filter_map(|(name, count)| Some(format!("{name}={}", count?)));
        f.write_str(&given.collect::<Vec<_>>().join(","))
    }
}

fn bounded(what: &'static str, count: Option<u32>) -> Result<Option<NonZeroU32>, InvalidSpec> {
    let Some(count) = count else { return Ok(None) };
    let bounded = NonZeroU32::new(count).filter(|_| count <= DomainLimit::RATE_MAX);
    bounded.map(Some).ok_or(InvalidSpec::Limit { what, count })
}

impl From<DomainLimit> for Limit {
    fn from(limit: DomainLimit) -> Self {
        let DomainLimit { rate, burst, concurrent } = limit;
        Self {
            requests_per_second: rate.map(NonZeroU32::get),
            burst: burst.map(NonZeroU32::get),
            concurrent: concurrent.map(NonZeroU32::get),
        }
    }
}

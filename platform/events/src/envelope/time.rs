//! Times of events: ISO 8601 outside (RFC 3339), milliseconds since 1970 within.

use super::EnvelopeError;
use jiff::Timestamp;

/// A time as both forms print it, with milliseconds where there are some: `2026-07-01T12:00:00Z`. What lies beyond the year 9999
/// prints as its end.
pub fn iso_8601(time_ms: u64) -> String {
    timestamp(time_ms).unwrap_or(Timestamp::MAX).to_string()
}

/// Reads a time; what is finer than a millisecond is left out.
pub(super) fn parse(part: &str, text: &str) -> Result<u64, EnvelopeError> {
    let parsed = text.parse::<Timestamp>().ok();
    parsed.and_then(|time| u64::try_from(time.as_millisecond()).ok()).ok_or_else(|| {
        EnvelopeError::part(part, "it has to be a time of 1970 or later, like \"2026-07-01T12:00:00Z\"")
    })
}

/// Reads a time in seconds since 1970, perhaps with a fraction, as AWS's clients write it.
pub(super) fn parse_seconds(part: &str, number: &str) -> Result<u64, EnvelopeError> {
    let milliseconds = number.parse::<f64>().map_or(-1.0, |seconds| (seconds * 1_000.0).round());
    if !(0.0..=1e15).contains(&milliseconds) {
        return Err(EnvelopeError::part(part, "it has to be seconds since 1970, or a time in ISO 8601"));
    }
    Ok(milliseconds as u64)
}

/// Refuses what can't be printed.
pub(super) fn check(time_ms: u64) -> Result<(), EnvelopeError> {
    let problem = || EnvelopeError::part("time", "it lies beyond the year 9999");
    timestamp(time_ms).map(drop).ok_or_else(problem)
}

fn timestamp(time_ms: u64) -> Option<Timestamp> {
    Timestamp::from_millisecond(i64::try_from(time_ms).ok()?).ok()
}

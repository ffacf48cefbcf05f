//! Spans: what the load balancer did for one request, for a tracing system (OpenTelemetry, "Traces").
//!
//! A record has what the worker knows that answered; what that is called in OpenTelemetry's conventions is the business of who
//! exports it. It deliberately has no query, and no header of a request but its host, its user agent and its request id: what
//! is in the others may be secret.

use serde::{Deserialize, Serialize};
use skiff_types::Name;
use std::net::IpAddr;
use std::str::FromStr;

/// Trace ids that a share is of: what it is decided by are 63 bits of them.
const IDS: u64 = 1 << 63;

/// Who takes records, in a worker.
pub trait SpanSink {
    /// Takes one. It is never waited for: what there is no room for is dropped, and counted.
    fn record(&self, span: SpanRecord);
}

/// The share of the traces that begin here which is recorded. A trace's id decides alone, and as OpenTelemetry's own samplers
/// by ratio have it: so who samples the same share elsewhere takes the same traces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SampleShare {
    /// Of [`IDS`], those below.
    below: u64,
}

impl SampleShare {
    /// All of them.
    pub const ALL: Self = Self { below: IDS };

    /// The share from 0 to 1; nothing if it is none.
    pub fn new(share: f64) -> Option<Self> {
        (0.0..=1.0).contains(&share).then_some(Self { below: (share * IDS as f64) as u64 })
    }

    /// Whether the trace of this id is one of them.
    pub fn takes(self, trace_id: u128) -> bool {
        (trace_id as u64) >> 1 < self.below
    }
}

impl FromStr for SampleShare {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let share = text.parse().ok().and_then(Self::new);
        share.ok_or_else(|| format!("{text:?} is not a share from 0 to 1, like 0.1"))
    }
}

/// What became of one request. Times are in nanoseconds since 1970; texts that a client chose are cut.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpanRecord {
    /// The trace that it is part of.
    pub trace_id: u128,
    /// Its own id; never 0.
    pub span_id: u64,
    /// The client's span, if the client named one.
    pub parent_id: Option<u64>,
    /// When its head was there.
    pub began_at_ns: u64,
    /// When the last byte of its answer was given to the connection, or else when it ended.
    pub ended_at_ns: u64,
    /// What was done for it by a target, if one was asked.
    pub call: Option<CallRecord>,
    /// Its method.
    pub method: String,
    /// Whether it came by TLS.
    pub is_tls: bool,
    /// The host that it names, with its port if it names one; empty without.
    pub host: String,
    /// Its path, without the query.
    pub path: String,
    /// The version of HTTP that the client speaks.
    pub version: HttpVersion,
    /// Where it came from.
    pub client: IpAddr,
    /// The user agent that it names.
    pub user_agent: Option<String>,
    /// Its id, as the answer has it.
    pub request_id: String,
    /// Where it came to.
    pub listener: Name,
    /// The rule that decided on it, `NAMESPACE/NAME`; `service` or `default` where none did. Nothing if it did not come to that.
    pub decided_by: Option<String>,
    /// The target group that it was for, `NAMESPACE/NAME`.
    pub target_group: Option<String>,
    /// What the client was answered with; nothing if it left before.
    pub status: Option<u16>,
    /// Why nobody answered, or why the answer ended before its end, for people.
    pub error: Option<String>,
    /// Bytes of its body.
    pub received_bytes: u64,
    /// Bytes of the answer's body.
    pub sent_bytes: u64,
}

/// What targets did for one request: one of them, or several, one after the other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallRecord {
    /// The span that targets are told as their parent; never 0.
    pub span_id: u64,
    /// When the first of them was chosen.
    pub began_at_ns: u64,
    /// When one of them began to answer; nothing if none did.
    pub answered_at_ns: Option<u64>,
    /// The task or the address that was asked last.
    pub target: String,
    /// Its port, where that is a task that listens.
    pub port: Option<u16>,
    /// Whether it is spoken to by TLS.
    pub is_tls: bool,
    /// What it answered with.
    pub status: Option<u16>,
    /// Targets that were asked before it.
    pub retries: u32,
}

/// A version of HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum HttpVersion {
    /// HTTP/1.0.
    Http10,
    /// HTTP/1.1.
    Http11,
    /// HTTP/2.
    Http2,
}

impl HttpVersion {
    /// The version as text, as OpenTelemetry's conventions have it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http10 => "1.0",
            Self::Http11 => "1.1",
            Self::Http2 => "2",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_a_number_from_0_to_1() {
        for bad in ["", "-0.1", "1.1", "NaN", "inf", "half", "50%"] {
            let error = bad.parse::<SampleShare>().unwrap_err();
            assert!(error.contains("is not a share from 0 to 1"), "{error}");
        }
        assert_eq!("1".parse(), Ok(SampleShare::ALL));
        assert_eq!("1.0".parse(), Ok(SampleShare::ALL));
    }

    #[test]
    fn the_low_bits_of_an_id_decide() {
        let share = |text: &str| text.parse::<SampleShare>().unwrap();
        assert!(!share("0").takes(0) && share("1").takes(u128::MAX));
        let half = u128::from(u64::MAX / 2);
        assert!(share("0.5").takes(half) && !share("0.5").takes(half + 1));
        // The upper half of an id may be anything.
        assert!(share("0.5").takes(u128::MAX << 64) && !share("0.5").takes(u128::from(u64::MAX)));
        let ids = (0..1_000_u64).map(|number| u128::from(number.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
        let taken = ids.filter(|id| share("0.1").takes(*id)).count();
        assert!((80..120).contains(&taken), "{taken}");
    }
}

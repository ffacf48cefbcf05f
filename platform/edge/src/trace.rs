//! Which trace a request belongs to (W3C Trace Context, <https://www.w3.org/TR/trace-context/>): that of the client's
//! `traceparent`, if it names one, else one that begins here. Targets are told of it, with this load balancer as the parent
//! of what they do.
//!
//! It deliberately records nothing ([`crate::span`] does, where that is asked for), and reads nothing of `tracestate`, where
//! nothing is said to us: that passes as it came, or not at all where the trace is another. A trace that begins here has the
//! flag `sampled` only if it is recorded: it says that the caller keeps its part, and has every target keep its own of every
//! request.
//!
//! What always holds: what a target is told is of version 00 and valid, whatever the client said, and it names the trace that
//! the access log names.

use crate::chance::Chance;
use http::header::HeaderName;
use http::{HeaderMap, HeaderValue};
use std::ops::Range;

static TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
static TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// A `traceparent` of version 00 is as long; of later versions, one may be longer.
const LENGTH: usize = 55;
/// The digits of a trace's id.
const ID_LENGTH: usize = 32;
/// The digits of a parent's id.
const PARENT_LENGTH: usize = 16;
const VERSION: Range<usize> = 0..2;
const TRACE_ID: Range<usize> = 3..3 + ID_LENGTH;
const PARENT_ID: Range<usize> = 36..36 + PARENT_LENGTH;
const FLAGS: Range<usize> = 53..55;
/// Where the parts of one end.
const DASHES: [usize; 3] = [VERSION.end, TRACE_ID.end, PARENT_ID.end];

/// The caller may keep what it did for the request.
const SAMPLED: u8 = 1;
/// The trace's id is a random one (level 2 of the specification).
const RANDOM: u8 = 2;

/// The trace of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Trace {
    /// In hexadecimal digits.
    id: [u8; ID_LENGTH],
    flags: u8,
    /// The client's own part of it, if the client named the trace; in hexadecimal digits.
    parent: Option<[u8; PARENT_LENGTH]>,
}

impl Trace {
    /// The trace of a request with these headers. Who says `traceparent` twice has said nothing.
    pub(crate) fn of(headers: &HeaderMap, chance: &Chance) -> Self {
        let mut given = headers.get_all(&TRACEPARENT).iter();
        let continued = match (given.next(), given.next()) {
            (Some(given), None) => Self::parse(given.as_bytes()),
            (Some(_), Some(_)) | (None, _) => None,
        };
        continued.unwrap_or_else(|| Self::begin(chance))
    }

    /// A trace of its own.
    fn begin(chance: &Chance) -> Self {
        let mut trace = Self { id: [b'0'; ID_LENGTH], flags: 0, parent: None };
        let number = u128::from(chance.number()) << 64 | u128::from(chance.number());
        // An id of zeros is none.
        write_hex(&number.max(1).to_be_bytes(), &mut trace.id);
        trace
    }

    /// The trace that a client names, if it does so as the specification has it (section 3.2; 3.2.4 for versions to come).
    fn parse(text: &[u8]) -> Option<Self> {
        let (known, rest) = text.split_at_checked(LENGTH)?;
        // Upper case is not valid.
        let is_hex = |part: &[u8]| part.iter().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
        let is_zero = |part: &[u8]| part.iter().all(|digit| *digit == b'0');
        let parts = [VERSION, TRACE_ID, PARENT_ID, FLAGS].map(|part| &known[part]);
        let [version, id, parent, flags] = parts;
        let (ends, passed) = match version {
            b"ff" => (false, 0),
            b"00" => (rest.is_empty(), SAMPLED | RANDOM),
            // What else a later version says, nobody knows.
            _ => (matches!(rest, [] | [b'-', ..]), SAMPLED),
        };
        let is_valid = ends
            && DASHES.iter().all(|&place| known[place] == b'-')
            && parts.iter().all(|part| is_hex(part))
            && !is_zero(id)
            && !is_zero(parent);
        if !is_valid {
            return None;
        }
        let low = char::from(flags[1]).to_digit(16)?;
        let (id, parent) = (id.try_into().ok()?, parent.try_into().ok()?);
        Some(Self { id, flags: low as u8 & passed, parent: Some(parent) })
    }

    /// Its id: 32 hexadecimal digits.
    pub(crate) fn id(&self) -> &str {
        std::str::from_utf8(&self.id).unwrap_or_default()
    }

    /// The same as a number.
    pub(crate) fn number(&self) -> u128 {
        read_hex(&self.id)
    }

    /// The client's own part of it, if the client named the trace.
    pub(crate) fn parent(&self) -> Option<u64> {
        self.parent.map(|parent| read_hex(&parent) as u64)
    }

    /// Whether its caller keeps what it did for the request: the client if that named it, else who runs this.
    pub(crate) fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// It is recorded from here on.
    pub(crate) fn sample(&mut self) {
        self.flags |= SAMPLED;
    }

    /// Tells a target of it, with this as the parent: what is done here for the request.
    pub(crate) fn tell(&self, headers: &mut HeaderMap, parent: u64) {
        let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
        text[TRACE_ID].copy_from_slice(&self.id);
        // An id of zeros is none.
        write_hex(&parent.max(1).to_be_bytes(), &mut text[PARENT_ID]);
        text[LENGTH - 1] = b'0' + self.flags;
        let value = HeaderValue::from_bytes(&text).expect("digits and dashes make a header");
        headers.insert(&TRACEPARENT, value);
        if self.parent.is_none() {
            headers.remove(&TRACESTATE);
        }
    }
}

/// Writes bytes as hexadecimal digits, two for each.
fn write_hex(bytes: &[u8], text: &mut [u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for (byte, digits) in bytes.iter().zip(text.chunks_exact_mut(2)) {
        digits.copy_from_slice(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
    }
}

/// The number that hexadecimal digits are; of what is no digit, nothing.
fn read_hex(text: &[u8]) -> u128 {
    let digits = text.iter().filter_map(|digit| char::from(*digit).to_digit(16));
    digits.fold(0, |number, digit| number << 4 | u128::from(digit))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const PARENT: &str = "00f067aa0ba902b7";

    fn map(headers: &[(&'static str, &[u8])]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_bytes(value).unwrap());
        }
        map
    }

    /// What a target is told: the trace's id, the parent's, the flags.
    fn told(trace: &Trace, headers: &mut HeaderMap) -> (String, String, String) {
        trace.tell(headers, Chance::new(5).number());
        let text = headers[&TRACEPARENT].to_str().unwrap();
        let [version, id, parent, flags]: [&str; 4] = text.split('-').collect::<Vec<_>>().try_into().unwrap();
        assert_eq!((text.len(), version, headers.get_all(&TRACEPARENT).iter().count()), (LENGTH, "00", 1));
        (id.to_owned(), parent.to_owned(), flags.to_owned())
    }

    /// With these flags for the target if the trace is continued.
    #[track_caller]
    fn check(given: &str, continued: Option<&str>) {
        let mut headers = map(&[("traceparent", given.as_bytes()), ("tracestate", b"a=1,b=2")]);
        let trace = Trace::of(&headers, &Chance::new(1));
        let (id, parent, flags) = told(&trace, &mut headers);
        assert_eq!(id, trace.id());
        assert_ne!(parent, PARENT, "{given:?}");
        match continued {
            Some(expected) => {
                assert_eq!((id.as_str(), flags.as_str()), (ID, expected), "{given:?}");
                assert_eq!(headers["tracestate"], "a=1,b=2");
            }
            None => {
                assert_eq!((id == ID, flags.as_str()), (false, "00"), "{given:?} was taken");
                assert!(!headers.contains_key("tracestate"), "{given:?}");
            }
        }
    }

    #[test]
    fn a_valid_parent_is_continued() {
        check(&format!("00-{ID}-{PARENT}-01"), Some("01"));
        check(&format!("00-{ID}-{PARENT}-00"), Some("00"));
        // Of the flags, those that are known are passed on.
        check(&format!("00-{ID}-{PARENT}-03"), Some("03"));
        check(&format!("00-{ID}-{PARENT}-ff"), Some("03"));
        check(&format!("00-{ID}-{PARENT}-fc"), Some("00"));
    }

    #[test]
    fn of_a_later_version_what_is_known_counts() {
        check(&format!("01-{ID}-{PARENT}-01"), Some("01"));
        check(&format!("cc-{ID}-{PARENT}-ff"), Some("01"));
        check(&format!("fe-{ID}-{PARENT}-00-what-else-There: Is"), Some("00"));
        check(&format!("cc-{ID}-{PARENT}-01-"), Some("01"));
        for bad in ["01.more", "01more", "0", "011"] {
            check(&format!("cc-{ID}-{PARENT}-{bad}"), None);
        }
    }

    #[test]
    fn what_is_not_valid_begins_another_trace() {
        let zeros = "0".repeat(32);
        for bad in [
            String::new(),
            "00".to_owned(),
            ID.to_owned(),
            format!("ff-{ID}-{PARENT}-01"),
            format!("00-{zeros}-{PARENT}-01"),
            format!("00-{ID}-{}-01", &zeros[16..]),
            format!("00-{ID}-{PARENT}"),
            format!("00-{ID}-{PARENT}-"),
            format!("00-{ID}-{PARENT}-1"),
            format!("00-{ID}-{PARENT}-011"),
            format!("00-{ID}-{PARENT}-01-more"),
            format!("00-{ID}-{PARENT}-01 "),
            format!("00-{}-{PARENT}-01", &ID[1..]),
            format!("00-{ID}0-{PARENT}-01"),
            format!("00-{ID}-{}-01", &PARENT[1..]),
            format!("0-{ID}-{PARENT}-01"),
            format!("000-{ID}-{PARENT}-01"),
            format!("00-{}-{PARENT}-01", ID.to_uppercase()),
            format!("00-{ID}-{}-01", PARENT.to_uppercase()),
            format!("00-{ID}-{PARENT}-0A"),
            format!("0X-{ID}-{PARENT}-01"),
            format!("00_{ID}-{PARENT}-01"),
            format!("00-{ID}_{PARENT}-01"),
            format!("00-{ID}-{PARENT}_01"),
            format!("00-{}g-{PARENT}-01", &ID[1..]),
        ] {
            check(&bad, None);
        }
    }

    #[test]
    fn two_parents_are_none_and_without_one_there_is_no_state() {
        let parent = format!("00-{ID}-{PARENT}-01");
        for given in [&[("traceparent", parent.as_bytes()); 2][..], &[]] {
            let mut headers = map(given);
            headers.append("tracestate", HeaderValue::from_static("a=1"));
            let trace = Trace::of(&headers, &Chance::new(1));
            assert_ne!(told(&trace, &mut headers).0, ID);
            assert!(!headers.contains_key("tracestate"));
        }
    }

    #[test]
    fn ids_are_numbers_too_and_a_trace_that_is_recorded_says_so() {
        let mut headers = map(&[("traceparent", format!("00-{ID}-{PARENT}-02").as_bytes())]);
        let mut trace = Trace::of(&headers, &Chance::new(1));
        assert_eq!(trace.number(), u128::from_str_radix(ID, 16).unwrap());
        assert_eq!(trace.parent(), u64::from_str_radix(PARENT, 16).ok());
        assert!(!trace.is_sampled());
        trace.sample();
        assert!(trace.is_sampled());
        trace.tell(&mut headers, 0xab);
        assert_eq!(headers[&TRACEPARENT], format!("00-{ID}-00000000000000ab-03"));
        let begun = Trace::of(&HeaderMap::new(), &Chance::new(1));
        assert_eq!((begun.parent(), begun.is_sampled()), (None, false));
        assert_eq!(format!("{:032x}", begun.number()), begun.id());
    }

    #[test]
    fn a_state_in_several_lines_passes_as_it_came() {
        let parent = format!("00-{ID}-{PARENT}-01");
        let mut headers =
            map(&[("traceparent", parent.as_bytes()), ("tracestate", b"a=1"), ("tracestate", b"b=2")]);
        let trace = Trace::of(&headers, &Chance::new(1));
        told(&trace, &mut headers);
        assert_eq!(headers.get_all("tracestate").iter().collect::<Vec<_>>(), ["a=1", "b=2"]);
    }

    #[test]
    fn each_request_has_a_trace_and_a_parent_of_its_own() {
        let chance = Chance::new(1);
        let mut seen = std::collections::HashSet::new();
        for _ in 0..1_000 {
            let mut headers = HeaderMap::new();
            let trace = Trace::of(&headers, &chance);
            trace.tell(&mut headers, chance.number());
            let text = headers[&TRACEPARENT].to_str().unwrap().to_owned();
            assert!(seen.insert(text[TRACE_ID].to_owned()) && seen.insert(text[PARENT_ID].to_owned()));
        }
    }

    proptest! {
        #[test]
        fn whatever_a_client_says_a_target_is_told_what_is_valid(
            given in prop_oneof![
                "[ -~]{0,80}",
                "[0-9a-fA-F]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-.{0,9})?",
            ]
        ) {
            prop_assume!(HeaderValue::from_bytes(given.as_bytes()).is_ok());
            let mut headers = map(&[("traceparent", given.as_bytes())]);
            let trace = Trace::of(&headers, &Chance::new(1));
            trace.tell(&mut headers, Chance::new(2).number());
            let told = Trace::parse(headers[&TRACEPARENT].as_bytes()).unwrap();
            prop_assert_eq!(told, Trace { parent: told.parent, ..trace });
            prop_assert_eq!(told.parent(), Some(Chance::new(2).number()));
            prop_assert!(trace.parent.is_none() || given[TRACE_ID] == *trace.id());
        }
    }
}

//! The heads of requests between tasks, and of those to the outside: what the platform says in them, and what a guest may
//! not.
//!
//! Most headers of one hop can't be set by guests at all (`wasi:http` forbids them); those left are taken out here.

use http::header::{CONTENT_LENGTH, EXPECT, TE};
use http::{HeaderMap, HeaderValue};
use skiff_ports::invoke::{CALLER_HEADER, HOPS_HEADER, HOPS_MAX, hops};
use wasmtime_wasi_http::Error;

/// Makes the head of a request what the called task may see: `caller` says who calls.
///
/// # Errors
/// `LoopDetected` if too many calls led here.
pub(crate) fn for_a_task(headers: &mut HeaderMap, caller: &HeaderValue) -> Result<(), Error> {
    let hops = hops(headers).saturating_add(1);
    if hops > HOPS_MAX {
        return Err(Error::LoopDetected);
    }
    strip(headers);
    // Whoever reads the body answers it.
    headers.remove(EXPECT);
    headers.remove(TE);
    headers.insert(&CALLER_HEADER, caller.clone());
    headers.insert(&HOPS_HEADER, HeaderValue::from(hops));
    Ok(())
}

/// Makes the head of a request what a stranger may see, who is told nothing of the platform.
pub(crate) fn for_a_stranger(headers: &mut HeaderMap) {
    strip(headers);
    // All that is left of it in HTTP/2 (RFC 9113, section 8.2.2), and what HTTP/1.1 does without.
    if headers.get(TE).is_some_and(|te| !te.as_bytes().eq_ignore_ascii_case(b"trailers")) {
        headers.remove(TE);
    }
}

/// How much they are as text, in bytes.
pub(crate) fn bytes(headers: &HeaderMap) -> usize {
    headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum()
}

/// How long a body is to be, where they say so; in the heads of guests, `wasi:http` lets that be one number only.
pub(crate) fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn strip(headers: &mut HeaderMap) {
    headers.remove(&CALLER_HEADER);
    headers.remove(&HOPS_HEADER);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(headers: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_static(value));
        }
        map
    }

    fn caller() -> HeaderValue {
        HeaderValue::from_static("default/shop; task=1")
    }

    #[test]
    fn a_guest_can_not_say_who_it_is() {
        let mut headers = map(&[
            ("skiff-caller", "default/admin; task=0"),
            ("skiff-caller", "default/other; task=0"),
            ("te", "trailers"),
            ("expect", "100-continue"),
            ("accept", "*/*"),
        ]);
        for_a_task(&mut headers, &caller()).unwrap();
        let expected = [("accept", "*/*"), ("skiff-caller", "default/shop; task=1"), ("skiff-hops", "1")];
        assert_eq!(headers, map(&expected));
    }

    #[test]
    fn a_circle_of_calls_ends() {
        let mut headers = HeaderMap::new();
        for hops in 1..=HOPS_MAX {
            for_a_task(&mut headers, &caller()).unwrap();
            assert_eq!(headers["skiff-hops"], hops.to_string());
        }
        assert!(matches!(for_a_task(&mut headers, &caller()), Err(Error::LoopDetected)));
        let mut many = map(&[("skiff-hops", "3"), ("skiff-hops", "many")]);
        assert!(matches!(for_a_task(&mut many, &caller()), Err(Error::LoopDetected)));
    }

    #[test]
    fn a_stranger_is_told_nothing_of_the_platform() {
        let mut headers =
            map(&[("skiff-caller", "a"), ("skiff-hops", "1"), ("te", "trailers"), ("accept", "*/*")]);
        for_a_stranger(&mut headers);
        assert_eq!(headers, map(&[("te", "trailers"), ("accept", "*/*")]));
        let mut headers = map(&[("te", "gzip")]);
        for_a_stranger(&mut headers);
        assert_eq!(headers, HeaderMap::new());
    }
}

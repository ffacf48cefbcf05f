//! gRPC, as far as the load balancer has to know it: which requests are of it, and how it answers one itself.
//!
//! A client of gRPC looks at trailers, not at HTTP's status: so where a target group's targets speak gRPC, it is told in
//! that way why none of them answered (gRPC over HTTP/2, "Trailers-Only"). It deliberately reads no message.

use crate::refusal::Refusal;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

static STATUS: HeaderName = HeaderName::from_static("grpc-status");
static MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// What a body of gRPC is, before what it is made of (`+proto`, for one).
const KIND: &str = "application/grpc";

// Codes of gRPC (https://grpc.io/docs/guides/status-codes/).
const DEADLINE_EXCEEDED: u16 = 4;
const RESOURCE_EXHAUSTED: u16 = 8;
const UNIMPLEMENTED: u16 = 12;
const INTERNAL: u16 = 13;
const UNAVAILABLE: u16 = 14;

/// Whether these headers are of a request of gRPC. gRPC-Web is not: it is made for HTTP/1.1.
pub(crate) fn is_asked(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).map_or(&[][..], HeaderValue::as_bytes);
    match kind.split_at_checked(KIND.len()) {
        Some((kind, rest)) => {
            kind.eq_ignore_ascii_case(KIND.as_bytes()) && matches!(rest.first(), None | Some(b'+' | b';'))
        }
        None => false,
    }
}

/// The code that a target answered a call with, said in these headers or trailers.
pub(crate) fn status(headers: &HeaderMap) -> Option<u16> {
    headers.get(&STATUS)?.to_str().ok()?.parse().ok()
}

/// The code of gRPC for a status with which the load balancer would answer others: nothing of the kind was done by a target.
fn code(status: StatusCode) -> u16 {
    match status.as_u16() {
        408 | 504 => DEADLINE_EXCEEDED,
        413 | 429 | 431 => RESOURCE_EXHAUSTED,
        404 | 464 | 501 => UNIMPLEMENTED,
        400 => INTERNAL,
        _ => UNAVAILABLE,
    }
}

/// The headers of an answer without a body, which tell a client of gRPC why no target answered.
pub(crate) fn refusal_headers(refusal: &Refusal, message: &str) -> HeaderMap {
    let mut headers = refusal.headers();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(KIND));
    headers.insert(&STATUS, HeaderValue::from(code(refusal.status())));
    if let Ok(message) = HeaderValue::try_from(encoded(message)) {
        headers.insert(&MESSAGE, message);
    }
    headers
}

/// A message as `grpc-message` has it: what is not printable ASCII, and the percent sign, in percent-encoding.
fn encoded(message: &str) -> String {
    let mut text = String::with_capacity(message.len());
    for byte in message.bytes() {
        match byte {
            b'%' => text.push_str("%25"),
            b' '..=b'~' => text.push(char::from(byte)),
            _ => text.push_str(&format!("%{byte:02X}")),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use skiff_ports::connect::ConnectError;

    #[test]
    fn a_request_is_of_grpc_by_its_kind_of_body() {
        for (kind, expected) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("Application/gRPC;charset=x", true),
            ("application/grpc-web+proto", false),
            ("application/json", false),
            ("", false),
        ] {
            let mut headers = HeaderMap::new();
            assert!(!is_asked(&headers));
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
            assert_eq!(is_asked(&headers), expected, "{kind:?}");
        }
    }

    #[test]
    fn each_refusal_has_a_code() {
        for (refusal, expected) in [
            (Refusal::NoTarget { service: "a/b".to_owned() }, "14"),
            (Refusal::BrokeOff, "14"),
            (Refusal::Connect(ConnectError::Refused), "14"),
            (Refusal::NoAnswer { limit_ms: 7 }, "4"),
            (Refusal::BodyTooLarge { limit_bytes: 7 }, "8"),
            (Refusal::Incompatible("x"), "12"),
            (Refusal::NotSupported("x"), "12"),
            (Refusal::Malformed("x"), "13"),
        ] {
            let headers = refusal_headers(&refusal, "50 % – so");
            assert_eq!(headers[&STATUS], expected, "{refusal}");
            assert_eq!(headers[&MESSAGE], "50 %25 %E2%80%93 so");
            assert_eq!(headers[CONTENT_TYPE], "application/grpc");
        }
    }
}

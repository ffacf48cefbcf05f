//! What an intermediary does to headers: strips those of one hop, and those that only the platform writes; says where a
//! request came from, names it.

use http::header::{
    CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, HOST, HeaderName, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderValue};
use skiff_ports::invoke::{CALLER_HEADER, HOPS_HEADER};
use std::cell::Cell;

pub(crate) static REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
static FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
static FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
static FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
static KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
static PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// Headers that every request is given on its way: three of [`Forwarded`], its id, and its trace.
const GIVEN: usize = 5;
/// Longest request id that is kept, in bytes.
const REQUEST_ID_LENGTH_MAX: usize = 128;
/// Of one that is made here.
pub(crate) const REQUEST_ID_LENGTH: usize = 32;

/// Takes out what is meant for one hop: RFC 9110, section 7.6.1, with what `Connection` names.
pub(crate) fn strip_hop_by_hop(headers: &mut HeaderMap) {
    if headers.contains_key(CONNECTION) {
        for name in named_by_connection(headers) {
            headers.remove(name);
        }
        headers.remove(CONNECTION);
    }
    headers.remove(&KEEP_ALIVE);
    headers.remove(&PROXY_CONNECTION);
    headers.remove(TE);
    headers.remove(TRANSFER_ENCODING);
    headers.remove(UPGRADE);
}

/// Takes out of trailers what means something in a head alone: to whoever takes them for headers, it would say how a message
/// is framed, whose it is, or what the platform says of it (RFC 9110, section 6.5.1).
pub(crate) fn strip_of_heads(trailers: &mut HeaderMap) {
    strip_hop_by_hop(trailers);
    for name in [CONTENT_LENGTH, EXPECT, HOST, TRAILER] {
        trailers.remove(name);
    }
    for name in [&FORWARDED_FOR, &FORWARDED_PROTO, &FORWARDED_PORT, &REQUEST_ID] {
        trailers.remove(name);
    }
    strip_of_calls(trailers);
}

/// Whether who sends these headers takes trailers (RFC 9110, section 10.1.4).
pub(crate) fn takes_trailers(headers: &HeaderMap) -> bool {
    let codings = headers.get_all(TE).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    codings.map(<[u8]>::trim_ascii).any(|coding| coding.eq_ignore_ascii_case(b"trailers"))
}

/// Makes room for what a request is given, at once: bit by bit, a map grows more often.
pub(crate) fn make_room(headers: &mut HeaderMap) {
    headers.reserve(GIVEN);
}

/// Takes out what a client may not say, since a guest takes it for the platform's word: that a task calls.
pub(crate) fn strip_of_calls(headers: &mut HeaderMap) {
    headers.remove(&CALLER_HEADER);
    headers.remove(&HOPS_HEADER);
}

/// The headers that `Connection` names, but for those without which the message would be another.
fn named_by_connection(headers: &HeaderMap) -> Vec<HeaderName> {
    let values = headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
    let options = values.flat_map(|value| value.split(',')).map(str::trim);
    let names = options
        .filter(|option| !option.eq_ignore_ascii_case("close") && !option.eq_ignore_ascii_case("keep-alive"));
    names
        .filter_map(|name| HeaderName::from_bytes(name.as_bytes()).ok())
        .filter(|name| *name != HOST && *name != CONTENT_LENGTH)
        .collect()
}

/// The other protocols that a client asks for, as a value of `Upgrade`; none where `Connection` does not name that:
/// an intermediary before us passed it on unknowing then (RFC 9110, section 7.8), and takes what follows for HTTP.
///
/// `h2c` is never among them: it may be ignored, many clients ask for it unasked, and what a client says inside of it
/// would not come by here.
pub(crate) fn upgrade_asked(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut values = headers.get_all(UPGRADE).iter().peekable();
    values.peek()?;
    if !named_by_connection(headers).into_iter().any(|name| name == UPGRADE) {
        return None;
    }
    let asked: Vec<&[u8]> = values
        .flat_map(protocols)
        .filter(|protocol| !protocol.is_empty() && !protocol.eq_ignore_ascii_case(b"h2c"))
        .collect();
    if asked.is_empty() { None } else { HeaderValue::from_bytes(&asked.join(&b", "[..])).ok() }
}

/// The protocol that a task changes to, if it is one that it was asked for.
pub(crate) fn upgrade_agreed(asked: &HeaderValue, headers: &HeaderMap) -> Option<HeaderValue> {
    let agreed = headers.get(UPGRADE)?;
    let name = agreed.as_bytes().trim_ascii();
    protocols(asked).any(|protocol| protocol.eq_ignore_ascii_case(name)).then(|| agreed.clone())
}

/// The protocols of a value of `Upgrade`.
fn protocols(value: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii)
}

/// The facts of the listener that every request is told.
#[derive(Debug)]
pub(crate) struct Forwarded {
    pub(crate) proto: HeaderValue,
    pub(crate) port: HeaderValue,
}

impl Forwarded {
    /// Says who asked, how and on which port; appends to what proxies before us said of the client.
    pub(crate) fn add(&self, headers: &mut HeaderMap, client: &HeaderValue) {
        let mut chain = Vec::new();
        for earlier in headers.get_all(&FORWARDED_FOR) {
            chain.extend_from_slice(earlier.as_bytes());
            chain.extend_from_slice(b", ");
        }
        let chain = if chain.is_empty() {
            client.clone()
        } else {
            chain.extend_from_slice(client.as_bytes());
            HeaderValue::from_maybe_shared(bytes::Bytes::from(chain)).unwrap_or_else(|_| client.clone())
        };
        headers.insert(&FORWARDED_FOR, chain);
        headers.insert(&FORWARDED_PROTO, self.proto.clone());
        headers.insert(&FORWARDED_PORT, self.port.clone());
    }
}

/// Makes what came over HTTP/2 or in absolute form look like any request: one `Host`, one `Cookie`.
pub(crate) fn unify(headers: &mut HeaderMap, authority: Option<&str>) {
    if let Some(authority) = authority
        && headers.get(HOST).is_none_or(|host| host != authority)
        && let Ok(host) = HeaderValue::from_str(authority)
    {
        headers.insert(HOST, host);
    }
    // RFC 9113, section 8.2.3: HTTP/2 may split cookies over several headers.
    if headers.get_all(COOKIE).iter().nth(1).is_some() {
        let crumbs: Vec<&[u8]> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
        if let Ok(cookie) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..])) {
            headers.insert(COOKIE, cookie);
        }
    }
    // Whoever reads the body answers it: hyper does.
    headers.remove(EXPECT);
}

/// Bytes of names and values.
pub(crate) fn bytes(headers: &HeaderMap) -> usize {
    headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum()
}

/// The length that a response claims: an error if it claims two, or one that is no number.
pub(crate) fn content_length(headers: &HeaderMap) -> Result<Option<u64>, ()> {
    let mut length = None;
    for value in headers.get_all(CONTENT_LENGTH) {
        let text = value.to_str().map_err(drop)?;
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let value: u64 = if digits { text.parse().map_err(drop)? } else { return Err(()) };
        if length.replace(value).is_some() {
            return Err(());
        }
    }
    Ok(length)
}

/// Makes request ids: a random part for each worker's life, and a count.
#[derive(Debug)]
pub(crate) struct RequestIds {
    prefix: u64,
    count: Cell<u64>,
}

impl RequestIds {
    pub(crate) fn new(prefix: u64) -> Self {
        Self { prefix, count: Cell::new(0) }
    }

    /// The id that the client gave, if it is a sane one, else a new one of 32 hexadecimal digits.
    pub(crate) fn of(&self, headers: &HeaderMap) -> HeaderValue {
        match headers.get(&REQUEST_ID) {
            Some(given) if Self::is_sane(given.as_bytes()) => given.clone(),
            _ => self.make(),
        }
    }

    /// The same where the header was not made one yet.
    pub(crate) fn given_or_new(&self, given: Option<&[u8]>) -> HeaderValue {
        let sane = given.filter(|given| Self::is_sane(given));
        sane.and_then(|given| HeaderValue::from_bytes(given).ok()).unwrap_or_else(|| self.make())
    }

    fn is_sane(id: &[u8]) -> bool {
        let known = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:=+/".contains(byte);
        (1..=REQUEST_ID_LENGTH_MAX).contains(&id.len()) && id.iter().all(known)
    }

    fn make(&self) -> HeaderValue {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let count = self.count.get();
        self.count.set(count.wrapping_add(1));
        let value = u128::from(self.prefix) << 64 | u128::from(count);
        let digit = |place: usize| DIGITS[(value >> (124 - 4 * place)) as usize & 15];
        let text: [u8; REQUEST_ID_LENGTH] = std::array::from_fn(digit);
        HeaderValue::from_bytes(&text).expect("hexadecimal digits make a header")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(headers: &[(&str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
        }
        map
    }

    #[test]
    fn what_is_meant_for_one_hop_is_stripped() {
        let mut headers = map(&[
            ("connection", "Keep-Alive, X-Secret,, host"),
            ("connection", "x-other, bad name, content-length"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "keep-alive"),
            ("te", "trailers"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("x-secret", "1"),
            ("x-other", "2"),
            ("host", "a"),
            ("content-length", "5"),
            ("accept", "*/*"),
        ]);
        strip_hop_by_hop(&mut headers);
        assert_eq!(headers, map(&[("host", "a"), ("content-length", "5"), ("accept", "*/*")]));
    }

    #[test]
    fn trailers_say_nothing_that_a_head_says() {
        let mut trailers = map(&[
            ("grpc-status", "0"),
            ("Connection", "x-hop"),
            ("x-hop", "1"),
            ("content-length", "7"),
            ("transfer-encoding", "chunked"),
            ("host", "other"),
            ("trailer", "x"),
            ("te", "trailers"),
            ("expect", "100-continue"),
            ("x-forwarded-for", "1.2.3.4"),
            ("x-request-id", "mine"),
            ("skiff-caller", "default/shop; task=1"),
            ("x-sum", "7"),
        ]);
        strip_of_heads(&mut trailers);
        assert_eq!(trailers, map(&[("grpc-status", "0"), ("x-sum", "7")]));
    }

    #[test]
    fn trailers_are_taken_by_who_says_so() {
        for (said, expected) in [
            (&[][..], false),
            (&[("te", "trailers")][..], true),
            (&[("te", "gzip;q=0.5, Trailers")][..], true),
            (&[("te", "gzip"), ("te", " trailers")][..], true),
            (&[("te", "trailers;q=0")][..], false),
            (&[("te", "gzip")][..], false),
        ] {
            assert_eq!(takes_trailers(&map(said)), expected, "{said:?}");
        }
    }

    #[test]
    fn nobody_outside_can_say_that_a_task_calls() {
        let mut headers = map(&[
            ("skiff-caller", "default/shop; task=1"),
            ("Skiff-Caller", "default/shop; task=2"),
            ("skiff-hops", "1"),
            ("skiff-caller-id", "the client's own"),
        ]);
        strip_of_calls(&mut headers);
        assert_eq!(headers, map(&[("skiff-caller-id", "the client's own")]));
    }

    #[test]
    fn the_client_is_appended_to_those_before_it() {
        let forwarded = Forwarded { proto: Proto::Http.header(), port: HeaderValue::from_static("8080") };
        let client = HeaderValue::from_static("10.0.0.9");
        let mut headers = HeaderMap::new();
        forwarded.add(&mut headers, &client);
        assert_eq!(headers["x-forwarded-for"], "10.0.0.9");
        let mut headers = map(&[
            ("x-forwarded-for", "1.1.1.1, 2.2.2.2"),
            ("x-forwarded-for", "3.3.3.3"),
            ("x-forwarded-proto", "gopher"),
            ("x-forwarded-port", "1"),
        ]);
        forwarded.add(&mut headers, &client);
        let expected = map(&[
            ("x-forwarded-for", "1.1.1.1, 2.2.2.2, 3.3.3.3, 10.0.0.9"),
            ("x-forwarded-proto", "http"),
            ("x-forwarded-port", "8080"),
        ]);
        assert_eq!(headers, expected);
    }

    use crate::Proto;

    #[test]
    fn a_sane_request_id_is_kept_and_another_replaced() {
        let ids = RequestIds::new(0xabcd);
        for sane in ["a", "550e8400-e29b-41d4-a716-446655440000", &"x".repeat(128)] {
            assert_eq!(ids.of(&map(&[("x-request-id", sane)])), sane);
        }
        let mut seen = std::collections::HashSet::new();
        for other in ["", "a b", "\"", "<script>", &"x".repeat(129)] {
            let made = ids.of(&map(&[("x-request-id", other)]));
            assert!(made.to_str().unwrap().starts_with("000000000000abcd"), "{made:?}");
            assert!(made.len() == 32 && seen.insert(made));
        }
    }

    #[test]
    fn cookies_and_host_are_made_one() {
        let mut headers = map(&[("cookie", "a=1"), ("cookie", "b=2"), ("expect", "100-continue")]);
        unify(&mut headers, Some("a.example:80"));
        assert_eq!(headers, map(&[("cookie", "a=1; b=2"), ("host", "a.example:80")]));
    }

    #[test]
    fn a_content_length_is_one_number() {
        assert_eq!(content_length(&map(&[])), Ok(None));
        assert_eq!(content_length(&map(&[("content-length", "12")])), Ok(Some(12)));
        for bad in ["", "x", "-1", "+1", "1,1", "99999999999999999999999"] {
            assert_eq!(content_length(&map(&[("content-length", bad)])), Err(()), "{bad:?}");
        }
        assert_eq!(content_length(&map(&[("content-length", "1"), ("content-length", "1")])), Err(()));
    }

    #[test]
    fn h2c_is_never_asked_for() {
        for nothing in [&[][..], &[("upgrade", "h2c")], &[("upgrade", " H2C ,, h2c")], &[("upgrade", "")]] {
            let headers = map(&[&[("connection", "upgrade")][..], nothing].concat());
            assert_eq!(upgrade_asked(&headers), None, "{nothing:?}");
        }
        let asked = |headers: &[(&str, &str)]| {
            upgrade_asked(&map(&[&[("connection", "keep-alive, Upgrade")][..], headers].concat())).unwrap()
        };
        assert_eq!(asked(&[("upgrade", "websocket")]), "websocket");
        assert_eq!(asked(&[("upgrade", "h2c"), ("upgrade", "WebSocket")]), "WebSocket");
        assert_eq!(asked(&[("upgrade", "a/1, h2c,b"), ("upgrade", "c")]), "a/1, b, c");
    }

    #[test]
    fn what_an_intermediary_passed_on_unknowing_asks_for_nothing() {
        for connection in [&[][..], &[("connection", "keep-alive")]] {
            assert_eq!(upgrade_asked(&map(&[connection, &[("upgrade", "websocket")]].concat())), None);
        }
    }

    #[test]
    fn a_task_changes_to_what_it_was_asked_for_only() {
        let asked = HeaderValue::from_static("chat/1, websocket");
        let agreed = |headers: &[(&str, &str)]| upgrade_agreed(&asked, &map(headers));
        assert_eq!(agreed(&[("upgrade", "WebSocket")]).unwrap(), "WebSocket");
        assert_eq!(agreed(&[("upgrade", "chat/1")]).unwrap(), "chat/1");
        for other in [&[][..], &[("upgrade", "h2c")], &[("upgrade", "")], &[("upgrade", "chat")]] {
            assert_eq!(agreed(other), None, "{other:?}");
        }
    }
}

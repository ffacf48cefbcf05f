//! What the load balancer does to the headers of requests and answers: each step does what it says to the headers that it is
//! about, and leaves all others as they are.
//!
//! The first line of an input is the authority of the request's target, the others are headers, `NAME:VALUE`; what can't be
//! one is passed over. What is expected is written down here a second time, over names and values alone.

use http::{HeaderMap, HeaderName, HeaderValue};
use skiff_edge::fuzzed;
use std::collections::BTreeMap;

/// Headers of one input; the load balancer takes no more.
const HEADERS_MAX: usize = 100;
/// What is meant for one hop, whatever `Connection` says.
const OF_ONE_HOP: [&str; 6] =
    ["connection", "keep-alive", "proxy-connection", "te", "transfer-encoding", "upgrade"];
/// What `Connection` takes out under no circumstances, and what it says that is no header.
const KEPT: [&str; 4] = ["host", "content-length", "close", "keep-alive"];
/// What only the platform says.
const OF_CALLS: [&str; 2] = ["skiff-caller", "skiff-hops"];
/// What else means something in a head, and nothing in trailers.
const OF_HEADS: [&str; 8] = [
    "content-length",
    "expect",
    "host",
    "trailer",
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-port",
    "x-request-id",
];
const REQUEST_ID_LENGTH_MAX: usize = 128;

/// The values of each header, in their order.
type Model = BTreeMap<String, Vec<Vec<u8>>>;

/// Does to the input all that is done to headers.
pub(crate) fn run(input: &[u8]) {
    let mut lines = input.split(|byte| *byte == b'\n');
    let authority = str::from_utf8(lines.next().unwrap_or_default()).ok().filter(|text| !text.is_empty());
    let headers: HeaderMap = lines.filter_map(header).take(HEADERS_MAX).collect();
    let model = model(&headers);
    stripped(&headers, &model);
    unified(&headers, &model, authority);
    forwarded(&headers, &model);
    upgraded(&headers, &model);
    traced(&headers, &model);
    named(&headers, &model);
    measured(&headers, &model);
    together(headers, authority);
}

fn header(line: &[u8]) -> Option<(HeaderName, HeaderValue)> {
    let colon = line.iter().position(|byte| *byte == b':')?;
    let name = HeaderName::from_bytes(&line[..colon]).ok()?;
    Some((name, HeaderValue::from_bytes(&line[colon + 1..]).ok()?))
}

fn model(headers: &HeaderMap) -> Model {
    let mut model = Model::new();
    for (name, value) in headers {
        model.entry(name.as_str().to_owned()).or_default().push(value.as_bytes().to_vec());
    }
    model
}

/// The values of one header.
fn of<'a>(model: &'a Model, name: &str) -> &'a [Vec<u8>] {
    model.get(name).map_or(&[], Vec::as_slice)
}

/// The parts of values between commas.
fn parts(values: &[Vec<u8>]) -> impl Iterator<Item = &[u8]> {
    values.iter().flat_map(|value| value.split(|byte| *byte == b',')).map(<[u8]>::trim_ascii)
}

/// What `Connection` names, in lower case. A value that is no text names nothing.
fn options(model: &Model) -> Vec<String> {
    let is_text = |value: &&Vec<u8>| value.iter().all(|byte| matches!(byte, b'\t' | b' '..=b'~'));
    let values: Vec<Vec<u8>> = of(model, "connection").iter().filter(is_text).cloned().collect();
    parts(&values).map(|part| String::from_utf8_lossy(part).to_ascii_lowercase()).collect()
}

/// What was done to a copy of the headers.
fn done(headers: &HeaderMap, what: impl FnOnce(&mut HeaderMap)) -> Model {
    let mut headers = headers.clone();
    what(&mut headers);
    model(&headers)
}

fn stripped(headers: &HeaderMap, model: &Model) {
    let options = options(model);
    let is_of_one_hop = |name: &str| {
        let is_named = options.iter().any(|option| option == name) && !KEPT.contains(&name);
        OF_ONE_HOP.contains(&name) || is_named
    };
    let mut expected = model.clone();
    expected.retain(|name, _| !is_of_one_hop(name));
    assert_eq!(done(headers, fuzzed::strip_hop_by_hop), expected);
    let mut expected = model.clone();
    expected.retain(|name, _| !OF_CALLS.contains(&name.as_str()));
    assert_eq!(done(headers, fuzzed::strip_of_calls), expected);
    expected.retain(|name, _| !is_of_one_hop(name) && !OF_HEADS.contains(&name.as_str()));
    assert_eq!(done(headers, fuzzed::strip_of_heads), expected);
    let takes_trailers = parts(of(model, "te")).any(|coding| coding.eq_ignore_ascii_case(b"trailers"));
    assert_eq!(fuzzed::takes_trailers(headers), takes_trailers);
}

fn unified(headers: &HeaderMap, model: &Model, authority: Option<&str>) {
    let mut expected = model.clone();
    expected.remove("expect");
    let crumbs = of(model, "cookie");
    if crumbs.len() > 1 {
        expected.insert("cookie".to_owned(), vec![crumbs.join(&b"; "[..])]);
    }
    if let Some(authority) = authority.filter(|text| HeaderValue::from_str(text).is_ok())
        && of(model, "host").first().is_none_or(|host| *host != authority.as_bytes())
    {
        expected.insert("host".to_owned(), vec![authority.as_bytes().to_vec()]);
    }
    assert_eq!(done(headers, |headers| fuzzed::unify(headers, authority)), expected);
}

fn forwarded(headers: &HeaderMap, model: &Model) {
    let [client, proto, port] = ["10.0.0.9", "https", "443"].map(HeaderValue::from_static);
    let mut chain = of(model, "x-forwarded-for").to_vec();
    chain.push(client.as_bytes().to_vec());
    let mut expected = model.clone();
    for (name, value) in
        [("for", chain.join(&b", "[..])), ("proto", b"https".to_vec()), ("port", b"443".to_vec())]
    {
        expected.insert(format!("x-forwarded-{name}"), vec![value]);
    }
    assert_eq!(done(headers, |headers| fuzzed::forward(headers, &client, proto, port)), expected);
}

fn upgraded(headers: &HeaderMap, model: &Model) {
    let values = of(model, "upgrade");
    let is_meant = |part: &&[u8]| !part.is_empty() && !part.eq_ignore_ascii_case(b"h2c");
    let asked: Vec<&[u8]> = parts(values).filter(is_meant).collect();
    let is_asked = !asked.is_empty() && options(model).iter().any(|option| option == "upgrade");
    let expected = is_asked.then(|| asked.join(&b", "[..]));
    let found = fuzzed::upgrade_asked(headers);
    assert_eq!(found.as_ref().map(HeaderValue::as_bytes), expected.as_deref());
    // What asks is taken for what answers, too.
    let Some(found) = found else { return };
    let is_agreed = |first: &&Vec<u8>| asked.iter().any(|part| part.eq_ignore_ascii_case(first.trim_ascii()));
    let expected = values.first().filter(is_agreed).map(Vec::as_slice);
    let agreed = fuzzed::upgrade_agreed(&found, headers);
    assert_eq!(agreed.as_ref().map(HeaderValue::as_bytes), expected);
}

fn traced(headers: &HeaderMap, model: &Model) {
    let given = match of(model, "traceparent") {
        [only] => trace_id(only),
        _ => None,
    };
    let mut told = headers.clone();
    let id = fuzzed::trace(&mut told);
    let mut told = self::model(&told);
    let parents = told.remove("traceparent").expect("a target is told of a trace");
    let [parent] = &parents[..] else { panic!("a target is told of two traces") };
    assert!(parent.len() == 55 && parent.starts_with(b"00-"), "{parent:?} is not of version 00");
    assert_eq!(trace_id(parent), Some(id.as_bytes()), "the target is told of another trace");
    assert!(given.is_none_or(|given| given == id.as_bytes()), "the client's trace is not continued");
    let mut expected = model.clone();
    expected.remove("traceparent");
    if given.is_none() {
        expected.remove("tracestate");
    }
    assert_eq!(told, expected);
}

/// The id in a `traceparent`, if it is a sound one.
fn trace_id(text: &[u8]) -> Option<&[u8]> {
    let parts: Vec<&[u8]> = text.split(|byte| *byte == b'-').collect();
    let [version, id, parent, flags, more @ ..] = &parts[..] else { return None };
    let is_hex = |part: &[u8], length: usize| {
        part.len() == length && part.iter().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
    };
    let is_zero = |part: &[u8]| part.iter().all(|digit| *digit == b'0');
    let is_sound = is_hex(version, 2) && is_hex(id, 32) && is_hex(parent, 16) && is_hex(flags, 2);
    let is_known = *version != b"ff" && (*version != b"00" || more.is_empty());
    (is_sound && is_known && !is_zero(id) && !is_zero(parent)).then_some(*id)
}

fn named(headers: &HeaderMap, model: &Model) {
    let id = fuzzed::request_id(headers);
    let is_sane = |id: &&Vec<u8>| {
        let is_known = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:=+/".contains(byte);
        (1..=REQUEST_ID_LENGTH_MAX).contains(&id.len()) && id.iter().all(is_known)
    };
    match of(model, "x-request-id").first().filter(is_sane) {
        Some(given) => assert_eq!(id.as_bytes(), given),
        None => assert!(id.len() == 32 && id.as_bytes().iter().all(u8::is_ascii_hexdigit), "{id:?}"),
    }
}

fn measured(headers: &HeaderMap, model: &Model) {
    let expected = match of(model, "content-length") {
        [] => Some(None),
        [only] if !only.is_empty() && only.iter().all(u8::is_ascii_digit) => {
            str::from_utf8(only).expect("digits are text").parse().ok().map(Some)
        }
        _ => None,
    };
    assert_eq!(fuzzed::content_length(headers), expected);
}

/// All of it one after the other, as a request goes through it: what must not come to a target does not.
fn together(mut headers: HeaderMap, authority: Option<&str>) {
    let [client, proto, port] = ["10.0.0.9", "https", "443"].map(HeaderValue::from_static);
    fuzzed::strip_hop_by_hop(&mut headers);
    fuzzed::strip_of_calls(&mut headers);
    fuzzed::unify(&mut headers, authority);
    fuzzed::forward(&mut headers, &client, proto, port);
    fuzzed::trace(&mut headers);
    for name in OF_ONE_HOP.into_iter().chain(OF_CALLS).chain(["expect"]) {
        assert!(!headers.contains_key(name), "{name} comes to a target");
    }
    for name in ["cookie", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-port", "traceparent"] {
        assert!(headers.get_all(name).iter().count() <= 1, "{name} comes twice");
    }
}

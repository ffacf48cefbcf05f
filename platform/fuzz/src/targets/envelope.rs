//! Events as others write them: what is taken is sound, and is the same event in every form.

use skiff_events::envelope::{self, Put};
use skiff_types::{BusEvent, Name, Namespace};
use std::sync::Arc;

/// Reads the input: its first byte says in which form it is. Over HTTP there are lines of headers, an empty one, and the body.
pub(crate) fn run(input: &[u8]) {
    let Some((form, body)) = input.split_first() else { return };
    let (namespace, bus) = (Namespace::default(), "default".parse().expect("a name"));
    let put = put(&namespace, &bus);
    let events = match form {
        b's' => envelope::parse_structured(body, put).map(|event| vec![event]),
        b'b' => envelope::parse_batch(body, put),
        b'p' => envelope::parse_entries(body, put),
        b'e' => envelope::parse_eventbridge(body, put).map(|event| vec![event]),
        _ => {
            let (headers, body) = headers(body);
            envelope::parse_http(headers, body, put)
        }
    };
    match events {
        Ok(events) => events.iter().for_each(is_the_same_in_every_form),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

fn put<'a>(namespace: &'a Namespace, bus: &'a Name) -> Put<'a> {
    Put { namespace, bus, now_ms: 1, new_id: &new_id }
}

fn new_id() -> Arc<str> {
    "new".into()
}

/// Lines of `name: value` up to an empty one, and what follows.
fn headers(input: &[u8]) -> (Vec<(&str, &[u8])>, &[u8]) {
    let mut headers = Vec::new();
    let mut rest = input;
    while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
        let line = &rest[..end];
        rest = &rest[end + 1..];
        if line.is_empty() {
            break;
        }
        let colon = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
        let name = std::str::from_utf8(&line[..colon]).unwrap_or_default();
        headers.push((name, line.get(colon + 1..).unwrap_or_default()));
    }
    (headers, rest)
}

fn is_the_same_in_every_form(event: &BusEvent) {
    assert_eq!(envelope::check(event), Ok(()));
    let put = put(&event.namespace, &event.bus);
    let printed = envelope::eventbridge(event);
    assert_eq!(envelope::parse_eventbridge(printed.as_bytes(), put).as_ref(), Ok(event));
    assert_eq!(envelope::parse_structured(envelope::cloudevent(event).as_bytes(), put).as_ref(), Ok(event));
    let (headers, body) = envelope::binary(event);
    let headers: Vec<(&str, &[u8])> =
        headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
    assert_eq!(envelope::parse_binary(headers, &body, put).as_ref(), Ok(event));
}

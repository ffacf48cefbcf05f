//! CloudEvents over HTTP: binary mode, and which mode a request is in.
//!
//! Source: <https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/http-protocol-binding.md>

use super::cloudevents::{Attributes, attributes, check_is_json};
use super::{EnvelopeError, Put, parse_batch, parse_structured, utf_8};
use bytes::Bytes;
use skiff_types::BusEvent;
use std::borrow::Cow;
use std::fmt::Write as _;

/// The content type of an event's data.
pub const JSON: &str = "application/json";
/// The content type of an event in structured mode.
pub const STRUCTURED: &str = "application/cloudevents+json";
/// The content type of a batch.
pub const BATCH: &str = "application/cloudevents-batch+json";

/// What headers of binary mode begin with.
const PREFIX: &str = "ce-";

/// An event as a CloudEvent in binary mode: its headers, `content-type` among them, and its body.
pub fn binary(event: &BusEvent) -> (Vec<(String, String)>, Bytes) {
    let mut headers = Vec::new();
    attributes(event, |name, value| headers.push((format!("{PREFIX}{name}"), encode(value))));
    headers.push(("content-type".into(), JSON.into()));
    (headers, Bytes::copy_from_slice(event.detail.as_bytes()))
}

/// Reads a CloudEvent in binary mode; headers that are not its, count for nothing. No body is the data `null`.
///
/// # Errors
///
/// Says what is wrong with it; among others, data that is not JSON.
pub fn parse_binary<'h>(
    headers: impl IntoIterator<Item = (&'h str, &'h [u8])>,
    body: &[u8],
    put: Put<'_>,
) -> Result<BusEvent, EnvelopeError> {
    let mut attributes = Attributes::default();
    for (name, value) in headers {
        let name = name.to_ascii_lowercase();
        let value = std::str::from_utf8(value).map_err(|_| EnvelopeError::part(&name, "it is not UTF-8"));
        if name == "content-type" {
            check_is_json(&name, value?)?;
        } else if let Some(attribute) = name.strip_prefix(PREFIX) {
            if matches!(attribute, "datacontenttype" | "data" | "data_base64") {
                return Err(EnvelopeError::part(
                    &name,
                    "in binary mode the data is the body, and its type \"content-type\"",
                ));
            }
            attributes.set(attribute, decode(value?))?;
        }
    }
    // Bounded before it is looked at.
    if body.len() > BusEvent::BYTES_MAX {
        return Err(EnvelopeError::TooLarge { bytes: body.len() });
    }
    let detail = utf_8(body)?.trim();
    attributes.finish(if detail.is_empty() { "null" } else { detail }, put)
}

/// Reads what was posted, in whichever mode its headers say: a batch, one event in structured mode, or one in binary mode.
///
/// # Errors
///
/// Says what is wrong with it.
pub fn parse_http<'h>(
    headers: impl IntoIterator<Item = (&'h str, &'h [u8])>,
    body: &[u8],
    put: Put<'_>,
) -> Result<Vec<BusEvent>, EnvelopeError> {
    let headers: Vec<(&str, &[u8])> = headers.into_iter().collect();
    let of = |wanted: &str| {
        headers.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| *value)
    };
    let content_type = String::from_utf8_lossy(of("content-type").unwrap_or_default()).to_ascii_lowercase();
    match content_type.split(';').next().unwrap_or_default().trim() {
        BATCH => parse_batch(body, put),
        STRUCTURED => parse_structured(body, put).map(|event| vec![event]),
        _ if of("ce-specversion").is_some() => parse_binary(headers, body, put).map(|event| vec![event]),
        _ => Err(EnvelopeError::part(
            "content-type",
            format!(
                "it has to be {STRUCTURED:?} or {BATCH:?}; or send the attributes as headers, \"ce-specversion: 1.0\" among them"
            ),
        )),
    }
}

/// A value as it stands in a header: what is not printable ASCII, and what the binding names beside, in percent encoding.
fn encode(value: &str) -> String {
    let mut encoded = String::with_capacity(value.len());
    for byte in value.bytes() {
        match byte {
            b'"' | b'%' | 0..=b' ' | 0x7f.. => {
                // To write to a string never fails.
                let _ = write!(encoded, "%{byte:02X}");
            }
            plain => encoded.push(char::from(plain)),
        }
    }
    encoded
}

/// A header's value as it was meant: quotes around it and percent encoding undone. A `%` that encodes nothing is itself.
fn decode(value: &str) -> Cow<'_, str> {
    let value = value.trim();
    let quoted = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    let value = match quoted {
        Some(quoted) if quoted.contains('\\') => Cow::Owned(unescape(quoted)),
        Some(quoted) => Cow::Borrowed(quoted),
        None => Cow::Borrowed(value),
    };
    if !value.contains('%') {
        return value;
    }
    let bytes = value.as_bytes();
    let digit = |at: usize| bytes.get(at).and_then(|byte| char::from(*byte).to_digit(16));
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        match (byte, digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                decoded.extend(u8::try_from(high * 16 + low));
                at += 3;
            }
            _ => {
                decoded.push(byte);
                at += 1;
            }
        }
    }
    // As the binding has it: what is no UTF-8 becomes replacement characters.
    Cow::Owned(String::from_utf8_lossy(&decoded).into_owned())
}

/// A quoted string's text: a backslash stands for what follows it.
fn unescape(quoted: &str) -> String {
    let mut characters = quoted.chars();
    let mut text = String::with_capacity(quoted.len());
    while let Some(character) = characters.next() {
        text.extend(if character == '\\' { characters.next() } else { Some(character) });
    }
    text
}

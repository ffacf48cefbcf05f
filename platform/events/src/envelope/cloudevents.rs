//! CloudEvents 1.0 in JSON, one event or a batch of them, and what is the same in every form of it: its attributes.
//!
//! Source: <https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md>

use super::eventbridge::{object, texts_list};
use super::{EXTENSION_NAME_BYTES_MAX, EnvelopeError, JSON, Put, check, iso_8601, time, utf_8};
use crate::json::{Kind, Tape, Value, quote, shortened};
use skiff_types::BusEvent;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The extension attribute that the order key is: CloudEvents' partitioning extension.
pub(super) const ORDER_KEY: &str = "partitionkey";
/// The extension attribute that the resources are.
const RESOURCES: &str = "resources";
/// What can't be the name of an extension attribute.
const RESERVED: [&str; 11] = [
    "specversion",
    "id",
    "source",
    "type",
    "time",
    "subject",
    "datacontenttype",
    "data",
    "data_base64",
    ORDER_KEY,
    RESOURCES,
];
/// Values of which an outline is kept: far more than a full batch has.
const OUTLINE_NODES_MAX: usize = 10_000;

/// An event as a CloudEvent in structured mode: JSON, of the content type `application/cloudevents+json`.
pub fn cloudevent(event: &BusEvent) -> String {
    let mut out = String::with_capacity(event.detail.len() + 512);
    let mut separator = '{';
    attributes(event, |name, value| {
        out.push(separator);
        separator = ',';
        quote(&mut out, name);
        out.push(':');
        quote(&mut out, value);
    });
    out.push_str(",\"datacontenttype\":");
    quote(&mut out, JSON);
    if *event.detail != *"null" {
        out.push_str(",\"data\":");
        out.push_str(&event.detail);
    }
    out.push('}');
    out
}

/// Calls `found` with each attribute of an event but its content type.
pub(super) fn attributes(event: &BusEvent, mut found: impl FnMut(&str, &str)) {
    found("specversion", "1.0");
    found("id", &event.id);
    found("source", &event.source);
    found("type", &event.detail_type);
    found("time", &iso_8601(event.time_ms));
    if let Some(subject) = &event.subject {
        found("subject", subject);
    }
    if !event.resources.is_empty() {
        found(RESOURCES, &texts_list(&event.resources));
    }
    for (name, value) in extensions(event) {
        found(name, value);
    }
}

/// The extension attributes of an event, with its order key.
pub(crate) fn extensions(event: &BusEvent) -> impl Iterator<Item = (&str, &str)> {
    let order_key = event.order_key.iter().map(|key| (ORDER_KEY, &**key));
    event.extensions.iter().map(|(name, value)| (&**name, &**value)).chain(order_key)
}

/// Refuses what can't be the name of an extension attribute.
pub(super) fn check_extension(name: &str) -> Result<(), EnvelopeError> {
    let is_named_so = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    if name.is_empty() || name.len() > EXTENSION_NAME_BYTES_MAX || !name.bytes().all(is_named_so) {
        let problem = format!("an attribute's name is of 1 to {EXTENSION_NAME_BYTES_MAX} of a-z and 0-9");
        return Err(EnvelopeError::part(name, problem));
    }
    if RESERVED.contains(&name) {
        return Err(EnvelopeError::part(
            name,
            "an extension attribute can't have the name of another attribute",
        ));
    }
    Ok(())
}

/// Reads a CloudEvent in structured mode.
///
/// # Errors
///
/// Says what is wrong with it; among others, data that is not JSON.
pub fn parse_structured(json: &[u8], put: Put<'_>) -> Result<BusEvent, EnvelopeError> {
    structured(utf_8(json)?, put)
}

/// Reads a batch of CloudEvents, [`BusEvent::BATCH_MAX`] of them at most; it may be empty.
///
/// # Errors
///
/// Says what is wrong with the first event that is none.
pub fn parse_batch(json: &[u8], put: Put<'_>) -> Result<Vec<BusEvent>, EnvelopeError> {
    let outline = Tape::outline(utf_8(json)?, 1, OUTLINE_NODES_MAX).map_err(EnvelopeError::Json)?;
    let batch = outline.root();
    if batch.kind() != Kind::Array {
        return Err(EnvelopeError::part("batch", "it has to be a list of events"));
    }
    let events = batch.elements().count();
    if events > BusEvent::BATCH_MAX {
        return Err(EnvelopeError::Batch { events });
    }
    let parsed = batch.elements().enumerate();
    parsed.map(|(at, event)| structured(event.raw(), put).map_err(|error| error.of(at))).collect()
}

fn structured(json: &str, put: Put<'_>) -> Result<BusEvent, EnvelopeError> {
    let tape = Tape::parse(json).map_err(EnvelopeError::Json)?;
    let mut attributes = Attributes::default();
    let mut detail = "null";
    for (name, value) in object(tape.root())?.members() {
        match &*name {
            "data" => detail = value.raw(),
            "data_base64" if value.kind() != Kind::Null => {
                return Err(EnvelopeError::part(
                    &name,
                    "an event's data has to be JSON: send it as \"data\"",
                ));
            }
            name => {
                if let Some(value) = attribute(name, value)? {
                    attributes.set(name, value)?;
                }
            }
        }
    }
    attributes.finish(detail, put)
}

/// An attribute as text; none if it is `null`, which is to say that it is not there.
fn attribute<'t>(name: &str, value: Value<'t>) -> Result<Option<Cow<'t, str>>, EnvelopeError> {
    match value.kind() {
        Kind::Null => Ok(None),
        Kind::True | Kind::False | Kind::Number => Ok(Some(Cow::Borrowed(value.raw()))),
        Kind::Plain | Kind::Escaped => Ok(value.text()),
        Kind::Array | Kind::Object => Err(EnvelopeError::part(
            name,
            "an attribute is a string, a number, true or false; what has parts belongs into \"data\"",
        )),
    }
}

/// The attributes of a CloudEvent, as they come.
#[derive(Default)]
pub(super) struct Attributes {
    has_version: bool,
    id: Option<Arc<str>>,
    source: Option<Arc<str>>,
    detail_type: Option<Arc<str>>,
    time_ms: Option<u64>,
    subject: Option<Arc<str>>,
    resources: Vec<Arc<str>>,
    order_key: Option<Arc<str>>,
    extensions: BTreeMap<Arc<str>, Arc<str>>,
}

impl Attributes {
    /// Takes one in.
    pub(super) fn set(&mut self, name: &str, value: Cow<'_, str>) -> Result<(), EnvelopeError> {
        match name {
            "specversion" if value == "1.0" => self.has_version = true,
            "specversion" => {
                let problem = format!("it is {:?}, and only \"1.0\" is spoken here", shortened(&value));
                return Err(EnvelopeError::part(name, problem));
            }
            "id" => self.id = Some(value.into()),
            "source" => self.source = Some(value.into()),
            "type" => self.detail_type = Some(value.into()),
            "time" => self.time_ms = Some(time::parse(name, &value)?),
            "subject" => self.subject = Some(value.into()),
            "datacontenttype" => check_is_json(name, &value)?,
            ORDER_KEY => self.order_key = Some(value.into()),
            RESOURCES => self.resources = resources(&value),
            _ => {
                check_extension(name)?;
                self.extensions.insert(name.into(), value.into());
            }
        }
        Ok(())
    }

    /// The event with these, if none is missing.
    pub(super) fn finish(self, detail: &str, put: Put<'_>) -> Result<BusEvent, EnvelopeError> {
        let missing =
            |name: &'static str| move || EnvelopeError::part(name, "every CloudEvent has this attribute");
        if !self.has_version {
            return Err(missing("specversion")());
        }
        let event = BusEvent {
            namespace: put.namespace.clone(),
            bus: put.bus.clone(),
            id: self.id.ok_or_else(missing("id"))?,
            source: self.source.ok_or_else(missing("source"))?,
            detail_type: self.detail_type.ok_or_else(missing("type"))?,
            time_ms: self.time_ms.unwrap_or(put.now_ms),
            resources: self.resources,
            subject: self.subject,
            extensions: self.extensions,
            detail: detail.into(),
            order_key: self.order_key,
        };
        check(&event)?;
        Ok(event)
    }
}

/// Resources as we print them; anything else that has this name is one resource.
fn resources(text: &str) -> Vec<Arc<str>> {
    let list = Tape::parse(text).ok().filter(|tape| tape.root().kind() == Kind::Array);
    let texts = list.and_then(|tape| tape.root().elements().map(|text| text.text().map(Arc::from)).collect());
    texts.unwrap_or_else(|| vec![text.into()])
}

/// Refuses a content type that is not JSON, or not in UTF-8.
pub(super) fn check_is_json(part: &str, content_type: &str) -> Result<(), EnvelopeError> {
    let mut parts = content_type.split(';').map(|part| part.trim().to_ascii_lowercase());
    let essence = parts.next().unwrap_or_default();
    let is_json = essence == JSON || essence == "text/json" || essence.ends_with("+json");
    let is_utf_8 = parts.all(|parameter| match parameter.strip_prefix("charset=") {
        Some(charset) => matches!(charset.trim_matches('"'), "utf-8" | "us-ascii"),
        None => true,
    });
    if is_json && is_utf_8 {
        return Ok(());
    }
    let problem =
        format!("it is {:?}, and an event's data has to be JSON in UTF-8, {JSON:?}", shortened(content_type));
    Err(EnvelopeError::part(part, problem))
}

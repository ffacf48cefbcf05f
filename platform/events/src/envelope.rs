//! Events as others write them: EventBridge's envelope and its `PutEvents` entries, and CloudEvents 1.0 over HTTP (binary,
//! structured, batch).
//!
//! How the forms meet: what a [`BusEvent`] has and EventBridge's envelope has no name for stands in it as `subject` and
//! `extensions`, where there is such a thing; `account` is the namespace, `region` is [`REGION`]. What CloudEvents has no name for
//! is an extension attribute: `partitionkey` (CloudEvents' own extension) is the order key, in both forms, and `resources` a JSON
//! list of them. Attributes are kept as text, so that an extension of `true` or `5` comes back as `"true"` or `"5"`.
//!
//! **Data is JSON.** An event's detail is what patterns and paths look into, so `data_base64`, and content types that are not
//! JSON, are refused with a sentence rather than kept as something that no rule could see. No data is `null`.
//!
//! What always holds: what is parsed passes [`check`]; no text is parsed beyond [`BusEvent::BYTES_MAX`] for an event, nor deeper
//! than 128; what is printed, parsed again, is the same event (times in whole milliseconds).
//!
//! Sources: <https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md>,
//! <https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md>,
//! <https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/http-protocol-binding.md>,
//! <https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutEventsRequestEntry.html>

mod cloudevents;
mod eventbridge;
mod http;
mod time;

#[cfg(test)]
mod tests;

use crate::json::{JsonError, Tape, shortened};
pub(crate) use cloudevents::extensions;
pub use cloudevents::{cloudevent, parse_batch, parse_structured};
pub(crate) use eventbridge::without_detail;
pub use eventbridge::{eventbridge, parse_entries, parse_eventbridge};
pub use http::{BATCH, JSON, STRUCTURED, binary, parse_binary, parse_http};
use skiff_types::{BusEvent, Name, Namespace};
use std::sync::Arc;
pub use time::iso_8601;

/// The `region` of every event.
pub const REGION: &str = "local";
/// The longest id, source, type, subject, order key, resource or extension attribute of an event, in bytes.
pub const ATTRIBUTE_BYTES_MAX: usize = 2_048;
/// Resources of one event.
pub const RESOURCES_MAX: usize = 100;
/// Extension attributes of one event.
pub const EXTENSIONS_MAX: usize = 64;
/// The longest name of an extension attribute, in bytes.
pub const EXTENSION_NAME_BYTES_MAX: usize = 64;

/// Where events are put, and what is said of them that their senders leave out.
#[derive(Clone, Copy)]
pub struct Put<'a> {
    /// The namespace.
    pub namespace: &'a Namespace,
    /// The bus.
    pub bus: &'a Name,
    /// When it happened, of an event without a time: now, in milliseconds since 1970.
    pub now_ms: u64,
    /// The id of an event of EventBridge's, whose senders give none; another one each time.
    pub new_id: &'a dyn Fn() -> Arc<str>,
}

/// Refuses what no event can be: checks the bounds of each part, and that the detail is JSON.
///
/// # Errors
///
/// Says which part it is, and what would be right.
pub fn check(event: &BusEvent) -> Result<(), EnvelopeError> {
    for (name, value) in &event.extensions {
        cloudevents::check_extension(name)?;
        check_length(name, value)?;
    }
    if event.extensions.len() > EXTENSIONS_MAX {
        return Err(EnvelopeError::part("extensions", format!("there are more than {EXTENSIONS_MAX}")));
    }
    if event.resources.len() > RESOURCES_MAX {
        return Err(EnvelopeError::part("resources", format!("there are more than {RESOURCES_MAX}")));
    }
    for (name, value) in [("id", &event.id), ("source", &event.source), ("type", &event.detail_type)] {
        if value.is_empty() {
            return Err(EnvelopeError::part(name, "it is empty; every event has one"));
        }
        check_length(name, value)?;
    }
    for (name, value) in [("subject", &event.subject), ("partitionkey", &event.order_key)] {
        check_length(name, value.as_deref().unwrap_or_default())?;
    }
    event.resources.iter().try_for_each(|resource| check_length("resources", resource))?;
    time::check(event.time_ms)?;
    if event.detail.len() > BusEvent::BYTES_MAX {
        return Err(EnvelopeError::TooLarge { bytes: event.detail.len() });
    }
    Tape::parse(&event.detail).map_err(|error| EnvelopeError::part("data", error.to_string()))?;
    let bytes = eventbridge(event).len();
    if bytes > BusEvent::BYTES_MAX { Err(EnvelopeError::TooLarge { bytes }) } else { Ok(()) }
}

/// What was sent, as text.
fn utf_8(bytes: &[u8]) -> Result<&str, EnvelopeError> {
    std::str::from_utf8(bytes).map_err(|_| EnvelopeError::Json(JsonError::whole("it is not UTF-8")))
}

fn check_length(name: &str, value: &str) -> Result<(), EnvelopeError> {
    let bytes = value.len();
    if bytes <= ATTRIBUTE_BYTES_MAX {
        return Ok(());
    }
    Err(EnvelopeError::part(name, format!("it has {bytes} bytes, and can have {ATTRIBUTE_BYTES_MAX}")))
}

/// Why something is no event; a sentence for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// It is no JSON.
    #[error("{0}")]
    Json(JsonError),
    /// It is too large.
    #[error(
        "an event can have {} bytes as it prints in EventBridge's envelope, and this one has {bytes} or more: put what is large into a bucket, and its key into the event",
        BusEvent::BYTES_MAX
    )]
    TooLarge {
        /// How large it is, or how much of it was seen.
        bytes: usize,
    },
    /// Too many at once, or none.
    #[error("{events} events are put at once; it can be from 1 to {}", BusEvent::BATCH_MAX)]
    Batch {
        /// How many there are, or were seen.
        events: usize,
    },
    /// A part of it can't be so.
    #[error("{part}: {problem}")]
    Part {
        /// Which: an attribute, a key, a header.
        part: String,
        /// What is wrong with it, and what would be right.
        problem: String,
    },
    /// One of several can't be so.
    #[error("event {number} of those that are put: {error}")]
    At {
        /// Which, from 1.
        number: usize,
        /// What is wrong with it.
        error: Box<EnvelopeError>,
    },
}

impl EnvelopeError {
    /// A part that can't be so.
    fn part(part: &str, problem: impl Into<String>) -> Self {
        Self::Part { part: shortened(part), problem: problem.into() }
    }

    /// The same, of one of several; `index` is from 0.
    fn of(self, index: usize) -> Self {
        Self::At { number: index + 1, error: Box::new(self) }
    }
}

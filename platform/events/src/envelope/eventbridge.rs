//! EventBridge's envelope, printed and read, and the entries of its `PutEvents`.
//!
//! Source: <https://docs.aws.amazon.com/eventbridge/latest/ref/overiew-event-structure.html>

use super::{EnvelopeError, Put, REGION, check, cloudevents, iso_8601, time, utf_8};
use crate::json::{JsonError, Kind, Tape, Value, quote, shortened};
use skiff_types::{BusEvent, Name};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Values and keys of which an outline is kept: far more than a full call has.
const OUTLINE_NODES_MAX: usize = 10_000;
/// The extension attribute that AWS's `TraceHeader` is kept as.
const TRACE_HEADER: &str = "traceheader";

/// An event in EventBridge's envelope: `version`, `id`, `detail-type`, `source`, `account` (the namespace), `time`, `region`,
/// `resources`, `subject` and `extensions` if there are such, and `detail`.
pub fn eventbridge(event: &BusEvent) -> String {
    let mut out = without_detail(event);
    out.pop();
    out.push_str(",\"detail\":");
    out.push_str(&event.detail);
    out.push('}');
    out
}

/// The same without its detail.
pub(crate) fn without_detail(event: &BusEvent) -> String {
    let mut out = String::with_capacity(event.detail.len() + 512);
    let time = iso_8601(event.time_ms);
    let texts = [
        ("{\"version\":", "0"),
        (",\"id\":", &*event.id),
        (",\"detail-type\":", &*event.detail_type),
        (",\"source\":", &*event.source),
        (",\"account\":", event.namespace.as_str()),
        (",\"time\":", time.as_str()),
        (",\"region\":", REGION),
    ];
    let subject = event.subject.iter().map(|subject| (",\"subject\":", &**subject));
    for (key, text) in texts.into_iter().chain(subject) {
        out.push_str(key);
        quote(&mut out, text);
    }
    out.push_str(",\"resources\":");
    out.push_str(&texts_list(&event.resources));
    let mut separator = ",\"extensions\":{";
    for (name, value) in cloudevents::extensions(event) {
        out.push_str(separator);
        quote(&mut out, name);
        out.push(':');
        quote(&mut out, value);
        separator = ",";
    }
    if separator == "," {
        out.push('}');
    }
    out.push('}');
    out
}

/// A JSON list of strings.
pub(super) fn texts_list(texts: &[Arc<str>]) -> String {
    let mut out = String::from("[");
    for (at, text) in texts.iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        quote(&mut out, text);
    }
    out.push(']');
    out
}

/// Reads an event in EventBridge's envelope. `source` and `detail-type` have to be there; an `id` and a `time` that are not are given
/// to it, and a `detail` that is not is `null`. What says where it was put (`account`, `region`) and keys that are unknown count for
/// nothing.
///
/// # Errors
///
/// Says what is wrong with it.
pub fn parse_eventbridge(json: &[u8], put: Put<'_>) -> Result<BusEvent, EnvelopeError> {
    let tape = Tape::parse(utf_8(json)?).map_err(EnvelopeError::Json)?;
    let root = object(tape.root())?;
    let text = |key: &str| root.get(key).map(|value| string(key, value)).transpose();
    let required = |key: &str| text(key)?.ok_or_else(|| EnvelopeError::part(key, "every event has one"));
    let time = text("time")?.map(|time| time::parse("time", &time)).transpose()?;
    let mut extensions = BTreeMap::new();
    let mut order_key = None;
    if let Some(found) = root.get("extensions") {
        for (name, value) in found.members() {
            let value = string(&name, value)?;
            if name == cloudevents::ORDER_KEY {
                order_key = Some(value);
            } else {
                extensions.insert(Arc::from(&*name), value);
            }
        }
    }
    let event = BusEvent {
        namespace: put.namespace.clone(),
        bus: put.bus.clone(),
        id: text("id")?.unwrap_or_else(put.new_id),
        source: required("source")?,
        detail_type: required("detail-type")?,
        time_ms: time.unwrap_or(put.now_ms),
        resources: root
            .get("resources")
            .map(|list| strings("resources", list))
            .transpose()?
            .unwrap_or_default(),
        subject: text("subject")?,
        extensions,
        detail: root.get("detail").map_or("null", Value::raw).into(),
        order_key,
    };
    check(&event)?;
    Ok(event)
}

/// Reads what EventBridge's `PutEvents` is sent: `{"Entries": […]}`, or the list of entries alone, from 1 to
/// [`BusEvent::BATCH_MAX`] of them. An entry has `Source`, `DetailType` and `Detail` (an object, printed into a string), and may have `Time`
/// (ISO 8601, or seconds since 1970), `Resources`, `EventBusName` and `TraceHeader`.
///
/// The bus of an event is that of its entry, where it names one: who may put on `put.bus` need not be one who may put on
/// that.
///
/// # Errors
///
/// Says what is wrong with the first entry that can't be put; EventBridge would put the others.
pub fn parse_entries(json: &[u8], put: Put<'_>) -> Result<Vec<BusEvent>, EnvelopeError> {
    let outline = Tape::outline(utf_8(json)?, 2, OUTLINE_NODES_MAX).map_err(EnvelopeError::Json)?;
    let root = outline.root();
    let entries = if root.kind() == Kind::Array { Some(root) } else { root.get("Entries") };
    let Some(entries) = entries.filter(|entries| entries.kind() == Kind::Array) else {
        return Err(EnvelopeError::part("Entries", "it has to be a list of events"));
    };
    let events = entries.elements().count();
    if events == 0 || events > BusEvent::BATCH_MAX {
        return Err(EnvelopeError::Batch { events });
    }
    let parsed = entries.elements().enumerate();
    parsed.map(|(at, entry)| self::entry(entry.raw(), put).map_err(|error| error.of(at))).collect()
}

fn entry(json: &str, put: Put<'_>) -> Result<BusEvent, EnvelopeError> {
    let tape = Tape::parse(json).map_err(EnvelopeError::Json)?;
    let empty: Arc<str> = Arc::from("");
    let mut event = BusEvent {
        namespace: put.namespace.clone(),
        bus: put.bus.clone(),
        id: (put.new_id)(),
        source: Arc::clone(&empty),
        detail_type: Arc::clone(&empty),
        time_ms: put.now_ms,
        resources: Vec::new(),
        subject: None,
        extensions: BTreeMap::new(),
        detail: empty,
        order_key: None,
    };
    for (key, value) in object(tape.root())?.members().filter(|(_, value)| value.kind() != Kind::Null) {
        match &*key {
            "Source" => event.source = string(&key, value)?,
            "DetailType" => event.detail_type = string(&key, value)?,
            "Detail" => event.detail = detail(&string(&key, value)?)?,
            "Time" if value.kind() == Kind::Number => event.time_ms = time::parse_seconds(&key, value.raw())?,
            "Time" => event.time_ms = time::parse(&key, &string(&key, value)?)?,
            "Resources" => event.resources = strings(&key, value)?,
            "EventBusName" => event.bus = bus(&string(&key, value)?)?,
            "TraceHeader" => drop(event.extensions.insert(TRACE_HEADER.into(), string(&key, value)?)),
            unknown => {
                let known = "Source, DetailType, Detail, Time, Resources, EventBusName and TraceHeader";
                return Err(EnvelopeError::part(unknown, format!("an entry has {known}")));
            }
        }
    }
    for (key, value) in
        [("Source", &event.source), ("DetailType", &event.detail_type), ("Detail", &event.detail)]
    {
        if value.is_empty() {
            return Err(EnvelopeError::part(key, "every entry has one, and it is not empty"));
        }
    }
    check(&event)?;
    Ok(event)
}

/// The detail of an entry, which has to be an object.
fn detail(text: &str) -> Result<Arc<str>, EnvelopeError> {
    let tape = Tape::parse(text).map_err(|error| EnvelopeError::part("Detail", error.to_string()))?;
    if tape.root().kind() != Kind::Object {
        return Err(EnvelopeError::part(
            "Detail",
            "it has to be an object, printed into a string, like \"{\\\"order\\\": 7}\"",
        ));
    }
    Ok(tape.root().raw().into())
}

fn bus(text: &str) -> Result<Name, EnvelopeError> {
    text.parse().map_err(|_| {
        let problem =
            format!("{:?} is not the name of a bus; a bus is named without its namespace", shortened(text));
        EnvelopeError::part("EventBusName", problem)
    })
}

/// What has to be an object.
pub(super) fn object(value: Value<'_>) -> Result<Value<'_>, EnvelopeError> {
    if value.kind() == Kind::Object {
        return Ok(value);
    }
    Err(EnvelopeError::Json(JsonError::whole("an event is an object")))
}

fn string(part: &str, value: Value<'_>) -> Result<Arc<str>, EnvelopeError> {
    match value.text() {
        Some(text) => Ok(text.into()),
        None => Err(EnvelopeError::part(part, "it has to be a string")),
    }
}

fn strings(part: &str, list: Value<'_>) -> Result<Vec<Arc<str>>, EnvelopeError> {
    if list.kind() != Kind::Array {
        return Err(EnvelopeError::part(part, "it has to be a list of strings"));
    }
    list.elements().map(|element| string(part, element)).collect()
}

//! Events as they are put on a bus, and as they are seen on one; and whether a pattern would take one.
//!
//! Who puts is the platform's operator, or somebody with an access key, whose role has to allow it for each bus that an event
//! goes to. What always holds: all events of a call are taken in, or none.

use super::super::Entrance;
use super::check_bus;
use crate::access::Access;
use crate::error::ApiError;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use skiff_api::{ErrorCode, EventPatternTest, PutEventsAnswer, TailQuery, TailedEvent, TestEventPattern};
use skiff_events::envelope::{self, EnvelopeError, Put};
use skiff_events::pattern::{Parsed, Pattern, PatternError};
use skiff_ports::access::Authorizer;
use skiff_ports::buses::{BusError, Tailed};
use skiff_types::{AccessAction, AccessResource, BusEvent, QualifiedName, ResourceKind};
use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Who puts events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Putter {
    /// Whoever has the platform's token: may put on any bus.
    Operator,
    /// Who acts as a role, by an access key.
    Role(QualifiedName),
}

/// Bytes of events at most that are being put by access keys, together: each call may have many, and their callers are strangers.
pub(crate) const KEYED_BYTES_MAX: usize = 64 << 20;

/// Events as they come.
type Tail = BoxStream<'static, io::Result<TailedEvent>>;

impl Entrance {
    /// Puts events that come as an HTTP request has them.
    pub(crate) async fn put_events(
        &self,
        bus: &QualifiedName,
        putter: &Putter,
        headers: &HeaderMap,
        body: Bytes,
    ) -> Result<PutEventsAnswer, ApiError> {
        // Before anything of it is looked at.
        self.check_may_put(putter, bus)?;
        self.context.objects.read(|view| check_bus(view, bus))?;
        let events = self.read_events_sent(bus, headers, &body)?;
        if let Some(event) = events.iter().find(|event| event.is_of_skiff()) {
            return Err(ApiError::invalid(format!(
                "{:?} can't be an event's source: those that begin with {:?} are Skiff's own",
                event.source,
                BusEvent::OWN_SOURCES
            )));
        }
        let named: BTreeSet<QualifiedName> = events
            .iter()
            .map(|event| QualifiedName::new(event.namespace.clone(), event.bus.clone()))
            .collect();
        for other in named.iter().filter(|other| *other != bus) {
            self.check_may_put(putter, other)?;
            self.context.objects.read(|view| check_bus(view, other))?;
        }
        let event_ids = events.iter().map(|event| event.id.to_string()).collect();
        self.context.buses.put(events).await?;
        Ok(PutEventsAnswer { event_ids })
    }

    /// What the bodies of calls by access keys have room in; none of the operator's, which are not counted.
    pub(crate) fn room_for_events(&self, putter: &Putter) -> Option<Arc<Semaphore>> {
        matches!(putter, Putter::Role(_)).then(|| self.context.keyed_events.clone())
    }

    /// What was sent, as events of a bus.
    fn read_events_sent(
        &self,
        bus: &QualifiedName,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<Vec<BusEvent>, ApiError> {
        let new_id = || -> Arc<str> { hex::encode(self.context.random.bytes::<16>()).into() };
        let put =
            Put { namespace: &bus.namespace, bus: &bus.name, now_ms: self.context.now_ms(), new_id: &new_id };
        parsed(headers, body, put).map_err(ApiError::invalid)
    }

    /// The events of a bus as they come from now on.
    pub(crate) fn tail_events(&self, bus: &QualifiedName, query: &TailQuery) -> Result<Tail, ApiError> {
        self.context.objects.read(|view| check_bus(view, bus))?;
        let pattern = query.pattern.as_deref().map(Pattern::parse).transpose().map_err(ApiError::invalid)?;
        let (tail, bus) = (self.context.buses.tail(&bus.namespace), bus.name.clone());
        let shown = tail.filter_map(move |tailed| {
            let line = match tailed {
                Tailed::Missed(missed) => Some(TailedEvent { event: None, missed: Some(missed) }),
                Tailed::Event(event) if event.bus == bus => {
                    match pattern.as_ref().map_or(Ok(true), |pattern| pattern.takes(&Parsed::of(&event))) {
                        Ok(is_asked_for) => is_asked_for.then(|| line(&event)),
                        // Whether it is asked for would cost too much to tell.
                        Err(_) => Some(TailedEvent { event: None, missed: Some(1) }),
                    }
                }
                Tailed::Event(_) => None,
            };
            std::future::ready(line.map(Ok))
        });
        Ok(shown.boxed())
    }

    /// Whether a pattern takes an event.
    pub(crate) fn test_event_pattern(
        &self,
        request: &TestEventPattern,
    ) -> Result<EventPatternTest, ApiError> {
        let said = |what: &str, error: PatternError| ApiError::invalid(format!("the {what}: {error}"));
        let pattern = Pattern::parse(&request.pattern.0).map_err(|error| said("pattern", error))?;
        let event = Parsed::parse(&request.event.0).map_err(|error| said("event", error))?;
        let matches = pattern.takes(&event).map_err(ApiError::invalid)?;
        Ok(EventPatternTest { matches })
    }

    fn check_may_put(&self, putter: &Putter, bus: &QualifiedName) -> Result<(), ApiError> {
        let Putter::Role(role) = putter else { return Ok(()) };
        let resource = AccessResource::new(ResourceKind::Bus, bus.clone());
        let judged =
            Access::new(self.context.objects.clone()).check(Some(role), AccessAction::BusPut, &resource);
        judged.map_err(|denied| ApiError::new(ErrorCode::Forbidden, denied.message))
    }
}

/// What was sent: CloudEvents by their content type or headers, else EventBridge's entries.
fn parsed(headers: &HeaderMap, body: &[u8], put: Put<'_>) -> Result<Vec<BusEvent>, EnvelopeError> {
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    let is_cloudevent = headers.contains_key("ce-specversion");
    if !is_cloudevent && media_type.eq_ignore_ascii_case(envelope::JSON) {
        return envelope::parse_entries(body, put);
    }
    let headers = headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
    envelope::parse_http(headers, body, put)
}

/// An event in EventBridge's envelope.
fn line(event: &BusEvent) -> TailedEvent {
    // What is printed there is JSON.
    let event = serde_json::from_str(&envelope::eventbridge(event)).ok();
    TailedEvent { event, missed: None }
}

impl From<BusError> for ApiError {
    fn from(error: BusError) -> Self {
        match error {
            BusError::Invalid(message) => Self::invalid(message),
            BusError::Busy(_) | BusError::DiskBusy => {
                Self::new(ErrorCode::ResourceExhausted, error.to_string())
            }
            BusError::DiskFull => Self::disk_full(),
            BusError::Storage(_) => Self {
                code: ErrorCode::Unavailable,
                message: "the buses' storage failed; see the platform's log".to_owned(),
                context: Some(error.into()),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderName, HeaderValue};
    use skiff_types::{Name, Namespace};

    fn read(headers: &[(&'static str, &'static str)], body: &str) -> Result<Vec<BusEvent>, EnvelopeError> {
        let (namespace, bus) = (Namespace::default(), "default".parse::<Name>().unwrap());
        let new_id = || -> Arc<str> { "new".into() };
        let put = Put { namespace: &namespace, bus: &bus, now_ms: 7, new_id: &new_id };
        let header = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        parsed(&headers.iter().map(header).collect(), body.as_bytes(), put)
    }

    #[test]
    fn each_form_is_known_by_its_headers() {
        let entry = r#"{"Entries":[{"Source":"shop","DetailType":"Order","Detail":"{}"}]}"#;
        let events = read(&[("content-type", "application/json; charset=utf-8")], entry).unwrap();
        assert_eq!((&*events[0].id, &*events[0].source), ("new", "shop"));
        let structured = r#"{"specversion":"1.0","id":"1","source":"shop","type":"Order","data":{}}"#;
        let events = read(&[("content-type", "application/cloudevents+json")], structured).unwrap();
        assert_eq!((&*events[0].id, &*events[0].detail_type), ("1", "Order"));
        let batch = format!("[{structured}]");
        assert_eq!(read(&[("content-type", "application/cloudevents-batch+json")], &batch).unwrap().len(), 1);
        let binary = [
            ("content-type", "application/json"),
            ("ce-specversion", "1.0"),
            ("ce-id", "2"),
            ("ce-source", "shop"),
            ("ce-type", "Order"),
        ];
        assert_eq!(&*read(&binary, r#"{"a":1}"#).unwrap()[0].detail, r#"{"a":1}"#);
        assert!(read(&[("content-type", "text/plain")], "hello").is_err());
        assert!(read(&[], entry).is_err());
    }
}

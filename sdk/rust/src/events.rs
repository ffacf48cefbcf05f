//! Events: taking those that rules send to this component, and putting others on a bus.
//!
//! A handler is a plain function; what it calls waits. [`macro@crate::event`] makes it the one that the platform calls, for each
//! event in a sandbox of its own.
//!
//! ```
//! # #[cfg(feature = "json")]
//! # mod handler {
//! use skiff_sdk::events::Event;
//!
//! #[derive(serde::Deserialize)]
//! struct Upload {
//!     object: Object,
//! }
//!
//! #[derive(serde::Deserialize)]
//! struct Object {
//!     key: String,
//! }
//!
//! #[skiff_sdk::event]
//! fn handle(event: Event<Upload>) -> skiff_sdk::Result<()> {
//!     println!("{} was uploaded", event.data.object.key);
//!     Ok(())
//! }
//! # }
//! ```
//!
//! An event comes at least once: again after an error, a panic, or what takes longer than the task's timeout, as often as the
//! rule's target says, and now and then although all went well. [`crate::once`] makes an effect on a table happen once.

use crate::service_error::ServiceError;
use std::fmt;

/// An event as a handler is given it: a CloudEvent, whose data is what the event's detail says, as a `T`.
#[cfg(feature = "json")]
#[derive(Debug, Clone, PartialEq, serde::Deserialize)]
pub struct Event<T = serde_json::Value> {
    /// Its id: the same however often it comes, and with its source unlike that of any other.
    pub id: String,
    /// From where.
    pub source: String,
    /// What kind of thing happened.
    #[serde(rename = "type")]
    pub kind: String,
    /// What it is about.
    #[serde(default)]
    pub subject: Option<String>,
    /// When, as RFC 3339 writes it.
    #[serde(default)]
    pub time: Option<String>,
    /// What happened.
    pub data: T,
}

/// What a command is given on its standard input, where the target of a rule or a schedule runs it as a task: the event, as
/// EventBridge prints it.
///
/// ```no_run
/// # fn main() -> skiff_sdk::Result<()> {
/// let event = skiff_sdk::events::from_stdin::<serde_json::Value>()?;
/// println!("{}: {}", event.kind, event.data);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// What is no event, or has another detail: a target with an input of its own sends something else.
#[cfg(feature = "json")]
pub fn from_stdin<T: serde::de::DeserializeOwned>() -> crate::Result<Event<T>> {
    let text = std::io::read_to_string(std::io::stdin())?;
    let event =
        of_envelope(&text).map_err(|error| format!("the standard input is not the event: {error}"))?;
    Ok(event)
}

#[cfg(feature = "json")]
fn of_envelope<T: serde::de::DeserializeOwned>(text: &str) -> serde_json::Result<Event<T>> {
    #[derive(serde::Deserialize)]
    struct Envelope<T> {
        id: String,
        source: String,
        #[serde(rename = "detail-type")]
        kind: String,
        #[serde(default)]
        subject: Option<String>,
        #[serde(default)]
        time: Option<String>,
        detail: T,
    }
    let Envelope { id, source, kind, subject, time, detail } = serde_json::from_str(text)?;
    Ok(Event { id, source, kind, subject, time, data: detail })
}

/// An event to be put.
#[cfg_attr(not(target_family = "wasm"), allow(dead_code, reason = "a component's host reads it"))]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEvent {
    pub(crate) id: Option<String>,
    pub(crate) source: String,
    pub(crate) detail_type: String,
    pub(crate) subject: Option<String>,
    pub(crate) time_ms: Option<u64>,
    pub(crate) detail: String,
}

impl NewEvent {
    /// One that happens now: from where, what kind, and what, in JSON.
    pub fn new(source: impl Into<String>, detail_type: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            id: None,
            source: source.into(),
            detail_type: detail_type.into(),
            subject: None,
            time_ms: None,
            detail: detail.into(),
        }
    }

    /// The same of what serializes as JSON.
    ///
    /// # Errors
    /// What does not.
    #[cfg(feature = "json")]
    pub fn json(
        source: impl Into<String>,
        detail_type: impl Into<String>,
        detail: &impl serde::Serialize,
    ) -> crate::Result<Self> {
        Ok(Self::new(source, detail_type, serde_json::to_string(detail)?))
    }

    /// With an id: an event with the source and id of one that its bus took in the last five minutes counts as that one, so
    /// what is put again after [`ServiceError::Failed`] is there once.
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// About this.
    pub fn subject(mut self, subject: impl Into<String>) -> Self {
        self.subject = Some(subject.into());
        self
    }

    /// That happened then, in milliseconds since 1970.
    pub fn time_ms(mut self, time_ms: u64) -> Self {
        self.time_ms = Some(time_ms);
        self
    }
}

/// Puts an event on a bus of the task's namespace. Once it returns, the event is on the platform's drive.
pub fn put(bus: &str, event: NewEvent) -> Result<(), ServiceError> {
    put_all(bus, &[event])
}

/// Puts events on a bus, 100 at most: all or none.
pub fn put_all(bus: &str, events: &[NewEvent]) -> Result<(), ServiceError> {
    crate::runtime::put_events(bus, events)
}

/// A function from an [`Event`], or from a CloudEvent's text, to nothing or a result; `Arguments` tells the two apart.
#[doc(hidden)]
pub trait Handler<Arguments> {
    /// Calls it; the error is for people.
    fn call(self, event: String) -> Result<(), String>;
}

#[cfg(feature = "json")]
impl<F: FnOnce(Event<T>) -> R, T: serde::de::DeserializeOwned, R: IntoHandled> Handler<(Event<T>,)> for F {
    fn call(self, event: String) -> Result<(), String> {
        let event = serde_json::from_str(&event)
            .map_err(|error| format!("the event is not what the handler takes: {error}"))?;
        self(event).into_handled()
    }
}

impl<F: FnOnce(String) -> R, R: IntoHandled> Handler<(String,)> for F {
    fn call(self, event: String) -> Result<(), String> {
        self(event).into_handled()
    }
}

/// What a handler of events may return.
pub trait IntoHandled {
    /// Whether the event is done; if not, why, for people.
    fn into_handled(self) -> Result<(), String>;
}

impl IntoHandled for () {
    fn into_handled(self) -> Result<(), String> {
        Ok(())
    }
}

impl<E: fmt::Display> IntoHandled for Result<(), E> {
    fn into_handled(self) -> Result<(), String> {
        self.map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handler_may_take_the_text_alone() {
        let length = |event: String| if event == "{}" { Ok(()) } else { Err("not empty") };
        assert_eq!(length.call("{}".to_owned()), Ok(()));
        assert_eq!(length.call("[]".to_owned()), Err("not empty".to_owned()));
        assert_eq!((|_: String| ()).call(String::new()), Ok(()));
    }

    #[cfg(feature = "json")]
    #[test]
    fn a_command_reads_the_same_event_in_eventbridge_s_envelope() {
        let text = r#"{"version":"0","id":"1","detail-type":"Order placed","source":"shop","account":"default",
            "time":"2026-11-23T10:00:00Z","region":"local","resources":[],"detail":{"number":7}}"#;
        let event: Event = of_envelope(text).unwrap();
        let told = (event.id.as_str(), event.source.as_str(), event.kind.as_str(), event.subject);
        assert_eq!(told, ("1", "shop", "Order placed", None));
        assert_eq!((event.time.as_deref(), &event.data["number"]), (Some("2026-11-23T10:00:00Z"), &7.into()));
        assert!(of_envelope::<serde_json::Value>(r#"{"number":7}"#).is_err());
    }

    #[cfg(feature = "json")]
    #[test]
    fn an_event_is_read_as_what_the_handler_takes() {
        #[derive(serde::Deserialize)]
        struct Order {
            number: u32,
        }
        let handle = |event: Event<Order>| {
            let told = (event.kind.as_str(), event.subject.as_deref(), event.time.as_deref());
            assert_eq!(told, ("Order placed", Some("orders/7"), None));
            if event.data.number == 7 { Ok(()) } else { Err(format!("{} is another", event.data.number)) }
        };
        let text = |data: &str| {
            format!(
                r#"{{"specversion":"1.0","id":"1","source":"shop","type":"Order placed","subject":"orders/7",
                    "datacontenttype":"application/json","ours":"x","data":{data}}}"#
            )
        };
        assert_eq!(handle.call(text(r#"{"number":7,"more":[]}"#)), Ok(()));
        assert_eq!(handle.call(text(r#"{"number":8}"#)), Err("8 is another".to_owned()));
        let refused = handle.call(text(r#"{"number":"many"}"#)).unwrap_err();
        assert!(refused.contains("not what the handler takes") && refused.contains("many"), "{refused}");
    }
}

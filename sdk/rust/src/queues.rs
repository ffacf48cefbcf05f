//! Queues: consuming the messages that the platform gives this component, and sending others.
//!
//! A consumer is a plain function, called for each message; [`macro@crate::queue`] makes it the one that the platform calls, with
//! some messages at a time in one sandbox.
//!
//! ```
//! use skiff_sdk::queues::{Message, Outcome};
//!
//! #[skiff_sdk::queue]
//! fn consume(message: Message<String>) -> Outcome {
//!     if message.body.is_empty() {
//!         return Outcome::Reject("there is nothing in it".to_owned());
//!     }
//!     println!("{}", message.body);
//!     Outcome::Done
//! }
//! ```
//!
//! A body is taken as `Vec<u8>`, as a `String`, or, with the feature `json`, as `Json<T>`. A message whose body is none of that is
//! rejected. An error is logged, and the message comes again once its visibility timeout is over. Of a FIFO queue, what comes
//! behind a message of the same group that is not done comes again as well, so that the group keeps its order.
//!
//! A message comes at least once: it may come again although it was done. [`crate::once`] makes an effect on a table happen once.

use crate::logging;
use crate::service_error::ServiceError;
#[cfg(any(target_family = "wasm", test))]
use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

/// A message as a consumer is given it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message<B = Vec<u8>> {
    /// Of which queue.
    pub queue: String,
    /// Its id: the same however often it comes.
    pub id: String,
    /// What it says.
    pub body: B,
    /// What is said beside it: names and values.
    pub attributes: Vec<(String, String)>,
    /// Its group, of a FIFO queue.
    pub group: Option<String>,
    /// When it was sent, in milliseconds since 1970.
    pub sent_at_ms: u64,
    /// How often it was received, this time included, as far as is known.
    pub receives: u32,
}

/// What becomes of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is done, and deleted.
    Done,
    /// It comes again once its visibility timeout is over.
    Retry,
    /// It comes again after so long.
    RetryAfter(Duration),
    /// It goes to the dead-letter queue now, if there is one; else it comes again. Why is for people.
    ///
    /// What comes behind it in its group is given to the consumer in the same batch. So a FIFO queue whose consumer rejects needs a
    /// dead-letter queue: without one, those behind are handled before it, and come again with it.
    Reject(String),
}

/// A body that is JSON.
#[cfg(feature = "json")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Json<T>(pub T);

/// What a message's body may be taken as.
pub trait Body: Sized {
    /// Reads it; the error is for people.
    fn read(body: Vec<u8>) -> Result<Self, String>;
}

impl Body for Vec<u8> {
    fn read(body: Vec<u8>) -> Result<Self, String> {
        Ok(body)
    }
}

impl Body for String {
    fn read(body: Vec<u8>) -> Result<Self, String> {
        Self::from_utf8(body).map_err(|error| format!("the body is no text: {error}"))
    }
}

#[cfg(feature = "json")]
impl<T: serde::de::DeserializeOwned> Body for Json<T> {
    fn read(body: Vec<u8>) -> Result<Self, String> {
        let read = serde_json::from_slice(&body);
        read.map(Self).map_err(|error| format!("the body is not what the consumer takes: {error}"))
    }
}

/// What a consumer may return.
pub trait IntoOutcome {
    /// What becomes of the message; an error is logged.
    fn into_outcome(self) -> Outcome;
}

impl IntoOutcome for () {
    fn into_outcome(self) -> Outcome {
        Outcome::Done
    }
}

impl IntoOutcome for Outcome {
    fn into_outcome(self) -> Outcome {
        self
    }
}

impl<O: IntoOutcome, E: fmt::Display> IntoOutcome for Result<O, E> {
    fn into_outcome(self) -> Outcome {
        match self {
            Ok(outcome) => outcome.into_outcome(),
            Err(error) => {
                logging::error(format_args!("a message is not done, and comes again: {error}"));
                Outcome::Retry
            }
        }
    }
}

/// A function from a [`Message`] to what is [`IntoOutcome`].
#[doc(hidden)]
pub trait Consumer<B> {
    /// Calls it for one message.
    fn call(&self, message: Message) -> Outcome;
}

impl<F: Fn(Message<B>) -> O, B: Body, O: IntoOutcome> Consumer<B> for F {
    fn call(&self, message: Message) -> Outcome {
        let Message { queue, id, body, attributes, group, sent_at_ms, receives } = message;
        match B::read(body) {
            Ok(body) => {
                let message = Message { queue, id, body, attributes, group, sent_at_ms, receives };
                self(message).into_outcome()
            }
            Err(why) => {
                logging::error(format_args!("the message {id} is rejected: {why}"));
                Outcome::Reject(why)
            }
        }
    }
}

/// Has a consumer take messages that came together. Behind one that is not done, those of its group come again untouched.
#[cfg(any(target_family = "wasm", test))]
pub(crate) fn consume<B>(messages: Vec<Message>, consumer: &impl Consumer<B>) -> Vec<Outcome> {
    let mut held_up: BTreeSet<String> = BTreeSet::new();
    let take = |message: Message| {
        let group = message.group.clone();
        if group.as_ref().is_some_and(|group| held_up.contains(group)) {
            return Outcome::Retry;
        }
        let outcome = consumer.call(message);
        // One that is rejected is out of the way.
        if matches!(outcome, Outcome::Retry | Outcome::RetryAfter(_)) {
            held_up.extend(group);
        }
        outcome
    };
    messages.into_iter().map(take).collect()
}

/// A message to be sent.
#[cfg_attr(not(target_family = "wasm"), allow(dead_code, reason = "a component's host reads it"))]
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewMessage {
    pub(crate) body: Vec<u8>,
    pub(crate) attributes: Vec<(String, String)>,
    pub(crate) delay: Option<Duration>,
    pub(crate) group: Option<String>,
    pub(crate) deduplication_id: Option<String>,
}

impl NewMessage {
    /// One that says this.
    pub fn new(body: impl Into<Vec<u8>>) -> Self {
        Self { body: body.into(), ..Self::default() }
    }

    /// The same of what serializes as JSON.
    ///
    /// # Errors
    /// What does not.
    #[cfg(feature = "json")]
    pub fn json(body: &impl serde::Serialize) -> crate::Result<Self> {
        Ok(Self::new(serde_json::to_vec(body)?))
    }

    /// With this said beside it.
    pub fn attribute(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.attributes.push((name.into(), value.into()));
        self
    }

    /// That stays out of sight so long; of standard queues alone.
    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay = Some(delay);
        self
    }

    /// Of this group, which every message of a FIFO queue needs.
    pub fn group(mut self, group: impl Into<String>) -> Self {
        self.group = Some(group.into());
        self
    }

    /// That a FIFO queue takes once within five minutes, with all others that have this id.
    pub fn deduplication_id(mut self, id: impl Into<String>) -> Self {
        self.deduplication_id = Some(id.into());
        self
    }
}

/// Sends a message to a queue of the task's namespace, and returns its id. Once it does, the message is on the platform's drive.
pub fn send(queue: &str, message: NewMessage) -> Result<String, ServiceError> {
    let mut sent = send_all(queue, &[message])?;
    let sent = sent.pop().unwrap_or_else(|| Err("the platform said nothing of the message".to_owned()));
    sent.map_err(ServiceError::Invalid)
}

/// Sends messages, 10 at most. Of each it returns the id, or what is wrong with it.
pub fn send_all(queue: &str, messages: &[NewMessage]) -> Result<Vec<Result<String, String>>, ServiceError> {
    crate::runtime::send_messages(queue, messages)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(group: Option<&str>, body: &str) -> Message {
        Message {
            queue: "orders".to_owned(),
            id: body.to_owned(),
            body: body.into(),
            attributes: Vec::new(),
            group: group.map(str::to_owned),
            sent_at_ms: 1,
            receives: 1,
        }
    }

    #[test]
    fn a_group_stops_at_a_message_that_is_not_done_and_others_go_on() {
        let consumer = |message: Message<String>| match message.body.as_str() {
            "fail" => Err("as it was told"),
            _ => Ok(()),
        };
        let given = [
            (Some("a"), "1"),
            (Some("a"), "fail"),
            (Some("b"), "2"),
            (Some("a"), "3"),
            (None, "fail"),
            (None, "4"),
        ];
        let given = given.map(|(group, body)| message(group, body)).into();
        let (done, again) = (Outcome::Done, Outcome::Retry);
        let expected = [&done, &again, &done, &again, &again, &done];
        assert!(consume(given, &consumer).iter().eq(expected));
    }

    #[test]
    fn a_body_that_can_not_be_read_is_rejected() {
        let mut broken = message(None, "");
        broken.body = vec![0xff];
        let outcomes = consume(vec![broken], &|_: Message<String>| ());
        assert!(matches!(&outcomes[..], [Outcome::Reject(why)] if why.contains("no text")), "{outcomes:?}");
        assert_eq!(consume(vec![message(None, "x")], &|_: Message| ()), [Outcome::Done]);
    }

    #[cfg(feature = "json")]
    #[test]
    fn a_body_is_read_as_json() {
        let twice = |message: Message<Json<u32>>| match message.body {
            Json(7) => Outcome::Done,
            Json(_) => Outcome::RetryAfter(Duration::from_secs(1)),
        };
        let given = ["7", "8", "x"].map(|body| message(None, body)).into();
        let outcomes = consume(given, &twice);
        assert_eq!(outcomes[..2], [Outcome::Done, Outcome::RetryAfter(Duration::from_secs(1))]);
        assert!(matches!(&outcomes[2], Outcome::Reject(why) if why.contains("not what the consumer takes")));
    }
}

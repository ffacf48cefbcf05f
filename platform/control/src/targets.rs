//! What carries deliveries of events out: tasks are run, services are called, queues are sent to, buses are put on, addresses
//! outside are posted to; and what could not be delivered goes to a dead-letter queue.
//!
//! It tries once, and says whether another time would do: when that is, how often, and in which order, the buses' engine
//! decides. It asks no role: who made a rule may lead where it leads.
//!
//! What always holds: whatever came of a try that is answered with `Ok` is safe, on the drive or with who took it; a try that is
//! made again after an `Ok` that was lost runs no second task as long as the first one's object is there, and sends a queue of FIFO
//! no second message within its five minutes.

mod counts;
mod queue;
mod service;
mod task;

pub(crate) use counts::{Counted, Counts, Invocations};

use crate::context::Context;
use async_trait::async_trait;
use bytes::Bytes;
use serde::de::IgnoredAny;
use sha2::{Digest as _, Sha256};
use skiff_events::envelope;
use skiff_ports::buses::{Attempt, AttemptError, BusError, Targets};
use skiff_ports::webhook::{WebhookError, WebhookPost};
use skiff_types::{BusEvent, Destination, Input, Name, QualifiedName, WebhookUrl};
use std::sync::Arc;

/// Bytes of a digest that stand for an attempt's id where that can't stand itself: enough that no two are the same.
const DIGEST_BYTES: usize = 16;
/// Digits of the mark that a target leaves on the id of what it puts on another bus.
const MARK_CHARS: usize = 16;

/// The targets of a control plane.
pub(crate) struct TargetsOfPlane {
    context: Arc<Context>,
}

impl TargetsOfPlane {
    pub(crate) fn new(context: Arc<Context>) -> Self {
        Self { context }
    }

    async fn put_on_bus(&self, bus: &Name, attempt: &Attempt) -> Result<(), AttemptError> {
        let event = shown_event(attempt);
        let name = QualifiedName::new(event.namespace.clone(), bus.clone());
        if !self.context.objects.read(|view| view.has_bus(&name)) {
            return Err(AttemptError::Refused(format!("there is no bus {name}")));
        }
        let event = BusEvent { bus: bus.clone(), id: id_on_bus(attempt), ..event };
        self.context.buses.pass_on(event).await.map_err(|error| match error {
            BusError::Invalid(message) => AttemptError::Refused(message),
            BusError::Busy(_) | BusError::DiskBusy => AttemptError::Busy(error.to_string()),
            BusError::DiskFull | BusError::Storage(_) => AttemptError::Failed(error.to_string()),
        })
    }

    async fn post(&self, url: &WebhookUrl, attempt: &Attempt) -> Result<(), AttemptError> {
        let body = match attempt.target.input {
            Input::Event => Bytes::from(envelope::cloudevent(&attempt.event)),
            Input::Path(_) | Input::Constant(_) | Input::Template(_) => attempt.payload.clone(),
        };
        let timeout = attempt.target.timeout.duration();
        let post = WebhookPost { url: url.clone(), id: digest(attempt), body, timeout };
        self.context.webhooks.post(post).await.map_err(|error| match error {
            WebhookError::Refused(reason) => AttemptError::Refused(reason),
            WebhookError::Failed(reason) => AttemptError::Failed(reason),
        })
    }
}

#[async_trait]
impl Targets for TargetsOfPlane {
    async fn deliver(&self, attempt: Attempt) -> Result<(), AttemptError> {
        if self.context.is_winding_down() {
            return Err(AttemptError::Busy("the platform is shutting down".to_owned()));
        }
        let outcome = match &attempt.target.to {
            Destination::Task(task) => task::run(&self.context, task, &attempt).await,
            Destination::Service { service, path } => {
                service::call(&self.context, service, path, &attempt).await
            }
            Destination::Queue { queue, group } => {
                queue::send(&self.context, queue, group.as_deref(), &attempt).await
            }
            Destination::Bus { bus } => self.put_on_bus(bus, &attempt).await,
            Destination::Webhook { url } => self.post(url, &attempt).await,
        };
        self.context.invocations.count(&attempt.origin, &outcome);
        outcome
    }

    async fn bury(
        &self,
        queue: &QualifiedName,
        attempt: Attempt,
        why: &AttemptError,
    ) -> Result<(), AttemptError> {
        let buried = queue::bury(&self.context, queue, &attempt, why).await;
        if buried.is_ok() {
            self.context.invocations.count_dead_letter(&attempt.origin);
        }
        buried
    }
}

/// The event as its target is to have it: with what its input is made to in the place of its detail.
fn shown_event(attempt: &Attempt) -> BusEvent {
    let event = BusEvent::clone(&attempt.event);
    match attempt.target.input {
        Input::Event => event,
        Input::Path(_) | Input::Constant(_) | Input::Template(_) => {
            BusEvent { detail: as_json(&attempt.payload).into(), ..event }
        }
    }
}

/// What is made of an input, if that is JSON; else as a string of JSON.
fn as_json(payload: &[u8]) -> String {
    let text = String::from_utf8_lossy(payload);
    match serde_json::from_str::<IgnoredAny>(&text) {
        Ok(_) => text.into_owned(),
        Err(_) => serde_json::Value::from(text).to_string(),
    }
}

/// Under which id an event goes on to another bus. As it is, it keeps its own: so one that comes round to a bus that has had it
/// leads to nothing more there. With another detail it is another event, and no bus is to take what two targets made of one event
/// for the same: its id is marked by its target. A target that marks it a second time takes its mark off, so that one that goes
/// round in a circle comes to an id that its bus has had, too.
fn id_on_bus(attempt: &Attempt) -> Arc<str> {
    if attempt.target.input == Input::Event {
        return attempt.event.id.clone();
    }
    let id: &str = &attempt.event.id;
    let (own, before) =
        id.rsplit_once('~').and_then(|(own, mark)| Some((own, mark_of(mark)?))).unwrap_or((id, 0));
    let target = Sha256::digest(format!("{} {}", attempt.origin, attempt.target.id));
    let mark = target.iter().take(size_of::<u64>()).fold(0_u64, |mark, byte| (mark << 8) | u64::from(*byte));
    let mark = mark ^ before;
    if mark == 0 {
        return own.into();
    }
    match own.len() + 1 + MARK_CHARS > envelope::ATTRIBUTE_BYTES_MAX {
        true => format!("{}~{mark:016x}", hex::encode(&Sha256::digest(own)[..DIGEST_BYTES])).into(),
        false => format!("{own}~{mark:016x}").into(),
    }
}

/// The mark that an id ends with, if that is one.
fn mark_of(text: &str) -> Option<u64> {
    let is_one =
        text.len() == MARK_CHARS && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    u64::from_str_radix(text, 16).ok().filter(|_| is_one)
}

/// What stands for an attempt's id where no more than letters and digits may.
fn digest(attempt: &Attempt) -> String {
    hex::encode(&Sha256::digest(attempt.id.as_bytes())[..DIGEST_BYTES])
}

#[cfg(test)]
mod tests {
    use super::*;
    use skiff_types::{EventTarget, RetryPolicy};
    use std::collections::BTreeMap;

    /// An attempt to deliver an event of a detail to a target.
    pub(super) fn attempt(id: &str, to: Destination, input: Input, payload: &'static [u8]) -> Attempt {
        let event = BusEvent {
            namespace: "default".parse().unwrap(),
            bus: "default".parse().unwrap(),
            id: "e1".into(),
            source: "shop".into(),
            detail_type: "Order Placed".into(),
            time_ms: 1_700_000_000_000,
            resources: vec![],
            subject: None,
            extensions: BTreeMap::new(),
            detail: r#"{"order":"17"}"#.into(),
            order_key: None,
        };
        let target = EventTarget {
            id: "a".parse().unwrap(),
            to,
            input,
            retry: RetryPolicy::default(),
            dead_letter: None,
            concurrency: 1,
            timeout: EventTarget::TIMEOUT,
        };
        Attempt {
            id: id.into(),
            origin: "default/orders".parse().unwrap(),
            event: Arc::new(event),
            target: Arc::new(target),
            payload: Bytes::from_static(payload),
            number: 1,
        }
    }

    #[test]
    fn the_event_is_shown_with_what_its_input_is_made_to() {
        let to = || Destination::Bus { bus: "audit".parse().unwrap() };
        let detail = |input, payload| shown_event(&attempt("1", to(), input, payload)).detail.to_string();
        assert_eq!(detail(Input::Event, b"{}"), r#"{"order":"17"}"#);
        assert_eq!(detail(Input::Path("$.detail.order".into()), br#""17""#), r#""17""#);
        assert_eq!(detail(Input::Constant("7".into()), b"7"), "7");
        assert_eq!(detail(Input::Path("$.detail".into()), br#"order "17" came"#), r#""order \"17\" came""#);
    }

    #[test]
    fn what_two_targets_make_of_an_event_is_two_events_and_a_circle_ends() {
        let made = |rule: &str, id: &str, input: Input| {
            let mut attempt = attempt("1", Destination::Bus { bus: "audit".parse().unwrap() }, input, b"7");
            attempt.origin = rule.parse().unwrap();
            attempt.event = Arc::new(BusEvent { id: id.into(), ..BusEvent::clone(&attempt.event) });
            id_on_bus(&attempt).to_string()
        };
        let constant = || Input::Constant("7".into());
        assert_eq!(made("default/a", "e1", Input::Event), "e1");
        let (a, b) = (made("default/a", "e1", constant()), made("default/b", "e1", constant()));
        assert!(a != b && a.starts_with("e1~") && a.len() == 3 + MARK_CHARS, "{a} {b}");
        assert_eq!(made("default/a", "e1", constant()), a, "the same at each try");
        assert_eq!(made("default/a", &a, constant()), "e1", "it was there before");
        let both = made("default/b", &a, constant());
        assert_eq!(made("default/b", &made("default/a", &both, constant()), constant()), "e1");
        assert!(![&a, &b].contains(&&both));
        assert_ne!(made("default/a", "e1~zz", constant()), a);
        let long = "e".repeat(envelope::ATTRIBUTE_BYTES_MAX);
        assert!(made("default/a", &long, constant()).len() < envelope::ATTRIBUTE_BYTES_MAX);
    }

    #[test]
    fn an_attempt_is_told_from_others_by_letters_and_digits() {
        let of = |id: &str| {
            digest(&attempt(id, Destination::Bus { bus: "audit".parse().unwrap() }, Input::Event, b"{}"))
        };
        assert_eq!(of("default/orders 1-2"), of("default/orders 1-2"));
        assert_ne!(of("1-2"), of("1-3"));
        assert!(of("../x").bytes().all(|byte| byte.is_ascii_alphanumeric()));
    }
}

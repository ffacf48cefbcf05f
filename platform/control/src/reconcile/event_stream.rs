//! Brings about that what happens to tasks, services and alarms is on the default bus of its namespace, in the shapes that ECS,
//! CloudWatch and Application Auto Scaling give it on EventBridge.
//!
//! It reads the journal, so that what is put on a bus is what `skiff events` shows, under the same ids. As long as there is a rule that
//! could take anything, how far it is is written down once the bus has it on the drive; where nothing was written down yet, it begins
//! with what was recorded since there is a rule. Without one, a platform that starts again begins with what comes.
//!
//! What always holds: what is put on a bus where there are rules is on the drive in the journal before, so that it is told under this id
//! and no other, whatever ends; the journal keeps what is not on its bus yet. What was put and is put again, since that was not
//! written down any more, the bus knows by its id for a while.

use super::bucket_events;
use crate::context::Context;
use crate::entrance::wire;
use crate::events::Reading;
use crate::keys;
use crate::model::StreamPosition;
use crate::objects::ObjectError;
use serde_json::Value;
use skiff_kit::Backoff;
use skiff_ports::buses::BusError;
use skiff_ports::store::{Expect, StoreError};
use skiff_types::{BusEvent, DEFAULT_BUS, Event, EventId};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tracing::warn;

/// Waits after a failure.
const BACKOFF: Backoff = Backoff { first_ms: 50, most_ms: 5_000 };

/// Why the stream did not come further.
#[derive(Debug, thiserror::Error)]
enum StreamError {
    #[error("the journal is not on the drive")]
    Journal(#[source] StoreError),
    #[error(transparent)]
    Object(#[from] ObjectError),
    #[error(transparent)]
    Bus(#[from] BusError),
}

/// Behind which event it begins: all up to that one are on their buses, or are nobody's.
pub(super) fn begin(context: &Context) -> Option<EventId> {
    let (first_rule_ms, noted) = context.objects.read(|view| {
        let noted = view.buses.position.get(&keys::stream_position()).map(|held| held.value.event);
        (view.buses.rules.all().map(|held| held.value.created_at_ms).min(), noted)
    });
    let after = match first_rule_ms {
        // What was recorded before there was a rule is nobody's; this is before all that was recorded since.
        Some(since_ms) => noted.max(Some(EventId::following(None, since_ms, [0; 8]))),
        None => context.events.newest(),
    };
    context.events.set_on_buses(after);
    after
}

pub(super) async fn run(context: Arc<Context>, after: Option<EventId>) {
    let mut reading = Reading::after(context.clone(), after);
    let mut failures = 0;
    loop {
        let page = tokio::select! {
            biased;
            () = context.drain.begun() => return,
            page = reading.page(BusEvent::BATCH_MAX) => page,
        };
        let page = match page {
            Ok(page) => page,
            Err(error) => {
                warn!(%error, "the stream of events can't be read; trying again");
                failures += 1;
                if !pause(&context, failures).await {
                    return;
                }
                continue;
            }
        };
        while let Err(error) = put(&context, &page).await {
            failures += 1;
            warn!(%error, failures, "the stream of events could not be put on the buses; trying again");
            if !pause(&context, failures).await {
                return;
            }
        }
        failures = 0;
    }
}

/// Waits after so many failures; whether it is to go on.
async fn pause(context: &Context, failures: u32) -> bool {
    tokio::select! {
        biased;
        () = context.drain.begun() => false,
        () = tokio::time::sleep(Duration::from_millis(BACKOFF.delay_ms(failures))) => true,
    }
}

/// Puts a page of the stream on the buses, and notes how far that is.
async fn put(context: &Context, page: &[Event]) -> Result<(), StreamError> {
    let Some(last) = page.last().map(|event| event.id) else { return Ok(()) };
    let events: Vec<BusEvent> = page.iter().filter_map(bus_event).collect();
    if context.objects.read(|view| view.buses.rules.all().next().is_some()) {
        context.events.sync().await.map_err(StreamError::Journal)?;
    }
    bucket_events::put(context, events).await?;
    context.events.set_on_buses(Some(last));
    note(context, last).await?;
    Ok(())
}

/// Notes how far the stream was put on the buses, if anybody could want to know.
async fn note(context: &Context, event: EventId) -> Result<(), ObjectError> {
    let key = keys::stream_position();
    let (has_rules, is_noted) = context.objects.read(|view| {
        let is_noted = view.buses.position.get(&key).is_some() || view.unreadable.contains(&key);
        (view.buses.rules.all().next().is_some(), is_noted)
    });
    match (has_rules, is_noted) {
        (true, _) => context.objects.put(StreamPosition { event }, Expect::Any).await.map(drop),
        // So that a rule that comes later is not told of what was before it.
        (false, true) => context.objects.delete::<StreamPosition>(&key, Expect::Any).await,
        (false, false) => Ok(()),
    }
}

/// Something that happened as an event on a bus; `None` where it can't be written as JSON.
fn bus_event(event: &Event) -> Option<BusEvent> {
    let shown = wire(event.clone());
    let resources: Vec<Arc<str>> =
        event.resources.iter().map(|resource| resource.to_string().into()).collect();
    let mut fields = match serde_json::to_value(&shown) {
        Ok(Value::Object(fields)) => fields,
        Ok(_) | Err(_) => return None,
    };
    let detail_type = fields.get("detail-type").and_then(Value::as_str).map(Arc::from)?;
    let detail = fields.remove("detail")?.to_string();
    Some(BusEvent {
        namespace: event.namespace.clone(),
        bus: DEFAULT_BUS.parse().expect("its name is one"),
        id: event.id.to_string().into(),
        source: shown.source.to_string().into(),
        detail_type,
        time_ms: event.at_ms,
        order_key: resources.first().cloned(),
        subject: resources.first().cloned(),
        resources,
        extensions: BTreeMap::new(),
        detail: detail.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use skiff_types::{EventDetail, Resource, ScalingActivity};

    #[test]
    fn what_happened_is_on_the_bus_as_it_is_on_the_stream() {
        let service: skiff_types::QualifiedName = "shop/web".parse().unwrap();
        let activity = ScalingActivity {
            before: 5,
            after: 8,
            min: 2,
            max: 8,
            began_at_ms: 1_560_334_843_000,
            ended_at_ms: 1_560_335_020_000,
            cause: "load".to_owned(),
        };
        let event = Event {
            id: EventId::following(None, 1_560_335_020_000, [0; 8]),
            at_ms: 1_560_335_020_000,
            namespace: service.namespace.clone(),
            resources: vec![Resource::Service(service)],
            message: "scaled".to_owned(),
            detail: EventDetail::ScalingActivity(activity),
        };
        let put = bus_event(&event).unwrap();
        assert_eq!((put.namespace.as_str(), put.bus.as_str()), ("shop", "default"));
        assert_eq!(&*put.source, "skiff.application-autoscaling");
        assert_eq!(&*put.detail_type, "Application Auto Scaling Scaling Activity State Change");
        assert_eq!(*put.id, *event.id.to_string());
        let detail: Value = serde_json::from_str(&put.detail).unwrap();
        assert_eq!((&detail["newDesiredCapacity"], &detail["cause"]), (&8.into(), &"load".into()));
        assert_eq!(put.order_key.as_deref(), Some("service/shop/web"));
    }
}

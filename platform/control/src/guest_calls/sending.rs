//! Messages to queues and events to buses.

use super::failures::{of_bus, of_queue};
use super::{Answered, Asker, GuestCallsOfPlane};
use skiff_ports::guest_calls::{GuestAnswer, GuestCallError, GuestEvent, GuestMessage};
use skiff_ports::queues::NewMessage;
use skiff_types::{AccessAction, AccessResource, BusEvent, Name, QualifiedName, QueueSpec, ResourceKind};
use std::collections::BTreeMap;
use std::time::Duration;

impl GuestCallsOfPlane {
    pub(super) async fn send(&self, asker: &Asker, queue: Name, messages: Vec<GuestMessage>) -> Answered {
        let name = asker.named(queue);
        self.allow(asker, AccessAction::QueueSend, &AccessResource::new(ResourceKind::Queue, name.clone()))?;
        check_count(messages.len(), QueueSpec::BATCH_MAX, "messages")?;
        let queue = self.catalog.queue(&name).ok_or_else(|| not_there("queue", &name))?;
        let messages = messages.into_iter().map(asked).collect::<Answered<Vec<_>>>()?;
        let sent = self.context.queues.send(&queue, messages).await.map_err(|error| of_queue(&error))?;
        let told = sent.into_iter().map(|sent| match sent {
            Ok(sent) => Ok(sent.id),
            Err(error) => Err(error.to_string()),
        });
        Ok(GuestAnswer::Sent(told.collect()))
    }

    pub(super) async fn put_events(&self, asker: &Asker, bus: Name, events: Vec<GuestEvent>) -> Answered {
        let name = asker.named(bus);
        self.allow(asker, AccessAction::BusPut, &AccessResource::new(ResourceKind::Bus, name.clone()))?;
        check_count(events.len(), BusEvent::BATCH_MAX, "events")?;
        if !self.catalog.has_bus(&name) {
            return Err(not_there("bus", &name));
        }
        if events.is_empty() {
            return Ok(GuestAnswer::Done);
        }
        let events: Vec<BusEvent> = events.into_iter().map(|event| self.happened(&name, event)).collect();
        if let Some(event) = events.iter().find(|event| event.is_of_skiff()) {
            return Err(GuestCallError::Invalid(format!(
                "{:?} can't be an event's source: those that begin with {:?} are Skiff's own",
                event.source,
                BusEvent::OWN_SOURCES
            )));
        }
        self.context.buses.put(events).await.map_err(|error| of_bus(&error))?;
        Ok(GuestAnswer::Done)
    }

    /// What a guest says happened, as the event of a bus.
    fn happened(&self, bus: &QualifiedName, event: GuestEvent) -> BusEvent {
        let GuestEvent { id, source, detail_type, subject, time_ms, detail } = event;
        BusEvent {
            namespace: bus.namespace.clone(),
            bus: bus.name.clone(),
            id: id.unwrap_or_else(|| hex::encode(self.context.random.bytes::<16>())).into(),
            source: source.into(),
            detail_type: detail_type.into(),
            time_ms: time_ms.unwrap_or_else(|| self.context.now_ms()),
            resources: Vec::new(),
            subject: subject.map(Into::into),
            extensions: BTreeMap::new(),
            detail: detail.into(),
            order_key: None,
        }
    }
}

fn asked(message: GuestMessage) -> Answered<NewMessage> {
    let GuestMessage { body, attributes: said, delay_ms, group, deduplication_id } = message;
    let mut attributes = BTreeMap::new();
    for (name, value) in said {
        if attributes.contains_key(&name) {
            return Err(GuestCallError::Invalid(format!(
                "the attribute {name:?} is said of a message twice: say each once"
            )));
        }
        attributes.insert(name, value);
    }
    let delay = delay_ms.map(Duration::from_millis);
    Ok(NewMessage { body, attributes, delay, group, deduplication_id })
}

fn check_count(count: usize, most: usize, what: &str) -> Answered<()> {
    match count > most {
        true => Err(GuestCallError::Invalid(format!(
            "{count} {what} are sent at once; the most is {most}: make more calls"
        ))),
        false => Ok(()),
    }
}

fn not_there(what: &str, name: &QualifiedName) -> GuestCallError {
    let QualifiedName { namespace, name } = name;
    GuestCallError::NotFound(format!(
        "there is no {what} {name} in the namespace {namespace}; make it with `skiff {what} create {name}`"
    ))
}

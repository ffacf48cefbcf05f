//! Queues: made, changed, shown, removed.

mod messages;

use super::super::balancer::not_there;
use super::super::page::page;
use super::super::{Entrance, IfMatch};
use super::check_room;
use crate::catalog::queue_ref;
use crate::error::ApiError;
use crate::keys;
use crate::model::{Kept, Queue};
use crate::view::{Held, View};
use skiff_api::{Page, PageQuery, PutQueue, QueueStatus};
use skiff_ports::catalog::QueueRef;
use skiff_types::{Namespace, QualifiedName, QueueSpec};
use tracing::info;

impl Entrance {
    /// Creates a queue, or replaces all that it says.
    pub(crate) async fn put_queue(
        &self,
        name: &QualifiedName,
        request: PutQueue,
        if_match: IfMatch,
    ) -> Result<skiff_api::Queue, ApiError> {
        let _alone = self.context.routing.lock().await;
        let spec = |present: Option<&QueueSpec>| -> Result<QueueSpec, ApiError> {
            let spec = request.to_domain(name.clone()).map_err(ApiError::invalid)?;
            self.context.objects.read(|view| {
                match present {
                    Some(present) => check_order(present, &spec)?,
                    None => check_room(view.data.queues.all().count(), "queues", "queue")?,
                }
                check_dead_letter(view, &spec)
            })?;
            Ok(spec)
        };
        let held = self.keep(&keys::queue(name), if_match, spec).await?;
        info!(queue = %name, "wanted");
        Ok(self.context.objects.read(|view| self.shown_queue(view, &held)))
    }

    /// Lists queues by name, and what they hold.
    pub(crate) fn list_queues(
        &self,
        namespace: &Namespace,
        query: &PageQuery,
    ) -> Result<Page<skiff_api::Queue>, ApiError> {
        self.context.objects.read(|view| {
            let queues = view.data.queues.under(&keys::in_namespace("queue", namespace));
            let queues = queues.map(|held| (held.value.spec.spec.name.name.to_string(), held)).collect();
            page(queues, query.limit, query.cursor.as_deref(), |held| self.shown_queue(view, held))
        })
    }

    /// Shows a queue, and what it holds.
    pub(crate) fn get_queue(&self, name: &QualifiedName) -> Result<skiff_api::Queue, ApiError> {
        self.context.objects.read(|view| {
            let held = view.queue(name).ok_or_else(|| no_queue(view, name))?;
            Ok(self.shown_queue(view, held))
        })
    }

    /// Removes a queue that is nobody's dead-letter queue, with its messages.
    pub(crate) async fn delete_queue(&self, name: &QualifiedName, if_match: IfMatch) -> Result<(), ApiError> {
        let _alone = self.context.routing.lock().await;
        let missing = |view: &View| no_queue(view, name);
        let check = |view: &View| check_unneeded(view, name);
        self.withdraw::<Kept<QueueSpec>>(&keys::queue(name), if_match, missing, check).await?;
        self.context.objects.wakes.data.notify_one();
        info!(queue = %name, "the queue is removed");
        Ok(())
    }

    /// A queue that is there.
    fn known_queue(&self, name: &QualifiedName) -> Result<QueueRef, ApiError> {
        self.context.objects.read(|view| queue_ref(view, name).ok_or_else(|| no_queue(view, name)))
    }

    fn shown_queue(&self, view: &View, held: &Held<Queue>) -> skiff_api::Queue {
        let Queue { spec: kept, created_at_ms, updated_at_ms } = &*held.value;
        let spec = &kept.spec;
        let status =
            queue_ref(view, &spec.name).map(|queue| self.context.queues.stats(&queue)).unwrap_or_default();
        let now_ms = self.context.now_ms();
        let status = QueueStatus {
            visible: status.visible,
            in_flight: status.in_flight,
            delayed: status.delayed,
            oldest_age_ms: status.oldest_sent_at_ms.map(|sent_at_ms| now_ms.saturating_sub(sent_at_ms)),
        };
        skiff_api::Queue::new(spec, held.revision, status, *created_at_ms, *updated_at_ms)
    }
}

/// Refuses to make a queue of the other order of one that is there: its messages were sent by other rules.
fn check_order(present: &QueueSpec, wanted: &QueueSpec) -> Result<(), ApiError> {
    if present.order.is_fifo() == wanted.order.is_fifo() {
        return Ok(());
    }
    let (is, other) = if present.order.is_fifo() { ("FIFO", "standard") } else { ("standard", "FIFO") };
    Err(ApiError::not_now(format!(
        "{} is a {is} queue, and stays one; make a {other} queue under another name",
        present.name.name
    )))
}

/// Refuses a dead-letter queue that is not there, or of another order.
fn check_dead_letter(view: &View, spec: &QueueSpec) -> Result<(), ApiError> {
    let Some(dead_letter) = &spec.dead_letter else { return Ok(()) };
    let name = QualifiedName::new(spec.name.namespace.clone(), dead_letter.queue.clone());
    let held = view.queue(&name).ok_or_else(|| no_queue(view, &name))?;
    match held.value.spec.spec.order.is_fifo() == spec.order.is_fifo() {
        true => Ok(()),
        false => Err(ApiError::not_now(format!(
            "the dead letters of a {} queue go to one that is so too, and {} is not: name another",
            if spec.order.is_fifo() { "FIFO" } else { "standard" },
            name.name
        ))),
    }
}

/// Refuses the removal of a queue that somebody takes messages of, or that another buries in; or who may whose record can't be
/// read.
fn check_unneeded(view: &View, name: &QualifiedName) -> Result<(), ApiError> {
    let mut others = view.queues_that_bury_in(name).map(|held| &held.value.spec.spec.name);
    if let Some(other) = others.find(|other| *other != name) {
        return Err(ApiError::not_now(format!(
            "the queue {other} has {} for its dead letters; change it to have another, or none, first",
            name.name
        )));
    }
    if let Some(who) = view.events_go_to_queue(name) {
        return Err(ApiError::not_now(format!(
            "{who} the queue {}; have it lead elsewhere, or remove it, first",
            name.name
        )));
    }
    if let Some(held) = view.consumers_of_queue(name).next() {
        let consumer = &held.value.spec.name.name;
        return Err(ApiError::not_now(format!(
            "the consumer {consumer} takes the messages of the queue {}; remove it first, with `skiff consumer rm {consumer}`",
            name.name
        )));
    }
    let places = ["consumer", "queue"].map(|token| keys::in_namespace(token, &name.namespace));
    let mut unreadable = view.unreadable.iter();
    let by_events = view.unreadable_that_may_lead_by_events(&name.namespace);
    match unreadable.find(|key| places.iter().any(|place| key.is_under(place))).or(by_events) {
        Some(key) => Err(ApiError::not_now(format!(
            "the record {key} can't be read, and may need the queue {name}, which stays until it can be; see the platform's log"
        ))),
        None => Ok(()),
    }
}

/// Refuses a queue that there is not.
pub(in crate::entrance) fn check_queue(view: &View, name: &QualifiedName) -> Result<(), ApiError> {
    view.queue(name).map(drop).ok_or_else(|| no_queue(view, name))
}

pub(in crate::entrance) fn no_queue(view: &View, name: &QualifiedName) -> ApiError {
    let QualifiedName { namespace, name: queue } = name;
    let missing = format!(
        "there is no queue {queue} in the namespace {namespace}; make it with `skiff queue create {queue}`, `skiff queue ls` \
         lists those that there are"
    );
    not_there(view, &keys::queue(name), missing)
}

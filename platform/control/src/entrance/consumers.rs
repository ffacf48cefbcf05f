//! Consumers of queues: made, changed, shown with what has come of them, removed. The reconcilers give the messages.
//!
//! What always holds: a consumer is made only where its queue and its service are there, and the queue stays as long as it has one.
//! A service may go: then no messages are taken.

use super::balancer::not_there;
use super::data::{check_room, no_queue};
use super::page::page;
use super::services::existing;
use super::{Entrance, IfMatch};
use crate::consumers::standing::{self, Standing, takes_none};
use crate::error::ApiError;
use crate::keys;
use crate::model::Consumer;
use crate::view::{Held, View};
use skiff_api::{ConsumerState, ConsumerStatus, ErrorCode, Page, PageQuery, PutConsumer};
use skiff_ports::guest_deliveries::takes_messages;
use skiff_types::{ConsumerSpec, Name, Namespace, QualifiedName};
use tracing::info;

impl Entrance {
    /// Creates a consumer, or replaces all that it says.
    pub(crate) async fn put_consumer(
        &self,
        name: &QualifiedName,
        request: PutConsumer,
        if_match: IfMatch,
    ) -> Result<skiff_api::Consumer, ApiError> {
        let _alone = self.context.routing.lock().await;
        let spec = |present: Option<&ConsumerSpec>| -> Result<ConsumerSpec, ApiError> {
            let spec = request.to_domain(name.clone()).map_err(ApiError::invalid)?;
            self.context.objects.read(|view| {
                if present.is_none() {
                    check_room(view.consumers.all().count(), "consumers", "consumer")?;
                }
                check(view, &spec)
            })?;
            Ok(spec)
        };
        let held = self.declare(&keys::consumer(name), if_match, spec).await?;
        info!(consumer = %name, queue = %held.value.spec.queue, service = %held.value.spec.service, "wanted");
        Ok(self.shown_consumer(&held))
    }

    /// Lists consumers by name, and what has come of them.
    pub(crate) fn list_consumers(
        &self,
        namespace: &Namespace,
        query: &PageQuery,
    ) -> Result<Page<skiff_api::Consumer>, ApiError> {
        let consumers: Vec<(String, Held<Consumer>)> = self.context.objects.read(|view| {
            let consumers = view.consumers.under(&keys::in_namespace("consumer", namespace));
            consumers.map(|held| (held.value.spec.name.name.to_string(), held.clone())).collect()
        });
        page(consumers, query.limit, query.cursor.as_deref(), |held| self.shown_consumer(&held))
    }

    /// Shows a consumer, and what has come of it.
    pub(crate) fn get_consumer(&self, name: &QualifiedName) -> Result<skiff_api::Consumer, ApiError> {
        let held = self
            .context
            .objects
            .read(|view| view.consumer(name).cloned().ok_or_else(|| no_consumer(view, name)))?;
        Ok(self.shown_consumer(&held))
    }

    /// Removes a consumer; what tasks have of its messages, they finish.
    pub(crate) async fn delete_consumer(
        &self,
        name: &QualifiedName,
        if_match: IfMatch,
    ) -> Result<(), ApiError> {
        let _alone = self.context.routing.lock().await;
        let missing = |view: &View| no_consumer(view, name);
        self.withdraw::<ConsumerSpec>(&keys::consumer(name), if_match, missing, |_| Ok(())).await?;
        info!(consumer = %name, "the consumer is removed");
        Ok(())
    }

    fn shown_consumer(&self, held: &Held<Consumer>) -> skiff_api::Consumer {
        let Consumer { spec, created_at_ms, updated_at_ms } = &*held.value;
        let (state, reason, tasks) = match standing::of(&self.context.objects, spec) {
            Standing::Active { tasks, .. } => (ConsumerState::Active, None, tasks.len() as u32),
            Standing::Asleep { .. } => (ConsumerState::Asleep, None, 0),
            Standing::Waiting { why, .. } => (ConsumerState::Waiting, Some(why), 0),
            Standing::Blocked { why } => (ConsumerState::Blocked, Some(why), 0),
        };
        let known = self.context.consumers.known(&spec.name);
        let (last_failure_at_ms, last_failure) = known.last_failure.unzip();
        let status = ConsumerStatus {
            state,
            reason,
            tasks,
            in_flight: known.in_flight,
            done: known.done,
            retried: known.retried,
            rejected: known.rejected,
            failed_batches: known.failed_batches,
            last_failure,
            last_failure_at_ms,
        };
        skiff_api::Consumer::new(spec, held.revision, status, *created_at_ms, *updated_at_ms)
    }
}

/// Refuses a consumer of what is not there, or that another is already, or whose service could never be given messages.
fn check(view: &View, spec: &ConsumerSpec) -> Result<(), ApiError> {
    let beside = |name: &Name| QualifiedName::new(spec.name.namespace.clone(), name.clone());
    let (queue, service_name) = (beside(&spec.queue), beside(&spec.service));
    if view.queue(&queue).is_none() {
        return Err(no_queue(view, &queue));
    }
    let service = view.service(&service_name).map(|held| &*held.value);
    let service = existing(service, &service_name)?;
    let definition = view.definition(&service.namespace, view.revision_of(service));
    if definition.is_some_and(|held| !takes_messages(&held.value.report.exports)) {
        return Err(ApiError::not_now(takes_none(&spec.service)));
    }
    let is_same = |held: &&Held<Consumer>| {
        let other = &held.value.spec;
        other.queue == spec.queue && other.name != spec.name
    };
    match view.consumers_of_service(&service_name).find(is_same) {
        Some(other) => Err(ApiError::new(
            ErrorCode::Conflict,
            format!(
                "the consumer {other} gives {} the messages of {} already; change that, or remove it with `skiff consumer rm \
                 {other}`",
                spec.service,
                spec.queue,
                other = other.value.spec.name.name
            ),
        )),
        None => Ok(()),
    }
}

fn no_consumer(view: &View, name: &QualifiedName) -> ApiError {
    let QualifiedName { namespace, name: consumer } = name;
    let missing = format!(
        "there is no consumer {consumer} in the namespace {namespace}; make it with `skiff consumer put {consumer}`, `skiff \
         consumer ls` lists those that there are"
    );
    not_there(view, &keys::consumer(name), missing)
}

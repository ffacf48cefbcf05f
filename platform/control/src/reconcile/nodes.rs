//! Brings about that what is placed fits the nodes that there are: tasks of a node that is gone end, and services that have
//! one task on each node want as many as there are.
//!
//! It deliberately starts nothing: other reconcilers start what is missing then. What always holds: a task whose node is there
//! is left alone, unless its service has one on each node and this one no longer comes into question.

use super::{LOOK_INTERVAL, RETRY_INTERVAL, WRITES_AT_ONCE};
use crate::context::Context;
use crate::keys;
use crate::model::{Service, TaskObject};
use crate::objects::ObjectError;
use crate::records::Stored;
use crate::view::{Held, View};
use futures::{Stream, StreamExt, stream};
use skiff_ports::store::Key;
use skiff_types::{NodeId, StopCode, StoppedReason, TaskId, TaskStatus};
use std::future::pending;
use std::sync::Arc;
use tracing::{info, warn};

pub(super) async fn run(context: Arc<Context>) {
    let mut nodes = context.nodes.watch();
    let mut is_kept = true;
    loop {
        let specs = nodes.borrow_and_update().clone();
        context.objects.read_mut(|view| view.set_nodes(&specs));
        context.objects.wakes.services.notify_one();
        // Some may wait for a node to begin anew on.
        context.objects.wakes.tasks.notify_one();
        let failed = look(&context).await;
        let changed = async {
            match is_kept {
                true => nodes.changed().await.is_ok(),
                // Nobody is left who could change them.
                false => pending().await,
            }
        };
        tokio::select! {
            biased;
            () = context.drain.begun() => return,
            kept = changed => is_kept = kept,
            () = tokio::time::sleep(if failed { RETRY_INTERVAL } else { LOOK_INTERVAL }) => {}
        }
    }
}

/// Does what is due; says whether any of it failed.
async fn look(context: &Context) -> bool {
    let lost = context.objects.read(|view| view.nodes.lost());
    let lost = stream::iter(lost).map(|key| logged("end a task of a node that is gone", end(context, key)));
    let failed = any(lost.buffer_unordered(WRITES_AT_ONCE)).await;
    if context.is_winding_down() {
        return failed;
    }
    let services = context.objects.read(View::one_per_node);
    let kept = stream::iter(services).map(|held| logged("have one task on each node", keep(context, held)));
    any(kept.buffer_unordered(WRITES_AT_ONCE)).await || failed
}

/// Ends a task whose node is gone, and all that it had there with it.
async fn end(context: &Context, key: Key) -> Result<(), ObjectError> {
    let now_ms = context.now_ms();
    let mut ended = None;
    let apply = |object: &mut TaskObject| {
        let task = &mut object.task;
        let is_lost = |node: &NodeId| context.objects.read(|view| !view.nodes.has(node));
        ended = task.node.clone().filter(is_lost).filter(|_| {
            // Who asked for its end first is why it ended.
            task.status != TaskStatus::Stopped && task.stop.is_none()
        });
        let Some(node) = &ended else { return false };
        let message = format!("the node {node} is gone, and the task with it");
        task.stop = Some(StoppedReason { code: StopCode::NodeLost, message });
        object.updated_at_ms = now_ms;
        true
    };
    let after = context.objects.update(&key, apply).await?;
    if let (Some(node), Some(after)) = (ended, after) {
        warn!(task = %after.value.task.id, owner = %after.value.owner(), %node, "a task was lost with its node");
    }
    Ok(())
}

/// Has a service that has one task on each node want as many as come into question, and none anywhere else.
async fn keep(context: &Context, held: Held<Service>) -> Result<(), ObjectError> {
    let (service, now_ms) = (&held.value, context.now_ms());
    let (desired, too_many) = context
        .objects
        .read_mut(|view| (view.nodes.admitting(&service.spec.placement), view.too_many(service)));
    if service.spec.desired != desired {
        let apply = |object: &mut Service| {
            let is_same = object.created_at_ms == service.created_at_ms
                && object.spec.placement == service.spec.placement
                && !object.removed;
            let is_news = is_same && object.spec.desired != desired;
            if is_news {
                object.spec.desired = desired;
            }
            is_news
        };
        context.objects.update(&service.key(), apply).await?;
        info!(service = %service.name(), desired, "the nodes that the service has a task on have changed");
    }
    for task in too_many {
        stop(context, service, task, now_ms).await?;
    }
    Ok(())
}

async fn stop(context: &Context, service: &Service, task: TaskId, now_ms: u64) -> Result<(), ObjectError> {
    let apply = |object: &mut TaskObject| {
        let is_news = object.task.stop.is_none();
        if is_news {
            let message = "its service has one task on each node, and none on this one".to_owned();
            object.task.stop = Some(StoppedReason { code: StopCode::ServiceSchedulerInitiated, message });
            object.updated_at_ms = now_ms;
        }
        is_news
    };
    context.objects.update(&keys::task(&service.namespace, task), apply).await.map(drop)
}

/// Whether it failed, which is logged.
async fn logged(what: &str, done: impl Future<Output = Result<(), ObjectError>>) -> bool {
    match done.await {
        Ok(()) => false,
        Err(error) => {
            warn!(%error, what, "could not be done; it is tried again");
            true
        }
    }
}

async fn any(failed: impl Stream<Item = bool>) -> bool {
    failed.fold(false, |failed, this| async move { failed || this }).await
}

//! What becomes of the tasks that lived when the platform ended. Runs once, before the reconcilers.
//!
//! What always holds: a task that goes on from here has an address of the network that there is.

use super::WRITES_AT_ONCE;
use crate::addresses::NoAddress;
use crate::context::Context;
use crate::model::TaskObject;
use crate::objects::ObjectError;
use crate::records::Stored;
use futures::{StreamExt, TryStreamExt, stream};
use skiff_plan::lifecycle;
use skiff_ports::store::Key;
use skiff_types::{NetworkSpec, NodeId, Restart, StopCode, StoppedReason, TaskAddress, TaskStatus};
use tracing::warn;

/// Puts every task where a platform that has just started can take it up again.
pub(crate) async fn resume(context: &Context) -> Result<(), ObjectError> {
    // All tasks of before there were several nodes are on the one that there was.
    let first = match context.addresses.first_node().await {
        Some(node) => Some(node),
        None => context.objects.read(|view| view.nodes.all().next().map(|(spec, _)| spec.id.clone())),
    };
    let first = first.as_ref();
    let tasks: Vec<(Key, Option<Restart>)> = context.objects.read(|view| {
        let tasks = view.tasks.all().map(|held| &held.value);
        tasks.map(|object| (object.key(), view.restart_of(&object.task))).collect()
    });
    stream::iter(tasks)
        .map(|(key, restart)| async move {
            let now_ms = context.now_ms();
            let resume = |object: &mut TaskObject| {
                let mut changed = lifecycle::resume(&mut object.task, object.kind, restart, now_ms);
                if object.task.node.is_none() && object.task.status != TaskStatus::Stopped {
                    object.task.node = first.cloned();
                    changed |= first.is_some();
                }
                object.updated_at_ms = if changed { now_ms } else { object.updated_at_ms };
                changed
            };
            let resumed = context.objects.update(&key, resume).await?;
            let Some(held) = resumed.filter(|held| goes_on(&held.value)) else { return Ok(()) };
            let Some(node) = &held.value.task.node else {
                return stop(context, &key, "there is no node").await;
            };
            let Some(TaskAddress { v4, v6 }) = held.value.task.address else {
                return give_address(context, &key, node).await;
            };
            let NetworkSpec { ipv4, ipv6, .. } = context.addresses.spec();
            if ipv4.contains(&v4) && ipv6.contains(&v6) {
                return Ok(());
            }
            let why = format!("its addresses {v4} and {v6} are not both of {ipv4} and {ipv6}");
            stop(context, &key, &why).await
        })
        .buffer_unordered(WRITES_AT_ONCE)
        .try_for_each(|()| async { Ok(()) })
        .await
}

/// Whether a task is to run, or may be: one on the threshold begins anew if its definition, once it can be read, says so.
fn goes_on(object: &TaskObject) -> bool {
    match object.task.status {
        TaskStatus::Stopped => false,
        TaskStatus::Deprovisioning => true,
        _ => object.task.stop.is_none(),
    }
}

/// Gives an address to a task that was made by a Skiff that had no network.
async fn give_address(context: &Context, key: &Key, node: &NodeId) -> Result<(), ObjectError> {
    let address = match context.addresses.take(&context.objects, node, context.now_ms()).await {
        Ok(address) => address,
        Err(NoAddress::Object(error)) => return Err(error),
        Err(NoAddress::None(error)) => return stop(context, key, &error.to_string()).await,
    };
    let give = |object: &mut TaskObject| {
        let lacks = object.task.address.is_none() && goes_on(object);
        if lacks {
            object.task.address = Some(address);
        }
        lacks
    };
    let given = context.objects.update(key, give).await;
    if !matches!(&given, Ok(Some(held)) if held.value.task.address == Some(address)) {
        context.addresses.doubt(key.clone(), address).await;
    }
    given.map(drop)
}

/// Ends a task that can't be in the network, before anything runs it: none runs without an address.
async fn stop(context: &Context, key: &Key, why: &str) -> Result<(), ObjectError> {
    warn!(%key, why, "a task of before can't go on");
    let message = format!("the platform started again, and the task can't be in its virtual network: {why}");
    let now_ms = context.now_ms();
    let stop = |object: &mut TaskObject| {
        let is_to_stop = goes_on(object);
        if is_to_stop {
            let (code, message) = (StopCode::TaskFailedToStart, message.clone());
            object.task.stop = Some(StoppedReason { code, message });
            lifecycle::advance(&mut object.task, TaskStatus::Stopped, now_ms);
            object.updated_at_ms = now_ms;
        }
        is_to_stop
    };
    context.objects.update(key, stop).await.map(drop)
}

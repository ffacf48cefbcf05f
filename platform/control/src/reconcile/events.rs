//! Brings about that a task's object says what became of its program.
//!
//! An event that can't be written is tried again until it is, or the platform ends: what the node said once it does
//! not say again. The node ends before the drain begins; how its last programs ended is in its queue by then, and is
//! written all the same. A program that ends with the platform is found at the next start; so is one that was to go on and
//! ended during the shutdown, which takes its connections and its callers away: that says nothing of it.
//!
//! What always holds: what is heard late of one life of a task says nothing of the next.

use super::RETRY_INTERVAL;
use crate::context::Context;
use crate::model::TaskObject;
use crate::objects::ObjectError;
use crate::view::View;
use futures::FutureExt;
use skiff_plan::lifecycle;
use skiff_ports::runtime::TaskEvent;
use skiff_types::{Group, Kind, Restart, TargetHealthCheck, TaskDefinition, TaskStatus};
use std::sync::Arc;
use tracing::{info, warn};

pub(super) async fn run(context: Arc<Context>) {
    loop {
        let event = tokio::select! {
            biased;
            () = context.drain.begun() => break,
            event = context.runtime.next_event() => event,
        };
        write_down(&context, &event).await;
    }
    // Unconstrained: that this task had its turn for now must not look like an empty queue.
    while let Some(event) = tokio::task::unconstrained(context.runtime.next_event()).now_or_never() {
        write_down(&context, &event).await;
    }
}

/// Tries until it is done; once the drain has begun, no more.
async fn write_down(context: &Context, event: &TaskEvent) {
    while let Err(error) = take_in(context, event).await {
        warn!(?event, %error, "what became of a task could not be written; trying again");
        tokio::select! {
            biased;
            () = context.drain.begun() => return,
            () = tokio::time::sleep(RETRY_INTERVAL) => {}
        }
    }
}

async fn take_in(context: &Context, event: &TaskEvent) -> Result<(), ObjectError> {
    let (TaskEvent::Started { task, .. } | TaskEvent::Ended { task, .. } | TaskEvent::Health { task, .. }) =
        event;
    let found = context.objects.read(|view| {
        let key = view.task_key(*task)?;
        let object = &view.tasks.get(key)?.value;
        let definition = view.definition(&object.task.namespace, &object.task.definition);
        let kept = definition.map_or_else(Kept::default, |held| Kept::of(&held.value.definition));
        Some((key.clone(), Kept { notice_ms: notice_ms(view, object).unwrap_or(kept.notice_ms), ..kept }))
    });
    let Some((key, kept)) = found else {
        info!(task = %task, "something happened to a task that is no longer kept");
        return Ok(());
    };
    let (now_ms, winding_down) = (context.now_ms(), context.is_winding_down());
    let mut changed = false;
    let apply = |object: &mut TaskObject| {
        changed =
            !(winding_down && comes_of_shutdown(object, event, kept)) && apply(object, event, kept, now_ms);
        if changed {
            object.updated_at_ms = now_ms;
        }
        changed
    };
    let after = context.objects.update(&key, apply).await?;
    let Some(after) = after.filter(|_| changed) else { return Ok(()) };
    let owner = after.value.owner();
    match event {
        TaskEvent::Started { .. } => {}
        TaskEvent::Ended { exit_code, .. } => {
            let reason = after.value.task.stop.as_ref().map(ToString::to_string);
            info!(task = %task, %owner, exit_code, reason, "a task ended");
        }
        TaskEvent::Health { healthy: true, .. } => info!(task = %task, %owner, "a task is healthy"),
        TaskEvent::Health { reason, .. } => info!(task = %task, %owner, reason, "a task is unhealthy"),
    }
    Ok(())
}

/// What a task's definition says that matters to what becomes of it.
#[derive(Debug, Clone, Copy, Default)]
struct Kept {
    /// Its health is checked.
    checked: bool,
    restart: Restart,
    /// How long it takes at most to notice that it is unhealthy, in milliseconds.
    notice_ms: u64,
}

/// How long it takes at most to notice that a task is unhealthy which has no check of its own, but one of its service's
/// target group.
fn notice_ms(view: &View, object: &TaskObject) -> Option<u64> {
    let is_served = object.kind == Kind::Http && matches!(object.task.group, Group::Service(_));
    let check = view.check_of_service(&object.owner()).filter(|_| is_served);
    check.map(TargetHealthCheck::notice_ms)
}

impl Kept {
    fn of(definition: &TaskDefinition) -> Self {
        Self {
            checked: definition.port.is_some(),
            restart: definition.restart,
            notice_ms: definition.health_check.notice_ms(),
        }
    }
}

/// Whether what happened during the shutdown is the platform's doing: what a check found, or the end of a daemon or of a
/// service's task that nobody had asked to end. How a job ended is its own.
fn comes_of_shutdown(object: &TaskObject, event: &TaskEvent, kept: Kept) -> bool {
    match event {
        TaskEvent::Started { .. } => false,
        TaskEvent::Health { .. } => true,
        TaskEvent::Ended { .. } => {
            let was_to_go_on = kept.checked || matches!(object.task.group, Group::Service(_));
            was_to_go_on && object.task.stop.is_none()
        }
    }
}

/// Changes a task by what happened to it; false if that changes nothing.
fn apply(object: &mut TaskObject, event: &TaskEvent, kept: Kept, now_ms: u64) -> bool {
    let task = &mut object.task;
    let (TaskEvent::Started { life, .. } | TaskEvent::Ended { life, .. } | TaskEvent::Health { life, .. }) =
        event;
    if *life != task.restarts {
        return false;
    }
    match event {
        TaskEvent::Started { .. } => lifecycle::started(task, kept.checked, now_ms),
        TaskEvent::Health { healthy, reason, .. } => {
            lifecycle::checked(task, *healthy, reason, kept.restart, kept.notice_ms, now_ms)
        }
        TaskEvent::Ended { exit_code, reason, .. } => {
            let is_news = task.stop.is_none() || (task.exit_code.is_none() && exit_code.is_some());
            let lives = (TaskStatus::Activating..TaskStatus::Stopped).contains(&task.status);
            let takes = lives && is_news;
            if takes {
                task.exit_code = task.exit_code.or(*exit_code);
                // Who asked for its end first is why it ended.
                task.stop.get_or_insert_with(|| reason.clone());
            }
            takes
        }
    }
}

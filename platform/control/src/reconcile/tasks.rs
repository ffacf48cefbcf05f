//! Brings about that each task takes the step of its life that is due.
//!
//! Addresses of tasks that ended are given back here, too.
//!
//! It deliberately starts and stops no task by itself, and waits for nothing but what wakes it: a change, the workers'
//! acknowledgement, native code that is ready. Only requests and connections that drain are asked about again and again.

use super::{LOOK_INTERVAL, RETRY_INTERVAL, WRITES_AT_ONCE};
use crate::addresses::NoAddress;
use crate::context::Context;
use crate::model::TaskObject;
use crate::objects::ObjectError;
use crate::placement::{self, NotMade, Whereto};
use crate::records::Stored;
use crate::view::Held;
use futures::{StreamExt, stream};
use skiff_plan::lifecycle::{self, Known, Step};
use skiff_ports::runtime::PrepareError;
use skiff_types::{
    Digest, Group, Program, Restart, Span, StopCode, StoppedReason, TaskDefinition, TaskId, TaskStatus,
};
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::{JoinError, JoinSet};
use tracing::{info, warn};

/// Programs that are made ready at a time; the node compiles fewer, the others wait there for their turn.
const PREPARES_AT_ONCE: usize = 64;
/// How often a task that finishes its requests is asked how many are left, in milliseconds.
const DRAIN_POLL_MS: u64 = 10;
/// The same of a daemon's connections, which last longer.
const DAEMON_DRAIN_POLL_MS: u64 = 50;

/// What is under way beside the tasks' objects.
#[derive(Default)]
struct Preparing {
    set: JoinSet<Prepared>,
    programs: HashSet<Digest>,
}

/// A program, and whether its native code is ready.
type Prepared = (Digest, Result<(), PrepareError>);

/// A task, and what it runs.
struct Due {
    held: Held<TaskObject>,
    runs: Option<Runs>,
    /// The task's definition is there but can't be read: neither is it started, nor is it decided whether it begins anew.
    unreadable: bool,
}

/// What a task's definition says that matters to its next step.
struct Runs {
    program: Program,
    daemon: bool,
    restart: Restart,
    /// How long its requests, or its connections, may take once it is to stop.
    drain: Span,
}

impl Runs {
    /// `delay` is its service's word on how long it drains, if that has one.
    fn of(object: &TaskObject, definition: &TaskDefinition, delay: Option<Span>) -> Self {
        let daemon = definition.port.is_some();
        let own = if daemon { definition.stop_timeout } else { definition.limits.timeout };
        Self {
            program: object.program(definition),
            daemon,
            restart: definition.restart,
            drain: delay.unwrap_or(own),
        }
    }
}

/// What a look found.
#[derive(Default)]
struct Look {
    /// Objects to be written: the task, and the change.
    writes: Vec<(Held<TaskObject>, Change)>,
    /// When to look again although nothing woke us, in milliseconds from now.
    again_in_ms: Option<u64>,
}

/// A change of a task's object.
#[derive(Debug, Clone)]
enum Change {
    Advance(TaskStatus),
    /// It begins anew, if its definition's word and its own end are still such.
    Restart(Restart),
    Stop(StoppedReason),
}

pub(super) async fn run(context: Arc<Context>) {
    let mut preparing = Preparing::default();
    loop {
        let left = context.objects.read_mut(|view| std::mem::take(&mut view.addresses_left));
        context.addresses.take_back(left, context.now_ms()).await;
        let look = look(&context, &mut preparing);
        let failed = carry_out(&context, look.writes).await;
        let wait = match (failed, look.again_in_ms) {
            (true, _) => RETRY_INTERVAL,
            (false, Some(ms)) => Duration::from_millis(ms).min(LOOK_INTERVAL),
            (false, None) => LOOK_INTERVAL,
        };
        tokio::select! {
            biased;
            () = context.drain.begun() => return,
            Some(prepared) = preparing.set.join_next() => {
                take_in(&context, &mut preparing, prepared).await;
                // A look costs as much as there are tasks on their way: one for all that is ready by now.
                while let Some(prepared) = preparing.set.try_join_next() {
                    take_in(&context, &mut preparing, prepared).await;
                }
            }
            () = context.objects.wakes.tasks.notified() => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// Notes that native code is ready, or why it can't be.
async fn take_in(context: &Context, preparing: &mut Preparing, prepared: Result<Prepared, JoinError>) {
    match prepared {
        Ok((program, result)) => {
            preparing.programs.remove(&program);
            prepared_or_failed(context, program, result).await;
        }
        Err(error) => {
            // Which program it was is not known; each is asked for again.
            warn!(%error, "making native code ready was cut short");
            preparing.programs.clear();
        }
    }
}

/// Finds the step that is due for every task that is on its way somewhere.
fn look(context: &Arc<Context>, preparing: &mut Preparing) -> Look {
    let due: Vec<Due> = context.objects.read(|view| {
        let due = |held: &Held<TaskObject>| {
            let task = &held.value.task;
            let definition = view.definition(&task.namespace, &task.definition);
            let delay = match task.group {
                Group::Service(_) => view.drain_of_service(&held.value.owner()),
                Group::Family(_) => None,
            };
            let runs =
                definition.map(|definition| Runs::of(&held.value, &definition.value.definition, delay));
            Due { held: held.clone(), runs, unreadable: view.has_unreadable_definition(task) }
        };
        view.unsettled().map(due).collect()
    });
    let now_ms = context.now_ms();
    let mut look = Look::default();
    for Due { held, runs, unreadable } in due {
        let task = &held.value.task;
        if unreadable && task.stop.is_none() {
            continue;
        }
        if runs.is_none() && task.stop.is_none() {
            let message = format!("the task definition {} is gone", task.definition);
            let reason = StoppedReason { code: StopCode::TaskFailedToStart, message };
            look.writes.push((held, Change::Stop(reason)));
            continue;
        }
        let draining = task.status == TaskStatus::Stopping;
        let prepared_since = runs.as_ref().and_then(|runs| context.prepared_since(&runs.program.key()));
        let since = held.generation.max(prepared_since.unwrap_or(0));
        let daemon = runs.as_ref().is_some_and(|runs| runs.daemon);
        let restart = runs.as_ref().map_or(Restart::Never, |runs| runs.restart);
        let drain_ms = runs.as_ref().map_or(0, |runs| runs.drain.ms());
        let known = Known {
            kind: held.value.kind,
            daemon,
            restart,
            prepared: prepared_since.is_some(),
            acknowledged: context.is_acknowledged(since),
            outstanding: if draining { outstanding(context, task.id) } else { 0 },
            drain_until_ms: held.value.updated_at_ms.saturating_add(drain_ms),
        };
        let mut again_in =
            |ms: u64| look.again_in_ms = Some(look.again_in_ms.map_or(ms, |other| other.min(ms)));
        match lifecycle::next(task, &known, now_ms) {
            Step::Advance(TaskStatus::Stopped)
                if unreadable && lifecycle::is_restarted(task, Restart::Always) => {}
            Step::Advance(to) => look.writes.push((held, Change::Advance(to))),
            // It begins anew with the next platform.
            Step::Restart if context.is_winding_down() => {}
            Step::Restart => look.writes.push((held, Change::Restart(restart))),
            Step::Prepare => {
                if let Some(runs) = runs {
                    prepare(context, preparing, runs.program);
                }
            }
            Step::WaitUntil(at_ms) => again_in(at_ms.saturating_sub(now_ms).max(1)),
            Step::Drain(until_ms) => {
                let most_ms = if daemon { DAEMON_DRAIN_POLL_MS } else { DRAIN_POLL_MS };
                again_in(until_ms.saturating_sub(now_ms).clamp(1, most_ms));
            }
            Step::WaitForWorkers | Step::Rest => {}
        }
    }
    look
}

/// What a task has yet: requests, connections, and batches of messages that may be on their way to it.
fn outstanding(context: &Context, task: TaskId) -> u64 {
    context.runtime.outstanding(task).saturating_add(context.consumers.batches_of(task))
}

/// Has native code made ready, unless that is under way or enough others are.
fn prepare(context: &Arc<Context>, preparing: &mut Preparing, program: Program) {
    let key = program.key();
    if preparing.programs.len() >= PREPARES_AT_ONCE || !preparing.programs.insert(key) {
        return;
    }
    let runtime = context.runtime.clone();
    preparing.set.spawn(async move { (key, runtime.prepare(&program).await.map(drop)) });
}

/// Says of a program's native code that it is ready; or stops the tasks that wait for it, with the reason.
async fn prepared_or_failed(context: &Context, program: Digest, result: Result<(), PrepareError>) {
    let Err(error) = result else { return context.set_prepared(program) };
    let waiting: Vec<_> = context.objects.read(|view| {
        let waits = |held: &&Held<TaskObject>| {
            let task = &held.value.task;
            let definition = view.definition(&task.namespace, &task.definition);
            matches!(task.status, TaskStatus::Pending | TaskStatus::Activating)
                && definition.is_some_and(|definition| {
                    held.value.program(&definition.value.definition).key() == program
                })
        };
        view.unsettled().filter(waits).cloned().collect()
    });
    warn!(%program, %error, tasks = waiting.len(), "native code could not be made ready");
    let reason = StoppedReason { code: StopCode::TaskFailedToStart, message: error.to_string() };
    let writes = waiting.into_iter().map(|held| (held, Change::Stop(reason.clone()))).collect();
    // What can't be written now is found again: the task asks for its native code once more.
    carry_out(context, writes).await;
}

/// Writes the changes; says whether any could not be written.
async fn carry_out(context: &Context, writes: Vec<(Held<TaskObject>, Change)>) -> bool {
    stream::iter(writes)
        .map(|(held, change)| async move {
            let id = held.value.task.id;
            let written = write(context, &held, &change).await;
            if let Err(error) = &written {
                warn!(task = %id, ?change, %error, "a task's step could not be written");
            }
            written.is_err()
        })
        .buffer_unordered(WRITES_AT_ONCE)
        .fold(false, |failed, this| async move { failed || this })
        .await
}

/// Writes one change, unless the task went on meanwhile.
async fn write(context: &Context, held: &Held<TaskObject>, change: &Change) -> Result<(), ObjectError> {
    let from = held.value.task.status;
    let now_ms = context.now_ms();
    let whereto = match change {
        Change::Restart(_) => match placement::whereto(context, held).await {
            Ok(whereto) => whereto,
            Err(NotMade::NoAddress(NoAddress::Object(error))) => return Err(error),
            Err(error) => {
                warn!(task = %held.value.task.id, %error, "a task that is to begin anew has to wait");
                return Ok(());
            }
        },
        Change::Advance(_) | Change::Stop(_) => Whereto::There,
    };
    let apply = |object: &mut TaskObject| {
        let task = &mut object.task;
        if task.status != from {
            return false;
        }
        match change {
            Change::Advance(to) => lifecycle::advance(task, *to, now_ms),
            // Its user may have asked for its end meanwhile.
            Change::Restart(restart) if !lifecycle::is_restarted(task, *restart) => return false,
            Change::Restart(_) => {
                lifecycle::restart(task, now_ms);
                if let Whereto::Elsewhere(node, address) = &whereto {
                    (task.node, task.address) = (Some(node.clone()), Some(*address));
                }
            }
            Change::Stop(_) if task.stop.is_some() => return false,
            Change::Stop(reason) => task.stop = Some(reason.clone()),
        }
        object.updated_at_ms = now_ms;
        true
    };
    let written = context.objects.update(&held.value.key(), apply).await;
    let object = written.as_ref().ok().and_then(|after| after.as_ref()).map(|after| &*after.value);
    placement::settle(context, held, whereto, object).await;
    let after = written?;
    if let Some(after) = after.filter(|after| after.value.task.status != from) {
        let task = &after.value.task;
        let reason = task.stop.as_ref().map(ToString::to_string);
        info!(task = %task.id, owner = %after.value.owner(), status = %task.status, reason, "task");
    }
    Ok(())
}

//! Brings about that a service that nobody asks has no task, where its user wants that, and has one as soon as somebody does.
//!
//! That a service sleeps is written down before it is acted on; the services' reconciler then ends its tasks, as when it is
//! scaled in. What wakes it is the object of its first task, the only write there is between a request and its answer: the
//! reconcilers go on from there as with any other, and clear what was written down. What a request waits for beyond that is
//! told to its worker alone. It deliberately keeps the time in memory: a platform that starts again begins to count anew.

use super::services::{new_task, start_all};
use crate::consumers::in_sight;
use crate::context::Context;
use crate::keys;
use crate::model::{Service, ServiceEvent, ServiceNotes, TaskObject};
use crate::objects::ObjectError;
use crate::view::{Held, View};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use skiff_plan::idle::{Asleep, Quiet, Seen};
use skiff_types::{
    Group, Kind, Placement, QualifiedName, ServiceActionName, Span, Task, TaskDefinitionId, TaskId,
    TaskStatus,
};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tracing::{info, warn};

/// How often it is seen which services have nothing to do.
const IDLE_INTERVAL: Duration = Duration::from_millis(500);
/// Services that are woken at a time; others are said to be wanted again.
const WAKES_AT_ONCE: usize = 256;

/// A service that may fall asleep, and is awake.
struct Awake {
    service: Held<Service>,
    after: Span,
    tasks: Vec<Held<TaskObject>>,
    /// Its deployment is over: one that is not is not to complete because there is nothing to deploy.
    is_deployed: bool,
}

/// A service that sleeps, and what it is to be woken as.
struct Sleeper {
    service: Held<Service>,
    definition: TaskDefinitionId,
    kind: Kind,
    asleep: Asleep,
}

/// How many tasks a service with these is to have at present: none while it sleeps.
pub(crate) fn desired(service: &Service, notes: Option<&ServiceNotes>, tasks: &[Held<TaskObject>]) -> u32 {
    if sleeps(service, notes, tasks).is_some() { 0 } else { service.spec.desired }
}

/// Since when a service with these tasks sleeps; `None` while it is awake.
pub(crate) fn sleeps(
    service: &Service,
    notes: Option<&ServiceNotes>,
    tasks: &[Held<TaskObject>],
) -> Option<Asleep> {
    service.spec.sleeps_after()?;
    let notes = notes.filter(|notes| notes.service_created_at_ms == service.created_at_ms)?;
    let tasks = tasks.iter().map(|held| &held.value.task);
    notes.asleep.filter(|asleep| asleep.holds(service.updated_at_ms, tasks))
}

/// Notes that a service was woken, if it was since the last notes; by what, its other events say.
pub(super) fn note_waking(
    notes: &mut ServiceNotes,
    service: &Service,
    tasks: &[Held<TaskObject>],
    now_ms: u64,
) {
    if notes.asleep.is_some() && sleeps(service, Some(notes), tasks).is_none() {
        notes.asleep = None;
        let message = format!("awake again: desired count {}", service.spec.desired);
        notes.note(ServiceEvent::new(now_ms, ServiceActionName::DesiredCountUpdated, message));
    }
}

/// Puts services to sleep.
pub(super) async fn put_to_sleep(context: Arc<Context>) {
    let began = Instant::now();
    let mut interval = tokio::time::interval(IDLE_INTERVAL);
    let mut known: HashMap<QualifiedName, Quiet> = HashMap::new();
    loop {
        tokio::select! {
            biased;
            () = context.drain.begun() => return,
            _ = interval.tick() => {}
        }
        if context.is_winding_down() {
            continue;
        }
        // Not by the clock on the wall, which jumps.
        let now_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        for awake in take_stock(&context, &mut known, now_ms) {
            let name = awake.service.value.name();
            if let Err(error) = put_one_to_sleep(&context, &awake).await {
                warn!(service = %name, %error, "the service could not be put to sleep; it is tried again");
            }
        }
    }
}

/// Looks at all services that may fall asleep, and gives those that are to.
fn take_stock(context: &Context, known: &mut HashMap<QualifiedName, Quiet>, now_ms: u64) -> Vec<Awake> {
    let awake: Vec<Awake> =
        context.objects.read(|view| view.idlers.iter().filter_map(|name| Awake::of(view, name)).collect());
    let mut before = std::mem::take(known);
    let mut idle = Vec::new();
    for service in awake {
        let (name, seen) = (service.service.value.name(), service.seen(context));
        let mut quiet = before.remove(&name).unwrap_or_else(|| Quiet::new(&seen, now_ms));
        let is_to_sleep = quiet.note(&seen, service.after, now_ms);
        known.insert(name, quiet);
        if is_to_sleep {
            idle.push(service);
        }
    }
    idle
}

impl Awake {
    /// `None` where there is no such service, or it sleeps, or nothing can be known of it.
    fn of(view: &View, name: &QualifiedName) -> Option<Self> {
        let service = view.service(name)?;
        let after = service.value.spec.sleeps_after().filter(|_| !service.value.removed)?;
        // A deployment that was rolled back may have come back to what no request could wake.
        let definition = view.definition(&name.namespace, view.revision_of(&service.value))?;
        let notes = view.notes.get(&keys::service_status(name))?;
        let tasks: Vec<Held<TaskObject>> =
            view.tasks_of(&name.namespace, &Group::Service(name.name.clone())).cloned().collect();
        let sleeps = sleeps(&service.value, Some(&notes.value), &tasks).is_some();
        let is_deployed = notes.value.completed;
        let can_wake = definition.value.definition.kind.is_called();
        (!sleeps && can_wake).then(|| Self { service: service.clone(), after, tasks, is_deployed })
    }

    fn seen(&self, context: &Context) -> Seen {
        let tasks = self.tasks.iter().map(|held| &held.value.task);
        let living: Vec<&Task> = tasks.filter(|task| task.status != TaskStatus::Stopped).collect();
        let is_at_rest = |task: &&Task| task.status == TaskStatus::Running && task.stop.is_none();
        let is_settled = self.is_deployed && !living.is_empty() && living.iter().all(is_at_rest);
        let mut seen = Seen { requests: 0, outstanding: 0, is_settled };
        let living: Vec<TaskId> = living.iter().map(|task| task.id).collect();
        for totals in context.accounts.of(&living).values() {
            seen.requests += totals.answered().iter().sum::<u64>();
            seen.outstanding += totals.in_flight + totals.queued;
        }
        let name = self.service.value.name();
        seen.requests += context.consumers.ended_of(&name);
        seen.outstanding += living.iter().map(|task| context.consumers.batches_of(*task)).sum::<u64>();
        seen.outstanding += in_sight(context, &name);
        seen
    }
}

/// Writes down that a service sleeps; if its user has said anything of it meanwhile, that does not hold.
async fn put_one_to_sleep(context: &Context, awake: &Awake) -> Result<(), ObjectError> {
    let (service, now_ms) = (&awake.service.value, context.now_ms());
    let name = service.name();
    let mut falls_asleep = false;
    let apply = |notes: &mut ServiceNotes| {
        let is_its = notes.service_created_at_ms == service.created_at_ms;
        falls_asleep = is_its && notes.asleep.is_none();
        if falls_asleep {
            let tasks = awake.tasks.iter().map(|held| &held.value.task);
            notes.asleep = Some(Asleep::begin(service.updated_at_ms, tasks, now_ms));
            let message = format!("asleep: no request came for {}", awake.after);
            notes.note(ServiceEvent::new(now_ms, ServiceActionName::DesiredCountUpdated, message));
        }
        falls_asleep
    };
    let after = context.objects.update(&keys::service_status(&name), apply).await?;
    if after.is_some() && falls_asleep {
        info!(service = %name, after = %awake.after, "the service falls asleep");
    }
    Ok(())
}

/// Wakes services that requests wait for.
pub(super) async fn wake(context: Arc<Context>) {
    let (mut under_way, mut waking) = (FuturesUnordered::new(), HashSet::new());
    loop {
        tokio::select! {
            biased;
            () = context.drain.begun() => break,
            // First, so that what is under way goes on however many ask.
            Some(name) = under_way.next(), if !under_way.is_empty() => {
                waking.remove(&name);
            }
            name = next_wanted(&context), if waking.len() < WAKES_AT_ONCE => {
                // Who waits says so again and again.
                if waking.insert(name.clone()) {
                    under_way.push(wake_one(&context, name));
                }
            }
        }
    }
    // No write is cut short.
    while under_way.next().await.is_some() {}
}

/// The next service that somebody waits for, at a worker or here.
async fn next_wanted(context: &Context) -> QualifiedName {
    tokio::select! {
        biased;
        name = context.wanted.next() => name,
        name = context.runtime.next_wanted() => name,
    }
}

/// Starts a task of a service that sleeps; gives the service's name back.
async fn wake_one(context: &Arc<Context>, name: QualifiedName) -> QualifiedName {
    let sleeper = context.objects.read(|view| Sleeper::of(view, &name));
    let Some(sleeper) = sleeper.filter(|_| !context.is_winding_down()) else { return name };
    let at_ms = sleeper.asleep.woken_at_ms(context.now_ms());
    let mut task = new_task(context, &sleeper.service.value, sleeper.definition, (0, at_ms), at_ms);
    // No step of its own between it and its worker; native code that is not ready is waited for there, too.
    task.status = TaskStatus::Activating;
    info!(task = %task.id, service = %name, "waking the service");
    let (kind, placement) = (sleeper.kind, Placement::default());
    let object = TaskObject { task, kind, placement, updated_at_ms: at_ms };
    if let Err(error) = start_all(context, &sleeper.service.value, vec![object]).await {
        warn!(service = %name, %error, "the service could not be woken; who waits for it asks again");
    }
    name
}

impl Sleeper {
    /// `None` where there is no such service, or it is awake already, or its tasks are none that are called.
    fn of(view: &View, name: &QualifiedName) -> Option<Self> {
        let service = view.service(name).filter(|held| !held.value.removed)?;
        let notes = view.notes.get(&keys::service_status(name))?;
        let tasks: Vec<Held<TaskObject>> =
            view.tasks_of(&name.namespace, &Group::Service(name.name.clone())).cloned().collect();
        let asleep = sleeps(&service.value, Some(&notes.value), &tasks)?;
        let definition = view.revision_of(&service.value);
        let kind = view.definition(&name.namespace, definition)?.value.definition.kind;
        kind.is_called().then(|| Self {
            service: service.clone(),
            definition: definition.clone(),
            kind,
            asleep,
        })
    }
}

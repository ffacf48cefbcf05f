//! Brings about that the services that consume queues are given the messages: as many at a time as their tasks have room for.
//!
//! Each consumer has a driver of its own. It takes a batch only where a task has room for it, and gives it to the one that has the
//! fewest; a service that sleeps it has woken once a message is in sight. It deliberately keeps nothing: what is in flight when the
//! platform ends comes again.
//!
//! What always holds: a task that is to stop is given nothing more, and stays until it has answered, or its time is up; a message
//! is deleted only once its task said that it is done; where tasks stand differently by the time that a batch was taken, it goes
//! back at once, and counts as received by nobody.

mod batch;
mod fate;

use super::{LOOK_INTERVAL, RETRY_INTERVAL};
use crate::consumers::Given;
use crate::consumers::standing::{self, Standing};
use crate::context::Context;
use crate::view::View;
use batch::{Batch, Delivered};
use skiff_ports::catalog::QueueRef;
use skiff_ports::queues::{Message, QueueFailure};
use skiff_types::{ConsumerSpec, QualifiedName, QueueSpec, TaskId, TaskStatus};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::Instant;
use tracing::{info, warn};

/// How long what was looked at holds, however often objects change meanwhile.
const LOOK_PAUSE: Duration = Duration::from_millis(20);
/// The wait after a receive that gave nothing: whoever else waits for messages may be first.
const EMPTY_PAUSE: Duration = Duration::from_millis(10);
/// How often it is said again that a service is wanted which sleeps though a message is in sight.
const SAY_INTERVAL: Duration = Duration::from_millis(500);
/// Batches of a consumer that have been answered, and of which that is being written down; beyond, none is taken.
const SETTLING_MAX: usize = 256;

pub(super) async fn run(context: Arc<Context>) {
    let mut drivers = JoinSet::new();
    let mut driven: BTreeMap<QualifiedName, Id> = BTreeMap::new();
    loop {
        let (generation, names, services) = context.objects.read(take_stock);
        context.consumers.retain(&names, &services);
        for name in names {
            driven
                .entry(name)
                .or_insert_with_key(|name| drivers.spawn(Driver::new(&context, name).drive()).id());
        }
        let changed = async {
            context.objects.generation().reached(generation + 1).await;
            tokio::time::sleep(LOOK_PAUSE).await;
        };
        tokio::select! {
            biased;
            () = context.drain.begun() => break,
            Some(ended) = drivers.join_next_with_id(), if !drivers.is_empty() => {
                let id = match ended {
                    Ok((id, ())) => id,
                    Err(error) => {
                        warn!(%error, "what gives a service its messages was cut short; it begins anew");
                        error.id()
                    }
                };
                driven.retain(|_, driver| *driver != id);
            }
            () = changed => {}
            () = tokio::time::sleep(LOOK_INTERVAL) => {}
        }
    }
    // No batch is cut short.
    while drivers.join_next().await.is_some() {}
}

/// The consumers that there are, and the services that they are of.
fn take_stock(view: &View) -> (u64, BTreeSet<QualifiedName>, BTreeSet<QualifiedName>) {
    let specs = || view.consumers.all().map(|held| &held.value.spec);
    let names = specs().map(|spec| spec.name.clone()).collect();
    (view.generation, names, specs().map(|spec| service_of(spec)).collect())
}

fn service_of(spec: &ConsumerSpec) -> QualifiedName {
    QualifiedName::new(spec.name.namespace.clone(), spec.service.clone())
}

/// What gives the messages of one queue to one service.
struct Driver {
    context: Arc<Context>,
    name: QualifiedName,
    seen: Option<Seen>,
    delivering: JoinSet<Delivered>,
    /// Who has which of those.
    tasks: HashMap<Id, TaskId>,
    /// How many each has; nothing of who has none.
    busy: BTreeMap<TaskId, u32>,
    settling: JoinSet<()>,
    /// Why nothing is taken, as the log was told.
    told: Option<String>,
    /// No messages could be taken when that was last tried, and the log was told.
    is_failing: bool,
}

/// How the consumer stood when it was last looked at.
struct Seen {
    generation: u64,
    at: Instant,
    spec: Arc<ConsumerSpec>,
    standing: Standing,
}

/// What is next.
enum Next {
    /// To take a batch.
    Receive(QueueRef),
    /// To wake the service as soon as a message is in sight.
    Wake(QueueRef),
    /// Nothing until something is otherwise.
    Rest,
}

impl Driver {
    fn new(context: &Arc<Context>, name: &QualifiedName) -> Self {
        Self {
            context: context.clone(),
            name: name.clone(),
            seen: None,
            delivering: JoinSet::new(),
            tasks: HashMap::new(),
            busy: BTreeMap::new(),
            settling: JoinSet::new(),
            told: None,
            is_failing: false,
        }
    }

    /// Goes on until the consumer is gone, or the platform drains; what tasks have by then is finished.
    async fn drive(mut self) {
        let context = self.context.clone();
        while let Some((generation, look_again, spec)) = self.look() {
            let next = self.next(&spec);
            let changed = async {
                context.objects.generation().reached(generation + 1).await;
                tokio::time::sleep_until(look_again).await;
            };
            tokio::select! {
                biased;
                () = context.drain.begun() => break,
                Some(ended) = self.delivering.join_next_with_id(), if !self.delivering.is_empty() => {
                    self.take_in(ended);
                }
                Some(settled) = self.settling.join_next(), if !self.settling.is_empty() => {
                    note_panic(settled);
                }
                received = carry_on(&context, &spec, &next) => self.received(&spec, &next, received),
                () = changed => {}
                // Now and then, whatever is known.
                () = tokio::time::sleep(LOOK_INTERVAL) => self.seen = None,
            }
        }
        while let Some(ended) = self.delivering.join_next_with_id().await {
            self.take_in(ended);
        }
        while let Some(settled) = self.settling.join_next().await {
            note_panic(settled);
        }
    }

    /// Looks at how the consumer stands, unless that was just seen: as of which generation, when it may look again, and what the
    /// consumer is to be like. `None` where it is gone.
    fn look(&mut self) -> Option<(u64, Instant, Arc<ConsumerSpec>)> {
        let (generation, spec) = self
            .context
            .objects
            .read(|view| (view.generation, view.consumer(&self.name).map(|held| held.value.spec.clone())));
        let (spec, now) = (spec?, Instant::now());
        let holds = |seen: &Seen| seen.generation == generation || now < seen.at + LOOK_PAUSE;
        if let Some(seen) = self.seen.as_ref().filter(|seen| holds(seen)) {
            return Some((seen.generation, seen.at + LOOK_PAUSE, seen.spec.clone()));
        }
        let standing = standing::of(&self.context.objects, &spec);
        self.tell(&standing);
        self.seen = Some(Seen { generation, at: now, spec: spec.clone(), standing });
        Some((generation, now + LOOK_PAUSE, spec))
    }

    /// Tells the log why nothing is taken, once.
    fn tell(&mut self, standing: &Standing) {
        let why = match standing {
            Standing::Blocked { why } => Some(why.clone()),
            Standing::Active { .. } | Standing::Asleep { .. } | Standing::Waiting { .. } => None,
        };
        if why == self.told {
            return;
        }
        match &why {
            Some(why) => warn!(consumer = %self.name, why, "no messages are taken"),
            None => info!(consumer = %self.name, "messages are taken again"),
        }
        self.told = why;
    }

    fn next(&self, spec: &ConsumerSpec) -> Next {
        let Some(seen) = self.seen.as_ref().filter(|_| !self.context.is_winding_down()) else {
            return Next::Rest;
        };
        match &seen.standing {
            Standing::Active { queue, tasks } => {
                let has_room = |task: &TaskId| self.has_of(*task) < spec.concurrency;
                match self.settling.len() < SETTLING_MAX && tasks.iter().any(has_room) {
                    true => Next::Receive(queue.clone()),
                    false => Next::Rest,
                }
            }
            Standing::Asleep { queue } => Next::Wake(queue.clone()),
            Standing::Waiting { .. } | Standing::Blocked { .. } => Next::Rest,
        }
    }

    fn has_of(&self, task: TaskId) -> u32 {
        self.busy.get(&task).copied().unwrap_or_default()
    }

    /// Gives what was received to a task.
    fn received(&mut self, spec: &ConsumerSpec, next: &Next, received: Result<Vec<Message>, QueueFailure>) {
        let messages = match received {
            Ok(messages) => messages,
            Err(error) => {
                if !self.is_failing {
                    warn!(consumer = %self.name, %error, "no messages could be taken; it is tried again");
                }
                self.is_failing = true;
                self.note_failure(&format!("no messages could be taken: {error}"));
                return;
            }
        };
        self.is_failing = false;
        let Next::Receive(queue) = next else { return };
        if messages.is_empty() {
            return;
        }
        match self.choose(spec) {
            Some((task, given)) => {
                *self.busy.entry(task).or_default() += 1;
                let (consumer, queue) = (self.name.clone(), queue.clone());
                let batch = Batch { consumer, queue, task, messages };
                let delivery = batch.deliver(self.context.clone(), given);
                self.tasks.insert(self.delivering.spawn(delivery).id(), task);
            }
            None => {
                self.seen = None;
                let (context, queue) = (self.context.clone(), queue.clone());
                self.settling.spawn(batch::give_back(context, queue, messages, Duration::ZERO));
            }
        }
    }

    /// The task with the fewest batches that has room for another, as things are in this moment; from here on it has that.
    fn choose(&self, spec: &ConsumerSpec) -> Option<(TaskId, Given)> {
        let Standing::Active { tasks, .. } = &self.seen.as_ref()?.standing else { return None };
        if self.context.is_winding_down() {
            return None;
        }
        let mut candidates: Vec<(u32, TaskId)> =
            tasks.iter().map(|task| (self.has_of(*task), *task)).collect();
        candidates.retain(|(count, _)| *count < spec.concurrency);
        candidates.sort_unstable();
        self.context.objects.read(|view| {
            let (_, task) = candidates.into_iter().find(|(_, task)| works_on(view, *task))?;
            // Noted as long as the task is seen to go on: who ends it from now on sees the batch.
            Some((task, self.context.consumers.give(&self.name, &service_of(spec), task)))
        })
    }

    /// Takes in what came of a batch, and has it written down.
    fn take_in(&mut self, ended: Result<(Id, Delivered), JoinError>) {
        let (id, delivered) = match ended {
            Ok((id, delivered)) => (id, Some(delivered)),
            Err(error) => {
                warn!(consumer = %self.name, %error, "giving messages to a task was cut short; they come again");
                self.note_failure(&format!("giving messages to a task was cut short: {error}"));
                (error.id(), None)
            }
        };
        if let Some(task) = self.tasks.remove(&id)
            && let Some(count) = self.busy.get_mut(&task)
        {
            *count -= 1;
            if *count == 0 {
                self.busy.remove(&task);
            }
        }
        if let Some(delivered) = delivered {
            self.settling.spawn(delivered.settle(self.context.clone()));
        }
    }

    fn note_failure(&self, why: &str) {
        let now_ms = self.context.now_ms();
        self.context.consumers.note(&self.name, |known| known.fail(now_ms, why));
    }
}

/// Does what is next; ends with messages, or with nothing after a pause.
async fn carry_on(context: &Context, spec: &ConsumerSpec, next: &Next) -> Result<Vec<Message>, QueueFailure> {
    match next {
        Next::Receive(queue) => {
            let (max, wait) = (spec.batch as usize, QueueSpec::WAIT_MAX.duration());
            let visibility = Some(batch::visibility_of(&queue.spec));
            let received = context.queues.receive(queue, max, visibility, wait).await;
            match &received {
                Ok(messages) if !messages.is_empty() => {}
                Ok(_) => tokio::time::sleep(EMPTY_PAUSE).await,
                Err(_) => tokio::time::sleep(RETRY_INTERVAL).await,
            }
            received
        }
        Next::Wake(queue) => {
            context.queues.ready(queue).await;
            context.wanted.say(&service_of(spec));
            tokio::time::sleep(SAY_INTERVAL).await;
            Ok(vec![])
        }
        Next::Rest => std::future::pending().await,
    }
}

/// Whether a task runs, and is to go on.
fn works_on(view: &View, task: TaskId) -> bool {
    let held = view.task_key(task).and_then(|key| view.tasks.get(key));
    held.is_some_and(|held| {
        let task = &held.value.task;
        task.status == TaskStatus::Running && task.stop.is_none()
    })
}

fn note_panic(settled: Result<(), JoinError>) {
    if let Err(error) = settled {
        warn!(%error, "what became of messages could not be written down; they come again");
    }
}

//! Requests for services that sleep: each waits until its service has a task here, and the service is said to be wanted.
//!
//! It deliberately starts nothing, and does not know why a service has no task: who is told does. A group says whether it is
//! waited for ([`Group::sleeps`]); all others refuse at once.
//!
//! What always holds: nobody waits for longer than the limits say, nor more for one service than they say; nor while this
//! worker drains, since it learns of no new tasks then. Nor is a service said to be wanted more often than that, however often
//! who waits leaves and comes: when it was said last is kept until what leads to it changes, and nothing else is.

use crate::edge::Edge;
use crate::exchange::Exchange;
use crate::group::{Aim, Group};
use crate::refusal::Refusal;
use skiff_types::QualifiedName;
use std::cell::{Cell, OnceCell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// How often a service is said to be wanted that requests go on to wait for.
const WANT_INTERVAL: Duration = Duration::from_millis(100);

/// Who is told which services are wanted.
type Want = Rc<dyn Fn(&QualifiedName)>;

/// Who waits, by service.
#[derive(Default)]
pub(crate) struct Waiting {
    want: OnceCell<Want>,
    queues: RefCell<HashMap<QualifiedName, Rc<Queue>>>,
}

/// Who waits for one service.
#[derive(Default)]
struct Queue {
    count: Cell<usize>,
    /// When it was said that the service is wanted.
    said: Cell<Option<Instant>>,
    changed: Notify,
}

/// A place in a queue, until it is dropped.
struct Place<'a> {
    waiting: &'a Waiting,
    service: &'a QualifiedName,
    queue: Rc<Queue>,
}

impl Waiting {
    /// What leads to a service is otherwise than before.
    pub(crate) fn has_changed(&self, service: &QualifiedName) {
        let mut queues = self.queues.borrow_mut();
        let is_waited_for = queues.get(service).is_some_and(|queue| {
            queue.changed.notify_waiters();
            queue.count.get() > 0
        });
        if !is_waited_for {
            queues.remove(service);
        }
    }

    fn enter<'a>(&'a self, service: &'a QualifiedName, limit: usize) -> Result<Place<'a>, Refusal> {
        let queue = self.queues.borrow_mut().entry(service.clone()).or_default().clone();
        if queue.count.get() >= limit {
            return Err(Refusal::TooManyWaiting { service: service.to_string(), limit });
        }
        queue.count.set(queue.count.get() + 1);
        Ok(Place { waiting: self, service, queue })
    }
}

impl Queue {
    /// Whether it was just said that the service is wanted.
    fn was_just_said(&self) -> bool {
        self.said.get().is_some_and(|said| said.elapsed() < WANT_INTERVAL)
    }
}

impl Place<'_> {
    /// Says that the service is wanted, unless somebody has just said so.
    fn want(&self) {
        if let Some(want) = self.waiting.want.get().filter(|_| !self.queue.was_just_said()) {
            self.queue.said.set(Some(Instant::now()));
            want(self.service);
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.queue.count.set(self.queue.count.get() - 1);
        if self.queue.count.get() == 0 && !self.queue.was_just_said() {
            self.waiting.queues.borrow_mut().remove(self.service);
        }
    }
}

impl Edge {
    /// Says who is told of services that requests wait for: at once, and again ten times a second for as long as they do. To be
    /// said once, before the first request; until then they wait in vain.
    pub fn want_by(&self, want: Rc<dyn Fn(&QualifiedName)>) {
        let _ = self.waiting().want.set(want);
    }

    /// Waits until a service that sleeps has a task here, and says whether it has one; at once where it does not sleep.
    pub async fn wake(&self, service: &QualifiedName) -> bool {
        match self.service(service) {
            Some(group) if group.sleeps().is_some() => self.wait_for(service).await.is_ok(),
            Some(group) => !group.targets.is_empty(),
            None => false,
        }
    }

    /// Waits until a service has a target, and gives the group that it is then.
    async fn wait_for(&self, service: &QualifiedName) -> Result<Rc<Group>, Refusal> {
        let limits = self.limits();
        let deadline = Instant::now() + limits.wake_timeout;
        let place = self.waiting().enter(service, limits.wake_waiting_max)?;
        loop {
            let gone = || Refusal::NoTarget { service: service.to_string() };
            let group = self.service(service).ok_or_else(gone)?;
            if !group.targets.is_empty() {
                return Ok(group);
            }
            if group.sleeps().is_none() {
                return Err(group.no_target());
            }
            if Instant::now() >= deadline {
                let limit_ms = limits.wake_timeout.as_millis() as u64;
                return Err(Refusal::NotAwake { service: service.to_string(), limit_ms });
            }
            place.want();
            tokio::select! {
                () = place.queue.changed.notified() => {}
                () = tokio::time::sleep_until(deadline.min(Instant::now() + WANT_INTERVAL)) => {}
                () = self.drain_begun() => return Err(group.no_target()),
            }
        }
    }
}

/// Has a request that found no target wait for one, where its service sleeps; gives where it is to go then.
pub(crate) async fn awake(edge: &Edge, exchange: &mut Exchange, aim: Aim) -> Result<Aim, Refusal> {
    let Some(service) = aim.group.sleeps() else { return Ok(aim) };
    let group = edge.wait_for(service).await?;
    let group = group.speaking(aim.group.settings.speaks, edge.worker());
    let aim = Aim { group, ..aim };
    exchange.was_held(&aim);
    Ok(aim)
}

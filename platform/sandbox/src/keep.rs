//! Sandboxes of a task that wait for a request: made ahead of it, or left by one that may be followed by others.
//!
//! How many are made ahead follows from how often requests came lately; they are made while nothing else is to be done, in
//! room that nobody has.
//! Whatever is kept counts as the task's memory and takes its place in the pool, so it is given back as soon as somebody
//! needs that, and when no request came for it in a while.

use crate::admission::Blank;
use crate::call::shared::Shared;
use crate::heap::HeapMeter;
use crate::host::Host;
use crate::live::Live;
use crate::room::Room;
use crate::run::GuestRun;
use crate::task::Task;
use skiff_kit::clock;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

/// Passes of [`tend`] after which a sandbox is given back that waits for a request.
const IDLE_PASSES: usize = 20;
/// The time over which arrivals are averaged, in nanoseconds.
const RATE_WINDOW_NS: f64 = 10e9;
/// Sandboxes are made ahead for the requests of so many seconds.
const AHEAD_S: f64 = 0.01;
/// Below this rate, in requests per second, none is made ahead.
const RATE_MIN: f64 = 0.2;
/// The most that are made ahead for one task.
const AHEAD_MAX: usize = 8;
/// The part of a task's memory limit that sandboxes which wait for a request may take: one in so many.
const MEMORY_SHARE: u64 = 4;
/// Sandboxes that are given back, or tasks that are looked at, in one step.
const STEP: usize = 32;
/// How long to leave a busy worker alone before looking again whether there is time to make one.
const BUSY_PAUSE: Duration = Duration::from_millis(1);

/// Those of one task.
#[derive(Default)]
pub(crate) struct Keep {
    /// The last put aside last.
    lives: RefCell<VecDeque<Live>>,
    /// Those that serve several requests at once, idle or not.
    shared: RefCell<Vec<Rc<Shared>>>,
    rate: Rate,
    /// Whether one is being made ahead, or will be when there is time.
    making: Cell<bool>,
    /// Whether the task is noted among those of its room ([`crate::kept`]).
    pub(crate) is_noted: Cell<bool>,
}

impl Keep {
    /// One of them for a request.
    pub(crate) fn take(&self) -> Option<Live> {
        self.lives.borrow_mut().pop_back()
    }

    /// One that works on requests and can take one more.
    pub(crate) fn shared_with_room(&self) -> Option<Rc<Shared>> {
        self.shared.borrow().iter().find(|shared| shared.has_room()).cloned()
    }

    /// Whether there are any, at work or not.
    pub(crate) fn holds_any(&self) -> bool {
        !self.lives.borrow().is_empty() || !self.shared.borrow().is_empty()
    }

    /// Since when the one that has waited longest waits.
    pub(crate) fn oldest_ns(&self) -> Option<u64> {
        let shared = self.shared.borrow();
        let idle = shared.iter().filter_map(|shared| shared.idle_since_ns());
        idle.chain(self.lives.borrow().front().map(|live| live.idle_since_ns)).min()
    }

    /// Gives back the one that has waited longest; false if there is none.
    pub(crate) fn retire_oldest(&self) -> bool {
        let oldest_ns = self.oldest_ns();
        let live = self.lives.borrow_mut().pop_front_if(|live| Some(live.idle_since_ns) == oldest_ns);
        let shared = match live {
            Some(_) => None,
            None => {
                let mut all = self.shared.borrow_mut();
                let oldest =
                    all.iter().position(|shared| shared.idle_since_ns() == oldest_ns && oldest_ns.is_some());
                oldest.map(|index| all.swap_remove(index))
            }
        };
        live.is_some() || shared.is_some()
    }

    /// Gives back all that wait, and lets go of all that work.
    pub(crate) fn clear(&self) {
        let (lives, shared) = (self.lives.take(), self.shared.take());
        drop((lives, shared));
    }

    /// Notes that a request came.
    pub(crate) fn arrived(&self, now_ns: u64) {
        self.rate.count(now_ns);
    }

    fn wanted(&self, now_ns: u64) -> usize {
        let per_second = self.rate.per_second(now_ns);
        if per_second < RATE_MIN { 0 } else { ((per_second * AHEAD_S).ceil() as usize).min(AHEAD_MAX) }
    }

    fn has_enough(&self) -> bool {
        self.lives.borrow().len() >= self.wanted(clock::monotonic_ns())
    }
}

/// The tasks of a worker that want sandboxes made ahead, and whoever waits for time to make them: one for all.
#[derive(Default)]
pub(crate) struct Ahead {
    tasks: RefCell<VecDeque<Rc<Task>>>,
    somebody_waits: Cell<bool>,
}

impl Ahead {
    /// Puts a task behind the others; says whether nobody waits for time yet.
    fn line_up(&self, task: &Rc<Task>) -> bool {
        if task.keep.making.replace(true) {
            return false;
        }
        self.tasks.borrow_mut().push_back(task.clone());
        !self.somebody_waits.replace(true)
    }

    /// The task that is next; after the last, nobody waits any more.
    fn next(&self) -> Option<Rc<Task>> {
        let next = self.tasks.borrow_mut().pop_front();
        self.somebody_waits.set(next.is_some());
        next
    }
}

/// How often something happens lately: each time counts for less the longer ago it was.
#[derive(Default)]
struct Rate {
    weight: Cell<f64>,
    at_ns: Cell<u64>,
}

impl Rate {
    fn weight_at(&self, now_ns: u64) -> f64 {
        let passed_ns = now_ns.saturating_sub(self.at_ns.get()) as f64;
        self.weight.get() * (-passed_ns / RATE_WINDOW_NS).exp()
    }

    fn count(&self, now_ns: u64) {
        self.weight.set(self.weight_at(now_ns) + 1.0);
        self.at_ns.set(now_ns);
    }

    fn per_second(&self, now_ns: u64) -> f64 {
        self.weight_at(now_ns) / (RATE_WINDOW_NS / 1e9)
    }
}

/// Puts a sandbox aside for the task's next request, unless the task has ended or others wait for room.
pub(crate) fn put(task: &Rc<Task>, room: &Room, mut live: Live) {
    if task.has_ended() || room.is_wanted_by_others(task) {
        return;
    }
    live.idle_since_ns = clock::monotonic_ns();
    room.kept.note(task, live.idle_since_ns);
    task.keep.lives.borrow_mut().push_back(live);
    task.wake_first();
}

/// Keeps a sandbox for whatever requests it has room for.
pub(crate) fn share(task: &Rc<Task>, room: &Room, shared: Rc<Shared>) {
    let mut all = task.keep.shared.borrow_mut();
    all.retain(|shared| !shared.is_over());
    all.push(shared);
    room.kept.note(task, clock::monotonic_ns());
}

/// Has sandboxes made ahead, if the task's requests are worth more than there are.
pub(crate) fn replenish(host: &Rc<Host>, task: &Rc<Task>) {
    let is_shared = task.account.spec.limits.reuse.concurrent > 1;
    if !is_shared && !task.has_ended() && !task.keep.has_enough() && host.ahead.line_up(task) {
        tokio::task::spawn_local(make_ahead(host.clone()));
    }
}

/// Has sandboxes made for one task after the other whenever the worker has nothing else to do.
async fn make_ahead(host: Rc<Host>) {
    loop {
        let calls = host.calls_begun();
        tokio::task::yield_now().await;
        if host.calls_begun() != calls {
            tokio::time::sleep(BUSY_PAUSE).await;
            continue;
        }
        let Some(task) = host.ahead.next() else { break };
        // One whose start-up takes its time keeps only its own task waiting.
        tokio::task::spawn_local(make_and_look_again(host.clone(), task));
    }
}

async fn make_and_look_again(host: Rc<Host>, task: Rc<Task>) {
    let is_wanted = !task.has_ended() && !task.keep.has_enough();
    let made = if is_wanted { make_one(&host, &task).await } else { None };
    task.keep.making.set(false);
    // What can't be made now is not missed: requests make their own.
    if made.is_some() {
        replenish(&host, &task);
    }
}

/// Makes one, if the task's memory has room for more than that.
async fn make_one(host: &Rc<Host>, task: &Rc<Task>) -> Option<()> {
    let code = task.code.peek()?;
    let account = &task.account;
    let limits = &account.spec.limits;
    let one_bytes = crate::state::SANDBOX_OVERHEAD_BYTES + task.start_bytes(&code);
    let kept_bytes = one_bytes * (1 + task.keep.lives.borrow().len() as u64);
    if kept_bytes > limits.memory.bytes() / MEMORY_SHARE {
        return None;
    }
    let blank = Blank::claim_free(task, &code).ok()?;
    let heap = HeapMeter::new(account);
    let guest = {
        let (host, task, heap) = (host.clone(), task.clone(), heap.clone());
        async move {
            let live = Live::make(&host, &task, &code, blank, heap).await?;
            put(&task, &code.room, live);
            Ok(())
        }
    };
    // A failure is reported by the request that meets it.
    GuestRun::new(host, task, account.deadline_ns(), None, heap, Box::pin(guest)).await.ok()
}

/// When the last passes of [`tend`] were, the oldest first.
#[derive(Default)]
pub(crate) struct Passes(RefCell<VecDeque<u64>>);

impl Passes {
    /// Notes one more; what has waited since before the time that this says has waited too long.
    fn note(&self, now_ns: u64) -> u64 {
        let mut passes = self.0.borrow_mut();
        passes.push_back(now_ns);
        if passes.len() > IDLE_PASSES { passes.pop_front().unwrap_or(0) } else { 0 }
    }
}

/// Gives back those that waited too long, and all of a task whose requests wait at another worker for memory. To be called
/// every second.
pub(crate) async fn tend(host: &Host) {
    let too_old_ns = host.passes.note(clock::monotonic_ns());
    let mut pace = Pace::default();
    for room in host.machines.rooms() {
        for task in room.kept.tasks() {
            pace.step().await;
            task.keep.shared.borrow_mut().retain(|shared| !shared.is_over());
            if task.account.slot.rows().any(|row| row.queued.get() > 0) {
                while task.keep.retire_oldest() {
                    pace.step().await;
                }
            }
        }
        while let Some(task) = room.kept.oldest_before(too_old_ns) {
            task.keep.retire_oldest();
            pace.step().await;
        }
    }
}

/// Lets everything else go on every now and then.
#[derive(Default)]
struct Pace(usize);

impl Pace {
    async fn step(&mut self) {
        self.0 += 1;
        if self.0.is_multiple_of(STEP) {
            tokio::task::yield_now().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::Account;
    use crate::codes::{CodeBounds, Codes};

    #[test]
    fn one_waits_for_time_on_behalf_of_all_tasks() {
        let codes = Codes::new(CodeBounds { components: 1, bytes: 1 });
        let [one, other] = [(); 2].map(|()| {
            let account = Account::of_any_task(1 << 20);
            let cell = codes.cell(account.spec.program);
            Rc::new(Task::new(account, cell))
        });
        let ahead = Ahead::default();
        assert_eq!([&one, &other, &one].map(|task| ahead.line_up(task)), [true, false, false]);
        for expected in [&one, &other] {
            assert!(ahead.next().is_some_and(|next| Rc::ptr_eq(&next, expected)));
            expected.keep.making.set(false);
        }
        assert!(ahead.next().is_none());
        assert!(ahead.line_up(&other), "the last one has gone");
    }
}

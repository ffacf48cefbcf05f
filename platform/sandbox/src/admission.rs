//! Who gets a sandbox, and when: concurrency, memory and the pool's slots are claimed together, or waited for.
//!
//! Each task's waiters go first come, first served within a worker; how many may wait is bounded over all workers. Other
//! workers give back claims without telling this one, so the first of those that wait looks again every few
//! milliseconds.

use crate::call::shared::Shared;
use crate::code::Code;
use crate::engine::PoolSize;
use crate::host::Host;
use crate::live::Live;
use crate::state::SANDBOX_OVERHEAD_BYTES;
use crate::task::Task;
use skiff_kit::clock;
use skiff_ledger::MemoryClaim;
use skiff_ports::invoke::InvokeError;
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::Notify;

/// How often the first waiter looks whether another worker gave something back.
const RECHECK: Duration = Duration::from_millis(5);
/// When a client that is refused may try again, in seconds.
pub(crate) const RETRY_AFTER_S: u32 = 1;

/// What of the pool is in use, by all or by one task.
#[derive(Default)]
pub(crate) struct InUse(Cell<PoolSize>);

impl InUse {
    fn has_room(&self, demand: PoolSize, most: PoolSize) -> bool {
        self.0.get().plus(demand).is_within(most)
    }

    fn take(&self, demand: PoolSize) {
        self.0.set(self.0.get().plus(demand));
    }

    fn give_back(&self, demand: PoolSize) {
        self.0.set(self.0.get().minus(demand));
    }
}

/// The right to be one of the requests that an `http` task works on. Dropped when its guest has ended.
pub(crate) struct Seat {
    task: Rc<Task>,
    /// Whether to let the next one know.
    quiet: bool,
}

/// The right to one sandbox. Dropped after the sandbox is.
pub(crate) struct Permit {
    host: Rc<Host>,
    task: Rc<Task>,
    demand: PoolSize,
}

/// A sandbox that may be made: the permit, and the memory that it starts with.
pub(crate) struct Blank {
    pub(crate) permit: Permit,
    pub(crate) claim: MemoryClaim,
    pub(crate) prepaid_bytes: u64,
}

/// A request that has what it needs: a seat, and a sandbox that waited for it or that may be made.
pub(crate) struct Admitted {
    pub(crate) seat: Seat,
    pub(crate) sandbox: Drawn,
}

/// Where a request's sandbox comes from.
pub(crate) enum Drawn {
    /// It has it to itself.
    Own(Own),
    /// It works on others beside this one.
    Shared(Rc<Shared>),
}

/// A sandbox for one request at a time.
pub(crate) enum Own {
    /// It waited for a request.
    Kept(Box<Live>),
    /// It has yet to be made.
    Blank(Blank),
}

/// What there was too little of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shortage {
    Concurrency,
    Memory,
    Pool,
}

/// Claims a seat and a sandbox, or says what there is too little of at present; the task remembers it.
pub(crate) fn try_admit(host: &Rc<Host>, task: &Rc<Task>, code: &Code) -> Result<Admitted, Shortage> {
    draw(host, task, code).inspect_err(|&shortage| task.shortage.set(shortage))
}

fn draw(host: &Rc<Host>, task: &Rc<Task>, code: &Code) -> Result<Admitted, Shortage> {
    let seat = Seat::claim(task).ok_or(Shortage::Concurrency)?;
    if let Some(shared) = task.keep.shared_with_room() {
        return Ok(Admitted { seat, sandbox: Drawn::Shared(shared) });
    }
    if let Some(live) = task.keep.take() {
        return Ok(Admitted { seat, sandbox: Drawn::Own(Own::Kept(Box::new(live))) });
    }
    match Blank::claim(host, task, code) {
        Ok(blank) => Ok(Admitted { seat, sandbox: Drawn::Own(Own::Blank(blank)) }),
        Err(shortage) => {
            seat.give_back_quietly();
            Err(shortage)
        }
    }
}

impl Blank {
    /// Claims a sandbox, or says what there is too little of at present.
    pub(crate) fn claim(host: &Rc<Host>, task: &Rc<Task>, code: &Code) -> Result<Self, Shortage> {
        let demand = code.demand.pool;
        // No task gets so much of the pool that its neighbours find none.
        if !task.in_use.has_room(demand, host.pool_size.for_one_task()) {
            return Err(Shortage::Pool);
        }
        while !host.in_use.has_room(demand, host.pool_size) {
            if !host.retire_a_kept_one() {
                return Err(Shortage::Pool);
            }
        }
        let account = &task.account;
        let prepaid_bytes = code.demand.minimum_bytes.get();
        let limit_bytes = account.spec.limits.memory.bytes();
        let mut claim = MemoryClaim::new(account.slot.clone(), account.worker, limit_bytes);
        if !claim.grow(SANDBOX_OVERHEAD_BYTES + prepaid_bytes) {
            return Err(Shortage::Memory);
        }
        account.row().sandboxes.add(1);
        account.row().sandboxes_drawn.add(1);
        host.in_use.take(demand);
        task.in_use.take(demand);
        let permit = Permit { host: host.clone(), task: task.clone(), demand };
        Ok(Self { permit, claim, prepaid_bytes })
    }
}

/// Whether not even one sandbox of this code fits into the task's memory; then waiting is no use.
pub(crate) fn never_fits(task: &Task, code: &Code) -> Option<String> {
    let limit = task.account.spec.limits.memory;
    let needed_bytes = SANDBOX_OVERHEAD_BYTES + code.demand.minimum_bytes.get();
    (needed_bytes > limit.bytes()).then(|| {
        format!("out of memory: one sandbox takes {needed_bytes} bytes at once, the task's limit is {limit}; raise --memory")
    })
}

impl Seat {
    /// Claims one; `None` if the task works on as many requests as it may.
    pub(crate) fn claim(task: &Rc<Task>) -> Option<Self> {
        let account = &task.account;
        let concurrency = u64::from(account.spec.limits.concurrency);
        account
            .slot
            .claim_in_flight(account.worker, concurrency)
            .then(|| Self { task: task.clone(), quiet: false })
    }

    /// Gives it back without waking the first of those that wait, who is asking just now.
    fn give_back_quietly(mut self) {
        self.quiet = true;
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.task.account.row().in_flight.subtract(1);
        if !self.quiet {
            self.task.wake_first();
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let row = self.task.account.row();
        row.sandboxes.subtract(1);
        self.host.in_use.give_back(self.demand);
        self.task.in_use.give_back(self.demand);
        self.task.wake_first();
    }
}

/// A place among a task's waiting requests.
pub(crate) struct Ticket {
    task: Rc<Task>,
    turn: Rc<Notify>,
}

impl Ticket {
    /// Takes a place, unless `places` requests wait already.
    pub(crate) fn take(task: &Rc<Task>, places: u32) -> Result<Self, InvokeError> {
        let account = &task.account;
        if !account.slot.claim_queued(account.worker, u64::from(places)) {
            account.row().refused.add(1);
            return Err(InvokeError::Busy { reason: busy(task, places), retry_after_s: RETRY_AFTER_S });
        }
        let turn = Rc::new(Notify::new());
        task.waiting.borrow_mut().push_back(turn.clone());
        Ok(Self { task: task.clone(), turn })
    }

    fn is_first(&self) -> bool {
        self.task.waiting.borrow().front().is_some_and(|first| Rc::ptr_eq(first, &self.turn))
    }

    /// Waits until a sandbox may be made.
    pub(crate) async fn admit(
        self,
        host: &Rc<Host>,
        code: &Code,
        deadline_ns: u64,
    ) -> Result<Admitted, InvokeError> {
        loop {
            if self.task.has_ended() {
                return Err(InvokeError::Gone);
            }
            if let Some(reason) = never_fits(&self.task, code) {
                self.task.account.row().out_of_memory.add(1);
                return Err(InvokeError::Failed(reason));
            }
            let first = self.is_first();
            if first && let Ok(admitted) = try_admit(host, &self.task, code) {
                return Ok(admitted);
            }
            let left = clock::until(deadline_ns);
            if left.is_zero() {
                return Err(timed_out(&self.task));
            }
            let patience = if first { left.min(RECHECK) } else { left };
            let _ = tokio::time::timeout(patience, self.turn.notified()).await;
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.task.account.row().queued.subtract(1);
        self.task.waiting.borrow_mut().retain(|turn| !Rc::ptr_eq(turn, &self.turn));
        self.task.wake_first();
    }
}

/// Counts a request whose time was up before it had a sandbox.
pub(crate) fn timed_out(task: &Task) -> InvokeError {
    task.account.row().timeouts.add(1);
    InvokeError::TimedOut { limit_ms: task.account.spec.limits.timeout.ms() }
}

fn busy(task: &Task, places: u32) -> String {
    let limits = &task.account.spec.limits;
    let waiting = format!("{places} more requests wait, as many as may");
    match task.shortage.get() {
        Shortage::Memory => {
            format!("the task's memory limit of {} is used up and {waiting}; raise --memory", limits.memory)
        }
        Shortage::Pool => format!("this worker has no sandbox left for the task and {waiting}"),
        Shortage::Concurrency => format!(
            "the task has {} sandboxes, as many as --concurrency allows, and {waiting}; raise --concurrency or run more \
             tasks",
            limits.concurrency
        ),
    }
}

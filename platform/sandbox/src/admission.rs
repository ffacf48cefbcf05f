//! Who gets a sandbox, and when: concurrency, memory and the pool's slots are claimed together, or waited for.
//!
//! Each task's waiters go first come, first served within a worker; how many may wait is bounded over all workers. For the
//! pool's slots tasks take turns ([`crate::room`]). Concurrency and memory other workers give back without telling this
//! one, so the first of those that wait for them looks again every few milliseconds.

use crate::call::shared::Shared;
use crate::code::Code;
use crate::engine::PoolSize;
use crate::live::Live;
use crate::room::Room;
use crate::state::SANDBOX_OVERHEAD_BYTES;
use crate::task::Task;
use skiff_kit::clock;
use skiff_ledger::MemoryClaim;
use skiff_ports::invoke::InvokeError;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::Notify;

/// How often the first waiter looks whether another worker gave something back.
const RECHECK: Duration = Duration::from_millis(5);
/// When a client that is refused may try again, in seconds.
pub(crate) const RETRY_AFTER_S: u32 = 1;

/// The right to be one of the requests or deliveries that a task works on. Dropped when its guest has ended.
pub(crate) struct Seat {
    task: Rc<Task>,
    /// Whether to let the next one know.
    quiet: bool,
}

/// The right to one sandbox. Dropped after the sandbox is.
pub(crate) struct Permit {
    room: Rc<Room>,
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
    /// The task has as much of the pool as one may.
    Share,
    /// The pool has nothing left, or others wait for what is.
    Pool,
}

/// [`try_admit`] or [`try_admit_alone`].
pub(crate) type TryAdmit<A> = fn(&Rc<Task>, &Code) -> Result<A, Shortage>;

/// Claims a seat and a sandbox, or says what there is too little of at present; the task remembers it.
pub(crate) fn try_admit(task: &Rc<Task>, code: &Code) -> Result<Admitted, Shortage> {
    draw(task, code).inspect_err(|&shortage| task.shortage.set(shortage))
}

/// The same for what takes a sandbox that works on nothing else meanwhile.
pub(crate) fn try_admit_alone(task: &Rc<Task>, code: &Code) -> Result<(Seat, Own), Shortage> {
    let seat = Seat::claim(task).ok_or(Shortage::Concurrency);
    seat.and_then(|seat| draw_own(task, code, seat)).inspect_err(|&shortage| task.shortage.set(shortage))
}

fn draw(task: &Rc<Task>, code: &Code) -> Result<Admitted, Shortage> {
    let seat = Seat::claim(task).ok_or(Shortage::Concurrency)?;
    if let Some(shared) = task.keep.shared_with_room() {
        return Ok(Admitted { seat, sandbox: Drawn::Shared(shared) });
    }
    let (seat, own) = draw_own(task, code, seat)?;
    Ok(Admitted { seat, sandbox: Drawn::Own(own) })
}

fn draw_own(task: &Rc<Task>, code: &Code, seat: Seat) -> Result<(Seat, Own), Shortage> {
    if let Some(live) = task.keep.take() {
        return Ok((seat, Own::Kept(Box::new(live))));
    }
    match Blank::claim(task, code) {
        Ok(blank) => Ok((seat, Own::Blank(blank))),
        Err(shortage) => {
            seat.give_back_quietly();
            Err(shortage)
        }
    }
}

impl Blank {
    /// Claims a sandbox, or says what there is too little of at present. Those that wait for a request make room for it.
    pub(crate) fn claim(task: &Rc<Task>, code: &Code) -> Result<Self, Shortage> {
        loop {
            match Self::claim_free(task, code) {
                Err(Shortage::Pool)
                    if !code.room.is_wanted_by_others(task) && code.room.kept.retire_oldest() => {}
                claimed => return claimed,
            }
        }
    }

    /// Claims a sandbox of what nobody has, or says what there is too little of at present.
    pub(crate) fn claim_free(task: &Rc<Task>, code: &Code) -> Result<Self, Shortage> {
        let (demand, room) = (code.demand.pool, &code.room);
        if !room.is_fair_share(task, demand) {
            return Err(Shortage::Share);
        }
        if !room.is_free_for(task, demand) {
            return Err(Shortage::Pool);
        }
        let account = &task.account;
        let prepaid_bytes = task.start_bytes(code);
        let limit_bytes = account.spec.limits.memory.bytes();
        let mut claim = MemoryClaim::new(account.slot.clone(), account.worker, limit_bytes);
        if !claim.grow(SANDBOX_OVERHEAD_BYTES + prepaid_bytes) {
            return Err(Shortage::Memory);
        }
        account.row().sandboxes.add(1);
        account.row().sandboxes_drawn.add(1);
        room.take(task, demand);
        let permit = Permit { room: room.clone(), task: task.clone(), demand };
        Ok(Self { permit, claim, prepaid_bytes })
    }
}

/// Whether not even one sandbox of this code fits into the task's memory; then waiting is no use.
pub(crate) fn never_fits(task: &Task, code: &Code) -> Option<String> {
    let limit = task.account.spec.limits.memory;
    let needed_bytes = SANDBOX_OVERHEAD_BYTES + task.start_bytes(code);
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
        self.room.give_back(&self.task, self.demand);
        self.task.wake_first();
    }
}

/// A place among what of a task waits for a sandbox.
pub(crate) struct Turn {
    task: Rc<Task>,
    wake: Rc<Notify>,
}

impl Turn {
    pub(crate) fn take(task: &Rc<Task>) -> Self {
        let wake = Rc::new(Notify::new());
        task.waiting.borrow_mut().push_back(wake.clone());
        Self { task: task.clone(), wake }
    }

    fn is_first(&self) -> bool {
        self.task.waiting.borrow().front().is_some_and(|first| Rc::ptr_eq(first, &self.wake))
    }

    /// Waits until there may be more of what the first found too little of, no longer than `patience`.
    pub(crate) async fn wait(&self, room: &Room, shortage: Shortage, patience: Duration) {
        let patience = match shortage {
            Shortage::Pool => {
                room.line_up(&self.task);
                patience
            }
            Shortage::Share | Shortage::Concurrency | Shortage::Memory => {
                room.leave(&self.task);
                patience.min(RECHECK)
            }
        };
        self.wait_to_be_first(patience).await;
    }

    async fn wait_to_be_first(&self, patience: Duration) {
        let _ = tokio::time::timeout(patience, self.wake.notified()).await;
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.task.waiting.borrow_mut().retain(|turn| !Rc::ptr_eq(turn, &self.wake));
        if self.task.waiting.borrow().is_empty()
            && let Some(code) = self.task.code.peek()
        {
            code.room.leave(&self.task);
        }
        self.task.wake_first();
    }
}

/// A place among a task's waiting requests, of which there are only so many.
pub(crate) struct Ticket {
    turn: Turn,
}

impl Ticket {
    /// Takes a place, unless `places` requests wait already.
    pub(crate) fn take(task: &Rc<Task>, places: u32) -> Result<Self, InvokeError> {
        let account = &task.account;
        if !account.slot.claim_queued(account.worker, u64::from(places)) {
            account.row().refused.add(1);
            return Err(InvokeError::Busy { reason: busy(task, places), retry_after_s: RETRY_AFTER_S });
        }
        Ok(Self { turn: Turn::take(task) })
    }

    /// Waits until a sandbox may be made: until `try_admit` says so.
    pub(crate) async fn admit<A>(
        self,
        code: &Code,
        deadline_ns: u64,
        try_admit: TryAdmit<A>,
    ) -> Result<A, InvokeError> {
        let task = &self.turn.task;
        loop {
            if task.has_ended() {
                return Err(InvokeError::Gone);
            }
            if let Some(reason) = never_fits(task, code) {
                task.account.row().out_of_memory.add(1);
                return Err(InvokeError::Failed(reason));
            }
            let left = clock::until(deadline_ns);
            if left.is_zero() {
                return Err(timed_out(task));
            }
            if !self.turn.is_first() {
                self.turn.wait_to_be_first(left).await;
                continue;
            }
            match try_admit(task, code) {
                Ok(admitted) => return Ok(admitted),
                Err(shortage) => self.turn.wait(&code.room, shortage, left).await,
            }
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.turn.task.account.row().queued.subtract(1);
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
        Shortage::Share => format!(
            "the task has half of the sandboxes that this worker has room for, as many as one task may, and {waiting}; start \
             `skiff up` with more --sandboxes"
        ),
        Shortage::Pool => {
            format!(
                "this worker has no room for another sandbox and {waiting}; start `skiff up` with more --sandboxes"
            )
        }
        Shortage::Concurrency => format!(
            "the task has {} sandboxes, as many as --concurrency allows, and {waiting}; raise --concurrency or run more \
             tasks",
            limits.concurrency
        ),
    }
}

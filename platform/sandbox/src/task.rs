//! A task as this worker's thread sees it: its account, its code, and who waits for it.

use crate::account::Account;
use crate::admission::Shortage;
use crate::code::Code;
use crate::codes::CodeCell;
use crate::keep::Keep;
use crate::room::InUse;
use crate::turns::Place;
use skiff_types::CpuUnits;
use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;
use tokio::sync::Notify;

/// One task. Never changes what it runs; ends once.
pub(crate) struct Task {
    pub(crate) account: Arc<Account>,
    pub(crate) code: Rc<CodeCell>,
    /// Requests that wait for a sandbox, in the order in which they came.
    pub(crate) waiting: RefCell<VecDeque<Rc<Notify>>>,
    /// Its place among those whose guests ran for a whole slice.
    pub(crate) place: Place,
    /// Sandboxes that wait for a request.
    pub(crate) keep: Keep,
    /// What it has of the pool.
    pub(crate) in_use: InUse,
    /// Bytes of memories and tables that its last sandbox had when it was made; start-up may depend on the environment.
    start_bytes: Cell<Option<u64>>,
    /// What there was too little of when a sandbox was last asked for in vain.
    pub(crate) shortage: Cell<Shortage>,
    ended: Cell<bool>,
    /// Guests that wait for something, to be woken when the task ends.
    sleepers: RefCell<HashMap<u64, Waker>>,
    next_sleeper: Cell<u64>,
}

impl Task {
    pub(crate) fn new(account: Account, code: Rc<CodeCell>) -> Self {
        Self {
            account: Arc::new(account),
            code,
            waiting: RefCell::default(),
            place: Place::default(),
            keep: Keep::default(),
            in_use: InUse::default(),
            start_bytes: Cell::new(None),
            shortage: Cell::new(Shortage::Concurrency),
            ended: Cell::new(false),
            sleepers: RefCell::default(),
            next_sleeper: Cell::new(0),
        }
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.ended.get()
    }

    /// Whether its sandboxes may serve more than one request.
    pub(crate) fn reuses_sandboxes(&self) -> bool {
        self.account.spec.limits.reuse.requests > 1
    }

    /// Charges CPU time that was used up to `now_ns`.
    pub(crate) fn charge_cpu(&self, used_ns: u64, now_ns: u64) {
        self.account.charge_cpu(used_ns, now_ns);
        self.place.charge(self.virtual_ns(used_ns));
    }

    /// How far CPU time moves the task's virtual time: the farther, the fewer units it has.
    pub(crate) fn virtual_ns(&self, cpu_ns: u64) -> u64 {
        cpu_ns * u64::from(CpuUnits::PER_VCPU) / u64::from(self.account.spec.limits.cpu.get())
    }

    /// Bytes of memories and tables that one of its sandboxes will have when it is made, as far as that is known.
    pub(crate) fn start_bytes(&self, code: &Code) -> u64 {
        self.start_bytes.get().unwrap_or(code.demand.memory_bytes)
    }

    /// Notes what one had.
    pub(crate) fn started_with(&self, bytes: u64) {
        self.start_bytes.set(Some(bytes));
    }

    /// Ends every guest of the task, and every wait for one.
    pub(crate) fn end(&self) {
        self.ended.set(true);
        self.keep.clear();
        self.waiting.borrow().iter().for_each(|waiting| waiting.notify_one());
        let sleepers = std::mem::take(&mut *self.sleepers.borrow_mut());
        sleepers.into_values().for_each(Waker::wake);
    }

    /// Lets the first of those that wait look again.
    pub(crate) fn wake_first(&self) {
        if let Some(first) = self.waiting.borrow().front() {
            first.notify_one();
        }
    }

    /// Has `waker` woken when the task ends; `key` is what an earlier call of the same guest returned.
    pub(crate) fn sleep(&self, key: Option<u64>, waker: &Waker) -> u64 {
        let key = key.unwrap_or_else(|| self.next_sleeper.replace(self.next_sleeper.get() + 1));
        let mut sleepers = self.sleepers.borrow_mut();
        match sleepers.get_mut(&key) {
            Some(known) => known.clone_from(waker),
            None => drop(sleepers.insert(key, waker.clone())),
        }
        key
    }

    pub(crate) fn forget_sleeper(&self, key: u64) {
        self.sleepers.borrow_mut().remove(&key);
    }
}

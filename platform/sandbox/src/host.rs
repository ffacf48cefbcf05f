//! What all sandboxes of a worker share: engines, linkers, pools, the clock, and the ways out.

use crate::account::Account;
use crate::capability::Capabilities;
use crate::code::CodeSource;
use crate::codes::Codes;
use crate::cpu_meter::CpuMeter;
use crate::epoch::EpochClock;
use crate::failure::{Failure, FailureKind};
use crate::keep::{Ahead, Passes};
use crate::link::Machines;
use crate::logs::{LogQueue, LogSink};
use crate::sandboxes::Deps;
use crate::task::Task;
use crate::turns::Turns;
use skiff_ledger::{Ledger, WorkerRow};
use skiff_ports::runtime::TaskEvent;
use skiff_types::TaskId;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use tokio::sync::Notify;

/// Lives on the worker's one thread.
pub(crate) struct Host {
    pub(crate) worker: usize,
    pub(crate) machines: Machines,
    pub(crate) epoch: EpochClock,
    pub(crate) ledger: Ledger,
    pub(crate) code_source: Rc<dyn CodeSource>,
    pub(crate) logs: Arc<LogQueue>,
    pub(crate) log_sink: Rc<dyn LogSink>,
    pub(crate) events: Rc<dyn Fn(TaskEvent)>,
    pub(crate) capabilities: Capabilities,
    pub(crate) cpu_meter: Arc<CpuMeter>,
    pub(crate) turns: Turns,
    pub(crate) tasks: RefCell<HashMap<TaskId, Rc<Task>>>,
    pub(crate) codes: Codes,
    pub(crate) ahead: Ahead,
    pub(crate) passes: Passes,
    calls_begun: Cell<u64>,
    calls: Cell<usize>,
    calls_ended: Notify,
}

impl Host {
    pub(crate) fn new(
        worker: usize,
        machines: Machines,
        codes: Codes,
        epoch: EpochClock,
        deps: Deps,
    ) -> Self {
        let Deps { ledger, code: code_source, logs: log_sink, events, capabilities } = deps;
        Self {
            worker,
            machines,
            epoch,
            ledger,
            code_source,
            logs: Arc::default(),
            log_sink,
            events,
            capabilities: Capabilities::new(capabilities),
            cpu_meter: Arc::new(CpuMeter::new()),
            turns: Turns::default(),
            tasks: RefCell::default(),
            codes,
            ahead: Ahead::default(),
            passes: Passes::default(),
            calls_begun: Cell::new(0),
            calls: Cell::new(0),
            calls_ended: Notify::new(),
        }
    }

    /// What this worker says of itself.
    pub(crate) fn row(&self) -> &WorkerRow {
        self.ledger.worker(self.worker)
    }

    /// Counts a guest's failure, and writes down what its client is not told.
    pub(crate) fn report(&self, account: &Arc<Account>, failure: &Failure) {
        let row = account.row();
        match failure.kind {
            FailureKind::Trapped => row.traps.add(1),
            FailureKind::TimedOut { .. } => row.timeouts.add(1),
            // Counted where the memory was refused.
            FailureKind::OutOfMemory => {}
            FailureKind::Exited(_) | FailureKind::NoAnswer => {}
            FailureKind::NoRoom => row.refused.add(1),
            // Whoever took the task away knows.
            FailureKind::Stopped => return,
        }
        self.logs.remark(account, &failure.message);
        if let Some(detail) = &failure.detail {
            self.logs.remark(account, detail);
        }
        self.flush_logs();
    }

    /// Hands over all lines that wait; says how many bytes of memory they took.
    pub(crate) fn flush_logs(&self) -> u64 {
        self.logs.flush(&*self.log_sink)
    }

    /// Requests and one-off programs that began so far.
    pub(crate) fn calls_begun(&self) -> u64 {
        self.calls_begun.get()
    }

    /// Counts a call, or a program that runs once, until the guard is dropped.
    pub(crate) fn call_begins(self: &Rc<Self>) -> CallGuard {
        self.calls.set(self.calls.get() + 1);
        self.calls_begun.set(self.calls_begun.get() + 1);
        CallGuard(self.clone())
    }

    /// Ends when no call of an `http` task is going on and no one-off program runs.
    pub(crate) async fn idle(&self) {
        while self.calls.get() > 0 {
            self.calls_ended.notified().await;
        }
    }
}

/// A call that is going on.
pub(crate) struct CallGuard(Rc<Host>);

impl Drop for CallGuard {
    fn drop(&mut self) {
        let calls = self.0.calls.get() - 1;
        self.0.calls.set(calls);
        if calls == 0 {
            self.0.calls_ended.notify_waiters();
        }
    }
}

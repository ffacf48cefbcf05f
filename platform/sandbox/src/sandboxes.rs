//! The service: what a worker makes once, tells what to run, and calls.

use crate::account::Account;
use crate::capability::{Capabilities, Capability};
use crate::code::CodeSource;
use crate::codes::{CodeBounds, Codes};
use crate::engine::EngineError;
use crate::epoch::EpochClock;
use crate::host::Host;
use crate::link::Machines;
use crate::logs::{LogQueue, LogSink};
use crate::task::Task;
use crate::{call, cold_start, command, keep};
use futures::future::LocalBoxFuture;
use http::{Request, Response};
use skiff_ledger::Ledger;
use skiff_ports::body::Body;
use skiff_ports::guest_deliveries::{DeliverError, GuestDelivery, GuestOutcome};
use skiff_ports::invoke::{Invoke, InvokeError};
use skiff_ports::runtime::{ColdStart, TaskEvent};
use skiff_ports::snapshot::Assignment;
use skiff_types::{Kind, TaskId};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

/// How often memory that is kept is looked through for what nobody needs.
const TEND_INTERVAL: Duration = Duration::from_secs(1);

/// What a worker's sandboxes are made with.
#[derive(Debug, Clone, Copy)]
pub struct Config {
    /// Which worker this is: its row in the ledger.
    pub worker: usize,
    /// Sandboxes at once; what of the pool follows from it is reserved address space, not memory.
    pub sandboxes_max: usize,
    /// Native code that may stay mapped.
    pub code: CodeBounds,
}

/// What the sandboxes of a worker meet the world through.
pub struct Deps {
    /// The node's accounts.
    pub ledger: Ledger,
    /// Where native code comes from.
    pub code: Rc<dyn CodeSource>,
    /// Where guests' output goes.
    pub logs: Rc<dyn LogSink>,
    /// Who is told what happens to `command` tasks.
    pub events: Rc<dyn Fn(TaskEvent)>,
    /// What guests have beside WASI's own interfaces, or in their place.
    pub capabilities: Vec<Arc<dyn Capability>>,
}

/// All sandboxes of one worker. Lives on one thread, inside a `tokio::task::LocalSet`.
pub struct Sandboxes {
    host: Rc<Host>,
}

impl Sandboxes {
    /// Makes the engines and their pools, and links WASI and the capabilities. Must run in a `LocalSet`.
    ///
    /// # Errors
    /// If the machine can't give the pool its address space, or wasmtime does not run here.
    pub fn new(config: Config, deps: Deps) -> Result<Rc<Self>, EngineError> {
        let capabilities = Capabilities::new(deps.capabilities.clone());
        let machines = Machines::new(config.sandboxes_max.max(1), &capabilities)?;
        let epoch = EpochClock::start(machines.engines()).map_err(EngineError::new)?;
        let host = Rc::new(Host::new(config.worker, machines, Codes::new(config.code), epoch, deps));
        tokio::task::spawn_local(tend(Rc::downgrade(&host)));
        tokio::task::spawn_local(hand_over_reports(Rc::downgrade(&host), host.logs.clone()));
        Ok(Rc::new(Self { host }))
    }

    /// Runs a task from now on, beside the others: a `command` starts at once, and only once for its id. What a known id
    /// runs never changes.
    pub fn run(&self, assignment: Assignment) {
        let host = &self.host;
        let id = assignment.task;
        if host.tasks.borrow().contains_key(&id) {
            return;
        }
        let account = Account::new(assignment, &host.ledger, host.worker);
        let (program, kind) = (account.spec.program, account.spec.kind);
        let task = Rc::new(Task::new(account, host.codes.cell(program)));
        host.tasks.borrow_mut().insert(id, task.clone());
        if kind == Kind::Command {
            tokio::task::spawn_local(command::run(host.clone(), task));
        }
    }

    /// Ends a task, whatever it does.
    pub fn end(&self, task: TaskId) {
        let ended = self.host.tasks.borrow_mut().remove(&task);
        if let Some(task) = ended {
            task.end();
            self.host.capabilities.ended(task.account.task);
        }
    }

    /// Gives a task's guest an event, messages or a request, in a sandbox like any call's, and waits for what comes of it. The
    /// task's quotas, its queue and its timeout hold from the call on; dropping it ends the guest.
    ///
    /// # Errors
    /// [`DeliverError::Busy`] where nothing was started and it may be tried again.
    pub async fn deliver(&self, task: TaskId, delivery: GuestDelivery) -> Result<GuestOutcome, DeliverError> {
        call::deliver(self.host.clone(), task, delivery).await
    }

    /// Measures cold starts of an `http` task by GETs of `path`, one after the other.
    ///
    /// # Errors
    /// A sentence that says why the task can't be measured.
    pub async fn measure_cold_start(
        &self,
        task: TaskId,
        path: String,
        rounds: u32,
    ) -> Result<Vec<ColdStart>, String> {
        let found = self.host.tasks.borrow().get(&task).cloned();
        let task = found.ok_or_else(|| InvokeError::Gone.to_string())?;
        let mut measured = Vec::new();
        for _ in 0..rounds.min(cold_start::ROUNDS_MAX) {
            measured.push(cold_start::measure(&self.host, &task, &path).await?);
            // Requests that wait are not kept waiting by a measurement.
            tokio::task::yield_now().await;
        }
        Ok(measured)
    }

    /// CPU time of this thread that tasks were charged with, in nanoseconds; the rest is the platform's.
    pub fn guest_cpu_ns(&self) -> u64 {
        self.host.cpu_meter.total_ns()
    }

    /// Ends when no request is being answered.
    pub async fn idle(&self) {
        self.host.idle().await;
    }
}

/// Gives back, once a second, what is kept for sandboxes to come and was not needed lately: step by step, with everything
/// else in between.
async fn tend(host: Weak<Host>) {
    let mut interval = tokio::time::interval(TEND_INTERVAL);
    loop {
        interval.tick().await;
        let Some(host) = host.upgrade() else { break };
        host.machines.begin_pass();
        while host.machines.trim_some() {
            tokio::task::yield_now().await;
        }
        host.row().pool_kept_bytes.set(host.machines.kept_bytes() as u64);
        keep::tend(&host).await;
        host.codes.begin_pass();
        while host.codes.tend_some(host.row()) {
            tokio::task::yield_now().await;
        }
    }
}

/// Hands over lines that are written where no guest runs.
async fn hand_over_reports(host: Weak<Host>, logs: Arc<LogQueue>) {
    loop {
        logs.reported().await;
        let Some(host) = host.upgrade() else { break };
        host.flush_logs();
    }
}

impl Invoke for Sandboxes {
    fn invoke(
        &self,
        task: TaskId,
        request: Request<Body>,
    ) -> LocalBoxFuture<'_, Result<Response<Body>, InvokeError>> {
        Box::pin(call::call(self.host.clone(), task, request))
    }
}

//! A sandbox that is made: it can take a request, or wait for one.

use crate::admission::{Blank, Permit};
use crate::call::{self, GuestRequest, Head, Instance};
use crate::code::Code;
use crate::failure::Failure;
use crate::heap::HeapMeter;
use crate::host::Host;
use crate::state::{SANDBOX_OVERHEAD_BYTES, SandboxState, new_store};
use crate::task::Task;
use skiff_kit::clock;
use skiff_ports::guest_deliveries::{GuestDelivery, GuestOutcome};
use std::rc::Rc;
use std::sync::Arc;
use wasmtime::Store;

/// One sandbox. What it has of the pool is given back after its store is gone.
pub(crate) struct Live {
    pub(crate) store: Store<SandboxState>,
    pub(crate) instance: Instance,
    pub(crate) heap: Rc<HeapMeter>,
    /// Requests that it took.
    pub(crate) requests: u32,
    /// When it was last put aside.
    pub(crate) idle_since_ns: u64,
    _permit: Permit,
    /// What it runs stays mapped.
    code: Rc<Code>,
}

impl Live {
    /// Makes one out of what was claimed for it. To be run as the guest, which its start-up is.
    pub(crate) async fn make(
        host: &Host,
        task: &Task,
        code: &Rc<Code>,
        blank: Blank,
        heap: Rc<HeapMeter>,
    ) -> Result<Self, Failure> {
        let began_ns = clock::monotonic_ns();
        let Blank { permit, claim, prepaid_bytes } = blank;
        let mut store = new_store(host, task, code, claim, prepaid_bytes, heap.crossed());
        match Instance::new(code, &mut store).await {
            Ok(instance) => {
                made(task, &store, began_ns);
                Ok(Self {
                    store,
                    instance,
                    heap,
                    requests: 0,
                    idle_since_ns: 0,
                    _permit: permit,
                    code: code.clone(),
                })
            }
            Err(error) => Err(failure(&error, task, &store)),
        }
    }

    /// Lets it answer one request, to the end of all that the guest does for it.
    pub(crate) async fn call(
        &mut self,
        task: &Task,
        request: GuestRequest,
        head: Arc<Head>,
    ) -> Result<(), Failure> {
        self.requests += 1;
        let called = self.instance.call(&mut self.store, request, head).await;
        called.map_err(|error| self.failure(&error, task))
    }

    /// Gives it an event or messages, and waits for what comes of that. What it says is not on its account.
    pub(crate) async fn deliver(
        &mut self,
        task: &Task,
        delivery: &GuestDelivery,
    ) -> Result<GuestOutcome, Failure> {
        self.requests += 1;
        let Self { store, instance, code, .. } = self;
        match call::hand_over(store, instance, &code.events, delivery).await {
            Ok(outcome) => outcome,
            Err(error) => Err(self.failure(&error, task)),
        }
    }

    /// What an error that came out of its guest means.
    pub(crate) fn failure(&self, error: &wasmtime::Error, task: &Task) -> Failure {
        failure(error, task, &self.store)
    }
}

fn failure(error: &wasmtime::Error, task: &Task, store: &Store<SandboxState>) -> Failure {
    Failure::from_error(error, &task.account, store.data().out_of_memory())
}

/// Records that a store has its instance: the stage's time, and what the task's next sandbox is to prepay.
pub(crate) fn made(task: &Task, store: &Store<SandboxState>, began_ns: u64) {
    let took_ns = clock::monotonic_ns().saturating_sub(began_ns);
    task.account.row().cold_start_instantiate.record_ns(took_ns);
    let state = store.data();
    task.started_with(state.claimed_bytes() - state.unused_prepaid_bytes() - SANDBOX_OVERHEAD_BYTES);
}

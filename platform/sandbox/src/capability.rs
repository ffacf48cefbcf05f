//! The seam for host capabilities: what other crates give guests beside WASI's own interfaces, or in their place.
//!
//! A capability is linked once for each flavour of component. What a sandbox holds of it is made when its guest first
//! asks, so that a request which asks for nothing costs nothing. Where a worker has no capability, WASI's own interfaces
//! stay: those that reach out of the sandbox are denied. What a guest may import at all is said in [`crate::offered`].
//!
//! What always holds: everything here happens on the worker's one thread. It is `Send` and `Sync` only because the stores
//! of wasmtime have to be.

use crate::account::Account;
use crate::cpu_meter::CpuMeter;
use crate::heap::apart;
use crate::logs::LogQueue;
use crate::state::SandboxState;
use skiff_kit::clock;
use skiff_ledger::MemoryClaim;
use skiff_types::{Limits, QualifiedName, TaskId, WasiGeneration};
use std::any::{Any, TypeId};
use std::pin::Pin;
use std::sync::Arc;
use wasmtime::component::{Linker, ResourceTable};
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody};

/// Interfaces for guests that another crate implements.
pub trait Capability: Send + Sync {
    /// Defines its interfaces for components of this generation; those of WASI 0.3 may import what is of 0.2 too. What it
    /// defines takes the place of WASI's own.
    ///
    /// # Errors
    /// What the linker says.
    fn link(&self, linker: &mut Linker<SandboxState>, generation: WasiGeneration) -> wasmtime::Result<()>;

    /// The type of its contexts, which no other capability's are of.
    fn context_type(&self) -> TypeId;

    /// What one sandbox of a guest holds of it; made when that first asks for it ([`SandboxState::capability`]), and not
    /// counted as the guest's memory.
    fn context(&self, guest: Guest) -> Box<dyn Any + Send>;

    /// Who carries out its guests' outgoing requests, if it does.
    fn outgoing(&self) -> Option<&dyn Outgoing>;

    /// A task has ended, or ends in a moment: whatever is kept for it beyond its sandboxes goes.
    fn ended(&self, task: TaskId);
}

/// A request that is being carried out, up to its answer's head; what happens to the body happens in that. Dropped, it is
/// given up.
pub type Sending = Pin<Box<dyn Future<Output = Result<http::Response<WasiBody>, Error>>>>;

/// Carries out outgoing requests of `wasi:http`, of both generations.
pub trait Outgoing {
    /// Begins to send a request of this guest, in its poll. What comes of that is polled in a task of the runtime of its own,
    /// on this thread: beside the guest, never in its polls. It is not the guest's, and to be made [`apart`].
    ///
    /// # Errors
    /// What is wrong with the request already; it costs no task of the runtime.
    fn send(
        &self,
        guest: Guest,
        request: http::Request<WasiBody>,
        options: Option<RequestOptions>,
    ) -> Result<Sending, Error>;
}

/// Whose sandbox it is.
#[derive(Clone)]
pub struct Guest {
    account: Arc<Account>,
    logs: Arc<LogQueue>,
    cpu_meter: Arc<CpuMeter>,
}

impl Guest {
    pub(crate) fn new(account: &Arc<Account>, logs: &Arc<LogQueue>, cpu_meter: &Arc<CpuMeter>) -> Self {
        Self { account: account.clone(), logs: logs.clone(), cpu_meter: cpu_meter.clone() }
    }

    /// The task.
    pub fn task(&self) -> TaskId {
        self.account.task
    }

    /// Its service or family.
    pub fn owner(&self) -> &QualifiedName {
        &self.account.owner
    }

    /// Whether that is a service.
    pub fn in_service(&self) -> bool {
        self.account.in_service
    }

    /// Its quotas.
    pub fn limits(&self) -> &Limits {
        &self.account.spec.limits
    }

    /// Which worker this is: its row in the ledger.
    pub fn worker(&self) -> usize {
        self.account.worker
    }

    /// A claim on the task's memory, of nothing yet: for what a capability holds for the task beside its sandboxes.
    pub fn claim(&self) -> MemoryClaim {
        MemoryClaim::new(self.account.slot.clone(), self.account.worker, self.limits().memory.bytes())
    }

    /// Does something for the task where no guest is polled, its own or another's, and charges it with the CPU time.
    pub fn charged<R>(&self, step: impl FnOnce() -> R) -> R {
        let began_ns = clock::monotonic_ns();
        let result = step();
        let ended_ns = clock::monotonic_ns();
        self.account.charge_cpu(self.cpu_meter.used_ns(began_ns, ended_ns), ended_ns);
        result
    }

    /// Says something in the task's logs, as Skiff; may be called wherever a guest is not told enough by an error's code.
    /// What is over the rate of such remarks is left out.
    pub fn remark(&self, text: &str) {
        self.logs.report(&self.account, text);
    }
}

/// What a sandbox holds of a capability, beside all the other resources that its guest has.
pub struct CapabilityView<'a, T> {
    /// What [`Capability::context`] made.
    pub context: &'a mut T,
    /// The guest's resources.
    pub table: &'a mut ResourceTable,
}

/// All that a worker's guests have beside WASI's own.
#[derive(Clone, Default)]
pub(crate) struct Capabilities(Arc<[Arc<dyn Capability>]>);

impl Capabilities {
    pub(crate) fn new(all: Vec<Arc<dyn Capability>>) -> Self {
        Self(all.into())
    }

    /// Links them over what is linked already.
    pub(crate) fn link(
        &self,
        linker: &mut Linker<SandboxState>,
        generation: WasiGeneration,
    ) -> wasmtime::Result<()> {
        linker.allow_shadowing(true);
        self.0.iter().try_for_each(|capability| capability.link(linker, generation))?;
        linker.allow_shadowing(false);
        Ok(())
    }

    pub(crate) fn outgoing(&self) -> Option<&dyn Outgoing> {
        self.0.iter().find_map(|capability| capability.outgoing())
    }

    pub(crate) fn ended(&self, task: TaskId) {
        self.0.iter().for_each(|capability| capability.ended(task));
    }

    fn context(&self, context_type: TypeId, guest: Guest) -> Option<Box<dyn Any + Send>> {
        let capability = self.0.iter().find(|capability| capability.context_type() == context_type)?;
        Some(apart(|| capability.context(guest)))
    }
}

/// What one sandbox holds of its capabilities, as far as its guest asked for them.
#[derive(Default)]
pub(crate) struct Contexts(Vec<Box<dyn Any + Send>>);

impl Contexts {
    /// The context of this type; `guest` says whose it is, if it has to be made.
    pub(crate) fn get<T: Any>(&mut self, all: &Capabilities, guest: impl FnOnce() -> Guest) -> &mut T {
        let known = self.0.iter().position(|context| context.is::<T>());
        let at = known.unwrap_or_else(|| {
            let made = all.context(TypeId::of::<T>(), guest());
            self.0.push(made.expect("only what a capability linked asks for its context"));
            self.0.len() - 1
        });
        self.0[at].downcast_mut().expect("a capability's contexts are of the type that it names")
    }
}

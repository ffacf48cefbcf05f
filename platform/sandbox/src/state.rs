//! What one sandbox's store holds: the contexts of WASI and of host capabilities, made when a guest first asks for them, and
//! the bounds on what the guest can make the host hold.

use crate::account::Account;
use crate::capability::{Capabilities, CapabilityView, Contexts, Guest, Sending};
use crate::code::Code;
use crate::cpu_meter::CpuMeter;
use crate::engine::{GUEST_STACK_BYTES, TABLE_ELEMENTS_MAX};
use crate::epoch::Slices;
use crate::heap::{Crossed, HEAP_PREPAID_BYTES};
use crate::host::Host;
use crate::inspect::TABLE_ELEMENT_BYTES;
use crate::logs::{Capture, LogQueue};
use crate::outgoing::{self, Exchange, Sent};
use crate::task::Task;
use crate::turns::Pause;
use crate::without::Without;
use http::{HeaderMap, HeaderName, Request};
use skiff_ledger::MemoryClaim;
use skiff_ports::invoke;
use skiff_ports::logs::LogStream;
use skiff_types::Kind;
use std::any::Any;
use std::sync::Arc;
use wasmtime::component::ResourceTable;
use wasmtime::{ResourceLimiter, Store, UpdateDeadline};
use wasmtime_wasi::p2::pipe::MemoryInputPipe;
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};
use wasmtime_wasi_http::p2::types::FutureIncomingResponseHandle;
use wasmtime_wasi_http::{
    DEFAULT_FORBIDDEN_HEADERS, Error, RequestOptions, WasiBody, WasiHttpCtx, WasiHttpCtxView, WasiHttpHooks,
    WasiHttpView,
};

/// What a sandbox is charged with beside its memories and tables: all the stack that it can use, and what the host
/// allocates for most.
pub(crate) const SANDBOX_OVERHEAD_BYTES: u64 = GUEST_STACK_BYTES as u64 + HEAP_PREPAID_BYTES;
/// Host resources (streams, requests, headers, timers) that a sandbox can hold at once.
pub(crate) const RESOURCES_MAX: usize = 1_024;
/// What a sandbox can hold at once that answers requests, or is given events or messages.
const OF_REQUESTS: Bounds = Bounds { resources: RESOURCES_MAX, handles: 16_384, concurrent: 8_192 };
/// What a program can that is alone in its task. One that stays up may serve as many connections as the network allows a task
/// (4,096): each is a socket, two streams, and something to wait for at either.
const OF_COMMANDS: Bounds = Bounds { resources: 24_576, handles: 32_768, concurrent: 32_768 };
/// Bytes that a guest can hand to the host in one call.
const HOST_CALL_BYTES_MAX: usize = 2 << 20;
/// Bytes that one set of headers can take in memory.
pub(crate) const FIELDS_BYTES_MAX: usize = 64 << 10;
/// Bytes of a body that are copied out of a guest at a time.
const BODY_CHUNK_BYTES: usize = 64 << 10;
/// Random bytes that a guest can ask for in one call.
const RANDOM_BYTES_MAX: u64 = 1 << 20;
/// Steps of the epoch after which a guest asks whether its slice is over.
const EPOCH_TICKS: u64 = 1;

/// What a sandbox can hold at once, by number.
struct Bounds {
    /// Host resources.
    resources: usize,
    /// Handles, those of the guest's own resources included.
    handles: usize,
    /// Tasks, streams and futures of WASI 0.3.
    concurrent: usize,
}

/// The data of a sandbox's store.
pub struct SandboxState {
    slices: Arc<Slices>,
    table: ResourceTable,
    /// Made when it is first asked for: many guests never do.
    wasi: Option<Box<WasiCtx>>,
    /// Likewise.
    contexts: Contexts,
    http: WasiHttpCtx,
    hooks: Hooks,
    memory: MemoryBound,
}

/// Makes a sandbox's store. `claim` holds what [`SANDBOX_OVERHEAD_BYTES`] and the component's minimum take already;
/// `prepaid_bytes` of it is for the memories and tables to come.
pub(crate) fn new_store(
    host: &Host,
    task: &Task,
    code: &Code,
    claim: MemoryClaim,
    prepaid_bytes: u64,
    crossed: &Arc<Crossed>,
) -> Store<SandboxState> {
    let (account, logs, slices) = (&task.account, &host.logs, host.epoch.slices());
    let mut table = ResourceTable::new();
    let most = match account.spec.kind {
        Kind::Http | Kind::Event => OF_REQUESTS,
        Kind::Command => OF_COMMANDS,
    };
    table.set_max_capacity(most.resources);
    let mut http = WasiHttpCtx::new();
    http.set_field_size_limit(FIELDS_BYTES_MAX);
    let state = SandboxState {
        table,
        wasi: None,
        contexts: Contexts::default(),
        http,
        hooks: Hooks {
            account: account.clone(),
            logs: logs.clone(),
            capabilities: host.capabilities.clone(),
            cpu_meter: host.cpu_meter.clone(),
            crossed: crossed.clone(),
            hops: 0,
        },
        memory: MemoryBound::new(account.clone(), claim, prepaid_bytes),
        slices: slices.clone(),
    };
    let mut store = Store::new(&code.engine, state);
    if !Without::get().memory {
        store.limiter(|state| &mut state.memory);
    }
    store.set_hostcall_fuel(HOST_CALL_BYTES_MAX);
    store.set_max_component_handles(most.handles);
    if let Some(table) = store.concurrent_resource_table() {
        table.set_max_capacity(most.concurrent);
    }
    store.set_epoch_deadline(EPOCH_TICKS);
    store.epoch_deadline_callback(|context| {
        Ok(if context.data().slices.is_over() {
            UpdateDeadline::YieldCustom(EPOCH_TICKS, Box::pin(Pause::default()))
        } else {
            UpdateDeadline::Continue(EPOCH_TICKS)
        })
    });
    store
}

impl SandboxState {
    /// What this sandbox holds of the capability whose contexts are of this type. Only what that capability itself linked
    /// may ask.
    pub fn capability<T: Any>(&mut self) -> CapabilityView<'_, T> {
        let Self { contexts, hooks, table, .. } = self;
        CapabilityView { context: contexts.get(&hooks.capabilities, || hooks.guest()), table }
    }

    /// Notes how far the request has come that the guest is asked next: what it asks of others goes on from there.
    pub(crate) fn note_hops(&mut self, headers: &HeaderMap) {
        self.hooks.hops = invoke::hops(headers);
    }

    /// Sends a request of WASI 0.2, in its guest's poll; the handle is for the guest's table. Those of WASI 0.3 come through
    /// [`WasiHttpHooks::send_request`].
    ///
    /// # Errors
    /// What is wrong with the request already.
    pub(crate) fn send(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
    ) -> Result<FutureIncomingResponseHandle, Error> {
        let sending = self.hooks.begin(request, options)?;
        Ok(outgoing::answer_in_table(&self.hooks.crossed, sending))
    }

    /// Whether the task's limit refused this sandbox memory that it asked for.
    pub(crate) fn out_of_memory(&self) -> bool {
        self.memory.refused
    }

    /// Bytes claimed that no memory or table took; after instantiating, what the next sandbox need not prepay.
    pub(crate) fn unused_prepaid_bytes(&self) -> u64 {
        self.memory.prepaid_bytes
    }

    /// Bytes claimed in all.
    pub(crate) fn claimed_bytes(&self) -> u64 {
        self.memory.claim.bytes()
    }
}

impl WasiView for SandboxState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let Hooks { account, logs, .. } = &self.hooks;
        let ctx = self.wasi.get_or_insert_with(|| Box::new(wasi(account, logs)));
        WasiCtxView { ctx, table: &mut self.table }
    }
}

/// All of WASI with empty contents: no folders, no network but what a capability gives, stdin at its end but where the task has
/// something to say on it.
fn wasi(account: &Arc<Account>, logs: &Arc<LogQueue>) -> WasiCtx {
    let capture = |stream| Capture::new(account.clone(), logs.clone(), stream);
    WasiCtxBuilder::new()
        .stdin(MemoryInputPipe::new(account.stdin.clone()))
        .args(&account.arguments)
        .envs(&account.environment)
        .stdout(capture(LogStream::Stdout))
        .stderr(capture(LogStream::Stderr))
        .max_random_size(RANDOM_BYTES_MAX)
        .allow_tcp(false)
        .allow_udp(false)
        .allow_ip_name_lookup(false)
        .build()
}

impl WasiHttpView for SandboxState {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { ctx: &mut self.http, table: &mut self.table, hooks: &mut self.hooks }
    }
}

/// What Skiff has to say on `wasi:http`, and whose sandbox it is.
struct Hooks {
    account: Arc<Account>,
    logs: Arc<LogQueue>,
    capabilities: Capabilities,
    cpu_meter: Arc<CpuMeter>,
    crossed: Arc<Crossed>,
    /// Calls between tasks that led to the request that came last. Where a sandbox works on several, that is the best guess
    /// there is as to which of them it sends a request for.
    hops: u32,
}

impl Hooks {
    fn guest(&self) -> Guest {
        Guest::new(&self.account, &self.logs, &self.cpu_meter)
    }

    /// Begins to send a request of the guest, in its poll.
    ///
    /// # Errors
    /// What is wrong with it already, or that this worker sends none.
    fn begin(&self, request: Request<WasiBody>, options: Option<RequestOptions>) -> Result<Sending, Error> {
        if let Some(outgoing) = self.capabilities.outgoing() {
            let request = outgoing::leaving(&self.crossed, self.hops, request);
            return outgoing.send(self.guest(), request, options);
        }
        let host = request.uri().host().unwrap_or("a host without a name").to_owned();
        let remark = format!(
            "a request to {host} was denied: outgoing requests need the virtual network, which this worker does not have"
        );
        self.logs.remark_seldom(&self.account, &self.account.log_meter.denied_remark_ns, &remark);
        Err(Error::HttpRequestDenied)
    }
}

impl WasiHttpHooks for Hooks {
    // The default makes a closure on the heap for each header.
    fn is_forbidden_header(&mut self, name: &HeaderName) -> bool {
        DEFAULT_FORBIDDEN_HEADERS.contains(name)
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        BODY_CHUNK_BYTES
    }

    fn p3_outgoing_body_chunk_size(&mut self) -> usize {
        BODY_CHUNK_BYTES
    }

    // Asked by WASI 0.3 alone: see `outgoing_handler`.
    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        // Whether a guest was content with the answer changes nothing any more. It is the guest's own, and freed as such.
        _: Exchange,
    ) -> Box<dyn Future<Output = Result<Sent, Error>> + Send> {
        match self.begin(request, options) {
            Ok(sending) => outgoing::answer_in_poll(&self.crossed, sending),
            Err(error) => Box::new(std::future::ready(Err(error))),
        }
    }
}

/// Holds a sandbox's memories and tables within its task's limit, over all of the task's sandboxes.
struct MemoryBound {
    account: Arc<Account>,
    claim: MemoryClaim,
    prepaid_bytes: u64,
    refused: bool,
    /// Bytes that were granted last: prepaid, and claimed.
    granted: (u64, u64),
}

impl MemoryBound {
    fn new(account: Arc<Account>, claim: MemoryClaim, prepaid_bytes: u64) -> Self {
        Self { account, claim, prepaid_bytes, refused: false, granted: (0, 0) }
    }

    fn grow(&mut self, current: usize, desired: usize, maximum: Option<usize>, unit_bytes: u64) -> bool {
        self.granted = (0, 0);
        if maximum.is_some_and(|maximum| desired > maximum) {
            return false;
        }
        let bytes = (desired.saturating_sub(current) as u64).saturating_mul(unit_bytes);
        let prepaid = bytes.min(self.prepaid_bytes);
        let granted = bytes == prepaid || self.claim.grow(bytes - prepaid);
        if granted {
            self.prepaid_bytes -= prepaid;
            self.granted = (prepaid, bytes - prepaid);
        } else if !std::mem::replace(&mut self.refused, true) {
            self.account.row().out_of_memory.add(1);
        }
        granted
    }

    /// Gives back what was granted last.
    fn give_back(&mut self) {
        let (prepaid, claimed) = std::mem::take(&mut self.granted);
        self.prepaid_bytes += prepaid;
        self.claim.shrink(claimed);
    }
}

impl ResourceLimiter for MemoryBound {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(self.grow(current, desired, maximum, 1))
    }

    // The kernel had none, or no slot is that large. The engine asks before every growth of a memory that it may tell to have
    // failed, but for pages of other sizes, which it is not told to support; a table it also tells of without having asked,
    // and never after.
    fn memory_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        tracing::debug!(task = %self.account.task, "a memory could not be grown: {error:#}");
        self.give_back();
        Ok(())
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let maximum = maximum.map_or(TABLE_ELEMENTS_MAX, |maximum| maximum.min(TABLE_ELEMENTS_MAX));
        Ok(self.grow(current, desired, Some(maximum), TABLE_ELEMENT_BYTES))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: usize = 64 << 10;

    #[test]
    fn what_could_not_be_grown_is_given_back() {
        let account = Arc::new(Account::of_any_task(10 * PAGE as u64));
        let claim = MemoryClaim::new(account.slot.clone(), 0, account.spec.limits.memory.bytes());
        let mut bound = MemoryBound::new(account, claim, PAGE as u64);
        let mut grow = |from: usize, to: usize, fails: bool| {
            let granted = bound.memory_growing(from * PAGE, to * PAGE, None).unwrap();
            if granted && fails {
                bound.memory_grow_failed(wasmtime::Error::msg("no memory")).unwrap();
            }
            (granted, bound.prepaid_bytes as usize / PAGE, bound.claim.bytes() as usize / PAGE)
        };
        assert_eq!(grow(0, 10, true), (true, 1, 0));
        assert_eq!(grow(0, 3, false), (true, 0, 2));
        assert_eq!(grow(3, 11, true), (true, 0, 2));
        assert_eq!(grow(3, 11, false), (true, 0, 10));
        assert_eq!(grow(11, 12, false), (false, 0, 10));
    }
}

//! What one sandbox's store holds: WASI's context, made when a guest first asks for it, and the bounds on what the guest
//! can make the host hold.

use crate::account::Account;
use crate::code::Code;
use crate::engine::{GUEST_STACK_BYTES, TABLE_ELEMENTS_MAX};
use crate::epoch::Slices;
use crate::heap::HEAP_PREPAID_BYTES;
use crate::host::Host;
use crate::inspect::TABLE_ELEMENT_BYTES;
use crate::logs::{Capture, LogQueue};
use crate::task::Task;
use crate::turns::Pause;
use crate::without::Without;
use http::HeaderName;
use skiff_ledger::MemoryClaim;
use skiff_ports::logs::LogStream;
use std::sync::Arc;
use wasmtime::component::ResourceTable;
use wasmtime::{ResourceLimiter, Store, UpdateDeadline};
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};
use wasmtime_wasi_http::{
    DEFAULT_FORBIDDEN_HEADERS, Error, RequestOptions, WasiBody, WasiHttpCtx, WasiHttpCtxView, WasiHttpHooks,
    WasiHttpView,
};

/// What a sandbox is charged with beside its memories and tables: all the stack that it can use, and what the host
/// allocates for most.
pub(crate) const SANDBOX_OVERHEAD_BYTES: u64 = GUEST_STACK_BYTES as u64 + HEAP_PREPAID_BYTES;
/// Host resources (streams, requests, headers, timers) that a sandbox can hold at once.
pub(crate) const RESOURCES_MAX: usize = 1_024;
/// Handles that a sandbox can hold at once, its own resources included.
const HANDLES_MAX: usize = 16_384;
/// Tasks, streams and futures of WASI 0.3 that a sandbox can hold at once.
const CONCURRENT_MAX: usize = 8_192;
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

/// The data of a sandbox's store.
pub(crate) struct SandboxState {
    account: Arc<Account>,
    logs: Arc<LogQueue>,
    slices: Arc<Slices>,
    table: ResourceTable,
    /// Made when it is first asked for: many guests never do.
    wasi: Option<Box<WasiCtx>>,
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
) -> Store<SandboxState> {
    let (account, logs, slices) = (&task.account, &host.logs, host.epoch.slices());
    let mut table = ResourceTable::new();
    table.set_max_capacity(RESOURCES_MAX);
    let mut http = WasiHttpCtx::new();
    http.set_field_size_limit(FIELDS_BYTES_MAX);
    let state = SandboxState {
        table,
        wasi: None,
        http,
        hooks: Hooks { account: account.clone(), logs: logs.clone() },
        memory: MemoryBound::new(account.clone(), claim, prepaid_bytes),
        account: account.clone(),
        logs: logs.clone(),
        slices: slices.clone(),
    };
    let mut store = Store::new(&code.engine, state);
    if !Without::get().memory {
        store.limiter(|state| &mut state.memory);
    }
    store.set_hostcall_fuel(HOST_CALL_BYTES_MAX);
    store.set_max_component_handles(HANDLES_MAX);
    if let Some(table) = store.concurrent_resource_table() {
        table.set_max_capacity(CONCURRENT_MAX);
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
        let (account, logs) = (&self.account, &self.logs);
        let ctx = self.wasi.get_or_insert_with(|| Box::new(wasi(account, logs)));
        WasiCtxView { ctx, table: &mut self.table }
    }
}

/// All of WASI with empty contents: no folders, no network, stdin at its end.
fn wasi(account: &Arc<Account>, logs: &Arc<LogQueue>) -> WasiCtx {
    let capture = |stream| Capture::new(account.clone(), logs.clone(), stream);
    WasiCtxBuilder::new()
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

/// What Skiff has to say on `wasi:http`.
struct Hooks {
    account: Arc<Account>,
    logs: Arc<LogQueue>,
}

type Sent = (http::Response<WasiBody>, Box<dyn Future<Output = Result<(), Error>> + Send>);

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

    fn send_request(
        &mut self,
        request: http::Request<WasiBody>,
        _: Option<RequestOptions>,
        _: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Box<dyn Future<Output = Result<Sent, Error>> + Send> {
        let host = request.uri().host().unwrap_or("a host without a name").to_owned();
        let remark = format!(
            "a request to {host} was denied: outgoing requests need the virtual network, which this version does not \
             have yet"
        );
        self.logs.remark_seldom(&self.account, &self.account.log_meter.denied_remark_ns, &remark);
        Box::new(std::future::ready(Err(Error::HttpRequestDenied)))
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

//! What the store of a guest holds that is being initialised: WASI as a sandbox has it, with neither network nor files nor
//! arguments, and with next to no randomness.

use crate::beside;
use crate::engine::TABLE_ELEMENTS_MAX;
use crate::inspect::TABLE_ELEMENT_BYTES;
use crate::state::{FIELDS_BYTES_MAX, RESOURCES_MAX};
use std::collections::BTreeMap;
use wasmtime::ResourceLimiter;
use wasmtime::component::{HasSelf, Linker, ResourceTable};
use wasmtime_wasi::p2::pipe::MemoryOutputPipe;
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView, p2, p3};
use wasmtime_wasi_http::{
    Error, RequestOptions, WasiBody, WasiHttpCtx, WasiHttpCtxView, WasiHttpHooks, WasiHttpView,
};

/// Bytes that an initialisation may write; what comes after finds its stream closed.
const OUTPUT_BYTES_MAX: usize = 1 << 20;

/// Why a call of the guest's is refused: ends the guest.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Refusal(String);

impl Refusal {
    pub(super) fn error(why: impl Into<String>) -> wasmtime::Error {
        wasmtime::Error::new(Self(why.into()))
    }
}

/// The data of the store.
pub(super) struct Guest {
    table: ResourceTable,
    wasi: WasiCtx,
    http: WasiHttpCtx,
    hooks: NoNetwork,
    output: MemoryOutputPipe,
    memory: MemoryBound,
    randomness: Randomness,
}

impl Guest {
    /// A guest in this environment. `seed` is for its hash maps; `None` refuses it one.
    pub(super) fn new(
        environment: &BTreeMap<String, String>,
        seed: Option<u128>,
        memory_bytes_max: u64,
    ) -> Self {
        let output = MemoryOutputPipe::new(OUTPUT_BYTES_MAX);
        let environment: Vec<_> = environment.iter().collect();
        let wasi = WasiCtxBuilder::new()
            .envs(&environment)
            .stdout(output.clone())
            .stderr(output.clone())
            .allow_tcp(false)
            .allow_udp(false)
            .allow_ip_name_lookup(false)
            .build();
        let mut table = ResourceTable::new();
        table.set_max_capacity(RESOURCES_MAX);
        let mut http = WasiHttpCtx::new();
        http.set_field_size_limit(FIELDS_BYTES_MAX);
        Self {
            table,
            wasi,
            http,
            hooks: NoNetwork,
            output,
            memory: MemoryBound { bytes: 0, bytes_max: memory_bytes_max, refused: false },
            randomness: Randomness { seed, is_drawn: false },
        }
    }

    pub(super) fn limiter(&mut self) -> &mut dyn ResourceLimiter {
        &mut self.memory
    }

    /// Lets whoever reads the memories have the page that this takes.
    pub(super) fn lift_memory_bound(&mut self) {
        self.memory.bytes_max = u64::MAX;
    }

    pub(super) fn out_of_memory(&self) -> bool {
        self.memory.refused
    }

    /// Whether the guest has anything of the host's open.
    pub(super) fn holds_resources(&self) -> bool {
        !self.table.is_empty()
    }

    /// Whether the guest asked for the seed.
    pub(super) fn drew_seed(&self) -> bool {
        self.randomness.is_drawn
    }

    /// All that it wrote.
    pub(super) fn output(&self) -> String {
        String::from_utf8_lossy(&self.output.contents()).into_owned()
    }
}

impl WasiView for Guest {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl WasiHttpView for Guest {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { ctx: &mut self.http, table: &mut self.table, hooks: &mut self.hooks }
    }
}

/// Denies outgoing requests.
struct NoNetwork;

type Sent = (http::Response<WasiBody>, Box<dyn Future<Output = Result<(), Error>> + Send>);

impl WasiHttpHooks for NoNetwork {
    fn send_request(
        &mut self,
        _: http::Request<WasiBody>,
        _: Option<RequestOptions>,
        _: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Box<dyn Future<Output = Result<Sent, Error>> + Send> {
        Box::new(std::future::ready(Err(Error::HttpRequestDenied)))
    }
}

/// Holds all memories and tables of the guest within a bound.
struct MemoryBound {
    bytes: u64,
    bytes_max: u64,
    refused: bool,
}

impl MemoryBound {
    fn grow(&mut self, current: usize, desired: usize, maximum: Option<usize>, unit_bytes: u64) -> bool {
        if maximum.is_some_and(|maximum| desired > maximum) {
            return false;
        }
        let more = (desired.saturating_sub(current) as u64).saturating_mul(unit_bytes);
        let bytes = self.bytes.saturating_add(more);
        let granted = bytes <= self.bytes_max;
        match granted {
            true => self.bytes = bytes,
            false => self.refused = true,
        }
        granted
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

/// Puts refusals in the place of what Skiff has beside WASI: no task runs the guest yet, so nobody could say whose values they
/// are, and what it may. To be called where what is linked may be shadowed.
pub(super) fn refuse_beside(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    beside::link(linker, |interface| {
        Refusal::error(match interface {
            "skiff:metrics/custom" => {
                "it put values of a metric (skiff:metrics/custom), of which nobody could say whose they \
                                       are; put them when a request needs it"
                    .to_owned()
            }
            _ => format!(
                "it called {interface}, and no task runs it yet whose role could allow that; call it when a request needs it"
            ),
        })
    })
}

/// `wasi:random` for a guest that is being initialised.
struct Randomness {
    seed: Option<u128>,
    is_drawn: bool,
}

/// Puts it in the place of WASI's own.
pub(super) fn restrict_randomness(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    use p2::bindings::random as p2;
    use p3::bindings::random as p3;
    fn of(guest: &mut Guest) -> &mut Randomness {
        &mut guest.randomness
    }
    linker.allow_shadowing(true);
    p2::random::add_to_linker::<Guest, HasSelf<Randomness>>(linker, of)?;
    p2::insecure::add_to_linker::<Guest, HasSelf<Randomness>>(linker, of)?;
    p2::insecure_seed::add_to_linker::<Guest, HasSelf<Randomness>>(linker, of)?;
    p3::random::add_to_linker::<Guest, HasSelf<Randomness>>(linker, of)?;
    p3::insecure::add_to_linker::<Guest, HasSelf<Randomness>>(linker, of)?;
    p3::insecure_seed::add_to_linker::<Guest, HasSelf<Randomness>>(linker, of)?;
    Ok(())
}

impl Randomness {
    fn refused<T>(&self) -> wasmtime::Result<T> {
        Err(Refusal::error(
            "it asked wasi:random for random numbers, which would be the same in every sandbox; draw them when a \
             request needs them",
        ))
    }

    fn seed(&mut self) -> wasmtime::Result<(u64, u64)> {
        self.is_drawn = true;
        let seed = self.seed.ok_or_else(|| {
            Refusal::error(
                "it asked wasi:random/insecure-seed for the seed of hash maps, which would be the same in every \
                 sandbox; use #[skiff_sdk::initialize], which sees to that, or maps without a random seed",
            )
        })?;
        Ok((seed as u64, (seed >> 64) as u64))
    }
}

impl p2::bindings::random::random::Host for Randomness {
    fn get_random_bytes(&mut self, _: u64) -> wasmtime::Result<Vec<u8>> {
        self.refused()
    }

    fn get_random_u64(&mut self) -> wasmtime::Result<u64> {
        self.refused()
    }
}

impl p2::bindings::random::insecure::Host for Randomness {
    fn get_insecure_random_bytes(&mut self, _: u64) -> wasmtime::Result<Vec<u8>> {
        self.refused()
    }

    fn get_insecure_random_u64(&mut self) -> wasmtime::Result<u64> {
        self.refused()
    }
}

impl p2::bindings::random::insecure_seed::Host for Randomness {
    fn insecure_seed(&mut self) -> wasmtime::Result<(u64, u64)> {
        self.seed()
    }
}

impl p3::bindings::random::random::Host for Randomness {
    fn get_random_bytes(&mut self, _: u64) -> wasmtime::Result<Vec<u8>> {
        self.refused()
    }

    fn get_random_u64(&mut self) -> wasmtime::Result<u64> {
        self.refused()
    }
}

impl p3::bindings::random::insecure::Host for Randomness {
    fn get_insecure_random_bytes(&mut self, _: u64) -> wasmtime::Result<Vec<u8>> {
        self.refused()
    }

    fn get_insecure_random_u64(&mut self) -> wasmtime::Result<u64> {
        self.refused()
    }
}

impl p3::bindings::random::insecure_seed::Host for Randomness {
    fn get_insecure_seed(&mut self) -> wasmtime::Result<(u64, u64)> {
        self.seed()
    }
}

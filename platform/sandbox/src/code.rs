//! Native code in a worker: fetched, mapped, linked. Which is mapped, and for how long, is [`crate::codes`]' business.

use crate::account::Account;
use crate::engine::PoolSize;
use crate::failure::Failure;
use crate::host::Host;
use crate::link::Machine;
use crate::native;
use crate::room::Room;
use crate::state::SandboxState;
use futures::future::LocalBoxFuture;
use rustix::fs::SealFlags;
use skiff_kit::clock;
use skiff_ports::guest_deliveries::{CONSUMER_INTERFACE, HANDLER_INTERFACE};
use skiff_types::{Digest, Kind, WasiGeneration};
use std::os::fd::{AsRawFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;
use wasmtime::Engine;
use wasmtime::component::{Component, ComponentExportIndex, InstancePre};
use wasmtime_wasi::{p2, p3};
use wasmtime_wasi_http::p2::bindings::ProxyIndices;
use wasmtime_wasi_http::p3::bindings::ServiceIndices;

/// Bytes of a page of linear memory.
const PAGE_BYTES: u64 = 64 << 10;

/// Where native code comes from: the supervisor, which checks it before it hands it over.
pub trait CodeSource {
    /// The native code of the program with this key, in a memory file that is sealed against any change
    /// ([`crate::cache`] makes it).
    fn fetch(&self, program: Digest) -> LocalBoxFuture<'_, Result<OwnedFd, String>>;
}

/// A component that can be instantiated.
pub(crate) struct Code {
    /// What its stores are made in.
    pub(crate) engine: Engine,
    /// What makes an instance.
    pub(crate) pre: InstancePre<SandboxState>,
    pub(crate) entry: Entry,
    pub(crate) events: EventExports,
    pub(crate) demand: Demand,
    /// Where its sandboxes are counted.
    pub(crate) room: Rc<Room>,
    /// What is mapped.
    pub(crate) native_bytes: u64,
}

impl Code {
    /// Whether one instance can work on several requests at once.
    pub(crate) fn is_concurrent(&self) -> bool {
        matches!(self.entry, Entry::HttpP3(_))
    }
}

/// What to call.
pub(crate) enum Entry {
    HttpP2(ProxyIndices),
    HttpP3(ServiceIndices),
    CommandP2(p2::bindings::CommandPre<SandboxState>),
    CommandP3(p3::bindings::CommandPre<SandboxState>),
    /// Nothing but [`EventExports`].
    Event,
}

/// What events and messages are given to, as far as a component exports it: beside what makes it of its kind, or alone.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct EventExports {
    /// `handle` of `skiff:events/handler`.
    pub(crate) handle: Option<ComponentExportIndex>,
    /// `consume` of `skiff:queues/consumer`.
    pub(crate) consume: Option<ComponentExportIndex>,
}

impl EventExports {
    fn of(component: &Component) -> Self {
        let find = |interface: &str, function: &str| {
            let interface = component.get_export_index(None, interface)?;
            component.get_export_index(Some(&interface), function)
        };
        Self { handle: find(HANDLER_INTERFACE, "handle"), consume: find(CONSUMER_INTERFACE, "consume") }
    }

    fn is_empty(&self) -> bool {
        self.handle.is_none() && self.consume.is_none()
    }
}

/// What a sandbox of the component takes.
pub(crate) struct Demand {
    pub(crate) pool: PoolSize,
    /// Bytes of the largest memory as it is made.
    pub(crate) memory_bytes: u64,
}

/// Fetches, and records how long that took.
pub(crate) async fn timed_fetch(
    host: Rc<Host>,
    program: Digest,
    account: Arc<Account>,
) -> Result<Rc<Code>, String> {
    let began_ns = clock::monotonic_ns();
    let code = fetch(&host, program, account.spec.kind, account.spec.generation).await?;
    account.row().cold_start_load.record_ns(clock::monotonic_ns().saturating_sub(began_ns));
    Ok(Rc::new(code))
}

/// Fetches, maps and links.
pub(crate) async fn fetch(
    host: &Host,
    program: Digest,
    kind: Kind,
    generation: WasiGeneration,
) -> Result<Code, String> {
    let native = host.code_source.fetch(program).await?;
    let (instances, native_bytes) = native::instances(&native)?;
    let mut refusal = "there is no engine for it".to_owned();
    // The code says for which of them it was compiled: all others refuse it at its first bytes.
    for machine in host.machines.of(generation) {
        match map(&machine.engine, &native) {
            Ok(component) => {
                return link(machine, &component, kind, instances, native_bytes)
                    .map_err(|error| format!("{error:#}"));
            }
            Err(reason) => refusal = reason,
        }
    }
    Err(refusal)
}

/// Maps native code that [`crate::cache::NativeCache::load`] gave out.
fn map(engine: &Engine, native: &OwnedFd) -> Result<Component, String> {
    let seals = rustix::fs::fcntl_get_seals(native)
        .map_err(|error| format!("the native code has no seals: {error}"))?;
    if !seals.contains(SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL) {
        return Err("the native code could still be changed".to_owned());
    }
    // Wasmtime opens by path; this one opens the very file that the descriptor is of.
    let path = format!("/proc/self/fd/{}", native.as_raw_fd());
    // SAFETY: the bytes must be what a compiler of this version made, and stay so while they are mapped. The supervisor
    // hands out only what its keyed digest proves to have come from `skiff compile`, unchanged, and the seals that were
    // just checked keep anybody, the supervisor included, from changing or cutting it for as long as it exists.
    let component = unsafe { Component::deserialize_file(engine, path) };
    let component = component.map_err(|error| format!("the native code can't be mapped: {error:#}"))?;
    component
        .initialize_copy_on_write_image()
        .map_err(|error| format!("its memory image can't be made: {error:#}"))?;
    Ok(component)
}

/// Links a component and finds what to call. `instances` are those of components that can be in the middle of a call.
pub(crate) fn link(
    machine: &Machine,
    component: &Component,
    kind: Kind,
    instances: u32,
    native_bytes: u64,
) -> wasmtime::Result<Code> {
    let generation = machine.flavour.generation;
    let pre = machine.linker.instantiate_pre(component)?;
    let events = EventExports::of(component);
    let entry = match (kind, generation) {
        (Kind::Http, WasiGeneration::P2) => Entry::HttpP2(ProxyIndices::new(&pre)?),
        (Kind::Http, WasiGeneration::P3) => Entry::HttpP3(ServiceIndices::new(&pre)?),
        (Kind::Command, WasiGeneration::P2) => Entry::CommandP2(p2::bindings::CommandPre::new(pre.clone())?),
        (Kind::Command, WasiGeneration::P3) => Entry::CommandP3(p3::bindings::CommandPre::new(pre.clone())?),
        (Kind::Event, _) if events.is_empty() => {
            wasmtime::bail!(
                "{HANDLER_INTERFACE} and {CONSUMER_INTERFACE} have no function that could be called"
            )
        }
        (Kind::Event, _) => Entry::Event,
    };
    let (memories, tables, largest_pages) = match component.resources_required() {
        Some(needed) => (
            needed.num_memories as usize,
            needed.num_tables as usize,
            needed.max_initial_memory_size.unwrap_or(0),
        ),
        None => (1, 1, 0),
    };
    let largest_bytes = largest_pages.saturating_mul(PAGE_BYTES);
    // A function of WASI 0.2 runs to its end on one fiber. In WASI 0.3 each instance of a component that blocks in a
    // call keeps its own.
    let fibers = match generation {
        WasiGeneration::P2 => 1,
        WasiGeneration::P3 => 1 + instances as usize,
    };
    let pool = PoolSize { sandboxes: 1, memories, tables, fibers };
    Ok(Code {
        engine: machine.engine.clone(),
        pre,
        entry,
        events,
        demand: Demand { pool, memory_bytes: largest_bytes },
        room: machine.room.clone(),
        native_bytes,
    })
}

/// The failure of a task whose code can't be had.
pub(crate) fn unavailable(reason: &str) -> Failure {
    Failure::new(crate::failure::FailureKind::NoAnswer, format!("the task's code can't be loaded: {reason}"))
}

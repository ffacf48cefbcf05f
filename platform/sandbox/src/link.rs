//! Engines and linkers of a worker: one pair for each flavour of component, linked once.

use crate::beside;
use crate::capability::Capabilities;
use crate::engine::{EngineError, Flavour, MemoryStart, PoolSize, Slots, mapped_sandboxes, pooled_engine};
use crate::outgoing_handler;
use crate::room::Room;
use crate::state::SandboxState;
use skiff_types::WasiGeneration;
use std::rc::Rc;
use wasmtime::Engine;
use wasmtime::component::Linker;
use wasmtime_wasi::WasiView;
use wasmtime_wasi_http::p2::bindings::http::types;
use wasmtime_wasi_http::{WasiHttp, WasiHttpView};

/// What components of one flavour run on.
pub(crate) struct Machine {
    pub(crate) flavour: Flavour,
    pub(crate) engine: Engine,
    pub(crate) linker: Linker<SandboxState>,
    /// Where its sandboxes are counted.
    pub(crate) room: Rc<Room>,
}

impl Machine {
    /// An engine with so much room, and what its components can import.
    pub(crate) fn new(
        flavour: Flavour,
        room: Rc<Room>,
        slots: &Slots,
        capabilities: &Capabilities,
    ) -> Result<Self, EngineError> {
        let engine = pooled_engine(flavour, room.size(), slots)?;
        let mut linker = linker(&engine, flavour.generation).map_err(EngineError::new)?;
        capabilities.link(&mut linker, flavour.generation).map_err(EngineError::new)?;
        Ok(Self { flavour, engine, linker, room })
    }
}

/// One machine for each flavour. Those whose memories are copied share slots, and so their room; each of the others has
/// its own.
pub(crate) struct Machines {
    all: Vec<Machine>,
    slots: Slots,
}

impl Machines {
    /// With room for so many sandboxes whose memories are copied, and for some of the others.
    pub(crate) fn new(sandboxes_max: usize, capabilities: &Capabilities) -> Result<Self, EngineError> {
        let shared = Rc::new(Room::new(PoolSize::of(sandboxes_max)));
        let slots = Slots::reserve(shared.size())?;
        let room = |start| match start {
            MemoryStart::Copied => shared.clone(),
            MemoryStart::Mapped => Rc::new(Room::new(PoolSize::of(mapped_sandboxes(sandboxes_max)))),
        };
        let machine = |flavour: Flavour| Machine::new(flavour, room(flavour.start), &slots, capabilities);
        let all = Flavour::ALL.into_iter().map(machine);
        Ok(Self { all: all.collect::<Result<_, _>>()?, slots })
    }

    /// Those for components of a generation; only one can map a given component's native code.
    pub(crate) fn of(&self, generation: WasiGeneration) -> impl Iterator<Item = &Machine> {
        self.all.iter().filter(move |machine| machine.flavour.generation == generation)
    }

    /// Where all sandboxes are counted.
    pub(crate) fn rooms(&self) -> Vec<Rc<Room>> {
        let mut rooms: Vec<Rc<Room>> = Vec::new();
        for machine in &self.all {
            if !rooms.iter().any(|room| Rc::ptr_eq(room, &machine.room)) {
                rooms.push(machine.room.clone());
            }
        }
        rooms
    }

    pub(crate) fn engines(&self) -> Vec<Engine> {
        self.all.iter().map(|machine| machine.engine.clone()).collect()
    }

    /// Says that time has passed. To be called every second.
    pub(crate) fn begin_pass(&self) {
        self.slots.memories.begin_pass();
    }

    /// Gives back some of the memory that sandboxes left behind and nobody came for; says whether there is more.
    pub(crate) fn trim_some(&self) -> bool {
        self.slots.memories.trim_some() | self.slots.stacks.trim_some()
    }

    /// Bytes that are kept at most.
    pub(crate) fn kept_bytes(&self) -> usize {
        self.slots.memories.kept_bytes() + self.slots.stacks.kept_bytes_max()
    }
}

/// Links everything in [`crate::offered`], as WASI's own crates have it: to components of WASI 0.2 that, to those of 0.3 both,
/// since the standard libraries of many languages still import 0.2.
pub(crate) fn linker<T: WasiView + WasiHttpView + 'static>(
    engine: &Engine,
    generation: WasiGeneration,
) -> wasmtime::Result<Linker<T>> {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    types::add_to_linker::<_, WasiHttp>(&mut linker, &types::LinkOptions::default(), T::http)?;
    outgoing_handler::add_to_linker(&mut linker)?;
    beside::link(&mut linker, |interface| wasmtime::format_err!("nobody is there for {interface} here"))?;
    if generation == WasiGeneration::P3 {
        wasmtime_wasi::p3::add_to_linker(&mut linker)?;
        wasmtime_wasi_http::p3::add_to_linker(&mut linker)?;
    }
    Ok(linker)
}

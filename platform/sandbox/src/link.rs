//! Engines and linkers of a worker: one pair for each flavour of component, linked once.

use crate::engine::{EngineError, Flavour, PoolSize, Slots, pooled_engine};
use crate::state::SandboxState;
use skiff_types::WasiGeneration;
use wasmtime::Engine;
use wasmtime::component::Linker;

/// What components of one flavour run on.
pub(crate) struct Machine {
    pub(crate) flavour: Flavour,
    pub(crate) engine: Engine,
    pub(crate) linker: Linker<SandboxState>,
}

impl Machine {
    /// A pool of this size, and what its components can import.
    pub(crate) fn new(flavour: Flavour, size: PoolSize, slots: &Slots) -> Result<Self, EngineError> {
        let engine = pooled_engine(flavour, size, slots)?;
        let linker = linker(&engine, flavour.generation).map_err(EngineError::new)?;
        Ok(Self { flavour, engine, linker })
    }
}

/// One machine for each flavour. Each has the whole pool's size: that reserves address space, not memory, and admission
/// counts what all take together.
pub(crate) struct Machines {
    all: Vec<Machine>,
    slots: Slots,
}

impl Machines {
    pub(crate) fn new(size: PoolSize) -> Result<Self, EngineError> {
        let slots = Slots::reserve(size)?;
        let all = Flavour::ALL.into_iter().map(|flavour| Machine::new(flavour, size, &slots));
        Ok(Self { all: all.collect::<Result<_, _>>()?, slots })
    }

    /// Those for components of a generation; only one can map a given component's native code.
    pub(crate) fn of(&self, generation: WasiGeneration) -> impl Iterator<Item = &Machine> {
        self.all.iter().filter(move |machine| machine.flavour.generation == generation)
    }

    pub(crate) fn engines(&self) -> Vec<Engine> {
        self.all.iter().map(|machine| machine.engine.clone()).collect()
    }

    /// Gives back memory that sandboxes left behind and nobody came for. To be called every second.
    pub(crate) fn trim(&self) {
        self.slots.memories.trim();
        self.slots.stacks.trim();
    }
}

/// Links everything in [`crate::offered`]: to components of WASI 0.2 that, to those of 0.3 both, since the standard
/// libraries of many languages still import 0.2.
pub(crate) fn linker(engine: &Engine, generation: WasiGeneration) -> wasmtime::Result<Linker<SandboxState>> {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker)?;
    if generation == WasiGeneration::P3 {
        wasmtime_wasi::p3::add_to_linker(&mut linker)?;
        wasmtime_wasi_http::p3::add_to_linker(&mut linker)?;
    }
    Ok(linker)
}

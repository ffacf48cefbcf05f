//! Engines and linkers of a worker: one pair for each generation of WASI, linked once.

use crate::engine::{EngineError, PoolSize, pooled_engine};
use crate::state::SandboxState;
use skiff_types::WasiGeneration;
use wasmtime::Engine;
use wasmtime::component::Linker;

/// What components of one generation run on.
pub(crate) struct Machine {
    pub(crate) engine: Engine,
    pub(crate) linker: Linker<SandboxState>,
}

impl Machine {
    /// A pool of this size, and what its components can import.
    pub(crate) fn new(generation: WasiGeneration, size: PoolSize) -> Result<Self, EngineError> {
        let engine = pooled_engine(generation, size)?;
        let linker = linker(&engine, generation).map_err(EngineError::new)?;
        Ok(Self { engine, linker })
    }
}

/// One machine for each generation. Each has the whole pool's size: that reserves address space, not memory, and
/// admission counts what both take together.
pub(crate) struct Machines {
    p2: Machine,
    p3: Machine,
}

impl Machines {
    pub(crate) fn new(size: PoolSize) -> Result<Self, EngineError> {
        let machine = |generation| Machine::new(generation, size);
        Ok(Self { p2: machine(WasiGeneration::P2)?, p3: machine(WasiGeneration::P3)? })
    }

    pub(crate) fn of(&self, generation: WasiGeneration) -> &Machine {
        match generation {
            WasiGeneration::P2 => &self.p2,
            WasiGeneration::P3 => &self.p3,
        }
    }

    pub(crate) fn engines(&self) -> Vec<Engine> {
        vec![self.p2.engine.clone(), self.p3.engine.clone()]
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

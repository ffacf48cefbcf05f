//! The engines: for each flavour of component one that compiles and one that runs from a pool. Their settings of code are
//! the same by construction, so that what the first makes the second can map.
//!
//! The generations of WASI differ in one setting: what 0.3 needs to run functions of one instance at the same time costs
//! each call, and nothing of 0.2 uses it. And components with little data get it copied into memories that are reset by
//! writing ([`crate::pool`]); those with much get it mapped, page by page as they touch it.

use crate::bulk;
use crate::pool::{MemorySlots, StackSlots};
use crate::without::Without;
use skiff_plan::capacity::SandboxCost;
use skiff_types::WasiGeneration;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use wasmtime::{Config, Enabled, Engine, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig};

/// Native stack that a guest may use, in bytes.
pub(crate) const GUEST_STACK_BYTES: usize = 512 << 10;
/// Stack of one fiber, in bytes: the guest's, and what host functions need above it. Address space, not memory.
const FIBER_STACK_BYTES: usize = 2 << 20;
/// The most one linear memory can have, in bytes.
const LINEAR_MEMORY_BYTES_MAX: usize = 4 << 30;
/// Address space behind each linear memory that is never opened, in bytes: code need not check what ends in it.
const GUARD_BYTES: usize = 32 << 20;
/// Data of a component that is copied into each sandbox; with more it is mapped.
const COPIED_BYTES_MAX: u64 = 256 << 10;
/// Elements that one table can have: so few that filling or copying them all takes no longer than a slice.
pub(crate) const TABLE_ELEMENTS_MAX: usize = 100_000;
/// Core module instances that one component can be made of.
pub(crate) const CORE_INSTANCES_PER_COMPONENT_MAX: u32 = 64;
/// Linear memories that one component can have.
pub(crate) const MEMORIES_PER_COMPONENT_MAX: u32 = 8;
/// Tables that one component can have.
pub(crate) const TABLES_PER_COMPONENT_MAX: u32 = 32;
/// Instances of components with functions of their own that one component can be made of.
pub(crate) const CALLABLE_INSTANCES_PER_COMPONENT_MAX: u32 = 16;
/// Linear memories or tables that one core module can define.
const MEMORIES_PER_MODULE_MAX: u32 = 4;
const TABLES_PER_MODULE_MAX: u32 = 8;
/// Slots of the pool for each sandbox, as most components need them; admission counts what each really takes. One fiber
/// runs the guest; a WASI 0.3 guest that blocks inside a call holds more.
const SLOTS_OF_ONE: PoolSize = PoolSize { sandboxes: 1, memories: 1, tables: 3, fibers: 2 };
/// Resident memory that a small sandbox takes, in bytes: what it touches of its memory and stack, and the host's part.
const SANDBOX_MEMORY_BYTES: u64 = 256 << 10;
/// Memory mappings that one component's native code takes, its memory image included.
const MAPS_OF_CODE: u64 = 8;
/// Bytes of a table that are reset by writing instead of being given back to the kernel.
const TABLE_KEPT_RESIDENT_BYTES: usize = 8 << 10;
/// Bytes of a fiber's stack that are reset by writing; what a guest used beyond them goes back to the kernel.
const STACK_KEPT_RESIDENT_BYTES: usize = 16 << 10;
/// Frames of a trap's backtrace that are kept for its log line.
const BACKTRACE_FRAMES_MAX: usize = 20;

/// Why an engine could not be made.
#[derive(Debug, thiserror::Error)]
#[error("the WebAssembly engine can't be started: {0}")]
pub struct EngineError(String);

impl EngineError {
    pub(crate) fn new(error: impl std::fmt::Display) -> Self {
        Self(error.to_string())
    }
}

/// What a pool of a worker holds, or what a part of it takes. A sandbox takes one of the first and as many of the
/// others as its component needs.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct PoolSize {
    pub(crate) sandboxes: usize,
    pub(crate) memories: usize,
    pub(crate) tables: usize,
    pub(crate) fibers: usize,
}

impl PoolSize {
    pub(crate) fn of(sandboxes: usize) -> Self {
        Self {
            sandboxes,
            // Never fewer than one component may have, or it could be deployed and yet never run.
            memories: (sandboxes * SLOTS_OF_ONE.memories).max(MEMORIES_PER_COMPONENT_MAX as usize),
            tables: (sandboxes * SLOTS_OF_ONE.tables).max(TABLES_PER_COMPONENT_MAX as usize),
            fibers: (sandboxes * SLOTS_OF_ONE.fibers).max(1 + CALLABLE_INSTANCES_PER_COMPONENT_MAX as usize),
        }
    }

    /// The most that one task may have of it: half, or what one component may need at least.
    pub(crate) fn for_one_task(self) -> Self {
        let least = Self::of(1);
        let share = |size: usize, least: usize| (size / 2).max(least).min(size);
        Self {
            sandboxes: share(self.sandboxes, least.sandboxes),
            memories: share(self.memories, least.memories),
            tables: share(self.tables, least.tables),
            fibers: share(self.fibers, least.fibers),
        }
    }

    pub(crate) fn plus(self, other: Self) -> Self {
        Self {
            sandboxes: self.sandboxes + other.sandboxes,
            memories: self.memories + other.memories,
            tables: self.tables + other.tables,
            fibers: self.fibers + other.fibers,
        }
    }

    pub(crate) fn minus(self, other: Self) -> Self {
        Self {
            sandboxes: self.sandboxes - other.sandboxes,
            memories: self.memories - other.memories,
            tables: self.tables - other.tables,
            fibers: self.fibers - other.fibers,
        }
    }

    /// Memory mappings of the kernel's that so many slots take: each is open in part, with a guard beside it.
    fn maps(self) -> usize {
        2 * (self.memories + self.fibers)
    }

    /// Address space that so many slots take, in bytes.
    fn address_bytes(self) -> usize {
        self.memories * (LINEAR_MEMORY_BYTES_MAX + GUARD_BYTES)
            + self.fibers * FIBER_STACK_BYTES
            + self.tables * TABLE_ELEMENTS_MAX * size_of::<usize>()
    }

    pub(crate) fn is_within(self, most: Self) -> bool {
        self.sandboxes <= most.sandboxes
            && self.memories <= most.memories
            && self.tables <= most.tables
            && self.fibers <= most.fibers
    }
}

/// How a sandbox's memories get their first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MemoryStart {
    /// Written into slots that keep their pages.
    Copied,
    /// Mapped from an image, which a page is copied from when the guest writes to it.
    Mapped,
}

/// What an engine is made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Flavour {
    pub(crate) generation: WasiGeneration,
    pub(crate) start: MemoryStart,
}

impl Flavour {
    pub(crate) const ALL: [Self; 4] = [
        Self { generation: WasiGeneration::P2, start: MemoryStart::Copied },
        Self { generation: WasiGeneration::P2, start: MemoryStart::Mapped },
        Self { generation: WasiGeneration::P3, start: MemoryStart::Copied },
        Self { generation: WasiGeneration::P3, start: MemoryStart::Mapped },
    ];

    /// What a component is best compiled for whose memories start with so many bytes of data.
    pub(crate) fn of(generation: WasiGeneration, data_bytes: u64) -> Self {
        let start = if data_bytes <= COPIED_BYTES_MAX { MemoryStart::Copied } else { MemoryStart::Mapped };
        Self { generation, start }
    }
}

/// How many sandboxes there are room for whose memories are mapped, of each generation: one for so many whose memories
/// are copied. Few components have that much data.
const MAPPED_SANDBOXES_SHARE: usize = 8;

/// The sandboxes of one pool of mapped memories, in a worker that has room for so many in its pool of copied ones.
pub(crate) fn mapped_sandboxes(sandboxes: usize) -> usize {
    (sandboxes / MAPPED_SANDBOXES_SHARE).max(1)
}

/// What room for one sandbox takes of a worker's process, the pools of mapped memories included.
pub fn sandbox_cost() -> SandboxCost {
    let of_one = |measure: fn(PoolSize) -> usize| {
        let copied = measure(SLOTS_OF_ONE);
        (copied + (2 * copied).div_ceil(MAPPED_SANDBOXES_SHARE)) as u64
    };
    SandboxCost {
        memory_bytes: SANDBOX_MEMORY_BYTES,
        maps: of_one(PoolSize::maps),
        address_bytes: of_one(PoolSize::address_bytes),
        maps_of_code: MAPS_OF_CODE,
    }
}

/// The slots that engines whose memories are copied share.
#[derive(Debug, Clone)]
pub(crate) struct Slots {
    pub(crate) memories: MemorySlots,
    pub(crate) stacks: StackSlots,
}

impl Slots {
    pub(crate) fn reserve(size: PoolSize) -> Result<Self, EngineError> {
        let memories = MemorySlots::reserve(size.memories, LINEAR_MEMORY_BYTES_MAX, GUARD_BYTES);
        let stacks = StackSlots::reserve(size.fibers, FIBER_STACK_BYTES);
        Ok(Self { memories: memories.map_err(EngineError::new)?, stacks: stacks.map_err(EngineError::new)? })
    }
}

/// The engine of a `skiff compile` child: it allocates on demand.
pub(crate) fn compile_engine(flavour: Flavour) -> Result<Engine, EngineError> {
    Engine::new(&code_settings(flavour)).map_err(EngineError::new)
}

/// The engine of a worker: it allocates from a pool.
pub(crate) fn pooled_engine(flavour: Flavour, size: PoolSize, slots: &Slots) -> Result<Engine, EngineError> {
    let mut config = code_settings(flavour);
    match flavour.start {
        MemoryStart::Copied => {
            config.with_host_memory(Arc::new(slots.memories.clone()));
            config.with_host_stack(Arc::new(slots.stacks.clone()));
        }
        MemoryStart::Mapped => {
            config.allocation_strategy(InstanceAllocationStrategy::Pooling(mapping_pool(size)));
        }
    }
    Engine::new(&config).map_err(EngineError::new)
}

fn mapping_pool(size: PoolSize) -> PoolingAllocationConfig {
    let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(count(size.sandboxes))
        .total_core_instances(count(size.sandboxes).saturating_mul(CORE_INSTANCES_PER_COMPONENT_MAX))
        .total_memories(count(size.memories))
        .total_tables(count(size.tables))
        .total_stacks(count(size.fibers))
        .max_core_instances_per_component(CORE_INSTANCES_PER_COMPONENT_MAX)
        .max_memories_per_component(MEMORIES_PER_COMPONENT_MAX)
        .max_tables_per_component(TABLES_PER_COMPONENT_MAX)
        .max_memories_per_module(MEMORIES_PER_MODULE_MAX)
        .max_tables_per_module(TABLES_PER_MODULE_MAX)
        .max_memory_size(LINEAR_MEMORY_BYTES_MAX)
        .table_elements(TABLE_ELEMENTS_MAX)
        .table_keep_resident(TABLE_KEPT_RESIDENT_BYTES)
        .async_stack_keep_resident(STACK_KEPT_RESIDENT_BYTES)
        // It takes a page that is swapped out or being migrated for a clean one (wasmtime#14357), which would show one
        // guest's bytes to the next. Off until a wasmtime has the fix.
        .pagemap_scan(Enabled::No);
    pool
}

/// What native code must have been compiled with to be mapped here, as 64 hexadecimal digits.
///
/// # Errors
/// If this machine's processor or operating system is not one that wasmtime can run on.
pub fn compatibility() -> Result<String, EngineError> {
    let engines = Flavour::ALL.into_iter().map(compile_engine).collect::<Result<Vec<_>, _>>()?;
    Ok(compatibility_of(&engines))
}

fn compatibility_of(engines: &[Engine]) -> String {
    let mut hasher = Blake3(blake3::Hasher::new());
    // What the compiler is given is not what was pushed.
    (bulk::VERSION, bulk::PIECE_BYTES).hash(&mut hasher);
    for engine in engines {
        engine.precompile_compatibility_hash().hash(&mut hasher);
    }
    hasher.0.finalize().to_hex().to_string()
}

/// Everything that decides what native code looks like, and how it is run.
fn code_settings(flavour: Flavour) -> Config {
    let is_concurrent = flavour.generation == WasiGeneration::P3;
    let mut config = Config::new();
    config
        .wasm_component_model(true)
        .wasm_component_model_async(is_concurrent)
        .concurrency_support(is_concurrent)
        .epoch_interruption(!Without::get().epoch)
        .cranelift_opt_level(OptLevel::Speed)
        .parallel_compilation(true)
        .memory_init_cow(flavour.start == MemoryStart::Mapped)
        .memory_guard_size(GUARD_BYTES as u64)
        .max_wasm_stack(GUEST_STACK_BYTES)
        .async_stack_size(FIBER_STACK_BYTES)
        // A stack that a guest had goes to the next one clean, and the memory it took beyond the usual goes back.
        .async_stack_zeroing(true)
        .wasm_backtrace_max_frames(std::num::NonZeroUsize::new(BACKTRACE_FRAMES_MAX))
        // Only debuggers of the host would read them; they make images larger and slower to map.
        .native_unwind_info(false)
        .generate_address_map(false);
    config
}

/// A [`Hasher`] that is the same in every process and build, unlike the standard library's.
struct Blake3(blake3::Hasher);

impl Hasher for Blake3 {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        let mut first = [0; 8];
        first.copy_from_slice(&self.0.finalize().as_bytes()[..8]);
        u64::from_le_bytes(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_compiled_can_be_mapped() {
        let (size, mut hashes) = (PoolSize::of(2), std::collections::HashSet::new());
        let slots = Slots::reserve(size).unwrap();
        let pooled = Flavour::ALL.map(|flavour| pooled_engine(flavour, size, &slots).unwrap());
        assert_eq!(compatibility().unwrap(), compatibility_of(&pooled));
        assert_eq!(compatibility().unwrap().len(), 64);
        assert!(pooled.into_iter().all(|engine| hashes.insert(compatibility_of(&[engine]))));
    }
}

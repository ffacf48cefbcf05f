//! Sandboxes with real guests, compiled and run as in a worker, and what is made of damaged bytes.

mod cache;
mod calls;
mod capability;
mod codes;
mod commands;
mod compile;
mod deliver;
mod initialize;
mod inspect;
mod quotas;
mod reuse;
mod room;
mod support;
mod turns;

/// As in a worker: a guest pays for what the host holds for it.
#[global_allocator]
static ALLOCATOR: skiff_sandbox::CountingAllocator<std::alloc::System> =
    skiff_sandbox::CountingAllocator(std::alloc::System);

//! The virtual network for real guests: `wasi:sockets` and outgoing `wasi:http` of both generations, in one worker.

mod http_calls;
mod http_listeners;
mod http_outside;
mod sockets;
mod world;

/// As in a worker: a guest pays for what the host holds for it.
#[global_allocator]
static ALLOCATOR: skiff_sandbox::CountingAllocator<std::alloc::System> =
    skiff_sandbox::CountingAllocator(std::alloc::System);

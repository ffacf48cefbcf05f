//! Sequences of host calls from an arbitrary guest, beside a client that does as it likes: whatever they do, the call
//! ends with an answer or an error, and everything is given back. Some clients make several calls, which the same sandboxes
//! serve.
//!
//! The guest is a real component (`platform/server/tests/guests/calls` and `calls-p3`) that carries out the program in
//! its request's path: any bytes are a program. The first three bytes of an input describe the client, the rest is the
//! program.

mod client;
mod world;

use client::Client;
use skiff_types::WasiGeneration;
use world::World;

/// Longest program, in bytes: it travels in hexadecimal digits, in a path.
const PROGRAM_BYTES_MAX: usize = 4_096;

thread_local! {
    static P2: World = World::new(WasiGeneration::P2);
    static P3: World = World::new(WasiGeneration::P3);
}

/// Lets a guest of this generation carry out the input.
pub(crate) fn run(generation: WasiGeneration, input: &[u8]) {
    let Some((client, program)) = input.split_first_chunk() else { return };
    let program = &program[..program.len().min(PROGRAM_BYTES_MAX)];
    let world = match generation {
        WasiGeneration::P2 => &P2,
        WasiGeneration::P3 => &P3,
    };
    world.with(|world| world.call(Client::new(*client), program));
}

//! The compile child: one component in, native code out, within bounds that it sets itself before it reads a byte. What is
//! to start from a snapshot is initialised in between ([`crate::initialize`]), and long instructions are cut in pieces before
//! all else ([`crate::bulk`]).
//!
//! Cranelift can't be stopped from inside a process, and what it is given is anybody's; so it runs in a process of its
//! own, which the kernel ends when it takes too much. What it writes is not trusted until the supervisor has signed it.

use crate::bulk;
use crate::capability::Capabilities;
use crate::code;
use crate::engine::{Flavour, PoolSize, Slots, compile_engine};
use crate::initialize::{Bounds as InitializationBounds, Initialized, initialize};
use crate::inspect::{Inside, examine};
use crate::link::Machine;
use crate::native;
use crate::room::Room;
use rustix::process::{Resource, Rlimit};
use sha2::{Digest as _, Sha256};
use skiff_ports::runtime::{ComponentReport, PrepareError};
use skiff_types::{Digest, Kind, Program};
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Instant;
use wasmtime::component::Component;

/// Memory that the compiler can write to, in bytes.
pub const MEMORY_BYTES_MAX: u64 = 2 << 30;
/// Address space of the child, in bytes: the memory, and what is reserved without being used. Where a sandbox's memories
/// are mapped, that is as much for slots as for the engine's own pool, some 33 GiB each.
pub const ADDRESS_SPACE_BYTES_MAX: u64 = MEMORY_BYTES_MAX + (96 << 30);
/// CPU time of the child over all its threads, in seconds.
pub const CPU_SECONDS_MAX: u64 = 120;
/// The largest component that is compiled, in bytes.
pub const COMPONENT_BYTES_MAX: u64 = 256 << 20;

/// All that `skiff compile --component PATH --digest DIGEST --native PATH [--snapshot]` does: compiles within bounds,
/// prints the result as one line of JSON (a `Result<ComponentReport, PrepareError>`), and succeeds if it could say
/// anything at all. With `snapshot` it initialises first, in the environment that standard input holds as JSON.
pub fn run_child(component: &Path, digest: &Digest, output: &Path, snapshot: bool) -> ExitCode {
    let result = bound_this_process()
        .map_err(|error| PrepareError::Internal(format!("its bounds can't be set: {error}")))
        .and_then(|()| snapshot.then(environment).transpose())
        .and_then(|environment| {
            let program = Program { component: *digest, snapshot: environment };
            compile(component, &program, output, InitializationBounds::default())
        });
    let mut stdout = io::stdout().lock();
    let written = serde_json::to_writer(&mut stdout, &result)
        .map_err(io::Error::from)
        .and_then(|()| stdout.write_all(b"\n"))
        .and_then(|()| stdout.flush());
    if written.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn environment() -> Result<BTreeMap<String, String>, PrepareError> {
    serde_json::from_reader(io::stdin().lock())
        .map_err(|error| PrepareError::Internal(format!("its environment can't be read: {error}")))
}

fn bound_this_process() -> io::Result<()> {
    let bound = |resource, most| {
        rustix::process::setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) })
    };
    bound(Resource::Data, MEMORY_BYTES_MAX)?;
    bound(Resource::As, ADDRESS_SPACE_BYTES_MAX)?;
    bound(Resource::Cpu, CPU_SECONDS_MAX)?;
    bound(Resource::Core, 0)?;
    Ok(())
}

/// Checks, compiles and links the program whose component is at `component`, and leaves its native code at `output`. What
/// is compiled has the program's digest, whatever the disk has made of it; a snapshot is initialised before, within
/// `bounds`.
///
/// # Errors
/// [`PrepareError::Refused`] for what its author can mend, [`PrepareError::TooCostly`] for what is too large,
/// [`PrepareError::Damaged`] for other bytes than were pushed, [`PrepareError::Internal`] for the rest.
pub fn compile(
    component: &Path,
    program: &Program,
    output: &Path,
    bounds: InitializationBounds,
) -> Result<ComponentReport, PrepareError> {
    let internal = |error: &dyn std::fmt::Display| PrepareError::Internal(error.to_string());
    let component_bytes = std::fs::metadata(component).map_err(|error| internal(&error))?.len();
    if component_bytes > COMPONENT_BYTES_MAX {
        return Err(PrepareError::TooCostly(format!(
            "the component has {component_bytes} bytes; {COMPONENT_BYTES_MAX} is the most that is compiled"
        )));
    }
    let bytes = std::fs::read(component).map_err(|error| internal(&error))?;
    if Digest::from_bytes(Sha256::digest(&bytes).into()) != program.component {
        return Err(PrepareError::Damaged(program.component));
    }
    let examined = examine(&bytes)?;
    let bytes = bulk::in_pieces(bytes)?;
    let (bytes, (mut report, inside)) = match &program.snapshot {
        Some(environment) => initialized(&bytes, examined.0, environment, bounds)?,
        None => (bytes, examined),
    };
    let flavour = Flavour::of(report.generation, inside.data_bytes);

    let began = Instant::now();
    let engine = compile_engine(flavour).map_err(|error| internal(&error))?;
    let native = engine
        .precompile_component(&bytes)
        .map_err(|error| PrepareError::Refused(format!("the component can't be compiled: {error:#}")))?;
    report.compile_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    try_to_link(&native, flavour, report.kind, inside.callable_instances)?;

    let native = native::with_instances(native, inside.callable_instances);
    report.native_bytes = native.len() as u64;
    std::fs::write(output, &native).map_err(|error| internal(&error))?;
    Ok(report)
}

/// The component as its initialisation leaves it, its report, and what else is known of it then. What a sandbox takes is
/// what the snapshot takes; what it imports and exports is what was pushed.
fn initialized(
    component: &[u8],
    report: ComponentReport,
    environment: &BTreeMap<String, String>,
    bounds: InitializationBounds,
) -> Result<(Vec<u8>, (ComponentReport, Inside)), PrepareError> {
    let Initialized { component, initialization } = initialize(component, &report, environment, bounds)?;
    let (ComponentReport { minimum_memory_bytes, .. }, inside) = examine(&component).map_err(|error| {
        PrepareError::Refused(format!("the component can't be snapshotted: as initialised, {error}"))
    })?;
    let initialization = Some(initialization);
    let report = ComponentReport { minimum_memory_bytes, initialization, ..report };
    Ok((component, (report, inside)))
}

/// Loads and links as a worker will, so that what can't run is refused now and not at the first request.
fn try_to_link(native: &[u8], flavour: Flavour, kind: Kind, instances: u32) -> Result<(), PrepareError> {
    let internal = |error: &dyn std::fmt::Display| PrepareError::Internal(error.to_string());
    let room = Rc::new(Room::new(PoolSize::of(1)));
    // What a worker's capabilities define has the types of WASI's own.
    let none = Capabilities::default();
    let machine = Slots::reserve(room.size()).and_then(|slots| Machine::new(flavour, room, &slots, &none));
    let machine = machine.map_err(|error| internal(&error))?;
    // SAFETY: the bytes came out of the compiler a moment ago, in this very process.
    let component = unsafe { Component::deserialize(&machine.engine, native) };
    let component = component.map_err(|error| {
        PrepareError::Refused(format!("the component is larger than a sandbox can be: {error:#}"))
    })?;
    code::link(&machine, &component, kind, instances, native.len() as u64).map_err(|error| {
        PrepareError::Refused(format!(
            "the component's imports or exports have other types than WASI's: {error:#}"
        ))
    })?;
    Ok(())
}

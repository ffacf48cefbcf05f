//! Tables and buckets for guests: `wasi:keyvalue@0.2.0-draft2`, `wasi:blobstore@0.2.0-draft` and `skiff:tables@0.1.0` of `sdk/wit`,
//! for components of WASI 0.2 and 0.3 alike, over a [`CallSink`].
//!
//! | file | what it has |
//! | --- | --- |
//! | `bindings` | the interfaces in Rust |
//! | `keyvalue` | `wasi:keyvalue`: its stores are the tables of the task's namespace |
//! | `tables` | `skiff:tables` |
//! | `blobstore` | `wasi:blobstore/blobstore`: its containers are the buckets of the task's namespace |
//! | `container`, `values` | what lies in them, whole and as values |
//! | `reader`, `writer` | an object's bytes as streams of `wasi:io`, piece by piece |
//! | `transfer` | what is read or written, and ends with who has it |
//!
//! Nothing is decided here: what there is and who may touch it, others know, beyond the sink. What always holds: a guest names
//! things of its own namespace and no others, since a name is all that it can say; what waits here for a guest is its own memory,
//! and an object passes in pieces of [`skiff_ports::guest_calls::PIECE_BYTES_MAX`]; and nothing that a guest began to read or write
//! outlives it.

mod bindings;
mod blobstore;
mod container;
mod keyvalue;
mod reader;
mod tables;
mod transfer;
mod values;
mod writer;

use skiff_ports::guest_calls::{CallSink, GuestAnswer, GuestCall};
use skiff_sandbox::{Asking, Caller, Calls, Capability, CapabilityView, Guest, Outgoing, SandboxState};
use skiff_types::{TaskId, WasiGeneration};
use std::any::{Any, TypeId};
use std::rc::Rc;
use std::sync::Arc;
use wasmtime::component::{HasData, Linker, ResourceTable};

/// What a guest is told where the answer is of another kind than its question: no sink that is sound does that.
const CONFUSED: &str = "the platform answered something else than was asked";

/// Tables and buckets as a capability of a worker's guests. Lives on one thread.
pub struct HostData {
    calls: Calls,
}

impl HostData {
    /// Has `sink` carry out what guests ask.
    pub fn new(sink: Rc<dyn CallSink>) -> Arc<Self> {
        Arc::new(Self { calls: Calls::new(sink) })
    }
}

impl Capability for HostData {
    fn link(&self, linker: &mut Linker<SandboxState>, _: WasiGeneration) -> wasmtime::Result<()> {
        bindings::store::add_to_linker::<_, Data>(linker, view)?;
        bindings::atomics::add_to_linker::<_, Data>(linker, view)?;
        bindings::batch::add_to_linker::<_, Data>(linker, view)?;
        bindings::types::add_to_linker::<_, Data>(linker, view)?;
        bindings::container::add_to_linker::<_, Data>(linker, view)?;
        bindings::blobstore::add_to_linker::<_, Data>(linker, view)?;
        bindings::table::add_to_linker::<_, Data>(linker, view)
    }

    fn context_type(&self) -> TypeId {
        TypeId::of::<Context>()
    }

    fn context(&self, guest: Guest) -> Box<dyn Any + Send> {
        Box::new(Context { caller: self.calls.of(guest) })
    }

    fn outgoing(&self) -> Option<&dyn Outgoing> {
        None
    }

    fn ended(&self, task: TaskId) {
        self.calls.ended(task);
    }
}

/// What one sandbox holds. Made when its guest first asks for anything.
struct Context {
    caller: Caller,
}

/// Says that guests' calls work on a [`View`].
struct Data;

impl HasData for Data {
    type Data<'a> = View<'a>;
}

/// What a guest's call works on.
struct View<'a> {
    caller: &'a Caller,
    table: &'a mut ResourceTable,
}

fn view(state: &mut SandboxState) -> View<'_> {
    let CapabilityView { context: Context { caller }, table } = state.capability::<Context>();
    View { caller, table }
}

impl View<'_> {
    fn ask(&self, call: GuestCall) -> Asking {
        self.caller.ask(call)
    }
}

/// What an answer says, if it is of the right kind.
fn expect<T>(answer: GuestAnswer, said: impl FnOnce(GuestAnswer) -> Option<T>) -> Result<T, &'static str> {
    said(answer).ok_or(CONFUSED)
}

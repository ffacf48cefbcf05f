//! Queues and buses for guests, as far as they send: `skiff:events/bus` and `skiff:queues/producer` of `sdk/wit`, for components of
//! WASI 0.2 and 0.3 alike, over a [`CallSink`].
//!
//! What comes to guests comes by exports, and is the sandboxes' business. Nothing is decided here: which queues and buses there are
//! and who may send, others know, beyond the sink. What always holds: a guest names things of its own namespace and no others,
//! since a name is all that it can say.

use bindings::{bus, producer};
use skiff_ports::guest_calls::{CallSink, GuestAnswer, GuestCall, GuestCallError, GuestEvent, GuestMessage};
use skiff_sandbox::{Asking, Caller, Calls, Capability, Guest, Outgoing, SandboxState};
use skiff_types::{Name, TaskId, WasiGeneration};
use std::any::{Any, TypeId};
use std::rc::Rc;
use std::sync::Arc;
use wasmtime::component::{HasData, Linker};

/// What a guest is told where the answer is of another kind than its question: no sink that is sound does that.
const CONFUSED: &str = "the platform answered something else than was asked";

/// The interfaces in Rust, made out of `sdk/wit`. They are plain functions there, and wait here.
mod bindings {
    mod generated {
        wasmtime::component::bindgen!({
            path: ["../../sdk/wit/deps/skiff-events-0.1.0.wit", "../../sdk/wit/deps/skiff-queues-0.1.0.wit"],
            inline: "
                package skiff:host-events;

                world sending {
                    import skiff:events/bus@0.1.0;
                    import skiff:queues/producer@0.1.0;
                }
            ",
            world: "sending",
            imports: { default: async },
        });
    }

    pub(crate) use self::generated::skiff::events::bus;
    pub(crate) use self::generated::skiff::queues::producer;
}

/// Queues and buses as a capability of a worker's guests. Lives on one thread.
pub struct HostEvents {
    calls: Calls,
}

impl HostEvents {
    /// Has `sink` carry out what guests ask.
    pub fn new(sink: Rc<dyn CallSink>) -> Arc<Self> {
        Arc::new(Self { calls: Calls::new(sink) })
    }
}

impl Capability for HostEvents {
    fn link(&self, linker: &mut Linker<SandboxState>, _: WasiGeneration) -> wasmtime::Result<()> {
        bus::add_to_linker::<_, Sending>(linker, context)?;
        producer::add_to_linker::<_, Sending>(linker, context)
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

/// Says that guests' calls work on a [`Context`].
struct Sending;

impl HasData for Sending {
    type Data<'a> = &'a mut Context;
}

/// What one sandbox holds. Made when its guest first sends something.
struct Context {
    caller: Caller,
}

fn context(state: &mut SandboxState) -> &mut Context {
    state.capability::<Context>().context
}

impl Context {
    fn ask(&self, call: GuestCall) -> Asking {
        self.caller.ask(call)
    }
}

impl bus::Host for Context {
    async fn put(&mut self, bus: String, events: Vec<bus::Event>) -> Result<(), bus::Error> {
        let bus = named(&bus).map_err(bus::Error::NoSuch)?;
        let events = events.into_iter().map(of_guest).collect();
        match self.ask(GuestCall::PutEvents { bus, events }).await {
            Ok(GuestAnswer::Done) => Ok(()),
            Ok(_) => Err(bus::Error::Failed(CONFUSED.to_owned())),
            Err(error) => Err(error.into()),
        }
    }
}

impl producer::Host for Context {
    async fn send(
        &mut self,
        queue: String,
        messages: Vec<producer::Message>,
    ) -> Result<Vec<Result<String, String>>, producer::Error> {
        let queue = named(&queue).map_err(producer::Error::NoSuch)?;
        let (count, messages) = (messages.len(), messages.into_iter().map(of_queue).collect());
        match self.ask(GuestCall::Send { queue, messages }).await {
            Ok(GuestAnswer::Sent(sent)) if sent.len() == count => Ok(sent),
            Ok(_) => Err(producer::Error::Failed(CONFUSED.to_owned())),
            Err(error) => Err(error.into()),
        }
    }
}

/// What a guest calls a queue or a bus, if any could be called so.
fn named(name: &str) -> Result<Name, String> {
    name.parse::<Name>().map_err(|error| format!("there is no such thing: {error}"))
}

fn of_guest(event: bus::Event) -> GuestEvent {
    let bus::Event { id, source, detail_type, subject, time_ms, detail } = event;
    GuestEvent { id, source, detail_type, subject, time_ms, detail }
}

fn of_queue(message: producer::Message) -> GuestMessage {
    let producer::Message { body, attributes, delay_ms, group, deduplication_id } = message;
    GuestMessage { body: body.into(), attributes, delay_ms, group, deduplication_id }
}

impl From<GuestCallError> for bus::Error {
    fn from(error: GuestCallError) -> Self {
        match error {
            GuestCallError::NotFound(text) => Self::NoSuch(text),
            GuestCallError::Denied { message, .. } => Self::Denied(message),
            GuestCallError::Conflict { message, .. } | GuestCallError::Invalid(message) => {
                Self::Invalid(message)
            }
            GuestCallError::Busy(text) => Self::Busy(text),
            GuestCallError::Failed(text) => Self::Failed(text),
        }
    }
}

impl From<GuestCallError> for producer::Error {
    fn from(error: GuestCallError) -> Self {
        match error {
            GuestCallError::NotFound(text) => Self::NoSuch(text),
            GuestCallError::Denied { message, .. } => Self::Denied(message),
            GuestCallError::Conflict { message, .. } | GuestCallError::Invalid(message) => {
                Self::Invalid(message)
            }
            GuestCallError::Busy(text) => Self::Busy(text),
            GuestCallError::Failed(text) => Self::Failed(text),
        }
    }
}

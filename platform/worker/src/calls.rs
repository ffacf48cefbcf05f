//! The worker's side of its data socket: what guests ask their platform, and what comes back.
//!
//! It judges nothing, and tries nothing a second time. What always holds: a task has [`CALLS_MAX`] calls under way at once, which hold
//! [`TASK_ROOM_KIB`] of the socket's room, and the next wait in its guests; one that its guest let go of is under way until its answer
//! is there; what waits to be written for a task, and what came for it and no guest has taken yet, is claimed from
//! its memory, and where there is none, the guest is told so; a call is written down, and an answer read, in the guest's polls and
//! on its account; and what a guest began to read or write and never learnt of is stopped.

use bytes::Bytes;
use futures::FutureExt;
use futures::future::LocalBoxFuture;
use skiff_ledger::{Ledger, MemoryClaim, Slot, TaskSlot};
use skiff_node::wire::{
    CallReader, CallWriter, RequestId, TASK_ROOM_KIB, call_bytes, call_frame, read_call, room_kib,
};
use skiff_ports::guest_calls::{CALLS_MAX, CallSink, GuestAnswer, GuestCall, GuestCallError, TransferId};
use skiff_ports::snapshot::Assignment;
use skiff_sandbox::apart;
use skiff_types::TaskId;
use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::task::spawn_local;

/// Answers of fewer bytes than these are copied, since what they lie in may be much larger.
const COPIED_BYTES_MAX: usize = 8 << 10;

/// What a call comes to.
type Answered = Result<GuestAnswer, GuestCallError>;

/// Carries guests' calls over the data socket. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Calls(Rc<Inner>);

struct Inner {
    ledger: Ledger,
    /// This worker's rows.
    worker: usize,
    /// By task, as long as it runs here.
    tenants: RefCell<HashMap<TaskId, Rc<Tenant>>>,
    /// Frames that wait to be written, with what is claimed for them.
    outgoing: RefCell<VecDeque<(Bytes, Option<MemoryClaim>)>>,
    work: Notify,
    waiting: RefCell<HashMap<RequestId, Waiting>>,
    next_id: Cell<RequestId>,
    /// Nothing more is read: who would ask would wait for ever.
    is_closed: Cell<bool>,
}

/// A task, as far as its calls go.
struct Tenant {
    number: Slot,
    slot: TaskSlot,
    memory_bytes_max: u64,
    places: Arc<Semaphore>,
    /// In KiB.
    room: Arc<Semaphore>,
}

/// What a call has of its task's places and room, until its answer is there and was taken.
struct Place {
    _count: OwnedSemaphorePermit,
    _room: OwnedSemaphorePermit,
}

/// Who waits for an answer.
struct Waiting {
    task: TaskId,
    tenant: Rc<Tenant>,
    /// Whether the call begins a transfer.
    begins: bool,
    place: Place,
    reply: oneshot::Sender<Arrived>,
}

/// An answer that no guest has read yet.
struct Arrived {
    payload: Bytes,
    /// None where the task's memory has no room for it.
    claim: Option<MemoryClaim>,
    /// Where to stop the transfer that it may tell of, if nobody reads it.
    begins: Option<(Rc<Inner>, TaskId)>,
    place: Option<Place>,
}

/// Why a call can't be sent.
enum Unsent {
    NoMemory,
    TooLong,
}

impl Calls {
    /// Starts the tasks that write and read.
    pub(crate) fn start(
        (ledger, worker): (Ledger, usize),
        (reader, writer): (CallReader, CallWriter),
    ) -> Self {
        let inner = Rc::new(Inner {
            ledger,
            worker,
            tenants: RefCell::default(),
            outgoing: RefCell::default(),
            work: Notify::new(),
            waiting: RefCell::default(),
            next_id: Cell::new(0),
            is_closed: Cell::new(false),
        });
        spawn_local(inner.clone().write(writer));
        spawn_local(inner.clone().read(reader));
        Self(inner)
    }

    /// A task runs here from now on. What is said of it again changes nothing, as long as its account is the same.
    pub(crate) fn run(&self, assignment: &Assignment) {
        let Assignment { task, slot, spec, .. } = assignment;
        let mut tenants = self.0.tenants.borrow_mut();
        if tenants.get(task).is_none_or(|tenant| tenant.number != *slot) {
            let tenant = Tenant {
                number: *slot,
                slot: self.0.ledger.task(*slot),
                memory_bytes_max: spec.limits.memory.bytes(),
                places: Arc::new(Semaphore::new(CALLS_MAX)),
                room: Arc::new(Semaphore::new(TASK_ROOM_KIB as usize)),
            };
            tenants.insert(*task, Rc::new(tenant));
        }
    }

    /// A task ends: what its guests ask from now on is not passed on.
    pub(crate) fn end(&self, task: TaskId) {
        self.0.tenants.borrow_mut().remove(&task);
    }
}

impl CallSink for Calls {
    fn call(&self, task: TaskId, call: GuestCall) -> LocalBoxFuture<'static, Answered> {
        ask(self.0.clone(), task, call).boxed_local()
    }

    fn stop(&self, task: TaskId, transfer: TransferId) {
        self.0.stop(task, transfer);
    }
}

async fn ask(inner: Rc<Inner>, task: TaskId, call: GuestCall) -> Answered {
    let gone = || GuestCallError::Failed("the task is ending".to_owned());
    let lost = || GuestCallError::Failed("the platform is gone, or ends this worker".to_owned());
    let tenant = inner.tenants.borrow().get(&task).cloned().ok_or_else(gone)?;
    let count = tenant.places.clone().acquire_owned().await.map_err(|_| gone())?;
    let kib = room_kib(call_bytes(&(task, &call)), &call);
    let room = tenant.room.clone().acquire_many_owned(kib).await.map_err(|_| gone())?;
    if inner.is_closed.get() {
        return Err(lost());
    }
    let place = Place { _count: count, _room: room };
    // What is made and freed of this is no guest's.
    let sent = apart(|| inner.send(task, &tenant, place, &call));
    drop(call);
    let mut answer = sent.map_err(refused)?;
    let arrived = (&mut answer).await;
    apart(|| drop(answer));
    match arrived {
        Ok(arrived) => arrived.open(),
        Err(_) => Err(lost()),
    }
}

fn refused(unsent: Unsent) -> GuestCallError {
    match unsent {
        Unsent::NoMemory => GuestCallError::Busy(
            "the task's memory has no room for the call: raise --memory, or ask for less at once".to_owned(),
        ),
        Unsent::TooLong => GuestCallError::Invalid("the call has too many bytes: make more calls".to_owned()),
    }
}

impl Inner {
    fn new_id(&self) -> RequestId {
        self.next_id.replace(self.next_id.get() + 1)
    }

    fn claim(&self, tenant: &Tenant, bytes: usize) -> Option<MemoryClaim> {
        let mut claim = MemoryClaim::new(tenant.slot.clone(), self.worker, tenant.memory_bytes_max);
        claim.grow(bytes as u64).then_some(claim)
    }

    /// Queues a call; where its answer comes.
    fn send(
        &self,
        task: TaskId,
        tenant: &Rc<Tenant>,
        place: Place,
        call: &GuestCall,
    ) -> Result<oneshot::Receiver<Arrived>, Unsent> {
        let id = self.new_id();
        let frame = call_frame(id, &(task, call)).map_err(|_| Unsent::TooLong)?;
        let claim = self.claim(tenant, frame.len()).ok_or(Unsent::NoMemory)?;
        let begins = matches!(call, GuestCall::Read { .. } | GuestCall::Put { .. });
        let (reply, answer) = oneshot::channel();
        self.waiting.borrow_mut().insert(id, Waiting { task, tenant: tenant.clone(), begins, place, reply });
        self.queue(frame, Some(claim));
        Ok(answer)
    }

    fn stop(&self, task: TaskId, transfer: TransferId) {
        // It is so short that it always can be written. Nobody waits for the answer.
        if let Ok(frame) = call_frame(self.new_id(), &(task, GuestCall::Stop(transfer))) {
            self.queue(frame, None);
        }
    }

    fn queue(&self, frame: Bytes, claim: Option<MemoryClaim>) {
        self.outgoing.borrow_mut().push_back((frame, claim));
        self.work.notify_one();
    }

    async fn write(self: Rc<Self>, mut writer: CallWriter) {
        loop {
            self.work.notified().await;
            let next = || self.outgoing.borrow_mut().pop_front().map(|(frame, _)| frame);
            if writer.send(next).await.is_err() {
                // The supervisor is gone; the control socket says so too, and the process ends.
                return;
            }
        }
    }

    async fn read(self: Rc<Self>, mut reader: CallReader) {
        loop {
            match reader.next().await {
                Ok(Some((id, payload))) => self.arrived(id, payload),
                Ok(None) => break,
                Err(error) => {
                    tracing::warn!(%error, "the data socket broke: guests' calls fail from now on");
                    break;
                }
            }
        }
        self.is_closed.set(true);
        // Who waits learns it by that.
        self.waiting.borrow_mut().clear();
    }

    fn arrived(self: &Rc<Self>, id: RequestId, payload: Bytes) {
        let Some(waiting) = self.waiting.borrow_mut().remove(&id) else { return };
        let Waiting { task, tenant, begins, place, reply } = waiting;
        let claim = self.claim(&tenant, payload.len());
        let payload = match claim {
            // It is nobody's memory, and nobody is told it. What a transfer that begins is called, is to be known.
            None if !begins => Bytes::new(),
            Some(_) | None if payload.len() < COPIED_BYTES_MAX => Bytes::copy_from_slice(&payload),
            Some(_) | None => payload,
        };
        let begins = begins.then(|| (self.clone(), task));
        // Where nobody waits any more it is dropped, which stops what it tells of.
        let _ = reply.send(Arrived { payload, claim, begins, place: Some(place) });
    }
}

impl Arrived {
    /// What it says; that is the guest's.
    fn open(mut self) -> Answered {
        if self.claim.is_none() {
            // Not that it is busy, which would say that nothing was done.
            return Err(GuestCallError::Failed(
                "the task's memory has no room for the answer to what was asked: raise --memory, or ask for less at once"
                    .to_owned(),
            ));
        }
        let answered: Answered =
            read_call(&self.payload).map_err(|error| GuestCallError::Failed(error.to_string()))?;
        apart(|| (self.begins, self.payload) = (None, Bytes::new()));
        answered
    }
}

impl Drop for Arrived {
    fn drop(&mut self) {
        apart(|| {
            let payload = std::mem::take(&mut self.payload);
            drop(self.place.take());
            let Some((inner, task)) = self.begins.take() else { return };
            if let Ok(Ok(GuestAnswer::Reading(transfer, _) | GuestAnswer::Writing(transfer))) =
                read_call::<Answered>(&payload)
            {
                inner.stop(task, transfer);
            }
        });
    }
}

#[cfg(test)]
mod tests;

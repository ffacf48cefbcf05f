//! Deliveries: an event or messages for an export of Skiff's own, or a request for `wasi:http`, each to its end.
//!
//! What a guest is given lies with whoever delivers, and what it says is copied out for them: neither is on its account longer
//! than its call. A sandbox works on one event or batch at a time, whatever a task's reuse says of requests.

use super::{Instance, admit, call};
use crate::admission::{Own, try_admit_alone};
use crate::code::{Code, EventExports};
use crate::failure::{Failure, FailureKind};
use crate::heap::{HeapMeter, apart};
use crate::host::Host;
use crate::keep;
use crate::live::Live;
use crate::run::GuestRun;
use crate::state::SandboxState;
use crate::task::Task;
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use skiff_kit::clock;
use skiff_ports::body;
use skiff_ports::guest_deliveries::{
    CONSUMER_INTERFACE, DeliverError, GuestBatch, GuestDelivery, GuestOutcome, HANDLER_INTERFACE,
    MessageOutcome,
};
use skiff_ports::invoke::InvokeError;
use skiff_types::{Kind, TaskId};
use std::rc::Rc;
use wasmtime::Store;
use wasmtime::component::{ComponentType, Lift, Lower};

/// The longest text that a guest may give as why it did not take something, in bytes; what is longer is cut.
const REASON_BYTES_MAX: usize = 1_024;
/// The longest answer that a guest may give to a request that is a delivery, in bytes: nobody reads it.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// A message as `skiff:queues/consumer` has it.
#[derive(ComponentType, Lower)]
#[component(record)]
struct Message<'a> {
    #[component(name = "id")]
    id: &'a str,
    #[component(name = "body")]
    body: &'a [u8],
    #[component(name = "attributes")]
    attributes: &'a [(String, String)],
    #[component(name = "group")]
    group: Option<&'a str>,
    #[component(name = "sent-at-ms")]
    sent_at_ms: u64,
    #[component(name = "receives")]
    receives: u32,
}

/// What becomes of a message, as `skiff:queues/consumer` has it.
#[derive(ComponentType, Lift)]
#[component(variant)]
enum Outcome {
    #[component(name = "done")]
    Done,
    #[component(name = "retry")]
    Retry(Option<u64>),
    #[component(name = "reject")]
    Reject(String),
}

/// Gives `task` what is delivered, and waits for what comes of it.
pub(crate) async fn deliver(
    host: Rc<Host>,
    task: TaskId,
    delivery: GuestDelivery,
) -> Result<GuestOutcome, DeliverError> {
    let found = host.tasks.borrow().get(&task).cloned();
    let task = found.ok_or_else(|| DeliverError::Busy(InvokeError::Gone.to_string()))?;
    match delivery {
        GuestDelivery::Http { path, headers, body } => post(host, &task, path, headers, body).await,
        GuestDelivery::Event(_) | GuestDelivery::Batch(_) => give(host, task, delivery).await,
    }
}

/// Sends a POST, and reads its answer to the end.
async fn post(
    host: Rc<Host>,
    task: &Task,
    path: String,
    headers: Vec<(String, String)>,
    bytes: Bytes,
) -> Result<GuestOutcome, DeliverError> {
    if task.account.spec.kind != Kind::Http {
        return Err(no_export("wasi:http/incoming-handler@0.2 or wasi:http/handler@0.3"));
    }
    let mut request = Request::post(path);
    for (name, value) in headers {
        request = request.header(name, value);
    }
    let request = request
        .body(body::full(bytes))
        .map_err(|error| DeliverError::Failed(format!("what is to be delivered is no request: {error}")))?;
    let response = call(host, task.account.task, request).await.map_err(of_request)?;
    let status = response.status().as_u16();
    match Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await {
        Ok(_) => Ok(GuestOutcome::Http(status)),
        Err(error) if error.is::<LengthLimitError>() => Err(DeliverError::Failed(format!(
            "the guest's answer has more than {ANSWER_BYTES_MAX} bytes, and nobody reads it: answer a delivery with a status"
        ))),
        Err(error) => Err(DeliverError::Failed(error.to_string())),
    }
}

/// Gives an event or messages to the guest's export.
async fn give(host: Rc<Host>, task: Rc<Task>, delivery: GuestDelivery) -> Result<GuestOutcome, DeliverError> {
    let _guard = host.call_begins();
    let deadline_ns = task.account.deadline_ns();
    task.keep.arrived(clock::monotonic_ns());
    let admitted = admit(&host, &task, deadline_ns, try_admit_alone).await;
    let (code, (seat, own)) = admitted.map_err(before_a_start)?;
    if let Some(error) = missing_export(&code.events, &delivery) {
        return Err(error);
    }
    let heap = match &own {
        Own::Kept(live) => live.heap.clone(),
        Own::Blank(_) => HeapMeter::new(&task.account),
    };
    // Also held here, so that what others allocated is not freed in the guest's polls.
    let delivery = Rc::new(delivery);
    let guest = serve(host.clone(), task.clone(), code, own, heap.clone(), delivery.clone());
    let guest = heap.crossed().clone().counted(|| Box::pin(guest));
    match GuestRun::<GuestOutcome>::new(&host, &task, deadline_ns, Some(seat), heap, guest).await {
        Ok(outcome) => {
            keep::replenish(&host, &task);
            Ok(outcome)
        }
        Err(failure) => {
            host.report(&task.account, &failure);
            Err(match failure.kind {
                FailureKind::NoRoom => DeliverError::Busy(failure.message),
                FailureKind::Trapped
                | FailureKind::OutOfMemory
                | FailureKind::Exited(_)
                | FailureKind::TimedOut { .. }
                | FailureKind::Stopped
                | FailureKind::NoAnswer => DeliverError::Failed(failure.message),
            })
        }
    }
}

/// Lets a sandbox take it, once there is one; and drops it then, or puts it aside for the task's next call.
async fn serve(
    host: Rc<Host>,
    task: Rc<Task>,
    code: Rc<Code>,
    own: Own,
    heap: Rc<HeapMeter>,
    delivery: Rc<GuestDelivery>,
) -> Result<GuestOutcome, Failure> {
    let mut live = match own {
        Own::Kept(live) => *live,
        Own::Blank(blank) => Live::make(&host, &task, &code, blank, heap).await?,
    };
    let outcome = live.deliver(&task, &delivery).await?;
    if live.requests < task.account.spec.limits.reuse.requests {
        keep::put(&task, &code.room, live);
    }
    Ok(outcome)
}

/// One call of an export. The error is the engine's; a guest that did not keep to the contract is a failure.
pub(crate) async fn hand_over(
    store: &mut Store<SandboxState>,
    instance: &Instance,
    exports: &EventExports,
    delivery: &GuestDelivery,
) -> wasmtime::Result<Result<GuestOutcome, Failure>> {
    match (delivery, exports.handle, exports.consume) {
        (GuestDelivery::Event(event), Some(handle), _) => {
            let Ok(event) = std::str::from_utf8(event) else {
                return Ok(Err(Failure::new(FailureKind::NoAnswer, "the event is no text, and so no JSON")));
            };
            let handle =
                instance.raw.get_typed_func::<(&str,), (Result<(), String>,)>(&mut *store, handle)?;
            let (result,) = handle.call_async(&mut *store, (event,)).await?;
            Ok(Ok(GuestOutcome::Event(result.map_err(reason))))
        }
        (GuestDelivery::Batch(batch), _, Some(consume)) => {
            let messages = messages(batch);
            let consume = instance
                .raw
                .get_typed_func::<(&str, &[Message<'_>]), (Vec<Outcome>,)>(&mut *store, consume)?;
            let (outcomes,) =
                consume.call_async(&mut *store, (batch.queue.as_str(), messages.as_slice())).await?;
            Ok(of_batch(batch, outcomes))
        }
        _ => wasmtime::bail!("the component exports nothing that takes this"),
    }
}

fn messages(batch: &GuestBatch) -> Vec<Message<'_>> {
    let messages = batch.messages.iter().map(|message| Message {
        id: &message.id,
        body: &message.body,
        attributes: &message.attributes,
        group: message.group.as_deref(),
        sent_at_ms: message.sent_at_ms,
        receives: message.receives,
    });
    messages.collect()
}

fn of_batch(batch: &GuestBatch, outcomes: Vec<Outcome>) -> Result<GuestOutcome, Failure> {
    let (given, told) = (batch.messages.len(), outcomes.len());
    if given != told {
        return Err(Failure::new(
            FailureKind::NoAnswer,
            format!(
                "the guest was given {given} messages and said what becomes of {told}: one outcome for each is to be \
                 returned; all come again"
            ),
        ));
    }
    let outcome = |outcome| match outcome {
        Outcome::Done => MessageOutcome::Done,
        Outcome::Retry(after_ms) => MessageOutcome::Retry { after_ms },
        Outcome::Reject(why) => MessageOutcome::Reject(reason(why)),
    };
    // The list is whoever asked's; the guest's own is freed in its poll.
    let mut told = apart(|| Vec::with_capacity(given));
    told.extend(outcomes.into_iter().map(outcome));
    Ok(GuestOutcome::Batch(told))
}

/// A text of a guest's, cut where it is too long, as a copy that is not on its account.
fn reason(text: String) -> String {
    apart(|| text[..text.floor_char_boundary(REASON_BYTES_MAX)].to_owned())
}

fn missing_export(exports: &EventExports, delivery: &GuestDelivery) -> Option<DeliverError> {
    match delivery {
        GuestDelivery::Event(_) if exports.handle.is_none() => Some(no_export(HANDLER_INTERFACE)),
        GuestDelivery::Batch(_) if exports.consume.is_none() => Some(no_export(CONSUMER_INTERFACE)),
        GuestDelivery::Event(_) | GuestDelivery::Batch(_) | GuestDelivery::Http { .. } => None,
    }
}

fn no_export(interface: &str) -> DeliverError {
    DeliverError::NoExport(format!(
        "the component exports no {interface}, which this would be given to: build it with one, or deliver to another"
    ))
}

/// Why there is no sandbox: nothing was started, and but for what can't be loaded or never fits it may be tried again.
fn before_a_start(error: InvokeError) -> DeliverError {
    match error {
        InvokeError::Gone | InvokeError::Busy { .. } | InvokeError::TimedOut { .. } => {
            DeliverError::Busy(error.to_string())
        }
        InvokeError::Failed(_) | InvokeError::TooLarge { .. } => DeliverError::Failed(error.to_string()),
    }
}

/// Why a request has no answer: it may have been started, unless the task is gone or has no room.
fn of_request(error: InvokeError) -> DeliverError {
    match error {
        InvokeError::Gone | InvokeError::Busy { .. } => DeliverError::Busy(error.to_string()),
        InvokeError::TimedOut { .. } | InvokeError::Failed(_) | InvokeError::TooLarge { .. } => {
            DeliverError::Failed(error.to_string())
        }
    }
}

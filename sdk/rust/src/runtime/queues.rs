//! What [`crate::queues`] imports, and what `#[skiff_sdk::queue]` exports: the worlds `imports` and `exports` of `skiff:queues` in
//! `sdk/wit`, for both WASI generations.
//!
//! Written by hand as [`super::snapshot`] is, and for the same reason; a test holds the worlds' encodings against the contract.

#![allow(unsafe_code, reason = "a function of the host is a foreign one")]

use super::abi::{ErrorLeft, MaybeNumber, MaybeSlice, Slice, milliseconds};
use crate::queues::{Consumer, Message, NewMessage, Outcome, consume};
use crate::service_error::ServiceError;
use std::mem::MaybeUninit;

/// The world of the import, as `wasm-component-ld` reads it from a section of the module. It has to be in one file with who calls
/// the import.
#[allow(dead_code, reason = "it is there for its section")]
#[unsafe(link_section = "component-type:skiff:queues@0.1.0:imports:encoded world")]
static WORLD: [u8; include_bytes!("queues-imports.world").len()] = *include_bytes!("queues-imports.world");

/// The world of the export, for whoever exports it.
pub const QUEUE_WORLD: [u8; include_bytes!("queues-exports.world").len()] =
    *include_bytes!("queues-exports.world");

#[link(wasm_import_module = "skiff:queues/producer@0.1.0")]
unsafe extern "C" {
    #[link_name = "send"]
    fn import_send(
        queue: *const u8,
        queue_bytes: usize,
        messages: *const u8,
        message_count: usize,
        result: *mut SendResult,
    );
}

/// A `message` of `skiff:queues/producer`.
#[repr(C)]
struct MessageGiven {
    body: Slice,
    attributes: Slice,
    delay_ms: MaybeNumber,
    group: MaybeSlice,
    deduplication_id: MaybeSlice,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct SendResult {
    failed: u8,
    payload: SendPayload,
}

#[repr(C)]
#[derive(Clone, Copy)]
union SendPayload {
    sent: Slice,
    error: ErrorLeft,
}

/// Of one message: its id, or what is wrong with it.
#[repr(C)]
#[derive(Clone, Copy)]
struct SentLeft {
    failed: u8,
    text: Slice,
}

/// Calls the host.
#[inline(never)]
pub(crate) fn send_messages(
    queue: &str,
    messages: &[NewMessage],
) -> Result<Vec<Result<String, String>>, ServiceError> {
    let pair = |(name, value): &(String, String)| [Slice::text(name), Slice::text(value)];
    let attributes: Vec<Vec<[Slice; 2]>> =
        messages.iter().map(|message| message.attributes.iter().map(pair).collect()).collect();
    let given = |(message, attributes): (&NewMessage, &Vec<[Slice; 2]>)| MessageGiven {
        body: Slice::list(&message.body),
        attributes: Slice::list(attributes),
        delay_ms: MaybeNumber::of(message.delay.map(milliseconds)),
        group: MaybeSlice::text(message.group.as_deref()),
        deduplication_id: MaybeSlice::text(message.deduplication_id.as_deref()),
    };
    let given: Vec<MessageGiven> = messages.iter().zip(&attributes).map(given).collect();
    let (queue, given) = (Slice::text(queue), Slice::list(&given));
    let mut result = MaybeUninit::<SendResult>::zeroed();
    // SAFETY: the host reads what lives until it returns, and writes the result, as the interface in `sdk/wit` says. All zeros are
    // a result, too.
    unsafe {
        import_send(queue.start(), queue.count(), given.start(), given.count(), result.as_mut_ptr());
        let SendResult { failed, payload } = result.assume_init();
        if failed != 0 {
            return Err(payload.error.take());
        }
        let sent: Vec<SentLeft> = payload.sent.take();
        let of_one = |SentLeft { failed, text }: SentLeft| match failed {
            0 => Ok(text.take_text()),
            _ => Err(text.take_text()),
        };
        Ok(sent.into_iter().map(of_one).collect())
    }
}

/// A `message` of `skiff:queues/consumer`.
#[repr(C)]
#[derive(Clone, Copy)]
struct MessageLeft {
    id: Slice,
    body: Slice,
    attributes: Slice,
    group: MaybeSlice,
    sent_at_ms: u64,
    receives: u32,
}

/// An `outcome` of `skiff:queues/consumer`: its case, and what belongs to it, which lies at the same place.
#[repr(C)]
struct OutcomeGiven {
    case: u8,
    payload: OutcomePayload,
}

#[repr(C)]
union OutcomePayload {
    retry: MaybeNumber,
    reject: Slice,
}

/// The list of outcomes, as the host reads it.
#[repr(C)]
pub struct Consumed {
    start: *mut OutcomeGiven,
    count: usize,
}

/// The case of an outcome that a message is rejected.
const REJECT: u8 = 2;

/// Has the component's consumer take messages; what it returns is given back by [`batch_consumed`].
///
/// # Safety
/// The host allocated a string and a list of messages there for this call.
pub unsafe fn consume_batch<B>(
    (queue, queue_bytes): (*mut u8, usize),
    (messages, message_count): (*mut u8, usize),
    consumer: impl Consumer<B>,
) -> *mut Consumed {
    super::private::run_ctors_once();
    crate::logging::install();
    // SAFETY: as this function's caller says; all that is in the list is taken once.
    let messages: Vec<Message> = unsafe {
        let queue = Slice::raw(queue, queue_bytes).take_text();
        let left: Vec<MessageLeft> = Slice::raw(messages, message_count).take();
        let pair = |[name, value]: [Slice; 2]| (name.take_text(), value.take_text());
        let message = |left: MessageLeft| Message {
            queue: queue.clone(),
            id: left.id.take_text(),
            body: left.body.take(),
            attributes: left.attributes.take().into_iter().map(pair).collect(),
            group: left.group.take_text(),
            sent_at_ms: left.sent_at_ms,
            receives: left.receives,
        };
        left.into_iter().map(message).collect()
    };
    let outcomes: Box<[OutcomeGiven]> = consume(messages, &consumer).into_iter().map(given).collect();
    let outcomes = Box::leak(outcomes);
    Box::into_raw(Box::new(Consumed { start: outcomes.as_mut_ptr(), count: outcomes.len() }))
}

fn given(outcome: Outcome) -> OutcomeGiven {
    let retry = |after_ms| OutcomePayload { retry: MaybeNumber::of(after_ms) };
    match outcome {
        Outcome::Done => OutcomeGiven { case: 0, payload: retry(None) },
        Outcome::Retry => OutcomeGiven { case: 1, payload: retry(None) },
        Outcome::RetryAfter(time) => OutcomeGiven { case: 1, payload: retry(Some(milliseconds(time))) },
        Outcome::Reject(why) => {
            let reject = Slice::text(Box::leak(why.into_boxed_str()));
            OutcomeGiven { case: REJECT, payload: OutcomePayload { reject } }
        }
    }
}

/// Gives back what [`consume_batch`] returned, once the host has read it.
///
/// # Safety
/// It is what that returned, and comes once.
pub unsafe fn batch_consumed(consumed: *mut Consumed) {
    // SAFETY: as this function's caller says; all of it was made by boxes.
    unsafe {
        let consumed = Box::from_raw(consumed);
        let outcomes = Box::from_raw(std::ptr::slice_from_raw_parts_mut(consumed.start, consumed.count));
        for outcome in outcomes.iter().filter(|outcome| outcome.case == REJECT) {
            let why = outcome.payload.reject;
            drop(Box::from_raw(std::ptr::slice_from_raw_parts_mut(why.start().cast_mut(), why.count())));
        }
    }
}

#[doc(hidden)]
#[macro_export]
macro_rules! __queue {
    ($consumer:ident) => {
        const _: () = {
            #[unsafe(export_name = "skiff:queues/consumer@0.1.0#consume")]
            unsafe extern "C" fn __skiff_consume(
                queue: *mut u8,
                queue_bytes: usize,
                messages: *mut u8,
                message_count: usize,
            ) -> *mut $crate::__private::Consumed {
                // SAFETY: the host calls it, with a string and a list that it allocated.
                unsafe {
                    $crate::__private::consume_batch(
                        (queue, queue_bytes),
                        (messages, message_count),
                        $consumer,
                    )
                }
            }

            #[unsafe(export_name = "cabi_post_skiff:queues/consumer@0.1.0#consume")]
            unsafe extern "C" fn __skiff_batch_consumed(consumed: *mut $crate::__private::Consumed) {
                // SAFETY: the host calls it once, with what it was returned.
                unsafe { $crate::__private::batch_consumed(consumed) }
            }

            #[unsafe(link_section = "component-type:skiff:queues@0.1.0:exports:encoded world")]
            static __SKIFF_QUEUE_WORLD: [u8; $crate::__private::QUEUE_WORLD.len()] =
                $crate::__private::QUEUE_WORLD;
        };
    };
}

//! What [`crate::events`] imports, and what `#[skiff_sdk::event]` exports: the worlds `imports` and `exports` of `skiff:events` in
//! `sdk/wit`, for both WASI generations.
//!
//! Written by hand as [`super::snapshot`] is, and for the same reason; a test holds the worlds' encodings against the contract.

#![allow(unsafe_code, reason = "a function of the host is a foreign one")]

use super::abi::{ErrorLeft, MaybeNumber, MaybeSlice, Slice};
use crate::events::{Handler, NewEvent};
use crate::service_error::ServiceError;
use std::mem::MaybeUninit;

/// The world of the import, as `wasm-component-ld` reads it from a section of the module. It has to be in one file with who calls
/// the import.
#[allow(dead_code, reason = "it is there for its section")]
#[unsafe(link_section = "component-type:skiff:events@0.1.0:imports:encoded world")]
static WORLD: [u8; include_bytes!("events-imports.world").len()] = *include_bytes!("events-imports.world");

/// The world of the export, for whoever exports it.
pub const EVENT_WORLD: [u8; include_bytes!("events-exports.world").len()] =
    *include_bytes!("events-exports.world");

#[link(wasm_import_module = "skiff:events/bus@0.1.0")]
unsafe extern "C" {
    #[link_name = "put"]
    fn import_put(
        bus: *const u8,
        bus_bytes: usize,
        events: *const u8,
        event_count: usize,
        result: *mut PutResult,
    );
}

/// An `event` of `skiff:events/bus`.
#[repr(C)]
struct EventGiven {
    id: MaybeSlice,
    source: Slice,
    detail_type: Slice,
    subject: MaybeSlice,
    time_ms: MaybeNumber,
    detail: Slice,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct PutResult {
    failed: u8,
    error: ErrorLeft,
}

/// Calls the host.
#[inline(never)]
pub(crate) fn put_events(bus: &str, events: &[NewEvent]) -> Result<(), ServiceError> {
    let given = |event: &NewEvent| EventGiven {
        id: MaybeSlice::text(event.id.as_deref()),
        source: Slice::text(&event.source),
        detail_type: Slice::text(&event.detail_type),
        subject: MaybeSlice::text(event.subject.as_deref()),
        time_ms: MaybeNumber::of(event.time_ms),
        detail: Slice::text(&event.detail),
    };
    let given: Vec<EventGiven> = events.iter().map(given).collect();
    let (bus, given) = (Slice::text(bus), Slice::list(&given));
    let mut result = MaybeUninit::<PutResult>::zeroed();
    // SAFETY: the host reads what lives until it returns, and writes the result, as the interface in `sdk/wit` says. All zeros are
    // a result, too.
    let result = unsafe {
        import_put(bus.start(), bus.count(), given.start(), given.count(), result.as_mut_ptr());
        result.assume_init()
    };
    match result.failed {
        0 => Ok(()),
        // SAFETY: the host left an error.
        _ => Err(unsafe { result.error.take() }),
    }
}

/// The result of `handle`, as the host reads it.
#[repr(C)]
pub struct Handled {
    failed: u8,
    start: *mut u8,
    bytes: usize,
}

/// Has the component's handler take an event; what it returns is given back by [`event_handled`].
///
/// # Safety
/// The host allocated a string there for this call.
pub unsafe fn handle_event<Arguments>(
    start: *mut u8,
    bytes: usize,
    handler: impl Handler<Arguments>,
) -> *mut Handled {
    super::private::run_ctors_once();
    crate::logging::install();
    // SAFETY: as this function's caller says.
    let event = unsafe { Slice::raw(start, bytes).take_text() };
    let handled = match handler.call(event) {
        Ok(()) => Handled { failed: 0, start: std::ptr::null_mut(), bytes: 0 },
        Err(why) => {
            let why = Box::leak(why.into_boxed_str());
            Handled { failed: 1, start: why.as_mut_ptr(), bytes: why.len() }
        }
    };
    Box::into_raw(Box::new(handled))
}

/// Gives back what [`handle_event`] returned, once the host has read it.
///
/// # Safety
/// It is what that returned, and comes once.
pub unsafe fn event_handled(handled: *mut Handled) {
    // SAFETY: as this function's caller says; both were made by boxes.
    unsafe {
        let handled = Box::from_raw(handled);
        if handled.failed != 0 {
            drop(Box::from_raw(std::ptr::slice_from_raw_parts_mut(handled.start, handled.bytes)));
        }
    }
}

#[doc(hidden)]
#[macro_export]
macro_rules! __event {
    ($handler:ident) => {
        const _: () = {
            #[unsafe(export_name = "skiff:events/handler@0.1.0#handle")]
            unsafe extern "C" fn __skiff_handle(
                start: *mut u8,
                bytes: usize,
            ) -> *mut $crate::__private::Handled {
                // SAFETY: the host calls it, with a string that it allocated.
                unsafe { $crate::__private::handle_event(start, bytes, $handler) }
            }

            #[unsafe(export_name = "cabi_post_skiff:events/handler@0.1.0#handle")]
            unsafe extern "C" fn __skiff_event_handled(handled: *mut $crate::__private::Handled) {
                // SAFETY: the host calls it once, with what it was returned.
                unsafe { $crate::__private::event_handled(handled) }
            }

            #[unsafe(link_section = "component-type:skiff:events@0.1.0:exports:encoded world")]
            static __SKIFF_EVENT_WORLD: [u8; $crate::__private::EVENT_WORLD.len()] =
                $crate::__private::EVENT_WORLD;
        };
    };
}

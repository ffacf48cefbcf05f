//! Where a guest leaves the head of its answer, and when it did.

use crate::failure::Failure;
use http::Response;
use skiff_kit::clock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use wasmtime_wasi_http::WasiBody;

/// What a guest answered.
pub(crate) enum Answer {
    Response(Response<WasiBody>),
    Failure(Failure),
}

/// A place for one answer. It is `Sync` only because WASI's callbacks have to be; one thread uses it.
#[derive(Default)]
pub(crate) struct Head {
    answer: Mutex<Option<Answer>>,
    ready_ns: AtomicU64,
    answered_ns: AtomicU64,
    waiter: Mutex<Option<Waker>>,
}

impl Head {
    /// The sandbox is made; its first instruction comes next.
    pub(crate) fn sandbox_is_ready(&self, at_ns: u64) {
        self.ready_ns.store(at_ns, Relaxed);
    }

    /// Leaves the answer. A second one replaces the first if nobody took that.
    pub(crate) fn set(&self, answer: Answer) {
        self.answered_ns.store(clock::monotonic_ns(), Relaxed);
        *self.lock() = Some(answer);
        if let Some(waiter) = self.waiter.lock().unwrap_or_else(PoisonError::into_inner).take() {
            waiter.wake();
        }
    }

    /// Has `waker` woken when the answer is there, where another task leaves it.
    pub(crate) fn wake_when_set(&self, waker: &Waker) {
        *self.waiter.lock().unwrap_or_else(PoisonError::into_inner) = Some(waker.clone());
    }

    pub(crate) fn is_set(&self) -> bool {
        self.lock().is_some()
    }

    pub(crate) fn take(&self) -> Option<Answer> {
        self.lock().take()
    }

    /// From the sandbox's first instruction to the answer, in nanoseconds.
    pub(crate) fn first_byte_ns(&self) -> u64 {
        self.answered_ns.load(Relaxed).saturating_sub(self.ready_ns.load(Relaxed))
    }

    fn lock(&self) -> MutexGuard<'_, Option<Answer>> {
        self.answer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

//! Why a guest ended before it should: from the engine's errors to a sentence for people.

use crate::account::Account;
use crate::admission::RETRY_AFTER_S;
use crate::pool::NoSlot;
use skiff_ports::invoke::InvokeError;
use wasmtime::component::ResourceTableError;
use wasmtime::{PoolConcurrencyLimitError, Trap};
use wasmtime_wasi::I32Exit;

/// How a guest failed.
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    pub(crate) kind: FailureKind,
    /// For people, the client included.
    pub(crate) message: String,
    /// For the task's log: the guest's stack.
    pub(crate) detail: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FailureKind {
    /// It broke a rule of WebAssembly, or a bound.
    Trapped,
    /// The task's memory limit refused it what it needed.
    OutOfMemory,
    /// It called `wasi:cli/exit`.
    Exited(i32),
    /// Its time was up.
    TimedOut { limit_ms: u64 },
    /// Its task was taken away.
    Stopped,
    /// The worker's pool had nothing left of what it needed, beyond what it was admitted for.
    NoRoom,
    /// It ended without an answer, or answered with an error code.
    NoAnswer,
}

impl Failure {
    pub(crate) fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), detail: None }
    }

    /// The task's limit has no room for what the host holds for the guest.
    pub(crate) fn out_of_memory(account: &Account) -> Self {
        account.row().out_of_memory.add(1);
        Self::new(FailureKind::OutOfMemory, account.out_of_memory())
    }

    pub(crate) fn timed_out(limit_ms: u64) -> Self {
        let message = InvokeError::TimedOut { limit_ms }.to_string();
        Self::new(FailureKind::TimedOut { limit_ms }, message)
    }

    pub(crate) fn stopped() -> Self {
        Self::new(FailureKind::Stopped, "the task was stopped")
    }

    pub(crate) fn no_answer() -> Self {
        Self::new(FailureKind::NoAnswer, "the guest ended without an answer")
    }

    pub(crate) fn broke_off(error: &wasmtime_wasi_http::Error) -> Self {
        Self::new(
            FailureKind::NoAnswer,
            format!(
                "the guest's answer broke off: its body was dropped, or is not what was promised ({error})"
            ),
        )
    }

    pub(crate) fn error_code(code: &impl std::fmt::Debug) -> Self {
        Self::new(FailureKind::NoAnswer, format!("the guest answered with an error: {code:?}"))
    }

    /// Reads an error that came out of a guest; `out_of_memory` says whether it had been refused memory.
    pub(crate) fn from_error(error: &wasmtime::Error, account: &Account, out_of_memory: bool) -> Self {
        if let Some(I32Exit(code)) = error.downcast_ref() {
            let message = format!("the guest exited with code {code} before it had answered");
            return Self::new(FailureKind::Exited(*code), message);
        }
        if error.is::<PoolConcurrencyLimitError>() || error.is::<NoSlot>() {
            return Self::new(
                FailureKind::NoRoom,
                format!("this worker has no room left for the guest: {error}"),
            );
        }
        let trap = error.downcast_ref::<Trap>();
        // Guests abort when an allocation fails; what they do in its wake may be an exception, but not this one.
        let detail = Some(format!("{error:?}"));
        if out_of_memory && trap.is_none_or(|trap| *trap != Trap::StackOverflow) {
            return Self { kind: FailureKind::OutOfMemory, message: account.out_of_memory(), detail };
        }
        Self { kind: FailureKind::Trapped, message: why_it_ended(error), detail }
    }

    pub(crate) fn into_invoke_error(self) -> InvokeError {
        match self.kind {
            FailureKind::TimedOut { limit_ms } => InvokeError::TimedOut { limit_ms },
            FailureKind::NoRoom => InvokeError::Busy { reason: self.message, retry_after_s: RETRY_AFTER_S },
            _ => InvokeError::Failed(self.message),
        }
    }
}

/// Why the engine ended a guest, as a sentence.
pub(crate) fn why_it_ended(error: &wasmtime::Error) -> String {
    match error.downcast_ref::<Trap>() {
        Some(Trap::UnreachableCodeReached) => {
            "the guest trapped: it reached an `unreachable` instruction (a panic or an abort; its log may say why)"
                .to_owned()
        }
        Some(Trap::StackOverflow) => {
            "the guest trapped: its call stack is exhausted (a recursion without end?)".to_owned()
        }
        Some(Trap::MemoryOutOfBounds) => {
            "the guest trapped: it reached beyond its memory (a wild pointer, or a recursion without end?)".to_owned()
        }
        Some(Trap::AsyncDeadlock) => "the guest trapped: it waits for what can never happen".to_owned(),
        Some(trap) => format!("the guest trapped: {}", trap.to_string().trim_start_matches("wasm trap: ")),
        None => match error.root_cause().downcast_ref() {
            Some(ResourceTableError::Full) => {
                "the guest was ended: it has as many handles as a sandbox may hold (requests, headers, streams, timers and \
                 the like); it should drop those that it is done with"
                    .to_owned()
            }
            _ => format!("the guest was ended: {}", error.root_cause()),
        },
    }
}

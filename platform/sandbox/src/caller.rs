//! Calls of guests to what their platform keeps, for the capabilities that have such interfaces: over a [`CallSink`].
//!
//! It deliberately knows no interface, and judges nothing. What always holds: a call is of the task whose guest makes it; call and
//! answer are the guest's memory, and what else is kept here is nobody's; and what was denied is said in the task's logs, with
//! what would allow it: once for each grant and minute, since a guest may be told no more than that it was.

use crate::capability::Guest;
use crate::heap::apart;
use futures::future::LocalBoxFuture;
use send_wrapper::SendWrapper;
use skiff_kit::{Lately, clock};
use skiff_ports::guest_calls::{CallSink, GuestAnswer, GuestCall, GuestCallError, TransferId};
use skiff_types::TaskId;
use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

/// What a call comes to.
type Answered = Result<GuestAnswer, GuestCallError>;

/// Where the guests of a worker ask. Cheap to clone; lives on one thread.
#[derive(Clone)]
pub struct Calls(SendWrapper<Rc<Inner>>);

struct Inner {
    sink: Rc<dyn CallSink>,
    /// Which denials the tasks were told of, by grant.
    denials: RefCell<Lately<TaskId>>,
}

impl Calls {
    /// Has guests ask `sink`.
    pub fn new(sink: Rc<dyn CallSink>) -> Self {
        Self(SendWrapper::new(Rc::new(Inner { sink, denials: RefCell::default() })))
    }

    /// For the sandbox of this guest.
    pub fn of(&self, guest: Guest) -> Caller {
        Caller { guest, calls: self.clone() }
    }

    /// A task has ended: what was remembered of it goes.
    pub fn ended(&self, task: TaskId) {
        self.0.denials.borrow_mut().forget(task);
    }

    fn note_denied(&self, guest: &Guest, (message, grant): (&str, &str)) {
        const NS_PER_MS: u64 = 1_000_000;
        let now_ms = clock::monotonic_ns() / NS_PER_MS;
        if apart(|| self.0.denials.borrow_mut().is_new(guest.task(), grant, now_ms)) {
            guest.remark(&format!("denied: {message}"));
        }
    }
}

/// With what one sandbox's capability asks. Cheap to clone.
#[derive(Clone)]
pub struct Caller {
    guest: Guest,
    calls: Calls,
}

impl Caller {
    /// Whose sandbox it is.
    pub fn guest(&self) -> &Guest {
        &self.guest
    }

    /// Asks, once it is polled, which is to be in the guest's polls.
    pub fn ask(&self, call: GuestCall) -> Asking {
        let asked = self.calls.0.sink.call(self.guest.task(), call);
        let Self { guest, calls } = self.clone();
        Asking(SendWrapper::new(Box::pin(async move {
            let answered = asked.await;
            if let Err(GuestCallError::Denied { message, grant }) = &answered {
                calls.note_denied(&guest, (message, grant));
            }
            answered
        })))
    }

    /// Ends what is read or written, before its end, and waits for nothing.
    pub fn stop(&self, transfer: TransferId) {
        apart(|| self.calls.0.sink.stop(self.guest.task(), transfer));
    }
}

/// An answer to come. Dropped, it is not waited for any more.
pub struct Asking(SendWrapper<LocalBoxFuture<'static, Answered>>);

impl Future for Asking {
    type Output = Answered;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Answered> {
        Pin::new(&mut *self.0).poll(cx)
    }
}

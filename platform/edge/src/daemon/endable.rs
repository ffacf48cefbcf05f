//! A connection that can be ended from this side, whoever has it.
//!
//! What always holds: who waits for bytes is woken when it is ended, and is told that it was aborted.

use skiff_ports::connect::Connection;
use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use tokio::io::{AsyncRead, ReadBuf};

/// Ends a connection.
#[derive(Default)]
pub(super) struct Switch {
    is_off: Cell<bool>,
    /// Whoever waits for bytes.
    waker: RefCell<Option<Waker>>,
}

impl Switch {
    pub(super) fn turn_off(&self) {
        self.is_off.set(true);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// A connection with its switch.
pub(super) struct Endable {
    socket: Box<dyn Connection>,
    switch: Rc<Switch>,
}

impl Endable {
    pub(super) fn new(socket: Box<dyn Connection>) -> (Self, Rc<Switch>) {
        let switch = Rc::new(Switch::default());
        (Self { socket, switch: switch.clone() }, switch)
    }
}

impl AsyncRead for Endable {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.switch.is_off.get() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        let polled = Pin::new(&mut self.socket).poll_read(context, into);
        if polled.is_pending() {
            let mut waker = self.switch.waker.borrow_mut();
            match waker.as_ref() {
                Some(known) if known.will_wake(context.waker()) => {}
                Some(_) | None => *waker = Some(context.waker().clone()),
            }
        }
        polled
    }
}

skiff_kit::write_through!([] Endable, socket);

//! An object that is read or written: it ends with who has it.

use skiff_ports::guest_calls::{GuestCall, TransferId};
use skiff_sandbox::{Asking, Caller};

/// What is read or written, by what it is called beyond the sink.
pub(crate) struct Transfer {
    caller: Caller,
    id: TransferId,
    /// Whether it has to be stopped.
    is_open: bool,
}

impl Transfer {
    /// For one that was begun.
    pub(crate) fn new(caller: &Caller, id: TransferId) -> Self {
        Self { caller: caller.clone(), id, is_open: true }
    }

    /// Asks something about it.
    pub(crate) fn ask(&self, call: impl FnOnce(TransferId) -> GuestCall) -> Asking {
        self.caller.ask(call(self.id))
    }

    /// It has ended by itself.
    pub(crate) fn has_ended(&mut self) {
        self.is_open = false;
    }
}

impl Drop for Transfer {
    fn drop(&mut self) {
        if self.is_open {
            self.caller.stop(self.id);
        }
    }
}

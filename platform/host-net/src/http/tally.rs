//! What is counted of a call between tasks: as a flow, and in the called task's row of the ledger as of a request from outside,
//! which the load balancer accounts for.
//!
//! A call accounts for itself when it is dropped, so that none is forgotten and none counted twice, whatever ends it.

use crate::http::upload::ReadBytes;
use crate::local::Local;
use http::StatusCode;
use skiff_kit::clock;
use skiff_ledger::{StatusClass, TaskSlot};
use skiff_net::CallFlow;

/// One call, from its start to the last byte of its answer.
pub(crate) struct Tally {
    flow: Local<CallFlow>,
    slot: TaskSlot,
    worker: usize,
    began_ns: u64,
    read: Option<ReadBytes>,
    status: Option<StatusCode>,
    sent_bytes: u64,
    was_seen: bool,
}

impl Tally {
    /// A call begins of the task that has this slot, in this worker. `read` says how much of its request's body is read.
    pub(crate) fn new(flow: CallFlow, slot: TaskSlot, worker: usize, read: Option<ReadBytes>) -> Self {
        Self {
            flow: Local::new(flow),
            slot,
            worker,
            began_ns: clock::monotonic_ns(),
            read,
            status: None,
            sent_bytes: 0,
            was_seen: true,
        }
    }

    /// The task is not here, and has not seen the call.
    pub(crate) fn was_not_seen(mut self) {
        self.was_seen = false;
    }

    /// It was answered, by the task or in its name.
    pub(crate) fn answered(&mut self, status: StatusCode) {
        self.status = Some(status);
    }

    /// Bytes of the answer's body were read.
    pub(crate) fn sent(&mut self, bytes: usize) {
        self.sent_bytes += bytes as u64;
        self.flow.get().received(bytes as u64);
    }

    /// The call as a flow, which may be cut.
    pub(crate) fn flow(&self) -> &CallFlow {
        self.flow.get()
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        if !self.was_seen {
            return;
        }
        let row = self.slot.row(self.worker);
        let received_bytes = self.read.as_ref().map_or(0, ReadBytes::get);
        self.flow.get().sent(received_bytes);
        row.received_bytes.add(received_bytes);
        row.sent_bytes.add(self.sent_bytes);
        if let Some(status) = self.status {
            row.responses[StatusClass::of(status.as_u16()) as usize].add(1);
            row.request_duration.record_ns(clock::monotonic_ns().saturating_sub(self.began_ns));
        }
    }
}

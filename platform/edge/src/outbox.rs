//! Answers that become ready close to each other leave together.
//!
//! A client that sleeps until its answer comes is woken for each one, which can cost as much as the answer itself. So
//! while a worker is busy, a small answer waits for those of the requests that are ready beside it: until the event loop
//! has gone through these, or another answer comes [`HOLD_NS_MAX`] later; what runs for long between two answers, a slice of
//! a guest at most, keeps it for that longer. A worker that is not busy sends at once.
//!
//! What always holds: what was put here is sent without anybody asking for it again.

use skiff_kit::clock::monotonic_ns;
use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// An answer that comes so long after the first that is held sends them all, in nanoseconds.
const HOLD_NS_MAX: u64 = 300_000;
/// A worker is busy while its answers are no farther apart than this, in nanoseconds.
const BUSY_NS_MAX: u64 = 200_000;

/// Something with bytes to send.
pub(crate) trait Sender {
    /// Sends what it can.
    fn send(&self);
}

/// The answers that one worker holds. Lives on one thread, in a `LocalSet`.
pub(crate) struct Outbox {
    busy_ns_max: u64,
    hold_ns_max: u64,
    held: RefCell<Vec<Rc<dyn Sender>>>,
    held_since_ns: Cell<u64>,
    last_answer_ns: Cell<u64>,
}

impl Default for Outbox {
    fn default() -> Self {
        Self::new(BUSY_NS_MAX, HOLD_NS_MAX)
    }
}

impl Outbox {
    /// One with other bounds than those above.
    pub(crate) fn new(busy_ns_max: u64, hold_ns_max: u64) -> Self {
        let (held, held_since_ns, last_answer_ns) = Default::default();
        Self { busy_ns_max, hold_ns_max, held, held_since_ns, last_answer_ns }
    }

    /// Notes that an answer is there; says whether it is to be held.
    pub(crate) fn holds_answer(&self) -> bool {
        let now_ns = monotonic_ns();
        let last_ns = self.last_answer_ns.replace(now_ns);
        now_ns.saturating_sub(last_ns) <= self.busy_ns_max
    }

    /// Holds what this has to send, for a moment.
    pub(crate) fn put(self: &Rc<Self>, sender: Rc<dyn Sender>) {
        let now_ns = self.last_answer_ns.get();
        self.held.borrow_mut().push(sender);
        if self.held.borrow().len() == 1 {
            self.held_since_ns.set(now_ns);
            let turn = Turn(self.clone());
            tokio::task::spawn_local(async move {
                tokio::task::yield_now().await;
                drop(turn);
            });
        } else if now_ns.saturating_sub(self.held_since_ns.get()) >= self.hold_ns_max {
            self.send_all();
        }
    }

    fn send_all(&self) {
        let held = self.held.take();
        held.iter().for_each(|sender| sender.send());
    }
}

/// A turn of the event loop; at its end, what is held is sent. It ends early where the loop itself does.
struct Turn(Rc<Outbox>);

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.send_all();
    }
}

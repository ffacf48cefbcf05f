//! HTTP calls within this worker, from one task to another, as flows.
//!
//! A call is a function call: it has no socket and no port of its own. All calls from one task to a port of another are
//! one flow at either interface, judged when it begins and whenever rules change, so that a call costs a look-up and a few
//! counters; it ends when there was no call for an interval. Its records say how many calls they stand for.
//!
//! What always holds: a call that begins is allowed by the rules of that moment; a cut ends every call of the flow, also
//! those that have not asked for it yet; how many flows are remembered is bounded, and beyond that a call is a flow of
//! its own.

use crate::error::NetError;
use crate::flow::{Ends, Flow, Remote, Reset};
use crate::interface::Interface;
use crate::network::Network;
use skiff_types::{Direction, TaskId, Transport};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::{Rc, Weak};
use tokio::sync::Notify;

/// One call. Whoever holds it counts what passes, and ends when it is cut; dropped, it is over.
pub struct CallFlow {
    pair: Rc<Pair>,
}

/// Who calls whom, and at which port.
type Between = (TaskId, TaskId, u16);

/// The flows of calls that are open.
#[derive(Default)]
pub(crate) struct Pairs(RefCell<HashMap<Between, Rc<Pair>>>);

/// Both sides' flow of the calls from one task to another.
struct Pair {
    caller: Rc<Flow>,
    callee: Rc<Flow>,
    cut: Rc<Cut>,
    calls: Cell<usize>,
    /// Whether there was a call since it was looked at last.
    was_called: Cell<bool>,
}

#[derive(Default)]
struct Cut {
    is_cut: Cell<bool>,
    notify: Notify,
}

impl Network {
    /// A call of a task in this worker to a port of another that is in this worker too.
    ///
    /// # Errors
    /// `Denied` with the rule that is missing; `Closed` if the caller's interface is; `Unreachable` if the other task is
    /// not here.
    pub fn call(&self, from: TaskId, to: TaskId, port: u16) -> Result<CallFlow, NetError> {
        let between = (from, to, port);
        let known = self.pairs().0.borrow().get(&between).cloned();
        let pair = match known.filter(|pair| !pair.is_over()) {
            Some(pair) => {
                pair.caller.open_again();
                pair.callee.open_again();
                pair
            }
            None => self.open_pair(between)?,
        };
        pair.calls.set(pair.calls.get() + 1);
        pair.was_called.set(true);
        Ok(CallFlow { pair })
    }

    /// Ends the flows on which there was no call since this was called last, and those that were cut.
    pub(crate) fn end_silent_calls(&self) {
        let is_silent = |pair: &Pair| pair.calls.get() == 0 && !pair.was_called.replace(false);
        self.end_pairs(|pair| is_silent(pair) || pair.is_over());
    }

    fn end_pairs(&self, is_to_end: impl Fn(&Pair) -> bool) {
        let ended: Vec<_> = self.pairs().0.borrow_mut().extract_if(|_, pair| is_to_end(pair)).collect();
        drop(ended);
    }

    fn open_pair(&self, between: Between) -> Result<Rc<Pair>, NetError> {
        let (from, to, port) = between;
        let from = self.interface(from).ok_or(NetError::Closed)?;
        let to = self.interface(to).ok_or(NetError::Unreachable)?;
        let (local, remote) = (from.address().v4.into(), to.address().v4.into());
        let (local, remote) = (SocketAddr::new(local, 0), SocketAddr::new(remote, port));
        let ends = |direction, local, remote, other: &Interface| Ends {
            direction,
            transport: Transport::Tcp,
            local,
            remote,
            who: Remote::Task(other.member().clone()),
        };
        let caller_ends = ends(Direction::Egress, local, remote, &to);
        from.check(&caller_ends)?;
        let cut = Rc::new(Cut::default());
        let target: Weak<Cut> = Rc::downgrade(&cut);
        let pair = Rc::new(Pair {
            caller: Flow::open(&from, caller_ends, target.clone()),
            callee: Flow::open(&to, ends(Direction::Ingress, remote, local, &from), target),
            cut,
            calls: Cell::new(0),
            was_called: Cell::new(false),
        });
        let is_full = || self.pairs().0.borrow().len() >= self.limits().call_pairs_max;
        if is_full() {
            self.end_pairs(|pair| pair.calls.get() == 0);
        }
        if !is_full() {
            let before = self.pairs().0.borrow_mut().insert(between, pair.clone());
            drop(before);
        }
        Ok(pair)
    }
}

impl CallFlow {
    /// Counts bytes from the caller to the callee.
    pub fn sent(&self, bytes: u64) {
        self.pair.caller.sent(bytes);
        self.pair.callee.received(bytes);
    }

    /// Counts bytes from the callee to the caller.
    pub fn received(&self, bytes: u64) {
        self.pair.callee.sent(bytes);
        self.pair.caller.received(bytes);
    }

    /// Whether it was cut: by a change of rules, or by the end of either task.
    pub fn is_cut(&self) -> bool {
        self.pair.cut.is_cut.get()
    }

    /// Ends when it is cut. May be waited for more than once, and longer than the call.
    pub fn cut(&self) -> impl Future<Output = ()> + use<> {
        let cut = self.pair.cut.clone();
        async move {
            loop {
                let news = cut.notify.notified();
                if cut.is_cut.get() {
                    return;
                }
                news.await;
            }
        }
    }
}

impl Drop for CallFlow {
    fn drop(&mut self) {
        self.pair.calls.set(self.pair.calls.get() - 1);
    }
}

impl std::fmt::Debug for CallFlow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "CallFlow({} to {})", self.pair.caller.local(), self.pair.caller.remote())
    }
}

impl Pair {
    fn is_over(&self) -> bool {
        self.cut.is_cut.get()
    }
}

impl Reset for Cut {
    fn reset(&self) {
        self.is_cut.set(true);
        self.notify.notify_waiters();
    }
}

//! Whose turn it is: guests that ran for a whole slice wait here, behind all that is ready to run.
//!
//! One of them gets the thread at a time, and between two of them everything else goes first: so a short request waits
//! for at most one slice of a long one, however many long ones there are. Among those that wait, tasks get the thread in
//! proportion to their CPU units (start-time fair queueing): each has a virtual time, which CPU time moves forward the
//! faster the fewer units the task has, and whose is lowest is next. CPU time that a task used while nobody was kept
//! waiting by it must not be held against it for long, so nobody starts more than a bounded time behind the others.

use crate::host::Host;
use crate::task::Task;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// What of the CPU time that a task used before it queues up is held against it, in nanoseconds: several slices, so that
/// those who take turns are told apart.
const DEBT_MAX_NS: u64 = 10_000_000;

thread_local! {
    static SLICE_IS_OVER: Cell<bool> = const { Cell::new(false) };
}

/// What a guest waits for in the middle of its code when the epoch clock says that its slice is over. It doesn't know
/// who runs the guest, and wakes nobody: [`slice_is_over`] tells that one.
#[derive(Default)]
pub(crate) struct Pause {
    began: bool,
}

impl Future for Pause {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        if std::mem::replace(&mut self.began, true) {
            return Poll::Ready(());
        }
        SLICE_IS_OVER.set(true);
        Poll::Pending
    }
}

/// Whether the guest that was just polled paused at the end of its slice.
pub(crate) fn slice_is_over() -> bool {
    SLICE_IS_OVER.take()
}

/// One guest's wait for its next slice.
#[derive(Default)]
pub(crate) struct Turn {
    has_come: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Turn {
    /// Whether it may go on; if not, `waker` is woken when it may.
    pub(crate) fn has_come(&self, waker: &Waker) -> bool {
        if !self.has_come.get() {
            let mut known = self.waker.borrow_mut();
            match known.as_mut() {
                Some(known) => known.clone_from(waker),
                None => *known = Some(waker.clone()),
            }
        }
        self.has_come.get()
    }

    fn give(&self) {
        self.has_come.set(true);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// A task's place among those that wait.
#[derive(Default)]
pub(crate) struct Place {
    virtual_ns: Cell<u64>,
    turns: RefCell<VecDeque<Rc<Turn>>>,
}

impl Place {
    /// Moves the task's virtual time forward by CPU time that it used.
    pub(crate) fn charge(&self, virtual_ns: u64) {
        self.virtual_ns.set(self.virtual_ns.get().saturating_add(virtual_ns));
    }
}

/// All guests of a worker that wait for their next slice.
#[derive(Default)]
pub(crate) struct Turns {
    /// Tasks that have any.
    tasks: RefCell<Vec<Rc<Task>>>,
    /// The virtual time of whoever was last given a turn; who comes from elsewhere starts there.
    now_ns: Cell<u64>,
    handing_out: Cell<bool>,
}

impl Turns {
    /// Queues up for a slice.
    pub(crate) fn wait(host: &Rc<Host>, task: &Rc<Task>) -> Rc<Turn> {
        let (turns, place) = (&host.turns, &task.place);
        let now_ns = turns.now_ns.get();
        let latest_ns = now_ns.saturating_add(task.virtual_ns(DEBT_MAX_NS));
        place.virtual_ns.set(place.virtual_ns.get().clamp(now_ns, latest_ns));
        let turn = Rc::new(Turn::default());
        let mut queue = place.turns.borrow_mut();
        if queue.is_empty() {
            turns.tasks.borrow_mut().push(task.clone());
        }
        queue.push_back(turn.clone());
        if !turns.handing_out.replace(true) {
            tokio::task::spawn_local(hand_out(host.clone()));
        }
        turn
    }

    /// The next turn of somebody who still waits for it.
    fn next(&self) -> Option<Rc<Turn>> {
        let mut tasks = self.tasks.borrow_mut();
        loop {
            let first = (0..tasks.len()).min_by_key(|&index| tasks[index].place.virtual_ns.get())?;
            let place = &tasks[first].place;
            let mut queue = place.turns.borrow_mut();
            let turn = queue.pop_front();
            self.now_ns.set(place.virtual_ns.get());
            let is_last = queue.is_empty();
            drop(queue);
            if is_last {
                tasks.swap_remove(first);
            }
            if let Some(turn) = turn
                && Rc::strong_count(&turn) > 1
            {
                return Some(turn);
            }
        }
    }
}

/// Gives out turns, one at a time, until nobody waits.
async fn hand_out(host: Rc<Host>) {
    loop {
        // Everything that is ready goes first, the connections that have something to read included.
        tokio::task::yield_now().await;
        match host.turns.next() {
            Some(turn) => turn.give(),
            None => break,
        }
    }
    host.turns.handing_out.set(false);
}

//! Whose turn it is: guests that ran for a whole slice wait here, behind all that is ready to run.
//!
//! One of them gets the thread at a time, and between two of them everything else goes first: so a short request waits
//! for at most one slice of a long one, however many long ones there are. A task of many guests that each stop just before
//! their slice is over gets no more: once they used a slice together and left others less than half of the time, they wait
//! here too, and share the task's turn. Among those that wait, tasks get the thread in
//! proportion to their CPU units (start-time fair queueing): each has a virtual time, which CPU time moves forward the
//! faster the fewer units the task has, and whose is lowest is next. CPU time that a task used while nobody was kept
//! waiting by it must not be held against it for long, so nobody starts more than a bounded time behind the others.

use crate::host::Host;
use crate::task::Task;
use skiff_kit::clock;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// What of the CPU time that a task used before it queues up is held against it, in nanoseconds: several slices, so that
/// those who take turns are told apart.
const DEBT_MAX_NS: u64 = 20_000_000;

/// CPU time that a task's guests may use between two of its turns in steps that end before their slice, in nanoseconds.
const SHORT_STEPS_MAX_NS: u64 = 2_000_000;

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
    /// CPU time of steps that ended before their slice, since the task's last turn.
    short_steps_ns: Cell<u64>,
    /// When that turn was.
    since_ns: Cell<u64>,
}

impl Place {
    /// Moves the task's virtual time forward by CPU time that it used.
    pub(crate) fn charge(&self, virtual_ns: u64) {
        self.virtual_ns.set(self.virtual_ns.get().saturating_add(virtual_ns));
    }

    /// Notes the CPU time of a step that ended before its slice.
    pub(crate) fn ran_short(&self, used_ns: u64) {
        self.short_steps_ns.set(self.short_steps_ns.get().saturating_add(used_ns));
    }

    /// Whether the task's guests kept others from the thread for so long that the next step must wait for a turn.
    pub(crate) fn must_wait(&self, now_ns: u64) -> bool {
        if self.has_time_left() {
            return false;
        }
        let left_half = now_ns.saturating_sub(self.since_ns.get()) >= 2 * self.short_steps_ns.get();
        if left_half {
            self.begin_turn(now_ns);
        }
        !left_half
    }

    fn has_time_left(&self) -> bool {
        self.short_steps_ns.get() < SHORT_STEPS_MAX_NS
    }

    fn begin_turn(&self, now_ns: u64) {
        self.short_steps_ns.set(0);
        self.since_ns.set(now_ns);
    }

    /// Comes to those that wait, of whom the last one was let go on at `now_ns`, with some of what it used before.
    fn join(&self, now_ns: u64, debt_max_ns: u64) {
        self.virtual_ns.set(self.virtual_ns.get().clamp(now_ns, now_ns.saturating_add(debt_max_ns)));
    }

    /// The first turn of somebody who still waits for it.
    fn next(&self) -> Option<Rc<Turn>> {
        let mut turns = self.turns.borrow_mut();
        std::iter::from_fn(|| turns.pop_front()).find(|turn| Rc::strong_count(turn) > 1)
    }

    fn is_empty(&self) -> bool {
        self.turns.borrow().is_empty()
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
        place.join(turns.now_ns.get(), task.virtual_ns(DEBT_MAX_NS));
        if place.is_empty() {
            turns.tasks.borrow_mut().push(task.clone());
        }
        let turn = Rc::new(Turn::default());
        place.turns.borrow_mut().push_back(turn.clone());
        if !turns.handing_out.replace(true) {
            tokio::task::spawn_local(hand_out(host.clone()));
        }
        turn
    }

    /// Lets the next of the task's guests go on in what is left of its turn.
    pub(crate) fn pass_on(&self, task: &Rc<Task>) {
        if !task.place.has_time_left() || task.place.is_empty() {
            return;
        }
        let turn = task.place.next();
        if task.place.is_empty() {
            self.tasks.borrow_mut().retain(|other| !Rc::ptr_eq(other, task));
        }
        if let Some(turn) = turn {
            turn.give();
        }
    }

    /// The next turn of somebody who still waits for it.
    fn next(&self) -> Option<Rc<Turn>> {
        let mut tasks = self.tasks.borrow_mut();
        loop {
            let first = (0..tasks.len()).min_by_key(|&index| tasks[index].place.virtual_ns.get())?;
            let place = &tasks[first].place;
            self.now_ns.set(place.virtual_ns.get());
            let turn = place.next();
            place.begin_turn(clock::monotonic_ns());
            if place.is_empty() {
                tasks.swap_remove(first);
            }
            if turn.is_some() {
                return turn;
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

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn what_was_used_before_counts_up_to_a_bound() {
        let place = Place::default();
        for (charged, now, expected) in [(3, 0, 3), (4, 0, 7), (1_000, 20, 30), (0, 100, 100)] {
            place.charge(charged);
            place.join(now, 10);
            assert_eq!(place.virtual_ns.get(), expected);
        }
    }

    #[test]
    fn many_short_steps_must_wait_like_a_long_one_unless_they_left_time() {
        let place = Place::default();
        place.begin_turn(100 * MS);
        place.ran_short(MS);
        assert!(!place.must_wait(101 * MS));
        place.ran_short(MS);
        assert!(place.must_wait(103 * MS), "three milliseconds passed, and it had two of them");
        assert!(!place.must_wait(104 * MS), "half of the time was left");
        place.ran_short(2 * MS);
        assert!(place.must_wait(106 * MS), "time that was left before is no credit");
        place.begin_turn(106 * MS);
        assert!(!place.must_wait(106 * MS));
    }
}

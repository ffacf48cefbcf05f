//! A running guest as a future: metered, throttled, bounded in time, and ended when it is dropped.
//!
//! Everything of a guest happens inside its polls: making the instance, its calls, giving the instance back. So the
//! thread's CPU time before and after each poll is what the guest is charged with, and a guest that has used up its
//! task's share is simply not polled for a while. The timer of its deadline lies out here too: a timer inside would not
//! be polled while the guest loops. And what the host allocates in a poll is held for that guest ([`crate::heap`]).

use crate::admission::Seat;
use crate::failure::Failure;
use crate::heap::HeapMeter;
use crate::host::Host;
use crate::task::Task;
use crate::turns::{Turn, Turns, slice_is_over};
use crate::without::Without;
use skiff_kit::clock;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, Sleep};

/// What a guest's future does: everything from making its store to dropping it.
pub(crate) type Guest<T> = Pin<Box<dyn Future<Output = Result<T, Failure>>>>;

/// A guest with its meter.
pub(crate) struct GuestRun<T> {
    guest: Option<Guest<T>>,
    host: Rc<Host>,
    task: Rc<Task>,
    deadline_ns: u64,
    throttled_since_ns: Option<u64>,
    timer: Option<Pin<Box<Sleep>>>,
    timer_ns: u64,
    sleeper: Option<u64>,
    /// How many slices of the step that goes on were over.
    slices_over: u32,
    /// Waited for since its slice was over, or those of the task's other guests were.
    turn: Option<Rc<Turn>>,
    heap: Rc<HeapMeter>,
    /// Given back when the guest has ended.
    seat: Option<Seat>,
}

/// A deadline that never comes.
pub(crate) const NEVER_NS: u64 = u64::MAX;

impl<T> GuestRun<T> {
    pub(crate) fn new(
        host: &Rc<Host>,
        task: &Rc<Task>,
        deadline_ns: u64,
        seat: Option<Seat>,
        heap: Rc<HeapMeter>,
        guest: Guest<T>,
    ) -> Self {
        Self {
            heap,
            guest: Some(guest),
            host: host.clone(),
            task: task.clone(),
            deadline_ns,
            throttled_since_ns: None,
            timer: None,
            timer_ns: 0,
            sleeper: None,
            slices_over: 0,
            turn: None,
            seat,
        }
    }

    /// Runs `step` on the guest and charges its task with the CPU time that it took and the memory that it left behind.
    fn metered<R>(&mut self, began_ns: u64, step: impl FnOnce(&mut Option<Guest<T>>) -> R) -> (R, After) {
        // What waits now is not this guest's.
        self.host.flush_logs();
        // Left also where a host call of the guest panics.
        let running = self.host.epoch.enter(self.slices_over);
        let result = self.heap.metered(|| step(&mut self.guest));
        self.heap.left(self.host.flush_logs());
        let fits = self.heap.claim_held();
        drop(running);
        let after = After { fits, slice_is_over: slice_is_over() };
        self.slices_over = if after.slice_is_over { self.slices_over.saturating_add(1) } else { 0 };
        if Without::get().cpu {
            return (result, after);
        }
        let ended_ns = clock::monotonic_ns();
        let used_ns = self.host.cpu_meter.used_ns(began_ns, ended_ns);
        self.task.charge_cpu(used_ns, ended_ns);
        if !after.slice_is_over {
            self.task.place.ran_short(used_ns);
        }
        (result, after)
    }

    fn end(&mut self) {
        if self.guest.is_some() {
            let ((), _) = self.metered(clock::monotonic_ns(), |guest| *guest = None);
        }
        self.seat = None;
        self.count_throttled(None);
        if let Some(key) = self.sleeper.take() {
            self.task.forget_sleeper(key);
        }
    }

    fn count_throttled(&mut self, now_ns: Option<u64>) {
        if let Some(since_ns) = self.throttled_since_ns.take() {
            let now_ns = now_ns.unwrap_or_else(clock::monotonic_ns);
            self.task.account.row().throttled_ns.add(now_ns.saturating_sub(since_ns));
        }
    }

    /// Has this future polled again when its turn has come, when its time is up, and when the task ends.
    fn wait_for_turn(&mut self, cx: &mut Context<'_>, now_ns: u64) {
        let turn = Turns::wait(&self.host, &self.task);
        turn.has_come(cx.waker());
        self.turn = Some(turn);
        let deadline_ns = self.deadline_ns;
        self.sleep_until(cx, now_ns, deadline_ns);
    }

    /// Has this future polled again at `at_ns`, and when the task ends.
    fn sleep_until(&mut self, cx: &mut Context<'_>, now_ns: u64, at_ns: u64) {
        self.sleeper = Some(self.task.sleep(self.sleeper, cx.waker()));
        if at_ns == NEVER_NS {
            return;
        }
        let at = Instant::now() + Duration::from_nanos(at_ns.saturating_sub(now_ns));
        match &mut self.timer {
            None => self.timer = Some(Box::pin(tokio::time::sleep_until(at))),
            Some(timer) if self.timer_ns != at_ns || timer.is_elapsed() => timer.as_mut().reset(at),
            Some(_) => {}
        }
        self.timer_ns = at_ns;
        if let Some(timer) = &mut self.timer
            && timer.as_mut().poll(cx).is_ready()
        {
            cx.waker().wake_by_ref();
        }
    }
}

/// What is known of a guest after a step.
struct After {
    /// Whether the task's memory limit has room for what the step left behind.
    fits: bool,
    /// Whether it stopped only because its slice was over.
    slice_is_over: bool,
}

impl<T> Future for GuestRun<T> {
    type Output = Result<T, Failure>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let now_ns = clock::monotonic_ns();
        if self.task.has_ended() {
            self.end();
            return Poll::Ready(Err(Failure::stopped()));
        }
        if now_ns >= self.deadline_ns {
            self.end();
            return Poll::Ready(Err(Failure::timed_out(self.task.account.spec.limits.timeout.ms())));
        }
        if self.turn.as_ref().is_some_and(|turn| !turn.has_come(cx.waker())) {
            let deadline_ns = self.deadline_ns;
            self.sleep_until(cx, now_ns, deadline_ns);
            return Poll::Pending;
        }
        let has_turn = self.turn.take().is_some();
        let wait_ns = self.task.account.cpu_wait_ns(now_ns);
        if wait_ns > 0 {
            self.throttled_since_ns.get_or_insert(now_ns);
            let at_ns = now_ns.saturating_add(wait_ns).min(self.deadline_ns);
            self.sleep_until(cx, now_ns, at_ns);
            return Poll::Pending;
        }
        self.count_throttled(Some(now_ns));
        if !has_turn && self.task.place.must_wait(now_ns) {
            self.wait_for_turn(cx, now_ns);
            return Poll::Pending;
        }

        let (poll, after) = self.metered(now_ns, |guest| match guest {
            Some(running) => {
                let poll = running.as_mut().poll(cx);
                if poll.is_ready() {
                    *guest = None;
                }
                poll
            }
            None => Poll::Pending,
        });
        match poll {
            Poll::Ready(_) => self.end(),
            Poll::Pending if !after.fits => {
                let failure = Failure::out_of_memory(&self.task.account);
                self.end();
                return Poll::Ready(Err(failure));
            }
            Poll::Pending if after.slice_is_over => self.wait_for_turn(cx, now_ns),
            Poll::Pending => {
                let deadline_ns = self.deadline_ns;
                self.sleep_until(cx, now_ns, deadline_ns);
            }
        }
        if has_turn && !after.slice_is_over {
            self.host.turns.pass_on(&self.task);
        }
        poll
    }
}

impl<T> Drop for GuestRun<T> {
    fn drop(&mut self) {
        self.end();
    }
}

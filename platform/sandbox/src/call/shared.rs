//! A sandbox of WASI 0.3 that serves several requests at once.
//!
//! One future runs all of them, in one store. Whoever hands a request in drives that future at once, so that a guest that
//! answers without waiting costs no switch between tasks; a task of the runtime drives it whenever something in it wakes.
//! A trap ends all of its requests: they share the instance that trapped.
//!
//! The engine can't end one call of several (wasmtime#11833). So a sandbox that somebody gave up on, by leaving or by a
//! timeout, takes no more requests, and is dropped, with whatever its guest still does, as soon as nobody waits for it.

use super::body::Link;
use super::{Answer, GuestRequest, Head, crossing, p3};
use crate::admission::{Blank, Seat};
use crate::code::Code;
use crate::failure::Failure;
use crate::heap::HeapMeter;
use crate::host::{CallGuard, Host};
use crate::live::Live;
use crate::room::Room;
use crate::run::{GuestRun, NEVER_NS};
use crate::task::Task;
use futures::stream::{FuturesUnordered, Stream};
use skiff_kit::clock;
use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::pin::{Pin, pin};
use std::rc::{Rc, Weak};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

/// How often the calls of a sandbox are looked through for those whose time is up.
const DEADLINE_CHECK: Duration = Duration::from_millis(100);

/// How often a guest that wakes itself is polled before others get their turn.
const POLLS_MAX: usize = 4;

/// Names one call of a sandbox.
pub(crate) type CallId = u64;

/// A sandbox and the requests that it works on.
pub(crate) struct Shared {
    host: Rc<Host>,
    task: Rc<Task>,
    pub(crate) heap: Rc<HeapMeter>,
    /// What it has a place in.
    room: Rc<Room>,
    /// `None` once it has ended.
    run: RefCell<Option<GuestRun<()>>>,
    inbox: Rc<Inbox>,
    nudge: Arc<Nudge>,
    calls: RefCell<HashMap<CallId, Call>>,
    taken: Cell<u32>,
    /// Takes no more requests.
    retired: Cell<bool>,
    idle_since_ns: Cell<u64>,
    failure: RefCell<Option<Failure>>,
}

/// One request that it works on, to the last byte of its answer; or to the guest's answer, if nobody waits for that.
struct Call {
    _seat: Seat,
    _guard: CallGuard,
    deadline_ns: u64,
    waiter: Option<Waker>,
    /// Whether the guest has answered, and the answer's body is on its way.
    answered: bool,
    /// Whether nobody waits for it any more.
    abandoned: bool,
    /// Where whoever reads the answer's body is told of a failure.
    link: Arc<Link>,
}

/// Requests on their way to the guest, and which of them it has answered.
#[derive(Default)]
struct Inbox {
    waiting: RefCell<VecDeque<(CallId, GuestRequest, Arc<Head>)>>,
    answered: RefCell<Vec<CallId>>,
    closed: Cell<bool>,
}

/// How a call ended, as far as its reader is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// The answer was taken to its end.
    Whole,
    /// The reader left before, or gave up.
    Abandoned,
}

/// What wakes the task that drives a sandbox; and the calls that ended since it looked.
///
/// Most of what a guest waits for, it brings about itself: then it is polled again on the spot, and nobody is woken.
#[derive(Default)]
pub(crate) struct Nudge {
    driven: AtomicU8,
    keeper: Mutex<Option<Waker>>,
    ended: Mutex<Vec<(CallId, End)>>,
}

/// [`Nudge::driven`]: nobody polls the guest.
const AT_REST: u8 = 0;
/// Somebody does.
const DRIVEN: u8 = 1;
/// And is to do so once more.
const DRIVEN_AGAIN: u8 = 2;

impl Nudge {
    fn driving_begins(&self) {
        self.driven.store(DRIVEN, Ordering::Relaxed);
    }

    /// Whether the guest was woken meanwhile.
    fn driving_ends(&self) -> bool {
        self.driven.swap(AT_REST, Ordering::AcqRel) == DRIVEN_AGAIN
    }
}

impl Wake for Nudge {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let noted = self.driven.fetch_update(Ordering::AcqRel, Ordering::Acquire, |driven| {
            (driven != AT_REST).then_some(DRIVEN_AGAIN)
        });
        if noted.is_err()
            && let Some(keeper) = &*lock(&self.keeper)
        {
            keeper.wake_by_ref();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Held by whoever waits for a call's answer; dropped before its end, it abandons the call.
pub(crate) struct CallCord {
    id: CallId,
    /// `None` once the call has ended.
    nudge: Option<Arc<Nudge>>,
}

impl CallCord {
    /// The answer was taken to its end.
    pub(crate) fn finish(mut self) {
        self.end(End::Whole);
    }

    fn end(&mut self, end: End) {
        if let Some(nudge) = self.nudge.take() {
            lock(&nudge.ended).push((self.id, end));
            nudge.wake_by_ref();
        }
    }
}

impl Drop for CallCord {
    fn drop(&mut self) {
        self.end(End::Abandoned);
    }
}

impl Shared {
    /// Starts a sandbox that takes requests as soon as it is made.
    pub(crate) fn start(host: &Rc<Host>, task: &Rc<Task>, code: Rc<Code>, blank: Blank) -> Rc<Self> {
        let (inbox, heap) = (Rc::<Inbox>::default(), HeapMeter::new(&task.account));
        let room = code.room.clone();
        let guest = serve(host.clone(), task.clone(), code, blank, heap.clone(), inbox.clone());
        let run = GuestRun::new(host, task, NEVER_NS, None, heap.clone(), Box::pin(guest));
        let shared = Rc::new(Self {
            host: host.clone(),
            task: task.clone(),
            heap,
            room,
            run: RefCell::new(Some(run)),
            inbox,
            nudge: Arc::default(),
            calls: RefCell::default(),
            taken: Cell::new(0),
            retired: Cell::new(false),
            idle_since_ns: Cell::new(clock::monotonic_ns()),
            failure: RefCell::default(),
        });
        tokio::task::spawn_local(keep(Rc::downgrade(&shared), shared.nudge.clone()));
        shared
    }

    /// Whether it can take one more request; while other tasks wait for its room it ends what it has, or they would wait
    /// for as long as requests come.
    pub(crate) fn has_room(&self) -> bool {
        self.settle();
        let reuse = self.task.account.spec.limits.reuse;
        !self.retired.get()
            && !self.room.is_wanted_by_others(&self.task)
            && self.taken.get() < reuse.requests
            && self.calls.borrow().len() < reuse.concurrent as usize
    }

    /// Hands a request in, and lets the guest work on it at once.
    pub(crate) fn take(
        &self,
        seat: Seat,
        guard: CallGuard,
        deadline_ns: u64,
        link: Arc<Link>,
        (request, head): (GuestRequest, Arc<Head>),
    ) -> CallCord {
        let id = CallId::from(self.taken.get());
        self.taken.set(self.taken.get() + 1);
        let call = Call {
            _seat: seat,
            _guard: guard,
            deadline_ns,
            waiter: None,
            answered: false,
            abandoned: false,
            link,
        };
        self.calls.borrow_mut().insert(id, call);
        self.inbox.waiting.borrow_mut().push_back((id, request, head));
        self.drive();
        CallCord { id, nudge: Some(self.nudge.clone()) }
    }

    /// Ends a call whose answer is whole, at once.
    pub(crate) fn end_call(&self, mut cord: CallCord) {
        cord.nudge = None;
        self.end(cord.id, End::Whole);
    }

    /// The answer, or why there is none; `waker` is woken when that changes.
    pub(crate) fn poll_answer(
        &self,
        cord: &CallCord,
        head: &Head,
        waker: &Waker,
    ) -> Poll<Result<Answer, Failure>> {
        if let Some(answer) = head.take() {
            return Poll::Ready(Ok(answer));
        }
        if let Some(failure) = self.failure() {
            return Poll::Ready(Err(failure));
        }
        if let Some(call) = self.calls.borrow_mut().get_mut(&cord.id) {
            call.waiter = Some(waker.clone());
        }
        head.wake_when_set(waker);
        Poll::Pending
    }

    /// Why it ended, if it has.
    pub(crate) fn failure(&self) -> Option<Failure> {
        let ended = self.run.try_borrow().is_ok_and(|run| run.is_none());
        ended.then(|| self.failure.borrow().clone().unwrap_or_else(Failure::no_answer))
    }

    /// Since when it has had nothing to do; `None` if it has.
    pub(crate) fn idle_since_ns(&self) -> Option<u64> {
        self.calls.borrow().is_empty().then(|| self.idle_since_ns.get())
    }

    /// Polls the guest, as the keeper would, until it waits for something else than itself.
    pub(crate) fn drive(&self) {
        for _ in 0..POLLS_MAX {
            self.settle();
            let Ok(mut running) = self.run.try_borrow_mut() else { return };
            let Some(run) = running.as_mut() else { return };
            let waker = Waker::from(self.nudge.clone());
            self.nudge.driving_begins();
            let polled = pin!(run).poll(&mut Context::from_waker(&waker));
            let again = self.nudge.driving_ends();
            if let Poll::Ready(result) = polled {
                *running = None;
                drop(running);
                return self.ended(result.err());
            }
            drop(running);
            if !again {
                return self.settle();
            }
        }
        self.nudge.wake_by_ref();
    }

    /// Whether it has ended, or is to end and has nothing to do any more.
    pub(crate) fn is_over(&self) -> bool {
        self.run.try_borrow().is_ok_and(|run| run.is_none())
            || self.retired.get() && self.calls.borrow().is_empty()
    }

    /// Ends the calls whose time is up while their answer's body is read; the others' callers see to that themselves.
    fn cut_what_is_overdue(&self) {
        let now_ns = clock::monotonic_ns();
        let failure = Failure::timed_out(self.task.account.spec.limits.timeout.ms());
        let overdue: Vec<CallId> = {
            let calls = self.calls.borrow();
            let over = calls.iter().filter(|(_, call)| call.answered && now_ns >= call.deadline_ns);
            over.inspect(|(_, call)| call.link.fail(&failure.message)).map(|(id, _)| *id).collect()
        };
        for id in overdue {
            self.host.report(&self.task.account, &failure);
            self.end(id, End::Abandoned);
        }
    }

    /// Notes what the guest has answered, and ends the calls that ended.
    fn settle(&self) {
        for id in self.inbox.answered.take() {
            let mut calls = self.calls.borrow_mut();
            let is_over = calls.get_mut(&id).is_some_and(|call| {
                call.answered = true;
                call.abandoned
            });
            let over = is_over.then(|| calls.remove(&id));
            drop(calls);
            // Its seat wakes who waits for one.
            drop(over);
        }
        let ended = std::mem::take(&mut *lock(&self.nudge.ended));
        ended.into_iter().for_each(|(id, end)| self.end(id, end));
    }

    /// Ends a call for its reader. One that was abandoned before its answer keeps its seat until the guest answers.
    fn end(&self, id: CallId, end: End) {
        let mut calls = self.calls.borrow_mut();
        let stays = calls.get_mut(&id).is_some_and(|call| {
            call.abandoned = end == End::Abandoned;
            call.abandoned && !call.answered
        });
        let over = (!stays).then(|| calls.remove(&id));
        let is_last = calls.values().all(|call| call.abandoned);
        drop(calls);
        // Its seat wakes who waits for one.
        drop(over);
        if end == End::Abandoned {
            self.retired.set(true);
        }
        if is_last {
            self.nobody_waits();
        }
    }

    /// Gives the sandbox back, unless it is kept for requests to come. Like one that serves a request at a time, it is not
    /// kept while other tasks wait for its room.
    fn nobody_waits(&self) {
        self.idle_since_ns.set(clock::monotonic_ns());
        let has_served_all = self.taken.get() >= self.task.account.spec.limits.reuse.requests;
        if self.retired.get() || has_served_all || self.room.is_wanted_by_others(&self.task) {
            self.inbox.closed.set(true);
            self.retired.set(true);
            let run = self.run.try_borrow_mut().map(|mut run| run.take());
            drop(run);
            let abandoned = self.calls.take();
            drop(abandoned);
        }
    }

    fn ended(&self, failure: Option<Failure>) {
        self.retired.set(true);
        if let Some(failure) = &failure {
            self.host.report(&self.task.account, failure);
        }
        if let Some(failure) = &failure {
            self.calls.borrow().values().for_each(|call| call.link.fail(&failure.message));
        }
        *self.failure.borrow_mut() = failure;
        let waiters =
            self.calls.borrow_mut().values_mut().filter_map(|call| call.waiter.take()).collect::<Vec<_>>();
        waiters.into_iter().for_each(Waker::wake);
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let stopped = Failure::stopped().message;
        self.calls.borrow().values().for_each(|call| call.link.fail(&stopped));
    }
}

/// Drives a sandbox whenever something in it wakes, until it has ended.
async fn keep(shared: Weak<Shared>, nudge: Arc<Nudge>) {
    let mut check = pin!(tokio::time::sleep(DEADLINE_CHECK));
    std::future::poll_fn(|cx| {
        *lock(&nudge.keeper) = Some(cx.waker().clone());
        let Some(shared) = shared.upgrade() else { return Poll::Ready(()) };
        while check.as_mut().poll(cx).is_ready() {
            shared.cut_what_is_overdue();
            check.as_mut().reset(tokio::time::Instant::now() + DEADLINE_CHECK);
        }
        shared.drive();
        let ended = shared.run.borrow().is_none();
        if ended { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

/// The guest's part: a sandbox is made, and takes what is in the inbox until that is closed.
async fn serve(
    host: Rc<Host>,
    task: Rc<Task>,
    code: Rc<Code>,
    blank: Blank,
    heap: Rc<HeapMeter>,
    inbox: Rc<Inbox>,
) -> Result<(), Failure> {
    let mut live = Live::make(&host, &task, &code, blank, heap).await?;
    let Some(service) = live.instance.service() else {
        return Err(Failure::no_answer());
    };
    let result = live.store.run_concurrent(async |accessor| {
        let mut calls = FuturesUnordered::new();
        std::future::poll_fn(|cx| {
            let arrived = std::mem::take(&mut *inbox.waiting.borrow_mut());
            for (id, request, head) in arrived {
                let request = crossing::taken_in(request);
                head.sandbox_is_ready(clock::monotonic_ns());
                calls.push(async move {
                    p3::answer(accessor, service, request, head).await?;
                    wasmtime::Result::Ok(id)
                });
            }
            loop {
                match Pin::new(&mut calls).poll_next(cx) {
                    Poll::Ready(Some(Ok(id))) => inbox.answered.borrow_mut().push(id),
                    Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(error)),
                    Poll::Ready(None) if inbox.closed.get() => return Poll::Ready(Ok(())),
                    Poll::Ready(None) | Poll::Pending => return Poll::Pending,
                }
            }
        })
        .await
    });
    let result: wasmtime::Result<()> = result.await.flatten();
    result.map_err(|error| live.failure(&error, &task))
}

//! The epoch clock: one helper thread that says when a guest's slice is over, and sleeps while no guest runs.
//!
//! Epochs only make a guest give up the thread; what it is charged is CPU time, measured elsewhere. The epoch moves only
//! when one and the same step of a guest has lasted from one tick to the next: short requests never notice it.

mod pace;

use pace::{Pace, TICK};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering, fence};
use std::thread::JoinHandle;
use std::time::Duration;
use wasmtime::Engine;

/// Of the clock's own thread: the shortest that the kernel gives.
const TIME_SLICE: Duration = Duration::from_micros(100);
/// How long no guest runs before the thread parks.
const IDLE_MAX: Duration = TICK.saturating_mul(20);

/// The clock of a worker's engines; its thread ends when it is dropped.
pub(crate) struct EpochClock {
    slices: Arc<Slices>,
    thread: Option<JoinHandle<()>>,
}

/// What the worker's thread and the clock's tell each other.
#[derive(Default)]
pub(crate) struct Slices {
    /// How often a guest was entered or left: odd while one runs. Written by the worker's one thread.
    crossings: AtomicU64,
    /// How many slices of the same step of the guest that runs were over before. Written with each entry, and only the pace of the
    /// ticks goes by it: one that belongs to another crossing does no harm.
    slices_before: AtomicU32,
    /// The crossing whose guest's slice is over.
    over: AtomicU64,
    parked: AtomicBool,
    stop: AtomicBool,
}

impl Slices {
    /// Whether the guest that runs has had its slice: another one may have met the epoch that was meant for it.
    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed) == self.crossings.load(Ordering::Relaxed)
    }
}

impl EpochClock {
    /// Starts the clock of the guests that the calling thread will run.
    pub(crate) fn start(engines: Vec<Engine>) -> std::io::Result<Self> {
        let slices = Arc::new(Slices::default());
        let ours = slices.clone();
        let worker = ThreadCpu::of_this_thread()?;
        let thread = std::thread::Builder::new()
            .name("skiff-epoch".to_owned())
            .spawn(move || run(&engines, &ours, &worker))?;
        Ok(Self { slices, thread: Some(thread) })
    }

    /// What tells a guest that its slice is over.
    pub(crate) fn slices(&self) -> &Arc<Slices> {
        &self.slices
    }

    /// A guest runs from now on, for as long as what is returned is kept; so many slices of its step were over before.
    #[must_use]
    pub(crate) fn enter(&self, slices_before: u32) -> Running<'_> {
        self.slices.slices_before.store(slices_before, Ordering::Relaxed);
        self.cross();
        // The thread parks first and looks for a running guest after; so one of the two sees the other.
        fence(Ordering::SeqCst);
        if self.slices.parked.load(Ordering::Relaxed) {
            self.wake();
        }
        Running(self)
    }

    fn cross(&self) {
        let crossings = self.slices.crossings.load(Ordering::Relaxed);
        self.slices.crossings.store(crossings.wrapping_add(1), Ordering::Relaxed);
    }

    #[cold]
    fn wake(&self) {
        self.slices.parked.store(false, Ordering::SeqCst);
        if let Some(thread) = &self.thread {
            thread.thread().unpark();
        }
    }
}

/// A guest that runs. Dropped, also by a panic in it, it does no longer.
pub(crate) struct Running<'a>(&'a EpochClock);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.cross();
    }
}

impl Drop for EpochClock {
    fn drop(&mut self) {
        self.slices.stop.store(true, Ordering::SeqCst);
        self.wake();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn run(engines: &[Engine], slices: &Slices, worker: &ThreadCpu) {
    wake_promptly();
    let mut pace = Pace::default();
    let (mut seen, mut seen_cpu, mut idle) = (0, Duration::ZERO, Duration::ZERO);
    while !slices.stop.load(Ordering::SeqCst) {
        let tick = pace.tick();
        std::thread::sleep(tick);
        let crossings = slices.crossings.load(Ordering::SeqCst);
        let guest_runs = crossings % 2 == 1;
        let nothing_moved = crossings == seen;
        seen = crossings;
        if guest_runs {
            // Where nothing moved, the same guest ran when the last tick began, so its beginning was read too.
            let cpu = worker.used();
            let used = cpu.saturating_sub(std::mem::replace(&mut seen_cpu, cpu));
            if nothing_moved {
                slices.over.store(crossings, Ordering::SeqCst);
                engines.iter().for_each(Engine::increment_epoch);
                pace.slice_is_over(crossings, slices.slices_before.load(Ordering::Relaxed), used);
            }
        }
        // Last: whose slice is over is judged by the tick that it had.
        pace.passed();
        idle = if nothing_moved && !guest_runs { idle + tick } else { Duration::ZERO };
        if idle >= IDLE_MAX {
            idle = Duration::ZERO;
            park(slices, seen);
        }
    }
}

/// Sleeps until a guest runs again, unless one has since `seen` was.
fn park(slices: &Slices, seen: u64) {
    slices.parked.store(true, Ordering::SeqCst);
    fence(Ordering::SeqCst);
    if slices.crossings.load(Ordering::SeqCst) != seen {
        slices.parked.store(false, Ordering::SeqCst);
    }
    while slices.parked.load(Ordering::SeqCst) && !slices.stop.load(Ordering::SeqCst) {
        std::thread::park();
    }
}

/// The CPU time of a thread, for others to read.
struct ThreadCpu(libc::clockid_t);

impl ThreadCpu {
    fn of_this_thread() -> std::io::Result<Self> {
        let mut clock = 0;
        // SAFETY: the calling thread is alive, and the id is written to an integer of our own.
        match unsafe { libc::pthread_getcpuclockid(libc::pthread_self(), &raw mut clock) } {
            0 => Ok(Self(clock)),
            error => Err(std::io::Error::from_raw_os_error(error)),
        }
    }

    /// Nothing once the thread is gone: the kernel knows no such clock then. A system call, so asked only while a guest runs.
    fn used(&self) -> Duration {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: the kernel writes one `timespec`, which is ours, or refuses.
        unsafe { libc::clock_gettime(self.0, &raw mut time) };
        Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
    }
}

/// Asks the kernel for a short time slice for this thread (sched_setattr(2), since Linux 6.12): whoever runs then makes way for
/// it as soon as it wakes. Else a guest on the same core goes on to the end of its own time slice, some milliseconds.
/// A kernel that knows nothing of it leaves everything as it is.
fn wake_promptly() {
    let attributes = libc::sched_attr {
        size: size_of::<libc::sched_attr>() as u32,
        sched_policy: libc::SCHED_OTHER as u32,
        sched_flags: 0,
        sched_nice: 0,
        sched_priority: 0,
        sched_runtime: TIME_SLICE.as_nanos() as u64,
        sched_deadline: 0,
        sched_period: 0,
    };
    // SAFETY: the kernel reads as many bytes as `size` says, which are all there; 0 is the calling thread, and no flags.
    let failed = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) } != 0;
    if failed {
        tracing::debug!(error = %std::io::Error::last_os_error(), "the epoch clock gets no short time slice");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    fn until(what: &str, condition: impl Fn() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !condition() {
            assert!(Instant::now() < deadline, "{what}");
            std::thread::yield_now();
        }
    }

    #[test]
    fn it_parks_when_no_guest_runs_and_wakes_when_one_does() {
        let clock = EpochClock::start(vec![Engine::default()]).unwrap();
        until("never parked", || clock.slices.parked.load(Ordering::SeqCst));
        let running = clock.enter(0);
        assert!(!clock.slices.parked.load(Ordering::SeqCst));
        let parked_while_running = Instant::now() + 2 * IDLE_MAX;
        while Instant::now() < parked_while_running {
            assert!(!clock.slices.parked.load(Ordering::SeqCst), "parked although a guest runs");
        }
        drop(running);
        until("never parked again", || clock.slices.parked.load(Ordering::SeqCst));
    }

    #[test]
    fn a_guest_that_panics_runs_no_longer() {
        let clock = EpochClock::start(vec![Engine::default()]).unwrap();
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _running = clock.enter(0);
            if clock.slices.crossings.load(Ordering::SeqCst) % 2 == 1 {
                panic!("as a host call may");
            }
        }));
        assert!(panicked.is_err());
        assert_eq!(clock.slices.crossings.load(Ordering::SeqCst) % 2, 0);
        until("never parked", || clock.slices.parked.load(Ordering::SeqCst));
    }
}

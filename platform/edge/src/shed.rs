//! Load shedding: a worker that can't keep up refuses a share of the requests, early, evenly and for little, so that what it
//! lets in stays fast.
//!
//! What it looks at is how long something that is ready waits for this worker: a probe is put behind all that is ready, and
//! notes how long that took. Probes come with requests, one in [`PROBE_INTERVAL_NS`] at most, so a worker that is asked
//! nothing has none, and no timer. What follows from the waits is [`skiff_plan::shed`]'s.
//!
//! It deliberately does not look at how long a guest waits for its turn on the CPU (`sandbox::turns`). Guests run in slices
//! between what is ready, so a probe waits for those that a newcomer would wait for too. How much longer a task's own guests
//! wait is that task's doing: its concurrency and its queue bound it, and nobody else's requests are to be refused for it.

use crate::chance::Chance;
use skiff_kit::clock::monotonic_ns;
use skiff_plan::shed::Shedding;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

/// Least time between two probes, in nanoseconds.
const PROBE_INTERVAL_NS: u64 = 5_000_000;
/// Probes on their way at once.
const PROBES_MAX: usize = 64;

/// What decides whether a worker takes one more request. Lives on one thread, in a `LocalSet`.
#[derive(Debug)]
pub(crate) struct Shed {
    shedding: RefCell<Shedding>,
    /// When the last probe began.
    probed_ns: Cell<u64>,
    /// Probes that are on their way.
    probes: Cell<usize>,
}

impl Shed {
    /// One that nothing waits for yet; up to `target` may be waited.
    pub(crate) fn new(target: Duration) -> Self {
        let target_ns = u64::try_from(target.as_nanos()).unwrap_or(u64::MAX);
        Self {
            shedding: RefCell::new(Shedding::new(target_ns)),
            probed_ns: Cell::new(0),
            probes: Cell::new(0),
        }
    }

    /// Whether a request that comes now is let in.
    pub(crate) fn admits(self: &Rc<Self>, chance: &Chance) -> bool {
        let now_ns = monotonic_ns();
        self.probe(now_ns);
        !self.shedding.borrow().refuses(now_ns, chance.number())
    }

    /// Whether any requests are refused at present.
    pub(crate) fn refuses_some(&self) -> bool {
        self.shedding.borrow().share(monotonic_ns()) > 0.0
    }

    fn probe(self: &Rc<Self>, now_ns: u64) {
        let is_early = now_ns.saturating_sub(self.probed_ns.get()) < PROBE_INTERVAL_NS;
        if is_early || self.probes.get() >= PROBES_MAX {
            return;
        }
        self.probed_ns.set(now_ns);
        self.probes.set(self.probes.get() + 1);
        let shed = self.clone();
        // Behind all that is ready.
        tokio::task::spawn_local(async move {
            shed.probes.set(shed.probes.get() - 1);
            let polled_ns = monotonic_ns();
            shed.shedding.borrow_mut().waited(polled_ns, polled_ns.saturating_sub(now_ns));
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::task::LocalSet;

    /// Takes the thread for so long.
    fn work(time: Duration) {
        let end_ns = monotonic_ns() + time.as_nanos() as u64;
        while monotonic_ns() < end_ns {
            std::hint::spin_loop();
        }
    }

    /// How many of the requests were let in that come one after another, each with so much work ready before it, and as
    /// often as it takes for `enough` of them to be over.
    fn admitted(
        target: Duration,
        work_each: Duration,
        enough: impl Fn(usize, usize) -> bool,
    ) -> (usize, usize) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        LocalSet::new().block_on(&runtime, async {
            let (shed, chance) = (Rc::new(Shed::new(target)), Chance::new(7));
            let (mut let_in, mut refused) = (0, 0);
            while !enough(let_in, refused) {
                // What is ready is behind the request, and before its probe.
                tokio::task::spawn_local(async move { work(work_each) });
                match shed.admits(&chance) {
                    true => let_in += 1,
                    false => refused += 1,
                }
                tokio::task::yield_now().await;
            }
            (let_in, refused)
        })
    }

    #[test]
    fn where_all_waits_are_long_some_are_refused_and_some_let_in() {
        let both = |let_in: usize, refused: usize| let_in > 0 && refused >= 10;
        let (let_in, refused) = admitted(Duration::from_millis(1), Duration::from_millis(6), both);
        assert!(let_in > 0 && refused == 10, "{let_in} let in, {refused} refused");
    }

    #[test]
    fn who_has_little_to_do_lets_all_in() {
        let many = |let_in: usize, refused: usize| let_in + refused == 10_000;
        let (let_in, _) = admitted(Duration::from_secs(5), Duration::from_micros(1), many);
        assert_eq!(let_in, 10_000);
    }
}

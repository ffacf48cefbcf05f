//! How long the next tick of the epoch clock is.
//!
//! A short tick costs a busy core a tenth of its time and more, and serves nobody where each guest is done within a slice,
//! or where one guest has the thread to itself. So ticks are short only while guests that use up their slices share the
//! thread with others, whose requests else wait for a slice of theirs.
//!
//! It deliberately does not know who the guests are: it goes by how often guests were entered and left. What always holds: a step
//! that long ticks would not cut short doesn't keep ticks short.

use std::time::Duration;

/// Usually: a guest runs for this long at least, and for less than twice as long, before others get the thread.
pub(super) const TICK: Duration = Duration::from_millis(1);
/// While a guest that used up its slice keeps others waiting.
const TICK_SHARED: Duration = Duration::from_micros(250);
/// For how long ticks stay short: a task that is over its quota sleeps for a part of this, and then goes on.
const SHARED_FOR: Duration = Duration::from_millis(200);
/// What of a tick a thread that computes has of the processor; else the kernel ran another one.
const COMPUTES: f64 = 0.5;

/// The pace of one clock.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// The crossing of the last slice that was over.
    last_over: u64,
    /// How long ticks stay short.
    shared_for: Duration,
}

impl Pace {
    /// How long the next tick is.
    pub(super) fn tick(&self) -> Duration {
        if self.shared_for.is_zero() { TICK } else { TICK_SHARED }
    }

    /// A tick passed.
    pub(super) fn passed(&mut self) {
        self.shared_for = self.shared_for.saturating_sub(self.tick());
    }

    /// The slice that began with this crossing is over, `before` others of the same step of its guest were over before, and its
    /// thread used `cpu` of the last tick.
    pub(super) fn slice_is_over(&mut self, crossing: u64, before: u32, cpu: Duration) {
        // A step that goes on was left and entered again, which are two crossings: where there were more, others ran.
        let others_ran = before > 0 && crossing.wrapping_sub(self.last_over) > 2;
        // While ticks are short, they cut steps too that need no cutting.
        let is_long = self.tick().saturating_mul(before.saturating_add(1)) >= TICK;
        if others_ran && is_long && cpu > self.tick().mul_f64(COMPUTES) {
            self.shared_for = SHARED_FOR;
        }
        self.last_over = crossing;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Slices that began with these crossings are over, and so many of the same step before each.
    fn computing(pace: &mut Pace, before: u32, crossings: impl IntoIterator<Item = u64>) {
        for crossing in crossings {
            pace.slice_is_over(crossing, before, pace.tick());
        }
    }

    /// One at which a guest that goes on has shared the thread.
    fn shared() -> Pace {
        let mut pace = Pace { last_over: 1, ..Pace::default() };
        computing(&mut pace, 1, [5]);
        assert_eq!(pace.tick(), TICK_SHARED);
        pace
    }

    /// For how long ticks stay short, up to some more than they may, when this happens in each.
    fn lasts(pace: &mut Pace, mut in_each: impl FnMut(&mut Pace)) -> Duration {
        let mut lasted = Duration::ZERO;
        while pace.tick() == TICK_SHARED && lasted <= SHARED_FOR {
            in_each(pace);
            lasted += pace.tick();
            pace.passed();
        }
        lasted
    }

    #[test]
    fn a_guest_alone_has_long_slices() {
        let mut pace = Pace { last_over: 1, ..Pace::default() };
        computing(&mut pace, 1, [3, 5, 7, 7, 9]);
        assert_eq!(pace.tick(), TICK);
    }

    #[test]
    fn a_guest_alone_has_long_slices_though_it_waits_between_long_steps() {
        let mut pace = Pace { last_over: 1, ..Pace::default() };
        for first in [11, 21, 31] {
            computing(&mut pace, 0, [first]);
            computing(&mut pace, 1, [first + 2]);
        }
        assert_eq!(pace.tick(), TICK);
    }

    #[test]
    fn slices_are_short_while_others_come_in_between_and_a_while_longer() {
        let mut pace = shared();
        computing(&mut pace, 1, [7, 9]);
        assert_eq!(lasts(&mut pace, |_| ()), SHARED_FOR);
        let (mut pace, mut crossing) = (shared(), 5);
        let lasted = lasts(&mut pace, |pace| {
            crossing += 4;
            computing(pace, 3, [crossing]);
        });
        assert!(lasted > SHARED_FOR, "{lasted:?}");
    }

    #[test]
    fn steps_that_only_a_short_tick_cuts_do_not_keep_ticks_short() {
        let (mut pace, mut crossing) = (shared(), 5);
        let lasted = lasts(&mut pace, |pace| {
            for before in 0..3 {
                crossing += 4;
                computing(pace, before, [crossing]);
            }
        });
        assert_eq!(lasted, SHARED_FOR);
    }

    #[test]
    fn a_thread_that_had_to_wait_for_the_processor_did_not_compute() {
        let mut pace = Pace { last_over: 1, ..Pace::default() };
        pace.slice_is_over(101, 1, TICK / 10);
        assert_eq!(pace.tick(), TICK);
    }
}

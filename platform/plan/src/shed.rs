//! How much of a worker's load to refuse, by how long what is ready waits before the worker comes to it.
//!
//! A queue that goes away by itself is no overload: only when every wait was above a target for a whole interval, and each
//! followed the one before, does one stand (Nichols and Jacobson, "Controlling queue delay", 2012). From then on a share of
//! what comes is refused, by a controller of the wait's distance from the target and of that distance added up over time, as
//! RFC 8033 (PIE) has it: the first follows a wave of load within a tenth of a second, the second finds the share that lasts.
//! The share is a probability, so it meets all alike.
//!
//! What refusing costs bounds what it can save. At `n` times what a worker can answer, where refusing costs `r` of
//! answering, (1 - n·r) / (1 - r) of that is left to answer: at twice the load, 90% as long as `r` is below 1/11.
//!
//! What always holds: a worker whose waits are short refuses nothing, and none refuses everything.

/// How long all waits must have been above the target before anything is refused, in nanoseconds.
pub const INTERVAL_NS: u64 = 100_000_000;
/// How long a share lasts that no wait was told of, in nanoseconds: who was not asked for so long is not overloaded.
const MEMORY_NS: u64 = 1_000_000_000;
/// By how much the share grows for each second that a wait is above the target.
const GAIN: f64 = 8.0;
/// By how much it grows for each second of that and each second that it lasts.
const GAIN_OVER_TIME: f64 = 30.0;
/// Once all waits have been below half of the target for an interval, the load has gone: what has added up halves in so many
/// nanoseconds.
const HALVES_IN_NS: u64 = 100_000_000;
/// Below this share nothing is refused any more.
const SHARE_MIN: f64 = 0.01;
/// What a wait above the target counts as at most over time, in seconds: a pause of the whole machine is no load.
const EXCESS_S_MAX: f64 = 0.2;
/// The most that is refused: who is let in shows when the queue is gone.
const SHARE_MAX: f64 = 0.98;

/// The controller of one queue.
#[derive(Debug, Clone, PartialEq)]
pub struct Shedding {
    target_ns: u64,
    /// When the first of those waits ended that were all above the target, up to the last.
    above_since_ns: Option<u64>,
    /// When the first of those waits ended that were all below half of the target, up to the last.
    calm_since_ns: Option<u64>,
    /// When the last wait ended that was told of.
    told_ns: u64,
    /// What distances from the target have added up to.
    lasting: f64,
    share: f64,
}

impl Shedding {
    /// One that refuses nothing yet; waits of up to `target_ns` are fine.
    pub fn new(target_ns: u64) -> Self {
        Self { target_ns, above_since_ns: None, calm_since_ns: None, told_ns: 0, lasting: 0.0, share: 0.0 }
    }

    /// At `now_ns`, something that was ready came to its turn, after so long.
    pub fn waited(&mut self, now_ns: u64, waited_ns: u64) {
        let passed_ns = now_ns.saturating_sub(self.told_ns);
        if passed_ns >= MEMORY_NS {
            *self = Self::new(self.target_ns);
        }
        // Between two waits that are so far apart, nobody saw a queue: each may have been long for itself.
        let idle_ns = now_ns.saturating_sub(waited_ns).saturating_sub(self.told_ns);
        self.told_ns = now_ns;
        if waited_ns <= self.target_ns || idle_ns >= INTERVAL_NS {
            self.above_since_ns = None;
        }
        if waited_ns > self.target_ns / 2 {
            self.calm_since_ns = None;
        }
        let is_calm = waited_ns <= self.target_ns / 2
            && now_ns.saturating_sub(*self.calm_since_ns.get_or_insert(now_ns)) >= INTERVAL_NS;
        let stands = waited_ns > self.target_ns
            && now_ns.saturating_sub(*self.above_since_ns.get_or_insert(now_ns)) >= INTERVAL_NS;
        if self.lasting == 0.0 && !stands {
            self.share = 0.0;
            return;
        }
        let excess_s = seconds(waited_ns) - seconds(self.target_ns);
        let passed_s = seconds(passed_ns.min(INTERVAL_NS));
        let lasting = self.lasting + GAIN_OVER_TIME * excess_s.min(EXCESS_S_MAX) * passed_s;
        self.lasting = lasting.clamp(0.0, 1.0);
        if is_calm {
            self.lasting *= 0.5_f64.powf(seconds(passed_ns) / seconds(HALVES_IN_NS));
        }
        self.share = (self.lasting + GAIN * excess_s).clamp(0.0, SHARE_MAX);
        if is_calm && self.share < SHARE_MIN {
            (self.lasting, self.share) = (0.0, 0.0);
        }
    }

    /// What share is refused of what comes at `now_ns`, from 0 to 1.
    pub fn share(&self, now_ns: u64) -> f64 {
        if now_ns.saturating_sub(self.told_ns) < MEMORY_NS { self.share } else { 0.0 }
    }

    /// Whether one that comes at `now_ns` is refused; `chance` is to be any number, each as likely as any other.
    pub fn refuses(&self, now_ns: u64, chance: u64) -> bool {
        (chance as f64) < self.share(now_ns) * u64::MAX as f64
    }
}

fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;

    const MS: u64 = 1_000_000;
    const TARGET_NS: u64 = 20 * MS;
    /// How long a simulation runs.
    const END_NS: u64 = 10_000 * MS;
    /// How often one of its requests has a probe follow it.
    const PROBE_INTERVAL_NS: u64 = 5 * MS;

    /// What waits for the worker.
    enum Waiting {
        Request { came_ns: u64 },
        Probe { began_ns: u64 },
    }

    /// What became of the requests of a simulation.
    #[derive(Default)]
    struct Outcome {
        /// How long those took that were answered.
        answered_ns: Vec<u64>,
        refused: usize,
        /// How many of those were refused that came after the load had ended.
        refused_after: usize,
        idle_ns: u64,
    }

    impl Outcome {
        fn percentile_ms(&self, percent: usize) -> f64 {
            let mut sorted = self.answered_ns.clone();
            sorted.sort_unstable();
            sorted[(sorted.len() * percent / 100).min(sorted.len() - 1)] as f64 / MS as f64
        }

        /// Of the time, how much went into answers.
        fn goodput(&self, service_ns: u64) -> f64 {
            self.answered_ns.len() as f64 * service_ns as f64 / END_NS as f64
        }
    }

    /// Numbers of chance, from 0 to 1: Knuth's MMIX.
    fn chance(seed: &mut u64) -> u64 {
        *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        // The low bits are the worst.
        *seed ^ (*seed >> 32)
    }

    /// A worker that takes `service_ns` to answer and `refusal` of that to refuse, and has one queue; requests come by chance,
    /// `load` times as many as it can answer (M/D/1), until `load_ends_ns`, and a tenth of what it can from then on.
    fn simulate(service_ns: u64, load: f64, refusal: f64, load_ends_ns: u64) -> Outcome {
        let (mut shedding, mut outcome) = (Shedding::new(TARGET_NS), Outcome::default());
        let (mut queue, mut now_ns, mut probed_ns, mut seed) = (VecDeque::new(), 0, 0, 7);
        let mut next_ns = 0;
        while now_ns < END_NS {
            if queue.is_empty() && next_ns > now_ns {
                outcome.idle_ns += next_ns - now_ns;
                now_ns = next_ns;
            }
            while next_ns <= now_ns {
                queue.push_back(Waiting::Request { came_ns: next_ns });
                let load = if next_ns < load_ends_ns { load } else { 0.1 };
                let even = (chance(&mut seed) >> 11) as f64 / (1_u64 << 53) as f64;
                next_ns += (-(1.0 - even).ln() * service_ns as f64 / load) as u64;
            }
            match queue.pop_front() {
                Some(Waiting::Probe { began_ns }) => shedding.waited(now_ns, now_ns - began_ns),
                Some(Waiting::Request { came_ns }) => {
                    if now_ns - probed_ns >= PROBE_INTERVAL_NS {
                        probed_ns = now_ns;
                        queue.push_back(Waiting::Probe { began_ns: now_ns });
                    }
                    if shedding.refuses(now_ns, chance(&mut seed)) {
                        now_ns += (service_ns as f64 * refusal) as u64;
                        outcome.refused += 1;
                        outcome.refused_after += usize::from(came_ns > load_ends_ns);
                    } else {
                        now_ns += service_ns;
                        outcome.answered_ns.push(now_ns - came_ns);
                    }
                }
                None => {}
            }
        }
        outcome
    }

    #[test]
    fn at_twice_the_load_nearly_all_that_can_be_is_answered_and_fast() {
        for service_ns in [30_000, 300_000] {
            for (refusal, least) in [(0.05, 0.93), (0.15, 0.81)] {
                let outcome = simulate(service_ns, 2.0, refusal, u64::MAX);
                let could = (1.0 - 2.0 * refusal) / (1.0 - refusal);
                let goodput = outcome.goodput(service_ns);
                assert!(goodput > least && goodput > 0.98 * could, "{goodput} of {could}");
                let (median, slow) = (outcome.percentile_ms(50), outcome.percentile_ms(99));
                assert!(slow < 10.0 * median && median < 25.0 && slow < 100.0, "{median} ms, {slow} ms");
            }
        }
    }

    #[test]
    fn however_much_comes_the_queue_stays_short() {
        for load in [1.05, 1.5, 3.0, 6.0] {
            let outcome = simulate(100_000, load, 0.05, u64::MAX);
            assert!(outcome.refused > 0, "{load}");
            assert!(outcome.percentile_ms(50) < 30.0, "{load}: {} ms", outcome.percentile_ms(50));
            assert!(outcome.percentile_ms(99) < 150.0, "{load}: {} ms", outcome.percentile_ms(99));
            assert!(outcome.idle_ns < END_NS / 100, "{load}: idle for {} ns", outcome.idle_ns);
        }
    }

    #[test]
    fn who_can_answer_all_refuses_nothing() {
        for service_ns in [30_000, 300_000] {
            assert_eq!(simulate(service_ns, 0.9, 0.15, u64::MAX).refused, 0);
        }
        // A wave that is over before it has stood for an interval.
        assert_eq!(simulate(100_000, 2.0, 0.15, 60 * MS).refused, 0);
    }

    #[test]
    fn it_ends_soon_after_the_load_has() {
        let outcome = simulate(100_000, 2.0, 0.15, 5_000 * MS);
        let after = END_NS / 2 / 100_000 / 10;
        let refused = outcome.refused_after as u64;
        assert!(refused < after / 25, "{refused} of {after}");
    }

    #[test]
    fn long_waits_far_from_each_other_are_no_queue() {
        let mut shedding = Shedding::new(TARGET_NS);
        for round in 1..50 {
            let now_ns = 200 * round * MS;
            shedding.waited(now_ns, 30 * MS);
            assert_eq!(shedding.share(now_ns), 0.0, "{round}");
        }
        // As long as what came before was waited for, it is one queue.
        for round in 1..5 {
            shedding.waited((10_000 + 300 * round) * MS, 300 * MS);
        }
        assert!(shedding.share(11_200 * MS) > 0.0);
    }

    #[test]
    fn calm_lasts_until_a_wait_above_half_of_the_target() {
        let mut shedding = Shedding::new(TARGET_NS);
        shedding.waited(1_000 * MS, MS);
        shedding.waited(1_040 * MS, TARGET_NS / 2);
        assert_eq!(shedding.calm_since_ns, Some(1_000 * MS));
        shedding.waited(1_080 * MS, TARGET_NS / 2 + 1);
        assert_eq!(shedding.calm_since_ns, None);
        shedding.waited(1_090 * MS, MS);
        assert_eq!(shedding.calm_since_ns, Some(1_090 * MS), "it begins anew");
    }

    #[test]
    fn what_has_added_up_halves_in_calm_and_is_forgotten_once_it_is_little() {
        let after_a_short_wait = |lasting, calm_since_ns| {
            let mut shedding =
                Shedding { lasting, calm_since_ns, told_ns: 990 * MS, ..Shedding::new(TARGET_NS) };
            shedding.waited(1_000 * MS, MS);
            (shedding.lasting, shedding.share)
        };
        let (much, little) = (0.5, 0.008);
        let (lasting, share) = after_a_short_wait(much, Some(0));
        assert!((0.45..0.47).contains(&lasting) && (0.30..0.32).contains(&share), "{lasting} {share}");
        let (lasting, _) = after_a_short_wait(much, None);
        assert!((0.49..0.50).contains(&lasting), "it is not calm for long enough: {lasting}");
        assert_eq!(after_a_short_wait(little, Some(0)), (0.0, 0.0));
        let (lasting, share) = after_a_short_wait(little, None);
        assert!(lasting > 0.0 && share == 0.0, "{lasting} {share}");
    }

    #[test]
    fn one_long_wait_is_no_queue() {
        let mut shedding = Shedding::new(TARGET_NS);
        shedding.waited(1_000 * MS, 900 * MS);
        shedding.waited(1_010 * MS, MS);
        for at_ms in 1_100..1_190 {
            shedding.waited(at_ms * MS, 30 * MS);
        }
        assert_eq!(shedding.share(1_190 * MS), 0.0);
        for at_ms in 1_190..1_300 {
            shedding.waited(at_ms * MS, 30 * MS);
        }
        assert!(shedding.share(1_300 * MS) > 0.0);
        assert!(shedding.refuses(1_300 * MS, 0) && !shedding.refuses(1_300 * MS, u64::MAX));
        assert!(shedding.share(2_299 * MS - 1) > 0.0 && !shedding.refuses(2_299 * MS, 0));
        assert_eq!(shedding.share(2_299 * MS), 0.0, "nobody came since");
        shedding.waited(2_300 * MS, 30 * MS);
        assert_eq!(shedding, {
            let mut new = Shedding::new(TARGET_NS);
            new.waited(2_300 * MS, 30 * MS);
            new
        });
    }
}

//! When requests are due.
//!
//! What always holds: the times depend on the pace alone, never on what the server does; they never decrease.

use std::time::Duration;

/// How requests are paced.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pace {
    /// A closed loop: each connection sends as soon as it has its last answer.
    Saturate,
    /// An open loop, with equal gaps.
    Constant {
        /// Requests per second; above 0.
        per_second: f64,
    },
    /// An open loop with exponentially distributed gaps, as independent clients make them.
    Poisson {
        /// Requests per second on average; above 0.
        per_second: f64,
        /// What the gaps follow from.
        seed: u64,
    },
}

/// The due times of an open loop, one after the other.
#[derive(Debug)]
pub(crate) struct Schedule {
    pace: Gaps,
    taken: u64,
    next: Duration,
}

#[derive(Debug)]
enum Gaps {
    Equal { seconds: f64 },
    Exponential { mean_seconds: f64, random: fastrand::Rng },
}

impl Schedule {
    /// The schedule of a pace; a closed loop has none.
    pub(crate) fn of(pace: Pace) -> Option<Self> {
        let pace = match pace {
            Pace::Saturate => return None,
            Pace::Constant { per_second } => Gaps::Equal { seconds: 1.0 / per_second },
            Pace::Poisson { per_second, seed } => {
                Gaps::Exponential { mean_seconds: 1.0 / per_second, random: fastrand::Rng::with_seed(seed) }
            }
        };
        Some(Self { pace, taken: 0, next: Duration::ZERO })
    }

    /// When the next request is due, since the start.
    pub(crate) fn next_due(&self) -> Duration {
        self.next
    }

    /// Takes the next request off the schedule.
    pub(crate) fn take(&mut self) -> Duration {
        let due = self.next;
        self.taken += 1;
        self.next = match &mut self.pace {
            // From the count, not from the last one: no error adds up.
            Gaps::Equal { seconds } => Duration::from_secs_f64(self.taken as f64 * *seconds),
            Gaps::Exponential { mean_seconds, random } => {
                due + Duration::from_secs_f64(-(1.0 - random.f64()).ln() * *mean_seconds)
            }
        };
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dues(pace: Pace, count: usize) -> Vec<Duration> {
        let mut schedule = Schedule::of(pace).expect("an open loop");
        std::iter::repeat_with(|| schedule.take()).take(count).collect()
    }

    #[test]
    fn equal_gaps_do_not_drift() {
        let dues = dues(Pace::Constant { per_second: 30_000.0 }, 300_001);
        assert_eq!(dues[0], Duration::ZERO);
        assert_eq!(dues[30_000], Duration::from_secs(1));
        assert_eq!(dues[300_000], Duration::from_secs(10));
    }

    #[test]
    fn exponential_gaps_have_the_mean_and_the_spread_of_independent_clients() {
        let pace = Pace::Poisson { per_second: 1_000.0, seed: 7 };
        let count = 100_000;
        let times = dues(pace, count + 1);
        assert_eq!(times, dues(pace, count + 1), "the same seed gives the same schedule");
        let gaps: Vec<f64> = times.windows(2).map(|pair| (pair[1] - pair[0]).as_secs_f64()).collect();
        let mean = gaps.iter().sum::<f64>() / count as f64;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / count as f64;
        // Of an exponential distribution the standard deviation equals the mean.
        assert!((mean * 1e3 - 1.0).abs() < 0.02, "{mean}");
        assert!((variance.sqrt() / mean - 1.0).abs() < 0.03, "{variance}");
    }

    #[test]
    fn a_closed_loop_has_no_schedule() {
        assert!(Schedule::of(Pace::Saturate).is_none());
    }
}

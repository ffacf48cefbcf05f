//! What is billed: six figures that only grow, who they are charged to, and how long they are kept apart in time.

use crate::{Group, Namespace, TaskId};
use std::iter::Sum;
use std::ops::AddAssign;

/// What was used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Requests that were answered.
    pub requests: u64,
    /// CPU time, in nanoseconds.
    pub cpu_ns: u64,
    /// Memory times how long it was held, in KiB times milliseconds.
    pub memory_kib_ms: u64,
    /// Bytes of request bodies.
    pub received_bytes: u64,
    /// Bytes of response bodies.
    pub sent_bytes: u64,
    /// Sandboxes that were made.
    pub cold_starts: u64,
}

impl Usage {
    /// Whether nothing was used.
    pub fn is_zero(&self) -> bool {
        *self == Self::default()
    }

    /// What was used since `earlier`: 0 for a figure that is below it.
    pub fn since(&self, earlier: &Self) -> Self {
        self.each(earlier, u64::saturating_sub)
    }

    /// The larger of each figure of the two.
    pub fn max(&self, other: &Self) -> Self {
        self.each(other, u64::max)
    }

    /// CPU time in seconds.
    pub fn cpu_seconds(&self) -> f64 {
        self.cpu_ns as f64 / 1e9
    }

    /// Memory times how long it was held, in bytes times seconds.
    pub fn memory_byte_seconds(&self) -> f64 {
        self.memory_kib_ms as f64 * 1.024
    }

    /// Memory times how long it was held, in GB-seconds: 2^30 bytes for a second each.
    pub fn gb_seconds(&self) -> f64 {
        self.memory_byte_seconds() / (1_u64 << 30) as f64
    }

    fn each(&self, other: &Self, combine: impl Fn(u64, u64) -> u64) -> Self {
        Self {
            requests: combine(self.requests, other.requests),
            cpu_ns: combine(self.cpu_ns, other.cpu_ns),
            memory_kib_ms: combine(self.memory_kib_ms, other.memory_kib_ms),
            received_bytes: combine(self.received_bytes, other.received_bytes),
            sent_bytes: combine(self.sent_bytes, other.sent_bytes),
            cold_starts: combine(self.cold_starts, other.cold_starts),
        }
    }
}

impl AddAssign for Usage {
    fn add_assign(&mut self, other: Self) {
        *self = self.each(&other, u64::saturating_add);
    }
}

impl Sum for Usage {
    fn sum<I: Iterator<Item = Self>>(parts: I) -> Self {
        parts.fold(Self::default(), |mut sum, part| {
            sum += part;
            sum
        })
    }
}

/// Who is charged.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Account {
    /// What no task can be charged with: the processes' own work.
    Platform,
    /// A service or a family of one-off tasks.
    Group {
        /// Its namespace.
        namespace: Namespace,
        /// Which.
        group: Group,
        /// Which of its tasks; none where tasks are no longer told apart.
        task: Option<TaskId>,
    },
    /// All tasks of so long ago that nothing is told apart any more.
    Earlier,
}

impl Account {
    /// The same without its task.
    pub fn of_all_tasks(self) -> Self {
        match self {
            Self::Group { namespace, group, task: _ } => Self::Group { namespace, group, task: None },
            Self::Platform | Self::Earlier => self,
        }
    }
}

/// What an account is charged with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Charge {
    /// Who.
    pub account: Account,
    /// What.
    pub used: Usage,
}

/// The span of time that one record of usage covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Grain {
    /// A minute.
    Minute,
    /// An hour.
    Hour,
    /// A day, in UTC.
    Day,
    /// All time before the first day that is kept.
    Ever,
}

impl Grain {
    /// Its length in milliseconds; 0 for the one that has none.
    pub const fn span_ms(self) -> u64 {
        match self {
            Self::Minute => 60_000,
            Self::Hour => 3_600_000,
            Self::Day => 86_400_000,
            Self::Ever => 0,
        }
    }

    /// When the record begins that `at_ms` falls into.
    pub const fn start_ms(self, at_ms: u64) -> u64 {
        match self {
            Self::Ever => 0,
            _ => at_ms - at_ms % self.span_ms(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gb_seconds_are_of_two_to_the_thirtieth_bytes() {
        let used = Usage { memory_kib_ms: 1_000 << 20, cpu_ns: 1_500_000_000, ..Usage::default() };
        assert_eq!((used.gb_seconds(), used.cpu_seconds()), (1.0, 1.5));
    }

    #[test]
    fn a_figure_that_fell_counts_as_nothing_used() {
        let [earlier, later] =
            [(5, 5), (7, 3)].map(|(requests, cpu_ns)| Usage { requests, cpu_ns, ..Usage::default() });
        let used = later.since(&earlier);
        assert_eq!((used.requests, used.cpu_ns), (2, 0));
        let most = later.max(&earlier);
        assert_eq!((most.requests, most.cpu_ns), (7, 5));
        assert_eq!([earlier, used].into_iter().sum::<Usage>().requests, 7);
    }

    #[test]
    fn a_moment_falls_into_one_record_of_each_grain() {
        let at_ms = 2 * 86_400_000 + 3 * 3_600_000 + 4 * 60_000 + 5;
        let starts = [Grain::Minute, Grain::Hour, Grain::Day, Grain::Ever].map(|grain| grain.start_ms(at_ms));
        assert_eq!(starts, [at_ms - 5, at_ms - 5 - 4 * 60_000, 2 * 86_400_000, 0]);
    }
}

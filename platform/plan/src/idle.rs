//! When a service that nobody asks goes to sleep, and how long it sleeps.
//!
//! It deliberately does not count requests, nor start or stop a task: while a service sleeps it is planned with a desired
//! count of 0, and what wakes it is a task. What always holds: it sleeps only after the whole time without a request, and not
//! while one is in flight or its tasks come and go; and it is awake as soon as there is a task that was started since, or its
//! user has said anything of it since, whatever was written down.

use skiff_types::{Span, Task};

/// What is seen of a service that is awake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// A number that is another after each request that its tasks answered.
    pub requests: u64,
    /// Requests in flight.
    pub outstanding: u64,
    /// It has tasks, and all of them are `RUNNING` undisturbed.
    pub is_settled: bool,
}

/// Since when nothing was seen to happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quiet {
    requests: u64,
    since_ms: u64,
}

impl Quiet {
    /// Of a service that is seen for the first time. Times are of any clock that does not go back, in milliseconds.
    pub fn new(seen: &Seen, now_ms: u64) -> Self {
        Self { requests: seen.requests, since_ms: now_ms }
    }

    /// Takes in what is seen now; says whether the service is to sleep, which does so `after` a time without a request.
    pub fn note(&mut self, seen: &Seen, after: Span, now_ms: u64) -> bool {
        if !seen.is_settled || seen.requests != self.requests {
            *self = Self::new(seen, now_ms);
        }
        seen.outstanding == 0 && now_ms.saturating_sub(self.since_ms) >= after.ms()
    }
}

/// That a service was put to sleep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asleep {
    /// When, in milliseconds since 1970; not before any task that it had was made.
    pub since_ms: u64,
    /// When what its user says of it had last changed then, in milliseconds since 1970.
    pub said_at_ms: u64,
}

impl Asleep {
    /// From now on, of a service with these tasks of which its user last said something at `said_at_ms`.
    pub fn begin<'a>(said_at_ms: u64, tasks: impl IntoIterator<Item = &'a Task>, now_ms: u64) -> Self {
        let latest_ms = tasks.into_iter().map(|task| task.created_at_ms).max().unwrap_or(0);
        Self { since_ms: now_ms.max(latest_ms), said_at_ms }
    }

    /// Whether the service sleeps, given all its tasks, stopped ones too.
    pub fn holds<'a>(&self, said_at_ms: u64, tasks: impl IntoIterator<Item = &'a Task>) -> bool {
        let is_older = |task: &Task| task.created_at_ms <= self.since_ms;
        self.said_at_ms == said_at_ms && tasks.into_iter().all(is_older)
    }

    /// When a task counts as made that is to wake the service now, whatever the clock was when it fell asleep.
    pub fn woken_at_ms(&self, now_ms: u64) -> u64 {
        now_ms.max(self.since_ms.saturating_add(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use skiff_types::{Group, Namespace, TaskId, TaskStatus};

    fn task(created_at_ms: u64, status: TaskStatus) -> Task {
        Task {
            status,
            start_after_ms: 0,
            ..Task::new(
                TaskId::from_parts(created_at_ms, [1; 10]),
                Namespace::default(),
                Group::Service("hello".parse().unwrap()),
                "hello:1".parse().unwrap(),
                created_at_ms,
            )
        }
    }

    #[test]
    fn it_sleeps_until_a_task_is_started_or_its_user_says_something() {
        let old = task(5, TaskStatus::Running);
        // The clock went back since the task was made.
        let asleep = Asleep::begin(3, [&old], 4);
        assert_eq!(asleep, Asleep { since_ms: 5, said_at_ms: 3 });
        assert!(asleep.holds(3, [&old]));
        assert!(!asleep.holds(4, [&old]) && !asleep.holds(2, [&old]), "its user said something");
        let woken = task(asleep.woken_at_ms(1), TaskStatus::Activating);
        assert!(!asleep.holds(3, [&old, &woken]));
        let ended = Task { status: TaskStatus::Stopped, ..woken };
        assert!(!asleep.holds(3, [&ended]), "it is awake although what woke it has ended");
    }

    #[test]
    fn a_request_in_flight_keeps_it_awake_and_its_end_counts() {
        let after = Span::from_ms(100);
        let seen = Seen { requests: 0, outstanding: 1, is_settled: true };
        let mut quiet = Quiet::new(&seen, 0);
        assert!(!quiet.note(&seen, after, 1_000), "it is in flight");
        let ended = Seen { requests: 1, outstanding: 0, ..seen };
        assert!(!quiet.note(&ended, after, 1_001));
        assert!(!quiet.note(&ended, after, 1_100));
        assert!(quiet.note(&ended, after, 1_101));
    }

    proptest! {
        #[test]
        fn it_sleeps_when_the_whole_time_was_quiet(
            after_ms in 1..50_u64,
            looks in prop::collection::vec((1..20_u64, 0..4_u64, 0..2_u64, prop::bool::weighted(0.9)), 1..60),
        ) {
            let mut now_ms = 0;
            let mut history: Vec<(u64, Seen)> = Vec::new();
            let mut quiet: Option<Quiet> = None;
            for (passed_ms, more, outstanding, is_settled) in looks {
                now_ms += passed_ms;
                let before = history.last().map_or(0, |(_, seen)| seen.requests);
                // Most looks find no new request.
                let seen = Seen { requests: before + more / 3, outstanding, is_settled };
                history.push((now_ms, seen));
                let sleeps = quiet
                    .get_or_insert_with(|| Quiet::new(&seen, now_ms))
                    .note(&seen, Span::from_ms(after_ms), now_ms);
                // By the whole history: the first look since which nothing happened.
                let calm = history.iter().rev().take_while(|(_, past)| past.requests == seen.requests);
                let calm: Vec<_> = calm.collect();
                let disturbed = calm.iter().position(|(_, past)| !past.is_settled);
                let from = disturbed.unwrap_or(calm.len() - 1);
                let expected = outstanding == 0 && now_ms - calm[from].0 >= after_ms;
                prop_assert_eq!(sleeps, expected);
            }
        }
    }
}

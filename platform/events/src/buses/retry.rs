//! What follows from a try of a delivery: a pure function.
//!
//! Waits grow exponentially, with full jitter: <https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/>.

use skiff_kit::Backoff;
use skiff_ports::buses::AttemptError;
use skiff_types::RetryPolicy;
use std::time::Duration;

/// The longest waits after the first failure, and after many, in milliseconds.
pub(super) const RETRIES: Backoff = Backoff { first_ms: 1_000, most_ms: 60_000 };
/// The same for a target that has too much to do: it is asked again sooner, with one delivery.
const BUSY: Backoff = Backoff { first_ms: 50, most_ms: 2_000 };

/// What becomes of a delivery that failed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is tried again after this.
    Again(Duration),
    /// Its target is asked again later, and this was no try.
    Busy,
    /// It is not tried any more.
    Lost,
}

/// When something that happened, and how often it was tried with this time, is tried again. `draw` is random.
pub(super) fn judge(
    policy: &RetryPolicy,
    error: &AttemptError,
    tries: u32,
    age_ms: u64,
    draw: u64,
) -> Verdict {
    match error {
        AttemptError::Refused(_) => Verdict::Lost,
        AttemptError::Busy(_) if age_ms > policy.age_max.ms() => Verdict::Lost,
        AttemptError::Busy(_) => Verdict::Busy,
        AttemptError::Failed(_) if tries > policy.retries_max => Verdict::Lost,
        AttemptError::Failed(_) => {
            let wait = wait(tries, draw);
            // Once it is due it would be too old.
            let is_late = age_ms.saturating_add(wait.as_millis() as u64) > policy.age_max.ms();
            if is_late { Verdict::Lost } else { Verdict::Again(wait) }
        }
    }
}

/// How long to wait after so many failures.
pub(super) fn wait(failures: u32, draw: u64) -> Duration {
    jittered(RETRIES.delay_ms(failures), draw)
}

/// How long to leave a target alone that was too busy so many times in a row.
pub(super) fn busy_wait(times: u32, draw: u64) -> Duration {
    // Never at once: it is asked with the same again.
    jittered(BUSY.delay_ms(times), draw).max(Duration::from_millis(BUSY.first_ms))
}

fn jittered(most_ms: u64, draw: u64) -> Duration {
    Duration::from_millis(draw % (most_ms + 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use skiff_types::Span;

    const POLICY: RetryPolicy = RetryPolicy { age_max: Span::from_ms(100_000), retries_max: 3 };

    fn failed() -> AttemptError {
        AttemptError::Failed("it is down".to_owned())
    }

    #[test]
    fn waits_grow_and_are_spread() {
        for (failures, most_ms) in [(1, 1_000), (2, 2_000), (6, 32_000), (7, 60_000), (185, 60_000)] {
            assert_eq!(wait(failures, most_ms).as_millis(), u128::from(most_ms));
            assert_eq!(wait(failures, most_ms + 1).as_millis(), 0);
        }
        assert_eq!(busy_wait(1, 0).as_millis(), 50);
        assert_eq!(busy_wait(100, 2_000).as_millis(), 2_000);
    }

    #[test]
    fn it_is_tried_again_within_its_bounds() {
        assert_eq!(judge(&POLICY, &failed(), 1, 0, 700), Verdict::Again(Duration::from_millis(700)));
        assert_eq!(judge(&POLICY, &failed(), 3, 0, 700), Verdict::Again(Duration::from_millis(700)));
        assert_eq!(judge(&POLICY, &failed(), 4, 0, 700), Verdict::Lost);
        assert_eq!(judge(&POLICY, &failed(), 1, 99_300, 700), Verdict::Again(Duration::from_millis(700)));
        assert_eq!(judge(&POLICY, &failed(), 1, 99_301, 700), Verdict::Lost);
        let never = RetryPolicy { retries_max: 0, ..POLICY };
        assert_eq!(judge(&never, &failed(), 1, 0, 700), Verdict::Lost);
    }

    #[test]
    fn what_was_refused_is_not_tried_again_and_what_was_busy_counts_not() {
        let busy = AttemptError::Busy("it has much to do".to_owned());
        assert_eq!(judge(&POLICY, &AttemptError::Refused(String::new()), 1, 0, 0), Verdict::Lost);
        assert_eq!(judge(&POLICY, &busy, 100, 100_000, 0), Verdict::Busy);
        assert_eq!(judge(&POLICY, &busy, 1, 100_001, 0), Verdict::Lost);
    }
}

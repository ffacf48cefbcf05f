//! Exponential backoff as a pure function of the attempt.

/// Waits that double from `first_ms` up to `most_ms`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The wait before the second attempt, in milliseconds.
    pub first_ms: u64,
    /// The longest wait, in milliseconds.
    pub most_ms: u64,
}

impl Backoff {
    /// The wait after `failures` failures in a row, in milliseconds; none after none.
    pub fn delay_ms(&self, failures: u32) -> u64 {
        match failures.checked_sub(1) {
            None => 0,
            Some(doublings) => self.first_ms.saturating_mul(1 << doublings.min(32)).min(self.most_ms),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_up_to_its_bound() {
        let backoff = Backoff { first_ms: 100, most_ms: 1_000 };
        let delays: Vec<u64> = [0, 1, 2, 3, 4, 5, u32::MAX].map(|n| backoff.delay_ms(n)).into();
        assert_eq!(delays, [0, 100, 200, 400, 800, 1_000, 1_000]);
    }
}

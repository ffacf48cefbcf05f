//! What it may cost to match an event: steps, counted the same at each try, so that what is refused is refused each time.
//!
//! It deliberately knows no time. What always holds: who runs out of steps is told so, and is given no answer that may be wrong.

use std::cell::Cell;

/// Bytes of text that are looked at in one step.
const STEP_BYTES: usize = 64;
/// Bytes of text whose letters are compared in any case in one step more.
const STEP_FOLDED_BYTES: usize = 8;

/// An event has so much in it that is asked by so much that it is not matched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "more than {steps} comparisons would tell which patterns take the event: put it with shorter arrays, or have fewer patterns ask \
     for what is in them"
)]
pub struct TooMuchWork {
    /// The most that are made.
    pub steps: u64,
}

/// Steps that may still be taken.
#[derive(Debug)]
pub(crate) struct Work {
    most: u64,
    left: Cell<u64>,
}

impl Work {
    /// So many may be taken.
    pub(crate) fn new(steps: u64) -> Self {
        Self { most: steps, left: Cell::new(steps) }
    }

    /// Takes some of them.
    pub(super) fn spend(&self, steps: usize) -> Result<(), TooMuchWork> {
        match self.left.get().checked_sub(steps as u64) {
            Some(left) => {
                self.left.set(left);
                Ok(())
            }
            None => Err(TooMuchWork { steps: self.most }),
        }
    }

    /// Takes as many as it needs to look at so many bytes.
    pub(super) fn spend_on(&self, bytes: usize) -> Result<(), TooMuchWork> {
        self.spend(1 + bytes / STEP_BYTES)
    }

    /// Takes those on top that it needs to compare the letters in so many bytes in any case.
    pub(super) fn spend_on_letters(&self, bytes: usize) -> Result<(), TooMuchWork> {
        self.spend(bytes / STEP_FOLDED_BYTES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_steps_are_taken_than_there_are() {
        let work = Work::new(4);
        assert_eq!(work.spend(2), Ok(()));
        assert_eq!(work.spend_on(STEP_BYTES), Ok(()));
        assert_eq!(work.spend_on_letters(STEP_FOLDED_BYTES - 1), Ok(()));
        assert_eq!(work.spend_on(0), Err(TooMuchWork { steps: 4 }));
    }
}

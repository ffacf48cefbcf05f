//! How long nothing comes, while somebody waits for it.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, Sleep};

/// Measures one silence after the other. The timer is set by the first wait; what comes meanwhile puts it off at the
/// next.
#[derive(Debug)]
pub(crate) struct Silence {
    bound: Duration,
    timer: Option<Pin<Box<Sleep>>>,
    heard: bool,
}

impl Silence {
    /// No silence yet; `bound` is the longest that there may be.
    pub(crate) fn new(bound: Duration) -> Self {
        Self { bound, timer: None, heard: false }
    }

    /// Something came.
    pub(crate) fn heard(&mut self) {
        self.heard = true;
    }

    /// Nothing is there at present. Ends when that has been so for too long.
    pub(crate) fn poll_too_long(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let bound = self.bound;
        let heard = std::mem::take(&mut self.heard);
        let timer = match &mut self.timer {
            Some(timer) => {
                if heard {
                    timer.as_mut().reset(Instant::now() + bound);
                }
                timer
            }
            none => none.insert(Box::pin(tokio::time::sleep(bound))),
        };
        timer.as_mut().poll(context)
    }

    /// The bound in milliseconds.
    pub(crate) fn bound_ms(&self) -> u64 {
        u64::try_from(self.bound.as_millis()).unwrap_or(u64::MAX)
    }
}

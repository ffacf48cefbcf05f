//! What happened, line by line: kept where somebody wants to read it, and otherwise as a number that two runs of the same seed
//! have in common.

use crate::clock::SimClock;
use std::fmt::{Arguments, Write};
use std::sync::{Arc, Mutex, PoisonError};

/// The lines of a simulation. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Trace {
    clock: Arc<SimClock>,
    lines: Arc<Mutex<Lines>>,
}

struct Lines {
    is_kept: bool,
    kept: String,
    line: String,
    hash: u64,
    count: u64,
}

impl Trace {
    pub(crate) fn new(clock: Arc<SimClock>, is_kept: bool) -> Self {
        let (kept, line, hash) = (String::new(), String::new(), 0xcbf2_9ce4_8422_2325);
        Self { clock, lines: Arc::new(Mutex::new(Lines { is_kept, kept, line, hash, count: 0 })) }
    }

    /// Adds a line.
    pub(crate) fn note(&self, what: Arguments<'_>) {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let Lines { is_kept, kept, line, hash, count } = &mut *lines;
        line.clear();
        writeln!(line, "{:>8} {what}", self.clock.elapsed_ms()).expect("text takes text");
        let mix = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        *hash = line.bytes().fold(*hash, mix);
        *count += 1;
        if *is_kept {
            kept.push_str(line);
        }
    }

    /// How many lines there were, and what they hash to.
    pub(crate) fn sum(&self) -> (u64, u64) {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        (lines.count, lines.hash)
    }

    /// The lines, if they were kept.
    pub(crate) fn take(&self) -> String {
        std::mem::take(&mut self.lines.lock().unwrap_or_else(PoisonError::into_inner).kept)
    }
}

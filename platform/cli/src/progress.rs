//! Notes on what goes on, to standard error: a spinner or a bar with the elapsed time while a step lasts, on a terminal
//! only, and one line when it is done.

use crate::human;
use indicatif::{ProgressBar, ProgressStyle};
use std::time::{Duration, Instant};

/// A step that is under way. Dropped without [`Step::done`], it leaves no trace.
pub(crate) struct Step {
    bar: ProgressBar,
    started: Instant,
}

const TICK: Duration = Duration::from_millis(100);

/// A step of unknown length.
pub(crate) fn step(message: impl Into<String>) -> Step {
    start(ProgressBar::new_spinner(), "{spinner} {msg} ({elapsed})", message.into())
}

/// A step through so many bytes.
pub(crate) fn transfer(message: impl Into<String>, size_bytes: u64) -> Step {
    let template = "{spinner} {msg} {bar:24} {binary_bytes}/{binary_total_bytes} ({elapsed})";
    start(ProgressBar::new(size_bytes), template, message.into())
}

/// One line that is no step.
pub(crate) fn note(message: impl AsRef<str>) {
    eprintln!("{}", message.as_ref());
}

// indicatif draws to standard error, and nothing at all where that is no terminal.
fn start(bar: ProgressBar, template: &str, message: String) -> Step {
    let style = ProgressStyle::with_template(template).expect("the templates above are well-formed");
    let bar = bar.with_style(style).with_message(message);
    bar.enable_steady_tick(TICK);
    Step { bar, started: Instant::now() }
}

impl Step {
    /// Says what it is at.
    pub(crate) fn message(&self, message: impl Into<String>) {
        self.bar.set_message(message.into());
    }

    /// One line that stays, above it.
    pub(crate) fn note(&self, message: impl AsRef<str>) {
        self.bar.suspend(|| note(message));
    }

    /// What moves the bar, for whoever does the work.
    pub(crate) fn position(&self) -> impl FnMut(u64) + Send + 'static {
        let bar = self.bar.clone();
        move |position| bar.set_position(position)
    }

    /// Ends it with a line that says what was done, and how long it took.
    pub(crate) fn done(self, what: impl AsRef<str>) {
        let took = human::elapsed(self.started.elapsed());
        self.bar.finish_and_clear();
        note(format!("{} in {took}", what.as_ref()));
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

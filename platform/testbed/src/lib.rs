//! Development only: what the tests of `sandbox`, of the host capabilities and the fuzz targets have in common, a worker's
//! sandboxes without a worker. Guests are built on first use, and run on the test's own thread.
//!
//! It deliberately knows no capability: a test brings its own. What goes wrong here is a panic, as in any test.

mod code;
mod command;

pub use code::{Compiled, GUESTS, NativeCode, build};
pub use command::{Answered, Ended, FAMILY, answer_calls, command, denied, run_to_end};

use skiff_ports::logs::{LogLine, LogStream};
use skiff_sandbox::LogSink;
use skiff_types::{QualifiedName, TaskId};
use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// How long a test waits for what must come.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Lines of guests, and of Skiff about them. Cheap to clone: all clones hold the same lines.
#[derive(Debug, Clone, Default)]
pub struct Lines(Rc<RefCell<Vec<LogLine>>>);

impl Lines {
    /// What was written so far, which is forgotten then.
    pub fn take(&self) -> Vec<LogLine> {
        self.0.take()
    }

    /// What a task has written to a stream so far.
    pub fn of(&self, task: TaskId, stream: LogStream) -> Vec<String> {
        let is_such = |line: &&LogLine| line.task == task && line.stream == stream;
        self.0.borrow().iter().filter(is_such).map(|line| line.text.clone()).collect()
    }
}

impl LogSink for Lines {
    fn write(&self, _: &QualifiedName, line: LogLine) -> bool {
        self.0.borrow_mut().push(line);
        true
    }
}

/// Waits until it is so, letting everything else run.
pub async fn until(otherwise: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "{otherwise}");
        tokio::task::yield_now().await;
    }
}

/// Runs a test on one thread, as a worker runs.
pub fn on_one_thread(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    tokio::task::LocalSet::new().block_on(&runtime, async {
        tokio::time::timeout(4 * PATIENCE, test).await.expect("the test takes too long");
    });
}

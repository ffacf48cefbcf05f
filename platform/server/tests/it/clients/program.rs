//! Other programs, started for a test: they end with it, and what they say is shown if it fails.

use crate::harness::{PATIENCE, eventually, within};
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Bytes that are read of what a program says: more than any of these says.
const NOTES_BYTES_MAX: usize = 1 << 20;

/// A script of `tests/clients`.
pub(super) fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(name)
}

/// A command that runs such a script, which leaves nothing beside it.
pub(super) fn python(python: &Path, name: &str) -> Command {
    let mut command = Command::new(python);
    command.env("PYTHONDONTWRITEBYTECODE", "1").env("PYTHONUTF8", "1").arg(script(name));
    command
}

/// Runs a client to its end, which has to be a good one; what it printed.
pub(super) fn run(command: Command) -> String {
    run_within(PATIENCE, command)
}

/// The same for one that does so much that it may take longer.
pub(super) fn run_within(patience: Duration, mut command: Command) -> String {
    let notes = Notes::new();
    let (stdout, stderr) = notes.ends();
    command.stdin(Stdio::null()).stdout(stdout).stderr(stderr);
    let child = command.spawn().unwrap_or_else(|error| panic!("{command:?} can't be started: {error}"));
    let mut running = Running(child);
    let status = within(patience, || running.0.try_wait().unwrap());
    drop(running);
    let said = notes.read();
    match status {
        Some(status) => assert!(status.success(), "{command:?} ended with {status}, and said:\n{said}"),
        None => panic!("{command:?} did not end within {patience:?}, and said:\n{said}"),
    }
    said
}

/// A server in Python that listens on a port of this machine until it is dropped.
pub(super) struct Server {
    running: Running,
    notes: Notes,
    port: u16,
}

impl Server {
    /// Starts a script, and waits until it has said where it listens.
    pub(super) fn start(python: &Path, name: &str) -> Self {
        Self::start_with(python, name, &[])
    }

    /// The same with arguments.
    pub(super) fn start_with(python: &Path, name: &str, arguments: &[&str]) -> Self {
        let notes = Notes::new();
        let (stdout, stderr) = notes.ends();
        let mut command = self::python(python, name);
        command.args(arguments);
        // It ends with its input: even if nobody is there any more to end it.
        command.stdin(Stdio::piped()).stdout(stdout).stderr(stderr);
        let child = command.spawn().unwrap_or_else(|error| panic!("{command:?} can't be started: {error}"));
        let mut running = Running(child);
        let port = eventually(&format!("{name} listens"), || {
            let said = notes.read();
            assert!(running.0.try_wait().unwrap().is_none(), "{name} ended, and said:\n{said}");
            said.lines().find_map(|line| line.strip_prefix("listening on ")?.parse().ok())
        });
        Self { running, notes, port }
    }

    /// Its address.
    pub(super) fn target(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Ends it; nobody listens there any more then.
    pub(super) fn end(self) {
        drop(self);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.running.end();
        if std::thread::panicking() {
            eprintln!("the server of the test that failed said:\n{}", self.notes.read());
        }
    }
}

/// A process that ends when it is dropped.
struct Running(Child);

impl Running {
    fn end(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}

/// A file without a name, for what a program says.
struct Notes(File);

impl Notes {
    fn new() -> Self {
        Self(tempfile::tempfile().expect("a temporary file"))
    }

    /// For its output and for its errors.
    fn ends(&self) -> (File, File) {
        let end = || self.0.try_clone().expect("a descriptor");
        (end(), end())
    }

    /// What there is by now, read without a move of the place at which the program goes on.
    fn read(&self) -> String {
        let mut said = vec![0; NOTES_BYTES_MAX];
        let mut length = 0;
        while let count @ 1.. = self.0.read_at(&mut said[length..], length as u64).expect("a readable file") {
            length += count;
        }
        String::from_utf8_lossy(&said[..length]).into_owned()
    }
}

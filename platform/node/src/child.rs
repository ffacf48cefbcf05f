//! What a child process of the supervisor does first.

use rustix::process::{Signal, getppid, set_parent_process_death_signal};
use std::io;

/// Asks the kernel to end this process with the supervisor that started it; an error if this one was not started by
/// that one, or it is gone already.
pub fn die_with(supervisor: u32) -> io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let parent = getppid().map(|pid| pid.as_raw_nonzero().get() as u32);
    match parent == Some(supervisor) {
        true => Ok(()),
        false => Err(io::Error::other(format!(
            "this command is started by `skiff up` alone (process {supervisor} is not its parent)"
        ))),
    }
}

//! Why the platform did not do what a component asked of one of its services.

use std::fmt;

/// Why events or messages were not taken. What it prints is for people; a denial names the grant that is missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServiceError {
    /// The task's role does not allow it.
    Denied(String),
    /// There is no such bus or queue.
    NoSuch(String),
    /// There is no room, or too much waits at present: nothing was taken, and it may be tried again.
    Busy(String),
    /// The call can't be so: nothing was taken.
    Invalid(String),
    /// The platform failed: it is not known what was taken.
    Failed(String),
}

impl fmt::Display for ServiceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Denied(text)
            | Self::NoSuch(text)
            | Self::Busy(text)
            | Self::Invalid(text)
            | Self::Failed(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for ServiceError {}

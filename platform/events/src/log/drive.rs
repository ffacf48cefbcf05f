//! What a log writes by: the operating system, or in tests a disk that fills up or fails.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Writes to segment files and syncs them.
pub(crate) trait Drive: Send + Sync {
    /// Writes all of `bytes` at `offset`, or fails, having written some of them perhaps.
    fn write(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Makes what was written to the file last.
    fn sync(&self, file: &File) -> io::Result<()>;
}

/// The operating system's.
pub(crate) struct OsDrive;

impl Drive for OsDrive {
    fn write(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        file.write_all_at(bytes, offset)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        file.sync_data()
    }
}

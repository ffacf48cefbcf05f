//! Copies SQLite's log into the database, on a thread and a connection of its own, so that no write waits for it.
//!
//! A `PASSIVE` checkpoint takes no lock that a writer needs (<https://www.sqlite.org/wal.html#ckpt>). Where writes come without a
//! pause, there are always some that it has not copied yet, and so the log begins anew only once it has the length at which the writer
//! copies by itself: then what came since the last copying is all that is left to copy.

use rusqlite::Connection;
use std::io;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;

/// Writes after which the log is copied: some 2 MiB of it, if each is of an object that lies in the database.
const COPY_WRITES: usize = 128;

/// The thread that copies. Ends it when dropped, and waits for the copying that is under way.
pub(crate) struct LogCopier {
    told: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
    /// Writes since it was told last.
    writes: usize,
}

impl LogCopier {
    /// Starts the thread.
    pub(crate) fn start(connection: Connection) -> io::Result<Self> {
        let (told, copy) = sync_channel(1);
        let run = move || {
            while copy.recv().is_ok() {
                if let Err(error) = skiff_sqlite::copy_log(&connection) {
                    tracing::warn!(%error, "the buckets' log could not be copied; it is tried again when it has grown as much");
                }
            }
        };
        let thread = std::thread::Builder::new().name("buckets-log".to_owned()).spawn(run)?;
        Ok(Self { told: Some(told), thread: Some(thread), writes: 0 })
    }

    /// So many more writes are in the log.
    pub(crate) fn written(&mut self, writes: usize) {
        self.writes += writes;
        if self.writes >= COPY_WRITES
            && let Some(told) = &self.told
        {
            self.writes = 0;
            // If it was told before and has not come to it yet, it will copy these too.
            let _ = told.try_send(());
        }
    }
}

impl Drop for LogCopier {
    fn drop(&mut self) {
        self.told.take();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that copies the buckets' log panicked");
        }
    }
}

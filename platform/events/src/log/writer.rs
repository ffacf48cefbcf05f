//! The thread that writes a log and syncs it, and the mailbox in which what is to be written waits for it.
//!
//! It takes what waits, up to a bound, writes it at once, syncs it at once if any of it asks for that, then answers each
//! in order. What comes meanwhile waits for the next turn: the slower the disk, the more share a sync. Where many come, it waits
//! for more of them before it writes.
//!
//! What always holds: nothing of a write that found no room stays in the file; a write or a sync that failed otherwise is the
//! last.

use super::gather::LastSync;
use super::recovery::{self, Folder};
use super::segments::{Segment, Segments};
use super::{Drive, Durable, LogError, Position, frame};
use bytes::Bytes;
use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// Bytes that wait to be written at most; what would pass it is refused.
pub(super) const WAITING_BYTES_MAX: usize = 128 * 1024 * 1024;
/// Bytes that are written at once; the last record may pass it.
const WRITE_BYTES_MAX: usize = 8 * 1024 * 1024;
/// How long notes wait for an append to go with.
const NOTE_WAIT_MAX: Duration = Duration::from_millis(10);
/// Notes that wait go once they have so many bytes.
const NOTE_BYTES_MAX: usize = 256 * 1024;
/// A segment is filled with zeros up to multiples of this.
const FILL_BYTES: u64 = 512 * 1024;
/// What is filled ahead at least, of which records that free room live when the disk is full.
const RESERVE_BYTES: u64 = 256 * 1024;
/// The buffer keeps no more room than this from one write to the next.
const BUFFER_BYTES_MAX: usize = 2 * WRITE_BYTES_MAX;

static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];

/// What is called with an append's outcome.
pub(super) type Done = Box<dyn FnOnce(Result<Vec<Position>, LogError>) + Send>;

/// Records to be appended together.
pub(super) struct Entry {
    pub(super) records: Vec<Bytes>,
    pub(super) durable: Durable,
    /// Whether it may use what is kept on a full disk.
    pub(super) is_freeing: bool,
    /// Nobody waits for a note.
    pub(super) done: Option<Done>,
}

impl Entry {
    /// Bytes that it takes in the file.
    fn bytes(&self) -> usize {
        self.records.iter().map(|record| frame::HEADER_BYTES + record.len()).sum()
    }

    /// Whether somebody waits for its sync.
    fn is_to_sync(&self) -> bool {
        self.done.is_some() && self.durable == Durable::Drive
    }

    fn answer(self, outcome: Result<Vec<Position>, LogError>) {
        if let Some(done) = self.done {
            done(outcome);
        }
    }
}

/// What waits for the writer.
#[derive(Default)]
pub(super) struct Mailbox {
    waiting: Mutex<Waiting>,
    wake: Condvar,
}

#[derive(Default)]
struct Waiting {
    entries: VecDeque<Entry>,
    bytes: usize,
    /// Whether somebody waits for an answer.
    is_awaited: bool,
    /// How many wait for a sync.
    to_sync: usize,
    /// Segments before this are to be deleted.
    forget_before: u64,
    sleep: Sleep,
    is_closing: bool,
    has_ended: bool,
    /// Why nothing more is taken.
    refusal: Option<LogError>,
    closers: Vec<oneshot::Sender<()>>,
}

/// How the writer sleeps, so that it is woken only where that is needed: a call of the system each.
#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum Sleep {
    #[default]
    Awake,
    /// Until anything comes.
    Idle,
    /// Until its notes have waited long enough, or somebody waits.
    WithNotes,
    /// Until so many wait for a sync, or it has waited for them long enough.
    ForMore(usize),
}

/// What the writer is to do in a turn.
struct Turn {
    entries: Vec<Entry>,
    forget_before: u64,
    is_last: bool,
}

impl Mailbox {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes the writer: without the lock, which it takes first.
    fn wake(&self, mut waiting: MutexGuard<'_, Waiting>) {
        waiting.sleep = Sleep::Awake;
        drop(waiting);
        self.wake.notify_one();
    }

    /// Takes an entry in, or says why not.
    pub(super) fn put(&self, entry: Entry) -> Result<(), LogError> {
        let bytes = entry.bytes();
        let mut waiting = self.lock();
        if let Some(refusal) = &waiting.refusal {
            return Err(refusal.clone());
        }
        if waiting.is_closing {
            return Err(LogError::Closed);
        }
        if waiting.bytes > 0 && waiting.bytes + bytes > WAITING_BYTES_MAX {
            return Err(LogError::Busy);
        }
        waiting.bytes += bytes;
        waiting.to_sync += usize::from(entry.is_to_sync());
        waiting.is_awaited |= entry.done.is_some() || waiting.bytes >= NOTE_BYTES_MAX;
        waiting.entries.push_back(entry);
        let is_to_wake = match waiting.sleep {
            Sleep::Awake => false,
            Sleep::Idle => true,
            Sleep::WithNotes => waiting.is_awaited,
            Sleep::ForMore(wanted) => waiting.to_sync >= wanted || waiting.bytes >= WRITE_BYTES_MAX,
        };
        if is_to_wake {
            self.wake(waiting);
        }
        Ok(())
    }

    /// Has segments deleted that lie before this.
    pub(super) fn forget_before(&self, position: u64) {
        let mut waiting = self.lock();
        if position > waiting.forget_before {
            waiting.forget_before = position;
            waiting.is_awaited = true;
            if waiting.sleep != Sleep::Awake {
                self.wake(waiting);
            }
        }
    }

    /// Has the writer end after what waits; it answers when it has.
    pub(super) fn close(&self, reply: Option<oneshot::Sender<()>>) {
        let mut waiting = self.lock();
        waiting.is_closing = true;
        if !waiting.has_ended {
            waiting.closers.extend(reply);
        }
        self.wake(waiting);
    }

    /// Waits for something to do.
    fn next(&self, last: Option<LastSync>) -> Turn {
        let mut waiting = self.lock();
        let mut notes_until: Option<Instant> = None;
        while !waiting.is_awaited && !waiting.is_closing {
            if waiting.entries.is_empty() {
                waiting.sleep = Sleep::Idle;
                waiting = self.wake.wait(waiting).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let now = Instant::now();
            let until = *notes_until.get_or_insert(now + NOTE_WAIT_MAX);
            if until <= now {
                break;
            }
            waiting.sleep = Sleep::WithNotes;
            let woken = self.wake.wait_timeout(waiting, until - now);
            waiting = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
        if let Some(last) = last {
            waiting = self.gather(waiting, last);
        }
        waiting.sleep = Sleep::Awake;
        let mut entries = Vec::new();
        let mut taken = 0;
        while taken < WRITE_BYTES_MAX
            && let Some(entry) = waiting.entries.pop_front()
        {
            taken += entry.bytes();
            waiting.to_sync -= usize::from(entry.is_to_sync());
            entries.push(entry);
        }
        waiting.bytes -= taken;
        waiting.is_awaited = !waiting.entries.is_empty();
        let is_last = waiting.is_closing && waiting.entries.is_empty();
        Turn { entries, forget_before: waiting.forget_before, is_last }
    }

    /// Waits for more that are to share the sync of what waits, if that is worth it.
    fn gather<'a>(&self, mut waiting: MutexGuard<'a, Waiting>, last: LastSync) -> MutexGuard<'a, Waiting> {
        let Some(wanted) = last.wanted(waiting.to_sync) else { return waiting };
        while waiting.to_sync < wanted
            && waiting.bytes < WRITE_BYTES_MAX
            && !waiting.is_closing
            && let Some(time) = last.time_left(Instant::now())
        {
            waiting.sleep = Sleep::ForMore(wanted);
            let woken = self.wake.wait_timeout(waiting, time);
            waiting = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
        waiting
    }

    /// Nothing more is taken, and this is why.
    fn refuse(&self, refusal: LogError) {
        self.lock().refusal.get_or_insert(refusal);
    }
}

/// Says to all who wait that the writer has ended, however it did.
struct Ending(Arc<Mailbox>);

impl Drop for Ending {
    fn drop(&mut self) {
        let mut waiting = self.0.lock();
        waiting.has_ended = true;
        waiting.refusal.get_or_insert(LogError::Closed);
        let (left, closers) = (std::mem::take(&mut waiting.entries), std::mem::take(&mut waiting.closers));
        drop(waiting);
        for entry in left {
            entry.answer(Err(LogError::Closed));
        }
        for closer in closers {
            // Who no longer waits for the end does not need to know.
            let _ = closer.send(());
        }
    }
}

/// The thread's belongings.
pub(super) struct Writer {
    folder: Folder,
    segment_bytes: u64,
    drive: Arc<dyn Drive>,
    segments: Arc<Segments>,
    mailbox: Arc<Mailbox>,
    /// Where the next record goes.
    end: u64,
    /// Everything before this is on the drive.
    synced: u64,
    last_sync: Option<LastSync>,
    /// What the newest mark says.
    marked: u64,
    /// The end of the last segment's file, which is zeros from `end` on.
    filled_to: u64,
    buffer: Vec<u8>,
    /// A new segment could not be opened; the old one goes on until one can.
    is_cramped: bool,
    /// Not needed any more, and could not be removed yet.
    leaving: Option<Arc<Segment>>,
}

impl Writer {
    /// Writes at the end of the last segment.
    pub(super) fn new(
        folder: Folder,
        segment_bytes: u64,
        drive: Arc<dyn Drive>,
        segments: Arc<Segments>,
        mailbox: Arc<Mailbox>,
        end: u64,
    ) -> Self {
        // What the process before had written, it had perhaps not synced.
        let synced = segments.last().map_or(end, |last| last.start);
        Self {
            folder,
            segment_bytes,
            drive,
            segments,
            mailbox,
            end,
            synced,
            last_sync: None,
            marked: synced,
            filled_to: end,
            buffer: Vec::new(),
            is_cramped: false,
            leaving: None,
        }
    }

    /// Writes until the log is closed and nothing waits.
    pub(super) fn run(mut self) {
        let ending = Ending(self.mailbox.clone());
        let mut failure: Option<LogError> = None;
        loop {
            let turn = self.mailbox.next(self.last_sync);
            match &failure {
                Some(failure) => refuse(turn.entries, failure),
                None => failure = self.write_all(turn.entries).err(),
            }
            if let Some(failure) = &failure {
                self.mailbox.refuse(failure.clone());
            }
            self.forget_before(turn.forget_before);
            if turn.is_last {
                break;
            }
        }
        if failure.is_none()
            && let Err(error) = self.finish()
        {
            tracing::warn!(%error, "the log could not be finished; its next start reads it as after a crash");
        }
        drop(ending);
    }

    /// Writes entries and answers them; an error is the end.
    fn write_all(&mut self, entries: Vec<Entry>) -> Result<(), LogError> {
        if entries.is_empty() {
            return Ok(());
        }
        match self.write(&entries) {
            Ok(()) => return self.settle(entries),
            Err(LogError::Full) => {}
            Err(failure) => return Err(self.fail(entries, failure)),
        }
        let (freeing, others): (Vec<_>, Vec<_>) = entries.into_iter().partition(|entry| entry.is_freeing);
        let outcome = match self.write(&freeing) {
            Ok(()) => self.settle(freeing),
            Err(LogError::Full) => {
                refuse(freeing, &LogError::Full);
                Ok(())
            }
            Err(failure) => Err(self.fail(freeing, failure)),
        };
        refuse(others, outcome.as_ref().err().unwrap_or(&LogError::Full));
        outcome
    }

    fn fail(&self, entries: Vec<Entry>, failure: LogError) -> LogError {
        tracing::error!(folder = %self.folder.path.display(), error = ?failure, "a log could not be written");
        self.mailbox.refuse(failure.clone());
        refuse(entries, &failure);
        failure
    }

    /// Writes entries, all or nothing.
    fn write(&mut self, entries: &[Entry]) -> Result<(), LogError> {
        let bytes = entries.iter().map(Entry::bytes).sum::<usize>();
        if bytes == 0 {
            return Ok(());
        }
        let is_freeing = entries.iter().all(|entry| entry.is_freeing);
        let segment = self.room_for((bytes + frame::MARK_BYTES) as u64, is_freeing)?;
        self.buffer.clear();
        if self.synced > self.marked {
            frame::put_mark(&mut self.buffer, self.end, self.synced);
        }
        for record in entries.iter().flat_map(|entry| &entry.records) {
            let at = self.end + self.buffer.len() as u64;
            frame::put(&mut self.buffer, at, record);
        }
        let offset = self.end - segment.start;
        if let Err(error) = self.drive.write(&segment.file, &self.buffer, offset) {
            let error = LogError::from(error);
            if matches!(error, LogError::Full) {
                self.undo(&segment)?;
            }
            return Err(error);
        }
        self.marked = self.synced;
        Ok(())
    }

    /// Takes out of the file what a write without room left there.
    fn undo(&mut self, segment: &Segment) -> Result<(), LogError> {
        recovery::cut(&segment.file, self.end - segment.start)
            .map_err(|error| LogError::Io(Arc::new(error)))?;
        self.filled(self.end, segment);
        Ok(())
    }

    /// Answers the entries that were just written, those for the drive after a sync.
    fn settle(&mut self, entries: Vec<Entry>) -> Result<(), LogError> {
        // A mark went first, if there is more in the buffer than the entries' own.
        let own = entries.iter().map(Entry::bytes).sum::<usize>();
        let written = if own == 0 { 0 } else { self.buffer.len() };
        let mut at = self.end + (written - own) as u64;
        self.end += written as u64;
        self.segments.set_end(self.end);
        let is_for_the_drive = entries.iter().any(|entry| entry.durable == Durable::Drive);
        let (began, answered) = (Instant::now(), entries.iter().filter(|entry| entry.is_to_sync()).count());
        if is_for_the_drive && let Err(failure) = self.sync() {
            return Err(self.fail(entries, failure));
        }
        let took = began.elapsed();
        for entry in entries {
            let mut positions = Vec::new();
            if entry.done.is_some() {
                positions.reserve_exact(entry.records.len());
            }
            for record in &entry.records {
                if entry.done.is_some() {
                    positions.push(Position(at));
                }
                at += (frame::HEADER_BYTES + record.len()) as u64;
            }
            entry.answer(Ok(positions));
        }
        if answered > 0 {
            self.last_sync = Some(LastSync { answered, took, ended: Instant::now() });
        }
        if self.buffer.capacity() > BUFFER_BYTES_MAX {
            self.buffer = Vec::new();
        }
        Ok(())
    }

    fn sync(&mut self) -> Result<(), LogError> {
        if self.synced == self.end {
            return Ok(());
        }
        if let Some(segment) = self.segments.last() {
            self.drive.sync(&segment.file).map_err(|error| LogError::Io(Arc::new(error)))?;
        }
        self.synced = self.end;
        Ok(())
    }

    /// The segment that so many bytes go to: the last, or a new one if that has enough; filled ahead where there is room.
    fn room_for(&mut self, bytes: u64, is_freeing: bool) -> Result<Arc<Segment>, LogError> {
        match self.make_room(bytes) {
            // What is filled already is enough for what frees room.
            Err(LogError::Full) if is_freeing && self.end + bytes <= self.filled_to => {}
            outcome => outcome?,
        }
        self.segments.last().ok_or(LogError::Closed)
    }

    fn make_room(&mut self, bytes: u64) -> Result<(), LogError> {
        let Some(last) = self.segments.last() else { return Err(LogError::Closed) };
        let wanted = self.end + bytes + RESERVE_BYTES;
        if self.end - last.start >= self.segment_bytes {
            match self.roll(&last, wanted) {
                Err(LogError::Io(error)) if recovery::is_of_open_files(&error) => {
                    self.go_on_with(&last, &error)
                }
                outcome => return outcome,
            }
        }
        if wanted > self.filled_to {
            let to = fill_to(&last, wanted);
            self.fill(&last, self.filled_to, to)?;
            self.filled(to, &last);
        }
        Ok(())
    }

    /// A segment becomes longer than it should: better than no log.
    fn go_on_with(&mut self, last: &Segment, error: &io::Error) {
        if !std::mem::replace(&mut self.is_cramped, true) {
            let file = last.path.display();
            tracing::warn!(%file, %error, "a segment goes on, since no other can be opened: allow more open files");
        }
    }

    /// Ends a segment and makes the next one, filled ahead; if there is no room for that, the old one goes on.
    fn roll(&mut self, old: &Segment, wanted: u64) -> Result<(), LogError> {
        self.sync()?;
        let new = recovery::create(&self.folder, self.end)?;
        self.is_cramped = false;
        let to = fill_to(&new, wanted);
        if let Err(error) = self.fill(&new, new.start, to) {
            recovery::remove(&self.folder, &new.path)?;
            return Err(error.into());
        }
        // The zeros after its records are of no use any more; if they stay, they do no harm.
        if let Err(error) = old.file.set_len(self.end - old.start) {
            tracing::warn!(file = %old.path.display(), %error, "a segment could not be cut to its records");
        }
        self.segments.push(new.clone());
        self.filled(to, &new);
        Ok(())
    }

    /// Writes zeros from a position to another.
    fn fill(&self, segment: &Segment, from: u64, to: u64) -> io::Result<()> {
        let mut at = from;
        while at < to {
            let zeros = &ZEROS[..ZEROS.len().min((to - at) as usize)];
            self.drive.write(&segment.file, zeros, at - segment.start)?;
            at += zeros.len() as u64;
        }
        Ok(())
    }

    fn filled(&mut self, to: u64, segment: &Segment) {
        self.filled_to = to;
        self.segments.set_last_bytes(to - segment.start);
    }

    /// Deletes the segments that lie before this as a whole; one after the other for good, or a log that is opened again could
    /// have a hole.
    fn forget_before(&mut self, position: u64) {
        let is_another_time = self.leaving.is_some();
        while let Some(segment) =
            self.leaving.take().or_else(|| self.segments.pop_before(position.min(self.end)))
        {
            let removed = match std::fs::remove_file(&segment.path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => self.folder.sync(),
            };
            if let Err(error) = removed {
                if !is_another_time {
                    let file = segment.path.display();
                    tracing::warn!(%file, %error, "a segment that is not needed can't be removed; it is tried again");
                }
                self.leaving = Some(segment);
                return;
            }
        }
    }

    /// Syncs the rest, and marks it as synced.
    fn finish(&mut self) -> Result<(), LogError> {
        self.sync()?;
        let Some(segment) = self.segments.last() else { return Ok(()) };
        let offset = self.end - segment.start;
        if self.synced > self.marked && self.end + frame::MARK_BYTES as u64 <= self.filled_to {
            self.buffer.clear();
            frame::put_mark(&mut self.buffer, self.end, self.synced);
            self.drive.write(&segment.file, &self.buffer, offset)?;
            self.drive.sync(&segment.file)?;
        }
        Ok(())
    }
}

/// Up to where a segment is filled that is to have zeros up to a position at least.
fn fill_to(segment: &Segment, wanted: u64) -> u64 {
    segment.start + (wanted - segment.start).next_multiple_of(FILL_BYTES)
}

fn refuse(entries: Vec<Entry>, refusal: &LogError) {
    for entry in entries {
        entry.answer(Err(refusal.clone()));
    }
}

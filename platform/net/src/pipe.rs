//! A connection within one worker: two ways through memory, with back-pressure.
//!
//! Bytes pass as they were written, without a copy, and never wait for others: a read gives one piece of what was
//! written, or its first part. Until something is written, and once all is read, a way holds no bytes. What waits is
//! charged to the task that wrote it.
//!
//! What always holds: who waits to read is woken by the first bytes that come, who waits to write once a quarter of the
//! room is free, and nobody otherwise; what waits is bounded in bytes, each piece counted with what it costs to keep, and
//! charged until all of it is read; a reset forgets what waits, but for what the side that is still there had not read yet
//! when the other went away.

use crate::charge::Charge;
use crate::error::NetError;
use crate::flow::Reset;
use crate::socket::Waiting;
use bytes::Bytes;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::{Context, Poll};

/// What a piece that waits costs beside its bytes: its place in the queue, and its heads in the heap.
const PIECE_BYTES: usize = 128;
/// Least room of a way, so that a piece always fits.
const ROOM_BYTES_MIN: usize = 16 * PIECE_BYTES;
/// Places for pieces that an empty way keeps.
const PLACES_KEPT: usize = 16;

/// A connection's two ways, by the side that writes.
pub(crate) struct Pipe {
    ways: [Way; 2],
    room_bytes: usize,
}

/// One side of a pipe.
pub(crate) struct End {
    pipe: Rc<Pipe>,
    side: usize,
}

/// What one side writes and the other reads.
struct Way {
    pieces: RefCell<VecDeque<Piece>>,
    /// The pieces' bytes that wait.
    waiting_bytes: Cell<usize>,
    /// What the pieces hold of memory, which is charged.
    charged_bytes: Cell<usize>,
    writer: Cell<Writer>,
    reader: Cell<Reader>,
    wants_to_read: Waiting,
    wants_to_write: Waiting,
    /// Of the task that writes.
    charge: Rc<Charge>,
}

/// What was written at once, as far as it was not read.
struct Piece {
    bytes: Bytes,
    /// What it was charged with: until it is read whole, it holds all its memory.
    charged_bytes: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Writer {
    Writes,
    /// After what waits is the end.
    Ended,
    /// After what waits is a reset.
    Broken,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reader {
    Reads,
    /// What is written is forgotten.
    Forgets,
    /// There is none any more: writing fails.
    Gone,
}

/// A connection with room for `room_bytes` each way, and what each side writes on its charge.
pub(crate) fn pair(room_bytes: usize, charges: [Rc<Charge>; 2]) -> (End, End) {
    let ways = charges.map(Way::new);
    let pipe = Rc::new(Pipe { ways, room_bytes: room_bytes.max(ROOM_BYTES_MIN) });
    (End { pipe: pipe.clone(), side: 0 }, End { pipe, side: 1 })
}

impl End {
    /// The connection, for those who may break it off.
    pub(crate) fn pipe(&self) -> &Rc<Pipe> {
        &self.pipe
    }

    fn outgoing(&self) -> &Way {
        &self.pipe.ways[self.side]
    }

    fn incoming(&self) -> &Way {
        &self.pipe.ways[1 - self.side]
    }

    pub(crate) fn poll_read(
        &self,
        context: &mut Context<'_>,
        bytes_max: usize,
    ) -> Poll<Result<Bytes, NetError>> {
        let way = self.incoming();
        if way.reader.get() != Reader::Reads {
            return Poll::Ready(Ok(Bytes::new()));
        }
        if let Some(bytes) = way.take(bytes_max.max(1)) {
            if self.pipe.room(way).is_some() {
                way.wants_to_write.wake();
            }
            return Poll::Ready(Ok(bytes));
        }
        match way.writer.get() {
            Writer::Ended => Poll::Ready(Ok(Bytes::new())),
            Writer::Broken => Poll::Ready(Err(NetError::Reset)),
            Writer::Writes => {
                way.wants_to_read.wait(context);
                Poll::Pending
            }
        }
    }

    pub(crate) fn poll_writable(&self, context: &mut Context<'_>) -> Poll<Result<usize, NetError>> {
        let way = self.outgoing();
        way.check_writer()?;
        match self.pipe.room(way) {
            Some(bytes) => Poll::Ready(Ok(bytes)),
            None => {
                way.wants_to_write.wait(context);
                Poll::Pending
            }
        }
    }

    pub(crate) fn write(&self, bytes: Bytes) -> Result<(), NetError> {
        let way = self.outgoing();
        way.check_writer()?;
        if bytes.is_empty() || way.reader.get() == Reader::Forgets {
            return Ok(());
        }
        // What was said to fit may come in many pieces: what those cost on top is charged, but nobody's mistake.
        let waiting_bytes = way.waiting_bytes.get() + bytes.len();
        if waiting_bytes > self.pipe.room_bytes {
            return Err(NetError::InvalidState);
        }
        let charged_bytes = PIECE_BYTES + bytes.len();
        way.charge.take(charged_bytes as u64)?;
        way.charged_bytes.set(way.charged_bytes.get() + charged_bytes);
        way.waiting_bytes.set(waiting_bytes);
        way.pieces.borrow_mut().push_back(Piece { bytes, charged_bytes });
        way.wants_to_read.wake();
        Ok(())
    }

    pub(crate) fn shutdown_read(&self) {
        let way = self.incoming();
        if way.reader.get() == Reader::Reads {
            way.reader.set(Reader::Forgets);
            way.forget();
            way.wake();
        }
    }

    pub(crate) fn shutdown_write(&self) {
        let way = self.outgoing();
        if way.writer.get() == Writer::Writes {
            way.writer.set(Writer::Ended);
            way.wake();
        }
    }

    /// Whether something is here that nobody has read.
    pub(crate) fn is_unread(&self) -> bool {
        !self.incoming().pieces.borrow().is_empty()
    }

    pub(crate) fn reset(&self) {
        self.pipe.reset();
    }
}

/// Tells the other side the end; or a reset, if there was still something to read or to be written.
impl Drop for End {
    fn drop(&mut self) {
        let (incoming, outgoing) = (self.incoming(), self.outgoing());
        if self.is_unread() || outgoing.writer.get() == Writer::Writes {
            outgoing.writer.set(Writer::Broken);
            incoming.writer.set(Writer::Broken);
        }
        incoming.reader.set(Reader::Gone);
        incoming.forget();
        incoming.wake();
        outgoing.wake();
    }
}

impl Pipe {
    /// Bytes that one more piece may have; none while the room is less than a quarter.
    fn room(&self, way: &Way) -> Option<usize> {
        match way.reader.get() {
            Reader::Forgets => Some(self.room_bytes - PIECE_BYTES),
            Reader::Reads | Reader::Gone => {
                let room_bytes = self.room_bytes.saturating_sub(way.cost_bytes());
                (room_bytes >= self.room_bytes / 4).then(|| room_bytes - PIECE_BYTES)
            }
        }
    }
}

impl Reset for Pipe {
    fn reset(&self) {
        for way in &self.ways {
            way.writer.set(Writer::Broken);
            way.forget();
        }
        self.ways.iter().for_each(Way::wake);
    }
}

impl Way {
    fn new(charge: Rc<Charge>) -> Self {
        Self {
            pieces: RefCell::default(),
            waiting_bytes: Cell::new(0),
            charged_bytes: Cell::new(0),
            writer: Cell::new(Writer::Writes),
            reader: Cell::new(Reader::Reads),
            wants_to_read: Waiting::default(),
            wants_to_write: Waiting::default(),
            charge,
        }
    }

    fn check_writer(&self) -> Result<(), NetError> {
        match (self.writer.get(), self.reader.get()) {
            (Writer::Broken, _) => Err(NetError::Reset),
            (Writer::Ended, _) => Err(NetError::Closed),
            (Writer::Writes, Reader::Gone) => Err(NetError::Reset),
            (Writer::Writes, Reader::Reads | Reader::Forgets) => Ok(()),
        }
    }

    /// The next piece, or as much of it as is asked for.
    fn take(&self, bytes_max: usize) -> Option<Bytes> {
        let mut pieces = self.pieces.borrow_mut();
        let first = pieces.front_mut()?;
        let (bytes, freed_bytes) = match first.bytes.len() > bytes_max {
            true => (first.bytes.split_to(bytes_max), 0),
            false => pieces.pop_front().map(|piece| (piece.bytes, piece.charged_bytes))?,
        };
        if pieces.is_empty() {
            pieces.shrink_to(PLACES_KEPT);
        }
        drop(pieces);
        self.waiting_bytes.set(self.waiting_bytes.get() - bytes.len());
        self.free(freed_bytes);
        Some(bytes)
    }

    fn forget(&self) {
        self.waiting_bytes.set(0);
        drop(self.pieces.take());
        self.free(self.charged_bytes.get());
    }

    fn free(&self, bytes: usize) {
        self.charged_bytes.set(self.charged_bytes.get() - bytes);
        self.charge.give_back(bytes as u64);
    }

    /// What it takes of the room.
    fn cost_bytes(&self) -> usize {
        self.waiting_bytes.get() + PIECE_BYTES * self.pieces.borrow().len()
    }

    fn wake(&self) {
        self.wants_to_read.wake();
        self.wants_to_write.wake();
    }
}

//! A stream between two workers of a node: a Unix socket that carries frames.
//!
//! A frame is four bytes, the kind in the first and the length in the other three (little-endian), and what belongs to it.
//! The side that was asked to open the line sends the answer first: accepted, refused, or denied with a sentence that says
//! which rule is missing. Then each side sends data and, at its end, the last frame. A socket that closes without a last
//! frame is a reset: that is also what remains of a worker that died, and what still gets through when the socket is
//! full.
//!
//! It deliberately knows no rules and counts nothing. How a line comes to be is in `wires`; what waits, and for how long,
//! in `socket`.
//!
//! What always holds: between two reads a line holds no bytes but of frames that were asked for, and one that is idle
//! holds no memory to read into.

use crate::charge::Charge;
use crate::error::NetError;
use crate::kernel::LINE_BUFFER_BYTES;
use crate::socket::{Socket, net_error};
use bytes::{Buf, Bytes, BytesMut};
use rustix::net::{SendFlags, sockopt};
use std::cell::RefCell;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use tokio::net::UnixStream;

/// Bytes of data in a frame.
pub(crate) const FRAME_BYTES_MAX: usize = 64 << 10;
/// Bytes before each frame's data.
const HEAD_BYTES: usize = 4;
/// Bytes of the sentence that says which rule is missing.
const SENTENCE_BYTES_MAX: usize = 1 << 10;
/// Of a frame that has more bytes than this to come, no more is read than it and the next one's head: so its data is
/// where it can be handed on as it is. Shorter ones are read together and copied together.
const JOINED_BYTES_MAX: usize = 16 << 10;
/// The frame that ends one side's data.
pub(crate) const END: [u8; HEAD_BYTES] = head(Kind::End, 0);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Data = 0,
    End = 1,
    Accepted = 2,
    Refused = 3,
    Denied = 4,
}

const fn head(kind: Kind, bytes: usize) -> [u8; HEAD_BYTES] {
    let [low, middle, high, _] = (bytes as u32).to_le_bytes();
    [kind as u8, low, middle, high]
}

/// What the worker that was asked for a line says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer<'a> {
    /// The line is open.
    Accepted,
    /// Nobody listens there.
    Refused,
    /// A rule is missing: this one.
    Denied(&'a str),
}

/// Sends the answer on a socket that nobody has read or written yet.
pub(crate) fn answer(socket: impl AsFd, answer: Answer<'_>) -> Result<(), NetError> {
    let (kind, text) = match answer {
        Answer::Accepted => (Kind::Accepted, ""),
        Answer::Refused => (Kind::Refused, ""),
        Answer::Denied(text) => (Kind::Denied, &text[..text.floor_char_boundary(SENTENCE_BYTES_MAX)]),
    };
    let frame = [head(kind, text.len()).as_slice(), text.as_bytes()].concat();
    // An empty socket takes so little at once. It fails where the other side has given up.
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    let sent = rustix::net::send(socket, &frame, flags).map_err(|error| net_error(&error.into()))?;
    if sent == frame.len() { Ok(()) } else { Err(NetError::Reset) }
}

/// One end of a line. Lives on one thread, in a `LocalSet`.
pub(crate) struct Line {
    socket: Socket<UnixStream>,
    incoming: RefCell<Incoming>,
}

#[derive(Default)]
struct Incoming {
    /// What was read and not handed on: less than a head, or data that nobody has asked for yet.
    buffer: BytesMut,
    /// Bytes of the present frame that are still to come, or in the buffer.
    to_come_bytes: usize,
    has_ended: bool,
}

impl Line {
    /// The end of a line, from a socket that does not block. Within a runtime.
    pub(crate) fn new(socket: OwnedFd, charge: Rc<Charge>) -> Result<Self, NetError> {
        // What a Unix socket has sent and nobody has read is on the sender's account with the kernel: there is no bound
        // to set for the other direction.
        let bounded = sockopt::set_socket_send_buffer_size(&socket, LINE_BUFFER_BYTES);
        bounded.map_err(|error| net_error(&error.into()))?;
        let socket = UnixStream::from_std(socket.into()).map_err(|error| net_error(&error))?;
        Ok(Self { socket: Socket::new(socket, charge), incoming: RefCell::default() })
    }

    /// What the other side answers; asked for once, before anything else.
    pub(crate) fn poll_answer(&self, cx: &mut Context<'_>) -> Poll<Result<(), NetError>> {
        let incoming = &mut *self.incoming.borrow_mut();
        loop {
            if let Some(answer) = incoming.take_answer() {
                return Poll::Ready(answer);
            }
            let bytes_max = HEAD_BYTES + SENTENCE_BYTES_MAX;
            if ready!(self.socket.poll_read(cx, &mut incoming.buffer, bytes_max))? == 0 {
                // Its worker is gone, or let go of it without a word.
                return Poll::Ready(Err(NetError::Refused));
            }
        }
    }

    pub(crate) fn poll_read(&self, cx: &mut Context<'_>, bytes_max: usize) -> Poll<Result<Bytes, NetError>> {
        let bytes_max = bytes_max.clamp(1, FRAME_BYTES_MAX);
        let incoming = &mut *self.incoming.borrow_mut();
        loop {
            let taken = incoming.take(bytes_max)?;
            if !taken.is_empty() || incoming.has_ended {
                return Poll::Ready(Ok(taken));
            }
            let to_read_bytes = incoming.to_read_bytes(bytes_max);
            let read = self.socket.poll_read(cx, &mut incoming.buffer, to_read_bytes);
            if read.is_pending() && incoming.buffer.is_empty() {
                incoming.buffer = BytesMut::new();
            }
            if ready!(read)? == 0 {
                return Poll::Ready(Err(NetError::Reset));
            }
        }
    }

    pub(crate) fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<Result<usize, NetError>> {
        self.socket.poll_writable(cx).map_ok(|()| FRAME_BYTES_MAX)
    }

    pub(crate) fn write(&self, bytes: Bytes) -> Result<(), NetError> {
        match bytes.len() {
            0 => Ok(()),
            1..=FRAME_BYTES_MAX => self.socket.write(&head(Kind::Data, bytes.len()), bytes),
            _ => Err(NetError::InvalidState),
        }
    }

    pub(crate) fn shutdown_read(&self) {
        let forgotten = self.incoming.replace(Incoming { has_ended: true, ..Incoming::default() });
        if !forgotten.has_ended {
            self.socket.forget_incoming();
        }
    }

    pub(crate) fn shutdown_write(&self) {
        self.socket.end();
    }

    /// Keeps something until all that was written is sent, or given up.
    pub(crate) fn hold_while_sending<T: 'static>(&self, held: T) {
        self.socket.hold_while_sending(held);
    }

    /// Whether data is here that nobody has read. Who lets go of the line then resets it before it sends a last frame,
    /// which can't be taken back.
    pub(crate) fn is_unread(&self) -> bool {
        let incoming = self.incoming.borrow();
        // A last frame that nobody looked for is not data.
        let is_data = || incoming.buffer.len() as u64 + self.socket.unread_bytes() > END.len() as u64;
        !incoming.has_ended && (incoming.to_come_bytes > 0 || is_data())
    }

    pub(crate) fn reset(&self) {
        *self.incoming.borrow_mut() = Incoming::default();
        self.socket.reset();
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if self.is_unread() || !self.socket.is_ended() {
            self.socket.reset();
        }
    }
}

impl Incoming {
    /// The answer, once it is here whole.
    fn take_answer(&mut self) -> Option<Result<(), NetError>> {
        let (kind, bytes) = self.peek_head()?;
        let whole = HEAD_BYTES + bytes;
        let answer = match kind {
            Some(Kind::Accepted) => Ok(()),
            Some(Kind::Refused) => Err(NetError::Refused),
            Some(Kind::Denied) if self.buffer.len() >= whole => {
                let sentence = String::from_utf8_lossy(&self.buffer[HEAD_BYTES..whole]);
                Err(NetError::Denied(sentence.into_owned()))
            }
            Some(Kind::Denied) if bytes <= SENTENCE_BYTES_MAX => return None,
            Some(Kind::Denied | Kind::Data | Kind::End) | None => Err(NetError::Reset),
        };
        self.buffer.advance(HEAD_BYTES);
        Some(answer)
    }

    /// The data that is there, at most `bytes_max` of it; none if there is none.
    fn take(&mut self, bytes_max: usize) -> Result<Bytes, NetError> {
        let mut taken = Bytes::new();
        let mut joined = BytesMut::new();
        loop {
            let left_bytes = bytes_max - taken.len() - joined.len();
            let piece_bytes = self.to_come_bytes.min(self.buffer.len()).min(left_bytes);
            if piece_bytes > 0 {
                let piece = self.buffer.split_to(piece_bytes).freeze();
                self.to_come_bytes -= piece_bytes;
                match taken.is_empty() && joined.is_empty() {
                    true => taken = piece,
                    false => {
                        if joined.is_empty() {
                            let there_bytes = taken.len() + piece.len() + self.buffer.len();
                            joined.reserve(there_bytes.min(bytes_max));
                        }
                        joined.extend_from_slice(&std::mem::take(&mut taken));
                        joined.extend_from_slice(&piece);
                    }
                }
            }
            // What is not yet here, or not asked for, or comes after the end.
            if self.to_come_bytes > 0 || self.has_ended || piece_bytes == left_bytes {
                break;
            }
            let Some((kind, bytes)) = self.peek_head() else { break };
            match kind {
                Some(Kind::Data) if (1..=FRAME_BYTES_MAX).contains(&bytes) => self.to_come_bytes = bytes,
                Some(Kind::End) if bytes == 0 => self.has_ended = true,
                Some(Kind::Data | Kind::End | Kind::Accepted | Kind::Refused | Kind::Denied) | None => {
                    return Err(NetError::Reset);
                }
            }
            self.buffer.advance(HEAD_BYTES);
        }
        Ok(if joined.is_empty() { taken } else { joined.freeze() })
    }

    /// How much to read at once if `bytes_max` of data are asked for, and none is here: no more of it than that.
    fn to_read_bytes(&self, bytes_max: usize) -> usize {
        match self.to_come_bytes {
            many if many > bytes_max => bytes_max,
            many if many > JOINED_BYTES_MAX => many + HEAD_BYTES,
            _ => bytes_max + HEAD_BYTES - self.buffer.len(),
        }
    }

    /// The head of the next frame, if all of it is here: its kind, if there is such a kind, and its length.
    fn peek_head(&self) -> Option<(Option<Kind>, usize)> {
        let &[kind, low, middle, high] = self.buffer.first_chunk::<HEAD_BYTES>()?;
        let kinds = [Kind::Data, Kind::End, Kind::Accepted, Kind::Refused, Kind::Denied];
        let kind = kinds.into_iter().find(|known| *known as u8 == kind);
        Some((kind, u32::from_le_bytes([low, middle, high, 0]) as usize))
    }
}

#[cfg(test)]
mod tests;

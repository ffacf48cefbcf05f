//! What a worker asks for its guests, and what it is answered: frames over a Unix stream socket of its own, the data socket.
//!
//! A frame is its payload's length (u32, little-endian), the id that tells one question from another (u64, likewise), and the
//! payload in postcard's bytes: of a question the task and its [`GuestCall`], of an answer what the call comes to. It deliberately
//! reads no payload before who waits for it does. What always holds: frames that wait are written together, and what a frame
//! claims beyond [`CALL_BYTES_MAX`] is an error before it has any memory.
//!
//! [`GuestCall`]: skiff_ports::guest_calls::GuestCall

use super::RequestId;
use bytes::{Bytes, BytesMut};
use postcard::ser_flavors::Size;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

/// The longest payload, in bytes: more than the largest call has, which are messages of a queue, ten at a time.
pub const CALL_BYTES_MAX: usize = 16 << 20;
const LENGTH_BYTES: usize = 4;
const HEADER_BYTES: usize = LENGTH_BYTES + size_of::<RequestId>();
/// Bytes that are read at once.
const READ_BYTES: usize = 64 << 10;
/// Frames are gathered until they have so many bytes; one that has them alone is written as it is.
const BATCH_BYTES: usize = 128 << 10;

/// A question or an answer as a frame.
///
/// # Errors
/// If it is longer than a frame may be.
pub fn call_frame<M: Serialize>(id: RequestId, message: &M) -> io::Result<Bytes> {
    let mut frame = postcard::to_extend(message, vec![0; HEADER_BYTES])
        .map_err(|error| invalid(format!("a call can't be written: {error}")))?;
    let length = frame.len() - HEADER_BYTES;
    if length > CALL_BYTES_MAX {
        return Err(invalid(format!("a call or answer of {length} bytes; the most is {CALL_BYTES_MAX}")));
    }
    frame[..LENGTH_BYTES].copy_from_slice(&(length as u32).to_le_bytes());
    frame[LENGTH_BYTES..HEADER_BYTES].copy_from_slice(&id.to_le_bytes());
    Ok(frame.into())
}

/// How many bytes the payload of such a frame has; without end if it can't be written.
pub fn call_bytes<M: Serialize>(message: &M) -> usize {
    postcard::serialize_with_flavor(message, Size::default()).unwrap_or(usize::MAX)
}

/// What a payload says.
///
/// # Errors
/// If it is no such message.
pub fn read_call<M: DeserializeOwned>(payload: &[u8]) -> io::Result<M> {
    postcard::from_bytes(payload).map_err(|error| invalid(format!("a call or answer is damaged: {error}")))
}

/// Splits a data socket into a reader and a writer of frames.
pub fn call_frames(stream: UnixStream) -> (CallReader, CallWriter) {
    let (reader, writer) = stream.into_split();
    (CallReader { stream: reader, bytes: BytesMut::new() }, CallWriter { stream: writer, batch: Vec::new() })
}

/// Reads frames.
#[derive(Debug)]
pub struct CallReader {
    stream: OwnedReadHalf,
    bytes: BytesMut,
}

impl CallReader {
    /// The next frame's id and payload; `None` once the other end is closed. A call that is dropped before it ends loses nothing.
    ///
    /// # Errors
    /// What the socket says, and if what comes is no frame.
    pub async fn next(&mut self) -> io::Result<Option<(RequestId, Bytes)>> {
        loop {
            if let Some(frame) = self.take_frame()? {
                return Ok(Some(frame));
            }
            self.bytes.reserve(READ_BYTES);
            if self.stream.read_buf(&mut self.bytes).await? == 0 {
                return match self.bytes.is_empty() {
                    true => Ok(None),
                    false => Err(io::ErrorKind::UnexpectedEof.into()),
                };
            }
        }
    }

    fn take_frame(&mut self) -> io::Result<Option<(RequestId, Bytes)>> {
        let Some((header, rest)) = self.bytes.split_at_checked(HEADER_BYTES) else { return Ok(None) };
        let (length, id) = header.split_at(LENGTH_BYTES);
        let length = u32::from_le_bytes(length.try_into().expect("four bytes")) as usize;
        let id = RequestId::from_le_bytes(id.try_into().expect("eight bytes"));
        if length > CALL_BYTES_MAX {
            return Err(invalid(format!("a call or answer of {length} bytes; the most is {CALL_BYTES_MAX}")));
        }
        if rest.len() < length {
            let missing = length - rest.len();
            self.bytes.reserve(missing);
            return Ok(None);
        }
        let mut frame = self.bytes.split_to(HEADER_BYTES + length);
        Ok(Some((id, frame.split_off(HEADER_BYTES).freeze())))
    }
}

/// Writes frames.
#[derive(Debug)]
pub struct CallWriter {
    stream: OwnedWriteHalf,
    batch: Vec<u8>,
}

impl CallWriter {
    /// Writes what `next` gives until it gives nothing, in as few writes as may be. A call that is dropped before it ends leaves
    /// the socket unusable.
    ///
    /// # Errors
    /// What the socket says.
    pub async fn send(&mut self, mut next: impl FnMut() -> Option<Bytes>) -> io::Result<()> {
        while let Some(frame) = next() {
            let is_large = frame.len() >= BATCH_BYTES;
            if is_large || self.batch.len() + frame.len() > BATCH_BYTES {
                self.flush().await?;
            }
            match is_large {
                true => self.stream.write_all(&frame).await?,
                false => self.batch.extend_from_slice(&frame),
            }
        }
        self.flush().await
    }

    async fn flush(&mut self) -> io::Result<()> {
        self.stream.write_all(&self.batch).await?;
        self.batch.clear();
        Ok(())
    }
}

fn invalid(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn frames_of_all_sizes_arrive_whole_and_in_order() {
        let (left, right) = UnixStream::pair().unwrap();
        let ((_, mut writer), (mut reader, _right)) = (call_frames(left), call_frames(right));
        let sizes: Vec<usize> = (0..60).map(|number| number * number * 370 % 400_000).collect();
        let mut frames: Vec<Bytes> = sizes
            .iter()
            .enumerate()
            .rev()
            .map(|(id, size)| call_frame(id as u64, &vec![id as u8; *size]).unwrap())
            .collect();
        assert_eq!(call_bytes(&vec![59_u8; sizes[59]]), frames[0].len() - HEADER_BYTES);
        let sender = tokio::spawn(async move {
            writer.send(|| frames.pop()).await.unwrap();
        });
        for (number, size) in sizes.into_iter().enumerate() {
            let (id, payload) = reader.next().await.unwrap().unwrap();
            let bytes: Vec<u8> = read_call(&payload).unwrap();
            assert_eq!((id, bytes), (number as u64, vec![number as u8; size]));
        }
        sender.await.unwrap();
        assert!(reader.next().await.unwrap().is_none());
    }

    #[tokio::test]
    async fn what_is_no_frame_is_an_error() {
        let (left, right) = UnixStream::pair().unwrap();
        let (mut reader, _right) = call_frames(right);
        left.try_write(&[0xff; 16]).unwrap();
        assert_eq!(reader.next().await.unwrap_err().kind(), io::ErrorKind::InvalidData);
        let (left, right) = UnixStream::pair().unwrap();
        let (mut reader, _right) = call_frames(right);
        left.try_write(&[1, 0]).unwrap();
        drop(left);
        assert_eq!(reader.next().await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        assert!(call_frame(1, &vec![0_u8; CALL_BYTES_MAX + 1]).is_err());
        assert!(read_call::<(u64, String)>(&[1, 200, 65]).is_err());
    }
}

//! Frames with descriptors over a Unix stream socket.
//!
//! A frame is its payload's length (u32, little-endian), the number of its descriptors (u8), and the payload. The
//! descriptors travel with the frame's first byte. The kernel never yields them later than that byte, so a queue of
//! received descriptors is always ahead of the frames that name them.

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use skiff_types::LISTENERS_MAX;
use std::collections::VecDeque;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;
use tokio::io::Interest;
use tokio::net::UnixStream;

/// The longest payload, in bytes: far more than any message has, which are all bounded by themselves.
pub const FRAME_BYTES_MAX: usize = 64 << 20;
/// The most descriptors in a frame: what a worker is greeted with where there are as many as can be. The kernel's own bound
/// is 253.
const DESCRIPTORS_MAX: usize = 5 + 2 * skiff_ledger::WORKERS_MAX;
const _: () = assert!(LISTENERS_MAX <= DESCRIPTORS_MAX, "all listeners go in one frame");
const HEADER_BYTES: usize = 5;
const READ_BYTES: usize = 64 << 10;

/// Splits a socket into a reader and a writer of frames.
pub fn frames(stream: UnixStream) -> (FrameReader, FrameWriter) {
    let stream = Arc::new(stream);
    let reader =
        FrameReader { stream: stream.clone(), bytes: Vec::new(), start: 0, descriptors: VecDeque::new() };
    (reader, FrameWriter { stream })
}

/// Reads frames.
#[derive(Debug)]
pub struct FrameReader {
    stream: Arc<UnixStream>,
    bytes: Vec<u8>,
    start: usize,
    descriptors: VecDeque<OwnedFd>,
}

impl FrameReader {
    /// The next message and its descriptors; `None` once the other end is closed. Not to be called again after a
    /// cancelled call has returned an error; a call that is dropped before it ends loses nothing.
    pub async fn next<M: DeserializeOwned>(&mut self) -> io::Result<Option<(M, Vec<OwnedFd>)>> {
        loop {
            if let Some(message) = self.take_frame()? {
                return Ok(Some(message));
            }
            if self.receive().await? == 0 {
                return match self.bytes.len() - self.start {
                    0 => Ok(None),
                    _ => Err(io::ErrorKind::UnexpectedEof.into()),
                };
            }
        }
    }

    fn take_frame<M: DeserializeOwned>(&mut self) -> io::Result<Option<(M, Vec<OwnedFd>)>> {
        let bytes = &self.bytes[self.start..];
        let Some((header, rest)) = bytes.split_at_checked(HEADER_BYTES) else {
            return Ok(None);
        };
        let length = u32::from_le_bytes(header[..4].try_into().expect("four bytes")) as usize;
        let descriptors = header[4] as usize;
        if length > FRAME_BYTES_MAX {
            return Err(invalid(format!("a frame of {length} bytes")));
        }
        let Some(payload) = rest.get(..length) else {
            self.bytes.reserve(length);
            return Ok(None);
        };
        let message = postcard::from_bytes(payload).map_err(|error| invalid(error.to_string()))?;
        if descriptors > self.descriptors.len() {
            return Err(invalid(format!("a frame without its {descriptors} descriptors")));
        }
        self.start += HEADER_BYTES + length;
        if self.start == self.bytes.len() {
            self.bytes.clear();
            self.bytes.shrink_to(READ_BYTES);
            self.start = 0;
        }
        Ok(Some((message, self.descriptors.drain(..descriptors).collect())))
    }

    async fn receive(&mut self) -> io::Result<usize> {
        let Self { stream, bytes, descriptors, .. } = self;
        let stream: &UnixStream = stream;
        stream
            .async_io(Interest::READABLE, || {
                let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
                let mut ancillary = RecvAncillaryBuffer::new(&mut space);
                let end = bytes.len();
                bytes.resize(end + READ_BYTES, 0);
                let mut slices = [IoSliceMut::new(&mut bytes[end..])];
                let received =
                    rustix::net::recvmsg(stream, &mut slices, &mut ancillary, RecvFlags::CMSG_CLOEXEC);
                bytes.truncate(end + received.as_ref().map_or(0, |message| message.bytes));
                let count = received?.bytes;
                for message in ancillary.drain() {
                    if let RecvAncillaryMessage::ScmRights(rights) = message {
                        descriptors.extend(rights);
                    }
                }
                Ok(count)
            })
            .await
    }
}

/// Writes frames.
#[derive(Debug)]
pub struct FrameWriter {
    stream: Arc<UnixStream>,
}

impl FrameWriter {
    /// Sends a message with descriptors. A call that is dropped before it ends leaves the socket unusable.
    pub async fn send<M: Serialize>(
        &mut self,
        message: &M,
        descriptors: &[BorrowedFd<'_>],
    ) -> io::Result<()> {
        let mut frame = postcard::to_extend(message, vec![0; HEADER_BYTES])
            .map_err(|error| invalid(error.to_string()))?;
        let length = frame.len() - HEADER_BYTES;
        if length > FRAME_BYTES_MAX || descriptors.len() > DESCRIPTORS_MAX {
            return Err(invalid(format!("a frame of {length} bytes and {} descriptors", descriptors.len())));
        }
        frame[..4].copy_from_slice(&(length as u32).to_le_bytes());
        frame[4] = descriptors.len() as u8;
        let mut sent = 0;
        while sent < frame.len() {
            let with = if sent == 0 { descriptors } else { &[] };
            sent += self.stream.async_io(Interest::WRITABLE, || self.send_some(&frame[sent..], with)).await?;
        }
        Ok(())
    }

    fn send_some(&self, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<usize> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() {
            assert!(
                ancillary.push(SendAncillaryMessage::ScmRights(descriptors)),
                "space for DESCRIPTORS_MAX"
            );
        }
        Ok(rustix::net::sendmsg(&self.stream, &[IoSlice::new(bytes)], &mut ancillary, SendFlags::NOSIGNAL)?)
    }
}

fn invalid(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::{Read, Seek, Write};
    use std::os::fd::AsFd;

    #[tokio::test]
    async fn messages_and_descriptors_arrive_together_and_in_order() {
        let (left, right) = UnixStream::pair().unwrap();
        let (_, mut writer) = frames(left);
        let (mut reader, _) = frames(right);
        let sender = tokio::spawn(async move {
            for round in 0..50_u32 {
                let mut file = tempfile::tempfile().unwrap();
                write!(file, "{round}").unwrap();
                let large = vec![round as u8; 100_000];
                writer.send(&(round, large), &[file.as_fd()]).await.unwrap();
                writer.send(&(round, Vec::<u8>::new()), &[]).await.unwrap();
            }
        });
        for round in 0..50_u32 {
            let ((number, large), fds) = reader.next::<(u32, Vec<u8>)>().await.unwrap().unwrap();
            assert_eq!((number, large.len(), fds.len()), (round, 100_000, 1));
            let mut file = File::from(fds.into_iter().next().unwrap());
            let mut text = String::new();
            file.rewind().unwrap();
            file.read_to_string(&mut text).unwrap();
            assert_eq!(text, round.to_string());
            let ((number, _), fds) = reader.next::<(u32, Vec<u8>)>().await.unwrap().unwrap();
            assert_eq!((number, fds.len()), (round, 0));
        }
        sender.await.unwrap();
        assert!(reader.next::<(u32, Vec<u8>)>().await.unwrap().is_none());
    }

    #[tokio::test]
    async fn a_frame_that_claims_too_much_is_an_error() {
        let (left, right) = UnixStream::pair().unwrap();
        let (mut reader, _) = frames(right);
        left.try_write(&[0xff; 16]).unwrap();
        assert_eq!(reader.next::<u32>().await.unwrap_err().kind(), io::ErrorKind::InvalidData);
        let (left, right) = UnixStream::pair().unwrap();
        let (mut reader, _) = frames(right);
        left.try_write(&[1, 0]).unwrap();
        drop(left);
        assert_eq!(reader.next::<u32>().await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}

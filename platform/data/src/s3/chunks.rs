//! The framing `aws-chunked`, as far as bounds need it: `s3s` undoes it and checks its signatures, but holds each chunk whole.
//!
//! Chunks that are not signed one by one are framed anew, in small pieces: some clients send a whole object as one chunk. Signed ones
//! can't be, so they have a bound; clients that sign them send 64 KiB to 128 KiB. What follows the last chunk is left as it is.
//!
//! What always holds: what comes out is framed as what came in, or it is an error; at most [`SIGNED_CHUNK_BYTES_MAX`] bytes, or
//! [`PIECE_BYTES_MAX`], are in one chunk of it.

use super::errors::Fault;
use bytes::{Buf, Bytes};
use std::collections::VecDeque;

/// The largest chunk that is signed by itself, in bytes.
pub(super) const SIGNED_CHUNK_BYTES_MAX: u64 = 1 << 20;
/// The largest chunk that comes out of others, in bytes.
const PIECE_BYTES_MAX: usize = 64 << 10;
/// The longest head of a chunk: its size, its signature, the end of the line. In bytes.
const HEAD_BYTES_MAX: usize = 1_024;

/// How a body is framed, from what `x-amz-content-sha256` says. None if it is not.
pub(super) fn framing(content_sha256: &[u8]) -> Option<Chunks> {
    let signed = match content_sha256 {
        b"STREAMING-UNSIGNED-PAYLOAD-TRAILER" => false,
        _ if content_sha256.starts_with(b"STREAMING-") => true,
        _ => return None,
    };
    Some(Chunks { signed, state: State::Head(Vec::new()) })
}

/// Where in the framing a body is.
pub(super) struct Chunks {
    signed: bool,
    state: State,
}

enum State {
    /// In the head of a chunk, of which this has come.
    Head(Vec<u8>),
    /// So many bytes of the chunk are still to come.
    Data(u64),
    /// What ends the chunk's data: so much of it is still to come.
    End(&'static [u8]),
    /// Behind the last chunk.
    Rest,
}

impl Chunks {
    /// Takes what came; puts what goes on behind `out`.
    ///
    /// # Errors
    /// If that is not framed so, or in chunks that are too large.
    pub(super) fn take(&mut self, mut bytes: Bytes, out: &mut VecDeque<Bytes>) -> Result<(), Fault> {
        while !bytes.is_empty() {
            match &mut self.state {
                State::Head(head) => {
                    let line_end = bytes.iter().position(|byte| *byte == b'\n');
                    let part = bytes.split_to(line_end.map_or(bytes.len(), |at| at + 1));
                    if head.len() + part.len() > HEAD_BYTES_MAX {
                        return Err(Fault::Framing("the head of a chunk is too long"));
                    }
                    head.extend_from_slice(&part);
                    if line_end.is_some() {
                        let head = std::mem::take(head);
                        self.state = self.begin(head, out)?;
                    }
                }
                State::Data(left) => {
                    let most = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                    let piece = bytes.split_to(most.min(PIECE_BYTES_MAX));
                    *left -= piece.len() as u64;
                    if *left == 0 {
                        self.state = State::End(b"\r\n");
                    }
                    if self.signed {
                        out.push_back(piece);
                    } else {
                        let head = format!("{:x}\r\n", piece.len());
                        out.extend([head.into(), piece, Bytes::from_static(b"\r\n")]);
                    }
                }
                State::End(expected) => {
                    let Some((&first, rest)) = expected.split_first() else {
                        self.state = State::Head(Vec::new());
                        continue;
                    };
                    if bytes[0] != first {
                        return Err(Fault::Framing("a chunk is longer than it said"));
                    }
                    *expected = rest;
                    let end = bytes.split_to(1);
                    if self.signed {
                        out.push_back(end);
                    }
                }
                State::Rest => out.push_back(bytes.split_off(0)),
            }
        }
        Ok(())
    }

    /// Whether the last chunk has come.
    ///
    /// # Errors
    /// If the body ends before.
    pub(super) fn ended(&self) -> Result<(), Fault> {
        if matches!(self.state, State::Rest) { Ok(()) } else { Err(Fault::Incomplete) }
    }

    /// What follows the head of a chunk.
    fn begin(&self, head: Vec<u8>, out: &mut VecDeque<Bytes>) -> Result<State, Fault> {
        let size = size_of(&head).ok_or(Fault::Framing("a chunk does not say its size"))?;
        if self.signed && size > SIGNED_CHUNK_BYTES_MAX {
            return Err(Fault::Framing("a chunk that is signed by itself may have 1 MiB at most"));
        }
        if self.signed || size == 0 {
            out.push_back(head.into());
        }
        Ok(if size == 0 { State::Rest } else { State::Data(size) })
    }
}

/// The size that a chunk's head says: hexadecimal digits, up to `;` or the end of the line.
fn size_of(head: &[u8]) -> Option<u64> {
    let end = head.iter().position(|byte| matches!(byte, b';' | b'\r'))?;
    let mut digits = &head[..end];
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    while digits.len() > 1 && digits[0] == b'0' {
        digits.advance(1);
    }
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const UNSIGNED: &[u8] = b"STREAMING-UNSIGNED-PAYLOAD-TRAILER";
    const SIGNED: &[u8] = b"STREAMING-AWS4-HMAC-SHA256-PAYLOAD";

    /// What comes out of pieces of this size.
    fn through(kind: &[u8], bytes: &[u8], step: usize) -> Result<Vec<Bytes>, Fault> {
        let mut chunks = framing(kind).unwrap();
        let mut out = VecDeque::new();
        for piece in bytes.chunks(step) {
            chunks.take(Bytes::copy_from_slice(piece), &mut out)?;
        }
        Ok(out.into())
    }

    #[test]
    fn a_body_ends_with_its_last_chunk() {
        for (bytes, whole) in
            [("", false), ("1\r\na\r\n", false), ("1\r\na", false), ("0\r\n", true), ("0\r\n\r\n", true)]
        {
            let mut chunks = framing(UNSIGNED).unwrap();
            chunks.take(bytes.into(), &mut VecDeque::new()).unwrap();
            assert_eq!(chunks.ended().is_ok(), whole, "{bytes:?}");
        }
    }

    /// The data and what is behind it, of well-framed bytes.
    fn undone(mut bytes: &[u8]) -> (Vec<u8>, Vec<u8>) {
        let mut data = Vec::new();
        loop {
            let line = bytes.iter().position(|byte| *byte == b'\n').unwrap() + 1;
            let size = size_of(&bytes[..line]).unwrap() as usize;
            bytes = &bytes[line..];
            if size == 0 {
                return (data, bytes.to_vec());
            }
            data.extend_from_slice(&bytes[..size]);
            assert_eq!(&bytes[size..size + 2], b"\r\n");
            bytes = &bytes[size + 2..];
        }
    }

    #[test]
    fn only_what_says_so_is_framed() {
        assert!(
            framing(b"UNSIGNED-PAYLOAD").is_none()
                && framing(b"").is_none()
                && framing(&[b'0'; 64]).is_none()
        );
        assert!(framing(UNSIGNED).is_some() && framing(SIGNED).is_some());
    }

    #[test]
    fn a_chunk_of_any_size_comes_out_in_pieces() {
        let data = vec![7; 3 * PIECE_BYTES_MAX + 5];
        let framed = [
            format!("{:X}\r\n", data.len()).as_bytes(),
            &data,
            b"\r\n0\r\nx-amz-checksum-crc32:AAAAAA==\r\n",
        ]
        .concat();
        for step in [1, 1_000, framed.len()] {
            let out = through(UNSIGNED, &framed, step).unwrap();
            assert!(out.iter().all(|piece| piece.len() <= PIECE_BYTES_MAX));
            let (undone, rest) = undone(&out.concat());
            assert_eq!((undone == data, &rest[..]), (true, &b"x-amz-checksum-crc32:AAAAAA==\r\n"[..]));
        }
    }

    #[test]
    fn what_is_not_framed_so_is_an_error() {
        for (kind, bytes) in [
            (UNSIGNED, &b"zz\r\n"[..]),
            (UNSIGNED, b"\r\n"),
            (UNSIGNED, b"+1\r\na\r\n"),
            (UNSIGNED, b"1\r\nab\r\n"),
            (UNSIGNED, b"fffffffffffffffff\r\n"),
            (SIGNED, b"100001;chunk-signature=0\r\n"),
            (SIGNED, &[b'0'; HEAD_BYTES_MAX + 1]),
        ] {
            assert!(through(kind, bytes, 3).is_err(), "{}", String::from_utf8_lossy(bytes));
        }
    }

    proptest! {
        #[test]
        fn signed_chunks_go_on_as_they_are(
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..50), 0..5),
            step in 1_usize..40,
        ) {
            let mut framed = Vec::new();
            for piece in &pieces {
                framed.extend_from_slice(format!("{:x};chunk-signature=0\r\n", piece.len()).as_bytes());
                framed.extend_from_slice(piece);
                framed.extend_from_slice(b"\r\n");
            }
            framed.extend_from_slice(b"0;chunk-signature=1\r\n\r\n");
            prop_assert_eq!(through(SIGNED, &framed, step).unwrap().concat(), framed.clone());
            let again = through(UNSIGNED, &framed, step).unwrap().concat();
            prop_assert_eq!(undone(&again).0, pieces.concat());
        }
    }
}

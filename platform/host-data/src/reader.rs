//! An object's bytes as a stream of `wasi:io`: one piece is asked for at a time, once the guest wants more.

use crate::transfer::Transfer;
use crate::{CONFUSED, expect};
use bytes::Bytes;
use skiff_ports::guest_calls::{GuestAnswer, GuestCall};
use skiff_sandbox::Asking;
use std::future::poll_fn;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use wasmtime_wasi_io::async_trait;
use wasmtime_wasi_io::poll::Pollable;
use wasmtime_wasi_io::streams::{InputStream, StreamError, StreamResult};

/// Reads an object from a place in it on.
pub(crate) struct Reader {
    transfer: Transfer,
    next: Next,
}

/// What comes next.
enum Next {
    /// Nobody has asked.
    Unknown,
    /// It is on its way.
    Asked(Asking),
    /// Some bytes.
    Piece(Bytes),
    /// Why there are no more.
    Failed(String),
    /// Nothing.
    End,
}

impl Reader {
    pub(crate) fn new(transfer: Transfer) -> Self {
        Self { transfer, next: Next::Unknown }
    }

    /// Ready once it is known what comes next.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            match &mut self.next {
                Next::Unknown => self.next = Next::Asked(self.transfer.ask(GuestCall::ReadMore)),
                Next::Asked(asked) => {
                    let answered = ready!(Pin::new(asked).poll(cx));
                    self.next = match answered {
                        Ok(GuestAnswer::Bytes(bytes)) if bytes.is_empty() => Next::End,
                        Ok(GuestAnswer::Bytes(bytes)) => Next::Piece(bytes),
                        Ok(_) => Next::Failed(CONFUSED.to_owned()),
                        Err(error) => Next::Failed(error.to_string()),
                    };
                    if matches!(self.next, Next::End) {
                        self.transfer.has_ended();
                    }
                }
                Next::Piece(_) | Next::Failed(_) | Next::End => return Poll::Ready(()),
            }
        }
    }
}

#[async_trait]
impl InputStream for Reader {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        if size == 0 || self.poll_next(&mut Context::from_waker(Waker::noop())).is_pending() {
            return Ok(Bytes::new());
        }
        match mem::replace(&mut self.next, Next::End) {
            Next::Piece(mut bytes) => {
                let rest = bytes.split_off(bytes.len().min(size));
                self.next = if rest.is_empty() { Next::Unknown } else { Next::Piece(rest) };
                Ok(bytes)
            }
            Next::Failed(why) => Err(StreamError::LastOperationFailed(wasmtime::Error::msg(why))),
            Next::Unknown | Next::Asked(_) | Next::End => Err(StreamError::Closed),
        }
    }
}

#[async_trait]
impl Pollable for Reader {
    async fn ready(&mut self) {
        poll_fn(|cx| self.poll_next(cx)).await;
    }
}

/// All that is to be read, at once; no more than was promised.
pub(crate) async fn read_all(mut transfer: Transfer, bytes_max: u64) -> Result<Vec<u8>, String> {
    let mut whole = Vec::new();
    loop {
        let answer = transfer.ask(GuestCall::ReadMore).await.map_err(|error| error.to_string())?;
        let piece = expect(answer, |answer| match answer {
            GuestAnswer::Bytes(bytes) if (whole.len() + bytes.len()) as u64 <= bytes_max => Some(bytes),
            _ => None,
        })?;
        if piece.is_empty() {
            transfer.has_ended();
            return Ok(whole);
        }
        whole.extend_from_slice(&piece);
    }
}

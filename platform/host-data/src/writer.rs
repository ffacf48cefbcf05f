//! An object that is written, and its bytes as a stream of `wasi:io`.
//!
//! Bytes are gathered to pieces; one is on its way at a time, and another waits at most: then the guest waits too. So it is also
//! where no object was named for them yet: as long as they are one piece. Nothing is there until all is, and said to be.

use crate::transfer::Transfer;
use crate::{CONFUSED, expect};
use bytes::Bytes;
use skiff_ports::guest_calls::{GuestAnswer, GuestCall, PIECE_BYTES_MAX};
use skiff_sandbox::Asking;
use std::future::poll_fn;
use std::mem;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use wasmtime_wasi_io::async_trait;
use wasmtime_wasi_io::poll::Pollable;
use wasmtime_wasi_io::streams::{OutputStream, StreamError, StreamResult};

/// Why there is no room for more, where that does not change by waiting.
const UNNAMED: &str =
    "no object was named for these bytes (write-data), and no more of them are kept without one";

/// What a value and its stream share. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Upload(Arc<Mutex<Inner>>);

struct Inner {
    /// Once an object was named.
    transfer: Option<Transfer>,
    gathered: Vec<u8>,
    /// A piece that is on its way.
    sending: Option<Asking>,
    /// Why it can't be written any more.
    failed: Option<String>,
    /// What was written is to be on its way before more is taken.
    is_flushing: bool,
}

impl Upload {
    pub(crate) fn new() -> Self {
        let inner =
            Inner { transfer: None, gathered: Vec::new(), sending: None, failed: None, is_flushing: false };
        Self(Arc::new(Mutex::new(inner)))
    }

    /// Whether an object was named.
    pub(crate) fn has_begun(&self) -> bool {
        self.inner().transfer.is_some()
    }

    /// An object was named.
    pub(crate) fn begin(&self, transfer: Transfer) {
        self.inner().transfer = Some(transfer);
    }

    /// The stream to write to. There is one.
    pub(crate) fn stream(&self) -> Writer {
        Writer { upload: self.clone(), permit_bytes: 0 }
    }

    /// Writes what waits, and says that it was all. Ends once the object is there.
    pub(crate) async fn finish(self) -> Result<(), String> {
        if !self.has_begun() {
            return Err("no object was named for this value: say which with write-data first".to_owned());
        }
        poll_fn(|cx| self.inner().poll_sent(cx)).await?;
        let ending = match &self.inner().transfer {
            Some(transfer) => transfer.ask(GuestCall::PutEnd),
            None => return Err(CONFUSED.to_owned()),
        };
        // After an error it may be open still, if the call never went out: then it is stopped.
        let answer = ending.await.map_err(|error| error.to_string())?;
        if let Some(transfer) = &mut self.inner().transfer {
            transfer.has_ended();
        }
        expect(answer, |answer| matches!(answer, GuestAnswer::Object(_)).then_some(()))?;
        Ok(())
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().expect("no holder panics")
    }
}

impl Inner {
    fn room(&self) -> usize {
        PIECE_BYTES_MAX - self.gathered.len().min(PIECE_BYTES_MAX)
    }

    /// Sees whether the piece arrived that is on its way; sends the next, if there is a whole one or `all` is to go. Pending as
    /// long as one is on its way.
    fn poll_send(&mut self, cx: &mut Context<'_>, all: bool) -> Poll<()> {
        loop {
            if let Some(sending) = &mut self.sending {
                match Pin::new(sending).poll(cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Ok(_)) => self.sending = None,
                    Poll::Ready(Err(error)) => {
                        (self.sending, self.failed) = (None, Some(error.to_string()));
                    }
                }
            }
            let is_due = !self.gathered.is_empty() && (all || self.room() == 0);
            match &self.transfer {
                Some(transfer) if is_due && self.failed.is_none() => {
                    let piece = Bytes::from(mem::take(&mut self.gathered));
                    self.sending = Some(transfer.ask(|id| GuestCall::PutMore(id, piece)));
                }
                Some(_) | None => return Poll::Ready(()),
            }
        }
    }

    /// Ready once all that was written has arrived.
    fn poll_sent(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), String>> {
        match self.poll_send(cx, true) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(()) => Poll::Ready(self.failed.clone().map_or(Ok(()), Err)),
        }
    }

    /// Ready once it is known how many bytes may be written, or that none may any more.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<Result<usize, String>> {
        let is_sent = self.poll_send(cx, self.is_flushing).is_ready();
        self.is_flushing &= !is_sent;
        if is_sent && self.room() == 0 && self.failed.is_none() {
            self.failed = Some(UNNAMED.to_owned());
        }
        match (&self.failed, self.room()) {
            (Some(why), _) => Poll::Ready(Err(why.clone())),
            (None, room) if room > 0 && !self.is_flushing => Poll::Ready(Ok(room)),
            (None, _) => Poll::Pending,
        }
    }
}

/// The stream of an [`Upload`].
pub(crate) struct Writer {
    upload: Upload,
    /// Bytes that the next write may have.
    permit_bytes: usize,
}

#[async_trait]
impl OutputStream for Writer {
    fn check_write(&mut self) -> StreamResult<usize> {
        self.permit_bytes = 0;
        let room = self.upload.inner().poll_room(&mut Context::from_waker(Waker::noop()));
        self.permit_bytes = match room {
            Poll::Ready(room) => room.map_err(failed)?,
            Poll::Pending => 0,
        };
        Ok(self.permit_bytes)
    }

    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        if bytes.len() > self.permit_bytes {
            return Err(StreamError::trap("more bytes were written than `check-write` had permitted"));
        }
        self.permit_bytes = 0;
        let mut inner = self.upload.inner();
        inner.gathered.extend_from_slice(&bytes);
        // A whole piece is on its way from now on.
        let _ = inner.poll_send(&mut Context::from_waker(Waker::noop()), false);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        let mut inner = self.upload.inner();
        inner.is_flushing = true;
        match inner.poll_room(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Err(why)) => Err(failed(why)),
            Poll::Ready(Ok(_)) | Poll::Pending => Ok(()),
        }
    }
}

#[async_trait]
impl Pollable for Writer {
    async fn ready(&mut self) {
        poll_fn(|cx| self.upload.inner().poll_room(cx).map(drop)).await;
    }
}

fn failed(why: String) -> StreamError {
    StreamError::LastOperationFailed(wasmtime::Error::msg(why))
}

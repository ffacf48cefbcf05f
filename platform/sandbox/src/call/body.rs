//! The bodies of a call, bounded in both directions.

use super::crossing;
use super::shared::CallCord;
use crate::account::Account;
use crate::failure::Failure;
use crate::heap::{Crossed, apart};
use crate::logs::LogQueue;
use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http_body::{Body as _, Frame, SizeHint};
use skiff_ports::body::{Body, BodyError};
use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::task::AbortHandle;
use tokio::time::{Instant, Sleep};
use wasmtime_wasi_http::{Error, WasiBody};

/// Bytes of an answer that are taken out of a guest's buffers before anybody asks for them.
const READY_BYTES_MAX: u64 = 128 << 10;
/// How long a guest whose time is up is given to find that and end, before its answer's body looks again.
const GUEST_GRACE: Duration = Duration::from_millis(10);

/// A request's body, as its guest reads it.
pub(super) struct RequestBody {
    body: Body,
    limit_bytes: u64,
    left_bytes: u64,
    crossed: Arc<Crossed>,
}

impl RequestBody {
    pub(super) fn new(body: Body, limit_bytes: u64, crossed: Arc<Crossed>) -> Self {
        Self { body, limit_bytes, left_bytes: limit_bytes, crossed }
    }
}

impl http_body::Body for RequestBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let Self { body, limit_bytes, left_bytes, crossed } = &mut *self;
        // What others say of a failure is theirs, and freed as such.
        let read = || Pin::new(body).poll_frame(cx).map(|frame| Some(frame?.map_err(failure)));
        apart(read).map(|frame| {
            Some(frame?.and_then(|frame| {
                let bytes = frame.data_ref().map_or(0, |data| data.len() as u64);
                match left_bytes.checked_sub(bytes) {
                    Some(left) => {
                        *left_bytes = left;
                        Ok(crossing::frame_taken_in(crossed, frame))
                    }
                    None => Err(Error::HttpRequestBodySize(Some(*limit_bytes))),
                }
            }))
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// What a guest is told of a request's body that failed.
fn failure(error: BodyError) -> Error {
    match error {
        BodyError::TooLarge { limit_bytes } => Error::HttpRequestBodySize(Some(limit_bytes)),
        BodyError::Idle { .. } => Error::ConnectionReadTimeout,
        BodyError::Connection(_) => Error::ConnectionTerminated,
        BodyError::Guest(reason) => Error::InternalError(Some(reason)),
    }
}

/// What the guest has to tell the reader of its body once it has ended.
#[derive(Default)]
pub(crate) struct Link(Mutex<Option<String>>);

impl Link {
    /// The guest failed; its body ends with this reason.
    pub(super) fn fail(&self, reason: &str) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason.to_owned());
    }

    fn failure(&self) -> Option<BodyError> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone().map(BodyError::Guest)
    }
}

/// What ties a guest to the reader of its answer.
pub(super) enum Cord {
    /// The guest's own task.
    Guest(AbortHandle),
    /// One call of several that its guest works on.
    Call(CallCord),
}

impl Cord {
    /// Nobody reads any more.
    fn cut(self) {
        match self {
            Self::Guest(task) => task.abort(),
            Self::Call(call) => drop(call),
        }
    }

    /// All was read; a guest that has it for itself may go on.
    fn let_go(self) {
        if let Self::Call(call) = self {
            call.finish();
        }
    }
}

/// A response's body. Dropped before its end, it ends its guest.
pub(super) struct ResponseBody {
    /// What the guest had written by the time it answered.
    ready: VecDeque<Result<Frame<Bytes>, Error>>,
    ready_bytes: u64,
    /// What is still to come.
    rest: Option<WasiBody>,
    /// What the response's head says of its length.
    declared_bytes: Option<u64>,
    passed_bytes: u64,
    limit_bytes: u64,
    ended: bool,
    link: Arc<Link>,
    crossed: Arc<Crossed>,
    cord: Option<Cord>,
    /// When the call's time is up.
    timer: Option<Pin<Box<Sleep>>>,
    account: Arc<Account>,
    logs: Arc<LogQueue>,
}

impl ResponseBody {
    pub(super) fn new(
        head: &http::response::Parts,
        body: WasiBody,
        link: Arc<Link>,
        crossed: Arc<Crossed>,
        account: Arc<Account>,
        logs: Arc<LogQueue>,
    ) -> Self {
        let declared = head.headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        Self {
            ready: VecDeque::new(),
            ready_bytes: 0,
            rest: Some(body),
            declared_bytes: declared,
            passed_bytes: 0,
            limit_bytes: account.spec.limits.response_body.bytes(),
            ended: false,
            link,
            crossed,
            cord: None,
            timer: None,
            account,
            logs,
        }
    }

    /// Ties the guest to the body: without its reader it need not go on.
    pub(super) fn tie_to(&mut self, cord: Cord) {
        self.cord = Some(cord);
    }

    /// Ends what is still to come after `time`, guest or no guest: a body that a guest of WASI 0.3 took from its request
    /// is passed on by the host alone.
    pub(super) fn end_within(&mut self, time: Duration) {
        if self.rest.is_some() {
            self.timer = Some(Box::pin(tokio::time::sleep(time)));
        }
    }

    /// Takes over what the guest has written, up to a bound; says whether there was anything. When a guest has ended,
    /// this is all of a small body: its length is known then, and nobody need wait for it.
    pub(super) fn take_what_is_ready(&mut self) -> bool {
        let before = self.ready.len();
        let mut cx = Context::from_waker(Waker::noop());
        while self.ready_bytes < READY_BYTES_MAX
            && let Some(body) = &mut self.rest
        {
            match self.crossed.counted(|| Pin::new(body).poll_frame(&mut cx)) {
                Poll::Ready(Some(frame)) => {
                    let data = frame.as_ref().ok().and_then(Frame::data_ref);
                    self.ready_bytes += data.map_or(0, |data| data.len() as u64);
                    self.ready.push_back(frame);
                }
                Poll::Ready(None) => self.crossed.counted(|| self.rest = None),
                Poll::Pending => break,
            }
        }
        self.ready.len() > before
    }

    /// Whether nothing more is to come from the guest.
    pub(super) fn is_whole(&self) -> bool {
        self.rest.is_none()
    }

    /// How the body broke off, if it did so within what is ready: then none of it is worth sending.
    pub(super) fn broke_off(&self) -> Option<&Error> {
        self.ready.back()?.as_ref().err()
    }

    fn next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if let Some(frame) = self.ready.pop_front() {
            return Poll::Ready(Some(frame));
        }
        match &mut self.rest {
            Some(rest) => self.crossed.counted(|| Pin::new(rest).poll_frame(cx)),
            None => Poll::Ready(None),
        }
    }

    /// Lets data through while it is within the bound.
    fn pass(&mut self, frame: Frame<Bytes>) -> Result<Frame<Bytes>, BodyError> {
        let bytes = frame.data_ref().map_or(0, |data| data.len() as u64);
        self.ready_bytes = self.ready_bytes.saturating_sub(bytes);
        self.passed_bytes = self.passed_bytes.saturating_add(bytes);
        self.crossed.left(bytes);
        if self.passed_bytes <= self.limit_bytes {
            return Ok(crossing::frame_taken_out(&self.crossed, frame));
        }
        let limit_bytes = self.limit_bytes;
        let remark = format!(
            "a response was cut off: its body is larger than {} (the task's limit)",
            self.account.spec.limits.response_body
        );
        self.logs.report(&self.account, &remark);
        self.finish(false);
        if let Some(cord) = self.cord.take() {
            cord.cut();
        }
        Err(BodyError::TooLarge { limit_bytes })
    }

    /// Whether the time is up, and no guest runs any more that would find that for itself.
    fn is_out_of_time(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(timer) = &mut self.timer else { return false };
        while timer.as_mut().poll(cx).is_ready() {
            let is_told = match &self.cord {
                None => true,
                Some(Cord::Guest(task)) => task.is_finished(),
                Some(Cord::Call(_)) => self.link.failure().is_some(),
            };
            if is_told {
                return true;
            }
            timer.as_mut().reset(Instant::now() + GUEST_GRACE);
        }
        false
    }

    /// Ends the body with what its guest failed of, or else with the time that is up.
    fn time_out(&mut self) -> BodyError {
        self.finish(false);
        self.link.failure().unwrap_or_else(|| {
            let failure = Failure::timed_out(self.account.spec.limits.timeout.ms());
            self.account.row().timeouts.add(1);
            self.logs.report(&self.account, &failure.message);
            BodyError::Guest(failure.message)
        })
    }

    /// Nothing more is to come; `whole` if this was all of the answer.
    fn finish(&mut self, whole: bool) {
        self.ended = true;
        match self.cord.take_if(|cord| matches!(cord, Cord::Call(_))) {
            Some(call) if whole => call.let_go(),
            call => drop(call),
        }
        self.forget_what_is_ready();
        self.crossed.counted(|| self.rest = None);
    }

    /// What nobody will read is not held for the guest any more.
    fn forget_what_is_ready(&mut self) {
        self.ready.clear();
        self.crossed.left(std::mem::take(&mut self.ready_bytes));
    }
}

impl http_body::Body for ResponseBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        if self.is_out_of_time(cx) {
            return Poll::Ready(Some(Err(self.time_out())));
        }
        let polled = self.next(cx);
        polled.map(|frame| match frame {
            Some(Ok(frame)) => Some(self.pass(frame)),
            // A guest that fails drops its end of the body, which alone would look like the end of a whole one.
            None => {
                let failure = self.link.failure();
                self.finish(failure.is_none());
                failure.map(Err)
            }
            Some(Err(error)) => {
                self.finish(false);
                Some(Err(self.link.failure().unwrap_or_else(|| BodyError::Guest(error.to_string()))))
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.ended || (self.ready.is_empty() && self.rest.is_none())
    }

    fn size_hint(&self) -> SizeHint {
        match &self.rest {
            None => SizeHint::with_exact(self.ready_bytes),
            Some(rest) if self.ready.is_empty() => rest.size_hint(),
            Some(_) => SizeHint::default(),
        }
    }
}

impl Drop for ResponseBody {
    fn drop(&mut self) {
        // Who sees the end, or knows the length, may stop before it is read out; then the guest may go on.
        let whole = self.is_end_stream() || self.declared_bytes == Some(self.passed_bytes);
        match self.cord.take() {
            Some(cord) if whole => cord.let_go(),
            Some(cord) => cord.cut(),
            None => {}
        }
        self.forget_what_is_ready();
    }
}

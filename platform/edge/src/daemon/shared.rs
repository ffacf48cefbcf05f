//! A connection to a target on which HTTP/2 is spoken: its requests share it, each on a stream of its own.
//!
//! It is used for no more requests at once than the target takes, and than its bound says; but for one always: who takes
//! none at present keeps that one waiting. What always holds: a request's body is asked for no more once nobody waits for
//! the answer, and its stream is reset then.

use super::endable::{Endable, Switch};
use crate::config::Limits;
use crate::serving::LocalExecutor;
use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http2::{Builder, Connection as Http2, SendRequest};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use skiff_kit::clock::monotonic_ns;
use skiff_ports::body::{Body, BodyError};
use skiff_ports::connect::Connection;
use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

type Spoken = Http2<TokioIo<Endable>, Body, LocalExecutor>;

/// A connection of HTTP/2 to a target. It ends when nobody has it any more.
pub(crate) struct Shared {
    sender: SendRequest<Body>,
    /// None once it has ended.
    spoken: Rc<RefCell<Option<Spoken>>>,
    switch: Rc<Switch>,
    driver: JoinHandle<()>,
    streams: Cell<u32>,
    /// When its last request was over, or it began.
    idle_since_ns: Cell<u64>,
    /// Whether its target has said that it takes no more, or lost one.
    retired: Cell<bool>,
}

impl Shared {
    /// Begins to speak HTTP/2, with prior knowledge. Must be called in a `LocalSet`.
    pub(super) async fn begin(
        http: &Builder<LocalExecutor>,
        socket: Box<dyn Connection>,
    ) -> hyper::Result<Rc<Self>> {
        let (socket, switch) = Endable::new(socket);
        let (sender, spoken) = http.handshake(TokioIo::new(socket)).await?;
        let spoken = Rc::new(RefCell::new(Some(spoken)));
        let driven = spoken.clone();
        let driver = tokio::task::spawn_local(async move {
            let ended = poll_fn(|context| match driven.borrow_mut().as_mut() {
                Some(spoken) => Pin::new(spoken).poll(context),
                None => Poll::Ready(Ok(())),
            });
            // Why it has, those are told who wait for answers.
            let _ = ended.await;
            // With it go the requests that it had not sent.
            let spoken = driven.borrow_mut().take();
            drop(spoken);
        });
        let (streams, idle_since_ns, retired) = (Cell::new(0), Cell::new(monotonic_ns()), Cell::new(false));
        Ok(Rc::new(Self { sender, spoken, switch, driver, streams, idle_since_ns, retired }))
    }

    /// A place for one request, if there is one.
    pub(super) fn stream(self: &Rc<Self>, limits: &Limits) -> Option<Stream> {
        if self.is_closed() || self.streams.get() >= self.streams_max(limits) {
            return None;
        }
        self.streams.set(self.streams.get() + 1);
        Some(Stream { shared: self.clone(), _leash: None })
    }

    /// Ends it, with all that is under way on it.
    pub(super) fn end(&self) {
        self.retired.set(true);
        self.switch.turn_off();
    }

    fn streams_max(&self, limits: &Limits) -> u32 {
        let taken = self.spoken.borrow().as_ref().map_or(0, Spoken::current_max_send_streams);
        u32::try_from(taken).unwrap_or(u32::MAX).min(limits.target_http2_streams_max).max(1)
    }

    /// Whether it takes no more requests.
    pub(super) fn is_closed(&self) -> bool {
        self.retired.get() || self.sender.is_closed()
    }

    /// Whether it has had no request for so long.
    pub(super) fn is_old(&self, now_ns: u64, timeout: Duration) -> bool {
        let idle_ns = now_ns.saturating_sub(self.idle_since_ns.get());
        self.streams.get() == 0 && u128::from(idle_ns) >= timeout.as_nanos()
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// The place of one request on a connection, until it is dropped: what is under way then is reset.
pub(crate) struct Stream {
    shared: Rc<Shared>,
    /// Holds the request's body.
    _leash: Option<oneshot::Sender<Infallible>>,
}

impl Stream {
    /// Asks. The error holds the request if nothing of it was sent.
    pub(super) fn ask(
        &mut self,
        request: Request<Body>,
    ) -> impl Future<Output = Result<Response<Incoming>, TrySendError<Request<Body>>>> + use<> {
        let request = match request.body().is_end_stream() {
            true => request,
            false => {
                let (leash, held) = oneshot::channel();
                self._leash = Some(leash);
                request.map(|body| Body::new(Leashed { body, held: Some(held) }))
            }
        };
        self.shared.sender.clone().try_send_request(request)
    }

    /// The connection is to have no more requests; those under way go on.
    pub(super) fn retire_connection(&self) {
        self.shared.retired.set(true);
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.shared.streams.set(self.shared.streams.get() - 1);
        self.shared.idle_since_ns.set(monotonic_ns());
    }
}

/// A request's body, for as long as somebody waits for the answer.
struct Leashed {
    body: Body,
    /// None once that is over.
    held: Option<oneshot::Receiver<Infallible>>,
}

impl Leashed {
    fn poll_let_go(&mut self, context: &mut Context<'_>) -> Poll<()> {
        match &mut self.held {
            Some(held) => Pin::new(held).poll(context).map(drop),
            None => Poll::Ready(()),
        }
    }
}

impl http_body::Body for Leashed {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.poll_let_go(context).is_ready() {
            self.held = None;
            // It is with this code that the stream is reset.
            let cancelled = h2::Error::from(h2::Reason::CANCEL);
            return Poll::Ready(Some(Err(BodyError::Connection(Box::new(cancelled)))));
        }
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::tests::run;
    use http_body_util::BodyExt;
    use hyper::service::service_fn;
    use skiff_ports::body;

    /// A connection to a target that takes so many streams, and answers everything.
    async fn shared(streams_max: u32) -> Rc<Shared> {
        let (near, far) = tokio::io::duplex(64 << 10);
        let answer = |request: Request<Incoming>| async move {
            let _ = request.into_body().collect().await;
            Ok::<_, hyper::Error>(Response::new(body::empty()))
        };
        let mut http = hyper::server::conn::http2::Builder::new(LocalExecutor);
        http.max_concurrent_streams(streams_max);
        tokio::task::spawn_local(http.serve_connection(TokioIo::new(far), service_fn(answer)));
        Shared::begin(&Builder::new(LocalExecutor), Box::new(near)).await.unwrap()
    }

    fn request(body: Body) -> Request<Body> {
        Request::post("http://a/").body(body).unwrap()
    }

    #[test]
    fn there_are_as_many_streams_as_the_target_takes_and_the_bound_lets_be() {
        run(async || {
            for (taken, bound, expected) in [(2, 9, 2), (9, 2, 2), (0, 9, 1)] {
                let limits = Limits { target_http2_streams_max: bound, ..Limits::default() };
                let shared = shared(taken).await;
                while shared.streams_max(&limits) != expected {
                    tokio::task::yield_now().await;
                }
                let mut streams: Vec<Stream> = std::iter::from_fn(|| shared.stream(&limits)).collect();
                assert_eq!(streams.len(), expected as usize);
                assert!(!shared.is_old(u64::MAX, Duration::from_secs(1)), "it is in use");
                streams.pop();
                assert!(shared.stream(&limits).is_some(), "its place is free again");
                drop(streams);
                assert!(shared.is_old(u64::MAX, Duration::from_secs(1)));
            }
        });
    }

    #[test]
    fn a_body_ends_with_the_last_who_waits_for_the_answer() {
        run(async || {
            let shared = shared(9).await;
            let mut stream = shared.stream(&Limits::default()).unwrap();
            let (sender, receiver) = oneshot::channel::<()>();
            struct Endless(Option<oneshot::Sender<()>>);
            impl http_body::Body for Endless {
                type Data = Bytes;
                type Error = BodyError;
                fn poll_frame(
                    self: Pin<&mut Self>,
                    _: &mut Context<'_>,
                ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
                    Poll::Pending
                }
            }
            impl Drop for Endless {
                fn drop(&mut self) {
                    let _ = self.0.take().unwrap().send(());
                }
            }
            let asked = tokio::task::spawn_local(stream.ask(request(Body::new(Endless(Some(sender))))));
            tokio::task::yield_now().await;
            drop(stream);
            receiver.await.unwrap();
            assert!(asked.await.unwrap().is_err());
            let mut next = shared.stream(&Limits::default()).unwrap();
            assert_eq!(next.ask(request(body::full("x"))).await.unwrap().status(), 200);
        });
    }

    #[test]
    fn all_that_is_under_way_ends_with_the_connection() {
        run(async || {
            let (near, mut far) = tokio::io::duplex(64 << 10);
            let shared = Shared::begin(&Builder::new(LocalExecutor), Box::new(near)).await.unwrap();
            let mut stream = shared.stream(&Limits::default()).unwrap();
            let asked = tokio::task::spawn_local(stream.ask(request(body::empty())));
            tokio::task::yield_now().await;
            shared.end();
            assert!(asked.await.unwrap().is_err());
            assert!(shared.is_closed());
            drop((stream, shared));
            tokio::io::AsyncReadExt::read_to_end(&mut far, &mut Vec::new()).await.unwrap();
        });
    }

    #[test]
    fn what_was_not_sent_comes_back_when_the_connection_has_ended() {
        run(async || {
            let shared = shared(9).await;
            let mut stream = shared.stream(&Limits::default()).unwrap();
            let spoken = shared.spoken.borrow_mut().take();
            drop(spoken);
            let mut error = stream.ask(request(body::full("x"))).await.unwrap_err();
            assert!(error.take_message().is_some());
            assert!(shared.is_closed() && shared.stream(&Limits::default()).is_none());
        });
    }
}

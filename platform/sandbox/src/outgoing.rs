//! Outgoing requests as they leave a sandbox, and their answers as they arrive: whose memory it is that crosses, and how far a
//! call between tasks has come.
//!
//! A request is made in its guest's polls, and read and freed outside of them, or in those of the guest that it is for;
//! with an answer it is the other way round. So what one side allocates and the other frees is told ([`crate::heap`]):
//! bodies byte by byte; and heads and trailers are copied, so that no two guests share memory of which nobody can say whose
//! it is. What does not grow with what a guest sends or gets (the few words of an error, the boxes that futures are in) is
//! not told.
//!
//! What always holds: a request is carried out by one task of the runtime, beside its guest and never in its polls; the
//! guest holds its handle, and ends it by letting go of that; and a panic in it costs the guest an answer, no more.

use crate::call::crossing::{copy_of_answer_head, copy_of_head, frame_taken_in, frame_taken_out};
use crate::capability::Sending;
use crate::heap::{Crossed, apart, growth};
use bytes::Bytes;
use futures::FutureExt;
use http::{HeaderValue, Request, Response};
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;
use skiff_ports::invoke::HOPS_HEADER;
use std::cell::Cell;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll};
use tokio::runtime::{self, Handle};
use tokio::task::JoinHandle;
use wasmtime_wasi::runtime::AbortOnDropJoinHandle;
use wasmtime_wasi_http::p2::types::FutureIncomingResponseHandle;
use wasmtime_wasi_http::{Error, WasiBody};

/// An answer as WASI 0.3 is given it, and what tells of the rest of the exchange.
pub(crate) type Sent = (Response<WasiBody>, Exchange);
/// The part of an exchange that goes on beside its head: fails if that does.
pub(crate) type Exchange = Box<dyn Future<Output = Result<(), Error>> + Send>;

type Answer = Result<Response<WasiBody>, Error>;
type Polled = Poll<Option<Result<Frame<Bytes>, Error>>>;

/// A request as others than its guest have it, of whom it says how far the call has come that it is a part of. To be called in
/// the guest's poll.
pub(crate) fn leaving(crossed: &Arc<Crossed>, hops: u32, request: Request<WasiBody>) -> Request<WasiBody> {
    let (mut own, body) = request.into_parts();
    if hops > 0 {
        own.headers.append(&HOPS_HEADER, HeaderValue::from(hops));
    }
    let crossed = crossed.clone();
    apart(|| {
        let body = LeavingBody { body: Some(body), crossed }.boxed_unsync();
        Request::from_parts(copy_of_head(&own), body)
    })
}

/// Has a request carried out for a guest of WASI 0.2, in whose table the handle is to lie. To be called in the guest's poll.
///
/// The guest lets go of the handle in a poll of its own, and that frees what the task is in; so that is allocated as the
/// guest's, as is all that the task leaves in it. Of a task that has not ended by then, it is freed later ([`Held`]).
pub(crate) fn answer_in_table(crossed: &Arc<Crossed>, sending: Sending) -> FutureIncomingResponseHandle {
    let (crossed, held) = (crossed.clone(), Held::new(crossed));
    let held_bytes = held.bytes.clone();
    let answer = async move {
        let answer = arrived(&crossed, sending).await?;
        Ok::<_, Error>((answer, nothing_beside(&crossed)))
    };
    // WASI's own crate panics in the guest's poll where the task has.
    let answer = AssertUnwindSafe(answer).catch_unwind();
    let task = async move {
        let answer = answer.await;
        held.is_for_the_guest_to_free();
        answer.unwrap_or_else(|_| Err(Error::ConnectionTerminated))
    };
    let (task, bytes) = growth(|| tokio::task::spawn_local(task));
    held_bytes.set(bytes);
    task.into()
}

/// Has a request carried out for a guest of WASI 0.3, in whose polls the answer is awaited. To be called in one of them.
pub(crate) fn answer_in_poll(
    crossed: &Arc<Crossed>,
    sending: Sending,
) -> Box<dyn Future<Output = Result<Sent, Error>> + Send> {
    let crossed = crossed.clone();
    let beside = Beside::start(sending);
    Box::new(async move {
        let answer = arrived(&crossed, beside).await?;
        // What happens to the answer's body happens in it.
        Ok::<Sent, Error>((answer, Box::new(async { Ok(()) }) as Exchange))
    })
}

/// An answer as its guest has it, in the guest's polls or beside them.
async fn arrived(crossed: &Arc<Crossed>, mut sending: impl Future<Output = Answer> + Unpin) -> Answer {
    let answer = (&mut sending).await;
    apart(|| drop(sending));
    let (theirs, body) = answer?.into_parts();
    let answer = crossed.given(|| {
        let body = ArrivingBody { body: Some(body), crossed: crossed.clone() }.boxed_unsync();
        Response::from_parts(copy_of_answer_head(&theirs), body)
    });
    apart(|| drop(theirs));
    Ok(answer)
}

/// What WASI 0.2 keeps with an answer until its body is dropped: the handle of a task that does the rest of the exchange,
/// which nobody awaits. There is no rest here, so it is of a task that was ended before it began. To be called beside the
/// guest's polls; the guest frees it.
///
/// A runtime that is shut down ends at once what it is given to run (tokio, `Handle::spawn`): that costs an allocation,
/// and no scheduler ever hears of it. And since the handle is all that is left of the task, it is freed with the handle, in
/// the guest's poll; of a task that is run it would depend on what came first.
fn nothing_beside(crossed: &Crossed) -> AbortOnDropJoinHandle<()> {
    static SHUT_DOWN: LazyLock<Handle> = LazyLock::new(|| {
        let runtime = runtime::Builder::new_current_thread().build();
        let runtime = runtime.expect("a runtime without drivers asks nothing of the kernel");
        let handle = runtime.handle().clone();
        runtime.shutdown_background();
        handle
    });
    // Made once, and not for this guest.
    let shut_down = &*SHUT_DOWN;
    crossed.given(|| shut_down.spawn(std::future::ready(()))).into()
}

/// What a task is in, which its guest holds. A guest that lets go of the handle before the task has ended frees nothing by
/// that: the runtime does, beside the guest's polls, where nobody would see it otherwise.
struct Held {
    bytes: Rc<Cell<i64>>,
    crossed: Arc<Crossed>,
}

impl Held {
    /// Nothing yet. To be called in the guest's poll.
    fn new(crossed: &Arc<Crossed>) -> Self {
        Self { bytes: apart(Rc::default), crossed: crossed.clone() }
    }

    /// The task has ended, with its handle still there.
    fn is_for_the_guest_to_free(&self) {
        self.bytes.set(0);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.crossed.left(u64::try_from(self.bytes.get()).unwrap_or(0));
    }
}

/// A task of the runtime that carries out a request. Dropped, it ends; all of it is [`apart`] from the guest's heap.
struct Beside(Option<JoinHandle<Answer>>);

impl Beside {
    fn start(sending: Sending) -> Self {
        Self(Some(apart(|| tokio::task::spawn_local(sending))))
    }
}

impl Future for Beside {
    type Output = Answer;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let task = self.0.as_mut().expect("it is there until it is dropped");
        // It can't be joined only if it panicked, or the worker ends.
        Pin::new(task).poll(cx).map(|answer| answer.unwrap_or(Err(Error::ConnectionTerminated)))
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        apart(|| drop(self.0.take().map(AbortOnDropJoinHandle::from)));
    }
}

/// A request's body, which its guest writes and others read.
struct LeavingBody {
    body: Option<WasiBody>,
    crossed: Arc<Crossed>,
}

impl http_body::Body for LeavingBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Polled {
        let Self { body, crossed } = &mut *self;
        let Some(body) = body else { return Poll::Ready(None) };
        let polled = crossed.counted(|| Pin::new(body).poll_frame(cx));
        crossed.left(data_bytes(&polled) as u64);
        polled.map(|frame| Some(frame?.map(|frame| frame_taken_out(crossed, frame))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(|body| body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(SizeHint::default, |body| body.size_hint())
    }
}

impl Drop for LeavingBody {
    fn drop(&mut self) {
        // What it holds was its guest's, in whichever guest's poll it is dropped.
        self.crossed.given(|| self.body = None);
    }
}

/// An answer's body, which others write and its guest reads. Until it is read, it is not the guest's.
struct ArrivingBody {
    body: Option<WasiBody>,
    crossed: Arc<Crossed>,
}

impl http_body::Body for ArrivingBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Polled {
        let Self { body, crossed } = &mut *self;
        let Some(body) = body else { return Poll::Ready(None) };
        let polled = apart(|| Pin::new(body).poll_frame(cx));
        polled.map(|frame| Some(frame?.map(|frame| frame_taken_in(crossed, frame))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(|body| body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(SizeHint::default, |body| body.size_hint())
    }
}

impl Drop for ArrivingBody {
    fn drop(&mut self) {
        apart(|| self.body = None);
    }
}

fn data_bytes(polled: &Polled) -> usize {
    match polled {
        Poll::Ready(Some(Ok(frame))) => frame.data_ref().map_or(0, Bytes::len),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::Full;
    use tokio::task::{LocalSet, yield_now};

    /// Ends as soon as it is polled.
    fn ending(answer: impl FnOnce() -> Answer + 'static) -> Sending {
        Box::pin(async move { answer() })
    }

    fn four() -> Answer {
        let body = Full::new(Bytes::from_static(b"four")).map_err(|never| match never {}).boxed_unsync();
        Ok(Response::builder().status(299).header("x-own", "value").body(body).unwrap())
    }

    async fn check_four(answer: Response<WasiBody>) {
        assert_eq!(answer.status().as_u16(), 299);
        assert_eq!(answer.headers()["x-own"], "value");
        assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "four");
    }

    #[tokio::test]
    async fn an_answer_arrives_with_nothing_beside_it() {
        let crossed = Arc::default();
        let work = async {
            let (answer, beside) = answer_in_table(&crossed, ending(four)).await.unwrap();
            assert!(beside.is_finished(), "nothing has to run for that");
            check_four(answer).await;
            let (answer, beside) = Box::into_pin(answer_in_poll(&crossed, ending(four))).await.unwrap();
            assert!(matches!(Box::into_pin(beside).now_or_never(), Some(Ok(()))));
            check_four(answer).await;
        };
        LocalSet::new().run_until(work).await;
    }

    #[tokio::test]
    async fn an_error_or_a_panic_is_an_error_of_the_guest_s() {
        let refused = || -> Answer { Err(Error::ConnectionRefused) };
        let panics = || -> Answer { panic!("as a bug would") };
        let crossed = Arc::default();
        let work = async {
            let in_table = answer_in_table(&crossed, ending(refused)).await;
            assert!(matches!(in_table, Err(Error::ConnectionRefused)));
            let in_poll = Box::into_pin(answer_in_poll(&crossed, ending(refused))).await;
            assert!(matches!(in_poll, Err(Error::ConnectionRefused)));
            let in_table = answer_in_table(&crossed, ending(panics)).await;
            assert!(matches!(in_table, Err(Error::ConnectionTerminated)));
            let in_poll = Box::into_pin(answer_in_poll(&crossed, ending(panics))).await;
            assert!(matches!(in_poll, Err(Error::ConnectionTerminated)));
        };
        LocalSet::new().run_until(work).await;
    }

    #[test]
    fn what_a_task_is_in_is_the_guest_s_unless_it_lets_go_before_the_end() {
        for (has_ended, left) in [(true, "Crossed(0)"), (false, "Crossed(-70)")] {
            let crossed = Arc::default();
            let held = Held::new(&crossed);
            held.bytes.set(70);
            if has_ended {
                held.is_for_the_guest_to_free();
            }
            drop(held);
            assert_eq!(format!("{crossed:?}"), left);
        }
    }

    #[tokio::test]
    async fn whoever_lets_go_of_an_answer_ends_the_request() {
        let held = Rc::new(());
        let endless = || -> Sending {
            let held = held.clone();
            Box::pin(async move {
                std::future::pending::<()>().await;
                drop(held);
                four()
            })
        };
        let crossed = Arc::default();
        let work = async {
            let in_table = answer_in_table(&crossed, endless());
            let in_poll = answer_in_poll(&crossed, endless());
            yield_now().await;
            assert_eq!(Rc::strong_count(&held), 3);
            drop((in_table, in_poll));
            yield_now().await;
            assert_eq!(Rc::strong_count(&held), 1);
        };
        LocalSet::new().run_until(work).await;
    }
}

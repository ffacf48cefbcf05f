//! Handles of each WASI 0.3 resource type and of what the component model itself hands out: one more and one more until
//! somebody stops it, or so many of them that are still at work when the answer has long been read.

use crate::{raw, reply, sleep};
use std::pin::{Pin, pin};
use std::task::{Context, Waker};
use wasip3::cli::stdout;
use wasip3::http::types::{ErrorCode, Fields, Request, RequestOptions, Response};
use wasip3::wit_bindgen::{FutureReader, FutureWriter, spawn_local};
use wasip3::{wit_future, wit_stream};

/// How many go on behind an answer.
const OUTLIVING: usize = 200;

type Trailers = Result<Option<Fields>, ErrorCode>;

/// Takes handles of one type and never gives one back.
pub(crate) fn without_end(what: &str) -> ! {
    match what {
        "fields" => keep_all(Fields::new),
        "requests" => keep_all(|| {
            let (writer, trailers) = future();
            (writer, Request::new(Fields::new(), None, trailers, None))
        }),
        "responses" => keep_all(|| {
            let (writer, trailers) = future();
            (writer, Response::new(Fields::new(), None, trailers))
        }),
        "bodies" => keep_all(|| {
            let (writer, trailers) = future();
            let (to, contents) = wit_stream::new::<u8>();
            (to, writer, Response::new(Fields::new(), Some(contents), trailers))
        }),
        "options" => keep_all(RequestOptions::new),
        "streams" => keep_all(wit_stream::new::<u8>),
        "futures" => keep_all(future),
        "outputs" => keep_all(|| {
            let (to, output) = wit_stream::new();
            (to, stdout::write_via_stream(output))
        }),
        "subtasks" => keep_all(|| {
            let mut waiting = Box::pin(sleep(u64::MAX));
            let polled = waiting.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            assert!(polled.is_pending(), "for ever is over");
            waiting
        }),
        "waitable-sets" => keep_all(raw::waitable_set),
        "own" => keep_all(guest_destructor::make),
        other => panic!("nothing of that name to hoard: {other}"),
    }
}

/// Answers at once and whole, while what it has started goes on for ever.
pub(crate) fn beyond_the_answer(what: &str) -> Response {
    match what {
        "spin" => go_on(async {
            guest_common::spin(None);
        }),
        "subtasks" => (0..OUTLIVING).for_each(|_| go_on(sleep(u64::MAX))),
        // One within the other, each with a subtask of its own.
        "deep" => go_on(nested(OUTLIVING)),
        // The host waits for what is never written.
        "streams" => (0..OUTLIVING).for_each(|_| {
            let (to, output) = wit_stream::new::<u8>();
            let written = stdout::write_via_stream(output);
            go_on(async move {
                let _ = written.await;
                drop(to);
            });
        }),
        // Trailers that never come, of responses that nobody sends.
        "futures" => (0..OUTLIVING).for_each(|_| {
            let (writer, trailers) = future();
            let (response, sent) = Response::new(Fields::new(), None, trailers);
            go_on(async move {
                let _ = sent.await;
                drop((writer, response));
            });
        }),
        other => panic!("nothing of that name to go on with: {other}"),
    }
    reply(200, "answered")
}

fn go_on(work: impl Future<Output = ()> + 'static) {
    spawn_local(work);
}

fn nested(depth: usize) -> Pin<Box<dyn Future<Output = ()>>> {
    Box::pin(async move {
        if depth == 0 {
            return sleep(u64::MAX).await;
        }
        let (mut own, mut inner) = (pin!(sleep(u64::MAX)), nested(depth - 1));
        std::future::poll_fn(|cx| {
            let _ = own.as_mut().poll(cx);
            inner.as_mut().poll(cx)
        })
        .await;
    })
}

fn future() -> (FutureWriter<Trailers>, FutureReader<Trailers>) {
    wit_future::new(|| Ok(None))
}

fn keep_all<T>(mut take: impl FnMut() -> T) -> ! {
    loop {
        std::mem::forget(take());
    }
}

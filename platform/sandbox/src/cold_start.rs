//! Measures cold starts: the stages of a request to a task of which nothing is loaded, and the same call again.
//!
//! Each round fetches and maps the code anew, beside what the task serves from, so it can be run on a task in use. It
//! runs under the task's quotas like any request, but outside its queue: a round that finds no sandbox fails.

use crate::admission::{Blank, Seat, Shortage};
use crate::call::{Answer, GuestRequest, Head, Instance};
use crate::code;
use crate::code::Code;
use crate::failure::Failure;
use crate::heap::HeapMeter;
use crate::host::Host;
use crate::live::Live;
use crate::run::{Guest, GuestRun};
use crate::state::SandboxState;
use crate::task::Task;
use http::Request;
use http_body::Body as _;
use http_body_util::{BodyExt, Empty};
use skiff_kit::clock;
use skiff_ports::runtime::ColdStart;
use skiff_types::Kind;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use wasmtime::Store;

/// Rounds of one measurement.
pub(crate) const ROUNDS_MAX: u32 = 10_000;

/// One round; `path` is asked for with GET.
pub(crate) async fn measure(host: &Rc<Host>, task: &Rc<Task>, path: &str) -> Result<ColdStart, String> {
    let spec = &task.account.spec;
    if spec.kind != Kind::Http {
        return Err("only an http task answers requests".to_owned());
    }
    let began_ns = clock::monotonic_ns();
    let code = Rc::new(code::fetch(host, spec.program, spec.kind, spec.generation).await?);
    let load_ns = clock::monotonic_ns().saturating_sub(began_ns);

    let short = |shortage: Shortage| format!("the task has no sandbox to spare: {shortage:?}");
    let seat = Seat::claim(task).ok_or_else(|| short(Shortage::Concurrency))?;
    let blank = Blank::claim(task, &code).map_err(short)?;
    let requests = [request(path)?, request(path)?];
    let heap = HeapMeter::new(&task.account);
    let guest: Guest<Stages> =
        Box::pin(stages(host.clone(), task.clone(), code, blank, heap.clone(), requests));
    let run = GuestRun::new(host, task, task.account.deadline_ns(), Some(seat), heap, guest);
    let stages = run.await.map_err(|failure| failure.message)?;
    Ok(ColdStart {
        load_ns,
        instantiate_ns: stages.instantiate_ns,
        first_byte_ns: stages.first_byte_ns,
        cold_request_ns: stages.instantiate_ns + stages.first_byte_ns,
        warm_request_ns: stages.warm_request_ns,
    })
}

struct Stages {
    instantiate_ns: u64,
    first_byte_ns: u64,
    warm_request_ns: u64,
}

async fn stages(
    host: Rc<Host>,
    task: Rc<Task>,
    code: Rc<Code>,
    blank: Blank,
    heap: Rc<HeapMeter>,
    [first, second]: [GuestRequest; 2],
) -> Result<Stages, Failure> {
    let began_ns = clock::monotonic_ns();
    let mut live = Live::make(&host, &task, &code, blank, heap).await?;
    let instantiate_ns = clock::monotonic_ns().saturating_sub(began_ns);
    let Live { store, instance, .. } = &mut live;
    let result = async {
        let first_byte_ns = timed_call(store, instance, first).await?;
        let warm_request_ns = timed_call(store, instance, second).await?;
        wasmtime::error::Ok(Stages { instantiate_ns, first_byte_ns, warm_request_ns })
    };
    let result = result.await;
    result.map_err(|error| live.failure(&error, &task))
}

/// Calls to the end, reading the answer's body, and says when the answer's head was there.
async fn timed_call(
    store: &mut Store<SandboxState>,
    instance: &Instance,
    request: GuestRequest,
) -> wasmtime::Result<u64> {
    let head = Arc::new(Head::default());
    head.sandbox_is_ready(clock::monotonic_ns());
    let answer = head.clone();
    let mut calling = pin!(instance.call(store, request, answer));
    let (mut answered, mut body) = (false, None);
    let ended = std::future::poll_fn(|cx| {
        let ended = calling.as_mut().poll(cx);
        if let Some(answer) = head.take() {
            answered = true;
            body = match answer {
                Answer::Response(response) => Some(response.into_body()),
                Answer::Failure(_) => None,
            };
        }
        // A guest that streams goes on only as its body is read.
        while let Some(reading) = &mut body {
            match Pin::new(reading).poll_frame(cx) {
                Poll::Ready(Some(Ok(_))) => {}
                Poll::Ready(_) => body = None,
                Poll::Pending => break,
            }
        }
        ended
    });
    ended.await?;
    wasmtime::ensure!(answered, "the guest ended without an answer");
    Ok(head.first_byte_ns())
}

fn request(path: &str) -> Result<GuestRequest, String> {
    let body = Empty::new().map_err(|never| match never {}).boxed_unsync();
    let request = Request::get(path).header(http::header::HOST, "localhost").body(body);
    request.map_err(|error| format!("{path:?} is no path: {error}"))
}

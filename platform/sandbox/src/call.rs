//! One call of a task: admission, a sandbox, the guest, its answer. Here requests of HTTP, in [`mod@deliver`] events and messages.
//!
//! The guest runs inside the caller's future until its answer's head is there. A guest that has ended by then (most
//! have: what they wrote fits into the buffers) costs no task of the runtime; one that goes on is spawned, and the
//! response's body holds the cord to it.

mod body;
pub(crate) mod crossing;
mod deliver;
mod head;
mod instance;
mod p2;
mod p3;
pub(crate) mod shared;

use crate::admission::{self, Admitted, Drawn, Own, Seat, Ticket, TryAdmit, try_admit};
use crate::code::Code;
use crate::failure::Failure;
use crate::heap::{Crossed, HeapMeter};
use crate::host::{CallGuard, Host};
use crate::keep;
use crate::live::Live;
use crate::run::GuestRun;
use crate::task::Task;
use body::{Cord, Link, RequestBody, ResponseBody};
pub(crate) use deliver::{deliver, hand_over};
pub(crate) use head::{Answer, Head};
use http::{Request, Response};
use http_body::Body as _;
use http_body_util::BodyExt;
pub(crate) use instance::Instance;
use shared::Shared;
use skiff_kit::clock;
use skiff_ports::body::Body;
use skiff_ports::invoke::InvokeError;
use skiff_types::{Kind, TaskId};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};
use wasmtime_wasi_http::WasiBody;

/// How often a guest is polled for the end of a small answer before a task of the runtime is spent on it.
const FINISHING_POLLS_MAX: usize = 3;

/// What a guest's request is made of, once its body is bounded.
pub(crate) type GuestRequest = Request<WasiBody>;

/// Lets `task` answer `request`.
pub(crate) async fn call(
    host: Rc<Host>,
    task: TaskId,
    request: Request<Body>,
) -> Result<Response<Body>, InvokeError> {
    let found = host.tasks.borrow().get(&task).cloned();
    let task = found.filter(|task| task.account.spec.kind == Kind::Http).ok_or(InvokeError::Gone)?;
    let guard = host.call_begins();
    let limits = &task.account.spec.limits;
    let deadline_ns = task.account.deadline_ns();
    check(&request, limits.request_body.bytes())?;
    task.keep.arrived(clock::monotonic_ns());
    let (code, admitted) = admit(&host, &task, deadline_ns, try_admit).await?;

    let head = Arc::new(Head::default());
    let Admitted { seat, sandbox } = admitted;
    let (sandbox, heap) = match sandbox {
        Drawn::Shared(shared) => {
            return call_shared(host, task, shared, seat, guard, deadline_ns, request).await;
        }
        Drawn::Own(Own::Blank(blank)) if limits.reuse.concurrent > 1 && code.is_concurrent() => {
            let room = code.room.clone();
            let shared = Shared::start(&host, &task, code, blank);
            keep::share(&task, &room, shared.clone());
            return call_shared(host, task, shared, seat, guard, deadline_ns, request).await;
        }
        Drawn::Own(own) => {
            let heap = match &own {
                Own::Kept(live) => live.heap.clone(),
                Own::Blank(_) => HeapMeter::new(&task.account),
            };
            (own, heap)
        }
    };
    let crossed = heap.crossed().clone();
    let request = bounded(request, limits.request_body.bytes(), crossed.clone());
    let guest = serve(host.clone(), task.clone(), code, sandbox, heap.clone(), request, head.clone());
    let guest = crossed.counted(|| Box::pin(guest));
    let mut run = GuestRun::new(&host, &task, deadline_ns, Some(seat), heap, guest);
    let ended = std::future::poll_fn(|cx| match pin!(&mut run).poll(cx) {
        Poll::Ready(result) => Poll::Ready(Some(result)),
        Poll::Pending if head.is_set() => Poll::Ready(None),
        Poll::Pending => Poll::Pending,
    })
    .await;
    let result = match (ended, head.take()) {
        (Some(Err(failure)), _) | (_, Some(Answer::Failure(failure))) => Err(failure),
        (_, None) => Err(Failure::no_answer()),
        (Some(Ok(())), Some(Answer::Response(response))) => {
            respond(&host, &task, response, None, crossed, guard, deadline_ns).await
        }
        (None, Some(Answer::Response(response))) => {
            respond(&host, &task, response, Some(run), crossed, guard, deadline_ns).await
        }
    };
    match result {
        Ok(response) => {
            task.account.row().cold_start_first_byte.record_ns(head.first_byte_ns());
            keep::replenish(&host, &task);
            Ok(response)
        }
        Err(failure) => {
            host.report(&task.account, &failure);
            Err(failure.into_invoke_error())
        }
    }
}

/// Lets a sandbox answer that works on other requests too.
async fn call_shared(
    host: Rc<Host>,
    task: Rc<Task>,
    shared: Rc<Shared>,
    seat: Seat,
    guard: CallGuard,
    deadline_ns: u64,
    request: Request<Body>,
) -> Result<Response<Body>, InvokeError> {
    let limits = &task.account.spec.limits;
    let crossed = shared.heap.crossed().clone();
    let request = bounded(request, limits.request_body.bytes(), crossed.clone());
    let (head, link) = (Arc::new(Head::default()), Arc::new(Link::default()));
    let cord = shared.take(seat, guard, deadline_ns, link.clone(), (request, head.clone()));
    let answer = match shared.poll_answer(&cord, &head, Waker::noop()) {
        Poll::Ready(answer) => answer,
        Poll::Pending => {
            let answered = std::future::poll_fn(|cx| shared.poll_answer(&cord, &head, cx.waker()));
            let left = clock::until(deadline_ns);
            match tokio::time::timeout(left, answered).await {
                Ok(answer) => answer,
                Err(_) => {
                    let failure = Failure::timed_out(limits.timeout.ms());
                    host.report(&task.account, &failure);
                    Err(failure)
                }
            }
        }
    };
    let response = match answer {
        Ok(Answer::Response(response)) => response,
        Ok(Answer::Failure(failure)) => {
            host.report(&task.account, &failure);
            return Err(failure.into_invoke_error());
        }
        // Reported once, where it ended.
        Err(failure) => return Err(failure.into_invoke_error()),
    };
    task.account.row().cold_start_first_byte.record_ns(head.first_byte_ns());
    let (parts, body) = response.into_parts();
    let parts = crossing::taken_out(&crossed, parts);
    let (account, logs) = (task.account.clone(), host.logs.clone());
    let mut body = ResponseBody::new(&parts, body, link, crossed, account, logs);
    for _ in 0..FINISHING_POLLS_MAX {
        if !body.take_what_is_ready() || body.is_whole() {
            break;
        }
        shared.drive();
    }
    if let Some(error) = body.broke_off() {
        let failure = Failure::broke_off(error);
        host.report(&task.account, &failure);
        return Err(failure.into_invoke_error());
    }
    if body.is_whole() {
        shared.end_call(cord);
    } else {
        body.tie_to(Cord::Call(cord));
        body.end_within(clock::until(deadline_ns));
    }
    Ok(Response::from_parts(parts, body.boxed_unsync()))
}

/// The response with a bounded body. What is left of the guest goes on beside it, unless it is done in a moment.
async fn respond(
    host: &Rc<Host>,
    task: &Rc<Task>,
    response: Response<WasiBody>,
    mut rest: Option<GuestRun<()>>,
    crossed: Arc<Crossed>,
    guard: CallGuard,
    deadline_ns: u64,
) -> Result<Response<Body>, Failure> {
    let (head, body) = response.into_parts();
    let head = if task.reuses_sandboxes() { crossing::taken_out(&crossed, head) } else { head };
    let link = Arc::new(Link::default());
    let (account, logs) = (task.account.clone(), host.logs.clone());
    let mut body = ResponseBody::new(&head, body, link.clone(), crossed, account, logs);
    let mut took = body.take_what_is_ready();
    if let Some(run) = &mut rest {
        let ended = std::future::poll_fn(|cx| {
            for _ in 0..FINISHING_POLLS_MAX {
                // A guest that waits for its reader is not waiting any more; any other is left to its wakers.
                if !took {
                    break;
                }
                let polled = pin!(&mut *run).poll(cx);
                took = body.take_what_is_ready();
                if let Poll::Ready(result) = polled {
                    return Poll::Ready(Some(result));
                }
            }
            Poll::Ready(None)
        })
        .await;
        if let Some(result) = ended {
            result?;
            rest = None;
        }
    }
    if let Some(error) = body.broke_off() {
        return Err(Failure::broke_off(error));
    }
    if let Some(run) = rest {
        let finish = finish(host.clone(), task.clone(), run, link, guard);
        body.tie_to(Cord::Guest(tokio::task::spawn_local(finish).abort_handle()));
    }
    body.end_within(clock::until(deadline_ns));
    Ok(Response::from_parts(head, body.boxed_unsync()))
}

/// Runs a guest to its end after its answer's head is out; its body's reader is told of a failure.
async fn finish(host: Rc<Host>, task: Rc<Task>, run: GuestRun<()>, link: Arc<Link>, _guard: CallGuard) {
    if let Err(failure) = run.await {
        link.fail(&failure.message);
        host.report(&task.account, &failure);
    }
}

/// Waits for code and a sandbox, in that order, because only the code says what a sandbox takes.
async fn admit<A>(
    host: &Rc<Host>,
    task: &Rc<Task>,
    deadline_ns: u64,
    try_admit: TryAdmit<A>,
) -> Result<(Rc<Code>, A), InvokeError> {
    let limits = &task.account.spec.limits;
    if let Some(code) = task.code.loaded() {
        if task.waiting.borrow().is_empty()
            && let Ok(admitted) = try_admit(task, &code)
        {
            return Ok((code, admitted));
        }
        let admitted = Ticket::take(task, limits.queue)?.admit(&code, deadline_ns, try_admit).await?;
        return Ok((code, admitted));
    }
    // There may be sandboxes enough for all of these; only, nobody can tell yet.
    let ticket = Ticket::take(task, limits.queue.max(limits.concurrency))?;
    let left = clock::until(deadline_ns);
    let loaded = tokio::time::timeout(left, task.code.load(host, &task.account)).await;
    let code = match loaded {
        Ok(Ok(code)) => code,
        Ok(Err(reason)) => {
            let failure = crate::code::unavailable(&reason);
            host.report(&task.account, &failure);
            return Err(failure.into_invoke_error());
        }
        Err(_) => return Err(admission::timed_out(task)),
    };
    let admitted = ticket.admit(&code, deadline_ns, try_admit).await?;
    Ok((code, admitted))
}

/// Refuses what need not wait for a sandbox to be refused.
fn check(request: &Request<Body>, limit_bytes: u64) -> Result<(), InvokeError> {
    let declared = request
        .headers()
        .get(http::header::CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse::<u64>().ok())
        .unwrap_or(0);
    if declared.max(request.body().size_hint().lower()) > limit_bytes {
        return Err(InvokeError::TooLarge { limit_bytes });
    }
    match request.headers().get(http::header::HOST).map(http::HeaderValue::to_str) {
        Some(Err(_)) => Err(InvokeError::Failed("the request's Host header is no host".to_owned())),
        Some(Ok(_)) | None => Ok(()),
    }
}

/// The request with its body bounded, and with an authority, which guests may count on.
fn bounded(request: Request<Body>, limit_bytes: u64, crossed: Arc<Crossed>) -> GuestRequest {
    let (mut parts, body) = request.into_parts();
    if !parts.headers.contains_key(http::header::HOST) && parts.uri.authority().is_none() {
        parts.headers.insert(http::header::HOST, http::HeaderValue::from_static("localhost"));
    }
    Request::from_parts(parts, RequestBody::new(body, limit_bytes, crossed).boxed_unsync())
}

/// Lets a sandbox answer one request, once there is one; and drops it when nothing of the guest runs any more, or puts it
/// aside for the task's next request.
async fn serve(
    host: Rc<Host>,
    task: Rc<Task>,
    code: Rc<Code>,
    sandbox: Own,
    heap: Rc<HeapMeter>,
    request: GuestRequest,
    head: Arc<Head>,
) -> Result<(), Failure> {
    let mut live = match sandbox {
        Own::Kept(live) => *live,
        Own::Blank(blank) => Live::make(&host, &task, &code, blank, heap).await?,
    };
    let request = if task.reuses_sandboxes() { crossing::taken_in(request) } else { request };
    head.sandbox_is_ready(clock::monotonic_ns());
    live.call(&task, request, head).await?;
    if live.requests < task.account.spec.limits.reuse.requests {
        keep::put(&task, &code.room, live);
    }
    Ok(())
}

//! One request to an `http` task: admission, a fresh sandbox, the guest, its answer.
//!
//! The guest runs inside the caller's future until its answer's head is there. A guest that has ended by then (most
//! have: what they wrote fits into the buffers) costs no task of the runtime; one that goes on is spawned, and the
//! response's body holds the cord to it.

mod body;
mod head;
mod instance;
mod p2;
mod p3;

use crate::admission::{self, Admitted, Ticket, try_admit};
use crate::code::Code;
use crate::failure::Failure;
use crate::heap::Crossed;
use crate::host::{CallGuard, Host};
use crate::run::GuestRun;
use crate::state::{SandboxState, new_store};
use crate::task::Task;
use body::{Link, RequestBody, ResponseBody};
pub(crate) use head::{Answer, Head};
use http::{Request, Response};
use http_body::Body as _;
use http_body_util::BodyExt;
pub(crate) use instance::Instance;
use skiff_kit::clock;
use skiff_ledger::MemoryClaim;
use skiff_ports::body::Body;
use skiff_ports::invoke::InvokeError;
use skiff_types::{Kind, TaskId};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use wasmtime::Store;
use wasmtime_wasi_http::WasiBody;

/// How often a guest is polled for the end of a small answer before a task of the runtime is spent on it.
const FINISHING_POLLS_MAX: usize = 3;

/// What a guest's request is made of, once its body is bounded.
pub(crate) type GuestRequest = Request<WasiBody>;

/// What it takes to make one sandbox.
pub(crate) struct Sandbox {
    pub(crate) host: Rc<Host>,
    pub(crate) task: Rc<Task>,
    pub(crate) code: Rc<Code>,
    pub(crate) claim: MemoryClaim,
    pub(crate) prepaid_bytes: u64,
}

impl Sandbox {
    /// The store; its instance is made next, and then [`made`] says so.
    pub(crate) fn store(self) -> Store<SandboxState> {
        let Self { host, task, code, claim, prepaid_bytes } = self;
        new_store(&code.engine, &task.account, &host.logs, host.epoch.slices(), claim, prepaid_bytes)
    }
}

/// Records that a store has its instance: the stage's time, and what the next sandbox of this code is to prepay.
pub(crate) fn made(task: &Task, code: &Code, store: &Store<SandboxState>, began_ns: u64) -> u64 {
    let ready_ns = clock::monotonic_ns();
    task.account.row().cold_start_instantiate.record_ns(ready_ns.saturating_sub(began_ns));
    let state = store.data();
    let minimum_bytes =
        state.claimed_bytes() - state.unused_prepaid_bytes() - crate::state::SANDBOX_OVERHEAD_BYTES;
    code.demand.minimum_bytes.set(minimum_bytes);
    ready_ns
}

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
    let deadline_ns = clock::monotonic_ns().saturating_add(limits.timeout.ms().saturating_mul(1_000_000));
    let crossed = Arc::new(Crossed::default());
    let request = bounded(request, limits.request_body.bytes(), crossed.clone())?;
    let (code, admitted) = admit(&host, &task, deadline_ns).await?;

    let head = Arc::new(Head::default());
    let Admitted { permit, claim, prepaid_bytes } = admitted;
    let sandbox = Sandbox { host: host.clone(), task: task.clone(), code, claim, prepaid_bytes };
    let mut run = GuestRun::new(
        &host,
        &task,
        deadline_ns,
        permit,
        crossed.clone(),
        Box::pin(serve(sandbox, request, head.clone())),
    );
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
            respond(&host, &task, response, None, crossed, guard).await
        }
        (None, Some(Answer::Response(response))) => {
            respond(&host, &task, response, Some(run), crossed, guard).await
        }
    };
    match result {
        Ok(response) => {
            task.account.row().cold_start_first_byte.record_ns(head.first_byte_ns());
            Ok(response)
        }
        Err(failure) => {
            host.report(&task.account, &failure);
            Err(failure.into_invoke_error())
        }
    }
}

/// The response with a bounded body. What is left of the guest goes on beside it, unless it is done in a moment.
async fn respond(
    host: &Rc<Host>,
    task: &Rc<Task>,
    response: Response<WasiBody>,
    rest: Option<GuestRun<()>>,
    crossed: Arc<Crossed>,
    guard: CallGuard,
) -> Result<Response<Body>, Failure> {
    let (head, body) = response.into_parts();
    let link = Arc::new(Link::default());
    let (account, logs) = (task.account.clone(), host.logs.clone());
    let mut body = ResponseBody::new(&head, body, link.clone(), crossed, account, logs);
    let mut took = body.take_what_is_ready();
    if let Some(mut run) = rest {
        let ended = std::future::poll_fn(|cx| {
            for _ in 0..FINISHING_POLLS_MAX {
                // A guest that waits for its reader is not waiting any more; any other is left to its wakers.
                if !took {
                    break;
                }
                let polled = pin!(&mut run).poll(cx);
                took = body.take_what_is_ready();
                if let Poll::Ready(result) = polled {
                    return Poll::Ready(Some(result));
                }
            }
            Poll::Ready(None)
        })
        .await;
        match ended {
            Some(result) => result?,
            None => {
                let finish = finish(host.clone(), task.clone(), run, link, guard);
                body.tie_to(tokio::task::spawn_local(finish).abort_handle());
            }
        }
    }
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
async fn admit(
    host: &Rc<Host>,
    task: &Rc<Task>,
    deadline_ns: u64,
) -> Result<(Rc<Code>, Admitted), InvokeError> {
    let limits = &task.account.spec.limits;
    if let Some(code) = task.code.loaded() {
        if task.waiting.borrow().is_empty()
            && let Ok(admitted) = try_admit(host, task, &code)
        {
            return Ok((code, admitted));
        }
        let admitted = Ticket::take(task, limits.queue)?.admit(host, &code, deadline_ns).await?;
        return Ok((code, admitted));
    }
    // There may be sandboxes enough for all of these; only, nobody can tell yet.
    let ticket = Ticket::take(task, limits.queue.max(limits.concurrency))?;
    let left = Duration::from_nanos(deadline_ns.saturating_sub(clock::monotonic_ns()));
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
    let admitted = ticket.admit(host, &code, deadline_ns).await?;
    Ok((code, admitted))
}

/// The request with its body bounded, and with an authority, which guests may count on.
fn bounded(
    request: Request<Body>,
    limit_bytes: u64,
    crossed: Arc<Crossed>,
) -> Result<GuestRequest, InvokeError> {
    let declared = request
        .headers()
        .get(http::header::CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse::<u64>().ok())
        .unwrap_or(0);
    if declared.max(request.body().size_hint().lower()) > limit_bytes {
        return Err(InvokeError::TooLarge { limit_bytes });
    }
    let (mut parts, body) = request.into_parts();
    let host = parts.headers.get(http::header::HOST);
    match host.map(http::HeaderValue::to_str) {
        Some(Err(_)) => return Err(InvokeError::Failed("the request's Host header is no host".to_owned())),
        None if parts.uri.authority().is_none() => {
            parts.headers.insert(http::header::HOST, http::HeaderValue::from_static("localhost"));
        }
        Some(Ok(_)) | None => {}
    }
    Ok(Request::from_parts(parts, RequestBody::new(body, limit_bytes, crossed).boxed_unsync()))
}

/// Makes a sandbox, lets it answer one request, and drops it once nothing of the guest runs any more.
async fn serve(sandbox: Sandbox, request: GuestRequest, head: Arc<Head>) -> Result<(), Failure> {
    let (task, code) = (sandbox.task.clone(), sandbox.code.clone());
    let began_ns = clock::monotonic_ns();
    let mut store = sandbox.store();
    let result = async {
        let instance = Instance::new(&code, &mut store).await?;
        head.sandbox_is_ready(made(&task, &code, &store, began_ns));
        instance.call(&mut store, request, head).await
    };
    let result: wasmtime::Result<()> = result.await;
    result.map_err(|error| Failure::from_error(&error, &task.account, store.data().out_of_memory()))
}

//! A running edge with fake tasks, and clients for it.

use bytes::Bytes;
use futures::future::LocalBoxFuture;
use http::{Request, Response};
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use skiff_edge::accept::{Acceptor, Inbox};
use skiff_edge::{Config, Deps, Edge, Limits, Proto, access_log};
use skiff_ledger::Ledger;
use skiff_ports::body::{self, Body, BodyError};
use skiff_ports::connect::{Connect, ConnectError, Connection, Destination, Origin};
use skiff_ports::invoke::{Invoke, InvokeError};
use skiff_ports::snapshot::{HostMatch, Route, Target};
use skiff_types::TaskId;
use std::cell::Cell;
use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::{JoinHandle, LocalSet};

/// After which a test that waits has failed.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

pub(crate) type Answer = Result<Response<Body>, InvokeError>;
pub(crate) type ClientBody = UnsyncBoxBody<Bytes, BodyError>;
pub(crate) type Connected = Result<Box<dyn Connection>, ConnectError>;

/// Runs a test as a worker runs: one thread, a local set.
pub(crate) fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let local = LocalSet::new();
    let in_time = local.block_on(&runtime, async { tokio::time::timeout(DEADLINE * 3, test).await });
    in_time.expect("the test ends in time");
}

/// Waits until `condition` holds.
#[track_caller]
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) -> impl Future<Output = ()> {
    let location = std::panic::Location::caller();
    async move {
        let end = tokio::time::Instant::now() + DEADLINE;
        while !condition() {
            assert!(tokio::time::Instant::now() < end, "{what}: never came true ({location})");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

struct Fake<F>(F);

impl<F> Invoke for Fake<F>
where
    F: Fn(TaskId, Request<Body>) -> LocalBoxFuture<'static, Answer>,
{
    fn invoke(&self, task: TaskId, request: Request<Body>) -> LocalBoxFuture<'_, Answer> {
        (self.0)(task, request)
    }
}

/// A fake task out of an asynchronous function.
pub(crate) fn task<F, R>(answer: F) -> Rc<dyn Invoke>
where
    F: Fn(TaskId, Request<Body>) -> R + 'static,
    R: Future<Output = Answer> + 'static,
{
    Rc::new(Fake(move |task, request| -> LocalBoxFuture<'static, Answer> { Box::pin(answer(task, request)) }))
}

/// A task that tells what it was asked, and gives the request's body back.
pub(crate) fn echo() -> Rc<dyn Invoke> {
    task(|_, request| async move {
        let (head, body) = request.into_parts();
        let bytes = body.collect().await.map_err(|error| InvokeError::Failed(error.to_string()))?.to_bytes();
        let mut response = Response::new(body::full(bytes));
        for (name, value) in &head.headers {
            let name = format!("saw-{name}");
            let name = http::HeaderName::from_bytes(name.as_bytes()).unwrap();
            response.headers_mut().append(name, value.clone());
        }
        let uri = head.uri.to_string().parse().unwrap();
        response.headers_mut().insert("saw-uri", uri);
        response.headers_mut().insert("saw-method", head.method.as_str().parse().unwrap());
        Ok(response)
    })
}

/// A task that always says the same.
pub(crate) fn says(text: &'static str) -> Rc<dyn Invoke> {
    task(move |_, _| async move { Ok(Response::new(body::full(text))) })
}

struct FakeConnect<F>(F);

impl<F> Connect for FakeConnect<F>
where
    F: Fn(TaskId, u16) -> LocalBoxFuture<'static, Connected>,
{
    /// Whoever is no task listens on this machine.
    fn connect(&self, to: &Destination, origin: Origin) -> LocalBoxFuture<'static, Connected> {
        assert_eq!(origin, Origin::LoadBalancer);
        match to {
            Destination::Task { task, port } => (self.0)(*task, *port),
            Destination::Virtual(address) => Box::pin(to_socket(address.port())),
            Destination::Outside(outside) => Box::pin(to_socket(outside.port)),
        }
    }
}

/// A fake way to daemons out of an asynchronous function.
pub(crate) fn connects<F, R>(connect: F) -> Rc<dyn Connect>
where
    F: Fn(TaskId, u16) -> R + 'static,
    R: Future<Output = Connected> + 'static,
{
    Rc::new(FakeConnect(move |task, port| -> LocalBoxFuture<'static, Connected> {
        Box::pin(connect(task, port))
    }))
}

/// Connects to whoever listens on a port of this machine.
pub(crate) async fn to_socket(port: u16) -> Connected {
    let stream = TcpStream::connect(("127.0.0.1", port)).await.map_err(|_| ConnectError::Refused)?;
    Ok(Box::new(stream) as Box<dyn Connection>)
}

/// Takes every task for one that listens on this machine.
pub(crate) fn by_sockets() -> Rc<dyn Connect> {
    connects(|_, port| to_socket(port))
}

/// A daemon on a port of this machine, out of what it does with a connection. Needs a `LocalSet`.
pub(crate) fn daemon<F, R>(serve: F) -> u16
where
    F: Fn(TcpStream) -> R + 'static,
    R: Future<Output = ()> + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    tokio::task::spawn_local(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::task::spawn_local(serve(stream));
        }
    });
    port
}

/// A daemon that speaks HTTP, out of what it answers.
pub(crate) fn http_daemon<F, R>(answer: F) -> u16
where
    F: Fn(Request<Incoming>) -> R + 'static,
    R: Future<Output = Response<Body>> + 'static,
{
    let answer = Rc::new(answer);
    daemon(move |stream| {
        let answer = answer.clone();
        async move {
            let service = service_fn(move |request| {
                let answer = answer(request);
                async move { Ok::<_, Infallible>(answer.await) }
            });
            let http = hyper::server::conn::http1::Builder::new();
            // Whoever asks may leave.
            let _ = http.serve_connection(TokioIo::new(stream), service).await;
        }
    })
}

pub(crate) fn task_id(slot: u32) -> TaskId {
    TaskId::from_parts(u64::from(slot), [7; 10])
}

/// A route of `default/NAME` on `NAME.localhost`.
pub(crate) fn route(name: &str, slots: &[u32]) -> Route {
    Route {
        service: format!("default/{name}").parse().unwrap(),
        hosts: vec![HostMatch::Pattern(format!("{name}.localhost").parse().unwrap())],
        paths: vec!["/".parse().unwrap()],
        listen: Vec::new(),
        targets: slots.iter().map(|&slot| Target { task: task_id(slot), slot, port: None }).collect(),
        split: None,
        wakes: false,
    }
}

/// The same of daemons, each of which has a slot and a port.
pub(crate) fn daemons(name: &str, targets: &[(u32, u16)]) -> Route {
    let target = |&(slot, port)| Target { task: task_id(slot), slot, port: Some(port) };
    Route { targets: targets.iter().map(target).collect(), ..route(name, &[]) }
}

/// A running edge: `hello.localhost` has one task in slot 3, `pair.localhost` two in slots 4 and 5,
/// `empty.localhost` none.
pub(crate) struct Bench {
    pub(crate) edge: Rc<Edge>,
    pub(crate) ledger: Ledger,
    pub(crate) address: SocketAddr,
    pub(crate) accepting: JoinHandle<std::io::Result<()>>,
    pub(crate) log: PathBuf,
    _folder: TempDir,
    _inbox: std::os::fd::OwnedFd,
}

impl Bench {
    pub(crate) fn new(invoke: Rc<dyn Invoke>) -> Self {
        Self::with(Limits::default(), invoke)
    }

    pub(crate) fn with(limits: Limits, invoke: Rc<dyn Invoke>) -> Self {
        Self::of(limits, invoke, by_sockets())
    }

    /// One whose `web.localhost` leads to these daemons, each of which has a slot and a port.
    pub(crate) fn to(limits: Limits, targets: &[(u32, u16)]) -> Self {
        let bench = Self::with(limits, says("no daemon"));
        bench.edge.route(&[daemons("web", targets)], &[]);
        bench
    }

    /// One that logs in another form.
    pub(crate) fn logging(format: access_log::Format, invoke: Rc<dyn Invoke>) -> Self {
        Self::of_form(format, Limits::default(), invoke, by_sockets())
    }

    pub(crate) fn of(limits: Limits, invoke: Rc<dyn Invoke>, connect: Rc<dyn Connect>) -> Self {
        Self::of_form(access_log::Format::Json, limits, invoke, connect)
    }

    fn of_form(
        format: access_log::Format,
        limits: Limits,
        invoke: Rc<dyn Invoke>,
        connect: Rc<dyn Connect>,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (ledger, _) = Ledger::create(1).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("access.log");
        let deps = Deps { invoke, connect, ledger: ledger.clone() };
        let access_log = access_log::Config { format, ..access_log::Config::new(&log) };
        let edge = edge_of(0, limits, Some(access_log), address.port(), deps);
        let inbox = Inbox::new().unwrap();
        let sender = inbox.send.try_clone().unwrap();
        let acceptor = Acceptor {
            listener,
            inbox: inbox.receive,
            peers: vec![inbox.send],
            worker: 0,
            ledger: ledger.clone(),
        };
        let accepting = tokio::task::spawn_local(acceptor.run(edge.clone()));
        Self { edge, ledger, address, accepting, log, _folder: folder, _inbox: sender }
    }

    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends bytes as they are, and reads to the connection's end.
    pub(crate) async fn raw(&self, request: &str) -> String {
        let mut stream = self.connect().await;
        stream.write_all(request.as_bytes()).await.unwrap();
        read_to_end(&mut stream).await
    }

    /// An HTTP/1.1 client with one connection.
    pub(crate) async fn http1(&self) -> http1::SendRequest<ClientBody> {
        let (client, connection) = http1::handshake(TokioIo::new(self.connect().await)).await.unwrap();
        tokio::task::spawn_local(connection);
        client
    }

    /// An HTTP/2 client with one connection.
    pub(crate) async fn http2(&self) -> http2::SendRequest<ClientBody> {
        let io = TokioIo::new(self.connect().await);
        let (client, connection) = http2::handshake(Local, io).await.unwrap();
        tokio::task::spawn_local(connection);
        client
    }

    /// What is in the access log so far.
    pub(crate) async fn logged(&self) -> String {
        self.edge.flush_access_log().await;
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// The access log's lines so far.
    pub(crate) async fn lines(&self) -> Vec<serde_json::Value> {
        let text = self.logged().await;
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Waits until the access log has so many lines.
    pub(crate) async fn wait_for_lines(&self, count: usize) -> Vec<serde_json::Value> {
        let end = tokio::time::Instant::now() + DEADLINE;
        loop {
            let lines = self.lines().await;
            if lines.len() >= count {
                return lines;
            }
            assert!(tokio::time::Instant::now() < end, "only these lines came: {lines:?}");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

pub(crate) fn edge(
    worker: usize,
    limits: Limits,
    log: Option<PathBuf>,
    forwarded_port: u16,
    invoke: Rc<dyn Invoke>,
    ledger: &Ledger,
) -> Rc<Edge> {
    let deps = Deps { invoke, connect: by_sockets(), ledger: ledger.clone() };
    edge_of(worker, limits, log.map(access_log::Config::new), forwarded_port, deps)
}

fn edge_of(
    worker: usize,
    limits: Limits,
    access_log: Option<access_log::Config>,
    forwarded_port: u16,
    deps: Deps,
) -> Rc<Edge> {
    // Tests run beside each other on machines of any speed: most are about something else than too much of it.
    let is_said = limits.wait_target != Limits::default().wait_target;
    let wait_target = if is_said { limits.wait_target } else { DEADLINE };
    let limits = Limits { wait_target, ..limits };
    let config = Config { worker, limits, access_log, forwarded_proto: Proto::Http, forwarded_port };
    let edge = Edge::new(config, deps).unwrap();
    edge.route(&[route("hello", &[3]), route("pair", &[4, 5]), route("empty", &[])], &[]);
    edge
}

/// Runs a client's streams on this thread.
#[derive(Clone, Copy)]
pub(crate) struct Local;

impl<F: Future<Output: 'static> + 'static> hyper::rt::Executor<F> for Local {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}

pub(crate) async fn read_to_end(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    // A reset after the last byte ends a connection as well.
    let _ =
        tokio::time::timeout(DEADLINE, stream.read_to_end(&mut bytes)).await.expect("the connection ends");
    String::from_utf8(bytes).unwrap()
}

/// Reads until what was read ends with `end`.
pub(crate) async fn read_until(stream: &mut TcpStream, end: &str) -> String {
    let mut bytes = Vec::new();
    while !bytes.ends_with(end.as_bytes()) {
        let read = tokio::time::timeout(DEADLINE, stream.read_u8()).await;
        let text = || String::from_utf8_lossy(&bytes).into_owned();
        bytes
            .push(read.unwrap_or_else(|_| panic!("{:?}", text())).unwrap_or_else(|_| panic!("{:?}", text())));
    }
    String::from_utf8(bytes).unwrap()
}

/// A request for `http://hello.localhost/`.
pub(crate) fn get() -> Request<ClientBody> {
    request("GET", "http://hello.localhost/", "")
}

/// A request with a body.
pub(crate) fn request(method: &str, uri: &str, body: &'static str) -> Request<ClientBody> {
    let uri: http::Uri = uri.parse().unwrap();
    let host = uri.authority().unwrap().as_str().to_owned();
    let request = Request::builder().method(method).uri(uri).header("host", host);
    let body = Full::new(Bytes::from_static(body.as_bytes())).map_err(|never| match never {});
    request.body(body.boxed_unsync()).unwrap()
}

pub(crate) async fn text(response: Response<hyper::body::Incoming>) -> String {
    let collected = tokio::time::timeout(DEADLINE, response.into_body().collect()).await;
    String::from_utf8(collected.expect("the body ends").unwrap().to_bytes().to_vec()).unwrap()
}

/// The error that an answer's JSON names: status, code, message.
pub(crate) fn refusal(raw: &str) -> (u16, String, String) {
    let (head, body) = raw.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {raw:?}"));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let json: serde_json::Value = serde_json::from_str(body).unwrap_or_else(|_| panic!("{raw:?}"));
    let id = json["request_id"].as_str().unwrap();
    assert!(head.contains(&format!("x-request-id: {id}")) && !id.is_empty(), "{raw:?}");
    assert!(head.contains("content-type: application/json"), "{raw:?}");
    let field = |name: &str| json["error"][name].as_str().unwrap().to_owned();
    (status, field("code"), field("message"))
}

/// A body that is written bit by bit.
pub(crate) fn channel() -> (futures::channel::mpsc::UnboundedSender<Result<Bytes, BodyError>>, Body) {
    let (sender, receiver) = futures::channel::mpsc::unbounded();
    let frames = futures::StreamExt::map(receiver, |bytes: Result<Bytes, BodyError>| {
        bytes.map(http_body::Frame::data)
    });
    (sender, Body::new(http_body_util::StreamBody::new(frames)))
}

/// Sets its flag when it is dropped.
pub(crate) struct Flag(pub(crate) Rc<Cell<bool>>);

impl Drop for Flag {
    fn drop(&mut self) {
        self.0.set(true);
    }
}

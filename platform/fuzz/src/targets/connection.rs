//! A connection to the load balancer: whatever bytes a client sends, the connection ends, every request that was taken
//! is accounted for, and a task is called only with a request that its routes take.
//!
//! The first byte of an input says where the client pauses. The routes that hold are worked out a second time here, from
//! the request as the task sees it, without the table and the normalisation of the edge.

use futures::future::LocalBoxFuture;
use http::header::HOST;
use http::{Request, Response};
use skiff_edge::{Config, Deps, Edge, Limits, Proto};
use skiff_ledger::Ledger;
use skiff_ports::body::{self, Body};
use skiff_ports::connect::{Connect, ConnectError, Connection, Destination, Origin};
use skiff_ports::invoke::{Invoke, InvokeError};
use skiff_ports::snapshot::{HostMatch, Route, Target};
use skiff_types::TaskId;
use std::rc::Rc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::Runtime;
use tokio::task::LocalSet;

/// The bound on everything that a client may put off, and after which a connection that has not ended never will.
const IDLE: Duration = Duration::from_millis(500);
const PATIENCE: Duration = Duration::from_secs(60);
/// Turns that a client waits for an answer before it leaves.
const TURNS: usize = 20;

thread_local! {
    static EDGE: Fixture = Fixture::new();
}

struct Fixture {
    runtime: Runtime,
    edge: Rc<Edge>,
    ledger: Ledger,
}

impl Fixture {
    fn new() -> Self {
        let (ledger, _) = Ledger::create(1).expect("a ledger");
        let limits = Limits {
            header_read_timeout: IDLE,
            keep_alive_timeout: IDLE,
            body_idle_timeout: IDLE,
            ..Limits::default()
        };
        let config =
            Config { worker: 0, limits, access_log: None, forwarded_proto: Proto::Http, forwarded_port: 80 };
        let tasks = Rc::new(Tasks { routes: routes() });
        let deps = Deps { invoke: tasks, connect: Rc::new(NoDaemons), ledger: ledger.clone() };
        let edge = Edge::new(config, deps).expect("an edge without a log");
        edge.route(&routes(), &[]);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        Self { runtime, edge, ledger }
    }
}

/// Sends the input over a connection.
pub(crate) fn run(input: &[u8]) {
    let Some((&pause, bytes)) = input.split_first() else { return };
    let pause = usize::from(pause).min(bytes.len());
    EDGE.with(|fixture| {
        LocalSet::new().block_on(&fixture.runtime, async {
            let exchanged = tokio::time::timeout(PATIENCE, exchange(&fixture.edge, bytes, pause)).await;
            let answer = exchanged.expect("the connection never ends");
            let is_http = answer.is_empty() || answer.starts_with(b"HTTP/1.") || answer.get(3) == Some(&4);
            assert!(is_http, "the answer is {:?}", String::from_utf8_lossy(&answer));
        });
        assert_eq!(fixture.edge.connections(), 0);
        for slot in 0..routes().len() {
            assert_eq!(
                fixture.ledger.task(slot as u32).outstanding(),
                0,
                "requests of {slot} are still counted"
            );
        }
    });
}

/// Sends all bytes, with a pause, and then no more; gives what was answered.
async fn exchange(edge: &Rc<Edge>, bytes: &[u8], pause: usize) -> Vec<u8> {
    let (client, server) = tokio::io::duplex(1 << 20);
    let serving = edge.serve_io(server, "10.0.0.1:1".parse().expect("an address"));
    let asking = async move {
        let (mut reader, mut writer) = tokio::io::split(client);
        let _ = writer.write_all(&bytes[..pause]).await;
        tokio::task::yield_now().await;
        let _ = writer.write_all(&bytes[pause..]).await;
        // A client that ends its side has left, for hyper; so let the answer come first.
        for _ in 0..TURNS {
            tokio::task::yield_now().await;
        }
        let _ = writer.shutdown().await;
        let mut answer = Vec::new();
        let _ = reader.read_to_end(&mut answer).await;
        answer
    };
    tokio::join!(serving, asking).1
}

/// Services with routes of every kind, each with one task, whose id says which.
fn routes() -> Vec<Route> {
    let hosts = |patterns: &[&str]| -> Vec<HostMatch> {
        patterns.iter().map(|text| HostMatch::Pattern(text.parse().expect("a host"))).collect()
    };
    let route = |number: u32, hosts: Vec<HostMatch>, paths: &[&str]| Route {
        service: format!("default/s{number}").parse().expect("a name"),
        hosts,
        paths: paths.iter().map(|path| path.parse().expect("a path")).collect(),
        listen: vec![],
        targets: vec![Target { task: task(number), slot: number, port: None }],
        split: None,
        wakes: false,
    };
    vec![
        route(0, hosts(&["a.test"]), &["/"]),
        route(1, hosts(&["a.test", "b.test"]), &["/api", "/api/v1"]),
        route(2, hosts(&["*.test", "*.a.test"]), &["/api/v1/x", "/"]),
        route(3, vec![HostMatch::Any], &["/any", "/api/v1/x/y"]),
    ]
}

fn task(number: u32) -> TaskId {
    TaskId::from_parts(u64::from(number), [7; 10])
}

/// Every task, all of which answer with what they were sent, once they have seen that it was for them.
struct Tasks {
    routes: Vec<Route>,
}

impl Invoke for Tasks {
    fn invoke(
        &self,
        called: TaskId,
        request: Request<Body>,
    ) -> LocalBoxFuture<'_, Result<Response<Body>, InvokeError>> {
        let host = request.headers().get(HOST).map_or("", |host| host.to_str().expect("a host is text"));
        let wanted = wanted(&self.routes, host, request.uri().path()).map(|route| route.targets[0].task);
        assert_eq!(Some(called), wanted, "for the host {host:?} and the path {:?}", request.uri().path());
        let streams = request.method() == http::Method::POST;
        let body = if streams { request.into_body() } else { body::full("an answer") };
        Box::pin(async move { Ok(Response::new(body)) })
    }
}

/// Nobody is to connect: none of the tasks is a daemon.
struct NoDaemons;

impl Connect for NoDaemons {
    fn connect(
        &self,
        to: &Destination,
        _: Origin,
    ) -> LocalBoxFuture<'static, Result<Box<dyn Connection>, ConnectError>> {
        panic!("{to:?} is connected to");
    }
}

/// The route with the most specific host, then the longest path.
fn wanted<'a>(routes: &'a [Route], authority: &str, path: &str) -> Option<&'a Route> {
    let end = authority.rfind(':').filter(|_| !authority.ends_with(']')).unwrap_or(authority.len());
    let host = authority[..end].to_ascii_lowercase();
    let host = host.strip_suffix('.').unwrap_or(&host);
    let specificity = |pattern: &HostMatch| match pattern {
        HostMatch::Any => Some(0),
        HostMatch::Pattern(pattern) => match pattern.wildcard_suffix() {
            None => (pattern.as_str() == host).then_some(2),
            Some(suffix) => {
                let label = host.strip_suffix(suffix)?.strip_suffix('.')?;
                (!label.is_empty() && !label.contains('.')).then_some(1)
            }
        },
    };
    let rank = |route: &&Route| {
        let hosts = route.hosts.iter().filter_map(specificity);
        let path_bytes =
            route.paths.iter().filter(|prefix| prefix.matches(path)).map(|prefix| prefix.as_str().len());
        hosts.max().zip(path_bytes.max())
    };
    routes.iter().filter(|route| rank(route).is_some()).max_by_key(rank)
}

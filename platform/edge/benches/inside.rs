//! What the load balancer's own work costs on the way of a request: `cargo xtask bench inside`.

use bytes::Bytes;
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use futures::future::LocalBoxFuture;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use skiff_edge::access_log::{self, Format};
use skiff_edge::guard::Blocks;
use skiff_edge::measured::{Heads, Routing};
use skiff_edge::sticky::{Cookies, Terms};
use skiff_edge::{Config, Deps, Edge, Limits, Proto};
use skiff_ledger::Ledger;
use skiff_ports::balancer::BalancerChange;
use skiff_ports::body::{self, Body};
use skiff_ports::connect::{Connect, ConnectError, Connection, Destination, Origin};
use skiff_ports::cookie::CookieKey;
use skiff_ports::invoke::{Invoke, InvokeError};
use skiff_ports::snapshot::{HostMatch, Route, Target};
use skiff_types::{Span, TargetGroupSpec, TaskId};
use std::hint::black_box;
use std::rc::Rc;
use std::sync::Arc;
use tokio::task::LocalSet;

/// A service on a host of its own.
fn route(number: u32, targets: u32) -> Route {
    let target = |slot| Target { task: TaskId::from_parts(1, [1; 10]), slot, port: None };
    Route {
        service: format!("default/s{number}").parse().expect("a name"),
        hosts: vec![HostMatch::Pattern(format!("s{number}.localhost").parse().expect("a host"))],
        paths: vec!["/".parse().expect("a path"), "/api/v1".parse().expect("a path")],
        listen: Vec::new(),
        targets: (0..targets).map(target).collect(),
        split: None,
        wakes: false,
    }
}

fn lookups(criterion: &mut Criterion) {
    let (ledger, _) = Ledger::create(2).expect("a ledger");
    for services in [1, 20_000] {
        let routes: Vec<Route> = (0..services).map(|number| route(number, 1)).collect();
        let routing = Routing::new(&routes, &ledger);
        let host = format!("s{}.localhost", services - 1);
        criterion.bench_function(&format!("routing/find one of {services} services"), |bencher| {
            bencher.iter(|| routing.target(black_box(&host), black_box("/api/v1/users")).expect("a target"));
        });
        criterion.bench_function(&format!("routing/miss among {services} services"), |bencher| {
            bencher.iter(|| assert!(routing.target(black_box("nobody.localhost"), "/").is_none()));
        });
    }
    for targets in [16, 1_000] {
        let routing = Routing::new(&[route(0, targets)], &ledger);
        criterion.bench_function(
            &format!("routing/find a service and one of its {targets} tasks"),
            |bencher| {
                bencher.iter(|| routing.target(black_box("s0.localhost"), "/").expect("a target"));
            },
        );
    }
}

fn header_maps(criterion: &mut Criterion) {
    let short = [("host", "hello.localhost"), ("user-agent", "driver")];
    let browser = [
        ("host", "hello.localhost"),
        ("connection", "keep-alive, x-hop"),
        ("x-hop", "1"),
        ("accept", "text/html,application/xhtml+xml"),
        ("accept-encoding", "gzip, deflate, br"),
        ("accept-language", "en"),
        ("cookie", "a=1; b=2"),
        ("user-agent", "Mozilla/5.0"),
        ("x-forwarded-for", "10.0.0.1"),
    ];
    let map = |headers: &[(&'static str, &'static str)]| -> HeaderMap {
        let pair = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        headers.iter().map(pair).collect()
    };
    let heads = Heads::default();
    for (what, headers) in [("a short", map(&short)), ("a browser's", map(&browser))] {
        criterion.bench_function(&format!("headers/{what} head made ready for the guest"), |bencher| {
            bencher.iter_batched_ref(
                || headers.clone(),
                |head| heads.make_ready(head),
                BatchSize::SmallInput,
            );
        });
    }
}

fn guard(criterion: &mut Criterion) {
    let head = b"GET /api/v1/users?page=2 HTTP/1.1\r\nHost: s0.localhost:8080\r\n\
        User-Agent: driver/1.0 (bench)\r\nAccept: application/json\r\nAccept-Encoding: gzip, br\r\n\r\n";
    let mut blocks = Blocks::new(64 << 10);
    criterion.bench_function(&format!("guard/a head of {} bytes", head.len()), |bencher| {
        bencher.iter(|| assert_eq!(blocks.pass(black_box(head)), head.len()));
    });
    let post = b"POST / HTTP/1.1\r\nHost: s0.localhost\r\nTransfer-Encoding: chunked\r\n\r\n\
        5\r\nhello\r\n0\r\n\r\n";
    criterion.bench_function("guard/a head and a body in chunks", |bencher| {
        bencher.iter(|| assert_eq!(blocks.pass(black_box(post)), post.len()));
    });
}

fn cookies(criterion: &mut Criterion) {
    let cookies = Cookies::new(&CookieKey([7; 32]));
    let terms = Terms { now_s: 1_000, lasts: Span::from_ms(60_000), is_secure: true };
    criterion.bench_function("cookies/one of a target given", |bencher| {
        bencher.iter(|| cookies.set_target(black_box("default/s0"), 7, &terms));
    });
    let given = cookies.set_target("default/s0", 7, &terms);
    let (pair, _) = given.to_str().expect("text").split_once(';').expect("a pair");
    let line = HeaderValue::try_from(format!("a=1; theme=dark; {pair}; b=2")).expect("a header");
    let headers: HeaderMap = [(http::header::COOKIE, line)].into_iter().collect();
    criterion.bench_function("cookies/one of a target found among others", |bencher| {
        bencher.iter(|| assert_eq!(cookies.target_of(black_box(&headers), "default/s0", 1_000), Some(7)));
    });
}

/// Tasks of both kinds that answer at once.
struct AtOnce;

impl Invoke for AtOnce {
    fn invoke(&self, _: TaskId, _: Request<Body>) -> LocalBoxFuture<'_, Result<Response<Body>, InvokeError>> {
        Box::pin(async { Ok(Response::new(body::full("hello"))) })
    }
}

impl Connect for AtOnce {
    fn connect(
        &self,
        _: &Destination,
        _: Origin,
    ) -> LocalBoxFuture<'static, Result<Box<dyn Connection>, ConnectError>> {
        let (near, far) = tokio::io::duplex(64 << 10);
        let answer =
            |_: Request<Incoming>| async { Ok::<_, hyper::Error>(Response::new(body::full("hello"))) };
        let http = hyper::server::conn::http1::Builder::new();
        tokio::task::spawn_local(http.serve_connection(TokioIo::new(far), service_fn(answer)));
        Box::pin(async move { Ok(Box::new(near) as Box<dyn Connection>) })
    }
}

/// A client of an edge, with a connection in memory.
async fn client(edge: &Rc<Edge>) -> SendRequest<Empty<Bytes>> {
    let (near, far) = tokio::io::duplex(64 << 10);
    tokio::task::spawn_local(edge.serve_io(far, "10.0.0.9:1".parse().expect("an address")));
    let (client, connection) = http1::handshake(TokioIo::new(near)).await.expect("a connection");
    tokio::task::spawn_local(connection);
    client
}

async fn ask(client: &mut SendRequest<Empty<Bytes>>, host: &str) {
    client.ready().await.expect("it is open");
    let request = Request::get("/").header("host", host).body(Empty::new()).expect("a request");
    let answer = client.send_request(request).await.expect("an answer");
    answer.into_body().collect().await.expect("its body");
}

fn requests(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a folder");
    let log = |format| {
        let path = folder.path().join("access.log");
        Some(access_log::Config { format, files_max: 2, ..access_log::Config::new(path) })
    };
    requests_to(criterion, "connections in memory", None, None);
    requests_to(criterion, "connections in memory, logged as JSON", log(Format::Json), None);
    requests_to(criterion, "connections in memory, logged in ELB's form", log(Format::Elb), None);
    let lasts = Some(Span::from_ms(60_000));
    requests_to(criterion, "connections in memory, each given a cookie", None, lasts);
}

fn requests_to(
    criterion: &mut Criterion,
    over: &str,
    access_log: Option<access_log::Config>,
    stickiness: Option<Span>,
) {
    let (ledger, _) = Ledger::create(1).expect("a ledger");
    let (limits, forwarded_proto) = (Limits::default(), Proto::Http);
    let config = Config { worker: 0, limits, access_log, forwarded_proto, forwarded_port: 80 };
    let tasks = Rc::new(AtOnce);
    let edge = Edge::new(config, Deps { invoke: tasks.clone(), connect: tasks, ledger }).expect("an edge");
    let mut daemon = route(1, 1);
    daemon.targets[0].port = Some(80);
    let routes = [route(0, 1), daemon];
    edge.route(&routes, &[]);
    if stickiness.is_some() {
        let group = |route: &Route| {
            let spec = TargetGroupSpec { stickiness, ..TargetGroupSpec::of_service(route.service.clone()) };
            Arc::new(spec)
        };
        let groups = routes.iter().map(group).collect();
        edge.balance(&BalancerChange { groups, ..BalancerChange::default() });
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let local = LocalSet::new();
    for (what, host) in [("an http task", "s0.localhost"), ("a daemon", "s1.localhost")] {
        let mut client = local.block_on(&runtime, client(&edge));
        criterion.bench_function(&format!("requests/one to {what} over {over}"), |bencher| {
            bencher.iter(|| local.block_on(&runtime, ask(&mut client, host)));
        });
    }
}

criterion_group!(benches, lookups, header_maps, guard, cookies, requests);
criterion_main!(benches);

//! Target groups that speak HTTP/2 and gRPC: what crosses, connections that are shared, what their targets refuse, and what
//! the load balancer refuses for them.

use crate::h2spec::frames::{self, END_HEADERS, END_STREAM, GO_AWAY, HEADERS};
use crate::support::*;
use crate::told::*;
use bytes::Bytes;
use futures::future::join_all;
use http::{HeaderMap, Request, Response, Version};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use skiff_edge::Limits;
use skiff_ports::balancer::BalancerChange;
use skiff_ports::body::{self, Body, BodyError};
use skiff_types::{TargetGroupSpec, TargetProtocol};
use std::cell::Cell;
use std::convert::Infallible;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

const GRPC: &str = "application/grpc+proto";
/// A message of gRPC: not compressed, three bytes.
const MESSAGE: &[u8] = b"\0\0\0\0\x03abc";

/// A target group `default/out` of ports of this machine, and a rule that leads everything there.
fn bench(limits: Limits, protocol: TargetProtocol, ports: &[u16]) -> Bench {
    let bench = Bench::with(limits, says("a task"));
    let spec = TargetGroupSpec {
        targets: outside(ports),
        protocol,
        ..TargetGroupSpec::of_service("default/out".parse().unwrap())
    };
    bench.edge.balance(&BalancerChange { groups: vec![Arc::new(spec)], ..BalancerChange::default() });
    bench.edge.balance(&rule("all", 1, &["path=/*"], forward(&["out"])));
    bench
}

/// A target that speaks HTTP/2, and how many connections it was opened.
fn http2_target<F, R>(answer: F) -> (u16, Rc<Cell<usize>>)
where
    F: Fn(Request<Incoming>) -> R + 'static,
    R: Future<Output = Response<Body>> + 'static,
{
    let (answer, opened) = (Rc::new(answer), Rc::new(Cell::new(0)));
    let count = opened.clone();
    let port = daemon(move |stream| {
        count.set(count.get() + 1);
        serve(stream, answer.clone())
    });
    (port, opened)
}

async fn serve<F, R>(stream: TcpStream, answer: Rc<F>)
where
    F: Fn(Request<Incoming>) -> R + 'static,
    R: Future<Output = Response<Body>> + 'static,
{
    let service = service_fn(move |request| {
        let answer = answer(request);
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let http = hyper::server::conn::http2::Builder::new(Local);
    // Whoever asks may leave.
    let _ = http.serve_connection(TokioIo::new(stream), service).await;
}

/// Answers with the method, the target and the headers.
async fn tells(request: Request<Incoming>) -> Response<Body> {
    assert_eq!(request.version(), Version::HTTP_2);
    let mut text = format!("{} {}\n", request.method(), request.uri());
    let mut lines: Vec<String> = request
        .headers()
        .iter()
        .filter(|(name, _)| *name != "traceparent")
        .map(|(name, value)| format!("{name}: {}\n", value.to_str().unwrap()))
        .collect();
    lines.sort_unstable();
    text.extend(lines);
    Response::new(body::full(text))
}

/// Repeats what it is sent, and then says that all is well, as gRPC does.
async fn grpc_echo(request: Request<Incoming>) -> Response<Body> {
    assert_eq!(request.headers()["te"], "trailers");
    assert_eq!(request.headers()["content-type"], GRPC);
    let trailers = HeaderMap::from_iter([("grpc-status".parse().unwrap(), "0".parse().unwrap())]);
    let body = request.into_body().map_err(|error| BodyError::Connection(error.into()));
    let body = body.with_trailers(std::future::ready(Some(Ok(trailers))));
    let mut response = Response::new(body.boxed_unsync());
    response.headers_mut().insert("content-type", GRPC.parse().unwrap());
    response
}

fn grpc(body: ClientBody) -> Request<ClientBody> {
    let request = Request::post("http://shop.example/test.Echo/Say");
    request.header("te", "trailers").header("content-type", GRPC).body(body).unwrap()
}

fn ask(method: &str) -> Request<ClientBody> {
    request(method, "http://shop.example/", "")
}

#[test]
fn requests_of_either_http_are_sent_by_http2() {
    run(async {
        let (port, opened) = http2_target(tells);
        let bench = bench(Limits::default(), TargetProtocol::Http2, &[port]);
        let headers = "X-Request-Id: mine\r\nTE: trailers, gzip\r\nKeep-Alive: x\r\nContent-Length: 3\r\n";
        let raw = bench.raw(&(asking("POST", "/a?b=c", "Shop.example:81", headers) + "abc")).await;
        let (status, seen) = answer(&raw);
        assert_eq!(status, 200, "{raw}");
        let expected = format!(
            "POST http://Shop.example:81/a?b=c\ncontent-length: 3\nte: trailers\nx-forwarded-for: 127.0.0.1\n\
             x-forwarded-port: {}\nx-forwarded-proto: http\nx-request-id: mine\n",
            bench.address.port()
        );
        assert_eq!(seen, expected);
        assert!(raw.starts_with("HTTP/1.1 200 OK\r\n"), "{raw}");

        let mut client = bench.http2().await;
        let seen = text(client.send_request(ask("DELETE")).await.unwrap()).await;
        assert!(seen.starts_with("DELETE http://shop.example/\nx-forwarded-for: "), "{seen}");
        let lines = bench.wait_for_lines(2).await;
        assert!(lines.iter().all(|line| line["status"] == 200 && line["error"].is_null()), "{lines:?}");
        assert_eq!((lines[0]["bytes_in"].as_u64(), opened.get()), (Some(3), 1));
    });
}

#[test]
fn grpc_streams_both_ways_and_ends_with_its_trailers() {
    run(async {
        let (port, _) = http2_target(grpc_echo);
        let bench = bench(Limits::default(), TargetProtocol::Grpc, &[port]);
        let (sender, body) = channel();
        let mut client = bench.http2().await;
        sender.unbounded_send(Ok(Bytes::from_static(MESSAGE))).unwrap();
        let response = client.send_request(grpc(body)).await.unwrap();
        assert_eq!(response.status().as_u16(), 200);
        assert_eq!(response.headers()["content-type"], GRPC);
        let mut body = response.into_body();
        let mut next = async || tokio::time::timeout(DEADLINE, body.frame()).await.expect("it comes");
        for more in [true, true, false] {
            // Each comes back before the next is sent.
            assert_eq!(next().await.unwrap().unwrap().into_data().unwrap(), MESSAGE);
            if more {
                sender.unbounded_send(Ok(Bytes::from_static(MESSAGE))).unwrap();
            }
        }
        drop(sender);
        let trailers = loop {
            match next().await.unwrap().unwrap().into_trailers() {
                Ok(trailers) => break trailers,
                Err(frame) => assert!(frame.into_data().unwrap().is_empty()),
            }
        };
        assert_eq!(trailers["grpc-status"], "0");
        let line = &bench.wait_for_lines(1).await[0];
        let bytes = 3 * MESSAGE.len() as u64;
        assert_eq!((line["bytes_in"].as_u64(), line["bytes_out"].as_u64()), (Some(bytes), Some(bytes)));
        assert_eq!(line["error"], serde_json::Value::Null);
    });
}

#[test]
fn one_connection_has_as_many_requests_as_it_may_and_others_wait_for_the_next_together() {
    run(async {
        let gate = Rc::new(Semaphore::new(0));
        let door = gate.clone();
        let (port, opened) = http2_target(move |_| {
            let door = door.clone();
            async move {
                drop(door.acquire().await);
                Response::new(body::full("hi"))
            }
        });
        let limits = Limits { target_http2_streams_max: 10, ..Limits::default() };
        let bench = bench(limits, TargetProtocol::Http2, &[port]);
        let client = bench.http2().await;
        let answers: Vec<_> = (0..25)
            .map(|_| {
                let mut client = client.clone();
                let asked = async move { text(client.send_request(ask("GET")).await.unwrap()).await };
                tokio::task::spawn_local(asked)
            })
            .collect();
        eventually("there is room for all", || opened.get() == 3).await;
        gate.add_permits(100);
        for answer in join_all(answers).await {
            assert_eq!(answer.unwrap(), "hi");
        }
        assert_eq!(opened.get(), 3);
        assert_eq!(text(client.clone().send_request(ask("GET")).await.unwrap()).await, "hi");
        assert_eq!(opened.get(), 3, "they wait for the next requests");
    });
}

#[test]
fn connections_wait_for_the_next_request_but_not_for_long_nor_for_a_target_that_has_left() {
    run(async {
        let (opened, open) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
        let counts = (opened.clone(), open.clone());
        let port = daemon(move |stream| {
            let (opened, open) = counts.clone();
            async move {
                opened.set(opened.get() + 1);
                open.set(open.get() + 1);
                serve(stream, Rc::new(tells)).await;
                open.set(open.get() - 1);
            }
        });
        let limits = Limits { target_http2_idle_timeout: Duration::from_millis(500), ..Limits::default() };
        let bench = bench(limits, TargetProtocol::Http2, &[port]);
        let asked = async || answer(&bench.raw(&asking("GET", "/", "a", "")).await).0;
        assert_eq!((asked().await, asked().await), (200, 200));
        assert_eq!((opened.get(), open.get()), (1, 1));
        eventually("it is closed", || open.get() == 0).await;
        assert_eq!((asked().await, opened.get(), open.get()), (200, 2, 1));
        bench.edge.balance(&no_group("out"));
        eventually("a target that has left has none", || open.get() == 0).await;
    });
}

/// Reads what begins a connection of HTTP/2, and says as much.
async fn begin(stream: &mut TcpStream, settings: &[(u16, u32)]) {
    let mut preface = [0; frames::PREFACE.len()];
    stream.read_exact(&mut preface).await.unwrap();
    assert_eq!(preface, frames::PREFACE);
    stream.write_all(&frames::settings(settings)).await.unwrap();
}

/// The stream of the next request.
async fn next_request(stream: &mut TcpStream) -> Option<u32> {
    loop {
        let frame = frames::read_frame(stream).await?;
        if frame.kind == HEADERS {
            return Some(frame.stream);
        }
    }
}

/// An answer without a body.
fn whole_answer(stream: u32) -> Vec<u8> {
    let block = frames::block(&[(":status", "200"), ("x-from", "hand")]);
    frames::frame(HEADERS, END_STREAM | END_HEADERS, stream, &block)
}

/// GOAWAY, after which streams up to `last` go on.
fn go_away(last: u32) -> Vec<u8> {
    frames::frame(GO_AWAY, 0, 0, &[last.to_be_bytes(), [0; 4]].concat())
}

#[test]
fn a_request_that_a_target_left_out_when_it_went_is_sent_again() {
    run(async {
        let opened = Rc::new(Cell::new(0));
        let count = opened.clone();
        let port = daemon(move |mut stream| {
            count.set(count.get() + 1);
            let is_first = count.get() == 1;
            async move {
                begin(&mut stream, &[]).await;
                let first = next_request(&mut stream).await.unwrap();
                if is_first {
                    stream.write_all(&whole_answer(first)).await.unwrap();
                    let second = next_request(&mut stream).await.unwrap();
                    let third = next_request(&mut stream).await.unwrap();
                    // The second is answered all the same, the third was never looked at.
                    stream.write_all(&go_away(second)).await.unwrap();
                    stream.write_all(&whole_answer(second)).await.unwrap();
                    assert!(third > second);
                } else {
                    stream.write_all(&whole_answer(first)).await.unwrap();
                }
                let _ = stream.read_to_end(&mut Vec::new()).await;
            }
        });
        let bench = bench(Limits::default(), TargetProtocol::Http2, &[port]);
        // It is sent again although it may not be repeated: it was not begun with.
        let asked = async || bench.http2().await.send_request(ask("POST")).await.unwrap();
        assert_eq!(asked().await.headers()["x-from"], "hand");
        let (second, third) = tokio::join!(asked(), asked());
        assert_eq!((second.status().as_u16(), third.status().as_u16()), (200, 200));
        assert_eq!(opened.get(), 2);
        let lines = bench.wait_for_lines(3).await;
        assert!(lines.iter().all(|line| line["error"].is_null()), "{lines:?}");
    });
}

#[test]
fn a_stream_that_is_refused_is_asked_for_again_unless_its_body_was_read() {
    run(async {
        let asked = Rc::new(Cell::new(0));
        let count = asked.clone();
        let port = daemon(move |mut stream| {
            let count = count.clone();
            async move {
                begin(&mut stream, &[]).await;
                while let Some(id) = next_request(&mut stream).await {
                    count.set(count.get() + 1);
                    let answer = match count.get() {
                        1 | 3 => frames::reset(id, frames::REFUSED_STREAM),
                        4 => frames::reset(id, frames::CANCEL),
                        _ => whole_answer(id),
                    };
                    stream.write_all(&answer).await.unwrap();
                }
            }
        });
        let bench = bench(Limits::default(), TargetProtocol::Http2, &[port]);
        let plain = |method: &str| asking(method, "/", "a", "");
        assert_eq!((answer(&bench.raw(&plain("POST")).await).0, asked.get()), (200, 2));
        let with_body = asking("POST", "/", "a", "Content-Length: 3\r\n") + "abc";
        let (status, _, message) = refusal(&bench.raw(&with_body).await);
        assert_eq!((status, asked.get()), (502, 3), "{message}");
        let (status, _, message) = refusal(&bench.raw(&plain("POST")).await);
        assert_eq!((status, asked.get()), (502, 4), "it may have begun: {message}");
        assert_eq!((answer(&bench.raw(&plain("POST")).await).0, asked.get()), (200, 5));
    });
}

#[test]
fn who_takes_fewer_streams_has_no_more_of_them() {
    run(async {
        let (opened, most) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
        let counts = (opened.clone(), most.clone());
        let port = daemon(move |mut stream| {
            let (opened, most) = counts.clone();
            async move {
                opened.set(opened.get() + 1);
                begin(&mut stream, &[(frames::MAX_CONCURRENT_STREAMS, 2)]).await;
                let first = next_request(&mut stream).await.unwrap();
                stream.write_all(&whole_answer(first)).await.unwrap();
                let mut held = 0;
                while next_request(&mut stream).await.is_some() {
                    held += 1;
                    most.set(most.get().max(held));
                }
            }
        });
        let bench = bench(Limits::default(), TargetProtocol::Http2, &[port]);
        let mut client = bench.http2().await;
        // Its answer shows that what the target takes is known.
        client.send_request(ask("GET")).await.unwrap();
        let held = [(); 2].map(|()| {
            let mut client = client.clone();
            tokio::task::spawn_local(async move { client.send_request(ask("GET")).await.is_ok() })
        });
        eventually("two are under way", || most.get() == 2).await;
        assert_eq!(opened.get(), 1);
        assert!(client.send_request(ask("GET")).await.is_ok(), "another connection has it");
        assert_eq!((opened.get(), most.get()), (2, 2));
        held.iter().for_each(|asked| asked.abort());
    });
}

#[test]
fn a_client_that_leaves_takes_its_stream_along_and_nothing_else() {
    run(async {
        let left = Rc::new(Cell::new(false));
        let flag = left.clone();
        let begun = Rc::new(Cell::new(0));
        let count = begun.clone();
        let (port, opened) = http2_target(move |request: Request<Incoming>| {
            count.set(count.get() + 1);
            let flag = (request.method() == "PUT").then(|| Flag(flag.clone()));
            async move {
                if let Some(_flag) = flag {
                    std::future::pending::<()>().await;
                }
                Response::new(body::full("hi"))
            }
        });
        let bench = bench(Limits::default(), TargetProtocol::Http2, &[port]);
        let mut client = bench.connect().await;
        client.write_all(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc").await.unwrap();
        eventually("it is asked", || begun.get() == 1).await;
        drop(client);
        eventually("its stream is reset", || left.get()).await;
        assert_eq!(answer(&bench.raw(&asking("GET", "/", "a", "")).await), (200, "hi"));
        assert_eq!((begun.get(), opened.get()), (2, 1));
    });
}

#[test]
fn what_a_group_does_not_speak_is_refused_with_464() {
    run(async {
        let (port, _) = http2_target(tells);
        let bench_of = |protocol| bench(Limits::default(), protocol, &[port]);
        let of_grpc = bench_of(TargetProtocol::Grpc);
        let raw = of_grpc.raw(&asking("GET", "/", "a", "")).await;
        assert!(raw.starts_with("HTTP/1.1 464 Incompatible Protocol Versions\r\n"), "{raw}");
        let (status, code, message) = refusal(&raw);
        assert_eq!((status, code.as_str()), (464, "incompatible_protocol"));
        assert!(message.contains("gRPC"), "{message}");
        let response = of_grpc.http2().await.send_request(ask("GET")).await.unwrap();
        assert_eq!(response.status().as_u16(), 464);
        let of_http1 = bench_of(TargetProtocol::Http1);
        let response = of_http1.http2().await.send_request(grpc(body::empty())).await.unwrap();
        assert_eq!((response.status().as_u16(), response.headers().get("grpc-status")), (464, None));
        let upgrade = "Connection: close, upgrade\r\nUpgrade: websocket\r\n";
        let raw = format!("GET / HTTP/1.1\r\nHost: a\r\n{upgrade}\r\n");
        let (status, code, _) = refusal(&bench_of(TargetProtocol::Http2).raw(&raw).await);
        assert_eq!((status, code.as_str()), (501, "not_supported"));
    });
}

#[test]
fn a_client_of_grpc_is_told_by_its_own_means_why_nobody_answered() {
    run(async {
        let silent = daemon(|mut stream| async move {
            begin(&mut stream, &[]).await;
            let _ = stream.read_to_end(&mut Vec::new()).await;
        });
        // Nobody listens there any more.
        let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let limits = Limits { target_response_timeout: Duration::from_millis(300), ..Limits::default() };
        for (port, status, message) in [(closed, "14", "does not take connections"), (silent, "4", "300 ms")]
        {
            let bench = bench(limits.clone(), TargetProtocol::Grpc, &[port]);
            let response = bench.http2().await.send_request(grpc(body::full(MESSAGE))).await.unwrap();
            let headers = response.headers().clone();
            assert_eq!(response.status().as_u16(), 200);
            assert_eq!(headers["grpc-status"], status);
            assert!(headers["grpc-message"].to_str().unwrap().contains(message), "{headers:?}");
            assert_eq!(headers["content-type"], "application/grpc");
            assert_eq!(text(response).await, "");
            assert!(headers.contains_key("x-request-id"));
            let line = &bench.wait_for_lines(1).await[0];
            assert!(line["error"].as_str().unwrap().contains(message), "{line}");
        }
    });
}

#[test]
fn who_speaks_something_else_is_refused() {
    run(async {
        let port = daemon(|mut stream| async move {
            let mut preface = [0; frames::PREFACE.len()];
            stream.read_exact(&mut preface).await.unwrap();
            next_request(&mut stream).await.unwrap();
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").await;
            let _ = stream.read_to_end(&mut Vec::new()).await;
        });
        let bench = bench(Limits::default(), TargetProtocol::Http2, &[port]);
        let (status, code, message) = refusal(&bench.raw(&asking("GET", "/", "a", "")).await);
        assert_eq!((status, code.as_str()), (502, "task_failed"));
        assert!(message.contains("no HTTP/2"), "{message}");
    });
}

#[test]
fn who_closes_each_connection_at_once_is_not_asked_for_ever() {
    run(async {
        const REQUESTS: usize = 20;
        /// As often as one request may be sent to one target.
        const OPENED_MAX: usize = 3;
        let opened = Rc::new(Cell::new(0));
        let count = opened.clone();
        let port = daemon(move |stream| {
            count.set(count.get() + 1);
            async move { drop(stream) }
        });
        let bench = bench(Limits::default(), TargetProtocol::Http2, &[port]);
        for _ in 0..REQUESTS {
            assert_eq!(answer(&bench.raw(&asking("POST", "/", "a", "")).await).0, 502);
        }
        assert!((REQUESTS..=REQUESTS * OPENED_MAX).contains(&opened.get()), "{}", opened.get());
    });
}

#[test]
fn a_client_that_reads_slowly_holds_up_nobody_elses_answer() {
    run(async {
        let began = Rc::new(Cell::new(0));
        let count = began.clone();
        let (port, opened) = http2_target(move |request: Request<Incoming>| {
            count.set(count.get() + 1);
            let is_large = request.uri().path() == "/large";
            let answer = if is_large { vec![b'x'; 8 << 20] } else { b"hi".to_vec() };
            async move { Response::new(body::full(answer)) }
        });
        let limits = Limits { target_http2_streams_max: 4, ..Limits::default() };
        let bench = bench(limits, TargetProtocol::Http2, &[port]);
        let mut slow = Vec::new();
        for _ in 0..3 {
            let mut client = bench.connect().await;
            client.write_all(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
            slow.push(client);
        }
        eventually("they are asked for", || began.get() == 3).await;
        for _ in 0..20 {
            assert_eq!(answer(&bench.raw(&asking("GET", "/", "a", "")).await), (200, "hi"));
        }
        assert_eq!(opened.get(), 1);
    });
}

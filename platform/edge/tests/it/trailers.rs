//! Trailers, of requests and of answers, by either HTTP: they cross where the other side takes them, without what may stand
//! in a head alone.

use crate::support::*;
use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use skiff_edge::Limits;
use skiff_ports::balancer::BalancerChange;
use skiff_ports::body::{Body, BodyError};
use skiff_ports::invoke::InvokeError;
use skiff_types::{TargetGroupSpec, TargetProtocol};
use std::cell::Cell;
use std::convert::Infallible;
use std::rc::Rc;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const HEAD: &str = "GET / HTTP/1.1\r\nHost: web.localhost\r\nConnection: close\r\n";

/// A body of these bytes, with trailers after them.
fn trailed(text: &'static str, trailers: &[(&'static str, &str)]) -> Body {
    let mut map = HeaderMap::new();
    for (name, value) in trailers {
        map.append(*name, value.parse().unwrap());
    }
    let frames: [Result<Frame<Bytes>, BodyError>; 2] =
        [Ok(Frame::data(text.into())), Ok(Frame::trailers(map))];
    Body::new(StreamBody::new(futures::stream::iter(frames)))
}

/// Both, as text.
async fn told(body: Incoming) -> String {
    let collected = tokio::time::timeout(DEADLINE, body.collect()).await.expect("it ends").unwrap();
    let mut trailers: Vec<String> = collected.trailers().into_iter().flatten().map(line).collect();
    trailers.sort_unstable();
    format!("{}|{}", String::from_utf8(collected.to_bytes().to_vec()).unwrap(), trailers.join(","))
}

fn line((name, value): (&http::HeaderName, &http::HeaderValue)) -> String {
    format!("{name}={}", value.to_str().unwrap())
}

/// A target that speaks HTTP/2, and a bench whose `web.localhost` leads to it.
fn http2_bench<F, R>(limits: Limits, answer: F) -> Bench
where
    F: Fn(Request<Incoming>) -> R + 'static,
    R: Future<Output = Response<Body>> + 'static,
{
    let answer = Rc::new(answer);
    let port = daemon(move |stream| {
        let answer = answer.clone();
        async move {
            let service = service_fn(move |request| {
                let answer = answer(request);
                async move { Ok::<_, Infallible>(answer.await) }
            });
            let http = hyper::server::conn::http2::Builder::new(Local);
            // Whoever asks may leave.
            let _ = http.serve_connection(TokioIo::new(stream), service).await;
        }
    });
    let bench = Bench::to(limits, &[(6, port)]);
    let name: skiff_types::QualifiedName = "default/web".parse().unwrap();
    let spec = TargetGroupSpec { protocol: TargetProtocol::Http2, ..TargetGroupSpec::of_service(name) };
    bench.edge.balance(&BalancerChange { groups: vec![Arc::new(spec)], ..BalancerChange::default() });
    bench
}

#[test]
fn those_of_an_answer_by_http1_cross_to_who_takes_them() {
    run(async {
        let opened = Rc::new(Cell::new(0));
        let count = opened.clone();
        let port = daemon(move |mut stream| {
            count.set(count.get() + 1);
            async move {
                loop {
                    let mut head = Vec::new();
                    while !head.ends_with(b"\r\n\r\n") {
                        let Ok(byte) = stream.read_u8().await else { return };
                        head.push(byte);
                    }
                    let answer = b"HTTP/1.1 200 OK\r\nTrailer: x-sum, x-request-id\r\n\
                                   Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX-Sum: 7\r\nX-Request-Id: theirs\r\nKeep-Alive: x\r\n\r\n";
                    stream.write_all(answer).await.unwrap();
                }
            }
        });
        let bench = Bench::to(Limits::default(), &[(6, port)]);
        let mut client = bench.http2().await;
        for _ in 0..2 {
            let request = request("GET", "http://web.localhost/", "");
            assert_eq!(told(client.send_request(request).await.unwrap().into_body()).await, "hi|x-sum=7");
        }
        let raw = bench.raw(&format!("{HEAD}TE: trailers\r\n\r\n")).await;
        assert!(raw.ends_with("\r\n\r\n2\r\nhi\r\n0\r\nx-sum: 7\r\n\r\n"), "{raw}");
        let raw = bench.raw(&format!("{HEAD}\r\n")).await;
        assert!(raw.ends_with("\r\n\r\n2\r\nhi\r\n0\r\n\r\n"), "{raw}");
        let lines = bench.wait_for_lines(4).await;
        assert!(lines.iter().all(|line| line["error"].is_null() && line["bytes_out"] == 2), "{lines:?}");
        assert_eq!(opened.get(), 1, "a connection waits for the next request after trailers too");
    });
}

#[test]
fn those_of_an_answer_by_http2_cross_to_who_takes_them() {
    run(async {
        let bench = http2_bench(Limits::default(), |_| async {
            let mut response =
                Response::new(trailed("hi", &[("x-sum", "7"), ("x-other", "8"), ("host", "a")]));
            response.headers_mut().insert("trailer", "x-sum".parse().unwrap());
            response
        });
        let response = bench.http2().await.send_request(request("GET", "http://web.localhost/", "")).await;
        assert_eq!(told(response.unwrap().into_body()).await, "hi|x-other=8,x-sum=7");
        // HTTP/1.1 has those alone that the head names.
        let raw = bench.raw(&format!("{HEAD}TE: trailers\r\n\r\n")).await;
        assert!(raw.ends_with("\r\n\r\n2\r\nhi\r\n0\r\nx-sum: 7\r\n\r\n"), "{raw}");
        let raw = bench.raw(&format!("{HEAD}\r\n")).await;
        assert!(raw.ends_with("\r\n\r\n2\r\nhi\r\n0\r\n\r\n"), "{raw}");
        let lines = bench.wait_for_lines(3).await;
        assert!(lines.iter().all(|line| line["error"].is_null()), "{lines:?}");
    });
}

#[test]
fn those_of_a_guests_answer_cross_by_http1_too() {
    run(async {
        let bench = Bench::new(task(|_, _| async {
            let mut response = Response::new(trailed("hi", &[("x-sum", "7")]));
            response.headers_mut().insert("trailer", "x-sum".parse().unwrap());
            Ok(response)
        }));
        let head = "GET / HTTP/1.1\r\nHost: hello.localhost\r\nConnection: close\r\n";
        let raw = bench.raw(&format!("{head}TE: trailers\r\n\r\n")).await;
        assert!(raw.ends_with("\r\n\r\n2\r\nhi\r\n0\r\nx-sum: 7\r\n\r\n"), "{raw}");
        assert_eq!(bench.wait_for_lines(1).await[0]["error"], serde_json::Value::Null);
    });
}

/// Asks by each HTTP, with trailers; what the target says that it saw.
async fn uploaded(bench: &Bench) -> [String; 2] {
    let body = trailed("abc", &[("x-sum", "7"), ("x-forwarded-for", "1.2.3.4"), ("skiff-caller", "a/b")]);
    let by_http2 = Request::post("http://web.localhost/").header("trailer", "x-sum, x-forwarded-for");
    let response = bench.http2().await.send_request(by_http2.body(body).unwrap()).await.unwrap();
    let raw = "POST / HTTP/1.1\r\nHost: web.localhost\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\
               Trailer: x-sum, x-forwarded-for\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 7\r\nX-Forwarded-For: 1.2.3.4\r\n\
               Skiff-Caller: a/b\r\n\r\n";
    let by_http1 = bench.raw(raw).await;
    [text(response).await, by_http1.rsplit("\r\n\r\n").next().unwrap().to_owned()]
}

async fn says_what_it_saw(request: Request<Incoming>) -> Response<Body> {
    Response::new(skiff_ports::body::full(told(request.into_body()).await))
}

#[test]
fn those_of_a_request_cross_without_what_only_heads_and_the_platform_say() {
    run(async {
        let by_http1 = Bench::to(Limits::default(), &[(6, http_daemon(says_what_it_saw))]);
        let by_http2 = http2_bench(Limits::default(), says_what_it_saw);
        for bench in [by_http1, by_http2] {
            assert_eq!(uploaded(&bench).await, ["abc|x-sum=7", "abc|x-sum=7"]);
            let lines = bench.wait_for_lines(2).await;
            assert!(lines.iter().all(|line| line["error"].is_null() && line["bytes_in"] == 3), "{lines:?}");
        }
    });
}

#[test]
fn they_are_bounded_like_headers() {
    run(async {
        let long = "x".repeat(1_500);
        let limits =
            Limits { header_bytes_max: 1_024, response_header_bytes_max: 1_024, ..Limits::default() };
        let value = long.clone();
        let bench = http2_bench(limits.clone(), move |_| {
            let body = trailed("hi", &[("x-long", value.as_str())]);
            async move { Response::new(body) }
        });
        let response = bench.http2().await.send_request(request("GET", "http://web.localhost/", "")).await;
        // The reset may overtake the head.
        let body = async { response?.into_body().collect().await };
        assert!(body.await.is_err());
        assert_eq!(
            bench.wait_for_lines(1).await[0]["error"],
            "the trailers of the task's answer are too large"
        );

        let bench = Bench::with(
            limits,
            task(|_, request| async move {
                let collected = request.into_body().collect().await;
                collected.map_err(|error| InvokeError::Failed(error.to_string()))?;
                Ok(Response::new(skiff_ports::body::empty()))
            }),
        );
        let request =
            Request::post("http://hello.localhost/").body(trailed("abc", &[("x-long", long.as_str())]));
        let response = bench.http2().await.send_request(request.unwrap()).await.unwrap();
        assert_eq!(response.status().as_u16(), 431);
    });
}

//! Every reason why the edge answers itself.

use crate::support::*;
use http::Response;
use skiff_edge::Limits;
use skiff_ports::body;
use skiff_ports::invoke::InvokeError;
use std::cell::RefCell;
use std::rc::Rc;
use tokio::io::AsyncWriteExt;

const CLOSE: &str = "Host: hello.localhost\r\nConnection: close\r\n";

#[track_caller]
fn check(raw: &str, status: u16, code: &str, message: &str) {
    let (found_status, found_code, found_message) = refusal(raw);
    assert_eq!((found_status, found_code.as_str()), (status, code), "{raw}");
    assert!(found_message.contains(message), "{found_message:?} does not say {message:?}");
}

#[test]
fn what_a_task_says_of_its_failure_reaches_the_client() {
    run(async {
        let next = Rc::new(RefCell::new(InvokeError::Gone));
        let source = next.clone();
        let bench = Bench::new(task(move |_, _| {
            let error = source.borrow().clone();
            async move { Err(error) }
        }));
        let busy = InvokeError::Busy { reason: "the queue is full".to_owned(), retry_after_s: 7 };
        for (error, status, code, message) in [
            (busy, 503, "task_busy", "the queue is full"),
            (InvokeError::TimedOut { limit_ms: 30 }, 504, "task_timeout", "within 30 ms"),
            (InvokeError::Failed("the guest trapped".to_owned()), 502, "task_failed", "the guest trapped"),
            (InvokeError::TooLarge { limit_bytes: 9 }, 413, "body_too_large", "9 bytes"),
            (InvokeError::Gone, 503, "no_target", "default/hello has no task"),
        ] {
            *next.borrow_mut() = error;
            let raw = bench.raw(&format!("GET / HTTP/1.1\r\n{CLOSE}\r\n")).await;
            check(&raw, status, code, message);
            let retry = raw.lines().find_map(|line| line.strip_prefix("retry-after: "));
            let expected = match code {
                "task_busy" => Some("7"),
                "no_target" => Some("1"),
                _ => None,
            };
            assert_eq!(retry, expected, "{raw}");
            let raw = bench.raw(&format!("HEAD / HTTP/1.1\r\n{CLOSE}\r\n")).await;
            assert!(raw.ends_with("\r\n\r\n") && raw.contains(&format!(" {status} ")), "{raw}");
        }
    });
}

#[test]
fn a_request_without_a_route_or_a_target_is_told_so() {
    run(async {
        let bench = Bench::new(says("hi"));
        let ask = |host: &str| format!("GET /x HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        check(
            &bench.raw(&ask("nowhere.test")).await,
            404,
            "no_route",
            "host \"nowhere.test\" and path \"/x\"",
        );
        check(&bench.raw(&ask("[::1]:80")).await, 404, "no_route", "\"[::1]\"");
        let raw = bench.raw(&ask("empty.localhost")).await;
        check(&raw, 503, "no_target", "default/empty");
        assert!(raw.contains("retry-after: 1\r\n"), "{raw}");
        bench.edge.route([], &["default/hello".parse().unwrap()]);
        check(&bench.raw(&ask("hello.localhost")).await, 404, "no_route", "hello.localhost");
    });
}

#[test]
fn malformed_requests_are_refused() {
    run(async {
        let bench = Bench::new(says("hi"));
        let close = "Connection: close\r\n\r\n";
        let raw = bench.raw(&format!("GET / HTTP/1.1\r\n{close}")).await;
        check(&raw, 400, "bad_request", "no Host header");
        let raw = bench.raw(&format!("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n{close}")).await;
        check(&raw, 400, "bad_request", "more than one Host");
        let raw = bench.raw(&format!("GET / HTTP/1.1\r\nHost: a b\r\n{close}")).await;
        check(&raw, 400, "bad_request", "host is not a valid one");
        for request in ["BAD\r\n\r\n", "GET / HTTP/1.1\r\nbad header\r\n\r\n", "\0\0\0\r\n\r\n"] {
            let raw = bench.raw(request).await;
            assert!(raw.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{raw:?}");
        }
    });
}

#[test]
fn what_is_not_supported_is_refused_clearly() {
    run(async {
        let bench = Bench::new(says("hi"));
        let connect = "CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\nConnection: close\r\n\r\n";
        check(&bench.raw(connect).await, 501, "not_supported", "CONNECT");
        let upgrade = "GET / HTTP/1.1\r\nHost: hello.localhost\r\nConnection: close, upgrade\r\n\
                       Upgrade: websocket\r\n\r\n";
        check(&bench.raw(upgrade).await, 501, "not_supported", "Upgrade");
    });
}

#[test]
fn large_heads_are_refused() {
    run(async {
        let limits = Limits { header_bytes_max: 2_000, header_count_max: 20, ..Limits::default() };
        let bench = Bench::with(limits, says("hi"));
        let ask = |more: &str| format!("GET / HTTP/1.1\r\n{CLOSE}{more}\r\n");
        let long = ask(&format!("X-Long: {}\r\n", "x".repeat(2_000)));
        check(&bench.raw(&long).await, 431, "headers_too_large", "larger than 2000 bytes");
        let many = ask(&"X-Many: x\r\n".repeat(19));
        check(&bench.raw(&many).await, 431, "headers_too_large", "more than 20 headers");
        let far = bench.raw(&ask(&"X-Many: x\r\n".repeat(200))).await;
        assert!(far.starts_with("HTTP/1.1 431 "), "{far}");
        let endless = bench.raw(&format!("GET / HTTP/1.1\r\nX-Long: {}", "x".repeat(1 << 20))).await;
        assert!(endless.is_empty() || endless.starts_with("HTTP/1.1 431 "), "{endless}");
        let path = format!("GET /{} HTTP/1.1\r\n{CLOSE}\r\n", "x".repeat(2_000));
        check(&bench.raw(&path).await, 431, "headers_too_large", "larger than 2000 bytes");
        let small = bench.raw(&ask(&"X-Many: x\r\n".repeat(18))).await;
        assert!(small.starts_with("HTTP/1.1 200 "), "{small}");

        let mut client = bench.http2().await;
        let mut request = get();
        request.headers_mut().insert("x-long", "x".repeat(2_500).parse().unwrap());
        assert_eq!(client.send_request(request).await.unwrap().status(), 431);
        let mut request = get();
        request.headers_mut().insert("x-long", "x".repeat(9_000).parse().unwrap());
        let answer = client.send_request(request).await;
        assert!(answer.map_or(true, |response| response.status() == 431), "a head far too large was taken");
    });
}

#[test]
fn large_bodies_are_refused() {
    run(async {
        let limits = Limits { request_body_bytes_max: 10, ..Limits::default() };
        let bench = Bench::with(limits, echo());
        let known = format!("POST / HTTP/1.1\r\n{CLOSE}Content-Length: 11\r\n\r\nhello world");
        check(&bench.raw(&known).await, 413, "body_too_large", "larger than 10 bytes");
        let chunked = format!(
            "POST / HTTP/1.1\r\n{CLOSE}Transfer-Encoding: chunked\r\n\r\n6\r\nhello \r\n5\r\nworld\r\n0\r\n\r\n"
        );
        check(&bench.raw(&chunked).await, 413, "body_too_large", "larger than 10 bytes");
        let fits = format!("POST / HTTP/1.1\r\n{CLOSE}Content-Length: 10\r\n\r\nhelloworld");
        assert!(bench.raw(&fits).await.ends_with("helloworld"));
    });
}

#[test]
fn a_client_that_sends_all_of_a_body_before_it_reads_gets_the_refusal() {
    const BODY_BYTES: usize = 12 << 20;
    run(async {
        let bench = Bench::with(Limits { request_body_bytes_max: 10, ..Limits::default() }, echo());
        let mut stream = bench.connect().await;
        let head =
            format!("POST / HTTP/1.1\r\nHost: hello.localhost\r\nContent-Length: {BODY_BYTES}\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&vec![b'x'; BODY_BYTES]).await.unwrap();
        check(&read_to_end(&mut stream).await, 413, "body_too_large", "larger than 10 bytes");
    });
}

#[test]
fn a_client_that_goes_on_sending_after_a_refusal_is_cut_off() {
    run(async {
        let bench = Bench::with(Limits { request_body_bytes_max: 10, ..Limits::default() }, echo());
        let mut stream = bench.connect().await;
        stream
            .write_all(b"POST / HTTP/1.1\r\nHost: hello.localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
            .await
            .unwrap();
        let chunk = [&b"10000\r\n"[..], &[b'x'; 0x10000], b"\r\n"].concat();
        while stream.write_all(&chunk).await.is_ok() {}
        eventually("the connection is gone", || bench.edge.connections() == 0).await;
    });
}

#[test]
fn an_answer_that_is_not_http_is_refused() {
    run(async {
        let bench = Bench::new(task(|_, _| async {
            let mut response = Response::new(body::full("four"));
            response.headers_mut().insert("content-length", "40".parse().unwrap());
            Ok(response)
        }));
        let raw = bench.raw(&format!("GET / HTTP/1.1\r\n{CLOSE}\r\n")).await;
        check(&raw, 502, "task_failed", "content-length");
    });
}

#[test]
fn another_target_is_tried_when_one_is_gone_and_gets_the_whole_request() {
    run(async {
        let asked = Rc::new(RefCell::new(Vec::new()));
        let seen = asked.clone();
        let bench = Bench::new(task(move |id, request| {
            seen.borrow_mut().push(id);
            async move {
                if id == task_id(4) {
                    return Err(InvokeError::Gone);
                }
                assert_eq!(request.headers()["x-mine"], "1");
                Ok(Response::new(request.into_body()))
            }
        }));
        for _ in 0..4 {
            let request = "POST / HTTP/1.1\r\nHost: pair.localhost\r\nConnection: close\r\nX-Mine: 1\r\n\
                           Content-Length: 3\r\n\r\nabc";
            let raw = bench.raw(request).await;
            assert!(raw.ends_with("\r\n\r\nabc"), "{raw}");
        }
        let asked = asked.borrow();
        let count = |slot| asked.iter().filter(|&&id| id == task_id(slot)).count();
        assert_eq!((count(4), count(5)), (2, 4), "ties take turns, and who finds one gone goes to the other");
    });
}

//! Clients that are slow on purpose.

use crate::support::*;
use skiff_edge::Limits;
use std::time::Duration;
use tokio::io::AsyncWriteExt;

const SHORT: Duration = Duration::from_millis(150);

#[test]
fn a_slow_head_is_cut_off() {
    run(async {
        let limits = Limits { header_read_timeout: SHORT, ..Limits::default() };
        let bench = Bench::with(limits, says("hi"));
        let mut stream = bench.connect().await;
        stream.write_all(b"GET / HTTP/1.1\r\nHost: hel").await.unwrap();
        assert_eq!(read_to_end(&mut stream).await, "");
        let mut second = bench.connect().await;
        second.write_all(b"GET / HTTP/1.1\r\nHost: hello.localhost\r\n\r\nGET").await.unwrap();
        assert!(read_until(&mut second, "hi").await.starts_with("HTTP/1.1 200"));
        second.write_all(b" / HTTP/1.1\r\n").await.unwrap();
        assert_eq!(read_to_end(&mut second).await, "");
        let lines = bench.wait_for_lines(3).await;
        let cut: Vec<_> = lines.iter().filter(|line| line["status"] == 408).collect();
        assert_eq!(cut.len(), 2, "{lines:?}");
        assert_eq!(cut[0]["error"], "the client took too long to send a request's head");
    });
}

#[test]
fn an_idle_connection_is_closed_on_both_versions() {
    run(async {
        let limits = Limits { keep_alive_timeout: SHORT, ..Limits::default() };
        let bench = Bench::with(limits, says("hi"));
        let mut silent = bench.connect().await;
        assert_eq!(read_to_end(&mut silent).await, "");
        let mut http1 = bench.http1().await;
        assert_eq!(text(http1.send_request(get()).await.unwrap()).await, "hi");
        let mut http2 = bench.http2().await;
        assert_eq!(text(http2.send_request(get()).await.unwrap()).await, "hi");
        eventually("the HTTP/1 client is told", || http1.is_closed()).await;
        eventually("the HTTP/2 client is told", || http2.is_closed()).await;
        eventually("none is left", || bench.edge.connections() == 0).await;
    });
}

/// Bounds by which a client is at rest soon after its answer.
fn restful() -> Limits {
    Limits { rest_after: Duration::from_millis(20), write_timeout: SHORT, ..Limits::default() }
}

#[test]
fn a_client_at_rest_asks_again_as_if_nothing_had_been() {
    run(async {
        let bench = Bench::with(restful(), echo());
        let mut silent = bench.connect().await;
        let mut http2 = bench.http2().await;
        let mut http1 = bench.http1().await;
        for body in ["first", "second", "third"] {
            let post = || request("POST", "http://hello.localhost/", body);
            assert_eq!(text(http2.send_request(post()).await.unwrap()).await, body);
            assert_eq!(text(http1.send_request(post()).await.unwrap()).await, body);
            eventually("it rests", || bench.edge.connections_at_rest() == 1).await;
        }
        // A head that comes in pieces.
        let mut raw = bench.connect().await;
        for part in ["POST / HTTP/1.1\r\nHost: hello.localhost\r\n", "Content-Length: 4\r\n\r\n", "four"] {
            raw.write_all(part.as_bytes()).await.unwrap();
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert!(read_until(&mut raw, "four").await.starts_with("HTTP/1.1 200"));
        eventually("two rest", || bench.edge.connections_at_rest() == 2).await;
        raw.write_all(b"POST / HTTP/1.1\r\nHost: hello.local").await.unwrap();
        eventually("one does not any more", || bench.edge.connections_at_rest() == 1).await;
        raw.write_all(b"host\r\nContent-Length: 4\r\n\r\nmore").await.unwrap();
        assert!(read_until(&mut raw, "more").await.starts_with("HTTP/1.1 200"));
        // Who has asked nothing keeps its turn.
        silent.write_all(b"GET / HTTP/1.1\r\nHost: hello.localhost\r\n\r\n").await.unwrap();
        assert!(read_until(&mut silent, "\r\n\r\n").await.starts_with("HTTP/1.1 200"));
    });
}

#[test]
fn a_client_at_rest_is_held_to_what_holds_for_all() {
    run(async {
        let bench = Bench::with(Limits { header_read_timeout: SHORT, ..restful() }, says("hi"));
        let asked = async || {
            let mut stream = bench.connect().await;
            stream.write_all(b"GET / HTTP/1.1\r\nHost: hello.localhost\r\n\r\n").await.unwrap();
            assert!(read_until(&mut stream, "hi").await.starts_with("HTTP/1.1 200"));
            stream
        };
        let (mut slow, mut unsound, gone, mut leaving) =
            (asked().await, asked().await, asked().await, asked().await);
        eventually("all rest", || bench.edge.connections_at_rest() == 4).await;
        drop(gone);
        eventually("one is gone", || bench.edge.connections() == 3).await;
        unsound.write_all(b"GET / HTTP/1.1\nHost: hello.localhost\r\n\r\n").await.unwrap();
        assert!(read_to_end(&mut unsound).await.starts_with("HTTP/1.1 400"));
        slow.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
        assert_eq!(read_to_end(&mut slow).await, "");
        assert!(bench.lines().await.iter().any(|line| line["status"] == 408));
        assert!(bench.edge.drain(DEADLINE).await, "who rests keeps a drain from ending");
        assert_eq!(read_to_end(&mut leaving).await, "");
    });
}

#[test]
fn who_is_asked_to_change_its_protocol_may_rest_too() {
    run(async {
        let bench = Bench::with(restful(), says("hi"));
        let mut stream = bench.connect().await;
        let asks =
            b"GET / HTTP/1.1\r\nHost: hello.localhost\r\nConnection: upgrade\r\nUpgrade: other\r\n\r\n";
        for _ in 0..2 {
            stream.write_all(asks).await.unwrap();
            read_until(&mut stream, "}").await;
            eventually("it rests", || bench.edge.connections_at_rest() == 1).await;
        }
    });
}

#[test]
fn a_full_edge_closes_who_has_been_idle_longest() {
    run(async {
        let bench = Bench::with(Limits { connections_max: 3, ..Limits::default() }, says("hi"));
        let mut clients = [bench.http1().await, bench.http1().await, bench.http1().await];
        for index in [1, 2, 0] {
            assert_eq!(text(clients[index].send_request(get()).await.unwrap()).await, "hi");
        }
        let mut next = bench.http1().await;
        assert_eq!(text(next.send_request(get()).await.unwrap()).await, "hi");
        eventually("the client is told", || clients[1].is_closed()).await;
        let [first, _, third] = &mut clients;
        for client in [first, third, &mut next] {
            assert_eq!(text(client.send_request(get()).await.unwrap()).await, "hi");
        }
    });
}

#[test]
fn who_holds_all_connections_keeps_nobody_out() {
    run(async {
        let bench = Bench::with(Limits { connections_max: 8, ..Limits::default() }, says("hi"));
        let mut silent = Vec::new();
        for _ in 0..20 {
            silent.push(bench.connect().await);
        }
        assert_eq!(text(bench.http1().await.send_request(get()).await.unwrap()).await, "hi");
    });
}

#[test]
fn a_request_that_takes_its_time_is_not_an_idle_connection() {
    run(async {
        let limits = Limits { keep_alive_timeout: SHORT, header_read_timeout: SHORT, ..Limits::default() };
        let bench = Bench::with(
            limits,
            task(|_, _| async {
                tokio::time::sleep(SHORT * 4).await;
                Ok(http::Response::new(skiff_ports::body::full("late")))
            }),
        );
        assert_eq!(text(bench.http1().await.send_request(get()).await.unwrap()).await, "late");
        assert_eq!(text(bench.http2().await.send_request(get()).await.unwrap()).await, "late");
    });
}

#[test]
fn a_slow_body_is_cut_off_with_408() {
    run(async {
        let limits = Limits { body_idle_timeout: SHORT, ..Limits::default() };
        let bench = Bench::with(limits, echo());
        let mut stream = bench.connect().await;
        let head = "POST / HTTP/1.1\r\nHost: hello.localhost\r\nContent-Length: 10\r\n\r\nabc";
        stream.write_all(head.as_bytes()).await.unwrap();
        let (status, code, message) = refusal(&read_to_end(&mut stream).await);
        assert_eq!((status, code.as_str()), (408, "request_timeout"));
        assert_eq!(message, "the request body made no progress for 150 ms");
        let lines = bench.wait_for_lines(1).await;
        assert_eq!((&lines[0]["status"], &lines[0]["bytes_in"]), (&408.into(), &3.into()));
    });
}

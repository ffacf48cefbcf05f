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

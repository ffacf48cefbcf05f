//! Stopping without a failed request.

use crate::support::*;
use http::Response;
use skiff_ports::body;
use skiff_ports::invoke::Invoke;
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::Notify;

/// A task that answers when it is told to, and says when it was asked.
fn waiting() -> (Rc<dyn Invoke>, Rc<Notify>, Rc<Cell<usize>>) {
    let (gate, asked) = (Rc::new(Notify::new()), Rc::new(Cell::new(0)));
    let (door, count) = (gate.clone(), asked.clone());
    let invoke = task(move |_, _| {
        count.set(count.get() + 1);
        let door = door.clone();
        async move {
            door.notified().await;
            Ok(Response::new(body::full("done")))
        }
    });
    (invoke, gate, asked)
}

#[test]
fn requests_in_flight_finish_and_nothing_new_is_taken() {
    run(async {
        let (invoke, gate, asked) = waiting();
        let bench = Bench::new(invoke);
        let (mut idle, mut fresh) = (bench.connect().await, bench.connect().await);
        let mut http1 = bench.connect().await;
        http1.write_all(b"GET / HTTP/1.1\r\nHost: hello.localhost\r\n\r\n").await.unwrap();
        let mut http2 = bench.http2().await;
        let mut stream = http2.clone();
        let answer = tokio::task::spawn_local(async move { stream.send_request(get()).await.unwrap() });
        eventually("both are asked", || asked.get() == 2).await;
        eventually("the others are accepted", || bench.edge.connections() == 4).await;

        let edge = bench.edge.clone();
        let drained = tokio::task::spawn_local(async move { edge.drain(DEADLINE).await });
        eventually("it has begun", || bench.ledger.worker(0).connections.get() > 4).await;
        fresh.write_all(b"GET / HTTP/1.1\r\nHost: hello.localhost\r\n\r\n").await.unwrap();
        eventually("what was on its way is asked", || asked.get() == 3).await;
        assert_eq!(read_to_end(&mut idle).await, "");
        // GOAWAY: what comes before it is still taken, what comes after is not sent.
        while let Ok(Ok(_)) | Err(_) =
            tokio::time::timeout(Duration::from_millis(20), http2.send_request(get())).await
        {}
        assert!(!drained.is_finished());

        gate.notify_waiters();
        for stream in [&mut http1, &mut fresh] {
            let raw = read_to_end(stream).await;
            assert!(raw.contains("connection: close\r\n") && raw.ends_with("done"), "{raw}");
        }
        assert_eq!(text(answer.await.unwrap()).await, "done");
        assert!(drained.await.unwrap(), "the drain did not end in time");
        assert_eq!(bench.edge.connections(), 0);
        bench.accepting.await.unwrap().unwrap();
        assert!(TcpStream::connect(bench.address).await.is_err(), "a new connection was taken");
        let text = std::fs::read_to_string(&bench.log).unwrap();
        assert!(text.lines().count() >= 3, "the log is flushed: {text}");
    });
}

#[test]
fn what_does_not_end_in_time_is_cut_off_and_logged() {
    run(async {
        let (invoke, _gate, asked) = waiting();
        let bench = Bench::new(invoke);
        let mut stream = bench.connect().await;
        stream.write_all(b"GET / HTTP/1.1\r\nHost: hello.localhost\r\n\r\n").await.unwrap();
        eventually("it is asked", || asked.get() == 1).await;
        assert!(!bench.edge.drain(Duration::from_millis(50)).await);
        assert_eq!(read_to_end(&mut stream).await, "");
        let lines = bench.lines().await;
        assert_eq!(lines[0]["error"], "the load balancer stopped before the response ended");
        assert_eq!(bench.edge.connections(), 0);
    });
}

#[test]
fn a_drain_of_nothing_ends_at_once() {
    run(async {
        let bench = Bench::new(says("hi"));
        assert!(bench.edge.drain(DEADLINE).await);
        assert!(bench.edge.drain(DEADLINE).await, "a drain may be repeated");
        bench.accepting.await.unwrap().unwrap();
    });
}

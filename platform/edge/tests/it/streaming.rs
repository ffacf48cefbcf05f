//! Bodies stream both ways, as fast as the slower side; who leaves is noticed.

use crate::support::*;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt;
use skiff_edge::Limits;
use skiff_ports::body::{Body, BodyError};
use skiff_ports::invoke::Invoke;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use tokio::io::AsyncWriteExt;

type Frames = futures::channel::mpsc::UnboundedSender<Result<Bytes, BodyError>>;

/// A task whose answer a test writes bit by bit.
fn written_by_hand() -> (Rc<dyn Invoke>, Rc<RefCell<Option<Frames>>>) {
    let writer: Rc<RefCell<Option<Frames>>> = Rc::default();
    let place = writer.clone();
    let invoke = task(move |_, _| {
        let (sender, body) = channel();
        *place.borrow_mut() = Some(sender);
        async move { Ok(Response::new(body)) }
    });
    (invoke, writer)
}

/// The next bytes, if any come. HTTP/2 may end a body with a frame that has none.
async fn next(body: &mut hyper::body::Incoming) -> Option<Result<Bytes, hyper::Error>> {
    loop {
        let frame = tokio::time::timeout(DEADLINE, body.frame()).await.expect("a frame comes");
        match frame?.map(|frame| frame.into_data().unwrap()) {
            Ok(bytes) if bytes.is_empty() => {}
            bytes => return Some(bytes),
        }
    }
}

#[test]
fn a_client_reads_what_the_guest_has_written_so_far() {
    run(async {
        let (invoke, writer) = written_by_hand();
        let bench = Bench::new(invoke);
        let first = bench.http1().await.send_request(get()).await.unwrap();
        let second = async |response: Response<hyper::body::Incoming>| {
            let mut body = response.into_body();
            for text in ["one", "two"] {
                writer.borrow().as_ref().unwrap().unbounded_send(Ok(Bytes::from(text))).unwrap();
                assert_eq!(next(&mut body).await.unwrap().unwrap(), text);
            }
            *writer.borrow_mut() = None;
            let end = next(&mut body).await;
            assert!(end.is_none(), "{end:?}");
        };
        second(first).await;
        second(bench.http2().await.send_request(get()).await.unwrap()).await;
    });
}

#[test]
fn a_guest_reads_what_the_client_has_written_so_far_and_answers_meanwhile() {
    run(async {
        let bench = Bench::new(task(|_, request| async move { Ok(Response::new(request.into_body())) }));
        for version in [1, 2] {
            let (sender, body) = channel();
            let request = Request::post("http://hello.localhost/")
                .header("host", "hello.localhost")
                .body(body)
                .unwrap();
            sender.unbounded_send(Ok(Bytes::from_static(b"first"))).unwrap();
            let response = match version {
                1 => bench.http1().await.send_request(request).await.unwrap(),
                _ => bench.http2().await.send_request(request).await.unwrap(),
            };
            let mut body = response.into_body();
            assert_eq!(next(&mut body).await.unwrap().unwrap(), "first");
            sender.unbounded_send(Ok(Bytes::from_static(b"second"))).unwrap();
            assert_eq!(next(&mut body).await.unwrap().unwrap(), "second");
            drop(sender);
            assert!(next(&mut body).await.is_none());
        }
    });
}

/// A body that never ends, and counts what was taken of it.
fn endless(given_bytes: Arc<AtomicU64>) -> Body {
    const CHUNK: &[u8] = &[b'x'; 16 << 10];
    let frames = futures::stream::repeat_with(move || {
        given_bytes.fetch_add(CHUNK.len() as u64, Relaxed);
        Ok(http_body::Frame::data(Bytes::from_static(CHUNK)))
    });
    Body::new(http_body_util::StreamBody::new(frames))
}

#[test]
fn a_guest_is_held_back_by_a_client_that_does_not_read_which_is_cut_off() {
    run(async {
        let given_bytes = Arc::new(AtomicU64::new(0));
        let counter = given_bytes.clone();
        let limits = Limits { write_timeout: Duration::from_millis(200), ..Limits::default() };
        let bench = Bench::with(
            limits,
            task(move |_, _| {
                let body = endless(counter.clone());
                async move { Ok(Response::new(body)) }
            }),
        );
        let mut stream = bench.connect().await;
        stream.write_all(b"GET / HTTP/1.1\r\nHost: hello.localhost\r\n\r\n").await.unwrap();
        let lines = bench.wait_for_lines(1).await;
        assert_eq!(lines[0]["error"], "the client took nothing of the response for too long");
        assert_eq!(lines[0]["status"], 200);
        assert!(given_bytes.load(Relaxed) < 64 << 20, "{} bytes were produced", given_bytes.load(Relaxed));

        // HTTP/2's flow control holds it back long before the socket does.
        given_bytes.store(0, Relaxed);
        let response = bench.http2().await.send_request(get()).await.unwrap();
        let lines = bench.wait_for_lines(2).await;
        assert_eq!(lines[1]["error"], "the client took nothing of the response for too long");
        assert!(given_bytes.load(Relaxed) < 16 << 20, "{} bytes were produced", given_bytes.load(Relaxed));
        drop(response);
        eventually("both are gone", || bench.edge.connections() == 0).await;
    });
}

#[test]
fn a_client_is_held_back_by_a_guest_that_does_not_read() {
    run(async {
        let gate = Rc::new(tokio::sync::Notify::new());
        let door = gate.clone();
        let bench = Bench::new(task(move |_, request| {
            let door = door.clone();
            async move {
                door.notified().await;
                let bytes = request.into_body().collect().await.unwrap().to_bytes().len();
                Ok(Response::new(skiff_ports::body::full(bytes.to_string())))
            }
        }));
        const BODY_BYTES: usize = 64 << 20;
        let mut stream = bench.connect().await;
        let head = format!(
            "POST / HTTP/1.1\r\nHost: hello.localhost\r\nConnection: close\r\nContent-Length: {BODY_BYTES}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let chunk = vec![b'x'; 64 << 10];
        let mut written_bytes = 0;
        loop {
            let write = tokio::time::timeout(Duration::from_millis(100), stream.write(&chunk));
            match write.await {
                Ok(bytes) => written_bytes += bytes.unwrap(),
                Err(_) => break,
            }
            assert!(written_bytes < BODY_BYTES / 2, "nothing held the client back");
        }
        gate.notify_one();
        while written_bytes < BODY_BYTES {
            let rest = chunk.len().min(BODY_BYTES - written_bytes);
            written_bytes += stream.write(&chunk[..rest]).await.unwrap();
        }
        let answer = read_to_end(&mut stream).await;
        assert!(answer.ends_with(&format!("\r\n\r\n{BODY_BYTES}")), "{answer}");
        assert_eq!(bench.wait_for_lines(1).await[0]["bytes_in"], BODY_BYTES);
    });
}

#[test]
fn a_guest_ends_when_its_client_leaves() {
    run(async {
        let (ended, begun) = (Rc::new(Cell::new(false)), Rc::new(Cell::new(false)));
        let (flag, start) = (ended.clone(), begun.clone());
        let bench = Bench::new(task(move |_, _| {
            let flag = Flag(flag.clone());
            start.set(true);
            async move {
                std::future::pending::<()>().await;
                drop(flag);
                unreachable!("nobody wakes it")
            }
        }));
        for version in [1, 2] {
            ended.set(false);
            begun.set(false);
            let request: std::pin::Pin<Box<dyn Future<Output = ()>>> = match version {
                1 => {
                    let mut client = bench.http1().await;
                    Box::pin(async move { drop(client.send_request(get()).await) })
                }
                _ => {
                    let mut client = bench.http2().await;
                    Box::pin(async move { drop(client.send_request(get()).await) })
                }
            };
            let asking = tokio::task::spawn_local(request);
            eventually("the guest runs", || begun.get()).await;
            asking.abort();
            eventually("the guest ends", || ended.get()).await;
        }
        for line in bench.wait_for_lines(2).await {
            assert_eq!(line["status"], 499);
            assert_eq!(line["error"], "the client left before the answer");
        }
        let totals = bench.ledger.task(3).totals();
        assert_eq!(totals.responses, [0; 4], "nothing was sent");
    });
}

#[test]
fn a_response_that_breaks_off_is_seen_by_the_client_and_logged() {
    run(async {
        let (invoke, writer) = written_by_hand();
        let bench = Bench::new(invoke);
        for version in [1, 2] {
            let response = match version {
                1 => bench.http1().await.send_request(get()).await.unwrap(),
                _ => bench.http2().await.send_request(get()).await.unwrap(),
            };
            let mut body = response.into_body();
            let sender = writer.borrow_mut().take().unwrap();
            sender.unbounded_send(Ok(Bytes::from_static(b"one"))).unwrap();
            assert_eq!(next(&mut body).await.unwrap().unwrap(), "one");
            sender.unbounded_send(Err(BodyError::Guest("the guest trapped".to_owned()))).unwrap();
            assert!(next(&mut body).await.unwrap().is_err());
        }
        for line in bench.wait_for_lines(2).await {
            assert_eq!((&line["error"], &line["status"]), (&"the guest trapped".into(), &200.into()));
            assert_eq!(line["bytes_out"], 3);
        }
    });
}

#[test]
fn a_client_that_leaves_in_the_middle_is_logged() {
    run(async {
        let (invoke, writer) = written_by_hand();
        let bench = Bench::new(invoke);
        let mut client = bench.http1().await;
        let mut body = client.send_request(get()).await.unwrap().into_body();
        let sender = writer.borrow_mut().take().unwrap();
        sender.unbounded_send(Ok(Bytes::from_static(b"one"))).unwrap();
        next(&mut body).await.unwrap().unwrap();
        drop((body, client));
        eventually("the body is dropped", || sender.is_closed()).await;
        let lines = bench.wait_for_lines(1).await;
        assert_eq!(lines[0]["error"], "the client left before the last byte");
    });
}

#[test]
fn a_response_shorter_than_it_says_is_logged() {
    run(async {
        let bench = Bench::new(task(|_, _| async {
            let (sender, body) = channel();
            sender.unbounded_send(Ok(Bytes::from_static(b"one"))).unwrap();
            let mut response = Response::new(body);
            response.headers_mut().insert("content-length", "10".parse().unwrap());
            Ok(response)
        }));
        let whole = async {
            let response = bench.http1().await.send_request(get()).await?;
            response.into_body().collect().await
        };
        assert!(whole.await.is_err(), "the client takes it for whole");
        let lines = bench.wait_for_lines(1).await;
        assert_eq!(lines[0]["error"], "the response was shorter than its content-length");
    });
}

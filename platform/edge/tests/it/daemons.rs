//! HTTP to daemons: what crosses, connections that wait, what becomes of a request that a daemon fails, other protocols.

use crate::support::*;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt;
use skiff_edge::Limits;
use skiff_ports::body::{self, BodyError};
use skiff_ports::connect::ConnectError;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const CLOSE: &str = "Host: web.localhost\r\nConnection: close\r\n";
const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";

#[track_caller]
fn check(raw: &str, status: u16, code: &str, message: &str) {
    let (found_status, found_code, found_message) = refusal(raw);
    assert_eq!((found_status, found_code.as_str()), (status, code), "{raw}");
    assert!(found_message.contains(message), "{found_message:?} does not say {message:?}");
}

fn ask(method: &str) -> Request<ClientBody> {
    request(method, "http://web.localhost/", "")
}

/// Reads a head; empty if the other side ends before there is one.
async fn read_head(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => bytes.push(byte),
            Err(_) => return String::new(),
        }
    }
    String::from_utf8(bytes).unwrap()
}

/// A daemon that notes the heads that it is sent, and answers each connection's with these, one after the other; after
/// the last it closes.
fn answering<const N: usize>(answers: [&'static [u8]; N]) -> (u16, Rc<RefCell<Vec<String>>>) {
    let heads: Rc<RefCell<Vec<String>>> = Rc::default();
    let seen = heads.clone();
    let port = daemon(move |mut stream| {
        let seen = seen.clone();
        async move {
            for answer in answers {
                let head = read_head(&mut stream).await;
                if head.is_empty() {
                    return;
                }
                seen.borrow_mut().push(head);
                let _ = stream.write_all(answer).await;
            }
        }
    });
    (port, heads)
}

#[test]
fn a_daemon_sees_what_any_task_sees_and_a_client_nothing_of_its_hop() {
    run(async {
        let answer = b"HTTP/1.1 201 Made\r\nConnection: x-hop\r\nX-Hop: 1\r\nX-Stays: 2\r\n\
                       Transfer-Encoding: chunked\r\nContent-Length: 99\r\n\r\n2\r\nhi\r\n0\r\n\r\n";
        let (port, heads) = answering([answer]);
        let bench = Bench::to(Limits::default(), &[(6, port)]);
        let request = format!(
            "GET http://web.localhost/a?b=c HTTP/1.1\r\n{CLOSE}X-Forwarded-For: 1.2.3.4\r\n\
             Skiff-Caller: default/other\r\nX-Request-Id: mine\r\nUpgrade: h2c\r\nExpect: 100-continue\r\n\r\n"
        );
        let raw = bench.raw(&request).await;
        let head = heads.borrow()[0].clone();
        let mut lines: Vec<&str> = head.trim_end().lines().collect();
        assert_eq!(lines.remove(0), "GET /a?b=c HTTP/1.1");
        lines.sort_unstable();
        let port = format!("x-forwarded-port: {}", bench.address.port());
        let expected = [
            "host: web.localhost",
            "x-forwarded-for: 1.2.3.4, 127.0.0.1",
            port.as_str(),
            "x-forwarded-proto: http",
            "x-request-id: mine",
        ];
        let count = lines.len();
        lines.retain(|line| !line.starts_with("traceparent: 00-"));
        assert_eq!(count - lines.len(), 1, "{head}");
        assert_eq!(lines, expected);
        assert!(raw.starts_with("HTTP/1.1 201 ") && raw.contains("x-stays: 2\r\n"), "{raw}");
        assert!(raw.contains("x-request-id: mine\r\n") && !raw.contains("x-hop"), "{raw}");
        assert!(!raw.contains("content-length") && raw.ends_with("\r\n\r\n2\r\nhi\r\n0\r\n\r\n"), "{raw}");
        let lines = bench.wait_for_lines(1).await;
        assert_eq!((&lines[0]["service"], &lines[0]["status"]), (&"default/web".into(), &201.into()));
        assert_eq!(lines[0]["task"], task_id(6).to_string());
        assert_eq!((&lines[0]["bytes_out"], &lines[0]["error"]), (&2.into(), &serde_json::Value::Null));
        assert_eq!(bench.ledger.task(6).totals().responses, [1, 0, 0, 0]);
    });
}

#[test]
fn connections_wait_for_the_next_request_but_not_for_long() {
    run(async {
        let (opened, open) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
        let counts = (opened.clone(), open.clone());
        let port = daemon(move |mut stream| {
            let (opened, open) = counts.clone();
            async move {
                opened.set(opened.get() + 1);
                open.set(open.get() + 1);
                while !read_head(&mut stream).await.is_empty() {
                    stream.write_all(OK).await.unwrap();
                }
                open.set(open.get() - 1);
            }
        });
        let limits = Limits { target_idle_timeout: Duration::from_secs(1), ..Limits::default() };
        let bench = Bench::to(limits, &[(6, port)]);
        let (mut http1, mut http2) = (bench.http1().await, bench.http2().await);
        for _ in 0..3 {
            http1.ready().await.unwrap();
            assert_eq!(text(http1.send_request(ask("GET")).await.unwrap()).await, "hi");
            assert_eq!(text(http2.send_request(ask("GET")).await.unwrap()).await, "hi");
        }
        assert_eq!((opened.get(), open.get()), (1, 1));
        eventually("it is closed", || open.get() == 0).await;
        http1.ready().await.unwrap();
        assert_eq!(text(http1.send_request(ask("GET")).await.unwrap()).await, "hi");
        assert_eq!((opened.get(), open.get()), (2, 1));
        bench.edge.route(&[daemons("web", &[])], &[]);
        eventually("a daemon that has left has none", || open.get() == 0).await;
    });
}

#[test]
fn a_request_that_was_lost_on_a_connection_that_waited_is_sent_again_if_it_may_be() {
    run(async {
        // Answers the first request of a connection, and closes on the second.
        let (port, heads) = answering([OK, b""]);
        let bench = Bench::to(Limits::default(), &[(6, port)]);
        let raw = |method: &str| format!("{method} / HTTP/1.1\r\n{CLOSE}Content-Length: 0\r\n\r\n");
        let methods = || heads.borrow().iter().map(|head| head[..3].to_owned()).collect::<Vec<_>>();
        assert!(bench.raw(&raw("POST")).await.starts_with("HTTP/1.1 200"), "a new one");
        assert!(bench.raw(&raw("GET")).await.starts_with("HTTP/1.1 200"), "lost, and sent again");
        assert_eq!(methods(), ["POS", "GET", "GET"]);
        check(&bench.raw(&raw("POST")).await, 502, "task_failed", "closed the connection");
        assert_eq!(methods()[3..], ["POS"], "what may not be repeated is sent once");
    });
}

#[test]
fn who_can_not_be_connected_to_is_told_by_the_answer() {
    run(async {
        let next = Rc::new(RefCell::new(ConnectError::Gone));
        let source = next.clone();
        let connect = connects(move |_, _| {
            let error = source.borrow().clone();
            async move { Err(error) }
        });
        let bench = Bench::of(Limits::default(), says("no daemon"), connect);
        bench.edge.route(&[daemons("web", &[(6, 80), (7, 80)])], &[]);
        for (error, status, code, message) in [
            (ConnectError::Gone, 503, "no_target", "default/web has no task"),
            (ConnectError::Refused, 502, "task_failed", "does not take connections"),
            (ConnectError::TimedOut, 504, "task_timeout", "timed out"),
            (ConnectError::Failed("a bound".to_owned()), 502, "task_failed", "a bound"),
            (ConnectError::Denied("rule 17".to_owned()), 502, "task_failed", "security groups"),
        ] {
            *next.borrow_mut() = error;
            let raw = bench.raw(&format!("GET / HTTP/1.1\r\n{CLOSE}\r\n")).await;
            check(&raw, status, code, message);
            assert!(!raw.contains("rule 17"), "{raw}");
        }
    });
}

#[test]
fn another_daemon_is_tried_where_one_takes_no_connections_and_gets_the_whole_request() {
    run(async {
        let port = http_daemon(|request| async move {
            assert_eq!(request.headers()["x-mine"], "1");
            Response::new(body::full(request.into_body().collect().await.unwrap().to_bytes()))
        });
        // Nobody listens there any more.
        let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let bench = Bench::to(Limits::default(), &[(6, closed), (7, port)]);
        for _ in 0..4 {
            let request = format!("POST / HTTP/1.1\r\n{CLOSE}X-Mine: 1\r\nContent-Length: 3\r\n\r\nabc");
            let raw = bench.raw(&request).await;
            assert!(raw.ends_with("\r\n\r\nabc"), "{raw}");
        }
        for line in bench.wait_for_lines(4).await {
            assert_eq!(line["task"], task_id(7).to_string());
        }
    });
}

#[test]
fn what_is_no_answer_is_refused() {
    run(async {
        let cases: [(&'static [u8], &str); 6] = [
            (b"NONSENSE\r\n\r\n", "malformed"),
            (b"", "closed the connection before it answered"),
            (b"HTTP/1.1 200 OK\r\nContent-Le", "closed the connection before it answered"),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nhi", "not one number"),
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nhi", "transfer-encoding"),
            (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", "informational"),
        ];
        for (answer, message) in cases {
            let port = daemon(move |mut stream| async move {
                read_head(&mut stream).await;
                stream.write_all(answer).await.unwrap();
            });
            let bench = Bench::to(Limits::default(), &[(6, port)]);
            check(&bench.raw(&format!("GET / HTTP/1.1\r\n{CLOSE}\r\n")).await, 502, "task_failed", message);
        }
    });
}

#[test]
fn a_daemon_has_its_time_to_answer_and_to_go_on() {
    run(async {
        let port = daemon(|mut stream| async move {
            if read_head(&mut stream).await.starts_with("GET /begins") {
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhi").await.unwrap();
            }
            // Says no more until the other side has gone.
            let _ = stream.read_to_end(&mut Vec::new()).await;
        });
        let limits = Limits { target_response_timeout: Duration::from_millis(500), ..Limits::default() };
        let bench = Bench::to(limits, &[(6, port)]);
        let raw = bench.raw(&format!("GET / HTTP/1.1\r\n{CLOSE}\r\n")).await;
        check(&raw, 504, "task_timeout", "did not begin to answer within 500 ms");
        let raw = bench.raw(&format!("GET /begins HTTP/1.1\r\n{CLOSE}\r\n")).await;
        assert!(raw.starts_with("HTTP/1.1 200 ") && raw.ends_with("\r\n\r\nhi"), "{raw}");
        let lines = bench.wait_for_lines(2).await;
        assert_eq!(lines[1]["error"], "the body made no progress for 500 ms");
    });
}

#[test]
fn bodies_stream_both_ways() {
    run(async {
        let port = http_daemon(|request| async move {
            let body = request.into_body();
            let body = body.map_err(|error| BodyError::Connection(error.into()));
            Response::new(body.boxed_unsync())
        });
        let bench = Bench::to(Limits::default(), &[(6, port)]);
        for version in [1, 2] {
            let (sender, body) = channel();
            let request = Request::post("http://web.localhost/").header("host", "web.localhost");
            let request = request.body(body).unwrap();
            sender.unbounded_send(Ok(Bytes::from_static(b"first"))).unwrap();
            let response = match version {
                1 => bench.http1().await.send_request(request).await.unwrap(),
                _ => bench.http2().await.send_request(request).await.unwrap(),
            };
            let mut body = response.into_body();
            for (text, more) in [("first", Some("second")), ("second", None)] {
                let frame = tokio::time::timeout(DEADLINE, body.frame()).await.expect("it comes");
                assert_eq!(frame.unwrap().unwrap().into_data().unwrap(), text);
                if let Some(more) = more {
                    sender.unbounded_send(Ok(Bytes::from(more))).unwrap();
                }
            }
            drop(sender);
            assert!(body.collect().await.unwrap().to_bytes().is_empty());
        }
        let lines = bench.wait_for_lines(2).await;
        assert_eq!((&lines[0]["bytes_in"], &lines[0]["bytes_out"]), (&11.into(), &11.into()));
    });
}

#[test]
fn a_body_of_unknown_length_crosses_whatever_the_method() {
    run(async {
        let port = http_daemon(|request| async move {
            Response::new(body::full(request.into_body().collect().await.unwrap().to_bytes()))
        });
        let bench = Bench::to(Limits::default(), &[(6, port)]);
        for method in ["GET", "PUT"] {
            let head = format!("{method} / HTTP/1.1\r\n{CLOSE}Transfer-Encoding: chunked\r\n\r\n");
            let raw = bench.raw(&(head + "3\r\nabc\r\n0\r\n\r\n")).await;
            assert!(raw.ends_with("\r\n\r\nabc"), "{raw}");
        }
    });
}

#[test]
fn a_daemon_that_speaks_http_1_0_gets_the_whole_request_all_the_same() {
    run(async {
        let old = b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nhi";
        let (port, heads) = answering([old, old]);
        let bench = Bench::to(Limits::default(), &[(6, port)]);
        assert!(bench.raw(&format!("GET / HTTP/1.1\r\n{CLOSE}\r\n")).await.ends_with("\r\n\r\nhi"));
        let head = format!("POST / HTTP/1.1\r\n{CLOSE}Transfer-Encoding: chunked\r\n\r\n");
        assert!(bench.raw(&(head + "3\r\nabc\r\n0\r\n\r\n")).await.ends_with("\r\n\r\nhi"));
        let head = heads.borrow()[1].clone();
        assert!(head.starts_with("POST / HTTP/1.1\r\n"), "{head}");
        assert!(head.contains("transfer-encoding: chunked\r\n"), "{head}");
    });
}

#[test]
fn nobody_outside_can_say_in_a_trailer_that_a_task_calls() {
    run(async {
        let port = http_daemon(|request| async move {
            let body = request.into_body().collect().await.unwrap();
            let trailers = body.trailers().cloned().unwrap_or_default();
            let names: Vec<&str> = trailers.keys().map(|name| name.as_str()).collect();
            Response::new(body::full(names.join(" ")))
        });
        let bench = Bench::to(Limits::default(), &[(6, port)]);
        let request = format!(
            "POST / HTTP/1.1\r\n{CLOSE}Transfer-Encoding: chunked\r\nTrailer: skiff-caller, x-sum\r\n\r\n\
             3\r\nabc\r\n0\r\nSkiff-Caller: default/other\r\nX-Sum: 1\r\n\r\n"
        );
        let raw = bench.raw(&request).await;
        assert!(raw.ends_with("\r\n\r\nx-sum"), "{raw}");
    });
}

#[test]
fn hints_are_passed_over_and_a_head_has_no_body() {
    run(async {
        let hints = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n\
                      HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";
        let bench = Bench::to(Limits::default(), &[(6, answering([hints]).0)]);
        let raw = bench.raw(&format!("GET / HTTP/1.1\r\n{CLOSE}\r\n")).await;
        assert!(raw.starts_with("HTTP/1.1 200 ") && raw.ends_with("\r\n\r\nhi"), "{raw}");

        let long = b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n";
        let (port, heads) = answering([long, long]);
        let bench = Bench::to(Limits::default(), &[(6, port)]);
        let mut client = bench.http1().await;
        for _ in 0..2 {
            client.ready().await.unwrap();
            let response = client.send_request(ask("HEAD")).await.unwrap();
            assert_eq!(response.headers()["content-length"], "99");
            assert_eq!(text(response).await, "");
        }
        assert!(heads.borrow().iter().all(|head| head.starts_with("HEAD / ")) && heads.borrow().len() == 2);
    });
}

#[test]
fn a_connection_waits_for_the_next_request_after_an_answer_without_a_body_too() {
    run(async {
        let opened = Rc::new(Cell::new(0));
        let count = opened.clone();
        let port = daemon(move |mut stream| {
            count.set(count.get() + 1);
            async move {
                loop {
                    let answer: &[u8] = match read_head(&mut stream).await.split(' ').next() {
                        Some("HEAD") => b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n",
                        Some("PUT") => b"HTTP/1.1 204 No Content\r\n\r\n",
                        Some("GET") => b"HTTP/1.1 304 Not Modified\r\n\r\n",
                        _ => return,
                    };
                    stream.write_all(answer).await.unwrap();
                }
            }
        });
        let bench = Bench::to(Limits::default(), &[(6, port)]);
        let mut client = bench.http1().await;
        for method in ["HEAD", "PUT", "GET", "HEAD"] {
            client.ready().await.unwrap();
            assert_eq!(text(client.send_request(ask(method)).await.unwrap()).await, "");
        }
        assert_eq!(opened.get(), 1);
    });
}

#[test]
fn a_daemon_is_left_when_its_client_leaves() {
    run(async {
        let (begun, left) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
        let counts = (begun.clone(), left.clone());
        let port = daemon(move |mut stream| {
            let (begun, left) = counts.clone();
            async move {
                read_head(&mut stream).await;
                begun.set(begun.get() + 1);
                let _ = stream.read_to_end(&mut Vec::new()).await;
                left.set(left.get() + 1);
            }
        });
        let bench = Bench::to(Limits::default(), &[(6, port)]);
        let mut client = bench.connect().await;
        client.write_all(b"GET / HTTP/1.1\r\nHost: web.localhost\r\n\r\n").await.unwrap();
        eventually("it is asked", || begun.get() == 1).await;
        drop(client);
        eventually("it is left", || left.get() == 1).await;
        assert_eq!(bench.wait_for_lines(1).await[0]["error"], "the client left before the answer");
    });
}

/// A daemon that agrees to speak `echo`, says something first, and then repeats what it is sent.
fn echoing() -> u16 {
    daemon(|mut stream| async move {
        let head = read_head(&mut stream).await;
        assert!(head.contains("connection: upgrade\r\n") && head.contains("upgrade: echo\r\n"), "{head}");
        let agreement = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\
                          X-Stays: 1\r\n\r\nwelcome ";
        stream.write_all(agreement).await.unwrap();
        let (mut reader, mut writer) = stream.split();
        let _ = tokio::io::copy(&mut reader, &mut writer).await;
        let _ = writer.write_all(b" bye").await;
    })
}

/// Asks for `echo`, and says something already; gives the connection once the answer's head was read.
async fn change_protocol(bench: &Bench) -> TcpStream {
    let mut client = bench.connect().await;
    let head = "GET /chat HTTP/1.1\r\nHost: web.localhost\r\nConnection: Upgrade\r\nUpgrade: h2c, echo\r\n\r\n\
                ahead ";
    client.write_all(head.as_bytes()).await.unwrap();
    let answer = read_until(&mut client, "\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 101 Switching Protocols\r\n"), "{answer}");
    for line in ["connection: upgrade", "upgrade: echo", "x-stays: 1"] {
        assert!(answer.lines().any(|found| found == line), "{line:?} is not in {answer}");
    }
    assert!(answer.contains("x-request-id: "), "{answer}");
    client
}

#[test]
fn a_client_and_a_daemon_may_change_to_another_protocol() {
    run(async {
        let bench = Bench::to(Limits::default(), &[(6, echoing())]);
        let mut client = change_protocol(&bench).await;
        client.write_all(b"hello").await.unwrap();
        assert_eq!(read_until(&mut client, "hello").await, "welcome ahead hello");
        assert_eq!(bench.lines().await.len(), 0, "it lasts as long as the connection");
        client.shutdown().await.unwrap();
        assert_eq!(read_to_end(&mut client).await, " bye");
        let line = &bench.wait_for_lines(1).await[0];
        assert_eq!((&line["status"], &line["path"]), (&101.into(), &"/chat".into()));
        assert_eq!((&line["bytes_in"], &line["bytes_out"]), (&11.into(), &23.into()));
        assert_eq!(line["error"], serde_json::Value::Null);
        eventually("it is gone", || bench.edge.connections() == 0).await;
    });
}

#[test]
fn another_protocol_is_refused_where_it_can_not_be_had() {
    run(async {
        let (port, _) = answering([b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: other\r\n\r\n"]);
        let bench = Bench::to(Limits::default(), &[(6, port)]);
        let upgrade = |head: &str| format!("{head}Connection: close, upgrade\r\nUpgrade: echo\r\n\r\n");
        let raw = bench.raw(&upgrade("GET / HTTP/1.1\r\nHost: web.localhost\r\n")).await;
        check(&raw, 502, "task_failed", "it was not asked for");
        let raw = bench.raw(&upgrade("GET / HTTP/1.1\r\nHost: hello.localhost\r\n")).await;
        check(&raw, 501, "not_supported", "Upgrade");
        // RFC 9110, section 7.8: it is nothing in HTTP/1.0.
        let raw = bench.raw(&upgrade("GET / HTTP/1.0\r\nHost: hello.localhost\r\n")).await;
        assert!(raw.contains(" 200 ") && raw.ends_with("\r\n\r\nno daemon"), "{raw}");
        let with_body = upgrade("POST / HTTP/1.1\r\nHost: web.localhost\r\nContent-Length: 3\r\n") + "abc";
        let raw = bench.raw(&with_body).await;
        check(&raw, 501, "not_supported", "Upgrade");

        // A daemon may answer as if it had not been asked.
        let bench = Bench::to(Limits::default(), &[(6, answering([OK]).0)]);
        let raw = bench.raw(&upgrade("GET / HTTP/1.1\r\nHost: web.localhost\r\n")).await;
        assert!(raw.starts_with("HTTP/1.1 200 ") && raw.ends_with("\r\n\r\nhi"), "{raw}");
    });
}

#[test]
fn at_most_half_of_the_connections_may_speak_another_protocol() {
    run(async {
        let limits = Limits { connections_max: 2, ..Limits::default() };
        let bench = Bench::to(limits, &[(6, echoing())]);
        let mut client = change_protocol(&bench).await;
        let upgrade = format!("GET / HTTP/1.1\r\n{CLOSE}Connection: upgrade\r\nUpgrade: echo\r\n\r\n");
        check(&bench.raw(&upgrade).await, 503, "too_many_connections", "another protocol");
        client.shutdown().await.unwrap();
        read_to_end(&mut client).await;
        eventually("its place is free", || bench.edge.connections() == 0).await;
        change_protocol(&bench).await;
    });
}

#[test]
fn another_protocol_is_spoken_until_a_drain_cuts_it_off_or_nobody_speaks() {
    run(async {
        let limits = Limits { tunnel_idle_timeout: Duration::from_millis(500), ..Limits::default() };
        for (limits, error) in [
            (Limits::default(), "the load balancer stopped before the response ended"),
            (limits, "neither side sent anything for 500 ms"),
        ] {
            let bench = Bench::to(limits, &[(6, echoing())]);
            let mut client = change_protocol(&bench).await;
            assert_eq!(read_until(&mut client, "ahead ").await, "welcome ahead ");
            if error.contains("stopped") {
                assert!(!bench.edge.drain(Duration::from_millis(50)).await);
            }
            read_to_end(&mut client).await;
            let line = &bench.wait_for_lines(1).await[0];
            assert_eq!((&line["status"], &line["error"]), (&101.into(), &error.into()));
            eventually("it is gone", || bench.edge.connections() == 0).await;
        }
    });
}

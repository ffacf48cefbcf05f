//! HTTP/1.1: what the guest sees, what the client sees, and connections that stay.

use crate::support::*;
use futures::FutureExt;
use http::Response;
use skiff_edge::Limits;
use skiff_ports::body;
use std::cell::Cell;
use std::rc::Rc;
use tokio::io::AsyncWriteExt;
use tokio::sync::Semaphore;

#[test]
fn a_guest_sees_the_client_and_nothing_of_its_hop() {
    run(async {
        let bench = Bench::new(echo());
        let answer = bench
            .raw(
                "POST /a%20b/c?d=e HTTP/1.1\r\nHost: Hello.LOCALHOST:8080\r\nX-Forwarded-For: 1.2.3.4\r\n\
                 Connection: close, x-hop\r\nX-Hop: 1\r\nTE: trailers\r\nKeep-Alive: 5\r\nX-Stays: 2\r\n\
                 X-Request-Id: mine-1\r\nUpgrade: h2c\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
            )
            .await;
        let port = bench.address.port();
        for line in [
            "HTTP/1.1 200 OK",
            "saw-method: POST",
            "saw-uri: /a%20b/c?d=e",
            "saw-host: Hello.LOCALHOST:8080",
            "saw-x-forwarded-for: 1.2.3.4, 127.0.0.1",
            "saw-x-forwarded-proto: http",
            &format!("saw-x-forwarded-port: {port}"),
            "saw-x-stays: 2",
            "saw-x-request-id: mine-1",
            "x-request-id: mine-1",
            "content-length: 3",
        ] {
            assert!(answer.lines().any(|found| found == line), "{line:?} is not in {answer}");
        }
        for name in ["connection", "x-hop", "te", "keep-alive", "upgrade", "transfer-encoding"] {
            assert!(!answer.contains(&format!("saw-{name}:")), "{name} is in {answer}");
        }
        assert!(answer.ends_with("\r\n\r\nabc"), "{answer}");
    });
}

#[test]
fn a_client_sees_nothing_of_the_guests_hop() {
    run(async {
        let bench = Bench::new(task(|_, _| async {
            let mut response = Response::new(body::full("abc"));
            for (name, value) in [
                ("connection", "x-hop, keep-alive"),
                ("x-hop", "1"),
                ("transfer-encoding", "chunked"),
                ("keep-alive", "timeout=1"),
                ("x-request-id", "the guest's own"),
                ("x-stays", "2"),
            ] {
                response.headers_mut().insert(name, value.parse().unwrap());
            }
            Ok(response)
        }));
        let request =
            "GET / HTTP/1.1\r\nHost: hello.localhost\r\nConnection: close\r\nX-Request-Id: my-id\r\n\r\n";
        let answer = bench.raw(request).await;
        assert!(answer.contains("x-stays: 2\r\n") && answer.contains("x-request-id: my-id\r\n"), "{answer}");
        for part in ["x-hop", "transfer-encoding", "keep-alive", "guest's own"] {
            assert!(!answer.contains(part), "{part} is in {answer}");
        }
    });
}

#[test]
fn a_connection_serves_many_requests() {
    run(async {
        let bench = Bench::new(says("hi"));
        let mut client = bench.http1().await;
        let mut ids = std::collections::HashSet::new();
        for _ in 0..50 {
            client.ready().await.unwrap();
            let response = client.send_request(get()).await.unwrap();
            assert!(ids.insert(response.headers()["x-request-id"].clone()), "an id came twice");
            assert_eq!(text(response).await, "hi");
        }
        assert_eq!(bench.edge.connections(), 1);
        assert_eq!(bench.ledger.worker(0).requests.get(), 50);
        assert_eq!(bench.ledger.worker(0).connections.get(), 1);
        drop(client);
        eventually("closed", || bench.ledger.worker(0).connections.get() == 0).await;
    });
}

#[test]
fn requests_that_come_at_once_are_answered_in_order() {
    run(async {
        let bench = Bench::new(echo());
        let one = |n: u8, end: &str| {
            format!("POST /{n} HTTP/1.1\r\nHost: hello.localhost\r\nContent-Length: 1\r\n{end}\r\n{n}")
        };
        let answer = bench.raw(&(one(1, "") + &one(2, "") + &one(3, "Connection: close\r\n"))).await;
        let bodies: Vec<&str> = answer.split("\r\n\r\n").skip(1).map(|part| &part[..1]).collect();
        assert_eq!(bodies, ["1", "2", "3"], "{answer}");
    });
}

#[test]
fn a_client_that_expects_100_continue_gets_it_when_the_guest_reads() {
    run(async {
        let bench = Bench::new(echo());
        let mut stream = bench.connect().await;
        let head = "PUT / HTTP/1.1\r\nHost: hello.localhost\r\nExpect: 100-continue\r\nConnection: close\r\n\
                    Content-Length: 3\r\n\r\n";
        stream.write_all(head.as_bytes()).await.unwrap();
        assert_eq!(read_until(&mut stream, "\r\n\r\n").await, "HTTP/1.1 100 Continue\r\n\r\n");
        stream.write_all(b"abc").await.unwrap();
        let answer = read_to_end(&mut stream).await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("\r\n\r\nabc"), "{answer}");
        assert!(!answer.contains("saw-expect"), "{answer}");
    });
}

#[test]
fn a_client_that_expects_100_continue_gets_it_once_a_daemon_takes_the_body_and_never_where_there_is_none() {
    run(async {
        let port = daemon(|mut stream| async move {
            let head = read_until(&mut stream, "\r\n\r\n").await;
            assert!(head.contains("content-length: 3\r\n") && !head.contains("expect"), "{head}");
            assert_eq!(read_until(&mut stream, "abc").await, "abc");
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi").await.unwrap();
        });
        let (gate, asked) = (Rc::new(Semaphore::new(0)), Rc::new(Cell::new(false)));
        let (door, seen) = (gate.clone(), asked.clone());
        let connect = connects(move |_, port| {
            let door = door.clone();
            seen.set(true);
            async move {
                door.acquire().await.unwrap().forget();
                to_socket(port).await
            }
        });
        let bench = Bench::of(Limits::default(), says("no daemon"), connect);
        bench.edge.route(&[daemons("web", &[(6, port)])], &[]);
        let head = "PUT / HTTP/1.1\r\nHost: web.localhost\r\nExpect: 100-continue\r\nConnection: close\r\n\
                    Content-Length: 3\r\n\r\n";
        let mut stream = bench.connect().await;
        stream.write_all(head.as_bytes()).await.unwrap();
        eventually("it is connected to", || asked.get()).await;
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert!(stream.readable().now_or_never().is_none(), "nobody takes the body yet");
        gate.add_permits(1);
        assert_eq!(read_until(&mut stream, "\r\n\r\n").await, "HTTP/1.1 100 Continue\r\n\r\n");
        stream.write_all(b"abc").await.unwrap();
        let answer = read_to_end(&mut stream).await;
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\n\r\nhi"), "{answer}");

        bench.edge.route(&[daemons("web", &[])], &[]);
        let raw = bench.raw(head).await;
        assert!(raw.starts_with("HTTP/1.1 503 "), "{raw}");
    });
}

#[test]
fn a_head_request_has_the_headers_and_no_body() {
    run(async {
        let bench = Bench::new(task(|_, _| async {
            let mut response = Response::new(body::full("four"));
            response.headers_mut().insert("content-length", "4".parse().unwrap());
            Ok(response)
        }));
        let request = "HEAD / HTTP/1.1\r\nHost: hello.localhost\r\n\r\n";
        let last = "HEAD / HTTP/1.1\r\nHost: hello.localhost\r\nConnection: close\r\n\r\n";
        let answer = bench.raw(&format!("{request}{last}")).await;
        assert_eq!(answer.matches("content-length: 4").count(), 2, "{answer}");
        assert!(!answer.contains("four") && answer.ends_with("\r\n\r\n"), "{answer}");
    });
}

#[test]
fn http_1_0_and_absolute_targets_are_understood() {
    run(async {
        let bench = Bench::new(echo());
        let old = bench.raw("GET / HTTP/1.0\r\nHost: hello.localhost\r\n\r\n").await;
        assert!(old.starts_with("HTTP/1.0 200 OK"), "{old}");
        let absolute = "GET http://hello.localhost/x HTTP/1.1\r\nHost: other\r\nConnection: close\r\n\r\n";
        let answer = bench.raw(absolute).await;
        assert!(answer.contains("saw-host: hello.localhost\r\n"), "{answer}");
    });
}

//! Listeners beside the built-in one: HTTP by their own rules, bytes by their default action, and how they come and go.

use crate::support::*;
use crate::told::*;
use http::Response;
use skiff_edge::{Limits, Listening};
use skiff_ports::body;
use skiff_types::{Algorithm, ListenerProtocol, Targets};
use std::cell::Cell;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;

/// Binds a port, and accepts there for the listener `other`, whether it is told of or not.
fn listen(bench: &Bench) -> (Listening, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (bench.edge.listen(listener, "other".parse().unwrap()), address)
}

/// A daemon that says `name`, repeats what it is sent, and ends.
fn repeating(name: &'static str) -> u16 {
    daemon(move |mut stream| async move {
        let (mut reader, mut writer) = stream.split();
        writer.write_all(name.as_bytes()).await.unwrap();
        let _ = tokio::io::copy(&mut reader, &mut writer).await;
    })
}

#[test]
fn a_listener_has_its_own_port_rules_and_default_action() {
    run(async {
        let bench = Bench::new(echo());
        let (_listening, address) = listen(&bench);
        let told = listener("other", ListenerProtocol::Http, address.port(), respond(404, "not here"));
        bench.edge.balance(&told);
        bench.edge.balance(&rule_of("other", "only", 7, &["path=/hello"], forward(&["hello"])));
        let asked = |target: &str| asking("GET", target, "hello.localhost", "");
        let raw = raw_at(address, &asked("/hello")).await;
        assert_eq!(answer(&raw).0, 200, "{raw}");
        let port = format!("saw-x-forwarded-port: {}", address.port());
        for line in [port.as_str(), "saw-x-forwarded-proto: http"] {
            assert!(raw.contains(&format!("{line}\r\n")), "{line:?} is not in {raw}");
        }
        assert_eq!(answer(&raw_at(address, &asked("/else")).await), (404, "not here"));
        // The other way round: its rules are not the built-in one's.
        let raw = bench.raw(&asked("/else")).await;
        assert!(raw.contains(&format!("saw-x-forwarded-port: {}\r\n", bench.address.port())), "{raw}");
        bench.edge.balance(&rule_of("http", "only", 7, &["path=/hello"], respond(200, "moved")));
        assert_eq!(answer(&raw_at(address, &asked("/hello")).await), (404, "not here"));
        assert_eq!(answer(&bench.raw(&asked("/hello")).await), (200, "moved"));
    });
}

#[test]
fn a_listener_that_is_told_to_be_elsewhere_is_where_its_socket_is() {
    run(async {
        let bench = Bench::new(echo());
        let (_listening, address) = listen(&bench);
        let expected = format!("saw-x-forwarded-port: {}\r\n", address.port());
        for told in [address.port(), 1] {
            bench.edge.balance(&listener("other", ListenerProtocol::Http, told, forward(&["hello"])));
            let raw = raw_at(address, &asking("GET", "/", "hello.localhost", "")).await;
            assert!(answer(&raw).0 == 200 && raw.contains(&expected), "told {told}: {raw}");
        }
    });
}

#[test]
fn what_connects_before_the_listener_is_told_of_waits() {
    run(async {
        let bench = Bench::new(says("hi"));
        let (_listening, address) = listen(&bench);
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(asking("GET", "/", "hello.localhost", "").as_bytes()).await.unwrap();
        // Another listener than this one is nothing to it.
        bench.edge.balance(&listener("third", ListenerProtocol::Http, 1, respond(404, "")));
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert_eq!(bench.edge.connections(), 0);
        let told = listener("other", ListenerProtocol::Http, address.port(), forward(&["hello"]));
        bench.edge.balance(&told);
        assert_eq!(answer(&read_to_end(&mut client).await), (200, "hi"));
    });
}

#[test]
fn bytes_go_where_the_default_action_forwards_them() {
    run(async {
        let bench = Bench::to(Limits::default(), &[(6, repeating("daemon: "))]);
        let (_listening, address) = listen(&bench);
        let exchange = async || {
            // Who is led nowhere may be reset before it knows that it is connected.
            let mut client = match TcpStream::connect(address).await {
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return String::new(),
                connected => connected.unwrap(),
            };
            let _ = client.write_all(b"hi").await;
            let _ = client.shutdown().await;
            read_to_end(&mut client).await
        };
        let tcp = |action| listener("other", ListenerProtocol::Tcp, address.port(), action);
        bench.edge.balance(&tcp(forward(&["web"])));
        assert_eq!(exchange().await, "daemon: hi");
        let outside_port = repeating("outside: ");
        bench.edge.balance(&group("out", outside(&[outside_port]), Algorithm::RoundRobin));
        bench.edge.balance(&tcp(forward(&["web=0", "out=1"])));
        assert_eq!(exchange().await, "outside: hi");
        for (number, action, error) in [
            (3, forward(&["nobody"]), "no service is named default/nobody"),
            (4, forward(&["web=0"]), "weight 0"),
            (5, respond(404, ""), "the listener does not forward connections"),
            // Its task is called.
            (6, forward(&["hello"]), "the service has no task at present that takes connections"),
        ] {
            bench.edge.balance(&tcp(action));
            assert_eq!(exchange().await, "");
            let line = &bench.wait_for_lines(number).await[number - 1];
            assert!(line["error"].as_str().unwrap_or_default().contains(error), "{line}: not {error:?}");
        }
        let lines = bench.lines().await;
        assert_eq!((&lines[0]["service"], &lines[0]["protocol"]), (&"default/web".into(), &"TCP".into()));
        assert_eq!(lines[0]["task"], task_id(6).to_string());
        assert_eq!(lines[1]["service"], "default/out");
        assert_eq!(lines[1]["task"], format!("127.0.0.1:{outside_port}"));
        assert_eq!((&lines[1]["bytes_in"], &lines[1]["bytes_out"]), (&2.into(), &11.into()));
        assert!(lines[4]["service"].is_null(), "{lines:?}");
    });
}

#[test]
fn connections_without_http_count_where_the_ledger_knows_no_target() {
    run(async {
        let bench = Bench::new(says("no daemon"));
        let (_listening, address) = listen(&bench);
        let ports = [repeating("1"), repeating("2")];
        bench.edge.balance(&group("out", outside(&ports), Algorithm::LeastOutstandingRequests));
        let tcp = listener("other", ListenerProtocol::Tcp, address.port(), forward(&["out"]));
        bench.edge.balance(&tcp);
        let connect = async || {
            let mut client = TcpStream::connect(address).await.unwrap();
            let mut name = [0];
            client.read_exact(&mut name).await.unwrap();
            (client, name)
        };
        let (first, one) = connect().await;
        let (_second, other) = connect().await;
        assert_ne!(one, other);
        drop(first);
        eventually("it is gone", || bench.edge.connections() == 1).await;
        for _ in 0..3 {
            let (client, name) = connect().await;
            assert_eq!(name, one, "the one with fewer connections");
            drop(client);
            eventually("it is gone", || bench.edge.connections() == 1).await;
        }
    });
}

#[test]
fn a_listener_that_goes_finishes_what_it_has_begun() {
    run(async {
        let (asked, go_on) = (Rc::new(Cell::new(0)), Rc::new(Notify::new()));
        let (count, wait) = (asked.clone(), go_on.clone());
        let bench = Bench::new(task(move |_, _| {
            count.set(count.get() + 1);
            let wait = wait.clone();
            async move {
                wait.notified().await;
                Ok(Response::new(body::full("at last")))
            }
        }));
        let (listening, address) = listen(&bench);
        let told = listener("other", ListenerProtocol::Http, address.port(), forward(&["hello"]));
        bench.edge.balance(&told);
        let head = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        let mut idle = TcpStream::connect(address).await.unwrap();
        idle.write_all(head).await.unwrap();
        eventually("it is asked", || asked.get() == 1).await;
        go_on.notify_one();
        read_until(&mut idle, "at last").await;
        let mut busy = TcpStream::connect(address).await.unwrap();
        busy.write_all(head).await.unwrap();
        eventually("it is asked", || asked.get() == 2).await;

        drop(listening);
        bench.edge.balance(&no_listener("other"));
        while TcpStream::connect(address).await.is_ok() {
            tokio::task::yield_now().await;
        }
        assert_eq!(read_to_end(&mut idle).await, "", "it is closed");
        go_on.notify_one();
        let raw = read_to_end(&mut busy).await;
        assert_eq!(answer(&raw), (200, "at last"));
        assert!(raw.contains("connection: close\r\n"), "{raw}");
        // The port is free for another listener of this name.
        let again = TcpListener::bind(address).unwrap();
        let _listening = bench.edge.listen(again, "other".parse().unwrap());
        let told = listener("other", ListenerProtocol::Http, address.port(), respond(200, "anew"));
        bench.edge.balance(&told);
        assert_eq!(answer(&raw_at(address, &asking("GET", "/", "a", "")).await), (200, "anew"));
    });
}

#[test]
fn a_virtual_address_is_connected_to() {
    run(async {
        let port = http_daemon(|_| async { Response::new(body::full("by its address")) });
        let bench = Bench::new(says("no daemon"));
        let addresses = vec![format!("10.64.0.7:{port}").parse().unwrap()];
        bench.edge.balance(&group("tasks", Targets::Virtual(addresses), Algorithm::RoundRobin));
        bench.edge.balance(&rule("only", 7, &["path=/*"], forward(&["tasks"])));
        let raw = bench.raw(&asking("GET", "/", "a", "")).await;
        assert_eq!(answer(&raw), (200, "by its address"));
        assert_eq!(bench.wait_for_lines(1).await[0]["task"], format!("10.64.0.7:{port}"));
    });
}

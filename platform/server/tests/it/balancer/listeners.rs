//! Listeners: made and removed while requests run, which none of them notices; and the one that is there from the start.

use super::{HELLO, answers, ask, deploy_named, free_port, has_status, is_answered_by, rule};
use crate::harness::{PATIENCE, Platform, eventually};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

/// How often the listener and the rules are exchanged under load.
const CHANGES: usize = 10;
/// Clients that make the load.
const CLIENTS: usize = 4;

/// Where a listener of that port is.
fn local(port: u16) -> String {
    format!("127.0.0.1:{port}")
}

fn nobody_listens(port: u16) {
    eventually("nobody listens any more", || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).err());
}

#[test]
fn a_listener_has_rules_of_its_own_and_services_unless_told_otherwise() {
    let platform = Platform::start(&[]);
    platform.deploy("hello", "hello", &[]);
    let port = free_port();
    let (at, text) = (local(port), port.to_string());
    platform.ok(&["listener", "create", "second", "--port", &text]);
    answers(&at, "hello.localhost", "/", |answer| answer.status == 200 && answer.text == HELLO);
    let respond = ["--listener", "second", "--respond", "418"];
    rule(&platform, "teapot", "10", "path=/tea", &respond);
    has_status(&at, "hello.localhost", "/tea", 418);
    assert_eq!(ask(&platform.http, "/tea", &[("host", "hello.localhost")]).unwrap().status, 200);

    // Without its port, for it stays.
    platform.ok(&["listener", "create", "second", "--no-services", "--redirect", "/tea"]);
    let elsewhere = has_status(&at, "hello.localhost", "/", 301);
    assert!(elsewhere.header("location").contains("/tea"), "{elsewhere:?}");
    assert_eq!(ask(&at, "/tea", &[("host", "hello.localhost")]).unwrap().status, 418);
    assert_eq!(ask(&platform.http, "/", &[("host", "hello.localhost")]).unwrap().status, 200);

    let shown = platform.ok(&["listener", "show", "second"]);
    assert!(shown.contains(&text) && shown.contains("redirect to"), "{shown}");
    let listed = platform.json(&["listener", "ls"]);
    let of = |name: &str| {
        listed.as_array().unwrap().iter().find(|listener| listener["name"] == name).unwrap().clone()
    };
    assert_eq!((&of("second")["rules"], &of("http")["rules"]), (&1.into(), &0.into()), "{listed}");
    assert_eq!(of("http")["port"].to_string(), platform.http.rsplit(':').next().unwrap());

    platform.ok(&["rule", "rm", "teapot"]);
    platform.ok(&["listener", "rm", "second"]);
    nobody_listens(port);
}

#[test]
fn a_listener_whose_port_another_program_has_says_so_until_it_is_let_go() {
    let platform = Platform::start(&[]);
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = taken.local_addr().unwrap().port();
    let create = ["listener", "create", "busy", "--port", &port.to_string(), "--respond", "418"];
    let problem = format!("can't listen at {}", local(port));
    let said = platform.ok(&create);
    assert!(said.contains(&problem), "{said}");
    for command in [&["listener", "show", "busy"][..], &["listener", "ls"]] {
        let shown = platform.ok(command);
        assert!(shown.contains(&problem), "{shown}");
    }
    drop(taken);
    has_status(&local(port), "anybody.example.com", "/", 418);
    let shown = platform.json(&["listener", "show", "busy"]);
    assert_eq!(shown.get("problem"), None, "{shown}");
}

#[test]
fn what_the_built_in_listener_does_at_last_is_changed_and_put_back() {
    let platform = Platform::start(&[]);
    deploy_named(&platform, "app");
    let at = &platform.http;
    platform.ok(&["listener", "create", "http", "--forward", "app"]);
    is_answered_by(at, "anybody.example.com", "app");
    platform.ok(&["listener", "create", "http", "--no-services", "--respond", "404"]);
    has_status(at, "app.localhost", "/", 404);
    platform.ok(&["listener", "rm", "http"]);
    is_answered_by(at, "app.localhost", "app");
    has_status(at, "anybody.example.com", "/", 404);
    assert!(platform.ok(&["listener", "ls"]).contains("http"), "it is always there");
}

/// Asks again and again, on a connection of its own each time, until it is told to stop; any failure fails the test.
fn load(at: &str, host: &str, stop: &AtomicBool, answered: &AtomicU64) {
    while !stop.load(Relaxed) {
        let answer = ask(at, "/sleep?ms=5", &[("host", host)]);
        let answer = answer.unwrap_or_else(|error| panic!("{host}: {error}"));
        assert_eq!(answer.status, 200, "{host}: {}", answer.text);
        answered.fetch_add(1, Relaxed);
    }
}

#[test]
fn listeners_and_rules_come_and_go_without_a_failed_request() {
    let platform = Platform::start(&[]);
    deploy_named(&platform, "blue");
    deploy_named(&platform, "green");
    let (port, host) = (free_port(), "shop.example.com");
    rule(&platform, "shop", "10", "host=shop.example.com", &["--forward", "blue"]);
    is_answered_by(&platform.http, host, "blue");
    let (stop, answered) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            // By the rule that changes, and by what the service says.
            let host = [host, "blue.localhost"][client % 2];
            let (http, stop, answered) = (&platform.http, &stop, &answered);
            scope.spawn(move || load(http, host, stop, answered));
        }
        // Whatever fails here, the clients are to end.
        let stopped = Stop(&stop);
        for change in 0..CHANGES {
            let who = ["green", "blue"][change % 2];
            let text = port.to_string();
            platform.ok(&["listener", "create", "extra", "--port", &text, "--forward", who]);
            is_answered_by(&local(port), "anybody.example.com", who);
            let forward = format!("blue={},green={}", change % 2, (change + 1) % 2);
            rule(&platform, "shop", "10", "host=shop.example.com", &["--forward", &forward]);
            is_answered_by(&platform.http, host, who);
            let priority = (change + 100).to_string();
            rule(&platform, "other", &priority, "host=other.example.com", &["--respond", "204"]);
            has_status(&platform.http, "other.example.com", "/", 204);
            platform.ok(&["listener", "rm", "extra"]);
            nobody_listens(port);
        }
        drop(stopped);
    });
    assert!(answered.load(Relaxed) > CHANGES as u64, "{answered:?} requests were answered");
}

/// Says stop when it goes.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

#[test]
fn what_came_by_a_listener_is_answered_after_it_is_gone() {
    let platform = Platform::start(&[]);
    deploy_named(&platform, "app");
    let port = free_port();
    platform.ok(&["listener", "create", "extra", "--port", &port.to_string(), "--forward", "app"]);
    is_answered_by(&local(port), "anybody.example.com", "app");
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // Its beginning shows that it is under way; the rest comes when nobody listens any more.
    let request =
        b"GET /drip?chunks=20&ms=100 HTTP/1.1\r\nhost: anybody.example.com\r\nconnection: close\r\n\r\n";
    stream.write_all(request).unwrap();
    let mut answer = vec![0; 16];
    stream.read_exact(&mut answer).unwrap();
    platform.ok(&["listener", "rm", "extra"]);
    nobody_listens(port);
    stream.read_to_end(&mut answer).unwrap();
    let answer = String::from_utf8(answer).unwrap();
    // The last chunk is there: it was not broken off.
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\n0\r\n\r\n"), "{answer}");
}

#[test]
fn a_tcp_listener_leads_to_a_daemon() {
    let platform = Platform::start(&[]);
    platform.deploy("kv", "kv", &["--port", "6379"]);
    let port = free_port();
    let create =
        ["listener", "create", "db", "--port", &port.to_string(), "--protocol", "tcp", "--forward", "kv"];
    platform.ok(&create);
    let at = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut open = eventually("it is reached", || pong(at));
    platform.ok(&["listener", "rm", "db"]);
    nobody_listens(port);
    ping(&mut open).expect("what is open goes on");
}

/// A connection to a server of Redis's protocol that answers.
fn pong(at: SocketAddr) -> Option<TcpStream> {
    let mut stream = TcpStream::connect(at).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    ping(&mut stream).ok().map(|()| stream)
}

fn ping(stream: &mut TcpStream) -> std::io::Result<()> {
    stream.write_all(b"*1\r\n$4\r\nPING\r\n")?;
    let mut answer = [0; 7];
    stream.read_exact(&mut answer)?;
    if &answer == b"+PONG\r\n" { Ok(()) } else { Err(std::io::ErrorKind::InvalidData.into()) }
}

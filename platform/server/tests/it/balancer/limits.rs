//! Limits by the command line: of clients, rules and target groups, and of connections of TCP, over all workers.

use super::{Answer, ask, has_status, rule};
use crate::gauges::sum;
use crate::harness::{PATIENCE, Platform, eventually, free_port};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Instant;

/// A platform whose requests meet more than one worker.
fn platform() -> Platform {
    let platform = Platform::start(&["--workers", "2"]);
    platform.deploy("hello", "hello", &[]);
    platform
}

/// Waits until one of what comes in a row is refused; what it is told.
fn is_refused(at: &str, host: &str) -> Answer {
    has_status(at, host, "/", 429)
}

/// How many of these requests are answered, and how many refused; each on a connection of its own.
fn asked(at: &str, host: &str, count: usize) -> (usize, usize) {
    let statuses: Vec<u16> = (0..count).map(|_| ask(at, "/", &[("host", host)]).unwrap().status).collect();
    let of = |wanted: u16| statuses.iter().filter(|&&status| status == wanted).count();
    assert_eq!(of(200) + of(429), count, "{statuses:?}");
    (of(200), of(429))
}

/// What an answer says of itself.
fn error(answer: &Answer) -> Value {
    serde_json::from_str::<Value>(&answer.text).unwrap()["error"].take()
}

#[test]
fn each_client_is_bounded_at_a_listener_over_all_workers() {
    let platform = platform();
    let at = platform.http.clone();
    has_status(&at, "hello.localhost", "/", 200);
    platform.ok(&["listener", "create", "http", "--client-limit", "rate=1,burst=3"]);
    let refused = is_refused(&at, "hello.localhost");
    let error = error(&refused);
    assert_eq!(error["code"], "too_many_requests");
    assert_eq!(error["message"], "this client has sent more than 1 request a second to the listener http");
    assert_eq!(refused.header("retry-after"), "1");
    let began = Instant::now();
    let (let_in, refused) = asked(&at, "hello.localhost", 30);
    let most = 3 + began.elapsed().as_secs() as usize + 1;
    assert!(let_in <= most, "{let_in} of {most} were let in, {refused} refused");
    eventually("they are counted", || {
        let series = "skiff_listener_rejected_total{listener=\"http\"}";
        (sum(&platform.api, series) > refused as f64).then_some(())
    });
    platform.ok(&["listener", "create", "http", "--no-client-limit"]);
    eventually("nobody is refused any more", || (asked(&at, "hello.localhost", 10) == (10, 0)).then_some(()));
}

#[test]
fn a_rule_and_a_target_group_are_bounded_apart() {
    let platform = platform();
    let at = platform.http.clone();
    platform.ok(&["target-group", "create", "few", "--service", "hello", "--limit", "rate=1,burst=2"]);
    rule(&platform, "grouped", "10", "host=grouped.example.com", &["--forward", "few"]);
    rule(
        &platform,
        "ruled",
        "20",
        "host=ruled.example.com",
        &["--forward", "hello", "--limit", "rate=1,burst=2"],
    );
    for (host, message) in [
        ("grouped.example.com", "more than 1 request a second came to the target group default/few"),
        ("ruled.example.com", "more than 1 request a second came to the rule default/ruled"),
    ] {
        assert_eq!(error(&is_refused(&at, host))["message"], message);
        assert_eq!(asked(&at, "hello.localhost", 10), (10, 0), "the service itself has no limit");
    }
    rule(&platform, "ruled", "20", "host=ruled.example.com", &["--forward", "hello"]);
    platform.ok(&["target-group", "create", "few", "--service", "hello", "--no-limit"]);
    for host in ["grouped.example.com", "ruled.example.com"] {
        eventually("it has no limit any more", || (asked(&at, host, 10) == (10, 0)).then_some(()));
    }
}

/// A target of TCP that says `hi`, and ends when its client does; where it is.
fn greeting() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || {
                let _ = stream.write_all(b"hi");
                let _ = stream.read_to_end(&mut Vec::new());
            });
        }
    });
    target
}

/// A connection on which the target was heard; nothing where it is reset.
fn greeted(at: &str) -> Option<TcpStream> {
    let mut stream = TcpStream::connect(at).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut heard = [0; 2];
    stream.read_exact(&mut heard).ok()?;
    (heard == *b"hi").then_some(stream)
}

#[test]
fn connections_of_tcp_are_bounded_for_each_client() {
    let platform = Platform::start(&["--workers", "2"]);
    platform.ok(&["target-group", "create", "out", "--outside", &greeting(), "--protocol", "tcp"]);
    let port = free_port().to_string();
    let create = ["listener", "create", "db", "--port", &port, "--protocol", "tcp", "--forward", "out"];
    platform.ok(&[&create[..], &["--client-limit", "concurrent=1"]].concat());
    let at = format!("127.0.0.1:{port}");
    let first = eventually("a connection is open", || greeted(&at));
    assert!(greeted(&at).is_none(), "there is one already");
    drop(first);
    eventually("another may be opened", || greeted(&at));
}

#[test]
fn connections_of_tcp_are_bounded_for_each_target_group() {
    let platform = Platform::start(&["--workers", "2"]);
    let group = ["target-group", "create", "out", "--outside", &greeting(), "--protocol", "tcp"];
    platform.ok(&[&group[..], &["--limit", "concurrent=1"]].concat());
    let port = free_port().to_string();
    platform.ok(&["listener", "create", "db", "--port", &port, "--protocol", "tcp", "--forward", "out"]);
    let at = format!("127.0.0.1:{port}");
    let first = eventually("a connection is open", || greeted(&at));
    assert!(greeted(&at).is_none(), "there is one already");
    drop(first);
    eventually("another may be opened", || greeted(&at));
}

//! The outside: the host that the platform runs on is out of reach for guests, unless a rule names the very place.

use super::{GUESTS, is_remarked, run};
use crate::harness::{Platform, eventually};
use std::io::{Read, Write};
use std::net::{TcpListener, UdpSocket};

const DENIED: &str = "failed: access-denied";
const OPEN: [&str; 2] = ["--security-group", "open"];

/// A server of the host's, which gives back what each connection sends; its port.
fn echo_on_host() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut bytes = Vec::new();
            // Whoever breaks off is served no further.
            if stream.read_to_end(&mut bytes).is_ok() {
                _ = stream.write_all(&bytes);
            }
        }
    });
    port
}

/// The same for datagrams.
fn datagram_echo_on_host() -> u16 {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = socket.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let mut buffer = [0; 1 << 16];
        loop {
            let (count, remote) = socket.recv_from(&mut buffer).unwrap();
            _ = socket.send_to(&buffer[..count], remote);
        }
    });
    port
}

fn attempt(platform: &Platform, guest: &str, target: &str) -> String {
    run(platform, guest, &OPEN, &["send", target, "hello"]).pop().expect("it says something")
}

/// Waits until an attempt ends so.
fn ends(platform: &Platform, guest: &str, target: &str, end: &str) {
    eventually(&format!("{target} ends so: {end}"), || {
        (attempt(platform, guest, target) == end).then_some(())
    });
}

#[test]
fn the_host_is_out_of_reach_unless_a_rule_names_the_very_place() {
    let platform = Platform::start(&[]);
    let (port, api) = (echo_on_host(), platform.api.rsplit(':').next().unwrap().to_owned());
    let http = platform.http.rsplit(':').next().unwrap().to_owned();
    let (local, own_api, own_http) =
        (format!("127.0.0.1:{port}"), format!("127.0.0.1:{api}"), format!("127.0.0.1:{http}"));
    platform.ok(&["sg", "create", "open", "--rule", "all to 0.0.0.0/0", "--rule", "all to ::/0"]);
    let others = [format!("[::1]:{port}"), format!("[::ffff:127.0.0.1]:{port}"), format!("127.1.2.3:{port}")];
    for guest in GUESTS {
        for target in [&local, &own_api, &own_http] {
            assert_eq!(attempt(&platform, guest, target), DENIED, "{target}");
        }
        for target in &others {
            let said = attempt(&platform, guest, target);
            assert!([DENIED, "failed: invalid-argument"].contains(&said.as_str()), "{target}: {said}");
        }
        is_remarked(&platform, guest, &format!("skiff sg allow open \"tcp:{port} to 127.0.0.1/32\""));
    }
    platform.ok(&["sg", "allow", "open", "tcp", "to", "127.0.0.1"]);
    for guest in GUESTS {
        ends(&platform, guest, &local, "ended");
        // What the platform listens on takes a rule for it alone.
        assert_eq!(attempt(&platform, guest, &own_api), DENIED);
        assert_eq!(attempt(&platform, guest, &own_http), DENIED);
    }
    platform.ok(&["sg", "allow", "open", &format!("tcp:{api}"), "to", "127.0.0.1"]);
    for guest in GUESTS {
        // It is reached, and does not take this for a request.
        eventually("the door is open", || (attempt(&platform, guest, &own_api) != DENIED).then_some(()));
        assert_eq!(attempt(&platform, guest, &own_http), DENIED);
    }
}

#[test]
fn datagrams_to_the_host_take_a_rule_as_well() {
    let platform = Platform::start(&[]);
    let target = format!("127.0.0.1:{}", datagram_echo_on_host());
    platform.ok(&["sg", "create", "open", "--rule", "all to 0.0.0.0/0"]);
    let ask = |guest: &str| {
        run(&platform, guest, &OPEN, &["udp", &target, "hello", "5000"]).pop().expect("it says something")
    };
    for guest in GUESTS {
        assert_eq!(ask(guest), DENIED);
    }
    platform.ok(&["sg", "allow", "open", "udp", "to", "127.0.0.1"]);
    let answer = format!("received \"hello\" from {target}");
    for guest in GUESTS {
        eventually("it is answered", || (ask(guest) == answer).then_some(()));
    }
}

#[test]
fn what_was_denied_is_in_the_flow_log_once_with_the_rule_that_is_missing() {
    let platform = Platform::start(&["--workers", "1"]);
    let target = format!("127.0.0.1:{}", echo_on_host());
    platform.ok(&["sg", "create", "open", "--no-rules"]);
    for guest in GUESTS {
        assert_eq!(attempt(&platform, guest, &target), DENIED);
        let record = eventually("it is written down", || {
            let log = platform.ok(&["net", "flows", guest, "--rejected", "--output", "json"]);
            log.lines().next().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        });
        assert_eq!(
            (&record["verdict"], &record["direction"]),
            (&"REJECT".into(), &"egress".into()),
            "{record}"
        );
        assert_eq!((&record["remote"], &record["count"]), (&target.as_str().into(), &1.into()), "{record}");
        assert!(record["note"].as_str().unwrap().contains("skiff sg allow open"), "{record}");
    }
}

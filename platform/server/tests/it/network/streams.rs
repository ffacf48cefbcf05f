//! Streams between tasks: whole, in order, as `wasi:sockets` has them, and the same across workers as within one.

use super::{GUESTS, PORT, Server, run, run_detached, said, says, serve};
use crate::harness::{Platform, eventually};

/// Bytes that are sent in one go: far more than any buffer on the way holds, and more than a task of [`SMALL`] memory may.
const BYTES: u64 = 48 << 20;
const SMALL: [&str; 2] = ["--memory", "32MiB"];
/// Connections that one program has at once: each a socket, two streams and what WASI has to tell of them.
const MANY: usize = 300;

#[test]
fn two_tasks_talk_within_a_worker_and_across() {
    for workers in ["1", "2"] {
        let platform = Platform::start(&["--workers", workers]);
        for guest in GUESTS {
            // All of them on the same port: each has addresses of its own.
            let servers = serve(&platform, guest, &format!("{guest}-echo"), &format!("echo {PORT}"), &[]);
            for (client, server) in
                GUESTS.iter().flat_map(|client| servers.iter().map(move |to| (*client, to)))
            {
                talk(&platform, client, server);
            }
        }
    }
}

/// Both sides of a connection say the same of it.
fn talk(platform: &Platform, client: &str, server: &Server) {
    let target = server.target();
    let said = run(platform, client, &[], &["send", &target, "hello"]);
    let [connected, rest @ ..] = said.as_slice() else { panic!("{client} said nothing") };
    assert_eq!(rest, ["sent 5 bytes", "received \"hello\"", "ended"], "{connected}");
    let (local, remote) = connected.strip_prefix("connected ").unwrap().split_once(" to ").unwrap();
    assert_eq!(remote, target);
    assert!(local.starts_with("10.64.") && !local.starts_with(&format!("{}:", server.v4)), "{connected}");
    says(platform, &server.id, &format!("accepted {local} at {target}"));
    says(platform, &server.id, &format!("ended {local} after 5 bytes"));
}

#[test]
fn bytes_arrive_whole_whichever_way_they_go() {
    let platform = Platform::start(&[]);
    let bytes = BYTES.to_string();
    for guest in GUESTS {
        let (sink, source) = (format!("{guest}-sink"), format!("{guest}-source"));
        for server in serve(&platform, guest, &sink, &format!("sink {PORT}"), &SMALL) {
            for client in GUESTS {
                let said = run(&platform, client, &SMALL, &["pour", &server.target(), &bytes]);
                assert!(said[1].starts_with(&format!("sent {BYTES} bytes")), "{said:?}");
            }
            eventually("it has received all of both", || {
                let all = format!("received {BYTES} bytes");
                let received =
                    said(&platform, &server.id).iter().filter(|line| line.starts_with(&all)).count();
                (received == GUESTS.len()).then_some(())
            });
        }
        for server in serve(&platform, guest, &source, &format!("source {PORT} {BYTES}"), &SMALL) {
            for client in GUESTS {
                let said = run(&platform, client, &SMALL, &["drain", &server.target()]);
                assert!(said[1].starts_with(&format!("received {BYTES} bytes")), "{said:?}");
            }
        }
    }
}

#[test]
fn a_server_that_goes_away_resets_who_still_sends() {
    let platform = Platform::start(&[]);
    for guest in GUESTS {
        for server in serve(&platform, guest, &format!("{guest}-reject"), &format!("reject {PORT}"), &[]) {
            for client in GUESTS {
                let said = run(&platform, client, &[], &["pour", &server.target(), &BYTES.to_string()]);
                assert!(said.len() == 2 && said[1].starts_with("broke: "), "{client} to {guest}: {said:?}");
            }
        }
    }
}

#[test]
fn a_task_that_is_stopped_resets_its_connections() {
    let platform = Platform::start(&[]);
    for guest in GUESTS {
        for server in serve(&platform, guest, &format!("{guest}-echo"), &format!("echo {PORT}"), &[]) {
            let clients = GUESTS
                .map(|client| run_detached(&platform, client, &[], &["stay", &server.target(), "hello"]));
            for client in &clients {
                says(&platform, client, "answered \"hello\"");
            }
            platform.ok(&["task", "stop", &server.id]);
            for client in &clients {
                says(&platform, client, "broke: ");
            }
        }
    }
}

#[test]
fn who_does_not_listen_refuses_and_who_is_not_there_is_unreachable() {
    let platform = Platform::start(&[]);
    let servers = serve(&platform, "sockets", "echo", &format!("echo {PORT}"), &[]);
    for client in GUESTS {
        for server in &servers {
            let closed = format!("{}:{}", server.v4, PORT + 1);
            assert_eq!(run(&platform, client, &[], &["connect", &closed]), ["failed: connection-refused"]);
            // It listens in IPv4 alone.
            let other = format!("[{}]:{PORT}", server.v6);
            assert_eq!(run(&platform, client, &[], &["connect", &other]), ["failed: connection-refused"]);
        }
        let nobody = format!("10.127.255.250:{PORT}");
        assert_eq!(run(&platform, client, &[], &["connect", &nobody]), ["failed: remote-unreachable"]);
        for wrong in ["224.0.0.1:80", "0.0.0.0:80", "10.64.0.16:0"] {
            assert_eq!(
                run(&platform, client, &[], &["connect", wrong]),
                ["failed: invalid-argument"],
                "{wrong}"
            );
        }
    }
}

#[test]
fn no_more_wait_to_be_accepted_than_there_is_room_for() {
    let platform = Platform::start(&[]);
    for guest in GUESTS {
        let servers = serve(&platform, guest, &format!("{guest}-mute"), &format!("mute {PORT} 4"), &[]);
        // One for each: what waits to be accepted keeps its place, also when its client is gone.
        for (client, server) in GUESTS.iter().zip(&servers) {
            let said = run(&platform, client, &[], &["many", &server.target(), "10"]);
            assert_eq!(said, ["failed after 4: connection-refused"], "{client} to {guest}");
        }
    }
}

#[test]
fn many_connections_are_open_at_once() {
    let platform = Platform::start(&[]);
    let (count, all) = (MANY.to_string(), [format!("{MANY} open"), format!("{MANY} answered")]);
    for guest in GUESTS {
        for server in serve(&platform, guest, &format!("{guest}-echo"), &format!("echo {PORT}"), &[]) {
            for client in GUESTS {
                let said = run(&platform, client, &[], &["many", &server.target(), &count]);
                assert_eq!(said, all, "{client} to {guest}");
            }
        }
    }
}

#[test]
fn who_waits_may_give_up() {
    let platform = Platform::start(&[]);
    let servers = serve(&platform, "sockets", "echo", &format!("echo {PORT}"), &[]);
    for (client, server) in GUESTS.iter().zip(&servers) {
        let said = run(&platform, client, &[], &["wait", &server.target(), "50"]);
        assert_eq!(said[1], "nothing within 50 ms", "{said:?}");
    }
}

#[test]
fn a_task_reaches_itself_by_its_own_address() {
    let platform = Platform::start(&[]);
    let servers = serve(&platform, "sockets", "echo", &format!("echo {PORT}"), &[]);
    for client in GUESTS {
        let said = run(&platform, client, &[], &["loop", &servers[0].target()]);
        assert_eq!(said.last().unwrap(), "received \"hello\"", "{said:?}");
    }
}

#[test]
fn a_task_binds_to_its_own_addresses_alone() {
    let platform = Platform::start(&[]);
    let addresses =
        ["0.0.0.0:7000", "0.0.0.0:7000", "[::]:7000", "127.0.0.1:7001", "10.64.0.1:7002", "0.0.0.0:0"];
    let expected = [
        "listening on 0.0.0.0:7000",
        "failed: address-in-use",
        "listening on [::]:7000",
        "failed: address-not-bindable",
        "failed: address-not-bindable",
    ];
    for guest in GUESTS {
        let said = run(&platform, guest, &[], &[&["bind"], &addresses[..]].concat());
        assert_eq!(said[..expected.len()], expected, "{guest}");
        let any = said[expected.len()].strip_prefix("listening on 0.0.0.0:").unwrap();
        assert!(any.parse::<u16>().unwrap() >= 49_152, "{guest}: {any}");
    }
}

#[test]
fn options_are_kept_and_zero_is_refused() {
    let platform = Platform::start(&[]);
    for guest in GUESTS {
        assert_eq!(
            run(&platform, guest, &[], &["options"]),
            [
                "keep-alive-enabled: false set, true set, is true",
                "keep-alive-idle-time: 0 invalid-argument, 5000000000 set, is 5000000000",
                "keep-alive-interval: 0 invalid-argument, 7000000000 set, is 7000000000",
                "keep-alive-count: 0 invalid-argument, 9 set, is 9",
                "hop-limit: 0 invalid-argument, 42 set, is 42",
                "receive-buffer-size: 0 invalid-argument, 32768 set, is 32768",
                "send-buffer-size: 0 invalid-argument, 32768 set, is 32768",
                "listen-backlog-size: 0 invalid-argument",
                "listen-backlog-size: 5 set",
                "local-address: invalid-state",
                "remote-address: invalid-state",
            ],
            "{guest}"
        );
    }
}

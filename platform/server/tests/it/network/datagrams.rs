//! Datagrams between tasks.

use super::{GUESTS, PORT, run, said as said_by, serve};
use crate::harness::{Platform, eventually};

#[test]
fn datagrams_are_answered_within_a_worker_and_across() {
    for workers in ["1", "2"] {
        let platform = Platform::start(&["--workers", workers]);
        for guest in GUESTS {
            for server in serve(&platform, guest, &format!("{guest}-echo"), &format!("udp-echo {PORT}"), &[])
            {
                for client in GUESTS {
                    let target = server.target();
                    let said = run(&platform, client, &[], &["udp", &target, "hello", "10000"]);
                    let [bound, rest @ ..] = said.as_slice() else { panic!("{client} said nothing") };
                    let answer = format!("received \"hello\" from {target}");
                    assert_eq!(rest, ["sends 5 bytes", &answer], "{client} to {guest}");
                    let port = bound.strip_prefix("bound 0.0.0.0").unwrap();
                    eventually("the server says the same", || {
                        let is_it =
                            |line: &String| line.starts_with("received 5 bytes") && line.ends_with(port);
                        said_by(&platform, &server.id).iter().any(is_it).then_some(())
                    });
                }
            }
        }
    }
}

#[test]
fn a_datagram_to_nobody_is_lost_without_a_word() {
    let platform = Platform::start(&[]);
    let servers = serve(&platform, "sockets", "echo", &format!("udp-echo {PORT}"), &[]);
    for client in GUESTS {
        for server in &servers {
            let nobody = format!("{}:{}", server.v4, PORT + 1);
            let said = run(&platform, client, &[], &["udp", &nobody, "hello", "50"]);
            assert_eq!(said[1..], ["sends 5 bytes", "nothing within 50 ms"], "{client}");
        }
    }
}

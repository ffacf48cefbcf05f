//! Names of services and tasks.

use super::{GUESTS, PORT, Server, run, serve, servers};
use crate::harness::{Platform, eventually};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// What a program says of a name that leads to these tasks.
fn resolved(servers: &[Server]) -> String {
    let (mut v4, mut v6): (Vec<_>, Vec<_>) = servers.iter().map(|server| (server.v4, server.v6)).unzip();
    v4.sort_unstable();
    v6.sort_unstable();
    let texts = v4.iter().map(ToString::to_string).chain(v6.iter().map(ToString::to_string));
    format!("resolved {}", texts.collect::<Vec<_>>().join(" "))
}

#[test]
fn a_name_leads_to_the_tasks_of_a_service_that_are_ready() {
    let platform = Platform::start(&[]);
    let before = serve(&platform, "sockets", "echo", &format!("echo {PORT}"), &[]);
    let look_up = |client: &str, name: &str| run(&platform, client, &[], &["resolve", name]);
    for client in GUESTS {
        eventually("the name leads to both", || {
            (look_up(client, "echo.default.internal") == [resolved(&before)]).then_some(())
        });
        for server in &before {
            let one = resolved(std::slice::from_ref(server));
            assert_eq!(look_up(client, &format!("{}.task.internal", server.id)), [one]);
        }
        assert_eq!(look_up(client, "nobody.default.internal"), ["failed: name-unresolvable"]);
        assert_eq!(look_up(client, "echo.other.internal"), ["failed: name-unresolvable"]);
        assert_eq!(look_up(client, "10.64.0.99"), ["resolved 10.64.0.99"]);
        let said = run(&platform, client, &[], &["send", &format!("echo.default.internal:{PORT}"), "hello"]);
        assert_eq!(said[1..], ["sent 5 bytes", "received \"hello\"", "ended"], "{client}");
    }
    platform.ok(&["scale", "echo", "1"]);
    let after = eventually("one is left", || Some(servers(&platform, "echo")).filter(|left| left.len() == 1));
    for client in GUESTS {
        eventually("the name leads to that one alone", || {
            (look_up(client, "echo.default.internal") == [resolved(&after)]).then_some(())
        });
    }
    platform.ok(&["rm", "echo"]);
    for client in GUESTS {
        eventually("the name is gone", || {
            (look_up(client, "echo.default.internal") == ["failed: name-unresolvable"]).then_some(())
        });
    }
}

#[test]
fn an_address_stays_with_its_task_and_is_not_given_again() {
    let mut platform = Platform::start(&[]);
    platform.deploy("hello", "hello", &["--desired", "2"]);
    let addresses = |platform: &Platform, service: &str| -> BTreeMap<String, Ipv4Addr> {
        servers(platform, service).into_iter().map(|server| (server.id, server.v4)).collect()
    };
    let (before, lost) = (addresses(&platform, "hello"), {
        serve(&platform, "sockets", "echo", &format!("echo {PORT}"), &[]);
        addresses(&platform, "echo")
    });
    platform.kill();
    let platform = platform.restart();
    eventually("the tasks that outlive a platform have what they had", || {
        (addresses(&platform, "hello") == before).then_some(())
    });
    // The programs that ran are lost, and others come in their place.
    let after = eventually("others run in their place", || {
        let now = addresses(&platform, "echo");
        (now.len() == lost.len() && now.keys().all(|id| !lost.contains_key(id))).then_some(now)
    });
    let given: Vec<&Ipv4Addr> = before.values().chain(lost.values()).collect();
    for address in after.values() {
        assert!(!given.contains(&address), "{address} was given again");
    }
}

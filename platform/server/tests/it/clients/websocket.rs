//! WebSockets as browsers have them: PyPI's websockets at both ends, and the client that Node has of its own.

use super::program::{Server, python, run, script};
use super::{HOST, Listeners, tools};
use crate::harness::{Platform, free_port};
use std::path::Path;
use std::process::Command;

const SERVER: &str = "websocket_server.py";
const CLIENT: &str = "websocket_client.py";
const NODE_CLIENT: &str = "websocket_client.mjs";

/// Has the client do its checks with a host, at both listeners.
fn check(program: &Path, listeners: &Listeners, host: &str, checks: &[&str]) {
    for (origin, port) in
        [(format!("ws://{host}"), listeners.clear), (format!("wss://{host}"), listeners.secure)]
    {
        let mut command = python(program, CLIENT);
        command.arg(&origin).args(["--to", &port.to_string()]);
        if origin.starts_with("wss:") {
            command.arg("--ca").arg(&listeners.authority);
        }
        command.args(checks);
        println!("{origin}\n{}", run(command));
    }
}

/// A platform with listeners that lead to a server of WebSockets outside.
fn leading_to(target: &str) -> (Platform, Listeners) {
    let platform = Platform::start(&[]);
    platform.ok(&["target-group", "create", "talks", "--outside", target]);
    let listeners = Listeners::leading_to(&platform, "talks");
    (platform, listeners)
}

#[test]
fn a_websocket_crosses_whole_in_clear_and_by_tls() {
    let Some(program) = tools::python() else { return };
    let server = Server::start(&program, SERVER);
    let (_platform, listeners) = leading_to(&server.target());
    check(&program, &listeners, HOST, &["answered", "talks"]);
}

#[test]
fn so_does_one_of_nodes_own_client() {
    let (Some(program), Some(options)) = (tools::python(), tools::node_options()) else { return };
    let server = Server::start(&program, SERVER);
    let (_platform, listeners) = leading_to(&server.target());
    check(&program, &listeners, HOST, &["answered"]);
    for origin in
        [format!("ws://127.0.0.1:{}", listeners.clear), format!("wss://127.0.0.1:{}", listeners.secure)]
    {
        let mut command = Command::new("node");
        command.env("NODE_EXTRA_CA_CERTS", &listeners.authority);
        command.args(options).arg(script(NODE_CLIENT)).arg(&origin);
        println!("{origin}\n{}", run(command));
    }
}

#[test]
fn a_daemon_may_speak_it_and_who_can_not_says_so() {
    let Some(program) = tools::python() else { return };
    let away = format!("127.0.0.1:{}", free_port());
    let (platform, listeners) = leading_to(&away);
    platform.deploy("http-daemon", "app", &["--port", "8080"]);
    platform.deploy("hello", "hello", &[]);
    check(&program, &listeners, "app.localhost", &["chats"]);
    check(&program, &listeners, "hello.localhost", &["answered_501"]);
    check(&program, &listeners, HOST, &["answered_502"]);
}

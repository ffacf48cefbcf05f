//! gRPC's own library (PyPI's grpcio) at both ends: every kind of call, and what the load balancer answers itself.

use super::program::{Server, python, run};
use super::{HOST, Listeners, tools};
use crate::balancer::tls::Authority;
use crate::harness::{Platform, eventually};
use std::path::Path;

const SERVER: &str = "grpc_server.py";
const CLIENT: &str = "grpc_client.py";
/// A target group of servers of gRPC, but for where they are.
const CREATE: [&str; 5] = ["target-group", "create", "calls", "--protocol", "grpc"];

/// Has the client do its checks at an address; by TLS, if it is told whom to trust.
fn check(program: &Path, at: &str, host: &str, authority: Option<&Path>, checks: &[&str]) {
    let mut command = python(program, CLIENT);
    command.args([at, "--authority", host]);
    if let Some(authority) = authority {
        command.arg("--ca").arg(authority);
    }
    command.args(checks);
    println!("{}", run(command));
}

/// The same at both listeners.
fn check_at_both(program: &Path, listeners: &Listeners, checks: &[&str]) {
    check(program, &format!("127.0.0.1:{}", listeners.clear), HOST, None, checks);
    check(program, &format!("127.0.0.1:{}", listeners.secure), HOST, Some(&listeners.authority), checks);
}

#[test]
fn calls_of_grpcio_of_every_kind_are_answered_in_clear_and_by_tls() {
    let Some(program) = tools::python() else { return };
    let server = Server::start(&program, SERVER);
    let platform = Platform::start(&[]);
    platform.ok(&[&CREATE[..], &["--outside", &server.target()]].concat());
    let listeners = Listeners::leading_to(&platform, "calls");
    check_at_both(&program, &listeners, &["answered", "calls"]);
}

#[test]
fn grpcio_is_told_in_its_own_words_what_the_load_balancer_answers() {
    let Some(program) = tools::python() else { return };
    let server = Server::start(&program, SERVER);
    let platform = Platform::start(&[]);
    let outside = ["--outside", &server.target()];
    platform.ok(&[&CREATE[..], &outside, &["--limit", "concurrent=1"]].concat());
    let listeners = Listeners::leading_to(&platform, "calls");
    check_at_both(&program, &listeners, &["exhausted"]);
    platform.ok(&[&CREATE[..], &outside, &["--no-limit"]].concat());
    check_at_both(&program, &listeners, &["answered"]);
    // No group is at fault here, so it is HTTP's words.
    check(&program, &platform.http, "nobody.example.com", None, &["unrouted"]);
    server.end();
    check_at_both(&program, &listeners, &["unavailable"]);

    let server = Server::start(&program, SERVER);
    let create = ["target-group", "create", "calls", "--protocol", "http1", "--outside", &server.target()];
    platform.ok(&create);
    check_at_both(&program, &listeners, &["incompatible"]);
}

#[test]
fn a_server_of_grpcio_is_checked_by_the_health_service_of_grpc() {
    let Some(program) = tools::python() else { return };
    let server = Server::start(&program, SERVER);
    let platform = Platform::start(&[]);
    let check = ["--health-check", "/grpc.health.v1.Health/Check", "--matcher", "0"];
    let often = ["--health-interval", "1s"];
    platform.ok(&[&CREATE[..], &["--outside", &server.target()], &check, &often].concat());
    let _listeners = Listeners::leading_to(&platform, "calls");
    let is = |status: &str| {
        eventually(&format!("it is {status}"), || {
            let targets = platform.json(&["target-group", "targets", "calls"]);
            (targets[0]["status"] == status).then_some(())
        });
    };
    is("healthy");
    server.end();
    is("unhealthy");
}

#[test]
fn a_server_of_grpcio_whose_certificate_is_not_trusted_is_sent_nothing() {
    // The platform trusts public authorities alone: what is answered by TLS is tested where that can be changed, in
    // `edge/tests/it/grpcio.rs`.
    let Some(program) = tools::python() else { return };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let issued = Authority::new(folder.path()).issue("server", &["127.0.0.1"]);
    let tls = ["--certificate", &issued.certificate, "--private-key", &issued.private_key];
    let server = Server::start_with(&program, SERVER, &tls);
    let platform = Platform::start(&[]);
    platform.ok(&[&CREATE[..], &["--tls", "--outside", &server.target()]].concat());
    let shown = platform.json(&["target-group", "show", "calls"]);
    assert_eq!((&shown["protocol"], &shown["tls"]), (&"grpc".into(), &true.into()), "{shown}");
    let listeners = Listeners::leading_to(&platform, "calls");
    check_at_both(&program, &listeners, &["untrusted"]);

    // Of one in clear nobody asks for a certificate.
    let in_clear = Server::start(&program, SERVER);
    platform.ok(&[&CREATE[..], &["--no-tls", "--outside", &in_clear.target()]].concat());
    check_at_both(&program, &listeners, &["answered"]);
}

//! gRPC's own library (PyPI's grpcio) at both ends, where the target speaks TLS and who made its certificate is trusted.
//!
//! The scripts are those of the server's tests, and so is what becomes of a test for want of Python. The load balancer lives on
//! the test's own thread, which nothing may block while it is asked.

#[expect(dead_code, reason = "the server's tests alone need them all")]
#[path = "../../../server/tests/it/clients/tools.rs"]
mod tools;

use crate::support::*;
use crate::tls_targets::{Authority, NAME, bench};
use skiff_edge::Limits;
use skiff_types::TargetProtocol;
use std::path::Path;
use std::process::Stdio;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// Where the scripts lie.
const CLIENTS: &str = "../server/tests/clients";
/// The host that is asked for, which is not what the certificate is for.
const HOST: &str = "calls.example.com";

/// A command that runs a script, and ends with the test.
fn script(program: &Path, name: &str) -> Command {
    let mut command = Command::new(program);
    command.env("PYTHONDONTWRITEBYTECODE", "1").env("PYTHONUTF8", "1").kill_on_drop(true);
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join(CLIENTS).join(name));
    command
}

/// A server with a certificate for this name, and its port.
async fn serve(program: &Path, authority: &Authority, name: &str) -> (Child, u16) {
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = authority.issue(name);
    let mut command = script(program, "grpc_server.py");
    for (option, text) in [("--certificate", certificate.pem()), ("--private-key", key.serialize_pem())] {
        let file = folder.path().join(option);
        std::fs::write(&file, text).unwrap();
        command.arg(option).arg(file);
    }
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("Python is there");
    let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
    // It has read its files by then.
    let line = tokio::time::timeout(DEADLINE, lines.next_line()).await.expect("it says something").unwrap();
    let port = line.as_deref().and_then(|line| line.strip_prefix("listening on ")?.parse().ok());
    (child, port.unwrap_or_else(|| panic!("it says {line:?}")))
}

#[test]
fn calls_of_grpcio_of_every_kind_are_answered_by_a_target_of_tls() {
    let Some(program) = tools::python() else { return };
    run(async {
        let authority = Authority::new("one");
        let (_server, port) = serve(&program, &authority, NAME).await;
        let bench = bench(Limits::default(), TargetProtocol::Grpc, NAME, port);
        bench.edge.trust_in(authority.trusted());
        let mut client = script(&program, "grpc_client.py");
        client.arg(bench.address.to_string()).args(["--authority", HOST, "answered", "calls"]);
        let output = client.stdin(Stdio::null()).output().await.expect("Python is there");
        let [said, complained] =
            [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        assert!(output.status.success(), "{said}{complained}");
    });
}

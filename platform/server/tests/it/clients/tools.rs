//! The clients' programs, and what becomes of a test for want of one: it says how to come by it and does nothing more.
//!
//! `cargo xtask test` installs those that PyPI has, and repeats at its end what was skipped.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Where `xtask` installs what PyPI has.
const CLIENTS: &str = "../../target/clients";
/// Written there last, with what is installed.
const INSTALLED: &str = "requirements.txt";
/// Names the file that lists what was skipped.
const SKIPPED: &str = "SKIFF_SKIPPED";
/// Whether Node knows WebSockets.
const HAS_WEBSOCKET: &str = "process.exit(typeof WebSocket === 'function' ? 0 : 1)";

/// Python, with the modules of `tests/clients/requirements.txt`.
pub(super) fn python() -> Option<PathBuf> {
    let clients = Path::new(env!("CARGO_MANIFEST_DIR")).join(CLIENTS);
    let (python, installed) = (clients.join("bin/python"), clients.join(INSTALLED));
    if python.is_file() && installed.is_file() {
        return Some(python);
    }
    let how = "run `cargo xtask test`, which installs it with Python 3.10 or later and its module venv (Debian: \
               `apt-get install python3-venv`), from PyPI";
    skip("boto3, awscli, grpcio and websockets for Python", how);
    None
}

/// The folder of that Python's programs, the AWS CLI among them.
pub(super) fn programs() -> Option<PathBuf> {
    Some(python()?.parent()?.to_owned())
}

/// Whether the load generator of nghttp2 is there.
pub(super) fn has_h2load() -> bool {
    let found = is_there("h2load", &["--version"]);
    if !found {
        skip("h2load", "Debian: `apt-get install nghttp2-client`");
    }
    found
}

/// Whether curl is there, with HTTP/2.
pub(super) fn has_curl() -> bool {
    let version = Command::new("curl").arg("--version").output();
    let found = version.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains(" HTTP2 "));
    if !found {
        skip("curl with HTTP/2", "Debian: `apt-get install curl`");
    }
    found
}

/// What Node must be told to know WebSockets.
pub(super) fn node_options() -> Option<&'static [&'static str]> {
    const OPTIONS: [&[&str]; 2] = [&[], &["--experimental-websocket"]];
    let knows = |options: &[&str]| is_there("node", &[options, &["-e", HAS_WEBSOCKET]].concat());
    let found = OPTIONS.into_iter().find(|options| knows(options));
    if found.is_none() {
        skip("Node with a WebSocket", "take version 22 or later");
    }
    found
}

fn is_there(program: &str, arguments: &[&str]) -> bool {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// Says that the test that runs on this thread is skipped, and why.
fn skip(what: &str, how: &str) {
    let thread = std::thread::current();
    let sentence = format!("{} is skipped for want of {what}: {how}", thread.name().unwrap_or("a test"));
    // Not by `println!`, which of a test that succeeds nobody sees.
    let _ = writeln!(std::io::stderr(), "{sentence}");
    if let Some(file) = std::env::var_os(SKIPPED) {
        let file = File::options().create(true).append(true).open(file);
        // In one piece, for other tests write there too.
        file.and_then(|mut file| file.write_all(format!("{sentence}\n").as_bytes()))
            .expect("a writable file");
    }
}

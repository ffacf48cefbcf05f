//! Clients that others wrote, against the whole platform: `curl`, `h2load`, a WebSocket as browsers have it, gRPC's own
//! library, boto3 and the AWS CLI. What they do is theirs; the tests say what they are to do, and what must come of it.
//!
//! Those in Python, and the servers that they talk to, lie in `tests/clients`. A tool that is missing is said, with how to
//! come by it ([`tools`]). Whatever is started ends with its test, and each client has a bound of its own on how long it waits.

mod curl;
mod examples;
mod grpc;
mod h2load;
mod outside;
mod program;
mod s3;
mod thumbnails;
mod tools;
mod websocket;

use crate::balancer::tls::{Authority, import, listen};
use crate::harness::{Platform, free_port};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The host that a server outside is asked for.
const HOST: &str = "target.example.com";
/// Whom the certificate is for.
const NAMES: [&str; 4] = [HOST, "app.localhost", "hello.localhost", "127.0.0.1"];

/// More than any of these tests uses, so that no quota of the task is what is seen.
const AMPLE: [&str; 6] = ["--cpu", "4096", "--memory", "1GiB", "--concurrency", "500"];

/// Two listeners that forward to the same target group what no service takes.
struct Listeners {
    /// The port of the one in clear.
    clear: u16,
    /// That of the one of https.
    secure: u16,
    /// The certificate of who vouches for its own.
    authority: PathBuf,
}

impl Listeners {
    fn leading_to(platform: &Platform, group: &str) -> Self {
        let forward = ["--forward", group];
        let clear = free_port();
        let port = clear.to_string();
        platform.ok(&[&["listener", "create", "clear", "--port", &port][..], &forward].concat());
        let authority = Authority::new(platform.dir());
        import(platform, "clients", &authority.issue("clients", &NAMES));
        let secure = listen(platform, "secure", "clients", &forward);
        Self { clear, secure, authority: authority.file() }
    }
}

/// An access key, as a client of S3 has it.
struct AccessKey {
    id: String,
    secret: String,
}

impl AccessKey {
    /// One that acts as a role.
    fn of(platform: &Platform, role: &str) -> Self {
        let key = platform.json(&["key", "create", "--role", role]);
        let field =
            |name: &str| key[name].as_str().unwrap_or_else(|| panic!("a key has its {name}")).to_owned();
        Self { id: field("id"), secret: field("secret") }
    }

    /// Where clients of S3 look for it; and no other settings of whoever runs the tests.
    fn give(&self, command: &mut Command) {
        command.env("AWS_ACCESS_KEY_ID", &self.id).env("AWS_SECRET_ACCESS_KEY", &self.secret);
        command.env("AWS_CONFIG_FILE", "/dev/null").env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null");
        command.env("NO_PROXY", "*").env_remove("AWS_PROFILE").env_remove("AWS_SESSION_TOKEN");
    }
}

/// A file of the examples.
fn example(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(path)
}

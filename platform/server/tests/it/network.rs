//! The virtual network as its users meet it: tasks that talk, by address and by name, within a worker and across; rules that
//! hold at once; and what is seen of it all.
//!
//! The programs are `sockets` and `sockets-p3`, which do as their script says and print a line for each thing that happened:
//! the same lines, whichever generation of WASI they are on. Each service has two tasks: with two workers they live in one
//! each, so that a client that asks both has asked one beside it and one across.
//!
//! Daemons are the examples `http-daemon` and `kv`; `attacker` tries to get out, and `web` is a service that needs a database.

mod attacks;
mod daemons;
mod datagrams;
mod forward;
mod names;
mod outside;
mod resp;
mod rules;
mod seen;
mod streams;
mod web_and_db;

use crate::harness::{Platform, eventually, free_port, guest_path};
use serde_json::Value;
use std::net::{Ipv4Addr, Ipv6Addr};

/// The same program on either generation of WASI.
const GUESTS: [&str; 2] = ["sockets", "sockets-p3"];
/// Where servers listen: all of them.
const PORT: u16 = 7000;
/// Tasks of a service.
const TASKS: usize = 2;

/// A task that serves.
struct Server {
    id: String,
    v4: Ipv4Addr,
    v6: Ipv6Addr,
}

impl Server {
    /// Where it listens.
    fn target(&self) -> String {
        format!("{}:{PORT}", self.v4)
    }
}

/// Deploys a program as a service, and waits until all its tasks listen.
fn serve(platform: &Platform, guest: &str, name: &str, script: &str, arguments: &[&str]) -> Vec<Server> {
    let (script, desired) = (format!("SCRIPT={script}"), TASKS.to_string());
    platform.deploy(guest, name, &[&["--env", &script, "--desired", &desired], arguments].concat());
    let servers = servers(platform, name);
    assert_eq!(servers.len(), TASKS);
    for server in &servers {
        eventually("it listens", || {
            let said = said(platform, &server.id);
            said.iter().any(|line| line.starts_with("listening") || line.starts_with("bound")).then_some(())
        });
    }
    servers
}

/// The tasks of a service that run.
fn servers(platform: &Platform, service: &str) -> Vec<Server> {
    let tasks = platform.json(&["task", "ls", "--service", service, "--status", "RUNNING"]);
    let text =
        |task: &Value, key: &str| task[key].as_str().unwrap_or_else(|| panic!("{key} in {task}")).to_owned();
    let server = |task: &Value| Server {
        id: text(task, "id"),
        v4: text(task, "ipv4").parse().unwrap(),
        v6: text(task, "ipv6").parse().unwrap(),
    };
    tasks.as_array().unwrap().iter().map(server).collect()
}

/// Runs a program to its end; the lines that it printed.
fn run(platform: &Platform, guest: &str, arguments: &[&str], script: &[&str]) -> Vec<String> {
    let path = guest_path(guest);
    let command = [&["run", path.to_str().unwrap()], arguments, &["--"], script].concat();
    platform.ok(&command).lines().map(str::to_owned).collect()
}

/// Lets a program run; its id.
fn run_detached(platform: &Platform, guest: &str, arguments: &[&str], script: &[&str]) -> String {
    let path = guest_path(guest);
    let command = [&["run", path.to_str().unwrap(), "--detach"], arguments, &["--"], script].concat();
    platform.ok(&command).trim().to_owned()
}

/// What a task, or all of a service or family, printed.
fn said(platform: &Platform, source: &str) -> Vec<String> {
    log(platform, source, "stdout")
}

/// What Skiff remarked in their logs.
fn remarked(platform: &Platform, source: &str) -> Vec<String> {
    log(platform, source, "skiff")
}

fn log(platform: &Platform, source: &str, stream: &str) -> Vec<String> {
    let output = platform.run(&["logs", source, "--output", "json"]);
    let text = String::from_utf8(output.stdout).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let of_stream = lines.filter(|line| line["stream"] == stream);
    of_stream.map(|line| line["text"].as_str().unwrap().to_owned()).collect()
}

/// Waits until a task, or one of a service or family, has printed a line that begins so; the line.
fn says(platform: &Platform, source: &str, beginning: &str) -> String {
    eventually(&format!("{source} says {beginning:?}"), || {
        said(platform, source).into_iter().find(|line| line.starts_with(beginning))
    })
}

/// Waits until Skiff has remarked something that contains a text.
fn is_remarked(platform: &Platform, source: &str, text: &str) {
    eventually(&format!("{text:?} is remarked of {source}"), || {
        remarked(platform, source).iter().any(|line| line.contains(text)).then_some(())
    });
}

/// A task as it is shown.
fn shown(platform: &Platform, id: &str) -> Value {
    platform.json(&["task", "show", id])
}

/// Waits until a task is shown with that at a key.
fn is_shown(platform: &Platform, id: &str, key: &str, wanted: &str) -> Value {
    eventually(&format!("{key} of {id} is {wanted}"), || {
        Some(shown(platform, id)).filter(|task| task[key] == *wanted)
    })
}

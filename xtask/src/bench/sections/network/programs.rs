//! Programs that talk over a platform's network: started, stopped, and heard.

use crate::bench::setup::guest;
use crate::platform::Platform;
use anyhow::{Context, bail};
use serde_json::Value;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Where all servers listen.
pub(super) const PORT: u16 = 7_000;
/// How long something may take to happen that is waited for.
const PATIENCE: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(20);

/// A task of a service, that listens.
pub(super) struct Server {
    id: String,
    ipv4: String,
}

impl Server {
    /// `host:port`.
    pub(super) fn target(&self) -> String {
        format!("{}:{PORT}", self.ipv4)
    }
}

/// Deploys a program that does as its script says, and waits until all its tasks listen.
pub(super) fn serve(
    platform: &Platform,
    program: &str,
    name: &str,
    script: &str,
    arguments: &[&str],
) -> anyhow::Result<Vec<Server>> {
    let (path, script) = (guest(program), format!("SCRIPT={script}"));
    let deploy = ["deploy", &path.to_string_lossy(), "--name", name, "--env", &script];
    platform.skiff_output(&[&deploy[..], arguments].concat())?;
    let tasks = json(platform, &["task", "ls", "--service", name, "--status", "RUNNING"])?;
    let server = |task: &Value| Some(Server { id: text(task, "id")?, ipv4: text(task, "ipv4")? });
    let servers: Option<Vec<Server>> =
        tasks.as_array().map(Vec::as_slice).unwrap_or_default().iter().map(server).collect();
    let servers = servers.filter(|servers| !servers.is_empty());
    let servers = servers.with_context(|| format!("{name} has no tasks with addresses: {tasks}"))?;
    for server in &servers {
        hear(platform, &server.id, "listening", 0)?;
    }
    Ok(servers)
}

/// Runs a program to its end; what it printed.
pub(super) fn run(
    platform: &Platform,
    program: &str,
    arguments: &[&str],
    script: &[&str],
) -> anyhow::Result<String> {
    let path = guest(program);
    platform.skiff_output(&[&["run", &path.to_string_lossy()], arguments, &["--"], script].concat())
}

/// Lets a program run; its task's id.
pub(super) fn start(
    platform: &Platform,
    program: &str,
    arguments: &[&str],
    script: &[&str],
) -> anyhow::Result<String> {
    Ok(run(platform, program, &[&["--detach"], arguments].concat(), script)?.trim().to_owned())
}

/// Stops a task, and waits until it has ended.
pub(super) fn stop(platform: &Platform, task: &str) -> anyhow::Result<()> {
    platform.skiff_output(&["task", "stop", task])?;
    let asked = Instant::now();
    while json(platform, &["task", "show", task])?["status"] != "STOPPED" {
        if asked.elapsed() > PATIENCE {
            bail!("{task} does not stop");
        }
        std::thread::sleep(POLL);
    }
    Ok(())
}

/// Waits until a task has printed a line that begins so, not before a time; when it did. Times are in milliseconds since
/// 1970.
///
/// # Errors
/// If it prints that it failed, or nothing of the kind in time.
pub(super) fn hear(platform: &Platform, task: &str, beginning: &str, since_ms: u64) -> anyhow::Result<u64> {
    let began = Instant::now();
    loop {
        // A task that has printed nothing yet may have no log.
        let log = platform.skiff_output(&["logs", task, "--output", "json"]).unwrap_or_default();
        for line in log.lines() {
            let line: Value = serde_json::from_str(line).with_context(|| format!("a log has {line:?}"))?;
            let (said, at_ms) = (line["text"].as_str().unwrap_or_default(), line["at_ms"].as_u64());
            let Some(at_ms) = at_ms.filter(|at_ms| *at_ms >= since_ms && line["stream"] == "stdout") else {
                continue;
            };
            if said.starts_with(beginning) {
                return Ok(at_ms);
            }
            if said.starts_with("failed") {
                bail!("{task} {said}");
            }
        }
        if began.elapsed() > PATIENCE {
            let last = log.lines().last().unwrap_or("nothing");
            bail!("{task} never said {beginning:?}; its log ends with {last}");
        }
        std::thread::sleep(POLL);
    }
}

/// Now, in milliseconds since 1970, as logs have it.
pub(super) fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_millis() as u64)
}

fn json(platform: &Platform, arguments: &[&str]) -> anyhow::Result<Value> {
    let text = platform.skiff_output(&[arguments, &["--output", "json"]].concat())?;
    serde_json::from_str(&text).with_context(|| format!("`skiff {}` printed {text:?}", arguments.join(" ")))
}

fn text(value: &Value, key: &str) -> Option<String> {
    value[key].as_str().map(str::to_owned)
}

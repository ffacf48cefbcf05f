//! `skiff status`: the platform's processes.

use crate::context::Context;
use crate::{human, output};
use skiff_api::{ListenerStatus, PlatformStatus, WorkerState, WorkerStatus};
use std::time::Duration;

pub(crate) async fn run(context: &Context) -> anyhow::Result<()> {
    let status = context.client()?.status().await?;
    context.output.print(&status, || text(&status))?;
    Ok(())
}

fn text(status: &PlatformStatus) -> String {
    let platform = output::properties([
        ("Version", status.version.clone()),
        ("Load balancer", format!("http://{}", status.http)),
        ("API", format!("http://{}", status.api)),
        ("S3", output::or_none(status.s3.as_ref().map(|s3| format!("http://{s3}")))),
        ("Data", status.data_dir.clone()),
    ]);
    let supervisor = [
        "supervisor".to_owned(),
        status.pid.to_string(),
        "RUNNING".to_owned(),
        uptime(status.uptime_seconds),
        human::cpu(status.cpu_seconds),
        human::bytes(status.memory_bytes),
        "-".to_owned(),
        "-".to_owned(),
        "-".to_owned(),
    ];
    let header =
        ["PROCESS", "PID", "STATE", "UPTIME", "CPU", "MEMORY", "RESTARTS", "CONNECTIONS", "REQUESTS"];
    let rows = std::iter::once(supervisor).chain(status.workers.iter().map(worker));
    let mut parts = vec![platform, output::columns(header, rows)];
    if !status.listeners.is_empty() {
        let row = |at: &ListenerStatus| [at.listen.to_string(), at.service.to_string()];
        parts.push(output::columns(["LISTENER", "SERVICE"], status.listeners.iter().map(row)));
    }
    parts.join("\n\n")
}

fn worker(worker: &WorkerStatus) -> [String; 9] {
    let state = match worker.state {
        WorkerState::Starting => "STARTING",
        WorkerState::Running => "RUNNING",
        WorkerState::Draining => "DRAINING",
        WorkerState::Dead => "DEAD",
    };
    [
        format!("worker {}", worker.index),
        output::or_none(worker.pid),
        state.to_owned(),
        uptime(worker.uptime_seconds),
        human::cpu(worker.cpu_seconds),
        human::bytes(worker.memory_bytes),
        worker.restarts.to_string(),
        worker.connections.to_string(),
        worker.requests.to_string(),
    ]
}

fn uptime(seconds: f64) -> String {
    let elapsed = Duration::try_from_secs_f64(seconds).unwrap_or_default();
    human::age(0, elapsed.as_millis().try_into().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processes_in_a_table() {
        let worker = WorkerStatus {
            index: 0,
            pid: Some(101),
            state: WorkerState::Running,
            uptime_seconds: 59.9,
            cpu_seconds: 1.25,
            memory_bytes: 50 << 20,
            restarts: 1,
            connections: 32,
            requests: 1_000_000,
        };
        let dead = WorkerStatus { index: 1, pid: None, state: WorkerState::Dead, ..worker.clone() };
        let status = PlatformStatus {
            version: "0.1.0".to_owned(),
            pid: 100,
            uptime_seconds: 7_300.0,
            cpu_seconds: 0.5,
            memory_bytes: 20 << 20,
            http: "127.0.0.1:8080".to_owned(),
            api: "127.0.0.1:8081".to_owned(),
            s3: Some("127.0.0.1:8082".to_owned()),
            data_dir: "/data".to_owned(),
            workers: vec![worker, dead],
            listeners: vec![ListenerStatus {
                listen: "tcp:6379".parse().unwrap(),
                service: "default/kv".parse().unwrap(),
            }],
        };
        insta::assert_snapshot!(text(&status));
    }
}

//! What `control` asks of the node's meters, answered by the node; and what it asks of the S3 endpoint, by that.

use skiff_control::{
    MeterReading, MeterReadings, Meters, NodeReading, Readings, S3Reading, S3Requests, TaskReading,
    WorkerReading, WorkerState,
};
use skiff_data::s3;
use skiff_ledger::Totals;
use skiff_node::{MeterUsage, Node, ProcessStatus, TaskUsage, WorkerStatus};
use skiff_types::{Charge, TaskId};
use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

/// The node's meters.
pub(crate) struct NodeMeters {
    pub(crate) node: Node,
    pub(crate) s3: Arc<OnceLock<s3::Handle>>,
    pub(crate) started: Instant,
}

impl Meters for NodeMeters {
    fn read(&self) -> Readings {
        let accounts = self.node.accounts();
        let reading = |usage: TaskUsage| TaskReading {
            task: usage.task,
            owner: usage.owner,
            in_service: usage.in_service,
            totals: usage.totals,
        };
        Readings {
            living: accounts.living.into_iter().map(reading).collect(),
            ended: accounts.ended.into_iter().map(reading).collect(),
        }
    }

    fn totals(&self, tasks: &[TaskId]) -> HashMap<TaskId, Totals> {
        self.node.totals(tasks)
    }

    fn balancer(&self) -> MeterReadings {
        let accounts = self.node.meters();
        let reading = |MeterUsage { metered, totals }| MeterReading { metered, totals };
        MeterReadings {
            living: accounts.living.into_iter().map(reading).collect(),
            ended: accounts.ended.into_iter().map(reading).collect(),
        }
    }

    fn charges(&self) -> Vec<Charge> {
        self.node.charges()
    }

    fn node(&self) -> NodeReading {
        let supervisor = ProcessStatus::read(std::process::id());
        NodeReading {
            pid: supervisor.pid,
            uptime_seconds: self.started.elapsed().as_secs_f64(),
            cpu_seconds: supervisor.cpu.as_secs_f64(),
            memory_bytes: supervisor.memory_bytes,
            log_lines_lost: self.node.log_lines_lost(),
            flow_records_lost: self.node.flow_records_lost(),
            spans_dropped: self.node.spans().dropped_count(),
            workers: self.node.workers().into_iter().map(worker).collect(),
        }
    }

    fn worker_states(&self) -> Vec<WorkerState> {
        self.node.worker_states().into_iter().map(state).collect()
    }

    fn s3(&self) -> Option<S3Reading> {
        self.s3.get().map(s3_reading)
    }
}

fn s3_reading(endpoint: &s3::Handle) -> S3Reading {
    let s3::Stats { connections, connections_refused, bytes_in, bytes_out, .. } = endpoint.stats();
    let requests = endpoint.requests().into_iter().map(|of| S3Requests {
        operation: of.operation,
        code_class: of.code_class,
        count: of.requests,
    });
    S3Reading {
        address: endpoint.address(),
        connections,
        connections_refused,
        requests: requests.collect(),
        bytes_in,
        bytes_out,
    }
}

fn worker(status: WorkerStatus) -> WorkerReading {
    let process = status.process.unwrap_or_default();
    WorkerReading {
        index: status.worker as u32,
        pid: status.process.map(|process| process.pid),
        state: state(status.state),
        uptime_seconds: status.uptime.unwrap_or_default().as_secs_f64(),
        cpu_seconds: process.cpu.as_secs_f64(),
        platform_cpu_seconds: status.platform_cpu.as_secs_f64(),
        memory_bytes: process.memory_bytes,
        restarts: status.restarts,
        connections: status.connections,
        requests: status.requests,
        mapped_components: status.mapped_components,
        mapped_code_bytes: status.mapped_code_bytes,
        pool_kept_bytes: status.pool_kept_bytes,
    }
}

fn state(state: skiff_node::WorkerState) -> WorkerState {
    match state {
        skiff_node::WorkerState::Starting => WorkerState::Starting,
        skiff_node::WorkerState::Running => WorkerState::Running,
        skiff_node::WorkerState::Draining => WorkerState::Draining,
        skiff_node::WorkerState::Dead => WorkerState::Dead,
    }
}

//! The platform itself: its processes, and whether it takes work.

use super::Entrance;
use crate::meters::{WorkerReading, WorkerState};
use crate::model::Service;
use crate::view::Held;
use skiff_api::{HealthState, ListenerStatus, PlatformStatus, WorkerStatus};
use skiff_types::Listen;

impl Entrance {
    /// The platform's processes; `api` is where the API listens.
    pub(crate) fn status(&self, api: std::net::SocketAddr) -> PlatformStatus {
        let node = self.context.accounts.node();
        let config = &self.context.config;
        PlatformStatus {
            version: config.version.clone(),
            pid: node.pid,
            uptime_seconds: node.uptime_seconds,
            cpu_seconds: node.cpu_seconds,
            memory_bytes: node.memory_bytes,
            http: config.http.to_string(),
            api: api.to_string(),
            s3: self.context.accounts.s3().map(|s3| s3.address.to_string()),
            data_dir: config.data_dir.display().to_string(),
            workers: node.workers.into_iter().map(worker).collect(),
            listeners: self.listeners(),
        }
    }

    fn listeners(&self) -> Vec<ListenerStatus> {
        let mut listeners: Vec<ListenerStatus> = self.context.objects.read(|view| {
            let services = view.services.all().filter(|held| !held.value.removed);
            let of = |held: &Held<Service>| {
                let service = held.value.name();
                let status = |listen: &Listen| ListenerStatus { listen: *listen, service: service.clone() };
                held.value.spec.listen.iter().map(status).collect::<Vec<_>>()
            };
            services.flat_map(of).collect()
        });
        listeners.sort_by_key(|status| status.listen);
        listeners
    }

    /// Whether the platform takes work: from the first version that its workers act on, until it drains; not while all
    /// workers are dead.
    pub(crate) fn health(&self) -> HealthState {
        let serves = |state: WorkerState| state == WorkerState::Running;
        if self.context.is_winding_down() {
            HealthState::Draining
        } else if self.context.acknowledged.get() == 0
            || !self.context.accounts.worker_states().into_iter().any(serves)
        {
            HealthState::Starting
        } else {
            HealthState::Ready
        }
    }

    /// The metrics in Prometheus's text format.
    pub(crate) fn metrics(&self) -> Result<String, crate::error::ApiError> {
        crate::metrics::render(&self.context)
    }
}

fn worker(worker: WorkerReading) -> WorkerStatus {
    WorkerStatus {
        index: worker.index,
        pid: worker.pid,
        state: match worker.state {
            WorkerState::Starting => skiff_api::WorkerState::Starting,
            WorkerState::Running => skiff_api::WorkerState::Running,
            WorkerState::Draining => skiff_api::WorkerState::Draining,
            WorkerState::Dead => skiff_api::WorkerState::Dead,
        },
        uptime_seconds: worker.uptime_seconds,
        cpu_seconds: worker.cpu_seconds,
        memory_bytes: worker.memory_bytes,
        restarts: worker.restarts,
        connections: worker.connections,
        requests: worker.requests,
    }
}

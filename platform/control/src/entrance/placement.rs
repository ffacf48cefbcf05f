//! The nodes, and where their users want tasks to run.

use super::Entrance;
use super::page::page;
use crate::error::ApiError;
use crate::model::Service;
use skiff_api::{Node, Page, PageQuery, PutPlacement};
use skiff_types::{
    DeploymentConfiguration, NodeCapacity, NodeSpec, Placement, SchedulingStrategy, ServiceSpec, Strategy,
};

impl Entrance {
    /// Lists nodes by id.
    pub(crate) fn list_nodes(&self, query: &PageQuery) -> Result<Page<Node>, ApiError> {
        let nodes: Vec<(String, (NodeSpec, NodeCapacity))> = self.context.objects.read(|view| {
            let nodes = view.nodes.all();
            nodes.map(|(spec, used)| (spec.id.to_string(), (spec.clone(), used))).collect()
        });
        page(nodes, query.limit, query.cursor.as_deref(), |(spec, used)| node(&spec, used))
    }

    /// What a service is to be that its user wants like this: of one that has one task on each node, how many these are, and
    /// that none is started where one still runs.
    pub(super) fn scheduled(
        &self,
        spec: ServiceSpec,
        is_deployment_said: bool,
        desired: Option<u32>,
    ) -> Result<ServiceSpec, ApiError> {
        match spec.placement.scheduling {
            SchedulingStrategy::Replica => return Ok(spec),
            SchedulingStrategy::Daemon => {}
        }
        if desired.is_some() {
            return Err(ApiError::invalid(
                "scheduled as DAEMON, the service has one task on each node that comes into question: leave out desired, or \
                 schedule it as REPLICA",
            ));
        }
        match spec.deployment.strategy {
            Strategy::Rolling => {}
            strategy @ (Strategy::BlueGreen { .. } | Strategy::Canary { .. } | Strategy::Linear { .. }) => {
                return Err(ApiError::invalid(format!(
                    "scheduled as DAEMON, the service has one task on each node, and {} needs two, one of each revision: say \
                     ROLLING (--strategy rolling), or schedule it as REPLICA",
                    strategy.name()
                )));
            }
        }
        let has_two = spec.deployment.max_percent > 100;
        if has_two && is_deployment_said {
            return Err(ApiError::invalid(
                "scheduled as DAEMON, the service has one task on each node, also while it goes from one revision to the next: \
                 say max_percent 100 (--max-percent 100), and a min_healthy_percent below 100, such as 0",
            ));
        }
        let deployment = match has_two {
            true => DeploymentConfiguration { min_healthy_percent: 0, max_percent: 100, ..spec.deployment },
            false => spec.deployment,
        };
        let desired = self.context.objects.read_mut(|view| view.nodes.admitting(&spec.placement));
        Ok(ServiceSpec { desired, deployment, ..spec })
    }
}

/// Refuses to say how many tasks a service has which has one on each node.
pub(super) fn check_counted(service: &Service) -> Result<(), ApiError> {
    match service.spec.placement.scheduling {
        SchedulingStrategy::Replica => Ok(()),
        SchedulingStrategy::Daemon => Err(ApiError::not_now(format!(
            "{} is scheduled as DAEMON: it has one task on each node that comes into question; `skiff deploy --scheduling \
             REPLICA` has it have as many as you say",
            service.spec.name
        ))),
    }
}

/// Refuses what a task that is run by itself can't be.
pub(super) fn check_one_off(placement: Option<&PutPlacement>) -> Result<(), ApiError> {
    match placement.and_then(|placement| placement.scheduling) {
        Some(SchedulingStrategy::Daemon) => Err(ApiError::invalid(
            "one task is run here, on one node: leave scheduling out; a service can have one on each",
        )),
        Some(SchedulingStrategy::Replica) | None => Ok(()),
    }
}

/// Where tasks may run from now on: as was asked for, else as before.
pub(super) fn placement_after(
    request: Option<&PutPlacement>,
    before: Option<&Placement>,
) -> Result<Placement, ApiError> {
    let before = before.cloned().unwrap_or_default();
    match request {
        Some(asked) => asked.over(before).map_err(ApiError::invalid),
        None => Ok(before),
    }
}

fn node(spec: &NodeSpec, used: NodeCapacity) -> Node {
    Node {
        id: spec.id.clone(),
        attributes: spec.attributes.clone(),
        capacity: spec.capacity.into(),
        overcommit_cpu: spec.overcommit.cpu,
        overcommit_memory: spec.overcommit.memory,
        room: spec.room().into(),
        used: used.into(),
        draining: spec.is_draining,
    }
}

//! Services: what a user wants running, and how far that is true.

use crate::text::{self, TaskDefinitionReference};
use crate::{
    Deployment, DeploymentConfiguration, InvalidSpec, Placement, PutDeploymentConfiguration, PutPlacement,
    ScalingStatus,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skiff_types::{
    HostPattern, Listen, Name, Namespace, PathPrefix, ScaleToZero, ServiceSpec as DomainSpec, StopCode,
    TaskDefinitionId, TaskId,
};
use std::collections::BTreeSet;

/// Creates a service or updates it.
///
/// What is left out stays as it is; on a new service it is 1 task, and no host, no path and no listener: then it answers on
/// `NAME.localhost`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PutService {
    /// What its tasks run; the newest revision where none is given.
    #[schemars(with = "text::TaskDefinitionReferenceText")]
    pub definition: TaskDefinitionReference,
    /// How many tasks: 0 to 1000. A service that is there and has scaling keeps as many as it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub desired: Option<u32>,
    /// Hosts it answers on, 64 at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Vec<text::HostPattern>>")]
    pub hosts: Option<Vec<HostPattern>>,
    /// Path prefixes it answers on, 64 at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Vec<text::PathPrefix>>")]
    pub paths: Option<Vec<PathPrefix>>,
    /// Security groups of its tasks, 16 at most, from now on and without replacing them; an empty list for those of its
    /// task definition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Vec<text::Name>>")]
    pub security_groups: Option<Vec<Name>>,
    /// Ports of the load balancer that lead to the port of its tasks, 16 at most; its task definition must name one. No
    /// other service can have them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Vec<text::Listen>>")]
    pub listen: Option<Vec<Listen>>,
    /// How it goes from one revision to the next, from the next step on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployment: Option<PutDeploymentConfiguration>,
    /// After how long without a request it has no task, from 1s to 7d, or never, which it is on a new service. The next request
    /// has one started, and waits for it. For services of `http` tasks that are to have a task at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::ScaleToZero>")]
    pub scale_to_zero: Option<ScaleToZero>,
    /// On which nodes its tasks may run, from the next that starts on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub placement: Option<PutPlacement>,
}

impl PutService {
    /// Refuses what no service can be, whatever its definition; an error says what to do. What is named again counts once.
    pub fn check(&self) -> Result<(), InvalidSpec> {
        self.desired.map_or(Ok(()), check_desired)?;
        check_count("hosts", self.hosts.as_deref(), DomainSpec::ROUTES_MAX)?;
        check_count("paths", self.paths.as_deref(), DomainSpec::ROUTES_MAX)?;
        check_count("listeners", self.listen.as_deref(), Listen::PER_SERVICE_MAX)?;
        self.deployment.as_ref().map_or(Ok(()), |deployment| deployment.check())
    }
}

fn check_desired(desired: u32) -> Result<(), InvalidSpec> {
    match desired <= DomainSpec::DESIRED_MAX {
        true => Ok(()),
        false => Err(InvalidSpec::Desired { desired }),
    }
}

fn check_count<T: Ord>(what: &'static str, items: Option<&[T]>, most: usize) -> Result<(), InvalidSpec> {
    let distinct: BTreeSet<&T> = items.unwrap_or_default().iter().collect();
    match distinct.len() {
        count if count > most => Err(InvalidSpec::TooManyOfService { what, count, most }),
        _ => Ok(()),
    }
}

/// Changes how many tasks a service has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ScaleService {
    /// How many tasks: 0 to 1000. Of a service with scaling, within its bounds: what is beyond them is the nearest of them.
    pub desired: u32,
}

impl ScaleService {
    /// Refuses what no service can have; an error says what to do.
    pub fn check(self) -> Result<(), InvalidSpec> {
        check_desired(self.desired)
    }
}

/// Puts a service back to an earlier revision of its task definition.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RollbackService {
    /// Which revision of the family it runs; the last that completed before, where not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<u32>,
}

/// A service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Service {
    /// Its name in its namespace.
    #[schemars(with = "text::Name")]
    pub name: Name,
    /// The boundary it lives in.
    #[schemars(with = "text::Namespace")]
    pub namespace: Namespace,
    /// The store's revision; for `If-Match`.
    pub revision: u64,
    /// When it was created, in milliseconds since 1970.
    pub created_at_ms: u64,
    /// When what it is to be last changed, in milliseconds since 1970.
    pub updated_at_ms: u64,
    /// What its user wants.
    pub spec: ServiceSpec,
    /// What is.
    pub status: ServiceStatus,
}

/// What a service is to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ServiceSpec {
    /// What its tasks run.
    #[schemars(with = "text::TaskDefinitionId")]
    pub definition: TaskDefinitionId,
    /// How many tasks.
    pub desired: u32,
    /// Hosts it answers on, as its user gave them.
    #[schemars(with = "Vec<text::HostPattern>")]
    pub hosts: Vec<HostPattern>,
    /// Path prefixes it answers on, as its user gave them.
    #[schemars(with = "Vec<text::PathPrefix>")]
    pub paths: Vec<PathPrefix>,
    /// Security groups of its tasks; absent where they are those of its task definition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Vec<text::Name>>")]
    pub security_groups: Option<Vec<Name>>,
    /// Ports of the load balancer that lead to the port of its tasks.
    #[serde(default)]
    #[schemars(with = "Vec<text::Listen>")]
    pub listen: Vec<Listen>,
    /// How it goes from one revision to the next.
    #[serde(default)]
    pub deployment: DeploymentConfiguration,
    /// After how long without a request it has no task.
    #[serde(default)]
    #[schemars(with = "text::ScaleToZero")]
    pub scale_to_zero: ScaleToZero,
    /// On which nodes its tasks may run; absent where any will do.
    #[serde(default, skip_serializing_if = "Placement::is_default")]
    pub placement: Placement,
}

/// What a service is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ServiceStatus {
    /// Whether it is kept or on its way out.
    pub state: ServiceState,
    /// What its tasks do: answers requests (`http`) or runs a program (`command`).
    #[schemars(with = "text::Kind")]
    pub kind: skiff_types::Kind,
    /// Tasks that are `RUNNING`, of any revision.
    pub running: u32,
    /// Those of them that can serve: all, but daemons that were not reached yet, and tasks that fail their checks.
    #[serde(default)]
    pub ready: u32,
    /// Tasks on their way to `RUNNING`, those that wait for their next attempt among them.
    pub pending: u32,
    /// Tasks on their way to `STOPPED`.
    pub stopping: u32,
    /// Where it answers; empty for a service of `command` tasks that are no daemons, or that listeners alone lead to.
    pub urls: Vec<String>,
    /// The port that its tasks listen on; absent where they are no daemons.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// How far the present revision has replaced what was before.
    pub deployment: Deployment,
    /// It has no task because nobody asked it for as long as its user said; the next request wakes it.
    #[serde(default)]
    pub asleep: bool,
    /// Within which bounds its count moves by itself, and what moved it last; absent where it is set by hand alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scaling: Option<ScalingStatus>,
    /// Tasks that ended without being asked to, and were replaced, since the service was created.
    pub restarts: u64,
    /// CPU time of its present tasks, in seconds.
    pub cpu_seconds: f64,
    /// Memory its present tasks hold, in bytes.
    pub memory_bytes: u64,
    /// Requests its present tasks answered.
    pub requests: u64,
    /// What happened to it lately, newest first; 20 at most.
    pub events: Vec<ServiceEvent>,
}

/// Whether a service is kept, as in ECS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ServiceState {
    /// Its desired tasks are kept running.
    Active,
    /// It was removed: it is gone as soon as its last task has stopped.
    Draining,
}

/// Something that happened to a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ServiceEvent {
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// What, for people.
    pub message: String,
    /// The task that it happened to, where it was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::TaskId>")]
    pub task: Option<TaskId>,
    /// Why that task ended, where it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::StopCode>")]
    pub stop_code: Option<StopCode>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[track_caller]
    fn check(more: Value, expected: Result<(), &str>) {
        let mut request = json!({ "definition": "web" });
        request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let request: PutService = serde_json::from_value(request).unwrap();
        assert_eq!(request.check().map_err(|error| error.to_string()), expected.map_err(str::to_owned));
    }

    #[test]
    fn a_service_has_its_bounds_and_what_is_named_again_counts_once() {
        let hosts = |count: usize| (0..count).map(|number| format!("h{number}.example")).collect::<Vec<_>>();
        let paths = |count: usize| (0..count).map(|number| format!("/p{number}")).collect::<Vec<_>>();
        let listen = |count: usize| (1..=count).map(|port| format!("tcp:{port}")).collect::<Vec<_>>();
        check(json!({}), Ok(()));
        check(
            json!({ "desired": 1_000, "hosts": hosts(64), "paths": paths(64), "listen": listen(16) }),
            Ok(()),
        );
        let twice = [hosts(64), hosts(64)].concat();
        check(json!({ "hosts": twice }), Ok(()));
        check(json!({ "hosts": hosts(65) }), Err("65 hosts are more than a service can have: 64"));
        check(json!({ "paths": paths(65) }), Err("65 paths are more than a service can have: 64"));
        check(json!({ "listen": listen(17) }), Err("17 listeners are more than a service can have: 16"));
        let error = "desired is 1001; a service has at most 1000 tasks";
        check(json!({ "desired": 1_001 }), Err(error));
        assert_eq!(ScaleService { desired: 1_001 }.check().unwrap_err().to_string(), error);
    }
}

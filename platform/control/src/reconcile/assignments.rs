//! Brings about that the node runs and routes what the tasks say: the one place that computes what a node is to do.
//!
//! It deliberately writes nothing to the store. That a worker acts on a change is known by the view's generation: once
//! the snapshot made of it is acknowledged, every change up to it is.

use super::LOOK_INTERVAL;
use crate::context::Context;
use crate::model::TaskObject;
use crate::view::View;
use futures::future::BoxFuture;
use skiff_plan::{lifecycle, routes};
use skiff_ports::runtime::{Desired, DesiredRoute};
use skiff_ports::snapshot::{HostMatch, TaskSpec, Version};
use skiff_types::{Digest, Kind, TaskId, TaskStatus};
use std::collections::HashSet;
use std::sync::Arc;

/// A view's generation, and the snapshot made of it.
#[derive(Debug, Clone, Copy)]
struct Sent {
    generation: u64,
    version: Version,
}

pub(super) async fn run(context: Arc<Context>) {
    let mut last: Option<(Desired, Version)> = None;
    // Only the newest is waited for next: it covers those between.
    let mut newest: Option<Sent>;
    let mut acknowledgement: Option<BoxFuture<'static, u64>> = None;
    loop {
        let (generation, desired) = context.objects.read(|view| {
            (view.generation, desired(view, &|digest| context.prepared_since(digest).is_some()))
        });
        let version = match last.take() {
            Some((same, version)) if same == desired => version,
            _ => context.runtime.assign(desired.clone()),
        };
        last = Some((desired, version));
        newest = Some(Sent { generation, version });
        loop {
            if acknowledgement.is_none() {
                acknowledgement = newest.take().map(|sent| wait_for(context.clone(), sent));
            }
            tokio::select! {
                biased;
                () = context.drain.begun() => return,
                generation = async { acknowledgement.as_mut().expect("checked").await },
                    if acknowledgement.is_some() =>
                {
                    acknowledgement = None;
                    context.acknowledged.send_replace(generation);
                    context.objects.wakes.tasks.notify_one();
                    context.objects.read_mut(View::look_at_deployments);
                    context.objects.wakes.services.notify_one();
                }
                () = context.objects.wakes.assignments.notified() => break,
                () = tokio::time::sleep(LOOK_INTERVAL) => break,
            }
        }
    }
}

fn wait_for(context: Arc<Context>, sent: Sent) -> BoxFuture<'static, u64> {
    Box::pin(async move {
        context.runtime.acknowledged(sent.version).await;
        sent.generation
    })
}

/// What a node is to do.
fn desired(view: &View, prepared: &dyn Fn(&Digest) -> bool) -> Desired {
    let assigned = view.tasks.all().filter(|held| lifecycle::is_assigned(held.value.task.status));
    let tasks: Vec<TaskSpec> = assigned
        .filter_map(|held| task_spec(view, &held.value))
        .filter(|spec| prepared(&spec.program))
        .collect();
    let assigned: HashSet<TaskId> = tasks.iter().map(|spec| spec.id).collect();
    Desired { routes: desired_routes(view, &assigned), tasks }
}

/// All that running a task takes; `None` if its definition is gone.
fn task_spec(view: &View, object: &TaskObject) -> Option<TaskSpec> {
    let task = &object.task;
    let definition = &view.definition(&task.namespace, &task.definition)?.value.definition;
    let command = object.command(definition);
    Some(TaskSpec {
        id: task.id,
        owner: object.owner(),
        in_service: object.in_service(),
        definition: task.definition.clone(),
        kind: definition.kind,
        generation: definition.generation,
        program: definition.program(&command.environment).key(),
        limits: definition.limits.clone(),
        command,
    })
}

fn desired_routes(view: &View, assigned: &HashSet<TaskId>) -> Vec<DesiredRoute> {
    let mut names = Vec::new();
    for held in view.services.all() {
        let service = &held.value;
        let answers = view
            .definition(&service.namespace, &service.spec.definition)
            .is_some_and(|definition| definition.value.definition.kind == Kind::Http);
        let group = service.group();
        let takes_requests = |object: &TaskObject| {
            object.kind == Kind::Http
                && object.task.status == TaskStatus::Running
                && object.task.stop.is_none()
        };
        let targets: Vec<_> = view
            .tasks_of(&service.namespace, &group)
            .filter(|held| takes_requests(&held.value))
            .map(|held| held.value.task.id)
            .filter(|id| assigned.contains(id))
            .collect();
        if (answers && !service.removed) || !targets.is_empty() {
            names.push((service.name(), service, targets));
        }
    }
    let services = names
        .iter()
        .map(|(name, service, targets)| routes::Routed {
            service: name,
            hosts: &service.spec.hosts,
            paths: &service.spec.paths,
            created_at_ms: service.created_at_ms,
            targets: targets.clone(),
        })
        .collect();
    routes::table(services).into_iter().map(desired_route).collect()
}

fn desired_route(route: routes::ServiceRoute) -> DesiredRoute {
    let host = |host| match host {
        routes::Host::Pattern(pattern) => HostMatch::Pattern(pattern),
        routes::Host::Any => HostMatch::Any,
    };
    DesiredRoute {
        service: route.service,
        hosts: route.hosts.into_iter().map(host).collect(),
        paths: route.paths,
        targets: route.targets,
    }
}

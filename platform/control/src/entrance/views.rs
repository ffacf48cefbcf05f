//! How objects look on the wire.

use super::rollouts::deployment;
use super::scaling;
use crate::context::Context;
use crate::model::{Definition, Image, Service, ServiceNotes, TaskObject};
use crate::reconcile::{desired, sleeps};
use crate::view::Held;
use skiff_api::{
    Component, Initialization, ServiceEvent, ServiceSpec, ServiceState, ServiceStatus, TaskHealth,
    TaskLimits, TaskUsage,
};
use skiff_ledger::{StatusClass, Totals};
use skiff_plan::routes::{self, Host, Wishes};
use skiff_ports::invoke::HTTP_PORT;
use skiff_types::{
    Digest, HealthCheck, ImageReference, Kind, Limits, Name, QualifiedName, Task, TaskId, TaskStatus,
};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

pub(super) fn image(held: &Held<Image>) -> skiff_api::Image {
    let image = &held.value;
    skiff_api::Image {
        reference: image.reference(),
        namespace: image.namespace.clone(),
        digest: image.manifest,
        component: image.component,
        component_bytes: image.component_bytes,
        revision: held.revision,
        created_at_ms: image.created_at_ms,
        updated_at_ms: image.updated_at_ms,
    }
}

pub(super) fn image_by_digest(held: &Held<Image>, digest: Digest) -> skiff_api::Image {
    let repository = held.value.repository.clone();
    let reference = ImageReference { repository, tag: None, digest: Some(digest) };
    skiff_api::Image { reference, ..image(held) }
}

pub(super) fn definition(object: &Definition, reveal: &BTreeSet<&str>) -> skiff_api::TaskDefinition {
    let definition = &object.definition;
    let variables = definition.command.environment.iter();
    let environment = variables
        .map(|(name, value)| (name.clone(), reveal.contains(name.as_str()).then(|| value.clone())))
        .collect();
    let report = &object.report;
    skiff_api::TaskDefinition {
        id: definition.id.clone(),
        namespace: object.namespace.clone(),
        image: definition.image.clone(),
        requested_limits: object.requested.clone(),
        arguments: definition.command.arguments.clone(),
        environment,
        limits: limits(&definition.limits),
        component: Component {
            digest: definition.component,
            kind: report.kind,
            generation: report.generation,
            imports: report.imports.clone(),
            exports: report.exports.clone(),
            minimum_memory_bytes: report.minimum_memory_bytes,
            component_bytes: report.component_bytes,
            native_bytes: report.native_bytes,
            compile_ms: report.compile_ms,
        },
        snapshot: definition.snapshot,
        security_groups: definition.security_groups.clone(),
        port: definition.port,
        health_check: definition.port.map(|_| health_check(&definition.health_check)),
        stop_timeout: definition.port.map(|_| definition.stop_timeout),
        restart: definition.restart,
        role: definition.role.clone(),
        initialization: report.initialization.as_ref().map(|initialization| Initialization {
            took_ms: initialization.took_ms,
            output: initialization.output.clone(),
        }),
        sandboxes_max: object.sandboxes_max(),
        created_at_ms: definition.created_at_ms,
    }
}

fn health_check(check: &HealthCheck) -> skiff_api::HealthCheck {
    skiff_api::HealthCheck {
        interval: check.interval,
        timeout: check.timeout,
        healthy: check.healthy,
        unhealthy: check.unhealthy,
        start_period: check.start_period,
    }
}

fn limits(limits: &Limits) -> TaskLimits {
    TaskLimits {
        cpu: limits.cpu,
        memory: limits.memory,
        timeout: limits.timeout,
        concurrency: limits.concurrency,
        queue: limits.queue,
        request_body: limits.request_body,
        response_body: limits.response_body,
        log_rate: limits.log_rate,
        reuse: limits.reuse,
    }
}

/// A task that is in these security groups.
pub(super) fn task(
    held: &Held<TaskObject>,
    security_groups: Vec<Name>,
    totals: Option<&Totals>,
) -> skiff_api::Task {
    let TaskObject { task, kind, updated_at_ms, placement: _ } = &*held.value;
    let overrides = task.overrides.as_ref();
    let has_ended = task.status == TaskStatus::Stopped;
    skiff_api::Task {
        id: task.id,
        namespace: task.namespace.clone(),
        revision: held.revision,
        definition: task.definition.clone(),
        kind: *kind,
        group: task.group.clone(),
        arguments: overrides.map(|overrides| overrides.arguments.clone()),
        environment_names: overrides
            .map(|overrides| overrides.environment.keys().cloned().collect())
            .unwrap_or_default(),
        node: task.node.clone(),
        ipv4: task.address.map(|address| address.v4),
        ipv6: task.address.map(|address| address.v6),
        security_groups,
        status: task.status,
        stop_code: task.stop.as_ref().map(|stop| stop.code),
        stopped_reason: task.stop.as_ref().map(|stop| stop.message.clone()),
        exit_code: task.exit_code,
        health: if has_ended { TaskHealth::Unknown } else { task.health.into() },
        health_reason: task.health_reason.clone().filter(|_| !has_ended),
        restarts: task.restarts,
        last_stop_code: task.last_stop.as_ref().map(|stop| stop.code),
        last_stopped_reason: task.last_stop.as_ref().map(|stop| stop.message.clone()),
        attempt: task.attempt,
        usage: totals.map(usage).unwrap_or_default(),
        created_at_ms: task.created_at_ms,
        updated_at_ms: *updated_at_ms,
        started_at_ms: task.started_at_ms,
        stopped_at_ms: task.stopped_at_ms,
    }
}

fn usage(totals: &Totals) -> TaskUsage {
    TaskUsage {
        cpu_seconds: seconds(totals.cpu_ns),
        throttled_seconds: seconds(totals.throttled_ns),
        memory_bytes: totals.memory_bytes,
        memory_peak_bytes: totals.memory_peak_bytes,
        sandboxes: totals.sandboxes,
        in_flight: totals.in_flight + totals.queued,
        requests: totals.responses.iter().sum(),
        requests_failed: totals.responses[StatusClass::ServerError as usize],
    }
}

/// A service with its status as of now.
pub(super) fn service(context: &Context, held: &Held<Service>) -> skiff_api::Service {
    let service = &*held.value;
    let (tasks, kind, port, notes) = context.objects.read(|view| {
        let tasks: Vec<Held<TaskObject>> =
            view.tasks_of(&service.namespace, &service.group()).cloned().collect();
        let definition = view.definition(&service.namespace, view.revision_of(service));
        let kind = definition.map_or(Kind::Http, |held| held.value.definition.kind);
        let port = definition.and_then(|held| held.value.definition.port);
        let notes = view.notes.get(&crate::keys::service_status(&service.name()));
        (tasks, kind, port, notes.map(|held| held.value.clone()))
    });
    let notes = notes.filter(|notes| notes.service_created_at_ms == service.created_at_ms);
    let spec = &service.spec;
    skiff_api::Service {
        name: spec.name.clone(),
        namespace: service.namespace.clone(),
        revision: held.revision,
        created_at_ms: service.created_at_ms,
        updated_at_ms: service.updated_at_ms,
        spec: ServiceSpec {
            definition: spec.definition.clone(),
            desired: spec.desired,
            hosts: spec.hosts.clone(),
            paths: spec.paths.clone(),
            security_groups: spec.security_groups.clone(),
            listen: spec.listen.clone(),
            deployment: (&spec.deployment).into(),
            scale_to_zero: spec.scale_to_zero,
            placement: spec.placement.clone().into(),
        },
        status: status(context, service, (kind, port), &tasks, notes.as_deref()),
    }
}

fn status(
    context: &Context,
    service: &Service,
    (kind, port): (Kind, Option<u16>),
    tasks: &[Held<TaskObject>],
    notes: Option<&ServiceNotes>,
) -> ServiceStatus {
    let count = |is: &dyn Fn(&Task) -> bool| {
        u32::try_from(tasks.iter().filter(|held| is(&held.value.task)).count()).unwrap_or(u32::MAX)
    };
    let mut sums = Totals::default();
    let ids: Vec<TaskId> = tasks.iter().map(|held| held.value.task.id).collect();
    context.accounts.of(&ids).values().for_each(|totals| sums.absorb_living(totals));
    let used = usage(&sums);
    let events = notes.map(|notes| notes.events.iter()).into_iter().flatten();
    ServiceStatus {
        state: if service.removed { ServiceState::Draining } else { ServiceState::Active },
        kind,
        running: count(&|task| task.status == TaskStatus::Running && task.stop.is_none()),
        ready: count(&|task| task.is_ready() && task.stop.is_none()),
        pending: count(&|task| task.status < TaskStatus::Running && task.stop.is_none()),
        stopping: count(&|task| task.is_stopping() && task.status != TaskStatus::Stopped),
        urls: match (kind, port) {
            (Kind::Http, _) | (Kind::Command, Some(_)) => urls(service, context.config.http),
            (Kind::Command, None) | (Kind::Event, _) => vec![],
        },
        port,
        deployment: deployment(context, service, desired(service, notes, tasks), tasks, notes),
        asleep: sleeps(service, notes, tasks).is_some(),
        scaling: context.objects.read(|view| {
            let held = view.scaling_of(service)?;
            Some(scaling::status(view, &held.value, service.spec.desired))
        }),
        restarts: notes.map_or(0, |notes| notes.restarts),
        cpu_seconds: used.cpu_seconds,
        memory_bytes: used.memory_bytes,
        requests: used.requests,
        events: events
            .map(|event| ServiceEvent {
                at_ms: event.at_ms,
                message: event.message.clone(),
                task: event.task,
                stop_code: event.stop_code,
            })
            .collect(),
    }
}

/// Where a service answers, given where the load balancer listens.
pub(super) fn urls(service: &Service, http: SocketAddr) -> Vec<String> {
    let name: QualifiedName = service.name();
    let (hosts, paths) = routes::effective(&name, Wishes::from(&service.spec));
    let port = if http.port() == HTTP_PORT { String::new() } else { format!(":{}", http.port()) };
    let any = match http.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) | IpAddr::V6(Ipv6Addr::UNSPECIFIED) => "localhost".to_owned(),
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    };
    let pairs = hosts.iter().flat_map(|host| paths.iter().map(move |path| (host, path)));
    pairs
        .map(|(host, path)| match host {
            Host::Pattern(host) => format!("http://{host}{port}{path}"),
            Host::Any => format!("http://{any}{port}{path}"),
        })
        .collect()
}

fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

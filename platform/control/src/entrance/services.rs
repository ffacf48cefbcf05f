//! Services: created, changed, scaled, put back, removed. A change is what is wanted; the reconcilers bring it about.

mod check;

use super::balancer::{check_led_to, check_name, check_unused};
use super::page::page;
use super::placement::{check_counted, placement_after};
use super::scaling::check_least;
use super::{Entrance, IfMatch, WRITE_ATTEMPTS, views};
use crate::error::ApiError;
use crate::keys;
use crate::model::{Definition, Service};
use crate::view::{Held, View};
use skiff_api::{
    ColdStartReport, ColdStartRequest, ColdStartSample, ErrorCode, Page, PageQuery, PutService,
    RollbackService, ScaleService,
};
use skiff_plan::routes::{self, Routed, Wishes};
use skiff_ports::store::Expect;
use skiff_types::{
    DeploymentConfiguration, DeploymentId, Kind, LISTENERS_MAX, Listen, Namespace, QualifiedName,
    ScaleToZero, SchedulingStrategy, Scheme, ServiceSpec, TaskDefinitionId, TaskStatus,
};
use std::collections::BTreeSet;
use std::sync::Arc;
use tracing::info;

impl Entrance {
    /// Creates a service or updates it.
    pub(crate) async fn put_service(
        &self,
        name: &QualifiedName,
        request: PutService,
        if_match: IfMatch,
    ) -> Result<skiff_api::Service, ApiError> {
        request.check().map_err(ApiError::invalid)?;
        let definition = self.resolve(&name.namespace, &request.definition)?;
        self.write_service(name, if_match, true, |present| {
            // A service that is on its way out is created anew, on what is left of it.
            let before = present.filter(|service| !service.removed);
            let spec = before.map(|service| &service.spec);
            let is_scaled =
                |service: &&Service| self.context.objects.read(|view| view.scaling_of(service).is_some());
            let desired = match before.filter(is_scaled) {
                // What scales it says how many.
                Some(service) => service.spec.desired,
                None => request.desired.unwrap_or_else(|| spec.map_or(1, |spec| spec.desired)),
            };
            let spec = ServiceSpec {
                name: name.name.clone(),
                definition: definition.definition.id.clone(),
                desired,
                hosts: unique(request.hosts.as_deref().or(spec.map(|spec| &spec.hosts[..]))),
                paths: unique(request.paths.as_deref().or(spec.map(|spec| &spec.paths[..]))),
                security_groups: match &request.security_groups {
                    Some(groups) if groups.is_empty() => None,
                    Some(groups) => Some(self.check_groups(&name.namespace, groups)?),
                    None => spec.and_then(|spec| spec.security_groups.clone()),
                },
                listen: sorted(request.listen.as_deref().or(spec.map(|spec| &spec.listen[..]))),
                deployment: deployment_after(&request, spec)?,
                scale_to_zero: request
                    .scale_to_zero
                    .unwrap_or_else(|| spec.map_or(ScaleToZero::Never, |spec| spec.scale_to_zero)),
                placement: placement_after(request.placement.as_ref(), spec.map(|spec| &spec.placement))?,
            };
            let spec = self.scheduled(spec, request.deployment.is_some(), request.desired)?;
            self.check_spec(&spec, &definition)?;
            self.check_alarms(&name.namespace, &request)?;
            self.check_scaled(before, &spec)?;
            Ok(spec)
        })
        .await
    }

    /// Changes how many tasks a service has; of one that is scaled, within its bounds.
    pub(crate) async fn scale_service(
        &self,
        name: &QualifiedName,
        request: ScaleService,
        if_match: IfMatch,
    ) -> Result<skiff_api::Service, ApiError> {
        request.check().map_err(ApiError::invalid)?;
        self.write_service(name, if_match, false, |present| {
            let service = existing(present, name)?;
            check_counted(service)?;
            let bounds = self.context.objects.read(|view| view.bounds_of(service));
            let desired = bounds.map_or(request.desired, |(min, max)| request.desired.clamp(min, max));
            Ok(ServiceSpec { desired, ..service.spec.clone() })
        })
        .await
    }

    /// Puts a service back to an earlier revision.
    pub(crate) async fn roll_back_service(
        &self,
        name: &QualifiedName,
        request: RollbackService,
        if_match: IfMatch,
    ) -> Result<skiff_api::Service, ApiError> {
        self.write_service(name, if_match, true, |present| {
            let service = existing(present, name)?;
            let definition = self.earlier(service, request.revision)?;
            let spec = ServiceSpec { definition: definition.definition.id.clone(), ..service.spec.clone() };
            self.check_spec(&spec, &definition)?;
            Ok(spec)
        })
        .await
    }

    /// Lists services by name.
    pub(crate) fn list_services(
        &self,
        namespace: &Namespace,
        query: &PageQuery,
    ) -> Result<Page<skiff_api::Service>, ApiError> {
        let prefix = keys::in_namespace("service", namespace);
        let services: Vec<(String, Held<Service>)> = self.context.objects.read(|view| {
            let services = view.services.under(&prefix);
            services.map(|held| (held.value.spec.name.to_string(), held.clone())).collect()
        });
        page(services, query.limit, query.cursor.as_deref(), |held| views::service(&self.context, &held))
    }

    /// Shows a service.
    pub(crate) fn get_service(&self, name: &QualifiedName) -> Result<skiff_api::Service, ApiError> {
        let held = self.context.objects.read(|view| view.service(name).cloned());
        let held = held.ok_or_else(|| no_service(name))?;
        Ok(views::service(&self.context, &held))
    }

    /// Removes a service: from here on it ends its tasks, then it is gone.
    pub(crate) async fn delete_service(
        &self,
        name: &QualifiedName,
        if_match: IfMatch,
    ) -> Result<(), ApiError> {
        // So that nothing comes to lead to it at the same time.
        let _alone = self.context.routing.lock().await;
        for _ in 0..WRITE_ATTEMPTS {
            let present = self.context.objects.load::<Service>(&keys::service(name)).await?;
            if_match.check(present.as_ref().map_or(0, |held| held.revision))?;
            let held = present.ok_or_else(|| no_service(name))?;
            if held.value.removed {
                return Ok(());
            }
            self.context.objects.read(|view| check_unused(view, name))?;
            let mut service = Service::clone(&held.value);
            service.removed = true;
            service.spec.desired = 0;
            service.updated_at_ms = self.context.now_ms();
            match self.context.objects.put(service, Expect::Revision(held.revision)).await {
                Err(error) if error.is_conflict() => {}
                result => {
                    info!(service = %name, "removing");
                    return result.map(drop).map_err(ApiError::from);
                }
            }
        }
        Err(contended(name))
    }

    /// Measures cold starts of one of a service's tasks.
    pub(crate) async fn measure_cold_starts(
        &self,
        name: &QualifiedName,
        request: ColdStartRequest,
    ) -> Result<ColdStartReport, ApiError> {
        if !(1..=ColdStartRequest::REQUESTS_MAX).contains(&request.requests) {
            return Err(ApiError::invalid(format!(
                "requests is {}; it must be 1 to {}",
                request.requests,
                ColdStartRequest::REQUESTS_MAX
            )));
        }
        if !request.path.starts_with('/') || request.path.parse::<http::uri::PathAndQuery>().is_err() {
            return Err(ApiError::invalid(format!("{:?} is not a path, like \"/\"", request.path)));
        }
        let (service, task) = self.context.objects.read(|view| {
            let service = view.service(name).map(|held| held.value.clone());
            let group = skiff_types::Group::Service(name.name.clone());
            let mut tasks = view.tasks_of(&name.namespace, &group);
            let serves = tasks.find(|held| {
                let task = &held.value.task;
                held.value.kind == Kind::Http && task.status == TaskStatus::Running && task.stop.is_none()
            });
            let task = serves.map(|held| held.value.task.id);
            (service, task)
        });
        service.ok_or_else(|| no_service(name))?;
        let task = task.ok_or_else(|| {
            ApiError::not_now(format!(
                "no http task of {name} runs; cold starts are measured of one that does"
            ))
        })?;
        let measured = self.context.runtime.measure_cold_start(task, request.path, request.requests).await;
        let samples = measured.map_err(ApiError::not_now)?;
        let sample = |sample: skiff_ports::runtime::ColdStart| ColdStartSample {
            load_ns: sample.load_ns,
            instantiate_ns: sample.instantiate_ns,
            first_byte_ns: sample.first_byte_ns,
            cold_request_ns: sample.cold_request_ns,
            warm_request_ns: sample.warm_request_ns,
        };
        Ok(ColdStartReport { samples: samples.into_iter().map(sample).collect() })
    }

    /// Writes what `spec` answers for the service as it is; nothing if that is what it is to be already. A deployment that was
    /// given up then begins anew, where it is for that that the call is made.
    async fn write_service(
        &self,
        name: &QualifiedName,
        if_match: IfMatch,
        begins_anew: bool,
        spec: impl Fn(Option<&Service>) -> Result<ServiceSpec, ApiError>,
    ) -> Result<skiff_api::Service, ApiError> {
        let _alone = self.context.routing.lock().await;
        for _ in 0..WRITE_ATTEMPTS {
            let present = self.context.objects.load::<Service>(&keys::service(name)).await?;
            if_match.check(present.as_ref().map_or(0, |held| held.revision))?;
            let before = present.as_ref().map(|held| &*held.value);
            let spec = spec(before)?;
            self.resolve(&name.namespace, &spec.definition.clone().into())?;
            let rollout = before
                .filter(|_| begins_anew)
                .and_then(|service| self.context.objects.read(|view| view.rollout_of(service).cloned()));
            let again = rollout.is_some_and(|rollout| rollout.was_given_up());
            let id = self.context.new_deployment_id();
            let after = next(name, before, spec, again, id, self.context.now_ms());
            if before.is_none_or(|service| service.removed) {
                self.context.objects.read(|view| check_name(view, name))?;
            }
            self.check_routes(&after)?;
            if before.is_none_or(|service| service.spec.definition != after.spec.definition) {
                self.context.objects.read(|view| check_led_to(view, &after))?;
            }
            // Those of a definition may be gone since it was registered.
            let groups = self.context.objects.read(|view| view.groups_of_service(&after));
            self.check_groups(&name.namespace, &groups)?;
            let held = match &present {
                Some(held) if *held.value == after => held.clone(),
                present => {
                    let expect =
                        present.as_ref().map_or(Expect::Absent, |held| Expect::Revision(held.revision));
                    match self.context.objects.put(after, expect).await {
                        Err(error) if error.is_conflict() => continue,
                        result => result?,
                    }
                }
            };
            let spec = &held.value.spec;
            info!(service = %name, definition = %spec.definition, desired = spec.desired, "wanted");
            return Ok(views::service(&self.context, &held));
        }
        Err(contended(name))
    }

    /// Refuses routes and listeners that another service has. The caller holds `routing`.
    fn check_routes(&self, service: &Service) -> Result<(), ApiError> {
        self.context.objects.read(|view| match view.is_balanced(service) {
            true => check_places(view, routed(&service.name(), service)),
            false => Ok(()),
        })
    }

    /// Refuses what no service of this platform can be, or none with this definition.
    fn check_spec(&self, spec: &ServiceSpec, definition: &Definition) -> Result<(), ApiError> {
        self.check_ports(&spec.listen)?;
        check_kind(spec, definition)
    }

    fn check_ports(&self, listen: &[Listen]) -> Result<(), ApiError> {
        let mut ports = listen.iter().map(|Listen::Tcp(port)| *port);
        match ports.find(|port| self.is_own_port(*port)) {
            Some(port) => {
                Err(ApiError::invalid(format!("Skiff itself listens at the port {port}; choose another")))
            }
            None => Ok(()),
        }
    }

    /// Refuses alarms that are not there: a deployment would go on whatever happens.
    fn check_alarms(&self, namespace: &Namespace, request: &PutService) -> Result<(), ApiError> {
        let asked = request.deployment.as_ref().and_then(|deployment| deployment.alarms.as_deref());
        for alarm in asked.unwrap_or_default() {
            let alarm = QualifiedName::new(namespace.clone(), alarm.clone());
            if self.context.objects.read(|view| view.alarm(&alarm).is_none()) {
                return Err(ApiError::invalid(format!(
                    "there is no alarm {alarm} by which the deployment could be given up: make it with `skiff alarm put`, \
                     or leave it out"
                )));
            }
        }
        Ok(())
    }

    /// Refuses to make a service that is scaled one that can't be: one on each node, or one without a task that no request
    /// would wake.
    fn check_scaled(&self, service: Option<&Service>, spec: &ServiceSpec) -> Result<(), ApiError> {
        let Some(service) = service else { return Ok(()) };
        let scaling =
            self.context.objects.read(|view| view.scaling_of(service).map(|held| held.value.clone()));
        let Some(scaling) = scaling else { return Ok(()) };
        match spec.placement.scheduling {
            SchedulingStrategy::Replica => {
                check_least(&scaling.spec, spec.scale_to_zero).map_err(ApiError::not_now)
            }
            SchedulingStrategy::Daemon => Err(ApiError::not_now(format!(
                "{name} is scaled, and scheduled as DAEMON it would have one task on each node: take the scaling away first \
                 with `skiff scaling rm {name}`",
                name = spec.name
            ))),
        }
    }

    /// The revision that a rollback means: the named one, or the last that completed beside the present one, or else the one
    /// that the service was given before.
    fn earlier(&self, service: &Service, revision: Option<u32>) -> Result<Arc<Definition>, ApiError> {
        let present = &service.spec.definition;
        let named = revision.map(|revision| TaskDefinitionId { family: present.family.clone(), revision });
        let completed = || {
            self.context.objects.read(|view| {
                let notes = view.notes.get(&keys::service_status(&service.name()))?;
                notes.value.last_completed(service).cloned()
            })
        };
        let id = named.or_else(completed).or_else(|| service.previous.clone()).ok_or_else(|| {
            let name = &service.spec.name;
            ApiError::not_now(format!("{name} has run nothing but {present}: there is nothing to go back to"))
        })?;
        self.resolve(&service.namespace, &id.into())
    }
}

/// How a service is deployed from now on: as was asked for, else as before.
fn deployment_after(
    request: &PutService,
    before: Option<&ServiceSpec>,
) -> Result<DeploymentConfiguration, ApiError> {
    let before = before.map(|spec| spec.deployment.clone()).unwrap_or_default();
    let after = match &request.deployment {
        Some(asked) => {
            let after = asked.over(before);
            asked.check_fits(after.strategy.name()).map_err(ApiError::invalid)?;
            after
        }
        None => before,
    };
    after.check().map_err(ApiError::invalid)?;
    Ok(after)
}

/// The service after a change of its specification; as it was if nothing changes, unless its deployment is to begin `again`.
fn next(
    name: &QualifiedName,
    before: Option<&Service>,
    spec: ServiceSpec,
    again: bool,
    id: DeploymentId,
    now_ms: u64,
) -> Service {
    let Some(before) = before.filter(|service| !service.removed) else {
        return Service {
            namespace: name.namespace.clone(),
            spec,
            created_at_ms: now_ms,
            updated_at_ms: now_ms,
            deployed_at_ms: now_ms,
            previous: None,
            deployment: id,
            is_paused: false,
            aborted: None,
            removed: false,
        };
    };
    let is_another = before.spec.definition != spec.definition;
    if before.spec == spec && !again {
        return before.clone();
    }
    let after = Service { spec, updated_at_ms: now_ms, ..before.clone() };
    if !is_another && !again {
        return after;
    }
    let previous = if is_another { Some(before.spec.definition.clone()) } else { before.previous.clone() };
    Service { deployed_at_ms: now_ms, previous, deployment: id, is_paused: false, aborted: None, ..after }
}

fn routed<'a>(name: &'a QualifiedName, service: &'a Service) -> Routed<'a> {
    Routed {
        service: name,
        wishes: Wishes::from(&service.spec),
        created_at_ms: service.created_at_ms,
        targets: vec![],
        split: None,
        wakes: false,
    }
}

/// Each once, in the order given.
fn unique<T: Clone + Ord>(items: Option<&[T]>) -> Vec<T> {
    let mut seen = BTreeSet::new();
    items.unwrap_or_default().iter().filter(|item| seen.insert((*item).clone())).cloned().collect()
}

/// Each once, in order.
fn sorted<T: Clone + Ord>(items: Option<&[T]>) -> Vec<T> {
    items.unwrap_or_default().iter().cloned().collect::<BTreeSet<T>>().into_iter().collect()
}

/// Requests reach `http` tasks and daemons only, connections only the latter; and only the former can sleep.
fn check_kind(spec: &ServiceSpec, definition: &Definition) -> Result<(), ApiError> {
    let definition = &definition.definition;
    let has_routes = !(spec.hosts.is_empty() && spec.paths.is_empty());
    if has_routes && !definition.is_balanced() {
        return Err(ApiError::invalid(format!(
            "{} exports no wasi:http handler and listens at no port, so the service can't have hosts or paths",
            definition.id
        )));
    }
    if spec.scale_to_zero.after().is_some() && !definition.kind.is_called() {
        return Err(ApiError::invalid(format!(
            "{} is of kind {}: only a service of http or event tasks can scale to zero, since a request, an event or a message \
             is what wakes it; leave scale_to_zero out, or say never",
            definition.id, definition.kind
        )));
    }
    match (spec.listen.first(), definition.port) {
        (Some(listen), None) => Err(ApiError::invalid(format!(
            "{listen} leads to the port that the service's tasks listen on, and {} names none: register it with one, as \
             --port does, or take the listener away",
            definition.id
        ))),
        (None, _) | (_, Some(_)) => Ok(()),
    }
}

/// Refuses routes and listeners that another service has.
fn check_places(view: &View, service: Routed<'_>) -> Result<(), ApiError> {
    check_listeners(view, service.service, service.wishes.listen)?;
    let asked = routes::asked(service.service, service.wishes);
    let askers: BTreeSet<&QualifiedName> = asked.flat_map(|place| view.askers.of(&place)).collect();
    let others: Vec<(&QualifiedName, &Service)> = askers
        .into_iter()
        .filter_map(|other| Some((other, &*view.service(other)?.value)))
        .filter(|(_, other)| !other.removed && view.is_balanced(other))
        .collect();
    let others: Vec<Routed<'_>> = others.iter().map(|(name, other)| routed(name, other)).collect();
    routes::check(&service, &others).map_err(|error| {
        let message = format!("{error}; give this one other hosts, paths or listeners");
        ApiError::new(ErrorCode::Conflict, message)
    })
}

/// Refuses a listener whose port another has, or that the node has no place for; those that the service has stay.
fn check_listeners(view: &View, name: &QualifiedName, wanted: &[Listen]) -> Result<(), ApiError> {
    let before = view.service(name).filter(|held| !held.value.removed);
    let has = before.map_or(&[][..], |held| held.value.spec.listen.as_slice());
    if wanted.iter().all(|listen| has.contains(listen)) {
        return Ok(());
    }
    let mut public = view.other_listeners().filter(|spec| spec.scheme == Scheme::Public);
    if let Some(other) = public.find(|spec| wanted.contains(&Listen::Tcp(spec.port))) {
        return Err(ApiError::new(
            ErrorCode::Conflict,
            format!(
                "the port {} is already taken by the listener {}; choose another",
                other.port, other.name
            ),
        ));
    }
    let stays =
        |asker: &QualifiedName| asker != name && view.service(asker).is_some_and(|held| !held.value.removed);
    let is_anothers =
        |(listen, askers): &(Listen, &[QualifiedName])| !wanted.contains(listen) && askers.iter().any(stays);
    let inline = wanted.len() + view.askers.listeners().filter(is_anothers).count();
    let count = inline + view.other_listeners().count();
    match count <= LISTENERS_MAX {
        true => Ok(()),
        false => Err(ApiError::new(
            ErrorCode::Conflict,
            format!(
                "with these listeners the load balancer would have {count} together; the most is {LISTENERS_MAX}: give \
                 this one fewer, or take some from others (`skiff status` and `skiff listener ls` list them)"
            ),
        )),
    }
}

pub(super) fn existing<'a>(
    present: Option<&'a Service>,
    name: &QualifiedName,
) -> Result<&'a Service, ApiError> {
    present.filter(|service| !service.removed).ok_or_else(|| no_service(name))
}

pub(super) fn no_service(QualifiedName { namespace, name }: &QualifiedName) -> ApiError {
    ApiError::not_found(format!("there is no service {name} in the namespace {namespace}"))
}

fn contended(name: &QualifiedName) -> ApiError {
    ApiError::new(ErrorCode::Unavailable, format!("others keep changing the service {name}; try again"))
}

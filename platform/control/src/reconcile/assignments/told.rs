//! What the node was told, and how what it is to do differs from that.
//!
//! Pure bookkeeping over the view. What always holds: the changes that were given out, one after the other, add up to
//! what a look at everything would say of every owner, as of when that owner was last looked at; and none of them leaves
//! a rule or a listener that leads to a service which was not told of, or was withdrawn.

mod balancer;
mod network;

use crate::keys;
use crate::meters::Owner;
use crate::model::{Service, TaskObject};
use crate::reconcile::sleeps;
use crate::view::{NamedGroups, View};
use balancer::ToldBalancer;
use network::{Interface, ToldNetwork};
use skiff_plan::lifecycle;
use skiff_plan::routes::{self, Host, Routed, ServiceRoute, Wishes};
use skiff_plan::shift::Division;
use skiff_ports::runtime::{DesiredChange, DesiredRoute, DesiredTask};
use skiff_ports::snapshot::{HostMatch, TaskSpec};
use skiff_types::{
    Command, Digest, Health, Kind, Namespace, QualifiedName, Split, Task, TaskDefinitionId, TaskId,
    TaskStatus,
};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

/// Whether a program's native code is ready.
type Prepared<'a> = &'a dyn Fn(&Digest) -> bool;

/// What the node was told.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// Each list sorted.
    tasks: HashMap<Owner, Vec<ToldTask>>,
    network: ToldNetwork,
    balancer: ToldBalancer,
    routes: HashMap<QualifiedName, ServiceRoute>,
    /// What tasks without overrides run, shared by all that run the same.
    specs: HashMap<(Namespace, TaskDefinitionId), Arc<TaskSpec>>,
    /// Owners of tasks that wait for native code.
    unprepared: HashMap<Digest, BTreeSet<Owner>>,
    /// Owners whose task definition is not there.
    undefined: BTreeSet<Owner>,
    /// Every owner is to be looked at again.
    doubted: bool,
}

/// A task that the node was told to run.
#[derive(Debug)]
struct ToldTask {
    id: TaskId,
    interface: Option<Interface>,
}

impl Told {
    /// Has the next look be one at everything.
    pub(super) fn doubt_all(&mut self) {
        self.doubted = true;
    }

    /// Who is to be looked at: those of whom something changed, and those who waited for what is there now.
    pub(super) fn owners_to_look_at(&mut self, view: &mut View, prepared: Prepared<'_>) -> Vec<Owner> {
        let mut owners = std::mem::take(&mut view.owners_to_assign);
        self.network.look_at_groups(std::mem::take(&mut view.groups_to_tell));
        self.balancer.look_at(std::mem::take(&mut view.balancer.to_tell));
        owners.append(&mut self.undefined);
        let ready = self.unprepared.extract_if(|program, _| prepared(program));
        ready.for_each(|(_, mut waited)| owners.append(&mut waited));
        if std::mem::take(&mut view.definition_went) | std::mem::take(&mut self.doubted) {
            owners.extend(view.owners());
            owners.extend(self.tasks.keys().cloned());
            owners.extend(self.routes.keys().map(|name| Owner { name: name.clone(), in_service: true }));
            self.unprepared.clear();
            self.network.look_at_all_groups(view);
            self.balancer.look_at_all(view);
            self.specs.retain(|_, spec| Arc::strong_count(spec) > 1);
        }
        owners.into_iter().collect()
    }

    /// What the node is to do otherwise now, as far as these owners are concerned, which are in order, and those whom a rule
    /// or a listener newly leads to.
    pub(super) fn look(&mut self, view: &View, owners: &[Owner], prepared: Prepared<'_>) -> DesiredChange {
        let mut change = DesiredChange::default();
        // The view may have moved on since it was said who is to be looked at.
        self.balancer.look_at(view.balancer.to_tell.clone());
        self.balancer.tell(view, &mut change.balancer);
        let mut led_to = balancer::services_led_to(view, &change.balancer);
        led_to.retain(|owner| owners.binary_search(owner).is_err());
        for owner in owners.iter().chain(&led_to) {
            self.look_at_tasks(view, owner, prepared, &mut change);
        }
        let services = owners.iter().chain(&led_to).filter(|owner| owner.in_service);
        self.look_at_routes(view, services.map(|owner| &owner.name), &mut change);
        self.network.tell_groups(view, &mut change.network);
        change
    }

    fn look_at_tasks(
        &mut self,
        view: &View,
        owner: &Owner,
        prepared: Prepared<'_>,
        change: &mut DesiredChange,
    ) {
        let mut tasks: Vec<ToldTask> = Vec::new();
        let mut before = self.tasks.remove(owner).unwrap_or_default();
        let named = match owner.in_service {
            true => view.groups_named_by(&owner.name),
            false => NamedGroups::Said(None),
        };
        for held in view.tasks_of(&owner.name.namespace, &owner.group()) {
            let task = &held.value.task;
            if !lifecycle::is_assigned(task.status) {
                continue;
            }
            // One of before there were several nodes has none only until it is taken up again.
            let Some(node) = &task.node else { continue };
            let Some(spec) = self.spec(view, &held.value) else {
                self.undefined.insert(owner.clone());
                continue;
            };
            if !prepared(&spec.program) {
                self.unprepared.entry(spec.program).or_default().insert(owner.clone());
                continue;
            }
            let known = before.binary_search_by_key(&task.id, |told| told.id);
            let interface = known.ok().and_then(|at| before[at].interface.take());
            if known.is_err() {
                let Owner { name, in_service } = owner.clone();
                let (life, node) = (task.restarts, node.clone());
                change.tasks.push(DesiredTask { id: task.id, owner: name, in_service, spec, life, node });
            }
            let interface = self.network.look_at(view, task, named, interface, &mut change.network);
            tasks.push(ToldTask { id: task.id, interface });
        }
        tasks.sort_unstable_by_key(|told| told.id);
        for told in before {
            if tasks.binary_search_by_key(&told.id, |other| other.id).is_err() {
                change.ended.push(told.id);
                if told.interface.is_some() {
                    self.network.leave(&owner.name.namespace);
                }
            }
        }
        if !tasks.is_empty() {
            self.tasks.insert(owner.clone(), tasks);
        }
    }

    /// All that running a task takes; `None` if its definition is gone.
    fn spec(&mut self, view: &View, object: &TaskObject) -> Option<Arc<TaskSpec>> {
        let task = &object.task;
        let definition = &view.definition(&task.namespace, &task.definition)?.value.definition;
        let spec = |command: Command| {
            Arc::new(TaskSpec {
                definition: task.definition.clone(),
                kind: definition.kind,
                generation: definition.generation,
                program: definition.program(&command.environment).key(),
                limits: definition.limits.clone(),
                command,
                port: definition.port,
                health_check: definition.health_check,
            })
        };
        Some(match task.overrides {
            None => {
                let key = (task.namespace.clone(), task.definition.clone());
                self.specs.entry(key).or_insert_with(|| spec(definition.command.clone())).clone()
            }
            Some(_) => spec(object.command(definition)),
        })
    }

    fn look_at_routes<'a>(
        &mut self,
        view: &View,
        services: impl Iterator<Item = &'a QualifiedName>,
        change: &mut DesiredChange,
    ) {
        let concerned = self.concerned(view, services);
        let routed: Vec<Routed<'_>> =
            concerned.iter().filter_map(|service| self.routed(view, service)).collect();
        let mut table: HashMap<QualifiedName, ServiceRoute> =
            routes::table(routed).into_iter().map(|route| (route.service.clone(), route)).collect();
        for service in concerned {
            match table.remove(&service) {
                Some(route) if self.routes.get(&service) == Some(&route) => {}
                Some(route) => {
                    change.routes.push(desired_route(route.clone()));
                    self.routes.insert(service, route);
                }
                None if self.routes.remove(&service).is_some() => change.withdrawn.push(service),
                None => {}
            }
        }
    }

    /// These services and all whose routes may depend on theirs: those that ask for a host and path, or a listener, that one
    /// of them has or asks for, and so on.
    fn concerned<'a>(
        &self,
        view: &View,
        services: impl Iterator<Item = &'a QualifiedName>,
    ) -> BTreeSet<QualifiedName> {
        let mut concerned: BTreeSet<QualifiedName> = services.cloned().collect();
        let mut unseen: Vec<QualifiedName> = concerned.iter().cloned().collect();
        while let Some(service) = unseen.pop() {
            let had = self.routes.get(&service).into_iter().flat_map(ServiceRoute::places);
            let asks = view
                .service(&service)
                .into_iter()
                .flat_map(|held| routes::asked(&service, Wishes::from(&held.value.spec)));
            for place in had.chain(asks) {
                let askers = view.askers.of(&place).iter();
                unseen.extend(askers.filter(|asker| concerned.insert(QualifiedName::clone(asker))).cloned());
            }
        }
        concerned
    }

    /// What a service asks for, if it takes part in the routing: because it is to answer, or because it still does.
    fn routed<'a>(&mut self, view: &'a View, name: &'a QualifiedName) -> Option<Routed<'a>> {
        let service: &'a Service = &view.service(name)?.value;
        let definition = view.definition(&service.namespace, view.revision_of(service));
        let answers = definition.is_some_and(|held| held.value.definition.is_balanced());
        let is_http = definition.is_some_and(|held| held.value.definition.kind == Kind::Http);
        let owner = Owner { name: name.clone(), in_service: true };
        if definition.is_none() {
            self.undefined.insert(owner.clone());
        }
        let group = service.group();
        let tasks = || {
            let tasks = view.tasks_of(&service.namespace, &group).map(|held| &held.value);
            tasks.filter(|object| object.task.stop.is_none())
        };
        let running = tasks().filter(|object| object.task.status == TaskStatus::Running);
        let running: HashSet<&TaskDefinitionId> = running.map(|object| &object.task.definition).collect();
        let runs_another = |task: &Task| running.iter().any(|definition| **definition != task.definition);
        let is_target = |object: &TaskObject| {
            let task = &object.task;
            match object.kind {
                // Its group's checks say whether it has requests: an unhealthy one has them if no other is healthy.
                Kind::Http if task.status == TaskStatus::Running => true,
                // Who is told of the route runs it by then; only in another revision's stead it waits until all do.
                Kind::Http => task.status == TaskStatus::Activating && !runs_another(task),
                // No request leads to it.
                Kind::Event => false,
                // A command whose health is not checked is a job.
                Kind::Command => task.is_ready() && task.health == Health::Healthy,
            }
        };
        let assigned = self.tasks.get(&owner);
        let able: Vec<&Task> = tasks()
            .filter(|object| is_target(object))
            .map(|object| &object.task)
            .filter(|task| {
                let is_assigned =
                    |told: &Vec<ToldTask>| told.binary_search_by_key(&task.id, |told| told.id).is_ok();
                assigned.is_some_and(is_assigned)
            })
            .collect();
        let (targets, split) = divided(view, service, &able);
        let takes_part = (answers && !service.removed) || !targets.is_empty();
        takes_part.then_some(Routed {
            service: name,
            wishes: Wishes::from(&service.spec),
            created_at_ms: service.created_at_ms,
            targets,
            split,
            wakes: is_http && !service.removed && wakes(view, service),
        })
    }
}

/// Who of those that can has a service's requests, and by which weight, where its revisions share them.
fn divided(view: &View, service: &Service, able: &[&Task]) -> (Vec<TaskId>, Option<Split>) {
    match view.shift_of(service).and_then(|shift| shift.divide(service.spec.desired, able)) {
        Some(Division { mut blue, green, percent }) => {
            blue.extend(&green);
            let test_hosts = service.spec.deployment.test_hosts.clone();
            let split = (!green.is_empty()).then_some(Split { percent, green, test_hosts });
            (blue, split)
        }
        None => (able.iter().map(|task| task.id).collect(), None),
    }
}

/// Whether a request for a service that has no target is worth waiting for one: it sleeps, or has just been woken. Of one
/// whose tasks fail and fail, nobody knows when that will be.
fn wakes(view: &View, service: &Service) -> bool {
    if service.spec.sleeps_after().is_none() {
        return false;
    }
    let tasks: Vec<_> = view.tasks_of(&service.namespace, &service.group()).cloned().collect();
    let notes = view.notes.get(&keys::service_status(&service.name())).map(|held| &*held.value);
    let comes = |status| matches!(status, TaskStatus::Pending | TaskStatus::Activating);
    sleeps(service, notes, &tasks).is_some()
        || tasks.iter().any(|held| held.value.task.stop.is_none() && comes(held.value.task.status))
}

fn desired_route(route: ServiceRoute) -> DesiredRoute {
    let host = |host| match host {
        Host::Pattern(pattern) => HostMatch::Pattern(pattern),
        Host::Any => HostMatch::Any,
    };
    DesiredRoute {
        service: route.service,
        hosts: route.hosts.into_iter().map(host).collect(),
        paths: route.paths,
        listen: route.listen,
        targets: route.targets,
        split: route.split,
        wakes: route.wakes,
    }
}

#[cfg(test)]
mod tests;

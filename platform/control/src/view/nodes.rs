//! The nodes and what is free on them, kept true with every task that comes, goes or moves, so that placing costs what is
//! placed, not what there is.
//!
//! A task takes its place when it is decided where it runs, before its object is written; it gives it back when its object
//! says that it has ended, or when whoever decided says that there will be none. It deliberately decides nothing itself:
//! `plan::placement` does.
//!
//! What always holds: no two decisions take the same room, since each is taken in as it is made.

use super::{Held, View};
use crate::keys;
use crate::model::{Service, TaskObject};
use skiff_plan::placement::{self, NoPlace, Nodes, TaskGroup, Wanted};
use skiff_ports::store::Key;
use skiff_types::{
    Limits, NodeCapacity, NodeId, NodeSpec, Placement, QualifiedName, SchedulingStrategy, TaskId, TaskSize,
    TaskStatus,
};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Where tasks are and can be.
#[derive(Debug, Default)]
pub(crate) struct NodesView {
    nodes: Nodes,
    ids: BTreeSet<NodeId>,
    /// Tasks that have not ended, by node, whether or not that is there.
    tasks: BTreeMap<NodeId, BTreeSet<Key>>,
    /// Those of them whose definition is not known yet, and so not what they take; by the definition's key.
    of_unknown_size: HashMap<Key, BTreeSet<Key>>,
    /// Services of which a task has no place, and why.
    waiting: BTreeMap<QualifiedName, NoPlace>,
}

/// What a task with these limits takes.
fn size_of(limits: &Limits) -> TaskSize {
    TaskSize { cpu: limits.cpu, memory: limits.memory }
}

impl NodesView {
    /// Whether a node is there.
    pub(crate) fn has(&self, id: &NodeId) -> bool {
        self.nodes.get(id).is_some()
    }

    /// The nodes that are there by id, and what of each is used.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&NodeSpec, NodeCapacity)> {
        self.ids.iter().filter_map(|id| Some((self.nodes.get(id)?, self.nodes.used(id)?)))
    }

    /// Tasks that have not ended, and whose node is not there.
    pub(crate) fn lost(&self) -> Vec<Key> {
        let astray = self.tasks.iter().filter(|(node, _)| !self.has(node));
        astray.flat_map(|(_, tasks)| tasks.iter().cloned()).collect()
    }

    /// How many nodes come into question for tasks with this placement.
    pub(crate) fn admitting(&mut self, placement: &Placement) -> u32 {
        placement::admitting(placement, &mut self.nodes)
    }

    /// Notes that a service's task has no place; says whether that is news: for another reason than was noted last.
    pub(crate) fn wait(&mut self, service: QualifiedName, why: NoPlace) -> bool {
        let is_news = self.waiting.get(&service).is_none_or(|known| !known.is_like(&why));
        self.waiting.insert(service, why);
        is_news
    }

    /// All tasks of a service have a place, as far as it wants any.
    pub(crate) fn wait_no_more(&mut self, service: &QualifiedName) {
        self.waiting.remove(service);
    }

    /// Why a task of a service has no place.
    pub(crate) fn waits_for(&self, service: &QualifiedName) -> Option<&NoPlace> {
        self.waiting.get(service)
    }
}

impl View {
    /// Takes in which nodes there are.
    pub(crate) fn set_nodes(&mut self, specs: &[NodeSpec]) {
        let ids: BTreeSet<NodeId> = specs.iter().map(|spec| spec.id.clone()).collect();
        let mut changed = false;
        for gone in self.nodes.ids.difference(&ids) {
            self.nodes.nodes.remove(gone);
            changed = true;
        }
        let is_news = |spec: &&NodeSpec| self.nodes.nodes.get(&spec.id) != Some(*spec);
        let came: Vec<&NodeSpec> = specs.iter().filter(is_news).collect();
        self.nodes.ids = ids;
        for spec in came {
            let is_new = !self.nodes.has(&spec.id);
            self.nodes.nodes.put(spec.clone());
            if is_new {
                let tasks = self.nodes.tasks.get(&spec.id).cloned().unwrap_or_default();
                tasks.iter().for_each(|key| self.take_place(key));
            }
            changed = true;
        }
        if changed {
            self.retry_placement();
        }
    }

    /// Takes places for tasks that have none yet, in their order, until there is none left: those that have one, and why the
    /// others have not.
    pub(crate) fn place(
        &mut self,
        placement: &Placement,
        objects: Vec<TaskObject>,
        chance: u64,
    ) -> (Vec<TaskObject>, Option<NoPlace>) {
        let mut placed = Vec::with_capacity(objects.len());
        let are_alike = |one: &TaskObject, other: &TaskObject| {
            one.task.definition == other.task.definition && one.task.group == other.task.group
        };
        for alike in objects.chunk_by(are_alike) {
            let task = &alike[0].task;
            let definition = self.definition(&task.namespace, &task.definition);
            // One that has gone meanwhile is why the task will end, wherever it is.
            let size = match definition {
                Some(held) => size_of(&held.value.definition.limits),
                None => size_of(&Limits::default()),
            };
            let group = TaskGroup { namespace: task.namespace.clone(), group: task.group.clone() };
            let wanted = Wanted { group: &group, size, placement };
            let ids: Vec<TaskId> = alike.iter().map(|object| object.task.id).collect();
            let places = placement::place_all(&wanted, &ids, chance, &mut self.nodes.nodes);
            for (object, node) in alike.iter().zip(places.nodes) {
                let mut object = object.clone();
                object.task.node = Some(node);
                placed.push(object);
            }
            if places.no_place.is_some() {
                return (placed, places.no_place);
            }
        }
        (placed, None)
    }

    /// The tasks of a service that has one on each node which are too many: on nodes that no longer come into question.
    pub(crate) fn too_many(&mut self, service: &Service) -> Vec<TaskId> {
        let definition = self.definition(&service.namespace, self.revision_of(service));
        let Some(size) = definition.map(|held| size_of(&held.value.definition.limits)) else { return vec![] };
        let group = TaskGroup { namespace: service.namespace.clone(), group: service.group() };
        let wanted = Wanted { group: &group, size, placement: &service.spec.placement };
        placement::daemons(&wanted, &mut self.nodes.nodes).stop
    }

    /// Whether a service has tasks that are about to make room.
    pub(crate) fn has_stopping(&self, service: &Service) -> bool {
        self.tasks_of(&service.namespace, &service.group()).any(|held| {
            let task = &held.value.task;
            task.is_stopping() && task.status != TaskStatus::Stopped
        })
    }

    /// The services that have one task on each node.
    pub(crate) fn one_per_node(&self) -> Vec<Held<Service>> {
        let is_one_per_node = |held: &&Held<Service>| match held.value.spec.placement.scheduling {
            SchedulingStrategy::Daemon => !held.value.removed,
            SchedulingStrategy::Replica => false,
        };
        self.services.all().filter(is_one_per_node).cloned().collect()
    }

    /// Gives back the place of a task of which there is no object.
    pub(crate) fn unplace(&mut self, task: TaskId) {
        let is_written = self.task_key(task).is_some();
        if !is_written && self.nodes.nodes.release(&task).is_some() {
            self.retry_placement();
        }
    }

    /// Gives back the place that a task was to move to, if it did not.
    pub(crate) fn unmove(&mut self, object: &TaskObject) {
        self.nodes.nodes.release(&object.task.id);
        if let Some(key) = self.task_key(object.task.id).cloned() {
            self.take_place(&key);
        }
        self.retry_placement();
    }

    /// Has the services looked at whose tasks have no place.
    fn retry_placement(&mut self) {
        self.services_to_look_at.extend(self.nodes.waiting.keys().cloned());
    }

    /// A task's object has changed.
    pub(super) fn note_place(&mut self, key: &Key, before: Option<&TaskObject>, after: Option<&TaskObject>) {
        let place = |object: Option<&TaskObject>| {
            let task = &object.filter(|object| object.task.status != TaskStatus::Stopped)?.task;
            task.node.clone()
        };
        let (had, has) = (place(before), place(after));
        if had == has {
            return;
        }
        if let (Some(node), Some(object)) = (&had, before) {
            let tasks = self.nodes.tasks.entry(node.clone()).or_default();
            tasks.remove(key);
            if tasks.is_empty() {
                self.nodes.tasks.remove(node);
            }
            self.nodes.forget_size(key, object);
            if has.is_none() && self.nodes.nodes.release(&object.task.id).is_some() {
                self.retry_placement();
            }
        }
        if let Some(node) = has {
            self.nodes.tasks.entry(node).or_default().insert(key.clone());
            self.take_place(key);
        }
    }

    /// A task's place is taken on its node, if that is there.
    fn take_place(&mut self, key: &Key) {
        let Some(object) = self.tasks.get(key).map(|held| held.value.clone()) else { return };
        let task = &object.task;
        let Some(node) = &task.node else { return };
        let Some(definition) = self.definition(&task.namespace, &task.definition) else {
            let definition = keys::definition(&task.namespace, &task.definition);
            self.nodes.of_unknown_size.entry(definition).or_default().insert(key.clone());
            return;
        };
        let size = size_of(&definition.value.definition.limits);
        let group = TaskGroup { namespace: task.namespace.clone(), group: task.group.clone() };
        // On a node that is not there it takes nothing.
        if self.nodes.nodes.occupy(task.id, &group, size, node).is_err() {
            self.nodes.nodes.release(&task.id);
        }
    }

    /// A definition has come to be known.
    pub(super) fn note_size(&mut self, definition: &Key) {
        let tasks = self.nodes.of_unknown_size.remove(definition).unwrap_or_default();
        tasks.iter().for_each(|key| self.take_place(key));
    }
}

impl NodesView {
    fn forget_size(&mut self, key: &Key, object: &TaskObject) {
        let definition = keys::definition(&object.task.namespace, &object.task.definition);
        if let Some(tasks) = self.of_unknown_size.get_mut(&definition) {
            tasks.remove(key);
            if tasks.is_empty() {
                self.of_unknown_size.remove(&definition);
            }
        }
    }
}

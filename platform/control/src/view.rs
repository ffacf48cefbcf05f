//! The objects in memory, as the store has them or had them a moment ago, with what is looked up by more than a key.
//!
//! It deliberately never waits and never reads the store; `objects` keeps it true.
//!
//! What always holds: an object is only ever replaced by a later revision of itself, and every change has a
//! *generation* of its own: who has seen a generation has seen every change up to it.

/// In an implementation of [`Viewed`]: where in the view the table is.
macro_rules! table_at {
    ($($field:ident).+) => {
        fn table(view: &View) -> &Table<Self> {
            &view.$($field).+
        }

        fn table_mut(view: &mut View) -> &mut Table<Self> {
            &mut view.$($field).+
        }
    };
}

mod access;
mod alarms;
mod askers;
mod balancer;
mod bus;
mod consumers;
mod data;
mod groups;
mod nodes;
mod scaling;

pub(crate) use balancer::{ToTell, User};
pub(crate) use data::NeededIds;
pub(crate) use groups::NamedGroups;

use crate::events::Tale;
use crate::keys;
use crate::meters::Owner;
use crate::model::{
    Consumer, Definition, Image, Scaling, ScalingNotes, SecurityGroup, Service, ServiceNotes, TaskObject,
};
use crate::objects::UNWRITTEN;
use crate::records::Stored;
use access::AccessView;
use alarms::Alarms;
use askers::Askers;
use balancer::Balancer;
use bus::BusesView;
use data::Data;
use nodes::NodesView;
use skiff_plan::rollout::Rollout;
use skiff_plan::shift::Shift;
use skiff_ports::journal::Mark;
use skiff_ports::store::{Key, Revision};
use skiff_types::{
    Group, Name, Namespace, QualifiedName, Restart, RolloutState, Task, TaskAddress, TaskDefinitionId,
    TaskId, TaskStatus,
};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound::{Excluded, Included};
use std::sync::Arc;

/// An object as of one revision.
#[derive(Debug)]
pub(crate) struct Held<T> {
    pub(crate) revision: Revision,
    pub(crate) generation: u64,
    pub(crate) value: Arc<T>,
}

impl<T> Clone for Held<T> {
    fn clone(&self) -> Self {
        Self { revision: self.revision, generation: self.generation, value: self.value.clone() }
    }
}

/// All objects of one type, by key.
#[derive(Debug)]
pub(crate) struct Table<T> {
    entries: BTreeMap<Key, Held<T>>,
    /// When keys were deleted that a watch may still speak of as they were before.
    gone: BTreeMap<Key, Revision>,
    /// The revision that the watch has come to.
    watched: Revision,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { entries: BTreeMap::new(), gone: BTreeMap::new(), watched: 0 }
    }
}

impl<T> Table<T> {
    pub(crate) fn get(&self, key: &Key) -> Option<&Held<T>> {
        self.entries.get(key)
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Held<T>> {
        self.entries.values()
    }

    /// Those under a prefix, ordered by key, without a look at any other.
    pub(crate) fn under<'a>(
        &'a self,
        prefix: &Key,
    ) -> impl DoubleEndedIterator<Item = &'a Held<T>> + use<'a, T> {
        // All that lies below goes on with a dot, and a slash is the next character.
        let (first, end) = (format!("{prefix}."), format!("{prefix}/"));
        let below = self.entries.range::<str, _>((Included(first.as_str()), Excluded(end.as_str())));
        self.entries.get(prefix).into_iter().chain(below.map(|(_, held)| held))
    }

    fn is_older(&self, key: &Key, revision: Revision) -> bool {
        self.entries.get(key).is_some_and(|held| held.revision >= revision)
            || self.gone.get(key).is_some_and(|&gone| gone >= revision)
    }
}

/// All objects.
#[derive(Debug, Default)]
pub(crate) struct View {
    /// Counts changes.
    pub(crate) generation: u64,
    pub(crate) images: Table<Image>,
    pub(crate) definitions: Table<Definition>,
    pub(crate) services: Table<Service>,
    pub(crate) notes: Table<ServiceNotes>,
    pub(crate) tasks: Table<TaskObject>,
    pub(crate) security_groups: Table<SecurityGroup>,
    /// Listeners, rules, target groups.
    pub(crate) balancer: Balancer,
    /// The nodes, and which tasks are where.
    pub(crate) nodes: NodesView,
    /// Alarms, and what is noted of them.
    pub(crate) alarms: Alarms,
    /// Roles and access keys.
    pub(crate) access: AccessView,
    /// What moves the counts of services' tasks, and what is noted of that.
    pub(crate) scaling: Table<Scaling>,
    pub(crate) scaling_notes: Table<ScalingNotes>,
    /// Buckets, tables and queues.
    pub(crate) data: Data,
    /// Who takes messages of queues.
    pub(crate) consumers: Table<Consumer>,
    /// Buses, their rules, schedules.
    pub(crate) buses: BusesView,
    /// Keys of records that can't be read. What they need must not be collected.
    pub(crate) unreadable: BTreeSet<Key>,
    /// Services of which something changed since their reconciler last looked.
    pub(crate) services_to_look_at: BTreeSet<QualifiedName>,
    /// Services and families of which something changed since the node was last told what to do.
    pub(crate) owners_to_assign: BTreeSet<Owner>,
    /// Whether a task definition went since then, so that every owner is to be looked at.
    pub(crate) definition_went: bool,
    /// Security groups that changed since then.
    pub(crate) groups_to_tell: BTreeSet<QualifiedName>,
    /// Addresses of tasks that ended, until they are taken back.
    pub(crate) addresses_left: Vec<TaskAddress>,
    /// Who asks for which hosts and paths, and for which listeners.
    pub(crate) askers: Askers,
    /// Services that may fall asleep, and of which it is not written down that they sleep.
    pub(crate) idlers: BTreeSet<QualifiedName>,
    tasks_of: HashMap<(Namespace, Group), BTreeSet<Key>>,
    task_keys: HashMap<TaskId, Key>,
    /// Services whose deployment was not yet seen to be complete.
    deploying: BTreeSet<QualifiedName>,
    /// Tasks on their way somewhere: all but those that run undisturbed or have ended.
    unsettled: BTreeSet<Key>,
}

/// An object that has a table in the view.
pub(crate) trait Viewed: Stored {
    /// What holds while a record of such an object can't be read, as the end of a sentence.
    const WHILE_UNREADABLE: &'static str = "it is passed over";

    /// Its table.
    fn table(view: &View) -> &Table<Self>;
    /// Its table.
    fn table_mut(view: &mut View) -> &mut Table<Self>;
    /// Keeps what is looked up by other ways than the key; called once for each change. Of one that could not be read
    /// before, and can't be or is not there now, nothing is told but the key.
    fn index(_view: &mut View, _key: &Key, _before: Option<&Self>, _after: Option<&Self>) {}

    /// What it has to tell on the stream of events since it was told up to this mark, if anything.
    fn tale(&self, _told: Option<Mark>) -> Option<Tale> {
        None
    }
}

impl View {
    /// Takes in a key's state as of `revision`; false if something as late is known already.
    pub(crate) fn apply<T: Viewed>(&mut self, key: &Key, revision: Revision, value: Option<Arc<T>>) -> bool {
        if T::table(self).is_older(key, revision) {
            return false;
        }
        self.generation += 1;
        let generation = self.generation;
        let table = T::table_mut(self);
        let before = match &value {
            Some(value) => {
                table.gone.remove(key);
                let held = Held { revision, generation, value: value.clone() };
                table.entries.insert(key.clone(), held)
            }
            None => {
                table.gone.insert(key.clone(), revision);
                table.entries.remove(key)
            }
        };
        self.unreadable.remove(key);
        let before = before.map(|held| held.value);
        T::index(self, key, before.as_deref(), value.as_deref());
        true
    }

    /// Takes in what a call of this process read or wrote at `revision`, which may come late: an object that is not here
    /// although the watch is past its revision is gone since.
    pub(crate) fn apply_own<T: Viewed>(&mut self, key: &Key, revision: Revision, value: Arc<T>) -> bool {
        let table = T::table(self);
        let is_gone = revision <= table.watched && table.get(key).is_none() && !self.unreadable.contains(key);
        !is_gone && self.apply(key, revision, Some(value))
    }

    /// Forgets an object that the store does not have; false if there is none, or it has it by now.
    pub(crate) fn forget_unwritten<T: Viewed>(&mut self, key: &Key) -> bool {
        let table = T::table_mut(self);
        if table.get(key).is_none_or(|held| held.revision != UNWRITTEN) {
            return false;
        }
        let before = table.entries.remove(key).map(|held| held.value);
        self.generation += 1;
        T::index(self, key, before.as_deref(), None);
        true
    }

    /// Notes that a key's record can't be read; false if that was known.
    pub(crate) fn apply_unreadable<T: Viewed>(&mut self, key: &Key) -> bool {
        let before = T::table_mut(self).entries.remove(key).map(|held| held.value);
        let is_news = self.unreadable.insert(key.clone());
        if is_news {
            self.generation += 1;
            T::index(self, key, before.as_deref(), None);
        }
        is_news
    }

    /// A watch has come to `revision`: nothing that was deleted up to it will be spoken of again.
    pub(crate) fn watched_to<T: Viewed>(&mut self, revision: Revision) {
        let table = T::table_mut(self);
        table.watched = table.watched.max(revision);
        table.gone.retain(|_, gone| *gone > revision);
    }

    /// Keys that the view has and a listing as of `revision` has not.
    pub(crate) fn missing_from<T: Viewed>(&self, listed: &BTreeSet<&Key>, revision: Revision) -> Vec<Key> {
        let stale = |(key, held): &(&Key, &Held<T>)| {
            held.revision != UNWRITTEN && held.revision <= revision && !listed.contains(key)
        };
        let readable = T::table(self).entries.iter().filter(stale).map(|(key, _)| key);
        let unreadable = self.unreadable.iter().filter(|key| key.tokens().next() == Some(T::PREFIX));
        readable.chain(unreadable.filter(|key| !listed.contains(key))).cloned().collect()
    }

    /// Whether there is an object under a key that may have something to tell on the stream of events.
    pub(crate) fn may_tell(&self, key: &Key) -> bool {
        self.tasks.get(key).is_some()
            || self.notes.get(key).is_some()
            || self.scaling_notes.get(key).is_some()
            || self.alarms.notes.get(key).is_some()
            || self.unreadable.contains(key)
    }

    /// A service.
    pub(crate) fn service(&self, name: &QualifiedName) -> Option<&Held<Service>> {
        self.services.get(&keys::service(name))
    }

    /// How far a service's present deployment is, if it has begun.
    pub(crate) fn rollout_of(&self, service: &Service) -> Option<&Rollout> {
        self.notes.get(&keys::service_status(&service.name()))?.value.rollout_of(service)
    }

    /// How a service's weight moves, if it does: as long as its present deployment has not begun, that of the one before.
    pub(crate) fn shift_of(&self, service: &Service) -> Option<&Shift> {
        let notes = &self.notes.get(&keys::service_status(&service.name()))?.value;
        let is_its = notes.service_created_at_ms == service.created_at_ms;
        notes.rollout.as_ref().filter(|_| is_its)?.shift.as_ref()
    }

    /// The revision that a service goes to: what its user said, or what Skiff rolled that back to.
    pub(crate) fn revision_of<'a>(&'a self, service: &'a Service) -> &'a TaskDefinitionId {
        self.rollout_of(service).map_or(&service.spec.definition, |rollout| &rollout.definition)
    }

    /// A task definition, whether it is still registered or not.
    pub(crate) fn definition(&self, ns: &Namespace, id: &TaskDefinitionId) -> Option<&Held<Definition>> {
        self.definitions.get(&keys::definition(ns, id))
    }

    /// Whether a task's definition is there but can't be read: nothing is decided that hangs on it.
    pub(crate) fn has_unreadable_definition(&self, task: &Task) -> bool {
        self.unreadable.contains(&keys::definition(&task.namespace, &task.definition))
    }

    /// What becomes of a one-off task whose program ended; nothing more of one whose definition is not there. `None` while
    /// the definition can't be read.
    pub(crate) fn restart_of(&self, task: &Task) -> Option<Restart> {
        match self.definition(&task.namespace, &task.definition) {
            Some(held) => Some(held.value.definition.restart),
            None if self.has_unreadable_definition(task) => None,
            None => Some(Restart::Never),
        }
    }

    /// The newest revision of a family, whether it is still registered or not.
    pub(crate) fn newest(&self, namespace: &Namespace, family: &Name) -> Option<&Held<Definition>> {
        let prefix = keys::family(namespace, family);
        self.definitions.under(&prefix).next_back()
    }

    /// A task.
    pub(crate) fn task(&self, namespace: &Namespace, id: TaskId) -> Option<&Held<TaskObject>> {
        self.tasks.get(&keys::task(namespace, id))
    }

    /// Where the task with this id lies, whatever its namespace.
    pub(crate) fn task_key(&self, id: TaskId) -> Option<&Key> {
        self.task_keys.get(&id)
    }

    /// The tasks of a group, oldest first.
    pub(crate) fn tasks_of(&self, ns: &Namespace, group: &Group) -> impl Iterator<Item = &Held<TaskObject>> {
        let keys = self.tasks_of.get(&(ns.clone(), group.clone()));
        keys.into_iter().flatten().filter_map(|key| self.tasks.get(key))
    }

    /// Every service, and all else that tasks belong to.
    pub(crate) fn owners(&self) -> impl Iterator<Item = Owner> {
        let services = self.services.all().map(|held| Owner { name: held.value.name(), in_service: true });
        services.chain(self.tasks_of.keys().map(|(namespace, group)| Owner::of_group(namespace, group)))
    }

    /// Tasks on their way somewhere.
    pub(crate) fn unsettled(&self) -> impl Iterator<Item = &Held<TaskObject>> {
        self.unsettled.iter().filter_map(|key| self.tasks.get(key))
    }

    /// Notes whether a service is one that may fall asleep.
    fn note_idler(&mut self, name: &QualifiedName) {
        let is_kept = |held: &Held<Service>| !held.value.removed && held.value.spec.sleeps_after().is_some();
        let notes = self.notes.get(&keys::service_status(name));
        let is_awake = notes.is_none_or(|held| held.value.asleep.is_none());
        if is_awake && self.service(name).is_some_and(is_kept) {
            self.idlers.insert(name.clone());
        } else {
            self.idlers.remove(name);
        }
    }

    /// Has the reconciler look at the services whose deployment was not yet seen to be complete.
    pub(crate) fn look_at_deployments(&mut self) {
        self.services_to_look_at.extend(self.deploying.iter().cloned());
    }

    /// Has the reconciler look at every service, and at groups of services that are no more.
    pub(crate) fn look_at_all_services(&mut self) {
        self.services_to_look_at.extend(self.services.all().map(|held| held.value.name()));
        let owners = self.tasks_of.keys().filter_map(|(namespace, group)| match group {
            Group::Service(name) => Some(QualifiedName::new(namespace.clone(), name.clone())),
            Group::Family(_) => None,
        });
        self.services_to_look_at.extend(owners);
    }
}

impl Viewed for Image {
    table_at!(images);
}

impl Viewed for Definition {
    const WHILE_UNREADABLE: &'static str = "what runs it is neither started nor started again";
    table_at!(definitions);

    fn index(view: &mut View, key: &Key, _: Option<&Self>, after: Option<&Self>) {
        view.definition_went |= after.is_none();
        if after.is_some() {
            view.note_size(key);
        }
    }
}

impl Viewed for Service {
    const WHILE_UNREADABLE: &'static str = "its tasks are in no security group, and no request leads to them";
    table_at!(services);

    fn index(view: &mut View, key: &Key, before: Option<&Self>, after: Option<&Self>) {
        let Some(name) = keys::name_of(key) else { return };
        view.owners_to_assign.insert(Owner { name: name.clone(), in_service: true });
        view.note_idler(&name);
        view.services_to_look_at.insert(name);
        before.into_iter().for_each(|service| view.askers.remove(service));
        after.into_iter().for_each(|service| view.askers.add(service));
    }
}

impl Viewed for ServiceNotes {
    table_at!(notes);

    fn index(view: &mut View, _: &Key, before: Option<&Self>, after: Option<&Self>) {
        let Some(notes) = after.or(before) else { return };
        let asleep = |notes: Option<&Self>| notes.and_then(|notes| notes.asleep);
        if asleep(before) != asleep(after) {
            view.note_idler(&notes.service);
            view.services_to_look_at.insert(notes.service.clone());
        }
        let leads = |notes| (goes_to(notes), weights(notes));
        if leads(before) != leads(after) || asleep(before) != asleep(after) {
            view.owners_to_assign.insert(Owner { name: notes.service.clone(), in_service: true });
        }
        if after.is_some_and(is_deploying) {
            view.deploying.insert(notes.service.clone());
        } else {
            view.deploying.remove(&notes.service);
        }
    }

    fn tale(&self, told: Option<Mark>) -> Option<Tale> {
        self.tells(told)
    }
}

/// The revision that a service goes to by what was noted of it.
fn goes_to(notes: Option<&ServiceNotes>) -> Option<&TaskDefinitionId> {
    Some(&notes?.rollout.as_ref()?.definition)
}

/// Between which revisions a service's requests are divided, and how, by what was noted of it.
fn weights(notes: Option<&ServiceNotes>) -> Option<(&TaskDefinitionId, &TaskDefinitionId, u16)> {
    let shift = notes?.rollout.as_ref()?.shift.as_ref()?;
    Some((&shift.blue, &shift.green, shift.percent))
}

/// Whether a service's deployment is yet to be seen to be complete; one that has failed never is.
fn is_deploying(notes: &ServiceNotes) -> bool {
    let has_failed = notes.rollout.as_ref().is_some_and(|rollout| rollout.state == RolloutState::Failed);
    !notes.completed && !has_failed
}

impl Viewed for TaskObject {
    table_at!(tasks);

    fn index(view: &mut View, key: &Key, before: Option<&Self>, after: Option<&Self>) {
        let Some(object) = after.or(before) else { return };
        let group = (object.task.namespace.clone(), object.task.group.clone());
        if after.is_some() {
            view.task_keys.insert(object.task.id, key.clone());
            view.tasks_of.entry(group).or_default().insert(key.clone());
        } else {
            view.task_keys.remove(&object.task.id);
            let keys = view.tasks_of.entry(group.clone()).or_default();
            keys.remove(key);
            if keys.is_empty() {
                view.tasks_of.remove(&group);
            }
        }
        if object.in_service() {
            view.services_to_look_at.insert(object.owner());
        }
        view.owners_to_assign.insert(Owner { name: object.owner(), in_service: object.in_service() });
        view.note_place(key, before, after);
        let (had, has) = (before.and_then(Self::address_in_use), after.and_then(Self::address_in_use));
        view.addresses_left.extend(had.filter(|_| had != has));
        let settled = after.is_none_or(|object| match object.task.status {
            TaskStatus::Stopped => true,
            TaskStatus::Running => object.task.stop.is_none(),
            _ => false,
        });
        if settled {
            view.unsettled.remove(key);
        } else {
            view.unsettled.insert(key.clone());
        }
    }

    fn tale(&self, told: Option<Mark>) -> Option<Tale> {
        self.tells(told)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes in an object as of a later revision than all that is known.
    pub(super) fn put<T: Viewed>(view: &mut View, object: T) {
        let revision = view.generation + 1;
        assert!(view.apply(&object.key(), revision, Some(Arc::new(object))));
    }

    fn service(name: &str, updated_at_ms: u64) -> Arc<Service> {
        Arc::new(Service {
            namespace: Namespace::default(),
            spec: skiff_types::ServiceSpec {
                name: name.parse().unwrap(),
                definition: "hello:1".parse().unwrap(),
                desired: 1,
                hosts: vec![],
                paths: vec![],
                security_groups: None,
                listen: vec![],
                deployment: skiff_types::DeploymentConfiguration::default(),
                scale_to_zero: skiff_types::ScaleToZero::Never,
                placement: skiff_types::Placement::default(),
            },
            created_at_ms: 0,
            updated_at_ms,
            deployed_at_ms: 0,
            previous: None,
            deployment: skiff_types::DeploymentId::from_parts(0, [0; 10]),
            is_paused: false,
            aborted: None,
            removed: false,
        })
    }

    #[test]
    fn an_old_change_never_undoes_a_new_one() {
        let (mut view, object) = (View::default(), service("hello", 1));
        let key = object.key();
        assert!(view.apply(&key, 5, Some(object.clone())));
        assert!(!view.apply(&key, 4, Some(service("hello", 0))), "older than what is known");
        assert!(view.apply::<Service>(&key, 6, None));
        assert!(!view.apply(&key, 5, Some(object.clone())), "brought back by a watch that lags");
        assert!(view.services.get(&key).is_none());
        view.watched_to::<Service>(6);
        assert!(
            !view.apply_own(&key, 5, object.clone()),
            "brought back by a call that lags behind the watch"
        );
        assert!(view.apply_own(&key, 7, object));
    }

    #[test]
    fn a_prefix_skips_its_neighbours() {
        let mut view = View::default();
        for (revision, name) in ["a", "a-b", "a0", "ab", "b"].into_iter().enumerate() {
            let object = service(name, 0);
            view.apply(&object.key(), revision as u64 + 1, Some(object));
        }
        let prefix = Key::parse("service.default.a").unwrap();
        assert_eq!(view.services.under(&prefix).count(), 1);
        let all = keys::in_namespace("service", &Namespace::default());
        let names = || view.services.under(&all).map(|held| held.value.spec.name.as_str());
        assert_eq!(names().collect::<Vec<_>>(), ["a", "a-b", "a0", "ab", "b"]);
        assert_eq!(names().next_back(), Some("b"));
        assert_eq!(view.services_to_look_at.len(), 5);
    }

    #[test]
    fn what_a_listing_lacks_is_gone_unless_it_is_newer() {
        let mut view = View::default();
        for (revision, name) in [(1, "a"), (9, "b")] {
            let object = service(name, 0);
            view.apply(&object.key(), revision, Some(object));
        }
        let missing = view.missing_from::<Service>(&BTreeSet::new(), 5);
        assert_eq!(missing, [service("a", 0).key()]);
    }
}

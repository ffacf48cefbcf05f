//! What the node was told of the virtual network: interfaces and security groups.
//!
//! Pure bookkeeping, like its parent's, and under the same law. The default group of a namespace that nobody has changed
//! is told as long as an interface there may be in it.

use crate::view::{NamedGroups, View};
use skiff_ports::network::GroupRules;
use skiff_ports::runtime::{DesiredInterface, NetworkDesired};
use skiff_types::{Health, Kind, Name, Namespace, QualifiedName, Rule, Task, TaskStatus};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

/// What the node was told of the network.
#[derive(Debug, Default)]
pub(super) struct ToldNetwork {
    groups: HashMap<QualifiedName, Vec<Rule>>,
    /// Groups that may be otherwise than they were told.
    doubtful: BTreeSet<QualifiedName>,
    /// How many interfaces there are in each namespace, never 0.
    interfaces: HashMap<Namespace, usize>,
    /// The lists of groups that interfaces are in, each once.
    lists: HashSet<Arc<[Name]>>,
}

/// A task's interface, as far as it can change.
#[derive(Debug)]
pub(super) struct Interface {
    groups: Arc<[Name]>,
    ready: bool,
}

impl ToldNetwork {
    /// Has these groups be looked at.
    pub(super) fn look_at_groups(&mut self, mut groups: BTreeSet<QualifiedName>) {
        self.doubtful.append(&mut groups);
    }

    /// Has all groups be looked at.
    pub(super) fn look_at_all_groups(&mut self, view: &View) {
        self.doubtful.extend(view.security_groups.all().map(|held| held.value.qualified()));
        self.doubtful.extend(self.groups.keys().cloned());
        self.doubtful.extend(self.interfaces.keys().map(default_group));
        self.lists.retain(|list| Arc::strong_count(list) > 1);
    }

    /// Tells of a task's interface if it is otherwise than `before`. The task's service has named these groups.
    pub(super) fn look_at(
        &mut self,
        view: &View,
        task: &Task,
        named: NamedGroups<'_>,
        before: Option<Interface>,
        change: &mut NetworkDesired,
    ) -> Option<Interface> {
        let address = task.address?;
        let definition = view.definition(&task.namespace, &task.definition)?;
        let groups = named.or_of(&definition.value.definition.security_groups);
        let ready = task.stop.is_none() && is_ready(task, definition.value.definition.kind);
        if before.as_ref().is_some_and(|before| *before.groups == *groups && before.ready == ready) {
            return before;
        }
        if before.is_none() {
            let count = self.interfaces.entry(task.namespace.clone()).or_default();
            *count += 1;
            if *count == 1 {
                self.doubtful.insert(default_group(&task.namespace));
            }
        }
        for name in &groups {
            // One that was made a moment ago, of which the next look would tell.
            let group = QualifiedName::new(task.namespace.clone(), name.clone());
            if !self.groups.contains_key(&group) {
                self.doubtful.insert(group);
            }
        }
        let groups = self.shared(groups);
        let interface = DesiredInterface { task: task.id, address, groups: groups.clone(), ready };
        change.interfaces.push(interface);
        Some(Interface { groups, ready })
    }

    /// A task of this namespace that had an interface is told to end.
    pub(super) fn leave(&mut self, namespace: &Namespace) {
        if let Some(count) = self.interfaces.get_mut(namespace) {
            *count -= 1;
            if *count == 0 {
                self.interfaces.remove(namespace);
                self.doubtful.insert(default_group(namespace));
            }
        }
    }

    /// Tells what groups allow that is otherwise than it was told.
    pub(super) fn tell_groups(&mut self, view: &View, change: &mut NetworkDesired) {
        for group in std::mem::take(&mut self.doubtful) {
            // The default one that nobody has made is told as long as somebody may be in it.
            let is_needed =
                view.security_group(&group).is_some() || self.interfaces.contains_key(&group.namespace);
            match view.rules_of_group(&group).filter(|_| is_needed) {
                Some(rules) if self.groups.get(&group) == Some(&rules) => {}
                Some(rules) => {
                    change.groups.push(GroupRules { group: group.clone(), rules: rules.clone() });
                    self.groups.insert(group, rules);
                }
                None if self.groups.remove(&group).is_some() => change.dissolved.push(group),
                None => {}
            }
        }
    }

    fn shared(&mut self, list: Vec<Name>) -> Arc<[Name]> {
        if let Some(shared) = self.lists.get(list.as_slice()) {
            return shared.clone();
        }
        let list: Arc<[Name]> = list.into();
        self.lists.insert(list.clone());
        list
    }
}

/// Whether names lead to a task. An `http` task is called in the worker that the call comes from, which runs it by then.
fn is_ready(task: &Task, kind: Kind) -> bool {
    let is_about_to = kind == Kind::Http && task.status == TaskStatus::Activating;
    task.is_ready() || (is_about_to && task.health != Health::Unhealthy)
}

fn default_group(namespace: &Namespace) -> QualifiedName {
    QualifiedName::new(namespace.clone(), skiff_types::default_group())
}

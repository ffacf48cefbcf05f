//! What the node was told of the virtual network: interfaces and security groups.
//!
//! Pure bookkeeping, like its parent's, and under the same law. The default group of a namespace that nobody has changed
//! is told as long as an interface there may be in it.

use crate::view::View;
use skiff_plan::security_groups;
use skiff_ports::network::GroupRules;
use skiff_ports::runtime::{DesiredInterface, NetworkDesired};
use skiff_types::{DEFAULT_GROUP, Name, Namespace, QualifiedName, Rule, Task, TaskId, TaskStatus};
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

    /// Tells of a task's interface if it is otherwise than `before`. The task's service may name groups.
    pub(super) fn look_at(
        &mut self,
        view: &View,
        task: &Task,
        service: Option<&[Name]>,
        before: Option<Interface>,
        change: &mut NetworkDesired,
    ) -> Option<Interface> {
        let address = task.address?;
        let definition = view.definition(&task.namespace, &task.definition)?;
        let groups = security_groups::of_task(&definition.value.definition.security_groups, service);
        let ready = task.status == TaskStatus::Running && task.stop.is_none();
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

    /// Tells that a task's interface is gone.
    pub(super) fn leave(&mut self, namespace: &Namespace, task: TaskId, change: &mut NetworkDesired) {
        change.left.push(task);
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
            let rules = match view.security_group(&group) {
                Some(held) => Some(held.value.rules.clone()),
                None if self.is_implied(&group) => Some(Rule::defaults()),
                None => None,
            };
            match rules {
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

    fn is_implied(&self, group: &QualifiedName) -> bool {
        group.name.as_str() == DEFAULT_GROUP && self.interfaces.contains_key(&group.namespace)
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

fn default_group(namespace: &Namespace) -> QualifiedName {
    QualifiedName::new(namespace.clone(), security_groups::default_group())
}

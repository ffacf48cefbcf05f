//! Security groups by their names, what they allow, and which tasks are in which.
//!
//! It decides nothing: who may connect to whom, the network's policy says.

use super::{Held, Table, View, Viewed};
use crate::keys;
use crate::model::{SecurityGroup, Service, TaskObject};
use skiff_plan::security_groups;
use skiff_ports::store::Key;
use skiff_types::{
    DEFAULT_GROUP, Group, Name, Namespace, QualifiedName, Rule, Task, TaskDefinitionId, TaskStatus,
};

/// What a service says of its tasks' security groups.
#[derive(Debug, Clone, Copy)]
pub(crate) enum NamedGroups<'a> {
    /// These, or nothing: then it is for the task definition to say.
    Said(Option<&'a [Name]>),
    /// Its record can't be read.
    Unreadable,
}

impl NamedGroups<'_> {
    /// The groups of a task, sorted, whose definition names these. Where what counts more can't be read, it is in none,
    /// and nothing is allowed.
    pub(crate) fn or_of(self, definition: &[Name]) -> Vec<Name> {
        match self {
            Self::Said(service) => security_groups::of_task(definition, service),
            Self::Unreadable => Vec::new(),
        }
    }
}

impl View {
    /// A security group that somebody made or changed.
    pub(crate) fn security_group(&self, name: &QualifiedName) -> Option<&Held<SecurityGroup>> {
        self.security_groups.get(&keys::security_group(name))
    }

    /// Whether there is a security group that can be read; the default one is there before anybody makes it.
    pub(crate) fn has_group(&self, name: &QualifiedName) -> bool {
        let is_implied =
            || name.name.as_str() == DEFAULT_GROUP && !self.unreadable.contains(&keys::security_group(name));
        self.security_group(name).is_some() || is_implied()
    }

    /// What a security group allows; `None` where there is none, or where it can't be read: that allows nothing.
    pub(crate) fn rules_of_group(&self, name: &QualifiedName) -> Option<Vec<Rule>> {
        let made = self.security_group(name).map(|held| held.value.rules.clone());
        made.or_else(|| self.has_group(name).then(Rule::defaults))
    }

    /// The tasks in a security group that have not ended.
    pub(crate) fn tasks_in_group<'a>(
        &'a self,
        group: &'a QualifiedName,
    ) -> impl Iterator<Item = &'a Held<TaskObject>> {
        let tasks = self.tasks.under(&keys::in_namespace("task", &group.namespace));
        let living = tasks.filter(|held| held.value.task.status != TaskStatus::Stopped);
        living.filter(move |held| self.groups_of(&held.value.task).contains(&group.name))
    }

    /// A record of a namespace that may name security groups, and can't be read.
    pub(crate) fn unreadable_that_may_name_groups(&self, namespace: &Namespace) -> Option<&Key> {
        let places = ["service", "sg", "task", "taskdef"].map(|token| keys::in_namespace(token, namespace));
        self.unreadable.iter().find(|key| places.iter().any(|place| key.is_under(place)))
    }

    /// What a service says of its tasks' security groups.
    pub(crate) fn groups_named_by(&self, service: &QualifiedName) -> NamedGroups<'_> {
        match self.service(service) {
            Some(held) => NamedGroups::Said(held.value.spec.security_groups.as_deref()),
            None if self.unreadable.contains(&keys::service(service)) => NamedGroups::Unreadable,
            None => NamedGroups::Said(None),
        }
    }

    /// The security groups that a task is in, sorted; none where its service can't be read.
    pub(crate) fn groups_of(&self, task: &Task) -> Vec<Name> {
        let named = match &task.group {
            Group::Service(name) => {
                self.groups_named_by(&QualifiedName::new(task.namespace.clone(), name.clone()))
            }
            Group::Family(_) => NamedGroups::Said(None),
        };
        named.or_of(self.groups_of_definition(&task.namespace, &task.definition))
    }

    /// The security groups that a service's next task is to be in, sorted.
    pub(crate) fn groups_of_service(&self, service: &Service) -> Vec<Name> {
        let definition = self.groups_of_definition(&service.namespace, self.revision_of(service));
        security_groups::of_task(definition, service.spec.security_groups.as_deref())
    }

    fn groups_of_definition(&self, namespace: &Namespace, id: &TaskDefinitionId) -> &[Name] {
        self.definition(namespace, id).map_or(&[], |held| held.value.definition.security_groups.as_slice())
    }
}

impl Viewed for SecurityGroup {
    const WHILE_UNREADABLE: &'static str = "the group allows nothing";
    table_at!(security_groups);

    fn index(view: &mut View, key: &Key, _: Option<&Self>, _: Option<&Self>) {
        view.groups_to_tell.extend(keys::name_of(key));
    }
}

//! Roles and access keys, with what is looked up of them by more than a key: as whom a task acts, and who holds a role.
//!
//! It decides nothing. A role is held by the task definitions and the keys that name it, as long as they are there.

use super::{Held, Table, View, Viewed};
use crate::keys;
use crate::model::{AccessKey, Definition, Role};
use skiff_ports::store::Key;
use skiff_types::{AccessKeyId, Namespace, QualifiedName, TaskId};

/// The objects of access.
#[derive(Debug, Default)]
pub(crate) struct AccessView {
    pub(crate) roles: Table<Role>,
    pub(crate) keys: Table<AccessKey>,
}

impl View {
    /// A role.
    pub(crate) fn role(&self, name: &QualifiedName) -> Option<&Held<Role>> {
        self.access.roles.get(&keys::role(name))
    }

    /// An access key.
    pub(crate) fn access_key(&self, id: &AccessKeyId) -> Option<&Held<AccessKey>> {
        self.access.keys.get(&keys::access_key(id))
    }

    /// The role that a task acts as, whether there is one of that name or not.
    pub(crate) fn role_of_task(&self, task: TaskId) -> Option<QualifiedName> {
        let task = &self.tasks.get(self.task_key(task)?)?.value.task;
        let definition = &self.definition(&task.namespace, &task.definition)?.value.definition;
        let role = definition.role.clone()?;
        Some(QualifiedName::new(task.namespace.clone(), role))
    }

    /// The namespace of a task that is there, and the role that it acts as.
    pub(crate) fn acts_as(&self, task: TaskId) -> Option<(Namespace, Option<QualifiedName>)> {
        let namespace = self.tasks.get(self.task_key(task)?)?.value.task.namespace.clone();
        Some((namespace, self.role_of_task(task)))
    }

    /// Who holds a role, as the end of a sentence that says what to do about it.
    pub(crate) fn holder_of_role(&self, role: &QualifiedName) -> Option<String> {
        let definitions = self.definitions.under(&keys::in_namespace("taskdef", &role.namespace));
        let mut definitions = definitions.map(|held| &*held.value);
        let names_it = |definition: &&Definition| {
            !definition.deregistered && definition.definition.role.as_ref() == Some(&role.name)
        };
        if let Some(definition) = definitions.find(names_it) {
            let id = &definition.definition.id;
            return Some(format!(
                "the task definition {id}; deregister it first, with `skiff taskdef rm {id}`"
            ));
        }
        let key = self.access.keys.all().find(|held| held.value.role == *role)?;
        let id = &key.value.id;
        Some(format!("the access key {id}; remove it first, with `skiff key rm {id}`"))
    }

    /// A record that may name a role of this namespace, and can't be read.
    pub(crate) fn unreadable_that_may_hold_role(&self, role: &QualifiedName) -> Option<&Key> {
        let places = [keys::in_namespace("taskdef", &role.namespace), keys::prefix("accesskey")];
        self.unreadable.iter().find(|key| places.iter().any(|place| key.is_under(place)))
    }
}

impl Viewed for Role {
    const WHILE_UNREADABLE: &'static str = "the role allows nothing";
    table_at!(access.roles);
}

impl Viewed for AccessKey {
    const WHILE_UNREADABLE: &'static str = "nobody can sign with it";
    table_at!(access.keys);
}

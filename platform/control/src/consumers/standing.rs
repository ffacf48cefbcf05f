//! How a consumer stands: whether messages of its queue may be given to tasks, to which, and why not.
//!
//! It deliberately takes no message. What always holds: messages are given only to tasks that run, that are not to stop, whose
//! component takes messages, and whose role may receive from the queue.

use crate::access::Access;
use crate::catalog::queue_ref;
use crate::keys;
use crate::model::Definition;
use crate::objects::Objects;
use crate::reconcile::sleeps;
use crate::view::View;
use skiff_ports::access::Authorizer;
use skiff_ports::catalog::QueueRef;
use skiff_ports::guest_deliveries::takes_messages;
use skiff_types::{
    AccessAction, AccessResource, ConsumerSpec, Group, Name, QualifiedName, ResourceKind, TaskDefinitionId,
    TaskId,
};
use std::collections::BTreeMap;
use std::sync::Arc;

/// How a consumer stands.
#[derive(Debug, Clone)]
pub(crate) enum Standing {
    /// Messages may be given to these tasks, of which there are some.
    Active { queue: QueueRef, tasks: Vec<TaskId> },
    /// The service sleeps, and a message wakes it.
    Asleep { queue: QueueRef },
    /// No task runs that could be given any, but one may come to.
    Waiting { queue: QueueRef, why: String },
    /// There will be none until somebody changes something: what, the reason says.
    Blocked { why: String },
}

impl Standing {
    /// The queue, unless nothing is taken of it whatever tasks there are.
    pub(crate) fn into_queue(self) -> Option<QueueRef> {
        match self {
            Self::Active { queue, .. } | Self::Asleep { queue } | Self::Waiting { queue, .. } => Some(queue),
            Self::Blocked { .. } => None,
        }
    }
}

/// As whom something acts: a role of the namespace, or none.
type Role = Option<Name>;

/// What there is of a consumer's queue and service, as of one generation of the view.
struct Found {
    queue: QueueRef,
    /// The tasks that run, and are not to stop, by what they are.
    tasks: Vec<(TaskId, Able)>,
    /// What the next task will be; nothing where its definition is not there.
    next: Option<Able>,
    is_asleep: bool,
    is_to_have_none: bool,
}

/// Whether a component takes messages, and as whom it would.
#[derive(Clone)]
struct Able {
    takes_messages: bool,
    role: Role,
}

impl Able {
    fn of(definition: &Definition) -> Self {
        let takes_messages = takes_messages(&definition.report.exports);
        Self { takes_messages, role: definition.definition.role.clone() }
    }
}

/// Which roles may receive from a queue; each is asked once.
struct Judge {
    access: Access,
    queue: QualifiedName,
    judged: BTreeMap<Role, Result<(), String>>,
}

impl Judge {
    fn check(&mut self, role: &Role) -> Result<(), String> {
        let Self { access, queue, judged } = self;
        let judge = || {
            let role = role.clone().map(|role| QualifiedName::new(queue.namespace.clone(), role));
            let resource = AccessResource::new(ResourceKind::Queue, queue.clone());
            let checked = access.check(role.as_ref(), AccessAction::QueueReceive, &resource);
            checked.map_err(|denied| denied.message)
        };
        judged.entry(role.clone()).or_insert_with(judge).clone()
    }
}

/// How a consumer stands now.
pub(crate) fn of(objects: &Arc<Objects>, spec: &ConsumerSpec) -> Standing {
    let found = match objects.read(|view| Found::of(view, spec)) {
        Ok(found) => found,
        Err(why) => return Standing::Blocked { why },
    };
    let queue = found.queue.spec.name.clone();
    let mut judge = Judge { access: Access::new(objects.clone()), queue, judged: BTreeMap::new() };
    let mut tasks = Vec::new();
    let mut denied = None;
    for (task, able) in found.tasks.iter().filter(|(_, able)| able.takes_messages) {
        match judge.check(&able.role) {
            Ok(()) => tasks.push(*task),
            Err(why) => denied = Some(why),
        }
    }
    if !tasks.is_empty() {
        return Standing::Active { queue: found.queue, tasks };
    }
    if let Some(why) = denied.or_else(|| why_never(spec, &found, &mut judge)) {
        return Standing::Blocked { why };
    }
    if found.is_asleep {
        return Standing::Asleep { queue: found.queue };
    }
    let service = &spec.service;
    let why = if found.is_to_have_none {
        format!("the service {service} is to have no task: have it have some with `skiff scale {service} 1`")
    } else if found.tasks.is_empty() {
        format!("the service {service} has no task that runs yet")
    } else {
        format!("no task of the service {service} runs yet whose component takes messages")
    };
    Standing::Waiting { queue: found.queue, why }
}

/// Why the tasks that are to come will not be given messages either.
fn why_never(spec: &ConsumerSpec, found: &Found, judge: &mut Judge) -> Option<String> {
    let next = found.next.as_ref()?;
    match next.takes_messages {
        true => judge.check(&next.role).err(),
        false => Some(takes_none(&spec.service)),
    }
}

/// That a service's component takes no messages.
pub(crate) fn takes_none(service: &Name) -> String {
    format!(
        "the component of the service {service} takes no messages: it would export skiff:queues/consumer@0.1, as one does that \
         `skiff new --template queue` makes"
    )
}

impl Found {
    /// Or why there is nothing to be had.
    fn of(view: &View, spec: &ConsumerSpec) -> Result<Self, String> {
        let namespace = &spec.name.namespace;
        let beside = |name: &Name| QualifiedName::new(namespace.clone(), name.clone());
        let queue = queue_ref(view, &beside(&spec.queue)).ok_or_else(|| {
            format!(
                "there is no queue {queue}; make it with `skiff queue create {queue}`",
                queue = spec.queue
            )
        })?;
        let name = beside(&spec.service);
        let service = view.service(&name).filter(|held| !held.value.removed);
        let service = &service
            .ok_or_else(|| format!("there is no service {}; deploy it with `skiff deploy`", spec.service))?
            .value;
        let objects: Vec<_> =
            view.tasks_of(namespace, &Group::Service(spec.service.clone())).cloned().collect();
        let notes = view.notes.get(&keys::service_status(&name)).map(|held| &*held.value);
        let able = |id: &TaskDefinitionId| view.definition(namespace, id).map(|held| Able::of(&held.value));
        let running =
            objects.iter().map(|held| &held.value.task).filter(|task| task.is_ready() && task.stop.is_none());
        Ok(Self {
            queue,
            tasks: running.filter_map(|task| Some((task.id, able(&task.definition)?))).collect(),
            next: able(view.revision_of(service)),
            is_asleep: sleeps(service, notes, &objects).is_some(),
            is_to_have_none: service.spec.desired == 0,
        })
    }
}

//! Brings about that nothing is kept that nobody needs: ended tasks, images' blobs, native code, and the logs and sums
//! of services and families that are gone, and the sums of the load balancer's parts.
//!
//! It removes nothing from disk while something is being stored, nor while a record that may need it can't be read.

use crate::context::Context;
use crate::meters::Owner;
use crate::model::{Definition, TaskObject};
use crate::objects::ObjectError;
use crate::records::Stored;
use crate::view::{Held, View};
use skiff_plan::retention;
use skiff_ports::balancer::Metered;
use skiff_ports::store::Key;
use skiff_types::{Group, QualifiedName, TaskId, TaskStatus};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tracing::{info, warn};

/// How often it looks although nobody asked.
const COLLECT_INTERVAL: Duration = Duration::from_secs(30);

pub(super) async fn run(context: Arc<Context>) {
    loop {
        tokio::select! {
            biased;
            () = context.drain.begun() => return,
            () = context.objects.wakes.collector.notified() => {}
            () = tokio::time::sleep(COLLECT_INTERVAL) => {}
        }
        if let Err(error) = forget(&context).await {
            warn!(%error, "what is no longer needed could not be forgotten");
        }
        collect(&context).await;
        remove_logs(&context).await;
        forget_sums(&context);
    }
}

/// Deletes the objects of tasks that ended long ago, and of revisions that were taken back and are not the newest.
async fn forget(context: &Context) -> Result<(), ObjectError> {
    let now_ms = context.now_ms();
    let (tasks, definitions) = context.objects.read(|view| {
        let old: BTreeSet<TaskId> =
            retention::stopped_to_forget(view.tasks.all().map(|held| &held.value.task), now_ms)
                .into_iter()
                .collect();
        let tasks: Vec<Held<TaskObject>> =
            view.tasks.all().filter(|held| old.contains(&held.value.task.id)).cloned().collect();
        let is_newest = |held: &Definition| {
            let newest = view.newest(&held.namespace, &held.definition.id.family);
            newest.is_some_and(|newest| newest.value.definition.id == held.definition.id)
        };
        let taken_back = view.definitions.all().filter(|held| held.value.deregistered);
        let definitions: Vec<Key> =
            taken_back.filter(|held| !is_newest(&held.value)).map(|held| held.value.key()).collect();
        (tasks, definitions)
    });
    context.addresses.note(&tasks, now_ms).await?;
    context.objects.delete_all::<TaskObject>(tasks.iter().map(|held| held.value.key()).collect()).await?;
    context.addresses.forget_notes(now_ms).await?;
    context.objects.delete_all::<Definition>(definitions).await
}

/// Removes blobs and native code that no image and no task definition needs.
async fn collect(context: &Context) {
    // Who stores something holds this for reading; the next look will find it free.
    let Ok(_alone) = context.keeping.try_write() else { return };
    let needed = context.objects.read(|view| {
        let matters = |key: &Key| matches!(key.tokens().next(), Some("image" | "taskdef" | "task"));
        if view.unreadable.iter().any(matters) {
            return None;
        }
        let images = view.images.all().map(|held| (held.value.manifest, held.value.component));
        let definitions = view.definitions.all().filter(|held| !held.value.deregistered).map(|held| {
            let definition = &held.value.definition;
            definition.program(&definition.command.environment)
        });
        // A task may run a revision that was taken back, or a snapshot that its own environment makes another.
        let tasks = view.tasks.all().filter(|held| held.value.task.status != TaskStatus::Stopped);
        let tasks = tasks.filter_map(|held| {
            let task = &held.value.task;
            let definition = view.definition(&task.namespace, &task.definition)?;
            Some(held.value.program(&definition.value.definition))
        });
        Some(retention::needed(images, definitions.chain(tasks)))
    });
    let Some(needed) = needed else {
        return warn!("nothing is removed from disk: records that may need it can't be read");
    };
    match context.images.keep(&needed.manifests, &needed.components).await {
        Ok(0) => {}
        Ok(blobs) => info!(blobs, "removed what no image and no task definition needs"),
        Err(error) => warn!(%error, "the image store could not be tidied"),
    }
    context.keep_prepared(|program| needed.programs.contains(program));
    let files = context.runtime.keep_native(&needed.programs).await;
    if files > 0 {
        info!(files, "removed native code that nothing needs");
    }
}

/// Removes what the tasks of services and families wrote that are gone. A service and a family of the same name write
/// to the same place.
async fn remove_logs(context: &Context) {
    // Asked first: whoever has logs now, and was there at all, is in the view that is looked at after.
    let owners = match context.logs.owners().await {
        Ok(owners) => owners,
        Err(error) => return warn!(%error, "it can't be seen whose logs are kept"),
    };
    let gone = context.objects.read(|view| {
        let matters = |key: &Key| matches!(key.tokens().next(), Some("service" | "taskdef" | "task"));
        if view.unreadable.iter().any(matters) {
            return Vec::new();
        }
        let (services, families) = (services(view), families(view, |held| !held.deregistered));
        let is_gone = |owner: &QualifiedName| {
            let tasks = [Group::Service(owner.name.clone()), Group::Family(owner.name.clone())];
            let mut tasks = tasks.iter().flat_map(|group| view.tasks_of(&owner.namespace, group));
            !services.contains(owner) && !families.contains(owner) && tasks.next().is_none()
        };
        owners.into_iter().filter(is_gone).collect()
    });
    for owner in gone {
        info!(%owner, "removed the logs of what is gone");
        context.logs.remove(&owner);
    }
}

/// Drops the sums of services and families that are gone, and of parts of the load balancer.
fn forget_sums(context: &Context) {
    let (services, families) = context.objects.read(|view| {
        let groups = view.tasks.all().filter(|held| matches!(held.value.task.group, Group::Family(_)));
        let mut families = families(view, |_| true);
        families.extend(groups.map(|held| held.value.owner()));
        (services(view), families)
    });
    context.accounts.retain(|Owner { name, in_service }| match in_service {
        true => services.contains(name),
        false => families.contains(name),
    });
    context.objects.read(|view| context.accounts.retain_metered(|metered| is_there(view, metered)));
}

/// Whether what the load balancer counted at is still to be.
fn is_there(view: &View, metered: &Metered) -> bool {
    match metered {
        Metered::Listener(name) => view.has_listener(name),
        Metered::Rule(name) => view.rule(name).is_some(),
        Metered::Group(group) | Metered::Target { group, .. } => {
            let spec = view.target_group(group).map(|held| &held.value.spec);
            spec.is_some_and(|spec| Metered::all_of(spec).any(|other| other == *metered))
        }
    }
}

fn services(view: &View) -> BTreeSet<QualifiedName> {
    view.services.all().map(|held| held.value.name()).collect()
}

/// The families of revisions such as these.
fn families(view: &View, of: impl Fn(&Definition) -> bool) -> BTreeSet<QualifiedName> {
    let definitions = view.definitions.all().map(|held| &*held.value).filter(|definition| of(definition));
    let family = |definition: &Definition| definition.definition.id.family.clone();
    definitions
        .map(|definition| QualifiedName::new(definition.namespace.clone(), family(definition)))
        .collect()
}

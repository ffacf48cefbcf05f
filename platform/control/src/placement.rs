//! Gives tasks the nodes that they run on, and says where there is no place for one.
//!
//! `plan::placement` decides, over what the view keeps of the nodes (`view::nodes`). A task for which there is no place is not
//! made: its service says so among its events, once for each reason, and is looked at again as soon as something is freed or a
//! node comes; who runs a task by itself is told.
//!
//! What always holds: a task has one node for as long as it lives; only a one-off task that begins anew after its node is gone
//! gets another, and with it another address.

use crate::addresses::{Effect, NoAddress, create_task};
use crate::context::Context;
use crate::keys;
use crate::model::{Service, ServiceEvent, ServiceNotes, TaskObject};
use crate::objects::ObjectError;
use crate::records::Stored;
use crate::view::Held;
use skiff_plan::placement::NoPlace;
use skiff_types::{NodeId, Placement, QualifiedName, ServiceActionName, TaskAddress};
use std::sync::Arc;
use tracing::warn;

/// Why a task was not made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotMade {
    /// No node takes it.
    #[error("no node has a place for the task: {0}")]
    NoPlace(NoPlace),
    /// It got no address.
    #[error(transparent)]
    NoAddress(#[from] NoAddress),
}

/// Where a task that begins anew is to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Whereto {
    /// Where it was.
    There,
    /// On another node, under another address.
    Elsewhere(NodeId, TaskAddress),
}

/// Gives each of a service's new tasks its node; those that have one are to be made. Where one has none, the service says so.
pub(crate) async fn place_tasks(
    context: &Context,
    service: &Service,
    objects: Vec<TaskObject>,
) -> Result<Vec<TaskObject>, ObjectError> {
    let (name, placement) = (service.name(), &service.spec.placement);
    if objects.is_empty() && context.objects.read(|view| view.nodes.waits_for(&name).is_none()) {
        return Ok(objects);
    }
    let chance = u64::from_le_bytes(context.random.bytes());
    let (placed, news) = context.objects.read_mut(|view| {
        let (placed, no_place) = view.place(placement, objects, chance);
        let news = match no_place {
            // As soon as those have stopped, it is looked at again.
            Some(why) if why.is_for_own() && view.has_stopping(service) => None,
            Some(why) => view.nodes.wait(name.clone(), why.clone()).then_some(why),
            None => {
                view.nodes.wait_no_more(&name);
                None
            }
        };
        (placed, news)
    });
    let reported = match news {
        Some(why) => report(context, &name, &why).await,
        None => Ok(()),
    };
    if reported.is_err() {
        // Nobody makes what was placed, and what was not said is to be said.
        context.objects.read_mut(|view| {
            placed.iter().for_each(|object| view.unplace(object.task.id));
            view.nodes.wait_no_more(&name);
        });
    }
    reported.map(|()| placed)
}

/// Notes among a service's events that there is no place for a task of it.
async fn report(context: &Context, service: &QualifiedName, why: &NoPlace) -> Result<(), ObjectError> {
    warn!(%service, %why, "no node has a place for a task of the service");
    let now_ms = context.now_ms();
    let note = |notes: &mut ServiceNotes| {
        let message = format!("no node has a place for a task: {why}");
        notes.note(ServiceEvent::new(now_ms, ServiceActionName::TaskPlacementFailure, message));
        true
    };
    context.objects.update(&keys::service_status(service), note).await.map(drop)
}

/// Makes one task, on the node that it is given here.
pub(crate) async fn make_task(
    context: &Arc<Context>,
    object: TaskObject,
    placement: &Placement,
    effect: Effect,
) -> Result<Held<TaskObject>, NotMade> {
    let chance = u64::from_le_bytes(context.random.bytes());
    let (mut placed, no_place) = context.objects.read_mut(|view| view.place(placement, vec![object], chance));
    match (placed.pop(), no_place) {
        (Some(object), _) => Ok(create_task(context, object, effect).await?),
        (None, why) => Err(NotMade::NoPlace(why.expect("a task has a place or a reason"))),
    }
}

/// Where a one-off task runs that begins anew: where it was, or if that node is gone, on another. Whoever is told another one
/// says with [`settle`] what came of it.
pub(crate) async fn whereto(context: &Context, held: &Held<TaskObject>) -> Result<Whereto, NotMade> {
    let object = &*held.value;
    let chance = u64::from_le_bytes(context.random.bytes());
    let found = context.objects.read_mut(|view| {
        let is_there = object.task.node.as_ref().is_none_or(|node| view.nodes.has(node));
        (!is_there).then(|| view.place(&object.placement, vec![object.clone()], chance))
    });
    let Some((mut placed, no_place)) = found else { return Ok(Whereto::There) };
    let Some(node) = placed.pop().and_then(|object| object.task.node) else {
        return Err(NotMade::NoPlace(no_place.expect("a task has a place or a reason")));
    };
    match context.addresses.take(&context.objects, &node, context.now_ms()).await {
        Ok(address) => Ok(Whereto::Elsewhere(node, address)),
        Err(error) => {
            context.objects.read_mut(|view| view.unmove(object));
            Err(error.into())
        }
    }
}

/// Says what came of a task that was to move: its object, if it was written.
pub(crate) async fn settle(
    context: &Context,
    held: &Held<TaskObject>,
    whereto: Whereto,
    after: Option<&TaskObject>,
) {
    let Whereto::Elsewhere(_, address) = whereto else { return };
    if after.is_none_or(|object| object.task.address != Some(address)) {
        context.addresses.doubt(held.value.key(), address).await;
        context.objects.read_mut(|view| view.unmove(&held.value));
    }
}

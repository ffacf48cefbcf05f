//! What becomes of the tasks that lived when the platform ended. Runs once, before the reconcilers.

use super::WRITES_AT_ONCE;
use crate::addresses::NoAddress;
use crate::context::Context;
use crate::model::TaskObject;
use crate::objects::ObjectError;
use crate::records::Stored;
use futures::{StreamExt, TryStreamExt, stream};
use skiff_plan::lifecycle;
use skiff_ports::store::Key;
use skiff_types::TaskStatus;
use tracing::warn;

/// Puts every task where a platform that has just started can take it up again.
pub(crate) async fn resume(context: &Context) -> Result<(), ObjectError> {
    let tasks: Vec<Key> =
        context.objects.read(|view| view.tasks.all().map(|held| held.value.key()).collect());
    stream::iter(tasks)
        .map(|key| async move {
            let now_ms = context.now_ms();
            let resume = |object: &mut TaskObject| {
                let changed = lifecycle::resume(&mut object.task, object.kind, now_ms);
                object.updated_at_ms = if changed { now_ms } else { object.updated_at_ms };
                changed
            };
            let resumed = context.objects.update(&key, resume).await?;
            match resumed.filter(|held| lacks_address(&held.value)) {
                Some(_) => give_address(context, &key).await,
                None => Ok(()),
            }
        })
        .buffer_unordered(WRITES_AT_ONCE)
        .try_for_each(|()| async { Ok(()) })
        .await
}

/// Whether it was made by a Skiff that had no network, and is to go on.
fn lacks_address(object: &TaskObject) -> bool {
    object.task.address.is_none() && object.task.status != TaskStatus::Stopped && object.task.stop.is_none()
}

async fn give_address(context: &Context, key: &Key) -> Result<(), ObjectError> {
    let address = match context.addresses.take(&context.objects, context.now_ms()).await {
        Ok(address) => address,
        Err(NoAddress::Object(error)) => return Err(error),
        Err(NoAddress::None(error)) => {
            warn!(%key, %error, "a task of before goes on without an address");
            return Ok(());
        }
    };
    let give = |object: &mut TaskObject| {
        let lacks = lacks_address(object);
        if lacks {
            object.task.address = Some(address);
        }
        lacks
    };
    let given = context.objects.update(key, give).await;
    if !matches!(&given, Ok(Some(held)) if held.value.task.address == Some(address)) {
        context.addresses.doubt(key.clone(), address).await;
    }
    given.map(drop)
}

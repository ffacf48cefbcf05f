//! What becomes of the tasks that lived when the platform ended. Runs once, before the reconcilers.

use super::WRITES_AT_ONCE;
use crate::context::Context;
use crate::model::TaskObject;
use crate::objects::ObjectError;
use crate::records::Stored;
use futures::{StreamExt, TryStreamExt, stream};
use skiff_plan::lifecycle;
use skiff_ports::store::Key;

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
            context.objects.update(&key, resume).await
        })
        .buffer_unordered(WRITES_AT_ONCE)
        .try_for_each(|_| async { Ok(()) })
        .await
}

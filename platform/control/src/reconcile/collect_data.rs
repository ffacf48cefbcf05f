//! Brings about that the engines keep nothing of buckets, tables and queues that are gone.
//!
//! It removes nothing of a kind while a record of it can't be read: what that needs, nobody knows. What always holds: what the
//! engines hold is asked for before it is looked at what there is; so what is made meanwhile is never taken for gone.

use crate::context::Context;
use crate::view::{NeededIds, View};
use skiff_types::ResourceId;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;
use tracing::{info, warn};

/// How often it looks although nobody asked.
const COLLECT_INTERVAL: Duration = Duration::from_secs(60);

pub(super) async fn run(context: Arc<Context>) {
    loop {
        collect(&context).await;
        tokio::select! {
            biased;
            () = context.drain.begun() => return,
            () = context.objects.wakes.data.notified() => {}
            () = tokio::time::sleep(COLLECT_INTERVAL) => {}
        }
    }
}

async fn collect(context: &Context) {
    let (buckets, tables, queues) = (&context.buckets, &context.tables, &context.queues);
    match buckets.buckets().await {
        Ok(held) => {
            for id in gone(context, held, View::bucket_ids) {
                note("bucket", id, buckets.drop_bucket(id).await);
            }
        }
        Err(error) => warn!(%error, "it can't be seen of which buckets objects are kept"),
    }
    match tables.tables().await {
        Ok(held) => {
            for id in gone(context, held, View::table_ids) {
                note("table", id, tables.drop_table(id).await);
            }
        }
        Err(error) => warn!(%error, "it can't be seen of which tables items are kept"),
    }
    for id in gone(context, queues.queues(), View::queue_ids) {
        note("queue", id, queues.drop_queue(id).await);
    }
}

/// Those of what is held that nothing has any more; none once the platform drains, which the next start takes up.
fn gone(context: &Context, mut held: Vec<ResourceId>, needed: fn(&View) -> NeededIds) -> Vec<ResourceId> {
    if held.is_empty() || context.drain.has_begun() {
        return vec![];
    }
    let Some(needed) = context.objects.read(needed) else { return vec![] };
    held.retain(|id| !needed.contains(id));
    held
}

fn note<E: Error>(kind: &'static str, id: ResourceId, dropped: Result<(), E>) {
    match dropped {
        Ok(()) => info!(kind, %id, "removed what was kept of one that is gone"),
        Err(error) => {
            warn!(kind, %id, %error, "what is kept of one that is gone can't be removed; it is tried again")
        }
    }
}

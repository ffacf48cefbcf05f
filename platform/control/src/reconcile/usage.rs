//! Brings about that what was used is on the disk every few seconds, and in the end; and that it stays in a bounded
//! space.

use crate::context::Context;
use skiff_plan::usage::RECORD_INTERVAL_MS;
use skiff_types::Grain;
use std::sync::Arc;
use std::time::Duration;
use tracing::warn;

pub(super) async fn run(context: Arc<Context>) {
    let mut folded_ms = 0;
    loop {
        let ends = tokio::select! {
            biased;
            () = context.drain.begun() => true,
            () = tokio::time::sleep(Duration::from_millis(RECORD_INTERVAL_MS)) => false,
        };
        let now_ms = context.now_ms();
        if let Err(error) = context.bill.record(now_ms).await {
            warn!(%error, "what was used could not be written down; it is with the next attempt");
        }
        if ends {
            return;
        }
        let minute_ms = Grain::Minute.start_ms(now_ms);
        if minute_ms != folded_ms {
            match context.bill.fold(now_ms).await {
                Ok(()) => folded_ms = minute_ms,
                Err(error) => warn!(%error, "old records of usage could not be folded"),
            }
        }
    }
}

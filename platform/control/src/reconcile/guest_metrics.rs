//! Brings about that values which guests put for metrics of their own are in the series.
//!
//! It deliberately keeps nothing: what there is no room for is counted, and said in the log once a minute at most. The node ends
//! before the drain begins, so what its guests put is taken by then.

use crate::context::Context;
use skiff_ports::metrics::GuestMetrics;
use std::sync::Arc;
use tracing::warn;

/// Milliseconds between two warnings that values are dropped.
const WARNING_PAUSE_MS: u64 = 60_000;

pub(super) async fn run(context: Arc<Context>) {
    let mut warned_ms = None;
    loop {
        let came = tokio::select! {
            biased;
            () = context.drain.begun() => return,
            came = context.runtime.next_metrics() => came,
        };
        take_in(&context, came, &mut warned_ms);
    }
}

fn take_in(context: &Context, came: GuestMetrics, warned_ms: &mut Option<u64>) {
    let now_ms = context.now_ms();
    let dropped = context.series.put_of_guests(came, now_ms);
    let is_due = warned_ms.is_none_or(|warned_ms| now_ms.abs_diff(warned_ms) >= WARNING_PAUSE_MS);
    if dropped.values == 0 || !is_due {
        return;
    }
    *warned_ms = Some(now_ms);
    let total = context.series.values_dropped();
    match dropped.why {
        Some((series, what)) => warn!(
            total,
            namespace = %series.of, metric = %series.metric, dimensions = %series.dimensions,
            "guests put more {what} for metrics of their own than there is room for: some were dropped"
        ),
        None => warn!(
            total,
            "guests put more values for metrics of their own than come through at once: some were dropped"
        ),
    }
}

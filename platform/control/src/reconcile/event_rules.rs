//! Brings about that the buses act on the rules that there are.
//!
//! A call that changes a rule has the buses told before it is answered; here it is seen to that what came by another way, or was
//! missed, is told as well. Only what changed is told, so ten thousand rules that come one by one cost no more than each by itself.

use crate::context::Context;
use std::sync::Arc;

pub(super) async fn run(context: Arc<Context>) {
    loop {
        context.tell_rules();
        tokio::select! {
            biased;
            () = context.drain.begun() => return,
            () = context.objects.wakes.event_rules.notified() => {}
        }
    }
}

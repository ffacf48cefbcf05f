//! What leaves the worker by and by is gathered for a moment first, so that many go to the supervisor in one message.
//!
//! It deliberately does not know what is gathered, nor how much of it makes a message. What always holds: what was gathered is handed
//! over within [`GATHERING_TIME`], unless it was before.

use std::rc::Rc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::spawn_local;

/// How long something is gathered: what it would cost one by one is more than what a request costs, and nobody sees that it is late.
pub(crate) const GATHERING_TIME: Duration = Duration::from_millis(200);

/// Starts the task that hands over in time; `begun` is told of the first that is gathered.
pub(crate) fn keep<G: 'static>(gatherer: Rc<G>, begun: fn(&G) -> &Notify, hand_over: fn(&G)) {
    spawn_local(async move {
        loop {
            begun(&gatherer).notified().await;
            tokio::time::sleep(GATHERING_TIME).await;
            hand_over(&gatherer);
        }
    });
}

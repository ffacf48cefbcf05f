//! The reconcilers: each takes no input, may run at any time and any number of times, wakes on a change and on a timer,
//! and carries out what `plan` answers.
//!
//! | reconciler | brings about |
//! | --- | --- |
//! | `services` | that each service has the tasks it is to have |
//! | `tasks` | that each task takes the step of its life that is due |
//! | `assignments` | that the node runs, routes and balances as the objects say, within the security groups |
//! | `events` | that a task's object says what became of its program |
//! | `collector` | that nothing is kept that nobody needs |
//! | `idle` | that a service that nobody asks sleeps, and wakes when somebody does |
//! | `scaling` | that a service has the count that its metrics, its alarms and the clock ask for |
//! | `nodes` | that what was on a node that is gone ends, and that each node has what is to run on all |
//! | `series` | that what services and tasks do is measured, and on the disk in a bounded space |
//! | `alarms` | that each alarm is in the state that its datapoints say, and its changes are posted |
//! | `guest_metrics` | that values that guests put are in the series |
//! | `collect_data` | that the engines keep nothing of buckets, tables and queues that are gone |
//! | `event_rules` | that the buses act on the rules that there are |
//! | `schedules` | that what is due by a schedule happens |
//! | `bucket_events` | that each write of an object is told on its bucket's bus |
//! | `event_stream` | that what happens to tasks, services and alarms is on the default buses |
//! | `consumers` | that services are given the messages of the queues that they consume, and are woken for them |
//! | `usage` | that what was used is on the disk, in a bounded space |
//!
//! What objects tell on the stream of events as they are written, a writer beside them takes to the journal; it ends when they have.
//!
//! They meet in the store alone, so each may stop between any two writes and another process may go on.

mod alarms;
mod assignments;
mod bucket_events;
mod collect_data;
mod collector;
mod consumers;
mod event_rules;
mod event_stream;
mod events;
mod guest_metrics;
mod idle;
mod nodes;
mod resume;
mod scaling;
mod schedules;
mod series;
mod services;
mod tasks;
mod usage;

pub(crate) use idle::{desired, sleeps};
pub(crate) use resume::resume;
pub(crate) use services::is_complete;

use crate::context::Context;
use futures::FutureExt;
use futures::future::join_all;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;

/// How often a reconciler looks although nothing changed.
const LOOK_INTERVAL: Duration = Duration::from_secs(10);
/// The wait after a look that failed.
const RETRY_INTERVAL: Duration = Duration::from_millis(200);
/// Objects that one reconciler writes at a time: what waits together is on the disk together.
const WRITES_AT_ONCE: usize = 256;

/// Starts all reconcilers; they end when the context's drain begins.
pub(crate) fn start(context: &Arc<Context>) {
    // Before anything of the stream is forgotten.
    let on_buses = event_stream::begin(context);
    let reconcilers = vec![
        spawn(context, assignments::run(context.clone())),
        spawn(context, tasks::run(context.clone())),
        spawn(context, services::run(context.clone())),
        spawn(context, events::run(context.clone())),
        spawn(context, collector::run(context.clone())),
        spawn(context, collect_data::run(context.clone())),
        spawn(context, consumers::run(context.clone())),
        spawn(context, idle::put_to_sleep(context.clone())),
        spawn(context, idle::wake(context.clone())),
        spawn(context, nodes::run(context.clone())),
        spawn(context, series::run(context.clone())),
        spawn(context, scaling::run(context.clone())),
        spawn(context, alarms::evaluate(context.clone())),
        spawn(context, alarms::post_changes(context.clone())),
        spawn(context, guest_metrics::run(context.clone())),
        spawn(context, event_rules::run(context.clone())),
        spawn(context, schedules::run(context.clone())),
        spawn(context, bucket_events::run(context.clone())),
        spawn(context, usage::run(context.clone())),
    ];
    spawn(context, write_events(context.clone(), reconcilers));
    spawn(context, event_stream::run(context.clone(), on_buses));
}

/// Has the events written that objects tell, to the end of the last of the reconcilers.
async fn write_events(context: Arc<Context>, reconcilers: Vec<JoinHandle<()>>) {
    context.events.write(join_all(reconcilers).map(drop), || context.objects.tell_untold()).await;
}

/// Runs a reconciler to its end: it looks for the drain between two writes, so that none is cut short.
fn spawn(context: &Arc<Context>, reconciler: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
    let token = context.drain.token();
    tokio::spawn(async move {
        reconciler.await;
        drop(token);
    })
}

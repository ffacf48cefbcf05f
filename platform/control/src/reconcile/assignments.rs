//! Brings about that the node runs and routes what the tasks say, lets them reach each other as their security groups say,
//! and balances as listeners, rules and target groups say: the one place that computes what a node is to do.
//!
//! A look costs what changed since the last one, not what there is: `told` remembers what the node was told, and the view
//! which owners of tasks have changed. It deliberately writes nothing to the store. That a worker acts on a change is
//! known by the view's generation: once what was told after it is acknowledged, every change up to it is.

mod told;

use super::LOOK_INTERVAL;
use crate::context::Context;
use crate::view::View;
use futures::future::BoxFuture;
use skiff_ports::snapshot::Version;
use skiff_types::Digest;
use std::sync::Arc;
use tokio::time::Instant;
use told::Told;

/// Owners that are looked at in one go: whoever changes the view waits meanwhile.
const OWNERS_AT_ONCE: usize = 512;

/// A view's generation, and the version that tells all of it.
#[derive(Debug, Clone, Copy)]
struct Sent {
    generation: u64,
    version: Version,
}

pub(super) async fn run(context: Arc<Context>) {
    let (mut told, mut version) = (Told::default(), 0);
    let mut all = tokio::time::interval_at(Instant::now() + LOOK_INTERVAL, LOOK_INTERVAL);
    // Only the newest is waited for next: it covers those between.
    let mut newest: Option<Sent>;
    let mut acknowledgement: Option<BoxFuture<'static, u64>> = None;
    loop {
        let generation = look(&context, &mut told, &mut version).await;
        newest = Some(Sent { generation, version });
        loop {
            if acknowledgement.is_none() {
                acknowledgement = newest.take().map(|sent| wait_for(context.clone(), sent));
            }
            tokio::select! {
                biased;
                () = context.drain.begun() => return,
                generation = async { acknowledgement.as_mut().expect("checked").await },
                    if acknowledgement.is_some() =>
                {
                    acknowledgement = None;
                    context.acknowledged.rise_to(generation);
                    context.objects.wakes.tasks.notify_one();
                    context.objects.read_mut(View::look_at_deployments);
                    context.objects.wakes.services.notify_one();
                }
                // Before what wakes it: that may come again and again.
                _ = all.tick() => {
                    told.doubt_all();
                    break;
                }
                () = context.objects.wakes.assignments.notified() => break,
            }
        }
    }
}

/// Tells the node what changed; says up to which generation of the view.
async fn look(context: &Context, told: &mut Told, version: &mut Version) -> u64 {
    let prepared = |digest: &Digest| context.prepared_since(digest).is_some();
    let (generation, owners) =
        context.objects.read_mut(|view| (view.generation, told.owners_to_look_at(view, &prepared)));
    if *version == 0 {
        // Workers begin to serve with the first version, be it empty: it tells of everybody.
        let change = context.objects.read(|view| told.look(view, &owners, &prepared));
        *version = context.runtime.assign(change);
        return generation;
    }
    let mut rest = owners.as_slice();
    loop {
        // Once even where there is nobody to look at: security groups may have changed, or the load balancer.
        let (owners, later) = rest.split_at(rest.len().min(OWNERS_AT_ONCE));
        let change = context.objects.read(|view| told.look(view, owners, &prepared));
        if !change.is_empty() {
            *version = context.runtime.assign(change);
        }
        if later.is_empty() {
            return generation;
        }
        rest = later;
        tokio::task::yield_now().await;
    }
}

fn wait_for(context: Arc<Context>, sent: Sent) -> BoxFuture<'static, u64> {
    Box::pin(async move {
        context.runtime.acknowledged(sent.version).await;
        sent.generation
    })
}

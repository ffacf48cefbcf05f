//! Brings about that the changes of alarms are posted to the addresses that their users named.
//!
//! A post is in its alarm's notes until it was taken, was refused for good, or nobody took it for [`TRIED_MS`]: so it is tried
//! again after a `kill -9`, and an address may get one twice, under the same id. To each address the changes of an alarm go in
//! their order. It deliberately knows no HTTP.

use crate::context::Context;
use crate::keys;
use crate::model::{AlarmNotes, Delivery};
use crate::objects::ObjectError;
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use skiff_kit::Backoff;
use skiff_ports::webhook::{WebhookError, WebhookPost};
use skiff_types::QualifiedName;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tracing::{info, warn};

/// Posts that are under way at a time.
const POSTS_AT_ONCE: usize = 32;
/// Waits between the attempts of a post.
const BACKOFF: Backoff = Backoff { first_ms: 1_000, most_ms: 60_000 };
/// How long after a change it is tried to post it, in milliseconds; once at least.
const TRIED_MS: u64 = 3_600_000;

/// A post that was tried, and what came of it.
type Outcome = (QualifiedName, Delivery, Result<(), WebhookError>);

/// What has happened to the posts that are to be made.
#[derive(Default)]
struct Posts {
    under_way: FuturesUnordered<BoxFuture<'static, Outcome>>,
    /// The ids of those.
    ids: HashSet<String>,
    /// Those that failed, by id: how often, and when they are tried again.
    failed: HashMap<String, (u32, Instant)>,
}

pub(in crate::reconcile) async fn run(context: Arc<Context>) {
    let mut posts = Posts::default();
    loop {
        let next = posts.begin(&context);
        let again = async {
            match next {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            // What is under way and was not noted yet is posted again by the next life.
            () = context.drain.begun() => return,
            Some(outcome) = posts.under_way.next(), if !posts.under_way.is_empty() => {
                posts.settle(&context, outcome).await;
            }
            () = context.alarms.to_post.notified() => {}
            () = again => {}
        }
    }
}

impl Posts {
    /// Begins those whose turn it is; says when the next one's is that has to wait for its time.
    fn begin(&mut self, context: &Context) -> Option<Instant> {
        let due: Vec<(QualifiedName, Delivery)> = context
            .objects
            .read(|view| view.deliveries().map(|(alarm, post)| (alarm.clone(), post.clone())).collect());
        self.failed.retain(|id, _| due.iter().any(|(_, post)| post.id == *id));
        let (now, mut next) = (Instant::now(), None);
        for (alarm, post) in due {
            let at = self.failed.get(&post.id).map(|(_, at)| *at).filter(|at| *at > now);
            if let Some(at) = at {
                next = Some(next.map_or(at, |next: Instant| next.min(at)));
            } else if self.under_way.len() < POSTS_AT_ONCE && self.ids.insert(post.id.clone()) {
                self.under_way.push(attempt(context, alarm, post));
            }
        }
        next
    }

    /// Notes what came of an attempt.
    async fn settle(&mut self, context: &Context, (alarm, post, result): Outcome) {
        let Delivery { id, url, since_ms, .. } = &post;
        let is_old = context.now_ms().saturating_sub(*since_ms) >= TRIED_MS;
        let is_over = match &result {
            Ok(()) => {
                info!(%alarm, %url, %id, "a change of an alarm was posted");
                true
            }
            Err(WebhookError::Failed(reason)) if !is_old => {
                info!(%alarm, %url, %id, %reason, "a change of an alarm could not be posted; trying again");
                false
            }
            Err(error) => {
                warn!(%alarm, %url, %id, %error, "a change of an alarm is given up: nobody takes it");
                true
            }
        };
        self.ids.remove(id);
        let is_done = is_over
            && forget(context, &alarm, id)
                .await
                .inspect_err(|error| warn!(%alarm, %id, %error, "it could not be noted, and is posted again"))
                .is_ok();
        if !is_done {
            let failures = self.failed.get(id).map_or(0, |(failures, _)| *failures).saturating_add(1);
            let at = Instant::now() + Duration::from_millis(BACKOFF.delay_ms(failures));
            self.failed.insert(id.clone(), (failures, at));
        }
    }
}

fn attempt(context: &Context, alarm: QualifiedName, post: Delivery) -> BoxFuture<'static, Outcome> {
    let webhooks = context.webhooks.clone();
    let told =
        WebhookPost { url: post.url.clone(), id: post.id.clone(), body: Bytes::from(post.body.clone()) };
    async move {
        let result = webhooks.post(told).await;
        (alarm, post, result)
    }
    .boxed()
}

/// A post is not to be made any more.
async fn forget(context: &Context, alarm: &QualifiedName, id: &str) -> Result<(), ObjectError> {
    let take_out = |notes: &mut AlarmNotes| {
        let before = notes.undelivered.len();
        notes.undelivered.retain(|post| post.id != id);
        notes.undelivered.len() != before
    };
    context.objects.update(&keys::alarm_notes(alarm), take_out).await.map(drop)
}

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
use std::mem;
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
/// How long one post may take, connecting included.
const TIMEOUT: Duration = Duration::from_secs(10);

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
        let (turns, next) = context.objects.read(|view| self.turns(view.deliveries(), Instant::now()));
        for (alarm, post) in turns {
            self.ids.insert(post.id.clone());
            self.under_way.push(attempt(context, alarm, post));
        }
        next
    }

    /// Whose turn it is of those that are to be made, those first that failed least often, so that addresses where nobody answers
    /// hold up no others; and when the next one's is that has to wait for its time. Forgets what is not to be made any more.
    fn turns<'a>(
        &mut self,
        deliveries: impl Iterator<Item = (&'a QualifiedName, &'a Delivery)>,
        now: Instant,
    ) -> (Vec<(QualifiedName, Delivery)>, Option<Instant>) {
        let mut failed = mem::take(&mut self.failed);
        let (mut turns, mut next) = (Vec::new(), None);
        for (alarm, post) in deliveries {
            let (failures, at) = match failed.remove_entry(&post.id) {
                Some((id, (failures, at))) => {
                    self.failed.insert(id, (failures, at));
                    (failures, Some(at))
                }
                None => (0, None),
            };
            if self.ids.contains(&post.id) {
                continue;
            }
            match at.filter(|at| *at > now) {
                Some(at) => next = Some(next.map_or(at, |next: Instant| next.min(at))),
                None => turns.push((failures, alarm, post)),
            }
        }
        turns.sort_by_key(|(failures, ..)| *failures);
        turns.truncate(POSTS_AT_ONCE.saturating_sub(self.ids.len()));
        let turns = turns.into_iter().map(|(_, alarm, post)| (alarm.clone(), post.clone())).collect();
        (turns, next)
    }

    /// Notes what came of an attempt.
    async fn settle(&mut self, context: &Context, (alarm, post, result): Outcome) {
        let Delivery { id, url, since_ms, .. } = &post;
        let url = url.without_query();
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
    let (url, id, body) = (post.url.clone(), post.id.clone(), Bytes::from(post.body.clone()));
    let told = WebhookPost { url, id, body, timeout: TIMEOUT };
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

#[cfg(test)]
mod tests {
    use super::*;

    fn post(id: usize) -> (QualifiedName, Delivery) {
        let url = "http://a/".parse().unwrap();
        let alarm = format!("default/alarm-{id:03}").parse().unwrap();
        (alarm, Delivery { id: id.to_string(), url, body: String::new(), since_ms: 1 })
    }

    /// The ids of those whose turn it is, and when the next one's is.
    fn turns(
        posts: &mut Posts,
        all: &[(QualifiedName, Delivery)],
        now: Instant,
    ) -> (Vec<String>, Option<Instant>) {
        let (turns, next) = posts.turns(all.iter().map(|(alarm, post)| (alarm, post)), now);
        (turns.into_iter().map(|(_, post)| post.id).collect(), next)
    }

    #[test]
    fn who_never_answers_holds_up_nobody_else() {
        let (mut posts, now) = (Posts::default(), Instant::now());
        let mut all: Vec<_> = (0..2 * POSTS_AT_ONCE).map(post).collect();
        posts.failed = all.iter().map(|(_, post)| (post.id.clone(), (9, now))).collect();
        all.push(post(999));
        let (begun, next) = turns(&mut posts, &all, now);
        assert_eq!((begun.len(), begun[0].as_str(), next), (POSTS_AT_ONCE, "999", None));
        posts.ids = begun.into_iter().skip(1).collect();
        assert_eq!(turns(&mut posts, &all, now).0, ["999"], "there is room for one more");
        posts.ids.insert("999".to_owned());
        assert!(turns(&mut posts, &all, now).0.is_empty());
    }

    #[test]
    fn what_failed_waits_for_its_time_and_is_forgotten_with_its_post() {
        let (mut posts, now) = (Posts::default(), Instant::now());
        let later = now + Duration::from_secs(1);
        let all = [post(1), post(2), post(3)];
        posts.failed = [("1", later + Duration::from_secs(1)), ("2", later), ("3", now)]
            .map(|(id, at)| (id.to_owned(), (1, at)))
            .into();
        assert_eq!(turns(&mut posts, &all, now), (vec!["3".to_owned()], Some(later)));
        assert_eq!(posts.failed.len(), 3);
        assert_eq!(turns(&mut posts, &all[..1], later), (vec![], Some(later + Duration::from_secs(1))));
        assert_eq!(posts.failed.keys().collect::<Vec<_>>(), ["1"]);
    }
}

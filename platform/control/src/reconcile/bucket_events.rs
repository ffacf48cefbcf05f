//! Brings about that each write of an object is told on its bucket's bus, in the shape of EventBridge's S3 events.
//!
//! A write leaves its event in the object's row; from there it is put on the bus, and forgotten once the bus has it on the drive.
//! Each namespace goes on by itself (`backlog`): one whose bus takes nothing is tried again after a while, from where it stopped, and
//! holds up no other. While the record of a bucket can't be read, what may be its events wait likewise: whose they are, nobody knows.
//!
//! What always holds: an event is put at least once, under the same id each time, so that the bus knows it where it is put again;
//! those of one bucket are put in the order of the writes, also where its record can't be read for a while.
//! Source: <https://docs.aws.amazon.com/AmazonS3/latest/userguide/ev-events.html>

mod backlog;

use crate::context::Context;
use backlog::{Backlog, Lane};
use futures::future::join_all;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use skiff_kit::Backoff;
use skiff_ports::buckets::{BucketError, ObjectEvent};
use skiff_ports::buses::BusError;
use skiff_types::{BucketSpec, BusEvent, ResourceId};
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tracing::{error, warn};

/// Events that are read, and put, together.
const BATCH_MAX: usize = BusEvent::BATCH_MAX;
/// Waits after events could not be read.
const BACKOFF: Backoff = Backoff { first_ms: 50, most_ms: 5_000 };
/// How long events are waited for that should be there.
const READ_MAX: Duration = Duration::from_secs(5);
/// How long new events are looked for while a lane that was held goes on.
const NEWS_MAX: Duration = Duration::from_millis(20);
/// Bytes of a digest that tell an event from all others.
const DIGEST_BYTES: usize = 16;

/// Events with their numbers, in the order of these.
type Page = Vec<(u64, ObjectEvent)>;

pub(super) async fn run(context: Arc<Context>) {
    let mut backlog = Backlog::default();
    let mut failures = 0;
    loop {
        let moved = tokio::select! {
            biased;
            () = context.drain.begun() => return,
            moved = step(&context, &mut backlog) => moved,
        };
        let Err(error) = moved else {
            failures = 0;
            continue;
        };
        failures += 1;
        warn!(%error, failures, "events of buckets could not be read; trying again");
        tokio::select! {
            biased;
            () = context.drain.begun() => return,
            () = tokio::time::sleep(Duration::from_millis(BACKOFF.delay_ms(failures))) => {}
        }
    }
}

/// Waits for events, or until those that wait are to be tried again, and puts them.
async fn step(context: &Context, backlog: &mut Backlog) -> Result<(), BucketError> {
    let held = backlog.next();
    let is_due = async {
        match &held {
            Some((_, _, at)) => tokio::time::sleep_until(*at).await,
            None => std::future::pending().await,
        }
    };
    let page = tokio::select! {
        biased;
        () = is_due => None,
        page = context.buckets.events(backlog.seen, BATCH_MAX) => Some(page?),
    };
    match (page, held) {
        (Some(page), _) => put_new(context, backlog, page).await,
        (None, Some((lane, from, _))) => {
            let news = context.buckets.events(backlog.seen, BATCH_MAX);
            let (gone_on, news) = with_news(go_on(context, backlog, lane, from), news).await;
            if let Some(page) = news {
                put_new(context, backlog, page?).await;
            }
            gone_on?;
        }
        (None, None) => {}
    }
    Ok(())
}

/// Has a lane go on, and what is new beside that, if there is anything: a lane that has much to catch up with is due again at once,
/// each time, and is to hold up no other.
async fn with_news<T, N>(going_on: impl Future<Output = T>, news: impl Future<Output = N>) -> (T, Option<N>) {
    let (gone_on, news) = tokio::join!(going_on, tokio::time::timeout(NEWS_MAX, news));
    (gone_on, news.ok())
}

/// The buckets that events are of.
struct Buckets {
    known: BTreeMap<ResourceId, Arc<BucketSpec>>,
    /// The record of some bucket can't be read.
    is_one_unreadable: bool,
}

impl Buckets {
    fn of(context: &Context, page: &Page) -> Self {
        let written: BTreeSet<ResourceId> = page.iter().map(|(_, event)| event.object.bucket).collect();
        context.objects.read(|view| {
            let buckets = view.data.buckets.all().map(|held| &held.value.spec);
            let buckets = buckets.filter(|kept| written.contains(&kept.id));
            let known = buckets.map(|kept| (kept.id, kept.spec.clone())).collect();
            Self { known, is_one_unreadable: view.bucket_ids().is_none() }
        })
    }

    /// Events by their lanes. While events of a bucket wait by themselves, all of it do, so that they stay in order.
    fn by_lane(&self, page: Page, backlog: &Backlog) -> BTreeMap<Lane, Page> {
        let mut lanes: BTreeMap<Lane, Page> = BTreeMap::new();
        for (number, event) in page {
            let by_itself = Lane::Bucket(event.object.bucket);
            let lane = match self.known.get(&event.object.bucket) {
                Some(bucket) if backlog.is_open(&by_itself) => Lane::Namespace(bucket.name.namespace.clone()),
                Some(_) | None => by_itself,
            };
            lanes.entry(lane).or_default().push((number, event));
        }
        lanes
    }
}

/// Puts events that were not seen before, but those of lanes that are held.
async fn put_new(context: &Context, backlog: &mut Backlog, page: Page) {
    let Some(last) = page.last().map(|(number, _)| *number) else { return };
    let buckets = &Buckets::of(context, &page);
    let mut lanes = buckets.by_lane(page, backlog);
    lanes.retain(|lane, _| backlog.is_open(lane));
    let moving = lanes.into_iter().map(|(lane, page)| async move {
        let first = page.first().map_or(last, |(number, _)| *number);
        (lane, first, move_all(context, buckets, page).await)
    });
    for (lane, first, moved) in join_all(moving).await {
        if let Err(error) = moved {
            hold(backlog, lane, first, &error);
        }
    }
    backlog.seen = last;
}

/// Puts events of a lane that was held, from a number on.
async fn go_on(context: &Context, backlog: &mut Backlog, lane: Lane, from: u64) -> Result<(), BucketError> {
    let reading = context.buckets.events(from.saturating_sub(1), BATCH_MAX);
    // They are there, unless they were forgotten by a call that failed.
    let page = tokio::time::timeout(READ_MAX, reading).await.unwrap_or_else(|_| Ok(Page::new()))?;
    let page: Page = page.into_iter().take_while(|(number, _)| *number <= backlog.seen).collect();
    let up_to = match page.last() {
        Some((last, _)) if page.len() == BATCH_MAX => *last,
        Some(_) | None => backlog.seen,
    };
    let buckets = Buckets::of(context, &page);
    let mut lanes = buckets.by_lane(page, backlog);
    let own = lanes.remove(&lane).unwrap_or_default();
    // A bucket whose record can't be read any more waits by itself from now on.
    for (other, page) in lanes {
        if let (Lane::Bucket(_), Some((first, _))) = (&other, page.first()) {
            backlog.hold(other, *first, Instant::now());
        }
    }
    let first = own.first().map_or(from, |(number, _)| *number);
    match move_all(context, &buckets, own).await {
        Ok(()) => backlog.went_on(&lane, up_to, Instant::now()),
        Err(error) => hold(backlog, lane, first, &error),
    }
    Ok(())
}

/// Notes that events of a lane were not taken, from a number on.
fn hold(backlog: &mut Backlog, lane: Lane, from: u64, error: &MoveError) {
    let failures = backlog.failed(lane.clone(), from, Instant::now());
    warn!(?lane, %error, failures, "events of buckets could not be put on their bus; trying again");
}

/// Why events were not moved; those that the bucket still has are put again.
type MoveError = Box<dyn std::error::Error + Send + Sync>;

/// Puts events on their buses, and has them forgotten. Of a bucket that is gone nobody is told.
async fn move_all(context: &Context, buckets: &Buckets, page: Page) -> Result<(), MoveError> {
    let is_known = |event: &ObjectEvent| buckets.known.contains_key(&event.object.bucket);
    if buckets.is_one_unreadable && !page.iter().all(|(_, event)| is_known(event)) {
        return Err(
            "the record of a bucket can't be read, and events may be of it: they wait until it can be".into(),
        );
    }
    let told = page.iter().filter_map(|(number, event)| {
        buckets.known.get(&event.object.bucket).map(|bucket| bus_event(bucket, *number, event))
    });
    let told: Vec<BusEvent> = told.collect();
    if !told.is_empty() {
        put(context, told).await?;
    }
    if !page.is_empty() {
        context.buckets.forget_events(page.into_iter().map(|(number, _)| number).collect()).await?;
    }
    Ok(())
}

/// Puts events that Skiff itself has made; one that can't be on a bus holds up no other.
pub(super) async fn put(context: &Context, events: Vec<BusEvent>) -> Result<(), BusError> {
    match context.buses.put(events.clone()).await {
        Err(BusError::Invalid(_)) => {}
        put => return put,
    }
    for event in events {
        let (bus, id) = (event.bus.clone(), event.id.clone());
        match context.buses.put(vec![event]).await {
            Err(BusError::Invalid(problem)) => {
                error!(%bus, %id, problem, "an event can't be on its bus, and is lost");
            }
            put => put?,
        }
    }
    Ok(())
}

/// A write of an object as an event.
fn bus_event(bucket: &BucketSpec, number: u64, event: &ObjectEvent) -> BusEvent {
    let key = event.object.key.as_str();
    let name = bucket.name.name.as_str();
    let digest = Sha256::digest(format!("{} {number} {} {key}", event.object.bucket, event.sequencer));
    BusEvent {
        namespace: bucket.name.namespace.clone(),
        bus: bucket.bus.clone(),
        id: hex::encode(&digest[..DIGEST_BYTES]).into(),
        source: "skiff.s3".into(),
        detail_type: if event.created.is_some() { "Object Created" } else { "Object Deleted" }.into(),
        time_ms: event.at_ms,
        resources: vec![format!("bucket/{}", bucket.name).into()],
        subject: Some(key.into()),
        extensions: BTreeMap::new(),
        detail: detail(name, event).to_string().into(),
        order_key: Some(format!("{name}/{key}").into()),
    }
}

fn detail(bucket: &str, event: &ObjectEvent) -> Value {
    let mut object = json!({ "key": event.object.key, "sequencer": event.sequencer });
    if let Some((size, etag)) = &event.created {
        object["size"] = (*size).into();
        object["etag"] = etag.as_str().into();
    }
    let mut detail = json!({
        "version": "0",
        "bucket": { "name": bucket },
        "object": object,
        "request-id": event.by.request_id,
        "requester": event.by.requester,
        "reason": event.by.reason,
    });
    if let Some(address) = &event.by.source_ip {
        detail["source-ip-address"] = address.as_str().into();
    }
    if event.created.is_none() {
        detail["deletion-type"] = "Permanently Deleted".into();
    }
    detail
}

#[cfg(test)]
mod tests {
    use super::*;
    use skiff_ports::buckets::{Cause, ObjectRef};

    fn written(created: Option<(u64, String)>) -> ObjectEvent {
        ObjectEvent {
            object: ObjectRef { bucket: ResourceId::from_bytes([7; 8]), key: "images/cat 1.png".to_owned() },
            at_ms: 1_700_000_000_000,
            sequencer: "00000000000000ab".to_owned(),
            created,
            by: Cause {
                reason: "PutObject".to_owned(),
                requester: "default/uploader".to_owned(),
                request_id: "r1".to_owned(),
                source_ip: Some("192.0.2.7".to_owned()),
            },
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_new_has_its_turn_beside_a_lane_that_catches_up_and_is_not_waited_for_long() {
        let read = async {
            tokio::time::sleep(NEWS_MAX / 2).await;
            7
        };
        assert_eq!(with_news(async { "went on" }, read).await, ("went on", Some(7)));
        let none = with_news(async { "went on" }, std::future::pending::<u8>()).await;
        assert_eq!(none, ("went on", None));
    }

    #[test]
    fn an_event_is_as_s3_has_it() {
        let bucket = BucketSpec { name: "default/uploads".parse().unwrap(), bus: "audit".parse().unwrap() };
        let event = bus_event(&bucket, 5, &written(Some((5, "abc".to_owned()))));
        assert_eq!(
            (event.bus.as_str(), &*event.source, &*event.detail_type),
            ("audit", "skiff.s3", "Object Created")
        );
        let detail: Value = serde_json::from_str(&event.detail).unwrap();
        let expected = json!({
            "version": "0", "bucket": { "name": "uploads" },
            "object": { "key": "images/cat 1.png", "size": 5, "etag": "abc", "sequencer": "00000000000000ab" },
            "request-id": "r1", "requester": "default/uploader", "source-ip-address": "192.0.2.7", "reason": "PutObject",
        });
        assert_eq!(detail, expected);
        assert_eq!(event.order_key.as_deref(), Some("uploads/images/cat 1.png"));
        assert_eq!(
            event.id,
            bus_event(&bucket, 5, &written(Some((5, "abc".to_owned())))).id,
            "each time the same"
        );
        assert_ne!(event.id, bus_event(&bucket, 6, &written(Some((5, "abc".to_owned())))).id);
        let deleted = bus_event(&bucket, 7, &written(None));
        assert_eq!(&*deleted.detail_type, "Object Deleted");
        let detail: Value = serde_json::from_str(&deleted.detail).unwrap();
        assert_eq!(detail["deletion-type"], "Permanently Deleted");
        assert!(detail["object"].get("size").is_none());
    }
}

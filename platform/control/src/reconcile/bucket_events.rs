//! Brings about that each write of an object is told on its bucket's bus, in the shape of EventBridge's S3 events.
//!
//! A write leaves its event in the object's row; from there it is put on the bus, and forgotten once the bus has it on the drive.
//! It puts none while a record of a bucket can't be read that events may be of: whose they are, nobody knows.
//! What always holds: an event is put at least once, under the same id each time, so that the bus knows it where it is put again;
//! those of one key are put in the order of the writes.
//! Source: <https://docs.aws.amazon.com/AmazonS3/latest/userguide/ev-events.html>

use crate::context::Context;
use crate::view::View;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use skiff_kit::Backoff;
use skiff_ports::buckets::ObjectEvent;
use skiff_ports::buses::BusError;
use skiff_types::{BucketSpec, BusEvent, ResourceId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tracing::{error, warn};

/// Events that are put together.
const BATCH_MAX: usize = BusEvent::BATCH_MAX;
/// Waits after a failure.
const BACKOFF: Backoff = Backoff { first_ms: 50, most_ms: 5_000 };
/// Bytes of a digest that tell an event from all others.
const DIGEST_BYTES: usize = 16;

pub(super) async fn run(context: Arc<Context>) {
    let mut failures = 0;
    loop {
        let moved = tokio::select! {
            biased;
            () = context.drain.begun() => return,
            moved = move_some(&context) => moved,
        };
        match moved {
            Ok(()) => failures = 0,
            Err(error) => {
                failures += 1;
                warn!(%error, failures, "events of buckets could not be put on their buses; trying again");
                tokio::select! {
                    biased;
                    () = context.drain.begun() => return,
                    () = tokio::time::sleep(Duration::from_millis(BACKOFF.delay_ms(failures))) => {}
                }
            }
        }
    }
}

/// Why events were not moved; those that the bucket still has are put again.
type MoveError = Box<dyn std::error::Error + Send + Sync>;

/// Waits for events, puts them on their buses, and has them forgotten.
async fn move_some(context: &Context) -> Result<(), MoveError> {
    let events = context.buckets.events(BATCH_MAX).await?;
    let Some(last) = events.last().map(|(number, _)| *number) else { return Ok(()) };
    let written: BTreeSet<ResourceId> = events.iter().map(|(_, event)| event.object.bucket).collect();
    let buckets: BTreeMap<ResourceId, Arc<BucketSpec>> = context.objects.read(|view| {
        let buckets = view.data.buckets.all().map(|held| &held.value.spec);
        let buckets = buckets.filter(|kept| written.contains(&kept.id));
        buckets.map(|kept| (kept.id, kept.spec.clone())).collect()
    });
    let is_gone = |bucket: &ResourceId| !buckets.contains_key(bucket);
    if written.iter().any(is_gone) && context.objects.read(View::bucket_ids).is_none() {
        return Err(
            "the record of a bucket can't be read, and events may be of it: none is put until it can be"
                .into(),
        );
    }
    // Of a bucket that is gone nobody is told.
    let told = events.iter().filter_map(|(number, event)| {
        buckets.get(&event.object.bucket).map(|bucket| bus_event(bucket, *number, event))
    });
    let told: Vec<BusEvent> = told.collect();
    if !told.is_empty() {
        put(context, told).await?;
    }
    context.buckets.forget_events(last).await?;
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

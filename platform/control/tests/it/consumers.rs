//! Consumers of queues: who is given messages, what becomes of them, and what sleeps, wakes and is scaled by them.

use crate::fixture::{Platform, name, namespace, registration, until, wanted};
use crate::node::Guest;
use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::{Value, json};
use skiff_api::{
    ClientError, Consumer, ConsumerState, ErrorCode, NewMessage, PutConsumer, PutQueue, PutScaling,
    PutService, QueueStatus, RegisterTaskDefinition, ScaleService, SendMessages,
};
use skiff_ports::guest_deliveries::{DeliverError, GuestBatch, GuestDelivery, GuestOutcome, MessageOutcome};
use skiff_types::{ScaleToZero, TaskId, TaskStatus};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use tokio::sync::Semaphore;

/// The shortest time after which a service may fall asleep.
const SHORTEST: ScaleToZero = ScaleToZero::After(ScaleToZero::LEAST);

fn body<T: serde::de::DeserializeOwned>(body: Value) -> T {
    serde_json::from_value(body).unwrap()
}

/// A guest that answers each batch with what `answer` says.
fn guest<F>(answer: F) -> Guest
where
    F: Fn(TaskId, GuestBatch) -> BoxFuture<'static, Result<Vec<MessageOutcome>, DeliverError>>
        + Send
        + Sync
        + 'static,
{
    Arc::new(move |task, delivery| {
        let GuestDelivery::Batch(batch) = delivery else { panic!("no batch: {delivery:?}") };
        answer(task, batch).map(|outcomes| outcomes.map(GuestOutcome::Batch)).boxed()
    })
}

/// A guest that answers at once.
fn quick(answer: impl Fn(&GuestBatch) -> Vec<MessageOutcome> + Send + Sync + 'static) -> Guest {
    guest(move |_, batch| {
        let outcomes = answer(&batch);
        async move { Ok(outcomes) }.boxed()
    })
}

fn all_done(batch: &GuestBatch) -> Vec<MessageOutcome> {
    batch.messages.iter().map(|_| MessageOutcome::Done).collect()
}

impl Platform {
    /// A service `fulfil` of tasks that take messages as a role that may, and the queue `orders`.
    async fn consuming(&self, desired: u32, more: Value) {
        self.client.put_queue(&namespace(), &name("orders"), &PutQueue::default(), None).await.unwrap();
        let role = body(json!({ "allow": ["queue:receive orders"] }));
        self.client.put_role(&namespace(), &name("fulfil"), &role, None).await.unwrap();
        self.push("fulfil", "consumer").await;
        self.register_as(Some("fulfil")).await;
        let mut request = wanted("fulfil", desired);
        if let Some(scale_to_zero) = more.get("scale_to_zero") {
            request.scale_to_zero = Some(body(scale_to_zero.clone()));
        }
        self.put_fulfil(request).await;
        self.completed("fulfil").await;
    }

    async fn register_as(&self, role: Option<&str>) {
        let registration =
            RegisterTaskDefinition { role: role.map(name), ..registration("fulfil", "fulfil") };
        self.client.register_task_definition(&namespace(), &registration).await.unwrap();
    }

    async fn put_fulfil(&self, request: PutService) {
        self.client.put_service(&namespace(), &name("fulfil"), &request, None).await.unwrap();
    }

    async fn consume(&self, more: Value) -> Result<Consumer, ClientError> {
        let mut said = json!({ "queue": "orders", "service": "fulfil" });
        said.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let said: PutConsumer = body(said);
        self.client.put_consumer(&namespace(), &name("orders"), &said, None).await
    }

    async fn consumer(&self) -> Consumer {
        self.client.get_consumer(&namespace(), &name("orders")).await.unwrap()
    }

    async fn send_orders(&self, bodies: impl IntoIterator<Item = String>) {
        let messages: Vec<NewMessage> =
            bodies.into_iter().map(|body| NewMessage::new(body.as_bytes())).collect();
        for messages in messages.chunks(10) {
            let messages = SendMessages { messages: messages.to_vec() };
            self.client.send_messages(&namespace(), &name("orders"), &messages).await.unwrap();
        }
    }

    async fn holds(&self, queue: &str) -> QueueStatus {
        self.client.get_queue(&namespace(), &name(queue)).await.unwrap().status
    }

    async fn is_drained(&self) {
        until("all is dealt with", || async {
            let status = self.holds("orders").await;
            (status.visible + status.in_flight == 0).then_some(())
        })
        .await;
    }
}

#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T, ClientError>, code: ErrorCode, message: &str) {
    let error = result.expect_err("it was taken");
    assert!(error.to_string().contains(message), "{error}");
    assert_eq!(error.code(), Some(code), "{error}");
}

#[tokio::test]
async fn messages_are_given_in_batches_each_once_and_deleted_when_they_are_done() {
    let platform = Platform::start().await;
    platform.consuming(2, json!({})).await;
    let given: Arc<Mutex<Vec<String>>> = Arc::default();
    let noted = given.clone();
    platform.node.set_guest(quick(move |batch| {
        assert!(batch.queue == "orders" && (1..=4).contains(&batch.messages.len()), "{batch:?}");
        let bodies = batch.messages.iter().map(|message| String::from_utf8(message.body.to_vec()).unwrap());
        noted.lock().unwrap().extend(bodies);
        all_done(batch)
    }));
    platform.send_orders((0..50).map(|number| number.to_string())).await;
    let consumer = platform.consume(json!({ "batch": 4 })).await.unwrap();
    assert_eq!((consumer.batch, consumer.concurrency), (4, 1));
    platform.is_drained().await;
    platform.send_orders((50..60).map(|number| number.to_string())).await;
    platform.is_drained().await;
    let given: Vec<String> = given.lock().unwrap().clone();
    assert_eq!((given.len(), given.iter().collect::<BTreeSet<_>>().len()), (60, 60));
    let status = platform.consumer().await.status;
    assert_eq!((status.state, status.tasks, status.done), (ConsumerState::Active, 2, 60));
    assert_eq!(
        (status.retried, status.rejected, status.failed_batches, status.last_failure),
        (0, 0, 0, None)
    );
    platform.assert_node_is_content();
}

#[tokio::test]
async fn what_a_task_says_of_each_message_becomes_of_it() {
    let platform = Platform::start().await;
    platform.client.put_queue(&namespace(), &name("dead"), &PutQueue::default(), None).await.unwrap();
    platform.consuming(1, json!({})).await;
    let burying: PutQueue = body(json!({ "dead_letter": { "queue": "dead", "receives_max": 100 } }));
    platform.client.put_queue(&namespace(), &name("orders"), &burying, None).await.unwrap();
    platform.node.set_guest(quick(|batch| {
        let outcome = |message: &skiff_ports::guest_deliveries::QueuedMessage| match &message.body[..] {
            b"poison" => MessageOutcome::Reject("it can't be read".to_owned()),
            // The first time it comes again at once.
            b"later" if message.receives == 1 => MessageOutcome::Retry { after_ms: Some(0) },
            _ => MessageOutcome::Done,
        };
        batch.messages.iter().map(outcome).collect()
    }));
    platform.consume(json!({})).await.unwrap();
    platform.send_orders(["good", "poison", "later"].map(str::to_owned)).await;
    platform.is_drained().await;
    assert_eq!(platform.holds("dead").await.visible, 1);
    let status = until("all is counted", || async {
        let status = platform.consumer().await.status;
        (status.done + status.rejected == 3).then_some(status)
    })
    .await;
    assert_eq!((status.done, status.retried, status.rejected), (2, 1, 1));
    assert_eq!(status.last_failure.as_deref(), Some("a message was rejected: it can't be read"));
}

#[tokio::test]
async fn messages_that_no_guest_was_given_do_not_count_as_received() {
    let platform = Platform::start().await;
    platform.consuming(1, json!({})).await;
    let receives: Arc<Mutex<Vec<u32>>> = Arc::default();
    let noted = receives.clone();
    platform.node.set_guest(guest(move |_, batch| {
        let mut noted = noted.lock().unwrap();
        noted.extend(batch.messages.iter().map(|message| message.receives));
        let outcome = match noted.len() < 5 {
            true => Err(DeliverError::NoExport("it has none".to_owned())),
            false => Ok(all_done(&batch)),
        };
        async move { outcome }.boxed()
    }));
    platform.send_orders(["one".to_owned()]).await;
    platform.consume(json!({})).await.unwrap();
    platform.is_drained().await;
    assert_eq!(*receives.lock().unwrap(), [1; 5]);
}

#[tokio::test]
async fn without_the_grant_nothing_is_taken_and_the_reason_says_which() {
    let platform = Platform::start().await;
    platform.consuming(1, json!({})).await;
    platform.node.set_guest(quick(all_done));
    let none = body(json!({ "allow": ["queue:send orders"] }));
    platform.client.put_role(&namespace(), &name("fulfil"), &none, None).await.unwrap();
    platform.send_orders(["one".to_owned()]).await;
    let status = platform.consume(json!({})).await.unwrap().status;
    assert_eq!(status.state, ConsumerState::Blocked);
    let reason = status.reason.unwrap();
    assert!(reason.contains("skiff role put fulfil --add \"queue:receive orders\""), "{reason}");
    let allowed = body(json!({ "allow": ["queue:* orders"] }));
    assert_eq!(platform.holds("orders").await.visible, 1);
    platform.client.put_role(&namespace(), &name("fulfil"), &allowed, None).await.unwrap();
    platform.is_drained().await;

    platform.register_as(None).await;
    platform.put_fulfil(wanted("fulfil", 1)).await;
    platform.completed("fulfil").await;
    let status = platform.consumer().await.status;
    assert_eq!(status.state, ConsumerState::Blocked);
    assert!(status.reason.unwrap().contains("skiff deploy --role NAME"));
}

#[tokio::test]
async fn a_task_that_is_to_stop_finishes_its_batch_and_has_no_other() {
    let platform = Platform::start().await;
    platform.consuming(1, json!({})).await;
    let (gate, begun) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let (waits, begins) = (gate.clone(), begun.clone());
    platform.node.set_guest(guest(move |_, batch| {
        begins.add_permits(1);
        let waits = waits.clone();
        async move {
            waits.acquire().await.unwrap().forget();
            Ok(all_done(&batch))
        }
        .boxed()
    }));
    platform.send_orders((0..4).map(|number| number.to_string())).await;
    platform.consume(json!({ "batch": 1, "concurrency": 2 })).await.unwrap();
    begun.acquire_many(2).await.unwrap().forget();
    let task = platform.running("fulfil").await.remove(0).id;
    assert_eq!(platform.consumer().await.status.in_flight, 2);
    platform
        .client
        .scale_service(&namespace(), &name("fulfil"), &ScaleService { desired: 0 }, None)
        .await
        .unwrap();
    platform.reaches(task, TaskStatus::Stopping).await;
    gate.add_permits(1);
    until("one is done", || async { (platform.consumer().await.status.done == 1).then_some(()) }).await;
    assert_eq!(
        platform.reaches(task, TaskStatus::Stopping).await.status,
        TaskStatus::Stopping,
        "it has another"
    );
    gate.add_permits(1);
    platform.reaches(task, TaskStatus::Stopped).await;
    let status = platform.consumer().await.status;
    assert_eq!((status.state, status.done, status.in_flight), (ConsumerState::Waiting, 2, 0));
    assert_eq!(begun.available_permits(), 0, "it was given nothing more");
    until("the others are in sight", || async {
        (platform.holds("orders").await.visible == 2).then_some(())
    })
    .await;
    gate.add_permits(10);
    platform
        .client
        .scale_service(&namespace(), &name("fulfil"), &ScaleService { desired: 1 }, None)
        .await
        .unwrap();
    platform.is_drained().await;
}

#[tokio::test]
async fn a_service_without_messages_sleeps_and_the_first_one_wakes_it() {
    let platform = Platform::start().await;
    platform.consuming(2, json!({ "scale_to_zero": SHORTEST })).await;
    platform.node.set_guest(quick(all_done));
    platform.consume(json!({})).await.unwrap();
    let sleeps = async || {
        until("it is asleep and has no task", || async {
            let status = platform.service("fulfil").await.status;
            (status.asleep && status.running + status.pending + status.stopping == 0).then_some(())
        })
        .await;
    };
    sleeps().await;
    assert_eq!(platform.consumer().await.status.state, ConsumerState::Asleep);
    platform.send_orders(["one".to_owned()]).await;
    platform.is_drained().await;
    assert_eq!(platform.consumer().await.status.done, 1);
    sleeps().await;

    // What it may not take wakes nobody.
    let none = body(json!({ "allow": ["queue:send orders"] }));
    platform.client.put_role(&namespace(), &name("fulfil"), &none, None).await.unwrap();
    until("it is blocked", || async {
        (platform.consumer().await.status.state == ConsumerState::Blocked).then_some(())
    })
    .await;
    platform.send_orders(["two".to_owned()]).await;
    let before = platform.tasks(Some("fulfil")).await.len();
    let allowed = body(json!({ "allow": ["queue:* orders"] }));
    assert!(platform.service("fulfil").await.status.asleep);
    assert_eq!(platform.tasks(Some("fulfil")).await.len(), before);
    platform.client.put_role(&namespace(), &name("fulfil"), &allowed, None).await.unwrap();
    platform.is_drained().await;
}

#[tokio::test]
async fn a_backlog_brings_tasks_from_none_to_as_many_as_may_be() {
    let platform = Platform::start().await;
    platform.consuming(1, json!({ "scale_to_zero": SHORTEST })).await;
    let gate = Arc::new(Semaphore::new(0));
    let waits = gate.clone();
    platform.node.set_guest(guest(move |_, batch| {
        let waits = waits.clone();
        async move {
            waits.acquire().await.unwrap().forget();
            Ok(all_done(&batch))
        }
        .boxed()
    }));
    let tracking =
        json!({ "target_tracking": { "name": "backlog", "metric": "BacklogPerTask", "target": 10 } });
    let scaling: PutScaling = body(json!({ "min": 0, "max": 5, "policies": [tracking] }));
    platform.client.put_scaling(&namespace(), &name("fulfil"), &scaling, None).await.unwrap();
    platform.consume(json!({})).await.unwrap();
    until("it is asleep", || async { platform.service("fulfil").await.status.asleep.then_some(()) }).await;
    platform.send_orders((0..200).map(|number| number.to_string())).await;
    until("it has five tasks", || async {
        let service = platform.service("fulfil").await;
        (service.spec.desired == 5 && service.status.running == 5).then_some(())
    })
    .await;
    gate.add_permits(1_000);
    platform.is_drained().await;
    until("it is asleep again", || async {
        let status = platform.service("fulfil").await.status;
        (status.asleep && status.running == 0).then_some(())
    })
    .await;
    assert_eq!(platform.consumer().await.status.done, 200);
}

#[tokio::test]
async fn a_task_that_fails_leaves_its_messages_to_come_again_and_one_that_is_busy_is_asked_again() {
    let platform = Platform::start().await;
    platform.consuming(1, json!({})).await;
    let tries = Arc::new(Mutex::new(0));
    let counted = tries.clone();
    platform.node.set_guest(guest(move |_, batch| {
        let mut tries = counted.lock().unwrap();
        *tries += 1;
        let answer = match *tries {
            1 | 2 => Err(DeliverError::Busy("it has much to do".to_owned())),
            3 => Err(DeliverError::Failed("it trapped".to_owned())),
            4 => Ok(vec![]),
            _ => Ok(all_done(&batch)),
        };
        async move { answer }.boxed()
    }));
    platform.consume(json!({ "batch": 1 })).await.unwrap();
    platform.send_orders((0..4).map(|number| number.to_string())).await;
    let status = until("all were tried", || async {
        let status = platform.consumer().await.status;
        (status.done == 2 && status.failed_batches == 2).then_some(status)
    })
    .await;
    assert_eq!((status.retried, *tries.lock().unwrap()), (2, 6));
    assert!(status.last_failure.unwrap().contains("did not say what becomes of each message"));
    assert_eq!(platform.holds("orders").await.in_flight, 2, "they come again when their time is over");
}

#[tokio::test]
async fn what_can_not_be_consumed_is_refused_and_a_consumed_queue_stays() {
    let platform = Platform::start().await;
    refused(platform.consume(json!({})).await, ErrorCode::NotFound, "there is no queue orders");
    platform.client.put_queue(&namespace(), &name("orders"), &PutQueue::default(), None).await.unwrap();
    refused(platform.consume(json!({})).await, ErrorCode::NotFound, "there is no service fulfil");
    platform.deploy("fulfil", "http", 1).await;
    refused(platform.consume(json!({})).await, ErrorCode::FailedPrecondition, "skiff:queues/consumer");
    platform.consuming(1, json!({})).await;
    refused(platform.consume(json!({ "batch": 11 })).await, ErrorCode::InvalidArgument, "batch is 11");
    platform.consume(json!({})).await.unwrap();
    let second: PutConsumer = body(json!({ "queue": "orders", "service": "fulfil" }));
    let second = platform.client.put_consumer(&namespace(), &name("second"), &second, None).await;
    refused(second, ErrorCode::Conflict, "the consumer orders gives fulfil the messages");

    let removed = platform.client.delete_queue(&namespace(), &name("orders"), None).await;
    refused(removed, ErrorCode::FailedPrecondition, "skiff consumer rm orders");
    platform.client.delete_service(&namespace(), &name("fulfil"), None).await.unwrap();
    platform.gone("fulfil").await;
    let status = platform.consumer().await.status;
    assert_eq!(status.state, ConsumerState::Blocked);
    assert!(status.reason.unwrap().contains("there is no service fulfil"));
    platform.client.delete_consumer(&namespace(), &name("orders"), None).await.unwrap();
    platform.client.delete_queue(&namespace(), &name("orders"), None).await.unwrap();
}

//! Deliveries: events, messages and requests that guests are given, each in a sandbox like any call's.

use crate::support::{Guest, World};
use skiff_ports::guest_deliveries::{
    DeliverError, GuestBatch, GuestDelivery, GuestOutcome, MessageOutcome, QueuedMessage,
};
use skiff_ports::logs::LogStream;
use skiff_testbed::{on_one_thread, until};
use skiff_types::{MemorySize, Reuse, Span, TaskId};

fn event(what: &str) -> GuestDelivery {
    let text = format!(
        r#"{{"specversion":"1.0","id":"7","source":"test","type":"Todo","datacontenttype":"application/json","data":{{"what":"{what}"}}}}"#
    );
    GuestDelivery::Event(text.into())
}

fn batch(queue: &str, bodies: &[&str]) -> GuestDelivery {
    let message = |body: &&str| QueuedMessage {
        id: format!("id-of-{body}"),
        body: (*body).to_owned().into(),
        attributes: vec![("colour".to_owned(), "green".to_owned()), ("n".to_owned(), "1".to_owned())],
        group: body.starts_with('a').then(|| "g".to_owned()),
        sent_at_ms: 1_700_000_000_000,
        receives: 2,
    };
    let messages = bodies.iter().map(message).collect();
    GuestDelivery::Batch(GuestBatch { queue: queue.to_owned(), messages })
}

fn post(path: &str) -> GuestDelivery {
    let headers = vec![("ce-id".to_owned(), "7".to_owned())];
    GuestDelivery::Http { path: path.to_owned(), headers, body: "{}".into() }
}

async fn refused(world: &World, task: TaskId, what: &str) -> String {
    match world.sandboxes.deliver(task, event(what)).await {
        Ok(GuestOutcome::Event(Err(why))) => why,
        other => panic!("{what}: {other:?}"),
    }
}

async fn failed(world: &World, task: TaskId, delivery: GuestDelivery) -> String {
    match world.sandboxes.deliver(task, delivery).await {
        Err(DeliverError::Failed(why)) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_event_is_taken_or_it_is_said_why_not() {
    on_one_thread(async {
        let world = World::new(4, &[Guest::Events]);
        let task = world.run(Guest::Events, |_| {});
        let taken = world.sandboxes.deliver(task, event("nothing")).await;
        assert_eq!(taken, Ok(GuestOutcome::Event(Ok(()))));
        for _ in 0..3 {
            assert_eq!(
                refused(&world, task, "count").await,
                "called 1 times",
                "each in a sandbox of its own"
            );
        }
        let long = refused(&world, task, "complain").await;
        assert!(long.starts_with("why why") && long.len() <= 1_024, "{} bytes", long.len());
        let other = GuestDelivery::Event(r#"{"id":"8","source":"test","type":"Todo","data":7}"#.into());
        match world.sandboxes.deliver(task, other).await {
            Ok(GuestOutcome::Event(Err(why))) => assert!(why.contains("not what the handler takes"), "{why}"),
            other => panic!("{other:?}"),
        }
        assert!(failed(&world, task, GuestDelivery::Event(vec![0xff].into())).await.contains("no text"));
        let lines = world.lines(task, LogStream::Stderr);
        assert!(lines[0].contains("event 7 of Todo from test"), "{lines:?}");
        assert!(world.slot(task).totals().cpu_ns > 0);
        world.leave_out(task);
        world.all_is_given_back(task).await;
    });
}

#[test]
fn messages_each_have_an_outcome() {
    on_one_thread(async {
        let world = World::new(4, &[Guest::Events, Guest::QueueRaw]);
        let task = world.run(Guest::Events, |_| {});
        let given = batch("orders", &["done", "retry", "later", "attributes", "juggle"]);
        let Ok(GuestOutcome::Batch(outcomes)) = world.sandboxes.deliver(task, given).await else {
            panic!("no outcomes")
        };
        let (done, retry) = (MessageOutcome::Done, |after_ms| MessageOutcome::Retry { after_ms });
        assert_eq!(outcomes[..3], [done, retry(None), retry(Some(3_000))]);
        let reject = |index: usize| match &outcomes[index] {
            MessageOutcome::Reject(why) => why.as_str(),
            other => panic!("{other:?}"),
        };
        assert_eq!(reject(3), r#"[("colour", "green"), ("n", "1")] Some("g")"#);
        assert!(reject(4).contains("nothing to do"), "{}", reject(4));
        assert_eq!(outcomes.len(), 5);
        let none = world.sandboxes.deliver(task, batch("orders", &[])).await;
        assert_eq!(none, Ok(GuestOutcome::Batch(vec![])));

        // By another's bindings the same is said.
        let raw = world.run(Guest::QueueRaw, |_| {});
        let Ok(GuestOutcome::Batch(outcomes)) =
            world.sandboxes.deliver(raw, batch("orders", &["retry", "a"])).await
        else {
            panic!("no outcomes")
        };
        assert_eq!(outcomes[0], retry(Some(1_700_000_000_002)));
        let said = r#"id-of-a [("colour", "green"), ("n", "1")] Some("g")"#;
        assert_eq!(outcomes[1], MessageOutcome::Reject(said.to_owned()));
        assert!(world.sandboxes.deliver(raw, batch("2", &["a", "b"])).await.is_ok());
        for other in ["0", "1", "3", "1000"] {
            let why = failed(&world, raw, batch(other, &["a", "b"])).await;
            assert!(why.contains(&format!("given 2 messages and said what becomes of {other}")), "{why}");
        }
        world.leave_out(raw);
        world.all_is_given_back(raw).await;
    });
}

#[test]
fn a_guest_that_fails_fails_its_delivery_and_no_other() {
    on_one_thread(async {
        let world = World::new(4, &[Guest::Events]);
        let task = world.run(Guest::Events, |task| {
            task.limits.memory = MemorySize::from_mib(32);
            task.limits.timeout = Span::from_ms(300);
        });
        for (what, expected) in [
            ("trap", "unreachable"),
            ("grow", "out of memory"),
            ("spin", "within 300 ms"),
            ("sleep", "within 300 ms"),
            ("exit", "exited with code"),
        ] {
            let why = failed(&world, task, event(what)).await;
            assert!(why.contains(expected), "{what}: {why}");
            let why = failed(&world, task, batch("orders", &["done", what])).await;
            assert!(why.contains(expected), "{what}: {why}");
            let taken = world.sandboxes.deliver(task, event("nothing")).await;
            assert_eq!(taken, Ok(GuestOutcome::Event(Ok(()))));
        }
        let totals = world.slot(task).totals();
        assert_eq!((totals.traps, totals.timeouts), (2, 4));
        let lines = world.lines(task, LogStream::Skiff);
        assert!(lines.iter().any(|line| line.contains("unreachable")), "{lines:?}");
        world.leave_out(task);
        world.all_is_given_back(task).await;
    });
}

#[test]
fn what_a_component_does_not_export_it_is_not_given() {
    on_one_thread(async {
        let world = World::new(4, &[Guest::Hello, Guest::Events, Guest::QueueRaw]);
        let hello = world.run(Guest::Hello, |_| {});
        let events = world.run(Guest::Events, |_| {});
        let raw = world.run(Guest::QueueRaw, |_| {});
        for (task, delivery, interface) in [
            (hello, event("nothing"), "skiff:events/handler"),
            (hello, batch("orders", &["done"]), "skiff:queues/consumer"),
            (raw, event("nothing"), "skiff:events/handler"),
            (events, post("/"), "wasi:http"),
        ] {
            match world.sandboxes.deliver(task, delivery).await {
                Err(DeliverError::NoExport(why)) => assert!(why.contains(interface), "{why}"),
                other => panic!("{other:?}"),
            }
        }
        world.leave_out(events);
        let gone = world.sandboxes.deliver(events, event("nothing")).await;
        assert!(matches!(gone, Err(DeliverError::Busy(_))), "{gone:?}");
        world.leave_out(hello);
        world.all_is_given_back(hello).await;
    });
}

#[test]
fn requests_are_delivered_to_their_answer_s_end() {
    on_one_thread(async {
        let world = World::new(4, &[Guest::EventsHttp]);
        let task = world.run(Guest::EventsHttp, |_| {});
        for (path, status) in [("/", 204), ("/count", 200), ("/refuse", 503)] {
            let answered = world.sandboxes.deliver(task, post(path)).await;
            assert_eq!(answered, Ok(GuestOutcome::Http(status)), "{path}");
        }
        assert!(failed(&world, task, post("/large")).await.contains("bytes"));
        assert!(failed(&world, task, post("/trap")).await.contains("unreachable"));
        assert!(failed(&world, task, post("no path")).await.contains("no request"));
        let lines = world.lines(task, LogStream::Stderr);
        assert!(lines[0].contains("POST / 7 {}"), "{lines:?}");
        world.leave_out(task);
        world.all_is_given_back(task).await;
    });
}

#[test]
fn a_sandbox_that_is_kept_takes_events_and_requests_one_at_a_time() {
    on_one_thread(async {
        let world = World::new(8, &[Guest::Events, Guest::EventsHttp]);
        for (guest, concurrent) in [(Guest::Events, 1), (Guest::EventsHttp, 1), (Guest::EventsHttp, 4)] {
            let task = world.run(guest, |task| task.limits.reuse = Reuse { requests: 3, concurrent });
            let mut counts = Vec::new();
            for _ in 0..4 {
                counts.push(refused(&world, task, "count").await);
            }
            let said = |count| format!("called {count} times");
            assert_eq!(counts, [1, 2, 3, 1].map(said), "{guest:?}");
            if guest == Guest::EventsHttp && concurrent == 1 {
                assert_eq!(world.text(task, "/count").await.unwrap(), "2");
            }
            world.leave_out(task);
            world.all_is_given_back(task).await;
        }
    });
}

#[test]
fn deliveries_wait_for_their_turn_as_requests_do() {
    on_one_thread(async {
        let world = World::new(4, &[Guest::Events]);
        let task = world.run(Guest::Events, |task| {
            task.limits.concurrency = 1;
            task.limits.queue = 2;
            task.limits.timeout = Span::from_ms(400);
        });
        assert!(world.sandboxes.deliver(task, event("nothing")).await.is_ok(), "its code is loaded");
        let deliveries = ["sleep", "nothing", "nothing", "nothing"].map(event);
        let deliveries = deliveries.map(|delivery| world.sandboxes.deliver(task, delivery));
        let outcomes = futures::future::join_all(deliveries).await;
        assert!(matches!(outcomes[0], Err(DeliverError::Failed(_))), "{:?}", outcomes[0]);
        assert!(matches!(outcomes[3], Err(DeliverError::Busy(_))), "its queue is full: {:?}", outcomes[3]);
        world.leave_out(task);
        world.all_is_given_back(task).await;
    });
}

#[test]
fn a_delivery_that_is_given_up_ends_its_guest() {
    on_one_thread(async {
        let world = World::new(4, &[Guest::Events]);
        for what in ["sleep", "spin"] {
            let task = world.run(Guest::Events, |_| {});
            let delivery = Box::pin(world.sandboxes.deliver(task, event(what)));
            let started = Box::pin(async {
                while world.slot(task).totals().in_flight == 0 {
                    tokio::task::yield_now().await;
                }
            });
            drop(futures::future::select(delivery, started).await);
            until("the guest goes on", || world.slot(task).totals().in_flight == 0).await;
            world.leave_out(task);
            world.all_is_given_back(task).await;
        }
    });
}

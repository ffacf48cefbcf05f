//! Services that sleep while nobody asks them: when they fall asleep, what wakes them, and what a crash leaves of it.

use crate::crash::Mortal;
use crate::fixture::{Disk, Platform, name, namespace, until, wanted};
use crate::node::Node;
use skiff_api::{DeploymentState, ErrorCode, PutService, ScaleService, Service};
use skiff_control::{Readings, TaskReading};
use skiff_ledger::Totals;
use skiff_types::{ScaleToZero, Span, TaskId, TaskStatus};
use std::sync::Arc;
use std::time::Instant;

/// The shortest time after which a service may fall asleep.
const SHORTEST: ScaleToZero = ScaleToZero::After(ScaleToZero::LEAST);

/// A service that is to have so many tasks, and none after a time without a request.
fn idling(desired: u32, scale_to_zero: ScaleToZero) -> PutService {
    PutService { scale_to_zero: Some(scale_to_zero), ..wanted("hello", desired) }
}

impl Platform {
    async fn put_idling(&self, desired: u32, scale_to_zero: ScaleToZero) -> Service {
        let request = idling(desired, scale_to_zero);
        self.client.put_service(&namespace(), &name("hello"), &request, None).await.unwrap()
    }

    /// Deploys `hello`, which falls asleep after the shortest time, and waits until it has.
    async fn asleep(&self, desired: u32) {
        self.push("hello", "http one").await;
        self.register("hello", "hello").await;
        self.put_idling(desired, SHORTEST).await;
        self.completed("hello").await;
        self.falls_asleep().await;
    }

    async fn falls_asleep(&self) {
        until("it is asleep and has no task", || async {
            let service = self.service("hello").await;
            let status = &service.status;
            let has_none = status.running + status.pending + status.stopping == 0;
            (status.asleep && has_none && self.node.desired().tasks.is_empty()).then_some(())
        })
        .await;
    }

    /// Has a task have answered so many requests, so many checks among them, with so many in flight.
    fn measures(&self, task: TaskId, answered: u64, checks: u64, in_flight: u64) {
        let (responses, checks) = ([answered, 0, 0, 0], [checks, 0, 0, 0]);
        let totals = Totals { responses, checks, in_flight, ..Totals::default() };
        let owner = "default/hello".parse().unwrap();
        let living = vec![TaskReading { task, owner, in_service: true, totals }];
        *self.meters.0.lock().unwrap() = Readings { living, ended: vec![] };
    }

    fn is_routed(&self) -> bool {
        let routes = self.node.desired().routes;
        routes.iter().any(|route| route.wakes && !route.hosts.is_empty())
    }
}

#[tokio::test]
async fn a_service_that_nobody_asks_sleeps_and_the_first_who_does_wakes_it() {
    let platform = Platform::start().await;
    platform.asleep(3).await;
    let service = platform.service("hello").await;
    assert_eq!(service.spec.desired, 3, "what its user said is as it was");
    assert_eq!(service.status.deployment.state, DeploymentState::Completed);
    assert!(service.status.events.iter().any(|event| event.message == "asleep: no request came for 1s"));
    assert!(platform.is_routed(), "its route goes on to be there");

    platform.node.want("default/hello");
    platform.node.want("default/hello");
    let service = platform.completed("hello").await;
    assert_eq!((service.status.asleep, service.status.running), (false, 3));
    assert_eq!(service.status.restarts, 0);
    until("it is noted", || async {
        let events = platform.service("hello").await.status.events;
        events.iter().any(|event| event.message.starts_with("awake again")).then_some(())
    })
    .await;
    platform.falls_asleep().await;
    let ended = platform.tasks(Some("hello")).await;
    assert_eq!(ended.len(), 6, "as many as it is to have, each time");
    platform.assert_node_is_content();
}

#[tokio::test]
async fn the_first_task_is_led_to_before_the_workers_have_said_that_they_run_it() {
    let platform = Platform::start().await;
    platform.asleep(1).await;
    platform.node.hold();
    platform.node.want("default/hello");
    let task = until("there is a task", || async {
        let mut tasks = platform.tasks(Some("hello")).await;
        tasks.retain(|task| task.status != TaskStatus::Stopped);
        tasks.pop()
    })
    .await;
    assert_eq!(task.status, TaskStatus::Activating, "it is written once, as that");
    until("it is routed to", || async {
        let desired = platform.node.desired();
        let is_ready = desired.interfaces.get(&task.id).is_some_and(|interface| interface.ready);
        (is_ready && desired.routes[0].targets == [task.id]).then_some(())
    })
    .await;
    // It may have a request by now: it finishes that when it is to stop, although it never was RUNNING.
    platform.node.set_outstanding(task.id, 1);
    let none = ScaleService { desired: 0 };
    platform.client.scale_service(&namespace(), &name("hello"), &none, None).await.unwrap();
    platform.node.release();
    platform.reaches(task.id, TaskStatus::Stopping).await;
    assert!(platform.node.desired().routes[0].targets.is_empty());
    assert_eq!(platform.node.desired().tasks.len(), 1);
    platform.node.set_outstanding(task.id, 0);
    platform.reaches(task.id, TaskStatus::Stopped).await;
    platform.assert_node_is_content();
}

#[tokio::test]
async fn requests_keep_it_awake_and_checks_do_not() {
    let platform = Platform::start().await;
    platform.push("hello", "http one").await;
    platform.register("hello", "hello").await;
    platform.put_idling(1, SHORTEST).await;
    platform.completed("hello").await;
    let task = platform.running("hello").await.remove(0).id;
    let stays_awake = async |in_flight| {
        let (began, mut answered) = (Instant::now(), 0);
        until("twice the time is over", || {
            // One more each time, unless one is in flight for the whole time.
            answered += u64::from(in_flight == 0);
            platform.measures(task, answered, 0, in_flight);
            let is_over = began.elapsed() > 2 * ScaleToZero::LEAST.duration();
            async move { is_over.then_some(()) }
        })
        .await;
        assert!(!platform.service("hello").await.status.asleep, "{in_flight} in flight");
    };
    stays_awake(0).await;
    stays_awake(1).await;
    let mut checks = 0;
    until("it is asleep although it is checked", || {
        checks += 1;
        platform.measures(task, checks, checks, 0);
        async { platform.service("hello").await.status.asleep.then_some(()) }
    })
    .await;
    platform.falls_asleep().await;
}

#[tokio::test]
async fn its_users_word_wakes_it() {
    let platform = Platform::start().await;
    platform.asleep(1).await;
    let scale = ScaleService { desired: 2 };
    platform.client.scale_service(&namespace(), &name("hello"), &scale, None).await.unwrap();
    assert_eq!(platform.completed("hello").await.status.running, 2);
    platform.falls_asleep().await;

    let second = platform.deploy("hello", "http two", 2).await;
    platform.completed("hello").await;
    assert!(platform.running("hello").await.iter().all(|task| task.definition == second.id));
    platform.falls_asleep().await;

    platform.put_idling(2, ScaleToZero::Never).await;
    let service = platform.completed("hello").await;
    assert_eq!((service.status.running, service.spec.scale_to_zero), (2, ScaleToZero::Never));
    until("no request waits for it", || async { (!platform.is_routed()).then_some(()) }).await;
}

#[tokio::test]
async fn nobody_wakes_what_does_not_sleep() {
    let platform = Platform::start().await;
    platform.asleep(1).await;
    let none = ScaleService { desired: 0 };
    platform.client.scale_service(&namespace(), &name("hello"), &none, None).await.unwrap();
    until("no request waits for it", || async { (!platform.is_routed()).then_some(()) }).await;
    let before = platform.tasks(Some("hello")).await.len();
    for service in ["default/hello", "default/nobody"] {
        platform.node.want(service);
    }
    // Who is woken behind them is awake: so they were heard.
    platform.put_idling(1, SHORTEST).await;
    platform.completed("hello").await;
    assert_eq!(platform.tasks(Some("hello")).await.len(), before + 1);

    platform.push("worker", "daemon").await;
    platform.register("worker", "worker").await;
    let request = PutService { scale_to_zero: Some(SHORTEST), ..wanted("worker", 1) };
    let refused = platform.client.put_service(&namespace(), &name("worker"), &request, None).await;
    assert_eq!(refused.unwrap_err().code(), Some(ErrorCode::InvalidArgument));
}

#[tokio::test]
async fn what_is_left_out_stays_as_it_was() {
    let platform = Platform::start().await;
    platform.push("hello", "http one").await;
    platform.register("hello", "hello").await;
    let fresh = platform.put("hello", "hello", 1).await;
    assert_eq!(fresh.spec.scale_to_zero, ScaleToZero::Never);
    let hour = ScaleToZero::After(Span::from_ms(3_600_000));
    platform.put_idling(1, hour).await;
    assert_eq!(platform.put("hello", "hello", 2).await.spec.scale_to_zero, hour);
}

#[tokio::test]
async fn it_sleeps_on_after_a_restart_and_is_woken_then() {
    let platform = Platform::start().await;
    platform.asleep(2).await;
    let disk = platform.stop().await;

    let platform = Platform::start_on(disk).await;
    platform.handle.ready().await;
    let service = platform.service("hello").await;
    assert_eq!((service.status.asleep, service.status.running), (true, 0));
    assert!(platform.is_routed());
    platform.node.want("default/hello");
    assert_eq!(platform.completed("hello").await.status.running, 2);
    platform.assert_node_is_content();
}

/// The platform dies at each write from the wake on, once before it is done and once after: it is woken all the same, by who
/// asks then, and sleeps again.
#[tokio::test]
async fn a_crash_on_the_way_leaves_it_asleep_or_awake_and_nothing_between() {
    let disk = Disk::new();
    for does_the_last in [false, true] {
        for writes in 1..5 {
            let platform = Platform::start_on(disk.clone()).await;
            if platform.client.get_service(&namespace(), &name("hello")).await.is_err() {
                platform.asleep(1).await;
            }
            platform.falls_asleep().await;
            platform.stop().await;

            let store = Arc::new(Mortal::new(disk.store.clone(), writes, does_the_last));
            let node = Arc::new(Node::new(disk.images.clone()));
            let mortal = Platform::start_with(Disk { store, ..disk.clone() }, node).await;
            mortal.node.want("default/hello");
            // By then it may have died, or be done.
            for _ in 0..20 {
                mortal.tasks(None).await;
            }
            mortal.stop().await;

            let platform = Platform::start_on(disk.clone()).await;
            platform.node.want("default/hello");
            assert_eq!(platform.completed("hello").await.status.running, 1, "{writes} {does_the_last}");
            platform.assert_node_is_content();
            platform.stop().await;
        }
    }
}

//! Requests for services that sleep: they wait, within bounds, and are answered by the first task there is.

use crate::support::*;
use futures::FutureExt;
use skiff_edge::Limits;
use skiff_ports::invoke::Invoke;
use skiff_ports::snapshot::Route;
use skiff_types::QualifiedName;
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;
use tokio::task::JoinHandle;

const GET: &str = "GET / HTTP/1.1\r\nHost: sleepy.localhost\r\nConnection: close\r\n\r\n";

/// `sleepy.localhost`, which is woken by who asks, with these tasks.
fn sleepy(slots: &[u32]) -> Route {
    Route { wakes: true, ..route("sleepy", slots) }
}

fn name() -> QualifiedName {
    "default/sleepy".parse().unwrap()
}

/// A bench with that service asleep, and what was said to be wanted.
fn asleep(limits: Limits, invoke: Rc<dyn Invoke>) -> (Rc<Bench>, Rc<RefCell<Vec<QualifiedName>>>) {
    let (bench, wanted) = (Rc::new(Bench::with(limits, invoke)), Rc::new(RefCell::new(Vec::new())));
    let told = wanted.clone();
    bench.edge.want_by(Rc::new(move |service: &QualifiedName| told.borrow_mut().push(service.clone())));
    bench.edge.route(&[sleepy(&[])], &[]);
    (bench, wanted)
}

fn ask(bench: &Rc<Bench>) -> JoinHandle<String> {
    let bench = bench.clone();
    tokio::task::spawn_local(async move { bench.raw(GET).await })
}

#[test]
fn all_that_wait_are_answered_by_the_first_task() {
    run(async {
        let (bench, wanted) = asleep(Limits::default(), says("good morning"));
        let asked: Vec<_> = (0..20).map(|_| ask(&bench)).collect();
        eventually("it is wanted", || !wanted.borrow().is_empty()).await;
        eventually("all wait", || bench.edge.connections() == 20).await;
        assert!(asked.iter().all(|asked| !asked.is_finished()));
        bench.edge.route(&[sleepy(&[3])], &[]);
        for answer in asked {
            let answer = answer.await.unwrap();
            assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("good morning"), "{answer}");
        }
        assert!(wanted.borrow().iter().all(|service| *service == name()));
        let counted = || bench.ledger.task(3).totals().responses;
        eventually("each counts as the task's", || counted() == [20, 0, 0, 0]).await;

        let said = wanted.borrow().len();
        let answer = bench.raw(GET).await;
        assert!(answer.ends_with("good morning"), "{answer}");
        assert_eq!(wanted.borrow().len(), said, "it is awake");
    });
}

#[test]
fn what_it_waited_for_is_not_its_targets_time() {
    run(async {
        let (bench, wanted) = asleep(Limits::default(), says("good morning"));
        let asked = ask(&bench);
        // Said for the third time, a fifth of a second has passed.
        eventually("it is wanted again and again", || wanted.borrow().len() >= 3).await;
        bench.edge.route(&[sleepy(&[3])], &[]);
        asked.await.unwrap();
        let line = bench.wait_for_lines(1).await.remove(0);
        let us = |field: &str| line[field].as_u64().unwrap_or_else(|| panic!("{field}: {line}"));
        assert!(us("request_processing_us") >= 200_000, "{line}");
        assert!(us("target_processing_us") < us("request_processing_us"), "{line}");
    });
}

#[test]
fn nobody_waits_for_longer_than_is_allowed_or_as_one_too_many() {
    run(async {
        let wake_timeout = Duration::from_millis(300);
        let limits = Limits { wake_timeout, wake_waiting_max: 1, ..Limits::default() };
        let (bench, wanted) = asleep(limits, says("good morning"));
        let first = ask(&bench);
        eventually("it waits", || !wanted.borrow().is_empty()).await;
        let (status, code, message) = refusal(&bench.raw(GET).await);
        assert_eq!((status, code.as_str()), (503, "too_many_waiting"), "{message}");
        let (status, code, message) = refusal(&first.await.unwrap());
        assert_eq!((status, code.as_str()), (504, "wake_timeout"));
        assert_eq!(message, "the service default/sleepy slept, and had no task running within 300 ms");
        // There is room again.
        let again = ask(&bench);
        bench.edge.route(&[sleepy(&[3])], &[]);
        assert!(again.await.unwrap().ends_with("good morning"));
    });
}

#[test]
fn nobody_waits_for_what_will_not_come() {
    run(async {
        let (bench, wanted) = asleep(Limits::default(), says("good morning"));
        let said = || wanted.borrow().len();
        let is_refused = |answer: String| {
            let (status, code, message) = refusal(&answer);
            assert!(matches!((status, code.as_str()), (503, "no_target")), "{message}");
        };
        let asked = ask(&bench);
        eventually("it waits", || said() > 0).await;
        bench.edge.route(&[route("sleepy", &[])], &[]);
        is_refused(asked.await.unwrap());
        is_refused(bench.raw(GET).await);

        bench.edge.route(&[sleepy(&[])], &[]);
        let before = said();
        let asked = ask(&bench);
        eventually("it waits", || said() > before).await;
        bench.edge.route([], &[name()]);
        is_refused(asked.await.unwrap());

        bench.edge.route(&[sleepy(&[])], &[]);
        let before = said();
        let asked = ask(&bench);
        eventually("it waits", || said() > before).await;
        assert!(bench.edge.drain(DEADLINE).await, "the drain waits for what waits for nothing");
        is_refused(asked.await.unwrap());
    });
}

#[test]
fn who_asks_and_leaves_again_and_again_does_not_have_it_said_each_time() {
    run(async {
        let (bench, wanted) = asleep(Limits::default(), says("good morning"));
        for _ in 0..1_000 {
            assert_eq!(bench.edge.wake(&name()).now_or_never(), None, "it waits, and leaves");
        }
        let said = wanted.borrow().len();
        assert!((1..1_000).contains(&said), "said {said} times");
        // As soon as what leads to it is otherwise, whoever comes has it said at once.
        bench.edge.route(&[sleepy(&[])], &[]);
        assert_eq!(bench.edge.wake(&name()).now_or_never(), None);
        assert_eq!(wanted.borrow().len(), said + 1);
    });
}

#[test]
fn a_task_that_calls_it_waits_for_it_too() {
    run(async {
        let (bench, wanted) = asleep(Limits::default(), says("good morning"));
        let edge = bench.edge.clone();
        let woken = tokio::task::spawn_local(async move { edge.wake(&name()).await });
        eventually("it is wanted", || !wanted.borrow().is_empty()).await;
        bench.edge.route(&[sleepy(&[3])], &[]);
        assert!(woken.await.unwrap());
        assert!(bench.edge.wake(&name()).await, "it is awake");
        assert!(
            !bench.edge.wake(&"default/empty".parse().unwrap()).await,
            "it does not sleep, and has no task"
        );
        assert!(!bench.edge.wake(&"default/nobody".parse().unwrap()).await);
    });
}

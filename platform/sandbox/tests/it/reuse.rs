//! Sandboxes that serve more than one request, and those that are made ahead.

use crate::support::{Guest, World, request, text};
use futures::future::join_all;
use http_body_util::BodyExt;
use skiff_ports::body;
use skiff_ports::invoke::{Invoke, InvokeError};
use skiff_testbed::{on_one_thread, until};
use skiff_types::{Reuse, Span, TaskId};
use std::time::{Duration, Instant};

const BOTH: [Guest; 2] = [Guest::Misbehave, Guest::MisbehaveP3];

fn reusing(world: &World, guest: Guest, requests: u32, concurrent: u32) -> TaskId {
    world.run(guest, |task| {
        task.limits.reuse = Reuse { requests, concurrent };
        task.limits.timeout = Span::from_ms(5_000);
    })
}

async fn counts(world: &World, task: TaskId, times: usize) -> Vec<u32> {
    let mut counts = Vec::new();
    for _ in 0..times {
        counts.push(world.text(task, "/count").await.unwrap().parse().unwrap());
        // A guest that the epoch clock paused has yet to end.
        until("the guest goes on", || world.slot(task).in_flight() == 0).await;
    }
    counts
}

#[test]
fn a_sandbox_serves_as_many_requests_as_it_may_one_after_the_other() {
    on_one_thread(async {
        let world = World::new(4, &BOTH);
        for guest in BOTH {
            let task = reusing(&world, guest, 3, 1);
            assert_eq!(counts(&world, task, 7).await, [1, 2, 3, 1, 2, 3, 1], "{guest:?}");
            world.leave_out(task);
            world.all_is_given_back(task).await;
        }
    });
}

#[test]
fn a_trap_retires_a_sandbox() {
    on_one_thread(async {
        let world = World::new(4, &BOTH);
        for (guest, concurrent) in [(BOTH[0], 1), (BOTH[1], 1), (BOTH[1], 8)] {
            let task = reusing(&world, guest, 100, concurrent);
            assert_eq!(counts(&world, task, 2).await, [1, 2]);
            assert!(matches!(world.text(task, "/panic").await, Err(InvokeError::Failed(_))));
            assert_eq!(world.slot(task).totals().traps, 1, "{guest:?} {concurrent}");
            assert_eq!(counts(&world, task, 2).await, [1, 2], "{guest:?} {concurrent}");
        }
    });
}

#[test]
fn a_timeout_retires_a_sandbox() {
    on_one_thread(async {
        let world = World::new(4, &BOTH);
        for (guest, concurrent) in [(BOTH[0], 1), (BOTH[1], 1), (BOTH[1], 8)] {
            for path in ["/spin", "/sleep"] {
                let task = world.run(guest, |task| {
                    task.limits.reuse = Reuse { requests: 100, concurrent };
                    task.limits.timeout = Span::from_ms(300);
                });
                assert_eq!(counts(&world, task, 2).await, [1, 2]);
                let timed_out = world.text(task, path).await;
                assert_eq!(timed_out, Err(InvokeError::TimedOut { limit_ms: 300 }), "{guest:?} {concurrent}");
                assert_eq!(world.slot(task).totals().timeouts, 1);
                until("it goes on", || world.slot(task).in_flight() == 0).await;
                assert_eq!(counts(&world, task, 2).await, [1, 2], "{guest:?} {concurrent} {path}");
                world.leave_out(task);
                world.all_is_given_back(task).await;
            }
        }
    });
}

#[test]
fn a_sandbox_of_wasi_0_3_serves_several_at_once() {
    on_one_thread(async {
        let world = World::new(8, &BOTH);
        let task = reusing(&world, Guest::MisbehaveP3, 100, 4);
        let sleeps = join_all((0..8).map(|_| world.text(task, "/sleep?ms=100"))).await;
        assert!(sleeps.iter().all(|answer| answer.as_deref() == Ok("slept")), "{sleeps:?}");
        assert_eq!(world.slot(task).totals().sandboxes_drawn, 2);
        // A body that is read slowly is a call that goes on.
        let mut body = world.get(task, "/drip?chunks=5&ms=5").await.unwrap().into_body();
        assert_eq!(world.slot(task).in_flight(), 1);
        body.frame().await.expect("a chunk").expect("no error");
        assert!(body.collect().await.is_ok());
        until("the call has not ended", || world.slot(task).in_flight() == 0).await;
        assert_eq!(world.slot(task).totals().sandboxes_drawn, 2);
        world.leave_out(task);
        world.all_is_given_back(task).await;
    });
}

#[test]
fn a_trap_ends_all_that_a_sandbox_works_on_and_says_so() {
    on_one_thread(async {
        let world = World::new(8, &BOTH);
        let task = reusing(&world, Guest::MisbehaveP3, 100, 8);
        assert_eq!(counts(&world, task, 1).await, [1]);
        let streaming = world.get(task, "/drip?chunks=10000&ms=5").await.unwrap();
        let sleeping = world.text(task, "/sleep?ms=4000");
        let trapping = async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            world.text(task, "/panic").await
        };
        let (slept, trapped) = futures::future::join(sleeping, trapping).await;
        assert!(matches!(trapped, Err(InvokeError::Failed(_))), "{trapped:?}");
        assert!(matches!(slept, Err(InvokeError::Failed(_))), "{slept:?}");
        assert!(text(streaming).await.unwrap_err().to_string().contains("trapped"));
        assert_eq!(world.slot(task).totals().traps, 1);
        assert_eq!(counts(&world, task, 1).await, [1]);
        world.leave_out(task);
        world.all_is_given_back(task).await;
    });
}

/// Lets the worker believe that so many seconds pass.
async fn pass(seconds: u32) {
    tokio::time::pause();
    for _ in 0..seconds {
        tokio::time::advance(Duration::from_secs(1)).await;
    }
    tokio::time::resume();
}

#[test]
fn a_sandbox_that_no_request_comes_for_is_given_back_after_a_while() {
    on_one_thread(async {
        let world = World::new(4, &BOTH);
        for (guest, concurrent) in [(BOTH[0], 1), (BOTH[1], 8)] {
            let task = reusing(&world, guest, 100, concurrent);
            assert_eq!(counts(&world, task, 2).await, [1, 2], "{guest:?}");
            pass(12).await;
            assert_eq!(counts(&world, task, 1).await, [3], "{guest:?}");
            pass(12).await;
            assert_eq!(
                counts(&world, task, 1).await,
                [4],
                "{guest:?}: its time begins anew with each request"
            );
            pass(22).await;
            world.all_is_given_back(task).await;
        }
    });
}

#[test]
fn sandboxes_that_wait_are_given_back_when_requests_wait_at_another_worker() {
    on_one_thread(async {
        let world = World::new(4, &BOTH);
        for (guest, concurrent) in [(BOTH[0], 1), (BOTH[1], 8)] {
            let task = reusing(&world, guest, 100, concurrent);
            let neighbour = reusing(&world, guest, 100, concurrent);
            assert_eq!(counts(&world, task, 2).await, [1, 2]);
            assert_eq!(counts(&world, neighbour, 2).await, [1, 2]);
            let elsewhere = world.slot(task);
            elsewhere.row(0).queued.add(1);
            until("it is kept", || world.slot(task).totals().sandboxes == 0).await;
            assert_eq!(world.slot(neighbour).totals().sandboxes, 1, "{guest:?}");
            elsewhere.row(0).queued.subtract(1);
            assert_eq!(counts(&world, task, 1).await, [1]);
        }
    });
}

#[test]
fn whoever_leaves_a_sandbox_of_several_requests_ends_it_when_nobody_else_waits() {
    on_one_thread(async {
        let world = World::new(8, &BOTH);
        let task = reusing(&world, Guest::MisbehaveP3, 100, 8);
        assert_eq!(counts(&world, task, 1).await, [1]);
        let began = Instant::now();
        leave(&world, task, "/spin", 1).await;
        world.all_is_given_back(task).await;
        // It would also be given back, much later, because nobody asked anything of it.
        assert!(began.elapsed() < Duration::from_secs(10));

        // One that others wait for goes on for them, but takes no more.
        let stream = world.get(task, "/drip?chunks=20&ms=5").await.unwrap();
        leave(&world, task, "/sleep?ms=1000000", 2).await;
        assert_eq!(world.text(task, "/count").await.as_deref(), Ok("1"));
        assert_eq!(
            world.slot(task).in_flight(),
            2,
            "the stream, and what nobody waits for but has not been answered"
        );
        assert_eq!(text(stream).await.unwrap().lines().count(), 20);
        until("the call nobody waits for ends with it", || world.slot(task).in_flight() == 0).await;
        world.leave_out(task);
        world.all_is_given_back(task).await;
    });
}

#[test]
fn what_passes_through_a_sandbox_is_not_taken_for_what_it_holds() {
    on_one_thread(async {
        let world = World::new(4, &BOTH);
        for (guest, concurrent) in [(BOTH[0], 1), (BOTH[1], 1), (BOTH[1], 8)] {
            let task = world.run(guest, |task| {
                task.limits.reuse = Reuse { requests: Reuse::REQUESTS_MAX, concurrent };
                task.limits.memory = "4MiB".parse().expect("a size");
            });
            // 80 MB of heads; if they were taken for what it holds, it would be out of memory before long.
            for _ in 0..2_000 {
                let mut request = request("/answer/large-head", body::empty());
                request.headers_mut().insert("x-large", "y".repeat(20_000).parse().unwrap());
                let response = world.sandboxes.invoke(task, request).await.unwrap();
                assert_eq!(response.headers()["x-large"].len(), 20_000);
                assert_eq!(text(response).await.unwrap(), "", "{guest:?} {concurrent}");
            }
        }
    });
}

/// Asks, and goes away once `in_flight` requests are being worked on.
async fn leave(world: &World, task: TaskId, path: &str, in_flight: u64) {
    tokio::select! {
        answer = world.text(task, path) => panic!("{answer:?}"),
        () = until("it has begun", || world.slot(task).in_flight() == in_flight) => {}
    }
}

#[test]
fn sandboxes_are_made_ahead_while_requests_come_and_there_is_time() {
    on_one_thread(async {
        let world = World::new(8, &BOTH);
        for guest in BOTH {
            let task = world.run(guest, |_| {});
            assert_eq!(world.text(task, "/count").await.unwrap(), "1");
            assert_eq!(world.text(task, "/count").await.unwrap(), "1");
            assert_eq!(world.text(task, "/count").await.unwrap(), "1");
            until("none is made ahead", || world.slot(task).totals().sandboxes == 1).await;
            let drawn = world.slot(task).totals().sandboxes_drawn;
            assert_eq!(world.text(task, "/count").await.unwrap(), "1");
            // It drew none itself; the one more is made ahead of the next.
            let made_ahead = || {
                let totals = world.slot(task).totals();
                totals.in_flight == 0 && (totals.sandboxes, totals.sandboxes_drawn) == (1, drawn + 1)
            };
            until(&format!("one more is made, for {guest:?}"), made_ahead).await;
            world.leave_out(task);
            world.all_is_given_back(task).await;
        }
    });
}

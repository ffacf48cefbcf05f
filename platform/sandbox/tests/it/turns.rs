//! Guests that want more than there is: each gets its share, and short requests hardly notice.

use crate::support::{Guest, World};
use futures::future::{join, join_all};
use skiff_ports::invoke::InvokeError;
use skiff_testbed::on_one_thread;
use skiff_types::{Span, TaskId};
use std::collections::BTreeSet;

const BOTH: [Guest; 2] = [Guest::Misbehave, Guest::MisbehaveP3];

#[test]
fn on_a_busy_core_tasks_get_it_in_proportion_to_their_units() {
    on_one_thread(async {
        let world = World::new(12, &BOTH);
        for guest in BOTH {
            let spinner = |units: u32| {
                let task = world.run(guest, |task| {
                    task.limits.cpu = units.to_string().parse().unwrap();
                    task.limits.timeout = Span::from_ms(2_000);
                });
                (task, units)
            };
            let tasks = [256, 512, 1_024].map(spinner);
            join_all(tasks.map(|(task, _)| world.text(task, "/"))).await;
            let before = tasks.map(|(task, _)| world.slot(task).totals().cpu_ns);
            // A task with two guests gets no more than one with a single one.
            let [few, more, most] = tasks.map(|(task, _)| task);
            let spins = [few, few, more, most].map(|task| world.text(task, "/spin"));
            for spin in join_all(spins).await {
                assert_eq!(spin, Err(InvokeError::TimedOut { limit_ms: 2_000 }));
            }
            let per_unit: Vec<f64> = tasks
                .iter()
                .zip(before)
                .map(|(&(task, units), before)| {
                    (world.slot(task).totals().cpu_ns - before) as f64 / f64::from(units)
                })
                .collect();
            let mean = per_unit.iter().sum::<f64>() / per_unit.len() as f64;
            assert!(per_unit.iter().all(|used| (used / mean - 1.0).abs() < 0.1), "{guest:?}: {per_unit:?}");
        }
    });
}

#[test]
fn short_requests_are_not_held_against_a_long_one_that_follows() {
    on_one_thread(async {
        let world = World::new(8, &BOTH);
        for guest in BOTH {
            let spinner = || world.run(guest, |task| task.limits.timeout = Span::from_ms(400));
            let (quick, other) = (spinner(), spinner());
            let used_ms = |task| world.slot(task).totals().cpu_ns as f64 / 1e6;
            world.text(other, "/").await.unwrap();
            // More than the other can use up before both are ended.
            while used_ms(quick) < 600.0 {
                world.text(quick, "/").await.unwrap();
            }
            let before = [quick, other].map(used_ms);
            let _ = join(world.text(quick, "/spin"), world.text(other, "/spin")).await;
            let [quick_ms, other_ms] = [used_ms(quick) - before[0], used_ms(other) - before[1]];
            assert!(quick_ms > other_ms / 2.0, "{guest:?}: {quick_ms} ms beside {other_ms} ms");
        }
    });
}

/// For how long short requests wait for the CPU time of these tasks, in milliseconds, while each asks for that path: sorted.
async fn waits_beside(world: &World, hogs: &[TaskId], path: &str) -> Vec<f64> {
    let hello = world.run(Guest::Hello, |_| {});
    world.text(hello, "/").await.unwrap();
    let used_ms = || {
        let distinct: BTreeSet<_> = hogs.iter().collect();
        let used_ns: u64 = distinct.iter().map(|hog| world.slot(**hog).totals().cpu_ns).sum();
        used_ns as f64 / 1e6
    };
    let spins = join_all(hogs.iter().map(|&hog| world.text(hog, path)));
    let short = async {
        let mut waits = Vec::new();
        for _ in 0..60 {
            let before = used_ms();
            // As a request does that comes in while others run: behind all that is ready.
            tokio::task::yield_now().await;
            world.text(hello, "/").await.unwrap();
            waits.push(used_ms() - before);
        }
        waits.sort_by(f64::total_cmp);
        waits
    };
    let (spins, waits) = join(spins, short).await;
    assert!(spins.iter().all(|spin| *spin == Err(InvokeError::TimedOut { limit_ms: 2_000 })), "{spins:?}");
    assert!(waits[waits.len() - 1] > 0.0, "nobody else ran");
    waits
}

#[test]
fn a_short_request_waits_for_a_slice_of_one_however_many_spin() {
    on_one_thread(async {
        let world = World::new(64, &[Guest::Hello, Guest::Misbehave]);
        let hogs =
            [(); 28].map(|()| world.run(Guest::Misbehave, |task| task.limits.timeout = Span::from_ms(2_000)));
        let waits = waits_beside(&world, &hogs, "/spin").await;
        // One each of them all are seven milliseconds at least: the shortest that the epoch clock gives is a quarter of one.
        let median = waits[waits.len() / 2];
        assert!(median < 6.0, "short requests waited for {median} ms of others' CPU time: {waits:?}");
    });
}

#[test]
fn guests_of_one_task_that_pause_before_their_slice_ends_share_one() {
    on_one_thread(async {
        let world = World::new(64, &[Guest::Hello, Guest::Misbehave, Guest::MisbehaveP3]);
        for guest in BOTH {
            let hog = world.run(guest, |task| task.limits.timeout = Span::from_ms(2_000));
            let waits = waits_beside(&world, &[hog; 25], "/spin-and-pause?us=800").await;
            // All of them in a row are twenty milliseconds.
            let median = waits[waits.len() / 2];
            assert!(median < 8.0, "{guest:?}: {median} ms of others' CPU time: {waits:?}");
        }
    });
}

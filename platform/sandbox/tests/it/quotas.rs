//! Time, CPU, memory and concurrency: held, and over all of a task's sandboxes.

use crate::support::{Guest, World, compile_text_as_it_is, http_task};
use futures::future::{join, join_all};
use skiff_ports::invoke::InvokeError;
use skiff_ports::logs::LogStream;
use skiff_testbed::{on_one_thread, until};
use skiff_types::{MemorySize, Span};
use std::time::Instant;

const BOTH: [Guest; 2] = [Guest::Misbehave, Guest::MisbehaveP3];

#[test]
fn a_loop_is_cut_by_the_timeout_and_its_neighbours_go_on() {
    on_one_thread(async {
        let world = World::new(4, &BOTH);
        for guest in BOTH {
            let hog = world.run(guest, |task| task.limits.timeout = Span::from_ms(300));
            let neighbour = world.run(guest, |_| {});
            let ended = std::cell::Cell::new(false);
            let spin = async {
                let result = world.text(hog, "/spin").await;
                ended.set(true);
                result
            };
            let answers = async {
                let mut answers = 0;
                while !ended.get() {
                    assert_eq!(world.text(neighbour, "/count").await.unwrap(), "1");
                    answers += 1;
                }
                answers
            };
            let (spun, answers) = join(spin, answers).await;
            assert_eq!(spun, Err(InvokeError::TimedOut { limit_ms: 300 }), "{guest:?}");
            assert!(answers > 10, "{guest:?}: only {answers} answers beside a loop");
            assert_eq!(world.slot(hog).totals().timeouts, 1);
            world.all_is_given_back(hog).await;
        }
    });
}

#[test]
fn a_sleeper_is_cut_by_the_timeout_before_and_after_its_head() {
    on_one_thread(async {
        let world = World::new(4, &BOTH);
        for guest in BOTH {
            let task = world.run(guest, |task| task.limits.timeout = Span::from_ms(100));
            assert_eq!(
                world.text(task, "/sleep").await,
                Err(InvokeError::TimedOut { limit_ms: 100 }),
                "{guest:?}"
            );
            let response = world.get(task, "/drip?chunks=1000&ms=5").await.unwrap();
            let reason = crate::support::text(response).await.unwrap_err().to_string();
            assert!(reason.contains("100 ms"), "{guest:?}: {reason}");
            assert_eq!(world.slot(task).totals().timeouts, 2);
            world.all_is_given_back(task).await;
        }
    });
}

/// How long this thread was ready to run and had no core, in milliseconds (Documentation/scheduler/sched-stats.rst).
fn waited_ms() -> f64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    let waited_ns: f64 = stat.split_whitespace().nth(1).unwrap().parse().unwrap();
    waited_ns / 1e6
}

#[test]
fn cpu_time_is_held_to_the_task_s_share() {
    on_one_thread(async {
        let world = World::new(4, &[Guest::Misbehave]);
        let task = world.run(Guest::Misbehave, |task| {
            task.limits.cpu = "256".parse().unwrap();
            task.limits.timeout = Span::from_ms(2_000);
        });
        world.text(task, "/").await.unwrap();
        let (began, before) = (Instant::now(), world.slot(task).totals().cpu_ns);
        let waited_before_ms = waited_ms();
        let spins = join(world.text(task, "/spin"), world.text(task, "/spin")).await;
        assert!(matches!(spins, (Err(InvokeError::TimedOut { .. }), Err(InvokeError::TimedOut { .. }))));
        let totals = world.slot(task).totals();
        let used_ms = (totals.cpu_ns - before) as f64 / 1e6;
        // A quarter of the time, what a bucket may hold, and two slices that may overdraw it: of two milliseconds each,
        // but longer where the epoch clock's thread has to wait for a core.
        let elapsed_ms = began.elapsed().as_secs_f64() * 1_000.0;
        let most_ms = elapsed_ms * 0.25 + 25.0 + 20.0;
        assert!(used_ms <= most_ms, "{used_ms} ms of CPU time, at most {most_ms} ms are the task's share");
        // Each of the two either ran, or was held back, or the thread waited for a core that others had.
        let accounted_ms = used_ms + totals.throttled_ns as f64 / 2e6 + (waited_ms() - waited_before_ms);
        assert!(accounted_ms > elapsed_ms * 0.8, "{accounted_ms} of {elapsed_ms} ms: {totals:?}");
        assert_eq!(world.sandboxes.guest_cpu_ns(), totals.cpu_ns, "the accounts do not add up");
    });
}

#[test]
fn memory_is_held_over_all_sandboxes_of_a_task() {
    on_one_thread(async {
        let world = World::new(16, &BOTH);
        for guest in BOTH {
            let limit = MemorySize::from_mib(64);
            let task = world.run(guest, |task| task.limits.memory = limit);
            let calls = (0..8).map(|_| world.text(task, "/allocate?mib=16&hold_ms=300"));
            let answers = join_all(calls).await;
            let served = answers.iter().filter(|answer| answer.is_ok()).count();
            assert_eq!(served, 3, "{guest:?}: {answers:?}");
            for answer in answers.into_iter().filter(Result::is_err) {
                let reason = answer.unwrap_err().to_string();
                assert!(reason.contains("out of memory") && reason.contains("64MiB"), "{guest:?}: {reason}");
            }
            let totals = world.slot(task).totals();
            assert_eq!(totals.out_of_memory, 5, "{guest:?}");
            assert_eq!(totals.traps, 0, "{guest:?}");
            assert!(totals.memory_peak_bytes <= limit.bytes(), "{guest:?}: {totals:?}");
            world.all_is_given_back(task).await;
            assert_eq!(world.text(task, "/count").await.unwrap(), "1");
        }
    });
}

#[test]
fn endless_growth_ends_at_the_limit() {
    on_one_thread(async {
        let world = World::new(4, &BOTH);
        for guest in BOTH {
            let task = world.run(guest, |task| task.limits.memory = MemorySize::from_mib(20));
            let reason = world.text(task, "/grow-forever").await.unwrap_err().to_string();
            assert!(
                reason.contains("out of memory") && reason.contains("raise --memory"),
                "{guest:?}: {reason}"
            );
            let remarks = world.lines(task, LogStream::Skiff);
            assert!(remarks.iter().any(|line| line.contains("out of memory")), "{remarks:?}");
            world.all_is_given_back(task).await;
        }
    });
}

#[test]
fn a_limit_below_one_sandbox_is_said_at_once() {
    on_one_thread(async {
        let world = World::new(4, &[Guest::Misbehave]);
        let task = world.run(Guest::Misbehave, |task| task.limits.memory = MemorySize::from_mib(1));
        for _ in 0..2 {
            let reason = world.text(task, "/").await.unwrap_err().to_string();
            assert!(reason.contains("one sandbox takes"), "{reason}");
        }
        world.all_is_given_back(task).await;
    });
}

#[test]
fn what_start_up_takes_in_one_task_is_not_taken_for_another_s() {
    on_one_thread(async {
        let world = World::new(4, &[Guest::Start]);
        let run = |at_start: &str, memory| {
            world.run(Guest::Start, |task| {
                task.command.environment.insert("AT_START".to_owned(), at_start.to_owned());
                task.limits.memory = MemorySize::from_mib(memory);
            })
        };
        let (large, small) = (run("allocate", 128), run("nothing", 8));
        for _ in 0..2 {
            world.text(large, "/").await.unwrap();
            world.text(small, "/").await.unwrap();
        }
        let peak = |task| world.slot(task).totals().memory_peak_bytes;
        assert!(peak(large) > 32 << 20 && peak(small) < 8 << 20, "{} {}", peak(large), peak(small));
    });
}

#[test]
fn what_the_host_holds_for_a_guest_counts_as_its_memory() {
    on_one_thread(async {
        let world = World::new(4, &[Guest::Misbehave]);
        let task = world.run(Guest::Misbehave, |task| task.limits.memory = MemorySize::from_mib(16));
        // It waits with what it has, so that there is a poll that leaves it behind.
        let hoard = |requests: u32| format!("/hoard?requests={requests}&bytes=100000&hold_ms=5");
        assert_eq!(world.text(task, &hoard(20)).await.unwrap(), "20 requests");
        let at_rest = world.slot(task).totals();
        assert!(at_rest.memory_peak_bytes > 2_000_000 + (1 << 20), "{at_rest:?}");
        assert_eq!(at_rest.memory_bytes, 0);
        match world.text(task, &hoard(500)).await {
            Err(InvokeError::Failed(reason)) => assert!(reason.contains("out of memory"), "{reason}"),
            other => panic!("50 MB were held within 16 MiB: {other:?}"),
        }
        assert_eq!(world.slot(task).totals().out_of_memory, 1);
        world.all_is_given_back(task).await;
    });
}

#[test]
fn a_memory_limit_also_bounds_how_many_sandboxes_there_are() {
    on_one_thread(async {
        let world = World::new(16, &[Guest::Misbehave]);
        // Room for two sandboxes and a half; the others wait, and all are served.
        let task = world.run(Guest::Misbehave, |task| task.limits.memory = MemorySize::from_mib(4));
        let slot = world.slot(task);
        let calls = join_all((0..8).map(|_| world.text(task, "/sleep?ms=20")));
        let most = std::cell::Cell::new(0);
        let watch = async {
            until("they never ended", || {
                most.set(most.get().max(slot.in_flight()));
                slot.totals().sandboxes_drawn == 8 && slot.in_flight() == 0
            })
            .await;
        };
        let (answers, ()) = join(calls, watch).await;
        assert!(answers.iter().all(Result::is_ok), "{answers:?}");
        assert!((1..=2).contains(&most.get()), "{} sandboxes at once", most.get());
        world.all_is_given_back(task).await;
    });
}

#[test]
fn who_comes_too_many_waits_and_then_is_refused() {
    on_one_thread(async {
        let world = World::new(4, &BOTH);
        for guest in BOTH {
            let task = world.run(guest, |task| {
                task.limits.concurrency = 1;
                task.limits.queue = 2;
            });
            assert_eq!(world.text(task, "/count").await.unwrap(), "1");
            let order = std::cell::RefCell::new(Vec::new());
            let calls = (0..4).map(|number| {
                let (world, order) = (&world, &order);
                async move {
                    let result = world.text(task, "/sleep?ms=30").await;
                    order.borrow_mut().push(number);
                    result
                }
            });
            let answers = join_all(calls).await;
            assert!(answers[..3].iter().all(Result::is_ok), "{guest:?}: {answers:?}");
            match &answers[3] {
                Err(InvokeError::Busy { reason, retry_after_s }) => {
                    assert!(*retry_after_s > 0 && reason.contains("--concurrency"), "{reason}");
                }
                other => panic!("{guest:?}: {other:?}"),
            }
            assert_eq!(*order.borrow(), [3, 0, 1, 2], "{guest:?}: first come, first served");
            assert_eq!(world.slot(task).totals().refused, 1);
            world.all_is_given_back(task).await;
        }
    });
}

#[test]
fn the_time_in_the_queue_counts() {
    on_one_thread(async {
        let world = World::new(4, &[Guest::Misbehave]);
        let task = world.run(Guest::Misbehave, |task| {
            task.limits.concurrency = 1;
            task.limits.timeout = Span::from_ms(100);
        });
        // Another worker holds the task's only place.
        assert!(world.slot(task).claim_in_flight(0, 1));
        assert_eq!(world.text(task, "/").await, Err(InvokeError::TimedOut { limit_ms: 100 }));
        world.slot(task).row(0).in_flight.subtract(1);
        assert_eq!(world.text(task, "/").await.unwrap(), "misbehave\n");
        world.all_is_given_back(task).await;
    });
}

#[test]
fn the_pool_s_slots_are_waited_for() {
    on_one_thread(async {
        let world = World::new(2, &BOTH);
        let tasks = BOTH.map(|guest| world.run(guest, |_| {}));
        let calls = (0..12).map(|number| world.text(tasks[number % 2], "/sleep?ms=5"));
        for answer in join_all(calls).await {
            assert_eq!(answer.unwrap(), "slept");
        }
        for task in tasks {
            world.all_is_given_back(task).await;
        }
    });
}

#[test]
fn a_table_grows_to_its_bound_however_much_memory_there_is() {
    on_one_thread(async {
        let grow = |elements| {
            format!(
                "(if (i32.ne (table.grow (ref.null func) (i32.const {elements})) (i32.const -1)) (then unreachable))"
            )
        };
        for (elements, ends) in [(100_000, "unreachable"), (100_001, "without an answer")] {
            let compiled = compile_text_as_it_is(&http_task("(table 0 funcref)", &grow(elements))).unwrap();
            let world = World::of(1, [(compiled.key, compiled.native)]);
            let task = world.run(Guest::Hello, |task| task.program = compiled.key);
            let refusal = world.text(task, "/").await.unwrap_err().to_string();
            assert!(refusal.contains(ends), "{elements}: {refusal}");
        }
    });
}

//! A pool that is full: tasks take turns, and nobody waits for ever.

use crate::support::{Compiled, Guest, World, compile_text_as_it_is};
use futures::future::{join, join_all};
use http_body_util::BodyExt;
use skiff_ports::invoke::InvokeError;
use skiff_ports::runtime::TaskEvent;
use skiff_testbed::{on_one_thread, until};
use skiff_types::{Reuse, Span, TaskId};
use std::cell::{Cell, RefCell};

/// Requests of each task.
const REQUESTS: usize = 12;

/// Takes both sandboxes of a pool of two, and gives them back after a while. Code of [`Guest::Misbehave`] is loaded by then.
struct Holders<'a> {
    world: &'a World,
    tasks: [TaskId; 2],
}

impl<'a> Holders<'a> {
    async fn start(world: &'a World) -> Self {
        let holder = |()| world.run(Guest::Misbehave, |task| task.limits.timeout = Span::from_ms(1_000));
        let tasks = [(); 2].map(holder);
        world.text(tasks[0], "/").await.unwrap();
        world.all_is_given_back(tasks[0]).await;
        Self { world, tasks }
    }

    /// Runs the rest once both are taken.
    async fn beside(self, rest: impl Future<Output = ()>) {
        let (world, tasks) = (self.world, self.tasks);
        let holding = join_all(tasks.map(|task| world.text(task, "/sleep")));
        let rest = async {
            let has_one = |task: &TaskId| world.slot(*task).totals().sandboxes == 1;
            until("both sandboxes are taken", || tasks.iter().all(has_one)).await;
            rest.await;
        };
        let (held, ()) = join(holding, rest).await;
        assert!(held.iter().all(|held| *held == Err(InvokeError::TimedOut { limit_ms: 1_000 })), "{held:?}");
    }
}

#[test]
fn tasks_take_turns() {
    for requests in [1, 100] {
        on_one_thread(async {
            let world = World::new(2, &[Guest::Misbehave]);
            let tasks = [(); 4].map(|()| {
                world.run(Guest::Misbehave, |task| task.limits.reuse = Reuse { requests, concurrent: 1 })
            });
            let ask = async |index: usize| {
                world.text(tasks[index], "/").await.unwrap();
                let totals = tasks.map(|task| world.slot(task).totals());
                let most = totals.iter().map(|totals| totals.sandboxes_drawn).max().unwrap();
                // One whose guest was paused for others' sake has its sandbox still, and waits for none.
                let waiting = totals.iter().filter(|totals| totals.sandboxes == 0);
                let least = waiting.map(|totals| totals.sandboxes_drawn).min().unwrap_or(most);
                // Who was paused just now has missed some turns; out of turn, one would be ahead by all of its requests.
                assert!(least + 4 >= most, "{least} and {most} with {requests} requests a sandbox");
            };
            // All of the first task's come first.
            let asked = async {
                join_all((0..4 * REQUESTS).map(|number| ask(number / REQUESTS))).await;
            };
            Holders::start(&world).await.beside(asked).await;
            for task in tasks {
                world.leave_out(task);
                world.all_is_given_back(task).await;
            }
        });
    }
}

#[test]
fn whoever_leaves_the_line_lets_the_next_one_go_on() {
    on_one_thread(async {
        let world = World::new(2, &[Guest::Misbehave]);
        let timed = |ms| world.run(Guest::Misbehave, |task| task.limits.timeout = Span::from_ms(ms));
        let (impatient, patient, later) = (timed(100), timed(30_000), timed(30_000));
        let order = RefCell::new(Vec::new());
        let ask = async |task| {
            let answer = world.text(task, "/").await;
            order.borrow_mut().push(task);
            answer
        };
        let rest = async {
            let answers = join_all([impatient, patient, later].map(ask)).await;
            assert_eq!(answers[0], Err(InvokeError::TimedOut { limit_ms: 100 }));
            assert!(answers[1].is_ok() && answers[2].is_ok(), "{answers:?}");
        };
        Holders::start(&world).await.beside(rest).await;
        assert_eq!(order.take()[0], impatient);
    });
}

/// A pool of two, and three tasks whose sandboxes serve many requests each.
fn sharing() -> (World, [TaskId; 3]) {
    let world = World::new(2, &[Guest::MisbehaveP3]);
    let reuse = Reuse { requests: Reuse::REQUESTS_MAX, concurrent: 16 };
    let tasks = [(); 3].map(|()| world.run(Guest::MisbehaveP3, |task| task.limits.reuse = reuse));
    (world, tasks)
}

#[test]
fn a_sandbox_of_several_requests_goes_to_who_waits_when_its_last_one_ends() {
    on_one_thread(async {
        let (world, [one, other, waiting]) = sharing();
        let stream = world.get(one, "/drip?chunks=1000000&ms=1").await.unwrap();
        let _other_stream = world.get(other, "/drip?chunks=1000000&ms=1").await.unwrap();
        let end = async {
            until("it waits", || world.slot(waiting).totals().queued == 1).await;
            drop(stream);
        };
        let (answer, ()) = join(world.text(waiting, "/"), end).await;
        answer.unwrap();
    });
}

#[test]
fn a_sandbox_of_several_requests_takes_no_more_while_others_wait() {
    on_one_thread(async {
        let (world, [streaming, steady, waiting]) = sharing();
        let _stream = world.get(streaming, "/drip?chunks=1000000&ms=1").await.unwrap();
        let is_answered = Cell::new(false);
        // At any moment one of them is at work.
        let ask = async |_| {
            while !is_answered.get() {
                world.text(steady, "/sleep?ms=2").await.unwrap();
            }
        };
        let wait = async {
            until("the steady ones are at work", || world.slot(steady).totals().in_flight == 4).await;
            world.text(waiting, "/").await.unwrap();
            is_answered.set(true);
        };
        join(join_all((0..4).map(ask)), wait).await;
        assert_eq!(world.slot(waiting).totals().sandboxes_drawn, 1);
    });
}

fn busy(answer: Result<String, InvokeError>) -> String {
    match answer {
        Err(InvokeError::Busy { reason, .. }) => reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn no_task_has_more_than_half_of_a_pool() {
    on_one_thread(async {
        let world = World::new(4, &[Guest::Misbehave]);
        let greedy = world.run(Guest::Misbehave, |task| task.limits.queue = 1);
        let neighbour = world.run(Guest::Misbehave, |_| {});
        world.text(greedy, "/").await.unwrap();
        world.all_is_given_back(greedy).await;
        let asked = join_all([(); 3].map(|()| world.text(greedy, "/sleep?ms=300")));
        let beside = async {
            let waits = || world.slot(greedy).totals().queued == 1;
            until("none of them waits", waits).await;
            assert_eq!(world.slot(greedy).totals().sandboxes, 2);
            let reason = busy(world.text(greedy, "/").await);
            assert!(reason.contains("half of the sandboxes"), "{reason}");
            world.text(neighbour, "/").await.unwrap();
            assert!(waits(), "the neighbour had to wait for the greedy");
        };
        let (answers, ()) = join(asked, beside).await;
        assert!(answers.iter().all(Result::is_ok), "{answers:?}");
        assert_eq!(world.slot(greedy).totals().refused, 1);
    });
}

#[test]
fn who_finds_the_pool_full_and_its_queue_too_is_refused() {
    on_one_thread(async {
        let world = World::new(2, &[Guest::Misbehave]);
        let task = world.run(Guest::Misbehave, |task| task.limits.queue = 1);
        let rest = async {
            let waiting = world.text(task, "/");
            let refused = async {
                until("it does not wait", || world.slot(task).totals().queued == 1).await;
                let reason = busy(world.text(task, "/").await);
                assert!(reason.contains("no room for another sandbox"), "{reason}");
            };
            let (answer, ()) = join(waiting, refused).await;
            answer.unwrap();
            assert_eq!(world.slot(task).totals().refused, 1);
        };
        Holders::start(&world).await.beside(rest).await;
    });
}

/// Has a sandbox made ahead for the task's next request, and leaves it.
async fn warm(world: &World, task: TaskId) {
    let is_warm = || {
        let totals = world.slot(task).totals();
        totals.sandboxes == 1 && totals.in_flight == 0
    };
    let asked_before = world.slot(task).totals().sandboxes_drawn;
    while world.slot(task).totals().sandboxes_drawn < asked_before + 3 || !is_warm() {
        world.text(task, "/count").await.unwrap();
        // None is made where there is no time or room for it.
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
    }
}

#[test]
fn requests_take_the_room_of_what_waits_longest_and_what_is_made_ahead_takes_none() {
    on_one_thread(async {
        let world = World::new(4, &[Guest::Misbehave]);
        let tasks = [(); 4].map(|()| world.run(Guest::Misbehave, |_| {}));
        for task in tasks {
            warm(&world, task).await;
        }
        // In another order than that in which they began.
        let order = [2, 0, 3, 1].map(|index| tasks[index]);
        for task in order {
            warm(&world, task).await;
        }
        let has_one = || order.map(|task| world.slot(task).totals().sandboxes == 1);
        assert_eq!(has_one(), [true; 4]);
        let other = world.run(Guest::Misbehave, |_| {});
        for _ in 0..2 {
            world.text(other, "/").await.unwrap();
        }
        // One would be made ahead now, if there were room for it.
        let mut drip = world.get(other, "/drip?chunks=1000000&ms=1").await.unwrap().into_body();
        for _ in 0..20 {
            drip.frame().await.expect("a chunk").expect("no error");
        }
        assert_eq!(world.slot(other).totals().sandboxes, 1);
        assert_eq!(has_one(), [false, true, true, true]);
    });
}

/// A command of so many components in a row, each of which waits in a call of the next; the last sleeps. None has a memory.
fn chain(components: usize) -> Compiled {
    let links: String = (1..components)
        .map(|number| {
            format!(
                "(instance $i{number} (instantiate $link (with \"next\" (func $i{} \"go\"))))",
                number - 1
            )
        })
        .collect();
    let text = format!(
        "(component
           (import \"wasi:clocks/monotonic-clock@0.3.0\" (instance $clock
             (export \"wait-for\" (func async (param \"how-long\" u64)))))
           (component $link
             (import \"next\" (func $next async (param \"how-long\" u64)))
             (core func $next (canon lower (func $next)))
             (core module $m
               (import \"\" \"next\" (func $next (param i64)))
               (func (export \"go\") (param i64) (call $next (local.get 0))))
             (core instance $c (instantiate $m (with \"\" (instance (export \"next\" (func $next))))))
             (func (export \"go\") async (param \"how-long\" u64) (canon lift (core func $c \"go\"))))
           (instance $i0 (instantiate $link (with \"next\" (func $clock \"wait-for\"))))
           {links}
           (component $program
             (import \"first\" (func $first async (param \"how-long\" u64)))
             (core func $first (canon lower (func $first)))
             (core module $m
               (import \"\" \"first\" (func $first (param i64)))
               (func (export \"run\") (result i32) (call $first (i64.const 50000000)) i32.const 0))
             (core instance $c (instantiate $m (with \"\" (instance (export \"first\" (func $first))))))
             (func (export \"run\") async (result (result)) (canon lift (core func $c \"run\"))))
           (instance $program (instantiate $program (with \"first\" (func $i{} \"go\"))))
           (instance $run (export \"run\" (func $program \"run\")))
           (export \"wasi:cli/run@0.3.0\" (instance $run)))",
        components - 1
    );
    compile_text_as_it_is(&text).unwrap()
}

#[test]
fn stacks_of_components_that_wait_for_each_other_are_waited_for() {
    let compiled = chain(12);
    on_one_thread(async {
        let world = World::of(4, [(compiled.key, compiled.native.clone())]);
        let run = |()| world.run(Guest::JobP3, |task| task.program = compiled.key);
        for task in [(); 3].map(run) {
            let ended = world.end_of(task).await;
            assert!(matches!(ended, TaskEvent::Ended { exit_code: Some(0), .. }), "{ended:?}");
        }
    });
}

#[test]
fn a_command_waits_in_the_same_line() {
    on_one_thread(async {
        let world = World::new(2, &[Guest::Misbehave, Guest::Job]);
        let command = Cell::new(None);
        let rest = async {
            let task = world.run(Guest::Job, |_| {});
            command.set(Some(task));
            world.end_of(task).await;
        };
        Holders::start(&world).await.beside(rest).await;
        world.all_is_given_back(command.get().unwrap()).await;
    });
}

//! `command` tasks: run once, to their end or ours.

use crate::support::{Guest, World};
use skiff_ports::logs::LogStream;
use skiff_ports::runtime::TaskEvent;
use skiff_testbed::{on_one_thread, until};
use skiff_types::{MemorySize, StopCode, TaskId};

const BOTH: [Guest; 2] = [Guest::Job, Guest::JobP3];

fn start(world: &World, guest: Guest, arguments: &[&str]) -> TaskId {
    world.run(guest, |task| {
        task.command.arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
        task.command.environment.insert("COLOUR".to_owned(), "green".to_owned());
        task.limits.memory = MemorySize::from_mib(32);
    })
}

async fn ending(world: &World, guest: Guest, arguments: &[&str]) -> (Option<i32>, StopCode, String) {
    let task = start(world, guest, arguments);
    let TaskEvent::Ended { exit_code, reason, .. } = world.end_of(task).await else { unreachable!() };
    assert!(matches!(world.events(task)[..], [TaskEvent::Started { .. }, TaskEvent::Ended { .. }]));
    world.all_is_given_back(task).await;
    (exit_code, reason.code, reason.message)
}

async fn output(world: &World, guest: Guest, arguments: &[&str]) -> Vec<String> {
    let task = start(world, guest, arguments);
    world.end_of(task).await;
    world.lines(task, LogStream::Stdout)
}

#[test]
fn the_exit_code_is_the_program_s() {
    on_one_thread(async {
        let world = World::new(4, &BOTH);
        for guest in BOTH {
            for (arguments, code) in
                [(&["exit", "7"][..], 7), (&["exit", "0"], 0), (&["print"], 0), (&["nonsense"], 2)]
            {
                let (exit_code, stop, message) = ending(&world, guest, arguments).await;
                assert_eq!((exit_code, stop), (Some(code), StopCode::Exited), "{guest:?} {arguments:?}");
                assert!(message.contains(&format!("code {code}")), "{message}");
            }
        }
        assert_eq!(ending(&world, Guest::JobP3, &["fail"]).await.0, Some(1));
    });
}

#[test]
fn a_program_has_arguments_environment_output_and_no_input() {
    on_one_thread(async {
        let world = World::new(4, &BOTH);
        for guest in BOTH {
            assert_eq!(output(&world, guest, &["print", "3"]).await, ["line 0", "line 1", "line 2"]);
            assert_eq!(output(&world, guest, &["args", "a b", "c"]).await, ["[\"a b\", \"c\"]"]);
            assert_eq!(output(&world, guest, &["env", "COLOUR"]).await, ["green"]);
            assert_eq!(output(&world, guest, &["stdin"]).await, ["stdin: 0 bytes, closed"]);
        }
    });
}

#[test]
fn what_a_task_says_on_its_standard_input_is_read_to_its_end() {
    on_one_thread(async {
        let world = World::new(4, &BOTH);
        for guest in BOTH {
            for bytes in [1, 100_000] {
                let task = world.run(guest, |task| {
                    task.command.arguments = vec!["stdin".to_owned()];
                    task.command.stdin = Some("x".repeat(bytes));
                });
                world.end_of(task).await;
                let said = format!("stdin: {bytes} bytes, closed");
                assert_eq!(world.lines(task, LogStream::Stdout), [said], "{guest:?}");
            }
        }
    });
}

#[test]
fn failures_have_a_code_and_a_reason() {
    on_one_thread(async {
        let world = World::new(4, &BOTH);
        for guest in BOTH {
            let (exit_code, stop, message) = ending(&world, guest, &["trap"]).await;
            assert_eq!((exit_code, stop), (None, StopCode::Trapped));
            assert!(message.contains("unreachable"), "{message}");
            let (exit_code, stop, message) = ending(&world, guest, &["grow-forever"]).await;
            assert_eq!((exit_code, stop), (None, StopCode::OutOfMemory));
            assert!(message.contains("32MiB"), "{message}");
        }
    });
}

#[test]
fn code_that_can_not_be_had_is_a_task_that_never_started() {
    on_one_thread(async {
        let world = World::new(4, &[]);
        let task = start(&world, Guest::Job, &["print"]);
        world.end_of(task).await;
        match &world.events(task)[..] {
            [TaskEvent::Ended { exit_code: None, reason, .. }] => {
                assert_eq!(reason.code, StopCode::TaskFailedToStart);
                assert!(reason.message.contains("not in the cache"), "{reason}");
            }
            other => panic!("{other:?}"),
        }
    });
}

#[test]
fn a_command_runs_once_and_ends_when_it_is_left_out() {
    on_one_thread(async {
        let world = World::new(4, &BOTH);
        for guest in BOTH {
            let done = start(&world, guest, &["print"]);
            world.end_of(done).await;
            world.run_again(done);
            let asleep = start(&world, guest, &["sleep"]);
            let busy = start(&world, guest, &["spin"]);
            for task in [asleep, busy] {
                let slot = world.slot(task);
                until("it never started", || world.events(task).len() == 1).await;
                assert_eq!(slot.totals().sandboxes, 1);
                world.leave_out(task);
                until("it goes on", || slot.totals().sandboxes == 0).await;
                assert_eq!(slot.totals().memory_bytes, 0);
                assert!(
                    matches!(world.events(task)[..], [TaskEvent::Started { .. }]),
                    "nobody asked how it ended"
                );
            }
            assert_eq!((world.events(done).len(), world.lines(done, LogStream::Stdout).len()), (2, 1));
        }
    });
}

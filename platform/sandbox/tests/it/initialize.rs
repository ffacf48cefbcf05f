//! Snapshot start: what sandboxes of a snapshot have in common and what not, and what is refused.

use crate::support::{Compiled, Guest, World, compile_text, request};
use skiff_ports::body;
use skiff_ports::invoke::Invoke;
use skiff_ports::logs::LogStream;
use skiff_ports::runtime::PrepareError;
use skiff_sandbox::InitializationBounds;
use skiff_testbed::on_one_thread;
use skiff_types::TaskId;
use std::time::Duration;

/// Runs a task of this program in a world of its own.
fn task_of(guest: Guest, compiled: &Compiled) -> (World, TaskId) {
    let world = World::of(4, [(compiled.key, compiled.native.clone())]);
    let task = world.run(guest, |task| {
        task.program = compiled.key;
        task.limits.memory = "512MiB".parse().unwrap();
    });
    (world, task)
}

fn refusal(result: Result<Compiled, PrepareError>) -> String {
    match result.map(|compiled| compiled.report) {
        Err(PrepareError::Refused(reason)) => reason,
        other => panic!("{other:?}"),
    }
}

fn initialized_to(todo: &str, bounds: InitializationBounds) -> Result<Compiled, PrepareError> {
    Guest::Snapshot.initialized(&[("INITIALIZE", todo)], bounds)
}

#[test]
fn each_sandbox_starts_where_the_initialisation_ended() {
    let environment = [("COLOUR", "green")];
    let compiled = Guest::Snapshot.initialized(&environment, InitializationBounds::default()).unwrap();
    on_one_thread(async {
        let initialization = compiled.report.initialization.as_ref().unwrap();
        assert_eq!(initialization.output, "INFO snapshot: initialising: \"\"\n");
        assert!(compiled.report.minimum_memory_bytes > 0);
        let (world, task) = task_of(Guest::Snapshot, &compiled);
        for _ in 0..3 {
            // A sandbox adds to it what the next does not see.
            assert_eq!(world.text(task, "/initialized").await.unwrap(), "1");
        }
        assert_eq!(world.text(task, "/square?of=12").await.unwrap(), "Some(144)");
        assert_eq!(world.text(task, "/square?of=1000").await.unwrap(), "None");
        assert_eq!(world.text(task, "/env?name=COLOUR").await.unwrap(), "Ok(\"green\")");
    });
}

#[test]
fn two_sandboxes_of_one_snapshot_draw_other_random_numbers() {
    let compiled = Guest::Snapshot.initialized(&[], InitializationBounds::default()).unwrap();
    on_one_thread(async {
        let (world, task) = task_of(Guest::Snapshot, &compiled);
        for path in ["/random", "/keys"] {
            let (one, two) = (world.text(task, path).await.unwrap(), world.text(task, path).await.unwrap());
            assert_ne!(one, two, "{path}");
        }
    });
}

#[test]
fn what_was_logged_before_does_not_keep_a_request_from_printing() {
    let compiled = Guest::Snapshot.initialized(&[], InitializationBounds::default()).unwrap();
    on_one_thread(async {
        let (world, task) = task_of(Guest::Snapshot, &compiled);
        assert_eq!(world.text(task, "/print").await.unwrap(), "printed");
        assert_eq!(world.lines(task, LogStream::Stdout), ["printed by a request"]);
    });
}

#[test]
fn without_a_snapshot_nothing_is_initialised() {
    on_one_thread(async {
        let world = World::new(4, &[Guest::Snapshot, Guest::Table]);
        let task = world.run(Guest::Snapshot, |_| {});
        assert_eq!(world.text(task, "/initialized").await.unwrap(), "0");
        let table = world.run(Guest::Table, |task| task.limits.memory = "512MiB".parse().unwrap());
        assert!(world.text(table, "/SKU-000042").await.unwrap().contains("no. 42:"));
    });
}

#[test]
fn a_large_table_is_read_once() {
    let compiled = Guest::Table.initialized(&[], InitializationBounds::default()).unwrap();
    on_one_thread(async {
        assert_eq!(compiled.report.initialization.as_ref().unwrap().output, "INFO table: 120000 products\n");
        let pushed = skiff_sandbox::inspect(&Guest::Table.component()).unwrap();
        let read_bytes = compiled.report.minimum_memory_bytes - pushed.minimum_memory_bytes;
        assert!(read_bytes > 120_000 * 40, "a sandbox is charged with what was read: {read_bytes}");
        let (world, task) = task_of(Guest::Table, &compiled);
        assert!(world.text(task, "/SKU-000042").await.unwrap().contains("no. 42:"));
        assert!(world.text(task, "/SKU-119999").await.unwrap().contains("no. 119999:"));
        let missing = world.sandboxes.invoke(task, request("/SKU-120000", body::empty())).await.unwrap();
        assert_eq!(missing.status(), 404);
    });
}

#[test]
fn what_fails_is_refused_with_what_it_wrote() {
    let default = InitializationBounds::default();
    let reason = refusal(initialized_to("panic", default));
    assert!(reason.contains("can't be snapshotted: its initialisation failed"), "{reason}");
    assert!(reason.contains("initialising: \"panic\"") && reason.contains("asked to panic"), "{reason}");
    assert!(refusal(initialized_to("error", default)).contains("asked to fail"));
    let reason = refusal(initialized_to("exit", default));
    assert!(reason.contains("it exited with code"), "{reason}");
}

#[test]
fn what_takes_too_much_is_ended() {
    let short = InitializationBounds { time: Duration::from_millis(300), ..Default::default() };
    for todo in ["spin", "sleep"] {
        let reason = refusal(initialized_to(todo, short));
        assert!(reason.contains("it took longer than 0.3 s"), "{todo}: {reason}");
    }
    let small = InitializationBounds { memory_bytes: 16 << 20, ..Default::default() };
    let reason = refusal(initialized_to("grow", small));
    assert!(reason.contains("it needs more than 16 MiB of memory"), "{reason}");
}

#[test]
fn what_would_be_the_same_in_each_sandbox_is_refused() {
    let reason = refusal(initialized_to("random", InitializationBounds::default()));
    assert!(reason.contains("asked wasi:random for random numbers"), "{reason}");
    let reason = refusal(initialized_to("print", InitializationBounds::default()));
    assert!(reason.contains("still open") && reason.contains("println!"), "{reason}");
}

#[test]
fn a_component_that_marks_no_initialisation_is_refused() {
    let reason = refusal(Guest::Hello.initialized(&[], InitializationBounds::default()));
    assert!(reason.contains("exports no function wizer-initialize"), "{reason}");
    assert!(reason.contains("#[skiff_sdk::initialize]"), "{reason}");
}

/// A command whose module `$m`, instantiated as `$c`, exports `run` and `initialize`.
fn text(parts: &str) -> Result<Compiled, PrepareError> {
    compile_text(&format!(
        "(component {parts}
           (func $run (result (result)) (canon lift (core func $c \"run\")))
           (instance $i (export \"run\" (func $run)))
           (export \"wasi:cli/run@0.2.0\" (instance $i))
           (func $initialize (canon lift (core func $c \"initialize\")))
           (export \"wizer-initialize\" (func $initialize)))"
    ))
}

const RUN: &str = "(func (export \"run\") (result i32) i32.const 0)";

#[test]
fn a_component_needs_no_sdk() {
    let module = format!(
        "(core module $m {RUN} (memory 1) (global $g (mut i64) (i64.const 1))
           (func (export \"initialize\") (i32.store (i32.const 8) (i32.const 7)) (global.set $g (i64.const 2))))
         (core instance $c (instantiate $m))"
    );
    let compiled = text(&module).unwrap();
    assert_eq!(compiled.report.initialization.unwrap().output, "");
}

#[test]
fn what_wizer_can_not_do_is_refused_with_its_reason() {
    let tables = format!(
        "(core module $m {RUN} (table 1 funcref)
           (func (export \"initialize\") (table.set (i32.const 0) (ref.null func))))
         (core instance $c (instantiate $m))"
    );
    let twice = format!(
        "(core module $m {RUN} (func (export \"initialize\")))
         (core instance (instantiate $m)) (core instance $c (instantiate $m))"
    );
    for (module, why) in [(tables, "table.set"), (twice, "instantiated at most once")] {
        let reason = refusal(text(&module));
        assert!(reason.contains(why) && reason.contains("without `snapshot`"), "{reason}");
    }
}

/// A command of WASI 0.3 whose initialisation makes a stream, and then does this to its two ends.
fn streaming(then: &str) -> Result<Compiled, PrepareError> {
    compile_text(&format!(
        "(component
           (type $s (stream u8))
           (core func $new (canon stream.new $s))
           (core func $drop-readable (canon stream.drop-readable $s))
           (core func $drop-writable (canon stream.drop-writable $s))
           (core module $m
             (import \"\" \"new\" (func $new (result i64)))
             (import \"\" \"drop-readable\" (func $drop-readable (param i32)))
             (import \"\" \"drop-writable\" (func $drop-writable (param i32)))
             {RUN}
             (func (export \"initialize\") (local $ends i64) (local.set $ends (call $new)) {then}))
           (core instance $c (instantiate $m (with \"\" (instance
             (export \"new\" (func $new)) (export \"drop-readable\" (func $drop-readable))
             (export \"drop-writable\" (func $drop-writable))))))
           (func $run async (result (result)) (canon lift (core func $c \"run\")))
           (instance $i (export \"run\" (func $run)))
           (export \"wasi:cli/run@0.3.0\" (instance $i))
           (func $initialize (canon lift (core func $c \"initialize\")))
           (export \"wizer-initialize\" (func $initialize)))"
    ))
}

#[test]
fn what_the_engine_holds_can_not_be_in_a_snapshot_either() {
    let drop_readable = "(call $drop-readable (i32.wrap_i64 (local.get $ends)))";
    let drop_writable = "(call $drop-writable (i32.wrap_i64 (i64.shr_u (local.get $ends) (i64.const 32))))";
    assert!(streaming(&format!("{drop_readable} {drop_writable}")).is_ok());
    for open in ["", drop_readable, drop_writable] {
        let reason = refusal(streaming(open));
        assert!(reason.contains("still open"), "{open:?}: {reason}");
    }
}

/// As [`text`], of a module that imports `$seed`, and has these functions besides `run`.
fn drawing(functions: &str, exports: &str) -> Result<Compiled, PrepareError> {
    text(&format!(
        "(import \"wasi:random/insecure-seed@0.2.0\"
           (instance $seed (export \"insecure-seed\" (func (result (tuple u64 u64))))))
         (core module $memory (memory (export \"memory\") 1))
         (core instance $memory (instantiate $memory))
         (alias core export $memory \"memory\" (core memory $bytes))
         (core func $seed (canon lower (func $seed \"insecure-seed\") (memory $bytes)))
         (core module $m (import \"host\" \"seed\" (func $seed (param i32))) {RUN} {functions})
         (core instance $c (instantiate $m (with \"host\" (instance (export \"seed\" (func $seed))))))
         {exports}"
    ))
}

const INITIALIZE_DRAWS: &str = "(func (export \"initialize\") (call $seed (i32.const 0)))";

#[test]
fn seeds_are_refused_to_those_who_do_not_say_where_they_are() {
    let reason = refusal(drawing(INITIALIZE_DRAWS, ""));
    assert!(
        reason.contains("wasi:random/insecure-seed") && reason.contains("#[skiff_sdk::initialize]"),
        "{reason}"
    );
}

#[test]
fn what_says_where_seeds_are_must_draw_them_there() {
    let told = |prepare: &str, draw: &str| {
        let functions = format!(
            "{INITIALIZE_DRAWS} (func (export \"prepare\") {prepare}) (func (export \"draw\") {draw})"
        );
        let exports = "(func $prepare (canon lift (core func $c \"prepare\")))
          (func $draw (canon lift (core func $c \"draw\")))
          (instance $seeds (export \"prepare\" (func $prepare)) (export \"draw\" (func $draw)))
          (export \"skiff:task/seeds@0.1.0\" (instance $seeds))";
        drawing(&functions, exports)
    };
    let seed = "(call $seed (i32.const 0))";
    assert!(told("", seed).is_ok());
    let reason = refusal(told(seed, seed));
    assert!(reason.contains("a seed was drawn before skiff:task/seeds@0.1.0#draw"), "{reason}");
    let reason = refusal(told("", ""));
    assert!(reason.contains("skiff:task/seeds@0.1.0#draw draws no seed"), "{reason}");
}

//! What a sandbox costs inside one thread, without HTTP: `cargo xtask bench inside`.

#[allow(dead_code, reason = "the tests use the rest")]
#[path = "../tests/it/support.rs"]
mod support;

use criterion::{Criterion, criterion_group, criterion_main};
use std::time::{Duration, Instant};
use support::{Guest, World, compile_text_as_it_is, http_task};
use tokio::task::LocalSet;

/// Guests that answer `/` with a line.
const GUESTS: [(&str, Guest); 3] = [
    ("hello (WASI 0.2)", Guest::Hello),
    ("a larger guest (WASI 0.2)", Guest::Misbehave),
    ("a larger guest (WASI 0.3)", Guest::MisbehaveP3),
];

fn calls(criterion: &mut Criterion) {
    for (name, guest) in GUESTS {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let local = LocalSet::new();
        let (world, task) = local.block_on(&runtime, async {
            let world = World::new(1_000, &[guest]);
            let task = world.run(guest, |_| {});
            (world, task)
        });
        criterion.bench_function(&format!("sandbox/make, call and drop {name}"), |bencher| {
            bencher.iter_custom(|iterations| local.block_on(&runtime, many(&world, task, iterations)));
        });
    }
}

/// How long so many calls take, one after the other.
async fn many(world: &World, task: skiff_types::TaskId, iterations: u64) -> Duration {
    let started = Instant::now();
    for _ in 0..iterations {
        world.text(task, "/").await.expect("an answer");
    }
    started.elapsed()
}

/// Copies that one call makes.
const COPIES: u32 = 100_000;
/// Bytes of each: more than what is copied without a call of the host, and few enough for that call to cost most.
const COPY_BYTES: u32 = 200;

/// What it costs that a copy may turn out to be long: one whose length the code says is left as it is.
fn copies(criterion: &mut Criterion) {
    let lengths =
        [("the code says", format!("i32.const {COPY_BYTES}")), ("a variable has", "local.get 0".to_owned())];
    for (name, length) in lengths {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let local = LocalSet::new();
        let (world, task) = local.block_on(&runtime, async {
            let instructions = copying(&length);
            let compiled =
                compile_text_as_it_is(&http_task("(memory 1)", &instructions)).expect("a sound component");
            let world = World::of(10, [(compiled.key, compiled.native)]);
            let task = world.run(Guest::Hello, |task| task.program = compiled.key);
            (world, task)
        });
        criterion.bench_function(&format!("sandbox/{COPIES} copies as long as {name}"), |bencher| {
            bencher.iter_custom(|iterations| {
                local.block_on(&runtime, async {
                    let started = Instant::now();
                    for _ in 0..iterations {
                        let refusal = world.get(task, "/").await.expect_err("it has no answer").to_string();
                        assert!(refusal.contains("without an answer"), "{refusal}");
                    }
                    started.elapsed()
                })
            });
        });
    }
}

/// Copies of this length.
fn copying(length: &str) -> String {
    format!(
        "(local $copies i32)
         (local.set 0 (i32.const {COPY_BYTES}))
         (loop $again
           (memory.copy (i32.const 0) (i32.const 4096) ({length}))
           (local.set $copies (i32.add (local.get $copies) (i32.const 1)))
           (br_if $again (i32.ne (local.get $copies) (i32.const {COPIES}))))"
    )
}

criterion_group!(benches, calls, copies);
criterion_main!(benches);

//! What a sandbox costs inside one thread, without HTTP: `cargo xtask bench inside`.

#[allow(dead_code, reason = "the tests use the rest")]
#[path = "../tests/it/support.rs"]
mod support;

use criterion::{Criterion, criterion_group, criterion_main};
use std::time::{Duration, Instant};
use support::{Guest, World};
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

criterion_group!(benches, calls);
criterion_main!(benches);

//! What the virtual network costs inside one thread: deciding, connecting, and carrying bytes: `cargo xtask bench inside`.
//!
//! Workers are joined in this process and share its one thread, as in this crate's tests; so what is between two of them is
//! the cost at both ends.

#[allow(dead_code, reason = "the tests use the rest")]
#[path = "../tests/it/world.rs"]
mod world;

use bytes::Bytes;
use criterion::{Criterion, criterion_group, criterion_main};
use skiff_net::{Decision, Groups, Guard, Identity, Interface, Limits, Listener, Party, Stream, decide};
use skiff_ports::network::{GroupRules, NetworkSetup};
use skiff_types::{GROUPS_OF_TASK_MAX, NetworkSpec, RULES_MAX, TaskId, Transport};
use std::hint::black_box;
use std::time::Instant;
use tokio::runtime::{Builder, Runtime};
use tokio::task::LocalSet;
use world::{World, accept, at, listen, read, write};

/// Where the called task listens.
const PORT: u16 = 6_379;
/// Bytes that are carried in one iteration, and in one piece.
const CARRIED_BYTES: usize = 1 << 20;
const PIECE_BYTES: usize = 64 << 10;
/// No rate holds: what is measured is what opening a connection costs.
const WITHOUT_RATE: u64 = u64::MAX;

fn decisions(criterion: &mut Criterion) {
    let setup = NetworkSetup { spec: NetworkSpec::default(), own_doors: vec![], node_index: 0 };
    let guard = Guard::new(&setup, &[]);
    let most = format!("{GROUPS_OF_TASK_MAX} groups of {RULES_MAX} rules, the last of which allows it");
    for (what, groups, rules) in
        [("a group of one rule", 1, 1), (most.as_str(), GROUPS_OF_TASK_MAX, RULES_MAX)]
    {
        let all = groups_of(groups, rules);
        let (web, cache) =
            (identity("default/web", "web", groups), identity("default/cache", "cache", groups));
        let judge = |port: u16| {
            decide(&all, &guard, &Party::Task(&web), &Party::Task(&cache), Transport::Tcp, black_box(port))
        };
        assert!(judge(PORT).is_allowed());
        criterion.bench_function(&format!("net/allow by {what}"), |bencher| {
            bencher.iter(|| assert!(matches!(judge(PORT), Decision::Allowed { .. })));
        });
        criterion.bench_function(&format!("net/deny, {what}"), |bencher| {
            bencher.iter(|| assert!(matches!(judge(PORT + 1), Decision::Denied(_))));
        });
    }
}

/// So many groups for either side, of so many rules, of which the last of the last is that for the other side.
fn groups_of(groups: usize, rules: usize) -> Groups {
    let mut all = Groups::default();
    for (own, way, other) in [("web", "to", "cache"), ("cache", "from", "web")] {
        for number in 0..groups {
            let is_last = |rule: usize| number + 1 == groups && rule + 1 == rules;
            let rule = |rule| match is_last(rule) {
                true => format!("tcp:{PORT} {way} {other}-{number}"),
                false => format!("tcp:{} {way} {other}-{number}", 1 + rule),
            };
            let rules = (0..rules).map(|number| rule(number).parse().expect("a rule")).collect();
            let group = format!("default/{own}-{number}").parse().expect("a group");
            all.set(GroupRules { group, rules });
        }
    }
    all
}

fn identity(owner: &str, group: &str, groups: usize) -> Identity {
    let groups = (0..groups).map(|number| format!("{group}-{number}").parse().expect("a group")).collect();
    Identity { task: TaskId::from_parts(0, [0; 10]), owner: owner.parse().expect("a name"), groups }
}

/// Two tasks that are connected, one of which takes more connections.
struct Pair {
    one: Interface,
    two: Interface,
    listener: Listener,
    ours: Stream,
    theirs: Stream,
    world: World,
}

impl Pair {
    /// In one worker, or in two.
    async fn new(workers: u32) -> Self {
        let limits = Limits { connects_per_second: WITHOUT_RATE, ..Limits::default() };
        let world = World::with(workers, limits);
        let one = world.task_in(0, "default/one", &["default"]);
        let two = world.task_in(workers - 1, "default/two", &["default"]);
        let listener = listen(&two, PORT);
        let ours = one.connect(None, at(&two, PORT)).await.expect("a connection");
        let theirs = accept(&listener).await.expect("a connection");
        Self { one, two, listener, ours, theirs, world }
    }

    /// Opens a connection and closes it.
    async fn connect(&self) {
        let ours = self.one.connect(None, at(&self.two, PORT)).await.expect("a connection");
        let theirs = accept(&self.listener).await.expect("a connection");
        drop((ours, theirs));
        // What is written down is not kept.
        drop(self.world.records());
    }

    /// Sends some bytes and has them back.
    async fn ask(&self) {
        write(&self.ours, Bytes::from_static(b"ping")).await.expect("room");
        let question = read(&self.theirs).await.expect("a question");
        write(&self.theirs, question).await.expect("room");
        read(&self.ours).await.expect("an answer");
    }

    /// Carries bytes one way.
    async fn carry(&self, piece: &Bytes) {
        let writing = async {
            for _ in 0..CARRIED_BYTES / PIECE_BYTES {
                write(&self.ours, piece.clone()).await.expect("room");
            }
        };
        let reading = async {
            let mut left = CARRIED_BYTES;
            while left > 0 {
                left -= read(&self.theirs).await.expect("bytes").len();
            }
        };
        tokio::join!(writing, reading);
    }
}

fn streams(criterion: &mut Criterion) {
    let piece = Bytes::from(vec![b'x'; PIECE_BYTES]);
    for (workers, place) in [(1, "within a worker"), (2, "between two workers")] {
        measure(criterion, &format!("net/connect, accept and close, {place}"), workers, Pair::connect);
        measure(criterion, &format!("net/4 bytes and as many back, {place}"), workers, Pair::ask);
        measure(
            criterion,
            &format!("net/1 MiB in pieces of 64 KiB, {place}"),
            workers,
            async |pair: &Pair| {
                pair.carry(&piece).await;
            },
        );
    }
}

/// Measures what two tasks do again and again.
fn measure(criterion: &mut Criterion, name: &str, workers: u32, work: impl AsyncFn(&Pair)) {
    let runtime: Runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    let tasks = LocalSet::new();
    let pair = tasks.block_on(&runtime, Pair::new(workers));
    criterion.bench_function(name, |bencher| {
        bencher.iter_custom(|iterations| {
            tasks.block_on(&runtime, async {
                let began = Instant::now();
                for _ in 0..iterations {
                    work(&pair).await;
                }
                began.elapsed()
            })
        });
    });
    // What a stream leaves behind is done within the runtime.
    tasks.block_on(&runtime, async move { drop(pair) });
}

criterion_group!(benches, decisions, streams);
criterion_main!(benches);

//! What a durable queue costs: messages sent, received and deleted, each on the drive, by several at once.
//! `cargo bench -p skiff-events --bench queues`.

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use skiff_events::queues::{Config, Deps, Queues};
use skiff_kit::clock::SystemClock;
use skiff_kit::random::SystemRandom;
use skiff_ports::catalog::QueueRef;
use skiff_ports::queues::{NewMessage, Queues as _};
use skiff_types::{QueueOrder, QueueSpec, ResourceId};
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Runtime;

/// Bytes of a message's body.
const BODY_BYTES: usize = 256;
/// Messages in a call.
const BATCH: usize = 10;

/// Sends a batch, receives one and deletes it.
async fn turn(queues: &Queues, queue: &QueueRef) {
    let body = Bytes::from_static(&[b'x'; BODY_BYTES]);
    let messages = vec![NewMessage { body, ..NewMessage::default() }; BATCH];
    queues.send(queue, messages).await.expect("a disk with room");
    let received = queues.receive(queue, BATCH, None, Duration::from_secs(20)).await.expect("messages");
    let receipts = received.into_iter().map(|message| message.receipt).collect();
    queues.delete(queue, receipts).await.expect("a disk with room");
}

fn send_receive_delete(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let folder = tempfile::tempdir().expect("a folder");
    let deps = Deps { clock: Arc::new(SystemClock), random: Arc::new(SystemRandom) };
    let queues = Queues::open(Config::new(folder.path().to_owned()), deps).expect("a folder of its own");
    let queues = Arc::new(queues);
    let name = "default/orders".parse().expect("a name");
    let queue = QueueRef {
        id: ResourceId::from_bytes([1; 8]),
        spec: Arc::new(QueueSpec::new(name, QueueOrder::Standard)),
        dead_letter: None,
    };
    let mut group = criterion.benchmark_group("send, receive and delete");
    for tasks in [1_usize, 10, 100] {
        group.throughput(Throughput::Elements((tasks * BATCH) as u64));
        group.bench_function(BenchmarkId::from_parameter(tasks), |bencher| {
            bencher.iter(|| {
                runtime.block_on(async {
                    let turns = (0..tasks).map(|_| {
                        let (queues, queue) = (queues.clone(), queue.clone());
                        tokio::spawn(async move { turn(&queues, &queue).await })
                    });
                    for outcome in futures::future::join_all(turns).await {
                        outcome.expect("a turn that ends");
                    }
                });
            });
        });
    }
    group.finish();
    runtime.block_on(queues.close());
}

criterion_group!(benches, send_receive_delete);
criterion_main!(benches);

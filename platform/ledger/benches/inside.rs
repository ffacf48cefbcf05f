//! What accounting costs on the way of a request: `cargo xtask bench inside`.

use criterion::{Criterion, criterion_group, criterion_main};
use skiff_ledger::{Ledger, MemoryClaim, StatusClass};
use std::hint::black_box;

/// Workers that a quota is summed over.
const WORKERS: [usize; 3] = [1, 2, 64];

fn claims(criterion: &mut Criterion) {
    for workers in WORKERS {
        let (ledger, _) = Ledger::create(workers).expect("a ledger");
        let slot = ledger.task(7);
        criterion.bench_function(&format!("ledger/claim a request, {workers} workers"), |bencher| {
            bencher.iter(|| {
                assert!(black_box(&slot).claim_in_flight(0, 100));
                slot.row(0).in_flight.subtract(1);
            });
        });
        criterion.bench_function(&format!("ledger/claim memory, {workers} workers"), |bencher| {
            bencher.iter(|| {
                let mut claim = MemoryClaim::new(slot.clone(), 0, 1 << 30);
                assert!(claim.grow(black_box(1 << 20)));
            });
        });
    }
}

fn charges(criterion: &mut Criterion) {
    let (ledger, _) = Ledger::create(2).expect("a ledger");
    let slot = ledger.task(7);
    criterion.bench_function("ledger/charge an answer", |bencher| {
        bencher.iter(|| {
            let row = black_box(&slot).row(1);
            row.cpu_ns.add(30_000);
            row.responses[StatusClass::of(200) as usize].add(1);
            row.sent_bytes.add(18);
            row.request_duration.record_ns(black_box(60_000));
        });
    });
    criterion.bench_function("ledger/totals of a task, 2 workers", |bencher| {
        bencher.iter(|| black_box(&slot).totals());
    });
}

fn meters(criterion: &mut Criterion) {
    let (ledger, _) = Ledger::create(2).expect("a ledger");
    let meter = ledger.meter(7);
    criterion.bench_function("ledger/count a request at a meter", |bencher| {
        bencher.iter(|| {
            let row = black_box(&meter).row(1);
            row.requests.add(1);
            row.target_responses[StatusClass::of(200) as usize].add(1);
            row.sent_bytes.add(18);
            row.target_response_time.record_ns(black_box(60_000));
        });
    });
    criterion.bench_function("ledger/outstanding at a meter, up and down", |bencher| {
        bencher.iter(|| {
            black_box(&meter).row(1).outstanding.add(1);
            black_box(&meter).row(1).outstanding.subtract(1);
        });
    });
}

criterion_group!(benches, claims, charges, meters);
criterion_main!(benches);

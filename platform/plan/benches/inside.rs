//! What deciding costs: `cargo xtask bench inside`.

use criterion::{Criterion, criterion_group, criterion_main};
use skiff_plan::{lifecycle, retention, routes, service};
use skiff_types::{
    Group, Health, Kind, Namespace, QualifiedName, Restart, ServiceSpec, StopCode, StoppedReason, Task,
    TaskId, TaskStatus,
};
use std::hint::black_box;

const NOW_MS: u64 = 1_700_000_000_000;

fn task(number: u64, status: TaskStatus) -> Task {
    let mut random = [0; 10];
    random[2..].copy_from_slice(&number.to_be_bytes());
    let stopped = status == TaskStatus::Stopped;
    let reason = StoppedReason { code: StopCode::Exited, message: String::new() };
    Task {
        id: TaskId::from_parts(NOW_MS, random),
        namespace: Namespace::default(),
        definition: "hello:1".parse().expect("a definition"),
        group: Group::Service("hello".parse().expect("a name")),
        overrides: None,
        address: None,
        status,
        stop: stopped.then_some(reason),
        exit_code: None,
        health: Health::Unchecked,
        health_reason: None,
        restarts: 0,
        last_stop: None,
        attempt: 0,
        created_at_ms: NOW_MS,
        start_after_ms: 0,
        started_at_ms: Some(NOW_MS),
        ready_at_ms: Some(NOW_MS),
        stopped_at_ms: stopped.then_some(NOW_MS + number),
    }
}

fn services(criterion: &mut Criterion) {
    for count in [1, 100, 1_000_u32] {
        let tasks: Vec<Task> =
            (0..u64::from(count)).map(|number| task(number, TaskStatus::Running)).collect();
        let tasks: Vec<&Task> = tasks.iter().collect();
        let spec = ServiceSpec {
            name: "hello".parse().expect("a name"),
            definition: "hello:1".parse().expect("a definition"),
            desired: count,
            hosts: Vec::new(),
            paths: Vec::new(),
            security_groups: None,
            listen: Vec::new(),
        };
        let rolled = ServiceSpec { definition: "hello:2".parse().expect("a definition"), ..spec.clone() };
        criterion.bench_function(&format!("plan/a service at rest, {count} tasks"), |bencher| {
            bencher.iter(|| service::plan(black_box(&spec), &tasks, NOW_MS));
        });
        criterion.bench_function(&format!("plan/a service that rolls, {count} tasks"), |bencher| {
            bencher.iter(|| service::plan(black_box(&rolled), &tasks, NOW_MS));
        });
    }
}

fn tasks(criterion: &mut Criterion) {
    let task = task(1, TaskStatus::Activating);
    let known = lifecycle::Known {
        kind: Kind::Http,
        daemon: false,
        restart: Restart::Never,
        prepared: true,
        acknowledged: true,
        outstanding: 0,
        drain_until_ms: 0,
    };
    criterion.bench_function("plan/the next step of a task", |bencher| {
        bencher.iter(|| lifecycle::next(black_box(&task), &known, NOW_MS));
    });
}

fn routing_tables(criterion: &mut Criterion) {
    for count in [100, 20_000] {
        let names: Vec<QualifiedName> =
            (0..count).map(|number| format!("default/s{number}").parse().expect("a name")).collect();
        let routed = |name| routes::Routed {
            service: name,
            wishes: routes::Wishes { hosts: &[], paths: &[], listen: &[] },
            created_at_ms: NOW_MS,
            targets: vec![TaskId::from_parts(NOW_MS, [1; 10])],
        };
        let routed: Vec<_> = names.iter().map(routed).collect();
        criterion.bench_function(&format!("plan/the routing table of {count} services"), |bencher| {
            bencher.iter_batched(|| routed.clone(), routes::table, criterion::BatchSize::LargeInput);
        });
    }
}

fn kept(criterion: &mut Criterion) {
    let stopped: Vec<Task> = (0..2_000).map(|number| task(number, TaskStatus::Stopped)).collect();
    criterion.bench_function("plan/which of 2000 stopped tasks are forgotten", |bencher| {
        bencher.iter(|| retention::stopped_to_forget(black_box(&stopped), NOW_MS + 100_000));
    });
}

criterion_group!(benches, services, tasks, routing_tables, kept);
criterion_main!(benches);

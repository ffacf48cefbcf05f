//! What deciding costs: `cargo xtask bench inside`.

use criterion::{Criterion, criterion_group, criterion_main};
use skiff_plan::placement::{self, Nodes, TaskGroup, Wanted};
use skiff_plan::rules::{Headers, Request, Rules};
use skiff_plan::{lifecycle, retention, routes, service};
use skiff_types::{
    Condition, CpuUnits, DeploymentConfiguration, Group, Kind, MemorySize, Name, Namespace, NodeCapacity,
    NodeSpec, Overcommit, Placement, QualifiedName, Restart, StopCode, StoppedReason, Task, TaskDefinitionId,
    TaskId, TaskSize, TaskStatus,
};
use std::hint::black_box;

const NOW_MS: u64 = 1_700_000_000_000;

fn task(number: u64, status: TaskStatus) -> Task {
    let mut random = [0; 10];
    random[2..].copy_from_slice(&number.to_be_bytes());
    let stopped = status == TaskStatus::Stopped;
    let reason = StoppedReason { code: StopCode::Exited, message: String::new() };
    Task {
        status,
        stop: stopped.then_some(reason),
        start_after_ms: 0,
        started_at_ms: Some(NOW_MS),
        ready_at_ms: Some(NOW_MS),
        stopped_at_ms: stopped.then_some(NOW_MS + number),
        ..Task::new(
            TaskId::from_parts(NOW_MS, random),
            Namespace::default(),
            Group::Service("hello".parse().expect("a name")),
            "hello:1".parse().expect("a definition"),
            NOW_MS,
        )
    }
}

fn services(criterion: &mut Criterion) {
    for count in [1, 100, 1_000_u32] {
        let tasks: Vec<Task> =
            (0..u64::from(count)).map(|number| task(number, TaskStatus::Running)).collect();
        let tasks: Vec<&Task> = tasks.iter().collect();
        let name: Name = "hello".parse().expect("a name");
        let [first, second] =
            ["hello:1", "hello:2"].map(|text| text.parse::<TaskDefinitionId>().expect("a definition"));
        let configuration = DeploymentConfiguration::default();
        let wanted = service::Wanted {
            name: &name,
            definition: &first,
            completed: None,
            blue: None,
            desired: count,
            configuration: &configuration,
            is_paused: false,
            is_failed: false,
        };
        let known = service::Known::default();
        let rolled = service::Wanted { definition: &second, completed: Some(&first), ..wanted };
        criterion.bench_function(&format!("plan/a service at rest, {count} tasks"), |bencher| {
            bencher.iter(|| service::plan(black_box(&wanted), &known, &tasks, NOW_MS));
        });
        criterion.bench_function(&format!("plan/a service that rolls, {count} tasks"), |bencher| {
            bencher.iter(|| service::plan(black_box(&rolled), &known, &tasks, NOW_MS));
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
            wishes: routes::Wishes { hosts: &[], paths: &[], listen: &[], test_hosts: &[] },
            created_at_ms: NOW_MS,
            targets: vec![TaskId::from_parts(NOW_MS, [1; 10])],
            split: None,
            wakes: false,
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

/// Conditions by which rules differ from each other; `{}` is a rule's number.
const KINDS: &[(&str, &[&str])] = &[
    ("host", &["host=t{}.example.com"]),
    ("the end of the host", &["host=*.t{}.example.com"]),
    ("the beginning of the host", &["host=www.t{}.*"]),
    ("path", &["path=/api/t{}/users"]),
    ("the beginning of the path", &["path=/api/t{}/*"]),
    ("header", &["header:x-tenant=t{}"]),
    ("the beginning of a header", &["header:x-user=t{}/*"]),
    ("method", &["method=M{}"]),
    ("query", &["query:tenant=t{}"]),
    ("the value of any parameter", &["query=t{}"]),
    ("source", &["source=10.{}"]),
    ("host, path and method", &["host=t{}.example.com", "path=/api/*", "method=GET,POST"]),
];

/// The headers of a request.
struct Pairs(Vec<(&'static str, String)>);

impl Headers for Pairs {
    fn any(&self, name: &str, found: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        self.0.iter().any(|(other, value)| *other == name && found(value.as_bytes()))
    }
}

/// The conditions of one rule of a kind.
fn conditions(kind: &[&str], number: u32) -> Vec<Condition> {
    let address = format!("10.0.{}.{}", number / 256, number % 256);
    let text = |condition: &&str| {
        condition.replace("10.{}", &address).replace("{}", &number.to_string()).parse().expect("a condition")
    };
    kind.iter().map(text).collect()
}

fn rules_of(kind: &[&str], count: u32) -> Rules<u32> {
    let mut rules = Rules::new();
    for number in 1..=count {
        let name = format!("default/r{number}").parse().expect("a name");
        let priority = number.try_into().expect("a priority");
        rules.set(name, priority, &conditions(kind, number), number);
    }
    rules
}

/// A request that the last rule takes.
fn choosing(criterion: &mut Criterion) {
    for (what, kind) in KINDS {
        let (is_mixed, is_below) = (what.contains("and method"), what.contains("of the host"));
        for count in [10, 10_000] {
            let rules = rules_of(kind, count);
            let method = if is_mixed { "GET".to_owned() } else { format!("M{count}") };
            let host = format!("{}t{count}.example.com", if is_below { "www." } else { "" });
            let path = format!("/api/t{count}/users");
            let query = format!("page=2&tenant=t{count}");
            let user = ("x-user", format!("t{count}/someone"));
            let headers = Pairs(vec![("accept", "*/*".to_owned()), ("x-tenant", format!("t{count}")), user]);
            let request = Request {
                host: &host,
                path: &path,
                query: Some(&query),
                method: &method,
                source: format!("10.0.{}.{}", count / 256, count % 256).parse().expect("an address"),
                headers: &headers,
            };
            assert_eq!(rules.choose(&request), Some(&count), "{what}");
            criterion.bench_function(&format!("plan/choose among {count} rules by {what}"), |bencher| {
                bencher.iter(|| black_box(&rules).choose(black_box(&request)));
            });
        }
    }
}

/// One of many rules is set anew, by some of the kinds.
fn changing(criterion: &mut Criterion) {
    const COUNT: u32 = 10_000;
    for (what, kind) in KINDS.iter().step_by(5) {
        let mut rules = rules_of(kind, COUNT);
        let name: QualifiedName = format!("default/r{}", COUNT / 2).parse().expect("a name");
        let priority = (COUNT / 2).try_into().expect("a priority");
        let conditions = conditions(kind, COUNT / 2);
        criterion.bench_function(&format!("plan/change one of {COUNT} rules by {what}"), |bencher| {
            bencher.iter(|| rules.set(name.clone(), priority, black_box(&conditions), COUNT));
        });
    }
}

/// Groups of a hundred tasks each that are placed, and the nodes that they are placed on.
const GROUPS: u64 = 1_000;
const TASKS_PER_GROUP: u64 = 100;
const NODES: u64 = 1_000;

/// A cluster in three zones without a task.
fn cluster() -> Nodes {
    let mut nodes = Nodes::new();
    for number in 0..NODES {
        let zone = (b'a' + (number % 3) as u8) as char;
        nodes.put(NodeSpec {
            id: format!("node-{number}").parse().expect("an id"),
            attributes: [("zone".parse().expect("a name"), zone.to_string().parse().expect("a value"))]
                .into(),
            capacity: NodeCapacity { cpu_units: 16_384, memory: MemorySize::from_mib(65_536), tasks: 200 },
            overcommit: Overcommit::default(),
            is_draining: false,
        });
    }
    nodes
}

/// The tasks of a group.
fn members(group: u64) -> Vec<TaskId> {
    let numbers = group * TASKS_PER_GROUP..(group + 1) * TASKS_PER_GROUP;
    numbers.map(|number| task(number, TaskStatus::Running).id).collect()
}

/// All groups, with their tasks.
fn groups() -> Vec<(TaskGroup, Vec<TaskId>)> {
    let group = |number| {
        let name = format!("s{number}").parse().expect("a name");
        let group = TaskGroup { namespace: Namespace::default(), group: Group::Service(name) };
        (group, members(number))
    };
    (0..GROUPS).map(group).collect()
}

fn size() -> TaskSize {
    TaskSize { cpu: CpuUnits::new(128).expect("a size"), memory: MemorySize::from_mib(256) }
}

fn placing(criterion: &mut Criterion) {
    let (groups, size) = (groups(), size());
    for strategies in [&["spread(attribute:zone)", "spread(instance)"][..], &["binpack(memory)"], &["random"]]
    {
        let what = strategies.join(", ");
        let placement = Placement {
            constraints: vec!["memberOf(attribute:zone in [a, b, c])".parse().expect("a constraint")],
            strategies: strategies.iter().map(|text| text.parse().expect("a strategy")).collect(),
            ..Placement::default()
        };
        let place_all = |nodes: &mut Nodes| {
            for (group, tasks) in &groups {
                let wanted = Wanted { group, size, placement: &placement };
                let places = placement::place_all(&wanted, tasks, 7, nodes);
                assert_eq!(places.no_place, None);
            }
        };
        criterion.bench_function(&format!("plan/place 100000 tasks on 1000 nodes, {what}"), |bencher| {
            let place = |mut nodes| {
                place_all(&mut nodes);
                nodes
            };
            bencher.iter_batched(cluster, place, criterion::BatchSize::LargeInput);
        });
        let mut nodes = cluster();
        place_all(&mut nodes);
        for count in [1, GROUPS as usize] {
            let name = format!("plan/place {count} of 100000 tasks anew on 1000 nodes, {what}");
            criterion.bench_function(&name, |bencher| {
                bencher.iter(|| {
                    for (group, tasks) in &groups[..count] {
                        nodes.release(&tasks[0]);
                        let wanted = Wanted { group, size, placement: &placement };
                        placement::place(&wanted, tasks[0], 7, &mut nodes).expect("there is room");
                    }
                });
            });
        }
    }
}

/// What each of some services is to do, and a place for each task that it starts: as many as were started.
fn pass(
    wanted: &service::Wanted<'_>,
    services: &[(&TaskGroup, Vec<Task>)],
    placement: &Placement,
    nodes: &mut Nodes,
) -> usize {
    let (known, size, mut started) = (service::Known::default(), size(), 0);
    for (group, tasks) in services {
        let tasks: Vec<&Task> = tasks.iter().collect();
        for action in service::plan(wanted, &known, &tasks, NOW_MS).actions {
            assert!(matches!(action, service::Action::Start { .. }), "{action:?}");
            nodes.release(&tasks[0].id);
            let wanted = Wanted { group, size, placement };
            placement::place(&wanted, tasks[0].id, 7, nodes).expect("there is room");
            started += 1;
        }
    }
    started
}

fn passes(criterion: &mut Criterion) {
    let groups = groups();
    let name: Name = "hello".parse().expect("a name");
    let definition: TaskDefinitionId = "hello:1".parse().expect("a definition");
    let (configuration, placement) = (DeploymentConfiguration::default(), Placement::default());
    let wanted = service::Wanted {
        name: &name,
        definition: &definition,
        completed: None,
        blue: None,
        desired: TASKS_PER_GROUP as u32,
        configuration: &configuration,
        is_paused: false,
        is_failed: false,
    };
    for (what, first_is) in [("at rest", TaskStatus::Running), ("that each lost a task", TaskStatus::Stopped)]
    {
        let members_of = |number: u64| -> Vec<Task> {
            let first = number * TASKS_PER_GROUP;
            let status = |number| if number == first { first_is } else { TaskStatus::Running };
            (first..first + TASKS_PER_GROUP).map(|number| task(number, status(number))).collect()
        };
        let services: Vec<(&TaskGroup, Vec<Task>)> =
            groups.iter().zip(0..).map(|((group, _), number)| (group, members_of(number))).collect();
        let mut nodes = cluster();
        for (group, tasks) in &groups {
            let wanted = Wanted { group, size: size(), placement: &placement };
            assert_eq!(placement::place_all(&wanted, tasks, 7, &mut nodes).no_place, None);
        }
        for count in [1, GROUPS as usize] {
            let services = &services[..count];
            let lost = if first_is == TaskStatus::Stopped { count } else { 0 };
            assert_eq!(pass(&wanted, services, &placement, &mut nodes), lost);
            let tasks = count as u64 * TASKS_PER_GROUP;
            let name =
                format!("plan/a pass over {count} services {what}, {tasks} of 100000 tasks on {NODES} nodes");
            criterion.bench_function(&name, |bencher| {
                bencher.iter(|| pass(black_box(&wanted), services, &placement, &mut nodes));
            });
        }
    }
}

criterion_group!(benches, services, tasks, routing_tables, kept, choosing, changing, placing, passes);
criterion_main!(benches);

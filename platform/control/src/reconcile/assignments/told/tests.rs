//! What the node was told, change by change, against what it would be told at once.

use super::*;
use crate::model::Definition;
use crate::view::Viewed;
use proptest::prelude::*;
use skiff_api::LimitsSpec;
use skiff_ports::runtime::ComponentReport;
use skiff_types::{
    Command, Group, Limits, ServiceSpec, StopCode, StoppedReason, Task, TaskDefinition, WasiGeneration,
};
use std::collections::BTreeMap;

const SERVICES: u8 = 5;
const DEFINITIONS: u8 = 3;

/// What a node knows that was told these changes.
#[derive(Debug, Default, PartialEq)]
struct Node {
    tasks: BTreeMap<TaskId, DesiredTask>,
    routes: BTreeMap<QualifiedName, DesiredRoute>,
}

impl Node {
    fn take_in(&mut self, change: DesiredChange) {
        for task in change.tasks {
            assert!(self.tasks.insert(task.id, task).is_none(), "told to run what runs");
        }
        self.routes.extend(change.routes.into_iter().map(|route| (route.service.clone(), route)));
        for service in change.withdrawn {
            assert!(self.routes.remove(&service).is_some(), "told to withdraw what is not routed");
        }
        for task in change.ended {
            assert!(self.tasks.remove(&task).is_some(), "told to end what does not run");
        }
        for route in self.routes.values() {
            assert!(route.targets.iter().all(|task| self.tasks.contains_key(task)), "routed to nowhere");
        }
    }

    /// That a host and path leads to one service.
    fn check(&self) {
        let mut taken = BTreeSet::new();
        for route in self.routes.values() {
            let pairs = route.hosts.iter().flat_map(|host| route.paths.iter().map(move |path| (host, path)));
            pairs.for_each(|pair| assert!(taken.insert(pair), "{pair:?} leads to two services"));
        }
    }
}

/// The view, changed as the store would change it.
#[derive(Default)]
struct World {
    view: View,
    revision: u64,
    prepared: BTreeSet<Digest>,
}

impl World {
    fn put<T: Viewed>(&mut self, object: T) {
        self.revision += 1;
        self.view.apply(&object.key(), self.revision, Some(Arc::new(object)));
    }

    fn delete<T: Viewed>(&mut self, object: &T) {
        self.revision += 1;
        self.view.apply::<T>(&object.key(), self.revision, None);
    }

    fn tell(&mut self, told: &mut Told, node: &mut Node) {
        let prepared = self.prepared.clone();
        let prepared = |component: &Digest| prepared.contains(component);
        for owner in told.owners_to_look_at(&mut self.view, &prepared) {
            // One at a time, which is the hardest.
            node.take_in(told.look(&self.view, &[owner], &prepared));
        }
        node.check();
    }
}

fn component(number: u8) -> Digest {
    Digest::from_bytes([number; 32])
}

fn definition(number: u8) -> Definition {
    // The last is no `http` one: its services are not routed.
    let kind = if number + 1 == DEFINITIONS { Kind::Command } else { Kind::Http };
    let id = definition_id(number);
    Definition {
        namespace: Namespace::default(),
        definition: TaskDefinition {
            id,
            image: "image:1".parse().unwrap(),
            component: component(number),
            kind,
            generation: WasiGeneration::P2,
            limits: Limits::default(),
            command: Command::default(),
            snapshot: false,
            created_at_ms: 0,
        },
        requested: LimitsSpec::default(),
        report: ComponentReport {
            initialization: None,
            kind,
            generation: WasiGeneration::P2,
            imports: vec![],
            exports: vec![],
            minimum_memory_bytes: 0,
            component_bytes: 0,
            native_bytes: 0,
            compile_ms: 0,
        },
        deregistered: false,
    }
}

fn definition_id(number: u8) -> TaskDefinitionId {
    format!("d{number}:1").parse().unwrap()
}

fn service(number: u8, defined: u8, hosts: &[u8], paths: &[u8]) -> Service {
    Service {
        namespace: Namespace::default(),
        spec: ServiceSpec {
            name: format!("s{number}").parse().unwrap(),
            definition: definition_id(defined),
            desired: 1,
            hosts: hosts.iter().map(|host| format!("h{host}").parse().unwrap()).collect(),
            paths: paths.iter().map(|path| format!("/{path}").parse().unwrap()).collect(),
        },
        created_at_ms: u64::from(number % 3),
        updated_at_ms: 0,
        deployed_at_ms: 0,
        previous: None,
        removed: defined == 0 && number == 0,
    }
}

fn task(number: u8, status: TaskStatus, defined: u8, stops: bool) -> TaskObject {
    let name = format!("s{}", number % SERVICES).parse().unwrap();
    let kind = definition(defined).definition.kind;
    TaskObject {
        task: Task {
            id: TaskId::from_parts(u64::from(number), [number; 10]),
            namespace: Namespace::default(),
            definition: definition_id(defined),
            group: if number % 4 == 3 { Group::Family(name) } else { Group::Service(name) },
            overrides: (number == 7).then(Command::default),
            status,
            stop: stops.then(|| StoppedReason { code: StopCode::UserInitiated, message: String::new() }),
            exit_code: None,
            attempt: 0,
            created_at_ms: 0,
            start_after_ms: 0,
            started_at_ms: None,
            stopped_at_ms: None,
        },
        kind,
        updated_at_ms: 0,
    }
}

#[derive(Debug, Clone)]
enum Event {
    Service(u8, u8, Vec<u8>, Vec<u8>),
    NoService(u8),
    Task(u8, TaskStatus, u8, bool),
    NoTask(u8),
    Definition(u8),
    NoDefinition(u8),
    Prepared(u8),
    Tell,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    use TaskStatus::{Activating, Deactivating, Deprovisioning, Pending, Running};
    // Each host and path once, as the API sees to.
    let few = || prop::sample::subsequence(vec![0_u8, 1, 2], 0..3);
    let status =
        prop::sample::select(vec![Pending, Activating, Running, Running, Deactivating, Deprovisioning]);
    let defined = || 0..DEFINITIONS;
    let event = prop_oneof![
        4 => (0..SERVICES, defined(), few(), few()).prop_map(|(n, d, hosts, paths)| Event::Service(n, d, hosts, paths)),
        1 => (0..SERVICES).prop_map(Event::NoService),
        // A task keeps its definition.
        6 => (0..9_u8, status, any::<bool>()).prop_map(|(n, status, stops)| Event::Task(n, status, n % DEFINITIONS, stops)),
        1 => (0..9_u8).prop_map(Event::NoTask),
        3 => defined().prop_map(Event::Definition),
        1 => defined().prop_map(Event::NoDefinition),
        2 => defined().prop_map(Event::Prepared),
        4 => Just(Event::Tell),
    ];
    prop::collection::vec(event, 0..80)
}

proptest! {
    #[test]
    fn what_is_told_change_by_change_is_what_is_told_at_once(events in events()) {
        let (mut world, mut told, mut node) = (World::default(), Told::default(), Node::default());
        for event in events {
            match event {
                Event::Service(n, d, hosts, paths) => world.put(service(n, d, &hosts, &paths)),
                Event::NoService(n) => world.delete(&service(n, 0, &[], &[])),
                Event::Task(n, status, d, stops) => world.put(task(n, status, d, stops)),
                Event::NoTask(n) => world.delete(&task(n, TaskStatus::Running, 0, false)),
                Event::Definition(n) => world.put(definition(n)),
                Event::NoDefinition(n) => world.delete(&definition(n)),
                Event::Prepared(n) => drop(world.prepared.insert(component(n))),
                Event::Tell => world.tell(&mut told, &mut node),
            }
        }
        world.tell(&mut told, &mut node);
        let (mut afresh, mut at_once) = (Told::default(), Node::default());
        afresh.doubt_all();
        world.tell(&mut afresh, &mut at_once);
        prop_assert_eq!(node, at_once);
    }
}

#[test]
fn a_change_is_told_once_and_tells_of_nothing_else() {
    let (mut world, mut told, mut node) = (World::default(), Told::default(), Node::default());
    world.put(definition(0));
    world.prepared.insert(component(0));
    for number in 0..4 {
        world.put(service(number + 1, 0, &[], &[]));
    }
    world.put(task(1, TaskStatus::Running, 0, false));
    world.put(task(2, TaskStatus::Running, 0, false));
    world.tell(&mut told, &mut node);
    assert_eq!((node.tasks.len(), node.routes.len()), (2, 4));
    let specs: Vec<_> = node.tasks.values().map(|task| task.spec.clone()).collect();
    assert!(Arc::ptr_eq(&specs[0], &specs[1]), "tasks that run the same share it");

    world.put(task(1, TaskStatus::Running, 0, true));
    let prepared = |_: &Digest| true;
    let owners = told.owners_to_look_at(&mut world.view, &prepared);
    assert_eq!(owners.len(), 1);
    let change = told.look(&world.view, &owners, &prepared);
    assert_eq!((change.tasks.len(), change.ended.len(), change.routes.len()), (0, 0, 1));
    assert!(change.routes[0].targets.is_empty());
    assert!(told.owners_to_look_at(&mut world.view, &prepared).is_empty());
    told.doubt_all();
    let owners = told.owners_to_look_at(&mut world.view, &prepared);
    assert!(told.look(&world.view, &owners, &prepared).is_empty(), "a look at everything finds nothing new");
}

//! Placement over several nodes: where tasks go, what happens where nothing fits, and what becomes of them when their node
//! goes.

use crate::fixture::{Disk, Platform, name, namespace, one_off, registration, until, wanted};
use skiff_api::{
    ErrorCode, PageQuery, PutDeploymentConfiguration, PutPlacement, PutService, RegisterTaskDefinition,
    RunTask, Task,
};
use skiff_ports::nodes::Nodes;
use skiff_types::{
    MemorySize, NetworkSpec, NodeCapacity, NodeSpec, Overcommit, Restart, SchedulingStrategy, StopCode,
    StrategyName, TaskStatus,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tokio::sync::watch;

/// Nodes that a test sets.
pub(crate) struct SetNodes(watch::Sender<Arc<Vec<NodeSpec>>>);

impl SetNodes {
    pub(crate) fn of(nodes: Vec<NodeSpec>) -> Self {
        Self(watch::Sender::new(Arc::new(nodes)))
    }

    fn set(&self, nodes: Vec<NodeSpec>) {
        self.0.send_replace(Arc::new(nodes));
    }
}

impl Nodes for SetNodes {
    fn watch(&self) -> watch::Receiver<Arc<Vec<NodeSpec>>> {
        self.0.subscribe()
    }
}

/// A node with room for all that a test may want.
pub(crate) fn large_node(id: &str) -> NodeSpec {
    NodeSpec {
        id: id.parse().unwrap(),
        attributes: Default::default(),
        capacity: NodeCapacity { cpu_units: 1 << 30, memory: MemorySize::from_mib(1 << 30), tasks: 1 << 20 },
        overcommit: Overcommit::default(),
        is_draining: false,
    }
}

fn in_zone(id: &str, zone: &str) -> NodeSpec {
    NodeSpec { attributes: [("zone".parse().unwrap(), zone.parse().unwrap())].into(), ..large_node(id) }
}

/// A node with room for so many tasks of 128 MiB.
fn small_node(id: &str, tasks: u64) -> NodeSpec {
    let capacity = NodeCapacity { memory: MemorySize::from_mib(128 * tasks), ..large_node(id).capacity };
    NodeSpec { capacity, ..large_node(id) }
}

async fn on(nodes: Vec<NodeSpec>) -> Platform {
    let disk = Disk { nodes: Arc::new(SetNodes::of(nodes)), ..Disk::new() };
    Platform::start_on(disk).await
}

fn placement(constraints: &[&str], strategies: &[&str]) -> PutPlacement {
    PutPlacement {
        constraints: Some(constraints.iter().map(|text| text.parse().unwrap()).collect()),
        strategies: Some(strategies.iter().map(|text| text.parse().unwrap()).collect()),
        scheduling: None,
    }
}

impl Platform {
    async fn deploy_on(&self, service: &str, desired: u32, placement: PutPlacement) {
        self.push(service, "http").await;
        let definition = self.register(service, service).await.id.to_string();
        let request = PutService { placement: Some(placement), ..wanted(&definition, desired) };
        self.client.put_service(&namespace(), &name(service), &request, None).await.unwrap();
    }

    /// How many tasks of a service run on which node.
    async fn spread(&self, service: &str) -> BTreeMap<String, usize> {
        let mut count = BTreeMap::new();
        for task in self.running(service).await {
            *count.entry(task.node.expect("it was placed").to_string()).or_default() += 1;
        }
        count
    }

    async fn spread_is(&self, service: &str, expected: &[(&str, usize)]) {
        let expected: BTreeMap<String, usize> =
            expected.iter().map(|(node, tasks)| ((*node).to_owned(), *tasks)).collect();
        until(&format!("{service} runs on {expected:?}"), || async {
            (self.spread(service).await == expected).then_some(())
        })
        .await;
    }

    /// What a service's events say of places, the newest first.
    async fn failures(&self, service: &str) -> Vec<String> {
        let events = self.service(service).await.status.events.into_iter().map(|event| event.message);
        events.filter(|message| message.contains("no node has a place")).collect()
    }

    async fn fails(&self, service: &str, count: usize) -> String {
        until(&format!("{service} says {count} times that there is no place"), || async {
            let failures = self.failures(service).await;
            (failures.len() == count).then(|| failures[0].clone())
        })
        .await
    }
}

#[tokio::test]
async fn tasks_are_spread_over_zones_and_packed_where_that_is_asked_for() {
    let platform = on(vec![in_zone("n1", "a"), in_zone("n2", "a"), in_zone("n3", "b")]).await;
    platform.deploy_on("spread", 4, placement(&[], &["spread(attribute:zone)", "spread(instance)"])).await;
    platform.spread_is("spread", &[("n1", 1), ("n2", 1), ("n3", 2)]).await;
    platform
        .deploy_on("packed", 4, placement(&["memberOf(attribute:zone == a)"], &["binpack(memory)"]))
        .await;
    platform.completed("packed").await;
    let nodes = platform.spread("packed").await;
    assert!(nodes.len() == 1 && !nodes.contains_key("n3"), "{nodes:?}");

    let shown = platform.service("packed").await.spec.placement;
    assert_eq!(shown.constraints[0].to_string(), "memberOf(attribute:zone == a)");
    assert_eq!(shown.strategies[0].to_string(), "binpack(memory)");
    for task in platform.running("spread").await {
        let told = platform.node.desired().tasks.into_iter().find(|told| told.id == task.id).unwrap();
        assert_eq!(Some(told.node), task.node);
    }
    platform.assert_node_is_content();
}

#[tokio::test]
async fn addresses_are_of_the_part_that_the_tasks_node_has_and_stay_so_over_a_restart() {
    let nodes = ["n1", "n2", "n3"].map(large_node).to_vec();
    let network = NetworkSpec { node_prefix: 24, ..NetworkSpec::default() };
    let disk = Disk { nodes: Arc::new(SetNodes::of(nodes)), network, ..Disk::new() };
    let mut platform = Platform::start_on(disk).await;
    let parts = |tasks: &[Task]| {
        let part = |task: &Task| (task.node.clone().unwrap(), task.ipv4.unwrap().octets()[2]);
        tasks.iter().map(part).collect::<BTreeSet<_>>()
    };
    platform.deploy_on("web", 6, placement(&[], &["spread(instance)"])).await;
    platform.completed("web").await;
    let before = platform.running("web").await;
    assert_eq!(parts(&before).len(), 3, "each node has one part");
    let indexes: BTreeSet<u8> = parts(&before).into_iter().map(|(_, part)| part).collect();
    assert_eq!(indexes, BTreeSet::from([0, 1, 2]), "and no two have the same");
    let addresses: BTreeSet<_> = before.iter().map(|task| task.ipv4.unwrap()).collect();
    assert_eq!(addresses.len(), 6);

    platform = Platform::start_on(platform.stop().await).await;
    platform.completed("web").await;
    let scaled = wanted("web", 12);
    platform.client.put_service(&namespace(), &name("web"), &scaled, None).await.unwrap();
    platform.completed("web").await;
    let after = platform.running("web").await;
    assert_eq!(parts(&after), parts(&before));
    let addresses: BTreeSet<_> = after.iter().map(|task| task.ipv4.unwrap()).collect();
    assert_eq!(addresses.len(), 12);
}

#[tokio::test]
async fn the_part_of_a_node_that_is_gone_goes_to_another_once_nobody_has_an_address_of_it() {
    let network = NetworkSpec { ipv4: "10.1.0.0/24".parse().unwrap(), ..NetworkSpec::default() };
    let nodes = Arc::new(SetNodes::of(vec![in_zone("n1", "a"), in_zone("n2", "b")]));
    let platform = Platform::start_on(Disk { nodes, network, ..Disk::new() }).await;
    platform.push("job", "command").await;
    let job = platform.register("job", "job").await.id.to_string();
    let [in_a, in_b] = ["a", "b"].map(|zone| RunTask {
        placement: Some(placement(&[&format!("memberOf(attribute:zone == {zone})")], &[])),
        ..one_off(&job)
    });
    let first = platform.client.run_task(&namespace(), &in_a).await.unwrap();
    assert_eq!(first.node, Some("n1".parse().unwrap()));
    // There is one part, and it is in use.
    let error = platform.client.run_task(&namespace(), &in_b).await.unwrap_err();
    assert!(error.to_string().contains("has room for 1 nodes"), "{error}");
    platform.disk.nodes.set(vec![in_zone("n2", "b")]);
    platform.reaches(first.id, TaskStatus::Stopped).await;
    let second = until("the second has the part", || async {
        platform.client.run_task(&namespace(), &in_b).await.ok()
    })
    .await;
    assert_eq!(second.node, Some("n2".parse().unwrap()));
    assert_ne!(second.ipv4, first.ipv4, "what came back a moment ago is nobody's");
}

#[tokio::test]
async fn where_nothing_fits_the_service_says_why_once_and_is_tried_again_when_a_node_comes() {
    let platform = on(vec![in_zone("n1", "a")]).await;
    platform.deploy_on("web", 2, placement(&["memberOf(attribute:zone == b)"], &[])).await;
    let why = platform.fails("web", 1).await;
    assert!(why.contains("1 node: ") && why.contains("zone"), "{why}");
    assert!(platform.tasks(Some("web")).await.is_empty(), "no task is made for which there is no place");

    // Whatever else happens, for the same reason it is said once.
    platform.deploy_on("other", 1, placement(&[], &[])).await;
    platform.completed("other").await;
    platform.disk.nodes.set(vec![in_zone("n1", "a"), in_zone("n2", "a")]);
    until("both nodes are known", || async {
        let nodes = platform.client.list_nodes(&PageQuery::default()).await.unwrap().items;
        (nodes.len() == 2).then_some(())
    })
    .await;
    assert_eq!(platform.failures("web").await.len(), 1);

    let nodes = vec![in_zone("n1", "a"), in_zone("n2", "a"), in_zone("n3", "b")];
    platform.disk.nodes.set(nodes);
    platform.spread_is("web", &[("n3", 2)]).await;
    platform.completed("web").await;
    assert_eq!(platform.failures("web").await.len(), 1);
    platform.assert_node_is_content();
}

#[tokio::test]
async fn a_full_node_takes_the_next_task_as_soon_as_something_is_freed() {
    let platform = on(vec![small_node("n1", 3)]).await;
    platform.deploy("first", "http", 2).await;
    platform.completed("first").await;
    platform.deploy("second", "http", 2).await;
    let why = platform.fails("second", 1).await;
    assert!(why.contains("not enough memory (needs 128MiB"), "{why}");
    platform.spread_is("second", &[("n1", 1)]).await;

    // Who runs a task by itself is told.
    platform.push("job", "command").await;
    let job = platform.register("job", "job").await.id.to_string();
    let error = platform.client.run_task(&namespace(), &one_off(&job)).await.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::ResourceExhausted));
    assert!(error.to_string().contains("not enough memory"), "{error}");

    let node = platform.client.list_nodes(&PageQuery::default()).await.unwrap().items.remove(0);
    assert_eq!((node.used.tasks, node.used.memory_bytes), (3, 3 * (128 << 20)));
    assert_eq!(node.room, node.capacity);

    platform.client.delete_service(&namespace(), &name("first"), None).await.unwrap();
    platform.gone("first").await;
    platform.spread_is("second", &[("n1", 2)]).await;
    let task = platform.client.run_task(&namespace(), &one_off(&job)).await.unwrap();
    assert_eq!(task.node, Some("n1".parse().unwrap()));
}

#[tokio::test]
async fn no_node_has_two_tasks_that_want_one_each() {
    let platform = on(["n1", "n2"].map(large_node).to_vec()).await;
    platform.deploy_on("web", 3, placement(&["distinctInstance"], &[])).await;
    let why = platform.fails("web", 1).await;
    assert!(why.contains("2 nodes: a task of the same group runs there"), "{why}");
    platform.spread_is("web", &[("n1", 1), ("n2", 1)]).await;
}

#[tokio::test]
async fn what_was_on_a_node_that_is_gone_ends_and_is_replaced_elsewhere() {
    let platform = on(["n1", "n2"].map(large_node).to_vec()).await;
    platform.deploy_on("web", 4, placement(&[], &["spread(instance)"])).await;
    platform.spread_is("web", &[("n1", 2), ("n2", 2)]).await;
    platform.disk.nodes.set(vec![large_node("n2"), large_node("n3")]);
    platform.spread_is("web", &[("n2", 2), ("n3", 2)]).await;
    let lost: Vec<Task> = platform.tasks(Some("web")).await;
    let lost: Vec<&Task> = lost.iter().filter(|task| task.stop_code == Some(StopCode::NodeLost)).collect();
    assert_eq!(lost.len(), 2, "{lost:?}");
    for task in lost {
        assert_eq!(task.node, Some("n1".parse().unwrap()));
        let reason = task.stopped_reason.clone().unwrap();
        assert!(reason.contains("the node n1 is gone"), "{reason}");
    }
    assert_eq!(platform.service("web").await.status.restarts, 2);
    platform.assert_node_is_content();
}

#[tokio::test]
async fn a_one_off_task_that_begins_anew_goes_to_another_node_under_another_address() {
    let platform = on(["n1"].map(large_node).to_vec()).await;
    platform.push("job", "command").await;
    let request = RegisterTaskDefinition { restart: Restart::Always, ..registration("job", "job") };
    let definition = platform.client.register_task_definition(&namespace(), &request).await.unwrap();
    let task = platform.run(&definition.id.to_string()).await;
    let before = platform.reaches(task.id, TaskStatus::Running).await;
    platform.disk.nodes.set(vec![]);
    until("it waits for a node", || async {
        let task = platform.client.get_task(&namespace(), task.id).await.unwrap();
        (task.stop_code == Some(StopCode::NodeLost)).then_some(())
    })
    .await;
    platform.disk.nodes.set(vec![large_node("n2")]);
    let after = until("it runs anew", || async {
        let task = platform.client.get_task(&namespace(), task.id).await.unwrap();
        (task.restarts == 1 && task.status == TaskStatus::Running).then_some(task)
    })
    .await;
    assert_eq!(after.node, Some("n2".parse().unwrap()));
    assert_eq!(after.last_stop_code, Some(StopCode::NodeLost));
    assert_ne!(after.ipv4, before.ipv4);
}

#[tokio::test]
async fn a_service_that_has_one_task_on_each_node_follows_the_nodes() {
    let platform = on(vec![in_zone("n1", "a"), in_zone("n2", "b")]).await;
    let on_each = PutPlacement { scheduling: Some(SchedulingStrategy::Daemon), ..PutPlacement::default() };
    platform.push("agent", "http").await;
    let definition = platform.register("agent", "agent").await.id.to_string();
    let request = PutService { placement: Some(on_each), desired: None, ..wanted(&definition, 1) };
    let client = &platform.client;
    let put = |request: PutService| async move {
        client.put_service(&namespace(), &name("agent"), &request, None).await
    };
    let counted = put(PutService { desired: Some(3), ..request.clone() }).await.unwrap_err();
    assert!(counted.to_string().contains("leave out desired"), "{counted}");
    let two_at_once =
        PutDeploymentConfiguration { max_percent: Some(200), ..PutDeploymentConfiguration::default() };
    let refused = put(PutService { deployment: Some(two_at_once), ..request.clone() }).await.unwrap_err();
    assert!(refused.to_string().contains("--max-percent 100"), "{refused}");
    let by_weight = PutDeploymentConfiguration {
        strategy: Some(StrategyName::Canary),
        ..PutDeploymentConfiguration::default()
    };
    let refused = put(PutService { deployment: Some(by_weight), ..request.clone() }).await.unwrap_err();
    assert!(refused.to_string().contains("CANARY needs two"), "{refused}");

    put(request).await.unwrap();
    platform.spread_is("agent", &[("n1", 1), ("n2", 1)]).await;
    let nodes = vec![in_zone("n1", "a"), in_zone("n2", "b"), in_zone("n3", "a")];
    platform.disk.nodes.set(nodes.clone());
    platform.spread_is("agent", &[("n1", 1), ("n2", 1), ("n3", 1)]).await;

    // Another revision never has two on one node.
    let second = platform.register("agent", "agent").await.id.to_string();
    put(PutService { desired: None, ..wanted(&second, 1) }).await.unwrap();
    platform.spread_is("agent", &[("n1", 1), ("n2", 1), ("n3", 1)]).await;

    let narrower = PutPlacement {
        constraints: Some(vec!["memberOf(attribute:zone == a)".parse().unwrap()]),
        ..PutPlacement::default()
    };
    put(PutService { placement: Some(narrower), desired: None, ..wanted(&second, 1) }).await.unwrap();
    platform.spread_is("agent", &[("n1", 1), ("n3", 1)]).await;
    assert_eq!(platform.completed("agent").await.spec.desired, 2);
    assert_eq!(
        platform.failures("agent").await,
        Vec::<String>::new(),
        "what makes room by itself is no failure"
    );
}

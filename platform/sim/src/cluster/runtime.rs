//! The runtime port, the nodes port and the meters, as one life of a control plane has them.

use super::{Behaviour, Cluster, Heard, Node, State};
use crate::life::Life;
use crate::options::Sabotage;
use async_trait::async_trait;
use skiff_control::{MeterReadings, Meters, NodeReading, Readings, TaskReading, WorkerState};
use skiff_ledger::Totals;
use skiff_ports::guest_deliveries::{
    CONSUMER_INTERFACE, DeliverError, GuestDelivery, GuestOutcome, MessageOutcome,
};
use skiff_ports::nodes::Nodes;
use skiff_ports::runtime::{
    ColdStart, ComponentReport, DesiredChange, DesiredRoute, ForwardError, NetworkDesired, PrepareError,
    Runtime, TargetReading, TaskEvent,
};
use skiff_ports::snapshot::Version;
use skiff_types::{
    Charge, Digest, Kind, Name, NodeId, NodeSpec, Program, QualifiedName, TaskId, WasiGeneration,
};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::RangeInclusive;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};

/// What a program's sandbox takes, in bytes.
const SANDBOX_BYTES: u64 = 1 << 20;
/// Making a program ready takes so long at most, in milliseconds.
const PREPARE_MOST_MS: u64 = 60;
/// How long a program works on a batch of messages, in milliseconds.
const WORK_MS: RangeInclusive<u64> = 20..=400;

/// The runtime port.
pub(crate) struct RuntimeOfLife {
    cluster: Arc<Cluster>,
    life: Arc<Life>,
    number: u64,
    events: tokio::sync::Mutex<mpsc::UnboundedReceiver<TaskEvent>>,
    wanted: tokio::sync::Mutex<mpsc::UnboundedReceiver<QualifiedName>>,
}

impl RuntimeOfLife {
    /// Has the platform begin anew.
    pub(crate) fn begin(cluster: Arc<Cluster>, life: Arc<Life>) -> Self {
        let Heard { life: number, of_tasks, of_services } = cluster.begin_life();
        let (events, wanted) = (tokio::sync::Mutex::new(of_tasks), tokio::sync::Mutex::new(of_services));
        Self { cluster, life, number, events, wanted }
    }

    /// Whether a task's node has it, and can be reached.
    fn is_served(&self, task: TaskId) -> bool {
        let (now_ms, state) = (self.cluster.clock.elapsed_ms(), self.cluster.state());
        let home = state.homes.get(&task).and_then(|node| state.nodes.get(node));
        let has_it = |node: &Node| node.cut_off_until_ms <= now_ms && node.tasks().any(|other| other == task);
        self.life.goes_on() && state.life == self.number && home.is_some_and(has_it)
    }

    fn has_acknowledged(&self, version: Version) -> bool {
        let state = self.cluster.state();
        let is_behind = |node: &Node| node.marks.front().is_some_and(|(_, of)| *of <= version);
        state.life == self.number && !state.nodes.values().any(is_behind)
    }
}

#[async_trait]
impl Runtime for RuntimeOfLife {
    fn assign(&self, change: DesiredChange) -> Version {
        let mut state = self.cluster.state();
        if !self.life.goes_on() || state.life != self.number {
            return state.version;
        }
        self.cluster.assign(&mut state, change)
    }

    async fn acknowledged(&self, version: Version) {
        loop {
            let moved = self.cluster.acknowledged.get();
            if self.life.goes_on() && self.has_acknowledged(version) {
                return;
            }
            if self.cluster.sabotage == Some(Sabotage::DeafWorkers) {
                return;
            }
            self.cluster.acknowledged.reached(moved + 1).await;
        }
    }

    async fn next_event(&self) -> TaskEvent {
        let event = self.events.lock().await.recv().await;
        match event.filter(|_| self.life.goes_on()) {
            Some(event) => event,
            None => std::future::pending().await,
        }
    }

    async fn next_wanted(&self) -> QualifiedName {
        let wanted = self.wanted.lock().await.recv().await;
        match wanted.filter(|_| self.life.goes_on()) {
            Some(wanted) => wanted,
            None => std::future::pending().await,
        }
    }

    async fn prepare(&self, program: &Program) -> Result<ComponentReport, PrepareError> {
        let ms = self.cluster.dice.number(0..=PREPARE_MOST_MS);
        tokio::time::sleep(Duration::from_millis(ms)).await;
        let component = self.cluster.images.component(&program.component);
        let component = component.ok_or(PrepareError::Missing(program.component))?;
        let text = String::from_utf8_lossy(&component);
        let behaviour = Behaviour::read(&text)
            .ok_or_else(|| PrepareError::Refused("it is no component of this simulation".to_owned()))?;
        self.cluster.state().behaviours.insert(program.key(), behaviour);
        Ok(ComponentReport {
            kind: if behaviour.is_http { Kind::Http } else { Kind::Command },
            generation: WasiGeneration::P2,
            imports: Vec::new(),
            // What answers requests takes messages as well.
            exports: if behaviour.is_http { vec![CONSUMER_INTERFACE.to_owned()] } else { Vec::new() },
            minimum_memory_bytes: SANDBOX_BYTES,
            component_bytes: component.len() as u64,
            native_bytes: 1,
            compile_ms: ms,
            initialization: None,
        })
    }

    fn outstanding(&self, task: TaskId) -> u64 {
        let state = self.cluster.state();
        let node = state.homes.get(&task).and_then(|node| state.nodes.get(node));
        node.map_or(0, |node| node.desk.outstanding(task))
    }

    fn target_health(&self, _: &QualifiedName) -> Vec<TargetReading> {
        Vec::new()
    }

    fn listener_problem(&self, _: &Name) -> Option<String> {
        None
    }

    async fn keep_native(&self, _: &BTreeSet<Digest>) -> usize {
        0
    }

    async fn measure_cold_start(&self, _: TaskId, _: String, rounds: u32) -> Result<Vec<ColdStart>, String> {
        let start = ColdStart {
            load_ns: 1,
            instantiate_ns: 1,
            first_byte_ns: 1,
            cold_request_ns: 1,
            warm_request_ns: 1,
        };
        Ok(vec![start; rounds as usize])
    }

    async fn deliver(&self, task: TaskId, delivery: GuestDelivery) -> Result<GuestOutcome, DeliverError> {
        let GuestDelivery::Batch(batch) = delivery else {
            return Err(DeliverError::NoExport(
                "programs of the simulation take nothing but messages".to_owned(),
            ));
        };
        if !self.is_served(task) {
            return Err(DeliverError::Busy("its node can't be reached".to_owned()));
        }
        self.cluster.checker.requested(task);
        let ms = self.cluster.dice.number(WORK_MS);
        tokio::time::sleep(Duration::from_millis(ms)).await;
        if !self.is_served(task) {
            return Err(DeliverError::Failed("its node was lost, or cut off".to_owned()));
        }
        if self.cluster.sabotage != Some(Sabotage::Unanswered) {
            batch.messages.iter().for_each(|message| self.cluster.checker.worked_off(&message.id));
        }
        Ok(GuestOutcome::Batch(vec![MessageOutcome::Done; batch.messages.len()]))
    }

    async fn forward(&self, _: TaskId, _: u16) -> Result<UnixStream, ForwardError> {
        Err(ForwardError::Gone)
    }
}

impl Cluster {
    /// Tells each node what of a change concerns it.
    fn assign(&self, state: &mut State, change: DesiredChange) -> Version {
        let now_ms = self.clock.elapsed_ms();
        state.version += 1;
        self.trace.note(format_args!(
            "assign {}: {} tasks, {} routes, {} withdrawn, {} ended",
            state.version,
            change.tasks.len(),
            change.routes.len(),
            change.withdrawn.len(),
            change.ended.len()
        ));
        let mut parts: BTreeMap<NodeId, DesiredChange> = BTreeMap::new();
        let DesiredChange { tasks, routes, withdrawn, ended, network, balancer } = change;
        let NetworkDesired { groups, dissolved, interfaces } = network;
        for task in tasks {
            state.homes.insert(task.id, task.node.clone());
            parts.entry(task.node.clone()).or_default().tasks.push(task);
        }
        for interface in interfaces {
            if let Some(node) = state.homes.get(&interface.task) {
                parts.entry(node.clone()).or_default().network.interfaces.push(interface);
            }
        }
        for route in routes {
            if route.wakes {
                state.wakes.insert(route.service.clone());
            } else {
                state.wakes.remove(&route.service);
            }
            for (node, part) in self.split(state, route) {
                parts.entry(node).or_default().routes.push(part);
            }
        }
        for service in withdrawn {
            state.wakes.remove(&service);
            for node in state.routed.remove(&service).unwrap_or_default() {
                parts.entry(node).or_default().withdrawn.push(service.clone());
            }
        }
        for task in ended {
            if let Some(node) = state.homes.remove(&task) {
                parts.entry(node).or_default().ended.push(task);
            }
        }
        let network = NetworkDesired { groups, dissolved, interfaces: Vec::new() };
        let to_all = DesiredChange { network, balancer, ..DesiredChange::default() };
        // With the first change workers begin to serve, be it empty.
        if !to_all.is_empty() || state.version == 1 {
            for node in state.nodes.keys() {
                let part = parts.entry(node.clone()).or_default();
                part.network.groups.clone_from(&to_all.network.groups);
                part.network.dissolved.clone_from(&to_all.network.dissolved);
                part.balancer.clone_from(&to_all.balancer);
            }
            state.told_all.push(to_all);
        }
        for (node, part) in parts {
            self.assign_to(state, &node, part, now_ms);
        }
        state.version
    }

    /// A service's route for each node that has targets of it, or had.
    fn split(&self, state: &mut State, route: DesiredRoute) -> Vec<(NodeId, DesiredRoute)> {
        let mut targets: BTreeMap<NodeId, Vec<TaskId>> = BTreeMap::new();
        for task in &route.targets {
            if let Some(node) = state.homes.get(task) {
                targets.entry(node.clone()).or_default().push(*task);
            }
        }
        let now: BTreeSet<NodeId> = targets.keys().cloned().collect();
        let before = state.routed.insert(route.service.clone(), now).unwrap_or_default();
        for node in before {
            targets.entry(node).or_default();
        }
        let part = |targets| DesiredRoute { targets, ..route.clone() };
        targets.into_iter().map(|(node, targets)| (node, part(targets))).collect()
    }
}

/// The nodes port.
pub(crate) struct NodesOfCluster(pub(crate) Arc<Cluster>);

impl Nodes for NodesOfCluster {
    fn watch(&self) -> watch::Receiver<Arc<Vec<NodeSpec>>> {
        self.0.nodes.subscribe()
    }
}

/// What the nodes' ledgers say. Nothing is charged: what a task used is what the machine's clock says, which is not ours.
pub(crate) struct MetersOfCluster(pub(crate) Arc<Cluster>);

impl Meters for MetersOfCluster {
    fn read(&self) -> Readings {
        let mut state = self.0.state();
        let mut readings = Readings::default();
        let reading = |usage: skiff_node::TaskUsage| {
            let skiff_node::TaskUsage { task, owner, in_service, totals } = usage;
            TaskReading { task, owner, in_service, totals: without_time(totals) }
        };
        for node in state.nodes.values_mut() {
            let accounts = node.desk.accounts();
            readings.living.extend(accounts.living.into_iter().map(reading));
            readings.ended.extend(accounts.ended.into_iter().map(reading));
        }
        readings
    }

    fn totals(&self, tasks: &[TaskId]) -> HashMap<TaskId, Totals> {
        let state = self.0.state();
        let totals = state.nodes.values().flat_map(|node| node.desk.totals(tasks));
        totals.map(|(task, totals)| (task, without_time(totals))).collect()
    }

    fn balancer(&self) -> MeterReadings {
        MeterReadings::default()
    }

    fn charges(&self) -> Vec<Charge> {
        Vec::new()
    }

    fn node(&self) -> NodeReading {
        NodeReading::default()
    }

    fn worker_states(&self) -> Vec<WorkerState> {
        vec![WorkerState::Running]
    }
}

/// What was counted, without what follows from the machine's own clock.
fn without_time(totals: Totals) -> Totals {
    Totals { memory_kib_ms: 0, ..totals }
}

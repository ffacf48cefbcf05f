//! A node played by the test: it acknowledges, starts and ends programs as their components' bytes tell it to, and
//! notes whatever no node should be asked for.
//!
//! A component is text here: `http`, `consumer`, `daemon`, `exit 3`, `refuse WHY`; a line `needs BYTES` is its minimum memory.

use async_trait::async_trait;
use futures::FutureExt;
use futures::future::BoxFuture;
use futures::stream::{BoxStream, StreamExt};
use skiff_control::{
    MeterReadings, Meters, NodeReading, Readings, S3Reading, S3Requests, WorkerReading, WorkerState,
};
use skiff_ledger::Totals;
use skiff_ports::balancer::BalancerParts;
use skiff_ports::flows::{FlowQuery, FlowRecord, Flows, InterfaceState};
use skiff_ports::guest_deliveries::{CONSUMER_INTERFACE, DeliverError, GuestDelivery, GuestOutcome};
use skiff_ports::images::Images;
use skiff_ports::logs::{LogLine, LogQuery, LogStream, Logs};
use skiff_ports::metrics::GuestMetrics;
use skiff_ports::runtime::{
    ColdStart, ComponentReport, DesiredChange, DesiredInterface, DesiredRoute, DesiredTask, ForwardError,
    Initialization, NetworkDesired, PrepareError, Runtime, TargetReading, TaskEvent,
};
use skiff_ports::snapshot::Version;
use skiff_types::{
    Charge, Digest, Kind, Name, Program, QualifiedName, Rule, StopCode, StoppedReason, TargetHealth, TaskId,
    WasiGeneration,
};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};
use tokio::sync::{mpsc, watch};

/// Where every task sends back what it is sent.
pub(crate) const ECHO_PORT: u16 = 6379;

/// What it was told to do, all changes together.
#[derive(Clone, Default)]
pub(crate) struct Desired {
    pub(crate) tasks: Vec<DesiredTask>,
    pub(crate) routes: Vec<DesiredRoute>,
    pub(crate) interfaces: BTreeMap<TaskId, DesiredInterface>,
    pub(crate) groups: BTreeMap<QualifiedName, Vec<Rule>>,
    pub(crate) balancer: BalancerParts,
}

impl Desired {
    fn connect(&mut self, change: NetworkDesired) {
        self.groups.extend(change.groups.into_iter().map(|group| (group.group, group.rules)));
        self.groups.retain(|group, _| !change.dissolved.contains(group));
        self.interfaces.extend(change.interfaces.into_iter().map(|interface| (interface.task, interface)));
    }

    /// What is wrong with the load balancer that it was told of.
    fn balancer_wrongs(&self) -> Vec<String> {
        let BalancerParts { rules, listeners, certificates, .. } = &self.balancer;
        let astray = rules.values().filter(|rule| !listeners.contains_key(&rule.listener));
        let astray = astray.map(|rule| format!("{} is a rule of a listener that is not", rule.name));
        let is_named =
            |name: &&Name| listeners.values().any(|listener| listener.certificates.contains(*name));
        let unnamed = certificates.keys().filter(|name| !is_named(name));
        astray.chain(unnamed.map(|name| format!("{name} is a certificate that no listener names"))).collect()
    }

    /// What is wrong with the network that it was told of.
    fn network_wrongs(&self) -> Vec<String> {
        let mut wrongs = Vec::new();
        let mut taken = BTreeSet::new();
        for task in &self.tasks {
            let Some(interface) = self.interfaces.get(&task.id) else {
                wrongs.push(format!("{} runs without an interface", task.id));
                continue;
            };
            if !taken.insert(interface.address) {
                wrongs.push(format!("{:?} is the address of two tasks", interface.address));
            }
            let namespace = &task.owner.namespace;
            let group = |name: &_| QualifiedName::new(namespace.clone(), Clone::clone(name));
            let mut unknown =
                interface.groups.iter().map(group).filter(|group| !self.groups.contains_key(group));
            wrongs.extend(unknown.next().map(|group| format!("{} is in {group}, which is not", task.id)));
        }
        if self.interfaces.len() != self.tasks.len() {
            wrongs.push("there are interfaces of tasks that do not run".to_owned());
        }
        wrongs
    }
}

#[derive(Default)]
struct State {
    version: Version,
    desired: Desired,
    started: BTreeSet<TaskId>,
    /// Components by the key of the program that they are run as.
    prepared: HashMap<Digest, Digest>,
    outstanding: HashMap<TaskId, u64>,
    /// Ports that somebody else of the machine has.
    taken: BTreeSet<u16>,
    /// Which life each task was told to run last.
    lives: HashMap<TaskId, u32>,
    kept_native: Option<BTreeSet<Digest>>,
    holds: bool,
    wrongs: Vec<String>,
    /// How many targets each service had, with every assignment.
    targets: BTreeMap<String, Vec<usize>>,
}

/// What guests make of what they are given.
pub(crate) type Guest = Arc<
    dyn Fn(TaskId, GuestDelivery) -> BoxFuture<'static, Result<GuestOutcome, DeliverError>> + Send + Sync,
>;

pub(crate) struct Node {
    /// What is called with deliveries, if anything is.
    guest: Mutex<Option<Guest>>,
    images: Arc<dyn Images>,
    state: Mutex<State>,
    acknowledged: watch::Sender<Version>,
    events: mpsc::UnboundedSender<TaskEvent>,
    next_events: tokio::sync::Mutex<mpsc::UnboundedReceiver<TaskEvent>>,
    wanted: mpsc::UnboundedSender<QualifiedName>,
    next_wanted: tokio::sync::Mutex<mpsc::UnboundedReceiver<QualifiedName>>,
    metrics: mpsc::UnboundedSender<GuestMetrics>,
    next_metrics: tokio::sync::Mutex<mpsc::UnboundedReceiver<GuestMetrics>>,
}

impl Node {
    pub(crate) fn new(images: Arc<dyn Images>) -> Self {
        let (events, next_events) = mpsc::unbounded_channel();
        let (wanted, next_wanted) = mpsc::unbounded_channel();
        let (metrics, next_metrics) = mpsc::unbounded_channel();
        let (state, acknowledged) = (Mutex::default(), watch::Sender::new(0));
        let next_events = tokio::sync::Mutex::new(next_events);
        let next_wanted = tokio::sync::Mutex::new(next_wanted);
        let next_metrics = tokio::sync::Mutex::new(next_metrics);
        let guest = Mutex::default();
        Self {
            guest,
            images,
            state,
            acknowledged,
            events,
            next_events,
            wanted,
            next_wanted,
            metrics,
            next_metrics,
        }
    }

    /// From here on deliveries are given to this.
    pub(crate) fn set_guest(&self, guest: Guest) {
        *self.guest.lock().unwrap() = Some(guest);
    }

    /// Guests put values of metrics of their own.
    pub(crate) fn put(&self, came: GuestMetrics) {
        self.metrics.send(came).unwrap();
    }

    /// A request waits for a service.
    pub(crate) fn want(&self, service: &str) {
        self.wanted.send(service.parse().unwrap()).unwrap();
    }

    /// From here on nothing is acknowledged, until [`Node::release`].
    pub(crate) fn hold(&self) {
        self.state.lock().unwrap().holds = true;
    }

    pub(crate) fn release(&self) {
        let mut state = self.state.lock().unwrap();
        state.holds = false;
        self.acknowledged.send_replace(state.version);
    }

    pub(crate) fn end(&self, task: TaskId, exit_code: Option<i32>, code: StopCode) {
        self.end_life(task, self.life(task), exit_code, code);
    }

    /// Ends a program in one of its task's lives, whether that is over or not.
    pub(crate) fn end_life(&self, task: TaskId, life: u32, exit_code: Option<i32>, code: StopCode) {
        let reason = StoppedReason { code, message: format!("the program ended with {exit_code:?}") };
        self.events.send(TaskEvent::Ended { task, life, exit_code, reason }).unwrap();
    }

    /// Says what the check of a daemon's port found.
    pub(crate) fn find_health(&self, task: TaskId, healthy: bool) {
        self.find_health_in_life(task, self.life(task), healthy);
    }

    /// The same, in one of its task's lives.
    pub(crate) fn find_health_in_life(&self, task: TaskId, life: u32, healthy: bool) {
        let reason = if healthy { "" } else { "nothing listens" };
        self.events.send(TaskEvent::Health { task, life, healthy, reason: reason.to_owned() }).unwrap();
    }

    fn life(&self, task: TaskId) -> u32 {
        self.state.lock().unwrap().lives.get(&task).copied().unwrap_or(0)
    }

    pub(crate) fn set_outstanding(&self, task: TaskId, requests: u64) {
        self.state.lock().unwrap().outstanding.insert(task, requests);
    }

    /// Has somebody else of the machine have a port.
    pub(crate) fn take_port(&self, port: u16) {
        self.state.lock().unwrap().taken.insert(port);
    }

    pub(crate) fn desired(&self) -> Desired {
        self.state.lock().unwrap().desired.clone()
    }

    pub(crate) fn kept_native(&self) -> Option<BTreeSet<Digest>> {
        self.state.lock().unwrap().kept_native.clone()
    }

    pub(crate) fn targets_of(&self, service: &str) -> Vec<usize> {
        self.state.lock().unwrap().targets.get(service).cloned().unwrap_or_default()
    }

    /// What no node should be asked for.
    pub(crate) fn wrongs(&self) -> Vec<String> {
        self.state.lock().unwrap().wrongs.clone()
    }

    fn program(&self, component: &Digest) -> Option<String> {
        std::fs::read_to_string(self.images.component_path(component)).ok()
    }
}

#[async_trait]
impl Runtime for Node {
    fn assign(&self, change: DesiredChange) -> Version {
        let mut state = self.state.lock().unwrap();
        change.ended.iter().for_each(|task| {
            state.started.remove(task);
        });
        for task in &change.tasks {
            let component = state.prepared.get(&task.spec.program).copied();
            if component.is_none() {
                state.wrongs.push(format!("{} was assigned without native code", task.id));
            }
            state.lives.insert(task.id, task.life);
            if task.spec.kind == Kind::Command && state.started.insert(task.id) {
                self.events.send(TaskEvent::Started { task: task.id, life: task.life }).unwrap();
                let program = component.and_then(|component| self.program(&component)).unwrap_or_default();
                if let Some(code) = program.strip_prefix("exit ") {
                    let exit_code = code.lines().next().and_then(|code| code.parse().ok());
                    self.end_life(task.id, task.life, exit_code, StopCode::Exited);
                }
            }
        }
        for route in &change.routes {
            state.targets.entry(route.service.to_string()).or_default().push(route.targets.len());
        }
        let Desired { tasks, routes, .. } = &mut state.desired;
        tasks.retain(|task| !change.ended.contains(&task.id));
        tasks.extend(change.tasks);
        let is_new = |service: &QualifiedName| change.routes.iter().any(|route| route.service == *service);
        routes.retain(|route| !is_new(&route.service) && !change.withdrawn.contains(&route.service));
        routes.extend(change.routes);
        state.desired.interfaces.retain(|task, _| !change.ended.contains(task));
        state.desired.connect(change.network);
        assert!(change.balancer.meters.is_empty(), "those are the node's");
        state.desired.balancer.take_in(change.balancer);
        let wrongs = [state.desired.network_wrongs(), state.desired.balancer_wrongs()].concat();
        state.wrongs.extend(wrongs);
        let is_assigned = |id: &TaskId| state.desired.tasks.iter().any(|task| task.id == *id);
        let astray = |route: &&DesiredRoute| !route.targets.iter().all(is_assigned);
        let astray: Vec<_> = state.desired.routes.iter().filter(astray).collect();
        let wrongs =
            astray.iter().map(|route| format!("{} routes to a task that does not run", route.service));
        let wrongs: Vec<String> = wrongs.collect();
        state.wrongs.extend(wrongs);
        state.version += 1;
        if !state.holds {
            self.acknowledged.send_replace(state.version);
        }
        state.version
    }

    async fn acknowledged(&self, version: Version) {
        let mut acknowledged = self.acknowledged.subscribe();
        acknowledged.wait_for(|reached| *reached >= version).await.unwrap();
    }

    async fn next_event(&self) -> TaskEvent {
        self.next_events.lock().await.recv().await.unwrap()
    }

    async fn next_wanted(&self) -> QualifiedName {
        self.next_wanted.lock().await.recv().await.unwrap()
    }

    async fn next_metrics(&self) -> GuestMetrics {
        self.next_metrics.lock().await.recv().await.unwrap()
    }

    async fn prepare(&self, program: &Program) -> Result<ComponentReport, PrepareError> {
        let key = program.key();
        let component = program.component;
        let initialization =
            program.snapshot.is_some().then(|| Initialization { took_ms: 7, output: "ready".to_owned() });
        let program = self.program(&component).ok_or(PrepareError::Missing(component))?;
        if let Some(why) = program.strip_prefix("refuse ") {
            return Err(PrepareError::Refused(why.to_owned()));
        }
        self.state.lock().unwrap().prepared.insert(key, component);
        let needs = program.lines().find_map(|line| line.strip_prefix("needs "));
        Ok(ComponentReport {
            kind: match program.lines().next() {
                Some("consumer") => Kind::Event,
                Some(first) if first.starts_with("http") => Kind::Http,
                Some(_) | None => Kind::Command,
            },
            generation: WasiGeneration::P2,
            imports: vec!["wasi:io/streams@0.2.0".to_owned()],
            exports: match program.lines().next() {
                Some("consumer") => vec![CONSUMER_INTERFACE.to_owned()],
                Some(_) | None => vec!["wasi:http/incoming-handler@0.2.0".to_owned()],
            },
            minimum_memory_bytes: needs.map_or(1 << 20, |bytes| bytes.trim().parse().unwrap()),
            component_bytes: program.len() as u64,
            native_bytes: 1,
            compile_ms: 1,
            initialization,
        })
    }

    async fn deliver(&self, task: TaskId, delivery: GuestDelivery) -> Result<GuestOutcome, DeliverError> {
        let guest = self.guest.lock().unwrap().clone();
        match guest {
            Some(guest) => guest(task, delivery).await,
            None => Err(DeliverError::Busy("the test has no guest".to_owned())),
        }
    }

    fn outstanding(&self, task: TaskId) -> u64 {
        self.state.lock().unwrap().outstanding.get(&task).copied().unwrap_or(0)
    }

    fn target_health(&self, group: &QualifiedName) -> Vec<TargetReading> {
        let state = self.state.lock().unwrap();
        let routes = state.desired.routes.iter().filter(|route| route.service == *group);
        let reading = |task: &TaskId| TargetReading {
            target: task.to_string().into(),
            task: Some(*task),
            health: TargetHealth::healthy(),
            outstanding: state.outstanding.get(task).copied().unwrap_or(0),
        };
        routes.flat_map(|route| &route.targets).map(reading).collect()
    }

    fn listener_problem(&self, listener: &Name) -> Option<String> {
        let state = self.state.lock().unwrap();
        let port = state.desired.balancer.listeners.get(listener)?.port;
        state.taken.contains(&port).then(|| format!("somebody else has {port}"))
    }

    async fn keep_native(&self, keys: &BTreeSet<Digest>) -> usize {
        self.state.lock().unwrap().kept_native = Some(keys.clone());
        0
    }

    async fn measure_cold_start(&self, _: TaskId, _: String, rounds: u32) -> Result<Vec<ColdStart>, String> {
        let sample = ColdStart {
            load_ns: 1,
            instantiate_ns: 2,
            first_byte_ns: 3,
            cold_request_ns: 5,
            warm_request_ns: 4,
        };
        Ok(vec![sample; rounds as usize])
    }

    async fn forward(&self, task: TaskId, port: u16) -> Result<UnixStream, ForwardError> {
        if !self.desired().tasks.iter().any(|known| known.id == task) {
            return Err(ForwardError::Gone);
        }
        if port != ECHO_PORT {
            return Err(ForwardError::Refused("nobody listens there".to_owned()));
        }
        let (operator, end) = UnixStream::pair().unwrap();
        operator.set_nonblocking(true).unwrap();
        end.set_nonblocking(true).unwrap();
        let (mut from, mut to) = tokio::net::UnixStream::from_std(end).unwrap().into_split();
        tokio::spawn(async move { tokio::io::copy(&mut from, &mut to).await });
        Ok(operator)
    }
}

/// Lines in memory, as they were written.
#[derive(Default)]
pub(crate) struct Lines {
    lines: Mutex<Vec<(QualifiedName, LogLine)>>,
    count: watch::Sender<usize>,
    removed: Mutex<Vec<QualifiedName>>,
}

impl Lines {
    pub(crate) fn write(&self, owner: &str, task: TaskId, at_ms: u64, text: &str) {
        let line = LogLine { at_ms, task, stream: LogStream::Stdout, text: text.to_owned() };
        let mut lines = self.lines.lock().unwrap();
        lines.push((owner.parse().unwrap(), line));
        self.count.send_replace(lines.len());
    }

    pub(crate) fn removed(&self) -> Vec<QualifiedName> {
        self.removed.lock().unwrap().clone()
    }
}

pub(crate) struct SharedLines(pub(crate) Arc<Lines>);

impl Logs for SharedLines {
    fn read(&self, query: LogQuery) -> BoxStream<'static, std::io::Result<LogLine>> {
        let matches = move |(owner, line): &(QualifiedName, LogLine)| {
            *owner == query.owner
                && query.task.is_none_or(|task| task == line.task)
                && query.since_ms.is_none_or(|since| line.at_ms >= since)
        };
        let (present, read_to) = {
            let lines = self.0.lines.lock().unwrap();
            let present: Vec<_> =
                lines.iter().filter(|line| matches(line)).map(|(_, line)| line.clone()).collect();
            (present, lines.len())
        };
        let skipped = query.tail.map_or(0, |tail| present.len().saturating_sub(tail));
        let present = futures::stream::iter(present.into_iter().skip(skipped).map(Ok));
        if !query.follow {
            return present.boxed();
        }
        let source = self.0.clone();
        let coming =
            futures::stream::unfold((source, read_to, matches), |(source, mut at, matches)| async move {
                let mut count = source.count.subscribe();
                loop {
                    count.wait_for(|count| *count > at).await.ok()?;
                    let line = source.lines.lock().unwrap()[at].clone();
                    at += 1;
                    if matches(&line) {
                        return Some((Ok(line.1), (source, at, matches)));
                    }
                }
            });
        present.chain(coming).boxed()
    }

    fn owners(&self) -> BoxFuture<'_, std::io::Result<Vec<QualifiedName>>> {
        let (lines, removed) = (self.0.lines.lock().unwrap(), self.0.removed());
        let owners: BTreeSet<_> = lines.iter().map(|(owner, _)| owner.clone()).collect();
        let left = owners.into_iter().filter(|owner| !removed.contains(owner)).collect();
        async { Ok(left) }.boxed()
    }

    fn remove(&self, owner: &QualifiedName) {
        self.0.removed.lock().unwrap().push(owner.clone());
    }
}

/// Flows as the test sets them: records, and what goes on at every interface.
#[derive(Default)]
pub(crate) struct SetFlows(pub(crate) Mutex<Vec<FlowRecord>>, pub(crate) Mutex<InterfaceState>);

impl Flows for SetFlows {
    fn read(&self, query: FlowQuery) -> BoxStream<'static, std::io::Result<FlowRecord>> {
        let is_asked_for = |record: &&FlowRecord| {
            query.owner.as_ref().is_none_or(|owner| *owner == record.owner)
                && query.namespace.as_ref().is_none_or(|namespace| *namespace == record.owner.namespace)
                && query.task.is_none_or(|task| task == record.task)
                && query.verdict.is_none_or(|verdict| verdict == record.verdict)
        };
        let records: Vec<_> = self.0.lock().unwrap().iter().filter(is_asked_for).cloned().map(Ok).collect();
        futures::stream::iter(records).boxed()
    }

    fn open(&self, _: TaskId) -> BoxFuture<'_, Result<InterfaceState, String>> {
        let state = self.1.lock().unwrap().clone();
        async { Ok(state) }.boxed()
    }
}

/// Readings and charges as the test sets them.
#[derive(Default)]
pub(crate) struct SetMeters(
    pub(crate) Mutex<Readings>,
    pub(crate) Mutex<Vec<Charge>>,
    pub(crate) Mutex<MeterReadings>,
);

impl Meters for SetMeters {
    fn read(&self) -> Readings {
        let mut readings = self.0.lock().unwrap();
        Readings { living: readings.living.clone(), ended: std::mem::take(&mut readings.ended) }
    }

    fn totals(&self, tasks: &[TaskId]) -> HashMap<TaskId, Totals> {
        let readings = self.0.lock().unwrap();
        let asked = readings.living.iter().filter(|reading| tasks.contains(&reading.task));
        asked.map(|reading| (reading.task, reading.totals.clone())).collect()
    }

    fn balancer(&self) -> MeterReadings {
        let mut readings = self.2.lock().unwrap();
        MeterReadings { living: readings.living.clone(), ended: std::mem::take(&mut readings.ended) }
    }

    fn charges(&self) -> Vec<Charge> {
        std::mem::take(&mut self.1.lock().unwrap())
    }

    fn node(&self) -> NodeReading {
        let worker = WorkerReading {
            index: 0,
            pid: Some(2),
            state: WorkerState::Running,
            uptime_seconds: 1.0,
            cpu_seconds: 0.5,
            platform_cpu_seconds: 0.25,
            memory_bytes: 1 << 20,
            restarts: 3,
            connections: 4,
            requests: 5,
            mapped_components: 0,
            mapped_code_bytes: 0,
            pool_kept_bytes: 0,
        };
        NodeReading {
            pid: 1,
            uptime_seconds: 2.0,
            cpu_seconds: 0.1,
            memory_bytes: 1,
            log_lines_lost: 6,
            flow_records_lost: 7,
            spans_dropped: 8,
            workers: vec![worker],
        }
    }

    fn worker_states(&self) -> Vec<WorkerState> {
        vec![WorkerState::Running]
    }

    fn s3(&self) -> Option<S3Reading> {
        let requests = S3Requests { operation: "PutObject", code_class: "2xx", count: 9 };
        Some(S3Reading {
            address: ([127, 0, 0, 1], 8082).into(),
            connections: 2,
            connections_refused: 3,
            requests: vec![requests],
            bytes_in: 10,
            bytes_out: 11,
        })
    }
}

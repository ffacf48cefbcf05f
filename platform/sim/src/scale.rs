//! How much a million tasks take: the real control plane over the store in memory, with nodes on which everything is done as
//! soon as it is told. It checks nothing, and measures the process that it runs in.

use crate::client::{Client, TOKEN};
use crate::clock::SimClock;
use crate::cluster::{Behaviour, End};
use crate::dice::Dice;
use crate::engines::NoBuses;
use crate::life::Life;
use crate::memory::{JournalOfLife, MemoryImages, MemoryJournal, NoBill, Silence};
use crate::series::{MemorySeries, SeriesOfLife};
use crate::store::{SimStore, StoreOfLife};
use crate::trace::Trace;
use async_trait::async_trait;
use serde_json::{Value, json};
use skiff_api::Operation;
use skiff_control::{Config, Deps, MeterReadings, Meters, NodeReading, Plane, Readings, Token, WorkerState};
use skiff_ledger::Totals;
use skiff_memory::MemoryData;
use skiff_ports::network::NetworkSetup;
use skiff_ports::nodes::FixedNodes;
use skiff_ports::runtime::{
    ColdStart, ComponentReport, DesiredChange, ForwardError, PrepareError, Runtime, TargetReading, TaskEvent,
};
use skiff_ports::snapshot::Version;
use skiff_types::{
    Attributes, Charge, Digest, Kind, MemorySize, Name, NetworkSpec, NodeCapacity, NodeSpec, Overcommit,
    Program, QualifiedName, ServiceSpec, TaskId, WasiGeneration,
};
use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// The prefix of a node's subnet: four thousand nodes, of a thousand addresses each.
const NODE_PREFIX: u8 = 22;
/// Services that are deployed at a time.
const SERVICES_AT_ONCE: u32 = 20;

/// How often it is looked whether the tasks of a service run, and how many times at most, in simulated time.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
const LOOKS_MAX: u32 = 36_000;

/// How much there is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScaleOptions {
    /// Tasks, a thousand to a service.
    pub tasks: u32,
    /// Nodes; 4,000 at most.
    pub nodes: u32,
}

impl Default for ScaleOptions {
    fn default() -> Self {
        Self { tasks: 1_000_000, nodes: 4_000 }
    }
}

/// What that took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScaleReport {
    /// Tasks that run.
    pub tasks: u32,
    /// Nodes that they run on.
    pub nodes: u32,
    /// How long it took until all ran, in real time.
    pub took: Duration,
    /// The most memory that the process had, in bytes.
    pub memory_peak_bytes: u64,
}

impl fmt::Display for ScaleReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tasks, nodes, took, memory_peak_bytes } = self;
        write!(
            f,
            "{tasks} tasks on {nodes} nodes after {:.1} s: {} MiB at most, {} bytes a task, the store in memory included",
            took.as_secs_f64(),
            memory_peak_bytes >> 20,
            memory_peak_bytes / u64::from((*tasks).max(1))
        )
    }
}

/// Starts so many tasks, and says what that took.
///
/// # Panics
/// If the control plane does not do what it is asked for.
pub fn scale(options: &ScaleOptions) -> ScaleReport {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.expect("a runtime of one thread takes nothing");
    let began = Instant::now();
    let tasks = runtime.block_on(fill(options));
    let memory_peak_bytes = memory_peak_bytes();
    ScaleReport { tasks, nodes: options.nodes, took: began.elapsed(), memory_peak_bytes }
}

/// Starts the tasks; says how many run.
async fn fill(options: &ScaleOptions) -> u32 {
    let plane = Plane::start(config(), deps(options.nodes)).await.expect("a plane over an empty store");
    let client = Client(plane.api());
    let behaviour = Behaviour { is_http: true, start_ms: 0, healthy_ms: 0, end: End::None };
    expect(client.push("task", behaviour.text(0)).await.is_success(), "the image is pushed");
    let definition = json!({ "family": "task", "image": "task" });
    let registered = client.call(Operation::RegisterTaskDefinition, &[], &definition).await;
    expect(registered.is_success(), "the task definition is registered");
    let services = options.tasks.div_ceil(ServiceSpec::DESIRED_MAX);
    let desired = |service: u32| {
        let before = service * ServiceSpec::DESIRED_MAX;
        ServiceSpec::DESIRED_MAX.min(options.tasks - before)
    };
    let (mut first, mut running) = (0, 0);
    while first < services {
        let batch = first..services.min(first + SERVICES_AT_ONCE);
        for service in batch.clone() {
            let (name, put) =
                (name_of(service), json!({ "definition": "task", "desired": desired(service) }));
            let answer = client.call(Operation::PutService, &[name.as_str()], &put).await;
            expect(answer.is_success(), "the service is there");
        }
        for service in batch.clone() {
            let (name, mut looks) = (name_of(service), 0);
            while runs(&client, &name).await < u64::from(desired(service)) {
                looks += 1;
                expect(looks < LOOKS_MAX, "the tasks run in time");
                tokio::time::sleep(LOOK_INTERVAL).await;
            }
            running += desired(service);
        }
        first = batch.end;
    }
    running
}

fn name_of(service: u32) -> String {
    format!("service-{service}")
}

/// How many tasks of a service run.
async fn runs(client: &Client, service: &str) -> u64 {
    let answer = client.call(Operation::GetService, &[service], &Value::Null).await;
    answer.body["status"]["running"].as_u64().unwrap_or(0)
}

fn expect(holds: bool, what: &str) {
    assert!(holds, "it was expected that {what}");
}

fn config() -> Config {
    let spec = NetworkSpec { node_prefix: NODE_PREFIX, ..NetworkSpec::default() };
    Config {
        version: "simulated".to_owned(),
        http: ([127, 0, 0, 1], 8080).into(),
        data_dir: "/simulated".into(),
        token: Token::new(TOKEN),
        network: NetworkSetup { spec, node_index: 0, own_doors: Vec::new() },
        host_addresses: Vec::new(),
    }
}

fn deps(nodes: u32) -> Deps {
    let (clock, life, silence) = (Arc::new(SimClock::new()), Arc::new(Life::new()), Arc::new(Silence));
    let trace = Trace::new(clock.clone(), false);
    let checker = Arc::new(crate::checker::Checker::new(clock.clone(), trace));
    let images = Arc::new(MemoryImages::default());
    let specs = (1..=nodes).map(node).collect();
    let data = Arc::new(MemoryData::default());
    Deps {
        store: Arc::new(StoreOfLife { store: Arc::new(SimStore::plain()), life: life.clone() }),
        images: images.clone(),
        runtime: Arc::new(AtOnce { images, version: AtomicU64::new(0) }),
        logs: silence.clone(),
        flows: silence.clone(),
        usage: Arc::new(NoBill),
        series: Arc::new(SeriesOfLife { series: Arc::new(MemorySeries::default()), life: life.clone() }),
        journal: Arc::new(JournalOfLife { journal: Arc::new(MemoryJournal::default()), checker, life }),
        nodes: Arc::new(FixedNodes::new(specs)),
        webhooks: silence,
        buckets: data.clone(),
        tables: data.clone(),
        queues: data,
        buses: Arc::new(NoBuses),
        meters: Arc::new(NoMeters),
        clock,
        random: Arc::new(Dice::new(0, "plane")),
    }
}

fn node(number: u32) -> NodeSpec {
    NodeSpec {
        id: format!("node-{number:04}").parse().expect("a node's id"),
        attributes: Attributes::new(),
        capacity: NodeCapacity {
            cpu_units: 1_024 * 1_024,
            memory: MemorySize::from_mib(1_024 * 1_024),
            tasks: 1_000,
        },
        overcommit: Overcommit::default(),
        is_draining: false,
    }
}

/// Nodes on which everything is done as soon as it is told.
struct AtOnce {
    images: Arc<MemoryImages>,
    version: AtomicU64,
}

#[async_trait]
impl Runtime for AtOnce {
    fn assign(&self, _: DesiredChange) -> Version {
        self.version.fetch_add(1, Relaxed) + 1
    }

    async fn acknowledged(&self, _: Version) {}

    async fn next_event(&self) -> TaskEvent {
        std::future::pending().await
    }

    async fn next_wanted(&self) -> QualifiedName {
        std::future::pending().await
    }

    async fn prepare(&self, program: &Program) -> Result<ComponentReport, PrepareError> {
        let component = self.images.component(&program.component);
        let component = component.ok_or(PrepareError::Missing(program.component))?;
        Ok(ComponentReport {
            kind: Kind::Http,
            generation: WasiGeneration::P2,
            imports: Vec::new(),
            exports: Vec::new(),
            minimum_memory_bytes: 1 << 20,
            component_bytes: component.len() as u64,
            native_bytes: 1,
            compile_ms: 1,
            initialization: None,
        })
    }

    fn outstanding(&self, _: TaskId) -> u64 {
        0
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

    async fn forward(&self, _: TaskId, _: u16) -> Result<UnixStream, ForwardError> {
        Err(ForwardError::Gone)
    }
}

/// Tasks that do nothing.
struct NoMeters;

impl Meters for NoMeters {
    fn read(&self) -> Readings {
        Readings::default()
    }

    fn totals(&self, _: &[TaskId]) -> HashMap<TaskId, Totals> {
        HashMap::new()
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
        Vec::new()
    }
}

/// The most memory that this process ever had, in bytes, as the kernel counts it.
fn memory_peak_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = peak.and_then(|peak| peak.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
    kib.unwrap_or(0) << 10
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_tasks_run_as_were_asked_for() {
        let report = scale(&ScaleOptions { tasks: 1_500, nodes: 10 });
        assert_eq!((report.tasks, report.nodes), (1_500, 10));
        assert!(report.memory_peak_bytes > 0);
    }
}

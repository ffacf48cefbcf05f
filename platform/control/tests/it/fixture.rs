//! A control plane on a loopback socket, and the calls that tests make of it.

use crate::alarms::Hooks;
use crate::node::{Lines, Node, SetFlows, SetMeters, SharedLines};
use crate::nodes::{SetNodes, large_node};
use bytes::Bytes;
use skiff_api::{
    Client, ClientError, DeploymentState, ErrorCode, PutService, RegisterTaskDefinition, RollbackService,
    RunTask, Service, Task, TaskDefinition, TaskListQuery,
};
use skiff_control::{Config, Deps, Handle, Token};
use skiff_events::buses::{self, Buses};
use skiff_kit::Drain;
use skiff_kit::clock::SystemClock;
use skiff_kit::random::{SharedRandom, SystemRandom};
use skiff_memory::MemoryData;
use skiff_ports::journal::Journal;
use skiff_ports::network::NetworkSetup;
use skiff_ports::series::SeriesLog;
use skiff_ports::store::Store;
use skiff_ports::usage::UsageLog;
use skiff_registry::LocalImages;
use skiff_store::{SqliteJournal, SqliteSeries, SqliteStore, SqliteUsage};
use skiff_types::{Name, Namespace, NetworkSpec, TaskId, TaskStatus};
use std::fmt::Debug;
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::net::TcpListener;

pub(crate) const TOKEN: &str = "the-token-of-the-test";
/// The longest that a condition is waited for.
const DEADLINE: Duration = Duration::from_secs(20);

/// What outlives a control plane: the disk.
#[derive(Clone)]
pub(crate) struct Disk {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) images: Arc<LocalImages>,
    pub(crate) usage: Arc<dyn UsageLog>,
    pub(crate) journal: Arc<dyn Journal>,
    pub(crate) series: Arc<dyn SeriesLog>,
    pub(crate) data: Arc<MemoryData>,
    pub(crate) buses: Buses,
    /// What the virtual network is to span.
    pub(crate) network: NetworkSpec,
    /// The nodes that there are: one with room for all, unless a test says otherwise.
    pub(crate) nodes: Arc<SetNodes>,
    pub(crate) _folder: Arc<TempDir>,
}

impl Disk {
    pub(crate) fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let store = SqliteStore::open(&folder.path().join("store.db")).unwrap();
        let images = LocalImages::open(&folder.path().join("images")).unwrap();
        let usage = SqliteUsage::open(&folder.path().join("usage.db")).unwrap();
        let series = SqliteSeries::open(&folder.path().join("metrics.db")).unwrap();
        let (images, usage, series) = (Arc::new(images), Arc::new(usage), Arc::new(series));
        let journal = Arc::new(SqliteJournal::open(&folder.path().join("events.db")).unwrap());
        let (store, network) = (Arc::new(store), NetworkSpec::default());
        let data = Arc::new(MemoryData::default());
        let buses = buses(folder.path().join("buses"));
        let nodes = Arc::new(SetNodes::of(vec![large_node("local")]));
        Self { store, images, usage, journal, series, data, buses, network, nodes, _folder: Arc::new(folder) }
    }
}

/// The real ones, in small files.
fn buses(folder: PathBuf) -> Buses {
    let limits = buses::Limits { segment_bytes: 1 << 20, ..buses::Limits::default() };
    let (clock, random) = (Arc::new(SystemClock), SharedRandom::new(Arc::new(SystemRandom)));
    Buses::open(buses::Config { folder, limits }, buses::Deps { clock, random }).unwrap()
}

pub(crate) struct Platform {
    pub(crate) handle: Handle,
    pub(crate) client: Client,
    pub(crate) node: Arc<Node>,
    pub(crate) lines: Arc<Lines>,
    pub(crate) meters: Arc<SetMeters>,
    pub(crate) flows: Arc<SetFlows>,
    pub(crate) hooks: Arc<Hooks>,
    pub(crate) disk: Disk,
    /// Ends deliveries of events.
    deliveries: Drain,
}

pub(crate) fn namespace() -> Namespace {
    Namespace::default()
}

pub(crate) fn name(text: &str) -> Name {
    text.parse().unwrap()
}

/// A call must have failed like this.
#[track_caller]
pub(crate) fn refused<T: Debug>(result: Result<T, ClientError>, code: ErrorCode, message: &str) {
    let error = result.expect_err("it was taken");
    assert!(error.to_string().contains(message), "{error}");
    assert_eq!(error.code(), Some(code), "{error}");
}

/// Waits until `look` answers with something.
pub(crate) async fn until<T, F: Future<Output = Option<T>>>(what: &str, mut look: impl FnMut() -> F) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(start.elapsed() < DEADLINE, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

impl Platform {
    pub(crate) async fn start() -> Self {
        Self::start_on(Disk::new()).await
    }

    pub(crate) async fn start_on(disk: Disk) -> Self {
        let node = Arc::new(Node::new(disk.images.clone()));
        Self::start_with(disk, node).await
    }

    pub(crate) async fn start_with(disk: Disk, node: Arc<Node>) -> Self {
        let (lines, meters) = (Arc::new(Lines::default()), Arc::new(SetMeters::default()));
        let (flows, hooks) = (Arc::new(SetFlows::default()), Arc::new(Hooks::default()));
        let own_doors = vec!["127.0.0.1:8080".parse().unwrap()];
        let config = Config {
            version: "0.1.0".to_owned(),
            http: "127.0.0.1:8080".parse().unwrap(),
            data_dir: "/data".into(),
            token: Token::new(TOKEN),
            network: NetworkSetup { spec: disk.network, node_index: 0, own_doors },
            host_addresses: vec!["198.41.0.4".parse().unwrap()],
        };
        let deps = Deps {
            store: disk.store.clone(),
            images: disk.images.clone(),
            runtime: node.clone(),
            logs: Arc::new(SharedLines(lines.clone())),
            flows: flows.clone(),
            usage: disk.usage.clone(),
            journal: disk.journal.clone(),
            series: disk.series.clone(),
            nodes: disk.nodes.clone(),
            webhooks: hooks.clone(),
            buckets: disk.data.clone(),
            tables: disk.data.clone(),
            queues: disk.data.clone(),
            buses: Arc::new(disk.buses.clone()),
            meters: meters.clone(),
            clock: Arc::new(SystemClock),
            random: Arc::new(SystemRandom),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let handle = skiff_control::start(config, deps, listener).await.unwrap();
        let client = Client::new(&format!("http://{}", handle.api()), Some(TOKEN.to_owned())).unwrap();
        let deliveries = Drain::new();
        disk.buses.start(handle.targets(), &deliveries);
        Self { handle, client, node, lines, meters, flows, hooks, disk, deliveries }
    }

    /// Ends this control plane; what it has written stays.
    pub(crate) async fn stop(self) -> Disk {
        let Self { handle, client, disk, deliveries, .. } = self;
        // An idle connection of the client would be closed at once anyway.
        drop(client);
        assert!(deliveries.finish(Duration::from_secs(10)).await, "deliveries did not end in time");
        assert!(handle.shutdown(Duration::from_secs(10)).await, "it did not stop in time");
        disk
    }

    pub(crate) async fn push(&self, image: &str, program: &str) {
        let program = Bytes::from(program.to_owned());
        self.client.push_image(&namespace(), &image.parse().unwrap(), program, |_| {}).await.unwrap();
    }

    pub(crate) async fn register(&self, family: &str, image: &str) -> TaskDefinition {
        self.client.register_task_definition(&namespace(), &registration(family, image)).await.unwrap()
    }

    pub(crate) async fn put(&self, service: &str, definition: &str, desired: u32) -> Service {
        let request = wanted(definition, desired);
        self.client.put_service(&namespace(), &name(service), &request, None).await.unwrap()
    }

    /// Pushes a program, registers it under the service's name, and puts the service on it.
    pub(crate) async fn deploy(&self, service: &str, program: &str, desired: u32) -> TaskDefinition {
        self.push(service, program).await;
        let definition = self.register(service, service).await;
        self.put(service, &definition.id.to_string(), desired).await;
        definition
    }

    /// Puts a service back to what it ran before.
    pub(crate) async fn roll_back(&self, service: &str) -> Result<Service, ClientError> {
        let back = RollbackService { revision: None };
        self.client.rollback_service(&namespace(), &name(service), &back, None).await
    }

    pub(crate) async fn service(&self, service: &str) -> Service {
        self.client.get_service(&namespace(), &name(service)).await.unwrap()
    }

    pub(crate) async fn completed(&self, service: &str) -> Service {
        until(&format!("{service} is deployed"), || async {
            let found = self.service(service).await;
            let status = &found.status;
            let done = status.deployment.state == DeploymentState::Completed
                && status.stopping == 0
                && status.running == found.spec.desired;
            done.then_some(found)
        })
        .await
    }

    pub(crate) async fn tasks(&self, service: Option<&str>) -> Vec<Task> {
        let query = TaskListQuery { service: service.map(name), limit: Some(1_000), ..Default::default() };
        self.client.list_tasks(&namespace(), &query).await.unwrap().items
    }

    pub(crate) async fn running(&self, service: &str) -> Vec<Task> {
        let tasks = self.tasks(Some(service)).await;
        tasks.into_iter().filter(|task| task.status == TaskStatus::Running).collect()
    }

    pub(crate) async fn run(&self, definition: &str) -> Task {
        self.client.run_task(&namespace(), &one_off(definition)).await.unwrap()
    }

    pub(crate) async fn reaches(&self, id: TaskId, status: TaskStatus) -> Task {
        until(&format!("the task is {status}"), || async {
            let task = self.client.get_task(&namespace(), id).await.unwrap();
            (task.status == status).then_some(task)
        })
        .await
    }

    pub(crate) async fn gone(&self, service: &str) {
        until(&format!("{service} is gone"), || async {
            let found = self.client.get_service(&namespace(), &name(service)).await;
            found.err().and_then(|error| error.code())
        })
        .await;
    }

    /// No node was asked for what no node should be.
    pub(crate) fn assert_node_is_content(&self) {
        assert_eq!(self.node.wrongs(), Vec::<String>::new());
    }
}

pub(crate) fn registration(family: &str, image: &str) -> RegisterTaskDefinition {
    RegisterTaskDefinition {
        family: name(family),
        image: image.parse().unwrap(),
        limits: Default::default(),
        arguments: vec![],
        environment: [("GREETING".to_owned(), "secret".to_owned())].into(),
        snapshot: false,
        security_groups: vec![],
        port: None,
        health_check: Default::default(),
        stop_timeout: None,
        restart: Default::default(),
        role: None,
    }
}

pub(crate) fn wanted(definition: &str, desired: u32) -> PutService {
    PutService {
        definition: definition.parse().unwrap(),
        desired: Some(desired),
        hosts: None,
        paths: None,
        security_groups: None,
        listen: None,
        deployment: None,
        scale_to_zero: None,
        placement: None,
    }
}

pub(crate) fn one_off(definition: &str) -> RunTask {
    RunTask {
        definition: definition.parse().unwrap(),
        arguments: None,
        environment: Default::default(),
        placement: None,
    }
}

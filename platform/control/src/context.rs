//! What every part of `control` shares: its ports, its objects, and the few facts that live as long as the process.

use crate::addresses::Addresses;
use crate::alarms::Alarms;
use crate::bill::Bill;
use crate::consumers::Consumers;
use crate::entrance::{FORWARDS_MAX, KEYED_BYTES_MAX};
use crate::events::Events;
use crate::guest_calls::Denials;
use crate::meters::{Accounts, Meters};
use crate::objects::Objects;
use crate::series::Series;
use crate::targets::Invocations;
use crate::wanted::Wanted;
use skiff_kit::clock::Clock;
use skiff_kit::random::{Random, SharedRandom};
use skiff_kit::{Drain, Watermark};
use skiff_net::Guard;
use skiff_ports::buckets::Buckets;
use skiff_ports::buses::{Buses, RuleChanges};
use skiff_ports::flows::Flows;
use skiff_ports::images::Images;
use skiff_ports::journal::Journal;
use skiff_ports::logs::Logs;
use skiff_ports::network::NetworkSetup;
use skiff_ports::nodes::Nodes;
use skiff_ports::queues::Queues;
use skiff_ports::runtime::Runtime;
use skiff_ports::series::SeriesLog;
use skiff_ports::store::Store;
use skiff_ports::tables::Tables;
use skiff_ports::usage::UsageLog;
use skiff_ports::webhook::Webhooks;
use skiff_types::{DeploymentId, Digest, QualifiedName, ResourceId, TaskId};
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{RwLock, Semaphore};

/// What `control` is told of the platform that it is part of.
#[derive(Debug, Clone)]
pub struct Config {
    /// Skiff's version, as `skiff --version` prints it.
    pub version: String,
    /// Where the load balancer listens; services' URLs are made with it.
    pub http: SocketAddr,
    /// Where everything is kept, as `skiff status` shows it.
    pub data_dir: PathBuf,
    /// What callers of the API must show.
    pub token: Token,
    /// What the virtual network spans, as [`crate::establish_network`] said, and where the platform itself listens.
    pub network: NetworkSetup,
    /// The host's own addresses at the start, which no guest reaches unless a rule names them.
    pub host_addresses: Vec<IpAddr>,
}

/// The API's bearer token. Never printed.
#[derive(Clone)]
pub struct Token(Arc<str>);

impl Token {
    /// Takes the token's text.
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }

    /// Whether `shown` is the token; takes the same time whatever is wrong with it.
    pub(crate) fn matches(&self, shown: &str) -> bool {
        use subtle::ConstantTimeEq;
        self.0.as_bytes().ct_eq(shown.as_bytes()).into()
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(…)")
    }
}

/// The ports that `control` works through.
#[derive(Clone)]
#[allow(missing_docs, reason = "each is the port of its name")]
pub struct Deps {
    pub store: Arc<dyn Store>,
    pub images: Arc<dyn Images>,
    pub runtime: Arc<dyn Runtime>,
    pub logs: Arc<dyn Logs>,
    pub flows: Arc<dyn Flows>,
    pub usage: Arc<dyn UsageLog>,
    pub series: Arc<dyn SeriesLog>,
    pub journal: Arc<dyn Journal>,
    pub nodes: Arc<dyn Nodes>,
    pub webhooks: Arc<dyn Webhooks>,
    pub buckets: Arc<dyn Buckets>,
    pub tables: Arc<dyn Tables>,
    pub queues: Arc<dyn Queues>,
    pub buses: Arc<dyn Buses>,
    pub meters: Arc<dyn Meters>,
    pub clock: Arc<dyn Clock>,
    pub random: Arc<dyn Random>,
}

/// Shared by the entrance and the reconcilers.
pub(crate) struct Context {
    pub(crate) config: Config,
    pub(crate) objects: Arc<Objects>,
    pub(crate) addresses: Addresses,
    /// What of the outside is special, but for listeners that come and go.
    guard: Mutex<Guard>,
    pub(crate) images: Arc<dyn Images>,
    pub(crate) runtime: Arc<dyn Runtime>,
    pub(crate) nodes: Arc<dyn Nodes>,
    pub(crate) logs: Arc<dyn Logs>,
    pub(crate) flows: Arc<dyn Flows>,
    pub(crate) accounts: Accounts,
    pub(crate) bill: Bill,
    pub(crate) series: Series,
    pub(crate) events: Arc<Events>,
    pub(crate) alarms: Alarms,
    pub(crate) webhooks: Arc<dyn Webhooks>,
    pub(crate) buckets: Arc<dyn Buckets>,
    pub(crate) tables: Arc<dyn Tables>,
    pub(crate) queues: Arc<dyn Queues>,
    /// What consumers of queues have given to tasks.
    pub(crate) consumers: Consumers,
    pub(crate) buses: Arc<dyn Buses>,
    /// What was denied to guests.
    pub(crate) denials: Denials,
    /// What rules and schedules led to, since it was last measured.
    pub(crate) invocations: Invocations,
    /// Services that are waited for here.
    pub(crate) wanted: Wanted,
    /// Held while the buses are told of the rules, so that what they are told last is the latest.
    telling_rules: Mutex<()>,
    pub(crate) clock: Arc<dyn Clock>,
    /// What ids are made of.
    pub(crate) random: SharedRandom,
    /// The view's generation that every living worker acts on; 0 until the first is.
    pub(crate) acknowledged: Watermark,
    /// Held for reading while something is stored that no object names yet; for writing while the collector runs.
    pub(crate) keeping: RwLock<()>,
    /// Held while what is checked against other objects is checked and written, so that two can't take the same: routes,
    /// ports, priorities, and who leads to whom.
    pub(crate) routing: tokio::sync::Mutex<()>,
    /// Places of connections to tasks.
    pub(crate) forwards: Arc<Semaphore>,
    /// One place for each byte of events that may be put by access keys at once.
    pub(crate) keyed_events: Arc<Semaphore>,
    pub(crate) drain: Drain,
    /// The platform is shutting down; the control plane itself goes on until the node has drained.
    winding_down: AtomicBool,
    /// Programs whose native code is ready, by key, with the view's generation as of which it was.
    prepared: Mutex<HashMap<Digest, u64>>,
}

impl Context {
    /// `objects` are those of the store, listed already; what happens to them they tell `events`.
    pub(crate) fn new(
        config: Config,
        deps: Deps,
        objects: Arc<Objects>,
        events: Arc<Events>,
        addresses: Addresses,
        drain: Drain,
    ) -> Self {
        let guard = Guard::new(&config.network, &config.host_addresses);
        let random = SharedRandom::new(deps.random);
        let nodes = deps.nodes.watch().borrow().clone();
        objects.read_mut(|view| {
            view.balancer.set_http_port(config.http.port());
            view.set_nodes(&nodes);
        });
        Self {
            config,
            objects,
            addresses,
            guard: Mutex::new(guard),
            images: deps.images,
            runtime: deps.runtime,
            nodes: deps.nodes,
            logs: deps.logs,
            flows: deps.flows,
            bill: Bill::new(deps.meters.clone(), deps.usage),
            series: Series::new(deps.series),
            events,
            alarms: Alarms::default(),
            webhooks: deps.webhooks,
            buckets: deps.buckets,
            tables: deps.tables,
            queues: deps.queues,
            consumers: Consumers::default(),
            buses: deps.buses,
            denials: Denials::default(),
            invocations: Invocations::default(),
            wanted: Wanted::default(),
            telling_rules: Mutex::default(),
            accounts: Accounts::new(deps.meters),
            clock: deps.clock,
            random,
            acknowledged: Watermark::default(),
            keeping: RwLock::new(()),
            routing: tokio::sync::Mutex::new(()),
            forwards: Arc::new(Semaphore::new(FORWARDS_MAX)),
            keyed_events: Arc::new(Semaphore::new(KEYED_BYTES_MAX)),
            drain,
            winding_down: AtomicBool::new(false),
            prepared: Mutex::default(),
        }
    }

    /// From now on nothing that ends is started anew, and what ends with the platform is not taken for a task's own end.
    pub(crate) fn wind_down(&self) {
        self.winding_down.store(true, Relaxed);
    }

    pub(crate) fn is_winding_down(&self) -> bool {
        self.winding_down.load(Relaxed)
    }

    /// What of the outside is special at present, if there are listeners at these ports.
    pub(crate) fn guard(&self, listeners: &[u16]) -> Guard {
        let mut guard = self.guard.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let address = self.config.http.ip();
        let doors: Vec<_> = listeners.iter().map(|port| SocketAddr::new(address, *port)).collect();
        guard.set_listeners(&doors);
        guard
    }

    pub(crate) fn set_host_addresses(&self, addresses: &[IpAddr]) {
        self.guard.lock().unwrap_or_else(PoisonError::into_inner).set_host_addresses(addresses);
    }

    /// Has the buses act on the rules as they are now, and on no others.
    pub(crate) fn tell_all_rules(&self) {
        let _alone = self.telling_rules.lock().unwrap_or_else(PoisonError::into_inner);
        let rules = self.objects.read_mut(|view| {
            view.buses.changed_rules.clear();
            view.all_event_rules()
        });
        self.buses.set_rules(rules);
    }

    /// Has the buses act on what became of rules since they were told last: once it returns they do, whoever told them.
    pub(crate) fn tell_rules(&self) {
        let _alone = self.telling_rules.lock().unwrap_or_else(PoisonError::into_inner);
        let changes: RuleChanges = self.objects.read_mut(|view| {
            let names = std::mem::take(&mut view.buses.changed_rules);
            let now = |name: QualifiedName| {
                let spec = view.event_rule(&name).map(|held| held.value.spec.clone());
                (name, spec)
            };
            names.into_iter().map(now).collect()
        });
        if !changes.is_empty() {
            self.buses.change_rules(changes);
        }
    }

    /// Now, in milliseconds since 1970.
    pub(crate) fn now_ms(&self) -> u64 {
        self.clock.unix_ms()
    }

    /// An id for a task that is made now.
    pub(crate) fn new_task_id(&self) -> TaskId {
        TaskId::from_parts(self.now_ms(), self.random.bytes())
    }

    /// An id for a deployment that is asked for now.
    pub(crate) fn new_deployment_id(&self) -> DeploymentId {
        DeploymentId::from_parts(self.now_ms(), self.random.bytes())
    }

    /// An id for what a bucket, a table or a queue that is made now will hold.
    pub(crate) fn new_resource_id(&self) -> ResourceId {
        ResourceId::from_bytes(self.random.bytes())
    }

    /// Whether every living worker acts on a change of this generation.
    pub(crate) fn is_acknowledged(&self, generation: u64) -> bool {
        self.acknowledged.get() >= generation
    }

    /// Since which generation of the view a program's native code is ready in this process's life, if it is.
    pub(crate) fn prepared_since(&self, program: &Digest) -> Option<u64> {
        self.prepared.lock().unwrap_or_else(PoisonError::into_inner).get(program).copied()
    }

    /// A program's native code is ready. Counts as a change of the view: tasks that run it are now assigned.
    pub(crate) fn set_prepared(&self, program: Digest) {
        self.objects.read_mut(|view| {
            let mut prepared = self.prepared.lock().unwrap_or_else(PoisonError::into_inner);
            prepared.entry(program).or_insert_with(|| {
                view.generation += 1;
                view.generation
            });
        });
        self.objects.wakes.assignments.notify_one();
        self.objects.wakes.tasks.notify_one();
    }

    /// The native code of all others is gone.
    pub(crate) fn keep_prepared(&self, keep: impl Fn(&Digest) -> bool) {
        self.prepared.lock().unwrap_or_else(PoisonError::into_inner).retain(|digest, _| keep(digest));
    }
}

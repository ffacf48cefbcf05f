//! The node: configuration, construction, the runtime port, and the port of the flow log.

use crate::calls::Answerer;
use crate::compile::Compiler;
use crate::desk;
use crate::flows::FlowLog;
use crate::guest_metrics::GuestMetricQueue;
use crate::listeners::{Listeners, asked_by_listeners, asked_by_service};
use crate::logs::LogFiles;
use crate::meters::{MeterAccounts, Meters};
use crate::seat::{self, SeatState};
use crate::slots::{Accounts, Slots};
use crate::spans::SpanQueue;
use crate::spawner::Spawner;
use crate::status::{ProcessStatus, WorkerState, WorkerStatus};
use crate::tickets::Tickets;
use crate::usage::Books;
use crate::wire::{AccessLog, ToWorker, WorkerRoom};
use crate::world::World;
use async_trait::async_trait;
use futures::FutureExt;
use futures::future::{BoxFuture, try_join_all};
use futures::stream::BoxStream;
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use skiff_kit::Drain;
use skiff_ledger::{Ledger, Totals};
use skiff_ports::cookie::CookieKey;
use skiff_ports::flows::{FlowQuery, FlowRecord, Flows, InterfaceState};
use skiff_ports::guest_calls::GuestCalls;
use skiff_ports::guest_deliveries::{DeliverError, GuestDelivery, GuestOutcome};
use skiff_ports::images::Images;
use skiff_ports::metrics::GuestMetrics;
use skiff_ports::native::NativeCode;
use skiff_ports::network::NetworkSetup;
use skiff_ports::runtime::{
    ColdStart, ComponentReport, DesiredChange, ForwardError, PrepareError, Runtime, TargetReading, TaskEvent,
};
use skiff_ports::snapshot::Version;
use skiff_ports::spans::SampleShare;
use skiff_types::{Charge, Digest, Name, Program, QualifiedName, TaskId};
use std::collections::{BTreeSet, HashMap};
use std::io;
use std::net::{IpAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{mpsc, watch};

/// Measuring cold starts may take this long.
const MEASURE_TIMEOUT: Duration = Duration::from_secs(120);
/// Asking workers what goes on at a network interface may take this long.
const LOOK_TIMEOUT: Duration = Duration::from_secs(2);
/// Connecting an operator to a task may take this long: more than a worker gives an attempt.
const FORWARD_TIMEOUT: Duration = Duration::from_secs(15);
/// Services that requests wait for which found no task, and that nobody has heard of yet. More are not remembered: as long as
/// the requests wait, their workers say it again.
const WANTED_MAX: usize = 4_096;
/// What workers get beyond the drain's time to say that they are done.
const DRAIN_GRACE: Duration = Duration::from_millis(500);

/// How a node is to be.
#[derive(Debug, Clone)]
pub struct Config {
    /// How many workers.
    pub workers: usize,
    /// What each of them has room for.
    pub room: WorkerRoom,
    /// Compilers at once.
    pub compilers: usize,
    /// Where the node keeps what can be made again: reports, what is being compiled.
    pub cache_dir: PathBuf,
    /// Where and how workers write their access logs, if at all; each has a file of its own, with its number in the name.
    pub access_log: Option<AccessLog>,
    /// What workers must know of the network in any case.
    pub network: NetworkSetup,
    /// The address at whose ports services and listeners are reached that ask for one.
    pub listen: IpAddr,
    /// What every worker signs cookies with.
    pub cookie_key: CookieKey,
    /// Of which share of the traces that begin in workers they record spans; of none where they are to record none at all.
    pub spans: Option<SampleShare>,
}

/// Why a node could not be started.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The ledger.
    #[error("the node's ledger can't be made")]
    Ledger(#[from] skiff_ledger::LedgerError),
    /// The operating system refused something.
    #[error("the node can't {0}")]
    System(&'static str, #[source] io::Error),
}

/// What all seats share.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) ledger: Ledger,
    pub(crate) ledger_fd: OwnedFd,
    /// Closed when the node stops, so that whoever connects then is refused at once.
    pub(crate) listener: Mutex<Option<OwnedFd>>,
    pub(crate) listeners: Listeners,
    pub(crate) tickets: Tickets,
    /// By seat: the receiving and the sending end. Both stay open here, so what waits in one outlives its worker.
    pub(crate) inboxes: Vec<(OwnedFd, OwnedFd)>,
    /// The same for the wires of the virtual network: by which workers reach the network interfaces in each other.
    pub(crate) wires: Vec<(OwnedFd, OwnedFd)>,
    pub(crate) world: Mutex<World>,
    pub(crate) version: watch::Sender<Version>,
    pub(crate) slots: Mutex<Slots>,
    pub(crate) meters: Mutex<Meters>,
    pub(crate) seats: Vec<Mutex<SeatState>>,
    pub(crate) spawner: Spawner,
    pub(crate) compiler: Compiler,
    pub(crate) logs: LogFiles,
    pub(crate) flows: FlowLog,
    pub(crate) spans: SpanQueue,
    pub(crate) guest_metrics: GuestMetricQueue,
    pub(crate) answerer: Answerer,
    books: Mutex<Books>,
    changes: watch::Sender<u64>,
    events: mpsc::UnboundedSender<TaskEvent>,
    wanted: mpsc::Sender<QualifiedName>,
    drain: Drain,
}

/// A node of tasks. Cheap to clone.
#[derive(Clone)]
pub struct Node {
    shared: Arc<Shared>,
    events: Arc<tokio::sync::Mutex<mpsc::UnboundedReceiver<TaskEvent>>>,
    wanted: Arc<tokio::sync::Mutex<mpsc::Receiver<QualifiedName>>>,
}

impl Node {
    /// Starts the workers, which accept from `listener` as soon as they have a first version.
    pub fn start(
        config: Config,
        listener: TcpListener,
        cache: Arc<dyn NativeCode>,
        images: Arc<dyn Images>,
        logs: LogFiles,
        flows: FlowLog,
    ) -> Result<Self, NodeError> {
        let system = |what| move |error: io::Error| NodeError::System(what, error);
        let (ledger, ledger_fd) = Ledger::create(config.workers)?;
        let spawner = Spawner::start().map_err(system("start a thread"))?;
        let compiler = Compiler::new(&config.cache_dir, cache, images, spawner.clone(), config.compilers)
            .map_err(system("make its cache folder"))?;
        let inboxes = || (0..config.workers).map(|_| inbox()).collect::<io::Result<Vec<_>>>();
        let make_sockets = "make sockets for its workers";
        let (events, next_events) = mpsc::unbounded_channel();
        let (wanted, next_wanted) = mpsc::channel(WANTED_MAX);
        let (mut world, meters) = (World::new(config.workers), Meters::new(ledger.clone()));
        world.balance(meters.built_in());
        let shared = Arc::new(Shared {
            slots: Mutex::new(Slots::new(ledger.clone())),
            meters: Mutex::new(meters),
            ledger,
            ledger_fd,
            listener: Mutex::new(Some(listener.into())),
            listeners: Listeners::new(config.listen),
            tickets: Tickets::new(),
            inboxes: inboxes().map_err(system(make_sockets))?,
            wires: inboxes().map_err(system(make_sockets))?,
            world: Mutex::new(world),
            version: watch::Sender::new(0),
            seats: (0..config.workers).map(|_| Mutex::default()).collect(),
            spawner,
            compiler,
            logs,
            flows,
            spans: SpanQueue::new(),
            guest_metrics: GuestMetricQueue::default(),
            answerer: Answerer::default(),
            books: Mutex::default(),
            changes: watch::Sender::new(0),
            events,
            wanted,
            drain: Drain::new(),
            config,
        });
        for worker in 0..shared.config.workers {
            let (shared, token) = (shared.clone(), shared.drain.token());
            tokio::spawn(async move {
                seat::keep(shared, worker).await;
                drop(token);
            });
        }
        let retrying = shared.clone();
        tokio::spawn(async move { retrying.listeners.keep(&retrying.drain).await });
        let renewing = shared.clone();
        tokio::spawn(async move { renewing.tickets.keep(&renewing.drain).await });
        let (events, wanted) = (tokio::sync::Mutex::new(next_events), tokio::sync::Mutex::new(next_wanted));
        Ok(Self { shared, events: Arc::new(events), wanted: Arc::new(wanted) })
    }

    /// Says who answers what guests ask of their platform; until then their calls wait. To be said once: who answers knows the
    /// node, and can be made only after it.
    pub fn answer_guests_with(&self, calls: Arc<dyn GuestCalls>) {
        self.shared.answerer.set(calls);
    }

    /// Lets every worker finish what is in flight within `timeout`, and ends them; says whether all ended in time.
    pub async fn shutdown(&self, timeout: Duration) -> bool {
        self.shared.drain.begin();
        drop(self.shared.listener.lock().expect("no holder panics").take());
        self.shared.listeners.close();
        for seat in &self.shared.seats {
            seat.lock().expect("no holder panics").drain(timeout.as_millis() as u64);
        }
        if !self.shared.drain.finish(timeout + DRAIN_GRACE).await {
            self.shared.kill_workers();
            self.shared.drain.finish(DRAIN_GRACE).await;
        }
        tokio::join!(self.shared.logs.flush(), self.shared.flows.flush());
        let complete = |seat: &Mutex<SeatState>| seat.lock().expect("no holder panics").drained == Some(true);
        self.shared.seats.iter().all(complete)
    }

    /// The accounts of all tasks; those of tasks that ended are handed over once.
    pub fn accounts(&self) -> Accounts {
        self.shared.slots.lock().expect("no holder panics").read()
    }

    /// The sums of those of these tasks that live and used anything; costs what these tasks do, however many there are.
    pub fn totals(&self, tasks: &[TaskId]) -> HashMap<TaskId, Totals> {
        self.shared.slots.lock().expect("no holder panics").totals(tasks)
    }

    /// What is counted at the load balancer's listeners, rules, target groups and their addresses; what was counted at those
    /// that are gone is handed over once.
    pub fn meters(&self) -> MeterAccounts {
        self.shared.meters.lock().expect("no holder panics").read()
    }

    /// Where the workers are in their lives, by seat. Asks nobody.
    pub fn worker_states(&self) -> Vec<WorkerState> {
        self.shared.seats.iter().map(|seat| seat.lock().expect("no holder panics").state).collect()
    }

    /// How many lines of guests were lost since the start because the disk was slower than they came.
    pub fn log_lines_lost(&self) -> u64 {
        self.shared.logs.lost_count()
    }

    /// How many records of the flow log were lost since the start because they came faster than they could be kept.
    pub fn flow_records_lost(&self) -> u64 {
        self.shared.flows.lost_count()
    }

    /// Where the workers' records of spans wait for who exports them.
    pub fn spans(&self) -> &SpanQueue {
        &self.shared.spans
    }

    /// What tasks and the platform used since the call before; each charge is handed over once.
    pub fn charges(&self) -> Vec<Charge> {
        let Shared { ledger, slots, spawner, books, .. } = &*self.shared;
        let mut books = books.lock().expect("no holder panics");
        let mut charges = slots.lock().expect("no holder panics").charges();
        charges.push(books.charge(ledger, spawner, &charges));
        charges
    }

    /// The workers, by seat. Reads the processes' status: some 100 µs each.
    pub fn workers(&self) -> Vec<WorkerStatus> {
        let status = |(worker, seat): (usize, &Mutex<SeatState>)| {
            let (state, process, restarts) = {
                let seat = seat.lock().expect("no holder panics");
                (seat.state, seat.process, seat.restarts)
            };
            let row = self.shared.ledger.worker(worker);
            WorkerStatus {
                worker,
                state,
                uptime: process.map(|(_, since)| since.elapsed()),
                process: process.map(|(pid, _)| ProcessStatus::read(pid)),
                restarts,
                connections: row.connections.get(),
                requests: row.requests.get(),
                platform_cpu: Duration::from_nanos(row.platform_cpu_ns.get()),
                mapped_components: row.mapped_components.get(),
                mapped_code_bytes: row.mapped_code_bytes.get(),
                pool_kept_bytes: row.pool_kept_bytes.get(),
            }
        };
        self.shared.seats.iter().enumerate().map(status).collect()
    }
}

#[async_trait]
impl Runtime for Node {
    fn assign(&self, change: DesiredChange) -> Version {
        self.shared.assign(change)
    }

    async fn acknowledged(&self, version: Version) {
        let mut changes = self.shared.changes.subscribe();
        loop {
            changes.mark_unchanged();
            if self.shared.acknowledged() >= Some(version) {
                return;
            }
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    async fn next_event(&self) -> TaskEvent {
        match self.events.lock().await.recv().await {
            Some(event) => event,
            None => std::future::pending().await,
        }
    }

    async fn next_wanted(&self) -> QualifiedName {
        match self.wanted.lock().await.recv().await {
            Some(service) => service,
            None => std::future::pending().await,
        }
    }

    async fn next_metrics(&self) -> GuestMetrics {
        self.shared.guest_metrics.next().await
    }

    async fn prepare(&self, program: &Program) -> Result<ComponentReport, PrepareError> {
        self.shared.compiler.prepare(program).await
    }

    fn outstanding(&self, task: TaskId) -> u64 {
        self.shared.slots.lock().expect("no holder panics").outstanding(task)
    }

    fn target_health(&self, group: &QualifiedName) -> Vec<TargetReading> {
        self.shared.target_health(group)
    }

    fn listener_problem(&self, listener: &Name) -> Option<String> {
        self.shared.listeners.problem(listener)
    }

    async fn keep_native(&self, keys: &BTreeSet<Digest>) -> usize {
        self.shared.compiler.keep(keys.clone()).await
    }

    async fn measure_cold_start(
        &self,
        task: TaskId,
        path: String,
        rounds: u32,
    ) -> Result<Vec<ColdStart>, String> {
        let ask = |request| ToWorker::MeasureColdStart { request, task, path, rounds };
        let answer = self.shared.seats[0].lock().expect("no holder panics").measure(ask);
        let answer = answer.ok_or("the worker is busy or being started; try again")?;
        match tokio::time::timeout(MEASURE_TIMEOUT, answer).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err("the worker died while it measured".to_owned()),
            Err(_) => Err(format!("measuring took more than {} s; ask for fewer", MEASURE_TIMEOUT.as_secs())),
        }
    }

    async fn deliver(&self, task: TaskId, delivery: GuestDelivery) -> Result<GuestOutcome, DeliverError> {
        self.shared.deliver(task, delivery).await
    }

    async fn forward(&self, task: TaskId, port: u16) -> Result<UnixStream, ForwardError> {
        self.shared.forward(task, port).await
    }
}

impl Flows for Node {
    fn read(&self, query: FlowQuery) -> BoxStream<'static, io::Result<FlowRecord>> {
        self.shared.flows.read(query)
    }

    fn open(&self, task: TaskId) -> BoxFuture<'_, Result<InterfaceState, String>> {
        self.shared.interface_state(task).boxed()
    }
}

impl Shared {
    fn assign(&self, change: DesiredChange) -> Version {
        let mut asked: Vec<_> = asked_by_listeners(&change.balancer).collect();
        let routes = change.routes.iter();
        asked.extend(routes.map(|route| asked_by_service(route.service.clone(), &route.listen)));
        asked.extend(change.withdrawn.iter().map(|service| asked_by_service(service.clone(), &[])));
        let mut world = self.world.lock().expect("no holder panics");
        let mut slots = self.slots.lock().expect("no holder panics");
        let mut meters = self.meters.lock().expect("no holder panics");
        for refused in desk::assign(&mut world, &mut slots, &mut meters, change) {
            let _ = self.events.send(refused);
        }
        let version = world.version;
        self.version.send_replace(version);
        // Behind the version, so that no worker accepts what it does not know the way of.
        self.listeners.change(asked);
        version
    }

    /// Has the worker that a task lives in connect one end of a socket to it; the other end is the operator's.
    async fn forward(&self, task: TaskId, port: u16) -> Result<UnixStream, ForwardError> {
        let home = self.world.lock().expect("no holder panics").home(task).ok_or(ForwardError::Gone)?;
        let unavailable = |message: &str| ForwardError::Unavailable(message.to_owned());
        let pair = UnixStream::pair().and_then(|(ours, theirs)| {
            ours.set_nonblocking(true)?;
            theirs.set_nonblocking(true)?;
            Ok((ours, theirs))
        });
        let (ours, theirs) = pair
            .map_err(|error| ForwardError::Unavailable(format!("the node has no sockets left: {error}")))?;
        let answer = {
            let mut seat = self.seats[home].lock().expect("no holder panics");
            // One that is being started does not know its tasks yet, and one that drains takes nothing on.
            let serves = seat.state == WorkerState::Running;
            serves.then(|| seat.forward(task, port, theirs.into())).flatten()
        };
        let answer =
            answer.ok_or_else(|| unavailable("the worker that the task lives in is busy; try again"))?;
        match tokio::time::timeout(FORWARD_TIMEOUT, answer).await {
            Ok(Ok(Ok(()))) => Ok(ours),
            Ok(Ok(Err(message))) => Err(ForwardError::Refused(message)),
            Ok(Err(_)) => Err(unavailable("the worker that the task lives in died; try again")),
            Err(_) => Err(unavailable("the worker that the task lives in gave no answer in time; try again")),
        }
    }

    /// What goes on at a task's network interface, in all workers that the task lives in.
    async fn interface_state(&self, task: TaskId) -> Result<InterfaceState, String> {
        let home = self.world.lock().expect("no holder panics").home(task);
        let ask = |request| ToWorker::InterfaceState { request, task };
        let seats =
            self.seats.iter().enumerate().filter(|(worker, _)| home.is_none_or(|home| home == *worker));
        let asked = seats.filter_map(|(_, seat)| {
            let mut seat = seat.lock().expect("no holder panics");
            // In one that does not serve, nothing goes on.
            (seat.state == WorkerState::Running).then(|| seat.look(ask))
        });
        let answers: Option<Vec<_>> = asked.collect();
        let answers = try_join_all(answers.ok_or("a worker is busy; try again")?);
        match tokio::time::timeout(LOOK_TIMEOUT, answers).await {
            Ok(Ok(states)) => Ok(together(states)),
            Ok(Err(_)) => Err("a worker died while it was asked; try again".to_owned()),
            Err(_) => Err(format!("a worker said nothing within {} s; try again", LOOK_TIMEOUT.as_secs())),
        }
    }

    /// The version that every living worker acts on; `None` while none lives.
    fn acknowledged(&self) -> Option<Version> {
        let acts_on = |seat: &Mutex<SeatState>| seat.lock().expect("no holder panics").acts_on();
        self.seats.iter().filter_map(acts_on).min()
    }

    /// To be called after a seat's state or acknowledged version has changed.
    pub(crate) fn seats_changed(&self) {
        if let Some(version) = self.acknowledged() {
            self.slots.lock().expect("no holder panics").acknowledged(version);
            self.meters.lock().expect("no holder panics").acknowledged(version);
        }
        self.changes.send_modify(|count| *count += 1);
    }

    /// Passes an event on; a `command` task that ended is not started again unless it is assigned anew, and nobody is
    /// to reach it any more.
    pub(crate) fn task_event(&self, event: TaskEvent) {
        if let TaskEvent::Ended { task, life, .. } = &event {
            let mut world = self.world.lock().expect("no holder panics");
            let before = world.version;
            if !world.take_in_end(*task, *life) {
                return;
            }
            if world.version != before {
                self.version.send_replace(world.version);
            }
        }
        let _ = self.events.send(event);
    }

    /// A request waits for a service that has no task.
    pub(crate) fn want(&self, service: QualifiedName) {
        let _ = self.wanted.try_send(service);
    }

    pub(crate) fn stopping(&self) -> bool {
        self.drain.has_begun()
    }

    /// Lets the workers exit once the node stops and none has anything in flight: until then, what one has may lead to
    /// another's tasks.
    pub(crate) fn exit_if_all_drained(&self) {
        let is_at_work = |seat: &Mutex<SeatState>| seat.lock().expect("no holder panics").is_at_work();
        if self.stopping() && !self.seats.iter().any(is_at_work) {
            self.seats.iter().for_each(|seat| seat.lock().expect("no holder panics").exit());
        }
    }

    fn kill_workers(&self) {
        for seat in &self.seats {
            let process = seat.lock().expect("no holder panics").process;
            if let Some(pid) = process.and_then(|(pid, _)| rustix::process::Pid::from_raw(pid as i32)) {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
    }
}

/// What the workers of one task said of its network interface, added up.
fn together(states: Vec<InterfaceState>) -> InterfaceState {
    let mut whole = InterfaceState::default();
    for InterfaceState { listening, connections, connection_count } in states {
        whole.listening.extend(listening);
        whole.connections.extend(connections);
        whole.connection_count += connection_count;
    }
    whole.listening.sort_unstable();
    whole.listening.dedup();
    whole.connections.sort_by_key(|connection| connection.began_at_ms);
    whole
}

/// A socket pair for handing something to a worker: whole messages, with descriptors.
fn inbox() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?)
}

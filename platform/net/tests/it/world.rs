//! The networks of a node's workers, joined in one process; tasks in them; and what they write down.

use bytes::Bytes;
use futures::FutureExt;
use futures::future::LocalBoxFuture;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use skiff_ledger::{Ledger, Totals};
use skiff_net::{
    Config, Deps, FlowLog, Interface, Limits, Listener, NetError, Network, Resolve, Resolved, Stream, Wires,
};
use skiff_ports::flows::FlowRecord;
use skiff_ports::network::{GroupRules, NetworkChange, NetworkInterface, NetworkSetup};
use skiff_types::{Kind, NetworkSpec, Rule, TaskAddress, TaskId, Transport};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::poll_fn;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;
use tokio::runtime::Builder;
use tokio::task::LocalSet;
use tokio::time::timeout;

/// After which a test that waits has failed: by the clock that stands still while something can be done, which costs no
/// time, and by the real one.
const DEADLINE_PAUSED: Duration = Duration::from_secs(86_400);
const DEADLINE: Duration = Duration::from_secs(20);

/// Runs a test under a clock that stands still while anything can be done. Not for tests that wait for the kernel.
pub(crate) fn run(test: impl Future<Output = ()>) {
    run_by(true, DEADLINE_PAUSED, test);
}

/// Runs a test under the real clock.
pub(crate) fn run_in_real_time(test: impl Future<Output = ()>) {
    run_by(false, DEADLINE, test);
}

fn run_by(is_paused: bool, deadline: Duration, test: impl Future<Output = ()>) {
    let runtime = Builder::new_current_thread().enable_all().start_paused(is_paused).build().unwrap();
    LocalSet::new().block_on(&runtime, async {
        timeout(deadline, test).await.expect("a test does not hang");
    });
}

/// A node.
pub(crate) struct World {
    pub(crate) ledger: Ledger,
    pub(crate) names: Rc<Names>,
    networks: Vec<Network>,
    log: Rc<Log>,
    told: RefCell<HashMap<TaskId, NetworkInterface>>,
    next_number: Cell<u16>,
}

/// A resolver that knows what it is told.
#[derive(Default)]
pub(crate) struct Names(RefCell<HashMap<String, Result<Resolved, NetError>>>);

impl Names {
    pub(crate) fn set(&self, name: &str, addresses: &[&str], valid_for: Duration) {
        let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
        self.0.borrow_mut().insert(name.to_owned(), Ok(Resolved { addresses, valid_for }));
    }
}

impl Resolve for Names {
    fn resolve(&self, name: &str) -> LocalBoxFuture<'static, Result<Resolved, NetError>> {
        let answer = self.0.borrow().get(name).cloned().unwrap_or(Err(NetError::NameUnresolvable));
        std::future::ready(answer).boxed_local()
    }
}

#[derive(Default)]
struct Log(RefCell<Vec<FlowRecord>>);

impl FlowLog for Log {
    fn record(&self, record: FlowRecord) {
        self.0.borrow_mut().push(record);
    }
}

impl World {
    /// One worker. Like the others, within a runtime.
    pub(crate) fn new() -> Self {
        Self::with(1, Limits::default())
    }

    /// Workers that are joined by wires. There is the group `default/default` as it is implied.
    pub(crate) fn with(workers: u32, limits: Limits) -> Self {
        let setup = NetworkSetup { spec: NetworkSpec::default(), node_index: 0, own_doors: Vec::new() };
        Self::with_setup(workers, limits, setup)
    }

    pub(crate) fn with_setup(workers: u32, limits: Limits, setup: NetworkSetup) -> Self {
        let (ledger, _) = Ledger::create(workers as usize).unwrap();
        let (names, log) = (Rc::<Names>::default(), Rc::<Log>::default());
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let inbox = |_| socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
        let (inboxes, peers): (Vec<_>, Vec<_>) = (0..workers).map(inbox).unzip();
        let network = |(worker, inbox)| {
            let peers = peers.iter().map(|peer| peer.try_clone().unwrap()).collect();
            let config = Config {
                worker,
                workers,
                setup: setup.clone(),
                limits: limits.clone(),
                host_addresses: vec![],
            };
            let deps = Deps {
                ledger: ledger.clone(),
                resolver: names.clone(),
                flow_log: log.clone(),
                wires: Wires::new(inbox, peers, worker).unwrap(),
            };
            Network::new(config, deps).unwrap()
        };
        let networks = (0..).zip(inboxes).map(network).collect();
        let next_number = Cell::new(16);
        let world = Self { ledger, names, networks, log, told: RefCell::default(), next_number };
        world.set_group("default/default", &Rule::defaults().iter().map(Rule::to_string).collect::<Vec<_>>());
        world
    }

    pub(crate) fn network(&self, worker: u32) -> &Network {
        &self.networks[worker as usize]
    }

    /// Tells every worker of a change.
    pub(crate) fn apply(&self, change: NetworkChange) {
        for network in &self.networks {
            network.apply(change.clone());
        }
    }

    /// Makes a group, or makes it allow these rules instead.
    pub(crate) fn set_group(&self, group: &str, rules: &[impl AsRef<str>]) {
        let rules = rules.iter().map(|rule| rule.as_ref().parse().unwrap()).collect();
        let groups = vec![GroupRules { group: group.parse().unwrap(), rules }];
        self.apply(NetworkChange { groups, ..NetworkChange::default() });
    }

    /// A `command` task in the first worker.
    pub(crate) fn task(&self, owner: &str, groups: &[&str]) -> Interface {
        self.task_in(0, owner, groups)
    }

    /// A `command` task in a worker.
    pub(crate) fn task_in(&self, worker: u32, owner: &str, groups: &[&str]) -> Interface {
        let task = self.put(Kind::Command, Some(worker), owner, groups);
        self.network(worker).interface(task).unwrap()
    }

    /// An `http` task, which is in every worker.
    pub(crate) fn http_task(&self, owner: &str, groups: &[&str]) -> TaskId {
        self.put(Kind::Http, None, owner, groups)
    }

    fn put(&self, kind: Kind, home: Option<u32>, owner: &str, groups: &[&str]) -> TaskId {
        let told = self.describe(kind, home, owner, groups);
        let task = told.task;
        self.tell(told);
        task
    }

    /// A new task as it would be told.
    pub(crate) fn describe(
        &self,
        kind: Kind,
        home: Option<u32>,
        owner: &str,
        groups: &[&str],
    ) -> NetworkInterface {
        let number = self.next_number.replace(self.next_number.get() + 1);
        let [high, low] = number.to_be_bytes();
        NetworkInterface {
            task: TaskId::from_parts(u64::from(number), [low; 10]),
            owner: owner.parse().unwrap(),
            in_service: true,
            kind,
            address: TaskAddress {
                v4: [10, 64, high, low].into(),
                v6: [0xfd73, 0x6b69, 0x6666, 0, 0, 0, 0, number].into(),
            },
            groups: groups.iter().map(|group| group.parse().unwrap()).collect(),
            home,
            ready: true,
            slot: u32::from(number),
            memory_bytes: 64 << 20,
        }
    }

    /// Tells every worker of a task that is new or has changed.
    pub(crate) fn tell(&self, told: NetworkInterface) {
        self.told.borrow_mut().insert(told.task, told.clone());
        self.apply(NetworkChange { interfaces: vec![told], ..NetworkChange::default() });
    }

    /// A task as it was told last.
    pub(crate) fn told(&self, task: TaskId) -> NetworkInterface {
        self.told.borrow()[&task].clone()
    }

    /// Tells every worker that a task is otherwise now.
    pub(crate) fn change(&self, task: TaskId, change: impl FnOnce(&mut NetworkInterface)) {
        let mut told = self.told(task);
        change(&mut told);
        self.tell(told);
    }

    /// Tells every worker that a task is in other groups now.
    pub(crate) fn regroup(&self, task: TaskId, groups: &[&str]) {
        self.change(task, |told| told.groups = groups.iter().map(|group| group.parse().unwrap()).collect());
    }

    /// Tells every worker that a task is gone.
    pub(crate) fn end(&self, task: TaskId) {
        self.apply(NetworkChange { left: vec![task], ..NetworkChange::default() });
    }

    /// What was written down since this was asked last.
    pub(crate) fn records(&self) -> Vec<FlowRecord> {
        self.log.0.take()
    }

    /// A task's account.
    pub(crate) fn totals(&self, task: TaskId) -> Totals {
        self.ledger.task(self.told(task).slot).totals()
    }

    /// A task in the first worker with a limit on its memory.
    pub(crate) fn task_with_memory(&self, owner: &str, memory_bytes: u64) -> Interface {
        let told = self.describe(Kind::Command, Some(0), owner, &["default"]);
        let task = told.task;
        self.tell(NetworkInterface { memory_bytes, ..told });
        self.network(0).interface(task).unwrap()
    }
}

/// A port of every address, in IPv4.
pub(crate) fn any(port: u16) -> SocketAddr {
    SocketAddr::new([0, 0, 0, 0].into(), port)
}

/// A port of a task, by its IPv4 address.
pub(crate) fn at(task: &Interface, port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(task.address().v4), port)
}

/// Takes connections at a port of a task.
pub(crate) fn listen(task: &Interface, port: u16) -> Listener {
    let port = task.bind(Transport::Tcp, any(port)).unwrap();
    task.listen(port, usize::MAX).unwrap()
}

pub(crate) async fn accept(listener: &Listener) -> Result<Stream, NetError> {
    poll_fn(|context| listener.poll_accept(context)).await
}

/// Opens a connection from one task to a port of another that nobody listens at yet: its two ends.
pub(crate) async fn open(from: &Interface, to: &Interface, port: u16) -> (Stream, Stream) {
    let listener = listen(to, port);
    let ours = from.connect(None, at(to, port)).await.unwrap();
    let theirs = accept(&listener).await.unwrap();
    (ours, theirs)
}

pub(crate) async fn read(stream: &Stream) -> Result<Bytes, NetError> {
    poll_fn(|context| stream.poll_read(context, usize::MAX)).await
}

/// Everything up to the end.
pub(crate) async fn read_all(stream: &Stream) -> Result<Vec<u8>, NetError> {
    let mut all = Vec::new();
    loop {
        let bytes = read(stream).await?;
        if bytes.is_empty() {
            return Ok(all);
        }
        all.extend_from_slice(&bytes);
    }
}

/// Writes all, as there is room.
pub(crate) async fn write(stream: &Stream, bytes: impl Into<Bytes>) -> Result<(), NetError> {
    let mut bytes = bytes.into();
    while !bytes.is_empty() {
        let room = poll_fn(|context| stream.poll_writable(context)).await?;
        stream.write(bytes.split_to(room.min(bytes.len())))?;
    }
    Ok(())
}

/// What a call says at once; `None` if it would wait.
pub(crate) fn now<T>(poll: impl FnOnce(&mut Context<'_>) -> Poll<T>) -> Option<T> {
    match poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}

/// A waker that counts how often it was woken.
#[derive(Default)]
pub(crate) struct Wakes(AtomicUsize);

impl Wakes {
    pub(crate) fn new() -> (Arc<Self>, Waker) {
        let wakes = Arc::<Self>::default();
        (wakes.clone(), wakes.into())
    }

    pub(crate) fn count(&self) -> usize {
        self.0.load(SeqCst)
    }
}

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, SeqCst);
    }
}

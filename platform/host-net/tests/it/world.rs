//! A worker's guests and its network without a worker: guests are built on first use, compiled once, and run on the test's own
//! thread; what is outside is the test's too.

use futures::FutureExt;
use futures::future::LocalBoxFuture;
use http::{Request, Response};
use http_body_util::BodyExt;
use skiff_host_net::HostNet;
use skiff_ledger::{Ledger, TaskSlot};
use skiff_net::{FlowLog, Interface, Limits as NetLimits, NetError, Network, Resolve, Resolved, Wires};
use skiff_ports::body::{self, Body};
use skiff_ports::flows::FlowRecord;
use skiff_ports::invoke::{Invoke, InvokeError};
use skiff_ports::logs::LogStream;
use skiff_ports::network::{GroupRules, NetworkChange, NetworkInterface, NetworkSetup};
use skiff_ports::runtime::TaskEvent;
use skiff_ports::snapshot::{Assignment, TaskSpec};
use skiff_ports::wake::Wake;
use skiff_sandbox::{CodeBounds, Config, Deps, Sandboxes};
use skiff_testbed::{Compiled, GUESTS, Lines, NativeCode, build, until};
use skiff_types::{
    DEFAULT_GROUP, Kind, Limits, Namespace, NetworkSpec, QualifiedName, Rule, TaskAddress, TaskId,
};
use std::cell::RefCell;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

/// More code stays mapped than any test has.
const CODE_BOUNDS: CodeBounds = CodeBounds { components: 100, bytes: 1 << 30 };
/// Sandboxes at once.
const SANDBOXES_MAX: usize = 64;

/// A component to test with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Guest {
    /// An HTTP task that sends requests, on WASI 0.2.
    Fetch,
    /// The same on 0.3.
    FetchP3,
    /// An HTTP task that does what a path asks for, on WASI 0.2.
    Misbehave,
    /// The same on 0.3.
    MisbehaveP3,
    /// A command that talks over sockets as its script says, on WASI 0.2.
    Sockets,
    /// The same on 0.3.
    SocketsP3,
}

impl Guest {
    /// The package, and the file that comes out.
    fn source(self) -> (&'static str, &'static str) {
        match self {
            Self::Fetch => ("fetch", "fetch.wasm"),
            Self::FetchP3 => ("fetch-p3", "fetch_p3.wasm"),
            Self::Misbehave => ("misbehave", "misbehave.wasm"),
            Self::MisbehaveP3 => ("misbehave-p3", "misbehave_p3.wasm"),
            Self::Sockets => ("sockets", "sockets.wasm"),
            Self::SocketsP3 => ("sockets-p3", "sockets_p3.wasm"),
        }
    }

    /// It, built if need be, and compiled once in this process.
    fn compiled(self) -> Arc<Compiled> {
        static COMPILED: LazyLock<Mutex<HashMap<Guest, Arc<Compiled>>>> = LazyLock::new(Mutex::default);
        let mut compiled = COMPILED.lock().expect("no test panics while it compiles");
        let compile = || {
            let (package, file) = self.source();
            let component = std::fs::read(build(GUESTS, package, file)).expect("just built");
            Arc::new(Compiled::new(&component))
        };
        compiled.entry(self).or_insert_with(compile).clone()
    }
}

/// What a test can see of a worker. Made inside [`skiff_testbed::on_one_thread`].
pub(crate) struct World {
    pub(crate) sandboxes: Rc<Sandboxes>,
    pub(crate) network: Network,
    pub(crate) ledger: Ledger,
    names: Names,
    flows: Rc<RefCell<Vec<FlowRecord>>>,
    lines: Lines,
    events: Rc<RefCell<Vec<TaskEvent>>>,
    interfaces: RefCell<Vec<NetworkInterface>>,
    /// Tasks that names lead to once their services are woken.
    sleepers: Rc<RefCell<Vec<NetworkInterface>>>,
}

/// Has names lead to the tasks of services that sleep, a moment after it is asked.
struct Wakes {
    network: Network,
    sleepers: Rc<RefCell<Vec<NetworkInterface>>>,
}

impl Wake for Wakes {
    fn wake(&self, service: &QualifiedName) -> LocalBoxFuture<'static, bool> {
        let interfaces: Vec<_> =
            self.sleepers.borrow_mut().extract_if(.., |sleeper| sleeper.owner == *service).collect();
        let network = self.network.clone();
        async move {
            tokio::task::yield_now().await;
            let is_woken = !interfaces.is_empty();
            network.apply(NetworkChange { interfaces, ..NetworkChange::default() });
            is_woken
        }
        .boxed_local()
    }
}

impl World {
    /// A world in which these guests can be run. Every task is in the group `default`, which allows what it does where nobody
    /// has changed it.
    pub(crate) fn new(guests: &[Guest]) -> Self {
        Self::with(guests, &skiff_host_net::Config::default(), NetLimits::default())
    }

    /// The same, with this configuration and these bounds.
    pub(crate) fn with(guests: &[Guest], config: &skiff_host_net::Config, limits: NetLimits) -> Self {
        let (ledger, _) = Ledger::create(1).expect("a ledger");
        let (names, flows) = (Names::default(), Rc::<RefCell<Vec<FlowRecord>>>::default());
        let network = Network::new(
            skiff_net::Config {
                worker: 0,
                workers: 1,
                setup: NetworkSetup { spec: NetworkSpec::default(), node_index: 0, own_doors: Vec::new() },
                limits,
                host_addresses: vec![Ipv4Addr::LOCALHOST.into()],
            },
            skiff_net::Deps {
                ledger: ledger.clone(),
                resolver: Rc::new(names.clone()),
                flow_log: Rc::new(Flows(flows.clone())),
                wires: Wires::alone(),
            },
        )
        .expect("a network");
        let host_net = HostNet::new(config, network.clone()).expect("a sound configuration");
        let (lines, events) = (Lines::default(), Rc::<RefCell<Vec<TaskEvent>>>::default());
        let told = events.clone();
        let compiled: Vec<_> = guests.iter().map(|guest| guest.compiled()).collect();
        let deps = Deps {
            ledger: ledger.clone(),
            code: Rc::new(NativeCode::of(compiled.iter().map(|compiled| &**compiled))),
            logs: Rc::new(lines.clone()),
            events: Rc::new(move |event| told.borrow_mut().push(event)),
            capabilities: vec![host_net.clone()],
        };
        let config = Config { worker: 0, sandboxes_max: SANDBOXES_MAX, code: CODE_BOUNDS };
        let sandboxes = Sandboxes::new(config, deps).expect("sandboxes");
        let invoke: Rc<dyn Invoke> = sandboxes.clone();
        host_net.answer_with(&invoke);
        let sleepers = Rc::<RefCell<Vec<NetworkInterface>>>::default();
        host_net.wake_with(Rc::new(Wakes { network: network.clone(), sleepers: sleepers.clone() }));
        let interfaces = RefCell::default();
        let world = Self { sandboxes, network, ledger, names, flows, lines, events, interfaces, sleepers };
        world.allow(&[]);
        world
    }

    /// Has the group of all tasks allow this beside what such a group allows where nobody has changed it, and nothing else.
    pub(crate) fn allow(&self, rules: &[&str]) {
        let more = rules.iter().map(|rule| rule.parse().expect("a rule"));
        self.set_rules(DEFAULT_GROUP, Rule::defaults().into_iter().chain(more).collect());
    }

    /// Has a group allow this and nothing else.
    pub(crate) fn set_rules(&self, group: &str, rules: Vec<Rule>) {
        let group = QualifiedName::new(Namespace::default(), group.parse().expect("a name"));
        let groups = vec![GroupRules { group, rules }];
        self.network.apply(NetworkChange { groups, ..NetworkChange::default() });
    }

    /// Has a name outside lead to an address.
    pub(crate) fn resolve(&self, name: &str, address: IpAddr) {
        self.names.0.borrow_mut().insert(name.to_owned(), address);
    }

    /// Runs one more task of the service of that name; `set` changes its specification.
    pub(crate) fn run(&self, guest: Guest, service: &str, set: impl FnOnce(&mut TaskSpec)) -> TaskId {
        self.run_in(guest, service, &[DEFAULT_GROUP], set)
    }

    /// The same, in these groups.
    pub(crate) fn run_in(
        &self,
        guest: Guest,
        service: &str,
        groups: &[&str],
        set: impl FnOnce(&mut TaskSpec),
    ) -> TaskId {
        let compiled = guest.compiled();
        let mut spec = compiled.spec(service.parse().expect("a name"));
        spec.limits = Limits { cpu: "4096".parse().expect("units"), ..Limits::default() };
        set(&mut spec);
        let interface = self.join(compiled.report.kind, service, groups, spec.limits.memory.bytes());
        let NetworkInterface { task, owner, slot, .. } = interface;
        let spec = Arc::new(spec);
        self.sandboxes.run(Assignment { task, owner, in_service: true, spec, slot, life: 0 });
        task
    }

    /// A task that no sandbox runs: the test is in its place, with its interface.
    pub(crate) fn play(&self, service: &str) -> (TaskId, Interface) {
        let task = self.join(Kind::Command, service, &[DEFAULT_GROUP], 256 << 20).task;
        (task, self.network.interface(task).expect("it has just joined"))
    }

    fn join(&self, kind: Kind, service: &str, groups: &[&str], memory_bytes: u64) -> NetworkInterface {
        let number = u8::try_from(self.interfaces.borrow().len() + 1).expect("few tasks");
        let interface = NetworkInterface {
            task: TaskId::from_parts(1, [number; 10]),
            owner: QualifiedName::new(Namespace::default(), service.parse().expect("a name")),
            in_service: true,
            kind,
            address: TaskAddress {
                v4: [10, 64, 1, number].into(),
                v6: [0xfd73, 0x6b69, 0x6666, 0, 0, 0, 1, u16::from(number)].into(),
            },
            groups: groups.iter().map(|group| group.parse().expect("a name")).collect(),
            home: (kind == Kind::Command).then_some(0),
            ready: true,
            slot: u32::from(number),
            memory_bytes,
        };
        self.interfaces.borrow_mut().push(interface.clone());
        self.tell(interface.clone());
        interface
    }

    /// Says whether its service's name leads to a task.
    pub(crate) fn set_ready(&self, task: TaskId, ready: bool) {
        self.tell(NetworkInterface { ready, ..self.known(task) });
    }

    /// Has no name lead to a task until somebody has its service woken.
    pub(crate) fn sleep(&self, task: TaskId) {
        self.set_ready(task, false);
        self.sleepers.borrow_mut().push(self.known(task));
    }

    fn tell(&self, interface: NetworkInterface) {
        self.network.apply(NetworkChange { interfaces: vec![interface], ..NetworkChange::default() });
    }

    fn known(&self, task: TaskId) -> NetworkInterface {
        let interfaces = self.interfaces.borrow();
        interfaces.iter().find(|known| known.task == task).expect("a task of this world").clone()
    }

    /// Ends a task.
    pub(crate) fn leave_out(&self, task: TaskId) {
        self.network.apply(NetworkChange { left: vec![task], ..NetworkChange::default() });
        self.sandboxes.end(task);
    }

    /// A task's addresses.
    pub(crate) fn address(&self, task: TaskId) -> TaskAddress {
        self.known(task).address
    }

    /// Its accounts.
    pub(crate) fn slot(&self, task: TaskId) -> TaskSlot {
        self.ledger.task(self.known(task).slot)
    }

    /// Asks an HTTP task, with these headers.
    pub(crate) async fn ask(
        &self,
        task: TaskId,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Result<Response<Body>, InvokeError> {
        let mut request = Request::get(path).header("host", "test.localhost");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.sandboxes.invoke(task, request.body(body::empty()).expect("a request")).await
    }

    /// The same; the answer as text.
    pub(crate) async fn text(&self, task: TaskId, path: &str, headers: &[(&str, &str)]) -> String {
        let answer = self.ask(task, path, headers).await.expect("an answer");
        let bytes = answer.into_body().collect().await.expect("a whole body").to_bytes();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// What a task has written, or Skiff about it, so far.
    pub(crate) fn lines(&self, task: TaskId, stream: LogStream) -> Vec<String> {
        self.lines.of(task, stream)
    }

    /// What was written down of a task's flows so far.
    pub(crate) fn flows(&self, task: TaskId) -> Vec<FlowRecord> {
        self.flows.borrow().iter().filter(|record| record.task == task).cloned().collect()
    }

    /// Waits until a command has ended; what it said by then.
    pub(crate) async fn end_of(&self, task: TaskId) -> Vec<String> {
        let has_ended = || {
            let events = self.events.borrow();
            events.iter().any(|event| matches!(event, TaskEvent::Ended { task: other, .. } if *other == task))
        };
        until("the command never ended", has_ended).await;
        self.lines(task, LogStream::Stdout)
    }

    /// Waits until a task has written a line that begins so.
    pub(crate) async fn line(&self, task: TaskId, begins: &str) -> String {
        let find = || self.lines(task, LogStream::Stdout).into_iter().find(|line| line.starts_with(begins));
        until(begins, || find().is_some()).await;
        find().expect("just seen")
    }

    /// Waits until no guest of a task works on a request any more, and none waits.
    pub(crate) async fn is_at_rest(&self, task: TaskId) {
        let held = || {
            let totals = self.slot(task).totals();
            [totals.in_flight, totals.queued]
        };
        until("requests are in flight or queued for ever", || held() == [0; 2]).await;
    }
}

/// Whether a guest was told that a body broke off, and of this error if it can be told: the body streams of WASI 0.2 keep
/// errors to themselves (`http-error-code` of wasmtime-wasi-http 48 looks for another type).
pub(crate) fn broke_off(guest: Guest, told: &str, error: &str) -> bool {
    let is_told_errors = matches!(guest, Guest::FetchP3);
    told.contains("broke off") && (!is_told_errors || told.contains(error))
}

struct Flows(Rc<RefCell<Vec<FlowRecord>>>);

impl FlowLog for Flows {
    fn record(&self, record: FlowRecord) {
        self.0.borrow_mut().push(record);
    }
}

/// The names outside.
#[derive(Clone, Default)]
struct Names(Rc<RefCell<HashMap<String, IpAddr>>>);

impl Resolve for Names {
    fn resolve(&self, name: &str) -> LocalBoxFuture<'static, Result<Resolved, NetError>> {
        let address = self.0.borrow().get(name).copied();
        let valid_for = Duration::from_secs(60);
        let resolved = address.map(|address| Resolved { addresses: vec![address], valid_for });
        std::future::ready(resolved.ok_or(NetError::NameUnresolvable)).boxed_local()
    }
}

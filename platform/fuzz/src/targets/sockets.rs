//! Sequences of calls on the virtual network, by the tasks of two workers that are joined by wires, while groups and
//! interfaces change under them: whatever is called, nothing panics, bytes arrive in order or not at all, and once all is
//! dropped every gauge of the ledger is back at zero and every flow was written down.
//!
//! The input is a program: each byte chooses, first the call (`sockets::calls`), then what it is made on and with. Nothing
//! goes to the outside: no rule allows that, and names are looked up nowhere.

mod calls;

use calls::{CALLS, Held, Program};
use futures::FutureExt;
use futures::future::{LocalBoxFuture, ready};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use skiff_ledger::Ledger;
use skiff_net::{Config, Deps, FlowLog, Limits, NetError, Network, Resolve, Resolved, Wires};
use skiff_ports::flows::{FlowRecord, Verdict};
use skiff_ports::network::{GroupRules, NetworkChange, NetworkInterface, NetworkSetup};
use skiff_types::{Kind, Name, NetworkSpec, QualifiedName, Rule, TaskAddress, TaskId};
use std::cell::Cell;
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use tokio::task::LocalSet;

const WORKERS: usize = 2;
/// The tasks: the first is in both workers, the second in the first one, the others in the second.
const TASKS: usize = 4;
/// How long is waited for what must come.
const PATIENCE: Duration = Duration::from_secs(60);
/// Longer than any program takes.
const NEVER: Duration = Duration::from_secs(3_600);

thread_local! {
    static FIXTURE: Fixture = Fixture {
        runtime: tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime"),
        ledger: Ledger::create(WORKERS).expect("a ledger").0,
    };
}

/// Has the input's calls carried out.
pub(crate) fn run(input: &[u8]) {
    FIXTURE.with(|fixture| {
        (0..TASKS).for_each(|task| fixture.ledger.task(slot(task)).clear());
        // The network chooses ports and the order of addresses by it: an input does the same each time.
        fastrand::seed(7);
        LocalSet::new().block_on(&fixture.runtime, fixture.carry_out(Program::of(input)));
    });
}

struct Fixture {
    runtime: Runtime,
    ledger: Ledger,
}

/// Two workers' networks, and what their tasks hold.
struct World {
    networks: [Network; WORKERS],
    held: Held,
    /// Whether rules were changed, by which flows may have been cut.
    was_changed: bool,
    /// Whether a task called another by HTTP: such a flow outlasts the call.
    was_called: bool,
}

impl Fixture {
    async fn carry_out(&self, mut program: Program<'_>) {
        let written = Rc::new(Written::default());
        let mut world = World {
            networks: networks(&self.ledger, &written),
            held: Held::default(),
            was_changed: false,
            was_called: false,
        };
        world.networks.iter().for_each(|network| network.apply(everything()));
        while let Some(call) = program.next() {
            match CALLS.get(usize::from(call) % (CALLS.len() + 1)) {
                // Where there is nothing to call it on, nothing is called.
                Some(call) => {
                    let _ = call(&mut world, &mut program);
                }
                None => turns(program.next().unwrap_or(0) % 8).await,
            }
        }
        world.held = Held::default();
        let was_called = world.was_called;
        self.becomes(|open, memory_bytes| memory_bytes == 0 && (open == 0 || was_called)).await;
        let left: Vec<TaskId> = (0..TASKS).map(id).collect();
        let all_leave = || NetworkChange { left: left.clone(), ..NetworkChange::default() };
        world.networks.iter().for_each(|network| network.apply(all_leave()));
        self.becomes(|open, memory_bytes| open == 0 && memory_bytes == 0).await;
        self.check(&written, world.was_changed);
    }

    /// Waits until the gauges of every task are as they must become.
    async fn becomes(&self, is_so: impl Fn(u64, u64) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        let gauges = |task: usize| {
            let totals = self.ledger.task(slot(task)).totals();
            (totals.net_open, totals.memory_bytes)
        };
        while let Some(held) = (0..TASKS).map(gauges).find(|&(open, memory_bytes)| !is_so(open, memory_bytes))
        {
            assert!(Instant::now() < deadline, "open flows, memory: {held:?} are held for ever");
            tokio::task::yield_now().await;
        }
    }

    /// Every flow that was opened, and every attempt that was denied, was written down; one that was cut counts as both.
    fn check(&self, written: &Written, may_be_cut: bool) {
        let (mut opened, mut denied) = (0, 0);
        for task in 0..TASKS {
            let totals = self.ledger.task(slot(task)).totals();
            opened += totals.net_connections;
            denied += totals.net_denied;
        }
        let (accepted, rejected) = (written.accepted.get(), written.rejected.get());
        let counts = format!("{opened} opened, {denied} denied, written down: {accepted} and {rejected}");
        match may_be_cut {
            false => assert!(accepted == opened && rejected == denied, "{counts}"),
            true => {
                assert!(accepted <= opened && opened <= accepted + rejected, "{counts}");
                assert!(accepted + rejected <= opened + denied, "{counts}");
            }
        }
    }
}

/// What was written down of flows that are over, by what they stand for.
#[derive(Default)]
struct Written {
    accepted: Cell<u64>,
    rejected: Cell<u64>,
}

impl FlowLog for Written {
    fn record(&self, record: FlowRecord) {
        assert!(!record.open && record.count > 0, "{record:?}");
        let count = match record.verdict {
            Verdict::Accept => &self.accepted,
            Verdict::Reject => &self.rejected,
        };
        count.set(count.get() + u64::from(record.count));
    }
}

/// Knows one name.
struct Names;

impl Resolve for Names {
    fn resolve(&self, name: &str) -> LocalBoxFuture<'static, Result<Resolved, NetError>> {
        assert!(!name.ends_with("internal"), "{name} was asked of the outside");
        let found = match name {
            "example.com" => {
                Ok(Resolved { addresses: vec![Ipv4Addr::new(192, 0, 2, 1).into()], valid_for: NEVER })
            }
            _ => Err(NetError::NameUnresolvable),
        };
        ready(found).boxed_local()
    }
}

/// The networks of all workers, which know nothing yet.
fn networks(ledger: &Ledger, written: &Rc<Written>) -> [Network; WORKERS] {
    let inboxes: [(OwnedFd, OwnedFd); WORKERS] = std::array::from_fn(|_| {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).expect("a pair of sockets")
    });
    let copy = |end: &OwnedFd| end.try_clone().expect("a descriptor");
    std::array::from_fn(|worker| {
        let peers = inboxes.iter().map(|(_, sending)| copy(sending)).collect();
        let wires = Wires::new(copy(&inboxes[worker].0), peers, worker as u32).expect("wires");
        let limits = Limits {
            datagram_flow_idle: NEVER,
            flow_record_interval: NEVER,
            denials_of_task_max: usize::MAX,
            ..Limits::default()
        };
        let setup = NetworkSetup { spec: NetworkSpec::default(), node_index: 0, own_doors: Vec::new() };
        let (worker, workers, host_addresses) = (worker as u32, WORKERS as u32, Vec::new());
        let config = Config { worker, workers, setup, limits, host_addresses };
        let deps =
            Deps { ledger: ledger.clone(), resolver: Rc::new(Names), flow_log: written.clone(), wires };
        Network::new(config, deps).expect("one of the workers")
    })
}

fn slot(task: usize) -> u32 {
    task as u32
}

fn id(task: usize) -> TaskId {
    TaskId::from_parts(task as u64, [7; 10])
}

fn address(task: usize) -> TaskAddress {
    let NetworkSpec { ipv4, ipv6, .. } = NetworkSpec::default();
    let place = 16 + task as u32;
    TaskAddress {
        v4: (ipv4.addr().to_bits() + place).into(),
        v6: (ipv6.addr().to_bits() + u128::from(place)).into(),
    }
}

fn group(name: &str) -> QualifiedName {
    format!("default/{name}").parse().expect("a name")
}

/// A task's interface, as a worker is told of it.
fn interface(task: usize, groups: &[&str], ready: bool) -> NetworkInterface {
    let groups: Vec<Name> = groups.iter().map(|name| name.parse().expect("a name")).collect();
    NetworkInterface {
        task: id(task),
        owner: group(&format!("s{task}")),
        in_service: true,
        kind: if task == 0 { Kind::Http } else { Kind::Command },
        address: address(task),
        groups: groups.into(),
        home: (task > 0).then_some(u32::from(task > 1)),
        ready,
        slot: slot(task),
        memory_bytes: 1 << 20,
    }
}

/// What both workers are told first: all tasks are in the default group, but the last, which is alone.
fn everything() -> NetworkChange {
    let of = |name: &str| GroupRules { group: group(name), rules: Rule::defaults() };
    let groups = |task: usize| if task + 1 < TASKS { ["default"] } else { ["other"] };
    NetworkChange {
        groups: vec![of("default"), of("other")],
        interfaces: (0..TASKS).map(|task| interface(task, &groups(task), true)).collect(),
        ..NetworkChange::default()
    }
}

/// Lets everything else run so many times.
async fn turns(turns: u8) {
    for _ in 0..turns {
        tokio::task::yield_now().await;
    }
}

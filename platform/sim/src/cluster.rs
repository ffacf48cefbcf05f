//! The nodes and their tasks, played: what a supervisor's processes would do, as happenings at certain times, one after the
//! other. The books of each node are real (`skiff_node::Desk`), and so is its ledger; workers, programs and the wire are not.
//!
//! The platform's processes end together, as they do in life: when the control plane dies, all nodes begin anew, and nothing
//! that was told or heard before counts any more.
//!
//! What always holds: a worker acts on what it was told before it acknowledges it; what happened on a node is heard of once,
//! later where the node is cut off.

mod faults;
mod load;
mod node;
mod runtime;
mod waiting;

pub(crate) use faults::Fault;
pub(crate) use runtime::{MetersOfCluster, NodesOfCluster, RuntimeOfLife};

use crate::checker::Checker;
use crate::clock::SimClock;
use crate::dice::Dice;
use crate::memory::MemoryImages;
use crate::options::Sabotage;
use crate::trace::Trace;
use node::Node;
use skiff_kit::Watermark;
use skiff_ports::runtime::{DesiredChange, TaskEvent};
use skiff_ports::snapshot::Version;
use skiff_types::{
    AttributeName, Attributes, Digest, MemorySize, NodeCapacity, NodeId, NodeSpec, Overcommit, QualifiedName,
    TaskId,
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Notify, mpsc, watch};

/// Workers of a node.
const WORKERS: usize = 2;
/// Zones that nodes are in, one after the other.
pub(crate) const ZONES: u32 = 3;

/// The nodes.
pub(crate) struct Cluster {
    pub(crate) clock: Arc<SimClock>,
    checker: Arc<Checker>,
    trace: Trace,
    dice: Dice,
    images: Arc<MemoryImages>,
    sabotage: Option<Sabotage>,
    state: Mutex<State>,
    /// Something is to happen sooner than was known.
    sooner: Notify,
    /// Moves on whenever workers may have acknowledged something.
    acknowledged: Watermark,
    nodes: watch::Sender<Arc<Vec<NodeSpec>>>,
}

struct State {
    /// Which life of the platform this is, from 0.
    life: u64,
    version: Version,
    nodes: BTreeMap<NodeId, Node>,
    /// Where tasks are, from when they are told until they are told to end.
    homes: BTreeMap<TaskId, NodeId>,
    /// Nodes that were told of a service's targets.
    routed: BTreeMap<QualifiedName, BTreeSet<NodeId>>,
    /// What all nodes are told, for one that comes later.
    told_all: Vec<DesiredChange>,
    agenda: BTreeMap<(u64, u64), Happening>,
    scheduled: u64,
    events: mpsc::UnboundedSender<TaskEvent>,
    behaviours: BTreeMap<Digest, Behaviour>,
    /// Between two requests to a service, in milliseconds, by service.
    load: BTreeMap<QualifiedName, u64>,
    /// Requests that wait for a task, by service.
    waiting: BTreeMap<QualifiedName, u64>,
    /// Services that a request may wake.
    wakes: BTreeSet<QualifiedName>,
    wanted: mpsc::UnboundedSender<QualifiedName>,
    /// How often a node was made.
    made: u32,
    /// The longest that a worker takes to hear of a change, in milliseconds.
    tell_most_ms: u64,
}

/// How a program behaves: what its component's bytes say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Behaviour {
    pub(crate) is_http: bool,
    /// From being told to running, in milliseconds.
    pub(crate) start_ms: u64,
    /// From running to being healthy, in milliseconds.
    pub(crate) healthy_ms: u64,
    pub(crate) end: End,
}

/// What becomes of a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// It goes on.
    None,
    /// It ends as soon as it runs.
    AtOnce,
    /// It is never healthy.
    NeverHealthy,
    /// It goes on, and answers each request by an error of its own.
    Errs,
    /// It runs to its end, after the time until it would be healthy: in this life with 0, in those before with 1.
    Exits { in_life: u32 },
}

impl End {
    /// The word of a component's bytes for it.
    fn word(self) -> String {
        match self {
            Self::None => "lives".to_owned(),
            Self::AtOnce => "crashes".to_owned(),
            Self::NeverHealthy => "sick".to_owned(),
            Self::Errs => "errs".to_owned(),
            Self::Exits { in_life } => format!("exits-{in_life}"),
        }
    }

    fn read(word: &str) -> Option<Self> {
        Some(match word {
            "lives" => Self::None,
            "crashes" => Self::AtOnce,
            "sick" => Self::NeverHealthy,
            "errs" => Self::Errs,
            _ => Self::Exits { in_life: word.strip_prefix("exits-")?.parse().ok()? },
        })
    }
}

impl Behaviour {
    /// Reads what a component's bytes say: `http` or `daemon`, its times, its end, and a number that makes it another program.
    pub(crate) fn read(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        let is_http = match words.next()? {
            "http" => true,
            "daemon" => false,
            _ => return None,
        };
        let mut time = || words.next()?.parse().ok();
        let (start_ms, healthy_ms) = (time()?, time()?);
        let end = End::read(words.next()?)?;
        Some(Self { is_http, start_ms, healthy_ms, end })
    }

    /// A component's bytes.
    pub(crate) fn text(&self, number: u64) -> String {
        let Self { is_http, start_ms, healthy_ms, end } = self;
        let kind = if *is_http { "http" } else { "daemon" };
        format!("{kind} {start_ms} {healthy_ms} {} {number}", end.word())
    }
}

/// Something that is to happen. What is of a worker is of one incarnation of it, or it does not happen.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Happening {
    /// A worker hears of what it does not know yet.
    Tell(Seat),
    /// A worker says what it acts on.
    Acknowledge(Seat, Version),
    /// A program runs.
    Starts(Seat, TaskId),
    /// A daemon's health is known.
    Checked(Seat, TaskId, bool),
    /// A program ends by itself.
    Crashes(Seat, TaskId),
    /// A program that runs to its end has come there, in this life of its task.
    Exits(Seat, TaskId, u32),
    /// A worker is started again.
    Revives(Seat),
    /// A node comes, in this zone.
    Returns(u32),
    /// A client sends a request.
    Requests(QualifiedName),
    /// A request that waits for a task looks for one.
    Waits(QualifiedName),
    /// A request is answered.
    Answers(Seat, TaskId),
}

/// A worker of a node, in one of its incarnations, in one life of the platform.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seat {
    life: u64,
    node: NodeId,
    worker: usize,
    incarnation: u32,
}

impl Cluster {
    /// With so many nodes, in three zones.
    pub(crate) fn new(
        seed: u64,
        nodes: u32,
        clock: Arc<SimClock>,
        checker: Arc<Checker>,
        trace: Trace,
        images: Arc<MemoryImages>,
        sabotage: Option<Sabotage>,
    ) -> Self {
        let ((events, _), (wanted, _)) = (mpsc::unbounded_channel(), mpsc::unbounded_channel());
        let state = State {
            life: 0,
            version: 0,
            nodes: BTreeMap::new(),
            homes: BTreeMap::new(),
            routed: BTreeMap::new(),
            told_all: Vec::new(),
            agenda: BTreeMap::new(),
            scheduled: 0,
            events,
            behaviours: BTreeMap::new(),
            load: BTreeMap::new(),
            waiting: BTreeMap::new(),
            wakes: BTreeSet::new(),
            wanted,
            made: 0,
            tell_most_ms: if sabotage == Some(Sabotage::DeafWorkers) { 400 } else { 20 },
        };
        let cluster = Self {
            clock,
            checker,
            trace,
            dice: Dice::new(seed, "cluster"),
            images,
            sabotage,
            state: Mutex::new(state),
            sooner: Notify::new(),
            acknowledged: Watermark::default(),
            nodes: watch::Sender::new(Arc::new(Vec::new())),
        };
        let mut state = cluster.state();
        for number in 0..nodes {
            let zone = number % ZONES;
            let node = Node::new(new_spec(&mut state, zone), zone);
            state.nodes.insert(node.spec.id.clone(), node);
        }
        cluster.say_who_is_there(&state);
        drop(state);
        cluster
    }

    /// The platform begins anew; gives what its control plane hears of tasks, and of services that are wanted.
    pub(crate) fn begin_life(&self) -> Heard {
        let ((events, of_tasks), (wanted, of_services)) =
            (mpsc::unbounded_channel(), mpsc::unbounded_channel());
        let mut state = self.state();
        state.life += 1;
        (state.version, state.events, state.wanted) = (0, events, wanted);
        state.homes.clear();
        state.wakes.clear();
        state.routed.clear();
        state.told_all.clear();
        let anew = |node: &Node| (node.spec.id.clone(), Node::new(node.spec.clone(), node.zone));
        state.nodes = state.nodes.values().map(anew).collect();
        // What clients do goes on, and so does a node's return.
        state.agenda.retain(|_, happening| {
            matches!(happening, Happening::Requests(_) | Happening::Waits(_) | Happening::Returns(_))
        });
        Heard { life: state.life, of_tasks, of_services }
    }

    /// Lets what is due happen, for ever.
    pub(crate) async fn run(&self) {
        loop {
            let next_ms = self.state().agenda.first_key_value().map(|((at_ms, _), _)| *at_ms);
            let next = async {
                match next_ms {
                    Some(at_ms) => tokio::time::sleep_until(self.clock.instant(at_ms)).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = self.sooner.notified() => continue,
                () = next => {}
            }
            self.step();
        }
    }

    /// Lets happen what is due now.
    fn step(&self) {
        let now_ms = self.clock.elapsed_ms();
        let mut state = self.state();
        while let Some(entry) = state.agenda.first_entry().filter(|entry| entry.key().0 <= now_ms) {
            let happening = entry.remove();
            self.happen(&mut state, happening, now_ms);
        }
    }

    fn happen(&self, state: &mut State, happening: Happening, now_ms: u64) {
        match happening {
            Happening::Tell(seat) => self.tell(state, seat, now_ms),
            Happening::Acknowledge(seat, version) => self.acknowledge(state, seat, version, now_ms),
            Happening::Starts(seat, task) => self.start(state, seat, task, now_ms),
            Happening::Checked(seat, task, healthy) => self.check(state, seat, task, healthy, now_ms),
            Happening::Crashes(seat, task) => self.crash(state, &seat, task, now_ms),
            Happening::Exits(seat, task, life) => self.exit(state, &seat, task, life, now_ms),
            Happening::Revives(seat) => self.revive(state, seat, now_ms),
            Happening::Returns(zone) => self.add_node(state, zone, now_ms),
            Happening::Requests(service) => self.request(state, service, now_ms),
            Happening::Waits(service) => self.wait(state, service, now_ms),
            Happening::Answers(seat, task) => {
                answer(state, &seat, task, self.sabotage != Some(Sabotage::Uncounted));
            }
        }
    }

    /// Has something happen after a while of so many milliseconds.
    fn later(&self, state: &mut State, now_ms: u64, after_ms: u64, happening: Happening) {
        state.scheduled += 1;
        state.agenda.insert((now_ms + after_ms, state.scheduled), happening);
        self.sooner.notify_one();
    }

    fn say_who_is_there(&self, state: &State) {
        let specs: Vec<NodeSpec> = state.nodes.values().map(|node| node.spec.clone()).collect();
        self.nodes.send_replace(Arc::new(specs));
    }

    /// Passes on what happened to a task.
    fn hear(&self, state: &State, event: TaskEvent) {
        self.trace.note(format_args!("heard: {event:?}"));
        // Nobody hears of it while the control plane is dead.
        let _ = state.events.send(event);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What one life of the control plane hears.
pub(crate) struct Heard {
    /// Which life of the platform it is.
    life: u64,
    of_tasks: mpsc::UnboundedReceiver<TaskEvent>,
    of_services: mpsc::UnboundedReceiver<QualifiedName>,
}

/// A request is answered: it is counted, if the task is still there and requests count.
fn answer(state: &mut State, seat: &Seat, task: TaskId, counts: bool) {
    if seat.life == state.life
        && let Some(node) = state.nodes.get_mut(&seat.node)
    {
        node.answered(seat.worker, seat.incarnation, task, counts);
    }
}

/// A node that never was before, in this zone.
fn new_spec(state: &mut State, zone: u32) -> NodeSpec {
    state.made += 1;
    let number = state.made;
    let name: AttributeName = "zone".parse().expect("an attribute's name");
    let value = format!("zone-{zone}").parse().expect("an attribute's value");
    NodeSpec {
        id: format!("node-{number:04}").parse().expect("a node's id"),
        attributes: Attributes::from([(name, value)]),
        capacity: NodeCapacity {
            cpu_units: 64 * 1_024,
            memory: MemorySize::from_mib(64 * 1_024),
            tasks: 10_000,
        },
        overcommit: Overcommit::default(),
        is_draining: false,
    }
}

/// A version of a node's books, and the version of the cluster that it is.
type Marks = VecDeque<(Version, Version)>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_behaviour_is_read_as_it_is_written() {
        for end in [End::None, End::AtOnce, End::NeverHealthy, End::Errs, End::Exits { in_life: 2 }] {
            let behaviour = Behaviour { is_http: end == End::None, start_ms: 7, healthy_ms: 9, end };
            assert_eq!(Behaviour::read(&behaviour.text(3)), Some(behaviour));
        }
        assert_eq!(Behaviour::read("a component"), None);
    }
}

//! What is measured of tasks and workers, and of what the load balancer does: the port that the node answers, and the sums
//! that outlive its tasks and its meters.
//!
//! It deliberately knows no metric names (`metrics` does).
//!
//! What always holds: an owner's counters never go down while the owner exists, whatever becomes of its tasks; nor do those of
//! a listener, a rule or a target group, whichever meters of the ledger it had.

use skiff_ledger::{MeterTotals, Totals};
use skiff_ports::balancer::Metered;
use skiff_types::{Charge, Group, Namespace, QualifiedName, TaskId};
use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

/// Reads what is measured. Carried out over the node's ledger; asked by nobody but this crate.
pub trait Meters: Send + Sync {
    /// The living tasks' sums, and the last sums of tasks that ended since the call before.
    ///
    /// A task that ended is handed over once; a task is never in both lists of one answer.
    fn read(&self) -> Readings;

    /// The sums of those of these tasks that live and used anything; costs what these tasks do, however many there are.
    fn totals(&self, tasks: &[TaskId]) -> HashMap<TaskId, Totals>;

    /// What the load balancer counted at what there is of it, and the last of what it counted at what is gone since the call
    /// before; that is handed over once.
    fn balancer(&self) -> MeterReadings;

    /// What tasks and the platform used since the call before; each charge is handed over once.
    fn charges(&self) -> Vec<Charge>;

    /// The supervisor and its workers. Asks the kernel of each process, which takes a while.
    fn node(&self) -> NodeReading;

    /// What the workers do, by index. Asks nobody.
    fn worker_states(&self) -> Vec<WorkerState>;

    /// The S3 endpoint; none where there is none, or none yet.
    fn s3(&self) -> Option<S3Reading> {
        None
    }
}

/// An answer of [`Meters::read`].
#[derive(Debug, Clone, Default)]
pub struct Readings {
    /// Tasks that have a slot in the ledger.
    pub living: Vec<TaskReading>,
    /// Tasks whose slot was given back since the last call, as they last were.
    pub ended: Vec<TaskReading>,
}

/// One task's sums over all workers.
#[derive(Debug, Clone)]
pub struct TaskReading {
    /// Which task.
    pub task: TaskId,
    /// Its service, or the family of a one-off task.
    pub owner: QualifiedName,
    /// Whether `owner` is a service.
    pub in_service: bool,
    /// The sums.
    pub totals: Totals,
}

/// An answer of [`Meters::balancer`].
#[derive(Debug, Clone, Default)]
pub struct MeterReadings {
    /// What has a meter in the ledger and used it; some of it may stand here twice.
    pub living: Vec<MeterReading>,
    /// Meters that were given back since the last call, as they last were.
    pub ended: Vec<MeterReading>,
}

/// One meter's sums over all workers.
#[derive(Debug, Clone)]
pub struct MeterReading {
    /// What it is of.
    pub metered: Metered,
    /// The sums.
    pub totals: MeterTotals,
}

/// The processes of a node.
#[derive(Debug, Clone, Default)]
pub struct NodeReading {
    /// The supervisor's process id.
    pub pid: u32,
    /// Since the supervisor started, in seconds.
    pub uptime_seconds: f64,
    /// CPU time of the supervisor, in seconds.
    pub cpu_seconds: f64,
    /// Resident memory of the supervisor, in bytes.
    pub memory_bytes: u64,
    /// Lines of guests that were lost because the disk was slower than they came.
    pub log_lines_lost: u64,
    /// Records of the flow log that were lost because they came faster than they could be kept.
    pub flow_records_lost: u64,
    /// Spans of requests that were dropped, in workers or for want of a collector that takes them.
    pub spans_dropped: u64,
    /// The workers, by index.
    pub workers: Vec<WorkerReading>,
}

/// A worker process.
#[derive(Debug, Clone)]
pub struct WorkerReading {
    /// Its place, from 0.
    pub index: u32,
    /// Its process; none while it is dead.
    pub pid: Option<u32>,
    /// What it does.
    pub state: WorkerState,
    /// Since this process started, in seconds.
    pub uptime_seconds: f64,
    /// CPU time of this process, in seconds.
    pub cpu_seconds: f64,
    /// CPU time of all processes in this place that no task can be charged with, in seconds.
    pub platform_cpu_seconds: f64,
    /// Resident memory, in bytes.
    pub memory_bytes: u64,
    /// How often the process in this place died and was replaced.
    pub restarts: u64,
    /// Connections it holds.
    pub connections: u64,
    /// Requests taken in this place.
    pub requests: u64,
    /// Components whose native code it has mapped.
    pub mapped_components: u64,
    /// That code, in bytes.
    pub mapped_code_bytes: u64,
    /// Memory that idle slots of its pool keep at most, in bytes.
    pub pool_kept_bytes: u64,
}

/// What a worker does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WorkerState {
    /// It has not yet acknowledged a version.
    Starting,
    /// It serves.
    Running,
    /// It finishes what is in flight.
    Draining,
    /// It is dead, and not yet replaced.
    Dead,
}

/// The S3 endpoint: counters since it was started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3Reading {
    /// Where it listens.
    pub address: SocketAddr,
    /// Connections that are open.
    pub connections: u64,
    /// Connections that were refused because their address had too many.
    pub connections_refused: u64,
    /// Requests that were answered, by what they asked for and how.
    pub requests: Vec<S3Requests>,
    /// Bytes of bodies that came.
    pub bytes_in: u64,
    /// Bytes of bodies that went.
    pub bytes_out: u64,
}

/// Requests of one operation of S3 that were answered with statuses of one class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct S3Requests {
    /// Such as `PutObject`; `none` of those that were refused before it was known.
    pub operation: &'static str,
    /// `2xx` and so on.
    pub code_class: &'static str,
    /// How many.
    pub count: u64,
}

/// Whom tasks belong to: a service, or a family of one-off tasks.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Owner {
    pub(crate) name: QualifiedName,
    pub(crate) in_service: bool,
}

impl Owner {
    /// That of a group's tasks.
    pub(crate) fn of_group(namespace: &Namespace, group: &Group) -> Self {
        let (Group::Service(name) | Group::Family(name)) = group;
        let name = QualifiedName::new(namespace.clone(), name.clone());
        Self { name, in_service: matches!(group, Group::Service(_)) }
    }

    /// The group of its tasks in its namespace.
    pub(crate) fn group(&self) -> Group {
        let name = self.name.name.clone();
        if self.in_service { Group::Service(name) } else { Group::Family(name) }
    }
}

/// What [`Accounts::sample`] says.
#[derive(Debug, Default)]
pub(crate) struct Sample {
    /// The tasks that live and used anything.
    pub(crate) tasks: Vec<TaskReading>,
    /// The sums of the services that have such tasks, and of those asked for: counters over all their tasks ever.
    pub(crate) services: BTreeMap<QualifiedName, Totals>,
}

/// The sums of all owners, with those of tasks that are gone; and likewise of what the load balancer counts at.
pub(crate) struct Accounts {
    meters: Arc<dyn Meters>,
    ended: Mutex<BTreeMap<Owner, Totals>>,
    /// Of meters that were given back.
    given_back: Mutex<BTreeMap<Metered, MeterTotals>>,
}

impl Accounts {
    /// Accounts without a past.
    pub(crate) fn new(meters: Arc<dyn Meters>) -> Self {
        Self { meters, ended: Mutex::default(), given_back: Mutex::default() }
    }

    /// The sums of those of these tasks that live.
    pub(crate) fn of(&self, tasks: &[TaskId]) -> HashMap<TaskId, Totals> {
        self.meters.totals(tasks)
    }

    /// Every owner's sums: counters over all its tasks ever, gauges over the living.
    pub(crate) fn by_owner(&self) -> BTreeMap<Owner, Totals> {
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        let living = self.absorb(&mut ended);
        let mut sums = ended.clone();
        for reading in living {
            sums.entry(owner(&reading)).or_default().absorb_living(&reading.totals);
        }
        sums
    }

    /// What tasks and services used. Costs what the tasks do that live, and the services asked for; not what there once was.
    pub(crate) fn sample<'a>(&self, also: impl IntoIterator<Item = &'a QualifiedName>) -> Sample {
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        let tasks = self.absorb(&mut ended);
        let of_ended = |name: &QualifiedName| {
            let owner = Owner { name: name.clone(), in_service: true };
            ended.get(&owner).cloned().unwrap_or_default()
        };
        let mut services: BTreeMap<QualifiedName, Totals> =
            also.into_iter().map(|name| (name.clone(), of_ended(name))).collect();
        for reading in tasks.iter().filter(|reading| reading.in_service) {
            let sums = services.entry(reading.owner.clone()).or_insert_with_key(of_ended);
            sums.absorb_living(&reading.totals);
        }
        Sample { tasks, services }
    }

    /// Takes over what ended, and forgets the sums of owners that are gone.
    pub(crate) fn retain(&self, exists: impl Fn(&Owner) -> bool) {
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        self.absorb(&mut ended);
        ended.retain(|owner, _| exists(owner));
    }

    /// The sums of all that the load balancer counts at: counters since the platform started, gauges as of now.
    pub(crate) fn by_metered(&self) -> BTreeMap<Metered, MeterTotals> {
        let mut given_back = self.given_back.lock().unwrap_or_else(PoisonError::into_inner);
        let living = self.take_back(&mut given_back);
        let mut sums = given_back.clone();
        for MeterReading { metered, totals } in living {
            sums.entry(metered).or_default().absorb_living(&totals);
        }
        sums
    }

    /// Takes over what was given back, and forgets the sums of what is gone.
    pub(crate) fn retain_metered(&self, exists: impl Fn(&Metered) -> bool) {
        let mut given_back = self.given_back.lock().unwrap_or_else(PoisonError::into_inner);
        self.take_back(&mut given_back);
        given_back.retain(|metered, _| exists(metered));
    }

    /// The supervisor and its workers.
    pub(crate) fn node(&self) -> NodeReading {
        self.meters.node()
    }

    /// What the workers do.
    pub(crate) fn worker_states(&self) -> Vec<WorkerState> {
        self.meters.worker_states()
    }

    /// The S3 endpoint.
    pub(crate) fn s3(&self) -> Option<S3Reading> {
        self.meters.s3()
    }

    fn absorb(&self, ended: &mut BTreeMap<Owner, Totals>) -> Vec<TaskReading> {
        let readings = self.meters.read();
        for reading in &readings.ended {
            ended.entry(owner(reading)).or_default().absorb_ended(&reading.totals);
        }
        readings.living
    }

    fn take_back(&self, given_back: &mut BTreeMap<Metered, MeterTotals>) -> Vec<MeterReading> {
        let readings = self.meters.balancer();
        for MeterReading { metered, totals } in readings.ended {
            given_back.entry(metered).or_default().absorb_ended(&totals);
        }
        readings.living
    }
}

fn owner(reading: &TaskReading) -> Owner {
    Owner { name: reading.owner.clone(), in_service: reading.in_service }
}

//! What a sandbox needs of its task while it runs: the specification, its row in the ledger, its rate limits.
//!
//! Shared by all sandboxes of a task in this worker and by what outlives them (bodies, log lines), so it is `Sync`;
//! what only the worker's own thread touches lies in [`crate::task`].

use crate::logs::LogMeter;
use bytes::Bytes;
use skiff_kit::{TokenBucket, clock};
use skiff_ledger::{Ledger, TaskRow, TaskSlot};
use skiff_ports::snapshot::{Assignment, TaskSpec};
use skiff_types::{CpuUnits, Kind, QualifiedName, TaskId};
use std::sync::Arc;

/// What a task that was idle may use at once: its share of so much time, in nanoseconds. `--cpu`'s help names it.
const CPU_BURST_NS: u64 = 100_000_000;

/// One task's account in this worker.
pub(crate) struct Account {
    pub(crate) task: TaskId,
    /// Which of its lives this is: see [`Assignment`].
    pub(crate) life: u32,
    /// Its service or family: the name its logs go by.
    pub(crate) owner: QualifiedName,
    pub(crate) in_service: bool,
    pub(crate) spec: Arc<TaskSpec>,
    pub(crate) slot: TaskSlot,
    pub(crate) worker: usize,
    /// As WASI takes it; made once, not per request.
    pub(crate) environment: Vec<(String, String)>,
    /// The family's name, then the arguments.
    pub(crate) arguments: Vec<String>,
    /// What a command finds on its standard input.
    pub(crate) stdin: Bytes,
    pub(crate) log_meter: LogMeter,
    cpu: TokenBucket,
}

impl Account {
    pub(crate) fn new(assignment: Assignment, ledger: &Ledger, worker: usize) -> Self {
        let Assignment { task, owner, in_service, spec, slot, life } = assignment;
        let units = u64::from(spec.limits.cpu.get());
        // A command lives in one worker and has the rate to itself; that of one that is called is spread over all of them.
        let sharers = match spec.kind {
            Kind::Http | Kind::Event => ledger.workers() as u64,
            Kind::Command => 1,
        };
        let program = spec.definition.family.to_string();
        Self {
            task,
            life,
            owner,
            in_service,
            slot: ledger.task(slot),
            worker,
            environment: spec.command.environment.clone().into_iter().collect(),
            arguments: std::iter::once(program).chain(spec.command.arguments.iter().cloned()).collect(),
            stdin: spec.command.stdin.clone().unwrap_or_default().into(),
            log_meter: LogMeter::new(spec.limits.log_rate.bytes() / sharers),
            // A nanosecond of CPU costs 1024 / units nanoseconds of the bucket's time.
            cpu: TokenBucket {
                period_ns_per_1024: 1024 * u64::from(CpuUnits::PER_VCPU) / units,
                burst_ns: CPU_BURST_NS,
            },
            spec,
        }
    }

    /// This task's row of this worker.
    pub(crate) fn row(&self) -> &TaskRow {
        self.slot.row(self.worker)
    }

    /// When the time is up of a request that comes now, on the monotonic clock in nanoseconds.
    pub(crate) fn deadline_ns(&self) -> u64 {
        clock::monotonic_ns().saturating_add(self.spec.limits.timeout.ms().saturating_mul(1_000_000))
    }

    /// Charges CPU time that was used up to `now_ns`.
    pub(crate) fn charge_cpu(&self, used_ns: u64, now_ns: u64) {
        self.row().cpu_ns.add(used_ns);
        self.cpu.spend(self.slot.cpu_bucket(), now_ns, used_ns);
    }

    /// How long the task's guests must sleep from `now_ns` on, because it used up its CPU; 0 if they need not.
    pub(crate) fn cpu_wait_ns(&self, now_ns: u64) -> u64 {
        self.cpu.wait_ns(self.slot.cpu_bucket(), now_ns)
    }

    /// Why memory was refused, for people.
    pub(crate) fn out_of_memory(&self) -> String {
        let sandboxes: u64 = self.slot.rows().map(|row| row.sandboxes.get()).sum();
        let (limit, plural) = (self.spec.limits.memory, if sandboxes == 1 { "sandbox" } else { "sandboxes" });
        match self.spec.kind {
            Kind::Http | Kind::Event => format!(
                "out of memory: the task's limit of {limit} is used up by its {sandboxes} {plural}; raise --memory or \
                 lower --concurrency"
            ),
            Kind::Command => format!("out of memory: the task's limit of {limit} is used up; raise --memory"),
        }
    }
}

#[cfg(test)]
impl Account {
    /// That of a task with so much memory, in a ledger of its own.
    pub(crate) fn of_any_task(memory_bytes: u64) -> Self {
        use skiff_types::{Command, Digest, HealthCheck, Limits, MemorySize, Name, Namespace};
        use skiff_types::{TaskDefinitionId, WasiGeneration};
        let name: Name = "guest".parse().expect("a name");
        let spec = TaskSpec {
            definition: TaskDefinitionId { family: name.clone(), revision: 1 },
            kind: Kind::Http,
            generation: WasiGeneration::P2,
            program: Digest::from_bytes([1; 32]),
            limits: Limits { memory: MemorySize::from_bytes(memory_bytes), ..Limits::default() },
            command: Command::default(),
            port: None,
            health_check: HealthCheck::default(),
        };
        let (task, owner) = (TaskId::from_parts(1, [1; 10]), QualifiedName::new(Namespace::default(), name));
        let spec = Arc::new(spec);
        let assignment = Assignment { task, owner, in_service: true, spec, slot: 0, life: 0 };
        let (ledger, _) = Ledger::create(1).expect("a ledger");
        Self::new(assignment, &ledger, 0)
    }
}

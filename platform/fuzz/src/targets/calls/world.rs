//! A worker's sandboxes without a worker, with one guest in them.

use super::client::{Client, Interruption};
use futures::future::{Either, join_all};
use skiff_ledger::Ledger;
use skiff_ports::invoke::{Invoke, InvokeError};
use skiff_ports::logs::LogLine;
use skiff_ports::snapshot::{Assignment, TaskSpec};
use skiff_sandbox::{CodeBounds, Config, Deps, LogSink, Sandboxes};
use skiff_testbed::{Compiled, GUESTS, NativeCode, build};
use skiff_types::{
    CpuUnits, Limits, MemorySize, Name, Namespace, QualifiedName, Reuse, Span, TaskId, WasiGeneration,
};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use tokio::task::LocalSet;

/// How long is waited for what must come.
const PATIENCE: Duration = Duration::from_secs(60);
/// Time of a call: longer than all but those programs take that wait for what never comes.
const TIMEOUT_MS: u64 = 20;
/// Small, so that a program can reach it.
const MEMORY: MemorySize = MemorySize::from_mib(8);
/// Sandboxes of the pool.
const SANDBOXES_MAX: usize = 4;
const CODE_BOUNDS: CodeBounds = CodeBounds { components: 4, bytes: 1 << 30 };
/// The tasks' slots in the ledger: the two whose calls are made here, with a sandbox for each and with sandboxes that serve
/// several, and one that holds on to the code.
const SLOT: u32 = 0;
const REUSING_SLOT: u32 = 1;
const KEEPER_SLOT: u32 = 2;
/// The parts that a program is cut into for several calls.
const PARTS: usize = 3;

pub(super) struct World {
    runtime: Runtime,
    local: LocalSet,
    sandboxes: Rc<Sandboxes>,
    ledger: Ledger,
    assignments: [Assignment; 3],
}

impl World {
    /// Builds and compiles the guest, and loads it.
    pub(super) fn new(generation: WasiGeneration) -> Self {
        let guest = guest(generation);
        let code = Rc::new(NativeCode::of([&guest]));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let local = LocalSet::new();
        let (ledger, _) = Ledger::create(1).expect("a ledger");
        let deps = Deps {
            ledger: ledger.clone(),
            code,
            logs: Rc::new(Discarded),
            events: Rc::new(|_| {}),
            capabilities: Vec::new(),
        };
        let config = Config { worker: 0, sandboxes_max: SANDBOXES_MAX, code: CODE_BOUNDS };
        let sandboxes = local.block_on(&runtime, async { Sandboxes::new(config, deps) }).expect("sandboxes");
        let assignment = |slot: u32| assignment(slot, &guest);
        let assignments = [SLOT, REUSING_SLOT, KEEPER_SLOT].map(assignment);
        let world = Self { runtime, local, sandboxes, ledger, assignments };
        world.load();
        world
    }

    /// Lets the task that has the time for it load the code, on behalf of all.
    fn load(&self) {
        self.local.block_on(&self.runtime, async {
            self.assignments.iter().for_each(|assignment| self.sandboxes.run(assignment.clone()));
            let id = self.assignments[KEEPER_SLOT as usize].task;
            let called = self.sandboxes.invoke(id, Client::new([0; 3]).request(&[]));
            let answer = called.await.expect("the empty program is answered");
            assert_eq!(answer.status(), http::StatusCode::OK);
        });
    }

    /// One call or several, and what must hold after them.
    pub(super) fn call(&self, client: Client, program: &[u8]) {
        self.local.block_on(&self.runtime, async {
            let calls = async {
                match client.calls_often() {
                    true => self.call_often(&client, program).await,
                    false => self.interrupted(SLOT, &client, program).await,
                }
            };
            tokio::time::timeout(PATIENCE, calls).await.expect("a call never ends");
            self.all_is_given_back(SLOT).await;
            // For a task that is called often sandboxes are made ahead, and wait for requests longer than anybody wants to look
            // whether they are given back: so each input calls a task that nobody called before.
            let task = &self.assignments[SLOT as usize];
            self.sandboxes.end(task.task);
            self.sandboxes.run(task.clone());
        });
    }

    /// Each part of the program for several calls at once, and once more for those that find a sandbox which served others.
    async fn call_often(&self, client: &Client, program: &[u8]) {
        let task = &self.assignments[REUSING_SLOT as usize];
        for _ in 0..2 {
            let parts = program.chunks(program.len().div_ceil(PARTS).max(1));
            join_all(parts.map(|part| self.interrupted(REUSING_SLOT, client, part))).await;
        }
        let at_work = || {
            let totals = self.ledger.task(REUSING_SLOT).totals();
            [totals.in_flight, totals.queued]
        };
        becomes(at_work, [0; 2], "in flight, queued").await;
        self.sandboxes.end(task.task);
        self.all_is_given_back(REUSING_SLOT).await;
        self.sandboxes.run(task.clone());
    }

    /// The call, until it has ended or its client has had enough.
    async fn interrupted(&self, slot: u32, client: &Client, program: &[u8]) {
        let assignment = &self.assignments[slot as usize];
        let id = assignment.task;
        let call = pin!(async {
            match self.sandboxes.invoke(id, client.request(program)).await {
                Ok(response) => {
                    client.take(response).await;
                    Ok(())
                }
                Err(error) => Err(error),
            }
        });
        let interruption = client.interruption();
        let ended = match interruption {
            Interruption::None => call.await,
            Interruption::Leaves(turns) => match futures::future::select(call, pin!(turn(turns))).await {
                Either::Left((ended, _)) => ended,
                Either::Right(_) => Ok(()),
            },
            Interruption::TaskEnds(turns) => match futures::future::select(call, pin!(turn(turns))).await {
                Either::Left((ended, _)) => ended,
                Either::Right(((), call)) => {
                    self.sandboxes.end(id);
                    let ended = call.await;
                    self.sandboxes.run(assignment.clone());
                    ended
                }
            },
        };
        match ended {
            // There are few enough of them, and those before had given everything back.
            Err(error @ InvokeError::Busy { .. }) => panic!("there is room for one: {error}"),
            Err(InvokeError::Gone) => {
                assert_ne!(interruption, Interruption::None, "the task is here");
            }
            Ok(())
            | Err(InvokeError::TimedOut { .. } | InvokeError::Failed(_) | InvokeError::TooLarge { .. }) => {}
        }
    }

    async fn all_is_given_back(&self, slot: u32) {
        let held = || {
            let totals = self.ledger.task(slot).totals();
            [totals.memory_bytes, totals.in_flight, totals.queued, totals.sandboxes]
        };
        becomes(held, [0; 4], "memory, in flight, queued, sandboxes").await;
    }
}

/// Waits until what is held is no more than it is to be.
async fn becomes<const N: usize>(held: impl Fn() -> [u64; N], expected: [u64; N], what: &str) {
    let deadline = Instant::now() + PATIENCE;
    while held() != expected {
        assert!(Instant::now() < deadline, "{what}: {:?} are held for ever", held());
        tokio::task::yield_now().await;
    }
}

/// Lets everything else run so many times.
async fn turn(turns: u8) {
    for _ in 0..turns {
        tokio::task::yield_now().await;
    }
}

fn assignment(slot: u32, guest: &Compiled) -> Assignment {
    let timeout_ms = if slot == KEEPER_SLOT { Limits::TIMEOUT_MS_MAX } else { TIMEOUT_MS };
    let reuse = match (slot, guest.report.generation) {
        (REUSING_SLOT, WasiGeneration::P2) => Reuse { requests: 4, concurrent: 1 },
        (REUSING_SLOT, WasiGeneration::P3) => Reuse { requests: 5, concurrent: 2 },
        _ => Limits::default().reuse,
    };
    let name: Name = "guest".parse().expect("a name");
    let owner = QualifiedName::new(Namespace::default(), name.clone());
    let spec = TaskSpec {
        limits: Limits {
            cpu: CpuUnits::new(CpuUnits::MAX).expect("within bounds"),
            memory: MEMORY,
            timeout: Span::from_ms(timeout_ms),
            reuse,
            ..Limits::default()
        },
        ..guest.spec(name)
    };
    let task = TaskId::from_parts(1, [slot as u8; 10]);
    Assignment { task, owner, in_service: true, spec: Arc::new(spec), slot, life: 0 }
}

/// The guest, built if need be.
fn guest(generation: WasiGeneration) -> Compiled {
    let (package, file) = match generation {
        WasiGeneration::P2 => ("calls", "calls.wasm"),
        WasiGeneration::P3 => ("calls-p3", "calls_p3.wasm"),
    };
    Compiled::new(&std::fs::read(build(GUESTS, package, file)).expect("just built"))
}

/// Where guests' output goes.
struct Discarded;

impl LogSink for Discarded {
    fn write(&self, _: &QualifiedName, _: LogLine) -> bool {
        true
    }
}

//! One simulation, from its first step to its rest.

mod scenes;
mod users;

use crate::buses::MemoryBuses;
use crate::checker::Checker;
use crate::client::{Client, TOKEN};
use crate::clock::SimClock;
use crate::cluster::{Cluster, MetersOfCluster, NodesOfCluster, RuntimeOfLife};
use crate::dice::Dice;
use crate::life::Life;
use crate::memory::{JournalOfLife, MemoryImages, MemoryJournal, NoBill, Silence};
use crate::options::{Options, Report, Sabotage};
use crate::scenario::{BUSY_MS, Scenario, Step};
use crate::series::{MemorySeries, SeriesOfLife};
use crate::store::{SimStore, StoreOfLife};
use crate::trace::Trace;
use scenes::Stage;
use skiff_control::{Config, Deps, Plane, Token};
use skiff_memory::MemoryData;
use skiff_ports::network::NetworkSetup;
use skiff_types::NetworkSpec;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How often it is looked at what must not last, in milliseconds.
const LOOK_MS: u64 = 100;
/// From the control plane's death to its next start, in milliseconds.
const RESTART_MS: u64 = 200;
/// The longest that a control plane may take to end.
const END_TIME: Duration = Duration::from_secs(120);
/// Starts in a row that may fail, while the store has faults.
const STARTS_MAX: usize = 100;
/// Within so much time everything is to come to rest once nothing goes wrong any more, in milliseconds: longer than the longest
/// wait for a task that failed, and than the steps of any deployment.
const SETTLE_MS: u64 = 1_800_000;
/// How often in a row, a second apart, everything must be found at rest: beyond the time after which a task is said to have run
/// well.
const SETTLED_LOOKS: u32 = 45;
/// The same where counts follow a load, which has ended: beyond the calm after which tasks are taken away.
const SETTLED_LOOKS_OF_SCALED: u32 = 180;
/// For how long nothing is written then, in milliseconds.
const QUIET_MS: u64 = 60_000;
/// While the store is slow, or writes fail: for how long nobody is held to their bounds, in milliseconds.
const STORE_FAULT_MS: u64 = 30_000;
/// The prefix of a node's subnet: room for a thousand nodes of some four thousand addresses each.
const NODE_PREFIX: u8 = 20;

/// Carries out what a seed stands for.
///
/// # Panics
/// If the machine has no memory for it.
pub fn run(options: &Options) -> Report {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.expect("a runtime of one thread takes nothing");
    runtime.block_on(async {
        let mut world = World::new(options).await;
        world.live().await;
        world.end().await
    })
}

/// The world of one simulation.
struct World {
    options: Options,
    scenario: Scenario,
    parts: Parts,
    /// The control plane that lives.
    current: Current,
    /// Revisions that were deployed, so that each is another program.
    revisions: u64,
    /// What scenes know of themselves.
    stage: Stage,
}

/// What outlives a control plane.
struct Parts {
    clock: Arc<SimClock>,
    trace: Trace,
    checker: Arc<Checker>,
    store: Arc<SimStore>,
    cluster: Arc<Cluster>,
    images: Arc<MemoryImages>,
    journal: Arc<MemoryJournal>,
    series: Arc<MemorySeries>,
    /// Tables, buckets and queues. No scene has use for the first two.
    data: Arc<MemoryData>,
    buses: Arc<MemoryBuses>,
    random: Arc<Dice>,
}

/// A control plane in its life.
struct Current {
    life: Arc<Life>,
    plane: Plane,
    client: Client,
}

impl Parts {
    fn new(options: &Options, scenario: &Scenario) -> Self {
        let Options { seed, trace, sabotage } = *options;
        let clock = Arc::new(SimClock::new());
        let trace = Trace::new(clock.clone(), trace);
        let checker = Arc::new(Checker::new(clock.clone(), trace.clone()));
        let store = Arc::new(SimStore::new(seed, checker.clone(), trace.clone(), sabotage));
        let images = Arc::new(MemoryImages::default());
        let cluster = Arc::new(Cluster::new(
            seed,
            scenario.nodes,
            clock.clone(),
            checker.clone(),
            trace.clone(),
            images.clone(),
            sabotage,
        ));
        let (journal, series) = (Arc::default(), Arc::default());
        let checks = checker.clone();
        let data = Arc::new(MemoryData::in_time(move |message| checks.deleted_message(message)));
        let buses = Arc::new(MemoryBuses::new(checker.clone(), trace.clone(), sabotage));
        let random = Arc::new(Dice::new(seed, "plane"));
        Self { clock, trace, checker, store, cluster, images, journal, series, data, buses, random }
    }

    /// Starts a control plane over what the last one left.
    async fn start(&self) -> Current {
        let mut attempt = 0;
        loop {
            attempt += 1;
            let life = Arc::new(Life::new());
            self.data.recall_messages();
            match Plane::start(config(), self.deps(&life)).await {
                Ok(plane) => {
                    let (buses, targets, alive) = (self.buses.clone(), plane.targets(), life.clone());
                    tokio::spawn(async move { buses.drive(targets, alive).await });
                    self.trace.note(format_args!("the plane is there, at attempt {attempt}"));
                    let client = Client(plane.api());
                    return Current { life, plane, client };
                }
                Err(error) => {
                    self.trace.note(format_args!("the plane can't start: {error}"));
                    life.end();
                    self.checker.died();
                    assert!(attempt < STARTS_MAX, "the plane does not start: {error}");
                }
            }
            tokio::time::sleep(Duration::from_millis(RESTART_MS)).await;
        }
    }

    fn deps(&self, life: &Arc<Life>) -> Deps {
        let (life, silence) = (life.clone(), Arc::new(Silence));
        let cluster = self.cluster.clone();
        Deps {
            store: Arc::new(StoreOfLife { store: self.store.clone(), life: life.clone() }),
            images: self.images.clone(),
            runtime: Arc::new(RuntimeOfLife::begin(cluster.clone(), life.clone())),
            logs: silence.clone(),
            flows: silence.clone(),
            usage: Arc::new(NoBill),
            series: Arc::new(SeriesOfLife { series: self.series.clone(), life: life.clone() }),
            journal: Arc::new(JournalOfLife {
                journal: self.journal.clone(),
                checker: self.checker.clone(),
                life,
            }),
            nodes: Arc::new(NodesOfCluster(cluster.clone())),
            webhooks: silence,
            buckets: self.data.clone(),
            tables: self.data.clone(),
            queues: self.data.clone(),
            buses: self.buses.clone(),
            meters: Arc::new(MetersOfCluster(cluster)),
            clock: self.clock.clone(),
            random: self.random.clone(),
        }
    }
}

/// What a control plane is told of the platform.
fn config() -> Config {
    let spec = NetworkSpec { node_prefix: NODE_PREFIX, ..NetworkSpec::default() };
    Config {
        version: "simulated".to_owned(),
        http: ([127, 0, 0, 1], 8080).into(),
        data_dir: "/simulated".into(),
        token: Token::new(TOKEN),
        network: NetworkSetup { spec, node_index: 0, own_doors: Vec::new() },
        host_addresses: Vec::new(),
    }
}

impl World {
    async fn new(options: &Options) -> Self {
        let is_played = options.sabotage.is_none_or(Sabotage::is_of_scenes);
        let scenario = Scenario::draw(options.seed);
        let scenario = if is_played { scenario } else { scenario.without_scenes() };
        let parts = Parts::new(options, &scenario);
        parts.trace.note(format_args!("{} nodes, {:?}", scenario.nodes, scenario.services));
        let cluster = parts.cluster.clone();
        tokio::spawn(async move { cluster.run().await });
        let current = parts.start().await;
        let stage = Stage::new(options.seed);
        Self { options: options.clone(), scenario, parts, current, revisions: 0, stage }
    }

    /// Users and fate do what they do; then nothing goes wrong any more, and all comes to rest.
    async fn live(&mut self) {
        for (at_ms, step) in self.scenario.steps.clone() {
            if !self.until(at_ms).await {
                return;
            }
            self.parts.trace.note(format_args!("step: {step:?}"));
            self.carry_out(step).await;
        }
        if !self.until(BUSY_MS).await {
            return;
        }
        self.parts.trace.note(format_args!("nothing goes wrong any more"));
        self.parts.store.heal();
        self.parts.cluster.heal();
        self.resume_all().await;
        self.calm_scenes();
        if !self.settles().await {
            return;
        }
        let has_more = self.encores().await;
        let is_content = self.parts.checker.is_content();
        if is_content && (!has_more || self.settles().await) {
            self.rests().await;
        }
    }

    /// Lets time pass, and starts the control plane again whenever it has died; false once something was broken.
    async fn until(&mut self, at_ms: u64) -> bool {
        let clock = self.parts.clock.clone();
        loop {
            let now_ms = clock.elapsed_ms();
            if now_ms >= at_ms || !self.parts.checker.is_content() {
                return self.parts.checker.is_content();
            }
            let next: Instant = clock.instant(at_ms.min(now_ms + LOOK_MS));
            tokio::select! {
                biased;
                () = self.current.life.ended() => self.restart().await,
                () = tokio::time::sleep_until(next) => self.parts.checker.look(),
            }
        }
    }

    /// The control plane has died: what is left of it ends, and another one starts.
    async fn restart(&mut self) {
        self.parts.checker.died();
        self.finish_plane().await;
        tokio::time::sleep(Duration::from_millis(RESTART_MS)).await;
        self.current = self.parts.start().await;
        // Its tasks come back one after the other.
        self.parts.checker.disturbed();
    }

    async fn finish_plane(&self) {
        if !self.current.plane.shutdown(END_TIME).await {
            self.parts.checker.violated(format_args!("the control plane did not end within {END_TIME:?}"));
        }
    }

    async fn carry_out(&mut self, step: Step) {
        let Parts { store, cluster, clock, checker, .. } = &self.parts;
        match step {
            Step::Befalls(fault) => cluster.befall(fault),
            Step::Dies(death) => store.kill(death),
            Step::SlowStore(most_ms) => {
                checker.disturbed_for(STORE_FAULT_MS);
                store.set_delay(Some(most_ms));
            }
            Step::Conflicts(times) => {
                checker.disturbed_for(STORE_FAULT_MS);
                store.conflict(times);
            }
            Step::Failures(times) => {
                checker.disturbed_for(STORE_FAULT_MS);
                store.fail(times);
            }
            Step::Compaction => store.compact(),
            Step::Jump(by_ms) => clock.jump(by_ms),
            Step::SoundStore => store.set_delay(None),
            Step::Deploy { service, behaviour, bounds, desired } => {
                self.deploy(service, behaviour, bounds, desired).await;
            }
            Step::Scale { service, desired } => self.scale(service, desired).await,
            Step::Follow { service, least, most } => self.follow(service, least, most).await,
            Step::Rollout { service, action } => self.change_rollout(service, action).await,
            Step::Remove { service } => self.remove(service).await,
            Step::Play(scene, act) => self.play(scene, act).await,
        }
    }

    /// Whether everything comes to rest in time.
    async fn settles(&mut self) -> bool {
        let limit_ms = self.parts.clock.elapsed_ms() + SETTLE_MS;
        let follows = self.scenario.steps.iter().any(|(_, step)| matches!(step, Step::Follow { .. }));
        let looks = if follows { SETTLED_LOOKS_OF_SCALED } else { SETTLED_LOOKS };
        let (mut settled, mut moves) = (0, 0);
        while settled < looks {
            let now_ms = self.parts.clock.elapsed_ms();
            if !self.until(now_ms + 1_000).await {
                return false;
            }
            let mut unsettled = self.parts.checker.unsettled();
            unsettled.extend(self.unsettled_scenes().await);
            let moves_before = std::mem::replace(&mut moves, self.parts.checker.moves());
            settled = if unsettled.is_empty() && moves == moves_before { settled + 1 } else { 0 };
            if settled == 0 && now_ms > limit_ms {
                let moves = vec!["something is written again and again".to_owned()];
                for one in if unsettled.is_empty() { moves } else { unsettled } {
                    self.parts.checker.violated(format_args!("it does not come to rest: {one}"));
                }
                return false;
            }
        }
        true
    }

    /// Nothing changes any more: nothing is written, and what runs is what is to run.
    async fn rests(&mut self) {
        self.parts.trace.note(format_args!("all is at rest"));
        self.parts.checker.set_quiet(true);
        let now_ms = self.parts.clock.elapsed_ms();
        let is_content = self.until(now_ms + QUIET_MS).await;
        self.parts.checker.set_quiet(false);
        if is_content {
            let to_run = self.parts.checker.to_run();
            for astray in self.parts.cluster.astray(&to_run) {
                self.parts.checker.violated(format_args!("{astray}"));
            }
            self.check_bounds().await;
        }
    }

    async fn end(self) -> Report {
        self.finish_plane().await;
        let Self { options, parts, .. } = self;
        Report {
            seed: options.seed,
            violations: parts.checker.violations(),
            steps: parts.trace.sum(),
            trace: parts.trace.take(),
            seen: parts.checker.seen(),
        }
    }

    /// Whether this is wrong on purpose.
    fn is_sabotaged(&self, sabotage: Sabotage) -> bool {
        self.options.sabotage == Some(sabotage)
    }
}

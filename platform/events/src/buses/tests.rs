//! The buses from outside: what is put, and what targets are asked.

mod delivery;
mod intake;
mod restart;

use super::*;
use skiff_kit::random::SystemRandom;
use skiff_ports::buses::{Attempt, AttemptError, Buses as _};
use skiff_types::{Destination, EventTarget, Input, QualifiedName, RetryPolicy, Span};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use tempfile::TempDir;
use tokio::sync::{Semaphore, mpsc};

const BEGIN_MS: u64 = 1_800_000_000_000;
const MINUTE_MS: u64 = 60_000;

/// A clock that goes on when it is told to.
struct Hands(AtomicU64);

impl Clock for Hands {
    fn unix_ms(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

/// What outlives a platform: its disk and its clock.
struct World {
    folder: TempDir,
    clock: Arc<Hands>,
    limits: Limits,
}

impl World {
    fn new() -> Self {
        let limits = Limits { segment_bytes: 1 << 20, ..Limits::default() };
        let clock = Arc::new(Hands(AtomicU64::new(BEGIN_MS)));
        Self { folder: tempfile::tempdir().unwrap(), clock, limits }
    }

    fn with_limits(change: impl FnOnce(&mut Limits)) -> Self {
        let mut world = Self::new();
        change(&mut world.limits);
        world
    }

    fn pass(&self, ms: u64) {
        self.clock.0.fetch_add(ms, Ordering::SeqCst);
    }

    /// Buses that deliver nothing yet.
    fn open(&self) -> Buses {
        self.open_on(Arc::new(OsDrive))
    }

    fn open_on(&self, drive: Arc<dyn Drive>) -> Buses {
        let config = Config { folder: self.folder.path().to_owned(), limits: self.limits };
        let random = SharedRandom::new(Arc::new(SystemRandom));
        Buses::open_on(config, Deps { clock: self.clock.clone(), random }, drive).unwrap()
    }

    /// Buses with these rules that deliver.
    fn start(&self, rules: &[Arc<EventRuleSpec>]) -> Platform {
        let buses = self.open();
        buses.set_rules(rules.to_vec());
        Platform::start(buses)
    }
}

/// A platform for as long as it is up.
struct Platform {
    buses: Buses,
    fake: Arc<Fake>,
    drain: Drain,
    tried: mpsc::UnboundedReceiver<Attempt>,
    buried: mpsc::UnboundedReceiver<(QualifiedName, Attempt, AttemptError)>,
}

impl Platform {
    fn start(buses: Buses) -> Self {
        let (tried_sender, tried) = mpsc::unbounded_channel();
        let (buried_sender, buried) = mpsc::unbounded_channel();
        let fake = Arc::new(Fake {
            script: Mutex::default(),
            burials: Mutex::default(),
            gates: Mutex::default(),
            under_way: Mutex::default(),
            tried: tried_sender,
            buried: buried_sender,
        });
        let drain = Drain::new();
        buses.start(fake.clone(), &drain);
        Self { buses, fake, drain, tried, buried }
    }

    async fn put(&self, event: BusEvent) {
        self.buses.put(vec![event]).await.unwrap();
    }

    /// The next try of any target.
    async fn tried(&mut self) -> Attempt {
        self.tried.recv().await.unwrap()
    }

    /// The ids of the events of so many tries.
    async fn tried_events(&mut self, count: usize) -> Vec<String> {
        let mut events = Vec::new();
        for _ in 0..count {
            events.push(self.tried().await.event.id.to_string());
        }
        events
    }

    /// Waits until nothing waits and nothing is under way.
    async fn settle(&self) {
        loop {
            let stats = self.buses.stats();
            if stats.waiting + stats.under_way == 0 {
                return;
            }
            tokio::task::yield_now().await;
        }
    }

    /// Ends in an orderly way.
    async fn stop(self) {
        assert!(self.drain.finish(std::time::Duration::from_secs(60)).await);
        self.buses.close().await;
    }

    /// Ends at once: what is under way is never heard of again.
    async fn kill(self) {
        self.buses.close().await;
    }
}

/// Runs one life of a platform; what it still does when it is over, ends.
fn live<T>(life: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(life)
}

/// Targets that do what they are told to, and tell what they are asked.
struct Fake {
    /// What each target answers, in order; then it takes all.
    script: Mutex<HashMap<String, VecDeque<Result<(), AttemptError>>>>,
    /// What dead-letter queues answer, in order; then they take all.
    burials: Mutex<VecDeque<Result<(), AttemptError>>>,
    /// What each try of a target waits for.
    gates: Mutex<HashMap<String, Arc<Semaphore>>>,
    /// Of each target, how many are under way, and the most that ever were.
    under_way: Mutex<BTreeMap<String, (usize, usize)>>,
    tried: mpsc::UnboundedSender<Attempt>,
    buried: mpsc::UnboundedSender<(QualifiedName, Attempt, AttemptError)>,
}

impl Fake {
    fn answer(&self, target: &str, answers: impl IntoIterator<Item = Result<(), AttemptError>>) {
        self.script.lock().unwrap().entry(target.to_owned()).or_default().extend(answers);
    }

    /// Lets no try of a target through but so many as the gate is given permits.
    fn shut(&self, target: &str) -> Arc<Semaphore> {
        let gate = Arc::new(Semaphore::new(0));
        self.gates.lock().unwrap().insert(target.to_owned(), gate.clone());
        gate
    }

    fn most_under_way(&self, target: &str) -> usize {
        self.under_way.lock().unwrap().get(target).map_or(0, |(_, most)| *most)
    }
}

#[async_trait]
impl Targets for Fake {
    async fn deliver(&self, attempt: Attempt) -> Result<(), AttemptError> {
        let target = attempt.target.id.to_string();
        {
            let mut under_way = self.under_way.lock().unwrap();
            let (now, most) = under_way.entry(target.clone()).or_default();
            *now += 1;
            *most = (*now).max(*most);
        }
        let _ = self.tried.send(attempt);
        let gate = self.gates.lock().unwrap().get(&target).cloned();
        if let Some(gate) = gate {
            gate.acquire().await.unwrap().forget();
        }
        if let Some((now, _)) = self.under_way.lock().unwrap().get_mut(&target) {
            *now -= 1;
        }
        let mut script = self.script.lock().unwrap();
        script.get_mut(&target).and_then(VecDeque::pop_front).unwrap_or(Ok(()))
    }

    async fn bury(
        &self,
        queue: &QualifiedName,
        attempt: Attempt,
        why: &AttemptError,
    ) -> Result<(), AttemptError> {
        let _ = self.buried.send((queue.clone(), attempt, why.clone()));
        self.burials.lock().unwrap().pop_front().unwrap_or(Ok(()))
    }
}

fn failed() -> Result<(), AttemptError> {
    Err(AttemptError::Failed("it is down".to_owned()))
}

fn refused() -> Result<(), AttemptError> {
    Err(AttemptError::Refused("there is no such task".to_owned()))
}

fn busy() -> Result<(), AttemptError> {
    Err(AttemptError::Busy("it has much to do".to_owned()))
}

fn event(id: &str) -> BusEvent {
    BusEvent {
        namespace: Namespace::default(),
        bus: "default".parse().unwrap(),
        id: id.into(),
        source: "app".into(),
        detail_type: "Order Placed".into(),
        time_ms: BEGIN_MS,
        resources: Vec::new(),
        subject: None,
        extensions: BTreeMap::new(),
        detail: format!(r#"{{"id":"{id}"}}"#).into(),
        order_key: None,
    }
}

fn keyed(id: &str, order_key: &str) -> BusEvent {
    BusEvent { order_key: Some(order_key.into()), ..event(id) }
}

fn target(id: &str) -> EventTarget {
    EventTarget {
        id: id.parse().unwrap(),
        to: Destination::Queue { queue: id.parse().unwrap(), group: None },
        input: Input::Path("$.detail".into()),
        retry: RetryPolicy::default(),
        dead_letter: None,
        concurrency: EventTarget::CONCURRENCY,
        timeout: EventTarget::TIMEOUT,
    }
}

fn rule_for(name: &str, pattern: &str, targets: Vec<EventTarget>) -> Arc<EventRuleSpec> {
    Arc::new(EventRuleSpec {
        name: QualifiedName::new(Namespace::default(), name.parse().unwrap()),
        bus: "default".parse().unwrap(),
        pattern: pattern.into(),
        enabled: true,
        targets,
    })
}

/// A rule that takes all events of the tests.
fn rule(name: &str, targets: Vec<EventTarget>) -> Arc<EventRuleSpec> {
    rule_for(name, r#"{"source": ["app"]}"#, targets)
}

/// The same with one target.
fn rule_to(target_id: &str) -> Arc<EventRuleSpec> {
    rule("orders", vec![target(target_id)])
}

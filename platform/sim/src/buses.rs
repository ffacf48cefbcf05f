//! The buses in memory: what is due by schedules, and what rules take, waits here until the control plane's targets have it. It
//! outlives the control plane, as the disk does.
//!
//! It deliberately reads no pattern: a rule takes what comes from a source that its pattern names. Patterns, retries and dead
//! letters have tests of their own, in `events`.
//!
//! What always holds: what was put under an id is taken once; what waits is tried until its target took it, one after the other,
//! under the same id each time.

use crate::checker::Checker;
use crate::life::Life;
use crate::options::Sabotage;
use crate::trace::Trace;
use async_trait::async_trait;
use skiff_kit::Watermark;
use skiff_ports::buses::{
    Attempt, AttemptError, BusCounts, BusError, BusStats, Buses, NewDelivery, RuleChanges, Tail, Targets,
};
use skiff_types::{BusEvent, EventRuleSpec, EventTarget, Namespace, QualifiedName};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The wait before what was not taken is tried again.
const RETRY_PAUSE: Duration = Duration::from_millis(500);

/// The buses.
pub(crate) struct MemoryBuses {
    checker: Arc<Checker>,
    trace: Trace,
    sabotage: Option<Sabotage>,
    state: Mutex<State>,
    /// Moves on whenever something waits.
    moved: Watermark,
}

#[derive(Default)]
struct State {
    rules: BTreeMap<QualifiedName, Arc<EventRuleSpec>>,
    /// What was put before.
    known: BTreeSet<String>,
    waiting: VecDeque<Attempt>,
}

impl MemoryBuses {
    pub(crate) fn new(checker: Arc<Checker>, trace: Trace, sabotage: Option<Sabotage>) -> Self {
        Self { checker, trace, sabotage, state: Mutex::default(), moved: Watermark::default() }
    }

    /// How many deliveries wait.
    pub(crate) fn waiting(&self) -> usize {
        self.state().waiting.len()
    }

    /// Has the targets of a control plane take what waits, for as long as that lives.
    pub(crate) async fn drive(&self, targets: Arc<dyn Targets>, life: Arc<Life>) {
        tokio::select! {
            biased;
            () = life.ended() => {}
            () = self.deliver_all(targets) => {}
        }
    }

    async fn deliver_all(&self, targets: Arc<dyn Targets>) {
        loop {
            let moved = self.moved.get();
            let next = self.state().waiting.front().cloned();
            let Some(attempt) = next else {
                self.moved.reached(moved + 1).await;
                continue;
            };
            let id = attempt.id.clone();
            let outcome = targets.deliver(attempt).await;
            self.trace.note(format_args!("buses: {id} is delivered: {outcome:?}"));
            match outcome {
                Ok(()) => drop(self.state().waiting.pop_front()),
                Err(AttemptError::Refused(why)) => {
                    self.state().waiting.pop_front();
                    self.checker.violated(format_args!("the delivery {id} was refused: {why}"));
                }
                Err(AttemptError::Failed(_) | AttemptError::Busy(_)) => tokio::time::sleep(RETRY_PAUSE).await,
            }
        }
    }

    /// Takes in what was not known.
    fn take(&self, attempts: Vec<Attempt>) {
        let mut state = self.state();
        for attempt in attempts {
            if !state.known.insert(attempt.id.to_string()) {
                continue;
            }
            if self.sabotage == Some(Sabotage::Twice) {
                let id = format!("{} again", attempt.id);
                state.waiting.push_back(Attempt { id: id.into(), ..attempt.clone() });
            }
            state.waiting.push_back(attempt);
        }
        drop(state);
        self.moved.rise();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// What an event leads to.
    fn matched(&self, event: &BusEvent) -> Vec<Attempt> {
        let source = format!("\"{}\"", event.source);
        let takes = |rule: &&Arc<EventRuleSpec>| {
            rule.enabled
                && rule.name.namespace == event.namespace
                && rule.bus == event.bus
                && rule.pattern.contains(&source)
        };
        let event = Arc::new(event.clone());
        let of_rule = |rule: &Arc<EventRuleSpec>| -> Vec<Attempt> {
            let attempt = |target: &EventTarget| Attempt {
                id: format!("{} {} {} {}", rule.name, target.id, event.source, event.id).into(),
                origin: rule.name.clone(),
                event: event.clone(),
                target: Arc::new(target.clone()),
                payload: event.detail.to_string().into(),
                number: 1,
            };
            rule.targets.iter().map(attempt).collect()
        };
        self.rules.values().filter(takes).flat_map(of_rule).collect()
    }
}

#[async_trait]
impl Buses for MemoryBuses {
    fn set_rules(&self, rules: Vec<Arc<EventRuleSpec>>) {
        self.state().rules = rules.into_iter().map(|rule| (rule.name.clone(), rule)).collect();
    }

    fn change_rules(&self, changes: RuleChanges) {
        let mut state = self.state();
        for (name, rule) in changes {
            match rule {
                Some(rule) => drop(state.rules.insert(name, rule)),
                None => drop(state.rules.remove(&name)),
            }
        }
    }

    async fn put(&self, events: Vec<BusEvent>) -> Result<(), BusError> {
        let attempts = {
            let state = self.state();
            events.iter().flat_map(|event| state.matched(event)).collect()
        };
        self.take(attempts);
        Ok(())
    }

    async fn pass_on(&self, event: BusEvent) -> Result<(), BusError> {
        self.put(vec![event]).await
    }

    async fn put_deliveries(&self, deliveries: Vec<NewDelivery>) -> Result<(), BusError> {
        let attempt = |NewDelivery { id, origin, event, target }: NewDelivery| Attempt {
            id,
            origin,
            payload: event.detail.to_string().into(),
            event: Arc::new(event),
            target: Arc::new(target),
            number: 1,
        };
        self.take(deliveries.into_iter().map(attempt).collect());
        Ok(())
    }

    /// What was put once is known for ever.
    fn settle_deliveries(&self, _: Vec<(QualifiedName, Arc<str>)>, _: BTreeSet<QualifiedName>) {}

    fn tail(&self, _: &Namespace) -> Tail {
        Box::pin(futures::stream::pending())
    }

    fn stats(&self) -> BusStats {
        BusStats { waiting: self.waiting() as u64, ..BusStats::default() }
    }

    fn take_counts(&self) -> BusCounts {
        BusCounts::default()
    }
}

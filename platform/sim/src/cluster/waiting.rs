//! Requests to a service that has no task: each waits, and says again and again that the service is wanted, until there is one.
//!
//! What always holds: a request that waits is sent on once; it goes on waiting over the platform's death, as a client that comes
//! again would.

use super::{Cluster, Happening, State};
use crate::options::Sabotage;
use skiff_types::QualifiedName;

/// How often a request that waits looks for a task, in milliseconds.
const LOOK_MS: u64 = 100;

impl Cluster {
    /// So many requests come to a service, and wait if it has no task.
    pub(crate) fn call(&self, service: &QualifiedName, count: u64) {
        let now_ms = self.clock.elapsed_ms();
        let mut state = self.state();
        *state.waiting.entry(service.clone()).or_default() += count;
        for _ in 0..count {
            let after_ms = self.dice.number(1..=LOOK_MS);
            self.later(&mut state, now_ms, after_ms, Happening::Waits(service.clone()));
        }
    }

    /// How many requests to a service wait.
    pub(crate) fn waiting(&self, service: &QualifiedName) -> u64 {
        self.state().waiting.get(service).copied().unwrap_or_default()
    }

    /// A request looks for a task; where there is none, it says that one is wanted.
    pub(super) fn wait(&self, state: &mut State, service: QualifiedName, now_ms: u64) {
        let Some((seat, task)) = self.choose(state, &service) else {
            if state.wakes.contains(&service) && self.sabotage != Some(Sabotage::Unwanted) {
                // Nobody hears of it while the control plane is dead.
                let _ = state.wanted.send(service.clone());
            }
            self.later(state, now_ms, LOOK_MS, Happening::Waits(service));
            return;
        };
        self.trace.note(format_args!("a request that waited for {service} is sent to {task}"));
        if let Some(waiting) = state.waiting.get_mut(&service) {
            *waiting -= 1;
        }
        self.checker.waited();
        self.send(state, seat, task, now_ms);
    }
}

//! Clients: requests to services, each sent on by some worker to one of the targets that it knows.

use super::{Cluster, Happening, Seat, State};
use skiff_ports::snapshot::Route;
use skiff_types::{NodeId, QualifiedName, TaskId};

/// The longest that a request takes, in milliseconds: less than any task may take to finish what it has.
const ANSWER_MOST_MS: u64 = 250;

impl Cluster {
    /// From now on a service is asked once in so many milliseconds, on average; or no more.
    pub(crate) fn ask(&self, service: &QualifiedName, every_ms: Option<u64>) {
        let now_ms = self.clock.elapsed_ms();
        let mut state = self.state();
        match every_ms {
            Some(every_ms) => {
                let before = state.load.insert(service.clone(), every_ms);
                if before.is_none() {
                    self.later(&mut state, now_ms, 1, Happening::Requests(service.clone()));
                }
            }
            None => {
                state.load.remove(service);
            }
        }
    }

    pub(super) fn request(&self, state: &mut State, service: QualifiedName, now_ms: u64) {
        let Some(every_ms) = state.load.get(&service).copied() else { return };
        let after_ms = self.dice.number(1..=2 * every_ms);
        if let Some((seat, task)) = self.choose(state, &service) {
            self.send(state, seat, task, now_ms);
        }
        self.later(state, now_ms, after_ms, Happening::Requests(service));
    }

    /// A worker that has targets of a service, and one of them.
    pub(super) fn choose(&self, state: &State, service: &QualifiedName) -> Option<(Seat, TaskId)> {
        let workers = state.nodes.values().flat_map(|node| {
            let workers = node.workers.iter().enumerate().filter(|(_, worker)| !worker.is_dead);
            workers.map(move |(index, worker)| (&node.spec.id, index, worker))
        });
        let with_targets = workers.filter_map(|(node, index, worker)| {
            let route = worker.routes.get(service).filter(|route| !route.targets.is_empty())?;
            Some((node, index, worker.incarnation, route))
        });
        let all: Vec<_> = with_targets.collect();
        if all.is_empty() {
            return None;
        }
        let (node, worker, incarnation, route) = *self.dice.one_of(&all);
        let task = self.target_of(route);
        let (life, node) = (state.life, NodeId::clone(node));
        Some((Seat { life, node, worker, incarnation }, task))
    }

    /// One of a route's targets, of which there are some: of green as often as its weight says, where two revisions share them.
    fn target_of(&self, route: &Route) -> TaskId {
        let all: Vec<TaskId> = route.targets.iter().map(|target| target.task).collect();
        let Some(split) = &route.split else { return *self.dice.one_of(&all) };
        let (green, blue): (Vec<TaskId>, Vec<TaskId>) =
            all.into_iter().partition(|task| split.green.contains(task));
        let (side, other) =
            if self.dice.chance(u64::from(split.percent)) { (green, blue) } else { (blue, green) };
        // On a node that has none of its side, the other's serve.
        *self.dice.one_of(if side.is_empty() { &other } else { &side })
    }

    pub(super) fn send(&self, state: &mut State, seat: Seat, task: TaskId, now_ms: u64) {
        self.checker.requested(task);
        let Some(node) = state.nodes.get_mut(&seat.node) else { return };
        let runs = |worker: &super::node::Worker| worker.tasks.get(&task).is_some_and(|running| running.runs);
        let is_http_here = node.workers[seat.worker].tasks.get(&task).is_some_and(|running| running.is_http);
        let is_reached = is_http_here || node.workers.iter().any(runs);
        if !is_reached {
            // Its program, or the worker that it lived in, is gone by a fault of which this worker has not heard.
            if !node.crashed.contains(&task) {
                self.checker
                    .violated(format_args!("a request to {task}, which runs nowhere on {}", seat.node));
            }
            return;
        }
        *node.workers[seat.worker].open.entry(task).or_default() += 1;
        if let Some(slot) = node.desk.slot(task) {
            node.desk.ledger().task(slot).row(seat.worker).in_flight.add(1);
        }
        let after_ms = self.dice.number(1..=ANSWER_MOST_MS);
        self.later(state, now_ms, after_ms, Happening::Answers(seat, task));
    }
}

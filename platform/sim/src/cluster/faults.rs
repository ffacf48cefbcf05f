//! What befalls nodes, and how they recover.

use super::{Cluster, Happening, Node, State, WORKERS, new_spec};
use skiff_ports::runtime::DesiredChange;
use skiff_types::{NodeId, TaskId};

/// Something that befalls the nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// A daemon's program ends by itself.
    TaskCrashes,
    /// A worker dies.
    WorkerDies,
    /// A node is lost with all that runs there; another comes after so many milliseconds.
    NodeLost { back_after_ms: u64 },
    /// A node is cut off for so many milliseconds.
    Partition { for_ms: u64 },
}

impl Cluster {
    /// Has a fault befall some node, if there is one that it can befall.
    pub(crate) fn befall(&self, fault: Fault) {
        let now_ms = self.clock.elapsed_ms();
        let mut state = self.state();
        let nodes: Vec<NodeId> = state.nodes.keys().cloned().collect();
        // The last one stays.
        if nodes.is_empty() || (nodes.len() == 1 && matches!(fault, Fault::NodeLost { .. })) {
            return;
        }
        let id = self.dice.one_of(&nodes).clone();
        self.trace.note(format_args!("fault: {fault:?} on {id}"));
        match fault {
            Fault::TaskCrashes => self.crash_one(&mut state, now_ms),
            Fault::WorkerDies => {
                self.checker.disturbed();
                let worker = self.dice.number(0..=WORKERS as u64 - 1) as usize;
                self.kill_worker(&mut state, &id, worker, now_ms);
            }
            Fault::NodeLost { back_after_ms } => {
                self.checker.disturbed();
                let zone = state.nodes.remove(&id).map_or(0, |node| node.zone);
                self.say_who_is_there(&state);
                self.acknowledged.rise();
                self.later(&mut state, now_ms, back_after_ms, Happening::Returns(zone));
            }
            Fault::Partition { for_ms } => {
                if let Some(node) = state.nodes.get_mut(&id) {
                    node.cut_off_until_ms = now_ms + for_ms;
                }
            }
        }
    }

    /// Ends the program of some daemon.
    fn crash_one(&self, state: &mut State, now_ms: u64) {
        let life = state.life;
        let seats = state.nodes.values().flat_map(|node| {
            let living = node.workers.iter().enumerate().filter(|(_, worker)| !worker.is_dead);
            living.flat_map(move |(index, worker)| {
                let daemons = worker.tasks.iter().filter(|(_, running)| !running.is_http && running.runs);
                let (node, incarnation) = (&node.spec.id, worker.incarnation);
                daemons.map(move |(task, _)| (node, index, incarnation, *task))
            })
        });
        let all: Vec<_> = seats.collect();
        if !all.is_empty() {
            let (node, worker, incarnation, task) = *self.dice.one_of(&all);
            let seat = super::Seat { life, node: NodeId::clone(node), worker, incarnation };
            self.crash(state, &seat, task, now_ms);
        }
    }

    /// A node comes in the place of one that was lost, in its zone; it is told what all are told.
    pub(super) fn add_node(&self, state: &mut State, zone: u32, now_ms: u64) {
        let node = Node::new(new_spec(state, zone), zone);
        let id = node.spec.id.clone();
        self.trace.note(format_args!("{id} is there"));
        state.nodes.insert(id.clone(), node);
        self.say_who_is_there(state);
        let told: Vec<DesiredChange> = state.told_all.clone();
        told.into_iter().for_each(|change| self.assign_to(state, &id, change, now_ms));
    }

    /// Every lost node has come back, and every one can be heard: what is left of the faults is over.
    pub(crate) fn heal(&self) {
        let now_ms = self.clock.elapsed_ms();
        let mut state = self.state();
        state.nodes.values_mut().for_each(|node| node.cut_off_until_ms = 0);
        let due: Vec<(u64, u64)> = state
            .agenda
            .iter()
            .filter(|((at_ms, _), happening)| *at_ms > now_ms && matches!(happening, Happening::Returns(_)))
            .map(|(key, _)| *key)
            .collect();
        for key in due {
            if let Some(happening) = state.agenda.remove(&key) {
                self.later(&mut state, now_ms, 1, happening);
            }
        }
    }

    /// Which of these tasks run nowhere, and what runs that is none of them: nothing once all has settled.
    pub(crate) fn astray(&self, to_run: &[TaskId]) -> Vec<String> {
        let state = self.state();
        let mut running: Vec<TaskId> = state.nodes.values().flat_map(Node::tasks).collect();
        running.sort_unstable();
        running.dedup();
        let missing = to_run.iter().filter(|task| running.binary_search(task).is_err());
        let missing = missing.map(|task| format!("{task} runs nowhere"));
        let undead = running.iter().filter(|task| !to_run.contains(task));
        missing.chain(undead.map(|task| format!("{task} runs although it was to end"))).collect()
    }
}

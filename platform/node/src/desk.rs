//! A node's desk: what it is to run, where that lies in the ledger, and what each of its workers was told of it.
//!
//! Pure bookkeeping: no process, no socket, no native code. The supervisor's node has the three books under locks of their own;
//! who plays a node without processes, like the simulator, has them together as a [`Desk`].

use crate::meters::Meters;
use crate::slots::Slots;
use crate::world::World;
use skiff_ledger::{Ledger, Slot, Totals};
use skiff_ports::balancer::BalancerChange;
use skiff_ports::runtime::{DesiredChange, DesiredRoute, DesiredTask, TaskEvent};
use skiff_ports::snapshot::{Assignment, Difference, Route, Target, Version};
use skiff_types::{StopCode, StoppedReason, TaskId};
use std::collections::HashMap;

/// Takes a change into a node's books, as a version of its own. Gives the ends of tasks for which there was no room.
pub(crate) fn assign(
    world: &mut World,
    slots: &mut Slots,
    meters: &mut Meters,
    change: DesiredChange,
) -> Vec<TaskEvent> {
    let mut refused = Vec::new();
    let version = world.version + 1;
    for task in change.ended {
        slots.release(task, version);
        world.end(task);
    }
    for DesiredTask { id, owner, in_service, spec, life, .. } in change.tasks {
        if world.has(id) {
            continue;
        }
        let Some(slot) = slots.take(id, &owner, in_service) else {
            let message = format!(
                "this node has {} tasks, the most that it can account for; stop tasks or scale services in",
                skiff_ledger::SLOTS
            );
            let reason = StoppedReason { code: StopCode::TaskFailedToStart, message };
            refused.push(TaskEvent::Ended { task: id, life, exit_code: None, reason });
            continue;
        };
        world.run(Assignment { task: id, owner, in_service, spec, slot, life });
    }
    for DesiredRoute { service, hosts, paths, listen, targets, split, wakes } in change.routes {
        let target = |task| slots.get(task).map(|slot| Target { task, slot, port: world.daemon_port(task) });
        let targets = targets.into_iter().filter_map(target).collect();
        world.route(Route { service, hosts, paths, listen, targets, split, wakes });
    }
    change.withdrawn.iter().for_each(|service| world.withdraw(service));
    let meters = meters.assign(&change.balancer, version);
    world.balance(BalancerChange { meters, ..change.balancer });
    world.connect(change.network);
    world.version = version;
    refused
}

/// The books of one node.
#[derive(Debug)]
pub struct Desk {
    ledger: Ledger,
    world: World,
    slots: Slots,
    meters: Meters,
}

impl Desk {
    /// Of a node that runs nothing yet, with as many workers as the ledger has rows for.
    pub fn new(ledger: Ledger) -> Self {
        let (mut world, meters) = (World::new(ledger.workers()), Meters::new(ledger.clone()));
        world.balance(meters.built_in());
        Self { slots: Slots::new(ledger.clone()), ledger, world, meters }
    }

    /// Takes in a change. Gives the version that has it, and the ends of tasks for which there was no room.
    pub fn assign(&mut self, change: DesiredChange) -> (Version, Vec<TaskEvent>) {
        let Self { world, slots, meters, .. } = self;
        let refused = assign(world, slots, meters, change);
        (self.world.version, refused)
    }

    /// The newest version.
    pub fn version(&self) -> Version {
        self.world.version
    }

    /// What a worker must know beyond what it was told before, which from now on it counts as told.
    pub fn difference(&mut self, worker: usize) -> Difference {
        self.world.difference(worker)
    }

    /// Every living worker acts on `version`.
    pub fn acknowledged(&mut self, version: Version) {
        self.slots.acknowledged(version);
        self.meters.acknowledged(version);
    }

    /// A task ended by itself in one of its lives; false if that is no news.
    pub fn has_ended(&mut self, task: TaskId, life: u32) -> bool {
        self.world.take_in_end(task, life)
    }

    /// A worker is dead: closes its rows, and gives the tasks that lived there alone, each with its life.
    pub fn worker_died(&mut self, worker: usize) -> Vec<(TaskId, u32)> {
        self.slots.close_worker(worker);
        self.world.forget(worker);
        let residents = self.world.residents(worker);
        residents.into_iter().filter_map(|task| Some((task, self.world.life(task)?))).collect()
    }

    /// A task's slot of the ledger, if it is here.
    pub fn slot(&self, task: TaskId) -> Option<Slot> {
        self.slots.get(task)
    }

    /// The ledger that the slots are of.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Requests or connections that a task has; 0 if it is not here.
    pub fn outstanding(&self, task: TaskId) -> u64 {
        self.slots.outstanding(task)
    }

    /// The sums of those of these tasks that have a slot and used it.
    pub fn totals(&self, tasks: &[TaskId]) -> HashMap<TaskId, Totals> {
        self.slots.totals(tasks)
    }

    /// The accounts of all tasks; those of tasks that ended are handed over once.
    pub fn accounts(&mut self) -> crate::Accounts {
        self.slots.read()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skiff_types::QualifiedName;

    #[test]
    fn what_every_worker_let_go_of_has_no_slot_any_more() {
        let (ledger, _fd) = Ledger::create(1).unwrap();
        let mut desk = Desk::new(ledger);
        let (first, _) = desk.assign(DesiredChange::default());
        assert_eq!((first, desk.difference(0).version), (1, 1));
        let withdrawn = vec!["default/web".parse::<QualifiedName>().unwrap()];
        let change = DesiredChange { withdrawn: withdrawn.clone(), ..DesiredChange::default() };
        let (second, refused) = desk.assign(change);
        assert_eq!((second, refused), (2, vec![]));
        let difference = desk.difference(0);
        assert_eq!((difference.base, difference.version, difference.withdrawn), (1, 2, withdrawn));
        assert!(desk.worker_died(0).is_empty());
        assert_eq!(desk.difference(0).base, 0, "its successor knows nothing");
    }
}

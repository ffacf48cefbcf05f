//! One target group: the targets that requests and connections are spread over, and which of them has the next one.
//!
//! Every service is one, of its tasks; others are of addresses. It deliberately does not know which request comes to it
//! ([`crate::decision`]), nor how a target is spoken to ([`crate::daemon`]). A group's targets never change while a request
//! goes on with it: another group takes its place, and the connections to targets that stay go over to that one.

use crate::chance::Chance;
use crate::daemon::Pool;
use crate::refusal::Refusal;
use skiff_ledger::{Ledger, TaskSlot};
use skiff_ports::connect::Destination;
use skiff_ports::snapshot::{self, Route};
use skiff_types::{Algorithm, QualifiedName, TaskId};
use std::cell::Cell;
use std::collections::HashMap;
use std::rc::Rc;

/// Targets whose outstanding requests one request compares. Of more, it compares so many that lie side by side, and
/// the next request starts one further.
const COMPARED_MAX: usize = 16;
/// Targets that one request or connection is tried on, where one after the other can't take it.
pub(crate) const ATTEMPTS_MAX: usize = 3;

/// A target group, as far as requests need it.
#[derive(Debug)]
pub(crate) struct Group {
    /// `NAMESPACE/NAME`.
    pub(crate) label: Box<str>,
    pub(crate) targets: Box<[Target]>,
    is_service: bool,
    algorithm: Cell<Algorithm>,
    turn: Cell<usize>,
}

/// One of a group's targets.
#[derive(Debug)]
pub(crate) struct Target {
    /// A task's id, or an address.
    pub(crate) label: Box<str>,
    /// A task's; who is only known by an address has none.
    pub(crate) slot: Option<TaskSlot>,
    pub(crate) way: Way,
}

/// How a target is reached.
#[derive(Debug)]
pub(crate) enum Way {
    /// An `http` task is called.
    Call(TaskId),
    /// All others are connected to.
    Connect(Rc<Pool>),
}

/// A group that was found for a request or a connection, and how one of its targets is chosen for that.
#[derive(Debug)]
pub(crate) struct Aim {
    pub(crate) group: Rc<Group>,
    pub(crate) algorithm: Algorithm,
    /// The target group's own name, where it is another than that of the service which it is.
    pub(crate) named: Option<Rc<str>>,
}

/// Connections to targets, by where they lead; what is not taken over is closed in the end.
#[derive(Debug)]
struct Pools(HashMap<Destination, Rc<Pool>>);

impl Group {
    /// The group that a service is. It takes over what it can of the one `before` it, and closes the rest of that.
    pub(crate) fn of_service(
        route: &Route,
        algorithm: Algorithm,
        ledger: &Ledger,
        before: Option<&Self>,
    ) -> Self {
        let mut pools = Pools::of(before);
        let target = |target: &snapshot::Target| Target {
            label: target.task.to_string().into(),
            slot: Some(ledger.task(target.slot)),
            way: match target.port {
                None => Way::Call(target.task),
                Some(port) => Way::Connect(pools.take(Destination::Task { task: target.task, port })),
            },
        };
        let targets = route.targets.iter().map(target).collect();
        pools.close();
        Self::new(&route.service, targets, true, algorithm)
    }

    /// A group of addresses, each with its label; what was `before` it goes over in the same way.
    pub(crate) fn of_addresses(
        name: &QualifiedName,
        addresses: impl Iterator<Item = (String, Destination)>,
        algorithm: Algorithm,
        before: Option<&Self>,
    ) -> Self {
        let mut pools = Pools::of(before);
        let target = |(label, destination): (String, Destination)| Target {
            label: label.into(),
            slot: None,
            way: Way::Connect(pools.take(destination)),
        };
        let targets = addresses.map(target).collect();
        pools.close();
        Self::new(name, targets, false, algorithm)
    }

    fn new(name: &QualifiedName, targets: Box<[Target]>, is_service: bool, algorithm: Algorithm) -> Self {
        let (label, algorithm) = (name.to_string().into(), Cell::new(algorithm));
        Self { label, targets, is_service, algorithm, turn: Cell::new(0) }
    }

    /// How one of its targets is chosen where nothing else is said.
    pub(crate) fn algorithm(&self) -> Algorithm {
        self.algorithm.get()
    }

    /// Targets are chosen in this way from now on.
    pub(crate) fn choose_by(&self, algorithm: Algorithm) {
        self.algorithm.set(algorithm);
    }

    /// It is there no more: no connection to its targets is kept.
    pub(crate) fn close(&self) {
        Pools::of(Some(self)).close();
    }

    /// Why it answers nothing when it has no target that can.
    pub(crate) fn no_target(&self) -> Refusal {
        let label = self.label.to_string();
        match self.is_service {
            true => Refusal::NoTarget { service: label },
            false => Refusal::NoAddress { group: label },
        }
    }

    /// The target for a request: of those that tie, one after the other.
    pub(crate) fn pick(&self, algorithm: Algorithm, chance: &Chance) -> Option<usize> {
        self.pick_by(algorithm, chance, Target::requests)
    }

    /// The target for a connection, by their connections.
    pub(crate) fn pick_for_connection(&self, algorithm: Algorithm, chance: &Chance) -> Option<usize> {
        self.pick_by(algorithm, chance, Target::connections)
    }

    fn pick_by(&self, algorithm: Algorithm, chance: &Chance, load: impl Fn(&Target) -> u64) -> Option<usize> {
        let count = self.targets.len();
        if count <= 1 {
            return count.checked_sub(1);
        }
        match algorithm {
            Algorithm::LeastOutstandingRequests => {
                let turn = self.take_turn(count);
                let candidates = (turn..turn + count.min(COMPARED_MAX)).map(|index| index % count);
                candidates.min_by_key(|&index| load(&self.targets[index]))
            }
            Algorithm::RoundRobin => Some(self.take_turn(count)),
            Algorithm::WeightedRandom => usize::try_from(chance.below(count as u64)).ok(),
        }
    }

    fn take_turn(&self, count: usize) -> usize {
        let turn = self.turn.get();
        self.turn.set((turn + 1) % count);
        turn
    }
}

impl Target {
    /// The port that its label does not say: a task's, which is 0 where it is called.
    pub(crate) fn port_beside_label(&self) -> Option<u16> {
        match &self.way {
            Way::Call(_) => Some(0),
            Way::Connect(pool) => match pool.destination() {
                Destination::Task { port, .. } => Some(*port),
                Destination::Virtual(_) | Destination::Outside(_) => None,
            },
        }
    }

    /// The connections to it, if it is connected to.
    pub(crate) fn pool(&self) -> Option<&Rc<Pool>> {
        match &self.way {
            Way::Call(_) => None,
            Way::Connect(pool) => Some(pool),
        }
    }

    /// Outstanding requests: of an `http` task, those of all workers. Of who is connected to, those of this worker: the
    /// ledger knows a daemon's connections, the idle ones among them.
    fn requests(&self) -> u64 {
        match &self.way {
            Way::Call(_) => self.slot.as_ref().map_or(0, TaskSlot::outstanding),
            Way::Connect(pool) => pool.requests(),
        }
    }

    /// Connections that the ledger knows of, and those of this worker that are being opened. Of who is not in the ledger,
    /// those of this worker, each of which counts as a request.
    fn connections(&self) -> u64 {
        let opening = self.pool().map_or(0, |pool| pool.opening());
        let open = match &self.slot {
            Some(slot) => slot.outstanding(),
            None => self.requests(),
        };
        open + opening
    }
}

impl Pools {
    fn of(group: Option<&Group>) -> Self {
        let targets = group.into_iter().flat_map(|group| &group.targets);
        let pools = targets.filter_map(Target::pool);
        Self(pools.map(|pool| (pool.destination().clone(), pool.clone())).collect())
    }

    /// The connections that there are, or new ones.
    fn take(&mut self, destination: Destination) -> Rc<Pool> {
        self.0.remove(&destination).unwrap_or_else(|| Rc::new(Pool::new(destination)))
    }

    fn close(self) {
        self.0.values().for_each(|pool| pool.close());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(addresses: &[&str], algorithm: Algorithm, before: Option<&Group>) -> Group {
        let address = |text: &&str| (text.to_string(), Destination::Outside(text.parse().unwrap()));
        Group::of_addresses(&"default/out".parse().unwrap(), addresses.iter().map(address), algorithm, before)
    }

    fn picks<const N: usize>(group: &Group) -> [usize; N] {
        let chance = Chance::new(1);
        [(); N].map(|()| group.pick(group.algorithm(), &chance).unwrap())
    }

    #[test]
    fn each_algorithm_chooses_in_its_way() {
        let addresses = ["a:1", "b:1", "c:1"];
        let least = group(&addresses, Algorithm::LeastOutstandingRequests, None);
        let busy = crate::daemon::Turn::begin(least.targets[1].pool().unwrap().clone());
        assert!(!picks::<20>(&least).contains(&1));
        least.choose_by(Algorithm::RoundRobin);
        assert_eq!(picks::<3>(&least), [2, 0, 1]);
        let chance = Chance::new(1);
        assert_ne!(least.pick_for_connection(Algorithm::LeastOutstandingRequests, &chance), Some(1));
        drop(busy);
        let random = group(&addresses, Algorithm::WeightedRandom, None);
        let picked = picks::<300>(&random);
        for index in 0..3 {
            let count = picked.iter().filter(|&&other| other == index).count();
            assert!((60..140).contains(&count), "{count} times {index}");
        }
        assert_eq!(group(&[], Algorithm::RoundRobin, None).pick(Algorithm::RoundRobin, &chance), None);
    }

    #[test]
    fn a_target_that_stays_keeps_its_connections() {
        let first = group(&["a:1", "b:1"], Algorithm::RoundRobin, None);
        let second = group(&["b:1", "b:2"], Algorithm::RoundRobin, Some(&first));
        let pool = |group: &Group, index: usize| group.targets[index].pool().unwrap().clone();
        assert!(Rc::ptr_eq(&pool(&first, 1), &pool(&second, 0)));
        assert!(pool(&first, 0).is_closed() && !pool(&second, 0).is_closed());
        second.close();
        assert!(pool(&second, 0).is_closed() && pool(&second, 1).is_closed());
    }
}

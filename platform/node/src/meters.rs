//! Which listener, rule, target group and address has which meter of the ledger, and what is kept of those that have none
//! any more.
//!
//! It is with meters as with the slots of tasks ([`crate::slots`]): one is given again only after every living worker has
//! acknowledged a version without what it was of, and then as the last of the free ones. Besides, nothing may go on there
//! any more: a request that was under way when its rule left is counted as that rule's when it ends.
//!
//! What always holds: where no meter is left, a thing goes without one, and nothing fails.

use skiff_ledger::{Ledger, METERS, MeterSlot, MeterTotals};
use skiff_ports::balancer::{BalancerChange, Metered};
use skiff_ports::snapshot::Version;
use skiff_types::QualifiedName;
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;

/// What was counted at one of them, over all workers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MeterUsage {
    /// Of what.
    pub metered: Metered,
    /// The sums over its rows.
    pub totals: MeterTotals,
}

/// All that is counted at one moment.
#[derive(Debug, Clone, Default)]
pub struct MeterAccounts {
    /// Of what has a meter and used it. What is being given up and is there again stands here twice.
    pub living: Vec<MeterUsage>,
    /// Of meters that were given back since the last reading, as they last were.
    pub ended: Vec<MeterUsage>,
}

/// A meter of what is gone.
#[derive(Debug)]
struct Leaving {
    /// The first version without it.
    version: Version,
    metered: Metered,
    slot: MeterSlot,
    /// Whether every living worker acts on that version.
    let_go: bool,
}

/// The table of meters.
#[derive(Debug)]
pub(crate) struct Meters {
    ledger: Ledger,
    taken: HashMap<Metered, MeterSlot>,
    /// What each target group has meters for.
    of_groups: HashMap<QualifiedName, Vec<Metered>>,
    leaving: Vec<Leaving>,
    free: VecDeque<MeterSlot>,
    ended: Vec<MeterUsage>,
    /// Whether it was said that there are none left.
    has_warned: bool,
}

impl Meters {
    /// With a meter for the built-in listener, which is always there.
    pub(crate) fn new(ledger: Ledger) -> Self {
        let mut meters = Self {
            ledger,
            taken: HashMap::new(),
            of_groups: HashMap::new(),
            leaving: Vec::new(),
            free: (0..METERS as MeterSlot).collect(),
            ended: Vec::new(),
            has_warned: false,
        };
        meters.take(Metered::built_in_listener());
        meters
    }

    /// Gives meters to what comes with a change, and lets go of those of what leaves, as of `version`; gives the meters of all
    /// that comes.
    pub(crate) fn assign(&mut self, change: &BalancerChange, version: Version) -> Vec<(Metered, MeterSlot)> {
        for group in &change.dissolved {
            let of_group = self.of_groups.remove(group).unwrap_or_default();
            of_group.into_iter().for_each(|metered| self.release(metered, version));
        }
        change.dropped.iter().for_each(|rule| self.release(Metered::Rule(rule.clone()), version));
        change.closed.iter().for_each(|listener| self.release(Metered::Listener(listener.clone()), version));
        let mut come = Vec::new();
        for group in &change.groups {
            let of_group: Vec<Metered> = Metered::all_of(group).collect();
            let before = self.of_groups.insert(group.name.clone(), of_group.clone()).unwrap_or_default();
            let stay: HashSet<&Metered> = of_group.iter().collect();
            before.into_iter().filter(|metered| !stay.contains(metered)).for_each(|metered| {
                self.release(metered, version);
            });
            come.extend(of_group);
        }
        come.extend(change.listeners.iter().map(|listener| Metered::Listener(listener.name.clone())));
        come.extend(change.rules.iter().map(|rule| Metered::Rule(rule.name.clone())));
        come.into_iter().filter_map(|metered| Some((metered.clone(), self.take(metered)?))).collect()
    }

    /// The meter of the built-in listener, to be told before any change.
    pub(crate) fn built_in(&self) -> BalancerChange {
        let built_in = Metered::built_in_listener();
        let slot = self.taken.get(&built_in).copied();
        let meters = slot.map(|slot| (built_in, slot)).into_iter().collect();
        BalancerChange { meters, ..BalancerChange::default() }
    }

    /// Lets go of what every living worker has let go of.
    pub(crate) fn acknowledged(&mut self, version: Version) {
        self.leaving.iter_mut().for_each(|leaving| leaving.let_go |= leaving.version <= version);
        self.give_back();
    }

    /// The addresses that have left a group and have not finished what they had, each with its meter.
    pub(crate) fn draining(&self, group: &QualifiedName) -> BTreeMap<Arc<str>, MeterSlot> {
        let of_group = |leaving: &Leaving| match &leaving.metered {
            Metered::Target { group: of, target } if of == group => Some((target.clone(), leaving.slot)),
            Metered::Target { .. } | Metered::Listener(_) | Metered::Rule(_) | Metered::Group(_) => None,
        };
        let left = self.leaving.iter().filter_map(of_group);
        left.filter(|(_, slot)| goes_on(&self.ledger, *slot)).collect()
    }

    /// All that is counted; what ended is handed over once.
    pub(crate) fn read(&mut self) -> MeterAccounts {
        self.give_back();
        let taken = self.taken.iter().map(|(metered, slot)| (metered, *slot));
        let leaving = self.leaving.iter().map(|leaving| (&leaving.metered, leaving.slot));
        let living = taken.chain(leaving).filter_map(|(metered, slot)| usage(&self.ledger, metered, slot));
        MeterAccounts { living: living.collect(), ended: std::mem::take(&mut self.ended) }
    }

    /// Its meter, given now if it has none; `None` if there is none left.
    fn take(&mut self, metered: Metered) -> Option<MeterSlot> {
        if let Some(slot) = self.taken.get(&metered) {
            return Some(*slot);
        }
        let Some(slot) = self.free.pop_front() else {
            if !std::mem::replace(&mut self.has_warned, true) {
                tracing::warn!(
                    meters = METERS,
                    "the load balancer has more listeners, rules and targets than meters: those that are too many are \
                     not counted, and limits over all workers don't hold for them"
                );
            }
            return None;
        };
        self.ledger.meter(slot).clear();
        self.taken.insert(metered, slot);
        Some(slot)
    }

    /// Lets go of the meter of what is gone as of `version`. The built-in listener stays.
    fn release(&mut self, metered: Metered, version: Version) {
        if metered == Metered::built_in_listener() {
            return;
        }
        if let Some(slot) = self.taken.remove(&metered) {
            self.leaving.push(Leaving { version, metered, slot, let_go: false });
        }
    }

    /// Gives back the meters that all have let go of and at which nothing goes on.
    fn give_back(&mut self) {
        let Self { ledger, leaving, free, ended, .. } = self;
        let is_over = |leaving: &mut Leaving| leaving.let_go && !goes_on(ledger, leaving.slot);
        for Leaving { metered, slot, .. } in leaving.extract_if(.., is_over) {
            ended.extend(usage(ledger, &metered, slot));
            free.push_back(slot);
        }
    }
}

/// Whether there are requests there that have not ended, or connections that are open.
fn goes_on(ledger: &Ledger, slot: MeterSlot) -> bool {
    let meter = ledger.meter(slot);
    meter.outstanding() > 0 || meter.connections() > 0
}

/// What was counted there, if it was used.
fn usage(ledger: &Ledger, metered: &Metered, slot: MeterSlot) -> Option<MeterUsage> {
    let meter = ledger.meter(slot);
    meter.is_used().then(|| MeterUsage { metered: metered.clone(), totals: meter.totals() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use skiff_types::{TargetGroupSpec, Targets};

    fn meters() -> (Meters, Ledger) {
        let (ledger, _fd) = Ledger::create(1).unwrap();
        (Meters::new(ledger.clone()), ledger)
    }

    fn name(name: &str) -> QualifiedName {
        format!("default/{name}").parse().unwrap()
    }

    fn group(hosts: &[&str]) -> BalancerChange {
        let targets = Targets::Outside(hosts.iter().map(|host| host.parse().unwrap()).collect());
        let spec = TargetGroupSpec { targets, ..TargetGroupSpec::of_service(name("out")) };
        BalancerChange { groups: vec![Arc::new(spec)], ..BalancerChange::default() }
    }

    fn no_group() -> BalancerChange {
        BalancerChange { dissolved: vec![name("out")], ..BalancerChange::default() }
    }

    fn target(host: &str) -> Metered {
        Metered::Target { group: name("out"), target: host.into() }
    }

    fn requests(usages: &[MeterUsage], of: &Metered) -> u64 {
        let theirs = usages.iter().filter(|usage| usage.metered == *of);
        theirs.map(|usage| usage.totals.requests).sum()
    }

    #[test]
    fn what_stays_keeps_its_meter_and_what_leaves_gives_it_back() {
        let (mut meters, _) = meters();
        let first = meters.assign(&group(&["a.example:1", "b.example:1"]), 1);
        assert_eq!(first.len(), 3, "one for the group, one for each address");
        let second = meters.assign(&group(&["b.example:1", "c.example:1"]), 2);
        assert_eq!((&second[0], &second[1]), (&first[0], &first[2]));
        assert!(first.iter().all(|(_, slot)| *slot != second[2].1), "a meter that is not given back yet");
        let free = meters.free.len();
        meters.acknowledged(1);
        assert_eq!(meters.free.len(), free);
        meters.acknowledged(2);
        assert_eq!((meters.free.len(), meters.free.back()), (free + 1, Some(&first[1].1)));
        assert_eq!(meters.assign(&no_group(), 3), []);
        meters.acknowledged(3);
        assert_eq!(
            (meters.free.len(), meters.taken.len()),
            (METERS - 1, 1),
            "the built-in listener's is left"
        );
        let closed = vec!["http".parse().unwrap()];
        meters.assign(&BalancerChange { closed, ..BalancerChange::default() }, 4);
        assert_eq!(meters.built_in().meters, [(Metered::built_in_listener(), 0)], "it is always there");
    }

    #[test]
    fn what_was_counted_is_read_until_it_is_handed_over() {
        let (mut meters, ledger) = meters();
        let slot = meters.assign(&group(&["a.example:1"]), 1)[1].1;
        let row = || ledger.meter(slot);
        row().row(0).requests.add(7);
        let of = target("a.example:1");
        assert_eq!((requests(&meters.read().living, &of), meters.read().living.len()), (7, 1));
        meters.assign(&no_group(), 2);
        assert_eq!(requests(&meters.read().living, &of), 7, "while it leaves");
        meters.assign(&group(&["a.example:1"]), 3);
        row().row(0).requests.add(1);
        row().row(0).outstanding.add(1);
        meters.acknowledged(3);
        let accounts = meters.read();
        assert_eq!((requests(&accounts.living, &of), accounts.ended.len()), (8, 0), "one has not ended");
        row().row(0).outstanding.subtract(1);
        let accounts = meters.read();
        assert_eq!((requests(&accounts.living, &of), requests(&accounts.ended, &of)), (0, 8));
        assert!(meters.read().ended.is_empty(), "handed over once");
        assert_eq!(meters.free.back(), Some(&slot));
        assert!(row().is_used(), "it is cleared when it is given again");
        meters.free.rotate_right(1);
        assert_eq!(meters.take(target("b.example:1")), Some(slot));
        assert!(!row().is_used());
    }

    #[test]
    fn an_address_that_has_left_drains_until_nothing_goes_on_there() {
        let (mut meters, ledger) = meters();
        let come = meters.assign(&group(&["a.example:1", "b.example:1"]), 1);
        let [of_group, a, b] = [0, 1, 2].map(|at: usize| come[at].1);
        // What goes on at the group is not an address's.
        ledger.meter(of_group).row(0).outstanding.add(1);
        ledger.meter(a).row(0).outstanding.add(1);
        let draining = |meters: &Meters| meters.draining(&name("out")).into_iter().collect::<Vec<_>>();
        assert_eq!(draining(&meters), []);
        meters.assign(&group(&["c.example:1"]), 2);
        let left: Arc<str> = "a.example:1".into();
        assert_eq!(draining(&meters), [(left.clone(), a)], "the other has nothing");
        ledger.meter(b).row(0).connections.add(1);
        assert_eq!(draining(&meters), [(left, a), ("b.example:1".into(), b)]);
        assert!(meters.draining(&name("other")).is_empty());
        meters.acknowledged(2);
        ledger.meter(a).row(0).outstanding.subtract(1);
        ledger.meter(b).row(0).connections.subtract(1);
        assert_eq!(draining(&meters), []);
    }

    #[test]
    fn what_finds_no_meter_goes_without() {
        let (mut meters, _) = meters();
        meters.free.truncate(2);
        let come = meters.assign(&group(&["a.example:1", "b.example:1", "c.example:1"]), 1);
        assert_eq!(come.len(), 2);
        assert!(meters.has_warned && meters.take(target("b.example:1")).is_none());
        // What has one keeps it; once there is one again, who is told of again has it.
        meters.assign(&group(&["c.example:1"]), 2);
        meters.acknowledged(2);
        let come = meters.assign(&group(&["c.example:1"]), 3);
        assert_eq!(come.len(), 2);
    }
}

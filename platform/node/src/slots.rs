//! Which task has which slot of the ledger, and what is kept of those that have none any more.
//!
//! A slot is given again only after every living worker has acknowledged a version without its last task, and then as
//! the last of the free ones: a response that a slow client is still reading is accounted for late, and must not meet
//! the slot's next task. What comes late is charged to the task that had the slot; it is cleared when it is given again.

use skiff_ledger::{Ledger, SLOTS, Slot, Totals};
use skiff_ports::snapshot::Version;
use skiff_types::{Account, Charge, Group, QualifiedName, TaskId, Usage};
use std::collections::{HashMap, HashSet, VecDeque};

/// A task's account.
#[derive(Debug, Clone)]
pub struct TaskUsage {
    /// The task.
    pub task: TaskId,
    /// Its service or family.
    pub owner: QualifiedName,
    /// Whether `owner` is a service.
    pub in_service: bool,
    /// The sums over its rows.
    pub totals: Totals,
}

/// All accounts at one moment.
#[derive(Debug, Clone, Default)]
pub struct Accounts {
    /// Of tasks that have a slot and used anything.
    pub living: Vec<TaskUsage>,
    /// Of tasks whose slot was given back since the last reading, as they last were.
    pub ended: Vec<TaskUsage>,
}

/// Flows of a task that were open in a worker when it died.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BrokenOff {
    pub(crate) task: TaskId,
    /// Its service or family.
    pub(crate) owner: QualifiedName,
    /// How many.
    pub(crate) flows: u64,
}

/// Whose slot it is.
#[derive(Debug)]
struct Holder {
    task: TaskId,
    owner: QualifiedName,
    in_service: bool,
    slot: Slot,
    /// What was charged to it so far.
    charged: Usage,
}

/// A slot that no task has.
#[derive(Debug)]
struct Free {
    slot: Slot,
    /// Whose it was.
    last: Option<Box<Holder>>,
}

/// The table of slots.
#[derive(Debug)]
pub(crate) struct Slots {
    ledger: Ledger,
    taken: HashMap<TaskId, Holder>,
    /// Which task has which slot: the other way round.
    tasks: HashMap<Slot, TaskId>,
    leaving: Vec<(Version, Holder)>,
    free: VecDeque<Free>,
    ended: Vec<TaskUsage>,
    /// Charges to tasks that have no slot any more, not yet handed over.
    late: Vec<Charge>,
}

/// Slots that became free last and are still looked at for what comes late.
const LATE_SLOTS_MAX: usize = 1_024;

impl Slots {
    pub(crate) fn new(ledger: Ledger) -> Self {
        let free = (0..SLOTS as Slot).map(|slot| Free { slot, last: None }).collect();
        Self {
            ledger,
            taken: HashMap::new(),
            tasks: HashMap::new(),
            leaving: Vec::new(),
            free,
            ended: Vec::new(),
            late: Vec::new(),
        }
    }

    /// The task's slot, given now if it has none; `None` if there is none left.
    pub(crate) fn take(&mut self, task: TaskId, owner: &QualifiedName, in_service: bool) -> Option<Slot> {
        if let Some(holder) = self.taken.get(&task) {
            return Some(holder.slot);
        }
        let Free { slot, last } = self.free.pop_front()?;
        if let Some(mut last) = last {
            self.late.extend(last.charge(&self.ledger, skiff_ledger::now_ms()));
            self.ledger.task(slot).clear();
        }
        let holder = Holder { task, owner: owner.clone(), in_service, slot, charged: Usage::default() };
        self.taken.insert(task, holder);
        self.tasks.insert(slot, task);
        Some(slot)
    }

    pub(crate) fn get(&self, task: TaskId) -> Option<Slot> {
        self.taken.get(&task).map(|holder| holder.slot)
    }

    /// Lets go of a task, as of `version`.
    pub(crate) fn release(&mut self, task: TaskId, version: Version) {
        if let Some(holder) = self.taken.remove(&task) {
            self.tasks.remove(&holder.slot);
            self.leaving.push((version, holder));
        }
    }

    /// Gives back the slots of tasks that every living worker has let go of.
    pub(crate) fn acknowledged(&mut self, version: Version) {
        let Self { ledger, leaving, free, ended, late, .. } = self;
        let now_ms = skiff_ledger::now_ms();
        for (_, mut holder) in leaving.extract_if(.., |(at, _)| *at <= version) {
            if ledger.task(holder.slot).is_used() {
                ended.push(usage(ledger, &holder));
            }
            // Now, not at the next reading: that looks at so many free slots only.
            late.extend(holder.charge(ledger, now_ms));
            free.push_back(Free { slot: holder.slot, last: Some(Box::new(holder)) });
        }
    }

    /// Closes the rows of a dead worker. Says whose flows were open there: who could have said how they ended is gone.
    pub(crate) fn close_worker(&self, worker: usize) -> Vec<BrokenOff> {
        let broken_off = |holder: &Holder| {
            let flows = self.ledger.task(holder.slot).row(worker).net_open.get();
            (flows > 0).then(|| BrokenOff { task: holder.task, owner: holder.owner.clone(), flows })
        };
        let broken_off = self.holders().filter_map(broken_off).collect();
        self.ledger.close_worker(worker, self.holders().map(|holder| holder.slot));
        broken_off
    }

    /// All accounts; those that ended are handed over once.
    pub(crate) fn read(&mut self) -> Accounts {
        let living = self.holders().map(|holder| usage(&self.ledger, holder)).collect();
        Accounts { living, ended: std::mem::take(&mut self.ended) }
    }

    /// The sums of those of these tasks that have a slot and used it, without a look at any other slot. One that was started
    /// again while its last slot is being given back has those of its new one, once it used that.
    pub(crate) fn totals(&self, tasks: &[TaskId]) -> HashMap<TaskId, Totals> {
        let asked: HashSet<&TaskId> = tasks.iter().collect();
        let leaving =
            self.leaving.iter().map(|(_, holder)| holder).filter(|holder| asked.contains(&holder.task));
        // The later one counts.
        let holders = leaving.chain(tasks.iter().filter_map(|task| self.taken.get(task)));
        let used = holders.map(|holder| (holder.task, self.ledger.task(holder.slot)));
        used.filter(|(_, slot)| slot.is_used()).map(|(task, slot)| (task, slot.totals())).collect()
    }

    /// What every task used since the call before; each charge is handed over once.
    pub(crate) fn charges(&mut self) -> Vec<Charge> {
        let Self { ledger, taken, tasks, leaving, free, late, .. } = self;
        let now_ms = skiff_ledger::now_ms();
        let mut charges = std::mem::take(late);
        for slot in ledger.used() {
            let holder = tasks.get(&slot).and_then(|task| taken.get_mut(task));
            charges.extend(holder.and_then(|holder| holder.charge(ledger, now_ms)));
        }
        let gone = free.iter_mut().rev().take(LATE_SLOTS_MAX).filter_map(|free| free.last.as_deref_mut());
        let going = leaving.iter_mut().map(|(_, holder)| holder).chain(gone);
        charges.extend(going.filter_map(|holder| holder.charge(ledger, now_ms)));
        charges
    }

    pub(crate) fn outstanding(&self, task: TaskId) -> u64 {
        self.get(task).map_or(0, |slot| self.ledger.task(slot).outstanding())
    }

    /// Who has a slot and has used it.
    fn holders(&self) -> impl Iterator<Item = &Holder> {
        let taken = self.ledger.used().filter_map(|slot| self.taken.get(self.tasks.get(&slot)?));
        let leaving = self.leaving.iter().map(|(_, holder)| holder);
        taken.chain(leaving.filter(|holder| self.ledger.task(holder.slot).is_used()))
    }
}

impl Holder {
    /// What the task used since it was charged last, if anything.
    fn charge(&mut self, ledger: &Ledger, now_ms: u64) -> Option<Charge> {
        let used = ledger.task(self.slot).usage(now_ms);
        let more = used.since(&self.charged);
        if more.is_zero() {
            return None;
        }
        self.charged = used.max(&self.charged);
        let QualifiedName { namespace, name } = self.owner.clone();
        let group = if self.in_service { Group::Service(name) } else { Group::Family(name) };
        Some(Charge { account: Account::Group { namespace, group, task: Some(self.task) }, used: more })
    }
}

fn usage(ledger: &Ledger, holder: &Holder) -> TaskUsage {
    TaskUsage {
        task: holder.task,
        owner: holder.owner.clone(),
        in_service: holder.in_service,
        totals: ledger.task(holder.slot).totals(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u8) -> TaskId {
        TaskId::from_parts(u64::from(number), [number; 10])
    }

    fn take(slots: &mut Slots, number: u8) -> Option<Slot> {
        slots.take(id(number), &"default/a".parse().unwrap(), true)
    }

    #[test]
    fn a_slot_is_given_again_only_when_all_have_let_go() {
        let (ledger, _fd) = Ledger::create(1).unwrap();
        let mut slots = Slots::new(ledger.clone());
        let slot = take(&mut slots, 1).unwrap();
        assert_eq!(take(&mut slots, 1), Some(slot), "the same task keeps its slot");
        ledger.task(slot).row(0).cpu_ns.add(7);
        let asked = [id(1), id(2), id(3)];
        assert_eq!(slots.totals(&asked).into_keys().collect::<Vec<_>>(), [id(1)]);
        slots.release(id(1), 5);
        slots.acknowledged(4);
        assert_eq!(slots.totals(&asked)[&id(1)].cpu_ns, 7, "while it leaves");
        assert_ne!(take(&mut slots, 2), Some(slot));
        let accounts = slots.read();
        assert_eq!(
            (accounts.living.len(), accounts.ended.len()),
            (1, 0),
            "what it used counts until it is closed; who used nothing is not there"
        );
        slots.acknowledged(5);
        let accounts = slots.read();
        assert_eq!((accounts.living.len(), accounts.ended.len(), accounts.ended[0].totals.cpu_ns), (0, 1, 7));
        assert_eq!(slots.read().ended.len(), 0, "handed over once");
        assert!(slots.totals(&asked).is_empty());
        let last = slots.free.back().map(|free| free.slot);
        assert_eq!((slots.free.len(), last), (SLOTS - 1, Some(slot)), "given again after all others");
    }

    #[test]
    fn a_task_that_was_started_again_has_the_sums_of_its_new_slot() {
        let (ledger, _fd) = Ledger::create(1).unwrap();
        let mut slots = Slots::new(ledger.clone());
        for cpu_ns in [7, 1] {
            let slot = take(&mut slots, 1).unwrap();
            ledger.task(slot).row(0).cpu_ns.add(cpu_ns);
            assert_eq!(slots.totals(&[id(1)])[&id(1)].cpu_ns, cpu_ns);
            slots.release(id(1), 5);
        }
    }

    #[test]
    fn a_worker_that_dies_leaves_word_of_the_flows_that_were_open_in_it() {
        let (ledger, _fd) = Ledger::create(2).unwrap();
        let mut slots = Slots::new(ledger.clone());
        let [one, two, three] = [1, 2, 3].map(|number| take(&mut slots, number).unwrap());
        let open = |slot, worker, flows| ledger.task(slot).row(worker).net_open.add(flows);
        open(one, 1, 3);
        open(two, 0, 5);
        open(three, 1, 1);
        // One that is about to leave, too.
        slots.release(id(3), 9);
        let mut broken_off: Vec<_> =
            slots.close_worker(1).into_iter().map(|broken_off| (broken_off.task, broken_off.flows)).collect();
        broken_off.sort_unstable();
        assert_eq!(broken_off, [(id(1), 3), (id(3), 1)]);
        assert_eq!(slots.close_worker(1), [], "once");
        assert_eq!(ledger.task(two).totals().net_open, 5, "the other worker's go on");
    }

    fn cpu_ns(charges: &[Charge], of: u8) -> Vec<u64> {
        let is_of = |charge: &&Charge| match &charge.account {
            Account::Group { task: Some(task), .. } => *task == id(of),
            _ => false,
        };
        charges.iter().filter(is_of).map(|charge| charge.used.cpu_ns).collect()
    }

    #[test]
    fn what_a_task_used_is_charged_to_it_once_whatever_becomes_of_its_slot() {
        let (ledger, _fd) = Ledger::create(1).unwrap();
        let mut slots = Slots::new(ledger.clone());
        let slot = take(&mut slots, 1).unwrap();
        let use_cpu = |ns| ledger.task(slot).row(0).cpu_ns.add(ns);
        use_cpu(7);
        assert_eq!(cpu_ns(&slots.charges(), 1), [7]);
        assert_eq!(slots.charges(), []);
        use_cpu(1);
        slots.release(id(1), 1);
        use_cpu(2);
        assert_eq!(cpu_ns(&slots.charges(), 1), [3], "while it leaves");
        slots.acknowledged(1);
        use_cpu(4);
        assert_eq!(cpu_ns(&slots.charges(), 1), [4], "what comes late");
        use_cpu(8);
        while take(&mut slots, 2) != Some(slot) {
            slots.release(id(2), 2);
            slots.acknowledged(2);
        }
        assert_eq!(ledger.task(slot).totals(), Totals::default(), "the next task begins with nothing");
        use_cpu(16);
        let charges = slots.charges();
        assert_eq!((cpu_ns(&charges, 1), cpu_ns(&charges, 2)), (vec![8], vec![16]));
    }

    #[test]
    fn every_task_is_charged_with_what_it_used_however_many_end_between_two_readings() {
        const TASKS: u64 = 3 * LATE_SLOTS_MAX as u64;
        let (ledger, _fd) = Ledger::create(1).unwrap();
        let mut slots = Slots::new(ledger.clone());
        for number in 1..=TASKS {
            let task = TaskId::from_parts(number, [0; 10]);
            let slot = slots.take(task, &"default/a".parse().unwrap(), false).unwrap();
            ledger.task(slot).row(0).cpu_ns.add(number);
            slots.release(task, number);
        }
        slots.acknowledged(TASKS);
        let charges = slots.charges();
        let used: u64 = charges.iter().map(|charge| charge.used.cpu_ns).sum();
        assert_eq!((charges.len() as u64, used), (TASKS, TASKS * (TASKS + 1) / 2));
        assert_eq!(slots.charges(), [], "each once");
    }
}

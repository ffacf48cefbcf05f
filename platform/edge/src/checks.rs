//! The health checks of target groups, as far as this worker makes them.
//!
//! Every worker knows all groups, and each target is checked by one of them alone: the one that the target's key falls to.
//! What a check found is written to the ledger, where every worker sees it; so who is started in the place of a worker that
//! died goes on where that one was. When a check follows, and what is asked for, is in [`prober`] and [`ask`]; what a result
//! means, in [`skiff_plan::target_health`].
//!
//! It deliberately chooses no target for a request ([`crate::group`]), and does not check daemons' ports, which the worker
//! that a daemon lives in does by itself.
//!
//! What always holds: nobody is checked whose group has no check, or whose group nothing leads to; a change makes work for
//! the groups that it is about, however many there are; and the targets of a group that give no answer keep only so many
//! places from those of others.

mod ask;
mod prober;

use crate::edge::Edge;
use crate::group::Group;
use prober::{Prober, Subject};
use skiff_plan::target_use::{User, Uses};
use skiff_ports::balancer::BalancerChange;
use skiff_ports::runtime::TaskEvent;
use skiff_ports::snapshot::Route;
use skiff_types::{QualifiedName, TargetGroupSpec, Targets};
use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::rc::Rc;
use tokio::sync::{Notify, Semaphore};

/// Checks that one worker has under way at once; others wait for their turn.
const AT_ONCE_MAX: usize = 64;
/// Those of one group among them, so that a large one whose targets give no answer leaves room for others.
const AT_ONCE_OF_GROUP_MAX: usize = 16;

/// Whom it is told when the health of a service's task changes.
type Tell = Rc<dyn Fn(TaskEvent)>;

/// What there is to check.
pub(crate) struct Checks {
    told: RefCell<Told>,
    changed: Notify,
    places: Semaphore,
}

/// What the edge was told that matters to checks.
#[derive(Debug, Default)]
struct Told {
    uses: Uses,
    /// The groups that have a check, and whether they are of a service's tasks.
    checked: HashMap<QualifiedName, bool>,
    /// Services that nobody reaches but who names them.
    unrouted: HashSet<QualifiedName>,
    /// Groups of which something is otherwise than when they were looked at last.
    doubtful: BTreeSet<QualifiedName>,
}

/// The groups whose targets are being checked.
type Probers = HashMap<QualifiedName, Probed>;

/// What is being checked of a group.
struct Probed {
    /// Its targets, by their labels.
    targets: HashMap<Box<str>, Prober>,
    /// For the checks that it may have under way at once.
    places: Rc<Semaphore>,
}

impl Default for Probed {
    fn default() -> Self {
        Self { targets: HashMap::new(), places: Rc::new(Semaphore::new(AT_ONCE_OF_GROUP_MAX)) }
    }
}

impl Checks {
    pub(crate) fn new() -> Self {
        Self { told: RefCell::default(), changed: Notify::new(), places: Semaphore::new(AT_ONCE_MAX) }
    }

    /// Takes note of a service's routes.
    pub(crate) fn note_route(&self, route: &Route) {
        let Route { service, hosts, listen, .. } = route;
        let mut told = self.told.borrow_mut();
        if hosts.is_empty() && listen.is_empty() {
            told.unrouted.insert(service.clone());
        } else {
            told.unrouted.remove(service);
        }
        told.doubt([service]);
        self.changed.notify_one();
    }

    /// Takes note of a service that is there no more.
    pub(crate) fn note_withdrawn(&self, service: &QualifiedName) {
        let mut told = self.told.borrow_mut();
        told.unrouted.remove(service);
        told.doubt([service]);
        self.changed.notify_one();
    }

    /// Takes note of a change of groups, and of what leads to them.
    pub(crate) fn note(&self, change: &BalancerChange) {
        let mut told = self.told.borrow_mut();
        change.groups.iter().for_each(|spec| told.set_group(spec));
        for listener in &change.listeners {
            let user = User::Listener(listener.name.clone());
            let touched = told.uses.set_user(user, Some(&listener.default_action));
            told.doubt(&touched);
        }
        for rule in &change.rules {
            let touched = told.uses.set_user(User::Rule(rule.name.clone()), Some(&rule.action));
            told.doubt(&touched);
        }
        let rules = change.dropped.iter().cloned().map(User::Rule);
        for user in rules.chain(change.closed.iter().cloned().map(User::Listener)) {
            let touched = told.uses.set_user(user, None);
            told.doubt(&touched);
        }
        change.dissolved.iter().for_each(|name| told.remove_group(name));
        self.changed.notify_one();
    }

    /// The groups that are to be looked at since the last time.
    fn take_doubtful(&self) -> BTreeSet<QualifiedName> {
        std::mem::take(&mut self.told.borrow_mut().doubtful)
    }

    /// A group, if its targets are to be checked.
    fn group(&self, edge: &Edge, name: &QualifiedName) -> Option<Rc<Group>> {
        let told = self.told.borrow();
        let group = match told.checked.get(name)? {
            true => edge.service(name)?,
            false => edge.groups().addresses(name)?,
        };
        told.uses.is_used(name, !told.unrouted.contains(name)).then_some(group)
    }
}

impl Told {
    /// These are to be looked at, as far as they have a check.
    fn doubt<'a>(&mut self, names: impl IntoIterator<Item = &'a QualifiedName>) {
        let checked = names.into_iter().filter(|name| self.checked.contains_key(*name));
        self.doubtful.extend(checked.cloned());
    }

    fn set_group(&mut self, spec: &TargetGroupSpec) {
        let is_of = match &spec.targets {
            Targets::Service(service) if *service == spec.name => Some(true),
            // How a service's tasks are checked, the group of its own name says.
            Targets::Service(_) => None,
            Targets::Virtual(_) | Targets::Outside(_) => Some(false),
        };
        let touched = self.uses.set_group(spec);
        self.doubt(&touched);
        match is_of.filter(|_| spec.health_check.is_some()) {
            Some(is_service) => {
                self.checked.insert(spec.name.clone(), is_service);
            }
            None => drop(self.checked.remove(&spec.name)),
        }
        // Its targets may be others, whether they are checked now or were before.
        self.doubtful.insert(spec.name.clone());
    }

    fn remove_group(&mut self, name: &QualifiedName) {
        let touched = self.uses.remove_group(name);
        self.doubt(&touched);
        self.checked.remove(name);
    }
}

impl Edge {
    /// Checks targets from now on, until a drain begins; `tell` is told when a service's task turns out to be unhealthy, or
    /// healthy again. Must be called in a `LocalSet`.
    pub fn check_targets(self: &Rc<Self>, tell: Rc<dyn Fn(TaskEvent)>) {
        tokio::task::spawn_local(keep_checking(self.clone(), tell));
    }

    /// Whether it is this worker that checks the target of this key.
    fn checks(&self, key: u64) -> bool {
        key % self.ledger().workers() as u64 == self.worker() as u64
    }
}

async fn keep_checking(edge: Rc<Edge>, tell: Tell) {
    let mut probers = Probers::new();
    loop {
        for name in edge.to_check().take_doubtful() {
            look_at(&edge, &name, &mut probers, &tell);
        }
        tokio::select! {
            () = edge.drain_begun() => return,
            () = edge.to_check().changed.notified() => {}
        }
    }
}

/// Has the targets of a group checked as it says now, and nobody else.
fn look_at(edge: &Rc<Edge>, name: &QualifiedName, probers: &mut Probers, tell: &Tell) {
    let Probed { targets: mut before, places } = probers.remove(name).unwrap_or_default();
    let Some(group) = edge.to_check().group(edge, name) else { return };
    let Some(check) = &group.settings.health_check else { return };
    let ours = group.targets.iter().filter(|target| edge.checks(target.key));
    let now = ours.filter_map(|target| {
        let subject = Subject::of(target, group.settings.speaks.protocol, check)?;
        let known = before.remove(&target.label).filter(|prober| prober.is_of(&subject));
        let prober = known.unwrap_or_else(|| Prober::start(edge, subject, &places, tell));
        Some((target.label.clone(), prober))
    });
    let targets: HashMap<Box<str>, Prober> = now.collect();
    if !targets.is_empty() {
        probers.insert(name.clone(), Probed { targets, places });
    }
}

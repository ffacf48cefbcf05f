//! What this worker knows of one task's interface, wherever the task lives, and what the task has of sockets here.
//!
//! A worker knows every task of its node, most of which never open a socket: what sockets need is made when the first is
//! opened.
//!
//! What always holds: an interface's task, addresses, account and home never change (a task for which they do is another
//! member); one that is closed stays closed.

use crate::charge::Charge;
use crate::config::Limits;
use crate::flows::{Denials, FlowList};
use crate::platform::ByPlatform;
use crate::policy::Identity;
use crate::ports::Ports;
use crate::rate::Rate;
use crate::resolve::LookUps;
use skiff_ledger::{MemoryClaim, TaskRow, TaskSlot};
use skiff_ports::network::NetworkInterface;
use skiff_types::{Kind, Name, Namespace, TaskAddress, TaskId};
use std::cell::{Cell, OnceCell, Ref, RefCell};
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::rc::Rc;

/// Names of groups, by namespace: so that whether a task is in one of them takes no look at all of them.
pub(crate) type GroupNames = HashMap<Namespace, HashSet<Name>>;

/// A task, as the network of this worker knows it.
pub(crate) struct Member {
    /// As it was told last.
    told: RefCell<NetworkInterface>,
    identity: RefCell<Rc<Identity>>,
    slot: TaskSlot,
    worker: u32,
    is_closed: Cell<bool>,
    /// Whether flows with it have to be judged again; only during a change.
    is_touched: Cell<bool>,
    /// Whether the rules let the load balancer in, as far as that was asked since they changed.
    admits_balancer: Cell<bool>,
    sockets: OnceCell<Box<Sockets>>,
}

/// What a task has of sockets in this worker.
pub(crate) struct Sockets {
    pub(crate) charge: Rc<Charge>,
    pub(crate) ports: Ports,
    pub(crate) flows: FlowList,
    pub(crate) denials: Denials,
    /// Sockets that are bound, listen, wait in a backlog or are connected.
    pub(crate) count: Cell<usize>,
    /// Sockets of the kernel among them, and those that wait for room.
    pub(crate) in_kernel: Cell<usize>,
    /// Connections that are being opened.
    pub(crate) half_open: Cell<usize>,
    /// Connections of other workers' tasks that wait for room.
    pub(crate) arriving: Cell<usize>,
    pub(crate) connects: Rate,
    /// Bytes to and from the outside.
    pub(crate) outside: Rc<Rate>,
    pub(crate) look_ups: LookUps,
    /// What the platform itself has open to the task.
    pub(crate) by_platform: ByPlatform,
}

impl Member {
    pub(crate) fn new(told: NetworkInterface, slot: TaskSlot, worker: u32) -> Self {
        let identity = RefCell::new(Rc::new(Identity::from(&told)));
        Self {
            told: RefCell::new(told),
            identity,
            slot,
            worker,
            is_closed: Cell::new(false),
            is_touched: Cell::new(false),
            admits_balancer: Cell::new(false),
            sockets: OnceCell::new(),
        }
    }

    pub(crate) fn task(&self) -> TaskId {
        self.told.borrow().task
    }

    pub(crate) fn address(&self) -> TaskAddress {
        self.told.borrow().address
    }

    pub(crate) fn kind(&self) -> Kind {
        self.told.borrow().kind
    }

    pub(crate) fn slot(&self) -> &TaskSlot {
        &self.slot
    }

    pub(crate) fn told(&self) -> Ref<'_, NetworkInterface> {
        self.told.borrow()
    }

    pub(crate) fn identity(&self) -> Rc<Identity> {
        self.identity.borrow().clone()
    }

    /// Its account in this worker.
    pub(crate) fn row(&self) -> &TaskRow {
        self.slot.row(self.worker as usize)
    }

    /// Where it lives.
    pub(crate) fn home(&self) -> Home {
        let told = self.told.borrow();
        match told.kind {
            Kind::Http | Kind::Event => Home::Everywhere,
            Kind::Command => told.home.map_or(Home::Nowhere, Home::Worker),
        }
    }

    pub(crate) fn is_here(&self) -> bool {
        match self.home() {
            Home::Everywhere => true,
            Home::Worker(worker) => worker == self.worker,
            Home::Nowhere => false,
        }
    }

    pub(crate) fn is_in_one_of(&self, groups: &GroupNames) -> bool {
        let told = self.told.borrow();
        let of_namespace = groups.get(&told.owner.namespace);
        of_namespace.is_some_and(|names| told.groups.iter().any(|group| names.contains(group)))
    }

    /// Whether what never changes of an interface is the same in `told`.
    pub(crate) fn is_still(&self, told: &NetworkInterface) -> bool {
        let known = self.told.borrow();
        let fixed = |told: &NetworkInterface| {
            (told.task, told.kind, told.address, told.home, told.slot, told.memory_bytes)
        };
        fixed(&known) == fixed(told)
    }

    /// Takes in what may change; says whether rules see another in it now.
    pub(crate) fn update(&self, told: NetworkInterface) -> bool {
        let identity = Identity::from(&told);
        self.told.replace(told);
        let is_other = **self.identity.borrow() != identity;
        if is_other {
            self.identity.replace(Rc::new(identity));
        }
        is_other
    }

    pub(crate) fn is_touched(&self) -> bool {
        self.is_touched.get()
    }

    pub(crate) fn set_touched(&self, is_touched: bool) {
        self.is_touched.set(is_touched);
        self.admits_balancer.set(false);
    }

    /// Whether it is known that the rules, as they are, let the load balancer in.
    pub(crate) fn admits_balancer(&self) -> bool {
        self.admits_balancer.get()
    }

    pub(crate) fn note_admits_balancer(&self) {
        self.admits_balancer.set(true);
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.is_closed.get()
    }

    /// Closes it; false if it was.
    pub(crate) fn close(&self) -> bool {
        !self.is_closed.replace(true)
    }

    /// What it has of sockets, made if need be.
    pub(crate) fn sockets(&self, limits: &Limits) -> &Sockets {
        self.sockets.get_or_init(|| {
            let memory_bytes = self.told.borrow().memory_bytes;
            let claim = MemoryClaim::new(self.slot.clone(), self.worker as usize, memory_bytes);
            Box::new(Sockets::new(Charge::new(claim), limits))
        })
    }

    /// What it has of sockets, if it ever had any.
    pub(crate) fn opened_sockets(&self) -> Option<&Sockets> {
        self.sockets.get().map(|sockets| &**sockets)
    }
}

/// Where a task lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Home {
    /// In every worker.
    Everywhere,
    /// In this one.
    Worker(u32),
    /// In none at present.
    Nowhere,
}

impl Sockets {
    fn new(charge: Charge, limits: &Limits) -> Self {
        let charge = Rc::new(charge);
        Self {
            look_ups: LookUps::new(limits, charge.clone()),
            charge,
            ports: Ports::default(),
            flows: FlowList::default(),
            denials: Denials::default(),
            count: Cell::new(0),
            in_kernel: Cell::new(0),
            half_open: Cell::new(0),
            arriving: Cell::new(0),
            connects: Rate::new(limits.connects_per_second, limits.connects_burst),
            // A second's worth may come at once.
            outside: Rc::new(Rate::new(limits.outside_bytes_per_second, limits.outside_bytes_per_second)),
            by_platform: ByPlatform::default(),
        }
    }
}

/// The members of the network, found by task and by address.
#[derive(Default)]
pub(crate) struct Members {
    by_task: HashMap<TaskId, Rc<Member>>,
    by_address: HashMap<IpAddr, Rc<Member>>,
}

impl Members {
    pub(crate) fn get(&self, task: TaskId) -> Option<&Rc<Member>> {
        self.by_task.get(&task)
    }

    /// Who has an address of the virtual network.
    pub(crate) fn at(&self, address: IpAddr) -> Option<&Rc<Member>> {
        self.by_address.get(&address)
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Rc<Member>> {
        self.by_task.values()
    }

    pub(crate) fn insert(&mut self, member: Rc<Member>) {
        let TaskAddress { v4, v6 } = member.address();
        self.by_address.insert(v4.into(), member.clone());
        self.by_address.insert(v6.into(), member.clone());
        self.by_task.insert(member.task(), member);
    }

    pub(crate) fn remove(&mut self, task: TaskId) -> Option<Rc<Member>> {
        let member = self.by_task.remove(&task)?;
        let TaskAddress { v4, v6 } = member.address();
        for address in [IpAddr::from(v4), IpAddr::from(v6)] {
            // Another may have the address already, if both were told at once.
            if self.by_address.get(&address).is_some_and(|found| Rc::ptr_eq(found, &member)) {
                self.by_address.remove(&address);
            }
        }
        Some(member)
    }
}

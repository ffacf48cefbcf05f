//! Gives tasks their addresses, and takes them back.
//!
//! Which address is `skiff_net`'s business; here is what makes it durable. A task's address is of the part of the network that
//! its node has (`subnet`), which a node gets with its first task and keeps. What always holds: no address is used before
//! the store has that its place is taken, so that no crash gives it twice; one that may be in an object stays taken until
//! it is known that it is not; when an address came back outlives the task's object, as long as it matters.

mod subnet;

use crate::context::Context;
use crate::keys;
use crate::model::{Network, NodeSubnet, ReleasedAddresses, TaskObject};
use crate::network::{self, NetworkError};
use crate::objects::{DELETES_AT_ONCE, ObjectError, Objects};
use crate::records::Stored;
use crate::view::Held;
use futures::{StreamExt, future, stream};
use skiff_kit::random::SharedRandom;
use skiff_net::{AddressError, QUARANTINE_MS, Subnet};
use skiff_ports::store::{Expect, Key, Revision, Store, StoreError};
use skiff_types::{NetworkSpec, NodeId, TaskAddress, TaskStatus};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError};
use subnet::{Found, NodeAddresses};
use tokio::sync::Mutex;
use tokio::task::JoinError;
use tracing::{error, info};

/// Why a task could not be given an address.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoAddress {
    /// All are in use, or were a moment ago.
    #[error(transparent)]
    None(#[from] AddressError),
    /// That one is taken could not be written down.
    #[error(transparent)]
    Object(#[from] ObjectError),
}

impl From<StoreError> for NoAddress {
    fn from(error: StoreError) -> Self {
        Self::Object(error.into())
    }
}

impl From<NoAddress> for NetworkError {
    fn from(error: NoAddress) -> Self {
        match error {
            NoAddress::None(error) => Self::Unusable(error),
            NoAddress::Object(error) => Self::Store(error.into()),
        }
    }
}

/// The addresses of all nodes.
pub(crate) struct Addresses {
    store: Arc<dyn Store>,
    random: SharedRandom,
    network: Network,
    /// Held while a node gets its part.
    parts: Mutex<Parts>,
    /// Objects that say when addresses came back, with the latest such time, in milliseconds since 1970.
    notes: std::sync::Mutex<Vec<(Key, u64)>>,
}

/// The parts of the network that nodes have, or had.
struct Parts {
    by_index: BTreeMap<u32, Part>,
    by_node: HashMap<NodeId, u32>,
    /// What was found of parts that no node has.
    unclaimed: BTreeMap<u32, Found>,
}

struct Part {
    node: NodeId,
    addresses: Arc<NodeAddresses>,
}

/// The part of the network that a node has from here on, counted from 0: the one that it had before, else one that no node
/// had. The network was established. May be called any number of times.
pub async fn establish_node(store: &dyn Store, node: &NodeId, now_ms: u64) -> Result<u32, NetworkError> {
    let (network, _) = network::load(store).await?.ok_or_else(gone)?;
    let known = load_parts(store).await?;
    if let Some((subnet, _)) = known.iter().find(|(subnet, _)| subnet.node == *node) {
        return Ok(subnet.index);
    }
    let is_taken = |index| known.iter().any(|(subnet, _)| subnet.index == index);
    let (subnet, _) = subnet::claim(store, &network, is_taken, node, now_ms).await?;
    info!(%node, index = subnet.index, "the node has its part of the virtual network");
    Ok(subnet.index)
}

fn gone() -> NetworkError {
    NetworkError::Store("the network's object is gone".into())
}

/// The parts as the store has them.
async fn load_parts(store: &dyn Store) -> Result<Vec<(NodeSubnet, Revision)>, NetworkError> {
    let listing = store.list(&keys::prefix(NodeSubnet::PREFIX)).await?;
    let decoded = listing.entries.iter().map(|entry| Ok((subnet::decode(entry)?, entry.revision)));
    decoded.collect::<Result<_, NoAddress>>().map_err(NetworkError::from)
}

impl Addresses {
    /// Goes on where the store says that the last process stopped; `objects` has listed the tasks. The network was
    /// established.
    pub(crate) async fn open(
        store: Arc<dyn Store>,
        random: SharedRandom,
        objects: &Objects,
        now_ms: u64,
    ) -> Result<Self, NetworkError> {
        let (network, _) = network::load(&*store).await?.ok_or_else(gone)?;
        let spec = network.spec;
        let mut unclaimed: BTreeMap<u32, Found> = BTreeMap::new();
        objects.read(|view| {
            for held in view.tasks.all() {
                if let Some(address) = held.value.address_in_use() {
                    note_found(&mut unclaimed, &spec, address, |found| found.in_use.push(address));
                }
                if let Some(came_back) = came_back(&held.value) {
                    note_found(&mut unclaimed, &spec, came_back.0, |found| found.released.push(came_back));
                }
            }
        });
        let mut notes = Vec::new();
        for entry in store.list(&keys::prefix(ReleasedAddresses::PREFIX)).await?.entries {
            match ReleasedAddresses::decode(&entry.value) {
                Ok(note) => {
                    for came_back in &note.addresses {
                        let push = |found: &mut Found| found.released.push(*came_back);
                        note_found(&mut unclaimed, &spec, came_back.0, push);
                    }
                    notes.push((entry.key, note.latest_ms()));
                }
                Err(error) => error!(key = %entry.key, %error, "when addresses came back can't be read"),
            }
        }
        let mut parts = Parts { by_index: BTreeMap::new(), by_node: HashMap::new(), unclaimed };
        for claimed in load_parts(&*store).await? {
            parts.add(&spec, claimed, now_ms)?;
        }
        Ok(Self { store, random, network, parts: Mutex::new(parts), notes: std::sync::Mutex::new(notes) })
    }

    /// What the whole network spans.
    pub(crate) fn spec(&self) -> NetworkSpec {
        self.network.spec
    }

    /// The node that was the only one before there were several, if there was one: the tasks of then are its.
    pub(crate) async fn first_node(&self) -> Option<NodeId> {
        self.parts.lock().await.by_index.get(&0).map(|part| part.node.clone())
    }

    /// An address of a node's part that nobody has. Whoever gets it says with [`Addresses::doubt`] if it may not have been put
    /// to use.
    pub(crate) async fn take(
        &self,
        objects: &Objects,
        node: &NodeId,
        now_ms: u64,
    ) -> Result<TaskAddress, NoAddress> {
        loop {
            let part = self.part_of(objects, node, now_ms).await?;
            if let Some(address) = part.take(&*self.store, objects, node, now_ms).await? {
                return Ok(address);
            }
        }
    }

    /// The part that a node has; it gets one if it has none: one that nobody had before, else that of a node that is gone.
    async fn part_of(
        &self,
        objects: &Objects,
        node: &NodeId,
        now_ms: u64,
    ) -> Result<Arc<NodeAddresses>, NoAddress> {
        let mut parts = self.parts.lock().await;
        if let Some(index) = parts.by_node.get(node) {
            return Ok(parts.by_index[index].addresses.clone());
        }
        let is_taken = |index: u32| parts.by_index.contains_key(&index);
        let claimed = subnet::claim(&*self.store, &self.network, is_taken, node, now_ms).await;
        match claimed {
            Ok(claimed) => Ok(parts.add(&self.network.spec, claimed, now_ms)?),
            Err(NoAddress::None(error)) => {
                let taken_over = self.take_over(&mut parts, objects, node, now_ms).await?;
                taken_over.ok_or(NoAddress::None(error))
            }
            Err(error) => Err(error),
        }
    }

    /// Gives a node the part of one that is gone, if nobody has an address of it any more.
    async fn take_over(
        &self,
        parts: &mut Parts,
        objects: &Objects,
        node: &NodeId,
        now_ms: u64,
    ) -> Result<Option<Arc<NodeAddresses>>, ObjectError> {
        for (index, Part { node: before, addresses }) in &mut parts.by_index {
            let is_there = objects.read(|view| view.nodes.has(before));
            if is_there || !addresses.pass_on(&*self.store, objects, node, now_ms).await? {
                continue;
            }
            info!(%node, %before, index, "the node has the part of the virtual network of one that is gone");
            parts.by_node.remove(before);
            parts.by_node.insert(node.clone(), *index);
            *before = node.clone();
            return Ok(Some(addresses.clone()));
        }
        Ok(None)
    }

    /// The object under this key was to have the address, and it is not known whether it was written.
    pub(crate) async fn doubt(&self, key: Key, address: TaskAddress) {
        if let Some(part) = self.part_with(address).await {
            part.doubt(key, address).await;
        }
    }

    async fn part_with(&self, address: TaskAddress) -> Option<Arc<NodeAddresses>> {
        let index = Subnet::index_of(&self.network.spec, address.v4.into())?;
        self.parts.lock().await.by_index.get(&index).map(|part| part.addresses.clone())
    }

    /// Nobody has these any more.
    pub(crate) async fn take_back(&self, addresses: Vec<TaskAddress>, now_ms: u64) {
        let mut by_index: BTreeMap<u32, Vec<TaskAddress>> = BTreeMap::new();
        for address in addresses {
            if let Some(index) = Subnet::index_of(&self.network.spec, address.v4.into()) {
                by_index.entry(index).or_default().push(address);
            }
        }
        for (index, addresses) in by_index {
            let mut parts = self.parts.lock().await;
            match parts.by_index.get(&index).map(|part| part.addresses.clone()) {
                Some(part) => {
                    drop(parts);
                    part.take_back(&addresses, now_ms).await;
                }
                None => {
                    let found = parts.unclaimed.entry(index).or_default();
                    found.in_use.retain(|address| !addresses.contains(address));
                    found.released.extend(addresses.into_iter().map(|address| (address, now_ms)));
                }
            }
        }
    }

    /// To be called before the objects of tasks that ended are deleted: writes down when those addresses came back that
    /// are not to be given yet, so that a process that starts before they are knows.
    pub(crate) async fn note(&self, ended: &[Held<TaskObject>], now_ms: u64) -> Result<(), ObjectError> {
        let is_recent = |(_, at_ms): &(TaskAddress, u64)| now_ms.saturating_sub(*at_ms) < QUARANTINE_MS;
        let addresses: Vec<(TaskAddress, u64)> =
            ended.iter().filter_map(|held| came_back(&held.value)).filter(is_recent).collect();
        for addresses in addresses.chunks(ReleasedAddresses::ADDRESSES_MAX) {
            let id = hex::encode(self.random.bytes::<16>());
            let note = ReleasedAddresses { id, addresses: addresses.to_vec() };
            let key = note.key();
            let bytes = note.encode().map_err(|source| ObjectError::Record { key: key.clone(), source })?;
            self.store.put(&key, bytes, Expect::Absent).await?;
            self.with_notes(|notes| notes.push((key, note.latest_ms())));
        }
        Ok(())
    }

    /// Deletes what was written down of addresses that may be given again.
    pub(crate) async fn forget_notes(&self, now_ms: u64) -> Result<(), StoreError> {
        let is_old = |(_, at_ms): &mut (Key, u64)| now_ms.saturating_sub(*at_ms) >= QUARANTINE_MS;
        let old: Vec<(Key, u64)> = self.with_notes(|notes| notes.extract_if(.., is_old).collect());
        let deletions = stream::iter(old).map(|note| async move {
            let deleted = self.store.delete(&note.0, Expect::Any).await;
            deleted.err().map(|error| (note, error))
        });
        let failed: Vec<_> =
            deletions.buffer_unordered(DELETES_AT_ONCE).filter_map(future::ready).collect().await;
        let (kept, errors): (Vec<_>, Vec<_>) = failed.into_iter().unzip();
        self.with_notes(|notes| notes.extend(kept));
        errors.into_iter().next().map_or(Ok(()), Err)
    }

    fn with_notes<R>(&self, change: impl FnOnce(&mut Vec<(Key, u64)>) -> R) -> R {
        change(&mut self.notes.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Parts {
    fn add(
        &mut self,
        spec: &NetworkSpec,
        claimed: (NodeSubnet, Revision),
        now_ms: u64,
    ) -> Result<Arc<NodeAddresses>, AddressError> {
        let (index, node) = (claimed.0.index, claimed.0.node.clone());
        let found = self.unclaimed.remove(&index).unwrap_or_default();
        let addresses = Arc::new(NodeAddresses::resume(spec, claimed, found, now_ms)?);
        self.by_node.insert(node.clone(), index);
        self.by_index.insert(index, Part { node, addresses: addresses.clone() });
        Ok(addresses)
    }
}

fn note_found(
    found: &mut BTreeMap<u32, Found>,
    spec: &NetworkSpec,
    address: TaskAddress,
    note: impl FnOnce(&mut Found),
) {
    if let Some(index) = Subnet::index_of(spec, address.v4.into()) {
        note(found.entry(index).or_default());
    }
}

/// The address of a task that has ended, and when that was.
fn came_back(object: &TaskObject) -> Option<(TaskAddress, u64)> {
    let task = &object.task;
    let address = task.address.filter(|_| task.status == TaskStatus::Stopped)?;
    Some((address, task.stopped_at_ms.unwrap_or(object.updated_at_ms)))
}

/// When a new task has effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Once the store has it.
    Written,
    /// At once, while the store is told: for who makes the task again if this process ends before the store has it.
    AtOnce,
}

/// Writes a new task's object, with an address of its own in it: one of the node that it was placed on. What was begun is
/// finished although its caller has given up: else an address would be taken, and nobody's.
pub(crate) async fn create_task(
    context: &Arc<Context>,
    object: TaskObject,
    effect: Effect,
) -> Result<Held<TaskObject>, NoAddress> {
    let (context, token) = (context.clone(), context.drain.token());
    let creating = tokio::spawn(async move {
        let created = create(&context, object, effect).await;
        drop(token);
        created
    });
    match creating.await.map_err(JoinError::try_into_panic) {
        Ok(created) => created,
        Err(Ok(panic)) => std::panic::resume_unwind(panic),
        // The process ends.
        Err(Err(_)) => Err(ObjectError::Store(StoreError::Closed).into()),
    }
}

async fn create(
    context: &Context,
    object: TaskObject,
    effect: Effect,
) -> Result<Held<TaskObject>, NoAddress> {
    let id = object.task.id;
    let created = write_with_address(context, object, effect).await;
    if created.is_err() {
        context.objects.read_mut(|view| view.unplace(id));
    }
    created
}

async fn write_with_address(
    context: &Context,
    mut object: TaskObject,
    effect: Effect,
) -> Result<Held<TaskObject>, NoAddress> {
    let node = object.task.node.as_ref().expect("a task is placed before it is made");
    let address = context.addresses.take(&context.objects, node, context.now_ms()).await?;
    object.task.address = Some(address);
    let key = object.key();
    let put = match effect {
        Effect::Written => context.objects.put(object, Expect::Absent).await,
        Effect::AtOnce => context.objects.put_in_effect(object).await,
    };
    match put {
        Ok(held) => Ok(held),
        Err(error) => {
            context.addresses.doubt(key, address).await;
            Err(error.into())
        }
    }
}

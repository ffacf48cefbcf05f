//! The part of the virtual network that one node has: who gets which address of it, and how far that is written down.
//!
//! It deliberately does not know which nodes there are. What always holds: no two nodes have one part, since a part's object is
//! made under its number, and only where there is none; a part goes to another node only once nobody has an address of it.

use super::NoAddress;
use crate::model::{Network, NodeSubnet, TaskObject};
use crate::objects::{ObjectError, Objects};
use crate::records::Stored;
use skiff_net::{AddressError, Allocator, Subnet};
use skiff_ports::store::{Entry, Expect, Key, Revision, Store, StoreError};
use skiff_types::{NetworkSpec, NodeId, TaskAddress};
use tokio::sync::Mutex;

/// What was found at the start of the addresses of a part.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Tasks have these.
    pub(super) in_use: Vec<TaskAddress>,
    /// These came back, with the time in milliseconds since 1970.
    pub(super) released: Vec<(TaskAddress, u64)>,
}

/// The addresses of one part.
pub(super) struct NodeAddresses(Mutex<State>);

struct State {
    allocator: Allocator,
    subnet: NodeSubnet,
    /// The last write of the part's object; `None` while that is not known.
    revision: Option<Revision>,
    /// The allocator's cursor, until the store has it.
    unwritten: Option<u32>,
    /// Addresses that were given to objects of which it is not known whether they were written.
    doubtful: Vec<(Key, TaskAddress)>,
}

/// Gives a node the first part that is not taken, by what is known; more may be taken than are known.
pub(super) async fn claim(
    store: &dyn Store,
    network: &Network,
    taken: impl Fn(u32) -> bool,
    node: &NodeId,
    now_ms: u64,
) -> Result<(NodeSubnet, Revision), NoAddress> {
    let mut indexes = (0..).filter(|index| !taken(*index));
    loop {
        let index = indexes.next().expect("there are more numbers than subnets");
        Subnet::of_node(&network.spec, index)?;
        let reserved_until = if index == 0 { network.reserved_until } else { 0 };
        let subnet = NodeSubnet { index, node: node.clone(), reserved_until, claimed_at_ms: now_ms };
        let key = subnet.key();
        match store.put(&key, encode(&subnet)?, Expect::Absent).await {
            Ok(revision) => return Ok((subnet, revision)),
            Err(StoreError::Conflict { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        // Whether an earlier write was done that seemed to fail.
        if let Some(entry) = store.get(&key).await? {
            let there = decode(&entry)?;
            if there.node == *node {
                return Ok((there, entry.revision));
            }
        }
    }
}

/// A part as the store has it.
pub(super) fn decode(entry: &Entry) -> Result<NodeSubnet, ObjectError> {
    let key = || entry.key.clone();
    NodeSubnet::decode(&entry.value).map_err(|source| ObjectError::Record { key: key(), source })
}

fn encode(subnet: &NodeSubnet) -> Result<bytes::Bytes, ObjectError> {
    subnet.encode().map_err(|source| ObjectError::Record { key: subnet.key(), source })
}

impl NodeAddresses {
    /// Goes on where the store says that the last process stopped.
    pub(super) fn resume(
        spec: &NetworkSpec,
        (subnet, revision): (NodeSubnet, Revision),
        found: Found,
        now_ms: u64,
    ) -> Result<Self, AddressError> {
        let part = Subnet::of_node(spec, subnet.index)?;
        let in_use = found.in_use.into_iter();
        let mut allocator = Allocator::resume(part, subnet.reserved_until, now_ms, in_use);
        for (address, at_ms) in found.released {
            allocator.remember_release(address, at_ms);
        }
        let revision = Some(revision);
        Ok(Self(Mutex::new(State { allocator, subnet, revision, unwritten: None, doubtful: vec![] })))
    }

    /// An address that nobody has; `None` if the part has become another node's.
    pub(super) async fn take(
        &self,
        store: &dyn Store,
        objects: &Objects,
        node: &NodeId,
        now_ms: u64,
    ) -> Result<Option<TaskAddress>, NoAddress> {
        let mut state = self.0.lock().await;
        if state.subnet.node != *node {
            return Ok(None);
        }
        state.resolve_doubts(objects, now_ms).await?;
        // Before another one is made: a cursor that could not be written the last time.
        state.write_cursor(store).await?;
        let allocated = state.allocator.allocate(now_ms)?;
        state.unwritten = allocated.reserve;
        if let Err(error) = state.write_cursor(store).await {
            state.allocator.release(allocated.address, now_ms);
            return Err(error.into());
        }
        Ok(Some(allocated.address))
    }

    /// The object under this key was to have the address, and it is not known whether it was written.
    pub(super) async fn doubt(&self, key: Key, address: TaskAddress) {
        self.0.lock().await.doubtful.push((key, address));
    }

    /// Nobody has these any more.
    pub(super) async fn take_back(&self, addresses: &[TaskAddress], now_ms: u64) {
        let mut state = self.0.lock().await;
        addresses.iter().for_each(|address| state.allocator.release(*address, now_ms));
    }

    /// Gives the part to another node, if nobody has an address of it; says whether it did.
    pub(super) async fn pass_on(
        &self,
        store: &dyn Store,
        objects: &Objects,
        node: &NodeId,
        now_ms: u64,
    ) -> Result<bool, ObjectError> {
        let mut state = self.0.lock().await;
        state.resolve_doubts(objects, now_ms).await?;
        if !state.allocator.is_unused() {
            return Ok(false);
        }
        let subnet = NodeSubnet { node: node.clone(), claimed_at_ms: now_ms, ..state.subnet.clone() };
        state.write(store, subnet).await?;
        Ok(true)
    }
}

impl State {
    /// Finds out which addresses were put to use after all, by asking the store.
    async fn resolve_doubts(&mut self, objects: &Objects, now_ms: u64) -> Result<(), ObjectError> {
        while let Some((key, address)) = self.doubtful.last() {
            let found = objects.load::<TaskObject>(key).await?;
            // One that has stopped meanwhile was seen to stop: its address comes back that way.
            let in_use = found.is_some_and(|held| held.value.task.address == Some(*address));
            let address = *address;
            self.doubtful.pop();
            if !in_use {
                self.allocator.release(address, now_ms);
            }
        }
        Ok(())
    }

    /// Has the store know how far addresses may be in use.
    async fn write_cursor(&mut self, store: &dyn Store) -> Result<(), ObjectError> {
        let Some(cursor) = self.unwritten else { return Ok(()) };
        let subnet = NodeSubnet { reserved_until: cursor, ..self.subnet.clone() };
        self.write(store, subnet).await?;
        self.unwritten = None;
        Ok(())
    }

    async fn write(&mut self, store: &dyn Store, subnet: NodeSubnet) -> Result<(), ObjectError> {
        let key = subnet.key();
        let revision = match self.revision {
            Some(revision) => revision,
            None => store.get(&key).await?.map_or(0, |entry| entry.revision),
        };
        let bytes = encode(&subnet)?;
        // Whether a write that fails was done is not known: the next one asks.
        self.revision = None;
        self.revision = Some(store.put(&key, bytes, Expect::Revision(revision)).await?);
        self.subnet = subnet;
        Ok(())
    }
}

//! Gives tasks their addresses, and takes them back.
//!
//! Which address is `skiff_net`'s business; here is what makes it durable. What always holds: no address is used before
//! the store has that its place is taken, so that no crash gives it twice; one that may be in an object stays taken until
//! it is known that it is not; when an address came back outlives the task's object, as long as it matters.

use crate::context::Context;
use crate::keys;
use crate::model::{Network, ReleasedAddresses, TaskObject};
use crate::network::{self, NODE_INDEX, NetworkError};
use crate::objects::{DELETES_AT_ONCE, ObjectError, Objects};
use crate::records::Stored;
use crate::view::Held;
use futures::{StreamExt, future, stream};
use skiff_kit::random;
use skiff_net::{AddressError, Allocator, QUARANTINE_MS, Subnet};
use skiff_ports::store::{Expect, Key, Revision, Store, StoreError};
use skiff_types::{NetworkSpec, TaskAddress, TaskStatus};
use std::sync::Arc;
use tokio::sync::Mutex;
use tokio::task::JoinError;
use tracing::error;

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

/// The addresses of this node's subnet.
pub(crate) struct Addresses {
    store: Arc<dyn Store>,
    spec: NetworkSpec,
    state: Mutex<State>,
}

struct State {
    allocator: Allocator,
    network: Network,
    /// The last write of the network's object; `None` while that is not known.
    revision: Option<Revision>,
    /// The allocator's cursor, until the store has it.
    unwritten: Option<u32>,
    /// Addresses that were given to objects of which it is not known whether they were written.
    doubtful: Vec<(Key, TaskAddress)>,
    /// Objects that say when addresses came back, with the latest such time, in milliseconds since 1970.
    notes: Vec<(Key, u64)>,
}

impl Addresses {
    /// Goes on where the store says that the last process stopped; `objects` has listed the tasks. The network was
    /// established.
    pub(crate) async fn open(
        store: Arc<dyn Store>,
        objects: &Objects,
        now_ms: u64,
    ) -> Result<Self, NetworkError> {
        let gone = || NetworkError::Store("its object is gone".into());
        let (network, revision) = network::load(&*store).await?.ok_or_else(gone)?;
        let subnet = Subnet::of_node(&network.spec, NODE_INDEX)?;
        let (in_use, stopped) = objects.read(|view| {
            let tasks = || view.tasks.all().map(|held| &*held.value);
            let in_use: Vec<TaskAddress> = tasks().filter_map(TaskObject::address_in_use).collect();
            let stopped: Vec<(TaskAddress, u64)> = tasks().filter_map(came_back).collect();
            (in_use, stopped)
        });
        let mut allocator = Allocator::resume(subnet, network.reserved_until, now_ms, in_use.into_iter());
        stopped.into_iter().for_each(|(address, at_ms)| allocator.remember_release(address, at_ms));
        let mut notes = Vec::new();
        for entry in store.list(&keys::prefix(ReleasedAddresses::PREFIX)).await?.entries {
            match ReleasedAddresses::decode(&entry.value) {
                Ok(note) => {
                    for (address, at_ms) in &note.addresses {
                        allocator.remember_release(*address, *at_ms);
                    }
                    notes.push((entry.key, note.latest_ms()));
                }
                Err(error) => error!(key = %entry.key, %error, "when addresses came back can't be read"),
            }
        }
        let (spec, revision) = (network.spec, Some(revision));
        let state = State { allocator, network, revision, unwritten: None, doubtful: vec![], notes };
        Ok(Self { store, spec, state: Mutex::new(state) })
    }

    /// What the whole network spans.
    pub(crate) fn spec(&self) -> NetworkSpec {
        self.spec
    }

    /// An address that nobody has. Whoever gets it says with [`Addresses::doubt`] if it may not have been put to use.
    pub(crate) async fn take(&self, objects: &Objects, now_ms: u64) -> Result<TaskAddress, NoAddress> {
        let mut state = self.state.lock().await;
        state.resolve_doubts(objects, now_ms).await?;
        // Before another one is made: a cursor that could not be written the last time.
        state.write_cursor(&*self.store).await?;
        let allocated = state.allocator.allocate(now_ms)?;
        state.unwritten = allocated.reserve;
        if let Err(error) = state.write_cursor(&*self.store).await {
            state.allocator.release(allocated.address, now_ms);
            return Err(error.into());
        }
        Ok(allocated.address)
    }

    /// The object under this key was to have the address, and it is not known whether it was written.
    pub(crate) async fn doubt(&self, key: Key, address: TaskAddress) {
        self.state.lock().await.doubtful.push((key, address));
    }

    /// Nobody has these any more.
    pub(crate) async fn take_back(&self, addresses: Vec<TaskAddress>, now_ms: u64) {
        if addresses.is_empty() {
            return;
        }
        let mut state = self.state.lock().await;
        addresses.into_iter().for_each(|address| state.allocator.release(address, now_ms));
    }

    /// To be called before the objects of tasks that ended are deleted: writes down when those addresses came back that
    /// are not to be given yet, so that a process that starts before they are knows.
    pub(crate) async fn note(&self, ended: &[Held<TaskObject>], now_ms: u64) -> Result<(), ObjectError> {
        let is_recent = |(_, at_ms): &(TaskAddress, u64)| now_ms.saturating_sub(*at_ms) < QUARANTINE_MS;
        let addresses: Vec<(TaskAddress, u64)> =
            ended.iter().filter_map(|held| came_back(&held.value)).filter(is_recent).collect();
        for addresses in addresses.chunks(ReleasedAddresses::ADDRESSES_MAX) {
            let note =
                ReleasedAddresses { id: hex::encode(random::bytes::<16>()), addresses: addresses.to_vec() };
            let key = note.key();
            let bytes = note.encode().map_err(|source| ObjectError::Record { key: key.clone(), source })?;
            self.store.put(&key, bytes, Expect::Absent).await?;
            self.state.lock().await.notes.push((key, note.latest_ms()));
        }
        Ok(())
    }

    /// Deletes what was written down of addresses that may be given again.
    pub(crate) async fn forget_notes(&self, now_ms: u64) -> Result<(), StoreError> {
        let is_old = |(_, at_ms): &mut (Key, u64)| now_ms.saturating_sub(*at_ms) >= QUARANTINE_MS;
        let old: Vec<(Key, u64)> = self.state.lock().await.notes.extract_if(.., is_old).collect();
        let deletions = stream::iter(old).map(|note| async move {
            let deleted = self.store.delete(&note.0, Expect::Any).await;
            deleted.err().map(|error| (note, error))
        });
        let failed: Vec<_> =
            deletions.buffer_unordered(DELETES_AT_ONCE).filter_map(future::ready).collect().await;
        let (kept, errors): (Vec<_>, Vec<_>) = failed.into_iter().unzip();
        self.state.lock().await.notes.extend(kept);
        errors.into_iter().next().map_or(Ok(()), Err)
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
        let revision = match self.revision {
            Some(revision) => revision,
            None => store.get(&keys::network()).await?.map_or(0, |entry| entry.revision),
        };
        let network = Network { reserved_until: cursor, ..self.network.clone() };
        let key = network.key();
        let bytes = network.encode().map_err(|source| ObjectError::Record { key: key.clone(), source })?;
        // Whether a write that fails was done is not known: the next one asks.
        self.revision = None;
        self.revision = Some(store.put(&key, bytes, Expect::Revision(revision)).await?);
        self.network = network;
        self.unwritten = None;
        Ok(())
    }
}

/// The address of a task that has ended, and when that was.
fn came_back(object: &TaskObject) -> Option<(TaskAddress, u64)> {
    let task = &object.task;
    let address = task.address.filter(|_| task.status == TaskStatus::Stopped)?;
    Some((address, task.stopped_at_ms.unwrap_or(object.updated_at_ms)))
}

/// Writes a new task's object, with an address of its own in it. What was begun is finished although its caller has given
/// up: else an address would be taken, and nobody's.
pub(crate) async fn create_task(
    context: &Arc<Context>,
    object: TaskObject,
) -> Result<Held<TaskObject>, NoAddress> {
    let (context, token) = (context.clone(), context.drain.token());
    let creating = tokio::spawn(async move {
        let created = create(&context, object).await;
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

async fn create(context: &Context, mut object: TaskObject) -> Result<Held<TaskObject>, NoAddress> {
    let address = context.addresses.take(&context.objects, context.now_ms()).await?;
    object.task.address = Some(address);
    let key = object.key();
    match context.objects.put(object, Expect::Absent).await {
        Ok(held) => {
            context.events.task(&held.value);
            Ok(held)
        }
        Err(error) => {
            context.addresses.doubt(key, address).await;
            Err(error.into())
        }
    }
}

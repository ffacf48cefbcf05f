//! The one way to the store: reads, compare-and-swap writes, and the view that a watch keeps true.
//!
//! A write is in the view as soon as it returns, so that a reconciler never acts twice on what it did itself; the
//! watch brings what others wrote. Only what an event runs is in the view before ([`Objects::put_in_effect`]). It deliberately knows
//! no rules about the objects.
//!
//! What always holds: each revision of an object that this process wrote is taken into the view once, and before the next one of
//! that object: who writes over a revision has it from the view. As it is taken in, the object tells what happened to it.

use crate::events::Events;
use crate::model::{AlarmNotes, ScalingNotes, ServiceNotes, TaskObject};
use crate::records::{RecordError, Stored};
use crate::view::{Held, View, Viewed};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use skiff_kit::{Backoff, Drain, Watermark};
use skiff_ports::store::{Entry, Expect, Key, Revision, Store, StoreError};
use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio::sync::Notify;
use tracing::{error, info, warn};

/// How often a change is tried again because somebody else changed the same object.
const UPDATE_ATTEMPTS: usize = 16;
/// Objects that are deleted at a time.
pub(crate) const DELETES_AT_ONCE: usize = 32;
/// Waits before a watch that failed is started again.
const WATCH_BACKOFF: Backoff = Backoff { first_ms: 50, most_ms: 5_000 };

/// The revision, in the view, of an object that the store does not have yet; all of the store's are greater.
pub(crate) const UNWRITTEN: Revision = 0;
/// The generation of a view of nothing; 0 is before all.
const FIRST_GENERATION: u64 = 1;

/// Why an object could not be read or written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ObjectError {
    /// The store did not do it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The record can't be read or written.
    #[error("the object {key} can't be used")]
    Record {
        key: Key,
        #[source]
        source: RecordError,
    },
    /// Others kept changing it.
    #[error("{0} was changed by others {UPDATE_ATTEMPTS} times in a row")]
    Contended(Key),
}

impl ObjectError {
    /// Whether the object was not as the write expected.
    pub(crate) fn is_conflict(&self) -> bool {
        matches!(self, Self::Store(StoreError::Conflict { .. }))
    }
}

/// Who is woken by a change.
#[derive(Debug, Default)]
pub(crate) struct Wakes {
    pub(crate) services: Notify,
    pub(crate) tasks: Notify,
    pub(crate) assignments: Notify,
    pub(crate) collector: Notify,
    /// Not by a change of the view, but when a bucket, a table or a queue was removed.
    pub(crate) data: Notify,
    /// Not by a change of the view, but whenever a second was measured, and when somebody says how a service is scaled.
    pub(crate) scaling: Notify,
    /// Whenever a second was measured.
    pub(crate) alarms: Notify,
    /// When a rule of a bus came, changed or went.
    pub(crate) event_rules: Notify,
    /// Not by a change of the view, but when a schedule was made or changed.
    pub(crate) schedules: Notify,
}

/// The store and its view.
pub(crate) struct Objects {
    store: Arc<dyn Store>,
    /// What objects tell goes there.
    events: Arc<Events>,
    view: RwLock<View>,
    generation: Watermark,
    pub(crate) wakes: Wakes,
}

impl Objects {
    /// A view of nothing yet; see [`Objects::list`].
    pub(crate) fn new(store: Arc<dyn Store>, events: Arc<Events>) -> Self {
        let mut view = View::default();
        view.generation = FIRST_GENERATION;
        let generation = Watermark::new(view.generation);
        Self { store, events, view: RwLock::new(view), generation, wakes: Wakes::default() }
    }

    /// Looks at the view. The closure must be quick: every change waits for it.
    pub(crate) fn read<R>(&self, look: impl FnOnce(&View) -> R) -> R {
        look(&self.view.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Looks at the view and takes notes in it.
    pub(crate) fn read_mut<R>(&self, look: impl FnOnce(&mut View) -> R) -> R {
        look(&mut self.view.write().unwrap_or_else(PoisonError::into_inner))
    }

    /// The view's generation, for who waits until it has moved on.
    pub(crate) fn generation(&self) -> &Watermark {
        &self.generation
    }

    /// An object as the store has it now.
    pub(crate) async fn load<T: Viewed>(&self, key: &Key) -> Result<Option<Held<T>>, ObjectError> {
        let Some(entry) = self.store.get(key).await? else { return Ok(None) };
        let value = decode::<T>(&entry)?;
        Ok(Some(self.take_in(key, entry.revision, Arc::new(value))))
    }

    /// The objects under a prefix as the store has them now, ordered by key; those that can't be read are an error.
    pub(crate) async fn load_all<T: Viewed>(&self, prefix: &Key) -> Result<Vec<Held<T>>, ObjectError> {
        let listing = self.store.list(prefix).await?;
        let take_in =
            |entry: &Entry| Ok(self.take_in(&entry.key, entry.revision, Arc::new(decode::<T>(entry)?)));
        listing.entries.iter().map(take_in).collect()
    }

    /// Writes an object if `expect` holds.
    pub(crate) async fn put<T: Viewed>(&self, value: T, expect: Expect) -> Result<Held<T>, ObjectError> {
        let key = value.key();
        let bytes = value.encode().map_err(|source| ObjectError::Record { key: key.clone(), source })?;
        let revision = self.store.put_with(&key, bytes, expect, value.durability()).await?;
        Ok(self.take_in(&key, revision, Arc::new(value)))
    }

    /// Makes an object that has effect before it is written: it is in the view at once, and is written then. Who changes it before
    /// that writes it, with the change in it; then there is a conflict here. If it can't be written it leaves the view again.
    pub(crate) async fn put_in_effect<T: Viewed>(&self, value: T) -> Result<Held<T>, ObjectError> {
        let (key, durability) = (value.key(), value.durability());
        let bytes = value.encode().map_err(|source| ObjectError::Record { key: key.clone(), source })?;
        let value = Arc::new(value);
        self.apply(&key, UNWRITTEN, Some(value.clone()));
        match self.store.put_with(&key, bytes, Expect::Absent, durability).await {
            Ok(revision) => Ok(self.take_in(&key, revision, value)),
            Err(error) => {
                self.changed(|view| {
                    let was_there = view.forget_unwritten::<T>(&key);
                    if was_there {
                        self.tell::<T>(&key, None);
                    }
                    was_there
                });
                Err(error.into())
            }
        }
    }

    /// Ends once all that was written before is on the drive, whatever it was to outlive when it was written: the store's log has
    /// writes in their order, and this is one that waits for the drive.
    pub(crate) async fn sync(&self) -> Result<(), StoreError> {
        self.store.put(&crate::keys::sync(), Bytes::from_static(b"{}"), Expect::Any).await.map(drop)
    }

    /// Deletes an object if `expect` holds; what it told is in the journal before.
    pub(crate) async fn delete<T: Viewed>(&self, key: &Key, expect: Expect) -> Result<(), ObjectError> {
        self.events.settle(key).await;
        let revision = self.store.delete(key, expect).await?;
        self.apply::<T>(key, revision, None);
        Ok(())
    }

    /// Deletes objects of one type, whatever they are now; several at a time.
    pub(crate) async fn delete_all<T: Viewed>(&self, keys: Vec<Key>) -> Result<(), ObjectError> {
        stream::iter(keys)
            .map(|key| async move { self.delete::<T>(&key, Expect::Any).await })
            .buffer_unordered(DELETES_AT_ONCE)
            .try_for_each(|()| async { Ok(()) })
            .await
    }

    /// Changes an object, again from what it is now if somebody else changed it meanwhile; `None` if there is none.
    ///
    /// `change` says whether there is something to write.
    pub(crate) async fn update<T: Viewed>(
        &self,
        key: &Key,
        mut change: impl FnMut(&mut T) -> bool,
    ) -> Result<Option<Held<T>>, ObjectError> {
        let mut known = self.read(|view| T::table(view).get(key).cloned());
        for _ in 0..UPDATE_ATTEMPTS {
            let current = match known.take() {
                Some(held) => held,
                None => match self.load::<T>(key).await? {
                    Some(held) => held,
                    None => return Ok(None),
                },
            };
            let mut value = T::clone(&current.value);
            if !change(&mut value) {
                return Ok(Some(current));
            }
            let expect = match current.revision {
                UNWRITTEN => Expect::Absent,
                revision => Expect::Revision(revision),
            };
            match self.put(value, expect).await {
                Err(error) if error.is_conflict() => {}
                result => return result.map(Some),
            }
        }
        Err(ObjectError::Contended(key.clone()))
    }

    /// Brings the view of one type to what the store has; returns the revision from which a watch goes on.
    pub(crate) async fn list<T: Viewed>(&self) -> Result<Revision, StoreError> {
        let listing = self.store.list(&crate::keys::prefix(T::PREFIX)).await?;
        for entry in &listing.entries {
            self.take_in_entry::<T>(&entry.key, entry.revision, Some(&entry.value));
        }
        let listed: BTreeSet<&Key> = listing.entries.iter().map(|entry| &entry.key).collect();
        for key in self.read(|view| view.missing_from::<T>(&listed, listing.revision)) {
            self.apply::<T>(&key, listing.revision, None);
        }
        Ok(listing.revision)
    }

    /// To be called once all types are listed, before anything is written.
    pub(crate) async fn all_listed(&self) -> Result<(), StoreError> {
        self.read(|view| self.events.forget_gone(|key| view.may_tell(key)));
        self.events.adopt().await
    }

    /// Has the objects that found no room tell what they have not told yet. The view is looked at for each by itself, so that no change
    /// waits for all of them.
    pub(crate) fn tell_untold(&self) {
        for key in self.events.untold() {
            self.read(|view| {
                self.tell_present::<TaskObject>(view, &key);
                self.tell_present::<ServiceNotes>(view, &key);
                self.tell_present::<ScalingNotes>(view, &key);
                self.tell_present::<AlarmNotes>(view, &key);
            });
        }
    }

    fn tell_present<T: Viewed>(&self, view: &View, key: &Key) {
        if let Some(held) = T::table(view).get(key) {
            self.tell(key, Some(&*held.value));
        }
    }

    /// Has an object tell what happened to it since it told last. To be called while nothing else changes it in the view.
    fn tell<T: Viewed>(&self, key: &Key, object: Option<&T>) {
        match object {
            Some(object) => self.events.tell(key, |told| object.tale(told)),
            None => self.events.gone(key),
        }
    }

    /// Keeps the view of one type true until the drain begins.
    pub(crate) async fn follow<T: Viewed>(self: Arc<Self>, listed: Revision, drain: Drain) {
        let following = async {
            let (mut after, mut failures) = (listed, 0);
            loop {
                let error = match self.watch::<T>(&mut after, &mut failures).await {
                    Ok(()) => StoreError::Closed,
                    Err(error) => error,
                };
                match error {
                    StoreError::Compacted(_) => {
                        info!(prefix = T::PREFIX, "listing again: the watch fell behind")
                    }
                    error => {
                        failures += 1;
                        warn!(prefix = T::PREFIX, %error, failures, "the watch ended; listing again");
                    }
                }
                tokio::time::sleep(Duration::from_millis(WATCH_BACKOFF.delay_ms(failures))).await;
                match self.list::<T>().await {
                    Ok(revision) => after = revision,
                    Err(error) => warn!(prefix = T::PREFIX, %error, "the store can't be listed"),
                }
            }
        };
        tokio::select! {
            biased;
            () = drain.begun() => {}
            () = following => {}
        }
    }

    async fn watch<T: Viewed>(&self, after: &mut Revision, failures: &mut u32) -> Result<(), StoreError> {
        let mut changes = self.store.watch(&crate::keys::prefix(T::PREFIX), *after).await?;
        while let Some(change) = changes.next().await {
            let change = change?;
            self.take_in_entry::<T>(&change.key, change.revision, change.value.as_deref());
            self.read_mut(|view| view.watched_to::<T>(change.revision));
            *after = change.revision;
            *failures = 0;
        }
        Ok(())
    }

    /// Takes in what a listing or a watch says of a key; a record that can't be read is logged, once.
    fn take_in_entry<T: Viewed>(&self, key: &Key, revision: Revision, value: Option<&[u8]>) {
        match value.map(T::decode).transpose() {
            Ok(value) => {
                self.apply(key, revision, value.map(Arc::new));
            }
            Err(error) => {
                let mut is_news = false;
                self.changed(|view| {
                    is_news = view.apply_unreadable::<T>(key);
                    is_news
                });
                if is_news {
                    let source = std::error::Error::source(&error).map(ToString::to_string);
                    let meanwhile = T::WHILE_UNREADABLE;
                    error!(%key, revision, %error, source, meanwhile, "an object's record can't be read");
                }
            }
        }
    }

    fn take_in<T: Viewed>(&self, key: &Key, revision: Revision, value: Arc<T>) -> Held<T> {
        let generation = self.changed(|view| {
            let applied = view.apply_own(key, revision, value.clone());
            if applied {
                self.tell(key, Some(&*value));
            }
            applied
        });
        Held { revision, generation, value }
    }

    /// Applies a change; returns a generation that has it.
    fn apply<T: Viewed>(&self, key: &Key, revision: Revision, value: Option<Arc<T>>) -> u64 {
        self.changed(|view| {
            let applied = view.apply(key, revision, value.clone());
            if applied {
                self.tell(key, value.as_deref());
            }
            applied
        })
    }

    /// Changes the view and, if `change` says that it did, wakes whom it concerns; returns a generation that has it.
    fn changed(&self, change: impl FnOnce(&mut View) -> bool) -> u64 {
        let (changed, generation, rules_changed) = self.read_mut(|view| {
            let changed = change(view);
            (changed, view.generation, !view.buses.changed_rules.is_empty())
        });
        if changed {
            self.generation.rise_to(generation);
            self.wakes.services.notify_one();
            self.wakes.tasks.notify_one();
            self.wakes.assignments.notify_one();
            if rules_changed {
                self.wakes.event_rules.notify_one();
            }
        }
        generation
    }
}

fn decode<T: Stored>(entry: &Entry) -> Result<T, ObjectError> {
    T::decode(&entry.value).map_err(|source| ObjectError::Record { key: entry.key.clone(), source })
}

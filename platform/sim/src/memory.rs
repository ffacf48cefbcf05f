//! The small ports in memory: images, the journal, the series, the bill, logs and flows. They outlive the control plane, and
//! have no faults of their own: what hangs on them decides nothing.

use crate::checker::Checker;
use crate::life::Life;
use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt};
use sha2::{Digest as _, Sha256};
use skiff_ports::flows::{FlowQuery, FlowRecord, Flows, InterfaceState};
use skiff_ports::images::{Image, ImageError, Images};
use skiff_ports::journal::{Forget, Journal, JournalQuery, Mark, Marks, Note, Take};
use skiff_ports::logs::{LogLine, LogQuery, Logs};
use skiff_ports::store::{Key, StoreError};
use skiff_ports::usage::{Fold, UsageLog, UsageQuery, UsageSums};
use skiff_ports::webhook::{WebhookError, WebhookPost, Webhooks};
use skiff_types::{Charge, Digest, Event, EventId, QualifiedName, TaskId};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

/// Events that are kept.
const EVENTS_MAX: usize = 1_000;

/// Images, by the digests of their manifests, and components by theirs.
#[derive(Default)]
pub(crate) struct MemoryImages {
    images: Mutex<BTreeMap<Digest, Image>>,
    components: Mutex<BTreeMap<Digest, Bytes>>,
}

impl MemoryImages {
    /// A component that is kept.
    pub(crate) fn component(&self, digest: &Digest) -> Option<Bytes> {
        self.components.lock().unwrap_or_else(PoisonError::into_inner).get(digest).cloned()
    }
}

#[async_trait]
impl Images for MemoryImages {
    async fn push(
        &self,
        mut component: BoxStream<'static, std::io::Result<Bytes>>,
    ) -> Result<Image, ImageError> {
        let mut bytes = BytesMut::new();
        while let Some(part) = component.next().await {
            bytes.extend_from_slice(&part.map_err(ImageError::Upload)?);
        }
        let component = Digest::from_bytes(Sha256::digest(&bytes).into());
        let mut manifest = Sha256::new_with_prefix(b"manifest");
        manifest.update(component.as_bytes());
        let manifest = Digest::from_bytes(manifest.finalize().into());
        let image = Image { manifest, component, component_bytes: bytes.len() as u64 };
        let mut components = self.components.lock().unwrap_or_else(PoisonError::into_inner);
        components.insert(component, bytes.freeze());
        self.images.lock().unwrap_or_else(PoisonError::into_inner).insert(manifest, image.clone());
        Ok(image)
    }

    async fn get(&self, manifest: &Digest) -> Result<Option<Image>, ImageError> {
        Ok(self.images.lock().unwrap_or_else(PoisonError::into_inner).get(manifest).cloned())
    }

    fn component_path(&self, component: &Digest) -> PathBuf {
        component.hex().into()
    }

    async fn keep(
        &self,
        manifests: &BTreeSet<Digest>,
        components: &BTreeSet<Digest>,
    ) -> Result<usize, ImageError> {
        let mut images = self.images.lock().unwrap_or_else(PoisonError::into_inner);
        let mut kept = self.components.lock().unwrap_or_else(PoisonError::into_inner);
        let before = images.len() + kept.len();
        images.retain(|manifest, _| manifests.contains(manifest));
        let named: BTreeSet<Digest> = images.values().map(|image| image.component).collect();
        kept.retain(|component, _| components.contains(component) || named.contains(component));
        Ok(before - images.len() - kept.len())
    }
}

/// The journal: the newest events, and how far each object was told.
#[derive(Default)]
pub(crate) struct MemoryJournal {
    events: Mutex<Vec<Event>>,
    /// `None` as long as nothing was ever noted.
    marks: Mutex<Option<HashMap<Key, Mark>>>,
}

/// The journal as one life of a control plane has it.
pub(crate) struct JournalOfLife {
    pub(crate) journal: Arc<MemoryJournal>,
    pub(crate) checker: Arc<Checker>,
    pub(crate) life: Arc<Life>,
}

impl MemoryJournal {
    fn take(&self, note: Note) -> Vec<Event> {
        let mut marks = self.marks.lock().unwrap_or_else(PoisonError::into_inner);
        let marks = marks.get_or_insert_default();
        match note {
            Note::Told { object, mark, events } => {
                marks.insert(object, mark);
                events
            }
            Note::Gone { object } => {
                marks.remove(&object);
                Vec::new()
            }
        }
    }
}

#[async_trait]
impl Journal for JournalOfLife {
    async fn append(&self, notes: Vec<Note>) -> Result<(), StoreError> {
        self.life.check()?;
        self.journal.marks.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_default();
        let events: Vec<Event> = notes.into_iter().flat_map(|note| self.journal.take(note)).collect();
        self.checker.told(&events);
        let mut kept = self.journal.events.lock().unwrap_or_else(PoisonError::into_inner);
        kept.extend(events);
        if !kept.is_sorted_by(|one, next| one.id < next.id) {
            self.checker.violated(format_args!("events are not in the order of their ids"));
        }
        let surplus = kept.len().saturating_sub(EVENTS_MAX);
        kept.drain(..surplus);
        Ok(())
    }

    async fn marks(&self) -> Result<Marks, StoreError> {
        self.life.check()?;
        let marks = self.journal.marks.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Ok(Marks { are_new: marks.is_none(), objects: marks.unwrap_or_default() })
    }

    async fn read(&self, query: JournalQuery) -> Result<Vec<Event>, StoreError> {
        self.life.check()?;
        let kept = self.journal.events.lock().unwrap_or_else(PoisonError::into_inner);
        let is_after = |id: EventId| query.after.is_none_or(|after| id > after);
        let filter = &query.filter;
        let is_asked_for = |event: &&Event| {
            is_after(event.id)
                && filter.namespace.as_ref().is_none_or(|namespace| *namespace == event.namespace)
                && is_one_of(&filter.services, event.service())
                && is_one_of(&filter.types, Some(&event.detail.event_type()))
                && filter.task.is_none_or(|task| event.task() == Some(task))
                && filter.since_ms.is_none_or(|since_ms| event.at_ms >= since_ms)
        };
        let found: Vec<Event> = kept.iter().filter(is_asked_for).cloned().collect();
        let (from, to) = match query.take {
            Take::Oldest(most) => (0, found.len().min(most as usize)),
            Take::Newest(most) => (found.len().saturating_sub(most as usize), found.len()),
        };
        Ok(found[from..to].to_vec())
    }

    async fn forget(&self, _: Forget) -> Result<u64, StoreError> {
        self.life.check().map(|()| 0)
    }

    async fn sync(&self) -> Result<(), StoreError> {
        self.life.check()
    }
}

/// Whether it is one of these; where there are none, it is.
fn is_one_of<T: PartialEq>(these: &[T], it: Option<&T>) -> bool {
    these.is_empty() || it.is_some_and(|it| these.contains(it))
}

/// A bill that nobody reads: nothing is charged in a simulation.
pub(crate) struct NoBill;

#[async_trait]
impl UsageLog for NoBill {
    async fn add(&self, _: u64, _: Vec<Charge>) -> Result<(), StoreError> {
        Ok(())
    }

    async fn fold(&self, _: Vec<Fold>) -> Result<(), StoreError> {
        Ok(())
    }

    async fn read(&self, _: UsageQuery) -> Result<UsageSums, StoreError> {
        Ok(UsageSums { from_ms: 0, charges: Vec::new() })
    }
}

/// Logs and flows of tasks that write nothing and open no connection; and addresses of which nobody has heard.
pub(crate) struct Silence;

#[async_trait]
impl Webhooks for Silence {
    async fn post(&self, _: WebhookPost) -> Result<(), WebhookError> {
        Ok(())
    }
}

impl Logs for Silence {
    fn read(&self, _: LogQuery) -> BoxStream<'static, std::io::Result<LogLine>> {
        stream::empty().boxed()
    }

    fn owners(&self) -> BoxFuture<'_, std::io::Result<Vec<QualifiedName>>> {
        async { Ok(Vec::new()) }.boxed()
    }

    fn remove(&self, _: &QualifiedName) {}
}

impl Flows for Silence {
    fn read(&self, _: FlowQuery) -> BoxStream<'static, std::io::Result<FlowRecord>> {
        stream::empty().boxed()
    }

    fn open(&self, _: TaskId) -> BoxFuture<'_, Result<InterfaceState, String>> {
        async { Ok(InterfaceState::default()) }.boxed()
    }
}

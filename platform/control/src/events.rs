//! The stream of events: what happened, from the objects that tell it to the journal, and from there to whoever reads on.
//!
//! Whenever the view takes an object in, the object is asked what it has to tell since it was told last ([`Tale`]). The view takes
//! in each revision of an object once and in their order, whoever wrote it; and an object as it was written by a process that has
//! ended is taken in at the next start, like any other. So nothing is written for an event beside its object: what a process did not
//! come to tell, the next one finds in the object, and tells.
//!
//! Telling waits for nothing: it goes into a bounded queue, and one writer takes what has come together to the journal, with a mark
//! of how far each object was told. What finds the queue full is told later, by what the object is then; and no object is deleted
//! before the journal has what it told, unless that takes too long, which is logged. Readers are shown what is in the
//! journal alone, and look there again whenever something was written, so that none misses what another sees.
//!
//! What always holds: ids order as events were recorded, over restarts; the journal has them in that order, and those of one object
//! in the order of its revisions. The last state of each object is told, once; one in between may be passed over, where a process
//! ended or the queue was full before it was told.

mod happened;
mod reading;

pub(crate) use happened::{Happened, Tale};
pub(crate) use reading::Reading;

use skiff_kit::Watermark;
use skiff_kit::clock::Clock;
use skiff_kit::random::SharedRandom;
use skiff_ports::journal::{EventFilter, Forget, Journal, JournalQuery, Mark, Note, Take};
use skiff_ports::store::{Key, StoreError};
use skiff_types::{Event, EventId};
use std::collections::{BTreeSet, HashMap};
use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tracing::{error, warn};

/// Notes that wait to be written.
const QUEUE_MAX: usize = 10_000;
/// Notes that are written at a time.
const BATCH_MAX: usize = 1_000;
/// How long a note waits for others to be written with: a task that begins tells several things within a millisecond or two, in which
/// the processors have better to do.
const GATHER_TIME: Duration = Duration::from_millis(3);
/// The wait after a write that failed.
const RETRY_INTERVAL: Duration = Duration::from_millis(200);
/// How long the deletion of an object waits at most until what it told is in the journal.
const SETTLE_TIME: Duration = Duration::from_secs(1);
/// How often it looks whether what found the queue full was told.
const SETTLE_INTERVAL: Duration = Duration::from_millis(50);
/// How long events are kept, in milliseconds: 15 days.
const KEPT_MS: u64 = 15 * 86_400_000;
/// How many are kept.
const KEPT_MAX: u32 = 100_000;
/// How many are kept that are not on their buses yet, however many or old they are.
const UNREAD_MAX: u32 = 1_000_000;
/// What is too old or too much is forgotten once so many notes were written since the last time, or so much time is over.
const FORGET_AFTER_NOTES: usize = 10_000;
const FORGET_INTERVAL: Duration = Duration::from_secs(60);

/// The stream.
pub(crate) struct Events {
    journal: Arc<dyn Journal>,
    clock: Arc<dyn Clock>,
    random: SharedRandom,
    told: Mutex<Told>,
    /// What the writer takes from; there is one.
    queue: tokio::sync::Mutex<mpsc::Receiver<Note>>,
    /// The newest event that is in the journal.
    written: watch::Sender<Option<EventId>>,
    /// How many notes are in the journal of those that were put into the queue.
    noted: Watermark,
    /// The last event that is on its bus.
    on_buses: Mutex<Option<EventId>>,
}

/// How far objects were told. Notes are put into the queue one at a time, so that they lie there as the ids of their events order.
struct Told {
    marks: HashMap<Key, Mark>,
    /// Objects that found the queue full.
    untold: BTreeSet<Key>,
    /// Nothing was ever told: what objects say as they are listed is of before, and told to nobody.
    is_new: bool,
    /// The id of the last event.
    last: Option<EventId>,
    queue: mpsc::Sender<Note>,
    /// Notes that were put into the queue.
    queued: u64,
}

impl Told {
    /// How many more notes the queue takes.
    fn room(&self) -> usize {
        self.queue.capacity()
    }

    /// Puts a note into the queue, if there is room.
    fn note(&mut self, note: Note) -> bool {
        let is_noted = self.queue.try_send(note).is_ok();
        self.queued += u64::from(is_noted);
        is_noted
    }
}

impl Events {
    pub(crate) fn new(journal: Arc<dyn Journal>, clock: Arc<dyn Clock>, random: SharedRandom) -> Self {
        let (queue, receiver) = mpsc::channel(QUEUE_MAX);
        let told = Told {
            marks: HashMap::new(),
            untold: BTreeSet::new(),
            is_new: false,
            last: None,
            queue,
            queued: 0,
        };
        Self {
            journal,
            clock,
            random,
            told: Mutex::new(told),
            queue: tokio::sync::Mutex::new(receiver),
            written: watch::Sender::new(None),
            noted: Watermark::default(),
            on_buses: Mutex::default(),
        }
    }

    /// Goes on behind what the journal has. To be called before any object is listed.
    pub(crate) async fn take_up(&self) -> Result<(), StoreError> {
        let query = JournalQuery { after: None, filter: EventFilter::default(), take: Take::Newest(1) };
        let newest = self.look(query).await?.pop().map(|event| event.id);
        let marks = self.journal.marks().await?;
        let mut told = self.told();
        (told.last, told.marks, told.is_new) = (newest, marks.objects, marks.are_new);
        drop(told);
        self.written.send_replace(newest);
        Ok(())
    }

    /// Forgets how far objects were told that are not there any more. To be called once all are listed.
    pub(crate) fn forget_gone(&self, is_there: impl Fn(&Key) -> bool) {
        let mut told = self.told();
        let mut gone: Vec<Key> = told.marks.keys().filter(|key| !is_there(key)).cloned().collect();
        gone.sort_unstable();
        for object in gone {
            told.marks.remove(&object);
            // What finds no room is found again at the next start.
            told.note(Note::Gone { object });
        }
    }

    /// If the journal is new, takes all objects for told as they were listed, for good. To be called before any is written.
    pub(crate) async fn adopt(&self) -> Result<(), StoreError> {
        let notes = {
            let mut told = self.told();
            if !std::mem::take(&mut told.is_new) {
                return Ok(());
            }
            let note = |(object, mark): (&Key, &Mark)| Note::Told {
                object: object.clone(),
                mark: *mark,
                events: vec![],
            };
            told.marks.iter().map(note).collect()
        };
        self.journal.append(notes).await?;
        self.journal.sync().await
    }

    /// Ends once all that is in the journal is on the drive.
    pub(crate) async fn sync(&self) -> Result<(), StoreError> {
        self.journal.sync().await
    }

    /// All events up to this one are on their buses; where there is none, none is.
    pub(crate) fn set_on_buses(&self, event: Option<EventId>) {
        *self.on_buses.lock().unwrap_or_else(PoisonError::into_inner) = event;
    }

    /// The newest event that is in the journal.
    pub(crate) fn newest(&self) -> Option<EventId> {
        *self.written.borrow()
    }

    /// What the journal has now.
    pub(crate) async fn look(&self, query: JournalQuery) -> Result<Vec<Event>, StoreError> {
        self.journal.read(query).await
    }

    /// Records what an object tells, which is asked what that is since it was told last; waits for nobody. To be called for each of
    /// its revisions in their order.
    pub(crate) fn tell(&self, object: &Key, tells: impl FnOnce(Option<Mark>) -> Option<Tale>) {
        let mut told = self.told();
        let Some(Tale { mark, happened }) = tells(told.marks.get(object).copied()) else {
            // It may be again as it was told to be, since it found the queue full.
            told.untold.remove(object);
            return;
        };
        if !told.is_new && !self.record(&mut told, object, mark, happened) {
            told.untold.insert(object.clone());
            return;
        }
        told.untold.remove(object);
        told.marks.insert(object.clone(), mark);
    }

    /// Puts what happened into the queue, if there is room for it.
    fn record(&self, told: &mut Told, object: &Key, mark: Mark, happened: Vec<Happened>) -> bool {
        if told.room() == 0 {
            // Nor is anything made of it in vain: the view is held meanwhile.
            return false;
        }
        let (now_ms, mut last) = (self.clock.unix_ms(), told.last);
        let event = |happened: Happened| {
            let id = EventId::following(last, now_ms, self.random.bytes());
            last = Some(id);
            happened.into_event(id)
        };
        let events: Vec<Event> = happened.into_iter().map(event).collect();
        let is_noted = told.note(Note::Told { object: object.clone(), mark, events });
        if is_noted {
            told.last = last;
        }
        is_noted
    }

    /// The objects that found the queue full, as many as there is room for now.
    pub(crate) fn untold(&self) -> Vec<Key> {
        let told = self.told();
        told.untold.iter().take(told.room()).cloned().collect()
    }

    /// An object is gone.
    pub(crate) fn gone(&self, object: &Key) {
        let mut told = self.told();
        if told.untold.remove(object) {
            error!(%object, "what happened to an object last is not on the stream of events: it could not be written");
        }
        if told.marks.remove(object).is_some() {
            // What finds no room is found at the next start.
            told.note(Note::Gone { object: object.clone() });
        }
    }

    /// Ends once the journal has what an object told, or has not had it for too long. To be called before the object is deleted: until
    /// then it is what another process would tell it by.
    pub(crate) async fn settle(&self, object: &Key) {
        let settled = async {
            loop {
                let (queued, is_told) = {
                    let told = self.told();
                    match (told.marks.contains_key(object), told.untold.contains(object)) {
                        (false, false) => return,
                        (_, is_untold) => (told.queued, !is_untold),
                    }
                };
                self.noted.reached(queued).await;
                if is_told {
                    return;
                }
                tokio::time::sleep(SETTLE_INTERVAL).await;
            }
        };
        if tokio::time::timeout(SETTLE_TIME, settled).await.is_err() {
            warn!(%object, "an object is deleted, and what it told may not be written yet");
        }
    }

    /// Writes what is recorded until `recorders` have ended, and all that they recorded then. `tell_untold` has those of
    /// [`Self::untold`] tell what they have not told.
    pub(crate) async fn write(&self, recorders: impl Future<Output = ()>, tell_untold: impl Fn()) {
        let mut queue = self.queue.lock().await;
        let mut recorders = pin!(recorders);
        let mut forget = tokio::time::interval(FORGET_INTERVAL);
        forget.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let (mut batch, mut written) = (Vec::new(), 0);
        'writing: loop {
            tokio::select! {
                biased;
                _ = forget.tick() => {
                    self.forget().await;
                    written = 0;
                }
                _ = queue.recv_many(&mut batch, BATCH_MAX) => {
                    tokio::time::sleep(GATHER_TIME).await;
                    while batch.len() < BATCH_MAX && let Ok(note) = queue.try_recv() {
                        batch.push(note);
                    }
                }
                () = &mut recorders => break,
            }
            written += batch.len();
            while !batch.is_empty() && !self.append(&mut batch).await {
                tokio::select! {
                    biased;
                    () = tokio::time::sleep(RETRY_INTERVAL) => {}
                    () = &mut recorders => break 'writing,
                }
            }
            if written >= FORGET_AFTER_NOTES {
                forget.reset_immediately();
            }
            if queue.is_empty() && !self.told().untold.is_empty() {
                tell_untold();
            }
        }
        while let Ok(note) = queue.try_recv() {
            batch.push(note);
        }
        if !batch.is_empty() {
            self.append(&mut batch).await;
        }
    }

    /// Writes a batch and empties it; whether that was done.
    async fn append(&self, batch: &mut Vec<Note>) -> bool {
        let newest = batch.iter().rev().find_map(|note| match note {
            Note::Told { events, .. } => events.last().map(|event| event.id),
            Note::Gone { .. } => None,
        });
        if let Err(error) = self.journal.append(batch.clone()).await {
            warn!(%error, notes = batch.len(), "events could not be written");
            return false;
        }
        self.noted.rise_to(self.noted.get() + batch.len() as u64);
        batch.clear();
        if newest.is_some() {
            self.written.send_replace(newest);
        }
        true
    }

    async fn forget(&self) {
        let forget = Forget {
            before_ms: self.clock.unix_ms().saturating_sub(KEPT_MS),
            events_max: KEPT_MAX,
            read_to: *self.on_buses.lock().unwrap_or_else(PoisonError::into_inner),
            unread_max: UNREAD_MAX,
        };
        match self.journal.forget(forget).await {
            Ok(0) => {}
            Ok(lost) => {
                error!(lost, "events were forgotten before they could be put on their buses: too many waited")
            }
            Err(error) => warn!(%error, "old events could not be forgotten"),
        }
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;

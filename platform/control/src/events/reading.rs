//! Reading the stream: what the journal has, page by page, and on from there.

use crate::context::Context;
use skiff_ports::journal::{EventFilter, JournalQuery, Take};
use skiff_ports::store::StoreError;
use skiff_types::{Event, EventId};
use std::sync::Arc;
use tokio::sync::watch;

/// Events that are read at a time.
const PAGE_EVENTS: u32 = 500;

/// Somebody who reads events, oldest first.
pub(crate) struct Reading {
    context: Arc<Context>,
    filter: EventFilter,
    follow: bool,
    /// How many of those that are there to begin with, until these were read.
    tail: Option<u32>,
    /// The last that was read, or is known to be left out.
    after: Option<EventId>,
    page: std::vec::IntoIter<Event>,
    written: watch::Receiver<Option<EventId>>,
}

impl Reading {
    /// Of the events that there are the last `tail` which `filter` takes, else all of these; with `follow` on with what
    /// comes.
    pub(crate) fn new(context: Arc<Context>, filter: EventFilter, tail: Option<u32>, follow: bool) -> Self {
        let written = context.events.written.subscribe();
        Self { context, filter, follow, tail, after: None, page: Vec::new().into_iter(), written }
    }

    /// Of all events behind one, and on with what comes.
    pub(crate) fn after(context: Arc<Context>, after: Option<EventId>) -> Self {
        let mut reading = Self::new(context, EventFilter::default(), None, true);
        reading.after = after;
        reading
    }

    /// The next events, as many as there are and `max` at most; waits for one. Dropped while it waits, it has read none; what it
    /// gave is not given again.
    pub(crate) async fn page(&mut self, max: usize) -> Result<Vec<Event>, StoreError> {
        let mut events = Vec::new();
        match self.next().await {
            Some(first) => events.push(first?),
            // Nobody writes any more.
            None => std::future::pending().await,
        }
        while events.len() < max {
            let Some(event) = self.page.next() else { break };
            self.after = Some(event.id);
            events.push(event);
        }
        Ok(events)
    }

    /// The next event; `None` where there are no more.
    pub(crate) async fn next(&mut self) -> Option<Result<Event, StoreError>> {
        loop {
            if let Some(event) = self.page.next() {
                self.after = Some(event.id);
                return Some(Ok(event));
            }
            // Before the journal is read: what is written after that is found the next time.
            let newest = *self.written.borrow_and_update();
            let take = self.tail.take().map_or(Take::Oldest(PAGE_EVENTS), Take::Newest);
            let query = JournalQuery { after: self.after, filter: self.filter.clone(), take };
            match self.context.events.look(query).await {
                Err(error) => return Some(Err(error)),
                Ok(events) if !events.is_empty() => self.page = events.into_iter(),
                Ok(_) if !self.follow => return None,
                Ok(_) => {
                    self.after = self.after.max(newest);
                    self.written.changed().await.ok()?;
                }
            }
        }
    }
}

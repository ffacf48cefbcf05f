//! Watches: a cursor into the mirror's order of revisions, woken when something was written.
//!
//! A watch holds no queue of its own: however slow its reader is, what was overwritten meanwhile is skipped, and what
//! was forgotten meanwhile ends it with [`StoreError::Compacted`].

use crate::mirror::{Mirror, Scan};
use futures::stream::{self, BoxStream, StreamExt};
use skiff_ports::store::{Change, Key, Revision, StoreError};
use std::collections::VecDeque;
use std::sync::{Arc, RwLock};
use tokio::sync::watch;

struct Watch {
    mirror: Arc<RwLock<Mirror>>,
    written: watch::Receiver<()>,
    prefix: Key,
    after: Revision,
    ready: VecDeque<Change>,
    at_end: bool,
}

/// Every later change below `prefix`. Fails at once if the store no longer knows them all.
pub(crate) fn watch(
    mirror: Arc<RwLock<Mirror>>,
    written: watch::Receiver<()>,
    prefix: Key,
    after: Revision,
) -> Result<BoxStream<'static, Result<Change, StoreError>>, StoreError> {
    let mut watch = Watch { mirror, written, prefix, after, ready: VecDeque::new(), at_end: false };
    watch.look()?;
    let changes = stream::unfold(Some(watch), async |watch| {
        let mut watch = watch?;
        match watch.next().await {
            Ok(change) => Some((Ok(change), Some(watch))),
            Err(error) => Some((Err(error), None)),
        }
    });
    Ok(changes.boxed())
}

impl Watch {
    async fn next(&mut self) -> Result<Change, StoreError> {
        loop {
            if let Some(change) = self.ready.pop_front() {
                return Ok(change);
            }
            if self.at_end {
                // The writer is gone: the mirror says that it is closed.
                let _ = self.written.changed().await;
            }
            self.look()?;
        }
    }

    fn look(&mut self) -> Result<(), StoreError> {
        self.written.mark_unchanged();
        let mirror = self.mirror.read().expect("nobody panics while holding the mirror");
        let Scan { changes, reached, at_end } = mirror.scan(&self.prefix, self.after)?;
        (self.after, self.at_end) = (reached, at_end);
        self.ready.extend(changes);
        Ok(())
    }
}

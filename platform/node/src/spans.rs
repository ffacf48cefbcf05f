//! Records of spans on their way to who exports them: what workers hand over waits here, in memory alone.
//!
//! It deliberately does not export. What always holds: no more than [`RECORDS_MAX`] wait; what there is no room for is dropped
//! and counted, as are those that a worker had no room for and those that could not be exported, and the log says so once a
//! minute at most.

use skiff_kit::clock;
use skiff_ports::spans::SpanRecord;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::timeout;

/// Records that may wait.
const RECORDS_MAX: usize = 8_192;
/// Milliseconds between two warnings that records are dropped.
const WARNING_PAUSE_MS: u64 = 60_000;

/// Where records wait. Cheap to clone.
#[derive(Debug, Clone)]
pub struct SpanQueue(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    state: Mutex<State>,
    /// Told whenever there are more, and at the end.
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<SpanRecord>,
    is_closed: bool,
    dropped: u64,
    warned_ms: Option<u64>,
}

impl SpanQueue {
    /// An empty one.
    pub(crate) fn new() -> Self {
        Self(Arc::new(Inner { state: Mutex::default(), changed: Notify::new() }))
    }

    /// Takes what a worker recorded, and how many records before these it had no room for.
    pub(crate) fn write(&self, records: Vec<SpanRecord>, lost: u64) {
        let mut state = self.lock();
        let room = RECORDS_MAX - state.waiting.len();
        let too_many = records.len().saturating_sub(room) as u64;
        state.waiting.extend(records.into_iter().take(room));
        state.drops(lost + too_many);
        drop(state);
        self.0.changed.notify_one();
    }

    /// The next records, oldest first: `most` of them, or those that are there once the first has waited for `patience`. Nothing
    /// once it is closed and all were taken. Only one may ask at a time.
    pub async fn next(&self, most: usize, patience: Duration) -> Option<Vec<SpanRecord>> {
        self.until(|state| !state.waiting.is_empty()).await;
        // Where there are fewer by then, those are it.
        let _ = timeout(patience, self.until(|state| state.waiting.len() >= most)).await;
        let mut state = self.lock();
        let count = state.waiting.len().min(most);
        let records: Vec<SpanRecord> = state.waiting.drain(..count).collect();
        (!records.is_empty()).then_some(records)
    }

    /// So many records that were taken could not be exported.
    pub fn count_dropped(&self, records: u64) {
        self.lock().drops(records);
    }

    /// How many records were dropped since the start, wherever that was.
    pub fn dropped_count(&self) -> u64 {
        self.lock().dropped
    }

    /// Nothing more will come. What is left when nobody takes it any more counts as dropped.
    pub fn close(&self) {
        self.lock().is_closed = true;
        self.0.changed.notify_one();
    }

    /// Takes what is left, and counts it as dropped.
    pub fn drop_rest(&self) {
        let mut state = self.lock();
        let left = std::mem::take(&mut state.waiting).len() as u64;
        state.drops(left);
    }

    async fn until(&self, holds: impl Fn(&State) -> bool) {
        while !self.is(&holds) {
            self.0.changed.notified().await;
        }
    }

    fn is(&self, holds: impl Fn(&State) -> bool) -> bool {
        let state = self.lock();
        state.is_closed || holds(&state)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().expect("no holder panics")
    }
}

impl State {
    fn drops(&mut self, count: u64) {
        if count == 0 {
            return;
        }
        self.dropped += count;
        let now_ms = clock::unix_ms();
        if self.warned_ms.is_none_or(|warned_ms| now_ms.saturating_sub(warned_ms) >= WARNING_PAUSE_MS) {
            self.warned_ms = Some(now_ms);
            let dropped = self.dropped;
            tracing::warn!(dropped, "spans can't be exported as they come: some were dropped");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skiff_ports::spans::HttpVersion;
    use tokio::time::Instant;

    const PATIENCE: Duration = Duration::from_millis(50);

    fn records(ids: std::ops::Range<u64>) -> Vec<SpanRecord> {
        let record = |id: u64| SpanRecord {
            trace_id: 1,
            span_id: id,
            parent_id: None,
            began_at_ns: 1,
            ended_at_ns: 2,
            call: None,
            method: "GET".to_owned(),
            is_tls: false,
            host: String::new(),
            path: "/".to_owned(),
            version: HttpVersion::Http2,
            client: [127, 0, 0, 1].into(),
            user_agent: None,
            request_id: String::new(),
            listener: "http".parse().unwrap(),
            decided_by: None,
            target_group: None,
            status: None,
            error: None,
            received_bytes: 0,
            sent_bytes: 0,
        };
        ids.map(record).collect()
    }

    #[tokio::test]
    async fn records_come_in_order_and_no_more_of_them_than_are_asked_for() {
        let queue = SpanQueue::new();
        queue.write(records(0..5), 0);
        assert_eq!(queue.next(3, PATIENCE).await, Some(records(0..3)));
        let started = Instant::now();
        assert_eq!(queue.next(3, PATIENCE).await, Some(records(3..5)));
        assert!(started.elapsed() >= PATIENCE, "it waits for more");
        let asking = tokio::spawn({
            let queue = queue.clone();
            async move { queue.next(3, Duration::MAX).await }
        });
        for id in 5..8 {
            tokio::task::yield_now().await;
            queue.write(records(id..id + 1), 0);
        }
        assert_eq!(asking.await.unwrap(), Some(records(5..8)), "enough of them are waited for no longer");
        assert_eq!(queue.dropped_count(), 0);
    }

    #[tokio::test]
    async fn what_there_is_no_room_for_is_counted() {
        let (queue, most) = (SpanQueue::new(), RECORDS_MAX as u64);
        queue.write(records(0..most - 1), 4);
        queue.write(records(most - 1..most + 2), 0);
        assert_eq!(queue.dropped_count(), 4 + 2);
        assert_eq!(queue.next(RECORDS_MAX, PATIENCE).await, Some(records(0..most)));
        queue.count_dropped(3);
        queue.write(records(7..8), 0);
        assert_eq!((queue.dropped_count(), queue.next(9, PATIENCE).await), (9, Some(records(7..8))));
    }

    #[tokio::test]
    async fn once_it_is_closed_the_rest_comes_at_once_and_then_nothing() {
        let queue = SpanQueue::new();
        queue.write(records(0..3), 0);
        queue.close();
        assert_eq!(queue.next(2, Duration::MAX).await, Some(records(0..2)));
        assert_eq!(queue.next(2, Duration::MAX).await, Some(records(2..3)));
        assert_eq!(queue.next(2, Duration::MAX).await, None);
        queue.write(records(3..5), 0);
        queue.drop_rest();
        assert_eq!((queue.next(2, Duration::MAX).await, queue.dropped_count()), (None, 2));
    }
}

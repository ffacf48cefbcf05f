//! The queues in memory, as far as one consumer needs them: messages that are in sight, and such that are out with who received
//! them until their time is over. They outlive the control plane, as the disk does; what was out comes again when one starts.
//!
//! It deliberately knows no order, no delay and no dead letters: the queues' engine has tests of its own.
//!
//! What always holds: a message is deleted once a task has said that it is done, and not before; that is checked at each.

use crate::checker::Checker;
use async_trait::async_trait;
use skiff_kit::Watermark;
use skiff_ports::catalog::QueueRef;
use skiff_ports::queues::{
    Message, MessageError, NewMessage, QueueFailure, QueueStats, Queues, Receipt, RedriveTo, Redriven, Sent,
};
use skiff_types::ResourceId;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// When a message was sent, in milliseconds since 1970: nothing goes by it here.
const SENT_AT_MS: u64 = 1_800_000_000_000;

/// The queues.
pub(crate) struct MemoryQueues {
    checker: Arc<Checker>,
    queues: Mutex<BTreeMap<ResourceId, Kept>>,
    /// Moves on whenever a message may have come into sight.
    moved: Watermark,
}

/// One queue.
#[derive(Default)]
struct Kept {
    visible: VecDeque<Message>,
    /// Messages that are out, each with until when.
    out: Vec<(Instant, Message)>,
    sent: u64,
    received: u64,
    deleted: u64,
}

impl Kept {
    /// What was out for too long is in sight again.
    fn look(&mut self) {
        let now = Instant::now();
        let (due, out): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.out).into_iter().partition(|(until, _)| *until <= now);
        self.out = out;
        self.visible.extend(due.into_iter().map(|(_, message)| message));
    }

    fn take(&mut self, max: usize, visibility: Duration) -> Vec<Message> {
        self.look();
        let count = max.min(self.visible.len());
        let mut messages: Vec<Message> = self.visible.drain(..count).collect();
        for message in &mut messages {
            message.receives += 1;
            self.received += 1;
            message.receipt = Receipt(format!("r-{}", self.received));
        }
        let until = Instant::now() + visibility;
        self.out.extend(messages.iter().map(|message| (until, message.clone())));
        messages
    }

    /// Where a message is among those that are out, by its latest receive.
    fn place_of(&self, receipt: &Receipt) -> Result<usize, MessageError> {
        self.out.iter().position(|(_, message)| message.receipt == *receipt).ok_or(MessageError::Stale)
    }
}

impl MemoryQueues {
    pub(crate) fn new(checker: Arc<Checker>) -> Self {
        Self { checker, queues: Mutex::default(), moved: Watermark::default() }
    }

    /// Another control plane starts: what was out with the last one is in sight again.
    pub(crate) fn begin_life(&self) {
        for queue in self.kept().values_mut() {
            let out = std::mem::take(&mut queue.out);
            queue.visible.extend(out.into_iter().map(|(_, message)| message));
        }
        self.moved.rise();
    }

    /// How many messages are not done.
    pub(crate) fn backlog(&self) -> usize {
        self.kept().values().map(|queue| queue.visible.len() + queue.out.len()).sum()
    }

    /// When the next message comes into sight by itself.
    fn next_in_sight(&self, queue: ResourceId) -> Option<Instant> {
        self.kept().get(&queue)?.out.iter().map(|(until, _)| *until).min()
    }

    /// Waits until something may be in sight, but no longer than until this time.
    async fn wait(&self, queue: ResourceId, moved: u64, limit: Option<Instant>) {
        let next = self.next_in_sight(queue).into_iter().chain(limit).min();
        let over = async {
            match next {
                Some(next) => tokio::time::sleep_until(next).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = self.moved.reached(moved + 1) => {}
            () = over => {}
        }
    }

    fn kept(&self) -> MutexGuard<'_, BTreeMap<ResourceId, Kept>> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Queues for MemoryQueues {
    async fn send(
        &self,
        queue: &QueueRef,
        messages: Vec<NewMessage>,
    ) -> Result<Vec<Result<Sent, MessageError>>, QueueFailure> {
        let mut queues = self.kept();
        let kept = queues.entry(queue.id).or_default();
        let mut sent = Vec::new();
        for NewMessage { body, attributes, group, .. } in messages {
            kept.sent += 1;
            let (id, sequence) = (format!("{:032x}", kept.sent), kept.sent);
            kept.visible.push_back(Message {
                id: id.clone(),
                sequence,
                receipt: Receipt(String::new()),
                body,
                attributes,
                group,
                sent_at_ms: SENT_AT_MS,
                receives: 0,
                dead_letter_source: None,
            });
            sent.push(Ok(Sent { id, sequence, is_duplicate: false }));
        }
        drop(queues);
        self.moved.rise();
        Ok(sent)
    }

    async fn receive(
        &self,
        queue: &QueueRef,
        max: usize,
        visibility: Option<Duration>,
        wait: Duration,
    ) -> Result<Vec<Message>, QueueFailure> {
        let visibility = visibility.unwrap_or(queue.spec.visibility_timeout.duration());
        let limit = Instant::now() + wait;
        loop {
            let moved = self.moved.get();
            let messages = self.kept().entry(queue.id).or_default().take(max, visibility);
            if !messages.is_empty() || Instant::now() >= limit {
                return Ok(messages);
            }
            self.wait(queue.id, moved, Some(limit)).await;
        }
    }

    async fn delete(
        &self,
        queue: &QueueRef,
        receipts: Vec<Receipt>,
    ) -> Result<Vec<Result<(), MessageError>>, QueueFailure> {
        let mut queues = self.kept();
        let kept = queues.entry(queue.id).or_default();
        let mut deleted = Vec::new();
        for receipt in receipts {
            deleted.push(kept.place_of(&receipt).map(|place| {
                let (_, message) = kept.out.remove(place);
                kept.deleted += 1;
                self.checker.deleted_message(&message.id);
            }));
        }
        Ok(deleted)
    }

    async fn change_visibility(
        &self,
        queue: &QueueRef,
        changes: Vec<(Receipt, Duration)>,
    ) -> Result<Vec<Result<(), MessageError>>, QueueFailure> {
        let mut queues = self.kept();
        let kept = queues.entry(queue.id).or_default();
        let mut changed = Vec::new();
        for (receipt, time) in changes {
            changed.push(kept.place_of(&receipt).map(|place| kept.out[place].0 = Instant::now() + time));
        }
        kept.look();
        drop(queues);
        self.moved.rise();
        Ok(changed)
    }

    async fn give_back(
        &self,
        queue: &QueueRef,
        messages: Vec<(Receipt, Duration)>,
    ) -> Result<Vec<Result<(), MessageError>>, QueueFailure> {
        let mut queues = self.kept();
        let kept = queues.entry(queue.id).or_default();
        let mut given_back = Vec::new();
        for (receipt, time) in messages {
            given_back.push(kept.place_of(&receipt).map(|place| {
                let (until, message) = &mut kept.out[place];
                *until = Instant::now() + time;
                message.receives -= 1;
            }));
        }
        kept.look();
        drop(queues);
        self.moved.rise();
        Ok(given_back)
    }

    /// There is no dead-letter queue: they come again.
    async fn bury(
        &self,
        _: &QueueRef,
        receipts: Vec<Receipt>,
    ) -> Result<Vec<Result<(), MessageError>>, QueueFailure> {
        Ok(receipts.into_iter().map(|_| Ok(())).collect())
    }

    async fn purge(&self, queue: &QueueRef) -> Result<u64, QueueFailure> {
        let kept = self.kept().remove(&queue.id).unwrap_or_default();
        Ok((kept.visible.len() + kept.out.len()) as u64)
    }

    async fn redrive(&self, _: &QueueRef, _: RedriveTo<'_>, _: u64) -> Result<Redriven, QueueFailure> {
        Ok(Redriven::default())
    }

    fn stats(&self, queue: &QueueRef) -> QueueStats {
        let mut queues = self.kept();
        let Some(kept) = queues.get_mut(&queue.id) else { return QueueStats::default() };
        kept.look();
        let (visible, in_flight) = (kept.visible.len() as u64, kept.out.len() as u64);
        QueueStats {
            visible,
            in_flight,
            oldest_sent_at_ms: (visible + in_flight > 0).then_some(SENT_AT_MS),
            sent: kept.sent,
            received: kept.received,
            deleted: kept.deleted,
            ..QueueStats::default()
        }
    }

    async fn ready(&self, queue: &QueueRef) {
        loop {
            let moved = self.moved.get();
            let is_in_sight = self.kept().get_mut(&queue.id).is_some_and(|kept| {
                kept.look();
                !kept.visible.is_empty()
            });
            if is_in_sight {
                return;
            }
            self.wait(queue.id, moved, None).await;
        }
    }

    async fn drop_queue(&self, queue: ResourceId) -> Result<(), QueueFailure> {
        self.kept().remove(&queue);
        Ok(())
    }

    fn queues(&self) -> Vec<ResourceId> {
        self.kept().keys().copied().collect()
    }
}

//! Queues: without order among groups, and without delays.

use crate::MemoryData;
use async_trait::async_trait;
use skiff_ports::catalog::QueueRef;
use skiff_ports::queues::{
    Message, MessageError, NewMessage, QueueFailure, QueueStats, Queues, Receipt, RedriveTo, Redriven, Sent,
};
use skiff_types::ResourceId;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

impl MemoryData {
    /// Takes messages that are in sight.
    fn take(&self, queue: ResourceId, max: usize) -> Vec<Message> {
        let mut kept = self.kept();
        let kept = kept.queues.entry(queue).or_default();
        let count = max.min(kept.visible.len());
        let mut messages: Vec<Message> = kept.visible.drain(..count).collect();
        messages.iter_mut().for_each(|message| message.receives += 1);
        kept.in_flight.extend(messages.iter().cloned());
        kept.stats.received += messages.len() as u64;
        messages
    }
}

#[async_trait]
impl Queues for MemoryData {
    async fn send(
        &self,
        queue: &QueueRef,
        messages: Vec<NewMessage>,
    ) -> Result<Vec<Result<Sent, MessageError>>, QueueFailure> {
        let mut kept = self.kept();
        let kept = kept.queues.entry(queue.id).or_default();
        let sent = messages.into_iter().map(|NewMessage { body, attributes, group, .. }| {
            if queue.spec.order.is_fifo() && group.is_none() {
                return Err(MessageError::Invalid(
                    "a message of a FIFO queue has a group: name one".to_owned(),
                ));
            }
            kept.stats.sent += 1;
            let sequence = kept.stats.sent;
            let (id, receipt) = (format!("{sequence:032x}"), Receipt(format!("r-{sequence}")));
            let (sent_at_ms, receives) = (1_000, 0);
            let dead_letter_source = None;
            kept.visible.push(Message {
                id: id.clone(),
                sequence,
                receipt,
                body,
                attributes,
                group,
                sent_at_ms,
                receives,
                dead_letter_source,
            });
            Ok(Sent { id, sequence, is_duplicate: false })
        });
        let sent = sent.collect();
        self.news.notify_waiters();
        Ok(sent)
    }

    async fn receive(
        &self,
        queue: &QueueRef,
        max: usize,
        _: Option<Duration>,
        wait: Duration,
    ) -> Result<Vec<Message>, QueueFailure> {
        let came = self.news.notified();
        let messages = self.take(queue.id, max);
        if !messages.is_empty() {
            return Ok(messages);
        }
        self.waits.fetch_add(1, Relaxed);
        match tokio::time::timeout(wait, came).await {
            Ok(()) => Ok(self.take(queue.id, max)),
            Err(_) => Ok(vec![]),
        }
    }

    async fn delete(
        &self,
        queue: &QueueRef,
        receipts: Vec<Receipt>,
    ) -> Result<Vec<Result<(), MessageError>>, QueueFailure> {
        let mut kept = self.kept();
        let kept = kept.queues.entry(queue.id).or_default();
        let delete =
            |receipt: Receipt| match kept.in_flight.iter().position(|message| message.receipt == receipt) {
                Some(at) => {
                    kept.in_flight.remove(at);
                    kept.stats.deleted += 1;
                    Ok(())
                }
                None => Err(MessageError::Stale),
            };
        Ok(receipts.into_iter().map(delete).collect())
    }

    async fn change_visibility(
        &self,
        queue: &QueueRef,
        changes: Vec<(Receipt, Duration)>,
    ) -> Result<Vec<Result<(), MessageError>>, QueueFailure> {
        let mut kept = self.kept();
        let kept = kept.queues.entry(queue.id).or_default();
        let change = |(receipt, time): (Receipt, Duration)| {
            let at = kept.in_flight.iter().position(|message| message.receipt == receipt);
            let at = at.ok_or(MessageError::Stale)?;
            if time.is_zero() {
                let message = kept.in_flight.remove(at);
                kept.visible.push(message);
            }
            Ok(())
        };
        let changed = changes.into_iter().map(change).collect();
        self.news.notify_waiters();
        Ok(changed)
    }

    async fn give_back(
        &self,
        queue: &QueueRef,
        messages: Vec<(Receipt, Duration)>,
    ) -> Result<Vec<Result<(), MessageError>>, QueueFailure> {
        let mut kept = self.kept();
        let kept = kept.queues.entry(queue.id).or_default();
        // In sight at once, whatever its pause: no test waits for that.
        let give_back = |(receipt, _): (Receipt, Duration)| {
            let at = kept.in_flight.iter().position(|message| message.receipt == receipt);
            let message = kept.in_flight.remove(at.ok_or(MessageError::Stale)?);
            kept.visible.push(Message { receives: message.receives - 1, ..message });
            Ok(())
        };
        let given_back = messages.into_iter().map(give_back).collect();
        self.news.notify_waiters();
        Ok(given_back)
    }

    async fn bury(
        &self,
        queue: &QueueRef,
        receipts: Vec<Receipt>,
    ) -> Result<Vec<Result<(), MessageError>>, QueueFailure> {
        let mut kept = self.kept();
        let bury = |receipt: Receipt| {
            let from = kept.queues.entry(queue.id).or_default();
            let at = from.in_flight.iter().position(|message| message.receipt == receipt);
            let at = at.ok_or(MessageError::Stale)?;
            if let Some(to) = queue.dead_letter {
                let message = from.in_flight.remove(at);
                let message = Message { dead_letter_source: Some(queue.id), receives: 0, ..message };
                kept.queues.entry(to).or_default().visible.push(message);
            }
            Ok(())
        };
        Ok(receipts.into_iter().map(bury).collect())
    }

    async fn purge(&self, queue: &QueueRef) -> Result<u64, QueueFailure> {
        let kept = self.kept().queues.remove(&queue.id).unwrap_or_default();
        Ok((kept.visible.len() + kept.in_flight.len()) as u64)
    }

    async fn redrive(&self, from: &QueueRef, to: RedriveTo<'_>, max: u64) -> Result<Redriven, QueueFailure> {
        let (to_one, targets) = match to {
            RedriveTo::Queue(to) => (Some(to.id), std::slice::from_ref(to)),
            RedriveTo::Sources(sources) => (None, sources),
        };
        let mut kept = self.kept();
        let letters = std::mem::take(&mut kept.queues.entry(from.id).or_default().visible);
        let mut driven = Redriven::default();
        for letter in letters {
            let target = to_one.or(letter.dead_letter_source);
            let target = targets.iter().find(|queue| Some(queue.id) == target && driven.moved < max);
            let holds = target.map(|queue| kept.queues.entry(queue.id).or_default().visible.len() as u64);
            match target {
                Some(queue) if holds < Some(queue.spec.messages_max) => {
                    kept.queues.entry(queue.id).or_default().visible.push(letter);
                    driven.moved += 1;
                }
                other => {
                    driven.full.extend(other.map(|queue| queue.id));
                    kept.queues.entry(from.id).or_default().visible.push(letter);
                }
            }
        }
        driven.full.dedup();
        Ok(driven)
    }

    fn stats(&self, queue: &QueueRef) -> QueueStats {
        let kept = self.kept();
        kept.queues.get(&queue.id).map_or_else(QueueStats::default, |kept| QueueStats {
            visible: kept.visible.len() as u64,
            in_flight: kept.in_flight.len() as u64,
            oldest_sent_at_ms: kept.visible.first().map(|message| message.sent_at_ms),
            ..kept.stats
        })
    }

    async fn ready(&self, queue: &QueueRef) {
        loop {
            let came = self.news.notified();
            if self.kept().queues.get(&queue.id).is_some_and(|kept| !kept.visible.is_empty()) {
                return;
            }
            came.await;
        }
    }

    async fn drop_queue(&self, queue: ResourceId) -> Result<(), QueueFailure> {
        self.kept().queues.remove(&queue);
        Ok(())
    }

    fn queues(&self) -> Vec<ResourceId> {
        self.kept().queues.keys().copied().collect()
    }
}

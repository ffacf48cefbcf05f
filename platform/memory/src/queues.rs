//! Queues: without order among groups, and without delays of what is sent.
//!
//! What always holds: a receipt means one receive of one message; a message is forgotten when it is deleted, or its queue is purged
//! or gone, and by nothing else.

use crate::MemoryData;
use async_trait::async_trait;
use skiff_ports::catalog::QueueRef;
use skiff_ports::queues::{
    Message, MessageError, NewMessage, QueueFailure, QueueStats, Queues, Receipt, RedriveTo, Redriven, Sent,
};
use skiff_types::ResourceId;
use std::collections::VecDeque;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio::time::Instant;

/// When a message was sent, in milliseconds since 1970, whenever that was: nothing goes by it here.
const SENT_AT_MS: u64 = 1_800_000_000_000;

/// One queue.
#[derive(Default)]
pub(crate) struct KeptQueue {
    visible: VecDeque<Message>,
    /// Messages that are out, each with when it comes into sight again by itself, if it does.
    out: Vec<(Option<Instant>, Message)>,
    stats: QueueStats,
}

impl KeptQueue {
    /// What was out for long enough is in sight again.
    fn look(&mut self) {
        let now = Instant::now();
        let is_due = |until: &Option<Instant>| until.is_some_and(|until| until <= now);
        let (due, out): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.out).into_iter().partition(|(until, _)| is_due(until));
        self.out = out;
        self.visible.extend(due.into_iter().map(|(_, message)| message));
    }

    /// Everything that is out is in sight again.
    fn recall(&mut self) {
        self.visible.extend(self.out.drain(..).map(|(_, message)| message));
    }

    fn put(&mut self, message: NewMessage) -> Sent {
        let NewMessage { body, attributes, group, .. } = message;
        self.stats.sent += 1;
        let (id, sequence) = (format!("{:032x}", self.stats.sent), self.stats.sent);
        self.visible.push_back(Message {
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
        Sent { id, sequence, is_duplicate: false }
    }

    /// Takes messages that are in sight; they are out until this time.
    fn take(&mut self, max: usize, until: Option<Instant>) -> Vec<Message> {
        self.look();
        let count = max.min(self.visible.len());
        let mut messages: Vec<Message> = self.visible.drain(..count).collect();
        for message in &mut messages {
            message.receives += 1;
            self.stats.received += 1;
            message.receipt = Receipt(format!("r-{}", self.stats.received));
        }
        self.out.extend(messages.iter().map(|message| (until, message.clone())));
        messages
    }

    /// Forgets all messages, and says how many. No receipt or id comes again: it counts on.
    fn purge(&mut self) -> u64 {
        let count = self.visible.len() + self.out.len();
        self.visible.clear();
        self.out.clear();
        count as u64
    }

    /// All that is in sight; it is nowhere then.
    fn take_visible(&mut self) -> VecDeque<Message> {
        self.look();
        std::mem::take(&mut self.visible)
    }

    /// Where a message is among those that are out, by its latest receive.
    fn place_of(&self, receipt: &Receipt) -> Result<usize, MessageError> {
        self.out.iter().position(|(_, message)| message.receipt == *receipt).ok_or(MessageError::Stale)
    }

    /// Takes away a message that is out.
    fn take_out(&mut self, receipt: &Receipt) -> Result<Message, MessageError> {
        let place = self.place_of(receipt)?;
        Ok(self.out.remove(place).1)
    }

    /// From now on a message that is out comes into sight again at this time.
    fn hide(&mut self, receipt: &Receipt, until: Option<Instant>) -> Result<&mut Message, MessageError> {
        let place = self.place_of(receipt)?;
        let (of_message, message) = &mut self.out[place];
        *of_message = until;
        Ok(message)
    }
}

impl MemoryData {
    /// Another platform begins over what is kept: what was out with receivers of the last one is in sight again.
    pub fn recall_messages(&self) {
        self.kept().queues.values_mut().for_each(KeptQueue::recall);
        self.moved.rise();
    }

    /// How many messages are in sight or out, in all queues.
    pub fn backlog(&self) -> usize {
        self.kept().queues.values().map(|queue| queue.visible.len() + queue.out.len()).sum()
    }

    /// Does something with a queue.
    fn at<T>(&self, queue: ResourceId, act: impl FnOnce(&mut KeptQueue) -> T) -> T {
        act(self.kept().queues.entry(queue).or_default())
    }

    /// Does something with a queue by which messages may come into sight.
    fn stir<T>(&self, queue: ResourceId, act: impl FnOnce(&mut KeptQueue) -> T) -> T {
        let done = self.at(queue, |kept| {
            let done = act(kept);
            kept.look();
            done
        });
        self.moved.rise();
        done
    }

    /// Until when what goes out of sight for so long is out; nothing where it does not come again by itself.
    fn until(&self, time: Duration) -> Option<Instant> {
        (self.passes_time || time.is_zero()).then(|| Instant::now() + time)
    }

    /// When the next message comes into sight by itself.
    fn next_in_sight(&self, queue: ResourceId) -> Option<Instant> {
        self.kept().queues.get(&queue)?.out.iter().filter_map(|(until, _)| *until).min()
    }

    /// Waits until something may be in sight, but no longer than until `limit`.
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
}

#[async_trait]
impl Queues for MemoryData {
    async fn send(
        &self,
        queue: &QueueRef,
        messages: Vec<NewMessage>,
    ) -> Result<Vec<Result<Sent, MessageError>>, QueueFailure> {
        let is_fifo = queue.spec.order.is_fifo();
        Ok(self.stir(queue.id, |kept| {
            let send = |message: NewMessage| match is_fifo && message.group.is_none() {
                true => {
                    Err(MessageError::Invalid("a message of a FIFO queue has a group: name one".to_owned()))
                }
                false => Ok(kept.put(message)),
            };
            messages.into_iter().map(send).collect()
        }))
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
            let messages = self.at(queue.id, |kept| kept.take(max, self.until(visibility)));
            if !messages.is_empty() || Instant::now() >= limit {
                return Ok(messages);
            }
            self.waits.fetch_add(1, Relaxed);
            self.wait(queue.id, moved, Some(limit)).await;
        }
    }

    async fn delete(
        &self,
        queue: &QueueRef,
        receipts: Vec<Receipt>,
    ) -> Result<Vec<Result<(), MessageError>>, QueueFailure> {
        Ok(self.at(queue.id, |kept| {
            let delete = |receipt: &Receipt| {
                kept.take_out(receipt).map(|message| {
                    kept.stats.deleted += 1;
                    if let Some(on_delete) = &self.on_delete {
                        on_delete(&message.id);
                    }
                })
            };
            receipts.iter().map(delete).collect()
        }))
    }

    async fn change_visibility(
        &self,
        queue: &QueueRef,
        changes: Vec<(Receipt, Duration)>,
    ) -> Result<Vec<Result<(), MessageError>>, QueueFailure> {
        Ok(self.stir(queue.id, |kept| {
            let change =
                |(receipt, time): (Receipt, Duration)| kept.hide(&receipt, self.until(time)).map(|_| ());
            changes.into_iter().map(change).collect()
        }))
    }

    async fn give_back(
        &self,
        queue: &QueueRef,
        messages: Vec<(Receipt, Duration)>,
    ) -> Result<Vec<Result<(), MessageError>>, QueueFailure> {
        Ok(self.stir(queue.id, |kept| {
            let give_back = |(receipt, pause): (Receipt, Duration)| {
                // In sight at once where no time passes: no test waits for that.
                let pause = if self.passes_time { pause } else { Duration::ZERO };
                kept.hide(&receipt, self.until(pause)).map(|message| message.receives -= 1)
            };
            messages.into_iter().map(give_back).collect()
        }))
    }

    async fn bury(
        &self,
        queue: &QueueRef,
        receipts: Vec<Receipt>,
    ) -> Result<Vec<Result<(), MessageError>>, QueueFailure> {
        let mut kept = self.kept();
        let bury = |receipt: Receipt| {
            let from = kept.queues.entry(queue.id).or_default();
            match &queue.dead_letter {
                Some(to) => {
                    let message = from.take_out(&receipt)?;
                    let message = Message { dead_letter_source: Some(queue.id), receives: 0, ..message };
                    kept.queues.entry(to.id).or_default().visible.push_back(message);
                    Ok(())
                }
                // It comes again when its time is over.
                None => from.place_of(&receipt).map(|_| ()),
            }
        };
        let buried = receipts.into_iter().map(bury).collect();
        self.moved.rise();
        Ok(buried)
    }

    async fn purge(&self, queue: &QueueRef) -> Result<u64, QueueFailure> {
        Ok(self.at(queue.id, KeptQueue::purge))
    }

    async fn redrive(&self, from: &QueueRef, to: RedriveTo<'_>, max: u64) -> Result<Redriven, QueueFailure> {
        let (to_one, targets) = match to {
            RedriveTo::Queue(to) => (Some(to.id), std::slice::from_ref(to)),
            RedriveTo::Sources(sources) => (None, sources),
        };
        let mut kept = self.kept();
        let letters = kept.queues.entry(from.id).or_default().take_visible();
        let mut driven = Redriven::default();
        for letter in letters {
            let target = to_one.or(letter.dead_letter_source);
            let target = targets.iter().find(|queue| Some(queue.id) == target && driven.moved < max);
            let holds = target.map(|queue| kept.queues.entry(queue.id).or_default().visible.len() as u64);
            match target {
                Some(queue) if holds < Some(queue.spec.messages_max) => {
                    kept.queues.entry(queue.id).or_default().visible.push_back(letter);
                    driven.moved += 1;
                }
                other => {
                    driven.full.extend(other.map(|queue| queue.id));
                    kept.queues.entry(from.id).or_default().visible.push_back(letter);
                }
            }
        }
        driven.full.dedup();
        self.moved.rise();
        Ok(driven)
    }

    fn stats(&self, queue: &QueueRef) -> QueueStats {
        let mut kept = self.kept();
        let Some(kept) = kept.queues.get_mut(&queue.id) else { return QueueStats::default() };
        kept.look();
        let all = kept.visible.iter().chain(kept.out.iter().map(|(_, message)| message));
        QueueStats {
            visible: kept.visible.len() as u64,
            in_flight: kept.out.len() as u64,
            oldest_sent_at_ms: all.map(|message| message.sent_at_ms).min(),
            ..kept.stats
        }
    }

    async fn ready(&self, queue: &QueueRef) {
        loop {
            let moved = self.moved.get();
            let is_in_sight = self.kept().queues.get_mut(&queue.id).is_some_and(|kept| {
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
        self.kept().queues.remove(&queue);
        Ok(())
    }

    fn queues(&self) -> Vec<ResourceId> {
        self.kept().queues.keys().copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skiff_types::{QueueOrder, QueueSpec};
    use std::sync::{Arc, Mutex};

    /// How long what is received stays out of sight.
    const VISIBILITY: Duration = Duration::from_secs(6);

    fn queue() -> QueueRef {
        let spec = QueueSpec::new("default/orders".parse().unwrap(), QueueOrder::Standard);
        QueueRef { id: ResourceId::from_bytes([1; 8]), spec: Arc::new(spec), dead_letter: None }
    }

    async fn send(data: &MemoryData, bodies: &[&'static str]) {
        let message = |body: &&'static str| NewMessage { body: (*body).into(), ..NewMessage::default() };
        let sent = data.send(&queue(), bodies.iter().map(message).collect()).await.unwrap();
        assert!(sent.iter().all(Result::is_ok), "{sent:?}");
    }

    async fn receive(data: &MemoryData, wait: Duration) -> Vec<Message> {
        data.receive(&queue(), 10, Some(VISIBILITY), wait).await.unwrap()
    }

    fn counts(data: &MemoryData) -> (u64, u64) {
        let stats = data.stats(&queue());
        (stats.visible, stats.in_flight)
    }

    #[tokio::test(start_paused = true)]
    async fn where_time_passes_what_is_out_comes_again_by_itself_and_who_waits_is_given_it() {
        let data = MemoryData::in_time(|_| ());
        send(&data, &["one"]).await;
        let first = receive(&data, Duration::ZERO).await.remove(0);
        assert_eq!((first.receives, counts(&data)), (1, (0, 1)));
        let began = Instant::now();
        let second = receive(&data, 2 * VISIBILITY).await.remove(0);
        assert!((VISIBILITY..2 * VISIBILITY).contains(&began.elapsed()));
        assert_eq!((second.receives, &second.id), (2, &first.id));
        let stale = data.delete(&queue(), vec![first.receipt]).await.unwrap();
        assert_eq!(stale, [Err(MessageError::Stale)], "it was received again since");

        let pause = Duration::from_secs(1);
        data.give_back(&queue(), vec![(second.receipt, pause)]).await.unwrap();
        assert_eq!(counts(&data), (0, 1), "its pause is not over");
        let began = Instant::now();
        data.ready(&queue()).await;
        assert!((pause..2 * pause).contains(&began.elapsed()));
        assert_eq!(receive(&data, Duration::ZERO).await[0].receives, 2, "one receive did not count");
    }

    #[tokio::test(start_paused = true)]
    async fn where_no_time_passes_a_message_comes_again_when_it_is_said_to() {
        let data = MemoryData::default();
        send(&data, &["one"]).await;
        let first = receive(&data, Duration::ZERO).await.remove(0);
        tokio::time::advance(10 * VISIBILITY).await;
        assert_eq!((receive(&data, VISIBILITY).await, counts(&data)), (vec![], (0, 1)));
        data.give_back(&queue(), vec![(first.receipt, VISIBILITY)]).await.unwrap();
        assert_eq!(counts(&data), (1, 0), "no test waits for a pause");
        let second = receive(&data, Duration::ZERO).await.remove(0);
        assert_eq!(second.receives, 1);
        data.change_visibility(&queue(), vec![(second.receipt, Duration::ZERO)]).await.unwrap();
        assert_eq!(counts(&data), (1, 0));
    }

    #[tokio::test]
    async fn a_receipt_from_before_a_purge_means_nothing_after_it() {
        let data = MemoryData::default();
        send(&data, &["one"]).await;
        let before = receive(&data, Duration::ZERO).await.remove(0);
        assert_eq!((data.purge(&queue()).await.unwrap(), counts(&data)), (1, (0, 0)));
        send(&data, &["two"]).await;
        let after = receive(&data, Duration::ZERO).await.remove(0);
        assert_ne!((&after.id, &after.receipt), (&before.id, &before.receipt));
        let stale = data.delete(&queue(), vec![before.receipt]).await.unwrap();
        assert_eq!((stale, counts(&data)), (vec![Err(MessageError::Stale)], (0, 1)));
    }

    #[tokio::test]
    async fn each_message_that_is_deleted_is_told_of_once_and_the_others_come_back() {
        let deleted: Arc<Mutex<Vec<String>>> = Arc::default();
        let noted = deleted.clone();
        let data = MemoryData::in_time(move |id| noted.lock().unwrap().push(id.to_owned()));
        send(&data, &["one", "two"]).await;
        let received = receive(&data, Duration::ZERO).await;
        let receipt = || received[0].receipt.clone();
        let outcomes = data.delete(&queue(), vec![receipt(), receipt()]).await.unwrap();
        assert_eq!(outcomes, [Ok(()), Err(MessageError::Stale)]);
        assert_eq!(*deleted.lock().unwrap(), [received[0].id.as_str()]);
        data.bury(&queue(), vec![received[1].receipt.clone()]).await.unwrap();
        assert_eq!((data.backlog(), counts(&data)), (1, (0, 1)), "there is no dead-letter queue");
        data.recall_messages();
        assert_eq!((data.backlog(), counts(&data)), (1, (1, 0)));
        assert_eq!(data.stats(&queue()).deleted, 1);
    }
}

//! Moving messages from queue to queue: dead letters, and back.
//!
//! Both queues lie in one log, so a move is one record, and a message is never in both or in none. What says it stays where
//! it is, and keeps its id and when it was sent.
//!
//! A queue that is full takes no dead letters: they stay where they are, and come again until it has room. Nor does one that is
//! full take any back: they stay in the dead-letter queue.

use super::engine::{Engine, How, failure, outcome};
use super::groups::GroupNumber;
use super::queue::{Place, Slot};
use super::record::{Record, encode};
use super::state::State;
use crate::log::LogError;
use skiff_ports::catalog::QueueRef;
use skiff_ports::queues::{QueueFailure, RedriveTo, Redriven};
use skiff_types::ResourceId;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tokio::sync::oneshot;

/// Messages that move in one step.
const STEP_MESSAGES_MAX: u64 = 1_000;
/// Messages that are looked at in one step.
const STEP_LOOKED_AT_MAX: usize = 20_000;

/// How long what could not be moved stays out of sight, in milliseconds, so that a full disk is not asked at once again.
pub(super) const STAY_MS: u64 = 1_000;

/// The answer to a move: how many moved.
type Moving = oneshot::Receiver<Result<u64, LogError>>;

impl Engine {
    /// Writes that messages go to another queue, which are on their way out of this one; where they are in sight once that is
    /// written.
    pub(super) fn begin_move(
        self: &Arc<Self>,
        state: &mut State,
        from: ResourceId,
        to: ResourceId,
        is_dead: bool,
        sequences: Vec<u64>,
    ) -> Result<Moving, LogError> {
        let until_ms = self.now_ms() + STAY_MS;
        let target = state.queue(to);
        let first = target.newest + 1;
        let count = sequences.len() as u64;
        target.newest += count;
        target.pending += count;
        let messages: Vec<_> = sequences.iter().copied().zip(first..).collect();
        let moved =
            Record::Moved { from: from.to_bytes(), to: to.to_bytes(), is_dead, messages: messages.clone() };
        // A dead letter that is lost on its way is found to be one again.
        let how = if is_dead { How::IN_ORDER } else { How::FREEING };
        let answer = self.write(vec![encode(&moved, &[])], how, move |state, outcome| {
            arrived(state, to, count);
            match outcome {
                Ok(_) => {
                    state.carry_over(from, to, is_dead, &messages);
                    for id in [from, to] {
                        if let Some(queue) = state.queues.get(&id) {
                            queue.wake();
                        }
                    }
                    Ok(count)
                }
                Err(error) => {
                    stay(state, from, messages.iter().map(|(sequence, _)| *sequence), until_ms);
                    Err(error)
                }
            }
        });
        if answer.is_err() {
            arrived(state, to, count);
            stay(state, from, sequences, until_ms);
        }
        answer
    }

    /// See [`skiff_ports::queues::Queues::redrive`].
    pub(super) async fn redrive(
        self: &Arc<Self>,
        from: &QueueRef,
        to: RedriveTo<'_>,
        max: u64,
    ) -> Result<Redriven, QueueFailure> {
        check_targets(from, to)?;
        let mut drive = Redrive::new(to);
        let (mut moved, mut failed) = (0, None);
        while moved < max && failed.is_none() && !drive.is_over {
            let (answers, refused) = self.begin_step(from, &mut drive, STEP_MESSAGES_MAX.min(max - moved));
            failed = refused.map(failure);
            if answers.is_empty() {
                // Many were looked at: others have their turn in between.
                tokio::task::yield_now().await;
            }
            for answer in answers {
                match outcome(answer).await {
                    Ok(count) => moved += count,
                    Err(error) => failed = Some(error),
                }
            }
        }
        match failed {
            Some(error) if moved == 0 => Err(error),
            other => Ok(Redriven { moved, full: drive.full.into_iter().collect(), failure: other }),
        }
    }

    /// Begins to move up to `most` messages; the answers, and why no more were begun.
    fn begin_step(
        self: &Arc<Self>,
        from: &QueueRef,
        drive: &mut Redrive,
        most: u64,
    ) -> (Vec<Moving>, Option<LogError>) {
        let now_ms = self.now_ms();
        let mut state = self.lock();
        state.current(from, now_ms);
        let by_target = drive.pick(&state, from.id, most);
        let mut answers = Vec::new();
        for (target, sequences) in by_target {
            let current = state.queue(from.id);
            for sequence in &sequences {
                current.put(*sequence, Place::Leaving, 0);
            }
            match self.begin_move(&mut state, from.id, target, false, sequences) {
                Ok(answer) => answers.push(answer),
                Err(error) => return (answers, Some(error)),
            }
        }
        (answers, None)
    }
}

/// Refuses targets to which messages of a queue can't go.
fn check_targets(from: &QueueRef, to: RedriveTo<'_>) -> Result<(), QueueFailure> {
    let RedriveTo::Queue(to) = to else { return Ok(()) };
    let why = if to.id == from.id {
        "messages can't be moved to the queue they are in"
    } else if to.spec.order.is_fifo() != from.spec.order.is_fifo() {
        "messages can only be moved from a FIFO queue to a FIFO queue, or from a standard one to another"
    } else {
        return Ok(());
    };
    Err(QueueFailure::Invalid(why.to_owned()))
}

/// A redrive, from step to step.
struct Redrive {
    /// Where all go; none if each goes to where it came from.
    to_one: Option<ResourceId>,
    /// Where messages may go, and how many each may hold.
    targets: BTreeMap<ResourceId, u64>,
    /// Those of them that had no room for one: they are given no more, so that no message passes one that stays.
    full: BTreeSet<ResourceId>,
    /// Groups of which a message stays, which keeps those behind it behind it.
    waiting_groups: BTreeSet<GroupNumber>,
    /// Where the next step begins.
    at: u64,
    /// The newest message as it began: what comes meanwhile is not for it, since what it moves may come back as soon.
    newest: Option<u64>,
    is_over: bool,
}

impl Redrive {
    fn new(to: RedriveTo<'_>) -> Self {
        let (to_one, targets) = match to {
            RedriveTo::Queue(to) => (Some(to.id), std::slice::from_ref(to)),
            RedriveTo::Sources(sources) => (None, sources),
        };
        let targets = targets.iter().map(|queue| (queue.id, queue.spec.messages_max)).collect();
        let (full, waiting_groups) = (BTreeSet::new(), BTreeSet::new());
        Self { to_one, targets, full, waiting_groups, at: 0, newest: None, is_over: false }
    }

    /// Which messages in sight go where in this step, up to `most` of them.
    fn pick(&mut self, state: &State, from: ResourceId, most: u64) -> BTreeMap<ResourceId, Vec<u64>> {
        let mut by_target: BTreeMap<ResourceId, Vec<u64>> = BTreeMap::new();
        let mut count = 0;
        let queue = state.queues.get(&from);
        let newest = *self.newest.get_or_insert(queue.map_or(0, |queue| queue.newest));
        let slots = queue.map(|queue| queue.slots_from(self.at));
        let slots = slots.into_iter().flatten().take_while(|(sequence, _)| *sequence <= newest);
        for (looked_at, (sequence, slot)) in slots.enumerate() {
            if count == most || looked_at == STEP_LOOKED_AT_MAX {
                self.at = sequence;
                return by_target;
            }
            let waits = slot.group != 0 && self.waiting_groups.contains(&slot.group);
            let target = self.target_of(slot).filter(|_| slot.place == Place::Visible && !waits);
            match target {
                Some(target) if self.has_room(state, target, by_target.get(&target)) => {
                    by_target.entry(target).or_default().push(sequence);
                    count += 1;
                }
                _ => {
                    self.waiting_groups.insert(slot.group);
                }
            }
            if self.to_one.is_some_and(|to| self.full.contains(&to)) {
                break;
            }
        }
        self.is_over = true;
        by_target
    }

    fn target_of(&self, slot: &Slot) -> Option<ResourceId> {
        self.to_one.or(slot.source).filter(|target| self.targets.contains_key(target))
    }

    /// Whether a target has room for one message beside those that are to go to it; if not, it is full from now on.
    fn has_room(&mut self, state: &State, target: ResourceId, picked: Option<&Vec<u64>>) -> bool {
        let there = state.queues.get(&target).map_or(0, |queue| queue.len() + queue.pending);
        let taken = there + picked.map_or(0, |sequences| sequences.len() as u64);
        let has_room = !self.full.contains(&target)
            && self.targets.get(&target).is_some_and(|messages_max| taken < *messages_max);
        if !has_room {
            self.full.insert(target);
        }
        has_room
    }
}

/// Says that so many messages are not on their way to a queue any more.
fn arrived(state: &mut State, to: ResourceId, count: u64) {
    if let Some(target) = state.queues.get_mut(&to) {
        target.pending = target.pending.saturating_sub(count);
    }
}

/// Has messages that could not be moved stay, out of sight until a time.
pub(super) fn stay(
    state: &mut State,
    from: ResourceId,
    sequences: impl IntoIterator<Item = u64>,
    until_ms: u64,
) {
    let Some(queue) = state.queues.get_mut(&from) else { return };
    for sequence in sequences {
        if queue.slot(sequence).is_some_and(|slot| slot.place == Place::Leaving) {
            queue.put(sequence, Place::Delayed, until_ms);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::Position;

    fn dead_letter(source: ResourceId) -> Slot {
        Slot {
            position: Position(0),
            sent_at_ms: 1,
            until_ms: 0,
            receives: 0,
            tag: 0,
            group: 0,
            bytes: 1,
            source: Some(source),
            place: Place::Visible,
        }
    }

    #[test]
    fn what_comes_back_while_it_goes_on_is_left_to_the_next_one() {
        let (from, to) = (ResourceId::from_bytes([9; 8]), ResourceId::from_bytes([3; 8]));
        let mut state = State::default();
        for sequence in [1, 2] {
            state.queue(from).insert(sequence, dead_letter(to));
        }
        let mut drive = Redrive::new(RedriveTo::Sources(&[]));
        drive.targets.insert(to, 10);
        assert_eq!(drive.pick(&state, from, 1), BTreeMap::from([(to, vec![1])]));
        assert!(!drive.is_over);
        // The first was rejected as soon as it was there.
        state.queue(from).remove(1);
        state.queue(from).insert(3, dead_letter(to));
        assert_eq!(drive.pick(&state, from, 10), BTreeMap::from([(to, vec![2])]));
        assert!(drive.is_over);
    }
}

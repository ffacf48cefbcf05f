//! What becomes of a batch's messages, by what their task said: a pure decision.
//!
//! What always holds: a message is deleted only if its task said that it is done; in a group, none is done before one that comes
//! again.

use skiff_ports::guest_deliveries::MessageOutcome;
use skiff_ports::queues::Message;
use skiff_types::QueueSpec;
use std::collections::BTreeMap;
use std::time::Duration;

/// What becomes of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is deleted.
    Delete,
    /// It comes again after this time.
    Hide(Duration),
    /// It comes again when its time out of sight is over.
    Leave,
    /// It goes to the dead-letter queue; why, the task said.
    Bury(String),
}

/// What becomes of each message, in their order. `outcomes` are as many as there are messages.
pub(super) fn fates(
    messages: &[Message],
    outcomes: Vec<MessageOutcome>,
    has_dead_letter_queue: bool,
) -> Vec<Fate> {
    // Groups of which a message comes again, and how that does.
    let mut waiting: BTreeMap<&str, Fate> = BTreeMap::new();
    let mut fates = Vec::with_capacity(messages.len());
    for (message, outcome) in messages.iter().zip(outcomes) {
        let group = message.group.as_deref();
        let fate = match group.and_then(|group| waiting.get(group)) {
            // The one before it is to be first again.
            Some(fate) => fate.clone(),
            None => fate(outcome, has_dead_letter_queue),
        };
        if let (Some(group), Fate::Hide(_) | Fate::Leave) = (group, &fate) {
            waiting.insert(group, fate.clone());
        }
        fates.push(fate);
    }
    fates
}

/// What becomes of a message that waits for no other.
fn fate(outcome: MessageOutcome, has_dead_letter_queue: bool) -> Fate {
    match outcome {
        MessageOutcome::Done => Fate::Delete,
        MessageOutcome::Retry { after_ms: Some(after_ms) } => {
            Fate::Hide(Duration::from_millis(after_ms).min(QueueSpec::VISIBILITY_MAX.duration()))
        }
        MessageOutcome::Reject(why) if has_dead_letter_queue => Fate::Bury(why),
        MessageOutcome::Retry { after_ms: None } | MessageOutcome::Reject(_) => Fate::Leave,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use skiff_ports::queues::Receipt;

    fn message(group: Option<&str>) -> Message {
        Message {
            id: "1".to_owned(),
            sequence: 1,
            receipt: Receipt("r".to_owned()),
            body: Default::default(),
            attributes: Default::default(),
            group: group.map(str::to_owned),
            sent_at_ms: 1,
            receives: 1,
            dead_letter_source: None,
        }
    }

    #[test]
    fn a_task_says_what_becomes_of_its_messages() {
        let outcomes = || {
            vec![
                MessageOutcome::Done,
                MessageOutcome::Retry { after_ms: Some(700) },
                MessageOutcome::Retry { after_ms: Some(u64::MAX) },
                MessageOutcome::Retry { after_ms: None },
                MessageOutcome::Reject("no".to_owned()),
            ]
        };
        let messages: Vec<Message> = outcomes().iter().map(|_| message(None)).collect();
        let most = Fate::Hide(QueueSpec::VISIBILITY_MAX.duration());
        let first = [Fate::Delete, Fate::Hide(Duration::from_millis(700)), most, Fate::Leave];
        let (fates_with, fates_without) =
            (fates(&messages, outcomes(), true), fates(&messages, outcomes(), false));
        assert_eq!(fates_with[..4], first);
        assert_eq!(fates_with[4], Fate::Bury("no".to_owned()));
        assert_eq!(fates_without[..4], first);
        assert_eq!(fates_without[4], Fate::Leave, "there is nowhere to bury it");
    }

    #[test]
    fn behind_one_that_comes_again_those_of_its_group_come_again() {
        let groups = [Some("a"), Some("b"), Some("a"), Some("b"), None, Some("a")];
        let messages: Vec<Message> = groups.into_iter().map(message).collect();
        let outcomes = vec![
            MessageOutcome::Done,
            MessageOutcome::Reject("no".to_owned()),
            MessageOutcome::Retry { after_ms: Some(7) },
            MessageOutcome::Done,
            MessageOutcome::Done,
            MessageOutcome::Done,
        ];
        let again = Fate::Hide(Duration::from_millis(7));
        let expected =
            [Fate::Delete, Fate::Bury("no".to_owned()), again.clone(), Fate::Delete, Fate::Delete, again];
        assert_eq!(fates(&messages, outcomes, true), expected);
    }

    #[test]
    fn one_that_is_rejected_and_has_nowhere_to_go_has_its_group_wait_for_it() {
        let messages: Vec<Message> = [Some("a"), Some("a"), Some("b")].into_iter().map(message).collect();
        let outcomes =
            || vec![MessageOutcome::Reject("no".to_owned()), MessageOutcome::Done, MessageOutcome::Done];
        assert_eq!(fates(&messages, outcomes(), false), [Fate::Leave, Fate::Leave, Fate::Delete]);
        let buried = Fate::Bury("no".to_owned());
        assert_eq!(fates(&messages, outcomes(), true), [buried, Fate::Delete, Fate::Delete]);
    }

    fn any_outcome() -> impl Strategy<Value = MessageOutcome> {
        prop_oneof![
            Just(MessageOutcome::Done),
            prop::option::of(0..10_u64).prop_map(|after_ms| MessageOutcome::Retry { after_ms }),
            Just(MessageOutcome::Reject("no".to_owned())),
        ]
    }

    proptest! {
        #[test]
        fn no_message_of_a_group_is_gone_while_one_before_it_comes_again(
            said in prop::collection::vec((prop::option::of(0..3_u8), any_outcome()), 0..10),
            has_dead_letter_queue in any::<bool>(),
        ) {
            let messages: Vec<Message> =
                said.iter().map(|(group, _)| message(group.map(|group| group.to_string()).as_deref())).collect();
            let outcomes: Vec<MessageOutcome> = said.iter().map(|(_, outcome)| outcome.clone()).collect();
            let fates = fates(&messages, outcomes.clone(), has_dead_letter_queue);
            prop_assert_eq!(fates.len(), messages.len());
            let comes_again = |fate: &Fate| matches!(fate, Fate::Hide(_) | Fate::Leave);
            for (at, fate) in fates.iter().enumerate() {
                prop_assert!(*fate != Fate::Delete || outcomes[at] == MessageOutcome::Done);
                let group = &messages[at].group;
                let waits = group.is_some()
                    && (0..at).any(|before| messages[before].group == *group && comes_again(&fates[before]));
                prop_assert!(!waits || comes_again(fate));
            }
        }
    }
}

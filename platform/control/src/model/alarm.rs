//! Alarms, and what Skiff notes of them: their state, what it was before, and what of that nobody has been told yet.
//!
//! It deliberately decides nothing. What always holds: an alarm of which nothing is noted is in `INSUFFICIENT_DATA` since it
//! was made; notes of one that was made anew say nothing of it.

use super::Declared;
use skiff_types::{AlarmSpec, AlarmState, QualifiedName, WebhookUrl};

/// An alarm.
pub(crate) type Alarm = Declared<AlarmSpec>;

/// What Skiff notes of an alarm.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct AlarmNotes {
    pub(crate) alarm: QualifiedName,
    /// When the alarm that they are about was created; an alarm that is created anew starts over.
    pub(crate) alarm_created_at_ms: u64,
    /// Its state.
    pub(crate) state: AlarmState,
    /// Why, for people.
    pub(crate) reason: String,
    /// The latest datapoint when it came to its state.
    pub(crate) value: Option<f64>,
    /// When that was.
    pub(crate) changed_at_ms: u64,
    /// Newest first; [`AlarmNotes::HISTORY_MAX`] at most.
    pub(crate) history: Vec<AlarmTransition>,
    /// What is to be posted yet, oldest first; [`AlarmNotes::UNDELIVERED_MAX`] at most.
    pub(crate) undelivered: Vec<Delivery>,
}

impl AlarmNotes {
    /// Why an alarm is in the state that it begins with.
    pub(crate) const NEW: &'static str = "it is new, and was not evaluated yet";
    /// Changes kept of an alarm.
    pub(crate) const HISTORY_MAX: usize = 100;
    /// Posts of an alarm that wait for whom they are for; the oldest give way.
    pub(crate) const UNDELIVERED_MAX: usize = 50;

    /// Of an alarm of which nothing was noted yet.
    pub(crate) fn new(alarm: &Alarm) -> Self {
        Self {
            alarm: alarm.spec.name.clone(),
            alarm_created_at_ms: alarm.created_at_ms,
            state: AlarmState::default(),
            reason: Self::NEW.to_owned(),
            value: None,
            changed_at_ms: alarm.created_at_ms,
            history: vec![],
            undelivered: vec![],
        }
    }

    /// Takes in a change to another state with what is to be posted of it. Gives the posts that have to give way.
    pub(crate) fn change(&mut self, transition: AlarmTransition, posts: Vec<Delivery>) -> Vec<Delivery> {
        self.state = transition.after;
        self.reason.clone_from(&transition.reason);
        self.value = transition.value;
        self.changed_at_ms = transition.at_ms;
        self.history.insert(0, transition);
        self.history.truncate(Self::HISTORY_MAX);
        self.undelivered.extend(posts);
        let too_many = self.undelivered.len().saturating_sub(Self::UNDELIVERED_MAX);
        self.undelivered.drain(..too_many).collect()
    }
}

/// A change of an alarm's state.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct AlarmTransition {
    pub(crate) at_ms: u64,
    pub(crate) before: AlarmState,
    pub(crate) after: AlarmState,
    /// Why, for people.
    pub(crate) reason: String,
    /// The latest datapoint then.
    pub(crate) value: Option<f64>,
}

/// A change that is to be posted to an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Delivery {
    /// Tells it from all others, in hexadecimal; the same at each attempt.
    pub(crate) id: String,
    pub(crate) url: WebhookUrl,
    /// What is posted: JSON.
    pub(crate) body: String,
    /// When the change was, in milliseconds since 1970.
    pub(crate) since_ms: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_noted_of_an_alarm_is_bounded() {
        let mut notes = crate::alarms::tests::notes("default/busy");
        for at_ms in 1..=200 {
            let (before, after) = match at_ms % 2 {
                0 => (AlarmState::Alarm, AlarmState::Ok),
                _ => (AlarmState::Ok, AlarmState::Alarm),
            };
            let transition = AlarmTransition {
                at_ms,
                before,
                after,
                reason: at_ms.to_string(),
                value: Some(at_ms as f64),
            };
            let url = "http://127.0.0.1:9/a".parse().unwrap();
            let post = Delivery { id: at_ms.to_string(), url, body: "{}".to_owned(), since_ms: at_ms };
            let gave_way = notes.change(transition, vec![post]);
            let expected = at_ms.checked_sub(AlarmNotes::UNDELIVERED_MAX as u64).filter(|gone| *gone > 0);
            assert_eq!(gave_way.first().map(|post| post.since_ms), expected);
        }
        assert_eq!((notes.state, notes.changed_at_ms, notes.value), (AlarmState::Ok, 200, Some(200.0)));
        assert_eq!((notes.history.len(), notes.history[0].at_ms, notes.history[99].at_ms), (100, 200, 101));
        assert_eq!((notes.undelivered.len(), notes.undelivered[0].since_ms), (50, 151));
    }
}

//! Events: what happened, in the shapes that ECS, CloudWatch and Application Auto Scaling give theirs on EventBridge.
//!
//! Nothing is kept or handed on here. What always holds: what an event is about says which type it has and where it comes
//! from; ids order as events were recorded, whatever the clock did.

mod detail;
mod word;

pub use detail::{
    AlarmMoment, AlarmStateChange, DeploymentStateChange, EventDetail, ScalingActivity, ServiceAction,
    TaskStateChange,
};
pub use word::{
    DeploymentEventName, EventLevel, EventSource, EventType, ServiceActionName, ServiceEventName,
};

use crate::text::{ParseError, serde_as_text};
use crate::{Name, Namespace, QualifiedName, TaskId};
use std::fmt;
use std::str::FromStr;

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Its id.
    pub id: EventId,
    /// When it happened, in milliseconds since 1970.
    pub at_ms: u64,
    /// The boundary that it happened in.
    pub namespace: Namespace,
    /// Whom it happened to: first the one itself, then what that is a part of.
    pub resources: Vec<Resource>,
    /// What happened: a sentence for people.
    pub message: String,
    /// What happened, for programs.
    pub detail: EventDetail,
}

impl Event {
    /// The service that it is about, or that a task is of which it is about.
    pub fn service(&self) -> Option<&Name> {
        self.resources.iter().find_map(|resource| match resource {
            Resource::Service(service) => Some(&service.name),
            Resource::Task(..) | Resource::Alarm(_) => None,
        })
    }

    /// The task that it is about.
    pub fn task(&self) -> Option<TaskId> {
        self.resources.iter().find_map(|resource| match resource {
            Resource::Task(_, task) => Some(*task),
            Resource::Service(_) | Resource::Alarm(_) => None,
        })
    }
}

/// An event's id: 32 hexadecimal digits (UUID version 7) that order as events were recorded: by the time in milliseconds,
/// then by a count within it; the rest is chance.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId([u8; 16]);

impl EventId {
    /// The largest count within a millisecond: 12 bits.
    const COUNT_MAX: u16 = 0x0fff;

    /// The id of what is recorded at `now_ms`, in milliseconds since 1970, right behind `last`; greater than that, even if
    /// the clock was put back meanwhile.
    pub fn following(last: Option<Self>, now_ms: u64, random: [u8; 8]) -> Self {
        match last {
            Some(last) if last.recorded_at_ms() >= now_ms => match last.count() {
                Self::COUNT_MAX => Self::from_parts(last.recorded_at_ms() + 1, 0, random),
                count => Self::from_parts(last.recorded_at_ms(), count + 1, random),
            },
            _ => Self::from_parts(now_ms, 0, random),
        }
    }

    fn from_parts(recorded_at_ms: u64, count: u16, random: [u8; 8]) -> Self {
        let mut bytes = [0; 16];
        bytes[..6].copy_from_slice(&recorded_at_ms.to_be_bytes()[2..]);
        bytes[6..8].copy_from_slice(&(0x7000 | count).to_be_bytes());
        bytes[8..].copy_from_slice(&random);
        bytes[8] = (bytes[8] & 0x3f) | 0x80;
        Self(bytes)
    }

    fn recorded_at_ms(self) -> u64 {
        let mut bytes = [0; 8];
        bytes[2..].copy_from_slice(&self.0[..6]);
        u64::from_be_bytes(bytes)
    }

    fn count(self) -> u16 {
        u16::from_be_bytes([self.0[6], self.0[7]]) & Self::COUNT_MAX
    }
}

impl FromStr for EventId {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let mut bytes = [0; 16];
        hex::decode_to_slice(text, &mut bytes)
            .map_err(|_| ParseError::new(text, "an event's id: 32 hexadecimal digits"))?;
        Ok(Self(bytes))
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Whom an event happened to, written as the end of the ARN that ECS gives such a thing: `task/NAMESPACE/ID`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Resource {
    /// A service.
    Service(QualifiedName),
    /// A task.
    Task(Namespace, TaskId),
    /// An alarm.
    Alarm(QualifiedName),
}

impl FromStr for Resource {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let error = || ParseError::new(text, "a resource, like \"service/default/web\"");
        let (kind, name) = text.split_once('/').ok_or_else(error)?;
        match kind {
            "service" => Ok(Self::Service(name.parse()?)),
            "task" => {
                let (namespace, id) = name.split_once('/').ok_or_else(error)?;
                Ok(Self::Task(namespace.parse()?, id.parse()?))
            }
            "alarm" => Ok(Self::Alarm(name.parse()?)),
            _ => Err(error()),
        }
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Service(name) => write!(f, "service/{name}"),
            Self::Task(namespace, id) => write!(f, "task/{namespace}/{id}"),
            Self::Alarm(name) => write!(f, "alarm/{name}"),
        }
    }
}

serde_as_text!(EventId, Resource);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_order_as_they_were_given_out() {
        let mut last = None;
        // A flood within a millisecond, the clock put back, and on again.
        let times = [vec![7; 10_000], vec![3; 10_000], vec![8, 8, 9, 1_000]].concat();
        for now_ms in times {
            let next = EventId::following(last, now_ms, [0xff; 8]);
            assert!(last < Some(next), "{last:?} before {next}");
            assert_eq!(next.to_string().parse(), Ok(next));
            last = Some(next);
        }
        assert_eq!(last.map(EventId::recorded_at_ms), Some(1_000));
    }

    #[test]
    fn an_id_is_a_uuid_of_version_7() {
        let id = EventId::following(None, 0x0193_f0c5_c000, [0xff; 8]).to_string();
        assert_eq!(id, "0193f0c5c0007000bfffffffffffffff");
        assert!("0193".parse::<EventId>().is_err());
    }

    #[test]
    fn a_resource_is_a_word_and_a_name() {
        let task = "task/shop/0193f0c5c0007000800000005e8f01b2";
        for text in ["service/default/web", task, "alarm/default/high-cpu"] {
            assert_eq!(text.parse::<Resource>().unwrap().to_string(), text);
        }
        for bad in ["", "service", "service/web", "task/0193f0c5c0007000800000005e8f01b2", "queue/default/a"]
        {
            assert!(bad.parse::<Resource>().is_err(), "{bad:?} was taken");
        }
    }
}

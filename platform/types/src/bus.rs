//! Buses, their rules and schedules, in EventBridge's words: what is to happen when something happened, or when it is time.
//!
//! It deliberately neither matches nor sends: whether a pattern takes an event, and what becomes of it, others say. A pattern is
//! kept as its user wrote it.

use crate::text::{ParseError, serde_as_text};
use crate::{LocalTime, Name, QualifiedName, Schedule, Span, WebhookUrl, Zone};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// The bus of every namespace that is there without being made.
pub const DEFAULT_BUS: &str = "default";

/// What a bus is to be like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BusSpec {
    /// Its name.
    pub name: QualifiedName,
}

/// Which events of a bus go where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventRuleSpec {
    /// Its name, in a namespace.
    pub name: QualifiedName,
    /// The bus of that namespace.
    pub bus: Name,
    /// Which events: an event pattern in EventBridge's language, as JSON.
    pub pattern: Arc<str>,
    /// Whether it takes any.
    pub enabled: bool,
    /// Where they go; each has a name of its own in the rule. [`EventRuleSpec::TARGETS_MAX`] at most.
    pub targets: Vec<EventTarget>,
}

impl EventRuleSpec {
    /// The most targets of a rule.
    pub const TARGETS_MAX: usize = 10;
    /// The longest pattern, in bytes.
    pub const PATTERN_BYTES_MAX: usize = 16 << 10;

    /// Refuses a rule that is beyond its bounds, or whose targets can't be so. Whether its pattern is one, it does not know.
    ///
    /// # Errors
    /// What is wrong with it, and what would be right.
    pub fn check(&self) -> Result<(), EventRuleError> {
        if self.pattern.len() > Self::PATTERN_BYTES_MAX {
            return Err(EventRuleError::Pattern { bytes: self.pattern.len() });
        }
        if self.targets.len() > Self::TARGETS_MAX {
            return Err(EventRuleError::Targets { count: self.targets.len() });
        }
        let mut seen = BTreeSet::new();
        for target in &self.targets {
            if !seen.insert(&target.id) {
                return Err(EventRuleError::TargetTwice { id: target.id.clone() });
            }
            target.check()?;
            if matches!(&target.to, Destination::Bus { bus } if *bus == self.bus) {
                return Err(EventRuleError::OwnBus { bus: self.bus.clone() });
            }
        }
        Ok(())
    }
}

/// Why no rule, target or schedule of events can be so; a sentence for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EventRuleError {
    /// Too long a pattern.
    #[error(
        "the pattern has {bytes} bytes; the most is {}: make several rules of it",
        EventRuleSpec::PATTERN_BYTES_MAX
    )]
    Pattern {
        /// How long it is.
        bytes: usize,
    },
    /// Too many targets.
    #[error(
        "a rule with {count} targets has too many, {} are the most: make another rule with the same pattern",
        EventRuleSpec::TARGETS_MAX
    )]
    Targets {
        /// How many it has.
        count: usize,
    },
    /// Two targets of one name.
    #[error("two targets of the rule are called {id}: give each a name of its own")]
    TargetTwice {
        /// Which name.
        id: Name,
    },
    /// It puts what it takes from a bus on the same bus.
    #[error(
        "the rule takes events from the bus {bus}, and a target of it puts them there again: name another bus"
    )]
    OwnBus {
        /// Which bus.
        bus: Name,
    },
    /// It is tried for too long, or too short.
    #[error(
        "a delivery is tried for {asked}; it can be from {} to {}",
        RetryPolicy::AGE_MIN,
        RetryPolicy::AGE_MAX
    )]
    Age {
        /// What was asked for.
        asked: Span,
    },
    /// It is tried too often.
    #[error("a delivery is tried again {asked} times; it can be up to {}", RetryPolicy::RETRIES_MAX)]
    Retries {
        /// What was asked for.
        asked: u32,
    },
    /// Too many deliveries at once, or none.
    #[error("{asked} deliveries of a target at once; it can be from 1 to {}", EventTarget::CONCURRENCY_MAX)]
    Concurrency {
        /// What was asked for.
        asked: u32,
    },
    /// It is waited for too long, or too short.
    #[error(
        "an answer is waited for {asked}; it can be from {} to {}",
        EventTarget::TIMEOUT_MIN,
        EventTarget::TIMEOUT_MAX
    )]
    Timeout {
        /// What was asked for.
        asked: Span,
    },
    /// Nothing answers there.
    #[error("only a service and an address outside have a timeout: nothing else answers; leave it out")]
    NoAnswer,
    /// A path that is none.
    #[error(
        "the path {path:?} of a service begins with no slash, or is longer than {} bytes: give one like \"/events\"",
        EventTarget::PATH_BYTES_MAX
    )]
    Path {
        /// What was asked for.
        path: String,
    },
}

/// A time at which something is to happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventScheduleSpec {
    /// Its name, in a namespace.
    pub name: QualifiedName,
    /// When.
    pub schedule: Schedule,
    /// In whose time.
    pub zone: Zone,
    /// Not before this, in `zone`.
    pub start: Option<LocalTime>,
    /// Not at or after this, in `zone`.
    pub end: Option<LocalTime>,
    /// What becomes of times that passed while the platform was down, or the schedule was disabled.
    pub missed: Missed,
    /// Whether it is due at all.
    pub enabled: bool,
    /// What happens then.
    pub target: EventTarget,
}

/// What becomes of times of a schedule that passed while nobody looked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Missed {
    /// Nothing.
    Skip,
    /// The last of them happens, late.
    #[default]
    Once,
    /// Each of them happens, late, in their order; of more than [`Missed::ALL_MAX`] the last so many.
    All,
}

impl Missed {
    /// Times that are made up for at once, at most.
    pub const ALL_MAX: usize = 10_000;
    /// All of them.
    const ALL: [Self; 3] = [Self::Skip, Self::Once, Self::All];
}

impl fmt::Display for Missed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Skip => "skip",
            Self::Once => "once",
            Self::All => "all",
        })
    }
}

impl FromStr for Missed {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let found = Self::ALL.into_iter().find(|missed| missed.to_string() == text);
        found.ok_or_else(|| ParseError::new(text, "what becomes of missed times: skip, once or all"))
    }
}

serde_as_text!(Missed);

/// Where an event goes, as what, and how hard it is tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventTarget {
    /// Its name among those of its rule.
    pub id: Name,
    /// Where to.
    pub to: Destination,
    /// What is sent there.
    pub input: Input,
    /// How often it is tried again.
    pub retry: RetryPolicy,
    /// The queue of its namespace that takes what could not be delivered; none to forget it.
    pub dead_letter: Option<Name>,
    /// Deliveries of this target that are under way at once, at most.
    pub concurrency: u32,
    /// How long a service or an address outside has to answer one try, waking and connecting included; then the try failed. Of all
    /// others, [`EventTarget::TIMEOUT`]: nothing is waited for there.
    pub timeout: Span,
}

impl EventTarget {
    /// Deliveries under way at once where its user says nothing.
    pub const CONCURRENCY: u32 = 10;
    /// The most that may be asked for.
    pub const CONCURRENCY_MAX: u32 = 1_000;
    /// How long an answer is waited for where its user says nothing: what hangs keeps its place among those under way no longer.
    pub const TIMEOUT: Span = Span::from_ms(60_000);
    /// The shortest that may be asked for.
    pub const TIMEOUT_MIN: Span = Span::from_ms(1_000);
    /// The longest: as long as the longest call of a guest, as at AWS Lambda.
    pub const TIMEOUT_MAX: Span = Span::from_ms(900_000);
    /// The longest path of a service, in bytes.
    pub const PATH_BYTES_MAX: usize = 2_048;

    /// Refuses a target that is beyond its bounds. Whether its paths into the event are some, it does not know.
    ///
    /// # Errors
    /// What is wrong with it, and what would be right.
    pub fn check(&self) -> Result<(), EventRuleError> {
        let RetryPolicy { age_max, retries_max } = self.retry;
        if age_max < RetryPolicy::AGE_MIN || age_max > RetryPolicy::AGE_MAX {
            return Err(EventRuleError::Age { asked: age_max });
        }
        if retries_max > RetryPolicy::RETRIES_MAX {
            return Err(EventRuleError::Retries { asked: retries_max });
        }
        if !(1..=Self::CONCURRENCY_MAX).contains(&self.concurrency) {
            return Err(EventRuleError::Concurrency { asked: self.concurrency });
        }
        if self.timeout < Self::TIMEOUT_MIN || self.timeout > Self::TIMEOUT_MAX {
            return Err(EventRuleError::Timeout { asked: self.timeout });
        }
        if !self.to.answers() && self.timeout != Self::TIMEOUT {
            return Err(EventRuleError::NoAnswer);
        }
        match &self.to {
            Destination::Service { path, .. } if !is_path(path) => {
                Err(EventRuleError::Path { path: path.chars().take(120).collect() })
            }
            Destination::Service { .. }
            | Destination::Task(_)
            | Destination::Queue { .. }
            | Destination::Bus { .. }
            | Destination::Webhook { .. } => Ok(()),
        }
    }
}

/// Whether it can stand behind a host in a request.
fn is_path(path: &str) -> bool {
    path.starts_with('/')
        && path.len() <= EventTarget::PATH_BYTES_MAX
        && path.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Where an event goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// A task is run with it, once for each event.
    Task(TaskTarget),
    /// A service has it: by its event export, else by HTTP, as a CloudEvent in binary mode.
    Service {
        /// Which, of the same namespace.
        service: Name,
        /// Where on it, if it is spoken to by HTTP.
        path: Arc<str>,
    },
    /// It is sent to a queue.
    Queue {
        /// Which, of the same namespace.
        queue: Name,
        /// Of a FIFO queue: its message group, as text or as a path into the event (`$.detail.order`).
        group: Option<Arc<str>>,
    },
    /// It is put on another bus.
    Bus {
        /// Which, of the same namespace.
        bus: Name,
    },
    /// It is posted to an address outside, as a CloudEvent in structured mode where `input` is the whole event.
    Webhook {
        /// Where to.
        url: WebhookUrl,
    },
}

impl Destination {
    /// Whether somebody answers there who may take long, or for ever. What is run, sent or put is kept by the platform itself.
    pub fn answers(&self) -> bool {
        match self {
            Self::Service { .. } | Self::Webhook { .. } => true,
            Self::Task(_) | Self::Queue { .. } | Self::Bus { .. } => false,
        }
    }
}

/// A task that is run for an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskTarget {
    /// The family of its definition, of the same namespace.
    pub family: Name,
    /// Which revision; the latest if none is said.
    pub revision: Option<u32>,
    /// Arguments in the place of the definition's; a path into the event (`$.detail.object.key`) is replaced by what lies
    /// there. None to take the definition's.
    pub arguments: Option<Vec<String>>,
    /// Variables beside the definition's; likewise.
    pub environment: BTreeMap<String, String>,
}

/// What a target is sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Input {
    /// The event as it is.
    #[default]
    Event,
    /// What lies in the event by this path, like `$.detail`.
    Path(Arc<str>),
    /// Always this JSON.
    Constant(Arc<str>),
    /// A template with what lies at paths of the event put in.
    Template(Template),
}

/// A template and what is put into it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    /// By the name that stands in the template as `<name>`.
    pub paths: BTreeMap<String, String>,
    /// Text or JSON with such names.
    pub text: Arc<str>,
}

/// How often a delivery is tried again; waits grow exponentially, with jitter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Not once the event is older than this.
    pub age_max: Span,
    /// Not more often than this after the first time.
    pub retries_max: u32,
}

impl RetryPolicy {
    /// The longest age that may be asked for, as at AWS; and the default.
    pub const AGE_MAX: Span = Span::from_ms(86_400_000);
    /// The shortest.
    pub const AGE_MIN: Span = Span::from_ms(60_000);
    /// The most retries that may be asked for, as at AWS; and the default.
    pub const RETRIES_MAX: u32 = 185;
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { age_max: Self::AGE_MAX, retries_max: Self::RETRIES_MAX }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(id: &str, to: Destination) -> EventTarget {
        EventTarget {
            id: id.parse().unwrap(),
            to,
            input: Input::Event,
            retry: RetryPolicy::default(),
            dead_letter: None,
            concurrency: EventTarget::CONCURRENCY,
            timeout: EventTarget::TIMEOUT,
        }
    }

    fn queue() -> Destination {
        Destination::Queue { queue: "orders".parse().unwrap(), group: None }
    }

    fn rule(targets: Vec<EventTarget>) -> EventRuleSpec {
        EventRuleSpec {
            name: "default/uploads".parse().unwrap(),
            bus: "default".parse().unwrap(),
            pattern: r#"{"source":["skiff.s3"]}"#.into(),
            enabled: true,
            targets,
        }
    }

    #[test]
    fn a_rule_and_its_targets_are_bounded() {
        assert_eq!(rule(vec![target("a", queue()), target("b", queue())]).check(), Ok(()));
        let twice = rule(vec![target("a", queue()), target("a", queue())]);
        assert_eq!(twice.check(), Err(EventRuleError::TargetTwice { id: "a".parse().unwrap() }));
        let many = (0..11).map(|number| target(&format!("t{number}"), queue())).collect();
        assert_eq!(rule(many).check(), Err(EventRuleError::Targets { count: 11 }));
        let round = rule(vec![target("a", Destination::Bus { bus: "default".parse().unwrap() })]);
        assert_eq!(round.check(), Err(EventRuleError::OwnBus { bus: "default".parse().unwrap() }));
        let long = EventRuleSpec { pattern: "x".repeat(20_000).into(), ..rule(vec![]) };
        assert_eq!(long.check(), Err(EventRuleError::Pattern { bytes: 20_000 }));
    }

    #[test]
    fn how_hard_a_target_is_tried_is_bounded() {
        let retry = |age_ms, retries_max| RetryPolicy { age_max: Span::from_ms(age_ms), retries_max };
        let service = || Destination::Service { service: "web".parse().unwrap(), path: "/".into() };
        let bad = [
            EventTarget { retry: retry(59_999, 1), ..target("a", queue()) },
            EventTarget { retry: retry(86_400_001, 1), ..target("a", queue()) },
            EventTarget { retry: retry(60_000, 186), ..target("a", queue()) },
            EventTarget { concurrency: 0, ..target("a", queue()) },
            EventTarget { concurrency: 1_001, ..target("a", queue()) },
            EventTarget { timeout: Span::from_ms(2_000), ..target("a", queue()) },
            EventTarget { timeout: Span::from_ms(999), ..target("a", service()) },
            EventTarget { timeout: Span::from_ms(900_001), ..target("a", service()) },
            target("a", Destination::Service { service: "web".parse().unwrap(), path: "events".into() }),
            target("a", Destination::Service { service: "web".parse().unwrap(), path: "/a b".into() }),
        ];
        for target in bad {
            assert!(target.check().is_err(), "{target:?} was taken");
        }
        let good = EventTarget { retry: retry(60_000, 0), concurrency: 1, ..target("a", queue()) };
        assert_eq!(good.check(), Ok(()));
        let patient = EventTarget { timeout: EventTarget::TIMEOUT_MAX, ..target("a", service()) };
        assert_eq!(patient.check(), Ok(()));
    }

    #[test]
    fn what_becomes_of_missed_times_is_a_word() {
        for missed in Missed::ALL {
            assert_eq!(missed.to_string().parse(), Ok(missed));
        }
        assert!("Once".parse::<Missed>().is_err());
    }
}

//! The records of buses, of their rules and targets, and of schedules with what is noted of them.

use super::{Stored, record};
use crate::keys;
use crate::model::{Bus, Declared, EventRule, EventSchedule, ScheduleNotes, StreamPosition, TimedSpec};
use serde::{Deserialize, Serialize};
use skiff_ports::store::{Durability, Key};
use skiff_types::{
    BusSpec, Destination, EventId, EventRuleSpec, EventScheduleSpec, EventTarget, Input, LocalTime, Missed,
    Name, QualifiedName, RetryPolicy, Schedule, Span, TaskTarget, Template, WebhookUrl, Zone,
};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A bus's record.
#[derive(Serialize, Deserialize)]
pub(crate) struct BusRecord {
    name: QualifiedName,
    created_at_ms: u64,
    updated_at_ms: u64,
}

impl From<&Bus> for BusRecord {
    fn from(object: &Bus) -> Self {
        let (created_at_ms, updated_at_ms) = (object.created_at_ms, object.updated_at_ms);
        Self { name: object.spec.name.clone(), created_at_ms, updated_at_ms }
    }
}

impl From<BusRecord> for Bus {
    fn from(record: BusRecord) -> Self {
        let BusRecord { name, created_at_ms, updated_at_ms } = record;
        Self { spec: Arc::new(BusSpec { name }), created_at_ms, updated_at_ms }
    }
}

impl Stored for Bus {
    const PREFIX: &'static str = "bus";
    type Record = BusRecord;

    fn key(&self) -> Key {
        keys::bus(&self.spec.name)
    }
}

record!(TaskTargetRecord = TaskTarget {
    family: Name,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    revision: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    arguments: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    environment: BTreeMap<String, String>,
});

record!(RetryRecord = RetryPolicy { age_max: Span, retries_max: u32 });

/// Where an event goes.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum DestinationRecord {
    Task(TaskTargetRecord),
    Service {
        service: Name,
        path: String,
    },
    Queue {
        queue: Name,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        group: Option<String>,
    },
    Bus {
        bus: Name,
    },
    Webhook {
        url: WebhookUrl,
    },
}

impl From<&Destination> for DestinationRecord {
    fn from(to: &Destination) -> Self {
        match to {
            Destination::Task(task) => Self::Task(task.into()),
            Destination::Service { service, path } => {
                Self::Service { service: service.clone(), path: path.as_ref().to_owned() }
            }
            Destination::Queue { queue, group } => {
                Self::Queue { queue: queue.clone(), group: group.as_deref().map(str::to_owned) }
            }
            Destination::Bus { bus } => Self::Bus { bus: bus.clone() },
            Destination::Webhook { url } => Self::Webhook { url: url.clone() },
        }
    }
}

impl From<DestinationRecord> for Destination {
    fn from(record: DestinationRecord) -> Self {
        match record {
            DestinationRecord::Task(task) => Self::Task(task.into()),
            DestinationRecord::Service { service, path } => Self::Service { service, path: path.into() },
            DestinationRecord::Queue { queue, group } => Self::Queue { queue, group: group.map(Arc::from) },
            DestinationRecord::Bus { bus } => Self::Bus { bus },
            DestinationRecord::Webhook { url } => Self::Webhook { url },
        }
    }
}

/// What a target is sent.
#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum InputRecord {
    #[default]
    Event,
    Path(String),
    Constant(String),
    Template {
        text: String,
        #[serde(default)]
        paths: BTreeMap<String, String>,
    },
}

impl From<&Input> for InputRecord {
    fn from(input: &Input) -> Self {
        match input {
            Input::Event => Self::Event,
            Input::Path(path) => Self::Path(path.as_ref().to_owned()),
            Input::Constant(json) => Self::Constant(json.as_ref().to_owned()),
            Input::Template(Template { paths, text }) => {
                Self::Template { text: text.as_ref().to_owned(), paths: paths.clone() }
            }
        }
    }
}

impl From<InputRecord> for Input {
    fn from(record: InputRecord) -> Self {
        match record {
            InputRecord::Event => Self::Event,
            InputRecord::Path(path) => Self::Path(path.into()),
            InputRecord::Constant(json) => Self::Constant(json.into()),
            InputRecord::Template { text, paths } => Self::Template(Template { paths, text: text.into() }),
        }
    }
}

/// Where an event goes, as what, and how hard it is tried.
#[derive(Serialize, Deserialize)]
struct TargetRecord {
    id: Name,
    to: DestinationRecord,
    #[serde(default)]
    input: InputRecord,
    retry: RetryRecord,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    dead_letter: Option<Name>,
    concurrency: u32,
    /// The usual one where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    timeout: Option<Span>,
}

impl From<&EventTarget> for TargetRecord {
    fn from(target: &EventTarget) -> Self {
        Self {
            id: target.id.clone(),
            to: (&target.to).into(),
            input: (&target.input).into(),
            retry: (&target.retry).into(),
            dead_letter: target.dead_letter.clone(),
            concurrency: target.concurrency,
            timeout: (target.timeout != EventTarget::TIMEOUT).then_some(target.timeout),
        }
    }
}

impl From<TargetRecord> for EventTarget {
    fn from(record: TargetRecord) -> Self {
        Self {
            id: record.id,
            to: record.to.into(),
            input: record.input.into(),
            retry: record.retry.into(),
            dead_letter: record.dead_letter,
            concurrency: record.concurrency,
            timeout: record.timeout.unwrap_or(EventTarget::TIMEOUT),
        }
    }
}

/// A rule's record.
#[derive(Serialize, Deserialize)]
pub(crate) struct EventRuleRecord {
    name: QualifiedName,
    bus: Name,
    pattern: String,
    enabled: bool,
    targets: Vec<TargetRecord>,
    created_at_ms: u64,
    updated_at_ms: u64,
}

impl From<&EventRule> for EventRuleRecord {
    fn from(object: &EventRule) -> Self {
        let spec = &object.spec;
        Self {
            name: spec.name.clone(),
            bus: spec.bus.clone(),
            pattern: spec.pattern.as_ref().to_owned(),
            enabled: spec.enabled,
            targets: spec.targets.iter().map(TargetRecord::from).collect(),
            created_at_ms: object.created_at_ms,
            updated_at_ms: object.updated_at_ms,
        }
    }
}

impl From<EventRuleRecord> for EventRule {
    fn from(record: EventRuleRecord) -> Self {
        let spec = EventRuleSpec {
            name: record.name,
            bus: record.bus,
            pattern: record.pattern.into(),
            enabled: record.enabled,
            targets: record.targets.into_iter().map(EventTarget::from).collect(),
        };
        let (created_at_ms, updated_at_ms) = (record.created_at_ms, record.updated_at_ms);
        Self { spec: Arc::new(spec), created_at_ms, updated_at_ms }
    }
}

impl Stored for EventRule {
    const PREFIX: &'static str = "eventrule";
    type Record = EventRuleRecord;

    fn key(&self) -> Key {
        keys::event_rule(&self.spec.name)
    }
}

/// A schedule's record.
#[derive(Serialize, Deserialize)]
pub(crate) struct EventScheduleRecord {
    name: QualifiedName,
    schedule: Schedule,
    zone: Zone,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    start: Option<LocalTime>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    end: Option<LocalTime>,
    missed: Missed,
    enabled: bool,
    target: TargetRecord,
    since_ms: u64,
    created_at_ms: u64,
    updated_at_ms: u64,
}

impl From<&EventSchedule> for EventScheduleRecord {
    fn from(object: &EventSchedule) -> Self {
        let TimedSpec { spec, since_ms } = &*object.spec;
        Self {
            name: spec.name.clone(),
            schedule: spec.schedule.clone(),
            zone: spec.zone.clone(),
            start: spec.start,
            end: spec.end,
            missed: spec.missed,
            enabled: spec.enabled,
            target: (&spec.target).into(),
            since_ms: *since_ms,
            created_at_ms: object.created_at_ms,
            updated_at_ms: object.updated_at_ms,
        }
    }
}

impl From<EventScheduleRecord> for EventSchedule {
    fn from(record: EventScheduleRecord) -> Self {
        let spec = EventScheduleSpec {
            name: record.name,
            schedule: record.schedule,
            zone: record.zone,
            start: record.start,
            end: record.end,
            missed: record.missed,
            enabled: record.enabled,
            target: record.target.into(),
        };
        let spec = Arc::new(TimedSpec { spec, since_ms: record.since_ms });
        Declared { spec, created_at_ms: record.created_at_ms, updated_at_ms: record.updated_at_ms }
    }
}

impl Stored for EventSchedule {
    const PREFIX: &'static str = "eventschedule";
    type Record = EventScheduleRecord;

    fn key(&self) -> Key {
        keys::event_schedule(&self.spec.spec.name)
    }
}

record!(ScheduleNotesRecord = ScheduleNotes {
    schedule: QualifiedName,
    schedule_created_at_ms: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pending_ms: Vec<u64>,
});

impl Stored for ScheduleNotes {
    const PREFIX: &'static str = "schedulenotes";
    type Record = ScheduleNotesRecord;

    fn key(&self) -> Key {
        keys::schedule_notes(&self.schedule)
    }
}

record!(StreamPositionRecord = StreamPosition { event: EventId });

impl Stored for StreamPosition {
    const PREFIX: &'static str = "streamposition";
    type Record = StreamPositionRecord;

    fn key(&self) -> Key {
        keys::stream_position()
    }

    /// What is put on a bus again leads to nothing again for a while, so this waits for no drive.
    fn durability(&self) -> Durability {
        Durability::System
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::tests::check;

    fn target(id: &str, to: Destination, input: Input) -> EventTarget {
        let (retry, dead_letter) = (RetryPolicy::default(), Some("dead".parse().unwrap()));
        let (id, timeout) = (id.parse().unwrap(), EventTarget::TIMEOUT);
        EventTarget { id, to, input, retry, dead_letter, concurrency: 10, timeout }
    }

    fn rule(target: EventTarget) -> EventRule {
        let spec = EventRuleSpec {
            name: "default/uploads".parse().unwrap(),
            bus: "default".parse().unwrap(),
            pattern: "{}".into(),
            enabled: true,
            targets: vec![target],
        };
        Declared { spec: Arc::new(spec), created_at_ms: 1, updated_at_ms: 2 }
    }

    #[test]
    fn what_is_on_disk_today_is_read_tomorrow() {
        let name: QualifiedName = "default/audit".parse().unwrap();
        check(
            &Declared { spec: Arc::new(BusSpec { name }), created_at_ms: 1, updated_at_ms: 2 },
            r#"{"name":"default/audit","created_at_ms":1,"updated_at_ms":2}"#,
        );
        let name = |text: &str| text.parse::<Name>().unwrap();
        let paths = BTreeMap::from([("key".to_owned(), "$.detail.key".to_owned())]);
        let task = TaskTarget {
            family: name("thumbs"),
            revision: Some(3),
            arguments: Some(vec!["$.detail.key".to_owned()]),
            environment: BTreeMap::from([("A".to_owned(), "b".to_owned())]),
        };
        for (to, input, to_written, input_written) in [
            (
                Destination::Task(task),
                Input::Event,
                r#"{"task":{"family":"thumbs","revision":3,"arguments":["$.detail.key"],"environment":{"A":"b"}}}"#,
                r#""event""#,
            ),
            (
                Destination::Service { service: name("web"), path: "/".into() },
                Input::Path("$.detail".into()),
                r#"{"service":{"service":"web","path":"/"}}"#,
                r#"{"path":"$.detail"}"#,
            ),
            (
                Destination::Queue { queue: name("orders"), group: Some("a".into()) },
                Input::Constant("7".into()),
                r#"{"queue":{"queue":"orders","group":"a"}}"#,
                r#"{"constant":"7"}"#,
            ),
            (
                Destination::Bus { bus: name("audit") },
                Input::Template(Template { paths, text: "<key>".into() }),
                r#"{"bus":{"bus":"audit"}}"#,
                r#"{"template":{"text":"<key>","paths":{"key":"$.detail.key"}}}"#,
            ),
            (
                Destination::Webhook { url: "https://example.com/".parse().unwrap() },
                Input::Event,
                r#"{"webhook":{"url":"https://example.com/"}}"#,
                r#""event""#,
            ),
        ] {
            let written = format!(
                r#"{{"name":"default/uploads","bus":"default","pattern":"{{}}","enabled":true,"targets":[{{"id":"a","to":{to_written},"input":{input_written},"retry":{{"age_max":"1d","retries_max":185}},"dead_letter":"dead","concurrency":10}}],"created_at_ms":1,"updated_at_ms":2}}"#
            );
            check(&rule(target("a", to, input)), &written);
        }
        let to = Destination::Service { service: name("web"), path: "/".into() };
        let patient = EventTarget { timeout: Span::from_ms(300_000), ..target("a", to, Input::Event) };
        check(
            &rule(patient),
            r#"{"name":"default/uploads","bus":"default","pattern":"{}","enabled":true,"targets":[{"id":"a","to":{"service":{"service":"web","path":"/"}},"input":"event","retry":{"age_max":"1d","retries_max":185},"dead_letter":"dead","concurrency":10,"timeout":"5m"}],"created_at_ms":1,"updated_at_ms":2}"#,
        );
    }

    #[test]
    fn schedules_and_their_notes_are_read_tomorrow() {
        let schedule = crate::model::test_schedule("default/sweep", "rate(5 minutes)", 7);
        check(
            &schedule,
            r#"{"name":"default/sweep","schedule":"rate(5 minutes)","zone":"UTC","missed":"once","enabled":true,"target":{"id":"sweep","to":{"queue":{"queue":"orders"}},"input":"event","retry":{"age_max":"1d","retries_max":185},"concurrency":1},"since_ms":7,"created_at_ms":7,"updated_at_ms":7}"#,
        );
        let notes = ScheduleNotes::new(&schedule);
        check(&notes, r#"{"schedule":"default/sweep","schedule_created_at_ms":7}"#);
        check(
            &ScheduleNotes { last_ms: Some(9), pending_ms: vec![8, 9], ..notes },
            r#"{"schedule":"default/sweep","schedule_created_at_ms":7,"last_ms":9,"pending_ms":[8,9]}"#,
        );
        let event = "0193f0c5c0007000bfffffffffffffff".parse().unwrap();
        check(&StreamPosition { event }, r#"{"event":"0193f0c5c0007000bfffffffffffffff"}"#);
    }
}

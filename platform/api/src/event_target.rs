//! Where events go, as what, and how hard that is tried. The words are those of EventBridge's `PutTargets`.
//!
//! What a call leaves out gets its default. Where one goes is one key of `to`, so that nothing of another kind can be said of it.

use crate::alarm::is_plain;
use crate::{InvalidSpec, TaskDefinitionReference, text};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use skiff_types::{
    Destination, EventTarget as DomainTarget, Input, Name, RetryPolicy, Span, TaskTarget, Template,
    WebhookUrl,
};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// JSON as text. It may be given as the JSON itself, too, but where that is a string: a string is always the text of JSON. Numbers in
/// JSON itself come through 64 bits: whoever reads it from a text refuses those that are not kept so ([`crate::is_exact`]).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JsonText(pub String);

impl Serialize for JsonText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for JsonText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match serde_json::Value::deserialize(deserializer)? {
            serde_json::Value::String(text) => Self(text),
            json => Self(json.to_string()),
        })
    }
}

impl JsonSchema for JsonText {
    fn schema_name() -> Cow<'static, str> {
        "JsonText".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "JSON as text; or the JSON itself, where it is no string.",
            "examples": ["{\"source\":[\"skiff.s3\"]}"],
        })
    }
}

/// Where an event goes, as what, and how hard it is tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EventTarget {
    /// Its name among those of its rule; a schedule has one target, without a name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::Name>")]
    pub id: Option<Name>,
    /// Where to.
    pub to: EventDestination,
    /// What is sent there; the event as it is where left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<EventInput>,
    /// It is not tried any more once the event is older than this: 1m to 24h; 24h where left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::Span>")]
    pub age_max: Option<Span>,
    /// How often it is tried again: up to 185 times; as often where left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retries_max: Option<u32>,
    /// The queue of the namespace that takes what could not be delivered; it is forgotten where left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::Name>")]
    pub dead_letter: Option<Name>,
    /// Deliveries of this target that are under way at once: 1 to 1000; 10 where left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u32>,
    /// How long a service or an address outside has to answer one try, then it failed: 1s to 15m; 1m where left out. A target of
    /// another kind has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::Span>")]
    pub timeout: Option<Span>,
}

/// Where an event goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EventDestination {
    /// A task is run with it: the input on its standard input.
    Task(EventTaskTarget),
    /// A service has it: by its event export, else by HTTP.
    Service(EventServiceTarget),
    /// It is sent to a queue.
    Queue(EventQueueTarget),
    /// It is put on another bus of the namespace.
    Bus(#[schemars(with = "text::Name")] Name),
    /// It is posted to an address outside.
    Webhook(#[schemars(with = "text::WebhookUrl")] WebhookUrl),
}

/// A task that is run for each event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EventTaskTarget {
    /// What it runs: a definition of a `command`, at this revision, or at the newest then.
    #[schemars(with = "text::TaskDefinitionReferenceText")]
    pub definition: TaskDefinitionReference,
    /// Arguments in the place of the definition's; one that is a path into the event, like `$.detail.object.key`, is replaced by
    /// what lies there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arguments: Option<Vec<String>>,
    /// Variables beside the definition's; likewise.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub environment: BTreeMap<String, String>,
}

/// A service that has each event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EventServiceTarget {
    /// Which.
    #[schemars(with = "text::Name")]
    pub name: Name,
    /// Where on it, if it is spoken to by HTTP; `/` where left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}

/// A queue that each event is sent to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EventQueueTarget {
    /// Which.
    #[schemars(with = "text::Name")]
    pub name: Name,
    /// Of a FIFO queue: the message group, as text or as a path into the event; what the source keeps in order where left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
}

/// What a target is sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EventInput {
    /// What lies in the event by this path, like `$.detail`.
    Path(String),
    /// Always this.
    Constant(JsonText),
    /// A template with what lies at paths of the event put in.
    Template(EventTemplate),
}

/// A template and what is put into it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EventTemplate {
    /// Text or JSON, with `<name>` where something is put in.
    pub text: String,
    /// Paths into the event, by those names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub paths: BTreeMap<String, String>,
}

impl EventTarget {
    /// What this means for a target of this name; an error says what to do. Whether what it leads to is there, and whether its
    /// paths are some, it does not know.
    pub(crate) fn to_domain(&self, id: Name) -> Result<DomainTarget, InvalidSpec> {
        let usual = RetryPolicy::default();
        let retry = RetryPolicy {
            age_max: self.age_max.unwrap_or(usual.age_max),
            retries_max: self.retries_max.unwrap_or(usual.retries_max),
        };
        let target = DomainTarget {
            id,
            to: self.to.to_domain()?,
            input: self.input.as_ref().map(EventInput::to_domain).unwrap_or_default(),
            retry,
            dead_letter: self.dead_letter.clone(),
            concurrency: self.concurrency.unwrap_or(DomainTarget::CONCURRENCY),
            timeout: self.timeout.unwrap_or(DomainTarget::TIMEOUT),
        };
        target.check()?;
        Ok(target)
    }

    /// What a call says that means this, nothing left out; its name where it has one of its user's.
    pub(crate) fn said(target: &DomainTarget, id: Option<&Name>) -> Self {
        Self {
            id: id.cloned(),
            to: (&target.to).into(),
            input: said_input(&target.input),
            age_max: Some(target.retry.age_max),
            retries_max: Some(target.retry.retries_max),
            dead_letter: target.dead_letter.clone(),
            concurrency: Some(target.concurrency),
            timeout: target.to.answers().then_some(target.timeout),
        }
    }
}

impl EventDestination {
    fn to_domain(&self) -> Result<Destination, InvalidSpec> {
        Ok(match self {
            Self::Task(EventTaskTarget { definition, arguments, environment }) => {
                Destination::Task(TaskTarget {
                    family: definition.family.clone(),
                    revision: definition.revision,
                    arguments: arguments.clone(),
                    environment: environment.clone(),
                })
            }
            Self::Service(EventServiceTarget { name, path }) => {
                Destination::Service { service: name.clone(), path: path.as_deref().unwrap_or("/").into() }
            }
            Self::Queue(EventQueueTarget { name, group }) => {
                Destination::Queue { queue: name.clone(), group: group.as_deref().map(Into::into) }
            }
            Self::Bus(bus) => Destination::Bus { bus: bus.clone() },
            Self::Webhook(url) if is_plain(url) => Destination::Webhook { url: url.clone() },
            Self::Webhook(url) => return Err(InvalidSpec::AlarmWebhook { url: url.clone() }),
        })
    }
}

impl From<&Destination> for EventDestination {
    fn from(to: &Destination) -> Self {
        match to {
            Destination::Task(TaskTarget { family, revision, arguments, environment }) => {
                Self::Task(EventTaskTarget {
                    definition: TaskDefinitionReference { family: family.clone(), revision: *revision },
                    arguments: arguments.clone(),
                    environment: environment.clone(),
                })
            }
            Destination::Service { service, path } => Self::Service(EventServiceTarget {
                name: service.clone(),
                path: Some(path.as_ref().to_owned()),
            }),
            Destination::Queue { queue, group } => Self::Queue(EventQueueTarget {
                name: queue.clone(),
                group: group.as_deref().map(str::to_owned),
            }),
            Destination::Bus { bus } => Self::Bus(bus.clone()),
            Destination::Webhook { url } => Self::Webhook(url.clone()),
        }
    }
}

impl EventInput {
    fn to_domain(&self) -> Input {
        match self {
            Self::Path(path) => Input::Path(path.as_str().into()),
            Self::Constant(JsonText(json)) => Input::Constant(json.as_str().into()),
            Self::Template(EventTemplate { text, paths }) => {
                Input::Template(Template { paths: paths.clone(), text: text.as_str().into() })
            }
        }
    }
}

fn said_input(input: &Input) -> Option<EventInput> {
    match input {
        Input::Event => None,
        Input::Path(path) => Some(EventInput::Path(path.as_ref().to_owned())),
        Input::Constant(json) => Some(EventInput::Constant(JsonText(json.as_ref().to_owned()))),
        Input::Template(Template { paths, text }) => {
            Some(EventInput::Template(EventTemplate { text: text.as_ref().to_owned(), paths: paths.clone() }))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn read(target: Value) -> Result<DomainTarget, InvalidSpec> {
        let target: EventTarget = serde_json::from_value(target).unwrap();
        target.to_domain("a".parse().unwrap())
    }

    #[test]
    fn what_is_left_out_has_its_default() {
        let target = read(json!({ "to": { "queue": { "name": "orders" } } })).unwrap();
        assert_eq!((target.retry, target.concurrency), (RetryPolicy::default(), DomainTarget::CONCURRENCY));
        assert_eq!((target.input, target.dead_letter), (Input::Event, None));
        let target = read(json!({ "to": { "service": { "name": "web" } } })).unwrap();
        assert_eq!(target.timeout, DomainTarget::TIMEOUT);
        assert_eq!(target.to, Destination::Service { service: "web".parse().unwrap(), path: "/".into() });
    }

    #[test]
    fn what_is_shown_is_what_makes_it_so() {
        for (to, input) in [
            (
                json!({ "task": { "definition": "thumbs:3", "arguments": ["$.detail.object.key"], "environment": { "A": "b" } } }),
                json!({ "path": "$.detail" }),
            ),
            (json!({ "task": { "definition": "thumbs" } }), json!({ "constant": { "a": 1 } })),
            (json!({ "service": { "name": "web", "path": "/events" } }), json!({ "constant": "\"text\"" })),
            (
                json!({ "queue": { "name": "orders", "group": "$.detail.order" } }),
                json!({ "template": { "text": "key <key>", "paths": { "key": "$.detail.object.key" } } }),
            ),
            (json!({ "bus": "audit" }), Value::Null),
            (json!({ "webhook": "https://example.com/events?key=1" }), Value::Null),
        ] {
            let mut target = json!({ "to": to, "input": input, "dead_letter": "dead", "concurrency": 7 });
            if target["to"].get("service").is_some() {
                target["timeout"] = json!("5s");
            }
            let target = read(target).unwrap();
            let said = EventTarget::said(&target, Some(&target.id));
            assert_eq!(said.to_domain(target.id.clone()).unwrap(), target);
            let written = serde_json::to_value(&said).unwrap();
            assert_eq!(serde_json::from_value::<EventTarget>(written).unwrap(), said);
        }
    }

    #[test]
    fn what_can_not_be_is_refused() {
        let webhook = json!({ "to": { "webhook": "https://me:secret@example.com/" } });
        assert!(matches!(read(webhook), Err(InvalidSpec::AlarmWebhook { .. })));
        let many = json!({ "to": { "bus": "audit" }, "concurrency": 0 });
        assert!(matches!(read(many), Err(InvalidSpec::EventRule(_))));
        let no_answer = json!({ "to": { "bus": "audit" }, "timeout": "5s" });
        assert!(matches!(read(no_answer), Err(InvalidSpec::EventRule(_))));
        for unknown in
            [json!({ "to": { "lambda": "a" } }), json!({ "to": { "bus": "a", "queue": { "name": "b" } } })]
        {
            assert!(serde_json::from_value::<EventTarget>(unknown).is_err());
        }
    }

    #[test]
    fn json_may_be_given_as_such() {
        let read = |json: Value| serde_json::from_value::<JsonText>(json).unwrap().0;
        assert_eq!(read(json!({ "source": ["a"] })), r#"{"source":["a"]}"#);
        assert_eq!(read(json!("{ \"source\": [\"a\"] }")), r#"{ "source": ["a"] }"#);
        assert_eq!(read(json!(7)), "7");
    }
}

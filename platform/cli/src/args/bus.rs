//! `skiff bus …`, `skiff target …`, `skiff event …`, `skiff schedule …`, and the rules of buses in `skiff rule …`: what happens
//! when something happened, or when it is time.

use super::deploy::environment_variable;
use clap::{ArgGroup, Args, Subcommand};
use skiff_api::{
    EventDestination, EventInput, EventQueueTarget, EventServiceTarget, EventTarget, EventTaskTarget,
    EventTemplate, JsonText, TaskDefinitionReference,
};
use skiff_types::{DEFAULT_BUS, LocalTime, Missed, Name, ParseError, Schedule, Span, WebhookUrl, Zone};
use std::path::PathBuf;
use std::str::FromStr;

/// What buses are, below the help of `skiff bus`.
pub(super) const BUS_HELP: &str = "\
Examples:
  skiff bus create shop
  skiff rule put placed --bus shop --pattern '{\"detail-type\":[\"Order Placed\"]}'
  skiff target put placed pack --to queue:orders
  skiff event put --bus shop --source web --type 'Order Placed' --detail '{\"order\":17}'

Events are put on a bus; rules take those that their patterns fit, and send them to targets. The bus
`default` is there in each namespace: on it are the writes of buckets, and what happens to tasks,
services and alarms.";

/// What targets are, below the help of `skiff target`.
pub(super) const TARGET_HELP: &str = "\
Examples:
  skiff target put uploads thumbs --to task:thumbs --argument '$.detail.object.key'
  skiff target put placed pack --to service:pack/orders --concurrency 4
  skiff target put placed orders --to queue:orders --input-path '$.detail' --dead-letter dead
  skiff target ls placed
  skiff target rm placed pack

A target is where a rule sends events: at least once each, tried again until it takes them, and to
the dead-letter queue at last. What a target is sent is the event, unless --input, --input-path or
--template says otherwise.";

/// What is done with events, below the help of `skiff event`.
pub(super) const EVENT_HELP: &str = "\
Examples:
  skiff event put --source web --type 'Order Placed' --detail '{\"order\":17}'
  skiff event put -f events.json           CloudEvents, or entries of EventBridge
  skiff event tail --pattern '{\"source\":[\"skiff.s3\"]}'
  skiff event test-pattern '{\"source\":[\"web\"]}' @event.json

What happened to tasks, services and alarms in the past is `skiff events`.";

/// What schedules are, below the help of `skiff schedule`.
pub(super) const SCHEDULE_HELP: &str = "\
Examples:
  skiff schedule put sweep --when 'rate(5 minutes)' --to task:sweep
  skiff schedule put report --when 'cron(0 9 ? * MON-FRI *)' --zone Europe/Berlin --to queue:reports
  skiff schedule put once --when 'at(2026-11-20T13:00:00)' --to https://example.com/hook
  skiff schedule show report               with the next three times

Each time of a schedule happens once. How the number of a service's tasks follows the clock is
`skiff scaling`.";

/// `skiff bus …`.
#[derive(Debug, Subcommand)]
#[allow(missing_docs, reason = "the help says it")]
pub enum BusCommand {
    /// Create a bus
    #[command(after_help = "Examples:\n  skiff bus create shop")]
    Create {
        /// Its name in the namespace
        name: Name,
    },
    /// List buses, and how many rules each has
    #[command(after_help = "Examples:\n  skiff bus ls\n  skiff bus ls --output json")]
    Ls,
    /// Show a bus
    #[command(after_help = "Examples:\n  skiff bus show default")]
    Show {
        /// The bus
        name: Name,
    },
    /// Remove buses that no rule, no target and no bucket names
    #[command(after_help = "Examples:\n  skiff bus rm shop")]
    Rm {
        /// The buses
        #[arg(required = true, value_name = "NAME")]
        names: Vec<Name>,
    },
}

/// `skiff rule put`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  skiff rule put uploads --pattern '{\"source\":[\"skiff.s3\"],\"detail-type\":[\"Object Created\"]}'
  skiff rule put placed --bus shop --pattern @placed.json
  skiff rule put placed --bus shop --pattern @placed.json --disabled    takes nothing for now

This is a rule of a bus; one of a listener is made with `skiff rule create`. A pattern is one of
EventBridge: exact values, prefix, suffix, wildcard, anything-but, numeric, exists, cidr,
equals-ignore-case and $or. A rule that is there keeps its targets, which `skiff target` changes.")]
pub struct EventRulePutArgs {
    /// Its name in the namespace
    pub name: Name,
    /// The bus whose events it takes
    #[arg(long, value_name = "NAME", default_value = DEFAULT_BUS)]
    pub bus: Name,
    /// Which events it takes: JSON, or @FILE
    #[arg(long, value_name = "JSON|@FILE")]
    pub pattern: String,
    /// Take no events until it is put again without this
    #[arg(long)]
    pub disabled: bool,
}

/// `skiff target …`.
#[derive(Debug, Subcommand)]
#[allow(missing_docs, reason = "the help says it")]
pub enum TargetCommand {
    /// Add a target to a rule of a bus, or replace all that one says
    Put(Box<TargetPutArgs>),
    /// List the targets of a rule
    #[command(after_help = "Examples:\n  skiff target ls placed\n  skiff target ls placed --output json")]
    Ls {
        /// The rule
        rule: Name,
    },
    /// Remove targets from a rule; what is on its way to them is given up
    #[command(after_help = "Examples:\n  skiff target rm placed pack")]
    Rm {
        /// The rule
        rule: Name,
        /// The targets
        #[arg(required = true, value_name = "ID")]
        ids: Vec<Name>,
    },
}

/// `skiff target put`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  skiff target put uploads thumbs --to task:thumbs --argument '$.detail.object.key' --env MODE=fast
  skiff target put placed pack --to service:pack/orders
  skiff target put placed steps --to queue:steps --group '$.detail.order'
  skiff target put placed mail --to https://example.com/hook --template '{\"text\":\"order <id>\"}' \\
      --value id='$.detail.order' --retries 5 --age 1h --dead-letter dead

A task is run for each event, with the event on its standard input; a service has it by its event
export, else by HTTP as a CloudEvent. A text that begins with $. is a path into the event, and
replaced by what lies there.")]
pub struct TargetPutArgs {
    /// The rule
    pub rule: Name,
    /// Its name among those of the rule
    pub id: Name,
    #[command(flatten)]
    #[allow(missing_docs, reason = "its fields say it")]
    pub target: EventTargetArgs,
}

/// Where events go, as what, and how hard it is tried.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("sent").args(["input", "input_path", "template"]))]
pub struct EventTargetArgs {
    /// Where to: task:FAMILY[:REVISION], service:NAME[/PATH], queue:NAME, bus:NAME, or an address outside
    #[arg(long, value_name = "TARGET")]
    pub to: To,
    /// Of a task: an argument in the place of its definition's, or a path into the event; may be given many times
    #[arg(long = "argument", value_name = "TEXT", allow_hyphen_values = true)]
    pub arguments: Vec<String>,
    /// Of a task: a variable beside its definition's, whose value may be a path into the event; may be given many times
    #[arg(long = "env", short, value_name = "KEY=VALUE", value_parser = environment_variable)]
    pub environment: Vec<(String, String)>,
    /// Of a FIFO queue: the message group, as text or as a path into the event [default: what the source keeps in order]
    #[arg(long, value_name = "TEXT")]
    pub group: Option<String>,
    /// Send what lies at this path of the event
    #[arg(long, value_name = "PATH")]
    pub input_path: Option<String>,
    /// Always send this JSON
    #[arg(long, value_name = "JSON")]
    pub input: Option<String>,
    /// Send this text, or JSON, with values of the event in the place of <name>s
    #[arg(long, value_name = "TEXT")]
    pub template: Option<String>,
    /// A name in the template, and the path of its value; may be given many times
    #[arg(long = "value", value_name = "NAME=PATH", requires = "template", value_parser = value_of_template)]
    pub values: Vec<(String, String)>,
    /// How often it is tried again: up to 185 times [default: 185]
    #[arg(long, value_name = "N")]
    pub retries: Option<u32>,
    /// It is not tried any more once the event is older than this: 1m to 24h [default: 24h]
    #[arg(long, value_name = "TIME")]
    pub age: Option<Span>,
    /// The queue that takes what could not be delivered [default: it is forgotten]
    #[arg(long, value_name = "QUEUE")]
    pub dead_letter: Option<Name>,
    /// Deliveries of this target that are under way at once: 1 to 1000 [default: 10]
    #[arg(long, value_name = "N")]
    pub concurrency: Option<u32>,
    /// How long a service or an address outside has to answer one try, then it failed: 1s to 15m [default: 1m]
    #[arg(long, value_name = "TIME")]
    pub timeout: Option<Span>,
}

impl EventTargetArgs {
    /// What the platform is told; an error says what does not go together.
    pub(crate) fn target(&self, id: Option<Name>) -> Result<EventTarget, String> {
        let has_command = !self.arguments.is_empty() || !self.environment.is_empty();
        if has_command && !matches!(self.to, To::Task(_)) {
            return Err("--argument and --env are for --to task:FAMILY: only a task has a command".to_owned());
        }
        if !matches!(self.to, To::Queue(_)) && self.group.is_some() {
            return Err("--group is for --to queue:NAME: only a queue has message groups".to_owned());
        }
        if !matches!(self.to, To::Service(..) | To::Webhook(_)) && self.timeout.is_some() {
            return Err(
                "--timeout is for --to service:NAME and addresses outside: nothing else answers".to_owned()
            );
        }
        Ok(EventTarget {
            id,
            to: self.destination(),
            input: self.said_input(),
            age_max: self.age,
            retries_max: self.retries,
            dead_letter: self.dead_letter.clone(),
            concurrency: self.concurrency,
            timeout: self.timeout,
        })
    }

    fn destination(&self) -> EventDestination {
        match &self.to {
            To::Task(definition) => EventDestination::Task(EventTaskTarget {
                definition: definition.clone(),
                arguments: (!self.arguments.is_empty()).then(|| self.arguments.clone()),
                environment: self.environment.iter().cloned().collect(),
            }),
            To::Service(name, path) => {
                EventDestination::Service(EventServiceTarget { name: name.clone(), path: path.clone() })
            }
            To::Queue(name) => {
                EventDestination::Queue(EventQueueTarget { name: name.clone(), group: self.group.clone() })
            }
            To::Bus(name) => EventDestination::Bus(name.clone()),
            To::Webhook(url) => EventDestination::Webhook(url.clone()),
        }
    }

    fn said_input(&self) -> Option<EventInput> {
        let path = self.input_path.clone().map(EventInput::Path);
        let constant = self.input.clone().map(|json| EventInput::Constant(JsonText(json)));
        let template = self.template.clone().map(|text| {
            EventInput::Template(EventTemplate { text, paths: self.values.iter().cloned().collect() })
        });
        path.or(constant).or(template)
    }
}

/// Where events go, as a word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum To {
    /// `task:FAMILY` or `task:FAMILY:REVISION`.
    Task(TaskDefinitionReference),
    /// `service:NAME` or `service:NAME/PATH`.
    Service(Name, Option<String>),
    /// `queue:NAME`.
    Queue(Name),
    /// `bus:NAME`.
    Bus(Name),
    /// An address of HTTP or HTTPS.
    Webhook(WebhookUrl),
}

impl FromStr for To {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let said = |error: ParseError| error.to_string();
        match text.split_once(':') {
            Some(("task", definition)) => definition.parse().map(Self::Task).map_err(said),
            Some(("service", service)) => {
                let (name, path) = match service.split_once('/') {
                    Some((name, path)) => (name, Some(format!("/{path}"))),
                    None => (service, None),
                };
                Ok(Self::Service(name.parse().map_err(said)?, path))
            }
            Some(("queue", queue)) => queue.parse().map(Self::Queue).map_err(said),
            Some(("bus", bus)) => bus.parse().map(Self::Bus).map_err(said),
            Some(("http" | "https", _)) => text.parse().map(Self::Webhook).map_err(said),
            Some(_) | None => Err(format!(
                "{text:?} is no target: it is task:FAMILY, service:NAME, queue:NAME, bus:NAME or an address like \
                 https://example.com/hook"
            )),
        }
    }
}

fn value_of_template(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, path)) if !name.is_empty() => Ok((name.to_owned(), path.to_owned())),
        _ => Err(format!("{text:?} is no name and path, like id=$.detail.order")),
    }
}

/// `skiff event …`.
#[derive(Debug, Subcommand)]
#[allow(missing_docs, reason = "the help says it")]
pub enum EventCommand {
    /// Put an event on a bus, or many
    Put(Box<EventPutArgs>),
    /// Print the events of a bus as they come
    #[command(after_help = "\
Examples:
  skiff event tail
  skiff event tail --bus shop --pattern '{\"detail-type\":[\"Order Placed\"]}'
  skiff event tail --output json           a line of JSON each, in EventBridge's envelope")]
    Tail {
        /// The bus
        #[arg(long, value_name = "NAME", default_value = DEFAULT_BUS)]
        bus: Name,
        /// Only events that this pattern takes: JSON, or @FILE
        #[arg(long, value_name = "JSON|@FILE")]
        pattern: Option<String>,
    },
    /// Say whether a pattern takes an event
    #[command(after_help = "\
Examples:
  skiff event test-pattern '{\"source\":[\"web\"]}' '{\"source\":\"web\"}'
  skiff event test-pattern @pattern.json @event.json

The event is in EventBridge's envelope, or a part of it. The exit code is 0 if the pattern takes it, and 1
if not.")]
    TestPattern {
        /// The pattern: JSON, or @FILE
        #[arg(value_name = "PATTERN|@FILE")]
        pattern: String,
        /// The event: JSON, or @FILE
        #[arg(value_name = "EVENT|@FILE")]
        event: String,
    },
}

/// `skiff event put`.
#[derive(Debug, Args)]
#[command(
    group = ArgGroup::new("put").args(["file", "source"]).required(true),
    after_help = "\
Examples:
  skiff event put --source web --type 'Order Placed' --detail '{\"order\":17}'
  skiff event put --bus shop --source web --type 'Order Placed' --detail @order.json
  skiff event put -f events.json           up to 100: CloudEvents or EventBridge's entries
  skiff event put -f -                     from standard input

A file has a CloudEvent or a list of them, EventBridge's {\"Entries\":[...]}, or an event in EventBridge's
envelope. All of its events are put, or none."
)]
pub struct EventPutArgs {
    /// The bus
    #[arg(long, value_name = "NAME", default_value = DEFAULT_BUS)]
    pub bus: Name,
    /// A file of events, or - for standard input
    #[arg(long, short, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// From where the event comes
    #[arg(long, value_name = "TEXT", requires = "detail_type")]
    pub source: Option<String>,
    /// What kind of event it is
    #[arg(long = "type", value_name = "TEXT", requires = "source")]
    pub detail_type: Option<String>,
    /// What there is to say of it: JSON, or @FILE [default: {}]
    #[arg(long, value_name = "JSON|@FILE", requires = "source")]
    pub detail: Option<String>,
    /// What it is about; may be given many times
    #[arg(long = "resource", value_name = "TEXT", requires = "source")]
    pub resources: Vec<String>,
}

/// `skiff schedule …`.
#[derive(Debug, Subcommand)]
#[allow(missing_docs, reason = "the help says it")]
pub enum ScheduleCommand {
    /// Create a schedule, or replace all that it says
    Put(Box<SchedulePutArgs>),
    /// List schedules, and when they are due
    #[command(after_help = "Examples:\n  skiff schedule ls\n  skiff schedule ls --output json")]
    Ls,
    /// Show a schedule, with the next three times
    #[command(after_help = "Examples:\n  skiff schedule show sweep")]
    Show {
        /// The schedule
        name: Name,
    },
    /// Remove schedules
    #[command(after_help = "Examples:\n  skiff schedule rm sweep")]
    Rm {
        /// The schedules
        #[arg(required = true, value_name = "NAME")]
        names: Vec<Name>,
    },
}

/// `skiff schedule put`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  skiff schedule put sweep --when 'rate(5 minutes)' --to task:sweep
  skiff schedule put report --when 'cron(0 9 ? * MON-FRI *)' --zone Europe/Berlin --to queue:reports
  skiff schedule put bill --when 'cron(0 3 L * ? *)' --missed all --to service:billing

cron() has six fields, as EventBridge's: minutes, hours, day of the month, month, day of the week (1
is Sunday), year; one of the two days is ?. Where clocks are put forward, a time that they leave out is
left out; where they are put back, one that they show twice counts once.")]
pub struct SchedulePutArgs {
    /// Its name in the namespace
    pub name: Name,
    /// When: at(...), rate(...) or cron(...)
    #[arg(long, value_name = "SCHEDULE")]
    pub when: Schedule,
    /// The time zone that it goes by [default: UTC]
    #[arg(long, value_name = "ZONE")]
    pub zone: Option<Zone>,
    /// Not before this, by the clock there, like 2026-01-01T00:00:00
    #[arg(long, value_name = "TIME")]
    pub start: Option<LocalTime>,
    /// Not at or after this
    #[arg(long, value_name = "TIME")]
    pub end: Option<LocalTime>,
    /// What becomes of times that passed while the platform was down or the schedule disabled: skip, once (the last of them) or
    /// all [default: once]
    #[arg(long, value_name = "WHAT")]
    pub missed: Option<Missed>,
    /// Not due until it is put again without this
    #[arg(long)]
    pub disabled: bool,
    #[command(flatten)]
    #[allow(missing_docs, reason = "its fields say it")]
    pub target: EventTargetArgs,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_events_go_is_a_word() {
        let name = |text: &str| text.parse::<Name>().unwrap();
        for (text, expected) in [
            ("task:thumbs", To::Task("thumbs".parse().unwrap())),
            ("task:thumbs:3", To::Task("thumbs:3".parse().unwrap())),
            ("service:web", To::Service(name("web"), None)),
            ("service:web/a/b?c", To::Service(name("web"), Some("/a/b?c".to_owned()))),
            ("queue:orders", To::Queue(name("orders"))),
            ("bus:audit", To::Bus(name("audit"))),
            ("https://example.com/a:b", To::Webhook("https://example.com/a:b".parse().unwrap())),
        ] {
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
        for bad in ["", "orders", "queue:", "queue:Orders", "lambda:a", "task:a:b", "https://", "service:/a"]
        {
            assert!(bad.parse::<To>().is_err(), "{bad:?} was taken");
        }
    }
}

//! The JSON Schemas of the types that are one word of text on the wire, and the two such types that only the API has.
//!
//! Each schema is a type without values that stands in for the real one: `#[schemars(with = "text::Name")]`.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use skiff_types::{
    Name as DomainName, Namespace as DomainNamespace, ParseError, QualifiedName as DomainQualifiedName,
    TaskDefinitionId as DomainTaskDefinitionId,
};
use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

macro_rules! text_schemas {
    ($($type:ident as $name:literal: $description:literal, $example:literal;)+) => {
        $(
            pub(crate) enum $type {}

            impl JsonSchema for $type {
                fn schema_name() -> Cow<'static, str> {
                    $name.into()
                }

                fn json_schema(_: &mut SchemaGenerator) -> Schema {
                    json_schema!({ "type": "string", "description": $description, "examples": [$example] })
                }
            }
        )+

        #[cfg(test)]
        const EXAMPLES: &[(&str, &str)] = &[$(($name, $example)),+];
    };
}

/// How many requests one sandbox serves before it is given back.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "only its schema is used")]
pub(crate) struct Reuse {
    /// Requests that one sandbox serves in all, from 1.
    requests: u32,
    /// How many of them at once; more than 1 needs WASI 0.3.
    concurrent: u32,
}

macro_rules! enum_schemas {
    ($($type:ident as $name:literal: $description:literal, $values:expr;)+) => {
        $(
            pub(crate) enum $type {}

            impl JsonSchema for $type {
                fn schema_name() -> Cow<'static, str> {
                    $name.into()
                }

                fn json_schema(_: &mut SchemaGenerator) -> Schema {
                    json_schema!({ "type": "string", "description": $description, "enum": $values })
                }
            }
        )+

        #[cfg(test)]
        const ENUMS: &[(&str, &[&str])] = &[$(($name, &$values)),+];
    };
}

text_schemas! {
    Name as "Name": "A DNS label: 1 to 63 of a-z, 0-9 and '-', starting with a letter.", "hello";
    Names as "Names": "Names with commas between them; 100 at most.", "hello,web";
    Namespace as "Namespace": "The boundary of names and of tenancy; a DNS label.", "default";
    ImageReference as "ImageReference": "repository, repository:tag or repository@digest.", "team/hello:v2";
    Digest as "Digest": "A SHA-256 content address.",
        "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    TaskDefinitionId as "TaskDefinitionId": "FAMILY:REVISION.", "hello:3";
    TaskDefinitionReferenceText as "TaskDefinitionReference":
        "FAMILY:REVISION, or FAMILY for its newest revision.", "hello";
    TaskId as "TaskId": "32 hexadecimal digits.", "0193f0c5c00070008000000000000001";
    DeploymentId as "DeploymentId": "32 hexadecimal digits.", "0193f0c5c00070008000000000000002";
    EventId as "EventId": "32 hexadecimal digits that order as events were recorded.",
        "0193f0c5c0007000bfffffffffffffff";
    EventTypes as "EventTypes":
        "Types of events with commas between: task, deployment, service, alarm, scaling.", "task,deployment";
    Resource as "Resource":
        "Whom an event happened to: service/NAMESPACE/NAME, task/NAMESPACE/ID or alarm/NAMESPACE/NAME.",
        "service/default/web";
    QualifiedName as "QualifiedName": "NAMESPACE/NAME.", "default/hello";
    Rule as "Rule":
        "What a security group allows: all, tcp or udp, with a port or a range of them, from or to whom.",
        "tcp:6379 from web";
    Group as "Group": "Who started a task: service:NAME or family:NAME.", "service:hello";
    CpuUnits as "CpuUnits": "CPU units from 16 to 65536; 1024 are one core.", "256";
    MemorySize as "MemorySize": "A size with its unit.", "128MiB";
    Span as "Span": "A time with its unit.", "30s";
    ScaleToZero as "ScaleToZero": "A time without a request, from 1s to 7d, or never.", "5m";
    HostPattern as "HostPattern": "A host without port, or '*.' and a domain.", "api.example.com";
    PathPrefix as "PathPrefix": "A path; takes all that lies below it as well.", "/api";
    Listen as "Listen": "A port of the load balancer: its protocol and number.", "tcp:6379";
    NameReferenceText as "NameReference": "NAME of the same namespace, or NAMESPACE/NAME.", "web";
    Condition as "Condition":
        "What a rule asks of a request: host, path, header:NAME, method, query, query:KEY or source, and values of \
         which one must be like the request's.", "host=api.example.com,*.example.org";
    VirtualAddress as "VirtualAddress": "A task's address in the virtual network, and a port.", "10.64.0.7:8080";
    Outside as "Outside": "A host outside, by address or name, and a port.", "192.0.2.7:8080";
    MetricName as "MetricName": "A letter, then letters, digits, '_', '.', '/' or '-'; 64 at most.", "CPUUtilization";
    Dimensions as "Dimensions": "Up to four times NAME=VALUE with a comma between.", "queue=mails,zone=a";
    Statistic as "Statistic":
        "Average, Sum, Minimum, Maximum, SampleCount, or a percentile from p0 to p100.", "p99.9";
    Schedule as "Schedule":
        "at(YYYY-MM-DDTHH:MM:SS), rate(N minutes) or cron(MINUTES HOURS DAY-OF-MONTH MONTH DAY-OF-WEEK YEAR), as EventBridge \
         Scheduler has them.", "cron(0 9 ? * MON-FRI *)";
    Zone as "Zone": "A time zone of the IANA database.", "Europe/Berlin";
    LocalTime as "LocalTime": "A date and a time as a clock on a wall shows them.", "2026-11-20T13:00:00";
    WebhookUrl as "WebhookUrl": "An address of HTTP or HTTPS.", "https://example.com/alarms";
    NodeId as "NodeId": "A node's id: a DNS label.", "local";
    PlacementConstraint as "PlacementConstraint":
        "What a node must be: distinctInstance (no other task of the same service or family is there), or memberOf with an \
         expression over its attributes.", "memberOf(attribute:zone == a)";
    PlacementStrategy as "PlacementStrategy":
        "Which node is taken: spread(instance), spread(attribute:NAME), binpack(cpu), binpack(memory) or random.",
        "spread(attribute:zone)";
    OvercommitFactor as "OvercommitFactor": "From 1 to 10000, with two decimals at most.", "1.5";
    Grant as "Grant":
        "What a role allows: an action, all of a kind like bucket:*, or *; then NAME (with all in it) or NAME/PATH, with * for any \
         characters.", "bucket:read uploads/images/*";
    AccessKeyId as "AccessKeyId": "SKIF and 16 of A-Z and 2-7.", "SKIFABCDEFGHIJKLMNOP";
    Matcher as "Matcher": "Statuses that are a success: numbers and ranges of them, joined by commas.", "200-299,302";
}

enum_schemas! {
    Transport as "Transport": "A transport protocol.", ["tcp", "udp"];
    Direction as "Direction": "Which way a rule or a flow looks.", ["ingress", "egress"];
    AccessAction as "AccessAction": "What may be done to something.", [
        "bucket:read", "bucket:write", "bucket:delete", "bucket:manage", "table:read", "table:write", "queue:send", "queue:receive",
        "bus:put", "secret:read"
    ];
    Kind as "Kind": "What a task does, read off its component's exports.", ["http", "command", "event"];
    Adjustment as "Adjustment": "What the number of a step means.", [
        "ChangeInCapacity", "PercentChangeInCapacity", "ExactCapacity"
    ];
    CircuitBreaker as "CircuitBreaker": "What becomes of a deployment whose tasks fail.", ["off", "stop", "rollback"];
    StrategyName as "StrategyName": "How requests come from one revision of a service to the next.", [
        "ROLLING", "BLUE_GREEN", "CANARY", "LINEAR"
    ];
    Restart as "Restart": "What becomes of a one-off task whose program ended.", ["never", "on-failure", "always"];
    WasiGeneration as "WasiGeneration": "The WASI that a component exports.", ["0.2", "0.3"];
    TaskStatus as "TaskStatus": "A task's lifecycle, in order.", [
        "PROVISIONING", "PENDING", "ACTIVATING", "RUNNING", "DEACTIVATING", "STOPPING", "DEPROVISIONING", "STOPPED"
    ];
    StopCode as "StopCode": "Why a task ended.", [
        "TaskFailedToStart", "Exited", "Trapped", "OutOfMemory", "UserInitiated", "ServiceSchedulerInitiated",
        "WorkerLost", "NodeLost", "PlatformStopped", "Unhealthy"
    ];
    SchedulingStrategy as "SchedulingStrategy":
        "Whether there are as many tasks as are desired, or one on each node that comes into question.", ["REPLICA", "DAEMON"];
    AlarmState as "AlarmState": "What an alarm says.", ["OK", "ALARM", "INSUFFICIENT_DATA"];
    Missed as "Missed": "What becomes of times of a schedule that passed while nobody looked.", ["skip", "once", "all"];
    Comparison as "Comparison": "How a datapoint breaches a threshold.", [
        "GreaterThanThreshold", "GreaterThanOrEqualToThreshold", "LessThanThreshold", "LessThanOrEqualToThreshold"
    ];
    MissingData as "MissingData": "What a period is taken for that has no values.", [
        "missing", "notBreaching", "breaching", "ignore"
    ];
    EventSource as "EventSource": "Where an event comes from.", [
        "skiff.ecs", "skiff.cloudwatch", "skiff.application-autoscaling"
    ];
    EventLevel as "EventLevel": "How bad an event is.", ["INFO", "WARN", "ERROR"];
    DeploymentEventName as "DeploymentEventName": "How far a deployment is, as ECS calls such an event.", [
        "SERVICE_DEPLOYMENT_IN_PROGRESS", "SERVICE_DEPLOYMENT_COMPLETED", "SERVICE_DEPLOYMENT_FAILED"
    ];
    ServiceActionName as "ServiceActionName": "What happened to a service, as ECS calls such an event.", [
        "SERVICE_STEADY_STATE", "SERVICE_DESIRED_COUNT_UPDATED", "TASKS_STOPPED", "SERVICE_TASK_START_IMPAIRED",
        "SERVICE_TASK_PLACEMENT_FAILURE"
    ];
    ListenerProtocol as "ListenerProtocol": "What is spoken at a listener.", ["http", "https", "tcp"];
    Scheme as "Scheme": "Who reaches a listener: whoever reaches the node, or tasks alone.", ["public", "internal"];
    TargetProtocol as "TargetProtocol": "What targets speak.", ["http1", "http2", "grpc", "tcp"];
    Algorithm as "Algorithm": "How one of a target group's targets is chosen.", [
        "round-robin", "least-outstanding-requests", "weighted-random"
    ];
    TargetStatus as "TargetStatus": "The state of a target.", [
        "initial", "healthy", "unhealthy", "draining", "unused", "unavailable"
    ];
    TargetReason as "TargetReason": "Why a target is in its state.", [
        "Elb.RegistrationInProgress", "Elb.InitialHealthChecking", "Target.ResponseCodeMismatch", "Target.Timeout",
        "Target.FailedHealthChecks", "Target.NotInUse", "Target.DeregistrationInProgress", "Target.InvalidState",
        "Target.HealthCheckDisabled", "Elb.InternalError", "Skiff.Ejected"
    ];
}

/// Names a task definition in a request: `FAMILY:REVISION`, or `FAMILY` for its newest revision.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskDefinitionReference {
    /// The name that the revisions share.
    pub family: DomainName,
    /// Which one; the newest where not given.
    pub revision: Option<u32>,
}

impl From<DomainTaskDefinitionId> for TaskDefinitionReference {
    fn from(id: DomainTaskDefinitionId) -> Self {
        Self { family: id.family, revision: Some(id.revision) }
    }
}

impl FromStr for TaskDefinitionReference {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        if text.contains(':') {
            text.parse::<DomainTaskDefinitionId>().map(Self::from)
        } else {
            Ok(Self { family: text.parse()?, revision: None })
        }
    }
}

impl fmt::Display for TaskDefinitionReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.revision {
            Some(revision) => write!(f, "{}:{revision}", self.family),
            None => self.family.fmt(f),
        }
    }
}

/// Names what lives in a namespace in a request: `NAME` of the same namespace, or `NAMESPACE/NAME`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NameReference {
    /// Where it is, if not here.
    pub namespace: Option<DomainNamespace>,
    /// Its name there.
    pub name: DomainName,
}

impl NameReference {
    /// What this means to somebody in `here`.
    pub fn qualified(&self, here: &DomainNamespace) -> DomainQualifiedName {
        DomainQualifiedName::new(self.namespace.clone().unwrap_or_else(|| here.clone()), self.name.clone())
    }
}

impl From<DomainQualifiedName> for NameReference {
    fn from(name: DomainQualifiedName) -> Self {
        Self { namespace: Some(name.namespace), name: name.name }
    }
}

impl FromStr for NameReference {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        if text.contains('/') {
            text.parse::<DomainQualifiedName>().map(Self::from)
        } else {
            Ok(Self { namespace: None, name: text.parse()? })
        }
    }
}

impl fmt::Display for NameReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{namespace}/{}", self.name),
            None => self.name.fmt(f),
        }
    }
}

/// The error of a text that is not what is expected; the text cut as `skiff-types` cuts it.
pub(crate) fn parse_error(text: &str, expected: &'static str) -> ParseError {
    ParseError { value: text.chars().take(120).collect(), expected }
}

macro_rules! serde_as_text {
    ($($type:ty),+) => {$(
        impl Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    )+};
}

serde_as_text!(TaskDefinitionReference, NameReference);

#[cfg(test)]
mod tests {
    use super::*;
    use serde::de::DeserializeOwned;

    fn takes<T: DeserializeOwned + Serialize>(text: &str) -> bool {
        let value = serde_json::Value::from(text);
        let parsed: Result<T, _> = serde_json::from_value(value.clone());
        parsed.is_ok_and(|parsed| serde_json::to_value(parsed).is_ok_and(|back| back == value))
    }

    fn takes_each<T: DeserializeOwned + Serialize>(text: &str) -> bool {
        text.split(',').all(takes::<T>)
    }

    #[test]
    fn every_example_is_a_value_of_its_type() {
        for (name, example) in EXAMPLES {
            let taken = match *name {
                "Name" => takes::<skiff_types::Name>(example),
                "Names" => takes_each::<skiff_types::Name>(example),
                "Namespace" => takes::<skiff_types::Namespace>(example),
                "ImageReference" => takes::<skiff_types::ImageReference>(example),
                "Digest" => takes::<skiff_types::Digest>(example),
                "TaskDefinitionId" => takes::<skiff_types::TaskDefinitionId>(example),
                "TaskDefinitionReference" => takes::<TaskDefinitionReference>(example),
                "TaskId" => takes::<skiff_types::TaskId>(example),
                "DeploymentId" => takes::<skiff_types::DeploymentId>(example),
                "EventId" => takes::<skiff_types::EventId>(example),
                "EventTypes" => takes_each::<skiff_types::EventType>(example),
                "Resource" => takes::<skiff_types::Resource>(example),
                "QualifiedName" => takes::<skiff_types::QualifiedName>(example),
                "Rule" => takes::<skiff_types::Rule>(example),
                "Group" => takes::<skiff_types::Group>(example),
                "CpuUnits" => takes::<skiff_types::CpuUnits>(example),
                "MemorySize" => takes::<skiff_types::MemorySize>(example),
                "Span" => takes::<skiff_types::Span>(example),
                "ScaleToZero" => takes::<skiff_types::ScaleToZero>(example),
                "HostPattern" => takes::<skiff_types::HostPattern>(example),
                "PathPrefix" => takes::<skiff_types::PathPrefix>(example),
                "Listen" => takes::<skiff_types::Listen>(example),
                "NameReference" => takes::<NameReference>(example),
                "Condition" => takes::<skiff_types::Condition>(example),
                "VirtualAddress" => takes::<skiff_types::VirtualAddress>(example),
                "Outside" => takes::<skiff_types::Outside>(example),
                "MetricName" => takes::<skiff_types::MetricName>(example),
                "Dimensions" => takes::<skiff_types::Dimensions>(example),
                "Statistic" => takes::<skiff_types::Statistic>(example),
                "WebhookUrl" => takes::<skiff_types::WebhookUrl>(example),
                "LocalTime" => takes::<skiff_types::LocalTime>(example),
                "Schedule" => takes::<skiff_types::Schedule>(example),
                "Zone" => takes::<skiff_types::Zone>(example),
                "NodeId" => takes::<skiff_types::NodeId>(example),
                "PlacementConstraint" => takes::<skiff_types::PlacementConstraint>(example),
                "PlacementStrategy" => takes::<skiff_types::PlacementStrategy>(example),
                "OvercommitFactor" => takes::<skiff_types::OvercommitFactor>(example),
                "Grant" => takes::<skiff_types::Grant>(example),
                "AccessKeyId" => takes::<skiff_types::AccessKeyId>(example),
                "Matcher" => takes::<skiff_types::Matcher>(example),
                other => panic!("{other} is not checked"),
            };
            assert!(taken, "{example:?} is not a {name}");
        }
    }

    #[test]
    fn every_value_of_an_enum_schema_is_one() {
        for (name, values) in ENUMS {
            for value in *values {
                let taken = match *name {
                    "Transport" => takes::<skiff_types::Transport>(value),
                    "Direction" => takes::<skiff_types::Direction>(value),
                    "AccessAction" => takes::<skiff_types::AccessAction>(value),
                    "Kind" => takes::<skiff_types::Kind>(value),
                    "Adjustment" => takes::<skiff_types::Adjustment>(value),
                    "CircuitBreaker" => takes::<skiff_types::CircuitBreaker>(value),
                    "StrategyName" => takes::<skiff_types::StrategyName>(value),
                    "Restart" => takes::<skiff_types::Restart>(value),
                    "WasiGeneration" => takes::<skiff_types::WasiGeneration>(value),
                    "TaskStatus" => takes::<skiff_types::TaskStatus>(value),
                    "StopCode" => takes::<skiff_types::StopCode>(value),
                    "SchedulingStrategy" => takes::<skiff_types::SchedulingStrategy>(value),
                    "AlarmState" => takes::<skiff_types::AlarmState>(value),
                    "Comparison" => takes::<skiff_types::Comparison>(value),
                    "Missed" => takes::<skiff_types::Missed>(value),
                    "MissingData" => takes::<skiff_types::MissingData>(value),
                    "EventSource" => takes::<skiff_types::EventSource>(value),
                    "EventLevel" => takes::<skiff_types::EventLevel>(value),
                    "DeploymentEventName" => takes::<skiff_types::DeploymentEventName>(value),
                    "ServiceActionName" => takes::<skiff_types::ServiceActionName>(value),
                    "ListenerProtocol" => takes::<skiff_types::ListenerProtocol>(value),
                    "Scheme" => takes::<skiff_types::Scheme>(value),
                    "TargetProtocol" => takes::<skiff_types::TargetProtocol>(value),
                    "Algorithm" => takes::<skiff_types::Algorithm>(value),
                    "TargetStatus" => takes::<skiff_types::TargetStatus>(value),
                    "TargetReason" => takes::<skiff_types::TargetReason>(value),
                    other => panic!("{other} is not checked"),
                };
                assert!(taken, "{value:?} is not a {name}");
            }
        }
        let statuses = skiff_types::TaskStatus::ALL.map(skiff_types::TaskStatus::as_str);
        assert!(ENUMS.iter().any(|(name, values)| *name == "TaskStatus" && *values == statuses));
    }

    #[test]
    fn a_reference_may_leave_out_the_revision() {
        let newest: TaskDefinitionReference = "hello".parse().unwrap();
        assert_eq!((newest.to_string().as_str(), newest.revision), ("hello", None));
        assert_eq!("hello:3".parse::<TaskDefinitionReference>().unwrap().revision, Some(3));
        for bad in ["", "hello:", "hello:0", "hello:x", "Hello"] {
            assert!(bad.parse::<TaskDefinitionReference>().is_err(), "{bad:?} was taken");
        }
    }

    #[test]
    fn a_name_without_a_namespace_is_one_of_the_same() {
        let here: DomainNamespace = "shop".parse().unwrap();
        for (text, expected) in [("web", "shop/web"), ("default/web", "default/web")] {
            let reference: NameReference = text.parse().unwrap();
            assert_eq!(reference.to_string(), text);
            assert_eq!(reference.qualified(&here).to_string(), expected);
        }
        for bad in ["", "/web", "shop/", "a/b/c", "Web"] {
            assert!(bad.parse::<NameReference>().is_err(), "{bad:?} was taken");
        }
    }
}

//! The words of events: which types there are, where they come from, and what ECS calls what a service does.

use crate::text::{ParseError, serde_as_text};
use std::fmt;
use std::str::FromStr;

/// The text of each word of an enumeration, both ways.
macro_rules! words {
    ($type:ident, $expected:literal: $($word:ident = $text:literal),+ $(,)?) => {
        impl $type {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$word),+];

            /// The word as text.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$word => $text),+
                }
            }
        }

        impl FromStr for $type {
            type Err = ParseError;

            fn from_str(text: &str) -> Result<Self, ParseError> {
                let found = Self::ALL.iter().copied().find(|word| word.as_str() == text);
                found.ok_or_else(|| ParseError::new(text, $expected))
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        serde_as_text!($type);
    };
}

/// What an event says: which `detail-type` it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EventType {
    /// A task went on in its life, is to end, or changed its health.
    Task,
    /// A deployment of a service began, completed or failed.
    Deployment,
    /// Something else happened to a service.
    Service,
    /// An alarm changed its state.
    Alarm,
    /// A scaling policy changed how many tasks a service has.
    Scaling,
}

words! {
    EventType, "an event's type: task, deployment, service, alarm or scaling":
    Task = "task",
    Deployment = "deployment",
    Service = "service",
    Alarm = "alarm",
    Scaling = "scaling",
}

impl EventType {
    /// Its `detail-type` on EventBridge.
    pub fn detail_type(self) -> &'static str {
        match self {
            Self::Task => "ECS Task State Change",
            Self::Deployment => "ECS Deployment State Change",
            Self::Service => "ECS Service Action",
            Self::Alarm => "CloudWatch Alarm State Change",
            Self::Scaling => "Application Auto Scaling Scaling Activity State Change",
        }
    }

    /// Where such events come from.
    pub fn source(self) -> EventSource {
        match self {
            Self::Task | Self::Deployment | Self::Service => EventSource::Ecs,
            Self::Alarm => EventSource::CloudWatch,
            Self::Scaling => EventSource::ApplicationAutoScaling,
        }
    }
}

/// Where an event comes from: the part of Skiff that stands for the service of AWS of this name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EventSource {
    /// Tasks and services.
    Ecs,
    /// Metrics and alarms.
    CloudWatch,
    /// Scaling policies.
    ApplicationAutoScaling,
}

words! {
    EventSource, "an event's source, like \"skiff.ecs\"":
    Ecs = "skiff.ecs",
    CloudWatch = "skiff.cloudwatch",
    ApplicationAutoScaling = "skiff.application-autoscaling",
}

/// How bad it is: ECS's `eventType`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EventLevel {
    /// As it should be.
    Info,
    /// Somebody may want to look at it.
    Warn,
    /// It failed.
    Error,
}

words! {
    EventLevel, "an event's level: INFO, WARN or ERROR":
    Info = "INFO",
    Warn = "WARN",
    Error = "ERROR",
}

/// How far a deployment is: ECS's `eventName` of such an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DeploymentEventName {
    /// It began.
    InProgress,
    /// All desired tasks are of its revision and serve.
    Completed,
    /// It was given up.
    Failed,
}

words! {
    DeploymentEventName, "a deployment's event, like \"SERVICE_DEPLOYMENT_COMPLETED\"":
    InProgress = "SERVICE_DEPLOYMENT_IN_PROGRESS",
    Completed = "SERVICE_DEPLOYMENT_COMPLETED",
    Failed = "SERVICE_DEPLOYMENT_FAILED",
}

impl DeploymentEventName {
    /// How bad that is.
    pub fn level(self) -> EventLevel {
        match self {
            Self::InProgress | Self::Completed => EventLevel::Info,
            Self::Failed => EventLevel::Error,
        }
    }
}

/// What happened to a service: ECS's `eventName` of such an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ServiceActionName {
    /// It has the tasks it is to have, and they serve.
    SteadyState,
    /// How many tasks it is to have has changed, whoever changed it.
    DesiredCountUpdated,
    /// A task of it ended by itself; another one starts in its place.
    TasksStopped,
    /// Its tasks can't be started, or not as its deployment configuration has it.
    TaskStartImpaired,
    /// There is no place for a task of it.
    TaskPlacementFailure,
}

words! {
    ServiceActionName, "a service's event, like \"SERVICE_STEADY_STATE\"":
    SteadyState = "SERVICE_STEADY_STATE",
    DesiredCountUpdated = "SERVICE_DESIRED_COUNT_UPDATED",
    TasksStopped = "TASKS_STOPPED",
    TaskStartImpaired = "SERVICE_TASK_START_IMPAIRED",
    TaskPlacementFailure = "SERVICE_TASK_PLACEMENT_FAILURE",
}

impl ServiceActionName {
    /// How bad that is.
    pub fn level(self) -> EventLevel {
        match self {
            Self::SteadyState | Self::DesiredCountUpdated | Self::TasksStopped => EventLevel::Info,
            Self::TaskStartImpaired => EventLevel::Warn,
            Self::TaskPlacementFailure => EventLevel::Error,
        }
    }
}

/// What happened to a service, its deployments among it: the words of the two, which differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ServiceEventName {
    /// A deployment of it began, completed or failed.
    Deployment(DeploymentEventName),
    /// Something else.
    Action(ServiceActionName),
}

impl From<DeploymentEventName> for ServiceEventName {
    fn from(name: DeploymentEventName) -> Self {
        Self::Deployment(name)
    }
}

impl From<ServiceActionName> for ServiceEventName {
    fn from(name: ServiceActionName) -> Self {
        Self::Action(name)
    }
}

impl FromStr for ServiceEventName {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        text.parse().map(Self::Deployment).or_else(|_| text.parse().map(Self::Action))
    }
}

impl fmt::Display for ServiceEventName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Deployment(name) => name.fmt(f),
            Self::Action(name) => name.fmt(f),
        }
    }
}

serde_as_text!(ServiceEventName);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_reads_back() {
        for word in EventType::ALL {
            assert_eq!(word.to_string().parse(), Ok(*word));
        }
        for word in ServiceActionName::ALL {
            assert_eq!(word.to_string().parse(), Ok(*word));
        }
        for name in [ServiceActionName::SteadyState.into(), DeploymentEventName::Failed.into()] {
            assert_eq!(ServiceEventName::to_string(&name).parse(), Ok(name));
        }
        assert_eq!("skiff.cloudwatch".parse(), Ok(EventSource::CloudWatch));
        assert_eq!("SERVICE_DEPLOYMENT_FAILED".parse(), Ok(DeploymentEventName::Failed));
        assert_eq!(DeploymentEventName::Failed.level().as_str(), "ERROR");
        let refused = "tasks".parse::<EventType>().unwrap_err().to_string();
        assert_eq!(refused, "\"tasks\" is not an event's type: task, deployment, service, alarm or scaling");
    }
}

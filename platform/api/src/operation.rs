//! The table of operations: for each its method, path, parameters, bodies and the errors that are its own.
//!
//! Whoever adds an operation adds a variant, and the compiler names every other place that must know it.

mod access;
mod alarm;
mod balancer;
mod bus;
mod consumer;
mod data;
mod events;
mod metric;
mod network;
mod scaling;
mod segment;
mod service;
mod spec;
mod task;

pub(crate) use self::spec::Spec;
pub use self::spec::{Body, PathParameter};

use self::segment::encode_segment;
use self::spec::{of, parameter_schema};
use crate::{Health, Node, Page, PageQuery, PlatformStatus, UsageQuery, UsageReport};
use http::Method;

/// Every operation of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "each has its summary in the table below")]
pub enum Operation {
    PushImage,
    ListImages,
    GetImage,
    DeleteImage,
    RegisterTaskDefinition,
    ListTaskDefinitions,
    GetTaskDefinition,
    DeregisterTaskDefinition,
    PutService,
    CheckService,
    ListServices,
    GetService,
    DeleteService,
    ScaleService,
    RollbackService,
    GetRollout,
    ChangeRollout,
    MeasureColdStarts,
    PutScaling,
    ListScaling,
    GetScaling,
    DeleteScaling,
    ListScalingActivities,
    RunTask,
    ListTasks,
    GetTask,
    StopTask,
    ForwardTask,
    ReadLogs,
    ReadEvents,
    PutSecurityGroup,
    ListSecurityGroups,
    GetSecurityGroup,
    DeleteSecurityGroup,
    AllowRule,
    RevokeRule,
    GetTaskNetwork,
    ExplainConnection,
    ReadFlows,
    PutListener,
    ListListeners,
    GetListener,
    DeleteListener,
    ExplainRequest,
    PutRule,
    ListRules,
    GetRule,
    DeleteRule,
    PutTargetGroup,
    ListTargetGroups,
    GetTargetGroup,
    DeleteTargetGroup,
    ListTargets,
    PutCertificate,
    ListCertificates,
    GetCertificate,
    DeleteCertificate,
    PutMetricData,
    ListMetrics,
    GetMetric,
    PutAlarm,
    ListAlarms,
    GetAlarm,
    ListAlarmHistory,
    DeleteAlarm,
    PutRole,
    ListRoles,
    GetRole,
    ExplainAccess,
    DeleteRole,
    CreateAccessKey,
    ListAccessKeys,
    DeleteAccessKey,
    PutBucket,
    ListBuckets,
    GetBucket,
    DeleteBucket,
    PutTable,
    ListTables,
    GetTable,
    DeleteTable,
    GetItems,
    WriteItems,
    IncrementItem,
    ScanItems,
    PutQueue,
    ListQueues,
    GetQueue,
    DeleteQueue,
    SendMessages,
    ReceiveMessages,
    DeleteMessages,
    ChangeVisibility,
    PurgeQueue,
    RedriveQueue,
    PutConsumer,
    ListConsumers,
    GetConsumer,
    DeleteConsumer,
    PutBus,
    ListBuses,
    GetBus,
    DeleteBus,
    PutEvents,
    TailEvents,
    TestEventPattern,
    PutEventRule,
    ListEventRules,
    GetEventRule,
    DeleteEventRule,
    PutEventTarget,
    DeleteEventTarget,
    PutEventSchedule,
    ListEventSchedules,
    GetEventSchedule,
    DeleteEventSchedule,
    ListNodes,
    GetStatus,
    GetUsage,
    GetHealth,
    GetMetrics,
    GetOpenApi,
}

impl Operation {
    /// All operations.
    pub const ALL: [Self; 122] = [
        Self::PushImage,
        Self::ListImages,
        Self::GetImage,
        Self::DeleteImage,
        Self::RegisterTaskDefinition,
        Self::ListTaskDefinitions,
        Self::GetTaskDefinition,
        Self::DeregisterTaskDefinition,
        Self::PutService,
        Self::CheckService,
        Self::ListServices,
        Self::GetService,
        Self::DeleteService,
        Self::ScaleService,
        Self::RollbackService,
        Self::GetRollout,
        Self::ChangeRollout,
        Self::MeasureColdStarts,
        Self::PutScaling,
        Self::ListScaling,
        Self::GetScaling,
        Self::DeleteScaling,
        Self::ListScalingActivities,
        Self::RunTask,
        Self::ListTasks,
        Self::GetTask,
        Self::StopTask,
        Self::ForwardTask,
        Self::ReadLogs,
        Self::ReadEvents,
        Self::PutSecurityGroup,
        Self::ListSecurityGroups,
        Self::GetSecurityGroup,
        Self::DeleteSecurityGroup,
        Self::AllowRule,
        Self::RevokeRule,
        Self::GetTaskNetwork,
        Self::ExplainConnection,
        Self::ReadFlows,
        Self::PutListener,
        Self::ListListeners,
        Self::GetListener,
        Self::DeleteListener,
        Self::ExplainRequest,
        Self::PutRule,
        Self::ListRules,
        Self::GetRule,
        Self::DeleteRule,
        Self::PutTargetGroup,
        Self::ListTargetGroups,
        Self::GetTargetGroup,
        Self::DeleteTargetGroup,
        Self::ListTargets,
        Self::PutCertificate,
        Self::ListCertificates,
        Self::GetCertificate,
        Self::DeleteCertificate,
        Self::PutMetricData,
        Self::ListMetrics,
        Self::GetMetric,
        Self::PutAlarm,
        Self::ListAlarms,
        Self::GetAlarm,
        Self::ListAlarmHistory,
        Self::DeleteAlarm,
        Self::PutRole,
        Self::ListRoles,
        Self::GetRole,
        Self::ExplainAccess,
        Self::DeleteRole,
        Self::CreateAccessKey,
        Self::ListAccessKeys,
        Self::DeleteAccessKey,
        Self::PutBucket,
        Self::ListBuckets,
        Self::GetBucket,
        Self::DeleteBucket,
        Self::PutTable,
        Self::ListTables,
        Self::GetTable,
        Self::DeleteTable,
        Self::GetItems,
        Self::WriteItems,
        Self::IncrementItem,
        Self::ScanItems,
        Self::PutQueue,
        Self::ListQueues,
        Self::GetQueue,
        Self::DeleteQueue,
        Self::SendMessages,
        Self::ReceiveMessages,
        Self::DeleteMessages,
        Self::ChangeVisibility,
        Self::PurgeQueue,
        Self::RedriveQueue,
        Self::PutConsumer,
        Self::ListConsumers,
        Self::GetConsumer,
        Self::DeleteConsumer,
        Self::PutBus,
        Self::ListBuses,
        Self::GetBus,
        Self::DeleteBus,
        Self::PutEvents,
        Self::TailEvents,
        Self::TestEventPattern,
        Self::PutEventRule,
        Self::ListEventRules,
        Self::GetEventRule,
        Self::DeleteEventRule,
        Self::PutEventTarget,
        Self::DeleteEventTarget,
        Self::PutEventSchedule,
        Self::ListEventSchedules,
        Self::GetEventSchedule,
        Self::DeleteEventSchedule,
        Self::ListNodes,
        Self::GetStatus,
        Self::GetUsage,
        Self::GetHealth,
        Self::GetMetrics,
        Self::GetOpenApi,
    ];

    /// Its HTTP method.
    pub fn method(self) -> Method {
        self.spec().method
    }

    /// Its path, with `{name}` for each [`PathParameter`]: axum's and OpenAPI's notation.
    ///
    /// A parameter is one segment: what it holds is percent-encoded, `/` included.
    pub fn path(self) -> &'static str {
        self.spec().path
    }

    /// What it does, in a sentence.
    pub fn summary(self) -> &'static str {
        self.spec().summary
    }

    /// What its request carries.
    pub fn request(self) -> Body {
        self.spec().request
    }

    /// What its answer carries where it succeeds.
    pub fn response(self) -> Body {
        self.spec().response
    }

    /// The status of its answer where it succeeds.
    pub fn success_status(self) -> http::StatusCode {
        http::StatusCode::from_u16(self.spec().status).expect("the table holds statuses")
    }

    /// Whether it takes `If-Match` with a revision.
    pub fn takes_if_match(self) -> bool {
        self.spec().if_match
    }

    /// Whether it answers without the token on loopback.
    pub fn is_open(self) -> bool {
        matches!(self, Self::GetHealth | Self::GetMetrics | Self::GetOpenApi)
    }

    /// The most bytes its request's body may have.
    pub fn request_bytes_max(self) -> u64 {
        match self.request() {
            Body::Empty => 0,
            Body::Json(_) if matches!(self, Self::WriteItems | Self::SendMessages) => crate::DATA_BYTES_MAX,
            Body::Json(_) | Body::JsonLines(_) => crate::REQUEST_BYTES_MAX as u64,
            Body::Raw(_) if self == Self::PutEvents => crate::EVENTS_BYTES_MAX,
            Body::Raw(_) => crate::IMAGE_BYTES_MAX,
        }
    }

    /// The parameters in its path, in order.
    pub fn path_parameters(self) -> Vec<PathParameter> {
        let names = self.path().split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
        names.map(|name| PathParameter { name, schema: parameter_schema(name) }).collect()
    }

    /// Its path with each parameter's value filled in, percent-encoded; the values in the path's order.
    ///
    /// # Panics
    /// If there are not as many values as parameters: that is the caller's mistake, never a user's.
    pub fn path_with(self, values: &[&str]) -> String {
        let mut values = values.iter();
        let parts = self.path().split('/').map(|part| match part.starts_with('{') {
            true => encode_segment(values.next().expect("a value for each parameter of the path")),
            false => part.to_owned(),
        });
        let path = parts.collect::<Vec<_>>().join("/");
        assert!(values.next().is_none(), "more values than parameters in {}", self.path());
        path
    }

    pub(crate) fn spec(self) -> Spec {
        match self {
            Self::PushImage | Self::ListImages | Self::GetImage | Self::DeleteImage => self.image_spec(),
            Self::RegisterTaskDefinition
            | Self::ListTaskDefinitions
            | Self::GetTaskDefinition
            | Self::DeregisterTaskDefinition => self.definition_spec(),
            Self::PutService
            | Self::CheckService
            | Self::ListServices
            | Self::GetService
            | Self::DeleteService
            | Self::ScaleService
            | Self::RollbackService
            | Self::GetRollout
            | Self::ChangeRollout
            | Self::MeasureColdStarts => self.service_spec(),
            Self::PutScaling
            | Self::ListScaling
            | Self::GetScaling
            | Self::DeleteScaling
            | Self::ListScalingActivities => self.scaling_spec(),
            Self::RunTask
            | Self::ListTasks
            | Self::GetTask
            | Self::StopTask
            | Self::ForwardTask
            | Self::ReadLogs => self.task_spec(),
            Self::ReadEvents => self.event_spec(),
            Self::PutSecurityGroup
            | Self::ListSecurityGroups
            | Self::GetSecurityGroup
            | Self::DeleteSecurityGroup
            | Self::AllowRule
            | Self::RevokeRule
            | Self::GetTaskNetwork
            | Self::ExplainConnection
            | Self::ReadFlows => self.network_spec(),
            Self::PutListener
            | Self::ListListeners
            | Self::GetListener
            | Self::DeleteListener
            | Self::ExplainRequest
            | Self::PutRule
            | Self::ListRules
            | Self::GetRule
            | Self::DeleteRule
            | Self::PutTargetGroup
            | Self::ListTargetGroups
            | Self::GetTargetGroup
            | Self::DeleteTargetGroup
            | Self::ListTargets
            | Self::PutCertificate
            | Self::ListCertificates
            | Self::GetCertificate
            | Self::DeleteCertificate => self.balancer_spec(),
            Self::PutMetricData | Self::ListMetrics | Self::GetMetric => self.metric_spec(),
            Self::PutAlarm
            | Self::ListAlarms
            | Self::GetAlarm
            | Self::ListAlarmHistory
            | Self::DeleteAlarm => self.alarm_spec(),
            Self::PutRole
            | Self::ListRoles
            | Self::GetRole
            | Self::ExplainAccess
            | Self::DeleteRole
            | Self::CreateAccessKey
            | Self::ListAccessKeys
            | Self::DeleteAccessKey => self.access_spec(),
            Self::PutBucket | Self::ListBuckets | Self::GetBucket | Self::DeleteBucket => self.bucket_spec(),
            Self::PutTable
            | Self::ListTables
            | Self::GetTable
            | Self::DeleteTable
            | Self::GetItems
            | Self::WriteItems
            | Self::IncrementItem
            | Self::ScanItems => self.table_spec(),
            Self::PutQueue
            | Self::ListQueues
            | Self::GetQueue
            | Self::DeleteQueue
            | Self::SendMessages
            | Self::ReceiveMessages
            | Self::DeleteMessages
            | Self::ChangeVisibility
            | Self::PurgeQueue
            | Self::RedriveQueue => self.queue_spec(),
            Self::PutConsumer | Self::ListConsumers | Self::GetConsumer | Self::DeleteConsumer => {
                self.consumer_spec()
            }
            Self::PutBus
            | Self::ListBuses
            | Self::GetBus
            | Self::DeleteBus
            | Self::PutEvents
            | Self::TailEvents
            | Self::TestEventPattern => self.bus_spec(),
            Self::PutEventRule
            | Self::ListEventRules
            | Self::GetEventRule
            | Self::DeleteEventRule
            | Self::PutEventTarget
            | Self::DeleteEventTarget => self.event_rule_spec(),
            Self::PutEventSchedule
            | Self::ListEventSchedules
            | Self::GetEventSchedule
            | Self::DeleteEventSchedule => self.event_schedule_spec(),
            Self::ListNodes
            | Self::GetStatus
            | Self::GetUsage
            | Self::GetHealth
            | Self::GetMetrics
            | Self::GetOpenApi => self.platform_spec(),
        }
    }

    fn platform_spec(self) -> Spec {
        let spec = |path, summary| Spec::new(Method::GET, path, "platform", summary);
        match self {
            Self::ListNodes => spec("/v1/nodes", "Lists the nodes that tasks run on, by id.")
                .query(of::<PageQuery>)
                .response(200, Body::Json(of::<Page<Node>>)),
            Self::GetStatus => spec("/v1/status", "Shows the platform's processes.")
                .response(200, Body::Json(of::<PlatformStatus>)),
            Self::GetUsage => {
                spec("/v1/usage", "Says what services, their tasks and the platform itself used.")
                    .query(of::<UsageQuery>)
                    .response(200, Body::Json(of::<UsageReport>))
            }
            Self::GetHealth => spec("/healthz", "Says whether the platform takes work.")
                .response(200, Body::Json(of::<Health>)),
            Self::GetMetrics => spec("/metrics", "Metrics in the Prometheus text format.")
                .response(200, Body::Raw("text/plain; version=0.0.4")),
            Self::GetOpenApi => {
                spec("/openapi.json", "This document.").response(200, Body::Json(of::<serde_json::Value>))
            }
            other => unreachable!("{other:?} is no operation on the platform"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn all_lists_every_operation_once() {
        let distinct: BTreeSet<_> = Operation::ALL.into_iter().collect();
        assert_eq!(distinct.len(), Operation::ALL.len());
        let last = Operation::GetOpenApi as usize;
        assert_eq!(Operation::ALL.len(), last + 1, "a variant is missing from ALL");
    }

    #[test]
    fn no_two_operations_share_method_and_path() {
        let doors: BTreeSet<_> = Operation::ALL.map(|op| (op.path(), op.method().to_string())).into();
        assert_eq!(doors.len(), Operation::ALL.len());
    }

    #[test]
    fn a_parameter_stays_one_segment() {
        assert_eq!(
            Operation::GetImage.path_with(&["default", "team/hello:v2"]),
            "/v1/namespaces/default/images/team%2Fhello:v2"
        );
        assert_eq!(Operation::GetStatus.path_with(&[]), "/v1/status");
    }

    #[test]
    fn every_parameter_has_a_schema_and_every_status_is_one() {
        for operation in Operation::ALL {
            let upgrades = operation.success_status() == http::StatusCode::SWITCHING_PROTOCOLS;
            assert!(operation.success_status().is_success() || upgrades);
            let namespaced = operation.path().starts_with("/v1/namespaces/");
            assert_eq!(
                operation.path_parameters().first().is_some_and(|p| p.name == "namespace"),
                namespaced
            );
        }
    }
}

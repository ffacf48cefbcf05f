//! The table of operations: for each its method, path, parameters, bodies and the errors that are its own.
//!
//! Whoever adds an operation adds a variant, and the compiler names every other place that must know it.

mod alarm;
mod balancer;
mod events;
mod metric;
mod network;
mod scaling;
mod service;

use crate::text;
use crate::{
    ErrorCode, ForwardQuery, Health, Image, LogLine, LogQuery, Node, Page, PageQuery, PlatformStatus,
    RegisterTaskDefinition, RunTask, StopTask, Task, TaskDefinition, TaskDefinitionListQuery,
    TaskDefinitionQuery, TaskListQuery, UsageQuery, UsageReport,
};
use http::Method;
use schemars::{JsonSchema, Schema, SchemaGenerator};

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
    ListNodes,
    GetStatus,
    GetUsage,
    GetHealth,
    GetMetrics,
    GetOpenApi,
}

/// Makes a type's schema.
pub(crate) type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

/// What a request or an answer carries.
#[derive(Debug, Clone, Copy)]
pub enum Body {
    /// Nothing.
    Empty,
    /// JSON of this schema.
    Json(SchemaOf),
    /// Newline-delimited JSON, each line of this schema.
    JsonLines(SchemaOf),
    /// Anything of this media type.
    Raw(&'static str),
}

/// A part of a path that the caller fills in.
#[derive(Debug, Clone, Copy)]
pub struct PathParameter {
    /// As it stands between braces in the path.
    pub name: &'static str,
    pub(crate) schema: SchemaOf,
}

/// All that the OpenAPI document says of an operation.
pub(crate) struct Spec {
    pub(crate) method: Method,
    pub(crate) path: &'static str,
    pub(crate) tag: &'static str,
    pub(crate) summary: &'static str,
    pub(crate) query: Option<SchemaOf>,
    pub(crate) request: Body,
    pub(crate) status: u16,
    pub(crate) response: Body,
    pub(crate) if_match: bool,
    pub(crate) errors: &'static [ErrorCode],
}

impl Operation {
    /// All operations.
    pub const ALL: [Self; 71] = [
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
            Body::Json(_) | Body::JsonLines(_) => crate::REQUEST_BYTES_MAX as u64,
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
            Self::ListNodes
            | Self::GetStatus
            | Self::GetUsage
            | Self::GetHealth
            | Self::GetMetrics
            | Self::GetOpenApi => self.platform_spec(),
        }
    }

    fn image_spec(self) -> Spec {
        const ONE: &str = "/v1/namespaces/{namespace}/images/{reference}";
        let spec = |method, path, summary| Spec::new(method, path, "images", summary);
        match self {
            Self::PushImage => spec(
                Method::PUT,
                ONE,
                "Stores a component under a repository and tag; the tag is moved if it is there.",
            )
            .if_match()
            .request(Body::Raw("application/wasm"))
            .response(200, Body::Json(of::<Image>)),
            Self::ListImages => {
                spec(Method::GET, "/v1/namespaces/{namespace}/images", "Lists images by their tags.")
                    .query(of::<PageQuery>)
                    .response(200, Body::Json(of::<Page<Image>>))
            }
            Self::GetImage => spec(Method::GET, ONE, "Shows an image, by tag or by digest.")
                .response(200, Body::Json(of::<Image>))
                .errors(&[ErrorCode::NotFound]),
            Self::DeleteImage => spec(
                Method::DELETE,
                ONE,
                "Removes a tag. What a task definition still names stays until it is deregistered.",
            )
            .if_match()
            .response(204, Body::Empty)
            .errors(&[ErrorCode::NotFound]),
            other => unreachable!("{other:?} is no operation on images"),
        }
    }

    fn definition_spec(self) -> Spec {
        const ALL: &str = "/v1/namespaces/{namespace}/task-definitions";
        const ONE: &str = "/v1/namespaces/{namespace}/task-definitions/{definition}";
        let spec = |method, path, summary| Spec::new(method, path, "task definitions", summary);
        match self {
            Self::RegisterTaskDefinition => spec(
                Method::POST,
                ALL,
                "Checks and compiles an image's component and registers the next revision of a family.",
            )
            .request(Body::Json(of::<RegisterTaskDefinition>))
            .response(200, Body::Json(of::<TaskDefinition>))
            .errors(&[ErrorCode::NotFound, ErrorCode::FailedPrecondition, ErrorCode::ResourceExhausted]),
            Self::ListTaskDefinitions => {
                spec(Method::GET, ALL, "Lists task definitions by family, newest revision first.")
                    .query(of::<TaskDefinitionListQuery>)
                    .response(200, Body::Json(of::<Page<TaskDefinition>>))
            }
            Self::GetTaskDefinition => spec(Method::GET, ONE, "Shows a task definition.")
                .query(of::<TaskDefinitionQuery>)
                .response(200, Body::Json(of::<TaskDefinition>))
                .errors(&[ErrorCode::NotFound]),
            Self::DeregisterTaskDefinition => spec(
                Method::DELETE,
                ONE,
                "Deregisters a revision that no service and no task uses. It must be named with its revision.",
            )
            .response(204, Body::Empty)
            .errors(&[ErrorCode::NotFound, ErrorCode::FailedPrecondition]),
            other => unreachable!("{other:?} is no operation on task definitions"),
        }
    }

    fn task_spec(self) -> Spec {
        const ALL: &str = "/v1/namespaces/{namespace}/tasks";
        let spec = |method, path, summary| Spec::new(method, path, "tasks", summary);
        match self {
            Self::RunTask => spec(Method::POST, ALL, "Runs a one-off task of a command to its end.")
                .request(Body::Json(of::<RunTask>))
                .response(200, Body::Json(of::<Task>))
                .errors(&[ErrorCode::NotFound, ErrorCode::FailedPrecondition, ErrorCode::ResourceExhausted]),
            Self::ListTasks => spec(Method::GET, ALL, "Lists tasks, newest first; ended ones for a while.")
                .query(of::<TaskListQuery>)
                .response(200, Body::Json(of::<Page<Task>>)),
            Self::GetTask => spec(Method::GET, "/v1/namespaces/{namespace}/tasks/{task}", "Shows a task.")
                .response(200, Body::Json(of::<Task>))
                .errors(&[ErrorCode::NotFound]),
            Self::StopTask => spec(
                Method::POST,
                "/v1/namespaces/{namespace}/tasks/{task}/stop",
                "Stops a task; one that has ended stays as it is.",
            )
            .request(Body::Json(of::<StopTask>))
            .response(200, Body::Json(of::<Task>))
            .errors(&[ErrorCode::NotFound]),
            Self::ForwardTask => spec(
                Method::POST,
                "/v1/namespaces/{namespace}/tasks/{task}/forward",
                "Makes this connection one to a port of a command's task: it is upgraded to `skiff-forward`.",
            )
            .query(of::<ForwardQuery>)
            .response(101, Body::Empty)
            .errors(&[
                ErrorCode::NotFound,
                ErrorCode::FailedPrecondition,
                ErrorCode::ResourceExhausted,
            ]),
            Self::ReadLogs => spec(
                Method::GET,
                "/v1/namespaces/{namespace}/logs",
                "Streams the lines that tasks wrote to stdout and stderr, oldest first.",
            )
            .query(of::<LogQuery>)
            .response(200, Body::JsonLines(of::<LogLine>))
            .errors(&[ErrorCode::NotFound]),
            other => unreachable!("{other:?} is no operation on tasks"),
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

impl Spec {
    fn new(method: Method, path: &'static str, tag: &'static str, summary: &'static str) -> Self {
        let (query, request, response) = (None, Body::Empty, Body::Empty);
        Self {
            method,
            path,
            tag,
            summary,
            query,
            request,
            status: 200,
            response,
            if_match: false,
            errors: &[],
        }
    }

    fn query(self, schema: SchemaOf) -> Self {
        Self { query: Some(schema), ..self }
    }

    fn request(self, request: Body) -> Self {
        Self { request, ..self }
    }

    fn response(self, status: u16, response: Body) -> Self {
        Self { status, response, ..self }
    }

    fn if_match(self) -> Self {
        Self { if_match: true, ..self }
    }

    fn errors(self, errors: &'static [ErrorCode]) -> Self {
        Self { errors, ..self }
    }
}

fn of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

fn parameter_schema(name: &'static str) -> SchemaOf {
    match name {
        "namespace" => of::<text::Namespace>,
        "reference" => of::<text::ImageReference>,
        "definition" => of::<text::TaskDefinitionReferenceText>,
        "service" | "security_group" | "listener" | "rule" | "target_group" | "certificate" | "alarm" => {
            of::<text::Name>
        }
        "metric" => of::<text::MetricName>,
        "task" => of::<text::TaskId>,
        other => unreachable!("{other} is no parameter of a path"),
    }
}

/// Percent-encodes all but RFC 3986's unreserved characters and the `:` and `@` that a segment may hold.
fn encode_segment(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~:@".contains(&byte) {
            encoded.push(byte as char);
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
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

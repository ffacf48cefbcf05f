//! The HTTP API, version 1: its wire types, the table of its operations, its OpenAPI document and a typed client.
//!
//! What the API does is `control`'s business; nothing here knows a store or a runtime. The wire types are apart from
//! the domain types of `skiff-types`, except for those that are one word of text on the wire (names, sizes, ids).
//!
//! Always holds: [`Operation`] is the only place that says which method and path an operation has. The handlers'
//! router, the OpenAPI document and the client are all made from it.

mod alarm;
mod balancer;
mod client;
mod cold_start;
mod definition;
mod deployment;
mod error;
mod event;
mod explain;
mod flow;
mod forward;
mod image;
mod log;
mod metric;
mod openapi;
mod operation;
mod page;
mod placement;
mod scaling;
mod security_group;
mod service;
mod several;
mod status;
mod task;
mod text;
mod usage;

pub use alarm::{Alarm, AlarmStatus, AlarmTransition, PutAlarm};
pub use balancer::{
    Action, Certificate, ExplainRequest, ExplainedTargetGroup, ExplanationStep, FixedResponse, Forward,
    InvalidSpec, Limit, Listener, ListenerRule, ListenerRuleListQuery, PutCertificate, PutListener,
    PutListenerRule, PutTargetGroup, Redirect, RequestExplanation, Setting, TakenBy, Target, TargetGroup,
    TargetHealthCheck, TargetHealthCheckSpec, Targets, WeightedGroup,
};
pub use client::{Client, ClientError};
pub use cold_start::{ColdStartReport, ColdStartRequest, ColdStartSample};
pub use definition::{
    Component, HealthCheck, HealthCheckSpec, Initialization, LimitsSpec, RegisterTaskDefinition,
    TaskDefinition, TaskDefinitionListQuery, TaskDefinitionQuery, TaskLimits,
};
pub use deployment::{
    ChangeRollout, Deployment, DeploymentConfiguration, DeploymentShift, DeploymentState,
    PutDeploymentConfiguration, RolloutAction,
};
pub use error::{ErrorBody, ErrorCode, ErrorDetail};
pub use event::{
    AlarmMoment, AlarmStateChange, DeploymentStateChange, Event, EventDetail, EventQuery, ScalingActivity,
    ScalingDirection, ServiceAction, TaskStateChange,
};
pub use explain::{ConsideredRule, ExplainQuery, Explanation, ExplanationSide};
pub use flow::{FlowQuery, FlowRecord, ListeningPort, TaskNetwork, Verdict};
pub use forward::{FORWARD_PROTOCOL, ForwardQuery};
pub use image::Image;
pub use log::{LogLine, LogQuery, LogStream};
pub use metric::{
    InvalidMetricDatum, Metric, MetricDatum, MetricListQuery, MetricPoint, MetricQuery, MetricSeries,
    PutMetricData, StatisticSet,
};
pub use openapi::openapi;
pub use operation::{Body, Operation, PathParameter};
pub use page::{Page, PageQuery};
pub use placement::{Node, NodeResources, Placement, PutPlacement};
pub use scaling::{
    PutScaling, Scaling, ScalingChange, ScalingPolicy, ScalingStatus, ScheduledScaling, StepAdjustment,
    StepScaling, TargetTracking,
};
pub use security_group::{ChangeRule, PutSecurityGroup, SecurityGroup};
pub use service::{
    PutService, RollbackService, ScaleService, Service, ServiceEvent, ServiceSpec, ServiceState,
    ServiceStatus,
};
pub use status::{Health, HealthState, ListenerStatus, PlatformStatus, WorkerState, WorkerStatus};
pub use task::{RunTask, StopTask, Task, TaskHealth, TaskListQuery, TaskUsage};
pub use text::{NameReference, TaskDefinitionReference};
pub use usage::{Usage, UsageItem, UsageQuery, UsageReport};

/// Largest JSON body of a request, in bytes. What it makes must fit one value of the store, which is under 1 MiB.
pub const REQUEST_BYTES_MAX: usize = 512 * 1024;
/// Largest component that may be pushed, in bytes.
pub const IMAGE_BYTES_MAX: u64 = 256 << 20;

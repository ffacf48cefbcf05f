//! The HTTP API, version 1: its wire types, the table of its operations, its OpenAPI document and a typed client.
//!
//! What the API does is `control`'s business; nothing here knows a store or a runtime. The wire types are apart from
//! the domain types of `skiff-types`, except for those that are one word of text on the wire (names, sizes, ids).
//!
//! Always holds: [`Operation`] is the only place that says which method and path an operation has. The handlers'
//! router, the OpenAPI document and the client are all made from it.

mod access;
mod alarm;
mod balancer;
mod bucket;
mod bus;
mod client;
mod cold_start;
mod consumer;
mod definition;
mod deployment;
mod error;
mod event;
mod event_schedule;
mod event_target;
mod explain;
mod flow;
mod forward;
mod image;
mod log;
mod metric;
mod number;
mod openapi;
mod operation;
mod page;
mod payload;
mod placement;
mod queue;
mod scaling;
mod security_group;
mod service;
mod several;
mod status;
mod table;
mod task;
mod text;
mod usage;

pub use access::{
    AccessExplanation, AccessKey, AccessQuery, CreateAccessKey, CreatedAccessKey, PutRole, Role,
};
pub use alarm::{Alarm, AlarmStatus, AlarmTransition, PutAlarm};
pub use balancer::{
    Action, Certificate, ExplainRequest, ExplainedTargetGroup, ExplanationStep, FixedResponse, Forward,
    InvalidSpec, Limit, Listener, ListenerRule, ListenerRuleListQuery, PutCertificate, PutListener,
    PutListenerRule, PutTargetGroup, Redirect, RequestExplanation, Setting, TakenBy, Target, TargetGroup,
    TargetHealthCheck, TargetHealthCheckSpec, Targets, WeightedGroup,
};
pub use bucket::{Bucket, BucketStatus, DeleteBucketQuery, PutBucket};
pub use bus::{
    Bus, EventPatternTest, EventRule, EventRuleListQuery, PutBus, PutEventRule, PutEventsAnswer, TailQuery,
    TailedEvent, TestEventPattern,
};
pub use client::{Client, ClientError};
pub use cold_start::{ColdStartReport, ColdStartRequest, ColdStartSample};
pub use consumer::{Consumer, ConsumerState, ConsumerStatus, PutConsumer};
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
pub use event_schedule::{EventSchedule, EventScheduleStatus, PutEventSchedule};
pub use event_target::{
    EventDestination, EventInput, EventQueueTarget, EventServiceTarget, EventTarget, EventTaskTarget,
    EventTemplate, JsonText,
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
pub use number::{NOT_EXACT, first_inexact, is_exact, is_exact_float};
pub use openapi::openapi;
pub use operation::{Body, Operation, PathParameter};
pub use page::{Page, PageQuery};
pub use payload::InvalidPayload;
pub use placement::{Node, NodeResources, Placement, PutPlacement};
pub use queue::{
    ChangeVisibility, DeadLetter, DeleteMessages, Message, MessageCount, MessageOutcome, MessageOutcomes,
    NewMessage, PutQueue, Queue, QueueStatus, ReceiveMessages, ReceivedMessages, RedriveQueue,
    RedrivenMessages, SendMessages, SentMessage, SentMessages, VisibilityChange,
};
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
pub use table::{
    GetItems, IncrementItem, IncrementedItem, Item, ItemWrite, Items, PutTable, ScanQuery, ScannedItems,
    Table, TableStatus, WriteItems, WrittenItems,
};
pub use task::{RunTask, StopTask, Task, TaskHealth, TaskListQuery, TaskUsage};
pub use text::{NameReference, TaskDefinitionReference};
pub use usage::{Usage, UsageItem, UsageQuery, UsageReport};

/// Largest JSON body of a request, in bytes. What it makes must fit one value of the store, which is under 1 MiB.
pub const REQUEST_BYTES_MAX: usize = 512 * 1024;
/// Largest JSON body of a request that carries items or messages, in bytes: ten messages of 1 MiB each in base64 fit.
pub const DATA_BYTES_MAX: u64 = 16 << 20;
/// Largest body of a request that puts events, in bytes: 100 of the largest fit.
pub const EVENTS_BYTES_MAX: u64 = 32 << 20;
/// Largest component that may be pushed, in bytes.
pub const IMAGE_BYTES_MAX: u64 = 256 << 20;

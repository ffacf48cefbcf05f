//! The words of Skiff as types: names, ids, sizes, specifications and statuses.
//!
//! No I/O, no async, no clock and no random source: what needs one takes it as an argument. Every type that a user
//! writes down parses from text and prints the same text back; `serde` goes through that text.

mod access;
mod access_key;
mod alarm;
mod balancer;
mod bucket;
mod bus;
mod bus_event;
mod capacity_provider;
mod consumer;
mod daemon;
mod datum;
mod definition;
mod deployment;
mod event;
mod grant;
mod image;
mod metric;
mod name;
mod network;
mod own_metric;
mod placement;
mod program;
mod queue;
mod resource_id;
mod role;
mod scale_to_zero;
mod scaling;
mod schedule;
mod security_group;
mod service;
mod size;
mod strategy;
mod task;
mod text;
mod timed_id;
mod usage;
mod value;

pub use access::{AccessAction, AccessResource, ResourceKind};
pub use access_key::AccessKeyId;
pub use alarm::{
    AlarmAction, AlarmActions, AlarmError, AlarmSpec, AlarmState, Comparison, MissingData, WebhookUrl,
};
pub use balancer::{
    Action, Algorithm, BUILT_IN_LISTENER, CERTIFICATE_BYTES_MAX, CERTIFICATES_MAX,
    CERTIFICATES_PER_LISTENER_MAX, CONDITION_VALUES_MAX, CONDITIONS_MAX, CertificateSpec, Condition,
    FixedResponse, Forward, HeaderCondition, INTERNAL_LISTENER_DOMAIN, LISTENERS_MAX, Limit,
    ListenerProtocol, ListenerSpec, Matcher, Outside, Pattern, Priority, QueryCondition,
    RULES_PER_LISTENER_MAX, Redirect, RedirectStatus, RuleSpec, Scheme, TargetGroupSpec, TargetHealth,
    TargetHealthCheck, TargetProtocol, TargetReason, TargetStatus, Targets, Unresolved, VirtualAddress,
    WEIGHT_MAX, WeightedGroup,
};
pub use bucket::{BucketSpec, TableSpec};
pub use bus::{
    BusSpec, DEFAULT_BUS, Destination, EventRuleError, EventRuleSpec, EventScheduleSpec, EventTarget, Input,
    Missed, RetryPolicy, TaskTarget, Template,
};
pub use bus_event::BusEvent;
pub use capacity_provider::{
    CapacityProviderError, CapacityProviderSpec, CapacityProviderStrategy, CapacityProviderStrategyItem,
    ManagedScaling,
};
pub use consumer::{ConsumerError, ConsumerSpec};
pub use daemon::{DEFAULT_STOP_TIMEOUT, Health, HealthCheck, Listen, Restart, STOP_TIMEOUT_MAX};
pub use datum::{Datum, Sketch};
pub use definition::{
    Command, DEFAULT_CONCURRENCY, DEFAULT_CPU, DEFAULT_MEMORY, DEFAULT_TIMEOUT_MS, Kind, Limits, Reuse,
    TaskDefinition, TaskDefinitionId, WasiGeneration,
};
pub use deployment::{
    CircuitBreaker, DeploymentConfiguration, DeploymentConfigurationError, DeploymentId, RolloutState,
};
pub use event::{
    AlarmMoment, AlarmStateChange, DeploymentEventName, DeploymentStateChange, Event, EventDetail, EventId,
    EventLevel, EventSource, EventType, Resource, ScalingActivity, ServiceAction, ServiceActionName,
    ServiceEventName, TaskStateChange,
};
pub use grant::{Grant, GrantAction, GrantPattern, PatternPiece};
pub use image::{Digest, ImageReference};
pub use metric::{
    Dimensions, DimensionsError, Measure, MetricName, MetricOf, Percentile, Resolution, SeriesId, Statistic,
};
pub use name::{DEFAULT_NAMESPACE, Name, Namespace, QualifiedName};
pub use network::{NetworkSpec, TaskAddress, Transport};
pub use own_metric::{BUS_METRICS, QUEUE_METRICS, RULE_METRICS, own_dimension};
pub use placement::{
    AttributeName, AttributeValue, Attributes, BinpackBy, Expression, NodeCapacity, NodeId, NodeSpec,
    Overcommit, OvercommitFactor, Placement, PlacementConstraint, PlacementError, PlacementStrategy,
    SchedulingStrategy, SpreadBy, TaskSize,
};
pub use program::Program;
pub use queue::{DeadLetter, QueueError, QueueOrder, QueueSpec};
pub use resource_id::ResourceId;
pub use role::{RoleError, RoleSpec};
pub use scale_to_zero::ScaleToZero;
pub use scaling::{
    Adjustment, Bounds, Policy, ScalingError, ScalingSpec, ScheduledScaling, StepAdjustment, StepScaling,
    TargetTracking,
};
pub use schedule::{Cron, LocalTime, Rate, Schedule, Zone};
pub use security_group::{
    DEFAULT_GROUP, Direction, GROUPS_OF_TASK_MAX, GroupRef, Peer, PortRange, RESERVED_GROUP_NAMES, RULES_MAX,
    Rule, default_group,
};
pub use service::{HostPattern, PathPrefix, RouteError, ServiceSpec};
pub use size::{CpuUnits, MemorySize, Span};
pub use strategy::{Split, Strategy, StrategyError, StrategyName};
pub use task::{Group, StopCode, StoppedReason, Task, TaskId, TaskStatus};
pub use text::ParseError;
pub use usage::{Account, Charge, Grain, Usage};
pub use value::MetricValue;

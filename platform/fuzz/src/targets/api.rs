//! The API's requests: whatever is taken for a body, a query or a parameter of a path says the same once it is written
//! and read again.
//!
//! The first line of an input names the operation; the rest is tried as its body, its query and a parameter of its path.
//! What the handlers make of what was taken is not seen here but in `control`'s own tests.

use axum::extract::Query;
use http::Uri;
use serde::Serialize;
use serde::de::DeserializeOwned;
use skiff_api::{
    AccessQuery, ChangeRollout, ChangeRule, ChangeVisibility, ColdStartRequest, CreateAccessKey,
    DeleteBucketQuery, DeleteMessages, EventQuery, EventRuleListQuery, EventTarget, ExplainQuery,
    ExplainRequest, FlowQuery, ForwardQuery, GetItems, IncrementItem, ListenerRuleListQuery, LogQuery,
    MetricListQuery, MetricQuery, Operation, PageQuery, PutAlarm, PutBucket, PutBus, PutCertificate,
    PutConsumer, PutEventRule, PutEventSchedule, PutListener, PutListenerRule, PutMetricData, PutQueue,
    PutRole, PutScaling, PutSecurityGroup, PutService, PutTable, PutTargetGroup, ReceiveMessages,
    RedriveQueue, RegisterTaskDefinition, RollbackService, RunTask, ScaleService, ScanQuery, SendMessages,
    StopTask, TailQuery, TaskDefinitionListQuery, TaskDefinitionQuery, TaskDefinitionReference,
    TaskListQuery, TestEventPattern, UsageQuery, WriteItems,
};
use skiff_types::{AccessKeyId, ImageReference, MetricName, Name, Namespace, TaskId};
use std::fmt::{Debug, Display};
use std::str::FromStr;

/// Reads the input as what an operation takes.
pub(crate) fn run(input: &[u8]) {
    let Some(end) = input.iter().position(|&byte| byte == b'\n') else { return };
    let (name, rest) = (&input[..end], &input[end + 1..]);
    let is_named = |operation: &Operation| format!("{operation:?}").as_bytes() == name;
    let Some(operation) = Operation::ALL.into_iter().find(is_named) else { return };
    body_and_query(operation, rest);
    let Ok(text) = std::str::from_utf8(rest) else { return };
    for parameter in operation.path_parameters() {
        match parameter.name {
            "namespace" => path::<Namespace>(text),
            "reference" => path::<ImageReference>(text),
            "definition" => path::<TaskDefinitionReference>(text),
            "service" | "security_group" | "listener" | "rule" | "target_group" | "certificate" | "alarm"
            | "role" | "bucket" | "consumer" | "table" | "queue" | "bus" | "event_rule"
            | "event_schedule" | "target" => {
                path::<Name>(text);
            }
            "access_key" => path::<AccessKeyId>(text),
            "metric" => path::<MetricName>(text),
            "task" => path::<TaskId>(text),
            other => panic!("no target reads the parameter {other}; add it here"),
        }
    }
}

/// Every operation with its types; the compiler asks for those of a new one.
fn body_and_query(operation: Operation, bytes: &[u8]) {
    match operation {
        Operation::RegisterTaskDefinition => body::<RegisterTaskDefinition>(bytes),
        Operation::PutService | Operation::CheckService => body::<PutService>(bytes),
        Operation::PutScaling => body::<PutScaling>(bytes),
        Operation::PutAlarm => body::<PutAlarm>(bytes),
        Operation::PutRole => body::<PutRole>(bytes),
        Operation::PutBucket => body::<PutBucket>(bytes),
        Operation::DeleteBucket => query::<DeleteBucketQuery>(bytes),
        Operation::PutTable => body::<PutTable>(bytes),
        Operation::GetItems => body::<GetItems>(bytes),
        Operation::WriteItems => body::<WriteItems>(bytes),
        Operation::IncrementItem => body::<IncrementItem>(bytes),
        Operation::ScanItems => query::<ScanQuery>(bytes),
        Operation::PutQueue => body::<PutQueue>(bytes),
        Operation::PutConsumer => body::<PutConsumer>(bytes),
        Operation::SendMessages => body::<SendMessages>(bytes),
        Operation::ReceiveMessages => body::<ReceiveMessages>(bytes),
        Operation::DeleteMessages => body::<DeleteMessages>(bytes),
        Operation::ChangeVisibility => body::<ChangeVisibility>(bytes),
        Operation::RedriveQueue => body::<RedriveQueue>(bytes),
        Operation::PutBus => body::<PutBus>(bytes),
        Operation::TailEvents => query::<TailQuery>(bytes),
        Operation::TestEventPattern => body::<TestEventPattern>(bytes),
        Operation::PutEventRule => body::<PutEventRule>(bytes),
        Operation::ListEventRules => query::<EventRuleListQuery>(bytes),
        Operation::PutEventTarget => body::<EventTarget>(bytes),
        Operation::PutEventSchedule => body::<PutEventSchedule>(bytes),
        Operation::CreateAccessKey => body::<CreateAccessKey>(bytes),
        Operation::ExplainAccess => query::<AccessQuery>(bytes),
        Operation::ScaleService => body::<ScaleService>(bytes),
        Operation::RollbackService => body::<RollbackService>(bytes),
        Operation::ChangeRollout => body::<ChangeRollout>(bytes),
        Operation::MeasureColdStarts => body::<ColdStartRequest>(bytes),
        Operation::RunTask => body::<RunTask>(bytes),
        Operation::StopTask => body::<StopTask>(bytes),
        Operation::PutSecurityGroup => body::<PutSecurityGroup>(bytes),
        Operation::AllowRule | Operation::RevokeRule => body::<ChangeRule>(bytes),
        Operation::PutListener => body::<PutListener>(bytes),
        Operation::PutRule => body::<PutListenerRule>(bytes),
        Operation::PutCertificate => body::<PutCertificate>(bytes),
        Operation::PutTargetGroup => body::<PutTargetGroup>(bytes),
        Operation::ExplainRequest => body::<ExplainRequest>(bytes),
        Operation::ListImages
        | Operation::ListServices
        | Operation::ListSecurityGroups
        | Operation::ListListeners
        | Operation::ListTargetGroups
        | Operation::ListTargets
        | Operation::ListCertificates
        | Operation::ListScaling
        | Operation::ListScalingActivities
        | Operation::ListAlarms
        | Operation::ListAlarmHistory
        | Operation::ListRoles
        | Operation::ListAccessKeys
        | Operation::ListBuckets
        | Operation::ListTables
        | Operation::ListQueues
        | Operation::ListConsumers
        | Operation::ListBuses
        | Operation::ListEventSchedules
        | Operation::ListNodes => query::<PageQuery>(bytes),
        Operation::ListRules => query::<ListenerRuleListQuery>(bytes),
        Operation::ExplainConnection => query::<ExplainQuery>(bytes),
        Operation::ReadFlows => query::<FlowQuery>(bytes),
        Operation::ForwardTask => query::<ForwardQuery>(bytes),
        Operation::ListTaskDefinitions => query::<TaskDefinitionListQuery>(bytes),
        Operation::GetTaskDefinition => query::<TaskDefinitionQuery>(bytes),
        Operation::ListTasks => query::<TaskListQuery>(bytes),
        Operation::ReadLogs => query::<LogQuery>(bytes),
        Operation::ReadEvents => query::<EventQuery>(bytes),
        Operation::PutMetricData => body::<PutMetricData>(bytes),
        Operation::ListMetrics => query::<MetricListQuery>(bytes),
        Operation::GetMetric => query::<MetricQuery>(bytes),
        Operation::GetUsage => query::<UsageQuery>(bytes),
        // A component or events, which are targets of their own; or nothing but a path.
        Operation::PushImage
        | Operation::GetImage
        | Operation::DeleteImage
        | Operation::DeregisterTaskDefinition
        | Operation::GetService
        | Operation::GetRollout
        | Operation::DeleteService
        | Operation::GetTask
        | Operation::GetTaskNetwork
        | Operation::GetSecurityGroup
        | Operation::DeleteSecurityGroup
        | Operation::GetListener
        | Operation::DeleteListener
        | Operation::GetRule
        | Operation::DeleteRule
        | Operation::GetTargetGroup
        | Operation::DeleteTargetGroup
        | Operation::GetCertificate
        | Operation::DeleteCertificate
        | Operation::GetScaling
        | Operation::DeleteScaling
        | Operation::GetAlarm
        | Operation::DeleteAlarm
        | Operation::GetRole
        | Operation::DeleteRole
        | Operation::DeleteAccessKey
        | Operation::GetBucket
        | Operation::GetTable
        | Operation::DeleteTable
        | Operation::GetQueue
        | Operation::DeleteQueue
        | Operation::GetConsumer
        | Operation::DeleteConsumer
        | Operation::PurgeQueue
        | Operation::GetBus
        | Operation::DeleteBus
        | Operation::PutEvents
        | Operation::GetEventRule
        | Operation::DeleteEventRule
        | Operation::DeleteEventTarget
        | Operation::GetEventSchedule
        | Operation::DeleteEventSchedule
        | Operation::GetStatus
        | Operation::GetHealth
        | Operation::GetMetrics
        | Operation::GetOpenApi => {}
    }
}

fn body<T: DeserializeOwned + Serialize + PartialEq + Debug>(bytes: &[u8]) {
    if let Ok(value) = serde_json::from_slice::<T>(bytes) {
        stays_itself(&value);
    }
}

fn query<T: DeserializeOwned + Serialize + PartialEq + Debug>(bytes: &[u8]) {
    let Ok(uri) = Uri::try_from([b"/?", bytes].concat()) else { return };
    if let Ok(Query(value)) = Query::<T>::try_from_uri(&uri) {
        stays_itself(&value);
    }
}

fn stays_itself<T: DeserializeOwned + Serialize + PartialEq + Debug>(value: &T) {
    let text = serde_json::to_string(value).expect("what was read can be written");
    let again: T = serde_json::from_str(&text).expect("what was written can be read");
    assert_eq!(value, &again, "{text}");
}

fn path<T: FromStr<Err: Debug> + Display + PartialEq + Debug>(text: &str) {
    if let Ok(value) = text.parse::<T>() {
        assert_eq!(value, value.to_string().parse().expect("what was printed can be parsed"));
    }
}

//! Which call of the entrance carries out which operation. The compiler sees to it that none is missing.

mod access;
mod alarm;
mod balancer;
mod buses;
mod consumer;
mod data;

use super::{Connection, Door, forward, request, respond};
use crate::entrance::{IfMatch, Putter};
use crate::error::ApiError;
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use http::StatusCode;
use http::request::Parts;
use request::{Origin, PathValues};
use serde::Serialize;
use serde::de::DeserializeOwned;
use skiff_api::{ChangeRule, ErrorCode, Health, HealthState, Operation};
use skiff_types::{Namespace, QualifiedName};
use std::fmt::Display;
use std::io;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tracing::{error, info, warn};

/// The longest that a call may take which waits for nothing but the store.
const CALL_TIME: Duration = Duration::from_secs(30);
/// The longest that a call may take which compiles, measures or stores an image.
const LONG_CALL_TIME: Duration = Duration::from_secs(900);
/// How often a stream of lines shows that it is alive while nothing is written.
const SIGN_OF_LIFE: Duration = Duration::from_secs(10);

/// Answers a call.
pub(super) async fn answer(operation: Operation, door: &Door, mut request: Request) -> Response {
    let origin = request.extensions_mut().remove::<Origin>();
    let Origin { id, connection } = origin.expect("each call gets one before it is routed");
    let time = match operation {
        Operation::PushImage | Operation::RegisterTaskDefinition | Operation::MeasureColdStarts => {
            LONG_CALL_TIME
        }
        _ => CALL_TIME,
    };
    let wait = connection.timer.after(time);
    let result = tokio::select! {
        biased;
        result = take(operation, door, &connection, request) => result,
        () = wait => Err(ApiError::new(
            ErrorCode::Unavailable,
            format!(
                "the call took longer than {} seconds and was broken off; what it was to change may be changed all the \
                 same: look before you try again",
                time.as_secs()
            ),
        )),
    };
    result.unwrap_or_else(|error| {
        log(operation, id.to_str().unwrap_or_default(), &error);
        respond::failure(&error)
    })
}

/// Carries out an operation that its caller may call. The future of all of them takes as much room as the largest, so it is boxed;
/// that of messages, whose calls are many and short, is one of its own.
async fn take(
    operation: Operation,
    door: &Door,
    connection: &Connection,
    request: Request,
) -> Result<Response, ApiError> {
    let mut call = Call::of(operation, door, connection, request).await?;
    match operation {
        Operation::SendMessages | Operation::ReceiveMessages | Operation::DeleteMessages => {
            data::messages(operation, &door.entrance, &mut call).await
        }
        _ => Box::pin(carry_out(operation, door, call)).await,
    }
}

/// Logs a failure once: at its own fault as an error, at the caller's as a note.
fn log(operation: Operation, id: &str, failure: &ApiError) {
    let context = failure.context.as_ref().map(|context| {
        let mut text = context.to_string();
        let mut source = context.source();
        while let Some(error) = source {
            text = format!("{text}: {error}");
            source = error.source();
        }
        text
    });
    let (code, message) = (failure.code, failure.message.as_str());
    match code {
        ErrorCode::Internal => error!(?operation, request_id = id, %code, message, context, "a call failed"),
        ErrorCode::Unavailable | ErrorCode::StorageFull => {
            warn!(?operation, request_id = id, %code, message, context, "a call failed")
        }
        _ => info!(?operation, request_id = id, %code, message, "a call was refused"),
    }
}

/// Carries out one operation: takes what it needs out of the request, calls the entrance, answers with what it said.
async fn carry_out(operation: Operation, door: &Door, mut call: Call) -> Result<Response, ApiError> {
    use Operation as Op;
    let (entrance, status) = (&door.entrance, operation.success_status());
    Ok(match operation {
        Op::PushImage => {
            let (namespace, reference, if_match) =
                (call.namespace()?, call.path("reference")?, call.if_match()?);
            let image = entrance.push_image(&namespace, &reference, call.bytes()?, if_match).await?;
            respond::revised(status, &image)
        }
        Op::ListImages => respond::json(status, &entrance.list_images(&call.namespace()?, &call.query()?)?),
        Op::GetImage => {
            let image = entrance.get_image(&call.namespace()?, &call.path("reference")?).await?;
            respond::revised(status, &image)
        }
        Op::DeleteImage => {
            let (namespace, reference) = (call.namespace()?, call.path("reference")?);
            entrance.delete_image(&namespace, &reference, call.if_match()?).await?;
            respond::empty(status)
        }
        Op::RegisterTaskDefinition => {
            let definition = entrance.register_definition(&call.namespace()?, call.json().await?).await?;
            respond::json(status, &definition)
        }
        Op::ListTaskDefinitions => {
            respond::json(status, &entrance.list_definitions(&call.namespace()?, &call.query()?)?)
        }
        Op::GetTaskDefinition => {
            let (namespace, reference) = (call.namespace()?, call.path("definition")?);
            respond::json(status, &entrance.get_definition(&namespace, &reference, &call.query()?)?)
        }
        Op::DeregisterTaskDefinition => {
            entrance.deregister_definition(&call.namespace()?, &call.path("definition")?).await?;
            respond::empty(status)
        }
        Op::PutService => {
            let (service, if_match) = (call.service()?, call.if_match()?);
            respond::revised(status, &entrance.put_service(&service, call.json().await?, if_match).await?)
        }
        Op::CheckService => {
            let service = call.service()?;
            entrance.check_service(&service, &call.json().await?)?;
            respond::empty(status)
        }
        Op::ListServices => {
            respond::json(status, &entrance.list_services(&call.namespace()?, &call.query()?)?)
        }
        Op::GetService => respond::revised(status, &entrance.get_service(&call.service()?)?),
        Op::DeleteService => {
            entrance.delete_service(&call.service()?, call.if_match()?).await?;
            respond::empty(status)
        }
        Op::ScaleService => {
            let (service, if_match) = (call.service()?, call.if_match()?);
            respond::revised(status, &entrance.scale_service(&service, call.json().await?, if_match).await?)
        }
        Op::RollbackService => {
            let (service, if_match) = (call.service()?, call.if_match()?);
            respond::revised(
                status,
                &entrance.roll_back_service(&service, call.json().await?, if_match).await?,
            )
        }
        Op::GetRollout => respond::json(status, &entrance.get_rollout(&call.service()?)?),
        Op::ChangeRollout => {
            let service = call.service()?;
            respond::revised(status, &entrance.change_rollout(&service, call.json().await?).await?)
        }
        Op::PutScaling => {
            let (service, if_match) = (call.service()?, call.if_match()?);
            respond::revised(status, &entrance.put_scaling(&service, call.json().await?, if_match).await?)
        }
        Op::ListScaling => respond::json(status, &entrance.list_scaling(&call.namespace()?, &call.query()?)?),
        Op::GetScaling => respond::revised(status, &entrance.get_scaling(&call.service()?)?),
        Op::DeleteScaling => {
            entrance.delete_scaling(&call.service()?, call.if_match()?).await?;
            respond::empty(status)
        }
        Op::ListScalingActivities => {
            respond::json(status, &entrance.list_scaling_activities(&call.service()?, &call.query()?)?)
        }
        Op::MeasureColdStarts => {
            let report = entrance.measure_cold_starts(&call.service()?, call.json().await?).await?;
            respond::json(status, &report)
        }
        Op::RunTask => {
            respond::revised(status, &entrance.run_task(&call.namespace()?, call.json().await?).await?)
        }
        Op::ListTasks => respond::json(status, &entrance.list_tasks(&call.namespace()?, &call.query()?)?),
        Op::GetTask => respond::revised(status, &entrance.get_task(&call.namespace()?, call.path("task")?)?),
        Op::StopTask => {
            let (namespace, task) = (call.namespace()?, call.path("task")?);
            respond::revised(status, &entrance.stop_task(&namespace, task, call.json().await?).await?)
        }
        Op::ForwardTask => {
            let (namespace, task, query) = (call.namespace()?, call.path("task")?, call.query()?);
            match forward::asked(&mut call.parts) {
                Some(upgrade) => {
                    let connection = entrance.forward(&namespace, task, query).await?;
                    forward::accept(upgrade, connection, entrance.draining())
                }
                None => forward::upgrade_required(),
            }
        }
        Op::ReadLogs => lines(door, status, entrance.read_logs(&call.namespace()?, &call.query()?)?),
        Op::ReadEvents => {
            lines(door, status, entrance.read_events(&call.namespace()?, &call.query()?).await?)
        }
        Op::PutSecurityGroup => {
            let (group, if_match) = (call.security_group()?, call.if_match()?);
            let group = entrance.put_security_group(&group, call.json().await?, if_match).await?;
            respond::revised(status, &group)
        }
        Op::ListSecurityGroups => {
            respond::json(status, &entrance.list_security_groups(&call.namespace()?, &call.query()?)?)
        }
        Op::GetSecurityGroup => {
            respond::revised(status, &entrance.get_security_group(&call.security_group()?)?)
        }
        Op::DeleteSecurityGroup => {
            entrance.delete_security_group(&call.security_group()?, call.if_match()?).await?;
            respond::empty(status)
        }
        Op::AllowRule => {
            let (group, if_match) = (call.security_group()?, call.if_match()?);
            let ChangeRule { rule } = call.json().await?;
            respond::revised(status, &entrance.allow_rule(&group, rule, if_match).await?)
        }
        Op::RevokeRule => {
            let (group, if_match) = (call.security_group()?, call.if_match()?);
            let ChangeRule { rule } = call.json().await?;
            respond::revised(status, &entrance.revoke_rule(&group, rule, if_match).await?)
        }
        Op::GetTaskNetwork => {
            respond::json(status, &entrance.task_network(&call.namespace()?, call.path("task")?).await?)
        }
        Op::ExplainConnection => {
            respond::json(status, &entrance.explain(&call.namespace()?, &call.query()?).await?)
        }
        Op::ReadFlows => lines(door, status, entrance.read_flows(&call.namespace()?, &call.query()?).await?),
        Op::PutListener
        | Op::ListListeners
        | Op::GetListener
        | Op::DeleteListener
        | Op::ExplainRequest
        | Op::PutRule
        | Op::ListRules
        | Op::GetRule
        | Op::DeleteRule
        | Op::PutTargetGroup
        | Op::ListTargetGroups
        | Op::GetTargetGroup
        | Op::DeleteTargetGroup
        | Op::ListTargets
        | Op::PutCertificate
        | Op::ListCertificates
        | Op::GetCertificate
        | Op::DeleteCertificate => balancer::carry_out(operation, entrance, &mut call).await?,
        Op::ListNodes => respond::json(status, &entrance.list_nodes(&call.query()?)?),
        Op::GetStatus => respond::json(status, &entrance.status(door.address)),
        Op::PutMetricData => {
            entrance.put_metric_data(&call.namespace()?, call.json().await?)?;
            respond::empty(status)
        }
        Op::ListMetrics => respond::json(status, &entrance.list_metrics(&call.namespace()?, &call.query()?)?),
        Op::GetMetric => {
            let (namespace, metric) = (call.namespace()?, call.path("metric")?);
            respond::json(status, &entrance.get_metric(&namespace, metric, &call.query()?).await?)
        }
        Op::PutAlarm | Op::ListAlarms | Op::GetAlarm | Op::ListAlarmHistory | Op::DeleteAlarm => {
            alarm::carry_out(operation, entrance, &mut call).await?
        }
        Op::PutConsumer | Op::ListConsumers | Op::GetConsumer | Op::DeleteConsumer => {
            consumer::carry_out(operation, entrance, &mut call).await?
        }
        Op::PutBucket
        | Op::ListBuckets
        | Op::GetBucket
        | Op::DeleteBucket
        | Op::PutTable
        | Op::ListTables
        | Op::GetTable
        | Op::DeleteTable
        | Op::GetItems
        | Op::WriteItems
        | Op::IncrementItem
        | Op::ScanItems
        | Op::PutQueue
        | Op::ListQueues
        | Op::GetQueue
        | Op::DeleteQueue
        | Op::SendMessages
        | Op::ReceiveMessages
        | Op::DeleteMessages
        | Op::ChangeVisibility
        | Op::PurgeQueue
        | Op::RedriveQueue => data::carry_out(operation, entrance, &mut call).await?,
        Op::TailEvents => lines(door, status, entrance.tail_events(&call.qualified("bus")?, &call.query()?)?),
        Op::PutBus
        | Op::ListBuses
        | Op::GetBus
        | Op::DeleteBus
        | Op::PutEvents
        | Op::TestEventPattern
        | Op::PutEventRule
        | Op::ListEventRules
        | Op::GetEventRule
        | Op::DeleteEventRule
        | Op::PutEventTarget
        | Op::DeleteEventTarget
        | Op::PutEventSchedule
        | Op::ListEventSchedules
        | Op::GetEventSchedule
        | Op::DeleteEventSchedule => buses::carry_out(operation, entrance, &mut call).await?,
        Op::PutRole
        | Op::ListRoles
        | Op::GetRole
        | Op::ExplainAccess
        | Op::DeleteRole
        | Op::CreateAccessKey
        | Op::ListAccessKeys
        | Op::DeleteAccessKey => access::carry_out(operation, entrance, &mut call).await?,
        Op::GetUsage => respond::json(status, &entrance.usage(&call.query()?).await?),
        Op::GetHealth => {
            let health = Health { status: entrance.health() };
            let is_ready = health.status == HealthState::Ready;
            respond::json(if is_ready { status } else { StatusCode::SERVICE_UNAVAILABLE }, &health)
        }
        Op::GetMetrics => {
            respond::typed(status, "text/plain; version=0.0.4", Body::from(entrance.metrics()?))
        }
        Op::GetOpenApi => respond::json(status, &skiff_api::openapi()),
    })
}

/// A request that its caller may make, with what can be taken out of it.
struct Call {
    operation: Operation,
    /// Who calls.
    caller: Putter,
    values: PathValues,
    parts: Parts,
    body: Body,
}

impl Call {
    async fn of(
        operation: Operation,
        door: &Door,
        connection: &Connection,
        request: Request,
    ) -> Result<Self, ApiError> {
        let (mut parts, body) = request.into_parts();
        let caller = request::authorize(operation, door, connection, &parts)?;
        request::check_conditions(operation, &parts.headers)?;
        let values = PathValues::of(&mut parts).await?;
        Ok(Self { operation, caller, values, parts, body })
    }

    fn path<T: FromStr<Err: Display>>(&self, name: &str) -> Result<T, ApiError> {
        self.values.get(name)
    }

    fn namespace(&self) -> Result<Namespace, ApiError> {
        self.path("namespace")
    }

    /// The name of what a parameter names in its namespace.
    fn qualified(&self, parameter: &str) -> Result<QualifiedName, ApiError> {
        Ok(QualifiedName::new(self.namespace()?, self.path(parameter)?))
    }

    fn service(&self) -> Result<QualifiedName, ApiError> {
        self.qualified("service")
    }

    fn security_group(&self) -> Result<QualifiedName, ApiError> {
        self.qualified("security_group")
    }

    fn query<T: DeserializeOwned>(&self) -> Result<T, ApiError> {
        request::query(&self.parts)
    }

    fn if_match(&self) -> Result<IfMatch, ApiError> {
        request::if_match(&self.parts.headers)
    }

    /// The body as it comes; taken once.
    fn bytes(&mut self) -> Result<BoxStream<'static, io::Result<Bytes>>, ApiError> {
        let body = std::mem::take(&mut self.body);
        request::bytes(&self.parts.headers, body, self.operation.request_bytes_max())
    }

    /// The body to its end, with its bytes' places in `room`, if it has to be within one: to be kept as long as the body. Taken
    /// once.
    async fn whole(
        &mut self,
        room: Option<Arc<Semaphore>>,
    ) -> Result<(Bytes, Option<OwnedSemaphorePermit>), ApiError> {
        let body = std::mem::take(&mut self.body);
        let mut places: Option<OwnedSemaphorePermit> = None;
        let take = |bytes: usize| -> Result<(), ApiError> {
            let Some(room) = &room else { return Ok(()) };
            let taken = room.clone().try_acquire_many_owned(u32::try_from(bytes).unwrap_or(u32::MAX));
            let taken = taken.map_err(|_| {
                let message =
                    "as much is being put by access keys already as there may be at once; try again";
                ApiError::new(ErrorCode::ResourceExhausted, message)
            })?;
            match &mut places {
                Some(places) => places.merge(taken),
                none => *none = Some(taken),
            }
            Ok(())
        };
        let bytes = request::whole(self.operation, &self.parts.headers, body, take).await?;
        Ok((bytes, places))
    }

    /// The body's JSON; taken once.
    async fn json<T: DeserializeOwned>(&mut self) -> Result<T, ApiError> {
        let body = std::mem::take(&mut self.body);
        request::json(self.operation, &self.parts.headers, body).await
    }
}

/// An answer of lines, until the platform begins to drain.
fn lines<T: Serialize + Send + 'static>(
    door: &Door,
    status: StatusCode,
    lines: BoxStream<'static, io::Result<T>>,
) -> Response {
    let lines = with_signs_of_life(lines).take_until(door.entrance.draining());
    respond::typed(status, "application/x-ndjson", Body::from_stream(lines))
}

/// Lines as JSON, one each; an empty one now and then while there are none.
fn with_signs_of_life<T: Serialize + Send + 'static>(
    lines: BoxStream<'static, io::Result<T>>,
) -> impl futures::Stream<Item = io::Result<Bytes>> + Send + 'static {
    futures::stream::unfold(Some(lines), |state| async {
        let mut lines = state?;
        match tokio::time::timeout(SIGN_OF_LIFE, lines.next()).await {
            Err(_) => Some((Ok(Bytes::from_static(b"\n")), Some(lines))),
            Ok(None) => None,
            Ok(Some(Err(error))) => {
                warn!(%error, "lines could not be read on");
                Some((Err(error), None))
            }
            Ok(Some(Ok(line))) => {
                let text = serde_json::to_vec(&line).map(|mut text| {
                    text.push(b'\n');
                    Bytes::from(text)
                });
                Some((text.map_err(io::Error::from), Some(lines)))
            }
        }
    })
}

//! Which call of the entrance carries out which operation. An operation that is added has to be named here.

use super::{Door, request, respond};
use crate::entrance::Lines;
use crate::error::ApiError;
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use bytes::Bytes;
use futures::StreamExt;
use http::StatusCode;
use request::{PathValues, RequestId};
use serde::Serialize;
use skiff_api::{ErrorCode, Health, HealthState, Operation};
use skiff_types::QualifiedName;
use std::time::Duration;
use tracing::{error, info, warn};

/// The longest that a call may take which waits for nothing but the store.
const CALL_TIME: Duration = Duration::from_secs(30);
/// The longest that a call may take which compiles, measures or stores an image.
const LONG_CALL_TIME: Duration = Duration::from_secs(900);
/// How often a stream of lines shows that it is alive while nothing is written.
const SIGN_OF_LIFE: Duration = Duration::from_secs(10);

/// Answers a call.
pub(super) async fn answer(operation: Operation, door: Door, request: Request) -> Response {
    let id = request.extensions().get::<RequestId>().map(|id| id.0.clone()).unwrap_or_default();
    let time = match operation {
        Operation::PushImage | Operation::RegisterTaskDefinition | Operation::MeasureColdStarts => {
            LONG_CALL_TIME
        }
        _ => CALL_TIME,
    };
    let result = match tokio::time::timeout(time, call(operation, &door, request)).await {
        Ok(result) => result,
        Err(_) => Err(ApiError::new(
            ErrorCode::Unavailable,
            format!("the call took longer than {} seconds and was broken off", time.as_secs()),
        )),
    };
    result.unwrap_or_else(|error| {
        log(operation, &id, &error);
        respond::failure(&error)
    })
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
        ErrorCode::Unavailable => {
            warn!(?operation, request_id = id, %code, message, context, "a call failed")
        }
        _ => info!(?operation, request_id = id, %code, message, "a call was refused"),
    }
}

async fn call(operation: Operation, door: &Door, request: Request) -> Result<Response, ApiError> {
    let (mut parts, body) = request.into_parts();
    request::authorize(operation, door, &parts)?;
    request::check_conditions(operation, &parts.headers)?;
    let path = PathValues::of(&mut parts).await?;
    match operation {
        Operation::PushImage
        | Operation::ListImages
        | Operation::GetImage
        | Operation::DeleteImage
        | Operation::RegisterTaskDefinition
        | Operation::ListTaskDefinitions
        | Operation::GetTaskDefinition
        | Operation::DeregisterTaskDefinition => on_images(operation, door, &path, &parts, body).await,
        Operation::PutService
        | Operation::ListServices
        | Operation::GetService
        | Operation::DeleteService
        | Operation::ScaleService
        | Operation::RollbackService
        | Operation::MeasureColdStarts => on_services(operation, door, &path, &parts, body).await,
        Operation::RunTask
        | Operation::ListTasks
        | Operation::GetTask
        | Operation::StopTask
        | Operation::ReadLogs => on_tasks(operation, door, &path, &parts, body).await,
        Operation::GetStatus | Operation::GetHealth | Operation::GetMetrics | Operation::GetOpenApi => {
            on_platform(operation, door)
        }
    }
}

async fn on_images(
    operation: Operation,
    door: &Door,
    path: &PathValues,
    parts: &http::request::Parts,
    body: Body,
) -> Result<Response, ApiError> {
    let (entrance, status) = (&door.entrance, operation.success_status());
    let namespace = path.get("namespace")?;
    match operation {
        Operation::PushImage => {
            let component = request::bytes(&parts.headers, body, operation.request_bytes_max())?;
            let if_match = request::if_match(&parts.headers)?;
            let reference = path.get("reference")?;
            let image = entrance.push_image(&namespace, &reference, component, if_match).await?;
            Ok(respond::versioned(status, image.revision, &image))
        }
        Operation::ListImages => object(status, entrance.list_images(&namespace, &request::query(parts)?)?),
        Operation::GetImage => {
            let image = entrance.get_image(&namespace, &path.get("reference")?).await?;
            Ok(respond::versioned(status, image.revision, &image))
        }
        Operation::DeleteImage => {
            let if_match = request::if_match(&parts.headers)?;
            entrance.delete_image(&namespace, &path.get("reference")?, if_match).await?;
            Ok(respond::empty(status))
        }
        Operation::RegisterTaskDefinition => {
            let wanted = request::json(operation, &parts.headers, body).await?;
            object(status, entrance.register_definition(&namespace, wanted).await?)
        }
        Operation::ListTaskDefinitions => {
            object(status, entrance.list_definitions(&namespace, &request::query(parts)?)?)
        }
        Operation::GetTaskDefinition => {
            let reference = path.get("definition")?;
            object(status, entrance.get_definition(&namespace, &reference, &request::query(parts)?)?)
        }
        Operation::DeregisterTaskDefinition => {
            entrance.deregister_definition(&namespace, &path.get("definition")?).await?;
            Ok(respond::empty(status))
        }
        other => unreachable!("{other:?} is dispatched elsewhere"),
    }
}

async fn on_services(
    operation: Operation,
    door: &Door,
    path: &PathValues,
    parts: &http::request::Parts,
    body: Body,
) -> Result<Response, ApiError> {
    let (entrance, status) = (&door.entrance, operation.success_status());
    let namespace = path.get("namespace")?;
    if operation == Operation::ListServices {
        return object(status, entrance.list_services(&namespace, &request::query(parts)?)?);
    }
    let name = QualifiedName::new(namespace, path.get("service")?);
    let if_match = request::if_match(&parts.headers)?;
    let service = match operation {
        Operation::PutService => {
            let wanted = request::json(operation, &parts.headers, body).await?;
            entrance.put_service(&name, wanted, if_match).await?
        }
        Operation::GetService => entrance.get_service(&name)?,
        Operation::DeleteService => {
            entrance.delete_service(&name, if_match).await?;
            return Ok(respond::empty(status));
        }
        Operation::ScaleService => {
            let wanted = request::json(operation, &parts.headers, body).await?;
            entrance.scale_service(&name, wanted, if_match).await?
        }
        Operation::RollbackService => {
            let wanted = request::json(operation, &parts.headers, body).await?;
            entrance.roll_back_service(&name, wanted, if_match).await?
        }
        Operation::MeasureColdStarts => {
            let wanted = request::json(operation, &parts.headers, body).await?;
            return object(status, entrance.measure_cold_starts(&name, wanted).await?);
        }
        other => unreachable!("{other:?} is dispatched elsewhere"),
    };
    Ok(respond::versioned(status, service.revision, &service))
}

async fn on_tasks(
    operation: Operation,
    door: &Door,
    path: &PathValues,
    parts: &http::request::Parts,
    body: Body,
) -> Result<Response, ApiError> {
    let (entrance, status) = (&door.entrance, operation.success_status());
    let namespace = path.get("namespace")?;
    let task = match operation {
        Operation::RunTask => {
            let wanted = request::json(operation, &parts.headers, body).await?;
            entrance.run_task(&namespace, wanted).await?
        }
        Operation::ListTasks => {
            return object(status, entrance.list_tasks(&namespace, &request::query(parts)?)?);
        }
        Operation::GetTask => entrance.get_task(&namespace, path.get("task")?)?,
        Operation::StopTask => {
            let wanted = request::json(operation, &parts.headers, body).await?;
            entrance.stop_task(&namespace, path.get("task")?, wanted).await?
        }
        Operation::ReadLogs => {
            let read = entrance.read_logs(&namespace, &request::query(parts)?)?;
            let lines = Body::from_stream(with_signs_of_life(read).take_until(entrance.draining()));
            return Ok(respond::typed(status, "application/x-ndjson", lines));
        }
        other => unreachable!("{other:?} is dispatched elsewhere"),
    };
    Ok(respond::versioned(status, task.revision, &task))
}

fn on_platform(operation: Operation, door: &Door) -> Result<Response, ApiError> {
    let (entrance, status) = (&door.entrance, operation.success_status());
    match operation {
        Operation::GetStatus => object(status, entrance.status(door.address)),
        Operation::GetHealth => {
            let health = Health { status: entrance.health() };
            let ready = health.status == HealthState::Ready;
            Ok(respond::json(if ready { status } else { StatusCode::SERVICE_UNAVAILABLE }, &health))
        }
        Operation::GetMetrics => {
            let text = entrance.metrics()?;
            Ok(respond::typed(status, "text/plain; version=0.0.4", Body::from(text)))
        }
        Operation::GetOpenApi => object(status, skiff_api::openapi()),
        other => unreachable!("{other:?} is dispatched elsewhere"),
    }
}

fn object(status: StatusCode, value: impl Serialize) -> Result<Response, ApiError> {
    Ok(respond::json(status, &value))
}

/// Lines as JSON, one each; an empty one now and then while there are none.
fn with_signs_of_life(lines: Lines) -> impl futures::Stream<Item = std::io::Result<Bytes>> + Send {
    futures::stream::unfold(Some(lines), |state| async {
        let mut lines = state?;
        match tokio::time::timeout(SIGN_OF_LIFE, lines.next()).await {
            Err(_) => Some((Ok(Bytes::from_static(b"\n")), Some(lines))),
            Ok(None) => None,
            Ok(Some(Err(error))) => {
                warn!(%error, "logs could not be read");
                Some((Err(error), None))
            }
            Ok(Some(Ok(line))) => {
                let text = serde_json::to_vec(&line).map(|mut text| {
                    text.push(b'\n');
                    Bytes::from(text)
                });
                Some((text.map_err(std::io::Error::from), Some(lines)))
            }
        }
    })
}

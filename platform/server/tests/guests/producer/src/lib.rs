//! An HTTP task on WASI 0.2 that does with buckets, tables, queues and buses what a path asks for, and answers with what came of
//! it: 403 where its role does not allow it.

use guest_common::Target;
use skiff_sdk::buckets::Bucket;
use skiff_sdk::events::NewEvent;
use skiff_sdk::queues::NewMessage;
use skiff_sdk::tables::{self, Table};
use skiff_sdk::{IntoResponse, Request, Response, ServiceError, StatusCode};

#[skiff_sdk::http]
async fn handle(request: Request) -> Response {
    let (head, body) = request.into_parts();
    let Ok(body) = body.text().await else { return StatusCode::BAD_REQUEST.into_response() };
    let target = Target::new(head.uri.path_and_query().map(|path| path.as_str()));
    let (name, key) = (target.text("in").unwrap_or_default(), target.text("key").unwrap_or_default());
    match act(target.path(), name, key, &body) {
        Ok(said) => said.into_response(),
        Err((status, said)) => (status, said).into_response(),
    }
}

fn act(path: &str, name: &str, key: &str, body: &str) -> Result<String, (StatusCode, String)> {
    let table = Table::new(name);
    match path {
        "/send" => skiff_sdk::queues::send(name, NewMessage::new(body)).map_err(of_service),
        "/put-event" => {
            let event = NewEvent::new("producer", key, body);
            skiff_sdk::events::put(name, event).map_err(of_service).map(|()| "put".to_owned())
        }
        "/get" => {
            let item = table.get(key).map_err(of_table)?;
            let item = item.ok_or_else(|| (StatusCode::NOT_FOUND, "it is not there".to_owned()))?;
            Ok(format!("{} {}", item.version, String::from_utf8_lossy(&item.value)))
        }
        "/put" => table.put(key, body).map_err(of_table).map(|version| version.to_string()),
        "/delete" => table.delete(key).map_err(of_table).map(|()| "deleted".to_owned()),
        "/increment" => table.increment(key, 1).map_err(of_table).map(|sum| sum.to_string()),
        "/scan" => {
            let keys: Result<Vec<String>, _> =
                table.items(key).map(|item| item.map(|(key, _)| key)).collect();
            keys.map_err(of_table).map(|keys| keys.join("\n"))
        }
        "/once" => {
            let write = || Ok::<_, tables::Error>(vec![tables::Write::put("effect", body)]);
            skiff_sdk::once(&table, key, write)
                .map(|done| done.to_string())
                .map_err(|error| (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))
        }
        "/read" | "/write" | "/keys" | "/remove" => {
            of_bucket(path, name, key, body).map_err(|error| (StatusCode::FORBIDDEN, error.to_string()))
        }
        other => Err((StatusCode::NOT_FOUND, format!("there is no {other}"))),
    }
}

fn of_bucket(path: &str, name: &str, key: &str, body: &str) -> Result<String, skiff_sdk::buckets::Error> {
    let bucket = Bucket::open(name)?;
    match path {
        "/read" => bucket.read(key).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()),
        "/write" => bucket.write(key, body.as_bytes()).map(|()| "written".to_owned()),
        "/remove" => bucket.delete(key).map(|()| "removed".to_owned()),
        _ => bucket.keys().map(|keys| keys.join("\n")),
    }
}

fn of_service(error: ServiceError) -> (StatusCode, String) {
    let status = match error {
        ServiceError::Denied(_) => StatusCode::FORBIDDEN,
        ServiceError::NoSuch(_) => StatusCode::NOT_FOUND,
        ServiceError::Busy(_) => StatusCode::SERVICE_UNAVAILABLE,
        ServiceError::Invalid(_) => StatusCode::BAD_REQUEST,
        ServiceError::Failed(_) => StatusCode::INTERNAL_SERVER_ERROR,
    };
    (status, error.to_string())
}

fn of_table(error: tables::Error) -> (StatusCode, String) {
    let status = match error {
        tables::Error::Denied(_) => StatusCode::FORBIDDEN,
        tables::Error::NoSuch(_) => StatusCode::NOT_FOUND,
        tables::Error::Conflict { .. } => StatusCode::CONFLICT,
        tables::Error::Busy(_) => StatusCode::SERVICE_UNAVAILABLE,
        tables::Error::Invalid(_) => StatusCode::BAD_REQUEST,
        tables::Error::Failed(_) => StatusCode::INTERNAL_SERVER_ERROR,
    };
    (status, error.to_string())
}

//! An HTTP task on WASI 0.3 that takes events and messages beside.

use skiff_sdk::queues::{Message, Outcome};
use skiff_sdk::{IntoResponse, Request, Response, Result, StatusCode};

#[skiff_sdk::http]
async fn handle(request: Request) -> Result<Response> {
    let (head, body) = request.into_parts();
    let said = head.headers.get("ce-id").and_then(|id| id.to_str().ok()).unwrap_or_default().to_owned();
    let body = body.text().await?;
    skiff_sdk::log::info!("{} {} {said} {body}", head.method, head.uri.path());
    Ok(match head.uri.path() {
        "/count" => guest_common::count().to_string().into_response(),
        "/refuse" => StatusCode::SERVICE_UNAVAILABLE.into_response(),
        "/large" => "x".repeat(2 << 20).into_response(),
        "/trap" => guest_common::trap(),
        _ => StatusCode::NO_CONTENT.into_response(),
    })
}

#[skiff_sdk::event]
fn take(event: String) -> Result<(), String> {
    skiff_sdk::log::info!("{event}");
    Err(format!("called {} times", guest_common::count()))
}

#[skiff_sdk::queue]
fn consume(message: Message) -> Outcome {
    Outcome::Reject(format!("{} bytes", message.body.len()))
}

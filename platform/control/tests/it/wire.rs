//! The API as HTTP. Every operation answers as its OpenAPI document says (`contract`), and every wrong call with a typed error
//! (`wrong_calls`); here is what holds of many operations: revisions, tags, request ids, pages.

mod contract;
mod wrong_calls;

use crate::fixture::{Platform, TOKEN, namespace, wanted};
use http::StatusCode;
use reqwest::{RequestBuilder, Response};
use serde_json::{Value, json};
use skiff_api::{ErrorBody, ErrorCode, Operation};
use skiff_types::TaskStatus;

fn request(platform: &Platform, operation: Operation, values: &[&str]) -> RequestBuilder {
    let url = format!("http://{}{}", platform.handle.api(), operation.path_with(values));
    reqwest::Client::new().request(operation.method(), url).bearer_auth(TOKEN)
}

async fn error_of(response: Response) -> ErrorCode {
    let status = response.status();
    assert!(response.headers().contains_key("x-request-id"));
    let body: ErrorBody = response.json().await.expect("a typed error");
    assert!(!body.error.message.is_empty());
    if status != StatusCode::METHOD_NOT_ALLOWED {
        assert_eq!(body.error.code.status(), status);
    }
    body.error.code
}

#[tokio::test]
async fn a_write_may_say_which_revision_it_expects() {
    let platform = Platform::start().await;
    let definition = platform.deploy("hello", "http", 1).await;
    let service = platform.service("hello").await;
    let put = |if_match: &str, desired: u32| {
        let request = request(&platform, Operation::PutService, &["default", "hello"]);
        let body = wanted(&definition.id.to_string(), desired);
        request.header("if-match", if_match).json(&body).send()
    };
    let response = put(&format!("\"{}\"", service.revision), 2).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let tag = response.headers()["etag"].to_str().unwrap().to_owned();
    let stale = put(&service.revision.to_string(), 3).await.unwrap();
    assert_eq!(error_of(stale).await, ErrorCode::PreconditionFailed);
    assert_eq!(put(&tag, 3).await.unwrap().status(), StatusCode::OK);
    assert_eq!(put("*", 1).await.unwrap().status(), StatusCode::OK);
    assert_eq!(error_of(put("seven", 1).await.unwrap()).await, ErrorCode::InvalidArgument);
    let absent = request(&platform, Operation::PutService, &["default", "other"]).header("if-match", "*");
    let absent = absent.json(&wanted("hello", 1)).send().await.unwrap();
    assert_eq!(error_of(absent).await, ErrorCode::PreconditionFailed);
    assert_eq!(platform.service("hello").await.spec.desired, 1);
}

#[tokio::test]
async fn a_tag_is_moved_only_from_where_its_pusher_saw_it() {
    let platform = Platform::start().await;
    let push = |if_match: String, program: &'static str| {
        let request = request(&platform, Operation::PushImage, &["default", "app:latest"]);
        request.header("if-match", if_match).body(program).send()
    };
    assert_eq!(error_of(push("*".to_owned(), "http").await.unwrap()).await, ErrorCode::PreconditionFailed);
    platform.push("app", "http").await;
    let images = request(&platform, Operation::ListImages, &["default"]).send().await.unwrap();
    let seen = images.json::<Value>().await.unwrap()["items"][0]["revision"].to_string();
    assert_eq!(push(seen.clone(), "exit 0").await.unwrap().status(), StatusCode::OK);
    assert_eq!(error_of(push(seen, "http").await.unwrap()).await, ErrorCode::PreconditionFailed);
}

#[tokio::test]
async fn the_platforms_health_follows_its_life() {
    let platform = Platform::start().await;
    platform.handle.ready().await;
    let health = || request(&platform, Operation::GetHealth, &[]).send();
    assert_eq!(health().await.unwrap().json::<Value>().await.unwrap()["status"], "READY");
    platform.handle.wind_down();
    let response = health().await.unwrap();
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(response.json::<Value>().await.unwrap()["status"], "DRAINING");
}

#[tokio::test]
async fn a_restart_of_a_task_does_not_spoil_the_revision_its_user_read() {
    let platform = Platform::start().await;
    platform.deploy("worker", "daemon", 1).await;
    let service = platform.completed("worker").await;
    let task = platform.running("worker").await.remove(0);
    platform.node.end(task.id, None, skiff_types::StopCode::Trapped);
    platform.reaches(task.id, TaskStatus::Stopped).await;
    platform.completed("worker").await;
    assert_eq!(platform.service("worker").await.revision, service.revision);
}

#[tokio::test]
async fn a_request_id_is_kept_or_made() {
    let platform = Platform::start().await;
    let call = || request(&platform, Operation::GetStatus, &[]);
    let kept = call().header("x-request-id", "mine-17").send().await.unwrap();
    assert_eq!(kept.headers()["x-request-id"], "mine-17");
    let made = call().header("x-request-id", "not a good one").send().await.unwrap();
    assert_eq!(made.headers()["x-request-id"].len(), 32);
}

#[tokio::test]
async fn lists_page() {
    let platform = Platform::start().await;
    platform.push("job", "exit 0").await;
    platform.register("job", "job").await;
    let mut made = Vec::new();
    for _ in 0..5 {
        made.push(platform.run("job").await.id);
    }
    made.sort_unstable();
    made.reverse();
    let (mut seen, mut cursor) = (Vec::new(), None);
    loop {
        let query = skiff_api::TaskListQuery { limit: Some(2), cursor, ..Default::default() };
        let page = platform.client.list_tasks(&namespace(), &query).await.unwrap();
        seen.extend(page.items.into_iter().map(|task| task.id));
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(seen, made);
}

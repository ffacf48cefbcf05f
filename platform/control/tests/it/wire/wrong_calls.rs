//! What is wrong with a call, and what it is told: by whom it is, and what it says.

use super::*;
use reqwest::Method;

#[tokio::test]
async fn the_token_is_asked_for() {
    let platform = Platform::start().await;
    for operation in Operation::ALL {
        let values: Vec<&str> = operation.path_parameters().iter().map(|_| "x").collect();
        let url = format!("http://{}{}", platform.handle.api(), operation.path_with(&values));
        let client = reqwest::Client::new();
        for wrong in [None, Some("Bearer wrong"), Some("Basic eDp5"), Some(TOKEN), Some("Bearer")] {
            let request = client.request(operation.method(), &url);
            let request = match wrong {
                Some(header) => request.header("authorization", header),
                None => request,
            };
            let response = request.send().await.unwrap();
            if operation.is_open() {
                assert_ne!(response.status(), StatusCode::UNAUTHORIZED, "{operation:?}");
            } else {
                assert_eq!(error_of(response).await, ErrorCode::Unauthenticated, "{operation:?}");
            }
        }
    }
}

/// Whether the document says that a call may be answered with this status; it says nothing of what is no operation.
fn is_documented(document: &Value, method: &Method, path: &str, status: StatusCode) -> bool {
    let path = path.split('?').next().unwrap();
    let is_of = |template: &str| {
        let parts = template.split('/').zip(path.split('/'));
        template.split('/').count() == path.split('/').count() && { parts }
            .all(|(part, given)| part.starts_with('{') || part == given)
    };
    let mut paths = document["paths"].as_object().unwrap().iter();
    let operation = paths.find(|(template, _)| is_of(template)).map(|(_, methods)| methods);
    match operation.and_then(|methods| methods.get(method.as_str().to_ascii_lowercase())) {
        Some(operation) => operation["responses"].get(status.as_str()).is_some(),
        None => matches!(status, StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED),
    }
}

#[tokio::test]
async fn wrong_calls_get_typed_errors() {
    let platform = Platform::start().await;
    platform.deploy("hello", "http", 1).await;
    let base = format!("http://{}", platform.handle.api());
    let client = reqwest::Client::new();
    let document = request(&platform, Operation::GetOpenApi, &[]).send().await.unwrap();
    let document: Value = document.json().await.unwrap();
    let send = async |method: Method, path: &str, body: &str| {
        let request =
            client.request(method.clone(), format!("{base}{path}")).bearer_auth(TOKEN).body(body.to_owned());
        let response = request.send().await.unwrap();
        let status = response.status();
        assert!(
            is_documented(&document, &method, path, status),
            "{method} {path}: {status} is in no document"
        );
        response
    };
    let services = "/v1/namespaces/default/services";
    let invalid = [
        (Method::PUT, format!("{services}/hello"), r#"{"definition":"hello","replicas":1}"#),
        (Method::PUT, format!("{services}/hello"), r#"{"definition":"hello:0"}"#),
        (Method::PUT, format!("{services}/hello"), "not json"),
        (Method::PUT, format!("{services}/hello"), ""),
        (Method::PUT, format!("{services}/hello"), r#"{"definition":"hello","desired":1001}"#),
        (Method::PUT, format!("{services}/Hello"), r#"{"definition":"hello"}"#),
        (Method::POST, format!("{services}/hello/scale"), r#"{"desired":-1}"#),
        (Method::GET, format!("{services}?limit=0"), ""),
        (Method::GET, format!("{services}?cursor=zz"), ""),
        (Method::GET, format!("{services}?colour=red"), ""),
        (Method::GET, "/v1/namespaces/default/tasks/xyz".to_owned(), ""),
        (Method::GET, "/v1/namespaces/default/logs".to_owned(), ""),
        (Method::GET, "/v1/namespaces/default/events?tail=10001".to_owned(), ""),
        (Method::GET, "/v1/namespaces/default/events?type=tasks".to_owned(), ""),
        (Method::POST, "/v1/namespaces/default/metrics".to_owned(), r#"{"data":[]}"#),
        (Method::POST, "/v1/namespaces/default/metrics".to_owned(), r#"{"data":[{"metric":"a"}]}"#),
        (Method::GET, "/v1/namespaces/default/metrics/a?period=1500ms".to_owned(), ""),
        (Method::GET, "/v1/namespaces/default/metrics/a?statistic=Mean".to_owned(), ""),
        (Method::GET, "/v1/namespaces/default/metrics/a?since_ms=0&period=1s".to_owned(), ""),
        (Method::PUT, "/v1/namespaces/default/security-groups/self".to_owned(), ""),
        (Method::PUT, "/v1/namespaces/default/security-groups/web".to_owned(), r#"{"rules":["tcp:80"]}"#),
        (Method::POST, "/v1/namespaces/default/security-groups/default/allow".to_owned(), "{}"),
        (Method::GET, "/v1/namespaces/default/network/explain?from=hello&to=hello".to_owned(), ""),
        (Method::GET, "/v1/namespaces/default/network/explain?from=hello&to=a..b&port=80".to_owned(), ""),
        (Method::GET, "/v1/namespaces/default/network/flows?tail=100001".to_owned(), ""),
        (Method::PUT, "/v1/listeners/http".to_owned(), r#"{"protocol":"tcp","port":8080}"#),
        (Method::PUT, "/v1/listeners/new".to_owned(), r#"{"protocol":"https","port":8443}"#),
        (Method::POST, "/v1/listeners/http/explain".to_owned(), r#"{"method":"GET","url":"example.org"}"#),
        (Method::PUT, "/v1/certificates/a".to_owned(), r#"{"certificate":"a","private_key":"b"}"#),
        (Method::PUT, "/v1/certificates/a".to_owned(), r#""-----BEGIN PRIVATE KEY-----""#),
        (
            Method::PUT,
            "/v1/namespaces/default/rules/a".to_owned(),
            r#"{"priority":1,"conditions":[],"action":{}}"#,
        ),
        (Method::PUT, "/v1/namespaces/default/target-groups/a".to_owned(), r#"{"targets":{"virtual":[]}}"#),
        (Method::GET, "/v1/namespaces/default/rules?priority=1".to_owned(), ""),
        (Method::GET, "/v1/namespaces/Default!/tasks".to_owned(), ""),
        (Method::GET, "/v1/namespaces/default/task-definitions/hello?reveal=HOME".to_owned(), ""),
        (Method::GET, "/v1/namespaces/%ff/tasks".to_owned(), ""),
    ];
    for (method, path, body) in invalid {
        let response = send(method.clone(), &path, body).await;
        assert_eq!(error_of(response).await, ErrorCode::InvalidArgument, "{method} {path} {body}");
    }
    let missing = [
        (Method::GET, "/v1/nowhere"),
        (Method::GET, "/v1/namespaces/default/services/other"),
        (Method::GET, "/v1/namespaces/other/services/hello"),
        (Method::GET, "/v1/namespaces/default/metrics/CPUUtilization?service=other"),
        (Method::GET, "/v1/namespaces/default/metrics/jobs?service=hello"),
        (Method::GET, "/v1/namespaces/default/tasks/0193f0c5c00070008000000000000001"),
        (Method::DELETE, "/v1/namespaces/default/images/other"),
        (Method::GET, "/v1/namespaces/default/security-groups/other"),
        (Method::DELETE, "/v1/namespaces/default/security-groups/other"),
        (Method::GET, "/v1/namespaces/default/network/explain?from=hello&to=other&port=80"),
        (Method::GET, "/v1/namespaces/default/network/flows?owner=other"),
        (Method::GET, "/v1/namespaces/default/events?service=other"),
        (Method::GET, "/v1/namespaces/default/events?task=0193f0c5c00070008000000000000001"),
        (Method::GET, "/v1/namespaces/default/tasks/0193f0c5c00070008000000000000001/network"),
        (Method::GET, "/v1/listeners/other"),
        (Method::DELETE, "/v1/listeners/other"),
        (Method::GET, "/v1/certificates/other"),
        (Method::DELETE, "/v1/certificates/other"),
        (Method::GET, "/v1/namespaces/default/rules/other"),
        (Method::DELETE, "/v1/namespaces/default/rules/other"),
        (Method::GET, "/v1/namespaces/default/target-groups/hello"),
        (Method::DELETE, "/v1/namespaces/default/target-groups/other"),
    ];
    for (method, path) in missing {
        assert_eq!(error_of(send(method, path, "").await).await, ErrorCode::NotFound, "{path}");
    }
    let wrong_method = send(Method::PATCH, "/v1/status", "").await;
    assert_eq!(wrong_method.status(), StatusCode::METHOD_NOT_ALLOWED);
    error_of(wrong_method).await;
    let large = "x".repeat(skiff_api::REQUEST_BYTES_MAX + 1);
    let response = send(Method::PUT, &format!("{services}/hello"), &large).await;
    assert_eq!(error_of(response).await, ErrorCode::TooLarge);
    let conditional = request(&platform, Operation::RunTask, &["default"]).header("if-match", "1");
    let response = conditional.json(&json!({ "definition": "hello" })).send().await.unwrap();
    assert_eq!(error_of(response).await, ErrorCode::InvalidArgument);
}

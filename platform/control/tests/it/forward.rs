//! Connections to tasks through the API: who gets one, who does not and why, and how one ends.

use crate::fixture::{Platform, TOKEN, namespace};
use crate::node::ECHO_PORT;
use http::StatusCode;
use skiff_api::{ClientError, ErrorBody, ErrorCode, FORWARD_PROTOCOL, ForwardQuery, Operation};
use skiff_types::{TaskId, TaskStatus};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

impl Platform {
    /// The one task of a new service.
    async fn task_of(&self, service: &str, program: &str) -> TaskId {
        self.deploy(service, program, 1).await;
        self.completed(service).await;
        self.running(service).await.remove(0).id
    }

    async fn refused(&self, task: TaskId, port: u16) -> (ErrorCode, String) {
        match self.client.forward(&namespace(), task, &ForwardQuery { port }).await {
            Err(ClientError::Api { code, message, .. }) => (code, message),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn bytes_pass_both_ways_until_both_sides_have_ended() {
    let platform = Platform::start().await;
    let task = platform.task_of("cache", "daemon").await;
    let query = ForwardQuery { port: ECHO_PORT };
    let mut connection = platform.client.forward(&namespace(), task, &query).await.unwrap();
    let mut echoed = vec![0; 1 << 20];
    let sent: Vec<u8> = (0..echoed.len()).map(|at| at as u8).collect();
    {
        let (mut reading, mut writing) = tokio::io::split(&mut connection);
        let (read, written) = tokio::join!(reading.read_exact(&mut echoed), writing.write_all(&sent));
        read.unwrap();
        written.unwrap();
    }
    assert!(echoed == sent, "what comes back is what was sent");
    connection.shutdown().await.unwrap();
    assert_eq!(connection.read_to_end(&mut echoed).await.unwrap(), 0, "the other side has ended as well");
}

#[tokio::test]
async fn who_can_not_be_connected_to_says_why() {
    let platform = Platform::start().await;
    let http = platform.task_of("hello", "http").await;
    let (code, message) = platform.refused(http, 80).await;
    assert_eq!(code, ErrorCode::FailedPrecondition);
    assert!(message.ends_with("call it at http://hello.localhost:8080/"), "{message}");

    let daemon = platform.task_of("cache", "daemon").await;
    let nobody = (ErrorCode::FailedPrecondition, "nobody listens there".to_owned());
    assert_eq!(platform.refused(daemon, ECHO_PORT + 1).await, nobody);
    assert_eq!(platform.refused(daemon, 0).await.0, ErrorCode::InvalidArgument);

    platform.push("job", "exit 0").await;
    platform.register("job", "job").await;
    let ended = platform.run("job").await.id;
    platform.reaches(ended, TaskStatus::Stopped).await;
    let (code, message) = platform.refused(ended, ECHO_PORT).await;
    assert_eq!(code, ErrorCode::FailedPrecondition);
    assert!(message.contains("has ended"), "{message}");
    assert_eq!(platform.refused(TaskId::from_parts(1, [1; 10]), 80).await.0, ErrorCode::NotFound);
}

#[tokio::test]
async fn who_does_not_ask_for_the_upgrade_is_told_to() {
    let platform = Platform::start().await;
    let task = platform.task_of("cache", "daemon").await.to_string();
    let path = Operation::ForwardTask.path_with(&["default", &task]);
    let url = format!("http://{}{path}?port={ECHO_PORT}", platform.handle.api());
    for upgrade in [None, Some("websocket")] {
        let request = reqwest::Client::new().post(&url).bearer_auth(TOKEN);
        let request = match upgrade {
            Some(other) => request.header("connection", "upgrade").header("upgrade", other),
            None => request,
        };
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), StatusCode::UPGRADE_REQUIRED);
        assert_eq!(response.headers()["upgrade"], FORWARD_PROTOCOL);
        let body: ErrorBody = response.json().await.unwrap();
        assert_eq!(body.error.code, ErrorCode::InvalidArgument);
    }
}

#[tokio::test]
async fn a_connection_does_not_outlive_the_platform() {
    let platform = Platform::start().await;
    let task = platform.task_of("cache", "daemon").await;
    let query = ForwardQuery { port: ECHO_PORT };
    let mut connection = platform.client.forward(&namespace(), task, &query).await.unwrap();
    assert!(platform.handle.shutdown(Duration::from_secs(10)).await, "it waited for a connection");
    assert!(matches!(connection.read(&mut [0]).await, Ok(0) | Err(_)));
}

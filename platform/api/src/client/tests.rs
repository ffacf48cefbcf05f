//! The client against a listener of the test's own, and the splitting of lines.

use super::lines::split;
use super::*;
use crate::{ErrorCode, LogStream};
use futures::StreamExt;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// Answers one connection with `answer` once a request's head and body have come; gives the request back.
async fn answer_once(answer: String) -> (String, tokio::task::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let served = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        loop {
            let mut chunk = vec![0; 64 * 1024];
            let read = stream.read(&mut chunk).await.unwrap();
            request.extend_from_slice(&chunk[..read]);
            let text = String::from_utf8_lossy(&request).into_owned();
            let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
                stream.write_all(answer.as_bytes()).await.unwrap();
                return text;
            }
        }
    });
    (url, served)
}

fn json_answer(status: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}")
}

#[tokio::test]
async fn pushes_with_length_token_and_progress() {
    let digest = format!("sha256:{}", "ab".repeat(32));
    let image = format!(
        r#"{{"reference":"team/hello:v2","namespace":"default","digest":"{digest}","component":"{digest}",
            "component_bytes":150000,"revision":1,"created_at_ms":1,"updated_at_ms":2}}"#
    );
    let (url, served) = answer_once(json_answer("200 OK", &image)).await;
    let client = Client::new(&url, Some("secret".to_owned())).unwrap();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let progress = {
        let seen = seen.clone();
        move |bytes| seen.lock().unwrap().push(bytes)
    };
    let reference = "team/hello:v2".parse().unwrap();
    let component = Bytes::from(vec![b'x'; 150_000]);
    let pushed = client.push_image(&Namespace::default(), &reference, component, progress).await.unwrap();
    assert_eq!(pushed.component_bytes, 150_000);
    let request = served.await.unwrap();
    assert!(
        request.starts_with("PUT /v1/namespaces/default/images/team%2Fhello:v2 HTTP/1.1\r\n"),
        "{request:.200}"
    );
    assert!(request.contains("authorization: Bearer secret\r\n"));
    assert!(request.contains("content-length: 150000\r\n"), "the upload must not be chunked");
    assert_eq!(*seen.lock().unwrap(), [65_536, 131_072, 150_000]);
    assert!(!format!("{client:?}").contains("secret"));
}

#[tokio::test]
async fn the_platforms_error_is_ours() {
    let body = r#"{"error":{"code":"NotFound","message":"there is no service \"x\""}}"#;
    let (url, _served) = answer_once(json_answer("404 Not Found", body)).await;
    let client = Client::new(&url, None).unwrap();
    let error = client.get_service(&Namespace::default(), &"x".parse().unwrap()).await.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::NotFound));
    assert_eq!(error.to_string(), "there is no service \"x\"");
}

#[tokio::test]
async fn rules_are_listed_by_their_listener() {
    let rule = r#"{"name":"beta","namespace":"shop","revision":7,"listener":"http","priority":10,
        "conditions":["path=/beta/*"],"action":{"forward":{"groups":[{"group":"shop/web","weight":1}]}},
        "created_at_ms":1,"updated_at_ms":2}"#;
    let (url, served) = answer_once(json_answer("200 OK", &format!(r#"{{"items":[{rule}]}}"#))).await;
    let client = Client::new(&url, None).unwrap();
    let listener = Some("http".parse().unwrap());
    let query = crate::ListenerRuleListQuery { listener, ..Default::default() };
    let page = client.list_rules(&"shop".parse().unwrap(), &query).await.unwrap();
    assert_eq!((page.items[0].priority, page.items[0].conditions.len()), (10, 1));
    let request = served.await.unwrap();
    assert!(request.starts_with("GET /v1/namespaces/shop/rules?listener=http HTTP/1.1\r\n"), "{request}");
}

#[tokio::test]
async fn a_listener_is_removed_at_the_revision_that_was_read() {
    let (url, served) = answer_once("HTTP/1.1 204 No Content\r\n\r\n".to_owned()).await;
    let client = Client::new(&url, None).unwrap();
    client.delete_listener(&"cache".parse().unwrap(), Some(7)).await.unwrap();
    let request = served.await.unwrap();
    assert!(request.starts_with("DELETE /v1/listeners/cache HTTP/1.1\r\n"), "{request}");
    assert!(request.contains("if-match: \"7\"\r\n"), "{request}");
}

#[tokio::test]
async fn what_is_not_skiff_is_named_so() {
    let (url, _served) = answer_once(json_answer("404 Not Found", "<html>")).await;
    let client = Client::new(&url, None).unwrap();
    assert!(matches!(client.status().await, Err(ClientError::NotSkiff { .. })));
    let (url, _served) = answer_once(json_answer("200 OK", "{}")).await;
    let client = Client::new(&url, None).unwrap();
    assert!(matches!(client.status().await, Err(ClientError::Unreadable { .. })));
}

#[tokio::test]
async fn nobody_there_says_what_to_do() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let error = Client::new(&url, None).unwrap().status().await.unwrap_err();
    assert!(matches!(error, ClientError::Unreachable { .. }), "{error:?}");
    assert!(error.to_string().contains("start one with `skiff up`"), "{error}");
}

#[test]
fn addresses_are_checked() {
    assert!(matches!(Client::new("https://a:1", None), Err(ClientError::HttpsUnsupported { .. })));
    for bad in ["", "localhost:8081", "ftp://a", "http://", "http://a:1/?x"] {
        assert!(matches!(Client::new(bad, None), Err(ClientError::InvalidUrl { .. })), "{bad:?} was taken");
    }
    assert_eq!(Client::new("http://127.0.0.1:8081/", None).unwrap().url(), "http://127.0.0.1:8081");
}

fn from_chunks(
    chunks: Vec<Result<&'static str, ClientError>>,
) -> BoxStream<'static, Result<LogLine, ClientError>> {
    let chunks = chunks.into_iter().map(|chunk| chunk.map(|text| Bytes::from_static(text.as_bytes())));
    split(futures::stream::iter(chunks.collect::<Vec<_>>()).boxed(), "http://test".to_owned())
}

const LINE: &str = r#"{"at_ms":1,"task":"0193f0c5c00070008000000000000001","stream":"stderr","text":"hi"}"#;

#[tokio::test]
async fn lines_are_found_across_chunks() {
    let (first, second) = LINE.split_at(20);
    let stream = from_chunks(vec![Ok("\n\n"), Ok(first), Ok(second), Ok("\r\n"), Ok(LINE)]);
    let lines: Vec<_> = stream.map(Result::unwrap).collect().await;
    assert_eq!(lines.len(), 2);
    assert_eq!((lines[0].stream, lines[0].text.as_str()), (LogStream::Stderr, "hi"));
}

#[tokio::test]
async fn an_error_is_the_last_item() {
    let error = "{\"error\":{\"code\":\"Internal\",\"message\":\"the disk failed\"}}\n";
    let items: Vec<_> = from_chunks(vec![Ok(error), Ok(LINE)]).collect().await;
    assert_eq!(items[0].as_ref().unwrap_err().code(), Some(ErrorCode::Internal));
    assert_eq!(items.len(), 1);
    let reset = ClientError::StreamEnded { url: "http://test".to_owned(), source: Some("reset".into()) };
    let items: Vec<_> = from_chunks(vec![Ok(LINE), Ok("\n"), Err(reset)]).collect().await;
    assert!(items[0].is_ok() && matches!(items[1], Err(ClientError::StreamEnded { .. })));
    assert_eq!(items.len(), 2);
    let items: Vec<_> = from_chunks(vec![Ok("nonsense\n")]).collect().await;
    assert!(matches!(items[0], Err(ClientError::Unreadable { .. })));
}

#[tokio::test]
async fn a_stream_that_breaks_says_so_and_not_that_something_may_be_done() {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/x-ndjson\r\ntransfer-encoding: chunked\r\n\r\n";
    let (url, _served) = answer_once(format!("{head}1\r\n\n\r\n")).await;
    let query = crate::EventQuery { follow: Some(true), ..Default::default() };
    let client = Client::new(&url, None).unwrap();
    let mut events = client.read_events(&Namespace::default(), &query).await.unwrap();
    let error = events.next().await.unwrap().unwrap_err();
    assert!(matches!(error, ClientError::StreamEnded { source: Some(_), .. }), "{error:?}");
    assert!(error.to_string().ends_with("run the command again once it is there"), "{error}");
    assert!(events.next().await.is_none());
}

#[tokio::test]
async fn a_line_has_a_bound() {
    let endless = Box::leak("x".repeat(1 << 20).into_boxed_str());
    let items: Vec<_> = from_chunks(vec![Ok(endless)]).collect().await;
    assert!(matches!(items[0], Err(ClientError::AnswerTooLarge { .. })));
}

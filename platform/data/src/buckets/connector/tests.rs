//! The connector against small servers on sockets of this machine.

use super::*;
use std::net::Ipv4Addr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// Answers each request of each connection with these bytes; says where.
async fn serve(answer: &'static str) -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut head = Vec::new();
                while let Ok(byte) = stream.read_u8().await {
                    head.push(byte);
                    if head.ends_with(b"\r\n\r\n") {
                        stream.write_all(answer.as_bytes()).await.unwrap();
                        head.clear();
                    }
                }
            });
        }
    });
    format!("http://{address}/a?b=c")
}

async fn ask(url: &str, may_be_plain: bool) -> Result<HttpResponse, HttpError> {
    let client = Connector.connect(&ClientOptions::new().with_allow_http(may_be_plain)).unwrap();
    client.execute(http::Request::get(url).body(HttpRequestBody::empty()).unwrap()).await
}

#[tokio::test]
async fn an_answer_comes_with_its_status_and_its_body() {
    let url = serve("HTTP/1.1 404 Not Found\r\ncontent-length: 4\r\n\r\nnone").await;
    let answer = ask(&url, true).await.unwrap();
    assert_eq!(answer.status(), 404);
    assert_eq!(answer.into_body().bytes().await.unwrap(), "none");
}

#[tokio::test]
async fn nobody_is_asked_without_tls_unless_that_is_allowed() {
    let url = serve("HTTP/1.1 204 No Content\r\n\r\n").await;
    assert_eq!(ask(&url, false).await.err().unwrap().kind(), HttpErrorKind::Connect);
    assert_eq!(ask(&url, true).await.unwrap().status(), 204);
}

#[tokio::test]
async fn a_body_that_stops_coming_ends_as_an_error() {
    let url = serve("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf").await;
    let answer = ask(&url, true).await.unwrap();
    // From here on, time passes as soon as nothing else is to be done.
    tokio::time::pause();
    let error = answer.into_body().bytes().await.err().unwrap();
    assert_eq!(error.kind(), HttpErrorKind::Timeout);
}

#[tokio::test]
async fn an_answer_that_is_cut_is_an_error() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let served = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = [0; 16];
        stream.read_exact(&mut head).await.unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf").await.unwrap();
    });
    let answer = ask(&url, true).await;
    served.await.unwrap();
    // The rest of the request may make the closing a reset before the answer was read.
    let failed = match answer {
        Ok(answer) => answer.into_body().bytes().await.is_err(),
        Err(_) => true,
    };
    assert!(failed);
}

//! Posts to the addresses that users named, by HTTP or HTTPS: changes of alarms, and events that rules and schedules lead there.
//!
//! Each post has a connection of its own, for as long as its answer may take. It deliberately tries once, remembers nothing, and
//! follows no redirection: `control` keeps what was not taken, tries it again, and bounds how many are under way. Whoever may
//! make an alarm, a rule or a schedule has the supervisor post to any address that it reaches; no secret of the platform goes with it.

use crate::outgoing::{AGENT, Destination, chain, connector};
use async_trait::async_trait;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue, USER_AGENT};
use http::{HeaderMap, StatusCode};
use skiff_ports::webhook::{WebhookError, WebhookPost, Webhooks};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use url::Url;

/// Carries what tells a post from all others, as Standard Webhooks has it.
const ID: &str = "webhook-id";

/// Posts over the network of the host.
pub(crate) struct HttpWebhooks {
    connector: TlsConnector,
}

impl HttpWebhooks {
    pub(crate) fn new() -> Self {
        Self { connector: connector() }
    }
}

#[async_trait]
impl Webhooks for HttpWebhooks {
    async fn post(&self, post: WebhookPost) -> Result<(), WebhookError> {
        let refused = WebhookError::Refused;
        let url = Url::parse(post.url.as_str()).map_err(|error| refused(format!("it is no URL: {error}")))?;
        let destination =
            Destination::new(url, &self.connector).map_err(|error| refused(error.to_string()))?;
        let id = HeaderValue::from_str(&post.id).map_err(|error| refused(error.to_string()))?;
        let headers = HeaderMap::from_iter([
            (CONTENT_TYPE, HeaderValue::from_static("application/json")),
            (USER_AGENT, HeaderValue::from_static(AGENT)),
            (HeaderName::from_static(ID), id),
        ]);
        match timeout(post.timeout, destination.post(None, headers, &post.body)).await {
            Ok(Ok((_, answer))) => outcome(answer.status()),
            Ok(Err(error)) => Err(WebhookError::Failed(chain(&*error))),
            Err(_) => Err(WebhookError::Failed(format!("no answer within {} s", post.timeout.as_secs()))),
        }
    }
}

/// What an answer means: who is out of order, or has too much to do, may take it another time.
fn outcome(status: StatusCode) -> Result<(), WebhookError> {
    let reason = || format!("it answers {status}");
    match status {
        _ if status.is_success() => Ok(()),
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS => {
            Err(WebhookError::Failed(reason()))
        }
        _ if status.is_server_error() => Err(WebhookError::Failed(reason())),
        _ => Err(WebhookError::Refused(reason())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use std::io::{BufRead, BufReader, Read, Write};
    use std::net::{Ipv4Addr, TcpListener};

    /// Takes one request, answers it with this status, and gives its head and its body.
    fn serve(status: &'static str) -> (u16, std::thread::JoinHandle<(String, String)>) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let served = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                assert!(reader.read_line(&mut head).unwrap() > 0, "{head}");
            }
            let head = head.to_ascii_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            let mut body = vec![0; length.unwrap().parse().unwrap()];
            reader.read_exact(&mut body).unwrap();
            stream.write_all(format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n").as_bytes()).unwrap();
            (head, String::from_utf8(body).unwrap())
        });
        (port, served)
    }

    async fn post(url: &str) -> Result<(), WebhookError> {
        let body = Bytes::from_static(b"{\"a\":1}");
        let (url, timeout) = (url.parse().unwrap(), std::time::Duration::from_secs(10));
        HttpWebhooks::new().post(WebhookPost { url, id: "07af".to_owned(), body, timeout }).await
    }

    #[tokio::test]
    async fn a_change_is_posted_as_json_with_its_id() {
        let (port, served) = serve("204 No Content");
        assert_eq!(post(&format!("http://127.0.0.1:{port}/a?key=b")).await, Ok(()));
        let (head, body) = served.join().unwrap();
        assert!(head.starts_with("post /a?key=b http/1.1\r\n"), "{head}");
        for line in ["content-type: application/json", "webhook-id: 07af", &format!("host: 127.0.0.1:{port}")]
        {
            assert!(head.lines().any(|other| other == line), "{line} is not in {head}");
        }
        assert_eq!(body, "{\"a\":1}");
    }

    #[tokio::test]
    async fn who_is_not_there_may_be_another_time() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let failed = post(&format!("http://127.0.0.1:{port}/")).await;
        assert!(matches!(failed, Err(WebhookError::Failed(_))), "{failed:?}");
    }

    #[test]
    fn an_answer_says_whether_it_is_worth_another_try() {
        let outcome = |code: u16| outcome(StatusCode::from_u16(code).unwrap());
        for code in [200, 202, 204] {
            assert_eq!(outcome(code), Ok(()));
        }
        for code in [408, 425, 429, 500, 502, 503, 504] {
            assert!(matches!(outcome(code), Err(WebhookError::Failed(_))), "{code}");
        }
        for code in [301, 400, 401, 403, 404, 410, 413] {
            assert!(matches!(outcome(code), Err(WebhookError::Refused(_))), "{code}");
        }
    }
}

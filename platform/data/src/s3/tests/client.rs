//! A client of S3 that sends what it is told, signed as the specification has it
//! (<https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-authenticating-requests.html>), with nothing tidied up on its way.

use crate::s3::text::{form_decoded, url_encoded};
use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use s3s::dto::{Timestamp, TimestampFormat};
use sha2::{Digest, Sha256};
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};
use tokio::net::TcpStream;

/// Who asks, and where.
#[derive(Clone)]
pub(super) struct Client {
    pub(super) address: SocketAddr,
    pub(super) key: &'static str,
    pub(super) secret: &'static str,
    pub(super) region: &'static str,
    pub(super) service: &'static str,
    /// By how much its clock is behind.
    pub(super) behind: Duration,
}

/// A request to be.
#[derive(Clone)]
pub(super) struct Asked {
    pub(super) method: &'static str,
    /// Percent-encoded.
    pub(super) path: String,
    /// Percent-encoded.
    pub(super) query: String,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Bytes,
    /// What `x-amz-content-sha256` says, if not the body's digest.
    pub(super) content_sha256: Option<&'static str>,
}

impl Asked {
    /// Asks for a path, which is encoded, with a query, which is so already.
    pub(super) fn new(method: &'static str, path: &str, query: &str) -> Self {
        let (path, query) = (url_encoded(path), query.to_owned());
        Self { method, path, query, headers: Vec::new(), body: Bytes::new(), content_sha256: None }
    }

    pub(super) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(super) fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    pub(super) fn framed(mut self, content_sha256: &'static str) -> Self {
        self.content_sha256 = Some(content_sha256);
        self
    }
}

/// What a signature was made of.
pub(super) struct Signed {
    pub(super) asked: Asked,
    pub(super) date: String,
    pub(super) signature: String,
}

/// What came back.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Answer {
    /// The body as text.
    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The status and the error's code.
    pub(super) fn error(&self) -> (u16, String) {
        (self.status.as_u16(), self.all("Code").first().cloned().unwrap_or_default())
    }

    /// What stands in all elements of this name.
    pub(super) fn all(&self, name: &str) -> Vec<String> {
        let (open, close) = (format!("<{name}>"), format!("</{name}>"));
        let text = self.text();
        text.split(&open).skip(1).filter_map(|rest| Some(rest.split_once(&close)?.0.to_owned())).collect()
    }

    /// What stands in the one element of this name.
    pub(super) fn one(&self, name: &str) -> String {
        self.all(name).into_iter().next().unwrap_or_else(|| panic!("there is no {name} in {}", self.text()))
    }

    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
    }

    #[track_caller]
    pub(super) fn ok(self) -> Self {
        assert!(self.status.is_success(), "{}: {}", self.status, self.text());
        self
    }
}

impl Client {
    /// Signs, sends, and reads the answer to its end.
    pub(super) async fn send(&self, asked: Asked) -> Answer {
        self.send_as_is(self.sign(asked).asked).await
    }

    pub(super) async fn get(&self, path: &str) -> Answer {
        self.send(Asked::new("GET", path, "")).await
    }

    pub(super) async fn put(&self, path: &str, body: impl Into<Bytes>) -> Answer {
        self.send(Asked::new("PUT", path, "").body(body)).await
    }

    /// Sends without signing.
    pub(super) async fn send_as_is(&self, asked: Asked) -> Answer {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        let connection = tokio::spawn(connection);
        let uri = if asked.query.is_empty() { asked.path } else { format!("{}?{}", asked.path, asked.query) };
        let mut request = Request::builder().method(asked.method).uri(uri);
        if !asked.headers.iter().any(|(name, _)| name == "host") {
            request = request.header("host", self.address.to_string());
        }
        for (name, value) in &asked.headers {
            request = request.header(name, value);
        }
        let is_framed =
            asked.headers.iter().any(|(name, _)| name == "content-length" || name == "transfer-encoding");
        if asked.method == "PUT" && asked.body.is_empty() && !is_framed {
            request = request.header("content-length", "0");
        }
        let response = sender.send_request(request.body(Full::new(asked.body)).unwrap()).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        connection.abort();
        Answer { status: parts.status, headers: parts.headers, body }
    }

    /// Adds what a signature in the header needs.
    pub(super) fn sign(&self, mut asked: Asked) -> Signed {
        let date = self.date();
        if !asked.headers.iter().any(|(name, _)| name == "host") {
            asked = asked.header("host", &self.address.to_string());
        }
        let payload = asked.content_sha256.map_or_else(|| sha256(&asked.body), str::to_owned);
        asked = asked.header("x-amz-date", &date).header("x-amz-content-sha256", &payload);
        let names = signed_names(&asked);
        let signature = self.signature(&asked, &asked.query, &names, &payload, &date);
        let scope = self.scope(&date);
        let credential = format!("Credential={}/{scope}", self.key);
        let value = format!(
            "AWS4-HMAC-SHA256 {credential}, SignedHeaders={}, Signature={signature}",
            names.join(";")
        );
        Signed { asked: asked.header("authorization", &value), date, signature }
    }

    /// A request whose signature is in its query, for so many seconds.
    pub(super) fn presign(&self, mut asked: Asked, seconds: u32) -> Asked {
        let date = self.date();
        asked = asked.header("host", &self.address.to_string());
        let names = signed_names(&asked);
        let credential = format!("{}/{}", self.key, self.scope(&date)).replace('/', "%2F");
        let signed = names.join("%3B");
        let start = if asked.query.is_empty() { String::new() } else { format!("{}&", asked.query) };
        let query = format!(
            "{start}X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={credential}&X-Amz-Date={date}\
             &X-Amz-Expires={seconds}&X-Amz-SignedHeaders={signed}"
        );
        let signature = self.signature(&asked, &query, &names, "UNSIGNED-PAYLOAD", &date);
        asked.query = format!("{query}&X-Amz-Signature={signature}");
        asked
    }

    /// The bytes of a body in chunks that are signed one after the other.
    pub(super) fn chunked(&self, signed: &Signed, chunks: &[&[u8]]) -> Bytes {
        let mut body = Vec::new();
        let mut before = signed.signature.clone();
        for chunk in chunks.iter().chain([&&b""[..]]) {
            let text = format!(
                "AWS4-HMAC-SHA256-PAYLOAD\n{}\n{}\n{before}\n{}\n{}",
                signed.date,
                self.scope(&signed.date),
                sha256(b""),
                sha256(chunk),
            );
            before = hex::encode(hmac(&self.signing_key(&signed.date), text.as_bytes()));
            body.extend_from_slice(format!("{:x};chunk-signature={before}\r\n", chunk.len()).as_bytes());
            body.extend_from_slice(chunk);
            body.extend_from_slice(b"\r\n");
        }
        body.into()
    }

    fn date(&self) -> String {
        let mut text = Vec::new();
        let now = Timestamp::from(SystemTime::now() - self.behind);
        now.format(TimestampFormat::DateTime, &mut text).unwrap();
        let text = String::from_utf8(text).unwrap().replace(['-', ':'], "");
        format!("{}Z", text.split_once('.').unwrap().0)
    }

    fn scope(&self, date: &str) -> String {
        format!("{}/{}/{}/aws4_request", &date[..8], self.region, self.service)
    }

    fn signing_key(&self, date: &str) -> [u8; 32] {
        let mut key = hmac(format!("AWS4{}", self.secret).as_bytes(), &date.as_bytes()[..8]);
        for part in [self.region, self.service, "aws4_request"] {
            key = hmac(&key, part.as_bytes());
        }
        key
    }

    fn signature(&self, asked: &Asked, query: &str, names: &[String], payload: &str, date: &str) -> String {
        let mut pairs: Vec<_> = query
            .split('&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
            .map(|(name, value)| (form_decoded(name).unwrap(), form_decoded(value).unwrap()))
            .collect();
        pairs.sort();
        let encode = |text: &str| url_encoded(text).replace('/', "%2F");
        let query: Vec<_> =
            pairs.iter().map(|(name, value)| format!("{}={}", encode(name), encode(value))).collect();
        let mut canonical = format!("{}\n{}\n{}\n", asked.method, asked.path, query.join("&"));
        for name in names {
            let values: Vec<_> = asked
                .headers
                .iter()
                .filter(|(known, _)| known == name)
                .map(|(_, value)| value.as_str())
                .collect();
            canonical += &format!("{name}:{}\n", values.join(","));
        }
        canonical += &format!("\n{}\n{payload}", names.join(";"));
        let text =
            format!("AWS4-HMAC-SHA256\n{date}\n{}\n{}", self.scope(date), sha256(canonical.as_bytes()));
        hex::encode(hmac(&self.signing_key(date), text.as_bytes()))
    }
}

/// All that it has, in order.
fn signed_names(asked: &Asked) -> Vec<String> {
    let mut names: Vec<_> = asked.headers.iter().map(|(name, _)| name.clone()).collect();
    names.sort();
    names.dedup();
    names
}

pub(super) fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// RFC 2104, for keys of at most a block.
fn hmac(key: &[u8], text: &[u8]) -> [u8; 32] {
    let pad = |byte: u8| -> Vec<u8> {
        let key = key.iter().copied().chain(std::iter::repeat(0)).take(64);
        key.map(|of_key| of_key ^ byte).collect()
    };
    let inner: [u8; 32] = Sha256::digest([&pad(0x36)[..], text].concat()).into();
    Sha256::digest([&pad(0x5c)[..], &inner[..]].concat()).into()
}

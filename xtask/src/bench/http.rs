//! A connection to the platform's API that costs its client little: one request after the other, as text.
//!
//! It knows no more of HTTP/1.1 than the API answers with: a length, and JSON.

use crate::platform::Platform;
use anyhow::{Context, bail};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// The largest answer, in bytes.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// A connection.
pub(crate) struct Connection {
    stream: BufReader<TcpStream>,
    address: String,
    token: String,
}

impl Connection {
    /// Opens one to a platform.
    pub(crate) fn open(platform: &Platform) -> anyhow::Result<Self> {
        Self::open_at(&platform.api, &platform.token)
    }

    /// Opens one to where an API is, with what its calls carry.
    pub(crate) fn open_at(api: &str, token: &str) -> anyhow::Result<Self> {
        let address = api.trim_start_matches("http://").to_owned();
        let stream = TcpStream::connect(&address).context("the API does not listen")?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { stream: BufReader::new(stream), address, token: token.to_owned() })
    }

    /// Posts to a path of the namespace `default`; the JSON that it is answered with.
    pub(crate) fn post(&mut self, path: &str, content_type: &str, body: &str) -> anyhow::Result<Value> {
        let Self { stream, address, token } = self;
        let request = format!(
            "POST /v1/namespaces/default/{path} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {token}\r\n\
             content-type: {content_type}\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.get_mut().write_all(request.as_bytes())?;
        let status = line(stream)?;
        let mut length = 0;
        loop {
            let header = line(stream)?;
            if header.is_empty() {
                break;
            }
            if let Some((name, value)) = header.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse()?;
            }
        }
        if length > ANSWER_BYTES_MAX {
            bail!("{path} is answered with {length} bytes");
        }
        let mut answer = vec![0; length];
        stream.read_exact(&mut answer)?;
        if !status.contains(" 200 ") {
            bail!("{path} is answered with {status}: {}", String::from_utf8_lossy(&answer));
        }
        serde_json::from_slice(&answer).with_context(|| format!("{path} is answered with no JSON"))
    }
}

/// A line, without what ends it.
pub(crate) fn line(stream: &mut impl BufRead) -> anyhow::Result<String> {
    let mut line = String::new();
    if stream.read_line(&mut line)? == 0 {
        bail!("the server closed the connection");
    }
    line.truncate(line.trim_end_matches(['\r', '\n']).len());
    Ok(line)
}

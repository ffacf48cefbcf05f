//! Takes a stream of newline-delimited JSON apart.

use super::ClientError;
use crate::ErrorBody;
use bytes::{Bytes, BytesMut};
use futures::stream::{BoxStream, StreamExt, TryStreamExt, unfold};
use reqwest::Response;
use serde::de::DeserializeOwned;

/// Longest line of JSON, in bytes: a log line has 16 KiB at most, of which JSON may write each byte as six, and an event of a bus
/// has 256 KiB.
const LINE_BYTES_MAX: usize = 512 * 1024;

/// The items of an answer, one a line; an `Err` is the last one.
pub(super) fn read<T: DeserializeOwned + Send + 'static>(
    response: Response,
    url: String,
) -> BoxStream<'static, Result<T, ClientError>> {
    let asked = url.clone();
    let failure = move |error: reqwest::Error| {
        let (url, source) = (asked.clone(), Some(error.into()));
        ClientError::StreamEnded { url, source }
    };
    split(response.bytes_stream().map_err(failure).boxed(), url)
}

struct State {
    chunks: BoxStream<'static, Result<Bytes, ClientError>>,
    buffer: BytesMut,
    url: String,
    ended: bool,
}

pub(super) fn split<T: DeserializeOwned + Send + 'static>(
    chunks: BoxStream<'static, Result<Bytes, ClientError>>,
    url: String,
) -> BoxStream<'static, Result<T, ClientError>> {
    let state = State { chunks, buffer: BytesMut::new(), url, ended: false };
    unfold(state, |mut state| async move {
        let item = state.next::<T>().await?;
        if item.is_err() {
            state.ended = true;
            state.buffer.clear();
        }
        Some((item, state))
    })
    .boxed()
}

impl State {
    async fn next<T: DeserializeOwned>(&mut self) -> Option<Result<T, ClientError>> {
        loop {
            if let Some(end) = self.buffer.iter().position(|&byte| byte == b'\n') {
                let line = self.buffer.split_to(end + 1);
                match line.trim_ascii() {
                    [] => continue,
                    line => return Some(parse(line, &self.url)),
                }
            }
            if self.ended {
                return None;
            }
            if self.buffer.len() > LINE_BYTES_MAX {
                return Some(Err(ClientError::AnswerTooLarge { limit_bytes: LINE_BYTES_MAX }));
            }
            match self.chunks.next().await {
                Some(Ok(chunk)) => self.buffer.extend_from_slice(&chunk),
                Some(Err(error)) => return Some(Err(error)),
                None => {
                    // What is left without its newline is a line as well; the newline makes the loop find it.
                    self.ended = true;
                    self.buffer.extend_from_slice(b"\n");
                }
            }
        }
    }
}

fn parse<T: DeserializeOwned>(line: &[u8], url: &str) -> Result<T, ClientError> {
    serde_json::from_slice(line).map_err(|source| match serde_json::from_slice::<ErrorBody>(line) {
        Ok(ErrorBody { error }) => ClientError::Api {
            status: error.code.status(),
            code: error.code,
            message: error.message,
            details: error.details.map(Box::new),
        },
        Err(_) => ClientError::Unreadable { url: url.to_owned(), source },
    })
}

//! What is the same in both WASI generations about turning requests and headers into the `http` crate's types.

use http::header::CONTENT_LENGTH;
use http::request::Builder;
use http::{HeaderMap, HeaderName, HeaderValue, Uri};

/// A request's parts as WASI gives them.
pub(super) struct Head {
    pub(super) method: String,
    pub(super) https: bool,
    pub(super) authority: Option<String>,
    pub(super) path: Option<String>,
    pub(super) headers: Vec<(String, Vec<u8>)>,
}

impl Head {
    /// The request without its body.
    pub(super) fn into_request(self) -> http::Result<Builder> {
        let path = self.path.as_deref().unwrap_or("/");
        let mut uri = Uri::builder().path_and_query(path);
        if let Some(authority) = self.authority {
            uri = uri.scheme(if self.https { "https" } else { "http" }).authority(authority);
        }
        let mut request = http::Request::builder().method(self.method.as_str()).uri(uri.build()?);
        for (name, value) in self.headers {
            request = request.header(name, value);
        }
        Ok(request)
    }
}

/// Headers in the form that WASI takes, with the body's length if it is known and has to be told.
pub(super) fn entries(headers: &HeaderMap, body_bytes: Option<usize>) -> Vec<(String, Vec<u8>)> {
    let entry =
        |(name, value): (&HeaderName, &HeaderValue)| (name.as_str().to_owned(), value.as_bytes().to_vec());
    let unsaid = body_bytes.filter(|&bytes| bytes > 0 && !headers.contains_key(CONTENT_LENGTH));
    let length = unsaid.map(|bytes| (CONTENT_LENGTH.as_str().to_owned(), bytes.to_string().into_bytes()));
    headers.iter().map(entry).chain(length).collect()
}

/// Headers from the form that WASI gives.
pub(super) fn headers(entries: Vec<(String, Vec<u8>)>) -> http::Result<HeaderMap> {
    let entry = |(name, value): (String, Vec<u8>)| {
        Ok((HeaderName::from_bytes(name.as_bytes())?, HeaderValue::try_from(value)?))
    };
    entries.into_iter().map(entry).collect()
}

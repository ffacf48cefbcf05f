//! The heads and trailers that cross between the worker and a sandbox, as copies.
//!
//! One that one side allocates and the other frees would be missing in, or stay in, the account of the sandbox's heap
//! ([`crate::heap`]); over thousands of requests that adds up. So each side frees what it allocated. With the one request
//! of a sandbox that serves no other, the head of neither it nor its answer is worth a copy.
//!
//! What always holds: a copy shares no memory with what it is of, and nothing that a guest can write makes copying fail.

use super::GuestRequest;
use crate::heap::{Crossed, apart, lent};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Uri, request, response};
use http_body::Frame;

/// A request as its guest has it. To be called in a guest's poll.
pub(super) fn taken_in(request: GuestRequest) -> GuestRequest {
    let (theirs, body) = request.into_parts();
    let head = copy_of_head(&theirs);
    apart(|| drop(theirs));
    GuestRequest::from_parts(head, body)
}

/// A request's head as another side has it.
pub(crate) fn copy_of_head(theirs: &request::Parts) -> request::Parts {
    let (mut head, ()) = http::Request::new(()).into_parts();
    head.method = theirs.method.clone();
    head.uri = copy_of_uri(&theirs.uri);
    head.version = theirs.version;
    head.headers = copy_of_headers(&theirs.headers);
    head
}

/// A response's head as the worker has it. To be called outside of a guest's poll.
pub(super) fn taken_out(crossed: &Crossed, theirs: response::Parts) -> response::Parts {
    let head = copy_of_answer_head(&theirs);
    crossed.counted(|| drop(theirs));
    head
}

/// An answer's head as another side has it.
pub(crate) fn copy_of_answer_head(theirs: &response::Parts) -> response::Parts {
    let (mut head, ()) = http::Response::new(()).into_parts();
    head.status = theirs.status;
    head.version = theirs.version;
    head.headers = copy_of_headers(&theirs.headers);
    head
}

/// A piece of a body that others wrote, as its guest has it: data as [`lent`], trailers as the guest's own. In its poll.
pub(crate) fn frame_taken_in(crossed: &Crossed, frame: Frame<Bytes>) -> Frame<Bytes> {
    match frame.into_trailers() {
        Ok(theirs) => {
            let trailers = crossed.given(|| copy_of_headers(&theirs));
            apart(|| drop(theirs));
            Frame::trailers(trailers)
        }
        Err(frame) => frame.map_data(lent),
    }
}

/// A piece of a body that a guest wrote, as others have it: trailers as theirs. In whoever's poll.
pub(crate) fn frame_taken_out(crossed: &Crossed, frame: Frame<Bytes>) -> Frame<Bytes> {
    match frame.into_trailers() {
        Ok(own) => {
            let trailers = apart(|| copy_of_headers(&own));
            crossed.given(|| drop(own));
            Frame::trailers(trailers)
        }
        Err(frame) => frame,
    }
}

/// The same headers, which share no memory with these.
fn copy_of_headers(headers: &HeaderMap) -> HeaderMap {
    let mut copy = HeaderMap::with_capacity(headers.keys_len());
    for (name, value) in headers {
        let mut copied = HeaderValue::from_bytes(value.as_bytes()).unwrap_or_else(|_| value.clone());
        copied.set_sensitive(value.is_sensitive());
        let name = HeaderName::from_bytes(name.as_str().as_bytes()).unwrap_or_else(|_| name.clone());
        copy.append(name, copied);
    }
    copy
}

/// Part by part, each of which was read from such text before: as a whole, a target may be longer than one that is read.
fn copy_of_uri(uri: &Uri) -> Uri {
    let mut copy = Uri::builder();
    if let Some(scheme) = uri.scheme() {
        copy = copy.scheme(scheme.as_str());
    }
    if let Some(authority) = uri.authority() {
        copy = copy.authority(authority.as_str());
    }
    if let Some(path) = uri.path_and_query() {
        copy = copy.path_and_query(path.as_str());
    }
    copy.build().unwrap_or_else(|_| uri.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_the_same() {
        let mut headers = HeaderMap::new();
        headers.append("accept", HeaderValue::from_static("one"));
        headers.append("accept", HeaderValue::from_bytes(b"two \xff").unwrap());
        headers.append("x-own", HeaderValue::from_static(""));
        assert_eq!(copy_of_headers(&headers), headers);
        for uri in ["/", "/a/b?c=d", "http://hello.localhost:8080/x?", "*", "hello.localhost:80"] {
            let uri: Uri = uri.parse().unwrap();
            assert_eq!(copy_of_uri(&uri), uri);
        }
    }

    #[test]
    fn a_target_that_is_longer_than_one_that_is_read_is_copied_too() {
        let path = format!("/{}", "x".repeat(usize::from(u16::MAX) - 2));
        for path in [path.as_str(), "/?", "?x", "#x"] {
            let uri = Uri::builder().scheme("http").authority("user@[::1]:80").path_and_query(path);
            let uri = uri.build().unwrap();
            assert_eq!(copy_of_uri(&uri), uri, "{} bytes", path.len());
        }
    }

    #[test]
    fn trailers_are_those_of_who_has_them() {
        let crossed = Crossed::default();
        let mut trailers = HeaderMap::new();
        trailers.insert("x-end", HeaderValue::from_static("all of it"));
        for cross in [frame_taken_in, frame_taken_out] {
            let crossing = cross(&crossed, Frame::trailers(trailers.clone()));
            assert_eq!(crossing.into_trailers().unwrap(), trailers);
            let data = cross(&crossed, Frame::data(Bytes::from_static(b"data")));
            assert_eq!(data.into_data().unwrap(), "data");
        }
    }
}

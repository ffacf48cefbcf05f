//! The heads that cross between the worker and a sandbox that serves more than one request, as copies.
//!
//! A head that one side allocates and the other frees would be missing in, or stay in, the account of the sandbox's heap
//! ([`crate::heap`]); over thousands of requests that adds up. So each side frees what it allocated. A sandbox that serves
//! one request has no use for it.

use super::GuestRequest;
use crate::heap::Crossed;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Uri, request, response};

/// A request as its guest has it. To be called in a guest's poll.
pub(super) fn taken_in(crossed: &Crossed, request: GuestRequest) -> GuestRequest {
    let (theirs, body) = request.into_parts();
    let mut request = GuestRequest::new(body);
    *request.method_mut() = theirs.method.clone();
    *request.uri_mut() = copy_of_uri(&theirs.uri);
    *request.version_mut() = theirs.version;
    *request.headers_mut() = copy_of_headers(&theirs.headers);
    crossed.apart(|| drop::<request::Parts>(theirs));
    request
}

/// A request's head as others than its guest have it.
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
    let (mut head, ()) = http::Response::new(()).into_parts();
    head.status = theirs.status;
    head.version = theirs.version;
    head.headers = copy_of_headers(&theirs.headers);
    crossed.counted(|| drop(theirs));
    head
}

/// The same headers, which share no memory with these.
fn copy_of_headers(headers: &HeaderMap) -> HeaderMap {
    let mut copy = HeaderMap::with_capacity(headers.keys_len());
    for (name, value) in headers {
        let name = HeaderName::from_bytes(name.as_str().as_bytes()).expect("it was one before");
        let mut copied = HeaderValue::from_bytes(value.as_bytes()).expect("it was one before");
        copied.set_sensitive(value.is_sensitive());
        copy.append(name, copied);
    }
    copy
}

fn copy_of_uri(uri: &Uri) -> Uri {
    Uri::from_maybe_shared(Bytes::from(uri.to_string())).expect("it was one before")
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
}

//! A request as a guest of WASI 0.2 has made it, as the `http` crate has it: checked, and read part by part, as WASI's own
//! crate does (wasmtime-wasi-http 48, `p2/http_impl.rs`), with the same error codes.
//!
//! What always holds: a request that claims a length has a body, or claims none; its target has a scheme, an authority and
//! a path; and its `Host`, which no guest can write itself, is its target's authority.

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HOST};
use http::{HeaderMap, HeaderValue, Method, Request, Uri, uri};
use http_body_util::{BodyExt, Empty};
use wasmtime_wasi_http::p2::bindings::http::types::{ErrorCode, Scheme};
use wasmtime_wasi_http::p2::http_request_error;
use wasmtime_wasi_http::p2::types::HostOutgoingRequest;
use wasmtime_wasi_http::{FieldMap, WasiBody, WasiHttpHooks};

/// The request as others have it. To be called in its guest's poll.
///
/// # Errors
/// What is wrong with it, for the guest.
pub(super) fn converted(
    request: HostOutgoingRequest,
    hooks: &mut dyn WasiHttpHooks,
) -> Result<Request<WasiBody>, ErrorCode> {
    let HostOutgoingRequest { method, scheme, authority, path_with_query, headers, body } = request;
    // A guest need not have asked for the body, nor have finished it, where else the length would have been looked at.
    let promised_bytes = content_length(&headers).map_err(internal)?;
    if body.is_none() && promised_bytes.is_some_and(|bytes| bytes != 0) {
        return Err(ErrorCode::HttpRequestBodySize(Some(0)));
    }
    let method: Method = method.try_into().map_err(|_| ErrorCode::HttpRequestMethodInvalid)?;
    let scheme = scheme_of(scheme, hooks)?;
    let authority = authority.unwrap_or_default();
    let mut uri = Uri::builder().scheme(scheme).authority(authority.as_str());
    if let Some(path) = path_with_query {
        uri = uri.path_and_query(path);
    }
    let uri = uri.build().map_err(http_request_error)?;
    let host = hooks.set_host_header().then_some(authority);

    let mut converted = Request::new(body.unwrap_or_else(no_body));
    *converted.method_mut() = method;
    *converted.uri_mut() = uri;
    *converted.headers_mut() = headers_after(host, headers)?;
    Ok(converted)
}

/// How many bytes a request promises, if it promises any.
///
/// # Errors
/// A sentence on what is wrong with its promise.
fn content_length(headers: &HeaderMap) -> Result<Option<u64>, String> {
    let mut values = headers.get_all(CONTENT_LENGTH).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err("multiple `content-length` header values".to_owned());
    }
    let value = value.to_str().map_err(|error| error.to_string())?;
    // RFC 9110, section 8.6: digits alone. Rust would read a sign too.
    if value.is_empty() || !value.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(format!("invalid `content-length` header value: {value:?}"));
    }
    value.parse::<u64>().map(Some).map_err(|error| error.to_string())
}

fn scheme_of(scheme: Option<Scheme>, hooks: &mut dyn WasiHttpHooks) -> Result<uri::Scheme, ErrorCode> {
    let scheme = match scheme {
        None => return hooks.default_scheme().ok_or(ErrorCode::HttpProtocolError),
        Some(Scheme::Http) => uri::Scheme::HTTP,
        Some(Scheme::Https) => uri::Scheme::HTTPS,
        Some(Scheme::Other(scheme)) => {
            uri::Scheme::try_from(scheme.as_str()).map_err(|_| ErrorCode::HttpProtocolError)?
        }
    };
    if hooks.is_supported_scheme(&scheme) { Ok(scheme) } else { Err(ErrorCode::HttpProtocolError) }
}

/// A guest's headers, with the `Host` before them.
fn headers_after(host: Option<String>, own: FieldMap) -> Result<HeaderMap, ErrorCode> {
    let own = HeaderMap::from(own);
    let Some(host) = host else { return Ok(own) };
    let host = HeaderValue::try_from(host).map_err(|error| internal(error.to_string()))?;
    let mut headers = HeaderMap::with_capacity(own.len() + 1);
    headers.insert(HOST, host);
    headers.extend(own);
    Ok(headers)
}

fn no_body() -> WasiBody {
    Empty::<Bytes>::new().map_err(|never| match never {}).boxed_unsync()
}

fn internal(what: String) -> ErrorCode {
    ErrorCode::InternalError(Some(what))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body::Body as _;
    use http_body_util::Full;
    use wasmtime_wasi_http::p2::bindings::http::types::Method as GuestMethod;
    use wasmtime_wasi_http::{Error, RequestOptions};

    type Exchange = Box<dyn Future<Output = Result<(), Error>> + Send>;
    type Sent = (http::Response<WasiBody>, Exchange);

    /// WASI's own defaults.
    struct Hooks;

    impl WasiHttpHooks for Hooks {
        fn send_request(
            &mut self,
            _: Request<WasiBody>,
            _: Option<RequestOptions>,
            _: Exchange,
        ) -> Box<dyn Future<Output = Result<Sent, Error>> + Send> {
            unreachable!("nothing is sent here")
        }
    }

    /// `GET https://a.example/`, as a guest says it.
    fn plain() -> HostOutgoingRequest {
        HostOutgoingRequest {
            method: GuestMethod::Get,
            scheme: Some(Scheme::Https),
            authority: Some("a.example".to_owned()),
            path_with_query: Some("/".to_owned()),
            headers: FieldMap::default(),
            body: None,
        }
    }

    fn fields(all: &[(&'static str, &'static str)]) -> FieldMap {
        let mut headers = HeaderMap::new();
        for &(name, value) in all {
            headers.append(name, HeaderValue::from_static(value));
        }
        FieldMap::new_immutable(&mut Hooks, headers)
    }

    fn full(text: &'static str) -> WasiBody {
        Full::new(Bytes::from_static(text.as_bytes())).map_err(|never| match never {}).boxed_unsync()
    }

    /// What becomes of the plain request, changed: its method and target, or the name of an error code.
    #[track_caller]
    fn check(change: impl FnOnce(&mut HostOutgoingRequest), expected: Result<&str, &str>) {
        let mut request = plain();
        change(&mut request);
        let said = match converted(request, &mut Hooks) {
            Ok(request) => Ok(format!("{} {}", request.method(), request.uri())),
            Err(code) => Err(format!("{code:?}")),
        };
        match (&said, expected) {
            (Ok(said), Ok(expected)) => assert_eq!(said, expected),
            (Err(said), Err(expected)) => assert!(said.contains(expected), "{said}, not {expected}"),
            _ => panic!("{said:?}, not {expected:?}"),
        }
    }

    #[test]
    fn a_method_is_any_that_http_knows_or_could() {
        let methods = [
            (GuestMethod::Get, "GET"),
            (GuestMethod::Head, "HEAD"),
            (GuestMethod::Post, "POST"),
            (GuestMethod::Put, "PUT"),
            (GuestMethod::Delete, "DELETE"),
            (GuestMethod::Connect, "CONNECT"),
            (GuestMethod::Options, "OPTIONS"),
            (GuestMethod::Trace, "TRACE"),
            (GuestMethod::Patch, "PATCH"),
            (GuestMethod::Other("PATCH".to_owned()), "PATCH"),
            (GuestMethod::Other("purge".to_owned()), "purge"),
        ];
        for (method, name) in methods {
            check(|request| request.method = method, Ok(&format!("{name} https://a.example/")));
        }
        for method in ["", "G ET", "GET\r\n"] {
            let method = GuestMethod::Other(method.to_owned());
            check(|request| request.method = method, Err("HttpRequestMethodInvalid"));
        }
    }

    #[test]
    fn a_scheme_is_one_of_http_s() {
        let other = |scheme: &str| Some(Scheme::Other(scheme.to_owned()));
        check(|request| request.scheme = None, Ok("GET https://a.example/"));
        check(|request| request.scheme = Some(Scheme::Http), Ok("GET http://a.example/"));
        check(|request| request.scheme = other("http"), Ok("GET http://a.example/"));
        for scheme in ["ftp", "", "a b"] {
            check(|request| request.scheme = other(scheme), Err("HttpProtocolError"));
        }
    }

    #[test]
    fn a_target_has_an_authority_and_a_path() {
        let authority = |authority: &str| Some(authority.to_owned());
        check(|request| request.authority = authority("[::1]:80"), Ok("GET https://[::1]:80/"));
        for wrong in [None, authority(""), authority("a b"), authority("a\r\nb")] {
            check(|request| request.authority = wrong, Err("HttpRequestUriInvalid"));
        }
        let path = |path: &str| Some(path.to_owned());
        check(|request| request.path_with_query = path("/x?y=z"), Ok("GET https://a.example/x?y=z"));
        check(|request| request.path_with_query = path("/x y"), Err("HttpRequestUriInvalid"));
        check(|request| request.path_with_query = None, Err("HttpProtocolError"));
    }

    #[test]
    fn the_host_is_the_authority_and_comes_first() {
        let mut request = plain();
        request.headers = fields(&[("accept", "one"), ("accept", "two"), ("x-own", "three")]);
        // As where the guest still has the headers too.
        let also_held = request.headers.clone();
        let headers = std::mem::take(converted(request, &mut Hooks).unwrap().headers_mut());
        let said: Vec<_> =
            headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        let expected = [("host", "a.example"), ("accept", "one"), ("accept", "two"), ("x-own", "three")];
        assert_eq!(said, expected);
        assert_eq!(also_held.len(), 3);
    }

    #[test]
    fn what_promises_a_length_has_a_body() {
        let length = |length| fields(&[("content-length", length)]);
        let fine = Ok("GET https://a.example/");
        check(|request| request.headers = length("0"), fine);
        check(|request| request.headers = length("4"), Err("HttpRequestBodySize(Some(0))"));
        check(
            |request| {
                request.headers = length("4");
                request.body = Some(full("four"));
            },
            fine,
        );
        check(|request| request.headers = length("+4"), Err("InternalError"));
        let several = fields(&[("content-length", "4"), ("content-length", "4")]);
        check(|request| request.headers = several, Err("InternalError"));
    }

    #[test]
    fn a_length_is_digits_alone() {
        let length = |value| content_length(&HeaderMap::from_iter([(CONTENT_LENGTH, value)]));
        assert_eq!(content_length(&HeaderMap::new()), Ok(None));
        assert_eq!(length(HeaderValue::from_static("0")), Ok(Some(0)));
        assert_eq!(length(HeaderValue::from(u64::MAX)), Ok(Some(u64::MAX)));
        for wrong in ["", "+5", "-5", " 5", "5, 5", "0x5", "18446744073709551616"] {
            assert!(length(HeaderValue::from_static(wrong)).is_err(), "{wrong:?}");
        }
        assert!(length(HeaderValue::from_bytes(b"\xff").unwrap()).is_err());
    }

    #[test]
    fn a_body_is_the_guest_s_own_or_an_empty_one() {
        let mut request = plain();
        assert!(converted(request, &mut Hooks).unwrap().body().is_end_stream());
        request = plain();
        request.body = Some(full("four"));
        let converted = converted(request, &mut Hooks).unwrap();
        assert_eq!(converted.body().size_hint().exact(), Some(4));
    }
}

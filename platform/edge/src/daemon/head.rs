//! A request's head as the next hop must see it, in either HTTP; and which requests may go to a target at all, by what that
//! speaks.
//!
//! What was meant for the client's hop is gone from a head before it comes here. What always holds: there is one way to say
//! how long a body is, and one to say whose the request is.

use super::speaks::Speaks;
use crate::body::Upload;
use crate::grpc;
use crate::refusal::Refusal;
use http::header::{CONNECTION, CONTENT_LENGTH, HOST, TE, TRANSFER_ENCODING, UPGRADE};
use http::request::Parts;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderValue, Method, Uri, Version};
use skiff_types::TargetProtocol;

/// What cannot be had of a target of HTTP/2: its streams carry HTTP alone.
const CHANGE_OF_PROTOCOL: &str = "a change of protocol (the header Upgrade) by a target of HTTP/2";
static TRAILERS: HeaderValue = HeaderValue::from_static("trailers");

/// Refuses what targets of this protocol can't be asked: a change of protocol by HTTP/2, and as ELBv2 does, with 464, gRPC of
/// who speaks HTTP/1.1, and of who speaks gRPC all that is no POST by HTTP/2. Other requests of HTTP/1.1 are
/// translated to HTTP/2, which ELBv2 doesn't do.
pub(super) fn check(head: &Parts, speaks: Speaks, upgrade: Option<&HeaderValue>) -> Result<(), Refusal> {
    let is_http2 = head.version == Version::HTTP_2;
    match speaks.protocol {
        TargetProtocol::Grpc if !is_http2 || head.method != Method::POST => Err(Refusal::Incompatible(
            "its targets speak gRPC, and take requests of HTTP/2 with the method POST",
        )),
        TargetProtocol::Http1 | TargetProtocol::Tcp if is_http2 && grpc::is_asked(&head.headers) => {
            Err(Refusal::Incompatible("its targets speak HTTP/1.1, and gRPC needs HTTP/2"))
        }
        TargetProtocol::Http2 | TargetProtocol::Grpc if upgrade.is_some() => {
            Err(Refusal::NotSupported(CHANGE_OF_PROTOCOL))
        }
        TargetProtocol::Http1 | TargetProtocol::Http2 | TargetProtocol::Grpc | TargetProtocol::Tcp => Ok(()),
    }
}

/// Makes a head as one who speaks HTTP/1.1 must see it; `takes_trailers` says whether the client does.
pub(super) fn for_http1(
    head: &mut Parts,
    upload: Option<&Upload>,
    upgrade: Option<&HeaderValue>,
    takes_trailers: bool,
) {
    head.version = Version::HTTP_11;
    head.uri = match head.uri.path_and_query() {
        Some(path) => Uri::from(path.clone()),
        None => Uri::from_static("/"),
    };
    // RFC 9112, section 3.2: empty where there is no authority.
    head.headers.entry(HOST).or_insert(HeaderValue::from_static(""));
    say_length(head, upload);
    if upload.is_some_and(|upload| upload.exact_bytes().is_none()) {
        head.headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    if let Some(upgrade) = upgrade {
        head.headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        head.headers.insert(UPGRADE, upgrade.clone());
    } else if takes_trailers {
        // RFC 9110, section 10.1.4: it is for this hop.
        head.headers.insert(CONNECTION, HeaderValue::from_static("te"));
        head.headers.insert(TE, TRAILERS.clone());
    }
}

/// Makes a head as one who speaks HTTP/2 must see it.
pub(super) fn for_http2(head: &mut Parts, upload: Option<&Upload>, speaks: Speaks, takes_trailers: bool) {
    let host = head.headers.remove(HOST);
    let authority = host.and_then(|host| Authority::try_from(host.as_bytes()).ok());
    let path = head.uri.path_and_query().cloned().unwrap_or(PathAndQuery::from_static("/"));
    let mut parts = http::uri::Parts::default();
    if authority.is_some() {
        parts.scheme = Some(if speaks.tls { Scheme::HTTPS } else { Scheme::HTTP });
        parts.authority = authority;
    }
    parts.path_and_query = Some(path.clone());
    head.uri = Uri::from_parts(parts).unwrap_or_else(|_| Uri::from(path));
    // h2 leaves out who it is for, if that is not said, in a request that came by HTTP/1.1 alone.
    head.version = match head.uri.authority() {
        Some(_) => Version::HTTP_2,
        None => Version::HTTP_11,
    };
    say_length(head, upload);
    if takes_trailers {
        head.headers.insert(TE, TRAILERS.clone());
    }
}

fn say_length(head: &mut Parts, upload: Option<&Upload>) {
    match upload.map(Upload::exact_bytes) {
        Some(Some(bytes)) => {
            head.headers.insert(CONTENT_LENGTH, HeaderValue::from(bytes));
        }
        Some(None) => {
            head.headers.remove(CONTENT_LENGTH);
        }
        None if head.headers.contains_key(CONTENT_LENGTH) => {
            head.headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        None => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    fn head(method: &str, uri: &str, version: Version, headers: &[(&str, &str)]) -> Parts {
        let mut request = Request::builder().method(method).uri(uri).version(version);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    fn speaks(protocol: TargetProtocol) -> Speaks {
        Speaks { protocol, tls: false }
    }

    #[test]
    fn who_speaks_what_decides_on_what_it_may_be_asked() {
        use TargetProtocol::{Grpc, Http1, Http2};
        const GRPC: (&str, &str) = ("content-type", "application/grpc+proto");
        let refused = |method: &str, version: Version, headers: &[(&str, &str)], protocol: TargetProtocol| {
            let head = head(method, "/", version, headers);
            check(&head, speaks(protocol), None).err().map(|refusal| refusal.status().as_u16())
        };
        let (old, new) = (Version::HTTP_11, Version::HTTP_2);
        for (method, version, headers, protocol, status) in [
            ("POST", new, &[GRPC][..], Http1, Some(464)),
            ("POST", old, &[GRPC][..], Http1, None),
            ("POST", new, &[("content-type", "application/grpc-web")][..], Http1, None),
            ("POST", new, &[GRPC][..], Http2, None),
            ("GET", old, &[][..], Http2, None),
            ("POST", new, &[GRPC][..], Grpc, None),
            ("POST", new, &[][..], Grpc, None),
            ("POST", old, &[GRPC][..], Grpc, Some(464)),
            ("GET", new, &[][..], Grpc, Some(464)),
        ] {
            let found = refused(method, version, headers, protocol);
            assert_eq!(found, status, "{method} {version:?} {headers:?} {protocol}");
        }
        let upgrade = HeaderValue::from_static("websocket");
        let head = head("GET", "/", old, &[]);
        let status = |protocol| {
            check(&head, speaks(protocol), Some(&upgrade)).err().map(|refusal| refusal.status().as_u16())
        };
        assert_eq!((status(Http1), status(Http2), status(Grpc)), (None, Some(501), Some(464)));
    }

    #[test]
    fn a_head_of_http2_says_whose_it_is_in_its_target_alone() {
        let mut head_of_http1 = head("GET", "/a?b", Version::HTTP_11, &[("host", "shop.example:81")]);
        for_http2(&mut head_of_http1, None, Speaks { protocol: TargetProtocol::Http2, tls: true }, true);
        assert_eq!(head_of_http1.uri, "https://shop.example:81/a?b");
        assert_eq!(head_of_http1.headers.get(HOST), None);
        assert_eq!((&head_of_http1.headers[TE], head_of_http1.version), (&TRAILERS, Version::HTTP_2));
        let mut nobodys = head("OPTIONS", "*", Version::HTTP_10, &[("content-length", "7")]);
        for_http2(&mut nobodys, None, speaks(TargetProtocol::Http2), false);
        assert_eq!((nobodys.uri.path(), nobodys.version), ("*", Version::HTTP_11));
        assert_eq!(
            (&nobodys.headers[CONTENT_LENGTH], nobodys.headers.get(TE)),
            (&"0".parse().unwrap(), None)
        );
        let mut all = head("OPTIONS", "*", Version::HTTP_11, &[("host", "a")]);
        for_http2(&mut all, None, speaks(TargetProtocol::Http2), false);
        assert_eq!((all.uri.path(), all.uri.host()), ("*", Some("a")));
    }

    #[test]
    fn a_head_of_http1_says_whose_it_is_in_its_host() {
        let mut from_http2 = head("GET", "http://a/x", Version::HTTP_2, &[("host", "a")]);
        for_http1(&mut from_http2, None, None, true);
        assert_eq!((from_http2.uri.to_string().as_str(), from_http2.version), ("/x", Version::HTTP_11));
        assert_eq!(
            (&from_http2.headers[TE], &from_http2.headers[CONNECTION]),
            (&TRAILERS, &"te".parse().unwrap())
        );
        let mut changing = head("GET", "/", Version::HTTP_11, &[]);
        for_http1(&mut changing, None, Some(&HeaderValue::from_static("echo")), true);
        assert_eq!(
            (&changing.headers[CONNECTION], changing.headers.get(TE)),
            (&"upgrade".parse().unwrap(), None)
        );
        assert_eq!(changing.headers[HOST], "");
    }
}

//! Whom a request is for: the host of its target or of its `Host` header, without port, in lower case.

use http::header::HOST;
use http::{HeaderMap, Uri, Version};
use std::borrow::Cow;
use std::net::Ipv6Addr;

/// Longest host, in bytes (RFC 1035 has 253).
const HOST_LENGTH_MAX: usize = 255;

/// The request's authority as the client wrote it: of its target, else its `Host`; empty if an HTTP/1.0 client named
/// none. The error says what is wrong with the request (RFC 9112, section 3.2).
pub(crate) fn authority<'a>(
    uri: &'a Uri,
    headers: &'a HeaderMap,
    version: Version,
) -> Result<&'a str, &'static str> {
    let mut hosts = headers.get_all(HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err("it has more than one Host header");
    }
    if host.is_none() && version == Version::HTTP_11 {
        return Err("it has no Host header");
    }
    match (uri.authority(), host) {
        (Some(authority), _) => Ok(authority.as_str()),
        (None, Some(host)) => host.to_str().map_err(|_| "its Host header is not a host"),
        (None, None) if version == Version::HTTP_2 => Err("it names no authority"),
        (None, None) => Ok(""),
    }
}

/// The host of an authority in the form that routes have: no port, no dot at its end, lower case.
pub(crate) fn normalise(authority: &str) -> Option<Cow<'_, str>> {
    let host = without_port(authority)?;
    if host.len() > HOST_LENGTH_MAX {
        return None;
    }
    if host.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Some(Cow::Owned(host.to_ascii_lowercase()));
    }
    Some(Cow::Borrowed(host))
}

fn without_port(authority: &str) -> Option<&str> {
    let is_port = |rest: &str| match rest.strip_prefix(':') {
        Some(port) => port.len() <= 5 && port.bytes().all(|byte| byte.is_ascii_digit()),
        None => rest.is_empty(),
    };
    if let Some(literal) = authority.strip_prefix('[') {
        let (address, rest) = literal.split_once(']')?;
        address.parse::<Ipv6Addr>().ok()?;
        return is_port(rest).then(|| &authority[..address.len() + 2]);
    }
    let end = authority.find(':').unwrap_or(authority.len());
    let (host, rest) = authority.split_at(end);
    let host = host.strip_suffix('.').unwrap_or(host);
    let known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    (is_port(rest) && host.bytes().all(known)).then_some(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_loses_its_port_its_case_and_its_last_dot() {
        for (authority, host) in [
            ("hello.localhost", "hello.localhost"),
            ("Hello.LOCALHOST:8080", "hello.localhost"),
            ("example.com.", "example.com"),
            ("example.com.:80", "example.com"),
            ("127.0.0.1:8080", "127.0.0.1"),
            ("[::1]:8080", "[::1]"),
            ("[2001:DB8::1]", "[2001:db8::1]"),
            ("a:", "a"),
            ("", ""),
        ] {
            assert_eq!(normalise(authority).as_deref(), Some(host), "{authority:?}");
        }
    }

    #[test]
    fn what_is_no_host_is_refused() {
        let long = "a".repeat(256);
        for authority in [
            "a b",
            "user@host",
            "a:b",
            "a:123456",
            "[::1",
            "[::1]x",
            "[x]",
            "a/b",
            "ä",
            "*.a",
            "a:1:2",
            &long,
        ] {
            assert_eq!(normalise(authority), None, "{authority:?}");
        }
    }

    #[test]
    fn the_target_goes_before_the_host_header() {
        let mut headers = HeaderMap::new();
        let absolute: Uri = "http://target.example/x".parse().unwrap();
        let origin: Uri = "/x".parse().unwrap();
        assert_eq!(authority(&origin, &headers, Version::HTTP_11), Err("it has no Host header"));
        assert_eq!(authority(&absolute, &headers, Version::HTTP_11), Err("it has no Host header"));
        assert_eq!(authority(&origin, &headers, Version::HTTP_10), Ok(""));
        assert_eq!(authority(&origin, &headers, Version::HTTP_2), Err("it names no authority"));
        headers.insert(HOST, "host.example".parse().unwrap());
        assert_eq!(authority(&origin, &headers, Version::HTTP_11), Ok("host.example"));
        assert_eq!(authority(&absolute, &headers, Version::HTTP_11), Ok("target.example"));
        headers.append(HOST, "host.example".parse().unwrap());
        assert!(authority(&absolute, &headers, Version::HTTP_11).is_err());
    }
}

//! Whom a request is for, by its target: pure.
//!
//! What a name under `.internal` leads to at present is not known here, nor what any other name does.

use http::Uri;
use http::uri::Scheme;
use skiff_net::InternalName;
use skiff_ports::invoke::HTTP_PORT;
use skiff_types::QualifiedName;
use wasmtime_wasi_http::Error;

/// The port that stands for `https` (RFC 9110, section 4.2.2).
const HTTPS_PORT: u16 = 443;

/// Whom a request is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) place: Place,
    pub(crate) port: u16,
}

/// Where that is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// A name of the platform's own.
    Internal(InternalName),
    /// Anything that has to be connected to: a host outside, an address, and whatever is to speak TLS.
    Elsewhere,
}

impl Target {
    /// Reads it from a request's target in absolute form.
    ///
    /// # Errors
    /// `HttpRequestUriInvalid` if that names no host, or a user, or what is no port; `DnsError` for a name under `.internal`
    /// that means nothing, which is asked of nobody.
    pub(crate) fn of(uri: &Uri) -> Result<Self, Error> {
        let authority = uri.authority().ok_or(Error::HttpRequestUriInvalid)?;
        let host = authority.host();
        let is_tls = uri.scheme() == Some(&Scheme::HTTPS);
        let port = match authority.port_u16() {
            Some(0) => return Err(Error::HttpRequestUriInvalid),
            Some(port) => port,
            None if is_tls => HTTPS_PORT,
            None => HTTP_PORT,
        };
        let has_port = authority.port_u16().is_some();
        let is_whole = has_port || authority.as_str() == host;
        if host.is_empty() || !is_whole || authority.as_str().contains('@') {
            return Err(Error::HttpRequestUriInvalid);
        }
        let place = match host.starts_with('[') {
            true => Place::Elsewhere,
            false => match InternalName::parse(host).map_err(|_| no_such_name())? {
                Some(name) if !is_tls => Place::Internal(name),
                Some(_) | None => Place::Elsewhere,
            },
        };
        Ok(Self { place, port })
    }

    /// The service that is to be woken, if it sleeps.
    pub(crate) fn sleeper(&self) -> Option<&QualifiedName> {
        match &self.place {
            Place::Internal(InternalName::Service(service)) if self.port == HTTP_PORT => Some(service),
            Place::Internal(_) | Place::Elsewhere => None,
        }
    }
}

/// What a guest is told of a name that nobody has (RFC 1035, section 4.1.1: response code 3).
pub(crate) fn no_such_name() -> Error {
    Error::DnsError { rcode: Some("NXDOMAIN".to_owned()), info_code: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(uri: &str) -> Result<(Option<String>, u16), String> {
        let target = Target::of(&uri.parse().unwrap()).map_err(|error| error.to_string())?;
        let name = match target.place {
            Place::Internal(name) => Some(name.to_string()),
            Place::Elsewhere => None,
        };
        Ok((name, target.port))
    }

    #[test]
    fn a_name_of_the_platforms_own_is_internal_unless_it_is_to_speak_tls() {
        let id = "0193f0c5c00070008000000000000001";
        for (uri, name, port) in [
            ("http://cache.shop.internal/", Some("cache.shop.internal"), 80),
            ("http://Cache.SHOP.Internal.:8080/x?y", Some("cache.shop.internal"), 8080),
            ("http://api.listener.internal:9000/", Some("api.listener.internal"), 9000),
            ("https://cache.shop.internal/", None, 443),
            ("http://example.com/", None, 80),
            ("https://example.com:8443/", None, 8443),
            ("http://192.0.2.7/", None, 80),
            ("http://[2001:db8::1]:8080/", None, 8080),
            ("https://[2001:db8::1]/", None, 443),
        ] {
            assert_eq!(read(uri), Ok((name.map(str::to_owned), port)), "{uri}");
        }
        let task = format!("http://{id}.task.internal/");
        assert_eq!(read(&task), Ok((Some(format!("{id}.task.internal")), 80)));
    }

    #[test]
    fn what_names_nobody_is_refused() {
        for uri in ["/path", "http://user@example.com/", "http://example.com:0/", "http://example.com:/"] {
            let invalid = Error::HttpRequestUriInvalid.to_string();
            assert_eq!(read(uri), Err(invalid), "{uri}");
        }
        for uri in ["http://cache.internal/", "http://a.b.c.internal/", "https://x_y.task.internal/"] {
            assert_eq!(read(uri), Err(no_such_name().to_string()), "{uri}");
        }
    }
}

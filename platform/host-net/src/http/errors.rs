//! What goes wrong with an outgoing request, as error codes of `wasi:http`.
//!
//! Libraries wrap errors in errors; what is told is what happened first, wherever in the chain it lies.

use crate::http::outside::{ConnectError, HEADER_BYTES_MAX};
use crate::http::target::no_such_name;
use rustls::AlertDescription;
use skiff_net::NetError;
use skiff_ports::body::BodyError;
use std::error::Error as StdError;
use std::io;
use wasmtime_wasi_http::Error;

/// What `net` says.
pub(crate) fn of_net(error: &NetError) -> Error {
    match error {
        NetError::Denied(_) => Error::HttpRequestDenied,
        NetError::Refused => Error::ConnectionRefused,
        NetError::Reset => Error::ConnectionTerminated,
        NetError::TimedOut => Error::ConnectionTimeout,
        NetError::Unreachable => Error::DestinationIpUnroutable,
        NetError::TooManySockets(_) | NetError::OutOfMemory => Error::ConnectionLimitReached,
        NetError::NameUnresolvable => no_such_name(),
        // RFC 1035, section 4.1.1: response code 2.
        NetError::TemporaryResolverFailure => {
            Error::DnsError { rcode: Some("SERVFAIL".to_owned()), info_code: None }
        }
        NetError::AddressInUse
        | NetError::AddressNotBindable
        | NetError::InvalidArgument
        | NetError::InvalidState
        | NetError::NotSupported
        | NetError::DatagramTooLarge
        | NetError::Closed => Error::InternalError(Some(error.to_string())),
    }
}

/// What became of an answer's body that a task of this worker gave.
pub(crate) fn of_body(error: BodyError) -> Error {
    match error {
        BodyError::TooLarge { limit_bytes } => Error::HttpResponseBodySize(Some(limit_bytes)),
        BodyError::Idle { .. } => Error::ConnectionReadTimeout,
        // Its own log says why; its callers need not know.
        BodyError::Guest(_) => Error::HttpResponseIncomplete,
        BodyError::Connection(_) => Error::ConnectionTerminated,
    }
}

/// What the HTTP client says, of a connection, a request or a body.
pub(crate) fn of_client(error: &(dyn StdError + 'static)) -> Error {
    let chain = || std::iter::successors(Some(error), |error| (**error).source());
    if let Some(first) = chain().find_map(first_cause) {
        return first;
    }
    let hyper = || chain().filter_map(|error| error.downcast_ref::<hyper::Error>());
    if hyper().any(hyper::Error::is_parse_too_large) {
        return Error::HttpResponseHeaderSectionSize(u32::try_from(HEADER_BYTES_MAX).ok());
    }
    let broke_off =
        |error: &hyper::Error| error.is_incomplete_message() || error.is_closed() || error.is_canceled();
    match hyper().any(broke_off) {
        true => Error::ConnectionTerminated,
        false => Error::HttpProtocolError,
    }
}

/// What an error means that is none of the client's own.
fn first_cause(error: &(dyn StdError + 'static)) -> Option<Error> {
    if let Some(error) = error.downcast_ref::<ConnectError>() {
        return Some(match error {
            ConnectError::Net(error) => of_net(error),
            ConnectError::Tls(error) => of_tls(error),
            ConnectError::NoServerName => Error::HttpRequestUriInvalid,
            ConnectError::OutOfMemory => Error::ConnectionLimitReached,
        });
    }
    if let Some(error) = error.downcast_ref::<io::Error>() {
        return of_io(error);
    }
    let of_request = error.downcast_ref::<Error>()?;
    Some(match of_request {
        Error::HttpRequestBodySize(bytes) => Error::HttpRequestBodySize(*bytes),
        _ => Error::HttpProtocolError,
    })
}

fn of_io(error: &io::Error) -> Option<Error> {
    let inner = error.get_ref();
    if let Some(error) = inner.and_then(|inner| inner.downcast_ref::<NetError>()) {
        return Some(of_net(error));
    }
    if inner.is_some_and(|inner| inner.is::<rustls::Error>()) {
        return Some(of_tls(error));
    }
    match error.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => {
            Some(Error::ConnectionTerminated)
        }
        _ => None,
    }
}

/// What TLS says: of a certificate, an alert, or the protocol.
fn of_tls(error: &io::Error) -> Error {
    let inner = error.get_ref();
    if let Some(error) = inner.and_then(|inner| inner.downcast_ref::<NetError>()) {
        return of_net(error);
    }
    match inner.and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented) => {
            Error::TlsCertificateError
        }
        Some(rustls::Error::AlertReceived(alert)) => alert_received(*alert),
        Some(_) => Error::TlsProtocolError,
        None => Error::ConnectionTerminated,
    }
}

fn alert_received(alert: AlertDescription) -> Error {
    Error::TlsAlertReceived {
        alert_id: Some(u8::from(alert)),
        alert_message: alert.as_str().map(str::to_owned),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::CertificateError;

    #[track_caller]
    fn check(error: impl StdError + 'static, expected: &Error) {
        assert_eq!(of_client(&error).to_string(), expected.to_string(), "{error:?}");
    }

    #[test]
    fn what_happened_first_is_what_is_told() {
        check(io::Error::other(NetError::Refused), &Error::ConnectionRefused);
        check(ConnectError::Net(NetError::Denied("no rule".into())), &Error::HttpRequestDenied);
        check(ConnectError::Net(NetError::NameUnresolvable), &no_such_name());
        check(io::Error::other(NetError::Reset), &Error::ConnectionTerminated);
        check(io::Error::from(io::ErrorKind::UnexpectedEof), &Error::ConnectionTerminated);
        check(Error::HttpRequestBodySize(Some(7)), &Error::HttpRequestBodySize(Some(7)));
        check(NetError::Refused, &Error::HttpProtocolError);
    }

    #[test]
    fn tls_says_whether_it_is_the_certificate() {
        let tls = |error: rustls::Error| ConnectError::Tls(io::Error::new(io::ErrorKind::InvalidData, error));
        let unknown = rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer);
        check(tls(unknown), &Error::TlsCertificateError);
        check(tls(rustls::Error::DecryptError), &Error::TlsProtocolError);
        let alert = AlertDescription::HandshakeFailure;
        check(tls(rustls::Error::AlertReceived(alert)), &alert_received(alert));
        check(ConnectError::Tls(io::Error::other(NetError::TimedOut)), &Error::ConnectionTimeout);
    }
}

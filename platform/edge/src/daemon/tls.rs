//! TLS to targets outside: whom they are trusted by, and the handshake.
//!
//! A target must show a certificate for the name, or the address, that its group names it by, made by an authority that is
//! trusted: the public ones, as guests' own outgoing requests trust them. It deliberately shows none of ours. What always
//! holds: nothing is sent to a target that did not show such a certificate, and nobody is trusted before the edge is told whom
//! to trust; what a client is told of a failure names no host, which the access log does.

use super::speaks::Speaks;
use crate::edge::Edge;
use crate::tls::Encrypted;
use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use skiff_ports::connect::{ConnectError, Connection, Destination};
use skiff_types::TargetProtocol;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// HTTP/2 and HTTP/1.1 as TLS names them (RFC 7301, section 6).
const HTTP_2: &[u8] = b"h2";
const HTTP_1: &[u8] = b"http/1.1";
/// Sessions that are remembered, to be resumed, of targets of one protocol.
const SESSIONS_MAX: usize = 256;

/// How TLS is spoken to targets, by what they speak inside.
pub(crate) struct Trust {
    http1: Arc<ClientConfig>,
    http2: Arc<ClientConfig>,
    bytes: Arc<ClientConfig>,
}

impl Trust {
    /// Trusts certificates of these authorities.
    pub(crate) fn in_authorities(roots: Arc<RootCertStore>) -> Self {
        // Named, since several may be linked.
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = |protocols: &[&[u8]]| {
            let mut config = ClientConfig::builder_with_provider(provider.clone())
                .with_safe_default_protocol_versions()
                .expect("ring has the versions that rustls has")
                .with_root_certificates(roots.clone())
                .with_no_client_auth();
            config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
            config.resumption = Resumption::in_memory_sessions(SESSIONS_MAX);
            Arc::new(config)
        };
        Self { http1: config(&[HTTP_1]), http2: config(&[HTTP_2]), bytes: config(&[]) }
    }

    fn config(&self, protocol: TargetProtocol) -> Arc<ClientConfig> {
        let config = match protocol {
            TargetProtocol::Http1 => &self.http1,
            TargetProtocol::Http2 | TargetProtocol::Grpc => &self.http2,
            TargetProtocol::Tcp => &self.bytes,
        };
        config.clone()
    }
}

/// Whom a target's certificate must be for.
fn server_name(destination: &Destination) -> Option<ServerName<'static>> {
    match destination {
        Destination::Outside(outside) => match outside.host.parse::<IpAddr>() {
            Ok(address) => Some(address.into()),
            Err(_) => ServerName::try_from(outside.host.to_string()).ok(),
        },
        Destination::Virtual(address) => Some(address.ip().into()),
        // It has no name that an authority could know.
        Destination::Task { .. } => None,
    }
}

/// Shakes hands with the target at the other side of a connection.
pub(super) async fn secure(
    edge: &Edge,
    destination: &Destination,
    speaks: Speaks,
    socket: Box<dyn Connection>,
) -> Result<Box<dyn Connection>, ConnectError> {
    let failed = |reason: &str| ConnectError::Failed(reason.to_owned());
    let name = server_name(destination).ok_or_else(|| failed("no certificate can be for it"))?;
    let limits = edge.limits();
    let bytes_max = limits.buffer_bytes_max;
    let bound = |session: &mut ClientConnection| session.set_buffer_limit(Some(bytes_max));
    let connector = TlsConnector::from(edge.trust().config(speaks.protocol));
    let shaking = connector.connect_with(name, socket, bound);
    let shaken = tokio::time::timeout(limits.target_handshake_timeout, shaking).await;
    let stream = shaken.map_err(|_| ConnectError::TimedOut)?.map_err(|error| connect_error(&error))?;
    // RFC 9113, section 3.2: it has to agree.
    if speaks.is_http2() && stream.get_ref().1.alpn_protocol() != Some(HTTP_2) {
        return Err(failed("inside TLS it does not agree to speak HTTP/2 (ALPN)"));
    }
    Ok(Box::new(Encrypted(stream)))
}

fn connect_error(error: &io::Error) -> ConnectError {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidCertificate(reason)) => ConnectError::Untrusted(reason.to_string()),
        Some(error) => ConnectError::Failed(format!("the TLS handshake failed: {error}")),
        None => ConnectError::Failed("it closed the connection during the TLS handshake".to_owned()),
    }
}

impl Connection for Encrypted<TlsStream<Box<dyn Connection>>> {
    fn break_off(&mut self) {
        self.0.get_mut().0.break_off();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skiff_types::TaskId;

    #[test]
    fn a_certificate_is_for_a_name_or_an_address_and_for_no_task() {
        let outside = |text: &str| server_name(&Destination::Outside(text.parse().unwrap()));
        assert_eq!(outside("example.org:443"), Some(ServerName::try_from("example.org").unwrap()));
        assert!(matches!(outside("192.0.2.7:443"), Some(ServerName::IpAddress(_))));
        assert!(matches!(outside("[2001:db8::7]:443"), Some(ServerName::IpAddress(_))));
        let address = Destination::Virtual("10.64.0.7:443".parse().unwrap());
        assert!(matches!(server_name(&address), Some(ServerName::IpAddress(_))));
        let task = Destination::Task { task: TaskId::from_parts(1, [7; 10]), port: 443 };
        assert_eq!(server_name(&task), None);
    }

    #[test]
    fn what_is_offered_is_what_the_targets_speak() {
        let trust = Trust::in_authorities(Arc::new(RootCertStore::empty()));
        for (protocol, offered) in [
            (TargetProtocol::Http1, &[HTTP_1.to_vec()][..]),
            (TargetProtocol::Http2, &[HTTP_2.to_vec()][..]),
            (TargetProtocol::Grpc, &[HTTP_2.to_vec()][..]),
            (TargetProtocol::Tcp, &[][..]),
        ] {
            assert_eq!(trust.config(protocol).alpn_protocols, offered, "{protocol}");
        }
    }
}

//! TLS for outgoing requests: whom they trust, and what they offer to speak.

use crate::ConfigError;
use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use skiff_net::Duplex;
use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// HTTP/2 and HTTP/1.1 as TLS names them (RFC 7301, section 6).
pub(crate) const HTTP_2: &[u8] = b"h2";
const HTTP_1: &[u8] = b"http/1.1";

/// Sessions of a task that are remembered, to be resumed.
const SESSIONS_MAX: usize = 64;

/// The authorities that are trusted.
///
/// # Errors
/// If the extra certificates can't be used.
pub(crate) fn roots(extra_roots: Option<&Path>) -> Result<Arc<RootCertStore>, ConfigError> {
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    if let Some(path) = extra_roots {
        add_from(path, &mut roots)
            .map_err(|reason| ConfigError::ExtraRoots { path: path.to_owned(), reason })?;
    }
    Ok(Arc::new(roots))
}

/// What the outgoing requests of a worker have in common.
///
/// # Errors
/// If the extra certificates can't be used.
pub(crate) fn config(extra_roots: Option<&Path>) -> Result<Arc<ClientConfig>, ConfigError> {
    let roots = roots(extra_roots)?;
    // Named, since several may be linked.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring has the versions that rustls has")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![HTTP_2.to_vec(), HTTP_1.to_vec()];
    Ok(Arc::new(config))
}

fn add_from(path: &Path, roots: &mut RootCertStore) -> Result<(), String> {
    let certificates = CertificateDer::pem_file_iter(path).map_err(|error| error.to_string())?;
    let mut count = 0;
    for certificate in certificates {
        let certificate = certificate.map_err(|error| error.to_string())?;
        roots.add(certificate).map_err(|error| error.to_string())?;
        count += 1;
    }
    if count == 0 { Err("there is no certificate in PEM".to_owned()) } else { Ok(()) }
}

/// The same for one task, with sessions of its own: by a session that is resumed, a server knows who comes again.
pub(crate) fn of_task(config: &ClientConfig) -> Arc<ClientConfig> {
    let mut config = config.clone();
    config.resumption = Resumption::in_memory_sessions(SESSIONS_MAX);
    Arc::new(config)
}

/// Whom a certificate must be for; `None` if that is neither a name nor an address.
pub(crate) fn server_name(host: &str) -> Option<ServerName<'static>> {
    match host.parse::<IpAddr>() {
        Ok(address) => Some(address.into()),
        // Certificates are for names without a dot at the end.
        Err(_) => {
            ServerName::try_from(host.strip_suffix('.').unwrap_or(host)).ok().map(|name| name.to_owned())
        }
    }
}

/// Shakes hands with a server.
pub(crate) async fn connect(
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
    stream: Duplex,
) -> io::Result<TlsStream<Duplex>> {
    TlsConnector::from(config).connect(name, stream).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extra_roots_must_be_certificates() {
        assert!(config(None).is_ok());
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "no certificate").unwrap();
        let error = config(Some(file.path())).err().unwrap().to_string();
        assert!(error.contains("there is no certificate in PEM"), "{error}");
        assert!(config(Some(Path::new("/does/not/exist"))).is_err());
    }

    #[test]
    fn a_server_is_a_name_or_an_address() {
        assert_eq!(server_name("Example.com.").unwrap(), ServerName::try_from("Example.com").unwrap());
        assert!(matches!(server_name("192.0.2.7"), Some(ServerName::IpAddress(_))));
        assert!(matches!(server_name("2001:db8::1"), Some(ServerName::IpAddress(_))));
        assert_eq!(server_name("a b"), None);
    }
}

//! TLS, where a listener speaks it: which certificate a client is shown, the handshake, and what comes of it, a connection of
//! HTTP like any other ([`crate::serving`]).
//!
//! It deliberately judges no certificate: what is told here was found sound. Clients need none of their own, and nothing is
//! taken of them before the handshake has ended (no early data), since whoever recorded that could send it again.
//!
//! What always holds: what is told of certificates and of the keys of tickets counts from the next handshake on, and breaks
//! off no connection; a listener of HTTPS never answers in clear, except that it speaks TLS; no key shows where one of these
//! is printed for debugging.

mod certificates;
mod first;
mod stream;
mod tickets;

pub(crate) use stream::Encrypted;

use crate::access_log::Line;
use crate::connection::Cut;
use crate::edge::Edge;
use crate::refusal::Refusal;
use crate::serving::{Open, Spoken};
use crate::watched::Watched;
use certificates::{Certificates, Choice};
use first::First;
use rustls::server::NoServerSessionStorage;
use rustls::{CipherSuite, HandshakeKind, ProtocolVersion, ServerConfig, ServerConnection};
use skiff_ports::tls::{CertificateTold, TicketKeys};
use skiff_types::{ListenerProtocol, ListenerSpec, Name};
use std::collections::HashSet;
use std::io;
use std::sync::Arc;
use tickets::{Keys, Tickets};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// HTTP/2 and HTTP/1.1 as TLS names them (RFC 7301, section 6).
const HTTP_2: &[u8] = b"h2";
const HTTP_1: &[u8] = b"http/1.1";

/// What the access log calls a connection that came to no request, since it came to no TLS.
const PROTOCOL: &str = "TLS";
/// What it says of a client that was cut off for the time that it took.
const SLOW_HANDSHAKE: &str = "the client took too long with the TLS handshake";

/// What this worker knows for its listeners of TLS.
pub(crate) struct Tls {
    /// What they have in common.
    common: ServerConfig,
    certificates: Certificates,
    /// Without them, no session is resumed.
    keys: Option<Arc<Keys>>,
}

/// What was agreed on with a client, for the access log.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) protocol: &'static str,
    /// As IANA names it.
    pub(crate) cipher: &'static str,
    /// The host that the client asked for (SNI).
    pub(crate) host: Option<Box<str>>,
    /// The certificate that it was shown.
    pub(crate) certificate: Option<Name>,
    /// Whether it goes on with an earlier session: then it was shown none.
    pub(crate) is_resumed: bool,
}

impl Tls {
    /// No certificates, and no keys.
    pub(crate) fn new() -> Self {
        // Named, since several may be linked.
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut common = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring has the versions that rustls has")
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(Choice::default()));
        common.alpn_protocols = vec![HTTP_2.to_vec(), HTTP_1.to_vec()];
        common.ignore_client_order = true;
        // Sessions are in tickets alone: other workers take those up too, and nobody can have us remember many.
        common.session_storage = Arc::new(NoServerSessionStorage {});
        Self { common, certificates: Certificates::default(), keys: None }
    }

    /// What the next handshakes at this listener go by.
    fn config_of(&self, spec: &ListenerSpec) -> Arc<ServerConfig> {
        let mut config = self.common.clone();
        config.cert_resolver = Arc::new(self.certificates.choice(&spec.certificates));
        if let Some(keys) = &self.keys {
            config.ticketer = Arc::new(Tickets::new(&spec.name, keys.clone()));
        }
        Arc::new(config)
    }
}

impl Edge {
    /// Makes session tickets of TLS with these keys from now on, and opens them. Tickets of other keys begin a session
    /// anew.
    pub fn set_tickets(&self, keys: TicketKeys) {
        self.tls().keys = Some(Arc::new(Keys::new(&keys)));
        self.prepare_tls(|_| true);
    }

    /// Certificates are new or have changed.
    pub(crate) fn learn_certificates(&self, certificates: &[Arc<CertificateTold>]) {
        certificates.iter().for_each(|told| self.tls().certificates.set(told));
        self.show_others(certificates.iter().map(|told| &told.name));
    }

    /// Certificates are gone.
    pub(crate) fn forget_certificates(&self, revoked: &[Name]) {
        revoked.iter().for_each(|name| self.tls().certificates.remove(name));
        self.show_others(revoked.iter());
    }

    /// Has the listeners that name these certificates show what there is of them now.
    fn show_others<'a>(&self, certificates: impl Iterator<Item = &'a Name>) {
        let changed: HashSet<&Name> = certificates.collect();
        if !changed.is_empty() {
            self.prepare_tls(|spec| spec.certificates.iter().any(|name| changed.contains(name)));
        }
    }

    /// Has those listeners speak TLS by what is known now; what speaks none does not.
    pub(crate) fn prepare_tls(&self, is_meant: impl Fn(&ListenerSpec) -> bool) {
        let tls = self.tls();
        for listener in self.listeners().others().values() {
            let spec = listener.spec();
            if let Some(spec) = spec.as_ref().filter(|spec| is_meant(spec)) {
                let speaks_tls = spec.protocol == ListenerProtocol::Https;
                listener.set_tls(speaks_tls.then(|| tls.config_of(spec)));
            }
        }
    }
}

/// What the first bytes of a client have come to.
enum Begun<S> {
    Tls(Box<TlsStream<First<S>>>),
    /// It speaks something else, most likely HTTP.
    Clear(First<S>),
    /// It left without a word.
    Nothing,
}

/// Serves a connection that is to speak TLS to its end.
pub(crate) async fn serve<S>(open: &Open, stream: S, config: Arc<ServerConfig>)
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let connection = open.connection();
    let (shown, begun) = certificates::shown_by(begin(open, stream, config));
    match connection.unless_cut(begun).await {
        Ok(Ok(Begun::Tls(stream))) => {
            let session = stream.get_ref().1;
            let spoken = match session.alpn_protocol() {
                Some(HTTP_2) => Spoken::Http2,
                Some(_) => Spoken::Http1,
                None => Spoken::Untold,
            };
            connection.speaks_tls(Session::of(session, shown.take()));
            open.serve(Encrypted(*stream), spoken).await;
        }
        Ok(Ok(Begun::Clear(stream))) => turn_away(open, stream).await,
        Ok(Ok(Begun::Nothing)) => {}
        Ok(Err(error)) => log(open, &format!("the TLS handshake failed: {error}")),
        Err(Cut::SlowHead) => log(open, SLOW_HANDSHAKE),
        Err(Cut::SlowReader | Cut::SlowClose | Cut::Drained | Cut::Crowded) => {}
    }
}

/// Shakes hands, once the client begins to. The time for it is bounded by the sweeper, like that for a head.
async fn begin<S>(open: &Open, mut stream: S, config: Arc<ServerConfig>) -> io::Result<Begun<S>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let Ok(first) = stream.read_u8().await else { return Ok(Begun::Nothing) };
    open.connection().socket_gave();
    let stream = First::put_back(first, stream);
    // No record of TLS begins with a letter, and every request does.
    if first.is_ascii_alphabetic() {
        return Ok(Begun::Clear(stream));
    }
    let bytes_max = open.edge().limits().buffer_bytes_max;
    let bound = |session: &mut ServerConnection| session.set_buffer_limit(Some(bytes_max));
    let stream = TlsAcceptor::from(config).accept_with(stream, bound).await?;
    Ok(Begun::Tls(Box::new(stream)))
}

/// Says in clear that TLS is spoken here.
async fn turn_away<S: AsyncRead + AsyncWrite + Unpin + 'static>(open: &Open, stream: First<S>) {
    let last = open.turn_away(&Refusal::InClear);
    let connection = open.connection();
    let mut socket = Watched::new(stream, connection.clone(), open.edge().outbox().clone());
    // Whom it does not reach is gone.
    let _ = connection.unless_cut(socket.end_with(&last)).await;
}

fn log(open: &Open, error: &str) {
    let Some(log) = open.edge().access_log() else { return };
    log.write(Line { protocol: PROTOCOL, error: Some(error), ..open.connection().line() });
}

impl Session {
    fn of(session: &ServerConnection, shown: Option<Name>) -> Self {
        let is_resumed = session.handshake_kind() == Some(HandshakeKind::Resumed);
        let cipher = session.negotiated_cipher_suite().map(|suite| suite.suite());
        Self {
            protocol: match session.protocol_version() {
                Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
                Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
                Some(_) | None => "",
            },
            cipher: cipher.map_or("", cipher_name),
            host: session.server_name().map(Box::from),
            certificate: shown.filter(|_| !is_resumed),
            is_resumed,
        }
    }
}

/// rustls has names of its own for those of TLS 1.3.
fn cipher_name(suite: CipherSuite) -> &'static str {
    match suite {
        CipherSuite::TLS13_AES_128_GCM_SHA256 => "TLS_AES_128_GCM_SHA256",
        CipherSuite::TLS13_AES_256_GCM_SHA384 => "TLS_AES_256_GCM_SHA384",
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => "TLS_CHACHA20_POLY1305_SHA256",
        other => other.as_str().unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cipher_that_is_spoken_has_the_name_of_iana() {
        let provider = rustls::crypto::ring::default_provider();
        for suite in &provider.cipher_suites {
            let name = cipher_name(suite.suite());
            assert!(name.starts_with("TLS_") && !name.starts_with("TLS13"), "{suite:?}: {name:?}");
        }
    }

    #[test]
    fn nothing_is_taken_early_and_no_session_is_kept() {
        let Tls { common, keys, .. } = Tls::new();
        assert_eq!((common.max_early_data_size, common.send_half_rtt_data), (0, false));
        assert!(!common.session_storage.can_cache() && !common.ticketer.enabled() && keys.is_none());
    }
}

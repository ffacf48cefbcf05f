//! TLS to targets outside: what is agreed on, which certificates are trusted, and sessions that are resumed.

use crate::support::*;
use crate::told::*;
use http::{Request, Response, Version};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, Certificate, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::{HandshakeKind, RootCertStore, ServerConfig};
use skiff_edge::Limits;
use skiff_ports::balancer::BalancerChange;
use skiff_ports::body::{self, Body};
use skiff_types::{TargetGroupSpec, TargetProtocol, Targets};
use std::cell::RefCell;
use std::convert::Infallible;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;

/// A name that leads to this machine.
pub(crate) const NAME: &str = "localhost";

/// An authority that makes certificates.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(crate) fn trusted(&self) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).unwrap();
        Arc::new(roots)
    }

    /// A certificate for this host, and its key.
    pub(crate) fn issue(&self, host: &str) -> (Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![host.to_owned()]).unwrap();
        (params.signed_by(&key, &self.0).unwrap(), key)
    }

    /// How a target speaks TLS with a certificate for this host.
    fn acceptor(&self, host: &str, protocols: &[&[u8]]) -> TlsAcceptor {
        let (certificate, key) = self.issue(host);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
            )
            .unwrap();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        TlsAcceptor::from(Arc::new(config))
    }
}

/// A target that says which HTTP it was asked by, and the handshakes that it saw.
fn target(acceptor: TlsAcceptor) -> (u16, Rc<RefCell<Vec<HandshakeKind>>>) {
    let seen: Rc<RefCell<Vec<HandshakeKind>>> = Rc::default();
    let handshakes = seen.clone();
    let port = daemon(move |stream| {
        let (acceptor, handshakes) = (acceptor.clone(), handshakes.clone());
        async move {
            // Who does not trust it leaves.
            let Ok(stream) = acceptor.accept(stream).await else { return };
            let session = stream.get_ref().1;
            handshakes.borrow_mut().extend(session.handshake_kind());
            let is_http2 = session.alpn_protocol() == Some(&b"h2"[..]);
            let service = service_fn(|request: Request<Incoming>| async move {
                let version = if request.version() == Version::HTTP_2 { "HTTP/2" } else { "HTTP/1.1" };
                let scheme = request.uri().scheme_str().unwrap_or_default().to_owned();
                Ok::<_, Infallible>(Response::<Body>::new(body::full(format!("{version} {scheme}"))))
            });
            let io = TokioIo::new(stream);
            // Whoever asks may leave.
            match is_http2 {
                true => drop(http2::Builder::new(Local).serve_connection(io, service).await),
                false => drop(http1::Builder::new().serve_connection(io, service).await),
            }
        }
    });
    (port, seen)
}

/// One that passes everything on to a target that speaks this inside TLS.
pub(crate) fn bench(limits: Limits, protocol: TargetProtocol, host: &str, port: u16) -> Bench {
    let bench = Bench::with(limits, says("a task"));
    let spec = TargetGroupSpec {
        targets: Targets::Outside(vec![format!("{host}:{port}").parse().unwrap()]),
        protocol,
        tls: true,
        ..TargetGroupSpec::of_service("default/out".parse().unwrap())
    };
    bench.edge.balance(&BalancerChange { groups: vec![Arc::new(spec)], ..BalancerChange::default() });
    bench.edge.balance(&rule("all", 1, &["path=/*"], forward(&["out"])));
    bench
}

async fn asked(bench: &Bench) -> String {
    bench.raw(&asking("GET", "/", "shop.example", "")).await
}

#[test]
fn a_target_is_spoken_to_inside_tls_by_what_its_group_speaks() {
    run(async {
        let authority = Authority::new("one");
        for (protocol, host, expected) in [
            (TargetProtocol::Http1, NAME, "HTTP/1.1 "),
            (TargetProtocol::Http2, NAME, "HTTP/2 https"),
            (TargetProtocol::Http2, "127.0.0.1", "HTTP/2 https"),
        ] {
            let (port, seen) = target(authority.acceptor(host, &[b"h2", b"http/1.1"]));
            let bench = bench(Limits::default(), protocol, host, port);
            bench.edge.trust_in(authority.trusted());
            for _ in 0..2 {
                assert_eq!(answer(&asked(&bench).await), (200, expected));
            }
            assert_eq!(seen.borrow().len(), 1, "the connection waits for the next request");
        }
    });
}

#[test]
fn sessions_are_resumed() {
    run(async {
        let authority = Authority::new("one");
        let (port, seen) = target(authority.acceptor(NAME, &[b"http/1.1"]));
        let limits = Limits { target_idle_connections_max: 0, ..Limits::default() };
        let bench = bench(limits, TargetProtocol::Http1, NAME, port);
        bench.edge.trust_in(authority.trusted());
        for _ in 0..2 {
            assert_eq!(answer(&asked(&bench).await).0, 200);
        }
        assert_eq!(*seen.borrow(), [HandshakeKind::Full, HandshakeKind::Resumed]);
    });
}

#[test]
fn nothing_is_sent_to_who_shows_no_certificate_that_is_trusted() {
    run(async {
        let (authority, other) = (Authority::new("one"), Authority::new("another"));
        let protocols: &[&[u8]] = &[b"h2", b"http/1.1"];
        for (acceptor, trusted, detail) in [
            (authority.acceptor(NAME, protocols), Some(other.trusted()), "UnknownIssuer"),
            (authority.acceptor(NAME, protocols), None, "UnknownIssuer"),
            (authority.acceptor("other.example", protocols), Some(authority.trusted()), "other.example"),
        ] {
            let (port, seen) = target(acceptor);
            let bench = bench(Limits::default(), TargetProtocol::Http2, NAME, port);
            trusted.into_iter().for_each(|roots| bench.edge.trust_in(roots));
            let (status, code, message) = refusal(&asked(&bench).await);
            assert_eq!((status, code.as_str()), (502, "task_failed"));
            assert_eq!(message, "the target's certificate is not trusted");
            let line = &bench.wait_for_lines(1).await[0];
            assert!(line["error"].as_str().unwrap().contains(detail), "{line}");
            assert!(seen.borrow().is_empty());
        }
    });
}

#[test]
fn who_does_not_speak_tls_or_not_what_the_group_does_is_refused() {
    run(async {
        let authority = Authority::new("one");
        let (only_http1, _) = target(authority.acceptor(NAME, &[b"http/1.1"]));
        let (no_alpn, _) = target(authority.acceptor(NAME, &[]));
        let in_clear = daemon(|mut stream| async move {
            let _ = stream.read_u8().await;
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        });
        let silent = daemon(|mut stream| async move { drop(stream.read_to_end(&mut Vec::new()).await) });
        let limits = Limits { target_handshake_timeout: Duration::from_millis(200), ..Limits::default() };
        for (port, limits, status, message) in [
            (only_http1, Limits::default(), 502, "TLS handshake"),
            (no_alpn, Limits::default(), 502, "ALPN"),
            (in_clear, Limits::default(), 502, "TLS handshake"),
            (silent, limits, 504, "timed out"),
        ] {
            let bench = bench(limits, TargetProtocol::Http2, NAME, port);
            bench.edge.trust_in(authority.trusted());
            let found = refusal(&asked(&bench).await);
            assert!(found.0 == status && found.2.contains(message), "{found:?}");
        }
    });
}

#[test]
fn another_protocol_crosses_inside_tls() {
    run(async {
        let authority = Authority::new("one");
        let acceptor = authority.acceptor(NAME, &[b"http/1.1"]);
        let port = daemon(move |stream| {
            let acceptor = acceptor.clone();
            async move {
                let mut stream = acceptor.accept(stream).await.unwrap();
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(stream.read_u8().await.unwrap());
                }
                let agreement =
                    "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n";
                stream.write_all(agreement.as_bytes()).await.unwrap();
                let mut bytes = Vec::new();
                stream.read_to_end(&mut bytes).await.unwrap();
                stream.write_all(&bytes).await.unwrap();
                stream.shutdown().await.unwrap();
            }
        });
        let bench = bench(Limits::default(), TargetProtocol::Http1, NAME, port);
        bench.edge.trust_in(authority.trusted());
        let mut client = bench.connect().await;
        let head = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n";
        client.write_all(head).await.unwrap();
        assert!(read_until(&mut client, "\r\n\r\n").await.starts_with("HTTP/1.1 101 "));
        client.write_all(b"hello").await.unwrap();
        client.shutdown().await.unwrap();
        assert_eq!(read_to_end(&mut client).await, "hello");
    });
}

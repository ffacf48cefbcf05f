//! Listeners of TLS: what goes over them and what ends it, and the client that all of these tests have; which certificate is shown,
//! how hands are shaken, and which sessions are resumed, in modules of their own.

mod certificates;
mod handshakes;
mod sessions;

use crate::support::*;
use bytes::Bytes;
use http::Response;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::TokioIo;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme, SupportedProtocolVersion};
use skiff_edge::{Limits, Listening};
use skiff_ports::balancer::BalancerChange;
use skiff_ports::body::{self, Body};
use skiff_ports::tls::{CertificateTold, KeyForm};
use skiff_types::{Action, FixedResponse, ListenerProtocol, ListenerSpec, Scheme};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

const SHORT: Duration = Duration::from_millis(150);

const HELLO: &str = "hello.localhost";

const GET: &str = "GET / HTTP/1.1\r\nHost: hello.localhost\r\nConnection: close\r\n\r\n";

static BOTH: [&SupportedProtocolVersion; 2] = [&TLS13, &TLS12];

type Certificates = [Arc<CertificateTold>];

/// A certificate for these hosts.
fn certificate(name: &str, hosts: &[&str]) -> Arc<CertificateTold> {
    let names: Vec<String> = hosts.iter().map(|&host| host.to_owned()).collect();
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    Arc::new(CertificateTold {
        name: name.parse().unwrap(),
        domains: hosts.iter().map(|&host| host.into()).collect(),
        chain: vec![made.cert.der().to_vec().into()],
        key: made.signing_key.serialize_der().into(),
        key_form: KeyForm::Pkcs8,
    })
}

fn hello() -> Arc<CertificateTold> {
    certificate("hello", &[HELLO])
}

fn listener(name: &str, port: u16, certificates: &Certificates) -> Arc<ListenerSpec> {
    Arc::new(ListenerSpec {
        name: name.parse().unwrap(),
        protocol: ListenerProtocol::Https,
        port,
        scheme: Scheme::Public,
        certificates: certificates.iter().map(|told| told.name.clone()).collect(),
        services: true,
        default_action: Action::FixedResponse(FixedResponse::status(404)),
        client_limit: None,
    })
}

/// Listens with these certificates, in this order.
fn listen_as(bench: &Bench, name: &str, certificates: &Certificates) -> (Listening, SocketAddr) {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    bench.edge.balance(&BalancerChange {
        certificates: certificates.to_vec(),
        listeners: vec![listener(name, address.port(), certificates)],
        ..BalancerChange::default()
    });
    (bench.edge.listen(socket, name.parse().unwrap()), address)
}

fn listen(bench: &Bench, certificates: &Certificates) -> (Listening, SocketAddr) {
    listen_as(bench, "web", certificates)
}

/// Takes any certificate: which one was shown is for the test to say.
#[derive(Debug)]
struct Trusting(Arc<CryptoProvider>);

impl ServerCertVerifier for Trusting {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// A client that has no session yet, and offers these protocols.
fn client_of(versions: &[&'static SupportedProtocolVersion], protocols: &[&str]) -> Arc<ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(versions)
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Trusting(provider)))
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    Arc::new(config)
}

fn client() -> Arc<ClientConfig> {
    client_of(&BOTH, &[])
}

/// Shakes hands, and names `host`, unless it is an address.
async fn connect(client: &Arc<ClientConfig>, address: SocketAddr, host: &str) -> TlsStream<TcpStream> {
    let stream = TcpStream::connect(address).await.unwrap();
    let host = ServerName::try_from(host.to_owned()).unwrap();
    let connected = TlsConnector::from(client.clone()).connect(host, stream);
    tokio::time::timeout(DEADLINE, connected).await.expect("the handshake ends").unwrap()
}

/// Sends bytes as they are, and reads to the end that the other side says it is.
async fn raw(mut stream: TlsStream<TcpStream>, request: &str) -> String {
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    let read = tokio::time::timeout(DEADLINE, stream.read_to_end(&mut bytes)).await;
    read.expect("the connection ends").expect("it ends with close_notify");
    String::from_utf8(bytes).unwrap()
}

/// The name of the certificate that was shown.
fn shown(stream: &TlsStream<TcpStream>, among: &Certificates) -> String {
    let shown = &stream.get_ref().1.peer_certificates().unwrap()[0];
    among.iter().find(|told| told.chain[0] == **shown).unwrap().name.to_string()
}

async fn http1_over(stream: TlsStream<TcpStream>) -> http1::SendRequest<ClientBody> {
    let (client, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::task::spawn_local(connection);
    client
}

async fn http2_over(stream: TlsStream<TcpStream>) -> http2::SendRequest<ClientBody> {
    let (client, connection) = http2::handshake(Local, TokioIo::new(stream)).await.unwrap();
    tokio::task::spawn_local(connection);
    client
}

#[test]
fn bodies_go_both_ways_whole() {
    run(async {
        let bench = Bench::new(echo());
        let (_listening, address) = listen(&bench, &[hello()]);
        let body: &'static str = (0..300_000).map(|number| number.to_string()).collect::<String>().leak();
        let post = || request("POST", "http://hello.localhost/", body);
        let mut http1 = http1_over(connect(&client(), address, HELLO).await).await;
        let mut http2 = http2_over(connect(&client_of(&BOTH, &["h2"]), address, HELLO).await).await;
        for _ in 0..3 {
            assert!(text(http1.send_request(post()).await.unwrap()).await == body);
            assert!(text(http2.send_request(post()).await.unwrap()).await == body);
        }
    });
}

#[test]
fn another_protocol_goes_over_tls_as_well() {
    run(async {
        let port = daemon(|mut stream| async move {
            read_until(&mut stream, "\r\n\r\n").await;
            let head = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n";
            stream.write_all(head.as_bytes()).await.unwrap();
            let (mut reader, mut writer) = stream.split();
            tokio::io::copy(&mut reader, &mut writer).await.unwrap();
        });
        let bench = Bench::to(Limits::default(), &[(6, port)]);
        let (_listening, address) = listen(&bench, &[hello()]);
        let mut stream = connect(&client(), address, HELLO).await;
        let head = "GET / HTTP/1.1\r\nHost: web.localhost\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n";
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            answer.push(stream.read_u8().await.unwrap());
        }
        assert!(answer.starts_with(b"HTTP/1.1 101"), "{:?}", String::from_utf8_lossy(&answer));
        let said = vec![b'x'; 1 << 20];
        let (mut reader, mut writer) = tokio::io::split(stream);
        let speaking = async {
            writer.write_all(&said).await.unwrap();
            writer.shutdown().await.unwrap();
        };
        let mut heard = Vec::new();
        let (read, ()) = tokio::join!(reader.read_to_end(&mut heard), speaking);
        assert_eq!(read.unwrap(), said.len());
    });
}

#[test]
fn an_unsound_head_is_refused_in_tls() {
    run(async {
        let bench = Bench::new(says("hi"));
        let (_listening, address) = listen(&bench, &[hello()]);
        let stream = connect(&client(), address, HELLO).await;
        let answer = raw(stream, "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n").await;
        let (status, _, message) = refusal(&answer);
        assert_eq!((status, message.contains("more than one Host")), (400, true), "{message}");
        let lines = bench.wait_for_lines(1).await;
        assert_eq!(lines[0]["domain_name"], HELLO);
    });
}

fn endless() -> Body {
    const CHUNK: &[u8] = &[b'x'; 16 << 10];
    let frames = futures::stream::repeat_with(|| Ok(http_body::Frame::data(Bytes::from_static(CHUNK))));
    Body::new(http_body_util::StreamBody::new(frames))
}

#[test]
fn a_client_that_takes_nothing_is_cut_off() {
    run(async {
        let limits = Limits { write_timeout: SHORT, ..Limits::default() };
        let bench = Bench::with(limits, task(|_, _| async { Ok(Response::new(endless())) }));
        let (_listening, address) = listen(&bench, &[hello()]);
        let mut stream = connect(&client(), address, HELLO).await;
        stream.write_all(GET.as_bytes()).await.unwrap();
        let lines = bench.wait_for_lines(1).await;
        assert_eq!(lines[0]["error"], "the client took nothing of the response for too long");
        eventually("it is gone", || bench.edge.connections() == 0).await;
    });
}

/// Asks once, on a connection that is kept.
async fn ask_on(stream: &mut TlsStream<TcpStream>) {
    stream.write_all(b"GET / HTTP/1.1\r\nHost: hello.localhost\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\nhi") {
        answer.push(stream.read_u8().await.unwrap());
    }
}

#[test]
fn a_listener_that_speaks_another_protocol_lets_go_of_who_spoke_the_one_before() {
    run(async {
        let bench = Bench::new(says("hi"));
        let told = [hello()];
        let (_listening, address) = listen(&bench, &told);
        let secure = listener("web", address.port(), &told);
        let clear = ListenerSpec { protocol: ListenerProtocol::Http, ..(*secure).clone() };
        let tell = |spec: Arc<ListenerSpec>| {
            bench.edge.balance(&BalancerChange { listeners: vec![spec], ..BalancerChange::default() });
        };
        let mut before = connect(&client(), address, HELLO).await;
        ask_on(&mut before).await;
        // Told anew, it speaks the same.
        tell(secure.clone());
        ask_on(&mut before).await;
        tell(Arc::new(clear));
        let end = tokio::time::timeout(DEADLINE, before.read(&mut [0])).await.expect("it ends");
        assert_eq!(end.unwrap(), 0);

        let mut before = TcpStream::connect(address).await.unwrap();
        before.write_all(b"GET / HTTP/1.1\r\nHost: hello.localhost\r\n\r\n").await.unwrap();
        assert!(read_until(&mut before, "\r\n\r\nhi").await.starts_with("HTTP/1.1 200"));
        tell(secure);
        assert_eq!(read_to_end(&mut before).await, "");
        assert!(raw(connect(&client(), address, HELLO).await, GET).await.ends_with("hi"));
    });
}

#[test]
fn a_drain_ends_connections_properly() {
    run(async {
        let bench = Bench::new(says("hi"));
        let (_listening, address) = listen(&bench, &[hello()]);
        let mut stream = connect(&client(), address, HELLO).await;
        ask_on(&mut stream).await;
        assert!(bench.edge.drain(DEADLINE).await);
        assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
    });
}

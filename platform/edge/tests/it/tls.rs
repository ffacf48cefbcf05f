//! Listeners of TLS: which certificate is shown, what is agreed on, which sessions are resumed, and what ends a handshake.

use crate::support::*;
use bytes::Bytes;
use http::Response;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::TokioIo;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, DigitallySignedStruct, HandshakeKind, SignatureScheme, SupportedProtocolVersion};
use skiff_edge::{Limits, Listening};
use skiff_ports::balancer::BalancerChange;
use skiff_ports::body::{self, Body};
use skiff_ports::tls::{CertificateTold, KeyForm, TICKET_KEY_BYTES, TicketKeys};
use skiff_types::{Action, FixedResponse, ListenerProtocol, ListenerSpec, Scheme};
use std::cell::Cell;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;
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
fn a_certificate_is_chosen_by_the_host_that_is_asked_for() {
    run(async {
        let told = [
            certificate("first", &["shop.example"]),
            certificate("wild", &["*.example.org"]),
            certificate("exact", &["api.example.org", "example.net"]),
        ];
        let bench = Bench::new(says("hi"));
        let (_listening, address) = listen(&bench, &told);
        for (host, expected) in [
            ("shop.example", "first"),
            ("www.example.org", "wild"),
            ("api.example.org", "exact"),
            ("EXAMPLE.net", "exact"),
            ("a.b.example.org", "first"),
            ("example.org", "first"),
            ("127.0.0.1", "first"),
        ] {
            let stream = connect(&client(), address, host).await;
            assert_eq!(shown(&stream, &told), expected, "{host}");
            assert!(raw(stream, GET).await.ends_with("hi"), "{host}");
        }
    });
}

#[test]
fn an_internal_listener_speaks_tls_and_says_so_in_clear() {
    run(async {
        let (bench, told) = (Bench::new(says("hi")), [hello()]);
        let spec =
            ListenerSpec { scheme: Scheme::Internal, ..ListenerSpec::clone(&listener("web", 8443, &told)) };
        bench.edge.balance(&BalancerChange {
            certificates: told.to_vec(),
            listeners: vec![Arc::new(spec)],
            ..BalancerChange::default()
        });
        let open = || {
            let (ours, theirs) = tokio::io::duplex(64 << 10);
            let (task, name) = ("10.64.0.17:50000".parse().unwrap(), "web".parse().unwrap());
            tokio::task::spawn_local(bench.edge.serve_internal(Box::new(theirs), task, &name));
            ours
        };
        let host = ServerName::try_from(HELLO).unwrap();
        let mut stream = TlsConnector::from(client()).connect(host, open()).await.unwrap();
        assert!(stream.get_ref().1.peer_certificates().unwrap()[0][..] == told[0].chain[0]);
        stream.write_all(GET.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("it ends with close_notify");
        assert!(answer.ends_with("hi"), "{answer}");
        let (mut stream, mut answer) = (open(), String::new());
        stream.write_all(GET.as_bytes()).await.unwrap();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    });
}

#[test]
fn certificates_are_exchanged_under_requests_in_flight() {
    run(async {
        let (begun, gate) = (Rc::new(Cell::new(false)), Rc::new(Notify::new()));
        let (of_task, opened) = (begun.clone(), gate.clone());
        let bench = Bench::new(task(move |_, _| {
            let (begun, gate) = (of_task.clone(), opened.clone());
            async move {
                begun.set(true);
                gate.notified().await;
                Ok(Response::new(body::full("late")))
            }
        }));
        let (before, after) = (hello(), hello());
        let other = certificate("other", &["*.localhost"]);
        let (_listening, address) = listen(&bench, std::slice::from_ref(&before));
        let stream = connect(&client(), address, HELLO).await;
        assert!(stream.get_ref().1.peer_certificates().unwrap()[0][..] == before.chain[0]);
        let mut http = http1_over(stream).await;
        let exchange = async {
            eventually("the task is asked", || begun.get()).await;
            bench.edge.balance(&BalancerChange { certificates: vec![after.clone()], ..Default::default() });
            let stream = connect(&client(), address, HELLO).await;
            assert!(stream.get_ref().1.peer_certificates().unwrap()[0][..] == after.chain[0]);
            gate.notify_one();
        };
        let (response, ()) = tokio::join!(http.send_request(get()), exchange);
        assert_eq!(text(response.unwrap()).await, "late");

        bench.edge.balance(&BalancerChange {
            certificates: vec![other.clone()],
            revoked: vec![after.name.clone()],
            listeners: vec![listener("web", address.port(), std::slice::from_ref(&other))],
            ..BalancerChange::default()
        });
        assert_eq!(shown(&connect(&client(), address, HELLO).await, &[other]), "other");
        gate.notify_one();
        assert_eq!(text(http.send_request(get()).await.unwrap()).await, "late");
    });
}

#[test]
fn what_is_spoken_is_what_was_agreed_on() {
    run(async {
        let bench = Bench::new(echo());
        let (_listening, address) = listen(&bench, &[hello()]);
        let cases: [(&[&str], Option<&str>, bool); 5] = [
            (&["h2", "http/1.1"], Some("h2"), true),
            (&["http/1.1"], Some("http/1.1"), false),
            (&["http/1.1", "h2"], Some("h2"), true),
            (&[], None, false),
            (&[], None, true),
        ];
        for (offered, agreed, is_http2) in cases {
            let stream = connect(&client_of(&BOTH, offered), address, HELLO).await;
            assert_eq!(stream.get_ref().1.alpn_protocol(), agreed.map(str::as_bytes), "{offered:?}");
            let response = if is_http2 {
                http2_over(stream).await.send_request(get()).await.unwrap()
            } else {
                http1_over(stream).await.send_request(get()).await.unwrap()
            };
            assert_eq!(response.headers()["saw-x-forwarded-proto"], "https");
            assert_eq!(response.headers()["saw-x-forwarded-port"], address.port().to_string().as_str());
        }
        bench.raw(GET).await;
        let lines = bench.wait_for_lines(cases.len() + 1).await;
        for (line, (_, _, is_http2)) in lines.iter().zip(cases) {
            assert_eq!(line["protocol"], if is_http2 { "HTTP/2" } else { "HTTP/1.1" });
            assert_eq!((&line["tls_protocol"], &line["domain_name"]), (&"TLSv1.3".into(), &HELLO.into()));
        }
        assert!(lines[cases.len()].get("tls_protocol").is_none(), "{lines:?}");
    });
}

#[test]
fn who_shares_no_protocol_is_told_so() {
    run(async {
        let bench = Bench::new(says("hi"));
        let (_listening, address) = listen(&bench, &[hello()]);
        let stream = TcpStream::connect(address).await.unwrap();
        let connector = TlsConnector::from(client_of(&BOTH, &["spdy/3"]));
        let refused = connector.connect(ServerName::try_from(HELLO).unwrap(), stream).await.unwrap_err();
        assert!(refused.to_string().contains("NoApplicationProtocol"), "{refused}");
    });
}

#[test]
fn both_versions_are_spoken_and_logged() {
    run(async {
        let bench = Bench::new(says("hi"));
        let (_listening, address) = listen(&bench, &[hello()]);
        for (version, protocol, cipher) in
            [(&TLS12, "TLSv1.2", "TLS_ECDHE_ECDSA_WITH_"), (&TLS13, "TLSv1.3", "TLS_AES_")]
        {
            let stream = connect(&client_of(&[version], &[]), address, "127.0.0.1").await;
            assert!(raw(stream, GET).await.ends_with("hi"));
            let lines = bench.lines().await;
            let line = lines.last().unwrap();
            assert_eq!((&line["tls_protocol"], &line["certificate"]), (&protocol.into(), &"hello".into()));
            assert!(line["tls_cipher"].as_str().unwrap().starts_with(cipher), "{line}");
            assert!(line.get("domain_name").is_none(), "{line}");
        }
    });
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

fn key(first: u8) -> [u8; TICKET_KEY_BYTES] {
    [first; TICKET_KEY_BYTES]
}

fn keys(first: u8) -> TicketKeys {
    TicketKeys { current: key(first), previous: None }
}

/// Asks once, and says how hands were shaken for that.
async fn ask(client: &Arc<ClientConfig>, address: SocketAddr) -> HandshakeKind {
    let stream = connect(client, address, HELLO).await;
    let kind = stream.get_ref().1.handshake_kind().unwrap();
    assert!(raw(stream, GET).await.ends_with("hi"));
    kind
}

#[test]
fn a_session_is_resumed_by_whoever_has_the_keys() {
    run(async {
        let [one, other, stranger] = [(); 3].map(|()| Bench::new(says("hi")));
        one.edge.set_tickets(keys(1));
        let (_one, at_one) = listen(&one, &[hello()]);
        let (_other, at_other) = listen(&other, &[hello()]);
        let (_shop, at_shop) = listen_as(&one, "shop", &[hello()]);
        let (_stranger, at_stranger) = listen(&stranger, &[hello()]);
        other.edge.set_tickets(keys(1));
        stranger.edge.set_tickets(keys(7));
        for version in BOTH {
            let client = client_of(&[version], &[]);
            assert_eq!(ask(&client, at_one).await, HandshakeKind::Full, "{version:?}");
            assert_eq!(ask(&client, at_one).await, HandshakeKind::Resumed, "{version:?}");
            assert_eq!(ask(&client, at_other).await, HandshakeKind::Resumed, "{version:?}");
            assert_eq!(ask(&client, at_stranger).await, HandshakeKind::Full, "{version:?}");

            let client = client_of(&[version], &[]);
            assert_eq!(ask(&client, at_one).await, HandshakeKind::Full, "{version:?}");
            assert_eq!(ask(&client, at_shop).await, HandshakeKind::Full, "another listener, {version:?}");
        }
    });
}

#[test]
fn a_session_outlives_one_renewal_of_the_keys() {
    run(async {
        let bench = Bench::new(says("hi"));
        let (_listening, address) = listen(&bench, &[hello()]);
        for version in BOTH {
            bench.edge.set_tickets(keys(1));
            let clients = [(); 2].map(|()| client_of(&[version], &[]));
            for client in &clients {
                assert_eq!(ask(client, address).await, HandshakeKind::Full, "{version:?}");
            }
            bench.edge.set_tickets(keys(1).renewed(key(2)));
            assert_eq!(ask(&clients[0], address).await, HandshakeKind::Resumed, "{version:?}");
            bench.edge.set_tickets(keys(1).renewed(key(2)).renewed(key(3)));
            assert_eq!(ask(&clients[1], address).await, HandshakeKind::Full, "{version:?}");
        }
    });
}

#[test]
fn without_keys_no_session_is_resumed() {
    run(async {
        let bench = Bench::new(says("hi"));
        let (_listening, address) = listen(&bench, &[hello()]);
        for version in BOTH {
            let client = client_of(&[version], &[]);
            for _ in 0..2 {
                assert_eq!(ask(&client, address).await, HandshakeKind::Full, "{version:?}");
            }
        }
    });
}

#[test]
fn who_speaks_http_in_clear_is_told_so() {
    run(async {
        let bench = Bench::new(says("hi"));
        let (_listening, address) = listen(&bench, &[hello()]);
        for request in [GET, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(request.as_bytes()).await.unwrap();
            let (status, code, message) = refusal(&read_to_end(&mut stream).await);
            assert_eq!((status, code.as_str()), (400, "bad_request"));
            assert!(message.contains("https://"), "{message}");
        }
        let lines = bench.wait_for_lines(2).await;
        assert!(lines.iter().all(|line| line["status"] == 400), "{lines:?}");
        eventually("none is left", || bench.edge.connections() == 0).await;
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

#[test]
fn a_handshake_that_stalls_is_cut_off() {
    run(async {
        let limits = Limits { header_read_timeout: SHORT, ..Limits::default() };
        let bench = Bench::with(limits, says("hi"));
        let (_listening, address) = listen(&bench, &[hello()]);
        let mut idle = http1_over(connect(&client(), address, HELLO).await).await;
        let mut stream = TcpStream::connect(address).await.unwrap();
        // What a record begins with.
        stream.write_all(&[22, 3, 1, 2, 0]).await.unwrap();
        assert_eq!(read_to_end(&mut stream).await, "");
        let lines = bench.wait_for_lines(1).await;
        let fields = (&lines[0]["protocol"], &lines[0]["status"], &lines[0]["error"]);
        let error = "the client took too long with the TLS handshake".into();
        assert_eq!(fields, (&"TLS".into(), &0.into(), &error));
        // One that has ended has no bearing on how long a client may be idle.
        assert_eq!(text(idle.send_request(get()).await.unwrap()).await, "hi");
    });
}

#[test]
fn a_handshake_that_fails_is_logged_and_who_says_nothing_is_not() {
    run(async {
        let bench = Bench::new(says("hi"));
        let (_listening, address) = listen(&bench, &[hello()]);
        drop(TcpStream::connect(address).await.unwrap());
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(&[22, 3, 1, 0, 4, 9, 9, 9, 9]).await.unwrap();
        // Be it with an alert or without.
        let _ = stream.read_to_end(&mut Vec::new()).await;
        eventually("none is left", || bench.edge.connections() == 0).await;
        let lines = bench.lines().await;
        assert_eq!((lines.len(), &lines[0]["protocol"]), (1, &"TLS".into()), "{lines:?}");
        let error = lines[0]["error"].as_str().unwrap();
        assert!(error.starts_with("the TLS handshake failed: "), "{error}");
    });
}

#[test]
fn a_listener_without_a_certificate_shakes_no_hands() {
    run(async {
        let bench = Bench::new(says("hi"));
        let (_listening, address) = listen(&bench, &[]);
        let stream = TcpStream::connect(address).await.unwrap();
        let connector = TlsConnector::from(client());
        assert!(connector.connect(ServerName::try_from(HELLO).unwrap(), stream).await.is_err());
        let lines = bench.wait_for_lines(1).await;
        assert_eq!(lines[0]["protocol"], "TLS");
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

//! Requests to the outside: to a real server on this machine's loopback, which only a rule that names it opens.

use crate::world::{Guest, World, broke_off};
use bytes::Bytes;
use futures::StreamExt;
use http::{HeaderMap, Request, Response, Version};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rcgen::CertifiedKey;
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use skiff_net::Limits;
use skiff_ports::logs::LogStream;
use skiff_testbed::{on_one_thread, until};
use skiff_types::TaskId;
use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::task::{AbortHandle, spawn_local};
use tokio_rustls::TlsAcceptor;

const BOTH: [Guest; 2] = [Guest::Fetch, Guest::FetchP3];
/// The name that the server's certificate is for.
const NAME: &str = "server.example";
/// What opens the server to tasks.
const RULE: &str = "tcp to 127.0.0.1/32";
/// HTTP/2 over TLS, as it is agreed on (RFC 9113, section 3.2).
const HTTP_2: &[u8] = b"h2";

/// A server, and what it has seen.
#[derive(Clone)]
struct Server {
    port: u16,
    seen: Rc<Seen>,
}

#[derive(Default)]
struct Seen {
    connections: Cell<usize>,
    requests: RefCell<Vec<(Version, HeaderMap)>>,
    open: RefCell<Vec<AbortHandle>>,
}

type Answer = Response<UnsyncBoxBody<Bytes, Infallible>>;

impl Server {
    /// One that speaks TLS if it is given what that takes.
    async fn start(tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let server = Self { port: listener.local_addr().expect("bound").port(), seen: Rc::default() };
        let accepting = server.clone();
        spawn_local(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (server, tls) = (accepting.clone(), tls.clone());
                accepting.seen.connections.set(accepting.seen.connections.get() + 1);
                let serving = spawn_local(async move {
                    match tls {
                        None => server.serve(stream, false).await,
                        Some(tls) => {
                            // A client that does not trust it leaves.
                            if let Ok(stream) = tls.accept(stream).await {
                                let speaks_http2 = stream.get_ref().1.alpn_protocol() == Some(HTTP_2);
                                server.serve(stream, speaks_http2).await;
                            }
                        }
                    }
                });
                accepting.seen.open.borrow_mut().push(serving.abort_handle());
            }
        });
        server
    }

    async fn serve(&self, stream: impl AsyncRead + AsyncWrite + Unpin + 'static, speaks_http2: bool) {
        let server = self.clone();
        let service = service_fn(move |request| {
            let server = server.clone();
            async move { server.answer(request).await }
        });
        let stream = TokioIo::new(stream);
        // How a connection ends is the client's business.
        let _ = match speaks_http2 {
            true => http2::Builder::new(Here).serve_connection(stream, service).await,
            false => http1::Builder::new().serve_connection(stream, service).await,
        };
    }

    async fn answer(&self, request: Request<Incoming>) -> Result<Answer, Infallible> {
        let (head, body) = request.into_parts();
        self.seen.requests.borrow_mut().push((head.version, head.headers));
        let text = |text: &str| Response::new(Full::new(Bytes::from(text.to_owned())).boxed_unsync());
        Ok(match head.uri.path() {
            "/count" => {
                let bytes = body.collect().await.map_or(0, |body| body.to_bytes().len());
                text(&format!("{bytes} bytes"))
            }
            "/large" => text(&"x".repeat(1_000_000)),
            "/echo" => Response::new(StreamBody::new(echo(body)).boxed_unsync()),
            "/never" => std::future::pending().await,
            "/unfinished" => {
                let first = futures::stream::once(async {
                    Ok::<_, Infallible>(Frame::data(Bytes::from_static(b"the first bytes")))
                });
                Response::new(StreamBody::new(first.chain(futures::stream::pending())).boxed_unsync())
            }
            "/large-head" => {
                let mut answer = text("");
                for number in 0..20 {
                    let name = format!("x-large-{number}").parse::<http::HeaderName>().expect("a name");
                    answer.headers_mut().insert(name, "x".repeat(5_000).parse().expect("a value"));
                }
                answer
            }
            path => text(path),
        })
    }

    fn connections(&self) -> usize {
        self.seen.connections.get()
    }

    /// Ends all connections at once.
    fn end_connections(&self) {
        self.seen.open.take().iter().for_each(AbortHandle::abort);
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }
}

/// A request's body as an answer's.
fn echo(body: Incoming) -> impl futures::Stream<Item = Result<Frame<Bytes>, Infallible>> {
    let whole = body.into_data_stream().filter_map(|chunk| std::future::ready(chunk.ok()));
    whole.map(|chunk| Ok(Frame::data(chunk)))
}

/// Runs what a server's connection does on this thread.
#[derive(Clone)]
struct Here;

impl<F: Future + 'static> hyper::rt::Executor<F> for Here {
    fn execute(&self, work: F) {
        spawn_local(async move { drop(work.await) });
    }
}

/// A server's side of TLS with a certificate for [`NAME`], and the file that says whom to trust for it.
fn tls() -> (TlsAcceptor, tempfile::NamedTempFile) {
    let CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed([NAME.to_owned()]).expect("a certificate");
    let key = PrivateKeyDer::try_from(signing_key.serialize_der()).expect("a key");
    let mut config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .expect("they belong together");
    config.alpn_protocols = vec![HTTP_2.to_vec(), b"http/1.1".to_vec()];
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(cert.pem().as_bytes()).expect("written");
    (TlsAcceptor::from(Arc::new(config)), file)
}

/// A world with a task that asks, and a server.
async fn with_server(guest: Guest) -> (World, TaskId, Server) {
    let world = World::new(&BOTH);
    let task = world.run(guest, "shop", |_| {});
    (world, task, Server::start(None).await)
}

/// What a task says of a request that it sent; `query` says how.
async fn fetch(world: &World, task: TaskId, url: &str, query: &str) -> String {
    world.text(task, &format!("/fetch?{query}"), &[("x-url", url)]).await
}

#[test]
fn the_loopback_is_denied_unless_a_rule_names_it_and_the_log_says_so_once() {
    on_one_thread(async {
        for guest in BOTH {
            let (world, task, server) = with_server(guest).await;
            world.resolve(NAME, Ipv4Addr::LOCALHOST.into());
            let named = format!("http://{NAME}:{}/", server.port);
            // A rule for the name does not open what its owner lets it lead to.
            world.allow(&[format!("tcp to {NAME}").as_str(), "tcp to 0.0.0.0/0"]);
            for url in [&server.url("/"), &named, &server.url("/"), &named] {
                let told = fetch(&world, task, url, "").await;
                assert!(told.contains("HttpRequestDenied"), "{url}: {told}");
            }
            let remarks = world.lines(task, LogStream::Skiff);
            assert!((1..=2).contains(&remarks.len()), "{remarks:?}");
            assert!(remarks[0].contains("skiff sg allow"), "{remarks:?}");
            assert_eq!(server.connections(), 0);
            world.allow(&[RULE]);
            assert!(fetch(&world, task, &named, "").await.starts_with("status 200"));
        }
    });
}

#[test]
fn a_connection_is_kept_for_the_requests_of_all_sandboxes_of_a_task() {
    on_one_thread(async {
        for guest in BOTH {
            let (world, task, server) = with_server(guest).await;
            world.allow(&[RULE]);
            let url = server.url("/path?query");
            for _ in 0..3 {
                let twice = [("x-url", url.as_str()), ("x-url", url.as_str())];
                let told = world.text(task, "/fetch", &twice).await;
                assert_eq!(told.matches("status 200").count(), 2, "{told}");
            }
            assert_eq!((server.connections(), server.seen.requests.borrow().len()), (1, 6));
            let other = world.run(guest, "other", |_| {});
            assert!(fetch(&world, other, &url, "").await.contains("/path"));
            assert_eq!(server.connections(), 2, "two tasks share a connection");
            // One that the server has ended meanwhile is not used again.
            server.end_connections();
            until("an ended connection is kept", || world.slot(task).totals().net_open == 0).await;
            assert!(fetch(&world, task, &url, "").await.starts_with("status 200"));
            assert_eq!(server.connections(), 3);
        }
    });
}

#[test]
fn a_stranger_is_told_its_own_name_and_nothing_of_the_platform() {
    on_one_thread(async {
        for guest in BOTH {
            let (world, task, server) = with_server(guest).await;
            world.allow(&[RULE]);
            let url = server.url("/");
            let headers = [("x-url", url.as_str()), ("x-send", "skiff-hops: 1"), ("x-send", "x-own: kept")];
            assert!(world.text(task, "/fetch", &headers).await.starts_with("status 200"));
            let (version, seen) = server.seen.requests.borrow()[0].clone();
            assert_eq!((version, &seen["x-own"]), (Version::HTTP_11, &"kept".parse().unwrap()));
            assert_eq!(seen["host"], format!("127.0.0.1:{}", server.port));
            assert!(seen.keys().all(|name| !name.as_str().starts_with("skiff-")), "{seen:?}");
        }
    });
}

#[test]
fn bodies_stream_both_ways() {
    on_one_thread(async {
        for guest in BOTH {
            let (world, task, server) = with_server(guest).await;
            world.allow(&[RULE]);
            let told = fetch(&world, task, &server.url("/count"), "method=POST&body=1000000").await;
            assert!(told.starts_with("status 200") && told.ends_with("\n1000000 bytes"), "{told}");
            let told = fetch(&world, task, &server.url("/large"), "take=bytes").await;
            assert!(told.ends_with("\n1000000 bytes"), "{told}");
        }
        let (world, task, server) = with_server(Guest::FetchP3).await;
        world.allow(&[RULE]);
        let told = fetch(&world, task, &server.url("/echo"), "method=POST&body=5000000&take=bytes").await;
        assert!(told.ends_with("\n5000000 bytes"), "{told}");
    });
}

#[test]
fn over_tls_http_2_is_spoken_where_it_is_offered() {
    on_one_thread(async {
        for guest in BOTH {
            let (acceptor, roots) = tls();
            let server = Server::start(Some(acceptor)).await;
            let config = skiff_host_net::Config { extra_roots: Some(roots.path().to_owned()) };
            let world = World::with(&BOTH, &config, Limits::default());
            world.resolve(NAME, Ipv4Addr::LOCALHOST.into());
            world.allow(&[RULE]);
            let task = world.run(guest, "shop", |_| {});
            let url = format!("https://{NAME}:{}/count", server.port);
            let told = fetch(&world, task, &url, "method=POST&body=300000").await;
            assert!(told.starts_with("status 200") && told.ends_with("\n300000 bytes"), "{told}");
            let ask = || fetch(&world, task, &url, "");
            let (one, other) = futures::join!(ask(), ask());
            assert!(one.starts_with("status 200") && other.starts_with("status 200"), "{one} {other}");
            assert_eq!(server.connections(), 1, "they do not share it");
            let versions: Vec<Version> =
                server.seen.requests.borrow().iter().map(|(version, _)| *version).collect();
            assert_eq!(versions, [Version::HTTP_2; 3]);
        }
    });
}

#[test]
fn a_certificate_must_be_trusted_and_for_that_name() {
    on_one_thread(async {
        let (acceptor, roots) = tls();
        let server = Server::start(Some(acceptor)).await;
        let trusting = skiff_host_net::Config { extra_roots: Some(roots.path().to_owned()) };
        for (config, name) in [(skiff_host_net::Config::default(), NAME), (trusting, "other.example")] {
            let world = World::with(&BOTH, &config, Limits::default());
            world.resolve(name, Ipv4Addr::LOCALHOST.into());
            world.allow(&[RULE]);
            for guest in BOTH {
                let task = world.run(guest, "shop", |_| {});
                let told = fetch(&world, task, &format!("https://{name}:{}/", server.port), "").await;
                assert!(told.contains("TlsCertificateError"), "{told}");
            }
        }
        assert!(server.seen.requests.borrow().is_empty());
    });
}

#[test]
fn what_can_not_be_reached_is_told_apart() {
    on_one_thread(async {
        for guest in BOTH {
            let (world, task, server) = with_server(guest).await;
            world.allow(&[RULE]);
            let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
            let closed: SocketAddr = free.local_addr().expect("bound");
            drop(free);
            let told = fetch(&world, task, &format!("http://{closed}/"), "").await;
            assert!(told.contains("ConnectionRefused"), "{told}");
            let told = fetch(&world, task, "http://nowhere.example/", "").await;
            assert!(told.contains("NXDOMAIN"), "{told}");
            // The server does not speak TLS.
            let told = fetch(&world, task, &server.url("/").replace("http:", "https:"), "").await;
            assert!(told.contains("Tls") || told.contains("ConnectionTerminated"), "{told}");
        }
    });
}

#[test]
fn the_time_that_a_guest_gives_an_answer_is_kept() {
    on_one_thread(async {
        for guest in BOTH {
            let (world, task, server) = with_server(guest).await;
            world.allow(&[RULE]);
            let told = fetch(&world, task, &server.url("/never"), "first_ms=50").await;
            assert!(told.contains("ConnectionReadTimeout"), "{told}");
            let told = fetch(&world, task, &server.url("/unfinished"), "between_ms=50").await;
            assert!(told.contains("the first bytes"), "{told}");
            assert!(broke_off(guest, &told, "ConnectionReadTimeout"), "{told}");
            // Nobody takes the connection, so nobody answers what would begin TLS.
            let mute = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
            let url = format!("https://{}/", mute.local_addr().expect("bound"));
            let told = fetch(&world, task, &url, "connect_ms=50").await;
            assert!(told.contains("ConnectionTimeout"), "{told}");
        }
    });
}

#[test]
fn the_head_of_an_answer_is_bounded() {
    on_one_thread(async {
        for guest in BOTH {
            let (world, task, server) = with_server(guest).await;
            world.allow(&[RULE]);
            let told = fetch(&world, task, &server.url("/large-head"), "take=bytes").await;
            assert!(told.contains("HttpResponseHeaderSectionSize"), "{told}");
        }
    });
}

#[test]
fn a_connection_that_is_not_allowed_any_more_is_not_used_again() {
    on_one_thread(async {
        for guest in BOTH {
            let (world, task, server) = with_server(guest).await;
            world.allow(&[RULE]);
            let url = server.url("/");
            assert!(fetch(&world, task, &url, "").await.starts_with("status 200"));
            world.allow(&[]);
            let told = fetch(&world, task, &url, "").await;
            assert!(told.contains("HttpRequestDenied"), "{told}");
            assert_eq!(server.seen.requests.borrow().len(), 1);
        }
    });
}

#[test]
fn connections_end_with_their_task() {
    on_one_thread(async {
        let (world, task, server) = with_server(Guest::Fetch).await;
        world.allow(&[RULE]);
        assert!(fetch(&world, task, &server.url("/"), "").await.starts_with("status 200"));
        assert!(world.slot(task).memory_bytes() > 0, "a connection that is kept takes memory");
        world.leave_out(task);
        until("the connection takes memory for ever", || world.slot(task).memory_bytes() == 0).await;
        until("the connection is kept", || server.seen.open.borrow().iter().all(AbortHandle::is_finished))
            .await;
    });
}

//! Accepts connections and serves them until the drain begins, then lets what is under way finish.
//!
//! HTTP/1.1 alone, as S3 itself: every wait of it has a bound. An address that has as many connections as one may have is told so on
//! each further one, in S3's words, and that one is ended.

use super::front::Front;
use super::shares::{Shares, client};
use super::stalls::Taken;
use super::{Counters, Limits};
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use s3s::S3Result;
use s3s::host::{S3Host, VirtualHost};
use skiff_kit::Drain;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tracing::{debug, warn};

/// Headers of a request.
const HEADERS_MAX: usize = 100;
/// Bytes of a request's head, and of the pieces in which its body is read.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// Connections that are told at a time that there are too many of their address; more are ended without a word.
const REFUSALS_MAX: usize = 64;
/// How long one may take to read that.
const REFUSAL_TIME_MAX: Duration = Duration::from_secs(1);
/// Bytes that are read at a time of what nobody wants.
const REFUSED_READ_BYTES: usize = 4 * 1024;
/// The wait after the operating system could not accept a connection.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);

/// Serves until the drain begins. Each connection holds a token of the drain.
pub(super) async fn serve(
    listener: TcpListener,
    front: Arc<Front>,
    limits: Limits,
    counters: Arc<Counters>,
    drain: Drain,
) {
    let connections = Arc::new(Semaphore::new(limits.connections_max));
    let (addresses, refusals) = (Shares::default(), Arc::new(Semaphore::new(REFUSALS_MAX)));
    loop {
        let accept = async {
            let permit = connections.clone().acquire_owned().await;
            (permit, listener.accept().await)
        };
        let (permit, accepted) = tokio::select! {
            () = drain.begun() => return,
            accepted = accept => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                let most = limits.connections_per_address_max;
                let Some(share) = addresses.take(client(peer.ip()), most) else {
                    counters.connections_refused.fetch_add(1, Ordering::Relaxed);
                    debug!(%peer, most, "a connection was refused: its address has as many as one may have");
                    if let Ok(place) = refusals.clone().try_acquire_owned() {
                        tokio::spawn(async move {
                            refuse(stream, most).await;
                            drop(place);
                        });
                    }
                    continue;
                };
                let open = Open::new(counters.clone());
                let connection = serve_connection(stream, peer, front.clone(), limits, drain.clone());
                let token = drain.token();
                tokio::spawn(async move {
                    connection.await;
                    drop((permit, share, open, token));
                });
            }
            Err(error) => {
                warn!(%error, "the S3 endpoint could not accept a connection");
                tokio::time::sleep(ACCEPT_RETRY).await;
            }
        }
    }
}

/// Says that there are too many connections of an address, to whatever is asked.
async fn refuse(mut stream: TcpStream, most: usize) {
    let refusing = async {
        stream.write_all(too_many(most).as_bytes()).await?;
        stream.shutdown().await?;
        // Of one that is closed with something unread, the client is told of a reset in place of the answer.
        let mut unwanted = [0; REFUSED_READ_BYTES];
        while stream.read(&mut unwanted).await? > 0 {}
        std::io::Result::Ok(())
    };
    // Who does not wait for it knows well enough.
    let _ = timeout(REFUSAL_TIME_MAX, refusing).await;
}

/// As S3 says it: <https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html>.
fn too_many(most: usize) -> String {
    let message = format!(
        "there are {most} connections of this address, as many as one may have: slow down, or use those"
    );
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>SlowDown</Code><Message>{message}</Message></Error>"
    );
    format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/xml\r\ncontent-length: {}\r\nconnection: close\r\n\
         retry-after: 1\r\n\r\n{body}",
        body.len()
    )
}

/// Counts as a connection until it is dropped.
struct Open(Arc<Counters>);

impl Open {
    fn new(counters: Arc<Counters>) -> Self {
        counters.connections.fetch_add(1, Ordering::Relaxed);
        Self(counters)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn serve_connection(
    stream: TcpStream,
    peer: SocketAddr,
    front: Arc<Front>,
    limits: Limits,
    drain: Drain,
) {
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%error, %peer, "a connection was gone before it was served");
        return;
    }
    let service = service_fn(move |request: Request<Incoming>| {
        let front = front.clone();
        async move { Ok::<_, Infallible>(front.respond(request, peer).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_time_max)
        .max_headers(HEADERS_MAX)
        .max_buf_size(HEAD_BYTES_MAX)
        .half_close(false)
        .serve_connection(TokioIo::new(Taken::new(stream, limits.stall_time_max)), service);
    let mut connection = pin!(connection);
    let served = tokio::select! {
        served = connection.as_mut() => served,
        () = drain.begun() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = served {
        debug!(%error, %peer, "a connection of the S3 endpoint ended");
    }
}

/// The name under which buckets have names of their own. A host that is neither it nor under it names no bucket.
pub(super) struct Domain(pub(super) String);

impl S3Host for Domain {
    fn parse_host_header<'a>(&'a self, host: &'a str) -> S3Result<VirtualHost<'a>> {
        let name = host.rsplit_once(':').map_or(host, |(name, _)| name).to_ascii_lowercase();
        let bucket = name.strip_suffix(self.0.as_str()).and_then(|rest| rest.strip_suffix('.'));
        Ok(match bucket {
            Some(bucket) => VirtualHost::new(self.0.as_str()).with_bucket(bucket.to_owned()),
            None => VirtualHost::new(host),
        })
    }
}

/// Whether hosts may have this name: labels of lower-case letters, digits and `-`.
pub(super) fn is_domain(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    text.len() <= 253 && text.split('.').all(|label| !label.is_empty() && label.bytes().all(inner))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_named_by_hosts_under_the_domain_alone() {
        let domain = Domain("s3.localhost".into());
        for (host, bucket) in [
            ("s3.localhost", None),
            ("s3.localhost:8082", None),
            ("uploads.s3.localhost:8082", Some("uploads")),
            ("Uploads.S3.LocalHost", Some("uploads")),
            ("a.b.s3.localhost", Some("a.b")),
            ("xs3.localhost", None),
            ("localhost", None),
            ("s3.localhost.example.com", None),
        ] {
            assert_eq!(domain.parse_host_header(host).unwrap().bucket(), bucket, "{host}");
        }
    }

    #[test]
    fn a_domain_is_made_of_labels() {
        for good in ["s3.localhost", "localhost", "s3-1.example.com"] {
            assert!(is_domain(good), "{good}");
        }
        for bad in ["", ".", "s3.", ".s3", "S3", "s3:80", "s3/x", "*.s3"] {
            assert!(!is_domain(bad), "{bad}");
        }
    }
}

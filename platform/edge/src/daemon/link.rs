//! A connection to a target on which HTTP/1.1 is spoken: one request after the other.

use super::under_way::Driven;
use bytes::Bytes;
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::{Builder, Parts, SendRequest};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use skiff_ports::body::Body;
use skiff_ports::connect::Connection;
use tokio::task::JoinHandle;

type Io = TokioIo<Box<dyn Connection>>;

/// A connection to a target on which HTTP/1.1 is spoken. It ends when it is dropped.
pub(crate) struct Link {
    sender: SendRequest<Body>,
    driver: JoinHandle<hyper::Result<Parts<Io>>>,
}

impl Link {
    /// Begins to speak HTTP. Must be called in a `LocalSet`.
    pub(crate) async fn begin(http: &Builder, socket: Box<dyn Connection>) -> hyper::Result<Self> {
        let (sender, connection) = http.handshake(TokioIo::new(socket)).await?;
        Ok(Self { sender, driver: tokio::task::spawn_local(connection.without_shutdown()) })
    }

    /// Asks. The error holds the request if nothing of it was sent.
    pub(crate) fn ask(
        &mut self,
        request: Request<Body>,
    ) -> impl Future<Output = Result<Response<Incoming>, TrySendError<Request<Body>>>> + use<> {
        self.sender.try_send_request(request)
    }

    /// What moves its bytes: where that is aborted, it ends.
    pub(super) fn driven(&self) -> Driven {
        Driven::Alone(self.driver.abort_handle())
    }

    /// Whether the next request may be sent.
    pub(super) fn is_ready(&self) -> bool {
        self.sender.is_ready()
    }

    /// Whether it has ended.
    pub(super) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// What is left once the target has agreed to another protocol: the connection, and what was read of it.
    pub(crate) async fn into_parts(mut self) -> Option<(Box<dyn Connection>, Bytes)> {
        let Parts { io, read_buf, .. } = (&mut self.driver).await.ok()?.ok()?;
        Some((io.into_inner(), read_buf))
    }

    /// Ends when the first request may be sent.
    #[cfg(test)]
    pub(super) async fn ready(&mut self) {
        self.sender.ready().await.unwrap();
    }

    /// Ends it as if the target had.
    #[cfg(test)]
    pub(super) fn end(&self) {
        self.driver.abort();
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

//! How long a request may take: the options of `wasi:http`, and what holds where a guest has set none.

use std::pin::Pin;
use std::task::Context;
use std::time::Duration;
use tokio::time::{Instant, Sleep};
use wasmtime_wasi_http::RequestOptions;

/// From a request to its connection: look-up, connection and TLS together, and the wait for a place among a task's
/// connections.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// From a request on its way to the head of its answer; and between two pieces of the answer's body. As wasmtime has them.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(600);

/// What a guest has set.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Timeouts(RequestOptions);

impl Timeouts {
    pub(crate) fn new(options: Option<RequestOptions>) -> Self {
        Self(options.unwrap_or_default())
    }

    /// From the request to its connection.
    pub(crate) fn connect(&self) -> Duration {
        self.0.connect_timeout.unwrap_or(CONNECT_TIMEOUT)
    }

    /// From there to the head of the answer, of somebody who answers when it likes.
    pub(crate) fn first_byte(&self) -> Duration {
        self.0.first_byte_timeout.unwrap_or(SILENCE_TIMEOUT)
    }

    /// The same, if the guest has set it: a task that is called in process has a timeout of its own.
    pub(crate) fn first_byte_if_set(&self) -> Option<Duration> {
        self.0.first_byte_timeout
    }

    /// Between two pieces of the body of such an answer.
    pub(crate) fn between_bytes(&self) -> Silence {
        Silence::new(self.0.between_bytes_timeout.unwrap_or(SILENCE_TIMEOUT))
    }

    /// The same, if the guest has set it.
    pub(crate) fn between_bytes_if_set(&self) -> Option<Silence> {
        self.0.between_bytes_timeout.map(Silence::new)
    }
}

/// A time in which something must come. Costs nothing until nothing does.
#[derive(Debug)]
pub(crate) struct Silence {
    limit: Duration,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Silence {
    fn new(limit: Duration) -> Self {
        Self { limit, timer: None }
    }

    /// Something came.
    pub(crate) fn is_broken(&mut self) {
        if let Some(timer) = &mut self.timer {
            timer.as_mut().reset(Instant::now() + self.limit);
        }
    }

    /// Whether nothing came for too long. Who asks is woken when that is so.
    pub(crate) fn is_too_long(&mut self, cx: &mut Context<'_>) -> bool {
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(self.limit)));
        timer.as_mut().poll(cx).is_ready()
    }
}

//! Exports spans of requests to a collector, by OTLP over HTTP (<https://opentelemetry.io/docs/specs/otlp/#otlphttp>), where
//! `skiff up --otlp` asks for it.
//!
//! One export is under way at a time. What the collector can't take at present is sent again, after as long as it says or else
//! longer and longer, for a minute; what it does not take at all is dropped. It deliberately keeps nothing on the disk. What
//! always holds: no request waits for it; what waits for it is bounded (`node::spans`), what is dropped is counted there, and
//! what goes wrong is logged once a minute at most.

mod client;
mod messages;

use bytes::Bytes;
use client::{Client, Failure, Retry};
use messages::Origin;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTracePartialSuccess;
use prost::Message;
use skiff_cli::UpArgs;
use skiff_kit::{Backoff, random};
use skiff_node::SpanQueue;
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Records in one export, each of which is of two spans at most: 512.
const BATCH_RECORDS_MAX: usize = 256;
/// How long the first of them waits for others.
const BATCH_PATIENCE: Duration = Duration::from_secs(1);
/// Waits between two exports of the same, where the collector does not say how long.
const BACKOFF: Backoff = Backoff { first_ms: 500, most_ms: 15_000 };
/// For how long it is tried again.
const RETRY_TIME_MAX: Duration = Duration::from_secs(60);
/// How long what is left at the end may take.
const FINISH_TIMEOUT: Duration = Duration::from_secs(2);
/// The time between two complaints.
const COMPLAINT_PAUSE: Duration = Duration::from_secs(60);

/// An export that goes on.
pub(crate) struct Export {
    queue: SpanQueue,
    task: JoinHandle<()>,
}

impl Export {
    /// Starts to export what comes out of `queue`, if that is asked for.
    ///
    /// # Errors
    /// If the collector can't be one.
    pub(crate) fn start(args: &UpArgs, queue: &SpanQueue) -> anyhow::Result<Option<Self>> {
        let Some(url) = &args.otlp else { return Ok(None) };
        let client = Client::new(url, &args.otlp_headers)?;
        let exporter =
            Exporter { queue: queue.clone(), client, origin: Origin::of_this_process(), complained: None };
        Ok(Some(Self { queue: queue.clone(), task: tokio::spawn(exporter.run()) }))
    }

    /// Exports what is left, for a moment; the rest is dropped.
    pub(crate) async fn finish(mut self) {
        self.queue.close();
        if timeout(FINISH_TIMEOUT, &mut self.task).await.is_err() {
            self.task.abort();
        }
        self.queue.drop_rest();
    }
}

struct Exporter {
    queue: SpanQueue,
    client: Client,
    origin: Origin,
    /// When it was said last that something went wrong.
    complained: Option<Instant>,
}

impl Exporter {
    async fn run(mut self) {
        while let Some(records) = self.queue.next(BATCH_RECORDS_MAX, BATCH_PATIENCE).await {
            let message = self.origin.message(&records).encode_to_vec();
            let count = records.len() as u64;
            drop(records);
            match self.send(message).await {
                Ok(None) => {}
                Ok(Some(ExportTracePartialSuccess { rejected_spans, error_message })) => {
                    // It speaks of spans; how many records those were, nobody knows.
                    self.queue.count_dropped(count.min(rejected_spans.unsigned_abs()));
                    self.complain(&format!("it did not take {rejected_spans} spans: {error_message}"));
                }
                Err(reason) => {
                    self.queue.count_dropped(count);
                    self.complain(&reason);
                }
            }
        }
    }

    /// Sends a message until it is taken, or is not to be taken; gives what the collector has to say to it.
    async fn send(&mut self, message: Vec<u8>) -> Result<Option<ExportTracePartialSuccess>, String> {
        let (message, began) = (Bytes::from(message), Instant::now());
        let mut failures = 0;
        loop {
            let Failure { reason, retry } = match self.client.send(&message).await {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            failures += 1;
            match wait(retry, failures, began.elapsed(), u64::from_le_bytes(random::bytes())) {
                Some(wait) => {
                    self.complain(&reason);
                    tokio::time::sleep(wait).await;
                }
                None => return Err(reason),
            }
        }
    }

    fn complain(&mut self, reason: &str) {
        if self.complained.is_none_or(|last| last.elapsed() >= COMPLAINT_PAUSE) {
            self.complained = Some(Instant::now());
            tracing::warn!(collector = %self.client, reason, "the collector of --otlp does not take spans");
        }
    }
}

/// How long to wait before the same is sent again, after so many failures in so long; nothing if it is not to be. `chance` is
/// any number.
fn wait(retry: Retry, failures: u32, elapsed: Duration, chance: u64) -> Option<Duration> {
    let wait = match retry {
        Retry::Never => return None,
        // Who wants none is not asked without end all the same.
        Retry::After(wait) => wait.max(Duration::from_millis(BACKOFF.first_ms)),
        Retry::Later => {
            // From half of it to all of it, so that not all who wait come at once.
            let half_ms = BACKOFF.delay_ms(failures) / 2;
            Duration::from_millis(half_ms + chance % (half_ms + 1))
        }
    };
    (elapsed.saturating_add(wait) <= RETRY_TIME_MAX).then_some(wait)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_is_sent_again_later_and_later_and_not_for_ever() {
        let none = Duration::ZERO;
        for chance in [0, 1, 777, u64::MAX] {
            for (failures, most_ms) in [(1, 500), (2, 1_000), (3, 2_000), (30, 15_000)] {
                let waits = wait(Retry::Later, failures, none, chance).unwrap().as_millis();
                assert!((most_ms / 2..=most_ms).contains(&waits), "{waits} ms after {failures} failures");
            }
        }
        assert_eq!(wait(Retry::Never, 1, none, 0), None);
        assert_eq!(wait(Retry::Later, 1, RETRY_TIME_MAX, 0), None);
    }

    #[test]
    fn a_collector_says_how_long_it_wants_to_rest() {
        let (none, long) = (Duration::ZERO, Duration::from_secs(20));
        assert_eq!(wait(Retry::After(long), 1, none, 9), Some(long));
        assert_eq!(wait(Retry::After(long), 1, RETRY_TIME_MAX - long, 9), Some(long));
        assert_eq!(wait(Retry::After(long), 1, RETRY_TIME_MAX, 9), None);
        assert_eq!(wait(Retry::After(Duration::MAX), 1, none, 9), None);
        assert_eq!(wait(Retry::After(none), 1, none, 9), Some(Duration::from_millis(500)), "not at once");
    }
}

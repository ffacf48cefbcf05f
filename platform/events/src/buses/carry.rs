//! One delivery, from its turn to what became of it: the target's input is made, the target is asked, and what it refuses, or
//! failed at too often, goes to the dead-letter queue.
//!
//! What always holds: however it ends, also by a panic or by never ending, the lane goes on.

use super::Inner;
use super::known::{End, Job};
use super::record::{Entry, decode, unpack_event};
use super::retry::{self, Verdict};
use crate::envelope;
use crate::input;
use crate::log::Position;
use futures::FutureExt as _;
use skiff_ports::buses::{Attempt, AttemptError};
use skiff_types::{BusEvent, EventTarget, QualifiedName};
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

/// How long one try may take where nobody but the platform itself is asked, and how long a burial.
const OWN_TRY_MAX: Duration = Duration::from_secs(900);

/// Carries a delivery out.
pub(super) async fn carry(inner: Arc<Inner>, job: Job) {
    let _under_way = job.running.drain.token();
    let end = inner.end_of(&job).await;
    let (now, draw) = (inner.now(), inner.draw());
    inner.with(|known| known.ended(job.id, job.lane, end, now, draw));
}

/// What is sent, or why it can't be made.
type Made = (Attempt, Result<(), AttemptError>);

impl Inner {
    async fn end_of(&self, job: &Job) -> End {
        let (attempt, made) = match self.attempt(job) {
            Ok(made) => made,
            Err(error) => return self.unread(job, &error),
        };
        if let Some(failure) = &job.failure {
            return self.bury(job, attempt, failure).await;
        }
        let tried = match made {
            Ok(()) => within(try_max(&attempt.target), job.running.targets.deliver(attempt.clone())).await,
            Err(error) => Err(error),
        };
        let Err(error) = tried else { return End::Delivered };
        let tries = attempt.number;
        let policy = &job.aim.target.retry;
        let age_ms = self.clock.unix_ms().saturating_sub(job.taken_at_ms);
        match retry::judge(policy, &error, tries, age_ms, self.draw()) {
            Verdict::Again(wait) => {
                tracing::debug!(origin = %job.aim.origin, target = %job.aim.target.id, tries, %error, "a delivery failed");
                End::Again { tries, failure: None, wait }
            }
            Verdict::Busy => End::Busy,
            Verdict::Lost => self.bury(job, attempt, &error).await,
        }
    }

    /// The next try of a delivery.
    fn attempt(&self, job: &Job) -> Result<Made, UnreadError> {
        let event = match &job.event {
            Some(event) => event.clone(),
            None => Arc::new(self.read(job.position)?),
        };
        let origin = input::Origin { name: job.aim.key.origin.name(), ingested_at_ms: job.taken_at_ms };
        let (payload, made) = match input::render(&job.aim.target.input, &event, &origin) {
            Ok(payload) => (payload, Ok(())),
            // The event itself, so that the dead-letter queue has what there is.
            Err(error) => {
                (envelope::eventbridge(&event).into(), Err(AttemptError::Refused(error.to_string())))
            }
        };
        let number = match job.failure {
            Some(_) => job.tries,
            None => job.tries.saturating_add(1),
        };
        let attempt = Attempt {
            id: job.attempt_id(),
            origin: job.aim.key.origin.name().clone(),
            event,
            target: job.aim.target.clone(),
            payload,
            number,
        };
        Ok((attempt, made))
    }

    /// An event from the log.
    fn read(&self, position: Position) -> Result<BusEvent, UnreadError> {
        let record = self.log.read(position)?;
        match decode(&record)? {
            Entry::Taken(taken) => Ok(unpack_event(taken.event.0)?),
            Entry::Tried(_) | Entry::Over(_) | Entry::Group(_) => {
                Err("there is another record in its place".into())
            }
        }
    }

    /// Without its event nothing can be delivered or buried. The drive may have hiccuped, so it is tried again.
    fn unread(&self, job: &Job, error: &UnreadError) -> End {
        let tries = job.tries.saturating_add(1);
        tracing::error!(origin = %job.aim.origin, target = %job.aim.target.id, %error, "an event can't be read");
        let age_ms = self.clock.unix_ms().saturating_sub(job.taken_at_ms);
        let failed = AttemptError::Failed(String::new());
        match retry::judge(&job.aim.target.retry, &failed, tries, age_ms, self.draw()) {
            Verdict::Again(wait) => End::Again { tries, failure: job.failure.clone(), wait },
            Verdict::Busy | Verdict::Lost => End::GivenUp,
        }
    }

    /// Sends what could not be delivered to the dead-letter queue, if there is one.
    async fn bury(&self, job: &Job, attempt: Attempt, failure: &AttemptError) -> End {
        let target = &job.aim.target.id;
        let Some(queue) = &job.aim.target.dead_letter else {
            tracing::warn!(origin = %job.aim.origin, %target, error = %failure, "a delivery is given up");
            return End::GivenUp;
        };
        let queue = QualifiedName::new(attempt.origin.namespace.clone(), queue.clone());
        let tries = attempt.number;
        let burying = job.running.targets.bury(&queue, attempt, failure);
        let Err(error) = within(OWN_TRY_MAX, burying).await else { return End::Buried };
        match error {
            AttemptError::Refused(_) => {
                tracing::warn!(origin = %job.aim.origin, %target, %queue, %error, "a dead letter is given up");
                End::GivenUp
            }
            AttemptError::Failed(_) | AttemptError::Busy(_) => {
                tracing::debug!(origin = %job.aim.origin, %target, %queue, %error, "a dead letter waits");
                let wait = retry::wait(BURIES_UNTIL_SLOW, self.draw());
                End::Again { tries, failure: Some(Box::new(failure.clone())), wait }
            }
        }
    }
}

/// Dead letters wait as deliveries do after so many failures: up to 16 seconds.
const BURIES_UNTIL_SLOW: u32 = 5;

/// Why an event can't be read.
type UnreadError = Box<dyn std::error::Error + Send + Sync>;

/// How long a target may take: what somebody else has to answer, as its user says.
fn try_max(target: &EventTarget) -> Duration {
    match target.to.answers() {
        true => target.timeout.duration(),
        false => OWN_TRY_MAX,
    }
}

/// Waits for a target, but not for ever, and survives it.
async fn within(
    max: Duration,
    trying: impl Future<Output = Result<(), AttemptError>>,
) -> Result<(), AttemptError> {
    match tokio::time::timeout(max, AssertUnwindSafe(trying).catch_unwind()).await {
        Ok(Ok(tried)) => tried,
        Ok(Err(_panic)) => {
            Err(AttemptError::Failed("the target could not be asked: Skiff failed".to_owned()))
        }
        Err(_elapsed) => {
            let seconds = max.as_secs_f64();
            Err(AttemptError::Failed(format!("the target did not answer within {seconds} seconds")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skiff_types::{Destination, Input, RetryPolicy, Span};
    use tokio::time::Instant;

    fn target(to: Destination) -> EventTarget {
        EventTarget {
            id: "work".parse().unwrap(),
            to,
            input: Input::Event,
            retry: RetryPolicy::default(),
            dead_letter: None,
            concurrency: 1,
            timeout: Span::from_ms(5_000),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_hangs_keeps_its_place_as_long_as_its_user_says() {
        let service = Destination::Service { service: "web".parse().unwrap(), path: "/".into() };
        let begun = Instant::now();
        let hung = within(try_max(&target(service)), std::future::pending()).await;
        assert_eq!(hung, Err(AttemptError::Failed("the target did not answer within 5 seconds".to_owned())));
        assert_eq!(begun.elapsed(), Duration::from_secs(5));
        // Nobody else answers there.
        assert_eq!(try_max(&target(Destination::Bus { bus: "audit".parse().unwrap() })), OWN_TRY_MAX);
    }
}

//! Those who wait for messages.

use super::*;
use futures::FutureExt;

fn waiting(
    fixture: &Fixture,
    queue: &QueueRef,
    wait: Duration,
) -> impl Future<Output = Vec<Message>> + use<> {
    let (queues, queue) = (fixture.queues.clone(), queue.clone());
    async move { queues.receive(&queue, 1, None, wait).await.unwrap() }
}

#[tokio::test]
async fn who_waits_longest_is_served_first() {
    let fixture = Fixture::new();
    let queue = standard();
    let wait = Duration::from_secs(20);
    let mut first = Box::pin(waiting(&fixture, &queue, wait));
    let mut second = Box::pin(waiting(&fixture, &queue, wait));
    assert!((&mut first).now_or_never().is_none() && (&mut second).now_or_never().is_none());
    fixture.send(&queue, text("one")).await;
    // Who has not waited does not come before those who have.
    assert!(fixture.receive(&queue, 1).await.is_empty());
    assert!((&mut second).now_or_never().is_none());
    assert_eq!(bodies(&first.await), ["one"]);
    fixture.send(&queue, text("two")).await;
    assert_eq!(bodies(&second.await), ["two"]);
    fixture.queues.close().await;
}

#[tokio::test]
async fn who_goes_away_while_it_waits_has_taken_nothing() {
    let fixture = Fixture::new();
    let queue = standard();
    let wait = Duration::from_secs(20);
    let mut first = Box::pin(waiting(&fixture, &queue, wait));
    let mut second = Box::pin(waiting(&fixture, &queue, wait));
    assert!((&mut first).now_or_never().is_none() && (&mut second).now_or_never().is_none());
    fixture.send(&queue, text("one")).await;
    drop(first);
    let messages = second.await;
    assert_eq!((bodies(&messages), messages[0].receives), (vec!["one"], 1));
    fixture.queues.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_wait_ends_with_nothing_when_it_is_over() {
    let fixture = Fixture::new();
    let queue = standard();
    let before = tokio::time::Instant::now();
    assert!(waiting(&fixture, &queue, Duration::from_secs(20)).await.is_empty());
    assert_eq!(before.elapsed().as_secs(), 20);
    let too_long = fixture.queues.receive(&queue, 1, None, Duration::from_secs(21)).await;
    assert!(matches!(too_long, Err(QueueFailure::Invalid(_))));
    fixture.queues.close().await;
}

#[tokio::test]
async fn who_waits_gets_what_comes_back_into_sight() {
    let fixture = Fixture::new();
    let queue = standard();
    fixture.send(&queue, text("one")).await;
    fixture.queues.receive(&queue, 1, Some(Duration::from_secs(10)), Duration::ZERO).await.unwrap();
    tokio::time::pause();
    let mut wait = Box::pin(waiting(&fixture, &queue, Duration::from_secs(20)));
    assert!((&mut wait).now_or_never().is_none());
    fixture.clock.advance(10_000);
    let before = tokio::time::Instant::now();
    assert_eq!(bodies(&wait.await), ["one"]);
    assert!(before.elapsed() <= Duration::from_millis(1_100), "it looked away too long");
    fixture.queues.close().await;
}

#[tokio::test]
async fn ready_ends_once_there_is_a_message_that_may_be_given() {
    let fixture = Fixture::new();
    let queue = fifo();
    let ready = |fixture: &Fixture| {
        let (queues, queue) = (fixture.queues.clone(), queue.clone());
        async move { queues.ready(&queue).await }
    };
    let mut first = Box::pin(ready(&fixture));
    assert!((&mut first).now_or_never().is_none());
    fixture.send(&queue, grouped("a", "1")).await;
    first.await;
    let message = fixture.receive(&queue, 1).await.remove(0);
    fixture.send(&queue, grouped("a", "2")).await;
    let mut second = Box::pin(ready(&fixture));
    assert!((&mut second).now_or_never().is_none(), "the group waits");
    fixture.delete(&queue, &message).await.unwrap();
    second.await;
    fixture.queues.close().await;
}

//! What is forgotten, and what the log lets go of.

use super::*;

async fn look_after(fixture: &Fixture) {
    let engine = fixture.queues.engine.clone();
    tokio::task::spawn_blocking(move || engine.look_after()).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_message_that_is_too_old_is_neither_given_nor_kept() {
    let mut fixture = Fixture::new();
    let queue =
        queue(1, QueueSpec { retention: Span::from_ms(60_000), ..spec("short", QueueOrder::Standard) });
    fixture.send(&queue, text("old")).await;
    fixture.clock.advance(30_000);
    fixture.send(&queue, text("young")).await;
    fixture.clock.advance(30_000);
    assert_eq!(bodies(&fixture.receive(&queue, 10).await), ["young"]);
    fixture.clock.advance(30_000);
    look_after(&fixture).await;
    assert_eq!(fixture.queues.stats(&queue), QueueStats { sent: 2, received: 1, ..QueueStats::default() });
    fixture.reopen().await;
    fixture.clock.set(START_MS);
    assert!(fixture.receive(&queue, 10).await.is_empty());
    fixture.queues.close().await;
}

/// Sends and deletes so many messages of about a kibibyte.
async fn churn(fixture: &Fixture, queue: &QueueRef, count: usize) {
    for _ in 0..count {
        fixture.send(queue, text(&"x".repeat(1_000))).await;
        let message = fixture.receive(queue, 1).await.remove(0);
        fixture.delete(queue, &message).await.unwrap();
    }
}

#[tokio::test]
async fn what_is_deleted_leaves_the_disk_and_sequences_go_on() {
    let mut fixture = Fixture::new();
    let queue = standard();
    churn(&fixture, &queue, 100).await;
    look_after(&fixture).await;
    assert!(fixture.queues.engine.log.first_end().is_none(), "an old segment is kept");
    // The record that said how far the sequences are is gone; it was said again.
    fixture.reopen().await;
    assert_eq!(fixture.queues.queues(), [queue.id]);
    assert_eq!(fixture.send(&queue, text("next")).await.sequence, 101);
    fixture.queues.close().await;
}

#[tokio::test]
async fn old_messages_are_written_again_as_they_are_and_hold_no_disk() {
    let mut fixture = Fixture::new();
    let (queue, fifo) = (standard(), fifo());
    let (main, dead) = with_dead_letters(QueueOrder::Standard, 1);
    fixture.send(&queue, text("in sight")).await;
    fixture.send(&queue, NewMessage { delay: Some(Duration::from_secs(600)), ..text("delayed") }).await;
    fixture.send(&fifo, grouped("a", "first")).await;
    fixture.send(&fifo, grouped("a", "second")).await;
    let poison = fixture.send(&main, text("poison")).await;
    fixture.receive(&main, 1).await;
    fixture.clock.advance(30_000);
    fixture.receive(&main, 1).await;
    let out =
        fixture.queues.receive(&dead, 1, Some(Duration::from_secs(3_600)), Duration::from_secs(5)).await;
    let out = out.unwrap().remove(0);
    let other = super::queue(5, spec("busy", QueueOrder::Standard));
    churn(&fixture, &other, 400).await;
    // What a FIFO queue remembers holds the log for five minutes.
    look_after(&fixture).await;
    assert_eq!(fixture.queues.engine.log.first().0, 0);
    fixture.clock.advance(301_000);
    fixture.queues.stats(&fifo);
    look_after(&fixture).await;
    assert!(fixture.queues.engine.log.first().0 > 100_000, "an old message holds the log");
    for _ in 0..2 {
        assert_eq!(fixture.queues.stats(&dead).in_flight, 1);
        assert_eq!(fixture.queues.stats(&queue).delayed, 1);
        assert_eq!(fixture.queues.stats(&fifo).visible, 2);
        fixture.reopen().await;
    }
    assert_eq!(bodies(&fixture.receive(&queue, 10).await), ["in sight"]);
    assert_eq!(bodies(&fixture.receive(&fifo, 10).await), ["first"]);
    assert_eq!((&out.id, out.dead_letter_source), (&poison.id, Some(main.id)));
    assert_eq!(fixture.delete(&dead, &out).await, Ok(()));
    fixture.reopen().await;
    assert_eq!(fixture.queues.stats(&dead).in_flight, 0);
    fixture.queues.close().await;
}

#[tokio::test]
async fn what_became_of_a_receive_is_known_though_the_message_was_written_again_and_its_time_is_over() {
    let mut fixture = Fixture::new();
    let queue = standard();
    for body in ["given back", "worked on", "left"] {
        fixture.send(&queue, text(body)).await;
    }
    let out = fixture.receive(&queue, 3).await;
    let other = super::queue(5, spec("busy", QueueOrder::Standard));
    churn(&fixture, &other, 400).await;
    look_after(&fixture).await;
    assert!(fixture.queues.engine.log.first().0 > 100_000, "they were not written again");
    let [given_back, worked_on, left] = &out[..] else { panic!("{out:?}") };
    let hour = Duration::from_secs(3_600);
    let back = vec![(given_back.receipt.clone(), hour)];
    fixture.queues.give_back(&queue, back).await.unwrap().remove(0).unwrap();
    let longer = vec![(worked_on.receipt.clone(), hour)];
    fixture.queues.change_visibility(&queue, longer).await.unwrap().remove(0).unwrap();
    // Longer than the receive was to last.
    fixture.clock.advance(60_000);
    fixture.reopen().await;
    let again = fixture.receive(&queue, 3).await;
    assert_eq!((bodies(&again), again[0].receives), (vec!["left"], 2));
    assert_eq!(fixture.delete(&queue, left).await, Err(MessageError::Stale));
    assert_eq!(fixture.delete(&queue, worked_on).await, Ok(()));
    fixture.clock.advance(3_600_000);
    let given_back = fixture.receive(&queue, 3).await;
    let receives = given_back.iter().find(|message| &message.body[..] == b"given back").map(|m| m.receives);
    assert_eq!(receives, Some(1), "nobody had it before");
    fixture.queues.close().await;
}

#[tokio::test]
async fn what_nobody_receives_leaves_the_line_with_its_age() {
    let fixture = Fixture::new();
    let retention = Span::from_ms(60_000);
    let queues = [
        queue(1, QueueSpec { retention, ..spec("short", QueueOrder::Standard) }),
        queue(2, QueueSpec { retention, ..fifo().spec.as_ref().clone() }),
    ];
    let is_fifo = |queue: &QueueRef| queue.spec.order.is_fifo();
    for round in 0..11 {
        for queue in &queues {
            let sends = (0..10).map(|call| {
                let message = |number: usize| {
                    let body = format!("{round} {call} {number}");
                    if is_fifo(queue) { grouped(&body, &body) } else { text(&body) }
                };
                fixture.queues.send(queue, (0..10).map(message).collect())
            });
            futures::future::try_join_all(sends).await.unwrap();
        }
        fixture.clock.advance(60_000);
        look_after(&fixture).await;
    }
    for queue in &queues {
        let may_give = fixture.queues.engine.lock().queues[&queue.id].may_give();
        assert!(!may_give, "{} keeps what is gone in line", queue.spec.name);
    }
    fixture.queues.close().await;
}

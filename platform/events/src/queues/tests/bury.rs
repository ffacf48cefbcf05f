//! Messages that are buried by who received them.

use super::*;

#[tokio::test]
async fn what_is_buried_is_in_the_dead_letter_queue_at_once_and_can_be_driven_back() {
    let mut fixture = Fixture::new();
    let (main, dead) = with_dead_letters(QueueOrder::Standard, 100);
    let poison = fixture.send(&main, text("poison")).await;
    fixture.send(&main, text("good")).await;
    let received = fixture.receive(&main, 10).await;
    let receipt = |at: usize| received[at].receipt.clone();
    let outcomes = fixture.queues.bury(&main, vec![receipt(0)]).await.unwrap();
    assert_eq!(outcomes, [Ok(())]);
    assert_eq!((fixture.queues.stats(&main).in_flight, fixture.queues.stats(&dead).visible), (1, 1));
    assert_eq!(fixture.queues.bury(&main, vec![receipt(0)]).await.unwrap(), [Ok(())], "it is gone already");
    fixture.reopen().await;
    let letter = fixture.receive(&dead, 10).await.remove(0);
    assert_eq!((&letter.id, letter.dead_letter_source, letter.receives), (&poison.id, Some(main.id), 1));
    assert_eq!(&letter.body[..], b"poison");
    fixture.clock.advance(30_000);
    assert_eq!(fixture.redrive(&dead, std::slice::from_ref(&main)).await.moved, 1);
    fixture.queues.close().await;
}

#[tokio::test]
async fn in_a_group_the_next_one_goes_on_and_a_stale_receipt_buries_nothing() {
    let fixture = Fixture::new();
    let (main, dead) = with_dead_letters(QueueOrder::Fifo { content_based_deduplication: true }, 100);
    fixture.send(&main, grouped("a", "first")).await;
    fixture.send(&main, grouped("a", "second")).await;
    let first = fixture.receive(&main, 10).await;
    assert_eq!(bodies(&first), ["first"]);
    assert_eq!(fixture.queues.bury(&main, vec![first[0].receipt.clone()]).await.unwrap(), [Ok(())]);
    let second = fixture.receive(&main, 10).await;
    assert_eq!(bodies(&second), ["second"]);
    fixture.clock.advance(30_000);
    assert_eq!(fixture.receive(&main, 10).await.len(), 1);
    let stale = fixture.queues.bury(&main, vec![second[0].receipt.clone()]).await.unwrap();
    assert_eq!(stale, [Err(MessageError::Stale)]);
    assert_eq!(fixture.queues.stats(&dead).visible, 1);
    fixture.queues.close().await;
}

#[tokio::test]
async fn without_a_dead_letter_queue_it_comes_again() {
    let fixture = Fixture::new();
    let queue = standard();
    fixture.send(&queue, text("poison")).await;
    let received = fixture.receive(&queue, 10).await.remove(0);
    assert_eq!(fixture.queues.bury(&queue, vec![received.receipt]).await.unwrap(), [Ok(())]);
    assert_eq!(fixture.queues.stats(&queue).in_flight, 1);
    fixture.clock.advance(30_000);
    assert_eq!(fixture.receive(&queue, 10).await[0].receives, 2);
    fixture.queues.close().await;
}

#[tokio::test]
async fn without_a_dead_letter_queue_a_group_waits_for_what_was_buried_however_often_it_comes() {
    let mut fixture = Fixture::new();
    let queue = fifo();
    for (group, body) in [("a", "poison"), ("a", "behind"), ("b", "other")] {
        fixture.send(&queue, grouped(group, body)).await;
    }
    for receives in 1..=3 {
        let received = fixture.receive(&queue, 10).await;
        let poison = received.iter().find(|message| &message.body[..] == b"poison").unwrap();
        assert_eq!(poison.receives, receives);
        assert!(received.iter().all(|message| &message.body[..] != b"behind"), "it passed one that failed");
        let receipt = poison.receipt.clone();
        assert_eq!(fixture.queues.bury(&queue, vec![receipt]).await.unwrap(), [Ok(())]);
        assert!(fixture.receive(&queue, 10).await.is_empty(), "its group waits while it is out of sight");
        fixture.reopen().await;
        fixture.clock.advance(30_000);
    }
    let received = fixture.receive(&queue, 10).await;
    let poison = received.iter().find(|message| &message.body[..] == b"poison").unwrap();
    fixture.delete(&queue, poison).await.unwrap();
    assert_eq!(bodies(&fixture.receive(&queue, 10).await), ["behind"]);
    fixture.queues.close().await;
}

/// A queue whose messages are dead letters after one receive, and their queue, which holds one.
fn with_one_dead_letter_at_most() -> (QueueRef, QueueRef) {
    let (main, dead) = with_dead_letters(QueueOrder::Standard, 1);
    let dead = QueueRef { spec: Arc::new(QueueSpec { messages_max: 1, ..(*dead.spec).clone() }), ..dead };
    (QueueRef { dead_letter: Some(as_dead_letter_queue(&dead)), ..main }, dead)
}

#[tokio::test]
async fn a_dead_letter_queue_that_is_full_takes_none_until_it_has_room() {
    let fixture = Fixture::new();
    let (main, dead) = with_one_dead_letter_at_most();
    fixture.send(&dead, text("there")).await;
    fixture.send(&main, text("poison")).await;
    let received = fixture.receive(&main, 10).await.remove(0);
    let full = fixture.queues.bury(&main, vec![received.receipt]).await.unwrap().remove(0);
    assert!(matches!(full, Err(MessageError::Invalid(_))), "{full:?}");
    fixture.clock.advance(30_000);
    assert!(fixture.receive(&main, 10).await.is_empty());
    let stats = fixture.queues.stats(&main);
    assert_eq!((stats.delayed, fixture.queues.stats(&dead).visible), (1, 1));
    let there = fixture.receive(&dead, 10).await.remove(0);
    fixture.delete(&dead, &there).await.unwrap();
    fixture.clock.advance(30_000);
    assert!(fixture.receive(&main, 10).await.is_empty());
    let letter = fixture.queues.receive(&dead, 1, None, Duration::from_secs(5)).await.unwrap();
    assert_eq!(bodies(&letter), ["poison"]);
    fixture.queues.close().await;
}

#[tokio::test]
async fn a_dead_letter_queue_that_nobody_called_since_the_start_holds_no_more_than_it_may() {
    let mut fixture = Fixture::new();
    let (main, dead) = with_one_dead_letter_at_most();
    fixture.send(&dead, text("there")).await;
    fixture.send(&main, text("poison")).await;
    fixture.send(&main, text("good")).await;
    fixture.reopen().await;
    let poison = fixture.receive(&main, 1).await.remove(0);
    let full = fixture.queues.bury(&main, vec![poison.receipt]).await.unwrap().remove(0);
    assert!(matches!(full, Err(MessageError::Invalid(_))), "{full:?}");
    fixture.reopen().await;
    fixture.clock.advance(30_000);
    // The poison is passed over now: it was received as often as it may be.
    assert_eq!(bodies(&fixture.receive(&main, 10).await), ["good"]);
    assert_eq!(fixture.queues.stats(&main).delayed, 1);
    assert_eq!(bodies(&fixture.receive(&dead, 10).await), ["there"]);
    fixture.queues.close().await;
}

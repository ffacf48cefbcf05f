//! Messages that nobody was given, and that come back.

use super::*;

impl Fixture {
    async fn give_back(
        &self,
        queue: &QueueRef,
        message: &Message,
        pause_ms: u64,
    ) -> Result<(), MessageError> {
        let given_back = vec![(message.receipt.clone(), Duration::from_millis(pause_ms))];
        self.queues.give_back(queue, given_back).await.unwrap().remove(0)
    }
}

#[tokio::test]
async fn however_often_it_is_given_back_it_is_no_dead_letter() {
    let mut fixture = Fixture::new();
    let (main, dead) = with_dead_letters(QueueOrder::Standard, 1);
    fixture.send(&main, text("one")).await;
    for round in 0..5 {
        let message = fixture.receive(&main, 1).await.remove(0);
        assert_eq!(message.receives, 1, "round {round}");
        assert_eq!(fixture.give_back(&main, &message, 0).await, Ok(()));
        assert_eq!(fixture.queues.stats(&main).visible, 1);
        if round % 2 == 0 {
            // What was answered is on the drive.
            fixture.crash();
        }
    }
    assert_eq!(fixture.queues.stats(&dead), QueueStats::default());
    fixture.receive(&main, 1).await.remove(0);
    fixture.clock.advance(30_000);
    assert!(fixture.receive(&main, 1).await.is_empty(), "this receive was one");
    let letter = fixture.queues.receive(&dead, 1, None, Duration::from_secs(5)).await.unwrap();
    assert_eq!(bodies(&letter), ["one"]);
    fixture.queues.close().await;
}

#[tokio::test]
async fn it_stays_out_of_sight_for_its_pause_with_nobody_and_over_a_restart_too() {
    let mut fixture = Fixture::new();
    let queue = standard();
    fixture.send(&queue, text("one")).await;
    let message = fixture.receive(&queue, 1).await.remove(0);
    assert_eq!(fixture.give_back(&queue, &message, 1_000).await, Ok(()));
    for _ in 0..2 {
        assert_eq!(fixture.queues.stats(&queue).in_flight, 1, "it has yet to be done");
        assert_eq!(fixture.delete(&queue, &message).await, Err(MessageError::Stale));
        assert_eq!(fixture.give_back(&queue, &message, 0).await, Err(MessageError::Stale));
        assert!(fixture.receive(&queue, 1).await.is_empty());
        fixture.reopen().await;
    }
    fixture.clock.advance(1_000);
    assert_eq!(fixture.receive(&queue, 1).await[0].receives, 1);
    fixture.queues.close().await;
}

#[tokio::test]
async fn in_a_group_it_is_first_again() {
    let fixture = Fixture::new();
    let queue = fifo();
    for body in ["1", "2"] {
        fixture.send(&queue, grouped("a", body)).await;
    }
    let first = fixture.receive(&queue, 10).await.remove(0);
    assert_eq!(fixture.give_back(&queue, &first, 1_000).await, Ok(()));
    assert!(fixture.receive(&queue, 10).await.is_empty(), "the group waits");
    fixture.clock.advance(1_000);
    assert_eq!(bodies(&fixture.receive(&queue, 10).await), ["1"]);
    fixture.queues.close().await;
}

#[tokio::test]
async fn where_the_disk_fails_it_is_in_sight_all_the_same() {
    let drive = SmallDisk::new(1024 * 1024);
    let fixture = Fixture::on(drive.clone());
    let queue = standard();
    fixture.send(&queue, text("one")).await;
    let message = fixture.receive(&queue, 1).await.remove(0);
    drive.is_broken.store(true, Ordering::Relaxed);
    let given_back = vec![(message.receipt, Duration::ZERO)];
    let failed = fixture.queues.give_back(&queue, given_back).await;
    assert!(matches!(failed, Err(QueueFailure::Storage(_))), "{failed:?}");
    assert_eq!(fixture.queues.stats(&queue).visible, 1);
}

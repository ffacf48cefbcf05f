//! Dead letters that are driven back, or elsewhere.

use super::*;

fn holding_at_most(queue: QueueRef, messages_max: u64) -> QueueRef {
    QueueRef { spec: Arc::new(QueueSpec { messages_max, ..(*queue.spec).clone() }), ..queue }
}

/// A queue of this number, whose dead letters go to `dead` when they are buried.
fn burying_in(dead: &QueueRef, number: u8, name: &str) -> QueueRef {
    let dead_letter = Some(DeadLetter { queue: dead.spec.name.name.clone(), receives_max: 100 });
    let mut main = queue(number, QueueSpec { dead_letter, ..spec(name, dead.spec.order) });
    main.dead_letter = Some(as_dead_letter_queue(dead));
    main
}

impl Fixture {
    /// Sends messages and buries them.
    async fn buried(&self, queue: &QueueRef, messages: Vec<NewMessage>) {
        for message in messages {
            self.send(queue, message).await;
            let received = self.receive(queue, 1).await.remove(0);
            self.queues.bury(queue, vec![received.receipt]).await.unwrap().remove(0).unwrap();
        }
    }

    fn visible(&self, queue: &QueueRef) -> u64 {
        self.queues.stats(queue).visible
    }
}

fn texts(prefix: &str, count: usize) -> Vec<NewMessage> {
    (0..count).map(|number| text(&format!("{prefix}{number}"))).collect()
}

#[tokio::test]
async fn it_takes_as_many_as_it_is_told_and_nothing_without_a_source() {
    let fixture = Fixture::new();
    let (main, dead) = with_dead_letters(QueueOrder::Standard, 1);
    for message in texts("m", 7) {
        fixture.send(&dead, message).await;
    }
    let untouched = fixture.redrive(&dead, std::slice::from_ref(&main)).await;
    assert_eq!((untouched.moved, untouched.full.len()), (0, 0));
    for (max, moved) in [(3, 3), (10, 4)] {
        let driven = fixture.queues.redrive(&dead, RedriveTo::Queue(&main), max).await.unwrap();
        assert!(driven.moved == moved && driven.full.is_empty() && driven.failure.is_none(), "{driven:?}");
    }
    assert_eq!(fixture.visible(&main), 7);
    let itself = fixture.queues.redrive(&main, RedriveTo::Queue(&main), 1).await;
    assert!(matches!(itself, Err(QueueFailure::Invalid(_))));
    let ordered = fixture.queues.redrive(&main, RedriveTo::Queue(&fifo()), 1).await;
    assert!(matches!(ordered, Err(QueueFailure::Invalid(_))));
    fixture.queues.close().await;
}

#[tokio::test]
async fn each_source_gets_what_it_may_hold_and_the_rest_stays() {
    let mut fixture = Fixture::new();
    let dead = queue(9, spec("dead", QueueOrder::Standard));
    let (small, wide) = (burying_in(&dead, 3, "small"), burying_in(&dead, 4, "wide"));
    fixture.buried(&small, texts("s", 5)).await;
    fixture.buried(&wide, texts("w", 5)).await;
    let small = holding_at_most(small, 3);
    fixture.send(&small, text("there")).await;
    // As after a start, when no call has said yet what a queue may hold.
    fixture.reopen().await;
    let sources = [small.clone(), wide.clone()];
    let driven = fixture.redrive(&dead, &sources).await;
    assert_eq!((driven.moved, driven.full), (7, vec![small.id]));
    assert!(driven.failure.is_none());
    assert_eq!((fixture.visible(&small), fixture.visible(&wide), fixture.visible(&dead)), (3, 5, 3));
    let none = fixture.redrive(&dead, &sources).await;
    assert_eq!((none.moved, none.full), (0, vec![small.id]));
    let received = fixture.receive(&small, 2).await;
    for message in &received {
        fixture.delete(&small, message).await.unwrap();
    }
    let rest = fixture.redrive(&dead, &sources).await;
    assert_eq!((rest.moved, rest.full, fixture.visible(&dead)), (2, vec![small.id], 1));
    fixture.queues.close().await;
}

#[tokio::test]
async fn one_target_that_is_full_ends_it() {
    let fixture = Fixture::new();
    let (main, dead) = with_dead_letters(QueueOrder::Standard, 1);
    let main = holding_at_most(main, 2);
    for message in texts("m", 3) {
        fixture.send(&dead, message).await;
    }
    let driven = fixture.queues.redrive(&dead, RedriveTo::Queue(&main), u64::MAX).await.unwrap();
    assert_eq!((driven.moved, driven.full), (2, vec![main.id]));
    assert_eq!((fixture.visible(&main), fixture.visible(&dead)), (2, 1));
    fixture.queues.close().await;
}

#[tokio::test]
async fn in_a_group_nothing_passes_what_stays() {
    let fixture = Fixture::new();
    let dead = queue(9, spec("dead", QueueOrder::Fifo { content_based_deduplication: true }));
    let (small, wide) = (burying_in(&dead, 3, "small"), burying_in(&dead, 4, "wide"));
    fixture.buried(&small, vec![grouped("a", "s1"), grouped("a", "s2")]).await;
    fixture.buried(&wide, vec![grouped("a", "w1"), grouped("b", "w2")]).await;
    let small = holding_at_most(small, 1);
    let driven = fixture.redrive(&dead, &[small.clone(), wide.clone()]).await;
    assert_eq!((driven.moved, driven.full), (2, vec![small.id]));
    assert_eq!(bodies(&fixture.receive(&small, 10).await), ["s1"]);
    assert_eq!(bodies(&fixture.receive(&wide, 10).await), ["w2"], "w1 is behind s2, which stays");
    fixture.queues.close().await;
}

#[tokio::test]
async fn a_source_that_is_gone_gets_nothing() {
    let fixture = Fixture::new();
    let dead = queue(9, spec("dead", QueueOrder::Standard));
    let main = burying_in(&dead, 3, "main");
    fixture.buried(&main, texts("m", 2)).await;
    let driven = fixture.redrive(&dead, &[]).await;
    assert_eq!((driven.moved, driven.full.len()), (0, 0));
    assert_eq!(fixture.visible(&dead), 2);
    fixture.queues.close().await;
}

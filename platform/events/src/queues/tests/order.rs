//! FIFO queues: their groups' order, and what is sent twice.

use super::*;

#[tokio::test]
async fn a_group_waits_for_its_first_message_and_others_do_not() {
    let fixture = Fixture::new();
    let queue = fifo();
    for (group, body) in [("a", "a1"), ("a", "a2"), ("b", "b1"), ("a", "a3")] {
        fixture.send(&queue, grouped(group, body)).await;
    }
    let first = fixture.receive(&queue, 10).await;
    assert_eq!(bodies(&first), ["a1", "b1"]);
    assert!(fixture.receive(&queue, 10).await.is_empty());
    fixture.clock.advance(30_000);
    // It failed, and comes before those behind it.
    let again = fixture.receive(&queue, 10).await;
    assert_eq!(bodies(&again), ["a1", "b1"]);
    assert_eq!(fixture.delete(&queue, &again[0]).await, Ok(()));
    let second = fixture.receive(&queue, 10).await;
    assert_eq!((bodies(&second), second[0].group.as_deref()), (vec!["a2"], Some("a")));
    fixture.queues.close().await;
}

#[tokio::test]
async fn what_is_sent_twice_within_five_minutes_is_kept_once_over_restarts_too() {
    let mut fixture = Fixture::new();
    let queue = fifo();
    let first = fixture.send(&queue, grouped("a", "same")).await;
    let message = fixture.receive(&queue, 1).await.remove(0);
    fixture.delete(&queue, &message).await.unwrap();
    fixture.clock.advance(299_999);
    fixture.reopen().await;
    let second = fixture.send(&queue, grouped("b", "same")).await;
    assert!(second.is_duplicate && !first.is_duplicate);
    assert_eq!((second.id, second.sequence), (first.id, first.sequence));
    fixture.clock.advance(1);
    assert!(!fixture.send(&queue, grouped("a", "same")).await.is_duplicate);
    let with_id = |id: &str| NewMessage { deduplication_id: Some(id.to_owned()), ..grouped("a", "same") };
    assert!(!fixture.send(&queue, with_id("x")).await.is_duplicate);
    let twice = fixture.queues.send(&queue, vec![with_id("y"), with_id("y"), with_id("x")]).await.unwrap();
    let duplicates: Vec<_> = twice.iter().map(|sent| sent.as_ref().unwrap().is_duplicate).collect();
    assert_eq!(duplicates, [false, true, true]);
    fixture.queues.close().await;
}

#[tokio::test]
async fn a_dead_letter_of_a_group_lets_the_next_one_go() {
    let fixture = Fixture::new();
    let (main, dead) = with_dead_letters(QueueOrder::Fifo { content_based_deduplication: true }, 1);
    for body in ["1", "2"] {
        fixture.send(&main, grouped("a", body)).await;
    }
    assert_eq!(bodies(&fixture.receive(&main, 10).await), ["1"]);
    fixture.clock.advance(30_000);
    let next = fixture.queues.receive(&main, 10, None, Duration::from_secs(5)).await.unwrap();
    assert_eq!(bodies(&next), ["2"]);
    let letter = fixture.receive(&dead, 10).await;
    assert_eq!((bodies(&letter), letter[0].group.as_deref()), (vec!["1"], Some("a")));
    fixture.queues.close().await;
}

/// Producers and consumers at once, some of which fail: each group's messages are done in the order in which they were sent.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn groups_keep_their_order_among_many() {
    const GROUPS: usize = 5;
    const EACH: usize = 60;
    let fixture = Arc::new(Fixture::new());
    let queue = fifo();
    let producers = (0..GROUPS).map(|group| {
        let (fixture, queue) = (fixture.clone(), queue.clone());
        tokio::spawn(async move {
            for number in 0..EACH {
                fixture.send(&queue, grouped(&group.to_string(), &format!("{group}:{number}"))).await;
            }
        })
    });
    let done = Arc::new(std::sync::Mutex::new(BTreeMap::<String, Vec<usize>>::new()));
    let consumers = (0..4).map(|consumer| {
        let (fixture, queue, done) = (fixture.clone(), queue.clone(), done.clone());
        tokio::spawn(async move {
            let mut turns = consumer;
            while done.lock().unwrap().values().map(Vec::len).sum::<usize>() < GROUPS * EACH {
                let wait = Duration::from_millis(20);
                for message in fixture.queues.receive(&queue, 3, None, wait).await.unwrap() {
                    turns += 1;
                    if turns % 7 == 0 {
                        let change = vec![(message.receipt, Duration::ZERO)];
                        fixture.queues.change_visibility(&queue, change).await.unwrap();
                        continue;
                    }
                    let number = bodies(std::slice::from_ref(&message))[0].split_once(':').unwrap().1;
                    let number = number.parse().unwrap();
                    done.lock().unwrap().entry(message.group.clone().unwrap()).or_default().push(number);
                    fixture.delete(&queue, &message).await.unwrap();
                }
            }
        })
    });
    let all: Vec<_> = producers.chain(consumers).collect();
    for task in all {
        task.await.unwrap();
    }
    for (group, numbers) in done.lock().unwrap().iter() {
        assert_eq!(*numbers, (0..EACH).collect::<Vec<_>>(), "group {group}");
    }
}

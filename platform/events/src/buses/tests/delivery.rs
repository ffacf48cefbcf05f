//! How deliveries go: in order, so many at once, again and again, and to the dead-letter queue.

use super::*;
use std::sync::atomic::AtomicBool;

#[tokio::test]
async fn events_of_one_order_key_reach_a_target_one_after_the_other() {
    let world = World::new();
    let mut platform = world.start(&[rule_to("work")]);
    let gate = platform.fake.shut("work");
    platform.buses.put(vec![keyed("a1", "a"), keyed("a2", "a"), keyed("b1", "b")]).await.unwrap();
    platform.put(keyed("a3", "a")).await;
    platform.put(event("none")).await;
    let mut first = platform.tried_events(3).await;
    first.sort();
    assert_eq!(first, ["a1", "b1", "none"], "other keys go on");
    for next in ["a2", "a3"] {
        assert!(platform.tried.try_recv().is_err(), "{next} came too soon");
        gate.add_permits(if next == "a2" { 3 } else { 1 });
        assert_eq!(platform.tried_events(1).await, [next]);
    }
    gate.add_permits(1);
    platform.settle().await;
    assert_eq!(platform.buses.stats().delivered, 5);
}

#[tokio::test(start_paused = true)]
async fn what_is_tried_again_holds_up_those_behind_it_and_no_others() {
    let world = World::new();
    let mut platform = world.start(&[rule_to("work")]);
    platform.fake.answer("work", [failed(), failed()]);
    platform.put(keyed("a1", "a")).await;
    platform.put(keyed("a2", "a")).await;
    assert_eq!(platform.tried_events(4).await, ["a1", "a1", "a1", "a2"]);
    // What is buried is out of the way; so is what is given up.
    platform.fake.answer("work", [refused(), failed()]);
    platform.buses.put(vec![keyed("a3", "a"), keyed("a4", "a")]).await.unwrap();
    assert_eq!(platform.tried_events(3).await, ["a3", "a4", "a4"]);
}

#[tokio::test]
async fn a_target_has_no_more_under_way_than_it_may() {
    let world = World::new();
    let narrow = EventTarget { concurrency: 2, ..target("work") };
    let mut platform = world.start(&[rule("orders", vec![narrow.clone()])]);
    let gate = platform.fake.shut("work");
    for number in 0..10 {
        platform.put(event(&number.to_string())).await;
    }
    assert_eq!(platform.tried_events(2).await.len(), 2);
    assert_eq!((platform.buses.stats().under_way, platform.buses.stats().waiting), (2, 8));
    for _ in 0..3 {
        gate.add_permits(1);
        platform.tried().await;
    }
    assert_eq!(platform.fake.most_under_way("work"), 2);
    // More are allowed from now on, of those that wait too.
    platform.buses.set_rules(vec![rule("orders", vec![EventTarget { concurrency: 5, ..narrow }])]);
    platform.tried_events(3).await;
    gate.add_permits(10);
    platform.settle().await;
    assert_eq!(platform.fake.most_under_way("work"), 5);
}

#[tokio::test]
async fn a_slow_target_holds_up_no_other() {
    let world = World::with_limits(|limits| {
        limits.under_way_max = 8;
        limits.under_way_shared_max = 4;
    });
    let slow = EventTarget { concurrency: 1_000, ..target("slow") };
    let mut platform = world.start(&[
        rule_for("slow", r#"{"source": ["app"]}"#, vec![slow]),
        rule_for("quick", r#"{"source": ["app"]}"#, vec![target("quick")]),
    ]);
    platform.fake.shut("slow");
    for number in 0..100 {
        platform.put(event(&number.to_string())).await;
    }
    let mut quick = 0;
    while quick < 100 {
        quick += usize::from(platform.tried().await.target.id.as_str() == "quick");
    }
    assert!(platform.fake.most_under_way("slow") <= 4);
}

#[tokio::test(start_paused = true)]
async fn what_failed_is_tried_again_until_it_is_taken() {
    let world = World::new();
    let mut platform = world.start(&[rule_to("work")]);
    platform.fake.answer("work", [failed(), failed(), failed()]);
    platform.put(event("1")).await;
    let first = platform.tried().await;
    for number in 2..=4 {
        let next = platform.tried().await;
        assert_eq!((next.number, &next.id), (number, &first.id));
        assert_eq!((&next.payload, &next.event), (&first.payload, &first.event));
    }
    platform.settle().await;
    let stats = platform.buses.stats();
    assert_eq!((stats.delivered, stats.retried, stats.given_up), (1, 3, 0));
}

#[tokio::test(start_paused = true)]
async fn what_failed_too_often_goes_to_the_dead_letter_queue() {
    let world = World::new();
    let retry = RetryPolicy { retries_max: 2, ..RetryPolicy::default() };
    let dead_letter = Some("lost".parse().unwrap());
    let mut platform = world.start(&[rule(
        "orders",
        vec![
            EventTarget { retry, dead_letter, ..target("work") },
            EventTarget { retry, ..target("careless") },
        ],
    )]);
    platform.fake.answer("work", [failed(), failed(), failed()]);
    platform.fake.answer("careless", [failed(), failed(), failed()]);
    platform.put(event("1")).await;
    let (queue, attempt, why) = platform.buried.recv().await.unwrap();
    assert_eq!((queue.to_string(), attempt.number), ("default/lost".to_owned(), 3));
    assert_eq!((attempt.event.id.as_ref(), Err(why)), ("1", failed()));
    for _ in 0..6 {
        platform.tried().await;
    }
    platform.settle().await;
    let stats = platform.buses.stats();
    assert_eq!((stats.delivered, stats.dead_letters, stats.given_up), (0, 1, 1));
}

#[tokio::test(start_paused = true)]
async fn what_is_too_old_is_not_tried_again() {
    let world = World::new();
    let retry = RetryPolicy { age_max: Span::from_ms(10 * MINUTE_MS), retries_max: 185 };
    let mut platform = world.start(&[rule("orders", vec![EventTarget { retry, ..target("work") }])]);
    let gate = platform.fake.shut("work");
    platform.fake.answer("work", [failed()]);
    platform.put(event("1")).await;
    platform.tried().await;
    world.pass(10 * MINUTE_MS + 1);
    gate.add_permits(1);
    platform.settle().await;
    assert_eq!(platform.buses.stats().given_up, 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_is_buried_at_once_however_long_that_takes() {
    let world = World::new();
    let dead_letter = Some("lost".parse().unwrap());
    let mut platform = world.start(&[rule("orders", vec![EventTarget { dead_letter, ..target("work") }])]);
    platform.fake.answer("work", [refused()]);
    platform.fake.burials.lock().unwrap().extend([failed(), busy(), failed()]);
    platform.put(event("1")).await;
    for _ in 0..4 {
        let (_, attempt, why) = platform.buried.recv().await.unwrap();
        assert_eq!((attempt.number, Err(why)), (1, refused()));
    }
    platform.settle().await;
    assert_eq!(platform.buses.stats().dead_letters, 1);
    platform.tried().await;
    assert!(platform.tried.try_recv().is_err(), "it was tried again");
    // Where there is no such queue, it is given up.
    platform.fake.answer("work", [refused()]);
    platform.fake.burials.lock().unwrap().extend([refused()]);
    platform.put(event("2")).await;
    platform.settle().await;
    assert_eq!(platform.buses.stats().given_up, 1);
}

#[tokio::test]
async fn an_input_that_can_not_be_made_is_buried_untried() {
    let world = World::new();
    let text = format!("\"{}<all>{}\"", "x".repeat(4_000), "<all>".repeat(3));
    let paths = BTreeMap::from([("all".to_owned(), "$.detail".to_owned())]);
    let large = EventTarget {
        input: Input::Template(skiff_types::Template { paths, text: text.into() }),
        dead_letter: Some("lost".parse().unwrap()),
        ..target("work")
    };
    let mut platform = world.start(&[rule("orders", vec![large])]);
    let detail = format!(r#"{{"text":"{}"}}"#, "y".repeat(200 << 10));
    platform.put(BusEvent { detail: detail.into(), ..event("1") }).await;
    let (_, attempt, why) = platform.buried.recv().await.unwrap();
    assert!(matches!(why, AttemptError::Refused(_)), "{why}");
    assert!(attempt.payload.len() > 200 << 10, "the event is not in it");
    assert!(platform.tried.try_recv().is_err(), "it was tried");
}

#[tokio::test(start_paused = true)]
async fn a_target_that_is_busy_is_asked_later_and_it_counts_as_no_try() {
    let world = World::new();
    let retry = RetryPolicy { retries_max: 0, ..RetryPolicy::default() };
    let narrow = EventTarget { retry, concurrency: 1, ..target("work") };
    let mut platform = world.start(&[rule("orders", vec![narrow])]);
    platform.fake.answer("work", [busy(), busy(), busy(), busy()]);
    platform.put(event("1")).await;
    platform.put(event("2")).await;
    let mut tries = Vec::new();
    for _ in 0..6 {
        let attempt = platform.tried().await;
        tries.push((attempt.event.id.to_string(), attempt.number));
    }
    let wanted = ["1", "1", "1", "1", "1", "2"].map(|id| (id.to_owned(), 1));
    assert_eq!(tries, wanted);
    platform.settle().await;
    assert_eq!(platform.buses.stats().delivered, 2);
}

#[tokio::test]
async fn what_is_on_its_way_to_a_target_that_is_gone_is_given_up() {
    let world = World::new();
    let narrow = |id: &str| EventTarget { concurrency: 1, ..target(id) };
    let mut platform = world.start(&[rule("orders", vec![narrow("work"), narrow("other")])]);
    let (work, other) = (platform.fake.shut("work"), platform.fake.shut("other"));
    platform.fake.answer("work", [failed()]);
    for id in ["a1", "a2", "a3"] {
        platform.put(keyed(id, "a")).await;
    }
    platform.tried_events(2).await;
    platform.buses.set_rules(vec![rule("orders", vec![narrow("other")])]);
    let stats = platform.buses.stats();
    assert_eq!((stats.given_up, stats.under_way, stats.waiting), (2, 2, 2));
    work.add_permits(10);
    other.add_permits(10);
    assert_eq!(platform.tried_events(2).await, ["a2", "a3"]);
    platform.settle().await;
    let stats = platform.buses.stats();
    assert_eq!((stats.delivered, stats.given_up, stats.retried), (3, 3, 0));
    // A target of the same name is another one, and has what comes from now on.
    platform.buses.set_rules(vec![rule("orders", vec![narrow("work")])]);
    platform.put(keyed("a4", "a")).await;
    assert_eq!(platform.tried_events(1).await, ["a4"]);
}

#[tokio::test]
async fn a_delivery_keeps_the_target_that_it_had() {
    let world = World::new();
    let narrow = EventTarget { concurrency: 1, ..target("work") };
    let mut platform = world.start(&[rule("orders", vec![narrow.clone()])]);
    let gate = platform.fake.shut("work");
    platform.put(event("1")).await;
    platform.put(event("2")).await;
    let changed = EventTarget { input: Input::Constant("1".into()), ..narrow };
    platform.buses.set_rules(vec![rule("orders", vec![changed])]);
    platform.put(event("3")).await;
    gate.add_permits(3);
    let mut payloads = Vec::new();
    for _ in 0..3 {
        payloads.push(String::from_utf8(platform.tried().await.payload.to_vec()).unwrap());
    }
    assert_eq!(payloads, [r#"{"id":"1"}"#, r#"{"id":"2"}"#, "1"]);
}

/// Panics once, and takes all then.
struct Clumsy(AtomicBool);

#[async_trait]
impl Targets for Clumsy {
    async fn deliver(&self, _: Attempt) -> Result<(), AttemptError> {
        assert!(self.0.swap(true, Ordering::SeqCst), "this is meant to fail");
        Ok(())
    }

    async fn bury(&self, _: &QualifiedName, _: Attempt, _: &AttemptError) -> Result<(), AttemptError> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_a_failure_like_any_other() {
    let world = World::new();
    let buses = world.open();
    buses.set_rules(vec![rule_to("work")]);
    buses.start(Arc::new(Clumsy(AtomicBool::new(false))), &Drain::new());
    buses.put(vec![event("1")]).await.unwrap();
    while buses.stats().delivered == 0 {
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    }
    assert_eq!(buses.stats().retried, 1);
}

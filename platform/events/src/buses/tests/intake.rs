//! What is taken in, once, whole, and by whom it is seen.

use super::*;
use futures::StreamExt as _;
use skiff_ports::buses::Tailed;
use skiff_types::Missed;
use std::fs::File;
use std::io;
use std::sync::atomic::AtomicBool;

#[tokio::test]
async fn an_event_goes_to_each_target_of_each_rule_that_takes_it() {
    let world = World::new();
    let other_bus =
        EventRuleSpec { bus: "other".parse().unwrap(), ..(*rule("far", vec![target("far")])).clone() };
    let asleep = EventRuleSpec { enabled: false, ..(*rule("asleep", vec![target("asleep")])).clone() };
    let mut platform = world.start(&[
        rule("first", vec![target("a"), target("b")]),
        rule("second", vec![target("c")]),
        rule_for("third", r#"{"source": ["else"]}"#, vec![target("d")]),
        Arc::new(other_bus),
        Arc::new(asleep),
    ]);
    platform.put(event("1")).await;
    let mut attempts = vec![platform.tried().await, platform.tried().await, platform.tried().await];
    attempts.sort_by_key(|attempt| attempt.target.id.clone());
    let seen = |attempt: &Attempt| (attempt.origin.to_string(), attempt.target.id.to_string());
    assert_eq!(
        attempts.iter().map(seen).collect::<Vec<_>>(),
        [("default/first", "a"), ("default/first", "b"), ("default/second", "c")]
            .map(|(rule, target)| (rule.to_owned(), target.to_owned()))
    );
    for attempt in &attempts {
        assert_eq!((&attempt.payload[..], attempt.number), (&br#"{"id":"1"}"#[..], 1));
        assert_eq!(*attempt.event, event("1"));
    }
    assert_ne!(attempts[0].id, attempts[1].id);
    platform.settle().await;
    let stats = platform.buses.stats();
    assert_eq!((stats.events, stats.matched, stats.delivered), (1, 1, 3));
    assert!(platform.tried.try_recv().is_err(), "something else was tried");
}

#[tokio::test]
async fn the_same_event_leads_to_nothing_more_for_five_minutes() {
    let world = World::new();
    let mut platform = world.start(&[rule_to("work")]);
    let mut batch = vec![event("1"), event("1"), event("2")];
    batch.push(BusEvent { source: "else".into(), ..event("1") });
    platform.buses.put(batch).await.unwrap();
    world.pass(5 * MINUTE_MS - 1);
    platform.put(event("1")).await;
    platform.settle().await;
    assert_eq!(platform.buses.stats().events, 3);
    assert_eq!(platform.buses.stats().delivered, 2);
    world.pass(1);
    platform.put(event("1")).await;
    assert_eq!(platform.tried_events(3).await, ["1", "2", "1"]);
}

#[tokio::test]
async fn who_puts_what_another_is_just_putting_waits_for_that_one() {
    let world = World::new();
    let platform = world.start(&[rule_to("work")]);
    let puts = (0..20).map(|_| platform.buses.put(vec![event("1")]));
    for outcome in futures::future::join_all(puts).await {
        outcome.unwrap();
    }
    platform.settle().await;
    assert_eq!(platform.buses.stats().delivered, 1);
}

#[tokio::test]
async fn a_put_goes_on_though_nobody_waits_for_it() {
    let world = World::new();
    let mut platform = world.start(&[rule_to("work")]);
    {
        let mut put = Box::pin(platform.buses.put(vec![event("1")]));
        assert!(futures::poll!(put.as_mut()).is_pending());
    }
    assert_eq!(platform.tried_events(1).await, ["1"]);
}

#[tokio::test]
async fn what_can_not_be_is_refused_whole() {
    let world = World::new();
    let platform = world.start(&[rule_to("work")]);
    let bad = BusEvent { detail: "{".into(), ..event("2") };
    let error = platform.buses.put(vec![event("1"), bad]).await.unwrap_err();
    assert!(matches!(error, BusError::Invalid(_)), "{error}");
    let many = (0..=BusEvent::BATCH_MAX).map(|number| event(&number.to_string())).collect();
    let error = platform.buses.put(many).await.unwrap_err();
    assert!(matches!(error, BusError::Invalid(_)), "{error}");
    platform.settle().await;
    assert_eq!(platform.buses.stats().events, 0);
}

#[tokio::test]
async fn what_leads_to_too_much_at_once_is_refused_whole() {
    let world = World::new();
    let buses = world.open();
    let rule = |number: usize| {
        let targets = (0..10).map(|target_number| target(&format!("t{target_number}"))).collect();
        rule(&format!("r{number}"), targets)
    };
    buses.set_rules((0..300).map(rule).collect());
    let events: Vec<BusEvent> = (0..10).map(|number| event(&number.to_string())).collect();
    let error = buses.put(events.clone()).await.unwrap_err();
    assert!(matches!(error, BusError::Invalid(_)), "{error}");
    assert_eq!(buses.stats().waiting, 0);
    for event in events {
        buses.put(vec![event]).await.unwrap();
    }
    assert_eq!(buses.stats().waiting, 30_000);
}

#[tokio::test]
async fn no_more_is_taken_in_while_too_much_waits() {
    let world = World::with_limits(|limits| limits.waiting_max = 2);
    let buses = world.open();
    buses.set_rules(vec![rule_to("work")]);
    buses.put(vec![event("1"), event("2")]).await.unwrap();
    let error = buses.put(vec![event("3")]).await.unwrap_err();
    assert!(matches!(error, BusError::Busy(2)), "{error}");
    // Those that wait may have to put events themselves to get on.
    for id in ["4", "5"] {
        buses.pass_on(event(id)).await.unwrap();
    }
    assert!(matches!(buses.pass_on(event("6")).await, Err(BusError::Busy(4))));
    let mut platform = Platform::start(buses);
    assert_eq!(platform.tried_events(4).await, ["1", "2", "4", "5"]);
    platform.settle().await;
    platform.put(event("3")).await;
    assert_eq!(platform.tried_events(1).await, ["3"]);
}

#[tokio::test]
async fn a_namespace_whose_targets_do_not_keep_up_holds_up_no_other() {
    let world = World::with_limits(|limits| limits.of_namespace_max = 2);
    let buses = world.open();
    let far = EventRuleSpec { name: "far/work".parse().unwrap(), ..(*rule_to("work")).clone() };
    buses.set_rules(vec![rule_to("work"), Arc::new(far)]);
    buses.put(vec![event("1"), event("2")]).await.unwrap();
    let error = buses.put(vec![event("3")]).await.unwrap_err();
    assert!(matches!(error, BusError::Busy(2)), "{error}");
    let far = |id: &str| BusEvent { namespace: "far".parse().unwrap(), ..event(id) };
    buses.put(vec![far("1")]).await.unwrap();
    let mut platform = Platform::start(buses);
    let mut tried = platform.tried_events(3).await;
    tried.sort();
    assert_eq!(tried, ["1", "1", "2"]);
    platform.settle().await;
    platform.put(event("3")).await;
    assert_eq!(platform.tried_events(1).await, ["3"]);
}

#[tokio::test]
async fn what_is_due_by_schedules_is_taken_in_once() {
    let world = World::new();
    let mut platform = world.start(&[rule_to("work")]);
    let delivery = |id: &str| NewDelivery {
        id: id.into(),
        origin: "default/nightly".parse().unwrap(),
        event: keyed(id, "nightly"),
        target: target("report"),
    };
    platform.buses.put_deliveries(vec![delivery("n-1"), delivery("n-2")]).await.unwrap();
    platform.buses.put_deliveries(vec![delivery("n-2"), delivery("n-3")]).await.unwrap();
    for id in ["n-1", "n-2", "n-3"] {
        let attempt = platform.tried().await;
        // It is the schedule's target's, not a rule's.
        assert_eq!((&*attempt.id, attempt.target.id.as_str()), (id, "report"));
        assert_eq!(attempt.origin.to_string(), "default/nightly");
    }
    // Rules that change are nothing to schedules.
    let gate = platform.fake.shut("report");
    platform.buses.put_deliveries(vec![delivery("n-4"), delivery("n-5")]).await.unwrap();
    platform.tried().await;
    platform.buses.set_rules(Vec::new());
    gate.add_permits(10);
    assert_eq!(platform.tried_events(1).await, ["n-5"]);
    platform.settle().await;
    assert_eq!(platform.buses.stats().delivered, 5);
    let many = vec![delivery("n-6"); Missed::ALL_MAX + 1];
    let error = platform.buses.put_deliveries(many).await.unwrap_err();
    assert!(matches!(error, BusError::Invalid(_)), "{error}");
}

#[tokio::test]
async fn who_looks_on_sees_what_comes_from_then_on() {
    let world = World::new();
    let platform = world.start(&[]);
    platform.put(event("before")).await;
    let mut tail = platform.buses.tail(&Namespace::default());
    let mut other = platform.buses.tail(&"other".parse().unwrap());
    platform.put(event("1")).await;
    platform.put(event("1")).await;
    platform.put(BusEvent { namespace: "other".parse().unwrap(), ..event("2") }).await;
    platform.put(event("3")).await;
    let shown = |tailed: Option<Tailed>| match tailed {
        Some(Tailed::Event(event)) => event.id.to_string(),
        other => panic!("{other:?}"),
    };
    let seen = [shown(tail.next().await), shown(tail.next().await), shown(other.next().await)];
    assert_eq!(seen, ["1", "3", "2"]);
    for number in 0..1_000 {
        platform.put(event(&format!("n{number}"))).await;
    }
    let Some(Tailed::Missed(missed)) = tail.next().await else { panic!("nothing was missed") };
    let Some(Tailed::Event(next)) = tail.next().await else { panic!("nothing more came") };
    assert_eq!(*next.id, format!("n{missed}"));
}

#[tokio::test]
async fn rules_change_one_by_one() {
    let world = World::new();
    let named = |name: &str| rule(name, vec![target(name)]);
    let mut platform = world.start(&[named("a"), named("b")]);
    let gate = platform.fake.shut("b");
    platform.put(event("1")).await;
    platform.put(event("2")).await;
    platform.tried_events(4).await;
    let buses = platform.buses.clone();
    let change = |changes: &[(&str, Option<Arc<EventRuleSpec>>)]| {
        let named = |(name, spec): &(&str, Option<Arc<EventRuleSpec>>)| {
            (QualifiedName::new(Namespace::default(), name.parse().unwrap()), spec.clone())
        };
        buses.change_rules(changes.iter().map(named).collect());
    };
    let narrow = EventTarget { concurrency: 1, ..target("b") };
    change(&[("b", Some(rule("b", vec![narrow.clone()]))), ("c", Some(named("c"))), ("nobody", None)]);
    platform.put(event("3")).await;
    let mut origins =
        vec![platform.tried().await.origin.to_string(), platform.tried().await.origin.to_string()];
    origins.sort();
    assert_eq!(origins, ["default/a", "default/c"], "b has two under way");
    // What waits for a target that is gone is given up; all others stay as they were.
    change(&[("b", Some(rule("b", vec![target("d")])))]);
    gate.add_permits(10);
    platform.put(event("4")).await;
    let mut targets = Vec::new();
    for _ in 0..3 {
        targets.push(platform.tried().await.target.id.to_string());
    }
    targets.sort();
    assert_eq!(targets, ["a", "c", "d"]);
    platform.settle().await;
    assert_eq!(platform.buses.stats().given_up, 1);
    change(&[("a", None), ("b", None), ("c", None)]);
    platform.put(event("5")).await;
    assert_eq!(platform.buses.stats().matched, 4);
}

#[tokio::test]
async fn what_came_is_counted_by_bus_and_by_rule() {
    let world = World::new();
    let silent = rule("silent", Vec::new());
    let platform = world.start(&[rule_to("work"), silent, rule_for("far", r#"{"source": ["far"]}"#, vec![])]);
    assert_eq!(platform.buses.take_counts(), BusCounts::default());
    platform.buses.put(vec![event("1"), event("2")]).await.unwrap();
    platform.put(event("2")).await;
    platform.put(BusEvent { bus: "other".parse().unwrap(), ..event("3") }).await;
    let counted = platform.buses.take_counts();
    let of = |name: &str| name.parse::<QualifiedName>().unwrap();
    assert_eq!(counted.put, BTreeMap::from([(of("default/default"), 2), (of("default/other"), 1)]));
    assert_eq!(counted.matched, BTreeMap::from([(of("default/orders"), 2), (of("default/silent"), 2)]));
    assert_eq!(platform.buses.take_counts(), BusCounts::default());
}

/// A thousand rules that all ask what is in one array.
fn costly_rules() -> Vec<Arc<EventRuleSpec>> {
    let pattern = r#"{"detail": {"a": {"x": [{"exists": true}], "y": ["b"]}}}"#;
    (0..1_000).map(|number| rule_for(&format!("r{number}"), pattern, vec![])).collect()
}

/// An event with so many elements in that array, of which the last is what they ask for.
fn wide(count: usize) -> BusEvent {
    let elements = vec![r#"{"x":1,"y":1}"#; count].join(",");
    let detail = format!(r#"{{"a":[{elements},{{"x":2,"y":"b"}}]}}"#);
    BusEvent { detail: detail.into(), ..event(&count.to_string()) }
}

#[tokio::test]
async fn what_takes_long_to_match_holds_up_nothing_and_comes_though_nobody_waits_for_it() {
    let world = World::new();
    let mut rules = costly_rules();
    rules.push(rule_to("work"));
    let mut platform = world.start(&rules);
    let mut put = Box::pin(platform.buses.put(vec![event("short")]));
    assert!(futures::poll!(put.as_mut()).is_pending());
    assert_eq!(platform.buses.stats().events, 1, "it is matched at once");
    put.await.unwrap();
    assert_eq!(platform.tried_events(1).await, ["short"]);
    {
        let mut put = Box::pin(platform.buses.put(vec![wide(100)]));
        assert!(futures::poll!(put.as_mut()).is_pending());
        // This thread is the only one of the runtime's: had it matched the event, that would be in.
        assert_eq!(platform.buses.stats().events, 1);
    }
    assert_eq!(platform.tried_events(1).await, ["100"]);
    assert_eq!(platform.buses.take_counts().matched.len(), 1_001);
    // Who puts it again waits for it, and it is in once.
    let puts = (0..4).map(|_| platform.buses.put(vec![wide(200)]));
    for outcome in futures::future::join_all(puts).await {
        outcome.unwrap();
    }
    assert_eq!(platform.tried_events(1).await, ["200"]);
    platform.settle().await;
    assert_eq!(platform.buses.stats().delivered, 3);
}

#[tokio::test]
async fn an_event_that_costs_too_much_to_match_is_refused() {
    let world = World::new();
    let platform = world.start(&costly_rules());
    platform.put(wide(100)).await;
    let error = platform.buses.put(vec![wide(10_000)]).await.unwrap_err();
    assert!(matches!(&error, BusError::Invalid(why) if why.contains("shorter arrays")), "{error}");
    // None of these does, all together do.
    let many = (100..200).map(wide).collect();
    let error = platform.buses.put(many).await.unwrap_err();
    assert!(matches!(&error, BusError::Invalid(why) if why.contains("put fewer of them")), "{error}");
    assert_eq!(platform.buses.take_counts().matched.len(), 1_000);
    assert_eq!(platform.buses.stats().events, 1);
}

#[tokio::test]
async fn ten_thousand_rules_and_one_that_takes_it() {
    let world = World::new();
    let rule = |number: usize| {
        let pattern = format!(r#"{{"source": ["app"], "detail": {{"id": ["{number}"]}}}}"#);
        rule_for(&format!("r{number}"), &pattern, vec![target("work")])
    };
    let rules: Vec<_> = (0..10_000).map(rule).collect();
    let mut platform = world.start(&rules);
    platform.put(event("7777")).await;
    assert_eq!(platform.tried().await.origin.to_string(), "default/r7777");
    // All but one are as they were.
    let mut changed = rules.clone();
    changed[7_777] = rule_to("work");
    platform.buses.set_rules(changed);
    platform.put(event("42")).await;
    let mut origins =
        vec![platform.tried().await.origin.to_string(), platform.tried().await.origin.to_string()];
    origins.sort();
    assert_eq!(origins, ["default/orders", "default/r42"]);
}

/// A disk that is full while it is told to be.
#[derive(Default)]
struct Narrow {
    is_full: AtomicBool,
}

impl Drive for Narrow {
    fn write(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        if self.is_full.load(Ordering::SeqCst) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        OsDrive.write(file, bytes, offset)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        OsDrive.sync(file)
    }
}

#[test]
fn too_much_that_waits_is_neither_a_full_disk_nor_a_broken_one() {
    assert!(matches!(storage(LogError::Busy), BusError::DiskBusy));
    assert!(matches!(storage(LogError::Full), BusError::DiskFull));
    assert!(matches!(storage(LogError::Closed), BusError::Storage(_)));
}

#[tokio::test]
async fn what_finds_no_room_on_the_disk_never_came() {
    let world = World::new();
    let disk = Arc::new(Narrow::default());
    let buses = world.open_on(disk.clone());
    buses.set_rules(vec![rule_to("work")]);
    let mut platform = Platform::start(buses);
    platform.put(keyed("1", "a")).await;
    disk.is_full.store(true, Ordering::SeqCst);
    // The second waits for the first, and the third behind both.
    let puts = ["2", "2", "3"].map(|id| platform.buses.put(vec![keyed(id, "a")]));
    for outcome in futures::future::join_all(puts).await {
        assert!(matches!(outcome, Err(BusError::DiskFull)), "{outcome:?}");
    }
    platform.settle().await;
    assert_eq!(platform.buses.stats().events, 1);
    disk.is_full.store(false, Ordering::SeqCst);
    platform.put(keyed("3", "a")).await;
    platform.put(keyed("2", "a")).await;
    assert_eq!(platform.tried_events(3).await, ["1", "3", "2"]);
}

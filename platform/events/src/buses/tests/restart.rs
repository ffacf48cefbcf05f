//! What outlives the platform, wherever it ends.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeSet;

#[test]
fn what_has_no_outcome_is_delivered_again_and_what_has_is_not() {
    let world = World::new();
    live(async {
        let mut platform = world.start(&[rule_to("work")]);
        platform.put(event("done")).await;
        platform.tried().await;
        platform.settle().await;
        platform.fake.shut("work");
        platform.put(event("under-way")).await;
        platform.tried().await;
        platform.kill().await;
    });
    live(async {
        let mut platform = world.start(&[rule_to("work")]);
        let attempt = platform.tried().await;
        assert_eq!((attempt.event.as_ref(), attempt.number), (&event("under-way"), 1));
        assert_eq!(attempt.payload, r#"{"id":"under-way"}"#.as_bytes());
        platform.settle().await;
        assert!(platform.tried.try_recv().is_err(), "something else was tried");
        platform.stop().await;
    });
    live(async {
        let platform = world.start(&[rule_to("work")]);
        assert_eq!(platform.buses.stats().waiting, 0);
    });
}

#[test]
fn nothing_is_delivered_before_the_start_or_after_the_drain() {
    let world = World::new();
    let ids = live(async {
        let buses = world.open();
        buses.set_rules(vec![rule_to("work")]);
        buses.put(vec![event("1")]).await.unwrap();
        let mut platform = Platform::start(buses);
        let id = platform.tried().await.id;
        platform.settle().await;
        platform.drain.begin();
        assert!(platform.drain.finish(std::time::Duration::from_secs(60)).await);
        platform.put(event("2")).await;
        assert_eq!(platform.buses.stats().waiting, 1);
        assert!(platform.tried.try_recv().is_err());
        platform.stop().await;
        id
    });
    live(async {
        let mut platform = world.start(&[rule_to("work")]);
        let attempt = platform.tried().await;
        assert_eq!(attempt.event.id.as_ref(), "2");
        assert_ne!(attempt.id, ids);
    });
}

#[test]
fn what_came_before_a_restart_is_known_after_it() {
    let world = World::new();
    live(async {
        let platform = world.start(&[rule_to("work")]);
        platform.put(event("1")).await;
        platform.settle().await;
        platform.stop().await;
    });
    world.pass(4 * MINUTE_MS);
    live(async {
        let platform = world.start(&[rule_to("work")]);
        platform.put(event("1")).await;
        platform.settle().await;
        assert_eq!(platform.buses.stats().events, 0);
        world.pass(MINUTE_MS);
        platform.put(event("1")).await;
        assert_eq!(platform.buses.stats().events, 1);
        platform.settle().await;
        platform.stop().await;
    });
}

/// A time of a schedule, as it is put each time.
fn time(number: u64) -> NewDelivery {
    let id = format!("time-{number}");
    NewDelivery {
        id: id.as_str().into(),
        origin: "default/nightly".parse().unwrap(),
        event: keyed(&id, "nightly"),
        target: target("report"),
    }
}

fn open_times(numbers: &[u64]) -> Vec<(QualifiedName, Arc<str>)> {
    let of = |number: &u64| ("default/nightly".parse().unwrap(), format!("time-{number}").into());
    numbers.iter().map(of).collect()
}

#[test]
fn a_time_of_a_schedule_happens_once_however_long_the_platform_is_down_and_whatever_the_clock_does() {
    let world = World::with_limits(|limits| limits.segment_bytes = 1);
    live(async {
        let mut platform = world.start(&[rule_to("work")]);
        platform.buses.put_deliveries(vec![time(1), time(2)]).await.unwrap();
        assert_eq!(platform.tried_events(2).await, ["time-1", "time-2"]);
        platform.settle().await;
        platform.stop().await;
    });
    for minutes in [10, 60 * 24] {
        world.pass(minutes * MINUTE_MS);
        live(async {
            let mut platform = world.start(&[rule_to("work")]);
            // Others come, and the log forgets what nobody needs; the clock leaps.
            platform.put(event(&format!("other-{minutes}"))).await;
            world.pass(30 * MINUTE_MS);
            platform.put(event(&format!("another-{minutes}"))).await;
            platform.buses.inner.forget();
            platform.buses.put_deliveries(vec![time(1), time(2)]).await.unwrap();
            platform.settle().await;
            for _ in 0..2 {
                assert_eq!(platform.tried().await.target.id.as_str(), "work");
            }
            assert!(platform.tried.try_recv().is_err(), "a time happened twice");
            platform.stop().await;
        });
    }
    live(async {
        let mut platform = world.start(&[]);
        // What nobody can know of the schedule now may come again.
        let unknown = BTreeSet::from(["default/nightly".parse().unwrap()]);
        platform.buses.settle_deliveries(vec![], unknown);
        platform.buses.put_deliveries(vec![time(1), time(2)]).await.unwrap();
        platform.settle().await;
        assert!(platform.tried.try_recv().is_err(), "a time happened twice");
        platform.buses.settle_deliveries(open_times(&[2]), BTreeSet::new());
        // What was noted nobody puts again; it is as if it had never been.
        platform.buses.put_deliveries(vec![time(2)]).await.unwrap();
        platform.buses.put_deliveries(vec![time(1)]).await.unwrap();
        assert_eq!(platform.tried_events(1).await, ["time-1"]);
        platform.settle().await;
    });
}

#[test]
fn what_was_taken_in_is_known_where_nothing_more_is_taken_in() {
    let world = World::with_limits(|limits| limits.waiting_max = 2);
    live(async {
        let buses = world.open();
        buses.put_deliveries(vec![time(1), time(2)]).await.unwrap();
        assert!(matches!(buses.put_deliveries(vec![time(3)]).await, Err(BusError::Busy(2))));
        buses.put_deliveries(vec![time(1), time(2)]).await.unwrap();
        assert_eq!(buses.stats().waiting, 2);
    });
}

/// A drive that keeps the first so many bytes of a write, as a kill amid it would.
#[derive(Default)]
struct Killed {
    keeps: Mutex<Option<usize>>,
}

impl Drive for Killed {
    fn write(&self, file: &std::fs::File, bytes: &[u8], offset: u64) -> std::io::Result<()> {
        let keeps = self.keeps.lock().unwrap().unwrap_or(bytes.len()).min(bytes.len());
        OsDrive.write(file, &bytes[..keeps], offset)?;
        if keeps < bytes.len() { Err(std::io::Error::other("killed")) } else { Ok(()) }
    }

    fn sync(&self, file: &std::fs::File) -> std::io::Result<()> {
        OsDrive.sync(file)
    }
}

#[test]
fn of_a_put_that_a_crash_cuts_off_nothing_is_there() {
    let padded = |id: &str| BusEvent { detail: format!("\"{}\"", "x".repeat(2_000)).into(), ..event(id) };
    for keeps in [0, 700, 2_500, 5_000] {
        let world = World::new();
        live(async {
            let drive = Arc::new(Killed::default());
            let buses = world.open_on(drive.clone());
            buses.set_rules(vec![rule_to("work")]);
            buses.put(vec![event("before")]).await.unwrap();
            *drive.keeps.lock().unwrap() = Some(keeps);
            let put = buses.put(vec![padded("1"), padded("2"), padded("3")]).await;
            assert!(matches!(put, Err(BusError::Storage(_))), "{put:?}");
            buses.close().await;
        });
        live(async {
            let buses = world.open();
            buses.set_rules(vec![rule_to("work")]);
            assert_eq!(buses.stats().waiting, 1, "after {keeps} bytes");
            buses.put(vec![padded("4"), padded("5")]).await.unwrap();
            buses.close().await;
        });
        live(async {
            let mut platform = world.start(&[rule_to("work")]);
            assert_eq!(platform.tried_events(3).await, ["before", "4", "5"]);
            platform.settle().await;
            platform.put(padded("2")).await;
            assert_eq!(platform.tried_events(1).await, ["2"]);
            platform.settle().await;
        });
    }
}

#[test]
fn tries_are_counted_over_restarts() {
    let world = World::new();
    let retry = RetryPolicy { retries_max: 2, ..RetryPolicy::default() };
    let dead_letter = Some("lost".parse().unwrap());
    let rules = [rule("orders", vec![EventTarget { retry, dead_letter, ..target("work") }])];
    for number in 1..=3 {
        live(async {
            let buses = world.open();
            buses.set_rules(rules.to_vec());
            let mut platform = Platform::start(buses);
            platform.fake.answer("work", [failed()]);
            // The third is its last, and its dead letter is not taken.
            platform.fake.burials.lock().unwrap().extend([failed()]);
            platform.put(event("1")).await;
            assert_eq!(platform.tried().await.number, number);
            while platform.buses.stats().retried == 0 {
                tokio::task::yield_now().await;
            }
            platform.kill().await;
        });
        world.pass(MINUTE_MS);
    }
    live(async {
        let mut platform = world.start(&rules);
        let (_, attempt, why) = platform.buried.recv().await.unwrap();
        assert_eq!((attempt.number, Err(why)), (3, failed()));
        platform.settle().await;
        assert!(platform.tried.try_recv().is_err(), "it was tried again");
    });
}

#[test]
fn events_that_are_not_held_in_memory_are_read_again() {
    let world = World::with_limits(|limits| limits.held_bytes_max = 0);
    live(async {
        let mut platform = world.start(&[rule_to("work")]);
        for number in 0..50 {
            platform.put(event(&number.to_string())).await;
        }
        let mut seen = BTreeSet::new();
        for _ in 0..50 {
            let attempt = platform.tried().await;
            assert_eq!(*attempt.event, event(&attempt.event.id));
            seen.insert(attempt.event.id.to_string());
        }
        assert_eq!(seen.len(), 50);
    });
}

/// Some old events that nobody takes, among thousands that are over.
#[test]
fn a_log_that_old_events_keep_is_written_anew() {
    let world = World::with_limits(|limits| {
        limits.segment_bytes = 1 << 20;
        limits.compact_bytes_min = 4 << 20;
    });
    let stuck = rule_for("stuck", r#"{"detail": {"id": [{"prefix": "stuck-"}]}}"#, vec![target("stuck")]);
    let quick = rule_for("quick", r#"{"detail": {"id": [{"prefix": "quick-"}]}}"#, vec![target("quick")]);
    let padded = |id: String| {
        let detail = format!(r#"{{"id":"{id}","padding":"{}"}}"#, "x".repeat(100_000));
        BusEvent { detail: detail.into(), order_key: Some("same".into()), ..event(&id) }
    };
    let rules = [stuck, quick];
    live(async {
        let platform = world.start(&rules);
        platform.fake.shut("stuck");
        for number in 0..100 {
            if number < 3 {
                platform.put(padded(format!("stuck-{number}"))).await;
            }
            platform.put(padded(format!("quick-{number}"))).await;
        }
        while platform.buses.stats().delivered < 100 {
            tokio::task::yield_now().await;
        }
        let inner = &platform.buses.inner;
        let kept = || inner.log.end().0 - inner.log.first().0;
        let before = kept();
        inner.compact().await;
        assert_eq!(kept(), before, "what came of late was forgotten");
        world.pass(6 * MINUTE_MS);
        inner.compact().await;
        while kept() > before / 2 {
            // The log's own thread deletes what is not needed.
            tokio::task::yield_now().await;
        }
        platform.put(padded("stuck-3".to_owned())).await;
        platform.kill().await;
    });
    live(async {
        let mut platform = world.start(&rules);
        for number in 0..4 {
            let attempt = platform.tried().await;
            assert_eq!(
                *attempt.event,
                padded(format!("stuck-{number}")),
                "out of order, or not what was put"
            );
        }
        platform.settle().await;
        platform.stop().await;
    });
    live(async {
        assert_eq!(world.open().stats().waiting, 0);
    });
}

/// What happens in one life of a platform.
#[derive(Debug, Clone)]
struct Life {
    /// Events that are put, by their order keys.
    puts: Vec<u8>,
    /// What the target answers: whether it takes it.
    answers: Vec<bool>,
    /// It is killed after so many tries.
    tries: usize,
}

fn lives() -> impl Strategy<Value = Vec<Life>> {
    let life = (
        proptest::collection::vec(0..3_u8, 0..8),
        proptest::collection::vec(any::<bool>(), 0..8),
        0..12_usize,
    )
        .prop_map(|(puts, answers, tries)| Life { puts, answers, tries });
    proptest::collection::vec(life, 1..5)
}

/// What was tried in one life, in order: an event's number and its order key.
type Tried = Vec<(usize, u8)>;

/// How often nothing has to be under way for a life to be over before its time.
const LOOKS_MAX: usize = 100;

fn all_tried(platform: &mut Platform) -> Tried {
    let parsed = |attempt: Attempt| {
        let (number, key) = attempt.event.id.split_once(' ').unwrap();
        (number.parse().unwrap(), key.parse().unwrap())
    };
    std::iter::from_fn(|| platform.tried.try_recv().ok()).map(parsed).collect()
}

async fn one_life(world: &World, life: &Life, next: &mut usize) -> Tried {
    let mut platform = world.start(&[rule_to("work")]);
    let answers = life.answers.iter().map(|is_taken| if *is_taken { Ok(()) } else { failed() });
    platform.fake.answer("work", answers);
    for key in &life.puts {
        platform.put(keyed(&format!("{next} {key}"), &key.to_string())).await;
        *next += 1;
    }
    let mut looks = 0;
    while platform.tried.len() < life.tries && looks < LOOKS_MAX {
        // Some may wait for their next try for longer than this test does.
        looks = if platform.buses.stats().under_way == 0 { looks + 1 } else { 0 };
        tokio::task::yield_now().await;
    }
    platform.buses.close().await;
    all_tried(&mut platform)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn whenever_it_is_killed_all_is_delivered_and_in_order(lives in lives()) {
        let world = World::new();
        let mut next = 0;
        let mut tried = Vec::new();
        for life in &lives {
            tried.push(live(one_life(&world, life, &mut next)));
            world.pass(2 * MINUTE_MS);
        }
        // The last one lives until all is over.
        tried.push(live(async {
            let mut platform = world.start(&[rule_to("work")]);
            platform.settle().await;
            all_tried(&mut platform)
        }));
        let all: BTreeSet<usize> = tried.iter().flatten().map(|(number, _)| *number).collect();
        prop_assert_eq!(all.len(), next, "lost: {:?}", tried);
        for (life, key) in tried.iter().flat_map(|life| (0..3).map(move |key| (life, key))) {
            let of_key = life.iter().filter(|(_, other)| *other == key).map(|(number, _)| *number);
            let of_key: Vec<usize> = of_key.collect();
            prop_assert!(of_key.is_sorted(), "out of order: {:?}", of_key);
        }
    }
}

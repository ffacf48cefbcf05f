//! One of three targets turns slow, then answers badly, then is well again: how soon it has no more requests, what is lost,
//! and how soon it has its share again; haproxy by the same script.

use super::proxies::{Proxy, Started, Target, begin};
use crate::bench::load::Load;
use crate::bench::report::{Goal, Section, Table};
use crate::bench::setup::Bench;
use crate::bench::stats::number;
use serde::Serialize;
use serde_json::json;
use skiff_driver::Outcome;
use std::time::{Duration, Instant};

/// Requests a second.
const RATE: f64 = 1_000.0;
/// How long each time of the script takes: well, slowly, badly, well again; and in a quick run.
const TIMES: [Duration; 4] =
    [Duration::from_secs(4), Duration::from_secs(8), Duration::from_secs(8), Duration::from_secs(30)];
const QUICKER: u32 = 4;
/// How often the target is asked how many requests it had.
const LOOK: Duration = Duration::from_millis(50);
/// What counts as no more requests, and as its share again: parts of a third of the rate.
const GONE_PART: f64 = 0.1;
const BACK_PART: f64 = 0.5;
/// Looks in a row over which a rate is judged.
const WINDOW: usize = 6;

/// What became of the target's share of the requests.
#[derive(Debug, Serialize)]
struct Story {
    proxy: &'static str,
    /// From the change to few requests, in milliseconds, where that came to pass before the next change.
    gone_when_slow_ms: Option<f64>,
    gone_when_bad_ms: Option<f64>,
    /// From its being well again to half of its share.
    back_ms: Option<f64>,
    outcome: Outcome,
}

pub(super) fn measure(bench: &Bench) -> anyhow::Result<Section> {
    let mut section = Section {
        method: vec![format!(
            "ejection: {RATE:.0} GETs a second to three targets; one of them takes 400 ms an answer for {} s, answers 503 for \
             {} s, then is well again. Skiff as it is by default (no checks); haproxy with a check every second, \
             `observe layer7 error-limit 5 on-error mark-down`, `retry-on all-retryable-errors` and `leastconn`. Gone is who \
             has less than a tenth of its share, back who has half of it",
            TIMES[1].as_secs(),
            TIMES[2].as_secs()
        )],
        ..Section::default()
    };
    let mut stories = Vec::new();
    for proxy in [Proxy::Skiff, Proxy::Haproxy] {
        match story(bench, proxy) {
            Ok(story) => stories.push(story),
            Err(error) if proxy == Proxy::Skiff => return Err(error),
            Err(error) => section.left_out.push(format!("ejection by {}: {error:#}", proxy.name())),
        }
    }
    let ms = |value: Option<f64>| value.map_or_else(|| "never".to_owned(), number);
    let row = |story: &Story| {
        vec![
            story.proxy.to_owned(),
            ms(story.gone_when_slow_ms),
            ms(story.gone_when_bad_ms),
            ms(story.back_ms),
            format!("{} of {}: {}", story.outcome.errors.total(), story.outcome.due, story.outcome.errors),
            number(story.outcome.latency.p99_us / 1e3),
        ]
    };
    section.tables.push(Table {
        title: "A target that turns slow, answers badly, and is well again".to_owned(),
        header: vec![
            "load balancer",
            "gone when slow, ms",
            "gone when bad, ms",
            "back, ms",
            "requests lost",
            "p99 of all, ms",
        ],
        rows: stories.iter().map(row).collect(),
    });
    let ours = &stories[0];
    let lost = ours.outcome.errors.total() as f64;
    section.goals.push(Goal::at_most(
        "requests lost by a target that fails, which could be repeated",
        lost,
        0.0,
        "",
    ));
    section.data = json!(stories);
    Ok(section)
}

fn story(bench: &Bench, proxy: Proxy) -> anyhow::Result<Story> {
    let targets = [Target::start(bench)?, Target::start(bench)?, Target::start(bench)?];
    let Started { running, platform } = begin(bench, proxy, &targets)?;
    let times = TIMES.map(|time| if bench.settings.quick { time / QUICKER } else { time });
    let load = Load {
        core: Some(bench.cores.driver),
        rate: Some(RATE),
        connections: 256,
        seconds: times.iter().sum::<Duration>().as_secs_f64(),
        ..Load::new(bench, &running.address, &running.host)
    };
    let (outcome, watched) = std::thread::scope(|scope| {
        let driven = scope.spawn(|| load.run(bench));
        let watched = script(&targets[2], times);
        (driven.join().expect("the load does not panic"), watched)
    });
    let (outcome, [_, slow, bad, well]) = (outcome?, watched?);
    platform.map_or(Ok(()), |platform| platform.stop())?;
    let share = RATE / 3.0 * LOOK.as_secs_f64() * WINDOW as f64;
    let first = |counts: &[u64], is_it: &dyn Fn(f64) -> bool| {
        let windows = counts.windows(WINDOW + 1).map(|window| (window[WINDOW] - window[0]) as f64);
        let looks = windows.enumerate().find(|(_, count)| is_it(*count)).map(|(looks, _)| looks)?;
        Some(looks as f64 * LOOK.as_secs_f64() * 1e3)
    };
    let gone = |counts: &[u64]| first(counts, &|count| count < share * GONE_PART);
    let back = |counts: &[u64]| first(counts, &|count| count >= share * BACK_PART);
    let story = Story {
        proxy: proxy.name(),
        gone_when_slow_ms: gone(&slow),
        gone_when_bad_ms: gone(&bad),
        back_ms: back(&well),
        outcome,
    };
    println!(
        "{}: {:?} {:?} {:?}\n{}",
        story.proxy, story.gone_when_slow_ms, story.gone_when_bad_ms, story.back_ms, story.outcome
    );
    Ok(story)
}

/// Has the target be well, slow, bad and well again; gives how many requests it had had, look by look, at each time.
fn script(target: &Target, times: [Duration; 4]) -> anyhow::Result<[Vec<u64>; 4]> {
    let mut counts: [Vec<u64>; 4] = Default::default();
    for ((how, time), counts) in ["well", "slowly", "badly", "well"].into_iter().zip(times).zip(&mut counts) {
        target.behave(how)?;
        let began = Instant::now();
        for look in 0.. {
            let due = LOOK * look;
            if due >= time {
                break;
            }
            std::thread::sleep(due.saturating_sub(began.elapsed()));
            counts.push(target.requests()?);
        }
    }
    Ok(counts)
}

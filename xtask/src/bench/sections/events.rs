//! Events: how long after it was put the task that one starts executes its first instruction, and what it costs to put one on a bus
//! with many rules.

use super::parts::{self, Measure};
use crate::bench::disk;
use crate::bench::http::Connection;
use crate::bench::processes::cpu;
use crate::bench::report::{Goal, Section, Table};
use crate::bench::setup::{Bench, guest};
use crate::bench::stats::{Spread, number, quantile};
use crate::platform::Platform;
use anyhow::{Context, bail};
use serde_json::{Value, json};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Events that are timed after these, and of a quick run.
const WARM_UP: usize = 20;
const EVENTS: usize = 500;
const EVENTS_QUICK: usize = 50;
/// What is asked for beyond one sync, in microseconds.
const ABOVE_SYNC_US_MAX: f64 = 300.0;
/// Rules on a bus.
const RULES: [usize; 2] = [10, 10_000];
/// Calls of 100 events in a round.
const CALLS: usize = 200;
const CALLS_QUICK: usize = 20;
const EVENTS_IN_CALL: usize = 100;
/// How often it is looked whether a task has begun: seldom enough that it takes nothing from the task.
const LOOK: Duration = Duration::from_millis(2);
/// How long anything may take that is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

const PARTS: [(&str, Measure); 2] = [("event-to-task", to_task), ("many-event-rules", many_rules)];

pub(crate) fn measure(bench: &Bench) -> anyhow::Result<Section> {
    parts::measure(bench, "Events", &PARTS)
}

/// Puts events, in the form of CloudEvents.
fn put(connection: &mut Connection, events: &[Value]) -> anyhow::Result<()> {
    let body = Value::from(events).to_string();
    connection.post("buses/default/events", "application/cloudevents-batch+json", &body).map(drop)
}

fn event(id: &str, source: &str, data: &Value) -> Value {
    json!({ "specversion": "1.0", "id": id, "source": source, "type": "Measured", "data": data })
}

/// From just before the call to the first instruction, as both clocks of this machine say.
fn to_task(bench: &Bench) -> anyhow::Result<Section> {
    let events = if bench.settings.quick { EVENTS_QUICK } else { EVENTS };
    let (platform, _) = bench.platform(None, &[], &[])?;
    let component = guest("stamp");
    platform.skiff_output(&["image", "push", &component.to_string_lossy(), "--name", "stamp"])?;
    platform.skiff_output(&["table", "create", "stamps"])?;
    platform.skiff_output(&["role", "put", "stamp", "--allow", "table:write stamps"])?;
    let agent = ureq::Agent::new_with_defaults();
    platform.register(&agent, &json!({ "family": "stamp", "image": "stamp:latest", "role": "stamp" }))?;
    let target = json!({ "id": "stamp", "to": { "task": { "definition": "stamp" } } });
    let rule = json!({ "pattern": { "source": ["bench"] }, "targets": [target] });
    platform.put(&agent, "event-rules/stamp", &rule)?;

    let mut connection = Connection::open(&platform)?;
    let mut us = Vec::with_capacity(events);
    for trial in 0..WARM_UP + events {
        let key = format!("t{trial}");
        let sent_ns = SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos();
        put(&mut connection, &[event(&key, "bench", &json!({ "key": key }))])?;
        let began_ns = stamp(&mut connection, &key)?;
        if trial >= WARM_UP {
            us.push((began_ns as f64 - sent_ns as f64) / 1e3);
        }
    }
    platform.stop()?;
    // An event's sync comes after a pause, too.
    let syncs = disk::syncs_us(bench.folder(), LOOK)?;
    let syncs_in_turn = disk::syncs_us(bench.folder(), Duration::ZERO)?;
    let (p50, p99) = (quantile(us.iter().copied(), 0.5), quantile(us.iter().copied(), 0.99));
    let sync = quantile(syncs.iter().copied(), 0.5);
    let row = |what: &str, values: &[f64]| {
        let at = |share| number(quantile(values.iter().copied(), share));
        vec![what.to_owned(), at(0.5), at(0.99), at(1.0)]
    };
    Ok(Section {
        method: vec![format!(
            "{events} events, one after the other, each of which starts a task: from just before the call of the API, over a \
             connection that stays open, to when the component's program reads the clock"
        )],
        tables: vec![Table {
            title: "From an event to the first instruction of its task".to_owned(),
            header: vec!["what", "p50 µs", "p99 µs", "most µs"],
            rows: vec![
                row("event put, until its task executes", &us),
                row("a page and a sync of this drive, each after such a pause", &syncs),
                row("a page and a sync of this drive, one after the other", &syncs_in_turn),
            ],
        }],
        goals: vec![Goal::at_most(
            "event to first instruction, p50, above one sync",
            p50 - sync,
            ABOVE_SYNC_US_MAX,
            " µs",
        )],
        data: json!({ "p50_us": p50, "p99_us": p99, "sync_p50_us": sync, "all_us": us }),
        ..Section::default()
    })
}

/// Waits until a task has written what it saw on the clock, in nanoseconds.
fn stamp(connection: &mut Connection, key: &str) -> anyhow::Result<u128> {
    let (asked, began) = (json!({ "keys": [key] }).to_string(), Instant::now());
    loop {
        std::thread::sleep(LOOK);
        let got = connection.post("tables/stamps/get", "application/json", &asked)?;
        if let Some(stamp) = got["items"].as_array().and_then(|items| items.first()?["value"].as_str()) {
            return stamp.parse().context("a stamp is a number");
        }
        if began.elapsed() > PATIENCE {
            bail!("the task of the event {key} has not begun after {} s", PATIENCE.as_secs());
        }
    }
}

/// What an event costs that one of ten rules takes, or one of 10,000.
fn many_rules(bench: &Bench) -> anyhow::Result<Section> {
    let calls = if bench.settings.quick { CALLS_QUICK } else { CALLS };
    let mut platforms = Vec::new();
    for rules in RULES {
        let (platform, _) = bench.platform(None, &[], &[])?;
        lay_rules(&platform, rules)?;
        platforms.push((rules, platform, Vec::new()));
    }
    for round in 0..bench.settings.rounds {
        for (rules, platform, costs) in &mut platforms {
            costs.push(cost_us(platform, *rules, calls, round)?);
        }
    }
    let mut measured = Vec::new();
    for (rules, platform, costs) in platforms {
        platform.stop()?;
        measured.push((rules, Spread::of(costs)));
    }
    let ratio = measured[1].1.median / measured[0].1.median;
    let row = |(rules, cost): &(usize, Spread)| vec![rules.to_string(), cost.to_string()];
    Ok(Section {
        method: vec![format!(
            "{calls} calls of {EVENTS_IN_CALL} events in a round, each of which one of the rules takes: no two rules want the same; \
             the rule has no target, so that no delivery is in the sum. CPU is that of all processes"
        )],
        tables: vec![Table {
            title: "An event on a bus with rules".to_owned(),
            header: vec!["rules", "CPU µs per event"],
            rows: measured.iter().map(row).collect(),
        }],
        goals: vec![Goal::at_most("CPU per event, 10,000 rules by 10 rules", ratio, 2.0, "")],
        data: measured
            .iter()
            .map(|(rules, cost)| json!({ "rules": rules, "cpu_us": cost }))
            .collect::<Vec<_>>()
            .into(),
        ..Section::default()
    })
}

/// Rules that differ by what they ask of the detail.
fn lay_rules(platform: &Platform, rules: usize) -> anyhow::Result<()> {
    let agent = ureq::Agent::new_with_defaults();
    for number in 0..rules {
        let pattern = json!({ "source": ["bench"], "detail": { "tenant": [format!("t{number}")], "total": [{ "numeric": [">", 100] }] } });
        platform.put(&agent, &format!("event-rules/r{number}"), &json!({ "pattern": pattern }))?;
    }
    Ok(())
}

/// CPU of the platform's processes for each event, in microseconds.
fn cost_us(platform: &Platform, rules: usize, calls: usize, round: usize) -> anyhow::Result<f64> {
    let mut connection = Connection::open(platform)?;
    let before = cpu(platform.pid())?;
    for call in 0..calls {
        let of = |number: usize| {
            let tenant = (call * EVENTS_IN_CALL + number) % rules;
            let detail = json!({ "tenant": format!("t{tenant}"), "total": 250, "lines": [{ "sku": "a", "count": 2 }] });
            event(&format!("{round}-{call}-{number}"), "bench", &detail)
        };
        let events: Vec<Value> = (0..EVENTS_IN_CALL).map(of).collect();
        put(&mut connection, &events)?;
    }
    let used = cpu(platform.pid())?.saturating_sub(before);
    Ok(used.as_secs_f64() * 1e6 / (calls * EVENTS_IN_CALL) as f64)
}

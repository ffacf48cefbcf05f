//! A service that its queue wakes: `examples/orders`, with 100,000 orders sent at once while nobody fulfils any. When 20 tasks run,
//! whether they do again after a kill of the platform, whether each order is fulfilled, and when nobody runs again.

use crate::bench::http::Connection;
use crate::bench::report::{Goal, Section, Table};
use crate::bench::setup::{Bench, example};
use crate::bench::stats::number;
use crate::platform::Platform;
use anyhow::bail;
use serde_json::{Value, json};
use std::thread;
use std::time::{Duration, Instant};

/// Orders, and of a quick run.
const ORDERS: usize = 100_000;
const ORDERS_QUICK: usize = 10_000;
/// By how many connections they are sent, and how many in a call.
const CONNECTIONS: usize = 8;
const BATCH: usize = 10;
/// The most tasks that the example asks for, and how soon they are to run.
const TASKS: u64 = 20;
const SECONDS_MAX: f64 = 2.0;
/// What an order leaves in the table: its row, and the note that it was fulfilled.
const ITEMS_OF_ORDER: u64 = 2;
/// How long anything may take that is waited for, and how often it is looked at.
const PATIENCE: Duration = Duration::from_secs(900);
const LOOK: Duration = Duration::from_millis(20);

pub(crate) fn measure(bench: &Bench) -> anyhow::Result<Section> {
    let orders = if bench.settings.quick { ORDERS_QUICK } else { ORDERS };
    let data_dir = bench.new_data_dir();
    let start = || bench.platform_on(&data_dir, None, &[], &[]);
    let (mut platform, _) = start()?;
    for (folder, name) in [("orders", "orders"), ("fulfil", "fulfil")] {
        platform.skiff_output(&["image", "push", &example(folder).to_string_lossy(), "--name", name])?;
    }
    platform.skiff_output(&["apply", "-f", "examples/orders/orders.yaml"])?;
    wait(&platform, "nobody runs", |running, _| running == 0)?;

    let began = Instant::now();
    let (sent, first, all) = thread::scope(|scope| -> anyhow::Result<_> {
        let sending = scope.spawn(|| send(&platform, orders).map(|()| began.elapsed()));
        wait(&platform, "one task runs", |running, _| running > 0)?;
        let first = began.elapsed();
        wait(&platform, "all tasks run", |running, _| running >= TASKS)?;
        let all = began.elapsed();
        Ok((sending.join().expect("who sends does not panic")?, first, all))
    })?;
    platform.kill()?;
    let killed = Instant::now();
    platform = start()?.0;
    wait(&platform, "all tasks run again, or nothing is left", |running, left| {
        running >= TASKS || left == 0
    })?;
    let again = killed.elapsed();
    wait(&platform, "all is fulfilled", |_, left| left == 0)?;
    let fulfilled = began.elapsed();
    wait(&platform, "nobody runs again", |running, _| running == 0)?;
    let slept = began.elapsed() - fulfilled;
    let agent = ureq::Agent::new_with_defaults();
    let items = platform.look(&agent, "tables/orders")?["status"]["items"].as_u64().unwrap_or(0);
    platform.stop()?;

    let times = [
        ("the first task runs", first),
        ("20 tasks run", all),
        ("all orders are sent", sent),
        ("all orders are fulfilled, the kill among it", fulfilled),
        ("from a kill of the platform, its start among it, to 20 tasks that run", again),
        ("from the last order to no task, with a cooldown of 60 s and 10 s without anything to do", slept),
    ];
    let row = |(what, time): &(&str, Duration)| vec![(*what).to_owned(), number(time.as_secs_f64())];
    let missing = (ITEMS_OF_ORDER * orders as u64).abs_diff(items) as f64 / ITEMS_OF_ORDER as f64;
    Ok(Section {
        title: "Scaling by a queue",
        method: vec![format!(
            "{orders} orders sent by {CONNECTIONS} connections, {BATCH} in a call, to the queue of examples/orders, each of which takes \
             5 ms to fulfil; the clock begins with the first call. Scaling tracks BacklogPerTask, 100 messages for each of 0 to {TASKS} \
             tasks. The platform is killed once all tasks run"
        )],
        tables: vec![Table {
            title: "When".to_owned(),
            header: vec!["what", "s"],
            rows: times.iter().map(row).collect(),
        }],
        goals: vec![
            Goal::at_most("from no task to 20", all.as_secs_f64(), SECONDS_MAX, " s"),
            Goal::at_most("orders that were not fulfilled exactly once", missing, 0.0, ""),
        ],
        data: times
            .iter()
            .map(|(what, time)| json!({ "what": what, "s": time.as_secs_f64() }))
            .collect::<Vec<_>>()
            .into(),
        ..Section::default()
    })
}

fn send(platform: &Platform, orders: usize) -> anyhow::Result<()> {
    let order = json!({ "body": r#"{"product":"tea","cents":450}"# });
    let messages: Vec<&Value> = vec![&order; BATCH];
    let body = json!({ "messages": messages }).to_string();
    thread::scope(|scope| {
        let line = |_| {
            scope.spawn(|| -> anyhow::Result<()> {
                let mut connection = Connection::open(platform)?;
                for _ in 0..orders / BATCH / CONNECTIONS {
                    connection.post("queues/orders/messages", "application/json", &body)?;
                }
                Ok(())
            })
        };
        let lines: Vec<_> = (0..CONNECTIONS).map(line).collect();
        lines.into_iter().try_for_each(|line| line.join().expect("who sends does not panic"))
    })
}

/// Waits until something holds of how many tasks fulfil orders, and of how many messages are left.
fn wait(platform: &Platform, what: &str, holds: impl Fn(u64, u64) -> bool) -> anyhow::Result<()> {
    let (agent, began) = (ureq::Agent::new_with_defaults(), Instant::now());
    loop {
        let service = platform.look(&agent, "services/fulfil")?;
        let queue = platform.look(&agent, "queues/orders")?;
        let number = |value: &Value| value.as_u64().unwrap_or(0);
        let left = ["visible", "in_flight", "delayed"].map(|state| number(&queue["status"][state]));
        if holds(number(&service["status"]["running"]), left.iter().sum()) {
            return Ok(());
        }
        if began.elapsed() > PATIENCE {
            bail!("waited {} s in vain until {what}", PATIENCE.as_secs());
        }
        thread::sleep(LOOK);
    }
}

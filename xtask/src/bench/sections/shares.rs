//! Whether tasks on saturated cores get CPU in proportion to their units: eight spinners, from 128 to 1024 units.

use crate::bench::processes::cpu;
use crate::bench::report::{Goal, Section, Table};
use crate::bench::sections::neighbours::{cpu_seconds, deploy_spinner, start_spinner};
use crate::bench::setup::Bench;
use crate::bench::stats::{Spread, number};
use serde_json::json;
use std::thread::sleep;
use std::time::{Duration, Instant};

const SPINNERS: u32 = 8;
const UNITS_STEP: u32 = 128;
/// Requests of each at once: enough that each worker has one of every spinner's. A guest can't move from one worker to
/// another, so of a spinner with one request alone the share would be that of its worker's neighbours.
const CONNECTIONS: usize = 8;
/// Bursts are over by then.
const SETTLE: Duration = Duration::from_secs(2);

pub(crate) fn measure(bench: &Bench) -> anyhow::Result<Section> {
    let (platform, _) = bench.platform(None, &[], &[])?;
    let units: Vec<u32> = (1..=SPINNERS).map(|step| step * UNITS_STEP).collect();
    let name = |units: u32| format!("spinner-{units}");
    for units in &units {
        deploy_spinner(&platform, &name(*units), &units.to_string())?;
    }
    let spinning =
        units.iter().map(|units| start_spinner(bench, &platform, &name(*units), CONNECTIONS, None));
    let spinning = spinning.collect::<anyhow::Result<Vec<_>>>()?;
    sleep(SETTLE);
    let used = || {
        units.iter().map(|units| cpu_seconds(&platform, &name(*units))).collect::<anyhow::Result<Vec<_>>>()
    };
    let (mut rounds, mut accounts) = (Vec::new(), Vec::new());
    for _ in 0..bench.settings.rounds {
        let (before, kernel_before, started) = (used()?, cpu(platform.pid())?, Instant::now());
        sleep(Duration::from_secs_f64(bench.settings.seconds));
        let (after, kernel_after) = (used()?, cpu(platform.pid())?);
        let seconds = started.elapsed().as_secs_f64();
        let cores: Vec<f64> =
            after.iter().zip(before).map(|(after, before)| (after - before) / seconds).collect();
        let kernel_cores = (kernel_after - kernel_before).as_secs_f64() / seconds;
        accounts.push(cores.iter().sum::<f64>() / kernel_cores * 100.0);
        println!("cores used by {units:?} units: {cores:.3?}");
        rounds.push(cores);
    }
    drop(spinning);
    platform.stop()?;
    let accounts = Spread::of(accounts);

    let of_all = |cores: &[f64], place: usize| cores[place] / cores.iter().sum::<f64>();
    let total: u32 = units.iter().sum();
    let mut rows = Vec::new();
    let mut worst: f64 = 0.0;
    for (place, units) in units.iter().enumerate() {
        let due = f64::from(*units) / f64::from(total);
        let share = Spread::of(rounds.iter().map(|cores| of_all(cores, place) * 100.0));
        let off = (share.median / 100.0 / due - 1.0) * 100.0;
        worst = worst.max(off.abs());
        let cores = Spread::of(rounds.iter().map(|cores| cores[place]));
        rows.push(vec![
            units.to_string(),
            cores.to_string(),
            share.to_string(),
            number(due * 100.0),
            format!("{off:+.1}%"),
        ]);
    }
    Ok(Section {
        title: "Shares of saturated cores",
        method: vec![format!(
            "{SPINNERS} services whose guests spin, of 128 to 1024 units, with {CONNECTIONS} requests at once each, on {} \
             cores; what each used of the CPU that all of them used; and what their accounts come to of \
             what the kernel counted for all processes of the platform",
            bench.cores.count
        )],
        tables: vec![Table {
            title: "Spinners".to_owned(),
            header: vec!["units", "cores", "share %", "due %", "off"],
            rows,
        }],
        goals: vec![
            Goal::at_most("eight spinners: percent off their ratio, the worst of them", worst, 5.0, "%"),
            Goal::at_most(
                "the spinners' accounts, percent off what the kernel counted",
                (accounts.median - 100.0).abs(),
                3.0,
                "%",
            ),
        ],
        data: json!({ "units": units, "cores_by_round": rounds, "accounts_percent": accounts }),
        ..Section::default()
    })
}

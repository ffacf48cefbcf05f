//! Whether tasks on saturated cores get CPU in proportion to their units: eight spinners, from 128 to 1024 units.

use crate::bench::report::{Goal, Section, Table};
use crate::bench::sections::neighbours::{cpu_seconds, deploy_spinner, start_spinner};
use crate::bench::setup::Bench;
use crate::bench::stats::{Spread, number};
use serde_json::json;
use std::thread::sleep;
use std::time::{Duration, Instant};

const SPINNERS: u32 = 8;
const UNITS_STEP: u32 = 128;
/// Bursts are over by then.
const SETTLE: Duration = Duration::from_secs(2);

pub(crate) fn measure(bench: &Bench) -> anyhow::Result<Section> {
    let (platform, _) = bench.platform(None, &[], &[])?;
    let units: Vec<u32> = (1..=SPINNERS).map(|step| step * UNITS_STEP).collect();
    let name = |units: u32| format!("spinner-{units}");
    for units in &units {
        deploy_spinner(&platform, &name(*units), &units.to_string())?;
    }
    let spinning = units.iter().map(|units| start_spinner(bench, &platform, &name(*units), None));
    let spinning = spinning.collect::<anyhow::Result<Vec<_>>>()?;
    sleep(SETTLE);
    let used = || {
        units.iter().map(|units| cpu_seconds(&platform, &name(*units))).collect::<anyhow::Result<Vec<_>>>()
    };
    let mut rounds = Vec::new();
    for _ in 0..bench.settings.rounds {
        let (before, started) = (used()?, Instant::now());
        sleep(Duration::from_secs_f64(bench.settings.seconds));
        let after = used()?;
        let seconds = started.elapsed().as_secs_f64();
        let cores: Vec<f64> =
            after.iter().zip(before).map(|(after, before)| (after - before) / seconds).collect();
        println!("cores used by {units:?} units: {cores:.3?}");
        rounds.push(cores);
    }
    drop(spinning);
    platform.stop()?;

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
            "{SPINNERS} guests that spin, of 128 to 1024 units, on {} cores; what each used of the CPU that all of them \
             used",
            bench.cores.count
        )],
        tables: vec![Table {
            title: "Spinners".to_owned(),
            header: vec!["units", "cores", "share %", "due %", "off"],
            rows,
        }],
        goals: vec![Goal::at_most(
            "eight spinners: percent off their ratio, the worst of them",
            worst,
            5.0,
            "%",
        )],
        data: json!({ "units": units, "cores_by_round": rounds }),
        ..Section::default()
    })
}

//! What each quota costs: the platform beside itself with one of them switched off.
//!
//! `skiff` is told by `SKIFF_BENCH_WITHOUT`, a setting for this measurement alone; it refuses a name that it does not know.

use crate::bench::compare::ratio;
use crate::bench::report::{Plot, Section, Table};
use crate::bench::saturation::{Round, round, warm_up};
use crate::bench::servers::Running;
use crate::bench::setup::{Bench, deploy_example};
use crate::bench::stats::Spread;
use crate::platform::Platform;
use serde_json::json;
use skiff_plot::{Bar, bars};

/// The setting.
const WITHOUT: &str = "SKIFF_BENCH_WITHOUT";

/// A platform, with all or without something.
struct Variant {
    name: String,
    platform: Platform,
    running: Running,
    rounds: Vec<Round>,
}

pub(crate) fn measure(bench: &Bench) -> anyhow::Result<Section> {
    let mut left_out = Vec::new();
    let mut variants = vec![
        variant(bench, "with everything".to_owned(), &[], &[])?,
        variant(bench, "without the access log".to_owned(), &["--access-log", "off"], &[])?,
    ];
    for without in &bench.settings.without {
        match variant(bench, format!("without {without}"), &[], &[(WITHOUT, without)]) {
            Ok(variant) => variants.push(variant),
            Err(error) => left_out.push(format!("the cost of {without}: {error:#}")),
        }
    }
    let core = Some(bench.cores.driver);
    for variant in &variants {
        warm_up(bench, &variant.running, core)?;
    }
    for number in 1..=bench.settings.rounds {
        for variant in &mut variants {
            let result = round(bench, &variant.running, core)?;
            println!("round {number}: {}: {result:.1?}", variant.name);
            variant.rounds.push(result);
        }
    }
    let section = section(&variants, left_out)?;
    variants.into_iter().try_for_each(|variant| variant.platform.stop())?;
    Ok(section)
}

fn variant(
    bench: &Bench,
    name: String,
    arguments: &[&str],
    environment: &[(&str, &str)],
) -> anyhow::Result<Variant> {
    let (platform, _) = bench.platform(Some(bench.cores.server), arguments, environment)?;
    deploy_example(&platform, "hello")?;
    let running = Running {
        address: platform.http.clone(),
        host: "hello.localhost".to_owned(),
        pid: platform.pid(),
        _guard: None,
    };
    Ok(Variant { name, platform, running, rounds: Vec::new() })
}

fn section(variants: &[Variant], left_out: Vec<String>) -> anyhow::Result<Section> {
    let cpu = |round: &Round| round.cpu_us_per_request;
    let all = &variants[0].rounds;
    let row = |variant: &Variant| {
        let of = |value: fn(&Round) -> f64| Spread::of(variant.rounds.iter().map(value)).to_string();
        let saved = Spread::of(all.iter().zip(&variant.rounds).map(|(all, less)| cpu(all) - cpu(less)));
        let part = (1.0 - ratio((&variant.rounds, all), cpu).median) * 100.0;
        let mut row = vec![variant.name.clone(), of(|round| round.per_second), of(cpu)];
        row.extend([saved.to_string(), format!("{part:.1}%")]);
        row
    };
    let bar = |variant: &Variant| {
        let Spread { median, low, high } = Spread::of(variant.rounds.iter().map(cpu));
        Bar {
            label: variant.name.clone(),
            value: median,
            low,
            high,
            marked: variant.name == variants[0].name,
        }
    };
    let plot = bars("CPU µs per request", &variants.iter().map(bar).collect::<Vec<_>>())?;
    let data = variants.iter().map(|variant| json!({ "variant": variant.name, "rounds": variant.rounds }));
    Ok(Section {
        title: "What each quota costs",
        method: vec![
            "`hello`, saturated by a closed loop; platform on one core, driver on another; one platform for each row, \
             in interleaved rounds"
                .to_owned(),
            "what is saved is the median of the differences within rounds; a cost within its spread is not told from \
             none"
                .to_owned(),
        ],
        tables: vec![Table {
            title: "CPU per request with one thing switched off".to_owned(),
            header: vec!["skiff", "requests/s", "CPU µs per request", "saved µs", "saved"],
            rows: variants.iter().map(row).collect(),
        }],
        plots: vec![Plot { title: "CPU per request with one thing switched off".to_owned(), svg: plot }],
        left_out,
        data: data.collect::<Vec<_>>().into(),
        ..Section::default()
    })
}

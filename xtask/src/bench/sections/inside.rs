//! What the parts cost inside one thread: the Criterion benches of the crates, run and gathered.

use crate::bench::report::{Section, Table};
use crate::bench::setup::Bench;
use crate::bench::stats::number;
use crate::shell::{cargo, root, run};
use anyhow::{Context, bail};
use serde_json::{Value, json};
use std::path::Path;
use std::time::SystemTime;

pub(crate) fn measure(bench: &Bench) -> anyhow::Result<Section> {
    let started = SystemTime::now();
    let folder = root().join("target/criterion");
    let mut command = cargo("bench");
    command.args(["--workspace", "--bench", "inside"]).env("CRITERION_HOME", &folder);
    if bench.settings.quick {
        let short = ["--warm-up-time", "0.2", "--measurement-time", "0.5", "--sample-size", "10"];
        command.arg("--").args(short);
    }
    bench.cores.on(None, || run(&mut command))?;
    let mut found = Vec::new();
    collect(&folder, started, &mut found)?;
    if found.is_empty() {
        bail!("the benches ran and left nothing in {}", folder.display());
    }
    found.sort_by(|a, b| a.0.cmp(&b.0));
    let row = |(name, ns): &(String, [f64; 3])| {
        let [least, median, most] = ns.map(|ns| number(ns / 1e3));
        vec![name.clone(), median, format!("{least}–{most}")]
    };
    Ok(Section {
        title: "Inside",
        method: vec![
            "Criterion; the median of an iteration, and where it lies with 95% confidence".to_owned(),
        ],
        tables: vec![Table {
            title: "One iteration".to_owned(),
            header: vec!["what", "µs", "95%"],
            rows: found.iter().map(row).collect(),
        }],
        data: found
            .iter()
            .map(|(name, ns)| json!({ "what": name, "low_median_high_ns": ns }))
            .collect::<Vec<_>>()
            .into(),
        ..Section::default()
    })
}

/// Finds what Criterion has written since: in each bench's folder `new/`, what it is called and what it showed.
fn collect(folder: &Path, since: SystemTime, found: &mut Vec<(String, [f64; 3])>) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(folder).with_context(|| format!("{} can't be read", folder.display()))? {
        let path = entry?.path();
        let estimates = path.join("new/estimates.json");
        if estimates.is_file() && std::fs::metadata(&estimates)?.modified()? >= since {
            let read =
                |path: &Path| -> anyhow::Result<Value> { Ok(serde_json::from_slice(&std::fs::read(path)?)?) };
            let name = read(&path.join("new/benchmark.json"))?["full_id"].as_str().map(str::to_owned);
            let median = &read(&estimates)?["median"];
            let interval = &median["confidence_interval"];
            let ns = [&interval["lower_bound"], &median["point_estimate"], &interval["upper_bound"]];
            let [Some(low), Some(middle), Some(high)] = ns.map(Value::as_f64) else {
                bail!("{} has no median", estimates.display());
            };
            found.push((name.context("a bench has a name")?, [low, middle, high]));
        } else if path.is_dir() {
            collect(&path, since, found)?;
        }
    }
    Ok(())
}

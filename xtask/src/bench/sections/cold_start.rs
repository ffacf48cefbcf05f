//! Cold starts by stage, as `skiff bench cold-start` measures them.

use crate::bench::report::{Goal, Plot, Section, Table};
use crate::bench::setup::{Bench, example};
use crate::bench::stats::{number, quantile};
use anyhow::Context;
use serde_json::{Value, json};
use skiff_plot::{Curve, curves};

/// The components that are measured.
const EXAMPLES: [&str; 2] = ["hello", "hello-p3"];
/// The stages of a request to a task without a sandbox, by their field.
const REQUEST_STAGES: [(&str, &str); 5] = [
    ("load_ns", "load native code from disk"),
    ("instantiate_ns", "make a sandbox"),
    ("first_byte_ns", "guest until first byte"),
    ("cold_request_ns", "request, no sandbox alive"),
    ("warm_request_ns", "request, sandbox alive"),
];
/// The stages of a deploy.
const DEPLOY_STAGES: [(&str, &str); 5] = [
    ("push_ns", "push"),
    ("register_ns", "check, compile, register"),
    ("serve_ns", "start until it serves"),
    ("first_answer_ns", "first request"),
    ("total_ns", "pushed bytes to first answer"),
];

type Stages = Vec<(String, Vec<f64>)>;

pub(crate) fn measure(bench: &Bench) -> anyhow::Result<Section> {
    let (platform, _) = bench.platform(Some(bench.cores.server), &[], &[])?;
    let mut section = Section {
        title: "Cold starts by stage",
        method: vec![
            format!(
                "`skiff bench cold-start FILE.wasm --requests {} --deploys {}`; the platform on one core",
                bench.settings.cold_starts, bench.settings.deploys
            ),
            "\"cold above warm\" is the difference within a pair of requests, one to a task without a sandbox, one to \
             a task with one"
                .to_owned(),
        ],
        ..Section::default()
    };
    let mut data = serde_json::Map::new();
    for name in EXAMPLES {
        let (requests, deploys) =
            (bench.settings.cold_starts.to_string(), bench.settings.deploys.to_string());
        let file = example(name);
        let arguments = ["bench", "cold-start", &file.to_string_lossy(), "--requests", &requests];
        let text = platform
            .skiff_output(&[&arguments[..], &["--deploys", &deploys, "--output", "json"]].concat())?;
        let mut report: Value = serde_json::from_str(&text)?;
        // Where it lay on this machine is nobody's concern.
        report["source"] = json!(name);
        add(&mut section, name, &report)?;
        data.insert(name.to_owned(), report);
    }
    platform.stop()?;
    section.data = data.into();
    Ok(section)
}

fn add(section: &mut Section, name: &str, report: &Value) -> anyhow::Result<()> {
    let mut requests = stages(&report["request_samples"], &REQUEST_STAGES)?;
    requests.push(("cold above warm".to_owned(), above(&requests[3].1, &requests[4].1)));
    let parts = [&requests[0].1, &requests[1].1, &requests[2].1];
    let from_disk: Vec<f64> =
        (0..parts[0].len()).map(|index| parts.iter().map(|part| part[index]).sum()).collect();
    requests.push(("native code on disk to first byte".to_owned(), from_disk));
    let deploys = stages(&report["deploy_samples"], &DEPLOY_STAGES)?;
    if name == "hello" {
        let at = |stage: usize, share| quantile(requests[stage].1.iter().copied(), share);
        let what = "`hello`: a cold sandbox above a warm one";
        section.goals.push(Goal::at_most(format!("{what}, p50"), at(5, 0.5), 25.0, " µs"));
        section.goals.push(Goal::at_most(format!("{what}, p99"), at(5, 0.99), 150.0, " µs"));
        let what = "`hello`: native code on disk to first byte, p50";
        section.goals.push(Goal::at_most(what, at(6, 0.5), 500.0, " µs"));
    }
    section.tables.push(table(format!("`{name}`, requests"), &requests));
    section.tables.push(table(format!("`{name}`, deploys"), &deploys));
    let lines: Vec<Curve> =
        requests.iter().map(|(title, values)| Curve::of_samples(title, values.iter().copied())).collect();
    section.plots.push(Plot { title: format!("{name}: requests by stage"), svg: curves("µs", &lines)? });
    Ok(())
}

/// The stages' samples, in microseconds.
fn stages(samples: &Value, stages: &[(&str, &str)]) -> anyhow::Result<Stages> {
    let samples =
        samples.as_array().filter(|samples| !samples.is_empty()).context("a report with samples")?;
    let of = |(field, title): &(&str, &str)| {
        let values = samples.iter().map(|sample| Some(sample[*field].as_f64()? / 1e3));
        let values = values.collect::<Option<_>>().with_context(|| format!("samples with {field:?}"))?;
        Ok(((*title).to_owned(), values))
    };
    stages.iter().map(of).collect()
}

/// By how much one is above the other, pair by pair; not below 0.
fn above(cold: &[f64], warm: &[f64]) -> Vec<f64> {
    cold.iter().zip(warm).map(|(cold, warm)| (cold - warm).max(0.0)).collect()
}

fn table(title: String, stages: &Stages) -> Table {
    let row = |(title, values): &(String, Vec<f64>)| {
        let at = |share| number(quantile(values.iter().copied(), share));
        vec![title.clone(), at(0.5), at(0.9), at(0.99), at(1.0)]
    };
    let header = vec!["stage", "p50 µs", "p90 µs", "p99 µs", "most µs"];
    Table { title, header, rows: stages.iter().map(row).collect() }
}

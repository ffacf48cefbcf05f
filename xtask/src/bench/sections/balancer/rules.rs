//! What it costs to choose among ten thousand rules instead of ten.

use crate::bench::load::Load;
use crate::bench::processes;
use crate::bench::report::{Goal, Section, Table};
use crate::bench::setup::Bench;
use crate::bench::stats::Spread;
use crate::platform::Platform;
use serde_json::json;

/// Rules that there are to be, and in a quick run.
const MANY: u32 = 10_000;
const MANY_QUICKLY: u32 = 500;
const FEW: u32 = 10;

pub(super) fn measure(bench: &Bench) -> anyhow::Result<Section> {
    let many = if bench.settings.quick { MANY_QUICKLY } else { MANY };
    let mut platforms = Vec::new();
    for count in [FEW, many] {
        let (platform, _) = bench.platform(Some(bench.cores.server), &[], &[])?;
        fill(&platform, count)?;
        platforms.push((count, platform));
    }
    let mut rounds: [Vec<f64>; 2] = Default::default();
    for _ in 0..=bench.settings.rounds {
        for (rounds, (count, platform)) in rounds.iter_mut().zip(&platforms) {
            let cpu_us = round(bench, platform, *count)?;
            println!("{count} rules: {cpu_us:.2} µs of CPU per request");
            rounds.push(cpu_us);
        }
    }
    // The first of each warmed it up.
    let [few, of_many] = rounds.map(|rounds| rounds[1..].to_vec());
    let more = Spread::of(few.iter().zip(&of_many).map(|(few, many)| many - few));
    let row =
        |count: u32, rounds: &[f64]| vec![count.to_string(), Spread::of(rounds.iter().copied()).to_string()];
    for (_, platform) in platforms {
        platform.stop()?;
    }
    Ok(Section {
        method: vec![
            "rules: half of them ask for a host and a path, half for a header and a path; the request is for the last of \
             them, whose fixed answer it gets. All of a request is counted, in interleaved rounds"
                .to_owned(),
        ],
        tables: vec![Table {
            title: "A request for the last of so many rules".to_owned(),
            header: vec!["rules", "CPU µs per request"],
            rows: vec![row(FEW, &few), row(many, &of_many)],
        }],
        goals: vec![Goal::at_most(
            format!("choosing one of {many} rules instead of {FEW}: CPU per request more"),
            more,
            3.0,
            " µs",
        )],
        data: json!({ "few": few, "many": of_many }),
        ..Section::default()
    })
}

/// Makes that many rules; that with the last priority takes what [`round`] asks for.
fn fill(platform: &Platform, count: u32) -> anyhow::Result<()> {
    let agent = ureq::Agent::new_with_defaults();
    let bearer = format!("Bearer {}", platform.token);
    for number in 1..=count {
        let first = match number % 2 {
            0 => format!("host=h{number}.example"),
            _ => format!("header:x-tenant=t{number}"),
        };
        let rule = json!({
            "priority": number,
            "conditions": [first, format!("path=/p{number}/*")],
            "action": { "fixed_response": { "status": 200 } },
        });
        let url = format!("{}/v1/namespaces/default/rules/r{number}", platform.api);
        agent.put(url).header("authorization", &bearer).send_json(rule)?;
    }
    Ok(())
}

fn round(bench: &Bench, platform: &Platform, count: u32) -> anyhow::Result<f64> {
    let load = Load {
        core: Some(bench.cores.driver),
        path: format!("/p{count}/items"),
        ..Load::new(bench, &platform.http, &format!("h{count}.example"))
    };
    let before = processes::cpu(platform.pid())?;
    let outcome = load.run_soundly(bench)?;
    let cpu = processes::cpu(platform.pid())? - before;
    Ok(cpu.as_secs_f64() * 1e6 / outcome.answered as f64)
}

//! The network between tasks: what a call from one to another costs, what a stream carries for it, how many connections fit,
//! how soon a rule takes effect, and what the neighbour of who attacks it all feels.
//!
//! Each part has platforms of its own; `--only` chooses some by their names. A part that fails is named in the report with
//! its reason, counts as a bar that was missed, and the others go on.

mod attacker;
mod calls;
mod connections;
mod programs;
mod rules;
mod streams;

use crate::bench::report::{Goal, Section};
use crate::bench::setup::Bench;
use anyhow::bail;

/// What measures a part: its tables, bars and so on, for the section to take over.
type Measure = fn(&Bench) -> anyhow::Result<Section>;

const PARTS: [(&str, Measure); 5] = [
    ("calls", calls::measure),
    ("streams", streams::measure),
    ("connections", connections::measure),
    ("rules", rules::measure),
    ("attacker", attacker::measure),
];

pub(crate) fn measure(bench: &Bench) -> anyhow::Result<Section> {
    let only = bench.settings.only.as_deref();
    let mut all = Section { title: "The network between tasks", ..Section::default() };
    let mut data = serde_json::Map::new();
    let mut failed: u32 = 0;
    for (name, measure) in PARTS.into_iter().filter(|(name, _)| only.is_none_or(|only| name.contains(only))) {
        println!("\n-- {name}");
        match measure(bench) {
            Ok(part) => {
                all.method.extend(part.method);
                all.tables.extend(part.tables);
                all.plots.extend(part.plots);
                all.goals.extend(part.goals);
                all.losses.extend(part.losses);
                all.left_out.extend(part.left_out);
                data.insert(name.to_owned(), part.data);
            }
            Err(error) => {
                let reason = format!("{name}: it failed: {error:#}");
                eprintln!("error: {reason}");
                all.left_out.push(reason);
                failed += 1;
            }
        }
    }
    if all.tables.is_empty() {
        let names = PARTS.map(|(name, _)| name).join(", ");
        bail!("nothing of {names} was measured: {}", all.left_out.join("; "));
    }
    all.goals.push(Goal::at_most(
        "parts of the network that could not be measured",
        f64::from(failed),
        0.0,
        "",
    ));
    all.data = data.into();
    Ok(all)
}

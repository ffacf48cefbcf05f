//! A section of several parts, each with platforms of its own; `--only` chooses some by their names.
//!
//! A part that fails is named in the report with its reason, counts as a bar that was missed, and the others go on.

use crate::bench::report::{Goal, Section};
use crate::bench::setup::Bench;
use anyhow::bail;

/// What measures a part: its tables, bars and so on, for the section to take over.
pub(super) type Measure = fn(&Bench) -> anyhow::Result<Section>;

/// Measures the parts, by name and in order.
pub(super) fn measure(
    bench: &Bench,
    title: &'static str,
    parts: &[(&'static str, Measure)],
) -> anyhow::Result<Section> {
    let only = bench.settings.only.as_deref();
    let mut all = Section { title, ..Section::default() };
    let mut data = serde_json::Map::new();
    let mut failed: u32 = 0;
    for (name, measure) in parts.iter().filter(|(name, _)| only.is_none_or(|only| name.contains(only))) {
        println!("\n-- {name}");
        match measure(bench) {
            Ok(part) => {
                all.method.extend(part.method);
                all.tables.extend(part.tables);
                all.plots.extend(part.plots);
                all.goals.extend(part.goals);
                all.losses.extend(part.losses);
                all.left_out.extend(part.left_out);
                data.insert((*name).to_owned(), part.data);
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
        let names: Vec<&str> = parts.iter().map(|(name, _)| *name).collect();
        bail!("nothing of {} was measured: {}", names.join(", "), all.left_out.join("; "));
    }
    let what = format!("parts of this that could not be measured: {}", title.to_lowercase());
    all.goals.push(Goal::at_most(what, f64::from(failed), 0.0, ""));
    all.data = data.into();
    Ok(all)
}

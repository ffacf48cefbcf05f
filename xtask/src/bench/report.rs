//! What a run comes to: sections of tables, plots, goals, and what was lost; written as Markdown, HTML and JSON.

mod html;
mod markdown;

use crate::bench::machine::Machine;
use crate::bench::setup::Settings;
use crate::bench::stats::{Spread, number};
use crate::shell::{output, root};
use serde::Serialize;
use skiff_plot::Svg;
use std::path::Path;
use std::process::Command;

/// A whole run.
#[derive(Serialize)]
pub(crate) struct Report {
    pub(crate) date: String,
    pub(crate) command: String,
    pub(crate) machine: Machine,
    pub(crate) settings: Settings,
    pub(crate) sections: Vec<Section>,
}

/// What one section showed.
#[derive(Serialize, Default)]
pub(crate) struct Section {
    pub(crate) title: &'static str,
    /// How it was measured.
    pub(crate) method: Vec<String>,
    pub(crate) tables: Vec<Table>,
    #[serde(skip)]
    pub(crate) plots: Vec<Plot>,
    pub(crate) goals: Vec<Goal>,
    /// Where a peer is better than we are.
    pub(crate) losses: Vec<String>,
    /// What was not measured, and why.
    pub(crate) left_out: Vec<String>,
    /// Everything that was measured, by round.
    pub(crate) data: serde_json::Value,
}

/// Rows under a header.
#[derive(Serialize)]
pub(crate) struct Table {
    pub(crate) title: String,
    pub(crate) header: Vec<&'static str>,
    pub(crate) rows: Vec<Vec<String>>,
}

/// A plot under a title.
pub(crate) struct Plot {
    pub(crate) title: String,
    pub(crate) svg: Svg,
}

/// What was to be shown, and whether it was.
#[derive(Debug, Serialize)]
pub(crate) struct Goal {
    pub(crate) what: String,
    pub(crate) wanted: String,
    pub(crate) measured: String,
    pub(crate) met: bool,
}

impl Goal {
    /// A number, or the median of some, that is to be no larger than another.
    pub(crate) fn at_most(
        what: impl Into<String>,
        measured: impl Into<Spread>,
        most: f64,
        unit: &str,
    ) -> Self {
        let measured = measured.into();
        Self::new(what, "at most", measured, most, unit, measured.median <= most)
    }

    /// A number, or the median of some, that is to be no smaller than another.
    pub(crate) fn at_least(
        what: impl Into<String>,
        measured: impl Into<Spread>,
        least: f64,
        unit: &str,
    ) -> Self {
        let measured = measured.into();
        Self::new(what, "at least", measured, least, unit, measured.median >= least)
    }

    fn new(what: impl Into<String>, word: &str, measured: Spread, bound: f64, unit: &str, met: bool) -> Self {
        let wanted = format!("{word} {}{unit}", number(bound));
        Self { what: what.into(), wanted, measured: format!("{measured}{unit}"), met }
    }
}

impl Report {
    /// Writes `NAME-DATE` with the endings `.md`, `.html` and `.json` into a folder, and says so.
    pub(crate) fn save(&self, folder: &Path, name: &str) -> anyhow::Result<()> {
        std::fs::create_dir_all(folder)?;
        let quick = if self.settings.quick { "-quick" } else { "" };
        let stem = folder.join(format!("{name}-{}{quick}", self.date));
        let markdown = markdown::render(self)?;
        let files = [
            ("md", markdown.clone()),
            ("html", html::render(self)),
            ("json", serde_json::to_string_pretty(self)? + "\n"),
        ];
        println!("\n{markdown}");
        for (ending, text) in files {
            let path = stem.with_added_extension(ending);
            std::fs::write(&path, text)?;
            println!("written to {}", path.strip_prefix(root()).unwrap_or(&path).display());
        }
        Ok(())
    }

    /// How it was measured, for people.
    fn preamble(&self) -> Vec<String> {
        let settings = &self.settings;
        let mut lines = vec![format!("command: `{}`", self.command)];
        lines.extend(self.machine.lines());
        lines.push(format!(
            "settings: {} rounds of {} s, interleaved between servers; {} connections that stay open; medians, with the \
             least and the most of the rounds",
            settings.rounds, settings.seconds, settings.connections
        ));
        lines.push(
            "skiff: quotas, metrics, routing and access log on. CPU is user and system time of all processes of a \
             server, divided by the requests that were answered. Memory is the sum of their PSS."
                .to_owned(),
        );
        lines
    }

    /// The sections that have something to show; why the others have not is among what was left out.
    fn shown(&self) -> impl Iterator<Item = &Section> {
        self.sections.iter().filter(|section| !section.tables.is_empty())
    }

    /// Said of a short run.
    fn warning(&self) -> Option<&'static str> {
        self.settings
            .quick
            .then_some("A quick run, to try whether everything works: its numbers mean little.")
    }
}

/// Today, in UTC.
pub(crate) fn today() -> anyhow::Result<String> {
    Ok(output(Command::new("date").args(["-u", "+%Y-%m-%d"]))?.trim().to_owned())
}

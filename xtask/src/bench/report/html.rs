//! The report as a page, with its plots in it.

use super::{Report, Section, Table};
use maud::{Markup, html};

pub(super) fn render(report: &Report) -> String {
    let goals: Vec<_> = report.sections.iter().flat_map(|section| &section.goals).collect();
    let losses: Vec<_> = report.sections.iter().flat_map(|section| &section.losses).collect();
    let left_out: Vec<_> = report.sections.iter().flat_map(|section| &section.left_out).collect();
    let body = html! {
        @if let Some(warning) = report.warning() { p.warning { (warning) } }
        (list(&report.preamble()))
        @if !goals.is_empty() {
            h2 { "What is to be shown" }
            table {
                tr { th { "what" } th { "bar" } th { "measured" } th {} }
                @for goal in goals {
                    tr {
                        td { (goal.what) } td { (goal.wanted) } td { (goal.measured) }
                        @if goal.met { td.met { "met" } } @else { td.missed { "missed" } }
                    }
                }
            }
        }
        @if !losses.is_empty() {
            h2 { "Where skiff loses" }
            ul.loss { @for loss in losses { li { (loss) } } }
        }
        @if !left_out.is_empty() {
            h2 { "Not measured" }
            ul { @for what in left_out { li { (what) } } }
        }
        @for part in report.shown() { (section(part)) }
    };
    skiff_plot::page(&format!("Skiff, measured on {}", report.date), &body)
}

fn section(section: &Section) -> Markup {
    html! {
        h2 { (section.title) }
        (list(&section.method))
        @for plot in &section.plots { h3 { (plot.title) } (plot.svg) }
        @for one in &section.tables { (table(one)) }
    }
}

fn table(table: &Table) -> Markup {
    html! {
        h3 { (table.title) }
        table {
            tr { @for cell in &table.header { th { (cell) } } }
            @for row in &table.rows { tr { @for cell in row { td { (cell) } } } }
        }
    }
}

/// Lines in which a part between backticks is code.
fn list(lines: &[String]) -> Markup {
    html! {
        ul {
            @for line in lines {
                li {
                    @for (index, part) in line.split('`').enumerate() {
                        @if index % 2 == 1 { code { (part) } } @else { (part) }
                    }
                }
            }
        }
    }
}

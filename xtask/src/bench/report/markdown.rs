//! The report as Markdown. Plots are in the HTML page beside it.

use super::{Report, Section, Table};
use std::fmt::{Result, Write};

pub(super) fn render(report: &Report) -> std::result::Result<String, std::fmt::Error> {
    let mut text = String::new();
    writeln!(text, "# Measured on {}\n", report.date)?;
    if let Some(warning) = report.warning() {
        writeln!(text, "**{warning}**\n")?;
    }
    list(&mut text, &report.preamble())?;
    goals(&mut text, report)?;
    heading(&mut text, "Where skiff loses", report.sections.iter().flat_map(|section| &section.losses))?;
    heading(&mut text, "Not measured", report.sections.iter().flat_map(|section| &section.left_out))?;
    report.shown().try_for_each(|section| render_section(&mut text, section))?;
    Ok(text)
}

fn render_section(text: &mut String, section: &Section) -> Result {
    writeln!(text, "\n## {}\n", section.title)?;
    list(text, &section.method)?;
    section.tables.iter().try_for_each(|table| render_table(text, table))
}

fn render_table(text: &mut String, table: &Table) -> Result {
    writeln!(text, "\n{}\n", table.title)?;
    writeln!(text, "| {} |\n|{}", table.header.join(" | "), " --- |".repeat(table.header.len()))?;
    table.rows.iter().try_for_each(|row| writeln!(text, "| {} |", row.join(" | ").replace('\n', " ")))
}

fn goals(text: &mut String, report: &Report) -> Result {
    let mut goals = report.sections.iter().flat_map(|section| &section.goals).peekable();
    if goals.peek().is_none() {
        return Ok(());
    }
    writeln!(text, "\n## What is to be shown\n\n| what | bar | measured | |\n| --- | --- | --- | --- |")?;
    goals.try_for_each(|goal| {
        let met = if goal.met { "met" } else { "**missed**" };
        writeln!(text, "| {} | {} | {} | {met} |", goal.what, goal.wanted, goal.measured)
    })
}

fn heading<'a>(text: &mut String, title: &str, lines: impl Iterator<Item = &'a String>) -> Result {
    let lines: Vec<String> = lines.map(|line| line.replace('\n', " ")).collect();
    if lines.is_empty() {
        return Ok(());
    }
    writeln!(text, "\n## {title}\n")?;
    list(text, &lines)
}

fn list(text: &mut String, lines: &[String]) -> Result {
    lines.iter().try_for_each(|line| writeln!(text, "- {line}"))
}

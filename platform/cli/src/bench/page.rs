//! The report as an HTML page: the tables, and how each stage's times are distributed.

use super::report::{COLUMNS, Report};
use maud::{Markup, html};
use skiff_plot::{Curve, PlotError, curves, page};

pub(super) fn render(report: &Report<'_>) -> Result<String, PlotError> {
    let titles = [report.deploys_title(), report.requests_title()];
    let parts = titles.into_iter().zip(report.rows()).zip(report.samples());
    let mut sections = Vec::new();
    for ((title, rows), stages) in parts {
        if !rows.is_empty() {
            sections.push(section(&title, &rows, stages)?);
        }
    }
    let body = html! {
        p { "Skiff " (env!("CARGO_PKG_VERSION")) ", measured by "
            code { "skiff bench cold-start " (report.source) } "." }
        @for section in sections { (section) }
    };
    Ok(page(&format!("Cold starts of {}", report.source), &body))
}

fn section(title: &str, rows: &[[String; 5]], stages: Vec<(&str, Vec<f64>)>) -> Result<Markup, PlotError> {
    let lines: Vec<Curve> =
        stages.into_iter().map(|(stage, samples)| Curve::of_samples(stage, samples)).collect();
    let plot = curves("µs", &lines)?;
    Ok(html! {
        h2 { (title) }
        (plot)
        table {
            tr { @for column in COLUMNS { th { (column) } } }
            @for row in rows { tr { @for cell in row { td { (cell) } } } }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::super::report::tests::sample;
    use super::super::trial::Trial;
    use super::*;

    #[test]
    fn a_page_shows_every_stage_and_names_its_subject_as_text() {
        let requests: Vec<_> = (0..100).map(sample).collect();
        let report = Report { source: "<b>.wasm", path: "/", deploys: &[], requests: &requests };
        let text = render(&report).unwrap();
        let stages =
            ["load native code from disk", "make a sandbox", "request, no sandbox alive", "cold above warm"];
        for stage in stages {
            // In the plot's legend and in the table.
            assert_eq!(text.matches(stage).count(), 2, "{stage}");
        }
        assert!(text.contains("100 cold starts of &lt;b&gt;.wasm, GET /") && !text.contains("<b>"), "{text}");
        assert!(text.contains("34.9µs"), "the p50 of a request without a sandbox");
        assert!(!text.contains("deploy"), "a service was not deployed for it");
    }

    #[test]
    fn a_page_of_a_file_shows_its_deploys_too() {
        let trial = Trial {
            push_ns: 2_000_000,
            register_ns: 120_000_000,
            serve_ns: 15_000_000,
            first_answer_ns: 1_000_000,
            total_ns: 138_000_000,
        };
        let report = Report { source: "a.wasm", path: "/", deploys: &[trial], requests: &[sample(1)] };
        let text = render(&report).unwrap();
        assert!(text.contains("1 deploy of a.wasm") && text.contains("check, compile, register"), "{text}");
        assert_eq!(text.matches("<svg").count(), 2);
    }
}

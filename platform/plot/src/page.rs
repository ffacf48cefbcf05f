//! The page around plots and tables.

use maud::{DOCTYPE, Markup, PreEscaped, html};

const STYLE: &str = "
body { font: 15px/1.5 system-ui, sans-serif; color: #1c2430; background: #fff; max-width: 60rem; margin: 2rem auto;
       padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.25rem; margin-top: 2.5rem; border-top: 1px solid #d7dde4; padding-top: 1rem; }
h3 { font-size: 1rem; margin-bottom: .3rem; }
table { border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .25rem .9rem .25rem 0; border-bottom: 1px solid #e6eaee; vertical-align: top; }
th { font-weight: 600; } td:not(:first-child) { white-space: nowrap; }
svg { max-width: 100%; height: auto; } .loss, .missed { color: #a3231c; } .met { color: #1b6e3c; }
.warning { background: #fdf3d7; padding: .5rem .8rem; }
";

/// A page with a title, in one piece: no script, nothing that is loaded.
pub fn page(title: &str, body: &Markup) -> String {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                h1 { (title) }
                (body)
            }
        }
    }
    .into_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Bar, bars};

    #[test]
    fn a_page_asks_for_nothing_and_runs_nothing() {
        let bar = Bar { label: "a".into(), value: 1.0, low: 1.0, high: 1.0, marked: true };
        let svg = bars("ms", &[bar]).unwrap();
        let text = page("<script>alert(1)</script>", &html! { p { "a & b" } (svg) });
        assert!(text.contains("a &amp; b") && text.contains("<svg"), "{text}");
        let without_names = text.replace("http://www.w3.org/2000/svg", "");
        for bad in ["<script", "http://", "https://", "src=", "@import", "url("] {
            assert!(!without_names.contains(bad), "{bad} in {text}");
        }
    }
}

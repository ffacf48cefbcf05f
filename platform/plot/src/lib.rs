//! Plots of measurements as inline SVG, the page that they stand on, and what a terminal shows of them.
//!
//! It deliberately knows nothing of what was measured; `skiff bench`, `skiff metrics` and `cargo xtask bench` give it names and
//! numbers.
//!
//! What always holds: a page is one file that asks for nothing over a network, and runs no script.

mod bars;
mod curves;
mod page;
mod series;

pub use bars::{Bar, bars};
pub use curves::{Curve, curves};
pub use page::page;
pub use series::{Moments, in_letters, over_time};

use maud::{Markup, PreEscaped, Render};

/// A plot, ready to be put in a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Svg(String);

impl Svg {
    /// The drawing as a file holds it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Why a plot could not be drawn.
#[derive(Debug, thiserror::Error)]
#[error("the plot {title:?} can't be drawn: {reason}")]
pub struct PlotError {
    title: String,
    reason: String,
}

impl PlotError {
    fn new(title: &str, reason: impl std::fmt::Display) -> Self {
        Self { title: title.to_owned(), reason: reason.to_string() }
    }
}

impl Render for Svg {
    fn render(&self) -> Markup {
        // Made by `plotters`, which escapes the texts in it.
        PreEscaped(self.0.clone())
    }
}

/// Width of a plot, in pixels.
const WIDTH: u32 = 860;

/// A width in pixels that a text fits in, by the width of its letters on average.
fn text_width(text: &str) -> u32 {
    const LETTER: u32 = 7;
    (text.chars().count() as u32 * LETTER).min(WIDTH / 2)
}

/// A number with three digits, as axes and bars show it.
fn three_digits(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        size if size >= 99.95 => format!("{value:.0}"),
        size if size >= 9.995 => format!("{value:.1}"),
        size if size >= 0.995 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits() {
        let shown = [0.0, 0.1234, 1.234, 12.34, 123.4, 12_345.6].map(three_digits);
        assert_eq!(shown, ["0", "0.123", "1.23", "12.3", "123", "12346"]);
    }
}

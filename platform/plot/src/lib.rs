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

/// A number with three digits, as axes and bars show it: `0.000412`, `1.23`, `12346`, and `1.23e9` where it would be long.
pub fn number(value: f64) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    let short = format!("{value:.2e}");
    match short.rsplit_once('e').map(|(_, exponent)| exponent.parse::<i32>()) {
        Some(Ok(exponent @ -6..=6)) => {
            let decimals = usize::try_from(2 - exponent).unwrap_or(0);
            format!("{value:.decimals$}")
        }
        Some(_) | None => short,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits() {
        let shown = [0.0, 0.1234, 1.234, 12.34, 123.4, 12_345.6, 0.9996, -0.5].map(number);
        assert_eq!(shown, ["0", "0.123", "1.23", "12.3", "123", "12346", "1.00", "-0.500"]);
        let shown = [0.000_812_3, 0.000_001_5, 4e-8, 1e7, -1.234e300, f64::MAX].map(number);
        assert_eq!(shown, ["0.000812", "0.00000150", "4.00e-8", "1.00e7", "-1.23e300", "1.80e308"]);
    }
}

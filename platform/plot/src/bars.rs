//! One bar for each of some things, with the spread of what was measured.

use crate::{PlotError, Svg, WIDTH, number, text_width};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// One thing that was measured.
#[derive(Debug, Clone, PartialEq)]
pub struct Bar {
    /// What it is called.
    pub label: String,
    /// The bar's length.
    pub value: f64,
    /// The least that was measured.
    pub low: f64,
    /// The most that was measured.
    pub high: f64,
    /// Whether it stands out from the others.
    pub marked: bool,
}

/// Height of a bar with its gap, and of what is above and below them all, in pixels.
const BAR_HEIGHT: u32 = 34;
const FRAME_HEIGHT: u32 = 80;
const MARKED: RGBColor = RGBColor(0x1f, 0x6f, 0xb2);
const OTHER: RGBColor = RGBColor(0xa9, 0xb4, 0xc0);

/// Horizontal bars, the first at the top; `axis` says what the numbers are, with their unit.
///
/// # Errors
/// If there is no bar, or a number that is none or below 0.
pub fn bars(axis: &str, bars: &[Bar]) -> Result<Svg, PlotError> {
    let sound = |bar: &Bar| [bar.value, bar.low, bar.high].iter().all(|n| n.is_finite() && *n >= 0.0);
    if bars.is_empty() || !bars.iter().all(sound) {
        return Err(PlotError::new(axis, "each bar needs numbers, and there must be one"));
    }
    let mut text = String::new();
    draw(&mut text, axis, bars).map_err(|error| PlotError::new(axis, error))?;
    Ok(Svg(text))
}

fn draw(text: &mut String, axis: &str, bars: &[Bar]) -> Result<(), Box<dyn std::error::Error>> {
    let height = bars.len() as u32 * BAR_HEIGHT + FRAME_HEIGHT;
    let root = SVGBackend::with_string(text, (WIDTH, height)).into_drawing_area();
    root.fill(&WHITE)?;
    let labels = bars.iter().map(|bar| text_width(&bar.label)).max().unwrap_or(0);
    let most = bars.iter().map(|bar| bar.high.max(bar.value)).fold(0.0, f64::max);
    // Room for the number after the longest bar.
    let right = if most > 0.0 { most * 1.12 } else { 1.0 };
    // Places count from the bottom, bars from the top.
    let at = |place: usize| bars.len().checked_sub(place + 1).map_or("", |index| bars[index].label.as_str());
    let mut chart = ChartBuilder::on(&root)
        .margin(10)
        .y_label_area_size(labels + 16)
        .x_label_area_size(44)
        .build_cartesian_2d(0.0..right, (0..bars.len()).into_segmented())?;
    let name_of = |place: &SegmentValue<usize>| match place {
        SegmentValue::Exact(place) | SegmentValue::CenterOf(place) => at(*place).to_owned(),
        SegmentValue::Last => String::new(),
    };
    let number_of = |value: &f64| number(*value);
    let mut mesh = chart.configure_mesh();
    mesh.disable_y_mesh().x_desc(axis).x_labels(8).y_labels(bars.len());
    mesh.x_label_formatter(&number_of).y_label_formatter(&name_of).draw()?;
    for (place, bar) in bars.iter().rev().enumerate() {
        let color = if bar.marked { MARKED } else { OTHER };
        let ends = [(0.0, SegmentValue::Exact(place)), (bar.value, SegmentValue::Exact(place + 1))];
        let mut area = Rectangle::new(ends, color.filled());
        area.set_margin(6, 6, 0, 0);
        chart.draw_series([area])?;
        let middle = SegmentValue::CenterOf(place);
        chart.draw_series([PathElement::new(
            [(bar.low, middle.clone()), (bar.high, middle.clone())],
            BLACK,
        )])?;
        let beside = (bar.high.max(bar.value) + right * 0.01, middle);
        let style = ("sans-serif", 13).into_font().color(&BLACK).pos(Pos::new(HPos::Left, VPos::Center));
        chart.draw_series([Text::new(number(bar.value), beside, style)])?;
    }
    root.present()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bar(label: &str, value: f64) -> Bar {
        Bar { label: label.to_owned(), value, low: value * 0.9, high: value * 1.1, marked: false }
    }

    #[test]
    fn every_bar_is_drawn_with_its_name_and_its_number() {
        let Svg(text) = bars("CPU µs", &[bar("first <one>", 58.0), bar("second", 173.0)]).unwrap();
        for part in ["first &lt;one&gt;", "second", "58.0", "173", "CPU µs"] {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert!(text.find("first").unwrap() > 0 && !text.contains("<one>"));
    }

    #[test]
    fn what_is_no_number_is_refused() {
        assert!(bars("a", &[]).is_err());
        assert!(bars("a", &[bar("x", f64::NAN)]).is_err());
        assert!(bars("a", &[bar("x", -1.0)]).is_err());
        assert!(bars("a", &[bar("x", 0.0)]).is_ok(), "nothing is a number too");
    }
}

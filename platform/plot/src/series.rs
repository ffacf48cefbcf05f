//! Values over time: as SVG, and with letters for a terminal.
//!
//! It deliberately knows no time zone and no calendar: who asks says how a moment is written.

use crate::{PlotError, Svg, WIDTH, number, text_width};
use plotters::prelude::*;

/// Values at moments, in milliseconds since 1970, oldest first; none where there are none.
pub type Moments = [(u64, Option<f64>)];

/// Height of the plot, in pixels.
const HEIGHT: u32 = 360;
const COLOR: RGBColor = RGBColor(0x00, 0x72, 0xb2);
/// Parts of a letter's height that a column can end at.
const BLOCKS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// What stands for a column without a value, at the bottom.
const NONE: char = '·';

/// Values that are larger, or smaller than its inverse, are drawn by a unit of their own, so that what lies between two of
/// them is a number too.
const PLAIN_MAX: f64 = 1e100;

/// What is between the least and the largest value, 0 among it, in units.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Scale {
    low: f64,
    high: f64,
    unit: f64,
}

impl Scale {
    /// None if there are no values, or one that is no number.
    fn of(points: &Moments) -> Option<Self> {
        let values = || points.iter().filter_map(|(_, value)| *value);
        if values().next().is_none() || !values().all(f64::is_finite) {
            return None;
        }
        let unit = match values().map(f64::abs).fold(0.0, f64::max) {
            largest if largest > PLAIN_MAX => PLAIN_MAX,
            largest if largest > 0.0 && largest < 1.0 / PLAIN_MAX => 1.0 / PLAIN_MAX,
            _ => 1.0,
        };
        let (low, high) = (values().fold(0.0, f64::min) / unit, values().fold(0.0, f64::max) / unit);
        let high = if low == high { low + 1.0 } else { high };
        Some(Self { low, high, unit })
    }

    /// Where a value is between the least and the largest, from 0 to 1.
    fn place(self, value: f64) -> f64 {
        (value / self.unit - self.low) / (self.high - self.low)
    }

    /// So many units as a number.
    fn label(self, units: f64) -> String {
        number((units * self.unit).clamp(f64::MIN, f64::MAX))
    }
}

/// The values as a line, with gaps where there are none; `axis` says what they are, with their unit.
///
/// # Errors
/// If there is no value, or one that is no number.
pub fn over_time(axis: &str, points: &Moments, time_of: impl Fn(u64) -> String) -> Result<Svg, PlotError> {
    let scale = Scale::of(points)
        .ok_or_else(|| PlotError::new(axis, "it needs a value, and all of them to be numbers"))?;
    let mut text = String::new();
    draw(&mut text, axis, points, scale, &time_of).map_err(|error| PlotError::new(axis, error))?;
    Ok(Svg(text))
}

fn draw(
    text: &mut String,
    axis: &str,
    points: &Moments,
    scale: Scale,
    time_of: &dyn Fn(u64) -> String,
) -> Result<(), Box<dyn std::error::Error>> {
    let root = SVGBackend::with_string(text, (WIDTH, HEIGHT)).into_drawing_area();
    root.fill(&WHITE)?;
    let (from, to) = (moment(points.first()), moment(points.last()));
    let number_of = |units: &f64| scale.label(*units);
    let moment_of = |moment: &f64| time_of(*moment as u64);
    let labels_width = text_width(&scale.label(scale.high)).max(text_width(&scale.label(scale.low))) + 24;
    let mut chart = ChartBuilder::on(&root)
        .margin(14)
        .y_label_area_size(labels_width)
        .x_label_area_size(28)
        .build_cartesian_2d(
            from..to.max(from + 1.0),
            scale.low..scale.high + (scale.high - scale.low) * 0.05,
        )?;
    let mut mesh = chart.configure_mesh();
    mesh.y_desc(axis).light_line_style(WHITE).x_labels(6).y_labels(6);
    mesh.x_label_formatter(&moment_of).y_label_formatter(&number_of).draw()?;
    for run in points.split(|(_, value)| value.is_none()).filter(|run| !run.is_empty()) {
        let line: Vec<(f64, f64)> =
            run.iter().filter_map(|(at_ms, value)| Some((*at_ms as f64, (*value)? / scale.unit))).collect();
        if let [point] = line[..] {
            chart.draw_series([Circle::new(point, 2, COLOR.filled())])?;
        } else {
            chart.draw_series(LineSeries::new(line, COLOR.stroke_width(2)))?;
        }
    }
    root.present()?;
    Ok(())
}

fn moment(point: Option<&(u64, Option<f64>)>) -> f64 {
    point.map_or(0.0, |(at_ms, _)| *at_ms as f64)
}

/// The values as columns of letters under a scale, `columns` wide with it at most, and `rows` high; empty if there is no value
/// or one that is no number. Where there is no room for each value, a column shows the largest of its own.
pub fn in_letters(points: &Moments, columns: usize, rows: usize, time_of: impl Fn(u64) -> String) -> String {
    let Some(scale) = Scale::of(points) else { return String::new() };
    let rows = rows.max(2);
    let label_of =
        |row: usize| scale.label(scale.low + (scale.high - scale.low) * (row + 1) as f64 / rows as f64);
    // The top, the middle and the bottom are named.
    let bottom = scale.label(scale.low);
    let labels: Vec<String> = (0..rows)
        .rev()
        .map(|row| if row + 1 == rows || row + 1 == rows / 2 { label_of(row) } else { String::new() })
        .collect();
    let width = labels.iter().chain([&bottom]).map(|label| label.chars().count()).max().unwrap_or(0);
    let bars = bars(points, columns.saturating_sub(width + 2).max(1));
    let mut lines = Vec::new();
    for (label, row) in labels.iter().zip((0..rows).rev()) {
        let tick = if label.is_empty() { '│' } else { '┤' };
        let cells: String = bars.iter().map(|bar| cell(*bar, scale, row, rows)).collect();
        lines.push(format!("{label:>width$} {tick}{cells}").trim_end().to_owned());
    }
    lines.push(format!("{bottom:>width$} ┼{}", "─".repeat(bars.len())));
    let [first, last] = [points.first(), points.last()].map(|point| point.map_or(0, |(at_ms, _)| *at_ms));
    let (first, last) = (time_of(first), time_of(last));
    let between = bars.len().saturating_sub(first.chars().count() + last.chars().count()).max(1);
    lines.push(format!("{:width$}  {first}{}{last}", "", " ".repeat(between)));
    lines.join("\n")
}

/// What each column shows.
fn bars(points: &Moments, columns: usize) -> Vec<Option<f64>> {
    let shared = points.len().div_ceil(columns).max(1);
    let repeated = (columns / points.len().max(1)).clamp(1, 4);
    let largest = |points: &Moments| points.iter().filter_map(|(_, value)| *value).reduce(f64::max);
    points.chunks(shared).flat_map(|chunk| std::iter::repeat_n(largest(chunk), repeated)).collect()
}

/// The letter of a column in a row, counted from the bottom.
fn cell(bar: Option<f64>, scale: Scale, row: usize, rows: usize) -> char {
    let Some(value) = bar else { return if row == 0 { NONE } else { ' ' } };
    let height = scale.place(value) * rows as f64 - row as f64;
    let most = BLOCKS.len() - 1;
    BLOCKS[((height * most as f64).round().max(0.0) as usize).min(most)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn moments(values: &[Option<f64>]) -> Vec<(u64, Option<f64>)> {
        values.iter().enumerate().map(|(index, value)| (index as u64 * 1_000, *value)).collect()
    }

    fn letters(values: &[Option<f64>], columns: usize, rows: usize) -> String {
        in_letters(&moments(values), columns, rows, |at_ms| format!("{}s", at_ms / 1_000))
    }

    #[test]
    fn values_are_columns_under_a_scale() {
        let text = letters(&[Some(0.0), Some(4.0), None, Some(8.0)], 10, 4);
        let expected = "8.00 ┤   █\n     │   █\n4.00 ┤ █ █\n     │ █·█\n   0 ┼────\n      0s 3s";
        assert_eq!(text, expected);
    }

    #[test]
    fn where_there_is_no_room_the_largest_is_shown_and_where_there_is_columns_are_wide() {
        let many: Vec<Option<f64>> = (0..40).map(|value| Some(f64::from(value % 2))).collect();
        let text = letters(&many, 26, 2);
        assert_eq!(text.lines().next(), Some(format!(" 1.00 ┤{}", "█".repeat(14)).as_str()));
        let few = letters(&[Some(1.0), Some(1.0)], 30, 2);
        assert_eq!(few.lines().next(), Some(" 1.00 ┤████████"));
    }

    #[test]
    fn what_lies_below_zero_has_a_scale_too() {
        let text = letters(&[Some(-2.0), Some(-1.0)], 9, 2);
        assert_eq!(text, "    0 ┤\n-1.00 ┤ █\n-2.00 ┼──\n       0s 1s");
    }

    #[test]
    fn the_largest_and_the_smallest_numbers_are_drawn() {
        let text = letters(&[Some(f64::MIN), Some(f64::MAX)], 30, 2);
        assert!(text.starts_with(" 1.80e308 ┤") && text.contains("-1.80e308 ┼"), "{text}");
        let text = letters(&[Some(0.0), Some(4e-320)], 30, 2);
        assert!(text.starts_with("4.00e-320 ┤"), "{text}");
        for values in [[f64::MIN, f64::MAX], [0.0, 4e-320], [-1e200, 1.0]] {
            let svg = over_time("a", &moments(&values.map(Some)), |_| String::new()).unwrap();
            assert!(!svg.as_str().contains("NaN") && !svg.as_str().contains("inf"), "{values:?}");
        }
    }

    #[test]
    fn without_values_there_is_nothing_to_draw() {
        for values in [&[][..], &[None, None], &[Some(f64::NAN)], &[Some(f64::INFINITY)]] {
            assert!(over_time("a", &moments(values), |_| String::new()).is_err());
            assert_eq!(letters(values, 80, 8), "");
        }
    }

    proptest! {
        #[test]
        fn whatever_was_measured_is_drawn(
            values in prop::collection::vec(prop::option::of(-1e12..1e12_f64), 0..60),
            columns in 0_usize..120,
            rows in 0_usize..20,
        ) {
            let points = moments(&values);
            let text = letters(&values, columns, rows);
            prop_assert_eq!(text.is_empty(), values.iter().all(Option::is_none));
            if let Ok(svg) = over_time("ms", &points, |at_ms| at_ms.to_string()) {
                prop_assert!(svg.as_str().starts_with("<svg") && svg.as_str().trim_end().ends_with("</svg>"));
                prop_assert!(!svg.as_str().contains("NaN"));
            }
        }
    }
}

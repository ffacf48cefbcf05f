//! How values are distributed: for each curve, which share is no larger than what.
//!
//! Values stand on a logarithmic axis, and so do the shares that are larger: the way from 99% to 99.9% is as long as that
//! from 90% to 99%, as in the plots of HdrHistogram. That is where tails can be seen.

use crate::{PlotError, Svg, WIDTH, number};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// A distribution.
#[derive(Debug, Clone, PartialEq)]
pub struct Curve {
    /// What it is called.
    pub label: String,
    /// A value, and the share of all that is no larger, below 1.
    pub points: Vec<(f64, f64)>,
}

impl Curve {
    /// Of what was measured, each value of it.
    pub fn of_samples(label: impl Into<String>, samples: impl IntoIterator<Item = f64>) -> Self {
        let mut samples: Vec<f64> = samples.into_iter().collect();
        samples.sort_by(f64::total_cmp);
        let count = samples.len() as f64;
        let point = |(index, value): (usize, f64)| (value, (index as f64 + 0.5) / count);
        Self { label: label.into(), points: samples.into_iter().enumerate().map(point).collect() }
    }

    /// Of quantiles; the greatest value of all, at 1, has no place on the axis.
    pub fn of_quantiles(label: impl Into<String>, points: impl IntoIterator<Item = (f64, f64)>) -> Self {
        let points = points.into_iter().filter(|(_, quantile)| *quantile < 1.0).collect();
        Self { label: label.into(), points }
    }
}

/// Height of the plot, of a curve's name below it, and width of the axis' labels, in pixels.
const HEIGHT: u32 = 420;
const NAME_HEIGHT: u32 = 20;
const AXIS_WIDTH: u32 = 64;
/// Colours that can be told apart by eyes of all kinds, after Okabe and Ito.
const COLORS: [RGBColor; 8] = [
    RGBColor(0x00, 0x72, 0xb2),
    RGBColor(0xd5, 0x5e, 0x00),
    RGBColor(0x00, 0x9e, 0x73),
    RGBColor(0xcc, 0x79, 0xa7),
    RGBColor(0xe6, 0x9f, 0x00),
    RGBColor(0x56, 0xb4, 0xe9),
    RGBColor(0x00, 0x00, 0x00),
    RGBColor(0x88, 0x88, 0x88),
];
/// Least value on the axis, as a part of the largest: what is smaller is not told from 0.
const LEAST_PART: f64 = 1e-9;

/// The curves in one plot; `axis` says what the values are, with their unit.
///
/// # Errors
/// If there is no curve with a value above 0, a value that is no number, or a share outside of 0 to 1.
pub fn curves(axis: &str, curves: &[Curve]) -> Result<Svg, PlotError> {
    let points = || curves.iter().flat_map(|curve| &curve.points);
    let sound = |(value, share): &(f64, f64)| value.is_finite() && (0.0..1.0).contains(share);
    let largest = points().map(|(value, _)| *value).fold(0.0, f64::max);
    if !points().all(sound) || largest <= 0.0 {
        return Err(PlotError::new(axis, "it needs values above 0, each with a share below 1"));
    }
    let mut text = String::new();
    draw(&mut text, axis, curves, largest).map_err(|error| PlotError::new(axis, error))?;
    Ok(Svg(text))
}

fn draw(
    text: &mut String,
    axis: &str,
    curves: &[Curve],
    largest: f64,
) -> Result<(), Box<dyn std::error::Error>> {
    let names_height = curves.len() as u32 * NAME_HEIGHT + 10;
    let root = SVGBackend::with_string(text, (WIDTH, HEIGHT + names_height)).into_drawing_area();
    root.fill(&WHITE)?;
    let (plot, names) = root.split_vertically(HEIGHT);
    let points = || curves.iter().flat_map(|curve| &curve.points);
    let shown = |value: f64| value.max(largest * LEAST_PART);
    let least = points().map(|(value, _)| shown(*value)).fold(largest, f64::min);
    let top = points().map(|(_, share)| nines(*share)).fold(1.0, f64::max);
    let mut chart = ChartBuilder::on(&plot)
        .margin(10)
        .y_label_area_size(AXIS_WIDTH)
        .x_label_area_size(44)
        .build_cartesian_2d((least * 0.9..largest * 1.1).log_scale(), 0.0..top * 1.02)?;
    let number_of = |value: &f64| number(*value);
    let percent_of = |nines: &f64| percent(*nines);
    let mut mesh = chart.configure_mesh();
    mesh.x_desc(axis).y_desc("of all are no larger").light_line_style(WHITE).x_labels(8);
    // One for each whole nine.
    let labels = top as usize + 1;
    mesh.x_label_formatter(&number_of).y_labels(labels).y_label_formatter(&percent_of).draw()?;
    for (index, curve) in curves.iter().enumerate() {
        let style = COLORS[index % COLORS.len()].stroke_width(2);
        let line = curve.points.iter().map(|(value, share)| (shown(*value), nines(*share)));
        chart.draw_series(LineSeries::new(line, style))?;
        let (left, y) = (AXIS_WIDTH as i32 + 10, (index as u32 * NAME_HEIGHT + NAME_HEIGHT / 2) as i32);
        names.draw(&PathElement::new([(left, y), (left + 24, y)], style))?;
        let font = ("sans-serif", 13).into_font().color(&BLACK).pos(Pos::new(HPos::Left, VPos::Center));
        names.draw(&Text::new(curve.label.as_str(), (left + 32, y), font))?;
    }
    root.present()?;
    Ok(())
}

/// 0.9 is one nine, 0.99 two.
fn nines(share: f64) -> f64 {
    -(1.0 - share).log10()
}

/// The share with so many nines, in percent.
fn percent(nines: f64) -> String {
    let share = (1.0 - 10f64.powf(-nines)) * 100.0;
    let digits = (nines - 2.0).ceil().max(0.0) as usize;
    format!("{share:.digits$}%")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn shares_are_named_by_their_nines() {
        assert_eq!([0.0, 1.0, 2.0, 3.0, 4.0].map(percent), ["0%", "90%", "99%", "99.9%", "99.99%"]);
        assert!((nines(0.999) - 3.0).abs() < 1e-9);
    }

    #[test]
    fn samples_become_a_curve_in_order() {
        let curve = Curve::of_samples("a", [3.0, 1.0, 2.0, 4.0]);
        assert_eq!(curve.points, [(1.0, 0.125), (2.0, 0.375), (3.0, 0.625), (4.0, 0.875)]);
        let curve = Curve::of_quantiles("a", [(1.0, 0.5), (2.0, 1.0)]);
        assert_eq!(curve.points, [(1.0, 0.5)]);
    }

    #[test]
    fn what_can_not_be_drawn_is_refused() {
        assert!(curves("a", &[]).is_err());
        assert!(curves("a", &[Curve::of_samples("a", [0.0])]).is_err());
        assert!(curves("a", &[Curve { label: "a".into(), points: vec![(1.0, 1.0)] }]).is_err());
    }

    proptest! {
        #[test]
        fn whatever_was_measured_is_drawn(
            samples in prop::collection::vec(0..u64::MAX, 1..40),
            label in ".{0,40}",
        ) {
            let samples = samples.into_iter().map(|sample| sample as f64 + 1.0);
            let Svg(text) = curves("ms", &[Curve::of_samples(label, samples)]).unwrap();
            prop_assert!(text.starts_with("<svg") && text.trim_end().ends_with("</svg>"));
            prop_assert!(!text.contains("NaN") && !text.contains("inf"));
        }
    }
}

//! Lines over what grows, as SVG, on linear scales that begin at zero.

use super::tables::measure_name;
use crate::comparisons::{Comparison, Plot};
use crate::results::Results;
use crate::stats::spread;
use anyhow::{Result, anyhow};
use plotters::prelude::*;

const SIZE: (u32, u32) = (800, 400);

/// Told apart also by who does not see colours well.
const COLORS: [RGBColor; 4] = [
    RGBColor(213, 94, 0),
    RGBColor(0, 114, 178),
    RGBColor(0, 158, 115),
    RGBColor(86, 86, 86),
];

/// Returns the plot of one figure.
pub(super) fn draw(
    comparison: &Comparison,
    plot: &Plot,
    measure: &str,
    results: &Results,
) -> Result<String> {
    let mut lines: Vec<(&str, Vec<(f64, f64)>)> = Vec::new();
    for one in &results.contenders {
        let (Some(x), Some(y)) = (one.x, spread(&one.figures(measure))) else {
            continue;
        };
        let point = (f64::from(x), y.median);
        match lines.iter_mut().find(|(label, _)| *label == one.label) {
            Some((_, points)) => points.push(point),
            None => lines.push((&one.label, vec![point])),
        }
    }
    let points = || lines.iter().flat_map(|(_, points)| points.iter());
    let right = points().map(|(x, _)| *x).fold(1.0, f64::max);
    let top = points().map(|(_, y)| *y).fold(0.0, f64::max) * 1.05;
    let mut text = String::new();
    let drawn = render(&mut text, comparison, plot, measure, &lines, (right, top));
    drawn.map_err(|error| anyhow!("draw {} of {}: {error}", measure, comparison.name))?;
    Ok(text)
}

fn render(
    text: &mut String,
    comparison: &Comparison,
    plot: &Plot,
    measure: &str,
    lines: &[(&str, Vec<(f64, f64)>)],
    (right, top): (f64, f64),
) -> Result<(), Box<dyn std::error::Error>> {
    let area = SVGBackend::with_string(text, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .caption(&comparison.title, ("sans-serif", 16))
        .margin(12)
        .x_label_area_size(44)
        .y_label_area_size(90)
        .build_cartesian_2d(0.0..right, 0.0..top.max(1e-9))?;
    chart
        .configure_mesh()
        .x_desc(plot.x)
        .y_desc(measure_name(measure))
        .light_line_style(TRANSPARENT)
        .draw()?;
    for (at, (label, points)) in lines.iter().enumerate() {
        let color = COLORS[at % COLORS.len()];
        let series = LineSeries::new(points.iter().copied(), color.stroke_width(2)).point_size(3);
        chart
            .draw_series(series)?
            .label(*label)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], color.stroke_width(2)));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE)
        .border_style(BLACK)
        .draw()?;
    area.present()?;
    Ok(())
}

//! Grouped horizontal bars: memory or FLOPs by layer, one bar for each of several models or plans.

use std::path::Path;

use super::axis::Axis;
use super::canvas::{AXIS, Anchor, Canvas, GRID, INK, MUTED, Type, save};
use super::draw::Color;
use super::font;
use super::number::Unit;
use crate::Result;

/// What one bar of each row stands for.
#[derive(Clone, Debug, Default)]
pub struct BarSeries {
    /// Its name, in the legend above the bars.
    pub name: String,
    /// Its color.
    pub color: Color,
}

/// A row: a label and its bars.
#[derive(Clone, Debug, Default)]
pub struct BarRow {
    /// At the left.
    pub label: String,
    /// One value for each series. One that is missing or not finite has no bar and reads `–`; one
    /// below 0 has no bar either, only its number.
    pub values: Vec<f64>,
}

/// A bar chart.
#[derive(Clone, Debug, Default)]
pub struct BarChart {
    /// Above all.
    pub title: String,
    /// What the values are; the axis and the numbers at the bars are in it.
    pub unit: Unit,
    /// The bars of each row, from top to bottom.
    pub series: Vec<BarSeries>,
    /// The rows, from top to bottom.
    pub rows: Vec<BarRow>,
}

/// The width of a chart in points; a PNG has two pixels for each.
pub(super) const WIDTH: f32 = 900.0;
/// From the figure's border to what is drawn, in points.
const MARGIN: f32 = 18.0;

/// Where things are, in points from the top.
struct Rows {
    top: f32,
    bar: f32,
    gap: f32,
    row: f32,
    bottom: f32,
}

/// Draws `chart` to `path` (`.png`, 1800 pixels wide, or `.svg`), whole or not at all; it is as high
/// as its rows need. Without rows it says "no data yet".
///
/// # Errors
/// Where the file cannot be written, its name ends in neither `.png` nor `.svg`, or there are more
/// rows than a PNG can be high.
pub fn plot_bars(path: impl AsRef<Path>, chart: &BarChart) -> Result<()> {
    save(path.as_ref(), (WIDTH, height(chart)), 2.0, |canvas| paint(canvas, chart))
}

/// How high `chart` is, in points.
pub(super) fn height(chart: &BarChart) -> f32 {
    rows(chart).bottom + 20.0 + MARGIN
}

fn rows(chart: &BarChart) -> Rows {
    let bars = chart.series.len().max(1) as f32;
    let (bar, gap) = if bars > 1.0 { (11.0, 10.0) } else { (15.0, 8.0) };
    let mut top = MARGIN;
    top += if chart.title.is_empty() { 0.0 } else { 22.0 };
    top += if legend(chart) { 22.0 } else { 0.0 } + 4.0;
    let row = bars * bar + gap;
    let bottom = top + (row * chart.rows.len() as f32).max(60.0);
    Rows { top, bar, gap, row, bottom }
}

fn legend(chart: &BarChart) -> bool {
    chart.series.len() > 1
}

/// Draws `chart` from the canvas's top left.
pub(super) fn paint(canvas: &mut dyn Canvas, chart: &BarChart) {
    let rows = rows(chart);
    let text = |size, color, anchor| Type { size, color, anchor };
    let title = font::fit(&chart.title, 14.0, WIDTH - 2.0 * MARGIN);
    canvas.text((MARGIN, MARGIN + 13.0), text(14.0, INK, Anchor::Start), &title);
    if legend(chart) {
        let mut x = MARGIN;
        for series in &chart.series {
            let name = font::fit(&series.name, 11.0, 260.0);
            let next = x + 15.0 + font::width(&name, 11.0) + 18.0;
            if next > WIDTH {
                break;
            }
            canvas.rectangle((x, rows.top - 19.0), (x + 10.0, rows.top - 9.0), series.color);
            canvas.text((x + 15.0, rows.top - 10.0), text(11.0, INK, Anchor::Start), &name);
            x = next;
        }
    }
    if chart.rows.is_empty() || chart.series.is_empty() {
        let middle = (WIDTH / 2.0, (rows.top + rows.bottom) / 2.0);
        canvas.text(middle, text(14.0, MUTED, Anchor::Middle), "no data yet");
        return;
    }

    let labels: Vec<_> = chart.rows.iter().map(|row| font::fit(&row.label, 11.0, WIDTH * 0.35)).collect();
    let left = MARGIN + labels.iter().map(|label| font::width(label, 11.0)).fold(0.0, f32::max) + 8.0;
    let values = || chart.rows.iter().flat_map(|row| (0..chart.series.len()).map(|i| value(row, i)));
    let number = |value| chart.unit.format(value);
    let right = WIDTH - MARGIN - 6.0 - values().map(|v| font::width(&number(v), 10.0)).fold(0.0, f32::max);
    // Bars start at 0, whatever the smallest value, or their lengths would lie.
    let axis = Axis::tight(values().filter(|v| *v > 0.0).chain([0.0]), None);
    let at = |value: f64| left + (right - left) * axis.position(value).max(0.0);

    for (tick, label) in axis.ticks(6, false, chart.unit) {
        if tick < 0.0 {
            continue;
        }
        canvas.rectangle((at(tick), rows.top), (at(tick) + 0.8, rows.bottom), GRID);
        canvas.text((at(tick), rows.bottom + 15.0), text(10.5, MUTED, Anchor::Middle), &label);
    }
    for (index, (row, label)) in chart.rows.iter().zip(&labels).enumerate() {
        let top = rows.top + rows.row * index as f32 + rows.gap / 2.0;
        let middle = top + (rows.row - rows.gap) / 2.0;
        canvas.text((left - 8.0, middle + 4.0), text(11.0, INK, Anchor::End), label);
        for (i, series) in chart.series.iter().enumerate() {
            let y = top + rows.bar * i as f32;
            let value = value(row, i);
            let end = if value > 0.0 && value.is_finite() { at(value) } else { left };
            if end > left {
                canvas.rectangle((left, y + 0.5), (end, y + rows.bar - 0.5), series.color);
            }
            let baseline = y + rows.bar / 2.0 + 3.7;
            canvas.text((end + 5.0, baseline), text(10.0, MUTED, Anchor::Start), &number(value));
        }
    }
    canvas.rectangle((left, rows.top), (left + 0.8, rows.bottom), AXIS);
}

/// The value of series `index`; NaN where the row has none.
fn value(row: &BarRow, index: usize) -> f64 {
    row.values.get(index).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLUE: Color = [0, 114, 178];
    const ORANGE: Color = [230, 159, 0];

    fn chart(rows: &[(&str, &[f64])]) -> BarChart {
        BarChart {
            title: "Memory for backward".into(),
            unit: Unit::Bytes,
            series: vec![
                BarSeries { name: "planned".into(), color: BLUE },
                BarSeries { name: "naive".into(), color: ORANGE },
            ],
            rows: rows.iter().map(|(l, v)| BarRow { label: (*l).into(), values: v.to_vec() }).collect(),
        }
    }

    fn drawn(chart: &BarChart) -> image::RgbImage {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bars.png");
        plot_bars(&path, chart).unwrap();
        image::open(&path).unwrap().to_rgb8()
    }

    #[test]
    fn bars_are_as_long_as_their_values() {
        let image = drawn(&chart(&[("a", &[1e6, 4e6]), ("b", &[2e6, 0.0])]));
        assert_eq!(image.width(), 1800);
        let area = |color: Color| image.pixels().filter(|p| p.0 == color).count() as f64;
        // The legend's squares are 20 × 20 pixels; bars are 20 high.
        let (blue, orange) = (area(BLUE) - 400.0, area(ORANGE) - 400.0);
        assert!((blue / orange - 0.75).abs() < 0.01, "{blue} {orange}");
    }

    #[test]
    fn odd_values_and_no_rows() {
        let none = drawn(&chart(&[]));
        assert!(none.pixels().any(|p| p.0 == MUTED));
        let odd = [
            ("", &[f64::NAN, f64::INFINITY][..]),
            ("only one, and a label much too long for the column that it has to stand in, really", &[5.0]),
            ("negative", &[-3.0, 1e300]),
            ("none", &[]),
            ("too many", &[1.0, 2.0, 3.0]),
        ];
        drawn(&chart(&odd));
        drawn(&chart(&[("zero", &[0.0, 0.0])]));
        drawn(&BarChart { rows: chart(&odd).rows, ..BarChart::default() });
        let many = chart(&vec![("row", &[1.0, 2.0][..]); 3000]);
        let error = plot_bars("x.png", &many).unwrap_err().to_string();
        assert!(error.contains("write an .svg"), "{error}");
    }

    #[test]
    fn svg_has_the_same_words() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bars.svg");
        plot_bars(&path, &chart(&[("conv 3×3 <stem>", &[1_258_291.2, 3.0 * 1024.0])])).unwrap();
        let svg = std::fs::read_to_string(path).unwrap();
        for words in
            ["Memory for backward", "conv 3×3 &lt;stem&gt;", "1.2 MiB", "3.0 KiB", "planned", "naive"]
        {
            assert!(svg.contains(&format!(">{words}</text>")), "{words} is not in {svg}");
        }
    }
}

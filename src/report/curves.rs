//! Line plots, and the curves of a training run.
//!
//! A line is labelled at its end with its name and last value, in the margin beside the data: no
//! legend to look up and none that can cover a curve.

use std::path::Path;

use super::axis::Axis;
use super::canvas::{AXIS, Anchor, Canvas, GRID, INK, MUTED, Type, WHITE, save};
use super::draw::{Color, luminance, mix};
use super::font;
use super::number::{Unit, plain};
use crate::Result;

/// One line of a plot.
#[derive(Clone, Debug, Default)]
pub struct Series {
    /// What it is called, at its end.
    pub name: String,
    /// (x, y) in the order in which they are joined. One that is not finite is a gap in the line; a
    /// point between two gaps is a dot.
    pub points: Vec<(f64, f64)>,
    /// Its color.
    pub color: Color,
}

/// A point to mark: a ring on it, a thin line up, and a label above the data.
#[derive(Clone, Debug, Default)]
pub struct Mark {
    /// Where, in the plot's units.
    pub x: f64,
    /// Where, in the plot's units.
    pub y: f64,
    /// What is to be said about it.
    pub label: String,
    /// Its color.
    pub color: Color,
}

/// A line plot.
#[derive(Clone, Debug)]
pub struct Plot {
    /// Above all.
    pub title: String,
    /// Below the x axis.
    pub x_label: String,
    /// Above the y axis, upright.
    pub y_label: String,
    /// The lines, the first ones lowest.
    pub series: Vec<Series>,
    /// Points to mark.
    pub marks: Vec<Mark>,
    /// The x axis from low to high; `None`, and what is no range: from the data.
    pub x_range: Option<(f64, f64)>,
    /// The y axis from low to high; `None`, and what is no range: from the data.
    pub y_range: Option<(f64, f64)>,
    /// A logarithmic x axis; values of 0 and below are then gaps.
    pub log_x: bool,
    /// A logarithmic y axis; values of 0 and below are then gaps.
    pub log_y: bool,
    /// The radius of a point that stands alone, in points.
    pub dot: f32,
    /// Width and height of the PNG in pixels; text and lines grow with it.
    pub size: (u32, u32),
}

impl Default for Plot {
    fn default() -> Self {
        Plot {
            title: String::new(),
            x_label: String::new(),
            y_label: String::new(),
            series: Vec::new(),
            marks: Vec::new(),
            x_range: None,
            y_range: None,
            log_x: false,
            log_y: false,
            dot: 2.8,
            size: (1600, 900),
        }
    }
}

/// One epoch of a training run, for [`training_curves`]. What is not finite is a gap.
#[derive(Clone, Copy, Debug, Default)]
pub struct EpochRecord {
    /// The epoch, counted as the caller does.
    pub epoch: u64,
    /// Mean training loss of the boxes.
    pub box_loss: f64,
    /// Mean training loss of objectness.
    pub objectness_loss: f64,
    /// Mean training loss of the classes.
    pub class_loss: f64,
    /// Mean training loss in all.
    pub total_loss: f64,
    /// AP at IoU 0.5 on validation data, 0 to 1; `None` where this epoch was not validated.
    pub ap50: Option<f64>,
    /// AP over IoU 0.5 to 0.95 on validation data, 0 to 1; `None` where this epoch was not validated.
    pub ap: Option<f64>,
}

/// Draws `plot` to `path` (`.png`, or `.svg`), whole or not at all. Without any point to show it says
/// "no data yet".
///
/// # Errors
/// Where the file cannot be written, its name ends in neither `.png` nor `.svg`, or its size is
/// beyond what a PNG viewer takes.
pub fn plot_lines(path: impl AsRef<Path>, plot: &Plot) -> Result<()> {
    let pixels = (plot.size.0 as f32, plot.size.1 as f32);
    let scale = (pixels.0 / 800.0).min(pixels.1 / 450.0).max(0.5);
    let (width, height) = (pixels.0 / scale, pixels.1 / scale);
    save(path.as_ref(), (width, height), scale, |canvas| {
        let area = Area { left: 20.0, top: 14.0, right: width - 16.0, bottom: height - 14.0 };
        panel(canvas, area, plot, plot.marks.len());
    })
}

/// Draws a training run to `path` (`.png`, 2000 × 840 pixels, or `.svg`), whole or not at all: losses
/// at the left, average precision at the right with its best epoch marked (by AP50:95; by AP50 where
/// only that is known).
///
/// # Errors
/// As [`plot_lines`].
pub fn training_curves(path: impl AsRef<Path>, title: &str, epochs: &[EpochRecord]) -> Result<()> {
    let series = |name: &str, color: Color, pick: &dyn Fn(&EpochRecord) -> f64| Series {
        name: name.to_owned(),
        points: epochs.iter().map(|record| (record.epoch as f64, pick(record))).collect(),
        color,
    };
    // Epochs that were not validated are no gaps: the line joins the ones that were.
    let precision = |name: &str, color: Color, pick: fn(&EpochRecord) -> Option<f64>| Series {
        name: name.to_owned(),
        points: epochs.iter().filter_map(|r| Some((r.epoch as f64, pick(r)?))).collect(),
        color,
    };
    // Both panels over the same epochs, also where only a few were validated.
    let span = |range: (u64, u64), r: &EpochRecord| (range.0.min(r.epoch), range.1.max(r.epoch));
    let (first, last) = epochs.iter().fold((u64::MAX, 0), span);
    let x_range = Some((first as f64, last as f64));
    let losses = Plot {
        x_range,
        title: "Training loss".to_owned(),
        x_label: "epoch".to_owned(),
        y_label: "mean over the epoch".to_owned(),
        series: vec![
            series("box", [0, 114, 178], &|r| r.box_loss),
            series("objectness", [214, 137, 0], &|r| r.objectness_loss),
            series("class", [0, 158, 115], &|r| r.class_loss),
            series("total", INK, &|r| r.total_loss),
        ],
        ..Plot::default()
    };
    let mut precisions = Plot {
        x_range,
        title: "Average precision".to_owned(),
        x_label: "epoch".to_owned(),
        y_label: "on validation data".to_owned(),
        series: vec![
            precision("AP50", [86, 160, 214], |r| r.ap50),
            precision("AP50:95", [213, 94, 0], |r| r.ap),
        ],
        ..Plot::default()
    };
    precisions.marks.extend(best(&precisions.series[1]).or_else(|| best(&precisions.series[0])));
    // From 0, or the first epochs' noise would fill the panel.
    let highest = precisions.series.iter().filter_map(|s| Some(best(s)?.y)).fold(0.0, f64::max);
    precisions.y_range = Some((0.0, highest * 1.06));
    let (width, height) = (1000.0, 420.0);
    save(path.as_ref(), (width, height), 2.0, |canvas| {
        let style = Type { size: 17.0, color: INK, anchor: Anchor::Start };
        canvas.text((20.0, 32.0), style, &font::fit(title, style.size, width - 40.0));
        let top = if title.is_empty() { 14.0 } else { 50.0 };
        let bottom = height - 14.0;
        let strips = precisions.marks.len();
        panel(canvas, Area { left: 20.0, top, right: 500.0, bottom }, &losses, strips);
        panel(canvas, Area { left: 530.0, top, right: width - 12.0, bottom }, &precisions, strips);
    })
}

/// The mark on the highest point of `series`; the first one where there are several.
fn best(series: &Series) -> Option<Mark> {
    let shown = series.points.iter().filter(|p| Axis::shows(p.1, false));
    let &(x, y) = shown.reduce(|best, p| if p.1 > best.1 { p } else { best })?;
    let label = format!("best {} {} (epoch {x})", series.name, plain(y));
    Some(Mark { x, y, label, color: series.color })
}

/// A part of the figure, in points.
#[derive(Clone, Copy, Debug)]
pub(super) struct Area {
    pub left: f32,
    pub top: f32,
    pub right: f32,
    pub bottom: f32,
}

/// The distance between the baselines of labels, in points.
const LINE: f32 = 15.0;

/// Draws `plot` into `area`; `strips` lines of room for the labels of marks, so that panels side by
/// side have their data at one height.
pub(super) fn panel(canvas: &mut dyn Canvas, area: Area, plot: &Plot, strips: usize) {
    let text = |size, color, anchor| Type { size, color, anchor };
    let width = area.right - area.left;
    let mut top = area.top;
    for (words, size, color) in [(&plot.title, 14.0, INK), (&plot.y_label, 10.5, MUTED)] {
        if !words.is_empty() {
            top += size + 5.0;
            canvas.text(
                (area.left, top - 4.0),
                text(size, color, Anchor::Start),
                &font::fit(words, size, width),
            );
        }
    }
    top += 6.0 + strips as f32 * LINE;
    let mut bottom = area.bottom - 18.0;
    if !plot.x_label.is_empty() {
        bottom -= 17.0;
    }
    let bottom = bottom.max(top + 8.0);

    let shown = |p: &(f64, f64)| Axis::shows(p.0, plot.log_x) && Axis::shows(p.1, plot.log_y);
    let points = || plot.series.iter().flat_map(|s| &s.points).filter(|p| shown(p)).copied();
    if points().next().is_none() {
        canvas.rectangle((area.left, bottom), (area.right, bottom + 0.8), AXIS);
        let middle = ((area.left + area.right) / 2.0, (top + bottom) / 2.0);
        canvas.text(middle, text(14.0, MUTED, Anchor::Middle), "no data yet");
        return;
    }
    let y_axis = Axis::over(points().map(|p| p.1), plot.y_range, plot.log_y);
    let x_axis = match plot.log_x {
        true => Axis::over(points().map(|p| p.0), plot.x_range, true),
        false => Axis::tight(points().map(|p| p.0), plot.x_range),
    };
    let y_ticks = y_axis.ticks(((bottom - top) / 42.0) as usize, false, Unit::Plain);
    let ends = end_labels(plot, shown, width * 0.34);

    let widest = |labels: &mut dyn Iterator<Item = f32>| labels.fold(0.0, f32::max);
    let left = area.left + widest(&mut y_ticks.iter().map(|t| font::width(&t.1, 10.5))) + 7.0;
    let right = area.right - widest(&mut ends.iter().map(|e| font::width(&e.text, 11.0))) - 16.0;
    let right = right.max(left + 8.0);
    let data = Area { left, top, right, bottom };
    let at = |(x, y): (f64, f64)| {
        let (x, y) = (x_axis.position(x), y_axis.position(y));
        (left + (right - left) * x, bottom - (bottom - top) * y)
    };

    for (value, label) in &y_ticks {
        let y = bottom - (bottom - top) * y_axis.position(*value);
        canvas.rectangle((left, y), (right, y + 0.8), GRID);
        canvas.text((left - 7.0, y + 4.0), text(10.5, MUTED, Anchor::End), label);
    }
    let whole = points().all(|p| p.0.fract() == 0.0);
    for (value, label) in x_axis.ticks(((right - left) / 62.0) as usize, whole, Unit::Plain) {
        let x = left + (right - left) * x_axis.position(value);
        canvas.rectangle((x, bottom), (x + 0.8, bottom + 4.0), AXIS);
        canvas.text((x, bottom + 16.0), text(10.5, MUTED, Anchor::Middle), &label);
    }
    canvas.rectangle((left, bottom), (right, bottom + 0.8), AXIS);
    canvas.text(((left + right) / 2.0, bottom + 33.0), text(10.5, MUTED, Anchor::Middle), &plot.x_label);

    for (row, mark) in plot.marks.iter().enumerate().filter(|(_, m)| shown(&(m.x, m.y))) {
        let (x, y) = at((mark.x, mark.y));
        if !inside((x, y), &data) {
            continue;
        }
        let baseline = top - 7.0 - row as f32 * LINE;
        canvas.rectangle((x - 0.4, baseline + 4.0), (x + 0.4, y), mix(mark.color, WHITE, 0.55));
        let words = font::fit(&mark.label, 11.0, right - left);
        let half = font::width(&words, 11.0) / 2.0;
        let middle = x.min(right - half).max(left + half);
        canvas.text((middle, baseline), text(11.0, on_white(mark.color), Anchor::Middle), &words);
    }
    for series in &plot.series {
        let positions: Vec<_> = series.points.iter().map(|p| shown(p).then(|| at(*p))).collect();
        for run in runs(&positions, &data) {
            match run.as_slice() {
                [dot, rest @ ..] if rest.iter().all(|p| p == dot) => {
                    canvas.disc(*dot, plot.dot, series.color)
                }
                line => canvas.polyline(line, 1.9, series.color),
            }
        }
    }
    for mark in plot.marks.iter().filter(|m| shown(&(m.x, m.y)) && inside(at((m.x, m.y)), &data)) {
        let center = at((mark.x, mark.y));
        canvas.disc(center, 5.6, WHITE);
        canvas.disc(center, 4.4, mark.color);
        canvas.disc(center, 2.0, WHITE);
    }
    draw_end_labels(canvas, &ends, &data, area.right, at);
}

fn inside((x, y): (f32, f32), area: &Area) -> bool {
    let (low_x, high_x) = (area.left - 0.5, area.right + 0.5);
    x >= low_x && x <= high_x && y >= area.top - 0.5 && y <= area.bottom + 0.5
}

/// A name and a last value for the margin.
struct EndLabel {
    text: String,
    /// The last point; `None` for a series without one.
    point: Option<(f64, f64)>,
    color: Color,
}

fn end_labels(plot: &Plot, shown: impl Fn(&(f64, f64)) -> bool, limit: f32) -> Vec<EndLabel> {
    let label = |series: &Series| match series.points.iter().rev().find(|p| shown(p)) {
        Some(&point) => {
            let value = plain(point.1);
            let name = font::fit(&series.name, 11.0, limit - font::width(&value, 11.0));
            EndLabel { text: format!("{name} {value}"), point: Some(point), color: series.color }
        }
        None => {
            let text = font::fit(&format!("{}: no data yet", series.name), 11.0, limit);
            EndLabel { text, point: None, color: MUTED }
        }
    };
    plot.series.iter().map(label).collect()
}

/// Sets the labels beside the ends of their lines, moved apart where ends lie close, with a thin
/// line from end to label.
fn draw_end_labels(
    canvas: &mut dyn Canvas,
    ends: &[EndLabel],
    data: &Area,
    right: f32,
    at: impl Fn((f64, f64)) -> (f32, f32),
) {
    // Where a label would like to be; without a line, at the bottom.
    let mut labels: Vec<_> = ends
        .iter()
        .map(|end| (end, end.point.map_or(data.bottom, |p| at(p).1.clamp(data.top, data.bottom))))
        .collect();
    labels.sort_by(|a, b| a.1.total_cmp(&b.1));
    let wanted: Vec<f32> = labels.iter().map(|label| label.1).collect();
    let x = data.right + 14.0;
    for ((end, wanted), y) in labels.iter().zip(spread(&wanted, data.top, data.bottom)) {
        if let Some(point) = end.point {
            let (from, _) = at(point);
            let start = (from.clamp(data.left, data.right) + 4.0, *wanted);
            canvas.polyline(&[start, (x - 3.0, y)], 0.6, mix(end.color, WHITE, 0.5));
        }
        let words = font::fit(&end.text, 11.0, right - x + 2.0);
        let style = Type { size: 11.0, color: on_white(end.color), anchor: Anchor::Start };
        canvas.text((x, y + 4.0), style, &words);
    }
}

/// Moves sorted positions apart to [`LINE`] (less where they do not fit), each as near to where it
/// was as the others let it, within `low` to `high`.
fn spread(wanted: &[f32], low: f32, high: f32) -> Vec<f32> {
    let gap = LINE.min((high - low) / wanted.len().saturating_sub(1).max(1) as f32);
    // Clusters of touching labels around the mean of what they want (pool adjacent violators).
    let mut clusters: Vec<(f32, usize)> = Vec::new();
    for &position in wanted {
        clusters.push((position, 1));
        while let [.., (a, n), (b, m)] = clusters[..] {
            if b - a >= gap * (n + m) as f32 / 2.0 {
                break;
            }
            clusters.truncate(clusters.len() - 2);
            clusters.push(((a * n as f32 + b * m as f32) / (n + m) as f32, n + m));
        }
    }
    let mut spread = Vec::with_capacity(wanted.len());
    for (middle, count) in clusters {
        let half = gap * (count - 1) as f32 / 2.0;
        spread.extend((0..count).map(|i| middle - half + gap * i as f32));
    }
    // Clusters at a border are pushed in, and push what they meet.
    let mut floor = low;
    for position in &mut spread {
        *position = position.max(floor);
        floor = *position + gap;
    }
    let mut ceiling = high;
    for position in spread.iter_mut().rev() {
        *position = position.min(ceiling);
        ceiling = *position - gap;
    }
    spread
}

/// `color`, darkened until text in it reads on white.
fn on_white(color: Color) -> Color {
    let mut color = color;
    while luminance(color) > 0.22 {
        color = mix(color, [0; 3], 0.12);
    }
    color
}

/// The unbroken lines through `positions`, cut to `area`: gaps and leaving the area end one.
fn runs(positions: &[Option<(f32, f32)>], area: &Area) -> Vec<Vec<(f32, f32)>> {
    let mut runs: Vec<Vec<(f32, f32)>> = Vec::new();
    for (i, position) in positions.iter().enumerate() {
        let Some(to) = *position else { continue };
        let from = i.checked_sub(1).and_then(|previous| positions[previous]);
        let joined = from.is_some() || positions.get(i + 1).copied().flatten().is_some();
        match from {
            None if !joined && inside(to, area) => runs.push(vec![to]),
            None => {}
            Some(from) => {
                let Some((a, b)) = clip_segment(from, to, area) else { continue };
                match runs.last_mut() {
                    Some(run) if run.len() > 1 && run.last() == Some(&a) && a == from => run.push(b),
                    _ => runs.push(vec![a, b]),
                }
            }
        }
    }
    runs
}

/// The part of a segment in `area` (Liang and Barsky, 1984).
fn clip_segment(a: (f32, f32), b: (f32, f32), area: &Area) -> Option<((f32, f32), (f32, f32))> {
    let (dx, dy) = (b.0 - a.0, b.1 - a.1);
    let (mut enter, mut leave) = (0.0_f32, 1.0_f32);
    let borders =
        [(-dx, a.0 - area.left), (dx, area.right - a.0), (-dy, a.1 - area.top), (dy, area.bottom - a.1)];
    for (slope, room) in borders {
        // The ends of an axis may fall a rounding error outside of it.
        let room = room + 0.01;
        if slope == 0.0 {
            if room < 0.0 {
                return None;
            }
        } else if slope < 0.0 {
            enter = enter.max(room / slope);
        } else {
            leave = leave.min(room / slope);
        }
    }
    let point = |t: f32| if t == 0.0 { a } else { (a.0 + t * dx, a.1 + t * dy) };
    (enter <= leave).then(|| (point(enter), if leave == 1.0 { b } else { point(leave) }))
}

#[cfg(test)]
#[path = "curves_tests.rs"]
mod tests;

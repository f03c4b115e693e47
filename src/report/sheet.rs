//! Several charts in one picture, one below the other.

use std::path::Path;

use super::bars::{self, BarChart};
use super::canvas::{Canvas, Svg, Type, check_name, save};
use super::curves::{self, Area, Plot};
use super::draw::Color;
use crate::Result;

/// A chart of a sheet.
#[derive(Clone, Debug)]
pub enum Chart {
    /// Bars, as high as their rows need.
    Bars(BarChart),
    /// Lines and points, in the plot's own proportions.
    Lines(Plot),
}

impl Chart {
    fn height(&self) -> f32 {
        match self {
            Chart::Bars(chart) => bars::height(chart),
            Chart::Lines(plot) => bars::WIDTH * plot.size.1 as f32 / plot.size.0.max(1) as f32,
        }
    }

    fn paint(&self, canvas: &mut dyn Canvas) {
        match self {
            Chart::Bars(chart) => bars::paint(canvas, chart),
            Chart::Lines(plot) => {
                let (right, bottom) = (bars::WIDTH - 16.0, self.height() - 14.0);
                let area = Area { left: 18.0, top: 10.0, right, bottom };
                curves::panel(canvas, area, plot, plot.marks.len());
            }
        }
    }
}

/// Draws `charts` to `path` (`.png`, 1800 pixels wide, or `.svg`), whole or not at all.
///
/// # Errors
/// Where the file cannot be written, its name ends in neither `.png` nor `.svg`, or the charts together are
/// higher than a PNG can be.
pub fn plot_sheet(path: impl AsRef<Path>, charts: &[Chart]) -> Result<()> {
    save(path.as_ref(), sheet_size(charts), 2.0, |canvas| paint(canvas, charts))
}

/// `charts` as the text of an SVG picture, to be part of a page.
pub fn svg_sheet(charts: &[Chart]) -> String {
    let mut svg = Svg::new(sheet_size(charts));
    paint(&mut svg, charts);
    svg.finish()
}

fn sheet_size(charts: &[Chart]) -> (f32, f32) {
    (bars::WIDTH, charts.iter().map(Chart::height).sum::<f32>().max(1.0))
}

fn paint(canvas: &mut dyn Canvas, charts: &[Chart]) {
    let mut top = 0.0;
    for chart in charts {
        chart.paint(&mut Below { canvas, top });
        top += chart.height();
    }
}

/// Whether a chart can be written under this name: to find out before anything is measured.
///
/// # Errors
/// Where the name ends in neither `.png` nor `.svg`.
pub fn check_chart_name(path: impl AsRef<Path>) -> Result<()> {
    check_name(path.as_ref()).map(|_| ())
}

/// A canvas below `top` points of another.
struct Below<'a> {
    canvas: &'a mut dyn Canvas,
    top: f32,
}

impl Below<'_> {
    fn place(&self, (x, y): (f32, f32)) -> (f32, f32) {
        (x, y + self.top)
    }
}

impl Canvas for Below<'_> {
    fn rectangle(&mut self, from: (f32, f32), to: (f32, f32), color: Color) {
        self.canvas.rectangle(self.place(from), self.place(to), color);
    }

    fn polyline(&mut self, points: &[(f32, f32)], width: f32, color: Color) {
        let points: Vec<_> = points.iter().map(|&point| self.place(point)).collect();
        self.canvas.polyline(&points, width, color);
    }

    fn disc(&mut self, center: (f32, f32), radius: f32, color: Color) {
        self.canvas.disc(self.place(center), radius, color);
    }

    fn text(&mut self, at: (f32, f32), style: Type, text: &str) {
        self.canvas.text(self.place(at), style, text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{BarRow, BarSeries, Series};

    const BLUE: Color = [0, 114, 178];
    const RED: Color = [213, 94, 0];

    #[test]
    fn charts_stand_one_below_the_other() {
        let bars = Chart::Bars(BarChart {
            title: "bars".into(),
            series: vec![BarSeries { name: "a".into(), color: BLUE }],
            rows: vec![BarRow { label: "row".into(), values: vec![1.0] }],
            ..BarChart::default()
        });
        let dots = |x: f64, y: f64| Series { name: "dot".into(), points: vec![(x, y)], color: RED };
        let lines = Chart::Lines(Plot {
            log_x: true,
            log_y: true,
            x_range: Some((1.0, 100.0)),
            y_range: Some((1.0, 100.0)),
            series: vec![dots(10.0, 10.0)],
            dot: 4.0,
            size: (900, 300),
            ..Plot::default()
        });
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sheet.png");
        plot_sheet(&path, &[bars.clone(), lines]).unwrap();
        let image = image::open(&path).unwrap().to_rgb8();
        let border = (bars.height() * 2.0) as u32;
        assert_eq!((image.width(), image.height()), (1800, border + 600));
        let rows = |color: Color| {
            let rows = image.enumerate_pixels().filter(|p| p.2.0 == color).map(|p| p.1);
            (rows.clone().min().unwrap(), rows.max().unwrap())
        };
        assert!(rows(BLUE).1 < border && rows(RED).0 > border);
        // A lone point at the middle of both logarithmic axes is as large as it was asked for.
        let (top, bottom) = rows(RED);
        assert!((12..=18).contains(&(bottom - top)), "{top} {bottom}");
    }
}

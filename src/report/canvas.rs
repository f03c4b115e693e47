//! A canvas for charts: the few shapes they need, onto pixels or into SVG.
//!
//! Coordinates are in points from the top left; a raster canvas has a whole picture's `scale` pixels
//! per point. Rectangles are snapped to whole pixels (grids and bars must be crisp), all else is
//! anti-aliased by its distance to the pixel's centre.

use std::fmt::Write as _;
use std::path::Path;

use image::{Rgb, RgbImage};

use super::draw::Color;
use super::file::save_png;
use super::font;
use crate::format::atomic::write_atomically;
use crate::{Error, Result};

/// Text.
pub(super) const INK: Color = [32, 33, 36];
/// Text beside the matter: ticks, numbers.
pub(super) const MUTED: Color = [95, 99, 104];
/// Lines behind the data.
pub(super) const GRID: Color = [232, 234, 237];
/// The lines that the data stands on.
pub(super) const AXIS: Color = [154, 160, 166];
/// The paper.
pub(super) const WHITE: Color = [255; 3];

/// Where a text's x is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Anchor {
    /// Its left end.
    Start,
    /// Its middle.
    Middle,
    /// Its right end.
    End,
}

/// How a text is set.
#[derive(Clone, Copy, Debug)]
pub(super) struct Type {
    /// Points per em.
    pub size: f32,
    pub color: Color,
    pub anchor: Anchor,
}

/// What a chart draws on.
pub(super) trait Canvas {
    /// Fills the rectangle from (x0, y0) to (x1, y1); at least one pixel wide and high.
    fn rectangle(&mut self, from: (f32, f32), to: (f32, f32), color: Color);
    /// A line through `points` with round joins and ends.
    fn polyline(&mut self, points: &[(f32, f32)], width: f32, color: Color);
    /// A filled circle.
    fn disc(&mut self, center: (f32, f32), radius: f32, color: Color);
    /// A line of text whose baseline runs through `at`.
    fn text(&mut self, at: (f32, f32), style: Type, text: &str);
}

/// Draws a figure of `size` points with `paint` and writes it to `path`: `.svg` as SVG, `.png` as a
/// PNG with `scale` pixels per point.
pub(super) fn save(
    path: &Path,
    size: (f32, f32),
    scale: f32,
    paint: impl FnOnce(&mut dyn Canvas),
) -> Result<()> {
    match check_name(path)? {
        Format::Svg => {
            let mut svg = Svg::new(size);
            paint(&mut svg);
            write_atomically(path, |w| w.write_all(svg.finish().as_bytes()))
        }
        Format::Png => {
            let pixels = (size.0 * scale, size.1 * scale);
            if !(pixels.0 >= 1.0 && pixels.1 >= 1.0 && pixels.0 <= LARGEST && pixels.1 <= LARGEST) {
                let size = format!("a picture of {} × {} pixels cannot be drawn", pixels.0, pixels.1);
                return Err(Error::file(path, size)
                    .fix(format!("ask for 1 to {LARGEST} pixels a side, or write an .svg")));
            }
            let mut raster = Raster::new(pixels.0.round() as u32, pixels.1.round() as u32, scale);
            paint(&mut raster);
            save_png(path, &raster.image)
        }
    }
}

/// What a figure is written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Svg,
    Png,
}

/// The format that `path`'s name ends in.
pub(super) fn check_name(path: &Path) -> Result<Format> {
    let extension = path.extension().map(|e| e.to_string_lossy().to_ascii_lowercase());
    match extension.as_deref() {
        Some("svg") => Ok(Format::Svg),
        Some("png") => Ok(Format::Png),
        _ => Err(Error::file(path, "is neither a .png nor an .svg").fix("end the name in .png or .svg")),
    }
}

/// The largest side of a PNG, in pixels: viewers refuse larger ones.
const LARGEST: f32 = 32_768.0;

/// Mixes `color` into the pixel, if it is on the image.
pub(super) fn blend(image: &mut RgbImage, x: i32, y: i32, color: Color, coverage: f32) {
    let (Ok(x), Ok(y)) = (u32::try_from(x), u32::try_from(y)) else { return };
    let Some(Rgb(pixel)) = image.get_pixel_mut_checked(x, y) else { return };
    for (channel, new) in pixel.iter_mut().zip(color) {
        let old = f32::from(*channel);
        *channel = (old + (f32::from(new) - old) * coverage).round() as u8;
    }
}

/// The canvas of pixels.
struct Raster {
    image: RgbImage,
    scale: f32,
}

impl Raster {
    fn new(width: u32, height: u32, scale: f32) -> Self {
        Raster { image: RgbImage::from_pixel(width, height, Rgb(WHITE)), scale }
    }

    /// The pixels from `low` to `high` (exclusive), cut to the canvas.
    fn span(low: f32, high: f32, limit: u32) -> std::ops::Range<u32> {
        // `as` saturates, and takes NaN to 0.
        (low.floor().max(0.0) as u32).min(limit)..(high.ceil().max(0.0) as u32).min(limit)
    }
}

impl Canvas for Raster {
    fn rectangle(&mut self, from: (f32, f32), to: (f32, f32), color: Color) {
        let edge = |value: f32| (value * self.scale).round();
        let (x0, y0) = (edge(from.0), edge(from.1));
        // The extent is rounded by itself, so that lines of one width have one wherever they lie.
        let (x1, y1) = (x0 + edge(to.0 - from.0).max(1.0), y0 + edge(to.1 - from.1).max(1.0));
        for y in Self::span(y0, y1, self.image.height()) {
            for x in Self::span(x0, x1, self.image.width()) {
                self.image.put_pixel(x, y, Rgb(color));
            }
        }
    }

    fn polyline(&mut self, points: &[(f32, f32)], width: f32, color: Color) {
        let points: Vec<_> = points.iter().map(|p| (p.0 * self.scale, p.1 * self.scale)).collect();
        let Some(&last) = points.last() else { return };
        let half = (width * self.scale).max(1.0) / 2.0;
        let reach = half + 1.0;
        let bounds = |pick: fn(&(f32, f32)) -> f32, limit| {
            let low = points.iter().map(pick).fold(f32::INFINITY, f32::min);
            let high = points.iter().map(pick).fold(f32::NEG_INFINITY, f32::max);
            Self::span(low - reach, high + reach, limit)
        };
        let columns = bounds(|p| p.0, self.image.width());
        let rows = bounds(|p| p.1, self.image.height());
        // The largest coverage of any segment: blending each by itself would darken the joins.
        let mut coverage = vec![0.0_f32; columns.len() * rows.len()];
        let ends = points.iter().skip(1).chain([&last]);
        for (&a, &b) in points.iter().zip(ends) {
            let xs = Self::span(a.0.min(b.0) - reach, a.0.max(b.0) + reach, self.image.width());
            for y in Self::span(a.1.min(b.1) - reach, a.1.max(b.1) + reach, self.image.height()) {
                let row = (y - rows.start) as usize * columns.len();
                for x in xs.clone() {
                    let distance = distance_to_segment((x as f32 + 0.5, y as f32 + 0.5), a, b);
                    let cell = &mut coverage[row + (x - columns.start) as usize];
                    *cell = cell.max((half + 0.5 - distance).clamp(0.0, 1.0));
                }
            }
        }
        for (y, row) in rows.zip(coverage.chunks(columns.len().max(1))) {
            for (x, &covered) in columns.clone().zip(row) {
                if covered > 0.0 {
                    blend(&mut self.image, x as i32, y as i32, color, covered);
                }
            }
        }
    }

    fn disc(&mut self, center: (f32, f32), radius: f32, color: Color) {
        self.polyline(&[center], radius * 2.0, color);
    }

    fn text(&mut self, at: (f32, f32), style: Type, text: &str) {
        let (x, baseline, size) = (at.0 * self.scale, at.1 * self.scale, style.size * self.scale);
        let x = match style.anchor {
            Anchor::Start => x,
            Anchor::Middle => x - font::width(text, size) / 2.0,
            Anchor::End => x - font::width(text, size),
        };
        // A baseline on a whole pixel keeps the feet of the letters sharp.
        font::draw(text, x, baseline.round(), size, |x, y, coverage| {
            blend(&mut self.image, x, y, style.color, coverage);
        });
    }
}

fn distance_to_segment(p: (f32, f32), a: (f32, f32), b: (f32, f32)) -> f32 {
    let along = (b.0 - a.0, b.1 - a.1);
    let length = along.0 * along.0 + along.1 * along.1;
    let t = if length > 0.0 { ((p.0 - a.0) * along.0 + (p.1 - a.1) * along.1) / length } else { 0.0 };
    let t = t.clamp(0.0, 1.0);
    (p.0 - a.0 - t * along.0).hypot(p.1 - a.1 - t * along.1)
}

/// The canvas of SVG elements.
pub(super) struct Svg(String);

impl Svg {
    pub(super) fn new((width, height): (f32, f32)) -> Self {
        // Verdana has the metrics of our font, so the layout holds where DejaVu is not installed.
        Svg(format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
             viewBox=\"0 0 {width} {height}\" font-family=\"DejaVu Sans, Verdana, sans-serif\">\n\
             <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n"
        ))
    }

    pub(super) fn finish(mut self) -> String {
        self.0.push_str("</svg>\n");
        self.0
    }

    fn add(&mut self, element: std::fmt::Arguments<'_>) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.0, "{element}");
    }
}

fn hex([r, g, b]: Color) -> String {
    format!("#{r:02x}{g:02x}{b:02x}")
}

/// `text` as it stands in SVG and HTML.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            // XML has no control characters, nor these two.
            c if c.is_control() || matches!(c, '\u{FFFE}' | '\u{FFFF}') => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

impl Canvas for Svg {
    fn rectangle(&mut self, from: (f32, f32), to: (f32, f32), color: Color) {
        let (x, y) = from;
        let (width, height) = ((to.0 - x).max(1.0), (to.1 - y).max(1.0));
        self.add(format_args!(
            "<rect x=\"{x:.2}\" y=\"{y:.2}\" width=\"{width:.2}\" height=\"{height:.2}\" fill=\"{}\"/>",
            hex(color)
        ));
    }

    fn polyline(&mut self, points: &[(f32, f32)], width: f32, color: Color) {
        let points: Vec<String> = points.iter().map(|(x, y)| format!("{x:.2},{y:.2}")).collect();
        self.add(format_args!(
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"{width:.2}\" \
             stroke-linejoin=\"round\" stroke-linecap=\"round\"/>",
            points.join(" "),
            hex(color)
        ));
    }

    fn disc(&mut self, center: (f32, f32), radius: f32, color: Color) {
        let (x, y) = center;
        self.add(format_args!(
            "<circle cx=\"{x:.2}\" cy=\"{y:.2}\" r=\"{radius:.2}\" fill=\"{}\"/>",
            hex(color)
        ));
    }

    fn text(&mut self, at: (f32, f32), style: Type, text: &str) {
        let anchor = match style.anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        self.add(format_args!(
            "<text x=\"{:.2}\" y=\"{:.2}\" font-size=\"{}\" text-anchor=\"{anchor}\" fill=\"{}\">{}</text>",
            at.0,
            at.1,
            style.size,
            hex(style.color),
            escaped(text)
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RED: Color = [255, 0, 0];

    #[test]
    fn rectangles_are_crisp_and_cut_to_the_canvas() {
        let mut raster = Raster::new(8, 8, 2.0);
        raster.rectangle((1.0, 1.0), (3.0, 2.0), RED);
        let red: Vec<_> = raster.image.enumerate_pixels().filter(|p| p.2.0 == RED).collect();
        assert_eq!(red.len(), 4 * 2);
        assert!(red.iter().all(|(x, y, _)| (2..6).contains(x) && (2..4).contains(y)));
        raster.rectangle((-1e9, -5.0), (1e9, f32::INFINITY), RED);
        assert!(raster.image.pixels().all(|p| p.0 == RED));
    }

    #[test]
    fn a_line_is_full_at_its_middle_and_soft_at_its_edge() {
        let mut raster = Raster::new(20, 20, 1.0);
        raster.polyline(&[(2.0, 10.0), (18.0, 10.0)], 3.0, RED);
        assert_eq!(raster.image.get_pixel(10, 9).0, RED);
        // The line covers y from 8.5 to 11.5: half of the rows 8 and 11.
        assert_eq!(raster.image.get_pixel(10, 8).0, [255, 128, 128]);
        assert_eq!(raster.image.get_pixel(10, 11).0, [255, 128, 128]);
        assert_eq!(raster.image.get_pixel(10, 7).0, [255; 3]);
    }

    #[test]
    fn shapes_off_the_canvas_do_nothing() {
        let mut raster = Raster::new(4, 4, 1.0);
        raster.polyline(&[(-50.0, -50.0), (-20.0, -20.0)], 2.0, RED);
        raster.polyline(&[(90.0, 90.0)], 2.0, RED);
        raster.polyline(&[], 2.0, RED);
        raster.disc((f32::NAN, 0.0), 2.0, RED);
        let style = Type { size: 9.0, color: RED, anchor: Anchor::End };
        raster.text((-90.0, -90.0), style, "far");
        assert!(raster.image.pixels().all(|p| p.0 == [255; 3]));
    }

    #[test]
    fn svg_escapes_its_text() {
        let mut svg = Svg::new((10.0, 5.0));
        let style = Type { size: 9.0, color: RED, anchor: Anchor::Middle };
        svg.text((1.0, 2.0), style, "a<b> & \u{7}");
        let text = svg.finish();
        assert!(text.contains("text-anchor=\"middle\" fill=\"#ff0000\">a&lt;b&gt; &amp;  </text>"), "{text}");
        assert!(text.starts_with("<svg ") && text.ends_with("</svg>\n"));
    }

    #[test]
    fn refuses_other_formats_and_absurd_sizes() {
        let error = save(Path::new("x.gif"), (9.0, 9.0), 1.0, |_| {}).unwrap_err().to_string();
        assert_eq!(error, "x.gif: is neither a .png nor an .svg; end the name in .png or .svg");
        for size in [(0.0, 9.0), (9.0, 1e9), (f32::NAN, 9.0)] {
            assert!(save(Path::new("x.png"), size, 1.0, |_| {}).is_err());
        }
    }
}

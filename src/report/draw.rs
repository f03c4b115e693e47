//! Boxes with labels on pictures, and contact sheets of pictures.

use image::{Rgb, RgbImage, imageops};

use super::canvas::{INK, WHITE, blend};
use super::font;

/// Red, green, blue (sRGB).
pub type Color = [u8; 3];

/// How a box's line is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum BoxStyle {
    /// A whole line: detections.
    #[default]
    Solid,
    /// A dashed line: truth, beside or below detections.
    Dashed,
}

/// A box to draw, with its label.
#[derive(Clone, Debug, PartialEq)]
pub struct BoxLabel {
    /// Left edge in pixels, from the image's left.
    pub x0: f32,
    /// Top edge in pixels, from the image's top.
    pub y0: f32,
    /// Right edge in pixels.
    pub x1: f32,
    /// Bottom edge in pixels.
    pub y1: f32,
    /// What stands on the tag; no tag where it is empty.
    pub label: String,
    /// The color of line and tag; [`palette`] has one for each class.
    pub color: Color,
    /// The line's style.
    pub style: BoxStyle,
}

/// The color of `class`: hues that stay apart under the common color blindnesses (Okabe and Ito,
/// Color Universal Design, 2008), then lighter and darker ones; 21 in all, then over again.
pub fn palette(class: usize) -> Color {
    const HUES: [Color; 7] = [
        [230, 159, 0],
        [86, 180, 233],
        [0, 158, 115],
        [240, 228, 66],
        [213, 94, 0],
        [204, 121, 167],
        [0, 114, 178],
    ];
    let hue = HUES[class % HUES.len()];
    match class / HUES.len() % 3 {
        0 => hue,
        1 => mix(hue, [255; 3], 0.45),
        _ => mix(hue, [0; 3], 0.45),
    }
}

/// `part` of the way from `from` to `to`.
pub(super) fn mix(from: Color, to: Color, part: f32) -> Color {
    std::array::from_fn(|i| {
        let (a, b) = (f32::from(from[i]), f32::from(to[i]));
        (a + (b - a) * part).round() as u8
    })
}

/// The relative luminance of `color`, 0 to 1 (WCAG 2.2).
pub(super) fn luminance(color: Color) -> f32 {
    let linear = |c: u8| {
        let c = f32::from(c) / 255.0;
        if c <= 0.040_45 { c / 12.92 } else { ((c + 0.055) / 1.055).powf(2.4) }
    };
    0.2126 * linear(color[0]) + 0.7152 * linear(color[1]) + 0.0722 * linear(color[2])
}

/// Pixels from (left, top) up to but without (right, bottom).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Rect {
    left: i32,
    top: i32,
    right: i32,
    bottom: i32,
}

impl Rect {
    fn overlap(&self, other: &Rect) -> i64 {
        let width = self.right.min(other.right) - self.left.max(other.left);
        let height = self.bottom.min(other.bottom) - self.top.max(other.top);
        i64::from(width.max(0)) * i64::from(height.max(0))
    }

    fn fill(&self, image: &mut RgbImage, color: Color) {
        for y in self.top..self.bottom {
            for x in self.left..self.right {
                blend(image, x, y, color, 1.0);
            }
        }
    }
}

/// Draws `boxes` on `image`, the first ones lowest. Lines lie inside the box and grow with the image;
/// a box that reaches over the image's border is drawn along that border, one that lies outside of it
/// or has a NaN is left out, and swapped corners are put right. Tags stay within the image, avoid
/// each other where a place beside their box is free, and lie above all lines.
pub fn draw_boxes(image: &mut RgbImage, boxes: &[BoxLabel]) {
    let (Ok(width), Ok(height)) = (i32::try_from(image.width()), i32::try_from(image.height())) else {
        return;
    };
    let shortest = width.min(height) as f32;
    let line = (shortest / 250.0).round().clamp(1.0, 12.0) as i32;
    let size = (shortest * 0.028).clamp(10.0, 40.0).round();
    let placed: Vec<_> = boxes.iter().filter_map(|b| Some((b, clip(b, width, height)?))).collect();
    for (item, rect) in &placed {
        frame(image, rect, line, item.color, item.style);
    }
    let mut tags: Vec<Rect> = Vec::new();
    for (item, rect) in &placed {
        if let Some((tag, text)) = place_tag(&item.label, rect, size, (width, height), &tags) {
            tag.fill(image, item.color);
            let ink = if luminance(item.color) > 0.179 { [0; 3] } else { [255; 3] };
            let baseline = (tag.top + tag.bottom) as f32 / 2.0 + size * font::CAP_HEIGHT / 2.0;
            font::draw(&text, tag.left as f32 + padding(size), baseline.round(), size, |x, y, coverage| {
                blend(image, x, y, ink, coverage);
            });
            tags.push(tag);
        }
    }
}

/// The pixels of a box on an image, at least one each way; `None` where it is not on it.
fn clip(item: &BoxLabel, width: i32, height: i32) -> Option<Rect> {
    if [item.x0, item.y0, item.x1, item.y1].iter().any(|v| v.is_nan()) {
        return None;
    }
    let span = |a: f32, b: f32, limit: i32| {
        let (low, high) = (a.min(b), a.max(b));
        let end = limit as f32;
        if low >= end || (high <= 0.0 && low < 0.0) {
            return None;
        }
        let first = (low.clamp(0.0, end).round() as i32).min(limit - 1);
        Some((first, (high.clamp(0.0, end).round() as i32).clamp(first + 1, limit)))
    };
    let (left, right) = span(item.x0, item.x1, width)?;
    let (top, bottom) = span(item.y0, item.y1, height)?;
    Some(Rect { left, top, right, bottom })
}

fn frame(image: &mut RgbImage, rect: &Rect, line: i32, color: Color, style: BoxStyle) {
    let Rect { left, top, right, bottom } = *rect;
    // Dashes are spread so that each side starts and ends with half of one: corners are always drawn.
    let inked = |at: i32, length: i32| {
        let (dash, period) = (line as f32 * 4.0, line as f32 * 7.0);
        let periods = (length as f32 / period).round().max(1.0);
        style == BoxStyle::Solid || (at as f32 + 0.5 + dash / 2.0) % (length as f32 / periods) < dash
    };
    for depth in 0..line {
        for x in left..right {
            if inked(x - left, right - left) {
                blend(image, x, (top + depth).min(bottom - 1), color, 1.0);
                blend(image, x, (bottom - 1 - depth).max(top), color, 1.0);
            }
        }
        for y in top..bottom {
            if inked(y - top, bottom - top) {
                blend(image, (left + depth).min(right - 1), y, color, 1.0);
                blend(image, (right - 1 - depth).max(left), y, color, 1.0);
            }
        }
    }
}

/// The room on a tag at both sides of its text.
fn padding(size: f32) -> f32 {
    (size * 0.3).round()
}

/// Where the tag of the box at `rect` goes, and its text, shortened to the image; `None` where there
/// is no text or no room.
fn place_tag(
    label: &str,
    rect: &Rect,
    size: f32,
    (width, height): (i32, i32),
    tags: &[Rect],
) -> Option<(Rect, String)> {
    let room = width as f32 - 2.0 * padding(size);
    let text = font::fit(label.trim(), size, room);
    let tall = (size * 1.35).round() as i32;
    if text.is_empty() || tall > height {
        return None;
    }
    let wide = ((font::width(&text, size) + 2.0 * padding(size)).ceil() as i32).min(width);
    // In the order in which eyes look for it.
    let candidates = [
        (rect.left, rect.top - tall),
        (rect.left, rect.top),
        (rect.left, rect.bottom),
        (rect.right - wide, rect.top - tall),
        (rect.right - wide, rect.bottom),
        (rect.right - wide, rect.top),
        (rect.left, rect.bottom - tall),
        (rect.right - wide, rect.bottom - tall),
    ];
    let at = |x: i32, y: i32| {
        let left = x.clamp(0, width - wide);
        let top = y.clamp(0, height - tall);
        Rect { left, top, right: left + wide, bottom: top + tall }
    };
    let best = candidates
        .iter()
        .filter(|(_, y)| (0..=height - tall).contains(y))
        .map(|&(x, y)| at(x, y))
        .min_by_key(|tag| tags.iter().map(|other| tag.overlap(other)).sum::<i64>());
    Some((best.unwrap_or_else(|| at(rect.left, rect.top)), text))
}

/// A contact sheet: `panels` (picture and title) row by row in `columns` columns of equal cells, each
/// picture in the middle of its cell's width under its title. No picture is resized. Without panels
/// it is one white pixel; `columns` of 0 counts as 1.
pub fn side_by_side(panels: Vec<(RgbImage, String)>, columns: usize) -> RgbImage {
    if panels.is_empty() {
        return RgbImage::from_pixel(1, 1, Rgb(WHITE));
    }
    let columns = columns.clamp(1, panels.len());
    let rows = panels.len().div_ceil(columns);
    let cell_width = panels.iter().map(|p| p.0.width()).max().unwrap_or(1);
    let cell_height = panels.iter().map(|p| p.0.height()).max().unwrap_or(1);
    let gap = (cell_width / 40).clamp(4, 32);
    let size = (cell_width as f32 * 0.04).clamp(11.0, 40.0).round();
    let titled = panels.iter().any(|p| !p.1.is_empty());
    let title = if titled { (size * 1.6).round() as u32 } else { 0 };
    let mut sheet = RgbImage::from_pixel(
        gap + columns as u32 * (cell_width + gap),
        gap + rows as u32 * (title + cell_height + gap),
        Rgb(WHITE),
    );
    for (index, (picture, name)) in panels.iter().enumerate() {
        let x = gap + (index % columns) as u32 * (cell_width + gap);
        let y = gap + (index / columns) as u32 * (title + cell_height + gap);
        let left = x + (cell_width - picture.width()) / 2;
        imageops::replace(&mut sheet, picture, i64::from(left), i64::from(y + title));
        let text = font::fit(name, size, cell_width as f32);
        // The title stands over its picture, but moves left rather than out of its cell.
        let start = (left as f32).min((x + cell_width) as f32 - font::width(&text, size)).max(x as f32);
        font::draw(&text, start, (y as f32 + size * 1.05).round(), size, |x, y, coverage| {
            blend(&mut sheet, x, y, INK, coverage);
        });
    }
    sheet
}

#[cfg(test)]
mod tests {
    use super::*;

    const GREY: Rgb<u8> = Rgb([90; 3]);

    fn boxed(x0: f32, y0: f32, x1: f32, y1: f32, label: &str, color: Color) -> BoxLabel {
        BoxLabel { x0, y0, x1, y1, label: label.to_owned(), color, style: BoxStyle::Solid }
    }

    #[test]
    fn edges_have_the_color_and_the_inside_is_left() {
        let mut image = RgbImage::from_pixel(500, 500, GREY);
        draw_boxes(&mut image, &[boxed(100.0, 120.0, 300.0, 260.0, "", [255, 0, 0])]);
        let red = Rgb([255, 0, 0]);
        // 500 pixels have a line of 2, inside the box.
        for x in 100..300 {
            for y in [120, 121, 258, 259] {
                assert_eq!(*image.get_pixel(x, y), red, "({x}, {y})");
            }
        }
        for y in 120..260 {
            for x in [100, 101, 298, 299] {
                assert_eq!(*image.get_pixel(x, y), red, "({x}, {y})");
            }
        }
        let count = image.pixels().filter(|p| **p == red).count();
        assert_eq!(count, 2 * (200 + 140) * 2 - 4 * 4);
        assert!(image.pixels().all(|p| *p == red || *p == GREY));
    }

    #[test]
    fn dashes_draw_corners_and_leave_gaps() {
        let mut image = RgbImage::from_pixel(500, 500, GREY);
        let mut item = boxed(50.0, 50.0, 450.0, 450.0, "", [0, 0, 255]);
        item.style = BoxStyle::Dashed;
        draw_boxes(&mut image, &[item]);
        let blue = Rgb([0, 0, 255]);
        for (x, y) in [(50, 50), (449, 50), (50, 449), (449, 449)] {
            assert_eq!(*image.get_pixel(x, y), blue);
        }
        let inked = (50..450).filter(|x| *image.get_pixel(*x, 50) == blue).count();
        assert!((200..260).contains(&inked), "{inked} of 400 pixels");
    }

    /// The pixels that the tag of a box changed: all that differ from the same box without a label.
    fn tag_pixels(width: u32, height: u32, item: &BoxLabel) -> Vec<(u32, u32)> {
        let mut with = RgbImage::from_pixel(width, height, GREY);
        let mut without = with.clone();
        draw_boxes(&mut with, std::slice::from_ref(item));
        draw_boxes(&mut without, &[BoxLabel { label: String::new(), ..item.clone() }]);
        with.enumerate_pixels()
            .filter(|(x, y, p)| *p != without.get_pixel(*x, *y))
            .map(|(x, y, _)| (x, y))
            .collect()
    }

    #[test]
    fn tags_are_whole_at_every_border() {
        // In the middle, the whole tag is on the image: its size is what the others must have.
        let size = 10.0_f32;
        let tall = (size * 1.35).round() as usize;
        let wide = (font::width("person 0.87", size) + 2.0 * padding(size)).ceil() as usize;
        for (x, y) in [(0.0, 0.0), (60.0, 0.0), (110.0, 0.0), (0.0, 60.0), (60.0, 60.0), (110.0, 60.0)]
            .into_iter()
            .chain([(0.0, 115.0), (60.0, 115.0), (115.0, 115.0), (-30.0, -30.0), (60.0, -50.0)])
        {
            let item = boxed(x, y, x + 45.0, y + 60.0, "person 0.87", [250, 240, 60]);
            let rect = clip(&item, 120, 120).unwrap();
            let (tag, text) = place_tag(&item.label, &rect, size, (120, 120), &[]).unwrap();
            assert_eq!(text, "person 0.87");
            assert!(tag.left >= 0 && tag.top >= 0 && tag.right <= 120 && tag.bottom <= 120, "{tag:?}");
            assert_eq!(((tag.right - tag.left) as usize, (tag.bottom - tag.top) as usize), (wide, tall));
            let changed = tag_pixels(120, 120, &item);
            assert!(changed.len() > wide * tall / 3, "({x}, {y}): {} pixels", changed.len());
            for (px, py) in changed {
                let (px, py) = (px as i32, py as i32);
                assert!(px >= tag.left && px < tag.right && py >= tag.top && py < tag.bottom);
            }
        }
    }

    #[test]
    fn text_is_black_on_light_and_white_on_dark() {
        for (color, ink) in [([255, 255, 0], 0_u8), ([0, 0, 120], 255), ([0, 158, 115], 0)] {
            let mut image = RgbImage::from_pixel(600, 600, GREY);
            draw_boxes(&mut image, &[boxed(20.0, 50.0, 580.0, 550.0, "HHHH", color)]);
            let near = |p: &Rgb<u8>, ink: u8| p.0.iter().all(|c| c.abs_diff(ink) <= 50);
            assert!(image.pixels().any(|p| near(p, ink)), "{color:?}");
            assert!(!image.pixels().any(|p| near(p, 255 - ink)), "{color:?}");
        }
    }

    #[test]
    fn tags_of_boxes_at_the_same_place_do_not_overlap() {
        let mut tags: Vec<Rect> = Vec::new();
        let rect = Rect { left: 100, top: 100, right: 300, bottom: 300 };
        for _ in 0..8 {
            let (tag, _) = place_tag("truck 0.5", &rect, 14.0, (400, 400), &tags).unwrap();
            assert!(tags.iter().all(|other| other.overlap(&tag) == 0), "{tags:?} and {tag:?}");
            tags.push(tag);
        }
    }

    #[test]
    fn odd_boxes_and_tiny_images_do_not_panic() {
        let odd = [0.0, -1.0, 0.5, 1.0, 7.0, 1e9, -1e9, f32::MAX, f32::INFINITY, f32::NEG_INFINITY, f32::NAN];
        for (width, height) in [(1, 1), (1, 40), (40, 1), (33, 29), (0, 0)] {
            let mut image = RgbImage::from_pixel(width, height, GREY);
            for style in [BoxStyle::Solid, BoxStyle::Dashed] {
                for (i, x0) in odd.iter().enumerate() {
                    for x1 in odd {
                        let (y0, y1) = (odd[(i + 3) % odd.len()], odd[(i * 7 + 1) % odd.len()]);
                        let item =
                            BoxLabel { style, ..boxed(*x0, y0, x1, y1, "label\n…\u{4E00}", [1, 2, 3]) };
                        draw_boxes(&mut image, &[item]);
                    }
                }
            }
        }
    }

    #[test]
    fn inverted_boxes_are_put_right_and_outside_ones_left_out() {
        let mut a = RgbImage::from_pixel(60, 60, GREY);
        let mut b = a.clone();
        draw_boxes(&mut a, &[boxed(50.0, 40.0, 10.0, 20.0, "", [9, 9, 9])]);
        draw_boxes(&mut b, &[boxed(10.0, 20.0, 50.0, 40.0, "", [9, 9, 9])]);
        assert_eq!(a, b);
        let mut c = RgbImage::from_pixel(60, 60, GREY);
        let outside = [(-20.0, 5.0, -1.0, 9.0), (60.0, 5.0, 80.0, 9.0), (5.0, f32::NAN, 9.0, 9.0)];
        draw_boxes(&mut c, &outside.map(|(x0, y0, x1, y1)| boxed(x0, y0, x1, y1, "far", [9, 9, 9])));
        assert!(c.pixels().all(|p| *p == GREY));
        // One that covers the image is drawn along its border.
        draw_boxes(&mut c, &[boxed(-1e30, f32::NEG_INFINITY, 1e30, f32::INFINITY, "", [9, 9, 9])]);
        assert_eq!(c.pixels().filter(|p| p.0 == [9; 3]).count(), 4 * 59);
    }

    #[test]
    fn palette_colors_are_apart() {
        for a in 0..21 {
            for b in 0..a {
                let (x, y) = (palette(a), palette(b));
                let distance: i32 = (0..3).map(|i| (i32::from(x[i]) - i32::from(y[i])).abs()).sum();
                assert!(distance >= 40, "{a} and {b}: {x:?} {y:?}");
            }
        }
        assert_eq!(palette(21), palette(0));
        palette(usize::MAX);
    }

    #[test]
    fn contact_sheets_hold_their_panels() {
        let panel = |w, h, v| RgbImage::from_pixel(w, h, Rgb([v; 3]));
        let panels = vec![
            (panel(100, 80, 10), "truth".into()),
            (panel(60, 90, 20), "x".into()),
            (panel(9, 9, 30), "".into()),
        ];
        let sheet = side_by_side(panels, 2);
        // Gap 4, title 18 (size 11): two columns of 100, two rows of 90.
        assert_eq!(sheet.dimensions(), (4 + 2 * 104, 4 + 2 * (18 + 90 + 4)));
        assert_eq!(sheet.get_pixel(4, 22).0, [10; 3]);
        assert_eq!(sheet.get_pixel(103, 101).0, [10; 3]);
        assert_eq!(sheet.get_pixel(108 + 20, 22).0, [20; 3]);
        assert_eq!(sheet.get_pixel(0, 0).0, [255; 3]);
        let inked =
            (4..104).flat_map(|x| (4..22).map(move |y| (x, y))).any(|(x, y)| sheet.get_pixel(x, y).0[0] < 90);
        assert!(inked, "no title");

        assert_eq!(side_by_side(Vec::new(), 3).dimensions(), (1, 1));
        let untitled = side_by_side(vec![(panel(50, 50, 1), String::new())], 0);
        assert_eq!(untitled.dimensions(), (58, 58));
    }
}

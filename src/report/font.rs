//! Text: the embedded font, its metrics, and its pixels.
//!
//! The font is a subset of DejaVu Sans (Latin, Greek, Cyrillic; assets/fonts), so that pictures have
//! text where there are no system fonts. A character outside it shows as the font's empty box.

use std::sync::LazyLock;

use ab_glyph::{Font, FontRef, GlyphId, PxScale, point};

static FONT: LazyLock<FontRef<'static>> = LazyLock::new(|| {
    // Part of the binary, and opened by this module's tests: it cannot fail on a user's machine.
    FontRef::try_from_slice(include_bytes!("../../assets/fonts/DejaVuSans-subset.ttf"))
        .expect("the embedded font is a TrueType font")
});

/// How far capitals and digits rise above the baseline, as a fraction of the size.
pub(super) const CAP_HEIGHT: f32 = 0.729;

/// The width of `text` in pixels, at `size` pixels per em.
pub(super) fn width(text: &str, size: f32) -> f32 {
    place(text, size, |_, _| {})
}

/// Draws `text` at `size` pixels per em from (`x`, `baseline`): calls `pixel` with each touched
/// pixel's x, y and coverage in (0, 1]. Positions are sub-pixel, so that letter spacing is even.
pub(super) fn draw(text: &str, x: f32, baseline: f32, size: f32, mut pixel: impl FnMut(i32, i32, f32)) {
    let font = &*FONT;
    // ab_glyph's scale is the height from descender to ascender; ours, like CSS, is the em.
    let scale = PxScale::from(size * font.height_unscaled() / units_per_em());
    place(text, size, |glyph, offset| {
        let glyph = glyph.with_scale_and_position(scale, point(x + offset, baseline));
        let Some(outline) = font.outline_glyph(glyph) else { return };
        let bounds = outline.px_bounds();
        outline.draw(|dx, dy, coverage| {
            if coverage > 0.0 {
                pixel(bounds.min.x as i32 + dx as i32, bounds.min.y as i32 + dy as i32, coverage.min(1.0));
            }
        });
    });
}

/// `text`, shortened with an ellipsis to at most `limit` pixels; empty where not even that fits.
pub(super) fn fit(text: &str, size: f32, limit: f32) -> String {
    if width(text, size) <= limit {
        return text.to_owned();
    }
    let ellipsis = width("…", size);
    let mut kept = String::new();
    for c in text.chars() {
        kept.push(c);
        if width(&kept, size) + ellipsis > limit {
            kept.pop();
            break;
        }
    }
    let kept = kept.trim_end();
    if kept.is_empty() { String::new() } else { format!("{kept}…") }
}

/// Calls `each` with the glyphs of `text` and their x offsets; returns the advance of them all.
fn place(text: &str, size: f32, mut each: impl FnMut(GlyphId, f32)) -> f32 {
    let font = &*FONT;
    let unit = size / units_per_em();
    let mut x = 0.0;
    let mut previous = None;
    // A control character has no picture; a tab or a line break reads as a space.
    for c in text.chars().map(|c| if c.is_control() { ' ' } else { c }) {
        let glyph = font.glyph_id(c);
        if let Some(previous) = previous.replace(glyph) {
            x += font.kern_unscaled(previous, glyph) * unit;
        }
        each(glyph, x);
        x += font.h_advance_unscaled(glyph) * unit;
    }
    x
}

fn units_per_em() -> f32 {
    FONT.units_per_em().unwrap_or(2048.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn has_every_character_that_reports_use() {
        for c in ('!'..='~').chain("é×·–—…²³⁻₂µΔαЖ±≈≤≥→−".chars()) {
            assert_ne!(FONT.glyph_id(c), FONT.glyph_id('\u{4E00}'), "{c} is missing");
        }
    }

    #[test]
    fn measures_as_the_font_file_says() {
        // DejaVu Sans: the advance of M is 1767/2048 em, of i 569/2048 em.
        assert!((width("M", 2048.0) - 1767.0).abs() < 0.5);
        assert!((width("iM", 1024.0) - (1767.0 + 569.0) / 2.0).abs() < 0.5);
        // AV is kerned: closer than its letters' advances.
        assert!(width("AV", 100.0) < width("A", 100.0) + width("V", 100.0) - 1.0);
    }

    #[test]
    fn draws_from_the_baseline_up_to_the_cap_height() {
        let (mut top, mut bottom, mut left, mut right) = (i32::MAX, i32::MIN, i32::MAX, i32::MIN);
        draw("H", 10.0, 100.0, 100.0, |x, y, coverage| {
            assert!(coverage > 0.0 && coverage <= 1.0);
            (top, bottom) = (top.min(y), bottom.max(y));
            (left, right) = (left.min(x), right.max(x));
        });
        assert_eq!(bottom, 99);
        assert_eq!(top, 100 - (100.0 * CAP_HEIGHT).ceil() as i32);
        assert!(left > 10 && right < 10 + width("H", 100.0) as i32);
    }

    #[test]
    fn fits_by_shortening() {
        assert_eq!(fit("person", 12.0, 1000.0), "person");
        let short = fit("traffic light", 12.0, 50.0);
        assert!(short.ends_with('…') && short.starts_with("tra") && width(&short, 12.0) <= 50.0, "{short}");
        assert_eq!(fit("person", 12.0, 3.0), "");
        assert_eq!(fit("", 12.0, 0.0), "");
    }
}

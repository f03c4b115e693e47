//! Pictures of detections beside the truth.

use std::sync::Arc;

use image::RgbImage;

use crate::data::{Dataset, Image, Object};
use crate::detect::{Detection, Nms, nms};
use crate::report::{BoxLabel, BoxStyle, draw_boxes, palette, side_by_side};
use crate::{Error, Result};

/// Detections below this score are not drawn.
const SHOWN: f32 = 0.3;
/// Images on the sheet.
const IMAGES: usize = 8;
/// Small images are enlarged to at least this many pixels, for boxes and labels to be legible.
const MIN_SIDE: u32 = 320;

fn picture(image: &Image) -> Result<(RgbImage, f32)> {
    let (width, height) = (image.width() as u32, image.height() as u32);
    let picture = RgbImage::from_raw(width, height, image.pixels().to_vec())
        .ok_or_else(|| Error::internal("an image has another number of bytes than pixels"))?;
    let scale = MIN_SIDE.div_ceil(width.min(height).max(1)).max(1);
    if scale == 1 {
        return Ok((picture, 1.0));
    }
    let filter = image::imageops::FilterType::CatmullRom;
    Ok((image::imageops::resize(&picture, width * scale, height * scale, filter), scale as f32))
}

/// `image` with `detections` drawn on it, labelled with class and score.
///
/// # Errors
/// None in practice.
pub fn label_detections(image: &Image, detections: &[Detection], classes: &[String]) -> Result<RgbImage> {
    let (mut drawn, scale) = picture(image)?;
    let labels: Vec<BoxLabel> = detections
        .iter()
        .map(|d| {
            let name = classes.get(d.class).map_or("?", String::as_str);
            label(d.bounds, d.class, format!("{name} {:.2}", d.score), BoxStyle::Solid, scale)
        })
        .collect();
    draw_boxes(&mut drawn, &labels);
    Ok(drawn)
}

fn label(
    bounds: crate::detect::Bounds,
    class: usize,
    label: String,
    style: BoxStyle,
    scale: f32,
) -> BoxLabel {
    BoxLabel {
        x0: bounds.x0 * scale,
        y0: bounds.y0 * scale,
        x1: bounds.x1 * scale,
        y1: bounds.y1 * scale,
        label,
        color: palette(class),
        style,
    }
}

fn label_truth(image: &Image, objects: &[Object], classes: &[String]) -> Result<RgbImage> {
    let (mut drawn, scale) = picture(image)?;
    let labels: Vec<BoxLabel> = objects
        .iter()
        .map(|o| {
            let style = if o.ignore { BoxStyle::Dashed } else { BoxStyle::Solid };
            let name = classes.get(o.class).cloned().unwrap_or_default();
            label(o.bounds, o.class, name, style, scale)
        })
        .collect();
    draw_boxes(&mut drawn, &labels);
    Ok(drawn)
}

/// The first images of `dataset`, the truth beside what was detected.
///
/// # Errors
/// Where an image cannot be read.
pub fn validation_picture(dataset: &Arc<dyn Dataset>, detections: &[Vec<Detection>]) -> Result<RgbImage> {
    let classes = dataset.class_names();
    let mut panels = Vec::new();
    for (index, found) in detections.iter().enumerate().take(IMAGES) {
        let sample = dataset.sample(index)?;
        let shown: Vec<Detection> = found.iter().copied().filter(|d| d.score >= SHOWN).collect();
        // Scoring keeps near duplicates, which cost it nothing; a person sees them as mistakes.
        let shown = nms(&shown, &Nms { iou: 0.5, ..Nms::default() });
        let truth = label_truth(&sample.image, &sample.objects, classes)?;
        panels.push((truth, format!("{}: truth", sample.name)));
        panels.push((label_detections(&sample.image, &shown, classes)?, "detected".to_owned()));
    }
    Ok(side_by_side(panels, 4))
}

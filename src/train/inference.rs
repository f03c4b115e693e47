//! A detector on one picture.

use crate::Result;
use crate::data::{Affine, Image, Sample, augment::letterbox};
use crate::detect::{Decode, Detection, Detector, Nms};
use crate::tensor::Tensor;

/// The detections in `image`, in its own pixels, best first: the image is fitted into the detector's
/// input as in training.
///
/// # Errors
/// Where `detector` takes batches of more than one image, or the device fails.
pub fn detect_image(
    detector: &mut Detector,
    image: &Image,
    decode: &Decode,
    nms: &Nms,
) -> Result<Vec<Detection>> {
    let input = detector.input();
    let sample = Sample { image: image.clone(), objects: Vec::new(), name: String::new() };
    let (boxed, map) = letterbox(&sample, (input.w, input.h));
    let pixels = boxed.image.pixels().iter().map(|&v| f32::from(v) / 255.0).collect();
    let found = detector.detect(&Tensor::new(input, pixels)?, decode, nms)?;
    let found = found.into_iter().flatten().collect();
    Ok(in_own_pixels(found, map, (image.width(), image.height())))
}

/// Detections in pixels of the network's input, back in those of the picture of `size` (width, height)
/// that `map` fitted into it.
pub(super) fn in_own_pixels(found: Vec<Detection>, map: Affine, size: (usize, usize)) -> Vec<Detection> {
    let (width, height) = (size.0 as f32, size.1 as f32);
    let back = map.inverse();
    found.into_iter().map(|d| Detection { bounds: back.map(d.bounds).clip(width, height), ..d }).collect()
}

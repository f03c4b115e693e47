//! A detector against a dataset's truth.

use std::sync::Arc;

use super::inference::in_own_pixels;
use crate::Result;
use crate::data::{Dataset, Loader, LoaderOptions, Object};
use crate::detect::{Decode, Detection, Detector, Evaluator, Nms, Summary, Truth};
use crate::tensor::{Shape, Tensor};

/// What an evaluation found.
#[derive(Clone, Debug)]
pub struct Evaluation {
    /// Average precision by COCO's definition, in the dataset's own pixels.
    pub summary: Summary,
    /// The detections in each image, in its own pixels, best first.
    pub detections: Vec<Vec<Detection>>,
}

/// Runs `detector` over all of `dataset`; `progress` is told how many images were done.
///
/// # Errors
/// Where an image cannot be read, or the device fails.
pub fn evaluate(
    detector: &mut Detector,
    dataset: &Arc<dyn Dataset>,
    progress: &mut dyn FnMut(usize),
) -> Result<Evaluation> {
    let input = detector.input();
    let options = LoaderOptions::plain((input.w, input.h), input.n);
    let loader = Loader::new(dataset.clone(), options)?;
    let mut evaluator = Evaluator::new(dataset.class_names().len());
    let mut detections = Vec::with_capacity(dataset.len());
    for batch in loader.epoch(0) {
        let batch = batch?;
        let count = batch.targets.len();
        let images = padded(batch.images, input)?;
        let found = detector.detect(&images, &Decode::EVALUATE, &Nms::default())?;
        for (index, found) in found.into_iter().take(count).enumerate() {
            let map = batch.transforms[index];
            let found = in_own_pixels(found, map, batch.sizes[index]);
            let back = map.inverse();
            let truth: Vec<Truth> = batch.targets[index]
                .iter()
                .map(|object: &Object| Truth {
                    bounds: back.map(object.bounds),
                    class: object.class,
                    crowd: object.ignore,
                    area: None,
                })
                .collect();
            evaluator.add_image(&found, &truth)?;
            detections.push(found);
        }
        progress(count);
    }
    Ok(Evaluation { summary: evaluator.summary(), detections })
}

/// A batch's images, those of a last batch that is not full padded with zeros to `input`.
fn padded(images: Tensor, input: Shape) -> Result<Tensor> {
    let mut data = images.into_data();
    data.resize(input.elements(), 0.0);
    Tensor::new(input, data)
}

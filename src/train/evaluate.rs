//! A detector against a dataset's truth.

use std::sync::Arc;

use crate::Result;
use crate::data::{Batch, Dataset, Loader, LoaderOptions, Object};
use crate::detect::{Decode, Detection, Detector, Evaluator, Nms, Summary, Truth};
use crate::tensor::Shape;

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
        let found = detector.detect(&padded(&batch, input)?, &Decode::EVALUATE, &Nms::default())?;
        for (index, found) in found.into_iter().take(count).enumerate() {
            let back = batch.transforms[index].inverse();
            let (width, height) = batch.sizes[index];
            let found: Vec<Detection> = found
                .into_iter()
                .map(|d| Detection { bounds: back.map(d.bounds).clip(width as f32, height as f32), ..d })
                .collect();
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

/// The batch's images, a last batch that is not full padded with zeros to `input`.
fn padded(batch: &Batch, input: Shape) -> Result<crate::tensor::Tensor> {
    if batch.images.shape() == input {
        return Ok(batch.images.clone());
    }
    let mut data = batch.images.data().to_vec();
    data.resize(input.elements(), 0.0);
    crate::tensor::Tensor::new(input, data)
}

//! Average precision by COCO's definition: matching of detections to the truth.
//!
//! This is the box evaluation of COCO's `COCOeval` (Lin et al. 2014 and its published code): ten IoU
//! thresholds, four ranges of area, at most 100 detections of a class in an image. What is read off
//! the matches is in `summary`.

use super::summary::{ClassMatches, Summary};
use super::{Bounds, Detection, by_score};
use crate::{Error, Result};

/// The IoU thresholds, 0.50 to 0.95 by 0.05.
pub(super) const THRESHOLDS: usize = 10;

/// The ranges of area: all, small, medium, large.
pub(super) const AREAS: usize = 4;

/// The detections of a class in an image that count, at most: for AR1, AR10, and everything else.
pub(super) const MAX_DETECTIONS: [usize; 3] = [1, 10, 100];

/// Each range of area in square pixels, both ends inclusive: an object of exactly 32² is small and
/// medium.
const AREA_RANGES: [[f64; 2]; AREAS] = [[0.0, 1e10], [0.0, 1024.0], [1024.0, 9216.0], [9216.0, 1e10]];

/// An object that is really in the image.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Truth {
    /// Where it is, in pixels.
    pub bounds: Bounds,
    /// The class's index, from 0.
    pub class: usize,
    /// Whether it is a crowd: a region that any number of detections may lie in, none of which then
    /// counts for or against.
    pub crowd: bool,
    /// The area in square pixels that decides on small, medium, large. COCO gives the area of the
    /// object's outline; `None` stands for the area of `bounds`.
    pub area: Option<f64>,
}

impl Truth {
    fn area(&self) -> f64 {
        self.area.unwrap_or_else(|| self.bounds.area())
    }
}

/// What became of one detection, a bit for each IoU threshold.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Verdict {
    /// It found an object.
    pub matched: u16,
    /// It counts neither for nor against.
    pub ignored: u16,
}

/// One detection that counts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Judged {
    pub score: f32,
    /// Its place among the image's detections of its class, best score first.
    pub rank: usize,
    pub verdicts: [Verdict; AREAS],
}

/// Gathers detections and truth, image by image, and sums them up.
///
/// Memory is a few dozen bytes a detection; images are not kept. The order of images matters only
/// among detections of equal score, which keep the order they came in.
#[derive(Clone, Debug)]
pub struct Evaluator {
    classes: Vec<ClassMatches>,
}

impl Evaluator {
    /// An evaluator for `classes` classes and no images yet.
    pub fn new(classes: usize) -> Self {
        Evaluator { classes: vec![ClassMatches::default(); classes] }
    }

    /// Adds an image with all its `detections` and all its `truths`, in any order of class.
    ///
    /// # Errors
    /// Where a class is not below the evaluator's, or a score, a box or an area is not finite; the
    /// image is then left out as a whole.
    pub fn add_image(&mut self, detections: &[Detection], truths: &[Truth]) -> Result<()> {
        self.check(detections, truths)?;

        // Indices by class, in the given order within a class: ties are decided by that order.
        let mut by_class: Vec<(usize, bool, usize)> = detections
            .iter()
            .enumerate()
            .map(|(i, d)| (d.class, false, i))
            .chain(truths.iter().enumerate().map(|(i, t)| (t.class, true, i)))
            .collect();
        by_class.sort_unstable();

        for group in by_class.chunk_by(|a, b| a.0 == b.0) {
            let class = group[0].0;
            let (found, real) = group.split_at(group.partition_point(|&(_, is_truth, _)| !is_truth));
            let mut found: Vec<&Detection> = found.iter().map(|&(_, _, i)| &detections[i]).collect();
            let real: Vec<&Truth> = real.iter().map(|&(_, _, i)| &truths[i]).collect();
            found.sort_by(|a, b| by_score(a.score, b.score));
            found.truncate(MAX_DETECTIONS[2]);
            self.classes[class].add(&found, &real);
        }
        Ok(())
    }

    /// Average precision and recall over all images so far.
    pub fn summary(&self) -> Summary {
        Summary::new(&self.classes)
    }

    fn check(&self, detections: &[Detection], truths: &[Truth]) -> Result<()> {
        let classes = self.classes.len();
        let classes_used = detections.iter().map(|d| d.class).chain(truths.iter().map(|t| t.class));
        if let Some(class) = classes_used.max().filter(|&class| class >= classes) {
            let message =
                format!("class {class} cannot be evaluated among {classes} classes (0 to {classes} − 1)");
            return Err(Error::invalid(message).fix("evaluate with the number of classes of the dataset"));
        }
        if let Some(bad) = detections.iter().find(|d| !d.score.is_finite() || !d.bounds.is_finite()) {
            return Err(Error::invalid(format!("a detection is not finite: {bad:?}")));
        }
        if let Some(bad) = truths.iter().find(|t| !t.bounds.is_finite() || !t.area().is_finite()) {
            return Err(Error::invalid(format!("an object is not finite: {bad:?}")));
        }
        Ok(())
    }
}

impl ClassMatches {
    /// Matches an image's detections of one class, best score first, with its objects of that class.
    fn add(&mut self, detections: &[&Detection], truths: &[&Truth]) {
        let overlaps: Vec<Vec<f64>> =
            detections.iter().map(|d| truths.iter().map(|t| overlap(d, t)).collect()).collect();
        let first = self.judged.len();
        self.judged.extend(detections.iter().enumerate().map(|(rank, d)| Judged {
            score: d.score,
            rank,
            verdicts: Default::default(),
        }));
        for (area, &[low, high]) in AREA_RANGES.iter().enumerate() {
            let outside = |value: f64| value < low || value > high;
            let ignored: Vec<bool> = truths.iter().map(|t| t.crowd || outside(t.area())).collect();
            self.truths[area] += ignored.iter().filter(|&&ignored| !ignored).count();

            // The objects that count come first: one that is ignored is taken only for want of those.
            let mut order: Vec<usize> = (0..truths.len()).collect();
            order.sort_by_key(|&t| ignored[t]);
            for threshold in 0..THRESHOLDS {
                let bit = 1 << threshold;
                let mut taken = vec![false; truths.len()];
                for (d, judged) in self.judged[first..].iter_mut().enumerate() {
                    let verdict = &mut judged.verdicts[area];
                    let free = |t: usize| !taken[t] || truths[t].crowd;
                    match best_match(&overlaps[d], &order, &ignored, free, iou_threshold(threshold)) {
                        Some(t) => {
                            taken[t] = true;
                            verdict.matched |= bit;
                            verdict.ignored |= if ignored[t] { bit } else { 0 };
                        }
                        None if outside(detections[d].bounds.area()) => verdict.ignored |= bit,
                        None => {}
                    }
                }
            }
        }
    }
}

/// The object that a detection finds: the one of most overlap (the last of equals) that is `free`;
/// an ignored one only where no other would do.
fn best_match(
    overlaps: &[f64],
    order: &[usize],
    ignored: &[bool],
    free: impl Fn(usize) -> bool,
    threshold: f64,
) -> Option<usize> {
    let mut best = None;
    let mut least = threshold;
    for &t in order {
        if best.is_some_and(|b: usize| !ignored[b] && ignored[t]) {
            break;
        }
        if free(t) && overlaps[t] >= least {
            least = overlaps[t];
            best = Some(t);
        }
    }
    best
}

/// IoU; against a crowd, the part of the detection that lies in it.
fn overlap(detection: &Detection, truth: &Truth) -> f64 {
    if !truth.crowd {
        return detection.bounds.iou(&truth.bounds);
    }
    let intersection = detection.bounds.intersection(&truth.bounds);
    if intersection > 0.0 { intersection / detection.bounds.area() } else { 0.0 }
}

/// The IoU threshold `index`, to the bit as `linspace(0.5, 0.95, 10)` gives it: boxes that overlap
/// by exactly 0.55 or 0.6 fall on COCO's side of the threshold.
fn iou_threshold(index: usize) -> f64 {
    let step = (0.95 - 0.5) / 9.0;
    if index + 1 == THRESHOLDS { 0.95 } else { index as f64 * step + 0.5 }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::tensor::Random;

    /// A case as `tests/fixtures/average_precision/make.py` writes it.
    #[derive(serde::Deserialize)]
    struct Case {
        classes: usize,
        images: Vec<Image>,
        stats: [f64; 12],
        per_class: Vec<(f64, f64, f64, f64, usize)>,
    }

    #[derive(serde::Deserialize)]
    struct Image {
        truths: Vec<TruthRow>,
        detections: Vec<DetectionRow>,
    }

    /// Class, x0, y0, x1, y1, crowd, area.
    type TruthRow = (usize, f32, f32, f32, f32, u8, Option<f64>);

    /// Class, x0, y0, x1, y1, score.
    type DetectionRow = (usize, f32, f32, f32, f32, f32);

    impl Image {
        fn add_to(&self, evaluator: &mut Evaluator) {
            let truths: Vec<Truth> = self.truths.iter().map(truth).collect();
            let detections: Vec<Detection> = self.detections.iter().map(detection).collect();
            evaluator.add_image(&detections, &truths).unwrap();
        }
    }

    fn truth(&(class, x0, y0, x1, y1, crowd, area): &TruthRow) -> Truth {
        Truth { bounds: Bounds::new(x0, y0, x1, y1), class, crowd: crowd == 1, area }
    }

    fn detection(&(class, x0, y0, x1, y1, score): &DetectionRow) -> Detection {
        Detection { bounds: Bounds::new(x0, y0, x1, y1), score, class }
    }

    #[test]
    fn agrees_with_pycocotools() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/average_precision");
        let mut cases = 0;
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_none_or(|extension| extension != "json") {
                continue;
            }
            let case: Case = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
            let mut evaluator = Evaluator::new(case.classes);
            case.images.iter().for_each(|image| image.add_to(&mut evaluator));
            let summary = evaluator.summary();
            let near = |a: f64, b: f64| (a - b).abs() < 1e-6;
            for ((name, value), wanted) in summary.rows().into_iter().zip(case.stats) {
                assert!(near(value, wanted), "{}: {name} is {value}, not {wanted}", path.display());
            }
            assert_eq!(summary.per_class.len(), case.per_class.len());
            for (class, (got, wanted)) in summary.per_class.iter().zip(&case.per_class).enumerate() {
                let same = near(got.ap, wanted.0)
                    && near(got.ap50, wanted.1)
                    && near(got.ap75, wanted.2)
                    && near(got.ar100, wanted.3)
                    && got.truths == wanted.4;
                assert!(same, "{}: class {class} is {got:?}, not {wanted:?}", path.display());
            }
            cases += 1;
        }
        assert_eq!(cases, 17);
    }

    fn object(x0: f32, width: f32) -> Truth {
        Truth { bounds: Bounds::new(x0, 0.0, x0 + width, 10.0), class: 0, crowd: false, area: None }
    }

    fn found(x0: f32, width: f32, score: f32) -> Detection {
        Detection { bounds: Bounds::new(x0, 0.0, x0 + width, 10.0), score, class: 0 }
    }

    #[test]
    fn hand_worked() {
        // Two objects; the first is found at IoU 0.8, then comes a false alarm, then the second at
        // 1. Precision at IoU 0.5 is 1 up to recall 1/2 and 2/3 up to 1.
        let mut evaluator = Evaluator::new(1);
        let detections = [found(0.0, 8.0, 0.9), found(200.0, 10.0, 0.8), found(50.0, 10.0, 0.7)];
        evaluator.add_image(&detections, &[object(0.0, 10.0), object(50.0, 10.0)]).unwrap();
        let summary = evaluator.summary();
        let both = (51.0 + 50.0 * 2.0 / 3.0) / 101.0;
        // Above 0.8 only the last of three is right: precision 1/3 up to recall 1/2.
        let one = 51.0 / 3.0 / 101.0;
        approx::assert_abs_diff_eq!(summary.ap50, both, epsilon = 1e-12);
        approx::assert_abs_diff_eq!(summary.ap, (7.0 * both + 3.0 * one) / 10.0, epsilon = 1e-12);
        approx::assert_abs_diff_eq!(summary.ar100, (7.0 + 3.0 * 0.5) / 10.0, epsilon = 1e-12);
        assert_eq!((summary.ap_small, summary.ap_large), (summary.ap, -1.0));
    }

    #[test]
    fn refuses_what_cannot_be_evaluated_and_stays_as_it_was() {
        let mut evaluator = Evaluator::new(1);
        evaluator.add_image(&[found(0.0, 10.0, 0.5)], &[object(0.0, 10.0)]).unwrap();
        let before = evaluator.summary();
        let (good, real) = (found(0.0, 10.0, 0.5), object(0.0, 10.0));
        let bad_detections = [
            Detection { class: 1, ..good },
            Detection { score: f32::NAN, ..good },
            Detection { bounds: Bounds::new(0.0, 0.0, f32::INFINITY, 1.0), ..good },
        ];
        for bad in bad_detections {
            assert!(evaluator.add_image(&[good, bad], &[real, real]).is_err(), "{bad:?}");
        }
        for bad in [Truth { class: 7, ..real }, Truth { area: Some(f64::NAN), ..real }] {
            assert!(evaluator.add_image(&[good], &[real, bad]).is_err(), "{bad:?}");
        }
        assert_eq!(evaluator.summary(), before);
        assert_eq!((before.ap, before.per_class[0].truths), (1.0, 1));
    }

    #[test]
    fn the_order_of_images_does_not_matter_without_ties() {
        let mut random = Random::new(8);
        let images: Vec<(Vec<Detection>, Vec<Truth>)> = (0..30)
            .map(|_| {
                let truths: Vec<Truth> = (0..4).map(|i| object(40.0 * i as f32, 30.0)).collect();
                let detections = (0..6)
                    .map(|i| found(40.0 * i as f32 + random.uniform(0.0, 20.0), 30.0, random.unit()))
                    .collect();
                (detections, truths)
            })
            .collect();
        let summary = |order: &[usize]| {
            let mut evaluator = Evaluator::new(1);
            order.iter().for_each(|&i| evaluator.add_image(&images[i].0, &images[i].1).unwrap());
            evaluator.summary()
        };
        let mut order: Vec<usize> = (0..30).collect();
        let wanted = summary(&order);
        assert!(wanted.ap > 0.05 && wanted.ap < 0.95);
        for _ in 0..5 {
            random.shuffle(&mut order);
            assert_eq!(summary(&order), wanted);
        }
    }
}

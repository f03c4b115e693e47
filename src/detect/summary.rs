//! Average precision by COCO's definition: what is read off the matches.

use super::average_precision::{AREAS, Judged, MAX_DETECTIONS, THRESHOLDS};
use super::by_score;

/// The recalls at which precision is read: 0 to 1 by 0.01.
const RECALL_POINTS: usize = 101;

/// COCO's mark for a mean over nothing.
const ABSENT: f64 = -1.0;

/// Places of the IoU thresholds 0.50 and 0.75.
const IOU_50: usize = 0;
const IOU_75: usize = 5;

/// Everything that was matched of one class.
#[derive(Clone, Debug, Default)]
pub(super) struct ClassMatches {
    /// The detections, image by image, best score first within an image.
    pub judged: Vec<Judged>,
    /// The objects to be found in each range of area.
    pub truths: [usize; AREAS],
}

/// COCO's twelve numbers and the classes one by one.
///
/// Each is a mean over the classes that have objects to be found (of that range of area), in
/// `[0, 1]`, and −1 where there is no such class. AP without a number is the mean over the IoU
/// thresholds 0.50:0.05:0.95, and so is every AR.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Summary {
    /// AP50:95.
    pub ap: f64,
    /// AP at IoU 0.50.
    pub ap50: f64,
    /// AP at IoU 0.75.
    pub ap75: f64,
    /// AP of objects up to 32² square pixels.
    pub ap_small: f64,
    /// AP of objects of 32² to 96² square pixels.
    pub ap_medium: f64,
    /// AP of objects from 96² square pixels.
    pub ap_large: f64,
    /// Recall with each image's best detection of a class.
    pub ar1: f64,
    /// Recall with each image's best 10 detections of a class.
    pub ar10: f64,
    /// Recall with each image's best 100 detections of a class.
    pub ar100: f64,
    /// AR100 of small objects.
    pub ar_small: f64,
    /// AR100 of medium objects.
    pub ar_medium: f64,
    /// AR100 of large objects.
    pub ar_large: f64,
    /// The classes, by index.
    pub per_class: Vec<ClassSummary>,
}

/// The numbers of one class over objects of every size; −1 where it has none.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct ClassSummary {
    /// AP50:95.
    pub ap: f64,
    /// AP at IoU 0.50.
    pub ap50: f64,
    /// AP at IoU 0.75.
    pub ap75: f64,
    /// Recall with each image's best 100 detections.
    pub ar100: f64,
    /// The objects to be found (crowds are not).
    pub truths: usize,
}

impl Summary {
    pub(super) fn new(classes: &[ClassMatches]) -> Self {
        let scores: Vec<Scores> = classes.iter().map(Scores::new).collect();
        let ap = |area: usize| mean(scores.iter().map(|s| s.precision[area].mean()));
        let ap_at = |threshold: usize| mean(scores.iter().map(|s| s.precision[0].0[threshold]));
        let ar = |area: usize| mean(scores.iter().map(|s| s.recall[area].mean()));
        let ar_of = |few: usize| mean(scores.iter().map(|s| s.recall_of_few[few].mean()));
        let per_class = scores.iter().zip(classes).map(|(s, class)| ClassSummary {
            ap: s.precision[0].mean(),
            ap50: s.precision[0].0[IOU_50],
            ap75: s.precision[0].0[IOU_75],
            ar100: s.recall[0].mean(),
            truths: class.truths[0],
        });
        Summary {
            ap: ap(0),
            ap50: ap_at(IOU_50),
            ap75: ap_at(IOU_75),
            ap_small: ap(1),
            ap_medium: ap(2),
            ap_large: ap(3),
            ar1: ar_of(0),
            ar10: ar_of(1),
            ar100: ar(0),
            ar_small: ar(1),
            ar_medium: ar(2),
            ar_large: ar(3),
            per_class: per_class.collect(),
        }
    }

    /// The twelve numbers in the order in which COCO lists them, with their names.
    pub fn rows(&self) -> [(&'static str, f64); 12] {
        [
            ("AP", self.ap),
            ("AP50", self.ap50),
            ("AP75", self.ap75),
            ("AP small", self.ap_small),
            ("AP medium", self.ap_medium),
            ("AP large", self.ap_large),
            ("AR1", self.ar1),
            ("AR10", self.ar10),
            ("AR100", self.ar100),
            ("AR small", self.ar_small),
            ("AR medium", self.ar_medium),
            ("AR large", self.ar_large),
        ]
    }
}

/// A number for each IoU threshold.
#[derive(Clone, Copy)]
struct ByThreshold([f64; THRESHOLDS]);

impl ByThreshold {
    const ABSENT: Self = ByThreshold([ABSENT; THRESHOLDS]);

    fn mean(&self) -> f64 {
        mean(self.0.iter().copied())
    }
}

/// A class's precision and recall, by range of area.
struct Scores {
    precision: [ByThreshold; AREAS],
    recall: [ByThreshold; AREAS],
    /// For objects of every size, with the best 1 and the best 10 detections.
    recall_of_few: [ByThreshold; 2],
}

impl Scores {
    fn new(class: &ClassMatches) -> Self {
        let mut ranked: Vec<&Judged> = class.judged.iter().collect();
        // Stable: equal scores stay in the order of the images.
        ranked.sort_by(|a, b| by_score(a.score, b.score));
        let mut scores = Scores {
            precision: [ByThreshold::ABSENT; AREAS],
            recall: [ByThreshold::ABSENT; AREAS],
            recall_of_few: [ByThreshold::ABSENT; 2],
        };
        for (area, &truths) in class.truths.iter().enumerate().filter(|&(_, &truths)| truths > 0) {
            for threshold in 0..THRESHOLDS {
                let hits = hits(&ranked, area, threshold);
                scores.precision[area].0[threshold] = average_precision(&hits, truths);
                scores.recall[area].0[threshold] = recall(&hits, truths);
            }
        }
        for (few, max_detections) in scores.recall_of_few.iter_mut().zip(MAX_DETECTIONS) {
            if class.truths[0] > 0 {
                let best: Vec<&Judged> = ranked.iter().copied().filter(|j| j.rank < max_detections).collect();
                let of = |threshold| recall(&hits(&best, 0, threshold), class.truths[0]);
                few.0 = std::array::from_fn(of);
            }
        }
        scores
    }
}

/// Whether each detection that counts found an object, best score first.
fn hits(ranked: &[&Judged], area: usize, threshold: usize) -> Vec<bool> {
    let bit = 1 << threshold;
    let verdicts = ranked.iter().map(|judged| judged.verdicts[area]);
    verdicts.filter(|v| v.ignored & bit == 0).map(|v| v.matched & bit != 0).collect()
}

fn recall(hits: &[bool], truths: usize) -> f64 {
    hits.iter().filter(|&&hit| hit).count() as f64 / truths as f64
}

/// The mean over the recall points of the precision there: the best at that recall or above it, and
/// 0 beyond the recall that was reached.
fn average_precision(hits: &[bool], truths: usize) -> f64 {
    let mut found = 0;
    let (mut recalls, mut precisions) = (Vec::with_capacity(hits.len()), Vec::with_capacity(hits.len()));
    for (i, &hit) in hits.iter().enumerate() {
        found += usize::from(hit);
        recalls.push(found as f64 / truths as f64);
        precisions.push(found as f64 / (i + 1) as f64);
    }
    for i in (1..precisions.len()).rev() {
        precisions[i - 1] = f64::max(precisions[i - 1], precisions[i]);
    }
    let at = |point: usize| {
        // The product, not the quotient: COCO's recall points are multiples of the double 0.01, and
        // a recall of exactly 0.29 depends on it.
        let least = point as f64 * 0.01;
        precisions.get(recalls.partition_point(|&recall| recall < least)).copied().unwrap_or(0.0)
    };
    (0..RECALL_POINTS).map(at).sum::<f64>() / RECALL_POINTS as f64
}

/// The mean over those that are there.
fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values.filter(|&v| v > ABSENT).fold((0.0, 0), |(sum, count), v| (sum + v, count + 1));
    if count == 0 { ABSENT } else { sum / f64::from(count) }
}

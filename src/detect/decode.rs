//! From the maps of a head to detections.

use super::head::BOX_CHANNELS;
use super::{Bounds, Detection, Head, HeadLevel, Nms, nms};
use crate::tensor::View;
use crate::{Error, Result};

/// Which classes a box may be detected as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Labels {
    /// The best one.
    Best,
    /// Every one whose score is above the threshold, as COCO's evaluation rewards it.
    Every,
}

/// What [`decode`] returns.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Decode {
    /// Only detections of a score above this are returned.
    pub threshold: f32,
    /// Which classes a box may be detected as.
    pub labels: Labels,
}

impl Decode {
    /// For pictures that people look at: score above 0.25, one class a box.
    pub const SHOW: Self = Decode { threshold: 0.25, labels: Labels::Best };

    /// For average precision, which wants also the doubtful ones: score above 0.001, every class.
    pub const EVALUATE: Self = Decode { threshold: 0.001, labels: Labels::Every };
}

/// The detections of each image in `map`, `[n, h, w, anchors · (5 + classes)]` raw outputs of
/// `level`, in pixels of the network's input and in the order of the map.
///
/// As in YOLOv5 and YOLOv7, with σ the logistic function, column x and row y of the map, the centre
/// is at (2σ(tx) − 0.5 + x, 2σ(ty) − 0.5 + y) · stride, the size (2σ(tw))² and (2σ(th))² times the
/// anchor's, and the score σ(objectness) · σ(class). Boxes that are not finite are left out.
///
/// # Errors
/// Where the level is unusable, or the map does not have its channels.
pub fn decode(
    map: View<'_, f32>,
    level: &HeadLevel,
    classes: usize,
    options: &Decode,
) -> Result<Vec<Vec<Detection>>> {
    level.check()?;
    let shape = map.shape();
    let channels = level.channels(classes);
    if shape.c != channels {
        let anchors = level.anchors.len();
        let message = format!("{anchors} anchors with {classes} classes need a map of {channels} channels");
        return Err(Error::shape("decode", &[shape], message));
    }
    let stride = level.stride as f32;
    let cutoff = logit_below(options.threshold);
    let image = |n: usize| {
        let mut detections = Vec::new();
        for (y, x) in (0..shape.h).flat_map(|y| (0..shape.w).map(move |x| (y, x))) {
            let outputs = map.at(n, y, x).chunks_exact(BOX_CHANNELS + classes);
            for (output, &[anchor_w, anchor_h]) in outputs.zip(&level.anchors) {
                // Almost every box ends here, on one comparison: no class can lift its score.
                if output[4] < cutoff || output[4].is_nan() {
                    continue;
                }
                let center = |t: f32, cell: usize| (sigmoid(t) * 2.0 - 0.5 + cell as f32) * stride;
                let size = |t: f32, anchor: f32| (sigmoid(t) * 2.0).powi(2) * anchor;
                let (cx, cy) = (center(output[0], x), center(output[1], y));
                let (width, height) = (size(output[2], anchor_w), size(output[3], anchor_h));
                let bounds = Bounds::from_center(cx, cy, width, height);
                if bounds.is_finite() {
                    label(bounds, sigmoid(output[4]), &output[BOX_CHANNELS..], options, &mut detections);
                }
            }
        }
        detections
    };
    Ok((0..shape.n).map(image).collect())
}

/// The detections of each image after [`nms`], from the `maps` of all of the head's levels.
///
/// # Errors
/// Where the maps are not those of the head: their number, channels, or images.
pub fn detect(
    maps: &[View<'_, f32>],
    head: &Head,
    options: &Decode,
    suppression: &Nms,
) -> Result<Vec<Vec<Detection>>> {
    let images = maps.first().map_or(0, |map| map.shape().n);
    if maps.len() != head.levels.len() || maps.iter().any(|map| map.shape().n != images) {
        let shapes: Vec<_> = maps.iter().map(View::shape).collect();
        let message =
            format!("a head of {} levels needs a map from each, of the same images", head.levels.len());
        return Err(Error::shape("detect", &shapes, message));
    }
    let mut found = vec![Vec::new(); images];
    for (&map, level) in maps.iter().zip(&head.levels) {
        for (all, detections) in found.iter_mut().zip(decode(map, level, head.classes, options)?) {
            all.extend(detections);
        }
    }
    Ok(found.iter().map(|detections| nms(detections, suppression)).collect())
}

/// Appends `bounds` as each class that `options` lets it be.
fn label(bounds: Bounds, objectness: f32, logits: &[f32], options: &Decode, detections: &mut Vec<Detection>) {
    // A class's score is above the threshold where σ(class) is above threshold / objectness.
    let cutoff = logit_below(options.threshold / objectness);
    let mut push = |class: usize, logit: f32| {
        let score = objectness * sigmoid(logit);
        if score > options.threshold {
            detections.push(Detection { bounds, score, class });
        }
    };
    match options.labels {
        Labels::Every => {
            let candidates = logits.iter().enumerate().filter(|&(_, &logit)| logit >= cutoff);
            candidates.for_each(|(class, &logit)| push(class, logit));
        }
        Labels::Best => {
            let numbers = logits.iter().copied().enumerate().filter(|(_, logit)| !logit.is_nan());
            let best = numbers.reduce(|best, next| if next.1 > best.1 { next } else { best });
            if let Some((class, logit)) = best {
                push(class, logit);
            }
        }
    }
}

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

/// A logit a little below the one whose logistic is `p`: what is below it is surely not above `p`,
/// however the exponential rounds.
fn logit_below(p: f32) -> f32 {
    if p > 0.0 && p < 1.0 {
        let p = f64::from(p);
        let logit = (p / (1.0 - p)).ln();
        (logit - 1e-3 * (1.0 + logit.abs())) as f32
    } else if p <= 0.0 {
        f32::NEG_INFINITY
    } else {
        // σ rounds to 1 from about 17 up, and 1 is not above 1 or more.
        16.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::tensor::{Random, Shape, Tensor};

    const CLASSES: usize = 3;
    const EVERYTHING: Decode = Decode { threshold: 0.0, labels: Labels::Every };

    fn level() -> HeadLevel {
        HeadLevel { stride: 8, anchors: vec![[10.0, 13.0], [33.0, 23.0]] }
    }

    /// A map on which nothing is detected.
    fn silence(n: usize, h: usize, w: usize) -> Tensor {
        Tensor::full(Shape::new(n, h, w, level().channels(CLASSES)), -40.0)
    }

    /// Writes the outputs of one anchor of one pixel.
    fn put(map: &mut Tensor, [n, y, x, anchor]: [usize; 4], outputs: [f32; BOX_CHANNELS + CLASSES]) {
        let shape = map.shape();
        let first = ((n * shape.h + y) * shape.w + x) * shape.c + anchor * outputs.len();
        map.data_mut()[first..first + outputs.len()].copy_from_slice(&outputs);
    }

    #[test]
    fn hand_worked_box() {
        let mut map = silence(2, 4, 5);
        // σ(0) = 1/2: the centre of the cell, and the anchor's own size.
        put(&mut map, [1, 2, 3, 1], [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 40.0, -40.0]);
        let found = decode(map.view(), &level(), CLASSES, &Decode::SHOW).unwrap();
        assert_eq!(found[0], []);
        // Centre (3.5 · 8, 2.5 · 8), 33 × 23; class 1 at σ(0) · 1.
        let bounds = Bounds::new(28.0 - 16.5, 20.0 - 11.5, 28.0 + 16.5, 20.0 + 11.5);
        assert_eq!(found[1], [Detection { bounds, score: 0.5, class: 1 }]);
    }

    #[test]
    fn extremes_reach_one_and_a_half_cells_and_four_anchors() {
        let mut map = silence(1, 1, 1);
        put(&mut map, [0, 0, 0, 0], [200.0, -200.0, 200.0, -200.0, 200.0, 200.0, -200.0, -200.0]);
        let found = decode(map.view(), &level(), CLASSES, &Decode::SHOW).unwrap();
        let bounds = Bounds::new(1.5 * 8.0 - 20.0, -4.0, 1.5 * 8.0 + 20.0, -4.0);
        assert_eq!(found[0], [Detection { bounds, score: 1.0, class: 0 }]);
    }

    #[test]
    fn labels_are_the_best_or_every_one() {
        let mut map = silence(1, 1, 1);
        put(&mut map, [0, 0, 0, 0], [0.0, 0.0, 0.0, 0.0, 40.0, 0.0, 3.0, -40.0]);
        let classes = |labels| -> Vec<usize> {
            let options = Decode { threshold: 0.1, labels };
            let found = decode(map.view(), &level(), CLASSES, &options).unwrap();
            found[0].iter().map(|d| d.class).collect()
        };
        assert_eq!(classes(Labels::Best), [1]);
        assert_eq!(classes(Labels::Every), [0, 1]);
    }

    #[test]
    fn what_is_no_number_is_left_out() {
        let mut map = silence(1, 1, 4);
        let nan = f32::NAN;
        put(&mut map, [0, 0, 0, 0], [nan, 0.0, 0.0, 0.0, 9.0, 9.0, 9.0, 9.0]);
        put(&mut map, [0, 0, 1, 0], [0.0, 0.0, 0.0, 0.0, nan, 9.0, 9.0, 9.0]);
        put(&mut map, [0, 0, 2, 0], [0.0, 0.0, 0.0, 0.0, 9.0, nan, nan, nan]);
        put(&mut map, [0, 0, 3, 0], [0.0, 0.0, 0.0, 0.0, 9.0, nan, 8.0, nan]);
        for labels in [Labels::Best, Labels::Every] {
            let found = decode(map.view(), &level(), CLASSES, &Decode { threshold: 0.3, labels }).unwrap();
            assert_eq!(found[0].iter().map(|d| d.class).collect::<Vec<_>>(), [1]);
        }
    }

    #[test]
    fn reads_a_slice_of_a_wider_map() {
        let level = level();
        let channels = level.channels(CLASSES);
        let wide = Tensor::uniform(Shape::new(2, 3, 3, channels + 7), -2.0, 2.0, &mut Random::new(5));
        let slice = wide.view().channels(4..4 + channels);
        let dense = Tensor::new(slice.shape(), slice.to_vec()).unwrap();
        let found = decode(slice, &level, CLASSES, &Decode::EVALUATE).unwrap();
        assert_eq!(found, decode(dense.view(), &level, CLASSES, &Decode::EVALUATE).unwrap());
        assert_eq!(found[0].len(), 3 * 3 * 2 * CLASSES);
    }

    #[test]
    fn refuses_maps_of_another_head() {
        let map = silence(1, 2, 2);
        let error = decode(map.view(), &level(), CLASSES + 1, &Decode::SHOW).unwrap_err().to_string();
        assert!(error.contains("18 channels") && error.contains("[1, 2, 2, 16]"), "{error}");
        let head = Head { classes: CLASSES, levels: vec![level(), level()] };
        assert!(detect(&[map.view()], &head, &Decode::SHOW, &Nms::default()).is_err());
        let other = silence(2, 2, 2);
        assert!(detect(&[map.view(), other.view()], &head, &Decode::SHOW, &Nms::default()).is_err());
        assert!(detect(&[map.view(), map.view()], &head, &Decode::SHOW, &Nms::default()).is_ok());
    }

    #[test]
    fn levels_are_suppressed_together() {
        let fine = level();
        let coarse = HeadLevel { stride: 16, anchors: vec![[20.0, 20.0]] };
        let mut fine_map = silence(1, 2, 2);
        // 20 × 20 around (8, 8) on both levels.
        let at = inverse_sigmoid(0.75);
        let size = |ratio: f32| inverse_sigmoid(ratio.sqrt() / 2.0);
        let outputs = [at, at, size(20.0 / 10.0), size(20.0 / 13.0), 1.0, 9.0, -9.0, -9.0];
        put(&mut fine_map, [0, 0, 0, 0], outputs);
        let mut coarse_map = Tensor::full(Shape::new(1, 1, 1, coarse.channels(CLASSES)), -40.0);
        put(&mut coarse_map, [0, 0, 0, 0], [0.0, 0.0, 0.0, 0.0, 2.0, 9.0, -9.0, -9.0]);
        let head = Head { classes: CLASSES, levels: vec![fine, coarse] };
        let maps = [fine_map.view(), coarse_map.view()];
        let apart = Nms { iou: 1.0, ..Nms::default() };
        assert_eq!(detect(&maps, &head, &Decode::SHOW, &apart).unwrap()[0].len(), 2);
        let kept = detect(&maps, &head, &Decode::SHOW, &Nms::default()).unwrap();
        assert_eq!(kept[0].len(), 1);
        assert_eq!(kept[0][0].bounds, Bounds::new(-2.0, -2.0, 18.0, 18.0));
    }

    fn inverse_sigmoid(p: f32) -> f32 {
        let p = f64::from(p);
        (p / (1.0 - p)).ln() as f32
    }

    proptest! {
        /// An encoder written for the test puts a box into a cell; decoding gives it back.
        #[test]
        fn undoes_encoding(
            (y, x, anchor) in (0..4usize, 0..5usize, 0..2usize),
            (dx, dy) in (-0.49f32..1.49, -0.49f32..1.49),
            (rw, rh) in (0.05f32..3.9, 0.05f32..3.9),
            (objectness, score) in (0.1f32..0.99, 0.1f32..0.99),
        ) {
            let level = level();
            let [anchor_w, anchor_h] = level.anchors[anchor];
            let (cx, cy) = ((x as f32 + dx) * 8.0, (y as f32 + dy) * 8.0);
            let wanted = Bounds::from_center(cx, cy, rw * anchor_w, rh * anchor_h);
            let mut map = silence(1, 4, 5);
            put(&mut map, [0, y, x, anchor], [
                inverse_sigmoid((dx + 0.5) / 2.0),
                inverse_sigmoid((dy + 0.5) / 2.0),
                inverse_sigmoid(rw.sqrt() / 2.0),
                inverse_sigmoid(rh.sqrt() / 2.0),
                inverse_sigmoid(objectness),
                -40.0,
                -40.0,
                inverse_sigmoid(score),
            ]);
            let found = decode(map.view(), &level, CLASSES, &Decode { threshold: 0.005, labels: Labels::Every });
            let found = found.unwrap();
            prop_assert_eq!(found[0].len(), 1);
            let Detection { bounds, score: found_score, class } = found[0][0];
            prop_assert_eq!(class, 2);
            prop_assert!((found_score - objectness * score).abs() < 1e-6);
            for (a, b) in [
                (bounds.x0, wanted.x0), (bounds.y0, wanted.y0), (bounds.x1, wanted.x1), (bounds.y1, wanted.y1)
            ] {
                prop_assert!((a - b).abs() < 1e-3, "{bounds:?} for {wanted:?}");
            }
        }

        /// The shortcuts on logits leave out exactly what the threshold leaves out.
        #[test]
        fn a_threshold_only_filters(seed: u64, threshold in 0.0f32..0.9) {
            let shape = Shape::new(1, 4, 4, level().channels(CLASSES));
            let map = Tensor::uniform(shape, -6.0, 6.0, &mut Random::new(seed));
            let all = decode(map.view(), &level(), CLASSES, &EVERYTHING).unwrap();
            prop_assert_eq!(all[0].len(), 4 * 4 * 2 * CLASSES);
            let options = Decode { threshold, ..EVERYTHING };
            let above: Vec<Detection> = all[0].iter().copied().filter(|d| d.score > threshold).collect();
            prop_assert_eq!(&decode(map.view(), &level(), CLASSES, &options).unwrap()[0], &above);
            // A threshold that is itself a score: the comparison is strict.
            if let Some(equal) = all[0].get(seed as usize % all[0].len()) {
                let options = Decode { threshold: equal.score, ..EVERYTHING };
                let above: Vec<Detection> = all[0].iter().copied().filter(|d| d.score > equal.score).collect();
                prop_assert_eq!(&decode(map.view(), &level(), CLASSES, &options).unwrap()[0], &above);
            }
        }
    }
}

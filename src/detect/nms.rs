//! Non-maximum suppression: of detections that lie on each other, the best stays.

use std::collections::HashMap;

use super::{Bounds, Detection, by_score};

/// What [`nms`] keeps.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Nms {
    /// A detection goes where its IoU with a better one of its class is above this.
    pub iou: f32,
    /// Only this many detections, the best, are looked at: it bounds the time that a network that
    /// has learnt nothing yet takes.
    pub candidates: usize,
    /// At most this many detections stay.
    pub max_detections: usize,
}

impl Default for Nms {
    /// IoU 0.65, 30 000 candidates, 300 detections: the usual choice for evaluation.
    fn default() -> Self {
        Nms { iou: 0.65, candidates: 30_000, max_detections: 300 }
    }
}

/// Greedy non-maximum suppression within each class. Returns what stays, best score first; equal
/// scores keep the order they came in. Detections whose score is not a number, or whose box is not
/// finite, go.
///
/// Takes O(n log n + kept · n) for n candidates.
pub fn nms(detections: &[Detection], options: &Nms) -> Vec<Detection> {
    let mut order: Vec<usize> = (0..detections.len())
        .filter(|&i| !detections[i].score.is_nan() && detections[i].bounds.is_finite())
        .collect();
    let best_first =
        |&a: &usize, &b: &usize| by_score(detections[a].score, detections[b].score).then(a.cmp(&b));
    if options.candidates < order.len() {
        order.select_nth_unstable_by(options.candidates, best_first);
        order.truncate(options.candidates);
    }
    order.sort_unstable_by(best_first);

    let limit = f64::from(options.iou);
    let mut kept = Vec::new();
    let mut kept_of_class: HashMap<usize, Vec<Bounds>> = HashMap::new();
    for candidate in order.into_iter().map(|i| detections[i]) {
        if kept.len() >= options.max_detections {
            break;
        }
        let better = kept_of_class.entry(candidate.class).or_default();
        if !better.iter().any(|bounds| bounds.iou(&candidate.bounds) > limit) {
            better.push(candidate.bounds);
            kept.push(candidate);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn detection(x0: f32, width: f32, score: f32, class: usize) -> Detection {
        Detection { bounds: Bounds::new(x0, 0.0, x0 + width, 10.0), score, class }
    }

    #[test]
    fn the_best_of_a_heap_stays() {
        let all = [
            detection(0.0, 10.0, 0.5, 0),
            detection(1.0, 10.0, 0.9, 0),  // IoU 9/11 with the first
            detection(0.0, 10.0, 0.4, 1),  // another class
            detection(50.0, 10.0, 0.3, 0), // elsewhere
        ];
        let kept = nms(&all, &Nms { iou: 0.5, ..Nms::default() });
        assert_eq!(kept, [all[1], all[2], all[3]]);
        // Not above the limit: all stay.
        assert_eq!(nms(&all, &Nms { iou: 0.9, ..Nms::default() }).len(), 4);
    }

    #[test]
    fn an_overlap_of_exactly_the_limit_stays() {
        let all = [detection(0.0, 10.0, 0.9, 0), detection(0.0, 5.0, 0.8, 0)];
        assert_eq!(nms(&all, &Nms { iou: 0.5, ..Nms::default() }).len(), 2);
        assert_eq!(nms(&all, &Nms { iou: 0.499, ..Nms::default() }).len(), 1);
    }

    #[test]
    fn what_was_suppressed_suppresses_nothing() {
        // A chain: each overlaps the next by 6/14, the first and the third by 2/18.
        let all = [detection(0.0, 10.0, 0.9, 0), detection(4.0, 10.0, 0.8, 0), detection(8.0, 10.0, 0.7, 0)];
        assert_eq!(nms(&all, &Nms { iou: 0.4, ..Nms::default() }), [all[0], all[2]]);
    }

    #[test]
    fn equal_scores_keep_their_order() {
        let all: Vec<Detection> = (0..6).map(|i| detection(20.0 * (6 - i) as f32, 10.0, 0.5, i)).collect();
        assert_eq!(nms(&all, &Nms::default()), all);
        let few = Nms { candidates: 4, ..Nms::default() };
        assert_eq!(nms(&all, &few), all[..4]);
        let few = Nms { max_detections: 2, ..Nms::default() };
        assert_eq!(nms(&all, &few), all[..2]);
        let none = Nms { max_detections: 0, candidates: 0, ..Nms::default() };
        assert_eq!(nms(&all, &none), []);
    }

    #[test]
    fn what_is_no_number_goes() {
        let all = [
            detection(0.0, 10.0, f32::NAN, 0),
            detection(f32::NAN, 10.0, 0.9, 0),
            detection(0.0, f32::INFINITY, 0.9, 0),
            detection(0.0, 10.0, 0.1, 0),
        ];
        assert_eq!(nms(&all, &Nms::default()), all[3..]);
    }

    fn detections() -> impl Strategy<Value = Vec<Detection>> {
        // Coarse scores, so that there are ties.
        let one = (0..40i16, 0..40i16, 1..30i16, 1..30i16, 0..12u8, 0..3usize);
        let one = one.prop_map(|(x, y, w, h, score, class)| Detection {
            bounds: Bounds::new(f32::from(x), f32::from(y), f32::from(x + w), f32::from(y + h)),
            score: f32::from(score) / 12.0,
            class,
        });
        proptest::collection::vec(one, 0..60)
    }

    /// The definition, read literally: strike what overlaps the best of what is left.
    fn by_definition(detections: &[Detection], iou: f32) -> Vec<Detection> {
        let mut left: Vec<Detection> = detections.to_vec();
        let mut kept = Vec::new();
        while !left.is_empty() {
            let mut best = 0;
            for i in 1..left.len() {
                if left[i].score > left[best].score {
                    best = i;
                }
            }
            let best = left.remove(best);
            left.retain(|d| d.class != best.class || d.bounds.iou(&best.bounds) <= f64::from(iou));
            kept.push(best);
        }
        kept
    }

    proptest! {
        #[test]
        fn is_its_definition(all in detections(), iou in 0.0f32..1.0) {
            let options = Nms { iou, ..Nms::default() };
            let kept = nms(&all, &options);
            prop_assert_eq!(&kept, &by_definition(&all, iou));
            prop_assert_eq!(&nms(&kept, &options), &kept);
            for (i, a) in kept.iter().enumerate() {
                for b in kept[..i].iter().filter(|b| b.class == a.class) {
                    prop_assert!(a.bounds.iou(&b.bounds) <= f64::from(iou));
                }
            }
        }

        #[test]
        fn fewer_detections_are_the_first_ones(all in detections(), few in 0..20usize) {
            let kept = nms(&all, &Nms::default());
            let limited = nms(&all, &Nms { max_detections: few, ..Nms::default() });
            prop_assert_eq!(&limited[..], &kept[..few.min(kept.len())]);
        }
    }
}

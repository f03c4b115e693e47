//! Anchors from the data: k-means on the sizes of boxes, then refinement by random search.

use super::{MAX_RATIO, size_ratio};
use crate::tensor::Random;
use crate::{Error, Result};

/// The independent starts of k-means, of which the best counts.
const RESTARTS: u64 = 8;

/// The rounds of k-means, at most; it mostly settles in tens.
const MAX_ROUNDS: usize = 300;

/// The trials of the refinement.
const TRIALS: usize = 1000;

/// The boxes that are looked at, at most: more do not move the anchors, and cost time.
const MAX_SAMPLE: usize = 10_000;

/// How well anchors fit boxes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AnchorFit {
    /// The part of the boxes that some anchor matches ([`size_ratio`] below [`MAX_RATIO`]): no
    /// training can reach a higher recall. From 0 to 1.
    pub best_possible_recall: f64,
    /// The anchors that a box matches, on average.
    pub matches_per_box: f64,
    /// The mean over all boxes of 1 / [`size_ratio`] to the best anchor, 0 where none matches: 1 for
    /// anchors of exactly the boxes' sizes. What [`refine_anchors`] maximises.
    pub fitness: f64,
}

/// How well `anchors` fit boxes of `sizes`, both (width, height) in the same unit; boxes without
/// area are not counted.
pub fn anchor_fit(sizes: &[[f32; 2]], anchors: &[[f32; 2]]) -> AnchorFit {
    let (mut boxes, mut matched, mut matches, mut fitness) = (0usize, 0usize, 0usize, 0.0);
    for &size in sizes.iter().filter(|size| has_area(size)) {
        let ratios =
            anchors.iter().map(|&anchor| size_ratio(size, anchor)).filter(|&ratio| ratio < MAX_RATIO);
        let (count, best) =
            ratios.fold((0, f32::INFINITY), |(count, best), ratio| (count + 1, ratio.min(best)));
        boxes += 1;
        matches += count;
        matched += usize::from(count > 0);
        fitness += 1.0 / f64::from(best);
    }
    let mean = |sum: f64| if boxes == 0 { 0.0 } else { sum / boxes as f64 };
    AnchorFit {
        best_possible_recall: mean(matched as f64),
        matches_per_box: mean(matches as f64),
        fitness: mean(fitness),
    }
}

/// `k` anchors for boxes of `sizes`, (width, height) in pixels of the network's input, ordered by
/// area: [`kmeans_anchors`], then [`refine_anchors`]. The same for the same `seed`.
///
/// # Errors
/// Where there are fewer than `k` boxes that have an area.
pub fn anchors_for(sizes: &[[f32; 2]], k: usize, seed: u64) -> Result<Vec<[f32; 2]>> {
    let sizes = sample(sizes, seed);
    let anchors = kmeans_anchors(&sizes, k, seed)?;
    Ok(refine_anchors(&sizes, &anchors, seed))
}

/// k-means on sizes with the distance 1 − IoU of boxes about the same centre (Redmon and Farhadi
/// 2017), with k-means++ seeding (Arthur and Vassilvitskii 2007); of several starts, the one of the
/// least total distance. Ordered by area.
///
/// # Errors
/// Where there are fewer than `k` boxes that have an area.
pub fn kmeans_anchors(sizes: &[[f32; 2]], k: usize, seed: u64) -> Result<Vec<[f32; 2]>> {
    let sizes = sample(sizes, seed);
    if sizes.len() < k {
        let message = format!("{} boxes cannot give {k} anchors", sizes.len());
        return Err(Error::invalid(message).fix("add labelled images, or ask for fewer anchors"));
    }
    let mut best = (f64::INFINITY, Vec::new());
    for restart in 0..RESTARTS {
        let (distance, anchors) = cluster(&sizes, k, &mut Random::keyed(seed, restart));
        if distance < best.0 || restart == 0 {
            best = (distance, anchors);
        }
    }
    Ok(by_area(best.1))
}

/// `anchors` moved at random, a little at a time, wherever that makes them fit `sizes` better, by
/// [`AnchorFit::fitness`]; never worse than they were. Ordered by area.
///
/// k-means minimises a distance, while assignment asks for the ratio of sides: this closes the gap.
pub fn refine_anchors(sizes: &[[f32; 2]], anchors: &[[f32; 2]], seed: u64) -> Vec<[f32; 2]> {
    let sizes = sample(sizes, seed);
    let mut random = Random::named(seed, "refine anchors");
    let mut best = anchors.to_vec();
    let mut fitness = anchor_fit(&sizes, &best).fitness;
    for trial in 0..TRIALS {
        // Bold steps first, then finer and finer ones: from 20 % to 1 %.
        let step = 0.2 * 0.05f32.powf(trial as f32 / TRIALS as f32);
        let mut moved = best.clone();
        for side in moved.iter_mut().flatten() {
            // About one side in four moves: a step that moves all rarely improves all.
            if random.chance(0.25) {
                *side *= (step * random.normal()).exp();
            }
        }
        let moved_fitness = anchor_fit(&sizes, &moved).fitness;
        if moved_fitness > fitness {
            (best, fitness) = (moved, moved_fitness);
        }
    }
    by_area(best)
}

/// The sizes that have an area; where they are many, some of them.
fn sample(sizes: &[[f32; 2]], seed: u64) -> Vec<[f32; 2]> {
    let mut sizes: Vec<[f32; 2]> = sizes.iter().copied().filter(has_area).collect();
    if sizes.len() > MAX_SAMPLE {
        Random::named(seed, "sample of boxes").shuffle(&mut sizes);
        sizes.truncate(MAX_SAMPLE);
    }
    sizes
}

/// One run of k-means: the total distance, and the centres.
fn cluster(sizes: &[[f32; 2]], k: usize, random: &mut Random) -> (f64, Vec<[f32; 2]>) {
    let mut centers: Vec<[f32; 2]> = Vec::with_capacity(k);
    let mut distances = vec![1.0; sizes.len()];
    for _ in 0..k {
        let center = sizes[draw(&distances, random)];
        centers.push(center);
        for (nearest, &size) in distances.iter_mut().zip(sizes) {
            *nearest = f64::min(*nearest, distance(size, center));
        }
    }

    let mut nearest = vec![usize::MAX; sizes.len()];
    let mut total = 0.0;
    for _ in 0..MAX_ROUNDS {
        let mut sums = vec![([0.0f64; 2], 0u32); k];
        let mut settled = true;
        total = 0.0;
        for (&size, nearest) in sizes.iter().zip(&mut nearest) {
            let apart = centers.iter().map(|&center| distance(size, center)).enumerate();
            let Some((center, least)) = apart.min_by(|a, b| a.1.total_cmp(&b.1)) else { continue };
            settled &= *nearest == center;
            *nearest = center;
            total += least;
            let (sum, count) = &mut sums[center];
            *sum = [sum[0] + f64::from(size[0]), sum[1] + f64::from(size[1])];
            *count += 1;
        }
        if settled {
            break;
        }
        // A centre that lost all its boxes (to an equal one) stays where it is.
        for (center, (sum, count)) in centers.iter_mut().zip(sums).filter(|(_, (_, count))| *count > 0) {
            *center = sum.map(|sum| (sum / f64::from(count)) as f32);
        }
    }
    (total, centers)
}

/// A place drawn in proportion to the square of its distance; any, where all are zero.
fn draw(distances: &[f64], random: &mut Random) -> usize {
    let weight = |distance: f64| distance * distance;
    let total: f64 = distances.iter().map(|&d| weight(d)).sum();
    let mut left = f64::from(random.unit()) * total;
    let drawn = distances.iter().position(|&d| {
        left -= weight(d);
        left < 0.0
    });
    drawn.unwrap_or_else(|| random.below(distances.len()))
}

/// 1 − IoU of two sizes about the same centre.
fn distance([w, h]: [f32; 2], [other_w, other_h]: [f32; 2]) -> f64 {
    let intersection = f64::from(w.min(other_w)) * f64::from(h.min(other_h));
    let union = f64::from(w) * f64::from(h) + f64::from(other_w) * f64::from(other_h) - intersection;
    1.0 - intersection / union
}

fn has_area(size: &[f32; 2]) -> bool {
    size.iter().all(|side| side.is_finite() && *side > 0.0)
}

fn by_area(mut anchors: Vec<[f32; 2]>) -> Vec<[f32; 2]> {
    anchors.sort_by(|a, b| (a[0] * a[1]).total_cmp(&(b[0] * b[1])).then(a[0].total_cmp(&b[0])));
    anchors
}

#[cfg(test)]
mod tests {
    use approx::assert_abs_diff_eq;
    use proptest::prelude::*;

    use super::*;

    /// YOLOv5's anchors for COCO at 640 pixels.
    const COCO: [[f32; 2]; 9] = [
        [10.0, 13.0],
        [16.0, 30.0],
        [33.0, 23.0],
        [30.0, 61.0],
        [62.0, 45.0],
        [59.0, 119.0],
        [116.0, 90.0],
        [156.0, 198.0],
        [373.0, 326.0],
    ];

    /// Sizes about the COCO anchors, log-normally spread.
    fn spread(n: usize, deviation: f32, seed: u64) -> Vec<[f32; 2]> {
        let mut random = Random::new(seed);
        let size = |i: usize| COCO[i % 9].map(|side| side * (deviation * random.normal()).exp());
        (0..n).map(size).collect()
    }

    #[test]
    fn hand_worked_fit() {
        let sizes = [[10.0, 10.0], [20.0, 10.0], [100.0, 10.0], [0.0, 5.0], [f32::NAN, 1.0]];
        let fit = anchor_fit(&sizes, &[[10.0, 10.0], [40.0, 10.0]]);
        // 10 × 10: 1 and 4 (no match); 20 × 10: 2 and 2; 100 × 10: 10 and 2.5.
        assert_abs_diff_eq!(fit.best_possible_recall, 1.0);
        assert_abs_diff_eq!(fit.matches_per_box, 4.0 / 3.0);
        assert_abs_diff_eq!(fit.fitness, (1.0 + 0.5 + 0.4) / 3.0);
        let fit = anchor_fit(&sizes, &[[2.5, 10.0]]);
        assert_eq!(fit, AnchorFit { best_possible_recall: 0.0, matches_per_box: 0.0, fitness: 0.0 });
        assert_eq!(anchor_fit(&[], &COCO).best_possible_recall, 0.0);
    }

    #[test]
    fn kmeans_finds_the_means_of_separate_clusters() {
        // Three clusters, each of four sizes about its mean.
        let means = [[10.0f32, 20.0], [80.0, 30.0], [200.0, 250.0]];
        let around = [[-1.0, -2.0], [1.0, 2.0], [-2.0, 1.0], [2.0, -1.0]];
        let sizes: Vec<[f32; 2]> =
            around.iter().flat_map(|d| means.map(|m| [m[0] + d[0], m[1] + d[1]])).collect();
        for seed in 0..20 {
            assert_eq!(kmeans_anchors(&sizes, 3, seed).unwrap(), means, "seed {seed}");
        }
    }

    #[test]
    fn finds_the_anchors_that_boxes_were_made_from() {
        let sizes = spread(3000, 0.08, 3);
        let anchors = anchors_for(&sizes, 9, 1).unwrap();
        for wanted in COCO {
            let nearest = anchors.iter().map(|&a| size_ratio(a, wanted)).fold(f32::INFINITY, f32::min);
            assert!(nearest < 1.1, "{wanted:?} is not in {anchors:?}");
        }
        assert!(anchor_fit(&sizes, &anchors).fitness > 0.99 * anchor_fit(&sizes, &COCO).fitness);
    }

    #[test]
    fn refinement_reaches_the_best_single_anchor() {
        let sizes = spread(300, 0.1, 4).into_iter().step_by(9).collect::<Vec<_>>();
        let refined = refine_anchors(&sizes, &[[14.0, 9.0]], 1);
        // The best on a grid of 1 %.
        let grid = (0..60).flat_map(|i| (0..60).map(move |j| [i, j]));
        let best = grid
            .map(|[i, j]| [8.0 * 1.01f32.powi(i), 10.0 * 1.01f32.powi(j)])
            .map(|anchor| anchor_fit(&sizes, &[anchor]).fitness)
            .fold(0.0, f64::max);
        assert!(anchor_fit(&sizes, &refined).fitness > best - 2e-3);
    }

    #[test]
    fn boxes_without_area_do_not_count() {
        let sizes = [[5.0, 5.0], [0.0, 3.0], [f32::INFINITY, 3.0], [-4.0, 3.0]];
        assert_eq!(kmeans_anchors(&sizes, 1, 0).unwrap(), [[5.0, 5.0]]);
        let error = kmeans_anchors(&sizes, 2, 0).unwrap_err().to_string();
        assert!(error.contains("1 boxes cannot give 2 anchors"), "{error}");
        // Equal boxes give equal anchors.
        assert_eq!(kmeans_anchors(&[[5.0, 5.0]; 4], 3, 0).unwrap(), [[5.0, 5.0]; 3]);
        assert_eq!(kmeans_anchors(&sizes, 0, 0).unwrap(), Vec::<[f32; 2]>::new());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]

        #[test]
        fn more_work_fits_better(seed: u64, k in 1..6usize) {
            let sizes = spread(100, 0.5, seed);
            let means = kmeans_anchors(&sizes, k, seed).unwrap();
            let refined = anchors_for(&sizes, k, seed).unwrap();
            prop_assert_eq!(refined.len(), k);
            prop_assert!(anchor_fit(&sizes, &refined).fitness >= anchor_fit(&sizes, &means).fitness);
            prop_assert!(refined.iter().is_sorted_by_key(|a| a[0] * a[1]));
            prop_assert_eq!(refined, anchors_for(&sizes, k, seed).unwrap());
        }
    }
}

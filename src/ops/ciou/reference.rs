//! CIoU and its gradient for one pair of boxes, in f64, and the loop over rows.

use std::f64::consts::PI;

use super::EPSILON;
use crate::Result;
use crate::ops::Io;
use crate::ops::matches::{Limits, Matches};

/// What CIoU is made of, for a box and its target (centre x, centre y, width, height).
struct Terms {
    /// The overlap of the two along x and y, negative where they are apart.
    overlap: [f64; 2],
    /// The sides of the box that encloses both.
    enclosing: [f64; 2],
    intersection: f64,
    union: f64,
    /// ρ².
    distance: f64,
    /// c².
    diagonal: f64,
    /// atan(w_target/h_target) − atan(w/h).
    angle: f64,
    v: f64,
    /// The denominator of α.
    alpha_denominator: f64,
}

/// Lower and upper edge along x (axis 0) or y (axis 1).
fn edges(b: [f64; 4], axis: usize) -> (f64, f64) {
    (b[axis] - b[2 + axis] / 2.0, b[axis] + b[2 + axis] / 2.0)
}

impl Terms {
    fn new(b: [f64; 4], target: [f64; 4]) -> Self {
        let (mut overlap, mut enclosing) = ([0.0; 2], [0.0; 2]);
        for axis in 0..2 {
            let ((low, high), (target_low, target_high)) = (edges(b, axis), edges(target, axis));
            overlap[axis] = high.min(target_high) - low.max(target_low);
            enclosing[axis] = high.max(target_high) - low.min(target_low);
        }
        let intersection = overlap[0].max(0.0) * overlap[1].max(0.0);
        let union = b[2] * b[3] + target[2] * target[3] - intersection + EPSILON;
        // atan2 is atan(w/h) for h > 0, and 0 for a box that underflowed to nothing.
        let angle = target[2].atan2(target[3]) - b[2].atan2(b[3]);
        let v = 4.0 / (PI * PI) * angle * angle;
        Terms {
            overlap,
            enclosing,
            intersection,
            union,
            distance: (target[0] - b[0]).powi(2) + (target[1] - b[1]).powi(2),
            diagonal: enclosing[0].powi(2) + enclosing[1].powi(2) + EPSILON,
            angle,
            v,
            alpha_denominator: v - intersection / union + 1.0 + EPSILON,
        }
    }
}

/// The CIoU of `b` and `target`.
pub(super) fn ciou(b: [f64; 4], target: [f64; 4]) -> f64 {
    let t = Terms::new(b, target);
    t.intersection / t.union - t.distance / t.diagonal - t.v * t.v / t.alpha_denominator
}

/// The gradient of the CIoU with respect to `b`.
pub(super) fn gradient(b: [f64; 4], target: [f64; 4], detach_alpha: bool) -> [f64; 4] {
    let t = Terms::new(b, target);
    let [w, h] = [b[2], b[3]];
    let alpha = t.v / t.alpha_denominator;
    std::array::from_fn(|i| {
        // Derivatives with respect to b[i], which moves the edges of one axis.
        let (axis, is_side) = (i % 2, i >= 2);
        let ((low, high), (target_low, target_high)) = (edges(b, axis), edges(target, axis));
        // How much of each edge of the box bounds the overlap; the rest bounds the enclosing box.
        let (low_inside, high_inside) = (is_less(target_low, low), is_less(high, target_high));
        let (d_low, d_high) = if is_side { (-0.5, 0.5) } else { (1.0, 1.0) };
        let d_overlap = high_inside * d_high - low_inside * d_low;
        let d_enclosing = (1.0 - high_inside) * d_high - (1.0 - low_inside) * d_low;

        let d_intersection =
            if t.overlap[axis] > 0.0 { d_overlap * t.overlap[1 - axis].max(0.0) } else { 0.0 };
        let d_area = if is_side { [h, w][axis] } else { 0.0 };
        let d_union = d_area - d_intersection;
        let d_iou = (d_intersection * t.union - t.intersection * d_union) / (t.union * t.union);

        let d_distance = if is_side { 0.0 } else { -2.0 * (target[axis] - b[axis]) };
        let d_diagonal = 2.0 * t.enclosing[axis] * d_enclosing;
        let d_penalty = (d_distance * t.diagonal - t.distance * d_diagonal) / (t.diagonal * t.diagonal);

        // d atan(w/h) = (h·dw − w·dh) / (w² + h²); a box of nothing has no direction.
        let d_atan = if is_side { [h, -w][axis] / (w * w + h * h).max(f64::MIN_POSITIVE) } else { 0.0 };
        let d_v = -8.0 / (PI * PI) * t.angle * d_atan;
        let d_alpha = match detach_alpha {
            true => 0.0,
            false => (d_v - alpha * (d_v - d_iou)) / t.alpha_denominator,
        };
        d_iou - d_penalty - alpha * d_v - t.v * d_alpha
    })
}

/// 1 where `a < b`, ½ where they are equal, else 0.
fn is_less(a: f64, b: f64) -> f64 {
    match a.partial_cmp(&b) {
        Some(std::cmp::Ordering::Less) => 1.0,
        Some(std::cmp::Ordering::Equal) => 0.5,
        _ => 0.0,
    }
}

pub(super) fn forward(io: &mut Io<'_, f64>) -> Result<()> {
    let boxes = io.input(0);
    let matches = Matches::new("CIoU", io.input(1), &Limits::NONE)?;
    matches.fill_rows(io.output(0), |row, m, y| {
        let b = boxes.pixel(row);
        y[0] = ciou([b[0], b[1], b[2], b[3]], m.target);
    });
    Ok(())
}

pub(super) fn backward(detach_alpha: bool, io: &mut Io<'_, f64>) -> Result<()> {
    let (boxes, dy) = (io.input(0), io.input(2));
    let matches = Matches::new("CIoU gradient", io.input(1), &Limits::NONE)?;
    matches.fill_rows(io.output(0), |row, m, dx| {
        let b = boxes.pixel(row);
        let gradient = gradient([b[0], b[1], b[2], b[3]], m.target, detach_alpha);
        for (dx, g) in dx.iter_mut().zip(gradient) {
            *dx = g * dy.pixel(row)[0];
        }
    });
    Ok(())
}

//! Axis-aligned boxes and how much two of them overlap.

/// Keeps α of [`Bounds::ciou`] finite where the boxes are equal.
const CIOU_EPSILON: f64 = 1e-7;

/// An axis-aligned box by its corners, in pixels: x to the right, y down, and the pixel in the
/// image's upper left corner covering `[0, 1] × [0, 1]`.
///
/// A box with `x1 <= x0` or `y1 <= y0` is empty: its size and area are zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Bounds {
    /// The left edge.
    pub x0: f32,
    /// The upper edge.
    pub y0: f32,
    /// The right edge.
    pub x1: f32,
    /// The lower edge.
    pub y1: f32,
}

impl Bounds {
    /// The box from (`x0`, `y0`) to (`x1`, `y1`).
    pub const fn new(x0: f32, y0: f32, x1: f32, y1: f32) -> Self {
        Bounds { x0, y0, x1, y1 }
    }

    /// The box of `width` × `height` around (`cx`, `cy`).
    pub fn from_center(cx: f32, cy: f32, width: f32, height: f32) -> Self {
        let (half_width, half_height) = (width / 2.0, height / 2.0);
        Bounds::new(cx - half_width, cy - half_height, cx + half_width, cy + half_height)
    }

    /// The width, 0 where the box is empty in x.
    pub fn width(&self) -> f32 {
        (self.x1 - self.x0).max(0.0)
    }

    /// The height, 0 where the box is empty in y.
    pub fn height(&self) -> f32 {
        (self.y1 - self.y0).max(0.0)
    }

    /// The centre, (x, y).
    pub fn center(&self) -> (f32, f32) {
        // Halves first: the sum of two large coordinates could leave f32's range.
        (self.x0 / 2.0 + self.x1 / 2.0, self.y0 / 2.0 + self.y1 / 2.0)
    }

    /// The area in square pixels.
    pub fn area(&self) -> f64 {
        let [width, height] = self.size();
        width * height
    }

    /// Whether all four edges are finite.
    pub fn is_finite(&self) -> bool {
        [self.x0, self.y0, self.x1, self.y1].iter().all(|edge| edge.is_finite())
    }

    /// Whether the box is finite and has an area.
    pub fn is_solid(&self) -> bool {
        self.is_finite() && self.x1 > self.x0 && self.y1 > self.y0
    }

    /// The part inside an image of `width` × `height`.
    pub fn clip(&self, width: f32, height: f32) -> Self {
        let inside = |value: f32, limit: f32| value.max(0.0).min(limit);
        Bounds {
            x0: inside(self.x0, width),
            y0: inside(self.y0, height),
            x1: inside(self.x1, width),
            y1: inside(self.y1, height),
        }
    }

    /// The part that both boxes cover; empty where they do not meet.
    pub fn overlap(&self, other: &Bounds) -> Self {
        Bounds {
            x0: self.x0.max(other.x0),
            y0: self.y0.max(other.y0),
            x1: self.x1.min(other.x1),
            y1: self.y1.min(other.y1),
        }
    }

    /// The area that both boxes cover, in square pixels.
    pub fn intersection(&self, other: &Bounds) -> f64 {
        let width = f64::from(self.x1.min(other.x1)) - f64::from(self.x0.max(other.x0));
        let height = f64::from(self.y1.min(other.y1)) - f64::from(self.y0.max(other.y0));
        width.max(0.0) * height.max(0.0)
    }

    /// Intersection over union, in `[0, 1]`; 0 where both boxes are empty.
    pub fn iou(&self, other: &Bounds) -> f64 {
        let intersection = self.intersection(other);
        // Most pairs do not touch, and a union of zero is one of those.
        if intersection <= 0.0 {
            return 0.0;
        }
        intersection / (self.area() + other.area() - intersection)
    }

    /// Distance-IoU (Zheng et al. 2020, eq. 7): IoU less the squared distance of the centres over
    /// the squared diagonal of the smallest box around both. In `[-1, 1]`.
    pub fn diou(&self, other: &Bounds) -> f64 {
        let span = |low: f32, high: f32| f64::from(high) - f64::from(low);
        let enclosing_width = span(self.x0.min(other.x0), self.x1.max(other.x1));
        let enclosing_height = span(self.y0.min(other.y0), self.y1.max(other.y1));
        let diagonal = enclosing_width.powi(2) + enclosing_height.powi(2);
        if diagonal <= 0.0 {
            return self.iou(other);
        }
        // Twice the distance of the centres, hence the 4.
        let dx = span(self.x0, other.x0) + span(self.x1, other.x1);
        let dy = span(self.y0, other.y0) + span(self.y1, other.y1);
        self.iou(other) - (dx * dx + dy * dy) / (4.0 * diagonal)
    }

    /// Complete IoU (Zheng et al. 2020, eqs. 8–11): [`diou`](Self::diou) less α·v, where
    /// v = 4/π² · (atan(w/h) − atan(w′/h′))² and α = v / (1 − IoU + v + ε), ε = 1e-7.
    pub fn ciou(&self, other: &Bounds) -> f64 {
        // atan2 is atan(w/h) that also takes boxes without height.
        let angle = |bounds: &Bounds| {
            let [width, height] = bounds.size();
            width.atan2(height)
        };
        let v = 4.0 / std::f64::consts::PI.powi(2) * (angle(self) - angle(other)).powi(2);
        let alpha = v / (1.0 - self.iou(other) + v + CIOU_EPSILON);
        self.diou(other) - alpha * v
    }

    /// Width and height in f64, whose difference of two f32 is as good as exact.
    fn size(&self) -> [f64; 2] {
        [
            (f64::from(self.x1) - f64::from(self.x0)).max(0.0),
            (f64::from(self.y1) - f64::from(self.y0)).max(0.0),
        ]
    }
}

#[cfg(test)]
mod tests {
    use approx::assert_abs_diff_eq;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn hand_worked_overlaps() {
        let a = Bounds::new(0.0, 0.0, 4.0, 4.0);
        let b = Bounds::new(2.0, 0.0, 6.0, 4.0);
        assert_eq!(a.intersection(&b), 8.0);
        assert_eq!(a.iou(&b), 8.0 / 24.0);
        // Centres 2 apart, enclosing 6 × 4: 4 / 52.
        assert_abs_diff_eq!(a.diou(&b), 1.0 / 3.0 - 4.0 / 52.0, epsilon = 1e-12);
        // Equal shapes: v is zero.
        assert_eq!(a.ciou(&b), a.diou(&b));

        // Touching edges do not overlap; a box is itself.
        assert_eq!(a.iou(&Bounds::new(4.0, 0.0, 8.0, 4.0)), 0.0);
        assert_eq!((a.iou(&a), a.diou(&a), a.ciou(&a)), (1.0, 1.0, 1.0));

        // 4 × 4 against 4 × 0: v = 4/π² · (π/4 − π/2)² = 1/4, IoU = 0, α = 1/4 / (5/4) = 1/5, and
        // the centres are 2 apart within a diagonal of 32.
        let line = Bounds::new(0.0, 4.0, 4.0, 4.0);
        assert_abs_diff_eq!(a.ciou(&line), -4.0 / 32.0 - 0.05, epsilon = 1e-8);
    }

    #[test]
    fn empty_boxes_have_no_overlap() {
        let empty = Bounds::new(3.0, 3.0, 1.0, 5.0);
        assert_eq!((empty.width(), empty.height(), empty.area()), (0.0, 2.0, 0.0));
        assert!(!empty.is_solid());
        assert_eq!(empty.iou(&empty), 0.0);
        let point = Bounds::new(1.0, 1.0, 1.0, 1.0);
        assert_eq!((point.iou(&point), point.diou(&point), point.ciou(&point)), (0.0, 0.0, 0.0));
    }

    #[test]
    fn clip_keeps_what_is_inside() {
        assert_eq!(Bounds::new(-5.0, 2.0, 30.0, 50.0).clip(20.0, 10.0), Bounds::new(0.0, 2.0, 20.0, 10.0));
        assert!(!Bounds::new(25.0, 2.0, 30.0, 5.0).clip(20.0, 10.0).is_solid());
    }

    fn bounds() -> impl Strategy<Value = Bounds> {
        let edge = -100.0f32..100.0;
        let size = 0.0f32..120.0;
        (edge.clone(), edge, size.clone(), size).prop_map(|(x, y, w, h)| Bounds::new(x, y, x + w, y + h))
    }

    proptest! {
        #[test]
        fn overlaps_are_symmetric_and_bounded(a in bounds(), b in bounds()) {
            prop_assert_eq!(a.iou(&b), b.iou(&a));
            prop_assert!((a.diou(&b) - b.diou(&a)).abs() < 1e-12);
            prop_assert!((a.ciou(&b) - b.ciou(&a)).abs() < 1e-12);
            let (iou, diou, ciou) = (a.iou(&b), a.diou(&b), a.ciou(&b));
            prop_assert!((0.0..=1.0).contains(&iou));
            prop_assert!(diou <= iou && diou >= -1.0);
            prop_assert!(ciou <= diou && ciou >= diou - 1.0);
        }

        #[test]
        fn overlaps_do_not_depend_on_place_or_scale(a in bounds(), b in bounds()) {
            // Powers of two scale exactly; a move rounds.
            let scaled = |r: Bounds| Bounds::new(r.x0 * 4.0, r.y0 * 4.0, r.x1 * 4.0, r.y1 * 4.0);
            prop_assert!((scaled(a).ciou(&scaled(b)) - a.ciou(&b)).abs() < 1e-6);
            prop_assert_eq!(scaled(a).iou(&scaled(b)), a.iou(&b));
        }

        #[test]
        fn center_and_size_give_the_box_back(a in bounds()) {
            let (cx, cy) = a.center();
            let back = Bounds::from_center(cx, cy, a.width(), a.height());
            for (x, y) in [(a.x0, back.x0), (a.y0, back.y0), (a.x1, back.x1), (a.y1, back.y1)] {
                prop_assert!((x - y).abs() < 1e-4);
            }
        }
    }
}

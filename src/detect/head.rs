//! What an anchor-based head looks at: its levels, their strides and anchors.

use crate::{Error, Result};

/// A box can be assigned to an anchor where neither side is this many times the other's
/// (YOLOv5's `anchor_t`). The decoded size reaches (2σ)² < 4 anchors, so more could not be learnt.
pub const MAX_RATIO: f32 = 4.0;

/// The channels of an anchor before its classes: x, y, w, h, objectness.
pub(super) const BOX_CHANNELS: usize = 5;

/// max(w/w′, w′/w, h/h′, h′/h): 1 for equal sizes, and how far apart two (w, h) are otherwise.
pub fn size_ratio([w, h]: [f32; 2], [other_w, other_h]: [f32; 2]) -> f32 {
    let (rw, rh) = (w / other_w, h / other_h);
    rw.max(1.0 / rw).max(rh.max(1.0 / rh))
}

/// One level of a head: a grid of cells, each with the same anchors.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct HeadLevel {
    /// The side of a cell in pixels of the network's input.
    pub stride: usize,
    /// The (width, height) of each anchor, in pixels of the network's input.
    pub anchors: Vec<[f32; 2]>,
}

impl HeadLevel {
    /// The channels of the level's map, `anchors · (5 + classes)`: for each anchor x, y, w, h,
    /// objectness, then the classes.
    pub fn channels(&self, classes: usize) -> usize {
        self.anchors.len() * (BOX_CHANNELS + classes)
    }

    /// The rows and columns of the level's map for an input of `height` × `width` pixels.
    ///
    /// # Errors
    /// Where the stride does not divide the input's sides.
    pub fn grid(&self, height: usize, width: usize) -> Result<(usize, usize)> {
        let divides = |side: usize| side > 0 && side.checked_rem(self.stride) == Some(0);
        if !divides(height) || !divides(width) {
            let message = format!("an input of {height} × {width} has no grid of stride {}", self.stride);
            return Err(
                Error::invalid(message).fix("choose input sides that are multiples of the largest stride")
            );
        }
        Ok((height / self.stride, width / self.stride))
    }

    /// # Errors
    /// Where the level has no stride or no anchors, or an anchor has no area.
    pub(super) fn check(&self) -> Result<()> {
        if self.stride == 0 || self.anchors.is_empty() {
            return Err(Error::invalid(
                "a head's level needs a stride of at least 1 and at least one anchor",
            ));
        }
        let usable = |side: &f32| side.is_finite() && *side > 0.0;
        match self.anchors.iter().find(|anchor| !anchor.iter().all(usable)) {
            Some([w, h]) => Err(Error::invalid(format!("an anchor of {w} × {h} pixels has no area"))),
            None => Ok(()),
        }
    }
}

/// A detection head: its levels, and the classes they tell apart.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Head {
    /// The number of classes.
    pub classes: usize,
    /// The levels, finest (smallest stride) first.
    pub levels: Vec<HeadLevel>,
}

impl Head {
    /// A head whose levels share `anchors`, (width, height) in pixels ordered by area, evenly: the
    /// smallest go to the first of `strides`.
    ///
    /// # Errors
    /// Where the anchors cannot be shared evenly, or are not usable.
    pub fn new(classes: usize, strides: &[usize], anchors: &[[f32; 2]]) -> Result<Self> {
        if strides.is_empty() || !anchors.len().is_multiple_of(strides.len()) {
            let message = format!("{} anchors cannot be shared by {} levels", anchors.len(), strides.len());
            return Err(Error::invalid(message).fix("give every level the same number of anchors"));
        }
        let each = anchors.len() / strides.len();
        let level = |(i, &stride): (usize, &usize)| HeadLevel {
            stride,
            anchors: anchors.iter().skip(i * each).take(each).copied().collect(),
        };
        let head = Head { classes, levels: strides.iter().enumerate().map(level).collect() };
        head.levels.iter().try_for_each(HeadLevel::check)?;
        Ok(head)
    }

    /// Rows enough for every match of a batch on any one level: each of an image's `objects` can
    /// match every anchor of the level, in three cells.
    pub fn capacity(&self, batch: usize, objects: usize) -> usize {
        let anchors = self.levels.iter().map(|level| level.anchors.len()).max().unwrap_or(0);
        batch.saturating_mul(objects).saturating_mul(3 * anchors)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_anchors_by_area() {
        let anchors = [[1.0, 2.0], [2.0, 2.0], [4.0, 4.0], [9.0, 8.0]];
        let head = Head::new(3, &[8, 16], &anchors).unwrap();
        assert_eq!(head.levels[0], HeadLevel { stride: 8, anchors: anchors[..2].to_vec() });
        assert_eq!(head.levels[1], HeadLevel { stride: 16, anchors: anchors[2..].to_vec() });
        assert_eq!(head.levels[0].channels(head.classes), 16);
        assert_eq!(head.capacity(4, 10), 4 * 10 * 2 * 3);
    }

    #[test]
    fn refuses_what_cannot_be_a_head() {
        assert!(Head::new(3, &[8, 16], &[[1.0, 2.0]]).is_err());
        assert!(Head::new(3, &[], &[[1.0, 2.0]]).is_err());
        assert!(Head::new(3, &[8], &[]).is_err());
        assert!(Head::new(3, &[0], &[[1.0, 2.0]]).is_err());
        assert!(Head::new(3, &[8], &[[0.0, 2.0]]).is_err());
        assert!(Head::new(3, &[8], &[[f32::NAN, 2.0]]).is_err());
    }

    #[test]
    fn a_grid_needs_whole_cells() {
        let level = HeadLevel { stride: 32, anchors: vec![[1.0, 1.0]] };
        assert_eq!(level.grid(64, 96).unwrap(), (2, 3));
        let error = level.grid(64, 100).unwrap_err().to_string();
        assert!(error.contains("64 × 100") && error.contains("stride 32"), "{error}");
        assert!(level.grid(0, 64).is_err());
    }

    #[test]
    fn ratio_is_of_the_worst_side() {
        assert_eq!(size_ratio([10.0, 10.0], [10.0, 10.0]), 1.0);
        assert_eq!(size_ratio([10.0, 10.0], [20.0, 5.0]), 2.0);
        assert_eq!(size_ratio([10.0, 40.0], [20.0, 10.0]), 4.0);
    }
}

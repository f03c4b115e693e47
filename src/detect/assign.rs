//! Assignment of objects to anchors, in the manner of YOLOv5 and YOLOv7.

use super::{Bounds, Head, HeadLevel, MAX_RATIO, size_ratio};
use crate::tensor::{Shape, Tensor};
use crate::{Error, Result};

/// An object that the head is to learn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Target {
    /// The place of its image in the batch.
    pub image: usize,
    /// The class's index, from 0.
    pub class: usize,
    /// Where it is, in pixels of the network's input.
    pub bounds: Bounds,
}

pub use crate::ops::matches::column;

/// The matches on one level of a head.
#[derive(Clone, Debug, PartialEq)]
pub struct Matches {
    /// `[1, 1, capacity, column::COUNT]`: a row for each match, in the order of targets, then
    /// anchors, then cells (the centre's first); unused rows follow, all zero. Two objects may
    /// claim the same anchor of the same cell; both are then listed.
    pub table: Tensor,
    /// The rows in use.
    pub count: usize,
    /// The matches for which there was no row: those whose size fits the anchor's worst.
    pub dropped: usize,
}

/// What [`assign`] found.
#[derive(Clone, Debug, PartialEq)]
pub struct Assignment {
    /// The matches, level by level.
    pub levels: Vec<Matches>,
    /// The targets that no anchor fits, or that have no area, or whose centre is not in the image:
    /// nothing is learnt from them.
    pub unmatched: usize,
}

/// Matches `targets` with the anchors of `head`, for a batch of `input` `[n, h, w, _]`.
///
/// A target matches an anchor where [`size_ratio`] of the two is below [`MAX_RATIO`]. It does so in
/// the cell that contains its centre and in the neighbours nearest to the centre, one to the left or
/// right and one above or below, where those exist: with the centre at fraction f of the cell, the
/// left one for f < 1/2, the right one for f > 1/2, none for exactly 1/2. A centre exactly on the
/// left border of column 1 (or the upper border of row 1) has no neighbour there, as in YOLOv5.
///
/// Each level gets a table of `capacity` rows ([`Head::capacity`] suffices always).
///
/// # Errors
/// Where the strides do not divide the input, the head is unusable, or a target's image or class is
/// not among the batch's or the head's.
pub fn assign(head: &Head, input: Shape, targets: &[Target], capacity: usize) -> Result<Assignment> {
    for target in targets {
        if target.image >= input.n || target.class >= head.classes {
            let message = format!(
                "an object of image {} and class {} cannot be assigned in a batch of {} images with {} classes",
                target.image, target.class, input.n, head.classes
            );
            return Err(Error::invalid(message).fix("give the head the number of classes of the dataset"));
        }
    }
    let shape = Shape::new(1, 1, capacity, column::COUNT);
    shape.checked_elements()?;

    let mut matched = vec![false; targets.len()];
    let mut levels = Vec::with_capacity(head.levels.len());
    for level in &head.levels {
        level.check()?;
        let grid = level.grid(input.h, input.w)?;
        let mut found = Vec::new();
        for (target, matched) in targets.iter().zip(&mut matched) {
            let before = found.len();
            match_level(level, grid, target, &mut found);
            *matched |= found.len() > before;
        }
        levels.push(tabulate(found, shape));
    }
    let unmatched = matched.iter().filter(|&&matched| !matched).count();
    Ok(Assignment { levels, unmatched })
}

/// A match: how far the sizes are apart, and the row that says it.
type Match = (f32, [f32; column::COUNT]);

/// Appends the matches of `target` on `level`, whose map has `rows` × `columns` cells.
fn match_level(level: &HeadLevel, (rows, columns): (usize, usize), target: &Target, found: &mut Vec<Match>) {
    let bounds = &target.bounds;
    let stride = level.stride as f32;
    let ((cx, cy), size) = (bounds.center(), [bounds.width(), bounds.height()]);
    let inside = |center: f32, cells: usize| center >= 0.0 && center < (cells * level.stride) as f32;
    if !bounds.is_solid() || !inside(cx, columns) || !inside(cy, rows) {
        return;
    }
    let (x, beside) = cells_along(cx / stride, columns);
    let (y, above_or_below) = cells_along(cy / stride, rows);
    let cells =
        [Some((y, x)), beside.map(|beside| (y, beside)), above_or_below.map(|vertical| (vertical, x))];
    for (anchor, &anchor_size) in level.anchors.iter().enumerate() {
        let ratio = size_ratio(size, anchor_size);
        // Sizes at the ends of f32's range have no ratio; they are no match either.
        if ratio.is_nan() || ratio >= MAX_RATIO {
            continue;
        }
        for (y, x) in cells.into_iter().flatten() {
            let mut row = [0.0; column::COUNT];
            row[column::VALID] = 1.0;
            row[column::IMAGE] = target.image as f32;
            row[column::Y] = y as f32;
            row[column::X] = x as f32;
            row[column::ANCHOR] = anchor as f32;
            row[column::CLASS] = target.class as f32;
            row[column::CENTER_X] = cx;
            row[column::CENTER_Y] = cy;
            row[column::WIDTH] = size[0];
            row[column::HEIGHT] = size[1];
            found.push((ratio, row));
        }
    }
}

/// Along one axis of `cells` cells: the cell that contains `position` (in cells), and its neighbour
/// nearest to it.
fn cells_along(position: f32, cells: usize) -> (usize, Option<usize>) {
    // The division by the stride can round up to the very end.
    let cell = (position as usize).min(cells - 1);
    let fraction = position - cell as f32;
    let neighbour = if fraction < 0.5 && position > 1.0 {
        Some(cell - 1)
    } else if fraction > 0.5 && cell + 1 < cells {
        Some(cell + 1)
    } else {
        None
    };
    (cell, neighbour)
}

/// The table of `shape` with the matches `found`, or with the best of them where it is too small.
fn tabulate(found: Vec<Match>, shape: Shape) -> Matches {
    let count = found.len().min(shape.w);
    let dropped = found.len() - count;
    let mut kept: Vec<usize> = (0..found.len()).collect();
    if dropped > 0 {
        kept.sort_by(|&a, &b| found[a].0.total_cmp(&found[b].0));
        kept.truncate(count);
        kept.sort_unstable();
    }
    let mut table = Tensor::zeros(shape);
    for (row, &i) in table.data_mut().chunks_exact_mut(column::COUNT).zip(&kept) {
        row.copy_from_slice(&found[i].1);
    }
    Matches { table, count, dropped }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// Stride 8, one anchor of 16 × 16.
    fn one_level() -> Head {
        Head::new(4, &[8], &[[16.0, 16.0]]).unwrap()
    }

    fn target(cx: f32, cy: f32, width: f32, height: f32) -> Target {
        Target { image: 0, class: 0, bounds: Bounds::from_center(cx, cy, width, height) }
    }

    /// (x, y) of the matches of an object of 16 × 16 whose centre is at (`cx`, `cy`), in cells of 8
    /// pixels, on a map of 4 rows and 5 columns.
    fn cells(cx: f32, cy: f32) -> Vec<(usize, usize)> {
        let target = target(cx * 8.0, cy * 8.0, 16.0, 16.0);
        let found = assign(&one_level(), Shape::new(1, 32, 40, 3), &[target], 10).unwrap();
        let rows = found.levels[0].table.data().chunks(column::COUNT);
        rows.take(found.levels[0].count).map(|r| (r[column::X] as usize, r[column::Y] as usize)).collect()
    }

    #[test]
    fn neighbours_are_the_nearest() {
        assert_eq!(cells(2.25, 1.25), [(2, 1), (1, 1), (2, 0)]);
        assert_eq!(cells(2.75, 1.25), [(2, 1), (3, 1), (2, 0)]);
        assert_eq!(cells(2.25, 1.75), [(2, 1), (1, 1), (2, 2)]);
        assert_eq!(cells(2.75, 1.75), [(2, 1), (3, 1), (2, 2)]);
    }

    #[test]
    fn the_middle_of_a_cell_has_no_neighbours() {
        assert_eq!(cells(2.5, 1.5), [(2, 1)]);
        assert_eq!(cells(2.5, 1.25), [(2, 1), (2, 0)]);
    }

    #[test]
    fn corners_have_no_neighbours_outside() {
        assert_eq!(cells(0.25, 0.25), [(0, 0)]);
        assert_eq!(cells(4.75, 3.75), [(4, 3)]);
        assert_eq!(cells(0.75, 3.25), [(0, 3), (1, 3), (0, 2)]);
        assert_eq!(cells(4.25, 0.75), [(4, 0), (3, 0), (4, 1)]);
    }

    #[test]
    fn borders_belong_to_the_cell_they_begin() {
        assert_eq!(cells(3.0, 1.5), [(3, 1), (2, 1)]);
        // The first border is YOLOv5's exception: its rule asks for more than 1.
        assert_eq!(cells(1.0, 1.5), [(1, 1)]);
        assert_eq!(cells(0.0, 0.0), [(0, 0)]);
        // The far border is outside.
        assert_eq!(cells(5.0, 1.5), []);
        assert_eq!(cells(-0.1, 1.5), []);
    }

    #[test]
    fn sizes_match_below_four_to_one() {
        let matches = |width, height| {
            let targets = [target(20.0, 20.0, width, height)];
            assign(&one_level(), Shape::new(1, 32, 40, 3), &targets, 10).unwrap().levels[0].count
        };
        assert_eq!(matches(63.0, 16.0), 1);
        assert_eq!(matches(64.0, 16.0), 0);
        assert_eq!(matches(16.0, 4.0), 0);
        assert_eq!(matches(16.0, 4.125), 1);
        assert_eq!(matches(0.0, 16.0), 0);
        assert_eq!(matches(f32::INFINITY, 16.0), 0);
    }

    #[test]
    fn rows_say_everything() {
        let head = Head::new(4, &[8, 16], &[[4.0, 4.0], [12.0, 10.0], [90.0, 90.0], [30.0, 40.0]]).unwrap();
        let target = Target { image: 1, class: 3, bounds: Bounds::new(10.0, 20.0, 30.0, 52.0) };
        let stray = Target { image: 0, class: 0, bounds: Bounds::new(0.0, 0.0, 1.0, 64.0) };
        let found = assign(&head, Shape::new(2, 64, 64, 3), &[stray, target], 3).unwrap();
        assert_eq!(found.unmatched, 1);
        // Centre (20, 36), 20 × 32. At stride 8 the middle of cell (2, 4), and 8 times the anchor
        // 4 × 4 but 3.2 times 12 × 10; at stride 16 at (1.25, 2.25), 4.5 and 1.5 times less.
        assert_eq!(found.levels[0].table.shape(), Shape::new(1, 1, 3, column::COUNT));
        let box_ = [20.0, 36.0, 20.0, 32.0];
        let row = |cell: [f32; 3], class: f32| [&[1.0, 1.0], &cell[..], &[class], &box_[..]].concat();
        assert_eq!(found.levels[0].table.data()[..10], row([4.0, 2.0, 1.0], 3.0));
        assert_eq!(found.levels[0].count, 1);
        assert!(found.levels[0].table.data()[10..].iter().all(|&v| v == 0.0));
        let wanted =
            [row([2.0, 1.0, 1.0], 3.0), row([2.0, 0.0, 1.0], 3.0), row([1.0, 1.0, 1.0], 3.0)].concat();
        assert_eq!(found.levels[1].table.data(), wanted);
    }

    #[test]
    fn the_worst_fits_are_dropped() {
        // One cell each (the centre of a cell), ratios 2, 1, 3, 1.
        let targets: Vec<Target> = [32.0, 16.0, 48.0, 16.0]
            .iter()
            .enumerate()
            .map(|(class, &width)| Target { class, ..target(20.0, 20.0, width, 16.0) })
            .collect();
        let classes = |capacity| {
            let found = assign(&one_level(), Shape::new(1, 32, 40, 3), &targets, capacity).unwrap();
            let Matches { table, count, dropped } = &found.levels[0];
            assert_eq!((count + dropped, found.unmatched), (4, 0));
            let rows = table.data().chunks(column::COUNT).take(*count);
            rows.map(|row| row[column::CLASS] as usize).collect::<Vec<_>>()
        };
        assert_eq!(classes(4), [0, 1, 2, 3]);
        assert_eq!(classes(3), [0, 1, 3]);
        assert_eq!(classes(1), [1]);
        assert!(classes(0).is_empty());
    }

    #[test]
    fn refuses_targets_of_other_batches_and_heads() {
        let input = Shape::new(1, 32, 32, 3);
        let good = target(8.0, 8.0, 8.0, 8.0);
        assert!(assign(&one_level(), input, &[good], 4).is_ok());
        assert!(assign(&one_level(), input, &[Target { image: 1, ..good }], 4).is_err());
        assert!(assign(&one_level(), input, &[Target { class: 4, ..good }], 4).is_err());
        assert!(assign(&one_level(), Shape::new(1, 30, 32, 3), &[good], 4).is_err());
        assert!(assign(&one_level(), input, &[good], usize::MAX).is_err());
    }

    /// The rule from its end: every anchor of every cell asks whether it is the target's.
    fn by_every_cell(level: &HeadLevel, input: Shape, targets: &[Target]) -> BTreeSet<[usize; 5]> {
        let (rows, columns) = level.grid(input.h, input.w).unwrap();
        let stride = level.stride as f32;
        let mut all = BTreeSet::new();
        for (t, target) in targets.iter().enumerate() {
            let Bounds { x0, y0, x1, y1 } = target.bounds;
            let (w, h) = (x1 - x0, y1 - y0);
            let (gx, gy) = ((x0 + x1) / 2.0 / stride, (y0 + y1) / 2.0 / stride);
            for (a, &[aw, ah]) in level.anchors.iter().enumerate() {
                let fits = w < 4.0 * aw && aw < 4.0 * w && h < 4.0 * ah && ah < 4.0 * h;
                for (y, x) in (0..rows).flat_map(|y| (0..columns).map(move |x| (y, x))) {
                    // A cell of the cross is taken where its middle is less than one cell away.
                    let (dx, dy) = ((gx - x as f32 - 0.5).abs(), (gy - y as f32 - 0.5).abs());
                    let holds = |d: f32| d <= 0.5;
                    if fits && ((dx < 1.0 && holds(dy)) || (dy < 1.0 && holds(dx))) {
                        all.insert([t, target.image, y, x, a]);
                    }
                }
            }
        }
        all
    }

    fn targets() -> impl Strategy<Value = Vec<Target>> {
        let one = (0..2usize, 0..4usize, 1.0f32..63.0, 1.0f32..95.0, 1.0f32..80.0, 1.0f32..80.0);
        let one = one.prop_map(|(image, class, y, x, h, w)| Target {
            image,
            class,
            bounds: Bounds::from_center(x, y, w, h),
        });
        proptest::collection::vec(one, 0..20)
    }

    proptest! {
        #[test]
        fn agrees_with_every_cell_asking(targets in targets()) {
            let anchors = [[5.0, 6.0], [8.0, 14.0], [15.0, 11.0], [16.0, 30.0], [33.0, 23.0], [60.0, 60.0]];
            let head = Head::new(4, &[8, 16], &anchors).unwrap();
            let input = Shape::new(2, 64, 96, 3);
            let found = assign(&head, input, &targets, head.capacity(2, 20)).unwrap();
            for (level, matches) in head.levels.iter().zip(&found.levels) {
                prop_assert_eq!(matches.dropped, 0);
                let wanted = by_every_cell(level, input, &targets);
                prop_assert_eq!(matches.count, wanted.len());
                let rows: Vec<&[f32]> = matches.table.data().chunks(column::COUNT).collect();
                for row in &rows[..matches.count] {
                    // Which target it is, the centre says.
                    let t = targets.iter().position(|t| t.bounds.center().0 == row[column::CENTER_X]).unwrap();
                    prop_assert_eq!(row[column::CLASS] as usize, targets[t].class);
                    prop_assert_eq!(row[column::HEIGHT], targets[t].bounds.height());
                    let cell = [column::IMAGE, column::Y, column::X, column::ANCHOR].map(|c| row[c] as usize);
                    prop_assert!(wanted.contains(&[t, cell[0], cell[1], cell[2], cell[3]]), "{cell:?}");
                }
                prop_assert!(rows[matches.count..].iter().all(|row| row.iter().all(|&v| v == 0.0)));
            }
        }
    }
}

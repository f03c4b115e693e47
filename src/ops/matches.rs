//! The match table: what the host tells the loss about one head level of one batch.
//!
//! `[1, 1, capacity, 10]`, one row for each match of an object with an anchor of a cell, columns as in
//! [`mod@column`]. The capacity is fixed, so that a step is one program; rows that are not used are all
//! zero, may lie anywhere in the table, and every op of the loss gives zeros for them.

pub mod cuda;

use std::ops::Range;

use crate::runtime::Cpu;
use crate::tensor::{Element, Shape, View, ViewMut};
use crate::{Error, ErrorKind, Result};

/// The columns of a match table.
pub mod column {
    /// 1 where the row is a match; 0 where it is unused, and then all of it is 0.
    pub const VALID: usize = 0;
    /// The place of the image in the batch.
    pub const IMAGE: usize = 1;
    /// The row of the cell in the level's map.
    pub const Y: usize = 2;
    /// The column of the cell in the level's map.
    pub const X: usize = 3;
    /// The anchor's place in its level.
    pub const ANCHOR: usize = 4;
    /// The class's index.
    pub const CLASS: usize = 5;
    /// The x of the object's centre, in pixels of the network's input.
    pub const CENTER_X: usize = 6;
    /// The y of the object's centre, in pixels of the network's input.
    pub const CENTER_Y: usize = 7;
    /// The object's width, in pixels of the network's input.
    pub const WIDTH: usize = 8;
    /// The object's height, in pixels of the network's input.
    pub const HEIGHT: usize = 9;
    /// The number of columns.
    pub const COUNT: usize = 10;
}

/// One match: an object that an anchor of a cell is to predict.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Match {
    /// The place of the image in the batch.
    pub image: usize,
    /// The row of the cell in the level's map.
    pub y: usize,
    /// The column of the cell in the level's map.
    pub x: usize,
    /// The anchor's place in its level.
    pub anchor: usize,
    /// The class's index.
    pub class: usize,
    /// The object's box: centre x, centre y, width, height, in pixels of the network's input.
    pub target: [f64; 4],
}

impl Match {
    /// The number of the match's pixel in a map of `shape` `[n, h, w, _]`.
    pub fn pixel(&self, shape: Shape) -> usize {
        (self.image * shape.h + self.y) * shape.w + self.x
    }
}

/// What the indices of a table must stay below; [`Limits::NONE`] where an op does not use them.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Images n, rows h and columns w of the map.
    pub map: Shape,
    /// Anchors of the level.
    pub anchors: usize,
    /// Classes.
    pub classes: usize,
}

impl Limits {
    /// No limits.
    pub const NONE: Limits = Limits {
        map: Shape::new(usize::MAX, usize::MAX, usize::MAX, usize::MAX),
        anchors: usize::MAX,
        classes: usize::MAX,
    };
}

/// A match table whose rows were checked.
#[derive(Clone, Copy, Debug)]
pub struct Matches<'a, T> {
    table: View<'a, T>,
}

impl<'a, T: Element> Matches<'a, T> {
    /// Checks every row of `table`, an input of `op`.
    ///
    /// # Errors
    /// Names the first row with an index that is no whole number below its limit, or a box that is
    /// not finite or has no area.
    pub fn new(op: &str, table: View<'a, T>, limits: &Limits) -> Result<Self> {
        for row in 0..table.shape().pixels() {
            check(table.pixel(row), limits).map_err(|what| {
                let message = format!("row {row} of the match table {what}");
                Error::new(ErrorKind::Numeric, message)
                    .in_op(op)
                    .fix("assign the objects with the head and the input size that the graph was traced with")
            })?;
        }
        Ok(Matches { table })
    }

    /// The match in row `row`; `None` where the row is unused.
    #[inline]
    pub fn get(&self, row: usize) -> Option<Match> {
        let row = self.table.pixel(row);
        let at = |column: usize| row[column].to_f64();
        (at(column::VALID) != 0.0).then(|| Match {
            image: at(column::IMAGE) as usize,
            y: at(column::Y) as usize,
            x: at(column::X) as usize,
            anchor: at(column::ANCHOR) as usize,
            class: at(column::CLASS) as usize,
            target: [at(column::CENTER_X), at(column::CENTER_Y), at(column::WIDTH), at(column::HEIGHT)],
        })
    }

    /// The rows of the table.
    pub fn capacity(&self) -> usize {
        self.table.shape().pixels()
    }

    /// The number of matches.
    pub fn count(&self) -> usize {
        self.rows().count()
    }

    /// The matches with the numbers of their rows.
    pub fn rows(&self) -> impl Iterator<Item = (usize, Match)> {
        self.rows_in(0..self.capacity())
    }

    /// As [`Matches::rows`], for a part of the table.
    pub fn rows_in(&self, rows: Range<usize>) -> impl Iterator<Item = (usize, Match)> {
        rows.filter_map(|row| self.get(row).map(|m| (row, m)))
    }

    /// Writes `output` `[1, 1, capacity, _]`: what `kernel(row, match, output row)` writes for a
    /// match, zeros for an unused row.
    pub fn fill_rows(&self, output: &mut ViewMut<'_, T>, kernel: impl Fn(usize, &Match, &mut [T])) {
        self.fill_rows_from(0, output, &kernel);
    }

    /// As [`Matches::fill_rows`], by several threads.
    pub fn fill_rows_parallel(
        &self,
        cpu: &Cpu,
        output: ViewMut<'_, T>,
        kernel: impl Fn(usize, &Match, &mut [T]) + Sync + Send,
    ) {
        let chunks: Vec<_> = output.chunks(ROWS_PER_CHUNK).into_iter().enumerate().collect();
        cpu.for_each(chunks, |(chunk, mut output)| {
            self.fill_rows_from(chunk * ROWS_PER_CHUNK, &mut output, &kernel);
        });
    }

    fn fill_rows_from(
        &self,
        first: usize,
        output: &mut ViewMut<'_, T>,
        kernel: &impl Fn(usize, &Match, &mut [T]),
    ) {
        for i in 0..output.shape().pixels() {
            let row = output.pixel(i);
            match self.get(first + i) {
                Some(found) => kernel(first + i, &found, row),
                None => row.fill(T::default()),
            }
        }
    }
}

/// Rows that one thread handles at a time: some tens of microseconds of box arithmetic.
pub const ROWS_PER_CHUNK: usize = 256;

/// Fails unless `inputs[index]` is a match table, or where `rows`, of one row a match, differs in the
/// number of rows.
pub fn expect_table(op: &str, inputs: &[Shape], index: usize, rows: Option<Shape>) -> Result<()> {
    let table = inputs[index];
    if table != Shape::new(1, 1, table.w, column::COUNT) {
        let message = format!("input {index} must be a match table [1, 1, capacity, {}]", column::COUNT);
        return Err(Error::shape(op, inputs, message));
    }
    if rows.is_some_and(|rows| rows.with_c(0) != table.with_c(0)) {
        return Err(Error::shape(op, inputs, "there must be one row for each row of the match table"));
    }
    Ok(())
}

/// Says what is wrong with a row.
fn check<T: Element>(row: &[T], limits: &Limits) -> Result<(), String> {
    let at = |column: usize| row[column].to_f64();
    match at(column::VALID) {
        0.0 => return Ok(()),
        1.0 => {}
        other => return Err(format!("is neither used (1) nor unused (0) but {other}")),
    }
    let indices = [
        ("image", column::IMAGE, limits.map.n),
        ("y", column::Y, limits.map.h),
        ("x", column::X, limits.map.w),
        ("anchor", column::ANCHOR, limits.anchors),
        ("class", column::CLASS, limits.classes),
    ];
    for (name, column, limit) in indices {
        let index = at(column);
        if !(index >= 0.0 && index.fract() == 0.0 && index < limit as f64) {
            return Err(match limit {
                usize::MAX => format!("has {name} {index}, which is no index"),
                _ => format!("has {name} {index}, but there are {limit}"),
            });
        }
    }
    let [center_x, center_y, width, height] =
        [at(column::CENTER_X), at(column::CENTER_Y), at(column::WIDTH), at(column::HEIGHT)];
    let finite = [center_x, center_y, width, height].iter().all(|v| v.is_finite());
    if !(finite && width > 0.0 && height > 0.0) {
        return Err(format!("has a box of {width} × {height} pixels at ({center_x}, {center_y})"));
    }
    Ok(())
}

pub mod testing {
    //! Handmade tables, for tests and cases.

    use super::column;
    use crate::tensor::{Random, Shape};

    /// A row for a match of anchor `anchor` of the cell (`image`, `y`, `x`).
    pub fn row([image, y, x, anchor, class]: [usize; 5], [cx, cy, w, h]: [f32; 4]) -> [f32; column::COUNT] {
        [1.0, image as f32, y as f32, x as f32, anchor as f32, class as f32, cx, cy, w, h]
    }

    /// A row that is not used.
    pub const UNUSED: [f32; column::COUNT] = [0.0; column::COUNT];

    /// Tables that have every kind of row, for a map `[n, h, w, anchors]`: one row, used or not; none used;
    /// all used; all of one cell; a third unused, many that share cells; more rows than a block counts,
    /// the used ones far apart.
    pub fn tables(random: &mut Random, map: Shape, classes: usize) -> Vec<Vec<f32>> {
        let used = |random: &mut Random, capacity: usize| -> Vec<f32> {
            let mut rows = random_table(random, map, classes, 4 * capacity + 40);
            rows = rows
                .chunks(column::COUNT)
                .filter(|row| row[column::VALID] != 0.0)
                .flatten()
                .copied()
                .collect();
            rows.truncate(capacity * column::COUNT);
            rows
        };
        let same = used(random, 1);
        let mut sparse = UNUSED.repeat(2100);
        for (row, from) in
            [0, 31, 32, 1023, 1024, 1500, 2099].into_iter().zip(used(random, 7).chunks(column::COUNT))
        {
            sparse[row * column::COUNT..(row + 1) * column::COUNT].copy_from_slice(from);
        }
        vec![
            same.clone(),
            UNUSED.to_vec(),
            UNUSED.repeat(5),
            used(random, 33),
            same.repeat(70),
            random_table(random, map, classes, 40),
            random_table(random, map, classes, 300),
            sparse,
        ]
    }

    /// The shape of a table.
    pub fn shape(table: &[f32]) -> Shape {
        Shape::new(1, 1, table.len() / column::COUNT, column::COUNT)
    }

    /// Elements of `shape`, uniform in ±`bound`.
    pub fn uniform(random: &mut Random, shape: Shape, bound: f32) -> Vec<f32> {
        (0..shape.elements()).map(|_| random.uniform(-bound, bound)).collect()
    }

    /// `capacity` rows, about a third unused, at random cells of `map` `[n, h, w, anchors]`: with more
    /// rows than cells many share one.
    pub fn random_table(random: &mut Random, map: Shape, classes: usize, capacity: usize) -> Vec<f32> {
        let mut table = Vec::new();
        for _ in 0..capacity {
            let used = row(
                [map.n, map.h, map.w, map.c, classes].map(|limit| random.below(limit)),
                [(-5.0, 40.0), (-5.0, 40.0), (0.5, 30.0), (0.5, 30.0)].map(|(a, b)| random.uniform(a, b)),
            );
            table.extend(if random.chance(0.33) { UNUSED } else { used });
        }
        table
    }
}

#[cfg(test)]
mod tests {
    use super::testing::{UNUSED, row};
    use super::*;

    const LIMITS: Limits = Limits { map: Shape::new(2, 3, 4, 0), anchors: 2, classes: 5 };

    fn error(second: [f32; column::COUNT], limits: &Limits) -> Option<String> {
        let data = [UNUSED, second].concat();
        let table = View::dense(&data, Shape::new(1, 1, 2, column::COUNT));
        Matches::new("gather", table, limits).err().map(|e| e.to_string())
    }

    #[test]
    fn the_last_index_of_each_kind_is_taken_and_the_next_refused() {
        let last = [1, 2, 3, 1, 4];
        assert_eq!(error(row(last, [0.0, 0.0, 1.0, 1.0]), &LIMITS), None);
        for (column, name) in ["image", "y", "x", "anchor", "class"].iter().enumerate() {
            let mut past = last;
            past[column] += 1;
            let message = error(row(past, [0.0, 0.0, 1.0, 1.0]), &LIMITS).unwrap();
            let said = format!("gather: row 1 of the match table has {name} {}, but there are", past[column]);
            assert!(message.starts_with(&said), "{message}");
            assert_eq!(error(row(past, [0.0, 0.0, 1.0, 1.0]), &Limits::NONE), None);
        }
    }

    #[test]
    fn what_is_no_index_or_no_box_is_refused() {
        let good = row([0; 5], [1.0, 1.0, 1.0, 1.0]);
        for (column, bad) in [(0, 0.5), (0, f32::NAN), (1, -1.0), (3, 0.5), (4, f32::NAN), (5, f32::INFINITY)]
        {
            let mut row = good;
            row[column] = bad;
            assert!(error(row, &LIMITS).is_some(), "column {column} {bad}");
        }
        for (column, bad) in [(6, f32::NAN), (7, f32::INFINITY), (8, 0.0), (9, -1.0)] {
            let mut row = good;
            row[column] = bad;
            let message = error(row, &Limits::NONE).unwrap();
            assert!(message.contains("row 1") && message.contains("has a box of"), "{message}");
        }
    }

    #[test]
    fn a_row_is_read_by_column() {
        let data = [UNUSED, row([1, 2, 3, 1, 4], [5.0, 6.0, 7.0, 8.0])].concat();
        let matches =
            Matches::new("op", View::dense(&data, Shape::new(1, 1, 2, column::COUNT)), &LIMITS).unwrap();
        let found = Match { image: 1, y: 2, x: 3, anchor: 1, class: 4, target: [5.0, 6.0, 7.0, 8.0] };
        assert_eq!(matches.rows().collect::<Vec<_>>(), [(1, found)]);
        assert_eq!(found.pixel(Shape::new(2, 3, 4, 9)), 23);
    }
}

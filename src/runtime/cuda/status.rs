//! What kernels report of impossible data, as `kernels/common/status.cuh` writes it.

use std::fmt;

/// What was wrong with a step's data: a status word that is not 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DataError {
    /// What was wrong.
    pub kind: DataErrorKind,
    /// The row that it was found in, the first where there are several; `None` where the error is about
    /// no row, or about one past 2²⁴.
    pub row: Option<u32>,
    /// The number that is impossible: the class, the index, of a box the first of its four that is.
    pub number: f32,
}

/// The kinds of [`DataError`], in the order of the codes of `kernels/common/status.cuh`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DataErrorKind {
    /// An index that is no whole number, or outside of what it points into.
    Index,
    /// A label that is no whole number, or none of the classes.
    Class,
    /// A step count below 1.
    Step,
    /// A row of a match table that is neither used nor unused.
    MatchUsed,
    /// A match of an image outside of the batch.
    MatchImage,
    /// A match of a row of cells outside of the map.
    MatchY,
    /// A match of a column of cells outside of the map.
    MatchX,
    /// A match of an anchor that the level lacks.
    MatchAnchor,
    /// A match of a class that there is not.
    MatchClass,
    /// A match with a box that is not finite, or has no area.
    MatchBox,
    /// A code that no kernel writes: a defect.
    Unknown(u8),
}

impl DataErrorKind {
    /// Code n + 1 is element n.
    const CODES: [DataErrorKind; 10] = [
        DataErrorKind::Index,
        DataErrorKind::Class,
        DataErrorKind::Step,
        DataErrorKind::MatchUsed,
        DataErrorKind::MatchImage,
        DataErrorKind::MatchY,
        DataErrorKind::MatchX,
        DataErrorKind::MatchAnchor,
        DataErrorKind::MatchClass,
        DataErrorKind::MatchBox,
    ];
}

impl DataError {
    /// The largest number the row's 24 bits hold: no row.
    const NO_ROW: u32 = 0xff_ffff;

    /// Reads a status word that is not 0: the number's bits in its low half, above them the kind in 8 bits, and how
    /// far the row is from the last that can be told.
    pub fn from_code(word: u64) -> Self {
        let number = f32::from_bits((word & u64::from(u32::MAX)) as u32);
        let word = (word >> 32) as u32;
        let code = (word & 0xff) as u8;
        let known = usize::from(code).checked_sub(1).and_then(|index| DataErrorKind::CODES.get(index));
        let row = Self::NO_ROW - (word >> 8);
        DataError {
            kind: known.copied().unwrap_or(DataErrorKind::Unknown(code)),
            row: (row != Self::NO_ROW).then_some(row),
            number,
        }
    }

    /// What the user can do about it.
    pub fn fix(&self) -> &'static str {
        match self.kind {
            DataErrorKind::Class => "give each row the index of a class, from 0",
            DataErrorKind::Step => "count the first step as 1",
            DataErrorKind::Index | DataErrorKind::Unknown(_) => "report this as a defect",
            _ => "assign the objects with the head and the input size that the graph was traced with",
        }
    }
}

impl fmt::Display for DataError {
    /// As the cpu's kernels say it, without the limits that a status word has no room for.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let row = match self.row {
            Some(row) => format!("row {row}"),
            None => "a row".to_owned(),
        };
        // As a double, so that the cpu's sentence has the same digits.
        let number = f64::from(self.number);
        let of_match = match self.kind {
            DataErrorKind::Index => return write!(f, "{row} has the index {number}, which points nowhere"),
            DataErrorKind::Class => return write!(f, "{row} has the label {number}, which is no class"),
            DataErrorKind::Step => return write!(f, "the step count is {number}"),
            DataErrorKind::Unknown(code) => return write!(f, "a kernel reported the unknown error {code}"),
            DataErrorKind::MatchUsed => format!("is neither used (1) nor unused (0) but {number}"),
            DataErrorKind::MatchImage => format!("has image {number}, which the batch lacks"),
            DataErrorKind::MatchY => format!("has y {number}, which the map lacks"),
            DataErrorKind::MatchX => format!("has x {number}, which the map lacks"),
            DataErrorKind::MatchAnchor => format!("has anchor {number}, which the level lacks"),
            DataErrorKind::MatchClass => format!("has class {number}, which there is not"),
            DataErrorKind::MatchBox => {
                format!("has a box that is not finite or has no area: one of its numbers is {number}")
            }
        };
        write!(f, "{row} of the match table {of_match}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `DATA_ERROR_MATCH_X` of `MatchX`.
    fn name_in_cuda(kind: DataErrorKind) -> String {
        let mut name = "DATA_ERROR".to_owned();
        for letter in format!("{kind:?}").chars() {
            if letter.is_uppercase() {
                name.push('_');
            }
            name.push(letter.to_ascii_uppercase());
        }
        name
    }

    #[test]
    fn codes_are_those_of_the_kernels() {
        let header = include_str!("../../../kernels/common/status.cuh");
        let names: Vec<&str> = header
            .lines()
            .filter_map(|line| line.trim().split_once(','))
            .map(|(name, _)| name)
            .filter(|name| name.starts_with("DATA_ERROR_"))
            .collect();
        assert_eq!(names[0], "DATA_ERROR_NONE");
        let ours: Vec<String> = DataErrorKind::CODES.into_iter().map(name_in_cuda).collect();
        assert_eq!(names[1..], ours);
    }

    #[test]
    fn a_word_has_kind_row_and_number() {
        let word = |row: u32, code: u32, number: f32| {
            u64::from((0xff_ffff - row) << 8 | code) << 32 | u64::from(number.to_bits())
        };
        let error = DataError::from_code(word(7, 8, 2.5));
        assert_eq!(error, DataError { kind: DataErrorKind::MatchAnchor, row: Some(7), number: 2.5 });
        assert_eq!(error.to_string(), "row 7 of the match table has anchor 2.5, which the level lacks");
        let error = DataError::from_code(word(0xff_ffff, 3, -1.0));
        assert_eq!(error, DataError { kind: DataErrorKind::Step, row: None, number: -1.0 });
        assert_eq!(error.to_string(), "the step count is -1");
        // The largest word is the first row's.
        assert!(word(3, 1, 0.0) > word(4, 10, f32::NAN));
        assert_eq!(DataError::from_code(word(0, 77, 0.0)).kind, DataErrorKind::Unknown(77));
    }
}

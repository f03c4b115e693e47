//! The one kind of shape: NHWC, four dimensions.

use std::fmt;

use crate::{Error, Result};

/// A shape `[n, h, w, c]`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(into = "[usize; 4]", from = "[usize; 4]")]
pub struct Shape {
    /// Images in the batch; output channels in a convolution's weight.
    pub n: usize,
    /// Rows.
    pub h: usize,
    /// Columns.
    pub w: usize,
    /// Channels: the dimension that lies densely in memory.
    pub c: usize,
}

impl Shape {
    /// `[n, h, w, c]`.
    pub const fn new(n: usize, h: usize, w: usize, c: usize) -> Self {
        Shape { n, h, w, c }
    }

    /// A vector over channels, `[1, 1, 1, c]`.
    pub const fn vector(c: usize) -> Self {
        Shape::new(1, 1, 1, c)
    }

    /// `[1, 1, 1, 1]`.
    pub const fn scalar() -> Self {
        Shape::vector(1)
    }

    /// The number of pixels, n·h·w.
    pub const fn pixels(&self) -> usize {
        self.n * self.h * self.w
    }

    /// The number of elements, n·h·w·c.
    pub const fn elements(&self) -> usize {
        self.pixels() * self.c
    }

    /// The same map with `c` channels.
    pub const fn with_c(self, c: usize) -> Self {
        Shape { c, ..self }
    }

    /// The number of elements, or an error where it leaves `isize` (sizes that came from a file).
    pub fn checked_elements(&self) -> Result<usize> {
        self.n
            .checked_mul(self.h)
            .and_then(|v| v.checked_mul(self.w))
            .and_then(|v| v.checked_mul(self.c))
            .filter(|&v| v <= isize::MAX as usize / 8)
            .ok_or_else(|| Error::invalid(format!("a tensor of shape {self} is too large for this machine")))
    }
}

impl From<[usize; 4]> for Shape {
    fn from([n, h, w, c]: [usize; 4]) -> Self {
        Shape { n, h, w, c }
    }
}

impl From<Shape> for [usize; 4] {
    fn from(s: Shape) -> Self {
        [s.n, s.h, s.w, s.c]
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}, {}, {}, {}]", self.n, self.h, self.w, self.c)
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

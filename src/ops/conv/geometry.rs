//! The attributes of a convolution that are not its operands.

use crate::tensor::Shape;
use crate::{Error, Result};

/// Kernel size, stride, padding, dilation and groups of a 2-D convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct Geometry {
    /// Kernel height and width.
    pub kernel: [usize; 2],
    /// Pixels from one output's window to the next: down, right.
    pub stride: [usize; 2],
    /// Zero pixels around the input: top, bottom, left, right.
    pub padding: [usize; 4],
    /// Pixels from one tap of the kernel to the next: down, right.
    pub dilation: [usize; 2],
    /// Output channel group g reads only input channel group g; both channel counts are multiples.
    pub groups: usize,
}

impl Geometry {
    /// A square kernel of odd size `kernel` with padding `(kernel − 1) / 2` on all sides, so that at
    /// stride 1 the map keeps its size.
    pub fn same(kernel: usize, stride: usize) -> Self {
        Geometry {
            kernel: [kernel; 2],
            stride: [stride; 2],
            padding: [kernel.saturating_sub(1) / 2; 4],
            dilation: [1; 2],
            groups: 1,
        }
    }

    /// The same in `groups` groups.
    pub fn grouped(self, groups: usize) -> Self {
        Geometry { groups, ..self }
    }

    /// The output's height and width for an input of `h` × `w`:
    /// `(h + top + bottom − dilation·(kernel − 1) − 1) / stride + 1`.
    ///
    /// # Errors
    /// Where an attribute is zero or the padded input is smaller than the dilated kernel.
    pub fn output(&self, h: usize, w: usize) -> Result<(usize, usize)> {
        let [top, bottom, left, right] = self.padding;
        let axis = |length: usize, before: usize, after: usize, axis: usize| -> Result<usize> {
            let (kernel, stride, dilation) = (self.kernel[axis], self.stride[axis], self.dilation[axis]);
            if kernel == 0 || stride == 0 || dilation == 0 {
                return Err(Error::invalid("a convolution's kernel, stride and dilation are at least 1"));
            }
            let too_large =
                || Error::invalid(format!("a convolution's attributes are out of range: {self:?}"));
            let padded =
                length.checked_add(before).and_then(|v| v.checked_add(after)).ok_or_else(too_large)?;
            let window =
                dilation.checked_mul(kernel - 1).and_then(|v| v.checked_add(1)).ok_or_else(too_large)?;
            if length == 0 || padded < window {
                return Err(Error::invalid(format!(
                    "an input of {h}×{w} pixels is smaller than the {}×{} kernel's window",
                    self.kernel[0], self.kernel[1]
                )));
            }
            Ok((padded - window) / stride + 1)
        };
        Ok((axis(h, top, bottom, 0)?, axis(w, left, right, 1)?))
    }

    /// The weight's shape, `[c_out, kernel_h, kernel_w, c_in / groups]`.
    pub fn weight(&self, c_in: usize, c_out: usize) -> Shape {
        Shape::new(c_out, self.kernel[0], self.kernel[1], c_in / self.groups.max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_sizes() {
        assert_eq!(Geometry::same(3, 1).output(13, 20).unwrap(), (13, 20));
        assert_eq!(Geometry::same(3, 2).output(416, 5).unwrap(), (208, 3));
        let odd = Geometry { padding: [0, 1, 2, 0], dilation: [2, 3], ..Geometry::same(3, 1) };
        assert_eq!(odd.output(10, 10).unwrap(), (7, 6));
        assert!(Geometry { padding: [0; 4], ..Geometry::same(3, 1) }.output(2, 9).is_err());
        assert!(Geometry { dilation: [usize::MAX, 1], ..Geometry::same(3, 1) }.output(9, 9).is_err());
    }
}

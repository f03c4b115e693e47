//! The fully connected layer: a 1×1 convolution of a map of one pixel.

use super::conv::{self, Geometry};
use super::{Tape, Value};
use crate::{Error, Result};

/// Traces `y = x·wᵀ + b`: `x [n, 1, 1, c_in]`, `weight [c_out, 1, 1, c_in]`, `bias [1, 1, 1, c_out]` →
/// `[n, 1, 1, c_out]`. It is the convolution's node, so it has its kernels, its fusions and its gradient.
///
/// # Errors
/// Where x has more than one pixel (pool it first), or the shapes do not fit.
pub fn trace(tape: &mut dyn Tape, x: Value, weight: Value, bias: Option<Value>) -> Result<Value> {
    let shape = tape.shape(x);
    if (shape.h, shape.w) != (1, 1) {
        return Err(
            Error::shape("linear", &[shape], "the input must be [n, 1, 1, c]").fix("pool the map first")
        );
    }
    conv::trace(tape, x, weight, bias, Geometry::same(1, 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::autograd::finite_difference::check;
    use crate::graph::{Feeds, Graph, Init, Mode, interpret};
    use crate::tensor::Shape;

    #[test]
    fn is_a_matrix_product() {
        let mut g = Graph::new(Mode::Inference);
        let x = g.input("x", Shape::new(2, 1, 1, 3)).unwrap();
        let w = g.input("w", Shape::new(2, 1, 1, 3)).unwrap();
        let b = g.input("b", Shape::vector(2)).unwrap();
        let y = trace(&mut g, x, w, Some(b)).unwrap();
        let feeds = Feeds::from([
            (x, vec![1.0, 2.0, 3.0, -1.0, 0.0, 1.0]),
            (w, vec![1.0, 1.0, 1.0, 0.0, 2.0, -1.0]),
            (b, vec![10.0, 20.0]),
        ]);
        assert_eq!(interpret(&g, &feeds).unwrap()[&y], [16.0, 21.0, 10.0, 19.0]);
    }

    #[test]
    fn gradients() {
        check(1, |g| {
            let x = g.parameter("x", Shape::new(3, 1, 1, 4), Init::Uniform { bound: 1.0 })?;
            let w = g.parameter("w", Shape::new(2, 1, 1, 4), Init::Uniform { bound: 1.0 })?;
            let b = g.parameter("b", Shape::vector(2), Init::Uniform { bound: 1.0 })?;
            Ok(vec![trace(g, x, w, Some(b))?])
        })
        .unwrap();
    }

    #[test]
    fn a_map_is_refused() {
        let mut g = Graph::new(Mode::Inference);
        let x = g.input("x", Shape::new(1, 2, 2, 3)).unwrap();
        let w = g.input("w", Shape::new(2, 1, 1, 3)).unwrap();
        let error = trace(&mut g, x, w, None).unwrap_err().to_string();
        assert!(error.contains("pool the map first"), "{error}");
    }
}

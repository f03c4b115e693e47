//! A scalar as a weighted sum of scalars: how the terms of a loss are joined.

use super::{Cost, Gradient, Io, Op, Tape, Value, fill};
use crate::runtime::Cpu;
use crate::tensor::{Element, Shape};
use crate::{Error, Result};

/// `y = Σ wᵢ·xᵢ` over scalars `[1, 1, 1, 1]`. Gradient: `dxᵢ = wᵢ·dy`.
#[derive(Clone, Debug)]
pub struct WeightedSum {
    /// One weight for each input.
    pub weights: Vec<f64>,
}

/// Traces `Σ weightᵢ · termᵢ`.
///
/// # Errors
/// Where a term is not a scalar, or there is none.
pub fn trace(tape: &mut dyn Tape, terms: &[(f64, Value)]) -> Result<Value> {
    let weights = terms.iter().map(|t| t.0).collect();
    let values: Vec<Value> = terms.iter().map(|t| t.1).collect();
    tape.apply(Box::new(WeightedSum { weights }), &values)
}

impl WeightedSum {
    fn run<T: Element>(&self, io: &mut Io<'_, T>) {
        let sum = (0..self.weights.len()).map(|i| self.weights[i] * io.dense(i)[0].to_f64()).sum();
        io.outputs[0].fill(T::from_f64(sum));
    }
}

impl Op for WeightedSum {
    fn name(&self) -> &'static str {
        "weighted sum"
    }

    fn output_shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        if inputs.is_empty() || inputs.len() != self.weights.len() {
            return Err(Error::shape(self.name(), inputs, "needs one weight for each of one or more inputs"));
        }
        if inputs.iter().any(|&s| s != Shape::scalar()) {
            return Err(Error::shape(self.name(), inputs, "the inputs must be scalars"));
        }
        Ok(vec![Shape::scalar()])
    }

    fn cost(&self, inputs: &[Shape], _outputs: &[Shape]) -> Cost {
        Cost::flops(2.0 * inputs.len() as f64)
    }

    fn gradient(
        &self,
        tape: &mut dyn Tape,
        inputs: &[Value],
        _outputs: &[Value],
        output_gradients: &[Option<Value>],
    ) -> Result<Vec<Gradient>> {
        let Some(dy) = output_gradients[0] else { return Ok(vec![Gradient::None; inputs.len()]) };
        self.weights
            .iter()
            .map(|&weight| match weight {
                0.0 => Ok(Gradient::Whole(fill::trace(tape, Shape::scalar(), 0.0)?)),
                _ => trace(tape, &[(weight, dy)]).map(Gradient::Whole),
            })
            .collect()
    }

    fn reference(&self, io: &mut Io<'_, f64>) -> Result<()> {
        self.run(io);
        Ok(())
    }

    fn cpu(&self, io: &mut Io<'_, f32>, _cpu: &Cpu) -> Result<()> {
        self.run(io);
        Ok(())
    }
}

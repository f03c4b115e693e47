//! A scalar as a weighted sum of scalars: how the terms of a loss are joined.

use super::{Case, Cost, Gradient, Io, Op, Tape, Value, fill};
use crate::runtime::Cpu;
use crate::runtime::cuda::{Launch, Operands, Target};
use crate::tensor::{Element, Shape};
use crate::{Error, Result};

/// Scalars that one launch of `kernels/weighted_sum.cu` adds.
const TERMS: usize = 8;

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

    fn is_map(&self, _output: usize) -> bool {
        false
    }

    fn cuda(&self, operands: &Operands, _target: &Target) -> Result<Vec<Launch>> {
        let y = operands.outputs[0];
        let terms: Vec<usize> = (0..self.weights.len()).collect();
        let launches = terms.chunks(TERMS).enumerate().map(|(index, terms)| {
            let launch = Launch::new("weighted_sum.cu", "weighted_sum").block(32).view(y);
            let mut launch = launch.int(usize::from(index > 0)).int(terms.len());
            // The pointers that are left over are not read.
            for i in 0..TERMS {
                launch = launch.view(terms.get(i).map_or(y, |&term| operands.input(term)));
            }
            for i in 0..TERMS {
                launch = launch.float(terms.get(i).map_or(0.0, |&term| self.weights[term]));
            }
            launch
        });
        Ok(launches.collect())
    }
}

/// Cases for every device: fewer terms than a launch takes, as many, and more.
pub fn cases() -> Vec<Case> {
    let case = |count: usize| {
        let weights = (0..count).map(|i| 0.05 * i as f64 - 0.3).collect();
        Case::random(WeightedSum { weights }, &vec![Shape::scalar(); count], count as u64)
    };
    [1, 3, 8, 9, 20].map(case).to_vec()
}

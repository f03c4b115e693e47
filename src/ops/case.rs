//! Cases that hold an op's kernels to its reference, on any device: what `gradpath selftest` runs.

use std::sync::Arc;

use super::Op;
use crate::Result;
use crate::tensor::{Random, Shape};

/// One op with operands.
#[derive(Clone, Debug)]
pub struct Case {
    /// The op.
    pub op: Arc<dyn Op>,
    /// The shapes of its inputs.
    pub shapes: Vec<Shape>,
    /// The inputs, dense.
    pub inputs: Vec<Vec<f32>>,
    /// Which inputs are maps: those may be stored in two bytes, and lie in a channel slice.
    pub maps: Vec<bool>,
    /// Which inputs are never in a slice, maps or not: weights in the maps' element type.
    pub dense: Vec<bool>,
    /// What an f32 kernel may differ by from the f64 reference: `tolerance · (1 + |reference|)`.
    pub tolerance: f64,
}

impl Case {
    /// A case of `op` without inputs yet: [`Case::map_input`] and [`Case::f32_input`] add them in order.
    pub fn new(op: impl Op) -> Self {
        Case {
            op: Arc::new(op),
            shapes: Vec::new(),
            inputs: Vec::new(),
            maps: Vec::new(),
            dense: Vec::new(),
            tolerance: 1e-5,
        }
    }

    /// Adds an input that is a map.
    pub fn map_input(mut self, shape: Shape, values: Vec<f32>) -> Self {
        self.maps.push(true);
        self.dense.push(false);
        self.shapes.push(shape);
        self.inputs.push(values);
        self
    }

    /// Adds an input that is f32 always, and dense: a weight, a vector, a table.
    pub fn f32_input(mut self, shape: Shape, values: Vec<f32>) -> Self {
        self.maps.push(false);
        self.dense.push(false);
        self.shapes.push(shape);
        self.inputs.push(values);
        self
    }

    /// A case of `op` on inputs drawn uniformly from ±1. Inputs with several pixels are maps: see
    /// [`Case::f32_inputs`].
    pub fn random(op: impl Op, shapes: &[Shape], seed: u64) -> Self {
        let mut random = Random::new(seed);
        let inputs = shapes.iter().map(|s| (0..s.elements()).map(|_| random.uniform(-1.0, 1.0)).collect());
        let maps = shapes.iter().map(|s| s.h * s.w > 1).collect();
        let (dense, inputs) = (vec![false; shapes.len()], inputs.collect());
        Case { op: Arc::new(op), shapes: shapes.to_vec(), inputs, maps, dense, tolerance: 1e-5 }
    }

    /// Says that these inputs are stored as maps are, but never in a slice: weights that were cast.
    pub fn dense_inputs(mut self, inputs: &[usize]) -> Self {
        for &input in inputs {
            if let (Some(map), Some(dense)) = (self.maps.get_mut(input), self.dense.get_mut(input)) {
                (*map, *dense) = (true, true);
            }
        }
        self
    }

    /// Says that these inputs are f32 always, and dense: weights, vectors, tables.
    pub fn f32_inputs(mut self, inputs: &[usize]) -> Self {
        for &input in inputs {
            if let Some(map) = self.maps.get_mut(input) {
                *map = false;
            }
        }
        self
    }

    /// Replaces input `index` by what `value` says of each of its elements.
    pub fn with(mut self, index: usize, value: impl Fn(usize) -> f32) -> Self {
        if let Some(input) = self.inputs.get_mut(index) {
            input.iter_mut().enumerate().for_each(|(i, x)| *x = value(i));
        }
        self
    }

    /// Changes input `index` element by element.
    pub fn map(mut self, index: usize, change: impl Fn(f32) -> f32) -> Self {
        if let Some(input) = self.inputs.get_mut(index) {
            input.iter_mut().for_each(|x| *x = change(*x));
        }
        self
    }

    /// What an f32 kernel may differ by.
    pub fn tolerance(mut self, tolerance: f64) -> Self {
        self.tolerance = tolerance;
        self
    }

    /// The shapes of the outputs.
    ///
    /// # Errors
    /// Where the op does not take the inputs.
    pub fn output_shapes(&self) -> Result<Vec<Shape>> {
        self.op.output_shapes(&self.shapes)
    }
}

/// `data` of `channels` a pixel as the first of `width` channels, NaN in the others.
pub(crate) fn beside_nan(data: &[f32], channels: usize, width: usize) -> Vec<f32> {
    let pixels = data.chunks(channels.max(1));
    pixels.flat_map(|pixel| (0..width).map(|c| pixel.get(c).copied().unwrap_or(f32::NAN))).collect()
}

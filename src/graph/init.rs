//! How parameters and states begin.

use crate::tensor::{Random, Shape, Tensor};

/// How a parameter or a state is filled before the first step.
#[derive(Clone, Debug, PartialEq)]
pub enum Init {
    /// Every element the same.
    Constant(f32),
    /// Uniform in ±bound.
    Uniform {
        /// The bound.
        bound: f32,
    },
    /// Normal with mean 0.
    Normal {
        /// The standard deviation.
        deviation: f32,
    },
    /// Each row over channels (`[1, 1, h, c]`, one value a row): running mean and variance, say.
    Rows(Vec<f32>),
    /// The same values for every repetition of the pattern along the channels: the bias of a
    /// detection head, one pattern an anchor.
    Pattern(Vec<f32>),
}

impl Init {
    /// He's initialisation for a convolution weight `[c_out, kh, kw, c_in / groups]` (He et al. 2015):
    /// normal with deviation √(2 / fan-in).
    pub fn he(weight: Shape) -> Self {
        let fan_in = (weight.h * weight.w * weight.c).max(1) as f32;
        Init::Normal { deviation: (2.0 / fan_in).sqrt() }
    }

    /// The tensor, a function of (`seed`, `name`, `shape`) alone.
    pub fn tensor(&self, shape: Shape, seed: u64, name: &str) -> Tensor {
        let mut random = Random::named(seed, name);
        match self {
            Init::Constant(value) => Tensor::full(shape, *value),
            Init::Uniform { bound } => Tensor::uniform(shape, -bound, *bound, &mut random),
            Init::Normal { deviation } => {
                let mut tensor = Tensor::zeros(shape);
                tensor.data_mut().fill_with(|| deviation * random.normal());
                tensor
            }
            Init::Rows(values) => {
                let mut tensor = Tensor::zeros(shape);
                let mut rows = tensor.view_mut();
                for (i, value) in values.iter().enumerate().take(shape.pixels()) {
                    rows.pixel(i).fill(*value);
                }
                tensor
            }
            Init::Pattern(values) => {
                let mut tensor = Tensor::zeros(shape);
                let pattern = values.iter().copied().cycle();
                tensor.data_mut().iter_mut().zip(pattern).for_each(|(t, v)| *t = v);
                tensor
            }
        }
    }
}

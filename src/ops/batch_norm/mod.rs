//! Batch normalisation (Ioffe & Szegedy 2015) and the activation behind it.
//!
//! A conv unit keeps one map: the convolution's output z. What is normalised and activated is an
//! elementwise function of z and of two vectors, so it is computed again where backward needs it.
//!
//! - [`BatchStatistics`]: mean and variance of z over the batch; fused into the convolution's epilogue.
//! - [`UpdateRunning`]: the running statistics that inference uses.
//! - [`Normalize`]: `y = act((z − mean)·γ/√(var + ε) + β)`; its gradient flows through the statistics.
//! - [`NormAffine`]: the same as a scale and a shift, for whoever applies it as a prologue.
//! - [`FoldNorm`]: at inference, the norm folded into the convolution's weight and bias.

mod cases;
mod cuda;
mod fold;
mod normalize;
mod normalize_gradient;
mod statistics;

pub use cases::cases;
pub use fold::{FoldNorm, NormAffine};
pub use normalize::Normalize;
pub use normalize_gradient::NormalizeGradient;
pub(in crate::ops) use statistics::statistics_reference;
pub use statistics::{BatchStatistics, UpdateRunning};

use super::{Tape, Value};
use crate::runtime::Activation;
use crate::tensor::Shape;
use crate::{Error, Result};

/// The constants of a batch norm.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct NormSpec {
    /// Added to the variance.
    pub epsilon: f64,
    /// The share of the new statistics in the running ones (PyTorch's convention).
    pub momentum: f64,
}

impl Default for NormSpec {
    /// YOLOv5's and YOLOv7's: ε = 10⁻³, momentum 0.03.
    fn default() -> Self {
        NormSpec { epsilon: 1e-3, momentum: 0.03 }
    }
}

impl NormSpec {
    /// Darknet's as it infers: ε = 10⁻⁵.
    pub const DARKNET: NormSpec = NormSpec { epsilon: 1e-5, momentum: 0.01 };
}

/// What [`trace_training`] returns.
#[derive(Clone, Copy, Debug)]
pub struct Normalized {
    /// The normalised and activated map.
    pub y: Value,
    /// The next running statistics, to be assigned to `running`.
    pub running: Value,
}

/// Traces a batch norm with batch statistics, and the activation behind it.
/// `gamma`, `beta` are `[1, 1, 1, c]`; `running` is `[1, 1, 2, c]`: mean, variance.
///
/// # Errors
/// Where the shapes do not fit.
pub fn trace_training(
    tape: &mut dyn Tape,
    z: Value,
    [gamma, beta, running]: [Value; 3],
    spec: NormSpec,
    activation: Activation,
) -> Result<Normalized> {
    let statistics = tape.apply(Box::new(BatchStatistics), &[z])?;
    let update = UpdateRunning { momentum: spec.momentum, count: tape.shape(z).pixels() };
    let running = tape.apply(Box::new(update), &[statistics, running])?;
    let normalize = Normalize { epsilon: spec.epsilon, activation, batch: true, residual: false };
    let y = tape.apply(Box::new(normalize), &[z, statistics, gamma, beta])?;
    Ok(Normalized { y, running })
}

/// Traces a batch norm with its running statistics, and the activation behind it.
///
/// # Errors
/// Where the shapes do not fit.
pub fn trace_inference(
    tape: &mut dyn Tape,
    z: Value,
    [gamma, beta, running]: [Value; 3],
    spec: NormSpec,
    activation: Activation,
) -> Result<Value> {
    let normalize = Normalize { epsilon: spec.epsilon, activation, batch: false, residual: false };
    tape.apply(Box::new(normalize), &[z, running, gamma, beta])
}

/// Checks statistics, γ and β against a map of `c` channels.
fn expect_vectors(op: &str, shapes: &[Shape], c: usize, statistics: Shape, vectors: &[Shape]) -> Result<()> {
    if statistics != Shape::new(1, 1, 2, c) || vectors.iter().any(|v| *v != Shape::vector(c)) {
        let message = format!("statistics must be [1, 1, 2, {c}], γ and β [1, 1, 1, {c}]");
        return Err(Error::shape(op, shapes, message));
    }
    Ok(())
}

#[cfg(test)]
mod tests;

//! The ops: one folder each, with definition, gradient, cost, and a kernel for every device.

pub(crate) mod case;
mod accesses;
pub mod cases;
mod gradient;
mod grid;
mod io;
pub mod matches;
mod op;
mod partial_sum;
pub mod reduce;
#[cfg(test)]
pub mod testing;

pub mod activation;
pub mod adamw;
pub mod add;
pub mod average_pool;
pub mod batch_norm;
pub mod binary_cross_entropy;
pub mod cast;
pub mod ceiling;
pub mod channel_sum;
pub mod ciou;
pub mod class_loss;
pub mod concat;
pub mod conv;
pub mod conv_chain;
pub mod copy;
pub mod decode_box;
pub mod detection_loss;
pub mod ema;
pub mod fill;
pub mod gather;
pub mod linear;
pub mod matched_mean;
pub mod max_pool;
pub mod mean_square;
pub mod objectness_target;
pub mod sgd;
pub mod slice;
pub mod softmax_cross_entropy;
pub mod split_conv;
pub mod stop_gradient;
pub mod upsample;
pub mod weighted_sum;

pub use accesses::{Accesses, Kernels, Usage};
pub use case::Case;
pub use gradient::Gradient;
pub use io::{ImageBlock, Io, image_blocks, pixels_per_chunk};
pub use op::{Cost, Layout, Op, Tape, Value, expect_inputs, expect_same};

#[cfg(test)]
mod tests;

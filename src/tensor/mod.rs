//! Shapes, host tensors and strided views: what every floor above speaks of.
//!
//! Everything is NHWC with exactly four dimensions. A vector over channels is `[1, 1, 1, c]`, a
//! convolution's weight `[c_out, kernel_h, kernel_w, c_in / groups]`, a scalar `[1, 1, 1, 1]`.

mod dtype;
mod host;
mod random;
mod shape;
mod view;

pub use dtype::{DType, Element};
pub use host::Tensor;
pub use random::Random;
pub use shape::Shape;
pub use view::{View, ViewMut};

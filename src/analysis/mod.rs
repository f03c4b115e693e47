//! What a network costs before it runs: readings of its graph and of the programs compiled from it. And
//! what it takes when it runs: measurements beside those readings.

pub mod bench;
pub mod cost;
pub mod kernels;
mod layers;
mod loss;
pub mod meter;
pub mod roofline;
mod summary;
pub mod timing;
pub mod workload;

pub use layers::{LayerNodes, layers};
pub use loss::mean_square_loss;
pub use summary::{MemorySummary, Summary};

//! What a network costs before it runs: readings of its graph and of the programs compiled from it.

pub mod cost;
mod layers;
mod summary;
mod loss;

pub use layers::{LayerNodes, layers};
pub use loss::mean_square_loss;
pub use summary::{MemorySummary, Summary};

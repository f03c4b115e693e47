//! What a network costs before it runs: readings of its graph and of the programs compiled from it.

pub mod cost;
mod layers;
mod summary;
mod training;

pub use layers::{LayerNodes, layers};
pub use summary::{MemorySummary, Summary};
pub use training::{mean_square_loss, training_graph};

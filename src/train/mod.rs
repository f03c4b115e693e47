//! Training: one step as one program, the loop around it, and what it leaves behind.

mod config;
mod evaluate;
mod inference;
mod measured;
mod optimizer;
mod picture;
mod run_folder;
mod schedule;
mod step;
mod trainer;
mod weights;

pub use config::{AugmentConfig, OptimizerKind, TrainConfig};
pub use evaluate::{Evaluation, evaluate};
pub use inference::detect_image;
pub use measured::{MeasuredStep, candidates};
pub use optimizer::{
    AVERAGE, DECAY, MOMENTUM, OPTIMIZER, Optimizer, RATE, trace_averages, trace_minimize, trace_updates,
};
pub use picture::{label_detections, validation_picture};
pub use run_folder::{Checkpoint, EpochMetrics, RunFolder};
pub use schedule::Schedule;
pub use step::{Fed, StepLoss, TrainStep};
pub use trainer::{Observer, Outcome, Trainer};
pub use weights::{DetectorWeights, check_weights};

#[cfg(test)]
mod tests;

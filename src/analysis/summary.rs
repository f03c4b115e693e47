//! All that is known of a network before it runs.

use serde::Serialize;

use super::cost::{Cost, Layer, cost, total};
use crate::Result;
use crate::compile::{MemoryReport, Program};
use crate::graph::Graph;

/// The memory that a step holds, f32, planned.
#[derive(Clone, Debug, Serialize)]
pub struct MemorySummary {
    /// Images a batch at inference.
    pub batch: usize,
    /// Everything held while the network runs: arena, and weights as they were prepared.
    pub inference_peak_bytes: usize,
    /// Images a batch in training.
    pub training_batch: usize,
    /// Everything held in a training step: arena, parameters, running statistics, momentum.
    pub training_peak_bytes: usize,
    /// What the inference's bytes are.
    pub inference: MemoryReport,
    /// What the training's bytes are.
    pub training: MemoryReport,
}

/// A network's layers, costs and memory.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// The sum over layers.
    #[serde(flatten)]
    pub total: Cost,
    /// Memory.
    pub memory: MemorySummary,
    /// The layers in the order of tracing.
    pub layers: Vec<Layer>,
}

impl Summary {
    /// Reads the summary off `graph`, traced for inference, the program `inference` compiled from it,
    /// and a training step of the same network. `batch` and `training_batch` are their images a batch.
    ///
    /// # Errors
    /// Where `inference` is of another graph.
    pub fn new(
        graph: &Graph,
        (inference, batch): (&Program, usize),
        (training, training_batch): (&Program, usize),
    ) -> Result<Self> {
        let layers = cost(graph, inference)?;
        let memory = MemorySummary {
            batch,
            inference_peak_bytes: inference.report.total_bytes(),
            training_batch,
            training_peak_bytes: training.report.total_bytes(),
            inference: (*inference.report).clone(),
            training: (*training.report).clone(),
        };
        Ok(Summary { total: total(&layers), memory, layers })
    }
}

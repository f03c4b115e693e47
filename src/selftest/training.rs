//! A short training on a device, step by step beside the cpu's.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::data::{self, Batch, Loader, LoaderOptions, OpenOptions, Split};
use crate::detect::Head;
use crate::device::Device;
use crate::tensor::{Shape, Tensor};
use crate::train::{Optimizer, OptimizerKind, Schedule, TrainStep};
use crate::zoo::Network;
use crate::{Error, Result};

/// Images of a step.
const BATCH: usize = 2;
/// Input pixels on a side. At 64 the coarsest maps have 8 pixels for batch statistics, and three steps of two
/// devices that merely round differently part by a fifth of their way; at 96 by a few parts in ten thousand.
const SIDE: usize = 96;
/// The wardrobe's scenes and classes are drawn from this seed, as the weights are.
const SEED: u64 = 7;

/// How a training went on two devices.
#[derive(Clone, Debug, serde::Serialize)]
pub struct TrainingReport {
    /// The network.
    pub network: &'static str,
    /// The loss of each step on the device.
    pub losses: Vec<f64>,
    /// The same on the cpu, in f32.
    pub expected: Vec<f64>,
    /// The largest difference of a loss, as a share of the loss.
    pub loss_error: f64,
    /// Of all parameters and states after the last step, the Euclidean norm of the difference over that
    /// of their change since the first: 0 where both devices took the same way, 1 where one stood still.
    pub way_error: f64,
    /// What `way_error` and `loss_error` may be.
    pub tolerance: f64,
}

impl TrainingReport {
    /// Whether the device trains as the cpu does.
    pub fn passed(&self) -> bool {
        self.loss_error <= self.tolerance && self.way_error <= self.tolerance
    }
}

/// Trains `network` for `steps` steps on `device` and on the cpu, from the same weights on the same
/// pictures of the built-in dataset, by SGD with momentum.
///
/// # Errors
/// Where one of the devices fails.
pub fn check_training(device: &Device, network: &Network, steps: usize) -> Result<TrainingReport> {
    let options =
        OpenOptions { scenes: Some(BATCH * steps), scene_size: SIDE, seed: SEED, ..Default::default() };
    let dataset = data::open("wardrobe", Split::Train, &options)?;
    let classes = dataset.class_names().len();
    let mut anchors = Vec::new();
    for &stride in network.strides {
        let side = |i: usize| (stride * (i + 1)) as f32;
        anchors.extend((0..network.anchors_per_head).map(|i| [side(i), side(i)]));
    }
    let head = Head::new(classes, network.strides, &anchors)?;
    let batches: Vec<Batch> = Loader::new(Arc::clone(&dataset), LoaderOptions::plain((SIDE, SIDE), BATCH))?
        .epoch(0)
        .collect::<Result<_>>()?;
    let input = Shape::new(BATCH, SIDE, SIDE, 3);
    // SGD, not AdamW: where a gradient is nearly zero AdamW makes a whole step of its sign, and two devices
    // that round differently part there without either being wrong.
    let graph = TrainStep::graph(network, &head, input, Optimizer::sgd(5e-4), 0.0)?;
    let schedule = Schedule { rate: 0.002, final_share: 1.0, momentum: 0.9, decay: 0.9, warmup: 0, steps };
    let initial = graph.initial_state(SEED);
    let train = |device: &Device| -> Result<(Vec<f64>, BTreeMap<String, Tensor>)> {
        let program = device.compile(&graph)?;
        let mut step = TrainStep::new(program, head.clone(), input, OptimizerKind::Sgd, device, &initial)?;
        let mut losses = Vec::with_capacity(steps);
        for (number, batch) in batches.iter().enumerate() {
            losses.push(step.run(batch, number, &schedule)?.total);
        }
        Ok((losses, step.state()?))
    };
    let (losses, state) = train(device)?;
    let (expected, wanted) = train(&Device::cpu(0)?)?;
    let loss_error =
        losses.iter().zip(&expected).map(|(a, b)| (a - b).abs() / b.abs().max(1e-6)).fold(0.0, f64::max);
    let way_error = way_error(&initial, &wanted, &state)?;
    let tolerance = match device {
        Device::Cuda(cuda) => match cuda.target().map {
            crate::tensor::DType::F32 => 5e-3,
            crate::tensor::DType::Bf16 | crate::tensor::DType::F16 => 0.25,
        },
        Device::Reference | Device::Cpu(_) => 5e-3,
    };
    Ok(TrainingReport { network: network.name, losses, expected, loss_error, way_error, tolerance })
}

/// `‖got − wanted‖ / ‖wanted − initial‖` over all tensors.
fn way_error(
    initial: &BTreeMap<String, Tensor>,
    wanted: &BTreeMap<String, Tensor>,
    got: &BTreeMap<String, Tensor>,
) -> Result<f64> {
    let (mut error, mut way) = (0.0, 0.0);
    for (name, wanted) in wanted {
        let (Some(got), Some(initial)) = (got.get(name), initial.get(name)) else {
            return Err(Error::internal(format!("{name:?} is not in the state of both devices")));
        };
        for ((&w, &g), &i) in wanted.data().iter().zip(got.data()).zip(initial.data()) {
            let square = |v: f64| v * v;
            error += square(f64::from(g) - f64::from(w));
            way += square(f64::from(w) - f64::from(i));
        }
    }
    let share = (error / way).sqrt();
    Ok(if share.is_nan() { f64::INFINITY } else { share })
}

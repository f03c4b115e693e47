//! The loop around the step.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::evaluate::{Evaluation, evaluate};
use super::picture::validation_picture;
use super::run_folder::{Checkpoint, EpochMetrics, RunFolder};
use super::weights::DetectorWeights;

use super::{Fed, Optimizer, Schedule, StepLoss, TrainConfig, TrainStep};
use crate::compile::Program;
use crate::data::{Dataset, Loader, LoaderOptions, OpenOptions, Split, check_same_classes, open};
use crate::detect::{AnchorFit, Head, Summary, anchor_fit, anchors_for};
use crate::device::Device;
use crate::report::save_png;
use crate::tensor::{Shape, Tensor};
use crate::zoo::{self, Network};
use crate::{Error, Result};

/// Images that anchors are fitted to, at most.
const ANCHOR_IMAGES: usize = 1000;
/// Images of a batch at validation.
const VALIDATION_BATCH: usize = 8;

/// Told what a training is doing: a progress bar, or nothing.
pub trait Observer {
    /// An epoch begins: its number from 1, and its steps.
    fn epoch(&mut self, epoch: usize, steps: usize) {
        let _ = (epoch, steps);
    }
    /// A step was done on so many images.
    fn step(&mut self, loss: &StepLoss, images: usize) {
        let _ = (loss, images);
    }
    /// A validation of so many images begins.
    fn validation(&mut self, images: usize) {
        let _ = images;
    }
    /// So many more images were validated.
    fn validated(&mut self, images: usize) {
        let _ = images;
    }
    /// An epoch is over.
    fn epoch_done(&mut self, metrics: &EpochMetrics) {
        let _ = metrics;
    }
}

/// What a training came to.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// All epochs.
    pub metrics: Vec<EpochMetrics>,
    /// The epoch whose weights are `best.safetensors`, from 1.
    pub best_epoch: usize,
    /// The last validation.
    pub summary: Option<Summary>,
}

/// A training, ready to run.
pub struct Trainer {
    config: TrainConfig,
    network: Network,
    device: Device,
    train: Arc<dyn Dataset>,
    validation: Arc<dyn Dataset>,
    head: Head,
    fit: AnchorFit,
    input: Shape,
    program: Arc<Program>,
    state: BTreeMap<String, Tensor>,
    metrics: Vec<EpochMetrics>,
    folder: RunFolder,
    /// Whether the folder was made for it.
    is_new: bool,
}

impl Trainer {
    /// A new training as `config` says, into `folder`: opens the data, fits anchors, compiles the step,
    /// and writes the config. The folder is made last, so that what cannot begin leaves nothing.
    ///
    /// # Errors
    /// Where the config, the data or the folder cannot be used.
    pub fn new(config: TrainConfig, device: Device, folder: &std::path::Path) -> Result<Self> {
        let mut trainer = Self::prepare(config, device, RunFolder::planned(folder)?)?;
        let begun = trainer.folder.create().and_then(|()| trainer.folder.write_config(&trainer.config));
        begun.inspect_err(|_| trainer.folder.discard())?;
        trainer.is_new = true;
        Ok(trainer)
    }

    /// Goes on with the run in `folder` from its last checkpoint.
    ///
    /// # Errors
    /// Where there is no run, or its files are damaged.
    pub fn resume(folder: RunFolder, device: Device) -> Result<Self> {
        let checkpoint = folder.read_checkpoint()?;
        let config = folder.read_config()?;
        let path = folder.file("checkpoint.safetensors");
        let mut trainer = Self::prepare(config, device, folder)?;
        if let Some(Checkpoint { state, metrics }) = checkpoint {
            for (name, fresh) in &trainer.state {
                match state.get(name) {
                    Some(tensor) if tensor.shape() == fresh.shape() => {}
                    _ => {
                        let message = format!(
                            "does not fit this run's config: {name:?} is missing or has another shape"
                        );
                        return Err(Error::file(&path, message).fix("train again without --resume"));
                    }
                }
            }
            trainer.state = state;
            trainer.metrics = metrics;
        }
        Ok(trainer)
    }

    fn prepare(config: TrainConfig, device: Device, folder: RunFolder) -> Result<Self> {
        config.check()?;
        let network = zoo::find(&config.model)?;
        let [width, height] = config.size;
        let options = |scenes: Option<usize>| OpenOptions {
            forgive: config.forgive,
            seed: 0,
            scenes,
            scene_size: width.min(height),
        };
        let input = Shape::new(config.batch, height, width, 3);
        network.check_size(input)?;
        let train = open(&config.data, Split::Train, &options(Some(config.scenes)))?;
        let validation = open(&config.data, Split::Val, &options(None))?;
        check_same_classes(&*train, &*validation)?;
        let (head, fit) = fit_anchors(&network, &train, &config)?;
        let optimizer = Optimizer { kind: config.optimizer, weight_decay: config.weight_decay };
        let graph = TrainStep::graph(&network, &head, input, optimizer, config.label_smoothing)?;
        let state = graph.initial_state(config.seed);
        let program = device.compile(&graph)?;
        let metrics = Vec::new();
        Ok(Trainer {
            config,
            network,
            device,
            train,
            validation,
            head,
            fit,
            input,
            program,
            state,
            metrics,
            folder,
            is_new: false,
        })
    }

    /// The config.
    pub fn config(&self) -> &TrainConfig {
        &self.config
    }

    /// The run's folder.
    pub fn folder(&self) -> &RunFolder {
        &self.folder
    }

    /// The training images.
    pub fn train_data(&self) -> &Arc<dyn Dataset> {
        &self.train
    }

    /// The validation images.
    pub fn validation_data(&self) -> &Arc<dyn Dataset> {
        &self.validation
    }

    /// How well the anchors fit the training boxes.
    pub fn anchor_fit(&self) -> &AnchorFit {
        &self.fit
    }

    /// The compiled step.
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// Epochs that are done already.
    pub fn epochs_done(&self) -> usize {
        self.metrics.len()
    }

    /// Trains to the end. A new run that fails before its first step was done leaves no folder.
    ///
    /// # Errors
    /// Where the device has too little memory, an image cannot be read, the loss is no longer a number, or a file
    /// cannot be written.
    pub fn run(self, observer: &mut dyn Observer) -> Result<Outcome> {
        let new = self.is_new.then(|| self.folder.clone());
        let mut steps = 0;
        self.train(observer, &mut steps).inspect_err(|_| {
            if let (Some(folder), 0) = (new, steps) {
                folder.discard();
            }
        })
    }

    /// Trains to the end, and counts in `steps` what was done.
    fn train(mut self, observer: &mut dyn Observer, steps_done: &mut usize) -> Result<Outcome> {
        let config = self.config.clone();
        let loader = Loader::new(
            self.train.clone(),
            LoaderOptions {
                size: (self.input.w, self.input.h),
                batch: config.batch,
                seed: config.seed,
                shuffle: true,
                drop_last: true,
                augment: Some(config.augment.options()),
                threads: 1,
                prefetch: 4,
                ..LoaderOptions::default()
            },
        )?;
        let per_epoch = loader.batches();
        let steps = per_epoch * config.epochs;
        let schedule = Schedule {
            rate: config.rate,
            final_share: config.final_share,
            momentum: config.momentum,
            // An average over about the last twentieth of the training.
            decay: (1.0 - 20.0 / steps as f64).clamp(0.9, 0.9998),
            warmup: config.warmup.min(steps / 4),
            steps,
        };
        let state = std::mem::take(&mut self.state);
        let kind = config.optimizer;
        let mut step =
            TrainStep::new(self.program.clone(), self.head.clone(), self.input, kind, &self.device, &state)?;
        drop(state);
        let mut last = None;
        for epoch in self.metrics.len()..config.epochs {
            observer.epoch(epoch + 1, per_epoch);
            let mut sum = StepLoss::default();
            let mut done = |loss: StepLoss| {
                observer.step(&loss, config.batch);
                *steps_done += 1;
                sum.total += loss.total;
                sum.box_loss += loss.box_loss;
                sum.objectness += loss.objectness;
                sum.class += loss.class;
            };
            let mut running: Option<Fed> = None;
            for (index, batch) in loader.epoch(epoch as u64).enumerate() {
                // On a device with memory of its own the batch is on its way while the last step runs.
                let fed = step.feed(&batch?, epoch * per_epoch + index, &schedule)?;
                if let Some(last) = running.replace(fed) {
                    done(step.losses(&last)?);
                }
                step.begin()?;
                if !step.feeds_ahead() {
                    running.take().map(|fed| step.losses(&fed)).transpose()?.map(&mut done);
                }
            }
            running.map(|fed| step.losses(&fed)).transpose()?.map(&mut done);
            let count = per_epoch as f64;
            let mut metrics = EpochMetrics {
                epoch: epoch + 1,
                steps: (epoch + 1) * per_epoch,
                rate: schedule.rate_at((epoch + 1) * per_epoch - 1),
                box_loss: sum.box_loss / count,
                objectness: sum.objectness / count,
                class: sum.class / count,
                total: sum.total / count,
                ap50: None,
                ap: None,
            };
            let detector = self.detector(step.averaged()?);
            if (epoch + 1) % config.validate_every == 0 || epoch + 1 == config.epochs {
                observer.validation(self.validation.len());
                let evaluation = self.validate(&detector, observer)?;
                metrics.ap50 = Some(evaluation.summary.ap50);
                metrics.ap = Some(evaluation.summary.ap);
                last = Some(evaluation);
            }
            self.metrics.push(metrics);
            self.write(&step, &detector, last.as_ref())?;
            if let Some(metrics) = self.metrics.last() {
                observer.epoch_done(metrics);
            }
        }
        let best_epoch = best(&self.metrics);
        Ok(Outcome { metrics: self.metrics, best_epoch, summary: last.map(|e| e.summary) })
    }

    fn detector(&self, tensors: BTreeMap<String, Tensor>) -> DetectorWeights {
        DetectorWeights {
            network: self.network,
            classes: self.train.class_names().to_vec(),
            levels: self.head.levels.clone(),
            size: self.config.size,
            tensors,
        }
    }

    fn validate(&self, weights: &DetectorWeights, observer: &mut dyn Observer) -> Result<Evaluation> {
        let batch = VALIDATION_BATCH.min(self.validation.len());
        let mut detector = weights.detector(batch, &self.device)?;
        evaluate(&mut detector, &self.validation, &mut |images| observer.validated(images))
    }

    /// Writes what an epoch leaves. The checkpoint last: what it says was done, was written.
    fn write(&self, step: &TrainStep, weights: &DetectorWeights, last: Option<&Evaluation>) -> Result<()> {
        let epoch = self.metrics.len();
        weights.save(&self.folder.file("last.safetensors"))?;
        if best(&self.metrics) == epoch {
            weights.save(&self.folder.file("best.safetensors"))?;
        }
        let title = format!("{} on {}", self.config.model, self.config.data_name());
        self.folder.write_metrics(&title, &self.metrics)?;
        let validated = self.metrics.last().is_some_and(|m| m.ap50.is_some());
        if let (Some(evaluation), true) = (last, validated) {
            let picture = validation_picture(&self.validation, &evaluation.detections)?;
            save_png(self.folder.file("validation.png"), &picture)?;
        }
        self.folder.write_checkpoint(&step.state()?, &self.metrics)
    }
}

/// The epoch of the best weights, from 1: the highest AP, the later of equals; the last one where none
/// was validated.
fn best(metrics: &[EpochMetrics]) -> usize {
    let scored = metrics.iter().filter_map(|m| Some((m.epoch, m.ap?)));
    scored.max_by(|a, b| a.1.total_cmp(&b.1).then(a.0.cmp(&b.0))).map_or(metrics.len(), |(epoch, _)| epoch)
}

/// Anchors fitted to the boxes of the training images, as large as the network will see them.
fn fit_anchors(
    network: &Network,
    data: &Arc<dyn Dataset>,
    config: &TrainConfig,
) -> Result<(Head, AnchorFit)> {
    let mut sizes = Vec::new();
    let stride = data.len().div_ceil(ANCHOR_IMAGES).max(1);
    for index in (0..data.len()).step_by(stride) {
        let sample = data.sample(index)?;
        let from = (sample.image.width(), sample.image.height());
        let map = crate::data::Affine::letterbox(from, (config.size[0], config.size[1]));
        for object in sample.objects.iter().filter(|o| !o.ignore) {
            let bounds = map.map(object.bounds);
            sizes.push([bounds.width(), bounds.height()]);
        }
    }
    let count = network.strides.len() * network.anchors_per_head;
    let anchors = anchors_for(&sizes, count, config.seed).map_err(|e| e.in_file(data.name()))?;
    let head = Head::new(data.class_names().len(), network.strides, &anchors)?;
    Ok((head, anchor_fit(&sizes, &anchors)))
}

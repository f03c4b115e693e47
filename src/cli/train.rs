//! `gradpath train`.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::json;

use super::options::{DeviceOptions, Size};
use super::output::{print, print_json};
use crate::Result;
use crate::report::{Progress, number};
use crate::train::{
    EpochMetrics, Observer, OptimizerKind, Outcome, RunFolder, StepLoss, TrainConfig, Trainer,
};

/// Train a detector; with no argument elan-nano on the built-in wardrobe scenes
///
/// Writes a run folder: weights (best and last), config, metrics, curves and a picture of detections.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The data: `wardrobe` (built in), or the path of a VOC, YOLO or COCO dataset.
    #[arg(long)]
    data: Option<String>,
    /// The network: elan-nano, csp-nano, prn-nano, yolov7-tiny.
    #[arg(long)]
    model: Option<String>,
    /// The network's input in pixels: 160, or 320x192.
    #[arg(long)]
    size: Option<Size>,
    /// Images a step.
    #[arg(long)]
    batch: Option<usize>,
    /// Passes over the training images.
    #[arg(long)]
    epochs: Option<usize>,
    /// The learning rate after warm-up.
    #[arg(long, visible_alias = "learning-rate", allow_negative_numbers = true)]
    lr: Option<f64>,
    /// The optimiser.
    #[arg(long, value_parser = optimizer)]
    optimizer: Option<OptimizerKind>,
    /// The seed of weights, order and augmentation.
    #[arg(long)]
    seed: Option<u64>,
    /// A config to begin from: a run's config.toml; the other options change it.
    #[arg(long)]
    config: Option<PathBuf>,
    /// The run's folder [default: runs/MODEL-DATA, numbered].
    #[arg(long)]
    out: Option<PathBuf>,
    /// Go on with the run in this folder from its last checkpoint.
    #[arg(long, conflicts_with_all = ["data", "model", "size", "batch", "epochs", "lr", "optimizer", "seed", "config", "out"])]
    resume: Option<PathBuf>,
    #[command(flatten)]
    device: DeviceOptions,
    /// Print the result as JSON, and nothing else.
    #[arg(long)]
    json: bool,
}

fn optimizer(text: &str) -> Result<OptimizerKind, String> {
    match text.to_ascii_lowercase().as_str() {
        "sgd" => Ok(OptimizerKind::Sgd),
        "adamw" => Ok(OptimizerKind::AdamW),
        _ => Err("there are sgd and adamw".into()),
    }
}

/// Runs the command.
///
/// # Errors
/// Where the training cannot begin or go on.
pub fn run(args: &Args) -> Result<()> {
    let begun = Instant::now();
    let device = args.device.open()?;
    let trainer = match &args.resume {
        Some(folder) => Trainer::resume(RunFolder::open(folder)?, device.clone())?,
        None => {
            let config = config(args)?;
            let out = args.out.clone().unwrap_or_else(|| default_folder(&config));
            Trainer::new(config, device.clone(), &out)?
        }
    };
    let folder = trainer.folder().path().to_owned();
    let epochs = trainer.config().epochs;
    if !args.json {
        describe(&trainer, &device.to_string())?;
    }
    let mut observer = Console { epochs, quiet: args.json, bar: None, begun: Instant::now() };
    let outcome = trainer.run(&mut observer)?;
    let seconds = begun.elapsed().as_secs_f64();
    match args.json {
        true => print_json(&report(&outcome, &folder, seconds)),
        false => conclude(&outcome, &folder, begun.elapsed()),
    }
}

fn config(args: &Args) -> Result<TrainConfig> {
    let mut config = match &args.config {
        Some(path) => TrainConfig::load(path)?,
        None => TrainConfig::for_data(args.data.as_deref().unwrap_or("wardrobe")),
    };
    if let Some(data) = &args.data {
        config.data = data.clone();
    }
    if let Some(model) = &args.model {
        config.model = model.clone();
    }
    if let Some(size) = args.size {
        config.size = [size.width, size.height];
    }
    config.batch = args.batch.unwrap_or(config.batch);
    config.epochs = args.epochs.unwrap_or(config.epochs);
    config.rate = args.lr.unwrap_or(config.rate);
    config.optimizer = args.optimizer.unwrap_or(config.optimizer);
    config.seed = args.seed.unwrap_or(config.seed);
    config.check()?;
    Ok(config)
}

/// `runs/MODEL-DATA`, or the next number behind it.
fn default_folder(config: &TrainConfig) -> PathBuf {
    RunFolder::fresh(&Path::new("runs").join(format!("{}-{}", config.model, config.data_name())))
}

fn describe(trainer: &Trainer, device: &str) -> Result<()> {
    let config = trainer.config();
    let (train, validation) = (trainer.train_data(), trainer.validation_data());
    for warning in train.warnings().iter().chain(validation.warnings()) {
        eprintln!("warning: {warning}");
    }
    let mut text = format!(
        "{} on {}: {} training and {} validation images, {} classes\n",
        config.model,
        config.data_name(),
        train.len(),
        validation.len(),
        train.class_names().len()
    );
    text += &format!(
        "{}×{} pixels, batch {}, {} epochs on {device}; a step holds {}\n",
        config.size[0],
        config.size[1],
        config.batch,
        config.epochs,
        number::bytes(trainer.program().report.total_bytes() as u64)
    );
    let recall = 100.0 * trainer.anchor_fit().best_possible_recall;
    text += &format!("anchors reach {recall:.1} % of the training boxes\n");
    if trainer.epochs_done() > 0 {
        text += &format!("going on after epoch {}\n", trainer.epochs_done());
    }
    print(&text)
}

fn conclude(outcome: &Outcome, folder: &Path, time: Duration) -> Result<()> {
    let best = outcome.metrics.get(outcome.best_epoch.wrapping_sub(1));
    let mut text = String::new();
    if let Some(EpochMetrics { ap50: Some(ap50), ap: Some(ap), .. }) = best {
        text += &format!("best: AP50 {ap50:.3}, AP50:95 {ap:.3} (epoch {})\n", outcome.best_epoch);
    }
    let folder = folder.display();
    text += &format!("{folder} after {}\n", number::duration(time));
    text += &format!("try: gradpath detect IMAGE --weights {folder}\n");
    print(&text)
}

fn report(outcome: &Outcome, folder: &Path, seconds: f64) -> serde_json::Value {
    let best = outcome.metrics.get(outcome.best_epoch.wrapping_sub(1));
    json!({
        "folder": folder.to_string_lossy(),
        "seconds": seconds,
        "best_epoch": outcome.best_epoch,
        "ap50": best.and_then(|m| m.ap50),
        "ap": best.and_then(|m| m.ap),
        "epochs": outcome.metrics,
        "summary": outcome.summary,
    })
}

/// Progress bars, and a line an epoch.
struct Console {
    epochs: usize,
    quiet: bool,
    bar: Option<Progress>,
    begun: Instant,
}

impl Observer for Console {
    fn epoch(&mut self, epoch: usize, steps: usize) {
        self.begun = Instant::now();
        self.bar = Some(Progress::new(steps as u64, &format!("epoch {epoch}/{}", self.epochs), self.quiet));
    }

    fn step(&mut self, loss: &StepLoss, _images: usize) {
        if let Some(bar) = &self.bar {
            bar.message(format!("loss {:.3}", loss.total));
            bar.advance(1);
        }
    }

    fn validation(&mut self, images: usize) {
        self.bar = Some(Progress::new(images as u64, "validation", self.quiet));
    }

    fn validated(&mut self, images: usize) {
        if let Some(bar) = &self.bar {
            bar.advance(images as u64);
        }
    }

    fn epoch_done(&mut self, m: &EpochMetrics) {
        self.bar = None;
        if self.quiet {
            return;
        }
        let ap = match (m.ap50, m.ap) {
            (Some(ap50), Some(ap)) => format!("AP50 {ap50:.3}  AP50:95 {ap:.3}"),
            _ => "not validated".into(),
        };
        let seconds = self.begun.elapsed().as_secs_f64();
        // A reader that went away does not end a training.
        let _ = print(&format!(
            "epoch {:>3}/{}  loss {:.3} (box {:.3} objectness {:.3} class {:.3})  {ap}  {seconds:.1} s\n",
            m.epoch, self.epochs, m.total, m.box_loss, m.objectness, m.class
        ));
    }
}

//! `gradpath eval`: average precision of a trained detector.

use std::path::PathBuf;

use serde_json::json;

use super::options::{DeviceOptions, count};
use super::output::{print, print_json};
use crate::data::{OpenOptions, Split, open};
use crate::report::{Align, Layout, Progress, Table};
use crate::train::{DetectorWeights, RunFolder, evaluate};
use crate::{Error, Result};

/// Score a trained detector: average precision by COCO's definition
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A run folder, or a weight file
    #[arg(long)]
    weights: PathBuf,
    /// The data: wardrobe, or the path of a dataset [default: what the run was trained on]
    #[arg(long)]
    data: Option<String>,
    /// The images: val or train
    #[arg(long, default_value = "val", value_parser = split)]
    split: Split,
    /// Images a batch
    #[arg(long, default_value = "8", value_name = "N", value_parser = count)]
    batch: usize,
    #[command(flatten)]
    device: DeviceOptions,
    /// Print the result as JSON, and nothing else
    #[arg(long)]
    json: bool,
}

fn split(text: &str) -> Result<Split, String> {
    match text {
        "val" => Ok(Split::Val),
        "train" => Ok(Split::Train),
        _ => Err("there are val and train".into()),
    }
}

/// Runs the command.
///
/// # Errors
/// Where weights or data cannot be used, or they have different classes.
pub fn run(args: &Args) -> Result<()> {
    let device = args.device.open()?;
    let weights = DetectorWeights::load(&args.weights)?;
    let (data, forgive) = match &args.data {
        Some(data) => (data.clone(), OpenOptions::default().forgive),
        None => {
            let run = RunFolder::open(&args.weights)
                .map_err(|_| Error::invalid("it is not known what to score on").fix("give --data"))?;
            let config = run.read_config()?;
            (config.data, config.forgive)
        }
    };
    let [width, height] = weights.size;
    let options = OpenOptions { forgive, scene_size: width.min(height), ..OpenOptions::default() };
    let dataset = open(&data, args.split, &options)?;
    if dataset.class_names() != weights.classes {
        return Err(Error::invalid(format!(
            "the weights are for the classes {}, and {} has {}",
            weights.classes.join(", "),
            dataset.name(),
            dataset.class_names().join(", ")
        ))
        .fix("score on data with the classes that it was trained on"));
    }
    let mut detector = weights.detector(args.batch.min(dataset.len()), &device)?;
    let progress = Progress::new(dataset.len() as u64, "scoring", args.json);
    let summary = evaluate(&mut detector, &dataset, &mut |images| progress.advance(images as u64))?.summary;
    progress.finish();
    if args.json {
        return print_json(&json!({
            "network": weights.network.name,
            "data": dataset.name(),
            "images": dataset.len(),
            "classes": weights.classes,
            "summary": summary,
        }));
    }
    let mut table = Table::new(&[
        ("class", Align::Left),
        ("objects", Align::Right),
        ("AP50", Align::Right),
        ("AP50:95", Align::Right),
    ]);
    for (name, class) in weights.classes.iter().zip(&summary.per_class) {
        table.row([name.clone(), class.truths.to_string(), score(class.ap50), score(class.ap)]);
    }
    let mut text = format!("{} on {}, {} images\n", weights.network.name, dataset.name(), dataset.len());
    text += &table.render(Layout::stdout());
    text += "\n";
    let mut rows = Table::new(&[("all classes", Align::Left), ("", Align::Right)]);
    for (name, value) in summary.rows() {
        rows.row([name.to_owned(), score(value)]);
    }
    text += &rows.render(Layout::stdout());
    print(&(text + "\n"))
}

/// A score, or a dash where there was nothing to score.
fn score(value: f64) -> String {
    if value < 0.0 { "–".into() } else { format!("{value:.3}") }
}

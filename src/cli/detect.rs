//! `gradpath detect`: detections in images, drawn and listed.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::options::DeviceOptions;
use super::output::{print, print_json};
use crate::data::Image;
use crate::detect::{Decode, Detection, Nms};
use crate::report::{Progress, save_png};
use crate::train::{DetectorWeights, detect_image, label_detections};
use crate::{Error, Result};

/// Find objects in images: draws boxes and labels, or prints them as JSON
#[derive(Debug, clap::Args)]
pub struct Args {
    /// JPEG, PNG or BMP images
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<PathBuf>,
    /// A run folder, or a weight file
    #[arg(long)]
    weights: PathBuf,
    /// The least score of a detection that is shown
    #[arg(long, default_value_t = 0.3, value_name = "SCORE")]
    threshold: f32,
    /// Detections of one class that overlap more than this are one
    #[arg(long, default_value_t = 0.5, value_name = "IOU")]
    nms: f64,
    /// The folder for the pictures; NAME.detected.png in it for each image [default: beside each image]
    #[arg(long)]
    output: Option<PathBuf>,
    #[command(flatten)]
    device: DeviceOptions,
    /// Print the detections as JSON; pictures are then drawn only with --output
    #[arg(long)]
    json: bool,
}

/// Runs the command.
///
/// # Errors
/// Where the weights or an image cannot be used, or a picture cannot be written.
pub fn run(args: &Args) -> Result<()> {
    if !(0.0..=1.0).contains(&args.threshold) || !(0.0..=1.0).contains(&args.nms) {
        return Err(Error::invalid("--threshold and --nms are between 0 and 1"));
    }
    let device = args.device.open()?;
    let weights = DetectorWeights::load(&args.weights)?;
    let mut detector = weights.detector(1, &device)?;
    let decode = Decode { threshold: args.threshold, ..Decode::SHOW };
    let nms = Nms { iou: args.nms as f32, ..Nms::default() };
    if let Some(folder) = &args.output {
        std::fs::create_dir_all(folder)
            .map_err(|e| Error::file(folder, "cannot be made").caused_by(e).fix("choose another --output"))?;
    }
    let progress = Progress::new(args.images.len() as u64, "detecting", args.json);
    let mut report = Vec::new();
    let mut text = String::new();
    for path in &args.images {
        let image = Image::open(path)?;
        let found = detect_image(&mut detector, &image, &decode, &nms)?;
        let drawn = match (&args.output, args.json) {
            (None, true) => None,
            (folder, _) => Some(draw(path, folder.as_deref(), &image, &found, &weights.classes)?),
        };
        text += &format!("{}: {}\n", path.display(), tally(&found, &weights.classes));
        if let Some(drawn) = &drawn {
            text += &format!("  {}\n", drawn.display());
        }
        report.push(json!({
            "image": path.to_string_lossy(),
            "width": image.width(),
            "height": image.height(),
            "picture": drawn.map(|p| p.to_string_lossy().into_owned()),
            "detections": found.iter().map(|d| json!({
                "class": weights.classes.get(d.class),
                "score": d.score,
                "x0": d.bounds.x0, "y0": d.bounds.y0, "x1": d.bounds.x1, "y1": d.bounds.y1,
            })).collect::<Vec<_>>(),
        }));
        progress.advance(1);
    }
    progress.finish();
    if args.json { print_json(&report) } else { print(&text) }
}

/// Draws `found` on `image` and writes the picture; returns its path.
fn draw(
    path: &Path,
    folder: Option<&Path>,
    image: &Image,
    found: &[Detection],
    classes: &[String],
) -> Result<PathBuf> {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let target = path.with_file_name(format!("{stem}.detected.png"));
    let target = match folder {
        Some(folder) => folder.join(target.file_name().unwrap_or_default()),
        None => target,
    };
    let picture = label_detections(image, found, classes)?;
    save_png(&target, &picture).map_err(|e| e.fix("give a folder for the pictures with --output"))?;
    Ok(target)
}

/// `2 trouser, 1 bag`.
fn tally(found: &[Detection], classes: &[String]) -> String {
    let mut counts = vec![0; classes.len()];
    for detection in found {
        if let Some(count) = counts.get_mut(detection.class) {
            *count += 1;
        }
    }
    let parts: Vec<String> = classes
        .iter()
        .zip(counts)
        .filter(|(_, count)| *count > 0)
        .map(|(name, count)| format!("{count} {name}"))
        .collect();
    if parts.is_empty() { "nothing found".into() } else { parts.join(", ") }
}

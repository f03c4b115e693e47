//! Detections of a trained network in one picture:
//! `cargo run --release --example detect -- runs/elan-nano-wardrobe photo.jpg`.

use std::path::PathBuf;

use gradpath::data::Image;
use gradpath::detect::{Decode, Nms};
use gradpath::device::Device;
use gradpath::train::{DetectorWeights, detect_image};

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let (Some(weights), Some(picture)) = (arguments.next(), arguments.next()) else {
        anyhow::bail!("two paths are needed: a run folder and a picture");
    };
    let weights = DetectorWeights::load(&weights)?;
    let mut detector = weights.detector(1, &Device::cpu(0)?)?;
    let image = Image::open(&picture)?;
    for found in detect_image(&mut detector, &image, &Decode::SHOW, &Nms::default())? {
        let (class, b) = (&weights.classes[found.class], found.bounds);
        println!("{class} {:.2}: {:.0},{:.0} to {:.0},{:.0}", found.score, b.x0, b.y0, b.x1, b.y1);
    }
    Ok(())
}

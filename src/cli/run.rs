//! `gradpath run`: a plain pass through a network, its maps and gradients written to files, to be held
//! against other frameworks.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::options::{DeviceOptions, Size, count};
use super::output::{print, print_json};
use super::weights::{self, NETWORK_KEY};
use crate::analysis::{layers, mean_square_loss};
use crate::autograd::backward;
use crate::data::{Image, Sample, augment};
use crate::format::{npy, weights as safetensors};
use crate::graph::{Graph, Mode};
use crate::ops::Value;
use crate::report::{Align, Layout, Table, number};
use crate::tensor::{Shape, Tensor};
use crate::zoo::{self, Network};
use crate::{Error, Result};

/// Run a network once and write what enters its heads, to compare with other frameworks
///
/// Writes head0.npy, head1.npy, … (float32, [n, h, w, anchors·(5 + classes)], raw logits, the finest
/// scale first).
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The network
    #[arg(value_name = "NET")]
    network: String,
    /// Weights, a safetensors file of this network
    #[arg(long, value_name = "FILE", conflicts_with = "seed")]
    weights: Option<PathBuf>,
    /// Instead of --weights: fresh weights, a function of this number alone
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// A NumPy file [n, h, w, 3] of floats from 0 to 1 that is taken as it is, or a JPEG, PNG or BMP
    /// image that is letterboxed to --size
    #[arg(long, value_name = "FILE")]
    input: PathBuf,
    /// The folder to write to; it is made where it is missing
    #[arg(long, value_name = "DIR")]
    output: PathBuf,
    /// Number of classes
    #[arg(long, default_value = "80", value_name = "N", value_parser = count)]
    classes: usize,
    /// Size of the letterbox in pixels: 416, or width and height as 416x320 [default: the network's own]
    #[arg(long)]
    size: Option<Size>,
    #[command(flatten)]
    device: DeviceOptions,
    /// Also write what every layer hands on, as layer000_SCOPE.npy
    #[arg(long)]
    layers: bool,
    /// Also write the gradient of the sum over heads of mean(head²) with respect to every parameter, as
    /// gradients.safetensors; the whole pass is then one of training, with the batch's own statistics
    #[arg(long)]
    grad: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
///
/// # Errors
/// Where the network, its weights or the input cannot be used together, or files cannot be written.
pub fn run(args: &Args) -> Result<()> {
    let network = zoo::find(&args.network)?;
    check_output(&args.output)?;
    let images = read_images(&args.input, &network, args.size)?;
    let pass = Pass::trace(&network, images.shape(), args)?;
    let state = match (&args.weights, args.seed) {
        (Some(path), _) => weights::load(path, &network, &pass.graph)?,
        (None, Some(seed)) => pass.graph.initial_state(seed),
        (None, None) => {
            return Err(Error::invalid("no weights were given")
                .fix("give --weights FILE, or --seed N to run with fresh ones"));
        }
    };
    let device = args.device.open()?;
    let mut session = device.session(device.compile(&pass.graph)?)?;
    session.load(&state)?;
    session.feed("images", &images)?;
    session.run()?;
    // Everything is there before the first file is written.
    let maps = pass
        .maps
        .iter()
        .map(|file| Ok((file.as_str(), session.output(file)?)))
        .collect::<Result<Vec<_>>>()?;
    let gradients = pass
        .gradients
        .iter()
        .map(|(name, output)| Ok((name.clone(), session.output(output)?)))
        .collect::<Result<BTreeMap<_, _>>>()?;
    fs::create_dir_all(&args.output)
        .map_err(|e| Error::file(&args.output, "the folder cannot be made").caused_by(e))?;
    for (file, map) in &maps {
        npy::save(args.output.join(file), map)?;
    }
    if args.grad {
        let metadata = BTreeMap::from([(NETWORK_KEY.to_owned(), network.name.to_owned())]);
        safetensors::save(args.output.join(GRADIENTS), &gradients, &metadata)?;
    }
    report(args, &maps, &gradients)
}

/// The file of all gradients.
const GRADIENTS: &str = "gradients.safetensors";

/// The graph of a pass, and what is read from it.
struct Pass {
    graph: Graph,
    /// Maps to write: outputs that are named as their files.
    maps: Vec<String>,
    /// Parameters with the outputs of their gradients.
    gradients: Vec<(String, String)>,
}

impl Pass {
    fn trace(network: &Network, images: Shape, args: &Args) -> Result<Pass> {
        let mut graph = Graph::new(if args.grad { Mode::Training } else { Mode::Inference });
        let images = graph.input("images", images)?;
        let heads = network.trace(&mut graph, images, args.classes)?;
        let mut pass = Pass { graph, maps: Vec::new(), gradients: Vec::new() };
        for (index, map) in heads.maps.iter().enumerate() {
            pass.write(format!("head{index}.npy"), *map)?;
        }
        if args.layers {
            for (index, layer) in layers(&pass.graph).iter().enumerate() {
                let scope = if layer.scope.is_empty() { "root" } else { &layer.scope };
                pass.write(format!("layer{index:03}_{scope}.npy"), layer.output)?;
            }
        }
        if args.grad {
            let graph = &mut pass.graph;
            let loss = mean_square_loss(graph, &heads.maps)?;
            let (parameters, names): (Vec<Value>, Vec<String>) =
                graph.parameters().map(|(value, info)| (value, info.name.clone())).unzip();
            let gradients = backward(graph, loss, &parameters)?;
            for (name, gradient) in names.into_iter().zip(gradients) {
                let output = format!("gradient of {name}");
                graph.output(&output, gradient)?;
                pass.gradients.push((name, output));
            }
        }
        Ok(pass)
    }

    fn write(&mut self, file: String, map: Value) -> Result<()> {
        self.graph.output(&file, map)?;
        self.maps.push(file);
        Ok(())
    }
}

/// What can be known of the folder before the pass runs.
fn check_output(folder: &Path) -> Result<()> {
    match fs::metadata(folder) {
        Ok(found) if !found.is_dir() => {
            Err(Error::file(folder, "is a file, where a folder is to be written to").fix("name a folder"))
        }
        _ => Ok(()),
    }
}

/// The images that enter the network, `[n, h, w, 3]`.
fn read_images(path: &Path, network: &Network, size: Option<Size>) -> Result<Tensor> {
    if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("npy")) {
        let images = npy::load(path)?;
        let shape = images.shape();
        if shape.c != 3 || shape.elements() == 0 {
            let message = format!("has shape {shape}, where images are [n, h, w, 3]");
            return Err(Error::file(path, message).fix("save images with their channels last"));
        }
        if let Some(size) = size.filter(|size| (size.width, size.height) != (shape.w, shape.h)) {
            let message = format!("has images of {}×{}, where --size is {size}", shape.w, shape.h);
            return Err(Error::file(path, message).fix("leave --size out: an array is taken as it is"));
        }
        return Ok(images);
    }
    let size = size.unwrap_or(Size::of(network));
    let sample = Sample { image: Image::open(path)?, objects: Vec::new(), name: String::new() };
    let (boxed, _) = augment::letterbox(&sample, (size.width, size.height));
    let pixels = boxed.image.pixels().iter().map(|&v| f32::from(v) / 255.0).collect();
    Tensor::new(Shape::new(1, size.height, size.width, 3), pixels)
}

/// What `--json` prints of a tensor that was written.
#[derive(Serialize)]
struct Written<'a> {
    name: &'a str,
    shape: Shape,
    least: f32,
    mean: f64,
    greatest: f32,
}

impl<'a> Written<'a> {
    fn new(name: &'a str, tensor: &Tensor) -> Self {
        let values = tensor.data();
        Written {
            name,
            shape: tensor.shape(),
            least: values.iter().copied().fold(f32::INFINITY, f32::min),
            mean: values.iter().map(|&v| f64::from(v)).sum::<f64>() / values.len() as f64,
            greatest: values.iter().copied().fold(f32::NEG_INFINITY, f32::max),
        }
    }
}

#[derive(Serialize)]
struct Json<'a> {
    network: &'a str,
    output: &'a Path,
    maps: Vec<Written<'a>>,
    gradients: Vec<Written<'a>>,
}

fn report(args: &Args, maps: &[(&str, Tensor)], gradients: &BTreeMap<String, Tensor>) -> Result<()> {
    let maps: Vec<Written> = maps.iter().map(|(file, map)| Written::new(file, map)).collect();
    let gradients: Vec<Written> = gradients.iter().map(|(name, g)| Written::new(name, g)).collect();
    if args.json {
        return print_json(&Json { network: &args.network, output: &args.output, maps, gradients });
    }
    let mut table = Table::new(&[
        ("file", Align::Left),
        ("shape", Align::Left),
        ("least", Align::Right),
        ("mean", Align::Right),
        ("greatest", Align::Right),
    ]);
    for map in &maps {
        let shape = map.shape.to_string();
        let numbers = [f64::from(map.least), map.mean, f64::from(map.greatest)].map(number::plain);
        table.row([map.name.to_owned(), shape].into_iter().chain(numbers));
    }
    let mut text = table.render(Layout::stdout());
    if args.grad {
        text.push_str(&format!("{GRADIENTS}: gradients of {} parameters\n", gradients.len()));
    }
    print(&text)
}

//! A detector as a file: weights, and what is needed to use them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::detect::{Detector, Head, HeadLevel};
use crate::device::Device;
use crate::format::weights;
use crate::graph::{Graph, Mode};
use crate::tensor::{Shape, Tensor};
use crate::zoo::{self, Network};
use crate::{Error, Result};

/// A trained detector: the network, its classes, anchors and input size, and its weights by name.
#[derive(Clone, Debug)]
pub struct DetectorWeights {
    /// The network.
    pub network: Network,
    /// The classes' names.
    pub classes: Vec<String>,
    /// Strides and anchors.
    pub levels: Vec<HeadLevel>,
    /// The input it was trained at, width and height in pixels.
    pub size: [usize; 2],
    /// Parameters and running statistics.
    pub tensors: BTreeMap<String, Tensor>,
}

const FORMAT: &str = "gradpath detector 1";

impl DetectorWeights {
    /// The head.
    pub fn head(&self) -> Head {
        Head { classes: self.classes.len(), levels: self.levels.clone() }
    }

    /// The detector on `device`, for `batch` images of the size it was trained at.
    ///
    /// # Errors
    /// Where the weights do not fit the network.
    pub fn detector(&self, batch: usize, device: &Device) -> Result<Detector> {
        let [width, height] = self.size;
        let input = Shape::new(batch, height, width, 3);
        Detector::new(&self.network, self.head(), input, device, &self.tensors)
    }

    /// What the file's header says beside the tensors.
    ///
    /// # Errors
    /// Where it cannot be written, which is a defect.
    pub fn metadata(&self) -> Result<BTreeMap<String, String>> {
        let json = |value: serde_json::Result<String>| {
            value.map_err(|e| Error::internal("weights' metadata cannot be written").caused_by(e))
        };
        Ok(BTreeMap::from([
            ("format".into(), FORMAT.into()),
            ("network".into(), self.network.name.into()),
            ("classes".into(), json(serde_json::to_string(&self.classes))?),
            ("levels".into(), json(serde_json::to_string(&self.levels))?),
            ("size".into(), json(serde_json::to_string(&self.size))?),
        ]))
    }

    /// Writes the file, atomically.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn save(&self, path: &Path) -> Result<()> {
        weights::save(path, &self.tensors, &self.metadata()?)
    }

    /// Reads a detector from a weight file, or from a run folder, whose `best.safetensors` (or else
    /// `last.safetensors`) it takes.
    ///
    /// # Errors
    /// Where there is none, it is damaged or foreign, or a tensor is missing or has another shape
    /// than the network's.
    pub fn load(path: &Path) -> Result<Self> {
        let file = find(path)?;
        let (tensors, metadata) = weights::load(&file)?;
        let foreign = |what: String| {
            Error::file(&file, what).fix("give a run folder or a weight file that `gradpath train` wrote")
        };
        if metadata.get("format").map(String::as_str) != Some(FORMAT) {
            return Err(foreign("holds no gradpath detector".into()));
        }
        fn field<'a>(metadata: &'a BTreeMap<String, String>, name: &str) -> Result<&'a String, String> {
            metadata.get(name).ok_or_else(|| format!("does not say its {name}"))
        }
        fn json<T: serde::de::DeserializeOwned>(
            metadata: &BTreeMap<String, String>,
            name: &str,
        ) -> Result<T, String> {
            serde_json::from_str(field(metadata, name)?).map_err(|e| format!("has an unreadable {name}: {e}"))
        }
        let name = field(&metadata, "network").map_err(&foreign)?;
        let network = zoo::find(name).map_err(|e| e.in_file(&file))?;
        let classes: Vec<String> = json(&metadata, "classes").map_err(&foreign)?;
        let levels: Vec<HeadLevel> = json(&metadata, "levels").map_err(&foreign)?;
        let size: [usize; 2] = json(&metadata, "size").map_err(&foreign)?;
        let strides: Vec<usize> = levels.iter().map(|l| l.stride).collect();
        let anchors_fit = levels.iter().all(|l| l.anchors.len() == network.anchors_per_head);
        if strides != network.strides || !anchors_fit {
            return Err(foreign(format!("has anchors that are not {name}'s")));
        }
        let detector = DetectorWeights { network, classes, levels, size, tensors };
        let graph = inference_graph(&network, detector.size, detector.classes.len());
        let graph = graph.map_err(|e| e.in_file(&file))?;
        check_weights(&file, &network, &graph, &detector.tensors)?;
        Ok(detector)
    }
}

/// Fails unless `tensors`, read from `path`, are exactly the parameters and states of `graph`, which is
/// traced from `network`.
///
/// # Errors
/// Names the tensor that is missing, has another shape, or is none of the network's.
pub fn check_weights(
    path: &Path,
    network: &Network,
    graph: &Graph,
    tensors: &BTreeMap<String, Tensor>,
) -> Result<()> {
    for (_, info) in graph.persistent() {
        let Some(tensor) = tensors.get(&info.name) else {
            let message = format!(
                "tensor `{}` is missing, which {} needs with shape {}",
                info.name, network.name, info.shape
            );
            return Err(Error::file(path, message).fix("give the whole weights of this network"));
        };
        if tensor.shape() != info.shape {
            let message = format!(
                "tensor `{}` has shape {}, where {} needs {}",
                info.name,
                tensor.shape(),
                network.name,
                info.shape
            );
            let error = Error::file(path, message);
            return Err(match classes(network, tensors).filter(|_| info.name.starts_with("head")) {
                Some(classes) => {
                    error.fix(format!("the file is for {classes} classes: use --classes {classes}"))
                }
                None => error.fix("give the weights of this network"),
            });
        }
    }
    match tensors.keys().find(|name| graph.find(name).is_none()) {
        None => Ok(()),
        Some(name) => {
            let message = format!("tensor `{name}` is none of {}'s", network.name);
            Err(Error::file(path, message).fix("give the weights of this network, and nothing else"))
        }
    }
}

/// The number of classes that the first head in `tensors` predicts.
fn classes(network: &Network, tensors: &BTreeMap<String, Tensor>) -> Option<usize> {
    let channels = tensors.get("head0.predict.bias")?.shape().c;
    match channels % network.anchors_per_head.max(1) {
        0 => (channels / network.anchors_per_head.max(1)).checked_sub(5),
        _ => None,
    }
}

/// The weight file at `path`, or in the run folder at `path`.
fn find(path: &Path) -> Result<PathBuf> {
    if !path.is_dir() {
        return Ok(path.to_owned());
    }
    let candidates = ["best.safetensors", "last.safetensors"].map(|name| path.join(name));
    candidates.into_iter().find(|file| file.is_file()).ok_or_else(|| {
        Error::file(path, "has neither best.safetensors nor last.safetensors")
            .fix("give a run folder of `gradpath train`, or a weight file")
    })
}

/// `network` traced for one image of `size`, width and height in pixels.
fn inference_graph(network: &Network, [width, height]: [usize; 2], classes: usize) -> Result<Graph> {
    let mut graph = Graph::new(Mode::Inference);
    let images = graph.input("images", Shape::new(1, height, width, 3))?;
    network.trace(&mut graph, images, classes)?;
    Ok(graph)
}

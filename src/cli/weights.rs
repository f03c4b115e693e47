//! Weights for a network, checked before anything runs.

use std::collections::BTreeMap;
use std::path::Path;

use crate::format::weights;
use crate::graph::Graph;
use crate::tensor::Tensor;
use crate::zoo::Network;
use crate::{Error, Result};

/// The key of a weights file's metadata that says which network the weights are of.
pub const NETWORK_KEY: &str = "network";

/// Reads the weights of `network` from the safetensors file at `path`: exactly the parameters and
/// states of `graph`, which is traced from it.
///
/// # Errors
/// Where the file cannot be read, is of another network, or a tensor is missing, has another shape
/// than the network's, or is none of the network's.
pub fn load(path: &Path, network: &Network, graph: &Graph) -> Result<BTreeMap<String, Tensor>> {
    let (tensors, metadata) = weights::load(path)?;
    if let Some(other) = metadata.get(NETWORK_KEY).filter(|other| *other != network.name) {
        let message = format!("holds the weights of {other}, not of {}", network.name);
        return Err(Error::file(path, message).fix(format!("name {other}, or give another file")));
    }
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
            return Err(match classes(network, &tensors).filter(|_| info.name.starts_with("head")) {
                Some(classes) => {
                    error.fix(format!("the file is for {classes} classes: use --classes {classes}"))
                }
                None => error.fix("give the weights of this network"),
            });
        }
    }
    match tensors.keys().find(|name| graph.find(name).is_none()) {
        None => Ok(tensors),
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

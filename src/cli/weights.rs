//! Weights for a network, checked before anything runs.

use std::collections::BTreeMap;
use std::path::Path;

use crate::format::weights;
use crate::graph::Graph;
use crate::tensor::Tensor;
use crate::train::check_weights;
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
    check_weights(path, network, graph, &tensors)?;
    Ok(tensors)
}

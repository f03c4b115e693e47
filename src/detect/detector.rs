//! A network with weights on a device, from images to detections.

use std::collections::BTreeMap;

use super::{Decode, Detection, Head, Nms, detect};
use crate::Result;
use crate::device::{Device, Session};
use crate::graph::{Graph, Mode};
use crate::tensor::{Shape, Tensor, View};
use crate::zoo::Network;

/// A detector for batches of one shape.
pub struct Detector {
    session: Box<dyn Session>,
    head: Head,
    input: Shape,
    maps: usize,
}

impl Detector {
    /// `network` for batches `input [n, h, w, 3]` on `device`, with weights by name.
    ///
    /// # Errors
    /// Where the input does not suit the network, or a weight is missing or has another shape.
    pub fn new(
        network: &Network,
        head: Head,
        input: Shape,
        device: &Device,
        weights: &BTreeMap<String, Tensor>,
    ) -> Result<Self> {
        let mut graph = Graph::new(Mode::Inference);
        let images = graph.input("images", input)?;
        let heads = network.trace(&mut graph, images, head.classes)?;
        for (index, map) in heads.maps.iter().enumerate() {
            graph.output(&format!("head{index}"), *map)?;
        }
        let mut session = device.session(device.compile(&graph)?)?;
        session.load(weights)?;
        Ok(Detector { session, head, input, maps: heads.maps.len() })
    }

    /// The batches it takes.
    pub fn input(&self) -> Shape {
        self.input
    }

    /// The raw head maps of `images [n, h, w, 3]` in 0..1.
    ///
    /// # Errors
    /// Where the shape is not [`Detector::input`].
    pub fn heads(&mut self, images: &Tensor) -> Result<Vec<Tensor>> {
        self.session.feed("images", images)?;
        self.session.run()?;
        (0..self.maps).map(|index| self.session.output(&format!("head{index}"))).collect()
    }

    /// The detections in each image, in pixels of the input, best first.
    ///
    /// # Errors
    /// As [`Detector::heads`].
    pub fn detect(&mut self, images: &Tensor, decode: &Decode, nms: &Nms) -> Result<Vec<Vec<Detection>>> {
        let heads = self.heads(images)?;
        let views: Vec<View<'_, f32>> = heads.iter().map(Tensor::view).collect();
        detect(&views, &self.head, decode, nms)
    }
}

//! Named networks, built from `nn`.

mod nano;
mod yolov7_tiny;

use crate::graph::Graph;
use crate::ops::{Tape, Value};
use crate::tensor::Shape;
use crate::{Error, Result};

/// What a network computes: what enters each detection head, from the finest scale to the coarsest.
#[derive(Clone, Debug, PartialEq)]
pub struct Heads {
    /// The raw head maps `[n, h/stride, w/stride, anchors·(5 + classes)]`.
    pub maps: Vec<Value>,
}

/// A named network.
#[derive(Clone, Copy, Debug)]
pub struct Network {
    /// The name, as on the command line.
    pub name: &'static str,
    /// What it is, in a sentence.
    pub about: &'static str,
    /// Pixels a cell of each head covers.
    pub strides: &'static [usize],
    /// Anchors at each head.
    pub anchors_per_head: usize,
    /// The input size it was designed for.
    pub size: usize,
    trace: fn(&mut Graph, Value, usize) -> Result<Vec<Value>>,
}

impl Network {
    /// Traces the network on `images [n, h, w, 3]` for `classes` classes.
    ///
    /// # Errors
    /// Where h or w is not a multiple of the coarsest stride.
    pub fn trace(&self, graph: &mut Graph, images: Value, classes: usize) -> Result<Heads> {
        let shape = graph.shape(images);
        self.check_size(shape)?;
        let maps = (self.trace)(graph, images, classes)?;
        Ok(Heads { maps })
    }

    /// The coarsest stride: input sizes are multiples of it.
    pub fn largest_stride(&self) -> usize {
        self.strides.iter().copied().max().unwrap_or(1)
    }

    /// Fails unless height and width of `shape` are multiples of the coarsest stride.
    ///
    /// # Errors
    /// Names the nearest size that fits.
    pub fn check_size(&self, shape: Shape) -> Result<()> {
        let stride = self.largest_stride();
        let fits = |side: usize| side > 0 && side.is_multiple_of(stride);
        if !fits(shape.h) || !fits(shape.w) {
            let nearest = |v: usize| (v.max(stride / 2) + stride / 2) / stride * stride;
            return Err(Error::invalid(format!(
                "an input of {}×{} is not divisible by {}'s stride {stride}",
                shape.w, shape.h, self.name
            ))
            .fix(format!("use {}×{}", nearest(shape.w), nearest(shape.h))));
        }
        Ok(())
    }
}

/// All networks.
pub const NETWORKS: [Network; 4] = [
    Network {
        name: "elan-nano",
        about: "ELAN stages, PAN neck of ELANs, three heads",
        strides: &[8, 16, 32],
        anchors_per_head: 3,
        size: 160,
        trace: nano::elan,
    },
    Network {
        name: "csp-nano",
        about: "CSP stages of residual bottlenecks, the same neck and heads in CSP",
        strides: &[8, 16, 32],
        anchors_per_head: 3,
        size: 160,
        trace: nano::csp,
    },
    Network {
        name: "prn-nano",
        about: "plain residual stages with PRN's masked identity, asymmetric residual fusion in the neck",
        strides: &[8, 16, 32],
        anchors_per_head: 3,
        size: 160,
        trace: nano::prn,
    },
    Network {
        name: "yolov7-tiny",
        about: "YOLOv7-tiny: ELAN backbone and neck, SPP, three heads, leaky activation",
        strides: &[8, 16, 32],
        anchors_per_head: 3,
        size: 416,
        trace: yolov7_tiny::trace,
    },
];

/// The network of that name.
///
/// # Errors
/// Names those there are.
pub fn find(name: &str) -> Result<Network> {
    NETWORKS.iter().find(|n| n.name == name).copied().ok_or_else(|| {
        let names: Vec<&str> = NETWORKS.iter().map(|n| n.name).collect();
        Error::invalid(format!("there is no network {name:?}"))
            .fix(format!("use one of {}", names.join(", ")))
    })
}

#[cfg(test)]
mod tests;

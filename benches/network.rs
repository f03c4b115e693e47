//! Whole networks: inference one picture at a time, and a training step.
//!
//! `cargo bench --bench network` prints the table and times the fused networks with criterion. Options and
//! baselines: [`common`]; `-- --only yolov7-tiny` picks one. For the same workloads elsewhere, and the peak of
//! memory in a process of its own, see `benches/peers`.

mod common;

use std::process::ExitCode;

use common::{network, options::Options};
use gradpath::Result;
use gradpath::graph::Mode::{Inference, Training};

fn main() -> Result<ExitCode> {
    // YOLOv7-tiny as the peers run it; the small detectors as they are trained.
    let mut items =
        vec![network("yolov7-tiny", Inference, 416, 1)?, network("yolov7-tiny", Training, 416, 8)?];
    for name in ["elan-nano", "csp-nano", "prn-nano"] {
        items.extend([network(name, Inference, 160, 1)?, network(name, Training, 160, 16)?]);
    }
    common::run("network", &Options::read(&[]), &items, |_| Ok(()))
}

//! Three small detectors of about the same cost, one for each design: they differ in their stages'
//! computational blocks and in how the neck joins two scales, and in nothing else.
//!
//! Stem (two strided units) → stages at strides 4, 8, 16, 32 → SPP → top-down and bottom-up neck →
//! heads at 8, 16, 32.

use crate::Result;
use crate::graph::Graph;
use crate::nn::{
    Block, Csp, DetectionHead, Elan, Mask, MaxPooling, Residual, Sequence, Split, SppCsp, Style, Truncation,
    bottleneck,
};
use crate::ops::{Tape, Value, add, concat, upsample};

/// A design: what stands at the places where the three differ.
trait Design {
    /// The units' style.
    fn style(&self) -> Style {
        Style::default()
    }

    /// A stage's computational block, `filters` channels out.
    fn stage(&self, graph: &mut Graph, name: &str, x: Value, filters: usize) -> Result<Value>;

    /// One map from two of the same size.
    fn join(&self, graph: &mut Graph, a: Value, b: Value) -> Result<Value> {
        concat::trace(graph, &[a, b])
    }
}

fn detector(design: &impl Design, graph: &mut Graph, images: Value, classes: usize) -> Result<Vec<Value>> {
    let style = design.style();
    let pool = MaxPooling::half();
    let (c3, c4, c5) = graph.scope("backbone", |g| {
        let x = style.down(16).named(g, "stem0", images)?;
        let x = style.down(24).named(g, "stem1", x)?;
        let x = design.stage(g, "stage2", x, 32)?;
        let x = pool.trace(g, x)?;
        let c3 = design.stage(g, "stage3", x, 64)?;
        let x = pool.trace(g, c3)?;
        let c4 = design.stage(g, "stage4", x, 96)?;
        let x = pool.trace(g, c4)?;
        Ok((c3, c4, design.stage(g, "stage5", x, 128)?))
    })?;
    let (n3, n4, n5) = graph.scope("neck", |g| {
        let p5 = SppCsp { windows: vec![3, 5, 7], filters: 64, style }.named(g, "spp", c5)?;
        let up = |g: &mut Graph, name: &str, top: Value, side: Value, filters: usize| {
            g.scope(name, |g| {
                let top = style.transition(filters).named(g, "top", top)?;
                let top = upsample::trace(g, top, 2)?;
                let side = style.transition(filters).named(g, "lateral", side)?;
                design.join(g, side, top)
            })
        };
        let x = up(g, "up4", p5, c4, 48)?;
        let p4 = design.stage(g, "merge4", x, 48)?;
        let x = up(g, "up3", p4, c3, 32)?;
        let n3 = design.stage(g, "merge3", x, 32)?;
        let x = style.down(48).named(g, "down4", n3)?;
        let x = design.join(g, x, p4)?;
        let n4 = design.stage(g, "out4", x, 48)?;
        let x = style.down(64).named(g, "down5", n4)?;
        let x = design.join(g, x, p5)?;
        Ok((n3, n4, design.stage(g, "out5", x, 64)?))
    })?;
    let mut maps = Vec::new();
    for (index, (x, filters)) in [(n3, 48), (n4, 64), (n5, 96)].into_iter().enumerate() {
        maps.push(graph.scope(&format!("head{index}"), |g| {
            let x = style.unit(filters, 3).named(g, "conv", x)?;
            g.scope("predict", |g| DetectionHead { anchors: 3, classes }.trace(g, x))
        })?);
    }
    Ok(maps)
}

struct ElanDesign;

impl Design for ElanDesign {
    fn stage(&self, graph: &mut Graph, name: &str, x: Value, filters: usize) -> Result<Value> {
        let inner = filters / 2;
        let style = self.style();
        Elan { branch: inner, inner, groups: 2, depth: 1, filters, style }.named(graph, name, x)
    }
}

struct CspDesign;

impl Design for CspDesign {
    fn stage(&self, graph: &mut Graph, name: &str, x: Value, filters: usize) -> Result<Value> {
        let (style, half) = (self.style(), filters / 2);
        let csp = Csp {
            split: Split::Transitions(half, half),
            block: Sequence::repeat(2, || bottleneck(style, half, half, Mask::Whole)),
            truncation: Truncation::FusionFirst,
            inner: None,
            filters,
            style,
        };
        csp.named(graph, name, x)
    }
}

struct PrnDesign;

impl Design for PrnDesign {
    fn stage(&self, graph: &mut Graph, name: &str, x: Value, filters: usize) -> Result<Value> {
        let style = self.style();
        let half = filters / 2;
        let stage = Sequence::new()
            .then(style.transition(filters))
            .then(Residual::new(
                Sequence::new().then(style.unit(half, 1)).then(style.unit(filters, 3)),
                Mask::Share(0.5),
            ))
            .then(Residual::new(style.unit(filters, 1), Mask::Share(0.5)));
        stage.named(graph, name, x)
    }

    /// PRN fuses scales by an asymmetric residual instead of a concat: no transition, no parameter.
    fn join(&self, graph: &mut Graph, a: Value, b: Value) -> Result<Value> {
        let channels = graph.shape(b).c;
        add::masked_residual(graph, a, b, channels)
    }
}

pub(super) fn elan(graph: &mut Graph, images: Value, classes: usize) -> Result<Vec<Value>> {
    detector(&ElanDesign, graph, images, classes)
}

pub(super) fn csp(graph: &mut Graph, images: Value, classes: usize) -> Result<Vec<Value>> {
    detector(&CspDesign, graph, images, classes)
}

pub(super) fn prn(graph: &mut Graph, images: Value, classes: usize) -> Result<Vec<Value>> {
    detector(&PrnDesign, graph, images, classes)
}

//! YOLOv7-tiny (Wang et al. 2022), layer for layer as its Darknet file has it: 6,227,101 learnable
//! parameters and 5.802 BFLOPs at 416×416 and 80 classes.

use crate::Result;
use crate::graph::Graph;
use crate::nn::{Block, ConvUnit, DetectionHead, Elan, MaxPooling, SppCsp, Style};
use crate::ops::batch_norm::NormSpec;
use crate::ops::{Value, concat, upsample};
use crate::runtime::Activation;

const STYLE: Style =
    Style { activation: Activation::Leaky, norm: NormSpec { epsilon: 1e-5, momentum: 0.03 } };

fn elan(inner: usize, filters: usize) -> Elan {
    Elan { branch: inner, inner, groups: 2, depth: 1, filters, style: STYLE }
}

fn up(graph: &mut Graph, name: &str, lateral: (&ConvUnit, Value), top: (&ConvUnit, Value)) -> Result<Value> {
    graph.scope(name, |graph| {
        let narrowed = top.0.named(graph, "top", top.1)?;
        let enlarged = upsample::trace(graph, narrowed, 2)?;
        let lateral = lateral.0.named(graph, "lateral", lateral.1)?;
        concat::trace(graph, &[lateral, enlarged])
    })
}

pub(super) fn trace(graph: &mut Graph, images: Value, classes: usize) -> Result<Vec<Value>> {
    let pool = MaxPooling::half();
    let (c3, c4, c5) = graph.scope("backbone", |g| {
        let x = STYLE.down(32).named(g, "stem0", images)?;
        let x = STYLE.down(64).named(g, "stem1", x)?;
        let x = elan(32, 64).named(g, "stage2", x)?;
        let x = pool.trace(g, x)?;
        let c3 = elan(64, 128).named(g, "stage3", x)?;
        let x = pool.trace(g, c3)?;
        let c4 = elan(128, 256).named(g, "stage4", x)?;
        let x = pool.trace(g, c4)?;
        Ok((c3, c4, elan(256, 512).named(g, "stage5", x)?))
    })?;
    let (n3, n4, n5) = graph.scope("neck", |g| {
        let p5 = SppCsp { windows: vec![5, 9, 13], filters: 256, style: STYLE }.named(g, "spp", c5)?;
        let x = up(g, "up4", (&STYLE.transition(128), c4), (&STYLE.transition(128), p5))?;
        let p4 = elan(64, 128).named(g, "elan4", x)?;
        let x = up(g, "up3", (&STYLE.transition(64), c3), (&STYLE.transition(64), p4))?;
        let n3 = elan(32, 64).named(g, "elan3", x)?;
        let down = STYLE.down(128).named(g, "down4", n3)?;
        let x = concat::trace(g, &[down, p4])?;
        let n4 = elan(64, 128).named(g, "down4.elan", x)?;
        let down = STYLE.down(256).named(g, "down5", n4)?;
        let x = concat::trace(g, &[down, p5])?;
        Ok((n3, n4, elan(128, 256).named(g, "down5.elan", x)?))
    })?;
    let mut maps = Vec::new();
    for (index, (x, filters)) in [(n3, 128), (n4, 256), (n5, 512)].into_iter().enumerate() {
        maps.push(graph.scope(&format!("head{index}"), |g| {
            let x = STYLE.unit(filters, 3).named(g, "conv", x)?;
            g.scope("predict", |g| DetectionHead { anchors: 3, classes }.trace(g, x))
        })?);
    }
    Ok(maps)
}

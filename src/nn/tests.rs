//! Every block, its gradients by finite differences, small.

use super::*;
use crate::autograd::finite_difference::check;
use crate::graph::Init;
use crate::ops::Tape;
use crate::tensor::Shape;

/// Smooth units, so that no finite difference steps over a kink.
fn style() -> Style {
    Style::default()
}

fn check_block(channels: usize, block: &dyn Block) {
    check(7, |g| {
        let x = g.parameter("x", Shape::new(2, 3, 3, channels), Init::Uniform { bound: 1.0 })?;
        Ok(vec![block.named(g, "block", x)?])
    })
    .unwrap();
}

#[test]
fn conv_units() {
    check_block(2, &style().unit(3, 3));
    check_block(4, &style().unit(4, 3).groups(2).stride(2));
    check_block(3, &Sequence::repeat(2, || style().transition(2)));
}

#[test]
fn residuals() {
    check_block(4, &bottleneck(style(), 2, 4, Mask::Whole));
    check_block(4, &bottleneck(style(), 2, 4, Mask::Share(0.5)));
    check_block(4, &bottleneck(style(), 2, 3, Mask::Common));
    check_block(3, &bottleneck(style(), 2, 4, Mask::Common));
    check_block(4, &res_x(style(), 4, 4, 2, Mask::Whole));
}

#[test]
fn aggregates() {
    check_block(2, &Dense { growth: 2, layers: 3, style: style() });
    check_block(2, &Sparse { growth: 2, layers: 4, style: style() });
    check_block(2, &OneShot { inner: 2, layers: 2, transition: Some(3), style: style() });
    check_block(2, &OneShot { inner: 2, layers: 2, transition: None, style: style() });
}

#[test]
fn cross_stage_partials() {
    use Truncation::{Csp as Both, FusionFirst, FusionLast, Partial};
    for truncation in [Both, FusionFirst, FusionLast, Partial] {
        for split in [Split::Slice(0.5), Split::Slice(0.25), Split::Transitions(2, 1)] {
            let block = Sequence::repeat(1, || bottleneck(style(), 1, 2, Mask::Common));
            check_block(4, &Csp { split, block, truncation, inner: None, filters: 3, style: style() });
        }
    }
    let elan = Elan { branch: 1, inner: 1, groups: 1, depth: 1, filters: 2, style: style() };
    let split = Split::Slice(0.5);
    let around = Csp { split, block: elan, truncation: Both, inner: Some(1), filters: 2, style: style() };
    check_block(4, &around);
}

#[test]
fn elans() {
    let elan = Elan { branch: 2, inner: 1, groups: 2, depth: 2, filters: 2, style: style() };
    check_block(3, &elan);
    check_block(2, &ExtendedElan { elan, cardinality: 2 });
}

#[test]
fn pyramids() {
    check_block(2, &MaxPooling::half());
    check_block(2, &Spp { windows: vec![3, 5] });
    check_block(2, &SppCsp { windows: vec![3], filters: 2, style: style() });
}

#[test]
fn a_split_that_does_not_split_is_refused() {
    let mut graph = Graph::new(crate::graph::Mode::Inference);
    let x = graph.input("x", Shape::new(1, 4, 4, 4)).unwrap();
    let csp = Csp {
        split: Split::Slice(1.5),
        block: Sequence::new(),
        truncation: Truncation::Partial,
        inner: None,
        filters: 4,
        style: style(),
    };
    let error = csp.trace(&mut graph, x).unwrap_err().to_string();
    assert!(error.contains("a share of 1.5 does not split 4 channels"), "{error}");
    assert_eq!(graph.shape(x).c, 4);
}

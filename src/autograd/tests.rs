//! The backward's own rules: how gradients meet, split and stop.

use super::finite_difference::check;
use super::*;
use crate::graph::{Feeds, Init, Mode, interpret};
use crate::ops::{stop_gradient, weighted_sum};

const MAP: Shape = Shape::new(2, 2, 3, 4);

fn parameter(graph: &mut Graph, name: &str, shape: Shape) -> Result<Value> {
    graph.parameter(name, shape, Init::Uniform { bound: 1.0 })
}

#[test]
fn gradients_of_several_readers_are_added() {
    check(1, |g| {
        let x = parameter(g, "x", MAP)?;
        let y = parameter(g, "y", MAP)?;
        let once = add::trace(g, x, y)?;
        let twice = add::trace(g, once, x)?;
        Ok(vec![twice, once])
    })
    .unwrap();
}

#[test]
fn slices_and_concats_hand_back_their_ranges() {
    check(2, |g| {
        let x = parameter(g, "x", MAP)?;
        let first = slice::trace(g, x, 0..2)?;
        let overlapping = slice::trace(g, x, 1..3)?;
        let joined = concat::trace(g, &[overlapping, first, x])?;
        let masked = add::masked_residual(g, joined, first, 1)?;
        Ok(vec![masked])
    })
    .unwrap();
}

#[test]
fn a_gap_between_slices_is_zero() {
    check(3, |g| {
        let x = parameter(g, "x", MAP)?;
        let a = slice::trace(g, x, 0..1)?;
        let b = slice::trace(g, x, 3..4)?;
        Ok(vec![add::trace(g, a, b)?])
    })
    .unwrap();
}

#[test]
fn nothing_flows_through_a_stop() {
    let mut g = Graph::new(Mode::Training);
    let x = g.input("x", Shape::scalar()).unwrap();
    let stopped = stop_gradient::trace(&mut g, x).unwrap();
    let y = weighted_sum::trace(&mut g, &[(3.0, x), (5.0, stopped)]).unwrap();
    let dx = backward(&mut g, y, &[x]).unwrap()[0];
    let data = interpret(&g, &Feeds::from([(x, vec![2.0])])).unwrap();
    assert_eq!(data[&y], [16.0]);
    assert_eq!(data[&dx], [3.0]);
}

#[test]
fn what_the_loss_does_not_reach_gets_zeros() {
    let mut g = Graph::new(Mode::Training);
    let x = g.input("x", Shape::scalar()).unwrap();
    let other = g.input("other", MAP).unwrap();
    let gradients = backward(&mut g, x, &[x, other]).unwrap();
    let data = interpret(&g, &Feeds::from([(x, vec![2.0]), (other, vec![0.0; 48])])).unwrap();
    assert_eq!(data[&gradients[0]], [1.0]);
    assert_eq!(data[&gradients[1]], [0.0; 48]);
}

#[test]
fn a_loss_that_is_no_scalar_is_refused() {
    let mut g = Graph::new(Mode::Training);
    let x = g.input("x", MAP).unwrap();
    let error = backward(&mut g, x, &[x]).unwrap_err().to_string();
    assert!(error.contains("must be a scalar") && error.contains("[2, 2, 3, 4]"), "{error}");
}

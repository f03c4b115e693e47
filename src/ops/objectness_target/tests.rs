//! The target map: by hand, on the cpu, and that nothing flows through it.

use super::*;
use crate::autograd::backward;
use crate::graph::{Feeds, Graph, Mode, interpret};
use crate::ops::matches::column;
use crate::ops::matches::testing::{UNUSED, random_table, row};
use crate::ops::testing::{check_cpu, reference};
use crate::ops::{matched_mean, weighted_sum};
use crate::tensor::Random;

const BOX: [f32; 4] = [1.0; 4];

#[test]
fn the_best_match_of_an_anchor_counts() {
    let map = Shape::new(1, 2, 2, 2);
    let rows = [
        row([0, 0, 1, 1, 0], BOX),
        row([0, 1, 0, 0, 0], BOX),
        UNUSED,
        row([0, 0, 1, 1, 0], BOX),
        row([0, 0, 1, 1, 0], BOX),
        row([0, 1, 1, 0, 0], BOX),
    ];
    let table = Shape::new(1, 1, rows.len(), column::COUNT);
    let values = vec![0.25, -0.5, 0.875, 0.75, 0.5, 0.125];
    let target = |ratio: f64| {
        let op = ObjectnessTarget { map, ratio };
        reference(&op, &[table.with_c(1), table], &[values.clone(), rows.concat()]).remove(0)
    };
    assert_eq!(target(1.0), [0.0, 0.0, 0.0, 0.75, 0.0, 0.0, 0.125, 0.0]);
    assert_eq!(target(0.5), [0.0, 0.0, 0.0, 0.875, 0.5, 0.0, 0.5625, 0.0]);
}

#[test]
fn cpu_is_the_reference() {
    for (seed, map, capacity) in [(1, Shape::new(2, 3, 4, 3), 60), (2, Shape::new(1, 70, 60, 2), 5)] {
        let mut random = Random::new(seed);
        let table = Shape::new(1, 1, capacity, column::COUNT);
        let matches = random_table(&mut random, map, 1, capacity);
        let values: Vec<f32> = (0..capacity).map(|_| random.uniform(-1.0, 1.0)).collect();
        for ratio in [1.0, 0.3] {
            let op = ObjectnessTarget { map, ratio };
            check_cpu(&op, &[table.with_c(1), table], &[values.clone(), matches.clone()], 1e-6);
        }
    }
}

#[test]
fn nothing_flows_into_a_target() {
    let mut g = Graph::new(Mode::Training);
    let table = Shape::new(1, 1, 1, column::COUNT);
    let values = g.input("values", table.with_c(1)).unwrap();
    let matches = g.input("matches", table).unwrap();
    let target = trace(&mut g, values, matches, Shape::scalar(), 1.0).unwrap();
    let mean = matched_mean::trace(&mut g, values, matches, 1.0, 0.0).unwrap();
    let loss = weighted_sum::trace(&mut g, &[(1.0, target), (10.0, mean)]).unwrap();
    let gradient = backward(&mut g, loss, &[values]).unwrap()[0];
    let rows = row([0; 5], BOX).map(f64::from).to_vec();
    let data = interpret(&g, &Feeds::from([(values, vec![0.5]), (matches, rows)])).unwrap();
    assert_eq!(data[&loss], [5.5]);
    assert_eq!(data[&gradient], [10.0]);
}

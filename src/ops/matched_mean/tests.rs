//! The mean over matches: by hand, by finite differences, on the cpu.

use super::*;
use crate::autograd::finite_difference::check;
use crate::graph::Init;
use crate::ops::matches::column;
use crate::ops::matches::testing::{UNUSED, random_table, row};
use crate::ops::testing::{check_cpu, reference};
use crate::tensor::Random;

const BOX_LOSS: MatchedMean = MatchedMean { scale: -1.0, offset: 1.0 };

#[test]
fn only_matches_count() {
    let used = row([0; 5], [1.0; 4]);
    let table = Shape::new(1, 1, 3, column::COUNT);
    let shapes = [table.with_c(1), table];
    let rows = [used, UNUSED, used].concat();
    assert_eq!(reference(&BOX_LOSS, &shapes, &[vec![0.5, 7.0, 0.25], rows])[0], [0.625]);
    let none = vec![0.0; 3 * column::COUNT];
    assert_eq!(reference(&BOX_LOSS, &shapes, &[vec![0.5, 7.0, 0.25], none.clone()])[0], [0.0]);
    let gradient = MatchedMeanGradient { scale: -1.0 };
    assert_eq!(reference(&gradient, &[table, Shape::scalar()], &[none, vec![1.0]])[0], [0.0; 3]);
}

#[test]
fn gradient_is_that_of_finite_differences() {
    let rows = random_table(&mut Random::new(5), Shape::new(1, 1, 1, 1), 1, 9);
    check(5, |g| {
        let shape = Shape::new(1, 1, 9, column::COUNT);
        let values = g.parameter("values", shape.with_c(1), Init::Uniform { bound: 1.0 })?;
        let matches = g.state("matches", shape, Init::Pattern(rows.clone()))?;
        Ok(vec![trace(g, values, matches, -1.5, 0.5)?])
    })
    .unwrap();
}

#[test]
fn cpu_is_the_reference() {
    for (seed, capacity) in [(1, 1), (2, 600)] {
        let mut random = Random::new(seed);
        let table = Shape::new(1, 1, capacity, column::COUNT);
        for matches in
            [random_table(&mut random, Shape::new(1, 1, 1, 1), 1, capacity), vec![0.0; table.elements()]]
        {
            let values: Vec<f32> = (0..capacity).map(|_| random.uniform(-2.0, 1.0)).collect();
            check_cpu(&BOX_LOSS, &[table.with_c(1), table], &[values, matches.clone()], 1e-6);
            let gradient = MatchedMeanGradient { scale: -1.5 };
            check_cpu(&gradient, &[table, Shape::scalar()], &[matches, vec![0.7]], 1e-6);
        }
    }
}

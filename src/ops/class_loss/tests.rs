//! The class loss: by hand, by finite differences, on the cpu.

use super::*;
use crate::autograd::finite_difference::check;
use crate::graph::Init;
use crate::ops::matches::column;
use crate::ops::matches::testing::{UNUSED, random_table, row};
use crate::ops::testing::{check_cpu, reference};
use crate::tensor::{Random, View, ViewMut};

#[test]
fn worked_by_hand() {
    // σ(ln 3) = ¾, σ(0) = ½. An object of class 1, an unused row, an object of class 0.
    let ln3 = 3.0_f32.ln();
    let rows = [row([0, 0, 0, 0, 1], [1.0; 4]), UNUSED, row([0; 5], [1.0; 4])].concat();
    let table = Shape::new(1, 1, 3, column::COUNT);
    let inputs = [vec![0.0, ln3, 50.0, 50.0, ln3, -ln3], rows, vec![1.0]];
    let shapes = [table.with_c(2), table, Shape::scalar()];
    let loss = |label_smoothing| reference(&ClassLoss { label_smoothing }, &shapes[..2], &inputs[..2])[0][0];
    let (quarter, half, rest) = (0.25_f64.ln(), 0.5_f64.ln(), 0.75_f64.ln());
    assert!((loss(0.0) + (half + 3.0 * rest) / 4.0).abs() < 1e-7, "{}", loss(0.0));
    // With ε = 0.2 a tenth of each answer is the other one.
    let smooth = -(half + 3.0 * (0.9 * rest + 0.1 * quarter)) / 4.0;
    assert!((loss(0.2) - smooth).abs() < 1e-7, "{} {smooth}", loss(0.2));
    let gradient = &reference(&ClassLossGradient { label_smoothing: 0.2 }, &shapes, &inputs)[0];
    for (got, want) in gradient.iter().zip([0.4, -0.15, 0.0, 0.0, -0.15, 0.15]) {
        assert!((got - want / 4.0).abs() < 1e-7, "{gradient:?}");
    }
}

#[test]
fn gradient_is_that_of_finite_differences() {
    let rows = random_table(&mut Random::new(6), Shape::new(1, 1, 1, 1), 4, 12);
    check(6, |g| {
        let shape = Shape::new(1, 1, 12, column::COUNT);
        let logits = g.parameter("logits", shape.with_c(4), Init::Uniform { bound: 3.0 })?;
        let matches = g.state("matches", shape, Init::Pattern(rows.clone()))?;
        Ok(vec![trace(g, logits, matches, 0.1)?])
    })
    .unwrap();
}

#[test]
fn cpu_is_the_reference() {
    for (seed, capacity, classes) in [(1, 1, 1), (2, 60, 20), (3, 700, 3)] {
        let mut random = Random::new(seed);
        let table = Shape::new(1, 1, capacity, column::COUNT);
        let logits = table.with_c(classes);
        let data: Vec<f32> = (0..logits.elements()).map(|_| random.uniform(-8.0, 8.0)).collect();
        let matches = random_table(&mut random, Shape::new(1, 1, 1, 1), classes, capacity);
        for matches in [matches, vec![0.0; table.elements()]] {
            let shapes = [logits, table, Shape::scalar()];
            let inputs = [data.clone(), matches, vec![0.7]];
            check_cpu(&ClassLoss { label_smoothing: 0.1 }, &shapes[..2], &inputs[..2], 1e-6);
            check_cpu(&ClassLossGradient { label_smoothing: 0.1 }, &shapes, &inputs, 1e-6);
        }
    }
}

#[test]
fn a_class_that_the_head_lacks_is_refused() {
    let rows = row([0, 0, 0, 0, 2], [1.0; 4]);
    let table = Shape::new(1, 1, 1, column::COUNT);
    let (logits, mut buffer) = ([0.0; 2], [0.0]);
    let mut io = Io {
        inputs: vec![Some(View::dense(&logits, table.with_c(2))), Some(View::dense(&rows, table))],
        outputs: vec![ViewMut::dense(&mut buffer, Shape::scalar())],
        workspace: &mut [],
    };
    let op = ClassLoss { label_smoothing: 0.0 };
    let error = op.cpu(&mut io, &Cpu::new(1).unwrap()).unwrap_err().to_string();
    assert!(error.contains("row 0 of the match table has class 2, but there are 2"), "{error}");
}

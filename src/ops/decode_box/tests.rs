//! The decode: worked by hand, by finite differences, on the cpu.

use super::*;
use crate::autograd::finite_difference::check;
use crate::graph::Init;
use crate::ops::matches::column;
use crate::ops::matches::testing::{UNUSED, random_table, row};
use crate::ops::testing::{check_cpu, reference};
use crate::tensor::{Random, View, ViewMut};

fn grid() -> Grid {
    Grid { stride: 8.0, anchors: vec![[10.0, 13.0], [16.0, 30.0]] }
}

#[test]
fn worked_by_hand() {
    // σ(0) = 1/2 is the middle of the cell and the anchor itself; σ(ln 3) = 3/4; σ(−ln 3) = 1/4.
    let ln3 = 3.0_f32.ln();
    let logits = vec![0.0, 0.0, 0.0, 0.0, 9.0, 9.0, 9.0, 9.0, ln3, -ln3, ln3, -ln3];
    let target = [1.0; 4];
    let rows = [row([0, 2, 3, 1, 0], target), UNUSED, row([0, 0, 5, 0, 0], target)];
    let table = Shape::new(1, 1, 3, column::COUNT);
    let boxes =
        &reference(&DecodeBox { grid: grid() }, &[table.with_c(4), table], &[logits, rows.concat()])[0];
    let expected = [28.0, 20.0, 16.0, 30.0, 0.0, 0.0, 0.0, 0.0, 48.0, 0.0, 22.5, 3.25];
    for (got, want) in boxes.iter().zip(expected) {
        assert!((got - want).abs() < 1e-5, "{boxes:?}");
    }
}

#[test]
fn gradient_is_that_of_finite_differences() {
    let rows = random_table(&mut Random::new(3), Shape::new(1, 4, 4, 2), 1, 12);
    check(3, |g| {
        let shape = Shape::new(1, 1, 12, column::COUNT);
        let logits = g.parameter("logits", shape.with_c(4), Init::Uniform { bound: 3.0 })?;
        let matches = g.state("matches", shape, Init::Pattern(rows.clone()))?;
        Ok(vec![trace(g, logits, matches, grid())?])
    })
    .unwrap();
}

#[test]
fn cpu_is_the_reference() {
    for (seed, capacity) in [(1, 1), (2, 50), (3, 600)] {
        let mut random = Random::new(seed);
        let table = Shape::new(1, 1, capacity, column::COUNT);
        let boxes = table.with_c(4);
        let matches = random_table(&mut random, Shape::new(2, 9, 9, 2), 1, capacity);
        let mut uniform =
            |bound: f32| -> Vec<f32> { (0..4 * capacity).map(|_| random.uniform(-bound, bound)).collect() };
        let (logits, dy) = (uniform(12.0), uniform(1.0));
        check_cpu(&DecodeBox { grid: grid() }, &[boxes, table], &[logits.clone(), matches.clone()], 1e-6);
        check_cpu(&DecodeBoxGradient { grid: grid() }, &[boxes, table, boxes], &[logits, matches, dy], 1e-5);
    }
}

#[test]
fn extreme_logits_stay_finite() {
    let (boxes, table) = (Shape::new(1, 1, 1, 4), Shape::new(1, 1, 1, column::COUNT));
    let row = row([0; 5], [1.0; 4]);
    for logit in [-1e30, -200.0, 200.0, 1e30] {
        for (op, inputs) in [
            (Box::new(DecodeBox { grid: grid() }) as Box<dyn Op>, 2),
            (Box::new(DecodeBoxGradient { grid: grid() }), 3),
        ] {
            let (logits, dy, mut buffer) = ([logit; 4], [1.0; 4], [f32::NAN; 4]);
            let views = [View::dense(&logits, boxes), View::dense(&row, table), View::dense(&dy, boxes)];
            let mut io = Io {
                inputs: views[..inputs].iter().map(|v| Some(*v)).collect(),
                outputs: vec![ViewMut::dense(&mut buffer, boxes)],
                workspace: &mut [],
            };
            op.cpu(&mut io, &Cpu::new(1).unwrap()).unwrap();
            assert!(buffer.iter().all(|v| v.is_finite()), "{} of {logit}: {buffer:?}", op.name());
        }
    }
}

#[test]
fn an_anchor_that_the_level_lacks_is_refused() {
    let rows = row([0, 0, 0, 2, 0], [1.0; 4]);
    let (boxes, table) = (Shape::new(1, 1, 1, 4), Shape::new(1, 1, 1, column::COUNT));
    let (logits, mut buffer) = ([0.0; 4], [0.0; 4]);
    let mut io = Io {
        inputs: vec![Some(View::dense(&logits, boxes)), Some(View::dense(&rows, table))],
        outputs: vec![ViewMut::dense(&mut buffer, boxes)],
        workspace: &mut [],
    };
    let error = DecodeBox { grid: grid() }.cpu(&mut io, &Cpu::new(1).unwrap()).unwrap_err().to_string();
    assert!(error.contains("row 0 of the match table has anchor 2, but there are 2"), "{error}");
}

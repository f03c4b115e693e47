//! Gather and scatter: by hand, by finite differences, on the cpu.

use super::*;
use crate::autograd::finite_difference::check;
use crate::graph::{Graph, Init, Mode};
use crate::ops::matches::column;
use crate::ops::matches::testing::{UNUSED, random_table, row};
use crate::ops::testing::{check_cpu, reference};
use crate::tensor::{Random, View, ViewMut};

const BOX: [f32; 4] = [1.0, 1.0, 1.0, 1.0];

#[test]
fn takes_the_columns_of_the_anchor_and_adds_them_back() {
    // A map [2, 1, 2, 2 anchors · 3 columns] of its own indices.
    let map = Shape::new(2, 1, 2, 6);
    let indices: Vec<f32> = (0..24).map(|v| v as f32).collect();
    let rows = [row([1, 0, 0, 1, 0], BOX), UNUSED, row([0, 0, 1, 0, 0], BOX), row([1, 0, 0, 1, 0], BOX)];
    let table = Shape::new(1, 1, rows.len(), column::COUNT);
    let gathered = reference(&Gather { anchors: 2 }, &[map, table], &[indices, rows.concat()]);
    assert_eq!(gathered[0], [15.0, 16.0, 17.0, 0.0, 0.0, 0.0, 6.0, 7.0, 8.0, 15.0, 16.0, 17.0]);

    let values: Vec<f32> = (1..=12).map(|v| v as f32).collect();
    let scattered = reference(&Scatter { map }, &[table.with_c(3), table], &[values, rows.concat()]);
    let mut expected = [0.0; 24];
    expected[6..9].copy_from_slice(&[7.0, 8.0, 9.0]);
    expected[15..18].copy_from_slice(&[1.0 + 10.0, 2.0 + 11.0, 3.0 + 12.0]);
    assert_eq!(scattered[0], expected);
}

#[test]
fn gradients_are_those_of_finite_differences() {
    let map = Shape::new(2, 2, 3, 2 * 4);
    let rows = random_table(&mut Random::new(7), map.with_c(2), 3, 20);
    check(7, |g| {
        let x = g.parameter("x", map, Init::Uniform { bound: 1.0 })?;
        let shape = Shape::new(1, 1, 20, column::COUNT);
        let matches = g.state("matches", shape, Init::Pattern(rows.clone()))?;
        let gathered = trace(g, x, matches, 2)?;
        let scattered = g.apply(Box::new(Scatter { map }), &[gathered, matches])?;
        Ok(vec![gathered, scattered])
    })
    .unwrap();
}

#[test]
fn cpu_is_the_reference() {
    for (seed, map, anchors, capacity) in [
        (1, Shape::new(2, 3, 4, 3 * 7), 3, 40),
        (2, Shape::new(1, 1, 1, 6), 1, 700),
        (3, Shape::new(3, 5, 2, 2 * 85), 2, 1),
    ] {
        let mut random = Random::new(seed);
        let table = Shape::new(1, 1, capacity, column::COUNT);
        let rows = table.with_c(map.c / anchors);
        let matches = random_table(&mut random, map.with_c(anchors), 1, capacity);
        let mut uniform =
            |s: Shape| -> Vec<f32> { (0..s.elements()).map(|_| random.uniform(-1.0, 1.0)).collect() };
        check_cpu(&Gather { anchors }, &[map, table], &[uniform(map), matches.clone()], 0.0);
        check_cpu(&Scatter { map }, &[rows, table], &[uniform(rows), matches], 1e-5);
    }
}

#[test]
fn a_match_outside_the_map_is_refused_by_row() {
    let (map, table) = (Shape::new(1, 2, 2, 6), Shape::new(1, 1, 2, column::COUNT));
    for bad in [[1, 0, 0, 0, 0], [0, 2, 0, 0, 0], [0, 0, 2, 0, 0], [0, 0, 0, 2, 0]] {
        let rows = [UNUSED, row(bad, BOX)].concat();
        let (data, mut buffer) = (vec![0.0; 24], vec![0.0; 6]);
        let mut io = Io {
            inputs: vec![Some(View::dense(&data, map)), Some(View::dense(&rows, table))],
            outputs: vec![ViewMut::dense(&mut buffer, table.with_c(3))],
            workspace: &mut [],
        };
        let error = Gather { anchors: 2 }.cpu(&mut io, &Cpu::new(1).unwrap()).unwrap_err().to_string();
        assert!(error.starts_with("gather: row 1 of the match table has"), "{error}");
    }
}

#[test]
fn shapes_that_do_not_fit_are_refused() {
    let mut g = Graph::new(Mode::Training);
    let map = g.input("map", Shape::new(1, 2, 2, 6)).unwrap();
    let table = g.input("table", Shape::new(1, 1, 4, column::COUNT)).unwrap();
    assert!(trace(&mut g, map, table, 4).unwrap_err().to_string().contains("cannot be shared by 4 anchors"));
    assert!(trace(&mut g, map, table, 0).is_err());
    assert!(trace(&mut g, table, map, 2).unwrap_err().to_string().contains("must be a match table"));
}

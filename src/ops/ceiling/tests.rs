//! The loops against their references and hand-worked numbers.

use super::*;
use crate::ops::testing::{check_cpu, check_cpu_weights, reference};

#[test]
fn by_hand() {
    let shape = Shape::new(1, 1, 1, 3);
    let x = vec![0.25, -1.0, 0.5];
    assert_eq!(
        reference(&MultiplyAdds { turns: 4 }, &[shape], std::slice::from_ref(&x)),
        [[0.25, -1.0, 0.5]]
    );
    assert_eq!(reference(&MultiplyAdds { turns: 3 }, &[shape], &[x]), [[0.75, 2.0, 0.5]]);
    // Channel 2 of 3.0 by row 5's 0.5, seven times.
    let (x, w) = (Shape::new(1, 1, 1, ROWS_IN), Shape::new(ROWS_OUT, 1, 1, ROWS_IN));
    let (mut map, mut weight) = (vec![0.0; ROWS_IN], vec![0.0; ROWS_OUT * ROWS_IN]);
    (map[2], weight[5 * ROWS_IN + 2]) = (3.0, 0.5);
    let y = reference(&MatrixMultiplyAdds { turns: 7 }, &[x, w], &[map, weight]);
    assert_eq!((y[0][5], y[0].iter().sum::<f64>()), (10.5, 10.5));
}

#[test]
fn costs_are_two_for_each_multiply_add() {
    let x = Shape::new(2, 3, 5, ROWS_IN);
    assert_eq!(MultiplyAdds { turns: 10 }.cost(&[x], &[x]).flops, 2.0 * 10.0 * 480.0);
    let weight = Shape::new(ROWS_OUT, 1, 1, ROWS_IN);
    assert_eq!(
        MatrixMultiplyAdds { turns: 10 }.cost(&[x, weight], &[]).flops,
        2.0 * 10.0 * 30.0 * 16.0 * 64.0
    );
}

#[test]
fn cpu_is_the_reference() {
    let mut cases = cases();
    // Whole blocks of chains, at every vector width, and a rest.
    cases.push(super::super::Case::random(MultiplyAdds { turns: 5 }, &[Shape::new(1, 3, 5, 199)], 3));
    for case in cases {
        match case.shapes[..] {
            [_, weight] => {
                check_cpu_weights(&*case.op, &case.shapes, &case.inputs, case.tolerance, &[weight]);
            }
            _ => check_cpu(&*case.op, &case.shapes, &case.inputs, case.tolerance),
        }
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let x = Shape::new(1, 1, 2, ROWS_IN);
    assert!(MultiplyAdds { turns: MOST_TURNS + 1 }.output_shapes(&[x]).is_err());
    let op = MatrixMultiplyAdds { turns: 1 };
    let weight = Shape::new(ROWS_OUT, 1, 1, ROWS_IN);
    assert!(op.output_shapes(&[x, weight]).is_ok());
    assert!(op.output_shapes(&[x.with_c(8), weight]).is_err());
    assert!(op.output_shapes(&[x, weight.with_c(8)]).is_err());
    assert!(op.output_shapes(&[x]).is_err());
}

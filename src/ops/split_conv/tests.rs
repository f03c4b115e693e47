//! The branches are the convolutions that they replace.

use super::*;
use crate::ops::testing::reference;

#[test]
fn by_hand() {
    // Two pixels of two channels; one branch adds them, the other has their difference and twice the first.
    let op = SplitConv::new(inference(Activation::Relu), 2);
    let shapes = [
        Shape::new(1, 1, 2, 2),
        Shape::new(1, 1, 1, 2),
        Shape::vector(1),
        Shape::new(2, 1, 1, 2),
        Shape::vector(2),
    ];
    let inputs =
        [vec![1.0, 2.0, -3.0, 4.0], vec![1.0, 1.0], vec![0.5], vec![1.0, -1.0, 2.0, 0.0], vec![0.0, 1.0]];
    assert_eq!(op.output_shapes(&shapes).unwrap(), [Shape::new(1, 1, 2, 1), Shape::new(1, 1, 2, 2)]);
    assert_eq!(reference(&op, &shapes, &inputs), [vec![3.5, 1.5], vec![0.0, 3.0, 0.0, 0.0]]);
}

#[test]
fn a_prologue_is_counted_once() {
    let conv = Conv { prologue: Some(Activation::Linear), ..Conv::plain(Geometry::same(1, 1), false) };
    let op = SplitConv::new(conv, 2);
    let x = Shape::new(1, 3, 5, 4);
    let shapes = [x, Shape::new(1, 1, 2, 4), Shape::new(2, 1, 1, 4), Shape::new(3, 1, 1, 4)];
    let outputs = op.output_shapes(&shapes).unwrap();
    // 15 pixels: 2·4·5 for the products, 2·4 for scale and shift.
    assert_eq!(op.cost(&shapes, &outputs).flops, 15.0 * (40.0 + 8.0));
}

#[test]
fn what_is_no_branch_is_refused() {
    let x = Shape::new(1, 4, 4, 4);
    let weight = Shape::new(2, 1, 1, 4);
    let plain = Conv::plain(Geometry::same(1, 1), false);
    let refused = |conv: Conv, branches: usize, shapes: &[Shape]| {
        assert!(SplitConv::new(conv, branches).output_shapes(shapes).is_err());
    };
    assert!(SplitConv::new(plain.clone(), 2).output_shapes(&[x, weight, weight]).is_ok());
    refused(plain.clone(), 1, &[x, weight]);
    refused(plain.clone(), 5, &[x, weight, weight, weight, weight, weight]);
    refused(plain.clone(), 2, &[x, weight]);
    refused(plain.clone(), 2, &[x, weight, Shape::new(2, 1, 1, 5)]);
    refused(Conv::plain(Geometry::same(1, 2), false), 2, &[x, weight, weight]);
    refused(Conv { residual: true, ..plain }, 2, &[x, weight, weight]);
}

//! Hand-worked maps, the cpu against the reference, the gradient against finite differences.

use proptest::prelude::*;

use super::{MaxPool, MaxPoolGradient, trace};
use crate::autograd::finite_difference::check;
use crate::graph::Init;
use crate::ops::Op;
use crate::ops::testing::{check_cpu, check_cpu_random, reference};
use crate::tensor::{Random, Shape};

/// `x` shaped `[1, h, w, 1]` through `pool`, on the reference and, compared with it, on the cpu.
fn pooled(pool: &MaxPool, h: usize, w: usize, x: &[f32]) -> Vec<f64> {
    let shapes = [Shape::new(1, h, w, 1)];
    check_cpu(pool, &shapes, &[x.to_vec()], 0.0);
    reference(pool, &shapes, &[x.to_vec()]).remove(0)
}

fn gradient(pool: &MaxPool, h: usize, w: usize, x: &[f32], dy: &[f32]) -> Vec<f64> {
    let x_shape = Shape::new(1, h, w, 1);
    let y_shape = pool.output_shapes(&[x_shape]).unwrap()[0];
    let op = MaxPoolGradient { pool: pool.clone() };
    let inputs = [x.to_vec(), dy.to_vec()];
    check_cpu(&op, &[x_shape, y_shape], &inputs, 1e-6);
    reference(&op, &[x_shape, y_shape], &inputs).remove(0)
}

#[test]
fn two_by_two_by_hand() {
    let x = [1.0, 2.0, 3.0, 4.0, -5.0, -6.0, -7.0, 0.5, 9.0];
    // Darknet's size 2 stride 2 on an odd map: the last column and row stand alone.
    assert_eq!(pooled(&MaxPool::darknet(2, 2), 3, 3, &x), [4.0, 3.0, 0.5, 9.0]);
    assert_eq!(pooled(&MaxPool::square(2, 2, 0), 3, 3, &x), [4.0]);
    assert_eq!(
        gradient(&MaxPool::darknet(2, 2), 3, 3, &x, &[1.0, 2.0, 3.0, 4.0]),
        [0.0, 0.0, 2.0, 1.0, 0.0, 0.0, 0.0, 3.0, 4.0]
    );
    // Size 2 stride 1 looks to the right and below.
    assert_eq!(pooled(&MaxPool::darknet(2, 1), 3, 3, &x), [4.0, 3.0, 3.0, 4.0, 9.0, 9.0, 0.5, 9.0, 9.0]);
}

#[test]
fn a_negative_map_keeps_its_maximum_at_the_border() {
    assert_eq!(pooled(&MaxPool::darknet(3, 1), 1, 3, &[-3.0, -2.0, -4.0]), [-2.0, -2.0, -2.0]);
    assert_eq!(pooled(&MaxPool::darknet(13, 1), 1, 1, &[-3.0]), [-3.0]);
}

#[test]
fn the_first_of_equals_gets_the_gradient() {
    let flat = [1.0; 9];
    assert_eq!(
        gradient(&MaxPool::square(2, 1, 0), 3, 3, &flat, &[1.0, 2.0, 3.0, 4.0]),
        [1.0, 2.0, 0.0, 3.0, 4.0, 0.0, 0.0, 0.0, 0.0]
    );
    // 5×5: every window holds the top left pixel's row or is cut off by the border.
    let sums = gradient(&MaxPool::darknet(5, 1), 3, 3, &flat, &[1.0; 9]);
    assert_eq!(sums, [9.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
    // An equal maximum in an earlier row wins over one in an earlier column.
    let x = [0.0, 0.0, 0.0, 7.0, 7.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0];
    let pool = MaxPool { kernel: [3, 4], stride: [1, 1], padding: [0; 4] };
    assert_eq!(gradient(&pool, 3, 4, &x, &[2.0])[3..5], [2.0, 0.0]);
}

#[test]
fn nan_and_infinity_pass_through() {
    let nan = f32::NAN;
    for size in [3, 5] {
        let pool = MaxPool::darknet(size, 1);
        let y = pooled(&pool, 1, 4, &[1.0, nan, 0.0, 5.0]);
        assert!(y[..3].iter().all(|v| v.is_nan()), "{y:?}");
        // As in PyTorch the last NaN takes the gradient, and −∞ everywhere gives it to the first.
        assert_eq!(gradient(&pool, 1, 2, &[nan, nan], &[1.0, 2.0]), [0.0, 3.0]);
        assert_eq!(gradient(&pool, 1, 2, &[f32::NEG_INFINITY; 2], &[1.0, 2.0]), [3.0, 0.0]);
    }
}

#[test]
fn many_channels_and_the_windows_of_spp() {
    for (seed, size) in [(1, 5), (2, 9), (3, 13)] {
        let (pool, shape) = (MaxPool::darknet(size, 1), Shape::new(2, 7, 9, 67));
        assert_eq!(pool.output_shapes(&[shape]).unwrap(), [shape]);
        check_cpu_random(&pool, &[shape], seed, 0.0);
        check_cpu_random(&MaxPoolGradient { pool }, &[shape, shape], seed, 1e-5);
    }
}

#[test]
fn the_gradient_is_that_of_finite_differences() {
    let pools = [
        MaxPool::darknet(2, 2),
        MaxPool::darknet(2, 1),
        MaxPool::darknet(5, 1),
        MaxPool::square(3, 2, 1),
        MaxPool { kernel: [1, 4], stride: [2, 3], padding: [0, 0, 1, 2] },
    ];
    for (seed, pool) in pools.into_iter().enumerate() {
        check(seed as u64, |g| {
            let x = g.parameter("x", Shape::new(2, 5, 6, 3), Init::Uniform { bound: 1.0 })?;
            Ok(vec![trace(g, x, pool.clone())?])
        })
        .unwrap();
    }
}

#[test]
fn windows_without_a_pixel_are_refused() {
    let shape = Shape::new(1, 4, 4, 1);
    let message = |pool: MaxPool| pool.output_shapes(&[shape]).unwrap_err().to_string();
    assert!(message(MaxPool::square(2, 1, 2)).contains("wholly in the padding"));
    let last = MaxPool { kernel: [2, 2], stride: [3, 1], padding: [0, 3, 0, 0] };
    assert_eq!(last.output_shapes(&[shape]).unwrap()[0].h, 2);
    let last = MaxPool { kernel: [2, 2], stride: [2, 1], padding: [0, 2, 0, 0] };
    assert!(last.output_shapes(&[shape]).unwrap_err().to_string().contains("wholly in the padding"));
    assert!(message(MaxPool::square(5, 1, 0)).contains("does not fit"));
    assert!(message(MaxPool::square(0, 1, 0)).contains("at least 1"));
    assert!(message(MaxPool::square(1, 0, 0)).contains("at least 1"));
    let huge = MaxPool { kernel: [usize::MAX; 2], stride: [1; 2], padding: [usize::MAX - 1; 4] };
    assert!(message(huge).contains("does not fit"));
}

#[test]
fn the_cost_is_darknets() {
    // yolov4's SPP at 608: 13·13·512 outputs, 5·5 comparisons each.
    let shape = Shape::new(1, 19, 19, 512);
    let cost = MaxPool::darknet(5, 1).cost(&[shape], &[shape]);
    assert_eq!(cost.darknet_flops, 25.0 * 512.0 * 361.0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn cpu_is_the_reference(n in 1..3usize, h in 1..10usize, w in 1..10usize, c in 1..40usize,
                            kernel in [1..7usize, 1..7], stride in [1..4usize, 1..4],
                            padding in [0..6usize, 0..6, 0..6, 0..6], levels in 2..200usize, seed: u64) {
        let [top, bottom, left, right] = padding;
        let [rows, columns] = kernel;
        let padding = [top % rows, bottom % rows, left % columns, right % columns];
        let pool = MaxPool { kernel, stride, padding };
        let x = Shape::new(n, h, w, c);
        let y = pool.output_shapes(&[x]);
        prop_assume!(y.is_ok());
        let y = y.unwrap();
        // Few levels: many ties.
        let mut random = Random::new(seed);
        let data: Vec<f32> = (0..x.elements()).map(|_| random.below(levels) as f32 - 1.0).collect();
        check_cpu(&pool, &[x], std::slice::from_ref(&data), 0.0);
        let dy: Vec<f32> = (0..y[0].elements()).map(|_| random.uniform(-1.0, 1.0)).collect();
        check_cpu(&MaxPoolGradient { pool }, &[x, y[0]], &[data, dy], 1e-5);
    }
}
